/* The owner's changes of members while mounted: a member taken back, one failed by hand, and what happens to a new one in the place of one
 * that is out (test_adding and test_replace have more of those). */
#include "fs/core.h"
#include "fs/space/relocate.h"
#include "fs/upkeep/members.h"
#include "tests/sim/replace_state.h"
#include "tests/sim/spoil.h"
#include "tests/unit/check.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define DISKS 4u
#define MISSING 1u
#define NEW DISKS                /* index of the blank disk */
#define DISK_BYTES (UINT64_C(16) << 20)

static struct story start_whole(uint64_t seed)
{
	struct story run = { 0 };
	REQUIRE(simfs_make(&run.sim, DISKS, DISK_BYTES, CIPHER_XCHACHA20_POLY1305, seed) == 0);
	REQUIRE(story_write_files(&run, 20) == 0);
	simworld_add(run.sim->world, DISK_BYTES + UNIT_BYTES);
	run.sim->left_out[NEW] = true;
	return run;
}

static void go_on_without(struct story *run, unsigned member)
{
	run->sim->left_out[member] = true;
	REQUIRE(simfs_remount(run->sim) == 0);
	REQUIRE(story_write_files(run, 10) == 0);
}

/* With all members but one, which was away for a while; and the blank disk beside them. */
static struct story start(uint64_t seed)
{
	struct story run = start_whole(seed);
	go_on_without(&run, MISSING);
	return run;
}

static int add_new(struct simfs *sim)
{
	unsigned member, new_member;
	return fs_member_add(sim->fs, simdisk_open(sim->world->disks[NEW]), false, &member, &new_member, &sim->fail);
}

/* In the end everything synced is there, now and without each single disk; `unused` is none of the array's. */
static void must_be_whole(struct simfs *sim, unsigned unused, const struct story *story)
{
	CHECK(replace_settle(sim));
	CHECK(replace_is_whole(sim, unused, story));
}

/* A second failure of each kind during a rebuild: no crash, nothing wrong, and what was synced comes back with the disk. */
static void second_failure(void)
{
	static const enum simfault_kind kinds[] = { SIM_ERROR, SIM_HANG };
	for (unsigned k = 0; k < ARRAY_COUNT(kinds); k++) {
		struct story run = start(12);
		REQUIRE(add_new(run.sim) == 0);
		REQUIRE(fs_work(run.sim->fs) >= 0 && fs_work(run.sim->fs) >= 0);
		simdisk_fault(run.sim->world->disks[2], &(struct simfault){ .kind = kinds[k], .ops_mask = SIM_ON(DISK_WRITE) | SIM_ON(DISK_FLUSH) });
		CHECK(story_write_files(&run, 5) < 0);
		CHECK(run.sim->events[EVENT_READ_ONLY] > 0);
		simdisk_clear_faults(run.sim->world->disks[2]);
		simdisk_return_hung(run.sim->world->disks[2], false);
		replace_leave_out(run.sim, MISSING, MISSING);
		memset(run.sim->events, 0, sizeof run.sim->events);
		REQUIRE(simfs_crash(run.sim, SIMCUT_RANDOM) == 0);
		CHECK(story_is_there(run.sim->fs, &run));
		must_be_whole(run.sim, MISSING, &run);
		simfs_free(run.sim);
	}
}

/* A sector that another member cannot read meanwhile: what lives there is lost to nobody, or told. */
static void bad_sector_meanwhile(void)
{
	struct story run = start(13);
	struct simdisk *disk = run.sim->world->disks[0];
	uint64_t data = array_config(fs_array(run.sim->fs))->geometry.data_offset_bytes;
	simdisk_fault(disk, &(struct simfault){ .kind = SIM_BAD_SECTORS, .ops_mask = SIM_ON(DISK_READ), .from_bytes = data + UNIT_BYTES,
		.to_bytes = data + 2 * UNIT_BYTES });
	REQUIRE(add_new(run.sim) == 0);
	for (unsigned i = 0; i < 100 && array_degraded(fs_array(run.sim->fs)); i++) {
		CHECK(fs_work(run.sim->fs) >= 0 || run.sim->events[EVENT_UNREADABLE] > 0);
		simfs_sleep(run.sim, INT64_C(1000000000));
	}
	simdisk_clear_faults(disk);
	CHECK(story_is_there(run.sim->fs, &run));
	must_be_whole(run.sim, MISSING, &run);
	simfs_free(run.sim);
}

/* ---- One block of another member is damaged meanwhile ---- */

#define SMALL_FILES 60u

static void fill_small(unsigned i, uint8_t bytes[BLOCK_BYTES])
{
	for (size_t k = 0; k < BLOCK_BYTES; k++)
		bytes[k] = (uint8_t)(i * 43 + k * 3 + k / 239);
}

/* Files of one block each, so that a unit has four of them. */
static void make_small(struct fs *fs, uint64_t ret_inos[SMALL_FILES])
{
	uint8_t bytes[BLOCK_BYTES];
	for (unsigned i = 0; i < SMALL_FILES; i++) {
		struct fs_attr attr;
		char name[16];
		snprintf(name, sizeof name, "small%u", i);
		fill_small(i, bytes);
		REQUIRE(fs_mknod(fs, OBJECT_ROOT, name, S_IFREG | 0644, 0, (struct fs_cred){ 0 }, &attr) == 0);
		REQUIRE(fs_write(fs, attr.ino, bytes, sizeof bytes, 0, false, NULL) == (ssize_t)sizeof bytes);
		ret_inos[i] = attr.ino;
	}
	REQUIRE(fs_sync(fs) == 0);
}

static unsigned member_of(const struct config *config, address at)
{
	const struct band *b = config_band(config, address_band(at));
	return b->columns[band_data_column(b, band_row_of(b, at), (unsigned)(address_unit(at) % band_data_units(b)))].member;
}

/* The first of four files that fill a unit of the missing member. */
static unsigned find_unit(struct fs *fs, const uint64_t inos[SMALL_FILES], address *ret_at)
{
	for (unsigned i = 0; i + UNIT_BLOCKS <= SMALL_FILES; i++) {
		address at = spoil_data_of(fs, inos[i], 0);
		if (at % UNIT_BLOCKS == 0 && member_of(fs->config, at) == MISSING
			&& spoil_data_of(fs, inos[i + UNIT_BLOCKS - 1], 0) == at + UNIT_BLOCKS - 1) {
			*ret_at = at;
			return i;
		}
	}
	REQUIRE(false);
	return 0;
}

/* The first block of another unit of that row: of parity, in a sector that cannot be read; or of data, with a flipped bit.  Returns the
 * member that has neither. */
static unsigned damage_beside(struct simfs *sim, address at, bool sector)
{
	const struct config *config = sim->fs->config;
	const struct band *b = config_band(config, address_band(at));
	uint64_t row = band_row_of(b, at);
	unsigned index = (unsigned)(address_unit(at) % band_data_units(b)), units = band_data_units(b);
	unsigned beside = band_data_column(b, row, (index + 1) % units), third = band_data_column(b, row, (index + 2) % units);
	const struct column *c = &b->columns[sector ? band_parity_column(b, row) : beside];
	uint64_t from = column_row_offset_bytes(&config->geometry, c, row);
	if (sector)
		simdisk_fault(sim->world->disks[c->member], &(struct simfault){ .kind = SIM_BAD_SECTORS, .ops_mask = SIM_ON(DISK_READ),
			.from_bytes = from, .to_bytes = from + BLOCK_BYTES });
	else
		simdisk_flip(sim->world->disks[c->member], from + 99, 4);
	return b->columns[third].member;
}

/* It costs what lies at its place in the row, and nothing else, also when the array is whole again and the next member is lost. */
static void damaged_block_meanwhile(bool adding, bool sector)
{
	struct story run = start(21);
	struct simfs *sim = run.sim;
	uint64_t inos[SMALL_FILES];
	uint8_t bytes[BLOCK_BYTES], want[BLOCK_BYTES];
	unsigned member;
	address at = 0;
	make_small(sim->fs, inos);
	unsigned first = find_unit(sim->fs, inos, &at), third = damage_beside(sim, at, sector);
	if (adding)
		REQUIRE(add_new(sim) == 0);
	else
		REQUIRE(fs_member_readd(sim->fs, simdisk_open(sim->world->disks[MISSING]), &member, &sim->fail) == 0);
	CHECK(replace_settle(sim));
	replace_leave_out(sim, adding ? MISSING : NEW, third);
	REQUIRE(simfs_remount(sim) == 0);
	for (unsigned i = first + 1; i < first + UNIT_BLOCKS; i++) {
		fill_small(i, want);
		CHECK_EQ(fs_read(sim->fs, inos[i], bytes, sizeof bytes, 0), BLOCK_BYTES);
		CHECK(!memcmp(bytes, want, sizeof want));
	}
	simfs_free(sim);
}

/* A member that serves is replaced, and has parity of a row of which it cannot read one block.  Of a data unit of the row another block
 * cannot be read, and a third one has a flipped bit: parity of that one is right where it lies, and nowhere else. */
static void parity_beside(void)
{
	uint8_t bytes[3 * BLOCK_BYTES], want[3 * BLOCK_BYTES];
	struct story run = start_whole(23);
	struct simfs *sim = run.sim;
	const struct config *config = sim->fs->config;
	const struct band *b;
	struct fs_attr attr;
	unsigned unit = 0, member;
	address at;
	for (size_t k = 0; k < sizeof want; k++)
		want[k] = (uint8_t)(k * 7 + k / 251);
	REQUIRE(fs_mknod(sim->fs, OBJECT_ROOT, "long", S_IFREG | 0644, 0, (struct fs_cred){ 0 }, &attr) == 0);
	for (unsigned i = 0; i < 60; i++)        /* records of three blocks, each in a unit of its own */
		REQUIRE(fs_write(sim->fs, attr.ino, want, sizeof want, i * UNIT_BYTES, false, NULL) == (ssize_t)sizeof want);
	REQUIRE(fs_sync(sim->fs) == 0);
	do {
		REQUIRE(++unit < 60);
		at = spoil_data_of(sim->fs, attr.ino, unit * UNIT_BLOCKS);
		b = config_band(config, address_band(at));
	} while (b->columns[band_parity_column(b, band_row_of(b, at))].member != MISSING);
	REQUIRE(at % UNIT_BLOCKS == 0);
	uint64_t row = band_row_of(b, at);
	const struct column *parity = &b->columns[band_parity_column(b, row)];
	const struct column *c = &b->columns[band_data_column(b, row, (unsigned)(address_unit(at) % band_data_units(b)))];
	uint64_t parity_bytes = column_row_offset_bytes(&config->geometry, parity, row) + 3 * BLOCK_BYTES;
	uint64_t unit_bytes = column_row_offset_bytes(&config->geometry, c, row);
	struct simfault fault = { .kind = SIM_BAD_SECTORS, .ops_mask = SIM_ON(DISK_READ), .from_bytes = parity_bytes,
		.to_bytes = parity_bytes + SIM_SECTOR_BYTES };
	simdisk_fault(sim->world->disks[parity->member], &fault);
	fault.from_bytes = unit_bytes + 2 * BLOCK_BYTES;
	fault.to_bytes = fault.from_bytes + SIM_SECTOR_BYTES;
	simdisk_fault(sim->world->disks[c->member], &fault);
	simdisk_flip(sim->world->disks[c->member], unit_bytes + 7, 1);
	REQUIRE(fs_member_replace_by(sim->fs, MISSING, simdisk_open(sim->world->disks[NEW]), false, &member, &sim->fail) == 0);
	REQUIRE(fs_work(sim->fs) == 1 && fs_work(sim->fs) == 1);
	/* It is copied.  Another unit of the row is replaced, so that mending has to wait, until the old one is none any more. */
	address beside = spoil_data_of(sim->fs, attr.ino, (unit + 1) * UNIT_BLOCKS);
	unsigned other = address_band(beside) == b->id && band_row_of(b, beside) == row ? unit + 1 : unit - 1;
	REQUIRE(band_row_of(b, spoil_data_of(sim->fs, attr.ino, other * UNIT_BLOCKS)) == row);
	REQUIRE(fs_write(sim->fs, attr.ino, want, sizeof want, other * UNIT_BYTES, false, NULL) == (ssize_t)sizeof want);
	CHECK(replace_settle(sim));
	CHECK_EQ(replace_role_of(sim, MISSING), MEMBER_UNUSED);
	CHECK_EQ(fs_read(sim->fs, attr.ino, bytes, sizeof bytes, unit * UNIT_BYTES), sizeof bytes);
	CHECK(!memcmp(bytes, want, sizeof want));
	CHECK_EQ(sim->events[EVENT_UNREADABLE], 0);
	simfs_free(sim);
}

/* The other way round: what is damaged beside a member that is out of date is of a row that it has, and has the only copy of. It is read
 * from there, and is not overwritten when the member is caught up, though it were to get all anew. */
static void only_there(void)
{
	struct story run = start_whole(22);
	struct simfs *sim = run.sim;
	uint64_t inos[SMALL_FILES];
	uint8_t bytes[BLOCK_BYTES], want[BLOCK_BYTES];
	address at = 0;
	make_small(sim->fs, inos);
	unsigned first = find_unit(sim->fs, inos, &at);
	go_on_without(&run, MISSING);
	replace_leave_out(sim, NEW, NEW);
	REQUIRE(simfs_remount(sim) == 0);
	struct member_status status;
	array_member_status(fs_array(sim->fs), MISSING, &status);
	REQUIRE(status.state == MEMBER_OUT && status.name[0]);
	const struct config *config = sim->fs->config;
	const struct band *b = config_band(config, address_band(at));
	const struct column *parity = &b->columns[band_parity_column(b, band_row_of(b, at))];
	simdisk_flip(sim->world->disks[parity->member], column_row_offset_bytes(&config->geometry, parity, band_row_of(b, at)) + 55, 2);
	for (unsigned step = 0; step < 2; step++) {
		fill_small(first, want);
		CHECK_EQ(fs_read(sim->fs, inos[first], bytes, sizeof bytes, 0), BLOCK_BYTES);
		CHECK(!memcmp(bytes, want, sizeof want));
		CHECK_EQ(sim->events[EVENT_UNREADABLE], 0);
		array_doubt_rows(fs_array(sim->fs), fs_generation(sim->fs), NULL);
		CHECK(replace_settle(sim));
	}
	CHECK(story_is_there(sim->fs, &run));
	simfs_free(sim);
}

static void taking_back(void)
{
	struct story run = start(14);
	unsigned member = DISKS;
	REQUIRE(fs_member_readd(run.sim->fs, simdisk_open(run.sim->world->disks[MISSING]), &member, &run.sim->fail) == 0);
	CHECK_EQ(member, MISSING);
	must_be_whole(run.sim, NEW, &run);
	simfs_free(run.sim);
}

/* Clones of one array were written to apart from each other. */
static void diverged(void)
{
	for (unsigned mounts = 1; mounts < 4; mounts++) {
		struct story run = start_whole(15), apart = run;
		struct simfs *other = apart.sim = simfs_clone(run.sim);
		unsigned member;
		go_on_without(&run, MISSING);
		replace_leave_out(other, NEW, 0);
		other->random_state ^= 0x5eed;
		REQUIRE(simfs_open(other) == 0);
		for (unsigned i = 0; i < mounts; i++) {
			REQUIRE(story_write_files(&apart, 3) == 0);
			REQUIRE(simfs_remount(other) == 0);
		}
		REQUIRE(simfs_close(other, false) == 0);
		struct simstore *theirs = simdisk_snapshot(other->world->disks[MISSING]);
		simdisk_replace_with_snapshot(run.sim->world->disks[MISSING], theirs);
		simsnapshot_free(theirs);
		CHECK_EQ(fs_member_readd(run.sim->fs, simdisk_open(run.sim->world->disks[MISSING]), &member, &run.sim->fail), -EINVAL);
		CHECK_EQ(run.sim->fail.code, FAIL_DIVERGED);
		CHECK(story_is_there(run.sim->fs, &run));
		simfs_free(other);
		simfs_free(run.sim);
	}
}

/* A root that reached one member alone, and was passed over by those that went on without it, is no other history. */
static void passed_over(void)
{
	struct story run = start_whole(18), alone = story_again(run.sim, &run);
	unsigned member;
	REQUIRE(alone.sim->fs);
	REQUIRE(story_write_files(&run, 5) == 0);
	struct simstore *its = simdisk_snapshot(run.sim->world->disks[MISSING]);
	REQUIRE(simfs_close(run.sim, true) == 0);
	for (unsigned i = 0; i < DISKS; i++)      /* the others as they were before */
		if (i != MISSING) {
			struct simstore *before = simdisk_snapshot(alone.sim->world->disks[i]);
			simdisk_replace_with_snapshot(run.sim->world->disks[i], before);
			simsnapshot_free(before);
		}
	simfs_free(alone.sim);
	run.written = run.synced = alone.synced;
	run.sim->left_out[MISSING] = true;
	REQUIRE(simfs_open(run.sim) == 0);
	REQUIRE(story_write_files(&run, 8) == 0);
	simdisk_replace_with_snapshot(run.sim->world->disks[MISSING], its);
	simsnapshot_free(its);
	CHECK_EQ(fs_member_readd(run.sim->fs, simdisk_open(run.sim->world->disks[MISSING]), &member, &run.sim->fail), 0);
	must_be_whole(run.sim, NEW, &run);
	simfs_free(run.sim);
}

static void failing_by_hand(void)
{
	struct story run = start(16);
	struct fail *fail = &run.sim->fail;
	unsigned member;
	CHECK_EQ(fs_member_fail(run.sim->fs, 2, fail), -EBUSY);
	CHECK_EQ(fail->code, FAIL_TOO_FEW);
	CHECK_EQ(fs_member_fail(run.sim->fs, DISKS, fail), -ENOENT);
	CHECK_EQ(fail->code, FAIL_USAGE);
	REQUIRE(add_new(run.sim) == 0);
	REQUIRE(replace_settle(run.sim));
	REQUIRE(fs_member_fail(run.sim->fs, 2, fail) == 0);
	for (unsigned i = 0; i < 20; i++) {
		simfs_sleep(run.sim, INT64_C(7200000000000));
		CHECK(fs_work(run.sim->fs) >= 0);
	}
	CHECK(array_degraded(fs_array(run.sim->fs)));
	REQUIRE(story_write_files(&run, 3) == 0);
	struct member_status status;
	array_member_status(fs_array(run.sim->fs), 2, &status);
	CHECK_EQ(status.state, MEMBER_OUT);
	REQUIRE(fs_member_resume(run.sim->fs, status.name, &member) == 0);
	CHECK_EQ(member, 2);
	CHECK(replace_settle(run.sim));
	must_be_whole(run.sim, MISSING, &run);
	simfs_free(run.sim);
}

static void refused(void)
{
	struct story run = start(17);
	struct fail *fail = &run.sim->fail;
	unsigned member;
	CHECK_EQ(fs_member_readd(run.sim->fs, simdisk_open(run.sim->world->disks[0]), &member, fail), -EBUSY);
	CHECK_EQ(fail->code, FAIL_TWICE);
	CHECK_EQ(fs_member_readd(run.sim->fs, simdisk_open(run.sim->world->disks[NEW]), &member, fail), -EINVAL);
	CHECK_EQ(fail->code, FAIL_NOT_MEMBER);
	CHECK(story_is_there(run.sim->fs, &run));
	simfs_free(run.sim);
}

/* ---- Files that are moved meanwhile ---- */

#define MOVING_FILES 60u

static void short_lived(struct fs *fs, unsigned i, bool make)
{
	static const uint8_t bytes[5 * BLOCK_BYTES] = { 1 };
	struct fs_attr attr;
	char name[16];
	snprintf(name, sizeof name, "short%u", i);
	if (!make) {
		REQUIRE(fs_unlink(fs, OBJECT_ROOT, name) == 0);
		return;
	}
	REQUIRE(fs_mknod(fs, OBJECT_ROOT, name, S_IFREG | 0644, 0, (struct fs_cred){ 0 }, &attr) == 0);
	REQUIRE(fs_write(fs, attr.ino, bytes, sizeof bytes, 0, false, NULL) == (ssize_t)sizeof bytes);
}

/* With files that soon go between those that stay. */
static struct story start_mixed(uint64_t seed)
{
	struct story run = start_whole(seed);
	for (unsigned i = 0; i < MOVING_FILES; i++) {
		REQUIRE(story_write_file(&run) == 0);
		short_lived(run.sim->fs, i, true);
	}
	REQUIRE(story_sync(&run) == 0);
	return run;
}

static void places(struct fs *fs, unsigned count, address *ret_places)
{
	for (unsigned i = 0; i < count; i++) {
		struct fs_attr attr;
		char name[16];
		snprintf(name, sizeof name, "file%u", i);
		ret_places[i] = 0;
		if (story_unlinks(i, count))
			continue;
		REQUIRE(fs_lookup(fs, OBJECT_ROOT, name, &attr) == 0);
		ret_places[i] = spoil_data_of(fs, attr.ino, 0);
	}
}

/* Relocates while there is something to gain, and then writes where things lay: the number of files that were moved. */
static unsigned relocate_all(struct story *run)
{
	address before[20 + MOVING_FILES], after[20 + MOVING_FILES];
	unsigned count = run->synced, moved = 0;
	REQUIRE(count <= ARRAY_COUNT(before));
	for (unsigned i = 0; i < MOVING_FILES; i++)
		short_lived(run->sim->fs, i, false);
	REQUIRE(fs_sync(run->sim->fs) == 0);
	places(run->sim->fs, count, before);
	for (unsigned i = 0; i < 10 && relocate_batch(run->sim->fs) > 0; i++)
		REQUIRE(fs_sync(run->sim->fs) == 0);
	places(run->sim->fs, count, after);
	for (unsigned i = 0; i < count; i++)
		moved += before[i] != after[i];
	REQUIRE(story_write_files(run, MOVING_FILES) == 0);
	return moved;
}

/* Then any other may be missing: what was moved, and what came where it lay, is on the one that was away. */
static void moved_meanwhile(bool filling)
{
	struct story run = start_mixed(19 + filling);
	struct member_status status;
	unsigned member, moved = 0;
	run.sim->left_out[MISSING] = true;
	REQUIRE(simfs_remount(run.sim) == 0);
	if (!filling)
		moved = relocate_all(&run);
	REQUIRE(fs_member_readd(run.sim->fs, simdisk_open(run.sim->world->disks[MISSING]), &member, &run.sim->fail) == 0);
	if (filling) {
		REQUIRE(fs_work(run.sim->fs) == 1);
		array_member_status(fs_array(run.sim->fs), MISSING, &status);
		CHECK_EQ(status.state, MEMBER_FILLING);
		moved = relocate_all(&run);
		array_member_status(fs_array(run.sim->fs), MISSING, &status);
		CHECK_EQ(status.state, MEMBER_FILLING);
	}
	CHECK(moved > MOVING_FILES / 4);
	printf("moved while %s: %u files\n", filling ? "filling" : "away", moved);
	must_be_whole(run.sim, NEW, &run);
	simfs_free(run.sim);
}

int main(void)
{
	second_failure();
	bad_sector_meanwhile();
	for (unsigned i = 0; i < 4; i++)
		damaged_block_meanwhile(i / 2, i % 2);
	only_there();
	parity_beside();
	taking_back();
	diverged();
	passed_over();
	failing_by_hand();
	refused();
	moved_meanwhile(false);
	moved_meanwhile(true);
	return CHECK_DONE();
}
