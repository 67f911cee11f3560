/* The next version of a configuration: what the steps of doc/membership.md change in it.
 *
 * Pure, as config.c: what these functions make, config_encode accepts. Which step may be taken when is for fs/upkeep/reshape.c to know. */
#include "raid/config.h"

#include "base/cleanup.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void config_freep(struct config **config) { config_free(*config); }

struct config *config_next(const struct config *config)
{
	struct config *next cleanup(config_freep) = malloc(sizeof *next), *ret;
	size_t columns = 0;

	if (!next)
		return NULL;
	*next = *config;
	next->version++;
	for (uint32_t i = 0; i < config->band_count; i++)
		columns += config->bands[i].width;
	next->bands = calloc(config->band_count + 1, sizeof *next->bands);
	next->columns = calloc(columns + 1, sizeof *next->columns);
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

/* Does a run of granules of this member meet another one?  Then *granule is the first one behind that. */
static bool meets(const struct column *column, unsigned member, uint32_t taken, uint32_t *granule, uint32_t granules)
{
	if (column->member != member || *granule + (uint64_t)granules <= column->granule || column->granule + (uint64_t)taken <= *granule)
		return false;
	*granule = column->granule + taken;
	return true;
}

/* Moves *granule to where a run meets nothing that lies on the member; false if it did already. */
static bool move_on(const struct config *config, unsigned member, uint32_t *granule, uint32_t granules)
{
	bool moved = false;

	for (uint32_t i = 0; i < config->band_count; i++)
		for (unsigned c = 0; c < config->bands[i].width; c++)
			moved |= meets(&config->bands[i].columns[c], member, config->bands[i].granules, granule, granules);
	for (unsigned i = 0; i < config->job_count; i++)
		moved |= meets(&config->jobs[i].target, member, config_band(config, config->jobs[i].band)->granules, granule, granules);
	return moved;
}

/* The first free run on the member, from *granule on. */
static int find_free(const struct config *config, unsigned member, uint32_t *granule, uint32_t granules)
{
	uint32_t end = config->members[member].granules;

	while (*granule <= end && granules <= end - *granule)
		if (!move_on(config, member, granule, granules))
			return 0;
	return -ENOSPC;
}

static int column_of(const struct band *band, unsigned member)
{
	for (unsigned c = 0; c < band->width; c++)
		if (band->columns[c].member == member)
			return (int)c;
	return -1;
}

int config_begin_jobs(struct config *config, unsigned source, unsigned target)
{
	uint32_t granule = 0;

	assert(!config->job_count && source < config->member_count && target < config->member_count && source != target);
	assert(config->members[target].role != MEMBER_UNUSED);
	for (uint32_t i = 0; i < config->band_count; i++) {
		const struct band *band = &config->bands[i];
		int c = column_of(band, source);
		if (c < 0)
			continue;
		if (column_of(band, target) >= 0)
			return -EEXIST;
		/* Where a run of this length found no room, one that comes later may find some that is shorter. */
		if (i > 0 && band->granules != config->bands[i - 1].granules)
			granule = 0;
		int r = find_free(config, target, &granule, band->granules);
		if (r < 0)
			return r;
		config->jobs[config->job_count++] = (struct column_job){ .band = band->id, .column = (uint8_t)c,
			.target = { .member = (uint8_t)target, .granule = granule } };
		granule += band->granules;
	}
	if (config->members[target].role == MEMBER_SPARE)
		config->members[target].role = MEMBER_REPLACEMENT;
	return 0;
}

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
