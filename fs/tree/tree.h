/* The copy-on-write B+tree: look up, put, delete, walk.  Both trees are of this kind.
 *
 * All functions are called with fs->lock held and may return TREE_MISS (see fs/txn.h); they have changed nothing then. */
#ifndef FS_TREE_H
#define FS_TREE_H

#include "fs/format.h"

#include "fs/tree/node.h"

#include <stddef.h>

struct fs;
struct tree;

/* Not an errno: a node is not in memory; op_retry loads it. */
#define TREE_MISS (-4095)

struct tree *fs_file_tree(struct fs *fs);
struct tree *fs_system_tree(struct fs *fs);

static inline struct key key_make(uint64_t object, uint8_t type, uint64_t offset)
{
	return (struct key){ .object = object, .type = type, .offset = offset };
}

/* In a salvage mount what cannot be read gives -EIO: a key that lies in a hollow node and is not known, or a step over such a node.
 * Objects that were made after the root's commit have nothing there that is unknown. */

/* An item found: `value` points into the node and is valid until the lock is dropped or the tree is changed. */
struct item {
	struct key key;
	const void *value;
	unsigned bytes;
};

/* The item with exactly this key. -ENOENT. */
int tree_lookup(struct fs *fs, struct tree *tree, const struct key *key, struct item *ret_item);
/* The first item with a key ≥ `from` (and ≤ `to` if not NULL): -ENOENT. */
int tree_next(struct fs *fs, struct tree *tree, const struct key *from, const struct key *to, struct item *ret_item);
/* The same over what is unknown: says if there was such. */
int tree_next_known(struct fs *fs, struct tree *tree, const struct key *from, const struct key *to, struct item *ret_item,
	bool *ret_unknown);
/* Is anything between these two keys unknown? 1 or 0. */
int tree_unknown(struct fs *fs, struct tree *tree, const struct key *from, const struct key *to);
/* Is the node hollow in which the key lies, or would? 1 or 0. */
int tree_hollow(struct fs *fs, struct tree *tree, const struct key *key);
/* The last item with a key ≤ `from` (and ≥ `to` if not NULL): -ENOENT. */
int tree_prev(struct fs *fs, struct tree *tree, const struct key *from, const struct key *to, struct item *ret_item);

/* Makes the path to where `key` is or would be changeable in the open transaction. */
int tree_prepare(struct fs *fs, struct tree *tree, const struct key *key);
/* Inserts or replaces; `key` has been prepared since the lock was taken. 0 or -ENOMEM. */
int tree_put(struct fs *fs, struct tree *tree, const struct key *key, const void *value, unsigned bytes);
/* Deletes; prepared as well; the item must exist. What an extent item's record or a value refers to is the caller's (see record.h). */
int tree_delete(struct fs *fs, struct tree *tree, const struct key *key);

/* Takes the node of `level` that is responsible for `key` out of the tree if it lies at `at`, with all below it; its own blocks are
 * freed, those of what it held are not. For repair. May TREE_MISS. */
int tree_cut(struct fs *fs, struct tree *tree, const struct key *key, unsigned level, address at);

/* The pointer of the node of `level` that is responsible for `key`: -ENOENT if it is dirty, or the tree is lower. */
int tree_node_pointer(struct fs *fs, struct tree *tree, const struct key *key, unsigned level, struct disk_pointer *ret_pointer);
/* Makes that node changeable (so that the commit gives it a new place) if it still lies at `at`. */
int tree_touch(struct fs *fs, struct tree *tree, const struct key *key, unsigned level, address at);

#endif
