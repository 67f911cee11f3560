/* fs_fallocate: reserves space in holes, punches, zeros.
 *
 * Reserved space is an EXTENT_RESERVED item: counted, without an address, reading as zeros.  A call reserves hole by
 * hole in operations of bounded size; when one finds no space, what this call has reserved is given back. */
#include "fs/core.h"
#include "fs/data/data_cut.h"
#include "fs/space/space.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdlib.h>

struct hole { uint64_t block; uint32_t blocks; };

struct reserve {
	uint64_t ino;
	uint64_t block, end;             /* of what is still to be looked at */
	unsigned count;                  /* of the holes found before `block` */
	struct hole holes[DATA_EXTENTS_AN_OP];
	uint64_t blocks;                 /* in them */
	bool times;
	struct hole *made; size_t made_count, made_room;
};

/* Adds [from, to) in pieces that fit an item; returns how far it came. */
static uint64_t add_hole(struct reserve *reserve, uint64_t from, uint64_t to)
{
	while (from < to && reserve->count < DATA_EXTENTS_AN_OP) {
		uint32_t blocks = to - from < EXTENT_RESERVED_BLOCKS_MAX ? (uint32_t)(to - from) : EXTENT_RESERVED_BLOCKS_MAX;
		reserve->holes[reserve->count++] = (struct hole){ from, blocks };
		reserve->blocks += blocks;
		from += blocks;
	}
	return from;
}

static int find_holes_locked(struct fs *fs, struct reserve *reserve, uint64_t *ret_block)
{
	struct extent_walk walk = { .ino = reserve->ino, .block = reserve->block, .limit = reserve->end };
	uint64_t at = reserve->block;
	struct extent extent;

	reserve->count = 0;
	reserve->blocks = 0;
	for (unsigned i = 0; at < reserve->end && i < DATA_EXTENTS_AN_OP; i++) {
		int r = extent_walk_next(fs, &walk, &extent);
		if (r < 0 && r != -ENOENT)
			return r;
		uint64_t hole_end = r == 0 ? extent.block : reserve->end;
		if (at < hole_end)
			at = add_hole(reserve, at, hole_end);
		if (at < hole_end)
			break;
		at = r == 0 ? walk.block : reserve->end;
	}
	*ret_block = at;
	return 0;
}

static int find_holes(struct fs *fs, struct reserve *reserve)
{
	uint64_t block = 0;
	struct op op;
	int r = op_begin(fs, &op, OP_READ, 0);

	if (r < 0)
		return r;
	do
		r = find_holes_locked(fs, reserve, &block);
	while (op_retry(&op, &r));
	op_end(&op);
	if (r == 0)
		reserve->block = block;
	return r;
}

static int put_holes_locked(struct fs *fs, const struct reserve *reserve)
{
	struct inode inode;
	int r = data_begin(fs, reserve->ino, &inode);

	for (unsigned i = 0; r == 0 && i < reserve->count; i++) {
		struct key key = key_make(reserve->ino, ITEM_EXTENT, reserve->holes[i].block);
		r = tree_prepare(fs, fs_file_tree(fs), &key);
	}
	if (r < 0)
		return r;
	for (unsigned i = 0; r == 0 && i < reserve->count; i++) {
		struct key key = key_make(reserve->ino, ITEM_EXTENT, reserve->holes[i].block);
		struct extent_item item;
		extent_reserved(reserve->holes[i].blocks, &item);
		r = tree_put(fs, fs_file_tree(fs), &key, &item, sizeof(item));
		if (r == 0)
			reserved_add(fs, reserve->holes[i].blocks);
		inode.blocks += reserve->holes[i].blocks;
		changes_reserve(fs->open->changes, reserve->ino, key.offset, key.offset + reserve->holes[i].blocks);
	}
	if (r < 0)
		return inode_changed(fs, r);
	if (reserve->times)
		inode.ctime_ns = fs_now_ns(fs);
	return inode_store(fs, &inode);
}

static int put_holes(struct fs *fs, struct reserve *reserve)
{
	struct op op;

	/* Room to remember them comes first, so that they can be given back. */
	for (unsigned i = 0; i < reserve->count; i++) {
		struct hole *hole = vector_add(&reserve->made, &reserve->made_count, &reserve->made_room, sizeof(*hole));
		if (!hole) {
			reserve->made_count -= i;
			return -ENOMEM;
		}
		*hole = reserve->holes[i];
	}
	int r = op_begin(fs, &op, OP_MODIFY, space_to_reserve(reserve->blocks));
	if (r == 0) {
		do
			r = put_holes_locked(fs, reserve);
		while (op_retry(&op, &r));
		op_end(&op);
	}
	if (r < 0)
		reserve->made_count -= reserve->count;
	return r;
}

static int remove_hole_locked(struct fs *fs, uint64_t ino, const struct hole *hole)
{
	struct inode inode;
	int r = data_begin(fs, ino, &inode);

	if (r == 0)
		r = data_prepare_range(fs, ino, hole->block, hole->block + hole->blocks);
	if (r == 0)
		r = data_remove(fs, &inode, hole->block, hole->block + hole->blocks);
	if (r < 0)
		return r;
	changes_cut(fs->open->changes, ino, hole->block, hole->block + hole->blocks);
	return inode_store(fs, &inode);
}

static void give_back(struct fs *fs, const struct reserve *reserve)
{
	for (size_t i = 0; i < reserve->made_count; i++) {
		struct op op;
		int r = op_begin(fs, &op, OP_FREE, 0);
		if (r < 0)
			return;
		do
			r = remove_hole_locked(fs, reserve->ino, &reserve->made[i]);
		while (op_retry(&op, &r));
		op_end(&op);
	}
}

int data_reserve(struct fs *fs, uint64_t ino, uint64_t start_bytes, uint64_t end_bytes, bool times)
{
	struct reserve *reserve = calloc(1, sizeof(*reserve));
	int r = 0;

	if (!reserve)
		return -ENOMEM;
	reserve->ino = ino;
	reserve->times = times;
	reserve->block = start_bytes / BLOCK_BYTES;
	reserve->end = (end_bytes + BLOCK_BYTES - 1) / BLOCK_BYTES;
	while (r == 0 && reserve->block < reserve->end) {
		r = find_holes(fs, reserve);
		if (r == 0 && reserve->count)
			r = put_holes(fs, reserve);
	}
	if (r < 0)
		give_back(fs, reserve);
	free(reserve->made);
	free(reserve);
	return r;
}

int fs_fallocate(struct fs *fs, uint64_t ino, int mode, uint64_t offset_bytes, uint64_t length_bytes)
{
	bool keep_size = mode & FALLOC_FL_KEEP_SIZE, punch = mode == (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE);
	bool zero = (mode & ~FALLOC_FL_KEEP_SIZE) == FALLOC_FL_ZERO_RANGE;
	uint64_t end_bytes = offset_bytes + length_bytes;
	struct inode inode;

	if (!punch && !zero && (mode & ~FALLOC_FL_KEEP_SIZE))
		return -EOPNOTSUPP;
	if (length_bytes == 0)
		return -EINVAL;
	if (length_bytes > FS_FILE_BYTES_MAX || offset_bytes > FS_FILE_BYTES_MAX - length_bytes)
		return -EFBIG;
	inode_lock_exclusive(fs, ino);
	int r = data_inode(fs, ino, &inode);
	/* Space can be reserved beside records only. */
	if (r == 0 && !punch && (inode.flags & INODE_HAS_INLINE))
		r = data_uninline(fs, ino);
	if (r == 0 && (punch || zero))
		r = data_punch(fs, ino, offset_bytes, end_bytes);
	if (r == 0 && !punch)
		r = data_reserve(fs, ino, offset_bytes, end_bytes, true);
	if (r == 0 && !punch && !keep_size && end_bytes > inode.size_bytes)
		r = data_extend(fs, ino, end_bytes, true);
	inode_unlock(fs, ino);
	return r;
}
