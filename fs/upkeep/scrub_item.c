#include "fs/upkeep/scrub_item.h"

#include "fs/tree/node.h"

#include <errno.h>

static struct scrub_result result_get(const struct scrub_item_result *r)
{
	return (struct scrub_result){ .began_ns = (int64_t)le64_get(r->began), .ended_ns = (int64_t)le64_get(r->ended), .rows = le64_get(r->rows),
		.damaged = le64_get(r->damaged), .unreadable = le64_get(r->unreadable), .tree_errors = le64_get(r->tree_errors) };
}

static struct scrub_item_result result_put(const struct scrub_result *r)
{
	return (struct scrub_item_result){ .began = le64_put((uint64_t)r->began_ns), .ended = le64_put((uint64_t)r->ended_ns),
		.rows = le64_put(r->rows), .damaged = le64_put(r->damaged), .unreadable = le64_put(r->unreadable),
		.tree_errors = le64_put(r->tree_errors) };
}

static bool times_valid(const struct scrub_result *r) { return r->began_ns >= 0 && r->ended_ns >= 0; }

/* One under way has no end, all others have; one that went through is the last one that did; one that has no end is none. */
static bool results_valid(const struct scrub_record *record, const struct scrub_item *item)
{
	bool under_way = record->state == SCRUB_RUNNING || record->state == SCRUB_PAUSED;
	if (!times_valid(&record->now) || !times_valid(&record->last) || under_way != (record->now.ended_ns == 0))
		return false;
	if (record->state == SCRUB_FINISHED && memcmp(&item->now, &item->last, sizeof item->now))
		return false;
	return record->last.ended_ns != 0 || bytes_zero(&item->last, sizeof item->last);
}

int scrub_item_decode(const struct key *key, const void *value, unsigned bytes, struct scrub_record *ret_record)
{
	const struct scrub_item *item = value;
	if (key->object != OBJECT_SCRUB || key->type != ITEM_SCRUB || key->offset != 0 || key->version != 0 || bytes != sizeof *item)
		return -EBADMSG;
	struct scrub_record record = { .state = item->state, .position = le64_get(item->position), .speed_bytes = le64_get(item->speed_bytes),
		.now = result_get(&item->now), .last = result_get(&item->last) };
	if (!bytes_zero(item->zero, sizeof item->zero) || record.state < SCRUB_RUNNING || record.state > SCRUB_FINISHED)
		return -EBADMSG;
	if (record.position != 0 && (address_band(record.position) == 0 || address_block(record.position) % UNIT_BLOCKS != 0))
		return -EBADMSG;
	if (!results_valid(&record, item))
		return -EBADMSG;
	*ret_record = record;
	return 0;
}

void scrub_item_encode(const struct scrub_record *record, struct scrub_item *ret_item)
{
	*ret_item = (struct scrub_item){ .state = record->state, .position = le64_put(record->position),
		.speed_bytes = le64_put(record->speed_bytes), .now = result_put(&record->now), .last = result_put(&record->last) };
}
