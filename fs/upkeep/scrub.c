/* The scrub: all rows in use, in the order of addresses (rowwalk.h), several runs at a time.
 *
 * Of each run all columns are read as they lie on their members; what lives in it is verified, and the XOR of each row must be zero.
 * Where that is so, nothing else happens.  If not, each record is read in the ordinary way, which heals it, and the row is noted as
 * damaged, so that mend.c makes the rest of it right; what even parity cannot give back is told with the name of its file.
 *
 * It begins with a commit, after which row items cover everything that was there (system rows get theirs with the next one).  Rows
 * written later may be met or not: they were just verified by being made.  A member that is out or being filled is left out; what is
 * on it is verified by filling it. */
#include "fs/upkeep/scrub.h"

#include "fs/fsck/checkimpl.h"
#include "fs/space/rowrun.h"
#include "fs/space/rowwalk.h"
#include "fs/threads.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

struct scrubbing {
	struct fs *fs;
	_Atomic uint64_t rows, damaged, unreadable;
};

static uint32_t columns_in_sync(struct fs *fs, const struct band *b)
{
	uint32_t mask = 0;
	for (unsigned c = 0; c < b->width; c++) {
		struct member_status s;
		array_member_status(fs->array, b->columns[c].member, &s);
		if (s.state == MEMBER_IN_SYNC)
			mask |= UINT32_C(1) << c;
	}
	return mask;
}

static void tell_lost(struct fs *fs, const struct live *live)
{
	char text[CHECK_PATH_BYTES];
	if (live->node)
		return;                  /* the store told what there is to tell */
	check_path(fs, live->place.object, text);
	for (char *c = text; *c; c++)
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			*c = '?';
	event_report(&fs->options.events, EVENT_UNREADABLE, -1, "%s: %u bytes at offset %llu are lost: they do not verify on their member, and "
		"parity cannot give them back", text, live->place.blocks * BLOCK_BYTES, (unsigned long long)live->place.block * BLOCK_BYTES);
}

/* Reads each record on its own, which heals what can be healed. */
static int heal_run(struct scrubbing *s, const struct live_list *list)
{
	for (size_t i = 0; i < list->count; i++) {
		struct live_list one = { &list->items[i], 1, 1 };
		unsigned bad;
		int r = rowlive_verify(s->fs, &one, &bad);
		if (r < 0)
			return r;
		if (bad) {
			atomic_fetch_add(&s->unreadable, 1);
			tell_lost(s->fs, &list->items[i]);
		}
	}
	return 0;
}

static void note_row(struct fs *fs, const struct band *b, uint64_t row)
{
	struct bad_unit unit = { .band = b->id, .row = row, .column = (uint8_t)band_parity_column(b, row) };
	array_note_damage(fs->array, &unit);
}

/* Which rows of the run are not as they should be? With a column missing only what lives on the others can be said. */
static unsigned note_wrong_rows(struct fs *fs, const struct rowrun *run, bool all)
{
	unsigned wrong = 0;
	for (unsigned i = 0; i < run->rows && all; i++)
		if (!rowrun_parity_right(run, i)) {
			note_row(fs, run->band, run->row + i);
			wrong++;
		}
	return wrong;
}

static int scrub_run(void *ctx, const struct band *b, uint64_t row, unsigned count)
{
	struct scrubbing *s = ctx;
	struct live_list list = { 0 };
	struct rowrun run;
	int r = rowlive_list(s->fs, b, row, count, &list);
	if (r < 0) {
		free(list.items);
		return r;
	}
	uint32_t all = (uint32_t)((UINT64_C(1) << b->width) - 1), there = columns_in_sync(s->fs, b);
	r = rowrun_read(s->fs, b, row, count, there, &run);
	if (r == 0) {
		unsigned wrong = note_wrong_rows(s->fs, &run, run.have == all);
		bool bad = run.have != there;
		if (there == all)
			bad = rowrun_verify(s->fs, &run, &list, ROWRUN_ALL, NULL) > 0 || bad;
		else
			bad = true;      /* degraded: what lives on the missing member too, from the others */
		if (bad || wrong)
			r = heal_run(s, &list);
		atomic_fetch_add(&s->damaged, wrong ? wrong : run.have != there);
		atomic_fetch_add(&s->rows, count);
	}
	rowrun_free(&run);
	free(list.items);
	return r;
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
	struct rowwalk walk = { NULL, scrub_run, &s };
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
	fs->scrub.rows += s.rows;
	fs->scrub.damaged += s.damaged;
	fs->scrub.unreadable += s.unreadable;
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
