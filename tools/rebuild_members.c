/* raid5cryptfs-rebuild add, readd, fail: what the owner asks of a mounted array that lacks a member, or shall.  The daemon does it
 * (fs/upkeep/members.h); here are the checks that need no array, and the waiting for the end. */
#include "base/cleanup.h"
#include "tools/progress.h"
#include "tools/rebuild.h"
#include "tools/rebuild_request.h"
#include "tools/release.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

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
"        Drops a member, given by its path, UUID or number (as raid5cryptfs-status shows them), so that a spare or another disk takes its\n"
"        place.\n", stdout);
}

static const struct rebuild_command
	add_command = { "fsw", 2, "the mount point and the disk", rebuild_add_usage },
	readd_command = { "sw", 2, "the mount point and the disk", rebuild_readd_usage },
	fail_command = { "", 2, "the mount point and the member", rebuild_fail_usage };

/* ---- Waiting ---- */

static int wait_in_sync(struct rebuild_request *request, unsigned member, struct fail *fail)
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
		usleep(REBUILD_POLL_US);
	}
	progress_clear(&progress);
	if (!r && rebuild_stopped)
		return fail_set(fail, EINTR, FAIL_SYSTEM, "no longer waiting; the rebuild goes on");
	return r;
}

static int begun(struct rebuild_request *request, const struct control_change *change, const char *text, struct fail *fail)
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

int rebuild_add(int argc, char **argv, struct fail *fail)
{
	struct rebuild_request request = { 0 };
	struct control_change change = { .action = CONTROL_ADD };
	int r = rebuild_request_parse(argc, argv, &add_command, &request, fail);

	if (!r)
		r = rebuild_request_set_path(request.what, &change, fail);
	if (!r)
		r = rebuild_request_check_disk(&request, request.what, fail);
	if (!r)
		r = rebuild_request_ask(&request, &change, fail);
	return r ? r : begun(&request, &change, "is being rebuilt", fail);
}

int rebuild_readd(int argc, char **argv, struct fail *fail)
{
	struct rebuild_request request = { 0 };
	struct control_change change = { .action = CONTROL_READD };
	int r = rebuild_request_parse(argc, argv, &readd_command, &request, fail);

	if (!r)
		r = rebuild_request_set_path(request.what, &change, fail);
	if (!r)
		r = rebuild_request_ask(&request, &change, fail);
	return r ? r : begun(&request, &change, "is back, and is being caught up", fail);
}

static bool has_spare(const struct control_status *status)
{
	for (unsigned i = 0; i < status->member_count; i++)
		if (status->members[i].role == MEMBER_SPARE && status->members[i].state == MEMBER_IN_SYNC)
			return true;
	return false;
}

/* After a member was failed: what comes next. */
static const char *what_next(const struct rebuild_request *request, uint32_t member)
{
	if (!request->status.members[member].needed)
		return "Take it back (readd), or out for good (remove).";
	if (has_spare(&request->status))
		return "A spare takes its place by itself.";
	return "Put another disk in its place (add), or take it back (readd).";
}

int rebuild_fail(int argc, char **argv, struct fail *fail)
{
	struct rebuild_request request = { 0 };
	struct control_change change = { .action = CONTROL_FAIL };
	uint32_t member;
	int r = rebuild_request_parse(argc, argv, &fail_command, &request, fail);

	if (!r)
		r = rebuild_request_find(&request, request.what, &member, fail);
	if (r < 0)
		return r;
	change.member = member;
	r = rebuild_request_ask(&request, &change, fail);
	if (!r)
		printf("Member %u is out of the array. %s\n", member + 1, what_next(&request, member));
	return r;
}
