/* The configuration's codec, its validation, and the first cut of members in bands.
 *
 * An encoding is a header, then the tables of members, bands, columns (of all bands, in the bands'
 * order) and jobs, then zeroes up to a whole block whose last 8 bytes are the checksum.  There is one
 * encoding of a configuration only: a decoder refuses any other length or byte.
 *
 * config_check holds for everything that was decoded and for everything that is encoded:
 *   1. members have UUIDs of their own, at least MEMBERS_MIN of them vote, and their granules fit on them;
 *   2. band ids rise and are below next_band_id; a band's columns are on different members, which
 *      vote or are replacements, and its blocks can be numbered;
 *   3. no granule belongs to two columns or targets of jobs;
 *   4. jobs are sorted by band, and no band has two. */
#include "raid/config.h"

#include "base/cleanup.h"
#include "raid/format.h"

#include <errno.h>
#include <stdio.h>

/* ---- Validation ---- */

struct run { uint8_t member; uint32_t granule, granules; };

static int run_order(const void *a, const void *b)
{
	const struct run *x = a, *y = b;

	if (x->member != y->member)
		return x->member < y->member ? -1 : 1;
	return x->granule < y->granule ? -1 : x->granule > y->granule;
}

static uint32_t columns_of_bands(const struct config *config)
{
	uint32_t columns = 0;

	for (uint32_t i = 0; i < config->band_count; i++)
		columns += config->bands[i].width;
	return columns;
}

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

/* 0, -EBADMSG if two columns or targets share a granule, -ENOMEM. */
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

/* 0, -EBADMSG, -ENOMEM. */
static int config_check(const struct config *config)
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

/* ---- Encoding ---- */

static void put_header(const struct config *config, size_t length_bytes, struct disk_config *d)
{
	memcpy(d->magic, CONFIG_MAGIC, DISK_MAGIC_BYTES);
	d->length_bytes = le32_put((uint32_t)length_bytes);
	memcpy(d->array, config->array.b, 16);
	d->version = le64_put(config->version);
	d->compat = le64_put(config->compat);
	d->ro_compat = le64_put(config->ro_compat);
	d->incompat = le64_put(config->incompat);
	d->cipher = config->cipher;
	d->member_count = le32_put(config->member_count);
	disk_geometry_put(&config->geometry, &d->geometry);
	d->next_band_id = le32_put(config->next_band_id);
	d->band_count = le32_put(config->band_count);
	d->column_count = le32_put(columns_of_bands(config));
	d->job_count = le32_put(config->job_count);
}

static void put_tables(const struct config *config, void *tables)
{
	struct disk_config_member *member = tables;
	struct disk_band *band = (struct disk_band *)(member + config->member_count);
	struct disk_column *column = (struct disk_column *)(band + config->band_count);
	struct disk_column_job *job;

	for (unsigned i = 0; i < config->member_count; i++, member++) {
		memcpy(member->uuid, config->members[i].uuid.b, 16);
		member->size_bytes = le64_put(config->members[i].size_bytes);
		member->granules = le32_put(config->members[i].granules);
		member->role = config->members[i].role;
	}
	for (uint32_t i = 0; i < config->band_count; i++, band++) {
		const struct band *from = &config->bands[i];
		band->id = le32_put(from->id);
		band->granules = le32_put(from->granules);
		band->width = from->width;
		for (unsigned c = 0; c < from->width; c++, column++) {
			column->granule = le32_put(from->columns[c].granule);
			column->member = from->columns[c].member;
		}
	}
	job = (struct disk_column_job *)column;
	for (unsigned i = 0; i < config->job_count; i++, job++) {
		job->band = le32_put(config->jobs[i].band);
		job->target_granule = le32_put(config->jobs[i].target.granule);
		job->column = config->jobs[i].column;
		job->target_member = config->jobs[i].target.member;
	}
}

static uint64_t rounded_length_bytes(uint64_t members, uint64_t bands, uint64_t columns, uint64_t jobs)
{
	return (config_packed_bytes(members, bands, columns, jobs) + BLOCK_BYTES - 1) / BLOCK_BYTES * BLOCK_BYTES;
}

int config_encode(const struct config *config, void **ret_bytes, size_t *ret_length_bytes)
{
	uint64_t length = rounded_length_bytes(config->member_count, config->band_count, columns_of_bands(config), config->job_count);
	le64 checksum;
	uint8_t *bytes;
	int err = config_check(config);

	assert(err != -EBADMSG);
	if (err)
		return err;
	if (length > config->geometry.config_slot_bytes)
		return -E2BIG;
	bytes = calloc(1, length);
	if (!bytes)
		return -ENOMEM;
	put_header(config, length, (struct disk_config *)bytes);
	put_tables(config, bytes + sizeof(struct disk_config));
	checksum = disk_checksum(bytes, length - CONFIG_CHECKSUM_BYTES);
	memcpy(bytes + length - CONFIG_CHECKSUM_BYTES, &checksum, sizeof(checksum));
	*ret_bytes = bytes;
	*ret_length_bytes = length;
	return 0;
}

/* ---- Decoding ---- */

/* The length that an encoding says it has, or 0 if `bytes` do not hold one whole. */
static size_t encoded_length_bytes(const void *bytes, size_t length_bytes)
{
	const struct disk_config *d = bytes;
	size_t length;

	if (length_bytes < sizeof(*d) || memcmp(d->magic, CONFIG_MAGIC, DISK_MAGIC_BYTES))
		return 0;
	length = le32_get(d->length_bytes);
	return !length || length % BLOCK_BYTES || length > CONFIG_SLOT_MAX_BYTES || length > length_bytes ? 0 : length;
}

void config_hash(const void *bytes, size_t length_bytes, uint8_t ret_hash[CONFIG_HASH_BYTES])
{
	size_t length = encoded_length_bytes(bytes, length_bytes);

	disk_hash(bytes, length ? length : length_bytes, ret_hash);
}

/* Checksum, counts against the length, and zeroes where there is nothing: 0 or -EBADMSG. */
static int check_frame(const uint8_t *bytes, size_t length_bytes)
{
	const struct disk_config *d = (const struct disk_config *)bytes;
	uint64_t members = le32_get(d->member_count), bands = le32_get(d->band_count);
	uint64_t columns = le32_get(d->column_count), jobs = le32_get(d->job_count);
	uint64_t packed = config_packed_bytes(members, bands, columns, jobs) - CONFIG_CHECKSUM_BYTES;
	le64 checksum = disk_checksum(bytes, length_bytes - CONFIG_CHECKSUM_BYTES);

	if (memcmp(bytes + length_bytes - CONFIG_CHECKSUM_BYTES, &checksum, sizeof(checksum)))
		return -EBADMSG;
	if (members > MEMBERS_MAX || rounded_length_bytes(members, bands, columns, jobs) != length_bytes)
		return -EBADMSG;
	if (!bytes_are_zero(d->zero0, sizeof(d->zero0)) || !bytes_are_zero(d->zero1, sizeof(d->zero1))
	    || !bytes_are_zero(d->zero2, sizeof(d->zero2)))
		return -EBADMSG;
	return bytes_are_zero(bytes + packed, length_bytes - CONFIG_CHECKSUM_BYTES - packed) ? 0 : -EBADMSG;
}

static int get_members(const struct disk_config_member *d, struct config *config)
{
	for (unsigned i = 0; i < config->member_count; i++, d++) {
		if (!bytes_are_zero(d->zero, sizeof(d->zero)))
			return -EBADMSG;
		memcpy(config->members[i].uuid.b, d->uuid, 16);
		config->members[i].size_bytes = le64_get(d->size_bytes);
		config->members[i].granules = le32_get(d->granules);
		config->members[i].role = d->role;
	}
	return 0;
}

static int get_bands(const struct disk_band *d, const struct disk_column *column, uint32_t column_count, struct config *config)
{
	struct column *next = config->columns;

	for (uint32_t i = 0; i < config->band_count; i++, d++) {
		struct band *band = &config->bands[i];
		if (!bytes_are_zero(d->zero, sizeof(d->zero)) || d->width > column_count)
			return -EBADMSG;
		column_count -= d->width;
		*band = (struct band){ .id = le32_get(d->id), .width = d->width, .granules = le32_get(d->granules), .columns = next };
		band->rows = band->granules * (config->geometry.granule_bytes / UNIT_BYTES);
		for (unsigned c = 0; c < band->width; c++, column++, next++) {
			if (!bytes_are_zero(column->zero, sizeof(column->zero)))
				return -EBADMSG;
			*next = (struct column){ .member = column->member, .granule = le32_get(column->granule) };
		}
	}
	return column_count ? -EBADMSG : 0;
}

static int get_jobs(const struct disk_column_job *d, struct config *config)
{
	for (unsigned i = 0; i < config->job_count; i++, d++) {
		if (!bytes_are_zero(d->zero, sizeof(d->zero)))
			return -EBADMSG;
		config->jobs[i] = (struct column_job){ .band = le32_get(d->band), .column = d->column,
			.target = { .member = d->target_member, .granule = le32_get(d->target_granule) } };
	}
	return 0;
}

/* Fills `config` from an encoding whose frame holds; what it allocates is the caller's to free, also on failure. */
static int get_config(const uint8_t *bytes, struct config *config)
{
	const struct disk_config *d = (const struct disk_config *)bytes;
	const struct disk_config_member *members = (const struct disk_config_member *)(d + 1);
	uint32_t column_count = le32_get(d->column_count);
	const struct disk_band *bands;
	const struct disk_column *columns;
	int err;

	memcpy(config->array.b, d->array, 16);
	config->version = le64_get(d->version);
	config->compat = le64_get(d->compat);
	config->ro_compat = le64_get(d->ro_compat);
	config->incompat = le64_get(d->incompat);
	config->cipher = d->cipher;
	disk_geometry_get(&d->geometry, &config->geometry);
	config->member_count = le32_get(d->member_count);
	config->next_band_id = le32_get(d->next_band_id);
	config->band_count = le32_get(d->band_count);
	config->job_count = le32_get(d->job_count);
	config->bands = calloc(config->band_count + 1, sizeof(*config->bands));
	config->columns = calloc(column_count + 1, sizeof(*config->columns));
	config->jobs = calloc(config->job_count + 1, sizeof(*config->jobs));
	if (!config->bands || !config->columns || !config->jobs)
		return -ENOMEM;
	bands = (const struct disk_band *)(members + config->member_count);
	columns = (const struct disk_column *)(bands + config->band_count);
	err = get_members(members, config);
	if (!err)
		err = get_bands(bands, columns, column_count, config);
	if (!err)
		err = get_jobs((const struct disk_column_job *)(columns + column_count), config);
	return err ? err : config_check(config);
}

int config_decode(const void *bytes, size_t length_bytes, struct config **ret_config)
{
	size_t length = encoded_length_bytes(bytes, length_bytes);
	struct config *config;
	int err;

	if (!length)
		return -EBADMSG;
	err = check_frame(bytes, length);
	if (err)
		return err;
	config = calloc(1, sizeof(*config));
	if (!config)
		return -ENOMEM;
	err = get_config(bytes, config);
	if (err) {
		config_free(config);
		return err;
	}
	*ret_config = config;
	return 0;
}

void config_free(struct config *config)
{
	if (!config)
		return;
	free(config->bands);
	free(config->columns);
	free(config->jobs);
	free(config);
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

static uint32_t band_members(const struct band *band)
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

/* ---- The first cut ---- */

static uint32_t voter_granules(const struct config *config, unsigned member)
{
	return config->members[member].role == MEMBER_VOTER ? config->members[member].granules : 0;
}

/* Band i takes granule i of every voter that has so many: as many bands as two members have granules. */
int config_make_bands(struct config *config)
{
	uint32_t largest = 0, count = 0;
	size_t columns = 0;
	struct column *next;

	assert(!config->bands && !config->columns);
	for (unsigned m = 0; m < config->member_count; m++) {
		uint32_t granules = voter_granules(config, m), shared = granules < largest ? granules : largest;
		count = shared > count ? shared : count;
		largest = granules > largest ? granules : largest;
	}
	if (count > BAND_ID_MAX)
		return -E2BIG;
	for (unsigned m = 0; m < config->member_count; m++)
		columns += voter_granules(config, m) < count ? voter_granules(config, m) : count;
	config->bands = calloc(count + 1u, sizeof(*config->bands));
	config->columns = next = calloc(columns + 1, sizeof(*config->columns));
	if (!config->bands || !config->columns) {
		free(config->bands);
		free(config->columns);
		config->bands = NULL;
		config->columns = NULL;
		return -ENOMEM;
	}
	for (uint32_t i = 0; i < count; i++) {
		struct band *band = &config->bands[i];
		uint8_t members[MEMBERS_MAX], width = 0;
		for (unsigned m = 0; m < config->member_count; m++) {
			if (voter_granules(config, m) > i)
				members[width++] = (uint8_t)m;
		}
		*band = (struct band){ .id = i + 1, .width = width, .granules = 1,
			.rows = config->geometry.granule_bytes / UNIT_BYTES, .columns = next };
		for (unsigned c = 0; c < width; c++)
			*next++ = (struct column){ .member = members[(i + c) % width], .granule = i };
	}
	config->band_count = count;
	config->next_band_id = count + 1;
	return 0;
}
