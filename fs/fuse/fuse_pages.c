/* Has the kernel write the changed pages of a file to us, and waits for that, in a way that dies with us.
 *
 * The obvious way is to notify the kernel that its cache of the file is out of date.  But that wait is for our own answers and cannot be
 * broken off, and whoever waits there holds /dev/fuse: if we are killed meanwhile, the kernel never finds the connection closed, so it
 * neither ends the wait nor the mount, and every sync(2) of the machine waits too.
 *
 * So there is a thread with a table of descriptors of its own, which has nothing of ours in it.  It opens the file as a client would, by
 * handle, since we know inodes and not paths, and asks with sync_file_range(2), the one way that does not take the inode's lock, which a
 * seek holds.  It is killed with us, and when the other threads are gone nobody holds /dev/fuse.  While it has the file open the mount is
 * busy, but somebody waits then for the answer to a seek, with the file open as well (perhaps through another place that the filesystem is
 * bound to).  And as any close(2) of the file it takes away the
 * error that the writer's would tell, if pages could not be written: so that error becomes the answer to the seek.
 *
 * Opening by handle takes CAP_DAC_READ_SEARCH; and before Linux 6.16 pages counted as written when they were queued for us.  Without
 * these, or when the mount has been moved, fuse_pages_end says that it could not, and the caller is left with the notification. */
#include "fs/fuse/fuse_internal.h"

#include "base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>

#define WAITS_SINCE_MAJOR 6u
#define WAITS_SINCE_MINOR 16u

/* The handles that the kernel makes of FUSE inodes: FILEID_INO64_GEN in include/linux/exportfs.h, fuse_encode_fh() in fs/fuse/inode.c. */
#define HANDLE_TYPE 0x81
#define HANDLE_WORDS 3u

struct fuse_pages {
	const struct fuse_server *server;
	pthread_t thread;
	pthread_mutex_t lock;            /* protects what follows */
	pthread_cond_t changed;
	bool asked, stop;
	fuse_ino_t ino;
	uint32_t file_generation;
	int result, error;               /* once it is no longer asked */
};

static bool kernel_waits_for_pages(void)
{
	struct utsname name;
	unsigned major, minor;

	if (uname(&name) < 0 || sscanf(name.release, "%u.%u", &major, &minor) != 2)
		return false;
	return major > WAITS_SINCE_MAJOR || (major == WAITS_SINCE_MAJOR && minor >= WAITS_SINCE_MINOR);
}

static int open_file(const struct fuse_pages *pages, fuse_ino_t ino, uint32_t file_generation)
{
	union {
		struct file_handle handle;
		char room[sizeof(struct file_handle) + HANDLE_WORDS * sizeof(uint32_t)];
	} of = { .handle = { .handle_bytes = HANDLE_WORDS * sizeof(uint32_t), .handle_type = HANDLE_TYPE } };
	uint32_t words[HANDLE_WORDS] = { (uint32_t)(ino >> 32), (uint32_t)ino, file_generation };

	memcpy(of.handle.f_handle, words, sizeof words);
	autoclose int mount_fd = open(pages->server->mountpoint, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (mount_fd < 0)
		return -errno;
	if (fuse_device_at(mount_fd, "") != pages->server->device)
		return -EXDEV;
	/* O_NONBLOCK: it must not wait until a lease (fcntl(2)) is given up, which the one who seeks may have. */
	int fd = open_by_handle_at(mount_fd, &of.handle, O_RDONLY | O_NOATIME | O_NONBLOCK | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static int write_pages(const struct fuse_pages *pages, fuse_ino_t ino, uint32_t file_generation, int *ret_error)
{
	autoclose int fd = open_file(pages, ino, file_generation);

	if (fd < 0)
		return fd == -ESTALE ? 0 : fd;   /* the kernel does not have the inode, and so no pages */
	if (sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER) < 0)
		*ret_error = -errno;
	return 0;
}

static void *pages_thread(void *ctx)
{
	struct fuse_pages *pages = ctx;
	bool alone = close_range(0, ~0u, CLOSE_RANGE_UNSHARE) == 0;

	pthread_mutex_lock(&pages->lock);
	while (!pages->stop) {
		if (!pages->asked) {
			pthread_cond_wait(&pages->changed, &pages->lock);
			continue;
		}
		fuse_ino_t ino = pages->ino;
		uint32_t file_generation = pages->file_generation;
		pthread_mutex_unlock(&pages->lock);
		int error = 0, r = alone ? write_pages(pages, ino, file_generation, &error) : -EOPNOTSUPP;
		pthread_mutex_lock(&pages->lock);
		pages->result = r;
		pages->error = error;
		pages->asked = false;
		pthread_cond_broadcast(&pages->changed);
	}
	pthread_mutex_unlock(&pages->lock);
	return NULL;
}

void fuse_pages_begin(struct fuse_pages *pages, fuse_ino_t ino, uint32_t file_generation)
{
	SCOPED_LOCK(&pages->lock);
	pages->ino = ino;
	pages->file_generation = file_generation;
	pages->asked = true;
	pthread_cond_broadcast(&pages->changed);
}

bool fuse_pages_end(struct fuse_pages *pages, int *ret_result, int *ret_error)
{
	struct timespec until;
	SCOPED_LOCK(&pages->lock);

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += FUSE_PAGES_WAIT_MS * 1000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_nsec -= 1000000000;
		until.tv_sec++;
	}
	while (pages->asked)
		if (pthread_cond_clockwait(&pages->changed, &pages->lock, CLOCK_MONOTONIC, &until))
			return false;
	*ret_result = pages->result;
	*ret_error = pages->error;
	return true;
}

struct fuse_pages *fuse_pages_start(const struct fuse_server *server)
{
	if (geteuid() != 0 || !server->device || !kernel_waits_for_pages())
		return NULL;
	struct fuse_pages *pages = calloc(1, sizeof *pages);
	sigset_t all, before;

	if (!pages)
		return NULL;
	pages->server = server;
	pthread_mutex_init(&pages->lock, NULL);
	pthread_cond_init(&pages->changed, NULL);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int err = pthread_create(&pages->thread, NULL, pages_thread, pages);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (!err)
		return pages;
	pthread_cond_destroy(&pages->changed);
	pthread_mutex_destroy(&pages->lock);
	free(pages);
	return NULL;
}

void fuse_pages_stop(struct fuse_pages *pages)
{
	if (!pages)
		return;
	pthread_mutex_lock(&pages->lock);
	pages->stop = true;
	pthread_cond_broadcast(&pages->changed);
	pthread_mutex_unlock(&pages->lock);
	pthread_join(pages->thread, NULL);
	pthread_cond_destroy(&pages->changed);
	pthread_mutex_destroy(&pages->lock);
	free(pages);
}
