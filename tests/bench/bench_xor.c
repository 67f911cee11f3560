/* How fast parity is made: GB of sources per second, for several widths, beside memcpy. */
#include "base/cleanup.h"
#include "raid/iobuf.h"
#include "raid/parity.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define RUN_BYTES (1u << 20)
#define BENCH_NS 300000000

static int64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static double gb_per_second(unsigned sources, uint8_t *dst, const void *const *src)
{
	uint64_t bytes = 0;
	int64_t start_ns = now_ns(), spent_ns;
	do {
		if (sources == 0)
			memcpy(dst, src[0], RUN_BYTES);
		else
			xor_many(dst, src, sources, RUN_BYTES);
		__asm__ volatile("" : : "r"(dst) : "memory");
		bytes += (uint64_t)RUN_BYTES * (sources ? sources : 1);
		spent_ns = now_ns() - start_ns;
	} while (spent_ns < BENCH_NS);
	return (double)bytes / (double)spent_ns;
}

int main(void)
{
	static const unsigned widths[] = { 2, 3, 4, 7, 15, 31 };
	cleanup(iobuf_unrefp) struct iobuf *buf = iobuf_new(32 * (size_t)RUN_BYTES);
	if (!buf)
		return 1;
	memset(buf->data, 0x5a, buf->bytes);
	const void *src[31];
	for (unsigned i = 0; i < 31; i++)
		src[i] = buf->data + (i + 1) * (size_t)RUN_BYTES;
	printf("memcpy            %6.2f GB/s\n", gb_per_second(0, buf->data, src));
	for (unsigned i = 0; i < ARRAY_COUNT(widths); i++)
		printf("xor of %2u sources %6.2f GB/s\n", widths[i], gb_per_second(widths[i], buf->data, src));
	return 0;
}
