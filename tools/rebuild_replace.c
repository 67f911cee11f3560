/* raid5cryptfs-rebuild add, replace, spare: disks that come into a mounted array.  The daemon does it (fs/control.h); here are the checks
 * that need no array, and the waiting for the end. */
#include "base/cleanup.h"
#include "tools/cli.h"
#include "tools/progress.h"
#include "tools/rebuild.h"
#include "tools/rebuild_follow.h"
#include "tools/rebuild_request.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

void rebuild_add_usage(void)
{
	fputs(
"  add [-f] [-s SIZE] [-w] ARRAY NEW\n"
"        Puts NEW, a disk or a spare of the array, in the place of the member that is missing, and makes its data there from the others,\n"
"        while the array is used.  What is on NEW is lost.\n"
"          -f, --force    also if NEW carries a signature of something, or a label of an array that is not mounted\n"
"          -s, --speed SIZE  work through at most so many bytes of each member a second, scrubs too, until the unmount\n"
"          -w, --wait     return only when NEW has taken the place\n", stdout);
}

void rebuild_replace_usage(void)
{
	fputs(
"  replace [-f] [-s SIZE] [-w] ARRAY OLD NEW\n"
"        Puts NEW, a disk or a spare of the array, in the place of the member OLD, which goes on serving until NEW has all of its data,\n"
"        and is no member then.  What is on NEW is lost.\n"
"          -f, --force    as with add\n"
"          -s, --speed SIZE  as with add\n"
"          -w, --wait     return only when NEW has taken the place\n", stdout);
}

void rebuild_spare_usage(void)
{
	fputs(
"  spare [-f] ARRAY DISK\n"
"        Makes DISK a spare, which steps in by itself when a member has failed.  What is on DISK is lost.\n"
"          -f, --force    as with add\n", stdout);
}

/* ---- Waiting ---- */

/* What is asked for, and followed to its end. */
struct following {
	const char *what;                /* in a word */
	struct rebuild_request *request;
	struct control_change change;
	struct replace replace;
};

static int tell_end(const struct following *f, enum replace_state state, struct fail *fail)
{
	unsigned old_number = f->replace.old_member + 1, new_number = f->replace.new_member + 1;

	if (state == REPLACE_OUT)
		return fail_set(fail, EIO, FAIL_SYSTEM, "member %u, which was to take the place of member %u, is out of the array; "
			"raid5cryptfs-status%s shows which are in sync, and %s says why", new_number, old_number,
			rebuild_request_place(f->request), rebuild_request_log(f->request));
	if (state == REPLACE_STOPPED)
		return fail_set(fail, ECANCELED, FAIL_SYSTEM, "the %s was stopped: member %u does not take the place of member %u; "
			"%s says why", f->what, new_number, old_number, rebuild_request_log(f->request));
	printf("Member %u has taken the place of member %u, which is no member any more.\n", new_number, old_number);
	return 0;
}

static void show(const struct following *f, struct progress *progress)
{
	const struct control_job *job = &f->request->status.job;

	if (job->running && (job->targets >> f->replace.new_member & 1))
		progress_show(progress, job->waits ? "waiting" : f->what, job->done_bytes, job->total_bytes);
}

static int wait_replaced(struct following *f, struct fail *fail)
{
	struct progress progress = { .fd = -1, .bar = isatty(STDERR_FILENO) };
	struct control_status *status = &f->request->status;
	struct replace *replace = &f->replace;
	enum replace_state state = REPLACE_GOES_ON;
	bool first = true;
	int r = 0;

	while (!rebuild_stopped && !(r = rebuild_request_status(f->request, fail))) {
		if (first && replace->new_member < status->member_count)
			replace->new_uuid = status->members[replace->new_member].uuid;
		first = false;
		state = replace_follow(replace, status);
		if (state != REPLACE_GOES_ON)
			break;
		show(f, &progress);
		progress_wait(&progress);
	}
	progress_clear(&progress);
	if (r < 0)
		return r;
	if (state == REPLACE_GOES_ON)
		return fail_set(fail, EINTR, FAIL_SYSTEM, "no longer waiting; the %s %s", f->what, rebuild_request_goes_on(f->request));
	return tell_end(f, state, fail);
}

/* ---- The commands ---- */

static bool is_spare(const struct control_status *status, const char *path)
{
	for (unsigned i = 0; i < status->member_count; i++)
		if (status->members[i].role == MEMBER_SPARE && !strcmp(status->members[i].path, path))
			return true;
	return false;
}

/* The disk or spare at `path` takes a member's place: asks for it, and tells. */
static int begin(struct following *f, const char *path, struct fail *fail)
{
	int r = rebuild_request_set_path(f->request, path, &f->change, fail);

	if (!r && !is_spare(&f->request->status, f->change.path))
		r = rebuild_request_check_disk(f->request, path, fail);
	if (!r)
		r = rebuild_request_ask(f->request, &f->change, fail);
	if (r < 0)
		return r;
	const struct control_member *old = &f->request->status.members[f->change.member];
	f->replace = (struct replace){ .old_member = f->change.member, .old_uuid = old->uuid, .new_member = f->change.new_member };
	printf("%s: takes, as member %u, the place of member %u%s.\n", path, f->change.new_member + 1, f->change.member + 1,
		old->state != MEMBER_OUT ? ", which goes on serving until then" : "");
	fflush(stdout);
	if (f->request->wait || f->request->fs)
		return wait_replaced(f, fail);
	printf("raid5cryptfs-status%s shows how far it is.\n", rebuild_request_place(f->request));
	return 0;
}

static int add(struct rebuild_request *request, struct fail *fail)
{
	struct following f = { .what = "rebuild", .request = request, .change = { .action = CONTROL_ADD } };
	return begin(&f, request->what, fail);
}

int rebuild_add(int argc, char **argv, struct fail *fail)
{
	static const struct rebuild_command command = { "fksw", 2, "the mount point (or the members) and the disk", rebuild_add_usage, add };
	return rebuild_request_run(argc, argv, &command, fail);
}

static int replace(struct rebuild_request *request, struct fail *fail)
{
	struct following f = { .what = "replace", .request = request, .change = { .action = CONTROL_REPLACE } };
	int r = rebuild_request_find(request, request->what, &f.change.member, fail);
	return r ? r : begin(&f, request->other, fail);
}

int rebuild_replace(int argc, char **argv, struct fail *fail)
{
	static const struct rebuild_command command = { "fksw", 3,
		"the mount point (or the members), the member to be replaced, and the disk that takes its place", rebuild_replace_usage, replace };
	return rebuild_request_run(argc, argv, &command, fail);
}

static int make_spare(struct rebuild_request *request, struct fail *fail)
{
	struct control_change change = { .action = CONTROL_SPARE };
	int r = rebuild_request_set_path(request, request->what, &change, fail);

	if (!r)
		r = rebuild_request_check_disk(request, request->what, fail);
	if (!r)
		r = rebuild_request_ask(request, &change, fail);
	if (!r)
		printf("%s: is a spare now, as member %u. %s\n", request->what, change.member + 1, change.stands_in ?
			"It steps in by itself when a member has failed." :
			"It is too small to stand in for a member alone: it does so only together with other spares or free room on members.");
	return r;
}

int rebuild_spare(int argc, char **argv, struct fail *fail)
{
	static const struct rebuild_command command = { "fk", 2, "the mount point (or the members) and the disk", rebuild_spare_usage,
		make_spare };
	return rebuild_request_run(argc, argv, &command, fail);
}
