#include "fs/space/pending.h"
#include "fs/tree/store.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* More than this many records in a chain is damage: a transaction is bounded by memory. */
#define CHAIN_MAX 4096

unsigned pending_records(size_t runs, size_t nodes, size_t freed)
{
	unsigned records = 1;
	while (records * PENDING_ENTRIES_MAX < runs + 2 * (nodes + records) + freed)
		records++;
	return records;
}

struct writer {
	struct pack *pack;
	unsigned first_unit, records;
	unsigned record, entry;
};

static struct pending_entry *next_entry(struct writer *w)
{
	if (w->entry == PENDING_ENTRIES_MAX) {
		w->record++;
		w->entry = 0;
	}
	assert(w->record < w->records);
	uint8_t *image = pack_memory(w->pack, w->first_unit + w->record);
	struct pending_header *h = (struct pending_header *)image;
	h->count = le32_put(w->entry + 1);
	return (struct pending_entry *)(image + sizeof *h) + w->entry++;
}

static void write_entries(struct fs *fs, struct writer *w, const struct txn *txn)
{
	const struct band *bands = fs->config->bands;
	for (size_t i = 0; i < txn->run_count; i++) {
		const struct rows *rows = &txn->runs[i].rows;
		*next_entry(w) = (struct pending_entry){ .kind = PENDING_WRITTEN, .count = le32_put(rows->count),
			.address = le64_put(band_row_address(&bands[rows->band], rows->row)) };
	}
	for (size_t i = 0; i < w->pack->run_count; i++) {
		const struct pack_run *run = &w->pack->runs[i];
		address first = band_row_address(&bands[run->rows.band], run->rows.row);
		*next_entry(w) = (struct pending_entry){ .kind = PENDING_SYSTEM, .count = le32_put(run->rows.count), .address = le64_put(first) };
		for (size_t o = 0; o < run->owner_count; o++) {
			const struct row_owner *owner = &run->owners[o];
			*next_entry(w) = (struct pending_entry){ .kind = PENDING_OWNER, .level = owner->level, .key_type = owner->type,
				.count = le32_put(le16_get(owner->blocks)), .address = le64_put(first + le16_get(owner->start_block)),
				.key_object = owner->object, .key_offset = owner->offset };
		}
	}
	for (size_t i = 0; i < fs->system_freed_count; i++)
		*next_entry(w) = (struct pending_entry){ .kind = PENDING_FREED, .count = le32_put(fs->system_freed[i].blocks),
			.address = le64_put(fs->system_freed[i].address) };
}

int pending_write(struct fs *fs, const struct txn *txn, struct pack *pack, unsigned first_unit, unsigned records,
	struct disk_pointer *ret_head)
{
	struct row_owner owner = { .level = ROW_OWNER_PENDING, .tree = TREE_SYSTEM };
	struct writer w = { .pack = pack, .first_unit = first_unit, .records = records };
	struct disk_pointer next = { 0 };
	struct seal_batch batch;
	for (unsigned i = 0; i < records; i++) {
		int r = pack_own(pack, first_unit + i, 0, UNIT_BLOCKS, &owner);
		if (r < 0)
			return r;
		memset(pack_memory(pack, first_unit + i), 0, UNIT_BYTES);
	}
	write_entries(fs, &w, txn);
	seal_batch_begin(&fs->keys->data, fs->env, &batch);
	for (unsigned i = records; i-- > 0; ) {
		uint8_t *image = pack_memory(pack, first_unit + i);
		struct pending_header *h = (struct pending_header *)image;
		struct record_ad ad = store_pending_ad(txn->generation);
		h->magic = le32_put(PENDING_MAGIC);
		h->generation = le64_put(txn->generation);
		h->next = next;
		next = (struct disk_pointer){ .address = le64_put(pack_address(pack, first_unit + i)), .length_bytes = le32_put(UNIT_BYTES),
			.index = le32_put(i) };
		memcpy(next.nonce, batch.nonce, sizeof next.nonce);
		seal_record(&batch, i, &ad, sizeof ad, image, UNIT_BYTES, image, next.tag);
	}
	seal_batch_end(&batch);
	*ret_head = next;
	return 0;
}

static int rows_of(struct fs *fs, const struct pending_entry *e, struct rows *ret_rows)
{
	address a = le64_get(e->address);
	const struct band *b = config_band(fs->config, address_band(a));
	uint32_t count = le32_get(e->count);
	if (!b || address_block(a) % band_row_blocks(b) || count == 0 || count > PARITY_RUN_ROWS)
		return -EUCLEAN;
	*ret_rows = (struct rows){ (uint32_t)(b - fs->config->bands), address_block(a) / band_row_blocks(b), count };
	return ret_rows->row + count <= b->rows ? 0 : -EUCLEAN;
}

static int add_owner(struct fs *fs, const struct pending_entry *e, size_t *room)
{
	if (fs->pending_run_count == 0 || le32_get(e->count) != UNIT_BLOCKS)
		return -EUCLEAN;
	struct run *run = &fs->pending_runs[fs->pending_run_count - 1];
	const struct band *b = &fs->config->bands[run->rows.band];
	address first = band_row_address(b, run->rows.row), a = le64_get(e->address);
	if (a < first || a - first >= run->rows.count * band_row_blocks(b) || a % UNIT_BLOCKS)
		return -EUCLEAN;
	size_t count = run->owner_count;
	struct row_owner *o = vector_add(&run->owners, &count, room, sizeof *o);
	if (!o)
		return -ENOMEM;
	run->owner_count = (unsigned)count;
	*o = (struct row_owner){ .object = e->key_object, .offset = e->key_offset, .type = e->key_type, .level = e->level,
		.tree = TREE_SYSTEM, .start_block = le16_put((uint16_t)(a - first)), .blocks = le16_put(UNIT_BLOCKS) };
	return 0;
}

static int read_entry(struct fs *fs, const struct pending_entry *e, size_t *owner_room)
{
	struct rows rows;
	int r;
	if (e->zero)
		return -EUCLEAN;
	switch (e->kind) {
	case PENDING_WRITTEN:
	case PENDING_SYSTEM: {
		r = rows_of(fs, e, &rows);
		if (r < 0)
			return r;
		struct rows *written = vector_add(&fs->last_written, &fs->last_written_count, &fs->last_written_room, sizeof *written);
		if (!written)
			return -ENOMEM;
		*written = rows;
		if (e->kind == PENDING_WRITTEN)
			return 0;
		struct run *run = vector_add(&fs->pending_runs, &fs->pending_run_count, &fs->pending_run_room, sizeof *run);
		if (!run)
			return -ENOMEM;
		*run = (struct run){ .rows = rows, .system = true };
		*owner_room = 0;
		return 0;
	}
	case PENDING_OWNER:
		return add_owner(fs, e, owner_room);
	case PENDING_FREED: {
		address a = le64_get(e->address);
		const struct band *b = config_band(fs->config, address_band(a));
		if (!b || address_block(a) >= band_blocks(b) || le32_get(e->count) > band_blocks(b) - address_block(a))
			return -EUCLEAN;
		struct freed *f = vector_add(&fs->pending_freed, &fs->pending_freed_count, &fs->pending_freed_room, sizeof *f);
		if (!f)
			return -ENOMEM;
		*f = (struct freed){ a, le32_get(e->count) };
		return 0;
	}
	default:
		return -EPROTONOSUPPORT;
	}
}

int pending_take(struct fs *fs, const uint8_t image[UNIT_BYTES], uint64_t generation, size_t *owner_room, struct disk_pointer *ret_next)
{
	const struct pending_header *h = (const struct pending_header *)image;
	const struct pending_entry *entries = (const struct pending_entry *)(image + sizeof *h);
	uint32_t count = le32_get(h->count);
	int r = 0;
	if (le32_get(h->magic) != PENDING_MAGIC || le64_get(h->generation) != generation || count > PENDING_ENTRIES_MAX
		|| !bytes_are_zero(h->zero, sizeof h->zero))
		return -EUCLEAN;
	for (uint32_t i = 0; i < count && r == 0; i++)
		r = read_entry(fs, &entries[i], owner_room);
	if (r == 0)
		*ret_next = h->next;
	return r;
}

int pending_read(struct fs *fs, const struct disk_pointer *head, uint64_t generation)
{
	uint8_t *image = malloc(UNIT_BYTES);
	struct disk_pointer next = *head;
	size_t owner_room = 0;
	int r = image ? 0 : -ENOMEM;
	for (unsigned n = 0; r == 0 && le32_get(next.length_bytes) != 0; n++) {
		r = n < CHAIN_MAX ? store_read_pending(fs, &next, generation, image) : -EUCLEAN;
		if (r == 0)
			r = pending_take(fs, image, generation, &owner_room, &next);
	}
	free(image);
	return r;
}
