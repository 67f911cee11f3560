/* Members that are replaced while they serve, new ones in the place of one that is out, spares that step in, and steps of the configuration
 * under power cuts.
 *
 * `cuts` cuts the power at the writes and flushes of a whole replacing, with users at work meanwhile; the owner comes back with all disks
 * (the old one too), or without some: what was synced is there, everything goes on by itself, and in the end any one of the new set may be
 * missing. */
#include "fs/core.h"
#include "fs/fsck/check.h"
#include "fs/upkeep/members.h"
#include "raid/array_step.h"
#include "tests/sim/replace_state.h"
#include "tests/unit/check.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define DISKS 4u
#define OLD 1u
#define NEW DISKS                /* disk and index of the new member */
#define DISK_BYTES (UINT64_C(16) << 20)
#define SECOND_NS INT64_C(1000000000)
#if defined(__SANITIZE_ADDRESS__)
#define STRIDE 14u
#else
#define STRIDE 1u
#endif

enum kind { SERVING, SPARE, ADDING };
static const char *const kind_names[] = { "serving", "spare", "adding" };

static bool replaced(const struct simfs *sim)
{
	return replace_role_of(sim, OLD) == MEMBER_UNUSED && replace_role_of(sim, NEW) == MEMBER_VOTER && replace_at_rest(sim);
}

static int replace_old(struct simfs *sim)
{
	unsigned member;
	int r = fs_member_replace_by(sim->fs, OLD, simdisk_open(sim->world->disks[NEW]), false, &member, &sim->fail);
	CHECK(r < 0 || member == NEW);
	return r;
}

static int add_new(struct simfs *sim)
{
	unsigned member, new_member;
	int r = fs_member_add(sim->fs, simdisk_open(sim->world->disks[NEW]), false, &member, &new_member, &sim->fail);
	CHECK(r < 0 || (member == OLD && new_member == NEW));
	return r;
}

static int add_spare(struct simfs *sim, unsigned disk, unsigned *ret_member)
{
	return fs_member_spare(sim->fs, simdisk_open(sim->world->disks[disk]), false, ret_member, &sim->fail);
}

static struct story start(enum kind kind, uint64_t seed)
{
	struct story run = { 0 };
	unsigned spare;
	REQUIRE(simfs_make(&run.sim, DISKS, DISK_BYTES, CIPHER_XCHACHA20_POLY1305, seed) == 0);
	REQUIRE(story_write_files(&run, 20) == 0);
	simworld_add(run.sim->world, DISK_BYTES + UNIT_BYTES);
	if (kind == SPARE) {
		REQUIRE(add_spare(run.sim, NEW, &spare) == 0);
		CHECK_EQ(spare, NEW);
	}
	if (kind != SERVING) {
		replace_leave_out(run.sim, OLD, OLD);
		REQUIRE(simfs_remount(run.sim) == 0);
		REQUIRE(story_write_files(&run, 5) == 0);
	}
	return run;
}

/* The whole story, until it ends or the power goes. */
static void play(struct story *run, enum kind kind)
{
	int r = kind == SERVING ? replace_old(run->sim) : kind == ADDING ? add_new(run->sim) : 0;
	for (unsigned i = 0; i < 300 && r == 0 && !replaced(run->sim); i++) {
		r = fs_work(run->sim->fs);
		r = r < 0 || i >= 16 ? r : i % 2 == 0 ? story_write_files(run, 1) : story_write_fsync(run);
		simfs_sleep(run->sim, 5 * SECOND_NS);
	}
	if (r == 0)
		r = story_write_files(run, 2);
	run->whole = r == 0 && replaced(run->sim);
}

/* The owner sees how far it came, and asks again for what was not begun, if it is to be asked for. */
static void go_on(struct simfs *sim, enum kind kind, bool old_there)
{
	unsigned member;
	if (kind == SERVING && replace_role_of(sim, NEW) == MEMBER_UNUSED)
		REQUIRE(replace_old(sim) == 0);
	if (kind == ADDING && !old_there && replace_role_of(sim, NEW) == MEMBER_UNUSED)
		REQUIRE(add_new(sim) == 0);
	if (kind == ADDING && !old_there && replace_role_of(sim, NEW) == MEMBER_SPARE) {
		int r = fs_member_add_spare(sim->fs, NEW, &member, &sim->fail);
		CHECK(r == 0 ? member == OLD : r == -EBUSY);     /* it is not in sync yet, and then steps in by itself */
	}
	CHECK(replace_settle(sim));
	if (kind == SERVING && replace_role_of(sim, NEW) == MEMBER_SPARE)
		REQUIRE(fs_member_replace(sim->fs, OLD, NEW, &sim->fail) == 0);
	CHECK(replace_settle(sim));
}

/* With all disks the old one may have been taken back, before the new one was more than a spare. */
static void must_end(struct simfs *sim, enum kind kind, bool old_there, const struct story *story)
{
	bool began = replace_role_of(sim, NEW) == MEMBER_REPLACEMENT || replace_role_of(sim, OLD) == MEMBER_UNUSED;
	go_on(sim, kind, old_there);
	if (!replaced(sim) && (began || kind == SERVING || !old_there)) {
		replace_tell(sim);
		CHECK(replaced(sim));
	}
	CHECK(replace_is_whole(sim, replace_role_of(sim, OLD) == MEMBER_UNUSED ? OLD : NO_DISK, story));
}

/* What was cut goes on in each way in which the owner may come back. */
static void after_cut(const struct story *run, enum kind kind, enum simcut_policy policy)
{
	static const unsigned absent[][2] = { { NO_DISK, NO_DISK }, { OLD, OLD }, { NEW, NEW }, { 2, 2 }, { OLD, NEW } };
	for (unsigned way = 0; way < ARRAY_COUNT(absent); way++) {
		const unsigned *gone = absent[way];
		if (kind == SERVING ? gone[0] != gone[1] : gone[0] == 2)         /* two would be at fault */
			continue;
		struct simfs *sim = simfs_clone(run->sim);
		simworld_cut(sim->world, policy);
		memset(sim->events, 0, sizeof sim->events);      /* without power nothing could be read */
		replace_leave_out(sim, gone[0], gone[1]);
		REQUIRE(simfs_open(sim) == 0);
		CHECK(!fs_read_only(sim->fs));
		CHECK(story_is_there(sim->fs, run));
		if (gone[0] == NO_DISK || (gone[0] == OLD && gone[1] == OLD && (kind == ADDING || replace_role_of(sim, NEW) != MEMBER_UNUSED)))
			must_end(sim, kind, gone[0] == NO_DISK, run);
		else {
			CHECK(story_clean(sim->fs));
			replace_leave_out(sim, NO_DISK, NO_DISK);
			REQUIRE(simfs_remount(sim) == 0);
			CHECK(replace_settle(sim));
			CHECK(story_is_there(sim->fs, run));
		}
		simfs_free(sim);
	}
}

static void cuts(enum kind kind, unsigned stride)
{
	struct story first = start(kind, 31 + kind);
	struct simfs *before = simfs_clone(first.sim);
	simfs_free(first.sim);
	struct story run = story_again(before, &first);
	REQUIRE(run.sim->fs);
	uint64_t from = run.sim->world->changes;
	play(&run, kind);
	CHECK(run.whole);
	CHECK_EQ(run.sim->events[EVENT_SPARE_TAKEN], kind == SPARE);
	CHECK_EQ(run.sim->events[EVENT_REPLACE_STARTED], 1);
	CHECK_EQ(run.sim->events[EVENT_REPLACE_FINISHED], 1);
	uint64_t to = run.sim->world->changes;
	REQUIRE(simfs_close(run.sim, false) == 0);
	after_cut(&run, kind, SIMCUT_KEEP_ALL);
	simfs_free(run.sim);
	unsigned count = 0;
	for (uint64_t at = from; at < to; at += stride, count++) {
		run = story_again(before, &first);
		REQUIRE(run.sim->fs);
		run.sim->world->cut_at_change = at;
		play(&run, kind);
		simfs_close(run.sim, true);
		after_cut(&run, kind, count % 3 == 0 ? SIMCUT_DROP_ALL : count % 3 == 1 ? SIMCUT_KEEP_ALL : SIMCUT_RANDOM);
		simfs_free(run.sim);
	}
	printf("%s: %u cuts of %llu changes\n", kind_names[kind], count, (unsigned long long)(to - from));
	simfs_free(before);
}

/* ---- Faults ---- */

static void work(struct simfs *sim, unsigned steps)
{
	for (unsigned i = 0; i < steps; i++) {
		CHECK(fs_work(sim->fs) >= 0);
		simfs_sleep(sim, 5 * SECOND_NS);
	}
}

/* A member fails, or hangs, in the middle: the old one, the new one, or another.  What is written goes on, and so does the replacing, when
 * the member is back or without it; but if another is lost, the new one takes its place, and the old one goes on serving. */
static void failing_meanwhile(void)
{
	static const enum simfault_kind kinds[] = { SIM_ERROR, SIM_HANG };
	static const unsigned victims[] = { OLD, NEW, 2 };
	for (unsigned i = 0; i < ARRAY_COUNT(kinds) * ARRAY_COUNT(victims); i++) {
		unsigned victim = victims[i / ARRAY_COUNT(kinds)];
		struct story run = start(SERVING, 50 + i);
		struct simdisk *disk = run.sim->world->disks[victim];
		REQUIRE(replace_old(run.sim) == 0);
		work(run.sim, 1);
		simdisk_fault(disk, &(struct simfault){ .kind = kinds[i % ARRAY_COUNT(kinds)], .ops_mask = SIM_ON_ALL });
		REQUIRE(story_write_files(&run, 5) == 0);
		work(run.sim, 20);
		REQUIRE(story_write_files(&run, 5) == 0);
		CHECK_EQ(replace_role_of(run.sim, OLD), victim == OLD ? MEMBER_UNUSED : MEMBER_VOTER);
		simdisk_clear_faults(disk);
		simdisk_return_hung(disk, false);
		CHECK(replace_settle(run.sim));
		unsigned gone = victim == 2 ? 2 : OLD;
		CHECK_EQ(replace_role_of(run.sim, gone), MEMBER_UNUSED);
		CHECK_EQ(replace_role_of(run.sim, NEW), MEMBER_VOTER);
		CHECK(replace_is_whole(run.sim, gone, &run));
		simfs_free(run.sim);
	}
}

/* A member fails after it was looked at whether all have what they need, and before the list ends: it does not end.  Else the new member,
 * which nobody had to have until then, would be one that nobody may be without, with another lost. */
static void fails_as_it_ends(void)
{
	static const unsigned victims[] = { NEW, 2 };
	for (unsigned i = 0; i < ARRAY_COUNT(victims); i++) {
		struct story run = start(SERVING, 67 + i);
		struct simfs *sim = run.sim;
		struct array_job job = { .position = 0 };
		uint64_t data = replace_config_of(sim)->geometry.data_offset_bytes;
		REQUIRE(replace_old(sim) == 0);
		for (unsigned k = 0; k < 50 && job.position != JOB_ALL; k++) {
			work(sim, 1);
			CHECK(array_job(fs_array(sim->fs), &job));
		}
		REQUIRE(story_write_file(&run) == 0);
		simdisk_fault(sim->world->disks[victims[i]], &(struct simfault){ .kind = SIM_ERROR, .ops_mask = SIM_ON(DISK_WRITE), .from_bytes = data });
		CHECK(fs_work(sim->fs) >= 0);
		CHECK_EQ(sim->events[EVENT_MEMBER_DROPPED], 1);
		CHECK(array_job(fs_array(sim->fs), &job));
		CHECK_EQ(replace_role_of(sim, NEW), MEMBER_REPLACEMENT);
		CHECK(story_sync(&run) == 0);
		replace_leave_out(sim, NEW, 2);
		CHECK(simfs_crash(sim, SIMCUT_DROP_ALL) == 0);
		CHECK(story_is_there(sim->fs, &run));
		simdisk_clear_faults(sim->world->disks[victims[i]]);
		replace_leave_out(sim, NO_DISK, NO_DISK);
		REQUIRE(simfs_remount(sim) == 0);
		CHECK(replace_settle(sim));
		CHECK(replaced(sim));
		CHECK(replace_is_whole(sim, OLD, &run));
		simfs_free(sim);
	}
}

static struct scrub_status scrubbed(struct simfs *sim)
{
	struct scrub_status scrub = { .state = SCRUB_RUNNING };
	REQUIRE(fs_scrub(sim->fs, SCRUB_START, 0, &sim->fail) == 0);
	for (unsigned i = 0; i < 100 && scrub.state == SCRUB_RUNNING; i++) {
		work(sim, 1);
		fs_scrub_status(sim->fs, &scrub);
	}
	CHECK_EQ(scrub.state, SCRUB_FINISHED);
	return scrub;
}

/* What a scrub found on a disk stays with that disk, also when it has left; who gets its index has none of it. */
static void counts_of_who_left(void)
{
	struct story run = start(SERVING, 62);
	struct uuid old = replace_config_of(run.sim)->members[OLD].uuid;
	uint64_t data = replace_config_of(run.sim)->geometry.data_offset_bytes;
	struct simdisk *another = simworld_add(run.sim->world, DISK_BYTES);
	unsigned member;
	for (unsigned i = 0; i < 30; i += 3)
		simdisk_flip(run.sim->world->disks[OLD], data + i * UNIT_BYTES + 5, 0x11);
	struct scrub_status scrub = scrubbed(run.sim);
	uint64_t units = scrub_result_units(&scrub.last, &old);
	CHECK(units > 0 && scrub_result_members(&scrub.last) == 1);
	REQUIRE(replace_old(run.sim) == 0);
	CHECK(replace_settle(run.sim) && replaced(run.sim));
	REQUIRE(fs_member_spare(run.sim->fs, simdisk_open(another), false, &member, &run.sim->fail) == 0);
	CHECK_EQ(member, OLD);
	CHECK(replace_settle(run.sim));
	simdisk_flip(run.sim->world->disks[0], data + 5, 0x11);
	for (unsigned i = 0; i < 2; i++) {
		fs_scrub_status(run.sim->fs, &scrub);
		CHECK_EQ(scrub_result_units(&scrub.last, &old), units);
		for (unsigned m = 0; m <= NEW; m++)
			CHECK_EQ(scrub_result_units(&scrub.last, &replace_config_of(run.sim)->members[m].uuid), 0);
		REQUIRE(simfs_remount(run.sim) == 0);
	}
	scrub = scrubbed(run.sim);
	CHECK_EQ(scrub_result_units(&scrub.last, &old), 0);
	simfs_free(run.sim);
}

/* Sectors that the old one cannot read are made from the others.  What is damaged on those is not looked for: the next scrub finds it,
 * and the new member serves as well for that. */
static void bad_sectors(void)
{
	struct story run = start(SERVING, 60);
	uint64_t data = replace_config_of(run.sim)->geometry.data_offset_bytes;
	for (unsigned i = 0; i < 3; i++) {
		simdisk_fault(run.sim->world->disks[OLD], &(struct simfault){ .kind = SIM_BAD_SECTORS, .ops_mask = SIM_ON(DISK_READ),
			.from_bytes = data + i * 7 * UNIT_BYTES, .to_bytes = data + i * 7 * UNIT_BYTES + BLOCK_BYTES });
		simdisk_flip(run.sim->world->disks[0], data + (i * 7 + 3) * UNIT_BYTES + 5, 0x11);
	}
	REQUIRE(replace_old(run.sim) == 0);
	CHECK(replace_settle(run.sim));
	CHECK(replaced(run.sim));
	struct scrub_status scrub = scrubbed(run.sim);
	CHECK_EQ(scrub.now.unreadable, 0);
	REQUIRE(story_write_files(&run, 1) == 0);
	work(run.sim, 5);                /* what it found is mended in the background */
	CHECK(replace_is_whole(run.sim, OLD, &run));
	simfs_free(run.sim);
}

/* The old one was away, and catching it up has to wait, for memory or for a member that does not answer, while the copying goes on: what
 * it missed is stale on it, and is not copied. */
static void source_filling(void)
{
	struct story run = start(SERVING, 63);
	struct fs *fs = run.sim->fs;
	struct member_status s;
	unsigned member, steps = 0;
	REQUIRE(replace_old(run.sim) == 0);
	array_member_status(fs_array(fs), OLD, &s);
	REQUIRE(array_drop_member(fs_array(fs), OLD, "the test says so") == 0);
	REQUIRE(story_write_files(&run, 20) == 0);
	REQUIRE(fs_member_resume(fs, s.name, &member) == 0 && member == OLD);
	for (; s.state != MEMBER_FILLING && steps < 20; steps++) {
		work(run.sim, 1);
		array_member_status(fs_array(fs), OLD, &s);
	}
	REQUIRE(s.state == MEMBER_FILLING);
	for (; replace_config_of(run.sim)->job_count > 0 && steps < 60; steps++) {
		fs->stalls[STALL_CATCHUP] = (struct stall){ .stalls = true, .members = stall_members(fs), .not_before_ns = INT64_MAX };
		work(run.sim, 1);
	}
	CHECK_EQ(replace_config_of(run.sim)->job_count, 0);
	fs->stalls[STALL_CATCHUP].stalls = false;
	CHECK(replace_settle(run.sim) && replaced(run.sim));
	CHECK(replace_is_whole(run.sim, OLD, &run));
	simfs_free(run.sim);
}

/* ---- What the owner asks for ---- */

static void cancelled_and_removed(void)
{
	struct story run = start(SERVING, 61);
	struct fail *fail = &run.sim->fail;
	unsigned member;
	REQUIRE(replace_old(run.sim) == 0);
	work(run.sim, 2);
	CHECK_EQ(replace_role_of(run.sim, NEW), MEMBER_REPLACEMENT);
	CHECK_EQ(fs_member_replace(run.sim->fs, 0, NEW, fail), -EBUSY);
	CHECK_EQ(fail->code, FAIL_BUSY);
	CHECK(fs_member_remove(run.sim->fs, NEW, fail) == 0);
	CHECK_EQ(replace_role_of(run.sim, NEW), MEMBER_SPARE);
	CHECK_EQ(run.sim->events[EVENT_REPLACE_STOPPED], 1);
	REQUIRE(story_write_files(&run, 3) == 0);
	CHECK(fs_member_remove(run.sim->fs, NEW, fail) == 0);
	CHECK_EQ(replace_role_of(run.sim, NEW), MEMBER_UNUSED);
	/* What lies on it from the time before is worth nothing. */
	REQUIRE(add_spare(run.sim, NEW, &member) == 0);
	CHECK_EQ(member, NEW);
	REQUIRE(fs_member_replace(run.sim->fs, OLD, NEW, fail) == 0);
	CHECK(replace_settle(run.sim));
	CHECK(replaced(run.sim));
	CHECK(replace_is_whole(run.sim, OLD, &run));
	simfs_free(run.sim);
}

/* The index of a member that went is given to one that comes. */
static void one_after_the_other(void)
{
	struct story run = start(SERVING, 62);
	unsigned member;
	for (unsigned i = 0; i < 3; i++) {
		unsigned from = i % 2 == 0 ? OLD : NEW, disk = i % 2 == 0 ? NEW : OLD;
		REQUIRE(fs_member_replace_by(run.sim->fs, from, simdisk_open(run.sim->world->disks[disk]), false, &member, &run.sim->fail) == 0);
		CHECK_EQ(member, disk);
		CHECK(replace_settle(run.sim));
		CHECK_EQ(replace_role_of(run.sim, from), MEMBER_UNUSED);
		REQUIRE(story_write_files(&run, 5) == 0);
		if (i == 1)
			REQUIRE(simfs_remount(run.sim) == 0);
	}
	CHECK(replace_is_whole(run.sim, OLD, &run));
	simfs_free(run.sim);
}

/* A spare is not taken at once for a member that is only away for a moment. */
static void away_for_a_moment(void)
{
	struct story run = start(SPARE, 63);
	work(run.sim, 2);
	replace_leave_out(run.sim, NO_DISK, NO_DISK);
	REQUIRE(simfs_remount(run.sim) == 0);
	CHECK(replace_settle(run.sim));
	CHECK_EQ(replace_role_of(run.sim, OLD), MEMBER_VOTER);
	CHECK_EQ(replace_role_of(run.sim, NEW), MEMBER_SPARE);
	/* One that was failed by hand is replaced at once. */
	REQUIRE(fs_member_fail(run.sim->fs, OLD, &run.sim->fail) == 0);
	CHECK(fs_work(run.sim->fs) == 1);
	CHECK_EQ(replace_role_of(run.sim, NEW), MEMBER_REPLACEMENT);
	CHECK(replace_settle(run.sim));
	CHECK(replaced(run.sim));
	CHECK(replace_is_whole(run.sim, OLD, &run));
	simfs_free(run.sim);
}

/* One that comes back as another disk again and again is refused in the end, but a spare can always step in for it. */
static void comes_and_goes(void)
{
	struct story run = start(SERVING, 70);
	struct simfs *sim = run.sim;
	unsigned member, spare, times = 0;
	int r = 0;
	for (; r == 0 && times < 100; times++) {
		REQUIRE(fs_member_fail(sim->fs, OLD, &sim->fail) == 0);
		r = fs_member_readd(sim->fs, simdisk_open(sim->world->disks[OLD]), &member, &sim->fail);
		if (r == 0)
			CHECK(replace_settle(sim));
	}
	CHECK_EQ(r, -EBUSY);
	CHECK(times > 16);
	REQUIRE(add_spare(sim, NEW, &spare) == 0);
	CHECK(replace_settle(sim));
	CHECK(replaced(sim));
	CHECK(replace_is_whole(sim, OLD, &run));
	simfs_free(sim);
}

static void revert_to(struct simfs *sim, uint64_t generation)
{
	REQUIRE(simfs_close(sim, false) == 0);
	sim->options.root_generation = generation;
	REQUIRE(simfs_open(sim) == 0);
	CHECK_EQ(fs_revert(sim->fs), 0);
	sim->options.root_generation = 0;
	REQUIRE(simfs_remount(sim) == 0);
}

/* An older root is made the newest again while columns are on their way: rows live again that were free when they were passed. */
static void reverted(void)
{
	struct story run = start(SERVING, 65);
	struct simfs *sim = run.sim;
	struct array_job job = { .position = 0 };
	REQUIRE(replace_old(sim) == 0);
	uint64_t generation = fs_generation(sim->fs);
	for (unsigned i = 0; i < 2 * run.synced; i++) {
		char name[16];
		snprintf(name, sizeof name, "file%u", i / 2);
		if (i % 2 == 0 && !story_unlinks(i / 2, run.synced))
			REQUIRE(fs_unlink(sim->fs, OBJECT_ROOT, name) == 0);
		if (i % 5 == 0)
			REQUIRE(fs_sync(sim->fs) == 0);
	}
	REQUIRE(fs_sync(sim->fs) == 0);
	for (unsigned i = 0; i < 50 && job.position != JOB_ALL; i++) {
		work(sim, 1);
		CHECK(array_job(fs_array(sim->fs), &job));
	}
	CHECK(job.position == JOB_ALL);
	revert_to(sim, generation);
	CHECK(replace_settle(sim));
	CHECK(replaced(sim));
	CHECK(replace_is_whole(sim, OLD, &run));
	simfs_free(sim);
}

/* An older root, from when a member was out, is made the newest again: that one was filled since then, but not with what was free by then. */
static void reverted_to_a_gap(void)
{
	struct story run = start(SERVING, 69);
	struct simfs *sim = run.sim;
	replace_leave_out(sim, OLD, OLD);
	REQUIRE(simfs_remount(sim) == 0);
	REQUIRE(story_write_files(&run, 20) == 0);
	uint64_t generation = fs_generation(sim->fs);
	for (unsigned i = 0; i < run.synced; i++) {
		char name[16];
		snprintf(name, sizeof name, "file%u", i);
		if (!story_unlinks(i, run.synced))
			REQUIRE(fs_unlink(sim->fs, OBJECT_ROOT, name) == 0);
	}
	replace_leave_out(sim, NO_DISK, NO_DISK);
	REQUIRE(simfs_remount(sim) == 0);
	CHECK(replace_settle(sim));
	revert_to(sim, generation);
	CHECK(replace_settle(sim));
	CHECK(replace_is_whole(sim, NO_DISK, &run));
	simfs_free(sim);
}

/* A gap that the walk cannot verify, since a member is out that is no source, stays open: parity in it may be old.  Nothing but the root
 * is missing on the member that has the gap, so that the mount, with two at fault, finds what it needs. */
static void gap_stays(void)
{
	struct story run = start(SERVING, 66);
	struct simfs *sim = run.sim;
	const struct geometry *g = &replace_config_of(sim)->geometry;
	uint64_t ring_bytes = (uint64_t)g->ring_slots * ROOT_BYTES, ring_at = g->ring_offset_bytes;
	struct member_status status;
	struct array_job job = { .position = 0 };
	uint8_t *ring = malloc(ring_bytes);
	REQUIRE(ring && replace_old(sim) == 0);
	simdisk_peek(sim->world->disks[3], ring_at, ring, ring_bytes);
	REQUIRE(story_write_files(&run, 1) == 0);
	simfs_close(sim, true);
	simworld_cut(sim->world, SIMCUT_KEEP_ALL);
	simdisk_poke(sim->world->disks[3], ring_at, ring, ring_bytes);
	free(ring);
	replace_leave_out(sim, 2, 2);
	REQUIRE(simfs_open(sim) == 0);
	for (unsigned i = 0; i < 5 && job.position != JOB_ALL; i++) {
		work(sim, 1);
		CHECK(array_job(fs_array(sim->fs), &job));
	}
	CHECK(job.position == JOB_ALL);
	array_member_status(fs_array(sim->fs), 3, &status);
	CHECK_EQ(status.state, MEMBER_IN_SYNC);
	CHECK(status.gap.present);
	simfs_free(sim);
}

static void refused(void)
{
	struct story run = start(SERVING, 64);
	struct simworld *world = run.sim->world;
	struct fs *fs = run.sim->fs;
	struct fail *fail = &run.sim->fail;
	struct simdisk *small = simworld_add(world, DISK_BYTES / 2 + 6 * (UINT64_C(1) << 20)), *tiny = simworld_add(world, UINT64_C(5) << 18);
	uint64_t version = replace_config_of(run.sim)->version;
	unsigned member;
	CHECK_EQ(fs_member_replace_by(fs, OLD, simdisk_open(small), true, &member, fail), -ENOSPC);
	CHECK_EQ(fail->code, FAIL_TOO_SMALL);
	CHECK_EQ(fs_member_spare(fs, simdisk_open(tiny), true, &member, fail), -EINVAL);
	CHECK_EQ(fail->code, FAIL_TOO_SMALL);
	CHECK_EQ(fs_member_spare(fs, simdisk_open(world->disks[0]), true, &member, fail), -EBUSY);
	CHECK_EQ(fail->code, FAIL_BUSY);
	CHECK_EQ(fs_member_replace_by(fs, DISKS, simdisk_open(world->disks[NEW]), true, &member, fail), -ENOENT);
	CHECK_EQ(fail->code, FAIL_USAGE);
	CHECK_EQ(fs_member_remove(fs, 0, fail), -ENOSPC);
	CHECK_EQ(fail->code, FAIL_TOO_SMALL);
	CHECK_EQ(fs_member_remove(fs, 9, fail), -ENOENT);
	CHECK_EQ(fail->code, FAIL_USAGE);
	CHECK_EQ(fs_member_replace(fs, OLD, 0, fail), -EINVAL);
	CHECK_EQ(fail->code, FAIL_USAGE);
	CHECK_EQ(replace_config_of(run.sim)->version, version);
	CHECK(story_is_there(fs, &run));
	simfs_free(run.sim);
}

/* --cuts STRIDE: not at each write and flush. */
int main(int argc, char **argv)
{
	unsigned stride = argc == 3 && !strcmp(argv[1], "--cuts") ? (unsigned)atoi(argv[2]) : STRIDE;
	cuts(SERVING, stride);
	cuts(SPARE, stride);
	cuts(ADDING, stride);
	failing_meanwhile();
	fails_as_it_ends();
	counts_of_who_left();
	bad_sectors();
	source_filling();
	cancelled_and_removed();
	one_after_the_other();
	away_for_a_moment();
	comes_and_goes();
	reverted();
	reverted_to_a_gap();
	gap_stays();
	refused();
	return CHECK_DONE();
}
