/* What becomes of each kind of event: how it is logged, and the name by which alert programs are told of it.
 *
 * To tell programs of another kind of event, add its line to the table in alert_kinds.c. */
#ifndef TOOLS_ALERT_KINDS_H
#define TOOLS_ALERT_KINDS_H

#include "base/event.h"

#include <stdbool.h>

struct alert_kind {
	int priority;                    /* as syslog(3) */
	const char *name;                /* NULL: programs are not told */
	const char *opening_name;        /* the name while the array is being opened, if that is another one */
	bool often;                      /* may come in floods: one call a minute for each member */
};

#define ALERT_KINDS (EVENT_WARNING + 1u)

const struct alert_kind *alert_kind_of(enum event_kind kind);

#endif
