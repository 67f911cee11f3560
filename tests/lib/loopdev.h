/* Loop devices that the kernel takes away by itself when the last descriptor goes, whatever way a
 * test ends. */
#ifndef TESTS_LIB_LOOPDEV_H
#define TESTS_LIB_LOOPDEV_H

#include <stddef.h>

/* Attaches `path` with sectors of that size.  Fills `device` with the device's path, and *ret_fd with a
 * descriptor that keeps it; close it to let go.  -errno where there are no loop devices. */
int loopdev_new(const char *path, unsigned sector_bytes, char *device, size_t device_bytes, int *ret_fd);

#endif
