/* A call of disk_run takes a ring from the pool, puts its ios on it, waits, and gives it back; no ring
 * is ever used by two threads at once.
 *
 * A ring is idle (in pool.idle), in use (in no list), or retired (in pool.retired): the time was
 * up with operations under way.  Those are orphans: their slots keep references on disk and buffer.  reap()
 * collects what has come back from retired rings, whenever a ring or disk_quiet is asked for;
 * a ring without orphans is idle again.  A retired ring is never submitted to.
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
#include <liburing.h>
#include <string.h>
#include <time.h>

#define RING_ENTRIES 128u
#define RINGS_MAX 64u
#define PIECE_BYTES (1u << 30)   /* of a single vector in one request, whose length is 32 bits */

struct slot {
	struct disk_io *io;          /* NULL: free, or an orphan */
	struct disk_cursor cursor;
	struct disk *orphan_disk;    /* of an orphan */
	struct iobuf *orphan_hold;
};

struct ring {
	struct list entry;
	struct io_uring uring;
	struct slot slots[RING_ENTRIES];
	unsigned free_slots[RING_ENTRIES];
	unsigned free_count;         /* RING_ENTRIES: nothing under way */
};

static struct {
	pthread_mutex_t lock;
	struct list idle, retired;   /* protected by lock */
	unsigned count;              /* protected by lock: rings in all states */
} pool = { .lock = PTHREAD_MUTEX_INITIALIZER, .idle = { &pool.idle, &pool.idle }, .retired = { &pool.retired, &pool.retired } };

/* ---- Rings ---- */

static int ring_init(struct io_uring *uring)
{
	/* Rings move between threads: not SINGLE_ISSUER. COOP_TASKRUN (5.19) only spares interrupts. */
	struct io_uring_params params = { .flags = IORING_SETUP_COOP_TASKRUN };
	int r = io_uring_queue_init_params(RING_ENTRIES, uring, &params);
	if (r == -EINVAL) {
		params = (struct io_uring_params){ 0 };
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

static struct ring *ring_new(void)
{
	struct ring *ring = calloc(1, sizeof(*ring));
	if (!ring)
		return NULL;
	if (ring_init(&ring->uring) < 0) {
		free(ring);
		return NULL;
	}
	list_init(&ring->entry);
	for (unsigned i = 0; i < RING_ENTRIES; i++)
		ring->free_slots[ring->free_count++] = i;
	return ring;
}

static bool available;

static void probe(void)
{
	struct io_uring uring;
	if (ring_init(&uring) < 0)
		return;
	io_uring_queue_exit(&uring);
	available = true;
}

bool disk_uring_available(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	pthread_once(&once, probe);
	return available;
}

/* Collects what came back from retired rings.  Under pool.lock. */
static void reap(void)
{
	for (struct list *e = pool.retired.next, *next; e != &pool.retired; e = next) {
		next = e->next;
		struct ring *ring = container_of(e, struct ring, entry);
		struct io_uring_cqe *cqe;
		while (io_uring_peek_cqe(&ring->uring, &cqe) == 0) {
			unsigned index = (unsigned)io_uring_cqe_get_data64(cqe);
			io_uring_cqe_seen(&ring->uring, cqe);
			struct slot *slot = &ring->slots[index];
			disk_orphan_end(slot->orphan_disk, slot->orphan_hold);
			memset(slot, 0, sizeof(*slot));
			ring->free_slots[ring->free_count++] = index;
		}
		if (ring->free_count == RING_ENTRIES) {
			list_remove(&ring->entry);
			list_append(&pool.idle, &ring->entry);
		}
	}
}

void disk_uring_reap(void)
{
	SCOPED_LOCK(&pool.lock);
	reap();
}

/* NULL if all are in use or the kernel grants no more. */
static struct ring *take_ring(void)
{
	SCOPED_LOCK(&pool.lock);
	reap();
	if (!list_empty(&pool.idle)) {
		/* The one given back last: its memory is warm. */
		struct ring *ring = container_of(pool.idle.prev, struct ring, entry);
		list_remove(&ring->entry);
		return ring;
	}
	if (pool.count >= RINGS_MAX)
		return NULL;
	struct ring *ring = ring_new();
	if (ring)
		pool.count++;
	return ring;
}

static void give_ring(struct ring *ring)
{
	SCOPED_LOCK(&pool.lock);
	list_append(ring->free_count == RING_ENTRIES ? &pool.idle : &pool.retired, &ring->entry);
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
static void abandon(struct ring *ring, int result)
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
	abandon(ring, result);
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
	struct ring *ring = take_ring();
	if (!ring) {
		disk_threads_run(ios, count, timeout_ms);
		return;
	}
	run_on(ring, ios, count, deadline_ms);
	give_ring(ring);
}

static bool uring_quiet(struct disk *disk)
{
	if (atomic_load(&disk->inflight_orphans) == 0)
		return true;
	disk_uring_reap();
	return atomic_load(&disk->inflight_orphans) == 0;
}

const struct disk_ops disk_uring_ops = { uring_run, uring_quiet, disk_destroy_file };
