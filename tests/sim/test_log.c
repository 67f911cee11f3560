/* The intent log in single scenes: what an fsync writes, and what is there after the power failed.
 *
 * Everything that was not flushed is lost at a cut (SIMCUT_DROP_ALL), so that only the log can have kept it. */
#include "fs/fsck/check.h"
#include "fs/log/log.h"
#include "tests/lib/simfs.h"
#include "tests/unit/check.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define MEMBERS 3u
#define MEMBER_BYTES (8u << 20)

static const struct fs_cred cred;

static void complain(void *ctx, const char *text)
{
	(void)ctx;
	fprintf(stderr, "check: %s\n", text);
}

static struct simfs *make(uint64_t seed)
{
	struct simfs *sim;
	int r = simfs_make(&sim, MEMBERS, MEMBER_BYTES, CIPHER_XCHACHA20_POLY1305, seed);
	CHECK_EQ(r, 0);
	return r < 0 ? NULL : sim;
}

static uint64_t make_file(struct simfs *sim, const char *name)
{
	struct fs_attr attr = { 0 };
	CHECK_EQ(fs_mknod(sim->fs, OBJECT_ROOT, name, S_IFREG | 0644, 0, cred, &attr), 0);
	return attr.ino;
}

static void fill(uint8_t *bytes, size_t count, unsigned salt)
{
	for (size_t i = 0; i < count; i++)
		bytes[i] = (uint8_t)(i * 7 + i / 251 + salt);
}

static void write_at(struct simfs *sim, uint64_t ino, uint64_t at, size_t bytes, unsigned salt)
{
	uint8_t *data = malloc(bytes);
	fill(data, bytes, salt);
	CHECK_EQ(fs_write(sim->fs, ino, data, bytes, at, false, NULL), (ssize_t)bytes);
	free(data);
}

/* The file has that size and, from `at` on, those bytes. */
static void expect(struct simfs *sim, const char *name, uint64_t size, uint64_t at, size_t bytes, unsigned salt)
{
	struct fs_attr attr = { 0 };
	uint8_t *want = malloc(bytes + 1), *got = malloc(bytes + 1);
	fill(want, bytes, salt);
	CHECK_EQ(fs_lookup(sim->fs, OBJECT_ROOT, name, &attr), 0);
	CHECK_EQ(attr.size_bytes, size);
	CHECK_EQ(fs_read(sim->fs, attr.ino, got, bytes, at), (ssize_t)bytes);
	CHECK(!memcmp(want, got, bytes));
	free(want);
	free(got);
}

static void lose_power(struct simfs *sim)
{
	CHECK_EQ(simfs_crash(sim, SIMCUT_DROP_ALL), 0);
	CHECK_EQ(fs_check(sim->fs, true, complain, NULL), 0);
}

static uint64_t written_bytes(struct simfs *sim, unsigned *ret_members, uint64_t *ret_flushes)
{
	static struct simstats before[MEMBERS];
	uint64_t sum = 0;
	*ret_members = 0;
	*ret_flushes = 0;
	for (unsigned i = 0; i < MEMBERS; i++) {
		struct simstats now = simdisk_stats(sim->world->disks[i]);
		sum += now.written_bytes - before[i].written_bytes;
		*ret_members += now.written_bytes > before[i].written_bytes;
		*ret_flushes += now.flushes - before[i].flushes + now.durable_writes - before[i].durable_writes;
		before[i] = now;
	}
	return sum;
}

/* fsync of 4 KiB appended: at most 12 KiB to each of two members, one flush each, no commit. */
static void test_cost(void)
{
	struct simfs *sim = make(1);
	uint64_t ino = make_file(sim, "a"), generation, flushes;
	unsigned members;
	write_at(sim, ino, 0, 4096, 1);
	CHECK_EQ(fs_fsync(sim->fs, ino, false), 0);
	generation = fs_generation(sim->fs);
	for (unsigned i = 1; i < 10; i++) {
		write_at(sim, ino, i * 4096, 4096, i);
		written_bytes(sim, &members, &flushes);
		CHECK_EQ(fs_fsync(sim->fs, ino, false), 0);
		uint64_t bytes = written_bytes(sim, &members, &flushes);
		CHECK(bytes > 0 && bytes <= 2 * 12288);
		CHECK_EQ(members, 2);
		CHECK_EQ(flushes, 2);
		/* What has not changed costs nothing. */
		CHECK_EQ(fs_fsync(sim->fs, ino, false), 0);
		CHECK_EQ(written_bytes(sim, &members, &flushes), 0);
	}
	CHECK_EQ(fs_generation(sim->fs), generation);
	lose_power(sim);
	for (unsigned i = 1; i < 10; i++)
		expect(sim, "a", 40960, i * 4096, 4096, i);
	simfs_free(sim);
}

/* What was not asked for stays out; what the log says of it makes sense. */
static void test_others(void)
{
	struct simfs *sim = make(2);
	uint64_t a = make_file(sim, "a"), b = make_file(sim, "b"), c = make_file(sim, "c");
	struct fs_attr attr;
	write_at(sim, b, 0, 5000, 1);
	CHECK_EQ(fs_sync(sim->fs), 0);
	write_at(sim, b, 5000, 30000, 2);
	write_at(sim, c, 0, 100000, 3);
	write_at(sim, a, 0, 20000, 4);
	CHECK_EQ(fs_fsync(sim->fs, a, false), 0);
	lose_power(sim);
	expect(sim, "a", 20000, 0, 20000, 4);
	expect(sim, "b", 5000, 0, 5000, 1);
	CHECK_EQ(fs_lookup(sim->fs, OBJECT_ROOT, "c", &attr), 0);
	CHECK_EQ(attr.size_bytes, 0);
	simfs_free(sim);
}

/* What nobody syncs is not logged with every record again; and a size that was held back comes with the data. */
static void test_partial(void)
{
	struct simfs *sim = make(41);
	uint64_t flushes, bytes = 0, files[40], a = make_file(sim, "a");
	unsigned members;
	char name[8];
	for (unsigned i = 0; i < 40; i++) {
		snprintf(name, sizeof name, "f%u", i);
		files[i] = make_file(sim, name);
		write_at(sim, files[i], 0, 5000, i);
	}
	for (unsigned i = 0; i < 4; i++) {
		write_at(sim, a, i * 4096, 4096, i);
		written_bytes(sim, &members, &flushes);
		CHECK_EQ(fs_fsync(sim->fs, a, false), 0);
		bytes = written_bytes(sim, &members, &flushes);
	}
	CHECK_EQ(bytes, 2 * 8192);
	CHECK_EQ(fs_fsync(sim->fs, files[7], false), 0);
	lose_power(sim);
	expect(sim, "a", 16384, 0, 4096, 0);
	expect(sim, "f7", 5000, 0, 5000, 7);
	expect(sim, "f8", 0, 0, 0, 0);
	simfs_free(sim);
}

/* A file that was synced while it was small keeps that when it grows and another one is synced. */
static void test_uninline(void)
{
	struct simfs *sim = make(3);
	uint64_t a = make_file(sim, "a"), b = make_file(sim, "b");
	write_at(sim, a, 0, 1000, 1);
	CHECK_EQ(fs_fsync(sim->fs, a, false), 0);
	write_at(sim, a, 1000, 50000, 2);
	CHECK_EQ(fs_fsync(sim->fs, b, false), 0);
	struct simfs *clone = simfs_clone(sim);
	simworld_cut(clone->world, SIMCUT_DROP_ALL);
	CHECK_EQ(simfs_open(clone), 0);
	expect(clone, "a", 1000, 0, 1000, 1);
	simfs_free(clone);
	CHECK_EQ(fs_fsync(sim->fs, a, false), 0);
	lose_power(sim);
	expect(sim, "a", 51000, 0, 1000, 1);
	expect(sim, "a", 51000, 1000, 50000, 2);
	simfs_free(sim);
}

/* Truncated through a block, then something else is synced: no old bytes beyond the size. */
static void test_truncate(void)
{
	struct simfs *sim = make(4);
	uint64_t a = make_file(sim, "a"), b = make_file(sim, "b");
	struct fs_attr attr = { .size_bytes = 5000 }, after;
	uint8_t bytes[20000], zero[20000] = { 0 };
	write_at(sim, a, 0, 60000, 1);
	CHECK_EQ(fs_sync(sim->fs), 0);
	CHECK_EQ(fs_setattr(sim->fs, a, &attr, FS_SET_SIZE, &after), 0);
	CHECK_EQ(fs_fsync(sim->fs, b, false), 0);
	attr.size_bytes = 20000;
	CHECK_EQ(fs_setattr(sim->fs, a, &attr, FS_SET_SIZE, &after), 0);
	CHECK_EQ(fs_fsync(sim->fs, a, false), 0);
	lose_power(sim);
	expect(sim, "a", 20000, 0, 5000, 1);
	CHECK_EQ(fs_read(sim->fs, a, bytes, sizeof bytes, 5000), 15000);
	CHECK(!memcmp(bytes, zero, 15000));
	simfs_free(sim);
}

/* Renamed over a file that had data: the new content is there with the name. */
static void test_replace(void)
{
	struct simfs *sim = make(5);
	uint64_t old = make_file(sim, "a"), b = make_file(sim, "b"), a;
	write_at(sim, old, 0, 40000, 1);
	CHECK_EQ(fs_sync(sim->fs), 0);
	a = make_file(sim, "a.new");
	write_at(sim, a, 0, 50000, 2);
	CHECK_EQ(fs_rename(sim->fs, OBJECT_ROOT, "a.new", OBJECT_ROOT, "a", 0), 0);
	write_at(sim, b, 0, 100, 3);
	CHECK_EQ(fs_fsync(sim->fs, b, false), 0);
	lose_power(sim);
	expect(sim, "a", 50000, 0, 50000, 2);
	simfs_free(sim);
}

/* fsync of the root directory: everything. */
static void test_root(void)
{
	struct simfs *sim = make(40);
	uint64_t a = make_file(sim, "a"), b = make_file(sim, "b"), generation;
	CHECK_EQ(fs_sync(sim->fs), 0);
	generation = fs_generation(sim->fs);
	write_at(sim, a, 0, 30000, 1);
	write_at(sim, b, 8192, 30000, 2);
	CHECK_EQ(fs_fsync(sim->fs, OBJECT_ROOT, false), 0);
	CHECK_EQ(fs_generation(sim->fs), generation);
	lose_power(sim);
	expect(sim, "a", 30000, 0, 30000, 1);
	expect(sim, "b", 38192, 8192, 30000, 2);
	simfs_free(sim);
}

/* Reserved space, a hole, and data beside them. */
static void test_ranges(void)
{
	struct simfs *sim = make(6);
	uint64_t a = make_file(sim, "a");
	struct fs_attr before, after;
	write_at(sim, a, 0, 80000, 1);
	CHECK_EQ(fs_sync(sim->fs), 0);
	CHECK_EQ(fs_fallocate(sim->fs, a, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 10000, 30000), 0);
	CHECK_EQ(fs_fallocate(sim->fs, a, FALLOC_FL_KEEP_SIZE, 80000, 100000), 0);
	write_at(sim, a, 20480, 4096, 2);
	CHECK_EQ(fs_getattr(sim->fs, a, &before), 0);
	CHECK_EQ(fs_fsync(sim->fs, a, false), 0);
	lose_power(sim);
	expect(sim, "a", 80000, 0, 10000, 1);
	expect(sim, "a", 80000, 20480, 4096, 2);
	CHECK_EQ(fs_getattr(sim->fs, a, &after), 0);
	CHECK_EQ(after.blocks, before.blocks);
	CHECK_EQ(after.mtime_ns, before.mtime_ns);
	CHECK_EQ(after.ctime_ns, before.ctime_ns);
	simfs_free(sim);
}

/* More than the ring holds: commits come between, nothing is lost. */
static void test_full(void)
{
	struct simfs *sim = make(7);
	uint64_t a = make_file(sim, "a"), generation = fs_generation(sim->fs);
	for (unsigned i = 0; i < 200; i++) {
		write_at(sim, a, (i % 50) * 4096, 4096, i);
		CHECK_EQ(fs_fsync(sim->fs, a, false), 0);
	}
	CHECK(fs_generation(sim->fs) > generation + 2 && fs_generation(sim->fs) < generation + 100);
	lose_power(sim);
	for (unsigned i = 150; i < 200; i++)
		expect(sim, "a", 50 * 4096, (i % 50) * 4096, 4096, i);
	simfs_free(sim);
}

/* One mirror is lost with the power, or fails while it is written. */
static void test_mirrors(void)
{
	for (unsigned lost = 0; lost < MEMBERS; lost++) {
		struct simfs *sim = make(8 + lost);
		uint64_t a = make_file(sim, "a");
		CHECK_EQ(fs_sync(sim->fs), 0);
		for (unsigned i = 0; i < 5; i++) {
			write_at(sim, a, i * 4096, 4096, i);
			CHECK_EQ(fs_fsync(sim->fs, a, false), 0);
		}
		sim->left_out[lost] = true;
		lose_power(sim);
		for (unsigned i = 0; i < 5; i++)
			expect(sim, "a", 20480, i * 4096, 4096, i);
		/* Degraded, two are left, and the log goes to them. */
		write_at(sim, a, 20480, 4096, 9);
		CHECK_EQ(fs_fsync(sim->fs, a, false), 0);
		lose_power(sim);
		expect(sim, "a", 24576, 20480, 4096, 9);
		simfs_free(sim);
	}
	for (unsigned failing = 0; failing < MEMBERS; failing++) {
		struct simfs *sim = make(20 + failing);
		uint64_t a = make_file(sim, "a");
		CHECK_EQ(fs_sync(sim->fs), 0);
		write_at(sim, a, 0, 4096, 1);
		CHECK_EQ(fs_fsync(sim->fs, a, false), 0);
		sim->world->disks[failing]->dead = true;
		write_at(sim, a, 4096, 4096, 2);
		CHECK_EQ(fs_fsync(sim->fs, a, false), 0);
		sim->left_out[failing] = true;
		lose_power(sim);
		expect(sim, "a", 8192, 0, 4096, 1);
		expect(sim, "a", 8192, 4096, 4096, 2);
		simfs_free(sim);
	}
}

static void set_size(struct simfs *sim, uint64_t ino, uint64_t bytes)
{
	struct fs_attr attr = { .size_bytes = bytes }, after;
	CHECK_EQ(fs_setattr(sim->fs, ino, &attr, FS_SET_SIZE, &after), 0);
}

/* A block was cut in part while the file was short or empty; then the file grew as an item of the tree, and out of it. */
static void test_grown(void)
{
	for (unsigned punched = 0; punched < 2; punched++) {
		struct simfs *sim = make(50 + punched);
		uint64_t a = make_file(sim, "a"), b = make_file(sim, "b");
		CHECK_EQ(fs_sync(sim->fs), 0);
		if (punched) {
			CHECK_EQ(fs_fallocate(sim->fs, a, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 100, 5000), 0);
		} else {
			set_size(sim, a, 20000);
			set_size(sim, a, 300);
		}
		write_at(sim, a, 0, 1000, 1);
		write_at(sim, a, 10000, 5000, 2);
		write_at(sim, b, 0, 10, 3);
		CHECK_EQ(fs_fsync(sim->fs, b, false), 0);
		CHECK_EQ(fs_fsync(sim->fs, a, false), 0);
		lose_power(sim);
		expect(sim, "a", 15000, 0, 1000, 1);
		expect(sim, "a", 15000, 10000, 5000, 2);
		simfs_free(sim);
	}
}

/* The last block goes whole though it is not full; and the file may be small enough for the tree then. */
static void test_cut_to_end(void)
{
	static const int modes[] = { FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, FALLOC_FL_ZERO_RANGE };
	for (unsigned mode = 0; mode < 2; mode++) {
		struct simfs *sim = make(60 + mode);
		uint64_t a = make_file(sim, "a");
		struct fs_attr before, after;
		uint8_t bytes[5000];
		write_at(sim, a, 0, 5000, 1);
		CHECK_EQ(fs_sync(sim->fs), 0);
		CHECK_EQ(fs_fallocate(sim->fs, a, modes[mode], 4096, 904), 0);
		CHECK_EQ(fs_getattr(sim->fs, a, &before), 0);
		CHECK_EQ(fs_fsync(sim->fs, a, false), 0);
		lose_power(sim);
		expect(sim, "a", 5000, 0, 4096, 1);
		CHECK_EQ(fs_read(sim->fs, a, bytes, 904, 4096), 904);
		CHECK(bytes_are_zero(bytes, 904));
		CHECK_EQ(fs_getattr(sim->fs, a, &after), 0);
		CHECK_EQ(after.blocks, before.blocks);
		simfs_free(sim);
	}
	struct simfs *sim = make(62);
	uint64_t a = make_file(sim, "a");
	write_at(sim, a, 0, 5000, 1);
	set_size(sim, a, 1000);
	CHECK_EQ(fs_sync(sim->fs), 0);
	CHECK_EQ(fs_fallocate(sim->fs, a, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 1000), 0);
	write_at(sim, a, 0, 10, 2);
	CHECK_EQ(fs_fsync(sim->fs, a, false), 0);
	lose_power(sim);
	expect(sim, "a", 1000, 0, 10, 2);
	simfs_free(sim);
}

/* Nobody commits what was replayed into the memory of a read-only mount: syncs have nothing to wait for. */
static void test_read_only(void)
{
	for (unsigned threads = 0; threads < 2; threads++) {
		struct simfs *sim = make(70 + threads);
		uint64_t a = make_file(sim, "a");
		write_at(sim, a, 0, 50000, 1);
		CHECK_EQ(fs_fsync(sim->fs, a, false), 0);
		simfs_close(sim, true);
		simworld_cut(sim->world, SIMCUT_DROP_ALL);
		sim->options.read_only = true;
		sim->options.threads = threads ? 2 : FS_INLINE;
		CHECK_EQ(simfs_open(sim), 0);
		if (threads)
			CHECK_EQ(fs_start(sim->fs), 0);
		expect(sim, "a", 50000, 0, 50000, 1);
		uint64_t changes = sim->world->changes;
		CHECK_EQ(fs_fsync(sim->fs, a, false), 0);
		CHECK_EQ(fs_sync(sim->fs), 0);
		CHECK_EQ(sim->events[EVENT_READ_ONLY], 0);
		CHECK_EQ(simfs_close(sim, false), 0);
		CHECK_EQ(sim->world->changes, changes);
		simfs_free(sim);
	}
}

/* A bad sector of a ring, before, in, or behind the only record: it is found on another member, or its absence is noticed. */
static void test_bad_sector(void)
{
	for (unsigned absent = 0; absent <= MEMBERS; absent++)
		for (unsigned bad = 0; bad < MEMBERS; bad++)
			for (unsigned block = 0; block < 12; block += 1 + block) {
				struct simfs *sim = make(80);
				uint64_t a = make_file(sim, "a"), at = array_label(fs_array(sim->fs))->geometry.log_offset_bytes;
				struct fs_attr attr = { 0 };
				CHECK_EQ(fs_sync(sim->fs), 0);
				write_at(sim, a, 0, 4096, 1);
				CHECK_EQ(fs_fsync(sim->fs, a, false), 0);
				simdisk_fault(sim->world->disks[bad], &(struct simfault){ .kind = SIM_BAD_SECTORS, .ops_mask = SIM_ON(DISK_READ),
					.from_bytes = at + block * 4096, .to_bytes = at + block * 4096 + 4096 });
				if (absent < MEMBERS)
					sim->left_out[absent] = true;
				CHECK_EQ(simfs_crash(sim, SIMCUT_DROP_ALL), 0);
				CHECK_EQ(fs_lookup(sim->fs, OBJECT_ROOT, "a", &attr), 0);
				CHECK(attr.size_bytes == 4096 || fs_read_only(sim->fs));
				/* What is no part of the record, or on no member that is needed, keeps nobody from it. */
				if (absent == MEMBERS || block >= 2)
					CHECK(attr.size_bytes == 4096 && !fs_read_only(sim->fs));
				simfs_free(sim);
			}
}

/* The old log ends with the replay, also if memory was so short that a commit came after the last record. */
static void test_old_log_ends(void)
{
	struct simfs *sim = make(90);
	uint64_t a = make_file(sim, "a");
	CHECK_EQ(fs_sync(sim->fs), 0);
	for (unsigned i = 0; i < 3; i++) {
		write_at(sim, a, 0, 4096, i);
		CHECK_EQ(fs_fsync(sim->fs, a, false), 0);
	}
	sim->options.dirty_bytes = 1;
	CHECK_EQ(simfs_crash(sim, SIMCUT_DROP_ALL), 0);
	expect(sim, "a", 4096, 0, 4096, 2);
	CHECK(sim->fs->log->own && !sim->fs->log->found);
	struct mount_id mount = array_mount(fs_array(sim->fs));
	CHECK(!memcmp(sim->fs->root_body.log_mount, mount.b, sizeof mount.b));
	CHECK_EQ(le64_get(sim->fs->root_body.log_offset_bytes), 0);
	simfs_free(sim);
}

/* A replay that commits in between is cut off anywhere: whatever the root then names of the old log, the next mount's own log is found again. */
static void test_replay_cut_off(void)
{
	struct simfs *base = make(91);
	uint64_t a = make_file(base, "a"), cuts = 0;
	CHECK_EQ(fs_sync(base->fs), 0);
	for (unsigned i = 0; i < 3; i++) {
		write_at(base, a, 0, 4096, i);
		CHECK_EQ(fs_fsync(base->fs, a, false), 0);
	}
	CHECK_EQ(simfs_close(base, true), 0);
	simworld_cut(base->world, SIMCUT_DROP_ALL);
	for (bool done = false; !done; cuts++) {
		struct simfs *sim = simfs_clone(base);
		sim->options.dirty_bytes = 1;
		sim->world->cut_at_change = sim->world->changes + cuts;
		done = simfs_open(sim) == 0;
		simfs_close(sim, true);
		simworld_cut(sim->world, SIMCUT_DROP_ALL);
		sim->options.dirty_bytes = 0;
		CHECK_EQ(simfs_open(sim), 0);
		uint64_t generation = fs_generation(sim->fs);
		write_at(sim, a, 4096, 4096, 9);
		CHECK_EQ(fs_fsync(sim->fs, a, false), 0);
		CHECK_EQ(fs_generation(sim->fs), generation);
		lose_power(sim);
		expect(sim, "a", 8192, 0, 4096, 2);
		expect(sim, "a", 8192, 4096, 4096, 9);
		simfs_free(sim);
	}
	CHECK(cuts > 20);
	simfs_free(base);
}

struct notes { unsigned lost, named; };

static void note(void *ctx, enum check_note kind, const char *text)
{
	struct notes *notes = ctx;
	notes->lost += kind == CHECK_LOST && strstr(text, "cannot be read to its end");
	notes->named += kind == CHECK_LOST && strstr(text, "Inode 16, \"/a\": what was synced of it");
}

/* The first record, or one in the middle, is damaged: what is behind it is lost, and is named, by a check that changes nothing too; the
 * repair makes the filesystem writable again. */
static void test_repaired(void)
{
	for (unsigned record = 0; record < 2; record++) {
		struct simfs *sim = make(95 + record);
		uint64_t a = make_file(sim, "a"), at = array_label(fs_array(sim->fs))->geometry.log_offset_bytes;
		CHECK_EQ(fs_sync(sim->fs), 0);
		for (unsigned i = 0; i < 4; i++) {
			write_at(sim, a, i * 4096, 4096, i);
			CHECK_EQ(fs_fsync(sim->fs, a, false), 0);
		}
		for (unsigned i = 0; i < MEMBERS; i++)
			simdisk_flip(sim->world->disks[i], at + record * 8192 + 5000, 0x10);
		CHECK_EQ(simfs_crash(sim, SIMCUT_KEEP_ALL), 0);
		CHECK(fs_read_only(sim->fs));
		CHECK_EQ(simfs_close(sim, false), 0);
		for (unsigned repair = 0; repair < 2; repair++) {
			struct notes notes = { 0 };
			struct fs_check_options options = { .repair = repair, .note = note, .ctx = &notes };
			struct fs_check_result result = { 0 };
			sim->options.repair = repair;
			sim->options.read_only = sim->options.no_replay = !repair;
			CHECK_EQ(simfs_open(sim), 0);
			CHECK_EQ(fs_check_run(sim->fs, &options, &result), 0);
			CHECK_EQ(notes.lost, 1);
			CHECK_EQ(notes.named, 1);
			CHECK(result.found == 1 && result.left == !repair);
			CHECK_EQ(simfs_close(sim, false), 0);
			sim->options.repair = sim->options.read_only = sim->options.no_replay = false;
		}
		CHECK_EQ(simfs_open(sim), 0);
		CHECK(!fs_read_only(sim->fs));
		expect(sim, "a", record * 4096, 0, record * 4096, 0);
		write_at(sim, a, 0, 4096, 9);
		CHECK_EQ(fs_fsync(sim->fs, a, false), 0);
		lose_power(sim);
		expect(sim, "a", 4096, 0, 4096, 9);
		simfs_free(sim);
	}
}

/* Going back to an older root is cut off at each write: either it is done, or what was logged behind the newest is there. */
static void test_revert(void)
{
	struct simfs *base = make(99);
	uint64_t a = make_file(base, "a"), older, cuts = 0, kept = 0;
	CHECK_EQ(fs_sync(base->fs), 0);
	older = fs_generation(base->fs);
	write_at(base, a, 0, 4096, 1);
	CHECK_EQ(fs_sync(base->fs), 0);
	write_at(base, a, 4096, 4096, 2);
	CHECK_EQ(fs_fsync(base->fs, a, false), 0);
	CHECK_EQ(simfs_close(base, true), 0);
	simworld_cut(base->world, SIMCUT_DROP_ALL);
	for (bool done = false; !done; cuts++) {
		struct simfs *sim = simfs_clone(base);
		struct fs_attr attr = { 0 };
		sim->options.root_generation = older;
		CHECK_EQ(simfs_open(sim), 0);
		sim->world->cut_at_change = sim->world->changes + cuts;
		done = fs_revert(sim->fs) == 0;
		simfs_close(sim, true);
		simworld_cut(sim->world, SIMCUT_DROP_ALL);
		sim->options.root_generation = 0;
		CHECK_EQ(simfs_open(sim), 0);
		CHECK_EQ(fs_lookup(sim->fs, OBJECT_ROOT, "a", &attr), 0);
		CHECK(attr.size_bytes == 8192 || attr.size_bytes == 0);
		CHECK(!done || attr.size_bytes == 0);
		if (attr.size_bytes) {
			expect(sim, "a", 8192, 4096, 4096, 2);
			kept++;
		}
		simfs_free(sim);
	}
	CHECK(cuts > 5 && kept > 5);
	simfs_free(base);
}

/* The record in the middle is damaged on both mirrors: what is behind it cannot be had, and that is said. */
static void test_damage(void)
{
	struct simfs *sim = make(30);
	uint64_t a = make_file(sim, "a");
	CHECK_EQ(fs_sync(sim->fs), 0);
	uint64_t log_at = array_label(fs_array(sim->fs))->geometry.log_offset_bytes;
	for (unsigned i = 0; i < 4; i++) {
		write_at(sim, a, i * 4096, 4096, i);
		CHECK_EQ(fs_fsync(sim->fs, a, false), 0);
	}
	for (unsigned i = 0; i < MEMBERS; i++)
		simdisk_flip(sim->world->disks[i], log_at + 8192 + 5000, 0x10);
	CHECK_EQ(simfs_crash(sim, SIMCUT_KEEP_ALL), 0);
	CHECK(fs_read_only(sim->fs));
	CHECK_EQ(sim->events[EVENT_READ_ONLY], 1);
	CHECK_EQ(sim->events[EVENT_WARNING], 0);         /* that nothing is lost would not be true */
	expect(sim, "a", 4096, 0, 4096, 0);
	simfs_free(sim);
}

int main(void)
{
	test_cost();
	test_others();
	test_partial();
	test_uninline();
	test_truncate();
	test_replace();
	test_root();
	test_ranges();
	test_full();
	test_mirrors();
	test_grown();
	test_cut_to_end();
	test_read_only();
	test_bad_sector();
	test_old_log_ends();
	test_replay_cut_off();
	test_repaired();
	test_revert();
	test_damage();
	return CHECK_DONE();
}
