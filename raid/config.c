/* The configuration's codec.
 *
 * An encoding is a header, then the tables of members, bands, columns (of all bands, in the bands'
 * order) and jobs, then zeroes up to a whole block whose last 8 bytes are the checksum.  There is one
 * encoding of a configuration only: a decoder refuses any other length or byte.
 *
 * A decoder trusts what it reads step by step:
 *   1. encoded_length_bytes: the buffer holds one encoding whole;
 *   2. check_frame: it is undamaged, and its counts are those that its length has room for, so all tables lie inside it;
 *   3. get_members, get_bands, get_jobs: the bands have just as many columns as the table, and reserved bytes are zero;
 *   4. config_check (config_check.c): what it says is a configuration.
 * What is encoded has passed config_check too, so nothing is written that would be refused. */
#include "raid/config_impl.h"
#include "raid/format.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

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
