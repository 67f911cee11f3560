/* What is asked of a configuration: for a band, for a job, for sets of members.
 *
 * It rests on what config_check (config_check.c) makes sure of, and steps keep: bands are sorted by id and jobs by band, so either is
 * found by halving; a job's band is there, and has that column; no two members have one UUID.  A set of members is a mask, a bit for
 * each of MEMBERS_MAX. */
#include "raid/config.h"

#include <stdio.h>

/* ---- One member, one band, one job ---- */

int config_member(const struct config *config, const struct uuid *uuid)
{
	for (unsigned i = 0; i < config->member_count && i < MEMBERS_MAX; i++)
		if (config->members[i].role != MEMBER_UNUSED && uuid_equal(&config->members[i].uuid, uuid))
			return (int)i;
	return -1;
}

const struct band *config_band(const struct config *config, uint32_t id)
{
	uint32_t low = 0, high = config->band_count;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		if (config->bands[middle].id == id)
			return &config->bands[middle];
		if (config->bands[middle].id < id)
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

int band_column_of(const struct band *band, unsigned member)
{
	for (unsigned c = 0; c < band->width; c++)
		if (band->columns[c].member == member)
			return (int)c;
	return -1;
}

const struct column_job *config_job(const struct config *config, uint32_t band)
{
	uint32_t low = 0, high = config->job_count;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		if (config->jobs[middle].band == band)
			return &config->jobs[middle];
		if (config->jobs[middle].band < band)
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

/* ---- Sets of members ---- */

static bool at_most_one(uint32_t mask) { return !(mask & (mask - 1)); }

uint32_t config_with_role(const struct config *config, enum member_role role)
{
	uint32_t mask = 0;

	for (unsigned i = 0; i < config->member_count && i < MEMBERS_MAX; i++)
		mask |= (uint32_t)(config->members[i].role == role) << i;
	return mask;
}

uint32_t band_members(const struct band *band)
{
	uint32_t mask = 0;

	for (unsigned c = 0; c < band->width; c++)
		mask |= UINT32_C(1) << band->columns[c].member;
	return mask;
}

uint32_t config_with_columns(const struct config *config)
{
	uint32_t mask = 0;

	for (uint32_t i = 0; i < config->band_count; i++)
		mask |= band_members(&config->bands[i]);
	return mask;
}

uint32_t config_job_sources(const struct config *config)
{
	uint32_t mask = 0;

	for (unsigned i = 0; i < config->job_count; i++)
		mask |= UINT32_C(1) << config_band(config, config->jobs[i].band)->columns[config->jobs[i].column].member;
	return mask;
}

uint32_t config_job_targets(const struct config *config)
{
	uint32_t mask = 0;

	for (unsigned i = 0; i < config->job_count; i++)
		mask |= UINT32_C(1) << config->jobs[i].target.member;
	return mask;
}

uint32_t config_job_holders(const struct config *config)
{
	uint32_t mask = 0;

	for (unsigned i = 0; i < config->job_count; i++) {
		const struct column_job *job = &config->jobs[i];
		const struct band *band = config_band(config, job->band);
		mask |= (band_members(band) & ~(UINT32_C(1) << band->columns[job->column].member)) | UINT32_C(1) << job->target.member;
	}
	return mask;
}

const char *config_name_members(uint32_t members, char ret_text[CONFIG_NAMES_BYTES])
{
	size_t at = (size_t)snprintf(ret_text, CONFIG_NAMES_BYTES, "member%s", at_most_one(members) ? "" : "s");

	for (unsigned m = 0; m < MEMBERS_MAX; m++) {
		uint32_t after = members & ~((UINT32_C(2) << m) - 1), before = members & ((UINT32_C(1) << m) - 1);
		if (members >> m & 1)
			at += (size_t)snprintf(ret_text + at, CONFIG_NAMES_BYTES - at, "%s %u", !before ? "" : after ? "," : " and", m + 1);
	}
	return ret_text;
}

bool config_can_do_without(const struct config *config, uint32_t lost)
{
	if (!at_most_one(config_voters(config) & lost))
		return false;
	for (uint32_t i = 0; i < config->band_count; i++)
		if (!at_most_one(band_members(&config->bands[i]) & lost))
			return false;
	return true;
}
