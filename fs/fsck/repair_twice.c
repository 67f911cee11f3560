/* Extents that lead to the same blocks: a record's tag is bound to its object and place in it (design: the associated data), so at
 * most one of them can be read.  The others are taken out of their files, without freeing what they never owned. */
#include "fs/fsck/checkimpl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct wrong { struct key key; };

struct search {
	struct check *c;
	struct wrong *items; size_t count, room;
	uint8_t *buffer;
};

static bool touches(const struct check *c, address at, unsigned blocks)
{
	for (size_t i = 0; i < c->twice_count; i++)
		if (at < c->twice[i].address + c->twice[i].blocks && c->twice[i].address < at + blocks)
			return true;
	return false;
}

static void on_item(void *ctx, const struct walk_node *leaf, const struct item *item)
{
	struct search *s = ctx;
	const struct extent_item *x = item->value;
	(void)leaf;
	if (item->key.type != ITEM_EXTENT || !extent_placed(x) || !touches(s->c, le64_get(x->address), le32_get(x->blocks)))
		return;
	for (uint64_t block = item->key.offset, end = block + extent_blocks(item); block < end; ) {
		struct record_place place;
		void *const bufs[1] = { s->buffer };
		extent_record(item, block, &place);
		block += place.blocks;
		if (!touches(s->c, place.address, place.blocks) || store_read_records(s->c->fs, &place, bufs, 1, NULL) != -EIO)
			continue;
		struct wrong *w = vector_add(&s->items, &s->count, &s->room, sizeof *w);
		if (!w)
			s->c->error = -ENOMEM;
		else
			w->key = item->key;
		return;
	}
}

static int take_out(struct check *c, const struct key *key)
{
	char path[PATH_TEXT_BYTES];
	struct item item;
	struct op op;
	int r = op_begin(c->fs, &op, OP_RELOCATE, 0);
	if (r < 0)
		return r;
	do {
		r = tree_lookup(c->fs, &c->fs->file, key, &item);
		if (r == 0)
			r = tree_prepare(c->fs, &c->fs->file, key);
		if (r == 0)
			r = tree_delete(c->fs, &c->fs->file, key);
	} while (op_retry(&op, &r));
	op_end(&op);
	check_suspect(c, SUSPECT_OBJECT, key->object, 0);
	if (r == 0)
		check_note(c, CHECK_LOST, "%s: an extent at offset %llu led to blocks of another and was taken out.",
			path_text(c->fs, key->object, path), (unsigned long long)(key->offset * BLOCK_BYTES));
	return r == -ENOENT ? 0 : r;
}

int repair_twice(struct check *c)
{
	struct search s = { .c = c, .buffer = malloc(UNIT_BYTES) };
	struct walk walk = { .fs = c->fs, .tree = TREE_FILE, .ctx = &s, .item = on_item, .generation = UINT64_MAX };
	if (c->twice_count == 0) {
		free(s.buffer);
		return 0;
	}
	int r = s.buffer ? walk_tree(&walk, &c->body.file_tree, c->body.file_level) : -ENOMEM;
	for (size_t i = 0; i < s.count && r == 0; i++)
		r = take_out(c, &s.items[i].key);
	free(s.items);
	free(s.buffer);
	return r;
}
