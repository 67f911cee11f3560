/* The notes of what changed: ranges against a map of bits, keys, what is forgotten, limits. */
#include "fs/log/changes.h"
#include "tests/unit/check.h"

#include <stdbool.h>
#include <string.h>

#define BLOCKS 64u

static uint64_t random_state = 1;

static unsigned below(unsigned limit)
{
	random_state = random_state * UINT64_C(6364136223846793005) + 1442695040888963407u;
	return (unsigned)(random_state >> 33) % limit;
}

static void compare(const struct ranges *ranges, const bool *map)
{
	bool seen[BLOCKS] = { false };
	for (unsigned i = 0; i < ranges->count; i++) {
		CHECK(ranges->items[i].from < ranges->items[i].to && ranges->items[i].to <= BLOCKS);
		CHECK(i == 0 || ranges->items[i - 1].to < ranges->items[i].from);
		for (uint64_t b = ranges->items[i].from; b < ranges->items[i].to; b++)
			seen[b] = true;
	}
	CHECK(!memcmp(seen, map, sizeof seen));
}

static void test_ranges(void)
{
	struct changes *c = changes_new();
	bool data[BLOCKS] = { false }, forced[BLOCKS] = { false }, cuts[BLOCKS] = { false }, reserved[BLOCKS] = { false };
	for (unsigned i = 0; i < 20000; i++) {
		unsigned from = below(BLOCKS), to = from + 1 + below(i % 3 ? 4 : BLOCKS - from), kind = below(5);
		to = to < BLOCKS ? to : BLOCKS;
		if (kind == 0)
			changes_data(c, 5, 0, from, to);
		else if (kind == 1)
			changes_force(c, 5, 0, from, to);
		else if (kind == 2)
			changes_reserve(c, 5, from, to);
		else
			changes_cut(c, 5, from, to);
		for (unsigned b = from; b < to; b++) {
			data[b] = kind == 0 ? true : kind > 2 ? false : data[b];
			forced[b] = kind == 1 ? true : kind > 2 ? false : forced[b];
			reserved[b] = kind == 2 ? true : kind > 2 ? false : reserved[b];
			cuts[b] |= kind > 2;
		}
		struct changed *changed = changes_find(c, 5);
		compare(&changed->data, data);
		compare(&changed->forced, forced);
		compare(&changed->reserved, reserved);
		compare(&changed->cuts, cuts);
		if (i % 500 == 499) {
			memset(cuts, 0, sizeof cuts);
			changed->cuts.count = 0;
		}
	}
	changes_free(c);
}

static void test_keys(void)
{
	struct changes *c = changes_new();
	CHECK(!changes_any(c));
	for (unsigned round = 0; round < 2; round++)
		for (uint64_t i = 0; i < 1000; i++)
			changes_key(c, &(struct key){ .object = i % 100, .type = ITEM_DIRENT, .offset = i });
	CHECK_EQ(changes_key_count(c), 1000);
	CHECK_EQ(changes_object_count(c), 100);
	CHECK(changes_concern(c, 99) && !changes_concern(c, 100));
	changes_data(c, 3, 100, 0, 1);
	changes_data(c, 4, 200, 0, 1);
	changes_force_whole(c, 4);
	changes_forget(c);
	CHECK_EQ(changes_key_count(c), 0);
	/* What has data that was not logged stays. */
	CHECK_EQ(changes_object_count(c), 1);
	CHECK(changes_concern(c, 3) && !changes_concern(c, 4));
	CHECK_EQ(changes_find(c, 3)->covered_bytes, 100);
	changes_key(c, &(struct key){ .object = 3, .type = ITEM_DIRENT, .offset = 3 });
	CHECK_EQ(changes_key_count(c), 1);
	CHECK_EQ(changes_object_count(c), 1);
	changes_free(c);
}

/* The size that rests on logged data only: as of the first write, lowered by truncations. */
static void test_covered(void)
{
	struct changes *c = changes_new();
	changes_data(c, 7, 5000, 1, 3);
	changes_data(c, 7, 9000, 3, 4);
	CHECK_EQ(changes_find(c, 7)->covered_bytes, 5000);
	changes_shrink(c, 7, 6000);
	CHECK_EQ(changes_find(c, 7)->covered_bytes, 5000);
	changes_shrink(c, 7, 4000);
	CHECK_EQ(changes_find(c, 7)->covered_bytes, 4000);
	changes_cut(c, 7, 0, UINT64_C(1) << 40);
	/* A block that was cut in part says nothing of the size at a later write. */
	changes_force(c, 7, 50, 0, 1);
	changes_data(c, 7, 123, 0, 1);
	CHECK_EQ(changes_find(c, 7)->covered_bytes, 123);
	changes_free(c);
}

static void test_limits(void)
{
	struct changes *c = changes_new();
	for (uint64_t i = 0; i < CHANGES_RANGES_MAX; i++)
		changes_data(c, 1, 0, 2 * i, 2 * i + 1);
	CHECK(!changes_lost(c));
	changes_data(c, 1, 0, 1u << 20, (1u << 20) + 1);
	CHECK(changes_lost(c) && changes_any(c) && changes_concern(c, 12345));
	changes_key(c, &(struct key){ .object = 1, .type = ITEM_INODE });
	CHECK(changes_lost(c));
	changes_free(c);
	c = changes_new();
	for (uint64_t i = 0; i <= CHANGES_KEYS_MAX; i++) {
		CHECK(!changes_lost(c));
		changes_key(c, &(struct key){ .object = 1, .type = ITEM_DIRENT, .offset = i });
	}
	CHECK(changes_lost(c));
	changes_free(c);
	changes_key(NULL, &(struct key){ .object = 1 });
	CHECK(changes_lost(NULL));
	changes_free(NULL);
}

int main(void)
{
	test_ranges();
	test_keys();
	test_covered();
	test_limits();
	return CHECK_DONE();
}
