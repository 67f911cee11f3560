/* FUSE requests on the content of files and on extended attributes.
 *
 * Reads go through one buffer for each thread, aligned to a block and left out of core dumps, since it holds
 * plaintext; the kernel's own limit for one read bounds it.  What is asked by a ring is read to where the answer lies. */
#include "fs/fuse/fuse_internal.h"

#include "base/cleanup.h"

#include <errno.h>
#include <linux/limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define ACL_ACCESS "system.posix_acl_access"
#define ACL_DEFAULT "system.posix_acl_default"
#define TRUSTED "trusted."

struct read_buffer {
	void *bytes;
	size_t size_bytes;
};

static pthread_key_t read_buffer_key;
static pthread_once_t read_buffer_once = PTHREAD_ONCE_INIT;
static bool read_buffer_ready;

static void read_buffer_free(void *p)
{
	struct read_buffer *b = p;
	if (b->bytes)
		munmap(b->bytes, b->size_bytes);
	free(b);
}

static void read_buffer_init(void)
{
	read_buffer_ready = !pthread_key_create(&read_buffer_key, read_buffer_free);
}

/* This thread's buffer, of at least so many bytes; NULL without memory. */
static void *read_buffer(size_t size_bytes)
{
	pthread_once(&read_buffer_once, read_buffer_init);
	if (!read_buffer_ready)
		return NULL;
	struct read_buffer *b = pthread_getspecific(read_buffer_key);
	if (!b) {
		b = calloc(1, sizeof *b);
		if (!b || pthread_setspecific(read_buffer_key, b)) {
			free(b);
			return NULL;
		}
	}
	if (b->size_bytes < size_bytes) {
		if (b->bytes)
			munmap(b->bytes, b->size_bytes);
		*b = (struct read_buffer){ 0 };
		void *bytes = mmap(NULL, size_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (bytes == MAP_FAILED)
			return NULL;
		madvise(bytes, size_bytes, MADV_DONTDUMP);
		*b = (struct read_buffer){ bytes, size_bytes };
	}
	return b->bytes;
}

static void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct fuse_server *server = server_of(req);
	struct fs *fs = server->fs;
	int r = fs_ref(fs, ino);

	if (!r && fi->flags & O_TRUNC) {
		struct fs_attr attr;
		r = open_truncate(req, ino, &attr);
		if (r < 0)
			fs_unref(fs, ino, 1);
	}
	if (r < 0) {
		reply_result(req, r);
		return;
	}
	fi->keep_cache = 1;
	fuse_seek_opened(server, ino, fi, !(fi->flags & O_TRUNC));      /* which the kernel takes for a change of its blocks */
	if (fuse_reply_open(req, fi) < 0) {
		fuse_seek_released(server, ino, fi);
		fs_unref(fs, ino, 1);
	}
}

static void op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	fuse_seek_released(server_of(req), ino, fi);
	fs_unref(fs_of(req), ino, 1);
	fuse_reply_err(req, 0);
}

static void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi)
{
	void *buf = size <= FUSE_WRITE_BYTES_MAX ? fuse_uring_payload() : NULL;

	if (!buf)
		buf = read_buffer(size);
	if (!buf) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	ssize_t n = (fi->flags & O_NOATIME ? fs_read_unnoted : fs_read)(fs_of(req), ino, buf, size, (uint64_t)offset);
	if (n < 0)
		fuse_reply_err(req, (int)-n);
	else
		fuse_reply_buf(req, buf, (size_t)n);
}

static void nobody_waits(void *ctx, int result) { (void)ctx, (void)result; }

static void op_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t offset,
	struct fuse_file_info *fi)
{
	struct fuse_server *server = server_of(req);
	bool stale = false, kill = !fi->writepage && fuse_hook_kill_suidgid();

	int r = kill ? kill_foreign_sgid(req, ino) : 0;
	if (r < 0) {
		reply_result(req, r);
		return;
	}
	(void)buf;                       /* it has the head alone */
	/* Also one that was handed through: two within a tick of its clock have one time for the kernel, which it sends once; ours would
	 * stay if the clock ticked on the way here. */
	enum fs_write_kind kind = kill ? FS_WRITE_KILL_SUIDGID : fi->writepage || server->kernel_times ? FS_WRITE_KEEP_TIMES : FS_WRITE;
	ssize_t n = fs_write_buffer(server->fs, ino, fuse_hook_payload(), size, (uint64_t)offset, kind, &stale);
	/* The kernel sends an fsync after a write of its cache, but none after one that it handed through. */
	if (n >= 0 && !fi->writepage && (fi->flags & O_DSYNC)) {
		r = fs_fsync(server->fs, ino, !(fi->flags & O_SYNC & ~O_DSYNC));
		n = r < 0 ? r : n;
	}
	/* Before the writer goes on: a mode that the kernel remembers would still be honoured by exec.  And of what it writes back it does
	 * not expect more blocks while the file is open: for tar -S one that seems to have none is a hole. */
	if (stale)
		fuse_lowlevel_notify_inval_inode(server->session, ino, -1, 0);
	if (n < 0)
		fuse_reply_err(req, (int)-n);
	else
		fuse_reply_write(req, (size_t)n);
	/* What fails now, the FSYNC meets again. */
	if (n > 0 && fi->writepage && fuse_early_written(server, ino, size))
		fs_fsync_then(server->fs, ino, nobody_waits, NULL);
}

static void reply_synced(void *req, int result) { reply_result(req, result); }

static void op_fsync(fuse_req_t req, fuse_ino_t ino, int data_only, struct fuse_file_info *fi)
{
	(void)fi;
	struct fuse_server *server = server_of(req);
	fuse_early_synced(server, ino);
	if (fuse_uring_begun(server))
		reply_result(req, fs_fsync(server->fs, ino, data_only));
	else
		fs_fsync_then(server->fs, ino, reply_synced, req);
}

static void op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t offset, off_t length, struct fuse_file_info *fi)
{
	(void)fi;
	reply_result(req, fs_fallocate(fs_of(req), ino, mode, (uint64_t)offset, (uint64_t)length));
}

static void op_lseek(fuse_req_t req, fuse_ino_t ino, off_t offset, int whence, struct fuse_file_info *fi)
{
	(void)fi;
	fuse_seek(req, ino, (uint64_t)offset, whence);
}

static bool is_acl(const char *name)
{
	return !strcmp(name, ACL_ACCESS) || !strcmp(name, ACL_DEFAULT);
}

/* Linux's namespaces of names; the kernel passes on any name. */
static int xattr_namespace(const char *name)
{
	static const char *const prefixes[] = { "user.", TRUSTED, "security." };

	if (is_acl(name))
		return 0;
	for (size_t i = 0; i < ARRAY_COUNT(prefixes); i++)
		if (!strncmp(name, prefixes[i], strlen(prefixes[i])))
			return name[strlen(prefixes[i])] ? 0 : -EINVAL;
	return -EOPNOTSUPP;
}

static void op_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value, size_t size, int flags)
{
	int r = xattr_namespace(name);

	/* The kernel would tell only those that take FUSE_SETXATTR_EXT. */
	if (!r && !strcmp(name, ACL_ACCESS)) {
		struct fs_attr attr;
		r = fs_getattr(fs_of(req), ino, &attr);
		if (!r && attr.mode & S_ISGID && !caller_in_group(req, attr.gid))
			flags |= FS_XATTR_KILL_SGID;
	}
	reply_result(req, r < 0 ? r : fs_setxattr(fs_of(req), ino, name, value, size, flags));
}

typedef ssize_t get_bytes(struct fs *fs, fuse_ino_t ino, const char *name, char *buf, size_t size);

static ssize_t get_value(struct fs *fs, fuse_ino_t ino, const char *name, char *buf, size_t size)
{
	return fs_getxattr(fs, ino, name, buf, size);
}

static ssize_t get_names(struct fs *fs, fuse_ino_t ino, const char *name, char *buf, size_t size)
{
	(void)name;
	return fs_listxattr(fs, ino, buf, size);
}

/* getxattr and listxattr: size 0 asks how much there is. */
static void reply_xattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size, get_bytes *get)
{
	autofree char *buf = size ? malloc(size) : NULL;
	int r = name ? xattr_namespace(name) : 0;

	if (r < 0) {
		reply_result(req, r);
		return;
	}
	if (size && !buf) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	ssize_t n = get(fs_of(req), ino, name, buf, size);
	if (n < 0)
		fuse_reply_err(req, (int)-n);
	else if (!size)
		fuse_reply_xattr(req, (size_t)n);
	else
		fuse_reply_buf(req, buf, (size_t)n);
}

static void op_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
	reply_xattr(req, ino, name, size, get_value);
}

/* Takes names of trusted attributes out of a list; returns how long it is then. */
static size_t hide_trusted(char *names, size_t bytes)
{
	size_t kept = 0, next;

	for (size_t i = 0; i < bytes; i = next) {
		next = i + strlen(names + i) + 1;
		if (!strncmp(names + i, TRUSTED, strlen(TRUSTED)))
			continue;
		memmove(names + kept, names + i, next - i);
		kept += next - i;
	}
	return kept;
}

/* Who is not privileged does not see trusted attributes; the kernel refuses their values, and passes the list on as it is. */
static void list_untrusted(fuse_req_t req, fuse_ino_t ino, size_t size)
{
	autofree char *names = malloc(XATTR_LIST_MAX);
	ssize_t n = names ? fs_listxattr(fs_of(req), ino, names, XATTR_LIST_MAX) : -ENOMEM;

	if (n < 0) {
		fuse_reply_err(req, n == -ERANGE ? E2BIG : (int)-n);
		return;
	}
	size_t bytes = hide_trusted(names, (size_t)n);
	if (!size)
		fuse_reply_xattr(req, bytes);
	else if (bytes > size)
		fuse_reply_err(req, ERANGE);
	else
		fuse_reply_buf(req, names, bytes);
}

static void op_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
	if (fuse_req_ctx(req)->uid == 0)
		reply_xattr(req, ino, NULL, size, get_names);
	else
		list_untrusted(req, ino, size);
}

static void op_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
	int r = xattr_namespace(name);

	if (!r)
		r = fs_removexattr(fs_of(req), ino, name);
	/* To have no ACL is what was asked for, by setting an empty one too. */
	reply_result(req, r == -ENODATA && is_acl(name) ? 0 : r);
}

void fuse_fill_data_ops(struct fuse_lowlevel_ops *ops)
{
	ops->open = op_open;
	ops->release = op_release;
	ops->read = op_read;
	ops->write = op_write;
	ops->fsync = op_fsync;
	ops->fallocate = op_fallocate;
	ops->lseek = op_lseek;
	ops->setxattr = op_setxattr;
	ops->getxattr = op_getxattr;
	ops->listxattr = op_listxattr;
	ops->removexattr = op_removexattr;
}
