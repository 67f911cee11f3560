/* A run of rows in memory, column by column: read with one long request a member, and verified there.
 *
 * For those who go through all rows in the order of addresses (catching up, scrub): a record of each at a time would wait for each
 * disk in turn.  It only looks; what does not verify is left to the ordinary ways of reading and mending. */
#ifndef FS_ROWRUN_H
#define FS_ROWRUN_H

#include "fs/space/rowlive.h"

struct rowrun {
	const struct band *band;
	uint64_t row;
	unsigned rows;
	uint32_t have;                   /* bit by column: units[column] is as it lies there, or was made */
	struct iobuf *units[MEMBERS_MAX];
};

/* Reads the columns given (bit by column): those that could be read are in `have`.  -ENOMEM, -EINVAL.
 * rowrun_free in any case. */
int rowrun_read(struct fs *fs, const struct band *band, uint64_t row, unsigned rows, uint32_t columns, struct rowrun *ret_run);
void rowrun_free(struct rowrun *run);
/* Makes a column that it has not from all others, which it must have.  -ENOMEM. */
int rowrun_make(struct rowrun *run, unsigned column);
/* Blocks of a unit (bit by block) in which the XOR of all columns of the row is not zero.  It must have all.  `i` counts from the run's
 * first row. */
unsigned rowrun_parity_wrong(const struct rowrun *run, unsigned i);
static inline bool rowrun_parity_right(const struct rowrun *run, unsigned i) { return rowrun_parity_wrong(run, i) == 0; }
/* Opens what is in the list from these bytes; entries that lie elsewhere, or not on one of `columns` (bit by column), are passed over.
 * The number of those that do not verify, or whose column it has not; ret_bad, if not NULL, is set for each of them ([list->count],
 * filled). */
unsigned rowrun_verify(struct fs *fs, const struct rowrun *run, const struct live_list *list, uint32_t columns, bool *ret_bad);
#define ROWRUN_ALL UINT32_MAX

#endif
