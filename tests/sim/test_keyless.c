/* Keyless rebuild under a filesystem: what was synced is there afterwards, also what only the intent log had; the next mount gives
 * the array its redundancy back, and a cut in it, or one more loss before it, never loses anything unnoticed.
 *
 * Some files are committed, some are only in the log when the power fails; with it one member is lost. */
#include "fs/core.h"
#include "fs/threads.h"
#include "fs/upkeep/catchup.h"
#include "tests/lib/simfs.h"
#include "tests/lib/simkeyless.h"
#include "tests/unit/check.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#define MEMBER_BYTES (8u << 20)
#define COMMITTED 12u
#define LOGGED 7u
#define FILE_BYTES 30000u

static const struct fs_cred cred;

static void fill(uint8_t *bytes, size_t count, unsigned salt)
{
	for (size_t i = 0; i < count; i++)
		bytes[i] = (uint8_t)(i * 7 + i / 251 + salt * 13);
}

static uint64_t make_file(struct simfs *sim, unsigned number)
{
	uint8_t data[FILE_BYTES];
	struct fs_attr attr = { 0 };
	char name[16];

	snprintf(name, sizeof name, "file-%u", number);
	fill(data, sizeof data, number);
	CHECK_EQ(fs_mknod(sim->fs, OBJECT_ROOT, name, S_IFREG | 0644, 0, cred, &attr), 0);
	CHECK_EQ(fs_write(sim->fs, attr.ino, data, sizeof data, 0, false, NULL), FILE_BYTES);
	return attr.ino;
}

static unsigned count_files(struct simfs *sim, unsigned first, unsigned count)
{
	uint8_t want[FILE_BYTES], got[FILE_BYTES];
	struct fs_attr attr = { 0 };
	unsigned good = 0;
	char name[16];

	for (unsigned i = first; i < first + count; i++) {
		snprintf(name, sizeof name, "file-%u", i);
		fill(want, sizeof want, i);
		good += fs_lookup(sim->fs, OBJECT_ROOT, name, &attr) == 0 && attr.size_bytes == FILE_BYTES
			&& fs_read(sim->fs, attr.ino, got, sizeof got, 0) == FILE_BYTES && !memcmp(want, got, sizeof got);
	}
	return good;
}

/* An array whose power failed: some files are in its newest root, others in its log only. Closed. */
static struct simfs *make(unsigned members, enum cipher cipher, uint64_t seed, bool logged)
{
	struct simfs *sim;

	REQUIRE(simfs_make(&sim, members, MEMBER_BYTES, cipher, seed) == 0);
	for (unsigned i = 0; i < COMMITTED; i++)
		make_file(sim, i);
	CHECK_EQ(fs_sync(sim->fs), 0);
	for (unsigned i = 0; logged && i < LOGGED; i++)
		CHECK_EQ(fs_fsync(sim->fs, make_file(sim, COMMITTED + i), false), 0);
	simfs_close(sim, true);
	simworld_cut(sim->world, SIMCUT_DROP_ALL);
	return sim;
}

/* A branch of the history in which `lost` is made again on a new disk. */
static struct simfs *rebuilt(const struct simfs *like, unsigned members, unsigned lost)
{
	struct simfs *sim = simfs_clone(like);
	struct simdisk *from[MEMBERS_MAX], *target = simworld_add(sim->world, MEMBER_BYTES);
	struct fail fail;
	unsigned count = 0;

	for (unsigned i = 0; i < members; i++)
		if (i != lost)
			from[count++] = sim->world->disks[i];
	int r = simkeyless(from, count, target, false, NULL, &fail);
	if (r)
		fprintf(stderr, "rebuild: %s\n", fail.text);
	REQUIRE(r == 0);
	sim->left_out[lost] = true;
	return sim;
}

static void open_it(struct simfs *sim)
{
	int r = simfs_open(sim);

	if (r)
		fprintf(stderr, "open: %s\n", sim->fail.text);
	REQUIRE(r == 0);
}

/* All files, with any one member absent. */
static void check_redundancy(struct simfs *sim, unsigned files)
{
	for (unsigned absent = 0; absent < sim->world->disk_count; absent++) {
		struct simfs *branch = simfs_clone(sim);
		if (!branch->left_out[absent]) {
			branch->left_out[absent] = true;
			open_it(branch);
			CHECK(!fs_read_only(branch->fs));
			CHECK_EQ(count_files(branch, 0, files), files);
		}
		simfs_free(branch);
	}
}

/* The member was in sync when it died: with the first mount everything is as before, and the log is not needed any more. */
static void test_next_mount(enum cipher cipher, unsigned members)
{
	struct simfs *base = make(members, cipher, 10 + cipher + members, true);

	for (unsigned lost = 0; lost < members; lost++) {
		struct simfs *sim = rebuilt(base, members, lost);
		struct label label;
		open_it(sim);
		CHECK_EQ(array_keyless(fs_array(sim->fs)), 0);
		CHECK(!array_degraded(fs_array(sim->fs)));
		CHECK(!fs_read_only(sim->fs));
		CHECK_EQ(sim->events[EVENT_LABEL_RESTORED], LABEL_COPIES);
		CHECK_EQ(count_files(sim, 0, COMMITTED + LOGGED), COMMITTED + LOGGED);
		simfs_close(sim, true);
		simworld_cut(sim->world, SIMCUT_DROP_ALL);
		CHECK(simkeyless_labelled(sim->world->disks[members], &label));
		CHECK(memcmp(label.mac, (uint8_t[LABEL_MAC_BYTES]){ 0 }, LABEL_MAC_BYTES));
		check_redundancy(sim, COMMITTED + LOGGED);
		/* It goes on: more is written, and the array is whole. */
		open_it(sim);
		for (unsigned i = 0; i < 5; i++)
			CHECK_EQ(fs_fsync(sim->fs, make_file(sim, COMMITTED + LOGGED + i), false), 0);
		simfs_close(sim, true);
		simworld_cut(sim->world, SIMCUT_DROP_ALL);
		check_redundancy(sim, COMMITTED + LOGGED + 5);
		simfs_free(sim);
	}
	simfs_free(base);
}

/* With nothing in the log the mount commits all the same; a read-only one changes nothing. */
static void test_commits_at_once(void)
{
	struct simfs *base = make(3, CIPHER_XCHACHA20_POLY1305, 31, false), *sim = rebuilt(base, 3, 1);

	sim->options.read_only = true;
	uint64_t changes = sim->world->changes;
	open_it(sim);
	CHECK_EQ(count_files(sim, 0, COMMITTED), COMMITTED);
	CHECK_EQ(array_keyless(fs_array(sim->fs)), 2);
	uint64_t generation = fs_generation(sim->fs);
	simfs_close(sim, false);
	CHECK_EQ(sim->world->changes, changes);
	sim->options.read_only = false;
	open_it(sim);
	CHECK(fs_generation(sim->fs) > generation);
	CHECK_EQ(array_keyless(fs_array(sim->fs)), 0);
	simfs_close(sim, false);
	/* And only once. */
	changes = sim->world->changes;
	open_it(sim);
	simfs_close(sim, false);
	CHECK_EQ(sim->world->changes, changes);
	simfs_free(sim);
	simfs_free(base);
}

/* The array went on without the member, which then catches up. */
static void test_was_out(void)
{
	struct simfs *base = make(4, CIPHER_XCHACHA20_POLY1305, 32, true);

	base->left_out[2] = true;
	open_it(base);
	for (unsigned i = 0; i < 5; i++)
		CHECK_EQ(fs_fsync(base->fs, make_file(base, COMMITTED + LOGGED + i), false), 0);
	CHECK_EQ(fs_sync(base->fs), 0);
	simfs_close(base, false);
	struct simfs *sim = rebuilt(base, 4, 2);
	open_it(sim);
	CHECK_EQ(array_keyless(fs_array(sim->fs)), 0);
	for (unsigned i = 0; i < 100 && array_degraded(fs_array(sim->fs)); i++) {
		simfs_sleep(sim, INT64_C(20000000000));
		CHECK(fs_work(sim->fs) >= 0);
	}
	CHECK(!array_degraded(fs_array(sim->fs)));
	CHECK_EQ(sim->events[EVENT_HEALED], 0);
	simfs_close(sim, false);
	check_redundancy(sim, COMMITTED + LOGGED + 5);
	simfs_free(sim);
	simfs_free(base);
}

/* One more loss before the first mount: what only the two lost members had in their logs is gone, but never unnoticed. */
static void test_lost_before(void)
{
	struct simfs *base = make(3, CIPHER_XCHACHA20_POLY1305, 33, true);
	unsigned noticed = 0, incomplete = 0;

	for (unsigned lost = 0; lost < 3; lost++)
		for (unsigned absent = 0; absent < 3; absent++) {
			if (absent == lost)
				continue;
			struct simfs *sim = rebuilt(base, 3, lost);
			sim->left_out[absent] = true;
			open_it(sim);
			CHECK_EQ(count_files(sim, 0, COMMITTED), COMMITTED);
			bool whole = count_files(sim, COMMITTED, LOGGED) == LOGGED;
			incomplete += !whole;
			noticed += fs_read_only(sim->fs);
			CHECK(whole || fs_read_only(sim->fs));
			simfs_free(sim);
		}
	CHECK(incomplete > 0 && noticed >= incomplete);
	simfs_free(base);
}

/* ---- The power fails in the first mount ---- */

struct worlds { unsigned count; struct simworld *items[500]; };

static void on_cut(void *ctx, struct simworld *world)
{
	struct worlds *worlds = ctx;

	REQUIRE(worlds->count < 500);
	worlds->items[worlds->count++] = world;
}

static void judge(const struct simfs *base, struct simworld *world, unsigned absent, uint64_t salt)
{
	struct simfs *sim = simfs_on_world(base, simworld_clone(world), salt);
	bool all = sim->left_out[absent];

	sim->left_out[absent] = true;
	open_it(sim);
	bool whole = count_files(sim, 0, COMMITTED + LOGGED) == COMMITTED + LOGGED;
	CHECK(whole || (!all && fs_read_only(sim->fs)));
	CHECK(!all || !fs_read_only(sim->fs));
	CHECK(!all || array_keyless(fs_array(sim->fs)) == 0);
	simfs_close(sim, true);
	simworld_cut(sim->world, SIMCUT_DROP_ALL);
	if (all)
		check_redundancy(sim, COMMITTED + LOGGED);
	simfs_free(sim);
}

static void test_cut_in_first_mount(enum cipher cipher)
{
	static const enum simcut_policy policies[] = { SIMCUT_DROP_ALL, SIMCUT_KEEP_ALL, SIMCUT_RANDOM };
	struct simfs *base = make(3, cipher, 34 + cipher, true), *sim = rebuilt(base, 3, 1);
	static struct worlds worlds;
	uint64_t salt = 1;

	worlds.count = 0;
	sim->world->on_cut = on_cut;
	sim->world->on_cut_ctx = &worlds;
	open_it(sim);
	sim->world->on_cut = NULL;
	simfs_close(sim, true);
	CHECK(worlds.count > 20);
	for (unsigned i = 0; i < worlds.count; i++) {
		for (unsigned p = 0; p < 3; p++) {
			struct simworld *world = simworld_clone(worlds.items[i]);
			world->random_state += ++salt * UINT64_C(0x9e3779b97f4a7c15);
			simworld_cut(world, policies[p]);
			for (unsigned absent = 0; absent < 3; absent++)
				judge(sim, world, absent, salt++);
			simworld_free(world);
		}
		simworld_free(worlds.items[i]);
	}
	simfs_free(sim);
	simfs_free(base);
}

int main(void)
{
	test_next_mount(CIPHER_XCHACHA20_POLY1305, 3);
	test_next_mount(CIPHER_NONE, 4);
	if (cipher_available(CIPHER_AES256_GCM))
		test_next_mount(CIPHER_AES256_GCM, 5);
	test_commits_at_once();
	test_was_out();
	test_lost_before();
	test_cut_in_first_mount(CIPHER_XCHACHA20_POLY1305);
	test_cut_in_first_mount(CIPHER_NONE);
	return CHECK_DONE();
}
