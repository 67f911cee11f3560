#include "fs/core.h"
#include "fs/tree/recordimpl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define NODE_LIMIT_MIN 256

int cache_init(struct cache *cache, uint64_t bytes)
{
	cache->node_limit = bytes / NODE_BYTES;
	if (cache->node_limit < NODE_LIMIT_MIN)
		cache->node_limit = NODE_LIMIT_MIN;
	cache->bucket_count = 64;
	while (cache->bucket_count < cache->node_limit)
		cache->bucket_count *= 2;
	list_init(&cache->lru);
	cache->buckets = calloc(cache->bucket_count, sizeof *cache->buckets);
	return cache->buckets ? 0 : -ENOMEM;
}

static size_t bucket_of(const struct cache *cache, const struct disk_pointer *p)
{
	uint64_t x = le64_get(p->address) / UNIT_BLOCKS * UINT64_C(0x9e3779b97f4a7c15);
	return (x >> 32) & (cache->bucket_count - 1);
}

bool item_is_dirty_extent(const struct key *key, const void *value)
{
	return key->type == ITEM_EXTENT && ((const struct extent_item *)value)->kind == EXTENT_DIRTY;
}

unsigned image_next_reference(const uint8_t *image, unsigned from)
{
	for (unsigned i = from;; i++) {
		const void *value = image_value(image, i, NULL);
		struct key key = image_key(image, i);
		assert(i < image_count(image));
		if (image_level(image) > 0 ? branch_child(value) != NULL : item_is_dirty_extent(&key, value))
			return i;
	}
}

struct node *branch_child(const void *value)
{
	struct node *child;
	memcpy(&child, ((const struct branch_value *)value)->memory, sizeof child);
	return child;
}

void branch_set_child(void *value, struct node *child)
{
	memcpy(((struct branch_value *)value)->memory, &child, sizeof child);
}

static struct node *node_alloc(void)
{
	struct node *node = calloc(1, sizeof *node);
	if (!node)
		return NULL;
	node->image = malloc(NODE_BYTES);
	if (!node->image) {
		free(node);
		return NULL;
	}
	list_init(&node->lru);
	node->refs = 1;
	return node;
}

static struct tree *tree_of(struct fs *fs, uint8_t id) { return id == TREE_FILE ? &fs->file : &fs->system; }

struct node *node_new(struct fs *fs, uint8_t tree, uint8_t level)
{
	struct node *node = node_alloc();
	if (!node)
		return NULL;
	image_init(node->image, tree, level);
	node->tree = tree;
	node->level = level;
	node->txn = tree_of(fs, tree)->txn;
	fs->node_bytes += NODE_BYTES;
	return node;
}

struct node *node_clone(struct fs *fs, struct node *old)
{
	struct node *node = node_alloc();
	if (!node)
		return NULL;
	memcpy(node->image, old->image, NODE_BYTES);
	node->tree = old->tree;
	node->level = old->level;
	node->txn = tree_of(fs, old->tree)->txn;
	node->memory_refs = old->memory_refs;
	node->hollow = old->hollow;
	fs->node_bytes += NODE_BYTES;
	for (unsigned i = 0, left = node->memory_refs; left > 0; left--, i++) {
		struct item item;
		i = image_next_reference(node->image, i);
		item.value = image_value(node->image, i, NULL);
		if (node->level > 0)
			node_ref(branch_child(item.value));
		else
			record_attach(fs, record_of(&item));
	}
	return node;
}

struct node *node_ref(struct node *node)
{
	node->refs++;
	return node;
}

void node_unref(struct fs *fs, struct node *node)
{
	if (!node || --node->refs > 0)
		return;
	assert(!node->cached);
	for (unsigned i = 0, left = node->memory_refs; left > 0; left--, i++) {
		struct item item;
		i = image_next_reference(node->image, i);
		item.value = image_value(node->image, i, NULL);
		if (node->level > 0)
			node_unref(fs, branch_child(item.value));
		else
			record_detach(fs, record_of(&item));
	}
	if (!node->placed)
		fs->node_bytes -= NODE_BYTES;
	free(node->image);
	free(node);
}

static bool same_place(const struct disk_pointer *a, const struct disk_pointer *b)
{
	return !memcmp(&a->address, &b->address, sizeof a->address) && !memcmp(a->tag, b->tag, sizeof a->tag);
}

struct node *cache_find(struct fs *fs, const struct disk_pointer *pointer)
{
	struct cache *cache = &fs->cache;
	for (struct node *n = cache->buckets[bucket_of(cache, pointer)]; n; n = n->hash_next)
		if (same_place(&n->pointer, pointer)) {
			list_remove(&n->lru);
			list_append(&cache->lru, &n->lru);
			return n;
		}
	return NULL;
}

void cache_forget(struct fs *fs, struct node *node)
{
	struct cache *cache = &fs->cache;
	if (!node->cached)
		return;
	struct node **p = &cache->buckets[bucket_of(cache, &node->pointer)];
	while (*p != node)
		p = &(*p)->hash_next;
	*p = node->hash_next;
	list_remove(&node->lru);
	node->cached = false;
	cache->node_count--;
	node_unref(fs, node);
}

static void forget_stale_at(struct fs *fs, const struct disk_pointer *pointer)
{
	struct cache *cache = &fs->cache;
	for (struct node *n = cache->buckets[bucket_of(cache, pointer)]; n; n = n->hash_next)
		if (le64_get(n->pointer.address) == le64_get(pointer->address)) {
			cache_forget(fs, n);
			return;
		}
}

void cache_trim(struct fs *fs)
{
	struct cache *cache = &fs->cache;
	for (struct list *l = cache->lru.next; l != &cache->lru && cache->node_count > cache->node_limit; ) {
		struct node *n = container_of(l, struct node, lru);
		l = l->next;
		if (n->refs == 1)
			cache_forget(fs, n);
	}
}

void cache_add(struct fs *fs, struct node *node, bool evict)
{
	struct cache *cache = &fs->cache;
	assert(node->placed && !node->cached && node->memory_refs == 0);
	forget_stale_at(fs, &node->pointer);
	size_t b = bucket_of(cache, &node->pointer);
	node->hash_next = cache->buckets[b];
	cache->buckets[b] = node;
	list_append(&cache->lru, &node->lru);
	node->cached = true;
	cache->node_count++;
	node_ref(node);
	if (evict)
		cache_trim(fs);
}

void cache_free(struct fs *fs)
{
	struct cache *cache = &fs->cache;
	if (!cache->buckets)
		return;
	while (!list_empty(&cache->lru))
		cache_forget(fs, container_of(cache->lru.next, struct node, lru));
	free(cache->buckets);
	cache->buckets = NULL;
}
