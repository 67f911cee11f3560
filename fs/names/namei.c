/* Making, linking and removing names.  Renaming is in rename.c.
 *
 * Each is one operation under fs->lock: everything is looked up and prepared, then new items are put, then old ones are
 * deleted, then the inodes are stored. */
#include "fs/core.h"
#include "fs/names/dir.h"
#include "fs/names/inode.h"
#include "fs/names/namei.h"
#include "fs/names/xattr.h"
#include "fs/tree/record.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <sys/stat.h>

int namei_check(const char *name, int dots_error)
{
	int r = name_check(name);

	return r == 0 && name_is_dots(name) ? dots_error : r;
}

int namei_dir(struct fs *fs, uint64_t ino, struct inode *ret_dir)
{
	struct inode dir;
	int r = inode_load_dir(fs, ino, &dir);

	if (r < 0)
		return r;
	if (dir.links == 0)
		return -ENOENT;
	*ret_dir = dir;
	return 0;
}

int namei_find(struct fs *fs, uint64_t dir, const char *name, struct entry *ret_entry, struct inode *ret_child)
{
	struct entry entry;
	struct inode child;

	int r = entry_find(fs, dir, name, &entry);
	if (r < 0)
		return r;
	r = inode_load(fs, entry.child, &child);
	if (r == -ENOENT)
		return inode_unclean(fs, dir, "an entry of this directory names an inode that does not exist");
	if (r < 0)
		return r;
	if (child.links == 0 || IFTODT(child.mode) != entry.type || (S_ISDIR(child.mode) && child.parent != dir))
		return inode_unclean(fs, dir, "an entry of this directory does not fit the inode that it names");
	*ret_entry = entry;
	*ret_child = child;
	return 0;
}

void namei_enter(struct inode *dir, const struct inode *child)
{
	dir->entries++;
	if (S_ISDIR(child->mode)) {
		dir->subdirectories++;
		dir->links++;
	}
}

int namei_leave(struct fs *fs, struct inode *dir, const struct inode *child)
{
	bool is_dir = S_ISDIR(child->mode);

	if (dir->entries == 0 || (is_dir && dir->subdirectories == 0))
		return inode_unclean(fs, dir->ino, "it has more entries than it counts");
	dir->entries--;
	if (is_dir) {
		dir->subdirectories--;
		dir->links--;
	}
	return 0;
}

void namei_touch(struct inode *dir, int64_t now)
{
	dir->mtime_ns = dir->ctime_ns = now;
}

/* ---- Making ---- */

struct make {
	uint64_t dir;
	const char *name;                /* NULL: none yet */
	uint32_t mode;
	uint64_t rdev;
	struct fs_cred cred;
	const char *target;              /* of a symlink */
	size_t target_bytes;
};

/* What the new object has from its directory: group, setgid bit, and ACLs or else the umask. */
static int inherit(struct fs *fs, const struct make *make, const struct inode *dir, struct inode *child, struct xattr_acl acls[2])
{
	struct xattr_acl standard;

	if (dir->mode & S_ISGID) {
		child->gid = dir->gid;
		if (S_ISDIR(child->mode))
			child->mode |= S_ISGID;
	}
	acls[0].found = acls[1].found = false;
	if (S_ISLNK(child->mode))
		return 0;
	int r = xattr_acl_load(fs, dir->ino, XATTR_ACL_DEFAULT, &standard);
	if (r < 0)
		return r;
	if (!standard.found) {
		child->mode &= ~(make->cred.umask & (S_IRWXU | S_IRWXG | S_IRWXO));
		return 0;
	}
	acls[0] = acls[1] = standard;
	xattr_acl_place(fs, child->ino, &acls[0], &acls[1]);
	acls[0].found = !acl_create(&acls[0].acl, &child->mode);
	acls[1].found = S_ISDIR(child->mode);
	return 0;
}

/* The target's item: short ones in the tree, long ones as a record. */
static struct key target_key(const struct make *make, uint64_t ino)
{
	return key_make(ino, make->target_bytes <= INLINE_MAX ? ITEM_INLINE : ITEM_EXTENT, 0);
}

static int put_target(struct fs *fs, const struct make *make, struct inode *child)
{
	struct key key = target_key(make, child->ino);

	child->size_bytes = make->target_bytes;
	if (key.type == ITEM_INLINE) {
		child->flags |= INODE_HAS_INLINE;
		return tree_put(fs, fs_file_tree(fs), &key, make->target, (unsigned)make->target_bytes);
	}
	struct record *record = record_new(child->ino, 0, 1, false);
	if (!record)
		return -ENOMEM;
	memcpy(record_data(record), make->target, make->target_bytes);
	int r = record_put(fs, record);
	record_unref(fs, record);
	child->blocks = 1;
	if (r == 0) {
		changes_data(fs->open->changes, child->ino, 0, 0, 1);
		changes_force_whole(fs->open->changes, child->ino);
	}
	return r;
}

static int make_prepare(struct fs *fs, const struct make *make, const struct entry *entry, const struct xattr_acl acls[2])
{
	struct key target = target_key(make, entry->child);

	int r = inode_prepare(fs, make->dir);
	if (r == 0)
		r = inode_prepare(fs, entry->child);
	if (r == 0)
		r = make->name ? entry_prepare(fs, entry) : orphan_prepare(fs, entry->child);
	for (unsigned i = 0; i < 2 && r == 0; i++)
		if (acls[i].found)
			r = xattr_acl_prepare(fs, &acls[i]);
	if (r == 0 && make->target)
		r = tree_prepare(fs, fs_file_tree(fs), &target);
	return r;
}

static int make_locked(struct fs *fs, const struct make *make, struct fs_attr *ret_attr)
{
	struct inode dir, child;
	struct xattr_acl acls[2];
	struct entry entry;
	bool reap;

	int r = namei_dir(fs, make->dir, &dir);
	if (r < 0)
		return r;
	inode_init(fs, make->mode, make->cred, &child);
	child.rdev = make->rdev;
	child.parent = S_ISDIR(make->mode) ? dir.ino : 0;
	r = inherit(fs, make, &dir, &child, acls);
	entry = (struct entry){ .child = child.ino };
	if (r == 0 && make->name)
		r = entry_place(fs, dir.ino, make->name, child.ino, child.mode, NULL, &entry);
	if (r == 0)
		r = make_prepare(fs, make, &entry, acls);
	if (r == 0 && !make->name) {
		child.links = 0;
		r = inode_table_nameless(fs, child.ino);
	}
	if (r < 0)
		return r;
	r = make->name ? entry_put(fs, &entry) : orphan_put(fs, child.ino, &reap);
	if (r == 0 && make->target)
		r = put_target(fs, make, &child);
	for (unsigned i = 0; i < 2 && r == 0; i++)
		if (acls[i].found)
			r = xattr_acl_put(fs, &acls[i]);
	if (r == 0)
		r = inode_create(fs, &child);
	if (r == 0 && make->name) {
		namei_enter(&dir, &child);
		namei_touch(&dir, child.ctime_ns);
		r = inode_store(fs, &dir);
	}
	if (r == 0 && ret_attr)
		inode_attr(fs, &child, ret_attr);
	return inode_changed(fs, r);
}

static int make_object(struct fs *fs, const struct make *make, struct fs_attr *ret_attr)
{
	struct op op;
	int r = make->name ? namei_check(make->name, -EEXIST) : 0;

	if (r == 0)
		r = op_begin(fs, &op, OP_MODIFY, make->target_bytes > INLINE_MAX ? 1 : 0);
	if (r < 0)
		return r;
	do
		r = make_locked(fs, make, ret_attr);
	while (op_retry(&op, &r));
	op_end(&op);
	return r;
}

int fs_mknod(struct fs *fs, uint64_t dir, const char *name, uint32_t mode, uint64_t rdev, struct fs_cred cred, struct fs_attr *ret_attr)
{
	struct make make = { .dir = dir, .name = name, .mode = mode & (S_IFMT | 07777), .cred = cred };

	switch (mode & S_IFMT) {
	case S_IFCHR:
	case S_IFBLK:
		make.rdev = rdev;
		break;
	case S_IFREG:
	case S_IFDIR:
	case S_IFIFO:
	case S_IFSOCK:
		break;
	default:
		return -EINVAL;
	}
	return make_object(fs, &make, ret_attr);
}

int fs_tmpfile(struct fs *fs, uint64_t dir, uint32_t mode, struct fs_cred cred, struct fs_attr *ret_attr)
{
	struct make make = { .dir = dir, .mode = S_IFREG | (mode & 07777), .cred = cred };

	return make_object(fs, &make, ret_attr);
}

int fs_symlink(struct fs *fs, uint64_t dir, const char *name, const char *target, struct fs_cred cred, struct fs_attr *ret_attr)
{
	struct make make = { .dir = dir, .name = name, .mode = S_IFLNK | 0777, .cred = cred, .target = target,
		.target_bytes = strlen(target) };

	if (make.target_bytes == 0)
		return -ENOENT;
	if (make.target_bytes >= PATH_MAX)
		return -ENAMETOOLONG;
	return make_object(fs, &make, ret_attr);
}

int fs_readlink(struct fs *fs, uint64_t ino, char *buf, size_t size_bytes)
{
	struct fs_attr attr;

	int r = fs_getattr(fs, ino, &attr);
	if (r < 0)
		return r;
	if (!S_ISLNK(attr.mode))
		return -EINVAL;
	if (attr.size_bytes >= size_bytes)
		return -ERANGE;
	ssize_t n = fs_read(fs, ino, buf, attr.size_bytes, 0);
	if (n < 0)
		return (int)n;
	if ((uint64_t)n != attr.size_bytes || memchr(buf, 0, (size_t)n))
		return inode_unclean(fs, ino, "the target of this symlink makes no sense");
	buf[n] = 0;
	return 0;
}

static int link_locked(struct fs *fs, uint64_t ino, uint64_t dir_ino, const char *name, struct fs_attr *ret_attr)
{
	struct inode dir, child;
	struct entry entry;

	int r = namei_dir(fs, dir_ino, &dir);
	if (r == 0)
		r = inode_load(fs, ino, &child);
	if (r < 0)
		return r;
	if (S_ISDIR(child.mode))
		return -EPERM;
	bool nameless = child.links == 0;
	if (nameless && !inode_table_is_nameless(fs, ino))
		return -ENOENT;
	r = entry_place(fs, dir.ino, name, ino, child.mode, NULL, &entry);
	if (r == 0 && child.links >= NAMEI_LINKS_MAX)
		r = -EMLINK;
	if (r == 0)
		r = entry_prepare(fs, &entry);
	if (r == 0)
		r = inode_prepare(fs, dir.ino);
	if (r == 0)
		r = inode_prepare(fs, ino);
	if (r == 0 && nameless)
		r = orphan_prepare(fs, ino);
	if (r < 0)
		return r;
	r = entry_put(fs, &entry);
	if (r == 0 && nameless)
		r = orphan_delete(fs, ino);
	child.links++;
	child.ctime_ns = fs_now_ns(fs);
	namei_enter(&dir, &child);
	namei_touch(&dir, child.ctime_ns);
	if (r == 0)
		r = inode_store(fs, &child);
	if (r == 0)
		r = inode_store(fs, &dir);
	if (r == 0 && ret_attr)
		inode_attr(fs, &child, ret_attr);
	return inode_changed(fs, r);
}

int fs_link(struct fs *fs, uint64_t ino, uint64_t dir, const char *name, struct fs_attr *ret_attr)
{
	struct op op;
	int r = namei_check(name, -EEXIST);

	if (r == 0)
		r = op_begin(fs, &op, OP_MODIFY, 0);
	if (r < 0)
		return r;
	do
		r = link_locked(fs, ino, dir, name, ret_attr);
	while (op_retry(&op, &r));
	op_end(&op);
	return r;
}

/* ---- Removing ---- */

int namei_drop_prepare(struct fs *fs, const struct inode *child)
{
	int r = inode_prepare(fs, child->ino);
	return r < 0 ? r : orphan_prepare(fs, child->ino);
}

int namei_drop(struct fs *fs, struct inode *child, int64_t now, bool *ret_reap)
{
	int r = 0;

	*ret_reap = false;
	child->ctime_ns = now;
	child->links = S_ISDIR(child->mode) ? 0 : child->links - 1;
	if (child->links == 0)
		r = orphan_put(fs, child->ino, ret_reap);
	return r < 0 ? r : inode_store(fs, child);
}

static int remove_locked(struct fs *fs, uint64_t dir_ino, const char *name, bool want_dir, uint64_t *ret_child, bool *ret_reap)
{
	struct inode dir, child;
	struct entry entry;

	int r = inode_load_dir(fs, dir_ino, &dir);
	if (r == 0)
		r = namei_find(fs, dir_ino, name, &entry, &child);
	if (r < 0)
		return r;
	if (want_dir != S_ISDIR(child.mode))
		return want_dir ? -ENOTDIR : -EISDIR;
	if (want_dir && child.entries > 0)
		return -ENOTEMPTY;
	r = namei_leave(fs, &dir, &child);
	if (r == 0)
		r = inode_prepare(fs, dir_ino);
	if (r == 0)
		r = entry_prepare(fs, &entry);
	if (r == 0)
		r = namei_drop_prepare(fs, &child);
	if (r < 0)
		return r;
	int64_t now = fs_now_ns(fs);
	namei_touch(&dir, now);
	r = namei_drop(fs, &child, now, ret_reap);
	if (r == 0)
		r = entry_delete(fs, &entry, true);
	if (r == 0)
		r = inode_store(fs, &dir);
	*ret_child = child.ino;
	return inode_changed(fs, r);
}

static int remove_name(struct fs *fs, uint64_t dir, const char *name, bool want_dir)
{
	uint64_t child = 0;
	bool reap = false;
	struct op op;

	int r = op_begin(fs, &op, OP_FREE, 0);
	if (r < 0)
		return r;
	do
		r = remove_locked(fs, dir, name, want_dir, &child, &reap);
	while (op_retry(&op, &r));
	op_end(&op);
	if (r == 0 && reap)
		inode_reap(fs, child);
	return r;
}

int fs_unlink(struct fs *fs, uint64_t dir, const char *name)
{
	int r = namei_check(name, -EISDIR);
	return r < 0 ? r : remove_name(fs, dir, name, false);
}

int fs_rmdir(struct fs *fs, uint64_t dir, const char *name)
{
	int r = namei_check(name, strcmp(name, ".") ? -ENOTEMPTY : -EINVAL);
	return r < 0 ? r : remove_name(fs, dir, name, true);
}
