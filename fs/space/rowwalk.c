/* A step gathers stretches of rows, and works on them in lanes: each takes the next one when it is done with one, so that while one waits
 * for a disk the others go on, and no more are in memory than there are lanes. */
#include "fs/space/rowitem.h"
#include "fs/space/rowwalk.h"
#include "fs/space/unread.h"

#include <errno.h>
#include <stdatomic.h>

#define STEP_ITEMS 4096u         /* row items looked at in one step */
#define STRETCHES_MAX 16u
#define LANES_MAX 8u
#define LANE_STRETCHES 2u        /* of each lane in a step, where all rows are in use */
#define MEMORY_BYTES (48u << 20)             /* of all lanes: a stretch of each column, and one more */

static_assert(LANES_MAX * LANE_STRETCHES * PARITY_RUN_ROWS == ROWWALK_RUN_STEP_ROWS, "what the lanes have in a step");

struct stretch {
	const struct band *band;
	uint64_t row;
	unsigned count;
	int result;
};

struct step {
	const struct rowwalk *walk;
	unsigned stretch_rows, rows_max; /* of one stretch, of the step */
	unsigned rows;                   /* of the step so far */
	unsigned count;
	_Atomic unsigned next;
	struct stretch stretches[STRETCHES_MAX];
};

/* Band and row, as row items have them. */
struct cursor { uint32_t band; uint64_t row; };

/* The next row item from the cursor on: 1 with the cursor behind it, 0 at the end.  A body. */
static int next_item(struct fs *fs, struct cursor *cursor, struct cursor *ret_at, unsigned *ret_count, uint64_t *ret_written)
{
	struct key from = key_make(cursor->band, ITEM_ROWS, cursor->row), to = key_make(BAND_ID_MAX, ITEM_ROWS, UINT64_MAX);
	struct item item;
	for (;;) {
		int r = tree_next(fs, &fs->system, &from, &to, &item);
		if (r == -ENOENT)
			return 0;
		if (r < 0)
			return r;
		if (rows_item_valid(&item.key, item.value, item.bytes))
			break;
		from = item.key;         /* other items of the band, and what makes no sense: step over */
		if (from.type < ITEM_ROWS) {
			from.type = ITEM_ROWS;
			from.offset = 0;
		} else if (from.type == ITEM_ROWS && from.offset < UINT64_MAX)
			from.offset++;
		else
			from = key_make(from.object + 1, ITEM_ROWS, 0);
	}
	const struct rows_item *v = item.value;
	*ret_written = le64_get(v->written);
	*ret_count = le16_get(v->rows);
	*ret_at = (struct cursor){ (uint32_t)item.key.object, item.key.offset };
	*cursor = (struct cursor){ ret_at->band, ret_at->row + *ret_count };
	return 1;
}

/* Adds rows, in pieces that end where the row is a multiple of stretch_rows: false if there is no room for all, and then none is added. */
static bool add_rows(struct step *s, const struct band *b, uint64_t row, unsigned count)
{
	unsigned before = s->count, before_rows = before ? s->stretches[before - 1].count : 0, rows = s->rows + count;
	if (s->rows > 0 && rows > s->rows_max)
		return false;
	while (count > 0) {
		struct stretch *last = s->count ? &s->stretches[s->count - 1] : NULL;
		unsigned to_end = s->stretch_rows - (unsigned)(row % s->stretch_rows), n = count < to_end ? count : to_end;
		if (last && last->band == b && last->row + last->count == row && row % s->stretch_rows)
			last->count += n;
		else if (s->count < STRETCHES_MAX)
			s->stretches[s->count++] = (struct stretch){ .band = b, .row = row, .count = n };
		else {
			s->count = before;
			if (before)
				s->stretches[before - 1].count = before_rows;
			return false;
		}
		row += n;
		count -= n;
	}
	s->rows = rows;
	return true;
}

static void run_lane(void *ctx, unsigned lane)
{
	struct step *s = ctx;
	(void)lane;
	for (unsigned i; (i = atomic_fetch_add(&s->next, 1)) < s->count; ) {
		struct stretch *x = &s->stretches[i];
		x->result = s->walk->work(s->walk->ctx, x->band, x->row, x->count);
	}
}

/* Long stretches cost less for each row, unless the rows are so wide that there would be one at a time. With a limit of speed a step is
 * what may be done in a second, or the shortest run. */
static unsigned plan(const struct fs *fs, const struct rowwalk *walk, struct step *ret_step)
{
	unsigned columns = fs->alloc.widest_row_blocks / UNIT_BLOCKS + 2, rows = walk->by_run ? PARITY_RUN_ROWS : ROWWALK_STRETCH_ROWS;
	unsigned lanes = MEMORY_BYTES / (columns * rows * UNIT_BYTES);
	if (lanes < 2) {
		rows = PARITY_RUN_ROWS;
		lanes = MEMORY_BYTES / (columns * rows * UNIT_BYTES);
	}
	unsigned most = fs->simple ? 1 : fs->options.threads < LANES_MAX ? fs->options.threads + 1 : LANES_MAX;
	lanes = lanes < 1 ? 1 : lanes > most ? most : lanes;
	uint64_t speed_rows = atomic_load(&fs->speed_bytes) / UNIT_BYTES;
	*ret_step = (struct step){ .walk = walk, .stretch_rows = rows, .rows_max = lanes * LANE_STRETCHES * rows };
	if (speed_rows > 0 && speed_rows < ret_step->rows_max)
		ret_step->rows_max = speed_rows > PARITY_RUN_ROWS ? (unsigned)speed_rows : PARITY_RUN_ROWS;
	return lanes;
}

/* Behind all keys that lie below the node.  False: there is nothing. */
static bool cursor_behind(const struct tree_miss *miss, struct cursor *ret_cursor)
{
	const struct key *k = &miss->behind;
	if (!miss->more || k->object > BAND_ID_MAX)
		return false;
	if (k->type <= ITEM_ROWS)
		*ret_cursor = (struct cursor){ (uint32_t)k->object, k->type == ITEM_ROWS ? k->offset : 0 };
	else
		*ret_cursor = (struct cursor){ (uint32_t)k->object + 1, 0 };
	return true;
}

/* As next_item, an operation of its own. */
static int find_item(struct fs *fs, const struct rowwalk *walk, struct cursor *cursor, struct cursor *ret_at, unsigned *ret_count,
	uint64_t *ret_written)
{
	struct op op;
	bool on = true;
	int r = op_begin(fs, &op, OP_READ, 0);
	while (on) {
		do
			r = next_item(fs, cursor, ret_at, ret_count, ret_written);
		while (unread_retry(&op, walk->unread, &r));
		on = r < 0 && r != -ENOMEM && walk->unread;
		if (on && !cursor_behind(&fs->obstacle.miss, cursor))
			r = on = false;
	}
	op_end(&op);
	return r;
}

/* Gathers stretches, until there is no room or so many items were looked at: 1, or 0 at the end. */
static int gather(struct fs *fs, struct step *s, struct cursor *cursor, unsigned *items)
{
	for (; *items > 0; --*items) {
		struct cursor before = *cursor, at = { 0 };
		unsigned count = 0;
		uint64_t written = 0;
		int r = find_item(fs, s->walk, cursor, &at, &count, &written);
		if (r <= 0)
			return r;
		const struct band *b = config_band(fs->config, at.band);
		if (!b || at.row + count > b->rows || (s->walk->wanted && !s->walk->wanted(s->walk->ctx, b, at.row, count, written)))
			continue;
		if (!add_rows(s, b, at.row, count)) {
			*cursor = before;
			return 1;
		}
	}
	return 1;
}

/* A position may lie in a band that is no more. */
static struct cursor cursor_of(const struct fs *fs, address position)
{
	const struct band *b = config_band(fs->config, address_band(position));
	return (struct cursor){ address_band(position), b ? address_block(position) / band_row_blocks(b) : 0 };
}

static address position_of(const struct fs *fs, const struct cursor *cursor)
{
	const struct band *b = config_band(fs->config, cursor->band);
	return b ? band_row_address(b, cursor->row) : address_make(cursor->band, 0);
}

int rowwalk_step(struct fs *fs, const struct rowwalk *walk, address *position)
{
	struct cursor cursor = cursor_of(fs, *position);
	struct step s;
	unsigned items = STEP_ITEMS, lanes = plan(fs, walk, &s);
	do {
		s.count = 0;
		atomic_store(&s.next, 0);
		int more = gather(fs, &s, &cursor, &items);
		if (more < 0)
			return more;
		pool_run(fs->pool, lanes < s.count ? lanes : s.count, run_lane, &s);
		for (unsigned i = 0; i < s.count; i++) {
			if (s.stretches[i].result < 0) {
				*position = band_row_address(s.stretches[i].band, s.stretches[i].row);
				return s.stretches[i].result;
			}
			fs->walked_bytes += (uint64_t)s.stretches[i].count * UNIT_BYTES;
		}
		*position = position_of(fs, &cursor);
		if (more == 0)
			return 0;
	} while (items > 0 && s.rows + PARITY_RUN_ROWS <= s.rows_max);
	return 1;
}

int rowwalk_pinned(struct fs *fs, const struct rowwalk *walk, address *position, uint64_t *ret_durable)
{
	struct store_pin pin;
	pthread_mutex_lock(&fs->lock);
	store_pin(fs, &pin);
	*ret_durable = fs->durable;
	pthread_mutex_unlock(&fs->lock);
	int r = rowwalk_step(fs, walk, position);
	store_unpin(fs, &pin);
	return r;
}

/* In a band rows are taken to be spread evenly. */
void rowwalk_progress(struct fs *fs, address position, uint64_t *ret_done_bytes, uint64_t *ret_total_bytes)
{
	uint64_t before = 0, all = 0;
	for (uint32_t i = 0; i < fs->config->band_count; i++) {
		const struct band *b = &fs->config->bands[i];
		uint64_t live = fs->alloc.bands[i].live_blocks;
		all += live;
		if (b->id < address_band(position))
			before += live;
		else if (b->id == address_band(position))
			before += (uint64_t)((double)live * (double)address_block(position) / (double)band_blocks(b));
	}
	*ret_done_bytes = before * BLOCK_BYTES;
	*ret_total_bytes = all * BLOCK_BYTES;
}
