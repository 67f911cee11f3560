/* The seam between the array and its members' storage: one small table of operations.
 *
 * Implementations: io_uring (raid/disk_uring.*), threads (raid/disk_threads.*), and the simulated disk
 * of the tests.  Nothing above this header knows which one it talks to.
 *
 * Alignment: offsets, lengths and memory are multiples of DISK_ALIGN_BYTES.
 *
 * Durability: a write is durable only once a flush that STARTED AFTER THE WRITE HAD ENDED has ended
 * without an error.  Before that, after a loss of power, any 512-byte sector of it may be old or
 * new, independently of all others and of the order of writes.  What a failed write or flush leaves
 * behind is unknown, and a failed flush must not be retried: the kernel may have forgotten the
 * pages that it could not write.  A write with `durable` set is durable once it has ended without an error, as if a flush
 * had followed that is about it alone (RWF_DSYNC, pwritev2(2)).  A discard leaves unspecified content.
 *
 * Time limits: an operation that does not come back in time gets -ETIMEDOUT, but the kernel may
 * still carry it out at any later time.  Until it comes back it is an orphan: the disk keeps a
 * reference on its buffer and on itself (and so on its lock), and disk_quiet() is false.
 *
 * Thread-safe: any number of threads may use one disk.  A process that forks must open its disks
 * after the fork: engines have threads and rings that a child does not inherit. */
#ifndef RAID_DISK_H
#define RAID_DISK_H

#include "base/fail.h"
#include "raid/iobuf.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#define DISK_ALIGN_BYTES 4096u
#define DISK_TIMEOUT_MS 30000     /* of disk_read, disk_write and disk_flush */

enum disk_op { DISK_READ, DISK_WRITE, DISK_FLUSH, DISK_DISCARD };

struct disk;

struct disk_io {
	enum disk_op op;
	struct disk *disk;
	uint64_t offset_bytes;    /* read, write, discard */
	uint64_t length_bytes;    /* not 0, but for a flush */
	const struct iovec *iov;  /* read, write: pieces inside hold->data that sum up to length_bytes; the array */
	unsigned iov_count;       /* itself is needed during disk_run only; any count is fine */
	bool durable;             /* write: see above */
	struct iobuf *hold;       /* read, write: borrowed; referenced by the disk if it becomes an orphan */
	int result;               /* out: 0 or -errno; short transfers are continued, beyond the end is -EIO */
};

struct disk_ops {
	/* Runs those of the ios whose result is -EINPROGRESS and sets it.  All are on disks with these ops. */
	void (*run)(struct disk_io *ios, unsigned count, int64_t timeout_ms);
	/* Gives back what ended in the meantime; true when no orphan of the disk is left. */
	bool (*quiet)(struct disk *disk);
	/* Frees the disk; called when its last reference goes. */
	void (*destroy)(struct disk *disk);
};

/* What is underneath, whatever path led to it. */
struct disk_identity {
	bool is_block;
	dev_t dev;                /* a block device: its number; a file: that of its filesystem */
	uint64_t inode;           /* a file */
};

struct disk {
	const struct disk_ops *ops;
	char *name;               /* the path, for messages */
	uint64_t size_bytes;      /* rounded down to DISK_ALIGN_BYTES */
	uint32_t sector_bytes;    /* logical sector: 512 or 4096 */
	bool rotational;
	bool is_block;
	bool read_only;
	bool may_block;           /* its filesystem may block even a request not to wait: hand it to a thread */
	struct disk_identity identity;
	int fd;                   /* engines: the descriptor, which also carries the lock; else -1 */
	int backing_fd;           /* of a loop device that is locked: its file, and a lock on it; else -1 */
	atomic_uint refs;         /* the owner and each orphan */
	atomic_uint inflight_orphans;
	unsigned workers_busy;    /* raid/disk_threads.c: protected by its lock */
};

enum disk_mode { DISK_READ_ONLY, DISK_READ_WRITE };
enum disk_engine { DISK_ENGINE_AUTO, DISK_ENGINE_URING, DISK_ENGINE_THREADS };

/* Opens a block device or regular file.  Read-write takes an exclusive flock on it, and a block device
 * exclusively, and of a loop device locks the file too; all are retried for about two seconds, since the I/O of a program that was killed
 * can outlive it.  Read-only takes no lock.  O_DIRECT where it works, else buffered.
 * AUTO: io_uring where it is allowed, else threads.
 * FAIL_USAGE: not a block device or file, or a physical sector above 4096 bytes; FAIL_BUSY: in use;
 * FAIL_SYSTEM: missing, not permitted, or any other refusal. */
int disk_open(const char *path, enum disk_mode mode, enum disk_engine engine, struct disk **ret_disk, struct fail *fail);
/* Takes a lock on one that disk_open opened for reading, and of a loop device on the file too, until it is closed: a shared one keeps
 * off who writes, an exclusive one also who has any.  -EWOULDBLOCK: somebody has it, and nothing is kept. */
int disk_lock(struct disk *disk, bool exclusive);
/* Ends the owner's use.  NULL is fine.  With orphans under way the descriptor and its lock stay until
 * they have come back.  No flush. */
void disk_close(struct disk *disk);
/* Gives the device or file back, and the lock on it, while others may still hold the handle: I/O that is on its way goes on, what begins
 * later fails. Then disk_close. */
void disk_release(struct disk *disk);

/* Runs all ios side by side and returns when each has ended or `timeout_ms` (above 0) have passed.  All
 * of one call must be on disks of one implementation.  There is no order among them. */
void disk_run(struct disk_io *ios, unsigned count, int64_t timeout_ms);

/* Blocking, for structures of their own: the buffer needs no alignment, offset and size do. */
int disk_read(struct disk *disk, uint64_t offset_bytes, void *buf, size_t bytes);
int disk_write(struct disk *disk, uint64_t offset_bytes, const void *buf, size_t bytes);
int disk_flush(struct disk *disk);

/* True when no timed-out I/O of the disk is under way any more. */
bool disk_quiet(struct disk *disk);
/* True when both are the same device or file. */
bool disk_same(const struct disk *a, const struct disk *b);

/* ---- For implementations ---- */

void disk_init(struct disk *disk, const struct disk_ops *ops, int fd);
/* Makes an io an orphan: references on its disk and buffer.  disk_orphan_end gives them back. */
void disk_orphan_begin(struct disk *disk, struct iobuf *hold);
void disk_orphan_end(struct disk *disk, struct iobuf *hold);
/* Closes the descriptor and frees a disk that disk_open made. */
void disk_destroy_file(struct disk *disk);
/* How far a transfer has come. */
struct disk_cursor { unsigned iov; size_t iov_bytes; uint64_t done_bytes; };
/* The next piece to transfer: whole vectors (at most IOV_MAX), or the rest of one that was cut short in `ret_partial`. */
const struct iovec *disk_cursor_next(const struct disk_cursor *cursor, const struct iovec *iov, unsigned iov_count,
	struct iovec *ret_partial, unsigned *ret_count);
void disk_cursor_advance(struct disk_cursor *cursor, const struct iovec *iov, uint64_t bytes);
/* CLOCK_MONOTONIC, for time limits. */
int64_t disk_now_ms(void);

#endif
