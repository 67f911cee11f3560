/* Parity against a byte-by-byte XOR, for every number of sources and awkward sizes and places. */
#include "base/cleanup.h"
#include "raid/parity.h"
#include "tests/unit/check.h"

#include <stdint.h>
#include <string.h>

#define SIZE_MAX_BYTES 20000u

static uint8_t sources[XOR_SOURCES_MAX][SIZE_MAX_BYTES + 64];
static uint8_t out[SIZE_MAX_BYTES + 64], expected[SIZE_MAX_BYTES];

static void fill(void)
{
	uint64_t x = 88172645463325252;
	for (unsigned i = 0; i < XOR_SOURCES_MAX; i++)
		for (unsigned j = 0; j < sizeof(sources[i]); j++) {
			x ^= x << 13;
			x ^= x >> 7;
			x ^= x << 17;
			sources[i][j] = (uint8_t)x;
		}
}

static void test_many(void)
{
	static const size_t sizes[] = { 1, 7, 127, 128, 129, 255, 256, 257, 512, 4096, 4100, 16384, 19999 };
	for (unsigned count = 1; count <= XOR_SOURCES_MAX; count++) {
		for (unsigned s = 0; s < ARRAY_COUNT(sizes); s++) {
			size_t bytes = sizes[s], shift = (count * 5 + s) % 64;
			const void *src[XOR_SOURCES_MAX];
			memset(expected, 0, sizeof(expected));
			for (unsigned i = 0; i < count; i++) {
				src[i] = sources[i] + (shift + i) % 64;
				for (size_t j = 0; j < bytes; j++)
					expected[j] ^= ((const uint8_t *)src[i])[j];
			}
			memset(out, 0xaa, sizeof(out));
			xor_many(out + shift, src, count, bytes);
			CHECK(!memcmp(out + shift, expected, bytes));
			CHECK(out[shift + bytes] == 0xaa && (shift == 0 || out[shift - 1] == 0xaa));
		}
	}
}

static void test_in_place(void)
{
	const void *src[3] = { sources[0], out, sources[1] };
	memcpy(out, sources[2], 5000);
	xor_many(out, src, 3, 5000);
	for (unsigned j = 0; j < 5000; j++)
		expected[j] = sources[0][j] ^ sources[1][j] ^ sources[2][j];
	CHECK(!memcmp(out, expected, 5000));
	xor_into(out, sources[0], 5000);
	xor_into(out, sources[1], 5000);
	CHECK(!memcmp(out, sources[2], 5000));
}

static void test_check(void)
{
	static const size_t places[] = { 0, 4095, 4096, 16383, 19998 };
	const void *src[5] = { sources[0], sources[1], sources[2], sources[3], out };
	for (unsigned count = 1; count <= 4; count++) {
		const void *row[5];
		memcpy(row, src, sizeof(row));
		xor_many(out, src, count, 19999);
		row[count] = out;
		CHECK(parity_check(row, count + 1, 19999));
		for (unsigned i = 0; i < ARRAY_COUNT(places); i++) {
			out[places[i]] ^= 0x10;
			CHECK(!parity_check(row, count + 1, 19999));
			CHECK(places[i] == 0 || parity_check(row, count + 1, places[i]));
			out[places[i]] ^= 0x10;
		}
	}
}

int main(void)
{
	fill();
	test_many();
	test_in_place();
	test_check();
	return CHECK_DONE();
}
