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

/* A column that is on its way to another home (doc/membership.md, "Column jobs").  All jobs of a configuration run together, under
 * one position: at most one for each band, sorted by band. */
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
/* The job of a column of that band, or NULL. */
const struct column_job *config_job(const struct config *config, uint32_t band);

/* Sets of members, bit by index. */
uint32_t config_with_role(const struct config *config, enum member_role role);
static inline uint32_t config_voters(const struct config *config) { return config_with_role(config, MEMBER_VOTER); }
uint32_t config_with_columns(const struct config *config);
uint32_t config_job_sources(const struct config *config);
uint32_t config_job_targets(const struct config *config);
/* Those that will have a column of a band that has a job, once the jobs have ended. */
uint32_t config_job_holders(const struct config *config);
/* Those whose loss costs redundancy: they vote or have columns. */
static inline uint32_t config_needed(const struct config *config) { return config_voters(config) | config_with_columns(config); }
/* Can the array do without all of `lost`?  At most one of them votes, and no band has columns on two of them. */
bool config_can_do_without(const struct config *config, uint32_t lost);

/* ---- The next version (raid/config_edit.c) ----
 *
 * What a step may change: each function makes one kind of step out of a copy that config_next made. */

/* A copy, of the version that comes next, or NULL: no memory. */
struct config *config_next(const struct config *config);
/* A new member, as a spare, whose granules are those that fit in size_bytes.  Its index; -ENOSPC: there are MEMBERS_MAX; -EINVAL: no
 * granule fits. */
int config_add_spare(struct config *config, const struct uuid *uuid, uint64_t size_bytes);
/* Its index is free.  It has no columns, and no job leads to it. */
void config_remove_member(struct config *config, unsigned member);
/* Jobs for all columns of `source` to free granules of `target`, which becomes a replacement if it was a spare.  There are no jobs.
 * -ENOSPC: its free granules are too few, -EEXIST: it has a column of the same band already, -ENOMEM. */
int config_begin_jobs(struct config *config, unsigned source, unsigned target);
/* The jobs' columns are where they were to go. */
void config_end_jobs(struct config *config);
/* They stay where they are.  A replacement that has no columns is a spare again. */
void config_cancel_jobs(struct config *config);

#endif
