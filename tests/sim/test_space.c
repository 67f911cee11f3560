/* When there is no room: who asks for some is refused, or waits, before anything was promised; a commit always finds the rows that it needs. */
#include "fs/core.h"
#include "fs/space/space.h"
#include "tests/lib/simfs.h"
#include "tests/unit/check.h"

#include <errno.h>
#include <linux/fs.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define DISKS 3u
#define DISK_BYTES (UINT64_C(64) << 20)
#define PIECE_BYTES (1u << 20)

static uint8_t bytes[PIECE_BYTES];

static int write_file(struct simfs *sim, unsigned i, size_t count)
{
	struct fs_attr attr;
	char name[16];
	snprintf(name, sizeof name, "file%u", i);
	int r = fs_mknod(sim->fs, OBJECT_ROOT, name, S_IFREG | 0644, 0, (struct fs_cred){ 0 }, &attr);
	if (r < 0)
		return r;
	ssize_t n = fs_write(sim->fs, attr.ino, bytes, count, 0, false, NULL);
	return n < 0 ? (int)n : 0;
}

static void unlink_file(struct simfs *sim, unsigned i)
{
	char name[16];
	snprintf(name, sizeof name, "file%u", i);
	REQUIRE(fs_unlink(sim->fs, OBJECT_ROOT, name) == 0);
}

/* ---- Records that share no unit ---- */

/* Each file is a whole unit and a block, or three blocks and two by turns: what comes next never fits beside what was before, and a third of
 * each row stays empty. */
static void padded(size_t one_bytes, size_t other_bytes, bool threads)
{
	struct simfs *sim;
	unsigned count = 0;
	int r = 0;
	REQUIRE(simfs_make(&sim, DISKS, DISK_BYTES, CIPHER_XCHACHA20_POLY1305, 3) == 0);
	if (threads) {
		sim->options.threads = 2;
		REQUIRE(simfs_remount(sim) == 0 && fs_start(sim->fs) == 0);
	}
	while ((r = write_file(sim, count, count % 2 ? other_bytes : one_bytes)) == 0)
		count++;
	CHECK_EQ(r, -ENOSPC);
	CHECK(count > 100);
	CHECK_EQ(fs_sync(sim->fs), 0);
	CHECK_EQ(sim->fs->error, 0);
	printf("%zu and %zu bytes%s: %u files\n", one_bytes, other_bytes, threads ? ", with threads" : "", count);
	simfs_free(sim);
}

/* ---- Renames ---- */

#define NAMES 9000u
#define LONG_NAME 240

static int make_empty(struct simfs *sim, const char *name)
{
	struct fs_attr attr;
	return fs_mknod(sim->fs, OBJECT_ROOT, name, S_IFREG | 0644, 0, (struct fs_cred){ 0 }, &attr);
}

static struct simfs *filled(unsigned names)
{
	struct simfs *sim;
	char name[16];
	int r;
	REQUIRE(simfs_make(&sim, DISKS, DISK_BYTES, CIPHER_XCHACHA20_POLY1305, 6) == 0);
	for (unsigned i = 0; i < names; i++) {
		snprintf(name, sizeof name, "%u", i);
		REQUIRE(make_empty(sim, name) == 0);
	}
	unsigned count = 0;
	for (size_t piece = PIECE_BYTES; piece >= 1; piece /= 64)
		while ((r = write_file(sim, count++, piece)) == 0)
			;
	for (unsigned i = 0, refused = 0; refused < 3; i++) {    /* each claim may have gained a little */
		snprintf(name, sizeof name, "e%u", i);
		r = make_empty(sim, name);
		refused += r == -ENOSPC;
		REQUIRE(r == 0 || r == -ENOSPC);
	}
	return sim;
}

static unsigned long long beyond(struct fs *fs)
{
	uint64_t most = fs->alloc.capacity_blocks - space_reserve_blocks(fs);
	return fs->alloc.live_blocks > most ? fs->alloc.live_blocks - most : 0;
}

/* Where nothing can be added any more names can be changed and exchanged, again and again. */
static void renamed_when_full(void)
{
	struct simfs *sim = filled(2);
	for (unsigned i = 0; i < 1000; i++) {
		CHECK_EQ(fs_rename(sim->fs, OBJECT_ROOT, i % 2 ? "b" : "0", OBJECT_ROOT, i % 2 ? "0" : "b", 0), 0);
		CHECK_EQ(fs_rename(sim->fs, OBJECT_ROOT, i % 2 ? "0" : "b", OBJECT_ROOT, "1", RENAME_EXCHANGE), 0);
		if (i % 100 == 0)
			CHECK_EQ(fs_sync(sim->fs), 0);
	}
	CHECK_EQ(fs_rename(sim->fs, OBJECT_ROOT, "0", OBJECT_ROOT, "1", 0), 0);
	CHECK_EQ(make_empty(sim, "no"), -ENOSPC);
	CHECK_EQ(fs_sync(sim->fs), 0);
	CHECK_EQ(fs_check(sim->fs, false, NULL, NULL), 0);
	simfs_free(sim);
}

/* Names that become longer and longer end before they take from deleting what it needs. */
static void renamed_longer(void)
{
	struct simfs *sim = filled(NAMES);
	char name[16], longer[LONG_NAME + 1];
	unsigned done = 0;
	int r = 0;
	for (; done < NAMES && r == 0; done += r == 0) {
		snprintf(name, sizeof name, "%u", done);
		snprintf(longer, sizeof longer, "%0*u", LONG_NAME, done);
		r = fs_rename(sim->fs, OBJECT_ROOT, name, OBJECT_ROOT, longer, 0);
	}
	CHECK_EQ(r, -ENOSPC);
	CHECK(done > 100);
	CHECK_EQ(fs_sync(sim->fs), 0);
	printf("%u names became longer, by %llu blocks of a reserve of %llu\n", done, beyond(sim->fs),
		(unsigned long long)space_reserve_blocks(sim->fs));
	CHECK(beyond(sim->fs) <= space_reserve_blocks(sim->fs) / 4);
	for (unsigned i = 0; i < NAMES; i++) {
		snprintf(longer, sizeof longer, "%0*u", i < done ? LONG_NAME : 0, i);
		CHECK_EQ(fs_unlink(sim->fs, OBJECT_ROOT, longer), 0);
	}
	unlink_file(sim, 0);
	CHECK_EQ(fs_sync(sim->fs), 0);
	CHECK_EQ(make_empty(sim, "yes"), 0);
	CHECK_EQ(fs_sync(sim->fs), 0);
	CHECK_EQ(fs_check(sim->fs, false, NULL, NULL), 0);
	simfs_free(sim);
}

/* ---- Rows that a pin holds back ---- */

struct writer { struct simfs *sim; unsigned first, count; int result; };

static void *write_some(void *arg)
{
	struct writer *w = arg;
	for (unsigned i = 0; i < w->count && w->result == 0; i++)
		w->result = write_file(w->sim, w->first + i, PIECE_BYTES);
	return NULL;
}

/* Files are unlinked, and that is durable, while somebody reads: their rows come back when he is done, and who writes waits for that. */
static void pinned(void)
{
	struct simfs *sim;
	struct store_pin pin;
	pthread_t thread;
	unsigned count = 0;
	int r = 0;
	REQUIRE(simfs_make(&sim, DISKS, DISK_BYTES, CIPHER_XCHACHA20_POLY1305, 4) == 0);
	sim->options.threads = 2;
	REQUIRE(simfs_remount(sim) == 0 && fs_start(sim->fs) == 0);
	while ((r = write_file(sim, count, PIECE_BYTES)) == 0)
		count++;
	CHECK_EQ(r, -ENOSPC);
	REQUIRE(fs_sync(sim->fs) == 0 && count > 20);
	struct writer w = { sim, 1000, 12, 0 };
	store_pin_now(sim->fs, &pin);
	for (unsigned i = 0; i < w.count + 4; i++)
		unlink_file(sim, i);
	REQUIRE(fs_sync(sim->fs) == 0);
	REQUIRE(pthread_create(&thread, NULL, write_some, &w) == 0);
	nanosleep(&(struct timespec){ .tv_nsec = 500000000 }, NULL);
	store_unpin(sim->fs, &pin);
	REQUIRE(pthread_join(thread, NULL) == 0);
	CHECK_EQ(w.result, 0);
	CHECK_EQ(fs_sync(sim->fs), 0);
	simfs_free(sim);
}

/* ---- Memory that a reader holds ---- */

static void *write_one(void *arg)
{
	struct writer *w = arg;
	w->result = write_file(w->sim, w->first, PIECE_BYTES);
	return NULL;
}

/* So much of what was written is still being read when it is durable that who writes next has to wait, and nothing is left to commit. */
static void held(void)
{
	static struct record *records[PIECE_BYTES / UNIT_BYTES];
	struct simfs *sim;
	struct fs_attr attr;
	struct item item;
	pthread_t thread;
	REQUIRE(simfs_make(&sim, DISKS, DISK_BYTES, CIPHER_XCHACHA20_POLY1305, 5) == 0);
	sim->options.threads = 2;
	sim->options.dirty_bytes = PIECE_BYTES / 2;
	REQUIRE(simfs_remount(sim) == 0);
	struct fs *fs = sim->fs;
	REQUIRE(write_file(sim, 0, PIECE_BYTES) == 0 && fs_lookup(fs, OBJECT_ROOT, "file0", &attr) == 0);
	for (unsigned i = 0; i < ARRAY_COUNT(records); i++) {
		struct key key = key_make(attr.ino, ITEM_EXTENT, (uint64_t)i * UNIT_BLOCKS);
		REQUIRE(tree_lookup(fs, &fs->file, &key, &item) == 0);
		records[i] = record_ref(record_of(&item));
	}
	REQUIRE(fs_sync(fs) == 0 && fs_start(fs) == 0 && fs_dirty_bytes(fs) > sim->options.dirty_bytes);
	struct writer w = { sim, 1, 1, -EBUSY };
	REQUIRE(pthread_create(&thread, NULL, write_one, &w) == 0);
	nanosleep(&(struct timespec){ .tv_nsec = 300000000 }, NULL);
	for (unsigned i = 0; i < ARRAY_COUNT(records); i++)
		record_unref(fs, records[i]);
	alarm(30);                       /* ends what waits for ever */
	REQUIRE(pthread_join(thread, NULL) == 0);
	alarm(0);
	CHECK_EQ(w.result, 0);
	CHECK_EQ(fs_sync(fs), 0);
	simfs_free(sim);
}

int main(void)
{
	for (unsigned threads = 0; threads < 2; threads++) {
		padded(5 * BLOCK_BYTES, 5 * BLOCK_BYTES, threads);
		padded(3 * BLOCK_BYTES, 2 * BLOCK_BYTES, threads);
	}
	renamed_when_full();
	renamed_longer();
	pinned();
	held();
	return CHECK_DONE();
}
