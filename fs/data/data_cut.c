/* Giving data's space back: data_truncate, data_free_some, and punching and zeroing for fs_fallocate.
 *
 * What is long is cut at units in operations of bounded size, and each leaves a file that makes sense: a truncation goes from
 * the end downward and lowers the size with what it frees, so that after a crash in its middle the file is merely longer
 * than wanted, and nothing lies beyond its size.  The unit that is cut through comes last, together with the final size. */
#include "fs/core.h"
#include "fs/data/data_cut.h"
#include "fs/data/data_edit.h"

#include <errno.h>

static uint64_t unit_up(uint64_t bytes)
{
	return (bytes + UNIT_BYTES - 1) / UNIT_BYTES * UNIT_BYTES;
}

static void set_times(struct fs *fs, struct inode *inode)
{
	inode->mtime_ns = inode->ctime_ns = fs_now_ns(fs);
}

/* Frees at most DATA_EXTENTS_AN_OP extents from the end down to `cut_block`, a unit's boundary, and lowers the size with
 * them.  1: more is left.  As an operation's body; the inode is prepared and stored by the caller. */
static int free_tail(struct fs *fs, struct inode *inode, uint64_t cut_block)
{
	struct key from = key_make(inode->ino, ITEM_EXTENT, UINT64_MAX), to = key_make(inode->ino, ITEM_EXTENT, 0);
	uint64_t lowest = FILE_BLOCKS_MAX;
	bool more = true;
	int r = 0;

	for (unsigned count = 0; more && count < DATA_EXTENTS_AN_OP; count++) {
		struct extent extent;
		struct item item;
		r = tree_prev(fs, fs_file_tree(fs), &from, &to, &item);
		if (r == 0)
			r = data_extent(fs, &item, &extent);
		if (r < 0 && r != -ENOENT)
			return r;
		if (r == -ENOENT || extent.block + extent.blocks <= cut_block) {
			more = false;
			break;
		}
		more = extent.block > cut_block;
		lowest = more ? extent.block : cut_block;
		from.offset = lowest - 1;
	}
	if (lowest == FILE_BLOCKS_MAX)
		return 0;
	r = data_prepare_range(fs, inode->ino, lowest, FILE_BLOCKS_MAX);
	if (r == 0)
		r = data_remove(fs, inode, lowest, FILE_BLOCKS_MAX);
	if (r < 0)
		return r;
	if (inode->size_bytes > lowest * BLOCK_BYTES)
		inode->size_bytes = lowest * BLOCK_BYTES;
	changes_cut(fs->open->changes, inode->ino, lowest, FILE_BLOCKS_MAX);
	changes_shrink(fs->open->changes, inode->ino, inode->size_bytes);
	return more;
}

int data_free_some(struct fs *fs, uint64_t ino, struct inode *inode)
{
	struct key key = key_make(ino, ITEM_INLINE, 0);

	if (!(inode->flags & INODE_HAS_INLINE))
		return free_tail(fs, inode, 0);
	int r = tree_prepare(fs, fs_file_tree(fs), &key);
	if (r < 0)
		return r;
	r = tree_delete(fs, fs_file_tree(fs), &key);
	if (r < 0)
		return inode_changed(fs, r);
	inode->flags &= ~INODE_HAS_INLINE;
	inode->size_bytes = 0;
	return 0;
}

int data_begin(struct fs *fs, uint64_t ino, struct inode *ret_inode)
{
	int r = inode_load(fs, ino, ret_inode);

	if (r == 0)
		r = data_check_type(ret_inode);
	return r == 0 ? inode_prepare(fs, ino) : r;
}

int data_inode(struct fs *fs, uint64_t ino, struct inode *ret_inode)
{
	struct op op;
	int r = op_begin(fs, &op, OP_READ, 0);

	if (r < 0)
		return r;
	do {
		r = inode_load(fs, ino, ret_inode);
		if (r == 0)
			r = data_check_type(ret_inode);
	} while (op_retry(&op, &r));
	op_end(&op);
	return r;
}

/* ---- One edge: a range inside one unit ---- */

struct cut {
	struct data_edit edit;
	bool set_size;
	uint64_t size_bytes;
	bool times;
};

static int cut_locked(struct fs *fs, struct cut *cut)
{
	struct inode inode;

	int r = data_begin(fs, cut->edit.ino, &inode);
	if (r == 0)
		r = edit_apply(fs, &cut->edit, &inode);
	if (r != 0)
		return r;
	if (cut->set_size) {
		inode.size_bytes = cut->size_bytes;
		changes_shrink(fs->open->changes, inode.ino, inode.size_bytes);
	}
	if (cut->times)
		set_times(fs, &inode);
	return inode_store(fs, &inode);
}

static int cut_run(struct fs *fs, struct cut *cut)
{
	int r = edit_init(&cut->edit);

	while (r == 0) {
		struct op op;
		r = op_begin(fs, &op, OP_FREE, UNIT_BLOCKS);
		if (r < 0)
			break;
		do
			r = cut_locked(fs, cut);
		while (op_retry(&op, &r));
		op_end(&op);
		if (r != EDIT_READ)
			break;
		r = edit_read_old(fs, &cut->edit);
	}
	edit_free(fs, &cut->edit);
	return r;
}

/* ---- Inline data ---- */

/* Sets the size (at most INLINE_MAX) and makes [start, end) zeros. */
static int change_inline_locked(struct fs *fs, uint64_t ino, uint64_t size_bytes, uint64_t start_bytes, uint64_t end_bytes, bool times)
{
	struct key key = key_make(ino, ITEM_INLINE, 0);
	uint8_t bytes[INLINE_MAX];
	struct inode inode;

	int r = data_begin(fs, ino, &inode);
	if (r == 0)
		r = data_inline_load(fs, &inode, bytes);
	if (r == 0)
		r = tree_prepare(fs, fs_file_tree(fs), &key);
	if (r < 0)
		return r;
	if (start_bytes < end_bytes)
		memset(bytes + start_bytes, 0, end_bytes - start_bytes);
	if (size_bytes) {
		r = tree_put(fs, fs_file_tree(fs), &key, bytes, (unsigned)size_bytes);
	} else {
		r = tree_delete(fs, fs_file_tree(fs), &key);
		inode.flags &= ~INODE_HAS_INLINE;
	}
	if (r < 0)
		return inode_changed(fs, r);
	inode.size_bytes = size_bytes;
	if (times)
		set_times(fs, &inode);
	return inode_store(fs, &inode);
}

static int change_inline(struct fs *fs, const struct inode *inode, uint64_t size_bytes, uint64_t start_bytes, uint64_t end_bytes, bool times)
{
	struct op op;
	int r = op_begin(fs, &op, size_bytes > inode->size_bytes ? OP_MODIFY : OP_FREE, 0);

	if (r < 0)
		return r;
	do
		r = change_inline_locked(fs, inode->ino, size_bytes, start_bytes, end_bytes, times);
	while (op_retry(&op, &r));
	op_end(&op);
	return r;
}

/* ---- Truncating ---- */

static int lower_locked(struct fs *fs, uint64_t ino, uint64_t cut_block)
{
	struct inode inode;

	int r = data_begin(fs, ino, &inode);
	if (r < 0)
		return r;
	int more = free_tail(fs, &inode, cut_block);
	if (more < 0)
		return more;
	r = inode_store(fs, &inode);
	return r < 0 ? r : more;
}

static int shrink(struct fs *fs, uint64_t ino, uint64_t size_bytes, bool times)
{
	struct cut cut = { .edit = { .ino = ino, .start_bytes = size_bytes, .end_bytes = unit_up(size_bytes), .tail = true },
		.set_size = true, .size_bytes = size_bytes, .times = times };
	int r;

	do {
		struct op op;
		r = op_begin(fs, &op, OP_FREE, 0);
		if (r < 0)
			return r;
		do
			r = lower_locked(fs, ino, unit_up(size_bytes) / BLOCK_BYTES);
		while (op_retry(&op, &r));
		op_end(&op);
	} while (r == 1);
	return r < 0 ? r : cut_run(fs, &cut);
}

static int set_size_locked(struct fs *fs, uint64_t ino, uint64_t size_bytes, bool times)
{
	struct inode inode;

	int r = data_begin(fs, ino, &inode);
	if (r < 0)
		return r;
	if (size_bytes > inode.size_bytes)
		inode.size_bytes = size_bytes;
	if (times)
		set_times(fs, &inode);
	return inode_store(fs, &inode);
}

int data_extend(struct fs *fs, uint64_t ino, uint64_t size_bytes, bool times)
{
	struct op op;
	int r = op_begin(fs, &op, OP_MODIFY, 0);

	if (r < 0)
		return r;
	do
		r = set_size_locked(fs, ino, size_bytes, times);
	while (op_retry(&op, &r));
	op_end(&op);
	return r;
}

int data_truncate(struct fs *fs, uint64_t ino, uint64_t size_bytes, bool times)
{
	struct inode inode;

	if (size_bytes > FS_FILE_BYTES_MAX)
		return -EFBIG;
	inode_lock_exclusive(fs, ino);
	int r = data_inode(fs, ino, &inode);
	if (r < 0)
		goto out;
	if ((inode.flags & INODE_HAS_INLINE) && size_bytes <= INLINE_MAX) {
		r = change_inline(fs, &inode, size_bytes, 0, 0, times);
		goto out;
	}
	if (inode.flags & INODE_HAS_INLINE)
		r = data_uninline(fs, ino);
	if (r == 0)
		r = size_bytes > inode.size_bytes ? data_extend(fs, ino, size_bytes, times) : shrink(fs, ino, size_bytes, times);
out:
	inode_unlock(fs, ino);
	return r;
}

/* ---- Punching ---- */

static int remove_middle_locked(struct fs *fs, uint64_t ino, uint64_t *from, uint64_t to, bool times)
{
	struct inode inode;

	uint64_t start = *from;
	int r = data_begin(fs, ino, &inode);
	if (r == 0)
		r = data_remove_some(fs, &inode, from, to);
	if (r < 0)
		return r;
	changes_cut(fs->open->changes, ino, start, *from);
	if (times)
		set_times(fs, &inode);
	return inode_store(fs, &inode);
}

static int remove_middle(struct fs *fs, uint64_t ino, uint64_t from, uint64_t to, bool times)
{
	int r = 0;

	while (r == 0 && from < to) {
		struct op op;
		r = op_begin(fs, &op, OP_FREE, 0);
		if (r < 0)
			break;
		do
			r = remove_middle_locked(fs, ino, &from, to, times);
		while (op_retry(&op, &r));
		op_end(&op);
	}
	return r;
}

static int punch_edge(struct fs *fs, uint64_t ino, uint64_t start_bytes, uint64_t end_bytes, bool times)
{
	struct cut cut = { .edit = { .ino = ino, .start_bytes = start_bytes, .end_bytes = end_bytes }, .times = times };

	return start_bytes < end_bytes ? cut_run(fs, &cut) : 0;
}

static int punch(struct fs *fs, uint64_t ino, uint64_t start_bytes, uint64_t end_bytes, bool times)
{
	uint64_t middle = unit_up(start_bytes), middle_end = end_bytes / UNIT_BYTES * UNIT_BYTES;
	int r = punch_edge(fs, ino, start_bytes, middle < end_bytes ? middle : end_bytes, times);

	if (r == 0)
		r = remove_middle(fs, ino, middle / BLOCK_BYTES, middle_end / BLOCK_BYTES, times);
	if (r == 0 && middle_end >= middle)
		r = punch_edge(fs, ino, middle_end, end_bytes, times);
	return r;
}

int data_cut_blocks(struct fs *fs, uint64_t ino, uint64_t from, uint64_t to)
{
	struct inode inode;
	int r = data_inode(fs, ino, &inode);

	if (r < 0 || (inode.flags & INODE_HAS_INLINE))
		return r;
	return punch(fs, ino, from * BLOCK_BYTES, to * BLOCK_BYTES, false);
}

int data_punch(struct fs *fs, uint64_t ino, uint64_t start_bytes, uint64_t end_bytes)
{
	struct inode inode;

	int r = data_inode(fs, ino, &inode);
	if (r < 0)
		return r;
	if (inode.flags & INODE_HAS_INLINE)
		return change_inline(fs, &inode, inode.size_bytes, start_bytes,
			end_bytes < inode.size_bytes ? end_bytes : inode.size_bytes, true);
	return punch(fs, ino, start_bytes, end_bytes, true);
}
