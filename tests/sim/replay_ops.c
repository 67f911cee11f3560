/* The operations of random histories.  See replay.h.
 *
 * Few names in few directories, so that files are replaced, linked and exchanged often.  Data has no byte that is 0: where one
 * is read, nothing was written. */
#include "tests/sim/replay.h"
#include "base/cleanup.h"
#include "fs/format.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define BUFFER_BYTES 65536u
#define NAME_BYTES 16u

static const struct fs_cred cred;
static char buffer[BUFFER_BYTES];

static void doing(struct replay *run, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void doing(struct replay *run, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	vsnprintf(run->doing, sizeof run->doing, format, args);
	va_end(args);
}

static struct fs *fs_of(struct replay *run)
{
	return run->sim->fs;
}

static void pick_name(struct replay *run, char *ret_name)
{
	snprintf(ret_name, NAME_BYTES, "f%u", replay_pick(run, 6));
}

static uint64_t pick_dir(struct replay *run)
{
	struct fs_attr attr;
	char name[NAME_BYTES];
	unsigned number = replay_pick(run, 5);
	if (number < 2)
		return OBJECT_ROOT;
	snprintf(name, sizeof name, "d%u", number);
	return fs_lookup(fs_of(run), OBJECT_ROOT, name, &attr) == 0 ? attr.ino : OBJECT_ROOT;
}

uint64_t replay_file(struct replay *run)
{
	struct fs_attr attr;
	char name[NAME_BYTES];
	if (replay_pick(run, 2) && fs_getattr(fs_of(run), run->file, &attr) == 0)
		return run->file;
	for (unsigned tries = 0; tries < 8; tries++) {
		pick_name(run, name);
		if (fs_lookup(fs_of(run), pick_dir(run), name, &attr) == 0 && S_ISREG(attr.mode))
			return run->file = attr.ino;
	}
	return 0;
}

/* ---- Names ---- */

static int op_create(struct replay *run)
{
	struct fs_attr attr;
	char name[NAME_BYTES];
	uint64_t dir = pick_dir(run);
	pick_name(run, name);
	doing(run, "create %s in %llu", name, (unsigned long long)dir);
	return fs_mknod(fs_of(run), dir, name, S_IFREG | 0644, 0, cred, &attr);
}

static int op_dir(struct replay *run)
{
	struct fs_attr attr;
	char name[NAME_BYTES];
	bool make = replay_pick(run, 3) > 0;
	snprintf(name, sizeof name, "d%u", 2 + replay_pick(run, 3));
	doing(run, "%s %s", make ? "mkdir" : "rmdir", name);
	return make ? fs_mknod(fs_of(run), OBJECT_ROOT, name, S_IFDIR | 0755, 0, cred, &attr) : fs_rmdir(fs_of(run), OBJECT_ROOT, name);
}

static int op_unlink(struct replay *run)
{
	char name[NAME_BYTES];
	uint64_t dir = pick_dir(run);
	pick_name(run, name);
	doing(run, "unlink %s in %llu", name, (unsigned long long)dir);
	return fs_unlink(fs_of(run), dir, name);
}

static int op_rename(struct replay *run)
{
	char name[NAME_BYTES], new_name[NAME_BYTES];
	uint64_t dir = pick_dir(run), new_dir = pick_dir(run);
	unsigned flags = (unsigned[]){ 0, 0, 0, 0, RENAME_EXCHANGE, RENAME_EXCHANGE, RENAME_WHITEOUT }[replay_pick(run, 7)];
	pick_name(run, name);
	pick_name(run, new_name);
	doing(run, "rename %s in %llu to %s in %llu, flags %u", name, (unsigned long long)dir, new_name, (unsigned long long)new_dir, flags);
	if (flags & RENAME_WHITEOUT)
		return fs_rename_whiteout(fs_of(run), dir, name, new_dir, new_name, 0, (struct fs_cred){ .uid = 1, .gid = 2 });
	return fs_rename(fs_of(run), dir, name, new_dir, new_name, flags);
}

static int op_link(struct replay *run)
{
	struct fs_attr attr;
	char name[NAME_BYTES];
	uint64_t ino = replay_file(run), dir = pick_dir(run);
	pick_name(run, name);
	doing(run, "link %llu as %s in %llu", (unsigned long long)ino, name, (unsigned long long)dir);
	return ino ? fs_link(fs_of(run), ino, dir, name, &attr) : 0;
}

static int op_symlink(struct replay *run)
{
	struct fs_attr attr;
	char name[NAME_BYTES];
	uint64_t dir = pick_dir(run);
	unsigned bytes = replay_pick(run, 2) ? 20 : 3000 + replay_pick(run, 1000);
	pick_name(run, name);
	memset(buffer, 'a' + (int)replay_pick(run, 20), bytes);
	buffer[bytes] = 0;
	doing(run, "symlink %s in %llu, %u bytes", name, (unsigned long long)dir, bytes);
	return fs_symlink(fs_of(run), dir, name, buffer, cred, &attr);
}

/* A reference to a file that may lose its last link meanwhile. */
static int op_hold(struct replay *run)
{
	char name[NAME_BYTES];
	uint64_t ino = replay_file(run);
	int r = ino ? fs_ref(fs_of(run), ino) : 0;
	pick_name(run, name);
	doing(run, "hold %llu, unlink %s", (unsigned long long)ino, name);
	if (!ino || r < 0)
		return r;
	r = replay_pick(run, 2) ? fs_unlink(fs_of(run), OBJECT_ROOT, name) : 0;
	fs_unref(fs_of(run), ino, 1);
	return r;
}

/* A file that gets a name late, or never. */
static int op_nameless(struct replay *run)
{
	struct fs_attr attr;
	char name[NAME_BYTES];
	uint64_t dir = pick_dir(run);
	unsigned bytes = 1 + replay_pick(run, 9000);
	bool syncs = !run->no_syncs && replay_pick(run, 2), link = replay_pick(run, 4) > 0;
	pick_name(run, name);
	memset(buffer, 'A' + (int)replay_pick(run, 20), bytes);
	doing(run, "a file without a name of %u bytes%s%s%s in %llu", bytes, syncs ? ", fsync" : "", link ? ", link as " : "", link ? name : "",
		(unsigned long long)dir);
	int r = fs_tmpfile(fs_of(run), dir, 0644, cred, &attr);
	if (r < 0)
		return r;
	ssize_t n = fs_write(fs_of(run), attr.ino, buffer, bytes, 0, false, NULL);
	r = n < 0 ? (int)n : syncs ? fs_fsync(fs_of(run), attr.ino, false) : 0;
	if (r == 0 && link)
		r = fs_link(fs_of(run), attr.ino, dir, name, &attr);
	fs_unref(fs_of(run), attr.ino, 1);
	return r;
}

/* ---- Attributes ---- */

static int op_attr(struct replay *run)
{
	struct fs_attr attr = { .mode = replay_pick(run, 01000), .uid = replay_pick(run, 100) };
	uint64_t ino = replay_file(run);
	doing(run, "chmod %llu to %o of %u", (unsigned long long)ino, attr.mode, attr.uid);
	return ino ? fs_setattr(fs_of(run), ino, &attr, FS_SET_MODE | FS_SET_UID, NULL) : 0;
}

static int op_xattr(struct replay *run)
{
	char name[NAME_BYTES];
	uint64_t ino = replay_file(run);
	bool set = replay_pick(run, 2);
	unsigned bytes = replay_pick(run, 3) ? replay_pick(run, 500) : 20000 + replay_pick(run, 30000);
	snprintf(name, sizeof name, "user.%u", replay_pick(run, 3));
	memset(buffer, (int)replay_pick(run, 256), bytes);
	doing(run, "%s %s of %llu, %u bytes", set ? "set" : "remove", name, (unsigned long long)ino, bytes);
	if (!ino)
		return 0;
	return set ? fs_setxattr(fs_of(run), ino, name, buffer, bytes, 0) : fs_removexattr(fs_of(run), ino, name);
}

/* ---- Data ---- */

static int write_random(struct replay *run, uint64_t ino, uint64_t at, unsigned bytes)
{
	for (unsigned i = 0; i < bytes; i++)
		buffer[i] = (char)(1 + replay_pick(run, 255));
	doing(run, "write %llu at %llu, %u bytes", (unsigned long long)ino, (unsigned long long)at, bytes);
	ssize_t written = ino ? fs_write(fs_of(run), ino, buffer, bytes, at, false, NULL) : 0;
	return written < 0 ? (int)written : 0;
}

static int op_write(struct replay *run)
{
	unsigned bytes = 1 + replay_pick(run, replay_pick(run, 2) ? 900 : 40000);
	return write_random(run, replay_file(run), replay_pick(run, replay_pick(run, 2) ? 60000 : 900), bytes);
}

static int op_write_blocks(struct replay *run)
{
	unsigned bytes = BLOCK_BYTES * (1 + replay_pick(run, 8));
	return write_random(run, replay_file(run), BLOCK_BYTES * replay_pick(run, 16), bytes);
}

static int set_size(struct replay *run, uint64_t ino, uint64_t bytes)
{
	struct fs_attr attr = { .size_bytes = bytes };
	return fs_setattr(fs_of(run), ino, &attr, FS_SET_SIZE, NULL);
}

static int op_truncate(struct replay *run)
{
	uint64_t ino = replay_file(run), bytes = replay_pick(run, replay_pick(run, 3) ? 80000 : 1000);
	if (!replay_pick(run, 4))
		bytes -= bytes % BLOCK_BYTES;
	doing(run, "truncate %llu to %llu", (unsigned long long)ino, (unsigned long long)bytes);
	return ino ? set_size(run, ino, bytes) : 0;
}

/* A file that is emptied, and grows as an item of the tree and out of it. */
static int op_grow_again(struct replay *run)
{
	uint64_t ino = replay_file(run), long_bytes = replay_pick(run, 40000), short_bytes = replay_pick(run, 1000);
	int r = ino ? set_size(run, ino, 0) : -ENOENT;
	if (r == 0 && replay_pick(run, 4))
		r = set_size(run, ino, long_bytes);
	if (r == 0 && replay_pick(run, 4))
		r = set_size(run, ino, short_bytes);
	if (r == 0 && replay_pick(run, 4))
		r = write_random(run, ino, replay_pick(run, 2) ? 0 : replay_pick(run, 500), 1 + replay_pick(run, 900));
	if (r == 0 && replay_pick(run, 4))
		r = write_random(run, ino, replay_pick(run, 20000), 1 + replay_pick(run, 10000));
	doing(run, "grow %llu again, over %llu and %llu", (unsigned long long)ino, (unsigned long long)long_bytes,
		(unsigned long long)short_bytes);
	return r;
}

static int fallocate_at(struct replay *run, uint64_t ino, int mode, uint64_t at, uint64_t bytes)
{
	doing(run, "fallocate %llu mode %d at %llu, %llu bytes", (unsigned long long)ino, mode, (unsigned long long)at,
		(unsigned long long)bytes);
	return fs_fallocate(fs_of(run), ino, mode, at, bytes);
}

/* At times whole blocks, at times up to the end of the file. */
static int op_punch(struct replay *run)
{
	struct fs_attr attr;
	uint64_t ino = replay_file(run), at = replay_pick(run, 70000), bytes = 1 + replay_pick(run, 40000);
	bool to_end = replay_pick(run, 2);
	if (!ino)
		return 0;
	if (!replay_pick(run, 3)) {
		at -= at % BLOCK_BYTES;
		bytes = (bytes + BLOCK_BYTES - 1) / BLOCK_BYTES * BLOCK_BYTES;
	}
	if (to_end && fs_getattr(fs_of(run), ino, &attr) == 0 && at < attr.size_bytes)
		bytes = attr.size_bytes - at;
	return fallocate_at(run, ino, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at, bytes);
}

static int op_reserve(struct replay *run)
{
	uint64_t ino = replay_file(run), at = replay_pick(run, 100000), bytes = 1 + replay_pick(run, 60000);
	int mode = replay_pick(run, 2) ? FALLOC_FL_KEEP_SIZE : 0;
	return ino ? fallocate_at(run, ino, mode, at, bytes) : 0;
}

static int op_zero(struct replay *run)
{
	uint64_t ino = replay_file(run), at = replay_pick(run, 60000), bytes = 1 + replay_pick(run, 40000);
	int mode = FALLOC_FL_ZERO_RANGE | (replay_pick(run, 2) ? FALLOC_FL_KEEP_SIZE : 0);
	return ino ? fallocate_at(run, ino, mode, at, bytes) : 0;
}

/* ---- Syncs ---- */

static int op_sync(struct replay *run)
{
	doing(run, "sync");
	return replay_pick(run, 3) ? 0 : fs_sync(fs_of(run));
}

static int op_fsync(struct replay *run)
{
	uint64_t ino = replay_file(run);
	doing(run, "fsync %llu", (unsigned long long)ino);
	return ino ? fs_fsync(fs_of(run), ino, false) : 0;
}

static int op_fsync_dir(struct replay *run)
{
	uint64_t dir = pick_dir(run);
	doing(run, "fsync of directory %llu", (unsigned long long)dir);
	return fs_fsync(fs_of(run), dir, false);
}

static const struct { int (*run)(struct replay *run); bool syncs; } operations[] = {
	{ op_create }, { op_create }, { op_dir }, { op_unlink }, { op_rename }, { op_link }, { op_symlink }, { op_hold }, { op_nameless },
	{ op_attr }, { op_xattr }, { op_xattr },
	{ op_write }, { op_write }, { op_write }, { op_write_blocks }, { op_truncate }, { op_truncate }, { op_grow_again },
	{ op_punch }, { op_punch }, { op_reserve }, { op_zero },
	{ op_sync, true }, { op_fsync, true }, { op_fsync, true }, { op_fsync_dir, true },
};

bool replay_operation(struct replay *run)
{
	static const int allowed[] = { 0, EEXIST, ENOENT, ENOTEMPTY, EISDIR, EINVAL, ENODATA, EPERM, ENOSPC };
	unsigned which = replay_pick(run, ARRAY_COUNT(operations));
	if (run->no_syncs && operations[which].syncs)
		return true;
	int r = operations[which].run(run);
	if (run->verbose)
		printf("%s: %d\n", run->doing, r);
	for (unsigned i = 0; i < ARRAY_COUNT(allowed); i++)
		if (r == -allowed[i])
			return true;
	return replay_failed(run, "%s: error %d", run->doing, -r);
}
