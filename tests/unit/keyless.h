/* What the tests of keyless rebuild share: an array with rows in it, a target that is not blank, and the rebuild of one member. */
#ifndef TESTS_UNIT_KEYLESS_H
#define TESTS_UNIT_KEYLESS_H

#include "tests/lib/array_rig.h"
#include "tests/lib/simkeyless.h"
#include "tests/unit/check.h"

#include <errno.h>
#include <string.h>

#define MIB (UINT64_C(1) << 20)
#define ALL(count) ((UINT32_C(1) << (count)) - 1)
#define SAYS(part) (strstr(fail.text, part) || (fprintf(stderr, "text: %s\n", fail.text), 0))

static const uint64_t sizes[5] = { 9 * MIB, 12 * MIB, 10 * MIB, 9 * MIB + 20480, 15 * MIB };

static struct fail fail;

static inline void open_with(struct rig *rig, uint32_t members)
{
	int r = rig_open(rig, members);

	if (r)
		fprintf(stderr, "open: %s\n", rig->fail.text);
	REQUIRE(r == 0);
}

/* Some generations of rows, scattered over all bands; the array stays open. */
static inline void write_some(struct rig *rig, unsigned generations)
{
	const struct config *config = array_config(rig->array);

	for (unsigned g = 0; g < generations; g++) {
		for (uint32_t b = g; b < config->band_count; b += 5)
			CHECK_EQ(rig_write(rig, config->bands[b].id, (rig->generation + b) % config->bands[b].rows, 1), 0);
		CHECK_EQ(rig_commit(rig), 0);
	}
}

static inline struct rig *make(uint64_t seed, unsigned count)
{
	struct rig *rig = rig_new(seed, count, sizes);

	open_with(rig, ALL(count));
	CHECK_EQ(rig_begin(rig), 0);
	write_some(rig, 3);
	rig_close(rig);
	return rig;
}

/* A disk that is not blank. */
static inline struct simdisk *new_target(struct rig *rig, uint64_t size_bytes)
{
	struct simdisk *target = simworld_add(rig->world, size_bytes);
	uint8_t noise[65536];

	for (size_t i = 0; i < sizeof noise; i++)
		noise[i] = (uint8_t)(i * 7 + 1);
	for (uint64_t at = 0; at + sizeof noise <= size_bytes; at += MIB / 2)
		simdisk_poke(target, at, noise, sizeof noise);
	return target;
}

static inline unsigned others(struct rig *rig, unsigned missing, struct simdisk **ret_others)
{
	unsigned count = 0;

	for (unsigned i = 0; i < rig->count; i++)
		if (i != missing)
			ret_others[count++] = rig->sims[i];
	return count;
}

static inline int rebuild_from(struct rig *rig, unsigned missing, struct simdisk *target, bool force, const struct keyless_options *options)
{
	struct simdisk *from[MEMBERS_MAX];
	unsigned count = others(rig, missing, from);

	return simkeyless(from, count, target, force, options, &fail);
}

static inline int rebuild(struct rig *rig, unsigned missing, struct simdisk *target)
{
	return rebuild_from(rig, missing, target, false, NULL);
}

#endif
