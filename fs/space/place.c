/* Dirty records get their place: taken off their transaction's list in the order of object and offset, packed densely into
 * whole rows, sealed, written, and then known by address.
 *
 * Used by the early flush (so that a long copy flows, while the transaction is still open) and by the commit for what is
 * left. From DIRTY to PLACED a record's bytes do not change: record_writable says no as soon as it is PLACING.
 *
 * Sealing runs in parallel over the runs of rows, a batch each (rule R3: its nonce is drawn when its plaintext is fixed). */
#include "fs/space/pack.h"
#include "fs/space/place.h"
#include "fs/tree/recordimpl.h"
#include "fs/tree/store.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* At most so much is in the making at once: row buffers, beside the records themselves. */
#define PLACE_BYTES_MAX (8u << 20)

struct placement {
	struct record *record;
	unsigned unit, block;            /* in the pack */
};

struct place {
	struct fs *fs;
	struct placement *items; size_t count, room;
	struct pack pack;
};

static int compare_records(const void *a, const void *b)
{
	const struct record *x = ((const struct placement *)a)->record, *y = ((const struct placement *)b)->record;
	if (x->object != y->object)
		return x->object < y->object ? -1 : 1;
	return x->block < y->block ? -1 : x->block > y->block;
}

/* Takes records off the list until `bytes_max`. Lock held. */
static int collect(struct place *p, struct txn *txn, uint64_t bytes_max)
{
	uint64_t bytes = 0;
	while (!list_empty(&txn->records) && bytes < bytes_max) {
		struct record *record = container_of(txn->records.next, struct record, link);
		struct placement *item = vector_add(&p->items, &p->count, &p->room, sizeof *item);
		if (!item)
			return -ENOMEM;
		item->record = record_ref(record);
		list_remove(&record->link);
		record->state = RECORD_PLACING;
		txn->record_bytes -= record->blocks * BLOCK_BYTES;
		bytes += record->blocks * BLOCK_BYTES;
	}
	return 0;
}

/* Whole units first come first served; shorter records share units, never crossing one. Returns the number of units. */
static unsigned assign(struct place *p)
{
	unsigned unit = 0, block = 0;
	for (size_t i = 0; i < p->count; i++) {
		unsigned blocks = p->items[i].record->blocks;
		if (block + blocks > UNIT_BLOCKS) {
			unit++;
			block = 0;
		}
		p->items[i].unit = unit;
		p->items[i].block = block;
		block += blocks;
	}
	return block > 0 ? unit + 1 : unit;
}

void place_seal_one(const struct seal_batch *batch, uint32_t index, struct record *record, uint8_t *memory)
{
	unsigned pieces = record->split ? record->blocks : 1, blocks = record->split ? 1 : record->blocks;
	for (unsigned i = 0; i < pieces; i++) {
		struct record_ad ad = store_data_ad(record->object, record->block + i * blocks, blocks);
		seal_record(batch, index + i, &ad, sizeof ad, record->data + (size_t)i * blocks * BLOCK_BYTES, blocks * BLOCK_BYTES,
			memory + (size_t)i * blocks * BLOCK_BYTES, record->tags[i]);
	}
	memcpy(record->nonce, batch->nonce, sizeof record->nonce);
	record->index = index;
}

/* Seals and writes run i of the pack. */
static void seal_run(void *ctx, unsigned i)
{
	struct place *p = ctx;
	struct pack_run *run = &p->pack.runs[i];
	struct seal_batch batch;
	uint32_t index = 0;
	size_t low = 0, high = p->count;
	while (low < high) {
		size_t mid = (low + high) / 2;
		if (p->items[mid].unit < run->first_unit)
			low = mid + 1;
		else
			high = mid;
	}
	seal_batch_begin(&p->fs->keys->data, p->fs->env, &batch);
	for (size_t k = low; k < p->count && p->items[k].unit < run->first_unit + run->units; k++) {
		struct placement *item = &p->items[k];
		uint8_t *memory = run->data->data + (size_t)(item->unit - run->first_unit) * UNIT_BYTES + (size_t)item->block * BLOCK_BYTES;
		place_seal_one(&batch, index, item->record, memory);
		index += item->record->split ? item->record->blocks : 1;
	}
	seal_batch_end(&batch);
	pack_write_run(&p->pack, run);
}

int place_own(struct pack *pack, const struct record *record, unsigned unit, unsigned block)
{
	struct row_owner owner = { .object = le64_put(record->object), .offset = le64_put(record->block), .type = ITEM_EXTENT,
		.level = ROW_OWNER_DATA, .tree = TREE_FILE };
	return pack_own(pack, unit, block, record->blocks, &owner);
}

static int seal_and_write(struct place *p)
{
	for (size_t i = 0; i < p->count; i++) {
		int r = place_own(&p->pack, p->items[i].record, p->items[i].unit, p->items[i].block);
		if (r < 0)
			return r;
	}
	pool_run(p->fs->pool, (unsigned)p->pack.run_count, seal_run, p);
	for (size_t i = 0; i < p->pack.run_count; i++)
		if (p->pack.runs[i].result < 0)
			return p->pack.runs[i].result;
	return 0;
}

static bool stands_in_tree(struct fs *fs, struct record *record)
{
	struct key key = key_make(record->object, ITEM_EXTENT, record->block);
	struct item item;
	return record->txn == fs->open->generation && record->tree_refs > 0 && tree_lookup(fs, &fs->file, &key, &item) == 0
		&& ((const struct extent_item *)item.value)->kind == EXTENT_DIRTY && record_of(&item) == record;
}

/* Does `next` go on from `record` so that both fit one extent item? */
static bool goes_on(const struct record *record, const struct record *next)
{
	return !record->split && !next->split && record->blocks == UNIT_BLOCKS && next->object == record->object
		&& next->block == record->block + record->blocks && next->address == record->address + record->blocks
		&& next->index == record->index + 1 && !memcmp(next->nonce, record->nonce, sizeof record->nonce);
}

/* In the open transaction's tree, placed records become ordinary extents at once, so that their memory goes; those that follow
 * one another become one item.  Returns how many of items[from …] it dealt with. */
static size_t resolve_some(struct place *p, size_t from)
{
	struct fs *fs = p->fs;
	struct record *first = p->items[from].record;
	if (!stands_in_tree(fs, first))
		return 1;
	size_t n = 1;
	while (from + n < p->count && n < EXTENT_RECORDS_MAX && goes_on(p->items[from + n - 1].record, p->items[from + n].record)
		&& stands_in_tree(fs, p->items[from + n].record))
		n++;
	uint8_t value[EXTENT_BYTES(EXTENT_RECORDS_MAX)];
	struct extent_item *x = (struct extent_item *)value;
	record_resolve(first, value);
	unsigned bytes = EXTENT_BYTES(le16_get(x->records));
	for (size_t i = 1; i < n; i++) {
		const struct record *record = p->items[from + i].record;
		memcpy(x->tags[i], record->tags[0], sizeof x->tags[i]);
		x->last_blocks = record->blocks;
		x->blocks = le32_put(le32_get(x->blocks) + record->blocks);
		x->records = le16_put((uint16_t)(i + 1));
		bytes = EXTENT_BYTES(i + 1);
	}
	for (size_t i = n; i-- > 0; ) {
		struct key key = key_make(first->object, ITEM_EXTENT, p->items[from + i].record->block);
		if (tree_prepare(fs, &fs->file, &key) < 0)
			return n;        /* still right as dirty items: the commit resolves them */
		int r = i > 0 ? tree_delete(fs, &fs->file, &key) : tree_put(fs, &fs->file, &key, value, bytes);
		if (r < 0)
			fs_give_up(fs, r, "a change could not be finished in memory");
	}
	return n;
}

/* Returns r, or what goes wrong here. */
static int finish(struct place *p, struct txn *txn, int r)
{
	struct fs *fs = p->fs;
	pthread_mutex_lock(&fs->lock);
	if (r == 0)
		r = pack_hand_over(&p->pack, &txn->runs, &txn->run_count, &txn->run_room, false);
	for (size_t i = 0; i < p->count && r == 0; i++) {
		struct record *record = p->items[i].record;
		record->address = pack_address(&p->pack, p->items[i].unit) + p->items[i].block;
		record->state = RECORD_PLACED;
		if (txn == fs->open)
			txn->placed_blocks += record->blocks;
	}
	for (size_t i = 0; i < p->count && r == 0; )
		i += resolve_some(p, i);
	for (size_t i = 0; i < p->count; i++)
		record_unref(fs, p->items[i].record);
	if (r < 0)
		fs_give_up(fs, r, "data could not be written");
	txn->placing--;
	pthread_cond_broadcast(&fs->progress);
	pthread_mutex_unlock(&fs->lock);
	free(p->items);
	pack_end(&p->pack);
	return r;
}

/* `txn` NULL: whichever is open. 1 if there was anything to place. */
static int place_batch(struct fs *fs, struct txn *txn, uint64_t bytes_max)
{
	struct place p = { .fs = fs };
	pthread_mutex_lock(&fs->lock);
	if (!txn)
		txn = fs->open;
	txn->placing++;          /* it cannot end before */
	int r = collect(&p, txn, bytes_max);
	pthread_mutex_unlock(&fs->lock);
	if (r == 0 && p.count > 0) {
		qsort(p.items, p.count, sizeof *p.items, compare_records);
		r = pack_begin(fs, assign(&p), &p.pack);
		if (r == 0)
			r = seal_and_write(&p);
	}
	int worked = p.count > 0;
	r = finish(&p, txn, r);
	return r < 0 ? r : worked;
}

int place_early(struct fs *fs, uint64_t bytes_max)
{
	int r = commit_open(fs);
	return r < 0 ? r : place_batch(fs, NULL, bytes_max < PLACE_BYTES_MAX ? bytes_max : PLACE_BYTES_MAX);
}

int place_all(struct fs *fs, struct txn *txn)
{
	int r;
	do
		r = place_batch(fs, txn, PLACE_BYTES_MAX);
	while (r == 1);
	return r;
}
