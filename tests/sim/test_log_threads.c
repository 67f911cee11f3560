/* fsyncs of many threads while commits are in flight, and then the power fails: what was acknowledged must be there.
 *
 *	test_log_threads [--seed S] [--rounds N]
 *
 * Each round: a filesystem with all its own threads running, on simulated disks; the power fails at a change drawn from the seed (how
 * the threads are scheduled is not the seed's).  Workers know what they were promised:
 *  - one kind overwrites blocks of a file, each with a number, and fsyncs: a block must have the last number acknowledged or a
 *    later one, and must not be torn;
 *  - the other writes a new file, renames it over the old one, and fsyncs the folder: the name must lead to one whole version, the last
 *    acknowledged or a later one; not even without an fsync may it lead to an empty or torn one;
 *  - a third makes noise that nobody syncs; and one thread asks for commits. */
#include "base/cleanup.h"
#include "fs/format.h"
#include "tests/lib/simfs.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DISKS 3u
#define DISK_BYTES (UINT64_C(16) << 20)
#define WORKERS 4u               /* of each of the first two kinds half */
#define BLOCKS 24u
#define VERSION_BYTES_MAX 60000u
#define CHANGES_MAX 1500u        /* the power fails after at most so many */

#ifdef __SANITIZE_ADDRESS__
#define ROUNDS_DEFAULT 15u
#else
#define ROUNDS_DEFAULT 60u
#endif

static const struct fs_cred cred;
static struct simfs *sim;
static _Atomic bool stop;
static uint64_t seed = 1;

struct worker {
	pthread_t thread;
	unsigned index;
	uint64_t dir, ino;
	uint64_t issued, acked;          /* versions */
	uint64_t block_issued[BLOCKS], block_acked[BLOCKS];
	uint8_t *bytes;
};
static struct worker workers[WORKERS];
static uint64_t acknowledged;

static uint64_t mix(uint64_t x)
{
	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

static void broken(const char *what, const struct worker *w, uint64_t a, uint64_t b)
{
	fprintf(stderr, "test_log_threads --seed %llu: worker %u: %s (%llu, %llu)\n", (unsigned long long)seed, w->index, what,
		(unsigned long long)a, (unsigned long long)b);
	exit(1);
}

static void fill(uint8_t *bytes, size_t count, uint64_t number)
{
	for (size_t i = 0; i < count; i += 8) {
		uint64_t word = i == 0 ? number : mix(number * 1000003 + i);
		memcpy(bytes + i, &word, count - i < 8 ? count - i : 8);
	}
}

static size_t version_bytes(uint64_t number) { return 8 + mix(number) % (VERSION_BYTES_MAX - 8); }

/* Returns false when the power is gone. */
static bool overwrite(struct worker *w)
{
	uint64_t number = ++w->issued;
	unsigned block = (unsigned)(mix(number + w->index) % BLOCKS);
	fill(w->bytes, BLOCK_BYTES, number);
	w->block_issued[block] = number;
	if (fs_write(sim->fs, w->ino, w->bytes, BLOCK_BYTES, block * BLOCK_BYTES, false, NULL) < 0)
		return false;
	if (number % 3 == 0)
		return true;
	if (fs_fsync(sim->fs, w->ino, false) < 0)
		return false;
	memcpy(w->block_acked, w->block_issued, sizeof w->block_acked);
	w->acked = number;
	return true;
}

static bool replace(struct worker *w)
{
	uint64_t number = ++w->issued;
	struct fs_attr attr;
	size_t bytes = version_bytes(number);
	fill(w->bytes, bytes, number);
	if (fs_mknod(sim->fs, w->dir, "new", S_IFREG | 0644, 0, cred, &attr) < 0
			|| fs_write(sim->fs, attr.ino, w->bytes, bytes, 0, false, NULL) < 0
			/* The first replaces nothing: only an fsync of its own promises its data. */
			|| (number == 1 && fs_fsync(sim->fs, attr.ino, false) < 0)
			|| fs_rename(sim->fs, w->dir, "new", w->dir, "name", 0) < 0)
		return false;
	if (number % 2 == 0)
		return true;
	if (fs_fsync(sim->fs, w->dir, false) < 0)
		return false;
	w->acked = number;
	return true;
}

static void *work(void *arg)
{
	struct worker *w = arg;
	while (!atomic_load(&stop) && (w->index % 2 ? replace(w) : overwrite(w)))
		;
	return NULL;
}

static void *noise(void *arg)
{
	uint64_t n = 0;
	uint8_t *bytes = calloc(1, 300000);
	while (!atomic_load(&stop)) {
		char name[24];
		struct fs_attr attr;
		snprintf(name, sizeof name, "noise%llu", (unsigned long long)(n++ % 8));
		fs_unlink(sim->fs, OBJECT_ROOT, name);
		if (fs_mknod(sim->fs, OBJECT_ROOT, name, S_IFREG | 0644, 0, cred, &attr) < 0
				|| fs_write(sim->fs, attr.ino, bytes, mix(n) % 300000 + 1, mix(n + 7) % 10000, false, NULL) < 0)
			break;
		usleep(300);
	}
	free(bytes);
	return arg;
}

static void *committer(void *arg)
{
	for (uint64_t n = seed; !atomic_load(&stop) && fs_sync(sim->fs) == 0; n++)
		usleep((unsigned)(mix(n) % 3000));
	return arg;
}

static void complain(void *ctx, const char *text)
{
	(void)ctx;
	fprintf(stderr, "check: %s\n", text);
}

/* ---- Afterwards ---- */

static void verify_blocks(struct worker *w)
{
	uint8_t want[BLOCK_BYTES];
	for (unsigned block = 0; block < BLOCKS; block++) {
		uint64_t number = 0;
		memset(w->bytes, 0, BLOCK_BYTES);
		ssize_t n = fs_read(sim->fs, w->ino, w->bytes, BLOCK_BYTES, block * BLOCK_BYTES);
		if (n < 0)
			broken("a block cannot be read", w, block, (uint64_t)-n);
		memcpy(&number, w->bytes, sizeof number);
		if (number < w->block_acked[block])
			broken("an acknowledged block is lost", w, number, w->block_acked[block]);
		if (number > w->issued)
			broken("a number that was never written", w, number, w->issued);
		if (number == 0)
			memset(want, 0, sizeof want);
		else
			fill(want, sizeof want, number);
		if (memcmp(want, w->bytes, sizeof want))
			broken("a block is torn", w, block, number);
	}
}

static void verify_version(struct worker *w)
{
	struct fs_attr attr;
	uint8_t *want = malloc(VERSION_BYTES_MAX);
	uint64_t number = 0;
	int r = fs_lookup(sim->fs, w->dir, "name", &attr);
	if (r == -ENOENT) {
		if (w->acked)
			broken("an acknowledged name is lost", w, w->acked, 0);
		free(want);
		return;
	}
	memset(w->bytes, 0, VERSION_BYTES_MAX);
	ssize_t n = r < 0 ? r : fs_read(sim->fs, attr.ino, w->bytes, VERSION_BYTES_MAX, 0);
	if (n < 0)
		broken("the file cannot be read", w, (uint64_t)-n, 0);
	memcpy(&number, w->bytes, sizeof number);
	if (n < 8 || number < w->acked || number > w->issued)
		broken("not the version that was acknowledged, nor a later one", w, number, w->acked);
	fill(want, version_bytes(number), number);
	if ((size_t)n != version_bytes(number) || memcmp(want, w->bytes, (size_t)n))
		broken("a torn version", w, number, (uint64_t)n);
	free(want);
}

static void verify(void)
{
	/* Orphans may have been freed at open. */
	int r = fs_sync(sim->fs);
	int64_t findings = r < 0 ? r : fs_check(sim->fs, true, complain, NULL);
	if (findings)
		broken("fs_check is not content", &workers[0], (uint64_t)findings, 0);
	for (unsigned i = 0; i < WORKERS; i++) {
		acknowledged += workers[i].acked;
		if (i % 2)
			verify_version(&workers[i]);
		else
			verify_blocks(&workers[i]);
	}
}

/* ---- A round ---- */

static int begin(void)
{
	if (simfs_make(&sim, DISKS, DISK_BYTES, CIPHER_XCHACHA20_POLY1305, seed) < 0)
		return -1;
	for (unsigned i = 0; i < WORKERS; i++) {
		struct worker *w = &workers[i];
		struct fs_attr attr;
		char name[16];
		*w = (struct worker){ .index = i, .bytes = malloc(VERSION_BYTES_MAX) };
		snprintf(name, sizeof name, "%u", i);
		if (fs_mknod(sim->fs, OBJECT_ROOT, name, (i % 2 ? S_IFDIR : S_IFREG) | 0755, 0, cred, &attr) < 0)
			return -1;
		w->ino = w->dir = attr.ino;
	}
	sim->options.threads = 2;
	sim->options.commit_interval_ms = 5;
	sim->options.dirty_bytes = 1u << 20;
	if (simfs_remount(sim) < 0)
		return -1;
	return fs_start(sim->fs);
}

static int play_round(void)
{
	pthread_t noisy, commits;
	if (begin() < 0)
		return -1;
	pthread_mutex_lock(&sim->world->lock);
	sim->world->cut_at_change = sim->world->changes + mix(seed) % CHANGES_MAX;
	pthread_mutex_unlock(&sim->world->lock);
	atomic_store(&stop, false);
	pthread_create(&noisy, NULL, noise, NULL);
	pthread_create(&commits, NULL, committer, NULL);
	for (unsigned i = 0; i < WORKERS; i++)
		pthread_create(&workers[i].thread, NULL, work, &workers[i]);
	for (unsigned i = 0; i < WORKERS; i++)
		pthread_join(workers[i].thread, NULL);
	atomic_store(&stop, true);
	pthread_join(noisy, NULL);
	pthread_join(commits, NULL);
	simfs_close(sim, true);
	sim->options.threads = FS_INLINE;
	sim->options.commit_interval_ms = UINT32_MAX;
	if (seed % 4)
		sim->left_out[seed % 4 - 1] = true;
	if (simfs_crash(sim, SIMCUT_RANDOM) < 0) {
		fprintf(stderr, "test_log_threads --seed %llu: does not open: %s\n", (unsigned long long)seed, sim->fail.text);
		return -1;
	}
	verify();
	simfs_free(sim);
	for (unsigned i = 0; i < WORKERS; i++)
		free(workers[i].bytes);
	return 0;
}

int main(int argc, char **argv)
{
	unsigned rounds = ROUNDS_DEFAULT;
	for (int i = 1; i + 1 < argc; i += 2) {
		if (!strcmp(argv[i], "--seed"))
			seed = strtoull(argv[i + 1], NULL, 10);
		if (!strcmp(argv[i], "--rounds"))
			rounds = (unsigned)strtoul(argv[i + 1], NULL, 10);
	}
	for (unsigned i = 0; i < rounds; i++, seed++)
		if (play_round() < 0)
			return 1;
	printf("%u rounds, %llu versions acknowledged, none lost\n", rounds, (unsigned long long)acknowledged);
	return acknowledged ? 0 : 1;
}
