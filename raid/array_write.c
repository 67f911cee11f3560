/* Writing whole rows with their parity, single columns, and flushing.
 *
 * A column that has two homes (array_step.c) is written to both.
 *
 * A run of rows inside one parity run (64 rows) is one run of bytes on every column, so a call is one
 * disk_io a member: data columns with an iovec for each unit of the caller's buffer, no copy; the
 * parity column from a buffer of its own.
 *
 * Why a cut, or a member that fails here, hurts nothing: the rows are free in the newest durable
 * generation (R1).  A member that fails is dropped before the call returns, so the flush and the root
 * that would make the rows live name it out, and its gap covers them. */
#include "raid/array_impl.h"
#include "raid/array_step.h"
#include "raid/parity.h"

#include <assert.h>
#include <errno.h>

/* Parity of all rows in one buffer, row after row. */
static struct iobuf *make_parity(const struct band *band, unsigned row_count, const struct iobuf *data)
{
	unsigned units = band_data_units(band);
	struct iobuf *parity = iobuf_new((size_t)row_count * UNIT_BYTES);
	const void *sources[XOR_SOURCES_MAX];

	if (!parity)
		return NULL;
	for (unsigned r = 0; r < row_count; r++) {
		for (unsigned i = 0; i < units; i++)
			sources[i] = data->data + ((size_t)r * units + i) * UNIT_BYTES;
		xor_many(parity->data + (size_t)r * UNIT_BYTES, sources, units, UNIT_BYTES);
	}
	return parity;
}

/* The vectors of the column of that index: its unit of each row. */
static void fill_iov(const struct band *band, unsigned row_count, struct iobuf *data, unsigned index, struct iovec *iov)
{
	unsigned units = band_data_units(band);

	for (unsigned r = 0; r < row_count; r++)
		iov[r] = (struct iovec){ data->data + ((size_t)r * units + index) * UNIT_BYTES, UNIT_BYTES };
}

/* Drops what failed.  0 if the array goes on. */
static int settle_writes(struct array *array, const struct disk_io *ios, const uint8_t *members, unsigned count, const char *what)
{
	int result = 0;

	for (unsigned i = 0; i < count; i++)
		if (ios[i].result && member_write_failed(array, members[i], ios[i].result, what))
			result = -EIO;
	return result;
}

/* The same write to a home of a column, if its member takes writes. */
static bool add_write(struct array *array, const struct column *home, uint64_t row, const struct disk_io *like, struct disk_io *ios,
	uint8_t *members, unsigned *count)
{
	struct member *member = &array->members[home->member];

	if (!member_takes_writes(member))
		return false;
	ios[*count] = *like;
	ios[*count].disk = atomic_load(&member->disk);
	ios[*count].offset_bytes = column_row_offset_bytes(&array->config->geometry, home, row);
	members[(*count)++] = home->member;
	return true;
}

int array_write_rows(struct array *array, uint32_t band_id, uint64_t row, unsigned row_count, struct iobuf *data)
{
	const struct band *band = config_band(array->config, band_id);
	struct disk_io ios[MEMBERS_MAX];
	uint8_t members[MEMBERS_MAX];
	struct iovec parity_iov;
	struct iobuf *parity cleanup(iobuf_unrefp) = NULL;
	autofree struct iovec *iov = NULL;
	unsigned count = 0;

	if (!band || row >= band->rows || row_count > band->rows - row)
		return -EINVAL;
	assert(row_count > 0 && row % PARITY_RUN_ROWS + row_count <= PARITY_RUN_ROWS);
	assert(data->bytes >= (size_t)row_count * band_data_units(band) * UNIT_BYTES);
	if (atomic_load(&array->read_only))
		return -EROFS;
	parity = make_parity(band, row_count, data);
	iov = malloc((size_t)row_count * band_data_units(band) * sizeof *iov);
	if (!parity || !iov)
		return -ENOMEM;
	parity_iov = (struct iovec){ parity->data, (size_t)row_count * UNIT_BYTES };

	unsigned second_column, first_homes = 0;
	struct column second;
	bool has_second = step_second_home(array, band_id, &second_column, &second);
	for (unsigned c = 0; c < band->width; c++) {
		int index = band_index_of_column(band, row, c);
		struct disk_io io = { .op = DISK_WRITE, .length_bytes = (uint64_t)row_count * UNIT_BYTES, .iov = &parity_iov, .iov_count = 1,
			.hold = parity };
		if (index >= 0) {
			struct iovec *mine = iov + (size_t)index * row_count;
			fill_iov(band, row_count, data, (unsigned)index, mine);
			io.iov = mine;
			io.iov_count = row_count;
			io.hold = data;
		}
		first_homes += add_write(array, &band->columns[c], row, &io, ios, members, &count);
		if (has_second && c == second_column)
			add_write(array, &second, row, &io, ios, members, &count);
	}
	if (first_homes + 1u < band->width)
		return -EIO;
	disk_run(ios, count, array->io_timeout_ms);
	return settle_writes(array, ios, members, count, "a write");
}

/* The same bytes of a unit, or a run of them, to both homes of a column: -EIO if the first one did not take them. */
static int write_column(struct array *array, uint32_t band_id, uint64_t row, unsigned row_count, unsigned c, uint64_t skip_bytes,
	struct iovec iov, struct iobuf *hold)
{
	const struct band *band = config_band(array->config, band_id);
	struct disk_io ios[2], like = { .op = DISK_WRITE, .length_bytes = iov.iov_len, .iov = &iov, .iov_count = 1, .hold = hold };
	uint8_t members[2];
	unsigned count = 0, second_column;
	struct column second;

	if (!band || row >= band->rows || row_count > band->rows - row || c >= band->width)
		return -EINVAL;
	if (atomic_load(&array->read_only))
		return -EROFS;
	if (!add_write(array, &band->columns[c], row, &like, ios, members, &count))
		return -EIO;
	if (step_second_home(array, band_id, &second_column, &second) && second_column == c)
		add_write(array, &second, row, &like, ios, members, &count);
	for (unsigned i = 0; i < count; i++)
		ios[i].offset_bytes += skip_bytes;
	disk_run(ios, count, array->io_timeout_ms);
	int first = ios[0].result, r = settle_writes(array, ios, members, count, "a write");
	return first || r ? -EIO : 0;
}

int array_write_column(struct array *array, uint32_t band, uint64_t row, unsigned column, unsigned first, unsigned blocks,
	struct iobuf *unit)
{
	size_t skip_bytes = (size_t)first * BLOCK_BYTES;

	assert(unit->bytes >= UNIT_BYTES && blocks > 0 && first + blocks <= UNIT_BLOCKS);
	return write_column(array, band, row, 1, column, skip_bytes, (struct iovec){ unit->data + skip_bytes, (size_t)blocks * BLOCK_BYTES },
		unit);
}

int array_write_run(struct array *array, uint32_t band, uint64_t row, unsigned row_count, unsigned column, struct iobuf *buf)
{
	size_t bytes = (size_t)row_count * UNIT_BYTES;

	assert(row_count > 0 && buf->bytes >= bytes);
	return write_column(array, band, row, row_count, column, 0, (struct iovec){ buf->data, bytes }, buf);
}

static int write_job(struct array *array, uint32_t band_id, uint64_t row, unsigned row_count, uint64_t skip_bytes, struct iovec iov,
	struct iobuf *hold)
{
	const struct config *config = array->config;
	const struct column_job *job = config_job(config, band_id);
	struct disk_io io, like = { .op = DISK_WRITE, .length_bytes = iov.iov_len, .iov = &iov, .iov_count = 1, .hold = hold };
	uint8_t member;
	unsigned count = 0;

	if (!job)
		return -ENOENT;
	assert(row + row_count <= config_band(config, band_id)->rows);
	if (atomic_load(&array->read_only))
		return -EROFS;
	if (!add_write(array, &job->target, row, &like, &io, &member, &count))
		return -EIO;
	io.offset_bytes += skip_bytes;
	disk_run(&io, 1, array->io_timeout_ms);
	settle_writes(array, &io, &member, 1, "a write");
	return io.result ? -EIO : 0;
}

int array_job_write(struct array *array, uint32_t band, uint64_t row, unsigned row_count, struct iobuf *buf)
{
	size_t bytes = (size_t)row_count * UNIT_BYTES;

	assert(buf->bytes >= bytes);
	return write_job(array, band, row, row_count, 0, (struct iovec){ buf->data, bytes }, buf);
}

int array_job_write_blocks(struct array *array, uint32_t band, uint64_t row, unsigned first, unsigned blocks, struct iobuf *unit)
{
	size_t skip_bytes = (size_t)first * BLOCK_BYTES;

	assert(unit->bytes >= UNIT_BYTES && blocks > 0 && first + blocks <= UNIT_BLOCKS);
	return write_job(array, band, row, 1, skip_bytes, (struct iovec){ unit->data + skip_bytes, (size_t)blocks * BLOCK_BYTES }, unit);
}

int array_flush(struct array *array, uint64_t generation)
{
	struct disk_io ios[MEMBERS_MAX];
	uint8_t members[MEMBERS_MAX];
	unsigned count = 0;

	if (atomic_load(&array->read_only))
		return -EROFS;
	for (unsigned i = 0; i < array->member_count; i++) {
		struct member *member = &array->members[i];
		struct disk *disk = atomic_load(&member->disk);
		if (!member_takes_writes(member) || !disk)       /* a spare may be leaving at this moment */
			continue;
		ios[count] = (struct disk_io){ .op = DISK_FLUSH, .disk = disk };
		members[count++] = (uint8_t)i;
	}
	if (!count)
		return -EIO;
	disk_run(ios, count, array->io_timeout_ms);
	int result = settle_writes(array, ios, members, count, "a flush");
	if (result)
		return result;
	SCOPED_LOCK(&array->mutex);
	for (unsigned i = 0; i < count; i++) {
		struct member *member = &array->members[members[i]];
		if (!ios[i].result && member_state_now(member) != MEMBER_OUT && member->flushed < generation)
			member->flushed = generation;
	}
	return 0;
}
