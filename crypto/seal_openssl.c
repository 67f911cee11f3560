/* The engine libcrypto (OpenSSL 3).
 *
 * The ciphers are fetched once, from the default provider in a library context of our own: no configuration file of the system and
 * nothing in the environment changes which code runs.
 *
 * Each thread has one EVP context for each cipher, made when the thread first needs it and freed (which wipes it) by a pthread key
 * when the thread ends.  A context stays keyed from record to record, and is keyed anew when the batch is another: batches have
 * numbers that no two of a process share, so that a batch which lies where an earlier one lay is never taken for it.  After a
 * fork both processes go on from the same number, each with contexts of its own, which agree on all numbers before.
 *
 * So a thread's context has the subkey of the last batch that the thread worked on, until its next batch or its end.  A subkey
 * opens that one batch; who can read it there can read the keys of the whole array in the same memory.
 *
 * libcrypto writes plaintext before it has seen the tag: when the tag is wrong, it is zeroed here. */
#include "crypto/sealimpl.h"

#include "base/cleanup.h"
#include "base/le.h"
#include "crypto/key.h"

#include <assert.h>
#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/provider.h>
#include <pthread.h>
#include <sodium.h>
#include <stdatomic.h>

/* Places in the tables of ciphers and of a thread's contexts. */
enum { CHACHA, AES, CIPHERS };

struct contexts {
	EVP_MAC_CTX *mac;
	struct { EVP_CIPHER_CTX *evp; uint64_t number; } of[CIPHERS];    /* keyed for the batch of that number; 0: for none */
};

static EVP_CIPHER *ciphers[CIPHERS];     /* written once, by start_once */
static EVP_MAC *poly1305;                /* the same; NULL: records must be opened */
static pthread_key_t thread_key;
static bool have_key;

static unsigned place_of(enum cipher cipher) { return cipher == CIPHER_AES256_GCM ? AES : CHACHA; }

static void contexts_free(void *data)
{
	struct contexts *c = data;

	for (unsigned i = 0; i < CIPHERS; i++)
		EVP_CIPHER_CTX_free(c->of[i].evp);
	EVP_MAC_CTX_free(c->mac);
	free(c);
}

/* Nothing of it is freed before the process ends, and nothing at its end, when other threads may still be at work. */
static void start_once(void)
{
	OSSL_LIB_CTX *library;

	if (!OPENSSL_init_crypto(OPENSSL_INIT_NO_ATEXIT | OPENSSL_INIT_NO_LOAD_CONFIG, NULL) || !(library = OSSL_LIB_CTX_new()))
		return;
	if (OSSL_PROVIDER_load(library, "default")) {
		ciphers[CHACHA] = EVP_CIPHER_fetch(library, "ChaCha20-Poly1305", NULL);
		ciphers[AES] = EVP_CIPHER_fetch(library, "AES-256-GCM", NULL);
		poly1305 = EVP_MAC_fetch(library, "POLY1305", NULL);
	}
	have_key = !pthread_key_create(&thread_key, contexts_free);
	ERR_clear_error();
}

static int openssl_start(enum cipher cipher)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, start_once);
	return have_key && ciphers[place_of(cipher)] && cipher_available(cipher) ? 0 : -EOPNOTSUPP;
}

static void openssl_begin(struct seal_batch *batch)
{
	static _Atomic uint64_t batches;

	batch->number = atomic_fetch_add(&batches, 1) + 1;
}

static struct contexts *contexts_of_thread(void)
{
	struct contexts *c = pthread_getspecific(thread_key);

	if (c || !(c = calloc(1, sizeof *c)))
		return c;
	if (!pthread_setspecific(thread_key, c))
		return c;
	free(c);
	return NULL;
}

/* This thread's context with the batch's subkey, at the beginning of a record; NULL if there is no memory for one. */
static EVP_CIPHER_CTX *keyed(const struct seal_batch *batch, const uint8_t *nonce, bool seal)
{
	unsigned place = place_of(batch->cipher);
	struct contexts *c = contexts_of_thread();

	if (!c)
		return NULL;
	EVP_CIPHER_CTX *evp = c->of[place].evp;
	if (!evp) {
		evp = EVP_CIPHER_CTX_new();
		if (!evp || !EVP_CipherInit_ex2(evp, ciphers[place], NULL, NULL, seal, NULL)) {
			EVP_CIPHER_CTX_free(evp);
			ERR_clear_error();
			return NULL;
		}
		c->of[place].evp = evp;
	}
	bool same = c->of[place].number == batch->number;
	int ok = EVP_CipherInit_ex2(evp, NULL, same ? NULL : batch->subkey, nonce, seal, NULL);
	assert(ok);
	c->of[place].number = batch->number;
	return evp;
}

/* The associated data, and then the bytes from `in` to `out`. */
static bool feed(EVP_CIPHER_CTX *evp, const void *ad, size_t ad_bytes, const void *in, size_t bytes, void *out)
{
	uint8_t rest[EVP_MAX_BLOCK_LENGTH];
	int n;

	return (!ad_bytes || EVP_CipherUpdate(evp, NULL, &n, ad, (int)ad_bytes) == 1)
		&& (!bytes || EVP_CipherUpdate(evp, out, &n, in, (int)bytes) == 1)
		&& EVP_CipherFinal_ex(evp, rest, &n) == 1;
}

static int openssl_seal(const struct seal_batch *batch, const uint8_t nonce[SEAL_OPS_NONCE_BYTES], const void *ad, size_t ad_bytes,
	const void *plain, size_t bytes, void *ret_sealed, uint8_t ret_tag[SEAL_TAG_BYTES])
{
	EVP_CIPHER_CTX *evp = keyed(batch, nonce, true);

	if (!evp)
		return -ENOMEM;
	bool ok = feed(evp, ad, ad_bytes, plain, bytes, ret_sealed)
		&& EVP_CIPHER_CTX_ctrl(evp, EVP_CTRL_AEAD_GET_TAG, SEAL_TAG_BYTES, ret_tag) == 1;
	return ok ? 0 : -EIO;
}

static int openssl_open(const struct seal_batch *batch, const uint8_t nonce[SEAL_OPS_NONCE_BYTES], const void *ad, size_t ad_bytes,
	const void *sealed, size_t bytes, const uint8_t tag[SEAL_TAG_BYTES], void *ret_plain)
{
	EVP_CIPHER_CTX *evp = keyed(batch, nonce, false);

	if (!evp)
		return -ENOMEM;
	if (EVP_CIPHER_CTX_ctrl(evp, EVP_CTRL_AEAD_SET_TAG, SEAL_TAG_BYTES, (void *)tag) == 1
	    && feed(evp, ad, ad_bytes, sealed, bytes, ret_plain))
		return 0;
	if (bytes)
		wipe(ret_plain, bytes);
	ERR_clear_error();
	return -EBADMSG;
}

static EVP_MAC_CTX *mac_of_thread(void)
{
	struct contexts *c = contexts_of_thread();

	if (c && !c->mac && poly1305)
		c->mac = EVP_MAC_CTX_new(poly1305);
	return c ? c->mac : NULL;
}

static bool mac_padded(EVP_MAC_CTX *mac, const void *data, size_t bytes)
{
	static const uint8_t zeros[16];

	return (!bytes || EVP_MAC_update(mac, data, bytes) == 1)
		&& (bytes % 16 == 0 || EVP_MAC_update(mac, zeros, 16 - bytes % 16) == 1);
}

/* The tag of ChaCha20-Poly1305 (RFC 8439, section 2.8) from what was sealed: the Poly1305, under a key that the cipher makes for the
 * nonce, of associated data and bytes, each padded to 16, and their lengths. */
static bool chacha_tag(EVP_MAC_CTX *mac, const uint8_t key[static 32], const void *ad, size_t ad_bytes, const void *sealed, size_t bytes,
	uint8_t ret_tag[SEAL_TAG_BYTES])
{
	struct { le64 ad_bytes, bytes; } lengths = { le64_put(ad_bytes), le64_put(bytes) };
	size_t n;

	return EVP_MAC_init(mac, key, 32, NULL) == 1 && mac_padded(mac, ad, ad_bytes) && mac_padded(mac, sealed, bytes)
		&& EVP_MAC_update(mac, (const uint8_t *)&lengths, sizeof lengths) == 1
		&& EVP_MAC_final(mac, ret_tag, &n, SEAL_TAG_BYTES) == 1 && n == SEAL_TAG_BYTES;
}

static int openssl_verify(const struct seal_batch *batch, const uint8_t nonce[SEAL_OPS_NONCE_BYTES], const void *ad, size_t ad_bytes,
	const void *sealed, size_t bytes, const uint8_t tag[SEAL_TAG_BYTES])
{
	uint8_t key[32], own[SEAL_TAG_BYTES];

	if (batch->cipher == CIPHER_AES256_GCM)
		return -EOPNOTSUPP;
	EVP_MAC_CTX *mac = mac_of_thread();
	if (!mac)
		return -ENOMEM;
	crypto_stream_chacha20_ietf(key, sizeof key, nonce, batch->subkey);
	bool ok = chacha_tag(mac, key, ad, ad_bytes, sealed, bytes, own);
	wipe(key, sizeof key);
	if (!ok) {
		ERR_clear_error();
		return -ENOMEM;
	}
	return CRYPTO_memcmp(own, tag, sizeof own) ? -EBADMSG : 0;
}

const struct seal_ops seal_openssl_ops = { openssl_start, openssl_begin, openssl_seal, openssl_open, openssl_verify };
