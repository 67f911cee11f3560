/* Keyless rebuild: what it makes, byte for byte, also when things fail, and at each instant at which the power may. */
#include "raid/format.h"
#include "tests/unit/keyless.h"

/* What belongs to a member beside its rows: promises, configurations, the newest root, no log, label without a MAC. */
static void check_structures(struct rig *rig, unsigned missing, struct simdisk *target, const struct geometry *g)
{
	struct simdisk *like = rig->sims[missing ? 0 : 1];
	size_t slots_bytes = CONFIG_SLOTS * (size_t)g->config_slot_bytes;
	uint8_t *a = malloc(slots_bytes), *b = malloc(slots_bytes), zeros[LABEL_BYTES] = { 0 }, first[LABEL_BYTES];
	uint64_t newest = rig->generation % g->ring_slots;
	struct label label;

	REQUIRE(a && b);
	simdisk_peek(like, g->promise_offset_bytes, a, PROMISE_SLOTS * PROMISE_BYTES);
	simdisk_peek(target, g->promise_offset_bytes, b, PROMISE_SLOTS * PROMISE_BYTES);
	CHECK(!memcmp(a, b, PROMISE_SLOTS * PROMISE_BYTES));
	simdisk_peek(like, g->config_offset_bytes, a, slots_bytes);
	simdisk_peek(target, g->config_offset_bytes, b, slots_bytes);
	CHECK(!memcmp(a, b, slots_bytes));
	for (unsigned i = 0; i < g->ring_slots; i++) {
		simdisk_peek(like, g->ring_offset_bytes + i * ROOT_BYTES, a, ROOT_BYTES);
		simdisk_peek(target, g->ring_offset_bytes + i * ROOT_BYTES, b, ROOT_BYTES);
		CHECK(!memcmp(i == newest ? a : zeros, b, ROOT_BYTES));
	}
	for (uint64_t at = 0; at < g->log_bytes; at += ROOT_BYTES) {
		simdisk_peek(target, g->log_offset_bytes + at, a, ROOT_BYTES);
		CHECK(!memcmp(a, zeros, ROOT_BYTES));
	}
	simdisk_peek(target, 0, a, LABEL_BYTES);
	CHECK(!memcmp(a, zeros, LABEL_BYTES));
	simdisk_peek(like, label_copy_offset_bytes(0, like->current.size_bytes), first, LABEL_BYTES);
	for (unsigned copy = 0; copy < LABEL_COPIES; copy++) {
		simdisk_peek(target, label_copy_offset_bytes(copy, target->current.size_bytes), b, LABEL_BYTES);
		CHECK_EQ(label_decode(b, &label), 0);
		CHECK(!memcmp(b, first, LABEL_COMMON_BYTES));
		CHECK(!memcmp(label.mac, zeros, LABEL_MAC_BYTES));
		CHECK(uuid_equal(&label.member, &rig->uuids[missing]));
	}
	free(a);
	free(b);
}

/* The array with its new member: whole, without any one member, and after more has been written. */
static void check_history(struct rig *rig, unsigned missing)
{
	open_with(rig, ALL(rig->count));
	CHECK_EQ(array_keyless(rig->array), UINT32_C(1) << missing);
	for (unsigned i = 0; i < rig->count; i++) {
		struct member_status status;
		array_member_status(rig->array, i, &status);
		CHECK_EQ(status.state, MEMBER_IN_SYNC);
		CHECK(!status.gap.present);
	}
	CHECK_EQ(rig_check_all(rig, false), 0);
	CHECK_EQ(rig_check_all(rig, true), 0);
	rig_close(rig);
	for (unsigned absent = 0; absent < rig->count; absent++) {
		open_with(rig, ALL(rig->count) & ~(UINT32_C(1) << absent));
		CHECK_EQ(rig_check_all(rig, false), 0);
		rig_close(rig);
	}
	open_with(rig, ALL(rig->count));
	CHECK_EQ(rig_begin(rig), 0);
	CHECK_EQ(array_keyless(rig->array), UINT32_C(1) << missing);
	CHECK_EQ(rig->events[EVENT_LABEL_RESTORED], 0);
	write_some(rig, 2);
	CHECK_EQ(array_complete_labels(rig->array), 0);
	CHECK_EQ(array_keyless(rig->array), 0);
	CHECK_EQ(rig->events[EVENT_LABEL_RESTORED], LABEL_COPIES);
	CHECK(strstr(rig->last_text[EVENT_LABEL_RESTORED], "without a key"));
	rig_close(rig);
	for (unsigned absent = 0; absent < rig->count; absent++) {
		open_with(rig, ALL(rig->count) & ~(UINT32_C(1) << absent));
		CHECK_EQ(array_keyless(rig->array), 0);
		CHECK_EQ(rig_check_all(rig, false), 0);
		rig_close(rig);
	}
}

static void test_made_again(void)
{
	for (unsigned count = 3; count <= 5; count++)
		for (unsigned missing = 0; missing < count; missing++) {
			struct rig *rig = make(100 + count * 10 + missing, count);
			/* As large as it was, or larger. */
			struct simdisk *target = new_target(rig, sizes[missing] + (missing % 2 ? 3 * MIB + 4096 : 0));
			CHECK_EQ(rebuild(rig, missing, target), 0);
			open_with(rig, ALL(count) & ~(UINT32_C(1) << missing));
			CHECK_EQ(simkeyless_compare(array_config(rig->array), missing, rig->sims, target), 0);
			struct geometry g = array_config(rig->array)->geometry;
			rig_close(rig);
			check_structures(rig, missing, target, &g);
			rig->sims[missing] = target;
			check_history(rig, missing);
			rig_free(rig);
		}
}

/* The usual case: the array went on without it, and its newest root names it out.  It returns as any other. */
static void test_was_out(void)
{
	struct rig *rig = make(20, 4);
	struct simdisk *target = new_target(rig, sizes[2]);
	struct member_status status;

	open_with(rig, 11);
	CHECK_EQ(rig_begin(rig), 0);
	write_some(rig, 2);
	rig_close(rig);
	CHECK_EQ(rebuild(rig, 2, target), 0);
	open_with(rig, 11);
	CHECK_EQ(simkeyless_compare(array_config(rig->array), 2, rig->sims, target), 0);
	rig_close(rig);
	rig->sims[2] = target;
	open_with(rig, 15);
	array_member_status(rig->array, 2, &status);
	CHECK_EQ(status.state, MEMBER_OUT);
	CHECK(status.gap.from > 0);              /* not from the beginning: what it vouches for counts */
	CHECK_EQ(rig_begin(rig), 0);
	CHECK_EQ(array_member_return(rig->array, 2, rig->generation + 1), 0);
	write_some(rig, 1);
	CHECK_EQ(array_complete_labels(rig->array), 0);
	CHECK_EQ(array_gap_close(rig->array, 2), 0);
	CHECK_EQ(rig_commit(rig), 0);
	rig_close(rig);
	for (unsigned absent = 0; absent < 4; absent++) {
		open_with(rig, 15u & ~(1u << absent));
		CHECK_EQ(rig_check_all(rig, false), 0);
		rig_close(rig);
	}
	rig_free(rig);
}

/* ---- The copying by itself: runs of all lengths, mirrors, bands without the member ---- */

static void test_runs(void)
{
	struct column columns[] = { { 0, 0 }, { 1, 0 }, { 2, 0 },   { 3, 0 }, { 1, 2 },   { 0, 3 }, { 2, 3 },
		{ 3, 1 }, { 0, 9 }, { 1, 9 }, { 2, 9 } };
	struct band bands[] = {
		{ .id = 1, .width = 3, .granules = 2, .rows = 258, .columns = columns },
		{ .id = 2, .width = 2, .granules = 1, .rows = 129, .columns = columns + 3 },
		{ .id = 5, .width = 2, .granules = 3, .rows = 387, .columns = columns + 5 },
		{ .id = 7, .width = 4, .granules = 1, .rows = 129, .columns = columns + 7 },
	};
	/* 129 rows to a granule: none that a configuration can have, so that runs end in the middle. */
	struct config config = { .geometry = { .data_offset_bytes = 64 * 1024, .granule_bytes = 129 * UNIT_BYTES }, .member_count = 4,
		.band_count = 4, .bands = bands };
	struct simworld *world = simworld_new(5);
	struct simdisk *sims[4], *target = simworld_add(world, 24 * MIB);
	uint8_t unit[UNIT_BYTES];

	for (unsigned i = 0; i < 4; i++) {
		sims[i] = simworld_add(world, 24 * MIB);
		for (uint64_t at = 0; at < 24 * MIB; at += UNIT_BYTES) {
			for (size_t k = 0; k < UNIT_BYTES; k += BLOCK_BYTES)
				memset(unit + k, (int)(simworld_random(world) >> 9), BLOCK_BYTES);
			memcpy(unit + simworld_random(world) % (UNIT_BYTES / 8) * 8, &(uint64_t){ simworld_random(world) }, 8);
			simdisk_poke(sims[i], at, unit, UNIT_BYTES);
		}
	}
	for (unsigned member = 0; member < 4; member++) {
		struct keyless_plan plan = { .member = member, .config = &config };
		struct keyless_options options = { 0 };
		struct disk *disk = simdisk_open(target);
		struct simstats before = simdisk_stats(target);
		for (unsigned i = 0; i < 4; i++)
			plan.sources[i] = i == member ? NULL : simdisk_open(sims[i]);
		CHECK_EQ(keyless_copy(&plan, disk, &options, &fail), 0);
		CHECK_EQ(simkeyless_compare(&config, member, sims, target), 0);
		uint64_t rows = 0;
		for (unsigned b = 0; b < 4; b++)
			for (unsigned c = 0; c < bands[b].width; c++)
				rows += bands[b].columns[c].member == member ? bands[b].rows : 0;
		CHECK_EQ(simdisk_stats(target).written_bytes - before.written_bytes, rows * UNIT_BYTES);
		for (unsigned i = 0; i < 4; i++)
			disk_close(plan.sources[i]);
		disk_close(disk);
	}
	simworld_free(world);
}

/* ---- The power fails ---- */

struct cuts {
	struct rig *rig;
	unsigned missing;
	struct simdisk *target;
	const struct config *config;
	bool was_member;                 /* the target holds what the missing member held */
	unsigned none, old, complete;
	uint64_t salt;                   /* cuts differ in what they keep */
};

/* The world after a cut: a target that says that it is a member is one and has everything, or it is what it was. */
static void judge(struct cuts *cuts, struct simworld *world)
{
	struct simdisk *target = world->disks[cuts->target->index], *sims[MEMBERS_MAX];
	uint8_t record[ROOT_BYTES], like[ROOT_BYTES];
	const struct geometry *g = &cuts->config->geometry;
	struct label label;

	if (!simkeyless_labelled(target, &label)) {
		cuts->none++;
		return;
	}
	CHECK(uuid_equal(&label.member, &cuts->rig->uuids[cuts->missing]));
	for (unsigned i = 0; i < cuts->rig->count; i++)
		sims[i] = world->disks[cuts->rig->sims[i]->index];
	if (cuts->was_member && !bytes_are_zero(label.mac, sizeof label.mac)) {
		/* Nothing but copies of its label may have gone. */
		uint8_t bytes[LABEL_BYTES], was[LABEL_BYTES];
		struct simdisk *old = world->disks[cuts->rig->sims[cuts->missing]->index];
		for (uint64_t at = 0; at < target->current.size_bytes; at += LABEL_BYTES) {
			bool copy = at == LABEL_BYTES || at == MIB || at == label_copy_offset_bytes(2, target->current.size_bytes);
			simdisk_peek(target, at, bytes, LABEL_BYTES);
			simdisk_peek(old, at, was, LABEL_BYTES);
			CHECK(copy || !memcmp(bytes, was, LABEL_BYTES));
		}
		cuts->old++;
		return;
	}
	CHECK_EQ(simkeyless_compare(cuts->config, cuts->missing, sims, target), 0);
	simdisk_peek(target, g->ring_offset_bytes + cuts->rig->generation % g->ring_slots * ROOT_BYTES, record, ROOT_BYTES);
	simdisk_peek(sims[cuts->missing ? 0 : 1], g->ring_offset_bytes + cuts->rig->generation % g->ring_slots * ROOT_BYTES, like, ROOT_BYTES);
	CHECK(!memcmp(record, like, ROOT_BYTES));
	for (uint64_t at = g->promise_offset_bytes; at < g->ring_offset_bytes; at += ROOT_BYTES) {
		simdisk_peek(target, at, record, ROOT_BYTES);
		simdisk_peek(sims[cuts->missing ? 0 : 1], at, like, ROOT_BYTES);
		CHECK(!memcmp(record, like, ROOT_BYTES));
	}
	cuts->complete++;
}

static void on_cut(void *ctx, struct simworld *world)
{
	static const enum simcut_policy policies[] = { SIMCUT_RANDOM, SIMCUT_KEEP_ALL, SIMCUT_DROP_ALL };
	struct cuts *cuts = ctx;
	/* In the long run of rows one cut is as the other. */
	bool thorough = world->disks[cuts->target->index]->unflushed_count < 40 || cuts->none % 16 == 0;

	for (unsigned i = 0; i < (thorough ? 3 : 1); i++) {
		/* The lock of the world that was cloned is held, but not that of the clone. */
		struct simworld *clone = simworld_clone(world);
		clone->random_state += ++cuts->salt * UINT64_C(0x9e3779b97f4a7c15);
		simworld_cut(clone, policies[i]);
		judge(cuts, clone);
		simworld_free(clone);
	}
	simworld_free(world);
}

static void cut_everywhere(unsigned count, unsigned missing, bool onto_old)
{
	struct rig *rig = make(40 + count, count);
	struct simdisk *target = new_target(rig, sizes[missing]);
	struct cuts cuts = { .rig = rig, .missing = missing, .target = target, .was_member = onto_old };

	if (onto_old) {
		struct simstore *old = simdisk_snapshot(rig->sims[missing]);
		simdisk_replace_with_snapshot(target, old);
		simsnapshot_free(old);
		CHECK_EQ(rebuild(rig, missing, target), -EEXIST);
		CHECK_EQ(fail.code, FAIL_SIGNATURE);
		CHECK(SAYS("the missing member itself"));
		/* The others go on without it. */
		open_with(rig, ALL(count) & ~(UINT32_C(1) << missing));
		CHECK_EQ(rig_begin(rig), 0);
		write_some(rig, 2);
		rig_close(rig);
	}
	open_with(rig, ALL(count) & ~(UINT32_C(1) << missing));
	uint8_t *bytes;
	size_t length_bytes;
	struct config *config;
	REQUIRE(!config_encode(array_config(rig->array), (void **)&bytes, &length_bytes) && !config_decode(bytes, length_bytes, &config));
	free(bytes);
	rig_close(rig);
	cuts.config = config;
	rig->world->on_cut = on_cut;
	rig->world->on_cut_ctx = &cuts;
	CHECK_EQ(rebuild_from(rig, missing, target, onto_old, NULL), 0);
	rig->world->on_cut = NULL;
	CHECK(cuts.none > 50);
	CHECK(!onto_old || cuts.old > 0);
	CHECK(cuts.complete > 0);
	CHECK_EQ(simkeyless_compare(config, missing, rig->sims, target), 0);
	config_free(config);
	rig_free(rig);
}

/* ---- Failures while it runs ---- */

static bool stop_in_the_middle(void *ctx, uint64_t done_bytes, uint64_t total_bytes)
{
	unsigned *calls = ctx;

	CHECK(done_bytes <= total_bytes);
	++*calls;
	return done_bytes < total_bytes / 2;
}

static void test_failures(void)
{
	struct rig *rig = make(70, 4);
	struct simdisk *target = new_target(rig, sizes[1]);
	struct keyless_options quick = { .io_timeout_ms = 50 };
	struct label label;
	unsigned calls = 0;

	open_with(rig, 15);
	struct geometry g = array_config(rig->array)->geometry;
	rig_close(rig);
	uint64_t place = g.data_offset_bytes + 100 * UNIT_BYTES;
	/* A place that reads only on the second try costs nothing. */
	simdisk_fault(rig->sims[2], &(struct simfault){ .kind = SIM_ERROR, .ops_mask = SIM_ON(DISK_READ), .from_bytes = place,
		.to_bytes = place + 4096, .times = 1 });
	CHECK_EQ(rebuild(rig, 1, target), 0);
	simdisk_clear_faults(rig->sims[2]);
	/* One that never does ends it, and is named. */
	simdisk_fault(rig->sims[2], &(struct simfault){ .kind = SIM_BAD_SECTORS, .ops_mask = SIM_ON(DISK_READ), .from_bytes = place,
		.to_bytes = place + 4096 });
	CHECK_EQ(rebuild_from(rig, 1, target, true, NULL), -EIO);
	char text[64];
	snprintf(text, sizeof text, "cannot be read at byte %llu", (unsigned long long)place);
	CHECK(SAYS(text));
	CHECK(SAYS("no member yet"));
	CHECK(!simkeyless_labelled(target, &label));
	simdisk_clear_faults(rig->sims[2]);
	simdisk_fault(rig->sims[3], &(struct simfault){ .kind = SIM_HANG, .ops_mask = SIM_ON(DISK_READ), .from_bytes = place,
		.to_bytes = place + 4096 });
	CHECK_EQ(rebuild_from(rig, 1, target, true, &quick), -ETIMEDOUT);
	CHECK(SAYS("did not answer in time"));
	CHECK(!simkeyless_labelled(target, &label));
	simdisk_clear_faults(rig->sims[3]);
	simdisk_return_hung(rig->sims[3], true);
	/* Stopped. */
	CHECK_EQ(rebuild_from(rig, 1, target, true, &(struct keyless_options){ .progress = stop_in_the_middle, .ctx = &calls }), -ECANCELED);
	CHECK(calls > 10);
	CHECK(!simkeyless_labelled(target, &label));
	/* Each write and flush of the target fails once: no member, unless it is complete. */
	open_with(rig, 13);
	unsigned complete = 0, failed = 0;
	for (uint64_t op = 0;; op += 1 + op / 40) {
		simdisk_fault(target, &(struct simfault){ .kind = op % 2 ? SIM_ERROR : SIM_ERROR_LANDS,
			.ops_mask = SIM_ON(DISK_WRITE) | SIM_ON(DISK_FLUSH), .from_op = rig->world->ops + op, .times = 1 });
		int r = rebuild_from(rig, 1, target, true, NULL);
		simdisk_clear_faults(target);
		if (simkeyless_labelled(target, &label)) {
			complete++;
			CHECK_EQ(simkeyless_compare(array_config(rig->array), 1, rig->sims, target), 0);
		}
		if (!r)
			break;
		CHECK_EQ(r, -EIO);
		failed++;
	}
	CHECK(failed > 50 && complete > 0);
	rig_close(rig);
	rig_free(rig);
}

/* ---- A label without a MAC ---- */

static void test_label(void)
{
	struct rig *rig = make(80, 3);
	struct simdisk *target = new_target(rig, sizes[1]);
	uint8_t bytes[LABEL_BYTES];

	/* An older member's roots and log records under it are gone. */
	struct simstore *old = simdisk_snapshot(rig->sims[1]);
	open_with(rig, 5);
	CHECK_EQ(rig_begin(rig), 0);
	write_some(rig, 1);
	rig_close(rig);
	simdisk_replace_with_snapshot(target, old);
	CHECK_EQ(rebuild_from(rig, 1, target, true, NULL), 0);
	open_with(rig, 5);
	struct geometry g = array_config(rig->array)->geometry;
	rig_close(rig);
	check_structures(rig, 1, target, &g);
	struct simdisk *replaced = rig->sims[1];
	rig->sims[1] = target;
	/* It is no source: with all genuine labels gone, there is nothing to go by. */
	struct simworld *world = simworld_clone(rig->world);
	struct disk *disks[3];
	struct probe *probe;
	struct array *array;
	for (unsigned i = 0; i < 3; i += 2)
		for (unsigned copy = 0; copy < LABEL_COPIES; copy++)
			simdisk_flip(world->disks[rig->sims[i]->index], label_copy_offset_bytes(copy, sizes[i]) + 12290, 1);
	for (unsigned i = 0; i < 3; i++)
		disks[i] = simdisk_open(world->disks[rig->sims[i]->index]);
	REQUIRE(!array_probe(disks, 3, &probe, &fail));
	CHECK_EQ(array_open(probe, &rig->auth, &(struct array_options){ .env = &rig->env }, &array, &fail), -EBADMSG);
	CHECK(SAYS("key vouches for"));
	simworld_free(world);
	/* The power fails when one copy is complete: it is a member like others then, and the other two copies are restored. */
	open_with(rig, 7);
	CHECK_EQ(rig_begin(rig), 0);
	write_some(rig, 1);
	CHECK_EQ(array_keyless(rig->array), 2);
	rig_close(rig);
	simdisk_peek(target, LABEL_BYTES, bytes, LABEL_BYTES);
	rig->auth.label_mac(NULL, bytes);
	simdisk_poke(target, MIB, bytes, LABEL_BYTES);
	open_with(rig, 7);
	CHECK_EQ(array_keyless(rig->array), 0);
	CHECK_EQ(rig_begin(rig), 0);
	CHECK_EQ(rig->events[EVENT_LABEL_RESTORED], 2);
	rig_close(rig);
	/* The one that was replaced, together with it. */
	for (unsigned i = 0; i < 2; i++)
		disks[i] = simdisk_open(i ? replaced : target);
	CHECK_EQ(array_probe(disks, 2, &probe, &fail), -EINVAL);
	CHECK_EQ(fail.code, FAIL_TWICE);
	simsnapshot_free(old);
	rig_free(rig);
}

int main(void)
{
	test_made_again();
	test_was_out();
	test_runs();
	cut_everywhere(3, 1, false);
	cut_everywhere(4, 0, true);
	test_failures();
	test_label();
	return CHECK_DONE();
}
