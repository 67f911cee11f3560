/* Collecting what raid5cryptfs-status shows. */
#ifndef TOOLS_STATUS_COLLECT_H
#define TOOLS_STATUS_COLLECT_H

#include "tools/status_list.h"

/* Exit codes beside those of base/fail.h. */
enum { EXIT_DEGRADED = 20, EXIT_FAILED = 21 };

struct status_request {
	bool json, mounted_only, wait, watch;
	const char *key_file;
	unsigned wait_seconds, watch_seconds;

	struct status_list list;         /* filled by status_collect */
	int exit_code;                   /* the worst of all arrays */
	bool refused;                    /* somebody else's mount may not be looked at */
};

/* Arguments are mount points or members; none: all that is mounted or found.  What concerns one of several arrays is told, and counts in
 * the exit code; a failure is that nothing can be shown. */
int status_collect(struct status_request *request, char **arguments, int count, struct fail *fail);

#endif
