/* All rows in use in the order of addresses, by their row items, several stretches at a time. */
#ifndef FS_ROWWALK_H
#define FS_ROWWALK_H

#include "fs/core.h"

/* Two megabytes of each column: a huge page. */
#define ROWWALK_STRETCH_ROWS (2 * PARITY_RUN_ROWS)

struct rowwalk {
	/* Shall rows [row, row + count) be worked on, which generation `written` wrote? NULL: all. */
	bool (*wanted)(void *ctx, const struct band *band, uint64_t row, unsigned count, uint64_t written);
	/* Works on at most ROWWALK_STRETCH_ROWS rows, or those of one parity run (`by_run`), which may be those of several row items. 0 or -errno.
	 * Runs in several threads at once. */
	int (*work)(void *ctx, const struct band *band, uint64_t row, unsigned count);
	void *ctx;
	bool by_run;
	/* NULL: the walk fails at a node that cannot be read, with fs->obstacle.  Else it goes on behind it. */
	struct unread *unread;
};

/* Rows, and so stretches, that one step `by_run` works on at most. */
#define ROWWALK_RUN_STEP_ROWS 1024u

/* Goes on from the row at *position (the address of its first block; 0: from the beginning) for a while, under the caller's pin: 1, with
 * *position moved on, or 0 when it is through.  When a stretch fails: its error, with *position at that one's first row, and all before
 * it done.  Rows that no row item covers yet (system rows of the last commit) are not met.  No lock held. */
int rowwalk_step(struct fs *fs, const struct rowwalk *walk, address *position);
/* The same under a pin of its own.  *ret_durable: what is durable when it begins, for array_flush. */
int rowwalk_pinned(struct fs *fs, const struct rowwalk *walk, address *position, uint64_t *ret_durable);
/* How much data in use lies before the position, and how much there is, in bytes: an estimate, by what bands have.  Lock held. */
void rowwalk_progress(struct fs *fs, address position, uint64_t *ret_done_bytes, uint64_t *ret_total_bytes);

#endif
