/* Operations on paths, done on the filesystem and on the model alike.  See power.h. */
#include "tests/sim/power.h"
#include "fs/space/place.h"

#include <errno.h>
#include <linux/falloc.h>
#include <string.h>
#include <sys/stat.h>

#define XATTR_NAME "user." POWER_MARK "x"

/* ---- Paths ---- */

/* Slot of the directory, and the last part of the path. */
static int resolve_parent(const struct model *m, const char *path, const char **ret_name)
{
	const char *slash = strchr(path, '/');
	char first[64];
	*ret_name = path;
	if (!slash)
		return MODEL_ROOT;
	snprintf(first, sizeof first, "%.*s", (int)(slash - path), path);
	int i = model_find(m, MODEL_ROOT, first);
	*ret_name = slash + 1;
	return i >= 0 && model_is_dir(m, m->names[i].child) ? m->names[i].child : -1;
}

static int find_name(const struct model *m, const char *path)
{
	const char *name;
	int dir = resolve_parent(m, path, &name);
	return dir < 0 ? -1 : model_find(m, dir, name);
}

int power_resolve(const struct model *m, const char *path)
{
	if (!*path)
		return MODEL_ROOT;
	int i = find_name(m, path);
	return i < 0 ? -1 : m->names[i].child;
}

static bool is_file(const struct model *m, int slot) { return slot >= 0 && S_ISREG(m->inodes[slot].mode); }

static bool can_add(const struct model *m, const char *path)
{
	const char *name;
	return find_name(m, path) < 0 && resolve_parent(m, path, &name) >= 0 && model_free_slot(m) >= 0 && model_free_name(m) >= 0;
}

static bool can_rename(const struct model *m, const struct power_op *op)
{
	const char *name;
	int from = power_resolve(m, op->path), to = power_resolve(m, op->path2), to_dir = resolve_parent(m, op->path2, &name);
	if (from < 0 || to_dir < 0 || from == to || (model_is_dir(m, from) && model_is_above(m, from, to_dir)))
		return false;
	if (op->kind == P_EXCHANGE) {
		int from_dir = resolve_parent(m, op->path, &name);
		return to >= 0 && !(model_is_dir(m, to) && model_is_above(m, to, from_dir));
	}
	if (to < 0)
		return true;
	return model_is_dir(m, from) == model_is_dir(m, to) && (!model_is_dir(m, to) || model_dir_empty(m, to));
}

bool power_applies(const struct model *m, const struct power_op *op)
{
	int slot = power_resolve(m, op->path ? op->path : "");
	switch (op->kind) {
	case P_CREATE:
	case P_MKDIR:
	case P_SYMLINK:
		return can_add(m, op->path);
	case P_RENAME:
	case P_EXCHANGE:
		return can_rename(m, op);
	case P_LINK:
		return slot >= 0 && !model_is_dir(m, slot) && can_add(m, op->path2);
	case P_UNLINK:
		return slot >= 0 && !model_is_dir(m, slot);
	case P_RMDIR:
		return slot > MODEL_ROOT && model_is_dir(m, slot) && model_dir_empty(m, slot);
	case P_CHMOD:
	case P_TIMES:
	case P_FSYNC:
		return slot >= 0;
	case P_SETXATTR:
		return slot >= 0 && !S_ISLNK(m->inodes[slot].mode);
	case P_REMOVEXATTR:
		return slot >= 0 && m->inodes[slot].xattrs[0].name;
	case P_REF:
		return is_file(m, slot);
	case P_NONE:
	case P_UNREF:
	case P_SYNC:
	case P_WORK:
	case P_PLACE:
		return true;
	default:
		return is_file(m, slot);
	}
}

/* ---- Names on the model ---- */

static void add_name(struct model *m, int dir, const char *name, int child)
{
	m->names[model_free_name(m)] = (struct model_name){ dir, child, name };
	if (model_is_dir(m, child)) {
		m->inodes[dir].links++;
		m->inodes[child].parent = dir;
	}
	m->inodes[dir].mtime_known = false;
}

static int remove_name(struct model *m, int i)
{
	struct model_name n = m->names[i];
	m->names[i].name = NULL;
	if (model_is_dir(m, n.child))
		m->inodes[n.dir].links--;
	m->inodes[n.dir].mtime_known = false;
	return n.child;
}

static void drop_link(struct model *m, int slot)
{
	struct model_inode *i = &m->inodes[slot];
	i->links = S_ISDIR(i->mode) ? 0 : i->links - 1;
	model_reap(m, slot);
}

/* ---- Doing it ---- */

/* Bytes that tell where and by whom they were written, with the mark in each 128. */
static void fill(uint8_t *data, uint64_t at, size_t bytes, unsigned salt)
{
	static const char mark[] = POWER_MARK;
	for (size_t k = 0; k < bytes; k++) {
		uint64_t place = at + k;
		data[k] = place % 128 < 8 ? (uint8_t)mark[place % 128] : (uint8_t)((place * 31 + place / 251) ^ (salt * 37 + 11));
	}
}

static void fill_text(char *text, size_t bytes, unsigned salt)
{
	memset(text, 'a' + (int)(salt % 26), bytes);
	memcpy(text, POWER_MARK, 8);
	text[bytes] = 0;
}

static int make(struct model *m, struct fs *fs, const struct power_op *op, unsigned salt)
{
	static const struct fs_cred cred;
	const char *name;
	char target[4096];
	int dir = resolve_parent(m, op->path, &name), slot = model_free_slot(m), r;
	uint32_t mode = op->kind == P_CREATE ? S_IFREG | 0644 : op->kind == P_MKDIR ? S_IFDIR | 0755 : S_IFLNK | 0777;
	struct fs_attr attr;
	if (op->kind == P_SYMLINK) {
		fill_text(target, op->bytes, salt);
		r = fs_symlink(fs, m->inodes[dir].ino, name, target, cred, &attr);
	} else
		r = fs_mknod(fs, m->inodes[dir].ino, name, mode, 0, cred, &attr);
	if (r < 0)
		return r;
	struct model_inode *i = &m->inodes[slot];
	*i = (struct model_inode){ .ino = attr.ino, .mode = mode, .links = S_ISDIR(mode) ? 2 : 1 };
	if (op->kind == P_SYMLINK)
		memcpy(model_own_data(i, op->bytes)->data, target, op->bytes);
	else if (op->kind == P_CREATE)
		model_own_data(i, 0);
	add_name(m, dir, name, slot);
	return 0;
}

static int rename_it(struct model *m, struct fs *fs, const struct power_op *op)
{
	const char *name, *new_name;
	int dir = resolve_parent(m, op->path, &name), new_dir = resolve_parent(m, op->path2, &new_name);
	int r = fs_rename(fs, m->inodes[dir].ino, name, m->inodes[new_dir].ino, new_name, op->kind == P_EXCHANGE ? 2 : 0);
	if (r < 0)
		return r;
	int target = find_name(m, op->path2), replaced = -1;
	if (target >= 0)
		replaced = remove_name(m, target);
	int child = remove_name(m, model_find(m, dir, name));
	add_name(m, new_dir, new_name, child);
	if (op->kind == P_EXCHANGE)
		add_name(m, dir, name, replaced);
	else if (replaced >= 0)
		drop_link(m, replaced);
	return 0;
}

static int remove_it(struct model *m, struct fs *fs, const struct power_op *op)
{
	const char *name;
	int dir = resolve_parent(m, op->path, &name);
	uint64_t ino = m->inodes[dir].ino;
	int r = op->kind == P_RMDIR ? fs_rmdir(fs, ino, name) : fs_unlink(fs, ino, name);
	if (r == 0)
		drop_link(m, remove_name(m, model_find(m, dir, name)));
	return r;
}

static int write_it(struct model_inode *i, struct fs *fs, const struct power_op *op, unsigned salt)
{
	size_t size = i->data->bytes, end = op->at + op->bytes;
	uint8_t *data = sim_alloc(op->bytes);
	fill(data, op->at, op->bytes, salt);
	ssize_t n = simfs_write_buffer(fs, i->ino, data, op->bytes, op->at);
	if (n == (ssize_t)op->bytes)
		memcpy(model_own_data(i, end > size ? end : size)->data + op->at, data, op->bytes);
	free(data);
	i->mtime_known = false;
	return n == (ssize_t)op->bytes ? 0 : n < 0 ? (int)n : -ENOSPC;
}

static int allocate_it(struct model_inode *i, struct fs *fs, const struct power_op *op)
{
	bool keeps = op->kind == P_PUNCH || op->kind == P_ZERO_KEEP || op->kind == P_RESERVE;
	bool zeros = op->kind == P_ZERO || op->kind == P_ZERO_KEEP;
	int mode = (op->kind == P_PUNCH ? FALLOC_FL_PUNCH_HOLE : zeros ? FALLOC_FL_ZERO_RANGE : 0) | (keeps ? FALLOC_FL_KEEP_SIZE : 0);
	int r = fs_fallocate(fs, i->ino, mode, op->at, op->bytes);
	if (r < 0)
		return r;
	size_t size = i->data->bytes, end = op->at + op->bytes;
	struct blob *blob = model_own_data(i, !keeps && end > size ? end : size);
	if (mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE) && op->at < blob->bytes)
		memset(blob->data + op->at, 0, (end < blob->bytes ? end : blob->bytes) - op->at);
	i->mtime_known = false;
	return 0;
}

static int set_attributes(struct model_inode *i, struct fs *fs, const struct power_op *op, unsigned salt)
{
	struct fs_attr attr = { .mode = 0600 + salt % 64, .size_bytes = op->bytes, .mtime_ns = 1000000007 * (int64_t)(salt + 1) }, after;
	unsigned set = op->kind == P_CHMOD ? FS_SET_MODE : op->kind == P_TIMES ? FS_SET_MTIME : FS_SET_SIZE;
	int r = fs_setattr(fs, i->ino, &attr, set, &after);
	if (r < 0)
		return r;
	if (op->kind == P_CHMOD)
		i->mode = (i->mode & S_IFMT) | attr.mode;
	else if (op->kind == P_TIMES) {
		i->mtime_known = true;
		i->mtime_ns = attr.mtime_ns;
	} else {
		model_own_data(i, op->bytes);
		i->mtime_known = false;
	}
	return 0;
}

static int set_xattr(struct model_inode *i, struct fs *fs, const struct power_op *op, unsigned salt)
{
	if (op->kind == P_REMOVEXATTR) {
		int r = fs_removexattr(fs, i->ino, XATTR_NAME);
		if (r == 0) {
			blob_unref(i->xattrs[0].value);
			i->xattrs[0] = (struct model_xattr){ 0 };
		}
		return r;
	}
	struct blob *value = blob_new(op->bytes);
	fill(value->data, 0, op->bytes, salt);
	int r = fs_setxattr(fs, i->ino, XATTR_NAME, value->data, op->bytes, 0);
	if (r < 0) {
		blob_unref(value);
		return r;
	}
	blob_unref(i->xattrs[0].value);
	i->xattrs[0] = (struct model_xattr){ XATTR_NAME, value };
	return 0;
}

/* Gives all references back. */
static void unref_all(struct model *m, struct fs *fs)
{
	for (int slot = 0; slot < (int)MODEL_INODES; slot++) {
		struct model_inode *i = &m->inodes[slot];
		if (!i->refs)
			continue;
		fs_unref(fs, i->ino, i->refs);
		i->refs = 0;
		model_reap(m, slot);
	}
}

int power_apply(struct model *m, struct fs *fs, const struct power_op *op, unsigned salt)
{
	int slot = power_resolve(m, op->path ? op->path : ""), r = 0;
	struct model_inode *i = slot >= 0 ? &m->inodes[slot] : NULL;
	const char *name;
	struct fs_attr attr;
	switch (op->kind) {
	case P_NONE:
		return 0;
	case P_CREATE:
	case P_MKDIR:
	case P_SYMLINK:
		return make(m, fs, op, salt);
	case P_WRITE:
		return write_it(i, fs, op, salt);
	case P_TRUNCATE:
	case P_CHMOD:
	case P_TIMES:
		return set_attributes(i, fs, op, salt);
	case P_PUNCH:
	case P_ZERO:
	case P_ZERO_KEEP:
	case P_RESERVE:
	case P_EXTEND:
		return allocate_it(i, fs, op);
	case P_RENAME:
	case P_EXCHANGE:
		return rename_it(m, fs, op);
	case P_LINK: {
		int dir = resolve_parent(m, op->path2, &name);
		r = fs_link(fs, i->ino, m->inodes[dir].ino, name, &attr);
		if (r == 0) {
			i->links++;
			add_name(m, dir, name, slot);
		}
		return r;
	}
	case P_UNLINK:
	case P_RMDIR:
		return remove_it(m, fs, op);
	case P_SETXATTR:
	case P_REMOVEXATTR:
		return set_xattr(i, fs, op, salt);
	case P_REF:
		r = fs_ref(fs, i->ino);
		i->refs += r == 0;
		return r;
	case P_UNREF:
		unref_all(m, fs);
		return 0;
	case P_FSYNC:
		return fs_fsync(fs, i->ino, false);
	case P_SYNC:
		return fs_sync(fs);
	case P_WORK:
		r = fs_work(fs);
		return r < 0 ? r : 0;
	case P_PLACE:
		return place_early(fs, op->bytes);
	}
	return -EINVAL;
}

/* The path without the marks. */
static void add_path(char *text, size_t bytes, const char *path)
{
	size_t used = strlen(text);
	for (const char *p = path; *p && used + 2 < bytes; p++) {
		if (!strncmp(p, POWER_MARK, strlen(POWER_MARK)))
			p += strlen(POWER_MARK);
		text[used++] = *p;
	}
	text[used] = 0;
}

void power_op_text(const struct power_op *op, char *text, size_t bytes)
{
	static const char *const names[] = { "none", "create", "mkdir", "symlink", "write", "truncate", "punch", "zero", "zero_keep",
		"reserve", "extend", "rename", "exchange", "link", "unlink", "rmdir", "setxattr", "removexattr", "chmod", "times", "ref",
		"unref", "fsync", "sync", "work", "place" };
	bool two = op->kind == P_RENAME || op->kind == P_EXCHANGE || op->kind == P_LINK;
	snprintf(text, bytes, "%s(", names[op->kind]);
	if (op->kind < P_UNREF || op->kind == P_FSYNC)
		add_path(text, bytes, *op->path ? op->path : ".");
	if (two) {
		snprintf(text + strlen(text), bytes - strlen(text), " to ");
		add_path(text, bytes, op->path2);
	} else if (op->kind >= P_SYMLINK && op->kind <= P_EXTEND)
		snprintf(text + strlen(text), bytes - strlen(text), " %llu+%llu", (unsigned long long)op->at, (unsigned long long)op->bytes);
	snprintf(text + strlen(text), bytes - strlen(text), ")");
}
