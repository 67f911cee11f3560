/* FUSE requests on names and attributes.
 *
 * References: each entry handed to the kernel holds one (fs_ref before the reply, given back when the reply does not
 * arrive); forget returns them. */
#include "fs/fuse/fuse_internal.h"

#include "base/cleanup.h"

#include <errno.h>
#include <limits.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/stat.h>

struct timespec timespec_of(file_ns ns)
{
	file_ns seconds = ns / 1000000000, rest = ns % 1000000000;

	if (rest < 0) {
		rest += 1000000000;
		seconds--;
	}
	return (struct timespec){ .tv_sec = (time_t)seconds, .tv_nsec = (long)rest };
}

static file_ns ns_of(const struct timespec *t) { return (file_ns)t->tv_sec * 1000000000 + t->tv_nsec; }

void attr_to_stat(struct fuse_server *server, const struct fs_attr *attr, struct stat *ret_stat)
{
	*ret_stat = (struct stat){
		.st_ino = attr->ino,
		.st_mode = attr->mode,
		.st_nlink = attr->links,
		.st_uid = attr->uid,
		.st_gid = attr->gid,
		.st_rdev = attr->rdev,
		.st_size = (off_t)attr->size_bytes,
		.st_blksize = 4096,
		.st_blocks = (blkcnt_t)fuse_seek_blocks(server, attr),
		.st_atim = timespec_of(attr->atime_ns),
		.st_mtim = timespec_of(attr->mtime_ns),
		.st_ctim = timespec_of(attr->ctime_ns),
	};
}

/* A mode with suid or sgid can change by a write, and exec(2) would go by the cached one. */
double attr_seconds(const struct fs_attr *attr)
{
	bool can_be_dropped = S_ISREG(attr->mode) &&
		((attr->mode & S_ISUID) || (attr->mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP));
	return can_be_dropped ? 0 : CACHE_SECONDS;
}

void attr_to_entry(struct fuse_server *server, const struct fs_attr *attr, struct fuse_entry_param *ret_entry)
{
	*ret_entry = (struct fuse_entry_param){
		.ino = attr->ino,
		.generation = attr->generation,
		.attr_timeout = attr_seconds(attr),
		.entry_timeout = CACHE_SECONDS,
	};
	attr_to_stat(server, attr, &ret_entry->attr);
}

static struct fs_cred cred_of(fuse_req_t req)
{
	const struct fuse_ctx *ctx = fuse_req_ctx(req);
	return (struct fs_cred){ .uid = ctx->uid, .gid = ctx->gid, .umask = (uint32_t)ctx->umask };
}

bool caller_in_group(fuse_req_t req, uint32_t gid)
{
	const struct fuse_ctx *ctx = fuse_req_ctx(req);
	gid_t groups[256];

	if (ctx->uid == 0 || ctx->gid == gid)
		return true;
	int count = fuse_req_getgroups(req, (int)ARRAY_COUNT(groups), groups);
	for (int i = 0; i < count && i < (int)ARRAY_COUNT(groups); i++)
		if (groups[i] == gid)
			return true;
	return false;
}

int kill_foreign_sgid(fuse_req_t req, fuse_ino_t ino)
{
	struct fs_attr attr;
	int r = fs_getattr(fs_of(req), ino, &attr);

	if (r < 0 || S_ISDIR(attr.mode) || (attr.mode & (S_ISGID | S_IXGRP)) != S_ISGID || caller_in_group(req, attr.gid))
		return r;
	attr.mode &= ~(uint32_t)S_ISGID;
	return fs_setattr(fs_of(req), ino, &attr, FS_SET_MODE, NULL);
}

/* Answers a request that hands out an entry, whose operation gave `result` and `attr`. */
static void reply_entry(fuse_req_t req, int result, const struct fs_attr *attr)
{
	struct fuse_server *server = server_of(req);
	struct fs *fs = server->fs;
	struct fuse_entry_param entry;

	if (!result)
		result = fs_ref(fs, attr->ino);
	if (result < 0) {
		reply_result(req, result);
		return;
	}
	attr_to_entry(server, attr, &entry);
	if (fuse_reply_entry(req, &entry) < 0)
		fs_unref(fs, attr->ino, 1);
}

static void op_lookup(fuse_req_t req, fuse_ino_t dir, const char *name)
{
	struct fs_attr attr;
	int r = fs_lookup(fs_of(req), dir, name, &attr);

	if (r == -ENOENT)
		fuse_reply_entry(req, &(struct fuse_entry_param){ .entry_timeout = CACHE_SECONDS });
	else
		reply_entry(req, r, &attr);
}

static void op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t count)
{
	fs_unref(fs_of(req), ino, count);
	fuse_reply_none(req);
}

static void op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
	for (size_t i = 0; i < count; i++)
		fs_unref(fs_of(req), forgets[i].ino, forgets[i].nlookup);
	fuse_reply_none(req);
}

static void reply_attr(fuse_req_t req, int result, const struct fs_attr *attr)
{
	struct stat st;

	if (result < 0) {
		reply_result(req, result);
		return;
	}
	attr_to_stat(server_of(req), attr, &st);
	fuse_reply_attr(req, &st, attr_seconds(attr));
}

static void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct fs_attr attr;

	(void)fi;
	int r = fs_getattr(fs_of(req), ino, &attr);
	if (r == 0 && fuse_hook_statx())
		fuse_statx_reply(req, &attr);
	else
		reply_attr(req, r, &attr);
}

static const struct { int fuse; unsigned fs; } set_bits[] = {
	{ FUSE_SET_ATTR_MODE, FS_SET_MODE },
	{ FUSE_SET_ATTR_UID, FS_SET_UID },
	{ FUSE_SET_ATTR_GID, FS_SET_GID },
	{ FUSE_SET_ATTR_SIZE, FS_SET_SIZE },
	{ FUSE_SET_ATTR_ATIME, FS_SET_ATIME },
	{ FUSE_SET_ATTR_MTIME, FS_SET_MTIME },
	{ FUSE_SET_ATTR_CTIME, FS_SET_CTIME },
	{ FUSE_SET_ATTR_ATIME_NOW, FS_SET_ATIME_NOW },
	{ FUSE_SET_ATTR_MTIME_NOW, FS_SET_MTIME_NOW },
	{ FUSE_SET_ATTR_KILL_SUID, FS_KILL_SUIDGID },
};

static void op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *st, int to_set, struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(req);
	struct fs_attr attr = {
		.size_bytes = (uint64_t)st->st_size,
		.mode = st->st_mode,
		.uid = st->st_uid,
		.gid = st->st_gid,
		.atime_ns = ns_of(&st->st_atim),
		.mtime_ns = ns_of(&st->st_mtim),
		.ctime_ns = ns_of(&st->st_ctim),
	};
	unsigned set = 0;

	(void)fi;
	for (size_t i = 0; i < ARRAY_COUNT(set_bits); i++)
		if (to_set & set_bits[i].fuse)
			set |= set_bits[i].fs;
	if (set & FS_SET_ATIME_NOW)
		set &= ~FS_SET_ATIME;
	if (set & FS_SET_MTIME_NOW)
		set &= ~FS_SET_MTIME;
	/* A truncation that changes times comes with them, also ftruncate(2) to the same size. Of others the kernel would go on with the
	 * times that it has, as long as it remembers the file. */
	if (server_of(req)->kernel_times && set & FS_SET_SIZE)
		set |= FS_KEEP_TIMES;
	/* With killpriv, a chown drops the bits without being told to, also one that changes neither owner nor group: the kernel
	 * sends at most a ctime then. With nothing to set it asks for that alone (before fallocate). */
	if (server_of(req)->killpriv && (set & (FS_SET_UID | FS_SET_GID) || !(set & ~FS_SET_CTIME)))
		set |= FS_KILL_SUIDGID;
	if (set & FS_SET_MODE)
		set &= ~FS_KILL_SUIDGID;
	int r = set & FS_KILL_SUIDGID ? kill_foreign_sgid(req, ino) : 0;
	if (!r)
		r = fs_setattr(fs, ino, &attr, set, &attr);
	reply_attr(req, r, &attr);
}

static void op_readlink(fuse_req_t req, fuse_ino_t ino)
{
	char target[PATH_MAX];
	int r = fs_readlink(fs_of(req), ino, target, sizeof target);

	if (r < 0)
		reply_result(req, r);
	else
		fuse_reply_readlink(req, target);
}

static void op_mknod(fuse_req_t req, fuse_ino_t dir, const char *name, mode_t mode, dev_t rdev)
{
	struct fs_attr attr;
	int r = fs_mknod(fs_of(req), dir, name, mode, rdev, cred_of(req), &attr);
	reply_entry(req, r, &attr);
}

static void op_mkdir(fuse_req_t req, fuse_ino_t dir, const char *name, mode_t mode)
{
	op_mknod(req, dir, name, S_IFDIR | (mode & ~(mode_t)S_IFMT), 0);
}

static void op_symlink(fuse_req_t req, const char *target, fuse_ino_t dir, const char *name)
{
	struct fs_attr attr;
	int r = fs_symlink(fs_of(req), dir, name, target, cred_of(req), &attr);
	reply_entry(req, r, &attr);
}

static void op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t dir, const char *name)
{
	struct fs_attr attr;
	int r = fs_link(fs_of(req), ino, dir, name, &attr);
	reply_entry(req, r, &attr);
}

static void op_unlink(fuse_req_t req, fuse_ino_t dir, const char *name)
{
	reply_result(req, fs_unlink(fs_of(req), dir, name));
}

static void op_rmdir(fuse_req_t req, fuse_ino_t dir, const char *name)
{
	reply_result(req, fs_rmdir(fs_of(req), dir, name));
}

static void op_rename(fuse_req_t req, fuse_ino_t dir, const char *name, fuse_ino_t new_dir, const char *new_name,
	unsigned flags)
{
	if (flags & RENAME_WHITEOUT)
		reply_result(req, fs_rename_whiteout(fs_of(req), dir, name, new_dir, new_name, flags & ~RENAME_WHITEOUT, cred_of(req)));
	else
		reply_result(req, fs_rename(fs_of(req), dir, name, new_dir, new_name, flags));
}

static void op_statfs(fuse_req_t req, fuse_ino_t ino)
{
	struct fs_space space;

	(void)ino;
	fs_space(fs_of(req), &space);
	fuse_reply_statfs(req, &(struct statvfs){
		.f_bsize = 4096,
		.f_frsize = 4096,
		.f_blocks = space.capacity_blocks,
		.f_bfree = space.free_blocks,
		.f_bavail = space.free_blocks,
		.f_files = space.inodes + space.free_blocks,
		.f_ffree = space.free_blocks,
		.f_favail = space.free_blocks,
		.f_namemax = 255,
	});
}

static void create_reply(fuse_req_t req, struct fuse_file_info *fi, int result, const struct fs_attr *attr)
{
	struct fuse_server *server = server_of(req);
	struct fs *fs = server->fs;
	struct fuse_entry_param entry;

	if (!result)
		result = fs_ref(fs, attr->ino);      /* the entry's */
	if (!result) {
		result = fs_ref(fs, attr->ino);      /* the open file's */
		if (result < 0)
			fs_unref(fs, attr->ino, 1);
	}
	if (result < 0) {
		reply_result(req, result);
		return;
	}
	fi->keep_cache = 1;
	fuse_seek_opened(server, attr->ino, fi, false);
	attr_to_entry(server, attr, &entry);
	if (fuse_reply_create(req, &entry, fi) < 0) {
		fuse_seek_released(server, attr->ino, fi);
		fs_unref(fs, attr->ino, 2);
	}
}

int open_truncate(fuse_req_t req, fuse_ino_t ino, struct fs_attr *ret_attr)
{
	bool kill = fuse_hook_kill_suidgid();
	struct fs_attr attr = { .size_bytes = 0 };

	int r = kill ? kill_foreign_sgid(req, ino) : 0;
	return r < 0 ? r : fs_setattr(fs_of(req), ino, &attr, FS_SET_SIZE | (kill ? FS_KILL_SUIDGID : 0), ret_attr);
}

/* O_TMPFILE */
static void create_nameless(fuse_req_t req, fuse_ino_t dir, mode_t mode, struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(req);
	struct fs_attr attr;
	int r = fs_tmpfile(fs, dir, mode, cred_of(req), &attr);

	create_reply(req, fi, r, &attr);
	if (!r)
		fs_unref(fs, attr.ino, 1);
}

static void op_create(fuse_req_t req, fuse_ino_t dir, const char *name, mode_t mode, struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(req);
	struct fs_attr attr;
	int r;

	if (fuse_hook_tmpfile()) {
		create_nameless(req, dir, mode, fi);
		return;
	}
	r = fs_mknod(fs, dir, name, S_IFREG | (mode & ~(mode_t)S_IFMT), 0, cred_of(req), &attr);

	if (r == -EEXIST && !(fi->flags & O_EXCL)) {
		r = fs_lookup(fs, dir, name, &attr);
		if (!r && fi->flags & O_TRUNC)
			r = open_truncate(req, attr.ino, &attr);
	}
	create_reply(req, fi, r, &attr);
}

void fuse_fill_namespace_ops(struct fuse_lowlevel_ops *ops)
{
	ops->lookup = op_lookup;
	ops->forget = op_forget;
	ops->forget_multi = op_forget_multi;
	ops->getattr = op_getattr;
	ops->setattr = op_setattr;
	ops->readlink = op_readlink;
	ops->mknod = op_mknod;
	ops->mkdir = op_mkdir;
	ops->symlink = op_symlink;
	ops->link = op_link;
	ops->unlink = op_unlink;
	ops->rmdir = op_rmdir;
	ops->rename = op_rename;
	ops->statfs = op_statfs;
	ops->create = op_create;
}
