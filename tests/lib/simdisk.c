/* Worlds, handles, operations and their faults.  See simdisk.h; simdisk_power.c has what becomes of writes that were not flushed. */
#include "tests/lib/simdisk_impl.h"

#include "base/cleanup.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

struct handle {
	struct disk disk;
	struct simdisk *sim;
	uint64_t power_on;       /* of the world when it was opened */
};

uint64_t simworld_random_next(struct simworld *world)
{
	uint64_t z = world->random_state += 0x9e3779b97f4a7c15;    /* splitmix64 */
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

uint64_t simworld_random(struct simworld *world)
{
	SCOPED_LOCK(&world->lock);
	return simworld_random_next(world);
}

/* ---- Worlds ---- */

struct simworld *simworld_new(uint64_t seed)
{
	struct simworld *world = sim_alloc(sizeof(*world));
	memset(world, 0, sizeof(*world));
	pthread_mutex_init(&world->lock, NULL);
	world->seed = world->random_state = seed;
	world->cut_at_op = world->cut_at_change = SIM_NEVER;
	return world;
}

static void add_disk(struct simworld *world, struct simdisk *sim)
{
	assert(world->disk_count < SIM_DISKS_MAX);
	sim->world = world;
	sim->index = world->disk_count;
	list_init(&sim->unflushed);
	list_init(&sim->hung);
	world->disks[world->disk_count++] = sim;
}

struct simdisk *simworld_add(struct simworld *world, uint64_t size_bytes)
{
	struct simdisk *sim = sim_alloc(sizeof(*sim));
	memset(sim, 0, sizeof(*sim));
	simstore_init(&sim->durable, size_bytes);
	simstore_init(&sim->current, size_bytes);
	add_disk(world, sim);
	return sim;
}

bool simdisk_inside(const struct simdisk *sim, uint64_t offset_bytes, uint64_t length_bytes)
{
	return offset_bytes <= sim->current.size_bytes && length_bytes <= sim->current.size_bytes - offset_bytes;
}

static void hold_hung_write(struct simdisk *sim, uint64_t offset_bytes, const struct iovec *iov, unsigned iov_count, size_t bytes)
{
	struct hung_write *h = sim_alloc(sizeof(*h) + bytes);
	h->offset_bytes = offset_bytes;
	h->bytes = bytes;
	uint8_t *out = h->data;
	for (unsigned i = 0; i < iov_count; i++) {
		memcpy(out, iov[i].iov_base, iov[i].iov_len);
		out += iov[i].iov_len;
	}
	list_append(&sim->hung, &h->entry);
}

void simdisk_end_hung(struct simdisk *sim, bool carried_out)
{
	while (!list_empty(&sim->hung)) {
		struct hung_write *h = container_of(sim->hung.next, struct hung_write, entry);
		list_remove(&h->entry);
		if (carried_out && simdisk_inside(sim, h->offset_bytes, h->bytes)) {
			simstore_write(&sim->current, h->offset_bytes, h->data, h->bytes);
			simdisk_add_unflushed(sim, h->offset_bytes, h->bytes);
		}
		free(h);
	}
	sim->hung_count = 0;
}

static struct simdisk *clone_disk(struct simworld *world, struct simdisk *from)
{
	struct simdisk *sim = sim_alloc(sizeof(*sim));
	*sim = *from;
	simstore_copy(&sim->durable, &from->durable);
	simstore_copy(&sim->current, &from->current);
	add_disk(world, sim);
	for (struct list *e = from->unflushed.next; e != &from->unflushed; e = e->next) {
		struct unflushed *w = container_of(e, struct unflushed, entry);
		size_t bytes = sizeof(*w) + w->chunk_count * sizeof(w->chunks[0]);
		struct unflushed *copy = memcpy(sim_alloc(bytes), w, bytes);
		for (unsigned i = 0; i < copy->chunk_count; i++)
			simchunk_ref(copy->chunks[i]);
		list_append(&sim->unflushed, &copy->entry);
	}
	for (struct list *e = from->hung.next; e != &from->hung; e = e->next) {
		struct hung_write *h = container_of(e, struct hung_write, entry);
		struct iovec iov = { h->data, h->bytes };
		hold_hung_write(sim, h->offset_bytes, &iov, 1, h->bytes);
	}
	return sim;
}

/* Lock held. */
static struct simworld *clone_world(struct simworld *world)
{
	struct simworld *copy = sim_alloc(sizeof(*copy));
	*copy = *world;
	pthread_mutex_init(&copy->lock, NULL);
	copy->on_cut = NULL;
	copy->on_read = NULL;
	copy->disk_count = 0;
	for (unsigned i = 0; i < world->disk_count; i++)
		clone_disk(copy, world->disks[i]);
	return copy;
}

struct simworld *simworld_clone(struct simworld *world)
{
	SCOPED_LOCK(&world->lock);
	return clone_world(world);
}

void simworld_free(struct simworld *world)
{
	if (!world)
		return;
	for (unsigned i = 0; i < world->disk_count; i++) {
		struct simdisk *sim = world->disks[i];
		simdisk_drop_unflushed(sim);
		simdisk_end_hung(sim, false);
		simstore_free(&sim->durable);
		simstore_free(&sim->current);
		free(sim);
	}
	pthread_mutex_destroy(&world->lock);
	free(world);
}

/* ---- Operations ---- */

static bool fault_applies(const struct simfault *f, const struct disk_io *io, uint64_t op)
{
	if (!(f->ops_mask & SIM_ON(io->op)) || (f->times > 0 && f->hits >= f->times))
		return false;
	if (op < f->from_op || (f->to_op > 0 && op >= f->to_op))
		return false;
	if (io->op == DISK_FLUSH)
		return f->from_bytes == 0 && f->to_bytes == 0;
	return io->offset_bytes + io->length_bytes > f->from_bytes && (f->to_bytes == 0 || io->offset_bytes < f->to_bytes);
}

/* The first rule that applies, counted; NULL. */
static struct simfault *find_fault(struct simdisk *sim, const struct disk_io *io, uint64_t op)
{
	for (unsigned i = 0; i < sim->fault_count; i++) {
		struct simfault *f = &sim->faults[i];
		if (f->kind == SIM_BAD_SECTORS) {
			if (io->op == DISK_WRITE && io->offset_bytes <= f->from_bytes && io->offset_bytes + io->length_bytes >= f->to_bytes)
				f->ops_mask = 0;    /* remapped by the write */
			if (io->op != DISK_READ)
				continue;
		}
		if (fault_applies(f, io, op)) {
			f->hits++;
			f->hit_op = op;
			return f;
		}
	}
	return NULL;
}

static void do_write(struct simdisk *sim, const struct disk_io *io, uint64_t offset_bytes, const struct simfault *fault)
{
	struct simworld *world = sim->world;
	uint64_t at = offset_bytes;
	for (unsigned i = 0; i < io->iov_count; i++) {
		if (world->on_write)
			world->on_write(world->on_write_ctx, sim, at, io->iov[i].iov_base, io->iov[i].iov_len);
		simstore_write(&sim->current, at, io->iov[i].iov_base, io->iov[i].iov_len);
		at += io->iov[i].iov_len;
	}
	if (fault && fault->kind == SIM_FLIP) {
		uint8_t byte;
		uint64_t place = offset_bytes + fault->flip_at_bytes % io->length_bytes;
		simstore_read(&sim->current, place, &byte, 1);
		byte ^= fault->flip_mask;
		simstore_write(&sim->current, place, &byte, 1);
	}
	simdisk_add_unflushed(sim, offset_bytes, io->length_bytes);
	sim->stats.writes++;
	sim->stats.written_bytes += io->length_bytes;
}

static void do_read(struct simdisk *sim, const struct disk_io *io, uint64_t offset_bytes, const struct simfault *fault)
{
	uint64_t at = offset_bytes;
	for (unsigned i = 0; i < io->iov_count; i++) {
		uint8_t *out = io->iov[i].iov_base;
		size_t bytes = io->iov[i].iov_len;
		simstore_read(&sim->current, at, out, bytes);
		if (fault && fault->kind == SIM_FLIP) {
			uint64_t place = offset_bytes + fault->flip_at_bytes % io->length_bytes;
			if (place >= at && place < at + bytes)
				out[place - at] ^= fault->flip_mask;
		}
		at += bytes;
	}
	sim->stats.reads++;
	sim->stats.read_bytes += io->length_bytes;
}

static void perform(struct simdisk *sim, const struct disk_io *io, uint64_t offset_bytes, const struct simfault *fault)
{
	switch (io->op) {
	case DISK_READ:
		do_read(sim, io, offset_bytes, fault);
		break;
	case DISK_WRITE:
		do_write(sim, io, offset_bytes, fault);
		if (io->durable) {
			simdisk_settle_range(sim, offset_bytes, io->length_bytes);
			sim->stats.durable_writes++;
		}
		break;
	case DISK_FLUSH:
		simdisk_make_durable(sim);
		sim->stats.flushes++;
		break;
	case DISK_DISCARD:
		/* What is discarded is unspecified: sometimes it stays. */
		if (simworld_random_next(sim->world) & 1) {
			simstore_write(&sim->current, offset_bytes, NULL, io->length_bytes);
			simdisk_add_unflushed(sim, offset_bytes, io->length_bytes);
		}
		sim->stats.discards++;
		break;
	}
}

static int run_faulty(struct simdisk *sim, const struct disk_io *io, struct simfault *fault)
{
	switch (fault->kind) {
	case SIM_ERROR:
	case SIM_BAD_SECTORS:
		return -EIO;
	case SIM_ERROR_LANDS:
		perform(sim, io, io->offset_bytes, NULL);
		return -EIO;
	case SIM_LOSE:
		return 0;
	case SIM_MISDIRECT: {
		uint64_t at = io->offset_bytes + (uint64_t)fault->shift_bytes;
		if (io->op == DISK_FLUSH || !simdisk_inside(sim, at, io->length_bytes))
			return -EIO;
		perform(sim, io, at, NULL);
		return 0;
	}
	case SIM_FLIP:
		perform(sim, io, io->offset_bytes, fault);
		return 0;
	case SIM_HANG:
		sim->hung_count++;
		if (io->op == DISK_WRITE)
			hold_hung_write(sim, io->offset_bytes, io->iov, io->iov_count, (size_t)io->length_bytes);
		return -ETIMEDOUT;
	}
	return -EIO;
}

/* `was_off`: the power was off before this call of disk_run began. */
static int run_one(struct simworld *world, const struct disk_io *io, bool was_off)
{
	struct handle *handle = container_of(io->disk, struct handle, disk);
	struct simdisk *sim = handle->sim;
	if (was_off || handle->power_on != world->power_ons)
		return -EIO;
	uint64_t op = world->ops++;
	uint64_t change = io->op == DISK_READ ? SIM_NEVER - 1 : world->changes++;
	if (op == world->cut_at_op || change == world->cut_at_change)
		world->cut = true;
	if (sim->dead || (io->op != DISK_FLUSH && !simdisk_inside(sim, io->offset_bytes, io->length_bytes)))
		return -EIO;
	if (world->cut) {
		if (io->op == DISK_WRITE)
			do_write(sim, io, io->offset_bytes, NULL);
		return -EIO;
	}
	struct simfault *fault = find_fault(sim, io, op);
	if (fault)
		return run_faulty(sim, io, fault);
	perform(sim, io, io->offset_bytes, NULL);
	return 0;
}

/* Hands out the world as it is if the power fails before ios[from]. */
static void tell_of_cut(struct simworld *world, const struct disk_io *ios, unsigned count, unsigned start, unsigned from)
{
	struct simworld *cut = clone_world(world);
	cut->cut = true;
	cut->on_write = NULL;
	for (unsigned i = from; i < count; i++) {
		const struct disk_io *io = &ios[(start + i) % count];
		struct handle *handle = container_of(io->disk, struct handle, disk);
		struct simdisk *sim = cut->disks[handle->sim->index];
		if (io->op == DISK_WRITE && io->result == -EINPROGRESS && handle->power_on == world->power_ons && !sim->dead
			&& simdisk_inside(sim, io->offset_bytes, io->length_bytes))
			do_write(sim, io, io->offset_bytes, NULL);
	}
	world->on_cut(world->on_cut_ctx, cut);
}

static void run_all(struct simworld *world, struct disk_io *ios, unsigned count)
{
	SCOPED_LOCK(&world->lock);
	bool was_off = world->cut, told = false;
	unsigned start = world->shuffle ? (unsigned)(simworld_random_next(world) % count) : 0;
	for (unsigned i = 0; i < count; i++) {
		struct disk_io *io = &ios[(start + i) % count];
		assert(simdisk_of(io->disk)->world == world);
		if (io->result != -EINPROGRESS)
			continue;
		if (world->on_cut && !world->cut && io->op != DISK_READ) {
			if (!told)
				tell_of_cut(world, ios, count, start, i);
			else
				world->same_cuts++;
			told = io->op == DISK_WRITE && !io->durable;
		}
		io->result = run_one(world, io, was_off);
	}
}

static void sim_run(struct disk_io *ios, unsigned count, int64_t timeout_ms)
{
	(void)timeout_ms;
	struct simworld *world = simdisk_of(ios[0].disk)->world;
	run_all(world, ios, count);
	for (unsigned i = 0; i < count && world->on_read; i++)
		if (ios[i].op == DISK_READ && ios[i].result == 0)
			world->on_read(world->on_read_ctx, simdisk_of(ios[i].disk), ios[i].offset_bytes, ios[i].length_bytes);
}

static bool sim_quiet(struct disk *disk)
{
	struct simdisk *sim = simdisk_of(disk);
	SCOPED_LOCK(&sim->world->lock);
	return sim->hung_count == 0;
}

static void sim_destroy(struct disk *disk)
{
	free(disk->name);
	free(container_of(disk, struct handle, disk));
}

static const struct disk_ops sim_ops = { sim_run, sim_quiet, sim_destroy };

struct disk *simdisk_open(struct simdisk *sim)
{
	struct handle *handle = sim_alloc(sizeof(*handle));
	SCOPED_LOCK(&sim->world->lock);
	disk_init(&handle->disk, &sim_ops, -1);
	handle->sim = sim;
	handle->power_on = sim->world->power_ons;
	if (asprintf(&handle->disk.name, "sim%u", sim->index) < 0)
		abort();
	handle->disk.size_bytes = sim->current.size_bytes / DISK_ALIGN_BYTES * DISK_ALIGN_BYTES;
	handle->disk.sector_bytes = SIM_SECTOR_BYTES;
	handle->disk.rotational = sim->rotational;
	handle->disk.identity = (struct disk_identity){ .dev = (dev_t)-1, .inode = (uintptr_t)sim };
	return &handle->disk;
}

struct simdisk *simdisk_of(struct disk *disk)
{
	assert(disk->ops == &sim_ops);
	return container_of(disk, struct handle, disk)->sim;
}

/* ---- Faults and raw access ---- */

unsigned simdisk_fault(struct simdisk *sim, const struct simfault *fault)
{
	SCOPED_LOCK(&sim->world->lock);
	assert(sim->fault_count < SIM_FAULTS_MAX);
	assert(fault->kind != SIM_BAD_SECTORS || fault->to_bytes > fault->from_bytes);
	sim->faults[sim->fault_count] = *fault;
	sim->faults[sim->fault_count].hits = 0;
	return sim->fault_count++;
}

unsigned simdisk_fault_hits(struct simdisk *sim, unsigned number)
{
	SCOPED_LOCK(&sim->world->lock);
	assert(number < sim->fault_count);
	return sim->faults[number].hits;
}

void simdisk_clear_faults(struct simdisk *sim)
{
	SCOPED_LOCK(&sim->world->lock);
	sim->fault_count = 0;
}

void simdisk_return_hung(struct simdisk *sim, bool carried_out)
{
	SCOPED_LOCK(&sim->world->lock);
	simdisk_end_hung(sim, carried_out);
}

/* `to` becomes a copy of `from` of another size. */
static void copy_resized(struct simstore *to, const struct simstore *from, uint64_t size_bytes)
{
	uint64_t common_bytes = from->size_bytes < size_bytes ? from->size_bytes : size_bytes;
	simstore_init(to, size_bytes);
	for (uint64_t i = 0; i < common_bytes / SIMCHUNK_BYTES; i++) {
		struct simchunk *chunk = simstore_chunk(from, i);
		if (chunk)
			simstore_set_chunk(to, i, chunk);
		simchunk_unref(chunk);
	}
	uint8_t tail[SIMCHUNK_BYTES];
	uint64_t done_bytes = common_bytes / SIMCHUNK_BYTES * SIMCHUNK_BYTES;
	simstore_read(from, done_bytes, tail, common_bytes - done_bytes);
	simstore_write(to, done_bytes, tail, common_bytes - done_bytes);
}

void simdisk_resize(struct simdisk *sim, uint64_t size_bytes)
{
	SCOPED_LOCK(&sim->world->lock);
	struct simstore old = sim->current;
	simdisk_make_durable(sim);
	copy_resized(&sim->current, &old, size_bytes);
	simstore_free(&old);
	simstore_free(&sim->durable);
	simstore_copy(&sim->durable, &sim->current);
}

void simdisk_peek(struct simdisk *sim, uint64_t offset_bytes, void *buf, size_t bytes)
{
	SCOPED_LOCK(&sim->world->lock);
	simstore_read(&sim->current, offset_bytes, buf, bytes);
}

void simdisk_poke(struct simdisk *sim, uint64_t offset_bytes, const void *data, size_t bytes)
{
	SCOPED_LOCK(&sim->world->lock);
	simstore_write(&sim->current, offset_bytes, data, bytes);
	simstore_write(&sim->durable, offset_bytes, data, bytes);
}

static void flip_locked(struct simdisk *sim, uint64_t offset_bytes, uint8_t mask)
{
	struct simstore *images[] = { &sim->current, &sim->durable };
	for (unsigned i = 0; i < ARRAY_COUNT(images); i++) {
		uint8_t byte;
		simstore_read(images[i], offset_bytes, &byte, 1);
		byte ^= mask;
		simstore_write(images[i], offset_bytes, &byte, 1);
	}
}

void simdisk_flip(struct simdisk *sim, uint64_t offset_bytes, uint8_t mask)
{
	SCOPED_LOCK(&sim->world->lock);
	flip_locked(sim, offset_bytes, mask);
}

bool simdisk_flip_back(struct simdisk *sim, uint64_t offset_bytes, uint8_t mask, const void *flipped, size_t bytes)
{
	uint8_t now[SIMDISK_FLIP_BACK_MAX];
	assert(bytes > 0 && bytes <= sizeof now);
	SCOPED_LOCK(&sim->world->lock);
	simstore_read(&sim->current, offset_bytes, now, bytes);
	if (memcmp(now, flipped, bytes))
		return false;
	flip_locked(sim, offset_bytes, mask);
	return true;
}

struct simstore *simdisk_snapshot(struct simdisk *sim)
{
	SCOPED_LOCK(&sim->world->lock);
	struct simstore *snapshot = sim_alloc(sizeof(*snapshot));
	simstore_copy(snapshot, &sim->current);
	return snapshot;
}

void simdisk_replace_with_snapshot(struct simdisk *sim, const struct simstore *snapshot)
{
	SCOPED_LOCK(&sim->world->lock);
	simdisk_drop_unflushed(sim);
	simstore_free(&sim->current);
	simstore_free(&sim->durable);
	simstore_copy(&sim->current, snapshot);
	simstore_copy(&sim->durable, snapshot);
}

void simsnapshot_free(struct simstore *snapshot)
{
	if (!snapshot)
		return;
	simstore_free(snapshot);
	free(snapshot);
}

struct simstats simdisk_stats(struct simdisk *sim)
{
	SCOPED_LOCK(&sim->world->lock);
	return sim->stats;
}
