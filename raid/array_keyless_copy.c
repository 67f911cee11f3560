/* The copying of a keyless rebuild: each unit of the member is the XOR of the other units of its row, whichever of them is parity.
 *
 * Columns are contiguous, so parity does not matter: pieces of a column's run, at the same place of each, are read side by side,
 * XORed, and written while the next ones are read.  One set of buffers for what is read and two for what is written are enough. */
#include "raid/array_keyless.h"

#include "base/cleanup.h"
#include "raid/parity.h"

#include <errno.h>
#include <string.h>

/* Long enough that disks stream; with 31 sources, buffers are 66 MiB. */
#define PIECE_ROWS (2 * PARITY_RUN_ROWS)
#define PIECE_BYTES (PIECE_ROWS * UNIT_BYTES)
#define IO_TIMEOUT_MS 30000

/* A piece of a band: at most PIECE_BYTES of each column. */
struct piece {
	const struct band *band;         /* NULL: no piece */
	unsigned column;                 /* the missing member's */
	uint64_t row;
	size_t bytes;
};

struct copy {
	const struct keyless_plan *plan;
	struct disk *target;
	int64_t timeout_ms;
	struct fail *fail;
	struct iobuf *in[MEMBERS_MAX], *out[2];      /* in: by column */
	uint32_t next_band;
	struct piece piece;              /* read last */
};

/* The piece after `at`, which goes through the bands in their order. */
static struct piece next_piece(struct copy *c, const struct piece *at)
{
	const struct config *config = c->plan->config;
	struct piece next = *at;
	uint64_t rows;

	if (next.band)
		next.row += next.bytes / UNIT_BYTES;
	while (!next.band || next.row == next.band->rows) {
		if (c->next_band == config->band_count)
			return (struct piece){ 0 };
		const struct band *band = &config->bands[c->next_band++];
		int column = band_column_of(band, c->plan->member);
		next = column < 0 ? (struct piece){ 0 } : (struct piece){ .band = band, .column = (unsigned)column };
	}
	rows = next.band->rows - next.row;
	next.bytes = rows < PIECE_ROWS ? (size_t)rows * UNIT_BYTES : PIECE_BYTES;
	return next;
}

static uint64_t offset_of(const struct copy *c, const struct piece *p, unsigned column)
{
	return column_row_offset_bytes(&c->plan->config->geometry, &p->band->columns[column], p->row);
}

static int fail_write(const struct copy *c, int error)
{
	return fail_set(c->fail, -error, FAIL_SYSTEM, "%s: a write failed (%s). Nothing is lost, and it is no member yet. Use another disk.",
		c->target->name, error == -ETIMEDOUT ? "it did not answer in time" : strerror(-error));
}

static int fail_read(const struct copy *c, const struct disk *disk, const struct piece *p, uint64_t row, uint64_t offset_bytes, int error)
{
	if (error == -ETIMEDOUT)
		return fail_set(c->fail, ETIMEDOUT, FAIL_SYSTEM, "%s did not answer in time (byte %llu). Nothing is lost, and %s is no member yet. "
			"Check its cable and power, and try again.", disk->name, (unsigned long long)offset_bytes, c->target->name);
	return fail_set(c->fail, -error, FAIL_SYSTEM, "%s cannot be read at byte %llu (%s), so that row %llu of band %u cannot be made. "
		"Nothing is lost, and %s is no member yet. Check its cable and try again; if it stays so, copy this disk to a good one as far as it "
		"can be read, or mount the array without the missing member and copy the files: all but those in this row can be read.",
		disk->name, (unsigned long long)offset_bytes, strerror(-error), (unsigned long long)row, p->band->id, c->target->name);
}

/* A long read failed: once more, unit by unit, to get what comes on a second try, or to say where it does not. */
static int read_again(const struct copy *c, const struct piece *p, unsigned column)
{
	struct disk *disk = c->plan->sources[p->band->columns[column].member];

	for (size_t at = 0; at < p->bytes; at += UNIT_BYTES) {
		struct iovec iov = { c->in[column]->data + at, UNIT_BYTES };
		struct disk_io io = { .op = DISK_READ, .disk = disk, .offset_bytes = offset_of(c, p, column) + at, .length_bytes = UNIT_BYTES,
			.iov = &iov, .iov_count = 1, .hold = c->in[column] };
		disk_run(&io, 1, c->timeout_ms);
		if (io.result)
			return fail_read(c, disk, p, p->row + at / UNIT_BYTES, io.offset_bytes, io.result);
	}
	return 0;
}

/* Reads the columns of `read` and writes the one of `written`, side by side.  Either may be no piece. */
static int transfer(struct copy *c, const struct piece *read, const struct piece *written, struct iobuf *out)
{
	struct disk_io ios[MEMBERS_MAX + 1];
	struct iovec iov[MEMBERS_MAX + 1];
	unsigned columns[MEMBERS_MAX], count = 0, reads;

	for (unsigned i = 0; read->band && i < read->band->width; i++) {
		if (i == read->column)
			continue;
		iov[count] = (struct iovec){ c->in[i]->data, read->bytes };
		ios[count] = (struct disk_io){ .op = DISK_READ, .disk = c->plan->sources[read->band->columns[i].member],
			.offset_bytes = offset_of(c, read, i), .length_bytes = read->bytes, .iov = &iov[count], .iov_count = 1, .hold = c->in[i] };
		columns[count++] = i;
	}
	reads = count;
	if (written->band) {
		iov[count] = (struct iovec){ out->data, written->bytes };
		ios[count] = (struct disk_io){ .op = DISK_WRITE, .disk = c->target, .offset_bytes = offset_of(c, written, written->column),
			.length_bytes = written->bytes, .iov = &iov[count], .iov_count = 1, .hold = out };
		count++;
	}
	disk_run(ios, count, c->timeout_ms);
	if (count > reads && ios[reads].result)
		return fail_write(c, ios[reads].result);
	for (unsigned i = 0; i < reads; i++) {
		if (ios[i].result == -ETIMEDOUT)
			return fail_read(c, ios[i].disk, read, read->row, ios[i].offset_bytes, -ETIMEDOUT);
		int r = ios[i].result ? read_again(c, read, columns[i]) : 0;
		if (r)
			return r;
	}
	return 0;
}

static void make_units(const struct copy *c, const struct piece *p, struct iobuf *out)
{
	const void *sources[MEMBERS_MAX];
	unsigned count = 0;

	for (unsigned i = 0; i < p->band->width; i++)
		if (i != p->column)
			sources[count++] = c->in[i]->data;
	xor_many(out->data, sources, count, p->bytes);
}

static int copy_all(struct copy *c, const struct keyless_options *options)
{
	struct piece read = next_piece(c, &(struct piece){ 0 }), written = { 0 };
	uint64_t done_bytes = 0;

	for (unsigned turn = 0; read.band || written.band; turn = 1 - turn) {
		if (options->progress && !options->progress(options->ctx, done_bytes, c->plan->copy_bytes))
			return fail_set(c->fail, ECANCELED, FAIL_SYSTEM, "Stopped. Nothing is lost; %s is no member.", c->target->name);
		int r = transfer(c, &read, &written, c->out[1 - turn]);
		if (r)
			return r;
		done_bytes += written.bytes;
		if (read.band)
			make_units(c, &read, c->out[turn]);
		written = read;
		if (read.band)
			read = next_piece(c, &read);
	}
	return 0;
}

int keyless_copy(const struct keyless_plan *plan, struct disk *target, const struct keyless_options *options, struct fail *fail)
{
	struct copy c = { .plan = plan, .target = target, .fail = fail,
		.timeout_ms = options->io_timeout_ms > 0 ? options->io_timeout_ms : IO_TIMEOUT_MS };
	unsigned width = 0;
	bool enough = true;

	for (uint32_t b = 0; b < plan->config->band_count; b++)
		if (band_column_of(&plan->config->bands[b], plan->member) >= 0 && plan->config->bands[b].width > width)
			width = plan->config->bands[b].width;
	for (unsigned i = 0; i < width; i++)
		enough = (c.in[i] = iobuf_new(PIECE_BYTES)) && enough;
	for (unsigned i = 0; i < 2; i++)
		enough = (c.out[i] = iobuf_new(PIECE_BYTES)) && enough;
	int r = enough ? copy_all(&c, options) : fail_set(fail, ENOMEM, FAIL_SYSTEM, "No memory to rebuild.");
	for (unsigned i = 0; i < width; i++)
		iobuf_unref(c.in[i]);
	for (unsigned i = 0; i < 2; i++)
		iobuf_unref(c.out[i]);
	return r;
}
