/* Members of a running array: their states, and the ways between them.
 *
 *   IN_SYNC or FILLING → OUT   member_write_failed, member_read_failed, array_drop_member
 *   OUT → FILLING              array_member_return (array_adopt first, if it is another disk)
 *   FILLING → IN_SYNC          array_gap_close
 *
 * The gap says which units may be stale: from < written ≤ to, at or above position.  When a member
 * is dropped:
 *   1. `from` is the last generation that array_flush made durable on it, so what it missed, or may
 *      have got only in part, was written in a later one.
 *   2. A gap that is still there keeps its `from`, which is older; `to` reopens and the position goes
 *      back to 0, since rows below it may have been written anew and missed.
 *   3. Where the array could not do without all that are not in sync (two voters, or columns of one band on two of them), nobody
 *      is dropped: the array turns read-only, no root is ever written that would have to name two members out, and what is
 *      committed stays readable. */
#include "raid/array_impl.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>

#define HISTORY_ROOTS 256u

/* The member for messages.  Under the mutex. */
static void describe(const struct member *member, unsigned index, char *text, size_t text_bytes)
{
	member_describe(&member->uuid, index, member->name, text, text_bytes);
}

/* Under the mutex: may the array go on without this one, and all that are not in sync? */
static bool can_do_without(const struct array *array, unsigned index)
{
	uint32_t lost = UINT32_C(1) << index;

	for (unsigned i = 0; i < array->member_count; i++)
		if (array->members[i].role != MEMBER_UNUSED && member_state_now(&array->members[i]) != MEMBER_IN_SYNC)
			lost |= UINT32_C(1) << i;
	return step_can_do_without(array, lost);
}

/* Under the mutex. */
static void put_out(struct array *array, unsigned index, const char *why)
{
	struct member *member = &array->members[index];
	char text[MEMBER_NAME_BYTES + 64];

	if (!member->gap.present)
		member->gap.from = member->flushed;
	member->gap.present = true;
	member->gap.to = GAP_OPEN;
	member->gap.position = 0;
	member->settled = false;
	member->out_for_good = false;
	atomic_store(&member->state, MEMBER_OUT);
	step_member_changed(array, index);
	describe(member, index, text, sizeof text);
	event_report(array->events, EVENT_MEMBER_DROPPED, (int)index, config_needed(array->config) >> index & 1
		? "%s is out of the array: %s. The array goes on without it; nothing is lost, but one more loss would be too many. "
		  "Check or replace it." : "%s is out of the array: %s. It was a spare; nothing is lost. Check or replace it.", text, why);
}

int member_write_failed(struct array *array, unsigned index, int error, const char *what)
{
	struct member *member = &array->members[index];
	char why[160];

	atomic_fetch_add(&member->write_errors, 1);
	snprintf(why, sizeof why, "%s failed (%s)", what, error == -ETIMEDOUT ? "it did not answer in time" : strerror(-error));
	SCOPED_LOCK(&array->mutex);
	if (member->role == MEMBER_UNUSED || member_state_now(member) == MEMBER_OUT)
		return 0;
	if (can_do_without(array, index)) {
		put_out(array, index, why);
		return 0;
	}
	if (!atomic_exchange(&array->read_only, true)) {
		char text[MEMBER_NAME_BYTES + 64];
		describe(member, index, text, sizeof text);
		snprintf(array->why_read_only, sizeof array->why_read_only, "%s: %s, and another member is not in sync: the array is read-only "
			"from now on. What was committed stays readable. Unmount, check cables and power, and mount again.", text, why);
		event_report(array->events, EVENT_READ_ONLY, (int)index, "%s", array->why_read_only);
	}
	return -EIO;
}

void array_why_read_only(struct array *array, char ret_text[ARRAY_WHY_BYTES])
{
	SCOPED_LOCK(&array->mutex);
	snprintf(ret_text, ARRAY_WHY_BYTES, "%s", array->why_read_only);
}

/* Under the mutex. */
static bool worn_out(const struct array *array, const struct member *member)
{
	return array->read_errors_max && atomic_load(&member->read_errors) - member->read_errors_forgiven >= array->read_errors_max;
}

void member_read_failed(struct array *array, unsigned index, int error)
{
	struct member *member = &array->members[index];
	uint64_t count = atomic_fetch_add(&member->read_errors, 1) + 1;
	unsigned in_a_row = atomic_fetch_add(&member->read_errors_in_a_row, 1) + 1;
	bool hangs = error == -ETIMEDOUT, worn;
	char why[160], text[MEMBER_NAME_BYTES + 64];

	SCOPED_LOCK(&array->mutex);
	if (member->role == MEMBER_UNUSED || member_state_now(member) == MEMBER_OUT)
		return;
	worn = worn_out(array, member);
	if ((hangs || worn || in_a_row > READ_ERRORS_IN_A_ROW_MAX) && !atomic_load(&array->read_only) && can_do_without(array, index)) {
		if (hangs)
			snprintf(why, sizeof why, "a read was not answered in time");
		else if (worn)
			snprintf(why, sizeof why, "%llu of its reads failed, which is the limit (read-errors=)", (unsigned long long)count);
		else
			snprintf(why, sizeof why, "%u reads in a row failed (%s)", in_a_row, strerror(-error));
		put_out(array, index, why);
		return;
	}
	if (count & (count - 1))             /* told at 1, 2, 4, 8 …: a bad disk must not flood the log */
		return;
	describe(member, index, text, sizeof text);
	event_report(array->events, EVENT_WARNING, (int)index, "%s: a read failed (%s). Reads that failed since the array was opened: %llu.",
		text, strerror(-error), (unsigned long long)count);
}

int array_drop_member(struct array *array, unsigned index, const char *why)
{
	assert(index < array->member_count);
	struct member *member = &array->members[index];

	SCOPED_LOCK(&array->mutex);
	if (member->role == MEMBER_UNUSED)
		return -ENOENT;
	if (member_state_now(member) == MEMBER_OUT)
		return 0;
	if (atomic_load(&array->read_only))
		return -EROFS;
	if (!can_do_without(array, index))
		return -EBUSY;
	put_out(array, index, why);
	return 0;
}

bool array_member_answers(struct array *array, unsigned index)
{
	assert(index < array->member_count);
	struct member *member = &array->members[index];
	struct disk *disk = atomic_load(&member->disk);
	uint8_t copies[LABEL_COPIES][LABEL_BYTES];
	int statuses[LABEL_COPIES], status;
	struct label label;

	if (!disk || !disk_quiet(disk))
		return false;
	scan_copies(disk, copies, statuses);
	scan_best_copy(copies, statuses, &array->auth, &label, &status);
	return status == 0 && uuid_equal(&label.array, &array->config->array) && uuid_equal(&label.member, &member->uuid);
}

int array_member_give_config(struct array *array, unsigned index)
{
	assert(index < array->member_count);
	struct disk *disk = atomic_load(&array->members[index].disk);
	int r = disk ? prepare_write_config(disk, array->config) : -ENOENT;

	return r ? r : disk_flush(disk);
}

int array_member_return(struct array *array, unsigned index, uint64_t generation)
{
	assert(index < array->member_count);
	struct member *member = &array->members[index];
	struct disk *disk = atomic_load(&member->disk);
	char text[MEMBER_NAME_BYTES + 64];

	assert(generation > 0);
	SCOPED_LOCK(&array->mutex);
	if (atomic_load(&array->read_only))
		return -EROFS;
	if (!disk || member_state_now(member) != MEMBER_OUT)
		return -ENOENT;
	if (!disk_quiet(disk))
		return -EAGAIN;
	assert(member->gap.present);
	member->gap.to = generation - 1;
	member->gap.position = 0;
	atomic_store(&member->read_errors_in_a_row, 0);
	member->out_for_good = false;
	atomic_store(&member->caught_up_bytes, 0);
	atomic_store(&member->state, MEMBER_FILLING);
	step_member_changed(array, index);
	describe(member, index, text, sizeof text);
	event_report(array->events, EVENT_MEMBER_RETURNED, (int)index, member->gap.from ? "%s is back, and is being caught up."
		: "%s is being rebuilt as a whole.", text);
	return 0;
}

/* The index of the array's member whose label this disk carries; -ENOENT. */
static int find_absent(struct array *array, struct disk *disk, struct label *ret_label, struct fail *fail)
{
	uint8_t copies[LABEL_COPIES][LABEL_BYTES];
	int statuses[LABEL_COPIES], status;

	scan_copies(disk, copies, statuses);
	scan_best_copy(copies, statuses, &array->auth, ret_label, &status);
	if (status)
		return fail_set(fail, EINVAL, FAIL_NOT_MEMBER, "%s carries no usable label of an array. Give the member that is missing.",
			disk->name);
	if (!uuid_equal(&ret_label->array, &array->config->array)) {
		char theirs[UUID_TEXT_BYTES], ours[UUID_TEXT_BYTES];
		uuid_format(&ret_label->array, theirs);
		uuid_format(&array->config->array, ours);
		return fail_set(fail, EINVAL, FAIL_MIXED, "%s belongs to array %s, not to %s.", disk->name, theirs, ours);
	}
	for (unsigned i = 0; i < array->member_count; i++) {
		const struct member *member = &array->members[i];
		if (member->role == MEMBER_UNUSED || !uuid_equal(&member->uuid, &ret_label->member))
			continue;
		if (member_state_now(member) != MEMBER_OUT)
			return fail_set(fail, EBUSY, FAIL_TWICE, "%s has the UUID of %s, which is at work in the array. Remove one of the two.",
				disk->name, member->name);
		return (int)i;
	}
	return fail_set(fail, ENOENT, FAIL_MIXED, "%s is not a member of this array any more.", disk->name);
}

/* Is the root of another history than ours, made by another mount of clones?  Two histories that part take the same terms, by other
 * mounts; ours stands in the rings of the members at work, as far as they reach.  (A root of ours that reached this member alone, and
 * was passed over, has a term of ours and the same mount, or a term that has no root of ours at all.) */
static int check_history(struct array *array, const struct root_header *own, const char *name, struct fail *fail)
{
	unsigned count = 0;
	autofree struct array_root *ours = malloc(HISTORY_ROOTS * sizeof *ours);
	bool diverged = own->term > array->term || (own->term == array->term && memcmp(&own->mount, &array->mount, sizeof own->mount));
	int r = ours ? array_list_roots(array, ours, HISTORY_ROOTS, &count) : -ENOMEM;

	if (r)
		return fail_set(fail, -r, FAIL_SYSTEM, "The root rings cannot be read: %s.", strerror(-r));
	for (unsigned i = 0; i < count && !diverged; i++) {
		struct root_header header;
		diverged = !root_header_decode(ours[i].record, &header) && header.term == own->term
			&& memcmp(&header.mount, &own->mount, sizeof own->mount);
	}
	if (diverged)
		return fail_set(fail, EINVAL, FAIL_DIVERGED, "%s was written to apart from this array (its newest root is generation %llu of mount "
			"%llu): it is a member of another copy of it. Nothing was changed. If what is on it is not needed, add it as a "
			"new disk with --force.", name, (unsigned long long)own->generation, (unsigned long long)own->term);
	return 0;
}

int array_resume(struct array *array, const char *path, unsigned *ret_member)
{
	SCOPED_LOCK(&array->mutex);
	for (unsigned i = 0; i < array->member_count; i++) {
		struct member *member = &array->members[i];
		if (atomic_load(&member->disk) && member_state_now(member) == MEMBER_OUT && !strcmp(member->name, path)) {
			member->read_errors_forgiven = atomic_load(&member->read_errors);
			*ret_member = i;
			return 0;
		}
	}
	return -ENOENT;
}

int array_adopt(struct array *array, struct disk *disk, unsigned *ret_member, struct fail *fail)
{
	struct label label;
	autofree struct scan *scan = malloc(sizeof *scan);
	int index, r;

	if (!scan)
		return fail_set(fail, ENOMEM, FAIL_SYSTEM, "No memory to take %s in.", disk->name);
	index = find_absent(array, disk, &label, fail);
	if (index < 0)
		return index;
	struct member *member = &array->members[index];
	if (!geometry_valid(&array->config->geometry, disk->size_bytes) || disk->size_bytes < member->size_bytes)
		return fail_set(fail, EINVAL, FAIL_TOO_SMALL, "%s is smaller than the member was when the array was made. "
			"Its end is missing: replace the member.", disk->name);
	r = scan_member(disk, &array->config->geometry, &array->config->array, &array->auth, scan);
	if (r)
		return fail_set(fail, -r, FAIL_SYSTEM, "%s cannot be read: %s.", disk->name, strerror(-r));
	r = scan->has_root ? check_history(array, &scan->root, disk->name, fail) : 0;
	if (r)
		return r;

	SCOPED_LOCK(&array->mutex);
	struct disk *old = atomic_load(&member->disk);
	if (member_state_now(member) != MEMBER_OUT)
		return fail_set(fail, EBUSY, FAIL_BUSY, "%s is at work already.", member->name);
	if (old && array->retired_count + MEMBERS_MAX >= RETIRED_MAX)        /* the rest is for members that steps remove */
		return fail_set(fail, EBUSY, FAIL_BUSY, "Members left and came back too often. Unmount and mount again.");
	member->gap.from = gap_from_of_return(member->gap.from, scan->has_root ? &scan->root : NULL, (unsigned)index,
		array->config->version);
	if (old) {
		disk_release(old);
		array->retired[array->retired_count++] = old;
	}
	snprintf(member->name, sizeof member->name, "%s", disk->name);
	member->read_errors_forgiven = atomic_load(&member->read_errors);
	atomic_store(&member->disk, disk);
	*ret_member = (unsigned)index;
	return 0;
}

int array_gap_advance(struct array *array, unsigned index, address position)
{
	assert(index < array->member_count);
	struct member *member = &array->members[index];

	SCOPED_LOCK(&array->mutex);
	if (!member->gap.present || !member_takes_writes(member))
		return -ENOENT;
	if (position > member->gap.position)
		member->gap.position = position;
	return 0;
}

void array_doubt_rows(struct array *array, uint64_t generation, const struct root_header *older)
{
	SCOPED_LOCK(&array->mutex);
	for (unsigned i = 0; i < array->member_count; i++) {
		struct member *member = &array->members[i];
		struct gap *gap = &member->gap;
		/* What was free when it was filled was left as it was. */
		if (older && member_state_now(member) == MEMBER_IN_SYNC
				&& (older->members[i].state != MEMBER_IN_SYNC || older->members[i].gap.present)) {
			gap->present = true;
			member->settled = false;
		}
		if (!gap->present)
			continue;
		gap->from = gap->position = 0;
		if (gap->to < generation)
			gap->to = generation;
	}
	step_restart_jobs(array);
}

int array_gap_close(struct array *array, unsigned index)
{
	assert(index < array->member_count);
	struct member *member = &array->members[index];
	char text[MEMBER_NAME_BYTES + 64];

	SCOPED_LOCK(&array->mutex);
	if (!member->gap.present || !member_takes_writes(member))
		return -ENOENT;
	memset(&member->gap, 0, sizeof member->gap);
	atomic_store(&member->state, MEMBER_IN_SYNC);
	describe(member, index, text, sizeof text);
	event_report(array->events, EVENT_MEMBER_IN_SYNC, (int)index, "%s is in sync; %.1f MiB of it were written anew by this mount.", text,
		(double)atomic_load(&member->caught_up_bytes) / (1 << 20));
	return 0;
}

void array_count_healed(struct array *array, unsigned index)
{
	assert(index < array->member_count);
	atomic_fetch_add(&array->members[index].healed, 1);
}

void array_count_caught_up(struct array *array, unsigned index, uint64_t bytes)
{
	assert(index < array->member_count);
	atomic_fetch_add(&array->members[index].caught_up_bytes, bytes);
}

bool array_stale(const struct array *array, unsigned index, uint64_t written, address row_address)
{
	assert(index < array->member_count);
	SCOPED_LOCK(array_mutex(array));
	const struct gap *gap = &array->members[index].gap;
	return gap->present && written > gap->from && written <= gap->to && row_address >= gap->position;
}

unsigned array_member_count(const struct array *array)
{
	return array->member_count;
}

void array_member_status(struct array *array, unsigned index, struct member_status *ret_status)
{
	assert(index < array->member_count);
	const struct member *member = &array->members[index];

	memset(ret_status, 0, sizeof *ret_status);
	SCOPED_LOCK(&array->mutex);
	ret_status->uuid = member->uuid;
	memcpy(ret_status->name, member->name, sizeof ret_status->name);
	ret_status->state = member_state_now(member);
	ret_status->gap = member->gap;
	ret_status->settled = member->settled;
	ret_status->out_for_good = member->out_for_good;
	ret_status->role = member->role;
	ret_status->size_bytes = member->size_bytes;
	ret_status->read_errors = atomic_load(&member->read_errors);
	ret_status->write_errors = atomic_load(&member->write_errors);
	ret_status->healed = atomic_load(&member->healed);
	ret_status->caught_up_bytes = atomic_load(&member->caught_up_bytes);
	ret_status->worn_out = member_state_now(member) == MEMBER_OUT && worn_out(array, member);
}

bool array_degraded(struct array *array)
{
	uint32_t needed = config_needed(array->config);

	SCOPED_LOCK(&array->mutex);
	for (unsigned i = 0; i < array->member_count; i++)
		if ((needed >> i & 1) && !array->members[i].settled)
			return true;
	return false;
}
