/* The next version of a configuration: what the steps of doc/membership.md change in it.
 *
 * Pure, as config.c: what these functions make, config_encode accepts. Where columns may go is in config_place.c, and which step may be
 * taken when is for fs/upkeep/reshape.c to know. */
#include "raid/config_impl.h"

#include "base/cleanup.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void config_freep(struct config **config) { config_free(*config); }

struct config *config_next(const struct config *config)
{
	struct config *next cleanup(config_freep) = malloc(sizeof *next), *ret;

	if (!next)
		return NULL;
	*next = *config;
	next->version++;
	next->bands = calloc(config->band_count + 1, sizeof *next->bands);
	next->columns = calloc(columns_of_bands(config) + 1u, sizeof *next->columns);
	next->jobs = calloc(config->band_count + 1, sizeof *next->jobs);     /* room for one of each band */
	if (!next->bands || !next->columns || !next->jobs)
		return NULL;
	struct column *to = next->columns;
	for (uint32_t i = 0; i < config->band_count; i++) {
		next->bands[i] = config->bands[i];
		next->bands[i].columns = to;
		memcpy(to, config->bands[i].columns, config->bands[i].width * sizeof *to);
		to += config->bands[i].width;
	}
	for (unsigned i = 0; i < config->job_count; i++)
		next->jobs[i] = config->jobs[i];
	ret = next;
	next = NULL;
	return ret;
}

int config_add_spare(struct config *config, const struct uuid *uuid, uint64_t size_bytes)
{
	const struct geometry *g = &config->geometry;
	unsigned index = 0;

	while (index < config->member_count && config->members[index].role != MEMBER_UNUSED)
		index++;
	if (index == MEMBERS_MAX)
		return -ENOSPC;
	if (!geometry_valid(g, size_bytes))
		return -EINVAL;
	uint64_t granules = (label_copy_offset_bytes(2, size_bytes) - g->data_offset_bytes) / g->granule_bytes;
	config->members[index] = (struct config_member){ .uuid = *uuid, .role = MEMBER_SPARE, .size_bytes = size_bytes,
		.granules = granules > UINT32_MAX ? UINT32_MAX : (uint32_t)granules };
	if (index == config->member_count)
		config->member_count++;
	return (int)index;
}

void config_remove_member(struct config *config, unsigned member)
{
	assert(member < config->member_count && !((config_with_columns(config) | config_job_targets(config)) >> member & 1));
	config->members[member] = (struct config_member){ .role = MEMBER_UNUSED };
}

/* ---- Jobs ---- */

void config_end_jobs(struct config *config)
{
	for (unsigned i = 0; i < config->job_count; i++) {
		const struct column_job *job = &config->jobs[i];
		for (uint32_t b = 0; b < config->band_count; b++)
			if (config->bands[b].id == job->band)
				config->bands[b].columns[job->column] = job->target;
	}
	config->job_count = 0;
}

void config_cancel_jobs(struct config *config)
{
	uint32_t targets = config_job_targets(config), have = config_with_columns(config);

	for (unsigned i = 0; i < config->member_count; i++)
		if ((targets >> i & 1) && !(have >> i & 1) && config->members[i].role == MEMBER_REPLACEMENT)
			config->members[i].role = MEMBER_SPARE;
	config->job_count = 0;
}
