/* Relocation: sparse rows are emptied, so that whole rows become free (design §8). */
#ifndef FS_RELOCATE_H
#define FS_RELOCATE_H

#include "fs/core.h"

/* For an operation that waits for free rows: one round (a batch and its commit). Lock held, dropped meanwhile. 1 if something was
 * moved, 0 if there is nothing to gain, or the error of a commit. */
int relocate_for_rows(struct fs *fs);
/* One batch: looks for the sparsest windows of rows from where it left off and makes what lives in them dirty. No lock held.
 * Returns the number of blocks made dirty. */
int64_t relocate_batch(struct fs *fs);

#endif
