/* The check of parity: the XOR of all columns of each row in use is zero.  Only on an array whose members are all in sync. */
#include "fs/fsck/checkimpl.h"

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


static bool row_in_use(const struct fs *fs, const struct band *b, const uint8_t *in_use, uint64_t row)
{
	for (uint64_t i = row * band_row_blocks(b); i < (row + 1) * band_row_blocks(b); i++)
		if (map_get(in_use, i))
			return true;
	for (size_t i = 0; i < fs->pending_run_count; i++) {
		const struct rows *rows = &fs->pending_runs[i].rows;
		if (&fs->config->bands[rows->band] == b && row >= rows->row && row < rows->row + rows->count)
			return true;
	}
	return false;
}

static void check_rows(struct check *c, const struct band *b, const uint8_t *in_use, struct iobuf *unit, struct iobuf *sum)
{
	uint64_t before = c->findings;
	for (uint64_t row = 0; row < b->rows && c->error == 0; row++) {
		if (!row_in_use(c->fs, b, in_use, row))
			continue;
		int r = xor_of_row(c->fs, b, row, unit, sum);
		if (r == -ENOMEM)
			c->error = r;
		else if (r < 0) {
			check_suspect(c, SUSPECT_UNREADABLE, b->id, row);
			check_say(c, "Band %u, row %llu cannot be read as a whole.", b->id, (unsigned long long)row);
		} else if (!bytes_are_zero(sum->data, UNIT_BYTES)) {
			check_suspect(c, SUSPECT_PARITY, b->id, row);
			check_say(c, "Parity of band %u, row %llu is wrong.", b->id, (unsigned long long)row);
		}
	}
	c->parity_findings += c->findings - before;
}

void check_band_parity(struct check *c, const struct band *b, const uint8_t *in_use)
{
	if (array_degraded(c->fs->array))
		return;
	struct iobuf *unit = iobuf_new(UNIT_BYTES), *sum = iobuf_new(UNIT_BYTES);
	if (unit && sum)
		check_rows(c, b, in_use, unit, sum);
	else
		c->error = -ENOMEM;
	iobuf_unref(unit);
	iobuf_unref(sum);
}

bool check_row_parity(struct fs *fs, const struct band *b, uint64_t row)
{
	struct iobuf *unit = iobuf_new(UNIT_BYTES), *sum = iobuf_new(UNIT_BYTES);
	bool right = unit && sum && xor_of_row(fs, b, row, unit, sum) == 0 && bytes_are_zero(sum->data, UNIT_BYTES);
	iobuf_unref(unit);
	iobuf_unref(sum);
	return right;
}
