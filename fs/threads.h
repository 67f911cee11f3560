/* The threads of a running filesystem: see threads.c. */
#ifndef FS_THREADS_H
#define FS_THREADS_H

#include "fs/core.h"

void threads_stop(struct fs *fs);

#endif
