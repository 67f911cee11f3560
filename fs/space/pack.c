#include "fs/space/pack.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const struct band *run_band(const struct pack *pack, const struct pack_run *run)
{
	return &pack->fs->config->bands[run->rows.band];
}

/* Takes one more run of rows. */
static int take_run(struct pack *pack, unsigned units_left)
{
	struct fs *fs = pack->fs;
	struct op op;
	struct rows rows;
	/* The width of the band is not known before: ask for as many rows as the narrowest would need. */
	unsigned want = units_left < PARITY_RUN_ROWS ? units_left : PARITY_RUN_ROWS;
	int r = op_begin(fs, &op, OP_READ, 0);
	/* A pin is held for one read at most: rows that it keeps from being reused are worth waiting for. */
	do
		r = alloc_take(fs, want, &rows);
	while (op_retry(&op, &r) || (r == -ENOSPC && commit_wait_release(fs)));
	if (r == 0) {
		unsigned width = band_data_units(&fs->config->bands[rows.band]), need = (units_left + width - 1) / width;
		if (rows.count > need) {
			struct rows rest = { rows.band, rows.row + need, rows.count - need };
			alloc_untake(fs, &rest);
			if (fs->alloc.cursor_band == rows.band)
				fs->alloc.cursor_row = rest.row;
			rows.count = need;
		}
	}
	op_end(&op);
	if (r < 0)
		return r;
	struct pack_run *run = vector_add(&pack->runs, &pack->run_count, &pack->run_room, sizeof *run);
	if (!run) {
		pthread_mutex_lock(&fs->lock);
		alloc_untake(fs, &rows);
		pthread_mutex_unlock(&fs->lock);
		return -ENOMEM;
	}
	run->rows = rows;
	run->first_unit = pack->units;
	run->units = rows.count * band_data_units(run_band(pack, run));
	pack->units += run->units;
	run->data = iobuf_new((size_t)run->units * UNIT_BYTES);
	return run->data ? 0 : -ENOMEM;
}

int pack_begin(struct fs *fs, unsigned units, struct pack *ret_pack)
{
	*ret_pack = (struct pack){ .fs = fs };
	while (ret_pack->units < units) {
		int r = take_run(ret_pack, units - ret_pack->units);
		if (r < 0) {
			pack_end(ret_pack);
			return r;
		}
	}
	return 0;
}

struct pack_run *pack_find(struct pack *pack, unsigned unit)
{
	size_t low = 0, high = pack->run_count;
	while (low + 1 < high) {
		size_t mid = (low + high) / 2;
		if (pack->runs[mid].first_unit <= unit)
			low = mid;
		else
			high = mid;
	}
	return &pack->runs[low];
}

address pack_address(struct pack *pack, unsigned unit)
{
	struct pack_run *run = pack_find(pack, unit);
	return band_row_address(run_band(pack, run), run->rows.row) + (uint64_t)(unit - run->first_unit) * UNIT_BLOCKS;
}

uint8_t *pack_memory(struct pack *pack, unsigned unit)
{
	struct pack_run *run = pack_find(pack, unit);
	return run->data->data + (size_t)(unit - run->first_unit) * UNIT_BYTES;
}

int pack_own(struct pack *pack, unsigned unit, unsigned block, unsigned blocks, const struct row_owner *owner)
{
	struct pack_run *run = pack_find(pack, unit);
	unsigned start = (unit - run->first_unit) * UNIT_BLOCKS + block;
	struct row_owner *last = run->owner_count ? &run->owners[run->owner_count - 1] : NULL;
	if (last && last->level == ROW_OWNER_DATA && owner->level == ROW_OWNER_DATA
		&& le16_get(last->start_block) + le16_get(last->blocks) == start
		&& le64_get(last->object) == le64_get(owner->object)
		&& le64_get(last->offset) + le16_get(last->blocks) == le64_get(owner->offset)) {
		last->blocks = le16_put((uint16_t)(le16_get(last->blocks) + blocks));
		return 0;
	}
	struct row_owner *o = vector_add(&run->owners, &run->owner_count, &run->owner_room, sizeof *o);
	if (!o)
		return -ENOMEM;
	*o = *owner;
	o->start_block = le16_put((uint16_t)start);
	o->blocks = le16_put((uint16_t)blocks);
	return 0;
}

/* The memory may hold anything: what no owner has filled must not reach a disk. */
static void zero_padding(const struct pack_run *run)
{
	size_t at = 0;
	for (size_t i = 0; i < run->owner_count; i++) {
		const struct row_owner *owner = &run->owners[i];
		size_t start = (size_t)le16_get(owner->start_block) * BLOCK_BYTES;
		memset(run->data->data + at, 0, start - at);
		at = start + (size_t)le16_get(owner->blocks) * BLOCK_BYTES;
	}
	memset(run->data->data + at, 0, (size_t)run->units * UNIT_BYTES - at);
}

void pack_write_run(struct pack *pack, struct pack_run *run)
{
	zero_padding(run);
	run->result = array_write_rows(pack->fs->array, run_band(pack, run)->id, run->rows.row, run->rows.count, run->data);
}

static void write_one(void *ctx, unsigned i)
{
	struct pack *pack = ctx;
	pack_write_run(pack, &pack->runs[i]);
}

int pack_write(struct pack *pack)
{
	pool_run(pack->fs->pool, (unsigned)pack->run_count, write_one, pack);
	for (size_t i = 0; i < pack->run_count; i++)
		if (pack->runs[i].result < 0)
			return pack->runs[i].result;
	return 0;
}

int pack_hand_over(struct pack *pack, struct run **runs, size_t *count, size_t *room, bool system)
{
	for (size_t i = 0; i < pack->run_count; i++) {
		struct pack_run *from = &pack->runs[i];
		struct run *to = vector_add(runs, count, room, sizeof *to);
		if (!to)
			return -ENOMEM;
		*to = (struct run){ from->rows, system, (unsigned)from->owner_count, from->owners };
		from->owners = NULL;
		from->rows.count = 0;
	}
	return 0;
}

void pack_end(struct pack *pack)
{
	for (size_t i = 0; i < pack->run_count; i++) {
		struct pack_run *run = &pack->runs[i];
		if (run->rows.count > 0) {
			pthread_mutex_lock(&pack->fs->lock);
			alloc_untake(pack->fs, &run->rows);
			pthread_mutex_unlock(&pack->fs->lock);
		}
		free(run->owners);
		iobuf_unref(run->data);
	}
	free(pack->runs);
	*pack = (struct pack){ 0 };
}
