/* What counts as a configuration.  config_check holds for everything that is decoded and for everything that is encoded:
 *   1. members have UUIDs of their own, at least MEMBERS_MIN of them vote, and their granules fit on them;
 *   2. band ids rise and are below next_band_id; a band's columns are on different members, which
 *      vote or are replacements, and its blocks can be numbered;
 *   3. no granule belongs to two columns or targets of jobs;
 *   4. jobs are sorted by band, and no band has two.
 *
 * The order in which it looks is part of it, as each step leans on those before: granules are counted by a geometry that was found
 * valid for the member; config_band finds a job's band among ids that were found to rise; runs are compared that were found to lie on
 * their members, and of jobs whose bands are there. */
#include "raid/config_impl.h"

#include "base/cleanup.h"

#include <errno.h>
#include <stdlib.h>

/* ---- Members ---- */

/* 1 above. */
static bool members_valid(const struct config *config)
{
	unsigned voters = 0;

	if (config->member_count > MEMBERS_MAX)
		return false;
	for (unsigned i = 0; i < config->member_count; i++) {
		const struct config_member *m = &config->members[i];
		if (m->role == MEMBER_UNUSED) {
			if (!uuid_is_zero(&m->uuid) || m->granules || m->size_bytes)
				return false;
			continue;
		}
		if (m->role > MEMBER_REPLACEMENT || uuid_is_zero(&m->uuid) || !geometry_valid(&config->geometry, m->size_bytes))
			return false;
		if (m->granules > (label_copy_offset_bytes(2, m->size_bytes) - config->geometry.data_offset_bytes)
		    / config->geometry.granule_bytes)
			return false;
		for (unsigned j = 0; j < i; j++) {
			if (uuid_equal(&config->members[j].uuid, &m->uuid))
				return false;
		}
		voters += m->role == MEMBER_VOTER;
	}
	return voters >= MEMBERS_MIN;
}

/* ---- Bands and jobs ---- */

/* A run of `granules` from the column's granule that lies inside a member which may hold columns. */
static bool column_valid(const struct config *config, const struct column *column, uint32_t granules)
{
	const struct config_member *m;

	if (column->member >= config->member_count)
		return false;
	m = &config->members[column->member];
	if (m->role != MEMBER_VOTER && m->role != MEMBER_REPLACEMENT)
		return false;
	return column->granule <= m->granules && granules <= m->granules - column->granule;
}

/* 2 above, but for the order of ids. */
static bool band_valid(const struct config *config, const struct band *band)
{
	uint32_t members = 0;

	if (!band->id || band->id > BAND_ID_MAX || band->width < BAND_WIDTH_MIN || band->width > MEMBERS_MAX || !band->granules)
		return false;
	if (band->rows != band->granules * (config->geometry.granule_bytes / UNIT_BYTES))
		return false;
	if (band->rows > (UINT64_C(1) << ADDRESS_BLOCK_BITS) / band_row_blocks(band))
		return false;
	for (unsigned c = 0; c < band->width; c++) {
		if (!column_valid(config, &band->columns[c], band->granules) || members >> band->columns[c].member & 1)
			return false;
		members |= 1u << band->columns[c].member;
	}
	return true;
}

/* Of a column of a band that is there, to where 2 lets it go. */
static bool job_valid(const struct config *config, const struct column_job *job)
{
	const struct band *band = config_band(config, job->band);

	if (!band || job->column >= band->width || !column_valid(config, &job->target, band->granules))
		return false;
	for (unsigned c = 0; c < band->width; c++) {
		if (c != job->column && band->columns[c].member == job->target.member)
			return false;
	}
	return true;
}

/* ---- Granules ---- */

struct run { uint8_t member; uint32_t granule, granules; };

static int run_order(const void *a, const void *b)
{
	const struct run *x = a, *y = b;

	if (x->member != y->member)
		return x->member < y->member ? -1 : 1;
	return x->granule < y->granule ? -1 : x->granule > y->granule;
}

/* 3 above: 0, -EBADMSG if two columns or targets share a granule, -ENOMEM. */
static int check_overlap(const struct config *config)
{
	size_t count = 0, room = (size_t)columns_of_bands(config) + config->job_count;
	autofree struct run *runs = calloc(room + 1, sizeof(*runs));

	if (!runs)
		return -ENOMEM;
	for (uint32_t i = 0; i < config->band_count; i++) {
		const struct band *band = &config->bands[i];
		for (unsigned c = 0; c < band->width; c++)
			runs[count++] = (struct run){ band->columns[c].member, band->columns[c].granule, band->granules };
	}
	for (unsigned i = 0; i < config->job_count; i++) {
		const struct column *target = &config->jobs[i].target;
		runs[count++] = (struct run){ target->member, target->granule, config_band(config, config->jobs[i].band)->granules };
	}
	qsort(runs, count, sizeof(*runs), run_order);
	for (size_t i = 1; i < count; i++) {
		if (runs[i].member == runs[i - 1].member && runs[i].granule - runs[i - 1].granule < runs[i - 1].granules)
			return -EBADMSG;
	}
	return 0;
}

/* ---- All of it ---- */

int config_check(const struct config *config)
{
	uint32_t id_before = 0;

	if (uuid_is_zero(&config->array) || !members_valid(config) || config->next_band_id > BAND_ID_MAX + 1)
		return -EBADMSG;
	for (uint32_t i = 0; i < config->band_count; i++) {
		const struct band *band = &config->bands[i];
		if (band->id <= id_before || band->id >= config->next_band_id || !band_valid(config, band))
			return -EBADMSG;
		id_before = band->id;
	}
	for (unsigned i = 0; i < config->job_count; i++) {
		if (!job_valid(config, &config->jobs[i]) || (i > 0 && config->jobs[i].band <= config->jobs[i - 1].band))
			return -EBADMSG;
	}
	return check_overlap(config);
}
