/* What the libraries have to say while they run.
 *
 * fs/, raid/ and crypto/ never print.  They report through one callback, with context; tools
 * print it, the mount logs it, tests count it.  The callback may be called from any thread, and
 * with locks held: it must not call back into the reporter. */
#ifndef BASE_EVENT_H
#define BASE_EVENT_H

#include <stdint.h>

enum event_kind {
	EVENT_MEMBER_ABSENT,     /* at open: a member of the configuration is not there */
	EVENT_MEMBER_DROPPED,    /* a member failed, hung or was found out of date, and is out */
	EVENT_MEMBER_RETURNED,   /* a member that was away is being caught up */
	EVENT_MEMBER_IN_SYNC,    /* its gap is closed */
	EVENT_SPARE_TAKEN,       /* a spare steps in for a member that is out */
	EVENT_REPLACE_STARTED,   /* a member's data is being put on another one */
	EVENT_REPLACE_FINISHED,  /* … which has all of it, and takes the first one's place */
	EVENT_REPLACE_STOPPED,   /* … or not: it was cancelled, or cannot go on */
	EVENT_HEALED,            /* a damaged unit was rebuilt from parity and written back */
	EVENT_DAMAGED,           /* the same, but nothing was written back, since nothing may be */
	EVENT_UNREADABLE,        /* damage beyond what parity can rebuild */
	EVENT_LABEL_RESTORED,    /* a label copy was restored from a good one */
	EVENT_SCRUB_FINISHED,    /* a scrub has ended, and found nothing … */
	EVENT_SCRUB_ERRORS,      /* … or something: damage that was healed, or was not to be healed */
	EVENT_STALLED,           /* work in the background cannot go on, since a tree cannot be read */
	EVENT_READ_ONLY,         /* the filesystem went read-only after a second failure */
	EVENT_SPACE_LOW,         /* little is free (told by the mount program) */
	EVENT_WARNING,           /* anything else worth a line in the log */
};

struct event {
	enum event_kind kind;
	int member;              /* index of the member, or -1 */
	const char *text;        /* one full sentence for people; valid during the call only */
};

struct event_sink {
	void *ctx;
	void (*report)(void *ctx, const struct event *event);   /* NULL: nobody listens */
};

/* Formats and reports one event.  `sink` may be NULL. */
void event_report(const struct event_sink *sink, enum event_kind kind, int member, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

#endif
