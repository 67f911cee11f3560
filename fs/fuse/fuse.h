/* The filesystem as a FUSE mount: translates the kernel's requests into the calls of fs/fs.h, and
 * nothing else.  Only fs/fuse*.c include libfuse.
 *
 * A server is one mount of one open filesystem.  The caller opens the filesystem, makes the server, runs its loop,
 * closes the filesystem, and then calls fuse_server_end and fuse_server_free: so umount(2), where it waits,
 * returns when the filesystem is closed.
 *
 * It waits, and sync(2) and syncfs(2) commit (from Linux 6.18), if the mount has type fuseblk, which takes root and a loop
 * device (fs/fuse/fuse_device.c).  Else it is a plain mount, and the kernel tells it of neither. */
#ifndef FS_FUSE_H
#define FS_FUSE_H

#include "fs/fs.h"

#include <sys/types.h>

struct fuse_server;

/* How the kernel's requests come. */
enum fuse_transport {
	FUSE_TRANSPORT_DEVICE,           /* read from /dev/fuse */
	FUSE_TRANSPORT_URING,            /* by io_uring (Linux 6.14), if the kernel offers it; else as before */
};

struct fuse_server_options {
	const char *source;              /* what /proc/mounts shows as source */
	const char *short_source;        /* the same, without a slash: shown for a fuseblk mount if there is one in `source` */
	const char *mountpoint;          /* absolute */
	const char *mount_options;       /* for libfuse and mount(2), separated by commas; may be empty */
	enum fuse_transport transport;
	uint32_t max_read_bytes;         /* the max_read= of these, which libfuse wants to be told twice; 0: none */
	bool debug;                      /* libfuse prints every request to stderr */
};

/* Mounts.  The kernel may send requests from now on; they wait for the loop. */
int fuse_server_mount(struct fs *fs, const struct fuse_server_options *options, struct fuse_server **ret_server, struct fail *fail);
/* The mount's device, 0 if that could not be found out. */
dev_t fuse_server_device(const struct fuse_server *server);
/* 0 if the mount is a fuseblk one; else the reason, as -errno (-EPERM for an ordinary user). */
int fuse_server_plain_reason(const struct fuse_server *server);
/* 0, or the reason as -errno why requests come from /dev/fuse although FUSE_TRANSPORT_URING was asked for: -ENOSYS, the kernel cannot do
 * it; -EPERM, the kernel's owner has it switched off (the module's parameter enable_uring; kernel.io_uring_disabled). */
int fuse_server_device_reason(const struct fuse_server *server);
/* Serves with many threads until the filesystem is unmounted or fuse_server_stop is called (then it is unmounted here).  When it
 * returns, the filesystem is no longer used. */
int fuse_server_loop(struct fuse_server *server);
/* Ends the loop, whatever is still open.  For a loop that waits, the caller must also interrupt the thread that runs
 * it with a signal whose handler does nothing. */
void fuse_server_stop(struct fuse_server *server);
/* After the loop: whoever waits in umount(2) goes on. */
void fuse_server_end(struct fuse_server *server);
/* Unmounts if that has not happened, and frees. */
void fuse_server_free(struct fuse_server *server);

/* The device of the filesystem at a path (as openat(2) takes it, or the descriptor's if it is empty), 0 if that cannot be found out.  No
 * server is asked for it; async-signal-safe. */
dev_t fuse_device_at(int dir_fd, const char *path);

#endif
