#include "fs/space/rowitem.h"

#include <errno.h>
#include <string.h>

union rows_buffer {
	struct rows_item item;
	uint8_t bytes[sizeof(struct rows_item) + ROW_OWNERS_MAX * sizeof(struct row_owner)];
};

bool rows_item_valid(const struct key *key, const void *value, unsigned bytes)
{
	const struct rows_item *item = value;
	if (key->type != ITEM_ROWS || key->version != 0 || bytes < sizeof *item || !bytes_are_zero(item->zero, sizeof item->zero))
		return false;
	unsigned rows = le16_get(item->rows), owners = le16_get(item->owners), end = 0;
	if (owners > ROW_OWNERS_MAX || bytes != sizeof *item + owners * sizeof *item->owner || rows == 0 || rows > PARITY_RUN_ROWS)
		return false;
	if (key->object == 0 || key->object > BAND_ID_MAX || key->offset >= (UINT64_C(1) << ADDRESS_BLOCK_BITS) - rows)
		return false;
	for (unsigned i = 0; i < owners; i++) {
		const struct row_owner *o = &item->owner[i];
		unsigned start = le16_get(o->start_block), blocks = le16_get(o->blocks);
		if (blocks == 0 || start < end || o->tree > TREE_SYSTEM || o->zero || !bytes_are_zero(o->zero2, sizeof o->zero2))
			return false;
		end = start + blocks;
	}
	return end <= rows * (MEMBERS_MAX - 1) * UNIT_BLOCKS;
}

/* The part of `owner` that lies in blocks [from, to) of its run, with start counted from `from`: false if nothing does. */
static bool owner_clip(const struct row_owner *owner, unsigned from, unsigned to, struct row_owner *ret_owner)
{
	unsigned start = le16_get(owner->start_block), end = start + le16_get(owner->blocks);
	unsigned a = start > from ? start : from, b = end < to ? end : to;
	if (a >= b)
		return false;
	*ret_owner = *owner;
	ret_owner->start_block = le16_put((uint16_t)(a - from));
	ret_owner->blocks = le16_put((uint16_t)(b - a));
	if (owner->level == ROW_OWNER_DATA)
		ret_owner->offset = le64_put(le64_get(owner->offset) + (a - start));
	return true;
}

/* An item for rows [first, first + rows) of a run whose owners are given. */
static void build(union rows_buffer *buf, const struct row_owner *owners, unsigned owner_count, unsigned first, unsigned rows,
	unsigned row_blocks, uint64_t written)
{
	unsigned n = 0;
	memset(buf, 0, sizeof buf->item);
	for (unsigned i = 0; i < owner_count; i++)
		n += owner_clip(&owners[i], first * row_blocks, (first + rows) * row_blocks, &buf->item.owner[n]);
	buf->item.written = le64_put(written);
	buf->item.rows = le16_put((uint16_t)rows);
	buf->item.owners = le16_put((uint16_t)n);
}

static int put_item(struct fs *fs, uint32_t band_id, uint64_t row, const union rows_buffer *buf)
{
	struct key key = key_make(band_id, ITEM_ROWS, row);
	return tree_put(fs, &fs->system, &key, buf, (unsigned)(sizeof buf->item + le16_get(buf->item.owners) * sizeof(struct row_owner)));
}

/* How many rows from `first` on an item can take: bounded by its owners. */
static unsigned rows_that_fit(const struct run *run, unsigned first, unsigned row_blocks)
{
	unsigned rows = 0, owners = 0, i = 0;
	while (first + rows < run->rows.count) {
		unsigned end = (first + rows + 1) * row_blocks;
		while (i < run->owner_count && le16_get(run->owners[i].start_block) < end) {
			if (le16_get(run->owners[i].start_block) + le16_get(run->owners[i].blocks) > first * row_blocks)
				owners++;
			i++;
		}
		if (owners > ROW_OWNERS_MAX && rows > 0)
			break;
		rows++;
	}
	return rows;
}

int rowitem_put(struct fs *fs, const struct band *band, const struct run *run, uint64_t generation)
{
	unsigned row_blocks = band_row_blocks(band);
	union rows_buffer buf;
	for (unsigned first = 0, rows; first < run->rows.count; first += rows) {
		rows = rows_that_fit(run, first, row_blocks);
		build(&buf, run->owners, run->owner_count, first, rows, row_blocks, generation);
		struct key key = key_make(band->id, ITEM_ROWS, run->rows.row + first);
		int r = tree_prepare(fs, &fs->system, &key);
		if (r == 0 && le16_get(buf.item.owners) > 0)
			r = put_item(fs, band->id, run->rows.row + first, &buf);
		if (r < 0)
			return r;        /* what was put before is put again, the same */
	}
	return 0;
}

int rowitem_find(struct fs *fs, const struct band *band, uint64_t row, struct item *ret_item)
{
	struct key from = key_make(band->id, ITEM_ROWS, row), to = key_make(band->id, ITEM_ROWS, 0);
	struct item item;
	int r = tree_prev(fs, &fs->system, &from, &to, &item);
	if (r < 0)
		return r;
	if (item.key.offset + le16_get(((const struct rows_item *)item.value)->rows) <= row)
		return -ENOENT;
	*ret_item = item;
	return 0;
}

/* Cuts one item that overlaps [row, end): 1, or 0 if none does. */
static int trim_one(struct fs *fs, const struct band *band, uint64_t row, uint64_t end)
{
	struct item item;
	int r = rowitem_find(fs, band, row, &item);
	if (r == -ENOENT) {
		struct key from = key_make(band->id, ITEM_ROWS, row), to = key_make(band->id, ITEM_ROWS, end - 1);
		r = tree_next(fs, &fs->system, &from, &to, &item);
		if (r == -ENOENT)
			return 0;
	}
	if (r < 0)
		return r;
	union rows_buffer old, part;
	if (item.bytes > sizeof old)
		return -EUCLEAN;
	memcpy(&old, item.value, item.bytes);
	uint64_t first = item.key.offset, last = first + le16_get(old.item.rows);
	struct key key = item.key, tail = key_make(band->id, ITEM_ROWS, end);
	r = tree_prepare(fs, &fs->system, &key);
	if (r == 0 && last > end)
		r = tree_prepare(fs, &fs->system, &tail);
	if (r < 0)
		return r;
	unsigned row_blocks = band_row_blocks(band), owners = le16_get(old.item.owners);
	r = tree_delete(fs, &fs->system, &key);
	if (r == 0 && first < row) {
		build(&part, old.item.owner, owners, 0, (unsigned)(row - first), row_blocks, le64_get(old.item.written));
		r = put_item(fs, band->id, first, &part);
	}
	if (r == 0 && last > end) {
		build(&part, old.item.owner, owners, (unsigned)(end - first), (unsigned)(last - end), row_blocks, le64_get(old.item.written));
		r = put_item(fs, band->id, end, &part);
	}
	return r < 0 ? r : 1;
}

int rowitem_trim(struct fs *fs, const struct band *band, uint64_t row, unsigned count)
{
	int r;
	do
		r = trim_one(fs, band, row, row + count);
	while (r == 1);
	return r;
}
