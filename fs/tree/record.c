#include "fs/core.h"
#include "fs/tree/recordimpl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Where the reference to the record lies in an EXTENT_DIRTY value. */
static void value_set_record(struct extent_item *x, struct record *record) { memcpy(x->nonce, &record, sizeof record); }

struct record *record_of(const struct item *item)
{
	struct record *record;
	memcpy(&record, ((const struct extent_item *)item->value)->nonce, sizeof record);
	return record;
}

/* ---- Shared buffers ---- */

/* `dead_bytes`: of records that were in a tree, and are no more; fs->share_bytes is the sum of all.  A writer has a share for one operation
 * only, and waits for memory before that: so it never waits for itself. */
struct share { _Atomic unsigned refs; _Atomic uint64_t dead_bytes; struct iobuf *buf; };

struct share *share_new(struct iobuf *buf)
{
	struct share *share = malloc(sizeof *share);
	if (!share)
		return NULL;
	share->buf = iobuf_ref(buf);
	atomic_init(&share->refs, 1);
	atomic_init(&share->dead_bytes, 0);
	return share;
}

void share_unref(struct fs *fs, struct share *share)
{
	if (!share || atomic_fetch_sub(&share->refs, 1) > 1)
		return;
	atomic_fetch_sub(&fs->share_bytes, atomic_load(&share->dead_bytes));
	iobuf_unref(share->buf);
	free(share);
}

/* ---- Records ---- */

/* With bytes of its own, undefined, or in the shared buffer. */
static struct record *record_alloc(uint64_t object, uint64_t block, unsigned blocks, bool split, struct share *share)
{
	assert(blocks >= 1 && block % UNIT_BLOCKS + blocks <= UNIT_BLOCKS);
	struct record *record = malloc(sizeof *record + (share ? 0 : blocks * BLOCK_BYTES));
	if (!record)
		return NULL;
	*record = (struct record){ .object = object, .block = block, .blocks = (uint8_t)blocks, .split = split, .share = share,
		.data = record->own };
	if (share)
		atomic_fetch_add(&share->refs, 1);
	atomic_init(&record->refs, 1);
	list_init(&record->link);
	return record;
}

struct record *record_new_shared(uint64_t object, uint64_t block, struct share *share, uint8_t *data)
{
	struct record *record = record_alloc(object, block, UNIT_BLOCKS, false, share);
	if (record)
		record->data = data;
	return record;
}

struct record *record_new(uint64_t object, uint64_t block, unsigned blocks, bool split)
{
	struct record *record = record_alloc(object, block, blocks, split, NULL);
	if (record)
		memset(record->data, 0, blocks * BLOCK_BYTES);
	return record;
}

struct record *record_new_of(uint64_t object, uint64_t start_bytes, const void *source, size_t bytes)
{
	uint64_t block = start_bytes / BLOCK_BYTES;
	size_t before = start_bytes % BLOCK_BYTES, end = before + bytes, blocks = (end + BLOCK_BYTES - 1) / BLOCK_BYTES;
	struct record *record = record_alloc(object, block, (unsigned)blocks, false, NULL);
	if (!record)
		return NULL;
	memset(record->data, 0, before);
	memcpy(record->data + before, source, bytes);
	memset(record->data + end, 0, blocks * BLOCK_BYTES - end);
	return record;
}

struct record *record_ref(struct record *record)
{
	atomic_fetch_add(&record->refs, 1);
	return record;
}

void record_unref(struct fs *fs, struct record *record)
{
	if (!record || atomic_fetch_sub(&record->refs, 1) > 1)
		return;
	assert(record->tree_refs == 0 && list_alone(&record->link));
	if (record->txn)
		atomic_fetch_sub(&fs->record_bytes, record->blocks * BLOCK_BYTES);
	if (record->txn && record->share) {
		atomic_fetch_add(&record->share->dead_bytes, record->blocks * BLOCK_BYTES);
		atomic_fetch_add(&fs->share_bytes, record->blocks * BLOCK_BYTES);
	}
	share_unref(fs, record->share);
	free(record);
}

void record_attach(struct fs *fs, struct record *record)
{
	record_ref(record);
	if (record->tree_refs++ > 0 || record->txn)
		return;
	record->txn = fs->open->generation;
	atomic_fetch_add(&fs->record_bytes, record->blocks * BLOCK_BYTES);
	list_append(&fs->open->records, &record->link);
	fs->open->record_bytes += record->blocks * BLOCK_BYTES;
	if (fs->open->record_bytes >= fs->early_bytes)
		pthread_cond_signal(&fs->wake_flush);
}

void record_detach(struct fs *fs, struct record *record)
{
	if (--record->tree_refs == 0 && !list_alone(&record->link)) {
		struct txn *txn = record->txn == fs->open->generation ? fs->open : fs->committing;
		txn->record_bytes -= record->blocks * BLOCK_BYTES;
		list_remove(&record->link);
	}
	record_unref(fs, record);
}

uint8_t *record_data(struct record *record) { return record->data; }
uint64_t record_block(const struct record *record) { return record->block; }
unsigned record_blocks(const struct record *record) { return record->blocks; }
bool record_split(const struct record *record) { return record->split; }

bool record_writable(struct fs *fs, const struct record *record)
{
	return record->state == RECORD_DIRTY && (record->txn == 0 || record->txn == fs->open->generation);
}

static unsigned sealed_records(const struct record *record) { return record->split ? record->blocks : 1; }

/* The value has the size of the EXTENT_DATA item that it will become. */
static void dirty_value(struct record *record, uint8_t *value, unsigned *ret_bytes)
{
	struct extent_item *x = (struct extent_item *)value;
	memset(value, 0, EXTENT_BYTES(UNIT_BLOCKS));
	x->kind = EXTENT_DIRTY;
	x->blocks = le32_put(record->blocks);
	value_set_record(x, record);
	*ret_bytes = EXTENT_BYTES(sealed_records(record));
}

int record_put(struct fs *fs, struct record *record)
{
	uint8_t value[EXTENT_BYTES(UNIT_BLOCKS)];
	unsigned bytes;
	dirty_value(record, value, &bytes);
	struct key key = key_make(record->object, ITEM_EXTENT, record->block);
	return tree_put(fs, &fs->file, &key, value, bytes);
}

void record_resolve(struct record *record, uint8_t *value)
{
	struct extent_item *x = (struct extent_item *)value;
	unsigned n = sealed_records(record);
	assert(record->state != RECORD_DIRTY);   /* it has an address */
	memset(x, 0, sizeof *x);
	x->kind = EXTENT_DATA;
	x->record_blocks = x->last_blocks = record->split ? 1 : record->blocks;
	x->records = le16_put((uint16_t)n);
	x->blocks = le32_put(record->blocks);
	x->address = le64_put(record->address);
	memcpy(x->nonce, record->nonce, sizeof x->nonce);
	x->index = le32_put(record->index);
	memcpy(x->tags, record->tags, 16u * n);
}

unsigned extent_blocks(const struct item *item)
{
	return le32_get(((const struct extent_item *)item->value)->blocks);
}

/* A dirty record leaves the open transaction's tree. */
static void free_dirty(struct fs *fs, struct record *record)
{
	if (record->state == RECORD_PLACED) {
		txn_free_blocks(fs, record->address, record->blocks);
		return;
	}
	if (record_writable(fs, record))
		return;
	struct freed_later *f = vector_add(&fs->open->later, &fs->open->later_count, &fs->open->later_room, sizeof *f);
	if (!f) {
		fs_give_up(fs, -ENOMEM, "freed space could not be noted");
		return;
	}
	*f = (struct freed_later){ .record = record_ref(record), .count = record->blocks };
	fs->open->freed_blocks += record->blocks;
}

void extent_free(struct fs *fs, const struct item *item, uint64_t first, uint64_t count)
{
	const struct extent_item *x = item->value;
	switch (x->kind) {
	case EXTENT_DIRTY:
		free_dirty(fs, record_of(item));
		break;
	case EXTENT_RESERVED:
		fs->reserved_blocks -= count;
		break;
	case EXTENT_DATA:
	case EXTENT_REST:
		if (txn_free_blocks(fs, le64_get(x->address) + first, (uint32_t)count) < 0)
			fs_give_up(fs, -ENOMEM, "freed space could not be noted");
		break;
	}
	txn_mark_dirty(fs);
}

void reserved_add(struct fs *fs, int64_t blocks) { fs->reserved_blocks += (uint64_t)blocks; }

void extent_record(const struct item *item, uint64_t block, struct record_place *ret_place)
{
	const struct extent_item *x = item->value;
	bool rest = x->kind == EXTENT_REST;
	unsigned i = rest ? 0 : (unsigned)(block - item->key.offset) / x->record_blocks;
	*ret_place = (struct record_place){
		.address = le64_get(x->address) + (uint64_t)i * x->record_blocks,
		.blocks = rest ? le32_get(x->blocks) : i + 1 == le16_get(x->records) ? x->last_blocks : x->record_blocks,
		.before = rest ? x->last_blocks : 0,
		.index = le32_get(x->index) + i,
		.object = item->key.object,
		.block = item->key.offset + (uint64_t)i * x->record_blocks,
	};
	ret_place->whole = rest ? x->record_blocks : (uint8_t)ret_place->blocks;
	memcpy(ret_place->nonce, x->nonce, sizeof ret_place->nonce);
	memcpy(ret_place->tag, x->tags[i], sizeof ret_place->tag);
}
