/* May a device be overwritten?  What mkfs and the other programs that take a new disk ask first. */
#ifndef TOOLS_DEVICE_CHECK_H
#define TOOLS_DEVICE_CHECK_H

#include "base/fail.h"
#include "raid/disk.h"

/* FAIL_BUSY: it is mounted, or swapped to, or a mount of ours reads it.  Before it is opened. */
int device_check_mounted(const char *path, struct fail *fail);
/* FAIL_SIGNATURE: it carries what libblkid knows, a filesystem or partitions for example; the message tells of --force. */
int device_check_signature(struct disk *disk, struct fail *fail);

#endif
