/* Directories: entries, lookup and listing.  See dir.h. */
#include "fs/core.h"
#include "fs/names/dir.h"
#include "fs/names/inode.h"
#include "fs/names/window.h"

#include <dirent.h>
#include <errno.h>
#include <sys/stat.h>

#define COOKIE_DOT 1u
#define COOKIE_DOTDOT 2u
/* Entries that one hold of the lock copies out. */
#define BATCH_ENTRIES 32u

int name_check(const char *name)
{
	size_t n = strlen(name);

	if (n == 0)
		return -ENOENT;
	if (n > NAME_BYTES_MAX)
		return -ENAMETOOLONG;
	return strchr(name, '/') ? -EINVAL : 0;
}

bool name_is_dots(const char *name)
{
	return !strcmp(name, ".") || !strcmp(name, "..");
}

static bool name_valid(const char *name, unsigned bytes)
{
	if (bytes == 0 || memchr(name, 0, bytes) || memchr(name, '/', bytes))
		return false;
	return !(name[0] == '.' && (bytes == 1 || (bytes == 2 && name[1] == '.')));
}

bool dirent_item_valid(const void *value, unsigned bytes)
{
	const struct dirent_item *d = value;

	if (bytes <= sizeof *d || bytes != sizeof *d + d->name_bytes || !name_valid(d->name, d->name_bytes)
		|| le64_get(d->object) == OBJECT_ORPHANS || le64_get(d->object) == UINT64_MAX)
		return false;
	switch (d->type) {
	case DT_REG: case DT_DIR: case DT_LNK: case DT_FIFO: case DT_SOCK: case DT_CHR: case DT_BLK:
		return true;
	default:
		return false;
	}
}

bool link_item_valid(const void *value, unsigned bytes)
{
	const struct link_item *l = value;

	return bytes > sizeof *l && bytes == sizeof *l + l->name_bytes && name_valid(l->name, l->name_bytes);
}

static int dirent_of(struct fs *fs, const struct item *item, const struct dirent_item **ret_dirent)
{
	if (!dirent_item_valid(item->value, item->bytes)) {
		inode_unclean(fs, item->key.object, "an entry of this directory makes no sense");
		return -EUCLEAN;
	}
	*ret_dirent = item->value;
	return 0;
}

static int match_dirent(struct fs *fs, const struct item *item, const void *wanted)
{
	const struct entry *entry = wanted;
	const struct dirent_item *d;
	int r = dirent_of(fs, item, &d);

	if (r < 0)
		return r;
	return strlen(entry->name) == d->name_bytes && !memcmp(entry->name, d->name, d->name_bytes);
}

static int match_link(struct fs *fs, const struct item *item, const void *wanted)
{
	const struct entry *entry = wanted;
	const struct link_item *l = item->value;

	if (!link_item_valid(item->value, item->bytes))
		return inode_unclean(fs, item->key.object, "a link of it makes no sense");
	return le64_get(l->parent) == entry->dir && strlen(entry->name) == l->name_bytes
		&& !memcmp(entry->name, l->name, l->name_bytes);
}

static uint64_t link_hash(struct fs *fs, const struct entry *entry)
{
	struct { le64 dir; char name[NAME_BYTES_MAX]; } bytes = { .dir = le64_put(entry->dir) };
	size_t n = strlen(entry->name);

	memcpy(bytes.name, entry->name, n);
	return window_hash(fs, &bytes, sizeof bytes.dir + n);
}

static int find_dirent(struct fs *fs, struct entry *entry, uint64_t *ret_free)
{
	const struct dirent_item *d = NULL;
	struct item item;

	int r = window_find(fs, entry->dir, ITEM_DIRENT, window_hash(fs, entry->name, strlen(entry->name)), match_dirent, entry,
		&item, ret_free);
	if (r == 0)
		r = dirent_of(fs, &item, &d);
	if (r < 0)
		return r;
	entry->dirent = item.key;
	entry->child = le64_get(d->object);
	entry->type = d->type;
	return 0;
}

int entry_lookup(struct fs *fs, uint64_t dir, const char *name, struct entry *ret_entry)
{
	struct entry entry = { .dir = dir, .name = name };
	int r = find_dirent(fs, &entry, NULL);

	if (r == 0)
		*ret_entry = entry;
	return r;
}

int entry_find(struct fs *fs, uint64_t dir, const char *name, struct entry *ret_entry)
{
	struct entry entry = { .dir = dir, .name = name };
	struct item item;

	int r = find_dirent(fs, &entry, NULL);
	if (r < 0)
		return r;
	r = window_find(fs, entry.child, ITEM_LINK, link_hash(fs, &entry), match_link, &entry, &item, NULL);
	if (r == -ENOENT)
		return inode_unclean(fs, entry.child, "it has no link for an entry that names it");
	if (r < 0)
		return r;
	if (le64_get(((const struct link_item *)item.value)->dirent_offset) != entry.dirent.offset)
		return inode_unclean(fs, entry.child, "a link of it leads to another entry");
	entry.link = item.key;
	*ret_entry = entry;
	return 0;
}

int entry_place(struct fs *fs, uint64_t dir, const char *name, uint64_t child, uint32_t mode, bool *ret_exists, struct entry *ret_entry)
{
	struct entry entry = { .dir = dir, .name = name };
	uint64_t free_offset;
	struct item item;
	bool exists;

	int r = find_dirent(fs, &entry, &free_offset);
	if (r < 0 && r != -ENOENT)
		return r;
	exists = r == 0;
	if (exists && !ret_exists)
		return -EEXIST;
	if (!exists) {
		if (!free_offset)
			return -ENOSPC;
		entry.dirent = key_make(dir, ITEM_DIRENT, free_offset);
	}
	r = window_find(fs, child, ITEM_LINK, link_hash(fs, &entry), match_link, &entry, &item, &free_offset);
	if (r == 0)
		return inode_unclean(fs, child, "it has a link for an entry that does not name it");
	if (r != -ENOENT)
		return r;
	if (!free_offset)
		return -ENOSPC;
	entry.link = key_make(child, ITEM_LINK, free_offset);
	entry.child = child;
	entry.type = IFTODT(mode);
	if (ret_exists)
		*ret_exists = exists;
	*ret_entry = entry;
	return 0;
}

int entry_prepare(struct fs *fs, const struct entry *entry)
{
	int r = tree_prepare(fs, fs_file_tree(fs), &entry->dirent);
	return r < 0 ? r : tree_prepare(fs, fs_file_tree(fs), &entry->link);
}

int dirent_put(struct fs *fs, const struct key *key, uint64_t child, uint8_t type, const char *name, unsigned name_bytes)
{
	const struct dirent_item item = { .object = le64_put(child), .type = type, .name_bytes = (uint8_t)name_bytes };
	uint8_t value[sizeof item + NAME_BYTES_MAX];

	assert(name_bytes <= NAME_BYTES_MAX);
	memcpy(value, &item, sizeof item);
	memcpy(value + sizeof item, name, name_bytes);
	return tree_put(fs, fs_file_tree(fs), key, value, (unsigned)sizeof item + name_bytes);
}

static int link_put(struct fs *fs, const struct entry *entry, unsigned name_bytes)
{
	const struct link_item item = { .parent = le64_put(entry->dir), .dirent_offset = le64_put(entry->dirent.offset),
		.name_bytes = (uint8_t)name_bytes };
	uint8_t value[sizeof item + NAME_BYTES_MAX];

	memcpy(value, &item, sizeof item);
	memcpy(value + sizeof item, entry->name, name_bytes);
	return tree_put(fs, fs_file_tree(fs), &entry->link, value, (unsigned)sizeof item + name_bytes);
}

int entry_put(struct fs *fs, const struct entry *entry)
{
	unsigned name_bytes = (unsigned)strlen(entry->name);
	int r = dirent_put(fs, &entry->dirent, entry->child, entry->type, entry->name, name_bytes);

	return r < 0 ? r : link_put(fs, entry, name_bytes);
}

int entry_delete(struct fs *fs, const struct entry *entry, bool dirent_too)
{
	int r = tree_delete(fs, fs_file_tree(fs), &entry->link);
	return r < 0 || !dirent_too ? r : tree_delete(fs, fs_file_tree(fs), &entry->dirent);
}

/* ---- Lookup ---- */

/* The inode that an entry names. */
static int load_child(struct fs *fs, uint64_t dir, uint64_t child, uint8_t type, struct inode *ret_inode)
{
	struct inode inode;
	int r = inode_load(fs, child, &inode);

	if (r == -ENOENT)
		return inode_unclean(fs, dir, "an entry of this directory names an inode that does not exist");
	if (r < 0)
		return r;
	if (IFTODT(inode.mode) != type || inode.links == 0)
		return inode_unclean(fs, dir, "an entry of this directory does not fit the inode that it names");
	*ret_inode = inode;
	return 0;
}

static int lookup_locked(struct fs *fs, uint64_t dir, const char *name, struct inode *ret_inode)
{
	struct entry entry;
	struct inode inode;

	int r = inode_load(fs, dir, &inode);
	if (r < 0)
		return r;
	if (inode.mode == 0)
		return -ENOENT;
	if (!strcmp(name, ".")) {
		*ret_inode = inode;
		return 0;
	}
	if (!S_ISDIR(inode.mode))
		return -ENOTDIR;
	if (!strcmp(name, ".."))
		return inode_load_dir(fs, inode.parent, ret_inode);
	r = entry_lookup(fs, dir, name, &entry);
	return r < 0 ? r : load_child(fs, dir, entry.child, entry.type, ret_inode);
}

int fs_lookup(struct fs *fs, uint64_t dir, const char *name, struct fs_attr *ret_attr)
{
	struct inode inode;
	struct op op;

	int r = name_check(name);
	if (r == 0)
		r = op_begin(fs, &op, OP_READ, 0);
	if (r < 0)
		return r;
	do
		r = lookup_locked(fs, dir, name, &inode);
	while (op_retry(&op, &r));
	if (r == 0)
		inode_attr(fs, &inode, ret_attr);
	op_end(&op);
	if (r != -EIO || !fs->options.salvage || atomic_load(&fs->names_salvaged))
		return r;
	r = names_salvage(fs);
	return r < 0 ? r : fs_lookup(fs, dir, name, ret_attr);
}

/* ---- Listing ---- */

struct listed {
	struct fs_dirent entry;
	char name[NAME_BYTES_MAX + 1];
};

struct batch {
	unsigned count;
	uint64_t cookie;                 /* where the next batch goes on */
	bool end;
	struct listed listed[BATCH_ENTRIES];
};

/* Adds one entry; one whose inode cannot be had is reported and left out, so that the others can be listed.  To salvage, it is named. */
static int batch_add(struct fs *fs, struct batch *batch, uint64_t dir, const struct fs_dirent *entry, const char *name,
	unsigned name_bytes, bool with_attr)
{
	struct listed *l = &batch->listed[batch->count];
	struct inode inode;

	l->entry = *entry;
	memcpy(l->name, name, name_bytes);
	l->name[name_bytes] = 0;
	l->entry.name = l->name;
	batch->cookie = entry->cookie;
	if (with_attr) {
		int r = load_child(fs, dir, entry->ino, entry->type, &inode);
		l->entry.no_attr = r < 0 && r != TREE_MISS && r != -ENOMEM && fs->options.salvage;
		if (r == -EUCLEAN && !l->entry.no_attr)
			return 0;
		if (r < 0 && !l->entry.no_attr)
			return r;
		if (r == 0)
			inode_attr(fs, &inode, &l->entry.attr);
		else
			l->entry.attr = (struct fs_attr){ .ino = entry->ino, .mode = DTTOIF(entry->type) };
	}
	batch->count++;
	return 0;
}

static int batch_add_item(struct fs *fs, struct batch *batch, uint64_t dir, const struct item *item, bool with_attr)
{
	const struct dirent_item *d;

	int r = dirent_of(fs, item, &d);
	if (r == -EUCLEAN) {
		batch->cookie = item->key.offset;
		return 0;
	}
	struct fs_dirent entry = { .ino = le64_get(d->object), .cookie = item->key.offset, .type = d->type };
	return batch_add(fs, batch, dir, &entry, d->name, d->name_bytes, with_attr);
}

/* To salvage, the listing goes on behind entries that cannot be read, and ends with an error. */
static int next_entry(struct fs *fs, const struct key *from, const struct key *to, struct item *ret_item)
{
	struct key first = key_make(from->object, ITEM_DIRENT, 0);
	bool unknown;

	if (!fs->options.salvage)
		return tree_next(fs, fs_file_tree(fs), from, to, ret_item);
	int r = tree_next_known(fs, fs_file_tree(fs), from, to, ret_item, &unknown);
	if (r != -ENOENT)
		return r;
	r = tree_unknown(fs, fs_file_tree(fs), &first, to);
	return r == 1 ? -EIO : r == 0 ? -ENOENT : r;
}

static int batch_fill(struct fs *fs, uint64_t dir, uint64_t cookie, bool with_attr, struct batch *batch)
{
	struct key from = key_make(dir, ITEM_DIRENT, 0), to = key_make(dir, ITEM_DIRENT, WINDOW_OFFSET_MAX);
	struct fs_dirent dots = { .type = DT_DIR };
	struct inode inode;
	struct item item;

	batch->count = 0;
	batch->cookie = cookie;
	int r = inode_load_dir(fs, dir, &inode);
	batch->end = r == 0 && inode.links == 0;
	if (r < 0 || batch->end)
		return r;
	if (cookie == 0)
		inode_accessed(fs, &inode);
	if (cookie < COOKIE_DOT) {
		dots.ino = dir;
		dots.cookie = COOKIE_DOT;
		r = batch_add(fs, batch, dir, &dots, ".", 1, with_attr);
	}
	if (r == 0 && cookie < COOKIE_DOTDOT) {
		dots.ino = inode.parent;
		dots.cookie = COOKIE_DOTDOT;
		r = batch_add(fs, batch, dir, &dots, "..", 2, with_attr);
	}
	while (r == 0 && batch->count < BATCH_ENTRIES && batch->cookie < WINDOW_OFFSET_MAX) {
		from.offset = batch->cookie + 1;
		r = next_entry(fs, &from, &to, &item);
		if (r == 0)
			r = batch_add_item(fs, batch, dir, &item, with_attr);
	}
	if (r == 0 && batch->cookie < WINDOW_OFFSET_MAX)
		return 0;
	batch->end = true;
	return r == -ENOENT ? 0 : r;
}

/* Before a listing: looks for what cannot be read of it. */
static int salvage_entries(struct fs *fs, uint64_t dir)
{
	struct key from = key_make(dir, ITEM_DIRENT, 0), to = key_make(dir, ITEM_DIRENT, WINDOW_OFFSET_MAX);
	struct op op;

	int r = op_begin(fs, &op, OP_READ, 0);
	if (r < 0)
		return r;
	do
		r = tree_unknown(fs, fs_file_tree(fs), &from, &to);
	while (op_retry(&op, &r));
	op_end(&op);
	return r == 1 ? names_salvage(fs) : r;
}

int fs_readdir(struct fs *fs, uint64_t dir, uint64_t cookie, bool with_attr, bool (*emit)(void *ctx, const struct fs_dirent *entry), void *ctx)
{
	struct batch batch;
	struct op op;

	if (cookie == 0 && fs->options.salvage) {
		int r = salvage_entries(fs, dir);
		if (r < 0)
			return r;
	}
	do {
		int r = op_begin(fs, &op, OP_READ, 0);
		if (r < 0)
			return r;
		do
			r = batch_fill(fs, dir, cookie, with_attr, &batch);
		while (op_retry(&op, &r));
		op_end(&op);
		if (r < 0 && !fs->options.salvage)
			return r;
		for (unsigned i = 0; i < batch.count; i++)
			if (!emit(ctx, &batch.listed[i].entry))
				return 0;
		if (r < 0 && batch.cookie == (batch.count ? batch.listed[batch.count - 1].entry.cookie : cookie))
			return r;
		cookie = batch.cookie;
		batch.end &= r == 0;
	} while (!batch.end);
	return 0;
}
