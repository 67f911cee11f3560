/* fs->lock is never held over I/O, sealing, opening, or drawing a nonce: while it is, nobody else gets on.
 *
 * A story goes through all that does one of these: making, mounting, users' operations with caches so small that nothing stays in them,
 * fsync, replays, members that are missing, return, are replaced and fail, a scrub, relocation, and what fsck does.  Each time tests/sim/unlocked.c
 * looks at the lock.  Every chapter says which kinds must come up in it, so that none passes because nothing was done; and what is read
 * must be right. */
#include "fs/core.h"
#include "fs/fsck/check.h"
#include "fs/space/relocate.h"
#include "fs/upkeep/members.h"
#include "fs/upkeep/scrub.h"
#include "tests/sim/replace_state.h"
#include "tests/sim/spoil.h"
#include "tests/sim/unlocked.h"
#include "tests/unit/check.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <string.h>
#include <sys/stat.h>

#define DISKS 4u
#define DISK_BYTES (UINT64_C(16) << 20)
#define BIG_BYTES (4u << 20)
#define NAMES 300u
#define FILLER_BYTES (200u << 10)
#define FILLERS_MAX 400u
#define SECOND_NS INT64_C(1000000000)

#define READS (1u << UNLOCKED_READ)
#define WRITES (1u << UNLOCKED_WRITE)
#define FLUSHES (1u << UNLOCKED_FLUSH)
#define NONCES (1u << UNLOCKED_NONCE)
#define SEALS (1u << UNLOCKED_SEAL)
#define OPENS (1u << UNLOCKED_OPEN)
#define READING (READS | OPENS)
#define LOGGING (WRITES | NONCES | SEALS)
#define WRITING (LOGGING | FLUSHES)
#define ALL (READING | WRITING)

static const struct fs_cred cred;
static struct story story;
static uint64_t big, folder;
static uint8_t want[BIG_BYTES + FILLER_BYTES], got[sizeof want];
static size_t big_bytes;

static struct fs *fs(void) { return story.sim->fs; }

/* ---- The large file ---- */

static void put(size_t at, size_t count, unsigned salt)
{
	for (size_t i = at; i < at + count; i++)
		want[i] = (uint8_t)(i * 7 + i / 251 + salt);
	big_bytes = at + count > big_bytes ? at + count : big_bytes;
	CHECK_EQ(simfs_write_buffer(fs(), big, want + at, count, at), count);
}

static void cut_out(int mode, size_t at, size_t count)
{
	memset(want + at, 0, count);
	CHECK(fs_fallocate(fs(), big, mode, at, count) == 0);
}

static void resize(size_t bytes)
{
	struct fs_attr attr = { .size_bytes = bytes }, after;
	if (bytes < big_bytes)
		memset(want + bytes, 0, big_bytes - bytes);
	big_bytes = bytes;
	CHECK(fs_setattr(fs(), big, &attr, FS_SET_SIZE, &after) == 0);
}

static bool is_right(void)
{
	return fs_read(fs(), big, got, sizeof got, 0) == (ssize_t)big_bytes && !memcmp(got, want, big_bytes) && story_is_there(fs(), &story);
}

static void again(void)
{
	REQUIRE(simfs_remount(story.sim) == 0);
}

static void lose_power(void)
{
	REQUIRE(simfs_crash(story.sim, SIMCUT_DROP_ALL) == 0);
}

/* ---- Users ---- */

static void making(void)
{
	REQUIRE(simfs_make(&story.sim, DISKS, DISK_BYTES, CIPHER_XCHACHA20_POLY1305, 5) == 0);
	story.sim->options.node_cache_bytes = 64u << 10;
	story.sim->options.dirty_bytes = 1u << 20;
	again();
	CHECK(fs_sync(fs()) == 0);
}

static const char *name_of(unsigned i)
{
	static char name[201];
	snprintf(name, sizeof name, "name %u%0190u", i, 0);      /* long, so that there are several levels of nodes */
	return name;
}

static uint64_t make(uint64_t dir, const char *name, uint32_t mode)
{
	struct fs_attr attr;
	REQUIRE(fs_mknod(fs(), dir, name, mode, 0, cred, &attr) == 0);
	return attr.ino;
}

static void writing(void)
{
	struct fs_attr attr;
	char target[3001] = "";
	big = make(OBJECT_ROOT, "big", S_IFREG | 0644);
	for (size_t at = 0; at < BIG_BYTES; at += 256u << 10)
		put(at, 256u << 10, 1);
	folder = make(OBJECT_ROOT, "folder", S_IFDIR | 0755);
	for (unsigned i = 0; i < NAMES; i++)
		CHECK_EQ(fs_write(fs(), make(folder, name_of(i), S_IFREG | 0644), want, i * 17, 0, false, NULL), i * 17);
	memset(target, 't', sizeof target - 1);
	CHECK(fs_symlink(fs(), OBJECT_ROOT, "symlink", target, cred, &attr) == 0);
	CHECK(fs_setxattr(fs(), big, "user.short", "value", 5, 0) == 0);
	CHECK(fs_setxattr(fs(), big, "user.long", want, 20000, 0) == 0);
	CHECK(fs_link(fs(), big, folder, "link", &attr) == 0);
	REQUIRE(story_write_files(&story, 40) == 0);
	CHECK(is_right());
}

static bool count_entry(void *ctx, const struct fs_dirent *entry)
{
	unsigned *count = ctx;
	(void)entry;
	++*count;
	return true;
}

static void reading_cold(void)
{
	struct fs_attr attr;
	unsigned count = 0;
	uint64_t at;
	again();
	CHECK(is_right());
	CHECK(fs_readdir(fs(), folder, 0, true, count_entry, &count) == 0);
	CHECK_EQ(count, NAMES + 3);
	for (unsigned i = 0; i < NAMES; i++) {
		CHECK(fs_lookup(fs(), folder, name_of(i), &attr) == 0);
		CHECK_EQ(fs_read(fs(), attr.ino, got, sizeof got, 0), i * 17);
	}
	CHECK(fs_lookup(fs(), OBJECT_ROOT, "symlink", &attr) == 0);
	CHECK(fs_readlink(fs(), attr.ino, (char *)got, sizeof got) == 0);
	CHECK_EQ(fs_getxattr(fs(), big, "user.long", got, sizeof got), 20000);
	CHECK(fs_listxattr(fs(), big, (char *)got, sizeof got) > 0);
	CHECK(fs_seek(fs(), big, 0, SEEK_HOLE, &at) == 0);
	CHECK(fs_sync(fs()) == 0);
}

/* Of records that are not in memory: each edge is read. */
static void changing_parts(void)
{
	again();
	for (unsigned i = 0; i < 20; i++)
		put(100001 + i * 190003, 3 + i * 911, 2 + i);
	put(700001, 400000, 30);
	again();
	cut_out(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 1500001, 50001);
	cut_out(FALLOC_FL_ZERO_RANGE, 1900001, 3000);
	CHECK(fs_fallocate(fs(), big, FALLOC_FL_KEEP_SIZE, BIG_BYTES, 300000) == 0);
	again();
	resize(BIG_BYTES - 12345);
	again();
	resize(BIG_BYTES + 7);
	put(BIG_BYTES + 11, 100, 31);
	CHECK(is_right());
	CHECK(fs_sync(fs()) == 0);
}

static void changing_names(void)
{
	struct fs_attr attr;
	again();
	for (unsigned i = 0; i < NAMES; i += 3) {
		char name[24];
		snprintf(name, sizeof name, "new %u", i);
		CHECK(fs_rename(fs(), folder, name_of(i), OBJECT_ROOT, name, 0) == 0);
		CHECK(fs_rename(fs(), OBJECT_ROOT, name, folder, name_of(i + 1), i % 2 ? RENAME_EXCHANGE : 0) == 0);
		CHECK(fs_unlink(fs(), folder, name_of(i + 2)) == 0);
	}
	again();
	make(folder, "sub", S_IFDIR | 0755);
	CHECK(fs_rmdir(fs(), folder, "sub") == 0);
	CHECK(fs_removexattr(fs(), big, "user.long") == 0);
	CHECK(fs_setattr(fs(), big, &(struct fs_attr){ .mode = 0600, .mtime_ns = 77 }, FS_SET_MODE | FS_SET_MTIME, &attr) == 0);
	CHECK(fs_sync(fs()) == 0);
}

/* Freed by the last reference, and, of what is lost with the power, at the next mount. */
static void orphans(void)
{
	struct fs_attr attr;
	for (unsigned round = 0; round < 2; round++) {
		CHECK(fs_tmpfile(fs(), folder, S_IFREG | 0600, cred, &attr) == 0);
		CHECK_EQ(fs_write(fs(), attr.ino, want, FILLER_BYTES, 0, false, NULL), FILLER_BYTES);
		again();
		uint64_t ino = make(OBJECT_ROOT, "orphan", S_IFREG | 0600);
		CHECK_EQ(fs_write(fs(), ino, want, FILLER_BYTES, 0, false, NULL), FILLER_BYTES);
		CHECK(fs_ref(fs(), ino) == 0 && fs_unlink(fs(), OBJECT_ROOT, "orphan") == 0 && fs_sync(fs()) == 0);
		if (round == 0)
			fs_unref(fs(), ino, 1);
		else
			lose_power();
	}
	CHECK(fs_sync(fs()) == 0);
}

static void fsyncs(void)
{
	for (unsigned i = 0; i < 10; i++) {
		put(50001 + i * 100003, 5000, 40 + i);
		CHECK(fs_fsync(fs(), big, false) == 0);
		REQUIRE(story_write_fsync(&story) == 0);
	}
	CHECK(fs_fsync(fs(), OBJECT_ROOT, false) == 0);
}

static void replays(void)
{
	fsyncs();
	lose_power();
	CHECK(is_right());
	CHECK(fs_sync(fs()) == 0);
}

/* ---- Damage ---- */

static void work(void)
{
	for (unsigned i = 0; i < 8; i++) {
		CHECK(fs_work(fs()) >= 0);
		CHECK(story_write_file(&story) == 0);
		simfs_sleep(story.sim, SECOND_NS);
	}
	REQUIRE(story_sync(&story) == 0);
	REQUIRE(replace_settle(story.sim));
	CHECK(is_right());
}

/* Records of the large file that lie on one member. */
static void flip_records(unsigned member)
{
	const struct config *config = replace_config_of(story.sim);
	for (uint64_t block = 0; block < BIG_BYTES / BLOCK_BYTES; block += 50) {
		address at = spoil_data_of(fs(), big, block);
		const struct band *b = at ? config_band(config, address_band(at)) : NULL;
		if (!b)
			continue;
		const struct column *c = &b->columns[band_data_column(b, band_row_of(b, at), (unsigned)(address_unit(at) % band_data_units(b)))];
		if (c->member == member)
			simdisk_flip(story.sim->world->disks[member], column_row_offset_bytes(&config->geometry, c, band_row_of(b, at))
				+ address_block(at) % UNIT_BLOCKS * BLOCK_BYTES + 99, 0x20);
	}
}

static void healing(void)
{
	unsigned healed = story.sim->events[EVENT_HEALED];
	again();
	flip_records(2);
	CHECK(is_right());
	CHECK(story.sim->events[EVENT_HEALED] > healed);
	CHECK(fs_sync(fs()) == 0);
	work();
}

static void scrubbing(void)
{
	struct scrub_status scrub = { .state = SCRUB_RUNNING };
	again();
	flip_records(1);
	CHECK(fs_scrub(fs(), SCRUB_START, 0, &story.sim->fail) == 0);
	for (unsigned i = 0; i < 200 && scrub.state == SCRUB_RUNNING; i++) {
		CHECK(fs_work(fs()) >= 0);
		CHECK(story_write_file(&story) == 0);
		simfs_sleep(story.sim, 5 * SECOND_NS);
		fs_scrub_status(fs(), &scrub);
	}
	CHECK_EQ(scrub.state, SCRUB_FINISHED);
	CHECK(story.sim->events[EVENT_SCRUB_ERRORS] > 0);
	REQUIRE(story_sync(&story) == 0);
	CHECK(is_right());
}

/* ---- Space ---- */

static const char *filler_name(unsigned i)
{
	static char name[24];
	snprintf(name, sizeof name, "filler%u", i);
	return name;
}

static unsigned fill_up(unsigned i)
{
	ssize_t n = FILLER_BYTES;
	struct fs_attr attr;
	for (; i < FILLERS_MAX && n == FILLER_BYTES; i++) {
		int r = fs_mknod(fs(), OBJECT_ROOT, filler_name(i), S_IFREG | 0644, 0, cred, &attr);
		n = r < 0 ? r : fs_write(fs(), attr.ino, got, FILLER_BYTES, 0, false, NULL);
	}
	CHECK_EQ(n, -ENOSPC);
	return i;
}

/* Every other unit of what fills the array is cut out, so that rows become free only by moving the rest. */
static void relocating(void)
{
	struct fs_attr attr;
	again();
	unsigned count = fill_up(0);
	for (unsigned i = 0; i < count; i++)
		for (size_t at = 0; at < FILLER_BYTES && fs_lookup(fs(), OBJECT_ROOT, filler_name(i), &attr) == 0; at += 2 * UNIT_BYTES)
			CHECK(fs_fallocate(fs(), attr.ino, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at, UNIT_BYTES) == 0);
	CHECK(fs_sync(fs()) == 0);
	again();
	CHECK(relocate_batch(fs()) > 0);
	CHECK(fs_sync(fs()) == 0);
	for (unsigned i = 0; i < 20; i++)
		CHECK(fs_work(fs()) >= 0);
	count = fill_up(count);
	for (unsigned i = 0; i < count; i++) {
		int r = fs_unlink(fs(), OBJECT_ROOT, filler_name(i));
		CHECK(r == 0 || r == -ENOENT);
	}
	CHECK(fs_sync(fs()) == 0);
	CHECK(is_right());
}

/* ---- fsck ---- */

static void checking(void)
{
	again();
	CHECK(story_clean(fs()));
}

/* A node is lost that has nothing but small files. */
static void repairing(void)
{
	struct fs_check_options options = { .data = true, .repair = true };
	struct fs_check_result result;
	struct fs_attr attr;
	REQUIRE(fs_lookup(fs(), folder, name_of(NAMES / 2 + 1), &attr) == 0);
	spoil_unit(story.sim, spoil_node_of(fs(), &fs()->file, key_make(attr.ino, ITEM_INODE, 0), 0));
	simfs_close(story.sim, true);
	story.sim->options.repair = true;
	REQUIRE(simfs_open(story.sim) == 0);
	CHECK(fs_check_run(fs(), &options, &result) == 0);
	CHECK(result.fixed > 0);
	CHECK_EQ(result.left, 0);
	story.sim->options.repair = false;
	again();
	CHECK(story_clean(fs()));
}

/* Without the system tree; afterwards it is there again. */
static void salvaging(void)
{
	struct fs_attr attr;
	unsigned number = 0;
	const struct root_body body = fs()->root_body;
	address at = spoil_find_node(fs(), &body.system_tree, TREE_SYSTEM, body.system_level, body.system_level, &number);
	spoil_unit(story.sim, at);
	simfs_close(story.sim, true);
	story.sim->options.read_only = story.sim->options.salvage = true;
	REQUIRE(simfs_open(story.sim) == 0);
	CHECK(fs()->system_lost);
	for (unsigned i = 0; i < NAMES; i++)
		fs_lookup(fs(), folder, name_of(i), &attr);
	CHECK(is_right());
	spoil_unit(story.sim, at);
	story.sim->options.read_only = story.sim->options.salvage = false;
	again();
}

static void going_back(void)
{
	struct fs_attr attr;
	CHECK(fs_setxattr(fs(), folder, "user.new", "", 0, 0) == 0 && fs_sync(fs()) == 0);
	uint64_t generation = fs_generation(fs());
	CHECK(fs_unlink(fs(), folder, "link") == 0 && fs_sync(fs()) == 0);
	simfs_close(story.sim, true);
	story.sim->options.root_generation = generation;
	REQUIRE(simfs_open(story.sim) == 0);
	CHECK(fs_revert(fs()) == 0);
	story.sim->options.root_generation = 0;
	again();
	CHECK(fs_lookup(fs(), folder, "link", &attr) == 0 && attr.ino == big);
	work();
}

/* ---- Members ---- */

static void missing(void)
{
	replace_leave_out(story.sim, 1, NO_DISK);
	again();
	CHECK(is_right());
	put(300001, 900000, 60);
	REQUIRE(story_write_files(&story, 5) == 0);
	fsyncs();
	lose_power();
	CHECK(is_right());
	CHECK(fs_sync(fs()) == 0);
}

static void returning(void)
{
	unsigned in_sync = story.sim->events[EVENT_MEMBER_IN_SYNC];
	replace_leave_out(story.sim, NO_DISK, NO_DISK);
	again();
	work();
	CHECK(story.sim->events[EVENT_MEMBER_IN_SYNC] > in_sync);
}

static void dropped_by_errors(void)
{
	unsigned dropped = story.sim->events[EVENT_MEMBER_DROPPED], in_sync = story.sim->events[EVENT_MEMBER_IN_SYNC];
	simdisk_fault(story.sim->world->disks[2], &(struct simfault){ .kind = SIM_ERROR, .ops_mask = SIM_ON_ALL });
	put(1000001, 500000, 70);
	REQUIRE(story_write_fsync(&story) == 0 && story_write_files(&story, 5) == 0);
	CHECK(story.sim->events[EVENT_MEMBER_DROPPED] > dropped);
	simdisk_clear_faults(story.sim->world->disks[2]);
	simfs_sleep(story.sim, 60 * SECOND_NS);
	work();
	CHECK(story.sim->events[EVENT_MEMBER_IN_SYNC] > in_sync);
}

static void failed_by_hand(void)
{
	unsigned member;
	struct fail fail;
	CHECK(fs_member_fail(fs(), 1, &fail) == 0);
	put(2000001, 500000, 71);
	REQUIRE(story_write_files(&story, 5) == 0);
	CHECK(fs_member_readd(fs(), simdisk_open(story.sim->world->disks[1]), &member, &fail) == 0);
	work();
}

static void replacing(void)
{
	unsigned member, finished = story.sim->events[EVENT_REPLACE_FINISHED];
	struct simdisk *disk = simworld_add(story.sim->world, DISK_BYTES + UNIT_BYTES);
	CHECK(fs_member_replace_by(fs(), 0, simdisk_open(disk), false, &member, &story.sim->fail) == 0);
	work();
	CHECK(story.sim->events[EVENT_REPLACE_FINISHED] > finished);
}

static void spare_steps_in(void)
{
	unsigned member, taken = story.sim->events[EVENT_SPARE_TAKEN];
	struct simdisk *disk = simworld_add(story.sim->world, DISK_BYTES + 2 * UNIT_BYTES);
	CHECK(fs_member_spare(fs(), simdisk_open(disk), false, &member, &story.sim->fail) == 0);
	REQUIRE(replace_settle(story.sim));
	story.sim->world->disks[3]->dead = true;
	REQUIRE(story_write_files(&story, 5) == 0);
	simfs_sleep(story.sim, 3600 * SECOND_NS);
	work();
	CHECK(story.sim->events[EVENT_SPARE_TAKEN] > taken);
}

/* ---- The story ---- */

static const struct chapter { const char *name; void (*tell)(void); unsigned needs; } chapters[] = {
	{ "making", making, ALL },
	{ "writing", writing, WRITING },
	{ "reading cold", reading_cold, READING },
	{ "changing parts", changing_parts, ALL },
	{ "changing names", changing_names, ALL },
	{ "orphans", orphans, ALL },
	{ "fsync", fsyncs, LOGGING },
	{ "replay", replays, ALL },
	{ "scrub", scrubbing, ALL },
	{ "healing", healing, ALL },
	{ "full, and relocation", relocating, ALL },
	{ "check", checking, READING },
	{ "repair", repairing, ALL },
	{ "salvage", salvaging, READING },
	{ "going back", going_back, ALL },
	{ "a member is missing", missing, ALL },
	{ "it returns", returning, ALL },
	{ "one has errors", dropped_by_errors, ALL },
	{ "one is failed by hand", failed_by_hand, ALL },
	{ "one is replaced", replacing, ALL },
	{ "a spare steps in", spare_steps_in, ALL },
};

static void tell(const struct chapter *chapter)
{
	const struct unlocked_counts before = unlocked_counts;
	unsigned failed = check_failed;
	chapter->tell();
	printf("%s:", chapter->name);
	for (unsigned kind = 0; kind < UNLOCKED_KINDS; kind++) {
		unsigned long looked = unlocked_counts.looked[kind] - before.looked[kind], held = unlocked_counts.held[kind] - before.held[kind];
		printf(" %lu %s", looked, unlocked_names[kind]);
		CHECK(looked > 0 || !(chapter->needs >> kind & 1));
		CHECK_EQ(held, 0);
	}
	printf("\n");
	if (check_failed > failed)
		fprintf(stderr, "in the chapter: %s; last event: %s\n", chapter->name, story.sim->last_event);
}

int main(void)
{
	for (unsigned i = 0; i < ARRAY_COUNT(chapters); i++)
		tell(&chapters[i]);
	simfs_free(story.sim);
	printf("in all:");
	for (unsigned kind = 0; kind < UNLOCKED_KINDS; kind++) {
		CHECK(unlocked_counts.looked[kind] > 0);
		printf(" %lu %s", unlocked_counts.looked[kind], unlocked_names[kind]);
	}
	printf("\n");
	return CHECK_DONE();
}
