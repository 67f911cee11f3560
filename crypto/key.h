/* Keys in memory: the arena that holds them, what is derived from the master key, MACs, and the sealing of roots.
 *
 * Call key_arena_init first in the process that will hold keys: after it has forked, since memory locks are not inherited. */
#ifndef CRYPTO_KEY_H
#define CRYPTO_KEY_H

#include "base/env.h"
#include "base/fail.h"
#include "base/uuid.h"
#include "crypto/seal.h"

#include <stddef.h>
#include <stdint.h>

/* ---- The arena ---- */

/* Makes the process fit to hold keys: not dumpable, no core files, the library initialised.  0; > 0 if the system does not let it
 * lock memory: everything works, but keys could reach swap, and fail->text has the sentence to warn with (fail->code stays
 * FAIL_NONE); < 0 if the library does not start (FAIL_SYSTEM).  May be called again. */
int key_arena_init(struct fail *fail);
/* Zeroed memory of its own pages between guard pages, locked, left out of dumps, and aligned to 64 bytes; NULL if there is none. */
void *key_alloc(size_t bytes);
/* Wipes and releases; NULL is fine. */
void key_free(void *key);
/* Zeroes in a way that the compiler keeps. */
void wipe(void *memory, size_t bytes);

/* ---- Keys ---- */

#define KEY_BYTES 32
#define NAME_KEY_BYTES 16
#define MAC_BYTES 32

/* 256 random bits from which all other keys come.  Lives only in the arena, and only until keys_derive. */
struct master_key { uint8_t b[KEY_BYTES]; };

/* One key for each purpose.  With CIPHER_NONE they are no secret. */
struct keys {
	struct seal_key data;
	uint8_t root[KEY_BYTES];
	uint8_t log[KEY_BYTES];
	uint8_t label_mac[KEY_BYTES];
	uint8_t promise_mac[KEY_BYTES];
	uint8_t name_hash[NAME_KEY_BYTES];
};

/* A new master key. */
void master_key_make(const struct env *env, struct master_key *ret_master);
/* BLAKE2b keyed with the master key over context ‖ purpose ‖ cipher ‖ UUID ‖ incompat bits (struct derive_message in key.c).
 * A label whose cipher, UUID or bits were changed leads to keys that open nothing.  `cipher` is not CIPHER_NONE.  Data's engine is
 * libsodium; who opens the array may set another. */
void keys_derive(const struct master_key *master, enum cipher cipher, const struct uuid *array, uint64_t incompat_features,
	struct keys *ret_keys);
/* The public keys of an array with cipher none: BLAKE2b without a key over the same message, with incompat bits 0. MACs and
 * name hashes made with them are checksums, which anybody can make. */
void keys_none(const struct uuid *array, struct keys *ret_keys);
static inline bool keys_secret(const struct keys *keys) { return keys->data.cipher != CIPHER_NONE; }

/* Keyed BLAKE2b-256.  Verify takes the same time wherever a difference is: 0 or -EBADMSG. */
void mac32(const uint8_t key[KEY_BYTES], const void *data, size_t bytes, uint8_t ret_mac[MAC_BYTES]);
int mac32_verify(const uint8_t key[KEY_BYTES], const void *data, size_t bytes, const uint8_t mac[MAC_BYTES]);

/* SipHash-2-4. */
uint64_t name_hash(const uint8_t key[NAME_KEY_BYTES], const void *name, size_t bytes);

/* ---- Roots ---- */

#define ROOT_SEAL_NONCE_BYTES 24

/* The nonce of one root.  It goes into the header before root_seal, since the header is associated data. */
void root_nonce(const struct env *env, uint8_t ret_nonce[ROOT_SEAL_NONCE_BYTES]);
/* Seals `body` in place: XChaCha20-Poly1305 under keys->root whatever the cipher of data is; with public keys the body stays in
 * the clear and the tag is XXH3-128 over nonce ‖ length of the header (le64) ‖ header ‖ body. */
void root_seal(const struct keys *keys, const uint8_t nonce[ROOT_SEAL_NONCE_BYTES], const void *header, size_t header_bytes,
	void *body, size_t body_bytes, uint8_t ret_tag[SEAL_TAG_BYTES]);
/* Opens `body` in place: 0, or -EBADMSG, after which the body is of no use. */
int root_open(const struct keys *keys, const uint8_t nonce[ROOT_SEAL_NONCE_BYTES], const void *header, size_t header_bytes,
	void *body, size_t body_bytes, const uint8_t tag[SEAL_TAG_BYTES]);

/* ---- Records of the intent log ---- */

/* As root_seal and root_open, under keys->log; the header, with the nonce in it, is associated data. Never the same nonce for two bodies:
 * it is drawn (nonce_draw) for each.  log_seal works by the engine of keys->data where that does this cipher: the bytes are the same. */
void log_seal(const struct keys *keys, const uint8_t nonce[ROOT_SEAL_NONCE_BYTES], const void *header, size_t header_bytes,
	void *body, size_t body_bytes, uint8_t ret_tag[SEAL_TAG_BYTES]);
int log_open(const struct keys *keys, const uint8_t nonce[ROOT_SEAL_NONCE_BYTES], const void *header, size_t header_bytes,
	void *body, size_t body_bytes, const uint8_t tag[SEAL_TAG_BYTES]);

#endif
