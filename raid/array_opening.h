/* Private to raid/array_open.c and array_build.c: what has been found out so far, while an array is opened.  The numbers are those of the
 * steps at the head of array_open.c. */
#ifndef RAID_ARRAY_OPENING_H
#define RAID_ARRAY_OPENING_H

#include "raid/array_impl.h"

/* What a member that was given turns out to be. */
struct candidate {
	struct probe_member *probe;
	bool labelled;                   /* `label` says which member this is */
	bool genuine;                    /* … and its MAC holds */
	struct label label;
	bool readable;                   /* ring and promises could be read */
	struct scan scan;
	int index;                       /* in the configuration, or -1 */
};

struct opening {
	const struct array_auth *auth;
	const struct array_options *options;
	struct fail *fail;
	unsigned count;
	struct candidate *candidates;
	struct config *config;           /* (3); owned, until the array takes it */
	struct choice_member members[MEMBERS_MAX];       /* (4); by index in the configuration */
	struct choice choice;            /* (4) */
};

static inline const char *path_of(const struct candidate *c)
{
	return c->probe->disk->name;
}

/* The candidate that is member `index` of the configuration, or NULL. */
static inline struct candidate *candidate_of(const struct opening *o, unsigned index)
{
	for (unsigned i = 0; i < o->count; i++)
		if (o->candidates[i].index == (int)index)
			return &o->candidates[i];
	return NULL;
}

/* ---- array_build.c ---- */

/* The array that the choice leaves, when (5) holds.  It takes the configuration, and the disks of its members from the probe; on failure
 * all stays as it is.  FAIL_SYSTEM; FAIL_VERSION: the label has a feature that this program does not know. */
int opening_build(struct opening *o, struct array **ret_array);

#endif
