/* What lies in columns that move is copied to their targets (doc/membership.md, J3 to J5), while rows that are written go to both homes.
 *
 * All live rows of the jobs' bands, in the order of addresses:
 *
 *  1. From a source in sync without a gap, its unit is copied if all that lives in it verifies.  Nothing else is read: the row is then as
 *     whole with the target as it was with the source.  If the source is out or being filled, and all others of the band are in sync
 *     without a gap, the unit is made from them and copied if all that lives in it verifies.  Nothing else is verified: of the rest there
 *     is no other copy that it could be healed from, nor one that the new unit could take away; what reads it, or the next scrub, finds
 *     what is lost.
 *  2. Else all columns are read, everything that lives in the row must verify, and the XOR of all columns must be zero; if only the
 *     source's cannot be read, it is made from the others.
 *  3. If that fails, the row is healed first (mend.h), and copied as in 2.
 *  4. A row in which that cannot be done, or whose parity must wait too long, is copied block by block, as it lies on a source in sync, or
 *     else as the others make it (gather.h): the target is then no worse than that.  What is lost was reported.
 *
 * With a source that is out, gaps of members in sync (unverified) can be closed by nobody else: the parity of their rows needs the column
 * that is missing. Here it is made, of bytes of which all that lives verifies, and so the row is whole with the target.  A walk from the
 * beginning, through all bands, therefore closes the gaps that it met.
 *
 * Rows are held by a pin from the look at the row items to the write. Before the first row a commit is made, so that row items cover all
 * rows that were written before the target took writes (system rows get theirs with the next commit). */
#include "fs/upkeep/jobs.h"

#include "fs/space/rowrun.h"
#include "fs/space/rowwalk.h"
#include "fs/tree/store.h"
#include "fs/upkeep/gather.h"
#include "fs/upkeep/mend.h"
#include "raid/array_step.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define TRIES_MAX 8u             /* commits that parity of a row is waited for */

struct copying { struct fs *fs; bool patient; };

static bool has_job(void *ctx, const struct band *b, uint64_t row, unsigned count, uint64_t written)
{
	const struct copying *c = ctx;
	(void)row, (void)count, (void)written;
	return c->fs->job.verifies || config_job(c->fs->config, b->id);
}

static bool is_sound(struct fs *fs, unsigned member)
{
	struct member_status s;
	array_member_status(fs->array, member, &s);
	return s.state == MEMBER_IN_SYNC && !s.gap.present;
}

/* Are all of the band but this column's in sync without a gap? */
static bool others_are_sound(struct fs *fs, const struct band *b, unsigned column)
{
	bool sound = true;
	for (unsigned c = 0; c < b->width && sound; c++)
		sound = c == column || is_sound(fs, b->columns[c].member);
	return sound;
}

/* It does not have what was written while it was away, as far as is known here. */
static bool is_behind(struct fs *fs, unsigned member)
{
	struct member_status s;
	array_member_status(fs->array, member, &s);
	return s.state == MEMBER_OUT || s.state == MEMBER_FILLING;
}

/* The column alone, as it lies on the source, or made from the others. 1: copied; 0: something does not verify or cannot be read;
 * -errno. */
static int copy_column(struct fs *fs, const struct band *b, uint64_t row, unsigned count, unsigned column, bool made,
	const struct live_list *list)
{
	uint32_t all = (uint32_t)((UINT64_C(1) << b->width) - 1), own = UINT32_C(1) << column, wanted = made ? all & ~own : own;
	struct rowrun run;
	SCOPED_READ_LOCK(&fs->heal_lock);
	int r = rowrun_read(fs, b, row, count, wanted, &run);
	bool right = r == 0 && run.have == wanted;
	if (right && made) {
		r = rowrun_make(&run, column);
		right = r == 0;
	}
	right = right && rowrun_verify(fs, &run, list, own, NULL) == 0;
	if (right)
		r = array_job_write(fs->array, b->id, row, count, run.units[column]);
	rowrun_free(&run);
	return r < 0 ? r : right;
}

/* As above, where nothing else of the rows need be looked at; 0 also if it must be. */
static int copy_fast(struct fs *fs, const struct band *b, uint64_t row, unsigned count, unsigned column, const struct live_list *list)
{
	unsigned source = b->columns[column].member;
	if (fs->job.verifies)
		return 0;
	if (is_sound(fs, source))
		return copy_column(fs, b, row, count, column, false, list);
	return is_behind(fs, source) && others_are_sound(fs, b, column) ? copy_column(fs, b, row, count, column, true, list) : 0;
}

/* `column` is -1 where nothing is to be copied, only verified. 1: copied; 0: not everything is as it should be; -errno. */
static int copy_right(struct fs *fs, const struct band *b, uint64_t row, unsigned count, int column, const struct live_list *list)
{
	uint32_t all = (uint32_t)((UINT64_C(1) << b->width) - 1), own = column < 0 ? 0 : UINT32_C(1) << column;
	struct rowrun run;
	SCOPED_READ_LOCK(&fs->heal_lock);
	int r = rowrun_read(fs, b, row, count, all, &run);
	bool made = r == 0 && own && run.have == (all & ~own);
	if (made)
		r = rowrun_make(&run, (unsigned)column);
	bool right = r == 0 && run.have == all && rowrun_verify(fs, &run, list, ROWRUN_ALL, NULL) == 0;
	for (unsigned i = 0; i < count && right && !made; i++)
		right = rowrun_parity_right(&run, i);
	if (right && own)
		r = array_job_write(fs->array, b->id, row, count, run.units[column]);
	rowrun_free(&run);
	return r < 0 ? r : right;
}

/* A row, block by block: as it lies on the source, or else what can be had of it. */
static int copy_raw(struct fs *fs, const struct band *b, uint64_t row, unsigned column, const struct live_list *list)
{
	struct iobuf *unit cleanup(iobuf_unrefp) = iobuf_new(UNIT_BYTES), *there cleanup(iobuf_unrefp) = iobuf_new(UNIT_BYTES);
	unsigned blocks = 0;
	struct gathered got = { 0 };
	if (!unit || !there)
		return -ENOMEM;
	SCOPED_READ_LOCK(&fs->heal_lock);
	if (is_behind(fs, b->columns[column].member) || array_read_column_blocks(fs->array, b->id, row, column, there, &blocks) < 0)
		blocks = 0;
	int r = blocks == GATHERED_ALL ? 0 : gather_unit(fs, b, row, column, list, true, unit, &got);
	for (unsigned k = 0; k < UNIT_BLOCKS; k++)
		if (blocks >> k & 1)
			memcpy(unit->data + k * BLOCK_BYTES, there->data + k * BLOCK_BYTES, BLOCK_BYTES);
	blocks |= got.made;
	for (unsigned first = 0, count; r == 0 && (count = gather_run(blocks, &first)) > 0; first += count)
		r = array_job_write_blocks(fs->array, b->id, row, first, count, unit);
	return r;
}

static int copy_mended(const struct copying *c, const struct band *b, uint64_t row, int column, const struct live_list *list)
{
	struct fs *fs = c->fs;
	unsigned bad;
	int r = rowlive_verify(fs, list, &bad);
	if (r == 0)
		r = mend_parity(fs, b, row, list);
	if (r == -EAGAIN && c->patient)
		return r;
	if (r == -EAGAIN)
		array_note_damage(fs->array, &(struct bad_unit){ .band = b->id, .row = row, .column = (uint8_t)band_parity_column(b, row) });
	else if (r < 0 && r != -EIO)
		return r;
	r = copy_right(fs, b, row, 1, column, list);
	return r == 0 && column >= 0 ? copy_raw(fs, b, row, (unsigned)column, list) : r;
}

static int copy_rows(void *ctx, const struct band *b, uint64_t row, unsigned count)
{
	struct copying *c = ctx;
	const struct column_job *job = config_job(c->fs->config, b->id);
	struct live_list list = { 0 };
	int column = job ? job->column : -1;
	int r = rowlive_list(c->fs, b, row, count, &list), done = 0;
	if (r == 0 && job)
		r = done = copy_fast(c->fs, b, row, count, (unsigned)column, &list);
	if (r == 0)
		r = done = copy_right(c->fs, b, row, count, column, &list);
	if (r == 0 && count == 1)
		r = copy_mended(c, b, row, column, &list);
	free(list.items);
	if (r < 0 || done > 0 || count == 1)
		return r < 0 ? r : 0;
	for (unsigned i = 0; i < count && r >= 0; i++)
		r = copy_rows(c, b, row + i, 1);
	return r;
}

static bool in_sync(struct fs *fs, uint32_t members)
{
	for (unsigned m = 0; m < array_member_count(fs->array); m++) {
		struct member_status s;
		array_member_status(fs->array, m, &s);
		if ((members >> m & 1) && s.state != MEMBER_IN_SYNC)
			return false;
	}
	return true;
}

/* Members in sync that have a gap, while a source is out, and nobody else: with another column missing parity says nothing. */
static uint32_t to_verify(struct fs *fs)
{
	uint32_t gaps = 0, out = 0;
	for (unsigned m = 0; m < array_member_count(fs->array); m++) {
		struct member_status s;
		array_member_status(fs->array, m, &s);
		out |= (uint32_t)(s.state == MEMBER_OUT) << m;
		gaps |= (uint32_t)(s.state == MEMBER_IN_SYNC && s.gap.present) << m;
	}
	out &= config_with_columns(fs->config);
	return out && !(out & ~config_job_sources(fs->config)) ? gaps : 0;
}

/* Is there a row that no row item covers, and that may lie at its old home alone? */
static bool must_commit(struct fs *fs, const struct array_job *job)
{
	struct job_walk *walk = &fs->job;
	uint32_t verifies = to_verify(fs);
	SCOPED_LOCK(&fs->lock);
	if (!walk->seen || walk->epoch != job->epoch)
		*walk = (struct job_walk){ .seen = true, .epoch = job->epoch, .before = fs->open->generation - 1,
			.verifies = job->position == 0 ? UINT32_MAX : 0 };
	walk->verifies &= verifies;      /* all the way, and not only when it begins */
	return job->position == 0 && fs->tree_generation <= walk->before;
}

/* Everything in their gaps was found right, or made so. */
static void close_gaps(struct fs *fs)
{
	uint32_t verified = fs->job.verifies & to_verify(fs);
	for (unsigned m = 0; m < array_member_count(fs->array); m++) {
		struct member_status s;
		array_member_status(fs->array, m, &s);
		if ((verified >> m & 1) && s.state == MEMBER_IN_SYNC && s.gap.present)
			array_gap_close(fs->array, m);
	}
}

bool jobs_verify(struct fs *fs)
{
	bool can = to_verify(fs);
	if (can)
		array_job_restart(fs->array);
	return can;
}

int jobs_step(struct fs *fs)
{
	struct array_job job;
	if (!array_job(fs->array, &job) || job.position == JOB_ALL || !in_sync(fs, job.targets))
		return 0;
	int r = commit_open(fs);
	if (r < 0)
		return r;
	if (must_commit(fs, &job))
		return commit_now(fs) < 0 ? -EIO : 1;
	struct copying c = { fs, fs->job.tries < TRIES_MAX };
	address position = job.position;
	uint64_t durable;
	int copied = rowwalk_pinned(fs, &(struct rowwalk){ has_job, copy_rows, &c }, &position, &durable);
	bool stalls = (copied == -EIO || copied == -EUCLEAN) && in_sync(fs, job.targets);
	if (copied < 0 && copied != -EAGAIN && (!stalls || position == job.position))
		return copied == -EIO && !stalls ? 0 : copied;   /* a target is out, which was told */
	fs->job.tries = copied == -EAGAIN ? fs->job.tries + 1 : 0;
	r = array_flush(fs->array, durable);
	if (r < 0)
		return r;
	if (array_job_advance(fs->array, job.epoch, copied == 0 ? JOB_ALL : position) == 0 && copied == 0)
		close_gaps(fs);
	if (copied == 0 || copied == -EAGAIN)
		return commit_now(fs) < 0 ? -EIO : 1;
	commit_soon(fs);                 /* a root keeps the position, also where nobody else writes */
	return stalls ? copied : 1;
}
