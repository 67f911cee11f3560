/* Files of a story: see the header. */
#include "tests/sim/story.h"

#include "fs/format.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define FILE_BYTES_MAX (9 * BLOCK_BYTES)

static size_t size_of(unsigned i) { return 100 + (size_t)i * 7919 % (FILE_BYTES_MAX - 100); }

static void fill(unsigned i, uint8_t *bytes)
{
	for (size_t k = 0; k < size_of(i); k++)
		bytes[k] = (uint8_t)(i * 37 + k * 11 + k / 253);
}

static void name_of(unsigned i, char name[16]) { snprintf(name, 16, "file%u", i); }

/* Errors are for after a cut. */
struct story story_again(const struct simfs *before, const struct story *first)
{
	struct story story = { simfs_clone(before), first->written, first->synced, false };
	simfs_open(story.sim);
	return story;
}

int story_write_file(struct story *story)
{
	uint8_t bytes[FILE_BYTES_MAX];
	struct fs_attr attr;
	char name[16];
	unsigned i = story->written;
	name_of(i, name);
	fill(i, bytes);
	int r = fs_mknod(story->sim->fs, OBJECT_ROOT, name, S_IFREG | 0644, 0, (struct fs_cred){ 0 }, &attr);
	if (r == 0 && fs_write(story->sim->fs, attr.ino, bytes, size_of(i), 0, false, NULL) != (ssize_t)size_of(i))
		r = -EIO;
	story->written += r == 0;
	return r;
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
	struct fs_attr attr;
	char name[16];
	int r = story->synced < story->written ? story_sync(story) : 0;
	name_of(story->written, name);
	if (r == 0)
		r = story_write_file(story);
	if (r == 0)
		r = fs_lookup(story->sim->fs, OBJECT_ROOT, name, &attr);
	if (r == 0)
		r = fs_fsync(story->sim->fs, attr.ino, false);
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

bool story_is_there(struct fs *fs, unsigned count)
{
	uint8_t bytes[FILE_BYTES_MAX], want[FILE_BYTES_MAX];
	for (unsigned i = 0; i < count; i++) {
		struct fs_attr attr;
		char name[16];
		name_of(i, name);
		fill(i, want);
		if (fs_lookup(fs, OBJECT_ROOT, name, &attr) < 0 || fs_read(fs, attr.ino, bytes, sizeof bytes, 0) != (ssize_t)size_of(i)
			|| memcmp(bytes, want, size_of(i)))
			return false;
	}
	return true;
}

static void complain(void *ctx, const char *text)
{
	(void)ctx;
	fprintf(stderr, "check: %s\n", text);
}

bool story_clean(struct fs *fs) { return fs_check(fs, true, complain, NULL) == 0; }
