/* The engine libsodium: the reference.
 *
 * AES's key schedule is made once for a batch.  The detached functions verify the tag before they decrypt, and zero the output if it
 * is wrong. */
#include "crypto/sealimpl.h"

#include "crypto/key.h"

#include <assert.h>
#include <errno.h>
#include <sodium.h>

static_assert(crypto_aead_chacha20poly1305_ietf_NPUBBYTES == SEAL_OPS_NONCE_BYTES
	&& crypto_aead_aes256gcm_NPUBBYTES == SEAL_OPS_NONCE_BYTES, "size of the nonce");
static_assert(crypto_aead_chacha20poly1305_ietf_KEYBYTES == SEAL_KEY_BYTES && crypto_aead_aes256gcm_KEYBYTES == SEAL_KEY_BYTES,
	"size of the subkey");

static int sodium_start(enum cipher cipher)
{
	return cipher_available(cipher) ? 0 : -EOPNOTSUPP;
}

static void sodium_begin(struct seal_batch *batch)
{
	static_assert(sizeof(crypto_aead_aes256gcm_state) == sizeof batch->aes_state, "AES state fits");

	if (batch->cipher != CIPHER_AES256_GCM)
		return;
	int err = crypto_aead_aes256gcm_beforenm((crypto_aead_aes256gcm_state *)(void *)batch->aes_state, batch->subkey);
	assert(!err);
	wipe(batch->subkey, sizeof batch->subkey);
}

static const crypto_aead_aes256gcm_state *aes_state(const struct seal_batch *batch)
{
	return (const crypto_aead_aes256gcm_state *)(const void *)batch->aes_state;
}

static int sodium_seal(const struct seal_batch *batch, const uint8_t nonce[SEAL_OPS_NONCE_BYTES], const void *ad, size_t ad_bytes,
	const void *plain, size_t bytes, void *ret_sealed, uint8_t ret_tag[SEAL_TAG_BYTES])
{
	if (batch->cipher == CIPHER_AES256_GCM)
		return crypto_aead_aes256gcm_encrypt_detached_afternm(ret_sealed, ret_tag, NULL, plain, bytes, ad, ad_bytes, NULL,
			nonce, aes_state(batch));
	return crypto_aead_chacha20poly1305_ietf_encrypt_detached(ret_sealed, ret_tag, NULL, plain, bytes, ad, ad_bytes, NULL,
		nonce, batch->subkey);
}

static int sodium_open(const struct seal_batch *batch, const uint8_t nonce[SEAL_OPS_NONCE_BYTES], const void *ad, size_t ad_bytes,
	const void *sealed, size_t bytes, const uint8_t tag[SEAL_TAG_BYTES], void *ret_plain)
{
	int err = batch->cipher == CIPHER_AES256_GCM
		? crypto_aead_aes256gcm_decrypt_detached_afternm(ret_plain, NULL, sealed, bytes, tag, ad, ad_bytes, nonce, aes_state(batch))
		: crypto_aead_chacha20poly1305_ietf_decrypt_detached(ret_plain, NULL, sealed, bytes, tag, ad, ad_bytes, nonce,
			batch->subkey);
	return err ? -EBADMSG : 0;
}

/* With no place for the plaintext the function ends after the tag. */
static int sodium_verify(const struct seal_batch *batch, const uint8_t nonce[SEAL_OPS_NONCE_BYTES], const void *ad, size_t ad_bytes,
	const void *sealed, size_t bytes, const uint8_t tag[SEAL_TAG_BYTES])
{
	if (batch->cipher == CIPHER_AES256_GCM)
		return -EOPNOTSUPP;
	return crypto_aead_chacha20poly1305_ietf_decrypt_detached(NULL, NULL, sealed, bytes, tag, ad, ad_bytes, nonce, batch->subkey)
		? -EBADMSG : 0;
}

const struct seal_ops seal_sodium_ops = { sodium_start, sodium_begin, sodium_seal, sodium_open, sodium_verify };

int seal_sodium_once(const struct seal_batch *batch, const uint8_t nonce[SEAL_OPS_NONCE_BYTES], const void *ad, size_t ad_bytes,
	const void *plain, size_t bytes, void *ret_sealed, uint8_t ret_tag[SEAL_TAG_BYTES])
{
	struct seal_batch own = *batch;

	sodium_begin(&own);
	int r = sodium_seal(&own, nonce, ad, ad_bytes, plain, bytes, ret_sealed, ret_tag);
	seal_batch_end(&own);
	return r;
}

int open_sodium_once(const struct seal_batch *batch, const uint8_t nonce[SEAL_OPS_NONCE_BYTES], const void *ad, size_t ad_bytes,
	const void *sealed, size_t bytes, const uint8_t tag[SEAL_TAG_BYTES], void *ret_plain)
{
	struct seal_batch own = *batch;

	sodium_begin(&own);
	int r = sodium_open(&own, nonce, ad, ad_bytes, sealed, bytes, tag, ret_plain);
	seal_batch_end(&own);
	return r;
}
