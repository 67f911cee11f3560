/* The arena, key derivation, MACs and the sealing of roots.
 *
 * The arena is libsodium's guarded heap: each key has its own locked pages, left out of core dumps, with a guard page on either
 * side and a canary.  It holds few and small things: keys, secrets, and work space of derivations. */
#include "crypto/key.h"

#include "base/le.h"

#include <assert.h>
#include <errno.h>
#include <sodium.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#define XXH_STATIC_LINKING_ONLY
#include <xxhash.h>

#define ARENA_ALIGN_BYTES 64u        /* what BLAKE2b's state asks for */

int key_arena_init(struct fail *fail)
{
	static const struct rlimit no_core = { 0, 0 };

	if (sodium_init() < 0)
		return fail_set(fail, EIO, FAIL_SYSTEM, "the cryptographic library libsodium does not start on this machine");
	if (prctl(PR_SET_DUMPABLE, 0) || setrlimit(RLIMIT_CORE, &no_core)) {
		fail_set(fail, 0, FAIL_NONE, "could not turn off core dumps (%s): a crash could write keys to a file", strerror(errno));
		return 1;
	}

	void *trial = key_alloc(ARENA_ALIGN_BYTES);
	bool locked = trial && !mlock(trial, ARENA_ALIGN_BYTES);
	int err = errno;
	key_free(trial);
	if (locked)
		return 0;
	fail_set(fail, 0, FAIL_NONE, "could not lock memory (%s): keys could be written to swap; raise the limit of locked memory "
		"(ulimit -l, LimitMEMLOCK=) or turn swap off", strerror(err));
	return 1;
}

void *key_alloc(size_t bytes)
{
	/* libsodium puts the end of the memory at the end of a page, so only a rounded size is aligned. */
	size_t rounded = (bytes + ARENA_ALIGN_BYTES - 1) & ~(size_t)(ARENA_ALIGN_BYTES - 1);
	void *key = sodium_malloc(rounded);

	if (key)
		memset(key, 0, rounded);
	return key;
}

void key_free(void *key) { sodium_free(key); }

void wipe(void *memory, size_t bytes) { sodium_memzero(memory, bytes); }

void master_key_make(const struct env *env, struct master_key *ret_master)
{
	env_random(env, ret_master->b, sizeof ret_master->b);
}

/* What a key is derived from.  Strings are padded with zeros. */
struct derive_message {
	char context[16];                /* "raid5cryptfs v1" */
	char purpose[16];
	le32 cipher;
	uint8_t array[16];
	le64 incompat_features;
};
static_assert(sizeof(struct derive_message) == 60, "derive_message");

static void derive(const struct master_key *master, struct derive_message *message, const char *purpose,
	uint8_t *ret_key, size_t bytes)
{
	memset(message->purpose, 0, sizeof message->purpose);
	memcpy(message->purpose, purpose, strnlen(purpose, sizeof message->purpose));
	int err = crypto_generichash(ret_key, bytes, (const uint8_t *)message, sizeof *message,
		master ? master->b : NULL, master ? sizeof master->b : 0);
	assert(!err);
}

static void derive_all(const struct master_key *master, enum cipher cipher, const struct uuid *array,
	uint64_t incompat_features, struct keys *ret_keys)
{
	struct derive_message message = {
		.context = "raid5cryptfs v1",
		.cipher = le32_put((uint32_t)cipher),
		.incompat_features = le64_put(incompat_features),
	};

	memcpy(message.array, array->b, sizeof message.array);
	ret_keys->data.cipher = cipher;
	ret_keys->data.engine = SEAL_ENGINE_SODIUM;
	derive(master, &message, "data", ret_keys->data.key, sizeof ret_keys->data.key);
	derive(master, &message, "root", ret_keys->root, sizeof ret_keys->root);
	derive(master, &message, "log", ret_keys->log, sizeof ret_keys->log);
	derive(master, &message, "label mac", ret_keys->label_mac, sizeof ret_keys->label_mac);
	derive(master, &message, "promise mac", ret_keys->promise_mac, sizeof ret_keys->promise_mac);
	derive(master, &message, "name hash", ret_keys->name_hash, sizeof ret_keys->name_hash);
}

void keys_derive(const struct master_key *master, enum cipher cipher, const struct uuid *array, uint64_t incompat_features,
	struct keys *ret_keys)
{
	assert(cipher != CIPHER_NONE && cipher_name(cipher));
	derive_all(master, cipher, array, incompat_features, ret_keys);
}

void keys_none(const struct uuid *array, struct keys *ret_keys)
{
	derive_all(NULL, CIPHER_NONE, array, 0, ret_keys);
}

void mac32(const uint8_t key[KEY_BYTES], const void *data, size_t bytes, uint8_t ret_mac[MAC_BYTES])
{
	int err = crypto_generichash(ret_mac, MAC_BYTES, data, bytes, key, KEY_BYTES);
	assert(!err);
}

int mac32_verify(const uint8_t key[KEY_BYTES], const void *data, size_t bytes, const uint8_t mac[MAC_BYTES])
{
	uint8_t own[MAC_BYTES];

	mac32(key, data, bytes, own);
	int err = sodium_memcmp(own, mac, sizeof own) ? -EBADMSG : 0;
	wipe(own, sizeof own);
	return err;
}

uint64_t name_hash(const uint8_t key[NAME_KEY_BYTES], const void *name, size_t bytes)
{
	le64 hash;

	static_assert(crypto_shorthash_BYTES == sizeof hash && crypto_shorthash_KEYBYTES == NAME_KEY_BYTES, "SipHash-2-4");
	crypto_shorthash(hash.b, name, bytes, key);
	return le64_get(hash);
}

void root_nonce(const struct env *env, uint8_t ret_nonce[ROOT_SEAL_NONCE_BYTES])
{
	nonce_draw(env, ret_nonce, ROOT_SEAL_NONCE_BYTES);
}

/* Roots and log records are sealed alike, each kind under a key of its own. */
static void checksum(const uint8_t *nonce, const void *header, size_t header_bytes, const void *body, size_t body_bytes,
	uint8_t ret_tag[SEAL_TAG_BYTES])
{
	le64 length = le64_put(header_bytes);
	XXH3_state_t state;
	XXH128_canonical_t tag;

	XXH3_128bits_reset(&state);
	XXH3_128bits_update(&state, nonce, ROOT_SEAL_NONCE_BYTES);
	XXH3_128bits_update(&state, &length, sizeof length);
	XXH3_128bits_update(&state, header, header_bytes);
	XXH3_128bits_update(&state, body, body_bytes);
	XXH128_canonicalFromHash(&tag, XXH3_128bits_digest(&state));
	memcpy(ret_tag, &tag, SEAL_TAG_BYTES);
}

static void seal_under(const struct keys *keys, const uint8_t key[KEY_BYTES], const uint8_t nonce[ROOT_SEAL_NONCE_BYTES],
	const void *header, size_t header_bytes, void *body, size_t body_bytes, uint8_t ret_tag[SEAL_TAG_BYTES])
{
	if (!keys_secret(keys)) {
		checksum(nonce, header, header_bytes, body, body_bytes, ret_tag);
		return;
	}
	static_assert(crypto_aead_xchacha20poly1305_ietf_NPUBBYTES == ROOT_SEAL_NONCE_BYTES
		&& crypto_aead_xchacha20poly1305_ietf_ABYTES == SEAL_TAG_BYTES, "XChaCha20-Poly1305");
	int err = crypto_aead_xchacha20poly1305_ietf_encrypt_detached(body, ret_tag, NULL, body, body_bytes,
		header, header_bytes, NULL, nonce, key);
	assert(!err);
}

static int open_under(const struct keys *keys, const uint8_t key[KEY_BYTES], const uint8_t nonce[ROOT_SEAL_NONCE_BYTES],
	const void *header, size_t header_bytes, void *body, size_t body_bytes, const uint8_t tag[SEAL_TAG_BYTES])
{
	uint8_t own[SEAL_TAG_BYTES];

	if (keys_secret(keys))
		return crypto_aead_xchacha20poly1305_ietf_decrypt_detached(body, NULL, body, body_bytes, tag,
			header, header_bytes, nonce, key) ? -EBADMSG : 0;
	checksum(nonce, header, header_bytes, body, body_bytes, own);
	return memcmp(own, tag, sizeof own) ? -EBADMSG : 0;
}

void root_seal(const struct keys *keys, const uint8_t nonce[ROOT_SEAL_NONCE_BYTES], const void *header, size_t header_bytes,
	void *body, size_t body_bytes, uint8_t ret_tag[SEAL_TAG_BYTES])
{
	seal_under(keys, keys->root, nonce, header, header_bytes, body, body_bytes, ret_tag);
}

int root_open(const struct keys *keys, const uint8_t nonce[ROOT_SEAL_NONCE_BYTES], const void *header, size_t header_bytes,
	void *body, size_t body_bytes, const uint8_t tag[SEAL_TAG_BYTES])
{
	return open_under(keys, keys->root, nonce, header, header_bytes, body, body_bytes, tag);
}

void log_seal(const struct keys *keys, const uint8_t nonce[ROOT_SEAL_NONCE_BYTES], const void *header, size_t header_bytes,
	void *body, size_t body_bytes, uint8_t ret_tag[SEAL_TAG_BYTES])
{
	static_assert((int)KEY_BYTES == SEAL_KEY_BYTES && (int)ROOT_SEAL_NONCE_BYTES == SEAL_LONG_NONCE_BYTES, "as seal_alone has them");

	/* Each fsync waits for this: so by the engine, which was chosen for the data's cipher. */
	if (keys->data.cipher == CIPHER_XCHACHA20_POLY1305 && keys->data.engine != SEAL_ENGINE_SODIUM)
		seal_alone(keys->data.engine, keys->log, nonce, header, header_bytes, body, body_bytes, ret_tag);
	else
		seal_under(keys, keys->log, nonce, header, header_bytes, body, body_bytes, ret_tag);
}

int log_open(const struct keys *keys, const uint8_t nonce[ROOT_SEAL_NONCE_BYTES], const void *header, size_t header_bytes,
	void *body, size_t body_bytes, const uint8_t tag[SEAL_TAG_BYTES])
{
	return open_under(keys, keys->log, nonce, header, header_bytes, body, body_bytes, tag);
}
