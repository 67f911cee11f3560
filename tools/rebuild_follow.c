/* How far a member is that is replaced or leaves: see the header.
 *
 * The new member is a replacement while its columns come and until it votes, then a voter beside the old one, then alone in its place; when
 * the old one is out, it begins to vote and takes the place in one step (doc/membership.md, "Procedures").  Between two steps no job runs
 * although all is well: so the roles tell, and not the job.  One that leaves has columns until the job has ended, and is a member until
 * those who got them vote. */
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

uint32_t leaving_targets(const struct control_status *status, uint32_t member)
{
	return status->job.running && status->job.source == member ? status->job.targets : 0;
}

enum replace_state leaving_follow(const struct leaving *leaving, const struct control_status *status)
{
	const struct control_member *member = member_of(status, leaving->member, &leaving->uuid);
	uint32_t targets = leaving_targets(status, leaving->member);

	if (!member)
		return REPLACE_DONE;
	if (member->has_columns && !targets)
		return REPLACE_STOPPED;
	for (uint32_t i = 0; i < status->member_count; i++)
		if ((targets >> i & 1) && status->members[i].state == MEMBER_OUT)
			return REPLACE_OUT;
	return REPLACE_GOES_ON;
}
