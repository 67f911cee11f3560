/* Making a new array (the part of mkfs below the trees).
 *
 * The order makes a half-made array nobody's: labels go first, and are flushed, so that no member of
 * an older array is left half overwritten and still recognised; the new labels come last, after rows
 * and root of the first generation are durable (array_create_finish). */
#include "raid/array_impl.h"
#include "raid/format.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>

#define WIPE_EDGE_BYTES (1u << 20)

/* One step on all members: `offset_bytes` may differ by member. */
static int on_all(struct array *array, enum disk_op op, const uint64_t offset_bytes[MEMBERS_MAX], struct iobuf *const bufs[MEMBERS_MAX],
	size_t length_bytes, const char *what, struct fail *fail)
{
	struct disk_io ios[MEMBERS_MAX];
	struct iovec iov[MEMBERS_MAX];

	for (unsigned i = 0; i < array->member_count; i++) {
		ios[i] = (struct disk_io){ .op = op, .disk = atomic_load(&array->members[i].disk) };
		if (op == DISK_FLUSH)
			continue;
		iov[i] = (struct iovec){ bufs[i]->data, length_bytes };
		ios[i].offset_bytes = offset_bytes[i];
		ios[i].length_bytes = length_bytes;
		ios[i].iov = &iov[i];
		ios[i].iov_count = 1;
		ios[i].hold = bufs[i];
	}
	disk_run(ios, array->member_count, array->io_timeout_ms);
	for (unsigned i = 0; i < array->member_count; i++)
		if (ios[i].result)
			return fail_set(fail, -ios[i].result, FAIL_SYSTEM, "%s: %s failed: %s. Nothing was made; use another disk.",
				array->members[i].name, what, strerror(-ios[i].result));
	return 0;
}

static int flush_all(struct array *array, struct fail *fail)
{
	return on_all(array, DISK_FLUSH, NULL, NULL, 0, "a flush", fail);
}

/* Overwrites a range with zeros on all members; offset_bytes counts from each member's end if from_end. */
static int wipe(struct array *array, struct iobuf *zeros, uint64_t offset_bytes, uint64_t length_bytes, bool from_end, struct fail *fail)
{
	struct iobuf *bufs[MEMBERS_MAX];
	uint64_t offsets[MEMBERS_MAX];
	int r = 0;

	for (unsigned i = 0; i < array->member_count; i++)
		bufs[i] = zeros;
	for (uint64_t at = 0; at < length_bytes && !r; at += zeros->bytes) {
		size_t step = length_bytes - at < zeros->bytes ? (size_t)(length_bytes - at) : zeros->bytes;
		for (unsigned i = 0; i < array->member_count; i++)
			offsets[i] = at + (from_end ? atomic_load(&array->members[i].disk)->size_bytes - offset_bytes : offset_bytes);
		r = on_all(array, DISK_WRITE, offsets, bufs, step, "overwriting what was there before", fail);
	}
	return r;
}

static int wipe_labels(struct array *array, struct iobuf *zeros, struct fail *fail)
{
	struct iobuf *bufs[MEMBERS_MAX];
	uint64_t offsets[MEMBERS_MAX];
	int r = 0;

	for (unsigned i = 0; i < array->member_count; i++)
		bufs[i] = zeros;
	for (unsigned copy = 0; copy < LABEL_COPIES && !r; copy++) {
		for (unsigned i = 0; i < array->member_count; i++)
			offsets[i] = label_copy_offset_bytes(copy, atomic_load(&array->members[i].disk)->size_bytes);
		r = on_all(array, DISK_WRITE, offsets, bufs, LABEL_BYTES, "overwriting an old label", fail);
	}
	return r ? r : flush_all(array, fail);
}

static int wipe_all(struct array *array, struct fail *fail)
{
	const struct geometry *g = &array->label.geometry;
	struct iobuf *zeros cleanup(iobuf_unrefp) = iobuf_new(WIPE_EDGE_BYTES);
	int r;

	if (!zeros)
		return fail_set(fail, ENOMEM, FAIL_SYSTEM, "No memory to make the array.");
	memset(zeros->data, 0, zeros->bytes);
	r = wipe_labels(array, zeros, fail);
	if (!r)
		r = wipe(array, zeros, 0, WIPE_EDGE_BYTES, false, fail);
	if (!r)
		r = wipe(array, zeros, WIPE_EDGE_BYTES, WIPE_EDGE_BYTES, true, fail);
	if (!r)
		r = wipe(array, zeros, g->promise_offset_bytes, PROMISE_SLOTS * PROMISE_BYTES, false, fail);
	if (!r)
		r = wipe(array, zeros, g->config_offset_bytes, CONFIG_SLOTS * (uint64_t)g->config_slot_bytes, false, fail);
	if (!r)
		r = wipe(array, zeros, g->ring_offset_bytes, (uint64_t)g->ring_slots * ROOT_BYTES, false, fail);
	return r ? r : flush_all(array, fail);
}

/* Writes the configuration to its slot on all members, and gives the array its own copy. */
static int write_config(struct array *array, const struct config *config, struct fail *fail)
{
	const struct geometry *g = &array->label.geometry;
	autofree void *bytes = NULL;
	size_t length_bytes;
	struct iobuf *buf cleanup(iobuf_unrefp) = NULL, *bufs[MEMBERS_MAX];
	uint64_t offsets[MEMBERS_MAX];
	struct config *decoded = NULL;
	int r = config_encode(config, &bytes, &length_bytes);

	if (!r)
		r = config_decode(bytes, length_bytes, &decoded);
	atomic_init(&array->config, decoded);
	if (!r && !(buf = iobuf_new(length_bytes)))
		r = -ENOMEM;
	if (r)
		return fail_set(fail, -r, FAIL_SYSTEM, "The configuration cannot be made: %s.", strerror(-r));
	config_hash(bytes, length_bytes, array->config_hash);
	memcpy(buf->data, bytes, length_bytes);
	for (unsigned i = 0; i < array->member_count; i++) {
		bufs[i] = buf;
		offsets[i] = g->config_offset_bytes + config->version % CONFIG_SLOTS * g->config_slot_bytes;
	}
	r = on_all(array, DISK_WRITE, offsets, bufs, length_bytes, "writing the configuration", fail);
	return r ? r : flush_all(array, fail);
}

static void array_closep(struct array **array)
{
	array_close(*array);
}

int array_create(struct disk **disks, unsigned count, const struct label *label, const struct uuid *member_uuids,
	const struct config *config, const struct array_options *options, struct array **ret_array, struct fail *fail)
{
	struct array *array cleanup(array_closep) = array_new(options);
	int r;

	assert(count == config->member_count && count <= MEMBERS_MAX && !options->read_only);
	if (!array) {
		for (unsigned i = 0; i < count; i++)
			disk_close(disks[i]);
		return fail_set(fail, ENOMEM, FAIL_SYSTEM, "No memory to make the array.");
	}
	uint8_t bytes[LABEL_BYTES];
	array->label = *label;
	label_encode(label, bytes);
	label_hash(bytes, array->label_hash);   /* of the common part: the MAC is not in it */
	array->next_term = 1;
	array->member_count = count;
	for (unsigned i = 0; i < count; i++) {
		struct member *member = &array->members[i];
		assert(uuid_equal(&member_uuids[i], &config->members[i].uuid));
		member->uuid = member_uuids[i];
		member->role = config->members[i].role;
		member->size_bytes = config->members[i].size_bytes;
		snprintf(member->name, sizeof member->name, "%s", disks[i]->name);
		atomic_init(&member->disk, disks[i]);
		atomic_init(&member->state, MEMBER_IN_SYNC);
	}
	for (unsigned i = 0; i < count; i++)
		if (!geometry_valid(&label->geometry, disks[i]->size_bytes))
			return fail_set(fail, EINVAL, FAIL_TOO_SMALL, "%s is too small for this array.", disks[i]->name);
	r = wipe_all(array, fail);
	if (!r)
		r = write_config(array, config, fail);
	if (r)
		return r;
	*ret_array = array;
	array = NULL;
	return 0;
}

/* The labels of all members, encoded, with their MACs.  A root that is written before names them. */
static void make_label(const struct array *array, const struct array_auth *auth, unsigned index, uint8_t bytes[LABEL_BYTES])
{
	struct label label = array->label;

	label.member = array->members[index].uuid;
	label_encode(&label, bytes);
	auth->label_mac(auth->ctx, bytes);
}

int array_create_finish(struct array *array, const struct array_auth *auth, struct fail *fail)
{
	struct iobuf *bufs[MEMBERS_MAX] = { NULL };
	uint64_t offsets[MEMBERS_MAX];
	int r = 0;

	for (unsigned i = 0; i < array->member_count && !r; i++)
		if (member_state_now(&array->members[i]) != MEMBER_IN_SYNC)
			r = fail_set(fail, EIO, FAIL_SYSTEM, "%s failed while the array was made. Use another disk.", array->members[i].name);
	for (unsigned i = 0; i < array->member_count && !r; i++) {
		bufs[i] = iobuf_new(LABEL_BYTES);
		if (bufs[i])
			make_label(array, auth, i, bufs[i]->data);
		else
			r = fail_set(fail, ENOMEM, FAIL_SYSTEM, "No memory to write the labels.");
	}
	for (unsigned copy = 0; copy < LABEL_COPIES && !r; copy++) {
		for (unsigned i = 0; i < array->member_count; i++)
			offsets[i] = label_copy_offset_bytes(copy, atomic_load(&array->members[i].disk)->size_bytes);
		r = on_all(array, DISK_WRITE, offsets, bufs, LABEL_BYTES, "writing the label", fail);
		if (!r)
			r = flush_all(array, fail);
	}
	for (unsigned i = 0; i < array->member_count; i++)
		iobuf_unref(bufs[i]);
	if (!r)
		array->auth = *auth;
	return r;
}
