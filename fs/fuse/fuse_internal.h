/* What the files of the FUSE adapter share.  Private to fs/fuse*.c. */
#ifndef FS_FUSE_INTERNAL_H
#define FS_FUSE_INTERNAL_H

#define FUSE_USE_VERSION FUSE_MAKE_VERSION(3, 12)
#include <fuse_lowlevel.h>

#include "fs/fs.h"
#include "fs/fuse/fuse.h"

#include <limits.h>
#include <sys/uio.h>

struct fuse_early;
struct fuse_in_header;
struct fuse_pages;
struct fuse_seeker;
struct fuse_uring;
struct fuse_waiting;

struct fuse_server {
	struct fs *fs;
	struct fuse_session *session;
	char *mountpoint;
	dev_t device;                    /* of the mount */
	uint64_t init_unique;            /* of the INIT request, until it is answered; the first thread's alone */
	bool uring_offered;              /* in that request */
	struct fuse_seeker *seeker;
	struct fuse_waiting *waiting;    /* NULL before INIT is answered, and with the transport uring */
	struct fuse_early *early;
	struct fuse_uring *uring;        /* NULL: all requests come from /dev/fuse */
	/* Of the request DESTROY: an unmount(2) waits for its answer, which goes to answer_fd.  Written by the thread that got it, used
	 * when the loop has ended. */
	uint64_t destroy_unique;
	int answer_fd;                   /* before: a pipe without a reader */
	bool unmounting;
	bool unmounted;                  /* the session is, as libfuse does it */
	int plain_reason;                /* 0: a fuseblk mount; else -errno, why it is a plain one */
	int device_reason;               /* 0, or -errno, why requests come from /dev/fuse although uring was asked for */
	uint32_t max_read_bytes;
	bool kernel_times;               /* of a write the kernel keeps the times, with its cache, and sends them */
	bool killpriv;                   /* we told the kernel that suid and sgid bits are ours to drop */
};

/* Nobody but this mount changes the filesystem, so that the kernel may keep what it knows. */
#define CACHE_SECONDS (365.0 * 86400)

static inline struct fuse_server *server_of(fuse_req_t req) { return fuse_req_userdata(req); }
static inline struct fs *fs_of(fuse_req_t req) { return server_of(req)->fs; }

/* Answers with a result of fs/fs.h: 0 or -errno. */
static inline void reply_result(fuse_req_t req, int result) { fuse_reply_err(req, -result); }

struct timespec timespec_of(file_ns ns);
void attr_to_stat(struct fuse_server *server, const struct fs_attr *attr, struct stat *ret_stat);
/* How long the kernel may keep these attributes. */
double attr_seconds(const struct fs_attr *attr);
void attr_to_entry(struct fuse_server *server, const struct fs_attr *attr, struct fuse_entry_param *ret_entry);

/* Is the caller in this group, or privileged? What cannot be found out is no. */
bool caller_in_group(fuse_req_t req, uint32_t gid);
/* Before an operation that drops suid and sgid (FS_KILL_SUIDGID): drops the sgid bit of a file that its group may not execute, which
 * that leaves alone, if the caller is not in the group. */
int kill_foreign_sgid(fuse_req_t req, fuse_ino_t ino);
/* What O_TRUNC does at open. */
int open_truncate(fuse_req_t req, fuse_ino_t ino, struct fs_attr *ret_attr);

/* ---- fs/fuse/fuse_ops.c, fs/fuse/fuse_dir.c, fs/fuse/fuse_data.c: each fills its part of the table ---- */

void fuse_fill_namespace_ops(struct fuse_lowlevel_ops *ops);
void fuse_fill_directory_ops(struct fuse_lowlevel_ops *ops);
void fuse_fill_data_ops(struct fuse_lowlevel_ops *ops);
void fuse_fill_control_ops(struct fuse_lowlevel_ops *ops);

/* ---- fs/fuse/fuse_seek.c ---- */

/* Starts the thread of seeks, after the mount, before the loop. */
int fuse_seek_start(struct fuse_server *server);
/* Ends it, while the loop still runs unless the connection is over; later seeks that would need it fail.  Any thread may call it, also
 * again. */
void fuse_seek_stop(struct fuse_server *server);
/* After the loop. */
void fuse_seek_free(struct fuse_server *server);
/* Each open and release of a file passes here, the former before the answer; `known`: the kernel has attributes of it from before. */
void fuse_seek_opened(struct fuse_server *server, fuse_ino_t ino, const struct fuse_file_info *fi, bool known);
void fuse_seek_released(struct fuse_server *server, fuse_ino_t ino, const struct fuse_file_info *fi);
/* Its blocks as they are to be shown: one that has none may have some soon, while it can be written. */
uint64_t fuse_seek_blocks(struct fuse_server *server, const struct fs_attr *attr);
/* Answers SEEK_DATA or SEEK_HOLE, now or later. */
void fuse_seek(fuse_req_t req, fuse_ino_t ino, uint64_t offset_bytes, int whence);

/* ---- fs/fuse/fuse_pages.c ---- */

/* After the mount, before the loop; NULL if there can be none. */
struct fuse_pages *fuse_pages_start(const struct fuse_server *server);
/* Has the kernel write the changed pages of a file, while the loop runs; one thread's alone, which then calls fuse_pages_end until that is
 * true. */
void fuse_pages_begin(struct fuse_pages *pages, fuse_ino_t ino, uint32_t file_generation);
/* Waits for that, up to FUSE_PAGES_WAIT_MS: false if it takes longer.  *ret_result: 0, or -errno if the kernel could not be asked.
 * *ret_error: 0, or -errno of pages that could not be written, of which the writer's close(2) is told no more. */
bool fuse_pages_end(struct fuse_pages *pages, int *ret_result, int *ret_error);
#define FUSE_PAGES_WAIT_MS 100
void fuse_pages_stop(struct fuse_pages *pages);

/* ---- fs/fuse/fuse_wait.c ---- */

/* Around the loop.  0 or -errno. */
int fuse_wait_start(struct fuse_server *server);
void fuse_wait_stop(struct fuse_server *server);
/* readv(2) of the next request from /dev/fuse, by a thread of the loop that has answered the one before, or left that to another. The
 * first vector is at least a request's header. */
ssize_t fuse_wait_readv(struct fuse_server *server, int fd, const struct iovec *iov, int count);
/* The calling thread answers: whoever gets that may ask again before the thread is back. */
void fuse_wait_answered(void);
/* For so long a thread that serves one client alone asks for its next request before it sleeps: longer than a client of the kernel's cache
 * thinks between two requests. */
#define FUSE_SPIN_NS 200000
int64_t fuse_wait_now_ns(void);
/* Does the request, or its answer, carry so much that it takes longer than to wake another thread for the next one? */
bool fuse_wait_carries_much(const struct fuse_in_header *header);

/* ---- fs/fuse/fuse_early.c ---- */

/* Around the loop.  0 or -ENOMEM. */
int fuse_early_start(struct fuse_server *server);
void fuse_early_stop(struct fuse_server *server);
/* The kernel wrote so many bytes of its cache back: is the file's fsync to begin at once? */
bool fuse_early_written(struct fuse_server *server, fuse_ino_t ino, size_t bytes);
/* Each fsync of a file passes here. */
void fuse_early_synced(struct fuse_server *server, fuse_ino_t ino);

/* ---- fs/fuse/fuse_uring.c ---- */

/* Before the mount: makes what the transport takes (server->uring). -ENOSYS: the kernel has no FUSE over io_uring; -EPERM: it is switched
 * off in the kernel, or io_uring is; another -errno. */
int fuse_uring_prepare(struct fuse_server *server);
/* After an answer to INIT that took the offer. */
void fuse_uring_begin(struct fuse_server *server);
bool fuse_uring_begun(const struct fuse_server *server);
/* Has it nothing to serve at this moment?  Requests that are left to be answered later do not count. */
bool fuse_uring_idle(const struct fuse_server *server);
/* readv(2) of what still comes from /dev/fuse, by the loop's only thread; -1 with ENODEV when the loop is to end. */
ssize_t fuse_uring_readv(struct fuse_server *server, int fd, const struct iovec *iov, int count);
/* Takes an answer if its request came by a ring: its length, or 0 if it did not. */
ssize_t fuse_uring_answer(struct fuse_server *server, const struct iovec *iov, int count);
/* Where the calling thread's answer will lie (FUSE_WRITE_BYTES_MAX), for who can make it there; NULL: its request came from /dev/fuse. */
void *fuse_uring_payload(void);
/* After the loop: ends the threads.  0, or -errno with which the kernel refused to go on. */
int fuse_uring_stop(struct fuse_server *server);
/* After fuse_uring_stop: lets the unmount(2) return that waits, if its request came by a ring. */
bool fuse_uring_answer_unmount(struct fuse_server *server);
void fuse_uring_free(struct fuse_server *server);

/* ---- fs/fuse/fuse_hook.c ---- */

/* The most that one WRITE carries. */
#define FUSE_WRITE_BYTES_MAX (1u << 20)

/* What an fsyncdir carries as handle that was a syncfs(2). */
#define FUSE_HANDLE_SYNCFS UINT64_MAX

/* Puts our read and writev under the mounted session: see the file's head. */
int fuse_hook_install(struct fuse_server *server);
/* A request that came by a ring, as read(2) would have given it, in `buf` with room for one more argument: prepares it for libfuse as the
 * head of the file says, and returns its new length. */
size_t fuse_hook_request(struct fuse_server *server, void *buf, size_t bytes);
/* What a WRITE from a ring carries: copied. */
void fuse_hook_carried(const void *data, size_t bytes);
/* Lets the unmount(2) return that waits (server->unmounting). */
void fuse_hook_answer_unmount(struct fuse_server *server);
/* Did the request that this thread is handling ask to drop suid and sgid? */
bool fuse_hook_kill_suidgid(void);
/* What the WRITE that this thread is handling carries: its first bytes. */
struct iobuf *fuse_hook_payload(void);
/* Is the CREATE that this thread is handling one for a file without a name? */
bool fuse_hook_tmpfile(void);
/* Is the GETATTR that this thread is handling a STATX, to be answered by fuse_statx_reply? */
bool fuse_hook_statx(void);

/* ---- fs/fuse/fuse_statx.c ---- */

void fuse_statx_reply(fuse_req_t req, const struct fs_attr *attr);

/* ---- fs/fuse/fuse_device.c ---- */

struct fuse_device {
	int fd;
	char path[32];                   /* /dev/loop... */
	const char *source;              /* what to give to mount(2) */
	int before;                      /* the working directory before, or -1 */
	char link[64 + NAME_MAX];
};

/* Makes a block device that lives as long as something uses it, and a source to mount it by: `name` if possible (empty: the
 * device's path), which must stay valid until the close.  Until then the working directory may be another.  -errno if there
 * can be no such device. */
int fuse_device_open(struct fuse_device *device, const char *name);
/* The device stays if it has been mounted. */
void fuse_device_close(struct fuse_device *device);

#endif
