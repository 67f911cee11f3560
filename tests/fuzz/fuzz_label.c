/* Labels: what decodes encodes to the same bytes, its regions do not overlap, and its name can be shown. */
#include "raid/format.h"
#include "tests/fuzz/fuzz.h"

#include <errno.h>

/* Every region of the member lies inside, and none in another. */
static void check_regions(const struct geometry *g, uint64_t member_bytes)
{
	const struct { uint64_t from, bytes; } regions[] = {
		{ label_copy_offset_bytes(0, member_bytes), LABEL_BYTES }, { label_copy_offset_bytes(1, member_bytes), LABEL_BYTES },
		{ label_copy_offset_bytes(2, member_bytes), LABEL_BYTES }, { g->promise_offset_bytes, PROMISE_SLOTS * PROMISE_BYTES },
		{ g->config_offset_bytes, (uint64_t)CONFIG_SLOTS * g->config_slot_bytes },
		{ g->ring_offset_bytes, (uint64_t)g->ring_slots * ROOT_BYTES }, { g->log_offset_bytes, g->log_bytes },
		{ g->data_offset_bytes, g->granule_bytes },
	};
	const unsigned count = sizeof regions / sizeof *regions;

	for (unsigned i = 0; i < count; i++) {
		MUST(regions[i].bytes <= member_bytes && regions[i].from <= member_bytes - regions[i].bytes);
		MUST(regions[i].from % BLOCK_BYTES == 0 && regions[i].bytes % BLOCK_BYTES == 0 && regions[i].bytes > 0);
		for (unsigned j = 0; j < i; j++)
			MUST(regions[i].from + regions[i].bytes <= regions[j].from || regions[j].from + regions[j].bytes <= regions[i].from);
	}
}

static void check_geometry(const struct geometry *g)
{
	uint64_t end = g->data_offset_bytes + g->granule_bytes;

	MUST(geometry_valid(g, MEMBER_MAX_BYTES));
	check_regions(g, MEMBER_MAX_BYTES);
	for (uint64_t more = 0; more < 4 * LABEL_BYTES; more += BLOCK_BYTES)
		if (geometry_valid(g, end + more))
			check_regions(g, end + more);
	MUST(!geometry_valid(g, end) && !geometry_valid(g, end - 1));
}

static void check_features(const struct label *label)
{
	struct fail fail = { 0 };

	int r = label_check_features(label, true, "member", &fail);
	MUST((r == 0) == (label->format_version == FORMAT_VERSION && !label->incompat && !label->ro_compat));
	MUST(r == 0 || (r == -EPROTONOSUPPORT && fail.code == FAIL_VERSION && *fail.text));
	if (label->format_version == FORMAT_VERSION && !label->incompat)
		MUST(label_check_features(label, false, "member", &fail) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct label label, untouched;
	static uint8_t bytes[LABEL_BYTES], again[LABEL_BYTES];
	struct disk_label *d = (struct disk_label *)bytes;
	uint8_t hash[LABEL_HASH_BYTES], hash_again[LABEL_HASH_BYTES];

	fuzz_take(data, size, bytes, sizeof bytes);
	d->checksum = disk_checksum(d, offsetof(struct disk_label, checksum));
	memset(&label, 0xa5, sizeof label);
	memset(&untouched, 0xa5, sizeof untouched);
	int r = label_decode(bytes, &label);
	if (r < 0 && r != -EPROTONOSUPPORT) {
		MUST(r == -ENOENT || r == -EBADMSG);
		MUST(!memcmp(&label, &untouched, sizeof label));
		return 0;
	}
	MUST(label_name_valid(label.name) && !uuid_is_zero(&label.array) && !uuid_is_zero(&label.member));
	check_features(&label);
	if (r < 0) {
		MUST(label.format_version != FORMAT_VERSION);
		return 0;
	}
	fuzz_accept();
	MUST(label.format_version == FORMAT_VERSION);
	check_geometry(&label.geometry);
	label_encode(&label, again);
	MUST(!memcmp(bytes, again, sizeof bytes));
	label_hash(bytes, hash);
	again[LABEL_COMMON_BYTES] ^= 1;
	label_hash(again, hash_again);
	MUST(!memcmp(hash, hash_again, sizeof hash));
	return 0;
}
