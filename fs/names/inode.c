/* Inode items: their codec, and the operations on an inode's attributes.  See inode.h. */
#include "base/bytes.h"
#include "fs/core.h"
#include "fs/data/data.h"
#include "fs/names/inode.h"
#include "fs/names/xattr.h"

#include <errno.h>
#include <sys/stat.h>

#define NS_A_SECOND INT64_C(1000000000)
#define MODE_BITS 07777u

int inode_unclean(struct fs *fs, uint64_t ino, const char *what)
{
	event_report(&fs->options.events, EVENT_WARNING, -1, "Inode %llu: %s; "
		"this is damage that its redundancy did not catch: unmount and run fsck.raid5cryptfs.", (unsigned long long)ino, what);
	return -EUCLEAN;
}

int inode_changed(struct fs *fs, int r)
{
	if (r < 0)
		fs_give_up(fs, r, "a change could not be finished in memory");
	return r;
}

static struct disk_time time_put(file_ns ns)
{
	file_ns seconds = ns / NS_A_SECOND, rest = ns % NS_A_SECOND;

	if (rest < 0) {
		seconds--;
		rest += NS_A_SECOND;
	}
	return (struct disk_time){ le64_put((uint64_t)seconds), le32_put((uint32_t)rest) };
}

static bool time_get(const struct disk_time *time, file_ns *ret_ns)
{
	uint32_t rest = le32_get(time->nanoseconds);

	if (rest >= NS_A_SECOND)
		return false;
	*ret_ns = (file_ns)(int64_t)le64_get(time->seconds) * NS_A_SECOND + rest;
	return true;
}

static bool mode_known(uint32_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFREG: case S_IFDIR: case S_IFLNK: case S_IFIFO: case S_IFSOCK: case S_IFCHR: case S_IFBLK:
		return (mode & ~(S_IFMT | MODE_BITS)) == 0;
	default:
		return mode == 0;
	}
}

/* Do the fields agree with each other? */
static bool inode_sane(const struct inode *i)
{
	bool dir = S_ISDIR(i->mode);

	if (!mode_known(i->mode) || (i->flags & ~INODE_FLAGS_KNOWN))
		return false;
	if (i->size_bytes > FS_FILE_BYTES_MAX || i->blocks > FS_FILE_BYTES_MAX / BLOCK_BYTES)
		return false;
	if ((i->flags & INODE_HAS_INLINE) && (i->size_bytes > INLINE_MAX || data_check_type(i) < 0))
		return false;
	if (!dir)
		return i->parent == 0 && i->entries == 0 && i->subdirectories == 0;
	if (i->parent == 0 || i->subdirectories > i->entries)
		return false;
	return i->links == 0 ? i->entries == 0 : i->links == i->subdirectories + 2;
}

int inode_decode(uint64_t ino, const void *value, unsigned bytes, struct inode *ret_inode)
{
	const struct inode_item *d = value;

	if (bytes != sizeof *d)
		return -EUCLEAN;
	struct inode i = {
		.ino = ino,
		.mode = le32_get(d->mode), .uid = le32_get(d->uid), .gid = le32_get(d->gid), .links = le32_get(d->links),
		.flags = le32_get(d->flags), .generation = le32_get(d->generation),
		.size_bytes = le64_get(d->size_bytes), .blocks = le64_get(d->blocks), .rdev = le64_get(d->rdev),
		.parent = le64_get(d->parent), .entries = le64_get(d->entries), .subdirectories = le64_get(d->subdirectories),
	};
	if (!time_get(&d->atime, &i.atime_ns) || !time_get(&d->mtime, &i.mtime_ns) || !time_get(&d->ctime, &i.ctime_ns)
		|| !time_get(&d->btime, &i.btime_ns) || !bytes_are_zero(d->zero, sizeof d->zero) || !inode_sane(&i))
		return -EUCLEAN;
	*ret_inode = i;
	return 0;
}

void inode_encode(const struct inode *i, struct inode_item *ret_item)
{
	assert(inode_sane(i));
	*ret_item = (struct inode_item){
		.mode = le32_put(i->mode), .uid = le32_put(i->uid), .gid = le32_put(i->gid), .links = le32_put(i->links),
		.size_bytes = le64_put(i->size_bytes), .blocks = le64_put(i->blocks), .rdev = le64_put(i->rdev),
		.parent = le64_put(i->parent), .flags = le32_put(i->flags), .generation = le32_put(i->generation),
		.atime = time_put(i->atime_ns), .mtime = time_put(i->mtime_ns),
		.ctime = time_put(i->ctime_ns), .btime = time_put(i->btime_ns),
		.entries = le64_put(i->entries), .subdirectories = le64_put(i->subdirectories),
	};
}

int inode_load(struct fs *fs, uint64_t ino, struct inode *ret_inode)
{
	struct key key = key_make(ino, ITEM_INODE, 0);
	struct item item;

	int r = tree_lookup(fs, fs_file_tree(fs), &key, &item);
	if (r == -EIO && fs->options.salvage)
		return inode_salvage(fs, ino, ret_inode);
	if (r < 0)
		return r;
	if (inode_decode(ino, item.value, item.bytes, ret_inode) < 0)
		return inode_unclean(fs, ino, "its item makes no sense");
	return 0;
}

int inode_load_dir(struct fs *fs, uint64_t ino, struct inode *ret_inode)
{
	struct inode inode;
	int r = inode_load(fs, ino, &inode);

	if (r < 0)
		return r;
	if (!S_ISDIR(inode.mode))
		return -ENOTDIR;
	*ret_inode = inode;
	return 0;
}

int inode_prepare(struct fs *fs, uint64_t ino)
{
	struct key key = key_make(ino, ITEM_INODE, 0);
	return tree_prepare(fs, fs_file_tree(fs), &key);
}

int inode_store(struct fs *fs, const struct inode *i)
{
	struct key key = key_make(i->ino, ITEM_INODE, 0);
	struct inode_item d;

	inode_encode(i, &d);
	return tree_put(fs, fs_file_tree(fs), &key, &d, sizeof d);
}

void inode_init(struct fs *fs, uint32_t mode, struct fs_cred cred, struct inode *ret_inode)
{
	int64_t now = fs_now_ns(fs);

	*ret_inode = (struct inode){
		.ino = fs->next_object, .mode = mode, .uid = cred.uid, .gid = cred.gid,
		.links = S_ISDIR(mode) ? 2 : mode ? 1 : 0,
		/* Numbers are reused only after a crash that lost them, and then in a later generation. */
		.generation = (uint32_t)fs->open->generation,
		.atime_ns = now, .mtime_ns = now, .ctime_ns = now, .btime_ns = now,
	};
}

int inode_create(struct fs *fs, const struct inode *inode)
{
	assert(inode->ino == fs->next_object);
	int r = inode_store(fs, inode);
	if (r < 0)
		return r;
	fs->next_object++;
	fs->inode_count++;
	return 0;
}

bool inode_kill_suidgid(struct inode *inode)
{
	uint32_t drop = S_ISUID | (inode->mode & S_IXGRP ? S_ISGID : 0u);

	if (S_ISDIR(inode->mode) || !(inode->mode & drop))
		return false;
	inode->mode &= ~drop;
	return true;
}

/* In units of 512 bytes.  Of data in the tree too, which takes no block of its own: a file of none at all is a hole for programs that
 * save sparse files (tar -S), and they do not even read it. */
uint64_t inode_blocks_shown(const struct inode *inode)
{
	uint64_t inline_bytes = inode->flags & INODE_HAS_INLINE ? inode->size_bytes : 0;

	return inode->blocks * (BLOCK_BYTES / 512) + (inline_bytes + 511) / 512;
}

void inode_attr(struct fs *fs, const struct inode *inode, struct fs_attr *ret_attr)
{
	*ret_attr = (struct fs_attr){
		.ino = inode->ino, .mode = inode->mode, .uid = inode->uid, .gid = inode->gid, .links = inode->links,
		.generation = inode->generation, .rdev = inode->rdev,
		.size_bytes = S_ISDIR(inode->mode) ? inode->entries : inode->size_bytes,
		.blocks = inode_blocks_shown(inode),
		.atime_ns = inode->atime_ns, .mtime_ns = inode->mtime_ns, .ctime_ns = inode->ctime_ns, .btime_ns = inode->btime_ns,
	};
	inode_table_atime(fs, inode, &ret_attr->atime_ns);
}

/* Loads what a caller may see: a hidden object is not there. */
static int load_visible(struct fs *fs, uint64_t ino, struct inode *ret_inode)
{
	struct inode inode;
	int r = inode_load(fs, ino, &inode);

	if (r < 0)
		return r;
	if (inode.mode == 0)
		return -ENOENT;
	*ret_inode = inode;
	return 0;
}

int fs_getattr(struct fs *fs, uint64_t ino, struct fs_attr *ret_attr)
{
	struct inode inode;
	struct op op;

	int r = op_begin(fs, &op, OP_READ, 0);
	if (r < 0)
		return r;
	do
		r = load_visible(fs, ino, &inode);
	while (op_retry(&op, &r));
	if (r == 0)
		inode_attr(fs, &inode, ret_attr);
	op_end(&op);
	return r;
}

static void set_owner(struct inode *inode, const struct fs_attr *attr, unsigned set)
{
	if (!(set & (FS_SET_UID | FS_SET_GID)))
		return;
	if (set & FS_SET_UID)
		inode->uid = attr->uid;
	if (set & FS_SET_GID)
		inode->gid = attr->gid;
	if (!(set & FS_SET_MODE))
		inode_kill_suidgid(inode);
}

static void set_times(struct inode *inode, const struct fs_attr *attr, unsigned set, int64_t now)
{
	if (set & FS_SET_ATIME)
		inode->atime_ns = attr->atime_ns;
	if (set & FS_SET_MTIME)
		inode->mtime_ns = attr->mtime_ns;
	if (set & FS_SET_ATIME_NOW)
		inode->atime_ns = now;
	if (set & FS_SET_MTIME_NOW)
		inode->mtime_ns = now;
	inode->ctime_ns = set & FS_SET_CTIME ? attr->ctime_ns : now;
}

static int setattr_locked(struct fs *fs, uint64_t ino, const struct fs_attr *attr, unsigned set, struct fs_attr *ret_attr)
{
	struct xattr_acl acl = { 0 };
	struct inode inode;

	int r = load_visible(fs, ino, &inode);
	if (r == 0 && (set & FS_SET_MODE) && !S_ISLNK(inode.mode))
		r = xattr_acl_load(fs, ino, XATTR_ACL_ACCESS, &acl);
	if (r == 0)
		r = inode_prepare(fs, ino);
	if (r == 0 && acl.found)
		r = xattr_acl_prepare(fs, &acl);
	if (r < 0)
		return r;
	if (set & FS_SET_MODE) {
		inode.mode = (inode.mode & S_IFMT) | (attr->mode & MODE_BITS);
		if (acl.found) {
			acl_chmod(&acl.acl, inode.mode);
			r = xattr_acl_put(fs, &acl);
		}
	}
	set_owner(&inode, attr, set);
	if (set & FS_KILL_SUIDGID)
		inode_kill_suidgid(&inode);
	set_times(&inode, attr, set, fs_now_ns(fs));
	if (set & (FS_SET_ATIME | FS_SET_ATIME_NOW))
		inode_table_atime_done(fs, ino);
	if (r == 0)
		r = inode_store(fs, &inode);
	if (r == 0 && ret_attr)
		inode_attr(fs, &inode, ret_attr);
	return inode_changed(fs, r);
}

int fs_setattr(struct fs *fs, uint64_t ino, const struct fs_attr *attr, unsigned set, struct fs_attr *ret_attr)
{
	struct fs_attr ignored;
	struct op op;
	int r;

	if (set & FS_SET_SIZE) {
		r = data_truncate(fs, ino, attr->size_bytes, !(set & FS_KEEP_TIMES));
		if (r < 0)
			return r;
	}
	set &= ~(FS_SET_SIZE | FS_KEEP_TIMES);
	if (set == 0)
		return fs_getattr(fs, ino, ret_attr ? ret_attr : &ignored);
	r = op_begin(fs, &op, OP_FREE, 0);
	if (r < 0)
		return r;
	do
		r = setattr_locked(fs, ino, attr, set, ret_attr);
	while (op_retry(&op, &r));
	op_end(&op);
	return r;
}
