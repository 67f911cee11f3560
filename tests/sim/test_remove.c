/* A member leaves, or is lost, and its columns go to several others: to spares that are too small alone, and to free granules of members.
 *
 * `cuts` cuts the power at the writes and flushes of the whole way, with users at work meanwhile; the owner comes back with all disks, or
 * without one: what was synced is there, everything goes on by itself, and in the end any one disk may be missing. */
#include "fs/core.h"
#include "fs/upkeep/members.h"
#include "tests/sim/replace_state.h"
#include "tests/unit/check.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define DISKS 4u
#define FIRST DISKS              /* disk and index of the first of the small ones */
#define SECOND (FIRST + 1)
#define THIRD 1u                 /* the third has the index of the one that left */
#define MIB (UINT64_C(1) << 20)
#define DISK_BYTES (16 * MIB)
#define SECOND_NS INT64_C(1000000000)
#define BIT(member) (UINT32_C(1) << (member))
#if defined(__SANITIZE_ADDRESS__)
#define STRIDE 47u
#else
#define STRIDE 5u
#endif

/* SERVING: member 1 leaves, to two spares. LOST: it is absent. SHARED: one of those two leaves after that, to free granules of the other
 * one, which serves, and to a third. ROOM: of three to which it has gone, two were replaced by larger disks, and the last is absent: there is no
 * spare, but room on these two. */
enum kind { SERVING, LOST, SHARED, ROOM };
static const char *const kind_names[] = { "serving", "lost", "shared", "room" };

static unsigned leaver(enum kind kind) { return kind == SHARED ? FIRST : kind == ROOM ? SECOND + 1 : 1; }
static bool is_lost(enum kind kind) { return kind == LOST || kind == ROOM; }

static bool gone(const struct simfs *sim, unsigned member)
{
	return replace_role_of(sim, member) == MEMBER_UNUSED && replace_at_rest(sim);
}

static int ask(struct simfs *sim, unsigned member) { return fs_member_remove(sim->fs, member, &sim->fail); }

static unsigned add_spare(struct simfs *sim, uint64_t size_bytes)
{
	unsigned member = MEMBERS_MAX;
	REQUIRE(fs_member_spare(sim->fs, simdisk_open(simworld_add(sim->world, size_bytes)), false, &member, &sim->fail) == 0);
	return member;
}

static void leaves(struct simfs *sim, unsigned member)
{
	REQUIRE(ask(sim, member) == 0);
	CHECK(replace_settle(sim));
	CHECK(gone(sim, member));
}

static struct story start(enum kind kind, uint64_t seed)
{
	static const uint64_t sizes[] = { [SERVING] = 10 * MIB, [LOST] = 10 * MIB, [SHARED] = 13 * MIB, [ROOM] = 7 * MIB };
	struct story run = { 0 };
	REQUIRE(simfs_make(&run.sim, DISKS, DISK_BYTES, CIPHER_XCHACHA20_POLY1305, seed) == 0);
	REQUIRE(story_write_files(&run, 20) == 0);
	for (unsigned small = FIRST; small <= (kind == ROOM ? SECOND + 1 : SECOND); small++) {
		CHECK_EQ(add_spare(run.sim, sizes[kind]), small);
		CHECK(!fs_member_stands_in(run.sim->fs, small));
	}
	if (kind == SHARED || kind == ROOM)
		leaves(run.sim, 1);
	if (kind == SHARED)
		CHECK_EQ(add_spare(run.sim, 7 * MIB), THIRD);
	for (unsigned small = FIRST; small <= SECOND && kind == ROOM; small++) {
		unsigned member;
		struct simdisk *larger = simworld_add(run.sim->world, 19 * MIB / 2);
		REQUIRE(fs_member_replace_by(run.sim->fs, small, simdisk_open(larger), false, &member, &run.sim->fail) == 0);
		CHECK_EQ(member, small == FIRST ? 1 : FIRST);
		CHECK(replace_settle(run.sim));
	}
	if (is_lost(kind)) {
		replace_leave_out(run.sim, leaver(kind), leaver(kind));
		REQUIRE(simfs_remount(run.sim) == 0);
	}
	REQUIRE(story_write_files(&run, 5) == 0);
	return run;
}

static void check_targets(const struct simfs *sim, enum kind kind)
{
	static const uint32_t targets[] = { [SERVING] = BIT(FIRST) | BIT(SECOND), [LOST] = BIT(FIRST) | BIT(SECOND),
		[SHARED] = BIT(SECOND) | BIT(THIRD), [ROOM] = BIT(1) | BIT(FIRST) };
	const struct config *config = replace_config_of(sim);
	CHECK_EQ(config_job_sources(config), BIT(leaver(kind)));
	CHECK_EQ(config_job_targets(config), targets[kind]);
	CHECK(kind != ROOM || !(targets[kind] & ~config_voters(config)));
}

/* The whole story, until it ends or the power goes. */
static void play(struct story *run, enum kind kind)
{
	struct simfs *sim = run->sim;
	int r = is_lost(kind) ? 0 : ask(sim, leaver(kind));
	bool begun = false;
	for (unsigned i = 0; i < 300 && r == 0 && !gone(sim, leaver(kind)); i++) {
		if (replace_config_of(sim)->job_count && !begun) {
			check_targets(sim, kind);
			begun = true;
		}
		r = fs_work(sim->fs);
		r = r < 0 || i >= 16 ? r : i % 2 == 0 ? story_write_files(run, 1) : story_write_fsync(run);
		simfs_sleep(sim, 5 * SECOND_NS);
	}
	if (r == 0)
		r = story_write_files(run, 2);
	run->whole = r == 0 && begun && gone(sim, leaver(kind));
}

static bool ends(struct simfs *sim, unsigned member)
{
	bool is = replace_settle(sim) && gone(sim, member);
	if (!is)
		replace_tell(sim);
	return is;
}

/* What was cut goes on in each way in which the owner may come back.  One that is absent is lost, and replaced likewise, as long as there
 * is room. */
static void after_cut(const struct story *run, enum kind kind, enum simcut_policy policy)
{
	const unsigned absent[] = { NO_DISK, leaver(kind), SECOND, 2 }, left = leaver(kind), before = kind == SHARED ? 1 : NO_DISK;
	for (unsigned way = 0; way < ARRAY_COUNT(absent); way++) {
		if ((kind == LOST && way == 3) || (kind == ROOM && way >= 2))        /* two would be at fault */
			continue;
		struct simfs *sim = simfs_clone(run->sim);
		simworld_cut(sim->world, policy);
		memset(sim->events, 0, sizeof sim->events);      /* without power nothing could be read */
		replace_leave_out(sim, absent[way], absent[way]);
		REQUIRE(simfs_open(sim) == 0);
		CHECK(!fs_read_only(sim->fs));
		CHECK(story_is_there(sim->fs, run));
		bool has_left = replace_role_of(sim, left) == MEMBER_UNUSED;
		if (way == 0 && is_lost(kind) && !has_left) {     /* it is back, in time or not */
			CHECK(replace_settle(sim));
			CHECK(replace_is_whole(sim, replace_role_of(sim, left) == MEMBER_UNUSED ? left : NO_DISK, run));
		} else if (way == 0) {
			if (!replace_config_of(sim)->job_count)
				CHECK(replace_settle(sim));
			if (replace_role_of(sim, left) != MEMBER_UNUSED)
				REQUIRE(ask(sim, left) == 0);  /* also when it is under way */
			CHECK(ends(sim, left));
			CHECK(replace_is_whole(sim, left, run));
		} else if (way == 1) {
			CHECK(ends(sim, left));
			CHECK(replace_is_whole(sim, left, run));
		} else {
			for (unsigned i = 0; i < 20; i++) {
				CHECK(fs_work(sim->fs) >= 0);
				simfs_sleep(sim, 5 * SECOND_NS);
			}
			CHECK(story_clean(sim->fs));
			replace_leave_out(sim, NO_DISK, NO_DISK);
			REQUIRE(simfs_remount(sim) == 0);
			CHECK(replace_settle(sim));
			CHECK(story_is_there(sim->fs, run));
			if (!is_lost(kind) && replace_role_of(sim, left) != MEMBER_UNUSED) {
				bool kept = replace_role_of(sim, absent[way]) != MEMBER_UNUSED;
				int r = ask(sim, left);
				/* Others may have taken the columns of the one that was away, and there is no more room. */
				CHECK(r == 0 || (r == -ENOSPC && !kept));
				CHECK(r < 0 || ends(sim, left));
			}
			CHECK(replace_is_whole(sim, before, run));
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
	CHECK_EQ(run.sim->events[EVENT_SPARE_TAKEN], kind == LOST);
	CHECK_EQ(run.sim->events[EVENT_REPLACE_STARTED], kind == SHARED ? 2 : kind == ROOM ? 4 : 1);
	CHECK_EQ(run.sim->events[EVENT_REPLACE_FINISHED], kind == SHARED ? 3 : kind == ROOM ? 6 : 2);
	uint64_t to = run.sim->world->changes;
	REQUIRE(simfs_close(run.sim, false) == 0);
	after_cut(&run, kind, SIMCUT_KEEP_ALL);
	simfs_free(run.sim);
	unsigned count = 0, failed = check_failed;
	for (uint64_t at = from; at < to; at += stride, count++) {
		run = story_again(before, &first);
		REQUIRE(run.sim->fs);
		run.sim->world->cut_at_change = at;
		play(&run, kind);
		simfs_close(run.sim, true);
		after_cut(&run, kind, count % 3 == 0 ? SIMCUT_DROP_ALL : count % 3 == 1 ? SIMCUT_KEEP_ALL : SIMCUT_RANDOM);
		if (check_failed > failed)
			printf("%s: the cut at change %llu\n", kind_names[kind], (unsigned long long)at);
		failed = check_failed;
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

/* A member fails, or hangs, in the middle: the one that leaves, one that gets its columns, or another. */
static void failing_meanwhile(void)
{
	static const enum simfault_kind faults[] = { SIM_ERROR, SIM_HANG };
	static const struct { enum kind kind; unsigned victim, leaves; } cases[] = {
		{ SERVING, 1, 1 },               /* its columns are made from the others */
		{ SERVING, FIRST, NO_DISK },     /* a spare: waited for */
		{ SERVING, 2, 2 },               /* a lost one comes first */
		{ SHARED, FIRST, FIRST },
		{ SHARED, SECOND, SECOND },      /* serves, and is a target: likewise */
		{ SHARED, 0, NO_DISK },          /* there is no room for it */
	};
	for (unsigned i = 0; i < ARRAY_COUNT(cases) * ARRAY_COUNT(faults); i++) {
		enum kind kind = cases[i / 2].kind;
		unsigned victim = cases[i / 2].victim, leaves = cases[i / 2].leaves;
		struct story run = start(kind, 50 + i);
		struct simfs *sim = run.sim;
		struct simdisk *disk = sim->world->disks[victim];
		REQUIRE(ask(sim, leaver(kind)) == 0);
		work(sim, 1);
		simdisk_fault(disk, &(struct simfault){ .kind = faults[i % 2], .ops_mask = SIM_ON_ALL });
		REQUIRE(story_write_files(&run, 5) == 0);
		work(sim, 30);
		REQUIRE(story_write_files(&run, 5) == 0);
		CHECK_EQ(sim->events[EVENT_REPLACE_STOPPED], leaves == victim && victim != leaver(kind));
		CHECK_EQ(replace_config_of(sim)->job_count > 0, leaves == NO_DISK);
		simdisk_clear_faults(disk);
		simdisk_return_hung(disk, false);
		CHECK(replace_settle(sim));
		unsigned left = leaves == NO_DISK ? leaver(kind) : leaves;
		for (unsigned m = 0; m <= SECOND; m++)
			CHECK_EQ(replace_role_of(sim, m) == MEMBER_UNUSED, m == left);
		CHECK(replace_is_whole(sim, left, &run));
		simfs_free(sim);
	}
}

/* One that was lost comes back: while its columns are on their way they are its own, afterwards it is a stranger. */
static void back_again(void)
{
	for (unsigned steps = 2; steps < 40; steps += 3) {
		struct story run = start(LOST, 70 + steps);
		struct simfs *sim = run.sim;
		work(sim, steps);
		REQUIRE(story_write_files(&run, 2) == 0);
		replace_leave_out(sim, NO_DISK, NO_DISK);
		REQUIRE(simfs_remount(sim) == 0);
		CHECK(replace_settle(sim));
		bool begun = sim->events[EVENT_REPLACE_STARTED] > 0;
		CHECK_EQ(begun, steps > 6);
		CHECK_EQ(replace_role_of(sim, 1) == MEMBER_UNUSED, begun);
		CHECK(replace_is_whole(sim, begun ? 1 : NO_DISK, &run));
		simfs_free(sim);
	}
}

/* ---- What the owner asks for ---- */

static void cancelled(void)
{
	struct story run = start(SERVING, 61);
	struct simfs *sim = run.sim;
	struct fail *fail = &sim->fail;
	REQUIRE(ask(sim, 1) == 0);
	work(sim, 2);
	check_targets(sim, SERVING);
	CHECK_EQ(ask(sim, 1), 0);        /* it is leaving already */
	CHECK_EQ(ask(sim, 2), -EBUSY);
	CHECK_EQ(fail->code, FAIL_BUSY);
	CHECK(strstr(fail->text, "data of member 2 is on its way to members 5 and 6") && strstr(fail->text, "--cancel"));
	CHECK_EQ(fs_member_cancel(sim->fs, 3, fail), -ENOENT);
	CHECK_EQ(fail->code, FAIL_USAGE);
	CHECK_EQ(fs_member_cancel(sim->fs, 1, fail), 0);
	CHECK_EQ(replace_config_of(sim)->job_count, 0);
	CHECK_EQ(config_with_role(replace_config_of(sim), MEMBER_SPARE), BIT(FIRST) | BIT(SECOND));
	CHECK_EQ(fs_member_cancel(sim->fs, 1, fail), -ENOENT);
	work(sim, 10);
	CHECK_EQ(replace_role_of(sim, 1), MEMBER_VOTER);
	/* By one of those that get the data, and as one always could. */
	REQUIRE(ask(sim, 1) == 0 && fs_member_cancel(sim->fs, SECOND, fail) == 0);
	REQUIRE(ask(sim, 1) == 0 && ask(sim, FIRST) == 0);
	CHECK_EQ(config_with_role(replace_config_of(sim), MEMBER_SPARE), BIT(FIRST) | BIT(SECOND));
	REQUIRE(story_write_files(&run, 3) == 0);
	REQUIRE(ask(sim, 1) == 0);
	CHECK(ends(sim, 1));
	CHECK(replace_is_whole(sim, 1, &run));
	simfs_free(sim);
}

/* A lost one whose columns the owner wants to stay: until he adds a spare, or mounts again. */
static void cancelled_when_lost(void)
{
	struct story run = start(LOST, 62);
	struct simfs *sim = run.sim;
	work(sim, 8);
	check_targets(sim, LOST);
	REQUIRE(fs_member_cancel(sim->fs, 1, &sim->fail) == 0);
	work(sim, 20);
	CHECK_EQ(replace_config_of(sim)->job_count, 0);
	CHECK_EQ(sim->events[EVENT_REPLACE_STARTED], 1);
	add_spare(sim, 9 * MIB);
	CHECK(fs_work(sim->fs) == 1);
	check_targets(sim, LOST);
	REQUIRE(fs_member_cancel(sim->fs, FIRST, &sim->fail) == 0);
	REQUIRE(simfs_remount(sim) == 0);
	CHECK(ends(sim, 1));
	CHECK(replace_is_whole(sim, 1, &run));
	simfs_free(sim);
}

/* What is free on those that serve goes before spares, and the next loss finds the spare. */
static void free_granules_first(void)
{
	struct story run = start(SHARED, 63);
	struct simfs *sim = run.sim;
	REQUIRE(ask(sim, FIRST) == 0);
	CHECK(ends(sim, FIRST));
	unsigned big = add_spare(sim, DISK_BYTES);
	CHECK(fs_member_stands_in(sim->fs, big));
	/* What the third has, the second has no room for: it goes to the spare. */
	REQUIRE(fs_member_fail(sim->fs, 0, &sim->fail) == 0);
	CHECK(fs_member_has_room(sim->fs, 0));
	CHECK(replace_settle(sim));
	CHECK_EQ(replace_role_of(sim, 0), MEMBER_UNUSED);
	CHECK_EQ(replace_role_of(sim, big), MEMBER_VOTER);
	CHECK(!fs_member_has_room(sim->fs, SECOND));
	simfs_free(sim);
}

static void refused(void)
{
	struct story run = { 0 };
	struct simfs *sim;
	struct fail *fail;
	REQUIRE(simfs_make(&run.sim, 3, DISK_BYTES, CIPHER_XCHACHA20_POLY1305, 64) == 0);
	sim = run.sim;
	fail = &sim->fail;
	REQUIRE(story_write_files(&run, 10) == 0);
	uint64_t version = replace_config_of(sim)->version;
	CHECK_EQ(ask(sim, 1), -EINVAL);
	CHECK_EQ(fail->code, FAIL_TOO_FEW);
	CHECK(strstr(fail->text, "At least 3 members") && strstr(fail->text, "replace"));
	CHECK_EQ(ask(sim, 9), -ENOENT);
	CHECK_EQ(fail->code, FAIL_USAGE);
	/* With a spare that lacks some: it is told how much, and a second one of that size is enough. */
	add_spare(sim, 10 * MIB);
	CHECK_EQ(ask(sim, 1), -ENOSPC);
	CHECK_EQ(fail->code, FAIL_TOO_SMALL);
	const char *size = strstr(fail->text, "at least ");
	REQUIRE(size && strstr(fail->text, "member 2") && strstr(fail->text, "Nothing was changed"));
	uint64_t size_bytes = strtoull(size + strlen("at least "), NULL, 10);
	CHECK(size_bytes > 4 * MIB && size_bytes < DISK_BYTES);
	CHECK_EQ(replace_config_of(sim)->version, version + 1);
	add_spare(sim, size_bytes);
	/* Not while another one is out, but that one may. */
	REQUIRE(fs_member_fail(sim->fs, 2, fail) == 0);
	CHECK_EQ(ask(sim, 1), -EBUSY);
	CHECK_EQ(fail->code, FAIL_TOO_FEW);
	CHECK(strstr(fail->text, "member 3"));
	REQUIRE(ask(sim, 2) == 0);
	CHECK(ends(sim, 2));
	CHECK(replace_is_whole(sim, 2, &run));
	simfs_free(sim);
}

/* --cuts STRIDE [KIND]: at other writes and flushes, 1: at each; only those of one kind, by its number. */
int main(int argc, char **argv)
{
	unsigned stride = argc >= 3 && !strcmp(argv[1], "--cuts") ? (unsigned)atoi(argv[2]) : STRIDE;
	for (enum kind kind = SERVING; kind <= ROOM; kind++)
		if (argc < 4 || kind == (enum kind)atoi(argv[3]))
			cuts(kind, stride);
	if (argc >= 4)
		return CHECK_DONE();
	failing_meanwhile();
	back_again();
	cancelled();
	cancelled_when_lost();
	free_granules_first();
	refused();
	return CHECK_DONE();
}
