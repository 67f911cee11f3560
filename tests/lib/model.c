/* See model.h. */
#include "tests/lib/model.h"
#include "tests/lib/simstore.h"

#include <dirent.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define COMPARE_BYTES_MAX (64u << 20)

struct blob *blob_new(size_t bytes)
{
	struct blob *blob = sim_alloc(sizeof *blob + bytes);
	memset(blob->data, 0, bytes);
	blob->refs = 1;
	blob->bytes = bytes;
	return blob;
}

struct blob *blob_ref(struct blob *blob)
{
	if (blob)
		blob->refs++;
	return blob;
}

void blob_unref(struct blob *blob)
{
	if (blob && --blob->refs == 0)
		free(blob);
}

void model_init(struct model *model)
{
	memset(model, 0, sizeof *model);
	model->inodes[MODEL_ROOT] = (struct model_inode){ .ino = 1, .mode = S_IFDIR | 0755, .links = 2, .parent = MODEL_ROOT };
}

void model_free(struct model *model)
{
	for (unsigned i = 0; i < MODEL_INODES; i++) {
		blob_unref(model->inodes[i].data);
		for (unsigned k = 0; k < MODEL_XATTRS; k++)
			blob_unref(model->inodes[i].xattrs[k].value);
	}
	memset(model, 0, sizeof *model);
}

void model_copy(struct model *ret_copy, const struct model *model)
{
	memcpy(ret_copy, model, sizeof *model);
	for (unsigned i = 0; i < MODEL_INODES; i++) {
		blob_ref(model->inodes[i].data);
		for (unsigned k = 0; k < MODEL_XATTRS; k++)
			blob_ref(model->inodes[i].xattrs[k].value);
	}
}

int model_free_slot(const struct model *model)
{
	for (unsigned i = 0; i < MODEL_INODES; i++)
		if (model->inodes[i].ino == 0)
			return (int)i;
	return -1;
}

int model_free_name(const struct model *model)
{
	for (unsigned i = 0; i < MODEL_NAMES; i++)
		if (!model->names[i].name)
			return (int)i;
	return -1;
}

int model_find(const struct model *model, int dir, const char *name)
{
	for (unsigned i = 0; i < MODEL_NAMES; i++)
		if (model->names[i].name && model->names[i].dir == dir && !strcmp(model->names[i].name, name))
			return (int)i;
	return -1;
}

bool model_is_dir(const struct model *model, int slot) { return S_ISDIR(model->inodes[slot].mode); }

bool model_dir_empty(const struct model *model, int dir)
{
	for (unsigned i = 0; i < MODEL_NAMES; i++)
		if (model->names[i].name && model->names[i].dir == dir)
			return false;
	return true;
}

bool model_is_above(const struct model *model, int above, int slot)
{
	while (slot != above) {
		if (slot == MODEL_ROOT)
			return false;
		slot = model->inodes[slot].parent;
	}
	return true;
}

struct blob *model_own_data(struct model_inode *inode, size_t bytes)
{
	struct blob *old = inode->data, *new;
	if (old && old->refs == 1 && old->bytes == bytes)
		return old;
	new = blob_new(bytes);
	if (old)
		memcpy(new->data, old->data, old->bytes < bytes ? old->bytes : bytes);
	blob_unref(old);
	return inode->data = new;
}

void model_reap(struct model *model, int slot)
{
	struct model_inode *inode = &model->inodes[slot];
	if (inode->links > 0 || inode->refs > 0)
		return;
	blob_unref(inode->data);
	for (unsigned k = 0; k < MODEL_XATTRS; k++)
		blob_unref(inode->xattrs[k].value);
	memset(inode, 0, sizeof *inode);
}

void model_forget_refs(struct model *model)
{
	for (unsigned i = 0; i < MODEL_INODES; i++)
		if (model->inodes[i].ino) {
			model->inodes[i].refs = 0;
			model_reap(model, (int)i);
		}
}

/* ---- Comparing ---- */

struct compare {
	const struct model *model;
	struct fs *fs;
	int dir;                         /* being listed */
	unsigned listed;
	bool differs;
	char *why;
	size_t why_bytes;
	model_data_check data;           /* may be NULL */
	void *data_ctx;
};

static void differ(struct compare *c, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void differ(struct compare *c, const char *format, ...)
{
	va_list args;
	if (c->differs)
		return;
	va_start(args, format);
	vsnprintf(c->why, c->why_bytes, format, args);
	va_end(args);
	c->differs = true;
}

static bool compare_entry(void *ctx, const struct fs_dirent *entry)
{
	struct compare *c = ctx;
	unsigned long long dir = c->model->inodes[c->dir].ino;
	if (!strcmp(entry->name, ".") || !strcmp(entry->name, ".."))
		return true;
	int i = model_find(c->model, c->dir, entry->name);
	if (i < 0) {
		differ(c, "directory %llu has \"%.40s\", which should not be there", dir, entry->name);
		return false;
	}
	const struct model_inode *child = &c->model->inodes[c->model->names[i].child];
	if (entry->ino != child->ino || entry->type != IFTODT(child->mode) || entry->attr.ino != child->ino)
		differ(c, "directory %llu: \"%.40s\" is inode %llu, not %llu", dir, entry->name, (unsigned long long)entry->ino,
			(unsigned long long)child->ino);
	c->listed++;
	return !c->differs;
}

static void compare_dir(struct compare *c, int dir)
{
	const struct model_inode *d = &c->model->inodes[dir];
	unsigned expected = 0;
	c->dir = dir;
	c->listed = 0;
	int r = fs_readdir(c->fs, d->ino, 0, true, compare_entry, c);
	for (unsigned i = 0; i < MODEL_NAMES; i++)
		if (c->model->names[i].name && c->model->names[i].dir == dir) {
			const struct model_name *name = &c->model->names[i];
			struct fs_attr attr;
			expected++;
			int e = fs_lookup(c->fs, d->ino, name->name, &attr);
			if (e < 0 || attr.ino != c->model->inodes[name->child].ino)
				differ(c, "lookup of \"%.40s\" in %llu gives error %d", name->name, (unsigned long long)d->ino, -e);
		}
	if (r < 0 || c->listed != expected)
		differ(c, "directory %llu lists %u entries of %u (error %d)", (unsigned long long)d->ino, c->listed, expected, r < 0 ? -r : 0);
}

static void compare_data(struct compare *c, const struct model_inode *i)
{
	const struct blob *blob = i->data;
	size_t bytes = blob ? blob->bytes : 0;
	uint8_t *buf = sim_alloc(bytes + 4096);
	memset(buf, 0xee, bytes + 4096);
	ssize_t n = fs_read(c->fs, i->ino, buf, bytes + 4096, 0);
	if (n != (ssize_t)bytes)
		differ(c, "inode %llu: reading gives %zd, not %zu bytes", (unsigned long long)i->ino, n, bytes);
	for (size_t at = 0; n == (ssize_t)bytes && at < bytes; at++)
		if (buf[at] != blob->data[at]) {
			differ(c, "inode %llu: byte %zu of %zu is %02x, not %02x", (unsigned long long)i->ino, at, bytes, buf[at], blob->data[at]);
			break;
		}
	free(buf);
}

static void check_data(struct compare *c, int slot, uint64_t size_bytes)
{
	if (size_bytes > COMPARE_BYTES_MAX) {
		differ(c, "inode %llu is %llu bytes long", (unsigned long long)c->model->inodes[slot].ino, (unsigned long long)size_bytes);
		return;
	}
	uint8_t *buf = sim_alloc(size_bytes + 1);
	ssize_t n = fs_read(c->fs, c->model->inodes[slot].ino, buf, size_bytes + 1, 0);
	if (n != (ssize_t)size_bytes)
		differ(c, "inode %llu: reading gives %zd, not %llu bytes", (unsigned long long)c->model->inodes[slot].ino, n,
			(unsigned long long)size_bytes);
	else if (!c->data(c->data_ctx, slot, buf, size_bytes, c->why, c->why_bytes))
		c->differs = true;
	free(buf);
}

static void compare_xattrs(struct compare *c, const struct model_inode *i)
{
	char list[MODEL_XATTRS * 256];
	static const unsigned most = 65536;
	uint8_t *buf = sim_alloc(most);
	size_t expected = 0;
	for (unsigned k = 0; k < MODEL_XATTRS; k++) {
		const struct model_xattr *x = &i->xattrs[k];
		if (!x->name)
			continue;
		expected += strlen(x->name) + 1;
		ssize_t n = fs_getxattr(c->fs, i->ino, x->name, buf, most);
		if (n != (ssize_t)x->value->bytes || memcmp(buf, x->value->data, (size_t)n))
			differ(c, "inode %llu: xattr %s differs (%zd, not %zu bytes)", (unsigned long long)i->ino, x->name, n, x->value->bytes);
	}
	ssize_t n = fs_listxattr(c->fs, i->ino, list, sizeof list);
	if (n != (ssize_t)expected)
		differ(c, "inode %llu: the list of xattrs has %zd, not %zu bytes", (unsigned long long)i->ino, n, expected);
	free(buf);
}

static void compare_inode(struct compare *c, int slot)
{
	const struct model_inode *i = &c->model->inodes[slot];
	bool dir = S_ISDIR(i->mode), link = S_ISLNK(i->mode);
	struct fs_attr a;
	int r = fs_getattr(c->fs, i->ino, &a);
	if (r < 0) {
		differ(c, "inode %llu: getattr gives error %d", (unsigned long long)i->ino, -r);
		return;
	}
	if (a.mode != i->mode || a.uid != i->uid || a.gid != i->gid || a.links != i->links || a.rdev != i->rdev)
		differ(c, "inode %llu: mode %o %u:%u, %u links, device %llu; not %o %u:%u, %u links, device %llu", (unsigned long long)i->ino,
			a.mode, a.uid, a.gid, a.links, (unsigned long long)a.rdev, i->mode, i->uid, i->gid, i->links, (unsigned long long)i->rdev);
	if (i->mtime_known && a.mtime_ns != i->mtime_ns)
		differ(c, "inode %llu: the mtime that was set is lost", (unsigned long long)i->ino);
	if (!dir && !(c->data && S_ISREG(i->mode)) && a.size_bytes != (i->data ? i->data->bytes : 0))
		differ(c, "inode %llu: %llu bytes long, not %zu", (unsigned long long)i->ino, (unsigned long long)a.size_bytes,
			i->data ? i->data->bytes : 0);
	if (dir)
		compare_dir(c, slot);
	else if (S_ISREG(i->mode) && c->data)
		check_data(c, slot, a.size_bytes);
	else if (S_ISREG(i->mode))
		compare_data(c, i);
	else if (link) {
		char target[5000];
		r = fs_readlink(c->fs, i->ino, target, sizeof target);
		if (r < 0 || strlen(target) != i->data->bytes || memcmp(target, i->data->data, i->data->bytes))
			differ(c, "inode %llu: the symlink's target differs (error %d)", (unsigned long long)i->ino, -r);
	}
	if (!link)
		compare_xattrs(c, i);
}

bool model_compare_but_data(const struct model *model, struct fs *fs, model_data_check data, void *ctx, char *why, size_t why_bytes)
{
	struct compare c = { .model = model, .fs = fs, .why = why, .why_bytes = why_bytes, .data = data, .data_ctx = ctx };
	for (unsigned i = 0; i < MODEL_INODES && !c.differs; i++)
		if (model->inodes[i].ino)
			compare_inode(&c, (int)i);
	return !c.differs;
}

bool model_compare(const struct model *model, struct fs *fs, char *why, size_t why_bytes)
{
	return model_compare_but_data(model, fs, NULL, NULL, why, why_bytes);
}
