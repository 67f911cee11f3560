/* Repair: what is damaged is found, mended, and then clean, and what was not damaged is as it was.
 *
 *  1. Each kind of damage that every tag agrees with (damage.h).
 *  2. Nodes that cannot be read from any member, at every level of both trees, and pending records: repaired, and read as far as
 *     they can be with `salvage`.
 *  3. A power cut at every write of a repair, then it is repaired again.
 *  4. Going back to each older root, with a cut at every write too. */
#include "fs/check.h"
#include "fs/core.h"
#include "tests/sim/damage.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define OTHERS 240u
#define DISK_BYTES (8u << 20)

static unsigned failed;
static unsigned cut_states;
static bool verbose;
static unsigned named_damaged;       /* … that the damaged file has data that cannot be read */
static unsigned named_lost;          /* notes that a file of the others lost data, in the last repair */

static bool check_(bool ok, const char *what, const char *name, int line)
{
	if (!ok) {
		fprintf(stderr, "failed, line %d: %s: %s\n", line, name, what);
		failed++;
	}
	return ok;
}
#define CHECK(name, what) check_(what, #what, name, __LINE__)

static void note(void *ctx, enum check_note kind, const char *text)
{
	static const char *const kinds[] = { "found", "fixed", "lost", "info" };
	(void)ctx;
	named_lost += kind == CHECK_LOST && strstr(text, "/others/other ") && strstr(text, "a part of its data");
	named_damaged += kind == CHECK_LOST && strstr(text, "\"/d/f\"") && strstr(text, "cannot be read");
	if (verbose)
		printf("    %s: %s\n", kinds[kind], text);
}

static int run(struct fs *fs, bool repair, struct fs_check_result *ret_result)
{
	struct fs_check_options options = { .data = true, .repair = repair, .note = note };
	return fs_check_run(fs, &options, ret_result);
}

/* ---- Files that nothing happens to ---- */

static uint64_t others_dir;

static unsigned other_bytes(unsigned i) { return i % 8 == 0 ? 30000 + i * 7 : 900 + i; }

static void other_content(unsigned i, uint8_t *ret_bytes)
{
	for (unsigned k = 0; k < other_bytes(i); k++)
		ret_bytes[k] = (uint8_t)(k * 31 + k / 256 + i);
}

static int make_others(struct fs *fs)
{
	static uint8_t bytes[40000];
	struct fs_attr attr;
	int r = fs_mknod(fs, OBJECT_ROOT, "others", S_IFDIR | 0755, 0, (struct fs_cred){ 0 }, &attr);
	others_dir = attr.ino;
	for (unsigned i = 0; i < OTHERS && r == 0; i++) {
		char name[32];
		snprintf(name, sizeof name, "other %u", i);
		other_content(i, bytes);
		r = fs_mknod(fs, others_dir, name, S_IFREG | 0644, 0, (struct fs_cred){ 0 }, &attr);
		if (r == 0 && fs_write(fs, attr.ino, bytes, other_bytes(i), 0, false, NULL) != (ssize_t)other_bytes(i))
			r = -EIO;
		if (r == 0 && i % 60 == 59)
			r = fs_sync(fs);
	}
	return r;
}

/* How many of them read as they were; one that reads as something else counts as `wrong`. */
static unsigned count_others(struct fs *fs, unsigned *ret_wrong)
{
	static uint8_t bytes[40000], want[40000];
	unsigned right = 0;
	*ret_wrong = 0;
	for (unsigned i = 0; i < OTHERS; i++) {
		char name[32];
		struct fs_attr attr;
		snprintf(name, sizeof name, "other %u", i);
		other_content(i, want);
		if (fs_lookup(fs, others_dir, name, &attr) < 0)
			continue;
		ssize_t n = fs_read(fs, attr.ino, bytes, sizeof bytes, 0);
		if (n == (ssize_t)other_bytes(i) && !memcmp(bytes, want, (size_t)n))
			right++;
		else if (n >= 0)
			++*ret_wrong;
	}
	return right;
}

/* Data that was cut out with a leaf is missing from files that stay: each of those must have been named. */
static void check_others(struct fs *fs, const char *name, unsigned least, unsigned wrong_most)
{
	unsigned wrong, right = count_others(fs, &wrong);
	if (verbose)
		printf("    %u others are right, %u wrong\n", right, wrong);
	CHECK(name, right >= least);
	CHECK(name, wrong <= wrong_most);
}

static bool count_entry(void *ctx, const struct fs_dirent *entry)
{
	*(unsigned *)ctx += entry->ino > 0;
	return true;
}

/* Listing, with and without attributes, gives as much as can be read: here all entries lie in leaves that can be, unless the first
 * of the targets, where the directory itself is lost. */
static void check_listing(struct fs *fs, const char *name, unsigned least)
{
	unsigned plain = 0, plus = 0;
	int r = fs_readdir(fs, others_dir, 0, false, count_entry, &plain), s = fs_readdir(fs, others_dir, 0, true, count_entry, &plus);
	if (verbose)
		printf("    %u listed (error %d), %u with attributes (error %d)\n", plain, -r, plus, -s);
	CHECK(name, least == 0 || (r == 0 && plain == OTHERS + 2));
	CHECK(name, least == 0 || (s == 0 && plus >= least + 2));
}

/* ---- Opening ---- */

static int open_for(struct simfs *sim, bool repair, bool salvage)
{
	sim->options.repair = repair;
	sim->options.read_only = sim->options.salvage = salvage;
	int r = simfs_open(sim);
	sim->options.repair = sim->options.salvage = sim->options.read_only = false;
	return r;
}

/* Repaired until nothing is left, and clean when opened again. `least` of the others are there. `cut`: a repair before this one
 * may have named a file that lost data. */
static void repair_all(struct simfs *sim, const char *name, unsigned least, bool cut)
{
	struct fs_check_result result = { 0 };
	if (!CHECK(name, open_for(sim, true, false) == 0))
		return;
	named_lost = 0;
	CHECK(name, run(sim->fs, true, &result) == 0);
	CHECK(name, result.left == 0);
	CHECK(name, result.fixed == result.found);
	CHECK(name, simfs_close(sim, false) == 0);
	if (!CHECK(name, simfs_open(sim) == 0))
		return;
	CHECK(name, run(sim->fs, false, &result) == 0);
	CHECK(name, result.found == 0);
	check_others(sim->fs, name, least, cut ? 1 : named_lost);
	/* It works: a file more, and it is still clean. */
	struct fs_attr attr;
	int r = fs_mknod(sim->fs, OBJECT_ROOT, "after", S_IFREG | 0644, 0, (struct fs_cred){ 0 }, &attr);
	CHECK(name, r == 0 || r == -EEXIST);
	CHECK(name, fs_sync(sim->fs) == 0 && run(sim->fs, false, &result) == 0 && result.found == 0);
	simfs_close(sim, false);
}

/* ---- 1 and 3: damage by kind ---- */

static struct simfs *damaged(struct simfs *base, const struct damage *damage)
{
	struct simfs *sim = simfs_clone(base);
	if (!CHECK(damage->name, open_for(sim, true, false) == 0))
		return sim;
	if (damage->body)
		CHECK(damage->name, damage_apply(sim->fs, damage) == 0);
	simfs_close(sim, true);
	return sim;
}

static void cut_at_every_write(struct simfs *base, const char *name, unsigned least, unsigned step)
{
	for (uint64_t n = 0;; n += step) {
		struct simfs *sim = simfs_clone(base);
		struct fs_check_result result;
		bool cut = false;
		sim->world->cut_at_change = sim->world->changes + n;
		if (open_for(sim, true, false) == 0)
			run(sim->fs, true, &result);
		simfs_close(sim, false);
		cut = sim->world->cut;
		if (cut) {
			unsigned before = failed;
			simworld_cut(sim->world, n % 3 == 0 ? SIMCUT_KEEP_ALL : n % 3 == 1 ? SIMCUT_DROP_ALL : SIMCUT_RANDOM);
			cut_states++;
			repair_all(sim, name, least, true);
			if (failed > before)
				fprintf(stderr, "  … cut at change %llu\n", (unsigned long long)n);
		}
		simfs_free(sim);
		if (!cut)
			return;
	}
}

static void kinds(struct simfs *base)
{
	for (size_t i = 0; i < damage_count; i++) {
		struct simfs *sim = damaged(base, &damages[i]);
		if (verbose)
			printf("  %s\n", damages[i].name);
		struct simfs *again = simfs_clone(sim);
		repair_all(sim, damages[i].name, OTHERS, false);
		cut_at_every_write(again, damages[i].name, OTHERS, 5);
		simfs_free(again);
		simfs_free(sim);
	}
}

/* ---- 2: what cannot be read ---- */

/* Spoils a unit so that parity cannot help: itself and its row's parity. */
static void spoil(struct simfs *sim, address at)
{
	const struct config *config = sim->fs->config;
	const struct band *b = config_band(config, address_band(at));
	uint64_t row = band_row_of(b, at);
	unsigned columns[2] = { band_data_column(b, row, (unsigned)(address_unit(at) % band_data_units(b))), band_parity_column(b, row) };
	for (unsigned i = 0; i < 2; i++) {
		const struct column *c = &b->columns[columns[i]];
		simdisk_flip(sim->world->disks[c->member], column_row_offset_bytes(&config->geometry, c, row) + 5000 + 100 * i, 0x10);
	}
}

struct target { uint8_t tree, level; unsigned number; bool pending; const char *name; unsigned least; };

/* The address of the n-th node of a level, in the order of keys. */
static address find_node(struct fs *fs, const struct disk_pointer *p, uint8_t tree, uint8_t level, uint8_t wanted, unsigned *number)
{
	uint8_t image[NODE_BYTES];
	address at = 0;
	if (level == wanted)
		return (*number)-- == 0 ? le64_get(p->address) : 0;
	if (store_read_node(fs, p, tree, level, image) < 0)
		return 0;
	for (unsigned i = 0; i < image_count(image) && !at; i++)
		at = find_node(fs, &((const struct branch_value *)image_value(image, i, NULL))->pointer, tree, (uint8_t)(level - 1), wanted, number);
	return at;
}

static void unreadable(struct simfs *base, const struct target *t)
{
	struct simfs *sim = simfs_clone(base);
	unsigned number = t->number;
	if (verbose)
		printf("  %s\n", t->name);
	if (!CHECK(t->name, simfs_open(sim) == 0))
		goto out;
	const struct root_body body = sim->fs->root_body;
	address at = t->pending ? le64_get(body.pending.address) : t->tree == TREE_FILE
		? find_node(sim->fs, &body.file_tree, t->tree, body.file_level, t->level, &number)
		: find_node(sim->fs, &body.system_tree, t->tree, body.system_level, t->level, &number);
	if (!CHECK(t->name, at != 0))
		goto out;
	spoil(sim, at);
	simfs_close(sim, true);
	if (t->tree == TREE_SYSTEM)
		CHECK(t->name, simfs_open(sim) < 0);
	simfs_close(sim, true);
	if (CHECK(t->name, open_for(sim, false, true) == 0)) {
		check_others(sim->fs, t->name, t->least, 0);
		check_listing(sim->fs, t->name, t->least);
		simfs_close(sim, true);
	}
	struct simfs *again = simfs_clone(sim);
	repair_all(sim, t->name, t->least, false);
	cut_at_every_write(again, t->name, t->least, 3);
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
	spoil(sim, at);
	simfs_close(sim, true);
	for (unsigned i = 0; i < 2 && CHECK(name, open_for(sim, true, false) == 0); i++) {
		named_damaged = 0;
		CHECK(name, run(sim->fs, true, &result) == 0);
		CHECK(name, result.left > 0 && named_damaged > 0);
		CHECK(name, fs_read(sim->fs, damage_file, bytes, sizeof bytes, 0) == -EIO);
		CHECK(name, fs_read(sim->fs, damage_file, bytes, sizeof bytes, 100000) == sizeof bytes);
		check_others(sim->fs, name, OTHERS, 0);
		simfs_close(sim, false);
	}
out:
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
	spoil(sim, find_node(sim->fs, &body.system_tree, TREE_SYSTEM, body.system_level, 0, &number));
	simfs_close(sim, true);
	simworld_cut(sim->world, SIMCUT_DROP_ALL);
	cut_at_every_write(sim, name, OTHERS, 3);
	repair_all(sim, name, OTHERS, false);
	if (CHECK(name, simfs_open(sim) == 0)) {
		CHECK(name, fs_generation(sim->fs) > generation);
		CHECK(name, fs_read(sim->fs, attr.ino, bytes, sizeof bytes, 0) == sizeof text && !memcmp(bytes, text, sizeof text));
	}
out:
	simfs_free(sim);
}

/* ---- 4: going back ---- */

#define VERSIONS 5u

static uint64_t version_generation[VERSIONS];

static bool version_is(struct fs *fs, unsigned version)
{
	uint8_t bytes[20000];
	struct fs_attr attr;
	if (fs_lookup(fs, OBJECT_ROOT, "versions", &attr) < 0 || fs_read(fs, attr.ino, bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes)
		return false;
	for (size_t i = 0; i < sizeof bytes; i++)
		if (bytes[i] != version + 1)
			return false;
	return true;
}

static int make_versions(struct fs *fs)
{
	uint8_t bytes[20000];
	struct fs_attr attr;
	int r = fs_mknod(fs, OBJECT_ROOT, "versions", S_IFREG | 0644, 0, (struct fs_cred){ 0 }, &attr);
	for (unsigned i = 0; i < VERSIONS && r == 0; i++) {
		memset(bytes, (int)i + 1, sizeof bytes);
		if (fs_write(fs, attr.ino, bytes, sizeof bytes, 0, false, NULL) != sizeof bytes)
			return -EIO;
		r = fs_sync(fs);
		version_generation[i] = fs_generation(fs);
	}
	return r;
}

static void revert_to(struct simfs *base, unsigned version, uint64_t cut_at, bool *ret_cut)
{
	struct simfs *sim = simfs_clone(base);
	struct fs_check_result result;
	char name[64];
	snprintf(name, sizeof name, "version %u, cut %llu", version, (unsigned long long)cut_at);
	*ret_cut = false;
	sim->options.root_generation = version_generation[version];
	sim->options.read_only = true;
	CHECK(name, simfs_open(sim) == 0 && run(sim->fs, false, &result) == 0 && result.found == 0);
	CHECK(name, sim->fs && version_is(sim->fs, version) && fs_revert(sim->fs) == -EINVAL);
	simfs_close(sim, true);
	sim->options.read_only = false;
	if (cut_at != SIM_NEVER)
		sim->world->cut_at_change = sim->world->changes + cut_at;
	int r = simfs_open(sim);
	if (r == 0)
		r = fs_revert(sim->fs);
	simfs_close(sim, false);
	sim->options.root_generation = 0;
	*ret_cut = sim->world->cut;
	CHECK(name, r == 0 || *ret_cut);
	if (*ret_cut) {
		simworld_cut(sim->world, SIMCUT_RANDOM);
		cut_states++;
	}
	if (CHECK(name, simfs_open(sim) == 0)) {
		CHECK(name, version_is(sim->fs, version) || (r < 0 && version_is(sim->fs, VERSIONS - 1)));
		CHECK(name, run(sim->fs, false, &result) == 0 && result.found == 0);
		check_others(sim->fs, name, OTHERS, 0);
		CHECK(name, fs_generation(sim->fs) > version_generation[version]);
	}
	simfs_free(sim);
}

static void revert(struct simfs *base)
{
	for (unsigned v = 0; v + 1 < VERSIONS; v++) {
		bool cut = true;
		revert_to(base, v, SIM_NEVER, &cut);
		cut = true;
		for (uint64_t n = 0; cut; n++)
			revert_to(base, v, n, &cut);
	}
	struct simfs *sim = simfs_clone(base);
	sim->options.root_generation = 1000000;
	CHECK("no such root", simfs_open(sim) == -ENOENT);
	simfs_free(sim);
}

int main(int argc, char **argv)
{
	struct simfs *base;
	(void)argv;
	verbose = argc > 1;
	if (simfs_make(&base, 3, DISK_BYTES, CIPHER_NONE, 4) < 0 || make_others(base->fs) < 0 || damage_prepare(base) < 0
		|| simfs_close(base, false) < 0)
		return 1;
	kinds(base);
	all_unreadable(base);
	unreadable_data(base);
	with_log(base);
	if (simfs_open(base) < 0 || make_versions(base->fs) < 0 || simfs_close(base, false) < 0)
		return 1;
	revert(base);
	simfs_free(base);
	printf("%zu kinds of damage, %u cut states, %u checks failed\n", damage_count, cut_states, failed);
	return failed ? 1 : 0;
}
