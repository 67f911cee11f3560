/* A frozen tree's dirty nodes become sealed units in rows. */
#ifndef FS_SERIALIZE_H
#define FS_SERIALIZE_H

#include "fs/space/pack.h"

struct node_list { struct node **nodes; size_t count, room; };

/* The nodes of one tree that belong to one transaction, by level, in the order of keys; a reference to each. */
struct dirty_nodes {
	struct node_list level[NODE_LEVEL_MAX + 1];
	size_t count;
};

/* Lock held. */
int serialize_collect(struct fs *fs, struct node *root, uint64_t txn, struct dirty_nodes *ret_nodes);
/* Seals them in units [first_unit, …) of the pack, children before parents, and gives each its pointer. No lock held. Every record that
 * they hold has an address. */
int serialize_nodes(struct fs *fs, struct dirty_nodes *nodes, uint64_t generation, struct pack *pack, unsigned first_unit);
/* When the pack has been written: the nodes become clean. Lock held. */
void serialize_finish(struct fs *fs, struct dirty_nodes *nodes, uint64_t generation);
/* Gives up the references. Lock held. */
void serialize_release(struct fs *fs, struct dirty_nodes *nodes);

#endif
