/* What all implementations of disks share: checking requests, blocking conveniences, orphans, and
 * the cursor that continues short transfers.  Opening is in raid/disk_open.c. */
#include "raid/disk.h"

#include "base/cleanup.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <time.h>

int64_t disk_now_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

void disk_init(struct disk *disk, const struct disk_ops *ops, int fd)
{
	memset(disk, 0, sizeof(*disk));
	disk->ops = ops;
	disk->fd = fd;
	disk->backing_fd = -1;
	atomic_store(&disk->refs, 1);
}

void disk_destroy_file(struct disk *disk)
{
	if (disk->backing_fd >= 0)
		close(disk->backing_fd);
	if (disk->fd >= 0)
		close(disk->fd);
	free(disk->name);
	free(disk);
}

static void disk_unref(struct disk *disk)
{
	unsigned before = atomic_fetch_sub(&disk->refs, 1);
	assert(before > 0);
	if (before == 1)
		disk->ops->destroy(disk);
}

void disk_close(struct disk *disk)
{
	if (!disk)
		return;
	disk->ops->quiet(disk);
	disk_unref(disk);
}

void disk_release(struct disk *disk)
{
	/* The number stays taken, by something that can be neither read nor written: a thread that has it meets no other file. */
	int nothing = disk->fd >= 0 ? open("/", O_PATH | O_CLOEXEC) : -1;

	if (nothing < 0)
		return;
	dup3(nothing, disk->fd, O_CLOEXEC);
	if (disk->backing_fd >= 0)
		dup3(nothing, disk->backing_fd, O_CLOEXEC);
	close(nothing);
}

void disk_orphan_begin(struct disk *disk, struct iobuf *hold)
{
	atomic_fetch_add(&disk->refs, 1);
	atomic_fetch_add(&disk->inflight_orphans, 1);
	if (hold)
		iobuf_ref(hold);
}

void disk_orphan_end(struct disk *disk, struct iobuf *hold)
{
	iobuf_unref(hold);
	atomic_fetch_sub(&disk->inflight_orphans, 1);
	disk_unref(disk);
}

bool disk_quiet(struct disk *disk)
{
	return disk->ops->quiet(disk);
}

bool disk_same(const struct disk *a, const struct disk *b)
{
	const struct disk_identity *x = &a->identity, *y = &b->identity;
	return x->is_block == y->is_block && x->dev == y->dev && x->inode == y->inode;
}

/* The programmer's part of the contract: alignment, and memory inside the held buffer. */
static void assert_io(const struct disk_io *io)
{
	assert(io->offset_bytes % DISK_ALIGN_BYTES == 0 && io->length_bytes % DISK_ALIGN_BYTES == 0);
	assert(io->op == DISK_FLUSH || io->length_bytes > 0);
	if (io->op != DISK_READ && io->op != DISK_WRITE)
		return;
	assert(io->hold);
	uint64_t sum_bytes = 0;
	for (unsigned i = 0; i < io->iov_count; i++) {
		const uint8_t *base = io->iov[i].iov_base;
		size_t bytes = io->iov[i].iov_len;
		assert(bytes > 0 && bytes % DISK_ALIGN_BYTES == 0 && (uintptr_t)base % DISK_ALIGN_BYTES == 0);
		assert(base >= io->hold->data && bytes <= io->hold->bytes
			&& (size_t)(base - io->hold->data) <= io->hold->bytes - bytes);
		sum_bytes += bytes;
	}
	assert(sum_bytes == io->length_bytes);
}

void disk_run(struct disk_io *ios, unsigned count, int64_t timeout_ms)
{
	assert(timeout_ms > 0);
	unsigned to_run = 0;
	for (unsigned i = 0; i < count; i++) {
		struct disk_io *io = &ios[i];
		assert_io(io);
		assert(io->disk->ops == ios[0].disk->ops);
		if (io->op != DISK_FLUSH && (io->offset_bytes > io->disk->size_bytes
				|| io->length_bytes > io->disk->size_bytes - io->offset_bytes)) {
			io->result = -EIO;
		} else if (io->op != DISK_READ && io->disk->read_only) {
			io->result = -EROFS;
		} else {
			io->result = -EINPROGRESS;
			to_run++;
		}
	}
	if (to_run > 0)
		ios[0].disk->ops->run(ios, count, timeout_ms);
}

static int run_one(struct disk *disk, enum disk_op op, uint64_t offset_bytes, struct iobuf *buf)
{
	struct iovec iov = { buf ? buf->data : NULL, buf ? buf->bytes : 0 };
	struct disk_io io = { .op = op, .disk = disk, .offset_bytes = offset_bytes, .length_bytes = iov.iov_len,
		.iov = &iov, .iov_count = 1, .hold = buf };
	disk_run(&io, 1, DISK_TIMEOUT_MS);
	return io.result;
}

int disk_read(struct disk *disk, uint64_t offset_bytes, void *buf, size_t bytes)
{
	cleanup(iobuf_unrefp) struct iobuf *io = iobuf_new(bytes);
	if (!io)
		return -ENOMEM;
	int r = run_one(disk, DISK_READ, offset_bytes, io);
	if (r == 0)
		memcpy(buf, io->data, bytes);
	return r;
}

int disk_write(struct disk *disk, uint64_t offset_bytes, const void *buf, size_t bytes)
{
	cleanup(iobuf_unrefp) struct iobuf *io = iobuf_new(bytes);
	if (!io)
		return -ENOMEM;
	memcpy(io->data, buf, bytes);
	return run_one(disk, DISK_WRITE, offset_bytes, io);
}

int disk_flush(struct disk *disk)
{
	return run_one(disk, DISK_FLUSH, 0, NULL);
}

const struct iovec *disk_cursor_next(const struct disk_cursor *cursor, const struct iovec *iov, unsigned iov_count,
	struct iovec *ret_partial, unsigned *ret_count)
{
	const struct iovec *at = &iov[cursor->iov];
	if (cursor->iov_bytes > 0) {
		ret_partial->iov_base = (uint8_t *)at->iov_base + cursor->iov_bytes;
		ret_partial->iov_len = at->iov_len - cursor->iov_bytes;
		*ret_count = 1;
		return ret_partial;
	}
	unsigned left = iov_count - cursor->iov;
	*ret_count = left < IOV_MAX ? left : IOV_MAX;
	return at;
}

void disk_cursor_advance(struct disk_cursor *cursor, const struct iovec *iov, uint64_t bytes)
{
	cursor->done_bytes += bytes;
	while (bytes > 0) {
		size_t left = iov[cursor->iov].iov_len - cursor->iov_bytes;
		if (bytes < left) {
			cursor->iov_bytes += bytes;
			return;
		}
		bytes -= left;
		cursor->iov++;
		cursor->iov_bytes = 0;
	}
}
