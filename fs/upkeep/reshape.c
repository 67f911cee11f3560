/* The members of an array change by steps of its configuration (doc/membership.md).  What comes next is read off the configuration and the
 * members' states alone, so it goes on after a cut or at the next mount:
 *
 *   jobs, not all copied            copy (jobs.c)
 *   jobs, all copied                their end, once all who will have columns of their bands are settled (J7)
 *   a replacement with columns      votes (V2), or takes the vote of a voter without columns that is out (V4)
 *   a voter without columns         is a member no more (V3), nor is one that was replaced before it voted
 *   a member that is out            jobs for all of its columns, onto a spare or wherever there is room for all of them (config_vacate)
 *
 * That last one waits a little, since cables and hubs have moments; not if the owner failed the member, or it is worn out.  It is for all
 * columns or none: what a file consists of lies in all bands, so with a part of them a second loss would be as bad as with none. */
#include "fs/upkeep/reshape.h"

#include "fs/upkeep/boundary.h"
#include "fs/upkeep/jobs.h"
#include "fs/upkeep/stall.h"

#include <errno.h>
#include <string.h>

#define SPARE_WAITS_NS (30 * INT64_C(1000000000))
#define STEP_TRIES 8u

/* ---- Steps ---- */

static unsigned first_of(uint32_t mask) { return (unsigned)__builtin_ctz(mask); }

struct stepping { struct config *next; struct disk *added; uint32_t settled; };

static bool are_settled(struct fs *fs, uint32_t members)
{
	bool settled = true;
	for (unsigned m = 0; m < array_member_count(fs->array) && settled; m++) {
		struct member_status s;
		array_member_status(fs->array, m, &s);
		settled = s.settled || !(members >> m & 1);
	}
	return settled;
}

/* Whoever the step needs may have failed since it was decided, in what was written until now. */
static int take_step(struct fs *fs, void *ctx)
{
	struct stepping *s = ctx;
	int r = are_settled(fs, s->settled) ? array_step_take(fs->array, s->next, s->added) : -EAGAIN;
	if (r < 0)
		return r;
	atomic_store(&fs->config, array_config(fs->array));
	txn_mark_dirty(fs);
	return 0;
}

/* `settled`: members that must be so when it is taken, or it is not: -EAGAIN. */
static int step(struct fs *fs, struct config *next, struct disk *added, uint32_t settled)
{
	struct stepping s = { next, added, settled };
	int r = commit_open(fs);
	if (r == 0)
		r = array_step_write(fs->array, next);
	if (r == 0) {
		r = -EBUSY;
		for (unsigned i = 0; i < STEP_TRIES && r == -EBUSY; i++)
			r = boundary_run(fs, take_step, &s);
	}
	if (r < 0) {
		config_free(next);
		disk_close(added);
		return r;
	}
	r = fs_sync(fs);
	if (r == 0 && !array_step_counts(fs->array))
		r = -EIO;
	if (r == 0)
		array_let_go(fs->array);
	return r;
}

int reshape_step(struct fs *fs, struct config *next, struct disk *added) { return step(fs, next, added, 0); }

int reshape_begin(struct fs *fs, struct config *next, unsigned source)
{
	char names[CONFIG_NAMES_BYTES];
	uint32_t targets = config_job_targets(next);
	unsigned target = first_of(targets);
	bool replaces = targets == UINT32_C(1) << target && fs->config->members[target].role == MEMBER_SPARE;
	int r = reshape_step(fs, next, NULL);
	if (r == 0 && replaces)
		event_report(&fs->options.events, EVENT_REPLACE_STARTED, (int)target, "member %u is taking the place of member %u", target + 1,
			source + 1);
	else if (r == 0)
		event_report(&fs->options.events, EVENT_REPLACE_STARTED, (int)target, "the data of member %u goes to %s", source + 1,
			config_name_members(targets, names));
	return r;
}

int reshape_cancel(struct fs *fs)
{
	char sources[CONFIG_NAMES_BYTES], targets[CONFIG_NAMES_BYTES];
	struct config *next = config_next(fs->config);
	if (!next)
		return -ENOMEM;
	unsigned target = first_of(config_job_targets(next));
	config_name_members(config_job_sources(next), sources);
	config_name_members(config_job_targets(next), targets);
	config_cancel_jobs(next);
	int r = reshape_step(fs, next, NULL);
	if (r == 0)
		event_report(&fs->options.events, EVENT_REPLACE_STOPPED, (int)target, "the data of %s no longer goes to %s", sources, targets);
	return r;
}

/* ---- What the members are now ---- */

struct view {
	const struct config *config;
	unsigned count;
	uint32_t voters, columns, needed;
	uint32_t in_sync, settled, out, out_for_good;
	uint32_t gaps;                   /* in sync, with a gap */
	struct member_status members[MEMBERS_MAX];
};

static void look(struct fs *fs, struct view *v)
{
	*v = (struct view){ .config = fs->config, .count = array_member_count(fs->array) };
	v->voters = config_voters(v->config);
	v->columns = config_with_columns(v->config);
	v->needed = v->voters | v->columns;
	for (unsigned m = 0; m < v->count && m < MEMBERS_MAX; m++) {
		array_member_status(fs->array, m, &v->members[m]);
		v->in_sync |= (uint32_t)(v->members[m].state == MEMBER_IN_SYNC) << m;
		v->gaps |= (uint32_t)(v->members[m].state == MEMBER_IN_SYNC && v->members[m].gap.present) << m;
		v->out |= (uint32_t)(v->members[m].state == MEMBER_OUT) << m;
		v->settled |= (uint32_t)v->members[m].settled << m;
		v->out_for_good |= (uint32_t)v->members[m].out_for_good << m;
	}
}

static int step_or_later(struct fs *fs, struct config *next, uint32_t settled)
{
	int r = next ? step(fs, next, NULL, settled) : -ENOMEM;
	return r == 0 ? 1 : r == -EBUSY || r == -EAGAIN ? 0 : r;
}

/* An idle mount has not written yet that it misses the member: no step before a root says so. */
static int say_it_is_out(struct fs *fs)
{
	return commit_now(fs) < 0 ? -EIO : 1;
}

/* ---- Members that are lost, and who could stand in ---- */

static void note_out(struct fs *fs, const struct view *v)
{
	int64_t now = fs_now_ns(fs);
	for (unsigned m = 0; m < v->count; m++) {
		bool out = v->members[m].state == MEMBER_OUT;
		if (!out)
			fs->out_since_ns[m] = 0;
		else if (!fs->out_since_ns[m])
			fs->out_since_ns[m] = now;
	}
}

/* Are its columns to be brought back by others? */
static bool lost(struct fs *fs, const struct view *v, unsigned member)
{
	if (!((v->columns & v->out) >> member & 1))
		return false;
	SCOPED_LOCK(&fs->lock);
	return !fs->changing_members && !fs->retries[member].stays && (fs->retries[member].held || v->members[member].worn_out
		|| fs_now_ns(fs) - fs->out_since_ns[member] >= SPARE_WAITS_NS);
}

/* A version with jobs for all of its columns, in place of those that are; or NULL: there is no room for them.  Members with a gap are taken
 * if there is none else: with a source that is out, it is the jobs that close it (jobs.c). */
static struct config *plan(const struct view *v, unsigned member)
{
	const uint32_t usable[] = { v->settled, v->in_sync };
	for (unsigned i = 0; i < 2; i++) {
		struct config *next = config_next(v->config);
		if (!next)
			return NULL;
		config_cancel_jobs(next);
		if (config_vacate(next, member, usable[i], true) == 0)
			return next;
		config_free(next);
	}
	return NULL;
}

static bool has_room(const struct view *v, unsigned member)
{
	struct config *next = plan(v, member);
	bool has = next;
	config_free(next);
	return has;
}

bool reshape_has_room(struct fs *fs, unsigned member)
{
	struct view v;
	look(fs, &v);
	return (v.columns >> member & 1) && has_room(&v, member);
}

uint32_t reshape_settled(struct fs *fs)
{
	struct view v;
	look(fs, &v);
	return v.settled;
}

/* ---- Jobs ---- */

/* A member is lost, these jobs do not bring missing columns back, and others could (J9). */
static bool in_the_way(struct fs *fs, const struct view *v, const struct array_job *job)
{
	if (!(job->targets & v->out) && (job->sources & v->out))
		return false;
	for (unsigned m = 0; m < v->count; m++)
		if (lost(fs, v, m) && has_room(v, m))
			return true;
	return false;
}

static int work_on_jobs(struct fs *fs, const struct view *v)
{
	char names[CONFIG_NAMES_BYTES];
	struct array_job job;
	array_job(fs->array, &job);
	if (in_the_way(fs, v, &job)) {
		int r = reshape_cancel(fs);
		return r == 0 ? 1 : r == -EBUSY || r == -EAGAIN ? 0 : r;
	}
	int r = stall_try(fs, STALL_REPLACE, jobs_step);
	if (r != 0 || !array_job(fs->array, &job) || job.position != JOB_ALL)
		return r;
	uint32_t lacking = config_job_holders(v->config) & ~v->settled;
	if (lacking && !(lacking & ~v->gaps) && (job.sources & v->out_for_good) && jobs_verify(fs))
		return 1;
	if (lacking)
		return 0;
	struct config *next = config_next(v->config);
	if (next)
		config_end_jobs(next);
	r = step_or_later(fs, next, config_job_holders(v->config));
	if (r == 1 && !(job.targets & ~v->voters))
		event_report(&fs->options.events, EVENT_REPLACE_FINISHED, (int)first_of(job.targets), "all data of %s is on others now",
			config_name_members(job.sources, names));
	return r;
}

/* ---- Voters ---- */

/* Members that were replaced before they voted. */
static uint32_t left_over(const struct view *v)
{
	return config_with_role(v->config, MEMBER_REPLACEMENT) & ~v->columns;
}

static int remove_member(struct fs *fs, const struct view *v, unsigned member)
{
	struct config *next = config_next(v->config);
	if (next)
		config_remove_member(next, member);
	return step_or_later(fs, next, 0);
}

static int change_voters(struct fs *fs, const struct view *v)
{
	uint32_t ready = v->columns & ~v->voters & v->settled, idle = v->voters & ~v->columns;
	if (left_over(v))
		return remove_member(fs, v, first_of(left_over(v)));
	if (!ready && !(idle && (unsigned)__builtin_popcount(v->voters) > MEMBERS_MIN))
		return 0;
	if (idle & v->out & ~v->out_for_good)
		return say_it_is_out(fs);
	if (!ready)
		return remove_member(fs, v, first_of(idle));
	bool exchange = idle & v->out_for_good;
	if (!exchange && (v->needed & ~v->settled))
		return 0;
	unsigned member = first_of(ready);
	struct config *next = config_next(v->config);
	if (!next)
		return -ENOMEM;
	next->members[member].role = MEMBER_VOTER;
	if (exchange)
		config_remove_member(next, first_of(idle & v->out_for_good));
	int r = step_or_later(fs, next, exchange ? UINT32_C(1) << member : v->needed);
	if (r == 1)
		event_report(&fs->options.events, EVENT_REPLACE_FINISHED, (int)member, "member %u has all data that it was to get, and serves now",
			member + 1);
	return r;
}

/* ---- Lost members ---- */

static int bring_back(struct fs *fs, const struct view *v, unsigned member, struct config *next)
{
	char names[CONFIG_NAMES_BYTES];
	uint32_t spares = config_job_targets(next) & config_with_role(v->config, MEMBER_SPARE);
	int r = reshape_begin(fs, next, member);
	if (r == 0 && spares)
		event_report(&fs->options.events, EVENT_SPARE_TAKEN, (int)first_of(spares), "member %u is out: %s stand%s in for it", member + 1,
			config_name_members(spares, names), spares & (spares - 1) ? "" : "s");
	return r == 0 ? 1 : r == -EBUSY || r == -EAGAIN ? 0 : r;
}

static int replace_lost(struct fs *fs, const struct view *v)
{
	for (unsigned m = 0; m < v->count; m++) {
		struct config *next = lost(fs, v, m) ? plan(v, m) : NULL;
		if (!next)
			continue;
		if (v->out_for_good >> m & 1)
			return bring_back(fs, v, m, next);
		config_free(next);
		return say_it_is_out(fs);
	}
	return 0;
}

int reshape_work(struct fs *fs)
{
	struct view v;
	if (fs->read_only || fs->error)
		return 0;
	SCOPED_LOCK(&fs->step_lock);
	look(fs, &v);
	note_out(fs, &v);
	if (v.config->job_count > 0)
		return work_on_jobs(fs, &v);
	int r = change_voters(fs, &v);
	return r != 0 ? r : replace_lost(fs, &v);
}

bool reshape_waits(struct fs *fs, const struct array_job *job)
{
	struct view v;
	look(fs, &v);
	return (job->targets & ~v.in_sync) || (job->position == JOB_ALL && (config_job_holders(v.config) & ~v.settled));
}
