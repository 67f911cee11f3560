/* What raid5cryptfs-status found: arrays, and devices that it could say nothing of. */
#ifndef TOOLS_STATUS_LIST_H
#define TOOLS_STATUS_LIST_H

#include "fs/control.h"
#include "tools/members.h"
#include "tools/status_pace.h"

/* A device with a label of the array that is none of its members as they are now. */
struct status_other {
	char *path;
	struct uuid uuid;
	int index;                       /* of the member that it is, which a mounted array does without; -1: it is no member any more */
};

struct status_entry {
	struct control_status status;
	char *mountpoint;                /* NULL: not mounted */
	char *backing[MEMBERS_MAX];      /* the file behind a member that is a loop device, or NULL */
	unsigned other_count;
	struct status_other *others;
};

struct status_list {
	unsigned count;
	struct status_entry **entries;
	struct found_devices unreadable; /* devices that this user may not read */
	struct found_devices damaged;    /* devices with remains of a label */
	struct status_pace *pace;        /* of a watch, with what its clock says; NULL: this is seen once */
	int64_t now_ms;
};

/* Without it the array is degraded: it votes or has columns, and is not just a spare. */
bool status_needed(const struct control_member *member);

enum status_health { STATUS_HEALTHY, STATUS_DEGRADED, STATUS_FAILED };
/* Failed: it is not mounted and cannot be, it went read-only because of failures, or it is mounted (read-only) without two members. */
enum status_health status_health(const struct control_status *status);

/* -ENOMEM.  `mountpoint` may be NULL.  The entry stays the list's. */
int status_list_add(struct status_list *list, const struct control_status *status, const char *mountpoint, struct status_entry **ret_entry);
int status_entry_add_other(struct status_entry *entry, const char *path, const struct uuid *member);
void status_list_free(struct status_list *list);

#endif
