/* A unit that is to be made for a member is mostly the XOR of the others, as a whole.  This is for rows in which something else is wrong: a
 * sector of another member cannot be read, or a record is lost.  What is not concerned by that must not be lost with it when the next
 * member fails, so each block is looked at by itself:
 *
 *  1. Blocks are made of the others where all of these can be read there.
 *  2. Where a record of the unit lives its tag decides, and nothing else.
 *  3. Other blocks, of parity or dead, are right only where no record of another column is lost. */
#include "fs/upkeep/gather.h"

#include <errno.h>
#include <string.h>

struct gathering {
	struct fs *fs;
	const struct band *band;
	uint64_t row;
	unsigned column;
	uint8_t *unit;
	unsigned made, sure, lost;       /* bit by block: by the others, by a tag, not to be had */
};

static bool opens(struct fs *fs, const struct sealed *s, const uint8_t *bytes)
{
	uint8_t plain[UNIT_BYTES];
	return store_open(fs, s, bytes, plain) == 0;
}

/* The record as it is sealed: 0, -EIO, -ENOMEM.  It heals nothing, since the caller has heal_lock. */
static int fetch(struct fs *fs, const struct sealed *s, uint8_t *ret_bytes)
{
	int (*const ways[])(struct array *, address, unsigned, struct iobuf *, size_t) = { array_read, array_read_rebuilt,
		array_read_distrusted };
	int r = store_address_valid(fs, s->address, s->blocks) ? 1 : -EIO;
	for (unsigned i = 0; i < ARRAY_COUNT(ways) && r > 0; i++) {
		struct iobuf *buf cleanup(iobuf_unrefp) = iobuf_new(UNIT_BYTES);
		if (!buf)
			return -ENOMEM;
		if (ways[i](fs->array, s->address, s->blocks, buf, 0) == 0 && opens(fs, s, buf->data)) {
			memcpy(ret_bytes, buf->data, s->blocks * BLOCK_BYTES);
			r = 0;
		}
	}
	return r > 0 ? -EIO : r;
}

static int gather_record(struct gathering *g, const struct live *live, bool lost)
{
	address at = rowlive_address(live);
	if (address_band(at) != g->band->id || band_row_of(g->band, at) != g->row)
		return 0;
	struct record_ad ad;
	struct sealed s = rowlive_sealed(live, &ad);
	unsigned first = (unsigned)(address_block(at) % UNIT_BLOCKS), mask = ((1u << s.blocks) - 1) << first;
	bool mine = band_data_column(g->band, g->row, (unsigned)(address_unit(at) % band_data_units(g->band))) == g->column;
	uint8_t bytes[UNIT_BYTES], *there = g->unit + first * BLOCK_BYTES;
	if (mine && (g->made & mask) == mask && opens(g->fs, &s, there)) {
		g->sure |= mask;
		return 0;
	}
	if (!mine && !lost)
		return 0;
	int r = fetch(g->fs, &s, bytes);
	if (r == -ENOMEM)
		return r;
	if (r == 0 && mine) {
		memcpy(there, bytes, s.blocks * BLOCK_BYTES);
		g->sure |= mask;
	} else if (r < 0)
		g->lost |= mask;
	return 0;
}

unsigned gather_run(unsigned blocks, unsigned *first)
{
	unsigned count = 0;
	while (*first < UNIT_BLOCKS && !(blocks >> *first & 1))
		++*first;
	while (*first + count < UNIT_BLOCKS && (blocks >> (*first + count) & 1))
		count++;
	return count;
}

int gather_unit(struct fs *fs, const struct band *band, uint64_t row, unsigned column, const struct live_list *list, bool lost,
	struct iobuf *ret_unit, struct gathered *ret_gathered)
{
	struct gathering g = { .fs = fs, .band = band, .row = row, .column = column, .unit = ret_unit->data };
	int r = array_rebuild_blocks(fs->array, band->id, row, column, ret_unit, &g.made);
	for (size_t i = 0; i < list->count && r == 0; i++)
		r = gather_record(&g, &list->items[i], lost);
	if (r == 0)
		*ret_gathered = (struct gathered){ (g.made & ~g.lost) | g.sure, g.made | g.sure };
	return r;
}
