/* Opening an array: which root counts, and who is in it.
 *
 * The order, each step trusting only what the ones before it found:
 *   1. each member's label: a copy whose MAC holds goes before others.  One whose copies all lack it (a
 *      keyless rebuild wrote them) still says which member this might be;
 *   2. each member's newest root and highest promise that verify;
 *   3. the configuration that the newest of all these roots names, by hash, from whatever member has it.
 *      A configuration is durable on all working members before a root names it, so it is there;
 *   4. members matched to it by UUID, and choose_root;
 *   5. enough voters (read-write), and for every band all columns but one;
 *   6. the label that the chosen root names.
 *
 * Nothing is written here.  What the opening root shall say of the members (choose_root) is their state
 * from now on; a mount that never writes leaves the members as they were. */
#include "raid/array_impl.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>

void member_describe(const struct uuid *uuid, unsigned index, const char *path, char *text, size_t text_bytes)
{
	char id[UUID_TEXT_BYTES];

	uuid_format(uuid, id);
	if (path && *path)
		snprintf(text, text_bytes, "%s", path);
	else
		snprintf(text, text_bytes, "member %u (UUID %s)", index + 1, id);
}

struct array *array_new(const struct array_options *options)
{
	struct array *array = calloc(1, sizeof *array);

	if (!array)
		return NULL;
	pthread_mutex_init(&array->mutex, NULL);
	array->io_timeout_ms = options->io_timeout_ms > 0 ? options->io_timeout_ms : IO_TIMEOUT_DEFAULT_MS;
	array->read_errors_max = options->read_errors_max;
	array->env = options->env;
	if (options->events) {
		array->sink = *options->events;
		array->events = &array->sink;
	}
	atomic_store(&array->read_only, options->read_only);
	return array;
}

void array_close(struct array *array)
{
	if (!array)
		return;
	for (unsigned i = 0; i < array->member_count; i++)
		disk_close(atomic_load(&array->members[i].disk));
	for (unsigned i = 0; i < array->retired_count; i++)
		disk_close(array->retired[i]);
	for (unsigned i = 0; i < array->left_out_count; i++)
		free(array->left_out[i]);
	config_free(array->config);
	while (array->former) {
		struct former_config *former = array->former;
		array->former = former->next;
		config_free(former->config);
		free(former);
	}
	pthread_mutex_destroy(&array->mutex);
	free(array);
}

const uint8_t *array_root_record(const struct array *array) { return array->record; }
const struct root_header *array_root_header(const struct array *array) { return &array->header; }
const struct config *array_config(const struct array *array) { return array->config; }
const struct label *array_label(const struct array *array) { return &array->label; }
bool array_left_out(const struct array *array, const char *path)
{
	for (unsigned i = 0; i < array->left_out_count; i++)
		if (array->left_out[i] && !strcmp(array->left_out[i], path))
			return true;
	return false;
}

bool array_read_only(const struct array *array) { return atomic_load(&array->read_only); }
struct mount_id array_mount(const struct array *array) { return array->mount; }

/* ---- What the members given turn out to be ---- */

struct candidate {
	struct probe_member *probe;
	bool labelled;                   /* `label` says which member this is */
	bool genuine;                    /* … and its MAC holds */
	struct label label;
	bool readable;                   /* ring and promises could be read */
	struct scan scan;
	int index;                       /* in the configuration, or -1 */
};

struct opening {
	const struct array_auth *auth;
	const struct array_options *options;
	struct fail *fail;
	unsigned count;
	struct candidate *candidates;
	struct config *config;
	struct choice_member members[MEMBERS_MAX];
	struct choice choice;
};

static const char *path_of(const struct candidate *c)
{
	return c->probe->disk->name;
}

/* The candidate that is member `index` of the configuration, or NULL. */
static struct candidate *candidate_of(const struct opening *o, unsigned index)
{
	for (unsigned i = 0; i < o->count; i++)
		if (o->candidates[i].index == (int)index)
			return &o->candidates[i];
	return NULL;
}

static int read_candidates(struct opening *o)
{
	bool genuine = false;

	for (unsigned i = 0; i < o->count; i++) {
		struct candidate *c = &o->candidates[i];
		struct probe_member *m = c->probe;
		int status, best = scan_best_copy(m->copies, m->copy_status, o->auth, &c->label, &status);

		c->index = -1;
		if (best < 0) {
			event_report(o->options->events, EVENT_WARNING, -1, "%s carries no usable label, and is left out.", path_of(c));
			continue;
		}
		c->labelled = true;
		c->genuine = o->auth->label_ok(o->auth->ctx, m->copies[best]);
		genuine = genuine || c->genuine;
		if (!geometry_valid(&c->label.geometry, m->disk->size_bytes)) {
			event_report(o->options->events, EVENT_WARNING, -1, "%s is smaller than its label says, and is left out.", path_of(c));
			continue;
		}
		int r = scan_member(m->disk, &c->label.geometry, &c->label.array, o->auth, &c->scan);
		if (r == -ENOMEM)
			return fail_set(o->fail, ENOMEM, FAIL_SYSTEM, "No memory to read the members.");
		c->readable = !r;
		if (r)
			event_report(o->options->events, EVENT_WARNING, -1, "%s cannot be read (%s), and is left out.", path_of(c), strerror(-r));
	}
	if (!genuine)
		return fail_set(o->fail, EBADMSG, FAIL_DAMAGED, "No member has a label that this key vouches for: all copies are damaged or forged.");
	return 0;
}

/* The newest verified root of all, and the configuration that it names. */
static int find_config(struct opening *o)
{
	const struct candidate *newest = NULL;

	for (unsigned i = 0; i < o->count; i++) {
		const struct candidate *c = &o->candidates[i];
		if (c->readable && c->scan.has_root && (!newest || root_newer(&c->scan.root, &newest->scan.root)))
			newest = c;
	}
	if (!newest)
		return fail_set(o->fail, EBADMSG, FAIL_DAMAGED, "No member has a root that verifies: the root rings are damaged, "
			"or the array was never finished. If there are other members, give them too.");
	for (unsigned i = 0; i < o->count && !o->config; i++) {
		const struct candidate *c = &o->candidates[i];
		int r = c->readable ? scan_config(c->probe->disk, &c->label.geometry, newest->scan.root.config_hash, &o->config) : -EIO;
		if (r == -ENOMEM)
			return fail_set(o->fail, ENOMEM, FAIL_SYSTEM, "No memory to read the array's configuration.");
		if (r)
			continue;
		if (!uuid_equal(&o->config->array, &newest->scan.root.array) || o->config->version != newest->scan.root.config_version) {
			config_free(o->config);
			o->config = NULL;
		}
	}
	if (!o->config)
		return fail_set(o->fail, EBADMSG, FAIL_DAMAGED, "No member has configuration %llu, which the newest root (generation %llu, on %s) names. "
			"If there are other members, give them too.", (unsigned long long)newest->scan.root.config_version,
			(unsigned long long)newest->scan.root.generation, path_of(newest));
	if ((o->config->job_count > 0) != newest->scan.root.job_running)
		return fail_set(o->fail, EBADMSG, FAIL_DAMAGED, "The newest root (generation %llu, on %s) and the configuration that it names disagree "
			"about column jobs.", (unsigned long long)newest->scan.root.generation, path_of(newest));
	if ((o->config->incompat & ~FEATURE_INCOMPAT_KNOWN) || (!o->options->read_only && (o->config->ro_compat & ~FEATURE_RO_COMPAT_KNOWN)))
		return fail_set(o->fail, EPROTONOSUPPORT, FAIL_VERSION, "The array's configuration has features that this program does not know "
			"(incompat %#llx, ro_compat %#llx). Use a newer program.", (unsigned long long)o->config->incompat,
			(unsigned long long)o->config->ro_compat);
	return 0;
}

/* Matches candidates to the configuration by UUID. */
static int match(struct opening *o)
{
	for (unsigned i = 0; i < o->count; i++) {
		struct candidate *c = &o->candidates[i];
		if (!c->labelled)
			continue;
		for (unsigned k = 0; k < o->config->member_count; k++) {
			const struct config_member *m = &o->config->members[k];
			if (m->role != MEMBER_UNUSED && uuid_equal(&m->uuid, &c->label.member))
				c->index = (int)k;
		}
		if (c->index < 0) {
			event_report(o->options->events, EVENT_WARNING, -1, "%s is not a member of this array any more, or was never quite made one, and "
				"is left out.", path_of(c));
			continue;
		}
		for (unsigned k = 0; k < i; k++)
			if (o->candidates[k].index == c->index)
				return fail_set(o->fail, EINVAL, FAIL_TWICE, "%s and %s are both member %d of the array: one is a copy of the other, "
					"or took its place. Leave out the one that was not used last.", path_of(&o->candidates[k]), path_of(c), c->index + 1);
		if (c->probe->disk->size_bytes < o->config->members[c->index].size_bytes && c->readable) {
			c->readable = false;
			event_report(o->options->events, EVENT_WARNING, c->index, "%s is smaller than it was when it became a member, and is left out.",
				path_of(c));
		}
		if (!c->readable)
			continue;
		struct choice_member *m = &o->members[c->index];
		m->present = true;
		m->has_root = c->scan.has_root;
		m->root = c->scan.root;
		m->promised_term = c->scan.promised_term;
	}
	return 0;
}

/* ---- Is that enough? ---- */

/* Lists the members in `mask`, with why they don't count. */
static void list_missing(const struct opening *o, uint32_t mask, char *text, size_t text_bytes)
{
	size_t at = 0;

	*text = 0;
	for (unsigned i = 0; i < o->config->member_count && at < text_bytes; i++) {
		char name[MEMBER_NAME_BYTES + 64];
		const struct candidate *c = candidate_of(o, i);
		if (!(mask >> i & 1))
			continue;
		member_describe(&o->config->members[i].uuid, i, c ? path_of(c) : NULL, name, sizeof name);
		at += (size_t)snprintf(text + at, text_bytes - at, "%s%s (%s)", at ? ", " : "", name,
			!c ? "absent" : !c->readable ? "unreadable" : "out of date");
	}
	for (unsigned i = 0; i < o->count && at < text_bytes; i++)
		if (!o->candidates[i].labelled)
			at += (size_t)snprintf(text + at, text_bytes - at, "; %s carries no usable label", path_of(&o->candidates[i]));
}

static uint32_t not_in_sync(const struct opening *o)
{
	uint32_t mask = 0;

	for (unsigned i = 0; i < o->config->member_count; i++)
		if (o->config->members[i].role != MEMBER_UNUSED && o->choice.members[i].state != MEMBER_IN_SYNC)
			mask |= UINT32_C(1) << i;
	return mask;
}

static int too_few(const struct opening *o, uint32_t missing, const char *what)
{
	char list[700];

	list_missing(o, missing, list, sizeof list);
	return fail_set(o->fail, ENODEV, FAIL_TOO_FEW, "Too few members%s: missing are %s. Give all members but at most one, in sync.", what, list);
}

/* Appends the paths of the members in `mask`. */
static void list_paths(const struct opening *o, uint32_t mask, char *text, size_t text_bytes)
{
	size_t at = strlen(text);
	const char *before = "";

	for (unsigned i = 0; i < o->config->member_count && at < text_bytes; i++) {
		if (!(mask >> i & 1))
			continue;
		at += (size_t)snprintf(text + at, text_bytes - at, "%s%s", before, path_of(candidate_of(o, i)));
		before = ", ";
	}
}

static int diverged(const struct opening *o)
{
	char one[400] = "", other[400] = "";     /* of the 1024 that a failure has */

	list_paths(o, o->choice.same_mount, one, sizeof one);
	list_paths(o, o->choice.other_mounts, other, sizeof other);
	return fail_set(o->fail, EINVAL, FAIL_DIVERGED, "These are clones of one array that were used separately (both in term %llu): %s on one side, "
		"%s on the other. Give only the members of the one that you want.",
		(unsigned long long)o->members[o->choice.root_member].root.term, one, other);
}

static int check_bands(const struct opening *o)
{
	uint32_t missing = not_in_sync(o);

	for (uint32_t b = 0; b < o->config->band_count; b++) {
		const struct band *band = &o->config->bands[b];
		uint32_t here = 0;
		for (unsigned c = 0; c < band->width; c++)
			here |= UINT32_C(1) << band->columns[c].member & missing;
		if (here & (here - 1))
			return too_few(o, here, " to read all data");
	}
	return 0;
}

static int choose(struct opening *o)
{
	uint32_t voters = 0;

	for (unsigned i = 0; i < o->config->member_count; i++)
		if (o->config->members[i].role == MEMBER_VOTER)
			voters |= UINT32_C(1) << i;
	choose_root(o->members, o->config->member_count, voters, &o->choice);
	switch (o->choice.result) {
	case CHOICE_NO_ROOT:
		return fail_set(o->fail, EBADMSG, FAIL_DAMAGED, "No present member of the array has a root that verifies.");
	case CHOICE_DIVERGED:
		return diverged(o);
	case CHOICE_TOO_FEW:
		if (!o->options->read_only)
			return too_few(o, not_in_sync(o) & voters, "");
		break;
	case CHOICE_OK:
		break;
	}
	return check_bands(o);
}

/* ---- Building the array ---- */

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

static int build(struct opening *o, struct array **ret_array)
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

int array_open(struct probe *probe, const struct array_auth *auth, const struct array_options *options,
	struct array **ret_array, struct fail *fail)
{
	struct opening *o = calloc(1, sizeof *o);
	int r = -ENOMEM;

	if (o)
		o->candidates = calloc(probe->count, sizeof *o->candidates);
	if (!o || !o->candidates) {
		fail_set(fail, ENOMEM, FAIL_SYSTEM, "No memory to open the array.");
		goto out;
	}
	o->auth = auth;
	o->options = options;
	o->fail = fail;
	o->count = probe->count;
	for (unsigned i = 0; i < probe->count; i++)
		o->candidates[i].probe = &probe->members[i];
	r = read_candidates(o);
	if (!r)
		r = find_config(o);
	if (!r)
		r = match(o);
	if (!r)
		r = choose(o);
	if (!r)
		r = build(o, ret_array);
out:
	if (o) {
		config_free(o->config);
		free(o->candidates);
		free(o);
	}
	probe_free(probe);
	return r;
}
