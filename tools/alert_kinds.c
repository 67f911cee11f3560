/* What becomes of each kind of event: see the header. */
#include "tools/alert_kinds.h"

#include <assert.h>
#include <syslog.h>

static const struct alert_kind kinds[ALERT_KINDS] = {
	[EVENT_MEMBER_ABSENT] = { LOG_WARNING, "degraded-at-mount" },
	[EVENT_MEMBER_DROPPED] = { LOG_WARNING, "failed", .opening_name = "degraded-at-mount" },
	[EVENT_MEMBER_RETURNED] = { LOG_NOTICE, "returned" },
	[EVENT_MEMBER_IN_SYNC] = { LOG_NOTICE, "in-sync" },
	[EVENT_SPARE_TAKEN] = { LOG_WARNING, "spare-taken" },
	[EVENT_REPLACE_STARTED] = { LOG_NOTICE, "replace-started" },
	[EVENT_REPLACE_FINISHED] = { LOG_NOTICE, "replace-finished" },
	[EVENT_REPLACE_STOPPED] = { LOG_WARNING, "replace-stopped" },
	[EVENT_HEALED] = { LOG_WARNING, "healed", .often = true },
	[EVENT_DAMAGED] = { LOG_WARNING },
	[EVENT_UNREADABLE] = { LOG_ERR, "unreadable", .often = true },
	[EVENT_LABEL_RESTORED] = { LOG_WARNING },
	[EVENT_SCRUB_FINISHED] = { LOG_NOTICE, "scrub-finished" },
	[EVENT_SCRUB_ERRORS] = { LOG_WARNING, "scrub-errors" },
	[EVENT_STALLED] = { LOG_ERR, "stalled" },
	[EVENT_READ_ONLY] = { LOG_ERR, "read-only" },
	[EVENT_SPACE_LOW] = { LOG_WARNING, "space-low" },
	[EVENT_WARNING] = { LOG_WARNING },
};

const struct alert_kind *alert_kind_of(enum event_kind kind)
{
	assert((unsigned)kind < ALERT_KINDS);
	return &kinds[kind];
}
