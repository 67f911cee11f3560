/* Keyless rebuild: the missing member of an array is made again as itself, by XOR of all rows, with no key and while nothing is
 * mounted (doc/membership.md, "Keyless rebuild"; the rules K1 to K4 are argued at the head of raid/array_keyless.c).
 *
 * The caller has locked all members and the target, so that no mount and no other tool writes any of them meanwhile.
 *
 * The new member has no log records, and its label has no MAC.  So the array has its redundancy back only when it has been mounted
 * read-write once: array_keyless and array_complete_labels (raid/array.h). */
#ifndef RAID_ARRAY_KEYLESS_H
#define RAID_ARRAY_KEYLESS_H

#include "raid/array.h"

/* What is to be made, from what. */
struct keyless_plan {
	unsigned member;                 /* its index in the configuration … */
	struct uuid uuid;                /* … and its UUID */
	uint8_t state;                   /* enum member_state: what the newest root says of it */
	uint64_t size_bytes;             /* the least that the target must have */
	uint64_t copy_bytes;             /* of its columns: what is made by XOR */
	struct config *config;
	struct disk *sources[MEMBERS_MAX];   /* by index; the probe's; NULL: not given */
	struct label label;              /* for the new member, with its UUID and an empty MAC */
	struct root_header root;
	uint8_t record[ROOT_BYTES];      /* that root, whole */
};

/* K1: finds out which member is missing, and that it can be made of the others.  Writes nothing; the plan refers to the probe.
 * FAIL_USAGE: none is missing; FAIL_TOO_FEW: more than one is, or one of those given cannot be used now (what to do is said);
 * FAIL_NOT_MEMBER, FAIL_MIXED, FAIL_VERSION, FAIL_DAMAGED, FAIL_SYSTEM. */
int keyless_plan(const struct probe *probe, struct keyless_plan **ret_plan, struct fail *fail);
void keyless_plan_free(struct keyless_plan *plan);

/* May the target be overwritten, as far as this array is concerned?  FAIL_TWICE: it is one of the sources; FAIL_TOO_SMALL;
 * FAIL_SIGNATURE: it is a member of another array, or another one of this array.  With `force` the missing member's own old disk is
 * taken, and one on which only damaged labels are. */
int keyless_check_target(const struct keyless_plan *plan, struct disk *target, bool force, struct fail *fail);

struct keyless_options {
	int64_t io_timeout_ms;           /* 0: 30 s */
	/* Called between two steps of the copying: false stops it (-ECANCELED).  May be NULL. */
	bool (*progress)(void *ctx, uint64_t done_bytes, uint64_t total_bytes);
	void *ctx;
};

/* K2: makes the member on the target, which passed keyless_check_target.  On any failure the target is no member, and can be tried
 * again; but for -EIO when the label itself was written: then it may be one, and is complete. */
int keyless_rebuild(const struct keyless_plan *plan, struct disk *target, const struct keyless_options *options, struct fail *fail);

/* raid/array_keyless_copy.c: the units of all rows, not flushed. */
int keyless_copy(const struct keyless_plan *plan, struct disk *target, const struct keyless_options *options, struct fail *fail);

#endif
