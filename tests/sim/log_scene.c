#include "tests/sim/log_scene.h"
#include "fs/core.h"
#include "fs/log/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define SMALL_BYTES 1000u
#define BLOCK_FILE_BYTES (16u * BLOCK_BYTES)
#define BLOCK_AT (2u * BLOCK_BYTES)
#define NEW_BYTES 20000u
#define GROWN_BEFORE 10000u
#define GROWN_BYTES 25000u
#define CUT_BEFORE 60000u
#define CUT_BYTES 5000u
#define BYTES_MAX 70000u

/* What the scene itself needs. */
#define MUST(ok) do { \
	if (!(ok)) { \
		fprintf(stderr, "%s:%d: the scene could not be made: %s\n", __FILE__, __LINE__, #ok); \
		exit(1); \
	} \
} while (0)

static const struct fs_cred cred;

static void fill(uint8_t *bytes, size_t count, unsigned salt)
{
	for (size_t i = 0; i < count; i++)
		bytes[i] = (uint8_t)(i * 7 + i / 251 + salt);
}

static const char *file_name(unsigned i)
{
	static char name[32];
	snprintf(name, sizeof name, "file %u", i);
	return name;
}

const char *scene_item_name(enum scene_item item)
{
	static const char *const names[] = { "rest of the file", "block", "new", "small", "renamed", "grown", "cut", "gone" };
	return names[item];
}

const char *scene_item_path(enum scene_item item)
{
	static const char *const paths[] = { "/block", "/block", "/new", "/dir/small", "/renamed", "/grown", "/cut", "/gone" };
	return paths[item];
}

static uint64_t make_file(struct fs *fs, uint64_t dir, const char *name, size_t bytes, unsigned salt)
{
	static uint8_t content[BYTES_MAX];
	struct fs_attr attr = { 0 };
	fill(content, bytes, salt);
	MUST(fs_mknod(fs, dir, name, S_IFREG | 0644, 0, cred, &attr) == 0);
	MUST(fs_write(fs, attr.ino, content, bytes, 0, false, NULL) == (ssize_t)bytes);
	return attr.ino;
}

static void write_and_sync(struct fs *fs, uint64_t ino, uint64_t at, size_t bytes, unsigned salt)
{
	static uint8_t content[BYTES_MAX];
	fill(content, at + bytes, salt);
	MUST(fs_write(fs, ino, content + at, bytes, at, false, NULL) == (ssize_t)bytes);
	MUST(fs_fsync(fs, ino, false) == 0);
}

/* Seven records. */
static void make_log(struct scene *s, struct fs *fs, uint64_t grown, uint64_t cut)
{
	struct fs_attr attr = { .size_bytes = CUT_BYTES };
	uint64_t generation = fs_generation(fs);
	write_and_sync(fs, s->block, BLOCK_AT, BLOCK_BYTES, 11);
	s->fresh = make_file(fs, OBJECT_ROOT, "new", NEW_BYTES, 12);
	MUST(fs_fsync(fs, s->fresh, false) == 0);
	write_and_sync(fs, s->small, 0, SMALL_BYTES, 13);
	MUST(fs_rename(fs, s->dir, "old name", OBJECT_ROOT, "renamed", 0) == 0 && fs_fsync(fs, OBJECT_ROOT, false) == 0);
	write_and_sync(fs, grown, GROWN_BEFORE, GROWN_BYTES - GROWN_BEFORE, 15);
	MUST(fs_setattr(fs, cut, &attr, FS_SET_SIZE, NULL) == 0 && fs_fsync(fs, cut, false) == 0);
	MUST(fs_unlink(fs, OBJECT_ROOT, "gone") == 0 && fs_fsync(fs, OBJECT_ROOT, false) == 0);
	MUST(fs_generation(fs) == generation);
}

static void find_log(struct scene *s, struct fs *fs)
{
	uint64_t base = fs->config->geometry.log_offset_bytes;
	struct log_chain chain;
	MUST(log_chain_begin(fs, &fs->root_body, &chain) == 0);
	for (unsigned i = 0; i < SCENE_RECORDS; i++) {
		s->log_at_bytes[i] = base + chain.at_bytes;
		MUST(log_chain_next(&chain) == 1);
	}
	MUST(log_chain_next(&chain) == 0);
	log_chain_end(&chain);
}

void scene_make(struct scene *ret_scene, unsigned files, uint64_t disk_bytes, uint64_t seed)
{
	struct scene s = { .files = files };
	struct fs_attr attr = { 0 };
	MUST(simfs_make(&s.sim, 3, disk_bytes, CIPHER_NONE, seed) == 0);
	struct fs *fs = s.sim->fs;
	MUST(fs_mknod(fs, OBJECT_ROOT, "dir", S_IFDIR | 0755, 0, cred, &attr) == 0);
	s.dir = attr.ino;
	s.block = make_file(fs, OBJECT_ROOT, "block", BLOCK_FILE_BYTES, 1);
	for (unsigned i = 0; i < files; i++) {
		make_file(fs, s.dir, file_name(i), SMALL_BYTES, i);
		if (i == files / 2)
			s.small = make_file(fs, s.dir, "small", SMALL_BYTES, 3);
		if (i == files / 3)
			s.renamed = make_file(fs, s.dir, "old name", SMALL_BYTES, 14);
		if (i % 100 == 99)
			MUST(fs_sync(fs) == 0);
	}
	uint64_t grown = make_file(fs, OBJECT_ROOT, "grown", GROWN_BEFORE, 15), cut = make_file(fs, OBJECT_ROOT, "cut", CUT_BEFORE, 16);
	make_file(fs, OBJECT_ROOT, "gone", SMALL_BYTES, 17);
	MUST(fs_sync(fs) == 0);
	s.older = fs_generation(fs);
	MUST(simfs_remount(s.sim) == 0);
	fs = s.sim->fs;
	attr.mode = 0700;
	MUST(fs_setattr(fs, s.dir, &attr, FS_SET_MODE, NULL) == 0 && fs_sync(fs) == 0);
	make_log(&s, fs, grown, cut);
	find_log(&s, fs);
	s.generation = fs_generation(fs);
	s.root = le64_get(fs->root_body.file_tree.address);
	s.system_root = le64_get(fs->root_body.system_tree.address);
	simfs_close(s.sim, true);
	simworld_cut(s.sim->world, SIMCUT_DROP_ALL);
	*ret_scene = s;
}

void scene_free(struct scene *scene) { simfs_free(scene->sim); }

/* ---- Looking ---- */

enum verdict { RIGHT, ERROR, ZEROS, WRONG };

static uint64_t find(struct fs *fs, uint64_t dir, const char *name)
{
	struct fs_attr attr;
	return fs_lookup(fs, dir, name, &attr) == 0 ? attr.ino : 0;
}

/* By its name, or where a repair puts what has none. */
static uint64_t find_or_lost(struct fs *fs, uint64_t dir, const char *name, uint64_t ino)
{
	char number[32];
	uint64_t found = find(fs, dir, name), lost = find(fs, OBJECT_ROOT, "lost+found");
	snprintf(number, sizeof number, "#%llu", (unsigned long long)ino);
	return found ? found : find(fs, lost ? lost : OBJECT_ROOT, number);
}

/* Bytes [at, at + bytes) of the file are those of the pattern; `size`: and it is that long (0: whatever).  What it had before is no wrong
 * data, but not what was acknowledged. */
static enum verdict look_at(struct fs *fs, uint64_t ino, uint64_t at, size_t bytes, unsigned salt, unsigned old_salt, uint64_t size)
{
	static uint8_t got[BYTES_MAX], want[BYTES_MAX], old[BYTES_MAX];
	struct fs_attr attr;
	if (!ino || fs_getattr(fs, ino, &attr) < 0)
		return ERROR;
	ssize_t n = fs_read(fs, ino, got, bytes, at);
	if (n < 0)
		return ERROR;
	fill(want, at + bytes, salt);
	fill(old, at + bytes, old_salt);
	if (n == (ssize_t)bytes && salt != old_salt && !memcmp(got, old + at, bytes))
		return ERROR;
	bool same = !memcmp(got, want + at, (size_t)n);
	if (n == (ssize_t)bytes && same)
		return size == 0 || attr.size_bytes == size ? RIGHT : ZEROS;
	for (ssize_t i = 0; i < n; i++)
		if (got[i] && got[i] != want[at + (size_t)i])
			return WRONG;
	return ZEROS;
}

static void note(struct scene_seen *seen, enum scene_item item, enum verdict verdict)
{
	seen->right |= verdict == RIGHT ? SCENE_BIT(item) : 0;
	seen->wrong |= verdict == WRONG ? SCENE_BIT(item) : 0;
	seen->made_up |= verdict == ZEROS ? SCENE_BIT(item) : 0;
}

static enum verdict worst(enum verdict a, enum verdict b) { return a > b ? a : b; }

void scene_look(const struct scene *s, struct fs *fs, struct scene_seen *ret_seen)
{
	struct scene_seen seen = { 0 };
	uint64_t dir = find_or_lost(fs, OBJECT_ROOT, "dir", s->dir), block = find_or_lost(fs, OBJECT_ROOT, "block", s->block);
	struct fs_attr attr;
	note(&seen, SCENE_REST, worst(look_at(fs, block, 0, BLOCK_AT, 1, 1, 0),
		look_at(fs, block, BLOCK_AT + BLOCK_BYTES, BLOCK_FILE_BYTES - BLOCK_AT - BLOCK_BYTES, 1, 1, BLOCK_FILE_BYTES)));
	note(&seen, SCENE_BLOCK, look_at(fs, block, BLOCK_AT, BLOCK_BYTES, 11, 1, 0));
	note(&seen, SCENE_NEW, look_at(fs, find_or_lost(fs, OBJECT_ROOT, "new", s->fresh), 0, NEW_BYTES, 12, 12, NEW_BYTES));
	note(&seen, SCENE_SMALL, look_at(fs, find_or_lost(fs, dir, "small", s->small), 0, SMALL_BYTES, 13, 3, SMALL_BYTES));
	note(&seen, SCENE_RENAMED, look_at(fs, find(fs, OBJECT_ROOT, "renamed"), 0, SMALL_BYTES, 14, 14, SMALL_BYTES));
	note(&seen, SCENE_GROWN, look_at(fs, find(fs, OBJECT_ROOT, "grown"), 0, GROWN_BYTES, 15, 15, GROWN_BYTES));
	note(&seen, SCENE_CUT, look_at(fs, find(fs, OBJECT_ROOT, "cut"), 0, CUT_BYTES, 16, 16, CUT_BYTES));
	note(&seen, SCENE_GONE, fs_lookup(fs, OBJECT_ROOT, "gone", &attr) == -ENOENT ? RIGHT : ERROR);
	for (unsigned i = 0; i < s->files; i++) {
		enum verdict verdict = look_at(fs, find(fs, dir, file_name(i)), 0, SMALL_BYTES, i, i, SMALL_BYTES);
		seen.files += verdict == RIGHT;
		seen.files_wrong += verdict == WRONG;
	}
	*ret_seen = seen;
}
