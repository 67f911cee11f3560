/* fs_write: in operations of at most EDIT_UNITS_MAX units, each whole in one transaction.
 *
 * A file whose data fits stays inline; one that outgrows it is first turned into a record (data_uninline), in an
 * operation of its own that changes nothing a reader could see.  The change itself is fs/data/data_edit.h's. */
#include "fs/data/data_edit.h"

#include <errno.h>
#include <limits.h>
#include <sys/stat.h>

#define WRITE_BYTES_MAX ((uint64_t)EDIT_UNITS_MAX * UNIT_BYTES)
/* Blocks beside those written that an edge may make dirty: the rest of its records. */
#define WRITE_EDGE_BLOCKS (2 * (UNIT_BLOCKS - 1))
#define WRITE_UNINLINE 2         /* the body's result: data_uninline, then again */

struct write {
	struct data_edit edit;
	struct iobuf *keep;              /* that the source lies in, if it may stay there; or NULL */
	bool kill_suidgid;
	bool keep_times;
	bool blocks_only;                /* neither inline data nor the size is touched */
	bool killed;
	bool grew;                       /* to another power of two of blocks */
};

static bool stays_inline(const struct inode *inode, uint64_t end_bytes)
{
	uint64_t size_bytes = inode->size_bytes > end_bytes ? inode->size_bytes : end_bytes;

	return size_bytes <= INLINE_MAX && ((inode->flags & INODE_HAS_INLINE) || inode->blocks == 0);
}

static int write_inline(struct fs *fs, struct inode *inode, const struct data_edit *edit)
{
	struct key key = key_make(inode->ino, ITEM_INLINE, 0);
	uint8_t bytes[INLINE_MAX] = { 0 };
	uint64_t size_bytes = inode->size_bytes > edit->end_bytes ? inode->size_bytes : edit->end_bytes;
	int r = 0;

	if (inode->flags & INODE_HAS_INLINE)
		r = data_inline_load(fs, inode, bytes);
	if (r == 0)
		r = tree_prepare(fs, fs_file_tree(fs), &key);
	if (r < 0)
		return r;
	memcpy(bytes + edit->start_bytes, edit->source, edit->end_bytes - edit->start_bytes);
	inode->flags |= INODE_HAS_INLINE;
	return inode_changed(fs, tree_put(fs, fs_file_tree(fs), &key, bytes, (unsigned)size_bytes));
}

static bool grows(uint64_t before, uint64_t after)
{
	return after > before && (after ^ before) > before;
}

static int write_locked(struct fs *fs, struct write *write)
{
	struct data_edit *edit = &write->edit;
	struct inode inode;

	int r = inode_load(fs, edit->ino, &inode);
	if (r == 0)
		r = data_check_type(&inode);
	if (r < 0)
		return r;
	bool is_inline = !write->blocks_only && stays_inline(&inode, edit->end_bytes);
	if (!is_inline && (inode.flags & INODE_HAS_INLINE))
		return WRITE_UNINLINE;
	uint64_t blocks = inode_blocks_shown(&inode);
	r = inode_prepare(fs, edit->ino);
	if (r == 0)
		r = is_inline ? write_inline(fs, &inode, edit) : edit_apply(fs, edit, &inode);
	if (r != 0)
		return r;
	if (edit->end_bytes > inode.size_bytes && !write->blocks_only)
		inode.size_bytes = edit->end_bytes;
	write->grew |= grows(blocks, inode_blocks_shown(&inode));
	if (!write->keep_times)
		inode.mtime_ns = inode.ctime_ns = fs_now_ns(fs);
	if (write->kill_suidgid && S_ISREG(inode.mode)) {
		uint32_t kill = S_ISUID | (inode.mode & S_IXGRP ? S_ISGID : 0u);
		write->killed |= (inode.mode & kill) != 0;
		inode.mode &= ~kill;
	}
	return inode_store(fs, &inode);
}

static int count_reserved_locked(struct fs *fs, const struct data_edit *edit, uint64_t *ret_blocks)
{
	struct extent_walk walk = { .ino = edit->ino, .block = edit->start_bytes / BLOCK_BYTES,
		.limit = (edit->end_bytes + BLOCK_BYTES - 1) / BLOCK_BYTES };
	uint64_t from = walk.block, blocks = 0;
	struct extent extent;
	int r;

	while ((r = extent_walk_next(fs, &walk, &extent)) == 0) {
		uint64_t start = extent.block > from ? extent.block : from;
		if (extent.kind == EXTENT_RESERVED)
			blocks += (walk.block < walk.limit ? walk.block : walk.limit) - start;
	}
	if (r != -ENOENT)
		return r;
	*ret_blocks = blocks;
	return 0;
}

/* How many blocks of the range have space reserved, which a write gives back as it takes it. */
static int count_reserved(struct fs *fs, const struct data_edit *edit, uint64_t *ret_blocks)
{
	struct op op;
	int r = op_begin(fs, &op, OP_READ, 0);

	if (r < 0)
		return r;
	do
		r = count_reserved_locked(fs, edit, ret_blocks);
	while (op_retry(&op, &r));
	op_end(&op);
	return r;
}

static int begin(struct fs *fs, struct op *op, const struct data_edit *edit)
{
	uint64_t blocks = (edit->end_bytes - 1) / BLOCK_BYTES - edit->start_bytes / BLOCK_BYTES + 1, reserved_blocks = 0;
	int r = op_begin(fs, op, OP_MODIFY, blocks + WRITE_EDGE_BLOCKS);

	if (r != -ENOSPC)
		return r;
	r = count_reserved(fs, edit, &reserved_blocks);
	if (r == 0 && reserved_blocks == 0)
		r = -ENOSPC;
	if (r < 0)
		return r;
	/* What is left may be a block at each edge that was written before. */
	blocks -= reserved_blocks;
	return op_begin(fs, op, blocks <= WRITE_EDGE_BLOCKS ? OP_FILL : OP_MODIFY, blocks);
}

static int write_once(struct fs *fs, struct write *write)
{
	struct op op;
	int r = begin(fs, &op, &write->edit);

	if (r < 0)
		return r;
	do
		r = write_locked(fs, write);
	while (op_retry(&op, &r));
	op_end(&op);
	return r;
}

static int write_chunk(struct fs *fs, struct write *write)
{
	int r = edit_init(&write->edit);

	while (r == 0) {
		r = write_once(fs, write);
		if (r == EDIT_READ)
			r = edit_read_old(fs, &write->edit);
		else if (r == WRITE_UNINLINE)
			r = data_uninline(fs, write->edit.ino);
		else
			break;
	}
	edit_free(fs, &write->edit);
	return r;
}

static ssize_t write_all(struct fs *fs, struct write *write, uint64_t ino, const void *buf, size_t bytes, uint64_t offset_bytes)
{
	size_t done = 0;
	int r = 0;

	if (bytes > SSIZE_MAX)
		return -EINVAL;
	if (bytes > FS_FILE_BYTES_MAX || offset_bytes > FS_FILE_BYTES_MAX - bytes)
		return -EFBIG;
	inode_lock_exclusive(fs, ino);
	while (done < bytes && r == 0) {
		uint64_t start = offset_bytes + done, end = (start / WRITE_BYTES_MAX + 1) * WRITE_BYTES_MAX;
		write->edit = (struct data_edit){ .ino = ino, .start_bytes = start, .source = (const uint8_t *)buf + done, .keep = write->keep,
			.end_bytes = end < offset_bytes + bytes ? end : offset_bytes + bytes };
		size_t chunk = write->edit.end_bytes - start;
		r = write_chunk(fs, write);
		if (r == 0)
			done += chunk;
	}
	inode_unlock(fs, ino);
	return r < 0 ? r : (ssize_t)bytes;
}

ssize_t fs_write(struct fs *fs, uint64_t ino, const void *buf, size_t bytes, uint64_t offset_bytes, bool kill_suidgid, bool *ret_killed)
{
	struct write write = { .kill_suidgid = kill_suidgid };
	op_by_user(fs);
	ssize_t n = write_all(fs, &write, ino, buf, bytes, offset_bytes);

	if (n >= 0 && ret_killed)
		*ret_killed = write.killed;
	return n;
}

ssize_t fs_write_buffer(struct fs *fs, uint64_t ino, struct iobuf *buf, size_t bytes, uint64_t offset_bytes, enum fs_write_kind kind,
	bool *ret_stale)
{
	struct write write = { .kill_suidgid = kind == FS_WRITE_KILL_SUIDGID, .keep_times = kind == FS_WRITE_KEEP_TIMES };
	op_by_user(fs);
	/* What is kept is little more than what counts as dirty. */
	if (bytes >= buf->bytes / 8 * 7 && bytes > UNIT_BYTES && offset_bytes % BLOCK_BYTES == 0)
		write.keep = buf;
	ssize_t n = write_all(fs, &write, ino, buf->data, bytes, offset_bytes);

	*ret_stale = n >= 0 && (write.killed || write.grew);
	return n;
}

int data_put_blocks(struct fs *fs, uint64_t ino, const void *buf, uint64_t block, uint64_t blocks)
{
	struct write write = { .keep_times = true, .blocks_only = true };
	ssize_t n = write_all(fs, &write, ino, buf, blocks * BLOCK_BYTES, block * BLOCK_BYTES);

	return n < 0 ? (int)n : 0;
}
