#include "fs/tree/pool.h"

#include "base/blocking.h"
#include "base/cleanup.h"
#include "base/list.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

struct loop {
	struct list link;                /* in pool->loops while indexes are left */
	void (*fn)(void *ctx, unsigned i);
	void *ctx;
	unsigned next, count, running;   /* protected by pool->lock */
};

struct pool {
	pthread_mutex_t lock;
	pthread_cond_t work, done;
	struct list loops;
	bool stopping;
	unsigned thread_count;
	pthread_t threads[];
};

/* Takes and runs one index of `loop`; lock held on entry and on return. */
static void run_one(struct pool *pool, struct loop *loop)
{
	unsigned i = loop->next++;
	loop->running++;
	if (loop->next == loop->count)
		list_remove(&loop->link);
	pthread_mutex_unlock(&pool->lock);
	loop->fn(loop->ctx, i);
	pthread_mutex_lock(&pool->lock);
	if (--loop->running == 0 && loop->next == loop->count)
		pthread_cond_broadcast(&pool->done);
}

static void *worker(void *arg)
{
	struct pool *pool = arg;
	pthread_mutex_lock(&pool->lock);
	for (;;) {
		if (!list_empty(&pool->loops))
			run_one(pool, container_of(pool->loops.next, struct loop, link));
		else if (pool->stopping)
			break;
		else
			pthread_cond_wait(&pool->work, &pool->lock);
	}
	pthread_mutex_unlock(&pool->lock);
	return NULL;
}

struct pool *pool_new(unsigned threads)
{
	struct pool *pool = calloc(1, sizeof *pool + threads * sizeof pool->threads[0]);
	if (!pool)
		return NULL;
	pthread_mutex_init(&pool->lock, NULL);
	pthread_cond_init(&pool->work, NULL);
	pthread_cond_init(&pool->done, NULL);
	list_init(&pool->loops);
	while (pool->thread_count < threads && pthread_create(&pool->threads[pool->thread_count], NULL, worker, pool) == 0)
		pool->thread_count++;
	return pool;
}

void pool_free(struct pool *pool)
{
	if (!pool)
		return;
	pthread_mutex_lock(&pool->lock);
	pool->stopping = true;
	pthread_cond_broadcast(&pool->work);
	pthread_mutex_unlock(&pool->lock);
	for (unsigned i = 0; i < pool->thread_count; i++)
		pthread_join(pool->threads[i], NULL);
	pthread_cond_destroy(&pool->work);
	pthread_cond_destroy(&pool->done);
	pthread_mutex_destroy(&pool->lock);
	free(pool);
}

void pool_run(struct pool *pool, unsigned count, void (*fn)(void *ctx, unsigned i), void *ctx)
{
	if (pool->thread_count == 0 || count <= 1) {
		for (unsigned i = 0; i < count; i++)
			fn(ctx, i);
		return;
	}
	struct loop loop = { .fn = fn, .ctx = ctx, .count = count };
	pthread_mutex_lock(&pool->lock);
	list_append(&pool->loops, &loop.link);
	pthread_cond_broadcast(&pool->work);
	while (loop.next < loop.count)
		run_one(pool, &loop);
	if (loop.running > 0)
		blocking_begin(BLOCKING_FOR_THREAD);
	while (loop.running > 0)
		pthread_cond_wait(&pool->done, &pool->lock);
	pthread_mutex_unlock(&pool->lock);
}
