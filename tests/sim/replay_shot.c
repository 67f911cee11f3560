/* Shots: a listing of a tree as text, one line for each name and xattr, and the content of its files.  See replay.h.
 *
 * The oracle is the filesystem itself before the loss of power, not a model (tests/lib/model.h): so that what a model does not
 * know, such as blocks, times and generations, is compared too. */
#include "tests/sim/replay.h"
#include "fs/format.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define ENTRIES_MAX 64u
#define FILES_MAX 256u
#define PATH_BYTES 256u
#define NAMES_BYTES 1024u
#define VALUE_BYTES_MAX 65536u
#define TARGET_BYTES_MAX 4096u

struct content { uint64_t ino, bytes; uint8_t *data; };

struct shot {
	struct fs *fs;
	uint64_t only;
	char *text;
	size_t bytes, room;
	struct content files[FILES_MAX];
	unsigned file_count;
};

struct entry { char name[64]; uint64_t ino; };
struct entries { struct entry list[ENTRIES_MAX]; unsigned count; };

static void line(struct shot *shot, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void line(struct shot *shot, const char *format, ...)
{
	char text[PATH_BYTES + 300];
	va_list args;
	va_start(args, format);
	size_t bytes = (size_t)vsnprintf(text, sizeof text, format, args);
	va_end(args);
	assert(bytes < sizeof text);
	if (shot->bytes + bytes + 1 > shot->room) {
		shot->room = 2 * (shot->bytes + bytes + 1);
		shot->text = realloc(shot->text, shot->room);
		assert(shot->text);
	}
	memcpy(shot->text + shot->bytes, text, bytes + 1);
	shot->bytes += bytes;
}

/* FNV-1a. */
static unsigned sum_of(const void *bytes, size_t count)
{
	const uint8_t *p = bytes;
	uint32_t sum = 2166136261u;
	for (size_t i = 0; i < count; i++)
		sum = (sum ^ p[i]) * 16777619u;
	return sum;
}

static bool add_entry(void *ctx, const struct fs_dirent *dirent)
{
	struct entries *entries = ctx;
	if (!strcmp(dirent->name, ".") || !strcmp(dirent->name, ".."))
		return true;
	assert(entries->count < ENTRIES_MAX && strlen(dirent->name) < sizeof entries->list[0].name);
	struct entry *entry = &entries->list[entries->count++];
	snprintf(entry->name, sizeof entry->name, "%s", dirent->name);
	entry->ino = dirent->ino;
	return true;
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(((const struct entry *)a)->name, ((const struct entry *)b)->name);
}

static struct content *content_of(const struct shot *shot, uint64_t ino)
{
	for (unsigned i = 0; i < shot->file_count; i++)
		if (shot->files[i].ino == ino)
			return (struct content *)&shot->files[i];
	return NULL;
}

/* Returns what fs_read gives. */
static ssize_t keep_content(struct shot *shot, const struct fs_attr *attr)
{
	uint8_t *data = sim_alloc(attr->size_bytes + 1);
	ssize_t bytes = fs_read(shot->fs, attr->ino, data, attr->size_bytes, 0);
	if (bytes < 0 || content_of(shot, attr->ino)) {
		free(data);
		return bytes;
	}
	assert(shot->file_count < FILES_MAX);
	shot->files[shot->file_count++] = (struct content){ attr->ino, (uint64_t)bytes, data };
	return bytes;
}

static void add_xattrs(struct shot *shot, uint64_t ino)
{
	static uint8_t value[VALUE_BYTES_MAX];
	char names[NAMES_BYTES];
	ssize_t bytes = fs_listxattr(shot->fs, ino, names, sizeof names);
	if (bytes < 0)
		line(shot, "  xattrs: error %zd\n", -bytes);
	for (const char *name = names; name < names + bytes; name += strlen(name) + 1) {
		ssize_t got = fs_getxattr(shot->fs, ino, name, value, sizeof value);
		line(shot, "  %s: %zd bytes, sum %x\n", name, got, got > 0 ? sum_of(value, (size_t)got) : 0);
	}
}

/* The content of a file or symlink, as its size and sum. */
static void add_content(struct shot *shot, const struct fs_attr *attr)
{
	char target[TARGET_BYTES_MAX];
	if (S_ISLNK(attr->mode)) {
		int r = fs_readlink(shot->fs, attr->ino, target, sizeof target);
		line(shot, "  target: %d, sum %x\n", r, r == 0 ? sum_of(target, strlen(target)) : 0);
	}
	if (!S_ISREG(attr->mode))
		return;
	ssize_t bytes = keep_content(shot, attr);
	const struct content *content = content_of(shot, attr->ino);
	if (bytes < 0)
		line(shot, "  reading: error %zd\n", -bytes);
	else if (!shot->only || shot->only == attr->ino)
		line(shot, "  size %llu blocks %llu read %zd sum %x\n", (unsigned long long)attr->size_bytes,
			(unsigned long long)attr->blocks, bytes, sum_of(content->data, content->bytes));
}

static void add_object(struct shot *shot, uint64_t ino, const char *path);

static void add_entries(struct shot *shot, uint64_t dir, const char *path)
{
	struct entries *entries = sim_alloc(sizeof *entries);
	char below[PATH_BYTES];
	entries->count = 0;
	int r = fs_readdir(shot->fs, dir, 0, false, add_entry, entries);
	if (r < 0)
		line(shot, "  listing: error %d\n", -r);
	qsort(entries->list, entries->count, sizeof entries->list[0], compare_names);
	for (unsigned i = 0; i < entries->count; i++) {
		snprintf(below, sizeof below, "%s/%s", path, entries->list[i].name);
		add_object(shot, entries->list[i].ino, below);
	}
	free(entries);
}

static void add_object(struct shot *shot, uint64_t ino, const char *path)
{
	struct fs_attr attr;
	int r = fs_getattr(shot->fs, ino, &attr);
	if (r < 0) {
		line(shot, "%s: error %d\n", path, -r);
		return;
	}
	line(shot, "%s: ino %llu mode %o links %u uid %u generation %u mtime %lld ctime %lld\n", path, (unsigned long long)ino, attr.mode,
		attr.links, attr.uid, attr.generation, (long long)attr.mtime_ns, (long long)attr.ctime_ns);
	add_content(shot, &attr);
	add_xattrs(shot, ino);
	if (S_ISDIR(attr.mode)) {
		line(shot, "  size %llu blocks %llu\n", (unsigned long long)attr.size_bytes, (unsigned long long)attr.blocks);
		add_entries(shot, ino, path);
	}
}

struct shot *shot_take(struct fs *fs, uint64_t only)
{
	struct shot *shot = sim_alloc(sizeof *shot);
	struct fs_space space;
	*shot = (struct shot){ .fs = fs, .only = only };
	add_object(shot, OBJECT_ROOT, "");
	fs_space(fs, &space);
	line(shot, "%llu inodes\n", (unsigned long long)space.inodes);
	return shot;
}

void shot_free(struct shot *shot)
{
	if (!shot)
		return;
	for (unsigned i = 0; i < shot->file_count; i++)
		free(shot->files[i].data);
	free(shot->text);
	free(shot);
}

/* ---- Comparing ---- */

bool shot_same(const struct shot *wanted, const struct shot *got, char *why, size_t why_bytes)
{
	const char *a = wanted->text, *b = got->text, *object = a;
	while (*a && *b) {
		size_t a_bytes = strcspn(a, "\n"), b_bytes = strcspn(b, "\n");
		if (*a == '/')
			object = a;
		if (a_bytes != b_bytes || memcmp(a, b, a_bytes)) {
			snprintf(why, why_bytes, "%.*s: was \"%.*s\", is \"%.*s\"", (int)strcspn(object, ": \n"), object, (int)a_bytes, a, (int)b_bytes, b);
			return false;
		}
		a += a_bytes + 1;
		b += b_bytes + 1;
	}
	assert(!*a && !*b);      /* the last line of both is the count of inodes, and only that has no name */
	return true;
}

static uint8_t byte_at(const struct content *content, uint64_t at)
{
	return content && at < content->bytes ? content->data[at] : 0;
}

bool shot_explain(const struct shot *older, const struct shot *wanted, const struct shot *got, char *why, size_t why_bytes)
{
	for (unsigned i = 0; i < got->file_count; i++) {
		const struct content *file = &got->files[i], *new = content_of(wanted, file->ino), *old = content_of(older, file->ino);
		for (uint64_t at = 0; at < file->bytes; at++) {
			uint8_t byte = file->data[at];
			if (!byte || byte == byte_at(new, at) || byte == byte_at(old, at))
				continue;
			snprintf(why, why_bytes, "byte %llu of inode %llu is %u, neither %u as written nor %u as before nor 0",
				(unsigned long long)at, (unsigned long long)file->ino, byte, byte_at(new, at), byte_at(old, at));
			return false;
		}
	}
	return true;
}
