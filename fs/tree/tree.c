/* Copy-on-write: a node is changed in place only if it belongs to the tree's open transaction; tree_prepare copies the
 * path from the root to a leaf into it, top down.  A copy's place in its parent is a memory reference until the commit
 * gives it a pointer.  What a copy replaces is freed: by its address, or later if it is still being placed.
 *
 * A leaf or branch that is full is split in two under the same parent; at the right edge of a growing object the left
 * half stays full, so that streams leave full nodes behind.  A node that became small joins a neighbour that is in memory
 * (never worth a read), so a leaf may stay empty for a while. */
#include "fs/core.h"
#include "fs/tree/recordimpl.h"

#include <errno.h>
#include <string.h>

#define MERGE_BELOW (NODE_BYTES / 4)
#define MERGE_ROOM (NODE_BYTES / 4)     /* left free after joining two, so that they do not split again at once */

struct tree *fs_file_tree(struct fs *fs) { return &fs->file; }
struct tree *fs_system_tree(struct fs *fs) { return &fs->system; }

struct path {
	unsigned bottom;                 /* level of the last node: not 0 if that is hollow, and has no children */
	struct node *node[NODE_LEVEL_MAX + 1];   /* by level */
	unsigned index[NODE_LEVEL_MAX + 1];      /* of the child followed, in a branch */
};

/* A hollow node is tried again after a while: what failed may work again. */
#define HOLLOW_NS INT64_C(10000000000)

static struct node *child_get(struct fs *fs, const struct node *parent, unsigned i)
{
	const struct branch_value *v = image_value(parent->image, i, NULL);
	struct node *child = branch_child(v);
	if (child)
		return child;
	child = cache_find(fs, &v->pointer);
	if (child && child->hollow && fs_now_ns(fs) - child->hollow_since_ns > HOLLOW_NS)
		child = NULL;
	if (!child)
		fs->miss = (struct tree_miss){ .pointer = v->pointer, .tree = parent->tree, .level = (uint8_t)(parent->level - 1) };
	return child;
}

/* The child that the path leads to below `level` is not in memory. */
static int path_misses(struct fs *fs, const struct tree *tree, const struct path *path, unsigned level)
{
	for (; level <= tree->root->level && !fs->miss.more; level++) {
		unsigned i = path->index[level] + 1;
		if (i >= image_count(path->node[level]->image))
			continue;
		fs->miss.more = true;
		fs->miss.behind = image_key(path->node[level]->image, i);
	}
	return TREE_MISS;
}

/* A hollow branch without children ends every path. */
static bool is_bottom(const struct node *n) { return n->level == 0 || image_count(n->image) == 0; }

/* Follows `key` down to the leaf. */
static int descend(struct fs *fs, struct tree *tree, const struct key *key, struct path *path)
{
	struct node *n = tree->root;
	for (;;) {
		path->node[n->level] = n;
		path->bottom = n->level;
		if (is_bottom(n))
			return 0;
		unsigned i = image_child(n->image, key);
		path->index[n->level] = i;
		struct node *child = child_get(fs, n, i);
		if (!child)
			return path_misses(fs, tree, path, n->level);
		n = child;
	}
}

/* Moves the path to the next (step 1) or previous (step -1) leaf, and says where keys there begin or end: -ENOENT at the edge, and where
 * that separator says that nothing there lies as far as `to` (NULL: no limit): what cannot have what is looked for is not read. */
static int sibling_leaf(struct fs *fs, struct tree *tree, struct path *path, int step, const struct key *to, struct key *ret_separator)
{
	unsigned level = path->bottom + 1;
	for (;; level++) {
		if (level > tree->root->level)
			return -ENOENT;
		unsigned i = path->index[level];
		if (step > 0 ? i + 1 < image_count(path->node[level]->image) : i > 0)
			break;
	}
	struct key separator = image_key(path->node[level]->image, path->index[level] + (step > 0));
	if (to && (step > 0 ? key_compare(&separator, to) > 0 : key_compare(&separator, to) <= 0))
		return -ENOENT;
	path->index[level] = (unsigned)((int)path->index[level] + step);
	for (; level > 0; level--) {
		struct node *n = child_get(fs, path->node[level], path->index[level]);
		if (!n)
			return path_misses(fs, tree, path, level);
		path->node[level - 1] = n;
		path->bottom = level - 1;
		if (is_bottom(n))
			break;
		path->index[level - 1] = step > 0 ? 0 : image_count(n->image) - 1;
	}
	*ret_separator = separator;
	return 0;
}

static void item_at(const struct node *leaf, unsigned i, struct item *ret_item)
{
	ret_item->key = image_key(leaf->image, i);
	ret_item->value = image_value(leaf->image, i, &ret_item->bytes);
}

/* Nothing of an object that was made after the commit was ever in a node of that commit. */
static bool object_known(const struct fs *fs, const struct key *key)
{
	return key->object >= le64_get(fs->root_body.next_object);
}

int tree_lookup(struct fs *fs, struct tree *tree, const struct key *key, struct item *ret_item)
{
	struct path path;
	int r = descend(fs, tree, key, &path);
	if (r < 0)
		return r;
	const struct node *n = path.node[path.bottom];
	bool found = false;
	unsigned i = n->level == 0 ? image_find(n->image, key, &found) : 0;
	if (!found)
		return n->hollow && !object_known(fs, key) ? -EIO : -ENOENT;
	item_at(n, i, ret_item);
	return 0;
}

/* ret_unknown: goes on over what is unknown; NULL: ends there. */
static int next_item(struct fs *fs, struct tree *tree, const struct key *from, const struct key *to, struct item *ret_item,
	bool *ret_unknown)
{
	struct path path;
	struct key at = *from;
	int r = descend(fs, tree, from, &path);
	if (r < 0)
		return r;
	for (;;) {
		const struct node *n = path.node[path.bottom];
		bool found = false;
		unsigned i = n->level == 0 ? image_find(n->image, &at, &found) : 0;
		bool unknown = n->hollow && !found && !object_known(fs, &at);
		if (unknown && !ret_unknown)
			return -EIO;
		if (unknown)
			*ret_unknown = true;
		if (i < image_count(n->image)) {
			struct item item;
			item_at(n, i, &item);
			if (to && key_compare(&item.key, to) > 0)
				return -ENOENT;
			*ret_item = item;
			return 0;
		}
		r = sibling_leaf(fs, tree, &path, 1, to, &at);
		if (r < 0)
			return r;
	}
}

int tree_next(struct fs *fs, struct tree *tree, const struct key *from, const struct key *to, struct item *ret_item)
{
	return next_item(fs, tree, from, to, ret_item, NULL);
}

int tree_next_known(struct fs *fs, struct tree *tree, const struct key *from, const struct key *to, struct item *ret_item,
	bool *ret_unknown)
{
	bool unknown = false;
	int r = next_item(fs, tree, from, to, ret_item, &unknown);
	if (r == 0 || r == -ENOENT)
		*ret_unknown = unknown;
	return r;
}

int tree_unknown(struct fs *fs, struct tree *tree, const struct key *from, const struct key *to)
{
	struct path path;
	struct key at = *from;
	int r = descend(fs, tree, from, &path);
	while (r == 0 && !(path.node[path.bottom]->hollow && !object_known(fs, &at)))
		r = sibling_leaf(fs, tree, &path, 1, to, &at);
	return r == 0 ? 1 : r == -ENOENT ? 0 : r;
}

int tree_hollow(struct fs *fs, struct tree *tree, const struct key *key)
{
	struct path path;
	int r = descend(fs, tree, key, &path);
	return r < 0 ? r : path.node[path.bottom]->hollow;
}

int tree_prev(struct fs *fs, struct tree *tree, const struct key *from, const struct key *to, struct item *ret_item)
{
	struct path path;
	struct item item;
	bool found = false;
	int r = descend(fs, tree, from, &path);
	if (r < 0)
		return r;
	const struct node *n = path.node[path.bottom];
	unsigned i = n->level == 0 ? image_find(n->image, from, &found) : 0;
	for (;;) {
		if (found || i > 0)
			item_at(n, found ? i : i - 1, &item);
		/* What is unknown lies before all that is known by its object. */
		if (n->hollow && !found && !(to && object_known(fs, to)) && !(i > 0 && object_known(fs, &item.key)))
			return -EIO;
		if (found || i > 0)
			break;
		struct key separator;
		r = sibling_leaf(fs, tree, &path, -1, to, &separator);
		if (r < 0)
			return r;
		n = path.node[path.bottom];
		i = n->level == 0 ? image_count(n->image) : 0;
	}
	if (to && key_compare(&item.key, to) < 0)
		return -ENOENT;
	*ret_item = item;
	return 0;
}

/* The node is no longer part of the tree: its blocks are free once its address is known. */
static int free_node(struct fs *fs, struct tree *tree, struct node *node)
{
	if (node->txn == tree->txn)
		return 0;                /* never had a place, and has none to come */
	if (tree->id == TREE_SYSTEM) {
		struct freed *f = vector_add(&fs->system_freed, &fs->system_freed_count, &fs->system_freed_room, sizeof *f);
		if (!f)
			return -ENOMEM;
		*f = (struct freed){ le64_get(node->pointer.address), UNIT_BLOCKS };
	} else if (node->placed) {
		int r = txn_free_blocks(fs, le64_get(node->pointer.address), UNIT_BLOCKS);
		if (r < 0)
			return r;
	} else {
		struct freed_later *f = vector_add(&fs->open->later, &fs->open->later_count, &fs->open->later_room, sizeof *f);
		if (!f)
			return -ENOMEM;
		*f = (struct freed_later){ .node = node_ref(node) };
		fs->open->freed_blocks += UNIT_BLOCKS;
	}
	return 0;
}

static int make_changeable(struct fs *fs, struct tree *tree, struct node *parent, unsigned i, struct node *node, struct node **ret_node)
{
	if (node->txn == tree->txn) {
		*ret_node = node;
		return 0;
	}
	struct node *copy = node_clone(fs, node);
	if (!copy)
		return -ENOMEM;
	int r = free_node(fs, tree, node);
	if (r < 0) {
		node_unref(fs, copy);
		return r;
	}
	if (tree->id == TREE_FILE)
		txn_mark_dirty(fs);
	struct node *held = node_ref(node);
	if (parent) {
		struct branch_value *v = image_value(parent->image, i, NULL);
		struct node *old = branch_child(v);
		memset(v, 0, sizeof *v);
		branch_set_child(v, copy);
		if (old)
			node_unref(fs, old);
		else
			parent->memory_refs++;
	} else {
		node_unref(fs, tree->root);
		tree->root = copy;
	}
	cache_forget(fs, held);
	node_unref(fs, held);
	*ret_node = copy;
	return 0;
}

/* A hollow branch, changeable, gets a child to put things in. */
static int fill_hollow(struct fs *fs, const struct tree *tree, struct node *branch, const struct key *key)
{
	struct node *child = node_new(fs, tree->id, (uint8_t)(branch->level - 1));
	if (!child)
		return -ENOMEM;
	struct branch_value v = { 0 };
	branch_set_child(&v, child);
	bool fits = image_insert(branch->image, 0, key, &v, sizeof v);
	assert(fits);
	branch->memory_refs = 1;
	child->hollow = true;
	return 0;
}

int tree_prepare(struct fs *fs, struct tree *tree, const struct key *key)
{
	struct node *n;
	int r = make_changeable(fs, tree, NULL, 0, tree->root, &n);
	while (r == 0 && n->level > 0) {
		if (image_count(n->image) == 0)
			r = fill_hollow(fs, tree, n, key);
		if (r < 0)
			return r;
		unsigned i = image_child(n->image, key);
		struct node *child = child_get(fs, n, i);
		if (!child)
			return TREE_MISS;
		r = make_changeable(fs, tree, n, i, child, &n);
	}
	return r;
}

static int descend_changeable(struct fs *fs, struct tree *tree, const struct key *key, struct path *path)
{
	int r = descend(fs, tree, key, path);
	assert(r == 0);
	for (unsigned level = 0; level <= tree->root->level; level++)
		assert(path->node[level]->txn == tree->txn);
	return r;
}

/* A new root above the old one, which becomes its only child. */
static int grow(struct fs *fs, struct tree *tree, struct path *path)
{
	struct node *old = tree->root;
	if (old->level == NODE_LEVEL_MAX)
		return -EFBIG;
	struct node *root = node_new(fs, tree->id, (uint8_t)(old->level + 1));
	if (!root)
		return -ENOMEM;
	struct branch_value v = { 0 };
	struct key first = image_key(old->image, 0);
	branch_set_child(&v, old);
	bool fits = image_insert(root->image, 0, &first, &v, sizeof v);
	assert(fits);
	root->memory_refs = 1;
	tree->root = root;
	path->node[root->level] = root;
	path->index[root->level] = 0;
	return 0;
}

static unsigned count_memory_refs(const struct node *n)
{
	unsigned refs = 0;
	for (unsigned i = 0; i < image_count(n->image); i++) {
		const void *value = image_value(n->image, i, NULL);
		struct key key = image_key(n->image, i);
		refs += n->level > 0 ? branch_child(value) != NULL : item_is_dirty_extent(&key, value);
	}
	return refs;
}

/* Makes room in the node of `level` for an item of `bytes` before index `at`, splitting upwards as needed, so that the
 * caller can descend again and insert. */
static int split(struct fs *fs, struct tree *tree, struct path *path, unsigned level, unsigned at)
{
	struct node *left = path->node[level];
	if (left == tree->root) {
		int r = grow(fs, tree, path);
		if (r < 0)
			return r;
	}
	struct node *parent = path->node[level + 1];
	if (image_room(parent->image) < sizeof(struct item_head) + sizeof(struct branch_value)) {
		int r = split(fs, tree, path, level + 1, path->index[level + 1] + 1);
		return r < 0 ? r : -EAGAIN;
	}
	struct node *right = node_new(fs, tree->id, (uint8_t)level);
	if (!right)
		return -ENOMEM;
	right->hollow = left->hollow;
	unsigned count = image_count(left->image);
	unsigned from = at == count && count > 1 ? count - 1 : image_split_point(left->image);
	image_move_tail(left->image, from, right->image);
	right->memory_refs = count_memory_refs(right);
	left->memory_refs -= right->memory_refs;
	struct branch_value v = { 0 };
	struct key first = image_key(right->image, 0), lowest = image_key(left->image, 0), bound = image_key(parent->image, 0);
	/* What lives under a first child may lie below that child's key, and so may the right half's. */
	if (path->index[level + 1] == 0 && key_compare(&lowest, &bound) < 0)
		image_set_key(parent->image, 0, &lowest);
	branch_set_child(&v, right);
	bool fits = image_insert(parent->image, path->index[level + 1] + 1, &first, &v, sizeof v);
	assert(fits);
	parent->memory_refs++;
	return 0;
}

/* Removes item i of a leaf, with the reference that it may hold. */
static void leaf_remove(struct fs *fs, struct node *leaf, unsigned i)
{
	struct item item;
	item_at(leaf, i, &item);
	struct record *record = item_is_dirty_extent(&item.key, item.value) ? record_of(&item) : NULL;
	image_remove(leaf->image, i);
	if (record) {
		leaf->memory_refs--;
		record_detach(fs, record);
	}
}

/* For the intent log; who changes extents notes ranges instead. */
static void note_change(struct fs *fs, const struct tree *tree, const struct key *key)
{
	if (tree == &fs->file && key->type != ITEM_EXTENT)
		changes_key(fs->open->changes, key);
}

int tree_put(struct fs *fs, struct tree *tree, const struct key *key, const void *value, unsigned bytes)
{
	assert(bytes <= ITEM_VALUE_MAX);
	note_change(fs, tree, key);
	struct path path;
	bool found, dirty = item_is_dirty_extent(key, value);
	const struct item new = { *key, value, bytes };
	if (dirty)
		record_attach(fs, record_of(&new));      /* before the old item's hold goes */
	descend_changeable(fs, tree, key, &path);
	unsigned i = image_find(path.node[0]->image, key, &found);
	if (found) {
		struct item item;
		item_at(path.node[0], i, &item);
		if (item.bytes == bytes && !dirty && !item_is_dirty_extent(&item.key, item.value)) {
			memcpy((void *)item.value, value, bytes);
			return 0;
		}
		leaf_remove(fs, path.node[0], i);
	}
	while (!image_insert(path.node[0]->image, i, key, value, bytes)) {
		int r = split(fs, tree, &path, 0, i);
		if (r < 0 && r != -EAGAIN) {
			if (dirty)
				record_detach(fs, record_of(&new));
			return r;
		}
		descend_changeable(fs, tree, key, &path);
		i = image_find(path.node[0]->image, key, &found);
	}
	if (dirty)
		path.node[0]->memory_refs++;
	return 0;
}

/* Takes child i, which is dirty, out of the parent, to which at least one stays. */
static void drop_child(struct fs *fs, struct node *parent, unsigned i)
{
	struct node *child = branch_child(image_value(parent->image, i, NULL));
	image_remove(parent->image, i);
	parent->memory_refs--;
	node_unref(fs, child);
}

/* While the root has one child that is in memory, the child becomes the root. */
static int shrink_root(struct fs *fs, struct tree *tree)
{
	while (tree->root->level > 0 && image_count(tree->root->image) == 1) {
		struct node *child = child_get(fs, tree->root, 0);
		if (!child)
			return 0;
		node_ref(child);
		int r = free_node(fs, tree, tree->root);
		node_unref(fs, tree->root);
		tree->root = child;
		if (r < 0)
			return r;
	}
	return 0;
}

/* Joins the small node at `level` with a neighbour under the same parent that is in memory and has room (an empty node needs
 * none). The neighbour becomes changeable too: so whatever key was prepared through either of them still is. */
static int join_neighbour(struct fs *fs, struct tree *tree, struct path *path, unsigned level)
{
	struct node *parent = path->node[level + 1], *n = path->node[level];
	unsigned i = path->index[level + 1], used = NODE_BYTES - image_room(n->image);
	for (int side = -1; side <= 1; side += 2) {
		if (side < 0 ? i == 0 : i + 1 >= image_count(parent->image))
			continue;
		unsigned other_index = (unsigned)((int)i + side);
		struct node *other = child_get(fs, parent, other_index);
		if (!other || n->hollow || other->hollow || (image_count(n->image) > 0 && image_room(other->image) < used + MERGE_ROOM))
			continue;
		int r = make_changeable(fs, tree, parent, other_index, other, &other);
		if (r < 0)
			return r;
		struct node *left = side < 0 ? other : n, *right = side < 0 ? n : other;
		if (level > 0) {
			/* What lives under its first child may lie below that child's key, but not below the parent's. */
			struct key first = image_key(parent->image, side < 0 ? i : other_index);
			image_set_key(right->image, 0, &first);
		}
		image_move_tail(right->image, 0, left->image);
		left->memory_refs += right->memory_refs;
		right->memory_refs = 0;
		drop_child(fs, parent, side < 0 ? i : other_index);
		return 1;
	}
	return 0;
}

int tree_delete(struct fs *fs, struct tree *tree, const struct key *key)
{
	note_change(fs, tree, key);
	struct path path;
	bool found;
	descend_changeable(fs, tree, key, &path);
	unsigned i = image_find(path.node[0]->image, key, &found);
	assert(found);
	leaf_remove(fs, path.node[0], i);
	for (unsigned level = 0; level < tree->root->level; level++) {
		struct node *n = path.node[level];
		if (NODE_BYTES - image_room(n->image) >= MERGE_BELOW)
			break;
		int r = join_neighbour(fs, tree, &path, level);
		if (r < 0)
			return r;
		if (r == 0)
			break;
	}
	return shrink_root(fs, tree);
}

int tree_node_pointer(struct fs *fs, struct tree *tree, const struct key *key, unsigned level, struct disk_pointer *ret_pointer)
{
	struct node *n = tree->root;
	if (level > n->level)
		return -ENOENT;
	while (n->level > level) {
		const struct branch_value *v = image_value(n->image, image_child(n->image, key), NULL);
		struct node *child = branch_child(v);
		if (n->level == level + 1u && !child) {
			*ret_pointer = v->pointer;
			return 0;
		}
		n = child_get(fs, n, image_child(n->image, key));
		if (!n)
			return TREE_MISS;
	}
	if (!n->placed)
		return -ENOENT;
	*ret_pointer = n->pointer;
	return 0;
}

int tree_touch(struct fs *fs, struct tree *tree, const struct key *key, unsigned level, address at)
{
	struct disk_pointer pointer;
	int r = tree_node_pointer(fs, tree, key, level, &pointer);
	if (r == -ENOENT || (r == 0 && le64_get(pointer.address) != at))
		return 0;
	struct node *n;
	if (r == 0)
		r = make_changeable(fs, tree, NULL, 0, tree->root, &n);
	while (r == 0 && n->level > level) {
		unsigned i = image_child(n->image, key);
		struct node *child = child_get(fs, n, i);
		if (!child)
			return TREE_MISS;
		r = make_changeable(fs, tree, n, i, child, &n);
	}
	return r;
}

/* Takes child i out of the node at `level` of the path, all of which is changeable; a branch without children goes as well. */
static int cut_child(struct fs *fs, struct tree *tree, struct path *path, unsigned level)
{
	for (struct node *below = NULL;; level++) {
		struct node *n = path->node[level];
		image_remove(n->image, path->index[level]);
		node_unref(fs, below);
		below = n;
		if (image_count(n->image) > 0)
			return shrink_root(fs, tree);
		if (n == tree->root)
			break;
		path->node[level + 1]->memory_refs--;    /* its next turn takes n out */
	}
	struct node *leaf = node_new(fs, tree->id, 0);
	if (!leaf)
		return -ENOMEM;
	node_unref(fs, tree->root);
	tree->root = leaf;
	return 0;
}

int tree_cut(struct fs *fs, struct tree *tree, const struct key *key, unsigned level, address at)
{
	struct path path;
	struct node *n;
	if (tree->root->level <= level)
		return 0;
	int r = make_changeable(fs, tree, NULL, 0, tree->root, &n);
	for (; r == 0; ) {
		unsigned i = image_child(n->image, key);
		path.node[n->level] = n;
		path.index[n->level] = i;
		if (n->level == level + 1)
			break;
		struct node *child = child_get(fs, n, i);
		if (!child)
			return TREE_MISS;
		r = make_changeable(fs, tree, n, i, child, &n);
	}
	if (r < 0)
		return r;
	const struct branch_value *v = image_value(n->image, path.index[n->level], NULL);
	if (branch_child(v) || le64_get(v->pointer.address) != at)
		return 0;
	r = txn_free_blocks(fs, at, UNIT_BLOCKS);
	return r < 0 ? r : cut_child(fs, tree, &path, n->level);
}
