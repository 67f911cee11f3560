/* Extended attributes.  See xattr.h for how they are kept. */
#include "fs/core.h"
#include "fs/data/data.h"
#include "fs/names/window.h"
#include "fs/names/xattr.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#define ITEM_BYTES_MAX (sizeof(struct xattr_item) + NAME_BYTES_MAX + XATTR_INLINE_MAX)
static_assert(ITEM_BYTES_MAX <= ITEM_VALUE_MAX, "an xattr fits an item");
static_assert(ACL_VALUE_MAX <= XATTR_INLINE_MAX, "an ACL is never a hidden object");

/* An item as found; what it points to is valid as the item is. */
struct xattr {
	struct key key;
	uint64_t object;
	uint32_t value_bytes;
	unsigned name_bytes;
	const char *name;
	const uint8_t *value;
};

bool xattr_item_valid(const void *value, unsigned bytes)
{
	const struct xattr_item *d = value;

	if (bytes <= sizeof *d || d->name_bytes == 0 || bytes < sizeof *d + d->name_bytes || memchr(d->name, 0, d->name_bytes))
		return false;
	unsigned inline_bytes = bytes - (unsigned)sizeof *d - d->name_bytes;
	return le64_get(d->object) ? inline_bytes == 0 && le32_get(d->value_bytes) <= XATTR_VALUE_MAX
		: inline_bytes == le32_get(d->value_bytes) && inline_bytes <= XATTR_INLINE_MAX;
}

static int xattr_of(struct fs *fs, const struct item *item, struct xattr *ret_xattr)
{
	const struct xattr_item *d = item->value;

	if (!xattr_item_valid(d, item->bytes)) {
		inode_unclean(fs, item->key.object, "an extended attribute makes no sense");
		return -EUCLEAN;
	}
	*ret_xattr = (struct xattr){ .key = item->key, .object = le64_get(d->object), .value_bytes = le32_get(d->value_bytes),
		.name_bytes = d->name_bytes, .name = d->name, .value = (const uint8_t *)d->name + d->name_bytes };
	return 0;
}

static int match_name(struct fs *fs, const struct item *item, const void *wanted)
{
	const char *name = wanted;
	struct xattr x;
	int r = xattr_of(fs, item, &x);

	if (r < 0)
		return r;
	return strlen(name) == x.name_bytes && !memcmp(name, x.name, x.name_bytes);
}

static int xattr_find(struct fs *fs, uint64_t ino, const char *name, struct xattr *ret_xattr, uint64_t *ret_free)
{
	struct item item;
	int r = window_find(fs, ino, ITEM_XATTR, window_hash(fs, name, strlen(name)), match_name, name, &item, ret_free);

	return r < 0 ? r : xattr_of(fs, &item, ret_xattr);
}

/* Puts the item: with the value, or with the hidden object that holds it. */
static int xattr_put(struct fs *fs, const struct key *key, const char *name, const void *value, size_t bytes, uint64_t object)
{
	uint8_t buf[ITEM_BYTES_MAX];
	struct xattr_item *d = (struct xattr_item *)buf;
	size_t name_bytes = strlen(name), value_bytes = object ? 0 : bytes;

	assert(name_bytes <= NAME_BYTES_MAX && value_bytes <= XATTR_INLINE_MAX);
	d->object = le64_put(object);
	d->value_bytes = le32_put((uint32_t)bytes);
	d->name_bytes = (uint8_t)name_bytes;
	memcpy(d->name, name, name_bytes);
	if (value_bytes)
		memcpy(d->name + name_bytes, value, value_bytes);
	return tree_put(fs, fs_file_tree(fs), key, d, (unsigned)(sizeof *d + name_bytes + value_bytes));
}

/* ---- ACLs ---- */

int xattr_acl_load(struct fs *fs, uint64_t ino, const char *name, struct xattr_acl *ret_acl)
{
	struct xattr_acl acl = { .name = name };
	struct xattr x;

	int r = xattr_find(fs, ino, name, &x, NULL);
	if (r == 0) {
		if (x.object || acl_parse(x.value, x.value_bytes, &acl.acl) < 0 || acl.acl.count == 0)
			return inode_unclean(fs, ino, "its ACL makes no sense");
		acl.found = true;
		acl.key = x.key;
	}
	if (r < 0 && r != -ENOENT)
		return r;
	*ret_acl = acl;
	return 0;
}

void xattr_acl_place(struct fs *fs, uint64_t ino, struct xattr_acl *access, struct xattr_acl *standard)
{
	access->name = XATTR_ACL_ACCESS;
	access->key = key_make(ino, ITEM_XATTR, window_hash(fs, XATTR_ACL_ACCESS, strlen(XATTR_ACL_ACCESS)));
	standard->name = XATTR_ACL_DEFAULT;
	standard->key = key_make(ino, ITEM_XATTR, window_hash(fs, XATTR_ACL_DEFAULT, strlen(XATTR_ACL_DEFAULT)));
	if (standard->key.offset == access->key.offset)
		standard->key.offset++;
}

int xattr_acl_prepare(struct fs *fs, const struct xattr_acl *acl)
{
	return tree_prepare(fs, fs_file_tree(fs), &acl->key);
}

int xattr_acl_put(struct fs *fs, const struct xattr_acl *acl)
{
	uint8_t value[ACL_VALUE_MAX];
	size_t bytes = acl_encode(&acl->acl, value);

	return xattr_put(fs, &acl->key, acl->name, value, bytes, 0);
}

/* ---- Setting ---- */

struct set {
	const char *name;
	const void *value;
	size_t bytes;
	int flags;
	uint64_t hidden;                 /* holds the value already, or 0 */
	/* Results of the operation: */
	uint64_t reap;                   /* hidden object of the old value, to be freed */
};

/* What setting an ACL changes about the inode.  *ret_drop: there is no need to keep it. */
static int set_acl(struct inode *inode, const struct set *set, bool *ret_drop)
{
	bool access = !strcmp(set->name, XATTR_ACL_ACCESS);
	struct acl acl;

	if (!access && strcmp(set->name, XATTR_ACL_DEFAULT))
		return 0;
	if (S_ISLNK(inode->mode))
		return -EOPNOTSUPP;
	int r = acl_parse(set->value, set->bytes, &acl);
	if (r < 0)
		return r;
	if (!access && acl.count > 0 && !S_ISDIR(inode->mode))
		return -EACCES;
	*ret_drop = acl.count == 0;
	if (access && acl.count > 0) {
		*ret_drop = acl_to_mode(&acl, &inode->mode);
		if (set->flags & FS_XATTR_KILL_SGID)
			inode->mode &= ~(uint32_t)S_ISGID;
	}
	return 0;
}

/* Prepares to take the object of a value away, which becomes an orphan. */
static int prepare_hidden(struct fs *fs, uint64_t hidden)
{
	return hidden ? orphan_prepare(fs, hidden) : 0;
}

static int put_hidden_orphan(struct fs *fs, uint64_t hidden, uint64_t *ret_reap)
{
	bool reap;
	int r = hidden ? orphan_put(fs, hidden, &reap) : 0;

	if (r == 0 && hidden && reap)
		*ret_reap = hidden;
	return r;
}

/* Looks up where it goes, and whether it may. */
static int set_find(struct fs *fs, uint64_t ino, const struct set *set, struct xattr *ret_old, bool *ret_exists)
{
	uint64_t free_offset;
	int r = xattr_find(fs, ino, set->name, ret_old, &free_offset);

	if (r < 0 && r != -ENOENT)
		return r;
	*ret_exists = r == 0;
	if (r == 0)
		return set->flags & XATTR_CREATE ? -EEXIST : 0;
	if (set->flags & XATTR_REPLACE)
		return -ENODATA;
	*ret_old = (struct xattr){ .key = key_make(ino, ITEM_XATTR, free_offset) };
	return free_offset ? 0 : -ENOSPC;
}

static int set_locked(struct fs *fs, uint64_t ino, struct set *set)
{
	bool exists = false, drop = false;
	struct inode inode;
	struct xattr old;

	int r = inode_load(fs, ino, &inode);
	if (r == 0 && inode.mode == 0)
		r = -ENOENT;
	if (r == 0)
		r = set_acl(&inode, set, &drop);
	if (r == 0)
		r = set_find(fs, ino, set, &old, &exists);
	if (r == 0)
		r = inode_prepare(fs, ino);
	if (r == 0)
		r = tree_prepare(fs, fs_file_tree(fs), &old.key);
	if (r == 0)
		r = prepare_hidden(fs, old.object);
	if (r == 0)
		r = prepare_hidden(fs, set->hidden);
	if (r < 0)
		return r;
	if (!drop)
		r = xattr_put(fs, &old.key, set->name, set->value, set->bytes, set->hidden);
	if (r == 0)
		r = put_hidden_orphan(fs, old.object, &set->reap);
	if (r == 0 && drop && exists)
		r = tree_delete(fs, fs_file_tree(fs), &old.key);
	if (r == 0 && set->hidden)
		r = orphan_delete(fs, set->hidden);
	inode.ctime_ns = fs_now_ns(fs);
	if (r == 0)
		r = inode_store(fs, &inode);
	return inode_changed(fs, r);
}

static int hidden_locked(struct fs *fs, uint64_t *ret_ino)
{
	struct inode inode;
	bool unreferred;

	inode_init(fs, 0, (struct fs_cred){ 0 }, &inode);
	int r = inode_prepare(fs, inode.ino);
	if (r == 0)
		r = orphan_prepare(fs, inode.ino);
	if (r == 0)
		r = inode_table_ref(fs, inode.ino);
	if (r < 0)
		return r;
	r = inode_create(fs, &inode);
	if (r == 0)
		r = orphan_put(fs, inode.ino, &unreferred);
	if (r == 0)
		*ret_ino = inode.ino;
	return inode_changed(fs, r);
}

/* A hidden object with the value: an orphan with one reference. */
static int hidden_new(struct fs *fs, const void *value, size_t bytes, uint64_t *ret_ino)
{
	struct op op;
	uint64_t ino = 0;

	int r = op_begin(fs, &op, OP_MODIFY, 0);
	if (r < 0)
		return r;
	do
		r = hidden_locked(fs, &ino);
	while (op_retry(&op, &r));
	op_end(&op);
	if (r < 0)
		return r;
	ssize_t n = fs_write(fs, ino, value, bytes, 0, false, NULL);
	if (n != (ssize_t)bytes) {
		fs_unref(fs, ino, 1);
		return n < 0 ? (int)n : -EIO;
	}
	*ret_ino = ino;
	return 0;
}

static int name_fits(const char *name)
{
	return name[0] && strlen(name) <= NAME_BYTES_MAX ? 0 : -ERANGE;
}

int fs_setxattr(struct fs *fs, uint64_t ino, const char *name, const void *value, size_t bytes, int flags)
{
	struct set set = { .name = name, .value = value, .bytes = bytes, .flags = flags };
	struct op op;

	int r = name_fits(name);
	if (r < 0)
		return r;
	if (flags & ~(XATTR_CREATE | XATTR_REPLACE | FS_XATTR_KILL_SGID))
		return -EINVAL;
	if (bytes > XATTR_VALUE_MAX)
		return -E2BIG;
	if (bytes > XATTR_INLINE_MAX && (!strcmp(name, XATTR_ACL_ACCESS) || !strcmp(name, XATTR_ACL_DEFAULT)))
		return -E2BIG;
	if (bytes > XATTR_INLINE_MAX) {
		r = hidden_new(fs, value, bytes, &set.hidden);
		if (r < 0)
			return r;
	}
	r = op_begin(fs, &op, OP_MODIFY, 0);
	if (r == 0) {
		do
			r = set_locked(fs, ino, &set);
		while (op_retry(&op, &r));
		op_end(&op);
	}
	if (set.hidden)
		fs_unref(fs, set.hidden, 1);
	if (set.reap)
		inode_reap(fs, set.reap);
	return r;
}

/* ---- Getting, listing, removing ---- */

/* Copies an inline value; for a hidden one, *ret_hidden is referred to, and the caller reads it. */
static ssize_t get_locked(struct fs *fs, uint64_t ino, const char *name, void *buf, size_t size_bytes, uint64_t *ret_hidden)
{
	struct inode inode;
	struct xattr x;

	int r = inode_load(fs, ino, &inode);
	if (r < 0)
		return r;
	r = xattr_find(fs, ino, name, &x, NULL);
	if (r < 0)
		return r == -ENOENT ? -ENODATA : r;
	if (size_bytes == 0)
		return x.value_bytes;
	if (x.value_bytes > size_bytes)
		return -ERANGE;
	if (x.object) {
		r = inode_table_ref(fs, x.object);
		if (r < 0)
			return r;
		*ret_hidden = x.object;
	} else if (x.value_bytes) {
		memcpy(buf, x.value, x.value_bytes);
	}
	return x.value_bytes;
}

ssize_t fs_getxattr(struct fs *fs, uint64_t ino, const char *name, void *buf, size_t size_bytes)
{
	uint64_t hidden = 0;
	ssize_t bytes = 0;
	struct op op;

	int r = name_fits(name);
	if (r < 0)
		return r;
	r = op_begin(fs, &op, OP_READ, 0);
	if (r < 0)
		return r;
	do {
		bytes = get_locked(fs, ino, name, buf, size_bytes, &hidden);
		r = bytes < 0 ? (int)bytes : 0;
	} while (op_retry(&op, &r));
	op_end(&op);
	if (r < 0 || !hidden)
		return r < 0 ? r : bytes;
	ssize_t n = fs_read(fs, hidden, buf, (size_t)bytes, 0);
	fs_unref(fs, hidden, 1);
	if (n >= 0 && n != bytes)
		return inode_unclean(fs, ino, "the value of an extended attribute has a wrong length");
	return n;
}

static ssize_t list_locked(struct fs *fs, uint64_t ino, char *buf, size_t size_bytes)
{
	struct key from = key_make(ino, ITEM_XATTR, 0), to = key_make(ino, ITEM_XATTR, UINT64_MAX);
	struct inode inode;
	struct item item;
	struct xattr x;
	size_t bytes = 0;

	int r = inode_load(fs, ino, &inode);
	if (r < 0)
		return r;
	while ((r = tree_next(fs, fs_file_tree(fs), &from, &to, &item)) == 0) {
		r = xattr_of(fs, &item, &x);
		if (r < 0)
			return r;
		if (size_bytes && bytes + x.name_bytes + 1 > size_bytes)
			return -ERANGE;
		if (size_bytes) {
			memcpy(buf + bytes, x.name, x.name_bytes);
			buf[bytes + x.name_bytes] = 0;
		}
		bytes += x.name_bytes + 1;
		if (item.key.offset == UINT64_MAX)
			break;
		from.offset = item.key.offset + 1;
	}
	return r < 0 && r != -ENOENT ? r : (ssize_t)bytes;
}

ssize_t fs_listxattr(struct fs *fs, uint64_t ino, char *buf, size_t size_bytes)
{
	ssize_t bytes = 0;
	struct op op;

	int r = op_begin(fs, &op, OP_READ, 0);
	if (r < 0)
		return r;
	do {
		bytes = list_locked(fs, ino, buf, size_bytes);
		r = bytes < 0 ? (int)bytes : 0;
	} while (op_retry(&op, &r));
	op_end(&op);
	return r < 0 ? r : bytes;
}

/* Deletes the item found and makes an orphan of its hidden object. */
static int remove_found(struct fs *fs, const struct xattr *found, uint64_t *ret_reap)
{
	struct xattr x = *found;
	int r = tree_prepare(fs, fs_file_tree(fs), &x.key);

	if (r == 0)
		r = prepare_hidden(fs, x.object);
	if (r < 0)
		return r;
	r = put_hidden_orphan(fs, x.object, ret_reap);
	if (r == 0)
		r = tree_delete(fs, fs_file_tree(fs), &x.key);
	return inode_changed(fs, r);
}

static int remove_locked(struct fs *fs, uint64_t ino, const char *name, uint64_t *ret_reap)
{
	struct inode inode;
	struct xattr x;

	int r = inode_load(fs, ino, &inode);
	if (r < 0)
		return r;
	r = xattr_find(fs, ino, name, &x, NULL);
	if (r < 0)
		return r == -ENOENT ? -ENODATA : r;
	r = inode_prepare(fs, ino);
	if (r == 0)
		r = remove_found(fs, &x, ret_reap);
	if (r < 0)
		return r;
	inode.ctime_ns = fs_now_ns(fs);
	return inode_changed(fs, inode_store(fs, &inode));
}

int fs_removexattr(struct fs *fs, uint64_t ino, const char *name)
{
	uint64_t hidden = 0;
	struct op op;

	int r = name_fits(name);
	if (r == 0)
		r = op_begin(fs, &op, OP_FREE, 0);
	if (r < 0)
		return r;
	do
		r = remove_locked(fs, ino, name, &hidden);
	while (op_retry(&op, &r));
	op_end(&op);
	if (hidden)
		inode_reap(fs, hidden);
	return r;
}

int xattr_remove_one(struct fs *fs, uint64_t ino, uint64_t *ret_hidden)
{
	struct key from = key_make(ino, ITEM_XATTR, 0), to = key_make(ino, ITEM_XATTR, UINT64_MAX);
	struct item item;
	struct xattr x;

	int r = tree_next(fs, fs_file_tree(fs), &from, &to, &item);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	r = xattr_of(fs, &item, &x);
	if (r == 0)
		r = remove_found(fs, &x, ret_hidden);
	return r < 0 ? r : 1;
}
