/* Operations and transactions: how code in fs/ looks at the trees and changes them.
 *
 * All in-memory state of both trees is protected by one lock, fs->lock, which is only ever held over work in memory.
 * When an operation needs a node that is not in memory, the tree function returns TREE_MISS; op_retry drops the lock,
 * reads the node (no lock held), takes the lock again and says "again".  So an operation is written as
 *
 *	struct op op;
 *	int r = op_begin(fs, &op, OP_MODIFY, blocks);
 *	if (r < 0)
 *		return r;
 *	do
 *		r = rename_locked(fs, …);
 *	while (op_retry(&op, &r));
 *	op_end(&op);
 *	return r;
 *
 * and rename_locked must be able to start over: it looks everything up and calls tree_prepare for every key that it is
 * going to put or delete BEFORE its first tree_put or tree_delete.  After that nothing can miss until the lock is dropped.
 *
 * A transaction is the set of operations between two commits, numbered by the generation that the commit will make. An
 * operation lies whole within one. Commit freezes the open transaction in O(1): nodes of a frozen one are never
 * changed again, an operation of the next that changes one copies it first (tree_prepare does). */
#ifndef FS_TXN_H
#define FS_TXN_H

#include "fs/fs.h"

struct tree_miss;

enum op_kind {
	OP_READ,
	OP_MODIFY,       /* takes space: waits while too much is dirty, -ENOSPC when full, -EROFS */
	OP_FILL,         /* likewise, into reserved space: also has what was kept for that */
	OP_RENAME,       /* likewise, takes next to nothing: also has a small part of the reserve */
	OP_FREE,         /* gives space back: never -ENOSPC (uses the reserve), but waits for relocation when rows are very few */
	OP_RELOCATE,     /* of relocation itself: waits for memory only */
};

struct op {
	struct fs *fs;
	enum op_kind kind;
};

/* Blocks of metadata that any single operation may dirty, for OP_MODIFY's `blocks` beside its data. */
#define OP_METADATA_BLOCKS 32u

/* Takes fs->lock.  `blocks`: most blocks of data that it makes dirty. */
int op_begin(struct fs *fs, struct op *op, enum op_kind kind, uint64_t blocks);
/* True: call the body again. For a body's result TREE_MISS it loads the node; if that fails, `*r` holds the error and it
 * returns false. */
bool op_retry(struct op *op, int *r);
/* Drops fs->lock. */
void op_end(struct op *op);

/* The wall clock for mtime and friends. */
int64_t fs_now_ns(struct fs *fs);
/* A user reads or writes data: work in the background leaves time for such. */
void op_by_user(struct fs *fs);

#endif
