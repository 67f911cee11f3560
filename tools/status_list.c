/* What raid5cryptfs-status found: see the header. */
#include "tools/status_list.h"

#include "base/cleanup.h"

#include <errno.h>
#include <string.h>

bool status_needed(const struct control_member *member)
{
	return member->role != MEMBER_UNUSED && member->needed;
}

enum status_health status_health(const struct control_status *status)
{
	unsigned out = 0;

	for (unsigned i = 0; i < status->member_count; i++)
		out += status_needed(&status->members[i]) && status->members[i].state == MEMBER_OUT;
	if (!status->startable || out > 1)
		return STATUS_FAILED;
	return status->degraded ? STATUS_DEGRADED : STATUS_HEALTHY;
}

static void entry_free(struct status_entry *entry)
{
	if (!entry)
		return;
	for (unsigned i = 0; i < MEMBERS_MAX; i++)
		free(entry->backing[i]);
	for (unsigned i = 0; i < entry->other_count; i++)
		free(entry->others[i].path);
	free(entry->others);
	free(entry->mountpoint);
	free(entry);
}

int status_list_add(struct status_list *list, const struct control_status *status, const char *mountpoint, struct status_entry **ret_entry)
{
	struct status_entry **more = realloc(list->entries, (list->count + 1) * sizeof *more);

	if (!more)
		return -ENOMEM;
	list->entries = more;
	struct status_entry *entry = calloc(1, sizeof *entry);
	if (entry && mountpoint)
		entry->mountpoint = strdup(mountpoint);
	if (!entry || (mountpoint && !entry->mountpoint)) {
		entry_free(entry);
		return -ENOMEM;
	}
	entry->status = *status;
	more[list->count++] = entry;
	*ret_entry = entry;
	return 0;
}

int status_entry_add_other(struct status_entry *entry, const char *path, const struct uuid *member)
{
	struct status_other *more = realloc(entry->others, (entry->other_count + 1) * sizeof *more);
	int index = -1;

	if (!more)
		return -ENOMEM;
	entry->others = more;
	for (unsigned i = 0; i < entry->status.member_count; i++)
		if (entry->status.members[i].role != MEMBER_UNUSED && uuid_equal(&entry->status.members[i].uuid, member))
			index = (int)i;
	char *copy = strdup(path);
	if (!copy)
		return -ENOMEM;
	more[entry->other_count++] = (struct status_other){ .path = copy, .uuid = *member, .index = index };
	return 0;
}

void status_list_free(struct status_list *list)
{
	for (unsigned i = 0; i < list->count; i++)
		entry_free(list->entries[i]);
	free(list->entries);
	found_devices_free(&list->unreadable);
	found_devices_free(&list->damaged);
	*list = (struct status_list){ 0 };
}
