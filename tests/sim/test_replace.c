/* Members that are replaced while they serve, spares that step in, and steps of the configuration under power cuts.
 *
 * `cuts` cuts the power at the writes and flushes of a whole replacing, with users at work meanwhile; the owner comes back with all disks,
 * or without one: what was synced is there, everything goes on by itself, and in the end any one of the new set may be missing.
 * `histories` are random ones of all that owners, disks and the power may do, with at most one needed member at fault. */
#include "fs/core.h"
#include "fs/members.h"
#include "tests/sim/story.h"
#include "tests/unit/check.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define DISKS 4u
#define OLD 1u
#define NEW DISKS                /* disk and index of the new member */
#define DISK_BYTES (UINT64_C(16) << 20)
#define SECOND_NS INT64_C(1000000000)

enum kind { SERVING, SPARE };

/* ---- What the array is now ---- */

static const struct config *config_of(const struct simfs *sim) { return array_config(fs_array(sim->fs)); }

static uint8_t role_of(const struct simfs *sim, unsigned member)
{
	const struct config *config = config_of(sim);
	return member < config->member_count ? config->members[member].role : MEMBER_UNUSED;
}

/* No change of members is under way or due. */
static bool at_rest(const struct simfs *sim)
{
	const struct config *config = config_of(sim);
	for (unsigned m = 0; m < config->member_count; m++)
		if (config->members[m].role == MEMBER_REPLACEMENT)
			return false;
	return config->job_count == 0 && config_voters(config) == config_with_columns(config) && !array_degraded(fs_array(sim->fs));
}

static bool replaced(const struct simfs *sim)
{
	return role_of(sim, OLD) == MEMBER_UNUSED && role_of(sim, NEW) == MEMBER_VOTER && at_rest(sim);
}

static bool spares_ready(const struct simfs *sim)
{
	for (unsigned m = 0; m < array_member_count(fs_array(sim->fs)); m++) {
		struct member_status s;
		array_member_status(fs_array(sim->fs), m, &s);
		if (s.role == MEMBER_SPARE && s.name[0] && !s.settled)
			return false;
	}
	return true;
}

static bool settle(struct simfs *sim)
{
	for (unsigned i = 0; i < 600 && !(at_rest(sim) && spares_ready(sim)); i++) {
		if (fs_work(sim->fs) < 0)
			return false;
		simfs_sleep(sim, 20 * SECOND_NS);
	}
	return at_rest(sim) && spares_ready(sim) && fs_sync(sim->fs) == 0;
}

static void leave_out(struct simfs *sim, unsigned a, unsigned b)
{
	memset(sim->left_out, 0, sizeof sim->left_out);
	sim->left_out[a] = sim->left_out[b] = true;
}

static int replace_old(struct simfs *sim)
{
	unsigned member;
	int r = fs_member_replace_by(sim->fs, OLD, simdisk_open(sim->world->disks[NEW]), false, &member, &sim->fail);
	CHECK(r < 0 || member == NEW);
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
		leave_out(run.sim, OLD, OLD);
		REQUIRE(simfs_remount(run.sim) == 0);
		REQUIRE(story_write_files(&run, 5) == 0);
	}
	return run;
}

/* The whole story, until it ends or the power goes. */
static void play(struct story *run, enum kind kind)
{
	int r = kind == SERVING ? replace_old(run->sim) : 0;
	for (unsigned i = 0; i < 300 && r == 0 && !replaced(run->sim); i++) {
		r = fs_work(run->sim->fs);
		r = r < 0 || i >= 16 ? r : i % 2 == 0 ? story_write_files(run, 1) : story_write_fsync(run);
		simfs_sleep(run->sim, 5 * SECOND_NS);
	}
	if (r == 0)
		r = story_write_files(run, 2);
	run->whole = r == 0 && replaced(run->sim);
}

/* Everything synced is there, now and without each member; the disk `unused` is none. */
static void must_be_whole(struct simfs *sim, unsigned unused, unsigned synced)
{
	CHECK(story_clean(sim->fs));
	CHECK(story_is_there(sim->fs, synced));
	CHECK_EQ(sim->events[EVENT_UNREADABLE], 0);
	for (unsigned other = 0; other < sim->world->disk_count; other++) {
		if (other == unused)
			continue;
		leave_out(sim, unused, other);
		sim->options.read_only = true;
		int r = simfs_remount(sim);
		if (r < 0)
			printf("without disk %u: %s\n", other, sim->fail.text);
		REQUIRE(r == 0);
		CHECK(story_is_there(sim->fs, synced));
		CHECK_EQ(sim->events[EVENT_UNREADABLE], 0);
	}
}

/* The owner sees how far it came, and asks again for what was not begun. */
static void go_on(struct simfs *sim, enum kind kind)
{
	if (role_of(sim, NEW) == MEMBER_UNUSED)
		REQUIRE(replace_old(sim) == 0);
	CHECK(settle(sim));
	if (role_of(sim, NEW) == MEMBER_SPARE && kind == SERVING)
		REQUIRE(fs_member_replace(sim->fs, OLD, NEW, &sim->fail) == 0);
	CHECK(settle(sim));
}

/* For whoever looks into a failure. */
static void tell(const struct simfs *sim)
{
	const struct config *config = config_of(sim);
	printf("seed %llu, change %llu: version %llu, %u jobs\n", (unsigned long long)sim->world->seed, (unsigned long long)sim->world->changes,
		(unsigned long long)config->version, config->job_count);
	for (unsigned m = 0; m < config->member_count; m++) {
		struct member_status s;
		array_member_status(fs_array(sim->fs), m, &s);
		printf("  member %u: role %u, state %u, %s%s, gap %d (%llu, %llu]\n", m, s.role, s.state, s.settled ? "settled" : "",
			s.out_for_good ? "out for good" : "", s.gap.present, (unsigned long long)s.gap.from, (unsigned long long)s.gap.to);
	}
	printf("  last event: %s\n", sim->last_event);
}

/* What was cut goes on in each way in which the owner may come back. */
static void after_cut(const struct story *run, enum kind kind, enum simcut_policy policy)
{
	static const unsigned absent[] = { 63, OLD, NEW, 2 };
	for (unsigned way = 0; way < ARRAY_COUNT(absent); way++) {
		if (kind == SPARE && absent[way] == 2)   /* two would be at fault */
			continue;
		struct simfs *sim = simfs_clone(run->sim);
		simworld_cut(sim->world, policy);
		memset(sim->events, 0, sizeof sim->events);      /* without power nothing could be read */
		leave_out(sim, absent[way], absent[way]);
		REQUIRE(simfs_open(sim) == 0);
		CHECK(!fs_read_only(sim->fs));
		CHECK(story_is_there(sim->fs, run->synced));
		if (absent[way] == 63) {
			go_on(sim, kind);
			if (kind == SERVING && !replaced(sim))
				tell(sim);
			CHECK(kind == SPARE || replaced(sim));
			must_be_whole(sim, role_of(sim, OLD) == MEMBER_UNUSED ? OLD : 63, run->synced);
		} else if (absent[way] == OLD && role_of(sim, NEW) != MEMBER_UNUSED) {
			CHECK(settle(sim));
			if (!replaced(sim))
				tell(sim);
			CHECK(replaced(sim));
			must_be_whole(sim, OLD, run->synced);
		} else {
			CHECK(story_clean(sim->fs));
			leave_out(sim, 63, 63);
			REQUIRE(simfs_remount(sim) == 0);
			CHECK(settle(sim));
			CHECK(story_is_there(sim->fs, run->synced));
		}
		simfs_free(sim);
	}
}

static struct story begin_again(const struct simfs *before, const struct story *first)
{
	struct story run = { simfs_clone(before), first->written, first->synced, false };
	REQUIRE(simfs_open(run.sim) == 0);
	return run;
}

static void cuts(enum kind kind, unsigned stride)
{
	struct story first = start(kind, 31 + kind);
	struct simfs *before = simfs_clone(first.sim);
	simfs_free(first.sim);
	struct story run = begin_again(before, &first);
	uint64_t from = run.sim->world->changes;
	play(&run, kind);
	CHECK(run.whole);
	CHECK_EQ(run.sim->events[EVENT_SPARE_TAKEN], kind == SPARE);
	uint64_t to = run.sim->world->changes;
	REQUIRE(simfs_close(run.sim, false) == 0);
	after_cut(&run, kind, SIMCUT_KEEP_ALL);
	simfs_free(run.sim);
	unsigned count = 0;
	for (uint64_t at = from; at < to; at += stride, count++) {
		run = begin_again(before, &first);
		run.sim->world->cut_at_change = at;
		play(&run, kind);
		simfs_close(run.sim, true);
		after_cut(&run, kind, count % 3 == 0 ? SIMCUT_DROP_ALL : count % 3 == 1 ? SIMCUT_KEEP_ALL : SIMCUT_RANDOM);
		simfs_free(run.sim);
	}
	printf("%s: %u cuts of %llu changes\n", kind == SERVING ? "serving" : "spare", count, (unsigned long long)(to - from));
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
		CHECK_EQ(role_of(run.sim, OLD), victim == OLD ? MEMBER_UNUSED : MEMBER_VOTER);
		simdisk_clear_faults(disk);
		simdisk_return_hung(disk, false);
		CHECK(settle(run.sim));
		unsigned gone = victim == 2 ? 2 : OLD;
		CHECK_EQ(role_of(run.sim, gone), MEMBER_UNUSED);
		CHECK_EQ(role_of(run.sim, NEW), MEMBER_VOTER);
		must_be_whole(run.sim, gone, run.synced);
		simfs_free(run.sim);
	}
}

/* Sectors that the old one cannot read are made from the others.  What is damaged on those is not looked for: the next scrub finds it,
 * and the new member serves as well for that. */
static void bad_sectors(void)
{
	struct story run = start(SERVING, 60);
	uint64_t data = config_of(run.sim)->geometry.data_offset_bytes;
	for (unsigned i = 0; i < 3; i++) {
		simdisk_fault(run.sim->world->disks[OLD], &(struct simfault){ .kind = SIM_BAD_SECTORS, .ops_mask = SIM_ON(DISK_READ),
			.from_bytes = data + i * 7 * UNIT_BYTES, .to_bytes = data + i * 7 * UNIT_BYTES + BLOCK_BYTES });
		simdisk_flip(run.sim->world->disks[0], data + (i * 7 + 3) * UNIT_BYTES + 5, 0x11);
	}
	REQUIRE(replace_old(run.sim) == 0);
	CHECK(settle(run.sim));
	CHECK(replaced(run.sim));
	REQUIRE(fs_scrub(run.sim->fs, SCRUB_START, &run.sim->fail) == 0);
	struct scrub_status scrub = { .state = SCRUB_RUNNING };
	for (unsigned i = 0; i < 100 && scrub.state == SCRUB_RUNNING; i++) {
		work(run.sim, 1);
		fs_scrub_status(run.sim->fs, &scrub);
	}
	CHECK_EQ(scrub.state, SCRUB_FINISHED);
	CHECK_EQ(scrub.unreadable, 0);
	REQUIRE(story_write_files(&run, 1) == 0);
	work(run.sim, 5);                /* what it found is mended in the background */
	must_be_whole(run.sim, OLD, run.synced);
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
	CHECK_EQ(role_of(run.sim, NEW), MEMBER_REPLACEMENT);
	CHECK_EQ(fs_member_replace(run.sim->fs, 0, NEW, fail), -EBUSY);
	CHECK_EQ(fail->code, FAIL_BUSY);
	CHECK(fs_member_remove(run.sim->fs, NEW, fail) == 0);
	CHECK_EQ(role_of(run.sim, NEW), MEMBER_SPARE);
	CHECK_EQ(run.sim->events[EVENT_REPLACE_STOPPED], 1);
	REQUIRE(story_write_files(&run, 3) == 0);
	CHECK(fs_member_remove(run.sim->fs, NEW, fail) == 0);
	CHECK_EQ(role_of(run.sim, NEW), MEMBER_UNUSED);
	/* What lies on it from the time before is worth nothing. */
	REQUIRE(add_spare(run.sim, NEW, &member) == 0);
	CHECK_EQ(member, NEW);
	REQUIRE(fs_member_replace(run.sim->fs, OLD, NEW, fail) == 0);
	CHECK(settle(run.sim));
	CHECK(replaced(run.sim));
	must_be_whole(run.sim, OLD, run.synced);
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
		CHECK(settle(run.sim));
		CHECK_EQ(role_of(run.sim, from), MEMBER_UNUSED);
		REQUIRE(story_write_files(&run, 5) == 0);
		if (i == 1)
			REQUIRE(simfs_remount(run.sim) == 0);
	}
	must_be_whole(run.sim, OLD, run.synced);
	simfs_free(run.sim);
}

/* A spare is not taken at once for a member that is only away for a moment. */
static void away_for_a_moment(void)
{
	struct story run = start(SPARE, 63);
	work(run.sim, 2);
	leave_out(run.sim, 63, 63);
	REQUIRE(simfs_remount(run.sim) == 0);
	CHECK(settle(run.sim));
	CHECK_EQ(role_of(run.sim, OLD), MEMBER_VOTER);
	CHECK_EQ(role_of(run.sim, NEW), MEMBER_SPARE);
	/* One that was failed by hand is replaced at once. */
	REQUIRE(fs_member_fail(run.sim->fs, OLD, &run.sim->fail) == 0);
	CHECK(fs_work(run.sim->fs) == 1);
	CHECK_EQ(role_of(run.sim, NEW), MEMBER_REPLACEMENT);
	CHECK(settle(run.sim));
	CHECK(replaced(run.sim));
	must_be_whole(run.sim, OLD, run.synced);
	simfs_free(run.sim);
}

static void refused(void)
{
	struct story run = start(SERVING, 64);
	struct simworld *world = run.sim->world;
	struct fs *fs = run.sim->fs;
	struct fail *fail = &run.sim->fail;
	struct simdisk *small = simworld_add(world, DISK_BYTES / 2 + 6 * (UINT64_C(1) << 20)), *tiny = simworld_add(world, UINT64_C(2) << 20);
	uint64_t version = config_of(run.sim)->version;
	unsigned member;
	CHECK_EQ(fs_member_replace_by(fs, OLD, simdisk_open(small), true, &member, fail), -ENOSPC);
	CHECK_EQ(fail->code, FAIL_TOO_SMALL);
	CHECK_EQ(fs_member_spare(fs, simdisk_open(tiny), true, &member, fail), -ENOSPC);
	CHECK_EQ(fail->code, FAIL_TOO_SMALL);
	CHECK_EQ(fs_member_spare(fs, simdisk_open(world->disks[0]), true, &member, fail), -EBUSY);
	CHECK_EQ(fail->code, FAIL_BUSY);
	CHECK_EQ(fs_member_replace_by(fs, DISKS, simdisk_open(world->disks[NEW]), true, &member, fail), -ENOENT);
	CHECK_EQ(fail->code, FAIL_USAGE);
	CHECK_EQ(fs_member_remove(fs, 0, fail), -EINVAL);
	CHECK_EQ(fail->code, FAIL_USAGE);
	CHECK_EQ(fs_member_remove(fs, 9, fail), -ENOENT);
	CHECK_EQ(fail->code, FAIL_USAGE);
	CHECK_EQ(fs_member_replace(fs, OLD, 0, fail), -EINVAL);
	CHECK_EQ(fail->code, FAIL_USAGE);
	CHECK_EQ(config_of(run.sim)->version, version);
	CHECK(story_is_there(fs, run.synced));
	simfs_free(run.sim);
}

/* ---- Histories ---- */

#define EXTRA 2u                 /* blank disks beside the first members */
#define ACTIONS 40u

struct history {
	struct story run;
	uint64_t random;
	uint32_t fault;                  /* members that count as lost until a root has them settled: at most one that is needed */
	uint32_t needed;
	uint32_t failing;                /* the member whose disk is to fail a write or flush, or has done so */
	unsigned failing_disk;
	unsigned made;                   /* the disk that was last made a missing member anew */
	uint32_t serving;                /* disks of the last mount */
	unsigned cuts, steps, failures;
};

static uint64_t draw(struct history *h, uint64_t below)
{
	h->random = h->random * 6364136223846793005u + 1442695040888963407u;
	return (h->random >> 33) % below;
}

static unsigned pick(struct history *h, uint32_t mask)
{
	unsigned n = (unsigned)draw(h, (uint64_t)__builtin_popcount(mask));
	while (n-- > 0)
		mask &= mask - 1;
	return (unsigned)__builtin_ctz(mask);
}

/* The disk that serves the member, or SIM_DISKS_MAX - 1. */
static unsigned disk_of(const struct simfs *sim, unsigned member)
{
	struct member_status s;
	unsigned disk;
	array_member_status(fs_array(sim->fs), member, &s);
	return sscanf(s.name, "sim%u", &disk) == 1 ? disk : SIM_DISKS_MAX - 1;
}

static void look(struct history *h)
{
	struct simfs *sim = h->run.sim;
	h->fault = 0;
	h->needed = config_needed(config_of(sim));
	for (unsigned m = 0; m < array_member_count(fs_array(sim->fs)); m++) {
		struct member_status s;
		array_member_status(fs_array(sim->fs), m, &s);
		if ((h->needed >> m & 1) && (s.state != MEMBER_IN_SYNC || (!s.gap.present && !s.settled)))
			h->fault |= UINT32_C(1) << m;
	}
	if (h->failing && !(h->fault & h->failing) && simdisk_fault_hits(sim->world->disks[h->failing_disk], 0)) {
		simdisk_clear_faults(sim->world->disks[h->failing_disk]);
		h->failing = 0;
	}
	h->fault |= h->failing;
}

/* A write or flush of a member will fail, once. */
static void let_fail(struct history *h)
{
	struct simfs *sim = h->run.sim;
	if (h->fault)
		return;
	unsigned member = pick(h, h->needed);
	h->failing_disk = disk_of(sim, member);
	h->failing = UINT32_C(1) << member;
	h->fault |= h->failing;
	h->failures++;
	simdisk_fault(sim->world->disks[h->failing_disk], &(struct simfault){ .kind = draw(h, 2) ? SIM_ERROR : SIM_ERROR_LANDS,
		.ops_mask = draw(h, 2) ? SIM_ON(DISK_WRITE) : SIM_ON(DISK_FLUSH), .times = 1 });
}

/* The members of a role that have a disk. */
static uint32_t members_of(const struct simfs *sim, uint8_t role)
{
	uint32_t mask = 0;
	for (unsigned m = 0; m < array_member_count(fs_array(sim->fs)); m++)
		mask |= (uint32_t)(role_of(sim, m) == role && disk_of(sim, m) < SIM_DISKS_MAX - 1) << m;
	return mask;
}

static int free_disk(struct history *h)
{
	const struct simfs *sim = h->run.sim;
	uint32_t free_disks = (UINT32_C(1) << sim->world->disk_count) - 1;
	for (unsigned m = 0; m < array_member_count(fs_array(sim->fs)); m++)
		if (role_of(sim, m) != MEMBER_UNUSED && disk_of(sim, m) < SIM_DISKS_MAX - 1)
			free_disks &= ~(UINT32_C(1) << disk_of(sim, m));
	for (unsigned d = 0; d < sim->world->disk_count; d++)
		if (sim->left_out[d])
			free_disks &= ~(UINT32_C(1) << d);
	return free_disks ? (int)pick(h, free_disks) : -1;
}

/* One that this mount was not given and that is connected now, or -1. */
static int absent_disk(const struct history *h)
{
	const struct simfs *sim = h->run.sim;
	for (unsigned d = 0; d < sim->world->disk_count; d++)
		if (sim->left_out[d])
			return (int)d;
	return -1;
}

/* With all disks, or without one that was at fault, or any if none was; and perhaps without one that nobody needs. */
static void choose_absent(struct history *h)
{
	struct simfs *sim = h->run.sim;
	uint32_t now = config_needed(config_of(sim)), others = 0;
	memset(sim->left_out, 0, sizeof sim->left_out);
	h->serving = 0;
	for (unsigned m = 0; m < array_member_count(fs_array(sim->fs)); m++)
		if (disk_of(sim, m) < SIM_DISKS_MAX - 1)
			h->serving |= UINT32_C(1) << disk_of(sim, m);
	for (unsigned m = 0; m < array_member_count(fs_array(sim->fs)); m++)
		others |= (uint32_t)(role_of(sim, m) != MEMBER_UNUSED && !((h->needed | now) >> m & 1)) << m;
	if (h->fault ? draw(h, 10) < 7 : draw(h, 2))
		sim->left_out[disk_of(sim, h->fault ? pick(h, h->fault) : pick(h, h->needed))] = true;
	if (others && draw(h, 10) < 3)
		sim->left_out[disk_of(sim, pick(h, others))] = true;
}

static void open_again(struct history *h)
{
	struct simfs *sim = h->run.sim;
	int r = simfs_open(sim);
	if (r < 0 && sim->world->cut)
		return;                  /* again */
	if (r < 0)
		printf("open: %s\n", sim->fail.text);
	REQUIRE(r == 0);
	CHECK(!fs_read_only(sim->fs));
	CHECK(story_is_there(sim->fs, h->run.synced));
	CHECK_EQ(sim->events[EVENT_UNREADABLE], 0);
	story_forget(&h->run);
}

static bool label_of(struct simdisk *disk, struct label *ret_label)
{
	uint8_t bytes[LABEL_BYTES];
	for (unsigned copy = 0; copy < LABEL_COPIES; copy++) {
		simdisk_peek(disk, label_copy_offset_bytes(copy, disk->current.size_bytes), bytes, sizeof bytes);
		if (label_decode(bytes, ret_label) == 0)
			return true;
	}
	return false;
}

/* Two disks may be labelled as one member, after a missing one was made anew: the owner erases the one that was not used last, as he is
 * told to. */
static void erase_twins(struct history *h)
{
	static const uint8_t zeros[LABEL_BYTES];
	struct simworld *world = h->run.sim->world;
	struct label a, b;
	for (unsigned d = 0; d < world->disk_count; d++)
		for (unsigned e = d + 1; e < world->disk_count; e++) {
			if (!label_of(world->disks[d], &a) || !label_of(world->disks[e], &b) || !uuid_equal(&a.member, &b.member))
				continue;
			bool first = h->serving >> e & 1 || (!(h->serving >> d & 1) && h->made == e);
			struct simdisk *disk = world->disks[first ? d : e];
			for (unsigned copy = 0; copy < LABEL_COPIES; copy++)
				simdisk_poke(disk, label_copy_offset_bytes(copy, disk->current.size_bytes), zeros, sizeof zeros);
		}
}

static void cut_now(struct history *h)
{
	struct simfs *sim = h->run.sim;
	h->cuts++;
	if (sim->fs) {
		choose_absent(h);
		simfs_close(sim, true);
	}
	simworld_cut(sim->world, (enum simcut_policy)draw(h, 3));
	erase_twins(h);
	memset(sim->events, 0, sizeof sim->events);
	open_again(h);
}

static void remount(struct history *h)
{
	struct simfs *sim = h->run.sim;
	choose_absent(h);
	if (simfs_close(sim, false) < 0 && sim->world->cut)
		return;
	erase_twins(h);
	open_again(h);
}

static void change_members(struct history *h, uint64_t what)
{
	struct simfs *sim = h->run.sim;
	unsigned member;
	int disk = free_disk(h), r = -1;
	uint32_t spares = members_of(sim, MEMBER_SPARE) | members_of(sim, MEMBER_REPLACEMENT);
	if (what == 0 && disk >= 0)
		r = fs_member_spare(sim->fs, simdisk_open(sim->world->disks[disk]), true, &member, &sim->fail);
	else if (what == 1 && disk >= 0)
		r = fs_member_replace_by(sim->fs, pick(h, h->needed), simdisk_open(sim->world->disks[disk]), true, &member, &sim->fail);
	else if (what == 2 && spares)
		r = fs_member_remove(sim->fs, pick(h, spares), &sim->fail);
	else if (what == 3 && members_of(sim, MEMBER_SPARE))
		r = fs_member_replace(sim->fs, pick(h, h->needed), pick(h, members_of(sim, MEMBER_SPARE)), &sim->fail);
	else if (what == 4 && !h->failing) {
		member = pick(h, h->needed);
		r = fs_member_fail(sim->fs, member, &sim->fail);
		if (r == 0 || (sim->world->cut && !h->fault))
			h->fault |= UINT32_C(1) << member;
	} else if (what == 5 && disk >= 0) {
		r = fs_member_add(sim->fs, simdisk_open(sim->world->disks[disk]), true, &member, &sim->fail);
		if (r == 0 || sim->world->cut)
			h->made = (unsigned)disk;
	} else if (what == 6 && absent_disk(h) >= 0)
		r = fs_member_readd(sim->fs, simdisk_open(sim->world->disks[absent_disk(h)]), &member, &sim->fail);
	h->steps += r == 0;
}

static void act(struct history *h)
{
	struct simfs *sim = h->run.sim;
	uint64_t what = draw(h, 23);
	look(h);
	if (what < 3)
		story_write_files(&h->run, 1 + (unsigned)draw(h, 2));
	else if (what < 5)
		story_write_fsync(&h->run);
	else if (what < 12) {
		for (uint64_t i = draw(h, 6); i > 0 && !sim->world->cut; i--) {
			fs_work(sim->fs);
			simfs_sleep(sim, (int64_t)draw(h, 3) * 20 * SECOND_NS);
		}
	} else if (what < 19)
		change_members(h, what - 12);
	else if (what == 19)
		sim->world->cut_at_change = sim->world->changes + draw(h, 80);
	else if (what == 20)
		remount(h);
	else if (what == 21)
		let_fail(h);
	else
		cut_now(h);
	if (sim->world->cut)
		cut_now(h);
}

static void history(uint64_t seed, unsigned *cuts, unsigned *steps, unsigned *failures)
{
	struct history h = { .random = seed * 77 + 5, .made = SIM_DISKS_MAX };
	REQUIRE(simfs_make(&h.run.sim, DISKS, DISK_BYTES, CIPHER_XCHACHA20_POLY1305, seed) == 0);
	REQUIRE(story_write_files(&h.run, 10) == 0);
	for (unsigned i = 0; i < EXTRA; i++)
		simworld_add(h.run.sim->world, DISK_BYTES + (i + 1) * UNIT_BYTES);
	unsigned failed = check_failed;
	for (unsigned i = 0; i < ACTIONS && check_failed == failed; i++)
		act(&h);
	h.run.sim->world->cut_at_change = SIM_NEVER;
	simdisk_clear_faults(h.run.sim->world->disks[h.failing_disk]);
	choose_absent(&h);               /* for what serves now */
	leave_out(h.run.sim, 63, 63);
	simfs_close(h.run.sim, false);
	erase_twins(&h);
	int r = simfs_open(h.run.sim);
	if (r < 0)
		printf("history of seed %llu: %s\n", (unsigned long long)seed, h.run.sim->fail.text);
	REQUIRE(r == 0);
	CHECK(settle(h.run.sim));
	if (!at_rest(h.run.sim))
		tell(h.run.sim);
	CHECK(story_clean(h.run.sim->fs));
	must_be_whole(h.run.sim, 63, h.run.synced);
	if (check_failed != failed)
		printf("history of seed %llu\n", (unsigned long long)seed);
	*cuts += h.cuts;
	*steps += h.steps;
	*failures += h.failures;
	simfs_free(h.run.sim);
}

static void histories(uint64_t first, uint64_t count)
{
	unsigned cuts_done = 0, steps = 0, failures = 0;
	for (uint64_t seed = first; seed < first + count; seed++)
		history(seed, &cuts_done, &steps, &failures);
	printf("%llu histories: %u cuts, %u changes of members, %u disks that failed\n", (unsigned long long)count, cuts_done, steps, failures);
	CHECK(count < 10 || (cuts_done > count && steps > count && failures > count / 4));
}

/* Without arguments the usual extent; --cuts STRIDE, --histories FIRST COUNT. */
int main(int argc, char **argv)
{
	if (argc == 4 && !strcmp(argv[1], "--histories")) {
		histories(strtoull(argv[2], NULL, 10), strtoull(argv[3], NULL, 10));
		return CHECK_DONE();
	}
	unsigned stride = argc == 3 && !strcmp(argv[1], "--cuts") ? (unsigned)atoi(argv[2]) : 5;
	cuts(SERVING, stride);
	cuts(SPARE, stride);
	failing_meanwhile();
	bad_sectors();
	cancelled_and_removed();
	one_after_the_other();
	away_for_a_moment();
	refused();
	histories(1, 60);
	return CHECK_DONE();
}
