/* Disks by io_uring: the engine of choice. */
#ifndef RAID_DISK_URING_H
#define RAID_DISK_URING_H

#include "raid/disk.h"

/* True if this kernel has what the engine needs (5.11: waiting with a time limit) and lets this process use it.
 * Asked once, then remembered. */
bool disk_uring_available(void);

/* Gives back what orphans have come back: a closed disk keeps its lock until then. */
void disk_uring_reap(void);

extern const struct disk_ops disk_uring_ops;

#endif
