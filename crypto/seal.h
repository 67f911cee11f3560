/* Sealing: what makes a record secret and tamper-proof (or, with CIPHER_NONE, merely checked).
 *
 * The nonce rule (design R3): a key and a nonce never meet twice.
 *
 * A batch draws its 16 bytes after its plaintext is fixed: 16 bytes from the kernel, hashed with the clock, the process
 * id and a process-wide counter.  A record's nonce is these 16 bytes and its index in the batch as 8 little-endian bytes,
 * 24 in all.  Both ciphers run under the batch's subkey = HChaCha20(data key, the 16 bytes), with the 12-byte nonce
 * 0000 ‖ index; for XChaCha20-Poly1305 that is by definition the very same as sealing under the data key with the 24 bytes.
 *
 * The bound: indexes differ inside a batch, so a nonce repeats only if two batches have the same 16 bytes.  In one
 * process the counter makes all inputs of the hash different; over all processes and machines they are different but for
 * equal draws.  So two batches collide with probability 2^-128, and of n batches some two with less than
 * n²/2 · 2^-128: n = 2^40 gives 2^79 · 2^-128 = 2^-49.  (2^40 batches of one row each are 2^40 × 32 KiB = 32 PiB.)
 * Nothing has to be on a disk for this to hold, so clones and rolled-back disks are harmless.
 * Subkeys of AES-256-GCM are 256 bits out of HChaCha20, distinct for distinct 16 bytes; under each at most 2^32 records of
 * one unit are sealed, far from GCM's limits.
 *
 * CIPHER_NONE: the bytes stay as they are, and the tag is XXH3-128 (canonical, big-endian) over
 * nonce ‖ index (le32) ‖ length of the associated data (le64) ‖ associated data ‖ bytes.
 *
 * Engines: libsodium is the reference and the fallback, and makes the subkeys; libcrypto (OpenSSL 3), if it was built in, gives the
 * very same bytes, and differs in speed alone.  crypto/seal_engine.h chooses. */
#ifndef CRYPTO_SEAL_H
#define CRYPTO_SEAL_H

#include "base/env.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SEAL_KEY_BYTES 32
#define SEAL_TAG_BYTES 16
#define SEAL_NONCE_BYTES 16          /* of a batch; the index completes a record's */
#define SEAL_LONG_NONCE_BYTES 24     /* XChaCha20-Poly1305's own */

enum cipher { CIPHER_NONE = 0, CIPHER_XCHACHA20_POLY1305 = 1, CIPHER_AES256_GCM = 2 };

/* "none", "xchacha20-poly1305", "aes256-gcm"; NULL for a number that is no cipher. */
const char *cipher_name(enum cipher cipher);
/* 0 or -EINVAL. */
int cipher_parse(const char *name, enum cipher *ret_cipher);
/* Can this machine run it?  AES-256-GCM needs the processor's AES instructions, whatever the engine is: without them the reference
 * could not stand in for an engine that fails, and AES in software betrays its key by the time that it takes.  Who opens an array
 * asks this once: sealing with a cipher that is not available is a programmer's error. */
bool cipher_available(enum cipher cipher);

/* What does the work.  AUTO is a wish (crypto/seal_engine.h), and never in a key. */
enum seal_engine { SEAL_ENGINE_SODIUM = 0, SEAL_ENGINE_OPENSSL = 1, SEAL_ENGINE_AUTO = 2 };

/* The key of all records.  Part of struct keys, in the locked arena. */
struct seal_key {
	enum cipher cipher;
	enum seal_engine engine;                                /* one that is built in */
	uint8_t key[SEAL_KEY_BYTES];
};

/* The state of one batch: secret, and wiped by seal_batch_end. */
struct seal_batch {
	uint8_t aes_state[512] __attribute__((aligned(16)));    /* libsodium's AES-256-GCM: the expanded subkey */
	uint8_t subkey[SEAL_KEY_BYTES];                         /* XChaCha20-Poly1305, and libcrypto's AES-256-GCM */
	uint8_t nonce[SEAL_NONCE_BYTES];
	uint64_t number;                                        /* libcrypto: no other batch of this process has it; never 0 */
	enum cipher cipher;
	const struct seal_ops *ops;                             /* the engine: crypto/sealimpl.h */
};

/* Draws the batch's nonce and makes its subkey.  Call it only once the plaintext of the whole batch is fixed. */
void seal_batch_begin(const struct seal_key *key, const struct env *env, struct seal_batch *ret_batch);
/* Wipes the batch; needed after seal_batch_begin and open_batch_begin. */
void seal_batch_end(struct seal_batch *batch);

/* Seals `bytes` of `plain`; ret_sealed is of the same length and may be `plain`, but may not overlap it otherwise.  Lengths are
 * at most INT_MAX.  `index`: each one at most once in a batch.  Thread-safe for different indexes of one batch. */
void seal_record(const struct seal_batch *batch, uint32_t index, const void *ad, size_t ad_bytes,
	const void *plain, size_t bytes, void *ret_sealed, uint8_t ret_tag[SEAL_TAG_BYTES]);

/* Opens one record: 0, or -EBADMSG if tag, nonce, index, associated data or bytes are not those that were sealed.
 * ret_plain may be `sealed`; it is then of no use after a failure.  Unauthenticated plaintext is never left in it: after a
 * failure it is zeroed or as it was. */
int open_record(const struct seal_key *key, const uint8_t nonce[SEAL_NONCE_BYTES], uint32_t index,
	const void *ad, size_t ad_bytes, const void *sealed, size_t bytes, const uint8_t tag[SEAL_TAG_BYTES], void *ret_plain);

/* The same for many records of one batch, with the subkey made once.  0, or -EOPNOTSUPP if this machine does not have the cipher;
 * the batch then opens nothing (-EBADMSG) and may be ended.  Thread-safe for the records of one batch. */
int open_batch_begin(const struct seal_key *key, const uint8_t nonce[SEAL_NONCE_BYTES], struct seal_batch *ret_batch);
int open_record_in(const struct seal_batch *batch, uint32_t index, const void *ad, size_t ad_bytes,
	const void *sealed, size_t bytes, const uint8_t tag[SEAL_TAG_BYTES], void *ret_plain);

/* Is it what was sealed?  0 or -EBADMSG, as open_record_in; faster where the tag can be had without the plaintext.  `scratch` is of the same
 * length, and may hold the plaintext afterwards. */
int verify_record_in(const struct seal_batch *batch, uint32_t index, const void *ad, size_t ad_bytes,
	const void *sealed, size_t bytes, const uint8_t tag[SEAL_TAG_BYTES], void *scratch);

/* Opens a part of a record: `part_bytes` from `from_bytes` on, a multiple of SEAL_PART_BYTES.  All of the record is verified; where the cipher
 * allows, only the part is decrypted.  0 or -EBADMSG, as open_record_in; ret_plain may not overlap the others.  `scratch` is as long as
 * the record, and may hold the plaintext afterwards. */
#define SEAL_PART_BYTES 64u
int open_part_in(const struct seal_batch *batch, uint32_t index, const void *ad, size_t ad_bytes, const void *sealed, size_t bytes,
	const uint8_t tag[SEAL_TAG_BYTES], size_t from_bytes, size_t part_bytes, void *ret_plain, void *scratch);

/* XChaCha20-Poly1305 of something that is in no batch, under a key of its own, in place.  `engine`: that of a key whose cipher is
 * the same. */
void seal_alone(enum seal_engine engine, const uint8_t key[SEAL_KEY_BYTES], const uint8_t nonce[SEAL_LONG_NONCE_BYTES],
	const void *ad, size_t ad_bytes, void *bytes, size_t count, uint8_t ret_tag[SEAL_TAG_BYTES]);

/* Fills ret_nonce (16 to 64 bytes) by the rule above: the kernel's random bytes hashed with clock, process and counter. */
void nonce_draw(const struct env *env, void *ret_nonce, size_t bytes);

#endif
