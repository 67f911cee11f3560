/* How the configuration of a running array changes: steps, and the column jobs that go on between them (doc/membership.md, S1 to S6 and
 * J1 to J8).
 *
 * A step goes from array_config's version to the next (config_next): array_step_write, array_step_take, and a commit whose root counts.
 * One at a time.  A version with jobs has columns on their way: who copies them asks array_job what there is to do, writes with
 * array_job_write, and says with array_job_advance how far it is; rows that are written meanwhile go to both homes by themselves. */
#ifndef RAID_ARRAY_STEP_H
#define RAID_ARRAY_STEP_H

#include "raid/array.h"

/* ---- Steps (raid/array_step.c) ---- */

/* Writes the next version to its slot of every member that takes writes, durably.  A member on which that fails is dropped, and the step
 * is not to be taken: -EAGAIN; -EBUSY: the step before does not count yet; -EIO (read-only now), -EROFS, -E2BIG, -ENOMEM. */
int array_step_write(struct array *array, const struct config *next);
/* From now on it is in force: rows go to the homes of both versions until a root that names it counts.  Between two transactions.  Takes
 * `next` over; `added` (or NULL) is the disk of the member that it adds, which array_prepare_spare made.  -ENOMEM: nothing was done. */
int array_step_take(struct array *array, struct config *next, struct disk *added);
/* Does a root that names the configuration in force count? */
bool array_step_counts(const struct array *array);

/* ---- The disks that they add and let go (raid/array_prepare.c) ---- */

/* Makes a disk (opened as the members were) a member that `next` adds as a spare, `index`; everything on it is lost.  After
 * array_take_term.  0, what array_check_new returns, or -EIO, with `fail`. */
int array_prepare_spare(struct array *array, struct disk *disk, bool force, const struct config *next, unsigned index, struct fail *fail);
/* Is the disk free to be taken?  -EBUSY: it is a member's, -EINVAL: it is too small, -EEXIST: it has a label of an array, and `force` is
 * not given; with `fail`. */
int array_check_new(struct array *array, struct disk *disk, bool force, struct fail *fail);
/* After a step that removed a member, and whose root counts: that one's label is wiped, if it was at work, and its disk is let go. */
void array_let_go(struct array *array);

/* ---- Jobs ---- */

/* The column jobs of the configuration in force, which run together. */
#define JOB_ALL UINT64_MAX
struct array_job {
	uint32_t sources, targets;       /* bit by member */
	address position;                /* live rows below it are on their targets; JOB_ALL: all are */
	unsigned epoch;                  /* another one: what was known of the job is void, and rows from before count as not copied */
};
bool array_job(struct array *array, struct array_job *ret_job);
/* Writes rows [row, row + row_count) of the band's job to its target: 0, -ENOENT (no job of that band), -EIO (the target is dropped). */
int array_job_write(struct array *array, uint32_t band, uint64_t row, unsigned row_count, struct iobuf *buf);
/* Blocks [first, first + blocks) of the unit of one row, from the same place in `unit`. */
int array_job_write_blocks(struct array *array, uint32_t band, uint64_t row, unsigned first, unsigned blocks, struct iobuf *unit);
/* Moves the position on, after a flush of the targets: -ENOENT if it is another epoch by now. */
int array_job_advance(struct array *array, unsigned epoch, address position);
/* Begins them anew: position 0, another epoch. */
void array_job_restart(struct array *array);

#endif
