/* raid5cryptfs-rebuild add, readd, fail: what the owner asks of a mounted array.  The daemon does it (fs/members.h); here are the
 * checks that need no array, and the waiting for the end. */
#include "base/cleanup.h"
#include "fs/control.h"
#include "tools/cli.h"
#include "tools/device_check.h"
#include "tools/progress.h"
#include "tools/rebuild.h"
#include "tools/release.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define POLL_US 300000u

struct request {
	bool force, wait;
	uint64_t speed_bytes;            /* 0: as it is */
	const char *mountpoint, *what;
	struct control_status status;
};

void rebuild_add_usage(void)
{
	fputs(
"  add [-f] [-s SIZE] [-w] MOUNTPOINT DISK\n"
"        Puts DISK in the place of the member that is missing, and rebuilds it there, while the array is used.  What is on DISK is lost.\n"
"          -f, --force    also if DISK carries a signature of something, or a label of an array that is not mounted\n"
"          -s, --speed SIZE  work through at most so many bytes of each member a second, scrubs too, until the unmount\n"
"          -w, --wait     return only when it is rebuilt\n", stdout);
}

void rebuild_readd_usage(void)
{
	fputs(
"  readd [-s SIZE] [-w] MOUNTPOINT DISK\n"
"        Takes back the member that DISK is, and fills in what was written while it was away.\n", stdout);
}

void rebuild_fail_usage(void)
{
	fputs(
"  fail MOUNTPOINT MEMBER\n"
"        Drops a member, given by its path, UUID or number (as raid5cryptfs-status shows them), so that another disk can take its place.\n",
		stdout);
}

static int parse(int argc, char **argv, const char *letters, void (*usage)(void), struct request *request, struct fail *fail)
{
	static const struct option options[] = {
		{ "force", no_argument, NULL, 'f' }, { "speed", required_argument, NULL, 's' }, { "wait", no_argument, NULL, 'w' },
		{ "help", no_argument, NULL, 'h' }, { 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "fs:wh", options, NULL)) != -1) {
		if (c == 'h') {
			usage();
			exit(0);
		}
		if (c == '?' || !strchr(letters, c))
			return fail_set(fail, EINVAL, FAIL_USAGE, "the command line is wrong; see raid5cryptfs-rebuild --help");
		if (c == 's' && cli_parse_speed(optarg, &request->speed_bytes) < 0)
			return fail_set(fail, EINVAL, FAIL_USAGE, "--speed %s: not a size of at least 64K (for each second), as in --speed 50M", optarg);
		request->force = request->force || c == 'f';
		request->wait = request->wait || c == 'w';
	}
	if (argc - optind != 2)
		return fail_set(fail, EINVAL, FAIL_USAGE, "give the mount point and one more; see raid5cryptfs-rebuild --help");
	request->mountpoint = argv[optind];
	request->what = argv[optind + 1];
	return release_ask_daemon(request->mountpoint, &request->status, fail);
}

static int ask(const struct request *request, struct control_change *change, struct fail *fail)
{
	autoclose int fd = open(request->mountpoint, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	change->version = CONTROL_VERSION;
	change->speed_bytes = request->speed_bytes;
	if (fd < 0 || ioctl(fd, CONTROL_CHANGE, change) < 0)
		return fail_set(fail, errno, FAIL_SYSTEM, "%s: %s", request->mountpoint, errno == EPERM ?
			"only root and who mounted it may change its members" : strerror(errno));
	change->text[sizeof change->text - 1] = '\0';
	return change->code == FAIL_NONE ? 0 : fail_set(fail, EIO, change->code, "%s", change->text);
}

static int set_path(const char *path, struct control_change *change, struct fail *fail)
{
	autofree char *absolute = cli_absolute(path);

	if (access(path, F_OK) < 0)
		return fail_set(fail, errno, FAIL_SYSTEM, "%s: %s", path, strerror(errno));
	if (!absolute || strlen(absolute) >= sizeof change->path)
		return fail_set(fail, ENAMETOOLONG, FAIL_USAGE, "%s: the path is too long", path);
	strcpy(change->path, absolute);
	return 0;
}

/* ---- Waiting ---- */

static int wait_in_sync(struct request *request, unsigned member, struct fail *fail)
{
	struct progress progress = { .fd = -1, .bar = isatty(STDERR_FILENO) };
	int r = 0;

	while (!rebuild_stopped && !(r = release_ask_daemon(request->mountpoint, &request->status, fail))) {
		const struct control_member *m = &request->status.members[member];
		if (m->state == MEMBER_IN_SYNC && !m->has_gap)
			break;
		if (m->state == MEMBER_OUT && m->to_fill_bytes)
			break;
		if (m->state != MEMBER_OUT && m->has_gap)
			progress_show(&progress, "rebuild", m->filled_bytes, m->to_fill_bytes);
		usleep(POLL_US);
	}
	progress_clear(&progress);
	if (!r && rebuild_stopped)
		return fail_set(fail, EINTR, FAIL_SYSTEM, "no longer waiting; the rebuild goes on");
	return r;
}

static int begun(struct request *request, const struct control_change *change, const char *text, struct fail *fail)
{
	printf("%s: %s as member %u.\n", request->what, text, change->member + 1);
	fflush(stdout);
	if (!request->wait) {
		printf("raid5cryptfs-status %s shows how far it is.\n", request->mountpoint);
		return 0;
	}
	int r = wait_in_sync(request, change->member, fail);
	if (!r)
		printf("Member %u is in sync.\n", change->member + 1);
	return r;
}

/* ---- The commands ---- */

static int check_disk(const struct request *request, struct fail *fail)
{
	struct disk *disk;
	int r = device_check_mounted(request->what, fail);

	if (!r && !request->force) {
		r = disk_open(request->what, DISK_READ_ONLY, DISK_ENGINE_THREADS, &disk, fail);
		if (!r) {
			r = device_check_signature(disk, fail);
			disk_close(disk);
		}
	}
	return r;
}

int rebuild_add(int argc, char **argv, struct fail *fail)
{
	struct request request = { 0 };
	struct control_change change = { .action = CONTROL_ADD };
	int r = parse(argc, argv, "fsw", rebuild_add_usage, &request, fail);

	if (!r)
		r = set_path(request.what, &change, fail);
	if (!r)
		r = check_disk(&request, fail);
	change.force = request.force;
	if (!r)
		r = ask(&request, &change, fail);
	return r ? r : begun(&request, &change, "is being rebuilt", fail);
}

int rebuild_readd(int argc, char **argv, struct fail *fail)
{
	struct request request = { 0 };
	struct control_change change = { .action = CONTROL_READD };
	int r = parse(argc, argv, "sw", rebuild_readd_usage, &request, fail);

	if (!r)
		r = set_path(request.what, &change, fail);
	if (!r)
		r = ask(&request, &change, fail);
	return r ? r : begun(&request, &change, "is back, and is being caught up", fail);
}

/* By path, UUID, or number from 1. */
static int find_member(const struct request *request, uint32_t *ret_member, struct fail *fail)
{
	autofree char *absolute = cli_absolute(request->what);
	struct uuid uuid;
	bool is_uuid = uuid_parse(request->what, &uuid) == 0;
	char *end;
	unsigned long number = strtoul(request->what, &end, 10);

	for (uint32_t i = 0; i < request->status.member_count; i++) {
		const struct control_member *m = &request->status.members[i];
		if ((absolute && *m->path && !strcmp(m->path, absolute)) || (is_uuid && uuid_equal(&m->uuid, &uuid))
				|| (*request->what >= '1' && *request->what <= '9' && !*end && number == i + 1)) {
			*ret_member = i;
			return 0;
		}
	}
	return fail_set(fail, ENOENT, FAIL_USAGE, "%s: the array on %s has no such member; raid5cryptfs-status %s lists them", request->what,
		request->mountpoint, request->mountpoint);
}

int rebuild_fail(int argc, char **argv, struct fail *fail)
{
	struct request request = { 0 };
	struct control_change change = { .action = CONTROL_FAIL };
	int r = parse(argc, argv, "", rebuild_fail_usage, &request, fail);

	if (!r)
		r = find_member(&request, &change.member, fail);
	if (!r)
		r = ask(&request, &change, fail);
	if (!r)
		printf("Member %u is out of the array. Put another disk in its place (add), or take it back (readd).\n", change.member + 1);
	return r;
}
