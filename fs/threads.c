/* Three threads beside the workers of the pool:
 *   commit  commits when somebody waits for it, when the oldest change is as old as the interval, or memory is full;
 *   flush   places dirty records early, so that a long copy flows and memory stays bounded;
 *   work    mends what is damaged, catches up members, scrubs, and relocates when free rows are few.
 * An idle filesystem wakes none of them but `work`, which then looks and does no I/O. */
#include "base/blocking.h"
#include "fs/log/log.h"
#include "fs/names/inode.h"
#include "fs/space/place.h"
#include "fs/space/relocate.h"
#include "fs/space/space.h"
#include "fs/threads.h"
#include "fs/upkeep/catchup.h"
#include "fs/upkeep/mend.h"
#include "fs/upkeep/reshape.h"
#include "fs/upkeep/scrub.h"
#include "fs/upkeep/stall.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

#define WORK_INTERVAL_MS 1000
#define REST_MAX_MS 600000
#define FRUITLESS_MAX 8

struct threads {
	pthread_t commit, flush, work;
	bool have_commit, have_flush, have_work;
	bool work_wanted;                /* something came up since the work thread last looked */
	pthread_cond_t wake_work;
};

static struct timespec in_ms(unsigned ms)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_sec += ms / 1000;
	t.tv_nsec += (long)(ms % 1000) * 1000000;
	if (t.tv_nsec >= 1000000000) {
		t.tv_sec++;
		t.tv_nsec -= 1000000000;
	}
	return t;
}

static bool commit_is_wanted(const struct fs *fs) { return fs->commit_wanted > fs->durable; }

static void *commit_main(void *arg)
{
	struct fs *fs = arg;
	bool by_itself = fs->options.commit_interval_ms != UINT32_MAX;
	pthread_mutex_lock(&fs->lock);
	while (!fs->stopping) {
		if (!fs->open->dirty || fs->error || (!by_itself && !commit_is_wanted(fs))) {
			pthread_cond_wait(&fs->wake_commit, &fs->lock);
			continue;
		}
		struct timespec until = in_ms(fs->options.commit_interval_ms);
		int r = 0;
		while (r != ETIMEDOUT && !fs->stopping && !fs->error && !commit_is_wanted(fs))
			r = pthread_cond_timedwait(&fs->wake_commit, &fs->lock, &until);
		if (fs->stopping || fs->error)
			continue;
		pthread_mutex_unlock(&fs->lock);
		commit_run(fs);
		pthread_mutex_lock(&fs->lock);
	}
	pthread_mutex_unlock(&fs->lock);
	return NULL;
}

static void *flush_main(void *arg)
{
	struct fs *fs = arg;
	pthread_mutex_lock(&fs->lock);
	while (!fs->stopping) {
		if (fs->error || fs->hold_early || fs->open->record_bytes < fs->early_bytes) {
			pthread_cond_wait(&fs->wake_flush, &fs->lock);
			continue;
		}
		pthread_mutex_unlock(&fs->lock);
		int r = place_early(fs, fs->early_bytes);
		pthread_mutex_lock(&fs->lock);
		if (r < 0)
			fs_give_up(fs, r, "data could not be written");
	}
	pthread_mutex_unlock(&fs->lock);
	return NULL;
}

/* Relocation before anybody has to wait for it.  An array that stays full while nobody changes anything comes to rest: each
 * round's own commit would else give the next one something to move, for ever. */
static int relocate_in_background(struct fs *fs)
{
	int r = 0;
	pthread_mutex_lock(&fs->lock);
	if (space_rows_low(fs) && !fs->error && !fs->relocating && fs->durable != fs->relocate_rest) {
		int64_t before = space_rows_ahead(fs);
		r = relocate_for_rows(fs);
		fs->relocate_fruitless = space_rows_ahead(fs) > before ? 0 : fs->relocate_fruitless + 1;
		if (fs->relocate_fruitless >= FRUITLESS_MAX) {
			fs->relocate_fruitless = 0;
			fs->relocate_rest = fs->durable;
		}
	}
	pthread_mutex_unlock(&fs->lock);
	return r;
}

int fs_work(struct fs *fs)
{
	int mended = mend_step(fs), r = mended < 0 ? mended : catchup_step(fs);
	if (r == 0)
		r = reshape_work(fs);
	if (r == 0)
		r = stall_try(fs, STALL_SCRUB, scrub_step);
	if (r < 0 || fs->read_only)
		return r;
	int e = relocate_in_background(fs);
	return e < 0 ? e : r | mended;
}

static int64_t now_ms(void)
{
	struct timespec now = in_ms(0);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* One step, and for how many ms to rest then: while users read or write, they have the array for themselves half of the time, and beside a
 * scrub, which nothing waits for, three fifths of it; and nothing is faster than it may be. */
static unsigned work_once(struct fs *fs)
{
	uint64_t io = atomic_load(&fs->user_io), walked_bytes = fs->walked_bytes, speed_bytes = atomic_load(&fs->speed_bytes);
	int64_t begin_ms = now_ms();
	fs->scrub_stepped = false;
	int more = fs_work(fs);
	int64_t took_ms = now_ms() - begin_ms, rest_ms = 0;
	if (more <= 0)
		return WORK_INTERVAL_MS;
	if (atomic_load(&fs->user_io) != io)
		rest_ms = fs->scrub_stepped ? took_ms * 3 / 2 : took_ms;
	if (speed_bytes > 0) {
		double least_ms = 1000.0 * (double)(fs->walked_bytes - walked_bytes) / (double)speed_bytes;
		if (least_ms - (double)took_ms > (double)rest_ms)
			rest_ms = (int64_t)(least_ms - (double)took_ms);
	}
	return rest_ms < REST_MAX_MS ? (unsigned)rest_ms : REST_MAX_MS;
}

static void *work_main(void *arg)
{
	struct fs *fs = arg;
	inode_reap_orphans(fs);
	pthread_mutex_lock(&fs->lock);
	while (!fs->stopping) {
		fs->threads->work_wanted = false;
		pthread_mutex_unlock(&fs->lock);
		unsigned rest_ms = work_once(fs);
		pthread_mutex_lock(&fs->lock);
		if (fs->stopping)
			break;
		if (rest_ms > 0 && !fs->threads->work_wanted) {
			struct timespec until = in_ms(rest_ms);
			pthread_cond_timedwait(&fs->threads->wake_work, &fs->lock, &until);
		}
	}
	pthread_mutex_unlock(&fs->lock);
	return NULL;
}

void threads_wake_work(struct fs *fs)
{
	if (!fs->threads)
		return;
	fs->threads->work_wanted = true;
	pthread_cond_signal(&fs->threads->wake_work);
}

int fs_start(struct fs *fs)
{
	assert(!fs->simple && !fs->threads);
	struct threads *t = calloc(1, sizeof *t);
	struct pool *pool = pool_new(fs->options.threads);
	if (!t || !pool) {
		free(t);
		pool_free(pool);
		return -ENOMEM;
	}
	pthread_condattr_t monotonic;
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&t->wake_work, &monotonic);
	pthread_condattr_destroy(&monotonic);
	pool_free(fs->pool);
	fs->pool = pool;
	fs->threads = t;
	if (fs->read_only)
		return 0;
	t->have_commit = pthread_create(&t->commit, NULL, commit_main, fs) == 0;
	t->have_flush = pthread_create(&t->flush, NULL, flush_main, fs) == 0;
	t->have_work = pthread_create(&t->work, NULL, work_main, fs) == 0;
	if (t->have_commit && t->have_flush && t->have_work)
		return 0;
	threads_stop(fs);
	return -EAGAIN;
}

void threads_stop(struct fs *fs)
{
	struct threads *t = fs->threads;
	if (!t)
		return;
	pthread_mutex_lock(&fs->lock);
	fs->stopping = true;
	pthread_cond_broadcast(&fs->wake_commit);
	pthread_cond_broadcast(&fs->wake_flush);
	pthread_cond_broadcast(&t->wake_work);
	pthread_cond_broadcast(&fs->progress);
	pthread_mutex_unlock(&fs->lock);
	if (t->have_commit)
		pthread_join(t->commit, NULL);
	if (t->have_flush)
		pthread_join(t->flush, NULL);
	if (t->have_work)
		pthread_join(t->work, NULL);
	pthread_cond_destroy(&t->wake_work);
	free(t);
	fs->threads = NULL;
}

int fs_sync(struct fs *fs)
{
	if (fs->read_only)
		return 0;        /* what was replayed into memory is durable in the log */
	if (fs->simple || !fs->threads)
		return commit_run(fs);
	pthread_mutex_lock(&fs->lock);
	uint64_t target = fs->open->dirty ? fs->open->generation : fs->committing ? fs->committing->generation : 0;
	if (target > fs->commit_wanted)
		fs->commit_wanted = target;
	while (fs->durable < target && !fs->error && !fs->stopping) {
		pthread_cond_signal(&fs->wake_commit);
		blocking_begin(BLOCKING_FOR_THREAD);
		pthread_cond_wait(&fs->progress, &fs->lock);
	}
	int r = fs->error ? fs->error : fs->durable < target ? -EIO : 0;
	pthread_mutex_unlock(&fs->lock);
	return r;
}

void commit_soon(struct fs *fs)
{
	SCOPED_LOCK(&fs->lock);
	txn_mark_dirty(fs);
}

int commit_now(struct fs *fs)
{
	commit_soon(fs);
	return fs_sync(fs);
}

void fs_fsync_then(struct fs *fs, uint64_t ino, void (*done)(void *ctx, int result), void *ctx)
{
	if (fs->read_only)
		done(ctx, 0);
	else
		log_sync(fs, ino, done, ctx);
}

struct waiting {
	pthread_mutex_t mutex;
	pthread_cond_t ended;
	bool done;
	int result;
};

static void waiting_ended(void *ctx, int result)
{
	struct waiting *w = ctx;
	SCOPED_LOCK(&w->mutex);
	w->done = true;
	w->result = result;
	pthread_cond_signal(&w->ended);
}

int fs_fsync(struct fs *fs, uint64_t ino, bool data_only)
{
	struct waiting w = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false, 0 };
	(void)data_only;         /* times cost nothing more */
	fs_fsync_then(fs, ino, waiting_ended, &w);
	pthread_mutex_lock(&w.mutex);
	while (!w.done) {
		blocking_begin(BLOCKING_FOR_THREAD);
		pthread_cond_wait(&w.ended, &w.mutex);
	}
	pthread_mutex_unlock(&w.mutex);
	return w.result;
}
