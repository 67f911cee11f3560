/* The plan for one unit that a change covers in part (see data_edit.h): what becomes of each of its blocks.
 * Private to data_edit.c and data_plan.c; with fs->lock held. */
#ifndef FS_DATA_PLAN_H
#define FS_DATA_PLAN_H

#include "fs/data/data_edit.h"

enum plan_state { STATE_HOLE, STATE_RESERVED, STATE_DISK, STATE_DIRTY };

enum plan_fate {
	FATE_STAY,               /* not looked at any more */
	FATE_DROP,               /* becomes a hole */
	FATE_IN_PLACE,           /* changed in its dirty record */
	FATE_JOIN,               /* may become one record with its neighbours of this fate */
	FATE_SINGLE,             /* becomes a record of one block */
	FATE_SPLIT,              /* becomes, with the rest of its old record, a split record */
};

struct plan_block {
	enum plan_state state;
	enum plan_fate fate;
	bool touched;            /* by the change; `whole`: none of what lives in it stays */
	bool whole;
	bool must;               /* has to be written anew, or changed in place */
	bool leaves;             /* its item goes, since a new record has it */
	uint8_t first, count;    /* of its record, in blocks of the unit */
	struct record *record;   /* DIRTY */
	bool writable, split;
	bool lost;               /* its record cannot be read */
	struct record_place place;       /* DISK */
	const uint8_t *old;      /* its content; NULL: zeros */
};

struct plan_out {
	unsigned first, blocks;  /* in the unit */
	bool split;
	struct record *record;
};

struct edit_plan {
	bool active;
	uint64_t block;          /* the unit's first */
	struct plan_block blocks[UNIT_BLOCKS];
	unsigned out_count;
	struct plan_out out[UNIT_BLOCKS];
	struct record *fresh;
};

/* Looks at the unit and decides; marks what must be read in edit->old. Changes nothing. TREE_MISS, -EUCLEAN, -ENOMEM;
 * -EIO where old content is needed that was found to be unreadable. */
int plan_unit(struct fs *fs, struct data_edit *edit, uint64_t size_bytes, uint64_t unit, struct edit_plan *plan);
/* Makes and fills the new records. -ENOMEM. */
int plan_fill(struct data_edit *edit, struct edit_plan *plan);
void plan_change_in_place(const struct data_edit *edit, const struct edit_plan *plan);
void plan_reset(struct fs *fs, struct edit_plan *plan);

#endif
