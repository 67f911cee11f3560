/* Asking a mounted array for a change of its members: see the header. */
#include "tools/rebuild_request.h"

#include "base/cleanup.h"
#include "tools/cli.h"
#include "tools/device_check.h"
#include "tools/release.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int rebuild_request_parse(int argc, char **argv, const struct rebuild_command *command, struct rebuild_request *request, struct fail *fail)
{
	static const struct option options[] = {
		{ "cancel", no_argument, NULL, 'c' }, { "force", no_argument, NULL, 'f' }, { "speed", required_argument, NULL, 's' },
		{ "wait", no_argument, NULL, 'w' }, { "help", no_argument, NULL, 'h' }, { 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "cfs:wh", options, NULL)) != -1) {
		if (c == 'h') {
			command->usage();
			exit(0);
		}
		if (c == '?' || !strchr(command->letters, c))
			return fail_set(fail, EINVAL, FAIL_USAGE, "the command line is wrong; see raid5cryptfs-rebuild --help");
		if (c == 's' && cli_parse_speed(optarg, &request->speed_bytes) < 0)
			return fail_set(fail, EINVAL, FAIL_USAGE, "--speed %s: not a size of at least 64K (for each second), as in --speed 50M", optarg);
		request->force = request->force || c == 'f';
		request->wait = request->wait || c == 'w';
		request->cancel = request->cancel || c == 'c';
	}
	if (argc - optind != command->argument_count)
		return fail_set(fail, EINVAL, FAIL_USAGE, "give %s; see raid5cryptfs-rebuild --help", command->arguments);
	request->mountpoint = argv[optind];
	request->what = argv[optind + 1];
	request->other = command->argument_count > 2 ? argv[optind + 2] : NULL;
	return release_ask_daemon(request->mountpoint, &request->status, fail);
}

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
	return fail_set(fail, ENOENT, FAIL_USAGE, "%s: the array on %s has no such member; raid5cryptfs-status %s lists them", text,
		request->mountpoint, request->mountpoint);
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

int rebuild_request_set_path(const char *path, struct control_change *change, struct fail *fail)
{
	autofree char *absolute = cli_absolute(path);

	if (access(path, F_OK) < 0)
		return fail_set(fail, errno, FAIL_SYSTEM, "%s: %s", path, strerror(errno));
	if (!absolute || strlen(absolute) >= sizeof change->path)
		return fail_set(fail, ENAMETOOLONG, FAIL_USAGE, "%s: the path is too long", path);
	strcpy(change->path, absolute);
	return 0;
}

int rebuild_request_ask(const struct rebuild_request *request, struct control_change *change, struct fail *fail)
{
	autoclose int fd = open(request->mountpoint, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	change->version = CONTROL_VERSION;
	change->speed_bytes = request->speed_bytes;
	change->force = request->force;
	if (fd < 0 || ioctl(fd, CONTROL_CHANGE, change) < 0)
		return fail_set(fail, errno, FAIL_SYSTEM, "%s: %s", request->mountpoint, errno == EPERM ?
			"only root and who mounted it may change its members" : strerror(errno));
	change->text[sizeof change->text - 1] = '\0';
	if (change->code != FAIL_NONE)
		return fail_set(fail, EIO, change->code, "%s", change->text);
	if (change->member >= MEMBERS_MAX || change->new_member >= MEMBERS_MAX)
		return fail_set(fail, EPROTO, FAIL_VERSION, "%s: what serves this mount answered with a member that cannot be", request->mountpoint);
	return 0;
}
