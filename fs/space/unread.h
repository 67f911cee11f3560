/* Nodes that cannot be read, as those meet them who go through all rows: which one it was, and, for those who go on behind it, which ones
 * are known already, so that none is tried and told for each record that it leads to. */
#ifndef FS_UNREAD_H
#define FS_UNREAD_H

#include "fs/core.h"

/* As op_retry, for operations that only look.  When the node cannot be read, fs->obstacle says which one and why, and it is
 * not tried again before that is reset.  With `unread` (or NULL) nor is one known from before, and a new one is told and noted. */
bool unread_retry(struct op *op, struct unread *unread, int *r);

#endif
