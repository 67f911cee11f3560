/* Real disks: files, loop devices with small and large sectors, and a file that hangs, by both engines.
 * Parts that need root say so and are left out without it. */
#include "base/cleanup.h"
#include "raid/disk.h"
#include "raid/disk_uring.h"
#include "tests/lib/hangfile.h"
#include "tests/lib/loopdev.h"
#include "tests/unit/check.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>

#define FILE_BYTES (16u << 20)
#define MANY_IOVS 1500u    /* above IOV_MAX */

static char dir[] = "/tmp/test_disk.XXXXXX";
static char paths[3][64];

static void remove_files(void)
{
	for (unsigned i = 0; i < ARRAY_COUNT(paths); i++)
		unlink(paths[i]);
	rmdir(dir);
}

static void make_files(void)
{
	REQUIRE(mkdtemp(dir));
	atexit(remove_files);
	for (unsigned i = 0; i < ARRAY_COUNT(paths); i++) {
		snprintf(paths[i], sizeof(paths[i]), "%s/member%u", dir, i);
		autoclose int fd = open(paths[i], O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
		REQUIRE(fd >= 0 && ftruncate(fd, FILE_BYTES + 1000) == 0);
	}
}

static struct disk *open_disk(const char *path, enum disk_engine engine)
{
	struct disk *disk = NULL;
	struct fail fail = { 0 };
	int r = disk_open(path, DISK_READ_WRITE, engine, &disk, &fail);
	if (r < 0)
		fprintf(stderr, "%s\n", fail.text);
	REQUIRE(r == 0 && disk);
	return disk;
}

static void fill(uint8_t *p, size_t bytes, uint64_t seed)
{
	for (size_t i = 0; i < bytes; i += 8) {
		seed = seed * 6364136223846793005 + 1442695040888963407;
		memcpy(p + i, &seed, 8);
	}
}

static void test_iobuf(void)
{
	enum { huge = 2 << 20 };
	static const size_t sizes[] = { 1, 4096, 16384, 16385, 1 << 20, huge, 4 << 20, (4 << 20) + 1 };
	for (unsigned i = 0; i < ARRAY_COUNT(sizes); i++) {
		struct iobuf *buf = iobuf_new(sizes[i]);
		REQUIRE(buf);
		CHECK_EQ(buf->bytes, sizes[i]);
		CHECK_EQ((uintptr_t)buf->data % (sizes[i] < huge ? IOBUF_ALIGN_BYTES : huge), 0);
		memset(buf->data, 1, sizes[i]);
		CHECK(iobuf_ref(buf) == buf);
		iobuf_unref(buf);
		CHECK_EQ(buf->data[sizes[i] - 1], 1);
		iobuf_unref(buf);
	}
	struct iobuf *many[20];
	for (unsigned i = 0; i < ARRAY_COUNT(many); i++)
		many[i] = iobuf_new(4 << 20);
	for (unsigned i = 0; i < ARRAY_COUNT(many); i++)
		iobuf_unref(many[19 - i]);
	CHECK(iobuf_cached_bytes() <= IOBUF_CACHE_BYTES);
	CHECK(iobuf_cached_bytes() >= IOBUF_CACHE_BYTES / 2);
	iobuf_unref(NULL);
}

/* Scattered pieces, in reverse order in memory, of one contiguous range. */
static void test_scatter(const char *path, enum disk_engine engine, unsigned iov_count)
{
	struct disk *disk = open_disk(path, engine);
	size_t bytes = (size_t)iov_count * 4096;
	cleanup(iobuf_unrefp) struct iobuf *out = iobuf_new(bytes);
	cleanup(iobuf_unrefp) struct iobuf *in = iobuf_new(bytes);
	autofree struct iovec *iov = calloc(iov_count, sizeof(*iov));
	REQUIRE(out && in && iov);
	fill(out->data, bytes, iov_count + engine);
	for (unsigned i = 0; i < iov_count; i++)
		iov[i] = (struct iovec){ out->data + (size_t)(iov_count - 1 - i) * 4096, 4096 };
	struct disk_io io = { .op = DISK_WRITE, .durable = iov_count % 2, .disk = disk, .offset_bytes = 8192, .length_bytes = bytes,
		.iov = iov, .iov_count = iov_count, .hold = out };
	disk_run(&io, 1, 10000);
	CHECK_EQ(io.result, 0);
	CHECK_EQ(disk_flush(disk), 0);
	CHECK_EQ(disk_read(disk, 8192, in->data, bytes), 0);
	for (unsigned i = 0; i < iov_count; i++)
		CHECK(!memcmp(in->data + (size_t)i * 4096, iov[i].iov_base, 4096));
	disk_close(disk);
}

/* More ios than a ring has entries, on several disks, reads and flushes among them. */
static void test_many_ios(enum disk_engine engine)
{
	enum { IOS = 600 };
	struct disk *disks[3];
	for (unsigned i = 0; i < 3; i++)
		disks[i] = open_disk(paths[i], engine);
	cleanup(iobuf_unrefp) struct iobuf *out = iobuf_new(IOS * 4096);
	cleanup(iobuf_unrefp) struct iobuf *in = iobuf_new(IOS * 4096);
	REQUIRE(out && in);
	fill(out->data, out->bytes, 77 + engine);
	static struct disk_io ios[IOS];
	static struct iovec iov[IOS];
	for (unsigned round = 0; round < 2; round++) {
		struct iobuf *buf = round ? in : out;
		for (unsigned i = 0; i < IOS; i++) {
			iov[i] = (struct iovec){ buf->data + i * 4096, 4096 };
			ios[i] = (struct disk_io){ .op = round ? DISK_READ : DISK_WRITE, .durable = !round && i % 5 == 0, .disk = disks[i % 3], .offset_bytes = i / 3 * 8192,
				.length_bytes = 4096, .iov = &iov[i], .iov_count = 1, .hold = buf };
			if (i % 100 == 99)
				ios[i] = (struct disk_io){ .op = DISK_FLUSH, .disk = disks[i % 3] };
		}
		disk_run(ios, IOS, 20000);
		for (unsigned i = 0; i < IOS; i++)
			CHECK_EQ(ios[i].result, 0);
	}
	for (unsigned i = 0; i < IOS; i++)
		CHECK(i % 100 == 99 || !memcmp(in->data + i * 4096, out->data + i * 4096, 4096));
	for (unsigned i = 0; i < 3; i++)
		disk_close(disks[i]);
}

static void test_bounds(enum disk_engine engine)
{
	uint8_t page[8192];
	struct disk *disk = open_disk(paths[0], engine), *reader = NULL;
	CHECK_EQ(disk->size_bytes, FILE_BYTES);
	CHECK(!disk->is_block && disk->sector_bytes == 512);
	CHECK_EQ(disk_read(disk, FILE_BYTES, page, 4096), -EIO);
	CHECK_EQ(disk_write(disk, FILE_BYTES - 4096, page, 8192), -EIO);
	CHECK_EQ(disk_read(disk, FILE_BYTES - 4096, page, 4096), 0);
	CHECK_EQ(disk_read(disk, UINT64_MAX - 4095, page, 8192), -EIO);

	CHECK_EQ(disk_open(paths[0], DISK_READ_ONLY, engine, &reader, NULL), 0);    /* takes no lock */
	REQUIRE(reader);
	CHECK_EQ(disk_read(reader, 0, page, 4096), 0);
	CHECK_EQ(disk_write(reader, 0, page, 4096), -EROFS);
	CHECK_EQ(disk_flush(reader), -EROFS);
	CHECK(disk_same(disk, reader));

	REQUIRE(truncate(paths[0], 4096 * 10) == 0);    /* behind its back */
	CHECK_EQ(disk_read(disk, 4096 * 9, page, 8192), -EIO);
	CHECK_EQ(disk_read(disk, 4096 * 9, page, 4096), 0);
	REQUIRE(truncate(paths[0], FILE_BYTES + 1000) == 0);
	disk_close(reader);
	disk_close(disk);
}

static void test_discard(const char *path, enum disk_engine engine)
{
	struct disk *disk = open_disk(path, engine);
	uint8_t page[4096], got[4096];
	fill(page, sizeof(page), 5);
	CHECK_EQ(disk_write(disk, 0, page, 4096), 0);
	CHECK_EQ(disk_write(disk, 1 << 20, page, 4096), 0);
	struct disk_io io = { .op = DISK_DISCARD, .disk = disk, .offset_bytes = 1 << 20, .length_bytes = 1 << 20 };
	disk_run(&io, 1, 5000);
	CHECK_EQ(io.result, 0);
	CHECK_EQ(disk_read(disk, 0, got, 4096), 0);
	CHECK(!memcmp(got, page, 4096));
	CHECK_EQ(disk_read(disk, 1 << 20, got, 4096), 0);
	disk_close(disk);
}

struct hammer { struct disk **disks; unsigned number; unsigned wrong; };

static void *hammer(void *arg)
{
	struct hammer *h = arg;
	struct iobuf *buf = iobuf_new(3 * 16384), *back = iobuf_new(3 * 16384);
	for (unsigned round = 0; buf && back && round < 60; round++) {
		struct iovec iov[6];
		struct disk_io ios[6];
		fill(buf->data, buf->bytes, h->number * 1000 + round);
		for (unsigned i = 0; i < 6; i++) {
			struct iobuf *b = i < 3 ? buf : back;
			iov[i] = (struct iovec){ b->data + i % 3 * 16384, 16384 };
			ios[i] = (struct disk_io){ .op = i < 3 ? DISK_WRITE : DISK_READ, .disk = h->disks[i % 3], .length_bytes = 16384,
				.offset_bytes = ((uint64_t)h->number * 20 + round % 20) * 16384, .iov = &iov[i], .iov_count = 1, .hold = b };
		}
		disk_run(ios, 3, 20000);
		disk_run(ios + 3, 3, 20000);
		for (unsigned i = 0; i < 6; i++)
			h->wrong += ios[i].result != 0;
		h->wrong += memcmp(buf->data, back->data, buf->bytes) != 0;
		if (round % 16 == 0)
			h->wrong += disk_flush(h->disks[round % 3]) != 0;
	}
	h->wrong += !buf || !back;
	iobuf_unref(buf);
	iobuf_unref(back);
	return NULL;
}

static void test_threads(enum disk_engine engine)
{
	enum { THREADS = 8 };
	struct disk *disks[3];
	for (unsigned i = 0; i < 3; i++)
		disks[i] = open_disk(paths[i], engine);
	pthread_t threads[THREADS];
	struct hammer hammers[THREADS];
	for (unsigned i = 0; i < THREADS; i++) {
		hammers[i] = (struct hammer){ .disks = disks, .number = i };
		REQUIRE(pthread_create(&threads[i], NULL, hammer, &hammers[i]) == 0);
	}
	for (unsigned i = 0; i < THREADS; i++) {
		pthread_join(threads[i], NULL);
		CHECK_EQ(hammers[i].wrong, 0);
	}
	for (unsigned i = 0; i < 3; i++) {
		CHECK(disk_quiet(disks[i]));
		disk_close(disks[i]);
	}
}

static void check_refused(const char *path, enum disk_mode mode, int r, enum fail_code code, const char *text)
{
	struct disk *disk = NULL;
	struct fail fail = { 0 };
	CHECK_EQ(disk_open(path, mode, DISK_ENGINE_AUTO, &disk, &fail), r);
	CHECK_EQ(fail.code, code);
	CHECK(!disk);
	char expected[512];
	snprintf(expected, sizeof(expected), "%s: %s", path, text);
	if (strcmp(fail.text, expected))
		fprintf(stderr, "got:      %s\nexpected: %s\n", fail.text, expected);
	CHECK(!strcmp(fail.text, expected));
}

static void test_refusals(void)
{
	check_refused("/nonexistent/disk", DISK_READ_WRITE, -ENOENT, FAIL_SYSTEM,
		"no such device or file; check the path, and that the disk is connected");
	check_refused(dir, DISK_READ_WRITE, -EISDIR, FAIL_USAGE,
		"is a directory; a member is a partition, a disk or an image file");
	check_refused("/dev/null", DISK_READ_ONLY, -EINVAL, FAIL_USAGE,
		"is neither a block device nor a file; a member is a partition, a disk or an image file");
	if (getuid() == 0) {
		chmod(dir, 0755);
		REQUIRE(seteuid(65534) == 0);
		check_refused(paths[0], DISK_READ_WRITE, -EACCES, FAIL_SYSTEM,
			"permission denied; run this as root, or as a user who may read and write it");
		REQUIRE(seteuid(0) == 0);
	} else {
		fprintf(stderr, "left out (needs root): a member without permission\n");
	}
	struct disk *disk = open_disk(paths[0], DISK_ENGINE_AUTO);
	check_refused(paths[0], DISK_READ_WRITE, -EBUSY, FAIL_BUSY,
		"in use by another program that holds its lock (is the array mounted, or a tool at work on it?)");
	disk_close(disk);
	disk_close(open_disk(paths[0], DISK_ENGINE_AUTO));
}

static void test_loop(unsigned sector_bytes)
{
	char device[64];
	int hold = -1;
	int r = loopdev_new(paths[1], sector_bytes, device, sizeof(device), &hold);
	if (r < 0) {
		fprintf(stderr, "left out (%s): loop device with sectors of %u bytes\n", strerror(-r), sector_bytes);
		return;
	}
	for (enum disk_engine engine = DISK_ENGINE_URING; engine <= DISK_ENGINE_THREADS; engine++) {
		if (engine == DISK_ENGINE_URING && !disk_uring_available())
			continue;
		test_scatter(device, engine, 70);
		test_discard(device, engine);
	}
	struct disk *disk = open_disk(device, DISK_ENGINE_AUTO), *file = NULL;
	CHECK(disk->is_block && disk->sector_bytes == sector_bytes);
	CHECK_EQ(disk->size_bytes, FILE_BYTES);
	char link[80];
	snprintf(link, sizeof(link), "%s/link", dir);
	REQUIRE(symlink(device, link) == 0);
	struct disk *again = NULL;
	CHECK_EQ(disk_open(link, DISK_READ_ONLY, DISK_ENGINE_AUTO, &again, NULL), 0);
	CHECK_EQ(disk_open(paths[1], DISK_READ_ONLY, DISK_ENGINE_AUTO, &file, NULL), 0);
	CHECK(again && disk_same(disk, again));
	CHECK(file && !disk_same(disk, file));
	unlink(link);
	disk_close(again);
	disk_close(file);
	disk_close(disk);
	close(hold);
}

static void test_loop_busy(void)
{
	char device[64];
	int hold = -1;
	if (loopdev_new(paths[1], 512, device, sizeof(device), &hold) < 0)
		return;    /* test_loop said so */
	struct disk *disk = open_disk(device, DISK_ENGINE_AUTO);
	check_refused(device, DISK_READ_WRITE, -EBUSY, FAIL_BUSY,
		"in use by another program that holds its lock (is the array mounted, or a tool at work on it?)");
	disk_close(disk);
	autoclose int exclusive = open(device, O_RDONLY | O_EXCL | O_CLOEXEC);
	CHECK(exclusive >= 0);
	check_refused(device, DISK_READ_WRITE, -EBUSY, FAIL_BUSY,
		"in use (mounted, or part of another device); release it first");
	close(hold);
}

static bool quiet_soon(struct disk *disk)
{
	for (unsigned i = 0; i < 1000; i++) {
		if (disk_quiet(disk))
			return true;
		nanosleep(&(struct timespec){ 0, 5000000 }, NULL);
	}
	return false;
}

/* One operation hangs; one on another disk, in the same call, doesn't. */
static void hang_once(struct hangfile *file, struct disk *hanging, struct disk *healthy, enum disk_op op)
{
	cleanup(iobuf_unrefp) struct iobuf *buf = iobuf_new(8192);
	REQUIRE(buf);
	fill(buf->data, 8192, op);
	fill(hangfile_bytes(file), 4096, 99);
	struct iovec iov[2] = { { buf->data, 4096 }, { buf->data + 4096, 4096 } };
	struct disk_io ios[2] = {
		{ .op = op, .disk = hanging, .offset_bytes = 0, .length_bytes = 4096, .iov = &iov[0], .iov_count = 1, .hold = buf },
		{ .op = DISK_WRITE, .disk = healthy, .length_bytes = 4096, .iov = &iov[1], .iov_count = 1, .hold = buf },
	};
	if (op == DISK_FLUSH)
		ios[0] = (struct disk_io){ .op = op, .disk = hanging };
	hangfile_hang(file, true);
	int64_t start_ms = disk_now_ms();
	disk_run(ios, 2, 300);
	int64_t took_ms = disk_now_ms() - start_ms;
	CHECK_EQ(ios[0].result, -ETIMEDOUT);
	CHECK_EQ(ios[1].result, 0);
	CHECK(took_ms >= 290 && took_ms < 5000);
	CHECK_EQ(hangfile_waiting(file), 1);
	CHECK(!disk_quiet(hanging));
	CHECK(disk_quiet(healthy));
	CHECK_EQ(atomic_load(&buf->refs), op == DISK_FLUSH ? 1 : 2);
	uint8_t page[4096];
	CHECK_EQ(disk_read(healthy, 0, page, 4096), 0);
	CHECK(!memcmp(page, buf->data + 4096, 4096));

	hangfile_hang(file, false);
	CHECK(quiet_soon(hanging));
	CHECK_EQ(atomic_load(&buf->refs), 1);
	if (op != DISK_FLUSH)    /* it arrived in the end */
		CHECK(!memcmp(buf->data, hangfile_bytes(file), 4096));
	CHECK_EQ(disk_read(hanging, 0, page, 4096), 0);
	CHECK(!memcmp(page, hangfile_bytes(file), 4096));
}

static void test_hang(struct hangfile *file, const char *path, enum disk_engine engine)
{
	struct disk *hanging = open_disk(path, engine), *healthy = open_disk(paths[0], engine);
	hang_once(file, hanging, healthy, DISK_READ);
	hang_once(file, hanging, healthy, DISK_WRITE);
	hang_once(file, hanging, healthy, DISK_FLUSH);

	/* Many at once, then closed: its lock is held until all came back. */
	enum { IOS = 40 };
	struct iobuf *buf = iobuf_new(4096);
	REQUIRE(buf);
	struct iovec iov = { buf->data, 4096 };
	struct disk_io ios[IOS];
	for (unsigned i = 0; i < IOS; i++)
		ios[i] = (struct disk_io){ .op = DISK_WRITE, .disk = hanging, .offset_bytes = i * 4096, .length_bytes = 4096,
			.iov = &iov, .iov_count = 1, .hold = buf };
	hangfile_hang(file, true);
	disk_run(ios, IOS, 1000);
	CHECK(hangfile_waiting(file) > 0);
	for (unsigned i = 0; i < IOS; i++)
		CHECK_EQ(ios[i].result, -ETIMEDOUT);
	iobuf_unref(buf);
	disk_close(hanging);
	autoclose int fd = open(path, O_RDONLY | O_CLOEXEC);
	CHECK(fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK);
	hangfile_hang(file, false);
	disk_close(open_disk(path, engine));
	disk_close(healthy);
}

int main(void)
{
	make_files();
	struct hangfile *file = NULL;
	int r = hangfile_new(paths[2], 1 << 20, &file);
	if (r < 0)
		fprintf(stderr, "left out (%s): time limits\n", strerror(-r));
	for (enum disk_engine engine = DISK_ENGINE_URING; r == 0 && engine <= DISK_ENGINE_THREADS; engine++)
		if (engine == DISK_ENGINE_THREADS || disk_uring_available())
			test_hang(file, paths[2], engine);
	hangfile_free(file);

	test_iobuf();
	for (enum disk_engine engine = DISK_ENGINE_URING; engine <= DISK_ENGINE_THREADS; engine++) {
		if (engine == DISK_ENGINE_URING && !disk_uring_available()) {
			fprintf(stderr, "left out: io_uring is not available\n");
			continue;
		}
		test_scatter(paths[0], engine, 1);
		test_scatter(paths[0], engine, 64);
		test_scatter(paths[0], engine, MANY_IOVS);
		test_many_ios(engine);
		test_bounds(engine);
		test_discard(paths[0], engine);
		test_threads(engine);
	}
	test_refusals();
	test_loop(512);
	test_loop(4096);
	test_loop_busy();
	return CHECK_DONE();
}
