/* Steps of the configuration, and which one comes next: see reshape.c. */
#ifndef FS_RESHAPE_H
#define FS_RESHAPE_H

#include "fs/core.h"
#include "raid/array_step.h"

/* One step: `next` (taken over) is in force when a root that names it is durable; `added` (also taken over) is the disk of the member
 * that it adds.  0, or -errno: -EBUSY and -EAGAIN (a member failed, and is out now) if nothing was changed, and it may be tried again.
 * With step_lock. */
int reshape_step(struct fs *fs, struct config *next, struct disk *added);
/* Begins the jobs of `next` (taken over), which are for all columns of `source`.  Their targets are in sync.  0, -errno as above.  With
 * step_lock. */
int reshape_begin(struct fs *fs, struct config *next, unsigned source);
/* Members that are settled, bit by index. */
uint32_t reshape_settled(struct fs *fs);
/* Is there room for all columns of the member on others that are in sync, were there no jobs? */
bool reshape_has_room(struct fs *fs, unsigned member);
/* Cancels the jobs.  With step_lock. */
int reshape_cancel(struct fs *fs);
/* What comes next by itself, when nothing is left to be caught up: copying, ending jobs, voters that change, lost members. 1: there
 * is more to do now; 0: nothing at the moment; -errno.  The work thread's; no lock held. */
int reshape_work(struct fs *fs);
/* Do the jobs wait for a member? */
bool reshape_waits(struct fs *fs, const struct array_job *job);

#endif
