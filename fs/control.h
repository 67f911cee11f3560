/* What a mounted filesystem tells tools, and what they may ask of it: structures of fixed size, by ioctl(2) on any open directory or
 * file of the mount (tools use its root); and the same status made from members that are not mounted.
 *
 * They cross only between the daemon and tools of the same machine; `version` tells when these are not of the same build. */
#ifndef FS_CONTROL_H
#define FS_CONTROL_H

#include "fs/fs.h"
#include "fs/upkeep/scrub.h"
#include "fs/upkeep/stall.h"

#include <assert.h>
#include <sys/ioctl.h>

#define CONTROL_VERSION 8u
#define CONTROL_PATH_BYTES 256u

struct control_member {
	char path[CONTROL_PATH_BYTES];   /* empty: not there */
	struct uuid uuid;
	uint8_t state;                   /* enum member_state */
	uint8_t has_gap;
	uint8_t role;                    /* enum member_role; of an unused one nothing else means anything */
	uint8_t needed;                  /* it votes or has columns: without it the array is degraded */
	uint8_t has_columns;
	uint8_t padding[3];
	uint64_t gap_from, gap_to;       /* generations that it missed */
	uint64_t filled_bytes, to_fill_bytes;    /* while it is filled, an estimate: of all data in use */
	uint64_t size_bytes;
	uint64_t read_errors, write_errors, healed;
	uint64_t caught_up_bytes;        /* written anew on it since it came back last, in this mount */
};

/* Columns that are on their way to other members: of a disk that is being replaced or removed, or is lost. */
struct control_job {
	uint8_t running;                 /* else nothing else means anything */
	uint8_t source;                  /* member by index */
	uint8_t waits;                   /* for a member: it does not get on now */
	uint8_t padding;
	uint32_t targets;                /* bit by index */
	uint64_t done_bytes, total_bytes;        /* an estimate: of all data in use */
};

struct control_status {
	uint32_t version;
	uint8_t mounted, read_only, degraded;
	uint8_t has_space;               /* capacity and free are known */
	uint8_t startable;               /* enough members to mount; mounted: it has not given up writing because of failures */
	uint8_t cipher;
	uint8_t has_engine, engine;      /* enum seal_engine: what seals; only while mounted, and not with cipher none */
	uint8_t has_transport, transport;        /* enum fuse_transport: how requests come; only while mounted */
	uint8_t padding[2];
	uint32_t member_count;
	struct uuid array;
	char name[LABEL_NAME_BYTES];
	uint64_t generation;
	uint64_t capacity_bytes, free_bytes;
	struct scrub_status scrub;       /* only while mounted */
	struct control_job job;
	char why_read_only[ARRAY_WHY_BYTES];             /* the failure that ended writing; empty: none */
	char stalled[STALL_TASKS][STALL_TEXT_BYTES];     /* work that cannot go on, and why; empty: none */
	struct control_member members[MEMBERS_MAX];
};

enum control_action {
	CONTROL_ADD,                     /* the missing member, `member`, by the disk or spare at `path`, as CONTROL_REPLACE: `new_member` */
	CONTROL_READD,                   /* the member that the disk at `path` is */
	CONTROL_FAIL,                    /* drop `member` */
	CONTROL_SCRUB,                   /* `scrub`: enum scrub_action */
	CONTROL_SPARE,                   /* the disk at `path` becomes a spare: `member` */
	CONTROL_REPLACE,                 /* `member`, which goes on serving, by the spare at `path`, or by the disk there, which becomes one first:
	                                    `new_member` */
	CONTROL_REMOVE,                  /* `member` is no member any more, once its data is on others; a spare at once; but one that is taking
	                                    another's place becomes a spare again */
	CONTROL_CANCEL,                  /* what is on its way from `member` or to it stays where it was */
};

/* What the owner of a mount (or root) asks of it, or a tool of an array that it has opened itself.  It is answered when it has begun, not when a rebuild has ended. */
struct control_change {
	uint32_t version;
	uint32_t action;
	char path[CONTROL_PATH_BYTES];   /* absolute, as the daemon sees it */
	uint32_t member;                 /* in or out: index */
	uint32_t new_member;             /* out of CONTROL_ADD and _REPLACE */
	uint32_t scrub;
	uint32_t stands_in;              /* out of CONTROL_SPARE: it can take a member's place alone; of CONTROL_FAIL: others can take its data */
	uint64_t speed_bytes;            /* where something is read or copied: fs_options.speed_bytes from now on; 0: as it is; UINT64_MAX: no
	                                    limit */
	uint32_t force;                  /* CONTROL_ADD, _SPARE, _REPLACE: also a disk that has a label of an array */
	uint32_t code;                   /* out: enum fail_code; FAIL_NONE: done */
	char text[1024];                 /* out: why not */
};

#define CONTROL_CHANGE _IOWR('5', 2, struct control_change)
#define CONTROL_STATUS _IOR('5', 1, struct control_status)
static_assert(sizeof(struct control_status) < 16384, "an ioctl's size has 14 bits");

/* Is this what a daemon of this build could have answered?  Texts end, counts and space are within bounds.  A mount may be served
 * by anybody. */
bool control_status_valid(const struct control_status *status);
/* The member's index, or -1: none has this UUID now. */
int control_status_index(const struct control_status *status, const struct uuid *member);
/* Is this what a tool of this build could ask for?  Its path ends, and is absolute where there is to be one. */
bool control_change_valid(const struct control_change *change);
/* Does it, on an open filesystem; `code` and `text` say how that ended. */
void control_change_of_fs(struct fs *fs, struct control_change *change);
/* Of an open filesystem. */
void control_status_of_fs(struct fs *fs, struct control_status *ret_status);
/* Of members that are not mounted, without a key: what they say of themselves.  -EBADMSG if no configuration is readable. */
int control_status_of_probe(const struct probe *probe, struct control_status *ret_status);

#endif
