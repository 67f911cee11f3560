/* The intent log behind the root that is checked: whether it can be read to its end and be replayed, and whose changes it has where
 * not.
 *
 * Records behind one that is missing are not applied, since they build on it: what they say is told and given up. */
#include "fs/fsck/checkimpl.h"
#include "fs/log/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CONCERNED_MAX 200u       /* objects that are named; others are counted */

/* An object that the log changes, with the name that the log gives it: the tree may not have it yet. */
struct concerned { uint64_t ino, parent; char name[NAME_BYTES_MAX + 1]; };
struct concerned_list { struct concerned *items; size_t count, room; uint64_t more, last; };

static struct concerned *find(struct concerned_list *list, uint64_t ino)
{
	for (size_t i = 0; i < list->count; i++)
		if (list->items[i].ino == ino)
			return &list->items[i];
	return NULL;
}

static void concern(struct check *c, struct concerned_list *list, const struct log_item *entry)
{
	uint64_t ino = entry->key.type == ITEM_ORPHAN ? entry->key.offset : entry->key.object;
	const struct link_item *link = (const struct link_item *)entry->bytes;
	struct concerned *o = find(list, ino);
	if (!o && list->count == CONCERNED_MAX) {
		list->more += ino != list->last;
		list->last = ino;
		return;
	}
	if (!o && (o = vector_add(&list->items, &list->count, &list->room, sizeof *o)))
		o->ino = ino;
	if (!o) {
		c->error = -ENOMEM;
		return;
	}
	if (entry->kind == LOG_ITEM && entry->key.type == ITEM_LINK && entry->length_bytes == sizeof *link + link->name_bytes) {
		o->parent = le64_get(link->parent);
		memcpy(o->name, link->name, link->name_bytes);
		o->name[link->name_bytes] = 0;
	}
}

static void name_all(struct check *c, enum check_note kind, const struct concerned_list *list, const char *what)
{
	char path[PATH_TEXT_BYTES], parent[PATH_TEXT_BYTES];
	for (size_t i = 0; i < list->count; i++) {
		const struct concerned *o = &list->items[i];
		path_text(c->fs, o->ino, path);
		if (*o->name && !strchr(path, '"'))
			check_note(c, kind, "%s (\"%.255s\" in %s): %s.", path, o->name, path_text(c->fs, o->parent, parent), what);
		else
			check_note(c, kind, "%s: %s.", path, what);
	}
	if (list->more)
		check_note(c, kind, "And more of which the same holds.");
}

/* Does the entry belong in a node that cannot be read? */
static bool has_no_place(struct check *c, const struct log_item *entry)
{
	struct op op;
	int r = op_begin(c->fs, &op, OP_READ, 0);
	do
		r = tree_hollow(c->fs, &c->fs->file, &entry->key);
	while (op_retry(&op, &r));
	op_end(&op);
	return r == 1;
}

enum wanted { NOT_PLACED, ALL };

static void read_record(struct check *c, const uint8_t *record, enum wanted wanted, struct concerned_list *list)
{
	const struct log_header *header = (const struct log_header *)record;
	struct log_reader reader;
	struct log_item entry;
	if (log_read_begin(record + sizeof *header, le32_get(header->length_bytes) - sizeof *header, &reader) < 0)
		return;
	while (c->error == 0 && log_read_next(&reader, &entry) == 1)
		if (wanted == ALL || has_no_place(c, &entry))
			concern(c, list, &entry);
}

static void lost_behind(struct check *c, struct log_chain *chain, uint64_t records)
{
	struct concerned_list list = { 0 };
	while (c->error == 0 && log_chain_skip(chain) == 1)
		do
			read_record(c, chain->record, ALL, &list);
		while (c->error == 0 && log_chain_next(chain) == 1);
	/* Where nothing is found further on there may have been nothing. */
	check_lost(c, "The intent log cannot be read to its end: what was synced after its first %llu records is lost%s.",
		(unsigned long long)records, list.count ? "" : ", if there was anything");
	name_all(c, CHECK_LOST, &list, "what was synced of it from there on is lost");
	free(list.items);
}

static void tell_waiting(struct check *c, uint64_t records, const struct concerned_list *list)
{
	if (c->options->repair)
		check_note(c, CHECK_INFO, "The intent log holds %llu records, which are replayed when what they need is repaired.",
			(unsigned long long)records);
	else if (list->count == 0)
		check_note(c, CHECK_INFO, "The intent log holds %llu records, which the next mount replays; they are not part of this check.",
			(unsigned long long)records);
	else {
		check_note(c, CHECK_INFO, "The intent log holds %llu records, and some change what lies in nodes that cannot be read: no mount "
			"replays it. A repair does, without what those nodes held.", (unsigned long long)records);
		name_all(c, CHECK_INFO, list, "the log has changes of it that belong in such a node");
	}
}

void check_log(struct check *c)
{
	struct fs *fs = c->fs;
	struct concerned_list list = { 0 };
	struct log_chain chain;
	uint64_t records = 0;
	bool sense = true;
	if ((!fs->options.no_replay && !fs->log->waits) || fs->older)
		return;
	c->error = log_chain_begin(fs, &c->body, &chain);
	if (c->error < 0)
		return;
	int more = 1;
	while (c->error == 0 && (more = log_chain_next(&chain)) == 1 && (sense = log_record_valid(chain.record))) {
		read_record(c, chain.record, NOT_PLACED, &list);
		records++;
	}
	if (c->error == 0 && more < 0)
		c->error = more;
	if (c->error == 0 && records > 0)
		tell_waiting(c, records, &list);
	if (c->error == 0 && !sense)
		check_lost(c, "Record %llu of the intent log makes no sense, though its tag is right: what was synced from there on is lost.",
			(unsigned long long)records + 1);
	else if (c->error == 0 && chain.damaged)
		lost_behind(c, &chain, records);
	log_chain_end(&chain);
	free(list.items);
}

/* ---- Repair ---- */

static void on_skip(void *ctx, uint64_t object, uint64_t block, uint64_t blocks)
{
	struct check *c = ctx;
	char path[PATH_TEXT_BYTES];
	check_note(c, CHECK_LOST, "%s: %llu bytes at offset %llu of the intent log have no file any more.", path_text(c->fs, object, path),
		(unsigned long long)(blocks * BLOCK_BYTES), (unsigned long long)(block * BLOCK_BYTES));
}

int repair_log(struct check *c)
{
	struct log_replayed replayed = { .on_skip = on_skip, .ctx = c };
	int r = log_replay(c->fs, LOG_REPAIR, &replayed);
	if (r == 0 && replayed.records > 0)
		check_note(c, CHECK_INFO, "%llu records of the intent log were replayed.", (unsigned long long)replayed.records);
	return r;
}
