/* Looks up what every name says, when the sums of entries and links, or of hidden objects and their owners, are not equal: an entry
 * leads to its inode and link, a link to its entry, an xattr to the hidden object of its value, and a hidden object has one
 * owner.  What cannot be read has been said already and is no finding here. */
#include "fs/fsck/checkimpl.h"
#include "fs/names/window.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct owned { uint64_t object, owner, offset; uint32_t bytes; };
struct hidden { uint64_t ino, size_bytes; };

struct names {
	struct check *c;
	struct owned *owned; size_t owned_count, owned_room;
	struct hidden *hidden; size_t hidden_count, hidden_room;
};

union name_value {
	struct dirent_item dirent;
	struct link_item link;
	uint8_t bytes[sizeof(struct link_item) + NAME_BYTES_MAX];
};

/* Does the object have a link that leads to this entry? 1, 0 or an error. */
static int has_link(struct fs *fs, uint64_t ino, uint64_t dir, uint64_t offset, const char *name, unsigned name_bytes)
{
	struct { le64 dir; char name[NAME_BYTES_MAX]; } hashed = { .dir = le64_put(dir) };
	memcpy(hashed.name, name, name_bytes);
	uint64_t hash = window_hash(fs, &hashed, sizeof hashed.dir + name_bytes);
	struct key from = key_make(ino, ITEM_LINK, hash), to = key_make(ino, ITEM_LINK, hash + WINDOW_SLOTS - 1);
	struct item item;
	struct op op;
	int r, found = 0;
	op_begin(fs, &op, OP_READ, 0);
	do {
		struct key at = from;
		while (!found && (r = tree_next(fs, &fs->file, &at, &to, &item)) == 0) {
			const struct link_item *l = item.value;
			found = le64_get(l->parent) == dir && le64_get(l->dirent_offset) == offset && l->name_bytes == name_bytes
				&& !memcmp(l->name, name, name_bytes);
			at.offset = item.key.offset + 1;
		}
	} while (!found && op_retry(&op, &r));
	op_end(&op);
	return found ? 1 : r == -ENOENT ? 0 : r;
}

static void look_up_entry(struct check *c, const struct item *item)
{
	const struct dirent_item *d = item->value;
	uint64_t dir = item->key.object, child = le64_get(d->object);
	struct key key = key_make(child, ITEM_INODE, 0);
	struct inode_item inode;
	char path[PATH_TEXT_BYTES];
	int r = check_lookup(c->fs, &c->fs->file, &key, &inode, sizeof inode, NULL);
	if (r == -ENOENT)
		check_say(c, "%s: an entry names inode %llu, which does not exist.", path_text(c->fs, dir, path),
			(unsigned long long)child);
	else if (r == 0 && d->type != IFTODT(le32_get(inode.mode)))
		check_say(c, "%s: an entry says that it is of another type.", path_text(c->fs, child, path));
	else if (r == 0 && has_link(c->fs, child, dir, item->key.offset, d->name, d->name_bytes) == 0)
		check_say(c, "%s: an entry names inode %llu, which has no link that says so.", path_text(c->fs, dir, path),
			(unsigned long long)child);
	else
		return;
	check_suspect(c, SUSPECT_ENTRY, dir, item->key.offset);
}

static void look_up_link(struct check *c, const struct item *item)
{
	const struct link_item *l = item->value;
	uint64_t ino = item->key.object;
	struct key key = key_make(le64_get(l->parent), ITEM_DIRENT, le64_get(l->dirent_offset));
	union name_value value;
	char path[PATH_TEXT_BYTES];
	int r = check_lookup(c->fs, &c->fs->file, &key, &value, sizeof value, NULL);
	if (r != -ENOENT && r != 0)
		return;
	if (r == 0 && le64_get(value.dirent.object) == ino && value.dirent.name_bytes == l->name_bytes
		&& !memcmp(value.dirent.name, l->name, l->name_bytes))
		return;
	check_suspect(c, SUSPECT_LINK, ino, item->key.offset);
	check_say(c, "%s: a link of it leads to no entry, or to another's.", path_text(c->fs, ino, path));
}

static void note_hidden(struct names *n, const struct item *item)
{
	const struct inode_item *d = item->value;
	struct key orphan = key_make(OBJECT_ORPHANS, ITEM_ORPHAN, item->key.object);
	if (le32_get(d->mode) != 0 || check_lookup(n->c->fs, &n->c->fs->file, &orphan, NULL, 0, NULL) != -ENOENT)
		return;
	struct hidden *h = vector_add(&n->hidden, &n->hidden_count, &n->hidden_room, sizeof *h);
	if (h)
		*h = (struct hidden){ item->key.object, le64_get(d->size_bytes) };
	else
		n->c->error = -ENOMEM;
}

static void note_owned(struct names *n, const struct item *item)
{
	const struct xattr_item *d = item->value;
	if (le64_get(d->object) == 0)
		return;
	struct owned *o = vector_add(&n->owned, &n->owned_count, &n->owned_room, sizeof *o);
	if (o)
		*o = (struct owned){ le64_get(d->object), item->key.object, item->key.offset, le32_get(d->value_bytes) };
	else
		n->c->error = -ENOMEM;
}

static void on_item(void *ctx, const struct walk_node *leaf, const struct item *item)
{
	struct names *n = ctx;
	(void)leaf;
	switch (item->key.type) {
	case ITEM_DIRENT: look_up_entry(n->c, item); break;
	case ITEM_LINK: look_up_link(n->c, item); break;
	case ITEM_XATTR: note_owned(n, item); break;
	case ITEM_INODE: note_hidden(n, item); break;
	}
}

static int by_object(const void *a, const void *b)
{
	const struct owned *x = a, *y = b;
	if (x->object != y->object)
		return x->object < y->object ? -1 : 1;
	return x->owner < y->owner ? -1 : x->owner > y->owner;
}

/* Both lists go by the objects' numbers. */
static void match_hidden(struct names *n)
{
	struct check *c = n->c;
	char path[PATH_TEXT_BYTES];
	size_t h = 0;
	if (n->owned_count > 0)
		qsort(n->owned, n->owned_count, sizeof *n->owned, by_object);
	for (size_t i = 0; i <= n->owned_count; i++) {
		const struct owned *o = i < n->owned_count ? &n->owned[i] : NULL;
		for (; h < n->hidden_count && (!o || n->hidden[h].ino < o->object); h++)
			if (!c->names_unsure && (i == 0 || n->owned[i - 1].object != n->hidden[h].ino)) {
				check_suspect(c, SUSPECT_UNOWNED, n->hidden[h].ino, 0);
				check_say(c, "Inode %llu: no extended attribute has this value, and it is no orphan.", (unsigned long long)n->hidden[h].ino);
			}
		bool right = o && h < n->hidden_count && n->hidden[h].ino == o->object && n->hidden[h].size_bytes == o->bytes
			&& (i == 0 || n->owned[i - 1].object != o->object);
		struct key key = key_make(o ? o->object : 0, ITEM_INODE, 0);
		struct inode_item inode;
		int r = o && !right ? check_lookup(c->fs, &c->fs->file, &key, &inode, sizeof inode, NULL) : 0;
		if (!o || right || (r < 0 && r != -ENOENT))
			continue;
		check_suspect(c, SUSPECT_XATTR, o->owner, o->offset);
		check_say(c, "%s: the value of an extended attribute is not where it should be.", path_text(c->fs, o->owner, path));
	}
}

void check_names(struct check *c)
{
	struct names n = { .c = c };
	struct walk walk = { .fs = c->fs, .tree = TREE_FILE, .ctx = &n, .item = on_item, .generation = c->generation };
	uint64_t before = c->findings;
	c->phase = "names";
	int r = walk_tree(&walk, &c->body.file_tree, c->body.file_level);
	if (c->error == 0)
		c->error = r;
	if (c->error == 0)
		match_hidden(&n);
	if (c->error == 0 && before == c->findings && !c->names_unsure)
		check_say(c, "Entries and links do not agree with each other.");
	free(n.owned);
	free(n.hidden);
}
