/* The self-check: everything that the newest durable root leads to is read, and what is said twice is compared.
 *
 *  1. Both trees are walked as they are on the disk (check_tree.c), each node verified by its pointer; every pointer's blocks are
 *     noted in a map of the array.
 *  2. Items of the file tree are collected and compared as objects: inodes, entries, links, extents (check_object.c).
 *  3. Items of the system tree fill more maps: bits, row items, owners, pending records; the maps must agree
 *     (check_space.c), and so must all counts.
 *  4. With `data`, each record is read and verified, and parity of each row in use is compared (check_parity.c).
 *
 * No commit can happen meanwhile (commit_lock is held), and a pin keeps rows from being reused. The maps take six bits for each block
 * of the array, and names and inodes some dozen bytes each: this is a check for arrays of moderate size. */
#include "fs/checkimpl.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void check_say(struct check *c, const char *format, ...)
{
	char text[512];
	va_list args;
	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	c->findings++;
	if (c->complain)
		c->complain(c->ctx, text);
}

bool check_reach(struct check *c, address from, unsigned blocks, const char *what)
{
	const struct band *b = config_band(c->fs->config, address_band(from));
	uint64_t first = address_block(from);
	if (!b || blocks == 0 || first % UNIT_BLOCKS + blocks > UNIT_BLOCKS || first + blocks > band_blocks(b)) {
		check_say(c, "The pointer of a %s leads to no place of the array (band %u, block %llu).", what, address_band(from),
			(unsigned long long)first);
		return false;
	}
	struct check_band *map = &c->bands[b - c->fs->config->bands];
	bool twice = false;
	for (uint64_t i = first; i < first + blocks; i++) {
		twice |= map_get(map->reached, i);
		map_set(map->reached, i);
	}
	if (twice)
		check_say(c, "Two pointers lead to band %u, block %llu; one is of a %s.", b->id, (unsigned long long)first, what);
	return !twice;
}

static void check_totals(struct check *c)
{
	struct fs *fs = c->fs;
	const struct check_objects *o = &c->objects;
	uint64_t inodes = 0, last = 0;
	for (size_t i = 0; i < o->count; i++) {
		inodes += o->items[i].has_inode;
		last = o->items[i].ino;
	}
	if (inodes != le64_get(c->body.inodes))
		check_say(c, "There are %llu inodes and the root says %llu.", (unsigned long long)inodes,
			(unsigned long long)le64_get(c->body.inodes));
	if (last >= le64_get(c->body.next_object))
		check_say(c, "The next inode number is %llu and inode %llu is there already.",
			(unsigned long long)le64_get(c->body.next_object), (unsigned long long)last);
	if (o->reserved_blocks != le64_get(c->body.reserved_blocks))
		check_say(c, "%llu blocks are reserved and the root says %llu.", (unsigned long long)o->reserved_blocks,
			(unsigned long long)le64_get(c->body.reserved_blocks));
	if (fs->alloc.capacity_blocks != le64_get(c->body.capacity_blocks))
		check_say(c, "The array has %llu blocks and the root says %llu.", (unsigned long long)fs->alloc.capacity_blocks,
			(unsigned long long)le64_get(c->body.capacity_blocks));
}

static void check_all(struct check *c)
{
	check_tree(c, &c->body.file_tree, TREE_FILE, c->body.file_level);
	if (c->error == 0)
		check_objects_end(c);
	if (c->error == 0)
		check_tree(c, &c->body.system_tree, TREE_SYSTEM, c->body.system_level);
	if (c->error == 0)
		check_pending(c);
	if (c->error == 0)
		check_space_end(c);
	if (c->error == 0)
		check_totals(c);
	if (c->error == 0 && c->data)
		check_parity(c);
}

static bool is_dirty(struct fs *fs)
{
	pthread_mutex_lock(&fs->lock);
	bool dirty = fs->open->dirty || fs->open->placing > 0 || fs->open->run_count > 0;
	pthread_mutex_unlock(&fs->lock);
	return dirty;
}

static void check_free(struct check *c)
{
	check_space_free(c);
	free(c->objects.items);
	free(c->objects.entries);
	free(c->objects.links);
	free(c->objects.hidden);
	free(c->objects.orphans);
	free(c->buffer);
}

int64_t fs_check(struct fs *fs, bool data, void (*complain)(void *ctx, const char *text), void *ctx)
{
	struct check c = { .fs = fs, .data = data, .complain = complain, .ctx = ctx };
	struct store_pin pin;
	SCOPED_LOCK(&fs->commit_lock);
	if (fs->error)
		return fs->error;
	if (is_dirty(fs))
		return -EBUSY;
	c.body = fs->root_body;
	c.generation = fs->tree_generation;
	c.buffer = malloc((size_t)CHECK_READ_RECORDS * UNIT_BYTES);
	c.error = c.buffer ? check_space_begin(&c) : -ENOMEM;
	pthread_mutex_lock(&fs->lock);
	store_pin(fs, &pin);
	pthread_mutex_unlock(&fs->lock);
	if (c.error == 0)
		check_all(&c);
	store_unpin(fs, &pin);
	check_free(&c);
	if (c.error < 0)
		return c.error;
	return is_dirty(fs) ? -EBUSY : c.findings;
}
