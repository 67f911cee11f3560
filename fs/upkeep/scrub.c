/* The scrub: all rows in use, in the order of addresses (rowwalk.h), several stretches at a time (scrub_rows.c).
 *
 * It begins with a commit, after which row items cover everything that was there (system rows get theirs with the next one).  Rows
 * written later may be met or not: they were just verified by being made.  A member that is out or being filled is left out; what is
 * on it is verified by filling it. */
#include "fs/upkeep/scrub.h"

#include "fs/space/rowwalk.h"
#include "fs/threads.h"
#include "fs/upkeep/scrubimpl.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <stdatomic.h>

struct scrubbing {
	struct fs *fs;
	_Atomic unsigned count;
	struct scrub_found found[ROWWALK_STRETCHES_MAX];
};

static int scrub_stretch(void *ctx, const struct band *b, uint64_t row, unsigned count)
{
	struct scrubbing *s = ctx;
	struct scrub_found found = { .at = band_row_address(b, row), .rows = count };
	int r = scrub_rows(s->fs, b, row, count, &found);
	if (r == 0) {
		unsigned i = atomic_fetch_add(&s->count, 1);
		assert(i < ROWWALK_STRETCHES_MAX);
		s->found[i] = found;
	}
	return r;
}

/* Lock held. What lies behind the position will be met again. */
static void count_found(struct scrub_status *status, const struct scrubbing *s, address position)
{
	for (unsigned i = 0; i < s->count; i++) {
		const struct scrub_found *f = &s->found[i];
		if (f->at >= position)
			continue;
		status->rows += f->rows;
		status->damaged += (unsigned)__builtin_popcountll(f->damaged);
		status->unreadable += f->unreadable;
	}
}

/* ---- The work thread's part ---- */

static void tell_end(struct fs *fs, const struct scrub_status *s)
{
	bool found = s->damaged || s->unreadable || s->tree_errors;
	char unknown[160] = "";
	if (s->tree_errors)
		snprintf(unknown, sizeof unknown, "; what %llu places of the trees lead to was not verified, since they cannot be read",
			(unsigned long long)s->tree_errors);
	event_report(&fs->options.events, found ? EVENT_SCRUB_ERRORS : EVENT_SCRUB_FINISHED, -1,
		"scrub finished: %llu rows verified, %llu of them were damaged, %llu records are lost%s", (unsigned long long)s->rows,
		(unsigned long long)s->damaged, (unsigned long long)s->unreadable, unknown);
}

/* Nodes that could not be read are tried again when a member comes or goes. */
static void begin_unread(struct fs *fs)
{
	uint64_t members = stall_members(fs);
	SCOPED_LOCK(&fs->lock);
	if (fs->scrub.members != members)
		memset(&fs->scrub.unread, 0, sizeof fs->scrub.unread);
	fs->scrub.members = members;
	fs->scrub.unread.count = 0;
}

static int walk(struct fs *fs, struct scrubbing *s, address *position)
{
	struct rowwalk walk = { NULL, scrub_stretch, s, &fs->scrub.unread };
	struct store_pin pin;
	begin_unread(fs);
	store_pin_now(fs, &pin);
	int r = rowwalk_step(fs, &walk, position);
	store_unpin(fs, &pin);
	return r;
}

/* True if it has ended now. */
static bool account(struct fs *fs, const struct scrubbing *s, uint64_t pass, address position, bool at_end, struct scrub_status *ret_status)
{
	SCOPED_LOCK(&fs->lock);
	struct scrub *scrub = &fs->scrub;
	if (scrub->pass != pass || scrub->status.state == SCRUB_STOPPED)
		return false;
	scrub->position = position;
	count_found(&scrub->status, s, position);
	scrub->status.tree_errors += scrub->unread.count;
	if (at_end) {
		scrub->status.state = SCRUB_FINISHED;
		scrub->status.ended_ns = env_now_ns(fs->env);
	}
	*ret_status = scrub->status;
	return at_end;
}

int scrub_step(struct fs *fs)
{
	struct scrubbing s = { .fs = fs };
	struct scrub_status status;
	pthread_mutex_lock(&fs->lock);
	bool run = fs->scrub.status.state == SCRUB_RUNNING && !fs->read_only && !fs->error, begun = fs->scrub.begun;
	address position = fs->scrub.position;
	uint64_t pass = fs->scrub.pass;
	fs->scrub.begun |= run;
	pthread_mutex_unlock(&fs->lock);
	if (!run)
		return 0;
	int r = begun ? commit_open(fs) : commit_now(fs);
	if (r < 0 || !begun)
		return r < 0 ? r : 1;
	r = walk(fs, &s, &position);
	if (account(fs, &s, pass, position, r == 0, &status))
		tell_end(fs, &status);
	return r < 0 ? r : 1;
}

/* ---- The owner's part ---- */

int fs_scrub(struct fs *fs, enum scrub_action action, struct fail *fail)
{
	SCOPED_LOCK(&fs->lock);
	struct scrub_status *s = &fs->scrub.status;
	bool running = s->state == SCRUB_RUNNING, paused = s->state == SCRUB_PAUSED;
	if (fs->read_only || fs->error)
		return fail_set(fail, EROFS, FAIL_SYSTEM, "The filesystem is read-only: nothing could be healed.");
	if (action == SCRUB_START ? running || paused : action == SCRUB_RESUME ? !paused : action == SCRUB_PAUSE ? !running : !running && !paused)
		return fail_set(fail, EINVAL, FAIL_USAGE, running ? "A scrub is running already." : paused ? "A scrub is paused: resume or stop it."
			: "No scrub is running.");
	if (action == SCRUB_START) {
		fs->scrub = (struct scrub){ .status = { .state = SCRUB_RUNNING, .began_ns = env_now_ns(fs->env) }, .pass = fs->scrub.pass + 1 };
		threads_wake_work(fs);
	} else if (action == SCRUB_STOP) {
		s->state = SCRUB_STOPPED;
		s->ended_ns = env_now_ns(fs->env);
	} else
		s->state = action == SCRUB_PAUSE ? SCRUB_PAUSED : SCRUB_RUNNING;
	return 0;
}

void fs_scrub_status(struct fs *fs, struct scrub_status *ret_status)
{
	SCOPED_LOCK(&fs->lock);
	*ret_status = fs->scrub.status;
	rowwalk_progress(fs, fs->scrub.position, &ret_status->done_bytes, &ret_status->total_bytes);
	if (ret_status->state == SCRUB_FINISHED)
		ret_status->done_bytes = ret_status->total_bytes;
}
