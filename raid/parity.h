/* XOR of units: parity, and what parity rebuilds.  Pure, near the speed of memory.
 *
 * No alignment is needed.  `dst` may be one of the sources, but must not overlap any in part. */
#ifndef RAID_PARITY_H
#define RAID_PARITY_H

#include <stdbool.h>
#include <stddef.h>

#define XOR_SOURCES_MAX 32u

/* dst ^= src */
void xor_into(void *dst, const void *src, size_t bytes);
/* dst = the XOR of the `count` (1 … XOR_SOURCES_MAX) sources. */
void xor_many(void *dst, const void *const *src, unsigned count, size_t bytes);
/* True when the XOR of all sources (a row's units, parity among them) is zero everywhere. */
bool parity_check(const void *const *src, unsigned count, size_t bytes);

#endif
