/* raid5cryptfs-rebuild remove: takes a member out of a mounted array: a spare at once, one that serves when others have its data. */
#include "tools/cli.h"
#include "tools/progress.h"
#include "tools/rebuild.h"
#include "tools/rebuild_follow.h"
#include "tools/rebuild_request.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

void rebuild_remove_usage(void)
{
	fputs(
"  remove [-s SIZE] [-w] ARRAY MEMBER\n"
"        Takes a member out of the array.  A spare leaves at once.  The data of one that serves, or is out, goes to free room on others\n"
"        and to spares first, and until then it serves as it did.  A spare that is just taking another's place only stops doing so.\n"
"          -s, --speed SIZE  as with add\n"
"          -w, --wait     return only when it is out of the array\n"
"  remove --cancel ARRAY MEMBER\n"
"        What is on its way from MEMBER or to it, by remove, by replace or after a loss, stays where it was.\n", stdout);
}

static void tell_removed(const struct control_member *last, uint32_t member)
{
	if (*last->path && last->state != MEMBER_OUT)
		printf("Member %u (%s) is out of the array for good; its label was wiped.\n", member + 1, last->path);
	else
		printf("Member %u is out of the array for good. Its disk could not be written to: if it still works, raid5cryptfs-rebuild erase "
			"wipes its label.\n", member + 1);
}

static int tell_cancelled(const struct rebuild_request *request)
{
	const struct control_status *s = &request->status;
	char targets[CONFIG_NAMES_BYTES];

	config_name_members(s->job.targets, targets);
	printf("Cancelled: the data of member %u stays where it is, and no longer goes to %s.\n", s->job.source + 1u, targets);
	if (s->members[s->job.source % MEMBERS_MAX].state == MEMBER_OUT)
		printf("It is out: others take its data by themselves only after the next mount, or when a spare is added.\n");
	return 0;
}

/* ---- One that has data ---- */

static void tell_begun(const struct rebuild_request *request, const struct control_member *before, uint32_t member)
{
	uint32_t targets = leaving_targets(&request->status, member);
	char names[CONFIG_NAMES_BYTES];

	if (!targets)
		printf("Member %u is leaving: all of its data is on others already.\n", member + 1);
	else if (before->state == MEMBER_OUT)
		printf("Member %u is leaving: its data is made again on %s.\n", member + 1, config_name_members(targets, names));
	else
		printf("Member %u is leaving: its data goes to %s. It goes on serving until then.\n", member + 1, config_name_members(targets, names));
	fflush(stdout);
}

static int tell_end(const struct rebuild_request *request, const struct control_member *last, uint32_t member, enum replace_state state,
	struct fail *fail)
{
	if (state == REPLACE_OUT)
		return fail_set(fail, EIO, FAIL_SYSTEM, "a member that gets data of member %u is out of the array; raid5cryptfs-status%s shows which. "
			"It goes on when that is back; remove --cancel ends it", member + 1, rebuild_request_place(request));
	if (state == REPLACE_STOPPED)
		return fail_set(fail, ECANCELED, FAIL_SYSTEM, "member %u does not leave: that was cancelled, by the owner or since another member is "
			"lost; %s says why", member + 1, rebuild_request_log(request));
	tell_removed(last, member);
	return 0;
}

static int wait_gone(struct rebuild_request *request, const struct leaving *leaving, struct control_member *last, struct fail *fail)
{
	struct progress progress = { .fd = -1, .bar = isatty(STDERR_FILENO) };
	const struct control_job *job = &request->status.job;
	enum replace_state state;
	int r = 0;

	while ((state = leaving_follow(leaving, &request->status)) == REPLACE_GOES_ON && !rebuild_stopped && !r) {
		*last = request->status.members[leaving->member];
		if (leaving_targets(&request->status, leaving->member))
			progress_show(&progress, job->waits ? "waiting" : "remove", job->done_bytes, job->total_bytes);
		progress_wait(&progress);
		r = rebuild_request_status(request, fail);
	}
	progress_clear(&progress);
	if (r < 0)
		return r;
	if (state == REPLACE_GOES_ON)
		return fail_set(fail, EINTR, FAIL_SYSTEM, "no longer waiting; the leaving %s", rebuild_request_goes_on(request));
	return tell_end(request, last, leaving->member, state, fail);
}

/* ---- The command ---- */

static int removed(struct rebuild_request *request, uint32_t member, struct fail *fail)
{
	struct control_member last = request->status.members[member];
	struct leaving leaving = { member, last.uuid };

	if (!last.needed && last.role == MEMBER_REPLACEMENT) {
		printf("The replace was cancelled: member %u is a spare again. To take it out of the array, remove it once more.\n", member + 1);
		return 0;
	}
	if (!last.needed) {
		tell_removed(&last, member);
		return 0;
	}
	int r = rebuild_request_status(request, fail);
	if (r < 0)
		return r;
	tell_begun(request, &last, member);
	if (request->wait || request->fs)
		return wait_gone(request, &leaving, &last, fail);
	printf("raid5cryptfs-status%s shows how far it is.\n", rebuild_request_place(request));
	return 0;
}

static int run(struct rebuild_request *request, struct fail *fail)
{
	struct control_change change = { .action = request->cancel ? CONTROL_CANCEL : CONTROL_REMOVE };
	int r = rebuild_request_find(request, request->what, &change.member, fail);
	uint32_t member = change.member;

	if (!r)
		r = rebuild_request_ask(request, &change, fail);
	if (r < 0)
		return r;
	return request->cancel ? tell_cancelled(request) : removed(request, member, fail);
}

int rebuild_remove(int argc, char **argv, struct fail *fail)
{
	static const struct rebuild_command command = { "cksw", 2, "the mount point (or the members) and the member", rebuild_remove_usage, run };
	return rebuild_request_run(argc, argv, &command, fail);
}
