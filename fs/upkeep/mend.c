/* A record that did not verify is healed at once by its reader (store.c), block by block.  What else is wrong of its unit (a whole unit
 * was lost, or cannot be read) is put right here, in the background: dead blocks and padding too, since the other columns' blocks are
 * rebuilt from them.
 *
 *  1. What lives in the row verifies, or is healed.
 *  2. The unit is made from the others.  If everything that lives in the row verifies with it, it is written: only the blocks that
 *     differ, or all of a unit that cannot be read.
 *  3. If not, it is parity that is wrong, and is made of the data.
 *
 * Neither is made from bytes that nothing vouches for.  A member that lies about what it wrote, or gives other bits at each read, would
 * else have that made parity, and what only parity still has would be lost; and a block of the unit that is right would be overwritten by
 * what the damaged one of another member makes of it.  So each block of the row that any generation still has (alloc_block_used) must
 * have verified: where one belongs to what the open transaction has replaced, the row waits for the next commit.  What is dead has no
 * tag: for parity it must read the same twice. */
#include "fs/tree/store.h"
#include "fs/upkeep/mend.h"
#include "raid/parity.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define TRIES_MAX 8u             /* commits that a row is waited for: what is used for ever and leads nowhere is for fsck to find */

/* A row as it lies on its members. */
struct row_image {
	const struct band *band;
	uint64_t row;
	uint8_t *units;                  /* by column */
	int unreadable;                  /* one column, or -1 */
};

static uint8_t *unit_of(const struct row_image *image, unsigned column) { return image->units + (size_t)column * UNIT_BYTES; }

static int read_row(struct fs *fs, struct row_image *image)
{
	const struct band *b = image->band;
	image->unreadable = -1;
	for (unsigned column = 0; column < b->width; column++) {
		struct iobuf *unit cleanup(iobuf_unrefp) = iobuf_new(UNIT_BYTES);
		int r = unit ? array_read_column(fs->array, b->id, image->row, column, unit) : -ENOMEM;
		if (r == -EIO && image->unreadable < 0)
			image->unreadable = (int)column;
		else if (r < 0)
			return r;
		else
			memcpy(unit_of(image, column), unit->data, UNIT_BYTES);
	}
	return 0;
}

static void make_from_others(const struct row_image *image, unsigned column, uint8_t *ret_unit)
{
	const void *sources[XOR_SOURCES_MAX];
	unsigned n = 0;
	for (unsigned c = 0; c < image->band->width; c++)
		if (c != column)
			sources[n++] = unit_of(image, c);
	xor_many(ret_unit, sources, n, UNIT_BYTES);
}

static address address_of(const struct live *live)
{
	return live->node ? le64_get(live->pointer.address) : live->place.address;
}

static bool opens_from(struct fs *fs, const struct row_image *image, const struct live *live)
{
	const struct band *b = image->band;
	struct record_ad ad;
	struct sealed s = rowlive_sealed(live, &ad);
	unsigned column = band_data_column(b, image->row, (unsigned)(address_unit(s.address) % band_data_units(b)));
	autofree uint8_t *plain = malloc(UNIT_BYTES);
	return plain && store_open(fs, &s, unit_of(image, column) + address_block(s.address) % UNIT_BLOCKS * BLOCK_BYTES, plain) == 0;
}

static bool lies_in(const struct live *live, const struct row_image *image)
{
	address at = address_of(live);
	return address_band(at) == image->band->id && band_row_of(image->band, at) == image->row;
}

static bool all_open(struct fs *fs, const struct row_image *image, const struct live_list *list)
{
	for (size_t i = 0; i < list->count; i++)
		if (lies_in(&list->items[i], image) && !opens_from(fs, image, &list->items[i]))
			return false;
	return true;
}

/* 1 if the list has each block of the row that any generation still has, 0 if not. */
static int all_listed(struct fs *fs, const struct row_image *image, const struct live_list *list)
{
	bool listed[XOR_SOURCES_MAX * UNIT_BLOCKS] = { 0 };
	address first = band_row_address(image->band, image->row);
	for (size_t i = 0; i < list->count; i++) {
		const struct live *live = &list->items[i];
		if (lies_in(live, image))
			memset(listed + (address_of(live) - first), true, live->node ? UNIT_BLOCKS : live->place.blocks);
	}
	bool used = false;
	struct op op;
	int r = op_begin(fs, &op, OP_READ, 0);
	do {
		r = 0;
		for (unsigned k = 0; k < band_row_blocks(image->band) && r == 0 && !used; k++)
			if (!listed[k])
				r = alloc_block_used(fs, first + k, &used);
	} while (op_retry(&op, &r));
	op_end(&op);
	return r < 0 ? r : !used;
}

/* Writes the blocks of the column that are not as they should be. */
static int write_unit(struct fs *fs, const struct row_image *image, unsigned column, const uint8_t *want)
{
	unsigned first = 0, end = UNIT_BLOCKS;
	if (image->unreadable != (int)column) {
		store_narrow(unit_of(image, column), want, &first, &end);
		if (first == end)
			return 0;
	}
	struct iobuf *unit cleanup(iobuf_unrefp) = iobuf_new(UNIT_BYTES);
	if (!unit)
		return -ENOMEM;
	memcpy(unit->data, want, UNIT_BYTES);
	return array_write_column(fs->array, image->band->id, image->row, column, first, end - first, unit);
}

/* heal_lock held. */
static int make_parity(struct fs *fs, const struct row_image *image, const struct live_list *list)
{
	unsigned column = band_parity_column(image->band, image->row), width = image->band->width;
	autofree uint8_t *parity = malloc(UNIT_BYTES), *units = malloc((size_t)width * UNIT_BYTES);
	struct row_image again = { image->band, image->row, units, -1 };
	if (!parity || !units)
		return -ENOMEM;
	if ((image->unreadable >= 0 && image->unreadable != (int)column) || !all_open(fs, image, list))
		return 0;
	make_from_others(image, column, parity);
	if (image->unreadable < 0 && !memcmp(parity, unit_of(image, column), UNIT_BYTES))
		return 0;
	int r = all_listed(fs, image, list);
	if (r <= 0)
		return r < 0 ? r : -EAGAIN;
	r = read_row(fs, &again);
	if (r < 0)
		return r;
	for (unsigned c = 0; c < width; c++)
		if (c != column && (again.unreadable == (int)c || memcmp(unit_of(image, c), unit_of(&again, c), UNIT_BYTES)))
			return 0;
	return write_unit(fs, image, column, parity);
}

int mend_parity(struct fs *fs, const struct band *band, uint64_t row, const struct live_list *list)
{
	autofree uint8_t *units = malloc((size_t)band->width * UNIT_BYTES);
	struct row_image image = { band, row, units, -1 };
	if (!units)
		return -ENOMEM;
	SCOPED_WRITE_LOCK(&fs->heal_lock);
	int r = read_row(fs, &image);
	return r < 0 ? r : make_parity(fs, &image, list);
}

int mend_column(struct fs *fs, const struct band *band, uint64_t row, unsigned column, const struct live_list *list)
{
	autofree uint8_t *units = malloc((size_t)band->width * UNIT_BYTES), *made = malloc(UNIT_BYTES), *there = malloc(UNIT_BYTES);
	struct row_image image = { band, row, units, -1 };
	if (!units || !made || !there)
		return -ENOMEM;
	SCOPED_WRITE_LOCK(&fs->heal_lock);
	int r = read_row(fs, &image);
	if (r < 0 || (image.unreadable >= 0 && image.unreadable != (int)column))
		return r;
	if (column == band_parity_column(band, row) && image.unreadable < 0)
		return make_parity(fs, &image, list);
	make_from_others(&image, column, made);
	memcpy(there, unit_of(&image, column), UNIT_BYTES);
	memcpy(unit_of(&image, column), made, UNIT_BYTES);
	bool right = all_open(fs, &image, list);
	memcpy(unit_of(&image, column), there, UNIT_BYTES);
	if (!right)
		return make_parity(fs, &image, list);
	if (image.unreadable < 0 && !memcmp(made, there, UNIT_BYTES))
		return 0;
	r = all_listed(fs, &image, list);
	if (r <= 0)
		return r < 0 ? r : -EAGAIN;
	r = write_unit(fs, &image, column, made);
	if (r == 0 && image.unreadable == (int)column) {
		unsigned member = band->columns[column].member;
		array_count_healed(fs->array, member);
		event_report(&fs->options.events, EVENT_HEALED, (int)member, "healed %u bytes that member %u could not read, from parity "
			"(band %u, row %llu)", UNIT_BYTES, member + 1, band->id, (unsigned long long)row);
	}
	return r;
}

/* What lives in the row, by its row item.  Body: -ENOENT if nothing does.  Where the row is in use all the same, it is to be waited for:
 * no row item leads to what the open transaction has placed early, or the last commit wrote of the system tree, before the next
 * commit; and what the open transaction has replaced still counts as long. */
static int collect_row(struct fs *fs, const struct band *band, uint64_t row, struct live_list *list)
{
	int live, r = rowlive_collect(fs, band, row, 1, list);
	if (r < 0 || list->count > 0)
		return r;
	r = alloc_row_live(fs, (uint32_t)(config_band(fs->config, band->id) - fs->config->bands), row, &live);
	return r < 0 ? r : live ? -EAGAIN : -ENOENT;
}

/* The same, verified and healed.  While mounting there are no trees yet to go by. */
static int row_list(struct fs *fs, const struct band *band, uint64_t row, struct live_list *list)
{
	unsigned bad;
	struct op op;
	int r = op_begin(fs, &op, OP_READ, 0);
	do
		r = fs->file.root && fs->system.root ? collect_row(fs, band, row, list) : -ENOENT;
	while (op_retry(&op, &r));
	op_end(&op);
	return r < 0 ? r : rowlive_verify(fs, list, &bad);
}

/* The first column whose unit cannot be read: *ret_column, or that of parity if all can. */
static int find_unreadable(struct fs *fs, const struct band *band, uint64_t row, unsigned *ret_column)
{
	autofree uint8_t *units = malloc((size_t)band->width * UNIT_BYTES);
	struct row_image image = { band, row, units, -1 };
	int r = units ? read_row(fs, &image) : -ENOMEM;
	*ret_column = r == 0 && image.unreadable >= 0 ? (unsigned)image.unreadable : band_parity_column(band, row);
	return r;
}

int mend_row(struct fs *fs, const struct band *band, uint64_t row)
{
	struct live_list list = { 0 };
	unsigned column;
	int r = row_list(fs, band, row, &list);
	if (r == 0)
		r = find_unreadable(fs, band, row, &column);
	if (r == 0)
		r = mend_column(fs, band, row, column, &list);
	free(list.items);
	return r;
}

/* What our own reading of the row has noted.  Two of its units that cannot be read would else be taken in turn for ever. */
static void forget_row(struct fs *fs, const struct bad_unit *unit)
{
	const struct band *band = config_band(fs->config, unit->band);
	for (unsigned c = 0; c < band->width; c++)
		array_forget_damage(fs->array, &(struct bad_unit){ .band = unit->band, .row = unit->row, .column = (uint8_t)c });
}

static int mend_unit(struct fs *fs, const struct bad_unit *unit)
{
	const struct band *band = config_band(fs->config, unit->band);
	struct live_list list = { 0 };
	struct store_pin pin;
	int r = commit_open(fs);
	if (r < 0)
		return r;
	store_pin_now(fs, &pin);
	r = row_list(fs, band, unit->row, &list);
	if (r == 0)
		r = mend_column(fs, band, unit->row, unit->column, &list);
	store_unpin(fs, &pin);
	free(list.items);
	return r;
}

int mend_step(struct fs *fs)
{
	struct bad_unit unit;
	pthread_mutex_lock(&fs->lock);
	bool wait = fs->durable < fs->mend_after;
	pthread_mutex_unlock(&fs->lock);
	if (wait || fs->read_only || fs->error || !array_take_damage(fs->array, &unit))
		return 0;
	int r = mend_unit(fs, &unit);
	if (r == -EIO)
		forget_row(fs, &unit);
	else
		array_forget_damage(fs->array, &unit);  /* noted again by our own reading of it */
	if (r == -EAGAIN && ++unit.tries < TRIES_MAX) {
		array_note_damage(fs->array, &unit);
		pthread_mutex_lock(&fs->lock);
		fs->mend_after = fs->open->generation;
		txn_mark_dirty(fs);
		pthread_mutex_unlock(&fs->lock);
		return 0;
	}
	return r == -ENOMEM || r == -EROFS ? r : 1;
}
