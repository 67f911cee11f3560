/* One change of a range of bytes of an object, inside one operation: written, or cut out.  Private to data_*.c.
 *
 * Units that are wholly inside the range get a fresh record each.  The (at most two) units at its edges are planned
 * block by block, by the rules of fs/tree/record.h.  Where a block that changes in part lies on the disk only, its record has to be read
 * first, without the lock: edit_apply then returns EDIT_READ, and the operation is ended, edit_read_old called, and the
 * operation begun again; the plan is made anew and finds what was read if it is still what the tree names.  -EIO if it
 * cannot be read.
 *
 * How records come out (so that streams and files that grow bit by bit give whole-unit records, and nothing is read or written for
 * blocks that do not change):
 *  - a dirty record that may be changed in place is, when the change adds no block to it;
 *  - blocks that are written join each other and the dirty unsplit records beside them in their unit, in one new record;
 *  - a record on the disk is cut: what stays of it is an EXTENT_REST; but at the file's end it joins too, so that what grows
 *    does not come to pieces;
 *  - a dirty record that may not be changed any more is copied, split if it changes in part, so that its blocks die singly. */
#ifndef FS_DATA_EDIT_H
#define FS_DATA_EDIT_H

#include "fs/data/data.h"

#define EDIT_READ 1
#define EDIT_UNITS_MAX 64u
#define EDIT_OLD_MAX (2 * UNIT_BLOCKS)

struct edit_plan;

struct edit_old {
	struct record_place place;
	uint8_t *bytes;                  /* UNIT_BYTES, or NULL: slot not used yet */
	bool wanted, ready;
	bool lost;                       /* it cannot be read */
};

struct data_edit {
	uint64_t ino;
	uint64_t start_bytes, end_bytes; /* at most EDIT_UNITS_MAX units; a cut: within one unit */
	const uint8_t *source;           /* the bytes; NULL: a cut, whole blocks go and edges become zeros */
	struct iobuf *keep;              /* that they lie in, in whole blocks, and may stay in; or NULL: they are to be copied */
	bool tail;                       /* of a cut: nothing behind it stays */

	struct share *share;
	struct record *fresh[EDIT_UNITS_MAX];    /* of each unit touched, for the blocks touched; none for a cut */
	struct edit_plan *plans;
	struct edit_old old[EDIT_OLD_MAX];
	struct store_pin pin;
	bool pinned;
};

/* Makes the fresh records and fills them. No lock held. -ENOMEM. */
int edit_init(struct data_edit *edit);
/* The change, as (the end of) an operation's body: fs->lock and the inode's lock (exclusively) held, the inode loaded and
 * prepared. Changes inode->blocks; size and times are the caller's, who stores the inode after. 0, EDIT_READ, TREE_MISS, -errno. */
int edit_apply(struct fs *fs, struct data_edit *edit, struct inode *inode);
/* After EDIT_READ, without fs->lock. */
int edit_read_old(struct fs *fs, struct data_edit *edit);
void edit_free(struct fs *fs, struct data_edit *edit);

#endif
