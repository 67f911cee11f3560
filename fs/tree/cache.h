/* Nodes in memory.
 *
 * A node is in one of these states:
 *   dirty    its txn is the tree's open one: changeable in place; reached from its parent's branch value (memory
 *            reference) or from the tree's root;
 *   frozen   its txn is being committed: never changed again, except that the commit turns references to placed
 *            children and records into pointers (commit.c); a change copies it first (tree_prepare);
 *   clean    placed on the disk (has a pointer, holds no reference to memory): found in the cache by address and tag.
 * In a salvage mount a node that cannot be read is there all the same, hollow: without what it held on the disk, which is
 * unknown, and may have what a replay of the intent log puts there.
 * References: a parent's memory reference, a tree's root, the commit's list and the cache each hold one; all are counted and
 * changed under fs->lock.  The cache drops clean nodes that nobody else holds, least recently used first, when it is
 * over its limit; that happens when a node is added by op_retry and when a commit ends, never in the middle of an operation's
 * body. */
#ifndef FS_CACHE_H
#define FS_CACHE_H

#include "base/list.h"
#include "fs/format.h"

#include <stdbool.h>
#include <stddef.h>

struct fs;

struct node {
	struct list lru;                 /* in the cache, else alone */
	struct node *hash_next;
	unsigned refs;
	uint64_t txn;
	uint8_t tree, level;
	bool placed;                     /* pointer is valid */
	bool cached;
	bool hollow;
	int64_t hollow_since_ns;         /* of one in the cache: it is tried again after a while */
	unsigned memory_refs;            /* items that refer to a child node or a record in memory */
	struct key bound;                /* its separator in its parent, noted by the commit: leads to it even if it is empty */
	struct disk_pointer pointer;
	uint8_t *image;                  /* NODE_BYTES */
};

/* What to load, when a function returned TREE_MISS. */
struct tree_miss {
	struct disk_pointer pointer;
	uint8_t tree, level;
	bool more;                       /* of tree_lookup, tree_next, tree_prev: there are keys behind all that lie below the node … */
	struct key behind;               /* … and they are not below this one */
};

struct cache {
	struct node **buckets;
	size_t bucket_count;             /* a power of two */
	struct list lru;                 /* oldest first */
	size_t node_count, node_limit;
};

int cache_init(struct cache *cache, uint64_t bytes);
void cache_free(struct fs *fs);

struct node *node_new(struct fs *fs, uint8_t tree, uint8_t level);      /* dirty in the tree's transaction; one reference */
struct node *node_clone(struct fs *fs, struct node *node);              /* as node_new; shares children and records */
struct node *node_ref(struct node *node);
void node_unref(struct fs *fs, struct node *node);

/* Is the item a reference to a record in memory? */
bool item_is_dirty_extent(const struct key *key, const void *value);
/* The first item from `from` on that refers to a child or a record in memory; there must be one. */
unsigned image_next_reference(const uint8_t *image, unsigned from);
/* The child that a branch value refers to in memory, or NULL. */
struct node *branch_child(const void *value);
void branch_set_child(void *value, struct node *child);

struct node *cache_find(struct fs *fs, const struct disk_pointer *pointer);
/* Adds a clean node (takes a reference), replacing a stale one at its address; then makes room if `evict`. */
void cache_add(struct fs *fs, struct node *node, bool evict);
/* Makes room. Not in the middle of an operation's body. */
void cache_trim(struct fs *fs);
/* Forgets a node that is no longer part of the newest tree. */
void cache_forget(struct fs *fs, struct node *node);

#endif
