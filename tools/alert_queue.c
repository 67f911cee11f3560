/* Events that alert programs are still to be told of: see the header. */
#include "tools/alert_queue.h"

#include "base/cleanup.h"
#include "raid/layout.h"

#include <stdio.h>
#include <stdlib.h>

#define SPACE_BACK_PERCENT 2u

/* Events of one kind and member that come in floods. */
struct held {
	bool called;
	int64_t last_ms;                 /* of the last call */
	uint64_t count;                  /* since then */
	char text[ALERT_TEXT_BYTES];
};

struct alert_queue {
	struct alert_call calls[ALERT_QUEUE_MAX];
	unsigned first, count;
	uint64_t lost;
	struct held held[ALERT_KINDS][MEMBERS_MAX + 1];  /* the last: of no member */
};

struct alert_queue *alert_queue_new(void)
{
	return calloc(1, sizeof(struct alert_queue));    /* pages of members that never have an event are never touched */
}

void alert_queue_free(struct alert_queue *queue)
{
	free(queue);
}

static struct held *held_of(struct alert_queue *queue, enum event_kind kind, int member)
{
	return &queue->held[kind][member >= 0 && (unsigned)member < MEMBERS_MAX ? (unsigned)member : MEMBERS_MAX];
}

bool alert_queue_push(struct alert_queue *queue, const struct event *event, bool opening)
{
	const struct alert_kind *kind = alert_kind_of(event->kind);

	if (!kind->name)
		return false;
	if (kind->often) {
		struct held *held = held_of(queue, event->kind, event->member);
		held->count++;
		snprintf(held->text, sizeof held->text, "%s", event->text);
		return true;
	}
	if (queue->count == ALERT_QUEUE_MAX) {
		queue->first = (queue->first + 1) % ALERT_QUEUE_MAX;
		queue->count--;
		queue->lost++;
	}
	struct alert_call *call = &queue->calls[(queue->first + queue->count++) % ALERT_QUEUE_MAX];
	call->name = opening && kind->opening_name ? kind->opening_name : kind->name;
	call->member = event->member;
	call->count = 1;
	snprintf(call->text, sizeof call->text, "%s", event->text);
	return true;
}

/* A held one that is due. */
static bool pop_held(struct alert_queue *queue, int64_t now_ms, bool all, struct alert_call *ret_call, int64_t *ret_wait_ms)
{
	*ret_wait_ms = -1;
	for (unsigned kind = 0; kind < ALERT_KINDS; kind++) {
		for (unsigned i = 0; alert_kind_of(kind)->often && i <= MEMBERS_MAX; i++) {
			struct held *held = &queue->held[kind][i];
			int64_t wait_ms = held->called ? held->last_ms + ALERT_INTERVAL_MS - now_ms : 0;
			if (!held->count)
				continue;
			if (!all && wait_ms > 0) {
				if (*ret_wait_ms < 0 || wait_ms < *ret_wait_ms)
					*ret_wait_ms = wait_ms;
				continue;
			}
			ret_call->name = alert_kind_of(kind)->name;
			ret_call->member = i < MEMBERS_MAX ? (int)i : -1;
			ret_call->count = held->count;
			snprintf(ret_call->text, sizeof ret_call->text, "%s", held->text);
			held->called = true;
			held->last_ms = now_ms;
			held->count = 0;
			return true;
		}
	}
	return false;
}

bool alert_queue_pop(struct alert_queue *queue, int64_t now_ms, bool all, struct alert_call *ret_call, int64_t *ret_wait_ms)
{
	if (!queue->count)
		return pop_held(queue, now_ms, all, ret_call, ret_wait_ms);
	*ret_call = queue->calls[queue->first];
	queue->first = (queue->first + 1) % ALERT_QUEUE_MAX;
	queue->count--;
	return true;
}

uint64_t alert_queue_lost(struct alert_queue *queue)
{
	uint64_t lost = queue->lost;

	queue->lost = 0;
	return lost;
}

/* ---- Free space ---- */

static bool below(uint64_t free, uint64_t capacity, unsigned percent)
{
	return free < capacity / 100 * percent + capacity % 100 * percent / 100;
}

unsigned alert_space_level(unsigned level, uint64_t free, uint64_t capacity)
{
	static const unsigned limits[] = { 100, 5, 1 };  /* percent, by level */

	for (unsigned i = ARRAY_COUNT(limits) - 1; i > level; i--)
		if (below(free, capacity, limits[i]))
			return i;
	while (level > 0 && !below(free, capacity, limits[level] + SPACE_BACK_PERCENT))
		level--;
	return level;
}
