/* Members that were away, or may have lost writes, are brought up to date while mounted: see catchup.c. */
#ifndef FS_CATCHUP_H
#define FS_CATCHUP_H

#include "fs/core.h"

/* One bounded step. 1: there is more to do now; 0: nothing at the moment; -errno. No lock held. */
int catchup_step(struct fs *fs);

#endif
