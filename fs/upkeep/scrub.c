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

static void finish(struct fs *fs)
{
	struct scrub_status s;
	pthread_mutex_lock(&fs->lock);
	fs->scrub.state = SCRUB_FINISHED;
	fs->scrub.ended_ns = env_now_ns(fs->env);
	s = fs->scrub;
	pthread_mutex_unlock(&fs->lock);
	event_report(&fs->options.events, s.damaged || s.unreadable ? EVENT_SCRUB_ERRORS : EVENT_SCRUB_FINISHED, -1,
		"scrub finished: %llu rows verified, %llu of them were damaged, %llu records are lost", (unsigned long long)s.rows,
		(unsigned long long)s.damaged, (unsigned long long)s.unreadable);
}

static int begin_pass(struct fs *fs)
{
	pthread_mutex_lock(&fs->lock);
	fs->scrub_begun = true;
	pthread_mutex_unlock(&fs->lock);
	return commit_now(fs);
}

int scrub_step(struct fs *fs)
{
	struct scrubbing s = { .fs = fs };
	struct rowwalk walk = { NULL, scrub_stretch, &s };
	struct store_pin pin;
	pthread_mutex_lock(&fs->lock);
	bool run = fs->scrub.state == SCRUB_RUNNING && !fs->read_only && !fs->error, begun = fs->scrub_begun;
	address position = fs->scrub_position;
	pthread_mutex_unlock(&fs->lock);
	if (!run)
		return 0;
	if (!begun) {
		int r = begin_pass(fs);
		return r < 0 ? r : 1;
	}
	int r = commit_open(fs);
	if (r < 0)
		return r;
	store_pin_now(fs, &pin);
	r = rowwalk_step(fs, &walk, &position);
	store_unpin(fs, &pin);
	pthread_mutex_lock(&fs->lock);
	fs->scrub_position = position;
	count_found(&fs->scrub, &s, position);
	pthread_mutex_unlock(&fs->lock);
	if (r == 0)
		finish(fs);
	return r < 0 ? r : 1;
}

/* ---- The owner's part ---- */

int fs_scrub(struct fs *fs, enum scrub_action action, struct fail *fail)
{
	SCOPED_LOCK(&fs->lock);
	struct scrub_status *s = &fs->scrub;
	bool running = s->state == SCRUB_RUNNING, paused = s->state == SCRUB_PAUSED;
	if (fs->read_only || fs->error)
		return fail_set(fail, EROFS, FAIL_SYSTEM, "The filesystem is read-only: nothing could be healed.");
	if (action == SCRUB_START ? running || paused : action == SCRUB_RESUME ? !paused : action == SCRUB_PAUSE ? !running : !running && !paused)
		return fail_set(fail, EINVAL, FAIL_USAGE, running ? "A scrub is running already." : paused ? "A scrub is paused: resume or stop it."
			: "No scrub is running.");
	if (action == SCRUB_START) {
		*s = (struct scrub_status){ .state = SCRUB_RUNNING, .began_ns = env_now_ns(fs->env) };
		fs->scrub_begun = false;
		fs->scrub_position = 0;
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
	*ret_status = fs->scrub;
	rowwalk_progress(fs, fs->scrub_position, &ret_status->done_bytes, &ret_status->total_bytes);
	if (ret_status->state == SCRUB_FINISHED)
		ret_status->done_bytes = ret_status->total_bytes;
}
