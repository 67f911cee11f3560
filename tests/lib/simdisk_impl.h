/* Inside of simdisk: what its two files share.  The world's lock is held in all of it. */
#ifndef TESTS_LIB_SIMDISK_IMPL_H
#define TESTS_LIB_SIMDISK_IMPL_H

#include "tests/lib/simdisk.h"

/* An unflushed write doesn't copy its data: it holds references to the chunks of the current image
 * as they are right after it.  A later write to such a chunk copies it first, so the write's
 * own bytes in its range never change. */
struct unflushed {
	struct list entry;
	uint64_t offset_bytes, length_bytes;
	unsigned chunk_count;
	struct simchunk *chunks[];
};

struct hung_write {
	struct list entry;
	uint64_t offset_bytes;
	size_t bytes;
	uint8_t data[];
};

/* ---- simdisk.c ---- */

uint64_t simworld_random_next(struct simworld *world);
bool simdisk_inside(const struct simdisk *sim, uint64_t offset_bytes, uint64_t length_bytes);
/* What hangs is gone: carried out, or not. */
void simdisk_end_hung(struct simdisk *sim, bool carried_out);

/* ---- simdisk_power.c: the list of unflushed writes ---- */

/* The range was written to the current image just now. */
void simdisk_add_unflushed(struct simdisk *sim, uint64_t offset_bytes, uint64_t length_bytes);
/* Forgets them all, and leaves both images alone. */
void simdisk_drop_unflushed(struct simdisk *sim);
/* What a flush does. */
void simdisk_make_durable(struct simdisk *sim);
/* What was written to the range is durable, and all else as it was. */
void simdisk_settle_range(struct simdisk *sim, uint64_t offset_bytes, uint64_t bytes);

#endif
