/* Choosing the sealing engine.
 *
 * Known answers (seal_known.c) come first: an engine that is fast and wrong would write what no other can read.  Then each right one
 * seals and opens records of the largest size, in turns, so that a change of the processor's speed meets all; the least time of
 * its turns counts, of the thread's processor time, so that other work on the machine does not. */
#include "crypto/seal_engine.h"

#include "base/cleanup.h"
#include "crypto/sealimpl.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

/* 8 turns of 4 records of 16 KiB, sealed and opened: at 1 GB/s, 1 ms for each engine. */
#define TRIAL_TURNS 8u
#define TRIAL_RECORDS 4u
#define TRIAL_BYTES 16384u

static const char *const names[] = {
	[SEAL_ENGINE_SODIUM] = "sodium",
	[SEAL_ENGINE_OPENSSL] = "openssl",
	[SEAL_ENGINE_AUTO] = "auto",
};

static const struct seal_ops *const built[SEAL_ENGINES] = {
	[SEAL_ENGINE_SODIUM] = &seal_sodium_ops,
#ifdef HAVE_OPENSSL
	[SEAL_ENGINE_OPENSSL] = &seal_openssl_ops,
#endif
};

const char *seal_engine_name(enum seal_engine engine)
{
	return (size_t)engine < ARRAY_COUNT(names) ? names[engine] : NULL;
}

int seal_engine_parse(const char *name, enum seal_engine *ret_engine)
{
	for (size_t i = 0; i < ARRAY_COUNT(names); i++) {
		if (!strcmp(name, names[i])) {
			*ret_engine = (enum seal_engine)i;
			return 0;
		}
	}
	return -EINVAL;
}

const struct seal_ops *seal_ops_of(enum seal_engine engine)
{
	return (size_t)engine < ARRAY_COUNT(built) ? built[engine] : NULL;
}

bool seal_engine_built(enum seal_engine engine) { return seal_ops_of(engine); }

/* The least processor time of a turn that its caller has seen, or this one's. */
static int64_t turn(const struct seal_ops *ops, enum cipher cipher, uint8_t *bytes, int64_t least_ns)
{
	struct seal_batch batch = { .cipher = cipher, .ops = ops };
	uint8_t nonce[SEAL_OPS_NONCE_BYTES] = { 0 }, tag[SEAL_TAG_BYTES];
	struct timespec before, after;
	int r = 0;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &before);
	ops->begin(&batch);
	for (uint8_t i = 0; !r && i < TRIAL_RECORDS; i++) {
		nonce[0] = i;
		r = ops->seal(&batch, nonce, nonce, sizeof nonce, bytes, TRIAL_BYTES, bytes, tag);
		if (!r)
			r = ops->open(&batch, nonce, nonce, sizeof nonce, bytes, TRIAL_BYTES, tag, bytes);
	}
	seal_batch_end(&batch);
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &after);
	int64_t ns = (after.tv_sec - before.tv_sec) * INT64_C(1000000000) + after.tv_nsec - before.tv_nsec;
	return !r && ns < least_ns ? ns : least_ns;
}

static enum seal_engine fastest(const struct seal_ops *const engines[SEAL_ENGINES], const bool right[SEAL_ENGINES], enum cipher cipher)
{
	int64_t least_ns[SEAL_ENGINES];
	uint8_t bytes[TRIAL_BYTES] = { 0 };
	enum seal_engine best = SEAL_ENGINE_AUTO;

	for (unsigned i = 0; i < SEAL_ENGINES; i++)
		least_ns[i] = INT64_MAX;
	for (unsigned t = 0; t < TRIAL_TURNS; t++)
		for (unsigned i = 0; i < SEAL_ENGINES; i++)
			if (right[i])
				least_ns[i] = turn(engines[i], cipher, bytes, least_ns[i]);
	for (unsigned i = 0; i < SEAL_ENGINES; i++)
		if (right[i] && (best == SEAL_ENGINE_AUTO || least_ns[i] < least_ns[best]))
			best = (enum seal_engine)i;
	return best;
}

static int choose_auto(const struct seal_ops *const engines[SEAL_ENGINES], enum cipher cipher, const struct event_sink *events,
	enum seal_engine *ret_engine, struct fail *fail)
{
	bool right[SEAL_ENGINES] = { false };
	unsigned count = 0;

	for (unsigned i = 0; i < SEAL_ENGINES; i++) {
		if (!engines[i])
			continue;
		right[i] = seal_engine_right(engines[i], cipher);
		count += right[i];
		if (!right[i])
			event_report(events, EVENT_WARNING, -1, "The sealing engine %s does not give the known bytes for %s on this machine, and is "
				"not used. Its library should be replaced.", names[i], cipher_name(cipher));
	}
	if (!count)
		return fail_set(fail, EIO, FAIL_SYSTEM, "engine auto: no sealing engine gives the known bytes for %s on this machine; "
			"replace the cryptographic library, or look for a fault of the machine", cipher_name(cipher));
	*ret_engine = fastest(engines, right, cipher);
	return 0;
}

int seal_engine_choose_of(const struct seal_ops *const engines[SEAL_ENGINES], enum seal_engine wanted, enum cipher cipher,
	const struct event_sink *events, enum seal_engine *ret_engine, struct fail *fail)
{
	if (cipher == CIPHER_NONE || wanted == SEAL_ENGINE_SODIUM) {
		*ret_engine = SEAL_ENGINE_SODIUM;
		return 0;
	}
	if (wanted == SEAL_ENGINE_AUTO)
		return choose_auto(engines, cipher, events, ret_engine, fail);
	if (!engines[wanted])
		return fail_set(fail, EOPNOTSUPP, FAIL_USAGE, "engine %s: this program was built without it; use the engine sodium or auto",
			names[wanted]);
	if (!seal_engine_right(engines[wanted], cipher))
		return fail_set(fail, EIO, FAIL_SYSTEM, "engine %s: it does not give the known bytes for %s on this machine, and nothing was "
			"opened with it; use the engine sodium or auto, and replace the library", names[wanted], cipher_name(cipher));
	*ret_engine = wanted;
	return 0;
}

int seal_engine_choose(enum seal_engine wanted, enum cipher cipher, const struct event_sink *events, enum seal_engine *ret_engine,
	struct fail *fail)
{
	return seal_engine_choose_of(built, wanted, cipher, events, ret_engine, fail);
}
