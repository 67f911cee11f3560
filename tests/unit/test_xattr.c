/* Extended attributes: short and long values, flags, listing, and what is left after replacing, removing and crashing. */
#include "fs/fs.h"
#include "tests/lib/simfs.h"
#include "tests/unit/check.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#define ROOT UINT64_C(1)
#define VALUE_MAX 65536u

static struct simfs *sim;
static struct fs *fs;
static uint64_t file;
static uint8_t value[VALUE_MAX + 1], got[VALUE_MAX + 1];

static void start(void)
{
	struct fs_attr attr;
	REQUIRE(simfs_make(&sim, 3, 64u << 20, CIPHER_XCHACHA20_POLY1305, 11) == 0);
	fs = simfs_fs(sim);
	REQUIRE(fs_mknod(fs, ROOT, "f", S_IFREG | 0644, 0, (struct fs_cred){ 0 }, &attr) == 0);
	file = attr.ino;
}

static void complain(void *ctx, const char *text)
{
	(void)ctx;
	fprintf(stderr, "check: %s\n", text);
}

static void check_all(void)
{
	CHECK_EQ(fs_sync(fs), 0);
	CHECK_EQ(fs_check(fs, true, complain, NULL), 0);
	CHECK_EQ(sim->events[EVENT_WARNING], 0);
}

static uint64_t inodes(void)
{
	struct fs_space space;
	fs_space(fs, &space);
	return space.inodes;
}

static void fill(uint8_t seed)
{
	for (size_t i = 0; i < sizeof value; i++)
		value[i] = (uint8_t)(seed + i * 7 + (i >> 8));
}

/* Is the value of `name` what fill(seed) made, of that length? */
static bool is(const char *name, uint8_t seed, size_t bytes)
{
	fill(seed);
	return fs_getxattr(fs, file, name, NULL, 0) == (ssize_t)bytes
		&& fs_getxattr(fs, file, name, got, sizeof got) == (ssize_t)bytes && !memcmp(got, value, bytes);
}

static void set(const char *name, uint8_t seed, size_t bytes)
{
	fill(seed);
	CHECK_EQ(fs_setxattr(fs, file, name, value, bytes, 0), 0);
}

static void test_lengths(void)
{
	static const size_t lengths[] = { 0, 1, 2047, 2048, 2049, 4096, 10000, 65535, 65536 };
	char name[32];

	start();
	for (unsigned i = 0; i < 9; i++) {
		snprintf(name, sizeof name, "user.%u", i);
		set(name, (uint8_t)i, lengths[i]);
		CHECK(is(name, (uint8_t)i, lengths[i]));
	}
	CHECK_EQ(fs_setxattr(fs, file, "user.x", value, VALUE_MAX + 1, 0), -E2BIG);
	REQUIRE(simfs_remount(sim) == 0);
	fs = simfs_fs(sim);
	for (unsigned i = 0; i < 9; i++) {
		snprintf(name, sizeof name, "user.%u", i);
		CHECK(is(name, (uint8_t)i, lengths[i]));
		if (lengths[i] > 1)
			CHECK_EQ(fs_getxattr(fs, file, name, got, lengths[i] - 1), -ERANGE);
	}
	CHECK_EQ(inodes(), 2 + 5);
	for (unsigned i = 0; i < 9; i++) {       /* each takes the next one's length */
		snprintf(name, sizeof name, "user.%u", i);
		set(name, (uint8_t)(100 + i), lengths[(i + 4) % 9]);
		CHECK(is(name, (uint8_t)(100 + i), lengths[(i + 4) % 9]));
	}
	CHECK_EQ(inodes(), 2 + 5);
	check_all();
	for (unsigned i = 0; i < 9; i += 2) {
		snprintf(name, sizeof name, "user.%u", i);
		CHECK_EQ(fs_removexattr(fs, file, name), 0);
		CHECK_EQ(fs_removexattr(fs, file, name), -ENODATA);
		CHECK_EQ(fs_getxattr(fs, file, name, got, sizeof got), -ENODATA);
	}
	check_all();
	CHECK_EQ(fs_unlink(fs, ROOT, "f"), 0);
	CHECK_EQ(inodes(), 1);
	check_all();
	simfs_free(sim);
}

static void test_flags(void)
{
	char name[300], list[300];
	struct fs_attr before, after;

	start();
	CHECK_EQ(fs_setxattr(fs, file, "user.a", "1", 1, XATTR_REPLACE), -ENODATA);
	CHECK_EQ(fs_getattr(fs, file, &before), 0);
	CHECK_EQ(fs_setxattr(fs, file, "user.a", "1", 1, XATTR_CREATE), 0);
	CHECK_EQ(fs_getattr(fs, file, &after), 0);
	CHECK(after.ctime_ns > before.ctime_ns && after.mtime_ns == before.mtime_ns);
	CHECK_EQ(fs_setxattr(fs, file, "user.a", "2", 1, XATTR_CREATE), -EEXIST);
	CHECK_EQ(fs_setxattr(fs, file, "user.a", value, 5000, XATTR_CREATE), -EEXIST);
	CHECK_EQ(fs_setxattr(fs, file, "user.b", value, 5000, XATTR_REPLACE), -ENODATA);
	CHECK_EQ(inodes(), 2);
	CHECK_EQ(fs_setxattr(fs, file, "user.a", "3", 1, XATTR_REPLACE), 0);
	CHECK_EQ(fs_getxattr(fs, file, "user.a", got, sizeof got), 1);
	CHECK_EQ(got[0], '3');
	CHECK_EQ(fs_setxattr(fs, file, "user.a", "2", 1, 0x1000), -EINVAL);
	CHECK_EQ(fs_setxattr(fs, file, "", "2", 1, 0), -ERANGE);
	CHECK_EQ(fs_setxattr(fs, 4711, "user.a", "2", 1, 0), -ENOENT);
	CHECK_EQ(fs_setxattr(fs, 4711, "user.a", value, 5000, 0), -ENOENT);
	CHECK_EQ(inodes(), 2);
	memset(name, 'n', sizeof name);
	name[256] = 0;
	CHECK_EQ(fs_setxattr(fs, file, name, "2", 1, 0), -ERANGE);
	name[255] = 0;
	CHECK_EQ(fs_setxattr(fs, file, name, "2", 1, 0), 0);
	CHECK_EQ(fs_listxattr(fs, file, NULL, 0), 7 + 256);
	CHECK_EQ(fs_listxattr(fs, file, list, 7 + 255), -ERANGE);
	CHECK_EQ(fs_listxattr(fs, file, list, sizeof list), 7 + 256);
	CHECK(!strcmp(list, "user.a") ? !strcmp(list + 7, name) : !strcmp(list, name) && !strcmp(list + 256, "user.a"));
	check_all();
	simfs_free(sim);
}

/* A crash at any commit in between leaves the old value or the new one, and nothing else. */
static void test_crash(void)
{
	start();
	set("user.a", 1, 30000);
	CHECK_EQ(fs_sync(fs), 0);
	set("user.a", 2, 40000);
	REQUIRE(simfs_crash(sim, SIMCUT_RANDOM) == 0);
	fs = simfs_fs(sim);
	CHECK(is("user.a", 1, 30000));
	CHECK_EQ(inodes(), 3);
	check_all();
	set("user.a", 2, 40000);
	CHECK_EQ(fs_sync(fs), 0);
	set("user.a", 3, 10);
	REQUIRE(simfs_crash(sim, SIMCUT_RANDOM) == 0);
	fs = simfs_fs(sim);
	CHECK(is("user.a", 2, 40000));
	CHECK_EQ(inodes(), 3);
	check_all();
	simfs_free(sim);
}

int main(void)
{
	test_lengths();
	test_flags();
	test_crash();
	return CHECK_DONE();
}
