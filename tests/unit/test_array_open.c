/* Opening an array: which root and which members count, over mounts, cuts, stale and cloned members;
 * and what the user is told. */
#include "base/cleanup.h"
#include "raid/array_step.h"
#include "tests/lib/array_rig.h"
#include "tests/unit/check.h"

#include <errno.h>
#include <string.h>

#define MIB (UINT64_C(1) << 20)
#define ALL(count) ((UINT32_C(1) << (count)) - 1)
#define HAS(rig, part) (strstr((rig)->fail.text, part) || (fprintf(stderr, "text: %s\n", (rig)->fail.text), 0))

static const uint64_t sizes[5] = { 9 * MIB, 9 * MIB, 10 * MIB, 9 * MIB, 12 * MIB };

static void open_all(struct rig *rig, uint32_t members)
{
	int r = rig_open(rig, members);

	if (r)
		fprintf(stderr, "open: %s\n", rig->fail.text);
	REQUIRE(r == 0);
}

/* One more generation: a few single rows. */
static void generation(struct rig *rig, uint32_t first_band)
{
	for (uint32_t i = 0; i < 6; i++)
		CHECK_EQ(rig_write(rig, array_config(rig->array)->bands[first_band + i].id, 0, 1), 0);
	CHECK_EQ(rig_commit(rig), 0);
}

static struct member_status status_of(struct rig *rig, unsigned member)
{
	struct member_status status;

	array_member_status(rig->array, member, &status);
	return status;
}

static struct geometry geometry_of(struct rig *rig)
{
	return array_config(rig->array)->geometry;
}

static void test_first_mount(void)
{
	struct rig *rig = rig_new(1, 3, sizes);

	open_all(rig, 7);
	CHECK_EQ(array_root_header(rig->array)->generation, 1);
	CHECK_EQ(array_root_header(rig->array)->term, 0);
	CHECK(!strcmp(array_label(rig->array)->name, "rig"));
	CHECK(!array_degraded(rig->array));
	CHECK(!array_read_only(rig->array));
	CHECK_EQ(array_member_count(rig->array), 3);
	for (unsigned i = 0; i < 3; i++)
		CHECK_EQ(status_of(rig, i).state, MEMBER_IN_SYNC);
	/* An idle mount writes nothing. */
	uint64_t changes = rig->world->changes;
	rig_close(rig);
	CHECK_EQ(rig->world->changes, changes);

	/* Terms rise by one with each mount that writes. */
	for (unsigned term = 1; term < 5; term++) {
		open_all(rig, 7);
		CHECK_EQ(rig_begin(rig), 0);
		generation(rig, term);
		rig_close(rig);
		open_all(rig, 7);
		CHECK_EQ(array_root_header(rig->array)->term, term);
		CHECK_EQ(rig_check_all(rig, false), 0);
		rig_close(rig);
	}
	rig_free(rig);
}

static void test_read_only(void)
{
	struct rig *rig = rig_new(2, 3, sizes);
	uint64_t changes = rig->world->changes;
	struct iobuf *buf cleanup(iobuf_unrefp) = iobuf_new(2 * UNIT_BYTES);

	REQUIRE(rig_open_mode(rig, 5, true) == 0);
	CHECK(array_read_only(rig->array));
	uint32_t band = array_config(rig->array)->bands[0].id;
	CHECK_EQ(array_take_term(rig->array), -EROFS);
	CHECK_EQ(array_write_rows(rig->array, band, 0, 1, buf), -EROFS);
	CHECK_EQ(array_write_column(rig->array, band, 0, 0, 0, UNIT_BLOCKS, buf), -EROFS);
	CHECK_EQ(array_flush(rig->array, 2), -EROFS);
	CHECK_EQ(array_drop_member(rig->array, 0, "the test says so"), -EROFS);
	rig_close(rig);
	CHECK_EQ(rig->world->changes, changes);
	rig_free(rig);
}

/* ---- What the user is told ---- */

static void test_texts(void)
{
	struct rig *rig = rig_new(3, 4, sizes), *other = rig_new(4, 3, sizes);
	struct disk *disks[3];
	struct probe *probe;
	struct fail fail = { 0 };
	char uuid[UUID_TEXT_BYTES];

	/* The same disk twice; a clone of a member. */
	disks[0] = simdisk_open(rig->sims[0]);
	disks[1] = simdisk_open(rig->sims[0]);
	CHECK_EQ(array_probe(disks, 2, &probe, &fail), -EINVAL);
	CHECK_EQ(fail.code, FAIL_TWICE);
	CHECK(strstr(fail.text, "same disk"));
	struct simdisk *clone = simworld_add(rig->world, sizes[0]);
	struct simstore *snapshot = simdisk_snapshot(rig->sims[0]);
	simdisk_replace_with_snapshot(clone, snapshot);
	simsnapshot_free(snapshot);
	disks[0] = simdisk_open(rig->sims[0]);
	disks[1] = simdisk_open(clone);
	CHECK_EQ(array_probe(disks, 2, &probe, &fail), -EINVAL);
	CHECK_EQ(fail.code, FAIL_TWICE);
	uuid_format(&rig->uuids[0], uuid);
	CHECK(strstr(fail.text, uuid));

	/* Members of two arrays. */
	disks[0] = simdisk_open(rig->sims[0]);
	disks[1] = simdisk_open(rig->sims[1]);
	snapshot = simdisk_snapshot(other->sims[0]);
	simdisk_replace_with_snapshot(clone, snapshot);
	simsnapshot_free(snapshot);
	disks[2] = simdisk_open(clone);
	CHECK_EQ(array_probe(disks, 3, &probe, &fail), -EINVAL);
	CHECK_EQ(fail.code, FAIL_MIXED);
	uuid_format(&other->uuid, uuid);
	CHECK(strstr(fail.text, uuid));
	uuid_format(&rig->uuid, uuid);
	CHECK(strstr(fail.text, uuid));

	/* No member at all. */
	disks[0] = simdisk_open(simworld_add(rig->world, 9 * MIB));
	CHECK_EQ(array_probe(disks, 1, &probe, &fail), -EINVAL);
	CHECK_EQ(fail.code, FAIL_NOT_MEMBER);
	CHECK_EQ(array_probe(disks, 0, &probe, &fail), -EINVAL);
	CHECK_EQ(fail.code, FAIL_USAGE);

	/* Too few: both are named. */
	CHECK_EQ(rig_open(rig, 3), -ENODEV);
	CHECK_EQ(rig->fail.code, FAIL_TOO_FEW);
	for (unsigned i = 2; i < 4; i++) {
		uuid_format(&rig->uuids[i], uuid);
		CHECK(HAS(rig, uuid));
	}
	CHECK(HAS(rig, "member 3") && HAS(rig, "absent"));
	CHECK_EQ(rig_open_mode(rig, 3, true), -ENODEV);
	CHECK_EQ(rig->fail.code, FAIL_TOO_FEW);
	rig_free(other);
	rig_free(rig);
}

static void test_unlabelled(void)
{
	struct rig *rig = rig_new(5, 3, sizes);
	static const uint8_t zeros[LABEL_BYTES];

	for (unsigned copy = 0; copy < LABEL_COPIES; copy++)
		simdisk_poke(rig->sims[1], label_copy_offset_bytes(copy, sizes[1]), zeros, LABEL_BYTES);
	open_all(rig, 7);
	CHECK_EQ(rig->events[EVENT_MEMBER_ABSENT], 1);
	CHECK(strstr(rig->last_text[EVENT_WARNING], "no usable label"));
	rig_close(rig);
	CHECK_EQ(rig_open(rig, 3), -ENODEV);
	CHECK(HAS(rig, "no usable label"));
	rig_free(rig);
}

/* Clones that were used separately: refused in a mount of both, with both named. */
static void test_diverged(void)
{
	struct rig *rig = rig_new(6, 3, sizes);
	struct simstore *saved[3];
	char name[3][256];

	for (unsigned i = 0; i < 3; i++)
		saved[i] = simdisk_snapshot(rig->sims[i]);
	open_all(rig, 7);
	CHECK_EQ(rig_begin(rig), 0);
	generation(rig, 0);
	for (unsigned i = 0; i < 3; i++)
		snprintf(name[i], sizeof name[i], "%s", status_of(rig, i).name);
	rig_close(rig);
	struct simstore *used = simdisk_snapshot(rig->sims[0]);
	for (unsigned i = 0; i < 3; i++)
		simdisk_replace_with_snapshot(rig->sims[i], saved[i]);
	open_all(rig, 7);
	CHECK_EQ(rig_begin(rig), 0);
	generation(rig, 0);
	rig_close(rig);
	simdisk_replace_with_snapshot(rig->sims[0], used);
	CHECK_EQ(rig_open(rig, 7), -EINVAL);
	CHECK_EQ(rig->fail.code, FAIL_DIVERGED);
	CHECK(HAS(rig, name[0]) && (strstr(rig->fail.text, name[1]) || HAS(rig, name[2])));
	open_all(rig, 6);
	CHECK_EQ(rig_check_all(rig, false), 0);
	simsnapshot_free(used);
	for (unsigned i = 0; i < 3; i++)
		simsnapshot_free(saved[i]);
	rig_free(rig);
}

static void test_damaged(void)
{
	struct rig *rig = rig_new(7, 3, sizes);
	static const uint8_t zeros[65536];

	open_all(rig, 7);
	struct geometry g = geometry_of(rig);
	rig_close(rig);
	/* The configuration is on one member only: enough. */
	for (unsigned i = 0; i < 2; i++)
		for (uint64_t at = 0; at < 2 * g.config_slot_bytes; at += BLOCK_BYTES)
			simdisk_poke(rig->sims[i], g.config_offset_bytes + at, zeros, BLOCK_BYTES);
	open_all(rig, 7);
	rig_close(rig);
	for (uint64_t at = 0; at < 2 * g.config_slot_bytes; at += BLOCK_BYTES)
		simdisk_poke(rig->sims[2], g.config_offset_bytes + at, zeros, BLOCK_BYTES);
	CHECK_EQ(rig_open(rig, 7), -EBADMSG);
	CHECK_EQ(rig->fail.code, FAIL_DAMAGED);
	CHECK(HAS(rig, "configuration 1"));
	for (unsigned i = 0; i < 3; i++)
		for (unsigned slot = 0; slot < g.ring_slots; slot++)
			simdisk_poke(rig->sims[i], g.ring_offset_bytes + slot * ROOT_BYTES, zeros, ROOT_BYTES);
	CHECK_EQ(rig_open(rig, 7), -EBADMSG);
	CHECK_EQ(rig->fail.code, FAIL_DAMAGED);
	CHECK(HAS(rig, "root that verifies"));
	rig_free(rig);
}

/* A forged root with a right checksum counts for nothing. */
static void test_forged_root(void)
{
	struct rig *rig = rig_new(8, 3, sizes);
	uint8_t record[ROOT_BYTES];
	struct root_header header;

	open_all(rig, 7);
	struct geometry g = geometry_of(rig);
	memcpy(record, array_root_record(rig->array), ROOT_BYTES);
	header = *array_root_header(rig->array);
	rig_close(rig);
	header.term = 77;
	header.predecessor = 98;
	header.generation = 99;
	root_header_encode(&header, record);
	simdisk_poke(rig->sims[0], g.ring_offset_bytes + 99 % g.ring_slots * ROOT_BYTES, record, ROOT_BYTES);
	open_all(rig, 7);
	CHECK_EQ(array_root_header(rig->array)->generation, 1);
	CHECK_EQ(status_of(rig, 0).state, MEMBER_IN_SYNC);
	rig_free(rig);
}

/* The keyless view. */
static void test_probe(void)
{
	struct rig *rig = rig_new(10, 3, sizes);
	struct disk *disks[2] = { simdisk_open(rig->sims[0]), simdisk_open(rig->sims[2]) };
	struct probe *probe;
	struct config *config;

	REQUIRE(array_probe(disks, 2, &probe, &rig->fail) == 0);
	CHECK_EQ(probe->count, 2);
	CHECK(uuid_equal(&probe->members[1].label.member, &rig->uuids[2]));
	CHECK(probe->members[0].has_root);
	CHECK_EQ(probe->members[0].root_hint.generation, 1);
	REQUIRE(probe_config(probe, &config) == 0);
	CHECK_EQ(config->member_count, 3);
	config_free(config);
	probe_free(probe);
	rig_free(rig);
}

/* ---- Members that come and go over mounts ---- */

/* What a member holds is served only where it is not stale; where it may be, the others tell. */
static void check_by_tags(struct rig *rig)
{
	const struct config *config = array_config(rig->array);
	struct iobuf *buf cleanup(iobuf_unrefp) = iobuf_new(UNIT_BYTES);
	uint8_t expected[BLOCK_BYTES];
	unsigned rows = 0;

	for (uint32_t b = 0; b < config->band_count; b++) {
		const struct band *band = &config->bands[b];
		for (uint64_t row = 0; row < band->rows; row++) {
			uint64_t written = rig_written(rig, band->id, row);
			for (unsigned i = 0; written && i < band_data_units(band); i++) {
				address at = band_row_address(band, row) + i * UNIT_BLOCKS;
				unsigned member = band->columns[band_data_column(band, row, i)].member;
				rows++;
				if (!rig_check(rig, at, UNIT_BLOCKS))
					continue;
				CHECK(array_stale(rig->array, member, written, band_row_address(band, row)));
				CHECK_EQ(array_read_rebuilt(rig->array, at, UNIT_BLOCKS, buf, 0), 0);
				rig_expect(rig, at, expected);
				CHECK(!memcmp(expected, buf->data, BLOCK_BYTES));
			}
		}
	}
	CHECK(rows > 0);
}

/* A member is absent in one mount and back in the next ones. */
static void test_absent_and_back(unsigned count)
{
	struct rig *rig = rig_new(20 + count, count, sizes);

	open_all(rig, ALL(count));
	CHECK_EQ(rig_begin(rig), 0);
	generation(rig, 0);
	generation(rig, 10);
	uint64_t last_seen = rig->tree;
	rig_close(rig);

	open_all(rig, ALL(count) & ~2u);
	CHECK_EQ(rig_begin(rig), 0);
	generation(rig, 4);
	generation(rig, 14);
	rig_close(rig);

	/* Back: out of date, its data never served, and a third one must not go. */
	open_all(rig, ALL(count));
	CHECK_EQ(status_of(rig, 1).state, MEMBER_OUT);
	CHECK_EQ(status_of(rig, 1).gap.from, last_seen);
	CHECK(strstr(rig->last_text[EVENT_MEMBER_DROPPED], "out of date"));
	CHECK_EQ(rig_check_all(rig, false), 0);
	rig_close(rig);
	CHECK_EQ(rig_open(rig, ALL(count) & ~1u), -ENODEV);
	CHECK_EQ(rig->fail.code, FAIL_TOO_FEW);
	CHECK(HAS(rig, "out of date") && HAS(rig, "absent"));

	/* Its filling is cut off, and starts anew in the next mount. */
	open_all(rig, ALL(count));
	CHECK_EQ(rig_begin(rig), 0);
	CHECK_EQ(array_member_return(rig->array, 1, rig->generation + 1), 0);
	generation(rig, 8);
	CHECK_EQ(array_gap_advance(rig->array, 1, address_make(5, 0)), 0);
	generation(rig, 18);
	CHECK_EQ(rig_check_all(rig, false), 0);
	rig_close(rig);
	open_all(rig, ALL(count));
	CHECK_EQ(status_of(rig, 1).state, MEMBER_OUT);
	CHECK_EQ(status_of(rig, 1).gap.from, last_seen);
	CHECK_EQ(status_of(rig, 1).gap.position, 0);
	CHECK_EQ(rig_check_all(rig, false), 0);
	rig_free(rig);
}

/* A member is silently what it was `back` generations ago. */
static void test_silently_older(unsigned back)
{
	struct rig *rig = rig_new(30 + back, 4, sizes);
	struct simstore *older = NULL;
	uint64_t older_tree = 0;

	open_all(rig, 15);
	CHECK_EQ(rig_begin(rig), 0);
	for (unsigned i = 0; i < 6; i++) {
		if (i == 6 - back) {
			older = simdisk_snapshot(rig->sims[3]);
			older_tree = rig->tree;
		}
		generation(rig, i * 3);      /* overlaps what the one before wrote */
	}
	uint64_t chosen = rig->generation;
	rig_close(rig);
	simdisk_replace_with_snapshot(rig->sims[3], older);
	simsnapshot_free(older);
	open_all(rig, 15);
	struct member_status status = status_of(rig, 3);
	CHECK_EQ(status.state, back <= 1 ? MEMBER_IN_SYNC : MEMBER_OUT);
	CHECK(status.gap.present);
	CHECK_EQ(status.gap.from, older_tree);
	CHECK(status.gap.to == (back <= 1 ? chosen : GAP_OPEN));
	check_by_tags(rig);
	if (back > 1)
		CHECK_EQ(rig_check_all(rig, false), 0);
	CHECK_EQ(rig_begin(rig), 0);
	generation(rig, 30);
	rig_close(rig);
	/* The gap stands in the roots until it is closed. */
	open_all(rig, 15);
	CHECK(status_of(rig, 3).gap.present);
	CHECK_EQ(status_of(rig, 3).gap.from, older_tree);
	check_by_tags(rig);
	rig_free(rig);
}

/* What a lone member wrote and nobody acknowledged is passed over for good. */
static void test_passed_over(void)
{
	struct rig *rig = rig_new(40, 3, sizes);

	open_all(rig, 7);
	CHECK_EQ(rig_begin(rig), 0);
	generation(rig, 0);
	/* The power fails when one of them has the next root. */
	uint64_t generation_before = rig->generation;
	for (unsigned i = 1; i < 3; i++)
		simdisk_fault(rig->sims[i], &(struct simfault){ .kind = SIM_LOSE, .ops_mask = SIM_ON(DISK_WRITE) | SIM_ON(DISK_FLUSH) });
	CHECK_EQ(rig_commit(rig), 0);
	rig_close(rig);
	simworld_cut(rig->world, SIMCUT_DROP_ALL);
	for (unsigned i = 0; i < 3; i++)
		simdisk_clear_faults(rig->sims[i]);
	open_all(rig, 6);
	CHECK_EQ(array_root_header(rig->array)->generation, generation_before);
	CHECK_EQ(rig_begin(rig), 0);
	generation(rig, 10);
	rig_close(rig);
	open_all(rig, 7);
	CHECK_EQ(array_root_header(rig->array)->term, 2);
	CHECK(status_of(rig, 0).state == MEMBER_OUT || status_of(rig, 0).gap.present);
	check_by_tags(rig);
	rig_free(rig);
}

static void lose_all_but_the_first(struct rig *rig)
{
	for (unsigned i = 1; i < rig->count; i++)
		simdisk_fault(rig->sims[i], &(struct simfault){ .kind = SIM_LOSE, .ops_mask = SIM_ON(DISK_WRITE) | SIM_ON(DISK_FLUSH) });
}

/* The power fails when one member alone has the root of a step, and then that one is smaller than it was. */
static void test_step_on_a_shrunk_one(bool written_to_all)
{
	struct rig *rig = rig_new(45, 3, sizes);

	open_all(rig, 7);
	CHECK_EQ(rig_begin(rig), 0);
	generation(rig, 0);
	uint64_t generation_before = rig->generation;
	struct config *next = config_next(array_config(rig->array));
	REQUIRE(next);
	if (!written_to_all)
		lose_all_but_the_first(rig);
	CHECK_EQ(array_step_write(rig->array, next), 0);
	lose_all_but_the_first(rig);
	CHECK_EQ(array_step_take(rig->array, next, NULL), 0);
	CHECK_EQ(rig_commit(rig), 0);
	rig_close(rig);
	simworld_cut(rig->world, SIMCUT_DROP_ALL);
	for (unsigned i = 0; i < 3; i++)
		simdisk_clear_faults(rig->sims[i]);
	simdisk_resize(rig->sims[0], sizes[0] - BLOCK_BYTES);
	open_all(rig, 7);
	CHECK_EQ(array_root_header(rig->array)->generation, generation_before);
	CHECK_EQ(array_root_header(rig->array)->config_version, 1);
	CHECK_EQ(array_config(rig->array)->version, 1);
	CHECK_EQ(rig->events[EVENT_WARNING], 1);
	CHECK(strstr(rig->last_text[EVENT_WARNING], "is smaller than it was when it became a member, and is left out."));
	CHECK_EQ(status_of(rig, 0).state, MEMBER_OUT);
	CHECK_EQ(rig_begin(rig), 0);
	generation(rig, 10);
	rig_close(rig);
	/* No other one is left without that. */
	CHECK_EQ(rig_open(rig, 3), -ENODEV);
	CHECK(HAS(rig, "unreadable") && HAS(rig, "absent"));
	rig_free(rig);
}

/* A mount, cut at every write and flush, and opened again with all members, and with each one missing. */
static void test_cuts(enum simcut_policy policy)
{
	bool done = false;

	for (uint64_t cut = 0; !done; cut++) {
		struct rig *rig = rig_new(50, 3, sizes);
		uint64_t acknowledged;

		open_all(rig, 7);
		CHECK_EQ(rig_begin(rig), 0);
		generation(rig, 0);
		rig_close(rig);
		open_all(rig, 7);
		rig->world->cut_at_change = rig->world->changes + cut;
		uint32_t *committed = rig->versions;
		size_t bytes = array_config(rig->array)->band_count * rig->rows_max * sizeof *committed;
		uint32_t *kept = malloc(bytes);
		memcpy(kept, committed, bytes);
		int r = rig_begin(rig);
		acknowledged = r ? 0 : rig->generation;
		for (unsigned i = 0; i < 3 && !r; i++)
			r = rig_write(rig, array_config(rig->array)->bands[20 + i].id, 0, 1);
		if (!r)
			r = rig_commit(rig);
		done = !r;
		if (!r) {
			memcpy(kept, rig->versions, bytes);
			acknowledged = rig->generation;
		}
		memcpy(rig->versions, kept, bytes);
		free(kept);
		rig_close(rig);
		simworld_cut(rig->world, policy);
		for (unsigned missing = 0; missing < 4; missing++) {
			r = rig_open(rig, 7 & ~(missing ? 1u << (missing - 1) : 0));
			CHECK_EQ(r, 0);
			if (r) {
				fprintf(stderr, "cut at %llu, missing %u: %s\n", (unsigned long long)cut, missing, rig->fail.text);
				continue;
			}
			CHECK(array_root_header(rig->array)->generation >= acknowledged);
			CHECK_EQ(rig_check_all(rig, false), 0);
			rig_close(rig);
		}
		rig_free(rig);
		REQUIRE(cut < 200);
	}
}

/* Making an array over an older one, cut anywhere: the older one is whole, or nobody's. */
static void test_remake_cuts(void)
{
	bool done = false;
	unsigned whole = 0, gone = 0;

	for (uint64_t cut = 0; !done; cut++) {
		struct rig *rig = rig_new(70 + cut, 3, sizes);

		open_all(rig, 7);
		CHECK_EQ(rig_begin(rig), 0);
		generation(rig, 0);
		rig_close(rig);
		rig->world->cut_at_change = rig->world->changes + cut;
		done = !rig_remake(rig);
		simworld_cut(rig->world, SIMCUT_RANDOM);
		if (!rig_open(rig, 7)) {
			CHECK_EQ(rig_check_all(rig, false), 0);
			whole++;
		} else {
			CHECK(rig->fail.code == FAIL_NOT_MEMBER || rig->fail.code == FAIL_TOO_FEW);
			gone++;
		}
		rig_free(rig);
		REQUIRE(cut < 200);
	}
	CHECK(whole > 0 && gone > 0);
}

/* A promise or root that fails on one member costs that member; on two, the mount. */
static void test_failures_of_roots(void)
{
	struct rig *rig = rig_new(60, 4, sizes);

	open_all(rig, 15);
	simdisk_fault(rig->sims[2], &(struct simfault){ .kind = SIM_ERROR, .ops_mask = SIM_ON(DISK_WRITE), .times = 1 });
	CHECK_EQ(rig_begin(rig), 0);
	CHECK_EQ(status_of(rig, 2).state, MEMBER_OUT);
	CHECK_EQ(status_of(rig, 2).gap.from, 1);
	CHECK(strstr(rig->last_text[EVENT_MEMBER_DROPPED], "promise"));
	generation(rig, 0);
	rig_close(rig);
	open_all(rig, 15);
	CHECK_EQ(status_of(rig, 2).state, MEMBER_OUT);
	simdisk_fault(rig->sims[3], &(struct simfault){ .kind = SIM_ERROR, .ops_mask = SIM_ON(DISK_FLUSH), .times = 1 });
	CHECK_EQ(rig_begin(rig), -EIO);
	CHECK(array_read_only(rig->array));
	rig_close(rig);
	open_all(rig, 15);
	CHECK_EQ(rig_begin(rig), 0);
	CHECK_EQ(rig_check_all(rig, false), 0);

	/* A root that fails: durable on the others, the next one names it out. */
	CHECK_EQ(array_member_return(rig->array, 2, rig->generation + 1), 0);
	CHECK_EQ(rig_commit(rig), 0);
	CHECK_EQ(array_gap_close(rig->array, 2), 0);
	CHECK_EQ(array_flush(rig->array, rig->generation + 1), 0);
	uint64_t flushed = rig->generation + 1;
	simdisk_fault(rig->sims[0], &(struct simfault){ .kind = SIM_ERROR, .ops_mask = SIM_ON(DISK_WRITE), .times = 1 });
	CHECK_EQ(rig_commit(rig), 0);
	CHECK_EQ(status_of(rig, 0).state, MEMBER_OUT);
	CHECK_EQ(status_of(rig, 0).gap.from, flushed);
	CHECK(strstr(rig->last_text[EVENT_MEMBER_DROPPED], "root"));
	CHECK_EQ(rig_commit(rig), 0);
	struct root_header header;
	array_fill_root(rig->array, &header);
	CHECK_EQ(header.members[0].state, MEMBER_OUT);
	CHECK_EQ(header.members[1].state, MEMBER_IN_SYNC);
	CHECK_EQ(header.members[4].state, MEMBER_ABSENT);
	rig_free(rig);
}

int main(void)
{
	test_first_mount();
	test_read_only();
	test_texts();
	test_unlabelled();
	test_diverged();
	test_damaged();
	test_forged_root();
	test_probe();
	for (unsigned count = 3; count <= 5; count++)
		test_absent_and_back(count);
	for (unsigned back = 1; back <= 4; back++)
		test_silently_older(back);
	test_passed_over();
	test_step_on_a_shrunk_one(true);
	test_step_on_a_shrunk_one(false);
	test_cuts(SIMCUT_DROP_ALL);
	test_cuts(SIMCUT_KEEP_ALL);
	test_cuts(SIMCUT_RANDOM);
	test_remake_cuts();
	test_failures_of_roots();
	return CHECK_DONE();
}
