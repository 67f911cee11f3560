/* What cannot be read hurts what lies in it, and nothing else.
 *
 *	test_unreadable [--verbose]
 *
 *  1. Each leaf of the file tree in turn: files of which nothing lies there are read, written, cut and listed as ever. */
#include "tests/sim/spoil.h"
#include "tests/unit/check.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define DISK_BYTES (8u << 20)
#define FILES 160u
#define RECORD_FILES 5u          /* each so many-th one has its data in records */
#define LEAVES_MAX 64u
#define PARTS_MAX 16u

static const struct fs_cred cred;
static bool verbose;
static uint64_t dir;

static unsigned bytes_of(unsigned i) { return i % RECORD_FILES == 0 ? 30000 + i * 7 : 900 + i; }

static void fill(uint8_t *bytes, size_t count, unsigned salt)
{
	for (size_t i = 0; i < count; i++)
		bytes[i] = (uint8_t)(i * 7 + i / 251 + salt);
}

static const char *name_of(unsigned i)
{
	static char name[32];
	snprintf(name, sizeof name, "file %u", i);
	return name;
}

static struct simfs *make(void)
{
	static uint8_t bytes[40000];
	struct simfs *sim;
	struct fs_attr attr = { 0 };
	REQUIRE(simfs_make(&sim, 3, DISK_BYTES, CIPHER_NONE, 21) == 0);
	REQUIRE(fs_mknod(sim->fs, OBJECT_ROOT, "dir", S_IFDIR | 0755, 0, cred, &attr) == 0);
	dir = attr.ino;
	for (unsigned i = 0; i < FILES; i++) {
		REQUIRE(fs_mknod(sim->fs, dir, name_of(i), S_IFREG | 0644, 0, cred, &attr) == 0);
		fill(bytes, bytes_of(i), i);
		/* Every other block first, so that such a file has several extents. */
		for (unsigned at = 0; at < bytes_of(i) && bytes_of(i) > INLINE_MAX; at += 2 * BLOCK_BYTES)
			REQUIRE(fs_write(sim->fs, attr.ino, bytes + at, 1, at, false, NULL) == 1);
		if (i % RECORD_FILES == 0)
			REQUIRE(fs_sync(sim->fs) == 0);
		REQUIRE(fs_write(sim->fs, attr.ino, bytes, bytes_of(i), 0, false, NULL) == (ssize_t)bytes_of(i));
	}
	REQUIRE(simfs_remount(sim) == 0);
	return sim;
}

/* ---- 1 ---- */

/* The leaves in which something lies that the file needs. */
struct needs { uint64_t ino; unsigned count; address leaf[PARTS_MAX]; };

static void need(struct needs *n, struct fs *fs, struct key key)
{
	address at = spoil_node_of(fs, &fs->file, key, 0);
	REQUIRE(at && n->count < PARTS_MAX);
	n->leaf[n->count++] = at;
}

static bool find_name(void *ctx, const struct fs_dirent *entry)
{
	struct fs_dirent *found = ctx;
	if (strcmp(entry->name, found->name))
		return true;
	*found = *entry;
	return false;
}

static void find_needs(struct fs *fs, unsigned i, struct needs *ret_needs)
{
	struct fs_dirent entry = { .name = name_of(i) };
	struct needs n = { 0 };
	REQUIRE(fs_readdir(fs, dir, 0, false, find_name, &entry) == 0 && entry.ino);
	n.ino = entry.ino;
	need(&n, fs, key_make(dir, ITEM_INODE, 0));
	need(&n, fs, key_make(dir, ITEM_DIRENT, entry.cookie));
	need(&n, fs, key_make(entry.ino, ITEM_INODE, 0));
	if (bytes_of(i) <= INLINE_MAX)
		need(&n, fs, key_make(entry.ino, ITEM_INLINE, 0));
	for (unsigned b = 0; bytes_of(i) > INLINE_MAX && b * BLOCK_BYTES < bytes_of(i); b++)
		need(&n, fs, key_make(entry.ino, ITEM_EXTENT, b));
	*ret_needs = n;
}

static bool touched(const struct needs *n, address leaf)
{
	for (unsigned i = 0; i < n->count; i++)
		if (n->leaf[i] == leaf)
			return true;
	return false;
}

static bool reads_right(struct fs *fs, unsigned i)
{
	static uint8_t got[40000], want[40000];
	struct fs_attr attr;
	int r = fs_lookup(fs, dir, name_of(i), &attr);
	if (r < 0)
		return false;
	ssize_t n = fs_read(fs, attr.ino, got, sizeof got, 0);
	fill(want, bytes_of(i), i);
	return n == (ssize_t)bytes_of(i) && !memcmp(got, want, (size_t)n);
}

static void with_leaf_spoiled(struct simfs *base, address leaf, const struct needs *needs)
{
	static uint8_t bytes[40000];
	struct simfs *sim = simfs_clone(base);
	unsigned safe = 0;
	REQUIRE(simfs_open(sim) == 0);
	spoil_unit(sim, leaf);
	REQUIRE(simfs_remount(sim) == 0);
	for (unsigned i = 0; i < FILES; i++) {
		if (touched(&needs[i], leaf))
			continue;
		safe++;
		CHECK(reads_right(sim->fs, i));
	}
	/* Changes take their keys' leaves, no others. */
	for (unsigned i = 0; i < FILES; i++) {
		if (touched(&needs[i], leaf))
			continue;
		struct fs_attr attr = { .size_bytes = 0 };
		fill(bytes, 5000, i + 1);
		CHECK_EQ(fs_write(sim->fs, needs[i].ino, bytes, 5000, 100, false, NULL), 5000);
		CHECK_EQ(fs_fallocate(sim->fs, needs[i].ino, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096), 0);
		CHECK_EQ(fs_setattr(sim->fs, needs[i].ino, &attr, FS_SET_SIZE, NULL), 0);
	}
	if (verbose)
		printf("leaf at block %llu of band %u: %u of %u files have nothing there\n", (unsigned long long)address_block(leaf),
			address_band(leaf), safe, FILES);
	simfs_free(sim);
}

static void each_leaf(struct simfs *base)
{
	static struct needs needs[FILES];
	address leaves[LEAVES_MAX];
	unsigned count = 0;
	REQUIRE(simfs_open(base) == 0);
	const struct root_body *body = &base->fs->root_body;
	for (unsigned i = 0; i < FILES; i++)
		find_needs(base->fs, i, &needs[i]);
	for (;; count++) {
		unsigned number = count;
		address at = spoil_find_node(base->fs, &body->file_tree, TREE_FILE, body->file_level, 0, &number);
		if (!at)
			break;
		REQUIRE(count < LEAVES_MAX);
		leaves[count] = at;
	}
	simfs_close(base, true);
	REQUIRE(count > 8);
	for (unsigned i = 0; i < count; i++)
		with_leaf_spoiled(base, leaves[i], needs);
}

int main(int argc, char **argv)
{
	verbose = argc > 1 && !strcmp(argv[1], "--verbose");
	struct simfs *base = make();
	simfs_close(base, false);
	each_leaf(base);
	simfs_free(base);
	return CHECK_DONE();
}
