/* Waiting until a daemon has released the members of an array. */
#ifndef TOOLS_RELEASE_H
#define TOOLS_RELEASE_H

#include "fs/control.h"
#include "tools/members.h"

/* Waits until nobody holds the lock of a member that writes to it (raid/disk.h), for each in turn; UINT_MAX seconds are no limit.
 * Members that are not there are passed over.  -EBUSY and FAIL_BUSY when the time is over; FAIL_NOT_FOUND if none is there. */
int release_wait(const struct member_paths *paths, unsigned seconds, struct fail *fail);
/* The members that a mounted array has. */
int release_paths(const struct control_status *status, struct member_paths *ret_paths, struct fail *fail);

/* Asks the daemon that serves a mount. */
int release_ask_daemon(const char *mountpoint, struct control_status *ret_status, struct fail *fail);

#endif
