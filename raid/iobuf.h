/* Reference-counted buffers for member I/O, aligned to 4096 bytes.
 *
 * A buffer outlives everybody who may still touch it: the caller, and the kernel when a transfer
 * did not come back in time (raid/disk.h).  Freed buffers of common sizes are kept for reuse within
 * a fixed limit, since fresh pages cost more than the copy into them.  Thread-safe. */
#ifndef RAID_IOBUF_H
#define RAID_IOBUF_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define IOBUF_ALIGN_BYTES 4096u
/* What all idle buffers together may hold: as much as dirty data and rows in the making take, so that a stream maps nothing anew. */
#define IOBUF_CACHE_BYTES (112u << 20)

struct iobuf {
	uint8_t *data;
	size_t bytes;            /* as asked for */
	size_t capacity_bytes;   /* private: what is mapped */
	atomic_uint refs;        /* private */
	struct iobuf *next_free; /* private: protected by the cache's lock */
};

/* A buffer with one reference, left out of core dumps.  Its content is unspecified (it may be that
 * of an earlier buffer).  NULL when there is no memory; `bytes` must not be 0. */
struct iobuf *iobuf_new(size_t bytes);
/* Takes another reference and returns `buf`. */
struct iobuf *iobuf_ref(struct iobuf *buf);
/* Gives a reference back; the last one frees.  NULL is fine. */
void iobuf_unref(struct iobuf *buf);

/* Bytes that idle buffers hold now, at most IOBUF_CACHE_BYTES. */
size_t iobuf_cached_bytes(void);

static inline void iobuf_unrefp(struct iobuf **buf) { iobuf_unref(*buf); }

#endif
