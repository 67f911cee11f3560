/* Random histories of all that owners, disks and the power may do to members: writing, working, adding and removing spares, replacing,
 * removing members that serve, cancelling that, failing by hand, adding, taking back, mounts, cuts, writes that fail; at every moment
 * with at most one needed member at fault, and perhaps one absent that nobody needs.  Some disks are too small to take a member's place
 * alone. Each mount must succeed and have all that was synced; in the end everything becomes whole. */
#include "fs/core.h"
#include "fs/upkeep/members.h"
#include "tests/sim/replace_state.h"
#include "tests/unit/check.h"

#include <stdlib.h>
#include <string.h>

#define DISKS 4u
#define DISK_BYTES (UINT64_C(16) << 20)
#define SECOND_NS INT64_C(1000000000)
#define EXTRA 4u                 /* blank disks beside the first members */
#define SMALL_BYTES (UINT64_C(11) << 20)
#define ACTIONS 40u

struct history {
	struct story run;
	uint64_t random;
	uint32_t fault;                  /* members that count as lost until a root has them settled: at most one that is needed */
	uint32_t needed;
	uint32_t failing;                /* the member whose disk is to fail a write or flush, or has done so */
	unsigned failing_disk;
	unsigned cuts, steps, failures;
	bool spread;                     /* columns of one member went to several */
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
	uint32_t before = h->fault;
	h->fault = 0;
	h->needed = config_needed(replace_config_of(sim));
	h->spread = h->spread || __builtin_popcount(config_job_targets(replace_config_of(sim))) > 1;
	for (unsigned m = 0; m < array_member_count(fs_array(sim->fs)); m++) {
		struct member_status s;
		array_member_status(fs_array(sim->fs), m, &s);
		bool was = before >> m & 1;      /* and a root that has it in sync may have been on a lone member when the power went */
		if ((h->needed >> m & 1) && (s.state != MEMBER_IN_SYNC || (!s.settled && (was || !s.gap.present))))
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
		mask |= (uint32_t)(replace_role_of(sim, m) == role && disk_of(sim, m) < SIM_DISKS_MAX - 1) << m;
	return mask;
}

static int free_disk(struct history *h)
{
	const struct simfs *sim = h->run.sim;
	uint32_t free_disks = (UINT32_C(1) << sim->world->disk_count) - 1;
	for (unsigned m = 0; m < array_member_count(fs_array(sim->fs)); m++)
		if (replace_role_of(sim, m) != MEMBER_UNUSED && disk_of(sim, m) < SIM_DISKS_MAX - 1)
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
	uint32_t now = config_needed(replace_config_of(sim)), others = 0;
	memset(sim->left_out, 0, sizeof sim->left_out);
	for (unsigned m = 0; m < array_member_count(fs_array(sim->fs)); m++)
		others |= (uint32_t)(replace_role_of(sim, m) != MEMBER_UNUSED && !((h->needed | now) >> m & 1)) << m;
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
	CHECK(story_is_there(sim->fs, &h->run));
	CHECK_EQ(sim->events[EVENT_UNREADABLE], 0);
	story_forget(&h->run);
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
	memset(sim->events, 0, sizeof sim->events);
	open_again(h);
}

static void remount(struct history *h)
{
	struct simfs *sim = h->run.sim;
	choose_absent(h);
	if (simfs_close(sim, false) < 0 && sim->world->cut)
		return;
	open_again(h);
}

static void change_members(struct history *h, uint64_t what)
{
	struct simfs *sim = h->run.sim;
	unsigned member, new_member;
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
	} else if (what == 5 && disk >= 0)
		r = fs_member_add(sim->fs, simdisk_open(sim->world->disks[disk]), true, &member, &new_member, &sim->fail);
	else if (what == 6 && absent_disk(h) >= 0)
		r = fs_member_readd(sim->fs, simdisk_open(sim->world->disks[absent_disk(h)]), &member, &sim->fail);
	else if (what == 7)
		r = fs_member_remove(sim->fs, pick(h, h->needed), &sim->fail);
	else if (what == 8 && replace_config_of(sim)->job_count > 0)
		r = fs_member_cancel(sim->fs, pick(h, config_job_sources(replace_config_of(sim))), &sim->fail);
	h->steps += r == 0;
}

static void act(struct history *h)
{
	struct simfs *sim = h->run.sim;
	uint64_t what = draw(h, 28);
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
	} else if (what < 20)
		change_members(h, what - 12);
	else if (what < 23)
		change_members(h, 7);
	else if (what == 23)
		change_members(h, 8);
	else if (what == 24)
		sim->world->cut_at_change = sim->world->changes + draw(h, 80);
	else if (what == 25)
		remount(h);
	else if (what == 26)
		let_fail(h);
	else
		cut_now(h);
	if (sim->world->cut)
		cut_now(h);
}

static void history(uint64_t seed, unsigned *cuts, unsigned *steps, unsigned *failures, unsigned *spread)
{
	struct history h = { .random = seed * 77 + 5 };
	REQUIRE(simfs_make(&h.run.sim, DISKS, DISK_BYTES, CIPHER_XCHACHA20_POLY1305, seed) == 0);
	REQUIRE(story_write_files(&h.run, 10) == 0);
	for (unsigned i = 0; i < EXTRA; i++)
		simworld_add(h.run.sim->world, (i % 2 ? SMALL_BYTES : DISK_BYTES) + (i + 1) * UNIT_BYTES);
	for (unsigned i = 0; i < EXTRA && seed % 2; i++) {
		unsigned member, disk = DISKS + i;
		if (h.run.sim->world->disks[disk]->current.size_bytes < DISK_BYTES)
			REQUIRE(fs_member_spare(h.run.sim->fs, simdisk_open(h.run.sim->world->disks[disk]), true, &member, &h.run.sim->fail) == 0);
	}
	unsigned failed = check_failed;
	for (unsigned i = 0; i < ACTIONS && check_failed == failed; i++)
		act(&h);
	h.run.sim->world->cut_at_change = SIM_NEVER;
	simdisk_clear_faults(h.run.sim->world->disks[h.failing_disk]);
	replace_leave_out(h.run.sim, NO_DISK, NO_DISK);
	simfs_close(h.run.sim, false);
	int r = simfs_open(h.run.sim);
	if (r < 0)
		printf("history of seed %llu: %s\n", (unsigned long long)seed, h.run.sim->fail.text);
	REQUIRE(r == 0);
	CHECK(replace_settle(h.run.sim));
	if (!replace_at_rest(h.run.sim))
		replace_tell(h.run.sim);
	CHECK(story_clean(h.run.sim->fs));
	CHECK(replace_is_whole(h.run.sim, NO_DISK, &h.run));
	if (check_failed != failed)
		printf("history of seed %llu\n", (unsigned long long)seed);
	*cuts += h.cuts;
	*steps += h.steps;
	*failures += h.failures;
	*spread += h.spread;
	simfs_free(h.run.sim);
}

static void histories(uint64_t first, uint64_t count)
{
	unsigned cuts_done = 0, steps = 0, failures = 0, spread = 0;
	for (uint64_t seed = first; seed < first + count; seed++)
		history(seed, &cuts_done, &steps, &failures, &spread);
	printf("%llu histories (%u of them with columns that went to several): %u cuts, %u changes of members, %u disks that failed\n",
		(unsigned long long)count, spread, cuts_done, steps, failures);
	CHECK(count < 10 || (cuts_done > count && steps > count && failures > count / 4 && spread > count / 10));
}

/* FIRST COUNT: other seeds. */
int main(int argc, char **argv)
{
	if (argc == 3)
		histories(strtoull(argv[1], NULL, 10), strtoull(argv[2], NULL, 10));
	else
		histories(1, 100);
	return CHECK_DONE();
}
