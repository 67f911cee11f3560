/* Opening an array, the last step: the array is made of what array_open.c found out.
 *
 *   - The label is the one that the chosen root names.  If no copy of that is left, the newest genuine one has to do (array_open went no
 *     further without any), and no copies are made of it (label_source).
 *   - A member's state and gap are those that choose_root gives it; one that the chosen root does not know has nothing yet.  Its disk is
 *     the array's whenever it could be read, whatever the state: one that is out may be caught up.
 *   - The position of column jobs is the chosen root's only if all of their targets are level with it.
 * Nothing is written here either. */
#include "raid/array_opening.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>

/* ---- Labels ---- */

/* The label that the chosen root names; else the newest genuine one, which is then no source for copies. */
static void pick_label(const struct opening *o, struct array *array)
{
	const struct root_header *root = &array->header;
	bool have = false;

	for (unsigned i = 0; i < o->count; i++) {
		const struct probe_member *m = o->candidates[i].probe;
		for (unsigned k = 0; k < LABEL_COPIES; k++) {
			uint8_t hash[LABEL_HASH_BYTES];
			struct label label;
			if (m->copy_status[k] || label_decode(m->copies[k], &label) || !uuid_equal(&label.array, &o->config->array) ||
					!o->auth->label_ok(o->auth->ctx, m->copies[k]))
				continue;
			label_hash(m->copies[k], hash);
			bool named = label.sequence == root->label_sequence && !memcmp(hash, root->label_hash, LABEL_HASH_BYTES);
			if (array->label_source || (have && !named && label.sequence <= array->label.sequence))
				continue;
			have = true;
			array->label = label;
			array->label_source = named;
			memcpy(array->label_hash, hash, LABEL_HASH_BYTES);
		}
	}
	assert(have);
}

/* Bits of the label copies that differ from what the root names. */
static uint8_t wrong_copies(const struct candidate *c, const struct array *array)
{
	uint8_t wrong = 0;

	for (unsigned k = 0; k < LABEL_COPIES; k++) {
		struct label label = array->label;
		uint8_t bytes[LABEL_BYTES];
		label.member = c->label.member;
		label_encode(&label, bytes);
		if (memcmp(bytes, c->probe->copies[k], LABEL_BYTES))
			wrong |= (uint8_t)(1u << k);
	}
	return wrong;
}

/* Made by a keyless rebuild: the label is not genuine, and does not claim to be. */
static bool has_no_mac(const struct candidate *c)
{
	static const uint8_t none[LABEL_MAC_BYTES];

	return !c->genuine && !memcmp(c->label.mac, none, sizeof none);
}

/* ---- Members ---- */

static void report_member(const struct array *array, unsigned index, const struct candidate *c, bool needed)
{
	const struct member *member = &array->members[index];
	char name[MEMBER_NAME_BYTES + 64];

	member_describe(&member->uuid, index, member->name, name, sizeof name);
	if (!atomic_load(&member->disk))
		event_report(array->events, EVENT_MEMBER_ABSENT, (int)index, "%s is %s. The array works without it%s.",
			name, c ? "left out, since it cannot be used" : "absent", needed ? "; one more loss would be too many" : " (it is a spare)");
	else if (member_state_now(member) == MEMBER_OUT)
		event_report(array->events, EVENT_MEMBER_DROPPED, (int)index, "%s is out of date: it misses what was written after generation %llu.",
			name, (unsigned long long)member->gap.from);
	else if (member->gap.present && member_state_now(member) == MEMBER_IN_SYNC)
		event_report(array->events, EVENT_WARNING, (int)index, "%s may miss a part of the last writes; it is being verified.", name);
}

static void fill_member(const struct opening *o, struct array *array, unsigned index)
{
	struct member *member = &array->members[index];
	const struct config_member *known = &o->config->members[index];
	const struct root_member *chosen = &o->choice.members[index];
	struct candidate *c = candidate_of(o, index);

	member->uuid = known->uuid;
	member->role = known->role;
	member->size_bytes = known->size_bytes;
	if (known->role == MEMBER_UNUSED)
		return;
	member->gap = chosen->gap;
	member->flushed = array->header.generation;
	atomic_init(&member->state, chosen->state);
	if (chosen->state == MEMBER_ABSENT || (!(c && c->readable) && chosen->state != MEMBER_OUT)) {
		/* The chosen root does not know it: it has nothing yet. */
		member->gap = (struct gap){ .present = true, .to = GAP_OPEN };
		atomic_init(&member->state, MEMBER_OUT);
	}
	member->settled = member_state_now(member) == MEMBER_IN_SYNC && !member->gap.present;
	member->out_for_good = member_state_now(member) == MEMBER_OUT && array->header.members[index].state == MEMBER_OUT;
	if (c && c->readable) {
		atomic_init(&member->disk, c->probe->disk);
		snprintf(member->name, sizeof member->name, "%s", path_of(c));
		member->copy_wrong = wrong_copies(c, array);
		member->keyless = has_no_mac(c);
		memcpy(member->promise_valid, c->scan.promise_valid, sizeof member->promise_valid);
		memcpy(member->promise_term, c->scan.promise_term, sizeof member->promise_term);
		c->probe->disk = NULL;
	}
	report_member(array, index, c, config_needed(o->config) >> index & 1);
}

/* A target that is not level may lack what the root says that it has (M3 of doc/membership.md). */
static void open_job(const struct opening *o, struct array *array)
{
	uint32_t level = o->choice.level;

	for (unsigned i = 0; i < array->member_count; i++)
		if (array->members[i].keyless)
			level &= ~(UINT32_C(1) << i);
	array->job_position = config_job_targets(array->config) & ~level ? 0 : array->header.job_position;
}

/* ---- All of it ---- */

int opening_build(struct opening *o, struct array **ret_array)
{
	const struct candidate *chosen = candidate_of(o, o->choice.root_member);
	struct array *array;
	int r;

	array = array_new(o->options);
	if (!array)
		return fail_set(o->fail, ENOMEM, FAIL_SYSTEM, "No memory to open the array.");
	array->auth = *o->auth;
	memcpy(array->record, chosen->scan.record, ROOT_BYTES);
	array->header = chosen->scan.root;
	memcpy(array->config_hash, array->header.config_hash, CONFIG_HASH_BYTES);
	array->next_term = o->choice.next_term;
	pick_label(o, array);
	r = label_check_features(&array->label, !o->options->read_only, path_of(chosen), o->fail);
	if (r) {
		array_close(array);
		return r;
	}
	array->member_count = o->config->member_count;
	for (unsigned i = 0; i < array->member_count; i++)
		fill_member(o, array, i);
	array->config = o->config;
	o->config = NULL;
	open_job(o, array);
	for (unsigned i = 0; i < o->count; i++)
		if (o->candidates[i].labelled && o->candidates[i].index < 0)
			array->left_out[array->left_out_count++] = strdup(path_of(&o->candidates[i]));
	*ret_array = array;
	return 0;
}
