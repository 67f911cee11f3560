/* Many threads on one filesystem with all its own threads running (fs_start), on simulated disks: small caches, a small limit of
 * dirty memory, short commits, and an array small enough that rows are reused and relocation has to work.  Meant for
 * ThreadSanitizer and AddressSanitizer as much as for its own checks.
 *
 *	test_threads [--seed S] [--seconds N]
 *
 * Each worker owns a directory with a few files and knows what must be in them; it also reads files of the others, which must
 * only not fail.  One more thread plays the owner: it asks for commits and space, flips bits at rest, and kills a member and
 * lets it come back.  At the end everything is read back: as it is, after a remount, and fs_check must find nothing. */
#include "base/cleanup.h"
#include "fs/core.h"
#include "tests/lib/simfs.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define WORKERS 4u
#define FILES 10u
#define FILE_BYTES_MAX (1536u << 10)
#define WRITE_BYTES_MAX (200u << 10)
#define DISKS 3u
#define DISK_BYTES (UINT64_C(10) << 20)
#define STUCK_SECONDS 60
#define MEND_US 250000           /* more than two commits */

struct file {
	uint64_t ino, size;              /* ino 0: not there */
	char name[16];
	uint8_t *bytes;                  /* FILE_BYTES_MAX, zero beyond size */
};

struct worker {
	unsigned index;
	uint64_t random_state, dir;
	pthread_t thread;
	struct file files[FILES];
	uint8_t *scratch;
	_Atomic uint64_t ops, nospace;
};

static struct simfs *sim;
static struct fs *fs;
static uint64_t seed = 1;
static struct worker workers[WORKERS];
static _Atomic bool stop;
static _Atomic uint64_t known[WORKERS * FILES];      /* inodes that others may read */
static uint64_t least_free_blocks = UINT64_MAX;

static void fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

static void fail(const char *format, ...)
{
	va_list args;
	va_start(args, format);
	fprintf(stderr, "test_threads: ");
	vfprintf(stderr, format, args);
	fprintf(stderr, "\nlast event: %s\nseed %llu\n", sim->last_event, (unsigned long long)seed);
	va_end(args);
	_exit(1);
}

static uint64_t random_next(uint64_t *state)
{
	uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

static uint64_t below(struct worker *w, uint64_t limit) { return random_next(&w->random_state) % limit; }

static void must(int r, const char *what, const struct worker *w, const struct file *f)
{
	if (r < 0)
		fail("worker %u, file %s: %s failed: %s", w->index, f ? f->name : "-", what, strerror(-r));
}

/* A full filesystem is no failure: what was asked for then did not happen. */
static bool worked(struct worker *w, int r, const char *what, const struct file *f)
{
	if (r == -ENOSPC) {
		atomic_fetch_add(&w->nospace, 1);
		return false;
	}
	must(r, what, w, f);
	return true;
}

/* ---- What workers do ---- */

static _Atomic uint64_t *known_slot(const struct worker *w, const struct file *f)
{
	return &known[w->index * FILES + (unsigned)(f - w->files)];
}

static void do_create(struct worker *w, struct file *f)
{
	struct fs_attr attr;
	snprintf(f->name, sizeof f->name, "f%u-%u", (unsigned)(f - w->files), (unsigned)below(w, 10000));
	if (!worked(w, fs_mknod(fs, w->dir, f->name, S_IFREG | 0644, 0, (struct fs_cred){ 0 }, &attr), "mknod", f))
		return;
	f->ino = attr.ino;
	f->size = 0;
	memset(f->bytes, 0, FILE_BYTES_MAX);
	atomic_store(known_slot(w, f), f->ino);
}

/* Reads a range and compares; what lies beyond the end must not come. */
static void check_range(struct worker *w, struct file *f, uint64_t from, size_t bytes)
{
	size_t want = from >= f->size ? 0 : f->size - from < bytes ? (size_t)(f->size - from) : bytes;
	ssize_t n = fs_read(fs, f->ino, w->scratch, bytes, from);
	if (n < 0)
		fail("worker %u, file %s: read of %zu bytes at %llu failed: %s", w->index, f->name, bytes, (unsigned long long)from, strerror((int)-n));
	if ((size_t)n != want || memcmp(w->scratch, f->bytes + from, want)) {
		size_t at = 0;
		while (at < want && at < (size_t)n && w->scratch[at] == f->bytes[from + at])
			at++;
		fail("worker %u, file %s: read of %zu bytes at %llu gave %zd, wrong from byte %zu on", w->index, f->name, bytes,
			(unsigned long long)from, n, at);
	}
}

static void do_write(struct worker *w, struct file *f)
{
	uint64_t from = below(w, FILE_BYTES_MAX), most = below(w, 2) ? 9000 : WRITE_BYTES_MAX;
	size_t bytes = (size_t)(1 + below(w, most));
	if (below(w, 3) == 0)
		from -= from % UNIT_BYTES;
	if (bytes > FILE_BYTES_MAX - from)
		bytes = (size_t)(FILE_BYTES_MAX - from);
	for (size_t i = 0; i < bytes; i += 8) {
		uint64_t r = random_next(&w->random_state);
		memcpy(w->scratch + i, &r, bytes - i < 8 ? bytes - i : 8);
	}
	ssize_t n = simfs_write_buffer(fs, f->ino, w->scratch, bytes, from);
	if (!worked(w, n < 0 ? (int)n : 0, "write", f)) {
		/* A part may have arrived: it is taken as it is. */
		struct fs_attr attr;
		must(fs_getattr(fs, f->ino, &attr), "getattr", w, f);
		f->size = attr.size_bytes;
		must((int)fs_read(fs, f->ino, f->bytes, FILE_BYTES_MAX, 0), "read", w, f);
		return;
	}
	memcpy(f->bytes + from, w->scratch, bytes);
	if (from + bytes > f->size)
		f->size = from + bytes;
}

static void do_truncate(struct worker *w, struct file *f)
{
	struct fs_attr attr = { .size_bytes = below(w, FILE_BYTES_MAX) };
	if (!worked(w, fs_setattr(fs, f->ino, &attr, FS_SET_SIZE, NULL), "truncate", f))
		return;
	if (attr.size_bytes < f->size)
		memset(f->bytes + attr.size_bytes, 0, f->size - attr.size_bytes);
	f->size = attr.size_bytes;
}

static void do_unlink(struct worker *w, struct file *f)
{
	atomic_store(known_slot(w, f), 0);
	must(fs_unlink(fs, w->dir, f->name), "unlink", w, f);
	f->ino = 0;
}

static void do_rename(struct worker *w, struct file *f)
{
	char name[16];
	snprintf(name, sizeof name, "f%u-%u", (unsigned)(f - w->files), (unsigned)below(w, 10000));
	if (worked(w, fs_rename(fs, w->dir, f->name, w->dir, name, 0), "rename", f))
		memcpy(f->name, name, sizeof name);
}

/* A file of somebody else: it may change or go at any time. */
static void do_read_other(struct worker *w)
{
	uint64_t ino = atomic_load(&known[below(w, WORKERS * FILES)]);
	if (ino == 0)
		return;
	ssize_t n = fs_read(fs, ino, w->scratch, WRITE_BYTES_MAX, below(w, FILE_BYTES_MAX));
	if (n < 0 && n != -ENOENT)
		fail("worker %u: read of inode %llu failed: %s", w->index, (unsigned long long)ino, strerror((int)-n));
}

static void one_operation(struct worker *w)
{
	struct file *f = &w->files[below(w, FILES)];
	unsigned what = (unsigned)below(w, 100);
	if (!f->ino)
		do_create(w, f);
	else if (what < 62)
		do_write(w, f);
	else if (what < 76)
		check_range(w, f, below(w, FILE_BYTES_MAX), (size_t)(1 + below(w, WRITE_BYTES_MAX)));
	else if (what < 86)
		do_read_other(w);
	else if (what < 90)
		do_truncate(w, f);
	else if (what < 94)
		do_rename(w, f);
	else if (what < 97)
		do_unlink(w, f);
	else
		must(fs_fsync(fs, f->ino, false), "fsync", w, f);
}

static void *work(void *arg)
{
	struct worker *w = arg;
	while (!atomic_load(&stop)) {
		one_operation(w);
		atomic_fetch_add(&w->ops, 1);
	}
	return NULL;
}

/* ---- The owner ---- */

static bool all_level(void) { return !array_degraded(fs_array(fs)); }

static void *own(void *arg)
{
	uint64_t state = seed * 77 + 5;
	struct simdisk *dead = NULL;
	(void)arg;
	while (!atomic_load(&stop)) {
		struct fs_space space;
		usleep(20000);
		simfs_sleep(sim, INT64_C(20) * 1000000000);
		fs_space(fs, &space);
		if (space.free_blocks < least_free_blocks)
			least_free_blocks = space.free_blocks;
		int r = random_next(&state) % 4 ? 0 : fs_sync(fs);
		if (r < 0)
			fail("sync failed: %s", strerror(-r));
		if (dead && random_next(&state) % 8 == 0) {
			SCOPED_LOCK(&sim->world->lock);
			dead->dead = false;
			dead = NULL;
		} else if (!dead && all_level() && random_next(&state) % 16 == 0) {
			dead = sim->world->disks[random_next(&state) % DISKS];
			SCOPED_LOCK(&sim->world->lock);
			dead->dead = true;
		}
	}
	SCOPED_LOCK(&sim->world->lock);
	if (dead)
		dead->dead = false;
	return NULL;
}

/* ---- Around ---- */

static void setup(void)
{
	if (simfs_make(&sim, DISKS, DISK_BYTES, CIPHER_XCHACHA20_POLY1305, seed) < 0)
		exit(1);
	sim->options.threads = 2;
	sim->options.commit_interval_ms = 100;
	sim->options.dirty_bytes = 1u << 20;
	sim->options.node_cache_bytes = 1u << 20;
	if (simfs_remount(sim) < 0 || fs_start(simfs_fs(sim)) < 0)
		fail("cannot mount: %s", sim->fail.text);
	fs = simfs_fs(sim);
	for (unsigned i = 0; i < WORKERS; i++) {
		struct worker *w = &workers[i];
		struct fs_attr attr;
		char name[16];
		*w = (struct worker){ .index = i, .random_state = seed * 1000 + i, .scratch = sim_alloc(FILE_BYTES_MAX) };
		for (unsigned k = 0; k < FILES; k++)
			w->files[k].bytes = sim_alloc(FILE_BYTES_MAX);
		snprintf(name, sizeof name, "dir%u", i);
		must(fs_mknod(fs, OBJECT_ROOT, name, S_IFDIR | 0755, 0, (struct fs_cred){ 0 }, &attr), "mkdir", w, NULL);
		w->dir = attr.ino;
	}
}

static void verify_all(void)
{
	for (unsigned i = 0; i < WORKERS; i++)
		for (unsigned k = 0; k < FILES; k++) {
			struct worker *w = &workers[i];
			struct file *f = &w->files[k];
			struct fs_attr attr;
			if (!f->ino)
				continue;
			must(fs_lookup(fs, w->dir, f->name, &attr), "lookup", w, f);
			if (attr.ino != f->ino || attr.size_bytes != f->size)
				fail("worker %u, file %s: inode %llu of %llu bytes, not %llu of %llu", i, f->name, (unsigned long long)attr.ino,
					(unsigned long long)attr.size_bytes, (unsigned long long)f->ino, (unsigned long long)f->size);
			check_range(w, f, 0, FILE_BYTES_MAX);
		}
}

static uint64_t ops_of(const struct worker *w) { return atomic_load(&((struct worker *)w)->ops); }

/* Sleeps, and sees that every worker gets on. */
static void watch(unsigned seconds)
{
	uint64_t last[WORKERS] = { 0 };
	unsigned still[WORKERS] = { 0 };
	for (unsigned s = 0; s < seconds; s++) {
		sleep(1);
		for (unsigned i = 0; i < WORKERS; i++) {
			uint64_t ops = ops_of(&workers[i]);
			still[i] = ops == last[i] ? still[i] + 1 : 0;
			last[i] = ops;
			if (still[i] >= STUCK_SECONDS)
				fail("worker %u is stuck after %llu operations", i, (unsigned long long)ops);
		}
	}
}

/* Bit rot while nothing else is wrong: what is read is healed.  What nobody reads (dead blocks, parity) is turned back, since only a
 * scrub would find it, unless relocation, which may go on, has written there.  What was healed before is mended first, with its row. */
static void rot(uint64_t *state)
{
	struct simdisk *disk = sim->world->disks[random_next(state) % DISKS];
	uint64_t data = array_config(fs_array(fs))->geometry.data_offset_bytes;
	uint64_t at = data + random_next(state) % (DISK_BYTES - data - SIMDISK_FLIP_BACK_MAX);
	uint8_t mask = (uint8_t)(1u << random_next(state) % 8), flipped[SIMDISK_FLIP_BACK_MAX];
	usleep(MEND_US);
	simdisk_flip(disk, at, mask);
	simdisk_peek(disk, at, flipped, sizeof flipped);
	verify_all();
	simdisk_flip_back(disk, at, mask, flipped, sizeof flipped);
}

/* All members back and level. */
static void wait_level(void)
{
	for (unsigned i = 0; !all_level(); i++) {
		if (i == 10 * STUCK_SECONDS)
			fail("a member that came back is not caught up");
		simfs_sleep(sim, INT64_C(3600) * 1000000000);
		usleep(100000);
	}
}

static void complain(void *ctx, const char *text)
{
	(void)ctx;
	fprintf(stderr, "check: %s\n", text);
}

static void remount_and_check(void)
{
	int r = simfs_close(sim, false);
	sim->options.threads = FS_INLINE;
	if (r < 0 || simfs_open(sim) < 0)
		fail("closing or opening again failed: %s", sim->fail.text);
	fs = simfs_fs(sim);
	verify_all();
	int64_t found = fs_check(fs, true, complain, NULL);
	if (found)
		fail("fs_check: %lld", (long long)found);
}

int main(int argc, char **argv)
{
	unsigned seconds = 10;
	pthread_t owner;
	for (int i = 1; i + 1 < argc; i += 2) {
		if (!strcmp(argv[i], "--seed"))
			seed = strtoull(argv[i + 1], NULL, 0);
		else if (!strcmp(argv[i], "--seconds"))
			seconds = (unsigned)strtoul(argv[i + 1], NULL, 0);
	}
	setup();
	for (unsigned i = 0; i < WORKERS; i++)
		pthread_create(&workers[i].thread, NULL, work, &workers[i]);
	pthread_create(&owner, NULL, own, NULL);
	watch(seconds);
	atomic_store(&stop, true);
	for (unsigned i = 0; i < WORKERS; i++)
		pthread_join(workers[i].thread, NULL);
	pthread_join(owner, NULL);
	wait_level();
	verify_all();
	for (uint64_t i = 0, state = seed; i < 20; i++)
		rot(&state);
	uint64_t ops = 0, nospace = 0;
	for (unsigned i = 0; i < WORKERS; i++) {
		ops += ops_of(&workers[i]);
		nospace += atomic_load(&workers[i].nospace);
	}
	fprintf(stderr, "%llu operations, %llu times full (least free %llu blocks), generation %llu, %u healed, %u dropped, %u back in sync\n", (unsigned long long)ops,
		(unsigned long long)nospace, (unsigned long long)least_free_blocks, (unsigned long long)fs_generation(fs), sim->events[EVENT_HEALED], sim->events[EVENT_MEMBER_DROPPED],
		sim->events[EVENT_MEMBER_IN_SYNC]);
	remount_and_check();
	for (unsigned i = 0; i < WORKERS; i++) {
		free(workers[i].scratch);
		for (unsigned k = 0; k < FILES; k++)
			free(workers[i].files[k].bytes);
	}
	simfs_free(sim);
	return 0;
}
