#include "base/blocking.h"
#include "fs/log/log.h"
#include "fs/space/space.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define VECTOR_FIRST_ROOM 16

void *vector_add(void *vector, size_t *count, size_t *room, size_t element_bytes)
{
	void **v = vector;
	if (*count == *room) {
		size_t more = *room ? *room * 2 : VECTOR_FIRST_ROOM;
		void *p = realloc(*v, more * element_bytes);
		if (!p)
			return NULL;
		*v = p;
		*room = more;
	}
	void *element = (char *)*v + (*count)++ * element_bytes;
	memset(element, 0, element_bytes);
	return element;
}

struct txn *txn_new(uint64_t generation)
{
	struct txn *txn = calloc(1, sizeof *txn);
	if (!txn)
		return NULL;
	txn->changes = changes_new();
	if (!txn->changes) {
		free(txn);
		return NULL;
	}
	txn->generation = generation;
	list_init(&txn->records);
	return txn;
}

void txn_free(struct txn *txn)
{
	if (!txn)
		return;
	assert(list_empty(&txn->records));
	for (size_t i = 0; i < txn->run_count; i++)
		free(txn->runs[i].owners);
	free(txn->runs);
	free(txn->freed);
	free(txn->later);
	changes_free(txn->changes);
	free(txn);
}

void txn_mark_dirty(struct fs *fs)
{
	if (fs->open->dirty)
		return;
	fs->open->dirty = true;
	pthread_cond_signal(&fs->wake_commit);
}

void fs_tell_read_only(struct fs *fs, const char *format, ...)
{
	char text[ARRAY_WHY_BYTES];
	va_list ap;
	va_start(ap, format);
	vsnprintf(text, sizeof text, format, ap);
	va_end(ap);
	if (!*fs->why_read_only)
		memcpy(fs->why_read_only, text, sizeof text);
	event_report(&fs->options.events, EVENT_READ_ONLY, -1, "%s", text);
}

void fs_give_up(struct fs *fs, int error, const char *why)
{
	if (fs->error)
		return;
	fs->error = error;
	fs_tell_read_only(fs, "%s (%s): the filesystem is read-only now; what was synced before is safe", why, strerror(-error));
	pthread_cond_broadcast(&fs->progress);
	pthread_cond_signal(&fs->wake_commit);
}

int txn_free_blocks(struct fs *fs, address from, uint32_t blocks)
{
	struct txn *txn = fs->open;
	struct freed *last = txn->freed_count ? &txn->freed[txn->freed_count - 1] : NULL;
	txn->freed_blocks += blocks;
	if (last && last->address + last->blocks == from && address_band(last->address) == address_band(from)) {
		last->blocks += blocks;
		return 0;
	}
	struct freed *f = vector_add(&txn->freed, &txn->freed_count, &txn->freed_room, sizeof *f);
	if (!f)
		return -ENOMEM;
	*f = (struct freed){ from, blocks };
	return 0;
}

uint64_t fs_dirty_bytes(struct fs *fs)
{
	return atomic_load(&fs->record_bytes) + atomic_load(&fs->share_bytes) + fs->node_bytes;
}

void op_by_user(struct fs *fs) { atomic_fetch_add_explicit(&fs->user_io, 1, memory_order_relaxed); }

int64_t fs_now_ns(struct fs *fs) { return env_now_ns(fs->env); }

#define HELD_WAIT_NS 10000000

/* Who reads holds records that are durable since long, and tells nobody when they go: that is looked for while no commit is to come. */
static void wait_for_progress(struct fs *fs)
{
	struct timespec until;
	if (fs->open->dirty || fs->committing) {
		pthread_cond_wait(&fs->progress, &fs->lock);
		return;
	}
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += HELD_WAIT_NS;
	if (until.tv_nsec >= 1000000000) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	pthread_cond_timedwait(&fs->progress, &fs->lock, &until);
}

/* Waits, or in a simulation commits, until `dirty` memory is below the limit. Lock held, dropped meanwhile. */
static int wait_for_memory(struct fs *fs)
{
	while (!fs->error && fs_dirty_bytes(fs) > fs->options.dirty_bytes) {
		if (fs->simple) {
			pthread_mutex_unlock(&fs->lock);
			int r = commit_run(fs);
			pthread_mutex_lock(&fs->lock);
			if (r < 0)
				return r;
			continue;
		}
		if (fs->commit_wanted < fs->open->generation && !fs->committing)
			fs->commit_wanted = fs->open->generation;
		pthread_cond_signal(&fs->wake_commit);
		pthread_cond_signal(&fs->wake_flush);
		blocking_begin(BLOCKING_FOR_THREAD);
		wait_for_progress(fs);
	}
	return fs->error;
}

int op_begin(struct fs *fs, struct op *op, enum op_kind kind, uint64_t blocks)
{
	*op = (struct op){ .fs = fs, .kind = kind };
	pthread_mutex_lock(&fs->lock);
	if (kind == OP_READ || fs->log->replaying)
		return 0;
	int r = fs->read_only ? -EROFS : fs->error;
	if (r == 0 && fs_dirty_bytes(fs) > fs->options.dirty_bytes)
		r = wait_for_memory(fs);
	if (r == 0)
		r = space_claim(fs, kind, blocks);
	if (r < 0)
		pthread_mutex_unlock(&fs->lock);
	return r;
}

/* Reads the node that was missing, without the lock. */
static int load_missing(struct fs *fs)
{
	struct tree_miss miss = fs->miss;
	struct store_pin pin;
	struct node *node = calloc(1, sizeof *node);
	uint8_t *image = malloc(NODE_BYTES);
	if (!node || !image) {
		free(node);
		free(image);
		return -ENOMEM;
	}
	store_pin(fs, &pin);
	pthread_mutex_unlock(&fs->lock);
	int r = store_read_node(fs, &miss.pointer, miss.tree, miss.level, image);
	store_unpin(fs, &pin);
	pthread_mutex_lock(&fs->lock);
	if (r < 0) {
		fs->unread = miss;
		fs->has_unread = true;
	}
	if (r < 0 && r != -ENOMEM && fs->options.salvage && fs->read_only && miss.tree == TREE_FILE) {
		image_init(image, miss.tree, miss.level);
		node->hollow = true;
		node->hollow_since_ns = fs_now_ns(fs);
		r = 0;
	}
	struct node *there = cache_find(fs, &miss.pointer);
	if (r < 0 || (there && !there->hollow)) {
		free(node);
		free(image);
		return r;
	}
	list_init(&node->lru);
	node->refs = 1;
	node->tree = miss.tree;
	node->level = miss.level;
	node->placed = true;
	node->pointer = miss.pointer;
	node->image = image;
	cache_add(fs, node, true);
	node_unref(fs, node);
	return 0;
}

bool op_retry(struct op *op, int *r)
{
	if (*r != TREE_MISS)
		return false;
	int e = load_missing(op->fs);
	if (e == 0)
		return true;
	*r = e;
	return false;
}

void op_end(struct op *op) { pthread_mutex_unlock(&op->fs->lock); }
