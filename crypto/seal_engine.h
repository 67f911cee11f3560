/* Choosing the sealing engine: names, known answers, and which one is faster here. */
#ifndef CRYPTO_SEAL_ENGINE_H
#define CRYPTO_SEAL_ENGINE_H

#include "base/event.h"
#include "base/fail.h"
#include "crypto/seal.h"

/* "sodium", "openssl", "auto"; NULL for a number that is none. */
const char *seal_engine_name(enum seal_engine engine);
/* 0 or -EINVAL. */
int seal_engine_parse(const char *name, enum seal_engine *ret_engine);
/* Was it built in?  libsodium always is; AUTO is no engine. */
bool seal_engine_built(enum seal_engine engine);

/* The engine for a key's records.  CIPHER_NONE needs none and gets libsodium, and so does who asks for it: it is the reference.
 * AUTO tries all that are built in on known answers and on some milliseconds of work, and takes the faster; one that gives a
 * wrong answer is never used, and an event (EVENT_WARNING) tells.  OPENSSL is tried on the known answers.
 * 0; -EOPNOTSUPP (FAIL_USAGE) if it is not built in; -EIO (FAIL_SYSTEM) if it, or all there are, give wrong answers.  `cipher` is
 * available. */
int seal_engine_choose(enum seal_engine wanted, enum cipher cipher, const struct event_sink *events, enum seal_engine *ret_engine,
	struct fail *fail);

/* ---- What it is made of, for tests ---- */

#define SEAL_ENGINES 2

struct seal_ops;

/* The same among these engines, by number; NULL: not built in. */
int seal_engine_choose_of(const struct seal_ops *const engines[SEAL_ENGINES], enum seal_engine wanted, enum cipher cipher,
	const struct event_sink *events, enum seal_engine *ret_engine, struct fail *fail);
/* Does it start, give the known bytes, open them again, and refuse a wrong tag? */
bool seal_engine_right(const struct seal_ops *ops, enum cipher cipher);

#endif
