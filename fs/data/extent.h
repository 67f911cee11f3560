/* Extent items as bytes: is one valid, and what is left of it when a part goes.  Pure.
 *
 * A record is not cut: an EXTENT_DATA item may be cut only between two of its records (extent_cuttable); an EXTENT_RESERVED item
 * between any two blocks, and an EXTENT_REST too, which is what becomes of a record that must be cut and cannot be read.
 * EXTENT_DIRTY items exist in memory only and are not handled here. */
#ifndef FS_EXTENT_H
#define FS_EXTENT_H

#include "fs/format.h"

#define FILE_BLOCKS_MAX (UINT64_C(1) << 48)
#define EXTENT_ITEM_BYTES_MAX EXTENT_BYTES(EXTENT_RECORDS_MAX)
#define EXTENT_RESERVED_BLOCKS_MAX UINT32_MAX

/* Does the item (of kind EXTENT_DATA, EXTENT_RESERVED or EXTENT_REST) make sense by itself: its counts agree with each other and
 * with its size, no record crosses a unit of the file or of the array, and nothing is used that is not known? */
bool extent_item_valid(const struct key *key, const void *value, unsigned bytes);

/* The following want a valid item. */

/* May it be cut before its block `blocks` (0 < blocks < the item's)? */
bool extent_cuttable(const struct extent_item *item, uint64_t blocks);
/* Writes the item for its first `blocks` blocks, or for all but these, to `ret_value` (EXTENT_ITEM_BYTES_MAX), which is
 * not `item`; returns its size.  The first part keeps the key; the key of the other is `blocks` higher. */
unsigned extent_head(const struct extent_item *item, uint64_t blocks, void *ret_value);
unsigned extent_tail(const struct extent_item *item, uint64_t blocks, void *ret_value);
/* One record of an EXTENT_DATA item, which begins with it, as an EXTENT_REST. */
unsigned extent_rest(const struct extent_item *item, void *ret_value);
/* An EXTENT_RESERVED item. */
void extent_reserved(uint32_t blocks, struct extent_item *ret_item);

#endif
