/* Level by level from the leaves, each level in parallel with one batch: a node's image is copied into its place in the rows,
 * there its references to memory become pointers (its children and records were sealed before), and there it is sealed.
 * No lock is needed: a frozen node is changed by nobody, and only the commit gives pointers.  The nodes in memory follow in
 * serialize_finish, when the rows have been written: until then everybody finds children and records in memory, so that
 * nothing is ever read from a place that is not written yet. */
#include "fs/tree/recordimpl.h"
#include "fs/tree/serialize.h"
#include "fs/tree/store.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int serialize_collect(struct fs *fs, struct node *root, uint64_t txn, struct dirty_nodes *nodes)
{
	if (root->txn != txn || root->placed)
		return 0;
	for (unsigned i = 0, left = root->level > 0 ? root->memory_refs : 0; left > 0; left--, i++) {
		i = image_next_reference(root->image, i);
		struct node *child = branch_child(image_value(root->image, i, NULL));
		child->bound = image_key(root->image, i);
		int r = serialize_collect(fs, child, txn, nodes);
		if (r < 0)
			return r;
	}
	struct node_list *list = &nodes->level[root->level];
	struct node **slot = vector_add(&list->nodes, &list->count, &list->room, sizeof *slot);
	if (!slot)
		return -ENOMEM;
	*slot = node_ref(root);
	nodes->count++;
	return 0;
}

/* Do two neighbouring items of a leaf make one extent? */
static bool extents_join(const struct key *a, const struct extent_item *x, const struct key *b, const struct extent_item *y)
{
	unsigned n = le16_get(x->records);
	return a->type == ITEM_EXTENT && b->type == ITEM_EXTENT && x->kind == EXTENT_DATA && y->kind == EXTENT_DATA
		&& a->object == b->object && a->offset + le32_get(x->blocks) == b->offset
		&& x->record_blocks == x->last_blocks && x->record_blocks == y->record_blocks
		&& le64_get(x->address) + le32_get(x->blocks) == le64_get(y->address)
		&& !memcmp(x->nonce, y->nonce, sizeof x->nonce) && le32_get(x->index) + n == le32_get(y->index)
		&& n + le16_get(y->records) <= EXTENT_RECORDS_MAX;
}

static void join_extents(uint8_t *image)
{
	for (unsigned i = 0; i + 1 < image_count(image); ) {
		unsigned xb, yb;
		struct key a = image_key(image, i), b = image_key(image, i + 1);
		const struct extent_item *x = image_value(image, i, &xb), *y = image_value(image, i + 1, &yb);
		if (a.type != ITEM_EXTENT || b.type != ITEM_EXTENT || !extents_join(&a, x, &b, y)) {
			i++;
			continue;
		}
		uint8_t value[EXTENT_BYTES(EXTENT_RECORDS_MAX)];
		struct extent_item *joined = (struct extent_item *)value;
		unsigned n = le16_get(x->records), m = le16_get(y->records);
		memcpy(value, x, xb);
		memcpy(joined->tags[n], y->tags[0], 16u * m);
		joined->records = le16_put((uint16_t)(n + m));
		joined->last_blocks = y->last_blocks;
		joined->blocks = le32_put(le32_get(x->blocks) + le32_get(y->blocks));
		image_remove(image, i + 1);
		image_remove(image, i);
		bool fits = image_insert(image, i, &a, value, EXTENT_BYTES(n + m));
		assert(fits);
	}
}

/* Turns references in the image (not those that the node holds) into pointers. */
static void resolve_image(uint8_t *image, unsigned refs, uint8_t tree, uint64_t generation)
{
	unsigned level = image_level(image);
	for (unsigned i = 0; refs > 0; refs--, i++) {
		i = image_next_reference(image, i);
		struct item item = { .value = image_value(image, i, NULL) };
		if (level > 0)
			*(struct branch_value *)item.value = (struct branch_value){ .pointer = branch_child(item.value)->pointer };
		else
			record_resolve(record_of(&item), (uint8_t *)item.value);
	}
	if (level == 0 && tree == TREE_FILE)
		join_extents(image);
	image_compact(image);
	((struct node_header *)image)->generation = le64_put(generation);
}

/* The same in memory, giving up what the node held. Lock held. */
static void resolve_node(struct fs *fs, struct node *node, uint64_t generation)
{
	uint8_t before[NODE_BYTES];
	unsigned refs = node->memory_refs;
	memcpy(before, node->image, NODE_BYTES);
	resolve_image(node->image, refs, node->tree, generation);
	node->memory_refs = 0;
	for (unsigned i = 0; refs > 0; refs--, i++) {
		i = image_next_reference(before, i);
		struct item item = { .value = image_value(before, i, NULL) };
		if (node->level > 0)
			node_unref(fs, branch_child(item.value));
		else
			record_detach(fs, record_of(&item));
	}
}

struct seal_level {
	struct node_list *list;
	struct pack *pack;
	unsigned first_unit;
	uint64_t generation;
	struct seal_batch batch;
};

static void seal_node(void *ctx, unsigned i)
{
	struct seal_level *s = ctx;
	struct node *node = s->list->nodes[i];
	struct record_ad ad = store_node_ad(node->tree, node->level);
	struct disk_pointer p = { .address = le64_put(pack_address(s->pack, s->first_unit + i)), .length_bytes = le32_put(NODE_BYTES),
		.index = le32_put(i) };
	uint8_t *memory = pack_memory(s->pack, s->first_unit + i);
	memcpy(memory, node->image, NODE_BYTES);
	resolve_image(memory, node->memory_refs, node->tree, s->generation);
	memcpy(p.nonce, s->batch.nonce, sizeof p.nonce);
	seal_record(&s->batch, i, &ad, sizeof ad, memory, NODE_BYTES, memory, p.tag);
	node->pointer = p;
}

static int own_node(struct pack *pack, unsigned unit, const struct node *node)
{
	struct key first = image_count(node->image) ? image_key(node->image, 0) : node->bound;
	struct row_owner owner = { .object = le64_put(first.object), .offset = le64_put(first.offset), .version = le32_put(first.version),
		.type = first.type, .level = node->level, .tree = node->tree };
	return pack_own(pack, unit, 0, UNIT_BLOCKS, &owner);
}

int serialize_nodes(struct fs *fs, struct dirty_nodes *nodes, uint64_t generation, struct pack *pack, unsigned first_unit)
{
	for (unsigned level = 0; level <= NODE_LEVEL_MAX; level++) {
		struct node_list *list = &nodes->level[level];
		if (list->count == 0)
			continue;
		struct seal_level s = { .list = list, .pack = pack, .first_unit = first_unit, .generation = generation };
		seal_batch_begin(&fs->keys->data, fs->env, &s.batch);
		pool_run(fs->pool, (unsigned)list->count, seal_node, &s);
		seal_batch_end(&s.batch);
		for (size_t i = 0; i < list->count; i++) {
			int r = own_node(pack, first_unit + (unsigned)i, list->nodes[i]);
			if (r < 0)
				return r;
		}
		first_unit += (unsigned)list->count;
	}
	return 0;
}

void serialize_finish(struct fs *fs, struct dirty_nodes *nodes, uint64_t generation)
{
	for (unsigned level = 0; level <= NODE_LEVEL_MAX; level++)
		for (size_t i = 0; i < nodes->level[level].count; i++) {
			struct node *node = nodes->level[level].nodes[i];
			node->placed = true;
			fs->node_bytes -= NODE_BYTES;
			resolve_node(fs, node, generation);
			cache_add(fs, node, false);
		}
}

void serialize_release(struct fs *fs, struct dirty_nodes *nodes)
{
	for (unsigned level = 0; level <= NODE_LEVEL_MAX; level++) {
		for (size_t i = 0; i < nodes->level[level].count; i++)
			node_unref(fs, nodes->level[level].nodes[i]);
		free(nodes->level[level].nodes);
	}
	*nodes = (struct dirty_nodes){ 0 };
}
