/* Columns on their way in many steps: roots carry positions between the beginning and the end, the power fails at the writes and flushes,
 * and what comes then goes on from the position that was durable (doc/membership.md, J3 to J6, M3).
 *
 * A limit of speed makes the steps short, and there are files for several of them.  Of each cut one branch goes on as it was, and another
 * without the new member, without the old one, without a third, or with a new one that is silently older: that one's position counts for
 * nothing.  No step that a root told is made again, and in the end everything is whole without any one member: nothing was passed over. */
#include "fs/core.h"
#include "fs/upkeep/members.h"
#include "raid/array_step.h"
#include "tests/sim/replace_state.h"
#include "tests/unit/check.h"

#include <stdlib.h>
#include <string.h>

#define DISKS 4u
#define OLD 1u
#define NEW DISKS                /* disk and index of the new member */
#define DISK_BYTES (UINT64_C(16) << 20)
#define FILES 700u
#define SPEED_BYTES (UINT64_C(1) << 20)
#define STEP_ROWS (SPEED_BYTES / UNIT_BYTES)
#define STEPS_MAX 300u
#define SECOND_NS INT64_C(1000000000)
#if defined(__SANITIZE_ADDRESS__)
#define STRIDE 97u
#else
#define STRIDE 17u
#endif

enum kind { SERVING, ADDING };
static const char *const kind_names[] = { "serving", "adding" };

struct course {
	struct story story;
	address told;                    /* the last position that was synced */
	uint64_t told_rows, rows;        /* that the jobs had worked through then, and have now */
	struct simstore *older;          /* the new member at the first position on the way */
	unsigned told_midway;            /* positions on the way that were synced */
};

static bool replaced(const struct simfs *sim)
{
	return replace_role_of(sim, OLD) == MEMBER_UNUSED && replace_role_of(sim, NEW) == MEMBER_VOTER && replace_at_rest(sim);
}

static int begin(struct simfs *sim, enum kind kind)
{
	struct disk *disk = simdisk_open(sim->world->disks[NEW]);
	unsigned member, new_member;
	return kind == SERVING ? fs_member_replace_by(sim->fs, OLD, disk, false, &new_member, &sim->fail)
		: fs_member_add(sim->fs, disk, false, &member, &new_member, &sim->fail);
}

static bool is_midway(address position) { return position != 0 && position != JOB_ALL; }

/* 0 where there is no job. */
static address position_of(const struct simfs *sim)
{
	struct array_job job;
	return array_job(fs_array(sim->fs), &job) ? job.position : 0;
}

/* One step of whatever is due: *ret_rows are those that the jobs worked through. */
static int step(struct simfs *sim, uint64_t *ret_rows)
{
	address before = position_of(sim);
	uint64_t walked_bytes = sim->fs->walked_bytes;
	int r = fs_work(sim->fs);
	address after = position_of(sim);
	*ret_rows = after > before ? (sim->fs->walked_bytes - walked_bytes) / UNIT_BYTES : 0;
	if (r >= 0 && after > before && after != JOB_ALL)
		CHECK_EQ(simdisk_unflushed(sim->world->disks[NEW]), 0);          /* before any root says so */
	simfs_sleep(sim, 5 * SECOND_NS);
	return r;
}

/* ---- The course ---- */

static struct story start(enum kind kind)
{
	struct story story = { 0 };
	REQUIRE(simfs_make(&story.sim, DISKS, DISK_BYTES, CIPHER_XCHACHA20_POLY1305, 71 + kind) == 0);
	REQUIRE(story_write_files(&story, FILES) == 0);
	simworld_add(story.sim->world, DISK_BYTES + UNIT_BYTES);
	story.sim->options.speed_bytes = SPEED_BYTES;
	replace_leave_out(story.sim, kind == ADDING ? OLD : NO_DISK, NO_DISK);
	REQUIRE(simfs_remount(story.sim) == 0);
	REQUIRE(story_write_files(&story, 5) == 0);
	return story;
}

static void note_told(struct course *c)
{
	address position = position_of(c->story.sim);
	if (is_midway(position) && position > c->told)
		c->told_midway++;
	if (is_midway(position) && !c->older)
		c->older = simdisk_snapshot(c->story.sim->world->disks[NEW]);
	c->told = position;
	c->told_rows = c->rows;
}

/* Until it ends or the power goes. */
static void play(struct course *c, enum kind kind)
{
	int r = begin(c->story.sim, kind);
	for (unsigned i = 0; i < STEPS_MAX && r == 0 && !replaced(c->story.sim); i++) {
		uint64_t rows;
		r = step(c->story.sim, &rows);
		c->rows += rows;
		if (r >= 0)
			r = i % 4 == 3 ? story_write_files(&c->story, 1) : fs_sync(c->story.sim->fs);
		if (r == 0)
			note_told(c);
	}
	c->story.whole = r == 0 && replaced(c->story.sim);
}

static struct course again(const struct simfs *before, const struct story *first)
{
	struct course c = { .story = story_again(before, first) };
	REQUIRE(c.story.sim->fs);
	return c;
}

static void free_course(struct course *c)
{
	simfs_free(c->story.sim);
	if (c->older)
		simsnapshot_free(c->older);
}

/* ---- After a cut ---- */

enum way { AS_IT_WAS, WITHOUT_NEW, WITHOUT_OLD, WITHOUT_THIRD, NEW_IS_OLDER, WAYS };

struct counts { unsigned cuts, midway, from_zero, by_way[WAYS]; };

static uint64_t all_rows;        /* that the jobs work through without a cut */

/* The target had all roots: the position is one that was durable, and no more than a step is made again.  Else it begins anew. */
static void position_holds(struct simfs *sim, const struct course *c, enum way way, struct counts *counts)
{
	struct member_status target;
	struct array_job job;
	uint64_t rows, sum = 0;
	if (!array_job(fs_array(sim->fs), &job))
		return;
	array_member_status(fs_array(sim->fs), NEW, &target);
	bool level = target.state == MEMBER_IN_SYNC && !target.gap.present;
	CHECK(level ? job.position >= c->told : job.position == 0);
	counts->midway += is_midway(job.position);
	counts->from_zero += !level && is_midway(c->told);
	if (!level || way == WITHOUT_NEW)
		return;
	for (unsigned i = 0; i < STEPS_MAX && array_job(fs_array(sim->fs), &job) && job.position != JOB_ALL; i++) {
		REQUIRE(step(sim, &rows) >= 0);
		CHECK(rows <= STEP_ROWS);
		sum += rows;
	}
	CHECK(c->told_rows + sum <= all_rows + STEP_ROWS);
}

static void must_end(struct simfs *sim, const struct course *c, enum kind kind)
{
	if (replace_role_of(sim, NEW) == MEMBER_UNUSED)
		REQUIRE(begin(sim, kind) == 0);
	CHECK(replace_settle(sim));
	if (replace_role_of(sim, NEW) == MEMBER_SPARE)
		REQUIRE(fs_member_replace(sim->fs, OLD, NEW, &sim->fail) == 0);
	CHECK(replace_settle(sim));
	if (!replaced(sim)) {
		replace_tell(sim);
		CHECK(replaced(sim));
	}
	CHECK(replace_is_whole(sim, OLD, &c->story));
}

/* The old one is there if it served; if it did not, it comes back in its way. */
static void after_cut(const struct course *c, enum kind kind, enum way way, enum simcut_policy policy, struct counts *counts)
{
	unsigned old = kind == ADDING ? OLD : NO_DISK;
	if ((way == WITHOUT_THIRD && kind == ADDING) || (way == NEW_IS_OLDER && c->told_midway < 2))
		return;
	struct simfs *sim = simfs_clone(c->story.sim);
	simworld_cut(sim->world, policy);
	memset(sim->events, 0, sizeof sim->events);      /* without power nothing could be read */
	if (way == NEW_IS_OLDER)
		simdisk_replace_with_snapshot(sim->world->disks[NEW], c->older);
	if (way == WITHOUT_OLD)
		old = kind == ADDING ? NO_DISK : OLD;
	replace_leave_out(sim, old, way == WITHOUT_NEW ? NEW : way == WITHOUT_THIRD ? 2 : NO_DISK);
	REQUIRE(simfs_open(sim) == 0);
	CHECK(!fs_read_only(sim->fs));
	CHECK(story_is_there(sim->fs, &c->story));
	counts->by_way[way]++;
	if (way != NEW_IS_OLDER)
		position_holds(sim, c, way, counts);
	else
		CHECK_EQ(position_of(sim), 0);
	if (way == AS_IT_WAS || way == NEW_IS_OLDER)
		must_end(sim, c, kind);
	else {
		replace_leave_out(sim, NO_DISK, NO_DISK);
		REQUIRE(simfs_remount(sim) == 0);
		CHECK(replace_settle(sim));
		CHECK(story_clean(sim->fs) && story_is_there(sim->fs, &c->story));
	}
	simfs_free(sim);
}

static void cuts(enum kind kind, unsigned stride)
{
	struct counts counts = { 0 };
	struct story first = start(kind);
	struct simfs *before = simfs_clone(first.sim);
	simfs_free(first.sim);
	struct course c = again(before, &first);
	uint64_t from = c.story.sim->world->changes;
	play(&c, kind);
	uint64_t to = c.story.sim->world->changes;
	all_rows = c.rows;
	CHECK(c.story.whole);
	CHECK(c.told_midway >= 3);
	CHECK(all_rows > 3 * STEP_ROWS);
	free_course(&c);
	for (uint64_t at = from; at < to; at += stride, counts.cuts++) {
		c = again(before, &first);
		c.story.sim->world->cut_at_change = at;
		play(&c, kind);
		simfs_close(c.story.sim, true);
		enum simcut_policy policy = counts.cuts % 3 == 0 ? SIMCUT_DROP_ALL : counts.cuts % 3 == 1 ? SIMCUT_KEEP_ALL : SIMCUT_RANDOM;
		after_cut(&c, kind, AS_IT_WAS, policy, &counts);
		after_cut(&c, kind, WITHOUT_NEW + counts.cuts % (WAYS - 1), policy, &counts);
		free_course(&c);
	}
	CHECK(counts.midway > counts.cuts / 4);
	printf("%s: %u cuts of %llu changes, %u midway, %u that began anew; %llu rows; without new %u, old %u, third %u, older %u\n",
		kind_names[kind], counts.cuts, (unsigned long long)(to - from), counts.midway, counts.from_zero, (unsigned long long)all_rows,
		counts.by_way[WITHOUT_NEW], counts.by_way[WITHOUT_OLD], counts.by_way[WITHOUT_THIRD], counts.by_way[NEW_IS_OLDER]);
	simfs_free(before);
}

/* --cuts STRIDE: not at each write and flush. */
int main(int argc, char **argv)
{
	unsigned stride = argc == 3 && !strcmp(argv[1], "--cuts") ? (unsigned)atoi(argv[2]) : STRIDE;
	cuts(SERVING, stride);
	cuts(ADDING, stride);
	return CHECK_DONE();
}
