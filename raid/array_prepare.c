/* A blank disk is made the member that is missing, as itself: with its UUID, and without a root, so that nothing of its rows counts.
 *
 * The order: what could be mistaken is overwritten (label copies first, so that no member of another array stays half there), the
 * configuration in force and the promise of this mount are written, and all is flushed; then the label.  Until then it is nobody's, and
 * afterwards a mount takes it for what it is: a member that is out, and lacks everything (gap from 0). */
#include "raid/array_impl.h"
#include "raid/format.h"

#include <assert.h>
#include <errno.h>

#define WIPE_STEP_BYTES (1u << 20)

static int wipe(struct disk *disk, const void *zeros, uint64_t offset_bytes, uint64_t length_bytes)
{
	int r = 0;

	for (uint64_t at = 0; at < length_bytes && !r; at += WIPE_STEP_BYTES) {
		uint64_t step = length_bytes - at < WIPE_STEP_BYTES ? length_bytes - at : WIPE_STEP_BYTES;
		r = disk_write(disk, offset_bytes + at, zeros, step);
	}
	return r;
}

static int wipe_all(struct disk *disk, const struct geometry *g)
{
	autofree void *zeros = calloc(1, WIPE_STEP_BYTES);
	int r = zeros ? 0 : -ENOMEM;

	for (unsigned copy = 0; copy < LABEL_COPIES && !r; copy++)
		r = wipe(disk, zeros, label_copy_offset_bytes(copy, disk->size_bytes), LABEL_BYTES);
	if (!r)
		r = disk_flush(disk);
	if (!r)
		r = wipe(disk, zeros, 0, WIPE_STEP_BYTES);
	if (!r)
		r = wipe(disk, zeros, disk->size_bytes - WIPE_STEP_BYTES, WIPE_STEP_BYTES);
	if (!r)
		r = wipe(disk, zeros, g->promise_offset_bytes, PROMISE_SLOTS * PROMISE_BYTES);
	if (!r)
		r = wipe(disk, zeros, g->config_offset_bytes, CONFIG_SLOTS * (uint64_t)g->config_slot_bytes);
	if (!r)
		r = wipe(disk, zeros, g->ring_offset_bytes, (uint64_t)g->ring_slots * ROOT_BYTES);
	return r ? r : disk_flush(disk);
}

static int write_config(struct array *array, struct disk *disk)
{
	const struct geometry *g = &array->config->geometry;
	autofree void *bytes = NULL;
	size_t length_bytes;
	int r = config_encode(array->config, &bytes, &length_bytes);

	return r ? r : disk_write(disk, g->config_offset_bytes + array->config->version % CONFIG_SLOTS * g->config_slot_bytes, bytes,
		length_bytes);
}

static int write_promise(struct array *array, struct disk *disk)
{
	uint8_t bytes[PROMISE_BYTES];
	struct promise promise = { .array = array->config->array, .term = array->term, .mount = array->mount };

	promise_encode(&promise, bytes);
	array->auth.promise_mac(array->auth.ctx, bytes);
	return disk_write(disk, array->config->geometry.promise_offset_bytes, bytes, sizeof bytes);
}

static int write_label(struct array *array, struct disk *disk, unsigned index)
{
	struct label label = array->label;
	autofree uint8_t *bytes = malloc(LABEL_BYTES);
	int r = bytes ? 0 : -ENOMEM;

	label.member = array->members[index].uuid;
	if (!r)
		label_encode(&label, bytes);
	for (unsigned copy = 0; copy < LABEL_COPIES && !r; copy++)
		r = disk_write(disk, label_copy_offset_bytes(copy, disk->size_bytes), bytes, LABEL_BYTES);
	return r ? r : disk_flush(disk);
}

/* The member that a new disk stands in for: the one that is out. */
static int find_missing(struct array *array)
{
	for (unsigned i = 0; i < array->member_count; i++)
		if (array->members[i].role != MEMBER_UNUSED && member_state_now(&array->members[i]) == MEMBER_OUT)
			return (int)i;
	return -1;
}

static int check_size(const struct array *array, unsigned index, const struct disk *disk, struct fail *fail)
{
	uint64_t need_bytes = array->config->members[index].size_bytes;

	if (disk->size_bytes >= need_bytes && geometry_valid(&array->config->geometry, disk->size_bytes))
		return 0;
	return fail_set(fail, EINVAL, FAIL_TOO_SMALL, "%s has %llu bytes, and the member that it shall stand in for had %llu. Nothing was "
		"changed; use a disk or partition that is at least as large.", disk->name, (unsigned long long)disk->size_bytes,
		(unsigned long long)need_bytes);
}

/* A disk that is a member of something is not taken by mistake. */
static int check_label(struct array *array, unsigned index, struct disk *disk, struct fail *fail)
{
	uint8_t copies[LABEL_COPIES][LABEL_BYTES];
	int statuses[LABEL_COPIES], status;
	struct label label;
	char id[UUID_TEXT_BYTES];

	scan_copies(disk, copies, statuses);
	if (scan_best_copy(copies, statuses, &array->auth, &label, &status) < 0 && status != -EPROTONOSUPPORT)
		return 0;
	uuid_format(&label.array, id);
	if (!uuid_equal(&label.array, &array->config->array))
		return fail_set(fail, EEXIST, FAIL_SIGNATURE, "%s is a member of another array (%s). If what is on it may be destroyed, give --force.",
			disk->name, id);
	if (uuid_equal(&label.member, &array->members[index].uuid))
		return fail_set(fail, EEXIST, FAIL_SIGNATURE, "%s is the missing member itself: readd takes it back and fills in only what it missed. "
			"To make it anew as a whole, give --force.", disk->name);
	return fail_set(fail, EEXIST, FAIL_SIGNATURE, "%s carries a label of this array, of another member. If what is on it may be destroyed, "
		"give --force.", disk->name);
}

int array_prepare(struct array *array, struct disk *disk, bool force, struct fail *fail)
{
	int index = find_missing(array), r;

	assert(array->term);
	if (index < 0)
		return fail_set(fail, ENOENT, FAIL_USAGE, "No member is missing: there is no place for %s. To exchange a disk that works, fail it "
			"first.", disk->name);
	for (unsigned i = 0; i < array->member_count; i++) {
		struct disk *other = atomic_load(&array->members[i].disk);
		if (other && disk_same(other, disk))
			return fail_set(fail, EBUSY, FAIL_BUSY, "%s is a member of this array already. Give another disk, or take it back with readd.",
				disk->name);
	}
	if (!array->label_source)
		return fail_set(fail, EIO, FAIL_DAMAGED, "The label that the newest root names is on no member, so none can be made for %s. "
			"Run fsck.raid5cryptfs on the unmounted array.", disk->name);
	r = check_size(array, (unsigned)index, disk, fail);
	if (!r && !force)
		r = check_label(array, (unsigned)index, disk, fail);
	if (r)
		return r;
	r = wipe_all(disk, &array->config->geometry);
	if (!r)
		r = write_config(array, disk);
	if (!r)
		r = write_promise(array, disk);
	if (!r)
		r = disk_flush(disk);
	if (!r)
		r = write_label(array, disk, (unsigned)index);
	if (r)
		return fail_set(fail, -r, FAIL_SYSTEM, "%s cannot be written: %s. The array is as it was; use another disk.", disk->name,
			strerror(-r));
	return index;
}
