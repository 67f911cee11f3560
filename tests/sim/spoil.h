/* Two faults in one row: a place that parity cannot bring back. */
#ifndef TESTS_SIM_SPOIL_H
#define TESTS_SIM_SPOIL_H

#include "fs/core.h"
#include "tests/lib/simfs.h"

/* Spoils the unit there, and its row's parity. The filesystem is open. */
void spoil_unit(struct simfs *sim, address at);
/* The address of the n-th node of a level below that pointer, in the order of keys; 0: there is none. */
address spoil_find_node(struct fs *fs, const struct disk_pointer *p, uint8_t tree, uint8_t level, uint8_t wanted, unsigned *number);
/* The address of the node of `level` that is responsible for the key. */
address spoil_node_of(struct fs *fs, struct tree *tree, struct key key, unsigned level);
/* The address of the record that has this block of the file. */
address spoil_data_of(struct fs *fs, uint64_t ino, uint64_t block);

#endif
