#include "fs/log/changes.h"

#include <stdlib.h>
#include <string.h>

#define TABLE_FIRST 64u

/* A hash table of positions + 1 in a vector; 0 is empty.  Open addressing, at most half full, nothing is ever taken out. */
struct table { uint32_t *slots; size_t room; };

struct changes {
	struct key *keys; size_t key_count, key_room;
	struct changed *objects; size_t object_count, object_room;
	struct table key_table, object_table;
	bool lost;
};

static uint64_t mix(uint64_t x)
{
	x ^= x >> 32;
	x *= UINT64_C(0x9e3779b97f4a7c15);
	return x ^ x >> 29;
}

static uint64_t key_hash(const struct key *key)
{
	return mix(key->object * 31 + mix(key->offset) + key->type + ((uint64_t)key->version << 8));
}

static bool key_equal(const struct key *a, const struct key *b)
{
	return a->object == b->object && a->offset == b->offset && a->type == b->type && a->version == b->version;
}

static void table_enter(struct table *table, uint64_t hash, size_t position)
{
	size_t i = hash & (table->room - 1);
	while (table->slots[i])
		i = (i + 1) & (table->room - 1);
	table->slots[i] = (uint32_t)position + 1;
}

/* Empties it, with room for twice `count` entries. */
static bool table_reset(struct table *table, size_t count)
{
	size_t room = TABLE_FIRST;
	while (room < 4 * count)
		room *= 2;
	uint32_t *slots = calloc(room, sizeof *slots);
	if (!slots)
		return false;
	free(table->slots);
	*table = (struct table){ slots, room };
	return true;
}

static bool enter_all(struct changes *c)
{
	if (!table_reset(&c->key_table, c->key_count) || !table_reset(&c->object_table, c->object_count))
		return false;
	for (size_t i = 0; i < c->key_count; i++)
		table_enter(&c->key_table, key_hash(&c->keys[i]), i);
	for (size_t i = 0; i < c->object_count; i++)
		table_enter(&c->object_table, mix(c->objects[i].object), i);
	return true;
}

static void changed_free(struct changed *changed)
{
	free(changed->data.items);
	free(changed->forced.items);
	free(changed->cuts.items);
	free(changed->reserved.items);
}

static void forget_all(struct changes *c)
{
	for (size_t i = 0; i < c->object_count; i++)
		changed_free(&c->objects[i]);
	free(c->objects);
	free(c->keys);
	free(c->key_table.slots);
	free(c->object_table.slots);
	*c = (struct changes){ 0 };
}

static void lose(struct changes *c)
{
	forget_all(c);
	c->lost = true;
}

struct changes *changes_new(void)
{
	struct changes *c = calloc(1, sizeof *c);
	if (c && !enter_all(c)) {
		changes_free(c);
		return NULL;
	}
	return c;
}

void changes_free(struct changes *c)
{
	if (!c)
		return;
	forget_all(c);
	free(c);
}

/* Makes room for one more, or loses the notes. */
static bool grow(struct changes *c, void *vector, size_t count, size_t *room, size_t element_bytes, size_t max, const struct table *table)
{
	void **v = vector;
	if (count >= max) {
		lose(c);
		return false;
	}
	if (count == *room) {
		size_t more = *room ? *room * 2 : 16;
		void *p = realloc(*v, more * element_bytes);
		if (!p) {
			lose(c);
			return false;
		}
		*v = p;
		*room = more;
	}
	if (2 * (count + 1) > table->room && !enter_all(c)) {
		lose(c);
		return false;
	}
	return true;
}

struct changed *changes_find(struct changes *c, uint64_t object)
{
	if (!c->object_count)
		return NULL;
	for (size_t i = mix(object) & (c->object_table.room - 1); c->object_table.slots[i]; i = (i + 1) & (c->object_table.room - 1)) {
		struct changed *changed = &c->objects[c->object_table.slots[i] - 1];
		if (changed->object == object)
			return changed;
	}
	return NULL;
}

/* Finds or makes. NULL: the notes are lost. */
static struct changed *object_of(struct changes *c, uint64_t object)
{
	if (!c || c->lost)
		return NULL;
	struct changed *changed = changes_find(c, object);
	if (changed)
		return changed;
	if (!grow(c, &c->objects, c->object_count, &c->object_room, sizeof *c->objects, CHANGES_OBJECTS_MAX, &c->object_table))
		return NULL;
	changed = &c->objects[c->object_count];
	*changed = (struct changed){ .object = object };
	table_enter(&c->object_table, mix(object), c->object_count++);
	return changed;
}

void changes_key(struct changes *c, const struct key *key)
{
	if (!object_of(c, key->object))
		return;
	for (size_t i = key_hash(key) & (c->key_table.room - 1); c->key_table.slots[i]; i = (i + 1) & (c->key_table.room - 1))
		if (key_equal(&c->keys[c->key_table.slots[i] - 1], key))
			return;
	if (!grow(c, &c->keys, c->key_count, &c->key_room, sizeof *c->keys, CHANGES_KEYS_MAX, &c->key_table))
		return;
	c->keys[c->key_count] = *key;
	table_enter(&c->key_table, key_hash(key), c->key_count++);
}

/* ---- Ranges ---- */

/* The first that ends at or behind `at`. */
static unsigned range_find(const struct ranges *ranges, uint64_t at)
{
	unsigned low = 0, high = ranges->count;
	while (low < high) {
		unsigned middle = (low + high) / 2;
		if (ranges->items[middle].to < at)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* Puts `count` ranges in the place of [first, last). */
static bool range_splice(struct ranges *ranges, unsigned first, unsigned last, const struct range *with, unsigned count)
{
	unsigned total = ranges->count - (last - first) + count;
	if (total > CHANGES_RANGES_MAX)
		return false;
	if (total > ranges->room) {
		unsigned room = total < 8 ? 8 : 2 * total;
		struct range *p = realloc(ranges->items, room * sizeof *p);
		if (!p)
			return false;
		ranges->items = p;
		ranges->room = room;
	}
	if (ranges->count > last)
		memmove(ranges->items + first + count, ranges->items + last, (ranges->count - last) * sizeof *with);
	if (count)
		memcpy(ranges->items + first, with, count * sizeof *with);
	ranges->count = total;
	return true;
}

static bool range_add(struct ranges *ranges, uint64_t from, uint64_t to)
{
	unsigned first = range_find(ranges, from), last = first;
	struct range whole = { from, to };
	for (; last < ranges->count && ranges->items[last].from <= to; last++) {
		if (ranges->items[last].from < whole.from)
			whole.from = ranges->items[last].from;
		if (ranges->items[last].to > whole.to)
			whole.to = ranges->items[last].to;
	}
	return range_splice(ranges, first, last, &whole, 1);
}

static bool range_remove(struct ranges *ranges, uint64_t from, uint64_t to)
{
	unsigned first = range_find(ranges, from), last = first, count = 0;
	struct range rest[2];
	for (; last < ranges->count && ranges->items[last].from < to; last++) {
		struct range old = ranges->items[last];
		if (old.from < from)
			rest[count++] = (struct range){ old.from, old.to < from ? old.to : from };
		if (old.to > to)
			rest[count++] = (struct range){ to, old.to };
	}
	return last == first || range_splice(ranges, first, last, rest, count);
}

/* ---- Data ---- */

static struct changed *data_of(struct changes *c, uint64_t object, uint64_t size_bytes)
{
	struct changed *changed = object_of(c, object);
	if (changed && !changed->data.count)
		changed->covered_bytes = size_bytes;
	return changed;
}

void changes_data(struct changes *c, uint64_t object, uint64_t size_bytes, uint64_t from, uint64_t to)
{
	struct changed *changed = data_of(c, object, size_bytes);
	if (changed && from < to && !range_add(&changed->data, from, to))
		lose(c);
}

void changes_force(struct changes *c, uint64_t object, uint64_t size_bytes, uint64_t from, uint64_t to)
{
	struct changed *changed = data_of(c, object, size_bytes);
	if (changed && from < to && !range_add(&changed->forced, from, to))
		lose(c);
}

void changes_force_whole(struct changes *c, uint64_t object)
{
	struct changed *changed = object_of(c, object);
	if (changed)
		changed->whole = true;
}

void changes_cut(struct changes *c, uint64_t object, uint64_t from, uint64_t to)
{
	struct changed *changed = from < to ? object_of(c, object) : NULL;
	if (changed && !(range_remove(&changed->data, from, to) && range_remove(&changed->forced, from, to)
			&& range_remove(&changed->reserved, from, to) && range_add(&changed->cuts, from, to)))
		lose(c);
}

void changes_shrink(struct changes *c, uint64_t object, uint64_t size_bytes)
{
	struct changed *changed = object_of(c, object);
	if (changed && changed->covered_bytes > size_bytes)
		changed->covered_bytes = size_bytes;
}

void changes_reserve(struct changes *c, uint64_t object, uint64_t from, uint64_t to)
{
	struct changed *changed = from < to ? object_of(c, object) : NULL;
	if (changed && !range_add(&changed->reserved, from, to))
		lose(c);
}

/* ---- For the log ---- */

bool changes_lost(const struct changes *c) { return !c || c->lost; }
bool changes_any(const struct changes *c) { return !c || c->lost || c->key_count || c->object_count; }
bool changes_concern(const struct changes *c, uint64_t object)
{
	return changes_lost(c) || changes_find((struct changes *)c, object);
}
size_t changes_key_count(const struct changes *c) { return c->key_count; }
const struct key *changes_key_at(const struct changes *c, size_t i) { return &c->keys[i]; }
size_t changes_object_count(const struct changes *c) { return c->object_count; }
struct changed *changes_object_at(struct changes *c, size_t i) { return &c->objects[i]; }

void changes_forget(struct changes *c)
{
	size_t objects = 0;
	c->key_count = 0;
	for (size_t i = 0; i < c->object_count; i++) {
		struct changed *changed = &c->objects[i];
		if (changed->whole)
			changed->data.count = 0;
		changed->whole = false;
		changed->forced.count = changed->cuts.count = changed->reserved.count = 0;
		if (changed->data.count)
			c->objects[objects++] = *changed;
		else
			changed_free(changed);
	}
	c->object_count = objects;
	if (!enter_all(c))
		lose(c);
}
