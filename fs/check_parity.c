/* The self-check of parity: the XOR of all columns of each row in use is zero.  Only on an array whose members are all in sync. */
#include "fs/checkimpl.h"

#include <errno.h>
#include <string.h>

/* XOR of a row's columns: -EIO if one cannot be read. */
static int xor_of_row(struct fs *fs, const struct band *b, uint64_t row, struct iobuf *unit, struct iobuf *sum)
{
	memset(sum->data, 0, UNIT_BYTES);
	for (unsigned column = 0; column < b->width; column++) {
		int r = array_read_column(fs->array, b->id, row, column, unit);
		if (r < 0)
			return r;
		for (unsigned i = 0; i < UNIT_BYTES; i++)
			sum->data[i] ^= unit->data[i];
	}
	return 0;
}

static bool all_zero(const uint8_t *bytes) { return bytes[0] == 0 && !memcmp(bytes, bytes + 1, UNIT_BYTES - 1); }

static bool row_in_use(const struct check_band *map, const struct band *b, uint64_t row)
{
	for (uint64_t i = row * band_row_blocks(b); i < (row + 1) * band_row_blocks(b); i++)
		if (map_get(map->reached, i))
			return true;
	return false;
}

static void check_band_parity(struct check *c, uint32_t band, struct iobuf *unit, struct iobuf *sum)
{
	const struct band *b = &c->fs->config->bands[band];
	for (uint64_t row = 0; row < b->rows && c->error == 0; row++) {
		if (!row_in_use(&c->bands[band], b, row))
			continue;
		int r = xor_of_row(c->fs, b, row, unit, sum);
		if (r == -ENOMEM)
			c->error = r;
		else if (r < 0)
			check_say(c, "Band %u, row %llu cannot be read as a whole.", b->id, (unsigned long long)row);
		else if (!all_zero(sum->data))
			check_say(c, "Parity of band %u, row %llu is wrong.", b->id, (unsigned long long)row);
	}
}

void check_parity(struct check *c)
{
	if (array_degraded(c->fs->array))
		return;
	struct iobuf *unit = iobuf_new(UNIT_BYTES), *sum = iobuf_new(UNIT_BYTES);
	if (!unit || !sum)
		c->error = -ENOMEM;
	for (uint32_t i = 0; i < c->fs->config->band_count && c->error == 0; i++)
		check_band_parity(c, i, unit, sum);
	iobuf_unref(unit);
	iobuf_unref(sum);
}
