/* How far a replace is: see the header.
 *
 * The new member is a replacement while its columns come and until it votes, then a voter beside the old one, then alone in its place; when
 * the old one is out, it begins to vote and takes the place in one step (doc/membership.md, "Procedures").  Between two steps no job runs
 * although all is well: so the roles tell, and not the job. */
#include "tools/rebuild_follow.h"

static const struct control_member *member_of(const struct control_status *status, uint32_t index, const struct uuid *uuid)
{
	if (index >= status->member_count || status->members[index].role == MEMBER_UNUSED)
		return NULL;
	return uuid_equal(&status->members[index].uuid, uuid) ? &status->members[index] : NULL;
}

enum replace_state replace_follow(const struct replace *replace, const struct control_status *status)
{
	const struct control_member *target = member_of(status, replace->new_member, &replace->new_uuid);

	if (!target)
		return REPLACE_STOPPED;
	if (target->state == MEMBER_OUT)
		return REPLACE_OUT;
	if (target->role == MEMBER_SPARE)
		return REPLACE_STOPPED;
	bool whole = target->role == MEMBER_VOTER && target->state == MEMBER_IN_SYNC && !target->has_gap;
	return whole && !member_of(status, replace->old_member, &replace->old_uuid) ? REPLACE_DONE : REPLACE_GOES_ON;
}
