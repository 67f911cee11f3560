/* The check: everything that the newest durable root leads to is read, and what is said twice is compared.
 *
 *  0. The intent log that waits behind the root is read (check_log.c).
 *  1. Both trees are walked once as they are on the disk (check_tree.c), each node verified by its pointer.
 *  2. Items of the file tree come object by object; an object's items are compared with its inode, what it says of others is summed
 *     up (check_object.c). Where the sums of entries and links differ, each name is looked up (check_names.c).
 *  3. Blocks that pointers lead to are summed up by band, and so are bits, pending records and owners in row items
 *     (check_space.c). Bands whose sums differ are looked at again with a map of their blocks (check_map.c).
 *  4. With `data`, each record is read and verified, and parity of each row in use is compared (check_parity.c).
 *
 * What grows: 16 bytes for each directory; of one band at a time, two bits for each block; the last commit's pending
 * records; and what is wrong, in texts and lists. No commit can happen meanwhile (commit_lock is held), and a pin keeps rows
 * from being reused. */
#include "fs/fsck/checkimpl.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_BYTES 900

/* Names in it come from the disk: control characters would change the terminal of who reads it. */
static void tell(struct check *c, enum check_note kind, char *text)
{
	for (char *p = text; *p; p++)
		if ((unsigned char)*p < ' ' || *p == 0x7f)
			*p = '?';
	if (c->options->note)
		c->options->note(c->options->ctx, kind, text);
}

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

/* A finding: told now, or kept until it is known what is left of it. */
static void finding(struct check *c, enum check_note kind, char *text)
{
	c->findings++;
	if (!c->keep) {
		tell(c, kind, text);
		return;
	}
	if (c->text_count == CHECK_TEXTS_MAX)
		return;
	char **slot = vector_add(&c->texts, &c->text_count, &c->text_room, sizeof *slot);
	if (!slot || !(*slot = strdup(text)))
		c->error = -ENOMEM;
}

void check_say(struct check *c, const char *format, ...)
{
	char text[TEXT_BYTES];
	va_list args;
	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	finding(c, CHECK_FOUND, text);
}

void check_lost(struct check *c, const char *format, ...)
{
	char text[TEXT_BYTES];
	va_list args;
	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	finding(c, CHECK_LOST, text);
}

void check_note(struct check *c, enum check_note kind, const char *format, ...)
{
	char text[TEXT_BYTES];
	va_list args;
	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	tell(c, kind, text);
}

void check_progress(struct check *c, uint64_t done, uint64_t total)
{
	if (c->error == 0 && c->options->progress && !c->options->progress(c->options->ctx, c->phase, done, total))
		c->error = -ECANCELED;
}

void check_suspect(struct check *c, enum suspect_kind kind, uint64_t ino, uint64_t offset)
{
	if (!c->options->repair || c->error < 0)
		return;
	struct suspect *last = c->suspect_count ? &c->suspects[c->suspect_count - 1] : NULL;
	if (last && last->kind == kind && last->ino == ino && last->offset == offset)
		return;
	struct suspect *s = vector_add(&c->suspects, &c->suspect_count, &c->suspect_room, sizeof *s);
	if (s)
		*s = (struct suspect){ ino, offset, kind };
	else
		c->error = -ENOMEM;
}

/* SplitMix64's finish: a bijection, so that distinct blocks never cancel each other out by pairs. */
uint64_t check_mix(uint64_t x)
{
	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

/* ---- The two walks ---- */

static bool on_pointer(void *ctx, const struct walk_node *node)
{
	struct check *c = ctx;
	address at = le64_get(node->pointer->address);
	if (!check_reach(c, at, UNIT_BLOCKS, "tree node"))
		return false;
	check_pointer_sum(c, at, check_node_sum(c, at, node->tree, node->level));
	if (++c->done_nodes % 64 == 0)
		check_progress(c, c->done_nodes, c->total_nodes);
	return true;
}

/* The branch above drops a child that leads to nothing. */
static void note_cut(struct check *c, const struct walk_node *node)
{
	if (node->tree != TREE_FILE || !node->parent) {
		return;
	}
	c->names_unsure = true;
	struct cut *cut = vector_add(&c->cuts, &c->cut_count, &c->cut_room, sizeof *cut);
	if (!cut)
		c->error = -ENOMEM;
	else
		*cut = (struct cut){ node->low ? *node->low : (struct key){ 0 }, le64_get(node->pointer->address), node->level };
}

/* Names, where links can still be read, what lay at the ends of the part that is lost; names of what lay between are told when
 * entries lead to nothing. */
static void name_lost(struct check *c, uint64_t first, uint64_t last)
{
	char path[PATH_TEXT_BYTES];
	check_note(c, CHECK_INFO, "The first of them: %s.", path_text(c->fs, first, path));
	if (last != first && last < le64_get(c->body.next_object))
		check_note(c, CHECK_INFO, "The last of them: %s.", path_text(c->fs, last, path));
}

static void on_bad(void *ctx, const struct walk_node *node, const char *what)
{
	struct check *c = ctx;
	address at = le64_get(node->pointer->address);
	note_cut(c, node);
	if (node->tree == TREE_SYSTEM) {
		check_say(c, "A node of the system tree %s (level %u, band %u, block %llu).", what, node->level, address_band(at),
			(unsigned long long)address_block(at));
		return;
	}
	c->names_unsure = true;
	uint64_t first = node->low ? node->low->object : OBJECT_ROOT;
	uint64_t last = node->high ? node->high->object : le64_get(c->body.next_object);
	check_lost(c, "A node of the file tree %s (level %u, band %u, block %llu): what it held is lost, of inodes %llu to %llu.", what,
		node->level, address_band(at), (unsigned long long)address_block(at), (unsigned long long)first, (unsigned long long)last);
	name_lost(c, first, last);
}

static void on_bad_key(void *ctx, const struct walk_node *node, const struct key *key, const char *what)
{
	struct check *c = ctx;
	check_say(c, "The %s has a key %s: object %llu, type %u, offset %llu.", walk_tree_name(node->tree), what,
		(unsigned long long)key->object, key->type, (unsigned long long)key->offset);
	note_cut(c, node);
}

static void on_file_item(void *ctx, const struct walk_node *leaf, const struct item *item)
{
	(void)leaf;
	check_file_item(ctx, item);
}

static void on_system_item(void *ctx, const struct walk_node *leaf, const struct item *item)
{
	(void)leaf;
	check_system_item(ctx, item);
}

static void walk_files(struct check *c)
{
	struct walk walk = { .fs = c->fs, .tree = TREE_FILE, .ctx = c, .pointer = on_pointer, .bad = on_bad, .bad_key = on_bad_key,
		.item = on_file_item, .generation = c->generation };
	c->phase = "files";
	c->total_nodes = c->fs->alloc.live_blocks / UNIT_BLOCKS;
	int r = walk_tree(&walk, &c->body.file_tree, c->body.file_level);
	if (c->error == 0)
		c->error = r;
	if (c->error == 0)
		check_objects_end(c);
}

static void walk_space(struct check *c)
{
	struct walk walk = { .fs = c->fs, .tree = TREE_SYSTEM, .ctx = c, .pointer = on_pointer, .bad = on_bad, .bad_key = on_bad_key,
		.item = on_system_item, .generation = c->generation };
	c->phase = "space";
	int r = walk_tree(&walk, &c->body.system_tree, c->body.system_level);
	if (c->error == 0)
		c->error = r;
}

static void check_totals(struct check *c)
{
	struct fs *fs = c->fs;
	if (c->inodes != le64_get(c->body.inodes))
		check_say(c, "There are %llu inodes and the root says %llu.", (unsigned long long)c->inodes,
			(unsigned long long)le64_get(c->body.inodes));
	if (c->last_ino >= le64_get(c->body.next_object))
		check_say(c, "The next inode number is %llu and inode %llu is there already.",
			(unsigned long long)le64_get(c->body.next_object), (unsigned long long)c->last_ino);
	if (c->reserved_blocks != le64_get(c->body.reserved_blocks))
		check_say(c, "%llu blocks are reserved and the root says %llu.", (unsigned long long)c->reserved_blocks,
			(unsigned long long)le64_get(c->body.reserved_blocks));
	if (fs->alloc.capacity_blocks != le64_get(c->body.capacity_blocks))
		check_say(c, "The array has %llu blocks and the root says %llu.", (unsigned long long)fs->alloc.capacity_blocks,
			(unsigned long long)le64_get(c->body.capacity_blocks));
}

bool check_idle(struct fs *fs)
{
	pthread_mutex_lock(&fs->lock);
	bool dirty = fs->open->dirty || fs->open->placing > 0 || fs->open->run_count > 0;
	pthread_mutex_unlock(&fs->lock);
	return !dirty;
}

int check_begin(struct check *c, struct fs *fs, const struct fs_check_options *options)
{
	*c = (struct check){ .fs = fs, .options = options, .body = fs->root_body, .generation = fs->tree_generation };
	env_random(fs->env, c->key, sizeof c->key);
	c->buffer = malloc((size_t)CHECK_READ_RECORDS * UNIT_BYTES);
	return c->buffer ? check_space_begin(c) : -ENOMEM;
}

int check_all(struct check *c)
{
	struct fs *fs = c->fs;
	struct store_pin pin;
	SCOPED_LOCK(&fs->commit_lock);
	if (fs->error)
		return fs->error;
	if (!check_idle(fs))
		return -EBUSY;
	store_pin_now(fs, &pin);
	check_log(c);
	if (c->error == 0)
		walk_files(c);
	uint64_t before = c->findings;
	if (c->error == 0)
		walk_space(c);
	if (c->error == 0)
		check_pending(c);
	if (c->error == 0)
		check_space_end(c);
	c->space_findings = c->findings - before - c->parity_findings;
	if (c->error == 0)
		check_totals(c);
	store_unpin(fs, &pin);
	if (c->error == 0 && !check_idle(fs))
		return -EBUSY;
	return c->error;
}

void check_free(struct check *c)
{
	check_space_free(c);
	for (size_t i = 0; i < c->text_count; i++)
		free(c->texts[i]);
	free(c->texts);
	free(c->dirs);
	free(c->suspects);
	free(c->cuts);
	free(c->twice);
	free(c->buffer);
}

/* ---- The old face ---- */

struct complain { void (*say)(void *ctx, const char *text); void *ctx; };

static void complain_note(void *ctx, enum check_note kind, const char *text)
{
	const struct complain *complain = ctx;
	if (kind != CHECK_INFO && complain->say)
		complain->say(complain->ctx, text);
}

int64_t fs_check(struct fs *fs, bool data, void (*say)(void *ctx, const char *text), void *ctx)
{
	struct complain complain = { say, ctx };
	struct fs_check_options options = { .data = data, .note = complain_note, .ctx = &complain };
	struct fs_check_result result;
	int r = fs_check_run(fs, &options, &result);
	return r < 0 ? r : (int64_t)result.found;
}
