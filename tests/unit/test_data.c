/* The data path against a plain model: random writes, reads, truncations, punches, zeroing and allocation of a few files,
 * with sizes around blocks, units and extents, commits, remounts and power cuts between; then the shapes of records and the errors that
 * fs/data/data_edit.h and fs/fs.h promise.  `test_data SEED` replays one random run. */
#include "fs/core.h"
#include "fs/data/data.h"
#include "tests/lib/simfs.h"
#include "tests/unit/check.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILES 3u
#define MODEL_BYTES (3u << 20)
#define MODEL_BLOCKS (MODEL_BYTES / BLOCK_BYTES)

enum { HOLE, DATA, RESERVED };
struct model {
	uint64_t ino, size;
	bool is_inline;
	uint8_t bytes[MODEL_BYTES];
	uint8_t blocks[MODEL_BLOCKS];
};

static struct simfs *sim;
static struct fs *fs;
static struct model models[FILES], synced[FILES];          /* now, and as of the last commit */
static uint8_t buffer[MODEL_BYTES + 2 * UNIT_BYTES];
static uint64_t random_state;

static uint64_t random_below(uint64_t limit)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state * UINT64_C(0x2545f4914f6cdd1d) % limit;
}

static uint64_t min_of(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* A place in the file near some boundary. */
static uint64_t random_offset(void)
{
	static const uint64_t grains[] = { 1, INLINE_MAX, BLOCK_BYTES, BLOCK_BYTES, UNIT_BYTES, UNIT_BYTES, 128 * UNIT_BYTES };
	uint64_t grain = grains[random_below(7)];
	uint64_t range = random_below(3) ? 8 * UNIT_BYTES : MODEL_BYTES;
	uint64_t offset = random_below(range / grain + 1) * grain;

	if (random_below(3) == 0)
		offset += random_below(5);
	else if (random_below(4) == 0 && offset > 2)
		offset -= random_below(3);
	return min_of(offset, MODEL_BYTES - 1);
}

static uint64_t random_length(uint64_t offset)
{
	static const uint64_t grains[] = { 1, 100, BLOCK_BYTES, BLOCK_BYTES, UNIT_BYTES, 300000, 1200000 };
	uint64_t grain = grains[random_below(random_below(4) ? 5 : 7)];
	uint64_t length = grain * (1 + random_below(4));

	if (random_below(3) == 0)
		length += random_below(3);
	return min_of(length, MODEL_BYTES - offset);
}

static unsigned model_count(const struct model *m)
{
	unsigned count = 0;
	for (unsigned b = 0; b < MODEL_BLOCKS; b++)
		count += m->blocks[b] != HOLE;
	return count;
}

/* ---- The operations, on both ---- */

static void uninline_model(struct model *m)
{
	m->is_inline = false;
	if (m->size == 0)
		m->blocks[0] = HOLE;
}

static void do_write(struct model *m)
{
	uint64_t offset = random_below(4) ? random_offset() : min_of(m->size, MODEL_BYTES - 1), length = random_length(offset);
	uint64_t end = offset + length;

	for (uint64_t i = 0; i < length; i++)
		buffer[i] = (uint8_t)(random_below(255) + 1);
	CHECK_EQ(random_below(2) ? fs_write(fs, m->ino, buffer, length, offset, false, NULL)
		: simfs_write_buffer(fs, m->ino, buffer, length, offset), (ssize_t)length);
	memcpy(m->bytes + offset, buffer, length);
	bool fits = (end > m->size ? end : m->size) <= INLINE_MAX && (m->is_inline || model_count(m) == 0);
	if (m->is_inline && !fits)
		uninline_model(m);
	m->is_inline = fits;
	for (uint64_t b = offset / BLOCK_BYTES; b * BLOCK_BYTES < end; b++)
		m->blocks[b] = DATA;
	if (end > m->size)
		m->size = end;
}

static void do_truncate(struct model *m)
{
	uint64_t size = random_below(6) ? random_offset() : 0;

	CHECK_EQ(data_truncate(fs, m->ino, size, true), 0);
	if (m->is_inline && size > INLINE_MAX)
		uninline_model(m);
	if (size <= m->size) {
		memset(m->bytes + size, 0, MODEL_BYTES - size);
		for (uint64_t b = (size + BLOCK_BYTES - 1) / BLOCK_BYTES; b < MODEL_BLOCKS; b++)
			m->blocks[b] = HOLE;
	}
	if (size == 0)
		m->is_inline = false;
	m->size = size;
}

static void punch_model(struct model *m, uint64_t offset, uint64_t end)
{
	memset(m->bytes + offset, 0, end - offset);
	if (m->is_inline)
		return;
	for (uint64_t b = offset / BLOCK_BYTES; b * BLOCK_BYTES < end; b++) {
		uint64_t start = b * BLOCK_BYTES, stop = start + BLOCK_BYTES;
		if (m->size > start && m->size < stop)
			stop = m->size;
		if (offset <= start && end >= stop)
			m->blocks[b] = HOLE;
	}
}

static void do_allocate(struct model *m)
{
	static const int modes[] = { 0, FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, FALLOC_FL_ZERO_RANGE, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE };
	int mode = modes[random_below(6)];
	uint64_t offset = random_offset(), length = random_length(offset), end = offset + length;
	bool punch = mode & FALLOC_FL_PUNCH_HOLE;

	CHECK_EQ(fs_fallocate(fs, m->ino, mode, offset, length), 0);
	if (!punch && m->is_inline)
		uninline_model(m);
	if (punch || (mode & FALLOC_FL_ZERO_RANGE))
		punch_model(m, offset, end);
	if (punch)
		return;
	for (uint64_t b = offset / BLOCK_BYTES; b * BLOCK_BYTES < end; b++)
		if (m->blocks[b] == HOLE)
			m->blocks[b] = RESERVED;
	if (!(mode & FALLOC_FL_KEEP_SIZE) && end > m->size)
		m->size = end;
}

/* ---- Comparing ---- */

static void check_read(const struct model *m, uint64_t offset, uint64_t length)
{
	uint64_t want = offset < m->size ? min_of(length, m->size - offset) : 0;

	memset(buffer, 0xee, length);
	CHECK_EQ(fs_read(fs, m->ino, buffer, length, offset), (ssize_t)want);
	CHECK(!memcmp(buffer, m->bytes + offset, want));
}

static void check_seek(const struct model *m, uint64_t offset)
{
	uint64_t data = offset, hole = offset, at = 0;

	while (data < m->size && m->blocks[data / BLOCK_BYTES] != DATA)
		data = (data / BLOCK_BYTES + 1) * BLOCK_BYTES;
	while (hole < m->size && m->blocks[hole / BLOCK_BYTES] == DATA)
		hole = (hole / BLOCK_BYTES + 1) * BLOCK_BYTES;
	int r = fs_seek(fs, m->ino, offset, SEEK_DATA, &at);
	CHECK_EQ(r, data < m->size ? 0 : -ENXIO);
	if (r == 0)
		CHECK_EQ(at, data);
	r = fs_seek(fs, m->ino, offset, SEEK_HOLE, &at);
	CHECK_EQ(r, offset < m->size ? 0 : -ENXIO);
	if (r == 0)
		CHECK_EQ(at, min_of(hole, m->size));
}

static void check_file(const struct model *m)
{
	struct fs_attr attr;

	CHECK_EQ(fs_getattr(fs, m->ino, &attr), 0);
	CHECK_EQ(attr.size_bytes, m->size);
	CHECK_EQ(attr.blocks, m->is_inline ? (m->size + 511) / 512 : (uint64_t)model_count(m) * (BLOCK_BYTES / 512));
	if (random_below(2)) {
		check_read(m, 0, MODEL_BYTES);
	} else {
		for (uint64_t at = 0; at < m->size;) {
			uint64_t length = random_length(at);
			check_read(m, at, length);
			at += length;
		}
	}
	for (unsigned i = 0; i < 4; i++)
		check_seek(m, random_offset());
}

static void sync_all(void)
{
	CHECK_EQ(fs_sync(fs), 0);
	memcpy(synced, models, sizeof(models));
}

/* The power fails: what was synced is there, and exactly that. */
static void crash(void)
{
	REQUIRE(simfs_crash(sim, SIMCUT_RANDOM) == 0);
	fs = simfs_fs(sim);
	memcpy(models, synced, sizeof(models));
}

static void complain(void *ctx, const char *text)
{
	(void)ctx;
	fprintf(stderr, "check: %s\n", text);
}

static void remount(void)
{
	CHECK_EQ(fs_check(fs, true, complain, NULL), 0);
	REQUIRE(simfs_remount(sim) == 0);
	fs = simfs_fs(sim);
}

static uint64_t make_file(const char *name)
{
	struct fs_attr attr;
	REQUIRE(fs_mknod(fs, OBJECT_ROOT, name, S_IFREG | 0644, 0, (struct fs_cred){ 0, 0, 0 }, &attr) == 0);
	return attr.ino;
}

static void start(uint64_t seed)
{
	random_state = seed * 2 + 1;
	REQUIRE(simfs_make(&sim, 3, 96u << 20, seed % 2 ? CIPHER_NONE : CIPHER_XCHACHA20_POLY1305, seed) == 0);
	fs = simfs_fs(sim);
}

static void finish(void)
{
	CHECK_EQ(fs_sync(fs), 0);
	remount();
	simfs_free(sim);
}

static void test_random(uint64_t seed, unsigned steps)
{
	start(seed);
	for (unsigned f = 0; f < FILES; f++) {
		char name[16];
		snprintf(name, sizeof(name), "f%u", f);
		memset(&models[f], 0, sizeof(models[f]));
		models[f].ino = make_file(name);
	}
	sync_all();
	for (unsigned step = 0; step < steps; step++) {
		struct model *m = &models[random_below(FILES)];
		switch (random_below(12)) {
		case 0: case 1: case 2: case 3:
			do_write(m);
			break;
		case 4:
			do_truncate(m);
			break;
		case 5: case 6:
			do_allocate(m);
			break;
		case 7:
			sync_all();
			break;
		case 8:
			if (random_below(6) == 0) {
				sync_all();
				remount();
			} else if (random_below(6) == 0) {
				crash();
			}
			break;
		default:
			check_file(m);
		}
		if (check_failed) {
			fprintf(stderr, "step %u: replay with: test_data %llu\n", step, (unsigned long long)seed);
			exit(1);
		}
	}
	for (unsigned f = 0; f < FILES; f++)
		check_file(&models[f]);
	finish();
}

/* ---- Shapes of records ---- */

/* Writes the extents of [block, limit) as text: a letter (r reserved, d data or dirty, s split, t the rest of a record), blocks and a blank. */
static const char *shape(uint64_t ino, uint64_t block, uint64_t limit)
{
	static char text[256];
	struct extent_walk walk;
	struct extent extent;
	struct op op;
	int r;

	REQUIRE(op_begin(fs, &op, OP_READ, 0) == 0);
	do {
		text[0] = '\0';
		walk = (struct extent_walk){ .ino = ino, .block = block, .limit = limit };
		while ((r = extent_walk_next(fs, &walk, &extent)) == 0) {
			const struct extent_item *item = extent.item.value;
			bool split = extent.kind == EXTENT_DIRTY ? record_split(record_of(&extent.item)) :
				extent.kind == EXTENT_DATA && item->record_blocks == 1 && extent.blocks > 1;
			snprintf(text + strlen(text), sizeof(text) - strlen(text), "%c%llu ",
				extent.kind == EXTENT_RESERVED ? 'r' : extent.kind == EXTENT_REST ? 't' : split ? 's' : 'd', (unsigned long long)extent.blocks);
		}
	} while (op_retry(&op, &r));
	op_end(&op);
	CHECK_EQ(r, -ENOENT);
	return text;
}

static void put_blocks(uint64_t ino, uint64_t block, uint64_t blocks)
{
	CHECK_EQ(fs_write(fs, ino, buffer, blocks * BLOCK_BYTES, block * BLOCK_BYTES, false, NULL), (ssize_t)(blocks * BLOCK_BYTES));
}

#define CHECK_SHAPE(ino, block, limit, want) do { \
	const char *got_ = shape(ino, block, limit); \
	check_count++; \
	if (strcmp(got_, want)) { \
		check_failed++; \
		fprintf(stderr, "%s:%d: failed: shape is \"%s\", not \"%s\"\n", __FILE__, __LINE__, got_, want); \
	} \
} while (0)

static void test_shapes(void)
{
	uint64_t ino = make_file("shapes");

	memset(buffer, 0x11, sizeof(buffer));
	for (unsigned b = 0; b < 8; b++)
		put_blocks(ino, b, 1);
	CHECK_SHAPE(ino, 0, 4, "d4 ");
	CHECK_SHAPE(ino, 4, 8, "d4 ");
	put_blocks(ino, 1, 1);
	CHECK_SHAPE(ino, 0, 4, "d4 ");
	CHECK_EQ(fs_sync(fs), 0);
	/* Overwritten in part: the record is cut, */
	put_blocks(ino, 1, 1);
	CHECK_SHAPE(ino, 0, 4, "t1 d1 t2 ");
	CHECK_EQ(fs_sync(fs), 0);
	CHECK_SHAPE(ino, 0, 4, "t1 d1 t2 ");
	/* again, what is written together joins, */
	put_blocks(ino, 2, 1);
	CHECK_SHAPE(ino, 0, 4, "t1 d1 d1 t1 ");
	CHECK_EQ(fs_write(fs, ino, buffer, 10, 3 * BLOCK_BYTES + 7, false, NULL), 10);
	CHECK_SHAPE(ino, 0, 4, "t1 d1 d2 ");
	CHECK_EQ(fs_sync(fs), 0);
	CHECK_EQ(fs_fallocate(fs, ino, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 2 * BLOCK_BYTES, BLOCK_BYTES), 0);
	CHECK_SHAPE(ino, 0, 4, "t1 d1 t1 ");
	/* and rewritten whole it is one again. */
	put_blocks(ino, 0, 4);
	CHECK_SHAPE(ino, 0, 4, "d4 ");
	CHECK_EQ(fs_sync(fs), 0);
	/* Appending in small pieces rewrites the last record whole. */
	put_blocks(ino, 8, 1);
	CHECK_EQ(fs_write(fs, ino, buffer, 10, 9 * BLOCK_BYTES, false, NULL), 10);
	CHECK_EQ(fs_sync(fs), 0);
	CHECK_SHAPE(ino, 8, 12, "d2 ");
	CHECK_EQ(fs_write(fs, ino, buffer, 2 * BLOCK_BYTES, 9 * BLOCK_BYTES + 10, false, NULL), 2 * BLOCK_BYTES);
	CHECK_SHAPE(ino, 8, 12, "d4 ");
	/* Reserved space is given back by what is written there. */
	uint64_t reserved = fs->reserved_blocks;
	CHECK_EQ(fs_fallocate(fs, ino, 0, 12 * BLOCK_BYTES, 20 * BLOCK_BYTES), 0);
	CHECK_EQ(fs->reserved_blocks, reserved + 20);
	put_blocks(ino, 17, 2);
	CHECK_SHAPE(ino, 12, 32, "r5 d2 r13 ");
	CHECK_EQ(fs->reserved_blocks, reserved + 18);
	CHECK_EQ(data_truncate(fs, ino, 13 * BLOCK_BYTES - 1, true), 0);
	CHECK_SHAPE(ino, 12, 32, "r1 ");
	CHECK_EQ(fs->reserved_blocks, reserved + 1);
}

/* A read of 1 MiB that begins inside a block touches 257 of them, each a record of its own. */
static void test_short_records(void)
{
	enum { BLOCKS = 260 };
	uint64_t ino = make_file("short records");
	static uint8_t got[256 * BLOCK_BYTES];

	for (unsigned b = 0; b < BLOCKS; b++)
		memset(buffer + b * BLOCK_BYTES, (int)(b % 251 + 1), BLOCK_BYTES);
	put_blocks(ino, 0, BLOCKS);
	CHECK_EQ(fs_sync(fs), 0);
	for (unsigned b = 0; b < BLOCKS; b += 2)
		CHECK_EQ(fs_write(fs, ino, buffer + b * BLOCK_BYTES, BLOCK_BYTES, b * BLOCK_BYTES, false, NULL), BLOCK_BYTES);
	CHECK_EQ(fs_sync(fs), 0);
	CHECK_EQ(fs_read(fs, ino, got, sizeof got, 4095), (ssize_t)sizeof got);
	CHECK(!memcmp(got, buffer + 4095, sizeof got));
}

static bool reads_as(uint64_t ino, const uint8_t *want, size_t bytes, uint64_t at)
{
	autofree uint8_t *got = calloc(1, bytes);

	return got && fs_read(fs, ino, got, bytes, at) == (ssize_t)bytes && !memcmp(got, want, bytes);
}

/* Large writes at whole blocks keep their buffer; what is in memory because of it is counted, until the last part of it has gone. */
static void test_kept_buffers(void)
{
	enum { UNITS = 32, BYTES = UNITS * UNIT_BYTES };
	static const uint8_t other[BYTES];
	static uint8_t want[BYTES];
	uint64_t ino = make_file("kept buffers"), before;
	struct iobuf *buf = iobuf_new(BYTES);
	bool killed;

	REQUIRE(buf);
	for (unsigned i = 0; i < BYTES; i++)
		buf->data[i] = want[i] = (uint8_t)(i * 7 + i / 256);
	/* Not where it would have to be copied all the same, */
	CHECK_EQ(fs_write_buffer(fs, ino, buf, BYTES, 100, FS_WRITE, &killed), BYTES);
	CHECK_EQ(fs_write_buffer(fs, ino, buf, BYTES / 4, 0, FS_WRITE, &killed), BYTES / 4);
	CHECK_EQ(atomic_load(&buf->refs), 1);
	CHECK_EQ(fs_sync(fs), 0);
	before = fs_dirty_bytes(fs);
	/* but here: all of it counts, also when only one unit is left. */
	CHECK_EQ(fs_write_buffer(fs, ino, buf, BYTES, BLOCK_BYTES, FS_WRITE, &killed), BYTES);
	CHECK(atomic_load(&buf->refs) > 1);
	CHECK(fs_dirty_bytes(fs) >= before + BYTES);
	CHECK(reads_as(ino, want, BYTES, BLOCK_BYTES));
	for (unsigned u = 2; u < UNITS; u++)
		CHECK_EQ(fs_write(fs, ino, other, UNIT_BYTES, u * UNIT_BYTES, false, NULL), UNIT_BYTES);
	CHECK(atomic_load(&buf->refs) > 1);
	CHECK(fs_dirty_bytes(fs) >= before + BYTES);
	CHECK(reads_as(ino, want, 2 * UNIT_BYTES - BLOCK_BYTES, BLOCK_BYTES));
	CHECK(reads_as(ino, other, (UNITS - 2) * UNIT_BYTES, 2 * UNIT_BYTES));
	CHECK_EQ(fs_sync(fs), 0);
	CHECK_EQ(atomic_load(&buf->refs), 1);
	CHECK_EQ(atomic_load(&fs->share_bytes), 0);
	CHECK(reads_as(ino, want, 2 * UNIT_BYTES - BLOCK_BYTES, BLOCK_BYTES));
	iobuf_unref(buf);
}

static void test_limits(void)
{
	uint64_t ino = make_file("limits"), at = 0;
	const uint64_t last = FS_FILE_BYTES_MAX - 3;
	struct fs_attr attr;
	uint8_t bytes[16];
	bool killed = false;

	CHECK_EQ(fs_write(fs, ino, "abc", 3, last, false, NULL), 3);
	CHECK_EQ(fs_write(fs, ino, "abc", 3, last + 1, false, NULL), -EFBIG);
	CHECK_EQ(fs_write(fs, ino, "", 0, 0, false, NULL), 0);
	CHECK_EQ(fs_read(fs, ino, bytes, sizeof(bytes), last - 1), 4);
	CHECK(!memcmp(bytes, "\0abc", 4));
	CHECK_EQ(fs_read(fs, ino, bytes, sizeof(bytes), UINT64_MAX - 20), 0);
	CHECK_EQ(fs_seek(fs, ino, 5, SEEK_DATA, &at), 0);
	CHECK_EQ(at, FS_FILE_BYTES_MAX - BLOCK_BYTES);
	CHECK_EQ(fs_seek(fs, ino, 5, SEEK_CUR, &at), -EINVAL);
	CHECK_EQ(data_truncate(fs, ino, FS_FILE_BYTES_MAX + 1, true), -EFBIG);
	CHECK_EQ(fs_fallocate(fs, ino, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 1, FS_FILE_BYTES_MAX - 1), 0);
	CHECK_EQ(fs_seek(fs, ino, 5, SEEK_DATA, &at), -ENXIO);
	CHECK_EQ(fs_fallocate(fs, ino, 0, 1, FS_FILE_BYTES_MAX), -EFBIG);
	CHECK_EQ(fs_fallocate(fs, ino, 0, 0, 0), -EINVAL);
	CHECK_EQ(fs_fallocate(fs, ino, FALLOC_FL_PUNCH_HOLE, 0, 1), -EOPNOTSUPP);
	CHECK_EQ(fs_fallocate(fs, ino, FALLOC_FL_COLLAPSE_RANGE, 0, BLOCK_BYTES), -EOPNOTSUPP);
	CHECK_EQ(fs_write(fs, OBJECT_ROOT, "abc", 3, 0, false, NULL), -EISDIR);
	CHECK_EQ(fs_read(fs, OBJECT_ROOT, bytes, 3, 0), -EISDIR);

	/* What does not fit gives back what it took. */
	uint64_t reserved = fs->reserved_blocks;
	CHECK_EQ(data_truncate(fs, ino, 0, true), 0);
	CHECK_EQ(fs_write(fs, ino, "abc", 3, 10 * BLOCK_BYTES, false, NULL), 3);
	CHECK_EQ(fs_fallocate(fs, ino, FALLOC_FL_KEEP_SIZE, 0, UINT64_C(1) << 50), -ENOSPC);
	CHECK_EQ(fs->reserved_blocks, reserved);
	CHECK_SHAPE(ino, 0, FILE_BLOCKS_MAX, "d1 ");

	CHECK_EQ(fs_setattr(fs, ino, &(struct fs_attr){ .mode = 06755 }, FS_SET_MODE, &attr), 0);
	CHECK_EQ(fs_write(fs, ino, "abc", 3, 0, false, &killed), 3);
	CHECK(!killed);
	CHECK_EQ(fs_write(fs, ino, "abc", 3, 0, true, &killed), 3);
	CHECK(killed);
	CHECK_EQ(fs_getattr(fs, ino, &attr), 0);
	CHECK_EQ(attr.mode & 07777, 0755);
	CHECK_EQ(fs_setattr(fs, ino, &(struct fs_attr){ .mode = 02745 }, FS_SET_MODE, &attr), 0);
	CHECK_EQ(fs_write(fs, ino, "abc", 3, 0, true, &killed), 3);
	CHECK(!killed);
}

/* An extent that lies in no band, whoever wrote it: its file cannot be read, nor its space be given back, and all else goes on. */
static void test_no_band(void)
{
	uint8_t bytes[BLOCK_BYTES] = { 1 }, value[EXTENT_BYTES(1)];
	struct simfs *other;
	struct fs_attr attr;
	struct item item;
	struct op op;

	REQUIRE(simfs_make(&other, 3, 8u << 20, CIPHER_NONE, 9) == 0);
	REQUIRE(fs_mknod(other->fs, OBJECT_ROOT, "file", S_IFREG | 0600, 0, (struct fs_cred){ 0 }, &attr) == 0);
	REQUIRE(fs_write(other->fs, attr.ino, bytes, sizeof(bytes), 0, false, NULL) == sizeof(bytes) && fs_sync(other->fs) == 0);
	struct key key = key_make(attr.ino, ITEM_EXTENT, 0);
	REQUIRE(op_begin(other->fs, &op, OP_READ, 0) == 0);
	REQUIRE(tree_prepare(other->fs, &other->fs->file, &key) == 0 && tree_lookup(other->fs, &other->fs->file, &key, &item) == 0);
	REQUIRE(item.bytes == sizeof(value));
	memcpy(value, item.value, sizeof(value));
	((struct extent_item *)value)->address = le64_put(address_make(BAND_ID_MAX, 4));
	REQUIRE(tree_put(other->fs, &other->fs->file, &key, value, sizeof(value)) == 0);
	op_end(&op);
	REQUIRE(fs_sync(other->fs) == 0 && simfs_remount(other) == 0);
	CHECK(fs_read(other->fs, attr.ino, bytes, sizeof(bytes), 0) == -EUCLEAN);
	CHECK(fs_write(other->fs, attr.ino, bytes, sizeof(bytes), 0, false, NULL) == -EUCLEAN);
	CHECK(fs_unlink(other->fs, OBJECT_ROOT, "file") == 0);
	CHECK(fs_sync(other->fs) == 0);
	simfs_free(other);
}

int main(int argc, char **argv)
{
	if (argc > 1) {
		test_random(strtoull(argv[1], NULL, 0), 1500);
		return CHECK_DONE();
	}
	start(1);
	test_shapes();
	test_short_records();
	test_kept_buffers();
	test_limits();
	finish();
	test_no_band();
	for (uint64_t seed = 1; seed <= 4; seed++)
		test_random(seed, 400);
	return CHECK_DONE();
}
