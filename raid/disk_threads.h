/* Disks by threads and preadv/pwritev/fdatasync: where io_uring is missing or forbidden, and for
 * what it cannot do.  Works on any disk that has a descriptor. */
#ifndef RAID_DISK_THREADS_H
#define RAID_DISK_THREADS_H

#include "raid/disk.h"

extern const struct disk_ops disk_threads_ops;

/* disk_ops.run, usable for disks of other engines that were opened by disk_open. */
void disk_threads_run(struct disk_io *ios, unsigned count, int64_t timeout_ms);

#endif
