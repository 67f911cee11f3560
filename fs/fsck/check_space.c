/* The check of space: bits, row items, owners and pending records against what the trees reach.
 *
 * A bit is set exactly for what is reached and not listed as pending (rows of the system tree that its own bitmaps could not
 * say yet), and for what the pending records list as freed (bits that the next commit clears).  Items of the system tree come band by
 * band, a band's bitmaps before its row items: so the bits of one band at a time are in memory.
 *
 * Four sums a band are compared.  Over blocks: what pointers reached, and what is in use by bits and pending records.  Over
 * blocks with what they belong to: the same from pointers, and from the owners in row items where the bit is set.  A node's
 * owner must also lead to its pointer. */
#include "fs/fsck/checkimpl.h"
#include "fs/tree/store.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

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

int check_space_begin(struct check *c)
{
	const struct config *config = c->fs->config;
	uint64_t blocks = 0, rows = 0;
	for (uint32_t i = 0; i < config->band_count; i++) {
		blocks = band_blocks(&config->bands[i]) > blocks ? band_blocks(&config->bands[i]) : blocks;
		rows = config->bands[i].rows > rows ? config->bands[i].rows : rows;
	}
	c->bands = calloc(config->band_count, sizeof *c->bands);
	c->live = malloc(blocks / 8 + 1);
	c->expected = malloc(blocks / 8 + 1);
	c->covered = malloc(rows / 8 + 1);
	return c->bands && c->live && c->expected && c->covered ? 0 : -ENOMEM;
}

void check_space_free(struct check *c)
{
	free(c->bands);
	free(c->live);
	free(c->expected);
	free(c->covered);
}

/* ---- What pointers reach ---- */

struct check_band *check_band_of(struct check *c, address at)
{
	const struct band *b = config_band(c->fs->config, address_band(at));
	return b ? &c->bands[b - c->fs->config->bands] : NULL;
}

static uint64_t block_sum(const struct check *c, address at) { return check_mix(c->key[0] ^ at); }

uint64_t check_node_sum(const struct check *c, address at, uint8_t tree, uint8_t level)
{
	return check_mix(check_mix(c->key[1] ^ at) ^ (0x10000u + 256u * tree + level));
}

uint64_t check_data_sum(const struct check *c, address at, uint64_t ino, uint64_t block)
{
	return check_mix(check_mix(check_mix(c->key[1] ^ at) ^ ino << 20) ^ block);
}

bool check_reach(struct check *c, address from, unsigned blocks, const char *what)
{
	const struct band *b = config_band(c->fs->config, address_band(from));
	uint64_t first = address_block(from);
	if (!b || blocks == 0 || first % UNIT_BLOCKS + blocks > UNIT_BLOCKS || first + blocks > band_blocks(b)) {
		check_say(c, "The pointer of a %s leads to no place of the array (band %u, block %llu).", what, address_band(from),
			(unsigned long long)first);
		return false;
	}
	struct check_band *band = &c->bands[b - c->fs->config->bands];
	band->reached += blocks;
	for (unsigned i = 0; i < blocks; i++)
		band->reached_sum += block_sum(c, from + i);
	return true;
}

void check_pointer_sum(struct check *c, address at, uint64_t sum)
{
	struct check_band *band = check_band_of(c, at);
	if (band)
		band->pointer_sum += sum;
}

/* ---- Bitmaps of one band ---- */

static void bitmap_item(struct check *c, const struct band *b, const struct item *item)
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
		map_set(c->live, first + i);
	}
	if (!any)
		check_say(c, "The bitmap of band %u, row %llu is empty and still there.", b->id, (unsigned long long)first_row);
}

/* Bits that the pending records list as freed do not count as in use. */
static void take_freed_off(struct check *c)
{
	const struct fs *fs = c->fs;
	uint64_t wrong = 0;
	for (size_t i = 0; i < fs->pending_freed_count; i++) {
		const struct freed *f = &fs->pending_freed[i];
		for (uint32_t k = 0; address_band(f->address) == c->band->id && k < f->blocks; k++) {
			uint64_t block = address_block(f->address) + k;
			if (block >= band_blocks(c->band) || !map_get(c->expected, block))
				wrong++;
			else
				map_clear(c->expected, block);
		}
	}
	if (wrong > 0)
		check_say(c, "Band %u: %llu blocks are listed as freed twice, or are free already.", c->band->id, (unsigned long long)wrong);
}

/* When a band's bitmaps have all been seen. */
static void make_expected(struct check *c)
{
	struct check_band *band = &c->bands[c->band - c->fs->config->bands];
	uint64_t blocks = band_blocks(c->band);
	address base = band_row_address(c->band, 0);
	if (c->expected_made)
		return;
	c->expected_made = true;
	memcpy(c->expected, c->live, blocks / 8 + 1);
	take_freed_off(c);
	for (uint64_t i = 0; i < blocks; i++)
		if (c->expected[i / 8] == 0)
			i |= 7;
		else if (map_get(c->expected, i)) {
			band->bits++;
			band->bits_sum += block_sum(c, base + i);
		}
}

/* ---- Row items ---- */

/* A node's owner leads to its pointer, if the node is in use. */
static bool owner_leads(struct check *c, const struct row_owner *o, address at)
{
	struct fs *fs = c->fs;
	struct tree *tree = o->tree == TREE_FILE ? &fs->file : &fs->system;
	struct key key = { le64_get(o->object), o->type, le64_get(o->offset), le32_get(o->version) };
	struct disk_pointer pointer;
	struct op op;
	int r;
	op_begin(fs, &op, OP_READ, 0);
	do
		r = tree_node_pointer(fs, tree, &key, o->level, &pointer);
	while (op_retry(&op, &r));
	op_end(&op);
	return r == 0 ? le64_get(pointer.address) == at : r != -ENOENT;
}

static void owner_sum(struct check *c, struct check_band *band, const struct row_owner *o, address at, uint64_t offset)
{
	if (o->level == ROW_OWNER_DATA)
		band->owner_sum += check_data_sum(c, at, le64_get(o->object), offset);
	else if (address_block(at) % UNIT_BLOCKS == 0) {
		band->owner_sum += check_node_sum(c, at, o->tree, o->level);
		if (o->level != ROW_OWNER_PENDING && !owner_leads(c, o, at))
			band->unowned = true;
	}
}

static void owners(struct check *c, const struct band *b, const struct item *item)
{
	struct check_band *band = &c->bands[b - c->fs->config->bands];
	const struct rows_item *v = item->value;
	unsigned end = le16_get(v->rows) * band_row_blocks(b), before = 0;
	uint64_t first = item->key.offset * band_row_blocks(b);
	for (unsigned i = 0; i < le16_get(v->owners); i++) {
		const struct row_owner *o = &v->owner[i];
		unsigned start = le16_get(o->start_block), blocks = le16_get(o->blocks);
		if (start < before || blocks == 0 || start + blocks > end || o->tree > TREE_SYSTEM) {
			check_say(c, "The owners in the row item of band %u, row %llu make no sense.", b->id, (unsigned long long)item->key.offset);
			return;
		}
		before = start + blocks;
		for (unsigned k = 0; k < blocks; k++)
			if (map_get(c->expected, first + start + k))
				owner_sum(c, band, o, band_row_address(b, 0) + first + start + k, le64_get(o->offset) + k);
	}
}

static void rows_item(struct check *c, const struct band *b, const struct item *item)
{
	const struct rows_item *v = item->value;
	uint64_t row = item->key.offset, written = le64_get(v->written);
	unsigned rows = le16_get(v->rows);
	make_expected(c);
	if (rows > PARITY_RUN_ROWS || row >= b->rows || rows > b->rows - row) {
		check_say(c, "The row item of band %u, row %llu reaches beyond the band.", b->id, (unsigned long long)row);
		return;
	}
	if (row < c->next_row)
		check_say(c, "The row item of band %u, row %llu overlaps the one before.", b->id, (unsigned long long)row);
	c->next_row = row + rows;
	for (uint64_t i = row; i < row + rows; i++)
		map_set(c->covered, i);
	if (written == 0 || written > c->generation)
		check_say(c, "The row item of band %u, row %llu says it was written by generation %llu.", b->id, (unsigned long long)row,
			(unsigned long long)written);
	owners(c, b, item);
}

/* ---- One band after the other ---- */

/* Most rows of a large array are free. Eight take whole bytes of both maps. */
static bool eight_are_free(const struct check *c, const struct band *b, uint64_t row)
{
	const uint8_t *live = c->live + row / 8 * band_row_blocks(b);
	uint8_t any = 0;
	if (row % 8 != 0 || b->rows - row < 8)
		return false;
	for (unsigned i = 0; i < band_row_blocks(b); i++)
		any |= live[i];
	return !any && !c->covered[row / 8];
}

static void compare_rows(struct check *c, const struct band *b, uint64_t *ret_live, uint64_t *ret_free_rows)
{
	struct lot uncovered = { 0 }, stale = { 0 };
	uint64_t live = 0, free_rows = 0;
	for (uint64_t row = 0; row < b->rows; row++) {
		if (eight_are_free(c, b, row)) {
			free_rows += 8;
			row += 7;
			continue;
		}
		unsigned bits = 0;
		for (unsigned i = 0; i < band_row_blocks(b); i++)
			bits += map_get(c->live, row * band_row_blocks(b) + i);
		live += bits;
		free_rows += bits == 0;
		if (bits > 0 && !map_get(c->covered, row))
			lot_add(&uncovered, row * band_row_blocks(b));
		if (bits == 0 && map_get(c->covered, row))
			lot_add(&stale, row * band_row_blocks(b));
	}
	lot_say(c, b, &uncovered, "begin rows in use that no row item covers");
	lot_say(c, b, &stale, "begin free rows that a row item covers");
	*ret_live = live;
	*ret_free_rows = free_rows;
}

static void compare_counts(struct check *c, const struct band *b, uint64_t live, uint64_t free_rows)
{
	struct fs *fs = c->fs;
	uint32_t index = (uint32_t)(b - fs->config->bands);
	const struct check_band *band = &c->bands[index];
	if (band->has_item ? band->item_live != live || band->item_free_rows != free_rows : live > 0)
		check_say(c, "Band %u has %llu blocks in use and %llu free rows; its summary says %llu and %llu.", b->id, (unsigned long long)live,
			(unsigned long long)free_rows, (unsigned long long)band->item_live, (unsigned long long)band->item_free_rows);
	for (size_t i = 0; i < fs->pending_run_count; i++)
		free_rows -= fs->pending_runs[i].rows.band == index ? fs->pending_runs[i].rows.count : 0;
	pthread_mutex_lock(&fs->lock);
	const struct band_state *s = &fs->alloc.bands[index];
	uint64_t counted_live = s->live_blocks, counted_free = s->free_rows;
	bool waiting = fs->releases != NULL;
	pthread_mutex_unlock(&fs->lock);
	if (counted_live != live || (waiting ? counted_free > free_rows : counted_free != free_rows))
		check_say(c, "Band %u has %llu blocks in use and %llu free rows; the allocator counts %llu and %llu.", b->id,
			(unsigned long long)live, (unsigned long long)free_rows, (unsigned long long)counted_live, (unsigned long long)counted_free);
}

static void band_end(struct check *c)
{
	uint64_t live, free_rows;
	if (!c->band || c->error < 0)
		return;
	make_expected(c);
	compare_rows(c, c->band, &live, &free_rows);
	compare_counts(c, c->band, live, free_rows);
	c->bands[c->band - c->fs->config->bands].item_live = live;       /* from here on: bits set, for the total */
	if (c->options->data)
		check_band_parity(c, c->band, c->expected);
	check_progress(c, (uint64_t)(c->band - c->fs->config->bands), c->fs->config->band_count);
}

/* Bands come in the order of their ids. */
static void band_begin(struct check *c, const struct band *b)
{
	if (c->band == b)
		return;
	band_end(c);
	c->band = b;
	c->bands[b - c->fs->config->bands].walked = true;
	c->expected_made = false;
	c->next_row = 0;
	memset(c->live, 0, band_blocks(b) / 8 + 1);
	memset(c->covered, 0, b->rows / 8 + 1);
}

static void scrub_item(struct check *c, const struct item *item)
{
	struct scrub_record record;
	if (scrub_item_decode(&item->key, item->value, item->bytes, &record) < 0)
		check_say(c, "What the system tree says of the scrub makes no sense.");
}

void check_system_item(struct check *c, const struct item *item)
{
	if (item->key.type == ITEM_SCRUB) {
		scrub_item(c, item);
		return;
	}
	uint64_t id = item->key.type == ITEM_BAND ? item->key.offset : item->key.object;
	const struct band *b = id <= BAND_ID_MAX ? config_band(c->fs->config, (uint32_t)id) : NULL;
	if (!b || (item->key.type == ITEM_BAND && item->key.object != OBJECT_BANDS)) {
		check_say(c, "The system tree knows a band %llu that the array does not have.", (unsigned long long)id);
		return;
	}
	if (item->key.type == ITEM_BAND) {
		struct check_band *band = &c->bands[b - c->fs->config->bands];
		const struct band_item *v = item->value;
		band->has_item = true;
		band->item_live = le64_get(v->live_blocks);
		band->item_free_rows = le64_get(v->free_rows);
		return;
	}
	band_begin(c, b);
	if (item->key.type == ITEM_BITMAP)
		bitmap_item(c, b, item);
	else
		rows_item(c, b, item);
}

/* ---- Pending records ---- */

/* Follows the chain; returns the number of records. Two records at one place would make it endless: their number is limited by
 * the room that there is. */
static uint64_t pending_chain(struct check *c)
{
	uint8_t *image = malloc(UNIT_BYTES);
	struct disk_pointer next = c->body.pending;
	uint64_t records = 0, most = c->fs->alloc.capacity_blocks / UNIT_BLOCKS;
	if (!image)
		c->error = -ENOMEM;
	while (c->error == 0 && le32_get(next.length_bytes) != 0 && records < most) {
		address at = le64_get(next.address);
		if (!check_reach(c, at, UNIT_BLOCKS, "pending record"))
			break;
		check_pointer_sum(c, at, check_node_sum(c, at, TREE_SYSTEM, ROW_OWNER_PENDING));
		int r = store_read_pending(c->fs, &next, c->generation, image);
		if (r == -ENOMEM)
			c->error = r;
		else if (r < 0)
			check_say(c, "A pending record cannot be read (band %u, block %llu).", address_band(at), (unsigned long long)address_block(at));
		if (r < 0)
			break;
		records++;
		next = ((const struct pending_header *)image)->next;
	}
	free(image);
	return records;
}

/* The blocks of a pending run are in use beside what the bits say. */
static uint64_t pending_run(struct check *c, const struct run *run)
{
	const struct band *b = &c->fs->config->bands[run->rows.band];
	struct check_band *band = &c->bands[run->rows.band];
	address first = band_row_address(b, run->rows.row);
	uint64_t records = 0;
	for (unsigned o = 0; o < run->owner_count; o++) {
		const struct row_owner *owner = &run->owners[o];
		address at = first + le16_get(owner->start_block);
		records += owner->level == ROW_OWNER_PENDING;
		for (unsigned k = 0; k < le16_get(owner->blocks); k++) {
			band->bits++;
			band->bits_sum += block_sum(c, at + k);
			owner_sum(c, band, owner, at + k, 0);
		}
	}
	return records;
}

/* A row that is listed as pending was taken from free ones: its bits are clear. */
static void pending_rows_free(struct check *c, const struct run *run)
{
	for (uint64_t row = run->rows.row; row < run->rows.row + run->rows.count && c->error == 0; row++) {
		const struct band *b = &c->fs->config->bands[run->rows.band];
		struct op op;
		int r = 0;
		bool live = false;
		op_begin(c->fs, &op, OP_READ, 0);
		do {
			r = 0;
			for (unsigned i = 0; i < band_row_blocks(b) && r == 0 && !live; i++)
				r = alloc_block_live(c->fs, band_row_address(b, row) + i, &live);
		} while (op_retry(&op, &r));
		op_end(&op);
		if (r == 0 && live)
			check_say(c, "Band %u, row %llu is listed as pending and was in use before.", b->id, (unsigned long long)row);
	}
}

void check_pending(struct check *c)
{
	struct fs *fs = c->fs;
	for (uint32_t i = 0; i < fs->config->band_count && c->error == 0; i++)
		if (!c->bands[i].walked)
			band_begin(c, &fs->config->bands[i]);    /* no item speaks of it */
	band_end(c);
	c->band = NULL;
	uint64_t chain = pending_chain(c), listed = 0;
	for (size_t i = 0; i < fs->pending_run_count && c->error == 0; i++) {
		listed += pending_run(c, &fs->pending_runs[i]);
		pending_rows_free(c, &fs->pending_runs[i]);
	}
	if (c->error == 0 && listed != chain)
		check_say(c, "The pending records list %llu of themselves and are %llu.", (unsigned long long)listed, (unsigned long long)chain);
}

/* ---- All together ---- */

void check_space_end(struct check *c)
{
	uint64_t total = 0;
	bool any = false;
	for (uint32_t i = 0; i < c->fs->config->band_count && c->error == 0; i++) {
		struct check_band *band = &c->bands[i];
		total += band->item_live;
		band->wrong = band->reached != band->bits || band->reached_sum != band->bits_sum;
		band->unowned |= band->pointer_sum != band->owner_sum;
		any |= band->wrong || band->unowned;
	}
	if (any && c->error == 0)
		check_maps(c);
	if (c->error == 0 && total != le64_get(c->body.live_blocks))
		check_say(c, "%llu blocks are in use and the root says %llu.", (unsigned long long)total,
			(unsigned long long)le64_get(c->body.live_blocks));
}
