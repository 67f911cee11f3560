/* The states of one cut: what of the unflushed writes is there, and which member is missing or older.  See power.h. */
#include "tests/sim/power.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define MESSAGES_MAX 30u

struct power_counts power_counts;

/* ---- Hashes of disks that were seen ---- */

struct hash_set { uint64_t *items; size_t count, room; };

struct hash_set *hash_set_new(void)
{
	struct hash_set *set = sim_alloc(sizeof *set);
	*set = (struct hash_set){ calloc(1024, sizeof *set->items), 0, 1024 };
	if (!set->items)
		abort();
	return set;
}

void hash_set_free(struct hash_set *set)
{
	if (set)
		free(set->items);
	free(set);
}

bool hash_set_add(struct hash_set *set, uint64_t hash)
{
	hash |= !hash;
	if (2 * set->count >= set->room) {
		struct hash_set more = { calloc(4 * set->room, sizeof *more.items), 0, 4 * set->room };
		if (!more.items)
			abort();
		for (size_t i = 0; i < set->room; i++)
			if (set->items[i])
				hash_set_add(&more, set->items[i]);
		free(set->items);
		*set = more;
	}
	size_t i = hash & (set->room - 1);
	while (set->items[i] && set->items[i] != hash)
		i = (i + 1) & (set->room - 1);
	if (set->items[i])
		return false;
	set->items[i] = hash;
	set->count++;
	return true;
}

/* ---- What is left of the unflushed writes ---- */

void plan_begin(struct power_plan *plan, struct simworld *world)
{
	unsigned n = 0;
	for (unsigned d = 0; d < world->disk_count; d++) {
		plan->first[d] = n;
		n += simdisk_unflushed(world->disks[d]);
	}
	plan->first[world->disk_count] = plan->count = n;
	plan->keep = sim_alloc((n + 1) * sizeof *plan->keep);
	plan->sectors = sim_alloc((n + 1) * sizeof *plan->sectors);
	for (unsigned d = 0; d < world->disk_count; d++)
		for (unsigned i = plan->first[d]; i < plan->first[d + 1]; i++)
			plan->sectors[i] = simdisk_unflushed_sectors(world->disks[d], i - plan->first[d]);
}

void plan_end(struct power_plan *plan)
{
	free(plan->keep);
	free(plan->sectors);
}

unsigned plan_count(const struct power_plan *plan, const struct power_effort *effort)
{
	if (plan->count == 0)
		return 1;
	/* Each write kept, dropped, or its first or second half. */
	return plan->count <= effort->all_subsets_of ? 1u << 2 * plan->count : 2 + effort->random_subsets;
}

static struct simkeep keep_random(struct power_random *random, uint64_t sectors, unsigned kept_percent)
{
	unsigned way = power_pick(random, 100);
	if (way < 60)
		return (struct simkeep){ 0, power_pick(random, 100) < kept_percent ? sectors : 0, 0 };
	if (way < 75)
		return (struct simkeep){ 0, power_pick(random, (unsigned)sectors), 0 };
	if (way < 90)
		return (struct simkeep){ power_pick(random, (unsigned)sectors), sectors, 0 };
	return (struct simkeep){ 0, sectors, power_next(random) | 1 };
}

static void choose_random(struct power_plan *plan, uint64_t seed)
{
	struct power_random random = { seed };
	/* How much is kept on the whole; and sometimes a disk has everything or nothing. */
	unsigned kept_percent = 10 + power_pick(&random, 81);
	for (unsigned d = 0; d < SIM_DISKS_MAX && plan->first[d] < plan->count; d++) {
		unsigned whole = power_pick(&random, 4);
		for (unsigned i = plan->first[d]; i < plan->first[d + 1]; i++)
			plan->keep[i] = whole > 1 ? keep_random(&random, plan->sectors[i], kept_percent)
				: (struct simkeep){ 0, whole ? plan->sectors[i] : 0, 0 };
	}
}

void plan_choose(struct power_plan *plan, const struct power_effort *effort, unsigned i, uint64_t seed)
{
	bool all = plan->count <= effort->all_subsets_of;
	if (!all && i >= 2) {
		choose_random(plan, power_mix(seed, i));
		return;
	}
	for (unsigned k = 0; k < plan->count; k++) {
		unsigned halves = all ? i >> 2 * k & 3 : i == 0 ? 0 : 3;
		uint64_t sectors = plan->sectors[k];
		plan->keep[k] = (struct simkeep){ halves & 1 ? 0 : sectors / 2, halves & 2 ? sectors : sectors / 2, 0 };
		if (halves == 0)
			plan->keep[k].to = plan->keep[k].from;
	}
}

struct simworld *plan_apply(const struct power_plan *plan, struct simworld *cut)
{
	struct simworld *world = simworld_clone(cut);
	for (unsigned d = 0; d < world->disk_count; d++)
		simdisk_cut_plan(world->disks[d], plan->keep + plan->first[d]);
	simworld_power_on(world);
	return world;
}

/* ---- Looking ---- */

void power_lost(struct power_run *run, const char *what, const char *why)
{
	power_counts.lost++;
	if (power_counts.lost > MESSAGES_MAX)
		return;
	fprintf(stderr, "LOST: %s: %s\n  after:%s\n  replay: test_power --replay %c:%llu:%llu\n", what, why, run->trace, run->kind,
		(unsigned long long)run->number, (unsigned long long)run->state - 1);
}

struct complaint { char *text; size_t bytes; };

static void complain(void *ctx, const char *text)
{
	struct complaint *c = ctx;
	size_t used = strlen(c->text);
	snprintf(c->text + used, c->bytes - used, "; %s", text);
}

bool power_checks(struct fs *fs, bool data, char *why, size_t why_bytes)
{
	snprintf(why, why_bytes, "the check");
	struct complaint c = { why, why_bytes };
	return fs_check(fs, data, complain, &c) == 0;
}

bool power_catch_up(struct simfs *sim)
{
	for (unsigned i = 0; i < 200 && array_degraded(fs_array(sim->fs)); i++) {
		if (fs_work(sim->fs) < 0)
			return false;
		simfs_sleep(sim, INT64_C(20000000000));
	}
	return !array_degraded(fs_array(sim->fs)) && fs_sync(sim->fs) == 0;
}

bool power_goes_on(struct simfs *sim, bool whole, char *why, size_t why_bytes)
{
	static const struct fs_cred cred;
	static const char name[] = POWER_NAME("new");
	struct fs_attr attr;
	char bytes[3000];
	uint64_t generation = fs_generation(sim->fs);
	snprintf(why, why_bytes, "it does not go on");
	memset(bytes, 'x', sizeof bytes);
	if (fs_mknod(sim->fs, 1, name, S_IFREG | 0600, 0, cred, &attr) < 0
		|| fs_write(sim->fs, attr.ino, bytes, sizeof bytes, 0, false, NULL) != sizeof bytes || fs_fsync(sim->fs, attr.ino, false) < 0)
		return false;
	if (!whole)
		return true;
	snprintf(why, why_bytes, "what was written afterwards is lost");
	if (simfs_crash(sim, SIMCUT_DROP_ALL) < 0 || fs_lookup(sim->fs, 1, name, &attr) < 0
		|| fs_read(sim->fs, attr.ino, bytes, sizeof bytes, 0) != sizeof bytes || bytes[sizeof bytes - 1] != 'x'
		|| fs_sync(sim->fs) < 0 || fs_generation(sim->fs) <= generation || fs_unlink(sim->fs, 1, name) < 0 || fs_sync(sim->fs) < 0)
		return false;
	memset(sim->left_out, 0, sizeof sim->left_out);
	simfs_close(sim, false);
	snprintf(why, why_bytes, "not all members have caught up");
	if (simfs_open(sim) < 0 || !power_catch_up(sim))
		return false;
	return power_checks(sim->fs, true, why, why_bytes);
}

#define OLDER 3u                         /* moments that are tried: the first, the last, and one between */

struct variant { int member; int older; };       /* member -1: all there; older -1: left out, else the number of the moment */

static void describe(char *text, size_t bytes, const struct power_fork *fork, unsigned fork_number, unsigned plan,
	const struct variant *v)
{
	int n = snprintf(text, bytes, "cut %u (moments %u to %u), subset %u", fork_number, fork->low, fork->high, plan);
	if (v->member >= 0 && v->older >= 0)
		snprintf(text + n, bytes - (size_t)n, ", member %d as it was at %d", v->member, v->older);
	else if (v->member >= 0)
		snprintf(text + n, bytes - (size_t)n, ", member %d left out", v->member);
}

/* Opens, and compares with all that it promised. */
static void judge_state(struct power_run *run, struct play *play, struct simfs *sim, const struct power_fork *fork,
	const struct variant *v, const char *what)
{
	char why[2000] = "";
	if (simfs_open(sim) < 0) {
		power_lost(run, what, sim->fail.text);
		return;
	}
	int at = power_judge(&play->line, fork->ack_count, fork->low, fork->high, sim->fs, why, sizeof why);
	if (at < 0)
		power_lost(run, what, why);
	else if (fs_sync(sim->fs) < 0)
		power_lost(run, what, "it cannot be synced");
	else if (!power_checks(sim->fs, v->older < 0, why, sizeof why))
		power_lost(run, what, why);
	else if (sim->events[EVENT_UNREADABLE])
		power_lost(run, what, sim->last_event);
	else if (run->state % 2 == 0 && !power_goes_on(sim, run->state % 32 == 0, why, sizeof why))
		power_lost(run, what, why);
	power_counts.opened_again += run->state % 32 == 0;
	power_counts.healed += sim->events[EVENT_HEALED];
	if (run->verbose)
		printf("%s: as at moment %d\n", what, at);
}

static void one_state(struct power_run *run, struct play *play, struct simworld *world, const struct power_fork *fork,
	const struct variant *v, const char *what)
{
	uint64_t hash = (uint64_t)(v->member >= 0 && v->older < 0 ? v->member + 1 : 0);
	struct simworld *own = simworld_clone(world);
	if (v->older >= 0)
		simdisk_replace_with_snapshot(own->disks[v->member], play->moments[v->older].members[v->member]);
	for (unsigned d = 0; d < own->disk_count; d++)
		hash = power_mix(hash, (int)d == v->member && v->older < 0 ? 0 : simstore_hash(&own->disks[d]->durable));
	/* Disks that are the same may still be asked for more by a later cut: what was acknowledged is part of the question. */
	hash = power_mix(hash, fork->low);
	uint64_t number = run->state++;
	if (!hash_set_add(run->seen, hash)) {
		power_counts.identical++;
		simworld_free(own);
		return;
	}
	if (run->only_state != UINT64_MAX && run->only_state != number) {
		simworld_free(own);
		return;
	}
	power_counts.states++;
	struct simfs *sim = simfs_on_world(play->sim, own, power_mix(run->number, number));
	memset(sim->events, 0, sizeof sim->events);
	sim->random_state = power_mix(sim->random_state, power_mix(run->kind, run->number * 1000003 + number));
	power_watch(own);
	if (v->member >= 0 && v->older < 0)
		sim->left_out[v->member] = true;
	judge_state(run, play, sim, fork, v, what);
	simfs_free(sim);
}

static void one_fork(struct power_run *run, struct play *play, unsigned fork_number, const struct power_effort *effort)
{
	const struct power_fork *fork = &play->forks[fork_number];
	unsigned members = fork->world->disk_count, all = 1 + members * (1 + OLDER);
	struct power_plan plan;
	char what[200];
	plan_begin(&plan, fork->world);
	for (unsigned p = 0; p < plan_count(&plan, effort); p++) {
		struct power_random random = { power_mix(power_mix(run->kind, run->number), fork_number * 4096 + p) };
		plan_choose(&plan, effort, p, power_mix(run->number, fork_number));
		struct simworld *world = plan_apply(&plan, fork->world);
		unsigned tries = effort->variants && effort->variants < all ? effort->variants : all;
		unsigned first = power_pick(&random, all), step = tries == all ? 1 : 1 + power_pick(&random, all - 1);
		for (unsigned i = 0; i < tries; i++) {
			unsigned n = (first + i * step) % all;
			struct variant v = { n ? (int)((n - 1) % members) : -1, -1 };
			if (n > members)
				v.older = (int)((n - 1 - members) / members * (fork->moment_count - 1) / (OLDER - 1));
			describe(what, sizeof what, fork, fork_number, p, &v);
			one_state(run, play, world, fork, &v, what);
		}
		simworld_free(world);
	}
	plan_end(&plan);
}

void power_cuts(struct power_run *run, struct play *play, const struct power_effort *effort)
{
	struct power_random random = { power_mix(run->number, 77) };
	unsigned left = play->fork_count, wanted = effort->forks && effort->forks < left ? effort->forks : left;
	run->seen = hash_set_new();
	run->trace = play->trace;
	power_counts.workloads++;
	for (unsigned i = 0; i < play->fork_count; i++, left--)
		if (power_pick(&random, left) < wanted) {
			one_fork(run, play, i, effort);
			power_counts.forks++;
			wanted--;
		}
	hash_set_free(run->seen);
	run->seen = NULL;
}
