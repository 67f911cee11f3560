/* What subcommands of raid5cryptfs-rebuild that change the members of an array have in common: their command line, naming members and
 * disks, and asking for it: the daemon of a mount, or the array itself, which is opened when it is not mounted. */
#ifndef TOOLS_REBUILD_REQUEST_H
#define TOOLS_REBUILD_REQUEST_H

#include "base/fail.h"
#include "fs/control.h"

struct rebuild_request {
	bool force, wait, cancel;
	uint64_t speed_bytes;            /* 0: as it is */
	const char *key_file;
	const char *array;               /* the first argument: the mount point, or the members as mount(8) gives them */
	struct fs *fs;                   /* opened here; NULL: it is mounted */
	const char *what;                /* the argument after it: a disk or a member */
	const char *other;               /* the next, of a command that takes three */
	struct control_status status;    /* before it is asked for */
};

struct rebuild_command {
	const char *letters;             /* the options that it takes, of "cfksw"; with k also on an array that is not mounted */
	int argument_count;              /* with the array: 2 or 3 */
	const char *arguments;           /* in words */
	void (*usage)(void);
	/* What it does then, with the array's status at hand. */
	int (*run)(struct rebuild_request *request, struct fail *fail);
};

/* Reads the command line, opens the array if it is not mounted, runs the command, and closes the array.  Exits after --help. */
int rebuild_request_run(int argc, char **argv, const struct rebuild_command *command, struct fail *fail);
/* The status anew. */
int rebuild_request_status(struct rebuild_request *request, struct fail *fail);
/* For messages: " MOUNTPOINT" after raid5cryptfs-status, where there is one; where it is told why something failed; and, of what is no longer
 * waited for, when it goes on. */
const char *rebuild_request_place(const struct rebuild_request *request);
const char *rebuild_request_log(const struct rebuild_request *request);
const char *rebuild_request_goes_on(const struct rebuild_request *request);
/* By path, UUID, or number from 1. */
int rebuild_request_find(const struct rebuild_request *request, const char *text, uint32_t *ret_member, struct fail *fail);
/* May the disk be overwritten?  What needs no array (tools/device_check.h). */
int rebuild_request_check_disk(const struct rebuild_request *request, const char *path, struct fail *fail);
/* change->path: the path as the daemon finds it.  FAIL_USAGE if it is on the array itself. */
int rebuild_request_set_path(const struct rebuild_request *request, const char *path, struct control_change *change, struct fail *fail);
/* Asks; what the daemon refuses is a failure with its text. */
int rebuild_request_ask(const struct rebuild_request *request, struct control_change *change, struct fail *fail);

#endif
