#include "base/env.h"

#include <stdlib.h>
#include <sys/random.h>
#include <errno.h>
#include <time.h>

static int64_t system_now_ns(void *ctx)
{
	(void)ctx;
	struct timespec t;
	/* The coarse clock is the one that the kernel stamps files with. A finer one would date what we do after what the
	 * kernel does next. */
	clock_gettime(CLOCK_REALTIME_COARSE, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void system_random(void *ctx, void *buf, size_t bytes)
{
	(void)ctx;
	uint8_t *p = buf;
	while (bytes > 0) {
		ssize_t n = getrandom(p, bytes < 256 ? bytes : 256, 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			abort();
		p += n;
		bytes -= (size_t)n;
	}
}

const struct env *env_system(void)
{
	static const struct env system_env = { NULL, system_now_ns, system_random };
	return &system_env;
}
