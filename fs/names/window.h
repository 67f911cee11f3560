/* Items that are found by a hash: directory entries, links and extended attributes.
 *
 * The key offset of such an item is the hash of its name, or, where hashes collide, the first free offset in the window
 * of WINDOW_SLOTS offsets that begins there.  An item never moves, so its offset serves as a readdir cookie.  Looking
 * one up goes through all items of the window (mostly there is one), so that a removal needs no mark.
 * All with fs->lock held; may return TREE_MISS. */
#ifndef FS_WINDOW_H
#define FS_WINDOW_H

#include "fs/tree/tree.h"

#include <stdbool.h>

#define WINDOW_SLOTS 64u
/* Offsets below are the cookies of "no entry yet", "." and "..". */
#define WINDOW_FIRST UINT64_C(3)
#define WINDOW_OFFSET_MAX (UINT64_MAX >> 1)

/* The keyed hash of `bytes` as the start of a window: 63 bits, at least WINDOW_FIRST, and the window does not wrap. */
uint64_t window_hash(struct fs *fs, const void *bytes, size_t length_bytes);

/* Is this the item?  1, 0, or -EUCLEAN (reported) for one that makes no sense. */
typedef int window_match(struct fs *fs, const struct item *item, const void *wanted);

/* The item of `object` and `type` in the window at `hash` for which `match` says 1.  Else -ENOENT, and *ret_free (may be NULL) is
 * the offset where such an item may be put, 0 when the window is full. */
int window_find(struct fs *fs, uint64_t object, uint8_t type, uint64_t hash, window_match *match, const void *wanted,
	struct item *ret_item, uint64_t *ret_free);

#endif
