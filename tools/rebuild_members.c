/* raid5cryptfs-rebuild readd, fail: a member of a mounted array that comes back, or shall go.  The daemon does it (fs/upkeep/members.h);
 * here is the waiting for the end. */
#include "base/cleanup.h"
#include "tools/cli.h"
#include "tools/progress.h"
#include "tools/rebuild.h"
#include "tools/rebuild_request.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

void rebuild_readd_usage(void)
{
	fputs(
"  readd [-s SIZE] [-w] ARRAY DISK\n"
"        Takes back the member that DISK is, and fills in what was written while it was away.\n", stdout);
}

void rebuild_fail_usage(void)
{
	fputs(
"  fail MOUNTPOINT MEMBER\n"
"        Drops a member, given by its path, UUID or number (as raid5cryptfs-status shows them), so that a spare or another disk takes its\n"
"        place.\n", stdout);
}

/* ---- Waiting ---- */

static int tell_end(const struct rebuild_request *request, unsigned number, bool removed, bool out, struct fail *fail)
{
	char size[CLI_SIZE_TEXT_BYTES];

	if (rebuild_stopped)
		return fail_set(fail, EINTR, FAIL_SYSTEM, "no longer waiting; the catching up %s", rebuild_request_goes_on(request));
	if (out)
		return fail_set(fail, EIO, FAIL_SYSTEM, "member %u is out of the array again; raid5cryptfs-status%s shows which are in sync, and %s "
			"says why", number, rebuild_request_place(request), rebuild_request_log(request));
	if (removed)
		printf("Another disk has taken the place of member %u, which is no member any more.\n", number);
	else
		printf("Member %u is in sync; %s of it were written anew.\n", number,
			cli_size(request->status.members[number - 1].caught_up_bytes, size));
	return 0;
}

static int wait_in_sync(struct rebuild_request *request, unsigned member, struct fail *fail)
{
	struct progress progress = { .fd = -1, .bar = isatty(STDERR_FILENO) };
	const struct control_member *m = &request->status.members[member];
	struct uuid uuid = m->uuid;
	bool came = false, out = false, removed = false;
	int r = 0;

	while (!rebuild_stopped && !(r = rebuild_request_status(request, fail))) {
		removed = m->role == MEMBER_UNUSED || !uuid_equal(&m->uuid, &uuid);
		out = came && m->state == MEMBER_OUT;
		if (removed || out || (m->state == MEMBER_IN_SYNC && !m->has_gap))
			break;
		came = m->state != MEMBER_OUT;
		if (came && m->has_gap)
			progress_show(&progress, "catching up", m->filled_bytes, m->to_fill_bytes);
		progress_wait(&progress);
	}
	progress_clear(&progress);
	return r ? r : tell_end(request, member + 1, removed, out, fail);
}

/* ---- The commands ---- */

/* The disk is one that the array has open and uses: it would only find it locked. */
static int refuse_at_work(const struct rebuild_request *request, const char *path, struct fail *fail)
{
	for (unsigned i = 0; i < request->status.member_count; i++) {
		const struct control_member *m = &request->status.members[i];
		if (m->role != MEMBER_UNUSED && m->state != MEMBER_OUT && !strcmp(m->path, path))
			return fail_set(fail, EBUSY, FAIL_BUSY, "%s: is member %u, and at work: there is nothing to take back", path, i + 1);
	}
	return 0;
}

static int readd(struct rebuild_request *request, struct fail *fail)
{
	struct control_change change = { .action = CONTROL_READD };
	int r = rebuild_request_set_path(request, request->what, &change, fail);

	if (!r)
		r = refuse_at_work(request, change.path, fail);
	if (!r)
		r = rebuild_request_ask(request, &change, fail);
	if (r < 0)
		return r;
	printf("%s: is back, and is being caught up as member %u.\n", request->what, change.member + 1);
	fflush(stdout);
	if (request->wait || request->fs)
		return wait_in_sync(request, change.member, fail);
	printf("raid5cryptfs-status%s shows how far it is.\n", rebuild_request_place(request));
	return 0;
}

int rebuild_readd(int argc, char **argv, struct fail *fail)
{
	static const struct rebuild_command command = { "ksw", 2, "the mount point (or the members) and the disk", rebuild_readd_usage, readd };
	return rebuild_request_run(argc, argv, &command, fail);
}

/* After a member was failed: what comes next. */
static const char *what_next(const struct rebuild_request *request, const struct control_change *change)
{
	if (!request->status.members[change->member].needed)
		return "Take it back (readd), or out for good (remove).";
	if (change->stands_in)
		return "A spare takes its place by itself, or free room on others.";
	return "Put another disk in its place (add), or take it back (readd).";
}

static int drop(struct rebuild_request *request, struct fail *fail)
{
	struct control_change change = { .action = CONTROL_FAIL };
	int r = rebuild_request_find(request, request->what, &change.member, fail);
	uint32_t member = change.member;

	if (!r)
		r = rebuild_request_ask(request, &change, fail);
	if (!r)
		printf("Member %u is out of the array. %s\n", member + 1, what_next(request, &change));
	return r;
}

int rebuild_fail(int argc, char **argv, struct fail *fail)
{
	static const struct rebuild_command command = { "", 2, "the mount point and the member", rebuild_fail_usage, drop };
	return rebuild_request_run(argc, argv, &command, fail);
}
