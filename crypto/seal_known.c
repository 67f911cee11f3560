/* Known answers of both ciphers, which an engine must give before it seals anything.
 *
 * Each cipher has a short one, published with the cipher, of a length that is no multiple of anything, and a long one: the largest
 * record, 16 KiB, since for long messages libraries run other code.  The long one has the key, nonce and associated data of the
 * short one (but the nonce's last byte, which is 0xff), and byte i of its plaintext is 7i + ⌊i/256⌋ mod 256.  Of its sealed bytes
 * the XXH3-128 is kept.  Its values were computed by the text of RFC 8439, and of FIPS 197 and NIST SP 800-38D, with no
 * cryptographic library; libsodium 1.0.18 and libcrypto 3.0 give the same. */
#include "crypto/seal_engine.h"
#include "crypto/sealimpl.h"

#include <errno.h>
#include <string.h>

#define XXH_STATIC_LINKING_ONLY
#include <xxhash.h>

#define LONG_BYTES 16384u

struct known {
	const char *key, *nonce, *ad, *plain, *sealed, *tag;
	size_t ad_bytes, bytes;
	const char *long_tag, *long_hash;
};

/* RFC 8439, section 2.8.2. */
static const struct known chacha = {
	.key = "\x80\x81\x82\x83\x84\x85\x86\x87\x88\x89\x8a\x8b\x8c\x8d\x8e\x8f"
		"\x90\x91\x92\x93\x94\x95\x96\x97\x98\x99\x9a\x9b\x9c\x9d\x9e\x9f",
	.nonce = "\x07\x00\x00\x00\x40\x41\x42\x43\x44\x45\x46\x47",
	.ad = "\x50\x51\x52\x53\xc0\xc1\xc2\xc3\xc4\xc5\xc6\xc7", .ad_bytes = 12,
	.plain = "Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen would be it.",
	.sealed = "\xd3\x1a\x8d\x34\x64\x8e\x60\xdb\x7b\x86\xaf\xbc\x53\xef\x7e\xc2"
		"\xa4\xad\xed\x51\x29\x6e\x08\xfe\xa9\xe2\xb5\xa7\x36\xee\x62\xd6"
		"\x3d\xbe\xa4\x5e\x8c\xa9\x67\x12\x82\xfa\xfb\x69\xda\x92\x72\x8b"
		"\x1a\x71\xde\x0a\x9e\x06\x0b\x29\x05\xd6\xa5\xb6\x7e\xcd\x3b\x36"
		"\x92\xdd\xbd\x7f\x2d\x77\x8b\x8c\x98\x03\xae\xe3\x28\x09\x1b\x58"
		"\xfa\xb3\x24\xe4\xfa\xd6\x75\x94\x55\x85\x80\x8b\x48\x31\xd7\xbc"
		"\x3f\xf4\xde\xf0\x8e\x4b\x7a\x9d\xe5\x76\xd2\x65\x86\xce\xc6\x4b\x61\x16", .bytes = 114,
	.tag = "\x1a\xe1\x0b\x59\x4f\x09\xe2\x6a\x7e\x90\x2e\xcb\xd0\x60\x06\x91",
	.long_tag = "\x84\x29\xa2\x12\x3a\x41\x75\x85\x14\x6f\x92\xea\xb8\x46\x4c\x6b",
	.long_hash = "\x79\x4b\xe8\xbe\x39\x70\x77\xeb\x06\x82\x72\x8d\xdd\xcf\x2c\x8f",
};

/* McGrew and Viega, The Galois/Counter Mode of Operation, test case 16. */
static const struct known aes = {
	.key = "\xfe\xff\xe9\x92\x86\x65\x73\x1c\x6d\x6a\x8f\x94\x67\x30\x83\x08"
		"\xfe\xff\xe9\x92\x86\x65\x73\x1c\x6d\x6a\x8f\x94\x67\x30\x83\x08",
	.nonce = "\xca\xfe\xba\xbe\xfa\xce\xdb\xad\xde\xca\xf8\x88",
	.ad = "\xfe\xed\xfa\xce\xde\xad\xbe\xef\xfe\xed\xfa\xce\xde\xad\xbe\xef\xab\xad\xda\xd2", .ad_bytes = 20,
	.plain = "\xd9\x31\x32\x25\xf8\x84\x06\xe5\xa5\x59\x09\xc5\xaf\xf5\x26\x9a"
		"\x86\xa7\xa9\x53\x15\x34\xf7\xda\x2e\x4c\x30\x3d\x8a\x31\x8a\x72"
		"\x1c\x3c\x0c\x95\x95\x68\x09\x53\x2f\xcf\x0e\x24\x49\xa6\xb5\x25"
		"\xb1\x6a\xed\xf5\xaa\x0d\xe6\x57\xba\x63\x7b\x39",
	.sealed = "\x52\x2d\xc1\xf0\x99\x56\x7d\x07\xf4\x7f\x37\xa3\x2a\x84\x42\x7d"
		"\x64\x3a\x8c\xdc\xbf\xe5\xc0\xc9\x75\x98\xa2\xbd\x25\x55\xd1\xaa"
		"\x8c\xb0\x8e\x48\x59\x0d\xbb\x3d\xa7\xb0\x8b\x10\x56\x82\x88\x38"
		"\xc5\xf6\x1e\x63\x93\xba\x7a\x0a\xbc\xc9\xf6\x62", .bytes = 60,
	.tag = "\x76\xfc\x6e\xce\x0f\x4e\x17\x68\xcd\xdf\x88\x53\xbb\x2d\x55\x1b",
	.long_tag = "\xda\x80\x3a\x81\xc7\xce\x1a\x9d\x4d\x93\x62\xa7\xbe\x84\xc4\xa7",
	.long_hash = "\x0c\xc6\x47\xc3\xec\xb0\x50\xca\x59\x66\xf1\xa7\x22\x71\x6b\x98",
};

/* Takes what was sealed for that, and nothing else, if it can tell. */
static bool verifies(const struct seal_ops *ops, const struct seal_batch *batch, const uint8_t *nonce, const struct known *k,
	uint8_t *sealed, size_t bytes, const uint8_t tag[SEAL_TAG_BYTES], const uint8_t wrong[SEAL_TAG_BYTES])
{
	int r = ops->verify(batch, nonce, k->ad, k->ad_bytes, sealed, bytes, tag);

	if (r)
		return r == -EOPNOTSUPP || r == -ENOMEM;
	if (ops->verify(batch, nonce, k->ad, k->ad_bytes, sealed, bytes, wrong) != -EBADMSG
	    || ops->verify(batch, nonce, k->ad, k->ad_bytes - 1, sealed, bytes, tag) != -EBADMSG)
		return false;
	sealed[bytes - 1] ^= 1;
	r = ops->verify(batch, nonce, k->ad, k->ad_bytes, sealed, bytes, tag);
	sealed[bytes - 1] ^= 1;
	return r == -EBADMSG;
}

/* Opens what was sealed, and not with a wrong tag, after which nothing of it is left. */
static bool opens(const struct seal_ops *ops, const struct seal_batch *batch, const uint8_t *nonce, const struct known *k, uint8_t *sealed,
	const uint8_t *plain, size_t bytes, const uint8_t tag[SEAL_TAG_BYTES])
{
	uint8_t wrong[SEAL_TAG_BYTES], back[LONG_BYTES];

	memcpy(wrong, tag, sizeof wrong);
	wrong[SEAL_TAG_BYTES - 1] ^= 1;
	if (!verifies(ops, batch, nonce, k, sealed, bytes, tag, wrong))
		return false;
	memset(back, 0, bytes);
	if (ops->open(batch, nonce, k->ad, k->ad_bytes, sealed, bytes, wrong, back) != -EBADMSG)
		return false;
	for (size_t i = 0; i < bytes; i++)
		if (back[i])
			return false;
	return !ops->open(batch, nonce, k->ad, k->ad_bytes, sealed, bytes, tag, sealed) && !memcmp(sealed, plain, bytes);
}

static bool short_right(const struct seal_ops *ops, const struct seal_batch *batch, const struct known *k)
{
	uint8_t sealed[128], tag[SEAL_TAG_BYTES];
	const uint8_t *nonce = (const uint8_t *)k->nonce;

	return !ops->seal(batch, nonce, k->ad, k->ad_bytes, k->plain, k->bytes, sealed, tag) && !memcmp(tag, k->tag, sizeof tag)
		&& !memcmp(sealed, k->sealed, k->bytes) && opens(ops, batch, nonce, k, sealed, (const uint8_t *)k->plain, k->bytes, tag);
}

static bool long_right(const struct seal_ops *ops, const struct seal_batch *batch, const struct known *k)
{
	uint8_t nonce[SEAL_OPS_NONCE_BYTES], plain[LONG_BYTES], sealed[LONG_BYTES], tag[SEAL_TAG_BYTES];
	XXH128_canonical_t hash;

	memcpy(nonce, k->nonce, sizeof nonce);
	nonce[sizeof nonce - 1] = 0xff;
	for (size_t i = 0; i < LONG_BYTES; i++)
		plain[i] = (uint8_t)(7 * i + i / 256);
	if (ops->seal(batch, nonce, k->ad, k->ad_bytes, plain, LONG_BYTES, sealed, tag) || memcmp(tag, k->long_tag, sizeof tag))
		return false;
	XXH128_canonicalFromHash(&hash, XXH3_128bits(sealed, LONG_BYTES));
	return !memcmp(&hash, k->long_hash, sizeof hash) && opens(ops, batch, nonce, k, sealed, plain, LONG_BYTES, tag);
}

bool seal_engine_right(const struct seal_ops *ops, enum cipher cipher)
{
	const struct known *k = cipher == CIPHER_AES256_GCM ? &aes : &chacha;
	struct seal_batch batch = { .cipher = cipher, .ops = ops };

	if (ops->start(cipher) < 0)
		return false;
	memcpy(batch.subkey, k->key, sizeof batch.subkey);
	ops->begin(&batch);
	bool right = short_right(ops, &batch, k) && long_right(ops, &batch, k);
	seal_batch_end(&batch);
	return right;
}
