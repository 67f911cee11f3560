/* Files of a story: see the header. */
#include "tests/sim/story.h"

#include "fs/format.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define FILE_BYTES_MAX (9 * BLOCK_BYTES)
#define VERSIONS 3u              /* of a file: as it was made, and after each of the two steps that change it */

static size_t size_of(unsigned i) { return 100 + (size_t)i * 7919 % (FILE_BYTES_MAX - 100); }

static void name_of(unsigned i, char name[16]) { snprintf(name, 16, "file%u", i); }

/* Four that are unlinked lie side by side, so that whole rows become free. */
static bool is_short_lived(unsigned i) { return i / 4 % 2 == 1; }

/* The part that becomes new with a version, with ends inside of blocks, where the file is large enough to have several.  The two meet and
 * do not overlap: to do the first one again leaves the other as it is.  (Step 0 can change nothing.) */
static void part_of(unsigned i, unsigned version, size_t *ret_from, size_t *ret_to)
{
	*ret_from = size_of(i) / 4 * version;
	*ret_to = i == 0 && version == 1 ? *ret_from : size_of(i) / 4 * (version + 1);
}

static void fill(unsigned i, unsigned version, uint8_t *bytes)
{
	for (size_t k = 0; k < size_of(i); k++)
		bytes[k] = (uint8_t)(i * 37 + k * 11 + k / 253);
	for (unsigned v = 1; v <= version; v++) {
		size_t from, to;
		part_of(i, v, &from, &to);
		for (size_t k = from; k < to; k++)
			bytes[k] = (uint8_t)(i * 53 + k * 7 + k / 241 + v * 101);
	}
}

/* Of what the first `count` steps leave. */
static unsigned version_after(unsigned i, unsigned count)
{
	return count > 2 * i + 1 && !is_short_lived(i) ? 2 : i > 0 && count > 2 * i ? 1 : 0;
}

bool story_unlinks(unsigned i, unsigned count) { return is_short_lived(i) && count > 2 * i + 1; }

/* Errors are for after a cut. */
struct story story_again(const struct simfs *before, const struct story *first)
{
	struct story story = *first;
	story.sim = simfs_clone(before);
	story.whole = false;
	simfs_open(story.sim);
	return story;
}

static int write_range(struct story *story, uint64_t ino, const uint8_t *bytes, size_t from, size_t to)
{
	ssize_t n = fs_write(story->sim->fs, ino, bytes + from, to - from, from, false, NULL);
	return n == (ssize_t)(to - from) ? 0 : n < 0 ? (int)n : -EIO;
}

/* What the step does to an older file; *ret_ino is that file if it has data to be synced, else 0.  When a step is done again after a cut,
 * the file may have been unlinked by one that was tried before. */
static int change_file(struct story *story, unsigned step, unsigned tried, uint64_t *ret_ino)
{
	uint8_t bytes[FILE_BYTES_MAX];
	struct fs_attr attr;
	unsigned i = step / 2, version = 1 + step % 2;
	size_t from, to;
	char name[16];
	*ret_ino = 0;
	if (i == step)
		return 0;
	name_of(i, name);
	bool unlinks = version == 2 && is_short_lived(i);
	int r = unlinks ? fs_unlink(story->sim->fs, OBJECT_ROOT, name) : fs_lookup(story->sim->fs, OBJECT_ROOT, name, &attr);
	if (r < 0 || unlinks)
		return r == -ENOENT && story_unlinks(i, tried) ? 0 : r;
	fill(i, version, bytes);
	part_of(i, version, &from, &to);
	r = write_range(story, attr.ino, bytes, from, to);
	if (r == 0)
		*ret_ino = attr.ino;
	return r;
}

static int make_file(struct story *story, unsigned i, uint64_t *ret_ino)
{
	uint8_t bytes[FILE_BYTES_MAX];
	struct fs_attr attr;
	char name[16];
	name_of(i, name);
	fill(i, 0, bytes);
	int r = fs_mknod(story->sim->fs, OBJECT_ROOT, name, S_IFREG | 0644, 0, (struct fs_cred){ 0 }, &attr);
	if (r == 0)
		r = write_range(story, attr.ino, bytes, 0, size_of(i));
	if (r == 0)
		*ret_ino = attr.ino;
	return r;
}

static int write_step(struct story *story, uint64_t ret_inos[2])
{
	unsigned tried = story->tried;
	if (tried <= story->written)
		story->tried = story->written + 1;
	int r = change_file(story, story->written, tried, &ret_inos[0]);
	if (r == 0)
		r = make_file(story, story->written, &ret_inos[1]);
	story->written += r == 0;
	return r;
}

int story_write_file(struct story *story)
{
	uint64_t inos[2];
	return write_step(story, inos);
}

int story_sync(struct story *story)
{
	unsigned written = story->written;
	int r = fs_sync(story->sim->fs);
	if (r == 0)
		story->synced = written;
	return r;
}

int story_write_files(struct story *story, unsigned count)
{
	int r = 0;
	for (unsigned i = 0; i < count && r == 0; i++)
		r = story_write_file(story);
	return r < 0 ? r : story_sync(story);
}

int story_write_fsync(struct story *story)
{
	uint64_t inos[2];
	int r = story->synced < story->written ? story_sync(story) : 0;
	if (r == 0)
		r = write_step(story, inos);
	if (r == 0 && inos[0])
		r = fs_fsync(story->sim->fs, inos[0], false);
	if (r == 0)
		r = fs_fsync(story->sim->fs, inos[1], false);
	if (r == 0)
		story->synced = story->written;
	return r;
}

void story_forget(struct story *story)
{
	for (unsigned i = story->synced; i <= story->written; i++) {
		char name[16];
		name_of(i, name);
		fs_unlink(story->sim->fs, OBJECT_ROOT, name);
	}
	story->written = story->synced;
}

static bool refused(int r) { return r == -EIO || r == -EUCLEAN; }

/* Each block by itself: what was not synced is there or not. */
static bool file_may_be(struct fs *fs, const struct story *story, unsigned i, uint64_t ino, unsigned *unreadable)
{
	uint8_t bytes[FILE_BYTES_MAX], want[VERSIONS][FILE_BYTES_MAX];
	unsigned first = version_after(i, story->synced), last = version_after(i, story->tried);
	for (unsigned v = first; v <= last; v++)
		fill(i, v, want[v]);
	ssize_t all = fs_read(fs, ino, bytes, sizeof bytes, 0);
	if (all >= 0 ? all != (ssize_t)size_of(i) : !refused((int)all))
		return false;
	for (size_t at = 0; at < size_of(i); at += BLOCK_BYTES) {
		size_t length = size_of(i) - at < BLOCK_BYTES ? size_of(i) - at : BLOCK_BYTES;
		ssize_t n = all < 0 ? fs_read(fs, ino, bytes + at, BLOCK_BYTES, at) : all;
		unsigned v = first;
		while (n >= 0 && v <= last && memcmp(bytes + at, want[v] + at, length))
			v++;
		if (v > last || (n < 0 && !refused((int)n)))
			return false;
		*unreadable += n < 0;
	}
	return true;
}

bool story_may_be(struct fs *fs, const struct story *story, unsigned *ret_unreadable)
{
	*ret_unreadable = 0;
	for (unsigned i = 0; i < story->synced; i++) {
		struct fs_attr attr;
		char name[16];
		name_of(i, name);
		int r = fs_lookup(fs, OBJECT_ROOT, name, &attr);
		if (r == -ENOENT && story_unlinks(i, story->tried))
			continue;
		*ret_unreadable += refused(r);
		if (!refused(r) && (r < 0 || story_unlinks(i, story->synced) || !file_may_be(fs, story, i, attr.ino, ret_unreadable)))
			return false;
	}
	return true;
}

bool story_is_there(struct fs *fs, const struct story *story)
{
	unsigned unreadable;
	return story_may_be(fs, story, &unreadable) && unreadable == 0;
}

static void complain(void *ctx, const char *text)
{
	(void)ctx;
	fprintf(stderr, "check: %s\n", text);
}

bool story_clean(struct fs *fs) { return fs_check(fs, true, complain, NULL) == 0; }
