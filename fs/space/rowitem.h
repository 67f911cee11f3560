/* Row items: one for each run of rows written together, with `written` and the owners of its blocks.
 *
 * The items of a band do not overlap, and every row with a live bit that is in a bitmap is covered by one. With
 * fs->lock held; may TREE_MISS, then nothing that matters has changed. */
#ifndef FS_ROWITEM_H
#define FS_ROWITEM_H

#include "fs/core.h"

/* Does the item make sense by itself: a band and rows that can be numbered, owners in the order of blocks and inside the rows?
 * Pure. */
bool rows_item_valid(const struct key *key, const void *value, unsigned bytes);

/* Puts the items of a new run: cut so that none has more than ROW_OWNERS_MAX owners. */
int rowitem_put(struct fs *fs, const struct band *band, const struct run *run, uint64_t generation);
/* Cuts rows [row, row + count) out of the items that cover them. */
int rowitem_trim(struct fs *fs, const struct band *band, uint64_t row, unsigned count);
/* The item that covers `row`: -ENOENT if none does. */
int rowitem_find(struct fs *fs, const struct band *band, uint64_t row, struct item *ret_item);

#endif
