/* A tree node that cannot be read, from its member or by parity, in the way of those who go through all rows: the scrub goes on behind it
 * and counts it; catching up and replacing say once what they cannot go on with, try again ever more seldom, keep nobody else from
 * working, and go on by themselves when it can be read again. */
#include "fs/core.h"
#include "fs/tree/record.h"
#include "fs/upkeep/members.h"
#include "tests/lib/simfs.h"
#include "tests/unit/check.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define DISKS 4u
#define FILES 300u
#define FILE_BYTES_MAX 20000u
#define DISK_BYTES (UINT64_C(16) << 20)
#define SECOND_NS INT64_C(1000000000)
#define TRIES_A_DAY 34u          /* at 10 s, 30, 70, … and then each hour */

static struct simfs *sim;

/* ---- The filesystem ---- */

static void name_of(unsigned i, char name[16]) { snprintf(name, 16, "file%u", i); }
static size_t size_of(unsigned i) { return 5000 + (size_t)i * 41; }

static void write_file(unsigned i)
{
	static uint8_t bytes[FILE_BYTES_MAX];
	struct fs_attr attr;
	char name[16];
	name_of(i, name);
	memset(bytes, (int)i, sizeof bytes);
	int r = fs_mknod(sim->fs, OBJECT_ROOT, name, S_IFREG | 0644, 0, (struct fs_cred){ 0 }, &attr);
	REQUIRE(r == 0 || (r == -EEXIST && fs_lookup(sim->fs, OBJECT_ROOT, name, &attr) == 0));
	REQUIRE(fs_write(sim->fs, attr.ino, bytes, size_of(i), 0, false, NULL) == (ssize_t)size_of(i));
	REQUIRE(fs_sync(sim->fs) == 0);
}

static void make(void)
{
	REQUIRE(simfs_make(&sim, DISKS, DISK_BYTES, CIPHER_XCHACHA20_POLY1305, 21) == 0);
	for (unsigned i = 0; i < FILES; i++)
		write_file(i);
	REQUIRE(simfs_remount(sim) == 0);
}

/* ---- What is spoilt ---- */

struct unit { struct simdisk *disk; uint64_t offset_bytes; };

/* Two units of the row of a place: its own and parity. */
static void units_of(address at, struct unit ret_units[2])
{
	const struct config *config = array_config(fs_array(sim->fs));
	const struct band *b = config_band(config, address_band(at));
	uint64_t row = band_row_of(b, at);
	unsigned columns[2] = { band_data_column(b, row, (unsigned)(address_unit(at) % band_data_units(b))), band_parity_column(b, row) };
	for (unsigned i = 0; i < 2; i++)
		ret_units[i] = (struct unit){ sim->world->disks[b->columns[columns[i]].member],
			column_row_offset_bytes(&config->geometry, &b->columns[columns[i]], row) };
}

/* The n-th leaf of a tree. */
static address leaf_of(uint8_t tree, unsigned n)
{
	const struct root_body *body = &sim->fs->root_body;
	uint8_t image[NODE_BYTES];
	REQUIRE((tree == TREE_FILE ? body->file_level : body->system_level) == 1);
	REQUIRE(store_read_node(sim->fs, tree == TREE_FILE ? &body->file_tree : &body->system_tree, tree, 1, image) == 0);
	REQUIRE(n < image_count(image));
	return le64_get(((const struct branch_value *)image_value(image, n, NULL))->pointer.address);
}

/* Beyond what parity can give back; twice is as it was. */
static void flip_both(address at)
{
	struct unit units[2];
	units_of(at, units);
	for (unsigned i = 0; i < 2; i++)
		simdisk_flip(units[i].disk, units[i].offset_bytes + 5000 + 100 * i, 0x10);
}

static address data_of(unsigned i)
{
	struct record_place place = { 0 };
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
		extent_record(&item, 0, &place);
	op_end(&op);
	REQUIRE(r == 0);
	return place.address;
}

/* A bit of each of these files' first records, which a scrub is to heal. */
#define SPOILT 6u
struct spoilt { struct unit unit; uint8_t byte; };

static void spoil_data(struct spoilt spoilt[SPOILT])
{
	for (unsigned k = 0; k < SPOILT; k++) {
		struct unit units[2];
		address at = data_of(k * (FILES - 1) / (SPOILT - 1));
		units_of(at, units);
		spoilt[k].unit = units[0];
		spoilt[k].unit.offset_bytes += address_block(at) % UNIT_BLOCKS * BLOCK_BYTES + 33;
		simdisk_peek(units[0].disk, spoilt[k].unit.offset_bytes, &spoilt[k].byte, 1);
	}
	REQUIRE(simfs_remount(sim) == 0);
	for (unsigned k = 0; k < SPOILT; k++)
		simdisk_flip(spoilt[k].unit.disk, spoilt[k].unit.offset_bytes, 4);
}

static unsigned healed(const struct spoilt spoilt[SPOILT])
{
	unsigned count = 0;
	for (unsigned k = 0; k < SPOILT; k++) {
		uint8_t byte;
		simdisk_peek(spoilt[k].unit.disk, spoilt[k].unit.offset_bytes, &byte, 1);
		count += byte == spoilt[k].byte;
	}
	return count;
}

/* ---- The scrub ---- */

static struct scrub_status scrub(void)
{
	struct scrub_status s = { .state = SCRUB_RUNNING };
	memset(sim->events, 0, sizeof sim->events);
	REQUIRE(fs_scrub(sim->fs, SCRUB_START, 0, &sim->fail) == 0);
	for (unsigned i = 0; i < 200 && s.state == SCRUB_RUNNING; i++) {
		CHECK(fs_work(sim->fs) >= 0);
		fs_scrub_status(sim->fs, &s);
	}
	CHECK_EQ(s.state, SCRUB_FINISHED);
	return s;
}

/* What the leaf leads to is passed over, everything else is verified and healed. */
static void scrub_goes_on(uint8_t tree, unsigned leaf, unsigned least_healed)
{
	struct spoilt spoilt[SPOILT];
	make();
	uint64_t rows = scrub().now.rows;
	spoil_data(spoilt);
	address at = leaf_of(tree, leaf);
	flip_both(at);
	struct scrub_status s = scrub();
	CHECK_EQ(s.now.tree_errors, 1);
	CHECK(s.now.rows > rows / 2 && s.now.rows <= rows + 8);
	CHECK(s.now.damaged >= least_healed);
	CHECK_EQ(sim->events[EVENT_SCRUB_ERRORS], 1);
	CHECK_EQ(sim->events[EVENT_STALLED], 0);
	CHECK(sim->events[EVENT_UNREADABLE] >= 1 && sim->events[EVENT_UNREADABLE] <= 3);
	CHECK(healed(spoilt) >= least_healed);

	flip_both(at);
	s = scrub();
	CHECK_EQ(s.now.tree_errors + s.now.unreadable, 0);
	CHECK_EQ(healed(spoilt), SPOILT);
	CHECK_EQ(fs_check(sim->fs, true, NULL, NULL), 0);
	simfs_free(sim);
}

/* ---- Others ---- */

static const char *stalled(enum stall_task task)
{
	static char text[STALL_TEXT_BYTES];
	stall_text(sim->fs, task, text);
	return text;
}

static void work_for(unsigned seconds)
{
	for (unsigned i = 0; i < seconds; i++) {
		CHECK(fs_work(sim->fs) >= 0);
		if (sim->fs->open->dirty)
			CHECK_EQ(fs_sync(sim->fs), 0);
		simfs_sleep(sim, SECOND_NS);
	}
}

static void rests_and_goes_on(enum stall_task task, address at, const char *says, bool (*ended)(void))
{
	uint64_t changes = 0;
	work_for(30);
	CHECK(strstr(stalled(task), says) && strstr(stalled(task), "a node of the file tree") && strstr(stalled(task), "fsck"));
	CHECK_EQ(sim->events[EVENT_STALLED], 1);
	work_for(30);
	changes = sim->world->changes;
	work_for(24 * 3600);
	CHECK_EQ(sim->events[EVENT_STALLED], 1);
	CHECK(sim->events[EVENT_UNREADABLE] > 10 && sim->events[EVENT_UNREADABLE] <= TRIES_A_DAY);
	CHECK_EQ(sim->world->changes, changes);          /* and nothing is written in vain */
	CHECK(!ended());
	struct scrub_status s = scrub();                 /* which is not kept from its work */
	CHECK(s.now.tree_errors >= 1);
	flip_both(at);
	work_for(2 * 3600);
	CHECK(ended());
	CHECK_EQ(stalled(task)[0], '\0');
	CHECK_EQ(fs_check(sim->fs, true, NULL, NULL), 0);
	simfs_free(sim);
}

static bool in_sync(void)
{
	struct member_status s;
	array_member_status(fs_array(sim->fs), 3, &s);
	return s.state == MEMBER_IN_SYNC && !s.gap.present;
}

static void catching_up(void)
{
	make();
	sim->left_out[3] = true;
	REQUIRE(simfs_remount(sim) == 0);
	for (unsigned i = 0; i < FILES; i += 2)
		write_file(i);
	sim->left_out[3] = false;
	REQUIRE(simfs_remount(sim) == 0);
	CHECK(!in_sync());
	memset(sim->events, 0, sizeof sim->events);
	address at = leaf_of(TREE_FILE, 5);
	flip_both(at);
	rests_and_goes_on(STALL_CATCHUP, at, "Catching up a member cannot go on", in_sync);
}

static bool replaced(void)
{
	return array_config(fs_array(sim->fs))->members[1].role == MEMBER_UNUSED;
}

static void replacing(void)
{
	unsigned member;
	make();
	simworld_add(sim->world, DISK_BYTES);
	sim->left_out[DISKS] = true;
	REQUIRE(simfs_remount(sim) == 0);
	memset(sim->events, 0, sizeof sim->events);
	address at = leaf_of(TREE_FILE, 5);
	flip_both(at);
	REQUIRE(fs_member_replace_by(sim->fs, 1, simdisk_open(sim->world->disks[DISKS]), false, &member, &sim->fail) == 0);
	rests_and_goes_on(STALL_REPLACE, at, "Putting a member's data on another one cannot go on", replaced);
}

/* A member that comes back may have what could not be read: it is tried at once. */
static void member_returns(void)
{
	make();
	address at = leaf_of(TREE_FILE, 5);
	struct unit units[2];
	units_of(at, units);
	unsigned out = units[0].disk->index, other = out == 0 ? 1 : 0;
	sim->left_out[out] = true;
	REQUIRE(simfs_remount(sim) == 0);
	simdisk_flip(units[1].disk, units[1].offset_bytes + 5000, 1);
	write_file(0);
	struct scrub_status s = scrub();
	CHECK(s.now.tree_errors == 1 && s.now.unreadable >= 1);
	sim->left_out[out] = false;
	REQUIRE(fs_member_readd(sim->fs, simdisk_open(sim->world->disks[out]), &other, &sim->fail) == 0);
	work_for(60);
	CHECK_EQ(stalled(STALL_CATCHUP)[0], '\0');
	s = scrub();
	CHECK_EQ(s.now.tree_errors + s.now.unreadable, 0);
	CHECK_EQ(fs_check(sim->fs, true, NULL, NULL), 0);
	simfs_free(sim);
}

int main(void)
{
	scrub_goes_on(TREE_FILE, 5, SPOILT - 1);
	scrub_goes_on(TREE_SYSTEM, 5, 2);
	catching_up();
	replacing();
	member_returns();
	return CHECK_DONE();
}
