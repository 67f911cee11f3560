/* Inside of the scrub: what scrub*.c share. */
#ifndef FS_SCRUBIMPL_H
#define FS_SCRUBIMPL_H

#include "fs/core.h"

/* What was found in a stretch of rows, of one parity run. */
struct scrub_found {
	address at;                      /* of the first row's first block */
	unsigned rows;
	uint64_t damaged;                /* bit by row: something was wrong, or could not be read */
	unsigned unreadable;             /* records that even parity could not give back */
	uint8_t unclear;                 /* rows of which it cannot be told whose unit was wrong … */
	uint8_t units[MEMBERS_MAX];      /* … and units that were, by member (scrub_result.h) */
};

#define SCRUB_TRIES_MAX 8u       /* commits that such rows are waited for */

/* Verifies rows [row, row + count) of the stretch, heals what is damaged, and adds what it found.  Under the caller's pin, with the
 * opening root written; in several threads at once.  -ENOMEM, -EROFS; -EAGAIN: more has to wait for a commit than can be noted. */
int scrub_rows(struct fs *fs, const struct band *b, uint64_t row, unsigned count, struct scrub_found *found);

/* ---- scrub_state.c; lock held ---- */

/* After a step, or when something was mended: is nothing left to be mended, its position is one to be kept. */
void scrub_advance(struct fs *fs);
/* Asks for a commit that says how far it is, if the last one was not just asked for. */
void scrub_keep(struct fs *fs);

#endif
