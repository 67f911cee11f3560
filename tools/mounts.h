/* What is mounted on this machine: /proc/self/mountinfo, line by line. */
#ifndef TOOLS_MOUNTS_H
#define TOOLS_MOUNTS_H

#include <stdbool.h>
#include <sys/types.h>

struct mount_entry {
	dev_t dev;
	const char *mountpoint;
	const char *options;             /* of the mount, not of the filesystem */
	const char *type;
	const char *source;
};

/* Is it one of raid5cryptfs's? (Plain, or one whose unmount waits: fs/fuse/fuse.h.) */
bool mount_type_is_ours(const char *type);

/* Calls `each` for every mount, in the order of mounting, until it returns false. The entry's strings are valid
 * during the call.  -errno if the list cannot be read. */
int mounts_each(bool (*each)(void *ctx, const struct mount_entry *entry), void *ctx);

/* The type and device of what is mounted on exactly this path (the topmost), or false.  `type` may be NULL. */
bool mount_at(const char *mountpoint, char *type, size_t type_bytes, dev_t *ret_dev);
/* Is what is mounted under this number one of raid5cryptfs's? */
bool mount_is_ours(dev_t dev);
/* Is the block device mounted somewhere, or swapped to? */
bool device_is_mounted(dev_t dev);

#endif
