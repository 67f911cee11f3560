/* The data of one object: what reading, writing and cutting share.  See data.h. */
#include "fs/core.h"
#include "fs/data/data.h"

#include <errno.h>
#include <sys/stat.h>

static_assert(FILE_BLOCKS_MAX * BLOCK_BYTES == FS_FILE_BYTES_MAX, "both limits of a file's length are one");

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

/* What lies in no band cannot be read, and above all not be freed. */
static bool lies_in_band(struct fs *fs, const struct extent_item *value)
{
	address at = le64_get(value->address);
	const struct band *b = extent_placed(value) ? config_band(fs->config, address_band(at)) : NULL;

	return !extent_placed(value) || (b && address_block(at) + le32_get(value->blocks) <= band_blocks(b));
}

int data_extent(struct fs *fs, const struct item *item, struct extent *ret_extent)
{
	const struct extent_item *value = item->value;

	if (item->bytes >= sizeof(*value) && value->kind == EXTENT_DIRTY)
		*ret_extent = (struct extent){ item->key.offset, record_blocks(record_of(item)), EXTENT_DIRTY, *item };
	else if (extent_item_valid(&item->key, value, item->bytes) && lies_in_band(fs, value))
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

/* Removing blocks [from, to) from the file: those of the extent that go, counted from its first. */
static bool goes(const struct extent *extent, uint64_t from, uint64_t to, uint64_t *ret_from, uint64_t *ret_to)
{
	uint64_t end = extent->block + extent->blocks;

	*ret_from = from > extent->block ? from - extent->block : 0;
	*ret_to = to < end ? to - extent->block : extent->blocks;
	return *ret_from > 0 || *ret_to < extent->blocks;
}

/* The extent's item, and those that what is left of it gets. */
static int prepare_extent(struct fs *fs, const struct extent *extent, uint64_t from, uint64_t to)
{
	uint64_t at[EXTENT_LEFT_MAX], first, end;
	struct key key = extent->item.key;
	unsigned count = 0;

	if (goes(extent, from, to, &first, &end)) {
		if (extent->kind == EXTENT_DIRTY)
			return data_unclean(fs, key.object, extent->block, "a record crosses a unit");
		count = extent_left_at(extent->item.value, first, end, at);
	}
	int r = tree_prepare(fs, fs_file_tree(fs), &key);        /* the item may lie elsewhere from here on */
	for (unsigned i = 0; i < count && r == 0; i++) {
		key.offset = extent->block + at[i];
		r = tree_prepare(fs, fs_file_tree(fs), &key);
	}
	return r;
}

int data_prepare_range(struct fs *fs, uint64_t ino, uint64_t from, uint64_t to)
{
	struct extent_walk walk = { .ino = ino, .block = from, .limit = to };
	struct key key = key_make(ino, ITEM_EXTENT, from);
	struct extent extent;

	int r = tree_prepare(fs, fs_file_tree(fs), &key);
	while (r == 0 && (r = extent_walk_next(fs, &walk, &extent)) == 0)
		r = prepare_extent(fs, &extent, from, to);
	return r == -ENOENT ? 0 : r;
}

/* Removes blocks [from, to) of the extent, which it covers at least in part. */
static int remove_from(struct fs *fs, const struct extent *extent, uint64_t from, uint64_t to)
{
	struct key key = extent->item.key;
	struct extent_left left;
	uint64_t first, end;

	left.count = 0;
	if (goes(extent, from, to, &first, &end))
		extent_left(extent->item.value, first, end, &left);
	extent_free(fs, &extent->item, first, end - first);
	int r = left.count && left.parts[0].at == 0 ? 0 : tree_delete(fs, fs_file_tree(fs), &key);
	for (unsigned i = 0; i < left.count && r == 0; i++) {
		key.offset = extent->block + left.parts[i].at;
		r = tree_put(fs, fs_file_tree(fs), &key, left.parts[i].value, left.parts[i].bytes);
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
