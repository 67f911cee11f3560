/* The one joint of raid/ and crypto/: read a record, open it, else rebuild it from parity, open that, and heal.
 *
 * Nothing is believed that did not verify under the tag in its parent (rule R4).  Pins keep a row from being reused while
 * somebody reads it without the lock: store_pin notes the generation that is being committed, or else the open one; what that one
 * frees, or a later one, is not given to the allocator before store_unpin.  (Nothing in the file tree leads to what the commit under way
 * frees, but row items do until it has trimmed them.) */
#ifndef FS_STORE_H
#define FS_STORE_H

#include "fs/core.h"

struct record_ad store_node_ad(uint8_t tree, uint8_t level);
struct record_ad store_data_ad(uint64_t object, uint64_t block, unsigned blocks);
struct record_ad store_pending_ad(uint64_t generation);

/* One sealed record where it lies. */
struct sealed {
	address address;
	unsigned blocks;
	const uint8_t *nonce, *tag;
	uint32_t index;
	const struct record_ad *ad;
};

/* The whole record of a place, which may have only a part of it. */
struct sealed store_place(const struct record_place *place, struct record_ad *ret_ad);

/* Opens the record from bytes that were read already. -EBADMSG. */
int store_open(struct fs *fs, const struct sealed *sealed, const void *bytes, void *ret_plain);
/* Reads, verifies and heals one record. -EIO when even parity cannot help: told here, but for data (path_tell_lost). */
int store_read(struct fs *fs, const struct sealed *sealed, void *ret_plain);
/* The same for one that was read from its column and is wrong there: from the others. */
int store_read_rebuilt(struct fs *fs, const struct sealed *sealed, void *ret_plain);
/* Is that a place inside of one unit of the array? */
bool store_address_valid(struct fs *fs, address from, unsigned blocks);

/* Narrows blocks [*first, *end) of a unit to those from the first to the last that differ; *first == *end if none does. */
void store_narrow(const uint8_t *there, const uint8_t *want, unsigned *first, unsigned *end);

#endif
