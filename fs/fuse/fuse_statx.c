/* The answer to STATX, which beside what GETATTR tells has the time at which a file was made.  Its structures are those of the kernel's
 * <linux/fuse.h> since 7.39; that of Debian 12 has not got them.  The kernel asks once for each inode that it caches, when somebody wants
 * that time. */
#include "fs/fuse/fuse_internal.h"

#include <assert.h>
#include <linux/stat.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

struct statx_time {
	int64_t seconds;
	uint32_t nanoseconds;
	int32_t zero;
};

struct statx_out {
	uint64_t valid_seconds;
	uint32_t valid_nanoseconds, flags;
	uint64_t zero[2];
	uint32_t mask, block_bytes;
	uint64_t attributes;
	uint32_t links, uid, gid;
	uint16_t mode, zero2;
	uint64_t ino, size_bytes, blocks, attributes_mask;
	struct statx_time atime, btime, ctime, mtime;
	uint32_t rdev_major, rdev_minor, dev_major, dev_minor;
	uint64_t zero3[14];
};
static_assert(sizeof(struct statx_out) == 32 + 256, "as in the kernel");

static struct statx_time time_of(struct timespec t)
{
	return (struct statx_time){ .seconds = t.tv_sec, .nanoseconds = (uint32_t)t.tv_nsec };
}

void fuse_statx_reply(fuse_req_t req, const struct fs_attr *attr)
{
	struct stat st;

	attr_to_stat(server_of(req), attr, &st);
	struct statx_out out = {
		.valid_seconds = (uint64_t)attr_seconds(attr),
		.mask = STATX_BASIC_STATS | STATX_BTIME,
		.block_bytes = (uint32_t)st.st_blksize,
		.links = (uint32_t)st.st_nlink, .uid = st.st_uid, .gid = st.st_gid, .mode = (uint16_t)st.st_mode,
		.ino = st.st_ino, .size_bytes = (uint64_t)st.st_size, .blocks = (uint64_t)st.st_blocks,
		.atime = time_of(st.st_atim), .btime = time_of(timespec_of(attr->btime_ns)),
		.ctime = time_of(st.st_ctim), .mtime = time_of(st.st_mtim),
		.rdev_major = major(st.st_rdev), .rdev_minor = minor(st.st_rdev),
	};
	fuse_reply_buf(req, (const char *)&out, sizeof out);
}
