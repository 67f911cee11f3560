/* What a salvage mount says of an object whose inode cannot be read, but of which there is something to be had: a directory with
 * entries, or a file with data.  Else one node that is lost would hide all that is below a directory in it.
 *
 * Owner, mode and times are made up; a file's size goes up to the end of its last block, since no more is known. */
#include "fs/core.h"
#include "fs/data/data.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

static int parent_of(struct fs *fs, uint64_t ino, uint64_t *ret_parent)
{
	struct key from = key_make(ino, ITEM_LINK, 0), to = key_make(ino, ITEM_LINK, UINT64_MAX);
	struct item item;
	bool unknown;
	int r = tree_next_known(fs, fs_file_tree(fs), &from, &to, &item, &unknown);

	if (r == 0)
		*ret_parent = le64_get(((const struct link_item *)item.value)->parent);
	return r == -ENOENT ? 0 : r;
}

static int has_entries(struct fs *fs, uint64_t ino)
{
	struct key from = key_make(ino, ITEM_DIRENT, 0), to = key_make(ino, ITEM_DIRENT, UINT64_MAX);
	struct item item;
	bool unknown;

	return tree_next_known(fs, fs_file_tree(fs), &from, &to, &item, &unknown);
}

static int load_data(struct fs *fs, struct inode *inode)
{
	struct key inl = key_make(inode->ino, ITEM_INLINE, 0), from = key_make(inode->ino, ITEM_EXTENT, UINT64_MAX),
		to = key_make(inode->ino, ITEM_EXTENT, 0);
	struct extent extent;
	struct item item;
	int r = tree_lookup(fs, fs_file_tree(fs), &inl, &item);

	if (r == 0) {
		inode->flags = INODE_HAS_INLINE;
		inode->size_bytes = item.bytes;
		return 0;
	}
	if (r == TREE_MISS)
		return r;
	r = tree_prev(fs, fs_file_tree(fs), &from, &to, &item);
	if (r == 0)
		r = data_extent(fs, &item, &extent);
	if (r == 0)
		inode->size_bytes = (extent.block + extent.blocks) * BLOCK_BYTES;
	return r;
}

int inode_salvage(struct fs *fs, uint64_t ino, struct inode *ret_inode)
{
	struct inode inode = { .ino = ino, .mode = S_IFDIR | 0700, .uid = geteuid(), .gid = getegid(), .links = 2, .parent = OBJECT_ROOT };
	int r = ino == OBJECT_ROOT ? 0 : has_entries(fs, ino);

	if (r == 0)
		r = parent_of(fs, ino, &inode.parent);
	else if (r != TREE_MISS) {
		inode.mode = S_IFREG | 0600;
		inode.links = 1;
		inode.parent = 0;
		r = load_data(fs, &inode);
	}
	if (r == 0)
		*ret_inode = inode;
	return r == TREE_MISS || r == 0 ? r : -EIO;
}
