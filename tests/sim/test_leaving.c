/* Members leave one after the other while somebody waits for fsyncs all the time: what the log writes to one that leaves at that moment is
 * acknowledged rightly, or made durable by a commit.
 *
 * Drawing a nonce takes long for the one who fsyncs: between the choice of the mirrors of a record and its write, every step is taken. */
#include "fs/core.h"
#include "fs/upkeep/members.h"
#include "tests/sim/replace_state.h"
#include "tests/unit/check.h"

#include <stdatomic.h>
#include <sys/stat.h>
#include <unistd.h>

#define DISKS 4u
#define DISK_BYTES (UINT64_C(16) << 20)
#define ROUNDS 8u
#define NONCE_US 1000
#define WAIT_US 1000
#define WAITS_MAX 60000u

static _Atomic bool stop;
static uint64_t done;
static _Thread_local bool fsyncs;
static void (*draw)(void *ctx, void *buf, size_t bytes);

static void draw_slowly(void *ctx, void *buf, size_t bytes)
{
	if (fsyncs)
		usleep(NONCE_US);
	draw(ctx, buf, bytes);
}

static void *fsync_main(void *arg)
{
	struct simfs *sim = arg;
	struct fs_attr attr;
	uint8_t bytes[3 * BLOCK_BYTES] = { 0 };
	bool right = fs_mknod(sim->fs, OBJECT_ROOT, "log", S_IFREG | 0644, 0, (struct fs_cred){ 0 }, &attr) == 0;
	fsyncs = true;
	while (right && !atomic_load(&stop)) {
		bytes[done++ % sizeof bytes]++;
		right = fs_write(sim->fs, attr.ino, bytes, sizeof bytes, 0, false, NULL) == (ssize_t)sizeof bytes
			&& fs_fsync(sim->fs, attr.ino, false) == 0;
	}
	return right ? &done : NULL;
}

static bool left(struct simfs *sim, unsigned member)
{
	for (unsigned i = 0; i < WAITS_MAX && !(replace_role_of(sim, member) == MEMBER_UNUSED && replace_at_rest(sim)); i++)
		usleep(WAIT_US);
	return replace_role_of(sim, member) == MEMBER_UNUSED && replace_at_rest(sim);
}

int main(void)
{
	struct story story = { 0 };
	pthread_t thread;
	void *right;
	REQUIRE(simfs_make(&story.sim, DISKS, DISK_BYTES, CIPHER_XCHACHA20_POLY1305, 91) == 0);
	struct simfs *sim = story.sim;
	REQUIRE(story_write_files(&story, 10) == 0);
	simworld_add(sim->world, DISK_BYTES + UNIT_BYTES);
	draw = sim->env.random;
	sim->env.random = draw_slowly;
	sim->options.threads = 2;
	REQUIRE(simfs_remount(sim) == 0);
	REQUIRE(fs_start(sim->fs) == 0);
	REQUIRE(pthread_create(&thread, NULL, fsync_main, sim) == 0);
	for (unsigned i = 0; i < ROUNDS; i++) {
		unsigned from = i % 2 ? DISKS : 1, disk = i % 2 ? 1 : DISKS, member;
		REQUIRE(fs_member_replace_by(sim->fs, from, simdisk_open(sim->world->disks[disk]), false, &member, &sim->fail) == 0);
		CHECK_EQ(member, disk);
		REQUIRE(left(sim, from));
	}
	atomic_store(&stop, true);
	pthread_join(thread, &right);
	CHECK(right && done > 0);
	sim->options.threads = FS_INLINE;
	REQUIRE(simfs_remount(sim) == 0);
	CHECK(replace_is_whole(sim, DISKS, &story));
	simfs_free(sim);
	return CHECK_DONE();
}
