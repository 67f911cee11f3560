/* Two levels: a store has leaves, a leaf has chunks; both are reference-counted and are made one's own
 * (copied if shared) on the way to a write. */
#include "tests/lib/simstore.h"

#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define LEAF_CHUNKS 256u

struct simchunk {
	unsigned refs;
	uint64_t hash;                   /* of the bytes; 0: not known */
	uint8_t bytes[SIMCHUNK_BYTES];
};

struct simleaf {
	unsigned refs;
	struct simchunk *chunks[LEAF_CHUNKS];
};

void *sim_alloc(size_t bytes)
{
	void *p;
	if (posix_memalign(&p, 16, bytes) != 0)      /* not malloc: tests make that fail */
		abort();
	return p;
}

static void ref(unsigned *refs) { __atomic_fetch_add(refs, 1, __ATOMIC_RELAXED); }
static bool last_ref(unsigned *refs) { return __atomic_fetch_sub(refs, 1, __ATOMIC_ACQ_REL) == 1; }
static bool shared(unsigned *refs) { return __atomic_load_n(refs, __ATOMIC_ACQUIRE) > 1; }

void simchunk_ref(struct simchunk *chunk)
{
	if (chunk)
		ref(&chunk->refs);
}

void simchunk_unref(struct simchunk *chunk)
{
	if (chunk && last_ref(&chunk->refs))
		free(chunk);
}

const uint8_t *simchunk_bytes(const struct simchunk *chunk)
{
	static const uint8_t zero[SIMCHUNK_BYTES];
	return chunk ? chunk->bytes : zero;
}

static void leaf_unref(struct simleaf *leaf)
{
	if (!leaf || !last_ref(&leaf->refs))
		return;
	for (unsigned i = 0; i < LEAF_CHUNKS; i++)
		simchunk_unref(leaf->chunks[i]);
	free(leaf);
}

void simstore_init(struct simstore *store, uint64_t size_bytes)
{
	uint64_t chunks = (size_bytes + SIMCHUNK_BYTES - 1) / SIMCHUNK_BYTES;
	store->size_bytes = size_bytes;
	store->leaf_count = (unsigned)((chunks + LEAF_CHUNKS - 1) / LEAF_CHUNKS);
	store->leaves = sim_alloc((store->leaf_count + 1) * sizeof(*store->leaves));
	memset(store->leaves, 0, (store->leaf_count + 1) * sizeof(*store->leaves));
}

void simstore_free(struct simstore *store)
{
	for (unsigned i = 0; i < store->leaf_count; i++)
		leaf_unref(store->leaves[i]);
	free(store->leaves);
	memset(store, 0, sizeof(*store));
}

void simstore_copy(struct simstore *ret_copy, const struct simstore *store)
{
	simstore_init(ret_copy, store->size_bytes);
	for (unsigned i = 0; i < store->leaf_count; i++) {
		ret_copy->leaves[i] = store->leaves[i];
		if (store->leaves[i])
			ref(&store->leaves[i]->refs);
	}
}

static struct simchunk *find_chunk(const struct simstore *store, uint64_t index)
{
	assert(index / LEAF_CHUNKS < store->leaf_count);
	struct simleaf *leaf = store->leaves[index / LEAF_CHUNKS];
	return leaf ? leaf->chunks[index % LEAF_CHUNKS] : NULL;
}

/* The chunk's place in a leaf that is this store's alone. */
static struct simchunk **own_place(struct simstore *store, uint64_t index)
{
	assert(index / LEAF_CHUNKS < store->leaf_count);
	struct simleaf **leaf = &store->leaves[index / LEAF_CHUNKS];
	if (!*leaf || shared(&(*leaf)->refs)) {
		struct simleaf *own = sim_alloc(sizeof(*own));
		memset(own, 0, sizeof(*own));
		own->refs = 1;
		for (unsigned i = 0; *leaf && i < LEAF_CHUNKS; i++) {
			own->chunks[i] = (*leaf)->chunks[i];
			if (own->chunks[i])
				ref(&own->chunks[i]->refs);
		}
		leaf_unref(*leaf);
		*leaf = own;
	}
	return &(*leaf)->chunks[index % LEAF_CHUNKS];
}

struct simchunk *simstore_chunk(const struct simstore *store, uint64_t index)
{
	struct simchunk *chunk = find_chunk(store, index);
	if (chunk)
		ref(&chunk->refs);
	return chunk;
}

void simstore_set_chunk(struct simstore *store, uint64_t index, struct simchunk *chunk)
{
	struct simchunk **place = own_place(store, index);
	if (*place == chunk)
		return;
	if (chunk)
		ref(&chunk->refs);
	simchunk_unref(*place);
	*place = chunk;
}

void simstore_read(const struct simstore *store, uint64_t offset_bytes, void *buf, size_t bytes)
{
	assert(offset_bytes <= store->size_bytes && bytes <= store->size_bytes - offset_bytes);
	uint8_t *out = buf;
	while (bytes > 0) {
		size_t in_chunk = (size_t)(offset_bytes % SIMCHUNK_BYTES);
		size_t n = SIMCHUNK_BYTES - in_chunk < bytes ? SIMCHUNK_BYTES - in_chunk : bytes;
		const struct simchunk *chunk = find_chunk(store, offset_bytes / SIMCHUNK_BYTES);
		if (chunk)
			memcpy(out, chunk->bytes + in_chunk, n);
		else
			memset(out, 0, n);
		out += n;
		offset_bytes += n;
		bytes -= n;
	}
}

static void write_in_chunk(struct simchunk **place, size_t in_chunk, const uint8_t *data, size_t bytes)
{
	bool whole = bytes == SIMCHUNK_BYTES;
	if (!data && (whole || !*place)) {
		simchunk_unref(*place);
		*place = NULL;
		return;
	}
	if (!*place || shared(&(*place)->refs)) {
		struct simchunk *own = sim_alloc(sizeof(*own));
		own->refs = 1;
		own->hash = 0;
		if (!whole)
			memcpy(own->bytes, simchunk_bytes(*place), SIMCHUNK_BYTES);
		simchunk_unref(*place);
		*place = own;
	}
	(*place)->hash = 0;
	if (data)
		memcpy((*place)->bytes + in_chunk, data, bytes);
	else
		memset((*place)->bytes + in_chunk, 0, bytes);
}

void simstore_write(struct simstore *store, uint64_t offset_bytes, const void *data, size_t bytes)
{
	assert(offset_bytes <= store->size_bytes && bytes <= store->size_bytes - offset_bytes);
	const uint8_t *in = data;
	while (bytes > 0) {
		size_t in_chunk = (size_t)(offset_bytes % SIMCHUNK_BYTES);
		size_t n = SIMCHUNK_BYTES - in_chunk < bytes ? SIMCHUNK_BYTES - in_chunk : bytes;
		write_in_chunk(own_place(store, offset_bytes / SIMCHUNK_BYTES), in_chunk, in, n);
		in = in ? in + n : NULL;
		offset_bytes += n;
		bytes -= n;
	}
}

/* Chunks of zeros count as those that are not there. */
static uint64_t chunk_hash(struct simchunk *chunk)
{
	static const uint8_t zero[SIMCHUNK_BYTES];
	static uint64_t zero_hash;
	if (!zero_hash)
		zero_hash = XXH3_64bits(zero, sizeof zero) | 1;
	if (!chunk)
		return zero_hash;
	uint64_t hash = __atomic_load_n(&chunk->hash, __ATOMIC_RELAXED);
	if (!hash) {
		hash = XXH3_64bits(chunk->bytes, sizeof chunk->bytes) | 1;
		__atomic_store_n(&chunk->hash, hash, __ATOMIC_RELAXED);
	}
	return hash;
}

uint64_t simstore_hash(const struct simstore *store)
{
	uint64_t sum = store->size_bytes;
	for (unsigned l = 0; l < store->leaf_count; l++)
		for (unsigned i = 0; i < LEAF_CHUNKS; i++)
			sum = (sum ^ chunk_hash(store->leaves[l] ? store->leaves[l]->chunks[i] : NULL)) * UINT64_C(0x9e3779b97f4a7c15) + (sum >> 29);
	return sum;
}
