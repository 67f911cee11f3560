/* What cannot be read hurts what lies in it, and nothing else.
 *
 *	test_unreadable [--verbose]
 *
 *  1. Each leaf of the file tree in turn: files of which nothing lies there are read, written, cut and listed as ever.
 *     And in a salvage mount, which must have all that can be had: also what is below a directory of which the inode is lost.
 *  2. A record of a file: each run of its blocks is overwritten and cut out.  The others give EIO, and are there again when the
 *     record can be read.
 *  3. What is left of records is healed, relocated and freed as other data is.
 *  4. Access times noted for files in such a leaf do not keep those of others from being stored. */
#include "fs/data/data.h"
#include "tests/sim/spoil.h"
#include "tests/unit/check.h"

#include <errno.h>
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
	static char name[201];
	snprintf(name, sizeof name, "file %u%0190u", i, 0);      /* long, so that entries lie in several leaves */
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

/* The leaves in which something lies that the file needs: its directory's inode, its entry, its inode, its data. */
enum { NEEDS_DIR, NEEDS_ENTRY, NEEDS_INODE, NEEDS_DATA };
struct needs {
	uint64_t ino;
	address link;                    /* where its entry can be found again */
	unsigned count;
	address leaf[PARTS_MAX];
};

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

static address leaf_of_link(struct fs *fs, uint64_t ino)
{
	struct key from = key_make(ino, ITEM_LINK, 0), to = key_make(ino, ITEM_LINK, UINT64_MAX);
	struct item item;
	struct op op;
	int r = op_begin(fs, &op, OP_READ, 0);
	do
		r = tree_next(fs, &fs->file, &from, &to, &item);
	while (op_retry(&op, &r));
	op_end(&op);
	REQUIRE(r == 0);
	return spoil_node_of(fs, &fs->file, item.key, 0);
}

static void find_needs(struct fs *fs, unsigned i, struct needs *ret_needs)
{
	struct fs_dirent entry = { .name = name_of(i) };
	struct needs n = { 0 };
	REQUIRE(fs_readdir(fs, dir, 0, false, find_name, &entry) == 0 && entry.ino);
	n.ino = entry.ino;
	n.link = leaf_of_link(fs, entry.ino);
	need(&n, fs, key_make(dir, ITEM_INODE, 0));
	need(&n, fs, key_make(dir, ITEM_DIRENT, entry.cookie));
	need(&n, fs, key_make(entry.ino, ITEM_INODE, 0));
	if (bytes_of(i) <= INLINE_MAX)
		need(&n, fs, key_make(entry.ino, ITEM_INLINE, 0));
	for (unsigned b = 0; bytes_of(i) > INLINE_MAX && b * BLOCK_BYTES < bytes_of(i); b++)
		need(&n, fs, key_make(entry.ino, ITEM_EXTENT, b));
	*ret_needs = n;
}

static bool touched_from(const struct needs *n, address leaf, unsigned first)
{
	for (unsigned i = first; i < n->count; i++)
		if (n->leaf[i] == leaf)
			return true;
	return false;
}

static bool touched(const struct needs *n, address leaf) { return touched_from(n, leaf, NEEDS_DIR); }

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

/* What is said of the rows that the leaf lies or leads to is that it is not reached, and not that row items lead nowhere. */
static void note_unowned(void *ctx, const char *text)
{
	*(unsigned *)ctx += strstr(text, "no row item leads to their pointer") != NULL;
}

static void checked(struct simfs *sim)
{
	unsigned unowned = 0;
	CHECK(fs_check(sim->fs, false, note_unowned, &unowned) > 0);
	CHECK_EQ(unowned, 0);
}

static void with_leaf_spoiled(struct simfs *base, address leaf, const struct needs *needs)
{
	static uint8_t bytes[40000];
	struct simfs *sim = simfs_clone(base);
	unsigned safe = 0;
	REQUIRE(simfs_open(sim) == 0);
	spoil_unit(sim, leaf);
	REQUIRE(simfs_remount(sim) == 0);
	checked(sim);
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

/* What is read is right; where only the size is not known it may go up to the end of a block. */
static bool reads_nothing_wrong(struct fs *fs, unsigned i)
{
	static uint8_t got[40000], want[40000];
	struct fs_attr attr;
	if (fs_lookup(fs, dir, name_of(i), &attr) < 0)
		return true;
	ssize_t n = fs_read(fs, attr.ino, got, sizeof got, 0), length = (ssize_t)bytes_of(i);
	fill(want, bytes_of(i), i);
	return n < 0 || (n >= length && n < length + BLOCK_BYTES && !memcmp(got, want, (size_t)length)
		&& bytes_are_zero(got + length, (size_t)(n - length)));
}

static bool count_entry(void *ctx, const struct fs_dirent *entry)
{
	*(unsigned *)ctx += entry->ino > 0;
	return true;
}

static void salvaged(struct simfs *base, address leaf, const struct needs *needs)
{
	struct simfs *sim = simfs_clone(base);
	unsigned entries = 2, listed = 0, listed_plus = 0, right = 0, made_up = 0, found_again = 0;
	REQUIRE(simfs_open(sim) == 0);
	spoil_unit(sim, leaf);
	simfs_close(sim, true);
	sim->options.read_only = sim->options.salvage = true;
	REQUIRE(simfs_open(sim) == 0);
	for (unsigned i = 0; i < FILES; i++) {
		bool named = needs[i].leaf[NEEDS_ENTRY] != leaf || needs[i].link != leaf;
		entries += named;
		found_again += named && needs[i].leaf[NEEDS_ENTRY] == leaf;
		CHECK(reads_nothing_wrong(sim->fs, i));
		if (named && !touched_from(&needs[i], leaf, NEEDS_INODE)) {
			CHECK(reads_right(sim->fs, i));
			right++;
		} else if (named && needs[i].leaf[NEEDS_INODE] == leaf && !touched_from(&needs[i], leaf, NEEDS_DATA)) {
			struct fs_attr attr = { 0 };
			CHECK_EQ(fs_lookup(sim->fs, dir, name_of(i), &attr), 0);
			CHECK(attr.size_bytes >= bytes_of(i) && S_ISREG(attr.mode));
			made_up++;
		}
	}
	int r = fs_readdir(sim->fs, dir, 0, false, count_entry, &listed), s = fs_readdir(sim->fs, dir, 0, true, count_entry, &listed_plus);
	CHECK((listed == entries && listed_plus == entries) || entries == 2);   /* none: it may not even be known to be a directory */
	CHECK((r == 0 || r == -EIO) && r == s);
	CHECK((entries == FILES + 2 && !found_again) || r == -EIO);
	if (verbose)
		printf("  salvaged: %u files, %u with an inode that was made up; %u entries, %u of them found again, %s\n", right, made_up, entries,
			found_again, r < 0 ? "and an error" : "all");
	simfs_free(sim);
}

/* What could not be read is tried again after a while. */
static void comes_back(struct simfs *base, address leaf, const struct needs *needs)
{
	struct simfs *sim = simfs_clone(base);
	unsigned i = 0;
	while (i < FILES && needs[i].leaf[NEEDS_DATA] != leaf)
		i++;
	REQUIRE(i < FILES);
	sim->options.read_only = sim->options.salvage = true;
	REQUIRE(simfs_open(sim) == 0);
	spoil_unit(sim, leaf);
	CHECK(!reads_right(sim->fs, i));
	spoil_unit(sim, leaf);
	CHECK(!reads_right(sim->fs, i));
	simfs_sleep(sim, INT64_C(11000000000));
	CHECK(reads_right(sim->fs, i));
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
	for (unsigned i = 0; i < count; i++) {
		with_leaf_spoiled(base, leaves[i], needs);
		salvaged(base, leaves[i], needs);
	}
	comes_back(base, leaves[count / 2], needs);
}

/* ---- 2 ---- */

#define UNITS 3u
#define LAST_BLOCKS 2u
#define BLOCKS (UNITS * UNIT_BLOCKS + LAST_BLOCKS)

enum act { WRITE, PUNCH, WRITE_UNALIGNED, TRUNCATE, ACTS };

struct part {
	enum act act;
	unsigned unit;                   /* that cannot be read */
	unsigned from, to;               /* blocks that go or are overwritten */
};

static uint64_t file;
static uint8_t old_bytes[BLOCKS * BLOCK_BYTES], new_bytes[BLOCKS * BLOCK_BYTES];

/* One extent of several records. */
static struct simfs *make_file(void)
{
	struct simfs *sim;
	struct fs_attr attr = { 0 };
	REQUIRE(simfs_make(&sim, 3, DISK_BYTES, CIPHER_XCHACHA20_POLY1305, 22) == 0);
	REQUIRE(fs_mknod(sim->fs, OBJECT_ROOT, "f", S_IFREG | 0644, 0, cred, &attr) == 0);
	file = attr.ino;
	fill(old_bytes, sizeof old_bytes, 1);
	fill(new_bytes, sizeof new_bytes, 2);
	REQUIRE(fs_write(sim->fs, file, old_bytes, sizeof old_bytes, 0, false, NULL) == (ssize_t)sizeof old_bytes);
	REQUIRE(simfs_close(sim, false) == 0);
	return sim;
}

static int change(struct fs *fs, const struct part *p)
{
	uint64_t from = (uint64_t)p->from * BLOCK_BYTES, bytes = (uint64_t)(p->to - p->from) * BLOCK_BYTES;
	struct fs_attr attr = { .size_bytes = from };
	ssize_t n;
	switch (p->act) {
	case PUNCH:
		return fs_fallocate(fs, file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, from, bytes);
	case TRUNCATE:
		return fs_setattr(fs, file, &attr, FS_SET_SIZE, NULL);
	case WRITE_UNALIGNED:
		n = fs_write(fs, file, new_bytes + from, bytes - 1, from, false, NULL);
		return n < 0 ? (int)n : 0;
	default:
		n = fs_write(fs, file, new_bytes + from, bytes, from, false, NULL);
		return n < 0 ? (int)n : 0;
	}
}

/* Each block is what it must be. */
static void look(struct fs *fs, const struct part *p, bool changed, bool readable)
{
	static const uint8_t zeros[BLOCK_BYTES];
	uint8_t got[BLOCK_BYTES];
	for (unsigned b = 0; b < BLOCKS; b++) {
		bool inside = changed && b >= p->from && b < p->to, lost = !inside && !readable && b / UNIT_BLOCKS == p->unit;
		ssize_t n = fs_read(fs, file, got, sizeof got, (uint64_t)b * BLOCK_BYTES);
		const uint8_t *want = !inside ? old_bytes : p->act == PUNCH ? zeros : new_bytes;
		if (inside && p->act == TRUNCATE)
			CHECK_EQ(n, 0);
		else if (lost)
			CHECK_EQ(n, -EIO);
		else
			CHECK(n == BLOCK_BYTES && !memcmp(got, want == zeros ? zeros : want + (size_t)b * BLOCK_BYTES, BLOCK_BYTES));
	}
}

static unsigned clean(struct fs *fs)
{
	CHECK_EQ(fs_sync(fs), 0);
	return (unsigned)fs_check(fs, true, NULL, NULL);
}

static void one_part(struct simfs *base, const struct part *p)
{
	struct simfs *sim = simfs_clone(base);
	struct fs_attr attr;
	/* What is written anew in part has to be read. */
	bool refused = p->act == WRITE_UNALIGNED && (p->to - 1) / UNIT_BLOCKS == p->unit;
	REQUIRE(simfs_open(sim) == 0);
	address at = spoil_data_of(sim->fs, file, p->unit * UNIT_BLOCKS);
	spoil_unit(sim, at);
	REQUIRE(simfs_remount(sim) == 0);
	CHECK_EQ(change(sim->fs, p), refused ? -EIO : 0);
	if (p->act != WRITE_UNALIGNED)
		look(sim->fs, p, true, false);
	else if (refused)
		look(sim->fs, p, false, false);
	REQUIRE(simfs_remount(sim) == 0);
	if (p->act != WRITE_UNALIGNED)
		look(sim->fs, p, true, false);
	/* Nothing is wrong but what is left of that record, and parity of its row. */
	CHECK(clean(sim->fs) <= 3);
	spoil_unit(sim, at);                     /* the record is back */
	REQUIRE(simfs_remount(sim) == 0);
	if (p->act != WRITE_UNALIGNED || refused)
		look(sim->fs, p, !refused, true);
	CHECK_EQ(clean(sim->fs), 0);
	/* Once more, on what is left of it; and then nothing is. */
	CHECK_EQ(fs_write(sim->fs, file, new_bytes, 5000, p->unit * UNIT_BYTES + 3000, false, NULL), 5000);
	CHECK_EQ(clean(sim->fs), 0);
	CHECK_EQ(fs_unlink(sim->fs, OBJECT_ROOT, "f"), 0);
	CHECK_EQ(clean(sim->fs), 0);
	CHECK_EQ(fs_getattr(sim->fs, file, &attr), -ENOENT);
	simfs_free(sim);
}

static void each_part(void)
{
	struct simfs *base = make_file();
	unsigned count = 0;
	for (unsigned unit = 0; unit <= UNITS; unit++)
		for (unsigned from = 0; from < BLOCKS; from++)
			for (unsigned to = from + 1; to <= BLOCKS; to++)
				for (enum act act = 0; act < ACTS; act++) {
					struct part p = { act, unit, from, to };
					/* Of those that have nothing to do with the unit, a few. */
					bool near = from <= (unit + 1) * UNIT_BLOCKS && to >= unit * UNIT_BLOCKS;
					if ((act == TRUNCATE && to < BLOCKS) || (!near && (from + to) % 5))
						continue;
					one_part(base, &p);
					count++;
				}
	if (verbose)
		printf("%u changes of a file with a record that cannot be read\n", count);
	simfs_free(base);
}

/* ---- 3 ---- */

#define MANY_UNITS 200u

static unsigned count_rests(struct fs *fs)
{
	struct extent_walk walk = { .ino = file, .limit = MANY_UNITS * UNIT_BLOCKS };
	struct extent extent;
	unsigned count = 0;
	struct op op;
	int r = op_begin(fs, &op, OP_READ, 0);
	do {
		walk = (struct extent_walk){ .ino = file, .limit = MANY_UNITS * UNIT_BLOCKS };
		count = 0;
		while ((r = extent_walk_next(fs, &walk, &extent)) == 0)
			count += extent.kind == EXTENT_REST;
	} while (op_retry(&op, &r));
	op_end(&op);
	return count;
}

/* A long file in which one block of each record was replaced while it could not be read. */
static void make_rests(struct simfs *sim)
{
	static uint8_t unit[UNIT_BYTES];
	static address at[MANY_UNITS];
	for (unsigned u = 0; u < MANY_UNITS; u++) {
		fill(unit, sizeof unit, u);
		REQUIRE(fs_write(sim->fs, file, unit, sizeof unit, u * UNIT_BYTES, false, NULL) == UNIT_BYTES);
	}
	REQUIRE(simfs_remount(sim) == 0);
	for (unsigned u = 0; u < MANY_UNITS; u++) {
		at[u] = spoil_data_of(sim->fs, file, u * UNIT_BLOCKS);
		spoil_unit(sim, at[u]);
		fill(unit, sizeof unit, u + 1000);
		CHECK_EQ(fs_write(sim->fs, file, unit, BLOCK_BYTES, u * UNIT_BYTES + BLOCK_BYTES, false, NULL), BLOCK_BYTES);
		spoil_unit(sim, at[u]);
	}
	REQUIRE(simfs_remount(sim) == 0);
	CHECK_EQ(count_rests(sim->fs), 2 * MANY_UNITS);
}

static void look_at_rests(struct fs *fs)
{
	static uint8_t got[UNIT_BYTES], want[UNIT_BYTES], replaced[UNIT_BYTES];
	for (unsigned u = 0; u < MANY_UNITS; u++) {
		fill(want, sizeof want, u);
		fill(replaced, sizeof replaced, u + 1000);
		memcpy(want + BLOCK_BYTES, replaced, BLOCK_BYTES);
		CHECK(fs_read(fs, file, got, sizeof got, u * UNIT_BYTES) == UNIT_BYTES && !memcmp(got, want, sizeof want));
	}
}

static void healed(struct simfs *sim)
{
	address at = spoil_data_of(sim->fs, file, 7 * UNIT_BLOCKS + 3);
	const struct band *b = config_band(sim->fs->config, address_band(at));
	uint64_t row = band_row_of(b, at);
	const struct column *c = &b->columns[band_data_column(b, row, (unsigned)(address_unit(at) % band_data_units(b)))];
	/* In the block that was replaced: the others need it to verify. */
	simdisk_flip(sim->world->disks[c->member], column_row_offset_bytes(&sim->fs->config->geometry, c, row) + BLOCK_BYTES + 77, 4);
	REQUIRE(simfs_remount(sim) == 0);
	look_at_rests(sim->fs);
	CHECK(sim->events[EVENT_HEALED] > 0);
	for (unsigned i = 0; i < 20; i++)
		CHECK(fs_work(sim->fs) >= 0);
	CHECK_EQ(clean(sim->fs), 0);
}

static void rests(void)
{
	static uint8_t bytes[1u << 20];
	struct simfs *sim = make_file();
	struct fs_attr attr = { 0 };
	REQUIRE(simfs_open(sim) == 0);
	make_rests(sim);
	look_at_rests(sim->fs);
	CHECK_EQ(clean(sim->fs), 0);
	healed(sim);
	unsigned before = count_rests(sim->fs);
	/* Full, so that sparse rows are wanted. */
	REQUIRE(fs_mknod(sim->fs, OBJECT_ROOT, "full", S_IFREG | 0644, 0, cred, &attr) == 0);
	for (uint64_t offset = 0, i = 0; fs_write(sim->fs, attr.ino, bytes, sizeof bytes, offset, false, NULL) > 0; offset += sizeof bytes, i++)
		CHECK(fs_work(sim->fs) >= 0);
	for (unsigned i = 0; i < 300; i++)
		CHECK(fs_work(sim->fs) >= 0);
	unsigned after = count_rests(sim->fs);
	if (verbose)
		printf("%u rests of records, of which relocation moved %u\n", before, before - after);
	CHECK(after < before);
	look_at_rests(sim->fs);
	CHECK_EQ(clean(sim->fs), 0);
	CHECK_EQ(fs_unlink(sim->fs, OBJECT_ROOT, "f"), 0);
	CHECK_EQ(clean(sim->fs), 0);
	simfs_free(sim);
}

/* ---- 4 ---- */

static void access_all(struct simfs *sim, int64_t *ret_atimes)
{
	static uint8_t got[40000];
	struct fs_attr attr;
	for (unsigned i = 0; i < FILES; i++) {
		REQUIRE(fs_lookup(sim->fs, dir, name_of(i), &attr) == 0);
		REQUIRE(fs_read(sim->fs, attr.ino, got, sizeof got, 0) == (ssize_t)bytes_of(i));
		REQUIRE(fs_getattr(sim->fs, attr.ino, &attr) == 0);
		ret_atimes[i] = attr.atime_ns;
	}
}

static void forget_nodes(struct fs *fs)
{
	size_t limit = fs->cache.node_limit;
	fs->cache.node_limit = 0;
	cache_trim(fs);
	fs->cache.node_limit = limit;
}

static void access_times(struct simfs *base)
{
	static struct needs needs[FILES];
	static int64_t atimes[FILES];
	struct simfs *sim = simfs_clone(base);
	struct fs_attr attr;
	unsigned stored = 0;
	REQUIRE(simfs_open(sim) == 0);
	for (unsigned i = 0; i < FILES; i++)
		find_needs(sim->fs, i, &needs[i]);
	access_all(sim, atimes);
	address leaf = needs[FILES / 2].leaf[NEEDS_INODE];
	spoil_unit(sim, leaf);
	forget_nodes(sim->fs);
	CHECK_EQ(simfs_close(sim, false), 0);
	REQUIRE(simfs_open(sim) == 0);
	spoil_unit(sim, leaf);
	for (unsigned i = 0; i < FILES; i++) {
		bool there = fs_getattr(sim->fs, needs[i].ino, &attr) == 0 && attr.atime_ns == atimes[i];
		CHECK(there || touched_from(&needs[i], leaf, NEEDS_INODE));
		stored += there;
	}
	CHECK(stored > FILES / 2 && stored < FILES);
	CHECK_EQ(fs_check(sim->fs, true, NULL, NULL), 0);
	simfs_free(sim);
}

int main(int argc, char **argv)
{
	verbose = argc > 1 && !strcmp(argv[1], "--verbose");
	struct simfs *base = make();
	simfs_close(base, false);
	each_leaf(base);
	access_times(base);
	simfs_free(base);
	each_part();
	rests();
	return CHECK_DONE();
}
