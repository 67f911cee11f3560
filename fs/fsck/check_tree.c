/* Goes through a tree as it is on the disk: nodes by their pointers, keys in order across nodes, each within what the
 * branches above say.  A node that cannot be read loses only what is below it.
 *
 * It always ends: levels go down, and no more nodes are read than the array has units, however often pointers lead to the same
 * place. */
#include "fs/fsck/checkimpl.h"

#include <errno.h>
#include <stdlib.h>

const char *walk_tree_name(uint8_t tree) { return tree == TREE_FILE ? "file tree" : "system tree"; }

static bool type_fits(uint8_t tree, uint8_t type)
{
	return tree == TREE_FILE ? type >= ITEM_INODE && type <= ITEM_ORPHAN : type >= ITEM_BAND && type <= ITEM_SCRUB;
}

static bool within(const struct walk_node *node, const struct key *key)
{
	return (!node->low || key_compare(key, node->low) >= 0) && (!node->high || key_compare(key, node->high) < 0);
}

static void walk_bad(struct walk *w, const struct walk_node *node, const char *what)
{
	if (w->bad)
		w->bad(w->ctx, node, what);
}

static void walk_leaf(struct walk *w, const struct walk_node *node, const uint8_t *image)
{
	for (unsigned i = 0; i < image_count(image) && w->error == 0; i++) {
		struct item item = { .key = image_key(image, i) };
		const char *what = NULL;
		item.value = image_value(image, i, &item.bytes);
		if (w->any && key_compare(&w->last, &item.key) >= 0)
			what = "out of order";
		else if (!within(node, &item.key))
			what = "that its branch does not lead to";
		else if (!type_fits(w->tree, item.key.type) || item.key.version != 0)
			what = "that does not belong there";
		if (what && w->bad_key)
			w->bad_key(w->ctx, node, &item.key, what);
		if (what)
			continue;
		w->any = true;
		w->last = item.key;
		if (w->item)
			w->item(w->ctx, node, &item);
	}
}

static void walk_node(struct walk *w, struct walk_node *node);

static void walk_branch(struct walk *w, const struct walk_node *node, const uint8_t *image)
{
	for (unsigned i = 0, n = image_count(image); i < n && w->error == 0; i++) {
		struct key first = image_key(image, i), next = { 0 };
		if (!within(node, &first)) {
			if (w->bad_key)
				w->bad_key(w->ctx, node, &first, "in a branch that the branch above does not lead to");
			continue;
		}
		if (i + 1 < n)
			next = image_key(image, i + 1);
		/* What is below all keys of a branch goes to its first child. */
		struct walk_node child = { .pointer = &((const struct branch_value *)image_value(image, i, NULL))->pointer, .tree = w->tree,
			.level = (uint8_t)(node->level - 1), .low = i > 0 ? &first : node->low, .high = i + 1 < n ? &next : node->high,
			.parent = node, .index = i };
		walk_node(w, &child);
	}
}

static void walk_node(struct walk *w, struct walk_node *node)
{
	if (w->nodes_left == 0) {
		walk_bad(w, node, "is one more than the array has room for");
		return;
	}
	w->nodes_left--;
	if (w->pointer && !w->pointer(w->ctx, node))
		return;
	uint8_t *image = malloc(NODE_BYTES);
	int r = image ? store_read_node(w->fs, node->pointer, w->tree, node->level, image) : -ENOMEM;
	if (r == 0)
		node->generation = le64_get(((const struct node_header *)image)->generation);
	if (r == -ENOMEM)
		w->error = r;
	else if (r < 0)
		walk_bad(w, node, "cannot be read");
	else if (node->generation > w->generation)
		walk_bad(w, node, "is of a later generation than its root");
	else {
		if (w->read)
			w->read(w->ctx, node, image);
		if (w->error == 0 && node->level == 0)
			walk_leaf(w, node, image);
		else if (w->error == 0)
			walk_branch(w, node, image);
	}
	free(image);
}

int walk_tree(struct walk *w, const struct disk_pointer *root, uint8_t level)
{
	struct walk_node node = { .pointer = root, .tree = w->tree, .level = level };
	uint64_t units = 0;
	for (uint32_t i = 0; i < w->fs->config->band_count; i++)
		units += band_blocks(&w->fs->config->bands[i]) / UNIT_BLOCKS;
	w->nodes_left = units;
	w->any = false;
	w->error = 0;
	if (level > NODE_LEVEL_MAX)
		walk_bad(w, &node, "has more levels than there can be");
	else
		walk_node(w, &node);
	return w->error;
}
