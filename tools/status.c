/* raid5cryptfs-status: arrays, their members and their health.
 *
 * Of a mounted array the daemon tells (fs/control.h); of members that are not mounted what their labels and the
 * headers of their roots say, without a key.  Nothing is written, and no lock is taken. */
#include "base/cleanup.h"
#include "fs/control.h"
#include "tools/cli.h"
#include "tools/members.h"
#include "tools/mounts.h"
#include "tools/release.h"
#include "tools/status_print.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* Exit codes beside those of base/fail.h. */
enum { EXIT_DEGRADED = 20, EXIT_FAILED = 21 };

struct request {
	bool json;
	const char *key_file;
	bool wait;
	unsigned wait_seconds;
	struct status_list list;
	int exit_code;                   /* the worst of all arrays */
};

static void usage(FILE *out)
{
	fputs(
"Usage: raid5cryptfs-status [--json] [--wait[=SECONDS]] [MOUNTPOINT...]\n"
"       raid5cryptfs-status [--json] [--wait[=SECONDS]] [--key-file PATH] MEMBER...\n"
"Shows arrays and their members; with no argument all that are mounted or found on block devices here.\n"
"\n"
"  -j, --json           as JSON\n"
"  -k, --key-file PATH  unlock members that are not mounted, to tell the space in use (- is standard input)\n"
"  -w, --wait[=SECONDS] wait first until no daemon writes the members any more: an unmount is complete\n"
"  -h, --help           this text\n"
"  -V, --version        the version\n"
"Exit code: 0 all is well, 20 degraded, 21 an array cannot be mounted or is failing; others see the manual.\n", out);
}

static int add(struct request *request, const struct control_status *status, const char *mountpoint, struct fail *fail)
{
	unsigned out = 0;
	for (unsigned i = 0; i < status->member_count; i++)
		out += status->members[i].state == MEMBER_OUT;
	int code = !status->startable || out > 1 ? EXIT_FAILED : status->degraded ? EXIT_DEGRADED : 0;

	if (code > request->exit_code)
		request->exit_code = code;
	if (status_list_add(&request->list, status, mountpoint) < 0)
		return fail_set(fail, ENOMEM, FAIL_SYSTEM, "out of memory");
	return 0;
}

/* ---- Mounted ---- */

static int add_mountpoint(struct request *request, const char *mountpoint, struct fail *fail)
{
	autofree struct control_status *status = calloc(1, sizeof *status);

	if (!status)
		return fail_set(fail, ENOMEM, FAIL_SYSTEM, "out of memory");
	int r = release_ask_daemon(mountpoint, status, fail);
	autofree char *absolute = r < 0 ? NULL : realpath(mountpoint, NULL);
	return r < 0 ? r : add(request, status, absolute ? absolute : mountpoint, fail);
}

static bool add_mount(void *ctx, const struct mount_entry *entry)
{
	struct request *request = ctx;
	struct fail fail = { 0 };

	if (mount_type_is_ours(entry->type) && add_mountpoint(request, entry->mountpoint, &fail) < 0)
		request->exit_code = cli_fail(&fail);
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
static int status_with_key(struct request *request, struct probe *probe, struct control_status *status, struct fail *fail)
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
	status->mounted = status->read_only = status->has_engine = false;
	return fs_close(fs, false);
}

static int add_members(struct request *request, const struct member_paths *paths, struct fail *fail)
{
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
	if (request->key_file) {
		r = status_with_key(request, probe, status, fail);
	} else {
		r = control_status_of_probe(probe, status);
		if (r < 0)
			fail_set(fail, -r, FAIL_DAMAGED, "%s: no configuration of the array can be read from the members given",
				paths->paths[0]);
		probe_free(probe);
	}
	return r < 0 ? r : add(request, status, NULL, fail);
}

static bool listed(const struct request *request, const struct uuid *array)
{
	for (unsigned i = 0; i < request->list.count; i++)
		if (uuid_equal(&request->list.entries[i].status.array, array))
			return true;
	return false;
}

static bool seen_before(const struct found_members *found, unsigned index)
{
	for (unsigned i = 0; i < index; i++)
		if (uuid_equal(&found->members[i].label.array, &found->members[index].label.array))
			return true;
	return false;
}

static int add_all(struct request *request, struct fail *fail)
{
	struct found_members found;

	mounts_each(add_mount, request);
	int r = found_members_scan(&found);
	if (r < 0)
		return fail_set(fail, -r, FAIL_SYSTEM, "out of memory");
	for (unsigned i = 0; !r && i < found.count; i++) {
		struct member_paths paths = { 0 };
		const struct uuid *array = &found.members[i].label.array;
		struct fail one = { 0 };
		if (seen_before(&found, i) || listed(request, array))
			continue;
		for (unsigned j = i; j < found.count && paths.count < MEMBERS_MAX; j++)
			if (uuid_equal(&found.members[j].label.array, array))
				member_paths_add(&paths, found.members[j].path, NULL);
		if (add_members(request, &paths, &one) < 0)
			request->exit_code = cli_fail(&one);
		member_paths_free(&paths);
	}
	found_members_free(&found);
	if (!r && !request->list.count && !request->exit_code)
		r = fail_set(fail, ENOENT, FAIL_NOT_FOUND, "no array is mounted or found on the block devices of this machine (those in "
			"image files are found when they are named)");
	return r;
}

/* Waits until the array mounted there has been unmounted, and shows its members. */
static int add_mountpoint_later(struct request *request, const char *mountpoint, struct fail *fail)
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

static int collect(struct request *request, char **arguments, int count, struct fail *fail)
{
	struct member_paths paths = { 0 };
	int r = 0;

	if (count == 0 && request->wait)
		return fail_set(fail, EINVAL, FAIL_USAGE, "--wait: name the members or the mount point to wait for");
	if (count == 0)
		return add_all(request, fail);
	if (is_directory(arguments[0])) {
		for (int i = 0; !r && i < count; i++)
			r = request->wait ? add_mountpoint_later(request, arguments[i], fail) : add_mountpoint(request, arguments[i], fail);
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

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "json", no_argument, NULL, 'j' }, { "key-file", required_argument, NULL, 'k' },
		{ "wait", optional_argument, NULL, 'w' },
		{ "help", no_argument, NULL, 'h' }, { "version", no_argument, NULL, 'V' }, { 0 },
	};
	struct request request = { .wait_seconds = UINT_MAX };
	struct fail fail = { 0 };
	int c;

	cli_start("raid5cryptfs-status");
	while ((c = getopt_long(argc, argv, "jk:w::hV", options, NULL)) != -1) {
		switch (c) {
		case 'j':
			request.json = true;
			break;
		case 'k':
			request.key_file = optarg;
			break;
		case 'w':
			request.wait = true;
			if (optarg && cli_parse_seconds(optarg, 0, &request.wait_seconds) < 0)
				return cli_error(FAIL_USAGE, "--wait=%s: not a number of seconds up to 86400", optarg);
			break;
		case 'h':
			usage(stdout);
			return 0;
		case 'V':
			cli_print_version();
			return 0;
		default:
			return cli_error(FAIL_USAGE, "the command line is wrong; see raid5cryptfs-status --help");
		}
	}
	int r = collect(&request, argv + optind, argc - optind, &fail);
	if (!r && request.json)
		status_print_json(&request.list, stdout);
	else if (!r)
		status_print_text(&request.list, stdout);
	status_list_free(&request.list);
	if (r < 0)
		return cli_fail(&fail);
	return fflush(stdout) ? FAIL_SYSTEM : request.exit_code;
}
