/* What a scrub has found, in all and by member.
 *
 * Members are named by their UUIDs, not by their indexes: what was found on a disk stays that disk's when it leaves, and whoever gets its
 * index has none of it.  A disk that left is still in the list, and for those who show it a former member.
 *
 * A unit is counted for its member if that could not read it, if something that lives there did not verify, or if it is parity and all
 * that it was made of did verify where they disagree.  Where parity disagrees with blocks in which nothing lives there is nothing to tell
 * which of them is wrong, and so it is where what parity gives of a missing member does not verify: if nothing else is wrong in such a
 * row, it is `unclear`, and no member's.  A member that is missing, or is being filled, has nothing counted. */
#ifndef FS_SCRUB_RESULT_H
#define FS_SCRUB_RESULT_H

#include "base/uuid.h"
#include "raid/layout.h"

struct scrub_units { struct uuid member; uint64_t units; };

/* No padding: compared with memcmp. */
struct scrub_result {
	int64_t began_ns, ended_ns;      /* the clock's; ended 0: not yet */
	uint64_t rows;                   /* looked at */
	uint64_t damaged;                /* rows in which something was wrong, or could not be read: healed or being mended, … */
	uint64_t unreadable;             /* … but for so many records, which even parity could not give back */
	uint64_t tree_errors;            /* tree nodes that could not be read: what they lead to was not verified */
	uint64_t unclear;                /* of `damaged`: it cannot be told whose unit was wrong */
	struct scrub_units members[MEMBERS_MAX]; /* those with units that were wrong, in the order of their UUIDs; zeros behind them */
};

/* Adds units of a member, one of each row at most, whose rows are in `damaged` already.  Where there is no room (more disks than an array
 * has at a time), their rows become unclear. */
void scrub_result_add(struct scrub_result *result, const struct uuid *member, uint64_t units);
uint64_t scrub_result_units(const struct scrub_result *result, const struct uuid *member);
/* How many of `members` are used. */
unsigned scrub_result_members(const struct scrub_result *result);
/* Does it make sense?  Members are in order and have units; no count is more than the rows damaged, and these are all accounted for. */
bool scrub_result_valid(const struct scrub_result *result);

#endif
