/* The configuration: one immutable version of members, bands, geometry, cipher and features.
 *
 * Pure: no I/O, no clock.  Two slots on each member hold versions (version mod 2); a root names the one that
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

/* ---- The first cut (raid/config_bands.c) ---- */

/* Cuts the members' granules in bands, each as wide as can be, column order rotated by band so that
 * parity is spread even where a band is shorter than a parity run.  Only voters get columns.  Fills bands,
 * columns, next_band_id; band ids start at 1, so that address 0 names no block.  -ENOMEM, -E2BIG. */
int config_make_bands(struct config *config);

/* ---- As bytes (raid/config.c; what counts as one: raid/config_check.c) ---- */

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

/* ---- What is asked of one (raid/config_lookup.c) ---- */

/* The index of the member, or -1. */
int config_member(const struct config *config, const struct uuid *uuid);
/* The band of that id, or NULL. */
const struct band *config_band(const struct config *config, uint32_t id);
/* The column of the band that the member has, or -1. */
int band_column_of(const struct band *band, unsigned member);
/* The job of a column of that band, or NULL. */
const struct column_job *config_job(const struct config *config, uint32_t band);

/* Sets of members, bit by index. */
uint32_t band_members(const struct band *band);
uint32_t config_with_role(const struct config *config, enum member_role role);
static inline uint32_t config_voters(const struct config *config) { return config_with_role(config, MEMBER_VOTER); }
uint32_t config_with_columns(const struct config *config);
uint32_t config_job_sources(const struct config *config);
uint32_t config_job_targets(const struct config *config);
/* Those that will have a column of a band that has a job, once the jobs have ended. */
uint32_t config_job_holders(const struct config *config);
/* Those whose loss costs redundancy: they vote or have columns. */
static inline uint32_t config_needed(const struct config *config) { return config_voters(config) | config_with_columns(config); }
/* "member 2", "members 1, 4 and 5": as people count them. */
#define CONFIG_NAMES_BYTES 160
const char *config_name_members(uint32_t members, char ret_text[CONFIG_NAMES_BYTES]);
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
/* The jobs' columns are where they were to go. */
void config_end_jobs(struct config *config);
/* They stay where they are.  A replacement that has no columns is a spare again. */
void config_cancel_jobs(struct config *config);

/* ---- Jobs, and where columns may go (raid/config_place.c) ----
 *
 * A target that was a spare becomes a replacement.  What fails with -ENOSPC or -ENOMEM leaves the configuration as it was. */

/* One more job: the column goes to the first free granules of `target`.  -EEXIST: the band has a column there, or a job already;
 * -ENOSPC. */
int config_move_column(struct config *config, uint32_t band, unsigned column, unsigned target);
/* Jobs for all columns of `source` to free granules of members in `targets` (bit by index): onto one that can take all, or else onto
 * several.  There are no jobs.  -ENOSPC: there is no room for all.  (Always found if there is, where bands have columns of one length.) */
int config_begin_jobs(struct config *config, unsigned source, uint32_t targets);
/* The same with those of `usable` that have columns or are spares, and with as few spares as can be: onto the others alone if that will do;
 * or, with `spares_first`, onto one spare alone if one can take all. */
int config_vacate(struct config *config, unsigned source, uint32_t usable, bool spares_first);
/* How many granules of `source` that finds no room for.  -ENOMEM. */
int config_lacking_granules(const struct config *config, unsigned source, uint32_t usable, uint64_t *ret_granules);
/* The size of a disk that has so many granules. */
uint64_t config_spare_bytes(const struct config *config, uint64_t granules);

#endif
