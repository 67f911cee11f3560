/* The owner adds a spare while a member is taken back, between its getting the configuration and its taking writes: it has the
 * configuration in force all the same before it does, since it may come to be the last that has it. */
#include "fs/core.h"
#include "fs/upkeep/boundary.h"
#include "fs/upkeep/members.h"
#include "raid/format.h"
#include "tests/sim/replace_state.h"
#include "tests/unit/check.h"

#include <string.h>

#define DISKS 4u
#define DISK_BYTES (UINT64_C(16) << 20)
#define BACK 1u
#define SPARE DISKS

int __real_boundary_run(struct fs *fs, int (*act)(struct fs *fs, void *ctx), void *ctx);
int __wrap_boundary_run(struct fs *fs, int (*act)(struct fs *fs, void *ctx), void *ctx);

static struct simfs *adds;               /* a spare to it, when something is to be done between two transactions; NULL: it was */

int __wrap_boundary_run(struct fs *fs, int (*act)(struct fs *fs, void *ctx), void *ctx)
{
	struct simfs *sim = adds;
	unsigned member;
	adds = NULL;
	if (sim)
		CHECK_EQ(fs_member_spare(fs, simdisk_open(sim->world->disks[SPARE]), false, &member, &sim->fail), 0);
	return __real_boundary_run(fs, act, ctx);
}

static struct member_status status_of(const struct simfs *sim)
{
	struct member_status status;
	array_member_status(fs_array(sim->fs), BACK, &status);
	return status;
}

static bool has_config_in_force(const struct simfs *sim)
{
	static uint8_t slots[2][CONFIG_SLOT_MAX_BYTES];
	const struct config *config = replace_config_of(sim);
	const struct geometry *g = &config->geometry;
	const unsigned members[] = { 0, BACK };
	for (unsigned i = 0; i < ARRAY_COUNT(members); i++) {
		struct disk *disk = simdisk_open(sim->world->disks[members[i]]);
		REQUIRE(disk_read(disk, g->config_offset_bytes + config->version % CONFIG_SLOTS * g->config_slot_bytes, slots[i],
			g->config_slot_bytes) == 0);
		disk_close(disk);
	}
	return !memcmp(slots[0], slots[1], g->config_slot_bytes);
}

int main(void)
{
	struct story story = { 0 };
	unsigned member, steps = 0;
	REQUIRE(simfs_make(&story.sim, DISKS, DISK_BYTES, CIPHER_NONE, 93) == 0);
	struct simfs *sim = story.sim;
	simworld_add(sim->world, DISK_BYTES + UNIT_BYTES);
	sim->left_out[SPARE] = true;
	REQUIRE(simfs_remount(sim) == 0);
	REQUIRE(story_write_files(&story, 10) == 0);
	REQUIRE(array_drop_member(fs_array(sim->fs), BACK, "the test says so") == 0);
	REQUIRE(story_write_files(&story, 10) == 0);
	REQUIRE(fs_member_resume(sim->fs, status_of(sim).name, &member) == 0 && member == BACK);
	adds = sim;
	for (; status_of(sim).state == MEMBER_OUT && steps < 100; steps++) {
		CHECK(fs_work(sim->fs) >= 0);
		simfs_sleep(sim, 1000000000);
	}
	CHECK_EQ(status_of(sim).state, MEMBER_FILLING);
	CHECK(!adds && replace_role_of(sim, SPARE) == MEMBER_SPARE);
	CHECK(has_config_in_force(sim));
	sim->left_out[SPARE] = false;
	CHECK(replace_settle(sim));
	CHECK(replace_is_whole(sim, SPARE, &story));
	simfs_free(sim);
	return CHECK_DONE();
}
