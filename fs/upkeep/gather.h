/* What can be had of one unit of a row, for a member that lacks it: see gather.c. */
#ifndef FS_GATHER_H
#define FS_GATHER_H

#include "fs/space/rowlive.h"

/* Blocks of the unit, bit by block. */
struct gathered {
	unsigned right;                  /* as they should be, as far as anybody can tell */
	unsigned made;                   /* these, and what the others make where that cannot be said */
};
#define GATHERED_ALL ((1u << UNIT_BLOCKS) - 1)

/* Makes the unit of the column from the others, and from the records that live in it.  `list` has what lives in the row, each healed as far
 * as it can be; `lost`: not all of it can be read.  0, -ENOMEM.  Under the caller's pin and heal_lock. */
int gather_unit(struct fs *fs, const struct band *band, uint64_t row, unsigned column, const struct live_list *list, bool lost,
	struct iobuf *ret_unit, struct gathered *ret_gathered);
/* The next run of these blocks from *first on, which moves to where it begins: its length, or 0. */
unsigned gather_run(unsigned blocks, unsigned *first);

#endif
