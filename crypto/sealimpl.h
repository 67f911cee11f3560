/* Inside of sealing: what an engine is, and the two that there are. */
#ifndef CRYPTO_SEALIMPL_H
#define CRYPTO_SEALIMPL_H

#include "crypto/seal.h"

#define SEAL_OPS_NONCE_BYTES 12      /* of ChaCha20-Poly1305 (IETF) and AES-GCM alike */

/* An engine: ChaCha20-Poly1305 and AES-256-GCM with 16-byte tags, under batch->subkey.  All but `begin` may be called by many
 * threads for one batch. */
struct seal_ops {
	/* Once, before anything else: 0, or -errno if the engine cannot do this cipher here. */
	int (*start)(enum cipher cipher);
	/* Prepares a batch whose cipher and subkey are set; may wipe the subkey if it needs it no more.  What it makes, seal_batch_end
	 * wipes. */
	void (*begin)(struct seal_batch *batch);
	/* 0, or -ENOMEM before anything was written.  `plain` and ret_sealed as in seal_record. */
	int (*seal)(const struct seal_batch *batch, const uint8_t nonce[SEAL_OPS_NONCE_BYTES], const void *ad, size_t ad_bytes,
		const void *plain, size_t bytes, void *ret_sealed, uint8_t ret_tag[SEAL_TAG_BYTES]);
	/* 0; -ENOMEM before anything was written; -EBADMSG with ret_plain zeroed or as it was. */
	int (*open)(const struct seal_batch *batch, const uint8_t nonce[SEAL_OPS_NONCE_BYTES], const void *ad, size_t ad_bytes,
		const void *sealed, size_t bytes, const uint8_t tag[SEAL_TAG_BYTES], void *ret_plain);
	/* What open says, without the plaintext: 0 or -EBADMSG; -EOPNOTSUPP or -ENOMEM: it must be opened to know. */
	int (*verify)(const struct seal_batch *batch, const uint8_t nonce[SEAL_OPS_NONCE_BYTES], const void *ad, size_t ad_bytes,
		const void *sealed, size_t bytes, const uint8_t tag[SEAL_TAG_BYTES]);
};

extern const struct seal_ops seal_sodium_ops;
#ifdef HAVE_OPENSSL
extern const struct seal_ops seal_openssl_ops;
#endif

/* NULL for one that is not built in. */
const struct seal_ops *seal_ops_of(enum seal_engine engine);

/* libsodium in place of another engine that had no memory, for one record of its batch (which still has the subkey). */
int seal_sodium_once(const struct seal_batch *batch, const uint8_t nonce[SEAL_OPS_NONCE_BYTES], const void *ad, size_t ad_bytes,
	const void *plain, size_t bytes, void *ret_sealed, uint8_t ret_tag[SEAL_TAG_BYTES]);
int open_sodium_once(const struct seal_batch *batch, const uint8_t nonce[SEAL_OPS_NONCE_BYTES], const void *ad, size_t ad_bytes,
	const void *sealed, size_t bytes, const uint8_t tag[SEAL_TAG_BYTES], void *ret_plain);

#endif
