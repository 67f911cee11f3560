#include "fs/upkeep/scrub_result.h"

static int compare(const struct uuid *a, const struct uuid *b) { return memcmp(a->b, b->b, sizeof a->b); }

void scrub_result_add(struct scrub_result *result, const struct uuid *member, uint64_t units)
{
	struct scrub_units *m = result->members;
	unsigned count = scrub_result_members(result), at = 0;
	if (units == 0)
		return;
	while (at < count && compare(&m[at].member, member) < 0)
		at++;
	if (at < count && uuid_equal(&m[at].member, member)) {
		m[at].units += units;
	} else if (count < MEMBERS_MAX) {
		memmove(&m[at + 1], &m[at], (count - at) * sizeof *m);
		m[at] = (struct scrub_units){ *member, units };
	} else {
		uint64_t room = result->damaged - result->unclear;
		result->unclear += units < room ? units : room;
	}
}

uint64_t scrub_result_units(const struct scrub_result *result, const struct uuid *member)
{
	for (unsigned i = 0; i < MEMBERS_MAX; i++)
		if (result->members[i].units && uuid_equal(&result->members[i].member, member))
			return result->members[i].units;
	return 0;
}

unsigned scrub_result_members(const struct scrub_result *result)
{
	unsigned count = 0;
	while (count < MEMBERS_MAX && result->members[count].units)
		count++;
	return count;
}

bool scrub_result_valid(const struct scrub_result *result)
{
	static const struct scrub_units unused;
	struct uuid before = { 0 };
	unsigned count = scrub_result_members(result);
	if (result->began_ns < 0 || result->ended_ns < 0 || result->unclear > result->damaged)
		return false;
	uint64_t left = result->damaged - result->unclear;       /* rows in which a member has a unit */
	for (unsigned i = 0; i < count; i++) {
		const struct scrub_units *m = &result->members[i];
		if (compare(&before, &m->member) >= 0 || m->units > result->damaged)
			return false;
		before = m->member;
		left -= m->units < left ? m->units : left;
	}
	for (unsigned i = count; i < MEMBERS_MAX; i++)
		if (memcmp(&result->members[i], &unused, sizeof unused))
			return false;
	return left == 0;
}
