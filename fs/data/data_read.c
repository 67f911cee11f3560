/* fs_read and fs_seek.
 *
 * A read goes in batches of at most READ_BATCH_BYTES: under fs->lock it only collects what the range consists of
 * (references to dirty records, places of those on the disk); copying and reading happen without it, with the inode's lock
 * held shared, which keeps writers from changing a dirty record, and a pin, which keeps rows from being reused. */
#include "fs/data/data.h"
#include "fs/names/path.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

#define READ_BATCH_BLOCKS 256u
#define READ_BATCH_BYTES ((uint64_t)READ_BATCH_BLOCKS * BLOCK_BYTES)

struct batch {
	uint64_t ino;
	uint64_t start_bytes, end_bytes; /* what is wanted; end is cut to the size of the file */
	uint64_t room_end_bytes;         /* end of the caller's buffer, as an offset in the file */
	uint8_t *to;                     /* for start_bytes on */
	bool unnoted;                    /* it is no access */
	bool is_inline;                  /* the bytes are there already */
	unsigned record_count, place_count;
	unsigned room;                   /* of each list: one for each block that a batch can touch */
	struct store_pin pin;
	bool pinned;
	struct record **records;
	void **bufs;
	struct kept { uint8_t before, blocks; } *kept;   /* of each place, before it was narrowed to what is wanted */
	struct record_place places[];    /* then the other lists: as long as the read needs them, since most are short */
};

static struct batch *batch_new(uint64_t ino, uint64_t start_bytes, uint64_t end_bytes)
{
	uint64_t blocks = (end_bytes + BLOCK_BYTES - 1) / BLOCK_BYTES - start_bytes / BLOCK_BYTES;
	unsigned room = (unsigned)(blocks < READ_BATCH_BLOCKS + 1 ? blocks : READ_BATCH_BLOCKS + 1);
	struct batch *batch = malloc(sizeof *batch
		+ room * (sizeof batch->places[0] + sizeof batch->records[0] + sizeof batch->bufs[0] + sizeof batch->kept[0]));
	if (!batch)
		return NULL;
	*batch = (struct batch){ .ino = ino, .room_end_bytes = end_bytes, .room = room };
	batch->records = (struct record **)(batch->places + room);
	batch->bufs = (void **)(batch->records + room);
	batch->kept = (struct kept *)(batch->bufs + room);
	return batch;
}

static void batch_reset(struct fs *fs, struct batch *batch)
{
	for (unsigned i = 0; i < batch->record_count; i++)
		record_unref(fs, batch->records[i]);
	batch->record_count = batch->place_count = 0;
	batch->is_inline = false;
}

/* Leaves of the place what lies in [from, to). */
static struct kept narrow(struct record_place *place, uint64_t from, uint64_t to)
{
	struct kept kept = { place->before, (uint8_t)place->blocks };
	uint64_t end = place->block + place->blocks;
	unsigned skipped = from > place->block ? (unsigned)(from - place->block) : 0;

	place->address += skipped;
	place->before += (uint8_t)skipped;
	place->block += skipped;
	place->blocks = (unsigned)((to < end ? to : end) - place->block);
	return kept;
}

/* What cannot be read is all that the file has of the record. */
static void tell_lost(struct fs *fs, const struct batch *batch, unsigned i)
{
	struct record_place place = batch->places[i];
	unsigned skipped = place.before - batch->kept[i].before;

	place.address -= skipped;
	place.block -= skipped;
	place.before = batch->kept[i].before;
	place.blocks = batch->kept[i].blocks;
	path_tell_lost(fs, &place);
}

static int collect_extent(struct fs *fs, struct batch *batch, const struct extent *extent, uint64_t from, uint64_t to)
{
	if (extent->kind == EXTENT_RESERVED)
		return 0;
	if (extent->kind == EXTENT_DIRTY) {
		if (batch->record_count == batch->room)
			return data_unclean(fs, batch->ino, extent->block, "extents overlap");
		batch->records[batch->record_count++] = record_ref(record_of(&extent->item));
		return 0;
	}
	from = from > extent->block ? from : extent->block;
	to = to < extent->block + extent->blocks ? to : extent->block + extent->blocks;
	while (from < to) {
		struct record_place *place = &batch->places[batch->place_count];
		if (batch->place_count == batch->room)
			return data_unclean(fs, batch->ino, extent->block, "extents overlap");
		extent_record(&extent->item, from, place);
		uint64_t next = place->block + place->blocks;
		batch->kept[batch->place_count] = narrow(place, from, to);
		from = next;
		batch->place_count++;
	}
	return 0;
}

static int collect_locked(struct fs *fs, struct batch *batch)
{
	uint64_t end_bytes = batch->room_end_bytes;
	uint8_t bytes[INLINE_MAX];
	struct inode inode;
	struct extent extent;

	batch_reset(fs, batch);
	int r = inode_load(fs, batch->ino, &inode);
	if (r == 0)
		r = data_check_type(&inode);
	if (r < 0)
		return r;
	if (end_bytes > batch->start_bytes + READ_BATCH_BYTES)
		end_bytes = batch->start_bytes + READ_BATCH_BYTES;
	/* Ending at a block, so that the next batch reads no record again. */
	if (end_bytes < batch->room_end_bytes)
		end_bytes -= end_bytes % UNIT_BYTES;
	if (end_bytes > inode.size_bytes)
		end_bytes = inode.size_bytes;
	batch->end_bytes = end_bytes;
	if (end_bytes <= batch->start_bytes)
		return 0;
	if (!batch->unnoted)
		inode_accessed(fs, &inode);
	if (inode.flags & INODE_HAS_INLINE) {
		r = data_inline_load(fs, &inode, bytes);
		if (r < 0)
			return r;
		memcpy(batch->to, bytes + batch->start_bytes, end_bytes - batch->start_bytes);
		batch->is_inline = true;
		return 0;
	}
	uint64_t from = batch->start_bytes / BLOCK_BYTES, to = (end_bytes + BLOCK_BYTES - 1) / BLOCK_BYTES;
	struct extent_walk walk = { .ino = batch->ino, .block = from, .limit = to };
	while ((r = extent_walk_next(fs, &walk, &extent)) == 0) {
		r = collect_extent(fs, batch, &extent, from, to);
		if (r < 0)
			return r;
	}
	if (r != -ENOENT)
		return r;
	if (batch->place_count) {
		store_pin(fs, &batch->pin);
		batch->pinned = true;
	}
	return 0;
}

/* Copies the wanted part of blocks from `block` on. */
static void copy_out(const struct batch *batch, uint64_t block, unsigned blocks, const uint8_t *bytes)
{
	uint64_t start = block * BLOCK_BYTES, end = start + blocks * BLOCK_BYTES;
	uint64_t from = start > batch->start_bytes ? start : batch->start_bytes;
	uint64_t to = end < batch->end_bytes ? end : batch->end_bytes;

	if (from < to)
		memcpy(batch->to + (from - batch->start_bytes), bytes + (from - start), to - from);
}

/* Do the place's blocks lie wholly inside the caller's buffer? */
static bool fits_whole(const struct batch *batch, const struct record_place *place)
{
	return place->block * BLOCK_BYTES >= batch->start_bytes &&
		(place->block + place->blocks) * BLOCK_BYTES <= batch->room_end_bytes;
}

static int read_places(struct fs *fs, struct batch *batch)
{
	unsigned bounced = 0, next = 0, lost;
	uint8_t *bounce = NULL;

	for (unsigned i = 0; i < batch->place_count; i++)
		bounced += !fits_whole(batch, &batch->places[i]);
	if (bounced) {
		bounce = malloc((size_t)bounced * UNIT_BYTES);
		if (!bounce)
			return -ENOMEM;
	}
	for (unsigned i = 0; i < batch->place_count; i++) {
		const struct record_place *place = &batch->places[i];
		batch->bufs[i] = fits_whole(batch, place) ? batch->to + (place->block * BLOCK_BYTES - batch->start_bytes) :
			bounce + (size_t)next++ * UNIT_BYTES;
	}
	int r = store_read_records(fs, batch->places, batch->bufs, batch->place_count, &lost);
	if (r == -EIO)
		tell_lost(fs, batch, lost);
	for (unsigned i = 0; r == 0 && i < batch->place_count; i++)
		if (!fits_whole(batch, &batch->places[i]))
			copy_out(batch, batch->places[i].block, batch->places[i].blocks, batch->bufs[i]);
	free(bounce);
	return r;
}

/* Zeros what no record covers: both lists are in the order of the file. */
static void zero_gaps(const struct batch *batch)
{
	uint64_t at = batch->start_bytes;
	unsigned r = 0, p = 0;

	while (at < batch->end_bytes) {
		uint64_t start = UINT64_MAX, blocks = 0;
		if (r < batch->record_count) {
			start = record_block(batch->records[r]);
			blocks = record_blocks(batch->records[r]);
		}
		if (p < batch->place_count && batch->places[p].block < start) {
			start = batch->places[p].block;
			blocks = batch->places[p++].blocks;
		} else if (r < batch->record_count) {
			r++;
		}
		uint64_t gap_end = start == UINT64_MAX ? batch->end_bytes : start * BLOCK_BYTES;
		gap_end = gap_end < batch->end_bytes ? gap_end : batch->end_bytes;
		if (gap_end > at)
			memset(batch->to + (at - batch->start_bytes), 0, gap_end - at);
		if (start == UINT64_MAX)
			return;
		uint64_t end = (start + blocks) * BLOCK_BYTES;
		at = end > at ? end : at;
	}
}

static int read_batch(struct fs *fs, struct batch *batch)
{
	struct op op;
	int r = op_begin(fs, &op, OP_READ, 0);

	if (r < 0)
		return r;
	do
		r = collect_locked(fs, batch);
	while (op_retry(&op, &r));
	op_end(&op);
	if (r == 0 && !batch->is_inline && batch->end_bytes > batch->start_bytes) {
		zero_gaps(batch);
		for (unsigned i = 0; i < batch->record_count; i++) {
			struct record *record = batch->records[i];
			copy_out(batch, record_block(record), record_blocks(record), record_data(record));
		}
		if (batch->place_count)
			r = read_places(fs, batch);
	}
	if (batch->pinned)
		store_unpin(fs, &batch->pin);
	batch->pinned = false;
	batch_reset(fs, batch);
	return r;
}

static ssize_t read_all(struct fs *fs, uint64_t ino, void *buf, size_t bytes, uint64_t offset_bytes, bool unnoted)
{
	uint64_t at = offset_bytes;
	int r = 0;

	if (bytes > SSIZE_MAX || offset_bytes > UINT64_MAX - bytes)
		return -EINVAL;
	op_by_user(fs);
	struct batch *batch = batch_new(ino, offset_bytes, offset_bytes + bytes);
	if (!batch)
		return -ENOMEM;
	batch->unnoted = unnoted;
	inode_lock_shared(fs, ino);
	while (at < offset_bytes + bytes) {
		batch->start_bytes = at;
		batch->to = (uint8_t *)buf + (at - offset_bytes);
		r = read_batch(fs, batch);
		if (r < 0 || batch->end_bytes <= at)
			break;
		at = batch->end_bytes;
	}
	inode_unlock(fs, ino);
	free(batch);
	return r < 0 ? r : (ssize_t)(at - offset_bytes);
}

ssize_t fs_read(struct fs *fs, uint64_t ino, void *buf, size_t bytes, uint64_t offset_bytes)
{
	return read_all(fs, ino, buf, bytes, offset_bytes, false);
}

ssize_t fs_read_unnoted(struct fs *fs, uint64_t ino, void *buf, size_t bytes, uint64_t offset_bytes)
{
	return read_all(fs, ino, buf, bytes, offset_bytes, true);
}

/* ---- SEEK_DATA and SEEK_HOLE ---- */

struct seek {
	uint64_t ino, at_bytes;
	bool hole;
	bool found;
};

/* Moves on over a bounded number of extents. */
static int seek_locked(struct fs *fs, struct seek *seek)
{
	struct extent_walk walk = { .ino = seek->ino, .block = seek->at_bytes / BLOCK_BYTES, .limit = FILE_BLOCKS_MAX };
	uint64_t at_bytes = seek->at_bytes;
	struct extent extent;
	struct inode inode;
	bool found = false;

	int r = inode_load(fs, seek->ino, &inode);
	if (r == 0)
		r = data_check_type(&inode);
	if (r < 0)
		return r;
	if (at_bytes >= inode.size_bytes)
		return -ENXIO;
	if (inode.flags & INODE_HAS_INLINE) {
		seek->at_bytes = seek->hole ? inode.size_bytes : at_bytes;
		seek->found = true;
		return 0;
	}
	for (unsigned i = 0; !found && at_bytes < inode.size_bytes && i < DATA_EXTENTS_AN_OP; i++) {
		r = extent_walk_next(fs, &walk, &extent);
		if (r < 0 && r != -ENOENT)
			return r;
		uint64_t start = r == 0 ? extent.block * BLOCK_BYTES : inode.size_bytes;
		bool data = r == 0 && extent.kind != EXTENT_RESERVED;
		if (seek->hole) {
			found = start > at_bytes || !data;
		} else {
			found = data;
			at_bytes = start > at_bytes ? start : at_bytes;
		}
		if (!found)
			at_bytes = r == 0 ? walk.block * BLOCK_BYTES : inode.size_bytes;
	}
	if (at_bytes >= inode.size_bytes) {
		if (!seek->hole)
			return -ENXIO;
		at_bytes = inode.size_bytes;
		found = true;
	}
	seek->at_bytes = at_bytes;
	seek->found = found;
	return 0;
}

int fs_seek(struct fs *fs, uint64_t ino, uint64_t offset_bytes, int whence, uint64_t *ret_offset_bytes)
{
	struct seek seek = { .ino = ino, .at_bytes = offset_bytes, .hole = whence == SEEK_HOLE };
	int r = 0;

	if (whence != SEEK_DATA && whence != SEEK_HOLE)
		return -EINVAL;
	inode_lock_shared(fs, ino);
	while (r == 0 && !seek.found) {
		struct op op;
		r = op_begin(fs, &op, OP_READ, 0);
		if (r < 0)
			break;
		do
			r = seek_locked(fs, &seek);
		while (op_retry(&op, &r));
		op_end(&op);
	}
	inode_unlock(fs, ino);
	if (r == 0)
		*ret_offset_bytes = seek.at_bytes;
	return r;
}
