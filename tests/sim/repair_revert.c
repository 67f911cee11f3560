/* Going back to each older root: all of what it led to is there, and a cut at any moment leaves that root's files or the newest
 * ones, whole, also without one of the members. */
#include "tests/sim/repair.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define VERSIONS 5u

static uint64_t version_generation[VERSIONS];

static bool version_is(struct fs *fs, unsigned version)
{
	uint8_t bytes[20000];
	struct fs_attr attr;
	if (fs_lookup(fs, 1, "versions", &attr) < 0 || fs_read(fs, attr.ino, bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes)
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
	int r = fs_mknod(fs, 1, "versions", S_IFREG | 0644, 0, (struct fs_cred){ 0 }, &attr);
	for (unsigned i = 0; i < VERSIONS && r == 0; i++) {
		memset(bytes, (int)i + 1, sizeof bytes);
		if (fs_write(fs, attr.ino, bytes, sizeof bytes, 0, false, NULL) != sizeof bytes)
			return -EIO;
		r = fs_sync(fs);
		version_generation[i] = fs_generation(fs);
	}
	return r;
}

static int go_back(struct simfs *sim, unsigned version)
{
	sim->options.root_generation = version_generation[version];
	int r = simfs_open(sim);
	if (r == 0)
		r = fs_revert(sim->fs);
	int e = simfs_close(sim, false);
	sim->options.root_generation = 0;
	return r < 0 ? r : e;
}

static void look(struct simfs *sim, unsigned version, bool cut)
{
	struct fs_check_result result;
	bool degraded = memchr(sim->left_out, true, sizeof sim->left_out);
	char name[32];
	snprintf(name, sizeof name, "version %u", version);
	if (!CHECK(name, simfs_open(sim) == 0))
		return;
	CHECK(name, version_is(sim->fs, version) || (cut && version_is(sim->fs, VERSIONS - 1)));
	CHECK(name, repair_run(sim->fs, false, &result) == 0 && result.found == 0);
	check_others(sim->fs, name, OTHERS, 0);
	CHECK(name, fs_generation(sim->fs) > version_generation[version]);
	simfs_close(sim, false);
	if (degraded)
		check_caught_up(sim, name);
}

static void act_back(struct simfs *sim, const void *ctx)
{
	go_back(sim, *(const unsigned *)ctx);
}

static void judge_back(struct simfs *sim, const void *ctx)
{
	look(sim, *(const unsigned *)ctx, true);
}

static void revert_to(const struct simfs *base, unsigned version)
{
	struct simfs *sim = simfs_clone(base);
	struct fs_check_result result;
	struct cut_act act = { "going back", act_back, judge_back, false, &version };
	sim->options.root_generation = version_generation[version];
	sim->options.read_only = true;
	CHECK(act.name, simfs_open(sim) == 0 && repair_run(sim->fs, false, &result) == 0 && result.found == 0);
	CHECK(act.name, sim->fs && version_is(sim->fs, version) && fs_revert(sim->fs) == -EINVAL);
	simfs_close(sim, true);
	sim->options.read_only = false;
	sim->options.root_generation = 0;
	CHECK(act.name, go_back(sim, version) == 0);
	look(sim, version, false);
	simfs_free(sim);
	cut_everywhere(base, &act);
}

void repair_revert(struct simfs *base)
{
	if (!CHECK("going back", simfs_open(base) == 0 && make_versions(base->fs) == 0 && simfs_close(base, false) == 0))
		return;
	for (unsigned v = 0; v + 1 < VERSIONS; v++)
		revert_to(base, v);
	struct simfs *sim = simfs_clone(base);
	sim->options.root_generation = 1000000;
	CHECK("no such root", simfs_open(sim) == -ENOENT);
	simfs_free(sim);
}
