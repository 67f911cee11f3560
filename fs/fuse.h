/* The filesystem as a FUSE mount: translates the kernel's requests into the calls of fs/fs.h, and
 * nothing else.  Only fs/fuse*.c include libfuse.
 *
 * A server is one mount of one open filesystem.  The caller opens the filesystem, makes the server,
 * runs its loop, frees it, and then closes the filesystem. */
#ifndef FS_FUSE_H
#define FS_FUSE_H

#include "fs/fs.h"

struct fuse_server;

struct fuse_server_options {
	const char *source;              /* what /proc/mounts shows as source */
	const char *mountpoint;          /* absolute */
	const char *mount_options;       /* for libfuse and mount(2), separated by commas; may be empty */
	bool debug;                      /* libfuse prints every request to stderr */
};

/* Mounts.  The kernel may send requests from now on; they wait for the loop. */
int fuse_server_mount(struct fs *fs, const struct fuse_server_options *options, struct fuse_server **ret_server, struct fail *fail);
/* Serves with many threads until the filesystem is unmounted or fuse_server_stop is called. */
int fuse_server_loop(struct fuse_server *server);
/* Ends the loop, whatever is still open.  For a loop that waits, the caller must also interrupt the thread that runs
 * it with a signal whose handler does nothing. */
void fuse_server_stop(struct fuse_server *server);
/* Unmounts if that has not happened, and frees. */
void fuse_server_free(struct fuse_server *server);

#endif
