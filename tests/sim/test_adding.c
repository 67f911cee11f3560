/* A new disk in the place of a member that is out (fs_member_add): which member that is when several are out or another change is under
 * way, what becomes of the old disk when it is connected again, and what is refused.  test_replace cuts the power in all of it. */
#include "fs/core.h"
#include "fs/format.h"
#include "fs/upkeep/members.h"
#include "tests/sim/replace_state.h"
#include "tests/unit/check.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#define DISKS 4u
#define OLD 1u
#define NEW DISKS                /* blank disks, and the indexes that they get as members */
#define OTHER (DISKS + 1u)
#define DISK_BYTES (UINT64_C(16) << 20)
#define SECOND_NS INT64_C(1000000000)

static struct story start(uint64_t seed)
{
	struct story run = { 0 };
	REQUIRE(simfs_make(&run.sim, DISKS, DISK_BYTES, CIPHER_XCHACHA20_POLY1305, seed) == 0);
	REQUIRE(story_write_files(&run, 20) == 0);
	simworld_add(run.sim->world, DISK_BYTES + UNIT_BYTES);
	simworld_add(run.sim->world, DISK_BYTES);
	return run;
}

/* Mounts again, without these two. */
static void go_on_without(struct story *run, unsigned a, unsigned b)
{
	replace_leave_out(run->sim, a, b);
	REQUIRE(simfs_remount(run->sim) == 0);
	REQUIRE(story_write_files(run, 5) == 0);
}

static int add(struct simfs *sim, unsigned disk, bool force, unsigned *ret_member, unsigned *ret_new)
{
	*ret_member = *ret_new = 77;
	return fs_member_add(sim->fs, simdisk_open(sim->world->disks[disk]), force, ret_member, ret_new, &sim->fail);
}

static void must_add(struct simfs *sim, unsigned disk, unsigned member)
{
	unsigned old_member, new_member;
	REQUIRE(add(sim, disk, false, &old_member, &new_member) == 0);
	CHECK_EQ(old_member, member);
	CHECK_EQ(new_member, disk);
	CHECK_EQ(replace_role_of(sim, disk), MEMBER_REPLACEMENT);
}

static void work(struct simfs *sim, unsigned steps)
{
	for (unsigned i = 0; i < steps; i++) {
		CHECK(fs_work(sim->fs) >= 0);
		simfs_sleep(sim, 5 * SECOND_NS);
	}
}

/* Until the columns have moved, and the new member does not vote yet. */
static void work_until_moved(struct simfs *sim, unsigned member)
{
	for (unsigned i = 0; i < 50 && !(config_with_columns(replace_config_of(sim)) >> member & 1); i++)
		CHECK(fs_work(sim->fs) >= 0);
	CHECK(config_with_columns(replace_config_of(sim)) >> member & 1);
	CHECK_EQ(replace_role_of(sim, member), MEMBER_REPLACEMENT);
}

static void must_end(struct story *run, unsigned gone, unsigned disk)
{
	CHECK(replace_settle(run->sim));
	CHECK_EQ(replace_role_of(run->sim, gone), MEMBER_UNUSED);
	CHECK_EQ(replace_role_of(run->sim, disk), MEMBER_VOTER);
	CHECK(story_clean(run->sim->fs));
	CHECK(story_is_there(run->sim->fs, run));
}

static bool label_is_wiped(struct simfs *sim, unsigned disk)
{
	uint8_t label[LABEL_BYTES], zeros[LABEL_BYTES] = { 0 };
	simdisk_peek(sim->world->disks[disk], label_copy_offset_bytes(0, DISK_BYTES), label, sizeof label);
	return !memcmp(label, zeros, sizeof label);
}

/* ---- Who is missing ---- */

/* It is told as a replacing is. */
static void one_is_out(void)
{
	struct story run = start(1);
	go_on_without(&run, OLD, OLD);
	memset(run.sim->events, 0, sizeof run.sim->events);
	must_add(run.sim, NEW, OLD);
	CHECK_EQ(run.sim->events[EVENT_REPLACE_STARTED], 1);
	must_end(&run, OLD, NEW);
	CHECK_EQ(run.sim->events[EVENT_REPLACE_FINISHED], 1);
	CHECK_EQ(run.sim->events[EVENT_SPARE_TAKEN] + run.sim->events[EVENT_MEMBER_RETURNED] + run.sim->events[EVENT_REPLACE_STOPPED], 0);
	CHECK(replace_is_whole(run.sim, OLD, &run));
	simfs_free(run.sim);
}

/* Is there a root of this version of the configuration that has the member out? */
static bool root_says_out(struct simfs *sim, uint64_t version, unsigned member)
{
	const struct geometry *g = &replace_config_of(sim)->geometry;
	bool says = false;
	for (unsigned slot = 0; slot < g->ring_slots; slot++) {
		uint8_t record[ROOT_BYTES];
		struct root_header header;
		simdisk_peek(sim->world->disks[0], g->ring_offset_bytes + slot * ROOT_BYTES, record, sizeof record);
		if (root_header_decode(record, &header) == 0 && header.config_version == version)
			says = says || header.members[member].state == MEMBER_OUT;
	}
	return says;
}

/* No root says yet that it is out: nothing was written since.  One does before its columns begin to move. */
static void dropped_just_now(void)
{
	struct story run = start(2);
	struct member_status s;
	unsigned member, spare;
	REQUIRE(fs_member_spare(run.sim->fs, simdisk_open(run.sim->world->disks[NEW]), false, &spare, &run.sim->fail) == 0);
	uint64_t version = replace_config_of(run.sim)->version;
	REQUIRE(array_drop_member(fs_array(run.sim->fs), OLD, "of the test") == 0);
	array_member_status(fs_array(run.sim->fs), OLD, &s);
	CHECK(s.state == MEMBER_OUT && !s.out_for_good);
	CHECK(!root_says_out(run.sim, version, OLD));
	REQUIRE(fs_member_add_spare(run.sim->fs, spare, &member, &run.sim->fail) == 0);
	CHECK_EQ(member, OLD);
	CHECK(root_says_out(run.sim, version, OLD));
	/* Its disk still answers, so that it comes back by itself, and goes all the same. */
	must_end(&run, OLD, NEW);
	CHECK_EQ(run.sim->events[EVENT_MEMBER_RETURNED], 1);
	CHECK(label_is_wiped(run.sim, OLD));
	simfs_free(run.sim);
}

/* The one that took the columns is lost before it votes: with the member that it stands in for, which votes and is out, or which serves. */
static void replacement_is_out(bool serving)
{
	struct story run = start(3 + serving);
	unsigned new_member;
	if (serving) {
		REQUIRE(fs_member_replace_by(run.sim->fs, OLD, simdisk_open(run.sim->world->disks[NEW]), false, &new_member, &run.sim->fail) == 0);
	} else {
		go_on_without(&run, OLD, OLD);
		must_add(run.sim, NEW, OLD);
	}
	work_until_moved(run.sim, NEW);
	go_on_without(&run, NEW, serving ? NEW : OLD);
	must_add(run.sim, OTHER, NEW);
	must_end(&run, NEW, OTHER);
	CHECK_EQ(replace_role_of(run.sim, OLD), MEMBER_UNUSED);
	replace_leave_out(run.sim, NO_DISK, NO_DISK);
	CHECK(replace_is_whole(run.sim, NO_DISK, &run));
	simfs_free(run.sim);
}

/* Only its vote is still to be taken over: there is no place for another disk. */
static void voter_is_out(void)
{
	struct story run = start(5);
	unsigned member, new_member;
	go_on_without(&run, OLD, OLD);
	must_add(run.sim, NEW, OLD);
	work_until_moved(run.sim, NEW);
	CHECK_EQ(add(run.sim, OTHER, false, &member, &new_member), -ENOENT);
	CHECK_EQ(run.sim->fail.code, FAIL_USAGE);
	CHECK(strstr(run.sim->fail.text, "already, or several are. Make sim5 a spare"));
	must_end(&run, OLD, NEW);
	simfs_free(run.sim);
}

static unsigned add_spare(struct simfs *sim, unsigned disk)
{
	unsigned spare = 77;
	REQUIRE(fs_member_spare(sim->fs, simdisk_open(sim->world->disks[disk]), false, &spare, &sim->fail) == 0);
	return spare;
}

static void spare_is_out_too(void)
{
	struct story run = start(6);
	CHECK_EQ(add_spare(run.sim, NEW), NEW);
	go_on_without(&run, OLD, NEW);
	must_add(run.sim, OTHER, OLD);
	must_end(&run, OLD, OTHER);
	CHECK_EQ(replace_role_of(run.sim, NEW), MEMBER_SPARE);
	CHECK(replace_is_whole(run.sim, OLD, &run));
	simfs_free(run.sim);
}

/* A spare need not be waited for; and once it steps in, nobody else does. */
static void spare_by_name(void)
{
	struct story run = start(7);
	unsigned member, new_member;
	CHECK_EQ(add_spare(run.sim, NEW), NEW);
	CHECK_EQ(fs_member_add_spare(run.sim->fs, NEW, &member, &run.sim->fail), -ENOENT);
	CHECK_EQ(run.sim->fail.code, FAIL_USAGE);
	go_on_without(&run, OLD, OLD);
	REQUIRE(fs_member_add_spare(run.sim->fs, NEW, &member, &run.sim->fail) == 0);
	CHECK_EQ(member, OLD);
	CHECK_EQ(add(run.sim, OTHER, false, &member, &new_member), -ENOENT);
	CHECK_EQ(run.sim->fail.code, FAIL_USAGE);
	must_end(&run, OLD, NEW);
	simfs_free(run.sim);
}

/* One that serves is being replaced, and another one is lost: that comes first.  What was to take the place of the former is a spare. */
static void others_are_in_the_way(void)
{
	struct story run = start(8);
	unsigned member;
	REQUIRE(fs_member_replace_by(run.sim->fs, OLD, simdisk_open(run.sim->world->disks[NEW]), false, &member, &run.sim->fail) == 0);
	go_on_without(&run, 2, 2);
	CHECK_EQ(replace_role_of(run.sim, NEW), MEMBER_REPLACEMENT);
	memset(run.sim->events, 0, sizeof run.sim->events);
	must_add(run.sim, OTHER, 2);
	CHECK_EQ(run.sim->events[EVENT_REPLACE_STOPPED], 1);
	CHECK_EQ(replace_role_of(run.sim, NEW), MEMBER_SPARE);
	must_end(&run, 2, OTHER);
	CHECK_EQ(replace_role_of(run.sim, OLD), MEMBER_VOTER);
	CHECK(replace_is_whole(run.sim, 2, &run));
	simfs_free(run.sim);
}

/* What was to take the place is out itself. */
static void new_one_dies(void)
{
	struct story run = start(9);
	go_on_without(&run, OLD, OLD);
	must_add(run.sim, NEW, OLD);
	work(run.sim, 1);
	go_on_without(&run, OLD, NEW);
	must_add(run.sim, OTHER, OLD);
	CHECK_EQ(replace_role_of(run.sim, NEW), MEMBER_SPARE);
	must_end(&run, OLD, OTHER);
	CHECK(replace_is_whole(run.sim, OLD, &run));
	simfs_free(run.sim);
}

/* A disk need not be as large as the old one was, only large enough for what lay there. */
static void smaller_than_the_old_one(void)
{
	struct story run = start(10);
	go_on_without(&run, OLD, OLD);
	must_add(run.sim, NEW, OLD);
	must_end(&run, OLD, NEW);
	go_on_without(&run, OLD, NEW);
	unsigned member, new_member;
	REQUIRE(add(run.sim, OTHER, false, &member, &new_member) == 0);
	CHECK_EQ(member, NEW);
	CHECK_EQ(new_member, OLD);       /* the index that became free */
	CHECK(replace_config_of(run.sim)->members[OLD].size_bytes < replace_config_of(run.sim)->members[NEW].size_bytes);
	must_end(&run, NEW, OLD);
	simfs_free(run.sim);
}

/* ---- What is made ---- */

#define BIG_BYTES (UINT64_C(12) << 20)
#define BIG_PIECE_BYTES (UINT64_C(1) << 18)

static void fill_piece(uint64_t at, uint8_t *bytes)
{
	for (size_t i = 0; i < BIG_PIECE_BYTES; i++)
		bytes[i] = (uint8_t)((at + i) * 2654435761u >> 13);
}

/* Over several parity runs, so that what is made of a run of rows is now data and now parity. */
static void write_big(struct simfs *sim)
{
	static uint8_t bytes[BIG_PIECE_BYTES];
	struct fs_attr attr;
	REQUIRE(fs_mknod(sim->fs, OBJECT_ROOT, "big", S_IFREG | 0644, 0, (struct fs_cred){ 0 }, &attr) == 0);
	for (uint64_t at = 0; at < BIG_BYTES; at += sizeof bytes) {
		fill_piece(at, bytes);
		REQUIRE(fs_write(sim->fs, attr.ino, bytes, sizeof bytes, at, false, NULL) == (ssize_t)sizeof bytes);
	}
	REQUIRE(fs_sync(sim->fs) == 0);
}

static unsigned wrong_pieces(struct simfs *sim)
{
	static uint8_t bytes[BIG_PIECE_BYTES], want[BIG_PIECE_BYTES];
	struct fs_attr attr;
	unsigned wrong = 0;
	REQUIRE(fs_lookup(sim->fs, OBJECT_ROOT, "big", &attr) == 0);
	for (uint64_t at = 0; at < BIG_BYTES; at += sizeof bytes) {
		fill_piece(at, want);
		wrong += fs_read(sim->fs, attr.ino, bytes, sizeof bytes, at) != (ssize_t)sizeof bytes || memcmp(bytes, want, sizeof bytes);
	}
	return wrong;
}

static void much_data(void)
{
	struct story run = start(16);
	write_big(run.sim);
	go_on_without(&run, OLD, OLD);
	must_add(run.sim, NEW, OLD);
	must_end(&run, OLD, NEW);
	CHECK(replace_is_whole(run.sim, OLD, &run));
	replace_leave_out(run.sim, OLD, 0);
	REQUIRE(simfs_remount(run.sim) == 0);
	CHECK_EQ(wrong_pieces(run.sim), 0);
	CHECK_EQ(run.sim->events[EVENT_HEALED] + run.sim->events[EVENT_DAMAGED], 0);
	simfs_free(run.sim);
}

static uint64_t bytes_moved(const struct simfs *sim)
{
	uint64_t bytes = 0;
	for (unsigned i = 0; i <= NEW; i++) {
		struct simstats stats = simdisk_stats(sim->world->disks[i]);
		bytes += stats.read_bytes + stats.written_bytes;
	}
	return bytes;
}

/* Of all disks, from a disk's being added to its being a member like others; without the clearing of its log's ring, which grows with the
 * disk up to 64 MiB. */
static uint64_t cost_of_adding(uint64_t disk_bytes)
{
	struct story run = { 0 };
	REQUIRE(simfs_make(&run.sim, DISKS, disk_bytes, CIPHER_XCHACHA20_POLY1305, 29) == 0);
	REQUIRE(story_write_files(&run, 100) == 0);
	simworld_add(run.sim->world, disk_bytes);
	go_on_without(&run, OLD, OLD);
	uint64_t before = bytes_moved(run.sim);
	must_add(run.sim, NEW, OLD);
	CHECK(replace_settle(run.sim));
	uint64_t bytes = bytes_moved(run.sim) - before - array_log_bytes(fs_array(run.sim->fs));
	must_end(&run, OLD, NEW);
	simfs_free(run.sim);
	return bytes;
}

/* It costs what is in use, whatever the size. */
static void large_disks(void)
{
	uint64_t small = cost_of_adding(DISK_BYTES), large = cost_of_adding(16 * DISK_BYTES);
	printf("adding: %llu bytes read and written on small disks, %llu on disks 16 times as large\n", (unsigned long long)small,
		(unsigned long long)large);
	CHECK(large < small + small / 4);
}

/* A block in the middle of it is damaged on another disk.  Where data is made with it, that does not verify, which is told; with the rest
 * of the rows it goes on. */
static void damaged_elsewhere(void)
{
	struct story run = start(17);
	write_big(run.sim);
	go_on_without(&run, OLD, OLD);
	uint64_t data = replace_config_of(run.sim)->geometry.data_offset_bytes;
	unsigned wrong = 0;
	memset(run.sim->events, 0, sizeof run.sim->events);
	for (unsigned row = 70; row < 250; row += 60)
		simdisk_flip(run.sim->world->disks[0], data + row * UNIT_BYTES + 777, 0x11);
	must_add(run.sim, NEW, OLD);
	CHECK(replace_settle(run.sim));
	CHECK_EQ(replace_role_of(run.sim, NEW), MEMBER_VOTER);
	CHECK(run.sim->events[EVENT_UNREADABLE] > 0);
	CHECK(story_is_there(run.sim->fs, &run));
	wrong = wrong_pieces(run.sim);
	CHECK(wrong > 0 && wrong <= 8);
	simfs_free(run.sim);
}

/* ---- The old disk ---- */

/* It is taken back while its columns are on their way, and loses them all the same. */
static void old_one_returns(void)
{
	struct story run = start(11);
	unsigned member;
	go_on_without(&run, OLD, OLD);
	must_add(run.sim, NEW, OLD);
	work(run.sim, 1);
	REQUIRE(fs_member_readd(run.sim->fs, simdisk_open(run.sim->world->disks[OLD]), &member, &run.sim->fail) == 0);
	CHECK_EQ(member, OLD);
	REQUIRE(story_write_files(&run, 3) == 0);
	must_end(&run, OLD, NEW);
	CHECK(label_is_wiped(run.sim, OLD));
	CHECK(replace_is_whole(run.sim, NO_DISK, &run));
	simfs_free(run.sim);
}

/* It comes back too late: it is no member any more, is left out by a mount, and is a disk as any other. */
static void old_one_comes_late(void)
{
	struct story run = start(12);
	unsigned member;
	go_on_without(&run, OLD, OLD);
	must_add(run.sim, NEW, OLD);
	must_end(&run, OLD, NEW);
	CHECK_EQ(fs_member_readd(run.sim->fs, simdisk_open(run.sim->world->disks[OLD]), &member, &run.sim->fail), -ENOENT);
	CHECK_EQ(run.sim->fail.code, FAIL_MIXED);
	go_on_without(&run, NO_DISK, NO_DISK);
	CHECK(replace_settle(run.sim));
	CHECK_EQ(array_member_count(fs_array(run.sim->fs)), NEW + 1);
	CHECK_EQ(replace_role_of(run.sim, OLD), MEMBER_UNUSED);
	/* With the new one away it makes up for nothing. */
	go_on_without(&run, NEW, NEW);
	CHECK(array_degraded(fs_array(run.sim->fs)));
	CHECK(story_is_there(run.sim->fs, &run));
	go_on_without(&run, NO_DISK, NO_DISK);
	CHECK(replace_settle(run.sim));
	CHECK_EQ(add_spare(run.sim, OLD), OLD);
	CHECK(replace_is_whole(run.sim, NO_DISK, &run));
	simfs_free(run.sim);
}

/* The missing member's own disk is taken back, not made anew; unless its owner insists. */
static void own_disk(void)
{
	struct story run = start(13);
	unsigned member, new_member;
	go_on_without(&run, OLD, OLD);
	CHECK_EQ(add(run.sim, OLD, false, &member, &new_member), -EEXIST);
	CHECK_EQ(run.sim->fail.code, FAIL_SIGNATURE);
	CHECK(strstr(run.sim->fail.text, "readd takes it back"));
	REQUIRE(add(run.sim, OLD, true, &member, &new_member) == 0);
	CHECK_EQ(member, OLD);
	CHECK_EQ(new_member, NEW);
	must_end(&run, OLD, NEW);
	CHECK(replace_is_whole(run.sim, NO_DISK, &run));
	simfs_free(run.sim);
}

/* ---- Refused ---- */

static void refused(void)
{
	struct story run = start(14);
	struct simworld *world = run.sim->world;
	struct fail *fail = &run.sim->fail;
	unsigned member, new_member, small = world->disk_count;
	simworld_add(world, DISK_BYTES - (UINT64_C(1) << 20));
	CHECK_EQ(add(run.sim, NEW, false, &member, &new_member), -ENOENT);
	CHECK_EQ(fail->code, FAIL_USAGE);
	CHECK(strstr(fail->text, "No member is missing"));
	go_on_without(&run, OLD, OLD);
	uint64_t version = replace_config_of(run.sim)->version, changes = world->changes;
	CHECK_EQ(add(run.sim, small, true, &member, &new_member), -ENOSPC);
	CHECK_EQ(fail->code, FAIL_TOO_SMALL);
	CHECK(strstr(fail->text, "too small to take the place of member 2"));
	CHECK_EQ(add(run.sim, 0, true, &member, &new_member), -EBUSY);
	CHECK_EQ(fail->code, FAIL_BUSY);
	CHECK_EQ(world->changes, changes);
	CHECK_EQ(replace_config_of(run.sim)->version, version);
	CHECK(member == OLD && new_member == 77);
	simfs_free(run.sim);
}

/* All indexes are taken: a new member would need one more. */
static void too_many(void)
{
	struct story run = { 0 };
	unsigned member, new_member;
	REQUIRE(simfs_make(&run.sim, MEMBERS_MAX, MEMBER_MIN_BYTES, CIPHER_NONE, 15) == 0);
	simworld_add(run.sim->world, MEMBER_MIN_BYTES);
	replace_leave_out(run.sim, OLD, MEMBERS_MAX);
	REQUIRE(simfs_remount(run.sim) == 0);
	REQUIRE(story_write_files(&run, 3) == 0);
	uint64_t changes = run.sim->world->changes;
	CHECK_EQ(add(run.sim, MEMBERS_MAX, false, &member, &new_member), -EMLINK);
	CHECK_EQ(run.sim->fail.code, FAIL_USAGE);
	CHECK(strstr(run.sim->fail.text, "keyless"));
	CHECK_EQ(fs_member_spare(run.sim->fs, simdisk_open(run.sim->world->disks[MEMBERS_MAX]), false, &new_member, &run.sim->fail), -EMLINK);
	CHECK_EQ(run.sim->world->changes, changes);
	simfs_free(run.sim);
}

int main(void)
{
	one_is_out();
	dropped_just_now();
	replacement_is_out(false);
	replacement_is_out(true);
	voter_is_out();
	spare_is_out_too();
	spare_by_name();
	others_are_in_the_way();
	new_one_dies();
	smaller_than_the_old_one();
	much_data();
	large_disks();
	damaged_elsewhere();
	old_one_returns();
	old_one_comes_late();
	own_disk();
	refused();
	too_many();
	return CHECK_DONE();
}
