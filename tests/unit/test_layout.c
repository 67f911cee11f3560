/* Addresses, rows and columns; the plan of a member and its validation. */
#include "raid/format.h"
#include "tests/unit/check.h"

#include <errno.h>

#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)

/* Consecutive units go across the columns, each unit of a row lies in a column of its own, parity in the one
 * that is left, and every column has its turn. */
static void test_rows(unsigned width)
{
	struct column columns[MEMBERS_MAX] = { 0 };
	struct band band = { .id = 9, .width = (uint8_t)width, .granules = 1, .rows = PARITY_RUN_ROWS * 70, .columns = columns };
	uint32_t parity_seen = 0, all = (uint32_t)((UINT64_C(1) << width) - 1);

	CHECK_EQ(band_parity_column(&band, 0), width - 1);
	CHECK_EQ(band_parity_column(&band, PARITY_RUN_ROWS - 1), width - 1);
	CHECK_EQ(band_parity_column(&band, PARITY_RUN_ROWS), width - 2);
	CHECK_EQ(band_parity_column(&band, (uint64_t)PARITY_RUN_ROWS * width), width - 1);
	CHECK_EQ(band_data_column(&band, 0, 0), 0);
	CHECK_EQ(band_blocks(&band), band.rows * (width - 1) * 4);
	for (uint64_t row = 0; row < band.rows; row += 31) {
		unsigned parity = band_parity_column(&band, row);
		uint32_t seen = 1u << parity;
		parity_seen |= seen;
		CHECK_EQ(band_index_of_column(&band, row, parity), -1);
		for (unsigned index = 0; index < width - 1; index++) {
			unsigned column = band_data_column(&band, row, index);
			address a = band_row_address(&band, row) + index * UNIT_BLOCKS + 3;
			CHECK(column < width && !(seen >> column & 1));
			seen |= 1u << column;
			CHECK_EQ(band_index_of_column(&band, row, column), index);
			CHECK_EQ(band_row_of(&band, a), row);
			CHECK_EQ(address_unit(a) % band_data_units(&band), index);
			CHECK_EQ(address_band(a), 9);
		}
		CHECK_EQ(seen, all);
	}
	CHECK_EQ(parity_seen, all);
}

static void test_addresses(void)
{
	address a = address_make(BAND_ID_MAX, (UINT64_C(1) << 40) - 1);
	struct geometry g = { .data_offset_bytes = 4 * MIB, .granule_bytes = MIB };
	struct column column = { .member = 1, .granule = 5 };

	CHECK(a == UINT64_MAX);
	CHECK_EQ(address_band(a), BAND_ID_MAX);
	CHECK_EQ(address_block(a), (UINT64_C(1) << 40) - 1);
	CHECK_EQ(address_make(3, 17), (INT64_C(3) << 40) + 17);
	CHECK_EQ(address_unit(address_make(3, 17)), 4);
	CHECK_EQ(column_row_offset_bytes(&g, &column, 2), 9 * MIB + 2 * 16384);
}

static void test_label_copies(void)
{
	CHECK_EQ(label_copy_offset_bytes(0, GIB), 16384);
	CHECK_EQ(label_copy_offset_bytes(1, GIB), MIB);
	CHECK_EQ(label_copy_offset_bytes(2, GIB), GIB - 16384);
	CHECK_EQ(label_copy_offset_bytes(2, GIB + 16383), GIB - 16384);
	CHECK_EQ(label_copy_offset_bytes(2, GIB - 1), GIB - 32768);
	CHECK_EQ(label_copy_offset_bytes(2, 16384), 0);
	CHECK_EQ(label_copy_offset_bytes(2, 100), 0);
}

/* What holds for every plan. */
static void check_plan(const uint64_t *sizes, unsigned count, struct geometry *ret_geometry, uint32_t *granules)
{
	uint64_t smallest = UINT64_MAX, bands = 0, columns = 0;
	struct geometry g;

	CHECK_EQ(geometry_plan(sizes, count, &g, granules), 0);
	for (unsigned i = 0; i < count; i++) {
		uint64_t end = label_copy_offset_bytes(2, sizes[i]), used = g.data_offset_bytes + granules[i] * g.granule_bytes;
		unsigned not_fewer = 0;
		CHECK(geometry_valid(&g, sizes[i]));
		CHECK(granules[i] > 0 && used <= end && end - used < g.granule_bytes);
		smallest = sizes[i] < smallest ? sizes[i] : smallest;
		for (unsigned j = 0; j < count; j++)
			not_fewer += granules[j] >= granules[i];
		if (not_fewer > 1)
			bands = granules[i] > bands ? granules[i] : bands;
	}
	for (unsigned i = 0; i < count; i++)
		columns += granules[i] < bands ? granules[i] : bands;
	CHECK(config_packed_bytes(count, bands, columns, 0) * 4 <= g.config_slot_bytes);
	CHECK(g.config_slot_bytes >= 65536 && g.config_slot_bytes <= MIB);
	CHECK_EQ(g.promise_offset_bytes, MIB + 16384);
	CHECK_EQ(g.ring_slots, smallest < 64 * MIB ? 16 : 64);
	CHECK(g.log_bytes >= 256 * 1024 && g.log_bytes <= 64 * MIB && g.log_bytes % BLOCK_BYTES == 0);
	CHECK_EQ(g.data_offset_bytes % (g.granule_bytes < MIB ? g.granule_bytes : MIB), 0);
	*ret_geometry = g;
}

static void test_plan(void)
{
	uint64_t sizes[MEMBERS_MAX];
	uint32_t granules[MEMBERS_MAX];
	struct geometry g;

	for (unsigned i = 0; i < MEMBERS_MAX; i++)
		sizes[i] = 4000 * GIB;
	check_plan(sizes, 3, &g, granules);
	CHECK_EQ(g.granule_bytes, 8 * GIB);
	CHECK_EQ(granules[0], 499);
	CHECK_EQ(g.config_slot_bytes, MIB);
	CHECK_EQ(g.log_bytes, 64 * MIB);
	check_plan(sizes, MEMBERS_MAX, &g, granules);
	CHECK_EQ(g.granule_bytes, 8 * GIB);

	sizes[0] = 256 * GIB;                    /* exactly 256 would leave no room for the rest: half the granule */
	check_plan(sizes, 3, &g, granules);
	CHECK_EQ(g.granule_bytes, GIB / 2);
	CHECK_EQ(granules[0], 511);

	sizes[0] = MEMBER_MIN_BYTES;             /* a tiny one beside huge ones: bands set the granule */
	CHECK_EQ(geometry_plan(sizes, 3, &g, granules), -EINVAL);
	sizes[0] = 100 * GIB;
	check_plan(sizes, 3, &g, granules);
	CHECK(granules[0] < 256);

	sizes[1] = sizes[2] = 100 * GIB;         /* one huge member: its extra granules get no bands */
	sizes[0] = MEMBER_MAX_BYTES;
	check_plan(sizes, 3, &g, granules);
	CHECK_EQ(granules[1], 399);

	for (unsigned i = 0; i < MEMBERS_MAX; i++)
		sizes[i] = MEMBER_MIN_BYTES;
	check_plan(sizes, 3, &g, granules);
	CHECK_EQ(g.granule_bytes, UNIT_BYTES);
	CHECK_EQ(g.config_slot_bytes, 131072);
	CHECK(granules[0] >= 256);
	check_plan(sizes, MEMBERS_MAX, &g, granules);
	CHECK(granules[0] >= 256);
	for (uint64_t size = MEMBER_MIN_BYTES; size < 3 * GIB; size += size / 7 + 4097) {
		sizes[0] = size;
		sizes[1] = size + 12345;
		sizes[2] = 2 * size;
		check_plan(sizes, 3, &g, granules);
		CHECK(granules[0] >= 256 && granules[0] < 512);
	}

	CHECK_EQ(geometry_plan(sizes, 2, &g, granules), -EINVAL);
	CHECK_EQ(geometry_plan(sizes, MEMBERS_MAX + 1, &g, granules), -EINVAL);
	sizes[1] = MEMBER_MIN_BYTES - 1;
	CHECK_EQ(geometry_plan(sizes, 3, &g, granules), -EINVAL);
	sizes[1] = MEMBER_MAX_BYTES + 1;
	CHECK_EQ(geometry_plan(sizes, 3, &g, granules), -EINVAL);
}

/* Each field moved alone so that regions overlap, leave the member or lose their alignment. */
static void test_geometry_refused(void)
{
	uint64_t sizes[3] = { GIB, GIB, GIB };
	uint32_t granules[3];
	struct geometry plan, g;

	CHECK_EQ(geometry_plan(sizes, 3, &plan, granules), 0);
	CHECK(geometry_valid(&plan, GIB));
#define REFUSED(field, value) do { \
	g = plan; \
	g.field = (value); \
	CHECK(!geometry_valid(&g, GIB)); \
} while (0)
	REFUSED(promise_offset_bytes, 0);
	REFUSED(promise_offset_bytes, MIB);
	REFUSED(promise_offset_bytes, plan.promise_offset_bytes + BLOCK_BYTES);
	REFUSED(config_offset_bytes, plan.config_offset_bytes - BLOCK_BYTES);
	REFUSED(config_offset_bytes, plan.config_offset_bytes + 1);
	REFUSED(config_offset_bytes, UINT64_MAX - 4095);
	REFUSED(config_slot_bytes, 0);
	REFUSED(config_slot_bytes, plan.config_slot_bytes * 2);
	REFUSED(config_slot_bytes, plan.config_slot_bytes - 1);
	REFUSED(ring_offset_bytes, plan.ring_offset_bytes - BLOCK_BYTES);
	REFUSED(ring_slots, 0);
	REFUSED(ring_slots, 1);
	REFUSED(ring_slots, plan.ring_slots + 1);
	REFUSED(ring_slots, UINT32_MAX);
	REFUSED(log_offset_bytes, plan.log_offset_bytes - BLOCK_BYTES);
	REFUSED(log_bytes, 0);
	REFUSED(log_bytes, UINT64_MAX - 4095);
	REFUSED(log_bytes, plan.log_bytes + 4 * MIB);
	REFUSED(data_offset_bytes, plan.data_offset_bytes - MIB);
	REFUSED(data_offset_bytes, plan.data_offset_bytes + BLOCK_BYTES);
	REFUSED(data_offset_bytes, GIB);
	REFUSED(data_offset_bytes, UINT64_MAX - 16383);
	REFUSED(granule_bytes, 0);
	REFUSED(granule_bytes, UNIT_BYTES / 2);
	REFUSED(granule_bytes, 3 * UNIT_BYTES);
	REFUSED(granule_bytes, GIB);
	REFUSED(granule_bytes, UINT64_C(1) << 63);
	CHECK(!geometry_valid(&plan, plan.data_offset_bytes + plan.granule_bytes + LABEL_BYTES - 1));
	CHECK(geometry_valid(&plan, plan.data_offset_bytes + plan.granule_bytes + LABEL_BYTES));
	CHECK(!geometry_valid(&plan, 0));
	CHECK(!geometry_valid(&plan, UINT64_MAX));
}

int main(void)
{
	for (unsigned width = BAND_WIDTH_MIN; width <= MEMBERS_MAX; width++)
		test_rows(width);
	test_addresses();
	test_label_copies();
	test_plan();
	test_geometry_refused();
	return CHECK_DONE();
}
