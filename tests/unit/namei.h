/* What the tests of the namespace share: one filesystem on simulated disks, and short ways to ask it.  Included once by each. */
#ifndef TESTS_UNIT_NAMEI_H
#define TESTS_UNIT_NAMEI_H

#include "fs/fs.h"
#include "tests/lib/simfs.h"
#include "tests/unit/check.h"

#define ROOT UINT64_C(1)

static struct simfs *sim;
static struct fs *fs;
static const struct fs_cred user = { 1000, 100, 022 };

static void start(void)
{
	REQUIRE(simfs_make(&sim, 3, 64u << 20, CIPHER_XCHACHA20_POLY1305, 7) == 0);
	fs = simfs_fs(sim);
}

static void remount(void)
{
	REQUIRE(simfs_remount(sim) == 0);
	fs = simfs_fs(sim);
}

static void complain(void *ctx, const char *text)
{
	(void)ctx;
	fprintf(stderr, "check: %s\n", text);
}

static void finish(void)
{
	CHECK_EQ(fs_sync(fs), 0);
	CHECK_EQ(fs_check(fs, true, complain, NULL), 0);
	CHECK_EQ(sim->events[EVENT_WARNING], 0);
	if (sim->events[EVENT_WARNING])
		fprintf(stderr, "last event: %s\n", sim->last_event);
	simfs_free(sim);
}

static uint64_t find(uint64_t dir, const char *name)
{
	struct fs_attr attr;
	return fs_lookup(fs, dir, name, &attr) == 0 ? attr.ino : 0;
}

static uint64_t inodes(void)
{
	struct fs_space space;
	fs_space(fs, &space);
	return space.inodes;
}

#endif
