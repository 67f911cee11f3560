/* See simfs.h. */
#include "tests/lib/simfs.h"
#include "base/cleanup.h"
#include "crypto/key.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define CLOCK_START_NS INT64_C(1700000000000000000)
#define CLOCK_STEP_NS 1000

static int64_t sim_now_ns(void *ctx)
{
	struct simfs *sim = ctx;
	SCOPED_LOCK(&sim->lock);
	return sim->clock_ns += CLOCK_STEP_NS;
}

/* SplitMix64. */
static uint64_t random_next(struct simfs *sim)
{
	uint64_t z = sim->random_state += UINT64_C(0x9e3779b97f4a7c15);
	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

static void sim_random(void *ctx, void *buf, size_t bytes)
{
	struct simfs *sim = ctx;
	SCOPED_LOCK(&sim->lock);
	for (size_t at = 0; at < bytes; at += 8) {
		uint64_t r = random_next(sim);
		memcpy((uint8_t *)buf + at, &r, bytes - at < 8 ? bytes - at : 8);
	}
}

static void sim_report(void *ctx, const struct event *event)
{
	struct simfs *sim = ctx;
	SCOPED_LOCK(&sim->lock);
	sim->events[event->kind]++;
	snprintf(sim->last_event, sizeof sim->last_event, "%s", event->text);
}

static const struct secret *secret_of(struct simfs *sim)
{
	return sim->cipher == CIPHER_NONE ? NULL : &sim->secret;
}

static unsigned open_disks(struct simfs *sim, struct disk **ret_disks)
{
	unsigned n = 0;
	for (unsigned i = 0; i < sim->world->disk_count; i++)
		if (!sim->left_out[i])
			ret_disks[n++] = simdisk_open(sim->world->disks[i]);
	return n;
}

int simfs_open(struct simfs *sim)
{
	struct disk *disks[SIM_DISKS_MAX];
	struct probe *probe;
	unsigned count = open_disks(sim, disks);

	memset(&sim->fail, 0, sizeof sim->fail);
	int r = array_probe(disks, count, &probe, &sim->fail);
	if (r < 0)
		return r;
	return fs_open(probe, secret_of(sim), true, &sim->options, &sim->fs, &sim->fail);
}

static int make(struct simfs *sim, unsigned count, uint64_t size_bytes)
{
	struct disk *disks[SIM_DISKS_MAX];
	struct fs_mkfs params = { .name = "test", .cipher = sim->cipher, .secret = secret_of(sim), .slot_description = "test key",
		.root_mode = 0755, .env = &sim->env, .events = sim->options.events };

	for (unsigned i = 0; i < count; i++)
		simworld_add(sim->world, size_bytes);
	open_disks(sim, disks);
	int r = fs_mkfs(disks, count, &params, NULL, &sim->fail);
	return r < 0 ? r : simfs_open(sim);
}

int simfs_make(struct simfs **ret_sim, unsigned count, uint64_t size_bytes, enum cipher cipher, uint64_t seed)
{
	struct simfs *sim = sim_alloc(sizeof *sim);

	*sim = (struct simfs){ .world = simworld_new(seed), .cipher = cipher, .clock_ns = CLOCK_START_NS, .random_state = seed };
	pthread_mutex_init(&sim->lock, NULL);
	sim->env = (struct env){ sim, sim_now_ns, sim_random };
	sim->options = (struct fs_options){ .commit_interval_ms = UINT32_MAX, .threads = FS_INLINE, .env = &sim->env,
		.events = { sim, sim_report } };
	sim_random(sim, sim->key, sizeof sim->key);
	sim->secret = (struct secret){ SECRET_KEY_GENERATED, sim->key, sizeof sim->key };
	int r = key_arena_init(&sim->fail);
	if (r >= 0)
		r = make(sim, count, size_bytes);
	if (r < 0) {
		fprintf(stderr, "simfs_make: error %d: %s\n", -r, sim->fail.text);
		simfs_free(sim);
		return r;
	}
	*ret_sim = sim;
	return 0;
}

struct simfs *simfs_clone(const struct simfs *sim)
{
	return simfs_on_world(sim, simworld_clone(sim->world), 0);
}

struct simfs *simfs_on_world(const struct simfs *like, struct simworld *world, uint64_t salt)
{
	struct simfs *clone = sim_alloc(sizeof *clone);

	*clone = *like;
	clone->world = world;
	clone->random_state ^= salt;
	clone->fs = NULL;
	pthread_mutex_init(&clone->lock, NULL);
	clone->env.ctx = clone->options.events.ctx = clone;
	clone->options.env = &clone->env;
	clone->secret.bytes = clone->key;
	return clone;
}

int simfs_close(struct simfs *sim, bool abandon)
{
	struct fs *fs = sim->fs;

	sim->fs = NULL;
	return fs ? fs_close(fs, abandon) : 0;
}

void simfs_free(struct simfs *sim)
{
	if (!sim)
		return;
	simfs_close(sim, true);
	simworld_free(sim->world);
	pthread_mutex_destroy(&sim->lock);
	free(sim);
}

int simfs_remount(struct simfs *sim)
{
	int r = simfs_close(sim, false);
	return r < 0 ? r : simfs_open(sim);
}

int simfs_crash(struct simfs *sim, enum simcut_policy policy)
{
	simfs_close(sim, true);
	simworld_cut(sim->world, policy);
	return simfs_open(sim);
}

void simfs_sleep(struct simfs *sim, int64_t ns)
{
	SCOPED_LOCK(&sim->lock);
	sim->clock_ns += ns;
}

ssize_t simfs_write_buffer(struct fs *fs, uint64_t ino, const void *bytes, size_t count, uint64_t at)
{
	struct iobuf *buf cleanup(iobuf_unrefp) = iobuf_new(count ? count : 1);
	bool killed;

	if (!buf)
		return -ENOMEM;
	memcpy(buf->data, bytes, count);
	ssize_t n = fs_write_buffer(fs, ino, buf, count, at, FS_WRITE, &killed);
	if (atomic_load(&buf->refs) == 1)
		memset(buf->data, 0xee, buf->bytes);
	return n;
}
