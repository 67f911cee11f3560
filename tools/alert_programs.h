/* Which programs are told of events, and whether it is safe to run them. */
#ifndef TOOLS_ALERT_PROGRAMS_H
#define TOOLS_ALERT_PROGRAMS_H

#include "base/fail.h"

#define ALERT_PROGRAMS_MAX 64u

/* Is it a program that may be run for this process's user?  It must be an executable regular file; for root it and each folder above it
 * must belong to root, and nobody else may be able to change them (but a sticky folder such as /tmp may be).
 * Fills the path with all links resolved (free it). */
int alert_program_check(const char *path, char **ret_resolved, struct fail *fail);

/* Paths as they are to be run, resolved. */
struct alert_programs {
	unsigned count;
	char *paths[ALERT_PROGRAMS_MAX];
};
void alert_programs_free(struct alert_programs *programs);
/* `program` (NULL: none) and, for root, those in the folder of hooks, in the order of their names.  What must not be run is told to
 * `refuse`, one sentence each, and left out.  -ENOMEM. */
int alert_programs_find(const char *program, void (*refuse)(void *ctx, const char *text), void *ctx, struct alert_programs *ret_programs);

#endif
