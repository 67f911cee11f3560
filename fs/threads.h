/* The threads of a running filesystem: see threads.c. */
#ifndef FS_THREADS_H
#define FS_THREADS_H

#include "fs/core.h"

void threads_stop(struct fs *fs);
/* There is something for the work thread to do: it looks now, and not only after its interval.  Lock held. */
void threads_wake_work(struct fs *fs);

#endif
