/* The clock and the random numbers that a layer uses.
 *
 * They come through this interface so that a simulation can replay a run from its seed.
 * A product uses env_system(). */
#ifndef BASE_ENV_H
#define BASE_ENV_H

#include <stddef.h>
#include <stdint.h>

struct env {
	void *ctx;
	int64_t (*now_ns)(void *ctx);                       /* CLOCK_REALTIME_COARSE, nanoseconds since 1970 */
	void (*random)(void *ctx, void *buf, size_t bytes); /* never fails; unpredictable in a product */
};

/* The system's clock and getrandom(2).  getrandom cannot fail for the sizes used here once the
 * kernel's pool is ready; if it does, the process aborts rather than go on with weak numbers. */
const struct env *env_system(void);

static inline int64_t env_now_ns(const struct env *env) { return env->now_ns(env->ctx); }
static inline void env_random(const struct env *env, void *buf, size_t bytes) { env->random(env->ctx, buf, bytes); }

#endif
