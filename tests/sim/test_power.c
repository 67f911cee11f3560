/* The proof that a power cut loses nothing: every cut of many workloads, with each member missing or older.
 *
 *	test_power [--shard I/N] [--thorough] [--verbose]
 *	test_power --seconds S --seed N [--shard I/N]      random ones until the time is over
 *	test_power --replay KIND:NUMBER:STATE
 *
 * Workloads have a kind (s: short, r: random, h: history of several mounts; a capital: thoroughly) and a number, which says
 * all.  States of a workload are numbered too, so that a failure names what replays it.  What is printed last: `N cut states,
 * M lost`; states with the very same disks within one workload count once.  See power.h for the parts. */
#include "tests/sim/power.h"

#include <inttypes.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#ifdef __SANITIZE_ADDRESS__
#define SHORT_STRIDE 80u
#define LONG_COUNT 2u
#define HISTORY_COUNT 2u
#else
#define SHORT_STRIDE 1u
#define LONG_COUNT 26u
#define HISTORY_COUNT 18u
#endif

static const struct power_effort quick[] = {
	{ .all_subsets_of = 1, .random_subsets = 1, .variants = 2 },                /* short */
	{ .all_subsets_of = 1, .random_subsets = 2, .variants = 4, .forks = 40 },   /* random */
	{ .all_subsets_of = 1, .random_subsets = 1, .variants = 3 },                /* histories */
};
static const struct power_effort thorough = { .all_subsets_of = 3, .random_subsets = 8 };

static unsigned shard, shards = 1;
static bool verbose;

static void run_one(char kind, uint64_t number, uint64_t only_state)
{
	char small = (char)(kind | 0x20);
	const struct power_effort *effort = kind != small ? &thorough : &quick[small == 's' ? 0 : small == 'r' ? 1 : 2];
	struct power_run run = { .kind = kind, .number = number, .only_state = only_state, .verbose = verbose };
	switch (small) {
	case 's':
		power_short(&run, effort);
		break;
	case 'r':
		power_long(&run, effort);
		break;
	default:
		power_history(&run, effort);
	}
}

static double seconds_now(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static void all_of_it(bool all)
{
	uint64_t count = all ? power_short_count() : power_short_few();
	for (uint64_t i = shard; i < count; i += all ? shards : shards * SHORT_STRIDE)
		run_one(all ? 'S' : 's', all ? i : power_short_of_few(i), UINT64_MAX);
	for (uint64_t i = shard; i < LONG_COUNT; i += shards)
		run_one(all ? 'R' : 'r', i, UINT64_MAX);
	for (uint64_t i = shard; i < HISTORY_COUNT; i += shards)
		run_one(all ? 'H' : 'h', i, UINT64_MAX);
}

static void until(double seconds, uint64_t seed)
{
	double end = seconds_now() + seconds;
	for (uint64_t i = 0; seconds_now() < end; i++) {
		uint64_t number = power_mix(seed, i * shards + shard);
		if (i % 4 == 0)
			run_one('S', number % power_short_count(), UINT64_MAX);
		else
			run_one(i % 4 == 1 ? 'r' : 'h', number >> 16, UINT64_MAX);
	}
}

static int usage(void)
{
	fprintf(stderr, "usage: test_power [--shard I/N] [--thorough] [--verbose] [--seconds S] [--seed N] "
		"[--replay KIND:NUMBER:STATE]\n");
	return 2;
}

int main(int argc, char **argv)
{
	bool all = false;
	double seconds = 0;
	uint64_t seed = 1, number, state;
	char kind = 0;
	for (int i = 1; i < argc; i++) {
		const char *value = i + 1 < argc ? argv[i + 1] : "";
		if (!strcmp(argv[i], "--thorough"))
			all = true;
		else if (!strcmp(argv[i], "--verbose"))
			verbose = true;
		else if (!strcmp(argv[i], "--shard") && sscanf(value, "%u/%u", &shard, &shards) == 2 && shards > 0 && shard < shards)
			i++;
		else if (!strcmp(argv[i], "--seconds") && (seconds = atof(value)) > 0)
			i++;
		else if (!strcmp(argv[i], "--seed") && sscanf(value, "%" SCNu64, &seed) == 1)
			i++;
		else if (!strcmp(argv[i], "--replay") && sscanf(value, "%c:%" SCNu64 ":%" SCNu64, &kind, &number, &state) == 3)
			i++;
		else
			return usage();
	}
	/* A state lives for a millisecond; memory that goes back to the kernel each time costs as much again. */
	mallopt(M_MMAP_THRESHOLD, 1 << 30);
	mallopt(M_TRIM_THRESHOLD, 1 << 30);
	double start = seconds_now();
	if (kind) {
		verbose = true;
		run_one(kind, number, state);
	} else if (seconds > 0)
		until(seconds, seed);
	else
		all_of_it(all);
	struct power_counts *c = &power_counts;
	printf("%lu workloads, %lu cuts, and %lu in a later mount; %lu cuts and %lu states left out as identical, %lu cut once more "
		"afterwards, %lu refused as they must\n", c->workloads, c->forks, c->second, c->same_cuts, c->identical, c->opened_again,
		c->refused);
	printf("%lu records sealed, no key and nonce twice; %lu MB written, no plaintext; %lu healed; %.0f s\n", power_sealed,
		power_written_bytes >> 20, c->healed, seconds_now() - start);
	printf("%lu cut states, %lu lost\n", c->states, c->lost);
	return c->lost || (!kind && !c->states);
}
