#include "fs/space/rowrun.h"
#include "fs/tree/store.h"
#include "raid/parity.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int rowrun_read(struct fs *fs, const struct band *band, uint64_t row, unsigned rows, uint32_t columns, struct rowrun *ret_run)
{
	uint32_t failed;
	*ret_run = (struct rowrun){ .band = band, .row = row, .rows = rows };
	for (unsigned c = 0; c < band->width; c++)
		if (columns >> c & 1 && !(ret_run->units[c] = iobuf_new((size_t)rows * UNIT_BYTES)))
			return -ENOMEM;
	int r = array_read_run(fs->array, band->id, row, rows, columns, ret_run->units, &failed);
	if (r == 0)
		ret_run->have = columns & ~failed;
	return r;
}

void rowrun_free(struct rowrun *run)
{
	for (unsigned c = 0; c < MEMBERS_MAX; c++)
		iobuf_unref(run->units[c]);
}

int rowrun_make(struct rowrun *run, unsigned column)
{
	const void *sources[XOR_SOURCES_MAX];
	unsigned n = 0;
	for (unsigned c = 0; c < run->band->width; c++)
		if (c != column)
			sources[n++] = run->units[c]->data;
	iobuf_unref(run->units[column]);
	run->units[column] = iobuf_new((size_t)run->rows * UNIT_BYTES);
	if (!run->units[column])
		return -ENOMEM;
	xor_many(run->units[column]->data, sources, n, (size_t)run->rows * UNIT_BYTES);
	run->have |= UINT32_C(1) << column;
	return 0;
}

unsigned rowrun_parity_wrong(const struct rowrun *run, unsigned i)
{
	unsigned parity = band_parity_column(run->band, run->row + i), n = 0, wrong = 0;
	size_t skip_bytes = (size_t)i * UNIT_BYTES;
	const void *sources[XOR_SOURCES_MAX];
	uint8_t sum[UNIT_BYTES];
	for (unsigned c = 0; c < run->band->width; c++)
		if (c != parity)
			sources[n++] = run->units[c]->data + skip_bytes;
	xor_many(sum, sources, n, UNIT_BYTES);
	for (unsigned k = 0; k < UNIT_BLOCKS; k++)
		if (memcmp(sum + k * BLOCK_BYTES, run->units[parity]->data + skip_bytes + k * BLOCK_BYTES, BLOCK_BYTES))
			wrong |= 1u << k;
	return wrong;
}

static unsigned column_of(const struct rowrun *run, address at)
{
	return band_data_column(run->band, band_row_of(run->band, at), (unsigned)(address_unit(at) % band_data_units(run->band)));
}

/* Where the record's bytes are, or NULL. */
static const uint8_t *bytes_of(const struct rowrun *run, address at)
{
	uint64_t row = band_row_of(run->band, at);
	unsigned column = column_of(run, at);
	if (!(run->have >> column & 1))
		return NULL;
	return run->units[column]->data + (row - run->row) * UNIT_BYTES + address_block(at) % UNIT_BLOCKS * BLOCK_BYTES;
}

static bool lies_in(const struct rowrun *run, address at)
{
	if (address_band(at) != run->band->id)
		return false;
	uint64_t row = band_row_of(run->band, at);
	return row >= run->row && row - run->row < run->rows;
}

/* Records that follow one another mostly are of one batch, and share its subkey. */
struct opener {
	struct fs *fs;
	struct seal_batch batch;
	bool begun;
	uint8_t nonce[SEAL_NONCE_BYTES];
};

static bool verifies(struct opener *o, const struct live *live, const uint8_t *bytes)
{
	uint8_t scratch[UNIT_BYTES];
	struct record_ad ad;
	struct sealed s = rowlive_sealed(live, &ad);
	if (!o->begun || memcmp(s.nonce, o->nonce, sizeof o->nonce)) {
		if (o->begun)
			seal_batch_end(&o->batch);
		open_batch_begin(&o->fs->keys->data, s.nonce, &o->batch);
		memcpy(o->nonce, s.nonce, sizeof o->nonce);
		o->begun = true;
	}
	return verify_record_in(&o->batch, s.index, &ad, sizeof ad, bytes, s.blocks * BLOCK_BYTES, s.tag, scratch) == 0;
}

unsigned rowrun_verify(struct fs *fs, const struct rowrun *run, const struct live_list *list, uint32_t columns, bool *ret_bad)
{
	struct opener o = { .fs = fs };
	unsigned bad = 0;
	for (size_t i = 0; i < list->count; i++) {
		const struct live *live = &list->items[i];
		address at = rowlive_address(live);
		bool asked = lies_in(run, at) && (columns >> column_of(run, at) & 1);
		const uint8_t *bytes = asked ? bytes_of(run, at) : NULL;
		bool wrong = asked && (!bytes || !verifies(&o, live, bytes));
		if (ret_bad)
			ret_bad[i] = wrong;
		bad += wrong;
	}
	if (o.begun)
		seal_batch_end(&o.batch);
	return bad;
}
