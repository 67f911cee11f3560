/* Random damage that may cost nothing: at each place of each row, which is the same block of all its units, at most one block is damaged, on
 * any member, by a flipped bit or as a sector that cannot be read (doc/guarantees.md, "A second failure").  Then a member is replaced and
 * a scrub runs, or a scrub alone, or fsck: everything can be read meanwhile, the check finds nothing afterwards, and any one disk may be
 * missing.
 *
 *	test_damage_history [FIRST COUNT]      so many seeds, each of which is one history of each kind
 */
#include "fs/core.h"
#include "fs/fsck/check.h"
#include "fs/upkeep/members.h"
#include "fs/upkeep/scrub.h"
#include "tests/sim/replace_state.h"
#include "tests/unit/check.h"

#include <stdlib.h>

#define DISKS 4u
#define OLD 1u
#define NEW DISKS
#define DISK_BYTES (UINT64_C(16) << 20)
#define SECTOR_BYTES 512u
#define BAD_SECTORS_MAX 25u              /* of one disk */
#define RARE_MAX 30u                     /* one place of so many is damaged, or more */
#define WORK_MAX 3000u
#define PAUSE_NS INT64_C(5000000000)

enum mender { REPLACING, SCRUB, FSCK, MENDERS };
static const char *const mender_names[] = { "replacing", "scrub", "fsck" };

static uint64_t random_state;

static unsigned draw(unsigned below)
{
	random_state = random_state * 6364136223846793005u + 1442695040888963407u;
	return (unsigned)(random_state >> 33) % below;
}

static bool in_use(struct fs *fs, uint32_t band, uint64_t row)
{
	struct op op;
	int r, live = 0;
	op_begin(fs, &op, OP_READ, 0);
	do
		r = alloc_row_live(fs, band, row, &live);
	while (op_retry(&op, &r));
	op_end(&op);
	REQUIRE(r == 0);
	return live != 0;
}

static void damage_place(struct simfs *sim, uint32_t band, uint64_t row, unsigned place, bool sectors)
{
	const struct config *config = sim->fs->config;
	const struct band *b = &config->bands[band];
	const struct column *c = &b->columns[draw(b->width)];
	struct simdisk *disk = sim->world->disks[c->member];
	uint64_t from = column_row_offset_bytes(&config->geometry, c, row) + place * BLOCK_BYTES;
	/* In a free row it would stay until the row is used. */
	if (sectors && draw(2) && disk->fault_count < BAD_SECTORS_MAX && in_use(sim->fs, band, row))
		simdisk_fault(disk, &(struct simfault){ .kind = SIM_BAD_SECTORS, .ops_mask = SIM_ON(DISK_READ), .from_bytes = from,
			.to_bytes = from + SECTOR_BYTES });
	else
		simdisk_flip(disk, from + draw(BLOCK_BYTES), (uint8_t)(1u << draw(8)));
}

static unsigned damage(struct simfs *sim)
{
	const struct config *config = sim->fs->config;
	unsigned rare = 2 + draw(RARE_MAX), count = 0;
	bool sectors = draw(3) > 0;
	for (uint32_t band = 0; band < config->band_count; band++)
		for (uint64_t row = 0; row < config->bands[band].rows; row++)
			for (unsigned place = 0; place < UNIT_BLOCKS; place++)
				if (draw(rare) == 0) {
					damage_place(sim, band, row, place, sectors);
					count++;
				}
	return count;
}

static void run_scrub(struct simfs *sim)
{
	struct scrub_status status = { .state = SCRUB_RUNNING };
	REQUIRE(fs_scrub(sim->fs, SCRUB_START, 0, &sim->fail) == 0);
	for (unsigned i = 0; i < WORK_MAX && status.state == SCRUB_RUNNING; i++) {
		CHECK(fs_work(sim->fs) >= 0);
		fs_scrub_status(sim->fs, &status);
		simfs_sleep(sim, PAUSE_NS);
	}
	CHECK_EQ(status.state, SCRUB_FINISHED);
	for (unsigned i = 0; i < 20; i++) {      /* what has to wait for commits */
		CHECK(fs_work(sim->fs) >= 0);
		CHECK_EQ(fs_sync(sim->fs), 0);
	}
}

static void mend_mounted(struct story *run, enum mender mender)
{
	struct simfs *sim = run->sim;
	unsigned member, unreadable = 0;
	if (draw(2)) {
		CHECK(story_may_be(sim->fs, run, &unreadable));
		CHECK_EQ(unreadable, 0);
	}
	if (mender == REPLACING)
		REQUIRE(fs_member_replace_by(sim->fs, OLD, simdisk_open(sim->world->disks[NEW]), false, &member, &sim->fail) == 0);
	if (draw(2))
		CHECK_EQ(story_write_files(run, 1 + draw(4)), 0);
	CHECK(replace_settle(sim));
	run_scrub(sim);
}

static void tell_left(void *ctx, enum check_note kind, const char *text)
{
	(void)ctx;
	if (kind == CHECK_LOST || kind == CHECK_INFO)
		fprintf(stderr, "fsck: %s\n", text);
}

static void mend_unmounted(struct simfs *sim)
{
	struct fs_check_options options = { .data = true, .repair = true, .note = tell_left };
	struct fs_check_result result = { 0 };
	REQUIRE(simfs_close(sim, true) == 0);
	sim->options.repair = true;
	REQUIRE(simfs_open(sim) == 0);
	sim->options.repair = false;
	CHECK_EQ(fs_check_run(sim->fs, &options, &result), 0);
	CHECK_EQ(result.left, 0);
	REQUIRE(simfs_remount(sim) == 0);
}

static bool history(enum mender mender, uint64_t seed)
{
	struct story run = { 0 };
	random_state = seed * MENDERS + mender;
	REQUIRE(simfs_make(&run.sim, DISKS, DISK_BYTES, CIPHER_XCHACHA20_POLY1305, seed) == 0);
	struct simfs *sim = run.sim;
	simworld_add(sim->world, DISK_BYTES + UNIT_BYTES);
	sim->left_out[NEW] = true;
	REQUIRE(story_write_files(&run, 20 + draw(20)) == 0);
	if (draw(2))
		REQUIRE(simfs_remount(sim) == 0);
	CHECK(damage(sim) > 0);
	if (mender == FSCK)
		mend_unmounted(sim);
	else
		mend_mounted(&run, mender);
	CHECK_EQ(sim->events[EVENT_UNREADABLE], 0);
	CHECK(story_clean(sim->fs));
	CHECK(replace_is_whole(sim, mender == REPLACING ? OLD : NEW, &run));
	simfs_free(sim);
	return check_failed == 0;
}

int main(int argc, char **argv)
{
	uint64_t first = argc > 2 ? strtoull(argv[1], NULL, 10) : 1, count = argc > 2 ? strtoull(argv[2], NULL, 10) : 40;
	for (uint64_t seed = first; seed < first + count; seed++)
		for (enum mender mender = 0; mender < MENDERS; mender++)
			if (!history(mender, seed)) {
				fprintf(stderr, "failed: %s, test_damage_history %llu 1\n", mender_names[mender], (unsigned long long)seed);
				return CHECK_DONE();
			}
	return CHECK_DONE();
}
