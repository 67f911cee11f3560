/* FUSE requests that list directories.
 *
 * The kernel gives a buffer size; entries are added until the next one does not fit.  With readdirplus each entry but
 * "." and ".." also hands out a reference, taken only once the entry is known to fit. */
#include "fs/fuse/fuse_internal.h"

#include "base/cleanup.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct listing {
	fuse_req_t req;
	struct fs *fs;
	bool plus;
	char *buf;
	size_t size_bytes, used_bytes;
	uint64_t *refs;                  /* inodes that a reference was taken on */
	size_t ref_count;
};

/* The smallest entry with attributes that the kernel's format has: bounds how many fit in a buffer. */
#define PLUS_ENTRY_BYTES_MIN 152u

static bool is_dot(const char *name)
{
	return !strcmp(name, ".") || !strcmp(name, "..");
}

static bool emit_plain(struct listing *l, const struct fs_dirent *d)
{
	struct stat st = { .st_ino = d->ino, .st_mode = (mode_t)d->type << 12 };
	size_t room = l->size_bytes - l->used_bytes;
	size_t need = fuse_add_direntry(l->req, l->buf + l->used_bytes, room, d->name, &st, (off_t)d->cookie);

	if (need > room)
		return false;
	l->used_bytes += need;
	return true;
}

static bool emit_plus(struct listing *l, const struct fs_dirent *d)
{
	size_t room = l->size_bytes - l->used_bytes;
	size_t need = fuse_add_direntry_plus(l->req, NULL, 0, d->name, NULL, 0);
	struct fuse_entry_param entry;

	if (need > room)
		return false;
	attr_to_entry(server_of(l->req), &d->attr, &entry);
	if (is_dot(d->name) || d->no_attr || fs_ref(l->fs, d->ino) < 0)
		entry.ino = 0;                   /* no entry for the cache, only a name */
	else
		l->refs[l->ref_count++] = d->ino;
	entry.attr.st_ino = d->ino;
	l->used_bytes += fuse_add_direntry_plus(l->req, l->buf + l->used_bytes, room, d->name, &entry, (off_t)d->cookie);
	return true;
}

static bool emit(void *ctx, const struct fs_dirent *d)
{
	struct listing *l = ctx;
	return l->plus ? emit_plus(l, d) : emit_plain(l, d);
}

static void list(fuse_req_t req, fuse_ino_t dir, size_t size_bytes, off_t offset, bool plus)
{
	autofree char *buf = malloc(size_bytes);
	autofree uint64_t *refs = plus ? calloc(size_bytes / PLUS_ENTRY_BYTES_MIN + 1, sizeof *refs) : NULL;
	struct listing l = { .req = req, .fs = fs_of(req), .plus = plus, .buf = buf, .size_bytes = size_bytes, .refs = refs };

	if (!buf || (plus && !refs)) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	int r = fs_readdir(l.fs, dir, (uint64_t)offset, plus, emit, &l);
	/* What was found before an error is handed out; the error comes with the next call. */
	if (r < 0 && !l.used_bytes)
		r = fuse_reply_err(req, -r) < 0 ? -1 : 0;
	else
		r = fuse_reply_buf(req, buf, l.used_bytes);
	if (r < 0)
		for (size_t i = 0; i < l.ref_count; i++)
			fs_unref(l.fs, refs[i], 1);
}

static void op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(req);
	int r = fs_ref(fs, ino);

	if (r < 0)
		reply_result(req, r);
	else if (fuse_reply_open(req, fi) < 0)
		fs_unref(fs, ino, 1);
}

static void op_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)fi;
	fs_unref(fs_of(req), ino, 1);
	fuse_reply_err(req, 0);
}

static void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi)
{
	(void)fi;
	list(req, ino, size, offset, false);
}

static void op_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi)
{
	(void)fi;
	list(req, ino, size, offset, true);
}

/* Also a syncfs, which the hook makes one of. */
static void op_fsyncdir(fuse_req_t req, fuse_ino_t ino, int data_only, struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(req);

	reply_result(req, fi->fh == FUSE_HANDLE_SYNCFS ? fs_sync(fs) : fs_fsync(fs, ino, data_only));
}

void fuse_fill_directory_ops(struct fuse_lowlevel_ops *ops)
{
	ops->opendir = op_opendir;
	ops->releasedir = op_releasedir;
	ops->readdir = op_readdir;
	ops->readdirplus = op_readdirplus;
	ops->fsyncdir = op_fsyncdir;
}
