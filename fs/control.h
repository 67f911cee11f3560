/* What a mounted filesystem tells tools: one structure of fixed size, got by ioctl(2) on any open directory or file of
 * the mount (tools use its root), and the same structure made from members that are not mounted.
 *
 * It crosses only from the daemon to tools of the same machine; `version` tells when they are not of the same build. */
#ifndef FS_CONTROL_H
#define FS_CONTROL_H

#include "fs/fs.h"

#include <assert.h>
#include <sys/ioctl.h>

#define CONTROL_VERSION 1u
#define CONTROL_PATH_BYTES 256u

struct control_member {
	char path[CONTROL_PATH_BYTES];   /* empty: not there */
	struct uuid uuid;
	uint8_t state;                   /* enum member_state */
	uint8_t has_gap;
	uint8_t padding[6];
	uint64_t gap_from, gap_to;       /* generations that it missed */
	uint64_t size_bytes;
	uint64_t read_errors, write_errors, healed;
};

struct control_status {
	uint32_t version;
	uint8_t mounted, read_only, degraded;
	uint8_t has_space;               /* capacity and free are known */
	uint8_t startable;               /* enough members to mount; mounted: it has not given up writing because of failures */
	uint8_t cipher;
	uint8_t has_engine, engine;      /* enum seal_engine: what seals; only while mounted, and not with cipher none */
	uint32_t member_count;
	struct uuid array;
	char name[LABEL_NAME_BYTES];
	uint64_t generation;
	uint64_t capacity_bytes, free_bytes;
	struct control_member members[MEMBERS_MAX];
};

#define CONTROL_STATUS _IOR('5', 1, struct control_status)
static_assert(sizeof(struct control_status) < 16384, "an ioctl's size has 14 bits");

/* Is this what a daemon of this build could have answered?  Texts end, counts and space are within bounds.  A mount may be served
 * by anybody. */
bool control_status_valid(const struct control_status *status);
/* Of an open filesystem. */
void control_status_of_fs(struct fs *fs, struct control_status *ret_status);
/* Of members that are not mounted, without a key: what they say of themselves.  -EBADMSG if no configuration is readable. */
int control_status_of_probe(const struct probe *probe, struct control_status *ret_status);

#endif
