/* The simulated disk keeps to the promises of raid/disk.h, and breaks each only when told to. */
#include "base/cleanup.h"
#include "tests/lib/simdisk.h"
#include "tests/unit/check.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#define MIB (1u << 20)

static uint8_t page[65536], got[65536];

static const uint8_t *pattern(uint8_t value, size_t bytes)
{
	memset(page, value, bytes);
	return page;
}

static int put(struct disk *disk, uint64_t offset_bytes, uint8_t value, size_t bytes)
{
	return disk_write(disk, offset_bytes, pattern(value, bytes), bytes);
}

/* The byte that fills the range, or -1 if it is not one. */
static int filled(struct simdisk *sim, uint64_t offset_bytes, size_t bytes)
{
	simdisk_peek(sim, offset_bytes, got, bytes);
	for (size_t i = 1; i < bytes; i++)
		if (got[i] != got[0])
			return -1;
	return got[0];
}

static void test_storage(void)
{
	struct simworld *world = simworld_new(1);
	struct simdisk *sim = simworld_add(world, 1024ull * MIB);
	struct disk *disk = simdisk_open(sim);
	CHECK_EQ(disk->size_bytes, 1024ull * MIB);
	CHECK_EQ(put(disk, 12288, 7, 40960), 0);    /* across chunks */
	CHECK_EQ(disk_read(disk, 8192, got, 49152), 0);
	CHECK(got[0] == 0 && got[4095] == 0 && got[4096] == 7 && got[4096 + 40959] == 7 && got[4096 + 40960] == 0);
	CHECK_EQ(disk_write(disk, 1024ull * MIB - 4096, page, 8192), -EIO);
	CHECK_EQ(disk_read(disk, 1024ull * MIB, got, 4096), -EIO);
	CHECK_EQ(put(disk, 1024ull * MIB - 4096, 9, 4096), 0);
	CHECK_EQ(filled(sim, 1024ull * MIB - 4096, 4096), 9);
	CHECK_EQ(simdisk_unflushed(sim), 2);
	CHECK_EQ(disk_flush(disk), 0);
	CHECK_EQ(simdisk_unflushed(sim), 0);
	struct simstats stats = simdisk_stats(sim);
	CHECK_EQ(stats.writes, 2);
	CHECK_EQ(stats.written_bytes, 45056);
	CHECK_EQ(stats.reads, 1);
	CHECK_EQ(stats.flushes, 1);
	struct disk *again = simdisk_open(sim);
	CHECK(disk_same(disk, again) && disk_quiet(disk));
	struct disk *other = simdisk_open(simworld_add(world, MIB));
	CHECK(!disk_same(disk, other));
	disk_close(other);
	disk_close(again);
	disk_close(disk);
	simworld_free(world);
}

static void test_cut_policies(void)
{
	struct simworld *world = simworld_new(2);
	struct simdisk *sim = simworld_add(world, 8 * MIB);
	for (unsigned policy = SIMCUT_DROP_ALL; policy <= SIMCUT_KEEP_ALL; policy++) {
		struct disk *disk = simdisk_open(sim);
		CHECK_EQ(put(disk, 0, 1, 32768), 0);
		CHECK_EQ(disk_flush(disk), 0);
		CHECK_EQ(put(disk, 4096, 2, 8192), 0);
		CHECK_EQ(put(disk, 8192, 3, 8192), 0);
		simworld_cut(world, policy);
		CHECK_EQ(filled(sim, 0, 4096), 1);
		CHECK_EQ(filled(sim, 4096, 4096), policy == SIMCUT_DROP_ALL ? 1 : 2);
		CHECK_EQ(filled(sim, 8192, 8192), policy == SIMCUT_DROP_ALL ? 1 : 3);
		CHECK_EQ(put(disk, 0, 5, 4096), -EIO);    /* a handle from before the cut */
		CHECK_EQ(filled(sim, 0, 4096), 1);
		disk_close(disk);
	}
	simworld_free(world);
}

/* A durable write stays, without what was written elsewhere; where an older one lies below it, the durable one is on top. */
static void test_durable(void)
{
	struct simworld *world = simworld_new(2);
	struct simdisk *sim = simworld_add(world, 8 * MIB);
	struct disk *disk = simdisk_open(sim);
	struct iobuf *buf = iobuf_new(8192);
	struct iovec iov = { buf->data, 8192 };
	struct disk_io io = { .op = DISK_WRITE, .durable = true, .disk = disk, .offset_bytes = 4096, .length_bytes = 8192, .iov = &iov,
		.iov_count = 1, .hold = buf };
	CHECK_EQ(put(disk, 0, 1, 8192), 0);
	CHECK_EQ(put(disk, 65536, 2, 4096), 0);
	memset(buf->data, 3, 8192);
	disk_run(&io, 1, 1000);
	CHECK_EQ(io.result, 0);
	CHECK_EQ(simdisk_stats(sim).durable_writes, 1);
	CHECK_EQ(simdisk_unflushed(sim), 1);
	disk_close(disk);
	simworld_cut(world, SIMCUT_DROP_ALL);
	CHECK_EQ(filled(sim, 4096, 8192), 3);
	CHECK_EQ(filled(sim, 65536, 4096), 0);
	iobuf_unref(buf);
	simworld_free(world);
}

static void test_cut_chosen(void)
{
	struct simworld *world = simworld_new(3);
	struct simdisk *sim = simworld_add(world, 8 * MIB);
	for (unsigned mask = 0; mask < 8; mask++) {
		struct disk *disk = simdisk_open(sim);
		CHECK_EQ(put(disk, 0, 0x10, 12288), 0);
		CHECK_EQ(disk_flush(disk), 0);
		bool keep[3];
		for (unsigned i = 0; i < 3; i++) {
			CHECK_EQ(put(disk, 0, (uint8_t)(i + 1), 4096 * (3 - i)), 0);    /* 12, 8, 4 KiB over each other */
			keep[i] = mask >> i & 1;
		}
		CHECK_EQ(simdisk_unflushed(sim), 3);
		simdisk_cut_subset(sim, keep);
		simworld_power_on(world);
		CHECK_EQ(filled(sim, 0, 4096), keep[2] ? 3 : keep[1] ? 2 : keep[0] ? 1 : 0x10);
		CHECK_EQ(filled(sim, 4096, 4096), keep[1] ? 2 : keep[0] ? 1 : 0x10);
		CHECK_EQ(filled(sim, 8192, 4096), keep[0] ? 1 : 0x10);
		disk_close(disk);
	}
	for (unsigned from_end = 0; from_end < 2; from_end++) {
		struct disk *disk = simdisk_open(sim);
		CHECK_EQ(put(disk, 0, 0x20, 32768), 0);
		CHECK_EQ(disk_flush(disk), 0);
		CHECK_EQ(put(disk, 0, 1, 4096), 0);
		CHECK_EQ(put(disk, 8192, 2, 24576), 0);
		CHECK_EQ(put(disk, 4096, 3, 4096), 0);
		CHECK_EQ(simdisk_unflushed_sectors(sim, 1), 48);
		simdisk_cut_torn(sim, 1, 17, from_end);
		simworld_power_on(world);
		CHECK_EQ(filled(sim, 0, 4096), 1);
		CHECK_EQ(filled(sim, 4096, 4096), 0x20);
		CHECK_EQ(filled(sim, 8192, 17 * 512), from_end ? 0x20 : 2);
		CHECK_EQ(filled(sim, 32768 - 17 * 512, 17 * 512), from_end ? 2 : 0x20);
		CHECK_EQ(filled(sim, from_end ? 8192 : 8192 + 17 * 512, 31 * 512), 0x20);
		disk_close(disk);
	}
	simworld_free(world);
}

/* Each sector is old or new; from the same seed the same; and all kinds of tears do occur. */
static void test_cut_random(void)
{
	unsigned kept = 0, dropped = 0, torn = 0;
	for (uint64_t seed = 0; seed < 200; seed++) {
		uint8_t after[2][16384];
		for (unsigned run = 0; run < 2; run++) {
			struct simworld *world = simworld_new(seed);
			struct simdisk *sim = simworld_add(world, MIB);
			struct disk *disk = simdisk_open(sim);
			CHECK_EQ(put(disk, 4096, 1, 16384), 0);
			CHECK_EQ(disk_flush(disk), 0);
			CHECK_EQ(put(disk, 4096, 2, 16384), 0);
			simworld_cut(world, SIMCUT_RANDOM);
			simdisk_peek(sim, 4096, after[run], 16384);
			disk_close(disk);
			simworld_free(world);
		}
		CHECK(!memcmp(after[0], after[1], 16384));
		unsigned new_sectors = 0;
		for (unsigned s = 0; s < 32; s++) {
			uint8_t v = after[0][s * 512];
			bool whole = v == 1 || v == 2;
			for (unsigned i = 1; i < 512; i++)
				whole = whole && after[0][s * 512 + i] == v;
			CHECK(whole);
			new_sectors += v == 2;
		}
		kept += new_sectors == 32;
		dropped += new_sectors == 0;
		torn += new_sectors > 0 && new_sectors < 32;
	}
	CHECK(kept > 20 && dropped > 20 && torn > 60);
}

static void test_cut_at(void)
{
	for (unsigned at = 0; at < 6; at++) {
		struct simworld *world = simworld_new(at);
		struct simdisk *a = simworld_add(world, MIB), *b = simworld_add(world, MIB);
		struct disk *da = simdisk_open(a), *db = simdisk_open(b);
		cleanup(iobuf_unrefp) struct iobuf *buf = iobuf_new(4096);
		REQUIRE(buf);
		memset(buf->data, 6, 4096);
		struct iovec iov = { buf->data, 4096 };
		world->cut_at_change = at;
		CHECK_EQ(put(da, 0, 1, 4096), at == 0 ? -EIO : 0);
		CHECK_EQ(disk_read(da, 0, got, 4096), at == 0 ? -EIO : 0);    /* counts no change */
		CHECK_EQ(disk_flush(da), at <= 1 ? -EIO : 0);
		struct disk_io ios[2];
		for (unsigned i = 0; i < 2; i++)
			ios[i] = (struct disk_io){ .op = DISK_WRITE, .disk = i ? db : da, .offset_bytes = 8192, .length_bytes = 4096,
				.iov = &iov, .iov_count = 1, .hold = buf };
		disk_run(ios, 2, 1000);
		CHECK_EQ(ios[0].result, at <= 2 ? -EIO : 0);
		CHECK_EQ(ios[1].result, at <= 3 ? -EIO : 0);
		CHECK_EQ(disk_flush(db), at <= 4 ? -EIO : 0);
		CHECK_EQ(world->cut, at < 5);
		simworld_cut(world, SIMCUT_KEEP_ALL);
		CHECK_EQ(filled(a, 0, 4096), 1);    /* at 0 it was in flight */
		CHECK_EQ(filled(a, 8192, 4096), at >= 2 ? 6 : 0);
		CHECK_EQ(filled(b, 8192, 4096), at >= 2 ? 6 : 0);    /* side by side: also in flight at 2 */
		disk_close(da);
		disk_close(db);
		simworld_free(world);
	}
}

static void test_faults(void)
{
	struct simworld *world = simworld_new(5);
	struct simdisk *sim = simworld_add(world, MIB);
	struct disk *disk = simdisk_open(sim);
	CHECK_EQ(put(disk, 0, 1, 65536), 0);

	unsigned n = simdisk_fault(sim, &(struct simfault){ .kind = SIM_ERROR, .ops_mask = SIM_ON(DISK_READ), .from_bytes = 4096, .to_bytes = 8192 });
	CHECK_EQ(disk_read(disk, 0, got, 4096), 0);
	CHECK_EQ(disk_read(disk, 0, got, 8192), -EIO);
	CHECK_EQ(disk_read(disk, 8192, got, 4096), 0);
	CHECK_EQ(simdisk_fault_hits(sim, n), 1);
	simdisk_clear_faults(sim);

	simdisk_fault(sim, &(struct simfault){ .kind = SIM_BAD_SECTORS, .ops_mask = SIM_ON(DISK_READ), .from_bytes = 4608, .to_bytes = 5120 });
	CHECK_EQ(disk_read(disk, 4096, got, 4096), -EIO);
	CHECK_EQ(put(disk, 4096, 1, 4096), 0);
	CHECK_EQ(disk_read(disk, 4096, got, 4096), 0);
	simdisk_clear_faults(sim);

	simdisk_fault(sim, &(struct simfault){ .kind = SIM_LOSE, .ops_mask = SIM_ON(DISK_WRITE), .times = 1 });
	CHECK_EQ(put(disk, 0, 2, 4096), 0);
	CHECK_EQ(filled(sim, 0, 4096), 1);
	CHECK_EQ(put(disk, 0, 2, 4096), 0);
	CHECK_EQ(filled(sim, 0, 4096), 2);
	simdisk_clear_faults(sim);

	simdisk_fault(sim, &(struct simfault){ .kind = SIM_MISDIRECT, .ops_mask = SIM_ON(DISK_WRITE), .shift_bytes = -4096 });
	CHECK_EQ(put(disk, 12288, 3, 4096), 0);
	CHECK_EQ(filled(sim, 12288, 4096), 1);
	CHECK_EQ(filled(sim, 8192, 4096), 3);
	simdisk_clear_faults(sim);

	simdisk_fault(sim, &(struct simfault){ .kind = SIM_FLIP, .ops_mask = SIM_ON(DISK_READ), .flip_at_bytes = 100, .flip_mask = 0x80, .times = 1 });
	CHECK_EQ(disk_read(disk, 16384, got, 4096), 0);
	CHECK(got[100] == 0x81 && got[99] == 1);
	CHECK_EQ(disk_read(disk, 16384, got, 4096), 0);
	CHECK(got[100] == 1);
	simdisk_clear_faults(sim);
	simdisk_flip(sim, 20000, 4);
	CHECK_EQ(disk_read(disk, 16384, got, 4096), 0);
	CHECK(got[20000 - 16384] == 5);

	simdisk_fault(sim, &(struct simfault){ .kind = SIM_ERROR_LANDS, .ops_mask = SIM_ON(DISK_WRITE) });
	CHECK_EQ(put(disk, 24576, 4, 4096), -EIO);
	CHECK_EQ(filled(sim, 24576, 4096), 4);
	simdisk_clear_faults(sim);

	uint64_t op = world->ops;
	simdisk_fault(sim, &(struct simfault){ .kind = SIM_ERROR, .ops_mask = SIM_ON_ALL, .from_op = op + 1, .to_op = op + 2 });
	CHECK_EQ(disk_flush(disk), 0);
	CHECK_EQ(disk_flush(disk), -EIO);
	CHECK_EQ(disk_flush(disk), 0);
	simdisk_clear_faults(sim);

	simdisk_fault(sim, &(struct simfault){ .kind = SIM_LOSE, .ops_mask = SIM_ON(DISK_FLUSH) });
	CHECK_EQ(put(disk, 0, 8, 4096), 0);
	CHECK_EQ(disk_flush(disk), 0);
	CHECK_EQ(simdisk_unflushed(sim), 1);
	simdisk_clear_faults(sim);

	sim->dead = true;
	CHECK_EQ(disk_read(disk, 0, got, 4096), -EIO);
	CHECK_EQ(put(disk, 0, 9, 4096), -EIO);
	CHECK_EQ(disk_flush(disk), -EIO);
	sim->dead = false;
	CHECK_EQ(filled(sim, 0, 4096), 8);
	simdisk_resize(sim, 65536);
	CHECK_EQ(disk_read(disk, 65536, got, 4096), -EIO);
	CHECK_EQ(disk_read(disk, 61440, got, 4096), 0);
	CHECK_EQ(filled(sim, 0, 4096), 8);
	disk_close(disk);
	simworld_free(world);
}

static void test_hang(void)
{
	struct simworld *world = simworld_new(6);
	struct simdisk *sim = simworld_add(world, MIB);
	struct disk *disk = simdisk_open(sim);
	for (unsigned carried_out = 0; carried_out < 2; carried_out++) {
		CHECK_EQ(put(disk, 0, 1, 4096), 0);
		simdisk_fault(sim, &(struct simfault){ .kind = SIM_HANG, .ops_mask = SIM_ON(DISK_WRITE) });
		CHECK_EQ(put(disk, 0, 2, 4096), -ETIMEDOUT);
		CHECK(!disk_quiet(disk));
		simdisk_clear_faults(sim);
		CHECK_EQ(filled(sim, 0, 4096), 1);
		simdisk_return_hung(sim, carried_out);
		CHECK(disk_quiet(disk));
		CHECK_EQ(filled(sim, 0, 4096), carried_out ? 2 : 1);
	}
	disk_close(disk);
	simworld_free(world);
}

static void count_bytes(void *ctx, struct simdisk *sim, uint64_t offset_bytes, const void *data, size_t bytes)
{
	(void)offset_bytes;
	CHECK(sim->index == 0 && *(const uint8_t *)data == 3);
	*(size_t *)ctx += bytes;
}

static void test_copies(void)
{
	struct simworld *world = simworld_new(7);
	struct simdisk *sim = simworld_add(world, 8 * MIB);
	struct disk *disk = simdisk_open(sim);
	size_t hooked = 0;
	world->on_write = count_bytes;
	world->on_write_ctx = &hooked;
	CHECK_EQ(put(disk, 0, 3, 8192), 0);
	CHECK_EQ(disk_flush(disk), 0);
	CHECK_EQ(hooked, 8192);
	world->on_write = NULL;
	struct simstore *old = simdisk_snapshot(sim);
	CHECK_EQ(put(disk, 0, 4, 4096), 0);

	/* Two futures of one cut. */
	struct simworld *copy = simworld_clone(world);
	simworld_cut(copy, SIMCUT_KEEP_ALL);
	simworld_cut(world, SIMCUT_DROP_ALL);
	CHECK_EQ(filled(copy->disks[0], 0, 4096), 4);
	CHECK_EQ(filled(sim, 0, 4096), 3);
	struct disk *in_copy = simdisk_open(copy->disks[0]);
	CHECK_EQ(put(in_copy, 4096, 5, 4096), 0);
	CHECK_EQ(filled(sim, 4096, 4096), 3);
	disk_close(in_copy);
	simdisk_replace_with_snapshot(copy->disks[0], old);
	CHECK_EQ(filled(copy->disks[0], 0, 8192), 3);
	simsnapshot_free(old);
	simworld_free(copy);
	disk_close(disk);
	simworld_free(world);
}

/* A simulation makes millions of operations. */
static void test_speed(void)
{
	struct simworld *world = simworld_new(8);
	struct disk *disk = simdisk_open(simworld_add(world, 64 * MIB));
	clock_t start = clock();
	for (unsigned i = 0; i < 100000; i++) {
		if (disk_write(disk, i * 36864ull % (60 * MIB), page, i % 8 ? 4096 : 16384) < 0 || (i % 16 == 0 && disk_flush(disk) < 0))
			CHECK(false);
	}
	double seconds = (double)(clock() - start) / CLOCKS_PER_SEC;
	fprintf(stderr, "%.2f microseconds a write\n", seconds * 10);
	CHECK(seconds < 20);
	disk_close(disk);
	simworld_free(world);
}

int main(void)
{
	test_storage();
	test_cut_policies();
	test_durable();
	test_cut_chosen();
	test_cut_random();
	test_cut_at();
	test_faults();
	test_hang();
	test_copies();
	test_speed();
	return CHECK_DONE();
}
