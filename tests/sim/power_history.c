/* Histories of several mounts, each with a cut of its own, and a different member absent or older at each.  See power.h.
 *
 * What is promised is kept beside the disks (struct belief):
 *  - alternatives: the moments that may be found.  A mount that acknowledged no change leaves those of the mounts before
 *    it: a sync of nothing writes nothing, and a member that was not there may yet know more.
 *  - behind: a member that came back older has old units until it has caught up.
 *  - named_out_by: a member that was absent, or behind, in a mount of which a root may be on these members' rings is named out
 *    of sync there, until all have caught up.  Where none of those rings is present, it is in sync.
 * So the members that are lost at a mount are counted: the absent, the older, the ones behind, and those named out by one that is
 * present.  With at most one it must open and have everything.  With more it must say that there are too few members, or have
 * everything all the same; but where one of them is older, nothing can tell, and nothing is promised. */
#include "tests/sim/power.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define MOUNTS_MAX 6u

struct alternative { const struct timeline *line; unsigned low, high, ack_count; };

struct belief {
	struct simworld *world;          /* the power is on, nothing is open */
	uint32_t named_out_by[POWER_MEMBERS_MAX];
	bool behind[POWER_MEMBERS_MAX];
	struct alternative alternatives[MOUNTS_MAX];
	unsigned alternative_count;
};

struct history {
	struct power_run *run;
	const struct power_effort *effort;
	struct power_random random;
	unsigned members;
	uint64_t ring_from, ring_to;     /* bytes of a member */
	struct simfs *like;
	struct power_moment moments[MOUNTS_MAX];
	unsigned moment_count;
	char trace[8192];
};

struct mounting { int absent, older; unsigned moment; };         /* members, or -1 */

static void told(struct history *h, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void told(struct history *h, const char *format, ...)
{
	va_list args;
	size_t used = strlen(h->trace);
	va_start(args, format);
	vsnprintf(h->trace + used, sizeof h->trace - used, format, args);
	va_end(args);
}

/* ---- What is promised ---- */

static uint32_t present_of(const struct history *h, const struct mounting *m)
{
	uint32_t all = (1u << h->members) - 1;
	return m->absent >= 0 ? all & ~(1u << m->absent) : all;
}

/* Members that count as lost; *ret_unknowable: more than one, and one of them is older. */
static unsigned lost_members(const struct history *h, const struct belief *b, const struct mounting *m, bool *ret_unknowable)
{
	unsigned lost = 0;
	bool old = false;
	uint32_t present = present_of(h, m);
	for (unsigned i = 0; i < h->members; i++) {
		bool absent = (int)i == m->absent, older = (int)i == m->older || (b->behind[i] && !absent);
		if (absent || older || b->named_out_by[i] & present)
			lost++;
		old |= older;
	}
	*ret_unknowable = lost > 1 && old;
	return lost;
}

static bool ring_differs(const struct history *h, const struct simstore *a, const struct simstore *b)
{
	static uint8_t bytes_a[SIMCHUNK_BYTES], bytes_b[SIMCHUNK_BYTES];
	for (uint64_t at = h->ring_from; at < h->ring_to; ) {
		uint64_t end = (at / SIMCHUNK_BYTES + 1) * SIMCHUNK_BYTES;
		size_t n = (size_t)((end < h->ring_to ? end : h->ring_to) - at);
		simstore_read(a, at, bytes_a, n);
		simstore_read(b, at, bytes_b, n);
		if (memcmp(bytes_a, bytes_b, n))
			return true;
		at += n;
	}
	return false;
}

/* What is believed after a mount that began with `before` on the disks and left `after`. */
static void believe(const struct history *h, const struct belief *b, const struct mounting *m, struct simworld *before,
	struct simworld *after, const struct play *play, const struct power_fork *fork, struct belief *ret_after)
{
	uint32_t rings = 0, present = present_of(h, m);
	*ret_after = *b;
	ret_after->world = after;
	for (unsigned i = 0; i < h->members; i++)
		if (ring_differs(h, &before->disks[i]->durable, &after->disks[i]->durable))
			rings |= 1u << i;
	for (unsigned i = 0; i < h->members; i++) {
		bool out = (int)i == m->absent || (int)i == m->older || b->behind[i] || b->named_out_by[i] & present;
		if (fork->caught_up) {
			ret_after->behind[i] = false;
			ret_after->named_out_by[i] = 0;
			continue;
		}
		ret_after->behind[i] |= (int)i == m->older;
		if (out)
			ret_after->named_out_by[i] |= rings;
	}
	if (fork->opening)
		return;
	if (fork->low > 0)
		ret_after->alternative_count = 0;
	ret_after->alternatives[ret_after->alternative_count++] =
		(struct alternative){ &play->line, fork->low, fork->high, fork->ack_count };
}

/* ---- Mounting ---- */

static struct simfs *prepare(struct history *h, const struct belief *b, const struct mounting *m, uint64_t salt)
{
	struct simworld *world = simworld_clone(b->world);
	if (m->older >= 0)
		simdisk_replace_with_snapshot(world->disks[m->older], h->moments[m->moment].members[m->older]);
	struct simfs *sim = simfs_on_world(h->like, world, 0);
	sim->random_state = power_mix(power_mix(h->run->number, salt), h->run->kind);
	memset(sim->events, 0, sizeof sim->events);
	memset(sim->left_out, 0, sizeof sim->left_out);
	if (m->absent >= 0)
		sim->left_out[m->absent] = true;
	power_watch(world);
	return sim;
}

static const struct model *judge(const struct belief *b, struct fs *fs, char *why, size_t why_bytes)
{
	for (unsigned i = b->alternative_count; i-- > 0; ) {
		const struct alternative *a = &b->alternatives[i];
		int at = power_judge(a->line, a->ack_count, a->low, a->high, fs, why, why_bytes);
		if (at >= 0)
			return &a->line->states[at];
	}
	return NULL;
}

enum outcome { OPENED, REFUSED, BAD };

/* Opens sim and looks whether it is what it must be. *ret_state: what was found. */
static enum outcome open_and_judge(struct history *h, const struct belief *b, const struct mounting *m, struct simfs *sim,
	const struct model **ret_state, const char *what)
{
	char why[2000] = "";
	bool unknowable;
	unsigned lost = lost_members(h, b, m, &unknowable);
	uint64_t changes = sim->world->changes;
	h->run->trace = h->trace;
	if (simfs_open(sim) < 0) {
		if (lost > 1 && sim->fail.code == FAIL_TOO_FEW && sim->world->changes == changes) {
			power_counts.refused++;
			return REFUSED;
		}
		power_lost(h->run, what, sim->fail.text);
		return BAD;
	}
	*ret_state = judge(b, sim->fs, why, sizeof why);
	if (*ret_state && !sim->events[EVENT_UNREADABLE] && !fs_read_only(sim->fs))
		return OPENED;
	power_lost(h->run, what, *ret_state ? sim->last_event : why);
	return BAD;
}

static void describe(char *text, size_t bytes, const char *first, const struct mounting *m)
{
	if (m->absent >= 0)
		snprintf(text, bytes, "%s, member %d absent", first, m->absent);
	else if (m->older >= 0)
		snprintf(text, bytes, "%s, member %d as it was at mount %u", first, m->older, m->moment);
	else
		snprintf(text, bytes, "%s, all members", first);
}

/* What may be missing at a mount: nothing, each member absent, each member older. */
static unsigned mounting_count(const struct history *h) { return 1 + 2 * h->members; }

static struct mounting mounting_at(struct history *h, unsigned i, struct power_random *random)
{
	if (i == 0)
		return (struct mounting){ -1, -1, 0 };
	if (i <= h->members)
		return (struct mounting){ (int)i - 1, -1, 0 };
	return (struct mounting){ -1, (int)(i - 1 - h->members), power_pick(random, h->moment_count) };
}

static void keep_moment(struct history *h, struct simworld *world)
{
	struct power_moment *moment = &h->moments[h->moment_count++];
	for (unsigned i = 0; i < h->members; i++)
		moment->members[i] = simdisk_snapshot(world->disks[i]);
}

/* Some operations, the last of them synced; perhaps catching up between. */
static void work_on(struct history *h, struct play *play, unsigned ops, bool catches_up)
{
	struct power_op op = { P_FSYNC, "", NULL, 0, 0 };
	int r = 0;
	for (unsigned i = 0; i < ops && r == 0; i++) {
		power_random_op(&h->random, &op);
		r = play_op(play, &op);
	}
	const char *path = power_resolve(&play->now, op.path) >= 0 ? op.path : "";
	if (r == 0)
		r = play_op(play, &(struct power_op){ P_FSYNC, path, NULL, 0, 0 });
	if (r == 0 && catches_up && power_catch_up(play->sim)) {
		play_op(play, &(struct power_op){ P_SYNC, NULL, NULL, 0, 0 });
		play->caught_up = true;
	}
	if (r < 0)
		power_lost(h->run, "the workload", strerror(-r));
}

/* Mounts, judges, goes on.  On OPENED `play` has all that may follow, and must be ended. */
static enum outcome mount_and_work(struct history *h, const struct belief *b, const struct mounting *m, uint64_t salt,
	bool catches_up, struct play *play, const char *what)
{
	const struct model *found;
	struct simfs *sim = prepare(h, b, m, salt);
	play_prepare(play, sim);
	enum outcome outcome = open_and_judge(h, b, m, sim, &found, what);
	if (outcome != OPENED) {
		play_end(play);
		return outcome;
	}
	struct model state;
	model_copy(&state, found);
	power_adopt_data(&state, sim->fs);
	play_adopt(play, &state);
	model_free(&state);
	work_on(h, play, power_pick(&h->random, 3), catches_up);
	return OPENED;
}

/* ---- The last mount ---- */

static void last_mount(struct history *h, const struct belief *b, const struct mounting *m, const char *first)
{
	struct power_run *run = h->run;
	char what[400], why[2000] = "";
	const struct model *found;
	bool unknowable;
	unsigned lost = lost_members(h, b, m, &unknowable);
	uint64_t hash = (uint64_t)m->absent + 2, number = run->state++;
	struct simfs *sim = prepare(h, b, m, power_mix(1000, number));
	for (unsigned i = 0; i < h->members; i++)
		hash = power_mix(hash, (int)i == m->absent ? 0 : simstore_hash(&sim->world->disks[i]->durable));
	for (unsigned i = 0; i < b->alternative_count; i++)
		hash = power_mix(hash, power_mix((uintptr_t)b->alternatives[i].line, b->alternatives[i].low));
	bool again = !hash_set_add(run->seen, hash);
	power_counts.identical += again;
	if (again || unknowable || (run->only_state != UINT64_MAX && run->only_state != number)) {
		simfs_free(sim);
		return;
	}
	power_counts.states++;
	describe(what, sizeof what, first, m);
	if (open_and_judge(h, b, m, sim, &found, what) == OPENED) {
		if (fs_sync(sim->fs) < 0)
			power_lost(run, what, "it cannot be synced");
		else if (!power_checks(sim->fs, lost == 0 || (lost == 1 && m->absent >= 0), why, sizeof why))
			power_lost(run, what, why);
		else if (number % 4 == 0 && !power_goes_on(sim, number % 32 == 0, why, sizeof why))
			power_lost(run, what, why);
		power_counts.opened_again += number % 32 == 0;
	}
	power_counts.healed += sim->events[EVENT_HEALED];
	simfs_free(sim);
}

/* Each cut of the mount that `play` recorded, and each mount after it. */
static void all_that_follows(struct history *h, const struct belief *b, const struct mounting *m, struct play *play,
	const char *first)
{
	unsigned tries = mounting_count(h);
	struct simfs *start = prepare(h, b, m, 0);
	for (unsigned f = 0; f < play->fork_count; f++) {
		struct power_fork *fork = &play->forks[f];
		struct power_plan plan;
		plan_begin(&plan, fork->world);
		power_counts.second++;
		for (unsigned p = 0; p < plan_count(&plan, h->effort); p++) {
			struct power_random random = { power_mix(power_mix(h->run->number, p), f) };
			struct belief after;
			char what[300];
			plan_choose(&plan, h->effort, p, power_next(&random));
			struct simworld *world = plan_apply(&plan, fork->world);
			believe(h, b, m, start->world, world, play, fork, &after);
			snprintf(what, sizeof what, "%s; cut %u%s, subset %u; then", first, f, fork->opening ? " while mounting" : "", p);
			unsigned begin = power_pick(&random, tries), wanted = h->effort->variants;
			unsigned count = wanted && wanted < tries ? wanted : tries;
			for (unsigned i = 0; i < count; i++) {
				/* `tries` is odd: a step of two meets all. */
				struct mounting next = mounting_at(h, (begin + 2 * i) % tries, &random);
				last_mount(h, &after, &next, what);
			}
			simworld_free(world);
		}
		plan_end(&plan);
	}
	simfs_free(start);
}

/* ---- All ---- */

/* The power fails somewhere in what `play` recorded. */
static struct simworld *cut_somewhere(struct history *h, struct play *play, const struct power_fork **ret_fork)
{
	unsigned f = power_pick(&h->random, play->fork_count);
	struct power_plan plan;
	*ret_fork = &play->forks[f];
	plan_begin(&plan, play->forks[f].world);
	plan_choose(&plan, h->effort, power_pick(&h->random, plan_count(&plan, h->effort)), power_next(&h->random));
	struct simworld *world = plan_apply(&plan, play->forks[f].world);
	plan_end(&plan);
	told(h, "%s; cut %u%s;", play->trace, f, play->forks[f].opening ? " while mounting" : "");
	return world;
}

/* A mount whose loss can be judged, at random. */
static struct mounting choose_mounting(struct history *h, const struct belief *b)
{
	for (;;) {
		struct mounting m = mounting_at(h, power_pick(&h->random, mounting_count(h)), &h->random);
		bool unknowable;
		lost_members(h, b, &m, &unknowable);
		if (!unknowable)
			return m;
	}
}

static void begin_history(struct history *h, struct play *play, struct belief *ret_belief)
{
	power_base(play, h->members, power_pick(&h->random, 2), power_mix(4, h->run->number));
	const struct geometry *g = &array_label(fs_array(play->sim->fs))->geometry;
	h->ring_from = g->ring_offset_bytes;
	h->ring_to = g->ring_offset_bytes + (uint64_t)g->ring_slots * ROOT_BYTES;
	h->like = play->sim;
	keep_moment(h, play->sim->world);
	play_record(play, true);
	/* Something is always recorded. */
	play_op(play, &(struct power_op){ P_CHMOD, "", NULL, 0, 0 });
	play_op(play, &(struct power_op){ P_FSYNC, "", NULL, 0, 0 });
	work_on(h, play, 1 + power_pick(&h->random, 4), false);
	*ret_belief = (struct belief){ 0 };
}

void power_history(struct power_run *run, const struct power_effort *effort)
{
	struct history *h = sim_alloc(sizeof *h);
	struct play plays[MOUNTS_MAX];
	struct belief belief;
	const struct power_fork *fork;
	struct mounting none = { -1, -1, 0 };
	unsigned mounts = 0, sampled;
	char what[200];
	*h = (struct history){ .run = run, .effort = effort, .random = { power_mix(6, run->number) } };
	h->members = power_pick(&h->random, 4) ? 3 : 4;
	sampled = power_pick(&h->random, 3);
	run->seen = hash_set_new();
	power_counts.workloads++;
	begin_history(h, &plays[mounts++], &belief);
	struct simworld *world = cut_somewhere(h, &plays[0], &fork);
	believe(h, &(struct belief){ 0 }, &none, world, world, &plays[0], fork, &belief);
	for (unsigned i = 0; i < sampled; i++) {
		struct mounting m = choose_mounting(h, &belief);
		keep_moment(h, belief.world);
		describe(what, sizeof what, "a mount", &m);
		told(h, " %s:", what);
		run->state++;
		if (mount_and_work(h, &belief, &m, i, power_pick(&h->random, 2), &plays[mounts], what) != OPENED)
			continue;
		struct simfs *start = prepare(h, &belief, &m, 0);
		struct belief after;
		if (plays[mounts].fork_count == 0) {
			/* It wrote nothing: there is no place to cut. */
			play_end(&plays[mounts]);
			simfs_free(start);
			continue;
		}
		world = cut_somewhere(h, &plays[mounts], &fork);
		believe(h, &belief, &m, start->world, world, &plays[mounts], fork, &after);
		simfs_free(start);
		simworld_free(belief.world);
		belief = after;
		mounts++;
	}
	keep_moment(h, belief.world);
	struct power_random saved = h->random;
	for (unsigned i = 0; i < mounting_count(h); i++) {
		struct play play;
		bool unknowable;
		h->random = saved;
		struct mounting m = mounting_at(h, i, &h->random);
		lost_members(h, &belief, &m, &unknowable);
		run->state++;
		describe(what, sizeof what, "then", &m);
		size_t trace = strlen(h->trace);
		if (unknowable || mount_and_work(h, &belief, &m, 100 + i, power_pick(&h->random, 2), &play, what) != OPENED)
			continue;
		told(h, " %s:%s", what, play.trace);
		all_that_follows(h, &belief, &m, &play, what);
		h->trace[trace] = 0;
		play_end(&play);
	}
	simworld_free(belief.world);
	for (unsigned i = 0; i < mounts; i++)
		play_end(&plays[i]);
	for (unsigned i = 0; i < h->moment_count; i++)
		for (unsigned k = 0; k < h->members; k++)
			simsnapshot_free(h->moments[i].members[k]);
	hash_set_free(run->seen);
	run->seen = NULL;
	free(h);
}
