#include "fs/upkeep/scrub_item.h"

#include "fs/tree/node.h"

#include <errno.h>

static struct scrub_result result_get(const struct scrub_item_result *r, const struct scrub_item_member *members, unsigned count)
{
	struct scrub_result result = { .began_ns = (int64_t)le64_get(r->began), .ended_ns = (int64_t)le64_get(r->ended), .rows = le64_get(r->rows),
		.damaged = le64_get(r->damaged), .unreadable = le64_get(r->unreadable), .tree_errors = le64_get(r->tree_errors),
		.unclear = le64_get(r->unclear) };
	for (unsigned i = 0; i < count; i++)
		result.members[i] = (struct scrub_units){ members[i].member, le64_get(members[i].units) };
	return result;
}

static struct scrub_item_result result_put(const struct scrub_result *r)
{
	return (struct scrub_item_result){ .began = le64_put((uint64_t)r->began_ns), .ended = le64_put((uint64_t)r->ended_ns),
		.rows = le64_put(r->rows), .damaged = le64_put(r->damaged), .unreadable = le64_put(r->unreadable),
		.tree_errors = le64_put(r->tree_errors), .unclear = le64_put(r->unclear) };
}

/* How many they are. */
static unsigned members_put(const struct scrub_result *r, struct scrub_item_member *ret_members)
{
	unsigned count = scrub_result_members(r);
	for (unsigned i = 0; i < count; i++)
		ret_members[i] = (struct scrub_item_member){ r->members[i].member, le64_put(r->members[i].units) };
	return count;
}

/* One under way has no end, all others have; one that went through is the last one that did; one that has no end is none. */
static bool results_valid(const struct scrub_record *record)
{
	bool under_way = record->state == SCRUB_RUNNING || record->state == SCRUB_PAUSED;
	if (!scrub_result_valid(&record->now) || !scrub_result_valid(&record->last) || under_way != (record->now.ended_ns == 0))
		return false;
	if (record->state == SCRUB_FINISHED && memcmp(&record->now, &record->last, sizeof record->now))
		return false;
	return record->last.ended_ns != 0 || bytes_are_zero(&record->last, sizeof record->last);
}

/* Has it the lists that it says it has, each member of which has units? */
static bool lists_valid(const struct scrub_item *item, unsigned bytes)
{
	unsigned count = item->now_members + item->last_members;
	if (item->now_members > MEMBERS_MAX || item->last_members > MEMBERS_MAX || bytes != sizeof *item + count * sizeof *item->members)
		return false;
	for (unsigned i = 0; i < count; i++)
		if (le64_get(item->members[i].units) == 0)
			return false;
	return true;
}

int scrub_item_decode(const struct key *key, const void *value, unsigned bytes, struct scrub_record *ret_record)
{
	const struct scrub_item *item = value;
	if (key->object != OBJECT_SCRUB || key->type != ITEM_SCRUB || key->offset != 0 || key->version != 0 || bytes < sizeof *item
		|| !lists_valid(item, bytes))
		return -EBADMSG;
	struct scrub_record record = { .state = item->state, .position = le64_get(item->position), .speed_bytes = le64_get(item->speed_bytes),
		.now = result_get(&item->now, item->members, item->now_members),
		.last = result_get(&item->last, item->members + item->now_members, item->last_members) };
	if (!bytes_are_zero(item->zero, sizeof item->zero) || record.state < SCRUB_RUNNING || record.state > SCRUB_FINISHED)
		return -EBADMSG;
	if (record.position != 0 && (address_band(record.position) == 0 || address_block(record.position) % UNIT_BLOCKS != 0))
		return -EBADMSG;
	if (!results_valid(&record))
		return -EBADMSG;
	*ret_record = record;
	return 0;
}

unsigned scrub_item_encode(const struct scrub_record *record, uint8_t ret_bytes[SCRUB_ITEM_BYTES_MAX])
{
	struct scrub_item *item = (struct scrub_item *)ret_bytes;
	*item = (struct scrub_item){ .state = record->state, .position = le64_put(record->position),
		.speed_bytes = le64_put(record->speed_bytes), .now = result_put(&record->now), .last = result_put(&record->last) };
	item->now_members = (uint8_t)members_put(&record->now, item->members);
	item->last_members = (uint8_t)members_put(&record->last, item->members + item->now_members);
	return (unsigned)(sizeof *item + (item->now_members + item->last_members) * sizeof *item->members);
}
