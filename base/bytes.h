/* For fields and padding that must be zero. */
#ifndef BASE_BYTES_H
#define BASE_BYTES_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

static inline bool bytes_are_zero(const void *bytes, size_t length_bytes)
{
	const uint8_t *b = bytes;
	return !length_bytes || (!b[0] && !memcmp(b, b + 1, length_bytes - 1));
}

#endif
