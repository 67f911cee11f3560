/* Extent items as bytes: is one valid, and what is left of it when a part goes.  Pure.
 *
 * An item may lose any of its blocks.  Of an EXTENT_DATA item stay the records before and behind, and of a record that is cut what is left
 * of it, on either side, as an EXTENT_REST.
 * EXTENT_DIRTY items exist in memory only and are not handled here. */
#ifndef FS_EXTENT_H
#define FS_EXTENT_H

#include "fs/format.h"

#define FILE_BLOCKS_MAX ((UINT64_C(1) << 51) - UNIT_BLOCKS)
#define EXTENT_ITEM_BYTES_MAX EXTENT_BYTES(EXTENT_RECORDS_MAX)
#define EXTENT_RESERVED_BLOCKS_MAX UINT32_MAX

/* Does the item (of kind EXTENT_DATA, EXTENT_RESERVED or EXTENT_REST) make sense by itself: its counts agree with each other and
 * with its size, no record crosses a unit of the file or of the array, and nothing is used that is not known? */
bool extent_item_valid(const struct key *key, const void *value, unsigned bytes);

/* The following want a valid item. */

/* What is left of an item: the keys of the parts are `at` blocks higher than the item's. */
#define EXTENT_LEFT_MAX 4u
struct extent_left {
	unsigned count;
	struct { uint64_t at; unsigned bytes; uint8_t value[EXTENT_ITEM_BYTES_MAX]; } parts[EXTENT_LEFT_MAX];
};

/* Where the parts begin that are left of the item when its blocks [from, to) go (from < to ≤ the item's). Returns how many there are. */
unsigned extent_left_at(const struct extent_item *item, uint64_t from, uint64_t to, uint64_t ret_at[EXTENT_LEFT_MAX]);
/* The parts themselves. */
void extent_left(const struct extent_item *item, uint64_t from, uint64_t to, struct extent_left *ret_left);
/* An EXTENT_RESERVED item. */
void extent_reserved(uint32_t blocks, struct extent_item *ret_item);

#endif
