/* Sealing: what is the same whatever the engine.  The nonce rule and its bound are in seal.h.
 *
 * A batch is made once (HChaCha20, by libsodium, and what the engine prepares), is constant afterwards, and is therefore shared by
 * threads without a lock.  An engine that cannot begin with a record (-ENOMEM: it needs memory for each thread) leaves it to
 * libsodium: the bytes are the same. */
#include "crypto/seal.h"

#include "base/cleanup.h"
#include "base/le.h"
#include "crypto/key.h"
#include "crypto/sealimpl.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <sodium.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#define XXH_STATIC_LINKING_ONLY
#include <xxhash.h>

#define CIPHER_UNUSABLE ((enum cipher)255)

static const char *const cipher_names[] = {
	[CIPHER_NONE] = "none",
	[CIPHER_XCHACHA20_POLY1305] = "xchacha20-poly1305",
	[CIPHER_AES256_GCM] = "aes256-gcm",
};

const char *cipher_name(enum cipher cipher)
{
	return (size_t)cipher < ARRAY_COUNT(cipher_names) ? cipher_names[cipher] : NULL;
}

int cipher_parse(const char *name, enum cipher *ret_cipher)
{
	for (size_t i = 0; i < ARRAY_COUNT(cipher_names); i++) {
		if (!strcmp(name, cipher_names[i])) {
			*ret_cipher = (enum cipher)i;
			return 0;
		}
	}
	return -EINVAL;
}

bool cipher_available(enum cipher cipher)
{
	if (cipher != CIPHER_AES256_GCM)
		return cipher_name(cipher);
	return sodium_init() >= 0 && crypto_aead_aes256gcm_is_available();
}

static _Atomic uint64_t process;        /* its id; 0: to be asked for, which costs a system call */

static void forget_process(void) { atomic_store(&process, 0); }

static void forget_process_in_children(void) { pthread_atfork(NULL, NULL, forget_process); }

static uint64_t process_id(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	uint64_t id = atomic_load(&process);

	if (!id) {
		pthread_once(&once, forget_process_in_children);
		id = (uint64_t)getpid();
		atomic_store(&process, id);
	}
	return id;
}

void nonce_draw(const struct env *env, void *ret_nonce, size_t bytes)
{
	static _Atomic uint64_t counter;
	struct {
		uint8_t drawn[SEAL_NONCE_BYTES];
		le64 counter, clock_ns, process;
	} input;

	env_random(env, input.drawn, sizeof input.drawn);
	input.counter = le64_put(atomic_fetch_add(&counter, 1));
	input.clock_ns = le64_put((uint64_t)env_now_ns(env));
	input.process = le64_put(process_id());
	int err = crypto_generichash(ret_nonce, bytes, (const uint8_t *)&input, sizeof input, NULL, 0);
	assert(!err);
}

static void batch_make(const struct seal_key *key, const uint8_t nonce[SEAL_NONCE_BYTES], struct seal_batch *ret_batch)
{
	static_assert(SEAL_NONCE_BYTES == crypto_core_hchacha20_INPUTBYTES && SEAL_KEY_BYTES == crypto_core_hchacha20_OUTPUTBYTES,
		"sizes of the subkey");

	memcpy(ret_batch->nonce, nonce, SEAL_NONCE_BYTES);
	ret_batch->cipher = key->cipher;
	ret_batch->ops = seal_ops_of(key->engine);
	if (key->cipher == CIPHER_NONE)
		return;
	assert(ret_batch->ops);
	int err = crypto_core_hchacha20(ret_batch->subkey, nonce, key->key, NULL);
	assert(!err);
	ret_batch->ops->begin(ret_batch);
}

void seal_batch_begin(const struct seal_key *key, const struct env *env, struct seal_batch *ret_batch)
{
	uint8_t nonce[SEAL_NONCE_BYTES];

	assert(key->cipher != CIPHER_AES256_GCM || crypto_aead_aes256gcm_is_available());
	nonce_draw(env, nonce, sizeof nonce);
	batch_make(key, nonce, ret_batch);
}

int open_batch_begin(const struct seal_key *key, const uint8_t nonce[SEAL_NONCE_BYTES], struct seal_batch *ret_batch)
{
	if (key->cipher == CIPHER_AES256_GCM && !crypto_aead_aes256gcm_is_available()) {
		ret_batch->cipher = CIPHER_UNUSABLE;
		return -EOPNOTSUPP;
	}
	batch_make(key, nonce, ret_batch);
	return 0;
}

void seal_batch_end(struct seal_batch *batch)
{
	if (batch->cipher == CIPHER_AES256_GCM)
		wipe(batch->aes_state, sizeof batch->aes_state);         /* small, and not asked whether it was used */
	wipe(batch->subkey, sizeof batch->subkey);
}

static void record_nonce(uint32_t index, uint8_t ret_nonce[SEAL_OPS_NONCE_BYTES])
{
	le64 low = le64_put(index);

	memset(ret_nonce, 0, 4);
	memcpy(ret_nonce + 4, &low, 8);
}

static void checksum(const struct seal_batch *batch, uint32_t index, const void *ad, size_t ad_bytes,
	const void *data, size_t bytes, uint8_t ret_tag[SEAL_TAG_BYTES])
{
	struct {
		uint8_t nonce[SEAL_NONCE_BYTES];
		le32 index;
		le64 ad_bytes;
	} head;
	XXH3_state_t state;
	XXH128_canonical_t tag;

	memcpy(head.nonce, batch->nonce, sizeof head.nonce);
	head.index = le32_put(index);
	head.ad_bytes = le64_put(ad_bytes);
	XXH3_128bits_reset(&state);
	XXH3_128bits_update(&state, &head, sizeof head);
	if (ad_bytes)
		XXH3_128bits_update(&state, ad, ad_bytes);
	if (bytes)
		XXH3_128bits_update(&state, data, bytes);
	XXH128_canonicalFromHash(&tag, XXH3_128bits_digest(&state));
	static_assert(sizeof tag == SEAL_TAG_BYTES, "size of XXH3-128");
	memcpy(ret_tag, &tag, sizeof tag);
}

void seal_record(const struct seal_batch *batch, uint32_t index, const void *ad, size_t ad_bytes,
	const void *plain, size_t bytes, void *ret_sealed, uint8_t ret_tag[SEAL_TAG_BYTES])
{
	uint8_t nonce[SEAL_OPS_NONCE_BYTES];

	if (batch->cipher == CIPHER_NONE) {
		checksum(batch, index, ad, ad_bytes, plain, bytes, ret_tag);
		if (ret_sealed != plain && bytes)
			memcpy(ret_sealed, plain, bytes);
		return;
	}
	assert(bytes <= INT_MAX && ad_bytes <= INT_MAX);
	record_nonce(index, nonce);
	int r = batch->ops->seal(batch, nonce, ad, ad_bytes, plain, bytes, ret_sealed, ret_tag);
	if (r == -ENOMEM)
		r = seal_sodium_once(batch, nonce, ad, ad_bytes, plain, bytes, ret_sealed, ret_tag);
	assert(!r);
}

void seal_alone(enum seal_engine engine, const uint8_t key[SEAL_KEY_BYTES], const uint8_t nonce[SEAL_LONG_NONCE_BYTES],
	const void *ad, size_t ad_bytes, void *bytes, size_t count, uint8_t ret_tag[SEAL_TAG_BYTES])
{
	struct seal_batch batch = { .cipher = CIPHER_XCHACHA20_POLY1305, .ops = seal_ops_of(engine) };
	uint8_t rest[SEAL_OPS_NONCE_BYTES] = { 0 };

	assert(batch.ops && count <= INT_MAX && ad_bytes <= INT_MAX);
	static_assert(SEAL_LONG_NONCE_BYTES == SEAL_NONCE_BYTES + SEAL_OPS_NONCE_BYTES - 4, "XChaCha20's nonce");
	memcpy(rest + 4, nonce + SEAL_NONCE_BYTES, SEAL_OPS_NONCE_BYTES - 4);
	int err = crypto_core_hchacha20(batch.subkey, nonce, key, NULL);
	assert(!err);
	batch.ops->begin(&batch);
	int r = batch.ops->seal(&batch, rest, ad, ad_bytes, bytes, count, bytes, ret_tag);
	if (r == -ENOMEM)
		r = seal_sodium_once(&batch, rest, ad, ad_bytes, bytes, count, bytes, ret_tag);
	assert(!r);
	seal_batch_end(&batch);
}

int open_record_in(const struct seal_batch *batch, uint32_t index, const void *ad, size_t ad_bytes,
	const void *sealed, size_t bytes, const uint8_t tag[SEAL_TAG_BYTES], void *ret_plain)
{
	uint8_t nonce[SEAL_OPS_NONCE_BYTES], own[SEAL_TAG_BYTES];

	if (batch->cipher == CIPHER_UNUSABLE)
		return -EBADMSG;
	if (batch->cipher == CIPHER_NONE) {
		checksum(batch, index, ad, ad_bytes, sealed, bytes, own);
		if (memcmp(own, tag, sizeof own))
			return -EBADMSG;
		if (ret_plain != sealed && bytes)
			memcpy(ret_plain, sealed, bytes);
		return 0;
	}
	assert(bytes <= INT_MAX && ad_bytes <= INT_MAX);
	record_nonce(index, nonce);
	int r = batch->ops->open(batch, nonce, ad, ad_bytes, sealed, bytes, tag, ret_plain);
	return r == -ENOMEM ? open_sodium_once(batch, nonce, ad, ad_bytes, sealed, bytes, tag, ret_plain) : r;
}

/* By the tag alone: 0, -EBADMSG, or another -errno if it must be opened to know. */
static int verify_tag(const struct seal_batch *batch, uint32_t index, const void *ad, size_t ad_bytes,
	const void *sealed, size_t bytes, const uint8_t tag[SEAL_TAG_BYTES])
{
	uint8_t nonce[SEAL_OPS_NONCE_BYTES], own[SEAL_TAG_BYTES];

	if (batch->cipher == CIPHER_UNUSABLE)
		return -EBADMSG;
	if (batch->cipher == CIPHER_NONE) {
		checksum(batch, index, ad, ad_bytes, sealed, bytes, own);
		return memcmp(own, tag, sizeof own) ? -EBADMSG : 0;
	}
	assert(bytes <= INT_MAX && ad_bytes <= INT_MAX);
	record_nonce(index, nonce);
	return batch->ops->verify(batch, nonce, ad, ad_bytes, sealed, bytes, tag);
}

int verify_record_in(const struct seal_batch *batch, uint32_t index, const void *ad, size_t ad_bytes,
	const void *sealed, size_t bytes, const uint8_t tag[SEAL_TAG_BYTES], void *scratch)
{
	int r = verify_tag(batch, index, ad, ad_bytes, sealed, bytes, tag);

	return r == 0 || r == -EBADMSG ? r : open_record_in(batch, index, ad, ad_bytes, sealed, bytes, tag, scratch);
}

/* ChaCha20's stream can be begun at any of its blocks; of the record's it is the second that is the first (RFC 8439, section 2.8). */
static void chacha_part(const struct seal_batch *batch, uint32_t index, const uint8_t *sealed, size_t from_bytes, size_t part_bytes,
	void *ret_plain)
{
	uint8_t nonce[SEAL_OPS_NONCE_BYTES];

	record_nonce(index, nonce);
	crypto_stream_chacha20_ietf_xor_ic(ret_plain, sealed + from_bytes, part_bytes, nonce, (uint32_t)(1 + from_bytes / SEAL_PART_BYTES),
		batch->subkey);
}

int open_part_in(const struct seal_batch *batch, uint32_t index, const void *ad, size_t ad_bytes, const void *sealed, size_t bytes,
	const uint8_t tag[SEAL_TAG_BYTES], size_t from_bytes, size_t part_bytes, void *ret_plain, void *scratch)
{
	assert(from_bytes % SEAL_PART_BYTES == 0 && from_bytes <= bytes && part_bytes <= bytes - from_bytes);
	int r = verify_tag(batch, index, ad, ad_bytes, sealed, bytes, tag);

	if (r == -EBADMSG)
		return r;
	if (r == 0 && batch->cipher == CIPHER_XCHACHA20_POLY1305) {
		chacha_part(batch, index, sealed, from_bytes, part_bytes, ret_plain);
		return 0;
	}
	r = open_record_in(batch, index, ad, ad_bytes, sealed, bytes, tag, scratch);
	if (r == 0)
		memcpy(ret_plain, (uint8_t *)scratch + from_bytes, part_bytes);
	return r;
}

int open_record(const struct seal_key *key, const uint8_t nonce[SEAL_NONCE_BYTES], uint32_t index,
	const void *ad, size_t ad_bytes, const void *sealed, size_t bytes, const uint8_t tag[SEAL_TAG_BYTES], void *ret_plain)
{
	struct seal_batch batch;

	if (open_batch_begin(key, nonce, &batch))
		return -EBADMSG;
	int err = open_record_in(&batch, index, ad, ad_bytes, sealed, bytes, tag, ret_plain);
	seal_batch_end(&batch);
	return err;
}
