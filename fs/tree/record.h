/* Records of file data that are dirty: written by users, not yet sealed and placed on rows.
 *
 * A dirty record stands in the file tree itself, as an ITEM_EXTENT item of kind EXTENT_DIRTY whose value refers to a
 * struct record in memory; so the tree is the only truth about a file's data, and a frozen transaction's tree
 * keeps the data that it had.  A record covers 1 to UNIT_BLOCKS blocks, contiguous, inside one unit of its file
 * (blocks [4k, 4k+4)).  The commit (or the early flush) seals it, gives it an address, and turns the item into an
 * EXTENT_DATA of the same key and the same value size.
 *
 * Rules for code that changes extents (all with fs->lock held):
 *  - a record on the disk may be cut (fs/data/extent.h): its blocks die singly, and it is read and verified whole for what is left of it.
 *    The blocks that died stay where they are as long as others of their row live (rule R1);
 *  - a record of the open transaction (record_writable) is changed in place; one of a frozen transaction, or one being
 *    placed, is never changed: it is replaced by a new record (record_new, copy the bytes that stay), `split` if it
 *    changed in part: sealed as records of one block each;
 *  - a removed or replaced item gives its space back by extent_free. */
#ifndef FS_RECORD_H
#define FS_RECORD_H

#include "base/list.h"
#include "fs/format.h"
#include "fs/tree/tree.h"
#include "raid/iobuf.h"

struct record;

/* A new dirty record of the open transaction for blocks [block, block + blocks) of the file, content zeroed; NULL on
 * ENOMEM.  It counts as dirty memory once it is in the tree; record_unref drops it if it never gets there. */
struct record *record_new(uint64_t object, uint64_t block, unsigned blocks, bool split);
/* The same for the blocks, of one unit, that bytes [start_bytes, start_bytes + bytes) of the file touch: holds these, and zeros beside
 * them in the first and last block. */
struct record *record_new_of(uint64_t object, uint64_t start_bytes, const void *source, size_t bytes);
/* A buffer that records may keep parts of, and so need no copies.  As long as any does, the parts of those that died count as dirty memory
 * too. */
struct share;
struct share *share_new(struct iobuf *buf);              /* with a reference to the buffer; NULL on ENOMEM */
void share_unref(struct fs *fs, struct share *share);
/* A new record of a whole unit whose bytes are those at `data`, in the shared buffer. */
struct record *record_new_shared(uint64_t object, uint64_t block, struct share *share, uint8_t *data);
void record_unref(struct fs *fs, struct record *record);
/* Another reference, taken with fs->lock held; dropped with record_unref, which takes no lock itself and may be called with or
 * without.  A reader that holds its inode's lock shared may copy a referenced record's bytes without fs->lock. */
struct record *record_ref(struct record *record);
uint8_t *record_data(struct record *record);             /* blocks × BLOCK_BYTES */
uint64_t record_block(const struct record *record);
unsigned record_blocks(const struct record *record);
bool record_split(const struct record *record);
/* May its bytes be changed in place now? */
bool record_writable(struct fs *fs, const struct record *record);

/* Puts an EXTENT_DIRTY item for it at key (object, ITEM_EXTENT, block); prepared. The tree takes its own reference. */
int record_put(struct fs *fs, struct record *record);
/* The record of an EXTENT_DIRTY item (no reference taken). */
struct record *record_of(const struct item *item);

/* Number of blocks that an extent item of any kind covers, from key.offset on. */
unsigned extent_blocks(const struct item *item);
/* Has it an address: EXTENT_DATA, EXTENT_REST? */
static inline bool extent_placed(const struct extent_item *x) { return x->kind == EXTENT_DATA || x->kind == EXTENT_REST; }
/* Says that blocks [first, first + count) of an item that is being removed, or of which the rest stays, are no longer used by the open
 * transaction: of one with an address their bits are cleared by its commit; for EXTENT_DIRTY, which goes whole, its record dies (or,
 * if an earlier transaction holds it, is freed once placed); for EXTENT_RESERVED the count goes down.  Call before tree_delete / tree_put. */
void extent_free(struct fs *fs, const struct item *item, uint64_t first, uint64_t count);
/* Counts of fallocated space (EXTENT_RESERVED), in blocks. */
void reserved_add(struct fs *fs, int64_t blocks);

/* A place of one sealed record, copied out of an item with an address so that it can be read without the lock: what of the record
 * belongs to the file, which is all of it but in an EXTENT_REST. */
struct record_place {
	address address;
	unsigned blocks;
	uint8_t before, whole;           /* blocks of the record before `address`, and in all */
	uint8_t nonce[16];
	uint32_t index;
	uint8_t tag[16];
	uint64_t object, block;          /* owner: file and its block */
};
/* The record that covers `block`, which lies in the item. */
void extent_record(const struct item *item, uint64_t block, struct record_place *ret_place);

/* Reads, verifies and heals records (no lock held).  Records that are contiguous are read with one I/O. `bufs[i]` gets
 * places[i].blocks × BLOCK_BYTES.  -EIO if one cannot be had even from parity: `ret_lost` (or NULL) gets its index, and the caller tells
 * of it (fs/names/path.h). The caller holds a read pin (store_pin) taken
 * under the lock in which it copied the places, so that the rows are not reused meanwhile. */
struct store_pin { struct list link; uint64_t generation; };      /* must stay where it is until store_unpin */
void store_pin(struct fs *fs, struct store_pin *ret_pin);        /* with fs->lock held */
/* The same, with the lock not held. */
void store_pin_now(struct fs *fs, struct store_pin *ret_pin);
void store_unpin(struct fs *fs, struct store_pin *pin);          /* without */
int store_read_records(struct fs *fs, const struct record_place *places, void *const *bufs, unsigned count, unsigned *ret_lost);

#endif
