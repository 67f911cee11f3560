/* A thread that runs ios has a ring of its own: it puts them on it and waits.  So the kernel can leave completions to that thread
 * (IORING_SETUP_DEFER_TASKRUN, 6.1): it is woken once for all that it waits for, and not for each of them.
 *
 * When the time is up with operations under way, the ring is closed and retired, and the thread takes a new one.  What was under way are
 * orphans: their slots keep references on disk and buffer until the kernel has let go of the ring, which it does only when all of it
 * has come back.  That nobody is told; but it then closes the files registered with the ring.  One of them is the end of a pipe for
 * writing, which is open nowhere else: so the other end hangs up (io_uring_register(2), pipe(7)), for which is looked whenever ios are
 * run or disk_quiet is asked.  (Of a ring that it cannot let go of for five minutes the kernel warns once in its log.)
 *
 * Vectors need not outlive the submission (IORING_FEAT_SUBMIT_STABLE), only the memory they point to.
 *
 * Where no ring can be had, and for discards (io_uring cannot discard on devices before 6.12),
 * disk_threads_run does the same work. */
#include "raid/disk_uring.h"

#include "base/blocking.h"
#include "base/cleanup.h"
#include "base/list.h"
#include "raid/disk_threads.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define RING_ENTRIES 128u
#define RINGS_MAX 256u
#define PIECE_BYTES (1u << 30)   /* of a single vector in one request, whose length is 32 bits */

struct slot {
	struct disk_io *io;          /* NULL: free, or an orphan */
	struct disk_cursor cursor;
	struct disk *orphan_disk;    /* of an orphan */
	struct iobuf *orphan_hold;
};

struct ring {
	struct list entry;           /* in retired */
	struct io_uring uring;       /* closed in a retired one */
	int pipe_fd;                 /* the end for reading */
	struct slot slots[RING_ENTRIES];
	unsigned free_slots[RING_ENTRIES];
	unsigned free_count;         /* RING_ENTRIES: nothing under way */
};

static pthread_key_t own_ring;
static atomic_uint ring_count;       /* retired ones too */
static atomic_uint retired_count;
static pthread_mutex_t retired_lock = PTHREAD_MUTEX_INITIALIZER;
static struct list retired = { &retired, &retired };         /* protected by retired_lock */

/* ---- Rings ---- */

static int queue_init(struct io_uring *uring)
{
	static const unsigned best_first[] = { IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN, IORING_SETUP_COOP_TASKRUN, 0 };
	struct io_uring_params params;
	int r = -EINVAL;
	for (unsigned i = 0; r == -EINVAL && i < ARRAY_COUNT(best_first); i++) {
		params = (struct io_uring_params){ .flags = best_first[i] };
		r = io_uring_queue_init_params(RING_ENTRIES, uring, &params);
	}
	if (r < 0)
		return r;
	unsigned needed = IORING_FEAT_EXT_ARG | IORING_FEAT_SUBMIT_STABLE | IORING_FEAT_NODROP;
	if ((params.features & needed) != needed) {
		io_uring_queue_exit(uring);
		return -ENOSYS;
	}
	return 0;
}

/* The ring alone keeps the end for writing open. */
static int register_pipe(struct io_uring *uring, int *ret_fd)
{
	int ends[2];
	if (pipe2(ends, O_CLOEXEC) < 0)
		return -errno;
	int r = io_uring_register_files(uring, &ends[1], 1);
	close(ends[1]);
	if (r < 0)
		close(ends[0]);
	else
		*ret_fd = ends[0];
	return r;
}

static int ring_init(struct io_uring *uring, int *ret_pipe_fd)
{
	int r = queue_init(uring);
	if (r < 0)
		return r;
	r = register_pipe(uring, ret_pipe_fd);
	if (r < 0)
		io_uring_queue_exit(uring);
	return r;
}

static struct ring *ring_new(void)
{
	struct ring *ring = calloc(1, sizeof(*ring));
	if (!ring)
		return NULL;
	if (ring_init(&ring->uring, &ring->pipe_fd) < 0) {
		free(ring);
		return NULL;
	}
	for (unsigned i = 0; i < RING_ENTRIES; i++)
		ring->free_slots[ring->free_count++] = i;
	return ring;
}

static void ring_free(struct ring *ring)
{
	close(ring->pipe_fd);
	free(ring);
	atomic_fetch_sub(&ring_count, 1);
}

/* Of a thread that ends. */
static void end_own_ring(void *p)
{
	struct ring *ring = p;
	io_uring_queue_exit(&ring->uring);
	ring_free(ring);
}

static bool available;

static void probe(void)
{
	struct io_uring uring;
	int pipe_fd = -1;
	if (ring_init(&uring, &pipe_fd) < 0)
		return;
	close(pipe_fd);
	io_uring_queue_exit(&uring);
	available = pthread_key_create(&own_ring, end_own_ring) == 0;
}

bool disk_uring_available(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	pthread_once(&once, probe);
	return available;
}

static bool is_released(const struct ring *ring)
{
	struct pollfd end = { .fd = ring->pipe_fd };
	return poll(&end, 1, 0) > 0 && end.revents & POLLHUP;
}

void disk_uring_reap(void)
{
	if (atomic_load(&retired_count) == 0)
		return;
	SCOPED_LOCK(&retired_lock);
	for (struct list *e = retired.next, *next; e != &retired; e = next) {
		next = e->next;
		struct ring *ring = container_of(e, struct ring, entry);
		if (!is_released(ring))
			continue;
		for (unsigned i = 0; i < RING_ENTRIES; i++)
			if (ring->slots[i].orphan_disk)
				disk_orphan_end(ring->slots[i].orphan_disk, ring->slots[i].orphan_hold);
		list_remove(&ring->entry);
		atomic_fetch_sub(&retired_count, 1);
		ring_free(ring);
	}
}

/* This thread's; NULL if there are too many or the kernel grants no more. */
static struct ring *take_ring(void)
{
	struct ring *ring = pthread_getspecific(own_ring);
	if (ring)
		return ring;
	if (atomic_fetch_add(&ring_count, 1) < RINGS_MAX)
		ring = ring_new();
	if (ring && pthread_setspecific(own_ring, ring) == 0)
		return ring;
	if (ring)
		end_own_ring(ring);
	else
		atomic_fetch_sub(&ring_count, 1);
	return NULL;
}

/* ---- One call ---- */

/* Queues what is left of the slot's io.  The submission queue has as many entries as there are slots. */
static void queue_slot(struct ring *ring, unsigned index)
{
	struct slot *slot = &ring->slots[index];
	struct disk_io *io = slot->io;
	struct io_uring_sqe *sqe = io_uring_get_sqe(&ring->uring);
	assert(sqe);
	if (io->op == DISK_FLUSH) {
		io_uring_prep_fsync(sqe, io->disk->fd, IORING_FSYNC_DATASYNC);
	} else {
		struct iovec partial;
		unsigned count;
		uint64_t at = io->offset_bytes + slot->cursor.done_bytes;
		const struct iovec *iov = disk_cursor_next(&slot->cursor, io->iov, io->iov_count, &partial, &count);
		unsigned bytes = iov->iov_len < PIECE_BYTES ? (unsigned)iov->iov_len : PIECE_BYTES;
		if (count == 1 && io->op == DISK_READ)
			io_uring_prep_read(sqe, io->disk->fd, iov->iov_base, bytes, at);
		else if (count == 1)
			io_uring_prep_write(sqe, io->disk->fd, iov->iov_base, bytes, at);
		else if (io->op == DISK_READ)
			io_uring_prep_readv(sqe, io->disk->fd, iov, count, at);
		else
			io_uring_prep_writev(sqe, io->disk->fd, iov, count, at);
		if (io->durable)
			sqe->rw_flags = RWF_DSYNC;
	}
	if (io->disk->may_block)
		io_uring_sqe_set_flags(sqe, IOSQE_ASYNC);
	io_uring_sqe_set_data64(sqe, index);
}

static void slot_ended(struct ring *ring, unsigned index, int result)
{
	ring->slots[index].io->result = result;
	memset(&ring->slots[index], 0, sizeof(struct slot));
	ring->free_slots[ring->free_count++] = index;
}

static void handle_completion(struct ring *ring, unsigned index, int res)
{
	struct slot *slot = &ring->slots[index];
	struct disk_io *io = slot->io;
	if (res == -EINTR || res == -EAGAIN) {
		queue_slot(ring, index);
	} else if (res < 0 || io->op == DISK_FLUSH) {
		slot_ended(ring, index, res < 0 ? res : 0);
	} else if (res == 0) {
		slot_ended(ring, index, -EIO);
	} else {
		disk_cursor_advance(&slot->cursor, io->iov, (uint64_t)res);
		if (slot->cursor.done_bytes < io->length_bytes)
			queue_slot(ring, index);
		else
			slot_ended(ring, index, 0);
	}
}

static unsigned collect(struct ring *ring)
{
	unsigned seen = 0;
	struct io_uring_cqe *cqe;
	while (io_uring_peek_cqe(&ring->uring, &cqe) == 0) {
		unsigned index = (unsigned)io_uring_cqe_get_data64(cqe);
		int res = cqe->res;
		io_uring_cqe_seen(&ring->uring, cqe);
		handle_completion(ring, index, res);
		seen++;
	}
	return seen;
}

/* Leaves what is under way behind as orphans, with `result` for the caller. */
static void retire(struct ring *ring, int result)
{
	for (unsigned i = 0; i < RING_ENTRIES; i++) {
		struct slot *slot = &ring->slots[i];
		if (!slot->io)
			continue;
		slot->orphan_disk = slot->io->disk;
		slot->orphan_hold = slot->io->hold;
		disk_orphan_begin(slot->orphan_disk, slot->orphan_hold);
		slot->io->result = result;
		slot->io = NULL;
	}
	pthread_setspecific(own_ring, NULL);
	io_uring_queue_exit(&ring->uring);
	SCOPED_LOCK(&retired_lock);
	list_append(&retired, &ring->entry);
	atomic_fetch_add(&retired_count, 1);
}

/* Waits for `want` completions or the deadline.  0, or -errno if the ring cannot be used any more. */
static int wait_ring(struct ring *ring, unsigned want, int64_t left_ms)
{
	struct __kernel_timespec ts = { left_ms / 1000, left_ms % 1000 * 1000000 };
	struct io_uring_cqe *cqe;
	blocking_begin(BLOCKING_FOR_DEVICE);
	int r = io_uring_submit_and_wait_timeout(&ring->uring, &cqe, want, &ts, NULL);
	unsigned seen = collect(ring);
	if (r >= 0 || r == -ETIME || r == -EINTR)
		return 0;
	if (r != -EAGAIN && r != -EBUSY)
		return r;
	if (seen == 0)    /* the kernel is short of memory for requests */
		nanosleep(&(struct timespec){ 0, 1000000 }, NULL);
	return 0;
}

static void run_on(struct ring *ring, struct disk_io *ios, unsigned count, int64_t deadline_ms)
{
	unsigned next = 0;
	int result = 0;
	while (result == 0) {
		for (; next < count && ring->free_count > 0; next++) {
			if (ios[next].result != -EINPROGRESS)
				continue;
			unsigned index = ring->free_slots[--ring->free_count];
			ring->slots[index].io = &ios[next];
			queue_slot(ring, index);
		}
		unsigned under_way = RING_ENTRIES - ring->free_count;
		if (under_way == 0)
			return;
		int64_t left_ms = deadline_ms - disk_now_ms();
		result = left_ms > 0 ? wait_ring(ring, next < count ? 1 : under_way, left_ms) : -ETIMEDOUT;
	}
	retire(ring, result);
	for (; next < count; next++)
		if (ios[next].result == -EINPROGRESS)
			ios[next].result = result;
}

static void uring_run(struct disk_io *ios, unsigned count, int64_t timeout_ms)
{
	int64_t deadline_ms = disk_now_ms() + timeout_ms;
	for (unsigned i = 0; i < count; i++) {
		if (ios[i].op == DISK_DISCARD) {
			disk_threads_run(ios, count, timeout_ms);
			return;
		}
	}
	disk_uring_reap();
	struct ring *ring = take_ring();
	if (ring)
		run_on(ring, ios, count, deadline_ms);
	else
		disk_threads_run(ios, count, timeout_ms);
}

static bool uring_quiet(struct disk *disk)
{
	if (atomic_load(&disk->inflight_orphans) == 0)
		return true;
	disk_uring_reap();
	return atomic_load(&disk->inflight_orphans) == 0;
}

const struct disk_ops disk_uring_ops = { uring_run, uring_quiet, disk_destroy_file };
