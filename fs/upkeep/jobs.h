/* Columns on their way to other members: see jobs.c. */
#ifndef FS_JOBS_H
#define FS_JOBS_H

#include "fs/core.h"

/* One bounded step of copying.  1: there is more to do now; 0: nothing at the moment (no jobs, all is copied, or a target is not in sync);
 * -errno.  The work thread's; no lock held. */
int jobs_step(struct fs *fs);
/* All is copied, but members in sync have gaps that cannot be closed while a source is out: the walk begins anew, and verifies them.
 * False if it could not. */
bool jobs_verify(struct fs *fs);

#endif
