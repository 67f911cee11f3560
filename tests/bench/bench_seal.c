/* How fast records are sealed, opened and verified without being opened: GB per second of one core, for each cipher and engine and the
 * sizes of records.  "alone" is a record opened by itself, with the subkey made for it; the others share a batch. */
#include "crypto/key.h"
#include "crypto/seal_engine.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define TURN_NS 100000000
#define TURNS 5
#define AD_BYTES 40                  /* as fs/ has them */
#define MOST_BYTES 16384

enum what { SEAL, OPEN, VERIFY, OPEN_ALONE, WHATS };

static struct {
	struct seal_key key;
	struct seal_batch batch;
	uint8_t plain[MOST_BYTES], sealed[MOST_BYTES], back[MOST_BYTES], ad[AD_BYTES], tag[SEAL_TAG_BYTES];
} bench;

/* Processor time of this thread, so that others on the machine count less. */
static int64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static int one(enum what what, size_t bytes)
{
	switch (what) {
	case SEAL:
		seal_record(&bench.batch, 1, bench.ad, AD_BYTES, bench.plain, bytes, bench.sealed, bench.tag);
		return 0;
	case OPEN:
		return open_record_in(&bench.batch, 1, bench.ad, AD_BYTES, bench.sealed, bytes, bench.tag, bench.back);
	case VERIFY:
		return verify_record_in(&bench.batch, 1, bench.ad, AD_BYTES, bench.sealed, bytes, bench.tag, bench.back);
	default:
		return open_record(&bench.key, bench.batch.nonce, 1, bench.ad, AD_BYTES, bench.sealed, bytes, bench.tag, bench.back);
	}
}

/* The best of some turns; 0 if a record does not open. */
static double gb_per_second(enum what what, size_t bytes)
{
	double best = 0;

	for (unsigned turn = 0; turn < TURNS; turn++) {
		uint64_t done = 0;
		int64_t start_ns = now_ns(), spent_ns;
		do {
			for (unsigned i = 0; i < 64; i++, done += bytes)
				if (one(what, bytes))
					return 0;
			spent_ns = now_ns() - start_ns;
		} while (spent_ns < TURN_NS);
		double rate = (double)done / (double)spent_ns;
		best = rate > best ? rate : best;
	}
	return best;
}

static int run(enum cipher cipher, enum seal_engine engine)
{
	enum seal_engine chosen;
	struct fail fail = { 0 };

	if (seal_engine_choose(engine, cipher, NULL, &chosen, &fail) < 0) {
		fprintf(stderr, "%s\n", fail.text);
		return 1;
	}
	bench.key = (struct seal_key){ .cipher = cipher, .engine = chosen };
	seal_batch_begin(&bench.key, env_system(), &bench.batch);
	for (size_t bytes = 4096; bytes <= MOST_BYTES; bytes *= 4) {
		double rates[WHATS];
		for (int what = SEAL; what < WHATS; what++)
			rates[what] = gb_per_second((enum what)what, bytes);
		printf("%-18s %-7s %2zu KiB  seal %5.2f  open %5.2f  verify %5.2f  alone %5.2f GB/s\n", cipher_name(cipher), seal_engine_name(engine),
			bytes / 1024, rates[SEAL], rates[OPEN], rates[VERIFY], rates[OPEN_ALONE]);
	}
	seal_batch_end(&bench.batch);
	return 0;
}

int main(void)
{
	int failed = 0;

	if (key_arena_init(NULL) < 0)
		return 1;
	for (int cipher = CIPHER_XCHACHA20_POLY1305; cipher <= CIPHER_AES256_GCM; cipher++)
		for (int engine = SEAL_ENGINE_SODIUM; engine <= SEAL_ENGINE_OPENSSL; engine++)
			if (cipher_available((enum cipher)cipher) && seal_engine_built((enum seal_engine)engine))
				failed |= run((enum cipher)cipher, (enum seal_engine)engine);
	for (int cipher = CIPHER_XCHACHA20_POLY1305; cipher <= CIPHER_AES256_GCM; cipher++) {
		enum seal_engine chosen;
		if (cipher_available((enum cipher)cipher) && !seal_engine_choose(SEAL_ENGINE_AUTO, (enum cipher)cipher, NULL, &chosen, NULL))
			printf("auto for %s: %s\n", cipher_name((enum cipher)cipher), seal_engine_name(chosen));
	}
	return failed;
}
