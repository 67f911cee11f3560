/* How the state of arrays is shown: see the header. */
#include "tools/status_print.h"

#include "base/cleanup.h"
#include "crypto/seal_engine.h"
#include "fs/fuse/fuse.h"
#include "tools/cli.h"

#include <errno.h>
#include <inttypes.h>

static const char *state_name(const struct control_member *m)
{
	switch (m->state) {
	case MEMBER_IN_SYNC:
		return m->has_gap ? "in sync, being verified" : "in sync";
	case MEMBER_FILLING:
		return "catching up";
	case MEMBER_OUT:
		return *m->path ? "out" : "absent";
	default:
		return "unknown";
	}
}

static const char *health_name(const struct control_status *s)
{
	static const char *const names[] = {
		[STATUS_HEALTHY] = "healthy", [STATUS_DEGRADED] = "degraded", [STATUS_FAILED] = "failed",
	};
	return names[status_health(s)];
}

static void member_map(const struct control_status *s, char map[MEMBERS_MAX + 3])
{
	char *c = map;

	*c++ = '[';
	for (unsigned i = 0; i < s->member_count; i++)
		if (status_needed(&s->members[i]))
			*c++ = s->members[i].state == MEMBER_IN_SYNC ? 'U' : '_';
	*c++ = ']';
	*c = '\0';
}

static const char *cipher_text(const struct control_status *s)
{
	const char *name = cipher_name((enum cipher)s->cipher);
	return name ? name : "unknown";
}

/* NULL if nothing is sealed now. */
static const char *engine_text(const struct control_status *s)
{
	const char *name = seal_engine_name((enum seal_engine)s->engine);

	if (!s->has_engine)
		return NULL;
	return name ? name : "unknown";
}

/* NULL: it is not mounted. */
static const char *transport_text(const struct control_status *s)
{
	if (!s->has_transport)
		return NULL;
	return s->transport == FUSE_TRANSPORT_URING ? "uring" : "device";
}

/* NULL: nothing is on its way. */
static const struct control_job *job_of(const struct control_status *s)
{
	bool whole = s->job.source < s->member_count && s->job.targets && !((uint64_t)s->job.targets >> s->member_count);
	return s->job.running && whole ? &s->job : NULL;
}

/* One member takes the other's place; else data goes to several, or to what one has free. */
static bool is_replace(const struct control_status *s, const struct control_job *job)
{
	bool one = !(job->targets & (job->targets - 1));
	return one && s->members[__builtin_ctz(job->targets)].role == MEMBER_REPLACEMENT;
}

/* ---- For people ---- */

/* All of nothing is done.  A daemon may tell more done than there is. */
static unsigned percent(uint64_t done, uint64_t total)
{
	return done < total ? (unsigned)(100.0 * (double)done / (double)total) : 100;
}

/* "37 % [====    ], about 5 min left" */
static void print_progress(const struct status_list *list, const struct control_status *s, unsigned what, uint64_t done, uint64_t total, FILE *out)
{
	char bar[PROGRESS_BAR_BYTES], left[PROGRESS_LEFT_BYTES] = "";

	if (list->pace)
		status_pace_left(list->pace, &s->array, what, done, total, list->now_ms, left);
	fprintf(out, "%u %% %s%s", percent(done, total), progress_bar(done, total, bar), left);
}

/* Paths and names come from disks and users: what could steer a terminal is not printed. */
static void print_clean(const char *text, FILE *out)
{
	for (; *text; text++)
		fputc((unsigned char)*text < 0x20 || *text == 0x7f ? '?' : *text, out);
}

static char member_mark(const struct control_member *m)
{
	if (m->state != MEMBER_IN_SYNC)
		return '_';
	return status_needed(m) ? 'U' : m->role == MEMBER_SPARE ? 'S' : 'R';
}

/* What it is, unless it is a member as most are, and then its state, unless that goes without saying. */
static void print_member_state(const struct control_status *s, unsigned index, FILE *out)
{
	const struct control_member *m = &s->members[index];
	const struct control_job *job = job_of(s);
	bool plain = m->role != MEMBER_SPARE && m->role != MEMBER_REPLACEMENT;

	if (m->role == MEMBER_SPARE)
		fputs("spare", out);
	else if (m->role == MEMBER_REPLACEMENT && job && (job->targets >> index & 1))
		fprintf(out, "taking %s of member %u (%u %%)", is_replace(s, job) ? "the place" : "data", job->source + 1u,
			percent(job->done_bytes, job->total_bytes));
	else if (m->role == MEMBER_REPLACEMENT)
		fputs("taking the place of a member", out);
	if (plain || m->state != MEMBER_IN_SYNC || m->has_gap)
		fprintf(out, "%s%s", plain ? "" : ", ", state_name(m));
}

static void print_member(const struct status_list *list, const struct status_entry *entry, unsigned index, FILE *out)
{
	const struct control_member *m = &entry->status.members[index];
	char uuid[UUID_TEXT_BYTES], size[CLI_SIZE_TEXT_BYTES];

	if (m->role == MEMBER_UNUSED)
		return;
	uuid_format(&m->uuid, uuid);
	fprintf(out, "  member %-3u  %c  ", index + 1, member_mark(m));
	print_clean(*m->path ? m->path : "(not there)", out);
	if (entry->backing[index]) {
		fputs(" (of ", out);
		print_clean(entry->backing[index], out);
		fputc(')', out);
	}
	fprintf(out, "  %s  %s, ", uuid, cli_size(m->size_bytes, size));
	print_member_state(&entry->status, index, out);
	if (m->to_fill_bytes) {
		fputs(" (", out);
		print_progress(list, &entry->status, PACE_FILL + index, m->filled_bytes, m->to_fill_bytes, out);
		fputc(')', out);
	}
	if (m->read_errors || m->write_errors)
		fprintf(out, ", %" PRIu64 " read and %" PRIu64 " write errors", m->read_errors, m->write_errors);
	if (m->healed)
		fprintf(out, ", %" PRIu64 " healed", m->healed);
	fputc('\n', out);
}

static void print_other(const struct status_other *other, FILE *out)
{
	char uuid[UUID_TEXT_BYTES];

	uuid_format(&other->uuid, uuid);
	fputs("  other          ", out);
	print_clean(other->path, out);
	if (other->index < 0)
		fprintf(out, "  %s  has a label of this array, but is no member of it any more\n", uuid);
	else
		fprintf(out, "  %s  is member %d, which the mounted array does without\n", uuid, other->index + 1);
}

/* Which members an array that is not mounted lacks. */
static void print_lacking(const struct control_status *s, FILE *out)
{
	const char *before = " ";

	for (unsigned i = 0; i < s->member_count; i++) {
		if (!status_needed(&s->members[i]) || s->members[i].state == MEMBER_IN_SYNC)
			continue;
		fprintf(out, "%s%u (%s)", before, i + 1, *s->members[i].path ? "out of date" : "missing");
		before = ", ";
	}
	fputc('\n', out);
}

static void print_mounted(const struct status_entry *entry, FILE *out)
{
	const struct control_status *s = &entry->status;

	fputs("  mounted        ", out);
	if (entry->mountpoint) {
		print_clean(entry->mountpoint, out);
		fputs(s->read_only ? " (read-only)\n" : "\n", out);
	} else if (!s->degraded) {
		fputs("no; complete\n", out);
	} else {
		fputs(s->startable ? "no; can be mounted without member" : "no; incomplete, too many are lacking: member", out);
		print_lacking(s, out);
	}
}

static const char *scrub_name(const struct control_status *s)
{
	static const char *const names[] = {
		[SCRUB_NONE] = NULL, [SCRUB_RUNNING] = "running", [SCRUB_PAUSED] = "paused", [SCRUB_STOPPED] = "stopped", [SCRUB_FINISHED] = "finished",
	};
	return s->scrub.state < ARRAY_COUNT(names) ? names[s->scrub.state] : NULL;
}

/* " (member 2: 17 units, a former member: 1)" */
static void print_by_member(const struct control_status *s, const struct scrub_result *r, FILE *out)
{
	const char *before = " (", *unit = " units";

	for (unsigned i = 0; i < s->member_count; i++) {
		uint64_t units = s->members[i].role == MEMBER_UNUSED ? 0 : scrub_result_units(r, &s->members[i].uuid);
		if (!units)
			continue;
		fprintf(out, "%smember %u: %" PRIu64 "%s", before, i + 1, units, unit);
		before = ", ";
		unit = "";
	}
	for (unsigned i = 0; i < MEMBERS_MAX; i++) {
		if (!r->members[i].units || control_status_index(s, &r->members[i].member) >= 0)
			continue;
		fprintf(out, "%sa former member: %" PRIu64 "%s", before, r->members[i].units, unit);
		before = ", ";
		unit = "";
	}
	if (!*unit)
		fputc(')', out);
}

static void print_result(const struct control_status *s, const struct scrub_result *r, FILE *out)
{
	fprintf(out, ", %" PRIu64 " rows damaged", r->damaged);
	print_by_member(s, r, out);
	fprintf(out, ", %" PRIu64 " records lost", r->unreadable);
	if (r->tree_errors)
		fprintf(out, ", %" PRIu64 " places of the trees unreadable", r->tree_errors);
	fputc('\n', out);
}

static void print_scrub(const struct status_list *list, const struct control_status *s, FILE *out)
{
	const struct scrub_status *scrub = &s->scrub;
	char time[CLI_TIME_TEXT_BYTES];

	if (!scrub_name(s))
		return;
	fprintf(out, "  scrub          %s", scrub_name(s));
	if (scrub->state == SCRUB_FINISHED) {
		fprintf(out, " %s", cli_time(scrub->now.ended_ns, time));
	} else {
		fputs(", ", out);
		print_progress(list, s, PACE_SCRUB, scrub->done_bytes, scrub->total_bytes, out);
		fputs(scrub->waits ? ", waits" : "", out);
	}
	print_result(s, &scrub->now, out);
	if (!scrub->has_last || scrub->state == SCRUB_FINISHED)
		return;
	fprintf(out, "  last scrub     %s", cli_time(scrub->last.ended_ns, time));
	print_result(s, &scrub->last, out);
}

static void print_job(const struct status_list *list, const struct control_status *s, FILE *out)
{
	const struct control_job *job = job_of(s);
	char targets[CONFIG_NAMES_BYTES];

	if (!job)
		return;
	if (is_replace(s, job))
		fprintf(out, "  replace        member %u takes the place of member %u", __builtin_ctz(job->targets) + 1u, job->source + 1u);
	else
		fprintf(out, "  move           data of member %u goes to %s", job->source + 1u, config_name_members(job->targets, targets));
	fputs(", ", out);
	print_progress(list, s, PACE_JOB, job->done_bytes, job->total_bytes, out);
	fputs(job->waits ? ", waits for a member\n" : "\n", out);
}

static void print_why_read_only(const struct control_status *s, FILE *out)
{
	if (!s->why_read_only[0])
		return;
	fputs("  read-only      ", out);
	print_clean(s->why_read_only, out);
	fputc('\n', out);
}

/* What cannot go on says itself what it is. */
static void print_stalled(const struct control_status *s, FILE *out)
{
	for (unsigned i = 0; i < STALL_TASKS; i++) {
		if (!s->stalled[i][0])
			continue;
		fputs("  stalled        ", out);
		print_clean(s->stalled[i], out);
		fputc('\n', out);
	}
}

static void print_array(const struct status_list *list, const struct status_entry *entry, FILE *out)
{
	const struct control_status *s = &entry->status;
	char uuid[UUID_TEXT_BYTES], map[MEMBERS_MAX + 3];
	char used[CLI_SIZE_TEXT_BYTES], capacity[CLI_SIZE_TEXT_BYTES];

	uuid_format(&s->array, uuid);
	member_map(s, map);
	fputs("Array ", out);
	print_clean(*s->name ? s->name : "(without a name)", out);
	fprintf(out, " %s %s\n", map, health_name(s));
	fprintf(out, "  UUID           %s\n", uuid);
	print_mounted(entry, out);
	fprintf(out, "  cipher         %s\n", cipher_text(s));
	if (s->has_engine)
		fprintf(out, "  engine         %s\n", engine_text(s));
	if (s->has_transport)
		fprintf(out, "  transport      %s\n", transport_text(s));
	fprintf(out, "  generation     %" PRIu64 "\n", s->generation);
	if (s->has_space)
		fprintf(out, "  space          %s used of %s\n", cli_size(s->capacity_bytes - s->free_bytes, used),
			cli_size(s->capacity_bytes, capacity));
	print_scrub(list, s, out);
	print_job(list, s, out);
	print_why_read_only(s, out);
	print_stalled(s, out);
	for (unsigned i = 0; i < s->member_count; i++)
		print_member(list, entry, i, out);
	for (unsigned i = 0; i < entry->other_count; i++)
		print_other(&entry->others[i], out);
}

void status_print_text(const struct status_list *list, FILE *out)
{
	for (unsigned i = 0; i < list->count; i++) {
		if (i > 0)
			fputc('\n', out);
		print_array(list, list->entries[i], out);
	}
}

/* ---- JSON (RFC 8259) ---- */

/* Bytes that are no ASCII go out as they are: names and paths are UTF-8 or the reader's problem. */
static void json_string(const char *text, FILE *out)
{
	fputc('"', out);
	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;
		if (c == '"' || c == '\\')
			fprintf(out, "\\%c", c);
		else if (c < 0x20 || c == 0x7f)
			fprintf(out, "\\u%04x", c);
		else
			fputc(c, out);
	}
	fputc('"', out);
}

static void json_key_string(const char *key, const char *text, FILE *out)
{
	fprintf(out, ",\"%s\":", key);
	if (text)
		json_string(text, out);
	else
		fputs("null", out);
}

static const char *json_bool(bool value) { return value ? "true" : "false"; }

static const char *role_name(const struct control_member *m)
{
	return m->role == MEMBER_SPARE ? "spare" : m->role == MEMBER_REPLACEMENT ? "replacement" : "member";
}

static void json_member(const struct status_entry *entry, unsigned index, FILE *out)
{
	const struct control_member *m = &entry->status.members[index];
	char uuid[UUID_TEXT_BYTES];

	uuid_format(&m->uuid, uuid);
	fprintf(out, "{\"index\":%u,\"uuid\":\"%s\"", index, uuid);
	json_key_string("role", role_name(m), out);
	json_key_string("path", *m->path ? m->path : NULL, out);
	json_key_string("backing_file", entry->backing[index], out);
	json_key_string("state", m->state == MEMBER_IN_SYNC ? "in-sync" : m->state == MEMBER_FILLING ? "filling" : "out", out);
	fprintf(out, ",\"present\":%s,\"gap\":", json_bool(*m->path));
	if (!m->has_gap)
		fputs("null", out);
	else if (m->gap_to == GAP_OPEN)
		fprintf(out, "{\"from\":%" PRIu64 ",\"to\":null}", m->gap_from);
	else
		fprintf(out, "{\"from\":%" PRIu64 ",\"to\":%" PRIu64 "}", m->gap_from, m->gap_to);
	if (m->to_fill_bytes)
		fprintf(out, ",\"filled_bytes\":%" PRIu64 ",\"to_fill_bytes\":%" PRIu64, m->filled_bytes, m->to_fill_bytes);
	else
		fputs(",\"filled_bytes\":null,\"to_fill_bytes\":null", out);
	fprintf(out, ",\"size_bytes\":%" PRIu64 ",\"read_errors\":%" PRIu64 ",\"write_errors\":%" PRIu64 ",\"healed\":%" PRIu64
		",\"caught_up_bytes\":%" PRIu64 "}", m->size_bytes, m->read_errors, m->write_errors, m->healed, m->caught_up_bytes);
}

static void json_other(const struct status_other *other, unsigned place, FILE *out)
{
	char uuid[UUID_TEXT_BYTES];

	uuid_format(&other->uuid, uuid);
	fprintf(out, "%s{\"uuid\":\"%s\"", place ? "," : "", uuid);
	json_key_string("path", other->path, out);
	if (other->index < 0)
		fputs(",\"index\":null}", out);
	else
		fprintf(out, ",\"index\":%d}", other->index);
}

/* In seconds. */
static void json_time(const char *key, int64_t ns, FILE *out)
{
	if (ns)
		fprintf(out, ",\"%s\":%" PRId64, key, ns / 1000000000);
	else
		fprintf(out, ",\"%s\":null", key);
}

/* In the order of their UUIDs, as they come. */
static void json_by_member(const struct control_status *s, const struct scrub_result *r, FILE *out)
{
	const char *before = "";
	char uuid[UUID_TEXT_BYTES];

	fputs(",\"by_member\":[", out);
	for (unsigned i = 0; i < MEMBERS_MAX; i++) {
		int index = control_status_index(s, &r->members[i].member);
		if (!r->members[i].units)
			continue;
		uuid_format(&r->members[i].member, uuid);
		fprintf(out, "%s{\"uuid\":\"%s\",\"index\":", before, uuid);
		if (index < 0)
			fputs("null", out);
		else
			fprintf(out, "%d", index);
		fprintf(out, ",\"units\":%" PRIu64 "}", r->members[i].units);
		before = ",";
	}
	fputc(']', out);
}

static void json_result(const struct control_status *s, const struct scrub_result *r, FILE *out)
{
	fprintf(out, "\"rows\":%" PRIu64 ",\"damaged\":%" PRIu64 ",\"unreadable\":%" PRIu64 ",\"tree_errors\":%" PRIu64
		",\"unclear\":%" PRIu64, r->rows, r->damaged, r->unreadable, r->tree_errors, r->unclear);
	json_by_member(s, r, out);
	json_time("began", r->began_ns, out);
	json_time("ended", r->ended_ns, out);
}

static void json_scrub(const struct control_status *s, FILE *out)
{
	const struct scrub_status *scrub = &s->scrub;

	if (!scrub_name(s)) {
		fputs(",\"scrub\":null", out);
		return;
	}
	fprintf(out, ",\"scrub\":{\"state\":\"%s\",\"waits\":%s,\"done_bytes\":%" PRIu64 ",\"total_bytes\":%" PRIu64 ",", scrub_name(s),
		json_bool(scrub->waits), scrub->done_bytes, scrub->total_bytes);
	if (scrub->speed_bytes)
		fprintf(out, "\"speed_bytes\":%" PRIu64 ",", scrub->speed_bytes);
	else
		fputs("\"speed_bytes\":null,", out);
	json_result(s, &scrub->now, out);
	fputs(",\"last\":", out);
	if (scrub->has_last) {
		fputc('{', out);
		json_result(s, &scrub->last, out);
		fputc('}', out);
	} else
		fputs("null", out);
	fputc('}', out);
}

static void json_job(const struct control_status *s, FILE *out)
{
	const struct control_job *job = job_of(s);

	if (!job) {
		fputs(",\"job\":null", out);
		return;
	}
	fprintf(out, ",\"job\":{\"source\":%u,\"target\":%u,\"targets\":[", job->source, __builtin_ctz(job->targets));
	for (uint32_t left = job->targets; left; left &= left - 1)
		fprintf(out, "%u%s", __builtin_ctz(left), left & (left - 1) ? "," : "]");
	fprintf(out, ",\"waits\":%s,\"done_bytes\":%" PRIu64 ",\"total_bytes\":%" PRIu64 "}", json_bool(job->waits), job->done_bytes,
		job->total_bytes);
}

static void json_stalled(const struct control_status *s, FILE *out)
{
	static const char *const tasks[STALL_TASKS] = {
		[STALL_CATCHUP] = "catch-up", [STALL_REPLACE] = "replace", [STALL_SCRUB] = "scrub",
	};
	const char *before = "";

	fputs(",\"stalled\":[", out);
	for (unsigned i = 0; i < STALL_TASKS; i++) {
		if (!s->stalled[i][0])
			continue;
		fprintf(out, "%s{\"task\":\"%s\"", before, tasks[i]);
		json_key_string("text", s->stalled[i], out);
		fputc('}', out);
		before = ",";
	}
	fputc(']', out);
}

static void json_array(const struct status_entry *entry, FILE *out)
{
	const struct control_status *s = &entry->status;
	char uuid[UUID_TEXT_BYTES], map[MEMBERS_MAX + 3];

	uuid_format(&s->array, uuid);
	member_map(s, map);
	fprintf(out, "{\"uuid\":\"%s\"", uuid);
	json_key_string("name", s->name, out);
	json_key_string("state", health_name(s), out);
	json_key_string("map", map, out);
	json_key_string("mountpoint", entry->mountpoint, out);
	fprintf(out, ",\"mountable\":%s", entry->mountpoint ? "null" : json_bool(s->startable));
	json_key_string("cipher", cipher_text(s), out);
	json_key_string("engine", engine_text(s), out);
	json_key_string("transport", transport_text(s), out);
	fprintf(out, ",\"read_only\":%s", json_bool(s->read_only));
	json_key_string("why_read_only", *s->why_read_only ? s->why_read_only : NULL, out);
	fprintf(out, ",\"degraded\":%s,\"generation\":%" PRIu64, json_bool(s->degraded), s->generation);
	if (s->has_space)
		fprintf(out, ",\"capacity_bytes\":%" PRIu64 ",\"free_bytes\":%" PRIu64, s->capacity_bytes, s->free_bytes);
	else
		fputs(",\"capacity_bytes\":null,\"free_bytes\":null", out);
	json_scrub(s, out);
	json_job(s, out);
	json_stalled(s, out);
	fputs(",\"members\":[", out);
	const char *before = "";
	for (unsigned i = 0; i < s->member_count; i++) {
		if (s->members[i].role == MEMBER_UNUSED)
			continue;
		fputs(before, out);
		json_member(entry, i, out);
		before = ",";
	}
	fputs("],\"others\":[", out);
	for (unsigned i = 0; i < entry->other_count; i++)
		json_other(&entry->others[i], i, out);
	fputs("]}", out);
}

static void json_paths(const char *key, const struct found_devices *paths, FILE *out)
{
	fprintf(out, ",\"%s\":[", key);
	for (unsigned i = 0; i < paths->count; i++) {
		if (i > 0)
			fputc(',', out);
		json_string(paths->paths[i], out);
	}
	fputc(']', out);
}

void status_print_json(const struct status_list *list, FILE *out)
{
	fputs("{\"version\":1,\"arrays\":[", out);
	for (unsigned i = 0; i < list->count; i++) {
		if (i > 0)
			fputc(',', out);
		json_array(list->entries[i], out);
	}
	fputc(']', out);
	json_paths("unreadable", &list->unreadable, out);
	json_paths("damaged", &list->damaged, out);
	fputs("}\n", out);
}
