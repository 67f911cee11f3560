/* A batch: the windows (parity runs of rows) with the least life in them, of those that the cursor came by, as many as free
 * rows can surely take up again.  Whole windows rather than single rows: their bitmaps and row items share leaves, which
 * would else cost more than what is moved.  What lives there is found through row items, sorted by owner so that moves
 * share leaves, read by the ordinary verified path and made dirty; the commit places it like any write, and the old rows
 * become free once that is durable.  Nodes of the file tree are made dirty at once; those of the system tree by the commit
 * (fs->touches).  Rows in which everything lives stay: moving them gains nothing. */
#include "fs/data/data.h"
#include "fs/names/inode.h"
#include "fs/names/path.h"
#include "fs/space/relocate.h"
#include "fs/space/rowlive.h"
#include "fs/space/space.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SCAN_ROWS 16384          /* looked at in one batch at most */
#define BATCH_BLOCKS_MAX 4096    /* moved in one batch at most: 16 MiB */
#define STEP_ROWS 8              /* rows taken into a batch at a time */
#define GAIN_ROWS_MIN 1          /* dead blocks in a batch's rows, in rows, below which there is nothing to gain */
#define WINDOW_NODES 6           /* nodes of the system tree that emptying a window dirties, about */

struct window {
	uint32_t band;
	uint64_t row;                    /* a multiple of PARITY_RUN_ROWS */
	unsigned live, used;             /* blocks that live, blocks of the rows in which they do (full rows not counted) */
};
struct window_list { struct window *windows; size_t count, room; };

/* Looks at one more row, at the cursor. Body. */
static int look(struct fs *fs, struct window_list *list)
{
	const struct band *b = &fs->config->bands[fs->relocate_band];
	int live;
	if (fs->relocate_row >= b->rows) {
		fs->relocate_band = (fs->relocate_band + 1) % fs->config->band_count;
		fs->relocate_row = 0;
		b = &fs->config->bands[fs->relocate_band];
	}
	int r = alloc_row_live(fs, fs->relocate_band, fs->relocate_row, &live);
	if (r < 0)
		return r;
	uint64_t row = fs->relocate_row++;
	if (live <= 0 || live == (int)band_row_blocks(b))
		return 0;
	uint64_t first = row / PARITY_RUN_ROWS * PARITY_RUN_ROWS;
	struct window *w = list->count ? &list->windows[list->count - 1] : NULL;
	if (!w || w->band != fs->relocate_band || w->row != first) {
		w = vector_add(&list->windows, &list->count, &list->room, sizeof *w);
		if (!w)
			return -ENOMEM;
		w->band = fs->relocate_band;
		w->row = first;
	}
	w->live += (unsigned)live;
	w->used += band_row_blocks(b);
	return 0;
}

static int find_windows(struct fs *fs, struct window_list *list)
{
	struct op op;
	int r = op_begin(fs, &op, OP_READ, 0);
	uint64_t rows = fs->alloc.total_rows < SCAN_ROWS ? fs->alloc.total_rows : SCAN_ROWS;
	for (uint64_t i = 0; i < rows && r == 0; i++)
		do
			r = look(fs, list);
		while (op_retry(&op, &r));
	op_end(&op);
	return r;
}

/* Most gained for what is moved. */
static int emptier_first(const void *a, const void *b)
{
	const struct window *x = a, *y = b;
	double fx = (double)x->live / x->used, fy = (double)y->live / y->used;
	return fx < fy ? -1 : fx > fy;
}

static int by_owner(const void *a, const void *b)
{
	const struct live *x = a, *y = b;
	if (x->node != y->node)
		return x->node - y->node;
	if (x->node)
		return key_compare(&x->key, &y->key);
	if (x->place.object != y->place.object)
		return x->place.object < y->place.object ? -1 : 1;
	return x->place.block < y->place.block ? -1 : x->place.block > y->place.block;
}

/* Does the file still have its data there? Body: 1 or 0. */
static int still_there(struct fs *fs, const struct record_place *p)
{
	struct extent_walk walk = { .ino = p->object, .block = p->block, .limit = p->block + p->blocks };
	struct extent x;
	int r = extent_walk_next(fs, &walk, &x);
	if (r == -ENOENT)
		return 0;
	if (r < 0 || !extent_placed(x.item.value))
		return r;
	if (x.block > p->block)
		return 0;        /* its first block is a hole now, and what follows was written anew */
	struct record_place now;
	extent_record(&x.item, p->block, &now);
	return now.address == p->address && now.block == p->block && now.blocks == p->blocks && !memcmp(now.tag, p->tag, sizeof now.tag);
}

/* The record becomes dirty where its pointer still is what it was. Body. */
static int move_locked(struct fs *fs, const struct record_place *p, struct record *record)
{
	struct inode inode;
	int r = still_there(fs, p);
	if (r <= 0)
		return r;
	r = inode_load(fs, p->object, &inode);
	if (r == 0)
		r = data_prepare_range(fs, p->object, p->block, p->block + p->blocks);
	if (r == 0)
		r = data_remove(fs, &inode, p->block, p->block + p->blocks);
	if (r == 0)              /* what was removed would else be lost with the next commit */
		r = inode_changed(fs, record_put(fs, record));
	return r;        /* as many blocks as before: the inode stays as it is */
}

/* Reads it under a pin of its own, which is not held while anything waits: 1, or 0 if it is no longer there. */
static int read_for_move(struct fs *fs, const struct record_place *p, struct record *record)
{
	void *const bufs[1] = { record_data(record) };
	struct store_pin pin;
	struct op op;
	int r = op_begin(fs, &op, OP_READ, 0);
	do
		r = still_there(fs, p);
	while (op_retry(&op, &r));
	if (r == 1)
		store_pin(fs, &pin);
	op_end(&op);
	if (r != 1)
		return r;
	r = store_read_records(fs, p, bufs, 1, NULL);
	if (r == -EIO)
		path_tell_lost(fs, p);
	store_unpin(fs, &pin);
	return r < 0 ? r : 1;
}

static int move_data(struct fs *fs, const struct live *live)
{
	const struct record_place *p = &live->place;
	struct record *record = record_new(p->object, p->block, p->blocks, false);
	if (!record)
		return -ENOMEM;
	struct op op;
	int r = read_for_move(fs, p, record);
	if (r == 1) {
		r = op_begin(fs, &op, OP_RELOCATE, 0);
		if (r < 0) {
			record_unref(fs, record);
			return r;
		}
		do
			r = move_locked(fs, p, record);
		while (op_retry(&op, &r));
		op_end(&op);
	}
	record_unref(fs, record);
	return r;
}

static int move_node(struct fs *fs, const struct live *live)
{
	address at = le64_get(live->pointer.address);
	struct op op;
	int r = op_begin(fs, &op, OP_RELOCATE, 0);
	if (r < 0)
		return r;
	if (live->tree == TREE_SYSTEM) {
		struct touch *t = vector_add(&fs->touches, &fs->touch_count, &fs->touch_room, sizeof *t);
		if (t) {
			*t = (struct touch){ live->key, live->level, at };
			txn_mark_dirty(fs);
		} else
			r = -ENOMEM;
	} else
		do
			r = tree_touch(fs, &fs->file, &live->key, live->level, at);
		while (op_retry(&op, &r));
	op_end(&op);
	return r;
}

/* What a batch may dirty: a part of what the free rows can hold beside what is dirty already, since it is written beside what
 * it replaces, and the commit's own nodes come on top. */
static uint64_t budget_blocks(struct fs *fs)
{
	pthread_mutex_lock(&fs->lock);
	int64_t row_blocks = (int64_t)(fs->alloc.capacity_blocks / fs->alloc.total_rows);
	int64_t blocks = space_rows_ahead(fs) * row_blocks / 2;
	pthread_mutex_unlock(&fs->lock);
	return blocks < 0 ? 0 : blocks < BATCH_BLOCKS_MAX ? (uint64_t)blocks : BATCH_BLOCKS_MAX;
}

/* Blocks that moving it makes dirty: itself, and a leaf with its path where that is not shared with the one before. */
static uint64_t cost_of(const struct live *live, const struct live *before)
{
	if (live->node)
		return 2 * UNIT_BLOCKS;
	bool near = before && !before->node && before->place.object == live->place.object
		&& live->place.block - before->place.block < EXTENT_RECORDS_MAX * UNIT_BLOCKS / 4;
	return live->place.blocks + (near ? 0 : 2 * UNIT_BLOCKS);
}

/* Adds what lives in rows [row, end) of the band that have dead blocks too, and how much that would gain. */
static int collect_rows(struct fs *fs, uint32_t band, uint64_t row, uint64_t end, struct live_list *list, uint64_t *gain)
{
	const struct band *b = &fs->config->bands[band];
	int r = 0;
	for (; row < end && row < b->rows && r == 0; row++) {
		struct op op;
		int live = 0;
		op_begin(fs, &op, OP_READ, 0);
		do {
			r = alloc_row_live(fs, band, row, &live);
			if (r == 0 && live > 0 && live < (int)band_row_blocks(b))
				r = rowlive_collect(fs, b, row, 1, list);
		} while (op_retry(&op, &r));
		op_end(&op);
		if (r == -EIO || r == -EUCLEAN)
			return 0;        /* a node that leads to what lives there cannot be read: it stays, and the rows count as full */
		if (live > 0)
			*gain += band_row_blocks(b) - (unsigned)live;
	}
	return r;
}

static uint64_t cost_of_all(const struct live_list *list)
{
	uint64_t cost = 0;
	for (size_t i = 0; i < list->count; i++)
		cost += cost_of(&list->items[i], i > 0 ? &list->items[i - 1] : NULL);
	return cost;
}

static int append(struct live_list *list, const struct live_list *more)
{
	for (size_t k = 0; k < more->count; k++) {
		struct live *slot = vector_add(&list->items, &list->count, &list->room, sizeof *slot);
		if (!slot)
			return -ENOMEM;
		*slot = more->items[k];
	}
	if (list->count > 0)
		qsort(list->items, list->count, sizeof *list->items, by_owner);
	return 0;
}

/* As many rows, in the order of windows, as the budget allows; in small steps, since the rows of one window may be too many
 * for what is free.  *ret_gain: blocks that are dead in them. */
static int collect(struct fs *fs, const struct window_list *windows, uint64_t budget, struct live_list *list, uint64_t *ret_gain)
{
	*ret_gain = 0;
	for (size_t i = 0; i < windows->count; i++) {
		const struct window *w = &windows->windows[i];
		for (uint64_t row = w->row; row < w->row + PARITY_RUN_ROWS; row += STEP_ROWS) {
			struct live_list more = { 0 };
			uint64_t gain = 0;
			int r = collect_rows(fs, w->band, row, row + STEP_ROWS, &more, &gain);
			bool fits = cost_of_all(list) + cost_of_all(&more) + (i + 1) * WINDOW_NODES * UNIT_BLOCKS <= budget;
			if (r == 0 && fits)
				r = append(list, &more);
			free(more.items);
			if (r < 0 || !fits)
				return r;
			*ret_gain += gain;
		}
	}
	return 0;
}

int64_t relocate_batch(struct fs *fs)
{
	struct window_list windows = { 0 };
	struct live_list list = { 0 };
	int64_t moved = 0;
	uint64_t budget = budget_blocks(fs), gain = 0;
	uint64_t row_blocks = fs->alloc.capacity_blocks / fs->alloc.total_rows;
	int r = find_windows(fs, &windows);
	if (r == 0 && windows.count > 0) {
		qsort(windows.windows, windows.count, sizeof *windows.windows, emptier_first);
		r = collect(fs, &windows, budget, &list, &gain);
	}
	if (gain < GAIN_ROWS_MIN * row_blocks)
		list.count = 0;
	for (size_t i = 0; i < list.count && r == 0; i++) {
		const struct live *live = &list.items[i];
		r = live->node ? move_node(fs, live) : move_data(fs, live);
		if (r == -EIO)
			r = 0;           /* it stays where it is, and the row counts as live */
		else if (r == 0)
			moved += live->node ? UNIT_BLOCKS : live->place.blocks;
	}
	free(windows.windows);
	free(list.items);
	return r < 0 ? r : moved;
}

int relocate_for_rows(struct fs *fs)
{
	while (fs->relocating) {
		pthread_cond_wait(&fs->progress, &fs->lock);
		if (!fs->relocating)
			return fs->error ? fs->error : 1;
	}
	fs->relocating = true;
	pthread_mutex_unlock(&fs->lock);
	int64_t r = relocate_batch(fs);
	int e = fs_sync(fs);
	pthread_mutex_lock(&fs->lock);
	fs->relocating = false;
	pthread_cond_broadcast(&fs->progress);
	return r < 0 ? (int)r : e < 0 ? e : r > 0;
}
