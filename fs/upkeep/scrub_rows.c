/* The scrub of a stretch of rows: all of them at once in memory, and only what is wrong on its own.
 *
 *  1. The columns that are in sync are read as they lie on their members, and what lives there is verified.  If all are, the XOR of each
 *     row must be zero; if one is missing, it is made from the others, and what lives on it is verified too.  Where nothing is wrong that
 *     is all.  A member that cannot read some of its units is looked at row by row, so that one bad sector spoils one row.
 *  2. A record that did not verify, or could not be read, is read in the ordinary way, which heals it if parity can give it back.  If not,
 *     the file is named.
 *  3. Then the rest of each wrong unit is put right, and parity (mend.h): at once, since a note of it would be lost with the power, and
 *     the scrub's position is kept.  What has to wait for a commit is noted all the same, and if there is more of that than can be noted
 *     the scrub waits too.  With a member missing there is nothing to do it from, and where not all that lives in a row is known, nothing
 *     to do it by: a tree node cannot be read. */
#include "fs/upkeep/scrubimpl.h"

#include "fs/space/rowrun.h"
#include "fs/upkeep/mend.h"

#include <errno.h>
#include <stdlib.h>

struct look {
	struct fs *fs;
	struct live_list list;
	bool whole;                      /* it has all that lives there */
	struct rowrun run;
	uint32_t all, there;             /* columns, bit by column: of the band; on members in sync */
	uint32_t wrong[PARITY_RUN_ROWS]; /* by row of the run: the columns that are to be mended */
	uint8_t differs[PARITY_RUN_ROWS];        /* by row, bit by block of a unit: parity is not the XOR of the others … */
	uint8_t unmade[PARITY_RUN_ROWS]; /* … or what it gives of the missing column does not verify */
	uint32_t verified[PARITY_RUN_ROWS][UNIT_BLOCKS];         /* by row and block: bit by column */
	struct scrub_found *found;
};

static uint32_t columns_in_sync(struct fs *fs, const struct band *b)
{
	uint32_t mask = 0;
	for (unsigned c = 0; c < b->width; c++) {
		struct member_status s;
		array_member_status(fs->array, b->columns[c].member, &s);
		if (s.state == MEMBER_IN_SYNC)
			mask |= UINT32_C(1) << c;
	}
	return mask;
}

/* ---- What is wrong ---- */

static void mark(struct look *l, uint64_t row, unsigned column)
{
	l->wrong[row - l->run.row] |= UINT32_C(1) << column;
	l->found->damaged |= UINT64_C(1) << (row - band_row_of(l->run.band, l->found->at));
}

static void mark_parity(struct look *l)
{
	for (unsigned i = 0; i < l->run.rows; i++) {
		l->differs[i] = (uint8_t)rowrun_parity_wrong(&l->run, i);
		if (l->differs[i])
			mark(l, l->run.row + i, band_parity_column(l->run.band, l->run.row + i));
	}
}

/* Of the one row there is. */
static void mark_unreadable(struct look *l, uint32_t columns)
{
	for (unsigned c = 0; c < l->run.band->width; c++)
		if (columns >> c & 1)
			mark(l, l->run.row, c);
}

/* The one column that is missing, if anything lives there. */
static int make_missing(struct look *l)
{
	uint32_t missing = l->all & ~l->there;
	if (__builtin_popcount(missing) != 1 || missing == UINT32_C(1) << band_parity_column(l->run.band, l->run.row))
		return 0;
	return rowrun_make(&l->run, (unsigned)__builtin_ctz(missing));
}

static void mark_record(struct look *l, const struct live *live, bool bad)
{
	const struct band *b = l->run.band;
	address at = rowlive_address(live);
	uint64_t row = band_row_of(b, at), i = row - l->run.row;
	if (address_band(at) != b->id || i >= l->run.rows)
		return;                  /* it was not looked at */
	unsigned column = band_data_column(b, row, (unsigned)(address_unit(at) % band_data_units(b)));
	unsigned first = address_block(at) % UNIT_BLOCKS, blocks = live->node ? UNIT_BLOCKS : live->place.whole;
	if (bad)
		mark(l, row, column);
	for (unsigned k = first; k < first + blocks && k < UNIT_BLOCKS; k++) {
		if (!bad)
			l->verified[i][k] |= UINT32_C(1) << column;
		else if (l->run.have & ~l->there & UINT32_C(1) << column)
			l->unmade[i] |= (uint8_t)(1u << k);
	}
}

/* ---- Whose it is (scrub_result.h) ---- */

/* Blocks, bit by block: what parity was made of verified there on all members that have it. */
static unsigned blocks_sure(const struct look *l, unsigned i, uint32_t parity)
{
	unsigned sure = 0;
	for (unsigned k = 0; k < UNIT_BLOCKS; k++)
		if (!(l->there & ~parity & ~l->verified[i][k]))
			sure |= 1u << k;
	return sure;
}

static void count_row(struct look *l, unsigned i)
{
	const struct band *b = l->run.band;
	uint32_t parity = UINT32_C(1) << band_parity_column(b, l->run.row + i), wrong = l->wrong[i] & l->there;
	unsigned sure = blocks_sure(l, i, parity);
	if (l->differs[i])
		wrong &= ~parity;
	if (l->differs[i] & sure || (l->unmade[i] && !(l->unmade[i] & ~sure)))
		wrong |= parity;
	for (unsigned c = 0; c < b->width; c++)
		if (wrong >> c & 1)
			l->found->units[b->columns[c].member]++;
	l->found->unclear += !wrong;
}

/* ---- What is done about it ---- */

static int heal_record(struct look *l, struct live *live)
{
	struct live_list one = { live, 1, 1 };
	unsigned bad;
	int r = rowlive_verify(l->fs, &one, &bad);
	if (r == 0 && bad)
		l->found->unreadable++;
	return r;
}

static int mend_one(struct look *l, uint64_t row, unsigned column)
{
	struct bad_unit unit = { .band = l->run.band->id, .row = row, .column = (uint8_t)column };
	int r = mend_column(l->fs, l->run.band, row, column, &l->list);
	if (r == -EAGAIN)
		return array_note_damage(l->fs->array, &unit) || l->fs->scrub_tries >= SCRUB_TRIES_MAX ? 0 : r;
	array_forget_damage(l->fs->array, &unit);       /* that its reader noted */
	return r == -EIO ? 0 : r;
}

static int mend_wrong(struct look *l)
{
	int r = 0;
	for (unsigned i = 0; i < l->run.rows; i++)
		for (unsigned c = 0; c < l->run.band->width && r == 0; c++)
			if (l->wrong[i] >> c & 1)
				r = mend_one(l, l->run.row + i, c);
	return r;
}

static int look_at(struct look *l)
{
	uint32_t unreadable = l->there & ~l->run.have;
	bool *bad = calloc(l->list.count ? l->list.count : 1, sizeof *bad);
	int r = bad ? 0 : -ENOMEM;
	if (l->run.have == l->all)
		mark_parity(l);
	mark_unreadable(l, unreadable);
	if (r == 0 && !unreadable)
		r = make_missing(l);
	if (r == 0)
		rowrun_verify(l->fs, &l->run, &l->list, ROWRUN_ALL, bad);
	for (size_t i = 0; i < l->list.count && r == 0; i++) {
		mark_record(l, &l->list.items[i], bad[i]);
		if (bad[i])
			r = heal_record(l, &l->list.items[i]);
	}
	for (unsigned i = 0; i < l->run.rows && r == 0; i++)
		if (l->wrong[i])
			count_row(l, i);
	free(bad);
	return r == 0 && l->there == l->all && l->whole ? mend_wrong(l) : r;
}

int scrub_rows(struct fs *fs, const struct band *b, uint64_t row, unsigned count, struct scrub_found *found)
{
	struct look l = { .fs = fs, .all = (uint32_t)((UINT64_C(1) << b->width) - 1), .there = columns_in_sync(fs, b), .found = found };
	int r = rowlive_list_readable(fs, b, row, count, &fs->scrub.unread, &l.list, &l.whole);
	if (r == 0)
		r = rowrun_read(fs, b, row, count, l.there, &l.run);
	bool one_by_one = r == 0 && count > 1 && l.run.have != l.there;
	if (r == 0 && !one_by_one)
		r = look_at(&l);
	rowrun_free(&l.run);
	free(l.list.items);
	for (uint64_t i = row; one_by_one && i < row + count && r == 0; i++)
		r = scrub_rows(fs, b, i, 1, found);
	return r;
}
