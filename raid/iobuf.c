/* Buffers come from mmap in sizes of a power of two from 4 KiB to 4 MiB (larger ones exactly, and
 * never kept).  Those of 2 MiB and more are made of huge pages where the kernel has them: for I/O past
 * its cache it must look up each page.  A list of idle buffers for each size is taken from and given to
 * at its front, so that the warmest memory is used first.  An idle buffer is poisoned where
 * AddressSanitizer runs: a use after the last iobuf_unref is found although the memory stays mapped. */
#include "raid/iobuf.h"

#include "base/cleanup.h"

#include <assert.h>
#include <stdlib.h>
#include <sys/mman.h>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#define POISON(p, bytes) __asan_poison_memory_region(p, bytes)
#define UNPOISON(p, bytes) __asan_unpoison_memory_region(p, bytes)
#else
#define POISON(p, bytes) ((void)0)
#define UNPOISON(p, bytes) ((void)0)
#endif

#define CLASS_SMALLEST_SHIFT 12
#define CLASS_LARGEST_SHIFT 22
#define CLASSES (CLASS_LARGEST_SHIFT - CLASS_SMALLEST_SHIFT + 1)
#define HUGE_PAGE_BYTES ((size_t)2 << 20)

static struct {
	pthread_mutex_t lock;
	struct iobuf *idle[CLASSES];    /* protected by lock */
	size_t bytes;                   /* protected by lock: of all idle buffers */
} cache = { .lock = PTHREAD_MUTEX_INITIALIZER };

/* The size class that holds `bytes`, or -1 above the largest. */
static int class_of(size_t bytes)
{
	for (int i = 0; i < CLASSES; i++)
		if (bytes <= (size_t)1 << (CLASS_SMALLEST_SHIFT + i))
			return i;
	return -1;
}

static struct iobuf *take_idle(int class)
{
	SCOPED_LOCK(&cache.lock);
	struct iobuf *buf = cache.idle[class];
	if (buf) {
		cache.idle[class] = buf->next_free;
		cache.bytes -= buf->capacity_bytes;
	}
	return buf;
}

static void *map_pages(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	return p == MAP_FAILED ? NULL : p;
}

/* Aligned to huge pages, whatever the kernel does by itself; without them if there is no room for that. */
static void *map_huge(size_t bytes)
{
	uint8_t *p = map_pages(bytes + HUGE_PAGE_BYTES);
	if (!p)
		return map_pages(bytes);
	size_t before = (HUGE_PAGE_BYTES - (uintptr_t)p % HUGE_PAGE_BYTES) % HUGE_PAGE_BYTES;
	if (before > 0)
		munmap(p, before);
	munmap(p + before + bytes, HUGE_PAGE_BYTES - before);
	madvise(p + before, bytes, MADV_HUGEPAGE);
	return p + before;
}

static struct iobuf *map_new(size_t capacity_bytes)
{
	struct iobuf *buf = calloc(1, sizeof(*buf));
	if (!buf)
		return NULL;
	void *p = capacity_bytes >= HUGE_PAGE_BYTES ? map_huge(capacity_bytes) : map_pages(capacity_bytes);
	if (!p) {
		free(buf);
		return NULL;
	}
	madvise(p, capacity_bytes, MADV_DONTDUMP);
	buf->data = p;
	buf->capacity_bytes = capacity_bytes;
	return buf;
}

struct iobuf *iobuf_new(size_t bytes)
{
	assert(bytes > 0);
	if (bytes > SIZE_MAX / 2)
		return NULL;
	int class = class_of(bytes);
	size_t capacity_bytes = class >= 0 ? (size_t)1 << (CLASS_SMALLEST_SHIFT + class)
		: (bytes + IOBUF_ALIGN_BYTES - 1) / IOBUF_ALIGN_BYTES * IOBUF_ALIGN_BYTES;
	struct iobuf *buf = class >= 0 ? take_idle(class) : NULL;
	if (!buf)
		buf = map_new(capacity_bytes);
	if (!buf)
		return NULL;
	UNPOISON(buf->data, bytes);
	POISON(buf->data + bytes, capacity_bytes - bytes);
	buf->bytes = bytes;
	buf->next_free = NULL;
	atomic_store(&buf->refs, 1);
	return buf;
}

struct iobuf *iobuf_ref(struct iobuf *buf)
{
	unsigned before = atomic_fetch_add(&buf->refs, 1);
	assert(before > 0);
	return buf;
}

void iobuf_unref(struct iobuf *buf)
{
	if (!buf)
		return;
	unsigned before = atomic_fetch_sub(&buf->refs, 1);
	assert(before > 0);
	if (before > 1)
		return;
	POISON(buf->data, buf->capacity_bytes);
	int class = class_of(buf->capacity_bytes);
	if (class >= 0) {
		SCOPED_LOCK(&cache.lock);
		if (cache.bytes + buf->capacity_bytes <= IOBUF_CACHE_BYTES) {
			buf->next_free = cache.idle[class];
			cache.idle[class] = buf;
			cache.bytes += buf->capacity_bytes;
			return;
		}
	}
	UNPOISON(buf->data, buf->capacity_bytes);
	munmap(buf->data, buf->capacity_bytes);
	free(buf);
}

size_t iobuf_cached_bytes(void)
{
	SCOPED_LOCK(&cache.lock);
	return cache.bytes;
}
