/* A record that did not verify is healed at once by its reader (store.c), block by block.  What else is wrong of its unit (a whole unit
 * was lost, or cannot be read) is put right here, in the background: dead blocks and padding too, since the other columns' blocks are
 * rebuilt from them.
 *
 *  1. What lives in the row verifies, or is healed.
 *  2. The unit is made from the others.  If everything that lives in the row verifies with it, it is written: only the blocks that
 *     differ, or all of a unit of which something cannot be read.  (Of another unit no more may be unreadable than blocks at other places:
 *     these are made first.)
 *  3. If not, it is parity that is wrong, and is made of the data; what cannot be read of the unit is written as parity makes it there.
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

/* A row as it lies on its members; what one of them cannot read is there as the others make it. */
struct row_image {
	const struct band *band;
	uint64_t row;
	uint8_t *units;                  /* by column */
	uint8_t holes[MEMBERS_MAX];      /* by column, bit by block: what cannot be read */
};

static uint8_t *unit_of(const struct row_image *image, unsigned column) { return image->units + (size_t)column * UNIT_BYTES; }

static void make_from_others(const struct row_image *image, unsigned column, uint8_t *ret_unit)
{
	const void *sources[XOR_SOURCES_MAX];
	unsigned n = 0;
	for (unsigned c = 0; c < image->band->width; c++)
		if (c != column)
			sources[n++] = unit_of(image, c);
	xor_many(ret_unit, sources, n, UNIT_BYTES);
}

/* -EIO: two of its blocks at one place cannot be read. */
static int fill_holes(const struct row_image *image)
{
	uint8_t made[UNIT_BYTES];
	unsigned seen = 0;
	for (unsigned column = 0; column < image->band->width; column++) {
		if (seen & image->holes[column])
			return -EIO;
		seen |= image->holes[column];
	}
	for (unsigned column = 0; column < image->band->width; column++) {
		if (!image->holes[column])
			continue;
		make_from_others(image, column, made);
		for (unsigned k = 0; k < UNIT_BLOCKS; k++)
			if (image->holes[column] >> k & 1)
				memcpy(unit_of(image, column) + k * BLOCK_BYTES, made + k * BLOCK_BYTES, BLOCK_BYTES);
	}
	return 0;
}

static bool has_holes(const struct row_image *image)
{
	for (unsigned column = 0; column < image->band->width; column++)
		if (image->holes[column])
			return true;
	return false;
}

static int read_row(struct fs *fs, struct row_image *image)
{
	const struct band *b = image->band;
	for (unsigned column = 0; column < b->width; column++) {
		struct iobuf *unit cleanup(iobuf_unrefp) = iobuf_new(UNIT_BYTES);
		unsigned blocks = 0;
		int r = unit ? array_read_column_blocks(fs->array, b->id, image->row, column, unit, &blocks) : -ENOMEM;
		if (r < 0)
			return r;
		memcpy(unit_of(image, column), unit->data, UNIT_BYTES);
		image->holes[column] = (uint8_t)(~blocks & ((1u << UNIT_BLOCKS) - 1));
	}
	return fill_holes(image);
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
	uint8_t plain[UNIT_BYTES];
	return store_open(fs, &s, unit_of(image, column) + address_block(s.address) % UNIT_BLOCKS * BLOCK_BYTES, plain) == 0;
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
	if (!image->holes[column]) {
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

/* The column's unit, of which something could not be read, is whole again. */
static void tell_read_again(struct fs *fs, const struct row_image *image, unsigned column)
{
	unsigned member = image->band->columns[column].member;
	array_count_healed(fs->array, member);
	event_report(&fs->options.events, EVENT_HEALED, (int)member, "healed %u bytes that member %u could not read, from parity "
		"(band %u, row %llu)", (unsigned)__builtin_popcount(image->holes[column]) * BLOCK_BYTES, member + 1, image->band->id,
		(unsigned long long)image->row);
}

/* heal_lock held.  What cannot be read of `column` is written with it. */
static int make_parity(struct fs *fs, const struct row_image *image, unsigned column, const struct live_list *list)
{
	unsigned parity_column = band_parity_column(image->band, image->row), width = image->band->width;
	autofree uint8_t *parity = malloc(UNIT_BYTES), *units = malloc((size_t)width * UNIT_BYTES);
	struct row_image again = { .band = image->band, .row = image->row, .units = units };
	if (!parity || !units)
		return -ENOMEM;
	if (!all_open(fs, image, list))
		return has_holes(image) ? -EIO : 0;
	make_from_others(image, parity_column, parity);
	if (!image->holes[column] && !image->holes[parity_column] && !memcmp(parity, unit_of(image, parity_column), UNIT_BYTES))
		return 0;
	int r = all_listed(fs, image, list);
	if (r <= 0)
		return r < 0 ? r : -EAGAIN;
	r = read_row(fs, &again);
	if (r < 0)
		return r;
	for (unsigned c = 0; c < width; c++)
		if (c != parity_column && memcmp(unit_of(image, c), unit_of(&again, c), UNIT_BYTES))
			return 0;
	r = write_unit(fs, image, parity_column, parity);
	if (r == 0 && column != parity_column && image->holes[column])
		r = write_unit(fs, image, column, unit_of(image, column));
	if (r == 0 && image->holes[column])
		tell_read_again(fs, image, column);
	return r;
}

int mend_parity(struct fs *fs, const struct band *band, uint64_t row, const struct live_list *list)
{
	autofree uint8_t *units = malloc((size_t)band->width * UNIT_BYTES);
	struct row_image image = { .band = band, .row = row, .units = units };
	if (!units)
		return -ENOMEM;
	SCOPED_WRITE_LOCK(&fs->heal_lock);
	int r = read_row(fs, &image);
	return r < 0 ? r : make_parity(fs, &image, band_parity_column(band, row), list);
}

/* heal_lock held. */
static int make_column(struct fs *fs, struct row_image *image, unsigned column, const struct live_list *list)
{
	autofree uint8_t *made = malloc(UNIT_BYTES), *there = malloc(UNIT_BYTES);
	if (!made || !there)
		return -ENOMEM;
	int r = read_row(fs, image);
	if (r < 0)
		return r;
	if (column == band_parity_column(image->band, image->row))
		return make_parity(fs, image, column, list);
	make_from_others(image, column, made);
	memcpy(there, unit_of(image, column), UNIT_BYTES);
	memcpy(unit_of(image, column), made, UNIT_BYTES);
	bool right = all_open(fs, image, list);
	memcpy(unit_of(image, column), there, UNIT_BYTES);
	if (!right)
		return make_parity(fs, image, column, list);
	if (!image->holes[column] && !memcmp(made, there, UNIT_BYTES))
		return 0;
	r = all_listed(fs, image, list);
	if (r <= 0)
		return r < 0 ? r : -EAGAIN;
	r = write_unit(fs, image, column, made);
	if (r == 0 && image->holes[column])
		tell_read_again(fs, image, column);
	return r;
}

/* A record of which one block cannot be read, and another is damaged, was read whole by parity, and so was not healed.  Returns how many
 * such records of the row are healed now.  No lock held. */
static unsigned heal_records(struct fs *fs, const struct row_image *image, const struct live_list *list)
{
	uint8_t plain[UNIT_BYTES];
	unsigned healed = 0;
	for (size_t i = 0; i < list->count; i++) {
		const struct live *live = &list->items[i];
		if (!lies_in(live, image) || opens_from(fs, image, live))
			continue;
		struct record_ad ad;
		struct sealed s = rowlive_sealed(live, &ad);
		healed += store_read_rebuilt(fs, &s, plain) == 0;
	}
	return healed;
}

int mend_column(struct fs *fs, const struct band *band, uint64_t row, unsigned column, const struct live_list *list)
{
	autofree uint8_t *units = malloc((size_t)band->width * UNIT_BYTES);
	struct row_image image = { .band = band, .row = row, .units = units };
	if (!units)
		return -ENOMEM;
	for (bool again = false; ; again = true) {
		pthread_rwlock_wrlock(&fs->heal_lock);
		int r = make_column(fs, &image, column, list);
		pthread_rwlock_unlock(&fs->heal_lock);
		if (r != -EIO || again || heal_records(fs, &image, list) == 0)
			return r;
	}
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

/* The first column of which something cannot be read: 1; else that of parity: 0. */
static int find_unreadable(struct fs *fs, const struct band *band, uint64_t row, unsigned *ret_column)
{
	autofree uint8_t *units = malloc((size_t)band->width * UNIT_BYTES);
	struct row_image image = { .band = band, .row = row, .units = units };
	int r = units ? read_row(fs, &image) : -ENOMEM;
	unsigned column = 0;
	while (column < band->width && !image.holes[column])
		column++;
	*ret_column = column < band->width ? column : band_parity_column(band, row);
	return r < 0 ? r : column < band->width;
}

int mend_row(struct fs *fs, const struct band *band, uint64_t row)
{
	struct live_list list = { 0 };
	unsigned column = 0;
	int r = row_list(fs, band, row, &list), more = 1;
	for (unsigned i = 0; i <= band->width && r == 0 && more > 0; i++) {
		more = find_unreadable(fs, band, row, &column);
		r = more < 0 ? more : mend_column(fs, band, row, column, &list);
	}
	free(list.items);
	return r;
}

/* What our own reading of the row has noted.  Two of its units that cannot be mended would else be taken in turn for ever. */
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
	bool again = r == -EAGAIN && ++unit.tries < TRIES_MAX;
	if (r == -EIO || (r == -EAGAIN && !again))
		forget_row(fs, &unit);
	else
		array_forget_damage(fs->array, &unit);  /* noted again by our own reading of it */
	if (again) {
		array_note_damage(fs->array, &unit);
		pthread_mutex_lock(&fs->lock);
		fs->mend_after = fs->open->generation;
		txn_mark_dirty(fs);
		pthread_mutex_unlock(&fs->lock);
		return 0;
	}
	return r == -ENOMEM || r == -EROFS ? r : 1;
}
