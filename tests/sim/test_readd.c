/* A member that was away is taken back (fs_member_readd) and catches up in many steps, with users at work, and the power fails at the
 * writes and flushes of all of it.  After each cut the owner comes back with all disks, or without the one that was taken back, or without
 * another one; the last is a second loss, and may be refused, unless a root that was acknowledged has the first one in sync.  What was
 * synced is there, more is written, and with all disks everything becomes whole by itself: then any one of them may be missing. */
#include "fs/core.h"
#include "fs/upkeep/members.h"
#include "tests/sim/replace_state.h"
#include "tests/unit/check.h"

#include <stdlib.h>
#include <string.h>

#define DISKS 4u
#define BACK 1u                  /* the member that is taken back */
#define OTHER 2u
#define DISK_BYTES (UINT64_C(16) << 20)
#define FILES 20u
#define FILES_MEANWHILE 300u
#define SPEED_BYTES (UINT64_C(1) << 20)      /* so that steps are short */
#define STEPS_MAX 300u
#define SECOND_NS INT64_C(1000000000)
#if defined(__SANITIZE_ADDRESS__)
#define STRIDE 23u
#else
#define STRIDE 1u
#endif

struct course {
	struct story story;
	bool told_in_sync;               /* by a root that was acknowledged */
	unsigned told_midway;            /* roots that told how far it had come */
};

static struct member_status back_of(const struct simfs *sim)
{
	struct member_status s;
	array_member_status(fs_array(sim->fs), BACK, &s);
	return s;
}

static bool is_midway(const struct simfs *sim)
{
	struct member_status s = back_of(sim);
	return s.state == MEMBER_FILLING && s.gap.present && s.gap.position != 0;
}

static struct story start(void)
{
	struct story story = { 0 };
	REQUIRE(simfs_make(&story.sim, DISKS, DISK_BYTES, CIPHER_XCHACHA20_POLY1305, 81) == 0);
	REQUIRE(story_write_files(&story, FILES) == 0);
	story.sim->options.speed_bytes = SPEED_BYTES;
	replace_leave_out(story.sim, BACK, BACK);
	REQUIRE(simfs_remount(story.sim) == 0);
	REQUIRE(story_write_files(&story, FILES_MEANWHILE) == 0);
	return story;
}

/* Until it is in sync by a root, or the power goes. */
static void play(struct course *c)
{
	struct simfs *sim = c->story.sim;
	unsigned member = DISKS;
	int r = fs_member_readd(sim->fs, simdisk_open(sim->world->disks[BACK]), &member, &sim->fail);
	CHECK(r < 0 || member == BACK);
	for (unsigned i = 0; i < STEPS_MAX && r >= 0 && !back_of(sim).settled; i++) {
		address before = back_of(sim).gap.position;
		r = fs_work(sim->fs);
		if (r >= 0 && is_midway(sim) && back_of(sim).gap.position > before)
			CHECK_EQ(simdisk_unflushed(sim->world->disks[BACK]), 0);         /* before any root says so */
		if (r >= 0)
			r = i % 4 == 1 ? story_write_fsync(&c->story) : i % 4 == 3 ? story_write_files(&c->story, 1) : story_sync(&c->story);
		c->told_midway += r == 0 && is_midway(sim);
		simfs_sleep(sim, 5 * SECOND_NS);
	}
	c->told_in_sync = r == 0 && back_of(sim).settled;
	if (r == 0)
		r = story_write_files(&c->story, 2);
	c->story.whole = r == 0 && c->told_in_sync;
}

/* ---- After a cut ---- */

enum way { WITH_ALL, WITHOUT_BACK, WITHOUT_OTHER, WAYS };

struct counts { unsigned cuts, midway, refused, went_on_without_other; };

static void after_cut(const struct course *c, enum way way, enum simcut_policy policy, struct counts *counts)
{
	struct story s = c->story;
	struct simfs *sim = s.sim = simfs_clone(c->story.sim);
	simworld_cut(sim->world, policy);
	memset(sim->events, 0, sizeof sim->events);      /* without power nothing could be read */
	replace_leave_out(sim, way == WITHOUT_BACK ? BACK : way == WITHOUT_OTHER ? OTHER : NO_DISK, NO_DISK);
	uint64_t changes = sim->world->changes;
	int r = simfs_open(sim);
	if (r < 0) {
		CHECK(way == WITHOUT_OTHER && !c->told_in_sync);
		CHECK_EQ(sim->fail.code, FAIL_TOO_FEW);
		CHECK_EQ(sim->world->changes, changes);
		counts->refused++;
		replace_leave_out(sim, NO_DISK, NO_DISK);
		REQUIRE(simfs_open(sim) == 0);
	}
	counts->went_on_without_other += r == 0 && way == WITHOUT_OTHER;
	counts->midway += c->told_midway > 0 && !c->told_in_sync;
	CHECK(back_of(sim).state == MEMBER_IN_SYNC || back_of(sim).gap.position == 0);   /* what was missed since may lie at any address */
	CHECK(!fs_read_only(sim->fs));
	CHECK(story_is_there(sim->fs, &s));
	story_forget(&s);
	CHECK(story_write_files(&s, 3) == 0);
	if (way != WITH_ALL) {
		CHECK(story_clean(sim->fs));
		replace_leave_out(sim, NO_DISK, NO_DISK);
		REQUIRE(simfs_remount(sim) == 0);
	}
	CHECK(replace_settle(sim));
	CHECK(replace_is_whole(sim, NO_DISK, &s));
	simfs_free(sim);
}

static struct course again(const struct simfs *before, const struct story *first)
{
	struct course c = { .story = story_again(before, first) };
	REQUIRE(c.story.sim->fs);
	return c;
}

static void cuts(unsigned stride)
{
	struct counts counts = { 0 };
	struct story first = start();
	struct simfs *before = simfs_clone(first.sim);
	simfs_free(first.sim);
	struct course c = again(before, &first);
	uint64_t from = c.story.sim->world->changes;
	play(&c);
	CHECK(c.story.whole);
	CHECK(c.told_midway >= 3);
	uint64_t to = c.story.sim->world->changes;
	REQUIRE(simfs_close(c.story.sim, false) == 0);
	for (enum way way = 0; way < WAYS; way++)
		after_cut(&c, way, SIMCUT_KEEP_ALL, &counts);
	CHECK(counts.refused == 0 && counts.went_on_without_other == 1);
	simfs_free(c.story.sim);
	for (uint64_t at = from; at < to; at += stride, counts.cuts++) {
		c = again(before, &first);
		c.story.sim->world->cut_at_change = at;
		play(&c);
		simfs_close(c.story.sim, true);
		for (enum way way = 0; way < WAYS; way++)
			after_cut(&c, way, counts.cuts % 3 == 0 ? SIMCUT_DROP_ALL : counts.cuts % 3 == 1 ? SIMCUT_KEEP_ALL : SIMCUT_RANDOM, &counts);
		simfs_free(c.story.sim);
	}
	CHECK(counts.midway > counts.cuts);
	CHECK(counts.refused > 0 && counts.went_on_without_other > 1);
	printf("%u cuts of %llu changes, %u mounts on the way; without another one %u refused, %u went on\n", counts.cuts,
		(unsigned long long)(to - from), counts.midway, counts.refused, counts.went_on_without_other);
	simfs_free(before);
}

/* --cuts STRIDE: not at each write and flush. */
int main(int argc, char **argv)
{
	cuts(argc == 3 && !strcmp(argv[1], "--cuts") ? (unsigned)atoi(argv[2]) : STRIDE);
	return CHECK_DONE();
}
