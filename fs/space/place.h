/* Dirty records of file data get their place: see place.c. */
#ifndef FS_PLACE_H
#define FS_PLACE_H

#include "fs/space/pack.h"

/* Places up to `bytes_max` of the open transaction's dirty records: 1 if there were any, else 0. No lock held. */
int place_early(struct fs *fs, uint64_t bytes_max);
/* Places all that are left of a frozen one. */
int place_all(struct fs *fs, struct txn *txn);

/* For the commit's last rows, which small data shares with nodes: seals the record
 * at `memory` with indexes from `index` on (as many as it has pieces) and notes nonce, index and tags in it. */
void place_seal_one(const struct seal_batch *batch, uint32_t index, struct record *record, uint8_t *memory);
/* Notes it as an owner of its place in the pack. */
int place_own(struct pack *pack, const struct record *record, unsigned unit, unsigned block);

#endif
