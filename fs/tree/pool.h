/* A few worker threads that share loops: sealing and row writes use all processors through it. */
#ifndef FS_POOL_H
#define FS_POOL_H

struct pool;

/* `threads` 0: everything runs in the caller (a simulation). NULL on ENOMEM. */
struct pool *pool_new(unsigned threads);
void pool_free(struct pool *pool);

/* Calls fn(ctx, i) for each i below count, in any order and in parallel, the caller taking part; returns when all have
 * ended.  Several callers may be in here at once. */
void pool_run(struct pool *pool, unsigned count, void (*fn)(void *ctx, unsigned i), void *ctx);

#endif
