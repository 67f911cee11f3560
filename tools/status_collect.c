/* Collecting what raid5cryptfs-status shows: see the header.
 *
 * Of a mounted array the daemon tells (fs/control.h); of members that are not mounted what their labels and the
 * headers of their roots say, without a key.  Nothing is written, and no lock is taken. */
#include "tools/status_collect.h"

#include "base/cleanup.h"
#include "tools/cli.h"
#include "tools/mounts.h"
#include "tools/release.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define NAMED_MAX 16u                /* devices in one message */

static int add(struct status_request *request, const struct control_status *status, const char *mountpoint,
	struct status_entry **ret_entry, struct fail *fail)
{
	static const int codes[] = {
		[STATUS_HEALTHY] = 0, [STATUS_DEGRADED] = EXIT_DEGRADED, [STATUS_FAILED] = EXIT_FAILED,
	};
	int code = codes[status_health(status)];
	struct status_entry *entry;

	if (code > request->exit_code)
		request->exit_code = code;
	if (status_list_add(&request->list, status, mountpoint, &entry) < 0)
		return fail_set(fail, ENOMEM, FAIL_SYSTEM, "out of memory");
	for (unsigned i = 0; i < status->member_count; i++)
		if (status->members[i].role != MEMBER_UNUSED)
			entry->backing[i] = device_backing_file(status->members[i].path);
	if (ret_entry)
		*ret_entry = entry;
	return 0;
}

/* ---- Mounted ---- */

static int add_mountpoint(struct status_request *request, const char *mountpoint, struct status_entry **ret_entry, struct fail *fail)
{
	autofree struct control_status *status = calloc(1, sizeof *status);

	if (!status)
		return fail_set(fail, ENOMEM, FAIL_SYSTEM, "out of memory");
	int r = release_ask_daemon(mountpoint, status, fail);
	autofree char *absolute = r < 0 ? NULL : realpath(mountpoint, NULL);
	return r < 0 ? r : add(request, status, absolute ? absolute : mountpoint, ret_entry, fail);
}

static bool add_mount(void *ctx, const struct mount_entry *entry)
{
	struct status_request *request = ctx;
	struct fail fail = { 0 };

	if (!mount_type_is_ours(entry->type))
		return true;
	int r = add_mountpoint(request, entry->mountpoint, NULL, &fail);
	if (r == -EACCES)
		request->refused = true;         /* another user's: told, and no reason to call the others unwell */
	if (r < 0) {
		int code = cli_fail(&fail);
		request->exit_code = r == -EACCES ? request->exit_code : code;
	}
	return true;
}

/* ---- Members ---- */

static void warn(void *ctx, const char *text)
{
	(void)ctx;
	cli_message("warning: %s", text);
}

static void ignore_event(void *ctx, const struct event *event)
{
	(void)ctx, (void)event;          /* what is wrong with members is in the status */
}

/* Opens the filesystem read-only, which tells more.  Takes the probe over. */
static int status_with_key(struct status_request *request, struct probe *probe, struct control_status *status, struct fail *fail)
{
	struct fs_options options = { .read_only = true, .events = { .report = ignore_event } };
	struct cli_secret secret = { 0 };
	struct fs *fs;

	int r = cli_protect_memory(fail);
	if (!r)
		r = cli_get_secret(request->key_file, "the array", &secret, fail);
	if (r < 0) {
		probe_free(probe);
		return r;
	}
	r = fs_open(probe, &secret.secret, false, &options, &fs, fail);
	cli_forget_secret(&secret);
	if (r < 0)
		return r;
	control_status_of_fs(fs, status);
	status->mounted = status->read_only = status->has_engine = status->has_transport = false;
	return fs_close(fs, false);
}

/* Is it a member as they are now?  One that a mount does without is not. */
static bool has_member(const struct status_entry *entry, const struct uuid *member)
{
	for (unsigned i = 0; i < entry->status.member_count; i++) {
		const struct control_member *m = &entry->status.members[i];
		if (m->role != MEMBER_UNUSED && (*m->path || !entry->mountpoint) && uuid_equal(&m->uuid, member))
			return true;
	}
	return false;
}

/* Devices that carry a label of the array, but are none of its members. */
static int add_others(const struct probe *probe, struct status_entry *entry)
{
	int r = 0;

	for (unsigned i = 0; !r && i < probe->count; i++) {
		const struct probe_member *p = &probe->members[i];
		if (p->label_status == 0 && !has_member(entry, &p->label.member) && p->disk)
			r = status_entry_add_other(entry, p->disk->name, &p->label.member);
	}
	return r;
}

struct mounted {
	const struct uuid *array;
	char *mountpoint;                /* NULL: it is not, as far as this user can see */
};

static bool match_array(void *ctx, const struct mount_entry *entry)
{
	struct mounted *m = ctx;
	autofree struct control_status *status = calloc(1, sizeof *status);

	if (status && mount_type_is_ours(entry->type) && !release_ask_daemon(entry->mountpoint, status, NULL) &&
	    uuid_equal(&status->array, m->array))
		m->mountpoint = strdup(entry->mountpoint);
	return !m->mountpoint;
}

static char *mountpoint_of(const struct uuid *array)
{
	struct mounted m = { .array = array };

	mounts_each(match_array, &m);
	return m.mountpoint;
}

static int add_members(struct status_request *request, const struct member_paths *paths, struct fail *fail)
{
	struct status_entry *entry = NULL;
	autofree struct control_status *status = calloc(1, sizeof *status);
	struct disk *disks[MEMBERS_MAX];
	struct probe *probe;
	unsigned count;

	if (!status)
		return fail_set(fail, ENOMEM, FAIL_SYSTEM, "out of memory");
	int r = members_open(paths, DISK_READ_ONLY, DISK_ENGINE_THREADS, warn, NULL, disks, &count, fail);
	if (!r)
		r = array_probe(disks, count, &probe, fail);
	if (r < 0)
		return r;
	int known = control_status_of_probe(probe, status);
	autofree char *mountpoint = known < 0 ? NULL : mountpoint_of(&status->array);
	if (request->key_file && !mountpoint) {
		r = status_with_key(request, probe, status, fail);
		return r < 0 ? r : add(request, status, NULL, NULL, fail);
	}
	if (known < 0)
		r = fail_set(fail, -known, FAIL_DAMAGED, "%s: no configuration of the array can be read from the members given", paths->paths[0]);
	else
		r = mountpoint ? add_mountpoint(request, mountpoint, &entry, fail) : add(request, status, NULL, &entry, fail);
	if (!r && add_others(probe, entry) < 0)
		r = fail_set(fail, ENOMEM, FAIL_SYSTEM, "out of memory");
	probe_free(probe);
	return r;
}

/* ---- All ---- */

static struct status_entry *entry_of(const struct status_request *request, const struct uuid *array)
{
	for (unsigned i = 0; i < request->list.count; i++)
		if (uuid_equal(&request->list.entries[i]->status.array, array))
			return request->list.entries[i];
	return NULL;
}

static bool seen_before(const struct found_members *found, unsigned index)
{
	for (unsigned i = 0; i < index; i++)
		if (uuid_equal(&found->members[i].label.array, &found->members[index].label.array))
			return true;
	return false;
}

/* A device of a mounted array: one that the mount does not have is told. */
static int add_to_mounted(struct status_entry *entry, const struct found_member *found)
{
	return has_member(entry, &found->label.member) ? 0 : status_entry_add_other(entry, found->path, &found->label.member);
}

static int add_found(struct status_request *request, const struct found_members *found)
{
	for (unsigned i = 0; i < found->count; i++) {
		struct member_paths paths = { 0 };
		const struct uuid *array = &found->members[i].label.array;
		struct status_entry *entry = entry_of(request, array);
		struct fail fail = { 0 };
		if (entry && entry->mountpoint && add_to_mounted(entry, &found->members[i]) < 0)
			return -ENOMEM;
		if (entry || seen_before(found, i))
			continue;
		for (unsigned j = i; j < found->count && paths.count < MEMBERS_MAX; j++)
			if (uuid_equal(&found->members[j].label.array, array))
				member_paths_add(&paths, found->members[j].path, NULL);
		if (add_members(request, &paths, &fail) < 0)
			request->exit_code = cli_fail(&fail);
		member_paths_free(&paths);
	}
	return 0;
}

/* One line each, with what to do. */
static void tell_devices(const struct found_devices *devices, const char *what)
{
	char text[1024];
	size_t used = 0;
	unsigned named = 0;

	for (; named < devices->count && named < NAMED_MAX && used < sizeof text - 1; named++)
		used += (size_t)snprintf(text + used, sizeof text - used, "%s%s", named ? ", " : "", devices->paths[named]);
	if (!named)
		return;
	if (named < devices->count)
		cli_message("%s and %u more: %s", text, devices->count - named, what);
	else
		cli_message("%s: %s", text, what);
}

static int add_all(struct status_request *request, struct fail *fail)
{
	struct found_members found = { 0 };

	mounts_each(add_mount, request);
	int r = request->mounted_only ? 0 : found_members_scan(&found);
	if (!r)
		r = add_found(request, &found);
	request->list.unreadable = found.refused;
	request->list.damaged = found.damaged;
	found.refused = found.damaged = (struct found_devices){ 0 };
	found_members_free(&found);
	if (r < 0)
		return fail_set(fail, -r, FAIL_SYSTEM, "out of memory");
	tell_devices(&request->list.unreadable, "not looked at, for lack of permission, so members there are missing here; "
		"run it as root, or as a user of the group that may read them");
	tell_devices(&request->list.damaged, "remains of a label, of which no copy is whole; "
		"give it to raid5cryptfs-status together with the other members");
	if (request->list.count || request->exit_code)
		return 0;
	if (request->refused)
		return fail_set(fail, EACCES, FAIL_SYSTEM, "an array is mounted, but you may not look at it; run it as root");
	if (request->mounted_only)
		return fail_set(fail, ENOENT, FAIL_NOT_FOUND, "no array is mounted");
	return fail_set(fail, ENOENT, FAIL_NOT_FOUND, "no array is mounted or found on the block devices of this machine (those in image files "
		"are found when they are named)");
}

/* Waits until the array mounted there has been unmounted, and shows its members. */
static int add_mountpoint_later(struct status_request *request, const char *mountpoint, struct fail *fail)
{
	autofree struct control_status *status = calloc(1, sizeof *status);
	struct member_paths paths = { 0 };

	if (!status)
		return fail_set(fail, ENOMEM, FAIL_SYSTEM, "out of memory");
	int r = release_ask_daemon(mountpoint, status, fail);
	if (!r)
		r = release_paths(status, &paths, fail);
	if (!r)
		r = release_wait(&paths, request->wait_seconds, fail);
	if (!r)
		r = add_members(request, &paths, fail);
	member_paths_free(&paths);
	return r;
}

static bool is_directory(const char *path)
{
	struct stat st;
	return stat(path, &st) ? errno == ENOTCONN || errno == EACCES : S_ISDIR(st.st_mode);
}

int status_collect(struct status_request *request, char **arguments, int count, struct fail *fail)
{
	struct member_paths paths = { 0 };
	int r = 0;

	if (count == 0 && request->wait)
		return fail_set(fail, EINVAL, FAIL_USAGE, "--wait: name the members or the mount point to wait for");
	if (count == 0)
		return add_all(request, fail);
	if (is_directory(arguments[0])) {
		for (int i = 0; !r && i < count; i++)
			r = request->wait ? add_mountpoint_later(request, arguments[i], fail) : add_mountpoint(request, arguments[i], NULL, fail);
		return r;
	}
	r = member_paths_from_arguments(arguments, count, &paths, fail);
	if (!r && request->wait)
		r = release_wait(&paths, request->wait_seconds, fail);
	if (!r)
		r = add_members(request, &paths, fail);
	member_paths_free(&paths);
	return r;
}
