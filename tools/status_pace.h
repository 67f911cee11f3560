/* How fast what a status shows has got on since it was first seen, for an estimate of what is left: of a watch, which sees it again and
 * again. */
#ifndef TOOLS_STATUS_PACE_H
#define TOOLS_STATUS_PACE_H

#include "base/uuid.h"
#include "tools/progress.h"

#define STATUS_PACES_MAX 64u

/* What of an array gets on; the filling of a member is PACE_FILL and its index. */
enum { PACE_JOB, PACE_SCRUB, PACE_FILL };

/* All zeros at first. */
struct status_pace {
	struct { struct uuid array; unsigned what; uint64_t from, total; int64_t since_ms; } seen[STATUS_PACES_MAX];
	unsigned count;
};

/* progress_left since this was first seen; now_ms: of one clock.  One that goes back, or has another total, begins anew.  Of more than
 * STATUS_PACES_MAX nothing is told. */
const char *status_pace_left(struct status_pace *pace, const struct uuid *array, unsigned what, uint64_t done, uint64_t total,
	int64_t now_ms, char ret_left[PROGRESS_LEFT_BYTES]);

#endif
