/* A member that was away comes back in these steps, each safe against a cut:
 *
 *  1. take_back: between two transactions (everything dirty was committed, nothing is being written) the array makes it
 *     FILLING: from then on it takes all new writes, and its gap is closed towards new generations.
 *  2. walk: rows written while it was away (`written` in the gap) are verified through their owners, and its unit of each
 *     is made from the others.  First a commit, so that row items cover all of them (system rows get theirs with the next one);
 *     then all row items in the order of addresses; the position moves on after a flush of the member, and the next root keeps it.
 *  3. close: the walk is through, everything is flushed: the array makes it IN_SYNC and a commit says so.
 *
 * A member that is in sync but not level with the chosen root (an unverified gap, design §5) goes through 2 and 3 alike.  Rows
 * are held by a pin while they are worked on: none is reused between looking and writing (R1). */
#include "fs/catchup.h"
#include "fs/mend.h"
#include "fs/rowitem.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define STEP_ITEMS 4096          /* row items looked at in one step, which ends with a flush of all members */
#define STEP_ROWS 256            /* rows repaired in one step, about */
#define TRIES_MAX 8u             /* commits that parity of a row is waited for; then it is left to mending */
#define RETRY_FIRST_NS (10 * INT64_C(1000000000))
#define RETRY_MOST_NS (3600 * INT64_C(1000000000))

struct target {
	unsigned member;
	bool filling;                    /* else it is in sync and unverified */
	bool patient;                    /* rows whose parity cannot be made yet are waited for */
	struct gap gap;
};

static int column_of(const struct band *b, unsigned member)
{
	for (unsigned c = 0; c < b->width; c++)
		if (b->columns[c].member == member)
			return (int)c;
	return -1;
}

/* Are all others in sync? One that is in sync and may lack something needs them to be made from: else it waits, and its tags
 * decide. */
static bool others_in_sync(struct fs *fs, unsigned member)
{
	for (unsigned m = 0; m < array_member_count(fs->array); m++) {
		struct member_status s;
		array_member_status(fs->array, m, &s);
		if (m != member && (s.state == MEMBER_OUT || s.state == MEMBER_FILLING))
			return false;
	}
	return true;
}

/* Makes units of the rows anew from the other columns, where they differ: the member's, when it is filling.  One that is in
 * sync was read as it lies there, so every live record of the row verified or was healed; what else may be wrong of the row
 * is parity, on whatever member: the others may be no newer than this one.  A row in which another member has a bad sector
 * stays as it is, or the gap would never close: what lives in it verified, and is healed when it is read. */
static int make_units(struct fs *fs, const struct target *t, const struct band *b, uint64_t row, unsigned count,
	const struct live_list *list)
{
	unsigned column = (unsigned)column_of(b, t->member);
	struct iobuf *unit cleanup(iobuf_unrefp) = iobuf_new(UNIT_BYTES);
	int r = unit ? 0 : -ENOMEM;
	for (uint64_t i = row; i < row + count && r == 0; i++) {
		if (!t->filling) {
			r = mend_parity(fs, b, i, list);
			if (r == -EIO && others_in_sync(fs, t->member))
				r = 0;
			if (r == -EAGAIN && !t->patient) {
				array_note_damage(fs->array, &(struct bad_unit){ .band = b->id, .row = i, .column = (uint8_t)band_parity_column(b, i) });
				r = 0;
			}
			continue;
		}
		SCOPED_LOCK(&fs->heal_lock);
		r = array_rebuild_column(fs->array, b->id, i, column, unit);
		if (r == -EIO && others_in_sync(fs, t->member)) {
			r = 0;
			continue;
		}
		if (r == 0)
			r = array_write_column(fs->array, b->id, i, column, 0, UNIT_BLOCKS, unit);
	}
	return r;
}

static int live_of(struct fs *fs, const struct band *b, uint64_t row, unsigned count, struct live_list *list)
{
	struct op op;
	int r = op_begin(fs, &op, OP_READ, 0);
	do
		r = rowlive_collect(fs, b, row, count, list);
	while (op_retry(&op, &r));
	op_end(&op);
	return r;
}

/* Verifies what lives in the rows, and only then makes units from them: parity of damaged data is worth nothing. */
static int repair_rows(struct fs *fs, const struct target *t, const struct band *b, uint64_t row, unsigned count)
{
	struct live_list list = { 0 };
	unsigned bad = 0;
	if (column_of(b, t->member) < 0)
		return 0;
	int r = live_of(fs, b, row, count, &list);
	if (r == 0)
		r = rowlive_verify(fs, &list, &bad);
	if (r == 0 && bad == 0)
		r = make_units(fs, t, b, row, count, &list);
	free(list.items);
	if (r < 0 || bad == 0)
		return r;
	if (count == 1)
		return 0;        /* reported by the store, with what it was */
	for (unsigned i = 0; i < count && r == 0; i++)
		r = repair_rows(fs, t, b, row + i, 1);
	return r;
}

/* The next row item from `*at` on: 1 with *at moved behind it, 0 at the end. */
static int next_item(struct fs *fs, address *at, uint64_t *ret_written, address *ret_row, unsigned *ret_count)
{
	struct key from = key_make(address_band(*at), ITEM_ROWS, address_block(*at)), to = key_make(BAND_ID_MAX, ITEM_ROWS, UINT64_MAX);
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
	*ret_row = address_make((uint32_t)item.key.object, item.key.offset);
	*ret_count = le16_get(v->rows);
	*at = address_make((uint32_t)item.key.object, item.key.offset + le16_get(v->rows));
	return 1;
}

/* The walk's cursor counts rows, not blocks: (band, row). A position is the address of a row. */
static address row_to_address(const struct fs *fs, address cursor)
{
	const struct band *b = config_band(fs->config, address_band(cursor));
	return b ? band_row_address(b, address_block(cursor)) : address_make(address_band(cursor), 0);
}

static address address_to_row(const struct fs *fs, address position)
{
	const struct band *b = config_band(fs->config, address_band(position));
	return b ? address_make(b->id, address_block(position) / band_row_blocks(b)) : address_make(address_band(position), 0);
}

/* One stretch of the walk: 1, or 0 when it is through.  -EAGAIN: the row at the cursor has to wait for the next commit. */
static int walk(struct fs *fs, const struct target *t, address *cursor)
{
	unsigned repaired = 0;
	for (unsigned i = 0; i < STEP_ITEMS && repaired < STEP_ROWS; i++) {
		uint64_t written = 0;
		address row = 0, before = *cursor;
		unsigned count = 0;
		struct op op;
		int r = op_begin(fs, &op, OP_READ, 0);
		do
			r = next_item(fs, cursor, &written, &row, &count);
		while (op_retry(&op, &r));
		op_end(&op);
		if (r <= 0)
			return r;
		const struct band *b = config_band(fs->config, address_band(row));
		if (!b || address_block(row) + count > b->rows || !array_stale(fs->array, t->member, written, band_row_address(b, address_block(row))))
			continue;
		r = repair_rows(fs, t, b, address_block(row), count);
		if (r == -EAGAIN)
			*cursor = before;
		if (r < 0)
			return r;
		repaired += count;
	}
	return 1;
}

static int commit_now(struct fs *fs)
{
	pthread_mutex_lock(&fs->lock);
	txn_mark_dirty(fs);
	pthread_mutex_unlock(&fs->lock);
	return fs_sync(fs);
}

static int close_gap(struct fs *fs, unsigned member)
{
	int r = array_gap_close(fs->array, member), e = commit_now(fs);
	return r < 0 ? r : e;
}

static int walk_pinned(struct fs *fs, const struct target *t, address *cursor, uint64_t *ret_durable)
{
	struct store_pin pin;
	pthread_mutex_lock(&fs->lock);
	store_pin(fs, &pin);
	*ret_durable = fs->durable;
	pthread_mutex_unlock(&fs->lock);
	int r = walk(fs, t, cursor);
	store_unpin(fs, &pin);
	return r;
}

static int fill_step(struct fs *fs, struct target *t)
{
	address cursor = address_to_row(fs, t->gap.position);
	uint64_t durable;
	int r = commit_open(fs);
	if (r < 0)
		return r;
	pthread_mutex_lock(&fs->lock);
	bool pending = t->gap.position == 0 && fs->tree_generation <= t->gap.to;
	pthread_mutex_unlock(&fs->lock);
	if (pending)
		return commit_now(fs) < 0 ? -EIO : 1;
	t->patient = fs->fill_tries < TRIES_MAX;
	r = walk_pinned(fs, t, &cursor, &durable);
	if (r < 0 && r != -EAGAIN)
		return r;
	fs->fill_tries = r == -EAGAIN ? fs->fill_tries + 1 : 0;
	int e = array_flush(fs->array, durable);
	if (e < 0)
		return e;
	if (r == 0)
		return close_gap(fs, t->member) < 0 ? -EIO : 1;
	array_gap_advance(fs->array, t->member, row_to_address(fs, cursor));
	if (r == -EAGAIN)
		return commit_now(fs) < 0 ? -EIO : 1;
	pthread_mutex_lock(&fs->lock);
	txn_mark_dirty(fs);              /* so that a root keeps the position, also where nobody else writes */
	pthread_mutex_unlock(&fs->lock);
	return 1;
}

/* While somebody writes a stream, there would always be rows of the open transaction. */
static void hold_early(struct fs *fs, bool hold)
{
	pthread_mutex_lock(&fs->lock);
	fs->hold_early = hold;
	while (hold && fs->open->placing > 0)
		pthread_cond_wait(&fs->progress, &fs->lock);
	pthread_cond_signal(&fs->wake_flush);
	pthread_mutex_unlock(&fs->lock);
}

/* Between two transactions: all that was dirty is durable, and nothing is being written. */
static int return_member(struct fs *fs, unsigned member)
{
	int r = fs_sync(fs);
	if (r < 0)
		return r;
	SCOPED_LOCK(&fs->commit_lock);
	pthread_mutex_lock(&fs->lock);
	if (fs->open->placing > 0 || fs->open->run_count > 0)
		r = -EBUSY;
	else {
		r = array_member_return(fs->array, member, fs->open->generation);
		if (r == 0)
			txn_mark_dirty(fs);
	}
	pthread_mutex_unlock(&fs->lock);
	return r;
}

static int take_back(struct fs *fs, unsigned member)
{
	int r = array_member_answers(fs->array, member) ? commit_open(fs) : -EAGAIN;
	if (r < 0)
		return r;
	hold_early(fs, true);
	r = return_member(fs, member);
	hold_early(fs, false);
	if (r == -EBUSY)         /* not the member's fault */
		fs->retries[member] = (struct retry){ 0 };
	return r;
}

/* A member that was dropped while mounted is tried again, ever more seldom; one that was out when the array was opened at once. */
static bool due(struct fs *fs, unsigned member)
{
	int64_t now = fs_now_ns(fs);
	struct retry *retry = &fs->retries[member];
	if (retry->worked) {
		retry->worked = false;
		retry->not_before_ns = now + (retry->delay_ns ? retry->delay_ns : RETRY_FIRST_NS);
	}
	if (now < retry->not_before_ns)
		return false;
	retry->delay_ns = retry->delay_ns ? retry->delay_ns * 2 : RETRY_FIRST_NS;
	if (retry->delay_ns > RETRY_MOST_NS)
		retry->delay_ns = RETRY_MOST_NS;
	retry->not_before_ns = now + retry->delay_ns;
	return true;
}

int catchup_step(struct fs *fs)
{
	if (fs->read_only || fs->error)
		return 0;
	for (unsigned m = 0; m < array_member_count(fs->array); m++) {
		struct member_status s;
		array_member_status(fs->array, m, &s);
		if (s.state != MEMBER_OUT)
			fs->retries[m].worked = true;
		if (s.state == MEMBER_OUT && s.name[0] && due(fs, m)) {
			int r = take_back(fs, m);
			return r == 0 ? 1 : r == -EAGAIN || r == -EBUSY ? 0 : r;
		}
		if (s.gap.present && (s.state == MEMBER_FILLING || (s.state == MEMBER_IN_SYNC && others_in_sync(fs, m)))) {
			struct target t = { .member = m, .filling = s.state == MEMBER_FILLING, .gap = s.gap };
			return fill_step(fs, &t);
		}
	}
	return 0;
}
