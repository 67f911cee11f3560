/* Pending records: what a generation wrote or freed that its own bitmaps do not say (design §8, commit.c's C5). */
#ifndef FS_PENDING_H
#define FS_PENDING_H

#include "fs/space/pack.h"

/* How many records can list so many runs, system nodes and freed runs, whatever rows they come to lie on. */
unsigned pending_records(size_t runs, size_t nodes, size_t freed);
/* Fills and seals the chain in units [first_unit, first_unit + records) of the pack, which also holds the system nodes. */
int pending_write(struct fs *fs, const struct txn *txn, struct pack *pack, unsigned first_unit, unsigned records,
	struct disk_pointer *ret_head);
/* At open: reads the chain into fs->pending_runs, fs->pending_freed and fs->last_written. */
int pending_read(struct fs *fs, const struct disk_pointer *head, uint64_t generation);
/* Takes what one opened record of that chain says, by the bands of fs->config alone.  `owner_room` is 0 at the head of the
 * chain.  0, -EUCLEAN, -EPROTONOSUPPORT or -ENOMEM. */
int pending_take(struct fs *fs, const uint8_t image[UNIT_BYTES], uint64_t generation, size_t *owner_room, struct disk_pointer *ret_next);

#endif
