/* Sealing: the bytes against libsodium's own constructions, round trips, refusal of every changed bit, the nonce rule. */
#include "base/le.h"
#include "crypto/key.h"
#include "crypto/seal.h"
#include "tests/unit/check.h"

#include <errno.h>
#include <sodium.h>
#include <string.h>

#define AD_BYTES 37
#define MOST_BYTES 16384

static struct seal_key make_key(enum cipher cipher)
{
	struct seal_key key = { .cipher = cipher };

	for (int i = 0; i < SEAL_KEY_BYTES; i++)
		key.key[i] = (uint8_t)(i * 7 + 1);
	return key;
}

static void fill(uint8_t *p, size_t bytes, unsigned seed)
{
	for (size_t i = 0; i < bytes; i++)
		p[i] = (uint8_t)((i * 131 + seed) >> 1);
}

static void test_names(void)
{
	enum cipher cipher = CIPHER_NONE;

	for (int i = 0; i <= 2; i++) {
		CHECK_EQ(cipher_parse(cipher_name((enum cipher)i), &cipher), 0);
		CHECK_EQ(cipher, i);
	}
	CHECK(!strcmp(cipher_name(CIPHER_XCHACHA20_POLY1305), "xchacha20-poly1305"));
	CHECK(!cipher_name((enum cipher)3));
	CHECK(!cipher_available((enum cipher)3));
	CHECK(cipher_available(CIPHER_NONE) && cipher_available(CIPHER_XCHACHA20_POLY1305));
	CHECK_EQ(cipher_parse("aes", &cipher), -EINVAL);
	CHECK_EQ(cipher_parse("", &cipher), -EINVAL);
	CHECK_EQ(cipher, CIPHER_AES256_GCM);
}

/* The very same bytes as XChaCha20-Poly1305 under the data key with the 24-byte nonce. */
static void test_xchacha_bytes(void)
{
	static const uint32_t indexes[] = { 0, 1, 255, 0x01020304, UINT32_MAX };
	static const size_t lengths[] = { 0, 1, 64, 4096, MOST_BYTES };
	struct seal_key key = make_key(CIPHER_XCHACHA20_POLY1305);
	static uint8_t plain[MOST_BYTES], ours[MOST_BYTES], theirs[MOST_BYTES];
	uint8_t ad[AD_BYTES], tag[16], their_tag[16], nonce[24];
	struct seal_batch batch;

	fill(plain, sizeof plain, 5);
	fill(ad, sizeof ad, 9);
	seal_batch_begin(&key, env_system(), &batch);
	for (unsigned i = 0; i < 5; i++) {
		le64 index = le64_put(indexes[i]);
		memcpy(nonce, batch.nonce, 16);
		memcpy(nonce + 16, &index, 8);
		seal_record(&batch, indexes[i], ad, sizeof ad, plain, lengths[i], ours, tag);
		crypto_aead_xchacha20poly1305_ietf_encrypt_detached(theirs, their_tag, NULL, plain, lengths[i], ad, sizeof ad,
			NULL, nonce, key.key);
		CHECK(!memcmp(tag, their_tag, 16));
		CHECK(!memcmp(ours, theirs, lengths[i]));
	}
	seal_batch_end(&batch);
	CHECK(sodium_is_zero(batch.subkey, sizeof batch.subkey));
}

/* AES-256-GCM under HChaCha20(key, 16 bytes) with nonce 0000 ‖ index. */
static void test_aes_bytes(void)
{
	struct seal_key key = make_key(CIPHER_AES256_GCM);
	uint8_t plain[1000], ours[1000], theirs[1000], ad[AD_BYTES], tag[16], their_tag[16], nonce[12] = { 0 }, subkey[32];
	struct seal_batch batch;
	le64 index = le64_put(70000);

	if (!cipher_available(CIPHER_AES256_GCM)) {
		fprintf(stderr, "no AES instructions: AES-256-GCM not tested\n");
		return;
	}
	fill(plain, sizeof plain, 1);
	fill(ad, sizeof ad, 2);
	seal_batch_begin(&key, env_system(), &batch);
	seal_record(&batch, 70000, ad, sizeof ad, plain, sizeof plain, ours, tag);
	crypto_core_hchacha20(subkey, batch.nonce, key.key, NULL);
	memcpy(nonce + 4, &index, 8);
	crypto_aead_aes256gcm_encrypt_detached(theirs, their_tag, NULL, plain, sizeof plain, ad, sizeof ad, NULL, nonce, subkey);
	CHECK(!memcmp(tag, their_tag, 16));
	CHECK(!memcmp(ours, theirs, sizeof ours));
	seal_batch_end(&batch);
	CHECK(sodium_is_zero(batch.aes_state, sizeof batch.aes_state));
	CHECK(sodium_is_zero(batch.subkey, sizeof batch.subkey));
}

/* Each part of the record is had alone, and nothing behind it is touched. */
static void check_parts(const struct seal_batch *opening, uint32_t index, const uint8_t *ad, size_t ad_bytes, const uint8_t *sealed, size_t bytes,
	uint8_t *tag, const uint8_t *plain)
{
	static uint8_t part[MOST_BYTES + 1], scratch[MOST_BYTES];

	for (size_t from = 0; from <= bytes; from += from < 256 ? SEAL_PART_BYTES : 3840) {
		size_t lengths[] = { 0, 1, SEAL_PART_BYTES, 4096, bytes - from };
		for (unsigned i = 0; i < 5; i++) {
			size_t n = lengths[i];
			if (n > bytes - from)
				continue;
			part[n] = 0xee;
			CHECK_EQ(open_part_in(opening, index, ad, ad_bytes, sealed, bytes, tag, from, n, part, scratch), 0);
			CHECK(!memcmp(part, plain + from, n) && part[n] == 0xee);
		}
	}
	memset(part, 0xee, sizeof part);
	tag[3] ^= 4;
	CHECK_EQ(open_part_in(opening, index, ad, ad_bytes, sealed, bytes, tag, 0, bytes, part, scratch), -EBADMSG);
	tag[3] ^= 4;
	for (size_t i = 0; i < sizeof part; i++)
		if (part[i] != 0xee)
			CHECK_EQ(part[i], 0xee);
}

static void test_round_trip(enum cipher cipher)
{
	static const size_t lengths[] = { 0, 1, 15, 16, 17, 4096, 12288, MOST_BYTES };
	struct seal_key key = make_key(cipher);
	static uint8_t plain[MOST_BYTES], sealed[MOST_BYTES], back[MOST_BYTES], in_place[MOST_BYTES];
	uint8_t ad[AD_BYTES], tag[16], tag_in_place[16];
	struct seal_batch batch, opening;

	fill(plain, sizeof plain, 3);
	fill(ad, sizeof ad, 4);
	seal_batch_begin(&key, env_system(), &batch);
	REQUIRE(!open_batch_begin(&key, batch.nonce, &opening));
	for (unsigned i = 0; i < 8; i++) {
		size_t n = lengths[i];
		seal_record(&batch, i, ad, i, plain, n, sealed, tag);
		CHECK((cipher == CIPHER_NONE || n < 15) || memcmp(sealed, plain, n));
		CHECK(cipher != CIPHER_NONE || !memcmp(sealed, plain, n));
		memcpy(in_place, plain, n);
		seal_record(&batch, i, ad, i, in_place, n, in_place, tag_in_place);
		CHECK(!memcmp(in_place, sealed, n) && !memcmp(tag, tag_in_place, 16));

		memset(back, 0xee, sizeof back);
		CHECK_EQ(open_record(&key, batch.nonce, i, ad, i, sealed, n, tag, back), 0);
		CHECK(!memcmp(back, plain, n));
		CHECK(n == sizeof back || back[n] == 0xee);
		memset(back, 0xee, sizeof back);
		CHECK_EQ(open_record_in(&opening, i, ad, i, sealed, n, tag, back), 0);
		CHECK(!memcmp(back, plain, n));
		check_parts(&opening, i, ad, i, sealed, n, tag, plain);
		CHECK_EQ(verify_record_in(&opening, i, ad, i, sealed, n, tag, back), 0);
		tag[i] ^= 1;
		CHECK_EQ(verify_record_in(&opening, i, ad, i, sealed, n, tag, back), -EBADMSG);
		tag[i] ^= 1;
		CHECK_EQ(open_record_in(&opening, i, ad, i, in_place, n, tag, in_place), 0);
		CHECK(!memcmp(in_place, plain, n));
	}
	seal_batch_end(&opening);
	seal_batch_end(&batch);
}

/* Did a refused opening leave the buffer as it was, or zeroed? */
static bool clean(const uint8_t *p, size_t bytes)
{
	bool untouched = true;

	for (size_t i = 0; i < bytes; i++)
		untouched &= p[i] == 0xee;
	return untouched || sodium_is_zero(p, bytes);
}

static void test_refusal(enum cipher cipher)
{
	enum { N = 100 };
	struct seal_key key = make_key(cipher), other_key = make_key(cipher);
	uint8_t plain[N], sealed[N], back[N], ad[AD_BYTES], tag[16], nonce[16];
	struct seal_batch batch;
	unsigned accepted = 0, dirty = 0;

	fill(plain, sizeof plain, 3);
	fill(ad, sizeof ad, 4);
	seal_batch_begin(&key, env_system(), &batch);
	seal_record(&batch, 7, ad, sizeof ad, plain, N, sealed, tag);
	memcpy(nonce, batch.nonce, sizeof nonce);
	seal_batch_end(&batch);

	const struct { uint8_t *p; size_t bytes; } parts[] = { { sealed, N }, { tag, 16 }, { ad, sizeof ad }, { nonce, 16 } };
	for (unsigned part = 0; part < 4; part++) {
		for (size_t bit = 0; bit < parts[part].bytes * 8; bit++) {
			parts[part].p[bit / 8] ^= (uint8_t)(1u << bit % 8);
			memset(back, 0xee, sizeof back);
			accepted += open_record(&key, nonce, 7, ad, sizeof ad, sealed, N, tag, back) != -EBADMSG;
			dirty += !clean(back, sizeof back);
			parts[part].p[bit / 8] ^= (uint8_t)(1u << bit % 8);
		}
	}
	CHECK_EQ(accepted, 0);
	CHECK_EQ(dirty, 0);
	CHECK_EQ(open_record(&key, nonce, 8, ad, sizeof ad, sealed, N, tag, back), -EBADMSG);
	CHECK_EQ(open_record(&key, nonce, 7, ad, sizeof ad - 1, sealed, N, tag, back), -EBADMSG);
	CHECK_EQ(open_record(&key, nonce, 7, ad, sizeof ad, sealed, N - 1, tag, back), -EBADMSG);
	/* Bytes moved between associated data and data. */
	uint8_t moved[AD_BYTES + N];
	memcpy(moved, ad, sizeof ad);
	memcpy(moved + sizeof ad, sealed, N);
	CHECK_EQ(open_record(&key, nonce, 7, moved, AD_BYTES - 1, moved + AD_BYTES - 1, N + 1, tag, (uint8_t[N + 1]){ 0 }), -EBADMSG);
	if (cipher != CIPHER_NONE) {
		other_key.key[31] ^= 1;
		CHECK_EQ(open_record(&other_key, nonce, 7, ad, sizeof ad, sealed, N, tag, back), -EBADMSG);
	}
	CHECK_EQ(open_record(&key, nonce, 7, ad, sizeof ad, sealed, N, tag, back), 0);
	CHECK(!memcmp(back, plain, N));
}

static int64_t stuck_now(void *ctx) { (void)ctx; return 1; }
static void stuck_random(void *ctx, void *buf, size_t bytes) { (void)ctx; memset(buf, 7, bytes); }

static int compare_nonces(const void *a, const void *b) { return memcmp(a, b, 16); }

/* Even with a random source and a clock that stand still, the counter keeps a process's nonces apart. */
static void test_nonces(void)
{
	enum { BATCHES = 20000 };
	static const struct env stuck = { NULL, stuck_now, stuck_random };
	static uint8_t nonces[BATCHES][16];
	struct seal_key key = make_key(CIPHER_NONE);
	struct seal_batch batch;
	unsigned same = 0;

	for (unsigned i = 0; i < BATCHES; i++) {
		seal_batch_begin(&key, i % 2 ? &stuck : env_system(), &batch);
		memcpy(nonces[i], batch.nonce, 16);
		seal_batch_end(&batch);
	}
	qsort(nonces, BATCHES, 16, compare_nonces);
	for (unsigned i = 1; i < BATCHES; i++)
		same += !memcmp(nonces[i - 1], nonces[i], 16);
	CHECK_EQ(same, 0);
}

int main(void)
{
	REQUIRE(key_arena_init(NULL) >= 0);
	test_names();
	test_xchacha_bytes();
	test_aes_bytes();
	for (int cipher = 0; cipher <= 2; cipher++) {
		if (!cipher_available((enum cipher)cipher))
			continue;
		test_round_trip((enum cipher)cipher);
		test_refusal((enum cipher)cipher);
	}
	test_nonces();
	return CHECK_DONE();
}
