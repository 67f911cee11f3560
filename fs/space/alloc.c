#include "fs/core.h"
#include "fs/space/rowitem.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK_LIMIT 4096

struct chunk {
	struct list lru, dirty_link;
	struct chunk *hash_next;
	uint32_t band;                   /* index */
	uint64_t number;
	unsigned holds;                  /* reasons to stay in memory: taken rows and blocks in used[] but not in tree[] */
	unsigned bits, row_bits, rows;
	uint64_t taken[BITMAP_CHUNK_ROWS / 64];
	uint64_t emptied[BITMAP_CHUNK_ROWS / 64];    /* rows whose last bit in tree[] went: their row items go */
	uint8_t *tree, *used;
	uint8_t bytes[];
};

static bool bit_get(const uint8_t *bits, unsigned i) { return bits[i / 8] >> (i % 8) & 1; }
static void bit_set(uint8_t *bits, unsigned i) { bits[i / 8] |= (uint8_t)(1u << (i % 8)); }
static void bit_clear(uint8_t *bits, unsigned i) { bits[i / 8] &= (uint8_t)~(1u << (i % 8)); }
static bool mask_get(const uint64_t *mask, unsigned i) { return mask[i / 64] >> (i % 64) & 1; }
static void mask_set(uint64_t *mask, unsigned i) { mask[i / 64] |= UINT64_C(1) << (i % 64); }
static void mask_clear(uint64_t *mask, unsigned i) { mask[i / 64] &= ~(UINT64_C(1) << (i % 64)); }

static unsigned row_live(const uint8_t *bits, unsigned row, unsigned row_bits)
{
	unsigned live = 0;
	for (unsigned i = row * row_bits; i < (row + 1) * row_bits; i++)
		live += bit_get(bits, i);
	return live;
}

static const struct band *band_at(const struct fs *fs, uint32_t i) { return &fs->config->bands[i]; }

static uint32_t band_index(const struct fs *fs, uint32_t id)
{
	return (uint32_t)(config_band(fs->config, id) - fs->config->bands);
}

int alloc_init(struct fs *fs)
{
	struct alloc *a = &fs->alloc;
	list_init(&a->lru);
	list_init(&a->dirty);
	a->chunk_limit = CHUNK_LIMIT;
	a->bucket_count = CHUNK_LIMIT;
	a->bands = calloc(fs->config->band_count, sizeof *a->bands);
	a->buckets = calloc(a->bucket_count, sizeof *a->buckets);
	if (!a->bands || !a->buckets)
		return -ENOMEM;
	for (uint32_t i = 0; i < fs->config->band_count; i++) {
		const struct band *b = band_at(fs, i);
		a->bands[i].tree_free_rows = a->bands[i].free_rows = b->rows;
		a->free_rows += b->rows;
		a->total_rows += b->rows;
		a->capacity_blocks += band_blocks(b);
		if (band_row_blocks(b) > a->widest_row_blocks)
			a->widest_row_blocks = (unsigned)band_row_blocks(b);
	}
	return 0;
}

int alloc_load(struct fs *fs)
{
	struct alloc *a = &fs->alloc;
	for (uint32_t i = 0; i < fs->config->band_count; i++) {
		const struct band *b = band_at(fs, i);
		struct key key = key_make(OBJECT_BANDS, ITEM_BAND, b->id);
		struct item item;
		int r = tree_lookup(fs, &fs->system, &key, &item);
		if (r == -ENOENT)
			continue;
		if (r < 0)
			return r;
		const struct band_item *v = item.value;
		uint64_t live = le64_get(v->live_blocks), free_rows = le64_get(v->free_rows);
		if (live > band_blocks(b) || free_rows > b->rows)
			return -EUCLEAN;
		struct band_state *s = &a->bands[i];
		a->live_blocks += live - s->live_blocks;
		a->free_rows -= s->free_rows - free_rows;
		s->live_blocks = live;
		s->tree_free_rows = s->free_rows = free_rows;
	}
	return 0;
}

static struct chunk **bucket_of(struct alloc *a, uint32_t band, uint64_t number)
{
	uint64_t x = ((uint64_t)band << 40 ^ number) * UINT64_C(0x9e3779b97f4a7c15);
	return &a->buckets[(x >> 32) % a->bucket_count];
}

static void chunk_drop(struct alloc *a, struct chunk *c)
{
	struct chunk **p = bucket_of(a, c->band, c->number);
	while (*p != c)
		p = &(*p)->hash_next;
	*p = c->hash_next;
	list_remove(&c->lru);
	list_remove(&c->dirty_link);
	a->chunk_count--;
	free(c);
}

void alloc_free(struct fs *fs)
{
	struct alloc *a = &fs->alloc;
	if (a->buckets)
		while (!list_empty(&a->lru))
			chunk_drop(a, container_of(a->lru.next, struct chunk, lru));
	free(a->buckets);
	free(a->bands);
	a->buckets = NULL;
	a->bands = NULL;
}

static void chunks_make_room(struct alloc *a)
{
	for (struct list *l = a->lru.next; l != &a->lru && a->chunk_count > a->chunk_limit; ) {
		struct chunk *c = container_of(l, struct chunk, lru);
		l = l->next;
		if (c->holds == 0 && list_alone(&c->dirty_link))
			chunk_drop(a, c);
	}
}

/* The chunk, from memory or from the system tree. */
static int chunk_get(struct fs *fs, uint32_t band, uint64_t number, struct chunk **ret_chunk)
{
	struct alloc *a = &fs->alloc;
	const struct band *b = band_at(fs, band);
	struct chunk **bucket = bucket_of(a, band, number);
	for (struct chunk *c = *bucket; c; c = c->hash_next)
		if (c->band == band && c->number == number) {
			list_remove(&c->lru);
			list_append(&a->lru, &c->lru);
			*ret_chunk = c;
			return 0;
		}
	struct key key = key_make(b->id, ITEM_BITMAP, number);
	struct item item;
	int r = tree_lookup(fs, &fs->system, &key, &item);
	if (r < 0 && r != -ENOENT)
		return r;
	uint64_t first = number * BITMAP_CHUNK_ROWS;
	unsigned rows = (unsigned)(b->rows - first < BITMAP_CHUNK_ROWS ? b->rows - first : BITMAP_CHUNK_ROWS);
	unsigned bits = rows * band_row_blocks(b), bytes = (bits + 7) / 8;
	if (r == 0 && item.bytes != bytes)
		return -EUCLEAN;
	chunks_make_room(a);
	struct chunk *c = calloc(1, sizeof *c + 2 * bytes);
	if (!c)
		return -ENOMEM;
	*c = (struct chunk){ .band = band, .number = number, .bits = bits, .row_bits = band_row_blocks(b), .rows = rows };
	c->tree = c->bytes;
	c->used = c->bytes + bytes;
	if (r == 0) {
		memcpy(c->tree, item.value, bytes);
		memcpy(c->used, item.value, bytes);
	}
	c->hash_next = *bucket;
	*bucket = c;
	list_init(&c->dirty_link);
	list_append(&a->lru, &c->lru);
	a->chunk_count++;
	*ret_chunk = c;
	return 0;
}

static bool row_is_free(const struct chunk *c, unsigned row)
{
	return !mask_get(c->taken, row) && row_live(c->used, row, c->row_bits) == 0;
}

static void free_rows_add(struct fs *fs, uint32_t band, int64_t count)
{
	fs->alloc.bands[band].free_rows += (uint64_t)count;
	fs->alloc.free_rows += (uint64_t)count;
}

static void take(struct fs *fs, struct chunk *c, unsigned row, unsigned count)
{
	for (unsigned i = row; i < row + count; i++) {
		mask_set(c->taken, i);
		c->holds++;
	}
	free_rows_add(fs, c->band, -(int64_t)count);
}

/* Looks in one chunk, from `row` on. */
static bool take_in_chunk(struct fs *fs, struct chunk *c, unsigned row, unsigned want, struct rows *ret_rows)
{
	while (row < c->rows && !row_is_free(c, row))
		row++;
	if (row >= c->rows)
		return false;
	unsigned end = (row / PARITY_RUN_ROWS + 1) * PARITY_RUN_ROWS, count = 1;
	if (end > c->rows)
		end = c->rows;
	while (count < want && row + count < end && row_is_free(c, row + count))
		count++;
	take(fs, c, row, count);
	*ret_rows = (struct rows){ c->band, c->number * BITMAP_CHUNK_ROWS + row, count };
	return true;
}

int alloc_take(struct fs *fs, unsigned want, struct rows *ret_rows)
{
	struct alloc *a = &fs->alloc;
	if (a->free_rows == 0)
		return -ENOSPC;
	/* Once round all bands, and the part of the first one before the cursor again. */
	for (uint32_t tried = 0; tried <= fs->config->band_count; ) {
		const struct band *b = band_at(fs, a->cursor_band);
		if (a->bands[a->cursor_band].free_rows == 0 || a->cursor_row >= b->rows) {
			a->cursor_band = (a->cursor_band + 1) % fs->config->band_count;
			a->cursor_row = 0;
			tried++;
			continue;
		}
		struct chunk *c;
		int r = chunk_get(fs, a->cursor_band, a->cursor_row / BITMAP_CHUNK_ROWS, &c);
		if (r < 0)
			return r;
		if (take_in_chunk(fs, c, (unsigned)(a->cursor_row % BITMAP_CHUNK_ROWS), want, ret_rows)) {
			a->cursor_row = ret_rows->row + ret_rows->count;
			return 0;
		}
		a->cursor_row = (c->number + 1) * BITMAP_CHUNK_ROWS;
	}
	return -ENOSPC;
}

int alloc_take_at(struct fs *fs, const struct rows *rows)
{
	struct chunk *c;
	int r = chunk_get(fs, rows->band, rows->row / BITMAP_CHUNK_ROWS, &c);
	if (r < 0)
		return r;
	unsigned row = (unsigned)(rows->row % BITMAP_CHUNK_ROWS);
	if (row + rows->count > c->rows)
		return -EUCLEAN;
	for (unsigned i = 0; i < rows->count; i++)
		if (!row_is_free(c, row + i))
			return -EUCLEAN;
	take(fs, c, row, rows->count);
	return 0;
}

static struct chunk *chunk_held(struct fs *fs, const struct rows *rows)
{
	struct chunk *c;
	int r = chunk_get(fs, rows->band, rows->row / BITMAP_CHUNK_ROWS, &c);
	assert(r == 0);          /* taken rows keep it in memory */
	return c;
}

void alloc_untake(struct fs *fs, const struct rows *rows)
{
	struct chunk *c = chunk_held(fs, rows);
	unsigned row = (unsigned)(rows->row % BITMAP_CHUNK_ROWS);
	for (unsigned i = row; i < row + rows->count; i++) {
		mask_clear(c->taken, i);
		c->holds--;
	}
	free_rows_add(fs, rows->band, rows->count);
}

static void chunk_dirty(struct alloc *a, struct chunk *c)
{
	if (list_alone(&c->dirty_link))
		list_append(&a->dirty, &c->dirty_link);
	a->bands[c->band].dirty = true;
}

void alloc_set(struct fs *fs, const struct run *run)
{
	struct alloc *a = &fs->alloc;
	struct chunk *c = chunk_held(fs, &run->rows);
	struct band_state *s = &a->bands[c->band];
	unsigned first_row = (unsigned)(run->rows.row % BITMAP_CHUNK_ROWS);
	for (unsigned o = 0; o < run->owner_count; o++) {
		unsigned from = first_row * c->row_bits + le16_get(run->owners[o].start_block);
		for (unsigned i = from; i < from + le16_get(run->owners[o].blocks); i++) {
			assert(!bit_get(c->used, i));
			bit_set(c->tree, i);
			bit_set(c->used, i);
			s->live_blocks++;
			a->live_blocks++;
		}
	}
	for (unsigned i = first_row; i < first_row + run->rows.count; i++) {
		assert(mask_get(c->taken, i));
		mask_clear(c->taken, i);
		mask_clear(c->emptied, i);
		c->holds--;
		if (row_live(c->tree, i, c->row_bits) > 0)
			s->tree_free_rows--;
		else
			free_rows_add(fs, c->band, 1);
	}
	chunk_dirty(a, c);
}

/* Calls for each chunk that [from, from + blocks) touches. */
static int clear_in_chunk(struct fs *fs, struct chunk *c, unsigned first, unsigned count)
{
	struct alloc *a = &fs->alloc;
	struct band_state *s = &a->bands[c->band];
	for (unsigned i = first; i < first + count; i++) {
		if (!bit_get(c->tree, i))
			return -EUCLEAN;
		bit_clear(c->tree, i);
		c->holds++;
		s->live_blocks--;
		a->live_blocks--;
		unsigned row = i / c->row_bits;
		bool last = i + 1 == first + count || (i + 1) % c->row_bits == 0;        /* of those in the row: it is looked at once */
		if (last && row_live(c->tree, row, c->row_bits) == 0) {
			s->tree_free_rows++;
			mask_set(c->emptied, row);
		}
	}
	chunk_dirty(a, c);
	return 0;
}

int alloc_clear(struct fs *fs, address from, uint32_t blocks)
{
	uint32_t band = band_index(fs, address_band(from));
	const struct band *b = band_at(fs, band);
	unsigned chunk_blocks = BITMAP_CHUNK_ROWS * band_row_blocks(b);
	uint64_t block = address_block(from), end = block + blocks;
	struct chunk *c;
	for (uint64_t n = block / chunk_blocks; n * chunk_blocks < end; n++) {
		int r = chunk_get(fs, band, n, &c);      /* all in memory before the first change */
		if (r < 0)
			return r;
	}
	while (block < end) {
		int r = chunk_get(fs, band, block / chunk_blocks, &c);
		if (r < 0)
			return r;
		unsigned first = (unsigned)(block % chunk_blocks);
		unsigned count = (unsigned)(end - block < chunk_blocks - first ? end - block : chunk_blocks - first);
		r = clear_in_chunk(fs, c, first, count);
		if (r < 0)
			return r;
		block += count;
	}
	return 0;
}

static void release_in_chunk(struct fs *fs, struct chunk *c, unsigned first, unsigned count)
{
	for (unsigned i = first; i < first + count; i++) {
		assert(bit_get(c->used, i) && !bit_get(c->tree, i));
		bit_clear(c->used, i);
		c->holds--;
		bool last = i + 1 == first + count || (i + 1) % c->row_bits == 0;
		if (last && row_is_free(c, i / c->row_bits))
			free_rows_add(fs, c->band, 1);
	}
}

/* All that a commit freed comes at once, with the lock held: a file of a terabyte is 2^28 blocks. */
void alloc_release(struct fs *fs, address from, uint32_t blocks)
{
	uint32_t band = band_index(fs, address_band(from));
	unsigned chunk_blocks = BITMAP_CHUNK_ROWS * band_row_blocks(band_at(fs, band));
	for (uint64_t block = address_block(from), end = block + blocks; block < end; ) {
		struct chunk *c;
		int r = chunk_get(fs, band, block / chunk_blocks, &c);
		assert(r == 0);  /* the cleared block holds it */
		unsigned first = (unsigned)(block % chunk_blocks);
		unsigned count = (unsigned)(end - block < chunk_blocks - first ? end - block : chunk_blocks - first);
		release_in_chunk(fs, c, first, count);
		block += count;
	}
}

/* The first run of rows marked in `mask`: false if there is none. */
static bool first_marked(const uint64_t *mask, unsigned rows, unsigned *ret_row, unsigned *ret_count)
{
	unsigned row = 0, count = 1;
	while (row < rows && !mask_get(mask, row))
		row++;
	if (row == rows)
		return false;
	while (row + count < rows && mask_get(mask, row + count))
		count++;
	*ret_row = row;
	*ret_count = count;
	return true;
}

int alloc_store_some(struct fs *fs)
{
	struct alloc *a = &fs->alloc;
	if (list_empty(&a->dirty))
		return 0;
	struct chunk *c = container_of(a->dirty.next, struct chunk, dirty_link);
	const struct band *b = band_at(fs, c->band);
	unsigned row, count;
	while (first_marked(c->emptied, c->rows, &row, &count)) {
		int r = rowitem_trim(fs, b, c->number * BITMAP_CHUNK_ROWS + row, count);
		if (r < 0)
			return r;
		for (unsigned i = row; i < row + count; i++)
			mask_clear(c->emptied, i);
	}
	struct key key = key_make(b->id, ITEM_BITMAP, c->number);
	unsigned bytes = (c->bits + 7) / 8;
	int r = tree_prepare(fs, &fs->system, &key);
	if (r < 0)
		return r;
	bool empty = true;
	for (unsigned i = 0; i < bytes && empty; i++)
		empty = c->tree[i] == 0;
	struct item item;
	if (!empty)
		r = tree_put(fs, &fs->system, &key, c->tree, bytes);
	else if (tree_lookup(fs, &fs->system, &key, &item) == 0)
		r = tree_delete(fs, &fs->system, &key);
	if (r < 0)
		return r;
	list_remove(&c->dirty_link);
	return 1;
}

int alloc_store_band(struct fs *fs)
{
	struct alloc *a = &fs->alloc;
	for (uint32_t i = 0; i < fs->config->band_count; i++) {
		struct band_state *s = &a->bands[i];
		if (!s->dirty)
			continue;
		struct key key = key_make(OBJECT_BANDS, ITEM_BAND, band_at(fs, i)->id);
		struct band_item v = { le64_put(s->live_blocks), le64_put(s->tree_free_rows) };
		int r = tree_prepare(fs, &fs->system, &key);
		if (r == 0)
			r = tree_put(fs, &fs->system, &key, &v, sizeof v);
		if (r < 0)
			return r;
		s->dirty = false;
		return 1;
	}
	return 0;
}

int alloc_store_run(struct fs *fs, const struct run *run, uint64_t generation)
{
	return rowitem_put(fs, band_at(fs, run->rows.band), run, generation);
}

/* Sets the block's bit in used[]; returns false if it was set, or its row is taken. */
static bool use_block(struct fs *fs, struct chunk *c, unsigned i)
{
	unsigned row = i / c->row_bits;
	if (bit_get(c->used, i) || mask_get(c->taken, row))
		return false;
	if (row_is_free(c, row))
		free_rows_add(fs, c->band, -1);
	bit_set(c->used, i);
	return true;
}

int alloc_mark(struct fs *fs, address from, uint32_t blocks)
{
	uint32_t band = band_index(fs, address_band(from));
	unsigned chunk_blocks = BITMAP_CHUNK_ROWS * band_row_blocks(band_at(fs, band));
	struct band_state *s = &fs->alloc.bands[band];
	for (uint64_t block = address_block(from), end = block + blocks; block < end; block++) {
		struct chunk *c;
		int r = chunk_get(fs, band, block / chunk_blocks, &c);
		if (r < 0)
			return r;
		unsigned i = (unsigned)(block % chunk_blocks);
		if (!use_block(fs, c, i))
			continue;
		if (row_live(c->tree, i / c->row_bits, c->row_bits) == 0)
			s->tree_free_rows--;
		bit_set(c->tree, i);
		s->live_blocks++;
		fs->alloc.live_blocks++;
		chunk_dirty(&fs->alloc, c);
	}
	return 0;
}

int alloc_keep(struct fs *fs, address from, uint32_t blocks)
{
	uint32_t band = band_index(fs, address_band(from));
	unsigned chunk_blocks = BITMAP_CHUNK_ROWS * band_row_blocks(band_at(fs, band));
	for (uint64_t block = address_block(from), end = block + blocks; block < end; block++) {
		struct chunk *c;
		int r = chunk_get(fs, band, block / chunk_blocks, &c);
		if (r < 0)
			return r;
		if (use_block(fs, c, (unsigned)(block % chunk_blocks)))
			c->holds++;
	}
	return 0;
}

int alloc_row_live(struct fs *fs, uint32_t band, uint64_t row, int *ret_live)
{
	struct chunk *c;
	int r = chunk_get(fs, band, row / BITMAP_CHUNK_ROWS, &c);
	if (r < 0)
		return r;
	unsigned i = (unsigned)(row % BITMAP_CHUNK_ROWS);
	*ret_live = mask_get(c->taken, i) ? -1 : (int)row_live(c->used, i, c->row_bits);
	return 0;
}

/* The chunk of the block, and the number of its bit there. */
static int find_block(struct fs *fs, address block, struct chunk **ret_chunk, unsigned *ret_bit)
{
	const struct band *b = config_band(fs->config, address_band(block));
	if (!b || address_block(block) >= band_blocks(b))
		return -EUCLEAN;
	unsigned chunk_blocks = BITMAP_CHUNK_ROWS * band_row_blocks(b);
	*ret_bit = (unsigned)(address_block(block) % chunk_blocks);
	return chunk_get(fs, (uint32_t)(b - fs->config->bands), address_block(block) / chunk_blocks, ret_chunk);
}

int alloc_block_live(struct fs *fs, address block, bool *ret_live)
{
	struct chunk *c;
	unsigned bit;
	int r = find_block(fs, block, &c, &bit);
	if (r == 0)
		*ret_live = bit_get(c->tree, bit);
	return r;
}

int alloc_block_used(struct fs *fs, address block, bool *ret_used)
{
	struct chunk *c;
	unsigned bit;
	int r = find_block(fs, block, &c, &bit);
	if (r == 0)
		*ret_used = bit_get(c->used, bit) || mask_get(c->taken, bit / c->row_bits);
	return r;
}
