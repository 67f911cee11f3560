/* An array in memory: made empty, asked what it is, closed.
 *
 * array_open and array_create fill what array_new makes.  What is asked here may be used until array_close, and so may what others
 * were once given: a configuration that is no longer in force stays in `former`, since rows may still be on their way by it, and a
 * disk that is no member's any more stays in `retired`, since reads may be on it.  array_close frees them all; it also takes an
 * array that was filled in part. */
#include "raid/array_impl.h"

#include <stdio.h>

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

/* ---- What it is ---- */

const uint8_t *array_root_record(const struct array *array) { return array->record; }
const struct root_header *array_root_header(const struct array *array) { return &array->header; }
const struct config *array_config(const struct array *array) { return array->config; }
const struct label *array_label(const struct array *array) { return &array->label; }
bool array_read_only(const struct array *array) { return atomic_load(&array->read_only); }
struct mount_id array_mount(const struct array *array) { return array->mount; }

bool array_left_out(const struct array *array, const char *path)
{
	for (unsigned i = 0; i < array->left_out_count; i++)
		if (array->left_out[i] && !strcmp(array->left_out[i], path))
			return true;
	return false;
}

void member_describe(const struct uuid *uuid, unsigned index, const char *path, char *text, size_t text_bytes)
{
	char id[UUID_TEXT_BYTES];

	uuid_format(uuid, id);
	if (path && *path)
		snprintf(text, text_bytes, "%s", path);
	else
		snprintf(text, text_bytes, "member %u (UUID %s)", index + 1, id);
}
