/* What subcommands of raid5cryptfs-rebuild that ask a mounted array for something have in common: their command line, naming members and
 * disks, and asking the daemon. */
#ifndef TOOLS_REBUILD_REQUEST_H
#define TOOLS_REBUILD_REQUEST_H

#include "base/fail.h"
#include "fs/control.h"

struct rebuild_request {
	bool force, wait, cancel;
	uint64_t speed_bytes;            /* 0: as it is */
	const char *mountpoint;
	const char *what;                /* the argument after it: a disk or a member */
	const char *other;               /* the next, of a command that takes three */
	struct control_status status;    /* before it is asked for */
};

struct rebuild_command {
	const char *letters;             /* the options that it takes, of "cfsw" */
	int argument_count;              /* with the mount point: 2 or 3 */
	const char *arguments;           /* in words */
	void (*usage)(void);
};

/* Reads the command line, and asks the daemon for its status.  Exits after --help. */
int rebuild_request_parse(int argc, char **argv, const struct rebuild_command *command, struct rebuild_request *request, struct fail *fail);
/* By path, UUID, or number from 1. */
int rebuild_request_find(const struct rebuild_request *request, const char *text, uint32_t *ret_member, struct fail *fail);
/* May the disk be overwritten?  What needs no array (tools/device_check.h). */
int rebuild_request_check_disk(const struct rebuild_request *request, const char *path, struct fail *fail);
/* change->path: the path as the daemon finds it. */
int rebuild_request_set_path(const char *path, struct control_change *change, struct fail *fail);
/* Asks; what the daemon refuses is a failure with its text. */
int rebuild_request_ask(const struct rebuild_request *request, struct control_change *change, struct fail *fail);

#endif
