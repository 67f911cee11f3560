/* One process-wide set of workers and one queue of jobs.
 *
 * disk_threads_run queues a job for each io and waits.  A worker is started when a job finds none
 * idle, up to WORKERS_MAX; a disk occupies at most WORKERS_PER_DISK, so that one that hangs
 * doesn't starve the others.  A job goes queued → running → done.  When the time is up, a queued job is
 * taken out and never runs; a running one is an orphan: it loses its batch, keeps references on
 * disk and buffer, and is given back by its worker when the system call returns at last.  A job is on the
 * heap with its own copy of the vectors, since an orphan outlives the caller's. */
#include "raid/disk_threads.h"

#include "base/blocking.h"
#include "base/cleanup.h"
#include "base/list.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>

#define WORKERS_MAX 128u
#define WORKERS_PER_DISK 16u

struct batch {
	pthread_cond_t ended;
	unsigned unfinished;      /* protected by pool.lock */
};

enum job_state { JOB_QUEUED, JOB_RUNNING, JOB_DONE };

struct job {
	struct list entry;        /* in pool.queue while queued */
	enum job_state state;
	struct batch *batch;      /* NULL: an orphan */
	enum disk_op op;
	bool durable;
	struct disk *disk;
	uint64_t offset_bytes, length_bytes;
	struct iobuf *hold;
	int result;
	unsigned iov_count;
	struct iovec iov[];
};

/* Protects everything here, and jobs but for what only the running worker uses. */
static struct {
	pthread_mutex_t lock;
	pthread_cond_t work;
	struct list queue;
	unsigned queued;          /* jobs in the queue */
	unsigned workers;
	unsigned idle;            /* workers that wait, or have just been started: each will look at the queue */
} pool = { .lock = PTHREAD_MUTEX_INITIALIZER, .work = PTHREAD_COND_INITIALIZER, .queue = { &pool.queue, &pool.queue } };

static int transfer(const struct job *job)
{
	struct disk_cursor cursor = { 0 };
	while (cursor.done_bytes < job->length_bytes) {
		struct iovec partial;
		unsigned count;
		const struct iovec *iov = disk_cursor_next(&cursor, job->iov, job->iov_count, &partial, &count);
		off_t at = (off_t)(job->offset_bytes + cursor.done_bytes);
		ssize_t n = job->op == DISK_READ ? preadv(job->disk->fd, iov, (int)count, at)
			: pwritev2(job->disk->fd, iov, (int)count, at, job->durable ? RWF_DSYNC : 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		disk_cursor_advance(&cursor, job->iov, (uint64_t)n);
	}
	return 0;
}

static int discard(const struct job *job)
{
	uint64_t range[2] = { job->offset_bytes, job->length_bytes };
	int r = job->disk->is_block ? ioctl(job->disk->fd, BLKDISCARD, range)
		: fallocate(job->disk->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)job->offset_bytes, (off_t)job->length_bytes);
	if (r < 0 && (errno == EOPNOTSUPP || errno == ENOTTY || errno == ENOSYS))
		return 0;    /* a discard is a hint */
	return r < 0 ? -errno : 0;
}

static int perform(const struct job *job)
{
	switch (job->op) {
	case DISK_READ:
	case DISK_WRITE:
		return transfer(job);
	case DISK_FLUSH:
		return fdatasync(job->disk->fd) < 0 ? -errno : 0;
	case DISK_DISCARD:
		return discard(job);
	}
	return -EINVAL;
}

/* The first queued job whose disk may have one more worker, or NULL.  Under pool.lock. */
static struct job *next_job(void)
{
	for (struct list *e = pool.queue.next; e != &pool.queue; e = e->next) {
		struct job *job = container_of(e, struct job, entry);
		if (job->disk->workers_busy < WORKERS_PER_DISK)
			return job;
	}
	return NULL;
}

/* Ends a job that a worker ran.  Under pool.lock. */
static void job_ended(struct job *job)
{
	job->disk->workers_busy--;
	job->state = JOB_DONE;
	if (!job->batch) {
		disk_orphan_end(job->disk, job->hold);
		free(job);
	} else if (--job->batch->unfinished == 0) {
		pthread_cond_signal(&job->batch->ended);
	}
}

static void *worker(void *unused)
{
	(void)unused;
	pthread_mutex_lock(&pool.lock);
	pool.idle--;
	for (;;) {
		struct job *job = next_job();
		if (!job) {
			pool.idle++;
			pthread_cond_wait(&pool.work, &pool.lock);
			pool.idle--;
			continue;
		}
		list_remove(&job->entry);
		pool.queued--;
		job->state = JOB_RUNNING;
		job->disk->workers_busy++;
		pthread_mutex_unlock(&pool.lock);
		int result = perform(job);
		pthread_mutex_lock(&pool.lock);
		job->result = result;
		job_ended(job);
	}
	return NULL;
}

/* Sees to it that each queued job has a worker that will look at the queue: one that is stuck on
 * a hanging disk must not be waited for.  Under pool.lock.  Without any worker at all, -errno. */
static int start_workers(void)
{
	while (pool.idle < pool.queued && pool.workers < WORKERS_MAX) {
		pthread_attr_t attr;
		pthread_t thread;
		pthread_attr_init(&attr);
		pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
		pthread_attr_setstacksize(&attr, 256 * 1024);
		int err = pthread_create(&thread, &attr, worker, NULL);
		pthread_attr_destroy(&attr);
		if (err)
			return pool.workers > 0 ? 0 : -err;
		pool.workers++;
		pool.idle++;
	}
	return 0;
}

static struct job *job_new(const struct disk_io *io, struct batch *batch)
{
	unsigned iov_count = io->op == DISK_READ || io->op == DISK_WRITE ? io->iov_count : 0;
	struct job *job = malloc(sizeof(*job) + iov_count * sizeof(struct iovec));
	if (!job)
		return NULL;
	*job = (struct job){ .state = JOB_QUEUED, .batch = batch, .op = io->op, .durable = io->durable, .disk = io->disk, .offset_bytes = io->offset_bytes,
		.length_bytes = io->length_bytes, .hold = io->hold, .iov_count = iov_count };
	list_init(&job->entry);
	if (iov_count > 0)
		memcpy(job->iov, io->iov, iov_count * sizeof(struct iovec));
	return job;
}

/* Takes a job's result over to its io, or leaves the job to its worker.  Under pool.lock. */
static void collect(struct job *job, struct disk_io *io)
{
	switch (job->state) {
	case JOB_DONE:
		io->result = job->result;
		free(job);
		break;
	case JOB_QUEUED:
		list_remove(&job->entry);
		pool.queued--;
		io->result = -ETIMEDOUT;
		free(job);
		break;
	case JOB_RUNNING:
		disk_orphan_begin(job->disk, job->hold);
		job->batch = NULL;
		io->result = -ETIMEDOUT;
		break;
	}
}

static void wait_batch(struct batch *batch, int64_t deadline_ms)
{
	struct timespec until = { deadline_ms / 1000, deadline_ms % 1000 * 1000000 };
	blocking_begin(BLOCKING_FOR_DEVICE);
	while (batch->unfinished > 0)
		if (pthread_cond_timedwait(&batch->ended, &pool.lock, &until) == ETIMEDOUT)
			return;
}

static void run_jobs(struct disk_io *ios, struct job **jobs, unsigned count, int64_t deadline_ms)
{
	struct batch batch = { 0 };
	pthread_condattr_t attr;
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&batch.ended, &attr);
	pthread_condattr_destroy(&attr);

	unsigned queued = 0;
	for (unsigned i = 0; i < count; i++) {
		jobs[i] = ios[i].result == -EINPROGRESS ? job_new(&ios[i], &batch) : NULL;
		if (jobs[i])
			queued++;
		else if (ios[i].result == -EINPROGRESS)
			ios[i].result = -ENOMEM;
	}
	pthread_mutex_lock(&pool.lock);
	batch.unfinished = queued;
	for (unsigned i = 0; i < count; i++) {
		if (jobs[i]) {
			list_append(&pool.queue, &jobs[i]->entry);
			pthread_cond_signal(&pool.work);
		}
	}
	pool.queued += queued;
	int r = start_workers();
	if (r == 0)
		wait_batch(&batch, deadline_ms);
	for (unsigned i = 0; i < count; i++) {
		if (!jobs[i])
			continue;
		collect(jobs[i], &ios[i]);
		if (r < 0)
			ios[i].result = r;
	}
	pthread_mutex_unlock(&pool.lock);
	pthread_cond_destroy(&batch.ended);
}

void disk_threads_run(struct disk_io *ios, unsigned count, int64_t timeout_ms)
{
	int64_t deadline_ms = disk_now_ms() + timeout_ms;
	autofree struct job **jobs = calloc(count, sizeof(struct job *));
	if (jobs) {
		run_jobs(ios, jobs, count, deadline_ms);
		return;
	}
	for (unsigned i = 0; i < count; i++)
		if (ios[i].result == -EINPROGRESS)
			ios[i].result = -ENOMEM;
}

static bool threads_quiet(struct disk *disk)
{
	return atomic_load(&disk->inflight_orphans) == 0;
}

const struct disk_ops disk_threads_ops = { disk_threads_run, threads_quiet, disk_destroy_file };
