/* A scrub lasts: at each write of one the power fails, and the next mount goes on where it was.  No row is passed over, none is counted
 * twice, and what was found is not forgotten.  Paused it stays so; what the last one found is there at any later mount, whatever is
 * repaired; and when it has ended nothing is written any more. */
#include "fs/core.h"
#include "fs/fsck/check.h"
#include "fs/tree/record.h"
#include "tests/lib/simfs.h"
#include "tests/unit/check.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define DISKS 4u
#define DISK_BYTES (UINT64_C(32) << 20)
#define FILES 1300u              /* with a row each: more than two steps */
#define SPOILT_EACH 13u
#define SPOILT (FILES / SPOILT_EACH)
#define SECOND_NS INT64_C(1000000000)
#define STEPS_MAX 500u
#if defined(__SANITIZE_ADDRESS__)
#define STRIDE 29u
#else
#define STRIDE 3u
#endif

static struct simfs *sim;
static uint64_t inos[FILES];

struct spoilt { address at; unsigned disk; uint64_t offset_bytes; uint8_t byte; };
static struct spoilt spoilt[SPOILT];

/* ---- The filesystem ---- */

static address data_of(unsigned i)
{
	struct record_place place = { 0 };
	struct key key = key_make(inos[i], ITEM_EXTENT, 0);
	struct item item;
	struct op op;
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

static struct spoilt place_of(address at)
{
	const struct config *config = array_config(fs_array(sim->fs));
	const struct band *b = config_band(config, address_band(at));
	uint64_t row = band_row_of(b, at);
	const struct column *c = &b->columns[band_data_column(b, row, (unsigned)(address_unit(at) % band_data_units(b)))];
	struct spoilt s = { .at = at, .disk = c->member, .offset_bytes = column_row_offset_bytes(&config->geometry, c, row)
		+ address_block(at) % UNIT_BLOCKS * BLOCK_BYTES + 77 };
	simdisk_peek(sim->world->disks[s.disk], s.offset_bytes, &s.byte, 1);
	return s;
}

static void write_file(unsigned i, uint8_t with)
{
	uint8_t bytes[BLOCK_BYTES];
	memset(bytes, with, sizeof bytes);
	REQUIRE(fs_write(sim->fs, inos[i], bytes, sizeof bytes, 0, false, NULL) == (ssize_t)sizeof bytes);
}

/* Closed, with a bit of each 13th file flipped. */
static struct simfs *make(void)
{
	REQUIRE(simfs_make(&sim, DISKS, DISK_BYTES, CIPHER_NONE, 5) == 0);
	for (unsigned i = 0; i < FILES; i++) {
		struct fs_attr attr;
		char name[16];
		snprintf(name, sizeof name, "file%u", i);
		REQUIRE(fs_mknod(sim->fs, OBJECT_ROOT, name, S_IFREG | 0644, 0, (struct fs_cred){ 0 }, &attr) == 0);
		inos[i] = attr.ino;
		write_file(i, (uint8_t)i);
		REQUIRE(fs_sync(sim->fs) == 0);
	}
	REQUIRE(simfs_remount(sim) == 0);
	for (unsigned k = 0; k < SPOILT; k++)
		spoilt[k] = place_of(data_of(k * SPOILT_EACH));
	REQUIRE(simfs_close(sim, false) == 0);
	struct simfs *base = sim;
	for (unsigned k = 0; k < SPOILT; k++)
		simdisk_flip(base->world->disks[spoilt[k].disk], spoilt[k].offset_bytes, 8);
	return base;
}

static bool is_healed(const struct spoilt *s)
{
	uint8_t byte;
	simdisk_peek(sim->world->disks[s->disk], s->offset_bytes, &byte, 1);
	return byte == s->byte;
}

static void complain(void *ctx, const char *text)
{
	(void)ctx;
	fprintf(stderr, "check: %s\n", text);
}

/* ---- Scrubbing ---- */

static struct scrub_status status(void)
{
	struct scrub_status s;
	fs_scrub_status(sim->fs, &s);
	return s;
}

static int start(void) { return fs_scrub(sim->fs, SCRUB_START, 0, &sim->fail); }

/* A step, and the commit that a timer would make. */
static int step(void)
{
	int r = fs_work(sim->fs);
	if (r >= 0 && sim->fs->open->dirty)
		r = fs_sync(sim->fs) < 0 ? -EIO : r;
	simfs_sleep(sim, 11 * SECOND_NS);
	return r;
}

static int to_the_end(void)
{
	int r = 0;
	for (unsigned i = 0; i < STEPS_MAX && r >= 0 && status().state == SCRUB_RUNNING; i++)
		r = step();
	return r < 0 ? r : status().state == SCRUB_RUNNING ? -ETIME : 0;
}

/* What the system tree of the mount says, behind which nothing may be amiss. */
static void position_holds(void)
{
	for (unsigned k = 0; k < SPOILT; k++)
		CHECK(spoilt[k].at >= sim->fs->scrub.safe || is_healed(&spoilt[k]));
}

static struct scrub_result uncut;

/* What was spoilt on each disk is found there, and nothing else: all of it, or what was not healed without being counted. */
static void by_member(const struct scrub_result *result, bool all)
{
	const struct config *config = array_config(fs_array(sim->fs));
	uint64_t sum = 0;
	for (unsigned disk = 0; disk < DISKS; disk++) {
		uint64_t units = scrub_result_units(result, &config->members[disk].uuid), there = 0;
		for (unsigned k = 0; k < SPOILT; k++)
			there += spoilt[k].disk == disk;
		CHECK(all ? units == there : units <= there);
		sum += units;
	}
	CHECK(sum == result->damaged && result->unclear == 0);
}

/* After a cut: it is as the scrub was, and goes on. */
static void goes_on(bool begun, unsigned *midway)
{
	REQUIRE(simfs_open(sim) == 0);
	struct scrub_status s = status();
	CHECK(s.state == SCRUB_NONE ? !begun : s.state == SCRUB_RUNNING || s.state == SCRUB_FINISHED);
	if (s.state == SCRUB_NONE)
		return;
	position_holds();
	*midway += s.state == SCRUB_RUNNING && sim->fs->scrub.safe > 0;
	CHECK(s.now.rows <= uncut.rows + 40 && s.now.damaged <= SPOILT);
	CHECK_EQ(to_the_end(), 0);
	s = status();
	CHECK_EQ(s.state, SCRUB_FINISHED);
	/* Each commit that the cut added may have put rows where it came by. */
	CHECK(s.now.rows + 40 > uncut.rows && s.now.rows < uncut.rows + 40);
	CHECK(s.now.damaged <= SPOILT && s.now.unreadable == 0 && s.now.tree_errors == 0);
	CHECK(s.has_last && !memcmp(&s.last, &s.now, sizeof s.last));
	by_member(&s.now, false);
	for (unsigned k = 0; k < SPOILT; k++)
		CHECK(is_healed(&spoilt[k]));
	CHECK_EQ(fs_check(sim->fs, true, complain, NULL), 0);
}

static void cuts(const struct simfs *base)
{
	sim = simfs_clone(base);
	REQUIRE(simfs_open(sim) == 0);
	uint64_t from = sim->world->changes;
	REQUIRE(start() == 0 && to_the_end() == 0);
	uncut = status().now;
	uint64_t to = sim->world->changes;
	CHECK(uncut.rows > FILES && uncut.damaged == SPOILT);
	by_member(&uncut, true);
	simfs_free(sim);
	unsigned count = 0, midway = 0;
	for (uint64_t at = from; at < to; at += STRIDE, count++) {
		sim = simfs_clone(base);
		REQUIRE(simfs_open(sim) == 0);
		sim->world->cut_at_change = at;
		bool begun = start() == 0;
		if (begun)
			to_the_end();
		simfs_close(sim, true);
		simworld_cut(sim->world, count % 3 == 0 ? SIMCUT_DROP_ALL : count % 3 == 1 ? SIMCUT_KEEP_ALL : SIMCUT_RANDOM);
		goes_on(begun, &midway);
		simfs_free(sim);
	}
	CHECK(midway > count / 4);
	printf("cuts: %u of %u writes and flushes, %u midway\n", count, (unsigned)(to - from), midway);
}

/* ---- What its owner asks for ---- */

static void paused(const struct simfs *base)
{
	sim = simfs_clone(base);
	REQUIRE(simfs_open(sim) == 0 && start() == 0);
	CHECK_EQ(step(), 1);
	REQUIRE(fs_scrub(sim->fs, SCRUB_PAUSE, 0, &sim->fail) == 0);
	struct scrub_status before = status(), s;
	CHECK(before.state == SCRUB_PAUSED && before.now.rows >= 64 && before.now.rows < 1000);
	CHECK(before.now.damaged > 0 && before.now.damaged < SPOILT);
	by_member(&before.now, false);
	REQUIRE(simfs_crash(sim, SIMCUT_DROP_ALL) == 0);
	uint64_t changes = sim->world->changes;
	for (unsigned i = 0; i < 3; i++) {
		s = status();
		CHECK(s.state == SCRUB_PAUSED && !memcmp(&s.now, &before.now, sizeof s.now));
		CHECK_EQ(s.done_bytes, before.done_bytes);
		CHECK_EQ(step(), 0);
		REQUIRE(simfs_remount(sim) == 0);
	}
	CHECK_EQ(sim->world->changes, changes);
	REQUIRE(fs_scrub(sim->fs, SCRUB_RESUME, 0, &sim->fail) == 0);
	CHECK_EQ(to_the_end(), 0);
	s = status();
	CHECK(s.now.damaged == SPOILT && s.now.rows >= uncut.rows && s.now.rows < uncut.rows + 40);
	by_member(&s.now, true);
	simfs_free(sim);
}

/* An unmount on the way: the next mount goes on by itself, exactly there; read-only it shows it, and does nothing. */
static void unmounted(const struct simfs *base)
{
	sim = simfs_clone(base);
	REQUIRE(simfs_open(sim) == 0 && start() == 0);
	CHECK_EQ(step(), 1);
	CHECK_EQ(fs_work(sim->fs), 1);
	struct scrub_status before = status(), s;
	sim->options.read_only = true;
	REQUIRE(simfs_remount(sim) == 0);
	uint64_t changes = sim->world->changes;
	CHECK_EQ(step(), 0);
	s = status();
	CHECK(s.state == SCRUB_RUNNING && s.waits && s.now.rows == before.now.rows && s.done_bytes == before.done_bytes);
	CHECK_EQ(fs_scrub(sim->fs, SCRUB_STOP, 0, &sim->fail), -EROFS);
	sim->options.read_only = false;
	REQUIRE(simfs_remount(sim) == 0);
	CHECK_EQ(sim->world->changes, changes);
	s = status();
	CHECK(s.state == SCRUB_RUNNING && !s.waits && s.now.rows == before.now.rows);
	CHECK_EQ(to_the_end(), 0);
	s = status();
	CHECK(s.now.damaged == SPOILT);
	by_member(&s.now, true);
	REQUIRE(start() == 0);
	s = status();
	CHECK(s.now.damaged == 0 && scrub_result_members(&s.now) == 0);
	REQUIRE(fs_scrub(sim->fs, SCRUB_STOP, 0, &sim->fail) == 0);
	REQUIRE(simfs_crash(sim, SIMCUT_DROP_ALL) == 0);
	s = status();
	CHECK(s.state == SCRUB_STOPPED && s.has_last && s.last.damaged == SPOILT);
	by_member(&s.last, true);
	CHECK_EQ(step(), 0);
	simfs_free(sim);
}

/* Nothing is written after its end, at this mount or another, and what it found stays known. */
static void at_rest(const struct simfs *base)
{
	sim = simfs_clone(base);
	REQUIRE(simfs_open(sim) == 0 && start() == 0);
	CHECK_EQ(to_the_end(), 0);
	uint64_t changes = sim->world->changes;
	struct scrub_result last = status().last;
	for (unsigned i = 0; i < 3; i++) {
		for (unsigned k = 0; k < 20; k++)
			CHECK_EQ(step(), 0);
		struct scrub_status s = status();
		CHECK(s.state == SCRUB_FINISHED && s.has_last && !memcmp(&s.last, &last, sizeof last) && s.done_bytes == s.total_bytes);
		CHECK_EQ(sim->world->changes, changes);
		REQUIRE(simfs_remount(sim) == 0);
	}
	CHECK(last.began_ns > 0 && last.ended_ns > last.began_ns);
	simfs_free(sim);
}

/* Somebody else finds something to be mended in the moment in which it ends: what is kept makes sense all the same. */
static void ends_beside_damage(const struct simfs *base)
{
	sim = simfs_clone(base);
	REQUIRE(simfs_open(sim) == 0 && start() == 0);
	CHECK_EQ(to_the_end(), 0);
	sim->fs->scrub.safe = sim->fs->scrub.safe_rows = 0;      /* as scrub_advance then leaves it */
	sim->fs->scrub.changed = true;
	REQUIRE(commit_now(sim->fs) == 0 && simfs_remount(sim) == 0);
	CHECK(status().state == SCRUB_FINISHED && status().now.rows > FILES);
	CHECK_EQ(fs_check(sim->fs, false, complain, NULL), 0);
	simfs_free(sim);
}

/* While it runs it asks for a commit every 10 seconds, and not more often. */
static void commits(const struct simfs *base)
{
	sim = simfs_clone(base);
	REQUIRE(simfs_open(sim) == 0 && start() == 0);
	unsigned asked = 0, seconds = 0;
	while (status().state == SCRUB_RUNNING) {
		CHECK(fs_work(sim->fs) >= 0);
		asked += sim->fs->open->dirty && status().state == SCRUB_RUNNING;
		if (sim->fs->open->dirty)
			REQUIRE(fs_sync(sim->fs) == 0);
		simfs_sleep(sim, SECOND_NS);
		seconds++;
	}
	CHECK(seconds > 10);
	CHECK_EQ(asked, (seconds - 1) / 10 + 1);
	simfs_free(sim);
}

static void speed(const struct simfs *base)
{
	sim = simfs_clone(base);
	REQUIRE(simfs_open(sim) == 0);
	REQUIRE(fs_scrub(sim->fs, SCRUB_START, 1234567, &sim->fail) == 0);
	CHECK_EQ(atomic_load(&sim->fs->speed_bytes), 1234567);
	REQUIRE(simfs_crash(sim, SIMCUT_DROP_ALL) == 0);
	CHECK_EQ(atomic_load(&sim->fs->speed_bytes), 1234567);
	CHECK_EQ(status().speed_bytes, 1234567);
	sim->options.speed_bytes = 1 << 20;              /* said at the mount, it counts */
	REQUIRE(simfs_remount(sim) == 0);
	CHECK_EQ(atomic_load(&sim->fs->speed_bytes), 1 << 20);
	sim->options.speed_bytes = 0;
	CHECK_EQ(to_the_end(), 0);
	REQUIRE(simfs_remount(sim) == 0);
	CHECK_EQ(atomic_load(&sim->fs->speed_bytes), 0);
	simfs_free(sim);
}

/* ---- What has to wait, and what makes no sense ---- */

/* Parity of a row is wrong in which the open transaction has replaced something: it can be made after the next commit.  Until then the
 * position stays before it, and the scrub does not end. */
static void waits_for_mending(const struct simfs *base)
{
	sim = simfs_clone(base);
	REQUIRE(simfs_open(sim) == 0);
	address at = data_of(700);
	const struct config *config = array_config(fs_array(sim->fs));
	const struct band *b = config_band(config, address_band(at));
	uint64_t row = band_row_of(b, at);
	const address before = band_row_address(b, row);
	const struct column *parity = &b->columns[band_parity_column(b, row)];
	REQUIRE(start() == 0);
	write_file(700, 'n');
	simdisk_flip(sim->world->disks[parity->member], column_row_offset_bytes(&config->geometry, parity, row), 1);
	for (unsigned i = 0; i < STEPS_MAX && fs_work(sim->fs) == 1 && !array_has_damage(fs_array(sim->fs)); i++)
		;
	CHECK(array_has_damage(fs_array(sim->fs)));
	CHECK(status().state == SCRUB_RUNNING && sim->fs->scrub.safe <= before);
	CHECK(sim->fs->scrub.record.position > at);
	REQUIRE(simfs_crash(sim, SIMCUT_KEEP_ALL) == 0);
	CHECK(sim->fs->scrub.safe <= before);
	CHECK_EQ(to_the_end(), 0);
	CHECK(!array_has_damage(fs_array(sim->fs)));
	CHECK_EQ(fs_check(sim->fs, true, complain, NULL), 0);
	simfs_free(sim);
}

static void put_item(const struct scrub_item *item)
{
	struct key key = SCRUB_KEY;
	struct op op;
	int r = op_begin(sim->fs, &op, OP_FREE, 0);
	REQUIRE(r == 0);
	sim->fs->system.txn = sim->fs->open->generation; /* as the commit will have it */
	do {
		r = tree_prepare(sim->fs, &sim->fs->system, &key);
		if (r == 0)
			r = tree_put(sim->fs, &sim->fs->system, &key, item, sizeof *item);
	} while (op_retry(&op, &r));
	txn_mark_dirty(sim->fs);
	op_end(&op);
	REQUIRE(r == 0 && fs_sync(sim->fs) == 0);
}

/* It is told and not believed; the next scrub writes it anew. */
static void makes_no_sense(const struct simfs *base)
{
	static const struct scrub_item items[] = {
		{ .state = SCRUB_NONE },
		{ .state = SCRUB_FINISHED + 1 },
		{ .state = SCRUB_RUNNING, .zero = { 1 } },
		{ .state = SCRUB_RUNNING, .now.ended = { { 1 } } },
		{ .state = SCRUB_PAUSED, .position = { { 1 } } },
		{ .state = SCRUB_RUNNING, .position = { { [5] = 1, [0] = 2 } } },
		{ .state = SCRUB_STOPPED },
		{ .state = SCRUB_RUNNING, .now.began = { { [7] = 0x80 } } },
		{ .state = SCRUB_FINISHED, .now.ended = { { 1 } } },
		{ .state = SCRUB_RUNNING, .last.rows = { { 1 } } },
		{ .state = SCRUB_RUNNING, .now.damaged = { { 1 } } },
		{ .state = SCRUB_RUNNING, .now.unclear = { { 1 } } },
	};
	for (size_t i = 0; i < ARRAY_COUNT(items); i++) {
		sim = simfs_clone(base);
		REQUIRE(simfs_open(sim) == 0);
		put_item(&items[i]);
		memset(sim->events, 0, sizeof sim->events);
		REQUIRE(simfs_remount(sim) == 0);
		CHECK_EQ(sim->events[EVENT_WARNING], 1);
		CHECK_EQ(status().state, SCRUB_NONE);
		CHECK_EQ(step(), 0);
		CHECK(fs_check(sim->fs, false, NULL, NULL) == 1);
		REQUIRE(start() == 0);
		CHECK_EQ(fs_check(sim->fs, false, complain, NULL), 0);
		simfs_free(sim);
	}
}

/* A position in a band that is no more, or far behind the end of one: the rest is gone through. */
static void position_beyond(const struct simfs *base)
{
	static const struct scrub_item items[] = {
		{ .state = SCRUB_RUNNING, .position = { { [5] = 1, [4] = 0xff } } },
		{ .state = SCRUB_RUNNING, .position = { { [7] = 0xff, [6] = 0xff, [5] = 0xff, [4] = 0xff, [0] = 0xfc } } },
	};
	for (size_t i = 0; i < ARRAY_COUNT(items); i++) {
		sim = simfs_clone(base);
		REQUIRE(simfs_open(sim) == 0);
		put_item(&items[i]);
		REQUIRE(simfs_remount(sim) == 0);
		CHECK_EQ(status().state, SCRUB_RUNNING);
		CHECK_EQ(to_the_end(), 0);
		CHECK_EQ(status().state, SCRUB_FINISHED);
		simfs_free(sim);
	}
}

/* A repair that makes the system tree anew keeps what the last one found, and has one that is under way begin anew: it may have passed
 * rows that no row item covered.  So does going back to an older root. */
static void repaired(const struct simfs *base)
{
	struct fs_check_options options = { .repair = true };
	struct fs_check_result result = { 0 };
	sim = simfs_clone(base);
	REQUIRE(simfs_open(sim) == 0 && start() == 0 && to_the_end() == 0);
	struct scrub_result last = status().last;
	REQUIRE(start() == 0);
	CHECK_EQ(step(), 1);
	uint64_t generation = fs_generation(sim->fs);
	sim->fs->alloc.bands[0].live_blocks++;           /* its summary is wrong now */
	sim->fs->alloc.bands[0].dirty = true;
	REQUIRE(commit_now(sim->fs) == 0);
	CHECK(sim->fs->scrub.safe > 0);
	simfs_close(sim, true);
	struct simfs *older = simfs_clone(sim);
	sim->options.repair = true;
	REQUIRE(simfs_open(sim) == 0);
	CHECK_EQ(fs_check_run(sim->fs, &options, &result), 0);
	CHECK(result.fixed > 0 && result.left == 0);
	sim->options.repair = false;
	for (unsigned i = 0; i < 2; i++) {
		REQUIRE(simfs_close(sim, false) == 0 && simfs_open(sim) == 0);
		struct scrub_status s = status();
		CHECK(s.state == SCRUB_RUNNING && s.now.rows == 0 && scrub_result_members(&s.now) == 0 && sim->fs->scrub.safe == 0);
		CHECK(s.has_last && !memcmp(&s.last, &last, sizeof last));
		simfs_free(i == 0 ? sim : NULL);
		if (i == 1)
			break;
		sim = older;
		sim->options.root_generation = generation;
		REQUIRE(simfs_open(sim) == 0 && fs_revert(sim->fs) == 0);
		sim->options.root_generation = 0;
	}
	CHECK_EQ(to_the_end(), 0);
	simfs_free(sim);
}

int main(void)
{
	struct simfs *base = make();
	cuts(base);
	paused(base);
	unmounted(base);
	at_rest(base);
	ends_beside_damage(base);
	commits(base);
	speed(base);
	waits_for_mending(base);
	makes_no_sense(base);
	position_beyond(base);
	repaired(base);
	simfs_free(base);
	return CHECK_DONE();
}
