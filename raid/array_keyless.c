/* Making the missing member again as itself, with no key: what that needs (here), and the order of its writes
 * (raid/array_keyless_make.c).
 *
 * No key means that nothing can be verified: a root or promise that is whole by its checksum counts, and of damage on a source the
 * XOR knows nothing.  What keeps that safe:
 *
 *   K1. All that vote or have columns, but the missing one, are there and have the very same newest root, byte for byte, which
 *       names each of them in sync, without a gap.  Every row that is live in that root was flushed on all of them, so the XOR of a
 *       live row is right; of other rows nobody reads anything.  If the power failed while the newest root was written, so that it
 *       is torn on one of them, they differ, and a mount settles it.  No column job leads onto the missing member.
 *   K2. In this order, each step flushed before the next:
 *       a) whatever on the target could be taken for a label is wiped, so that an old member of this or another array is none any
 *          more before anything else on it is touched; then its edges, and where promises, configurations, roots and the log lie:
 *          an older root or log record must not be found beside what is new;
 *       b) the rows;
 *       c) the configuration slots, the promise slots of the source with the highest term, and the newest root;
 *       d) the label, with the missing member's UUID and an empty MAC.
 *       Before (d) it is no member; after any one copy of the label it is one, and complete.
 *   K3. It has no log records; that is for the next mount (raid/array.h, array_keyless).
 *   K4. Its newest root is that of the others: the next mount finds it level and in the state that the root gives it.
 *
 * A tag that then does not verify is found as ever: keyless rebuild makes no damage that was not there. */
#include "raid/array_keyless.h"

#include "base/cleanup.h"
#include "raid/array_impl.h"
#include "raid/format.h"

#include <errno.h>
#include <stdio.h>

struct planning {
	const struct probe *probe;
	struct keyless_plan *plan;
	struct fail *fail;
	const struct probe_member *members[MEMBERS_MAX];     /* by index in the configuration */
};

/* Every member given can be read, and says what it is. */
static int check_given(const struct planning *p)
{
	for (unsigned i = 0; i < p->probe->count; i++) {
		const struct probe_member *m = &p->probe->members[i];
		const char *name = m->disk->name;
		if (m->label_status)
			return fail_set(p->fail, EINVAL, FAIL_NOT_MEMBER, "%s carries no usable label. Give all members of the array but the one that is "
				"to be made again; this one can be made again only with all others there.", name);
		int r = label_check_features(&m->label, true, name, p->fail);
		if (r)
			return r;
		if (!geometry_valid(&m->label.geometry, m->disk->size_bytes))
			return fail_set(p->fail, EINVAL, FAIL_DAMAGED, "%s is smaller than its label says: its end is missing.", name);
		if (!m->has_root)
			return fail_set(p->fail, EINVAL, FAIL_DAMAGED, "%s has no root that can be read. Mount the array once with all other members, "
				"wait until it is in sync, unmount, and try again.", name);
	}
	return 0;
}

static const struct probe_member *newest_of(const struct probe *probe)
{
	const struct probe_member *newest = &probe->members[0];

	for (unsigned i = 1; i < probe->count; i++)
		if (root_newer(&probe->members[i].root_hint, &newest->root_hint))
			newest = &probe->members[i];
	return newest;
}

static int find_config(struct planning *p)
{
	const struct probe_member *newest = newest_of(p->probe);
	const struct root_header *root = &newest->root_hint;
	struct config *config;
	int r = probe_config(p->probe, &config);

	if (r == -ENOMEM)
		return fail_set(p->fail, ENOMEM, FAIL_SYSTEM, "No memory to read the array's configuration.");
	if (r)
		return fail_set(p->fail, EBADMSG, FAIL_DAMAGED, "No member has configuration %llu, which the newest root (generation %llu, on %s) "
			"names. If there are other members, give them too.", (unsigned long long)root->config_version,
			(unsigned long long)root->generation, newest->disk->name);
	p->plan->config = config;
	p->plan->root = *root;
	if (config->version != root->config_version || !uuid_equal(&config->array, &newest->label.array))
		return fail_set(p->fail, EBADMSG, FAIL_DAMAGED, "The configuration on %s is not the one of its array. Mount the array once, "
			"unmount, and try again.", newest->disk->name);
	if ((config->incompat & ~FEATURE_INCOMPAT_KNOWN) || (config->ro_compat & ~FEATURE_RO_COMPAT_KNOWN))
		return fail_set(p->fail, EPROTONOSUPPORT, FAIL_VERSION, "The array's configuration has features that this program does not know "
			"(incompat %#llx, ro_compat %#llx). Use a newer program.", (unsigned long long)config->incompat,
			(unsigned long long)config->ro_compat);
	return 0;
}

/* Finds each given member's place, and that it has the size and geometry that the rows are looked for by. */
static int match(struct planning *p)
{
	const struct config *config = p->plan->config;

	for (unsigned i = 0; i < p->probe->count; i++) {
		const struct probe_member *m = &p->probe->members[i];
		int index = config_member(config, &m->label.member);
		if (index < 0)
			return fail_set(p->fail, EINVAL, FAIL_MIXED, "%s is not a member of this array any more. Leave it out.", m->disk->name);
		struct disk_geometry a, b;
		disk_geometry_put(&m->label.geometry, &a);
		disk_geometry_put(&config->geometry, &b);
		if (memcmp(&a, &b, sizeof a))
			return fail_set(p->fail, EBADMSG, FAIL_DAMAGED, "The label of %s says otherwise than the array's configuration where things lie. "
				"Mount the array once, unmount, and try again.", m->disk->name);
		if (m->disk->size_bytes < config->members[index].size_bytes)
			return fail_set(p->fail, EINVAL, FAIL_DAMAGED, "%s is smaller than it was when it became a member: its end is missing.",
				m->disk->name);
		p->members[index] = m;
		p->plan->sources[index] = m->disk;
	}
	return 0;
}

static int find_missing(const struct planning *p)
{
	const struct config *config = p->plan->config;
	uint32_t needed = config_needed(config);
	char list[700] = "", name[MEMBER_NAME_BYTES + 64];
	unsigned count = 0;
	size_t at = 0;

	for (unsigned i = 0; i < config->member_count; i++) {
		if (p->members[i] || !(needed >> i & 1))
			continue;
		member_describe(&config->members[i].uuid, i, NULL, name, sizeof name);
		if (at < sizeof list)
			at += (size_t)snprintf(list + at, sizeof list - at, "%s%s", at ? ", " : "", name);
		p->plan->member = i;
		count++;
	}
	if (!count)
		return fail_set(p->fail, EINVAL, FAIL_USAGE, "No member is missing among those given, so there is none to make again. Leave out the one "
			"that the target shall take the place of.");
	if (count > 1)
		return fail_set(p->fail, ENODEV, FAIL_TOO_FEW, "%u members are missing: %s. One can be made again only with all others there.",
			count, list);
	return 0;
}

/* How the newest root of the array and that of this member differ, and what to do. */
static int fail_older(const struct planning *p, const struct probe_member *m)
{
	const struct root_header *root = &p->plan->root, *own = &m->root_hint;

	if (own->generation == root->generation && own->term == root->term)
		return fail_set(p->fail, EBUSY, FAIL_TOO_FEW, "%s: its newest root (generation %llu) is not quite the same as that of the other members: "
			"the power failed while it was written, or the array was copied. Mount the array, unmount it, and try again.", m->disk->name,
			(unsigned long long)own->generation);
	return fail_set(p->fail, EBUSY, FAIL_TOO_FEW, "%s is not up to date: its newest root is of generation %llu (term %llu), the newest of all "
		"of generation %llu (term %llu). Mount the array without the missing member, wait until raid5cryptfs-status shows all others in "
		"sync, unmount, and try again.", m->disk->name, (unsigned long long)own->generation, (unsigned long long)own->term,
		(unsigned long long)root->generation, (unsigned long long)root->term);
}

/* The newest root of a member, whole. */
static int read_root(const struct planning *p, const struct probe_member *m, uint8_t ret_record[ROOT_BYTES])
{
	const struct geometry *g = &p->plan->config->geometry;
	struct root_header header;
	int r = disk_read(m->disk, g->ring_offset_bytes + m->root_hint.generation % g->ring_slots * ROOT_BYTES, ret_record, ROOT_BYTES);

	if (!r)
		r = root_header_decode(ret_record, &header);
	if (!r && (header.term != m->root_hint.term || header.generation != m->root_hint.generation))
		r = -EBADMSG;
	return !r ? 0 : fail_set(p->fail, -r, FAIL_SYSTEM, "%s: its newest root cannot be read (%s). Check its cable, mount the array once, "
		"unmount, and try again.", m->disk->name, strerror(-r));
}

static int check_roots(struct planning *p)
{
	const struct config *config = p->plan->config;
	uint8_t record[ROOT_BYTES];
	uint32_t needed = config_needed(config);
	int r = read_root(p, newest_of(p->probe), p->plan->record);

	for (unsigned i = 0; i < config->member_count && !r; i++) {
		const struct probe_member *m = p->members[i];
		if (!m || !(needed >> i & 1))
			continue;
		if (root_newer(&p->plan->root, &m->root_hint))
			return fail_older(p, m);
		r = read_root(p, m, record);
		if (!r && memcmp(record, p->plan->record, ROOT_BYTES))
			r = fail_older(p, m);
	}
	return r;
}

/* What that root says of the others, and which jobs there are. */
static int check_states(const struct planning *p)
{
	const struct config *config = p->plan->config;
	uint32_t needed = config_needed(config);

	for (unsigned i = 0; i < config->member_count; i++) {
		const struct root_member *state = &p->plan->root.members[i];
		if (!p->members[i] || !(needed >> i & 1))
			continue;
		const char *name = p->members[i]->disk->name;
		if (state->state != MEMBER_IN_SYNC)
			return fail_set(p->fail, EBUSY, FAIL_TOO_FEW, "%s is out of date or being caught up. Mount the array without the missing member, wait "
				"until raid5cryptfs-status shows it in sync, unmount, and try again.", name);
		if (state->gap.present)
			return fail_set(p->fail, EBUSY, FAIL_TOO_FEW, "%s may miss a part of the last writes, which a mount verifies. Mount the array and wait "
				"until raid5cryptfs-status shows it in sync without anything left to verify, unmount, and try again. If that never comes while "
				"the other member is missing, only a rebuild with the key can help.", name);
	}
	for (unsigned j = 0; j < config->job_count; j++)
		if (config->jobs[j].target.member == p->plan->member)
			return fail_set(p->fail, EBUSY, FAIL_TOO_FEW, "A column is being moved to the missing member. Mount the array, cancel that, "
				"unmount, and try again.");
	return 0;
}

/* The label that the root names, from whichever copy has it; without a MAC, since the new copies are no source for others. */
static int find_label(const struct planning *p)
{
	const struct root_header *root = &p->plan->root;
	struct label *label = &p->plan->label;
	uint8_t hash[LABEL_HASH_BYTES];

	for (unsigned i = 0; i < p->probe->count; i++) {
		const struct probe_member *m = &p->probe->members[i];
		for (unsigned k = 0; k < LABEL_COPIES; k++) {
			if (m->copy_status[k] || label_decode(m->copies[k], label))
				continue;
			label_hash(m->copies[k], hash);
			if (label->sequence != root->label_sequence || memcmp(hash, root->label_hash, LABEL_HASH_BYTES))
				continue;
			label->member = p->plan->uuid;
			memset(label->mac, 0, sizeof label->mac);
			return 0;
		}
	}
	return fail_set(p->fail, EBADMSG, FAIL_DAMAGED, "No member has the label that the newest root names. Mount the array once, unmount, and "
		"try again.");
}

static void measure(struct keyless_plan *plan)
{
	const struct config *config = plan->config;

	plan->uuid = config->members[plan->member].uuid;
	plan->size_bytes = config->members[plan->member].size_bytes;
	plan->state = plan->root.members[plan->member].state;
	for (uint32_t b = 0; b < config->band_count; b++)
		if (band_column_of(&config->bands[b], plan->member) >= 0)
			plan->copy_bytes += config->bands[b].rows * UNIT_BYTES;
}

void keyless_plan_free(struct keyless_plan *plan)
{
	if (!plan)
		return;
	config_free(plan->config);
	free(plan);
}

static void plan_freep(struct keyless_plan **plan)
{
	keyless_plan_free(*plan);
}

int keyless_plan(const struct probe *probe, struct keyless_plan **ret_plan, struct fail *fail)
{
	struct keyless_plan *plan cleanup(plan_freep) = calloc(1, sizeof *plan);
	struct planning p = { .probe = probe, .plan = plan, .fail = fail };

	if (!plan)
		return fail_set(fail, ENOMEM, FAIL_SYSTEM, "No memory to rebuild.");
	int r = check_given(&p);
	if (!r)
		r = find_config(&p);
	if (!r)
		r = match(&p);
	if (!r)
		r = find_missing(&p);
	if (!r)
		r = check_roots(&p);
	if (!r)
		r = check_states(&p);
	if (r)
		return r;
	measure(plan);
	r = find_label(&p);
	if (r)
		return r;
	*ret_plan = plan;
	plan = NULL;
	return 0;
}
