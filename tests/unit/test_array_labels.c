/* What a mount reads and writes beside rows and roots: label copies, and promises of terms. */
#include "tests/lib/array_rig.h"
#include "tests/unit/check.h"

#include <errno.h>
#include <string.h>

#define MIB (UINT64_C(1) << 20)
#define HAS(rig, part) (strstr((rig)->fail.text, part) || (fprintf(stderr, "text: %s\n", (rig)->fail.text), 0))

static const uint64_t sizes[3] = { 9 * MIB, 9 * MIB, 10 * MIB };

static void open_all(struct rig *rig, uint32_t members)
{
	int r = rig_open(rig, members);

	if (r)
		fprintf(stderr, "open: %s\n", rig->fail.text);
	REQUIRE(r == 0);
}

/* ---- Labels ---- */

static void test_labels(void)
{
	struct rig *rig = rig_new(9, 3, sizes);
	uint8_t before[LABEL_BYTES], after[LABEL_BYTES];
	struct label forged;

	/* One copy damaged on each of two members, and one that says something else, with no MAC, in a higher sequence. */
	simdisk_peek(rig->sims[0], label_copy_offset_bytes(0, sizes[0]), before, LABEL_BYTES);
	simdisk_flip(rig->sims[0], label_copy_offset_bytes(0, sizes[0]) + 3000, 1);
	simdisk_flip(rig->sims[1], label_copy_offset_bytes(2, sizes[1]) + 9, 1);
	REQUIRE(label_decode(before, &forged) == 0);
	forged.sequence = 100;
	forged.geometry.ring_offset_bytes += ROOT_BYTES;
	forged.geometry.ring_slots--;
	strcpy(forged.name, "forged");
	forged.member = rig->uuids[2];
	label_encode(&forged, after);
	simdisk_poke(rig->sims[2], label_copy_offset_bytes(1, sizes[2]), after, LABEL_BYTES);

	open_all(rig, 7);
	CHECK(!strcmp(array_label(rig->array)->name, "rig"));
	CHECK_EQ(rig->events[EVENT_LABEL_RESTORED], 0);
	CHECK_EQ(rig_begin(rig), 0);
	CHECK_EQ(rig->events[EVENT_LABEL_RESTORED], 3);
	rig_close(rig);
	simdisk_peek(rig->sims[0], label_copy_offset_bytes(0, sizes[0]), after, LABEL_BYTES);
	CHECK(!memcmp(before, after, LABEL_BYTES));
	for (unsigned i = 0; i < 3; i++) {
		for (unsigned copy = 0; copy < LABEL_COPIES; copy++) {
			struct label label;
			simdisk_peek(rig->sims[i], label_copy_offset_bytes(copy, sizes[i]), after, LABEL_BYTES);
			CHECK_EQ(label_decode(after, &label), 0);
			CHECK(rig->auth.label_ok(rig->auth.ctx, after));
			CHECK(uuid_equal(&label.member, &rig->uuids[i]));
		}
	}
	open_all(rig, 7);
	CHECK_EQ(rig_begin(rig), 0);
	CHECK_EQ(rig->events[EVENT_LABEL_RESTORED], 0);
	rig_close(rig);

	/* A member that a keyless rebuild made has a label without a MAC: it is completed, when it is asked for. */
	simdisk_peek(rig->sims[1], label_copy_offset_bytes(0, sizes[1]), after, LABEL_BYTES);
	REQUIRE(label_decode(after, &forged) == 0);
	memset(forged.mac, 0, sizeof forged.mac);
	label_encode(&forged, after);
	for (unsigned copy = 0; copy < LABEL_COPIES; copy++)
		simdisk_poke(rig->sims[1], label_copy_offset_bytes(copy, sizes[1]), after, LABEL_BYTES);
	open_all(rig, 7);
	CHECK_EQ(rig_begin(rig), 0);
	CHECK_EQ(rig->events[EVENT_LABEL_RESTORED], 0);
	CHECK_EQ(array_complete_labels(rig->array), 0);
	CHECK_EQ(rig->events[EVENT_LABEL_RESTORED], 3);
	rig_close(rig);

	/* With no genuine label anywhere there is nothing to go by. */
	for (unsigned i = 0; i < 3; i++)
		for (unsigned copy = 0; copy < LABEL_COPIES; copy++)
			simdisk_poke(rig->sims[i], label_copy_offset_bytes(copy, sizes[i]) + LABEL_BYTES - 8, "12345678", 8);
	CHECK_EQ(rig_open(rig, 7), -EINVAL);
	CHECK_EQ(rig->fail.code, FAIL_NOT_MEMBER);
	CHECK(HAS(rig, "damaged"));
	rig_free(rig);
}

/* The label was changed, and the power failed before a root named it: it counts, but is no source yet. */
static void test_label_not_named(void)
{
	struct rig *rig = rig_new(11, 3, sizes);
	uint8_t bytes[LABEL_BYTES];
	struct root_header header;
	struct label label;

	for (unsigned i = 0; i < 3; i++) {
		for (unsigned copy = 0; copy < LABEL_COPIES; copy++) {
			simdisk_peek(rig->sims[i], label_copy_offset_bytes(copy, sizes[i]), bytes, LABEL_BYTES);
			REQUIRE(label_decode(bytes, &label) == 0);
			bool forged = i == 1 && copy == 1;
			label.sequence = forged ? 3 : 2;
			label_encode(&label, bytes);
			if (!forged)
				rig->auth.label_mac(rig->auth.ctx, bytes);
			simdisk_poke(rig->sims[i], label_copy_offset_bytes(copy, sizes[i]), bytes, LABEL_BYTES);
		}
	}
	open_all(rig, 7);
	CHECK_EQ(array_label(rig->array)->sequence, 2);
	CHECK_EQ(rig_begin(rig), 0);
	CHECK_EQ(rig->events[EVENT_LABEL_RESTORED], 0);
	array_fill_root(rig->array, &header);
	CHECK_EQ(header.label_sequence, 2);
	rig_close(rig);
	open_all(rig, 7);
	CHECK_EQ(rig_begin(rig), 0);
	CHECK_EQ(rig->events[EVENT_LABEL_RESTORED], 1);
	rig_free(rig);
}

/* ---- Promises ---- */

static uint64_t term_now(struct rig *rig)
{
	struct root_header header;

	array_fill_root(rig->array, &header);
	return header.term;
}

static uint64_t promised(struct rig *rig, unsigned member, unsigned slot, const struct geometry *g)
{
	uint8_t bytes[PROMISE_BYTES];
	struct promise promise;

	simdisk_peek(rig->sims[member], g->promise_offset_bytes + slot * PROMISE_BYTES, bytes, PROMISE_BYTES);
	return promise_decode(bytes, &promise) ? 0 : promise.term;
}

/* A term that was promised is never taken again, though no root has it; the higher slot survives. */
static void test_promises(void)
{
	struct rig *rig = rig_new(12, 3, sizes);
	struct geometry g;
	uint8_t bytes[PROMISE_BYTES];

	for (unsigned term = 1; term <= 5; term++) {
		open_all(rig, 7);
		g = array_config(rig->array)->geometry;
		CHECK_EQ(array_take_term(rig->array), 0);
		CHECK_EQ(term_now(rig), term);
		rig_close(rig);
		for (unsigned i = 0; i < 3; i++) {
			CHECK_EQ(promised(rig, i, (term - 1) % 2, &g), term);
			CHECK_EQ(promised(rig, i, term % 2, &g), term - 1);
		}
	}
	/* The highest of any present member counts. */
	open_all(rig, 3);
	CHECK_EQ(array_take_term(rig->array), 0);
	CHECK_EQ(term_now(rig), 6);
	rig_close(rig);
	open_all(rig, 6);
	CHECK_EQ(array_take_term(rig->array), 0);
	CHECK_EQ(term_now(rig), 7);
	rig_close(rig);
	/* A forged one counts for nothing, and its slot is the first to be used. */
	promise_encode(&(struct promise){ .array = rig->uuid, .term = 1000 }, bytes);
	simdisk_poke(rig->sims[1], g.promise_offset_bytes, bytes, PROMISE_BYTES);
	open_all(rig, 7);
	CHECK_EQ(array_take_term(rig->array), 0);
	CHECK_EQ(term_now(rig), 8);
	CHECK_EQ(promised(rig, 1, 0, &g), 8);
	rig_free(rig);
}

int main(void)
{
	test_labels();
	test_label_not_named();
	test_promises();
	return CHECK_DONE();
}
