/* How far a member is that is replaced or leaves, by one status of the mount.  Pure. */
#ifndef TOOLS_REBUILD_FOLLOW_H
#define TOOLS_REBUILD_FOLLOW_H

#include "fs/control.h"

struct replace {
	uint32_t old_member, new_member; /* by index: one that became free may belong to another member later, hence … */
	struct uuid old_uuid, new_uuid;
};

struct leaving {
	uint32_t member;
	struct uuid uuid;
};

enum replace_state {
	REPLACE_GOES_ON,
	REPLACE_DONE,                    /* the new one votes and lacks nothing, the old one is no member any more */
	REPLACE_STOPPED,                 /* the new one is a spare again, or no member any more; the one that was to leave keeps its data */
	REPLACE_OUT,                     /* the new one has failed, or one of those that get the data of the one that leaves */
};

enum replace_state replace_follow(const struct replace *replace, const struct control_status *status);
enum replace_state leaving_follow(const struct leaving *leaving, const struct control_status *status);
/* Members that get the data of this one now, bit by index; 0: none of it is on its way. */
uint32_t leaving_targets(const struct control_status *status, uint32_t member);

#endif
