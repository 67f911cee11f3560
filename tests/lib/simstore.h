/* What a simulated disk holds: sparse bytes in reference-counted chunks, copied when written.
 *
 * A copy of a whole store costs a few pointers, and stores share what they have in common.  A chunk
 * that is not there reads as zeros.  Not thread-safe, but chunks may be shared by stores of several
 * threads.  Aborts when memory runs out, as the rest of the simulator does. */
#ifndef TESTS_LIB_SIMSTORE_H
#define TESTS_LIB_SIMSTORE_H

#include <stdint.h>
#include <stddef.h>

#define SIMCHUNK_BYTES 16384u

struct simchunk;
struct simleaf;

struct simstore {
	uint64_t size_bytes;
	unsigned leaf_count;
	struct simleaf **leaves;
};

void simstore_init(struct simstore *store, uint64_t size_bytes);
void simstore_free(struct simstore *store);
/* Initialises `ret_copy` as a copy of `store`. */
void simstore_copy(struct simstore *ret_copy, const struct simstore *store);

/* The range must lie inside.  `data` NULL writes zeros. */
void simstore_read(const struct simstore *store, uint64_t offset_bytes, void *buf, size_t bytes);
void simstore_write(struct simstore *store, uint64_t offset_bytes, const void *data, size_t bytes);

/* Of the content: equal for equal stores, whatever way they came to be.  Cheap when little has changed since it was last asked
 * for. */
uint64_t simstore_hash(const struct simstore *store);

/* Chunk number `index` with a new reference (NULL: zeros), and putting one in the place of another. */
struct simchunk *simstore_chunk(const struct simstore *store, uint64_t index);
void simstore_set_chunk(struct simstore *store, uint64_t index, struct simchunk *chunk);
void simchunk_ref(struct simchunk *chunk);
void simchunk_unref(struct simchunk *chunk);
/* The chunk's bytes; zeros for NULL. */
const uint8_t *simchunk_bytes(const struct simchunk *chunk);

/* malloc and friends that abort rather than fail. */
void *sim_alloc(size_t bytes);

#endif
