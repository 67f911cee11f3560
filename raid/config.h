/* The configuration: one immutable version of members, bands, geometry, cipher and features.
 *
 * A pure codec.  Two slots on each member hold versions (version mod 2); a root names the one that
 * counts by version and hash.  A configuration's hash is XXH3-128 over its encoded bytes: it only
 * tells which copy is meant, the root that names it is what is authenticated (design R5). */
#ifndef RAID_CONFIG_H
#define RAID_CONFIG_H

#include "base/uuid.h"
#include "raid/layout.h"

#include <stddef.h>

#define CONFIG_HASH_BYTES 16

enum member_role {
	MEMBER_UNUSED = 0,
	MEMBER_VOTER = 1,        /* has columns, counts when a root is chosen */
	MEMBER_SPARE = 2,
	MEMBER_REPLACEMENT = 3,  /* gets columns; votes once they are complete */
};

struct config_member {
	struct uuid uuid;
	uint8_t role;            /* enum member_role */
	uint32_t granules;       /* granules that it has */
	uint64_t size_bytes;
};

/* A column that is to move (design §10).  This version knows no jobs that it could run: a
 * configuration with any is refused by config_decode's caller with the feature's name. */
struct column_job {
	uint32_t band;
	uint8_t column;
	struct column target;
};

struct config {
	struct uuid array;
	uint64_t version;
	uint8_t cipher;
	uint64_t compat, ro_compat, incompat;
	struct geometry geometry;
	unsigned member_count;               /* slots in use at the front of members[]; an index is never reused within a version */
	struct config_member members[MEMBERS_MAX];
	uint32_t next_band_id;
	uint32_t band_count;
	struct band *bands;                  /* sorted by id; [band_count] */
	struct column *columns;              /* storage of all bands' columns */
	unsigned job_count;
	struct column_job *jobs;
};

/* Cuts the members' granules in bands, each as wide as can be, column order rotated by band so that
 * parity is spread even where a band is shorter than a parity run.  Only voters get columns.  Fills bands,
 * columns, next_band_id; band ids start at 1, so that address 0 names no block.  -ENOMEM, -E2BIG. */
int config_make_bands(struct config *config);

/* Encodes to a newly allocated buffer (a multiple of BLOCK_BYTES, zero-padded). -ENOMEM, -E2BIG if
 * it does not fit the geometry's slot.  A configuration that config_decode would refuse is a
 * programming error. */
int config_encode(const struct config *config, void **ret_bytes, size_t *ret_length_bytes);
/* Validates everything (counts, roles, columns inside members, no member twice in a band, no granule
 * used twice, ids sorted and below next_band_id).  `bytes` may be longer than the encoding (a whole
 * slot): what follows is not looked at.  -EBADMSG for damage, -ENOMEM. */
int config_decode(const void *bytes, size_t length_bytes, struct config **ret_config);
/* Of the encoding at the start of `bytes`, which may be longer, as above. */
void config_hash(const void *bytes, size_t length_bytes, uint8_t ret_hash[CONFIG_HASH_BYTES]);
void config_free(struct config *config);

/* The band of that id, or NULL. */
const struct band *config_band(const struct config *config, uint32_t id);

#endif
