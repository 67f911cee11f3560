/* Keyless rebuild: what it refuses, with nothing written, and what is no reason to. */
#include "raid/format.h"
#include "tests/unit/keyless.h"

static void refused(struct rig *rig, unsigned missing, struct simdisk *target, enum fail_code code, const char *says)
{
	uint64_t changes = rig->world->changes;

	CHECK(rebuild(rig, missing, target) < 0);
	CHECK_EQ(fail.code, code);
	CHECK(SAYS(says));
	CHECK_EQ(rig->world->changes, changes);
}

static void test_rings_differ(void)
{
	struct rig *rig = make(60, 4);
	struct simdisk *target = new_target(rig, sizes[0]);
	struct simstore *stale = simdisk_snapshot(rig->sims[2]);
	struct geometry g;
	uint8_t record[ROOT_BYTES];

	open_with(rig, 15);
	g = array_config(rig->array)->geometry;
	CHECK_EQ(rig_begin(rig), 0);
	write_some(rig, 1);
	rig_close(rig);
	struct simstore *now = simdisk_snapshot(rig->sims[2]);
	simdisk_replace_with_snapshot(rig->sims[2], stale);
	refused(rig, 0, target, FAIL_TOO_FEW, "not up to date");
	/* The stale one itself may be the missing one. */
	CHECK_EQ(rebuild(rig, 2, new_target(rig, sizes[2])), 0);
	simdisk_replace_with_snapshot(rig->sims[2], now);
	/* A root that was torn behind its header: its checksum holds, and only its tag would tell. */
	uint64_t at = g.ring_offset_bytes + rig->generation % g.ring_slots * ROOT_BYTES;
	simdisk_peek(rig->sims[3], at, record, ROOT_BYTES);
	simdisk_flip(rig->sims[3], at + ROOT_HEADER_BYTES + 100, 1);
	refused(rig, 0, target, FAIL_TOO_FEW, "not quite the same");
	simdisk_poke(rig->sims[3], at, record, ROOT_BYTES);
	CHECK_EQ(rebuild(rig, 0, target), 0);
	simsnapshot_free(stale);
	simsnapshot_free(now);
	rig_free(rig);
}

static void test_gaps(void)
{
	struct rig *rig = make(61, 4);
	struct simdisk *target = new_target(rig, sizes[0]);

	/* A root names member 2 out, then filling, then whole. */
	open_with(rig, 11);
	CHECK_EQ(rig_begin(rig), 0);
	write_some(rig, 1);
	rig_close(rig);
	refused(rig, 0, target, FAIL_TOO_FEW, "not up to date");
	open_with(rig, 15);
	CHECK_EQ(rig_begin(rig), 0);
	CHECK_EQ(array_member_return(rig->array, 2, rig->generation + 1), 0);
	write_some(rig, 1);
	refused(rig, 0, target, FAIL_TOO_FEW, "being caught up");
	for (uint32_t b = 0; b < array_config(rig->array)->band_count; b++) {
		const struct band *band = &array_config(rig->array)->bands[b];
		for (uint64_t row = 0; row < band->rows; row++)
			for (unsigned c = 0; c < band->width; c++) {
				struct iobuf *unit = iobuf_new(UNIT_BYTES);
				if (band->columns[c].member == 2) {
					CHECK_EQ(array_rebuild_column(rig->array, band->id, row, c, unit), 0);
					CHECK_EQ(array_write_column(rig->array, band->id, row, c, 0, UNIT_BLOCKS, unit), 0);
				}
				iobuf_unref(unit);
			}
	}
	CHECK_EQ(array_gap_close(rig->array, 2), 0);
	CHECK_EQ(rig_commit(rig), 0);
	rig_close(rig);
	/* In sync and not level: an unverified gap. */
	struct simstore *before = simdisk_snapshot(rig->sims[3]);
	open_with(rig, 15);
	CHECK_EQ(rig_begin(rig), 0);
	rig_close(rig);
	simdisk_replace_with_snapshot(rig->sims[3], before);
	open_with(rig, 15);
	CHECK_EQ(rig_begin(rig), 0);
	rig_close(rig);
	refused(rig, 0, target, FAIL_TOO_FEW, "may miss a part of the last writes");
	/* The gap of the missing member itself is no reason. */
	CHECK_EQ(rebuild(rig, 3, new_target(rig, sizes[3])), 0);
	simsnapshot_free(before);
	rig_free(rig);
}

static void test_wrong_members(void)
{
	struct rig *rig = make(62, 4), *other = make(63, 3);
	struct simdisk *target = new_target(rig, sizes[1]), *from[4];
	uint8_t bytes[LABEL_BYTES];
	uint64_t changes = rig->world->changes;

	CHECK(simkeyless(rig->sims, 4, target, false, NULL, &fail) < 0);
	CHECK_EQ(fail.code, FAIL_USAGE);
	CHECK(SAYS("No member is missing"));
	CHECK(simkeyless(rig->sims, 2, target, false, NULL, &fail) < 0);
	CHECK_EQ(fail.code, FAIL_TOO_FEW);
	CHECK(SAYS("2 members are missing: member 3 (UUID"));
	CHECK(simkeyless((struct simdisk *[]){ rig->sims[0], rig->sims[2], other->sims[1] }, 3, target, false, NULL, &fail) < 0);
	CHECK_EQ(fail.code, FAIL_MIXED);
	CHECK(simkeyless((struct simdisk *[]){ rig->sims[0], rig->sims[2], rig->sims[2] }, 3, target, false, NULL, &fail) < 0);
	CHECK_EQ(fail.code, FAIL_TWICE);
	/* A blank disk among the members; all copies of one label damaged. */
	CHECK(simkeyless((struct simdisk *[]){ rig->sims[0], rig->sims[2], simworld_add(rig->world, 9 * MIB), rig->sims[3] }, 4, target, false,
		NULL, &fail) < 0);
	CHECK_EQ(fail.code, FAIL_NOT_MEMBER);
	/* The target among the members, and another member as the target. */
	others(rig, 1, from);
	CHECK(simkeyless(from, 3, rig->sims[2], true, NULL, &fail) < 0);
	CHECK_EQ(fail.code, FAIL_TWICE);
	struct simstore *copy = simdisk_snapshot(rig->sims[2]);
	struct simdisk *clone = simworld_add(rig->world, 12 * MIB);
	simdisk_resize(clone, copy->size_bytes);
	simdisk_replace_with_snapshot(clone, copy);
	simdisk_resize(clone, 12 * MIB);
	CHECK(simkeyless(from, 3, clone, true, NULL, &fail) < 0);
	CHECK_EQ(fail.code, FAIL_SIGNATURE);
	CHECK(SAYS("another member of this array"));
	/* One of another array, also with force; too small; a damaged label needs force. */
	simdisk_peek(other->sims[0], LABEL_BYTES, bytes, LABEL_BYTES);
	simdisk_poke(target, LABEL_BYTES, bytes, LABEL_BYTES);
	for (unsigned force = 0; force < 2; force++) {
		CHECK(simkeyless(from, 3, target, force, NULL, &fail) < 0);
		CHECK_EQ(fail.code, FAIL_SIGNATURE);
		CHECK(SAYS("member of another"));
	}
	CHECK(simkeyless(from, 3, simworld_add(rig->world, sizes[1] - 4096), true, NULL, &fail) < 0);
	CHECK_EQ(fail.code, FAIL_TOO_SMALL);
	CHECK_EQ(rig->world->changes, changes);
	simdisk_flip(target, LABEL_BYTES + 5000, 1);
	CHECK(simkeyless(from, 3, target, false, NULL, &fail) < 0);
	CHECK(SAYS("damaged"));
	CHECK_EQ(simkeyless(from, 3, target, true, NULL, &fail), 0);
	simsnapshot_free(copy);
	rig_free(other);
	rig_free(rig);
}

/* Puts another configuration on all members, in a newest root that names it; the root's tag is then wrong, which nobody sees without
 * a key. */
static void put_config(struct rig *rig, const struct config *config)
{
	const struct geometry *g = &config->geometry;
	struct root_header header;
	uint8_t record[ROOT_BYTES];
	size_t length_bytes;
	void *bytes;

	REQUIRE(!config_encode(config, &bytes, &length_bytes));
	for (unsigned i = 0; i < rig->count; i++) {
		uint64_t at = g->ring_offset_bytes + rig->generation % g->ring_slots * ROOT_BYTES;
		simdisk_peek(rig->sims[i], at, record, ROOT_BYTES);
		REQUIRE(!root_header_decode(record, &header));
		header.config_version = config->version;
		config_hash(bytes, length_bytes, header.config_hash);
		root_header_encode(&header, record);
		simdisk_poke(rig->sims[i], at, record, ROOT_BYTES);
		simdisk_poke(rig->sims[i], g->config_offset_bytes + config->version % CONFIG_SLOTS * g->config_slot_bytes, bytes, length_bytes);
	}
	free(bytes);
}

static void test_jobs_and_spares(void)
{
	struct rig *rig = make(64, 4);
	struct simdisk *target = new_target(rig, sizes[1]), *from[4];
	struct column_job job;
	uint8_t block[BLOCK_BYTES], made[BLOCK_BYTES];

	open_with(rig, 15);
	struct config config = *array_config(rig->array);
	/* Band 1 has a column on each of the four; one that has none on member 1, by making room there. */
	struct band *bands = malloc(config.band_count * sizeof *bands);
	struct column columns[3];
	REQUIRE(bands);
	memcpy(bands, config.bands, config.band_count * sizeof *bands);
	config.bands = bands;
	REQUIRE(bands[0].width == 4);
	unsigned own = 0, kept = 0;
	for (unsigned c = 0; c < 4; c++) {
		if (bands[0].columns[c].member == 1)
			own = bands[0].columns[c].granule;
		else
			columns[kept++] = bands[0].columns[c];
	}
	bands[0].width = 3;
	bands[0].columns = columns;
	/* A spare, which is not given, and is not missed. */
	config.version = 2;
	config.members[4] = config.members[0];
	config.members[4].uuid.b[3] ^= 0x55;
	config.members[4].role = MEMBER_SPARE;
	config.member_count = 5;
	job = (struct column_job){ .band = bands[0].id, .column = 0, .target = { .member = 1, .granule = own } };
	config.jobs = &job;
	config.job_count = 1;
	put_config(rig, &config);
	refused(rig, 1, target, FAIL_TOO_FEW, "being moved to the missing member");
	/* One that leads elsewhere is no reason. */
	CHECK_EQ(rebuild(rig, 3, new_target(rig, sizes[3])), 0);
	config.jobs = NULL;
	config.job_count = 0;
	config.version = 3;
	put_config(rig, &config);
	CHECK_EQ(rebuild(rig, 1, target), 0);
	CHECK_EQ(simkeyless_compare(&config, 1, rig->sims, target), 0);
	/* Both configuration slots are there: that of version 2 too. */
	for (uint64_t at = config.geometry.config_offset_bytes; at < config.geometry.ring_offset_bytes; at += BLOCK_BYTES) {
		simdisk_peek(rig->sims[0], at, block, BLOCK_BYTES);
		simdisk_peek(target, at, made, BLOCK_BYTES);
		CHECK(!memcmp(block, made, BLOCK_BYTES));
	}
	/* A voter without columns is missed all the same. */
	config.members[4].role = MEMBER_VOTER;
	config.version = 4;
	put_config(rig, &config);
	others(rig, 1, from);
	CHECK(simkeyless(from, 3, target, true, NULL, &fail) < 0);
	CHECK(SAYS("2 members are missing"));
	rig_close(rig);
	free(bands);
	rig_free(rig);
}

int main(void)
{
	test_rings_differ();
	test_gaps();
	test_wrong_members();
	test_jobs_and_spares();
	return CHECK_DONE();
}
