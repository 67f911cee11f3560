/* Repair: what is damaged is found, mended, and then clean, and what was not damaged is as it was.
 *
 *	test_repair [--shard I/N] [--case NAME] [--verbose]
 *
 *  1. Each kind of damage that every tag agrees with (damage.h).
 *  2. Nodes that cannot be read from any member, at every level of both trees, and pending records: repaired, and read as far as
 *     they can be with `salvage`.  Parity of rows that no row item leads to yet.  Sectors that cannot be read before they are written.
 *  3. A power cut at every write and flush of a repair; then it is repaired again, with all members and without each single one, and
 *     cut once more at every write of that (repair_cut.c).
 *  4. Going back to each older root, with a cut at every write and flush too (repair_revert.c). */
#include "tests/sim/damage.h"
#include "tests/sim/repair.h"
#include "tests/sim/spoil.h"

#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define DISK_BYTES (8u << 20)
#define LEAVES_FILES 300u

static const char *only_case;

/* ---- 1 and 3: damage by kind ---- */

static void act_repair(struct simfs *sim, const void *ctx)
{
	(void)ctx;
	repair_and_close(sim);
}

static void judge_repair(struct simfs *sim, const void *ctx)
{
	repair_all(sim, ctx);
}

static void cut_repair(const struct simfs *base, const struct repair_case *c)
{
	struct cut_act act = { c->name, act_repair, judge_repair, true, c };
	cut_everywhere(base, &act);
}

static bool mine(const char *name)
{
	return cut_mine() && (!only_case || !strcmp(name, only_case));
}

static struct simfs *damaged(struct simfs *base, const struct damage *damage)
{
	struct simfs *sim = simfs_clone(base);
	if (!CHECK(damage->name, repair_open(sim, true, false) == 0))
		return sim;
	if (damage->body)
		CHECK(damage->name, damage_apply(sim->fs, damage) == 0);
	simfs_close(sim, true);
	return sim;
}

static void kinds(struct simfs *base)
{
	for (size_t i = 0; i < damage_count; i++) {
		struct repair_case c = { damages[i].name, OTHERS, false };
		if (!mine(c.name))
			continue;
		struct simfs *sim = damaged(base, &damages[i]), *again = simfs_clone(sim);
		if (repair_verbose)
			printf("  %s\n", c.name);
		repair_all(sim, &c);
		cut_repair(again, &c);
		simfs_free(again);
		simfs_free(sim);
	}
}

/* ---- 2: what cannot be read ---- */

struct target { uint8_t tree, level; unsigned number; bool pending; const char *name; unsigned least; };

static void unreadable(struct simfs *base, const struct target *t)
{
	struct simfs *sim = simfs_clone(base);
	unsigned number = t->number;
	if (repair_verbose)
		printf("  %s\n", t->name);
	if (!CHECK(t->name, simfs_open(sim) == 0))
		goto out;
	const struct root_body body = sim->fs->root_body;
	address at = t->pending ? le64_get(body.pending.address) : t->tree == TREE_FILE
		? spoil_find_node(sim->fs, &body.file_tree, t->tree, body.file_level, t->level, &number)
		: spoil_find_node(sim->fs, &body.system_tree, t->tree, body.system_level, t->level, &number);
	if (!CHECK(t->name, at != 0))
		goto out;
	spoil_unit(sim, at);
	simfs_close(sim, true);
	if (t->tree == TREE_SYSTEM)
		CHECK(t->name, simfs_open(sim) < 0);
	simfs_close(sim, true);
	if (CHECK(t->name, repair_open(sim, false, true) == 0)) {
		check_others(sim->fs, t->name, t->least, 0);
		check_listing(sim->fs, t->name, t->least);
		simfs_close(sim, true);
	}
	struct simfs *again = simfs_clone(sim);
	struct repair_case c = { t->name, t->least, true };
	repair_all(sim, &c);
	cut_repair(again, &c);
	simfs_free(again);
out:
	simfs_free(sim);
}

static void all_unreadable(struct simfs *base)
{
	struct target targets[] = {
		{ TREE_FILE, 0, 0, false, "first leaf of files", 0 },
		{ TREE_FILE, 0, 3, false, "fourth leaf of files", OTHERS / 2 },
		{ TREE_FILE, 0, 7, false, "eighth leaf of files", OTHERS / 2 },
		{ TREE_SYSTEM, 0, 0, false, "a leaf of the system tree", OTHERS },
		{ TREE_SYSTEM, 0, 0, true, "pending record", OTHERS },
	};
	for (size_t i = 0; i < ARRAY_COUNT(targets); i++)
		if (mine(targets[i].name))
			unreadable(base, &targets[i]);
}

/* Data that cannot be read stays as it is: named, left, EIO, and nothing else is touched. */
static void unreadable_data(struct simfs *base)
{
	static const char name[] = "data";
	struct simfs *sim = simfs_clone(base);
	struct fs_check_result result = { 0 };
	char bytes[16];
	address at = 0;
	if (!CHECK(name, simfs_open(sim) == 0) || !CHECK(name, damage_extent(sim->fs, &at) == 0))
		goto out;
	spoil_unit(sim, at);
	simfs_close(sim, true);
	for (unsigned i = 0; i < 2 && CHECK(name, repair_open(sim, true, false) == 0); i++) {
		repair_named_damaged = repair_named_parity = repair_named_left = 0;
		CHECK(name, repair_run(sim->fs, true, &result) == 0);
		CHECK(name, result.left > 0 && repair_named_damaged > 0);
		CHECK(name, repair_named_parity == 0 && repair_named_left == 1);
		CHECK(name, fs_read(sim->fs, damage_file, bytes, sizeof bytes, 0) == -EIO);
		CHECK(name, fs_read(sim->fs, damage_file, bytes, sizeof bytes, 100000) == sizeof bytes);
		check_others(sim->fs, name, OTHERS, 0);
		simfs_close(sim, false);
	}
out:
	simfs_free(sim);
}

/* A sector of the first unit of a file, or of its row's parity, or of both at different places, that can be read again when it was
 * written. */
static void bad_sector(struct simfs *base, const char *name, bool data, bool parity)
{
	struct simfs *sim = simfs_clone(base);
	struct fs_check_result result = { 0 };
	address at = 0;
	if (!CHECK(name, simfs_open(sim) == 0) || !CHECK(name, damage_extent(sim->fs, &at) == 0))
		goto out;
	const struct config *config = sim->fs->config;
	const struct band *b = config_band(config, address_band(at));
	uint64_t row = band_row_of(b, at);
	unsigned columns[2] = { band_data_column(b, row, (unsigned)(address_unit(at) % band_data_units(b))), band_parity_column(b, row) };
	for (unsigned i = !data; i < 1u + parity; i++) {
		const struct column *c = &b->columns[columns[i]];
		uint64_t from = column_row_offset_bytes(&config->geometry, c, row) + (1 + i) * BLOCK_BYTES;
		simdisk_fault(sim->world->disks[c->member], &(struct simfault){ .kind = SIM_BAD_SECTORS, .ops_mask = SIM_ON(DISK_READ),
			.from_bytes = from, .to_bytes = from + SIM_SECTOR_BYTES });
	}
	simfs_close(sim, true);
	for (unsigned i = 0; i < 2 && CHECK(name, repair_open(sim, true, false) == 0); i++) {
		CHECK(name, repair_run(sim->fs, true, &result) == 0);
		CHECK(name, (result.found > 0) == (i == 0) && result.left == 0);
		check_others(sim->fs, name, OTHERS, 0);
		CHECK(name, simfs_close(sim, false) == 0);
	}
out:
	simfs_free(sim);
}

/* Flips a bit of parity of each row that the last commit has listed as pending, so that no row item leads to it. Returns their number. */
static unsigned damage_pending_parity(struct simfs *sim)
{
	const struct fs *fs = sim->fs;
	unsigned rows = 0;
	for (size_t i = 0; i < fs->pending_run_count; i++) {
		const struct rows *run = &fs->pending_runs[i].rows;
		const struct band *b = &fs->config->bands[run->band];
		for (uint64_t row = run->row; row < run->row + run->count; row++, rows++) {
			const struct column *c = &b->columns[band_parity_column(b, row)];
			simdisk_flip(sim->world->disks[c->member], column_row_offset_bytes(&fs->config->geometry, c, row) + 77, 1);
		}
	}
	return rows;
}

/* The last commit replaces all leaves of a system tree that has several: the next one leaves most of them where they lie. */
static bool make_leaves(struct simfs *sim)
{
	struct fs_attr attr;
	static const uint8_t bytes[5000];
	char name[32];
	int r = simfs_open(sim);
	for (unsigned i = 0; i < LEAVES_FILES && r == 0; i++) {
		snprintf(name, sizeof name, "leaf %u", i);
		r = fs_mknod(sim->fs, OBJECT_ROOT, name, S_IFREG | 0644, 0, (struct fs_cred){ 0 }, &attr);
		if (r == 0 && fs_write(sim->fs, attr.ino, bytes, sizeof bytes, 0, false, NULL) != sizeof bytes)
			r = -EIO;
		if (r == 0)
			r = fs_sync(sim->fs);
	}
	for (unsigned i = 0; i < LEAVES_FILES && r == 0; i += 2) {
		snprintf(name, sizeof name, "leaf %u", i);
		r = fs_unlink(sim->fs, OBJECT_ROOT, name);
	}
	return simfs_close(sim, false) == 0 && r == 0;
}

static void pending_parity(struct simfs *base, const char *name, bool leaves)
{
	struct simfs *sim = simfs_clone(base);
	struct fs_check_result result = { 0 };
	repair_named_parity = repair_named_gone = repair_named_left = 0;
	if (CHECK(name, (!leaves || make_leaves(sim)) && simfs_open(sim) == 0)) {
		unsigned rows = damage_pending_parity(sim);
		simfs_close(sim, true);
		CHECK(name, rows > 0);
		CHECK(name, repair_open(sim, true, false) == 0 && repair_run(sim->fs, true, &result) == 0);
		CHECK(name, result.found >= rows && result.left == 0 && repair_named_left == 0);
		CHECK(name, leaves ? repair_named_parity > 0 : repair_named_gone == rows);
		simfs_close(sim, false);
		CHECK(name, repair_open(sim, false, false) == 0 && repair_run(sim->fs, false, &result) == 0 && result.found == 0);
		check_others(sim->fs, name, OTHERS, 0);
	}
	simfs_free(sim);
}

/* What was synced to the intent log alone is there after the system tree was made anew. */
static void with_log(struct simfs *base)
{
	static const char name[] = "log and system tree", text[] = "synced";
	struct simfs *sim = simfs_clone(base);
	struct fs_attr attr;
	char bytes[16];
	unsigned number = 0;
	if (!CHECK(name, simfs_open(sim) == 0))
		goto out;
	CHECK(name, fs_mknod(sim->fs, OBJECT_ROOT, "synced", S_IFREG | 0644, 0, (struct fs_cred){ 0 }, &attr) == 0);
	CHECK(name, fs_sync(sim->fs) == 0);
	CHECK(name, fs_write(sim->fs, attr.ino, text, sizeof text, 0, false, NULL) == sizeof text);
	CHECK(name, fs_fsync(sim->fs, attr.ino, false) == 0);
	const struct root_body body = sim->fs->root_body;
	uint64_t generation = fs_generation(sim->fs);
	spoil_unit(sim, spoil_find_node(sim->fs, &body.system_tree, TREE_SYSTEM, body.system_level, 0, &number));
	simfs_close(sim, true);
	simworld_cut(sim->world, SIMCUT_DROP_ALL);
	struct repair_case c = { name, OTHERS, true };
	cut_repair(sim, &c);
	repair_all(sim, &c);
	if (CHECK(name, simfs_open(sim) == 0)) {
		CHECK(name, fs_generation(sim->fs) > generation);
		CHECK(name, fs_read(sim->fs, attr.ino, bytes, sizeof bytes, 0) == sizeof text && !memcmp(bytes, text, sizeof text));
	}
out:
	simfs_free(sim);
}

static int usage(void)
{
	fprintf(stderr, "usage: test_repair [--shard I/N] [--case NAME] [--verbose]\n");
	return 2;
}

int main(int argc, char **argv)
{
	struct simfs *base;
	for (int i = 1; i < argc; i++) {
		const char *value = i + 1 < argc ? argv[i + 1] : "";
		if (!strcmp(argv[i], "--verbose"))
			repair_verbose = true;
		else if (!strcmp(argv[i], "--shard") && sscanf(value, "%u/%u", &cut_shard, &cut_shards) == 2 && cut_shard < cut_shards)
			i++;
		else if (!strcmp(argv[i], "--case") && *value)
			only_case = argv[++i];
		else
			return usage();
	}
	/* A state lives for some milliseconds; memory that goes back to the kernel each time costs as much again. */
	mallopt(M_MMAP_THRESHOLD, 1 << 30);
	mallopt(M_TRIM_THRESHOLD, 1 << 30);
	if (simfs_make(&base, 3, DISK_BYTES, CIPHER_NONE, 4) < 0 || make_others(base->fs) < 0 || damage_prepare(base) < 0
		|| simfs_close(base, false) < 0)
		return 1;
	kinds(base);
	all_unreadable(base);
	if (mine("data"))
		unreadable_data(base);
	if (mine("bad sector of data"))
		bad_sector(base, "bad sector of data", true, false);
	if (mine("bad sector of parity"))
		bad_sector(base, "bad sector of parity", false, true);
	if (mine("bad sectors of both"))
		bad_sector(base, "bad sectors of both", true, true);
	if (mine("parity of pending rows"))
		pending_parity(base, "parity of pending rows", false);
	if (mine("parity of pending rows, leaves"))
		pending_parity(base, "parity of pending rows, leaves", true);
	if (mine("log and system tree"))
		with_log(base);
	if (mine("revert"))
		repair_revert(base);
	simfs_free(base);
	printf("%zu kinds of damage; %u cuts (1 of each %u writes and flushes), %u in the repair after a cut; %u states of disks, %u of them "
		"without one member; %u left out as identical\n", damage_count, cut_counts.cuts, cut_stride(), cut_counts.second_cuts,
		cut_counts.states, cut_counts.missing, cut_counts.identical);
	printf("%u checks failed\n", repair_failed);
	return repair_failed ? 1 : 0;
}
