/* The plan of a member: which region lies where, and how large a granule is.
 *
 * Everything before the data area is the same on all members and sized by the smallest of them;
 * a larger one only has more granules.  From the start of a member:
 *
 *   0           16 KiB of zeroes
 *   16 KiB      label copy 0
 *   1 MiB       label copy 1, beyond the megabyte that other tools overwrite
 *   + 16 KiB    promises, configuration slots, root ring, log ring, data
 *   end         label copy 2, in the last whole 16 KiB
 *
 * Invariant: regions lie in this order and do not overlap; geometry_valid checks just that. */
#include "raid/layout.h"

#include "raid/format.h"

#include <errno.h>

#define GRANULES_WANTED 256u
#define GROWTH_ROOM 4u                   /* the band table may grow so many times before a slot is full */
#define CONFIG_SLOT_SHARE 1024u          /* ... and a slot may take this share of the smallest member */
#define RING_SLOTS 64u
#define RING_SLOTS_SMALL 16u
#define RING_SLOTS_MAX 4096u
#define SMALL_MEMBER_BYTES (UINT64_C(64) << 20)
#define LOG_SHARE 64u              /* of the smallest member: a full log forces a commit, in which nobody is served */
#define LOG_MIN_BYTES (UINT64_C(256) << 10)
#define LOG_MAX_BYTES (UINT64_C(64) << 20)
#define DATA_ALIGN_MAX_BYTES (UINT64_C(1) << 20)
#define LABEL_COPY1_OFFSET_BYTES (UINT64_C(1) << 20)
#define FIXED_OFFSET_BYTES (LABEL_COPY1_OFFSET_BYTES + LABEL_BYTES)

static uint64_t min_u64(uint64_t a, uint64_t b) { return a < b ? a : b; }
static uint64_t max_u64(uint64_t a, uint64_t b) { return a > b ? a : b; }
static uint64_t round_up(uint64_t x, uint64_t to) { return (x + to - 1) / to * to; }

uint64_t label_copy_offset_bytes(unsigned copy, uint64_t member_size_bytes)
{
	assert(copy < LABEL_COPIES);
	if (copy == 0)
		return LABEL_BYTES;
	if (copy == 1)
		return LABEL_COPY1_OFFSET_BYTES;
	return member_size_bytes < LABEL_BYTES ? 0 : (member_size_bytes / LABEL_BYTES - 1) * LABEL_BYTES;
}

/* The encoded configuration of an array with such granules, estimated from above: every byte of a
 * member counts as data.  A band takes a granule of each member that has one left, while two have. */
static uint64_t table_bytes(const uint64_t *sizes_bytes, unsigned count, uint64_t granule_bytes)
{
	uint64_t largest = 0, bands = 0, columns = 0;

	for (unsigned i = 0; i < count; i++) {
		uint64_t granules = sizes_bytes[i] / granule_bytes;
		bands = max_u64(bands, min_u64(granules, largest));
		largest = max_u64(largest, granules);
	}
	for (unsigned i = 0; i < count; i++)
		columns += min_u64(sizes_bytes[i] / granule_bytes, bands);
	return config_packed_bytes(MEMBERS_MAX, bands, columns, 0);
}

static uint32_t slot_bytes(uint64_t table, uint64_t smallest_bytes)
{
	uint64_t wanted = min_u64(max_u64(table * GROWTH_ROOM, smallest_bytes / CONFIG_SLOT_SHARE), CONFIG_SLOT_MAX_BYTES);
	uint32_t slot = CONFIG_SLOT_MIN_BYTES;

	while (slot < wanted)
		slot *= 2;
	return slot;
}

static void place(uint64_t smallest_bytes, uint64_t table, uint64_t granule_bytes, struct geometry *ret_geometry)
{
	struct geometry g = { .granule_bytes = granule_bytes, .config_slot_bytes = slot_bytes(table, smallest_bytes) };

	g.ring_slots = smallest_bytes < SMALL_MEMBER_BYTES ? RING_SLOTS_SMALL : RING_SLOTS;
	g.log_bytes = round_up(min_u64(max_u64(smallest_bytes / LOG_SHARE, LOG_MIN_BYTES), LOG_MAX_BYTES), BLOCK_BYTES);
	g.promise_offset_bytes = FIXED_OFFSET_BYTES;
	g.config_offset_bytes = g.promise_offset_bytes + PROMISE_SLOTS * PROMISE_BYTES;
	g.ring_offset_bytes = g.config_offset_bytes + (uint64_t)CONFIG_SLOTS * g.config_slot_bytes;
	g.log_offset_bytes = g.ring_offset_bytes + (uint64_t)g.ring_slots * ROOT_BYTES;
	g.data_offset_bytes = round_up(g.log_offset_bytes + g.log_bytes, min_u64(granule_bytes, DATA_ALIGN_MAX_BYTES));
	*ret_geometry = g;
}

static uint32_t granules_on(const struct geometry *g, uint64_t size_bytes)
{
	uint64_t end = label_copy_offset_bytes(2, size_bytes);

	if (end <= g->data_offset_bytes)
		return 0;
	return (uint32_t)min_u64((end - g->data_offset_bytes) / g->granule_bytes, UINT32_MAX);
}

int geometry_plan(const uint64_t *sizes_bytes, unsigned count, struct geometry *ret_geometry, uint32_t *ret_granules)
{
	uint64_t smallest = UINT64_MAX, granule = UNIT_BYTES;
	struct geometry g;

	if (count < MEMBERS_MIN || count > MEMBERS_MAX)
		return -EINVAL;
	for (unsigned i = 0; i < count; i++) {
		if (sizes_bytes[i] < MEMBER_MIN_BYTES || sizes_bytes[i] > MEMBER_MAX_BYTES)
			return -EINVAL;
		smallest = min_u64(smallest, sizes_bytes[i]);
	}
	while (smallest / (granule * 2) >= GRANULES_WANTED)
		granule *= 2;
	place(smallest, table_bytes(sizes_bytes, count, granule), granule, &g);
	while (granule > UNIT_BYTES && granules_on(&g, smallest) < GRANULES_WANTED) {
		granule /= 2;
		place(smallest, table_bytes(sizes_bytes, count, granule), granule, &g);
	}
	while (table_bytes(sizes_bytes, count, granule) * GROWTH_ROOM > CONFIG_SLOT_MAX_BYTES) {
		granule *= 2;
		place(smallest, table_bytes(sizes_bytes, count, granule), granule, &g);
	}
	if (!granules_on(&g, smallest))
		return -EINVAL;
	for (unsigned i = 0; i < count; i++)
		ret_granules[i] = granules_on(&g, sizes_bytes[i]);
	*ret_geometry = g;
	return 0;
}

/* Does a region of this place and length, of whole blocks, lie in [*end, limit)? Moves *end past it. */
static bool region_follows(uint64_t offset_bytes, uint64_t length_bytes, uint64_t limit_bytes, uint64_t *end)
{
	if (offset_bytes < *end || offset_bytes > limit_bytes || length_bytes > limit_bytes - offset_bytes)
		return false;
	if (offset_bytes % BLOCK_BYTES || length_bytes % BLOCK_BYTES)
		return false;
	*end = offset_bytes + length_bytes;
	return true;
}

bool geometry_valid(const struct geometry *g, uint64_t member_size_bytes)
{
	uint64_t limit, end = FIXED_OFFSET_BYTES;

	if (member_size_bytes < FIXED_OFFSET_BYTES + LABEL_BYTES || member_size_bytes > MEMBER_MAX_BYTES)
		return false;
	if (g->config_slot_bytes < BLOCK_BYTES || g->config_slot_bytes > CONFIG_SLOT_MAX_BYTES)
		return false;
	if (g->ring_slots < 2 || g->ring_slots > RING_SLOTS_MAX || !g->log_bytes)
		return false;
	if (g->granule_bytes < UNIT_BYTES || (g->granule_bytes & (g->granule_bytes - 1)) || g->data_offset_bytes % UNIT_BYTES)
		return false;
	limit = label_copy_offset_bytes(2, member_size_bytes);
	return region_follows(g->promise_offset_bytes, PROMISE_SLOTS * PROMISE_BYTES, limit, &end)
		&& region_follows(g->config_offset_bytes, (uint64_t)CONFIG_SLOTS * g->config_slot_bytes, limit, &end)
		&& region_follows(g->ring_offset_bytes, (uint64_t)g->ring_slots * ROOT_BYTES, limit, &end)
		&& region_follows(g->log_offset_bytes, g->log_bytes, limit, &end)
		&& region_follows(g->data_offset_bytes, g->granule_bytes, limit, &end);
}
