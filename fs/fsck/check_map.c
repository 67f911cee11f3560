/* Which blocks differ: for bands whose sums do not agree, maps with a bit for each block are filled by walking the trees again, as
 * many bands at once as MAPS_BYTES hold, and compared. */
#include "base/cleanup.h"
#include "fs/fsck/checkimpl.h"
#include "fs/space/rowitem.h"
#include "fs/space/rowlive.h"
#include "fs/space/unread.h"
#include "fs/tree/store.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MAPS_BYTES (UINT64_C(128) << 20)

static void maps_free(struct check *c)
{
	for (uint32_t i = 0; i < c->fs->config->band_count; i++)
		for (size_t k = 0; k < ARRAY_COUNT(c->bands[i].map); k++) {
			free(c->bands[i].map[k]);
			c->bands[i].map[k] = NULL;
		}
}

/* Maps for the next bands that need them; *from moves on. */
static void maps_make(struct check *c, uint32_t *from)
{
	uint64_t left = MAPS_BYTES;
	for (; *from < c->fs->config->band_count; (*from)++) {
		struct check_band *band = &c->bands[*from];
		uint64_t bytes = band_blocks(&c->fs->config->bands[*from]) / 8 + 1;
		if (!band->wrong && !band->unowned)
			continue;
		if (left < bytes * ARRAY_COUNT(band->map) && left < MAPS_BYTES)
			return;
		for (size_t k = 0; k < ARRAY_COUNT(band->map); k++)
			if (!(band->map[k] = calloc(1, bytes)))
				c->error = -ENOMEM;
		left -= bytes * ARRAY_COUNT(band->map) < left ? bytes * ARRAY_COUNT(band->map) : left;
	}
}

static uint8_t *map_of(struct check *c, address at, enum check_map which)
{
	struct check_band *band = check_band_of(c, at);
	return band ? band->map[which] : NULL;
}

static void reach_again(struct check *c, address from, unsigned blocks, const char *what)
{
	uint8_t *reached = map_of(c, from, MAP_REACHED);
	const struct band *b = config_band(c->fs->config, address_band(from));
	bool twice = false;
	if (!reached || address_block(from) + blocks > band_blocks(b))
		return;
	for (uint64_t i = address_block(from); i < address_block(from) + blocks; i++) {
		twice |= map_get(reached, i);
		map_set(reached, i);
	}
	if (!twice)
		return;
	struct freed *f = vector_add(&c->twice, &c->twice_count, &c->twice_room, sizeof *f);
	if (f)
		*f = (struct freed){ from, blocks };
	else
		c->error = -ENOMEM;
	check_say(c, "Two pointers lead to band %u, block %llu; one is of a %s.", b->id, (unsigned long long)address_block(from), what);
}

static bool on_pointer(void *ctx, const struct walk_node *node)
{
	reach_again(ctx, le64_get(node->pointer->address), UNIT_BLOCKS, "tree node");
	return true;
}

static void on_file_item(void *ctx, const struct walk_node *leaf, const struct item *item)
{
	const struct extent_item *x = item->value;
	(void)leaf;
	if (item->key.type != ITEM_EXTENT || !extent_placed(x) || !map_of(ctx, le64_get(x->address), MAP_REACHED))
		return;
	for (uint64_t block = item->key.offset, end = block + extent_blocks(item); block < end; ) {
		struct record_place place;
		extent_record(item, block, &place);
		block += place.blocks;
		reach_again(ctx, place.address, place.blocks, "record of data");
	}
}

/* ---- Owners ---- */

static void note_owned(struct check *c, const struct live_list *list)
{
	for (size_t i = 0; i < list->count; i++) {
		const struct live *live = &list->items[i];
		address from = live->node ? le64_get(live->pointer.address) : live->place.address;
		unsigned blocks = live->node ? UNIT_BLOCKS : live->place.blocks;
		uint8_t *owned = map_of(c, from, MAP_OWNED);
		for (uint64_t k = address_block(from); owned && k < address_block(from) + blocks; k++)
			map_set(owned, k);
	}
}

static void take_as_owned(struct check *c, const struct band *b, uint64_t first_row, const struct row_owner *owner)
{
	uint8_t *owned = c->bands[b - c->fs->config->bands].map[MAP_OWNED];
	uint64_t first = first_row * band_row_blocks(b) + le16_get(owner->start_block);
	for (uint64_t k = first; k < first + le16_get(owner->blocks) && k < band_blocks(b); k++)
		map_set(owned, k);
}

/* An operation for each: all together may need more nodes than the cache holds.  Where a node cannot be read, nothing is known against
 * the row item. */
static void find_owned(struct check *c, const struct band *b, uint64_t first_row, unsigned rows, const struct row_owner *owners,
	unsigned count)
{
	struct live_list list = { 0 };
	for (unsigned i = 0; i < count && c->error == 0; i++) {
		struct op op;
		int r;
		op_begin(c->fs, &op, OP_READ, 0);
		do
			r = rowlive_owners(c->fs, b, first_row, &owners[i], 1, first_row, rows, &list);
		while (unread_retry(&op, NULL, &r));
		op_end(&op);
		if (r == -ENOMEM)
			c->error = r;
		else if (r == -EIO)
			take_as_owned(c, b, first_row, &owners[i]);
	}
	note_owned(c, &list);
	free(list.items);
}

static void owned_by_pending(struct check *c)
{
	for (size_t i = 0; i < c->fs->pending_run_count; i++) {
		const struct run *run = &c->fs->pending_runs[i];
		const struct band *b = &c->fs->config->bands[run->rows.band];
		if (c->bands[run->rows.band].map[MAP_OWNED])
			find_owned(c, b, run->rows.row, run->rows.count, run->owners, run->owner_count);
	}
}

static void note_live(const struct band *b, uint8_t *live, const struct item *item)
{
	uint64_t first = item->key.offset * BITMAP_CHUNK_ROWS * band_row_blocks(b);
	for (uint64_t i = 0; i < item->bytes * 8u && first + i < band_blocks(b); i++)
		if (map_get(item->value, i))
			map_set(live, first + i);
}

static void on_system_item(void *ctx, const struct walk_node *leaf, const struct item *item)
{
	struct check *c = ctx;
	(void)leaf;
	const struct band *b = item->key.object <= BAND_ID_MAX ? config_band(c->fs->config, (uint32_t)item->key.object) : NULL;
	const struct check_band *band = b ? &c->bands[b - c->fs->config->bands] : NULL;
	const struct rows_item *rows = item->value;
	if (!band || !band->map[MAP_LIVE])
		return;
	if (item->key.type == ITEM_BITMAP && item->key.offset <= b->rows / BITMAP_CHUNK_ROWS)
		note_live(b, band->map[MAP_LIVE], item);
	else if (item->key.type == ITEM_ROWS && rows_item_valid(&item->key, item->value, item->bytes))
		find_owned(c, b, item->key.offset, le16_get(rows->rows), rows->owner, le16_get(rows->owners));
}

static void fill_pending(struct check *c)
{
	struct fs *fs = c->fs;
	uint8_t *image = malloc(UNIT_BYTES);
	struct disk_pointer next = c->body.pending;
	if (!image)
		c->error = -ENOMEM;
	for (uint64_t n = fs->alloc.capacity_blocks / UNIT_BLOCKS; c->error == 0 && n > 0 && le32_get(next.length_bytes) != 0; n--) {
		reach_again(c, le64_get(next.address), UNIT_BLOCKS, "pending record");
		if (store_read_pending(fs, &next, c->generation, image) < 0)
			break;
		next = ((const struct pending_header *)image)->next;
	}
	free(image);
	for (size_t i = 0; i < fs->pending_run_count; i++) {
		const struct run *run = &fs->pending_runs[i];
		struct check_band *band = &c->bands[run->rows.band];
		uint64_t first = run->rows.row * band_row_blocks(&fs->config->bands[run->rows.band]);
		for (unsigned o = 0; band->map[MAP_PENDING] && o < run->owner_count; o++)
			for (unsigned k = 0; k < le16_get(run->owners[o].blocks); k++) {
				map_set(band->map[MAP_PENDING], first + le16_get(run->owners[o].start_block) + k);
				if (run->owners[o].level == ROW_OWNER_PENDING)
					map_set(band->map[MAP_OWNED], first + le16_get(run->owners[o].start_block) + k);
			}
	}
	for (size_t i = 0; i < fs->pending_freed_count; i++) {
		const struct freed *f = &fs->pending_freed[i];
		uint8_t *freed = map_of(c, f->address, MAP_FREED);
		for (uint64_t k = address_block(f->address); freed && k < address_block(f->address) + f->blocks; k++)
			map_set(freed, k);
	}
}

/* ---- Comparing ---- */

struct lot { uint64_t count, first; };
enum lots { UNSET, LEAKED, FREED, UNPOINTED, UNOWNED, LOTS };
static const char *const lot_text[LOTS] = {
	[UNSET] = "are in use and marked free",
	[LEAKED] = "are marked used and nothing leads to them",
	[FREED] = "are listed as freed and are in use, or free already",
	[UNPOINTED] = "are listed as pending and nothing leads to them",
	[UNOWNED] = "are in use and no row item leads to their pointer",
};

static void compare(struct check *c, const struct band *b, const struct check_band *band)
{
	struct lot lots[LOTS] = { 0 };
	for (uint64_t i = 0; i < band_blocks(b); i++) {
		bool reached = map_get(band->map[MAP_REACHED], i), live = map_get(band->map[MAP_LIVE], i);
		bool pending = map_get(band->map[MAP_PENDING], i), freed = map_get(band->map[MAP_FREED], i);
		bool differs[LOTS] = { reached && !live && !pending, live && !reached && !freed, freed && (reached || !live),
			pending && !reached, reached && !map_get(band->map[MAP_OWNED], i) };
		for (unsigned k = 0; k < LOTS; k++)
			if (differs[k] && lots[k].count++ == 0)
				lots[k].first = i;
	}
	for (unsigned k = 0; k < LOTS; k++)
		if (lots[k].count > 0)
			check_say(c, "Band %u: %llu blocks %s, first block %llu.", b->id, (unsigned long long)lots[k].count, lot_text[k],
				(unsigned long long)lots[k].first);
}

/* What could not be read before is tried once more. */
static void forget_obstacle(struct fs *fs)
{
	SCOPED_LOCK(&fs->lock);
	fs->obstacle.error = 0;
}

void check_maps(struct check *c)
{
	struct fs *fs = c->fs;
	struct walk walk = { .fs = fs, .ctx = c, .pointer = on_pointer, .generation = c->generation };
	uint64_t before = c->findings;
	c->phase = "blocks";
	forget_obstacle(fs);
	for (uint32_t from = 0, begin = 0; from < fs->config->band_count && c->error == 0; begin = from) {
		maps_make(c, &from);
		walk.tree = TREE_FILE;
		walk.item = on_file_item;
		int r = c->error == 0 ? walk_tree(&walk, &c->body.file_tree, c->body.file_level) : c->error;
		walk.tree = TREE_SYSTEM;
		walk.item = on_system_item;
		if (r == 0)
			r = walk_tree(&walk, &c->body.system_tree, c->body.system_level);
		if (c->error == 0)
			c->error = r;
		if (c->error == 0)
			fill_pending(c);
		if (c->error == 0)
			owned_by_pending(c);
		for (uint32_t i = begin; i < from && c->error == 0; i++)
			if (c->bands[i].map[MAP_OWNED])
				compare(c, &fs->config->bands[i], &c->bands[i]);
		maps_free(c);
		check_progress(c, from, fs->config->band_count);
	}
	forget_obstacle(fs);
	if (c->error == 0 && c->findings == before)
		check_say(c, "Row items do not agree with what lies in their rows.");
}
