#include "fs/data/data.h"
#include "fs/names/path.h"
#include "fs/space/rowitem.h"
#include "fs/space/rowlive.h"
#include "fs/space/unread.h"
#include "fs/tree/store.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct sealed rowlive_sealed(const struct live *live, struct record_ad *ret_ad)
{
	if (!live->node)
		return store_place(&live->place, ret_ad);
	const struct disk_pointer *p = &live->pointer;
	*ret_ad = store_node_ad(live->tree, live->level);
	return (struct sealed){ le64_get(p->address), UNIT_BLOCKS, p->nonce, p->tag, le32_get(p->index), ret_ad };
}

static int add(struct live_list *list, const struct live *live)
{
	struct live *slot = vector_add(&list->items, &list->count, &list->room, sizeof *slot);
	if (!slot)
		return -ENOMEM;
	*slot = *live;
	return 0;
}

static int collect_data(struct fs *fs, const struct row_owner *o, address from, address to, struct live_list *list)
{
	uint64_t first = le64_get(o->offset);
	struct extent_walk walk = { .ino = le64_get(o->object), .block = first, .limit = first + le16_get(o->blocks) };
	struct extent x;
	int r;
	while ((r = extent_walk_next(fs, &walk, &x)) == 0) {
		if (!extent_placed(x.item.value))
			continue;
		uint64_t block = x.block > first ? x.block : first;
		while (block < x.block + x.blocks && block < walk.limit) {
			struct live live = { 0 };
			extent_record(&x.item, block, &live.place);
			block = live.place.block + live.place.blocks;
			if (live.place.address < from || live.place.address >= to)
				continue;
			r = add(list, &live);
			if (r < 0)
				return r;
		}
	}
	return r == -ENOENT ? 0 : r;
}

static int collect_node(struct fs *fs, const struct row_owner *o, address from, address to, struct live_list *list)
{
	struct tree *tree = o->tree == TREE_FILE ? &fs->file : &fs->system;
	struct live live = { .node = true, .tree = o->tree, .level = o->level,
		.key = { le64_get(o->object), o->type, le64_get(o->offset), le32_get(o->version) } };
	int r = tree_node_pointer(fs, tree, &live.key, o->level, &live.pointer);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	address a = le64_get(live.pointer.address);
	return a >= from && a < to ? add(list, &live) : 0;
}

int rowlive_owners(struct fs *fs, const struct band *band, uint64_t first_row, const struct row_owner *owners, unsigned owner_count,
	uint64_t row, unsigned count, struct live_list *list)
{
	size_t before = list->count;
	unsigned row_blocks = band_row_blocks(band);
	uint64_t from = (row - first_row) * row_blocks, to = from + (uint64_t)count * row_blocks;
	address base = band_row_address(band, row);
	int r = 0;
	for (unsigned i = 0; i < owner_count && r == 0; i++) {
		const struct row_owner *o = &owners[i];
		if (le16_get(o->start_block) + le16_get(o->blocks) <= from || le16_get(o->start_block) >= to)
			continue;
		if (o->level == ROW_OWNER_DATA)
			r = collect_data(fs, o, base, base + (uint64_t)count * row_blocks, list);
		else if (o->level != ROW_OWNER_PENDING)
			r = collect_node(fs, o, base, base + (uint64_t)count * row_blocks, list);
	}
	if (r < 0)
		list->count = before;
	return r;
}

/* The item that covers the row, copied, since a walk of the trees changes what it points to; the caller frees it.  Body: 0, -ENOENT. */
static int copy_rows_item(struct fs *fs, const struct band *band, uint64_t row, uint64_t *ret_first, struct rows_item **ret_copy)
{
	struct item item;
	int r = rowitem_find(fs, band, row, &item);
	if (r < 0)
		return r;
	struct rows_item *copy = malloc(item.bytes);
	if (!copy)
		return -ENOMEM;
	memcpy(copy, item.value, item.bytes);
	*ret_first = item.key.offset;
	*ret_copy = copy;
	return 0;
}

int rowlive_collect(struct fs *fs, const struct band *band, uint64_t row, unsigned count, struct live_list *list)
{
	size_t before = list->count;
	int r = 0;
	for (uint64_t at = row, end = row + count; at < end && r == 0; ) {
		struct rows_item *copy;
		uint64_t first;
		r = copy_rows_item(fs, band, at, &first, &copy);
		if (r == -ENOENT) {
			r = 0;
			at++;
			continue;
		}
		if (r < 0)
			break;
		uint64_t last = first + le16_get(copy->rows), stop = last < end ? last : end;
		r = rowlive_owners(fs, band, first, copy->owner, le16_get(copy->owners), at, (unsigned)(stop - at), list);
		free(copy);
		at = stop;
	}
	if (r < 0)
		list->count = before;
	return r;
}

/* What can be listed of one owner.  An operation for each: all that leads to what lives in many rows may be more than the cache of nodes
 * holds, and a body that needs it at once would never end. */
static int list_owner(struct fs *fs, const struct band *band, uint64_t first, const struct row_owner *owner, uint64_t row, unsigned count,
	struct unread *unread, struct live_list *list)
{
	struct op op;
	int r = op_begin(fs, &op, OP_READ, 0);
	do
		r = rowlive_owners(fs, band, first, owner, 1, row, count, list);
	while (unread_retry(&op, unread, &r));
	if (unread)
		unread->count += r == -EUCLEAN;  /* which was told */
	op_end(&op);
	return r;
}

/* Without `unread` the first error ends it. */
static int list_item(struct fs *fs, const struct band *band, uint64_t first, const struct rows_item *item, uint64_t row, unsigned count,
	struct unread *unread, struct live_list *list, bool *whole)
{
	int r = 0;
	for (unsigned i = 0; i < le16_get(item->owners) && r != -ENOMEM; i++) {
		r = list_owner(fs, band, first, &item->owner[i], row, count, unread, list);
		if (r < 0 && !unread)
			return r;
		*whole = *whole && r == 0;
	}
	return r == -ENOMEM ? r : 0;
}

static int list_rows(struct fs *fs, const struct band *band, uint64_t row, unsigned count, struct unread *unread, struct live_list *list,
	bool *ret_whole)
{
	*ret_whole = true;
	for (uint64_t at = row, end = row + count; at < end; ) {
		struct rows_item *copy = NULL;
		uint64_t first = 0;
		struct op op;
		int r = op_begin(fs, &op, OP_READ, 0);
		do
			r = copy_rows_item(fs, band, at, &first, &copy);
		while (unread_retry(&op, unread, &r));
		op_end(&op);
		if (r == -ENOMEM || (r < 0 && r != -ENOENT && !unread))
			return r;
		*ret_whole = *ret_whole && (r == 0 || r == -ENOENT);
		if (r < 0) {
			at++;
			continue;
		}
		uint64_t last = first + le16_get(copy->rows), stop = last < end ? last : end;
		r = list_item(fs, band, first, copy, at, (unsigned)(stop - at), unread, list, ret_whole);
		free(copy);
		if (r < 0)
			return r;
		at = stop;
	}
	return 0;
}

int rowlive_list(struct fs *fs, const struct band *band, uint64_t row, unsigned count, struct live_list *list)
{
	bool whole;
	return list_rows(fs, band, row, count, NULL, list, &whole);
}

int rowlive_list_readable(struct fs *fs, const struct band *band, uint64_t row, unsigned count, struct unread *unread,
	struct live_list *list, bool *ret_whole)
{
	return list_rows(fs, band, row, count, unread, list, ret_whole);
}

int rowlive_verify(struct fs *fs, const struct live_list *list, unsigned *ret_bad)
{
	uint8_t *bytes = malloc(UNIT_BYTES);
	if (!bytes)
		return -ENOMEM;
	*ret_bad = 0;
	for (size_t i = 0; i < list->count; i++) {
		const struct live *live = &list->items[i];
		void *const bufs[1] = { bytes };
		int r = live->node ? store_read_node(fs, &live->pointer, live->tree, live->level, bytes)
			: store_read_records(fs, &live->place, bufs, 1, NULL);
		if (r == -EIO && !live->node)
			path_tell_lost(fs, &live->place);
		if (r == -ENOMEM) {
			free(bytes);
			return r;
		}
		*ret_bad += r < 0;
	}
	free(bytes);
	return 0;
}
