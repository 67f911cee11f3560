/* A record that cannot be read, and must be cut all the same, since others of its blocks are overwritten or go: it becomes an extent
 * of its own, of kind EXTENT_REST, which may be cut at any block.
 *
 * That by itself changes nothing: what is left of the record verifies, and is read, as part of the whole one.  The blocks that went
 * stay where they are as long as others of their row live (rule R1).  So nothing is given up: when a member returns that
 * has the record, what is left of it can be read again. */
#include "fs/core.h"
#include "fs/data/data_edit.h"

#include <errno.h>

/* The item that has this very record, if it is still there: 1 or 0. */
static int find_record(struct fs *fs, const struct record_place *place, struct extent *ret_extent)
{
	struct extent_walk walk = { .ino = place->object, .block = place->block, .limit = place->block + 1 };
	struct record_place now;
	struct extent extent;
	int r = extent_walk_next(fs, &walk, &extent);

	if (r < 0)
		return r == -ENOENT ? 0 : r;
	if (extent.kind != EXTENT_DATA)
		return 0;
	extent_record(&extent.item, place->block, &now);
	if (now.address != place->address || now.block != place->block || memcmp(now.tag, place->tag, sizeof(now.tag)))
		return 0;
	*ret_extent = extent;
	return 1;
}

/* The item's records before, the record, those behind: as items. */
struct pieces {
	struct key key[3];
	unsigned bytes[3];               /* 0: there is none */
	uint8_t value[3][EXTENT_ITEM_BYTES_MAX];
};

static void make_pieces(const struct extent *extent, const struct record_place *place, struct pieces *ret_pieces)
{
	const struct extent_item *from_record = extent->item.value;
	uint64_t before = place->block - extent->block, behind = extent->block + extent->blocks - place->block - place->blocks;
	uint8_t from[EXTENT_ITEM_BYTES_MAX];
	struct pieces *p = ret_pieces;

	*p = (struct pieces){ .key = { extent->item.key, extent->item.key, extent->item.key } };
	p->key[1].offset = place->block;
	p->key[2].offset = place->block + place->blocks;
	if (before) {
		p->bytes[0] = extent_head(extent->item.value, before, p->value[0]);
		extent_tail(extent->item.value, before, from);
		from_record = (const struct extent_item *)from;
	}
	p->bytes[1] = extent_rest(from_record, p->value[1]);
	if (behind)
		p->bytes[2] = extent_tail(from_record, place->blocks, p->value[2]);
}

static int make_rest_locked(struct fs *fs, const struct record_place *place)
{
	struct pieces pieces;
	struct extent extent;

	int r = find_record(fs, place, &extent);
	if (r <= 0)
		return r;
	make_pieces(&extent, place, &pieces);
	r = 0;
	for (unsigned i = 0; i < 3 && r == 0; i++)
		if (pieces.bytes[i])
			r = tree_prepare(fs, fs_file_tree(fs), &pieces.key[i]);
	if (r < 0)
		return r;
	txn_mark_dirty(fs);
	for (unsigned i = 0; i < 3 && r == 0; i++)
		if (pieces.bytes[i])
			r = tree_put(fs, fs_file_tree(fs), &pieces.key[i], pieces.value[i], pieces.bytes[i]);
	return inode_changed(fs, r);
}

int data_make_rest(struct fs *fs, const struct record_place *place)
{
	struct op op;

	if (place->blocks == 1)
		return 0;                /* it dies whole as it is */
	int r = op_begin(fs, &op, OP_FREE, 0);
	if (r < 0)
		return r;
	do
		r = make_rest_locked(fs, place);
	while (op_retry(&op, &r));
	op_end(&op);
	return r;
}
