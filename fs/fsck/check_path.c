/* Names for messages: the path of an object by its links, as far as they can be read. */
#include "fs/fsck/checkimpl.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define DEPTH_MAX 128

int check_lookup(struct fs *fs, struct tree *tree, const struct key *key, void *ret_value, unsigned room_bytes, unsigned *ret_bytes)
{
	struct item item;
	struct op op;
	op_begin(fs, &op, OP_READ, 0);
	int r;
	do
		r = tree_lookup(fs, tree, key, &item);
	while (op_retry(&op, &r));
	if (r == 0 && item.bytes > room_bytes)
		r = -EUCLEAN;
	if (r == 0 && item.bytes > 0)
		memcpy(ret_value, item.value, item.bytes);
	if (r == 0 && ret_bytes)
		*ret_bytes = item.bytes;
	op_end(&op);
	return r;
}

/* The first link of an object. */
static int first_link(struct fs *fs, uint64_t ino, struct link_item *ret_link, char *ret_name)
{
	struct key from = key_make(ino, ITEM_LINK, 0), to = key_make(ino, ITEM_LINK, UINT64_MAX);
	struct item item;
	struct op op;
	op_begin(fs, &op, OP_READ, 0);
	int r;
	do
		r = tree_next(fs, &fs->file, &from, &to, &item);
	while (op_retry(&op, &r));
	if (r == 0) {
		const struct link_item *l = item.value;
		memcpy(ret_link, l, sizeof *l);
		memcpy(ret_name, l->name, l->name_bytes);
	}
	op_end(&op);
	return r;
}

const char *check_path(struct fs *fs, uint64_t ino, char *ret_text)
{
	char path[CHECK_PATH_BYTES], name[NAME_BYTES_MAX];
	struct link_item link;
	unsigned at = sizeof path - 1, depth = 0;
	path[at] = 0;
	for (uint64_t up = ino; up != OBJECT_ROOT; depth++) {
		if (depth == DEPTH_MAX || first_link(fs, up, &link, name) < 0)
			goto unknown;
		if (at < link.name_bytes + 80u) {        /* the rest does not fit the message */
			at -= 3;
			memcpy(path + at, "...", 3);
			break;
		}
		at -= link.name_bytes;
		memcpy(path + at, name, link.name_bytes);
		path[--at] = '/';
		up = le64_get(link.parent);
	}
	snprintf(ret_text, CHECK_PATH_BYTES, "Inode %llu, \"%.340s\"", (unsigned long long)ino, path[at] ? path + at : "/");
	return ret_text;
unknown:
	if (path[at])
		snprintf(ret_text, CHECK_PATH_BYTES, "Inode %llu, \"…%.300s\"", (unsigned long long)ino, path + at);
	else
		snprintf(ret_text, CHECK_PATH_BYTES, "Inode %llu", (unsigned long long)ino);
	return ret_text;
}
