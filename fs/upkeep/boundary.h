/* Doing something between two transactions: see boundary.c. */
#ifndef FS_BOUNDARY_H
#define FS_BOUNDARY_H

#include "fs/core.h"

/* Commits what is dirty, and runs `act` with fs->lock and commit_lock held, while no row of the open transaction has been written or is
 * being written.  What act returned, or the error of the commit, or -EBUSY: others were faster, try again later.  No lock held. */
int boundary_run(struct fs *fs, int (*act)(struct fs *fs, void *ctx), void *ctx);

#endif
