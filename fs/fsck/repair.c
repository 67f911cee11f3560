/* Repair: rounds of a whole check, then what it found is mended by ordinary transactions, until a check finds nothing or no less.
 *
 * A round's order matters.  Space comes first, since nothing may be written as long as blocks in use may be marked free: the
 * system tree is made anew from whatever the file tree reaches, right or wrong (repair_space.c).  Then nodes that lead to
 * nothing are cut out of the file tree, and in the same commit the intent log is replayed, which opening for repair has left
 * (repair_log): so everything that it has finds a place.  Then objects and names are made to agree with each other.  What a
 * repair frees or loses the next round's check finds as wrong space, or as names without inode.
 *
 * Every step is an operation, and every round ends with a commit: so a cut leaves an older root or a newer one, never less than
 * there was. Nothing is written when the check finds nothing. */
#include "fs/fsck/checkimpl.h"
#include "fs/log/log.h"
#include "fs/upkeep/mend.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define ROUNDS_MAX 8
#define PARITY_TRIES 3u

void repair_say(struct check *c, const char *format, ...)
{
	char text[900];
	va_list args;
	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	check_note(c, CHECK_FIXED, "%s", text);
}

/* ---- Steps ---- */

static int cut_out(struct check *c, const struct cut *cut)
{
	struct op op;
	int r = op_begin(c->fs, &op, OP_RELOCATE, 0);
	if (r < 0)
		return r;
	do
		r = tree_cut(c->fs, &c->fs->file, &cut->key, cut->level, cut->at);
	while (op_retry(&op, &r));
	op_end(&op);
	if (r == 0)
		repair_say(c, "A node of the file tree that leads to nothing was taken out (level %u, band %u, block %llu).", cut->level,
			address_band(cut->at), (unsigned long long)address_block(cut->at));
	return r;
}

/* What a branch that was cut held cannot be met again: the highest go first. */
static int cut_all(struct check *c)
{
	int r = 0;
	for (int level = NODE_LEVEL_MAX; level >= 0; level--)
		for (size_t i = 0; i < c->cut_count && r == 0; i++)
			if (c->cuts[i].level == level)
				r = cut_out(c, &c->cuts[i]);
	return r;
}

/* Counts in the root. */
static void set_counts(struct check *c)
{
	struct fs *fs = c->fs;
	pthread_mutex_lock(&fs->lock);
	if (fs->inode_count != c->inodes || fs->reserved_blocks != c->reserved_blocks || fs->next_object <= c->last_ino
		|| le64_get(fs->root_body.capacity_blocks) != fs->alloc.capacity_blocks) {
		fs->inode_count = c->inodes;
		fs->reserved_blocks = c->reserved_blocks;
		if (fs->next_object <= c->last_ino)
			fs->next_object = c->last_ino + 1;
		txn_mark_dirty(fs);
	}
	pthread_mutex_unlock(&fs->lock);
}

static int mend_pinned(struct fs *fs, const struct band *b, uint64_t row)
{
	struct store_pin pin;
	store_pin_now(fs, &pin);
	int r = mend_row(fs, b, row);
	store_unpin(fs, &pin);
	return r;
}

/* Parity that is wrong, or a unit that cannot be read.  What the commits before replaced in the row is free only after one more. */
static int repair_row(struct check *c, const struct suspect *s)
{
	struct fs *fs = c->fs;
	const struct band *b = config_band(fs->config, (uint32_t)s->ino);
	unsigned long long row = s->offset;
	bool unreadable = s->kind == SUSPECT_UNREADABLE;
	int r = commit_open(fs);
	if (r == 0)
		r = mend_pinned(fs, b, row);
	for (unsigned i = 0; i < PARITY_TRIES && r == -EAGAIN; i++) {
		pthread_mutex_lock(&fs->lock);
		txn_mark_dirty(fs);
		pthread_mutex_unlock(&fs->lock);
		r = fs_sync(fs);
		if (r == 0)
			r = mend_pinned(fs, b, row);
	}
	if (r < 0 && r != -EIO && r != -EAGAIN && r != -ENOENT)
		return r;
	if (r == -ENOENT)
		repair_say(c, "Nothing is left in band %u, row %llu, %s.", b->id, row, unreadable ? "which could not be read as a whole"
			: "whose parity was wrong");
	else if (check_row_parity(fs, b, row))
		repair_say(c, unreadable ? "What could not be read of band %u, row %llu was written anew."
			: "Parity of band %u, row %llu was written anew.", b->id, row);
	else
		check_note(c, CHECK_INFO, unreadable ? "Band %u, row %llu stays as it is: not all data of that row can be read."
			: "Parity of band %u, row %llu stays as it is: not all data of that row can be read.", b->id, row);
	return 0;
}

static int repair_suspect(struct check *c, const struct suspect *s)
{
	switch ((enum suspect_kind)s->kind) {
	case SUSPECT_HEADLESS: return repair_headless(c, s->ino);
	case SUSPECT_OBJECT: return repair_object(c, s->ino);
	case SUSPECT_ENTRY: return repair_entry(c, s->ino, s->offset);
	case SUSPECT_LINK: return repair_link(c, s->ino, s->offset);
	case SUSPECT_UNROOTED: return repair_unrooted(c, s->ino);
	case SUSPECT_XATTR: return repair_xattr(c, s->ino, s->offset);
	case SUSPECT_PARITY: return repair_row(c, s);
	case SUSPECT_UNREADABLE: return repair_row(c, s);
	case SUSPECT_UNOWNED: return repair_unowned(c, s->ino);
	}
	return -EINVAL;
}

/* What cannot be read or makes no sense stops no other repair. */
static bool stops(int r) { return r < 0 && r != -EIO && r != -EUCLEAN && r != -ENOENT; }

int repair_round(struct check *c)
{
	/* An inode before the names that lead to it; names before objects, so that these are counted when their names are there. */
	static const enum suspect_kind order[] = { SUSPECT_HEADLESS, SUSPECT_UNREADABLE, SUSPECT_PARITY, SUSPECT_XATTR, SUSPECT_LINK,
		SUSPECT_ENTRY, SUSPECT_UNOWNED, SUSPECT_OBJECT, SUSPECT_UNROOTED };
	int r = 0;
	bool lost = c->fs->system_lost;
	if (c->space_findings > 0 || lost) {
		r = repair_space(c);
		if (r == 0)
			repair_say(c, "The record of used and free space was made anew from the files.");
	}
	if (r == 0 && c->fs->log->waits) {
		r = cut_all(c);
		return r == 0 ? repair_log(c) : r;
	}
	if (r == 0 && c->cut_count > 0) {
		r = cut_all(c);          /* what names lead to is only certain when every node can be read */
		return r == 0 ? fs_sync(c->fs) : r;
	}
	if (r == 0)
		set_counts(c);
	if (r == 0)
		r = repair_twice(c);
	for (size_t k = 0; k < ARRAY_COUNT(order) && r == 0; k++)
		for (size_t i = 0; i < c->suspect_count && r == 0; i++) {
			struct suspect s = c->suspects[i];       /* the list may grow meanwhile */
			if (s.kind != order[k])
				continue;
			r = repair_suspect(c, &s);
			if (!stops(r))
				r = 0;
		}
	return r == 0 ? fs_sync(c->fs) : r;
}

/* ---- Rounds ---- */

static uint64_t healed_blocks(struct fs *fs)
{
	uint64_t healed = 0;
	for (unsigned i = 0; i < array_member_count(fs->array); i++) {
		struct member_status status;
		array_member_status(fs->array, i, &status);
		healed += status.healed;
	}
	return healed;
}

/* Releases of a commit wait for its root and for no pin; all there is of both is done now. */
static void settle(struct fs *fs)
{
	pthread_mutex_lock(&fs->lock);
	commit_release(fs);
	pthread_mutex_unlock(&fs->lock);
}

static int check_once(struct check *c, struct fs *fs, const struct fs_check_options *options, bool keep,
	struct fs_check_result *result)
{
	uint64_t used = 0;
	int r = check_begin(c, fs, options);
	c->keep = keep;
	if (r == 0)
		r = check_all(c);
	for (uint32_t i = 0; r == 0 && i < fs->config->band_count; i++)
		used += c->bands[i].reached;
	if (r == 0) {
		result->left = c->findings;
		result->directories = c->directories;
		result->files = c->files;
		result->blocks = used;
	}
	return r;
}

/* What the last round's check still found. */
static void tell_left(struct check *c)
{
	for (size_t i = 0; i < c->text_count; i++)
		check_note(c, CHECK_LOST, "%s", c->texts[i]);
}

static bool wants_round(const struct check *c, uint64_t findings_before)
{
	return c->fs->log->waits || (c->findings > 0 && c->findings != findings_before);
}

int fs_check_run(struct fs *fs, const struct fs_check_options *options, struct fs_check_result *ret_result)
{
	struct fs_check_result result = { 0 };
	struct check c;
	if (options->repair && (fs->options.read_only || fs->older || !fs->simple))
		return -EROFS;
	uint64_t healed = healed_blocks(fs), before = UINT64_MAX;
	int r = check_once(&c, fs, options, false, &result);
	result.found = result.left;
	for (unsigned round = 0; r == 0 && options->repair && wants_round(&c, before) && round < ROUNDS_MAX; round++) {
		before = fs->system_lost || fs->log->waits || c.cut_count > 0 ? UINT64_MAX : c.findings;
		r = repair_round(&c);
		check_free(&c);
		settle(fs);
		if (r == 0)
			r = check_once(&c, fs, options, true, &result);
		else
			c = (struct check){ .fs = fs, .options = options };
	}
	if (r == 0 && options->repair)
		tell_left(&c);
	healed = healed_blocks(fs) - healed;
	result.found = (result.found > result.left ? result.found : result.left) + healed;
	result.fixed = result.found - result.left;
	check_free(&c);
	if (r == 0)
		*ret_result = result;
	return r;
}
