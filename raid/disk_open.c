/* Opening a device or file as a disk: what it is, who else has it, and what to tell the user.
 *
 * Two programs never write one member (design §12).  Whoever writes holds an exclusive flock on the
 * descriptor that it writes through, so that the lock lives exactly as long as I/O can; a block
 * device is also opened O_EXCL, which the kernel's own users (mounts, md, dm) hold too.  None of these
 * is seen by who opens the file that a loop device stands for, so that is locked as well. */
#include "raid/disk.h"

#include "base/cleanup.h"
#include "raid/disk_threads.h"
#include "raid/disk_uring.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <linux/loop.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <time.h>

#define BUSY_RETRY_MS 2000
#define BUSY_PAUSE_MS 50

static void pause_ms(unsigned ms)
{
	nanosleep(&(struct timespec){ ms / 1000, (long)(ms % 1000) * 1000000 }, NULL);
}

static int fail_open(const char *path, enum disk_mode mode, int err, struct fail *fail)
{
	switch (err) {
	case ENOENT:
	case ENOTDIR:
		return fail_set(fail, err, FAIL_SYSTEM, "%s: no such device or file; check the path, and that the disk is connected", path);
	case ENXIO:
	case ENODEV:
		return fail_set(fail, err, FAIL_SYSTEM, "%s: there is no device behind this path; check that the disk is connected", path);
	case EACCES:
	case EPERM:
		return fail_set(fail, err, FAIL_SYSTEM, "%s: permission denied; run this as root, or as a user who may %s it", path,
			mode == DISK_READ_WRITE ? "read and write" : "read");
	case EROFS:
		return fail_set(fail, err, FAIL_SYSTEM, "%s: it can only be read; make it writable, or mount the array read-only", path);
	case EISDIR:
		return fail_set(fail, err, FAIL_USAGE, "%s: is a directory; a member is a partition, a disk or an image file", path);
	default:
		return fail_set(fail, err, FAIL_SYSTEM, "%s: cannot open: %s", path, strerror(err));
	}
}

static int check_type(const char *path, const struct stat *st, struct fail *fail)
{
	if (S_ISDIR(st->st_mode))
		return fail_open(path, DISK_READ_ONLY, EISDIR, fail);
	if (!S_ISBLK(st->st_mode) && !S_ISREG(st->st_mode))
		return fail_set(fail, EINVAL, FAIL_USAGE,
			"%s: is neither a block device nor a file; a member is a partition, a disk or an image file", path);
	return 0;
}

/* A descriptor with O_DIRECT where the file takes it.  -errno. */
static int open_direct(const char *path, int flags)
{
	int fd = open(path, flags | O_DIRECT);
	if (fd < 0 && errno == EINVAL)
		fd = open(path, flags);
	return fd < 0 ? -errno : fd;
}

static int fail_busy_kernel(const char *path, struct fail *fail)
{
	return fail_set(fail, EBUSY, FAIL_BUSY, "%s: in use (mounted, or part of another device); release it first", path);
}

static int fail_busy_lock(const char *path, struct fail *fail)
{
	return fail_set(fail, EBUSY, FAIL_BUSY,
		"%s: in use by another program that holds its lock (is the array mounted, or a tool at work on it?)", path);
}

/* Tells who keeps a block device from being opened exclusively: one of us, or the kernel. */
static int fail_busy_block(const char *path, struct fail *fail)
{
	autoclose int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK)
		return fail_busy_lock(path, fail);
	return fail_busy_kernel(path, fail);
}

/* ---- The file of a loop device ---- */

/* Where sysfs says that it is; of a partition, which has the loop device's file too.  False: it is no loop device. */
static bool backing_path(dev_t dev, bool *ret_partition, char ret_path[PATH_MAX])
{
	static const char *const places[] = { "loop", "../loop" };
	for (unsigned i = 0; i < ARRAY_COUNT(places); i++) {
		char place[96];
		snprintf(place, sizeof place, "/sys/dev/block/%u:%u/%s/backing_file", major(dev), minor(dev), places[i]);
		FILE *f = fopen(place, "re");
		if (!f)
			continue;
		bool found = fgets(ret_path, PATH_MAX, f);
		fclose(f);
		*ret_partition = i > 0;
		if (found)
			ret_path[strcspn(ret_path, "\n")] = '\0';
		return found;
	}
	return false;
}

/* *ret_fd: the file of the loop device, locked, or -1: it is none, or its file is out of reach from here.  Of devices over parts of a file
 * there may be several.  -EWOULDBLOCK: somebody else uses the file. */
static int lock_backing(int device, bool exclusive, int *ret_fd)
{
	char path[PATH_MAX];
	struct loop_info64 loop;
	struct stat st;
	bool partition;

	*ret_fd = -1;
	if (fstat(device, &st) < 0 || !backing_path(st.st_rdev, &partition, path) || ioctl(device, LOOP_GET_STATUS64, &loop) < 0)
		return 0;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return 0;
	bool same = fstat(fd, &st) == 0 && st.st_dev == loop.lo_device && st.st_ino == loop.lo_inode;
	bool whole = !partition && !loop.lo_offset && !loop.lo_sizelimit;
	int r = same && flock(fd, (whole && exclusive ? LOCK_EX : LOCK_SH) | LOCK_NB) < 0 && errno == EWOULDBLOCK ? -EWOULDBLOCK : 0;
	if (same && r == 0)
		*ret_fd = fd;
	else
		close(fd);
	return r;
}

int disk_lock(struct disk *disk, bool exclusive)
{
	if (flock(disk->fd, (exclusive ? LOCK_EX : LOCK_SH) | LOCK_NB) < 0)
		return -errno;
	int r = disk->is_block ? lock_backing(disk->fd, exclusive, &disk->backing_fd) : 0;
	if (r < 0)
		flock(disk->fd, LOCK_UN);
	return r;
}

/* ---- Opening for writing ---- */

static int open_locked(const char *path, bool is_block, int *ret_fd, int *ret_backing_fd, struct fail *fail)
{
	int64_t deadline_ms = disk_now_ms() + BUSY_RETRY_MS;
	int flags = O_RDWR | O_CLOEXEC | (is_block ? O_EXCL : 0);
	for (;;) {
		int fd = open_direct(path, flags);
		if (fd < 0 && fd != -EBUSY)
			return fail_open(path, DISK_READ_WRITE, -fd, fail);
		int r = fd < 0 ? -EBUSY : flock(fd, LOCK_EX | LOCK_NB) < 0 ? -errno : is_block ? lock_backing(fd, true, ret_backing_fd) : 0;
		if (r == 0) {
			*ret_fd = fd;
			return 0;
		}
		int err = -r;
		if (fd >= 0)
			close(fd);
		if (fd >= 0 && err != EWOULDBLOCK && err != EINTR)
			return fail_set(fail, err, FAIL_SYSTEM, "%s: cannot lock: %s", path, strerror(err));
		if (disk_now_ms() >= deadline_ms)
			return fd >= 0 ? fail_busy_lock(path, fail) : fail_busy_block(path, fail);
		disk_uring_reap();    /* it may be I/O of our own that holds it */
		pause_ms(BUSY_PAUSE_MS);
	}
}

/* Some filesystems take O_DIRECT at open and refuse it at the first transfer. */
static int settle_direct(int fd)
{
	int flags = fcntl(fd, F_GETFL);
	if (flags < 0 || !(flags & O_DIRECT))
		return 0;
	struct iobuf *buf = iobuf_new(DISK_ALIGN_BYTES);
	if (!buf)
		return -ENOMEM;
	ssize_t n = pread(fd, buf->data, DISK_ALIGN_BYTES, 0);
	int r = 0;
	if (n < 0 && errno == EINVAL && fcntl(fd, F_SETFL, flags & ~O_DIRECT) < 0)
		r = -errno;
	iobuf_unref(buf);
	return r;
}

/* io_uring asks a filesystem not to wait before it hands a request to a thread.  FUSE and network
 * filesystems wait nevertheless, in the middle of the submission, where no time limit holds. */
static bool waits_anyway(int fd)
{
	static const uint32_t heeding[] = { EXT4_SUPER_MAGIC, XFS_SUPER_MAGIC, BTRFS_SUPER_MAGIC, F2FS_SUPER_MAGIC, TMPFS_MAGIC };
	struct statfs fs;
	if (fstatfs(fd, &fs) < 0)
		return true;
	for (unsigned i = 0; i < ARRAY_COUNT(heeding); i++)
		if ((uint32_t)fs.f_type == heeding[i])
			return false;
	return true;
}

static bool rotational(dev_t dev)
{
	static const char *const places[] = { "queue", "../queue" };    /* a disk's own; a partition's disk's */
	for (unsigned i = 0; i < ARRAY_COUNT(places); i++) {
		char path[128];
		snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/%s/rotational", major(dev), minor(dev), places[i]);
		FILE *f = fopen(path, "re");
		if (!f)
			continue;
		int c = fgetc(f);
		fclose(f);
		return c == '1';
	}
	return false;
}

static int fill_block(struct disk *disk, const char *path, struct fail *fail)
{
	uint64_t size_bytes;
	int logical_bytes;
	unsigned physical_bytes;
	if (ioctl(disk->fd, BLKGETSIZE64, &size_bytes) < 0 || ioctl(disk->fd, BLKSSZGET, &logical_bytes) < 0
			|| ioctl(disk->fd, BLKPBSZGET, &physical_bytes) < 0)
		return fail_set(fail, errno, FAIL_SYSTEM, "%s: cannot read the device's size: %s", path, strerror(errno));
	if (physical_bytes > DISK_ALIGN_BYTES || logical_bytes > (int)DISK_ALIGN_BYTES)
		return fail_set(fail, EINVAL, FAIL_USAGE, "%s: its sectors have %u bytes; sectors of up to %u bytes can be used",
			path, physical_bytes > DISK_ALIGN_BYTES ? physical_bytes : (unsigned)logical_bytes, DISK_ALIGN_BYTES);
	disk->size_bytes = size_bytes;
	disk->sector_bytes = (uint32_t)logical_bytes;
	return 0;
}

static int fill_disk(struct disk *disk, const char *path, enum disk_mode mode, struct fail *fail)
{
	struct stat st;
	if (fstat(disk->fd, &st) < 0)
		return fail_open(path, mode, errno, fail);
	int r = check_type(path, &st, fail);
	if (r < 0)
		return r;
	disk->is_block = S_ISBLK(st.st_mode);
	disk->read_only = mode == DISK_READ_ONLY;
	disk->identity = (struct disk_identity){ disk->is_block, disk->is_block ? st.st_rdev : st.st_dev,
		disk->is_block ? 0 : st.st_ino };
	disk->rotational = rotational(disk->identity.dev);
	if (disk->is_block) {
		r = fill_block(disk, path, fail);
	} else {
		disk->size_bytes = (uint64_t)st.st_size;
		disk->sector_bytes = 512;
		disk->may_block = waits_anyway(disk->fd);
		r = settle_direct(disk->fd);
		if (r < 0)
			fail_set(fail, -r, FAIL_SYSTEM, "%s: cannot prepare for I/O: %s", path, strerror(-r));
	}
	disk->size_bytes -= disk->size_bytes % DISK_ALIGN_BYTES;
	return r;
}

static const struct disk_ops *choose_engine(enum disk_engine engine)
{
	if (engine == DISK_ENGINE_THREADS)
		return &disk_threads_ops;
	if (disk_uring_available())
		return &disk_uring_ops;
	return engine == DISK_ENGINE_AUTO ? &disk_threads_ops : NULL;
}

int disk_open(const char *path, enum disk_mode mode, enum disk_engine engine, struct disk **ret_disk, struct fail *fail)
{
	const struct disk_ops *ops = choose_engine(engine);
	if (!ops)
		return fail_set(fail, ENOSYS, FAIL_SYSTEM, "io_uring is not available here (kernel too old, or forbidden by kernel.io_uring_disabled or a sandbox)");
	struct stat st;
	if (stat(path, &st) < 0)
		return fail_open(path, mode, errno, fail);
	int r = check_type(path, &st, fail);
	if (r < 0)
		return r;

	int fd = -1, backing_fd = -1;
	if (mode == DISK_READ_WRITE) {
		r = open_locked(path, S_ISBLK(st.st_mode), &fd, &backing_fd, fail);
		if (r < 0)
			return r;
	} else {
		fd = open_direct(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			return fail_open(path, mode, -fd, fail);
	}
	struct disk *disk = malloc(sizeof(*disk));
	char *name = strdup(path);
	if (!disk || !name) {
		free(disk);
		free(name);
		if (backing_fd >= 0)
			close(backing_fd);
		close(fd);
		return fail_set(fail, ENOMEM, FAIL_SYSTEM, "%s: out of memory", path);
	}
	disk_init(disk, ops, fd);
	disk->backing_fd = backing_fd;
	disk->name = name;
	r = fill_disk(disk, path, mode, fail);
	if (r < 0) {
		disk_destroy_file(disk);
		return r;
	}
	*ret_disk = disk;
	return 0;
}
