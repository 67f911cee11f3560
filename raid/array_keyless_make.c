/* What a keyless rebuild writes, in the order of rule K2 (raid/array_keyless.c); the rows in between are in array_keyless_copy.c. */
#include "raid/array_keyless.h"

#include "base/cleanup.h"
#include "raid/array_impl.h"
#include "raid/format.h"

#include <errno.h>

#define WIPE_BYTES (1u << 20)
#define FLUSH_TIMEOUT_MS 600000   /* of all that was written: a disk, or the filesystem below an image, may take its time */

struct making {
	const struct keyless_plan *plan;
	struct disk *target;
	struct fail *fail;
};

/* ---- The target ---- */

/* One copy of a label on the target: does it belong to something that must not be overwritten? */
static int check_label(const struct keyless_plan *plan, struct disk *target, const uint8_t bytes[LABEL_BYTES], bool force,
	struct fail *fail)
{
	char array[UUID_TEXT_BYTES], member[UUID_TEXT_BYTES];
	struct label label = { 0 };
	int r = label_decode(bytes, &label);

	if (r == -ENOENT || (r == -EBADMSG && force))
		return 0;
	if (r == -EBADMSG)
		return fail_set(fail, EEXIST, FAIL_SIGNATURE, "%s carries a damaged raid5cryptfs label. If nothing on it is needed any more (as after a "
			"rebuild that was stopped by a power cut), give --force.", target->name);
	uuid_format(&label.array, array);
	uuid_format(&label.member, member);
	if (!uuid_equal(&label.array, &plan->config->array))
		return fail_set(fail, EEXIST, FAIL_SIGNATURE, "%s is a member of another raid5cryptfs array, \"%s\" (%s). Use another disk, or wipe this "
			"one first if that array is not needed any more.", target->name, label.name, array);
	if (!uuid_equal(&label.member, &plan->uuid))
		return fail_set(fail, EEXIST, FAIL_SIGNATURE, "%s is another member of this array (%s), not the missing one. If it is in the array, "
			"give it after the target; if it was removed from it, wipe it first.", target->name, member);
	if (force)
		return 0;
	return fail_set(fail, EEXIST, FAIL_SIGNATURE, "%s is the missing member itself (%s). If it works, mount the array with it: it is caught "
		"up. To make it again from the others, give --force.", target->name, member);
}

int keyless_check_target(const struct keyless_plan *plan, struct disk *target, bool force, struct fail *fail)
{
	uint8_t copies[LABEL_COPIES][LABEL_BYTES];
	int status[LABEL_COPIES];

	for (unsigned i = 0; i < MEMBERS_MAX; i++)
		if (plan->sources[i] && disk_same(plan->sources[i], target))
			return fail_set(fail, EINVAL, FAIL_TWICE, "%s is the target, and given as a member too (%s). The target must be another disk.",
				target->name, plan->sources[i]->name);
	if (target->size_bytes < plan->size_bytes)
		return fail_set(fail, EINVAL, FAIL_TOO_SMALL, "%s is too small: it has %llu bytes, and the missing member had %llu. Use a disk or "
			"partition of at least that size.", target->name, (unsigned long long)target->size_bytes, (unsigned long long)plan->size_bytes);
	if (!geometry_valid(&plan->config->geometry, target->size_bytes))
		return fail_set(fail, EINVAL, FAIL_TOO_SMALL, "%s has a size that no member can have.", target->name);
	scan_copies(target, copies, status);
	for (unsigned i = 0; i < LABEL_COPIES; i++) {
		if (status[i] == -ENOMEM)
			return fail_set(fail, ENOMEM, FAIL_SYSTEM, "No memory to look at %s.", target->name);
		if (status[i] == -EIO)
			return fail_set(fail, EIO, FAIL_SYSTEM, "%s cannot be read at byte %llu. Use another disk.", target->name,
				(unsigned long long)label_copy_offset_bytes(i, target->size_bytes));
		int r = check_label(plan, target, copies[i], force, fail);
		if (r)
			return r;
	}
	return 0;
}

/* ---- Writing to it ---- */

static int failed(const struct making *m, int r, const char *what)
{
	return fail_set(m->fail, -r, FAIL_SYSTEM, "%s: %s failed (%s). Nothing is lost. Use another disk.", m->target->name, what,
		r == -ETIMEDOUT ? "it did not answer in time" : strerror(-r));
}

static int put(const struct making *m, uint64_t offset_bytes, const void *bytes, size_t length_bytes, const char *what)
{
	int r = disk_write(m->target, offset_bytes, bytes, length_bytes);

	return r ? failed(m, r, what) : 0;
}

static int flush(const struct making *m)
{
	struct disk_io io = { .op = DISK_FLUSH, .disk = m->target };

	disk_run(&io, 1, FLUSH_TIMEOUT_MS);
	return io.result ? failed(m, io.result, "a flush") : 0;
}

static int wipe(const struct making *m, const uint8_t *zeros, uint64_t offset_bytes, uint64_t length_bytes)
{
	int r = 0;

	for (uint64_t at = 0; at < length_bytes && !r; at += WIPE_BYTES)
		r = put(m, offset_bytes + at, zeros, length_bytes - at < WIPE_BYTES ? (size_t)(length_bytes - at) : WIPE_BYTES,
			"overwriting what was there before");
	return r;
}

/* K2 a. */
static int wipe_all(const struct making *m)
{
	const struct geometry *g = &m->plan->config->geometry;
	uint64_t size_bytes = m->target->size_bytes;
	autofree uint8_t *zeros = calloc(1, WIPE_BYTES);
	int r = zeros ? 0 : fail_set(m->fail, ENOMEM, FAIL_SYSTEM, "No memory to rebuild.");

	for (unsigned copy = 0; copy < LABEL_COPIES && !r; copy++)
		r = wipe(m, zeros, label_copy_offset_bytes(copy, size_bytes), LABEL_BYTES);
	if (!r)
		r = flush(m);
	if (!r)
		r = wipe(m, zeros, 0, WIPE_BYTES);
	if (!r)
		r = wipe(m, zeros, size_bytes - WIPE_BYTES, WIPE_BYTES);
	if (!r)
		r = wipe(m, zeros, g->promise_offset_bytes, PROMISE_SLOTS * PROMISE_BYTES);
	if (!r)
		r = wipe(m, zeros, g->config_offset_bytes, CONFIG_SLOTS * (uint64_t)g->config_slot_bytes);
	if (!r)
		r = wipe(m, zeros, g->ring_offset_bytes, (uint64_t)g->ring_slots * ROOT_BYTES);
	if (!r)
		r = wipe(m, zeros, g->log_offset_bytes, g->log_bytes);
	return r ? r : flush(m);
}

/* ---- What every member has ---- */

static uint64_t config_offset(const struct geometry *g, unsigned slot)
{
	return g->config_offset_bytes + (uint64_t)slot * g->config_slot_bytes;
}

/* How good what the slot holds is: 0, cannot be used; else above the version; most, if it is the one that the root names. */
static uint64_t config_worth(const struct keyless_plan *plan, const uint8_t *bytes)
{
	uint8_t hash[CONFIG_HASH_BYTES];
	struct config *config;

	if (config_decode(bytes, plan->config->geometry.config_slot_bytes, &config))
		return 0;
	uint64_t version = uuid_equal(&config->array, &plan->config->array) ? config->version : 0;
	config_free(config);
	config_hash(bytes, plan->config->geometry.config_slot_bytes, hash);
	if (!memcmp(hash, plan->root.config_hash, CONFIG_HASH_BYTES))
		return UINT64_MAX;
	return version < UINT64_MAX - 1 ? version + 1 : version;
}

/* The best that any source has in that slot.  Nothing, if none has anything that can be used. */
static int copy_config(const struct making *m, unsigned slot)
{
	const struct geometry *g = &m->plan->config->geometry;
	autofree uint8_t *bytes = malloc(g->config_slot_bytes), *best = calloc(1, g->config_slot_bytes);
	uint64_t best_worth = 0;

	if (!bytes || !best)
		return fail_set(m->fail, ENOMEM, FAIL_SYSTEM, "No memory to rebuild.");
	for (unsigned i = 0; i < MEMBERS_MAX; i++) {
		if (!m->plan->sources[i] || disk_read(m->plan->sources[i], config_offset(g, slot), bytes, g->config_slot_bytes))
			continue;
		uint64_t worth = config_worth(m->plan, bytes);
		if (worth <= best_worth)
			continue;
		memcpy(best, bytes, g->config_slot_bytes);
		best_worth = worth;
	}
	if (slot == m->plan->config->version % CONFIG_SLOTS && best_worth != UINT64_MAX)
		return fail_set(m->fail, EIO, FAIL_SYSTEM, "The array's configuration cannot be read any more. Nothing is lost. Try again.");
	return best_worth ? put(m, config_offset(g, slot), best, g->config_slot_bytes, "writing the configuration") : 0;
}

/* The highest term in the promises of one source, and both slots as they are (zeros where one cannot be read). */
static uint64_t read_promises(const struct making *m, struct disk *source, uint8_t ret_bytes[PROMISE_SLOTS][PROMISE_BYTES])
{
	uint64_t term = 0;

	for (unsigned i = 0; i < PROMISE_SLOTS; i++) {
		struct promise promise;
		if (disk_read(source, m->plan->config->geometry.promise_offset_bytes + i * PROMISE_BYTES, ret_bytes[i], PROMISE_BYTES)) {
			memset(ret_bytes[i], 0, PROMISE_BYTES);
			continue;
		}
		if (!promise_decode(ret_bytes[i], &promise) && uuid_equal(&promise.array, &m->plan->config->array) && promise.term > term)
			term = promise.term;
	}
	return term;
}

static int copy_promises(const struct making *m)
{
	uint8_t bytes[PROMISE_SLOTS][PROMISE_BYTES], best[PROMISE_SLOTS][PROMISE_BYTES];
	uint64_t best_term = 0;

	for (unsigned i = 0; i < MEMBERS_MAX; i++) {
		uint64_t term = m->plan->sources[i] ? read_promises(m, m->plan->sources[i], bytes) : 0;
		if (term <= best_term)
			continue;
		best_term = term;
		memcpy(best, bytes, sizeof best);
	}
	return best_term ? put(m, m->plan->config->geometry.promise_offset_bytes, best, sizeof best, "writing promises") : 0;
}

/* K2 c. */
static int copy_structures(const struct making *m)
{
	const struct geometry *g = &m->plan->config->geometry;
	int r = 0;

	for (unsigned slot = 0; slot < CONFIG_SLOTS && !r; slot++)
		r = copy_config(m, slot);
	if (!r)
		r = copy_promises(m);
	if (!r)
		r = put(m, g->ring_offset_bytes + m->plan->root.generation % g->ring_slots * ROOT_BYTES, m->plan->record, ROOT_BYTES,
			"writing the newest root");
	return r ? r : flush(m);
}

/* K2 d. */
static int write_label(const struct making *m)
{
	uint8_t bytes[LABEL_BYTES];
	int r = 0;

	label_encode(&m->plan->label, bytes);
	for (unsigned copy = 0; copy < LABEL_COPIES && !r; copy++)
		r = put(m, label_copy_offset_bytes(copy, m->target->size_bytes), bytes, LABEL_BYTES, "writing the label");
	return r ? r : flush(m);
}

int keyless_rebuild(const struct keyless_plan *plan, struct disk *target, const struct keyless_options *options, struct fail *fail)
{
	struct making m = { .plan = plan, .target = target, .fail = fail };
	int r = wipe_all(&m);

	if (!r)
		r = keyless_copy(plan, target, options, fail);
	if (!r)
		r = flush(&m);
	if (!r)
		r = copy_structures(&m);
	return r ? r : write_label(&m);
}
