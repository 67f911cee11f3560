/* See path.h: the path goes up by the first link of each object, as far as these can be read. */
#include "fs/names/path.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define DEPTH_MAX 128

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

static void hide_control(char *text)
{
	for (char *c = text; *c; c++)
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			*c = '?';
}

const char *path_text(struct fs *fs, uint64_t ino, char *ret_text)
{
	char path[PATH_TEXT_BYTES], name[NAME_BYTES_MAX];
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
	hide_control(path + at);
	snprintf(ret_text, PATH_TEXT_BYTES, "Inode %llu, \"%.340s\"", (unsigned long long)ino, path[at] ? path + at : "/");
	return ret_text;
unknown:
	hide_control(path + at);
	if (path[at])
		snprintf(ret_text, PATH_TEXT_BYTES, "Inode %llu, \"…%.300s\"", (unsigned long long)ino, path + at);
	else
		snprintf(ret_text, PATH_TEXT_BYTES, "Inode %llu", (unsigned long long)ino);
	return ret_text;
}

void path_tell_lost(struct fs *fs, const struct record_place *place)
{
	char text[PATH_TEXT_BYTES];
	event_report(&fs->options.events, EVENT_UNREADABLE, -1, "%s: %u bytes at offset %llu cannot be read and parity cannot rebuild them",
		path_text(fs, place->object, text), place->blocks * BLOCK_BYTES, (unsigned long long)place->block * BLOCK_BYTES);
}
