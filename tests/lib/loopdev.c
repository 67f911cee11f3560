#include "tests/lib/loopdev.h"

#include "base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <stdio.h>
#include <sys/ioctl.h>

#define TRIES 20    /* others may take the free one first */

int loopdev_new(const char *path, unsigned sector_bytes, char *device, size_t device_bytes, int *ret_fd)
{
	autoclose int backing = open(path, O_RDWR | O_CLOEXEC);
	autoclose int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
	if (backing < 0 || control < 0)
		return -errno;
	for (unsigned try = 0; try < TRIES; try++) {
		int number = ioctl(control, LOOP_CTL_GET_FREE);
		if (number < 0)
			return -errno;
		snprintf(device, device_bytes, "/dev/loop%d", number);
		int fd = open(device, O_RDWR | O_CLOEXEC);
		if (fd < 0)
			return -errno;
		struct loop_config config = { .fd = (unsigned)backing, .block_size = sector_bytes,
			.info.lo_flags = LO_FLAGS_AUTOCLEAR };
		if (ioctl(fd, LOOP_CONFIGURE, &config) == 0) {
			*ret_fd = fd;
			return 0;
		}
		int err = errno;
		close(fd);
		if (err != EBUSY)
			return -err;
	}
	return -EBUSY;
}
