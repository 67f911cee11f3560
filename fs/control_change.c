/* What the owner asks of an array's members (control.h), done: by the daemon that serves a mount, or by a tool that has opened the array
 * itself. */
#include "fs/control.h"
#include "fs/upkeep/members.h"

#include <errno.h>
#include <string.h>

static bool has_path(const struct control_change *change)
{
	return change->action == CONTROL_ADD || change->action == CONTROL_READD || change->action == CONTROL_SPARE
		|| change->action == CONTROL_REPLACE;
}

bool control_change_valid(const struct control_change *change)
{
	return change->version == CONTROL_VERSION && change->action <= CONTROL_CANCEL && change->scrub <= SCRUB_STOP
		&& memchr(change->path, 0, sizeof change->path) && (!has_path(change) || change->path[0] == '/');
}

/* ---- What is asked for ---- */

static int open_new(struct fs *fs, const struct control_change *change, struct disk **ret_disk, struct fail *fail)
{
	return disk_open(change->path, DISK_READ_WRITE, fs_io(fs), ret_disk, fail);
}

/* Columns of the member, or of the one that is missing, onto a spare or another disk. */
static int replace(struct fs *fs, struct control_change *change, struct fail *fail)
{
	bool missing = change->action == CONTROL_ADD;
	struct disk *disk;
	unsigned member = change->member, new_member;
	int r = fs_member_find_spare(fs, change->path, &new_member);
	if (r == 0)
		r = missing ? fs_member_add_spare(fs, new_member, &member, fail) : fs_member_replace(fs, member, new_member, fail);
	else {
		r = open_new(fs, change, &disk, fail);
		if (r == 0)
			r = missing ? fs_member_add(fs, disk, change->force, &member, &new_member, fail)
				: fs_member_replace_by(fs, member, disk, change->force, &new_member, fail);
	}
	if (r == 0) {
		change->member = member;
		change->new_member = new_member;
	}
	return r;
}

static int take_back(struct fs *fs, struct control_change *change, struct fail *fail)
{
	struct disk *disk;
	unsigned member;
	int r = fs_member_resume(fs, change->path, &member);
	if (r < 0) {
		r = open_new(fs, change, &disk, fail);
		if (r == 0)
			r = fs_member_readd(fs, disk, &member, fail);
	}
	if (r == 0)
		change->member = member;
	return r;
}

static int make_spare(struct fs *fs, struct control_change *change, struct fail *fail)
{
	struct disk *disk;
	unsigned member;
	int r = open_new(fs, change, &disk, fail);
	if (r == 0)
		r = fs_member_spare(fs, disk, change->force, &member, fail);
	if (r < 0)
		return r;
	change->member = member;
	change->stands_in = fs_member_stands_in(fs, member);
	return 0;
}

static int drop(struct fs *fs, struct control_change *change, struct fail *fail)
{
	int r = fs_member_fail(fs, change->member, fail);
	if (r == 0)
		change->stands_in = fs_member_has_room(fs, change->member);
	return r;
}

static int do_change(struct fs *fs, struct control_change *change, struct fail *fail)
{
	switch ((enum control_action)change->action) {
	case CONTROL_ADD:
	case CONTROL_REPLACE:
		return replace(fs, change, fail);
	case CONTROL_READD:
		return take_back(fs, change, fail);
	case CONTROL_SPARE:
		return make_spare(fs, change, fail);
	case CONTROL_FAIL:
		return drop(fs, change, fail);
	case CONTROL_REMOVE:
		return fs_member_remove(fs, change->member, fail);
	case CONTROL_CANCEL:
		return fs_member_cancel(fs, change->member, fail);
	case CONTROL_SCRUB:
		return fs_scrub(fs, (enum scrub_action)change->scrub, change->speed_bytes, fail);
	}
	return -EINVAL;
}

void control_change_of_fs(struct fs *fs, struct control_change *change)
{
	struct fail fail = { 0 };
	bool speed = change->speed_bytes > 0 && change->action != CONTROL_SCRUB;
	uint64_t before = speed ? fs_set_speed(fs, change->speed_bytes == UINT64_MAX ? 0 : change->speed_bytes) : 0;
	int r = do_change(fs, change, &fail);
	/* What was refused changes nothing. */
	if (r < 0 && speed)
		fs_set_speed(fs, before);
	change->code = r == 0 ? FAIL_NONE : fail.code != FAIL_NONE ? fail.code : FAIL_SYSTEM;
	memcpy(change->text, fail.text, sizeof change->text);
}
