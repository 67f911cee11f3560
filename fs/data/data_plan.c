/* The plan for one unit that a change covers in part: see data_edit.h for the rules, data_plan.h for the words.
 *
 * plan_unit goes over the unit's four blocks: plan_load says what is there, plan_touch what the change does to each,
 * plan_fates what becomes of them, plan_group which new records that makes, plan_old what content these need.
 */
#include "fs/data/data_plan.h"

#include <errno.h>
#include <stdlib.h>

static bool same_place(const struct record_place *a, const struct record_place *b)
{
	return a->address == b->address && a->blocks == b->blocks && a->object == b->object && a->block == b->block &&
		a->index == b->index && !memcmp(a->nonce, b->nonce, sizeof(a->nonce)) && !memcmp(a->tag, b->tag, sizeof(a->tag));
}

static bool is_lost(const struct data_edit *edit, const struct record_place *place)
{
	for (unsigned i = 0; i < EDIT_OLD_MAX; i++)
		if (edit->old[i].lost && same_place(&edit->old[i].place, place))
			return true;
	return false;
}

static bool alive(const struct plan_block *block)
{
	return block->state == STATE_DISK || block->state == STATE_DIRTY;
}

/* What stands in the tree. */
static int plan_load(struct fs *fs, const struct data_edit *edit, struct edit_plan *plan)
{
	struct extent_walk walk = { .ino = edit->ino, .block = plan->block, .limit = plan->block + UNIT_BLOCKS };
	struct extent extent;
	int r;

	while ((r = extent_walk_next(fs, &walk, &extent)) == 0) {
		for (unsigned b = 0; b < UNIT_BLOCKS; b++) {
			struct plan_block *block = &plan->blocks[b];
			uint64_t at = plan->block + b, first;
			if (at < extent.block || at >= extent.block + extent.blocks)
				continue;
			if (extent.kind == EXTENT_RESERVED) {
				block->state = STATE_RESERVED;
				continue;
			}
			if (extent.kind == EXTENT_DIRTY) {
				block->state = STATE_DIRTY;
				block->record = record_of(&extent.item);
				block->writable = record_writable(fs, block->record);
				block->split = record_split(block->record);
				first = extent.block;
				block->count = (uint8_t)extent.blocks;
				block->old = record_data(block->record) + (at - first) * BLOCK_BYTES;
			} else {
				block->state = STATE_DISK;
				extent_record(&extent.item, at, &block->place);
				first = block->place.block;
				block->count = (uint8_t)block->place.blocks;
				block->lost = is_lost(edit, &block->place);
			}
			assert(first >= plan->block && first + block->count <= plan->block + UNIT_BLOCKS);
			block->first = (uint8_t)(first - plan->block);
		}
	}
	return r == -ENOENT ? 0 : r;
}

/* The part of a block that the change touches, in bytes from the block's start. */
static bool touched_part(const struct data_edit *edit, uint64_t at, unsigned *ret_from, unsigned *ret_to)
{
	uint64_t start = at * BLOCK_BYTES, end = start + BLOCK_BYTES;
	uint64_t from = edit->start_bytes > start ? edit->start_bytes : start;
	uint64_t to = edit->end_bytes < end ? edit->end_bytes : end;

	if (from >= to)
		return false;
	*ret_from = (unsigned)(from - start);
	*ret_to = (unsigned)(to - start);
	return true;
}

static void plan_touch(const struct data_edit *edit, uint64_t size_bytes, struct edit_plan *plan)
{
	for (unsigned b = 0; b < UNIT_BLOCKS; b++) {
		struct plan_block *block = &plan->blocks[b];
		uint64_t start = (plan->block + b) * BLOCK_BYTES;
		/* What lies beyond the size is zero already. */
		uint64_t live = size_bytes > start && size_bytes - start < BLOCK_BYTES ? size_bytes - start : BLOCK_BYTES;
		unsigned from, to;
		if (!touched_part(edit, plan->block + b, &from, &to))
			continue;
		block->whole = from == 0 && to >= live;
		/* Zeros in a hole change nothing. */
		block->touched = edit->source || block->whole || alive(block);
	}
}

/* Does any block of the record stay as it is, in part or whole? */
static bool record_stays(const struct edit_plan *plan, const struct plan_block *block)
{
	for (unsigned b = block->first; b < block->first + block->count; b++)
		if (!plan->blocks[b].touched || !plan->blocks[b].whole)
			return true;
	return false;
}

static bool record_loses(const struct edit_plan *plan, const struct plan_block *block)
{
	for (unsigned b = block->first; b < block->first + block->count; b++)
		if (plan->blocks[b].fate == FATE_DROP)
			return true;
	return false;
}

/* A block that the change writes. */
static enum plan_fate touched_fate(const struct plan_block *block, bool tail)
{
	if (block->state != STATE_DIRTY || (block->writable && !block->split))
		return FATE_JOIN;
	if (block->writable)
		return FATE_IN_PLACE;
	return tail ? FATE_JOIN : FATE_SINGLE;
}

/* When all that lives here was written since the last commit, and without a gap, it becomes one record. */
static void plan_complete(struct edit_plan *plan)
{
	unsigned first = UNIT_BLOCKS, last = 0, count = 0;

	for (unsigned b = 0; b < UNIT_BLOCKS; b++) {
		struct plan_block *block = &plan->blocks[b];
		if (block->fate == FATE_JOIN || block->fate == FATE_SINGLE) {
			first = first < b ? first : b;
			last = b;
			count++;
		} else if (block->fate != FATE_DROP && alive(block)) {
			return;
		}
	}
	if (count && last - first + 1 == count)
		for (unsigned b = first; b <= last; b++)
			plan->blocks[b].fate = FATE_JOIN;
}

static void plan_fates(const struct data_edit *edit, uint64_t size_bytes, struct edit_plan *plan)
{
	bool tail = edit->source ? edit->end_bytes >= size_bytes : edit->tail;

	for (unsigned b = 0; b < UNIT_BLOCKS; b++) {
		struct plan_block *block = &plan->blocks[b];
		block->must = block->touched;
		if (block->touched && block->whole && !edit->source)
			block->fate = FATE_DROP;
		else if (block->touched)
			block->fate = touched_fate(block, tail);
		else if (block->state == STATE_DIRTY && block->writable && !block->split)
			block->fate = FATE_JOIN;
	}
	for (unsigned b = 0; b < UNIT_BLOCKS; b++) {
		struct plan_block *block = &plan->blocks[b];
		if (!block->touched || !alive(block) || block->count == 1)
			continue;
		if (!record_stays(plan, block)) {
			/* A split record that is overwritten whole is as good as none. */
			if (block->fate == FATE_IN_PLACE)
				block->fate = FATE_SINGLE;
			continue;
		}
		/* On the disk it is cut, unless it is to grow. */
		if (block->state == STATE_DISK && (block->lost || !tail || !edit->source))
			continue;
		/* A record that must be written anew: all of it is. */
		if (block->writable && !record_loses(plan, block))
			continue;
		for (unsigned i = block->first; i < block->first + block->count; i++) {
			if (plan->blocks[i].fate == FATE_DROP)
				continue;
			plan->blocks[i].must = true;
			plan->blocks[i].fate = tail || (block->writable && !block->split) ? FATE_JOIN : FATE_SPLIT;
		}
	}
	plan_complete(plan);
}

/* Is the group, exactly, a record that can be changed in place? */
static bool group_in_place(const struct edit_plan *plan, unsigned first, unsigned count)
{
	const struct plan_block *block = &plan->blocks[first];

	return block->state == STATE_DIRTY && block->writable && !block->split && block->first == first && block->count == count;
}

static void plan_group(struct edit_plan *plan)
{
	unsigned next;

	for (unsigned b = 0; b < UNIT_BLOCKS; b = next) {
		enum plan_fate fate = plan->blocks[b].fate;
		bool must = plan->blocks[b].must;
		next = b + 1;
		if (fate != FATE_JOIN && fate != FATE_SINGLE && fate != FATE_SPLIT)
			continue;
		while (next < UNIT_BLOCKS && fate != FATE_SINGLE && plan->blocks[next].fate == fate &&
			(fate == FATE_JOIN || plan->blocks[next].first == plan->blocks[b].first))
			must |= plan->blocks[next++].must;
		if (!must)
			continue;
		if (fate == FATE_JOIN && group_in_place(plan, b, next - b)) {
			for (unsigned i = b; i < next; i++)
				plan->blocks[i].fate = FATE_IN_PLACE;
			continue;
		}
		plan->out[plan->out_count++] = (struct plan_out){ b, next - b, fate == FATE_SPLIT, NULL };
		for (unsigned i = b; i < next; i++)
			plan->blocks[i].leaves = true;
	}
}

/* The slot for a record's old content: the one that has it, or else one that nothing in this plan wants. */
static struct edit_old *old_slot(struct data_edit *edit, const struct record_place *place)
{
	struct edit_old *free_slot = NULL;

	for (unsigned i = 0; i < EDIT_OLD_MAX; i++) {
		struct edit_old *old = &edit->old[i];
		if (old->bytes && same_place(&old->place, place))
			return old;
		if (!old->wanted && !free_slot)
			free_slot = old;
	}
	assert(free_slot);
	if (!free_slot->bytes)
		free_slot->bytes = malloc(UNIT_BYTES);
	if (!free_slot->bytes)
		return NULL;
	free_slot->place = *place;
	free_slot->ready = free_slot->lost = false;
	return free_slot;
}

/* Old content on the disk that new records need. -EIO if it cannot be had. */
static int plan_old(struct data_edit *edit, struct edit_plan *plan)
{
	for (unsigned b = 0; b < UNIT_BLOCKS; b++) {
		struct plan_block *block = &plan->blocks[b];
		if (!block->leaves || block->state != STATE_DISK || (block->touched && block->whole))
			continue;
		if (block->lost)
			return -EIO;
		struct edit_old *old = old_slot(edit, &block->place);
		if (!old)
			return -ENOMEM;
		old->wanted = true;
		block->old = old->bytes + (b - block->first) * BLOCK_BYTES;
	}
	return 0;
}

int plan_unit(struct fs *fs, struct data_edit *edit, uint64_t size_bytes, uint64_t unit, struct edit_plan *plan)
{
	*plan = (struct edit_plan){ .active = true, .block = unit * UNIT_BLOCKS,
		.fresh = edit->fresh[unit - edit->start_bytes / UNIT_BYTES] };
	int r = plan_load(fs, edit, plan);
	if (r < 0)
		return r;
	plan_touch(edit, size_bytes, plan);
	plan_fates(edit, size_bytes, plan);
	plan_group(plan);
	return plan_old(edit, plan);
}

/* Puts what the change does to one block into `to`, its content before. */
static void change_block(const struct data_edit *edit, uint64_t at, uint8_t *to)
{
	unsigned from_bytes, to_bytes;

	if (!touched_part(edit, at, &from_bytes, &to_bytes))
		return;
	if (edit->source)
		memcpy(to + from_bytes, edit->source + (at * BLOCK_BYTES + from_bytes - edit->start_bytes), to_bytes - from_bytes);
	else
		memset(to + from_bytes, 0, to_bytes - from_bytes);
}

int plan_fill(struct data_edit *edit, struct edit_plan *plan)
{
	for (unsigned o = 0; o < plan->out_count; o++) {
		struct plan_out *out = &plan->out[o];
		uint64_t at = plan->block + out->first;
		bool fits = plan->fresh && !out->split && record_block(plan->fresh) == at && record_blocks(plan->fresh) == out->blocks;
		out->record = fits ? plan->fresh : record_new(edit->ino, at, out->blocks, out->split);
		if (!out->record)
			return -ENOMEM;
		for (unsigned b = out->first; b < out->first + out->blocks; b++, at++) {
			const struct plan_block *block = &plan->blocks[b];
			uint8_t *to = record_data(out->record) + (b - out->first) * BLOCK_BYTES;
			bool whole = block->touched && block->whole;
			if (fits && (whole || !block->old))
				continue;
			if (!whole && block->old)
				memcpy(to, block->old, BLOCK_BYTES);
			if (block->touched)
				change_block(edit, at, to);
		}
	}
	return 0;
}

void plan_change_in_place(const struct data_edit *edit, const struct edit_plan *plan)
{
	for (unsigned b = 0; plan->active && b < UNIT_BLOCKS; b++) {
		const struct plan_block *block = &plan->blocks[b];
		if (block->fate != FATE_IN_PLACE || !block->touched)
			continue;
		change_block(edit, plan->block + b, record_data(block->record) + (b - block->first) * BLOCK_BYTES);
	}
}

void plan_reset(struct fs *fs, struct edit_plan *plan)
{
	for (unsigned o = 0; o < plan->out_count; o++)
		if (plan->out[o].record && plan->out[o].record != plan->fresh)
			record_unref(fs, plan->out[o].record);
	*plan = (struct edit_plan){ 0 };
}
