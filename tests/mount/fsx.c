/* Random operations on one file, compared with a model in memory.
 *
 * Usage: fsx [-s SEED] [-n OPERATIONS] [-l LENGTH_MAX] FILE
 *
 * Every operation is done on the file and on an array of bytes; reads and maps are compared at once, the whole file at
 * its end and after each reopening.  The file changes its form now and then: closed and reopened, caches dropped, with
 * O_DIRECT or without.  A difference prints the first wrong byte and the operations before it; the same seed does the same
 * again. */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAGE 4096u
#define HISTORY 64u
#define HISTORY_BYTES 128u

static const char *path;
static int fd = -1;
static int direct_fd = -1;
static uint8_t *model, *buf;     /* buf is aligned to pages */
static size_t size, size_max = 1u << 20;
static uint64_t seed = 1, state;
static uint64_t step;
static char history[HISTORY][HISTORY_BYTES];

static uint64_t rnd(void)
{
	state += UINT64_C(0x9e3779b97f4a7c15);
	uint64_t z = state;
	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

static size_t below(size_t n)
{
	return n ? (size_t)(rnd() % n) : 0;
}

static void note(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void note(const char *format, ...)
{
	va_list args;
	va_start(args, format);
	vsnprintf(history[step % HISTORY], HISTORY_BYTES, format, args);
	va_end(args);
}

static void fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
static void fail(const char *format, ...)
{
	va_list args;
	va_start(args, format);
	fprintf(stderr, "%s: step %llu, seed %llu: ", path, (unsigned long long)step, (unsigned long long)seed);
	vfprintf(stderr, format, args);
	va_end(args);
	fprintf(stderr, "\nThe last operations:\n");
	for (uint64_t i = step + 1 >= HISTORY ? step + 1 - HISTORY : 0; i <= step; i++)
		fprintf(stderr, "%8llu %s\n", (unsigned long long)i, history[i % HISTORY]);
	exit(1);
}

static void compare(const uint8_t *got, size_t offset, size_t length, const char *what)
{
	if (!memcmp(got, model + offset, length))
		return;
	size_t i = 0, wrong = 0;
	while (got[i] == model[offset + i])
		i++;
	for (size_t k = i; k < length; k++)
		wrong += got[k] != model[offset + k];
	fail("%s: byte %zu is 0x%02x and should be 0x%02x; %zu wrong of %zu from %zu on (size %zu)", what, offset + i, got[i],
		model[offset + i], wrong, length, offset, size);
}

static void check_size(void)
{
	struct stat st;
	if (fstat(fd, &st) < 0)
		fail("fstat: %s", strerror(errno));
	if ((size_t)st.st_size != size)
		fail("the size is %lld and should be %zu", (long long)st.st_size, size);
}

/* A range; mostly small ones, often at blocks, inside the file when `inside`. */
static void range(bool inside, bool aligned, size_t *ret_offset, size_t *ret_length)
{
	static const size_t lengths[] = { 16, 512, 4096, 20000, 65536, 300000 };
	size_t limit = inside ? size : size_max;
	size_t offset = below(limit), length = 1 + below(lengths[below(6)]);

	if (aligned || below(4) == 0) {
		offset -= offset % PAGE;
		length = (length + PAGE - 1) / PAGE * PAGE;
	}
	if (length > limit - offset)
		length = limit - offset;
	if (aligned)
		length -= length % PAGE;
	*ret_offset = offset;
	*ret_length = length;
}

static void fill(uint8_t *p, size_t length)
{
	uint8_t base = (uint8_t)rnd();
	for (size_t i = 0; i < length; i++)
		p[i] = (uint8_t)(base + i * 7 + (i >> 8));
	for (size_t i = 0; i + 8 <= length; i += 512) {
		uint64_t word = rnd();
		memcpy(p + i, &word, 8);
	}
}

static void grow(size_t end)
{
	if (end > size) {
		memset(model + size, 0, end - size);
		size = end;
	}
}

static void do_read(int from, bool direct)
{
	size_t offset, length;
	range(false, direct, &offset, &length);
	note("read%s %zu+%zu", direct ? " direct" : "", offset, length);
	if (!length)
		return;
	ssize_t n = pread(from, buf, length, (off_t)offset);
	size_t expected = offset >= size ? 0 : size - offset < length ? size - offset : length;
	if (n != (ssize_t)expected)
		fail("read returns %zd and not %zu: %s", n, expected, n < 0 ? strerror(errno) : "");
	compare(buf, offset, expected, "read");
}

static void do_write(int to, bool direct)
{
	size_t offset, length;
	range(false, direct, &offset, &length);
	if (!direct && below(4) == 0)
		offset = size < size_max ? size : size_max - 1;
	if (length > size_max - offset)
		length = size_max - offset;
	note("write%s %zu+%zu", direct ? " direct" : "", offset, length);
	if (!length)
		return;
	fill(buf, length);
	ssize_t n = pwrite(to, buf, length, (off_t)offset);
	if (n != (ssize_t)length)
		fail("write returns %zd: %s", n, n < 0 ? strerror(errno) : "");
	grow(offset + length);
	memcpy(model + offset, buf, length);
}

static void do_map(bool writing)
{
	size_t offset, length;
	if (!size)
		return;
	range(true, false, &offset, &length);
	note("map %s %zu+%zu", writing ? "write" : "read", offset, length);
	size_t head = offset % PAGE;
	uint8_t *p = mmap(NULL, length + head, PROT_READ | (writing ? PROT_WRITE : 0), MAP_SHARED, fd, (off_t)(offset - head));
	if (p == MAP_FAILED)
		fail("mmap: %s", strerror(errno));
	compare(p + head, offset, length, "map");
	if (writing) {
		fill(p + head, length);
		memcpy(model + offset, p + head, length);
		if (below(3) == 0 && msync(p, length + head, MS_SYNC) < 0)
			fail("msync: %s", strerror(errno));
	}
	/* Beyond the end the last page is zeros. */
	if (offset + length == size)
		for (size_t i = length + head; i % PAGE; i++)
			if (p[i])
				fail("map: byte %zu behind the end is 0x%02x", i, p[i]);
	munmap(p, length + head);
}

static void do_truncate(void)
{
	size_t to = below(3) == 0 ? below(size_max + 1) : below(size + size / 4 + 5000);
	if (below(3) == 0)
		to -= to % PAGE;
	if (to > size_max)
		to = size_max;
	note("truncate %zu -> %zu", size, to);
	if (ftruncate(fd, (off_t)to) < 0)
		fail("ftruncate: %s", strerror(errno));
	if (to < size)
		size = to;
	grow(to);
}

static void do_fallocate(void)
{
	static const int modes[] = { 0, FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, FALLOC_FL_ZERO_RANGE,
		FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE };
	size_t offset, length;
	int mode = modes[below(5)];

	range(false, false, &offset, &length);
	note("fallocate 0x%x %zu+%zu", (unsigned)mode, offset, length);
	if (!length)
		return;
	if (fallocate(fd, mode, (off_t)offset, (off_t)length) < 0)
		fail("fallocate: %s", strerror(errno));
	if (mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE) && offset < size)
		memset(model + offset, 0, size - offset < length ? size - offset : length);
	if (!(mode & FALLOC_FL_KEEP_SIZE))
		grow(offset + length);
}

static void do_copy(void)
{
	size_t from, length, to = below(size_max);
	if (!size)
		return;
	range(true, false, &from, &length);
	if (length > size_max - to)
		length = size_max - to;
	if (from < to + length && to < from + length)
		return;
	note("copy_file_range %zu+%zu -> %zu", from, length, to);
	for (size_t done = 0; done < length;) {
		off_t in = (off_t)(from + done), out = (off_t)(to + done);
		ssize_t n = copy_file_range(fd, &in, fd, &out, length - done, 0);
		if (n <= 0)
			fail("copy_file_range returns %zd: %s", n, n < 0 ? strerror(errno) : "");
		done += (size_t)n;
	}
	grow(to + length);
	memmove(model + to, model + from, length);
}

/* Whatever is called a hole must be zeros. */
static void do_seek(void)
{
	size_t at = below(size);
	note("seek %zu", at);
	if (!size)
		return;
	off_t data = lseek(fd, (off_t)at, SEEK_DATA), hole = lseek(fd, (off_t)at, SEEK_HOLE);
	if (data < 0 && errno != ENXIO)
		fail("SEEK_DATA: %s", strerror(errno));
	if (hole < (off_t)at || hole > (off_t)size)
		fail("SEEK_HOLE from %zu: %lld", at, (long long)hole);
	for (size_t i = at; i < (data < 0 ? size : (size_t)data); i++)
		if (model[i])
			fail("SEEK_DATA from %zu finds %lld, but byte %zu is 0x%02x", at, (long long)data, i, model[i]);
}

static void check_all(void)
{
	check_size();
	for (size_t done = 0; done < size;) {
		ssize_t n = pread(fd, buf, size_max, (off_t)done);
		if (n <= 0)
			fail("read returns %zd: %s", n, n < 0 ? strerror(errno) : "");
		compare(buf, done, (size_t)n, "the whole");
		done += (size_t)n;
	}
}

static void open_both(void)
{
	fd = open(path, O_RDWR | O_CREAT, 0644);
	direct_fd = open(path, O_RDWR | O_DIRECT);
	if (fd < 0 || direct_fd < 0)
		fail("open: %s", strerror(errno));
}

static void do_form(void)
{
	switch (below(4)) {
	case 0:
		note("reopen");
		if (close(fd) < 0 || close(direct_fd) < 0)
			fail("close: %s", strerror(errno));
		open_both();
		check_all();
		break;
	case 1:
		note("fsync, drop cache");
		if (fsync(fd) < 0)
			fail("fsync: %s", strerror(errno));
		posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
		break;
	case 2:
		note("fdatasync");
		if (fdatasync(fd) < 0)
			fail("fdatasync: %s", strerror(errno));
		break;
	default:
		note("check");
		check_all();
	}
}

static void one(void)
{
	size_t what = below(100);
	if (what < 18)
		do_read(fd, false);
	else if (what < 24)
		do_read(direct_fd, true);
	else if (what < 44)
		do_write(fd, false);
	else if (what < 50)
		do_write(direct_fd, true);
	else if (what < 58)
		do_map(false);
	else if (what < 66)
		do_map(true);
	else if (what < 76)
		do_truncate();
	else if (what < 86)
		do_fallocate();
	else if (what < 90)
		do_copy();
	else if (what < 95)
		do_seek();
	else
		do_form();
	check_size();
}

int main(int argc, char **argv)
{
	uint64_t steps = 10000;
	int option;

	while ((option = getopt(argc, argv, "s:n:l:")) != -1) {
		uint64_t number = optarg ? strtoull(optarg, NULL, 0) : 0;
		if (option == 's')
			seed = number;
		else if (option == 'n')
			steps = number;
		else if (option == 'l' && number >= PAGE)
			size_max = (size_t)number / PAGE * PAGE;
		else
			optind = argc + 1;
	}
	if (optind != argc - 1) {
		fprintf(stderr, "Usage: fsx [-s SEED] [-n OPERATIONS] [-l LENGTH_MAX] FILE\n");
		return 2;
	}
	path = argv[optind];
	state = seed;
	model = calloc(1, size_max);
	if (!model || posix_memalign((void **)&buf, PAGE, size_max))
		fail("out of memory");
	open_both();
	if (ftruncate(fd, 0) < 0)
		fail("ftruncate: %s", strerror(errno));
	for (step = 0; step < steps; step++)
		one();
	check_all();
	free(model);
	free(buf);
	close(direct_fd);
	return close(fd) < 0;
}
