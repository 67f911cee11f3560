/* The linker sends every call of the functions that do I/O, seal, open or draw a nonce here (tests/meson.build has their names, where the
 * library that has one doesn't call it itself).  In a simulation nobody but the calling thread could hold fs->lock: if it can't be taken
 * now, the caller holds it.
 *
 * Which filesystem is looked at is known from log_init and log_free: the first is called as soon as it has a lock, before anything is read
 * through it, and the second when all I/O is over.
 *
 * Who held it:  gdb -batch -ex 'break lock_is_held' -ex run -ex bt build/tests/test_unlocked */
#include "tests/sim/unlocked.h"

#include "fs/core.h"
#include "fs/log/log.h"

#include <stdio.h>

const char *const unlocked_names[UNLOCKED_KINDS] = { "reads", "writes", "flushes", "nonces", "sealings", "openings" };
struct unlocked_counts unlocked_counts;

static struct fs *watched;

static __attribute__((noinline)) void lock_is_held(enum unlocked_kind kind, const char *function)
{
	if (unlocked_counts.held[kind]++ == 0)
		fprintf(stderr, "fs->lock is held at one of the %s, in %s\n", unlocked_names[kind], function);
}

static void look(enum unlocked_kind kind, const char *function)
{
	if (!watched)
		return;
	assert(watched->simple);
	unlocked_counts.looked[kind]++;
	if (pthread_mutex_trylock(&watched->lock))
		lock_is_held(kind, function);
	else
		pthread_mutex_unlock(&watched->lock);
}

/* ---- From when to when ---- */

int __real_log_init(struct fs *fs);
int __wrap_log_init(struct fs *fs);
int __wrap_log_init(struct fs *fs)
{
	assert(!watched);
	watched = fs;
	return __real_log_init(fs);
}

void __real_log_free(struct fs *fs);
void __wrap_log_free(struct fs *fs);
void __wrap_log_free(struct fs *fs)
{
	watched = NULL;
	__real_log_free(fs);
}

/* ---- I/O ---- */

static enum unlocked_kind kind_of(enum disk_op op)
{
	return op == DISK_READ ? UNLOCKED_READ : op == DISK_FLUSH ? UNLOCKED_FLUSH : UNLOCKED_WRITE;
}

void __real_disk_run(struct disk_io *ios, unsigned count, int64_t timeout_ms);
void __wrap_disk_run(struct disk_io *ios, unsigned count, int64_t timeout_ms);
void __wrap_disk_run(struct disk_io *ios, unsigned count, int64_t timeout_ms)
{
	for (unsigned i = 0; i < count; i++)
		look(kind_of(ios[i].op), "disk_run");
	__real_disk_run(ios, count, timeout_ms);
}

#define WRAPPED(kind, type, name, parameters, arguments) \
	type __real_##name parameters; \
	type __wrap_##name parameters; \
	type __wrap_##name parameters \
	{ \
		look(kind, #name); \
		return __real_##name arguments; \
	}

WRAPPED(UNLOCKED_READ, int, disk_read, (struct disk *disk, uint64_t offset_bytes, void *buf, size_t bytes), (disk, offset_bytes, buf, bytes))
WRAPPED(UNLOCKED_WRITE, int, disk_write, (struct disk *disk, uint64_t offset_bytes, const void *buf, size_t bytes),
	(disk, offset_bytes, buf, bytes))
WRAPPED(UNLOCKED_FLUSH, int, disk_flush, (struct disk *disk), (disk))

/* ---- Sealing ---- */

#define WRAPPED_VOID(kind, name, parameters, arguments) \
	void __real_##name parameters; \
	void __wrap_##name parameters; \
	void __wrap_##name parameters \
	{ \
		look(kind, #name); \
		__real_##name arguments; \
	}

#define BODY_PARAMETERS const struct keys *keys, const uint8_t *nonce, const void *header, size_t header_bytes, void *body, size_t body_bytes

WRAPPED_VOID(UNLOCKED_NONCE, nonce_draw, (const struct env *env, void *ret_nonce, size_t bytes), (env, ret_nonce, bytes))
WRAPPED_VOID(UNLOCKED_NONCE, seal_batch_begin, (const struct seal_key *key, const struct env *env, struct seal_batch *ret_batch),
	(key, env, ret_batch))
WRAPPED_VOID(UNLOCKED_SEAL, seal_record, (const struct seal_batch *batch, uint32_t index, const void *ad, size_t ad_bytes, const void *plain,
	size_t bytes, void *ret_sealed, uint8_t *ret_tag), (batch, index, ad, ad_bytes, plain, bytes, ret_sealed, ret_tag))
WRAPPED_VOID(UNLOCKED_SEAL, root_seal, (BODY_PARAMETERS, uint8_t *ret_tag), (keys, nonce, header, header_bytes, body, body_bytes, ret_tag))
WRAPPED_VOID(UNLOCKED_SEAL, log_seal, (BODY_PARAMETERS, uint8_t *ret_tag), (keys, nonce, header, header_bytes, body, body_bytes, ret_tag))

WRAPPED(UNLOCKED_OPEN, int, open_batch_begin, (const struct seal_key *key, const uint8_t *nonce, struct seal_batch *ret_batch),
	(key, nonce, ret_batch))
WRAPPED(UNLOCKED_OPEN, int, open_record, (const struct seal_key *key, const uint8_t *nonce, uint32_t index, const void *ad, size_t ad_bytes,
	const void *sealed, size_t bytes, const uint8_t *tag, void *ret_plain), (key, nonce, index, ad, ad_bytes, sealed, bytes, tag, ret_plain))
WRAPPED(UNLOCKED_OPEN, int, open_record_in, (const struct seal_batch *batch, uint32_t index, const void *ad, size_t ad_bytes,
	const void *sealed, size_t bytes, const uint8_t *tag, void *ret_plain), (batch, index, ad, ad_bytes, sealed, bytes, tag, ret_plain))
WRAPPED(UNLOCKED_OPEN, int, verify_record_in, (const struct seal_batch *batch, uint32_t index, const void *ad, size_t ad_bytes,
	const void *sealed, size_t bytes, const uint8_t *tag, void *scratch), (batch, index, ad, ad_bytes, sealed, bytes, tag, scratch))
WRAPPED(UNLOCKED_OPEN, int, open_part_in, (const struct seal_batch *batch, uint32_t index, const void *ad, size_t ad_bytes,
	const void *sealed, size_t bytes, const uint8_t *tag, size_t from_bytes, size_t part_bytes, void *ret_plain, void *scratch),
	(batch, index, ad, ad_bytes, sealed, bytes, tag, from_bytes, part_bytes, ret_plain, scratch))
WRAPPED(UNLOCKED_OPEN, int, root_open, (BODY_PARAMETERS, const uint8_t *tag), (keys, nonce, header, header_bytes, body, body_bytes, tag))
WRAPPED(UNLOCKED_OPEN, int, log_open, (BODY_PARAMETERS, const uint8_t *tag), (keys, nonce, header, header_bytes, body, body_bytes, tag))
