/* A whole unit of a member holds garbage (a lost or misdirected write): when what lives in it is read, not only that is
 * healed, but the whole row is: its dead blocks and padding are what the other columns' blocks are rebuilt from.  Proved by
 * fs_check (which knows parity), and by reading everything without each other member in turn. */
#include "fs/core.h"
#include "fs/record.h"
#include "tests/lib/simfs.h"
#include "tests/unit/check.h"

#include <string.h>
#include <sys/stat.h>

#define FILES 12u
#define DISKS 3u

static struct simfs *sim;
static uint64_t inos[FILES];

static void name_of(unsigned i, char name[16]) { snprintf(name, 16, "file%u", i); }

static void fill(unsigned i, uint8_t *bytes, size_t count)
{
	for (size_t k = 0; k < count; k++)
		bytes[k] = (uint8_t)(i * 31 + k * 7 + k / 251);
}

static size_t size_of(unsigned i) { return (size_t)BLOCK_BYTES * (1 + i % 5); }

static void write_files(unsigned step)
{
	uint8_t bytes[5 * BLOCK_BYTES];
	for (unsigned i = 0; i < FILES; i += step) {
		struct fs_attr attr;
		char name[16];
		name_of(i, name);
		if (!inos[i]) {
			REQUIRE(fs_mknod(simfs_fs(sim), OBJECT_ROOT, name, S_IFREG | 0644, 0, (struct fs_cred){ 0 }, &attr) == 0);
			inos[i] = attr.ino;
		}
		fill(i, bytes, size_of(i));
		REQUIRE(fs_write(simfs_fs(sim), inos[i], bytes, size_of(i), 0, false, NULL) == (ssize_t)size_of(i));
		if (i % 3 == 0)
			REQUIRE(fs_sync(simfs_fs(sim)) == 0);
	}
	REQUIRE(fs_sync(simfs_fs(sim)) == 0);
}

static void read_files(void)
{
	uint8_t bytes[5 * BLOCK_BYTES], want[5 * BLOCK_BYTES];
	for (unsigned i = 0; i < FILES; i++) {
		fill(i, want, size_of(i));
		CHECK_EQ(fs_read(simfs_fs(sim), inos[i], bytes, sizeof bytes, 0), size_of(i));
		CHECK(!memcmp(bytes, want, size_of(i)));
	}
}

static address first_address(uint64_t ino)
{
	struct fs *fs = simfs_fs(sim);
	struct key key = key_make(ino, ITEM_EXTENT, 0);
	struct record_place place = { 0 };
	struct item item;
	struct op op;
	int r = op_begin(fs, &op, OP_READ, 0);
	do
		r = tree_lookup(fs, fs_file_tree(fs), &key, &item);
	while (op_retry(&op, &r));
	if (r == 0)
		extent_record(&item, 0, &place);
	op_end(&op);
	REQUIRE(r == 0);
	return place.address;
}

/* Garbage over the whole unit that the file's first record lies in. */
static void spoil_unit(uint64_t ino)
{
	const struct config *config = array_config(fs_array(simfs_fs(sim)));
	address at = first_address(ino);
	const struct band *b = config_band(config, address_band(at));
	uint64_t row = band_row_of(b, at);
	unsigned column = band_data_column(b, row, (unsigned)(address_unit(at) % band_data_units(b)));
	uint8_t garbage[UNIT_BYTES];
	memset(garbage, 0xa5, sizeof garbage);
	simdisk_poke(sim->world->disks[b->columns[column].member], column_row_offset_bytes(&config->geometry, &b->columns[column], row),
		garbage, sizeof garbage);
}

static void complain(void *ctx, const char *text)
{
	(void)ctx;
	fprintf(stderr, "check: %s\n", text);
}

int main(void)
{
	REQUIRE(simfs_make(&sim, DISKS, UINT64_C(16) << 20, CIPHER_XCHACHA20_POLY1305, 7) == 0);
	write_files(1);
	write_files(2);          /* leaves dead blocks in the rows of before */
	REQUIRE(simfs_remount(sim) == 0);
	CHECK_EQ(fs_check(simfs_fs(sim), true, complain, NULL), 0);
	for (unsigned i = 0; i < FILES; i++) {
		unsigned healed = sim->events[EVENT_HEALED];
		spoil_unit(inos[i]);
		read_files();
		CHECK(sim->events[EVENT_HEALED] > healed);
		CHECK_EQ(sim->events[EVENT_UNREADABLE], 0);
		CHECK_EQ(fs_check(simfs_fs(sim), true, complain, NULL), 0);
	}
	for (unsigned out = 0; out < DISKS; out++) {
		sim->left_out[out] = true;
		sim->options.read_only = true;
		REQUIRE(simfs_remount(sim) == 0);
		read_files();
		sim->left_out[out] = false;
	}
	simfs_free(sim);
	return CHECK_DONE();
}
