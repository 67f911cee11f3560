/* A member that was away comes back in these steps, each safe against a cut:
 *
 *  1. take_back: between two transactions (everything dirty was committed, nothing is being written) the array makes it
 *     FILLING: from then on it takes all new writes, and its gap is closed towards new generations.
 *  2. walk: rows written while it was away (`written` in the gap) are verified through their owners, and its unit of each
 *     is made from the others.  First a commit, so that row items cover all of them (system rows get theirs with the next one);
 *     then all row items in the order of addresses (rowwalk.h); the position moves on after a flush of the member, and the next
 *     root keeps it.
 *  3. close: the walk is through, everything is flushed: the array makes it IN_SYNC and a commit says so.
 *
 * A member that is in sync but not level with the chosen root (an unverified gap, design §5) goes through 2 and 3 alike.  Rows
 * are held by a pin while they are worked on: none is reused between looking and writing (R1). */
#include "fs/space/rowrun.h"
#include "fs/space/rowwalk.h"
#include "fs/upkeep/boundary.h"
#include "fs/upkeep/catchup.h"
#include "fs/upkeep/gather.h"
#include "fs/upkeep/mend.h"
#include "fs/upkeep/stall.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define TRIES_MAX 8u             /* commits that parity of a row is waited for; then it is left to mending */
#define RETRY_FIRST_NS (10 * INT64_C(1000000000))
#define RETRY_MOST_NS (3600 * INT64_C(1000000000))

struct target {
	struct fs *fs;
	unsigned member;
	bool filling;                    /* else it is in sync and unverified */
	bool patient;                    /* rows whose parity cannot be made yet are waited for */
	struct gap gap;
};

/* Are all others in sync, if it has columns and they have? One that is in sync and may lack something needs them to be made from: else it
 * waits, and its tags decide. */
static bool others_in_sync(struct fs *fs, unsigned member)
{
	uint32_t have = config_with_columns(fs->config);
	if (!(have >> member & 1))
		return true;
	for (unsigned m = 0; m < array_member_count(fs->array); m++) {
		struct member_status s;
		array_member_status(fs->array, m, &s);
		if (m != member && (have >> m & 1) && (s.state == MEMBER_OUT || s.state == MEMBER_FILLING))
			return false;
	}
	return true;
}

static int write_blocks(struct fs *fs, const struct target *t, const struct band *b, uint64_t row, unsigned column, unsigned blocks,
	struct iobuf *unit)
{
	int r = 0;
	for (unsigned first = 0, count; r == 0 && (count = gather_run(blocks, &first)) > 0; first += count) {
		r = array_write_column(fs->array, b->id, row, column, first, count, unit);
		if (r == 0)
			array_count_caught_up(fs->array, t->member, count * BLOCK_BYTES);
	}
	return r;
}

/* Makes units of the rows anew from the other columns, where they differ: the member's, when it is filling.  One that is in
 * sync was read as it lies there, so every live record of the row verified or was healed; what else may be wrong of the row
 * is parity, on whatever member: the others may be no newer than this one.  Of a row in which another member has a bad sector, or
 * something is lost (which was told), what can be had is made, or the gap would never close. */
static int make_units(struct fs *fs, const struct target *t, const struct band *b, uint64_t row, unsigned count,
	const struct live_list *list, bool lost)
{
	unsigned column = (unsigned)band_column_of(b, t->member);
	struct gathered got;
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
		SCOPED_WRITE_LOCK(&fs->heal_lock);
		r = gather_unit(fs, b, i, column, list, lost, unit, &got);
		if (r == 0 && got.made != GATHERED_ALL && !lost && !others_in_sync(fs, t->member))
			r = -EIO;
		if (r == 0)
			r = write_blocks(fs, t, b, i, column, got.right, unit);
	}
	return r;
}

/* The fast way, for rows in which nothing is wrong but for the unit of one that is filling: all of them at once, each byte read once, and
 * what lives in them verified.  1: done; 0: the slow way is to be gone; -errno. */
static int repair_run(struct fs *fs, const struct target *t, const struct band *b, uint64_t row, unsigned count,
	const struct live_list *list)
{
	unsigned column = (unsigned)band_column_of(b, t->member);
	uint32_t all = (uint32_t)((UINT64_C(1) << b->width) - 1), others = all & ~(UINT32_C(1) << column);
	uint32_t wanted = t->filling ? others : all;
	struct rowrun run;
	SCOPED_READ_LOCK(&fs->heal_lock);
	int r = rowrun_read(fs, b, row, count, wanted, &run);
	bool right = r == 0 && run.have == wanted;
	if (right && t->filling) {
		r = rowrun_make(&run, column);
		right = r == 0;
	}
	right = right && rowrun_verify(fs, &run, list, ROWRUN_ALL, NULL) == 0;
	for (unsigned i = 0; i < count && right && !t->filling; i++)
		right = rowrun_parity_right(&run, i);
	if (right && t->filling)
		r = array_write_run(fs->array, b->id, row, count, column, run.units[column]);
	if (right && t->filling && r == 0)
		array_count_caught_up(fs->array, t->member, (uint64_t)count * UNIT_BYTES);
	rowrun_free(&run);
	return r < 0 ? r : right;
}

/* Verifies what lives in the rows, and only then makes units from them: parity of damaged data is worth nothing.  So a stretch in which
 * something is lost is gone through row by row. */
static int repair_rows(struct fs *fs, const struct target *t, const struct band *b, uint64_t row, unsigned count)
{
	struct live_list list = { 0 };
	unsigned bad = 0;
	int r = rowlive_list(fs, b, row, count, &list), done = 0;
	if (r == 0)
		r = done = repair_run(fs, t, b, row, count, &list);
	if (r == 0)
		r = rowlive_verify(fs, &list, &bad);
	if (r == 0 && (bad == 0 || (count == 1 && t->filling)))
		r = make_units(fs, t, b, row, count, &list, bad > 0);
	free(list.items);
	if (done > 0)
		return 0;
	if (r < 0 || bad == 0)
		return r;
	if (count == 1)
		return 0;        /* what is lost was told by the store */
	for (unsigned i = 0; i < count && r == 0; i++)
		r = repair_rows(fs, t, b, row + i, 1);
	return r;
}

static bool is_stale(void *ctx, const struct band *b, uint64_t row, unsigned count, uint64_t written)
{
	const struct target *t = ctx;
	(void)count;
	return band_column_of(b, t->member) >= 0 && array_stale(t->fs->array, t->member, written, band_row_address(b, row));
}

static int repair_stretch(void *ctx, const struct band *b, uint64_t row, unsigned count)
{
	const struct target *t = ctx;
	return repair_rows(t->fs, t, b, row, count);
}

static int close_gap(struct fs *fs, unsigned member)
{
	int r = array_gap_close(fs->array, member), e = commit_now(fs);
	return r < 0 ? r : e;
}

static int fill_step(struct fs *fs, struct target *t)
{
	address position = t->gap.position;
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
	r = rowwalk_pinned(fs, &(struct rowwalk){ is_stale, repair_stretch, t }, &position, &durable);
	bool stalls = (r == -EIO || r == -EUCLEAN) && position != t->gap.position;      /* it is kept how far it came */
	if (r < 0 && r != -EAGAIN && !stalls)
		return r;
	fs->fill_tries = r == -EAGAIN ? fs->fill_tries + 1 : 0;
	int e = array_flush(fs->array, durable);
	if (e < 0)
		return e;
	if (r == 0)
		return close_gap(fs, t->member) < 0 ? -EIO : 1;
	array_gap_advance(fs->array, t->member, position);
	if (r == -EAGAIN)
		return commit_now(fs) < 0 ? -EIO : 1;
	commit_soon(fs);                 /* a root keeps the position, also where nobody else writes */
	return stalls ? r : 1;
}

struct returning { unsigned member, member_changes; };

/* Not while the owner asks for a change, which was decided by the members' states; nor after one, since it got the configuration, which may be
 * another now, or in the place of which there is another disk. */
static int return_member(struct fs *fs, void *ctx)
{
	const struct returning *back = ctx;
	if (fs->changing_members || fs->member_changes != back->member_changes)
		return -EBUSY;
	int r = array_member_return(fs->array, back->member, fs->open->generation);
	if (r == 0)
		txn_mark_dirty(fs);
	return r;
}

static unsigned count_changes(struct fs *fs)
{
	SCOPED_LOCK(&fs->lock);
	return fs->member_changes;
}

static int take_back(struct fs *fs, unsigned member)
{
	struct returning back = { member, count_changes(fs) };
	int r = array_member_answers(fs->array, member) ? commit_open(fs) : -EAGAIN;
	if (r == 0)
		r = array_member_give_config(fs->array, member);
	if (r < 0)
		return r;
	r = boundary_run(fs, return_member, &back);
	if (r == -EBUSY) {       /* not the member's fault */
		pthread_mutex_lock(&fs->lock);
		fs->retries[member].not_before_ns = 0;
		pthread_mutex_unlock(&fs->lock);
	}
	return r;
}

static void note_worked(struct fs *fs, unsigned member)
{
	SCOPED_LOCK(&fs->lock);
	fs->retries[member].worked = true;
	fs->retries[member].stays = false;
}

/* A member that was dropped while mounted is tried again, ever more seldom; one that was out when the array was opened at once. */
static bool due(struct fs *fs, unsigned member)
{
	int64_t now = fs_now_ns(fs);
	struct retry *retry = &fs->retries[member];
	SCOPED_LOCK(&fs->lock);
	if (retry->held || fs->changing_members)
		return false;
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
			note_worked(fs, m);
		if (s.state == MEMBER_OUT && s.name[0] && !s.worn_out && due(fs, m)) {
			int r = take_back(fs, m);
			return r == 0 ? 1 : r == -EAGAIN || r == -EBUSY ? 0 : r;
		}
		if (s.gap.present && (s.state == MEMBER_FILLING || (s.state == MEMBER_IN_SYNC && others_in_sync(fs, m)))
			&& !stall_rests(fs, STALL_CATCHUP)) {
			struct target t = { .fs = fs, .member = m, .filling = s.state == MEMBER_FILLING, .gap = s.gap };
			return stall_note(fs, STALL_CATCHUP, fill_step(fs, &t));
		}
	}
	return 0;
}
