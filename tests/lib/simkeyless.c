/* See simkeyless.h. */
#include "tests/lib/simkeyless.h"

#include "raid/parity.h"

#include <string.h>

int simkeyless(struct simdisk *const *members, unsigned count, struct simdisk *target, bool force, const struct keyless_options *options,
	struct fail *fail)
{
	struct keyless_options none = { 0 };
	struct keyless_plan *plan = NULL;
	struct disk *disks[MEMBERS_MAX], *disk;
	struct probe *probe;

	memset(fail, 0, sizeof *fail);
	for (unsigned i = 0; i < count; i++)
		disks[i] = simdisk_open(members[i]);
	int r = array_probe(disks, count, &probe, fail);
	if (r)
		return r;
	r = keyless_plan(probe, &plan, fail);
	if (!r) {
		disk = simdisk_open(target);
		r = keyless_check_target(plan, disk, force, fail);
		if (!r)
			r = keyless_rebuild(plan, disk, options ? options : &none, fail);
		disk_close(disk);
	}
	keyless_plan_free(plan);
	probe_free(probe);
	return r;
}

bool simkeyless_labelled(struct simdisk *sim, struct label *ret_label)
{
	uint8_t bytes[LABEL_BYTES];

	for (unsigned copy = 0; copy < LABEL_COPIES; copy++) {
		simdisk_peek(sim, label_copy_offset_bytes(copy, sim->current.size_bytes), bytes, LABEL_BYTES);
		if (!label_decode(bytes, ret_label))
			return true;
	}
	return false;
}

static bool row_is_right(const struct config *config, const struct band *band, uint64_t row, unsigned member,
	struct simdisk *const *by_index, struct simdisk *target)
{
	uint8_t sum[UNIT_BYTES] = { 0 }, unit[UNIT_BYTES];

	for (unsigned c = 0; c < band->width; c++) {
		unsigned index = band->columns[c].member;
		simdisk_peek(index == member ? target : by_index[index], column_row_offset_bytes(&config->geometry, &band->columns[c], row), unit,
			UNIT_BYTES);
		xor_into(sum, unit, UNIT_BYTES);
	}
	return !sum[0] && !memcmp(sum, sum + 1, UNIT_BYTES - 1);
}

uint32_t simkeyless_compare(const struct config *config, unsigned member, struct simdisk *const *by_index, struct simdisk *target)
{
	for (uint32_t b = 0; b < config->band_count; b++) {
		const struct band *band = &config->bands[b];
		bool has = false;
		for (unsigned c = 0; c < band->width; c++)
			has = has || band->columns[c].member == member;
		for (uint64_t row = 0; has && row < band->rows; row++)
			if (!row_is_right(config, band, row, member, by_index, target))
				return band->id;
	}
	return 0;
}
