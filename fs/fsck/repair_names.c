/* Repair of names: entries and links that do not lead to each other, objects that nothing names, directories that lead in a circle.
 *
 * An entry and a link say the same, so what is left of one makes the other again.  Where a name leads to nothing, it goes. */
#include "fs/fsck/checkimpl.h"
#include "fs/names/dir.h"
#include "fs/names/inode.h"
#include "fs/names/window.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define LOST_AND_FOUND "lost+found"

/* Runs a body as an operation. */
#define REPAIR_OP(c, r, body) do { \
	struct op op_; \
	(r) = op_begin((c)->fs, &op_, OP_RELOCATE, 0); \
	if ((r) == 0) { \
		do \
			(r) = (body); \
		while (op_retry(&op_, &(r))); \
		op_end(&op_); \
	} \
} while (0)

struct name {
	uint64_t dir, child, offset;     /* of the dirent */
	uint8_t type;
	unsigned bytes;
	char text[NAME_BYTES_MAX + 1];
};

static int delete_item(struct fs *fs, const struct key *key)
{
	struct item item;
	int r = tree_prepare(fs, &fs->file, key);
	if (r == 0)
		r = tree_lookup(fs, &fs->file, key, &item);
	return r == 0 ? tree_delete(fs, &fs->file, key) : r;
}

static int load_name(struct fs *fs, const struct key *key, struct name *ret_name)
{
	union { struct dirent_item dirent; struct link_item link; uint8_t bytes[sizeof(struct link_item) + NAME_BYTES_MAX]; } value;
	int r = check_lookup(fs, &fs->file, key, &value, sizeof value, NULL);
	if (r < 0)
		return r;
	struct name name = { 0 };
	if (key->type == ITEM_DIRENT) {
		name = (struct name){ key->object, le64_get(value.dirent.object), key->offset, value.dirent.type, value.dirent.name_bytes, "" };
		memcpy(name.text, value.dirent.name, name.bytes);
	} else {
		name = (struct name){ le64_get(value.link.parent), key->object, le64_get(value.link.dirent_offset), 0, value.link.name_bytes, "" };
		memcpy(name.text, value.link.name, name.bytes);
	}
	*ret_name = name;
	return 0;
}

static int load_raw_inode(struct fs *fs, uint64_t ino, struct inode_item *ret_item)
{
	struct key key = key_make(ino, ITEM_INODE, 0);
	return check_lookup(fs, &fs->file, &key, ret_item, sizeof *ret_item, NULL);
}

static bool name_valid(struct fs *fs, const struct name *name)
{
	uint64_t hash = window_hash(fs, name->text, name->bytes);
	return name->bytes > 0 && strlen(name->text) == name->bytes && !strchr(name->text, '/') && !name_is_dots(name->text)
		&& name->offset >= hash && name->offset - hash < WINDOW_SLOTS;
}

/* ---- Entries ---- */

/* Makes the link for an entry, or sets the entry's type. */
static int put_entry_again(struct fs *fs, const struct name *name, uint32_t mode)
{
	struct entry entry;
	bool exists;
	int r = entry_place(fs, name->dir, name->text, name->child, mode, &exists, &entry);
	if (r == 0 && (!exists || entry.dirent.offset != name->offset))
		r = -EUCLEAN;
	if (r == 0)
		r = entry_prepare(fs, &entry);
	return r == 0 ? inode_changed(fs, entry_put(fs, &entry)) : r;
}

static int set_type(struct fs *fs, const struct name *name, uint32_t mode)
{
	struct key key = key_make(name->dir, ITEM_DIRENT, name->offset);
	int r = tree_prepare(fs, &fs->file, &key);
	return r == 0 ? dirent_put(fs, &key, name->child, IFTODT(mode), name->text, name->bytes) : r;
}

static int any_link(struct fs *fs, uint64_t ino, struct key *ret_key)
{
	struct key from = key_make(ino, ITEM_LINK, 0), to = key_make(ino, ITEM_LINK, UINT64_MAX);
	struct item item;
	int r = tree_next(fs, &fs->file, &from, &to, &item);
	if (r == 0)
		*ret_key = item.key;
	return r;
}

static int drop_entry(struct check *c, const struct key *key, const struct name *name, const char *why)
{
	char path[PATH_TEXT_BYTES];
	int r;
	REPAIR_OP(c, r, delete_item(c->fs, key));
	if (r == 0)
		check_note(c, CHECK_LOST, "%s: the name \"%.*s\" (inode %llu) was taken out: %s.", path_text(c->fs, name->dir, path),
			(int)name->bytes, name->text, (unsigned long long)name->child, why);
	if (r == 0)
		repair_say(c, "Inode %llu: an entry that leads to nothing was taken out.", (unsigned long long)name->dir);
	return r;
}

int repair_entry(struct check *c, uint64_t dir, uint64_t offset)
{
	struct key key = key_make(dir, ITEM_DIRENT, offset);
	struct inode_item inode;
	struct name name;
	int r = load_name(c->fs, &key, &name);
	if (r < 0)
		return r;
	r = load_raw_inode(c->fs, name.child, &inode);
	if (r < 0 && r != -ENOENT)
		return r;
	uint32_t mode = r == 0 ? le32_get(inode.mode) : 0;
	check_suspect(c, SUSPECT_OBJECT, dir, 0);
	if (r == -ENOENT || mode == 0)
		return drop_entry(c, &key, &name, "there is no such inode");
	check_suspect(c, SUSPECT_OBJECT, name.child, 0);
	if (!name_valid(c->fs, &name))
		return drop_entry(c, &key, &name, "it is no name");
	if (name.type != IFTODT(mode))
		REPAIR_OP(c, r, set_type(c->fs, &name, mode));
	int linked = -ENOENT;
	struct key link;
	if (r == 0 && S_ISDIR(mode))
		REPAIR_OP(c, linked, any_link(c->fs, name.child, &link));
	if (linked == 0 && name.type == IFTODT(mode))
		return drop_entry(c, &key, &name, "the directory has another name");
	if (r == 0 && linked == -ENOENT) {
		REPAIR_OP(c, r, put_entry_again(c->fs, &name, mode));
		if (r == -EUCLEAN)
			r = 0;           /* the link is there already */
	}
	if (r == 0)
		repair_say(c, "Inode %llu: its name \"%s\" in inode %llu was made whole.", (unsigned long long)name.child, name.text,
			(unsigned long long)dir);
	return r;
}

/* ---- Links ---- */

/* The entry that a link tells of, where it was. */
static int restore_entry(struct fs *fs, const struct name *name, uint32_t mode)
{
	struct entry entry;
	struct inode dir;
	int r = inode_load_dir(fs, name->dir, &dir);
	if (r == 0)
		r = entry_lookup(fs, name->dir, name->text, &entry);
	if (r == 0)
		return -EEXIST;
	return r == -ENOENT ? set_type(fs, name, mode) : r;
}

int repair_link(struct check *c, uint64_t ino, uint64_t offset)
{
	struct key key = key_make(ino, ITEM_LINK, offset), there;
	char path[PATH_TEXT_BYTES];
	struct inode_item inode, parent;
	struct name name, other;
	int r = load_name(c->fs, &key, &name);
	if (r == 0)
		r = load_raw_inode(c->fs, ino, &inode);
	if (r < 0)
		return r;
	there = key_make(name.dir, ITEM_DIRENT, name.offset);
	bool free_place = load_name(c->fs, &there, &other) == -ENOENT;
	r = load_raw_inode(c->fs, name.dir, &parent);
	if (r < 0 && r != -ENOENT)
		return r;
	check_suspect(c, SUSPECT_OBJECT, ino, 0);
	if (r == 0 && free_place && S_ISDIR(le32_get(parent.mode)) && name_valid(c->fs, &name) && le32_get(inode.mode) != 0) {
		check_suspect(c, SUSPECT_OBJECT, name.dir, 0);
		REPAIR_OP(c, r, restore_entry(c->fs, &name, le32_get(inode.mode)));
		if (r == 0)
			repair_say(c, "%s: its name in its directory was made again.", path_text(c->fs, ino, path));
		if (r != -EEXIST && r != -EUCLEAN)
			return r;
	}
	REPAIR_OP(c, r, delete_item(c->fs, &key));
	if (r == 0)
		repair_say(c, "Inode %llu: a link to no entry was taken out.", (unsigned long long)ino);
	return r;
}

/* ---- Extended attributes ---- */

int repair_xattr(struct check *c, uint64_t ino, uint64_t offset)
{
	struct key key = key_make(ino, ITEM_XATTR, offset);
	char path[PATH_TEXT_BYTES];
	int r;
	REPAIR_OP(c, r, delete_item(c->fs, &key));
	if (r == 0)
		check_note(c, CHECK_LOST, "%s: an extended attribute is lost.", path_text(c->fs, ino, path));
	if (r == 0)
		repair_say(c, "Inode %llu: an extended attribute without its value was taken out.", (unsigned long long)ino);
	return r;
}

static int make_orphan(struct fs *fs, uint64_t ino)
{
	struct key key = key_make(OBJECT_ORPHANS, ITEM_ORPHAN, ino);
	int r = orphan_prepare(fs, ino);
	return r == 0 ? tree_put(fs, &fs->file, &key, "", 0) : r;
}

int repair_unowned(struct check *c, uint64_t ino)
{
	int r;
	REPAIR_OP(c, r, make_orphan(c->fs, ino));
	if (r < 0)
		return r;
	inode_reap(c->fs, ino);
	repair_say(c, "Inode %llu: a value that no extended attribute has was freed.", (unsigned long long)ino);
	return 0;
}

/* ---- Lost and found ---- */

static int lost_and_found(struct fs *fs, uint64_t *ret_ino)
{
	struct fs_attr attr;
	int r = fs_lookup(fs, OBJECT_ROOT, LOST_AND_FOUND, &attr);
	if (r == -ENOENT)
		r = fs_mknod(fs, OBJECT_ROOT, LOST_AND_FOUND, S_IFDIR | 0700, 0, (struct fs_cred){ 0 }, &attr);
	if (r == 0 && !S_ISDIR(attr.mode))
		r = -ENOTDIR;
	if (r == 0)
		*ret_ino = attr.ino;
	return r;
}

static int found_locked(struct fs *fs, uint64_t dir_ino, uint64_t ino, const char *name)
{
	struct inode dir, child;
	struct entry entry;
	int r = inode_load_dir(fs, dir_ino, &dir);
	if (r == 0)
		r = inode_load(fs, ino, &child);
	if (r == 0)
		r = entry_place(fs, dir_ino, name, ino, child.mode, NULL, &entry);
	if (r == 0)
		r = entry_prepare(fs, &entry);
	if (r == 0)
		r = inode_prepare(fs, dir_ino);
	if (r == 0)
		r = inode_prepare(fs, ino);
	if (r < 0)
		return r;
	r = entry_put(fs, &entry);
	dir.entries++;
	if (S_ISDIR(child.mode)) {
		dir.subdirectories++;
		dir.links++;
		child.parent = dir_ino;
		child.links = (uint32_t)child.subdirectories + 2;
	} else
		child.links = 1;
	if (r == 0)
		r = inode_store(fs, &dir);
	if (r == 0)
		r = inode_store(fs, &child);
	return inode_changed(fs, r);
}

int repair_found(struct check *c, uint64_t ino)
{
	char name[32];
	uint64_t dir = 0;
	int r = lost_and_found(c->fs, &dir);
	if (r < 0)
		return r;
	snprintf(name, sizeof name, "#%llu", (unsigned long long)ino);
	REPAIR_OP(c, r, found_locked(c->fs, dir, ino, name));
	if (r == 0)
		repair_say(c, "Inode %llu: nothing named it; it is \"/" LOST_AND_FOUND "/%s\" now.", (unsigned long long)ino, name);
	return r;
}

/* ---- Circles ---- */

/* Does the directory lead up to the root by now? */
static bool leads_up(struct check *c, uint64_t ino)
{
	struct inode_item inode;
	for (size_t steps = 0; ino != OBJECT_ROOT && steps <= c->dir_count + 1; steps++) {
		if (load_raw_inode(c->fs, ino, &inode) < 0 || !S_ISDIR(le32_get(inode.mode)))
			return false;
		ino = le64_get(inode.parent);
	}
	return ino == OBJECT_ROOT;
}

/* All names of the directory go, with their entries. */
static int unname(struct check *c, uint64_t ino)
{
	int r = 0;
	while (r == 0) {
		struct name name = { 0 }, other;
		struct key key = { 0 };
		REPAIR_OP(c, r, any_link(c->fs, ino, &key));
		if (r == -ENOENT)
			return 0;
		if (r == 0)
			r = load_name(c->fs, &key, &name);
		if (r < 0)
			return r;
		struct key entry = key_make(name.dir, ITEM_DIRENT, name.offset);
		if (r == 0 && load_name(c->fs, &entry, &other) == 0 && other.child == ino)
			REPAIR_OP(c, r, delete_item(c->fs, &entry));
		check_suspect(c, SUSPECT_OBJECT, name.dir, 0);
		if (r == 0)
			REPAIR_OP(c, r, delete_item(c->fs, &key));
	}
	return r;
}

int repair_unrooted(struct check *c, uint64_t ino)
{
	if (leads_up(c, ino))
		return 0;
	int r = unname(c, ino);
	if (r == 0)
		r = repair_found(c, ino);
	if (r == 0)
		repair_say(c, "Inode %llu: this directory was taken out of a circle.", (unsigned long long)ino);
	return r;
}
