/* How the state of arrays is shown: see the header. */
#include "tools/status_print.h"

#include "base/cleanup.h"
#include "crypto/seal_engine.h"
#include "tools/cli.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

int status_list_add(struct status_list *list, const struct control_status *status, const char *mountpoint)
{
	struct status_entry *more = realloc(list->entries, (list->count + 1) * sizeof *more);

	if (!more)
		return -ENOMEM;
	list->entries = more;
	char *copy = mountpoint ? strdup(mountpoint) : NULL;
	if (mountpoint && !copy)
		return -ENOMEM;
	more[list->count++] = (struct status_entry){ .status = *status, .mountpoint = copy };
	return 0;
}

void status_list_free(struct status_list *list)
{
	for (unsigned i = 0; i < list->count; i++)
		free(list->entries[i].mountpoint);
	free(list->entries);
	*list = (struct status_list){ 0 };
}

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
	if (!s->startable)
		return "failed";
	return s->degraded ? "degraded" : "healthy";
}

static void member_map(const struct control_status *s, char map[MEMBERS_MAX + 3])
{
	char *c = map;

	*c++ = '[';
	for (unsigned i = 0; i < s->member_count; i++)
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

/* ---- For people ---- */

static void print_member(const struct control_member *m, FILE *out)
{
	char uuid[UUID_TEXT_BYTES], size[CLI_SIZE_TEXT_BYTES], path[CONTROL_PATH_BYTES];

	uuid_format(&m->uuid, uuid);
	snprintf(path, sizeof path, "%s", *m->path ? m->path : "(not there)");
	cli_clean(path);
	fprintf(out, "  %c  %s  %s  %s, %s", m->state == MEMBER_IN_SYNC ? 'U' : '_', path, uuid, cli_size(m->size_bytes, size),
		state_name(m));
	if (m->read_errors || m->write_errors)
		fprintf(out, ", %" PRIu64 " read and %" PRIu64 " write errors", m->read_errors, m->write_errors);
	if (m->healed)
		fprintf(out, ", %" PRIu64 " healed", m->healed);
	fputc('\n', out);
}

static void print_array(const struct status_entry *entry, FILE *out)
{
	const struct control_status *s = &entry->status;
	char uuid[UUID_TEXT_BYTES], map[MEMBERS_MAX + 3], name[LABEL_NAME_BYTES];
	char used[CLI_SIZE_TEXT_BYTES], capacity[CLI_SIZE_TEXT_BYTES];

	uuid_format(&s->array, uuid);
	member_map(s, map);
	snprintf(name, sizeof name, "%s", *s->name ? s->name : "(without a name)");
	cli_clean(name);
	fprintf(out, "Array %s %s %s\n", name, map, health_name(s));
	fprintf(out, "  UUID        %s\n", uuid);
	if (entry->mountpoint)
		fprintf(out, "  mounted     %s%s\n", entry->mountpoint, s->read_only ? " (read-only)" : "");
	else
		fprintf(out, "  mounted     no%s\n", s->startable ? "" : "; too many members are missing or out of date");
	fprintf(out, "  cipher      %s\n", cipher_text(s));
	if (s->has_engine)
		fprintf(out, "  engine      %s\n", engine_text(s));
	fprintf(out, "  generation  %" PRIu64 "\n", s->generation);
	if (s->has_space)
		fprintf(out, "  space       %s used of %s\n", cli_size(s->capacity_bytes - s->free_bytes, used),
			cli_size(s->capacity_bytes, capacity));
	for (unsigned i = 0; i < s->member_count; i++)
		print_member(&s->members[i], out);
}

void status_print_text(const struct status_list *list, FILE *out)
{
	for (unsigned i = 0; i < list->count; i++) {
		if (i > 0)
			fputc('\n', out);
		print_array(&list->entries[i], out);
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

static void json_member(const struct control_member *m, FILE *out)
{
	char uuid[UUID_TEXT_BYTES];

	uuid_format(&m->uuid, uuid);
	fprintf(out, "{\"uuid\":\"%s\"", uuid);
	json_key_string("path", *m->path ? m->path : NULL, out);
	json_key_string("state", m->state == MEMBER_IN_SYNC ? "in-sync" : m->state == MEMBER_FILLING ? "filling" : "out", out);
	fprintf(out, ",\"present\":%s,\"gap\":", json_bool(*m->path));
	if (!m->has_gap)
		fputs("null", out);
	else if (m->gap_to == GAP_OPEN)
		fprintf(out, "{\"from\":%" PRIu64 ",\"to\":null}", m->gap_from);
	else
		fprintf(out, "{\"from\":%" PRIu64 ",\"to\":%" PRIu64 "}", m->gap_from, m->gap_to);
	fprintf(out, ",\"size_bytes\":%" PRIu64 ",\"read_errors\":%" PRIu64 ",\"write_errors\":%" PRIu64 ",\"healed\":%" PRIu64 "}",
		m->size_bytes, m->read_errors, m->write_errors, m->healed);
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
	json_key_string("cipher", cipher_text(s), out);
	json_key_string("engine", engine_text(s), out);
	fprintf(out, ",\"read_only\":%s,\"degraded\":%s,\"generation\":%" PRIu64, json_bool(s->read_only), json_bool(s->degraded),
		s->generation);
	if (s->has_space)
		fprintf(out, ",\"capacity_bytes\":%" PRIu64 ",\"free_bytes\":%" PRIu64, s->capacity_bytes, s->free_bytes);
	else
		fputs(",\"capacity_bytes\":null,\"free_bytes\":null", out);
	fputs(",\"members\":[", out);
	for (unsigned i = 0; i < s->member_count; i++) {
		if (i > 0)
			fputc(',', out);
		json_member(&s->members[i], out);
	}
	fputs("]}", out);
}

void status_print_json(const struct status_list *list, FILE *out)
{
	fputs("{\"version\":1,\"arrays\":[", out);
	for (unsigned i = 0; i < list->count; i++) {
		if (i > 0)
			fputc(',', out);
		json_array(&list->entries[i], out);
	}
	fputs("]}\n", out);
}
