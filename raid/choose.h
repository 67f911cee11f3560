/* Which root counts, and which members are in sync with it.
 *
 * A pure function, the most tested one of all: see design §5 and tests/unit/test_choose.c, which
 * enumerates the histories that it must survive (a port of the model).  Roots given here have been
 * verified (tag, and array UUID). */
#ifndef RAID_CHOOSE_H
#define RAID_CHOOSE_H

#include "raid/ring.h"

struct choice_member {
	bool present;            /* readable, label of this array, in the configuration by its UUID */
	bool has_root;           /* at least one root of its ring verified */
	struct root_header root; /* its newest verified root, by (term, generation) */
	uint64_t promised_term;  /* highest term in a verified promise, 0 for none */
};

enum choice_result {
	CHOICE_OK,
	CHOICE_NO_ROOT,          /* no present member has a root that verifies */
	CHOICE_DIVERGED,         /* roots of the highest term with different mount ids */
	CHOICE_TOO_FEW,          /* more than one voter is absent or out of sync */
};

struct choice {
	enum choice_result result;
	unsigned root_member;    /* a member whose newest root is the chosen one */
	uint64_t next_term;      /* one above the highest term in any present ring or promise */
	uint32_t in_sync;        /* bit by member */
	uint32_t level;          /* of these, those whose newest root is the chosen one */
	uint32_t absent;         /* voters that are not present */
	uint32_t stale;          /* voters present but not in sync */
	struct root_member members[MEMBERS_MAX];  /* states and gaps that the opening root shall have */
	uint32_t same_mount, other_mounts;        /* members whose newest root has the highest term, by bit: of the chosen root's mount, or not */
};

/* `voters` has a bit for each member that votes in the chosen root's configuration (a caller that must
 * read it first may call with 0, which asks for no quorum, and then again). Which members' columns
 * must be there is the caller's to check (array_open).  All of ret_choice is filled but after
 * CHOICE_NO_ROOT (then only next_term), so that a read-only mount can go on after CHOICE_TOO_FEW.  A
 * member that is filling in the chosen root comes back as out, to be returned by array_member_return. */
void choose_root(const struct choice_member members[MEMBERS_MAX], unsigned count, uint32_t voters, struct choice *ret_choice);

/* The `from` of the gap of a member that comes back: as the array has it, or lower if the member's own
 * newest verified root (NULL: it has none) vouches for less.  `config_version`: the one in force. */
uint64_t gap_from_of_return(uint64_t from, const struct root_header *own, unsigned member, uint64_t config_version);

/* Picks the newest of a member's verified roots: true if (a) comes after (b). */
bool root_newer(const struct root_header *a, const struct root_header *b);

#endif
