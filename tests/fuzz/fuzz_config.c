/* Configurations: what decodes encodes to the same bytes; its columns lie inside their members, and no granule is in two. */
#include "raid/format.h"
#include "tests/fuzz/fuzz.h"

#include <errno.h>
#include <stdlib.h>

static void mend(uint8_t *bytes, size_t size)
{
	const struct disk_config *d = (const struct disk_config *)bytes;

	if (size < sizeof *d)
		return;
	size_t length = le32_get(d->length_bytes);
	if (length < sizeof *d + CONFIG_CHECKSUM_BYTES || length > size)
		return;
	le64 checksum = disk_checksum(bytes, length - CONFIG_CHECKSUM_BYTES);
	memcpy(bytes + length - CONFIG_CHECKSUM_BYTES, &checksum, sizeof checksum);
}

static void check_column(const struct config *config, const struct column *column, uint32_t granules)
{
	MUST(column->member < config->member_count);
	const struct config_member *m = &config->members[column->member];
	MUST(m->role == MEMBER_VOTER || m->role == MEMBER_REPLACEMENT);
	MUST((uint64_t)column->granule + granules <= m->granules);
	MUST(geometry_valid(&config->geometry, m->size_bytes));
	uint64_t end = column_row_offset_bytes(&config->geometry, column, granules * (config->geometry.granule_bytes / UNIT_BYTES));
	MUST(end <= label_copy_offset_bytes(2, m->size_bytes));
}

struct granules { unsigned member; uint64_t from, to; };
#define GRANULES_COMPARED 512u

/* By brute force, among the first of them. */
static void check_overlap(const struct config *config)
{
	struct granules runs[GRANULES_COMPARED];
	unsigned count = 0;

	for (uint32_t i = 0; i < config->band_count; i++) {
		const struct band *b = &config->bands[i];
		for (unsigned c = 0; c < b->width && count < GRANULES_COMPARED; c++)
			runs[count++] = (struct granules){ b->columns[c].member, b->columns[c].granule, (uint64_t)b->columns[c].granule + b->granules };
	}
	for (unsigned i = 0; i < config->job_count && count < GRANULES_COMPARED; i++) {
		const struct column *target = &config->jobs[i].target;
		const struct band *b = config_band(config, config->jobs[i].band);
		runs[count++] = (struct granules){ target->member, target->granule, (uint64_t)target->granule + b->granules };
	}
	for (unsigned i = 0; i < count; i++)
		for (unsigned j = 0; j < i; j++)
			MUST(runs[i].member != runs[j].member || runs[i].to <= runs[j].from || runs[j].to <= runs[i].from);
}

static void check_band(const struct config *config, const struct band *b)
{
	uint32_t members = 0;

	MUST(config_band(config, b->id) == b && b->id < config->next_band_id);
	MUST(b->width >= BAND_WIDTH_MIN && b->width <= MEMBERS_MAX && b->rows > 0);
	MUST(b->rows == b->granules * (config->geometry.granule_bytes / UNIT_BYTES));
	address last = band_row_address(b, b->rows - 1) + band_row_blocks(b) - 1;
	MUST(address_band(last) == b->id && address_block(last) == band_blocks(b) - 1 && band_row_of(b, last) == b->rows - 1);
	for (unsigned c = 0; c < b->width; c++) {
		check_column(config, &b->columns[c], b->granules);
		MUST(!(members >> b->columns[c].member & 1));
		members |= UINT32_C(1) << b->columns[c].member;
	}
}

static void check_config(const struct config *config, const uint8_t *bytes, size_t size)
{
	size_t length = le32_get(((const struct disk_config *)bytes)->length_bytes), again_length = 0;
	uint8_t hash[CONFIG_HASH_BYTES], hash_again[CONFIG_HASH_BYTES];
	void *again = NULL;

	for (uint32_t i = 0; i < config->band_count; i++)
		check_band(config, &config->bands[i]);
	for (unsigned i = 0; i < config->job_count; i++) {
		const struct band *b = config_band(config, config->jobs[i].band);
		MUST(b && config->jobs[i].column < b->width);
		check_column(config, &config->jobs[i].target, b->granules);
	}
	check_overlap(config);
	MUST(config_encode(config, &again, &again_length) == 0);
	MUST(again_length == length && !memcmp(again, bytes, length));
	config_hash(bytes, size, hash);
	config_hash(again, again_length, hash_again);
	MUST(!memcmp(hash, hash_again, sizeof hash));
	free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct config *config = NULL;
	size_t room = (size + BLOCK_BYTES - 1) / BLOCK_BYTES * BLOCK_BYTES;
	uint8_t *bytes = malloc(room + 1);

	if (!bytes)
		return 0;
	fuzz_take(data, size, bytes, room);
	mend(bytes, room);
	int r = config_decode(bytes, room, &config);
	if (r == 0) {
		fuzz_accept();
		check_config(config, bytes, room);
		config_free(config);
	} else {
		MUST((r == -EBADMSG || r == -ENOMEM) && !config);
	}
	free(bytes);
	return 0;
}
