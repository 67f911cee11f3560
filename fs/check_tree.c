/* Goes through a tree as it is on the disk: nodes by their pointers, keys in order across nodes, each within what the
 * branches above say. */
#include "fs/checkimpl.h"

#include <errno.h>
#include <stdlib.h>

struct walk {
	struct check *c;
	uint8_t tree;
	bool any;
	struct key last;                 /* of the item before */
};

static const char *tree_name(uint8_t tree) { return tree == TREE_FILE ? "file tree" : "system tree"; }

static void say_key(struct check *c, uint8_t tree, const char *what, const struct key *key)
{
	check_say(c, "The %s has a key %s: object %llu, type %u, offset %llu.", tree_name(tree), what, (unsigned long long)key->object,
		key->type, (unsigned long long)key->offset);
}

static bool type_fits(uint8_t tree, uint8_t type)
{
	return tree == TREE_FILE ? type >= ITEM_INODE && type <= ITEM_ORPHAN : type >= ITEM_BAND && type <= ITEM_ROWS;
}

static void walk_leaf(struct walk *w, const uint8_t *image, const struct key *low, const struct key *high)
{
	for (unsigned i = 0; i < image_count(image) && w->c->error == 0; i++) {
		struct item item = { .key = image_key(image, i) };
		item.value = image_value(image, i, &item.bytes);
		if (w->any && key_compare(&w->last, &item.key) >= 0)
			say_key(w->c, w->tree, "out of order", &item.key);
		if ((low && key_compare(&item.key, low) < 0) || (high && key_compare(&item.key, high) >= 0))
			say_key(w->c, w->tree, "that its branch does not lead to", &item.key);
		w->any = true;
		w->last = item.key;
		if (!type_fits(w->tree, item.key.type) || item.key.version != 0)
			say_key(w->c, w->tree, "that does not belong there", &item.key);
		else if (w->tree == TREE_FILE)
			check_file_item(w->c, &item);
		else
			check_system_item(w->c, &item);
	}
}

/* Keys below it lie in [low, high); NULL: no limit. */
static void walk_node(struct walk *w, const struct disk_pointer *pointer, uint8_t level, const struct key *low, const struct key *high)
{
	struct check *c = w->c;
	address at = le64_get(pointer->address);
	if (!check_reach(c, at, UNIT_BLOCKS, "tree node"))
		return;
	uint8_t *image = malloc(NODE_BYTES);
	int r = image ? store_read_node(c->fs, pointer, w->tree, level, image) : -ENOMEM;
	if (r == -ENOMEM)
		c->error = r;
	else if (r < 0)
		check_say(c, "A node of the %s cannot be read (level %u, band %u, block %llu).", tree_name(w->tree), level, address_band(at),
			(unsigned long long)address_block(at));
	else if (le64_get(((const struct node_header *)image)->generation) > c->generation)
		check_say(c, "A node of the %s is of a later generation than its root (level %u, band %u, block %llu).", tree_name(w->tree),
			level, address_band(at), (unsigned long long)address_block(at));
	else if (level == 0)
		walk_leaf(w, image, low, high);
	else
		for (unsigned i = 0, n = image_count(image); i < n && c->error == 0; i++) {
			struct key first = image_key(image, i), next = { 0 };
			if (i + 1 < n)
				next = image_key(image, i + 1);
			if ((low && key_compare(&first, low) < 0) || (high && key_compare(&first, high) >= 0))
				say_key(c, w->tree, "in a branch that the branch above does not lead to", &first);
			const struct branch_value *v = image_value(image, i, NULL);
			/* What is below all keys of a branch goes to its first child. */
			walk_node(w, &v->pointer, (uint8_t)(level - 1), i > 0 ? &first : low, i + 1 < n ? &next : high);
		}
	free(image);
}

void check_tree(struct check *c, const struct disk_pointer *root, uint8_t tree, uint8_t level)
{
	struct walk w = { .c = c, .tree = tree };
	if (level > NODE_LEVEL_MAX)
		check_say(c, "The root says that the %s has %u levels.", tree_name(tree), level + 1u);
	else
		walk_node(&w, root, level, NULL, NULL);
}
