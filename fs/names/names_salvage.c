/* Names in a salvage mount: entries that cannot be read are found again by the links of what they named (an entry and a link say
 * the same, and a link says where its entry lies), and put into the hollow node in memory where they belong.  What can be read, but has
 * no name any more, is shown in the root directory as "#" and its inode number.
 *
 * That takes going through all objects, so it is done once, when somebody comes to entries that cannot be read. */
#include "fs/core.h"
#include "fs/names/dir.h"
#include "fs/names/inode.h"
#include "fs/names/window.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

struct pass {
	struct fs *fs;
	bool unnamed;                    /* the second: what has no name */
	struct key from;                 /* where it goes on */
	uint64_t count;                  /* names made */
};

static int put_entry(struct fs *fs, uint64_t dir, uint64_t offset, uint64_t child, uint8_t type, const char *name, unsigned bytes)
{
	struct key key = key_make(dir, ITEM_DIRENT, offset);
	int r = tree_prepare(fs, fs_file_tree(fs), &key);

	return r < 0 ? r : dirent_put(fs, &key, child, type, name, bytes);
}

/* Makes the entry that the link tells of, if it cannot be read. */
static int by_link(struct pass *p, const struct item *item)
{
	const struct link_item *l = item->value;
	char name[NAME_BYTES_MAX];
	struct inode inode;
	struct item there;

	if (!link_item_valid(item->value, item->bytes))
		return 0;
	uint64_t child = item->key.object, dir = le64_get(l->parent), offset = le64_get(l->dirent_offset);
	unsigned bytes = l->name_bytes;
	struct key key = key_make(dir, ITEM_DIRENT, offset);
	memcpy(name, l->name, bytes);
	int r = tree_lookup(p->fs, fs_file_tree(p->fs), &key, &there);
	if (r != -EIO)
		return r == TREE_MISS ? r : 0;
	r = inode_load(p->fs, child, &inode);
	if (r == TREE_MISS)
		return r;
	r = put_entry(p->fs, dir, offset, child, r == 0 ? (uint8_t)IFTODT(inode.mode) : DT_REG, name, bytes);
	p->count += r == 0;
	return r;
}

/* Names an object whose links cannot be read. */
static int by_number(struct pass *p, uint64_t ino)
{
	struct key from = key_make(ino, ITEM_LINK, 0), to = key_make(ino, ITEM_LINK, UINT64_MAX);
	struct inode inode;
	struct item item;
	bool unknown;
	char name[32];

	if (ino == OBJECT_ROOT)
		return 0;
	int r = tree_next_known(p->fs, fs_file_tree(p->fs), &from, &to, &item, &unknown);
	if (r != -ENOENT || !unknown)
		return r == TREE_MISS ? r : 0;
	r = inode_load(p->fs, ino, &inode);
	if (r < 0 || inode.links == 0)
		return r == TREE_MISS ? r : 0;
	int bytes = snprintf(name, sizeof name, "#%llu", (unsigned long long)ino);
	r = put_entry(p->fs, OBJECT_ROOT, window_hash(p->fs, name, (size_t)bytes), ino, (uint8_t)IFTODT(inode.mode), name, (unsigned)bytes);
	p->count += r == 0;
	return r;
}

/* One item: 1 while there is more.  Of an object's items only the first and its links are looked at. */
static int step_locked(struct pass *p)
{
	struct item item;
	bool unknown;
	int r = tree_next_known(p->fs, fs_file_tree(p->fs), &p->from, NULL, &item, &unknown);

	if (r < 0)
		return r == -ENOENT ? 0 : r;
	struct key key = item.key, next = key_make(key.object + 1, 0, 0);
	if (!p->unnamed && key.type < ITEM_LINK)
		next = key_make(key.object, ITEM_LINK, 0);
	else if (!p->unnamed && key.type == ITEM_LINK && key.offset < UINT64_MAX)
		next = key_make(key.object, ITEM_LINK, key.offset + 1);
	if (p->unnamed && key.object != OBJECT_ORPHANS)
		r = by_number(p, key.object);
	else if (!p->unnamed && key.type == ITEM_LINK)
		r = by_link(p, &item);
	if (r < 0)
		return r;
	p->from = next;
	return next.object >= key.object;        /* not behind the last number */
}

static int run(struct pass *p)
{
	int r;

	do {
		struct op op;
		r = op_begin(p->fs, &op, OP_READ, 0);
		if (r < 0)
			return r;
		do
			r = p->fs->stopping ? 0 : step_locked(p);
		while (op_retry(&op, &r));
		op_end(&op);
	} while (r > 0);
	return r;
}

int names_salvage(struct fs *fs)
{
	struct pass by_links = { .fs = fs }, numbers = { .fs = fs, .unnamed = true };

	if (atomic_exchange(&fs->names_salvaged, true))
		return 0;
	event_report(&fs->options.events, EVENT_WARNING, -1, "Entries of a folder cannot be read: their names are looked for in all files and "
		"folders, which takes a while.");
	int r = run(&by_links);
	if (r == 0)
		r = run(&numbers);
	if (r == 0)
		event_report(&fs->options.events, EVENT_WARNING, -1, "%llu entries were found again by what they name; %llu files and folders that "
			"have no name any more are in the root folder, as # and a number.", (unsigned long long)by_links.count,
			(unsigned long long)numbers.count);
	return r;
}
