/* Argon2id's cost: bounds, measuring, deriving.
 *
 * Linux grants memory that it may not have, and kills whoever touches it.  So before deriving, what is needed is compared with
 * what is available: a clear "not enough memory" is better than a killed process. */
#include "crypto/cost.h"

#include <errno.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

bool cost_valid(const struct slot_cost *cost)
{
	return cost->passes >= 1 && cost->passes <= COST_PASSES_MAX
		&& cost->memory_bytes >= COST_MEMORY_BYTES_MIN && cost->memory_bytes <= COST_MEMORY_BYTES_MAX
		&& cost->memory_bytes % 1024 == 0;
}

struct slot_cost cost_plan(int64_t pass_ns, uint64_t memory_bytes_max)
{
	/* Time grows with memory × passes: count in passes over the least memory. */
	uint64_t work = pass_ns > 0 && pass_ns < COST_NEW_TARGET_NS ? (uint64_t)(COST_NEW_TARGET_NS / pass_ns) : 1;
	if (memory_bytes_max > COST_NEW_MEMORY_BYTES_MAX)
		memory_bytes_max = COST_NEW_MEMORY_BYTES_MAX;
	uint64_t steps = memory_bytes_max / COST_NEW_MEMORY_BYTES_MIN;
	if (steps > work)
		steps = work;
	if (steps < 1)
		steps = 1;
	uint64_t passes = work / steps;
	if (steps == 1 && passes < 3)
		passes = 3;
	if (passes > COST_PASSES_MAX)
		passes = COST_PASSES_MAX;
	return (struct slot_cost){ .passes = (uint32_t)passes, .memory_bytes = steps * COST_NEW_MEMORY_BYTES_MIN };
}

/* Adds up the values, in KiB, of the lines of /proc/meminfo that begin with one of the names. */
static uint64_t meminfo_bytes(const char *name, const char *second_name)
{
	char line[128];
	uint64_t kib, sum = 0;
	bool found = false;
	FILE *f = fopen("/proc/meminfo", "re");

	if (!f)
		return UINT64_MAX;
	while (fgets(line, sizeof line, f)) {
		const char *colon = strchr(line, ':');
		size_t length = colon ? (size_t)(colon - line) : 0;
		bool wanted = length && ((length == strlen(name) && !memcmp(line, name, length))
			|| (length == strlen(second_name) && !memcmp(line, second_name, length)));
		if (wanted && sscanf(colon + 1, "%" SCNu64, &kib) == 1) {
			sum += kib * 1024;
			found = true;
		}
	}
	fclose(f);
	return found ? sum : UINT64_MAX;
}

/* The limit of this process's control group (version 2), UINT64_MAX if there is none. */
static uint64_t group_limit_bytes(void)
{
	char line[512], path[600];
	uint64_t limit = UINT64_MAX;
	bool found = false;
	FILE *f = fopen("/proc/self/cgroup", "re");

	while (f && !found && fgets(line, sizeof line, f))
		found = !strncmp(line, "0::/", 4);
	if (f)
		fclose(f);
	if (!found)
		return limit;
	line[strcspn(line, "\n")] = '\0';
	snprintf(path, sizeof path, "/sys/fs/cgroup%s/memory.max", line + 3);
	f = fopen(path, "re");
	if (!f)
		return limit;
	if (fscanf(f, "%" SCNu64, &limit) != 1)
		limit = UINT64_MAX;
	fclose(f);
	return limit;
}

static uint64_t least(uint64_t a, uint64_t b) { return a < b ? a : b; }

uint64_t memory_available_bytes(void)
{
	return least(meminfo_bytes("MemAvailable", "SwapFree"), group_limit_bytes());
}

int cost_derive(const struct slot_cost *cost, const uint8_t salt[COST_SALT_BYTES], const uint8_t *secret, size_t secret_bytes,
	uint8_t ret_key[32])
{
	if (cost->memory_bytes > memory_available_bytes())
		return -ENOMEM;
	return crypto_pwhash(ret_key, 32, (const char *)secret, secret_bytes, salt, cost->passes, (size_t)cost->memory_bytes,
		crypto_pwhash_ALG_ARGON2ID13) ? -ENOMEM : 0;
}

static int64_t monotonic_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* The clock here is the machine's and not a simulation's: it is the machine that is measured. */
int cost_calibrate(struct slot_cost *ret_cost)
{
	static const uint8_t salt[COST_SALT_BYTES], secret[1];
	const struct slot_cost unit = { .passes = 1, .memory_bytes = COST_NEW_MEMORY_BYTES_MIN };
	uint64_t total = least(meminfo_bytes("MemTotal", ""), group_limit_bytes());
	uint64_t available = memory_available_bytes();
	uint8_t key[32];

	int64_t begin = monotonic_ns();
	int err = cost_derive(&unit, salt, secret, sizeof secret, key);
	if (err)
		return err;
	*ret_cost = cost_plan(monotonic_ns() - begin, least(total / 4, available / 2));
	return 0;
}
