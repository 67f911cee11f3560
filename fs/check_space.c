/* The self-check of space: bits, row items, owners and pending records against what the trees reach.
 *
 * A bit is set exactly for what is reached and not listed as pending (rows of the system tree that its own bitmaps could not
 * say yet), and for what the pending records list as freed (bits that the next commit clears). */
#include "fs/checkimpl.h"
#include "fs/rowlive.h"
#include "fs/store.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define OWNER_ROWS 64u           /* looked up at once */

int check_space_begin(struct check *c)
{
	const struct config *config = c->fs->config;
	c->bands = calloc(config->band_count, sizeof *c->bands);
	if (!c->bands)
		return -ENOMEM;
	for (uint32_t i = 0; i < config->band_count; i++) {
		size_t bytes = band_blocks(&config->bands[i]) / 8 + 1;
		struct check_band *map = &c->bands[i];
		uint8_t **maps[] = { &map->reached, &map->live, &map->pending, &map->freed, &map->owned, &map->covered };
		for (size_t k = 0; k < ARRAY_COUNT(maps); k++)
			if (!(*maps[k] = calloc(1, bytes)))
				return -ENOMEM;
	}
	return 0;
}

void check_space_free(struct check *c)
{
	for (uint32_t i = 0; c->bands && i < c->fs->config->band_count; i++) {
		struct check_band *map = &c->bands[i];
		free(map->reached);
		free(map->live);
		free(map->pending);
		free(map->freed);
		free(map->owned);
		free(map->covered);
	}
	free(c->bands);
}

/* ---- Items of the system tree ---- */

static void bitmap_item(struct check *c, const struct band *b, struct check_band *map, const struct item *item)
{
	uint64_t first_row = item->key.offset * BITMAP_CHUNK_ROWS;
	if (item->key.offset > b->rows / BITMAP_CHUNK_ROWS || first_row >= b->rows) {
		check_say(c, "Band %u has a bitmap beyond its end.", b->id);
		return;
	}
	uint64_t rows = b->rows - first_row < BITMAP_CHUNK_ROWS ? b->rows - first_row : BITMAP_CHUNK_ROWS;
	uint64_t bits = rows * band_row_blocks(b), first = first_row * band_row_blocks(b);
	if (item->bytes != (bits + 7) / 8) {
		check_say(c, "The bitmap of band %u, row %llu has a wrong size.", b->id, (unsigned long long)first_row);
		return;
	}
	bool any = false;
	for (uint64_t i = 0; i < item->bytes * 8; i++) {
		if (!map_get(item->value, i))
			continue;
		any = true;
		if (i >= bits) {
			check_say(c, "The bitmap of band %u, row %llu has bits beyond its rows.", b->id, (unsigned long long)first_row);
			return;
		}
		map_set(map->live, first + i);
	}
	if (!any)
		check_say(c, "The bitmap of band %u, row %llu is empty and still there.", b->id, (unsigned long long)first_row);
}

static void rows_item(struct check *c, const struct band *b, struct check_band *map, const struct item *item)
{
	const struct rows_item *v = item->value;
	uint64_t row = item->key.offset, written = le64_get(v->written);
	unsigned rows = le16_get(v->rows), end = rows * band_row_blocks(b), before = 0;
	bool overlap = false, bad = false;
	if (rows > PARITY_RUN_ROWS || row >= b->rows || rows > b->rows - row) {
		check_say(c, "The row item of band %u, row %llu reaches beyond the band.", b->id, (unsigned long long)row);
		return;
	}
	for (uint64_t i = row; i < row + rows; i++) {
		overlap |= map_get(map->covered, i);
		map_set(map->covered, i);
	}
	if (overlap)
		check_say(c, "The row item of band %u, row %llu overlaps the one before.", b->id, (unsigned long long)row);
	if (written == 0 || written > c->generation)
		check_say(c, "The row item of band %u, row %llu says it was written by generation %llu.", b->id, (unsigned long long)row,
			(unsigned long long)written);
	for (unsigned i = 0; i < le16_get(v->owners); i++) {
		const struct row_owner *o = &v->owner[i];
		unsigned start = le16_get(o->start_block), blocks = le16_get(o->blocks);
		bad |= start < before || blocks == 0 || start + blocks > end || o->tree > TREE_SYSTEM;
		before = start + blocks;
	}
	if (bad)
		check_say(c, "The owners in the row item of band %u, row %llu make no sense.", b->id, (unsigned long long)row);
}

void check_system_item(struct check *c, const struct item *item)
{
	uint64_t id = item->key.type == ITEM_BAND ? item->key.offset : item->key.object;
	const struct band *b = id <= BAND_ID_MAX ? config_band(c->fs->config, (uint32_t)id) : NULL;
	if (!b || (item->key.type == ITEM_BAND && item->key.object != OBJECT_BANDS)) {
		check_say(c, "The system tree knows a band %llu that the array does not have.", (unsigned long long)id);
		return;
	}
	struct check_band *map = &c->bands[b - c->fs->config->bands];
	if (item->key.type == ITEM_BITMAP)
		bitmap_item(c, b, map, item);
	else if (item->key.type == ITEM_ROWS)
		rows_item(c, b, map, item);
	else {
		const struct band_item *v = item->value;
		map->has_item = true;
		map->item_live = le64_get(v->live_blocks);
		map->item_free_rows = le64_get(v->free_rows);
	}
}

/* ---- Pending records ---- */

/* Follows the chain; returns the number of records. */
static uint64_t pending_chain(struct check *c)
{
	uint8_t *image = malloc(UNIT_BYTES);
	struct disk_pointer next = c->body.pending;
	uint64_t records = 0;
	if (!image)
		c->error = -ENOMEM;
	while (c->error == 0 && le32_get(next.length_bytes) != 0) {
		if (!check_reach(c, le64_get(next.address), UNIT_BLOCKS, "pending record"))
			break;
		int r = store_read_pending(c->fs, &next, c->generation, image);
		if (r == -ENOMEM)
			c->error = r;
		else if (r < 0)
			check_say(c, "A pending record cannot be read (band %u, block %llu).", address_band(le64_get(next.address)),
				(unsigned long long)address_block(le64_get(next.address)));
		if (r < 0)
			break;
		records++;
		next = ((const struct pending_header *)image)->next;
	}
	free(image);
	return records;
}

static uint64_t pending_run(struct check *c, const struct run *run)
{
	const struct band *b = &c->fs->config->bands[run->rows.band];
	struct check_band *map = &c->bands[run->rows.band];
	uint64_t first = run->rows.row * band_row_blocks(b), records = 0;
	for (unsigned o = 0; o < run->owner_count; o++) {
		uint64_t start = first + le16_get(run->owners[o].start_block);
		records += run->owners[o].level == ROW_OWNER_PENDING;
		for (uint64_t i = start; i < start + le16_get(run->owners[o].blocks); i++) {
			if (map_get(map->pending, i))
				check_say(c, "The pending records name band %u, block %llu twice.", b->id, (unsigned long long)i);
			map_set(map->pending, i);
		}
	}
	for (uint64_t row = run->rows.row; row < run->rows.row + run->rows.count; row++) {
		bool used = map_get(map->covered, row);
		for (unsigned i = 0; i < band_row_blocks(b); i++)
			used |= map_get(map->live, row * band_row_blocks(b) + i);
		if (used)
			check_say(c, "Band %u, row %llu is listed as pending and was in use before.", b->id, (unsigned long long)row);
	}
	return records;
}

static void freed_blocks(struct check *c, const struct freed *f)
{
	const struct band *b = config_band(c->fs->config, address_band(f->address));
	if (!b || address_block(f->address) + f->blocks > band_blocks(b)) {
		check_say(c, "The pending records name freed blocks that the array does not have.");
		return;
	}
	struct check_band *map = &c->bands[b - c->fs->config->bands];
	for (uint64_t i = address_block(f->address); i < address_block(f->address) + f->blocks; i++) {
		if (map_get(map->freed, i))
			check_say(c, "Band %u, block %llu was freed twice.", b->id, (unsigned long long)i);
		map_set(map->freed, i);
	}
}

void check_pending(struct check *c)
{
	struct fs *fs = c->fs;
	uint64_t chain = pending_chain(c), listed = 0;
	if (c->error < 0)
		return;
	pthread_mutex_lock(&fs->lock);
	for (size_t i = 0; i < fs->pending_run_count; i++)
		listed += pending_run(c, &fs->pending_runs[i]);
	for (size_t i = 0; i < fs->pending_freed_count; i++)
		freed_blocks(c, &fs->pending_freed[i]);
	pthread_mutex_unlock(&fs->lock);
	if (listed != chain)
		check_say(c, "The pending records list %llu of themselves and are %llu.", (unsigned long long)listed, (unsigned long long)chain);
}

/* ---- Owners ---- */

static void note_owned(struct check *c, const struct live_list *list)
{
	for (size_t i = 0; i < list->count; i++) {
		const struct live *live = &list->items[i];
		address from = live->node ? le64_get(live->pointer.address) : live->place.address;
		unsigned blocks = live->node ? UNIT_BLOCKS : live->place.blocks;
		const struct band *b = config_band(c->fs->config, address_band(from));
		for (uint64_t k = address_block(from); k < address_block(from) + blocks; k++)
			map_set(c->bands[b - c->fs->config->bands].owned, k);
	}
}

static int owners_of(struct check *c, const struct band *b, const struct run *run, uint64_t row, unsigned count)
{
	struct live_list list = { 0 };
	struct op op;
	int r = op_begin(c->fs, &op, OP_READ, 0);
	do
		r = run ? rowlive_owners(c->fs, b, run->rows.row, run->owners, run->owner_count, row, count, &list)
			: rowlive_collect(c->fs, b, row, count, &list);
	while (op_retry(&op, &r));
	op_end(&op);
	if (r == 0)
		note_owned(c, &list);
	free(list.items);
	return r;
}

static void find_owned(struct check *c)
{
	struct fs *fs = c->fs;
	int r = 0;
	for (uint32_t i = 0; i < fs->config->band_count && r == 0; i++) {
		const struct band *b = &fs->config->bands[i];
		for (uint64_t row = 0; row < b->rows && r == 0; row += OWNER_ROWS)
			r = owners_of(c, b, NULL, row, b->rows - row < OWNER_ROWS ? (unsigned)(b->rows - row) : OWNER_ROWS);
	}
	for (size_t i = 0; i < fs->pending_run_count && r == 0; i++) {
		const struct run *run = &fs->pending_runs[i];
		r = owners_of(c, &fs->config->bands[run->rows.band], run, run->rows.row, run->rows.count);
	}
	if (r == -ENOMEM)
		c->error = r;
	else if (r < 0)
		check_say(c, "Owners of rows cannot be followed (%s).", strerror(-r));
}

/* The pending records' own blocks have no pointer but the chain's. */
static void own_pending(struct check *c)
{
	for (size_t i = 0; i < c->fs->pending_run_count; i++) {
		const struct run *run = &c->fs->pending_runs[i];
		uint64_t first = run->rows.row * band_row_blocks(&c->fs->config->bands[run->rows.band]);
		for (unsigned o = 0; o < run->owner_count; o++)
			for (unsigned k = 0; run->owners[o].level == ROW_OWNER_PENDING && k < le16_get(run->owners[o].blocks); k++)
				map_set(c->bands[run->rows.band].owned, first + le16_get(run->owners[o].start_block) + k);
	}
}

/* ---- All together ---- */

/* Blocks of one kind of disagreement in a band make one finding. */
struct lot { uint64_t count, first; };

static void lot_add(struct lot *lot, uint64_t block)
{
	if (lot->count++ == 0)
		lot->first = block;
}

static void lot_say(struct check *c, const struct band *b, const struct lot *lot, const char *what)
{
	if (lot->count > 0)
		check_say(c, "Band %u: %llu blocks %s, first block %llu.", b->id, (unsigned long long)lot->count, what,
			(unsigned long long)lot->first);
}

static void compare_blocks(struct check *c, const struct band *b, const struct check_band *map)
{
	struct lot unset = { 0 }, leaked = { 0 }, freed = { 0 }, unpointed = { 0 }, unowned = { 0 };
	for (uint64_t i = 0; i < band_blocks(b); i++) {
		bool reached = map_get(map->reached, i), live = map_get(map->live, i), pending = map_get(map->pending, i);
		if (reached && !live && !pending)
			lot_add(&unset, i);
		if (live && !reached && !map_get(map->freed, i))
			lot_add(&leaked, i);
		if (map_get(map->freed, i) && (reached || !live))
			lot_add(&freed, i);
		if (pending && !reached)
			lot_add(&unpointed, i);
		if (reached && !map_get(map->owned, i))
			lot_add(&unowned, i);
	}
	lot_say(c, b, &unset, "are in use and marked free");
	lot_say(c, b, &leaked, "are marked used and nothing leads to them");
	lot_say(c, b, &freed, "are listed as freed and are in use, or free already");
	lot_say(c, b, &unpointed, "are listed as pending and nothing leads to them");
	lot_say(c, b, &unowned, "are in use and no row item leads to their pointer");
}

static void compare_rows(struct check *c, const struct band *b, const struct check_band *map, uint64_t *ret_live, uint64_t *ret_free_rows)
{
	struct lot uncovered = { 0 }, stale = { 0 };
	uint64_t live = 0, free_rows = 0;
	for (uint64_t row = 0; row < b->rows; row++) {
		unsigned bits = 0;
		for (unsigned i = 0; i < band_row_blocks(b); i++)
			bits += map_get(map->live, row * band_row_blocks(b) + i);
		live += bits;
		free_rows += bits == 0;
		if (bits > 0 && !map_get(map->covered, row))
			lot_add(&uncovered, row * band_row_blocks(b));
		if (bits == 0 && map_get(map->covered, row))
			lot_add(&stale, row * band_row_blocks(b));
	}
	lot_say(c, b, &uncovered, "begin rows in use that no row item covers");
	lot_say(c, b, &stale, "begin free rows that a row item covers");
	*ret_live = live;
	*ret_free_rows = free_rows;
}

static void compare_counts(struct check *c, uint32_t band, uint64_t live, uint64_t free_rows)
{
	struct fs *fs = c->fs;
	const struct band *b = &fs->config->bands[band];
	const struct check_band *map = &c->bands[band];
	if (map->has_item ? map->item_live != live || map->item_free_rows != free_rows : live > 0)
		check_say(c, "Band %u has %llu blocks in use and %llu free rows; its summary says %llu and %llu.", b->id, (unsigned long long)live,
			(unsigned long long)free_rows, (unsigned long long)map->item_live, (unsigned long long)map->item_free_rows);
	for (size_t i = 0; i < fs->pending_run_count; i++)
		free_rows -= fs->pending_runs[i].rows.band == band ? fs->pending_runs[i].rows.count : 0;
	pthread_mutex_lock(&fs->lock);
	const struct band_state *s = &fs->alloc.bands[band];
	if (s->live_blocks != live || (fs->releases ? s->free_rows > free_rows : s->free_rows != free_rows))
		check_say(c, "Band %u has %llu blocks in use and %llu free rows; the allocator counts %llu and %llu.", b->id,
			(unsigned long long)live, (unsigned long long)free_rows, (unsigned long long)s->live_blocks, (unsigned long long)s->free_rows);
	pthread_mutex_unlock(&fs->lock);
}

void check_space_end(struct check *c)
{
	uint64_t total = 0;
	find_owned(c);
	own_pending(c);
	for (uint32_t i = 0; i < c->fs->config->band_count && c->error == 0; i++) {
		const struct band *b = &c->fs->config->bands[i];
		uint64_t live, free_rows;
		compare_blocks(c, b, &c->bands[i]);
		compare_rows(c, b, &c->bands[i], &live, &free_rows);
		compare_counts(c, i, live, free_rows);
		total += live;
	}
	if (c->error == 0 && total != le64_get(c->body.live_blocks))
		check_say(c, "%llu blocks are in use and the root says %llu.", (unsigned long long)total,
			(unsigned long long)le64_get(c->body.live_blocks));
}
