/* With a cache of tree nodes as small as it may be: more nodes lead to what lives in the rows that are gone through at once than it holds.
 * A member that returns catches up all the same, and a check that has to look up all owners comes to its end.
 *
 * Each file has one block, and attributes that fill a leaf with it. */
#include "fs/core.h"
#include "tests/sim/replace_state.h"
#include "tests/unit/check.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DISKS 3u
#define DISK_BYTES (UINT64_C(1) << 30)       /* bands of many rows */
#define CACHE_BYTES (UINT64_C(4) << 20)      /* of what can be asked for, the least */
#define FILES 600u
#define ATTRIBUTES 7u
#define AWAY 1u
#define SECONDS_MAX 120u         /* it takes one */

static uint64_t inos[FILES];

static void fill(unsigned i, uint8_t bytes[BLOCK_BYTES]) { memset(bytes, (int)(1 + i % 250), BLOCK_BYTES); }

static struct simfs *make(void)
{
	static const uint8_t value[XATTR_INLINE_MAX - 40] = { 1 };
	struct simfs *sim;
	REQUIRE(simfs_make(&sim, DISKS, DISK_BYTES, CIPHER_XCHACHA20_POLY1305, 5) == 0);
	for (unsigned i = 0; i < FILES; i++) {
		struct fs_attr attr;
		char name[16];
		snprintf(name, sizeof name, "file%u", i);
		REQUIRE(fs_mknod(sim->fs, OBJECT_ROOT, name, S_IFREG | 0644, 0, (struct fs_cred){ 0 }, &attr) == 0);
		inos[i] = attr.ino;
		for (unsigned k = 0; k < ATTRIBUTES; k++) {
			snprintf(name, sizeof name, "user.%u", k);
			REQUIRE(fs_setxattr(sim->fs, attr.ino, name, value, sizeof value, 0) == 0);
		}
	}
	return sim;
}

static void write_all(struct simfs *sim)
{
	uint8_t bytes[BLOCK_BYTES];
	for (unsigned i = 0; i < FILES; i++) {
		fill(i, bytes);
		REQUIRE(fs_write(sim->fs, inos[i], bytes, sizeof bytes, 0, false, NULL) == (ssize_t)sizeof bytes);
	}
	REQUIRE(fs_sync(sim->fs) == 0);
}

static bool are_there(struct simfs *sim)
{
	uint8_t bytes[BLOCK_BYTES], want[BLOCK_BYTES];
	for (unsigned i = 0; i < FILES; i++) {
		fill(i, want);
		if (fs_read(sim->fs, inos[i], bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes || memcmp(bytes, want, sizeof want))
			return false;
	}
	return true;
}

static void tell(void *ctx, const char *text)
{
	(void)ctx;
	fprintf(stderr, "%s\n", text);
}

/* A body. */
static int mark_free_block(struct fs *fs, const struct band *b)
{
	bool used = true;
	int r = 0;
	for (uint64_t i = 0; i < band_blocks(b) && r == 0; i++) {
		r = alloc_block_live(fs, band_row_address(b, 0) + i, &used);
		if (r == 0 && !used)
			return alloc_mark(fs, band_row_address(b, 0) + i, 1);
	}
	return r == 0 ? -ENOSPC : r;
}

/* One block of each band that is not full is marked used, and nothing leads to it: returns how many. */
static unsigned leak(struct fs *fs)
{
	unsigned leaks = 0;
	struct op op;
	int r = op_begin(fs, &op, OP_FREE, 0);
	REQUIRE(r == 0);
	fs->system.txn = fs->open->generation;   /* as the commit will have it */
	for (uint32_t i = 0; i < fs->config->band_count; i++) {
		do
			r = mark_free_block(fs, &fs->config->bands[i]);
		while (op_retry(&op, &r));
		CHECK(r == 0 || r == -ENOSPC);
		leaks += r == 0;
	}
	txn_mark_dirty(fs);
	op_end(&op);
	REQUIRE(fs_sync(fs) == 0);
	return leaks;
}

struct notes { unsigned leaks, uncovered, others; };

static void on_note(void *ctx, const char *text)
{
	struct notes *notes = ctx;
	if (strstr(text, "marked used and nothing leads to them"))
		notes->leaks++;
	else if (strstr(text, "begin rows in use that no row item covers"))
		notes->uncovered++;
	else {
		notes->others++;
		tell(NULL, text);
	}
}

static void look_up_all_owners(struct simfs *sim)
{
	struct notes notes = { 0 };
	/* So that the files' bands are not full. */
	for (unsigned i = 0; i < FILES; i += FILES / 10) {
		char name[16];
		snprintf(name, sizeof name, "file%u", i);
		REQUIRE(fs_unlink(sim->fs, OBJECT_ROOT, name) == 0);
	}
	REQUIRE(simfs_remount(sim) == 0);
	unsigned leaks = leak(sim->fs);
	fs_check(sim->fs, false, on_note, &notes);
	CHECK_EQ(notes.leaks, leaks);
	CHECK_EQ(notes.others, 0);
}

int main(void)
{
	struct simfs *sim = make();
	replace_leave_out(sim, AWAY, NO_DISK);
	REQUIRE(simfs_remount(sim) == 0);
	write_all(sim);
	replace_leave_out(sim, NO_DISK, NO_DISK);
	sim->options.node_cache_bytes = CACHE_BYTES;
	REQUIRE(simfs_remount(sim) == 0);
	CHECK(array_degraded(fs_array(sim->fs)));
	alarm(SECONDS_MAX);              /* ends what never gets on */
	CHECK(replace_settle(sim));
	alarm(0);
	CHECK(!array_degraded(fs_array(sim->fs)) && are_there(sim));
	CHECK(fs_check(sim->fs, true, tell, NULL) == 0);
	alarm(SECONDS_MAX);
	look_up_all_owners(sim);
	alarm(0);
	simfs_free(sim);
	return CHECK_DONE();
}
