/* Reading units: straight from their columns, or by XOR of the others.
 *
 * A request is cut in pieces, one for each unit it touches, at most PIECES_MAX at a time.  All pieces
 * of one column that lie side by side on its member go as one disk_io with an iovec for each; all
 * columns run side by side.  The common case (every member there, no error) ends here, and allocates
 * nothing up to PIECES_STACK pieces.
 *
 * A piece that cannot be had is rebuilt from all other units of its row.  Of these, those that the
 * request reads anyway are taken from its own buffer, the rest goes to scratch memory, so that a long
 * degraded read costs one parity unit more and not a second pass.  The order of trust:
 *
 *   1. the column itself, if its member is in sync, or filling and the row lies below its position;
 *   2. the XOR of the others, none of them out;
 *   3. the column itself whatever its state, if it still answers: the unit may be stale;
 *   4. the XOR of the others, also of those that are out.
 *
 * What 3 and 4 give may be old: the caller's tags decide, as they do for everything.  Where they say that it is 2 that was wrong, the
 * caller asks for 3 (array_read_distrusted).  Pieces that still failed are tried once more block by block: two members may have one bad
 * block each in one row.
 *
 * A long I/O that failed is repeated piece by piece, so that one bad sector costs one unit.
 *
 * A member that hangs keeps a reference on the buffer and may write into it at any later time.  For
 * scratch memory that is harmless; of the caller's buffer nothing may be trusted any more, and the
 * call ends with -ETIMEDOUT: the caller tries again in a fresh buffer. */
#include "raid/array_impl.h"
#include "raid/parity.h"

#include <assert.h>
#include <errno.h>

#define PIECES_MAX 128u
#define PIECES_STACK 72u

/* Of a piece: still to be read, read, or its column is not to be asked. */
enum { WANTED = 1, READ = 0, AVOIDED = -ENODEV };

struct piece {
	uint64_t row;
	uint8_t column;
	uint8_t first, blocks;           /* blocks [first, first + blocks) of the unit */
	bool direct;                     /* the column itself was asked */
	int status;                      /* WANTED, READ, AVOIDED, or another -errno */
	struct iobuf *buf;
	size_t offset_bytes;             /* where in buf it goes */
};

struct reading {
	struct array *array;
	const struct band *band;
	struct iobuf *user;              /* the caller's buffer */
};

static struct member *column_member(const struct reading *r, unsigned column)
{
	return &r->array->members[r->band->columns[column].member];
}

static uint8_t *piece_data(const struct piece *piece)
{
	return piece->buf->data + piece->offset_bytes;
}

/* Is the column a last resort for this row (see 1 and 3 above)? */
static bool avoided(const struct reading *r, unsigned column, uint64_t row)
{
	struct member *member = column_member(r, column);
	uint8_t state = member_state_now(member);

	if (state == MEMBER_IN_SYNC)
		return !atomic_load(&member->disk);
	if (state != MEMBER_FILLING)
		return true;
	SCOPED_LOCK(&r->array->mutex);
	return member->gap.present && band_row_address(r->band, row) >= member->gap.position;
}

/* ---- Running pieces ---- */

struct run_memory {
	struct disk_io ios[PIECES_STACK];
	struct iovec iov[PIECES_STACK];
	uint32_t io_of[PIECES_STACK];
};

/* Fills ios for all wanted pieces; io_of tells each piece's.  Returns their number. */
static unsigned plan_ios(const struct reading *r, struct piece *pieces, unsigned count, bool merge, struct disk_io *ios,
	struct iovec *iov, uint32_t *io_of)
{
	const struct geometry *g = &r->array->config->geometry;
	unsigned io_count = 0, iov_count = 0;

	for (unsigned column = 0; column < r->band->width; column++) {
		struct disk *disk = atomic_load(&column_member(r, column)->disk);
		struct disk_io *last = NULL;

		for (unsigned i = 0; i < count; i++) {
			struct piece *p = &pieces[i];
			uint64_t length_bytes = (uint64_t)p->blocks * BLOCK_BYTES;
			if (p->column != column || p->status != WANTED)
				continue;
			if (!disk) {
				p->status = AVOIDED;
				continue;
			}
			uint64_t offset_bytes = column_row_offset_bytes(g, &r->band->columns[column], p->row) + p->first * BLOCK_BYTES;
			iov[iov_count] = (struct iovec){ .iov_base = piece_data(p), .iov_len = length_bytes };
			if (merge && last && last->hold == p->buf && last->offset_bytes + last->length_bytes == offset_bytes) {
				last->length_bytes += length_bytes;
				last->iov_count++;
			} else {
				last = &ios[io_count++];
				*last = (struct disk_io){ .op = DISK_READ, .disk = disk, .offset_bytes = offset_bytes,
					.length_bytes = length_bytes, .iov = &iov[iov_count], .iov_count = 1, .hold = p->buf };
			}
			iov_count++;
			io_of[i] = io_count - 1;
		}
	}
	return io_count;
}

static void note_unreadable(const struct reading *r, const struct piece *p)
{
	if (member_state_now(column_member(r, p->column)) == MEMBER_IN_SYNC)
		array_note_damage(r->array, &(struct bad_unit){ .band = r->band->id, .column = p->column, .row = p->row });
}

/* Runs the wanted pieces.  *ret_again: pieces of merged ios that failed are wanted again, each alone. */
static int run_once(const struct reading *r, struct piece *pieces, unsigned count, bool merge, struct disk_io *ios,
	struct iovec *iov, uint32_t *io_of, bool *ret_again)
{
	unsigned io_count = plan_ios(r, pieces, count, merge, ios, iov, io_of);
	bool again = false, hangs = false;

	if (!io_count)
		return 0;
	disk_run(ios, io_count, r->array->io_timeout_ms);
	for (unsigned i = 0; i < count; i++) {
		struct piece *p = &pieces[i];
		if (p->status != WANTED)
			continue;
		const struct disk_io *io = &ios[io_of[i]];
		struct member *member = column_member(r, p->column);
		if (!io->result) {
			p->status = READ;
			member_read_worked(member);
			continue;
		}
		hangs = hangs || (io->result == -ETIMEDOUT && io->hold == r->user);
		if (io->iov_count > 1 && io->result != -ETIMEDOUT) {
			again = true;
			continue;
		}
		p->status = io->result;
		if (io->result != -ETIMEDOUT)
			note_unreadable(r, p);
		/* A long one that hangs counts once. */
		if (io->iov[0].iov_base == piece_data(p))
			member_read_failed(r->array, r->band->columns[p->column].member, io->result);
	}
	*ret_again = again;
	return hangs ? -ETIMEDOUT : 0;
}

/* Reads the wanted pieces: 0 with a status in each, -ENOMEM, or -ETIMEDOUT when the caller's buffer is lost. */
static int run_pieces(const struct reading *r, struct piece *pieces, unsigned count)
{
	struct run_memory stack;
	autofree void *heap = NULL;
	struct disk_io *ios = stack.ios;
	struct iovec *iov = stack.iov;
	uint32_t *io_of = stack.io_of;
	bool again = false;
	int result;

	if (count > PIECES_STACK) {
		heap = malloc(count * (sizeof *ios + sizeof *iov + sizeof *io_of));
		if (!heap)
			return -ENOMEM;
		ios = heap;
		iov = (struct iovec *)(ios + count);
		io_of = (uint32_t *)(iov + count);
	}
	result = run_once(r, pieces, count, true, ios, iov, io_of, &again);
	if (!result && again)
		result = run_once(r, pieces, count, false, ios, iov, io_of, &again);
	return result;
}

/* ---- Rebuilding ---- */

/* What one rebuilding pass works on: the request's pieces, then scratch pieces of other columns. */
struct rebuild {
	struct piece *all;
	uint32_t *sources;               /* for each failed piece width-1 indexes into all */
	unsigned count, scratch_blocks;
};

static bool covers(const struct piece *p, uint64_t row, unsigned column, unsigned first, unsigned blocks)
{
	return p->row == row && p->column == column && p->first <= first && p->first + p->blocks >= first + blocks && p->status >= 0;
}

/* May the column serve as a source? */
static bool usable(const struct reading *r, unsigned column, bool also_out)
{
	struct member *member = column_member(r, column);
	struct disk *disk = atomic_load(&member->disk);

	if (!disk)
		return false;
	return member_state_now(member) != MEMBER_OUT || (also_out && disk_quiet(disk));
}

/* The source for `failed` in `column`: a piece of the request, or a new one. */
static uint32_t plan_source(const struct reading *r, struct rebuild *b, unsigned piece_count, unsigned failed, unsigned column,
	bool also_out)
{
	const struct piece *f = &b->all[failed];

	/* Pieces of a row are neighbours. */
	for (unsigned i = failed > r->band->width ? failed - r->band->width : 0; i < piece_count && i <= failed + r->band->width; i++)
		if (i != failed && covers(&b->all[i], f->row, column, f->first, f->blocks))
			return i;
	struct piece *p = &b->all[b->count];
	*p = (struct piece){ .row = f->row, .column = (uint8_t)column, .first = f->first, .blocks = f->blocks,
		.status = usable(r, column, also_out) ? WANTED : AVOIDED, .offset_bytes = (size_t)b->scratch_blocks * BLOCK_BYTES };
	b->scratch_blocks += f->blocks;
	return b->count++;
}

/* XORs the sources of `failed` into its place, if all were read. */
static void combine(const struct reading *r, const struct rebuild *b, struct piece *failed, const uint32_t *sources)
{
	const void *data[XOR_SOURCES_MAX];

	for (unsigned k = 0; k + 1u < r->band->width; k++) {
		const struct piece *p = &b->all[sources[k]];
		if (p->status != READ)
			return;
		data[k] = piece_data(p) + (size_t)(failed->first - p->first) * BLOCK_BYTES;
	}
	xor_many(piece_data(failed), data, r->band->width - 1u, (size_t)failed->blocks * BLOCK_BYTES);
	failed->status = READ;
}

/* One pass: reads what is still wanted together with the sources of what failed, and rebuilds that. */
static int rebuild_pass(const struct reading *r, struct piece *pieces, unsigned count, unsigned failed_count, bool also_out)
{
	unsigned others = r->band->width - 1u, n = 0;
	size_t max = count + (size_t)failed_count * others;
	autofree struct piece *all = malloc(max * sizeof *all);
	autofree uint32_t *sources = malloc((size_t)failed_count * others * sizeof *sources);
	struct iobuf *scratch cleanup(iobuf_unrefp) = NULL;
	struct rebuild b = { .all = all, .sources = sources, .count = count };
	int result;

	if (!all || !sources)
		return -ENOMEM;
	memcpy(all, pieces, count * sizeof *all);
	for (unsigned i = 0; i < count; i++)
		for (unsigned column = 0; all[i].status < 0 && column < r->band->width; column++)
			if (column != all[i].column)
				sources[n++] = plan_source(r, &b, count, i, column, also_out);
	assert(n == failed_count * others);
	if (b.scratch_blocks) {
		scratch = iobuf_new((size_t)b.scratch_blocks * BLOCK_BYTES);
		if (!scratch)
			return -ENOMEM;
	}
	for (unsigned i = count; i < b.count; i++)
		all[i].buf = scratch;
	result = run_pieces(r, all, b.count);
	if (result)
		return result;
	n = 0;
	for (unsigned i = 0; i < count; i++) {
		if (pieces[i].status < 0) {
			combine(r, &b, &all[i], &sources[n]);
			n += others;
		}
	}
	memcpy(pieces, all, count * sizeof *all);
	return 0;
}

static unsigned count_failed(const struct piece *pieces, unsigned count)
{
	unsigned failed = 0;

	for (unsigned i = 0; i < count; i++)
		failed += pieces[i].status < 0;
	return failed;
}

/* Asks columns that were avoided after all, if they still answer. */
static int last_resort(const struct reading *r, struct piece *pieces, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		if (pieces[i].status < 0 && !pieces[i].direct && usable(r, pieces[i].column, true)) {
			pieces[i].status = WANTED;
			pieces[i].direct = true;
		}
	}
	return run_pieces(r, pieces, count);
}

/* Reads pieces by all means; `rebuilt_only`: never from their own columns.  0, or -EIO with the
 * statuses of those that failed. */
static int read_pieces(const struct reading *r, struct piece *pieces, unsigned count, bool rebuilt_only)
{
	unsigned failed;
	int result;

	for (unsigned i = 0; i < count; i++) {
		pieces[i].direct = !rebuilt_only && !avoided(r, pieces[i].column, pieces[i].row);
		pieces[i].status = pieces[i].direct ? WANTED : AVOIDED;
	}
	failed = count_failed(pieces, count);
	if (!failed) {
		result = run_pieces(r, pieces, count);
		if (result || !(failed = count_failed(pieces, count)))
			return result;
	}
	/* The first pass may find more that fail: they get a second one. */
	for (unsigned pass = 0; pass < 2 && failed; pass++) {
		result = rebuild_pass(r, pieces, count, failed, false);
		if (result)
			return result;
		failed = count_failed(pieces, count);
	}
	if (failed && !rebuilt_only) {
		result = last_resort(r, pieces, count);
		if (result)
			return result;
		failed = count_failed(pieces, count);
	}
	if (failed) {
		result = rebuild_pass(r, pieces, count, failed, true);
		if (result)
			return result;
		failed = count_failed(pieces, count);
	}
	return failed ? -EIO : 0;
}

/* As read_pieces, and then block by block what failed. */
static int read_thoroughly(const struct reading *r, struct piece *pieces, unsigned count, bool rebuilt_only)
{
	int result = read_pieces(r, pieces, count, rebuilt_only);

	if (result != -EIO)
		return result;
	for (unsigned i = 0; i < count; i++) {
		if (pieces[i].status >= 0)
			continue;
		if (pieces[i].blocks == 1)
			return -EIO;
		for (unsigned k = 0; k < pieces[i].blocks; k++) {
			struct piece one = pieces[i];
			one.first += (uint8_t)k;
			one.blocks = 1;
			one.offset_bytes += (size_t)k * BLOCK_BYTES;
			result = read_pieces(r, &one, 1, rebuilt_only);
			if (result)
				return result;
		}
	}
	return 0;
}

/* ---- The interface ---- */

/* Cuts pieces off the front of a request of blocks [block, block + blocks) of the band. */
static unsigned cut(const struct band *band, uint64_t *block, unsigned *blocks, struct iobuf *buf, size_t *offset_bytes,
	struct piece pieces[PIECES_MAX])
{
	unsigned n = 0;

	while (*blocks && n < PIECES_MAX) {
		uint64_t unit = *block / UNIT_BLOCKS, row = unit / band_data_units(band);
		unsigned first = (unsigned)(*block % UNIT_BLOCKS), length = UNIT_BLOCKS - first;
		if (length > *blocks)
			length = *blocks;
		pieces[n++] = (struct piece){ .row = row, .first = (uint8_t)first, .blocks = (uint8_t)length,
			.column = (uint8_t)band_data_column(band, row, (unsigned)(unit % band_data_units(band))),
			.buf = buf, .offset_bytes = *offset_bytes };
		*block += length;
		*blocks -= length;
		*offset_bytes += (size_t)length * BLOCK_BYTES;
	}
	return n;
}

static int read_blocks(struct array *array, address from, unsigned blocks, struct iobuf *buf, size_t offset_bytes, bool rebuilt_only)
{
	struct piece pieces[PIECES_MAX];
	const struct band *band = config_band(array->config, address_band(from));
	struct reading r = { .array = array, .band = band, .user = buf };
	uint64_t block = address_block(from);

	if (!band || !blocks || block >= band_blocks(band) || blocks > band_blocks(band) - block)
		return -EINVAL;
	assert(offset_bytes % BLOCK_BYTES == 0 && offset_bytes + (size_t)blocks * BLOCK_BYTES <= buf->bytes);
	while (blocks) {
		unsigned n = cut(band, &block, &blocks, buf, &offset_bytes, pieces);
		int result = read_thoroughly(&r, pieces, n, rebuilt_only);
		if (result)
			return result;
	}
	return 0;
}

int array_read(struct array *array, address from, unsigned blocks, struct iobuf *buf, size_t offset_bytes)
{
	return read_blocks(array, from, blocks, buf, offset_bytes, false);
}

int array_read_rebuilt(struct array *array, address from, unsigned blocks, struct iobuf *buf, size_t offset_bytes)
{
	assert(address_block(from) % UNIT_BLOCKS + blocks <= UNIT_BLOCKS);
	return read_blocks(array, from, blocks, buf, offset_bytes, true);
}

int array_read_distrusted(struct array *array, address from, unsigned blocks, struct iobuf *buf, size_t offset_bytes)
{
	struct piece pieces[PIECES_MAX], *p = pieces;
	const struct band *band = config_band(array->config, address_band(from));
	struct reading r = { .array = array, .band = band, .user = buf };
	uint64_t block = address_block(from);

	if (!band || !blocks || block >= band_blocks(band) || blocks > band_blocks(band) - block)
		return -EINVAL;
	assert(block % UNIT_BLOCKS + blocks <= UNIT_BLOCKS && offset_bytes + (size_t)blocks * BLOCK_BYTES <= buf->bytes);
	cut(band, &block, &blocks, buf, &offset_bytes, pieces);
	if (!avoided(&r, p->column, p->row) || !usable(&r, p->column, true))
		return -EIO;
	p->status = WANTED;
	p->direct = true;
	int result = run_pieces(&r, p, 1);
	return result ? result : p->status == READ ? 0 : -EIO;
}

static int column_piece(struct array *array, uint32_t band_id, uint64_t row, unsigned column, struct iobuf *unit,
	struct reading *ret_reading, struct piece *ret_piece)
{
	const struct band *band = config_band(array->config, band_id);

	if (!band || row >= band->rows || column >= band->width)
		return -EINVAL;
	assert(unit->bytes >= UNIT_BYTES);
	*ret_reading = (struct reading){ .array = array, .band = band, .user = unit };
	*ret_piece = (struct piece){ .row = row, .column = (uint8_t)column, .blocks = UNIT_BLOCKS, .buf = unit, .direct = true,
		.status = WANTED };
	return 0;
}

int array_read_column(struct array *array, uint32_t band_id, uint64_t row, unsigned column, struct iobuf *unit)
{
	struct reading r;
	struct piece piece;
	int result = column_piece(array, band_id, row, column, unit, &r, &piece);

	if (result)
		return result;
	if (!usable(&r, column, false))
		return -EIO;
	result = run_pieces(&r, &piece, 1);
	return result ? result : piece.status == READ ? 0 : -EIO;
}

int array_rebuild_column(struct array *array, uint32_t band_id, uint64_t row, unsigned column, struct iobuf *ret_unit)
{
	struct reading r;
	struct piece piece;
	int result = column_piece(array, band_id, row, column, ret_unit, &r, &piece);

	if (result)
		return result;
	piece.status = AVOIDED;
	result = rebuild_pass(&r, &piece, 1, 1, false);
	return result ? result : piece.status == READ ? 0 : -EIO;
}

/* The column block by block, by itself or made of the others. */
static int each_block(struct array *array, uint32_t band_id, uint64_t row, unsigned column, bool rebuilt, struct iobuf *unit,
	unsigned *ret_blocks)
{
	struct reading r;
	struct piece piece;
	unsigned blocks = 0;

	for (unsigned k = 0; k < UNIT_BLOCKS; k++) {
		int result = column_piece(array, band_id, row, column, unit, &r, &piece);
		assert(!result);
		if (!rebuilt && !usable(&r, column, false))
			break;
		piece.first = (uint8_t)k;
		piece.blocks = 1;
		piece.offset_bytes = (size_t)k * BLOCK_BYTES;
		piece.status = rebuilt ? AVOIDED : WANTED;
		result = rebuilt ? rebuild_pass(&r, &piece, 1, 1, false) : run_pieces(&r, &piece, 1);
		if (result)
			return result;
		blocks |= (unsigned)(piece.status == READ) << k;
	}
	*ret_blocks = blocks;
	return 0;
}

int array_read_column_blocks(struct array *array, uint32_t band, uint64_t row, unsigned column, struct iobuf *unit, unsigned *ret_blocks)
{
	int result = array_read_column(array, band, row, column, unit);

	if (result == -EIO)
		return each_block(array, band, row, column, false, unit, ret_blocks);
	*ret_blocks = (1u << UNIT_BLOCKS) - 1;
	return result;
}

int array_rebuild_blocks(struct array *array, uint32_t band, uint64_t row, unsigned column, struct iobuf *ret_unit, unsigned *ret_blocks)
{
	int result = array_rebuild_column(array, band, row, column, ret_unit);

	if (result == -EIO)
		return each_block(array, band, row, column, true, ret_unit, ret_blocks);
	*ret_blocks = (1u << UNIT_BLOCKS) - 1;
	return result;
}

int array_read_run(struct array *array, uint32_t band_id, uint64_t row, unsigned row_count, uint32_t columns,
	struct iobuf *const bufs[MEMBERS_MAX], uint32_t *ret_failed)
{
	const struct band *band = config_band(array->config, band_id);
	struct disk_io ios[MEMBERS_MAX];
	struct iovec iov[MEMBERS_MAX];
	uint8_t column_of[MEMBERS_MAX];
	unsigned count = 0;
	uint64_t bytes = (uint64_t)row_count * UNIT_BYTES;

	*ret_failed = 0;
	if (!band || row >= band->rows || row_count > band->rows - row)
		return -EINVAL;
	struct reading r = { .array = array, .band = band };
	for (unsigned c = 0; c < band->width; c++) {
		if (!(columns >> c & 1))
			continue;
		if (!usable(&r, c, false)) {
			*ret_failed |= UINT32_C(1) << c;
			continue;
		}
		assert(bufs[c]->bytes >= bytes);
		iov[count] = (struct iovec){ bufs[c]->data, bytes };
		ios[count] = (struct disk_io){ .op = DISK_READ, .disk = atomic_load(&column_member(&r, c)->disk), .length_bytes = bytes,
			.offset_bytes = column_row_offset_bytes(&array->config->geometry, &band->columns[c], row),
			.iov = &iov[count], .iov_count = 1, .hold = bufs[c] };
		column_of[count++] = (uint8_t)c;
	}
	disk_run(ios, count, array->io_timeout_ms);
	for (unsigned i = 0; i < count; i++) {
		unsigned c = column_of[i];
		if (!ios[i].result) {
			member_read_worked(column_member(&r, c));
			continue;
		}
		*ret_failed |= UINT32_C(1) << c;
		member_read_failed(array, band->columns[c].member, ios[i].result);
	}
	return 0;
}
