/* Relocation beside users, with no memory, and where a leaf cannot be read: what it has read and is about to make dirty somewhere else may
 * be another by then, and what it cannot finish must not be lost.
 *
 * A file is written in long extents, and every fourth of its units is punched, so that all of its rows are sparse. */
#include "fs/core.h"
#include "fs/space/relocate.h"
#include "tests/lib/simfs.h"
#include "tests/sim/spoil.h"
#include "tests/unit/check.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <string.h>
#include <sys/stat.h>

#define DISKS 4u
#define DISK_BYTES (UINT64_C(48) << 20)
#define UNITS 1120u
#define FILE_BYTES ((size_t)UNITS * UNIT_BYTES)
#define BATCHES 4u
#define PUNCHED(unit) ((unit) % 4 == 3)

static struct { bool armed; unsigned long nodes, fail_at; bool failed; } memory;

void *__real_malloc(size_t bytes);
void *__wrap_malloc(size_t bytes);

/* Tree nodes alone: all else is tried by test_memory. */
void *__wrap_malloc(size_t bytes)
{
	if (memory.armed && bytes == NODE_BYTES && ++memory.nodes == memory.fail_at) {
		memory.failed = true;
		return NULL;
	}
	return __real_malloc(bytes);
}

static uint8_t want[FILE_BYTES], got[FILE_BYTES];

static void punch(struct simfs *sim, uint64_t ino, uint64_t at, uint64_t bytes)
{
	REQUIRE(fs_fallocate(sim->fs, ino, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at, bytes) == 0);
	memset(want + at, 0, bytes);
}

static struct simfs *make(uint64_t *ret_ino)
{
	struct simfs *sim;
	struct fs_attr attr;
	for (size_t i = 0; i < FILE_BYTES; i++)
		want[i] = (uint8_t)(1 + i * 13 % 251 + i / UNIT_BYTES % 5);
	REQUIRE(simfs_make(&sim, DISKS, DISK_BYTES, CIPHER_XCHACHA20_POLY1305, 77) == 0);
	REQUIRE(fs_mknod(sim->fs, OBJECT_ROOT, "file", S_IFREG | 0644, 0, (struct fs_cred){ 0 }, &attr) == 0);
	REQUIRE(fs_write(sim->fs, attr.ino, want, FILE_BYTES, 0, false, NULL) == (ssize_t)FILE_BYTES);
	REQUIRE(fs_sync(sim->fs) == 0);
	for (unsigned unit = 0; unit < UNITS; unit++)
		if (PUNCHED(unit))
			punch(sim, attr.ino, (uint64_t)unit * UNIT_BYTES, UNIT_BYTES);
	REQUIRE(fs_sync(sim->fs) == 0);
	*ret_ino = attr.ino;
	return sim;
}

static bool is_there(struct simfs *sim, uint64_t ino)
{
	memset(got, 0xee, sizeof got);
	return fs_read(sim->fs, ino, got, FILE_BYTES, 0) == (ssize_t)FILE_BYTES && !memcmp(got, want, FILE_BYTES);
}

static void tell(void *ctx, const char *text)
{
	(void)ctx;
	fprintf(stderr, "%s\n", text);
}

static void must_be_right(struct simfs *sim, uint64_t ino)
{
	CHECK(is_there(sim, ino));
	CHECK(fs_sync(sim->fs) == 0);
	REQUIRE(simfs_remount(sim) == 0);
	CHECK(is_there(sim, ino));
	CHECK(fs_check(sim->fs, true, tell, NULL) == 0);
}

/* ---- Users change it ---- */

struct user { struct simfs *sim; uint64_t ino; bool done; };

/* A record has been read, to be moved.  Of each one the first block goes, and the second is written anew and committed: at its place begins
 * an extent, but behind it. */
static void change_all(void *ctx, struct simdisk *disk, uint64_t offset_bytes, uint64_t bytes)
{
	struct user *user = ctx;
	(void)disk, (void)offset_bytes, (void)bytes;
	if (user->done)
		return;
	user->done = true;
	for (unsigned unit = 0; unit < UNITS; unit++) {
		uint64_t at = (uint64_t)unit * UNIT_BYTES;
		if (PUNCHED(unit))
			continue;
		punch(user->sim, user->ino, at, UNIT_BYTES);
		memset(want + at + BLOCK_BYTES, (int)(unit % 251 + 1), BLOCK_BYTES);
		REQUIRE(fs_write(user->sim->fs, user->ino, want + at + BLOCK_BYTES, BLOCK_BYTES, at + BLOCK_BYTES, false, NULL) == BLOCK_BYTES);
	}
	REQUIRE(fs_sync(user->sim->fs) == 0);
}

static void changed_meanwhile(void)
{
	struct user user = { 0 };
	user.sim = make(&user.ino);
	user.sim->world->on_read_ctx = &user;
	user.sim->world->on_read = change_all;
	CHECK(relocate_batch(user.sim->fs) >= 0);
	user.sim->world->on_read = NULL;
	CHECK(user.done);
	must_be_right(user.sim, user.ino);
	simfs_free(user.sim);
}

/* ---- Memory is short ---- */

static void short_of_memory(void)
{
	uint64_t ino;
	struct simfs *first = make(&ino);
	unsigned refused = 0, cases = 0;
	REQUIRE(simfs_close(first, false) == 0);
	for (memory.fail_at = 1, memory.failed = true; memory.failed; memory.fail_at++, cases++) {
		struct simfs *sim = simfs_clone(first);
		REQUIRE(simfs_open(sim) == 0);
		memory.failed = false;
		memory.nodes = 0;
		memory.armed = true;
		int64_t r = 0;
		for (unsigned n = 0; n < BATCHES && r >= 0; n++)
			r = relocate_batch(sim->fs);
		memory.armed = false;
		CHECK(memory.failed || r >= 0);
		CHECK(r >= 0 || r == -ENOMEM);
		CHECK(is_there(sim, ino) || sim->fs->error);
		if (sim->fs->error) {
			refused++;
			REQUIRE(simfs_crash(sim, SIMCUT_DROP_ALL) == 0);
		}
		must_be_right(sim, ino);
		simfs_free(sim);
	}
	printf("%u cases, %u times read-only\n", cases, refused);
	CHECK(cases > 10 && refused > 0);
	simfs_free(first);
}

/* ---- A leaf cannot be read ---- */

/* What it leads to stays where it is; the rest is moved. */
static void unreadable(void)
{
	uint64_t ino;
	struct simfs *sim = make(&ino);
	REQUIRE(simfs_remount(sim) == 0);
	address leaf = spoil_node_of(sim->fs, &sim->fs->file, key_make(ino, ITEM_EXTENT, UNITS / 2 * UNIT_BLOCKS), 0);
	REQUIRE(leaf);
	spoil_unit(sim, leaf);
	REQUIRE(simfs_remount(sim) == 0);
	CHECK(relocate_batch(sim->fs) > 0);
	CHECK(sim->events[EVENT_UNREADABLE] > 0);
	CHECK(fs_sync(sim->fs) == 0);
	spoil_unit(sim, leaf);           /* as it was */
	must_be_right(sim, ino);
	simfs_free(sim);
}

int main(void)
{
	changed_meanwhile();
	short_of_memory();
	unreadable();
	return CHECK_DONE();
}
