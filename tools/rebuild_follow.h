/* How far a replace is, by one status of the mount.  Pure. */
#ifndef TOOLS_REBUILD_FOLLOW_H
#define TOOLS_REBUILD_FOLLOW_H

#include "fs/control.h"

struct replace {
	uint32_t old_member, new_member; /* by index: one that became free may belong to another member later, hence … */
	struct uuid old_uuid, new_uuid;
};

enum replace_state {
	REPLACE_GOES_ON,
	REPLACE_DONE,                    /* the new one votes and lacks nothing, the old one is no member any more */
	REPLACE_STOPPED,                 /* the new one is a spare again, or no member any more */
	REPLACE_OUT,                     /* the new one has failed */
};

enum replace_state replace_follow(const struct replace *replace, const struct control_status *status);

#endif
