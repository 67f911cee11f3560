/* The data of one object: files, and the hidden objects of long xattrs and symlinks.
 *
 * An object's data is one ITEM_INLINE item (INODE_HAS_INLINE, size at most INLINE_MAX, value as long as the size, no
 * extents), or ITEM_EXTENT items; a hole is the absence of items.  Invariants that every operation keeps:
 *  - bytes of a record beyond the object's size are zero, and no data extent begins beyond it (reserved ones may), so
 *    that growing needs no work;
 *  - a record lies in one unit of its file, so a cut at a unit's boundary never cuts a record;
 *  - inode.blocks is the number of blocks in its extents, reserved ones included.
 *
 * fs_read, fs_write, fs_fallocate and fs_seek (fs/fs.h) are built on it. */
#ifndef FS_DATA_H
#define FS_DATA_H

#include "fs/data/extent.h"
#include "fs/names/inode.h"
#include "fs/tree/record.h"

/* ---- For others in fs/ ---- */

/* Cuts or extends (a hole) to `size_bytes`, in several operations when there is much to free; sets mtime and ctime when
 * `times`.  Takes the inode's lock exclusively. */
int data_truncate(struct fs *fs, uint64_t ino, uint64_t size_bytes, bool times);
/* Frees up to a bounded number of extents from the end of an object that is going away. One operation's body: fs->lock held, may
 * TREE_MISS. Returns 1 when more is left, 0 when there is no data any more.  Lowers the inode's size and blocks; the caller
 * has prepared the inode before, and stores it after. */
int data_free_some(struct fs *fs, uint64_t ino, struct inode *inode);

/* For replay of the intent log: blocks [from, to) become a hole; whole blocks of content, and reserved space in holes;
 * size and times stay as they are. */
int data_cut_blocks(struct fs *fs, uint64_t ino, uint64_t from, uint64_t to);
int data_put_blocks(struct fs *fs, uint64_t ino, const void *buf, uint64_t block, uint64_t blocks);
int data_reserve(struct fs *fs, uint64_t ino, uint64_t start_bytes, uint64_t end_bytes, bool times);

/* ---- Shared by data_*.c; with fs->lock held, may TREE_MISS, where not said otherwise ---- */

/* Extents that one operation walks or frees at most. */
#define DATA_EXTENTS_AN_OP 64u

/* Reports what makes no sense; returns -EUCLEAN. */
int data_unclean(struct fs *fs, uint64_t ino, uint64_t block, const char *what);
/* 0 for objects that have data (regular files, symlinks, hidden ones), -EISDIR, -EINVAL. No lock needed. */
int data_check_type(const struct inode *inode);
/* -EUCLEAN unless the item is as long as the size; else its bytes, zeros behind. */
int data_inline_load(struct fs *fs, const struct inode *inode, uint8_t ret_bytes[INLINE_MAX]);
/* Turns inline data into a dirty record. An operation of its own, without fs->lock, the inode's lock held exclusively. */
int data_uninline(struct fs *fs, uint64_t ino);

/* An extent as found: `item` is valid as any item of the tree. */
struct extent {
	uint64_t block, blocks;
	uint8_t kind;
	struct item item;
};
/* Fills an extent from its item; -EUCLEAN if it is not valid. */
int data_extent(struct fs *fs, const struct item *item, struct extent *ret_extent);
/* A walk over the extents that touch blocks [block, limit) of an object. */
struct extent_walk {
	uint64_t ino;
	uint64_t block, limit;           /* `block` moves behind what was found */
	bool going;
};
/* The next one, validated.  -ENOENT at the end; -EUCLEAN. */
int extent_walk_next(struct fs *fs, struct extent_walk *walk, struct extent *ret_extent);

/* Prepares data_remove and puts of extent items in [from, to): no record crosses `from` or `to`. -EUCLEAN. */
int data_prepare_range(struct fs *fs, uint64_t ino, uint64_t from, uint64_t to);
/* Removes the extents in [from, to), prepared, and counts the blocks off `inode`. Cannot miss. */
int data_remove(struct fs *fs, struct inode *inode, uint64_t from, uint64_t to);
/* Removes at most DATA_EXTENTS_AN_OP extents from *from on, below `to`, as an operation's body; moves *from on to where the
 * next call continues (`to`: nothing is left).  Changes inode.blocks; the inode is prepared and stored by the caller. */
int data_remove_some(struct fs *fs, struct inode *inode, uint64_t *from, uint64_t to);

#endif
