/* The image of a tree node: items in the order of their keys.  Pure functions on NODE_BYTES of memory; fuzzed.
 *
 * The same layout is used in memory and on the disk, except that in memory a branch value or a dirty extent may carry a
 * reference to an object in memory (fs/tree/cache.h, fs/tree/record.h), and values may leave gaps between them. */
#ifndef FS_NODE_H
#define FS_NODE_H

#include "base/bytes.h"
#include "fs/format.h"

#include <stddef.h>

void image_init(uint8_t *image, uint8_t tree, uint8_t level);
unsigned image_count(const uint8_t *image);
unsigned image_level(const uint8_t *image);
struct key image_key(const uint8_t *image, unsigned i);
void *image_value(const uint8_t *image, unsigned i, unsigned *ret_bytes);
void image_set_key(uint8_t *image, unsigned i, const struct key *key);

int key_compare(const struct key *a, const struct key *b);
struct disk_key key_to_disk(const struct key *key);
struct key key_from_disk(const struct disk_key *disk_key);

/* Index of the first item with a key ≥ `key`; *ret_found tells if it is equal. */
unsigned image_find(const uint8_t *image, const struct key *key, bool *ret_found);
/* Index of the child to follow for `key` in a branch (which is never empty). */
unsigned image_child(const uint8_t *image, const struct key *key);

/* Bytes that are left for one more item's head and value together. */
unsigned image_room(const uint8_t *image);
/* Inserts before i: false if there is no room. */
bool image_insert(uint8_t *image, unsigned i, const struct key *key, const void *value, unsigned bytes);
void image_remove(uint8_t *image, unsigned i);
/* Moves values together so that there is no gap, and zeroes what is free. */
void image_compact(uint8_t *image);
/* Moves items [from, count) to the end of `right`, which has room for them. */
void image_move_tail(uint8_t *left, unsigned from, uint8_t *right);
/* Where to split so that both halves hold about as many bytes. */
unsigned image_split_point(const uint8_t *image);

/* What a node read from a disk must satisfy by itself: magic, tree, level, offsets inside, no overlap, keys in strict order, item
 * types known (-EPROTONOSUPPORT for a reserved one), value sizes right for their type, zero where zero is due.  Its generation
 * is not looked at: it makes sense only with a root (the walk of check_tree.c compares them). 0, -EBADMSG or -EPROTONOSUPPORT. */
int image_validate(const uint8_t *image, uint8_t tree, uint8_t level);

#endif
