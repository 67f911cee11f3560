/* Who may still take space: the reserve, ENOSPC and statfs (design §8).
 *
 * ENOSPC goes by count alone: live + dirty + reserved by fallocate + what is asked for must stay within capacity less the
 * reserve.  With what is reserved counts what its metadata may take, which only writes there can have (OP_FILL).  Blocks freed by
 * a transaction that is not durable yet count as live; if they would make the difference, the caller commits first.  A rename may go
 * beyond that by a small part of the reserve, so that it works where nothing can be added any more; names that grow end there, and what is
 * left of the reserve is for deleting.  Beside the count
 * there is a reserve of free rows: below it only OP_FREE, relocation and commits go on, and others wait for relocation to empty
 * sparse rows. */
#ifndef FS_SPACE_H
#define FS_SPACE_H

#include "fs/txn.h"

uint64_t space_reserve_blocks(const struct fs *fs);
/* Rows that stay free for commits and relocation. */
uint64_t space_reserve_rows(const struct fs *fs);
/* What must be free so that `blocks` can be reserved and, however full all else gets, be written. */
uint64_t space_to_reserve(uint64_t blocks);
/* Free rows left once everything dirty is written, in units that may not be full. */
int64_t space_rows_ahead(const struct fs *fs);
/* Lock held (dropped while waiting). 0, -ENOSPC or the error of a commit. */
int space_claim(struct fs *fs, enum op_kind kind, uint64_t blocks);
/* Free rows are few: relocation should run. */
bool space_rows_low(const struct fs *fs);

#endif
