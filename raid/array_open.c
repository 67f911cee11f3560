/* Opening an array: which root counts, and who is in it.
 *
 * The order, each step trusting only what the ones before it found:
 *   1. each member's label: a copy whose MAC holds goes before others.  One whose copies all lack it (a
 *      keyless rebuild wrote them) still says which member this might be;
 *   2. each member's newest root and highest promise that verify;
 *   3. the configuration that the newest of all these roots names, by hash, from whatever member has it.
 *      A configuration is durable on all working members before a root names it, so it is there.  If it says
 *      that the member with that root was larger, that one is left out, and so is its root;
 *   4. members matched to it by UUID, and choose_root;
 *   5. enough voters (read-write), and for every band all columns but one;
 *   6. the label that the chosen root names, and the array itself (array_build.c).
 *
 * Nothing is written here.  What the opening root shall say of the members (choose_root) is their state
 * from now on; a mount that never writes leaves the members as they were. */
#include "raid/array_opening.h"

#include <errno.h>
#include <stdio.h>

/* ---- What the members given turn out to be ---- */

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

static struct candidate *newest_candidate(struct opening *o)
{
	struct candidate *newest = NULL;

	for (unsigned i = 0; i < o->count; i++) {
		struct candidate *c = &o->candidates[i];
		if (c->readable && c->scan.has_root && (!newest || root_newer(&c->scan.root, &newest->scan.root)))
			newest = c;
	}
	return newest;
}

/* The configuration that the newest root names, from whatever member has it. */
static int read_config(struct opening *o, const struct candidate *newest)
{
	const struct root_header *root = &newest->scan.root;

	for (unsigned i = 0; i < o->count; i++) {
		const struct candidate *c = &o->candidates[i];
		int r = c->readable ? scan_config(c->probe->disk, &c->label.geometry, root->config_hash, &o->config) : -EIO;
		if (r == -ENOMEM)
			return fail_set(o->fail, ENOMEM, FAIL_SYSTEM, "No memory to read the array's configuration.");
		if (r)
			continue;
		if (uuid_equal(&o->config->array, &root->array) && o->config->version == root->config_version)
			return 0;
		config_free(o->config);
		o->config = NULL;
	}
	return fail_set(o->fail, EBADMSG, FAIL_DAMAGED, "No member has configuration %llu, which the newest root (generation %llu, on %s) "
		"names. If there are other members, give them too.", (unsigned long long)root->config_version,
		(unsigned long long)root->generation, path_of(newest));
}

/* A member that is no longer as large as the configuration says is left out, with its root. */
static bool leave_out_shrunk(struct opening *o, struct candidate *c)
{
	int index = config_member(o->config, &c->label.member);

	if (index < 0 || !c->readable || c->probe->disk->size_bytes >= o->config->members[index].size_bytes)
		return false;
	c->readable = false;
	event_report(o->options->events, EVENT_WARNING, index, "%s is smaller than it was when it became a member, and is left out.",
		path_of(c));
	return true;
}

static int check_config(const struct opening *o, const struct candidate *newest)
{
	if ((o->config->job_count > 0) != newest->scan.root.job_running)
		return fail_set(o->fail, EBADMSG, FAIL_DAMAGED, "The newest root (generation %llu, on %s) and the configuration that it names disagree "
			"about column jobs.", (unsigned long long)newest->scan.root.generation, path_of(newest));
	if ((o->config->incompat & ~FEATURE_INCOMPAT_KNOWN) || (!o->options->read_only && (o->config->ro_compat & ~FEATURE_RO_COMPAT_KNOWN)))
		return fail_set(o->fail, EPROTONOSUPPORT, FAIL_VERSION, "The array's configuration has features that this program does not know "
			"(incompat %#llx, ro_compat %#llx). Use a newer program.", (unsigned long long)o->config->incompat,
			(unsigned long long)o->config->ro_compat);
	return 0;
}

/* The configuration that the newest root names, of all verified roots on members that it finds large enough. */
static int find_config(struct opening *o)
{
	struct candidate *newest;

	while ((newest = newest_candidate(o))) {
		int r = read_config(o, newest);
		if (r < 0)
			return r;
		if (!leave_out_shrunk(o, newest))
			return check_config(o, newest);
		config_free(o->config);
		o->config = NULL;
	}
	return fail_set(o->fail, EBADMSG, FAIL_DAMAGED, "No member has a root that verifies: the root rings are damaged, "
		"or the array was never finished. If there are other members, give them too.");
}

/* Matches candidates to the configuration by UUID. */
static int match(struct opening *o)
{
	for (unsigned i = 0; i < o->count; i++) {
		struct candidate *c = &o->candidates[i];
		if (!c->labelled)
			continue;
		c->index = config_member(o->config, &c->label.member);
		if (c->index < 0) {
			event_report(o->options->events, EVENT_WARNING, -1, "%s is not a member of this array any more, or was never quite made one, and "
				"is left out.", path_of(c));
			continue;
		}
		for (unsigned k = 0; k < i; k++)
			if (o->candidates[k].index == c->index)
				return fail_set(o->fail, EINVAL, FAIL_TWICE, "%s and %s are both member %d of the array: one is a copy of the other, "
					"or took its place. Leave out the one that was not used last.", path_of(&o->candidates[k]), path_of(c), c->index + 1);
		leave_out_shrunk(o, c);
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
		uint32_t here = band_members(&o->config->bands[b]) & missing;
		if (here & (here - 1))
			return too_few(o, here, " to read all data");
	}
	return 0;
}

static int choose(struct opening *o)
{
	uint32_t voters = config_voters(o->config);

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

/* ---- All of it ---- */

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
		r = opening_build(o, ret_array);
out:
	if (o) {
		config_free(o->config);
		free(o->candidates);
		free(o);
	}
	probe_free(probe);
	return r;
}
