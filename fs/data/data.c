/* The data of one object: what reading, writing and cutting share.  See data.h. */
#include "fs/core.h"
#include "fs/data/data.h"

#include <errno.h>
#include <sys/stat.h>

static_assert(FILE_BLOCKS_MAX == FS_FILE_BYTES_MAX / BLOCK_BYTES, "both limits of a file's length are one");

int data_unclean(struct fs *fs, uint64_t ino, uint64_t block, const char *what)
{
	event_report(&fs->options.events, EVENT_WARNING, -1, "Inode %llu, block %llu: %s; "
		"this is damage that its redundancy did not catch: unmount and run fsck.raid5cryptfs.",
		(unsigned long long)ino, (unsigned long long)block, what);
	return -EUCLEAN;
}

int data_check_type(const struct inode *inode)
{
	switch (inode->mode & S_IFMT) {
	case 0:
	case S_IFREG:
	case S_IFLNK:
		return 0;
	case S_IFDIR:
		return -EISDIR;
	default:
		return -EINVAL;
	}
}

int data_inline_load(struct fs *fs, const struct inode *inode, uint8_t ret_bytes[INLINE_MAX])
{
	struct key key = key_make(inode->ino, ITEM_INLINE, 0);
	struct item item;
	int r = tree_lookup(fs, fs_file_tree(fs), &key, &item);

	if (r == -ENOENT)
		return data_unclean(fs, inode->ino, 0, "its inline data is missing");
	if (r < 0)
		return r;
	if (item.bytes != inode->size_bytes || item.bytes > INLINE_MAX)
		return data_unclean(fs, inode->ino, 0, "its inline data is not as long as its size");
	memset(ret_bytes, 0, INLINE_MAX);
	memcpy(ret_bytes, item.value, item.bytes);
	return 0;
}

static int uninline_locked(struct fs *fs, uint64_t ino, struct record *record)
{
	struct key from = key_make(ino, ITEM_INLINE, 0), to = key_make(ino, ITEM_EXTENT, 0);
	uint8_t bytes[INLINE_MAX];
	struct inode inode;

	int r = inode_load(fs, ino, &inode);
	if (r < 0 || !(inode.flags & INODE_HAS_INLINE))
		return r;
	r = data_inline_load(fs, &inode, bytes);
	if (r == 0)
		r = inode_prepare(fs, ino);
	if (r == 0)
		r = tree_prepare(fs, fs_file_tree(fs), &from);
	if (r == 0)
		r = tree_prepare(fs, fs_file_tree(fs), &to);
	if (r < 0)
		return r;
	r = tree_delete(fs, fs_file_tree(fs), &from);
	if (r == 0 && inode.size_bytes > 0) {
		memcpy(record_data(record), bytes, INLINE_MAX);
		r = record_put(fs, record);
		inode.blocks++;
	}
	if (r < 0)
		return inode_changed(fs, r);
	inode.flags &= ~INODE_HAS_INLINE;
	changes_force(fs->open->changes, ino, inode.size_bytes, 0, 1);   /* the item that had it is gone */
	return inode_store(fs, &inode);
}

int data_uninline(struct fs *fs, uint64_t ino)
{
	struct op op;
	struct record *record = record_new(ino, 0, 1, false);

	if (!record)
		return -ENOMEM;
	int r = op_begin(fs, &op, OP_MODIFY, 1);
	if (r == 0) {
		do
			r = uninline_locked(fs, ino, record);
		while (op_retry(&op, &r));
		op_end(&op);
	}
	record_unref(fs, record);
	return r;
}

int data_extent(struct fs *fs, const struct item *item, struct extent *ret_extent)
{
	const struct extent_item *value = item->value;

	if (item->bytes >= sizeof(*value) && value->kind == EXTENT_DIRTY)
		*ret_extent = (struct extent){ item->key.offset, record_blocks(record_of(item)), EXTENT_DIRTY, *item };
	else if (extent_item_valid(&item->key, value, item->bytes))
		*ret_extent = (struct extent){ item->key.offset, le32_get(value->blocks), value->kind, *item };
	else
		return data_unclean(fs, item->key.object, item->key.offset, "an extent makes no sense");
	return 0;
}

int extent_walk_next(struct fs *fs, struct extent_walk *walk, struct extent *ret_extent)
{
	struct key from = key_make(walk->ino, ITEM_EXTENT, walk->block), to = key_make(walk->ino, ITEM_EXTENT, 0);
	struct extent extent;
	struct item item;
	int r;

	if (walk->block >= walk->limit)
		return -ENOENT;
	if (!walk->going) {
		/* The one that covers the first block may begin before it. */
		r = tree_prev(fs, fs_file_tree(fs), &from, &to, &item);
		if (r == 0)
			r = data_extent(fs, &item, &extent);
		if (r == 0 && extent.block + extent.blocks > walk->block)
			goto found;
		if (r < 0 && r != -ENOENT)
			return r;
	}
	to.offset = walk->limit - 1;
	r = tree_next(fs, fs_file_tree(fs), &from, &to, &item);
	if (r == 0)
		r = data_extent(fs, &item, &extent);
	if (r < 0)
		return r;
found:
	walk->going = true;
	walk->block = extent.block + extent.blocks;
	*ret_extent = extent;
	return 0;
}

/* May the extent be cut at `block`, or does it not reach over it? */
static bool cut_allowed(const struct extent *extent, uint64_t block)
{
	if (extent->block >= block || extent->block + extent->blocks <= block)
		return true;
	return extent->kind != EXTENT_DIRTY && extent_cuttable(extent->item.value, block - extent->block);
}

int data_prepare_range(struct fs *fs, uint64_t ino, uint64_t from, uint64_t to)
{
	struct extent_walk walk = { .ino = ino, .block = from, .limit = to };
	struct key key = key_make(ino, ITEM_EXTENT, from);
	struct extent extent;

	int r = tree_prepare(fs, fs_file_tree(fs), &key);
	while (r == 0 && (r = extent_walk_next(fs, &walk, &extent)) == 0) {
		if (!cut_allowed(&extent, from) || !cut_allowed(&extent, to))
			return data_unclean(fs, ino, extent.block, "a record crosses a unit");
		key.offset = extent.block;
		r = tree_prepare(fs, fs_file_tree(fs), &key);
		key.offset = to;
		if (r == 0 && extent.block + extent.blocks > to)         /* the rest of it goes there */
			r = tree_prepare(fs, fs_file_tree(fs), &key);
	}
	return r == -ENOENT ? 0 : r;
}

/* Removes blocks [from, to) of the extent, which it covers at least in part. */
static int remove_from(struct fs *fs, const struct extent *extent, uint64_t from, uint64_t to)
{
	const struct extent_item *value = extent->item.value;
	uint64_t head_blocks = from > extent->block ? from - extent->block : 0;
	uint64_t end = extent->block + extent->blocks, tail_from = end > to ? to - extent->block : extent->blocks;
	uint8_t head[EXTENT_ITEM_BYTES_MAX], tail[EXTENT_ITEM_BYTES_MAX];
	unsigned head_bytes = 0, tail_bytes = 0;
	struct key key = extent->item.key;
	int r = 0;

	if (head_blocks)
		head_bytes = extent_head(value, head_blocks, head);
	if (tail_from < extent->blocks)
		tail_bytes = extent_tail(value, tail_from, tail);
	extent_free(fs, &extent->item, head_blocks, tail_from - head_blocks);
	if (head_bytes)
		r = tree_put(fs, fs_file_tree(fs), &key, head, head_bytes);
	else
		r = tree_delete(fs, fs_file_tree(fs), &key);
	if (r == 0 && tail_bytes) {
		key.offset = to;
		r = tree_put(fs, fs_file_tree(fs), &key, tail, tail_bytes);
	}
	return r;
}

int data_remove(struct fs *fs, struct inode *inode, uint64_t from, uint64_t to)
{
	struct extent_walk walk = { .ino = inode->ino, .block = from, .limit = to };
	struct extent extent;
	int r;

	while ((r = extent_walk_next(fs, &walk, &extent)) == 0) {
		uint64_t start = extent.block > from ? extent.block : from;
		uint64_t blocks = (walk.block < to ? walk.block : to) - start;
		r = remove_from(fs, &extent, from, to);
		if (r < 0)
			return inode_changed(fs, r);
		inode->blocks -= blocks < inode->blocks ? blocks : inode->blocks;
	}
	return r == -ENOENT ? 0 : r;
}

int data_remove_some(struct fs *fs, struct inode *inode, uint64_t *from, uint64_t to)
{
	struct extent_walk walk = { .ino = inode->ino, .block = *from, .limit = to };
	struct extent extent;
	unsigned count = 0;
	int r = 0;

	while (count < DATA_EXTENTS_AN_OP && (r = extent_walk_next(fs, &walk, &extent)) == 0)
		count++;
	if (r < 0 && r != -ENOENT)
		return r;
	if (r == 0 && walk.block < to)
		to = walk.block;
	r = data_prepare_range(fs, inode->ino, *from, to);
	if (r == 0)
		r = data_remove(fs, inode, *from, to);
	if (r == 0)
		*from = to;
	return r;
}
