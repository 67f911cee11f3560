/* Whole rows in the making: units are filled with sealed records, parity is added, and the rows are written.
 *
 * pack_begin takes rows for a number of units, in as few runs as free space allows; each unit then has an address and memory, of
 * undefined content.  pack_own says of each sealed record where it lies; what no owner has becomes zero (padding) when the run is
 * written.  pack_write writes all runs in parallel. */
#ifndef FS_PACK_H
#define FS_PACK_H

#include "fs/core.h"

struct pack_run {
	struct rows rows;
	struct iobuf *data;              /* rows.count × data units */
	unsigned first_unit, units;      /* of the pack */
	struct row_owner *owners; size_t owner_count, owner_room;
	int result;
};

struct pack {
	struct fs *fs;
	struct pack_run *runs; size_t run_count, run_room;
	unsigned units;                  /* that there is room for: at least as many as asked for */
};

/* No lock held (it reads bitmaps).  -ENOSPC, -ENOMEM, -EIO: nothing is taken then. */
int pack_begin(struct fs *fs, unsigned units, struct pack *ret_pack);
struct pack_run *pack_find(struct pack *pack, unsigned unit);
address pack_address(struct pack *pack, unsigned unit);
uint8_t *pack_memory(struct pack *pack, unsigned unit);
/* Notes an owner of `blocks` blocks from block `block` of the unit; joins the one before when it goes on from it. In the
 * order of addresses. */
int pack_own(struct pack *pack, unsigned unit, unsigned block, unsigned blocks, const struct row_owner *owner);
int pack_write(struct pack *pack);
/* One of its runs; whether that worked is run->result.  For callers that seal and write in one go. */
void pack_write_run(struct pack *pack, struct pack_run *run);
/* Lock held: hands the runs, with their owners, to the transaction (as `system` rows or not). */
int pack_hand_over(struct pack *pack, struct run **runs, size_t *count, size_t *room, bool system);
/* Frees memory; rows that were not handed over are given back (lock NOT held). */
void pack_end(struct pack *pack);

#endif
