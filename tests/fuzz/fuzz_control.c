/* What a daemon answers a tool: whoever it is that serves the mount, the tool prints only what is in it and nothing that moves a
 * terminal. */
#include "fs/control.h"
#include "tests/fuzz/fuzz.h"
#include "tools/status_print.h"

#include <stdlib.h>
#include <string.h>

static void must_be_text(const char *text, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++)
		MUST(((unsigned char)text[i] >= 0x20 && text[i] != 0x7f) || text[i] == '\n');
}

/* Objects and arrays close in the order in which they open, strings end, and there is one line. */
static void must_be_json(const char *text, size_t bytes)
{
	char open[8];
	unsigned depth = 0;
	bool string = false;

	for (size_t i = 0; i < bytes; i++) {
		char c = text[i];
		if (string && c == '\\') {
			i++;
		} else if (c == '"') {
			string = !string;
		} else if (!string && (c == '{' || c == '[')) {
			MUST(depth < sizeof open);
			open[depth++] = c;
		} else if (!string && (c == '}' || c == ']')) {
			MUST(depth > 0 && open[--depth] == (c == '}' ? '{' : '['));
		}
		MUST((c == '\n') == (i == bytes - 1));
	}
	MUST(depth == 0 && !string);
}

static void print(const struct control_status *status)
{
	struct status_list list = { 0 };
	struct status_entry *entry;
	char *text = NULL, *json = NULL;
	size_t text_bytes, json_bytes;
	FILE *text_file = open_memstream(&text, &text_bytes), *json_file = open_memstream(&json, &json_bytes);

	MUST(text_file && json_file && status_list_add(&list, status, "/mnt", &entry) == 0);
	if (status->member_count > 0) {
		/* Any bytes as a path. */
		entry->backing[0] = strdup(status->members[0].path);
		MUST(entry->backing[0] && status_entry_add_other(entry, status->name, &status->members[0].uuid) == 0);
	}
	status_print_text(&list, text_file);
	status_print_json(&list, json_file);
	fclose(text_file);
	fclose(json_file);
	must_be_text(text, text_bytes);
	must_be_text(json, json_bytes);
	must_be_json(json, json_bytes);
	status_list_free(&list);
	free(text);
	free(json);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct control_status *status = malloc(sizeof *status);

	MUST(status);
	fuzz_take(data, size, status, sizeof *status);
	if (control_status_valid(status)) {
		fuzz_accept();
		MUST(status->version == CONTROL_VERSION && status->member_count <= MEMBERS_MAX);
		MUST(memchr(status->name, 0, sizeof status->name));
		MUST(memchr(status->why_read_only, 0, sizeof status->why_read_only));
		for (unsigned i = 0; i < status->member_count; i++)
			MUST(memchr(status->members[i].path, 0, sizeof status->members[i].path));
		for (unsigned i = 0; i < STALL_TASKS; i++)
			MUST(memchr(status->stalled[i], 0, sizeof status->stalled[i]));
		MUST(!status->has_space || status->free_bytes <= status->capacity_bytes);
		print(status);
	}
	free(status);
	return 0;
}
