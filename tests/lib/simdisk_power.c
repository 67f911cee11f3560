/* Unflushed writes: kept in a list, made durable by a flush, and at a loss of power kept, dropped or torn.  See simdisk.h. */
#include "tests/lib/simdisk_impl.h"

#include "base/cleanup.h"

#include <assert.h>
#include <string.h>

/* ---- The list of unflushed writes ---- */

void simdisk_add_unflushed(struct simdisk *sim, uint64_t offset_bytes, uint64_t length_bytes)
{
	uint64_t first = offset_bytes / SIMCHUNK_BYTES;
	unsigned count = (unsigned)((offset_bytes + length_bytes - 1) / SIMCHUNK_BYTES - first + 1);
	struct unflushed *w = sim_alloc(sizeof(*w) + count * sizeof(w->chunks[0]));
	w->offset_bytes = offset_bytes;
	w->length_bytes = length_bytes;
	w->chunk_count = count;
	for (unsigned i = 0; i < count; i++)
		w->chunks[i] = simstore_chunk(&sim->current, first + i);
	list_append(&sim->unflushed, &w->entry);
	sim->unflushed_count++;
}

static void drop_one(struct simdisk *sim, struct unflushed *w)
{
	list_remove(&w->entry);
	for (unsigned i = 0; i < w->chunk_count; i++)
		simchunk_unref(w->chunks[i]);
	free(w);
	sim->unflushed_count--;
}

void simdisk_drop_unflushed(struct simdisk *sim)
{
	while (!list_empty(&sim->unflushed))
		drop_one(sim, container_of(sim->unflushed.next, struct unflushed, entry));
}

void simdisk_make_durable(struct simdisk *sim)
{
	for (struct list *e = sim->unflushed.next; e != &sim->unflushed; e = e->next) {
		struct unflushed *w = container_of(e, struct unflushed, entry);
		uint64_t first = w->offset_bytes / SIMCHUNK_BYTES;
		for (unsigned i = 0; i < w->chunk_count; i++) {
			struct simchunk *chunk = simstore_chunk(&sim->current, first + i);
			simstore_set_chunk(&sim->durable, first + i, chunk);
			simchunk_unref(chunk);
		}
	}
	simdisk_drop_unflushed(sim);
}

/* Puts sectors [from, to) of the write on the durable image. */
static void keep_sectors(struct simdisk *sim, const struct unflushed *w, uint64_t from, uint64_t to)
{
	uint64_t first = w->offset_bytes / SIMCHUNK_BYTES;
	uint64_t at = w->offset_bytes + from * SIM_SECTOR_BYTES, end = w->offset_bytes + to * SIM_SECTOR_BYTES;
	while (at < end) {
		uint64_t in_chunk = at % SIMCHUNK_BYTES;
		uint64_t n = SIMCHUNK_BYTES - in_chunk < end - at ? SIMCHUNK_BYTES - in_chunk : end - at;
		struct simchunk *chunk = w->chunks[at / SIMCHUNK_BYTES - first];
		simstore_write(&sim->durable, at, simchunk_bytes(chunk) + in_chunk, n);
		at += n;
	}
}

static uint64_t sectors_of(const struct unflushed *w)
{
	return w->length_bytes / SIM_SECTOR_BYTES;
}

void simdisk_settle_range(struct simdisk *sim, uint64_t offset_bytes, uint64_t bytes)
{
	for (struct list *e = sim->unflushed.next, *next; e != &sim->unflushed; e = next) {
		struct unflushed *w = container_of(e, struct unflushed, entry);
		next = e->next;
		if (w->offset_bytes >= offset_bytes + bytes || w->offset_bytes + w->length_bytes <= offset_bytes)
			continue;
		keep_sectors(sim, w, 0, w->length_bytes / SIM_SECTOR_BYTES);
		drop_one(sim, w);
	}
}

/* Kept, dropped, a prefix, or any subset of its sectors. */
static void keep_random(struct simdisk *sim, const struct unflushed *w)
{
	uint64_t sectors = sectors_of(w), r = simworld_random_next(sim->world);
	switch (r % 4) {
	case 0:
		keep_sectors(sim, w, 0, sectors);
		break;
	case 1:
		keep_sectors(sim, w, 0, (r >> 8) % sectors);
		break;
	case 2:
		for (uint64_t i = 0; i < sectors; i++) {
			if (i % 64 == 0)
				r = simworld_random_next(sim->world);
			if (r >> i % 64 & 1)
				keep_sectors(sim, w, i, i + 1);
		}
		break;
	}
}

/* ---- Power ---- */

/* What hangs at a cut was in flight like the rest. */
static void begin_cut(struct simdisk *sim)
{
	simdisk_end_hung(sim, true);
}

/* The durable image is what is left. */
static void end_cut(struct simdisk *sim)
{
	simdisk_drop_unflushed(sim);
	simstore_free(&sim->current);
	simstore_copy(&sim->current, &sim->durable);
}

void simdisk_cut(struct simdisk *sim, enum simcut_policy policy)
{
	SCOPED_LOCK(&sim->world->lock);
	begin_cut(sim);
	for (struct list *e = sim->unflushed.next; e != &sim->unflushed; e = e->next) {
		struct unflushed *w = container_of(e, struct unflushed, entry);
		if (policy == SIMCUT_KEEP_ALL)
			keep_sectors(sim, w, 0, sectors_of(w));
		else if (policy == SIMCUT_RANDOM)
			keep_random(sim, w);
	}
	end_cut(sim);
}

void simdisk_cut_subset(struct simdisk *sim, const bool *keep)
{
	SCOPED_LOCK(&sim->world->lock);
	begin_cut(sim);
	for (struct list *e = sim->unflushed.next; e != &sim->unflushed; e = e->next) {
		struct unflushed *w = container_of(e, struct unflushed, entry);
		if (*keep++)
			keep_sectors(sim, w, 0, sectors_of(w));
	}
	end_cut(sim);
}

void simdisk_cut_plan(struct simdisk *sim, const struct simkeep *plan)
{
	SCOPED_LOCK(&sim->world->lock);
	begin_cut(sim);
	for (struct list *e = sim->unflushed.next; e != &sim->unflushed; e = e->next, plan++) {
		struct unflushed *w = container_of(e, struct unflushed, entry);
		struct simworld stream = { .random_state = plan->seed };
		if (!plan->seed)
			keep_sectors(sim, w, plan->from, plan->to);
		for (uint64_t i = plan->from; plan->seed && i < plan->to; i++)
			if (simworld_random_next(&stream) & 1)
				keep_sectors(sim, w, i, i + 1);
	}
	end_cut(sim);
}

void simdisk_cut_torn(struct simdisk *sim, unsigned write, uint64_t sectors, bool from_end)
{
	SCOPED_LOCK(&sim->world->lock);
	begin_cut(sim);
	unsigned number = 0;
	for (struct list *e = sim->unflushed.next; e != &sim->unflushed && number <= write; e = e->next, number++) {
		struct unflushed *w = container_of(e, struct unflushed, entry);
		uint64_t all = sectors_of(w);
		uint64_t kept = number < write || sectors > all ? all : sectors;
		keep_sectors(sim, w, from_end ? all - kept : 0, from_end ? all : kept);
	}
	end_cut(sim);
}

unsigned simdisk_unflushed(struct simdisk *sim)
{
	SCOPED_LOCK(&sim->world->lock);
	return sim->unflushed_count;
}

uint64_t simdisk_unflushed_sectors(struct simdisk *sim, unsigned write)
{
	SCOPED_LOCK(&sim->world->lock);
	assert(write < sim->unflushed_count);
	struct list *e = sim->unflushed.next;
	while (write-- > 0)
		e = e->next;
	return sectors_of(container_of(e, struct unflushed, entry));
}

void simworld_power_on(struct simworld *world)
{
	SCOPED_LOCK(&world->lock);
	for (unsigned i = 0; i < world->disk_count; i++)
		assert(world->disks[i]->unflushed_count == 0 && world->disks[i]->hung_count == 0);
	world->power_ons++;
	world->cut = false;
	world->cut_at_op = world->cut_at_change = SIM_NEVER;
}

void simworld_cut(struct simworld *world, enum simcut_policy policy)
{
	for (unsigned i = 0; i < world->disk_count; i++)
		simdisk_cut(world->disks[i], policy);
	simworld_power_on(world);
}
