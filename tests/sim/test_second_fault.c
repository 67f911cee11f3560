/* One more fault while members change: while a new disk is being filled in the place of a missing one, while a member that serves is
 * replaced or leaves, a spare steps in, one that was away catches up, or a scrub heals; with users at work.
 *
 *	test_second_fault [--stride N] [OPERATION [KIND [DISK INDEX]]]
 *
 * For each operation and kind of fault the fault strikes at the operations of each disk, one in each run. What it must lead to depends on
 * what is missing beside it:
 *
 * Nothing is (the first fault of all, or one of the very disk that the operation makes whole): nothing may be noticed. Users' work goes
 * on, the change comes to its end, or to another good one that an event tells; after a power cut or a remount all is there; and when a
 * scrub has found what a disk that lied does not have, any one disk may be missing.
 *
 * A member is, or what a scrub is to heal: it is a second fault. Work may be refused, with an error, and the next mount has all that was
 * synced, and becomes whole as before. If what was written is wrong on a disk, blocks may be unreadable, or the mount refused; both say
 * so, and what is read is never wrong. */
#include "base/cleanup.h"
#include "fs/core.h"
#include "fs/upkeep/members.h"
#include "fs/upkeep/scrub.h"
#include "tests/sim/replace_state.h"
#include "tests/unit/check.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define DISKS 4u
#define OLD 1u                   /* the member that leaves, is away, or is spoilt */
#define NEW DISKS                /* disk and index of the new one, or of the first of two */
#define DISK_BYTES (UINT64_C(16) << 20)
#define SMALL_BYTES (UINT64_C(10) << 20)     /* two of these take what one member has */
#define SECOND_NS INT64_C(1000000000)
#define FILES 30u
#if defined(__SANITIZE_ADDRESS__)
#define STRIDE 997u
#else
#define STRIDE 61u
#endif

enum operation { ADDING, REPLACING, SPARE, REMOVING, RETURNING, SCRUB, OPERATIONS };
static const char *const operation_names[] = { "adding", "replacing", "spare", "removing", "returning", "scrub" };

static const struct fault_kind {
	const char *name;
	enum simfault_kind kind;
	unsigned ops_mask;
	int64_t shift_bytes;
	bool lies;                       /* the disk holds something wrong afterwards */
	bool carried_out;                /* what hung, when it comes back */
} kinds[] = {
	{ "failed-read", SIM_ERROR, SIM_ON(DISK_READ) },
	{ "damaged-read", SIM_FLIP, SIM_ON(DISK_READ) },
	{ "misplaced-read", SIM_MISDIRECT, SIM_ON(DISK_READ), .shift_bytes = BLOCK_BYTES },
	{ "failed-write", SIM_ERROR, SIM_ON(DISK_WRITE) },
	{ "landed-write", SIM_ERROR_LANDS, SIM_ON(DISK_WRITE) },
	{ "lost-write", SIM_LOSE, SIM_ON(DISK_WRITE), .lies = true },
	{ "misplaced-write", SIM_MISDIRECT, SIM_ON(DISK_WRITE), .shift_bytes = 4 * BLOCK_BYTES, .lies = true },
	{ "damaged-write", SIM_FLIP, SIM_ON(DISK_WRITE), .lies = true },
	{ "failed-flush", SIM_ERROR, SIM_ON(DISK_FLUSH) },
	{ "lost-flush", SIM_LOSE, SIM_ON(DISK_FLUSH), .lies = true },
	{ "hang", SIM_HANG, SIM_ON_ALL },
	{ "late-hang", SIM_HANG, SIM_ON_ALL, .carried_out = true },
};

struct scene {
	enum operation operation;
	const struct fault_kind *kind;
	unsigned disk;
	uint64_t index;                  /* of the world's operations, from the beginning of the change on */
	uint64_t seed;
	struct story story;
	bool ended;                      /* the change, before the mount that comes after it */
};

static struct { unsigned cases, second, healed, otherwise, broken_off, refused, unreadable; } counts;
static unsigned total;           /* cases */

/* ---- The changes ---- */

static unsigned disks_of(enum operation operation)
{
	return operation == REMOVING ? DISKS + 2 : operation == RETURNING || operation == SCRUB ? DISKS : DISKS + 1;
}

/* What one disk lacks is made of all others: then a fault of one of these is a second one. */
static bool is_second(const struct scene *s)
{
	switch (s->operation) {
	case ADDING: case SPARE:
		return s->disk != NEW;
	case RETURNING: case SCRUB:
		return s->disk != OLD;
	default:
		return false;
	}
}

static void spoil(struct simfs *sim)
{
	uint64_t data = replace_config_of(sim)->geometry.data_offset_bytes;
	uint8_t garbage[UNIT_BYTES];
	memset(garbage, 0xa5, sizeof garbage);
	for (unsigned i = 0; i < 100; i += 3)
		simdisk_poke(sim->world->disks[OLD], data + i * UNIT_BYTES, garbage, sizeof garbage);
}

static struct story start(enum operation operation)
{
	struct story story = { 0 };
	unsigned member;
	REQUIRE(simfs_make(&story.sim, DISKS, DISK_BYTES, CIPHER_XCHACHA20_POLY1305, 90 + operation) == 0);
	struct simworld *world = story.sim->world;
	REQUIRE(story_write_files(&story, FILES) == 0);
	for (unsigned i = DISKS; i < disks_of(operation); i++) {
		struct simdisk *disk = simworld_add(world, operation == REMOVING ? SMALL_BYTES : DISK_BYTES + UNIT_BYTES);
		if (operation == REMOVING || operation == SPARE)
			REQUIRE(fs_member_spare(story.sim->fs, simdisk_open(disk), false, &member, &story.sim->fail) == 0);
	}
	if (operation == ADDING || operation == SPARE || operation == RETURNING)
		replace_leave_out(story.sim, OLD, OLD);
	REQUIRE(simfs_remount(story.sim) == 0);
	REQUIRE(story_write_files(&story, 5) == 0);
	if (operation == SCRUB)
		spoil(story.sim);
	return story;
}

static int begin(const struct scene *s)
{
	struct simfs *sim = s->story.sim;
	unsigned member, other;
	switch (s->operation) {
	case ADDING:
		return fs_member_add(sim->fs, simdisk_open(sim->world->disks[NEW]), true, &member, &other, &sim->fail);
	case REPLACING:
		return fs_member_replace_by(sim->fs, OLD, simdisk_open(sim->world->disks[NEW]), true, &member, &sim->fail);
	case REMOVING:
		return fs_member_remove(sim->fs, OLD, &sim->fail);
	case RETURNING:
		return fs_member_readd(sim->fs, simdisk_open(sim->world->disks[OLD]), &member, &sim->fail);
	case SCRUB:
		return fs_scrub(sim->fs, SCRUB_START, 0, &sim->fail);
	default:
		return 0;
	}
}

static bool has_begun(const struct scene *s)
{
	struct scrub_status scrub;
	struct member_status status;
	fs_scrub_status(s->story.sim->fs, &scrub);
	array_member_status(fs_array(s->story.sim->fs), OLD, &status);
	switch (s->operation) {
	case ADDING: case REPLACING:
		return replace_role_of(s->story.sim, NEW) != MEMBER_UNUSED;
	case REMOVING:
		return replace_config_of(s->story.sim)->job_count > 0 || status.role == MEMBER_UNUSED;
	case RETURNING:
		return status.state != MEMBER_OUT;
	case SCRUB:
		return scrub.state != SCRUB_NONE;
	default:
		return true;
	}
}

static bool has_ended(const struct scene *s)
{
	struct scrub_status scrub;
	fs_scrub_status(s->story.sim->fs, &scrub);
	if (s->operation == SCRUB)
		return scrub.state == SCRUB_FINISHED;
	return replace_at_rest(s->story.sim) && (s->operation == RETURNING || replace_role_of(s->story.sim, OLD) == MEMBER_UNUSED);
}

/* ---- One run ---- */

static void broken(const struct scene *s, const char *what)
{
	const struct simfs *sim = s->story.sim;
	printf("%s (%s): test_second_fault %s %s %u %llu\n", what, !sim ? "" : sim->fs ? sim->last_event : sim->fail.text,
		operation_names[s->operation], s->kind->name, s->disk, (unsigned long long)s->index);
	fflush(stdout);
	check_failed++;
}

static void must(const struct scene *s, bool is, const char *what)
{
	check_count++;
	if (!is)
		broken(s, what);
}

static void let_return(const struct scene *s, bool hung)
{
	if (hung)
		simdisk_return_hung(s->story.sim->world->disks[s->disk], s->kind->carried_out);
}

/* Until the change has ended, or something is refused. */
static int play(struct scene *s)
{
	struct simfs *sim = s->story.sim;
	struct simdisk *disk = sim->world->disks[s->disk];
	int r = begin(s);
	let_return(s, disk->hung_count > 0);
	if (r < 0) {
		must(s, sim->fail.text[0], "it is not begun, without a word");
		r = 0;           /* it is to be asked for again, below */
	}
	for (unsigned i = 0; i < 200 && r == 0 && !has_ended(s); i++) {
		bool hung = disk->hung_count > 0;
		fs_work(sim->fs);        /* what fails in the background is tried again */
		if (i < 16)
			r = i % 2 == 0 ? story_write_files(&s->story, 1) : story_write_fsync(&s->story);
		let_return(s, hung);
		if (r == 0 && i >= 20 && !has_begun(s))
			begin(s);
		simfs_sleep(sim, 5 * SECOND_NS);
	}
	let_return(s, true);
	if (r == 0)
		r = story_write_files(&s->story, 2);
	let_return(s, true);
	return r;
}

/* A scrub of all, to its end, with all that it leaves to be done. */
static bool scrub_all(struct simfs *sim, struct scrub_status *ret_status)
{
	int r = fs_scrub(sim->fs, SCRUB_START, 0, &sim->fail);
	if (r < 0 && r != -EINVAL)       /* that is one that runs already */
		return false;
	for (unsigned i = 0; i < 1000; i++) {
		r = fs_work(sim->fs);
		fs_scrub_status(sim->fs, ret_status);
		if (r < 0)
			return false;
		if (r == 0 && ret_status->state != SCRUB_RUNNING) {
			if (!sim->fs->open->dirty)
				return ret_status->state == SCRUB_FINISHED;
			if (fs_sync(sim->fs) < 0)
				return false;
		}
		simfs_sleep(sim, SECOND_NS);
	}
	return false;
}

/* Nothing is wrong; what could not be read was told. */
static void must_not_be_wrong(struct scene *s)
{
	struct simfs *sim = s->story.sim;
	unsigned unreadable;
	must(s, story_may_be(sim->fs, &s->story, &unreadable), "what is read is wrong");
	must(s, !unreadable || sim->events[EVENT_UNREADABLE], "something is lost without a word");
	counts.unreadable += unreadable;
}

/* All is there, and when it has settled and been scrubbed, any one disk may be missing. */
static void must_become_whole(struct scene *s)
{
	struct simfs *sim = s->story.sim;
	struct scrub_status scrub;
	must(s, !fs_read_only(sim->fs), "it is read-only");
	must_not_be_wrong(s);
	must(s, is_second(s) || story_is_there(sim->fs, &s->story), "what was synced is not there");
	if (!has_begun(s) && begin(s) < 0)
		broken(s, "it cannot be begun again");
	must(s, replace_settle(sim), "it does not settle");
	must(s, scrub_all(sim, &scrub) && scrub.now.unreadable == 0, "a scrub does not find all");
	must(s, scrub_all(sim, &scrub) && scrub.now.damaged == 0, "a scrub did not mend all");
	memset(sim->events, 0, sizeof sim->events);
	must(s, replace_is_whole(sim, NO_DISK, &s->story), "it is not whole");
}

static void after_one(struct scene *s, int r)
{
	struct simfs *sim = s->story.sim;
	must(s, r == 0, "work is refused");
	must(s, replace_settle(sim), "the change does not end");
	s->ended = has_ended(s);
	bool told = sim->events[EVENT_REPLACE_STOPPED] || sim->events[EVENT_MEMBER_DROPPED];
	must(s, s->ended || told || !has_begun(s), "it ended without a word");
	must(s, sim->events[EVENT_UNREADABLE] == 0, "something could not be read");
	counts.healed += sim->events[EVENT_HEALED];
	counts.otherwise += !s->ended;
	replace_leave_out(sim, NO_DISK, NO_DISK);
	bool cut = s->index % 2 || (s->kind->kind == SIM_LOSE && s->kind->ops_mask == SIM_ON(DISK_FLUSH));
	memset(sim->events, 0, sizeof sim->events);
	must(s, (cut ? simfs_crash(sim, SIMCUT_DROP_ALL) : simfs_remount(sim)) == 0, "it is not mounted");
	if (sim->fs)
		must_become_whole(s);
}

static void after_two(struct scene *s, int r)
{
	struct simfs *sim = s->story.sim;
	counts.broken_off += r < 0;
	counts.healed += sim->events[EVENT_HEALED];
	must_not_be_wrong(s);
	simdisk_clear_faults(sim->world->disks[s->disk]);
	simfs_close(sim, true);
	simworld_cut(sim->world, SIMCUT_RANDOM);
	if (s->operation == RETURNING)
		replace_leave_out(sim, NO_DISK, NO_DISK);        /* another one may be out now */
	memset(sim->events, 0, sizeof sim->events);
	if (simfs_open(sim) < 0) {
		must(s, s->kind->lies && sim->fail.text[0], "it is not mounted");
		counts.refused++;
		return;
	}
	if (!s->kind->lies) {
		must_become_whole(s);
		return;
	}
	must_not_be_wrong(s);
	for (unsigned i = 0; i < 40; i++) {
		fs_work(sim->fs);
		simfs_sleep(sim, 20 * SECOND_NS);
	}
	must_not_be_wrong(s);
}

/* Returns the index at which the fault struck, or SIM_NEVER. */
static uint64_t one_fault(struct simfs *before, const struct story *first, struct scene scene)
{
	struct scene *s = &scene;
	s->story = story_again(before, first);
	struct simfs *sim = s->story.sim;
	struct simdisk *disk = sim->world->disks[s->disk];
	uint64_t started = sim->world->ops;
	struct simfault fault = { .kind = s->kind->kind, .ops_mask = s->kind->ops_mask, .from_op = started + s->index, .times = 1,
		.shift_bytes = s->kind->shift_bytes, .flip_at_bytes = s->index * 37, .flip_mask = 0x10 };
	if (!sim->fs)
		abort();
	memset(sim->events, 0, sizeof sim->events);
	unsigned number = simdisk_fault(disk, &fault);
	int r = play(s);
	uint64_t met = disk->faults[number].hits ? disk->faults[number].hit_op - started : SIM_NEVER;
	if (met != SIM_NEVER) {
		s->index = met;
		counts.cases++;
		counts.second += is_second(s);
		(is_second(s) ? after_two : after_one)(s, r);
	}
	simfs_free(sim);
	return met;
}

/* Until when each disk is read, written and flushed, if nothing goes wrong.  A rule that changes nothing counts. */
static void find_ends(struct simfs *before, const struct story *first, enum operation operation,
	uint64_t ret_ends[DISKS + 2][DISK_FLUSH + 1])
{
	static const enum disk_op ops[] = { DISK_READ, DISK_WRITE, DISK_FLUSH };
	struct scene s = { .operation = operation, .kind = &kinds[0], .story = story_again(before, first) };
	struct simworld *world = s.story.sim->world;
	uint64_t started = world->ops;
	for (unsigned d = 0; d < disks_of(operation); d++)
		for (unsigned i = 0; i < ARRAY_COUNT(ops); i++)
			simdisk_fault(world->disks[d], &(struct simfault){ .kind = SIM_FLIP, .ops_mask = SIM_ON(ops[i]) });
	must(&s, s.story.sim->fs && play(&s) == 0 && has_ended(&s), "it does not end, without any fault");
	for (unsigned d = 0; d < disks_of(operation); d++)
		for (unsigned i = 0; i < ARRAY_COUNT(ops); i++) {
			const struct simfault *f = &world->disks[d]->faults[i];
			ret_ends[d][ops[i]] = f->hits ? f->hit_op - started + 1 : 0;
		}
	simfs_free(s.story.sim);
}

static uint64_t end_of(const uint64_t ends[DISK_FLUSH + 1], unsigned ops_mask)
{
	uint64_t max = 0;
	for (unsigned op = 0; op <= DISK_FLUSH; op++)
		if ((ops_mask & SIM_ON(op)) && ends[op] > max)
			max = ends[op];
	return max;
}

static void all_of_kind(struct simfs *before, const struct story *first, enum operation operation, const struct fault_kind *kind,
	unsigned stride)
{
	uint64_t ends[DISKS + 2][DISK_FLUSH + 1] = { 0 };
	find_ends(before, first, operation, ends);
	memset(&counts, 0, sizeof counts);
	for (unsigned disk = 0; disk < disks_of(operation); disk++) {
		struct scene s = { .operation = operation, .kind = kind, .disk = disk };
		s.index = (disk * 197 + (unsigned)(kind - kinds) * 71 + operation * 31) % stride;        /* not always at the beginning */
		if (disk == OLD && (operation == SPARE || operation == ADDING))
			continue;        /* it is not there */
		while (s.index < end_of(ends[disk], kind->ops_mask)) {
			uint64_t met = one_fault(before, first, s);
			must(&s, met != SIM_NEVER, "it does not happen again");
			s.index = (met == SIM_NEVER ? s.index : met) + stride;
		}
	}
	printf("%s, %s: %u faults, %u of them a second one; %u healed, %u ended otherwise, %u broken off, %u mounts refused, %u times EIO\n",
		operation_names[operation], kind->name, counts.cases, counts.second, counts.healed, counts.otherwise, counts.broken_off,
		counts.refused, counts.unreadable);
	fflush(stdout);
	total += counts.cases;
}

int main(int argc, char **argv)
{
	unsigned stride = STRIDE;
	if (argc > 2 && !strcmp(argv[1], "--stride")) {
		stride = (unsigned)atoi(argv[2]);
		argc -= 2;
		argv += 2;
	}
	for (enum operation o = 0; o < OPERATIONS; o++) {
		if (argc > 1 && strcmp(argv[1], operation_names[o]))
			continue;
		if (check_failed)
			break;
		struct story first = start(o);
		struct simfs *before = simfs_clone(first.sim);
		simfs_free(first.sim);
		for (unsigned k = 0; k < ARRAY_COUNT(kinds); k++) {
			struct scene s = { .operation = o, .kind = &kinds[k] };
			if (argc > 2 && strcmp(argv[2], kinds[k].name))
				continue;
			if (argc > 4) {
				s.disk = (unsigned)atoi(argv[3]);
				s.index = strtoull(argv[4], NULL, 10);
				total += one_fault(before, &first, s) != SIM_NEVER;
			} else
				all_of_kind(before, &first, o, &kinds[k], stride);
		}
		simfs_free(before);
	}
	CHECK(total > 0);
	return CHECK_DONE();
}
