/* Engines: the same bytes from each, opened by each, refused by each; threads and forks; and which one is chosen. */
#include "crypto/key.h"
#include "crypto/sealimpl.h"
#include "crypto/seal_engine.h"
#include "tests/unit/check.h"

#include <errno.h>
#include <pthread.h>
#include <sodium.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define MOST_BYTES 16384u
#define MOST_AD_BYTES 200u
#define GUARD 0xee

static const enum cipher ciphers[] = { CIPHER_XCHACHA20_POLY1305, CIPHER_AES256_GCM };

static struct seal_key make_key(enum cipher cipher, enum seal_engine engine, unsigned seed)
{
	struct seal_key key = { .cipher = cipher, .engine = engine };

	for (unsigned i = 0; i < SEAL_KEY_BYTES; i++)
		key.key[i] = (uint8_t)(i * 7 + seed);
	return key;
}

static uint32_t next_random(uint32_t *state) { return *state = *state * 1664525u + 1013904223u, *state >> 8; }

static void fill(uint8_t *p, size_t bytes, uint32_t seed)
{
	for (size_t i = 0; i < bytes; i++)
		p[i] = (uint8_t)next_random(&seed);
}

/* ---- The same bytes ---- */

struct pair { struct seal_batch by, other; };    /* two engines, one nonce */

static void pair_begin(struct pair *pair, enum cipher cipher, enum seal_engine by, enum seal_engine other)
{
	struct seal_key key = make_key(cipher, by, 1), other_key = make_key(cipher, other, 1);

	seal_batch_begin(&key, env_system(), &pair->by);
	REQUIRE(!open_batch_begin(&other_key, pair->by.nonce, &pair->other));
}

static void pair_end(struct pair *pair)
{
	seal_batch_end(&pair->by);
	seal_batch_end(&pair->other);
	CHECK(sodium_is_zero(pair->by.subkey, sizeof pair->by.subkey) && sodium_is_zero(pair->other.subkey, sizeof pair->other.subkey));
}

/* Sealed by one, in place or not: the other gives the same bytes, and opens them, in place or not. */
static void cross(const struct pair *pair, uint32_t index, size_t bytes, size_t ad_bytes, bool in_place)
{
	static uint8_t plain[MOST_BYTES], sealed[MOST_BYTES + 1], same[MOST_BYTES], back[MOST_BYTES + 1];
	uint8_t ad[MOST_AD_BYTES], tag[SEAL_TAG_BYTES], same_tag[SEAL_TAG_BYTES];

	fill(plain, bytes, index + 1);
	fill(ad, ad_bytes, index + 2);
	sealed[bytes] = back[bytes] = GUARD;
	if (in_place)
		memcpy(sealed, plain, bytes);
	seal_record(&pair->by, index, ad, ad_bytes, in_place ? sealed : plain, bytes, sealed, tag);
	seal_record(&pair->other, index, ad, ad_bytes, plain, bytes, same, same_tag);
	CHECK(!memcmp(tag, same_tag, sizeof tag) && !memcmp(sealed, same, bytes));
	if (in_place)
		memcpy(back, sealed, bytes);
	CHECK_EQ(open_record_in(&pair->other, index, ad, ad_bytes, in_place ? back : sealed, bytes, tag, back), 0);
	CHECK(!memcmp(back, plain, bytes));
	CHECK(sealed[bytes] == GUARD && back[bytes] == GUARD);
	memcpy(back, sealed, bytes);
	CHECK_EQ(verify_record_in(&pair->other, index, ad, ad_bytes, back, bytes, tag, same), 0);
	CHECK(!memcmp(back, sealed, bytes + 1));
	size_t from = bytes / 2 / SEAL_PART_BYTES * SEAL_PART_BYTES;
	memset(back, GUARD, bytes + 1);
	CHECK_EQ(open_part_in(&pair->other, index, ad, ad_bytes, sealed, bytes, tag, from, bytes - from, back, same), 0);
	CHECK(!memcmp(back, plain + from, bytes - from) && back[bytes - from] == GUARD);
}

static void test_same(enum cipher cipher, enum seal_engine by, enum seal_engine other)
{
	struct pair pair;
	uint32_t random = 1, index = 0;

	pair_begin(&pair, cipher, by, other);
	for (size_t bytes = 0; bytes <= 130; bytes++)
		for (unsigned i = 0; i < 4; i++, index++)
			cross(&pair, index, bytes, i < 2 ? 0 : next_random(&random) % MOST_AD_BYTES, i & 1);
	for (unsigned i = 0; i < 4; i++, index++) {
		cross(&pair, index, 4096, i < 2 ? 0 : next_random(&random) % MOST_AD_BYTES, i & 1);
		cross(&pair, UINT32_MAX - index, MOST_BYTES, i < 2 ? 0 : next_random(&random) % MOST_AD_BYTES, i & 1);
	}
	pair_end(&pair);
}

/* ---- What is refused ---- */

/* Must be refused, and nothing of the plaintext left: zeroed, also in place. */
static void refuse(const struct seal_batch *batch, uint32_t index, const uint8_t *ad, size_t ad_bytes, const uint8_t *sealed, size_t bytes,
	const uint8_t *tag)
{
	static uint8_t back[MOST_BYTES];

	memset(back, GUARD, bytes);
	CHECK_EQ(open_record_in(batch, index, ad, ad_bytes, sealed, bytes, tag, back), -EBADMSG);
	CHECK(sodium_is_zero(back, bytes));
	memcpy(back, sealed, bytes);
	CHECK_EQ(open_record_in(batch, index, ad, ad_bytes, back, bytes, tag, back), -EBADMSG);
	CHECK(sodium_is_zero(back, bytes));
	CHECK_EQ(verify_record_in(batch, index, ad, ad_bytes, sealed, bytes, tag, back), -EBADMSG);
	static uint8_t scratch[MOST_BYTES];
	memset(back, GUARD, bytes);
	CHECK_EQ(open_part_in(batch, index, ad, ad_bytes, sealed, bytes, tag, 0, bytes, back, scratch), -EBADMSG);
	for (size_t i = 0; i < bytes; i++)
		if (back[i] != GUARD)
			CHECK_EQ(back[i], GUARD);
}

static void test_refused(enum cipher cipher, enum seal_engine by, enum seal_engine other, size_t bytes)
{
	static uint8_t plain[MOST_BYTES], sealed[MOST_BYTES], back[MOST_BYTES];
	uint8_t ad[37], tag[SEAL_TAG_BYTES], nonce[SEAL_NONCE_BYTES];
	struct seal_key key = make_key(cipher, other, 1), wrong_key = make_key(cipher, other, 2);
	struct seal_batch wrong;
	struct pair pair;

	pair_begin(&pair, cipher, by, other);
	fill(plain, bytes, 3);
	fill(ad, sizeof ad, 4);
	seal_record(&pair.by, 7, ad, sizeof ad, plain, bytes, sealed, tag);
	for (unsigned bit = 0; bit < 128; bit += 5) {
		tag[bit / 8] ^= (uint8_t)(1u << bit % 8);
		refuse(&pair.other, 7, ad, sizeof ad, sealed, bytes, tag);
		tag[bit / 8] ^= (uint8_t)(1u << bit % 8);
		ad[bit / 8] ^= (uint8_t)(1u << bit % 8);
		refuse(&pair.other, 7, ad, sizeof ad, sealed, bytes, tag);
		ad[bit / 8] ^= (uint8_t)(1u << bit % 8);
		sealed[bytes - 1 - bit / 8] ^= (uint8_t)(1u << bit % 8);
		refuse(&pair.other, 7, ad, sizeof ad, sealed, bytes, tag);
		sealed[bytes - 1 - bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	refuse(&pair.other, 8, ad, sizeof ad, sealed, bytes, tag);
	refuse(&pair.other, 7, ad, sizeof ad - 1, sealed, bytes, tag);
	refuse(&pair.other, 7, ad, 0, sealed, bytes, tag);
	refuse(&pair.other, 7, ad, sizeof ad, sealed, bytes - 1, tag);
	memcpy(nonce, pair.by.nonce, sizeof nonce);
	nonce[15] ^= 1;
	REQUIRE(!open_batch_begin(&key, nonce, &wrong));
	refuse(&wrong, 7, ad, sizeof ad, sealed, bytes, tag);
	seal_batch_end(&wrong);
	REQUIRE(!open_batch_begin(&wrong_key, pair.by.nonce, &wrong));
	refuse(&wrong, 7, ad, sizeof ad, sealed, bytes, tag);
	seal_batch_end(&wrong);
	/* A refusal leaves nothing behind in the thread's context. */
	CHECK_EQ(open_record_in(&pair.other, 7, ad, sizeof ad, sealed, bytes, tag, back), 0);
	CHECK(!memcmp(back, plain, bytes));
	pair_end(&pair);
}

/* ---- Threads and forks ---- */

#define THREADS 8
#define THREAD_RECORDS 400u
#define THREAD_BYTES 1000u

static struct threads_test { struct seal_key key; struct pair pairs[2]; } threads_test;

/* Records of two batches by turns, and of batches that are made one after the other at one address. */
static void *work(void *number)
{
	uint8_t plain[THREAD_BYTES], sealed[THREAD_BYTES], same[THREAD_BYTES], tag[SEAL_TAG_BYTES], same_tag[SEAL_TAG_BYTES];
	uint32_t first = (uint32_t)(uintptr_t)number * THREAD_RECORDS;
	uintptr_t wrong = 0;

	for (uint32_t i = 0; i < THREAD_RECORDS; i++) {
		const struct pair *pair = &threads_test.pairs[i / 3 % 2];
		uint8_t nonce[SEAL_NONCE_BYTES];

		fill(plain, sizeof plain, first + i);
		seal_record(&pair->by, first + i, plain, 9, plain, sizeof plain, sealed, tag);
		seal_record(&pair->other, first + i, plain, 9, plain, sizeof plain, same, same_tag);
		wrong += memcmp(sealed, same, sizeof same) || memcmp(tag, same_tag, sizeof tag);
		memcpy(nonce, pair->by.nonce, sizeof nonce);
		wrong += open_record(&threads_test.key, nonce, first + i, plain, 9, sealed, sizeof sealed, tag, sealed) != 0;
		wrong += memcmp(sealed, plain, sizeof plain) != 0;
		nonce[0] ^= 1;
		wrong += open_record(&threads_test.key, nonce, first + i, plain, 9, same, sizeof same, tag, sealed) != -EBADMSG;
	}
	return (void *)wrong;
}

static void test_threads(enum cipher cipher, enum seal_engine by, enum seal_engine other)
{
	pthread_t threads[THREADS];

	threads_test.key = make_key(cipher, by, 1);
	for (unsigned i = 0; i < 2; i++)
		pair_begin(&threads_test.pairs[i], cipher, by, other);
	for (uintptr_t i = 0; i < THREADS; i++)
		REQUIRE(!pthread_create(&threads[i], NULL, work, (void *)i));
	for (unsigned i = 0; i < THREADS; i++) {
		void *wrong = NULL;
		CHECK(!pthread_join(threads[i], &wrong));
		CHECK_EQ((uintptr_t)wrong, 0);
	}
	/* A process that was forked has this thread's context; both go on with batches of their own. */
	CHECK(!work(NULL));
	pid_t child = fork();
	REQUIRE(child >= 0);
	pair_end(&threads_test.pairs[0]);
	pair_begin(&threads_test.pairs[0], cipher, by, other);
	uintptr_t wrong = (uintptr_t)work(NULL);
	if (!child)
		_exit(wrong != 0);
	int status = -1;
	CHECK_EQ(wrong, 0);
	CHECK_EQ(waitpid(child, &status, 0), child);
	CHECK_EQ(status, 0);
	for (unsigned i = 0; i < 2; i++)
		pair_end(&threads_test.pairs[i]);
}

/* ---- No memory for a thread's context ---- */

#ifdef HAVE_OPENSSL
struct evp_cipher_ctx_st;
struct evp_cipher_ctx_st *__real_EVP_CIPHER_CTX_new(void);
struct evp_cipher_ctx_st *__wrap_EVP_CIPHER_CTX_new(void);

static bool no_memory;
static unsigned refused_contexts;

struct evp_cipher_ctx_st *__wrap_EVP_CIPHER_CTX_new(void)
{
	if (!no_memory)
		return __real_EVP_CIPHER_CTX_new();
	refused_contexts++;
	return NULL;
}

static void *work_without_memory(void *number)
{
	no_memory = true;
	void *wrong = work(number);
	no_memory = false;
	return (uintptr_t)wrong + (uintptr_t)work(number) ? (void *)1 : NULL;
}

static void test_no_memory(enum cipher cipher)
{
	pthread_t thread;
	void *wrong = NULL;

	refused_contexts = 0;
	threads_test.key = make_key(cipher, SEAL_ENGINE_OPENSSL, 1);
	for (unsigned i = 0; i < 2; i++)
		pair_begin(&threads_test.pairs[i], cipher, SEAL_ENGINE_OPENSSL, SEAL_ENGINE_SODIUM);
	REQUIRE(!pthread_create(&thread, NULL, work_without_memory, NULL));
	CHECK(!pthread_join(thread, &wrong));
	CHECK(!wrong);
	CHECK(refused_contexts >= THREAD_RECORDS);
	for (unsigned i = 0; i < 2; i++)
		pair_end(&threads_test.pairs[i]);
}
#endif

/* ---- Choosing ---- */

static unsigned warnings;
static void count_event(void *ctx, const struct event *event)
{
	warnings += event->kind == EVENT_WARNING && strstr(event->text, ctx) && strstr(event->text, "not used");
}

#define SEAL_ARGS const struct seal_batch *batch, const uint8_t *nonce, const void *ad, size_t ad_bytes, const void *plain, size_t bytes, \
	void *ret_sealed, uint8_t *ret_tag
#define OPEN_ARGS const struct seal_batch *batch, const uint8_t *nonce, const void *ad, size_t ad_bytes, const void *sealed, size_t bytes, \
	const uint8_t *tag, void *ret_plain

static int seal_right(SEAL_ARGS) { return seal_sodium_ops.seal(batch, nonce, ad, ad_bytes, plain, bytes, ret_sealed, ret_tag); }
static int open_right(OPEN_ARGS) { return seal_sodium_ops.open(batch, nonce, ad, ad_bytes, sealed, bytes, tag, ret_plain); }

/* Wrong in the last byte of long messages alone. */
static int seal_wrong_byte(SEAL_ARGS)
{
	int r = seal_right(batch, nonce, ad, ad_bytes, plain, bytes, ret_sealed, ret_tag);
	if (bytes > 4096)
		((uint8_t *)ret_sealed)[bytes - 1] ^= 1;
	return r;
}

static int seal_wrong_tag(SEAL_ARGS)
{
	int r = seal_right(batch, nonce, ad, ad_bytes, plain, bytes, ret_sealed, ret_tag);
	ret_tag[0] ^= 0x80;
	return r;
}

static int seal_without_ad(SEAL_ARGS)
{
	(void)ad_bytes;
	return seal_right(batch, nonce, ad, 0, plain, bytes, ret_sealed, ret_tag);
}

static int open_anything(OPEN_ARGS)
{
	uint8_t right[SEAL_TAG_BYTES];
	memcpy(right, tag, sizeof right);
	if (open_right(batch, nonce, ad, ad_bytes, sealed, bytes, right, ret_plain) == 0)
		return 0;
	right[SEAL_TAG_BYTES - 1] ^= 1;          /* the known answers' wrong tag */
	return open_right(batch, nonce, ad, ad_bytes, sealed, bytes, right, ret_plain);
}

static int open_leaving_plaintext(OPEN_ARGS)
{
	int r = open_right(batch, nonce, ad, ad_bytes, sealed, bytes, tag, ret_plain);
	if (r)
		((uint8_t *)ret_plain)[bytes / 2] = 1;
	return r;
}

static int open_nothing(OPEN_ARGS)
{
	(void)batch, (void)nonce, (void)ad, (void)ad_bytes, (void)sealed, (void)bytes, (void)tag, (void)ret_plain;
	return -EBADMSG;
}

/* Right, but with nine times the work. */
static int seal_slowly(SEAL_ARGS)
{
	static uint8_t scratch[MOST_BYTES];
	uint8_t tag[SEAL_TAG_BYTES];

	for (unsigned i = 0; i < 8; i++)
		seal_right(batch, nonce, ad, ad_bytes, scratch, bytes, scratch, tag);
	return seal_right(batch, nonce, ad, ad_bytes, plain, bytes, ret_sealed, ret_tag);
}

#define VERIFY_ARGS const struct seal_batch *batch, const uint8_t *nonce, const void *ad, size_t ad_bytes, const void *sealed, \
	size_t bytes, const uint8_t *tag

static int verify_unable(VERIFY_ARGS)
{
	(void)batch, (void)nonce, (void)ad, (void)ad_bytes, (void)sealed, (void)bytes, (void)tag;
	return -EOPNOTSUPP;
}

static int verify_anything(VERIFY_ARGS)
{
	(void)batch, (void)nonce, (void)ad, (void)ad_bytes, (void)sealed, (void)bytes, (void)tag;
	return 0;
}

static int verify_nothing(VERIFY_ARGS)
{
	(void)batch, (void)nonce, (void)ad, (void)ad_bytes, (void)sealed, (void)bytes, (void)tag;
	return -EBADMSG;
}

static int start_fails(enum cipher cipher) { (void)cipher; return -EOPNOTSUPP; }

static struct seal_ops made_of(int (*seal)(SEAL_ARGS), int (*open)(OPEN_ARGS))
{
	return (struct seal_ops){ seal_sodium_ops.start, seal_sodium_ops.begin, seal, open, verify_unable };
}

static void test_faulty(enum cipher cipher)
{
	const struct seal_ops faulty[] = { made_of(seal_wrong_byte, open_right), made_of(seal_wrong_tag, open_right),
		made_of(seal_without_ad, open_right), made_of(seal_right, open_anything), made_of(seal_right, open_leaving_plaintext),
		made_of(seal_right, open_nothing), { start_fails, seal_sodium_ops.begin, seal_right, open_right, verify_unable },
		{ seal_sodium_ops.start, seal_sodium_ops.begin, seal_right, open_right, verify_anything },
		{ seal_sodium_ops.start, seal_sodium_ops.begin, seal_right, open_right, verify_nothing } };
	const struct event_sink sink = { (void *)"engine openssl", count_event }, sodium_sink = { (void *)"engine sodium", count_event };
	struct fail fail = { 0 };

	CHECK(seal_engine_right(&seal_sodium_ops, cipher));
	for (unsigned i = 0; i < sizeof faulty / sizeof *faulty; i++) {
		const struct seal_ops *engines[SEAL_ENGINES] = { &seal_sodium_ops, &faulty[i] };
		enum seal_engine engine = SEAL_ENGINE_AUTO;

		warnings = 0;
		CHECK(!seal_engine_right(&faulty[i], cipher));
		CHECK_EQ(seal_engine_choose_of(engines, SEAL_ENGINE_AUTO, cipher, &sink, &engine, &fail), 0);
		CHECK_EQ(engine, SEAL_ENGINE_SODIUM);
		CHECK_EQ(warnings, 1);
		engine = SEAL_ENGINE_AUTO;
		CHECK_EQ(seal_engine_choose_of(engines, SEAL_ENGINE_OPENSSL, cipher, &sink, &engine, &fail), -EIO);
		CHECK(engine == SEAL_ENGINE_AUTO && fail.code == FAIL_SYSTEM && strstr(fail.text, "engine openssl")
			&& strstr(fail.text, cipher_name(cipher)));
		/* The reference itself. */
		engines[0] = &faulty[i];
		engines[1] = &seal_sodium_ops;
		CHECK_EQ(seal_engine_choose_of(engines, SEAL_ENGINE_AUTO, cipher, &sodium_sink, &engine, &fail), 0);
		CHECK_EQ(engine, SEAL_ENGINE_OPENSSL);
		CHECK_EQ(warnings, 2);
		engines[1] = NULL;
		engine = SEAL_ENGINE_AUTO;
		CHECK_EQ(seal_engine_choose_of(engines, SEAL_ENGINE_AUTO, cipher, &sodium_sink, &engine, &fail), -EIO);
		CHECK(engine == SEAL_ENGINE_AUTO && fail.code == FAIL_SYSTEM);
	}
}

static void test_choice(enum cipher cipher)
{
	const struct seal_ops slow = made_of(seal_slowly, open_right);
	const struct seal_ops *engines[SEAL_ENGINES] = { &seal_sodium_ops, &slow };
	const struct event_sink sink = { (void *)"", count_event };
	enum seal_engine engine = SEAL_ENGINE_AUTO;
	struct fail fail = { 0 };

	warnings = 0;
	CHECK_EQ(seal_engine_choose_of(engines, SEAL_ENGINE_AUTO, cipher, &sink, &engine, &fail), 0);
	CHECK_EQ(engine, SEAL_ENGINE_SODIUM);
	CHECK_EQ(seal_engine_choose_of(engines, SEAL_ENGINE_OPENSSL, cipher, &sink, &engine, &fail), 0);
	CHECK_EQ(engine, SEAL_ENGINE_OPENSSL);
	CHECK_EQ(seal_engine_choose_of(engines, SEAL_ENGINE_SODIUM, cipher, &sink, &engine, &fail), 0);
	CHECK_EQ(engine, SEAL_ENGINE_SODIUM);
	engines[0] = &slow;
	engines[1] = &seal_sodium_ops;
	CHECK_EQ(seal_engine_choose_of(engines, SEAL_ENGINE_AUTO, cipher, &sink, &engine, &fail), 0);
	CHECK_EQ(engine, SEAL_ENGINE_OPENSSL);
	engines[1] = NULL;
	CHECK_EQ(seal_engine_choose_of(engines, SEAL_ENGINE_AUTO, cipher, &sink, &engine, &fail), 0);
	CHECK_EQ(engine, SEAL_ENGINE_SODIUM);
	CHECK_EQ(fail.code, FAIL_NONE);
	CHECK_EQ(seal_engine_choose_of(engines, SEAL_ENGINE_OPENSSL, cipher, &sink, &engine, &fail), -EOPNOTSUPP);
	CHECK(fail.code == FAIL_USAGE && strstr(fail.text, "engine openssl: this program was built without it"));
	CHECK_EQ(seal_engine_choose_of(engines, SEAL_ENGINE_OPENSSL, CIPHER_NONE, &sink, &engine, &fail), 0);
	CHECK_EQ(engine, SEAL_ENGINE_SODIUM);
	CHECK_EQ(warnings, 0);
	CHECK_EQ(seal_engine_choose(SEAL_ENGINE_AUTO, cipher, &sink, &engine, &fail), 0);
	CHECK(engine != SEAL_ENGINE_AUTO && seal_engine_built(engine));
	CHECK_EQ(warnings, 0);
}

static void test_names(void)
{
	enum seal_engine engine = SEAL_ENGINE_SODIUM;

	for (unsigned i = 0; i <= SEAL_ENGINE_AUTO; i++) {
		CHECK_EQ(seal_engine_parse(seal_engine_name((enum seal_engine)i), &engine), 0);
		CHECK_EQ(engine, i);
	}
	CHECK(!seal_engine_name((enum seal_engine)3));
	CHECK_EQ(seal_engine_parse("uring", &engine), -EINVAL);
	CHECK_EQ(seal_engine_parse("", &engine), -EINVAL);
	CHECK_EQ(engine, SEAL_ENGINE_AUTO);
	CHECK(seal_engine_built(SEAL_ENGINE_SODIUM) && !seal_engine_built(SEAL_ENGINE_AUTO));
#ifdef HAVE_OPENSSL
	CHECK(seal_engine_built(SEAL_ENGINE_OPENSSL));
#else
	CHECK(!seal_engine_built(SEAL_ENGINE_OPENSSL));
#endif
}

static void test_pair(enum cipher cipher, enum seal_engine by, enum seal_engine other)
{
	test_same(cipher, by, other);
	test_refused(cipher, by, other, 100);
	test_refused(cipher, by, other, 4096);
	test_threads(cipher, by, other);
}

/* Log records: the same bytes by either engine, and only where the engine was chosen for this cipher. */
static void test_log(enum cipher cipher)
{
	static const size_t lengths[] = { 0, 1, 63, 64, 65, 4000, 8192 - 104, 65536 };
	static uint8_t plain[65536], by_sodium[65536], by_engine[65536];
	struct keys *keys = key_alloc(sizeof *keys);
	uint8_t nonce[SEAL_LONG_NONCE_BYTES], header[64], tag[SEAL_TAG_BYTES], same_tag[SEAL_TAG_BYTES];

	REQUIRE(keys);
	*keys = (struct keys){ .data = make_key(cipher, SEAL_ENGINE_SODIUM, 3) };
	fill(keys->log, sizeof keys->log, 4);
	fill(nonce, sizeof nonce, 5);
	fill(header, sizeof header, 6);
	fill(plain, sizeof plain, 7);
	for (unsigned i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
		size_t bytes = lengths[i];
		nonce[23] = (uint8_t)i;
		memcpy(by_sodium, plain, bytes);
		memcpy(by_engine, plain, bytes);
		keys->data.engine = SEAL_ENGINE_SODIUM;
		log_seal(keys, nonce, header, sizeof header, by_sodium, bytes, tag);
		keys->data.engine = SEAL_ENGINE_OPENSSL;
		log_seal(keys, nonce, header, sizeof header, by_engine, bytes, same_tag);
		CHECK(!memcmp(tag, same_tag, sizeof tag) && !memcmp(by_sodium, by_engine, bytes));
		CHECK_EQ(log_open(keys, nonce, header, sizeof header, by_engine, bytes, same_tag), 0);
		CHECK(!memcmp(by_engine, plain, bytes));
	}
	key_free(keys);
}

int main(void)
{
	REQUIRE(key_arena_init(NULL) >= 0);
	test_names();
	for (unsigned i = 0; i < 2; i++) {
		enum seal_engine engine = SEAL_ENGINE_AUTO;

		if (!cipher_available(ciphers[i])) {
			fprintf(stderr, "not tested: %s is not available here\n", cipher_name(ciphers[i]));
			continue;
		}
		test_pair(ciphers[i], SEAL_ENGINE_SODIUM, SEAL_ENGINE_SODIUM);
		test_faulty(ciphers[i]);
		test_choice(ciphers[i]);
		if (!seal_engine_built(SEAL_ENGINE_OPENSSL)) {
			fprintf(stderr, "not tested: the engine openssl with %s: it was not built in\n", cipher_name(ciphers[i]));
			continue;
		}
		REQUIRE(!seal_engine_choose(SEAL_ENGINE_OPENSSL, ciphers[i], NULL, &engine, NULL));
		test_pair(ciphers[i], SEAL_ENGINE_OPENSSL, SEAL_ENGINE_SODIUM);
		test_pair(ciphers[i], SEAL_ENGINE_SODIUM, SEAL_ENGINE_OPENSSL);
		test_log(ciphers[i]);
#ifdef HAVE_OPENSSL
		test_no_memory(ciphers[i]);
#endif
	}
	return CHECK_DONE();
}
