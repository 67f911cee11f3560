/* A whole unit of a member holds garbage (a lost or misdirected write), or cannot be read: when what lives in it is read, not only
 * that is healed, but the whole row is: its dead blocks and padding are what the other columns' blocks are rebuilt from.  Proved by
 * fs_check (which knows parity), and by reading everything without each other member in turn.
 *
 * A row may also hold what the open transaction has replaced, and a cut brings back: that too is whole again after it.  Or what the open
 * transaction has written early, to which no row item leads yet. */
#include "fs/core.h"
#include "fs/space/place.h"
#include "fs/tree/record.h"
#include "tests/lib/simfs.h"
#include "tests/unit/check.h"

#include <errno.h>
#include <stdio.h>
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

/* Where the unit lies that the file's first record is in. */
static struct simdisk *unit_place(address at, uint64_t *ret_offset_bytes)
{
	const struct config *config = array_config(fs_array(simfs_fs(sim)));
	const struct band *b = config_band(config, address_band(at));
	uint64_t row = band_row_of(b, at);
	unsigned column = band_data_column(b, row, (unsigned)(address_unit(at) % band_data_units(b)));
	*ret_offset_bytes = column_row_offset_bytes(&config->geometry, &b->columns[column], row);
	return sim->world->disks[b->columns[column].member];
}

static void spoil_unit(address at)
{
	uint64_t offset_bytes;
	struct simdisk *disk = unit_place(at, &offset_bytes);
	uint8_t garbage[UNIT_BYTES];
	memset(garbage, 0xa5, sizeof garbage);
	simdisk_poke(disk, offset_bytes, garbage, sizeof garbage);
}

/* What the background would do, until it has nothing more to do. */
static void mend(void)
{
	unsigned steps = 0;
	while (fs_work(simfs_fs(sim)) > 0)
		REQUIRE(++steps < 1000);
}

static void complain(void *ctx, const char *text)
{
	(void)ctx;
	fprintf(stderr, "check: %s\n", text);
}

static void make(void)
{
	memset(inos, 0, sizeof inos);
	REQUIRE(simfs_make(&sim, DISKS, UINT64_C(16) << 20, CIPHER_XCHACHA20_POLY1305, 7) == 0);
	write_files(1);
	write_files(2);          /* leaves dead blocks in the rows of before */
	REQUIRE(simfs_remount(sim) == 0);
	CHECK_EQ(fs_check(simfs_fs(sim), true, complain, NULL), 0);
}

static void read_without_each(void)
{
	for (unsigned out = 0; out < DISKS; out++) {
		sim->left_out[out] = true;
		sim->options.read_only = true;
		REQUIRE(simfs_remount(sim) == 0);
		read_files();
		sim->left_out[out] = false;
	}
	sim->options.read_only = false;
}

static void garbage(void)
{
	make();
	for (unsigned i = 0; i < FILES; i++) {
		unsigned healed = sim->events[EVENT_HEALED];
		spoil_unit(first_address(inos[i]));
		read_files();
		mend();
		CHECK(sim->events[EVENT_HEALED] > healed);
		CHECK_EQ(sim->events[EVENT_UNREADABLE], 0);
		CHECK_EQ(fs_check(simfs_fs(sim), true, complain, NULL), 0);
	}
	read_without_each();
	simfs_free(sim);
}

static void unreadable(void)
{
	make();
	for (unsigned i = 0; i < FILES; i++) {
		unsigned healed = sim->events[EVENT_HEALED];
		uint64_t at;
		struct simdisk *disk = unit_place(first_address(inos[i]), &at);
		uint8_t unit[UNIT_BYTES], after[UNIT_BYTES];
		simdisk_peek(disk, at, unit, sizeof unit);
		memset(after, 0x5a, sizeof after);
		simdisk_poke(disk, at, after, sizeof after);     /* what cannot be read is lost */
		unsigned rule = simdisk_fault(disk, &(struct simfault){ .kind = SIM_BAD_SECTORS, .ops_mask = SIM_ON(DISK_READ),
			.from_bytes = at, .to_bytes = at + UNIT_BYTES });
		read_files();
		CHECK(simdisk_fault_hits(disk, rule) > 0);
		mend();
		CHECK(sim->events[EVENT_HEALED] > healed);
		simdisk_peek(disk, at, after, sizeof after);
		CHECK(!memcmp(unit, after, sizeof unit));
		simdisk_clear_faults(disk);
		CHECK_EQ(fs_check(simfs_fs(sim), true, complain, NULL), 0);
	}
	read_without_each();
	simfs_free(sim);
}

/* A member lies while the open transaction replaces a file of the row. */
static void replaced(void)
{
	make();
	uint8_t other[5 * BLOCK_BYTES];
	memset(other, 'o', sizeof other);
	for (unsigned i = 0; i < FILES; i++) {
		address at = first_address(inos[i]);
		REQUIRE(fs_write(simfs_fs(sim), inos[i], other, size_of(i), 0, false, NULL) == (ssize_t)size_of(i));
		spoil_unit(at);
		for (unsigned k = 0; k < FILES; k++)
			if (k != i)
				CHECK_EQ(fs_read(simfs_fs(sim), inos[k], other, sizeof other, 0), size_of(k));
		memset(other, 'o', sizeof other);
		mend();
		REQUIRE(simfs_crash(sim, SIMCUT_KEEP_ALL) == 0);
		read_files();
		mend();
		CHECK_EQ(sim->events[EVENT_UNREADABLE], 0);
		REQUIRE(array_flush(fs_array(simfs_fs(sim)), 0) == 0);   /* or the next cut brings this garbage back */
		CHECK_EQ(fs_check(simfs_fs(sim), true, complain, NULL), 0);
	}
	read_without_each();
	simfs_free(sim);
}

/* A block is garbage that the open transaction has replaced, and parity of another block of its row is wrong: if it were made now, what
 * the replaced block is rebuilt from after a cut would be lost.  It is made once that is committed. */
static void parity_waits(void)
{
	make();
	uint8_t bytes[5 * BLOCK_BYTES], garbage[BLOCK_BYTES];
	memset(garbage, 0xa5, sizeof garbage);
	for (unsigned i = 0; i < FILES; i++) {
		struct fs *fs = simfs_fs(sim);
		const struct config *config = array_config(fs_array(fs));
		address at = first_address(inos[i]);
		const struct band *b = config_band(config, address_band(at));
		uint64_t row = band_row_of(b, at), offset_bytes;
		unsigned parity = band_parity_column(b, row), first = (unsigned)(address_block(at) % UNIT_BLOCKS);
		unsigned end = first + (unsigned)(size_of(i) / BLOCK_BYTES), block = end < UNIT_BLOCKS ? end : first - 1;
		if (end > UNIT_BLOCKS || block >= UNIT_BLOCKS)
			continue;
		memset(bytes, 'o', sizeof bytes);
		REQUIRE(fs_write(fs, inos[i], bytes, size_of(i), 0, false, NULL) == (ssize_t)size_of(i));
		struct simdisk *disk = unit_place(at, &offset_bytes);
		simdisk_poke(disk, offset_bytes + first * BLOCK_BYTES, garbage, sizeof garbage);
		simdisk_flip(sim->world->disks[b->columns[parity].member],
			column_row_offset_bytes(&config->geometry, &b->columns[parity], row) + block * BLOCK_BYTES, 1);
		struct bad_unit unit = { .band = b->id, .row = row, .column = (uint8_t)parity };
		array_note_damage(fs_array(fs), &unit);
		mend();
		REQUIRE(simfs_crash(sim, SIMCUT_KEEP_ALL) == 0);
		read_files();
		CHECK_EQ(sim->events[EVENT_UNREADABLE], 0);
		array_note_damage(fs_array(simfs_fs(sim)), &unit);
		mend();
		REQUIRE(array_flush(fs_array(simfs_fs(sim)), 0) == 0);
		CHECK_EQ(fs_check(simfs_fs(sim), true, complain, NULL), 0);
	}
	read_without_each();
	simfs_free(sim);
}

/* Two units side by side, of files of a block each. */
static void make_units(uint64_t seed)
{
	uint8_t bytes[BLOCK_BYTES];
	memset(inos, 0, sizeof inos);
	REQUIRE(simfs_make(&sim, DISKS, UINT64_C(16) << 20, CIPHER_XCHACHA20_POLY1305, seed) == 0);
	for (unsigned i = 0; i < 2 * UNIT_BLOCKS; i++) {
		struct fs_attr attr;
		char name[16];
		name_of(i, name);
		REQUIRE(fs_mknod(simfs_fs(sim), OBJECT_ROOT, name, S_IFREG | 0644, 0, (struct fs_cred){ 0 }, &attr) == 0);
		inos[i] = attr.ino;
		fill(i, bytes, sizeof bytes);
		REQUIRE(fs_write(simfs_fs(sim), inos[i], bytes, sizeof bytes, 0, false, NULL) == (ssize_t)sizeof bytes);
	}
	REQUIRE(simfs_remount(sim) == 0);
	REQUIRE(first_address(inos[0]) % UNIT_BLOCKS == 0 && first_address(inos[UNIT_BLOCKS]) == first_address(inos[0]) + UNIT_BLOCKS);
}

static void read_units(void)
{
	uint8_t bytes[BLOCK_BYTES], want[BLOCK_BYTES];
	for (unsigned i = 0; i < 2 * UNIT_BLOCKS; i++) {
		fill(i, want, sizeof want);
		CHECK_EQ(fs_read(simfs_fs(sim), inos[i], bytes, sizeof bytes, 0), sizeof bytes);
		CHECK(!memcmp(bytes, want, sizeof want));
	}
	CHECK_EQ(sim->events[EVENT_UNREADABLE], 0);
}

/* A sector of a unit cannot be read, and at another place of its row something else is wrong: another such sector of the unit beside it,
 * or a flipped bit of that, or of parity. */
static void two_in_a_row(void)
{
	for (unsigned kind = 0; kind < 3; kind++) {
		make_units(9 + kind);
		const struct config *config = array_config(fs_array(simfs_fs(sim)));
		address at = first_address(inos[0]);
		const struct band *b = config_band(config, address_band(at));
		const struct column *parity = &b->columns[band_parity_column(b, band_row_of(b, at))];
		uint64_t offset_bytes;
		struct simdisk *disk = unit_place(at, &offset_bytes), *other = sim->world->disks[parity->member];
		struct simfault fault = { .kind = SIM_BAD_SECTORS, .ops_mask = SIM_ON(DISK_READ), .from_bytes = offset_bytes,
			.to_bytes = offset_bytes + SIM_SECTOR_BYTES };
		simdisk_fault(disk, &fault);
		offset_bytes = column_row_offset_bytes(&config->geometry, parity, band_row_of(b, at));
		if (kind < 2)
			other = unit_place(at + UNIT_BLOCKS, &offset_bytes);
		fault.from_bytes = offset_bytes + 2 * BLOCK_BYTES;
		fault.to_bytes = fault.from_bytes + SIM_SECTOR_BYTES;
		if (kind == 0)
			simdisk_fault(other, &fault);
		else
			simdisk_flip(other, fault.from_bytes + 5, 1);
		read_units();
		mend();
		CHECK_EQ(fs_check(simfs_fs(sim), true, complain, NULL), 0);
		simfs_free(sim);
	}
}

/* A record of four blocks is damaged, or cannot be read, at one place, and what it would be rebuilt from at another. */
static void damaged_on_both(void)
{
	static uint8_t bytes[UNIT_BYTES], want[UNIT_BYTES];
	for (unsigned kind = 0; kind < 3; kind++) {
		struct fs_attr attr;
		make_units(15 + kind);
		fill(77, want, sizeof want);
		REQUIRE(fs_mknod(simfs_fs(sim), OBJECT_ROOT, "long", S_IFREG | 0644, 0, (struct fs_cred){ 0 }, &attr) == 0);
		REQUIRE(fs_write(simfs_fs(sim), attr.ino, want, sizeof want, 0, false, NULL) == (ssize_t)sizeof want);
		REQUIRE(simfs_remount(sim) == 0);
		const struct config *config = array_config(fs_array(simfs_fs(sim)));
		address at = first_address(attr.ino);
		const struct band *b = config_band(config, address_band(at));
		const struct column *parity = &b->columns[band_parity_column(b, band_row_of(b, at))];
		uint64_t offset_bytes, parity_bytes = column_row_offset_bytes(&config->geometry, parity, band_row_of(b, at)) + 2 * BLOCK_BYTES;
		struct simdisk *disk = unit_place(at, &offset_bytes), *other = sim->world->disks[parity->member];
		struct simfault fault = { .kind = SIM_BAD_SECTORS, .ops_mask = SIM_ON(DISK_READ), .from_bytes = offset_bytes,
			.to_bytes = offset_bytes + SIM_SECTOR_BYTES };
		if (kind == 1)
			simdisk_fault(disk, &fault);
		else
			simdisk_flip(disk, offset_bytes + 3, 1);
		fault.from_bytes = parity_bytes;
		fault.to_bytes = parity_bytes + SIM_SECTOR_BYTES;
		if (kind == 2)
			simdisk_fault(other, &fault);
		else
			simdisk_flip(other, parity_bytes + 5, 1);
		CHECK_EQ(fs_read(simfs_fs(sim), attr.ino, bytes, sizeof bytes, 0), sizeof bytes);
		CHECK(!memcmp(bytes, want, sizeof want));
		CHECK_EQ(sim->events[EVENT_UNREADABLE], 0);
		mend();
		CHECK_EQ(fs_check(simfs_fs(sim), true, complain, NULL), 0);
		simfs_free(sim);
	}
}

/* A sector of each of two units cannot be read, at different places, and what lies at a third place is lost: the rest cannot be mended, since
 * not all of the row verifies.  Each reading of the row notes both units: that must not go on for ever. */
static void two_and_lost(void)
{
	uint8_t bytes[BLOCK_BYTES];
	uint64_t offset_bytes;
	make_units(12);
	address at = first_address(inos[0]);
	for (unsigned i = 0; i < 2; i++) {
		struct simdisk *disk = unit_place(at + i * UNIT_BLOCKS, &offset_bytes);
		simdisk_flip(disk, offset_bytes + 3 * BLOCK_BYTES + 9, 1);
		offset_bytes += i * BLOCK_BYTES;
		simdisk_fault(disk, &(struct simfault){ .kind = SIM_BAD_SECTORS, .ops_mask = SIM_ON(DISK_READ), .from_bytes = offset_bytes,
			.to_bytes = offset_bytes + SIM_SECTOR_BYTES });
	}
	for (unsigned i = 0; i < 2 * UNIT_BLOCKS; i++)
		CHECK_EQ(fs_read(simfs_fs(sim), inos[i], bytes, sizeof bytes, 0), i % UNIT_BLOCKS == 3 ? -EIO : (int)sizeof bytes);
	mend();
	CHECK(!array_has_damage(fs_array(simfs_fs(sim))));
	CHECK_EQ(sim->events[EVENT_MEMBER_DROPPED], 0);
	simfs_free(sim);
}

/* One block of a unit is garbage, and of the unit beside it another one, in a file that the open transaction has replaced, as the block of
 * the first unit at the same place: a unit that is made anew from the others now must not take that one along, which a cut brings back
 * and which the other is to be rebuilt from. */
static void unit_waits(void)
{
	uint8_t bytes[BLOCK_BYTES], garbage[BLOCK_BYTES];
	uint64_t offset_bytes[2];
	struct simdisk *disks[2];
	memset(garbage, 0xa5, sizeof garbage);
	make_units(8);
	const unsigned first = 0, replaced[2] = { 1, UNIT_BLOCKS + 1 };
	address at[2] = { first_address(inos[replaced[0]]), first_address(inos[replaced[1]]) };
	disks[0] = unit_place(at[0], &offset_bytes[0]);
	disks[1] = unit_place(at[1], &offset_bytes[1]);
	memset(bytes, 'o', sizeof bytes);
	for (unsigned k = 0; k < 2; k++)
		REQUIRE(fs_write(simfs_fs(sim), inos[replaced[k]], bytes, sizeof bytes, 0, false, NULL) == (ssize_t)sizeof bytes);
	simdisk_poke(disks[0], offset_bytes[0], garbage, sizeof garbage);
	simdisk_poke(disks[1], offset_bytes[1] + BLOCK_BYTES, garbage, sizeof garbage);
	CHECK_EQ(fs_read(simfs_fs(sim), inos[first], bytes, sizeof bytes, 0), sizeof bytes);
	CHECK(sim->events[EVENT_HEALED] > 0);
	mend();
	REQUIRE(simfs_crash(sim, SIMCUT_KEEP_ALL) == 0);
	read_units();
	mend();
	CHECK_EQ(fs_check(simfs_fs(sim), true, complain, NULL), 0);
	simfs_free(sim);
}

/* A write of what the open transaction places early is lost on a member, and one file of the unit is read before the commit. */
static void placed_early(void)
{
	uint8_t bytes[5 * BLOCK_BYTES];
	make();
	for (unsigned i = 0; i < FILES; i++) {
		fill(i, bytes, size_of(i));
		REQUIRE(fs_write(simfs_fs(sim), inos[i], bytes, size_of(i), 0, false, NULL) == (ssize_t)size_of(i));
	}
	REQUIRE(place_early(simfs_fs(sim), sizeof bytes * FILES) == 1);
	spoil_unit(first_address(inos[0]));
	CHECK_EQ(fs_read(simfs_fs(sim), inos[0], bytes, sizeof bytes, 0), size_of(0));
	CHECK(sim->events[EVENT_HEALED] > 0);
	mend();
	REQUIRE(fs_sync(simfs_fs(sim)) == 0);
	mend();
	CHECK_EQ(fs_check(simfs_fs(sim), true, complain, NULL), 0);
	read_without_each();
	simfs_free(sim);
}

/* Two members cannot read their units of a row: there is nothing to mend it from.  Mending leaves it, and does not read on until one of
 * them is dropped for it. */
static void unreadable_on_two(void)
{
	make();
	address at = first_address(inos[0]);
	const struct config *config = array_config(fs_array(simfs_fs(sim)));
	const struct band *b = config_band(config, address_band(at));
	uint64_t row = band_row_of(b, at);
	for (unsigned c = 0; c < 2; c++) {
		uint64_t from = column_row_offset_bytes(&config->geometry, &b->columns[c], row);
		simdisk_fault(sim->world->disks[b->columns[c].member], &(struct simfault){ .kind = SIM_BAD_SECTORS, .ops_mask = SIM_ON(DISK_READ),
			.from_bytes = from, .to_bytes = from + UNIT_BYTES });
		array_note_damage(fs_array(simfs_fs(sim)), &(struct bad_unit){ .band = b->id, .row = row, .column = (uint8_t)c });
	}
	mend();
	CHECK_EQ(sim->events[EVENT_MEMBER_DROPPED], 0);
	simfs_free(sim);
}

static char told[4096];          /* the events that tell of what is lost */

static void note_lost(void *ctx, const struct event *event)
{
	(void)ctx;
	if (event->kind == EVENT_UNREADABLE)
		snprintf(told + strlen(told), sizeof told - strlen(told), "%s\n", event->text);
}

/* Two units of a row hold garbage: what lived there is lost, and whoever meets it, to read it or to change a part of it, is told which
 * file it was, on one line. */
static void garbage_on_two(void)
{
	uint8_t byte = 1, bytes[UNIT_BYTES];
	struct fs_attr folder, file;
	char want[200];
	make();
	struct fs *fs = simfs_fs(sim);
	REQUIRE(fs_mknod(fs, OBJECT_ROOT, "folder", S_IFDIR | 0755, 0, (struct fs_cred){ 0 }, &folder) == 0);
	REQUIRE(fs_mknod(fs, folder.ino, "two\nlines", S_IFREG | 0644, 0, (struct fs_cred){ 0 }, &file) == 0);
	for (unsigned i = 0; i < 8; i++) {
		memset(bytes, (int)i + 1, sizeof bytes);
		REQUIRE(fs_write(fs, file.ino, bytes, sizeof bytes, i * sizeof bytes, false, NULL) == (ssize_t)sizeof bytes);
	}
	REQUIRE(fs_sync(fs) == 0);
	sim->options.events.report = note_lost;
	REQUIRE(simfs_remount(sim) == 0);
	fs = simfs_fs(sim);
	address at = first_address(file.ino);
	spoil_unit(at);
	const struct band *b = config_band(array_config(fs_array(fs)), address_band(at));
	unsigned index = (unsigned)(address_unit(at) % band_data_units(b));
	spoil_unit(index ? at - UNIT_BLOCKS : at + UNIT_BLOCKS);
	CHECK_EQ(fs_read(fs, file.ino, bytes, sizeof bytes, 0), -EIO);
	snprintf(want, sizeof want, "Inode %llu, \"/folder/two?lines\": %u bytes at offset 0 cannot be read and parity cannot rebuild them\n",
		(unsigned long long)file.ino, UNIT_BYTES);
	CHECK(!strcmp(told, want));
	told[0] = 0;
	CHECK_EQ(fs_write(fs, file.ino, &byte, 1, 5, false, NULL), -EIO);
	CHECK(!strcmp(told, want));
	simfs_free(sim);
}

int main(void)
{
	garbage();
	garbage_on_two();
	unreadable();
	unreadable_on_two();
	replaced();
	parity_waits();
	damaged_on_both();
	two_in_a_row();
	two_and_lost();
	unit_waits();
	placed_early();
	return CHECK_DONE();
}
