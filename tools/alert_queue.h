/* Events that alert programs are still to be told of.  Pure: no I/O, no clock, no locks, and no allocation but of the queue.
 *
 * Events wait in a ring of bounded length; when it is full the oldest goes, and is counted.  Kinds that come in floods do not enter
 * it: for each kind and member the last one is kept, and how many there were, and a call is due a minute after the one before. */
#ifndef TOOLS_ALERT_QUEUE_H
#define TOOLS_ALERT_QUEUE_H

#include "tools/alert_kinds.h"

#include <stdbool.h>
#include <stdint.h>

#define ALERT_QUEUE_MAX 64u
#define ALERT_TEXT_BYTES 1024u
#define ALERT_INTERVAL_MS 60000      /* between two calls of a kind that comes in floods, of one member */

/* A call that is to be made. */
struct alert_call {
	const char *name;                /* the event's */
	int member;                      /* index, or -1 */
	uint64_t count;                  /* how many events it stands for: 1, or those since the last call */
	char text[ALERT_TEXT_BYTES];     /* of the last of them */
};

struct alert_queue;

/* NULL: no memory. */
struct alert_queue *alert_queue_new(void);
void alert_queue_free(struct alert_queue *queue);
/* Takes an event in.  `opening`: the array is not open yet.  False if programs are not told of this kind. */
bool alert_queue_push(struct alert_queue *queue, const struct event *event, bool opening);
/* The next call that is due at `now_ms` (any steady clock), or with `all` any call.  Else false, and *ret_wait_ms says in how
 * long one will be (-1: none waits). */
bool alert_queue_pop(struct alert_queue *queue, int64_t now_ms, bool all, struct alert_call *ret_call, int64_t *ret_wait_ms);
/* How many were forgotten since the last time it was asked. */
uint64_t alert_queue_lost(struct alert_queue *queue);

/* How little space is free: 0 enough, 1 below 5 %, 2 below 1 %.  Given the level so far, it goes up at once, and down only when two
 * percent more are free, so that a filesystem on the edge is not told of again and again. */
unsigned alert_space_level(unsigned level, uint64_t free, uint64_t capacity);

#endif
