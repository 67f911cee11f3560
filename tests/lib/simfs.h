/* A filesystem on simulated disks, for tests: make, open, remount, crash.
 *
 * Everything comes from the seed: the disks' faults (tests/lib/simdisk.h), the clock, which moves on by 1 µs with each look
 * at it, and the random numbers.  The filesystem runs without threads (FS_INLINE) and commits only when asked, unless
 * `options` is changed before it is opened again.  Errors of opening are in `fail`, events are counted. */
#ifndef TESTS_LIB_SIMFS_H
#define TESTS_LIB_SIMFS_H

#include "fs/fs.h"
#include "tests/lib/simdisk.h"

struct simfs {
	struct simworld *world;
	struct fs *fs;                   /* NULL while closed */
	enum cipher cipher;
	uint8_t key[SECRET_GENERATED_BYTES];
	struct secret secret;            /* a generated key; not used with CIPHER_NONE */
	struct env env;
	struct fs_options options;
	bool left_out[SIM_DISKS_MAX];    /* disks that the next open is not given */
	struct fail fail;
	pthread_mutex_t lock;            /* protects the rest */
	int64_t clock_ns;
	uint64_t random_state;
	unsigned events[EVENT_WARNING + 1];      /* by kind */
	char last_event[256];
};

/* `count` disks of `size_bytes` with an array and an empty filesystem on them, opened.  Root directory: mode 0755 of 0:0. */
int simfs_make(struct simfs **ret_sim, unsigned count, uint64_t size_bytes, enum cipher cipher, uint64_t seed);
/* The same disks with the same unflushed writes and faults, closed. Cheap. */
struct simfs *simfs_clone(const struct simfs *sim);
/* The same filesystem on another world (taken over): its disks, its key.  Closed.  Random numbers go their own way from `salt`:
 * two branches of one history must never draw the same. */
struct simfs *simfs_on_world(const struct simfs *like, struct simworld *world, uint64_t salt);
/* Closes (abandoning what is dirty) and frees everything.  NULL is fine. */
void simfs_free(struct simfs *sim);

static inline struct fs *simfs_fs(struct simfs *sim) { return sim->fs; }

/* Opens with all disks that are not left out. */
int simfs_open(struct simfs *sim);
/* fs_close; it is closed whatever that returns. */
int simfs_close(struct simfs *sim, bool abandon);
/* Closes with a commit and opens again. */
int simfs_remount(struct simfs *sim);
/* The power fails now: abandons, treats unflushed writes as `policy` says, and opens again. */
int simfs_crash(struct simfs *sim, enum simcut_policy policy);
/* Lets time pass. */
void simfs_sleep(struct simfs *sim, int64_t ns);
/* fs_write by fs_write_buffer: what is not kept of the buffer is overwritten afterwards. */
ssize_t simfs_write_buffer(struct fs *fs, uint64_t ino, const void *bytes, size_t count, uint64_t at);

#endif
