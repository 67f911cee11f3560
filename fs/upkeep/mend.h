/* Rows that are known to be damaged are made whole again: see mend.c. */
#ifndef FS_MEND_H
#define FS_MEND_H

#include "fs/space/rowlive.h"

/* Makes parity of the row right if it is not.  `list` has what lives in the row.  0, also when nothing was written since some of it
 * does not verify as it lies there (whoever reads it heals it); -EAGAIN when an older generation, or a pin, still has something in
 * the row: it can be made after the next commit.  No lock held, under the caller's pin. */
int mend_parity(struct fs *fs, const struct band *band, uint64_t row, const struct live_list *list);
/* The unit of the column is made from the others, if it differs or cannot be read, and everything that lives in the row verifies with it
 * (-EAGAIN as above); else parity, as above.  `list` has all that lives in the row, each of which was healed as far as it can be.  -EIO
 * when two units of the row cannot be read at one place, or something cannot be read and not all of the rest verifies: nothing was done. */
int mend_column(struct fs *fs, const struct band *band, uint64_t row, unsigned column, const struct live_list *list);
/* Verifies everything that lives in the row, and then makes units that cannot be read, and its parity, right, as above; -EAGAIN
 * also for a row to which only the next commit's row items lead.  -ENOENT if nothing lives in it. */
int mend_row(struct fs *fs, const struct band *band, uint64_t row);
/* Mends one of the units noted by array_note_damage.  1: there may be more to do now; 0: nothing at the moment; -errno.  No lock
 * held. */
int mend_step(struct fs *fs);

#endif
