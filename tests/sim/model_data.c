/* The game's operations on data.  See game.h. */
#include "tests/sim/game.h"

#include <linux/falloc.h>
#include <sys/stat.h>
#include <unistd.h>

#define WRITE_BYTES_MAX (160u << 10)

static bool is_file(const struct model_inode *i) { return S_ISREG(i->mode) && i->data->bytes <= FILE_BYTES_MAX; }

/* Something failed half way for want of space: every byte is either old or new, and what is there counts from now on. */
static void adopt_data(struct game *run, struct model_inode *inode, const struct blob *wanted)
{
	struct fs_attr attr;
	const struct blob *old = inode->data;
	int r = fs_getattr(fs_of(run), inode->ino, &attr);
	size_t most = old->bytes > wanted->bytes ? old->bytes : wanted->bytes;
	if (r < 0 || attr.size_bytes > most || (attr.size_bytes < old->bytes && attr.size_bytes < wanted->bytes))
		fail(run, "half done: size %llu (error %d)", (unsigned long long)attr.size_bytes, -r);
	struct blob *got = blob_new(attr.size_bytes);
	if (fs_read(fs_of(run), inode->ino, got->data, got->bytes, 0) != (ssize_t)got->bytes)
		fail(run, "half done: cannot be read");
	for (size_t i = 0; i < got->bytes; i++) {
		uint8_t was = i < old->bytes ? old->data[i] : 0, will = i < wanted->bytes ? wanted->data[i] : 0;
		if (got->data[i] != was && got->data[i] != will)
			fail(run, "half done: byte %zu is %02x, neither %02x nor %02x", i, got->data[i], was, will);
	}
	blob_unref(inode->data);
	inode->data = got;
}

/* The inode's data becomes `wanted` (whose reference this takes) if r says so. */
static void data_done(struct game *run, struct model_inode *inode, int r, struct blob *wanted, uint64_t blocks)
{
	inode->mtime_known = false;
	if (r == -ENOSPC) {
		nospace(run, blocks);
		adopt_data(run, inode, wanted);
		blob_unref(wanted);
		return;
	}
	if (r < 0)
		fail(run, "error %d", -r);
	blob_unref(inode->data);
	inode->data = wanted;
}

static struct blob *with_size(const struct blob *old, size_t bytes)
{
	struct blob *blob = blob_new(bytes);
	memcpy(blob->data, old->data, old->bytes < bytes ? old->bytes : bytes);
	return blob;
}

void op_write(struct game *run)
{
	int slot = pick_slot(run, is_file);
	if (slot < 0)
		return;
	struct model_inode *inode = &run->now.inodes[slot];
	size_t size = inode->data->bytes;
	uint64_t at = chance(run, 30) ? size : pick_bytes(run, chance(run, 50) ? size : FILE_BYTES_MAX - WRITE_BYTES_MAX);
	size_t bytes = pick_bytes(run, WRITE_BYTES_MAX);
	if (chance(run, is_growing(run) ? 25 : 2)) {
		at = 0;
		bytes = pick(run, FILE_BYTES_MAX);
	} else if (at + bytes > FILE_BYTES_MAX)
		at = FILE_BYTES_MAX - WRITE_BYTES_MAX;
	if (chance(run, 50))
		at -= at % 4096;         /* of a buffer parts are kept then */
	doing(run, "write %zu bytes at %llu of %llu (%zu bytes)", bytes, (unsigned long long)at, (unsigned long long)inode->ino, size);
	struct blob *wanted = with_size(inode->data, bytes > 0 && at + bytes > size ? at + bytes : size);
	if (chance(run, 90))
		fill_random(run, wanted->data + at, bytes);
	else if (bytes > 0)
		memset(wanted->data + at, 0, bytes);
	ssize_t r = chance(run, 50) ? fs_write(fs_of(run), inode->ino, wanted->data + at, bytes, at, false, NULL)
		: simfs_write_buffer(fs_of(run), inode->ino, wanted->data + at, bytes, at);
	if (r >= 0 && r != (ssize_t)bytes)
		fail(run, "wrote %zd bytes of %zu", r, bytes);
	data_done(run, inode, r < 0 ? (int)r : 0, wanted, bytes / 4096 + 16);
}

void op_truncate(struct game *run)
{
	int slot = pick_slot(run, is_file);
	if (slot < 0)
		return;
	struct model_inode *inode = &run->now.inodes[slot];
	uint64_t bytes = pick_bytes(run, chance(run, 70) ? inode->data->bytes : FILE_BYTES_MAX);
	struct fs_attr attr = { .size_bytes = bytes }, after;
	doing(run, "truncate %llu from %zu to %llu", (unsigned long long)inode->ino, inode->data->bytes, (unsigned long long)bytes);
	int r = fs_setattr(fs_of(run), inode->ino, &attr, FS_SET_SIZE, &after);
	if (r == -ENOSPC && bytes <= inode->data->bytes)
		fail(run, "no space to truncate");
	data_done(run, inode, r, with_size(inode->data, bytes), 8);
}

void op_fallocate(struct game *run)
{
	static const int modes[] = { 0, FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, FALLOC_FL_ZERO_RANGE,
		FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE };
	int slot = pick_slot(run, is_file), mode = modes[pick(run, ARRAY_COUNT(modes))];
	if (slot < 0)
		return;
	struct model_inode *inode = &run->now.inodes[slot];
	size_t size = inode->data->bytes;
	uint64_t at = pick_bytes(run, chance(run, 70) ? size : FILE_BYTES_MAX - WRITE_BYTES_MAX);
	uint64_t bytes = 1 + pick_bytes(run, WRITE_BYTES_MAX - 1);
	if (at + bytes > FILE_BYTES_MAX)
		at = FILE_BYTES_MAX - WRITE_BYTES_MAX;
	doing(run, "fallocate mode %d of %llu (%zu bytes), %llu at %llu", mode, (unsigned long long)inode->ino, size,
		(unsigned long long)bytes, (unsigned long long)at);
	struct blob *wanted = with_size(inode->data, !(mode & FALLOC_FL_KEEP_SIZE) && at + bytes > size ? at + bytes : size);
	if ((mode & ~FALLOC_FL_KEEP_SIZE) != 0 && at < size)
		memset(wanted->data + at, 0, at + bytes < size ? bytes : size - at);
	data_done(run, inode, fs_fallocate(fs_of(run), inode->ino, mode, at, bytes), wanted, bytes / 4096 + 16);
}

void op_read(struct game *run)
{
	int slot = pick_slot(run, is_file);
	if (slot < 0)
		return;
	struct model_inode *inode = &run->now.inodes[slot];
	size_t size = inode->data->bytes, at = pick_bytes(run, size + 5000), bytes = pick_bytes(run, WRITE_BYTES_MAX);
	size_t expected = at >= size ? 0 : size - at < bytes ? size - at : bytes;
	struct blob *got = blob_new(bytes);
	doing(run, "read %zu bytes at %zu of %llu", bytes, at, (unsigned long long)inode->ino);
	ssize_t r = fs_read(fs_of(run), inode->ino, got->data, bytes, at);
	if (r != (ssize_t)expected || (expected > 0 && memcmp(got->data, inode->data->data + at, expected)))
		fail(run, "reads wrong (%zd, not %zu)", r, expected);
	blob_unref(got);
}

void op_seek(struct game *run)
{
	int slot = pick_slot(run, is_file);
	if (slot < 0)
		return;
	const struct blob *data = run->now.inodes[slot].data;
	uint64_t at = pick_bytes(run, data->bytes + 100), to, end;
	bool hole = chance(run, 50);
	doing(run, "seek %s from %llu in %llu", hole ? "hole" : "data", (unsigned long long)at, (unsigned long long)run->now.inodes[slot].ino);
	int r = fs_seek(fs_of(run), run->now.inodes[slot].ino, at, hole ? SEEK_HOLE : SEEK_DATA, &to);
	if (at >= data->bytes) {
		if (r != -ENXIO)
			fail(run, "result %d beyond the end", r);
		return;
	}
	if (r == -ENXIO && !hole)
		to = data->bytes;
	else if (r < 0 || to < at || to > data->bytes)
		fail(run, "result %d, to %llu", r, (unsigned long long)to);
	/* What lies before data, and in a hole, is zero. */
	end = hole ? (to | 4095) + 1 : to;
	for (uint64_t i = hole ? to : at; i < end && i < data->bytes; i++)
		if (data->data[i])
			fail(run, "byte %llu is no hole", (unsigned long long)i);
}
