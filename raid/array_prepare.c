/* A disk, whatever is on it, is made a new member, which the next configuration has as a spare.  It has no root, so that nothing of its
 * rows counts.
 *
 * The order: what could be mistaken is overwritten (label copies first, so that no member of another array stays half there), the
 * configuration and the promise of this mount are written, and all is flushed; then the label.  Until then it is nobody's, and
 * afterwards a mount leaves it out, until a root names the configuration that has it. */
#include "raid/array_impl.h"
#include "raid/array_step.h"
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
	if (!r)
		r = wipe(disk, zeros, g->log_offset_bytes, g->log_bytes);
	return r ? r : disk_flush(disk);
}

int prepare_write_config(struct disk *disk, const struct config *config)
{
	const struct geometry *g = &config->geometry;
	autofree void *bytes = NULL;
	size_t length_bytes;
	int r = config_encode(config, &bytes, &length_bytes);

	return r ? r : disk_write(disk, g->config_offset_bytes + config->version % CONFIG_SLOTS * g->config_slot_bytes, bytes, length_bytes);
}

static int write_promise(struct array *array, struct disk *disk)
{
	uint8_t bytes[PROMISE_BYTES];
	struct promise promise = { .array = array->config->array, .term = array->term, .mount = array->mount };

	promise_encode(&promise, bytes);
	array->auth.promise_mac(array->auth.ctx, bytes);
	return disk_write(disk, array->config->geometry.promise_offset_bytes, bytes, sizeof bytes);
}

static int write_label(struct array *array, struct disk *disk, const struct uuid *uuid)
{
	struct label label = array->label;
	autofree uint8_t *bytes = malloc(LABEL_BYTES);
	int r = bytes ? 0 : -ENOMEM;

	label.member = *uuid;
	if (!r)
		label_encode(&label, bytes);
	for (unsigned copy = 0; copy < LABEL_COPIES && !r; copy++)
		r = disk_write(disk, label_copy_offset_bytes(copy, disk->size_bytes), bytes, LABEL_BYTES);
	return r ? r : disk_flush(disk);
}

/* Wiped, and then with this configuration a member of that UUID. */
static int make_member(struct array *array, struct disk *disk, const struct config *config, const struct uuid *uuid, struct fail *fail)
{
	int r = wipe_all(disk, &config->geometry);

	if (!r)
		r = prepare_write_config(disk, config);
	if (!r)
		r = write_promise(array, disk);
	if (!r)
		r = disk_flush(disk);
	if (!r)
		r = write_label(array, disk, uuid);
	return !r ? 0 : fail_set(fail, -r, FAIL_SYSTEM, "%s cannot be written: %s. The array is as it was; use another disk.", disk->name,
		strerror(-r));
}

/* ---- Which disk may be taken ---- */

static const char may_be_destroyed[] = "If what is on it may be destroyed, give --force.";

/* The member of the array with that UUID, or -1. */
static int find_member(struct array *array, const struct uuid *uuid)
{
	for (unsigned i = 0; i < array->member_count; i++)
		if (array->members[i].role != MEMBER_UNUSED && uuid_equal(&array->members[i].uuid, uuid))
			return (int)i;
	return -1;
}

/* A disk that is a member of something is not taken by mistake. */
static int check_label(struct array *array, struct disk *disk, struct fail *fail)
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
		return fail_set(fail, EEXIST, FAIL_SIGNATURE, "%s is a member of another array (%s). %s", disk->name, id, may_be_destroyed);
	int member = find_member(array, &label.member);
	if (member < 0)                  /* not any more, or it was never quite made one */
		return 0;
	if (member_state_now(&array->members[member]) == MEMBER_OUT)
		return fail_set(fail, EEXIST, FAIL_SIGNATURE, "%s is member %d itself, which is out: readd takes it back and fills in only what it "
			"missed. To make it a new member, give --force.", disk->name, member + 1);
	return fail_set(fail, EEXIST, FAIL_SIGNATURE, "%s carries a label of this array, of member %d. %s", disk->name, member + 1,
		may_be_destroyed);
}

int array_check_new(struct array *array, struct disk *disk, bool force, struct fail *fail)
{
	for (unsigned i = 0; i < array->member_count; i++) {
		struct disk *other = atomic_load(&array->members[i].disk);
		if (other && disk_same(other, disk))
			return fail_set(fail, EBUSY, FAIL_BUSY, "%s is a member of this array already. Give another disk, or take it back with readd.",
				disk->name);
	}
	if (!array->label_source)
		return fail_set(fail, EIO, FAIL_DAMAGED, "The label that the newest root names is on no member, so none can be made for %s. "
			"Run fsck.raid5cryptfs on the unmounted array.", disk->name);
	if (!geometry_valid(&array->config->geometry, disk->size_bytes))
		return fail_set(fail, EINVAL, FAIL_TOO_SMALL, "%s has %llu bytes, which is too small for this array.", disk->name,
			(unsigned long long)disk->size_bytes);
	return force ? 0 : check_label(array, disk, fail);
}

/* ---- Making it ---- */

int array_prepare_spare(struct array *array, struct disk *disk, bool force, const struct config *next, unsigned index, struct fail *fail)
{
	assert(array->term && next->members[index].role == MEMBER_SPARE);
	int r = array_check_new(array, disk, force, fail);

	return r ? r : make_member(array, disk, next, &next->members[index].uuid, fail);
}

static int wipe_label(struct disk *disk)
{
	autofree void *zeros = calloc(1, LABEL_BYTES);
	int r = zeros ? 0 : -ENOMEM;

	for (unsigned copy = 0; copy < LABEL_COPIES && !r; copy++)
		r = disk_write(disk, label_copy_offset_bytes(copy, disk->size_bytes), zeros, LABEL_BYTES);
	return r ? r : disk_flush(disk);
}

void array_let_go(struct array *array)
{
	pthread_mutex_lock(&array->mutex);
	struct disk *disk = array->removed;
	bool works = array->removed_works;
	array->removed = NULL;
	pthread_mutex_unlock(&array->mutex);
	if (!disk)
		return;
	int r = works ? wipe_label(disk) : 0;
	if (r)
		event_report(array->events, EVENT_WARNING, -1, "%s is no member any more, but its label could not be wiped (%s). It can be left as it "
			"is: the array does not take it.", disk->name, strerror(-r));
	disk_release(disk);
}
