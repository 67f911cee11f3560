/* The power fails at every write and flush of a repair, or of going back.  See repair.h.
 *
 * The act runs once; the simulated disks hand out the world as it would be at each cut (tests/lib/simdisk.h, on_cut).  Of each the
 * unflushed writes are dropped, kept, or kept at random, torn; worlds whose disks are the same count once.  Each is judged with all
 * members and without each single one.  With `again` the act runs once more on what the cut left, and is cut at each third write in turn,
 * another third each time; there, one way to treat the unflushed writes and one member or none that is absent, in turns. */
#include "tests/sim/repair.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WORLDS_MAX 4096u
#define SEEN_BITS 20u

#ifdef __SANITIZE_ADDRESS__
#define STRIDE 17u
#define AGAIN_STRIDE 17u
#else
#define STRIDE 1u
#define AGAIN_STRIDE 3u
#endif

struct cut_counts cut_counts;
unsigned cut_depth, cut_shard, cut_shards = 1;

struct worlds { struct simworld *items[WORLDS_MAX]; unsigned count; };

static uint64_t seen[1u << SEEN_BITS];   /* hashes of disks, of one case; 0: free */
static unsigned seen_count;

unsigned cut_stride(void) { return STRIDE; }

bool cut_mine(void)
{
	static unsigned cases;
	return cases++ % cut_shards == cut_shard;
}

static uint64_t mix(uint64_t x, uint64_t y)
{
	x = (x ^ y) * UINT64_C(0x9e3779b97f4a7c15);
	return x ^ x >> 29;
}

/* False if it was there already. */
static bool seen_add(const struct simworld *world)
{
	uint64_t hash = 1;
	for (unsigned i = 0; i < world->disk_count; i++)
		hash = mix(hash, simstore_hash(&world->disks[i]->durable));
	hash |= !hash;
	size_t i = hash >> (64 - SEEN_BITS);
	while (seen[i] && seen[i] != hash)
		i = (i + 1) % (1u << SEEN_BITS);
	if (seen[i])
		return false;
	if (++seen_count > (1u << SEEN_BITS) / 2)
		abort();
	seen[i] = hash;
	return true;
}

static void on_cut(void *ctx, struct simworld *world)
{
	struct worlds *worlds = ctx;
	if (worlds->count == WORLDS_MAX)
		abort();
	worlds->items[worlds->count++] = world;
}

static void collect(struct simfs *sim, const struct cut_act *act, struct worlds *ret_worlds)
{
	ret_worlds->count = 0;
	sim->world->on_cut = on_cut;
	sim->world->on_cut_ctx = ret_worlds;
	act->act(sim, act->ctx);
	sim->world->on_cut = NULL;
}

static void free_worlds(struct worlds *worlds)
{
	for (unsigned i = 0; i < worlds->count; i++)
		simworld_free(worlds->items[i]);
	free(worlds);
}

/* Two branches of one history never draw the same random numbers. */
static uint64_t next_salt(void)
{
	static uint64_t salt;
	return mix(++salt, UINT64_C(0x5851f42d4c957f2d));
}

static void judge(const struct simfs *base, const struct cut_act *act, struct simworld *world, int missing, const char *where)
{
	cut_depth++;
	struct simfs *sim = simfs_on_world(base, simworld_clone(world), next_salt());
	unsigned before = repair_failed;
	if (missing >= 0)
		sim->left_out[missing] = true;
	act->judge(sim, act->ctx);
	simfs_free(sim);
	cut_depth--;
	cut_counts.states++;
	cut_counts.missing += missing >= 0;
	if (repair_failed > before)
		fprintf(stderr, "  … %s, %s, member %d left out (-1: none)\n", act->name, where, missing);
}

/* What a cut leaves; NULL if a cut before left the same. */
static struct simworld *left_of(struct simworld *cut, enum simcut_policy policy)
{
	struct simworld *world = simworld_clone(cut);
	world->random_state = next_salt();
	simworld_cut(world, policy);
	if (seen_add(world))
		return world;
	cut_counts.identical++;
	simworld_free(world);
	return NULL;
}

static void cut_again(const struct simfs *base, const struct cut_act *act, struct simworld *world, const char *first)
{
	struct worlds *worlds = sim_alloc(sizeof *worlds);
	struct simfs *sim = simfs_on_world(base, simworld_clone(world), next_salt());
	char where[120];
	static unsigned turn;
	cut_depth++;
	collect(sim, act, worlds);
	simfs_free(sim);
	for (unsigned i = turn++ % AGAIN_STRIDE; i < worlds->count; i += AGAIN_STRIDE) {
		struct simworld *second = left_of(worlds->items[i], (enum simcut_policy)(cut_counts.second_cuts % 3));
		cut_counts.second_cuts++;
		if (!second)
			continue;
		snprintf(where, sizeof where, "%s, then cut %u", first, i);
		judge(base, act, second, (int)(cut_counts.second_cuts % (world->disk_count + 1)) - 1, where);
		simworld_free(second);
	}
	cut_depth--;
	free_worlds(worlds);
}

void cut_everywhere(const struct simfs *base, const struct cut_act *act)
{
	struct worlds *worlds = sim_alloc(sizeof *worlds);
	struct simfs *sim = simfs_clone(base);
	char where[80];
	memset(seen, 0, sizeof seen);
	seen_count = 0;
	collect(sim, act, worlds);
	simfs_free(sim);
	for (unsigned i = 0; i < worlds->count; i += STRIDE) {
		cut_counts.cuts++;
		for (enum simcut_policy policy = SIMCUT_DROP_ALL; policy <= SIMCUT_RANDOM; policy++) {
			struct simworld *world = left_of(worlds->items[i], policy);
			if (!world)
				continue;
			snprintf(where, sizeof where, "cut %u of %u, policy %d", i, worlds->count, policy);
			for (int missing = -1; missing < (int)world->disk_count; missing++)
				judge(base, act, world, missing, where);
			if (act->again)
				cut_again(base, act, world, where);
			simworld_free(world);
		}
	}
	free_worlds(worlds);
}
