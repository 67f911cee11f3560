/* What the kernel allows a mount: how much it may hold back that was written, how far it reads ahead. */
#ifndef TOOLS_BACKING_H
#define TOOLS_BACKING_H

#include <stdbool.h>

/* Sets them for the mount of this process at `mountpoint`, if that is root's; `is_plain`: of type fuse, not fuseblk. Also tells the kernel
 * that this process writes data back, so that it is not kept waiting for memory by its own mount.  What fails costs speed only. */
void backing_tune(const char *mountpoint, bool is_plain);

#endif
