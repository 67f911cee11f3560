/* What a mount writes beside rows: its promise, its roots, and label copies that were damaged.
 *
 * The order (design §5), each step flushed on all members before the next begins:
 *   1. array_take_term: the promise, on every present member, also on those that are out of date: so
 *      the term can't be taken again by anybody who sees any one of them.  Of the two slots the
 *      invalid or the lower one is overwritten, so that a torn write hides no term.
 *   2. array_take_term: damaged label copies, one at a time.  A source is only the label whose hash
 *      the chosen root names; what is the member's own (its UUID) stays.
 *   3. array_write_root: the opening root, by the caller.  Only then rows.
 * Labels without a MAC, of members that a keyless rebuild made, come after the first commit (array_complete_labels): until then
 * they say that such a member has no log records, which may be all that tells of those lost with another member.
 *
 * A root goes to members that are in sync or filling when array_write_root begins; a member that was
 * dropped before never gets a newer one, so it is seen as stale by its own ring. */
#include "raid/array_impl.h"

#include <assert.h>
#include <errno.h>

/* One structure to one place on each of some members: write, then flush those that took it. */
struct spread {
	struct array *array;
	struct iobuf *buf;
	const char *what;
	unsigned count;
	uint8_t members[MEMBERS_MAX];
	uint64_t offset_bytes[MEMBERS_MAX];
	uint32_t durable;                /* out: bit by member */
};

static void spread_add(struct spread *s, unsigned member, uint64_t offset_bytes)
{
	s->members[s->count] = (uint8_t)member;
	s->offset_bytes[s->count++] = offset_bytes;
}

/* Runs one operation on those of the members that are in `mask`; returns those on which it worked. */
static uint32_t spread_step(struct spread *s, enum disk_op op, uint32_t mask, int *result)
{
	struct array *array = s->array;
	struct iovec iov = { s->buf->data, s->buf->bytes };
	struct disk_io ios[MEMBERS_MAX];
	uint8_t members[MEMBERS_MAX];
	unsigned count = 0;
	uint32_t worked = 0;

	for (unsigned i = 0; i < s->count; i++) {
		if (!(mask >> s->members[i] & 1))
			continue;
		ios[count] = (struct disk_io){ .op = op, .disk = atomic_load(&array->members[s->members[i]].disk) };
		if (op == DISK_WRITE) {
			ios[count].offset_bytes = s->offset_bytes[i];
			ios[count].length_bytes = s->buf->bytes;
			ios[count].iov = &iov;
			ios[count].iov_count = 1;
			ios[count].hold = s->buf;
		}
		members[count++] = s->members[i];
	}
	if (!count)
		return 0;
	disk_run(ios, count, array->io_timeout_ms);
	for (unsigned i = 0; i < count; i++) {
		if (!ios[i].result)
			worked |= UINT32_C(1) << members[i];
		else if (member_write_failed(array, members[i], ios[i].result, s->what))
			*result = -EIO;
	}
	return worked;
}

/* 0 if it is durable on all members given, or those that failed could be dropped. */
static int spread_run(struct spread *s)
{
	int result = 0;
	uint32_t all = 0;

	for (unsigned i = 0; i < s->count; i++)
		all |= UINT32_C(1) << s->members[i];
	uint32_t written = spread_step(s, DISK_WRITE, all, &result);
	s->durable = spread_step(s, DISK_FLUSH, written, &result);
	if (!result && !s->durable)
		result = -EIO;
	return result;
}

/* ---- The term ---- */

static unsigned promise_slot(const struct member *member)
{
	for (unsigned i = 0; i < PROMISE_SLOTS; i++)
		if (!member->promise_valid[i])
			return i;
	return member->promise_term[0] <= member->promise_term[1] ? 0 : 1;
}

static int write_promises(struct array *array, uint64_t term, const struct mount_id *mount)
{
	struct iobuf *buf cleanup(iobuf_unrefp) = iobuf_new(PROMISE_BYTES);
	struct spread s = { .array = array, .buf = buf, .what = "writing the promise of a new term" };
	struct promise promise = { .array = array->config->array, .term = term, .mount = *mount };
	unsigned slots[MEMBERS_MAX] = { 0 };

	if (!buf)
		return -ENOMEM;
	promise_encode(&promise, buf->data);
	array->auth.promise_mac(array->auth.ctx, buf->data);
	for (unsigned i = 0; i < array->member_count; i++) {
		struct member *member = &array->members[i];
		if (!atomic_load(&member->disk))
			continue;
		slots[i] = promise_slot(member);
		spread_add(&s, i, array->config->geometry.promise_offset_bytes + (uint64_t)slots[i] * PROMISE_BYTES);
	}
	int r = spread_run(&s);
	for (unsigned i = 0; i < array->member_count; i++) {
		if (!(s.durable >> i & 1))
			continue;
		array->members[i].promise_valid[slots[i]] = true;
		array->members[i].promise_term[slots[i]] = term;
	}
	return r;
}

/* ---- Label copies ---- */

static void report_restored(struct array *array, unsigned index, unsigned copy)
{
	const struct member *member = &array->members[index];

	if (member->keyless)
		event_report(array->events, EVENT_LABEL_RESTORED, (int)index, "%s: copy %u of its label was made without a key, and was completed.",
			member->name, copy + 1);
	else
		event_report(array->events, EVENT_LABEL_RESTORED, (int)index, "%s: copy %u of its label was damaged or old, and was restored.",
			member->name, copy + 1);
}

static int restore_copy(struct array *array, unsigned index, unsigned copy)
{
	struct member *member = &array->members[index];
	struct disk *disk = atomic_load(&member->disk);
	struct iobuf *buf cleanup(iobuf_unrefp) = iobuf_new(LABEL_BYTES);
	struct spread s = { .array = array, .buf = buf, .what = "restoring a copy of the label" };
	struct label label = array->label;

	if (!buf)
		return -ENOMEM;
	label.member = member->uuid;
	label_encode(&label, buf->data);
	spread_add(&s, index, label_copy_offset_bytes(copy, disk->size_bytes));
	int r = spread_run(&s);
	if (s.durable) {
		member->copy_wrong &= (uint8_t)~(1u << copy);
		report_restored(array, index, copy);
		return 0;
	}
	/* A member that could be dropped for it ends no mount. */
	return atomic_load(&array->read_only) ? r : 0;
}

static int restore_labels(struct array *array, bool keyless)
{
	int r = 0;

	for (unsigned i = 0; i < array->member_count && array->label_source; i++)
		for (unsigned copy = 0; copy < LABEL_COPIES && !r; copy++)
			if ((array->members[i].copy_wrong >> copy & 1) && array->members[i].keyless == keyless && atomic_load(&array->members[i].disk))
				r = restore_copy(array, i, copy);
	return r;
}

uint32_t array_keyless(const struct array *array)
{
	uint32_t mask = 0;

	for (unsigned i = 0; i < array->member_count; i++)
		mask |= (uint32_t)array->members[i].keyless << i;
	return mask;
}

int array_complete_labels(struct array *array)
{
	assert(array->term);
	int r = restore_labels(array, true);

	for (unsigned i = 0; i < array->member_count && !r; i++)
		if (!array->members[i].copy_wrong)
			array->members[i].keyless = false;
	return r;
}

int array_take_term(struct array *array)
{
	struct mount_id mount;
	int r;

	if (atomic_load(&array->read_only))
		return -EROFS;
	if (array->term == array->next_term)     /* taken, but the caller could not write its opening root, and comes again */
		return 0;
	assert(array->term < array->next_term);
	env_random(array->env, mount.b, sizeof mount.b);
	r = write_promises(array, array->next_term, &mount);
	if (r)
		return r;
	r = restore_labels(array, false);
	if (r)
		return r;
	SCOPED_LOCK(&array->mutex);
	array->mount = mount;
	array->term = array->next_term;
	return 0;
}

/* ---- Roots ---- */

void array_fill_root(struct array *array, struct root_header *header)
{
	SCOPED_LOCK(&array->mutex);
	header->array = array->config->array;
	header->term = array->term;
	header->mount = array->mount;
	header->config_version = array->config->version;
	memcpy(header->config_hash, array->config_hash, CONFIG_HASH_BYTES);
	header->label_sequence = array->label.sequence;
	memcpy(header->label_hash, array->label_hash, LABEL_HASH_BYTES);
	memset(header->members, 0, sizeof header->members);
	for (unsigned i = 0; i < array->member_count; i++) {
		header->members[i].state = member_state_now(&array->members[i]);
		header->members[i].gap = array->members[i].gap;
	}
	header->job_running = array->config->job_count > 0;
	header->job_position = header->job_running ? array->job_position : 0;
}

/* The root is durable on `durable`: what it says of these counts, but for what happened since. */
static void note_settled(struct array *array, const struct root_header *header, uint32_t durable)
{
	SCOPED_LOCK(&array->mutex);
	for (unsigned i = 0; i < array->member_count; i++) {
		struct member *member = &array->members[i];
		const struct root_member *named = &header->members[i];
		member->settled = (durable >> i & 1) && named->state == MEMBER_IN_SYNC && !named->gap.present
			&& member_state_now(member) == MEMBER_IN_SYNC && !member->gap.present;
		member->out_for_good = named->state == MEMBER_OUT && member_state_now(member) == MEMBER_OUT;
	}
	step_counts(array, header);
}

int array_write_root(struct array *array, const uint8_t record[ROOT_BYTES], bool *ret_all)
{
	const struct geometry *g = &array->config->geometry;
	struct iobuf *buf cleanup(iobuf_unrefp) = NULL;
	struct spread s = { .array = array, .what = "writing a root" };
	struct root_header header;
	uint32_t in_sync = 0;
	int r = root_header_decode(record, &header);

	assert(!r);
	if (atomic_load(&array->read_only))
		return -EROFS;
	s.buf = buf = iobuf_new(ROOT_BYTES);
	if (!buf)
		return -ENOMEM;
	memcpy(buf->data, record, ROOT_BYTES);
	for (unsigned i = 0; i < array->member_count; i++) {
		uint8_t state = member_state_now(&array->members[i]);
		if (state == MEMBER_IN_SYNC)
			in_sync |= UINT32_C(1) << i;
		if (state == MEMBER_IN_SYNC || state == MEMBER_FILLING)
			spread_add(&s, i, g->ring_offset_bytes + header.generation % g->ring_slots * ROOT_BYTES);
	}
	r = spread_run(&s);
	if (r)
		return r;
	*ret_all = (s.durable & in_sync) == in_sync;
	note_settled(array, &header, s.durable);
	return 0;
}
