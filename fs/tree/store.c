#include "fs/tree/store.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>


struct record_ad store_node_ad(uint8_t tree, uint8_t level)
{
	return (struct record_ad){ .format = le32_put(FORMAT_VERSION), .kind = RECORD_NODE, .tree = tree, .level = level,
		.length_bytes = le32_put(NODE_BYTES) };
}

struct record_ad store_data_ad(uint64_t object, uint64_t block, unsigned blocks)
{
	return (struct record_ad){ .format = le32_put(FORMAT_VERSION), .kind = RECORD_DATA,
		.length_bytes = le32_put(blocks * BLOCK_BYTES), .object = le64_put(object), .offset = le64_put(block) };
}

struct record_ad store_pending_ad(uint64_t generation)
{
	return (struct record_ad){ .format = le32_put(FORMAT_VERSION), .kind = RECORD_PENDING, .length_bytes = le32_put(UNIT_BYTES),
		.offset = le64_put(generation) };
}

void store_pin(struct fs *fs, struct store_pin *ret_pin)
{
	ret_pin->generation = (fs->committing ? fs->committing : fs->open)->generation;
	list_append(&fs->pins, &ret_pin->link);
}

void store_pin_now(struct fs *fs, struct store_pin *ret_pin)
{
	SCOPED_LOCK(&fs->lock);
	store_pin(fs, ret_pin);
}

void store_unpin(struct fs *fs, struct store_pin *pin)
{
	pthread_mutex_lock(&fs->lock);
	list_remove(&pin->link);
	commit_release(fs);              /* what the pin held back may have to wait for no other commit */
	pthread_mutex_unlock(&fs->lock);
}

uint64_t store_oldest_pin(struct fs *fs)
{
	return list_empty(&fs->pins) ? UINT64_MAX : container_of(fs->pins.next, struct store_pin, link)->generation;
}

int store_open(struct fs *fs, const struct sealed *s, const void *bytes, void *ret_plain)
{
	return open_record(&fs->keys->data, s->nonce, s->index, s->ad, sizeof *s->ad, bytes, s->blocks * BLOCK_BYTES, s->tag, ret_plain);
}

void store_narrow(const uint8_t *there, const uint8_t *want, unsigned *first, unsigned *end)
{
	while (*first < *end && !memcmp(there + *first * BLOCK_BYTES, want + *first * BLOCK_BYTES, BLOCK_BYTES))
		++*first;
	while (*first < *end && !memcmp(there + (*end - 1) * BLOCK_BYTES, want + (*end - 1) * BLOCK_BYTES, BLOCK_BYTES))
		--*end;
}

/* Writes those of the record's blocks, as rebuilt and verified, in which the unit is different, or all if they cannot be read. */
static int heal_blocks(struct fs *fs, const struct sealed *s, const struct bad_unit *unit, const uint8_t *good)
{
	struct iobuf *there cleanup(iobuf_unrefp) = iobuf_new(UNIT_BYTES), *want cleanup(iobuf_unrefp) = iobuf_new(UNIT_BYTES);
	unsigned first = (unsigned)(address_block(s->address) % UNIT_BLOCKS), end = first + s->blocks;
	if (!there || !want)
		return -ENOMEM;
	memcpy(want->data + first * BLOCK_BYTES, good, s->blocks * BLOCK_BYTES);
	SCOPED_WRITE_LOCK(&fs->heal_lock);
	if (array_read_column(fs->array, unit->band, unit->row, unit->column, there) == 0)
		store_narrow(there->data, want->data, &first, &end);
	return first == end ? 0 : array_write_column(fs->array, unit->band, unit->row, unit->column, first, end - first, want);
}

/* Heals a record.  What else is wrong of its unit is left to mend.c. */
static void heal(struct fs *fs, const struct sealed *s, const uint8_t *good)
{
	const struct band *b = config_band(fs->config, address_band(s->address));
	uint64_t row = band_row_of(b, s->address);
	unsigned index = (unsigned)(address_unit(s->address) % band_data_units(b));
	struct bad_unit unit = { .band = b->id, .row = row, .column = (uint8_t)band_data_column(b, row, index) };
	unsigned member = b->columns[unit.column].member;
	if (fs->read_only)
		event_report(&fs->options.events, EVENT_DAMAGED, (int)member, "%u bytes of member %u are damaged, and were made from parity "
			"(band %u, row %llu)", s->blocks * BLOCK_BYTES, member + 1, b->id, (unsigned long long)row);
	if (fs->read_only || commit_open(fs) < 0 || heal_blocks(fs, s, &unit, good) < 0)
		return;
	array_count_healed(fs->array, member);
	event_report(&fs->options.events, EVENT_HEALED, (int)member, "healed %u bytes of member %u from parity (band %u, row %llu)",
		s->blocks * BLOCK_BYTES, member + 1, b->id, (unsigned long long)row);
	array_note_damage(fs->array, &unit);
}

/* Of data the caller tells, who can ask the trees whose it is. */
static void report_unreadable(struct fs *fs, const struct sealed *s)
{
	if (s->ad->kind != RECORD_DATA)
		event_report(&fs->options.events, EVENT_UNREADABLE, -1, "a %s at band %u, block %llu cannot be read and parity cannot rebuild it",
			s->ad->kind == RECORD_NODE ? "tree node" : "pending record", address_band(s->address),
			(unsigned long long)address_block(s->address));
}

typedef int read_way(struct array *array, address from, unsigned blocks, struct iobuf *buf, size_t offset_bytes);

static int read_by(struct fs *fs, read_way *way, const struct sealed *s, void *ret_plain)
{
	struct iobuf *buf = iobuf_new(UNIT_BYTES);
	if (!buf)
		return -ENOMEM;
	int r = way(fs->array, s->address, s->blocks, buf, 0);
	if (r == 0)
		r = store_open(fs, s, buf->data, ret_plain);
	iobuf_unref(buf);
	return r;
}

/* Some blocks of the record as they lie, and others as they are made: both may be damaged, at different places.  `bytes`: what opened. */
static int read_mixed(struct fs *fs, const struct sealed *s, uint8_t bytes[UNIT_BYTES], void *ret_plain)
{
	const struct band *b = config_band(fs->config, address_band(s->address));
	uint64_t row = band_row_of(b, s->address);
	unsigned column = band_data_column(b, row, (unsigned)(address_unit(s->address) % band_data_units(b)));
	unsigned first = (unsigned)(address_block(s->address) % UNIT_BLOCKS), all = (1u << s->blocks) - 1, there, made;
	struct iobuf *own cleanup(iobuf_unrefp) = iobuf_new(UNIT_BYTES), *others cleanup(iobuf_unrefp) = iobuf_new(UNIT_BYTES);
	if (!own || !others)
		return -ENOMEM;
	int r = array_read_column_blocks(fs->array, b->id, row, column, own, &there);
	if (r == 0)
		r = array_rebuild_blocks(fs->array, b->id, row, column, others, &made);
	if (r < 0)
		return r;
	/* All of the one and all of the other were tried, but if not all of these could be read. */
	for (unsigned mask = 0; mask <= all; mask++) {
		if ((mask & ~(there >> first)) || (~mask & all & ~(made >> first)))
			continue;
		for (unsigned k = 0; k < s->blocks; k++)
			memcpy(bytes + k * BLOCK_BYTES, (mask >> k & 1 ? own : others)->data + (first + k) * BLOCK_BYTES, BLOCK_BYTES);
		if (store_open(fs, s, bytes, ret_plain) == 0)
			return 0;
	}
	return -EIO;
}

/* The second try: from parity. */
int store_read_rebuilt(struct fs *fs, const struct sealed *s, void *ret_plain)
{
	uint8_t mixed[UNIT_BYTES];
	struct iobuf *buf = iobuf_new(UNIT_BYTES);
	if (!buf)
		return -ENOMEM;
	int r = array_read_rebuilt(fs->array, s->address, s->blocks, buf, 0);
	if (r == 0)
		r = store_open(fs, s, buf->data, ret_plain);
	if (r == 0)
		heal(fs, s, buf->data);
	iobuf_unref(buf);
	if (r < 0 && r != -ENOMEM)       /* from a member that is out, or being filled: the others may be what is damaged */
		r = read_by(fs, array_read_distrusted, s, ret_plain);
	if (r < 0 && r != -ENOMEM && s->blocks > 1) {
		r = read_mixed(fs, s, mixed, ret_plain);
		if (r == 0)
			heal(fs, s, mixed);
	}
	if (r < 0 && r != -ENOMEM) {
		report_unreadable(fs, s);
		r = -EIO;
	}
	return r;
}

bool store_address_valid(struct fs *fs, address from, unsigned blocks)
{
	const struct band *b = config_band(fs->config, address_band(from));
	return b && blocks >= 1 && address_block(from) % UNIT_BLOCKS + blocks <= UNIT_BLOCKS
		&& address_block(from) + blocks <= band_blocks(b);
}

int store_read(struct fs *fs, const struct sealed *s, void *ret_plain)
{
	if (!store_address_valid(fs, s->address, s->blocks))
		return -EUCLEAN;
	int r = read_by(fs, array_read, s, ret_plain);
	return r == 0 || r == -ENOMEM ? r : store_read_rebuilt(fs, s, ret_plain);
}

static int read_pointer(struct fs *fs, const struct disk_pointer *p, const struct record_ad *ad, void *ret_image)
{
	if (le32_get(p->length_bytes) != UNIT_BYTES || le16_get(p->key) != 0 || !bytes_are_zero(p->zero, sizeof p->zero))
		return -EUCLEAN;
	struct sealed s = { le64_get(p->address), UNIT_BLOCKS, p->nonce, p->tag, le32_get(p->index), ad };
	return store_read(fs, &s, ret_image);
}

int store_read_node(struct fs *fs, const struct disk_pointer *pointer, uint8_t tree, uint8_t level, void *ret_image)
{
	struct record_ad ad = store_node_ad(tree, level);
	int r = read_pointer(fs, pointer, &ad, ret_image);
	if (r == 0)
		r = image_validate(ret_image, tree, level);
	if (r == -EBADMSG || r == -EUCLEAN) {
		event_report(&fs->options.events, EVENT_UNREADABLE, -1, "a tree node at band %u, block %llu makes no sense though its tag is right",
			address_band(le64_get(pointer->address)), (unsigned long long)address_block(le64_get(pointer->address)));
		r = -EIO;
	}
	return r;
}

int store_read_pending(struct fs *fs, const struct disk_pointer *pointer, uint64_t generation, void *ret_image)
{
	struct record_ad ad = store_pending_ad(generation);
	return read_pointer(fs, pointer, &ad, ret_image);
}

struct sealed store_place(const struct record_place *p, struct record_ad *ret_ad)
{
	*ret_ad = store_data_ad(p->object, p->block - p->before, p->whole);
	return (struct sealed){ p->address - p->before, p->whole, p->nonce, p->tag, p->index, ret_ad };
}
