/* Steps of the configuration, and the two homes of a column that is on its way (doc/membership.md, S1 to S6 and J1 to J8).
 *
 * From array_step_take until a root that names the new version is durable, both versions count, and each may turn out to be the one
 * that the next mount finds:
 *   1. rows go to the homes of both (step_second_home), so they are there whichever it is;
 *   2. a member may be dropped only if either can do without it, so the root is durable on enough members of each, or nothing is
 *      acknowledged (array_write_root);
 *   3. nothing that the old one names is overwritten: no step begins before this one counts.
 *
 * Configurations stay until the array is closed: whoever looked one up may still read or write by it. What he reads is right, since the
 * old homes of a job keep what they have until another job takes their granules, a step later. */
#include "raid/array_step.h"

#include "raid/array_impl.h"
#include "raid/format.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>

/* ---- Homes ---- */

static bool same_column(const struct column *a, const struct column *b)
{
	return a->member == b->member && a->granule == b->granule;
}

/* Where the band's columns were before a step that ended jobs: the one that moved. */
static bool moved_column(const struct config *config, const struct config *previous, uint32_t id, unsigned *ret_column,
	struct column *ret_home)
{
	const struct band *now = config_band(config, id), *then = config_band(previous, id);

	for (unsigned c = 0; c < now->width && then; c++) {
		if (!same_column(&now->columns[c], &then->columns[c])) {
			*ret_column = c;
			*ret_home = then->columns[c];
			return true;
		}
	}
	return false;
}

bool step_second_home(const struct array *array, uint32_t band, unsigned *ret_column, struct column *ret_home)
{
	const struct config *config = array->config, *previous = array->previous;
	const struct column_job *job = config_job(config, band);

	if (!job && previous && previous != config) {
		if (moved_column(config, previous, band, ret_column, ret_home))
			return true;
		job = config_job(previous, band);
	}
	if (job) {
		*ret_column = job->column;
		*ret_home = job->target;
	}
	return job;
}

bool step_can_do_without(const struct array *array, uint32_t lost)
{
	const struct config *previous = array->previous;

	return config_can_do_without(array->config, lost) && (!previous || config_can_do_without(previous, lost));
}

/* ---- Steps ---- */

bool array_step_counts(const struct array *array) { return !atomic_load(&array->previous); }

void step_counts(struct array *array, const struct root_header *root)
{
	if (root->config_version == array->config->version && !memcmp(root->config_hash, array->config_hash, CONFIG_HASH_BYTES))
		atomic_store(&array->previous, NULL);
}

int array_step_write(struct array *array, const struct config *next)
{
	const struct geometry *g = &array->config->geometry;
	autofree void *bytes = NULL;
	size_t length_bytes;
	struct disk_io ios[MEMBERS_MAX];
	uint8_t members[MEMBERS_MAX];
	unsigned count = 0;
	bool dropped = false;

	assert(next->version == array->config->version + 1);
	if (!array_step_counts(array))
		return -EBUSY;
	if (atomic_load(&array->read_only))
		return -EROFS;
	int r = config_encode(next, &bytes, &length_bytes);
	struct iobuf *buf cleanup(iobuf_unrefp) = r ? NULL : iobuf_new(length_bytes);
	if (r || !buf)
		return r ? r : -ENOMEM;
	memcpy(buf->data, bytes, length_bytes);
	struct iovec iov = { buf->data, length_bytes };
	for (unsigned i = 0; i < array->member_count; i++) {
		if (!member_takes_writes(&array->members[i]))
			continue;
		ios[count] = (struct disk_io){ .op = DISK_WRITE, .durable = true, .disk = atomic_load(&array->members[i].disk),
			.offset_bytes = g->config_offset_bytes + next->version % CONFIG_SLOTS * g->config_slot_bytes,
			.length_bytes = length_bytes, .iov = &iov, .iov_count = 1, .hold = buf };
		members[count++] = (uint8_t)i;
	}
	disk_run(ios, count, array->io_timeout_ms);
	for (unsigned i = 0; i < count; i++) {
		if (!ios[i].result)
			continue;
		dropped = true;
		if (member_write_failed(array, members[i], ios[i].result, "writing a configuration"))
			return -EIO;
	}
	return dropped ? -EAGAIN : 0;
}

static void clear_member(struct member *member)
{
	member->uuid = (struct uuid){ { 0 } };
	member->size_bytes = 0;
	member->name[0] = '\0';
	member->gap = (struct gap){ 0 };
	member->settled = member->out_for_good = false;
	atomic_store(&member->state, MEMBER_ABSENT);
}

/* In sync: it has no columns, and so lacks nothing. */
static void fill_added(struct array *array, unsigned index, const struct config_member *known, struct disk *disk)
{
	struct member *member = &array->members[index];

	clear_member(member);
	member->uuid = known->uuid;
	member->size_bytes = known->size_bytes;
	member->flushed = 0;
	member->copy_wrong = 0;
	member->keyless = false;
	member->read_errors_forgiven = 0;
	atomic_store(&member->read_errors, 0);
	atomic_store(&member->write_errors, 0);
	atomic_store(&member->healed, 0);
	atomic_store(&member->caught_up_bytes, 0);
	atomic_store(&member->read_errors_in_a_row, 0);
	snprintf(member->name, sizeof member->name, "%s", disk->name);
	atomic_store(&member->disk, disk);
	atomic_store(&member->state, MEMBER_IN_SYNC);
}

/* Under the mutex: is there a place for the disks of those that the step removes? */
static bool can_retire(const struct array *array, const struct config *next)
{
	unsigned count = array->retired_count;

	for (unsigned i = 0; i < array->member_count; i++)
		count += array->members[i].role != MEMBER_UNUSED && next->members[i].role == MEMBER_UNUSED;
	return count <= RETIRED_MAX;
}

/* Under the mutex. */
static void take_members(struct array *array, const struct config *next, struct disk *added)
{
	for (unsigned i = 0; i < next->member_count; i++) {
		struct member *member = &array->members[i];
		const struct config_member *known = &next->members[i];
		bool was = i < array->member_count && member->role != MEMBER_UNUSED;

		if (was && known->role == MEMBER_UNUSED) {
			struct disk *disk = atomic_load(&member->disk);
			array->removed = disk;
			array->removed_works = member_takes_writes(member);
			atomic_store(&member->role, MEMBER_UNUSED);
			clear_member(member);
			atomic_store(&member->disk, NULL);
			if (disk)
				array->retired[array->retired_count++] = disk;
		} else if (!was && known->role != MEMBER_UNUSED) {
			assert(added);
			fill_added(array, i, known, added);
		}
		atomic_store(&member->role, known->role);
	}
	atomic_store(&array->member_count, next->member_count);
}

int array_step_take(struct array *array, struct config *next, struct disk *added)
{
	autofree void *bytes = NULL;
	size_t length_bytes;
	struct former_config *former = malloc(sizeof *former);
	int r = former ? config_encode(next, &bytes, &length_bytes) : -ENOMEM;

	if (r) {
		free(former);
		return r;
	}
	SCOPED_LOCK(&array->mutex);
	assert(array_step_counts(array));
	if (!can_retire(array, next)) {
		free(former);
		return -EMFILE;
	}
	struct config *config = array->config;
	*former = (struct former_config){ array->former, config };
	array->former = former;
	take_members(array, next, added);
	if (next->job_count > 0 && !config->job_count) {
		array->job_position = 0;
		array->job_epoch++;
	}
	config_hash(bytes, length_bytes, array->config_hash);
	atomic_store(&array->previous, config);
	atomic_store(&array->config, next);
	return 0;
}

/* ---- Jobs ---- */

void step_restart_jobs(struct array *array)
{
	array->job_position = 0;
	array->job_epoch++;
}

void step_member_changed(struct array *array, unsigned index)
{
	if (config_job_targets(array->config) >> index & 1)
		step_restart_jobs(array);
}

void array_job_restart(struct array *array)
{
	SCOPED_LOCK(&array->mutex);
	step_restart_jobs(array);
}

bool array_job(struct array *array, struct array_job *ret_job)
{
	SCOPED_LOCK(&array->mutex);
	const struct config *config = array->config;
	*ret_job = (struct array_job){ config_job_sources(config), config_job_targets(config), array->job_position, array->job_epoch };
	return config->job_count > 0;
}

int array_job_advance(struct array *array, unsigned epoch, address position)
{
	SCOPED_LOCK(&array->mutex);
	if (array->job_epoch != epoch)
		return -ENOENT;
	if (position > array->job_position)
		array->job_position = position;
	return 0;
}
