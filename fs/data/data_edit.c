/* A change of a range of bytes: applies what fs/data/data_plan.c planned.  See data_edit.h. */
#include "fs/core.h"
#include "fs/data/data_plan.h"
#include "fs/names/path.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

/* Ranges of blocks to be removed from the tree before the new records are put. */
struct removals {
	unsigned count;
	struct { uint64_t from, to; } range[2 * UNIT_BLOCKS + 1];
};

static void removals_add(struct removals *ranges, uint64_t from, uint64_t to)
{
	if (from >= to)
		return;
	if (ranges->count && ranges->range[ranges->count - 1].to == from) {
		ranges->range[ranges->count - 1].to = to;
		return;
	}
	ranges->range[ranges->count].from = from;
	ranges->range[ranges->count++].to = to;
}

static void removals_add_plan(struct removals *ranges, const struct edit_plan *plan)
{
	for (unsigned b = 0; b < UNIT_BLOCKS; b++)
		if (plan->blocks[b].fate == FATE_DROP || plan->blocks[b].leaves)
			removals_add(ranges, plan->block + b, plan->block + b + 1);
}

static uint64_t first_unit(const struct data_edit *edit)
{
	return edit->start_bytes / UNIT_BYTES;
}

static uint64_t end_unit(const struct data_edit *edit)
{
	return (edit->end_bytes + UNIT_BYTES - 1) / UNIT_BYTES;
}

static bool unit_is_whole(const struct data_edit *edit, uint64_t unit)
{
	return unit * UNIT_BYTES >= edit->start_bytes && (unit + 1) * UNIT_BYTES <= edit->end_bytes;
}

int edit_init(struct data_edit *edit)
{
	edit->plans = calloc(2, sizeof(*edit->plans));
	if (!edit->plans)
		return -ENOMEM;
	assert(edit->start_bytes >= edit->end_bytes || end_unit(edit) - first_unit(edit) <= EDIT_UNITS_MAX);
	if (!edit->source)
		return 0;
	if (edit->keep)
		edit->share = share_new(edit->keep);     /* without, they are copied */
	for (uint64_t unit = first_unit(edit); unit < end_unit(edit); unit++) {
		uint64_t from = unit * UNIT_BYTES, to = from + UNIT_BYTES;
		from = from > edit->start_bytes ? from : edit->start_bytes;
		to = to < edit->end_bytes ? to : edit->end_bytes;
		const uint8_t *source = edit->source + (from - edit->start_bytes);
		struct record *record = edit->share && to - from == UNIT_BYTES
			? record_new_shared(edit->ino, from / BLOCK_BYTES, edit->share, (uint8_t *)source)
			: record_new_of(edit->ino, from, source, to - from);
		if (!record)
			return -ENOMEM;
		edit->fresh[unit - first_unit(edit)] = record;
	}
	return 0;
}

void edit_free(struct fs *fs, struct data_edit *edit)
{
	if (edit->plans) {
		plan_reset(fs, &edit->plans[0]);
		plan_reset(fs, &edit->plans[1]);
	}
	free(edit->plans);
	for (unsigned i = 0; i < EDIT_UNITS_MAX; i++)
		if (edit->fresh[i])
			record_unref(fs, edit->fresh[i]);
	share_unref(fs, edit->share);
	for (unsigned i = 0; i < EDIT_OLD_MAX; i++)
		free(edit->old[i].bytes);
	if (edit->pinned)
		store_unpin(fs, &edit->pin);
	*edit = (struct data_edit){ 0 };
}

/* One by one, since not all of them can be read. */
static int read_each(struct fs *fs, struct data_edit *edit)
{
	for (unsigned i = 0; i < EDIT_OLD_MAX; i++) {
		struct edit_old *old = &edit->old[i];
		void *const bufs[1] = { old->bytes };
		if (!old->wanted || old->ready)
			continue;
		int r = store_read_records(fs, &old->place, bufs, 1, NULL);
		if (r < 0 && r != -EIO)
			return r;
		if (r < 0)
			path_tell_lost(fs, &old->place);
		old->ready = r == 0;
		old->lost = r < 0;
	}
	return 0;
}

int edit_read_old(struct fs *fs, struct data_edit *edit)
{
	struct record_place places[EDIT_OLD_MAX];
	void *bufs[EDIT_OLD_MAX];
	unsigned count = 0;

	for (unsigned i = 0; i < EDIT_OLD_MAX; i++) {
		struct edit_old *old = &edit->old[i];
		if (!old->wanted || old->ready)
			continue;
		places[count] = old->place;
		bufs[count++] = old->bytes;
	}
	int r = store_read_records(fs, places, bufs, count, NULL);
	for (unsigned i = 0; r == 0 && i < EDIT_OLD_MAX; i++)
		edit->old[i].ready = edit->old[i].wanted;
	if (r == -EIO)
		r = read_each(fs, edit);
	store_unpin(fs, &edit->pin);
	edit->pinned = false;
	return r;
}

/* Plans the units at the edges; says which ranges go. */
static int plan_edges(struct fs *fs, struct data_edit *edit, uint64_t size_bytes, struct removals *ret_ranges)
{
	struct edit_plan *plan = edit->plans;
	uint64_t first = first_unit(edit), end = end_unit(edit);

	plan_reset(fs, &edit->plans[0]);
	plan_reset(fs, &edit->plans[1]);
	for (unsigned i = 0; i < EDIT_OLD_MAX; i++)
		edit->old[i].wanted = false;
	if (!unit_is_whole(edit, first)) {
		int r = plan_unit(fs, edit, size_bytes, first++, plan);
		if (r < 0)
			return r;
		removals_add_plan(ret_ranges, plan++);
	}
	if (first < end && !unit_is_whole(edit, end - 1)) {
		int r = plan_unit(fs, edit, size_bytes, --end, plan);
		if (r < 0)
			return r;
	}
	removals_add(ret_ranges, first * UNIT_BLOCKS, end * UNIT_BLOCKS);
	if (plan->active)
		removals_add_plan(ret_ranges, plan);
	for (unsigned i = 0; i < EDIT_OLD_MAX; i++) {
		if (!edit->old[i].wanted || edit->old[i].ready)
			continue;
		if (!edit->pinned)
			store_pin(fs, &edit->pin);
		edit->pinned = true;
	}
	return edit->pinned ? EDIT_READ : 0;
}

static int prepare_records(struct fs *fs, const struct data_edit *edit)
{
	int r = 0;

	for (uint64_t unit = first_unit(edit); r == 0 && unit < end_unit(edit); unit++) {
		struct key key = key_make(edit->ino, ITEM_EXTENT, unit * UNIT_BLOCKS);
		if (unit_is_whole(edit, unit))
			r = tree_prepare(fs, fs_file_tree(fs), &key);
		/* At an edge any block may begin a record. */
		for (unsigned b = 0; r == 0 && b < UNIT_BLOCKS && !unit_is_whole(edit, unit); b++, key.offset++)
			r = tree_prepare(fs, fs_file_tree(fs), &key);
	}
	return r;
}

static int put_record(struct fs *fs, struct inode *inode, struct record *record)
{
	inode->blocks += record_blocks(record);
	return record_put(fs, record);
}

/* All is prepared and filled: nothing from here on can miss. */
static int change(struct fs *fs, struct data_edit *edit, struct inode *inode, const struct removals *ranges)
{
	int r = 0;

	for (unsigned i = 0; i < 2; i++)
		plan_change_in_place(edit, &edit->plans[i]);
	for (unsigned i = 0; r == 0 && i < ranges->count; i++)
		r = data_remove(fs, inode, ranges->range[i].from, ranges->range[i].to);
	for (unsigned i = 0; i < 2; i++)
		for (unsigned o = 0; r == 0 && o < edit->plans[i].out_count; o++)
			r = put_record(fs, inode, edit->plans[i].out[o].record);
	for (uint64_t unit = first_unit(edit); r == 0 && edit->source && unit < end_unit(edit); unit++)
		if (unit_is_whole(edit, unit))
			r = put_record(fs, inode, edit->fresh[unit - first_unit(edit)]);
	assert(r != TREE_MISS);
	return inode_changed(fs, r);
}

/* For the intent log: blocks that went, and those that stay in part, which must be logged with the cut. */
static void note_cut(struct changes *changes, const struct data_edit *edit, uint64_t size_bytes)
{
	for (uint64_t unit = first_unit(edit); unit < end_unit(edit); unit++)
		if (unit_is_whole(edit, unit))
			changes_cut(changes, edit->ino, unit * UNIT_BLOCKS, (unit + 1) * UNIT_BLOCKS);
	for (unsigned i = 0; i < 2; i++)
		for (unsigned b = 0; edit->plans[i].active && b < UNIT_BLOCKS; b++) {
			const struct plan_block *block = &edit->plans[i].blocks[b];
			uint64_t at = edit->plans[i].block + b;
			if (block->touched && block->fate == FATE_DROP)
				changes_cut(changes, edit->ino, at, at + 1);
			else if (block->touched)
				changes_force(changes, edit->ino, size_bytes, at, at + 1);
		}
}

static void note_change(struct fs *fs, const struct data_edit *edit, const struct inode *inode)
{
	struct changes *changes = fs->open->changes;
	if (edit->source)
		changes_data(changes, edit->ino, inode->size_bytes, edit->start_bytes / BLOCK_BYTES,
			(edit->end_bytes + BLOCK_BYTES - 1) / BLOCK_BYTES);
	else
		note_cut(changes, edit, inode->size_bytes);
	/* Long xattrs and symlinks: nobody can wait for their data by itself. */
	if (!S_ISREG(inode->mode))
		changes_force_whole(changes, edit->ino);
}

int edit_apply(struct fs *fs, struct data_edit *edit, struct inode *inode)
{
	struct removals ranges = { 0 };

	if (edit->start_bytes >= edit->end_bytes)
		return 0;
	int r = plan_edges(fs, edit, inode->size_bytes, &ranges);
	for (unsigned i = 0; r == 0 && i < ranges.count; i++)
		r = data_prepare_range(fs, edit->ino, ranges.range[i].from, ranges.range[i].to);
	if (r == 0)
		r = prepare_records(fs, edit);
	for (unsigned i = 0; r == 0 && i < 2; i++)
		r = plan_fill(edit, &edit->plans[i]);
	if (r == 0)
		r = change(fs, edit, inode, &ranges);
	if (r == 0)
		note_change(fs, edit, inode);
	return r;
}
