/* Chunks of eight lanes go through registers: each source is read once and the destination stored
 * once, whatever the number of sources.  A lane is what the machine has in one register: 32 bytes with
 * AVX2, which is asked for at run time, else 16 (wider ones than the target has, the compiler
 * spills).  AVX-512 gains nothing worth its code: it is memory that is waited for. */
#include "raid/parity.h"

#include <assert.h>
#include <stdint.h>
#include <string.h>

typedef uint64_t lane16 __attribute__((vector_size(16), aligned(1), may_alias));
typedef uint64_t lane32 __attribute__((vector_size(32), aligned(1), may_alias));

/* Defines a function that does as many whole chunks as there are, and returns the bytes done. */
#define DEFINE_XOR_CHUNKS(name, lane) \
static size_t name(uint8_t *dst, const void *const *src, unsigned count, size_t bytes) \
{ \
	size_t at = 0; \
	for (; at + 8 * sizeof(lane) <= bytes; at += 8 * sizeof(lane)) { \
		const lane *s = (const lane *)((const uint8_t *)src[0] + at); \
		lane a = s[0], b = s[1], c = s[2], d = s[3], e = s[4], f = s[5], g = s[6], h = s[7]; \
		for (unsigned i = 1; i < count; i++) { \
			s = (const lane *)((const uint8_t *)src[i] + at); \
			a ^= s[0]; b ^= s[1]; c ^= s[2]; d ^= s[3]; \
			e ^= s[4]; f ^= s[5]; g ^= s[6]; h ^= s[7]; \
		} \
		lane *out = (lane *)(dst + at); \
		out[0] = a; out[1] = b; out[2] = c; out[3] = d; \
		out[4] = e; out[5] = f; out[6] = g; out[7] = h; \
	} \
	return at; \
}

DEFINE_XOR_CHUNKS(chunks_plain, lane16)
#if defined(__x86_64__)
__attribute__((target("avx2")))
DEFINE_XOR_CHUNKS(chunks_avx2, lane32)
#endif

static size_t xor_chunks(uint8_t *dst, const void *const *src, unsigned count, size_t bytes)
{
#if defined(__x86_64__)
	if (__builtin_cpu_supports("avx2"))
		return chunks_avx2(dst, src, count, bytes);
#endif
	return chunks_plain(dst, src, count, bytes);
}

void xor_many(void *dst, const void *const *src, unsigned count, size_t bytes)
{
	assert(count >= 1 && count <= XOR_SOURCES_MAX);
	uint8_t *out = dst;
	for (size_t at = xor_chunks(out, src, count, bytes); at < bytes; at++) {
		uint8_t x = ((const uint8_t *)src[0])[at];
		for (unsigned i = 1; i < count; i++)
			x ^= ((const uint8_t *)src[i])[at];
		out[at] = x;
	}
}

void xor_into(void *dst, const void *src, size_t bytes)
{
	xor_many(dst, (const void *const[]){ dst, src }, 2, bytes);
}

bool parity_check(const void *const *src, unsigned count, size_t bytes)
{
	static const uint8_t zero[4096];
	uint8_t sum[sizeof(zero)];
	const void *part[XOR_SOURCES_MAX];
	assert(count >= 1 && count <= XOR_SOURCES_MAX);
	for (size_t at = 0; at < bytes; at += sizeof(sum)) {
		size_t n = bytes - at < sizeof(sum) ? bytes - at : sizeof(sum);
		for (unsigned i = 0; i < count; i++)
			part[i] = (const uint8_t *)src[i] + at;
		xor_many(sum, part, count, n);
		if (memcmp(sum, zero, n))
			return false;
	}
	return true;
}
