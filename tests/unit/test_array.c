/* Rows of an array: written, read straight and by parity, with members that fail, hang, go and return. */
#include "base/cleanup.h"
#include "tests/lib/array_rig.h"
#include "tests/unit/check.h"

#include <errno.h>
#include <string.h>

#define MIB (UINT64_C(1) << 20)
#define ALL(count) ((UINT32_C(1) << (count)) - 1)

/* Sizes that give granules of 2 MiB: bands of 128 rows, so two parity runs. */
static const uint64_t sizes[8] = { 560 * MIB, 640 * MIB, 560 * MIB, 720 * MIB, 600 * MIB, 560 * MIB, 800 * MIB, 576 * MIB };

static struct rig *begun(uint64_t seed, unsigned count)
{
	struct rig *rig = rig_new(seed, count, sizes);
	int r = rig_open(rig, ALL(count));

	if (r)
		fprintf(stderr, "open: %s\n", rig->fail.text);
	REQUIRE(r == 0);
	REQUIRE(rig_begin(rig) == 0);
	return rig;
}

static uint32_t random_band(struct rig *rig, const struct band **ret_band)
{
	const struct config *config = array_config(rig->array);

	*ret_band = &config->bands[simworld_random(rig->world) % config->band_count];
	return (*ret_band)->id;
}

static void write_random(struct rig *rig, unsigned times)
{
	for (unsigned i = 0; i < times; i++) {
		const struct band *band;
		uint32_t id = random_band(rig, &band);
		uint64_t row = simworld_random(rig->world) % band->rows;
		unsigned room = (unsigned)(PARITY_RUN_ROWS - row % PARITY_RUN_ROWS);
		if (room > band->rows - row)
			room = (unsigned)(band->rows - row);
		CHECK_EQ(rig_write(rig, id, row, 1 + (unsigned)(simworld_random(rig->world) % room)), 0);
	}
}

/* Reads of any length and alignment, of what was written and what was not. */
static void check_random(struct rig *rig, unsigned times)
{
	for (unsigned i = 0; i < times; i++) {
		const struct band *band;
		uint32_t id = random_band(rig, &band);
		uint64_t block = simworld_random(rig->world) % band_blocks(band);
		uint64_t blocks = 1 + simworld_random(rig->world) % (i % 4 ? 16 : 1200);
		if (blocks > band_blocks(band) - block)
			blocks = band_blocks(band) - block;
		CHECK_EQ(rig_check(rig, address_make(id, block), (unsigned)blocks), 0);
	}
}

/* Every row's units XOR to zero on the disks themselves. */
static void check_parity(struct rig *rig)
{
	const struct config *config = array_config(rig->array);
	static uint8_t sum[UNIT_BYTES], unit[UNIT_BYTES];
	unsigned rows = 0, bad = 0;

	for (uint32_t b = 0; b < config->band_count; b++) {
		const struct band *band = &config->bands[b];
		for (uint64_t row = 0; row < band->rows; row++) {
			if (!rig_written(rig, band->id, row))
				continue;
			memset(sum, 0, sizeof sum);
			for (unsigned c = 0; c < band->width; c++) {
				simdisk_peek(rig->sims[band->columns[c].member],
					column_row_offset_bytes(&config->geometry, &band->columns[c], row), unit, UNIT_BYTES);
				for (size_t i = 0; i < UNIT_BYTES; i++)
					sum[i] ^= unit[i];
			}
			rows++;
			for (size_t i = 0; i < UNIT_BYTES; i++)
				bad += sum[i] != 0;
		}
	}
	CHECK(rows > 0);
	CHECK_EQ(bad, 0);
}

static void test_random(unsigned count)
{
	struct rig *rig = begun(count, count);

	write_random(rig, 25);
	CHECK_EQ(rig_commit(rig), 0);
	check_random(rig, 40);
	CHECK_EQ(rig_check_all(rig, false), 0);
	CHECK_EQ(rig_check_all(rig, true), 0);
	check_parity(rig);
	rig_close(rig);

	for (unsigned dead = 0; dead < count; dead++) {
		REQUIRE(rig_open(rig, ALL(count) & ~(UINT32_C(1) << dead)) == 0);
		CHECK_EQ(rig->events[EVENT_MEMBER_ABSENT], 1);
		CHECK(array_degraded(rig->array));
		CHECK_EQ(rig_check_all(rig, false), 0);
		check_random(rig, 20);
		rig_close(rig);
	}
	rig_free(rig);
}

/* A long run is one I/O for each column and parity run, not one for each unit. */
static void test_io_count(void)
{
	struct rig *rig = begun(2, 3);
	struct simstats before[3];

	CHECK_EQ(rig_write(rig, array_config(rig->array)->bands[0].id, 0, 64), 0);
	for (unsigned i = 0; i < 3; i++)
		before[i] = simdisk_stats(rig->sims[i]);
	CHECK_EQ(rig_check(rig, band_row_address(&array_config(rig->array)->bands[0], 0), 256), 0);
	uint64_t reads = 0, bytes = 0;
	for (unsigned i = 0; i < 3; i++) {
		reads += simdisk_stats(rig->sims[i]).reads - before[i].reads;
		bytes += simdisk_stats(rig->sims[i]).read_bytes - before[i].read_bytes;
	}
	CHECK_EQ(reads, 2);
	CHECK_EQ(bytes, 256 * BLOCK_BYTES);
	rig_free(rig);
}

/* With a member out, a long read costs one more unit a row only where the lost unit was data. */
static void test_degraded_io(void)
{
	struct rig *rig = begun(3, 4);
	const struct band *band = &array_config(rig->array)->bands[0];
	unsigned lost = band->columns[band_data_column(band, 0, 0)].member;
	uint64_t bytes = 0;

	CHECK_EQ(rig_write(rig, band->id, 0, 16), 0);
	CHECK_EQ(array_drop_member(rig->array, lost, "the test says so"), 0);
	for (unsigned i = 0; i < 4; i++)
		bytes -= simdisk_stats(rig->sims[i]).read_bytes;
	CHECK_EQ(rig_check(rig, band_row_address(band, 0), 16 * band_row_blocks(band)), 0);
	for (unsigned i = 0; i < 4; i++)
		bytes += simdisk_stats(rig->sims[i]).read_bytes;
	CHECK_EQ(bytes, 16 * band_row_blocks(band) * BLOCK_BYTES);
	rig_free(rig);
}

static void test_read_errors(void)
{
	struct rig *rig = begun(4, 4);
	const struct band *band = &array_config(rig->array)->bands[3];
	const struct geometry *g = &array_config(rig->array)->geometry;
	unsigned a = band->columns[band_data_column(band, 0, 0)].member, b = band->columns[band_data_column(band, 0, 1)].member;
	uint64_t at_a = column_row_offset_bytes(g, &band->columns[band_data_column(band, 0, 0)], 0);
	uint64_t at_b = column_row_offset_bytes(g, &band->columns[band_data_column(band, 0, 1)], 0);
	struct member_status status;

	CHECK_EQ(rig_write(rig, band->id, 0, 64), 0);
	/* One bad sector on each of two members, in different rows of one long read: both are rebuilt. */
	simdisk_fault(rig->sims[a], &(struct simfault){ .kind = SIM_BAD_SECTORS, .ops_mask = SIM_ON(DISK_READ),
		.from_bytes = at_a + 5 * UNIT_BYTES, .to_bytes = at_a + 5 * UNIT_BYTES + 512 });
	simdisk_fault(rig->sims[b], &(struct simfault){ .kind = SIM_BAD_SECTORS, .ops_mask = SIM_ON(DISK_READ),
		.from_bytes = at_b + 9 * UNIT_BYTES, .to_bytes = at_b + 9 * UNIT_BYTES + 512 });
	CHECK_EQ(rig_check(rig, band_row_address(band, 0), 64 * band_row_blocks(band)), 0);
	array_member_status(rig->array, a, &status);
	CHECK_EQ(status.read_errors, 1);
	CHECK_EQ(status.state, MEMBER_IN_SYNC);
	CHECK(rig->events[EVENT_WARNING] >= 2);
	CHECK(strstr(rig->last_text[EVENT_WARNING], "a read failed"));

	/* In one row, but in different blocks: rebuilt block by block. */
	simdisk_fault(rig->sims[b], &(struct simfault){ .kind = SIM_BAD_SECTORS, .ops_mask = SIM_ON(DISK_READ),
		.from_bytes = at_b + 5 * UNIT_BYTES + 8192, .to_bytes = at_b + 5 * UNIT_BYTES + 8192 + 512 });
	CHECK_EQ(rig_check(rig, band_row_address(band, 0), 64 * band_row_blocks(band)), 0);

	/* In the same block: nothing can bring it back, and the rest is still read. */
	simdisk_fault(rig->sims[b], &(struct simfault){ .kind = SIM_BAD_SECTORS, .ops_mask = SIM_ON(DISK_READ),
		.from_bytes = at_b + 5 * UNIT_BYTES, .to_bytes = at_b + 5 * UNIT_BYTES + 512 });
	address lost = band_row_address(band, 5);
	CHECK_EQ(rig_check(rig, lost, 1), -EIO);
	CHECK_EQ(rig_check(rig, lost + 1, 1), 0);
	CHECK_EQ(rig_check(rig, lost + 2 * UNIT_BLOCKS, 4), 0);

	/* Written back, a sector is good again. */
	struct iobuf *unit cleanup(iobuf_unrefp) = iobuf_new(UNIT_BYTES);
	CHECK_EQ(array_read_column(rig->array, band->id, 9, band_data_column(band, 9, 1), unit), -EIO);
	CHECK_EQ(array_rebuild_column(rig->array, band->id, 9, band_data_column(band, 9, 1), unit), 0);
	CHECK_EQ(array_write_column(rig->array, band->id, 9, band_data_column(band, 9, 1), 0, UNIT_BLOCKS, unit), 0);
	CHECK_EQ(array_read_column(rig->array, band->id, 9, band_data_column(band, 9, 1), unit), 0);
	array_count_healed(rig->array, b);
	array_member_status(rig->array, b, &status);
	CHECK_EQ(status.healed, 1);
	rig_free(rig);
}

/* A member that fails every read is dropped in the end, and reads never fail. */
static void test_read_dead(void)
{
	struct rig *rig = begun(5, 3);
	const struct band *band = &array_config(rig->array)->bands[0];
	unsigned member = band->columns[band_data_column(band, 0, 0)].member;
	struct member_status status;

	CHECK_EQ(rig_write(rig, band->id, 0, 64), 0);
	simdisk_fault(rig->sims[member], &(struct simfault){ .kind = SIM_ERROR, .ops_mask = SIM_ON(DISK_READ) });
	CHECK_EQ(rig_check(rig, band_row_address(band, 0), 64 * band_row_blocks(band)), 0);
	CHECK_EQ(rig_check(rig, band_row_address(band, 0), 64 * band_row_blocks(band)), 0);
	array_member_status(rig->array, member, &status);
	CHECK_EQ(status.state, MEMBER_OUT);
	CHECK(strstr(rig->last_text[EVENT_MEMBER_DROPPED], "reads in a row failed"));
	rig_free(rig);
}

static void test_write_drop(enum simfault_kind kind, enum disk_op op)
{
	struct rig *rig = begun(6 + kind, 3);
	struct member_status status;

	write_random(rig, 3);
	CHECK_EQ(rig_commit(rig), 0);
	uint64_t flushed = rig->generation;
	simdisk_fault(rig->sims[1], &(struct simfault){ .kind = kind, .ops_mask = SIM_ON(op), .times = 1 });
	write_random(rig, 6);
	CHECK_EQ(rig_commit(rig), 0);
	array_member_status(rig->array, 1, &status);
	CHECK_EQ(status.state, MEMBER_OUT);
	CHECK_EQ(status.gap.from, flushed);
	CHECK(status.gap.to == GAP_OPEN);
	CHECK_EQ(status.gap.position, 0);
	CHECK_EQ(status.write_errors, 1);
	CHECK_EQ(rig->events[EVENT_MEMBER_DROPPED], 1);

	/* From then on nothing reaches it any more. */
	simdisk_return_hung(rig->sims[1], true);
	uint64_t writes = simdisk_stats(rig->sims[1]).writes;
	write_random(rig, 6);
	CHECK_EQ(rig_commit(rig), 0);
	CHECK_EQ(simdisk_stats(rig->sims[1]).writes, writes);
	CHECK_EQ(rig_check_all(rig, false), 0);
	const struct config *config = array_config(rig->array);
	CHECK(array_stale(rig->array, 1, flushed + 1, band_row_address(&config->bands[0], 0)));
	CHECK(!array_stale(rig->array, 1, flushed, band_row_address(&config->bands[0], 0)));
	CHECK(!array_stale(rig->array, 0, flushed + 1, band_row_address(&config->bands[0], 0)));

	/* A second one: read-only, and what was committed stays readable. */
	CHECK_EQ(array_drop_member(rig->array, 0, "the test says so"), -EBUSY);
	simdisk_fault(rig->sims[2], &(struct simfault){ .kind = SIM_ERROR, .ops_mask = SIM_ON(DISK_WRITE) });
	CHECK_EQ(rig_write(rig, config->bands[0].id, 100, 4), -EIO);
	CHECK(array_read_only(rig->array));
	CHECK_EQ(rig->events[EVENT_READ_ONLY], 1);
	CHECK(strstr(rig->last_text[EVENT_READ_ONLY], "read-only"));
	CHECK_EQ(rig_write(rig, config->bands[0].id, 100, 4), -EROFS);
	CHECK_EQ(rig_commit(rig), -EROFS);
	CHECK_EQ(rig_check_all(rig, false), 0);
	rig_free(rig);
}

/* A read that hangs: the caller's buffer is lost, the member is dropped, and the next try works. */
static void test_read_hang(void)
{
	struct rig *rig = begun(20, 3);
	const struct band *band = &array_config(rig->array)->bands[0];
	unsigned member = band->columns[band_data_column(band, 0, 0)].member;

	CHECK_EQ(rig_write(rig, band->id, 0, 8), 0);
	CHECK_EQ(rig_commit(rig), 0);
	simdisk_fault(rig->sims[member], &(struct simfault){ .kind = SIM_HANG, .ops_mask = SIM_ON(DISK_READ), .times = 1 });
	CHECK_EQ(rig_check(rig, band_row_address(band, 0), 16), -ETIMEDOUT);
	CHECK_EQ(rig->events[EVENT_MEMBER_DROPPED], 1);
	CHECK_EQ(rig_check(rig, band_row_address(band, 0), 16), 0);
	CHECK_EQ(rig_commit(rig), 0);

	/* It comes back only when nothing of it is under way. */
	CHECK_EQ(array_member_return(rig->array, member, rig->generation + 1), -EAGAIN);
	simdisk_return_hung(rig->sims[member], true);
	CHECK_EQ(array_member_return(rig->array, member, rig->generation + 1), 0);
	CHECK_EQ(rig->events[EVENT_MEMBER_RETURNED], 1);
	CHECK_EQ(array_member_return(rig->array, member, rig->generation + 1), -ENOENT);
	rig_free(rig);
}

/* Restores every row of the member by XOR, as a rebuild does. */
static void catch_up(struct rig *rig, unsigned member)
{
	const struct config *config = array_config(rig->array);
	struct iobuf *unit cleanup(iobuf_unrefp) = iobuf_new(UNIT_BYTES);

	for (uint32_t b = 0; b < config->band_count; b++) {
		const struct band *band = &config->bands[b];
		for (uint64_t row = 0; row < band->rows; row++)
			for (unsigned c = 0; c < band->width; c++) {
				uint64_t written = rig_written(rig, band->id, row);
				if (band->columns[c].member != member || !written ||
						!array_stale(rig->array, member, written, band_row_address(band, row)))
					continue;
				CHECK_EQ(array_rebuild_column(rig->array, band->id, row, c, unit), 0);
				CHECK_EQ(array_write_column(rig->array, band->id, row, c, 0, UNIT_BLOCKS, unit), 0);
			}
	}
}

static void test_return(void)
{
	struct rig *rig = begun(21, 4);
	const struct config *config = array_config(rig->array);
	struct member_status status;

	write_random(rig, 10);
	CHECK_EQ(rig_commit(rig), 0);
	uint64_t from = rig->generation;
	CHECK_EQ(array_drop_member(rig->array, 2, "the test says so"), 0);
	write_random(rig, 10);
	CHECK_EQ(rig_commit(rig), 0);
	CHECK_EQ(array_member_return(rig->array, 2, rig->generation + 1), 0);
	uint64_t to = rig->generation;
	write_random(rig, 5);                /* these it gets */
	CHECK_EQ(rig_commit(rig), 0);
	array_member_status(rig->array, 2, &status);
	CHECK_EQ(status.state, MEMBER_FILLING);
	CHECK_EQ(status.gap.from, from);
	CHECK_EQ(status.gap.to, to);
	CHECK(!array_stale(rig->array, 2, to + 1, 0));
	CHECK(array_stale(rig->array, 2, to, 0));
	CHECK_EQ(rig_check_all(rig, false), 0);   /* its stale units are not served */

	/* Below the position it is read again. */
	CHECK_EQ(array_gap_advance(rig->array, 2, band_row_address(&config->bands[1], 0)), 0);
	CHECK(!array_stale(rig->array, 2, to, band_row_address(&config->bands[0], 3)));
	CHECK(array_stale(rig->array, 2, to, band_row_address(&config->bands[1], 0)));

	/* Failing again: `from` stays, `to` opens, position 0. */
	simdisk_fault(rig->sims[2], &(struct simfault){ .kind = SIM_ERROR, .ops_mask = SIM_ON(DISK_FLUSH), .times = 1 });
	CHECK_EQ(rig_commit(rig), 0);
	array_member_status(rig->array, 2, &status);
	CHECK_EQ(status.state, MEMBER_OUT);
	CHECK_EQ(status.gap.from, from);
	CHECK(status.gap.to == GAP_OPEN);
	CHECK_EQ(status.gap.position, 0);
	CHECK_EQ(array_gap_close(rig->array, 2), -ENOENT);

	CHECK_EQ(array_member_return(rig->array, 2, rig->generation + 1), 0);
	catch_up(rig, 2);
	CHECK_EQ(rig_commit(rig), 0);
	CHECK_EQ(array_gap_close(rig->array, 2), 0);
	CHECK_EQ(rig->events[EVENT_MEMBER_IN_SYNC], 1);
	CHECK(array_degraded(rig->array));           /* a cut now, and it is still out */
	CHECK_EQ(rig_commit(rig), 0);
	CHECK(!array_degraded(rig->array));
	rig_close(rig);

	/* It serves as well as any: another one may go now. */
	REQUIRE(rig_open(rig, ALL(4) & ~1u) == 0);
	CHECK_EQ(rig_check_all(rig, false), 0);
	rig_free(rig);
}

/* A member that was away comes as another disk while the array is open. */
static void test_adopt(void)
{
	struct rig *rig = begun(22, 3);
	struct member_status status;
	struct disk *disk;
	unsigned member = 99;
	struct simstore *older = simdisk_snapshot(rig->sims[2]);

	write_random(rig, 5);
	CHECK_EQ(rig_commit(rig), 0);
	rig_close(rig);
	REQUIRE(rig_open(rig, 3) == 0);
	CHECK_EQ(rig_begin(rig), 0);
	write_random(rig, 5);
	CHECK_EQ(rig_commit(rig), 0);

	/* One that is at work, and one that is no member. */
	disk = simdisk_open(rig->sims[0]);
	CHECK_EQ(array_adopt(rig->array, disk, &member, &rig->fail), -EBUSY);
	CHECK_EQ(rig->fail.code, FAIL_TWICE);
	disk_close(disk);
	disk = simdisk_open(simworld_add(rig->world, 560 * MIB));
	CHECK_EQ(array_adopt(rig->array, disk, &member, &rig->fail), -EINVAL);
	CHECK_EQ(rig->fail.code, FAIL_NOT_MEMBER);
	disk_close(disk);

	/* It went, and what comes is older than what went: the gap reaches further back. */
	array_member_status(rig->array, 2, &status);
	CHECK_EQ(status.gap.from, 3);
	simdisk_replace_with_snapshot(rig->sims[2], older);
	simsnapshot_free(older);
	disk = simdisk_open(rig->sims[2]);
	CHECK_EQ(array_adopt(rig->array, disk, &member, &rig->fail), 0);
	CHECK_EQ(member, 2);
	array_member_status(rig->array, 2, &status);
	CHECK_EQ(status.state, MEMBER_OUT);
	CHECK_EQ(status.gap.from, 1);
	CHECK_EQ(array_member_return(rig->array, 2, rig->generation + 1), 0);
	catch_up(rig, 2);
	CHECK_EQ(rig_commit(rig), 0);
	CHECK_EQ(array_gap_close(rig->array, 2), 0);
	CHECK_EQ(rig_commit(rig), 0);
	rig_close(rig);
	REQUIRE(rig_open(rig, 6) == 0);
	CHECK_EQ(rig_check_all(rig, false), 0);
	rig_free(rig);
}

/* ---- Many threads, and a member that dies among them ---- */

struct worker {
	pthread_t thread;
	struct array *array;
	const struct band *band;         /* its own */
	unsigned failed;
};

static void *work(void *arg)
{
	struct worker *w = arg;
	unsigned row_bytes = band_row_blocks(w->band) * BLOCK_BYTES;

	for (unsigned i = 0; i < 60; i++) {
		struct iobuf *data cleanup(iobuf_unrefp) = iobuf_new(2 * row_bytes), *back cleanup(iobuf_unrefp) = iobuf_new(2 * row_bytes);
		for (size_t k = 0; k < data->bytes; k++)
			data->data[k] = (uint8_t)(k / 512 * 7 + i * 13 + w->band->id);
		w->failed += array_write_rows(w->array, w->band->id, i, i % 64 == 63 ? 1 : 2, data) != 0;
		w->failed += array_read(w->array, band_row_address(w->band, i), band_row_blocks(w->band), back, 0) != 0;
		w->failed += memcmp(data->data, back->data, row_bytes) != 0;
	}
	return NULL;
}

static void test_threads(enum disk_op op)
{
	struct rig *rig = begun(24, 4);
	struct worker workers[4];

	for (unsigned i = 0; i < 4; i++)
		workers[i] = (struct worker){ .array = rig->array, .band = &array_config(rig->array)->bands[i] };
	simdisk_fault(rig->sims[1], &(struct simfault){ .kind = SIM_ERROR, .ops_mask = SIM_ON(op), .from_op = rig->world->ops + 300 });
	for (unsigned i = 0; i < 4; i++)
		REQUIRE(!pthread_create(&workers[i].thread, NULL, work, &workers[i]));
	for (unsigned i = 0; i < 20; i++)
		CHECK_EQ(rig_commit(rig), 0);
	for (unsigned i = 0; i < 4; i++) {
		pthread_join(workers[i].thread, NULL);
		CHECK_EQ(workers[i].failed, 0);
	}
	struct member_status status;
	array_member_status(rig->array, 1, &status);
	CHECK(op == DISK_READ || status.state == MEMBER_OUT);
	CHECK(op == DISK_READ ? status.read_errors > 0 : status.write_errors > 0);
	CHECK_EQ(rig->events[EVENT_MEMBER_DROPPED], status.state == MEMBER_OUT);
	rig_free(rig);
}

static void test_bad_arguments(void)
{
	struct rig *rig = begun(23, 3);
	const struct band *band = &array_config(rig->array)->bands[0];
	struct iobuf *buf cleanup(iobuf_unrefp) = iobuf_new(UNIT_BYTES * 4);

	CHECK_EQ(array_read(rig->array, address_make(BAND_ID_MAX, 0), 1, buf, 0), -EINVAL);
	CHECK_EQ(array_read(rig->array, band_row_address(band, band->rows - 1) + band_row_blocks(band) - 1, 2, buf, 0), -EINVAL);
	CHECK_EQ(array_read(rig->array, band_row_address(band, 0), 0, buf, 0), -EINVAL);
	CHECK_EQ(array_write_rows(rig->array, band->id, band->rows, 1, buf), -EINVAL);
	CHECK_EQ(array_read_column(rig->array, band->id, 0, band->width, buf), -EINVAL);
	rig_free(rig);
}

int main(void)
{
	static const unsigned counts[] = { 3, 4, 5, 8 };

	for (unsigned i = 0; i < ARRAY_COUNT(counts); i++)
		test_random(counts[i]);
	test_io_count();
	test_degraded_io();
	test_read_errors();
	test_read_dead();
	test_write_drop(SIM_ERROR, DISK_WRITE);
	test_write_drop(SIM_ERROR_LANDS, DISK_WRITE);
	test_write_drop(SIM_HANG, DISK_WRITE);
	test_write_drop(SIM_ERROR, DISK_FLUSH);
	test_read_hang();
	test_return();
	test_adopt();
	test_threads(DISK_WRITE);
	test_threads(DISK_READ);
	test_bad_arguments();
	return CHECK_DONE();
}
