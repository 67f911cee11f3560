/* See window.h. */
#include "fs/core.h"
#include "fs/names/window.h"

#include <errno.h>

uint64_t window_hash(struct fs *fs, const void *bytes, size_t length_bytes)
{
	uint64_t hash = name_hash(fs_keys(fs)->name_hash, bytes, length_bytes) & WINDOW_OFFSET_MAX;

	if (hash < WINDOW_FIRST)
		return hash + WINDOW_FIRST;
	if (hash > WINDOW_OFFSET_MAX - WINDOW_SLOTS)
		return hash - WINDOW_SLOTS;
	return hash;
}

int window_find(struct fs *fs, uint64_t object, uint8_t type, uint64_t hash, window_match *match, const void *wanted,
	struct item *ret_item, uint64_t *ret_free)
{
	struct key from = key_make(object, type, hash), to = key_make(object, type, hash + WINDOW_SLOTS - 1);
	uint64_t free_offset = hash;
	struct item item;

	for (;;) {
		int r = tree_next(fs, fs_file_tree(fs), &from, &to, &item);
		if (r == -ENOENT)
			break;
		if (r < 0)
			return r;
		r = match(fs, &item, wanted);
		if (r < 0)
			return r;
		if (r > 0) {
			*ret_item = item;
			return 0;
		}
		if (item.key.offset == free_offset)
			free_offset++;
		if (item.key.offset == to.offset)
			break;
		from.offset = item.key.offset + 1;
	}
	if (ret_free)
		*ret_free = free_offset <= to.offset ? free_offset : 0;
	return -ENOENT;
}
