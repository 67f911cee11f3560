/* Every on-disk structure of raid/: label, configuration, promise, and the clear header of a root.
 *
 * doc/format.md describes them; a change here changes it in the same commit.  All fields are
 * little-endian by type and of alignment 1.  Fields named `zero` are reserved: written as zero, and
 * refused when they are not.  Checksums are XXH3-64 with seed 0; hashes are XXH3-128 with seed 0,
 * stored as its low half and then its high half. */
#ifndef RAID_FORMAT_H
#define RAID_FORMAT_H

#include "base/bytes.h"
#include "base/le.h"
#include "raid/config.h"
#include "raid/label.h"
#include "raid/layout.h"
#include "raid/ring.h"

#include <assert.h>
#include <stddef.h>
#include <xxhash.h>

#define DISK_MAGIC_BYTES 8u
#define LABEL_MAGIC "R5CRLABL"
#define CONFIG_MAGIC "R5CRCONF"
#define PROMISE_MAGIC "R5CRPROM"
#define ROOT_MAGIC "R5CRROOT"

#define CONFIG_SLOTS 2u

struct disk_geometry {
	le64 promise_offset_bytes;
	le64 config_offset_bytes;
	le32 config_slot_bytes;
	le32 ring_slots;
	le64 ring_offset_bytes;
	le64 log_offset_bytes;
	le64 log_bytes;
	le64 data_offset_bytes;
	le64 granule_bytes;
};
static_assert(sizeof(struct disk_geometry) == 64, "geometry");

/* ---- Label ---- */

#define LABEL_COMMON_BYTES 12288u

struct disk_label {
	/* the common part, which the MAC and the hash cover */
	uint8_t magic[DISK_MAGIC_BYTES];
	le32 format_version;
	uint8_t zero0[4];
	le64 compat, ro_compat, incompat;
	uint8_t array[16];
	le64 sequence;
	char name[LABEL_NAME_BYTES];
	uint8_t cipher;
	uint8_t zero1[7];
	struct disk_geometry geometry;
	le32 block_bytes, unit_bytes, root_bytes, promise_bytes;
	le16 members_max, promise_slots, config_slots, parity_run_rows;
	uint8_t zero2[3872];
	uint8_t slots[LABEL_SLOTS_BYTES];
	/* the rest */
	uint8_t mac[LABEL_MAC_BYTES];
	uint8_t member[16];
	uint8_t zero3[4040];
	le64 checksum;
};
static_assert(sizeof(struct disk_label) == LABEL_BYTES, "label");
static_assert(offsetof(struct disk_label, array) == 40, "label: array");
static_assert(offsetof(struct disk_label, name) == 64, "label: name");
static_assert(offsetof(struct disk_label, geometry) == 136, "label: geometry");
static_assert(offsetof(struct disk_label, block_bytes) == 200, "label: constants");
static_assert(offsetof(struct disk_label, slots) == 4096, "label: slots");
static_assert(offsetof(struct disk_label, mac) == LABEL_COMMON_BYTES, "label: common part");
static_assert(offsetof(struct disk_label, member) == 12320, "label: member");
static_assert(offsetof(struct disk_label, checksum) == LABEL_BYTES - 8, "label: checksum");

/* ---- Configuration ---- */

struct disk_config {
	uint8_t magic[DISK_MAGIC_BYTES];
	le32 length_bytes;               /* of the whole encoding */
	uint8_t zero0[4];
	uint8_t array[16];
	le64 version;
	le64 compat, ro_compat, incompat;
	uint8_t cipher;
	uint8_t zero1[3];
	le32 member_count;
	struct disk_geometry geometry;
	le32 next_band_id;
	le32 band_count;
	le32 column_count;               /* of all bands together */
	le32 job_count;
	uint8_t zero2[8];
};
static_assert(sizeof(struct disk_config) == 160, "configuration");
static_assert(offsetof(struct disk_config, version) == 32, "configuration: version");
static_assert(offsetof(struct disk_config, geometry) == 72, "configuration: geometry");

struct disk_config_member {
	uint8_t uuid[16];
	le64 size_bytes;
	le32 granules;
	uint8_t role;
	uint8_t zero[3];
};
static_assert(sizeof(struct disk_config_member) == 32, "configuration: member");

struct disk_band {
	le32 id;
	le32 granules;
	uint8_t width;
	uint8_t zero[7];
};
static_assert(sizeof(struct disk_band) == 16, "configuration: band");

struct disk_column {
	le32 granule;
	uint8_t member;
	uint8_t zero[3];
};
static_assert(sizeof(struct disk_column) == 8, "configuration: column");

struct disk_column_job {
	le32 band;
	le32 target_granule;
	uint8_t column;
	uint8_t target_member;
	uint8_t zero[6];
};
static_assert(sizeof(struct disk_column_job) == 16, "configuration: column job");

#define CONFIG_CHECKSUM_BYTES 8u     /* in the last bytes of the encoding */
#define CONFIG_SLOT_MIN_BYTES 65536u
#define CONFIG_SLOT_MAX_BYTES (1u << 20)

/* The bytes of an encoding before it is rounded up to whole blocks. */
static inline uint64_t config_packed_bytes(uint64_t members, uint64_t bands, uint64_t columns, uint64_t jobs)
{
	return sizeof(struct disk_config) + members * sizeof(struct disk_config_member) + bands * sizeof(struct disk_band)
		+ columns * sizeof(struct disk_column) + jobs * sizeof(struct disk_column_job) + CONFIG_CHECKSUM_BYTES;
}

/* ---- Promise ---- */

struct disk_promise {
	uint8_t magic[DISK_MAGIC_BYTES];
	uint8_t array[16];
	le64 term;
	uint8_t mount[16];
	uint8_t mac[LABEL_MAC_BYTES];    /* over everything before it */
	uint8_t zero[4008];
	le64 checksum;
};
static_assert(sizeof(struct disk_promise) == PROMISE_BYTES, "promise");
static_assert(offsetof(struct disk_promise, mac) == 48, "promise: mac");
static_assert(offsetof(struct disk_promise, checksum) == PROMISE_BYTES - 8, "promise: checksum");

/* ---- Root header ---- */

struct disk_root_member {
	uint8_t state;
	uint8_t gap_present;
	uint8_t zero[6];
	le64 gap_from, gap_to, gap_position;
};
static_assert(sizeof(struct disk_root_member) == 32, "root: member");

struct disk_root_header {
	uint8_t magic[DISK_MAGIC_BYTES];
	uint8_t array[16];
	le64 term;
	uint8_t mount[16];
	le64 generation, predecessor, tree, tree_before;
	le64 config_version;
	uint8_t config_hash[CONFIG_HASH_BYTES];
	le64 label_sequence;
	uint8_t label_hash[LABEL_HASH_BYTES];
	uint8_t job_running;
	uint8_t zero0[7];
	le64 job_position;
	uint8_t nonce[ROOT_NONCE_BYTES];
	uint8_t zero1[88];
	struct disk_root_member members[MEMBERS_MAX];
	uint8_t zero2[1272];
	le64 checksum;
};
static_assert(sizeof(struct disk_root_header) == ROOT_HEADER_BYTES, "root header");
static_assert(offsetof(struct disk_root_header, generation) == 48, "root header: generation");
static_assert(offsetof(struct disk_root_header, config_version) == 80, "root header: configuration");
static_assert(offsetof(struct disk_root_header, label_sequence) == 104, "root header: label");
static_assert(offsetof(struct disk_root_header, nonce) == 144, "root header: nonce");
static_assert(offsetof(struct disk_root_header, members) == 256, "root header: members");
static_assert(offsetof(struct disk_root_header, checksum) == ROOT_HEADER_BYTES - 8, "root header: checksum");

/* ---- Helpers of the codecs ---- */

static inline le64 disk_checksum(const void *bytes, size_t length_bytes) { return le64_put(XXH3_64bits(bytes, length_bytes)); }

static inline void disk_hash(const void *bytes, size_t length_bytes, uint8_t ret_hash[16])
{
	XXH128_hash_t hash = XXH3_128bits(bytes, length_bytes);
	le64 halves[2] = { le64_put(hash.low64), le64_put(hash.high64) };
	memcpy(ret_hash, halves, 16);
}

static inline void disk_geometry_put(const struct geometry *g, struct disk_geometry *ret_disk)
{
	*ret_disk = (struct disk_geometry){
		.promise_offset_bytes = le64_put(g->promise_offset_bytes), .config_offset_bytes = le64_put(g->config_offset_bytes),
		.config_slot_bytes = le32_put(g->config_slot_bytes), .ring_slots = le32_put(g->ring_slots),
		.ring_offset_bytes = le64_put(g->ring_offset_bytes), .log_offset_bytes = le64_put(g->log_offset_bytes),
		.log_bytes = le64_put(g->log_bytes), .data_offset_bytes = le64_put(g->data_offset_bytes),
		.granule_bytes = le64_put(g->granule_bytes),
	};
}

static inline void disk_geometry_get(const struct disk_geometry *disk, struct geometry *ret_geometry)
{
	*ret_geometry = (struct geometry){
		.promise_offset_bytes = le64_get(disk->promise_offset_bytes), .config_offset_bytes = le64_get(disk->config_offset_bytes),
		.config_slot_bytes = le32_get(disk->config_slot_bytes), .ring_slots = le32_get(disk->ring_slots),
		.ring_offset_bytes = le64_get(disk->ring_offset_bytes), .log_offset_bytes = le64_get(disk->log_offset_bytes),
		.log_bytes = le64_get(disk->log_bytes), .data_offset_bytes = le64_get(disk->data_offset_bytes),
		.granule_bytes = le64_get(disk->granule_bytes),
	};
}

#endif
