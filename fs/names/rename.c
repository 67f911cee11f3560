/* Renaming (renameat2(2)): one operation, whatever it replaces, exchanges or leaves behind.
 *
 * Items change in this order: entries and links are put under their new names (an entry that is replaced keeps its key, and
 * so its readdir cookie), then links and entries under the old names are deleted, then inodes are stored. */
#include "fs/core.h"
#include "fs/names/dir.h"
#include "fs/names/inode.h"
#include "fs/names/namei.h"

#include <errno.h>
#include <linux/fs.h>
#include <sys/stat.h>

/* More directories above one another mean a loop. */
#define DEPTH_MAX (1u << 20)

struct rename {
	uint64_t from_ino, to_ino;       /* directories */
	const char *name, *new_name;
	unsigned flags;
	struct fs_cred cred;             /* WHITEOUT: whose it is */

	struct inode dirs[2];
	struct inode *from, *to;         /* into dirs: the same one when both directories are */
	struct entry old_entry, target_entry;    /* as found */
	struct inode child, target;
	bool has_target;
	struct entry new_entry;          /* of the child, under its new name */
	struct inode *back;              /* what the old name leads to afterwards: the target (EXCHANGE), a whiteout, or NULL */
	struct inode whiteout;
	struct entry back_entry;         /* of `back`, under the old name */
	bool reap;                       /* result: the target is to be freed */
};

/* Is directory `above` the same as `ino` or above it? 1, 0 or an error. */
static int is_above(struct fs *fs, uint64_t above, uint64_t ino)
{
	struct inode inode;

	for (unsigned depth = 0; depth < DEPTH_MAX; depth++) {
		if (ino == above)
			return 1;
		if (ino == OBJECT_ROOT)
			return 0;
		int r = inode_load_dir(fs, ino, &inode);
		if (r == -ENOENT || r == -ENOTDIR)
			return inode_unclean(fs, ino, "it is a parent and no directory");
		if (r < 0)
			return r;
		ino = inode.parent;
	}
	return inode_unclean(fs, ino, "the directories above it form a loop");
}

static int rename_load(struct fs *fs, struct rename *rename)
{
	rename->from = rename->to = &rename->dirs[0];
	int r = inode_load_dir(fs, rename->from_ino, rename->from);
	if (r == 0 && rename->to_ino != rename->from_ino) {
		rename->to = &rename->dirs[1];
		r = namei_dir(fs, rename->to_ino, rename->to);
	}
	if (r == 0)
		r = namei_find(fs, rename->from_ino, rename->name, &rename->old_entry, &rename->child);
	if (r < 0)
		return r;
	r = namei_find(fs, rename->to_ino, rename->new_name, &rename->target_entry, &rename->target);
	rename->has_target = r == 0;
	rename->back = rename->flags & RENAME_EXCHANGE ? &rename->target : NULL;
	return r == -ENOENT ? 0 : r;
}

/* A whiteout is a character device 0:0 without permissions (WHITEOUT_DEV and WHITEOUT_MODE of the kernel). */
static void rename_whiteout(struct fs *fs, struct rename *rename)
{
	inode_init(fs, S_IFCHR, rename->cred, &rename->whiteout);
	if (rename->from->mode & S_ISGID)
		rename->whiteout.gid = rename->from->gid;
	rename->back = &rename->whiteout;
}

/* May it be done? */
static int rename_check(struct fs *fs, const struct rename *rename)
{
	bool dir = S_ISDIR(rename->child.mode), target_dir = rename->has_target && S_ISDIR(rename->target.mode);
	bool exchange = rename->flags & RENAME_EXCHANGE;
	int r = 0;

	if (exchange && !rename->has_target)
		return -ENOENT;
	if ((rename->flags & RENAME_NOREPLACE) && rename->has_target)
		return -EEXIST;
	if (dir && rename->from_ino != rename->to_ino)
		r = is_above(fs, rename->child.ino, rename->to_ino);
	if (r == 0 && exchange && target_dir && rename->from_ino != rename->to_ino)
		r = is_above(fs, rename->target.ino, rename->from_ino);
	if (r != 0)
		return r < 0 ? r : -EINVAL;
	if (exchange || !rename->has_target)
		return 0;
	if (dir != target_dir)
		return dir ? -ENOTDIR : -EISDIR;
	return target_dir && rename->target.entries > 0 ? -ENOTEMPTY : 0;
}

static int rename_prepare(struct fs *fs, struct rename *rename)
{
	bool exists;
	int r = entry_place(fs, rename->to_ino, rename->new_name, rename->child.ino, rename->child.mode, &exists, &rename->new_entry);

	if (r == 0 && rename->back)
		r = entry_place(fs, rename->from_ino, rename->name, rename->back->ino, rename->back->mode, &exists, &rename->back_entry);
	if (r == 0)
		r = inode_prepare(fs, rename->from_ino);
	if (r == 0)
		r = inode_prepare(fs, rename->to_ino);
	if (r == 0)
		r = inode_prepare(fs, rename->child.ino);
	if (r == 0)
		r = entry_prepare(fs, &rename->old_entry);
	if (r == 0)
		r = entry_prepare(fs, &rename->new_entry);
	if (r == 0 && rename->has_target)
		r = entry_prepare(fs, &rename->target_entry);
	if (r == 0 && rename->has_target)
		r = namei_drop_prepare(fs, &rename->target);
	if (r == 0 && rename->back)
		r = entry_prepare(fs, &rename->back_entry);
	if (r == 0 && rename->back == &rename->whiteout)
		r = inode_prepare(fs, rename->whiteout.ino);
	return r;
}

/* Moves an object from directory `from` to `to`, as far as inodes say so. */
static int move(struct fs *fs, struct inode *object, struct inode *from, struct inode *to, int64_t now)
{
	int r = namei_leave(fs, from, object);

	if (r < 0)
		return r;
	namei_enter(to, object);
	object->ctime_ns = now;
	if (S_ISDIR(object->mode))
		object->parent = to->ino;
	return 0;
}

/* Changes the inodes in memory; nothing in the tree has changed yet. */
static int rename_count(struct fs *fs, struct rename *rename, int64_t now)
{
	int r = 0;

	if (rename->flags & RENAME_EXCHANGE)
		r = move(fs, &rename->target, rename->to, rename->from, now);
	else if (rename->has_target)
		r = namei_leave(fs, rename->to, &rename->target);
	if (r == 0)
		r = move(fs, &rename->child, rename->from, rename->to, now);
	if (r == 0 && rename->back == &rename->whiteout)
		namei_enter(rename->from, &rename->whiteout);
	namei_touch(rename->from, now);
	namei_touch(rename->to, now);
	return r;
}

static int rename_apply(struct fs *fs, struct rename *rename, int64_t now)
{
	bool exchange = rename->flags & RENAME_EXCHANGE;
	int r = entry_put(fs, &rename->new_entry);

	if (r == 0 && rename->back)
		r = entry_put(fs, &rename->back_entry);
	if (r == 0 && rename->has_target && !exchange)
		r = namei_drop(fs, &rename->target, now, &rename->reap);
	if (r == 0 && exchange)
		r = inode_store(fs, &rename->target);
	if (r == 0)
		r = entry_delete(fs, &rename->old_entry, !rename->back);
	if (r == 0 && rename->has_target)
		r = entry_delete(fs, &rename->target_entry, false);
	if (r == 0 && rename->back == &rename->whiteout)
		r = inode_create(fs, &rename->whiteout);
	if (r == 0)
		r = inode_store(fs, &rename->child);
	if (r == 0)
		r = inode_store(fs, rename->from);
	if (r == 0 && rename->to != rename->from)
		r = inode_store(fs, rename->to);
	return r;
}

static int rename_locked(struct fs *fs, struct rename *rename)
{
	int r = rename_load(fs, rename);

	if (r < 0)
		return r;
	if (rename->has_target && rename->target.ino == rename->child.ino)
		return rename->flags & RENAME_NOREPLACE ? -EEXIST : 0;
	r = rename_check(fs, rename);
	if (rename->flags & RENAME_WHITEOUT)
		rename_whiteout(fs, rename);
	if (r == 0)
		r = rename_prepare(fs, rename);
	int64_t now = fs_now_ns(fs);
	if (r == 0)
		r = rename_count(fs, rename, now);
	if (r < 0)
		return r;
	/* Data that comes under a name which had data before must not reach the intent log later than the name. */
	if (rename->has_target)
		changes_force_whole(fs->open->changes, rename->child.ino);
	if (rename->has_target && (rename->flags & RENAME_EXCHANGE))
		changes_force_whole(fs->open->changes, rename->target.ino);
	return inode_changed(fs, rename_apply(fs, rename, now));
}

static int rename_run(struct fs *fs, struct rename *rename)
{
	struct op op;

	int r = namei_check(rename->name, -EINVAL);
	if (r == 0)
		r = namei_check(rename->new_name, -EINVAL);
	if (r == 0)
		r = op_begin(fs, &op, OP_RENAME, 0);
	if (r < 0)
		return r;
	do
		r = rename_locked(fs, rename);
	while (op_retry(&op, &r));
	op_end(&op);
	if (r == 0 && rename->reap)
		inode_reap(fs, rename->target.ino);
	return r;
}

int fs_rename(struct fs *fs, uint64_t dir, const char *name, uint64_t new_dir, const char *new_name, unsigned flags)
{
	struct rename rename = { .from_ino = dir, .to_ino = new_dir, .name = name, .new_name = new_name, .flags = flags };

	if (flags != 0 && flags != RENAME_NOREPLACE && flags != RENAME_EXCHANGE)
		return -EINVAL;
	return rename_run(fs, &rename);
}

int fs_rename_whiteout(struct fs *fs, uint64_t dir, const char *name, uint64_t new_dir, const char *new_name, unsigned flags,
	struct fs_cred cred)
{
	struct rename rename = { .from_ino = dir, .to_ino = new_dir, .name = name, .new_name = new_name,
		.flags = flags | RENAME_WHITEOUT, .cred = cred };

	if (flags != 0 && flags != RENAME_NOREPLACE)
		return -EINVAL;
	return rename_run(fs, &rename);
}
