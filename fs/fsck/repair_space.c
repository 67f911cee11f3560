/* The system tree made anew from what the file tree reaches, in one transaction.
 *
 * A cut at any write leaves the old root as it was: what the old system tree and pending records use, as far as they can be read, is
 * taken as in use and freed by the same transaction, so that it is only reused when the new root is durable.
 *
 * Bits and row items are made from pieces: runs of blocks, each of one extent or node, sorted by address, of as many bands at once as
 * PIECES_MAX allow. A row was written no later than any leaf that points into it, so the lowest generation of those is an
 * upper bound of its `written`; it is not exact, so gaps that are open are made to cover everything.
 *
 * The new system tree is held in memory until it is written. */
#include "fs/fsck/checkimpl.h"
#include "fs/fsck/repair.h"
#include "fs/space/rowitem.h"
#include "fs/tree/store.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PIECES_MAX (UINT64_C(2) << 20)

struct piece {
	address at;
	uint32_t blocks;
	uint8_t type, level;
	uint64_t object, offset, written;
};

struct rebuild {
	struct check *c;
	uint32_t from, to;               /* bands, by index */
	uint64_t leaf_generation;
	struct piece *pieces; size_t count, room;
	struct freed *old; size_t old_count, old_room;
	int error;
};

int repair_without_space(struct fs *fs)
{
	uint32_t band = fs->alloc.cursor_band;
	uint64_t row = fs->alloc.cursor_row;
	for (size_t i = 0; i < fs->pending_run_count; i++)
		free(fs->pending_runs[i].owners);
	fs->pending_run_count = fs->pending_freed_count = fs->system_freed_count = fs->last_written_count = 0;
	alloc_free(fs);
	memset(&fs->alloc, 0, sizeof fs->alloc);
	int r = alloc_init(fs);
	fs->alloc.cursor_band = band;
	fs->alloc.cursor_row = row;
	node_unref(fs, fs->system.root);
	fs->system.txn = fs->open->generation;
	fs->system.root = node_new(fs, TREE_SYSTEM, 0);
	scrub_restart(fs);               /* it may have passed rows that no row item covered; what the last one found stays */
	return r == 0 && !fs->system.root ? -ENOMEM : r;
}

/* ---- Pieces ---- */

static void add_piece(struct rebuild *b, const struct piece *piece)
{
	const struct band *band = config_band(b->c->fs->config, address_band(piece->at));
	if (!band || address_block(piece->at) + piece->blocks > band_blocks(band))
		return;
	uint32_t index = (uint32_t)(band - b->c->fs->config->bands);
	if (index < b->from || index >= b->to)
		return;
	struct piece *p = vector_add(&b->pieces, &b->count, &b->room, sizeof *p);
	if (p)
		*p = *piece;
	else
		b->error = -ENOMEM;
}

static void on_read(void *ctx, const struct walk_node *node, const uint8_t *image)
{
	struct rebuild *b = ctx;
	struct key first = image_count(image) ? image_key(image, 0) : node->low ? *node->low : (struct key){ 0 };
	struct piece piece = { .at = le64_get(node->pointer->address), .blocks = UNIT_BLOCKS, .type = first.type, .level = node->level,
		.object = first.object, .offset = first.offset, .written = node->generation };
	b->leaf_generation = node->generation;
	add_piece(b, &piece);
}

/* A node that cannot be read keeps its place until it is cut out. */
static void on_bad(void *ctx, const struct walk_node *node, const char *what)
{
	struct rebuild *b = ctx;
	struct key first = node->low ? *node->low : (struct key){ 0 };
	struct piece piece = { .at = le64_get(node->pointer->address), .blocks = UNIT_BLOCKS, .type = first.type, .level = node->level,
		.object = first.object, .offset = first.offset, .written = b->c->generation };
	(void)what;
	add_piece(b, &piece);
}

static void on_item(void *ctx, const struct walk_node *leaf, const struct item *item)
{
	struct rebuild *b = ctx;
	const struct extent_item *x = item->value;
	if (item->key.type != ITEM_EXTENT || !extent_placed(x))
		return;
	struct piece piece = { .at = le64_get(x->address), .blocks = le32_get(x->blocks), .type = ITEM_EXTENT, .level = ROW_OWNER_DATA,
		.object = item->key.object, .offset = item->key.offset, .written = leaf->generation };
	add_piece(b, &piece);
}

static int by_address(const void *a, const void *b)
{
	const struct piece *x = a, *y = b;
	if (x->at != y->at)
		return x->at < y->at ? -1 : 1;
	return x->blocks < y->blocks ? 1 : x->blocks > y->blocks ? -1 : 0;
}

/* Of two pointers to one place the first one found owns it. */
static void drop_overlaps(struct rebuild *b)
{
	size_t kept = 0;
	if (b->count > 0)
		qsort(b->pieces, b->count, sizeof *b->pieces, by_address);
	for (size_t i = 0; i < b->count; i++)
		if (kept == 0 || b->pieces[i].at >= b->pieces[kept - 1].at + b->pieces[kept - 1].blocks)
			b->pieces[kept++] = b->pieces[i];
	b->count = kept;
}

/* ---- Row items ---- */

/* The lowest generation of the pieces that lie in the row, from number *i on: 0 if none does. */
static uint64_t row_written(const struct rebuild *b, const struct band *band, uint64_t row, size_t *i)
{
	address from = band_row_address(band, row), to = from + band_row_blocks(band);
	uint64_t written = 0;
	while (*i < b->count && b->pieces[*i].at + b->pieces[*i].blocks <= from)
		++*i;
	for (size_t k = *i; k < b->count && b->pieces[k].at < to; k++)
		if (written == 0 || b->pieces[k].written < written)
			written = b->pieces[k].written;
	return written;
}

static int put_run(struct rebuild *b, const struct band *band, uint64_t row, unsigned rows, size_t first, uint64_t written)
{
	struct fs *fs = b->c->fs;
	address from = band_row_address(band, row), to = from + (uint64_t)rows * band_row_blocks(band);
	struct run run = { .rows = { (uint32_t)(band - fs->config->bands), row, rows } };
	size_t count = 0, room = 0;
	int r = 0;
	for (size_t i = first; i < b->count && b->pieces[i].at < to && r == 0; i++) {
		const struct piece *p = &b->pieces[i];
		address start = p->at > from ? p->at : from, end = p->at + p->blocks < to ? p->at + p->blocks : to;
		if (start >= end)
			continue;
		struct row_owner *o = vector_add(&run.owners, &count, &room, sizeof *o);
		if (!o)
			r = -ENOMEM;
		else
			*o = (struct row_owner){ .object = le64_put(p->object), .type = p->type, .level = p->level, .tree = TREE_FILE,
				.offset = le64_put(p->level == ROW_OWNER_DATA ? p->offset + (start - p->at) : p->offset),
				.start_block = le16_put((uint16_t)(start - from)), .blocks = le16_put((uint16_t)(end - start)) };
	}
	run.owner_count = (unsigned)count;
	struct op op;
	op_begin(fs, &op, OP_READ, 0);
	if (r == 0)
		do
			r = rowitem_put(fs, band, &run, written);
		while (op_retry(&op, &r));
	op_end(&op);
	free(run.owners);
	return r;
}

static int make_rows(struct rebuild *b, const struct band *band)
{
	size_t i = 0;
	int r = 0;
	for (uint64_t row = 0; row < band->rows && r == 0; ) {
		uint64_t written = row_written(b, band, row, &i);
		unsigned rows = 1;
		size_t first = i, next = i;
		if (i == b->count || b->pieces[i].at >= band_row_address(band, band->rows - 1) + band_row_blocks(band))
			break;
		if (written == 0) {
			row++;
			continue;
		}
		while ((row + rows) % PARITY_RUN_ROWS != 0 && row + rows < band->rows && row_written(b, band, row + rows, &next) == written)
			rows++;
		r = put_run(b, band, row, rows, first, written);
		row += rows;
	}
	return r;
}

/* ---- Bits ---- */

static int store_bits(struct fs *fs)
{
	struct op op;
	int r;
	do {
		op_begin(fs, &op, OP_READ, 0);
		do
			r = alloc_store_some(fs);
		while (op_retry(&op, &r));
		op_end(&op);
	} while (r == 1);
	return r;
}

static int mark(struct fs *fs, address at, uint32_t blocks)
{
	struct op op;
	int r;
	op_begin(fs, &op, OP_READ, 0);
	do
		r = alloc_mark(fs, at, blocks);
	while (op_retry(&op, &r));
	op_end(&op);
	return r;
}

static int make_window(struct rebuild *b)
{
	struct check *c = b->c;
	struct walk walk = { .fs = c->fs, .tree = TREE_FILE, .ctx = b, .read = on_read, .bad = on_bad, .item = on_item,
		.generation = c->generation };
	b->count = 0;
	int r = walk_tree(&walk, &c->body.file_tree, c->body.file_level);
	if (r == 0)
		r = b->error;
	drop_overlaps(b);
	for (size_t i = 0; i < b->count && r == 0; i++)
		r = mark(c->fs, b->pieces[i].at, b->pieces[i].blocks);
	for (uint32_t i = b->from; i < b->to && r == 0; i++) {
		const struct band *band = &c->fs->config->bands[i];
		struct rebuild part = *b;
		while (part.count > 0 && address_band(part.pieces[0].at) != band->id) {
			part.pieces++;
			part.count--;
		}
		size_t n = 0;
		while (n < part.count && address_band(part.pieces[n].at) == band->id)
			n++;
		part.count = n;
		r = make_rows(&part, band);
	}
	return r == 0 ? store_bits(c->fs) : r;
}

static int make_all(struct rebuild *b)
{
	const struct config *config = b->c->fs->config;
	int r = 0;
	for (b->from = 0; b->from < config->band_count && r == 0; b->from = b->to) {
		uint64_t pieces = 0;
		for (b->to = b->from; b->to < config->band_count; b->to++) {
			const struct check_band *band = &b->c->bands[b->to];
			uint64_t more = band->extents + band->reached / UNIT_BLOCKS;
			if (b->to > b->from && pieces + more > PIECES_MAX)
				break;
			pieces += more;
		}
		r = make_window(b);
	}
	return r;
}

/* ---- What the old system tree uses ---- */

static void add_old(struct rebuild *b, address at)
{
	const struct band *band = config_band(b->c->fs->config, address_band(at));
	if (!band || address_block(at) + UNIT_BLOCKS > band_blocks(band))
		return;
	struct freed *f = vector_add(&b->old, &b->old_count, &b->old_room, sizeof *f);
	if (f)
		*f = (struct freed){ at, UNIT_BLOCKS };
	else
		b->error = -ENOMEM;
}

static bool on_old_pointer(void *ctx, const struct walk_node *node)
{
	add_old(ctx, le64_get(node->pointer->address));
	return true;
}

static int find_old(struct rebuild *b)
{
	struct check *c = b->c;
	struct walk walk = { .fs = c->fs, .tree = TREE_SYSTEM, .ctx = b, .pointer = on_old_pointer, .generation = c->generation };
	uint8_t *image = malloc(UNIT_BYTES);
	struct disk_pointer next = c->body.pending;
	if (!image)
		return -ENOMEM;
	for (uint64_t n = c->fs->alloc.capacity_blocks / UNIT_BLOCKS; n > 0 && le32_get(next.length_bytes) != 0; n--) {
		add_old(b, le64_get(next.address));
		if (store_read_pending(c->fs, &next, c->generation, image) < 0)
			break;
		next = ((const struct pending_header *)image)->next;
	}
	free(image);
	int r = walk_tree(&walk, &c->body.system_tree, c->body.system_level);
	return r == 0 ? b->error : r;
}

/* In use, by nothing that is new, and freed by this transaction. What the file tree reaches too was marked before. */
static int free_old(struct rebuild *b)
{
	struct fs *fs = b->c->fs;
	int r = 0;
	for (size_t i = 0; i < b->old_count && r == 0; i++) {
		bool live = false;
		struct op op;
		op_begin(fs, &op, OP_READ, 0);
		for (unsigned k = 0; k < UNIT_BLOCKS && r == 0 && !live; k++)
			do
				r = alloc_block_live(fs, b->old[i].address + k, &live);
			while (op_retry(&op, &r));
		if (r == 0 && !live)
			r = txn_free_blocks(fs, b->old[i].address, UNIT_BLOCKS);
		op_end(&op);
		if (r == 0 && !live)
			r = mark(fs, b->old[i].address, UNIT_BLOCKS);
	}
	return r;
}

/* ---- All together ---- */

static int begin(struct fs *fs)
{
	pthread_mutex_lock(&fs->lock);
	fs->read_only = false;
	commit_release(fs);              /* nobody else uses it: nothing is pinned, and all is durable */
	int r = fs->releases ? -EBUSY : repair_without_space(fs);
	pthread_mutex_unlock(&fs->lock);
	return r;
}

/* The root goes on naming a log that waits: it is replayed when there is a place to write to. */
static int commit_new(struct fs *fs)
{
	pthread_mutex_lock(&fs->lock);
	txn_mark_dirty(fs);
	pthread_mutex_unlock(&fs->lock);
	int r = commit_run(fs);
	if (r == 0)
		fs->system_lost = false;
	return r;
}

int repair_space(struct check *c)
{
	struct fs *fs = c->fs;
	struct rebuild b = { .c = c };
	bool read_only = fs->read_only;
	int r = find_old(&b);
	if (r == 0)
		r = begin(fs);
	if (r == 0)
		r = make_all(&b);
	if (r == 0)
		r = free_old(&b);
	if (r == 0) {
		array_doubt_rows(fs->array, fs->durable, NULL);
		r = commit_new(fs);
	}
	if (r < 0) {
		pthread_mutex_lock(&fs->lock);
		fs_give_up(fs, r, "the system tree could not be made anew");
		fs->read_only |= read_only;
		pthread_mutex_unlock(&fs->lock);
	}
	free(b.pieces);
	free(b.old);
	return r;
}
