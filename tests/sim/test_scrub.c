/* The scrub finds and mends what nobody reads: garbage and flipped bits anywhere on one member, sectors that cannot be read, wrong
 * parity; it names files that are damaged beyond parity, goes on where it was paused, and can be cut at any write. */
#include "fs/core.h"
#include "fs/tree/record.h"
#include "fs/upkeep/scrub.h"
#include "tests/sim/spoil.h"
#include "tests/unit/check.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define DISKS 4u
#define FILES 60u
#define FILE_BYTES_MAX (12 * BLOCK_BYTES)
#if defined(__SANITIZE_ADDRESS__)
#define STRIDE 5u
#else
#define STRIDE 1u
#endif

static struct simfs *sim;
static char lost[1024];          /* of the events that tell of lost data */

static size_t size_of(unsigned i) { return 4097 + (size_t)i * 7919 % (FILE_BYTES_MAX - 4097); }
static void name_of(unsigned i, char name[16]) { snprintf(name, 16, "file%u", i); }

static void fill(unsigned i, uint8_t *bytes)
{
	for (size_t k = 0; k < size_of(i); k++)
		bytes[k] = (uint8_t)(i * 41 + k * 5 + k / 251);
}

static void report(void *ctx, const struct event *event)
{
	struct simfs *s = ctx;
	s->events[event->kind]++;
	if (event->kind == EVENT_UNREADABLE)
		snprintf(lost + strlen(lost), sizeof lost - strlen(lost), "%s\n", event->text);
}

static void make(void)
{
	uint8_t bytes[FILE_BYTES_MAX];
	REQUIRE(simfs_make(&sim, DISKS, UINT64_C(16) << 20, CIPHER_XCHACHA20_POLY1305, 21) == 0);
	sim->options.events.report = report;
	for (unsigned i = 0; i < FILES; i++) {
		struct fs_attr attr;
		char name[16];
		name_of(i, name);
		fill(i, bytes);
		REQUIRE(fs_mknod(sim->fs, OBJECT_ROOT, name, S_IFREG | 0644, 0, (struct fs_cred){ 0 }, &attr) == 0);
		REQUIRE(fs_write(sim->fs, attr.ino, bytes, size_of(i), 0, false, NULL) == (ssize_t)size_of(i));
		if (i % 7 == 0)
			REQUIRE(fs_sync(sim->fs) == 0);
	}
	REQUIRE(simfs_remount(sim) == 0);
	memset(lost, 0, sizeof lost);
}

/* The first file anew, in a commit of its own. */
static void write_more(void)
{
	uint8_t bytes[FILE_BYTES_MAX];
	struct fs_attr attr;
	fill(0, bytes);
	REQUIRE(fs_lookup(sim->fs, OBJECT_ROOT, "file0", &attr) == 0);
	REQUIRE(fs_write(sim->fs, attr.ino, bytes, size_of(0), 0, false, NULL) == (ssize_t)size_of(0));
	REQUIRE(fs_sync(sim->fs) == 0);
}

static unsigned files_wrong(void)
{
	uint8_t bytes[FILE_BYTES_MAX], want[FILE_BYTES_MAX];
	unsigned wrong = 0;
	for (unsigned i = 0; i < FILES; i++) {
		struct fs_attr attr;
		char name[16];
		name_of(i, name);
		fill(i, want);
		REQUIRE(fs_lookup(sim->fs, OBJECT_ROOT, name, &attr) == 0);
		ssize_t n = fs_read(sim->fs, attr.ino, bytes, sizeof bytes, 0);
		CHECK(n == -EIO || (n == (ssize_t)size_of(i) && !memcmp(bytes, want, size_of(i))));
		wrong += n < 0;
	}
	return wrong;
}

/* To its end, and what it noted is mended, also what has to wait for a commit. */
static int scrub_on(struct scrub_status *ret_status)
{
	int r = 0;
	for (unsigned i = 0; i < 2000 && r >= 0; i++) {
		r = fs_work(sim->fs);
		fs_scrub_status(sim->fs, ret_status);
		if (r == 0 && ret_status->state != SCRUB_RUNNING) {
			if (!sim->fs->open->dirty)
				return 0;
			r = fs_sync(sim->fs);
		}
		simfs_sleep(sim, INT64_C(1000000000));
	}
	return r < 0 ? r : -ETIME;
}

static void complain(void *ctx, const char *text)
{
	(void)ctx;
	fprintf(stderr, "check: %s\n", text);
}

static bool clean(void) { return fs_check(sim->fs, true, complain, NULL) == 0; }

static uint64_t data_offset(void) { return array_config(fs_array(sim->fs))->geometry.data_offset_bytes; }

/* Every third unit of the first 100 of a member: whether it is data, parity, dead or free. */
static void spoil(unsigned disk, unsigned kind)
{
	uint8_t garbage[UNIT_BYTES];
	memset(garbage, 0xa5, sizeof garbage);
	for (unsigned i = 0; i < 100; i += 3) {
		uint64_t at = data_offset() + (uint64_t)i * UNIT_BYTES;
		if (kind == 0)
			simdisk_poke(sim->world->disks[disk], at, garbage, sizeof garbage);
		else if (kind == 1)
			simdisk_flip(sim->world->disks[disk], at + i * 97 % UNIT_BYTES, 4);
		else if (i < 30)
			simdisk_fault(sim->world->disks[disk], &(struct simfault){ .kind = SIM_BAD_SECTORS, .ops_mask = SIM_ON(DISK_READ),
				.from_bytes = at, .to_bytes = at + UNIT_BYTES });
	}
}

static uint64_t units_of(const struct scrub_result *result, unsigned disk)
{
	return scrub_result_units(result, &array_config(fs_array(sim->fs))->members[disk].uuid);
}

/* Nobody else has damage, and what of this one cannot be told apart from that of others is no disk's. */
static bool only_on(const struct scrub_result *result, unsigned disk, unsigned kind)
{
	bool unclear = kind < 2;         /* dead blocks and parity beside them; but a unit that cannot be read is known */
	uint64_t units = units_of(result, disk);
	return units > 0 && units + result->unclear == result->damaged && scrub_result_members(result) == 1
		&& (unclear ? result->unclear < result->damaged : result->unclear == 0);
}

static void damage_on_one(void)
{
	for (unsigned kind = 0; kind < 3; kind++)
		for (unsigned disk = 0; disk < DISKS; disk++) {
			struct scrub_status s;
			make();
			spoil(disk, kind);
			REQUIRE(fs_scrub(sim->fs, SCRUB_START, 0, &sim->fail) == 0);
			CHECK_EQ(scrub_on(&s), 0);
			CHECK_EQ(s.state, SCRUB_FINISHED);
			CHECK(s.now.damaged > 0 && s.now.rows > s.now.damaged);
			CHECK(only_on(&s.now, disk, kind));
			CHECK_EQ(s.now.unreadable, 0);
			CHECK_EQ(s.done_bytes, s.total_bytes);
			CHECK_EQ(sim->events[EVENT_SCRUB_ERRORS], 1);
			simdisk_clear_faults(sim->world->disks[disk]);
			CHECK(clean());
			memset(sim->events, 0, sizeof sim->events);
			REQUIRE(fs_scrub(sim->fs, SCRUB_START, 0, &sim->fail) == 0);
			CHECK_EQ(scrub_on(&s), 0);
			CHECK_EQ(s.now.damaged, 0);
			CHECK_EQ(s.now.unclear + scrub_result_members(&s.now), 0);
			CHECK_EQ(sim->events[EVENT_SCRUB_FINISHED], 1);
			for (unsigned out = 0; out < DISKS; out++) {
				memset(sim->left_out, 0, sizeof sim->left_out);
				sim->left_out[out] = sim->options.read_only = true;
				REQUIRE(simfs_remount(sim) == 0);
				CHECK_EQ(files_wrong(), 0);
			}
			simfs_free(sim);
		}
}

static void damage_on_two(void)
{
	struct scrub_status s;
	make();
	spoil(0, 0);
	spoil(1, 0);
	REQUIRE(fs_scrub(sim->fs, SCRUB_START, 0, &sim->fail) == 0);
	CHECK_EQ(scrub_on(&s), 0);
	CHECK_EQ(s.state, SCRUB_FINISHED);
	CHECK(s.now.unreadable > 0);
	CHECK(units_of(&s.now, 0) > 0 && units_of(&s.now, 1) > 0 && scrub_result_members(&s.now) == 2);
	CHECK(strstr(lost, "\"/file"));
	simfs_free(sim);
}

/* ---- What has to wait ---- */

#define MANY_ROWS 320u           /* more than are noted at a time */
#define ROW_UNITS (DISKS - 1)

/* The open transaction has replaced a block in each of many rows, whose parity is wrong: it can be made only when that is committed. */
static void many_wait(void)
{
	static uint8_t bytes[ROW_UNITS * UNIT_BYTES];
	struct scrub_status s;
	struct fs_attr attr;
	make();
	REQUIRE(fs_mknod(sim->fs, OBJECT_ROOT, "many", S_IFREG | 0644, 0, (struct fs_cred){ 0 }, &attr) == 0);
	for (unsigned i = 0; i < MANY_ROWS; i++) {
		memset(bytes, (int)i + 1, sizeof bytes);
		REQUIRE(fs_write(sim->fs, attr.ino, bytes, sizeof bytes, i * sizeof bytes, false, NULL) == (ssize_t)sizeof bytes);
	}
	REQUIRE(simfs_remount(sim) == 0);
	REQUIRE(fs_scrub(sim->fs, SCRUB_START, 0, &sim->fail) == 0);
	const struct config *config = array_config(fs_array(sim->fs));
	for (unsigned i = 0; i < MANY_ROWS; i++) {
		address at = spoil_data_of(sim->fs, attr.ino, i * ROW_UNITS * UNIT_BLOCKS);
		const struct band *b = config_band(config, address_band(at));
		const struct column *c = &b->columns[band_parity_column(b, band_row_of(b, at))];
		simdisk_flip(sim->world->disks[c->member], column_row_offset_bytes(&config->geometry, c, band_row_of(b, at)) + 2 * BLOCK_BYTES, 1);
		REQUIRE(fs_write(sim->fs, attr.ino, bytes, BLOCK_BYTES, i * sizeof bytes, false, NULL) == BLOCK_BYTES);
	}
	CHECK_EQ(scrub_on(&s), 0);
	CHECK_EQ(s.state, SCRUB_FINISHED);
	CHECK(s.now.damaged >= MANY_ROWS);
	CHECK_EQ(s.now.unreadable, 0);
	CHECK(clean());
	simfs_free(sim);
}

/* ---- Where things lie ---- */

struct place { unsigned member; struct simdisk *disk; uint64_t offset_bytes; address row; };

/* Of a file's first record. */
static struct place place_of(unsigned i)
{
	const struct config *config = array_config(fs_array(sim->fs));
	struct record_place record = { 0 };
	struct fs_attr attr;
	struct item item;
	struct op op;
	char name[16];
	name_of(i, name);
	REQUIRE(fs_lookup(sim->fs, OBJECT_ROOT, name, &attr) == 0);
	struct key key = key_make(attr.ino, ITEM_EXTENT, 0);
	int r = op_begin(sim->fs, &op, OP_READ, 0);
	do
		r = tree_lookup(sim->fs, fs_file_tree(sim->fs), &key, &item);
	while (op_retry(&op, &r));
	if (r == 0)
		extent_record(&item, 0, &record);
	op_end(&op);
	REQUIRE(r == 0);
	const struct band *b = config_band(config, address_band(record.address));
	uint64_t row = band_row_of(b, record.address);
	unsigned column = band_data_column(b, row, (unsigned)(address_unit(record.address) % band_data_units(b)));
	return (struct place){ .member = b->columns[column].member, .disk = sim->world->disks[b->columns[column].member],
		.row = band_row_address(b, row),
		.offset_bytes = column_row_offset_bytes(&config->geometry, &b->columns[column], row)
			+ address_block(record.address) % UNIT_BLOCKS * BLOCK_BYTES };
}

static uint64_t reads(void)
{
	uint64_t sum = 0;
	for (unsigned i = 0; i < DISKS; i++)
		sum += simdisk_stats(sim->world->disks[i]).reads;
	return sum;
}

static void scrub_all(struct scrub_status *ret_status)
{
	REQUIRE(fs_scrub(sim->fs, SCRUB_START, 0, &sim->fail) == 0);
	CHECK_EQ(scrub_on(ret_status), 0);
	CHECK_EQ(ret_status->state, SCRUB_FINISHED);
}

/* Each row in which something is wrong counts once, whatever it is, and no other; and each unit for its member. */
static void counts(void)
{
	struct scrub_status s;
	address rows[FILES];
	uint32_t members[FILES] = { 0 }; /* by row: bit by member */
	unsigned count = 0;
	make();
	for (unsigned i = 0; i < FILES; i += 3) {
		struct place p = place_of(i);
		unsigned at = 0;
		while (at < count && rows[at] != p.row)
			at++;
		if (i % 2 == 0)
			simdisk_flip(p.disk, p.offset_bytes + 7, 1);
		else
			simdisk_fault(p.disk, &(struct simfault){ .kind = SIM_BAD_SECTORS, .ops_mask = SIM_ON(DISK_READ),
				.from_bytes = p.offset_bytes, .to_bytes = p.offset_bytes + 512 });
		rows[at] = p.row;
		members[at] |= UINT32_C(1) << p.member;
		count += at == count;
	}
	scrub_all(&s);
	CHECK(count > 5);
	CHECK_EQ(s.now.damaged, count);
	CHECK_EQ(s.now.unreadable + s.now.unclear, 0);
	for (unsigned m = 0; m < DISKS; m++) {
		unsigned units = 0;
		for (unsigned k = 0; k < count; k++)
			units += members[k] >> m & 1;
		CHECK_EQ(units_of(&s.now, m), units);
	}
	CHECK(clean());
	simfs_free(sim);
}

static const struct band *remounted(const struct band *b)
{
	uint32_t id = b->id;
	REQUIRE(simfs_remount(sim) == 0);
	return config_band(array_config(fs_array(sim->fs)), id);
}

/* Writes a file over several whole rows, and gives one of them: its band and number. */
static const struct band *full_row(uint64_t *ret_row)
{
	const unsigned bytes = 24 * UNIT_BYTES;
	uint8_t *content = calloc(1, bytes);
	struct fs_attr attr;
	REQUIRE(content && fs_mknod(sim->fs, OBJECT_ROOT, "file1000", S_IFREG | 0644, 0, (struct fs_cred){ 0 }, &attr) == 0);
	for (unsigned k = 0; k < bytes; k++)
		content[k] = (uint8_t)(k * 7 + k / 256);
	REQUIRE(fs_write(sim->fs, attr.ino, content, bytes, 0, false, NULL) == (ssize_t)bytes && fs_sync(sim->fs) == 0);
	free(content);
	struct place p = place_of(1000);
	const struct band *b = config_band(array_config(fs_array(sim->fs)), address_band(p.row));
	*ret_row = band_row_of(b, p.row);
	return remounted(b);
}

static void flip(const struct band *b, uint64_t row, unsigned column, unsigned byte)
{
	const struct config *config = array_config(fs_array(sim->fs));
	simdisk_flip(sim->world->disks[b->columns[column].member],
		column_row_offset_bytes(&config->geometry, &b->columns[column], row) + byte, 1);
}

static void found_on(const struct scrub_result *result, unsigned member, unsigned units, unsigned unclear)
{
	CHECK_EQ(result->damaged, 1);
	CHECK_EQ(units_of(result, member), units);
	CHECK_EQ(scrub_result_members(result), units > 0);
	CHECK_EQ(result->unclear, unclear);
}

/* Parity is wrong, and nothing else: it is that of its member as long as all that it was made of verifies.  With a member missing what is
 * made of that does not verify then.  Where a block beside it is dead it may as well be that one, and it is nobody's. */
static void parity(void)
{
	struct scrub_status s;
	struct fs_attr attr;
	uint64_t row;
	make();
	const struct band *b = full_row(&row);
	unsigned column = band_parity_column(b, row), member = b->columns[column].member, data = (column + 1) % b->width;
	flip(b, row, column, 9000);
	scrub_all(&s);
	found_on(&s.now, member, 1, 0);
	CHECK_EQ(sim->events[EVENT_SCRUB_ERRORS], 1);
	flip(b, row, data, 20);          /* and beside it, in other blocks */
	flip(b, row, data, UNIT_BYTES - 20);
	scrub_all(&s);
	found_on(&s.now, b->columns[data].member, 1, 0);

	sim->left_out[b->columns[data].member] = true;
	b = remounted(b);
	flip(b, row, column, 9000);
	scrub_all(&s);
	found_on(&s.now, member, 1, 0);
	CHECK_EQ(s.now.unreadable, 1);
	simfs_free(sim);

	make();
	b = full_row(&row);
	column = band_parity_column(b, row);
	REQUIRE(fs_lookup(sim->fs, OBJECT_ROOT, "file1000", &attr) == 0);
	REQUIRE(fs_fallocate(sim->fs, attr.ino, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, UNIT_BYTES) == 0 && fs_sync(sim->fs) == 0);
	b = remounted(b);
	flip(b, row, column, 9000);
	scrub_all(&s);
	found_on(&s.now, 0, 0, 1);
	scrub_all(&s);
	CHECK_EQ(s.now.damaged, 0);
	simfs_free(sim);
}

/* With a member missing what lives on it is verified too, in as many reads as with all; only what is damaged is read on its own. */
static void degraded(void)
{
	struct scrub_status s;
	make();
	uint64_t before = reads();
	scrub_all(&s);
	uint64_t full = reads() - before;
	sim->left_out[2] = true;
	REQUIRE(simfs_remount(sim) == 0);
	before = reads();
	scrub_all(&s);
	CHECK_EQ(s.now.unreadable + s.now.damaged, 0);
	CHECK(reads() - before <= full + 4 * DISKS);     /* the commits see other nodes */

	struct place p = place_of(5);
	simdisk_flip(p.disk, p.offset_bytes, 1);
	before = reads();
	scrub_all(&s);
	CHECK_EQ(s.now.damaged, 1);
	CHECK_EQ(units_of(&s.now, p.member), 1);
	CHECK_EQ(scrub_result_members(&s.now), 1);               /* the missing one has none */
	CHECK(s.now.unreadable >= 1 && s.now.unreadable <= 2);   /* what parity and it made of the missing member, if anything lives there */
	CHECK(strstr(lost, "\"/file5\""));
	CHECK(reads() - before <= full + 16 * DISKS);
	simdisk_flip(p.disk, p.offset_bytes, 1);

	spoil(0, 1);
	scrub_all(&s);
	CHECK(s.now.unreadable > 0 && s.now.damaged > 0);
	simfs_free(sim);
}

/* One member is missing, and another may lack the last rows, since the newest root is not on it: its gap cannot be closed now.  It is
 * read as it lies there, and its tags decide. */
static void beside_a_gap(void)
{
	struct scrub_status s;
	struct member_status m;
	make();
	const struct geometry *g = &array_config(fs_array(sim->fs))->geometry;
	uint64_t ring_bytes = (uint64_t)g->ring_slots * ROOT_BYTES, ring_at = g->ring_offset_bytes;
	uint8_t *ring = malloc(ring_bytes);
	REQUIRE(ring);
	simdisk_peek(sim->world->disks[1], ring_at, ring, ring_bytes);
	write_more();
	simdisk_poke(sim->world->disks[1], ring_at, ring, ring_bytes);
	free(ring);
	sim->left_out[2] = true;
	simfs_close(sim, true);
	REQUIRE(simfs_open(sim) == 0);
	array_member_status(fs_array(sim->fs), 1, &m);
	CHECK(m.state == MEMBER_IN_SYNC && m.gap.present);
	scrub_all(&s);
	CHECK_EQ(s.now.damaged + s.now.unreadable, 0);
	array_member_status(fs_array(sim->fs), 1, &m);
	CHECK(m.state == MEMBER_IN_SYNC && m.gap.present);
	struct place p = place_of(0);
	simdisk_flip(p.disk, p.offset_bytes, 1);
	scrub_all(&s);
	CHECK(s.now.damaged == 1 && s.now.unreadable > 0);
	simfs_free(sim);
}

static void told_what_to_do(void)
{
	struct scrub_status s;
	make();
	CHECK_EQ(fs_scrub(sim->fs, SCRUB_PAUSE, 0, &sim->fail), -EINVAL);
	CHECK_EQ(fs_scrub(sim->fs, SCRUB_RESUME, 0, &sim->fail), -EINVAL);
	CHECK_EQ(fs_scrub(sim->fs, SCRUB_STOP, 0, &sim->fail), -EINVAL);
	CHECK_EQ(sim->fail.code, FAIL_USAGE);
	fs_scrub_status(sim->fs, &s);
	CHECK_EQ(s.state, SCRUB_NONE);
	REQUIRE(fs_scrub(sim->fs, SCRUB_START, 0, &sim->fail) == 0);
	CHECK_EQ(fs_scrub(sim->fs, SCRUB_START, 0, &sim->fail), -EINVAL);
	REQUIRE(fs_scrub(sim->fs, SCRUB_PAUSE, 0, &sim->fail) == 0);
	CHECK_EQ(fs_work(sim->fs), 0);
	fs_scrub_status(sim->fs, &s);
	CHECK_EQ(s.state, SCRUB_PAUSED);
	REQUIRE(fs_scrub(sim->fs, SCRUB_RESUME, 0, &sim->fail) == 0);
	CHECK_EQ(scrub_on(&s), 0);
	CHECK_EQ(s.state, SCRUB_FINISHED);
	REQUIRE(fs_scrub(sim->fs, SCRUB_START, 0, &sim->fail) == 0);
	REQUIRE(fs_scrub(sim->fs, SCRUB_STOP, 0, &sim->fail) == 0);
	CHECK_EQ(fs_work(sim->fs), 0);
	sim->options.read_only = true;
	REQUIRE(simfs_remount(sim) == 0);
	CHECK_EQ(fs_scrub(sim->fs, SCRUB_START, 0, &sim->fail), -EROFS);
	simfs_free(sim);
}

/* What is left of it and all that the cut left is mended; then parity is right, nothing is to be found any more, and any one member may be
 * missing. */
static void scrubbed_is_whole(bool *ret_found)
{
	struct scrub_status s;
	fs_scrub_status(sim->fs, &s);
	if (s.state == SCRUB_RUNNING)
		CHECK_EQ(scrub_on(&s), 0);
	else
		scrub_all(&s);
	CHECK_EQ(s.state, SCRUB_FINISHED);
	CHECK_EQ(s.now.unreadable, 0);
	*ret_found = s.now.damaged > 0;
	CHECK(clean());
	scrub_all(&s);
	CHECK_EQ(s.now.damaged + s.now.unreadable, 0);
	for (unsigned out = 0; out < DISKS; out++) {
		memset(sim->left_out, 0, sizeof sim->left_out);
		sim->left_out[out] = sim->options.read_only = true;
		REQUIRE(simfs_remount(sim) == 0);
		CHECK_EQ(files_wrong(), 0);
	}
}

/* Cut at every write of a scrub that heals; then also with a member that is not there, where the spoilt one is. */
static void cuts(void)
{
	struct scrub_status s;
	unsigned found = 0, count = 0;
	make();
	spoil(1, 0);
	struct simfs *before = simfs_clone(sim);
	simfs_free(sim);
	sim = simfs_clone(before);
	REQUIRE(simfs_open(sim) == 0);
	uint64_t from = sim->world->changes;
	scrub_all(&s);
	uint64_t to = sim->world->changes;
	simfs_free(sim);
	for (uint64_t at = from; at < to; at += STRIDE, count++) {
		sim = simfs_clone(before);
		REQUIRE(simfs_open(sim) == 0);
		sim->world->cut_at_change = at;
		if (fs_scrub(sim->fs, SCRUB_START, 0, &sim->fail) == 0)
			scrub_on(&s);
		simfs_close(sim, true);
		simworld_cut(sim->world, at % 2 ? SIMCUT_RANDOM : SIMCUT_KEEP_ALL);
		struct simfs *without = simfs_clone(sim), *with = sim;
		bool more;
		REQUIRE(simfs_open(sim) == 0);
		CHECK_EQ(files_wrong(), 0);
		scrubbed_is_whole(&more);
		found += more;
		sim = without;
		sim->left_out[1] = true;
		REQUIRE(simfs_open(sim) == 0);
		CHECK_EQ(files_wrong(), 0);
		simfs_free(without);
		simfs_free(with);
	}
	CHECK(to - from > 20);
	CHECK(found > count / 4);
	printf("cuts: %u of %u writes and flushes; after %u of them there was more to mend\n", count, (unsigned)(to - from), found);
	simfs_free(before);
}

int main(void)
{
	damage_on_one();
	damage_on_two();
	counts();
	parity();
	degraded();
	beside_a_gap();
	many_wait();
	told_what_to_do();
	cuts();
	return CHECK_DONE();
}
