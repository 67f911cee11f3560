/* Asking an array for a change of its members: see the header. */
#include "tools/rebuild_request.h"

#include "base/cleanup.h"
#include "tools/cli.h"
#include "tools/device_check.h"
#include "tools/offline.h"
#include "tools/release.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A mount point is a folder.  What does not exist is taken for one, so that the message is about that. */
static bool is_mountpoint(const char *text)
{
	struct stat st;

	if (stat(text, &st) == 0)
		return S_ISDIR(st.st_mode);
	return strncmp(text, "array:", 6) != 0 && !strchr(text, ':');
}

/* ---- The command line ---- */

static int set_option(struct rebuild_request *request, int letter, struct fail *fail)
{
	if (letter == 's' && cli_parse_speed(optarg, &request->speed_bytes) < 0)
		return fail_set(fail, EINVAL, FAIL_USAGE, "--speed %s: not a size of at least 64K (for each second), as in --speed 50M", optarg);
	if (letter == 'k')
		request->key_file = optarg;
	request->force = request->force || letter == 'f';
	request->wait = request->wait || letter == 'w';
	request->cancel = request->cancel || letter == 'c';
	return 0;
}

static int open_array(struct rebuild_request *request, struct fail *fail)
{
	struct member_paths members;
	char *argument = (char *)request->array;

	int r = member_paths_from_arguments(&argument, 1, &members, fail);
	if (r < 0)
		return r;
	r = offline_open(&members, request->key_file, &request->fs, fail);
	member_paths_free(&members);
	return r;
}

static int find_array(const struct rebuild_command *command, struct rebuild_request *request, struct fail *fail)
{
	if (!is_mountpoint(request->array)) {
		if (!strchr(command->letters, 'k'))
			return fail_set(fail, EINVAL, FAIL_USAGE, "%s: is no mount point, and this can be asked of a mounted array only; "
				"to do without a member, mount without it", request->array);
		return open_array(request, fail);
	}
	if (request->key_file && access(request->array, F_OK) == 0)
		return fail_set(fail, EINVAL, FAIL_USAGE, "--key-file: a mounted array is unlocked already; leave it out");
	return 0;
}

static int parse(int argc, char **argv, const struct rebuild_command *command, struct rebuild_request *request, struct fail *fail)
{
	static const struct option options[] = {
		{ "cancel", no_argument, NULL, 'c' }, { "force", no_argument, NULL, 'f' }, { "key-file", required_argument, NULL, 'k' },
		{ "speed", required_argument, NULL, 's' }, { "wait", no_argument, NULL, 'w' }, { "help", no_argument, NULL, 'h' }, { 0 },
	};
	int c, r = 0;

	while (!r && (c = getopt_long(argc, argv, "cfk:s:wh", options, NULL)) != -1) {
		if (c == 'h') {
			command->usage();
			exit(0);
		}
		if (c == '?' || !strchr(command->letters, c))
			return fail_set(fail, EINVAL, FAIL_USAGE, "the command line is wrong; see raid5cryptfs-rebuild --help");
		r = set_option(request, c, fail);
	}
	if (!r && argc - optind != command->argument_count)
		r = fail_set(fail, EINVAL, FAIL_USAGE, "give %s; see raid5cryptfs-rebuild --help", command->arguments);
	if (r < 0)
		return r;
	request->array = argv[optind];
	request->what = argv[optind + 1];
	request->other = command->argument_count > 2 ? argv[optind + 2] : NULL;
	if (request->cancel && (request->wait || request->speed_bytes))
		return fail_set(fail, EINVAL, FAIL_USAGE, "--cancel goes with no other option; see raid5cryptfs-rebuild --help");
	return 0;
}

int rebuild_request_run(int argc, char **argv, const struct rebuild_command *command, struct fail *fail)
{
	struct rebuild_request request = { 0 };
	int r = parse(argc, argv, command, &request, fail);

	if (!r)
		r = find_array(command, &request, fail);
	if (!r)
		r = rebuild_request_status(&request, fail);
	if (!r)
		r = command->run(&request, fail);
	if (!request.fs)
		return r;
	int closed = offline_close(request.fs, r < 0 ? NULL : fail);
	return r < 0 ? r : closed;
}

/* ---- What it says ---- */

int rebuild_request_status(struct rebuild_request *request, struct fail *fail)
{
	if (!request->fs)
		return release_ask_daemon(request->array, &request->status, fail);
	control_status_of_fs(request->fs, &request->status);
	return 0;
}

const char *rebuild_request_place(const struct rebuild_request *request)
{
	static char text[PATH_MAX + 2];

	snprintf(text, sizeof text, "%s%s", request->fs ? "" : " ", request->fs ? "" : request->array);
	return text;
}

const char *rebuild_request_log(const struct rebuild_request *request)
{
	return request->fs ? "what was said before" : "the log of the mount";
}

const char *rebuild_request_goes_on(const struct rebuild_request *request)
{
	return request->fs ? "goes on when the array is mounted, with the new disk among its members" : "goes on";
}

/* ---- Members and disks ---- */

int rebuild_request_find(const struct rebuild_request *request, const char *text, uint32_t *ret_member, struct fail *fail)
{
	autofree char *absolute = cli_absolute(text);
	struct uuid uuid;
	bool is_uuid = uuid_parse(text, &uuid) == 0;
	char *end;
	unsigned long number = strtoul(text, &end, 10);

	for (uint32_t i = 0; i < request->status.member_count; i++) {
		const struct control_member *m = &request->status.members[i];
		if (m->role == MEMBER_UNUSED)
			continue;
		if ((absolute && *m->path && !strcmp(m->path, absolute)) || (is_uuid && uuid_equal(&m->uuid, &uuid))
				|| (*text >= '1' && *text <= '9' && !*end && number == i + 1)) {
			*ret_member = i;
			return 0;
		}
	}
	return fail_set(fail, ENOENT, FAIL_USAGE, "%s: the array has no such member; raid5cryptfs-status%s lists them", text,
		rebuild_request_place(request));
}

int rebuild_request_check_disk(const struct rebuild_request *request, const char *path, struct fail *fail)
{
	struct disk *disk;
	int r = device_check_mounted(path, fail);

	if (!r && !request->force) {
		r = disk_open(path, DISK_READ_ONLY, DISK_ENGINE_THREADS, &disk, fail);
		if (!r) {
			r = device_check_signature(disk, fail);
			disk_close(disk);
		}
	}
	return r;
}

/* A file on the mounted array, or a loop device over one: to write to it the array would have to be written first. */
static bool lies_on_array(const struct rebuild_request *request, const char *absolute)
{
	struct stat array, disk;
	autofree char *backing = device_backing_file(absolute);

	return !request->fs && stat(request->array, &array) == 0 && stat(backing ? backing : absolute, &disk) == 0
		&& disk.st_dev == array.st_dev;
}

int rebuild_request_set_path(const struct rebuild_request *request, const char *path, struct control_change *change, struct fail *fail)
{
	autofree char *absolute = cli_absolute(path);

	if (access(path, F_OK) < 0)
		return fail_set(fail, errno, FAIL_SYSTEM, "%s: %s", path, strerror(errno));
	if (!absolute || strlen(absolute) >= sizeof change->path)
		return fail_set(fail, ENAMETOOLONG, FAIL_USAGE, "%s: the path is too long", path);
	if (lies_on_array(request, absolute))
		return fail_set(fail, EINVAL, FAIL_USAGE, "%s: lies on the array itself, and cannot be a member of it; give another disk", path);
	strcpy(change->path, absolute);
	return 0;
}

static int ask_daemon(const struct rebuild_request *request, struct control_change *change, struct fail *fail)
{
	autoclose int fd = open(request->array, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd >= 0 && ioctl(fd, CONTROL_CHANGE, change) == 0)
		return 0;
	return fail_set(fail, errno, FAIL_SYSTEM, "%s: %s", request->array, errno == EPERM ?
		"only root and who mounted it may change its members" : strerror(errno));
}

int rebuild_request_ask(const struct rebuild_request *request, struct control_change *change, struct fail *fail)
{
	change->version = CONTROL_VERSION;
	change->speed_bytes = request->speed_bytes;
	change->force = request->force;
	int r = request->fs ? 0 : ask_daemon(request, change, fail);
	if (r < 0)
		return r;
	if (request->fs)
		control_change_of_fs(request->fs, change);
	change->text[sizeof change->text - 1] = '\0';
	if (change->code != FAIL_NONE)
		return fail_set(fail, EIO, change->code, "%s", change->text);
	if (change->member >= MEMBERS_MAX || change->new_member >= MEMBERS_MAX)
		return fail_set(fail, EPROTO, FAIL_VERSION, "%s: what serves this mount answered with a member that cannot be", request->array);
	return 0;
}
