/* See measure.h. */
#include "tests/bench/measure.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

static int64_t clock_ns(clockid_t clock)
{
	struct timespec t;
	clock_gettime(clock, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

int64_t measure_now_ns(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

int64_t measure_process_ns(void)
{
	return clock_ns(CLOCK_PROCESS_CPUTIME_ID);
}

int64_t measure_cpu_ns(void)
{
	uint64_t user, nice_, system, idle, iowait, irq, softirq;
	FILE *f = fopen("/proc/stat", "r");

	if (!f)
		return 0;
	int n = fscanf(f, "cpu %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64,
		&user, &nice_, &system, &idle, &iowait, &irq, &softirq);
	fclose(f);
	if (n != 7)
		return 0;
	return (int64_t)(user + nice_ + system + irq + softirq) * (1000000000 / sysconf(_SC_CLK_TCK));
}

int measure_random(void *buf, size_t bytes)
{
	uint64_t state;

	if (getrandom(&state, sizeof state, 0) != sizeof state)
		return -EIO;
	for (size_t at = 0; at < bytes; at += sizeof state) {
		uint64_t z = state += UINT64_C(0x9e3779b97f4a7c15);      /* SplitMix64 */
		z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
		z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
		z ^= z >> 31;
		memcpy((uint8_t *)buf + at, &z, bytes - at < sizeof z ? bytes - at : sizeof z);
	}
	return 0;
}
