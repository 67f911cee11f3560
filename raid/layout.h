/* Arithmetic of the array: blocks, units, rows, bands, and where on the members they lie.
 *
 * Pure: no I/O, no allocation, no clock.  See doc/format.md, "Addresses". */
#ifndef RAID_LAYOUT_H
#define RAID_LAYOUT_H

#include <stdbool.h>
#include <stdint.h>

#define BLOCK_BYTES 4096u
#define UNIT_BLOCKS 4u
#define UNIT_BYTES (UNIT_BLOCKS * BLOCK_BYTES)
#define PARITY_RUN_ROWS 64u      /* parity moves to the next column after so many rows: 1 MiB a member */
#define MEMBERS_MAX 32u
#define MEMBERS_MIN 3u
#define BAND_WIDTH_MIN 2u

/* An address names a block: band id in the upper 24 bits, block in the band in the lower 40.
 * Blocks of a band are numbered through its data units, row by row, so that a run of rows is one
 * contiguous run of addresses.  Address 0 with length 0 stands for "none" where a field allows it. */
typedef uint64_t address;
#define ADDRESS_BLOCK_BITS 40
#define BAND_ID_MAX ((1u << 24) - 1)

static inline address address_make(uint32_t band, uint64_t block) { return (uint64_t)band << ADDRESS_BLOCK_BITS | block; }
static inline uint32_t address_band(address a) { return (uint32_t)(a >> ADDRESS_BLOCK_BITS); }
static inline uint64_t address_block(address a) { return a & ((UINT64_C(1) << ADDRESS_BLOCK_BITS) - 1); }
static inline uint64_t address_unit(address a) { return address_block(a) / UNIT_BLOCKS; }

/* A column: a run of granules on one member.  No two columns of a band are on the same member. */
struct column {
	uint8_t member;          /* index in the configuration */
	uint32_t granule;        /* first granule on that member */
};

struct band {
	uint32_t id;
	uint8_t width;           /* columns, parity included: 2 … 32 */
	uint32_t granules;       /* granules of each column */
	uint64_t rows;           /* granules × granule_bytes / UNIT_BYTES */
	struct column *columns;  /* [width] */
};

static inline unsigned band_data_units(const struct band *b) { return b->width - 1u; }
static inline uint64_t band_row_of(const struct band *b, address a) { return address_unit(a) / band_data_units(b); }
static inline unsigned band_row_blocks(const struct band *b) { return band_data_units(b) * UNIT_BLOCKS; }
static inline uint64_t band_blocks(const struct band *b) { return b->rows * band_row_blocks(b); }
static inline address band_row_address(const struct band *b, uint64_t row) { return address_make(b->id, row * band_row_blocks(b)); }

/* The column that holds parity in `row`, and the one that holds the unit of index `index` (0 … width-2). */
static inline unsigned band_parity_column(const struct band *b, uint64_t row)
{
	return b->width - 1u - (unsigned)(row / PARITY_RUN_ROWS % b->width);
}
static inline unsigned band_data_column(const struct band *b, uint64_t row, unsigned index)
{
	return (band_parity_column(b, row) + 1u + index) % b->width;
}
/* The inverse: the index of the unit that `column` holds in `row`, or -1 for parity. */
static inline int band_index_of_column(const struct band *b, uint64_t row, unsigned column)
{
	unsigned parity = band_parity_column(b, row);
	return column == parity ? -1 : (int)((column + b->width - parity - 1u) % b->width);
}

/* Sizes and places on a member that mkfs fixes for the life of the array; the label carries them. */
struct geometry {
	uint64_t promise_offset_bytes;   /* two slots of 4 KiB */
	uint64_t config_offset_bytes;    /* two slots of config_slot_bytes */
	uint32_t config_slot_bytes;
	uint64_t ring_offset_bytes;      /* root ring: ring_slots × ROOT_BYTES */
	uint32_t ring_slots;
	uint64_t log_offset_bytes;       /* intent log ring */
	uint64_t log_bytes;
	uint64_t data_offset_bytes;      /* granule 0 */
	uint64_t granule_bytes;          /* a power of two, at least UNIT_BYTES */
};

/* Where row `row` of the column lies on its member, in bytes from the member's start. */
static inline uint64_t column_row_offset_bytes(const struct geometry *g, const struct column *c, uint64_t row)
{
	return g->data_offset_bytes + c->granule * g->granule_bytes + row * UNIT_BYTES;
}

/* Label copies: two near the start, on both sides of the first megabyte, and one at the end. */
#define LABEL_BYTES 16384u
#define LABEL_COPIES 3u
/* The last copy lies in the last whole LABEL_BYTES of the member (0 for a member shorter than that). */
uint64_t label_copy_offset_bytes(unsigned copy, uint64_t member_size_bytes);

/* The smallest and the largest member that geometry_plan accepts. */
#define MEMBER_MIN_BYTES (8u << 20)
#define MEMBER_MAX_BYTES (UINT64_C(1) << 60)

/* Plans an array over `count` members of these sizes (bytes): fills the geometry and each member's
 * number of granules.  The granule is the largest power of two that gives the smallest member at
 * least 256 granules (so 256 to 511 on it), but not below UNIT_BYTES, and larger if the band table would
 * not have room to grow fourfold in a slot of 1 MiB.  Returns 0, or -EINVAL when count or a member's size
 * is out of range, or the smallest is so small beside the others that it would hold no granule. */
int geometry_plan(const uint64_t *sizes_bytes, unsigned count, struct geometry *ret_geometry, uint32_t *ret_granules);
/* Checks a geometry read from a disk against a member's size: order, alignment, no overlap, all inside,
 * at least one granule. */
bool geometry_valid(const struct geometry *g, uint64_t member_size_bytes);

#endif
