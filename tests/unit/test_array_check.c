/* What fsck does below the trees: labels, configuration slots, promises and rings of members, and the list of roots. */
#include "tests/lib/array_rig.h"
#include "tests/unit/check.h"

#include <errno.h>
#include <string.h>

#define MIB (UINT64_C(1) << 20)
#define ROOTS_ROOM 64u

static const uint64_t sizes[3] = { 9 * MIB, 9 * MIB, 10 * MIB };

/* What the last check said. */
static struct {
	unsigned count[ARRAY_NOTE_LEFT + 1];
	char text[8192];
} said;

static void note(void *ctx, enum array_note kind, const char *text)
{
	size_t used = strlen(said.text);

	(void)ctx;
	said.count[kind]++;
	snprintf(said.text + used, sizeof said.text - used, "%s\n", text);
}

static struct array_check_result check(struct rig *rig, bool repair)
{
	struct array_check options = { .repair = repair, .note = note };
	struct array_check_result result = { 0 };

	memset(&said, 0, sizeof said);
	CHECK_EQ(array_check_members(rig->array, &options, &result), 0);
	CHECK_EQ(result.found, said.count[ARRAY_NOTE_FOUND]);
	CHECK_EQ(result.fixed, said.count[ARRAY_NOTE_FIXED]);
	return result;
}

static void says(const char *part)
{
	if (!strstr(said.text, part)) {
		fprintf(stderr, "expected: %s\nsaid:\n%s", part, said.text);
		CHECK(!"said");
	}
}

static void open_all(struct rig *rig, uint32_t members)
{
	int r = rig_open(rig, members);

	if (r)
		fprintf(stderr, "open: %s\n", rig->fail.text);
	REQUIRE(r == 0);
}

static struct rig *rig_with_roots(uint64_t seed, unsigned commits, struct geometry *ret_geometry)
{
	struct rig *rig = rig_new(seed, 3, sizes);

	open_all(rig, 7);
	*ret_geometry = array_config(rig->array)->geometry;
	REQUIRE(rig_begin(rig) == 0);
	for (unsigned i = 0; i < commits; i++) {
		REQUIRE(rig_write(rig, array_config(rig->array)->bands[i].id, 0, 1) == 0);
		REQUIRE(rig_commit(rig) == 0);
	}
	rig_close(rig);
	return rig;
}

static uint64_t writes(struct rig *rig)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < rig->count; i++)
		sum += simdisk_stats(rig->sims[i]).writes;
	return sum;
}

static uint64_t config_slot(const struct geometry *g, unsigned slot)
{
	return g->config_offset_bytes + slot * (uint64_t)g->config_slot_bytes;
}

/* Each kind of damage is found, named, mended by a repair alone, and then gone. */
static void test_repair(void)
{
	struct geometry g;
	struct rig *rig = rig_with_roots(1, 2, &g);
	uint8_t label[LABEL_BYTES], after[LABEL_BYTES], zeros[LABEL_BYTES] = { 0 };

	open_all(rig, 7);
	struct array_check_result result = check(rig, false);
	CHECK_EQ(result.found + result.left, 0);
	CHECK_EQ(said.count[ARRAY_NOTE_INFO], 0);
	rig_close(rig);

	simdisk_peek(rig->sims[0], label_copy_offset_bytes(0, sizes[0]), label, LABEL_BYTES);
	simdisk_flip(rig->sims[0], label_copy_offset_bytes(0, sizes[0]) + 3000, 1);
	simdisk_poke(rig->sims[1], label_copy_offset_bytes(2, sizes[1]), zeros, LABEL_BYTES);
	simdisk_poke(rig->sims[2], label_copy_offset_bytes(1, sizes[2]), label, LABEL_BYTES);
	simdisk_flip(rig->sims[1], config_slot(&g, 1) + 200, 1);
	simdisk_flip(rig->sims[2], config_slot(&g, 0) + 200, 1);
	open_all(rig, 7);
	uint64_t before = writes(rig);
	for (unsigned pass = 0; pass < 2; pass++) {
		result = check(rig, pass == 1);
		CHECK_EQ(result.found, 4);
		CHECK_EQ(result.fixed, pass == 1 ? 4 : 0);
		CHECK_EQ(result.left, pass == 1 ? 0 : 4);
		says("sim0: copy 1 of its label is damaged.");
		says("sim1: copy 3 of its label is not there (overwritten).");
		says("sim2: copy 2 of its label is of another member.");
		says("sim1: its slot of configuration 1 does not hold the one that the newest root names.");
		says("sim2: its other configuration slot holds nothing that can be used");
		CHECK_EQ(writes(rig) - before, pass == 1 ? 4 : 0);
	}
	says("sim0: copy 1 of its label was made again.");
	says("sim1: its configuration slot was made again.");
	CHECK_EQ(check(rig, true).found, 0);
	CHECK_EQ(writes(rig) - before, 4);
	/* The array goes on from there, and finds nothing left to restore. */
	CHECK_EQ(rig_begin(rig), 0);
	CHECK_EQ(rig->events[EVENT_LABEL_RESTORED], 0);
	rig_close(rig);
	simdisk_peek(rig->sims[0], label_copy_offset_bytes(0, sizes[0]), after, LABEL_BYTES);
	CHECK(!memcmp(label, after, LABEL_BYTES));
	open_all(rig, 1 | 2);
	CHECK_EQ(check(rig, false).found, 0);
	rig_free(rig);
}

/* A forged label of a higher sequence is never a source; what no root names is none either. */
static void test_sources(void)
{
	struct geometry g;
	struct rig *rig = rig_with_roots(2, 1, &g);
	uint8_t bytes[LABEL_BYTES], read_back[LABEL_BYTES];
	struct label label;

	simdisk_peek(rig->sims[2], label_copy_offset_bytes(1, sizes[2]), bytes, LABEL_BYTES);
	REQUIRE(label_decode(bytes, &label) == 0);
	label.sequence = 9;
	label.slots[5] ^= 1;
	label_encode(&label, bytes);
	simdisk_poke(rig->sims[2], label_copy_offset_bytes(1, sizes[2]), bytes, LABEL_BYTES);
	open_all(rig, 7);
	CHECK_EQ(check(rig, true).fixed, 1);
	says("sim2: copy 2 of its label was not made with this array's key.");
	CHECK_EQ(check(rig, true).found, 0);
	rig_close(rig);

	/* All copies but one are a newer, genuine label, which no root names yet. */
	label.slots[5] ^= 1;
	label.sequence = 2;
	for (unsigned i = 0; i < 3; i++) {
		for (unsigned copy = 0; copy < LABEL_COPIES; copy++) {
			label.member = rig->uuids[i];
			label_encode(&label, bytes);
			rig->auth.label_mac(rig->auth.ctx, bytes);
			if (i == 1 && copy == 0)
				bytes[77] ^= 4;
			simdisk_poke(rig->sims[i], label_copy_offset_bytes(copy, sizes[i]), bytes, LABEL_BYTES);
		}
	}
	open_all(rig, 7);
	struct array_check_result result = check(rig, true);
	CHECK_EQ(result.found, 1);
	CHECK_EQ(result.left, 1);
	says("sim1: copy 1 of its label is left as it is");
	simdisk_peek(rig->sims[1], label_copy_offset_bytes(0, sizes[1]), read_back, LABEL_BYTES);
	CHECK(label_decode(read_back, &label) == -EBADMSG);
	rig_free(rig);
}

/* Torn promises and roots are worth saying and nothing more; a ring that is gone is told. */
static void test_information(void)
{
	struct geometry g;
	struct rig *rig = rig_with_roots(3, 3, &g);
	uint8_t zeros[ROOT_BYTES] = { 0 };

	simdisk_flip(rig->sims[0], g.promise_offset_bytes + 70, 1);
	simdisk_flip(rig->sims[1], g.ring_offset_bytes + 1 * ROOT_BYTES + 3000, 1);
	for (unsigned i = 0; i < g.ring_slots; i++)
		simdisk_poke(rig->sims[2], g.ring_offset_bytes + i * (uint64_t)ROOT_BYTES, zeros, ROOT_BYTES);
	open_all(rig, 7);
	uint64_t before = writes(rig);
	struct array_check_result result = check(rig, true);
	CHECK_EQ(result.found, 0);
	CHECK_EQ(said.count[ARRAY_NOTE_INFO], 3);
	says("sim0: promise slot 1 holds nothing that verifies");
	says("sim1: 1 of the slots of its root ring holds nothing that verifies");
	says("sim2: its root ring is empty");
	CHECK_EQ(writes(rig), before);
	rig_free(rig);
}

/* A member that takes no writes is dropped, the rest is mended; read-only refuses to repair. */
static void test_failures(void)
{
	struct geometry g;
	struct rig *rig = rig_with_roots(4, 1, &g);
	struct array_check options = { .repair = true };
	struct array_check_result result;

	simdisk_flip(rig->sims[0], label_copy_offset_bytes(0, sizes[0]) + 3000, 1);
	simdisk_flip(rig->sims[0], config_slot(&g, 1) + 200, 1);
	simdisk_flip(rig->sims[1], label_copy_offset_bytes(0, sizes[1]) + 3000, 1);
	REQUIRE(rig_open_mode(rig, 7, true) == 0);
	CHECK_EQ(array_check_members(rig->array, &options, &result), -EROFS);
	rig_close(rig);
	open_all(rig, 7);
	struct simfault fault = { .kind = SIM_ERROR, .ops_mask = SIM_ON(DISK_WRITE) };
	simdisk_fault(rig->sims[0], &fault);
	result = check(rig, true);
	CHECK_EQ(result.found, 3);
	CHECK_EQ(result.fixed, 1);
	CHECK_EQ(result.left, 2);
	says("sim0: copy 1 of its label could not be written");
	says("sim1: copy 1 of its label was made again.");
	CHECK_EQ(simdisk_fault_hits(rig->sims[0], 0), 1);
	CHECK_EQ(rig->events[EVENT_MEMBER_DROPPED], 1);
	CHECK(!array_read_only(rig->array));
	rig_free(rig);

	/* A write that is acknowledged and lost is noticed. */
	rig = rig_with_roots(5, 1, &g);
	simdisk_flip(rig->sims[2], label_copy_offset_bytes(1, sizes[2]) + 3000, 1);
	open_all(rig, 7);
	fault.kind = SIM_LOSE;
	simdisk_fault(rig->sims[2], &fault);
	result = check(rig, true);
	CHECK_EQ(result.left, 1);
	says("sim2: copy 2 of its label was written, and reads otherwise. Replace the disk.");
	rig_free(rig);
}

static void test_roots(void)
{
	struct geometry g;
	struct rig *rig = rig_with_roots(6, 5, &g);
	static struct array_root roots[ROOTS_ROOM];
	uint8_t record[ROOT_BYTES], before[ROOT_BYTES];
	struct root_header header;
	unsigned count;

	/* Roots 1 (mkfs), 2 (opening), 3 … 7; disk1 misses the last one, disk2 was away for the last two. */
	open_all(rig, 7);
	REQUIRE(array_list_roots(rig->array, roots, ROOTS_ROOM, &count) == 0);
	CHECK_EQ(count, 7);
	for (unsigned i = 0; i < count; i++) {
		CHECK_EQ(roots[i].generation, 7 - i);
		CHECK_EQ(roots[i].term, i == 6 ? 0 : 1);
		CHECK_EQ(roots[i].members, 7);
	}
	CHECK_EQ(array_root_of(rig->array, 7, record), 0);
	CHECK(!memcmp(record, array_root_record(rig->array), ROOT_BYTES));
	CHECK_EQ(array_root_of(rig->array, 8, record), -ENOENT);
	CHECK_EQ(array_root_of(rig->array, 0, record), -ENOENT);
	rig_close(rig);

	simdisk_flip(rig->sims[1], g.ring_offset_bytes + 7 % g.ring_slots * ROOT_BYTES + 4000, 1);
	simdisk_peek(rig->sims[2], g.ring_offset_bytes + 7 % g.ring_slots * ROOT_BYTES, before, ROOT_BYTES);
	open_all(rig, 1 | 2);
	REQUIRE(array_list_roots(rig->array, roots, 3, &count) == 0);
	CHECK_EQ(count, 3);
	CHECK_EQ(roots[0].generation, 7);
	CHECK_EQ(roots[0].members, 1);
	CHECK_EQ(roots[1].members, 3);
	CHECK_EQ(roots[2].generation, 5);
	/* A root that was passed over: the same generation in a higher term. */
	rig_close(rig);
	open_all(rig, 2 | 4);
	rig->generation = 6;
	REQUIRE(rig_begin(rig) == 0);
	rig_close(rig);
	open_all(rig, 7);
	REQUIRE(array_list_roots(rig->array, roots, ROOTS_ROOM, &count) == 0);
	CHECK_EQ(count, 8);
	CHECK_EQ(roots[0].generation, 7);
	CHECK_EQ(roots[0].term, 2);
	CHECK_EQ(roots[0].members, 6);
	CHECK_EQ(roots[1].generation, 7);
	CHECK_EQ(roots[1].term, 1);
	CHECK_EQ(roots[1].members, 1);
	REQUIRE(array_root_of(rig->array, 7, record) == 0);
	REQUIRE(root_header_decode(record, &header) == 0);
	CHECK_EQ(header.term, 2);
	/* Nothing that does not verify is ever handed out. */
	rig_close(rig);
	for (unsigned i = 0; i < 3; i++)
		simdisk_flip(rig->sims[i], g.ring_offset_bytes + 5 % g.ring_slots * ROOT_BYTES + 3500, 2);
	open_all(rig, 7);
	CHECK_EQ(array_root_of(rig->array, 5, record), -ENOENT);
	CHECK_EQ(array_root_of(rig->array, 4, record), 0);
	rig_free(rig);
}

int main(void)
{
	test_repair();
	test_sources();
	test_information();
	test_failures();
	test_roots();
	return CHECK_DONE();
}
