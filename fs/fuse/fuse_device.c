/* A block device of one block, for the mount alone: see fs/fuse/fuse_internal.h.
 *
 * The kernel tells a FUSE server of syncfs(2), and lets umount(2) wait for it, only if the mount is of type fuseblk, and
 * such a mount needs a block device.  None of the members will do: the kernel would claim it, and it may be the one to
 * fail.  So there is a loop device over a block of memory that nobody reads or writes.  The kernel frees it
 * (LO_FLAGS_AUTOCLEAR) with the last of its users, which is the mount, also when this process is killed.
 *
 * /proc/mounts shows as source the path by which mount(2) was given the device.  That path is a symbolic link in a
 * private folder, which is the working directory meanwhile, and the link has the name of the array. */
#include "fs/fuse/fuse_internal.h"

#include "base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define DEVICE_BYTES 4096
/* Another process may take the free number first. */
#define LOOP_TRIES 64

static int backing_open(void)
{
	int fd = memfd_create("raid5cryptfs", MFD_CLOEXEC);

	if (fd < 0)
		return -errno;
	if (ftruncate(fd, DEVICE_BYTES) < 0) {
		int error = errno;
		close(fd);
		return -error;
	}
	return fd;
}

static int loop_open(char *path, size_t path_bytes)
{
	autoclose int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
	autoclose int backing = control < 0 ? -errno : backing_open();
	int error = EBUSY;

	if (backing < 0)
		return backing;
	for (int i = 0; i < LOOP_TRIES && error == EBUSY; i++) {
		struct loop_config config = {
			.fd = (uint32_t)backing, .block_size = DEVICE_BYTES, .info = { .lo_flags = LO_FLAGS_AUTOCLEAR },
		};
		int number = ioctl(control, LOOP_CTL_GET_FREE);
		if (number < 0)
			return -errno;
		snprintf(path, path_bytes, "/dev/loop%d", number);
		int fd = open(path, O_RDWR | O_CLOEXEC);
		if (fd < 0)
			return -errno;
		if (ioctl(fd, LOOP_CONFIGURE, &config) == 0)
			return fd;
		error = errno;
		close(fd);
	}
	return -error;
}

/* Makes the folder with the link and goes there.  If that cannot be, the source shown is the device's path. */
static void enter_folder(struct fuse_device *device, const char *name)
{
	char folder[] = "/run/raid5cryptfs.XXXXXX";

	if (!*name || strchr(name, '/') || strlen(name) > NAME_MAX || !mkdtemp(folder))
		return;
	snprintf(device->link, sizeof device->link, "%s/%s", folder, name);
	device->before = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (device->before >= 0 && symlink(device->path, device->link) == 0) {
		if (chdir(folder) == 0) {
			device->source = name;
			return;
		}
		unlink(device->link);
	}
	rmdir(folder);
	if (device->before >= 0)
		close(device->before);
	device->before = -1;
}

int fuse_device_open(struct fuse_device *device, const char *name)
{
	*device = (struct fuse_device){ .before = -1, .source = device->path };
	device->fd = loop_open(device->path, sizeof device->path);
	if (device->fd < 0)
		return device->fd;
	enter_folder(device, name);
	return 0;
}

void fuse_device_close(struct fuse_device *device)
{
	if (device->before >= 0) {
		int r = fchdir(device->before);
		(void)r;                 /* all paths are absolute */
		close(device->before);
		unlink(device->link);
		*strrchr(device->link, '/') = '\0';
		rmdir(device->link);
	}
	close(device->fd);
}
