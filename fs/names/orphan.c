/* Orphans: objects that nothing names any more, from their last link to the last of their items.
 *
 * An object becomes an orphan in the operation that takes its last name (orphan_put: its ITEM_ORPHAN item), or is made as
 * one (a hidden object, until its owner takes it, and a file without a name, until it gets one: orphan_delete).  It is freed by inode_reap: by the operation
 * itself when nobody refers to it, at its last fs_unref, or, after a crash, by inode_reap_orphans.  Freeing takes several operations:
 * each takes some xattrs or extents, and the last one takes the inode and the orphan item together; so a cut in between
 * leaves an orphan that is merely smaller.  It is harmless if two threads do it at once, and nothing that is
 * referred to is touched. */
#include "fs/core.h"
#include "fs/data/data.h"
#include "fs/names/inode.h"
#include "fs/names/xattr.h"

#include <errno.h>

static struct key orphan_key(uint64_t ino) { return key_make(OBJECT_ORPHANS, ITEM_ORPHAN, ino); }

int orphan_prepare(struct fs *fs, uint64_t ino)
{
	struct key key = orphan_key(ino);
	return tree_prepare(fs, fs_file_tree(fs), &key);
}

int orphan_put(struct fs *fs, uint64_t ino, bool *ret_reap)
{
	struct key key = orphan_key(ino);
	int r = tree_put(fs, fs_file_tree(fs), &key, "", 0);

	if (r == 0)
		*ret_reap = inode_table_orphan(fs, ino);
	return r;
}

int orphan_delete(struct fs *fs, uint64_t ino)
{
	struct key key = orphan_key(ino);

	inode_table_adopt(fs, ino);
	return tree_delete(fs, fs_file_tree(fs), &key);
}

static bool has_data(const struct inode *inode)
{
	return inode->size_bytes > 0 || inode->blocks > 0 || (inode->flags & INODE_HAS_INLINE);
}

/* The orphan's last step: its inode and the orphan item. Prepared. */
static int remove_inode(struct fs *fs, uint64_t ino)
{
	struct key key = key_make(ino, ITEM_INODE, 0), orphan = orphan_key(ino);
	int r = tree_delete(fs, fs_file_tree(fs), &key);

	if (r == 0)
		r = tree_delete(fs, fs_file_tree(fs), &orphan);
	if (r == 0)
		fs->inode_count--;
	return r;
}

/* One operation: 1 while there is more to free. */
static int reap_locked(struct fs *fs, uint64_t ino, uint64_t *ret_hidden)
{
	struct key orphan = orphan_key(ino);
	struct inode inode;
	struct item item;

	*ret_hidden = 0;
	if (inode_table_referred(fs, ino))
		return 0;
	int r = tree_lookup(fs, fs_file_tree(fs), &orphan, &item);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	r = orphan_prepare(fs, ino);
	if (r < 0)
		return r;
	r = inode_load(fs, ino, &inode);
	if (r == -ENOENT) {
		inode_unclean(fs, ino, "it is on the list of orphans and does not exist");
		return inode_changed(fs, tree_delete(fs, fs_file_tree(fs), &orphan));
	}
	if (r == 0 && inode.links > 0)
		return inode_unclean(fs, ino, "it is on the list of orphans and has links");
	if (r == 0)
		r = xattr_remove_one(fs, ino, ret_hidden);
	if (r != 0)
		return r;
	r = inode_prepare(fs, ino);
	if (r == 0 && has_data(&inode)) {
		r = data_free_some(fs, ino, &inode);
		if (r == 1) {
			r = inode_store(fs, &inode);
			return inode_changed(fs, r) < 0 ? r : 1;
		}
	}
	return r < 0 ? r : inode_changed(fs, remove_inode(fs, ino));
}

/* Returns the error that stopped it; the object is still an orphan then, as it is when the filesystem is being closed. */
static int reap(struct fs *fs, uint64_t ino)
{
	uint64_t hidden = 0;
	struct op op;
	int r;

	do {
		r = op_begin(fs, &op, OP_FREE, 0);
		if (r < 0)
			return r;
		do
			r = fs->stopping ? 0 : reap_locked(fs, ino, &hidden);
		while (op_retry(&op, &r));
		op_end(&op);
		if (r > 0 && hidden)
			inode_reap(fs, hidden);
	} while (r > 0);
	return r;
}

void inode_reap(struct fs *fs, uint64_t ino)
{
	int r = reap(fs, ino);

	if (r < 0 && r != -EUCLEAN)
		event_report(&fs->options.events, EVENT_WARNING, -1,
			"Inode %llu was deleted, but its space could not be freed (error %d); the next mount tries again.",
			(unsigned long long)ino, -r);
}

/* The first orphan with a number of at least `from`. */
static int next_orphan(struct fs *fs, uint64_t from, uint64_t *ret_ino)
{
	struct key key = orphan_key(from), to = orphan_key(UINT64_MAX);
	struct item item;
	struct op op;

	int r = op_begin(fs, &op, OP_READ, 0);
	if (r < 0)
		return r;
	do
		r = tree_next(fs, fs_file_tree(fs), &key, &to, &item);
	while (op_retry(&op, &r));
	if (r == 0)
		*ret_ino = item.key.offset;
	op_end(&op);
	return r;
}

int inode_reap_orphans(struct fs *fs)
{
	uint64_t ino = 0;
	int r;

	while ((r = next_orphan(fs, ino, &ino)) == 0) {
		inode_reap(fs, ino);
		if (ino++ == UINT64_MAX)
			return 0;
	}
	return r == -ENOENT ? 0 : r;
}
