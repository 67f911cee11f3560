/* The scrub finds and mends what nobody reads: garbage and flipped bits anywhere on one member, sectors that cannot be read, wrong
 * parity; it names files that are damaged beyond parity, goes on where it was paused, and can be cut at any write. */
#include "fs/core.h"
#include "fs/upkeep/scrub.h"
#include "tests/lib/simfs.h"
#include "tests/unit/check.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define DISKS 4u
#define FILES 60u
#define FILE_BYTES_MAX (12 * BLOCK_BYTES)

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

static void damage_on_one(void)
{
	for (unsigned kind = 0; kind < 3; kind++)
		for (unsigned disk = 0; disk < DISKS; disk++) {
			struct scrub_status s;
			make();
			spoil(disk, kind);
			REQUIRE(fs_scrub(sim->fs, SCRUB_START, &sim->fail) == 0);
			CHECK_EQ(scrub_on(&s), 0);
			CHECK_EQ(s.state, SCRUB_FINISHED);
			CHECK(s.damaged > 0 && s.rows > s.damaged);
			CHECK_EQ(s.unreadable, 0);
			CHECK_EQ(s.done_bytes, s.total_bytes);
			CHECK_EQ(sim->events[EVENT_SCRUB_ERRORS], 1);
			simdisk_clear_faults(sim->world->disks[disk]);
			CHECK(clean());
			memset(sim->events, 0, sizeof sim->events);
			REQUIRE(fs_scrub(sim->fs, SCRUB_START, &sim->fail) == 0);
			CHECK_EQ(scrub_on(&s), 0);
			CHECK_EQ(s.damaged, 0);
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
	REQUIRE(fs_scrub(sim->fs, SCRUB_START, &sim->fail) == 0);
	CHECK_EQ(scrub_on(&s), 0);
	CHECK_EQ(s.state, SCRUB_FINISHED);
	CHECK(s.unreadable > 0);
	CHECK(strstr(lost, "\"/file"));
	simfs_free(sim);
}

static void degraded(void)
{
	struct scrub_status s;
	make();
	sim->left_out[2] = true;
	REQUIRE(simfs_remount(sim) == 0);
	REQUIRE(fs_scrub(sim->fs, SCRUB_START, &sim->fail) == 0);
	CHECK_EQ(scrub_on(&s), 0);
	CHECK_EQ(s.state, SCRUB_FINISHED);
	CHECK_EQ(s.unreadable + s.damaged, 0);
	spoil(0, 1);
	REQUIRE(fs_scrub(sim->fs, SCRUB_START, &sim->fail) == 0);
	CHECK_EQ(scrub_on(&s), 0);
	CHECK(s.unreadable > 0);
	simfs_free(sim);
}

static void told_what_to_do(void)
{
	struct scrub_status s;
	make();
	CHECK_EQ(fs_scrub(sim->fs, SCRUB_PAUSE, &sim->fail), -EINVAL);
	CHECK_EQ(fs_scrub(sim->fs, SCRUB_RESUME, &sim->fail), -EINVAL);
	CHECK_EQ(fs_scrub(sim->fs, SCRUB_STOP, &sim->fail), -EINVAL);
	CHECK_EQ(sim->fail.code, FAIL_USAGE);
	fs_scrub_status(sim->fs, &s);
	CHECK_EQ(s.state, SCRUB_NONE);
	REQUIRE(fs_scrub(sim->fs, SCRUB_START, &sim->fail) == 0);
	CHECK_EQ(fs_scrub(sim->fs, SCRUB_START, &sim->fail), -EINVAL);
	CHECK_EQ(fs_work(sim->fs), 1);
	REQUIRE(fs_scrub(sim->fs, SCRUB_PAUSE, &sim->fail) == 0);
	CHECK_EQ(fs_work(sim->fs), 0);
	fs_scrub_status(sim->fs, &s);
	CHECK_EQ(s.state, SCRUB_PAUSED);
	REQUIRE(fs_scrub(sim->fs, SCRUB_RESUME, &sim->fail) == 0);
	CHECK_EQ(scrub_on(&s), 0);
	CHECK_EQ(s.state, SCRUB_FINISHED);
	REQUIRE(fs_scrub(sim->fs, SCRUB_START, &sim->fail) == 0);
	REQUIRE(fs_scrub(sim->fs, SCRUB_STOP, &sim->fail) == 0);
	CHECK_EQ(fs_work(sim->fs), 0);
	sim->options.read_only = true;
	REQUIRE(simfs_remount(sim) == 0);
	CHECK_EQ(fs_scrub(sim->fs, SCRUB_START, &sim->fail), -EROFS);
	simfs_free(sim);
}

/* Cut at every write of a scrub that heals; then also with a member that is not there, where the spoilt one is. */
static void cuts(void)
{
	struct scrub_status s;
	make();
	spoil(1, 0);
	struct simfs *before = simfs_clone(sim);
	uint64_t from = sim->world->changes;
	REQUIRE(fs_scrub(sim->fs, SCRUB_START, &sim->fail) == 0);
	CHECK_EQ(scrub_on(&s), 0);
	uint64_t to = sim->world->changes;
	simfs_free(sim);
	for (uint64_t at = from; at < to; at++) {
		sim = simfs_clone(before);
		REQUIRE(simfs_open(sim) == 0);
		sim->world->cut_at_change = at;
		if (fs_scrub(sim->fs, SCRUB_START, &sim->fail) == 0)
			scrub_on(&s);
		simfs_close(sim, true);
		simworld_cut(sim->world, at % 2 ? SIMCUT_RANDOM : SIMCUT_KEEP_ALL);
		struct simfs *without = simfs_clone(sim), *with = sim;
		REQUIRE(simfs_open(sim) == 0);
		CHECK_EQ(files_wrong(), 0);
		sim = without;
		sim->left_out[1] = true;
		REQUIRE(simfs_open(sim) == 0);
		CHECK_EQ(files_wrong(), 0);
		simfs_free(without);
		simfs_free(with);
	}
	CHECK(to - from > 20);
	printf("cuts: %u\n", (unsigned)(to - from));
	simfs_free(before);
}

int main(void)
{
	damage_on_one();
	damage_on_two();
	degraded();
	told_what_to_do();
	cuts();
	return CHECK_DONE();
}
