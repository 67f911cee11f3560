/* A member that returns while the cache of tree nodes is as small as it may be: more nodes lead to what lives in the rows that are caught up
 * at once than the cache holds, and it gets on all the same.
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
	simfs_free(sim);
	return CHECK_DONE();
}
