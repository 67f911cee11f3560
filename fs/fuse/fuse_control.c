/* The tools' ioctls on a mount (fs/control.h): its status for all, changes of its members for its owner and root. */
#include "base/cleanup.h"
#include "fs/control.h"
#include "fs/fuse/fuse_internal.h"
#include "fs/upkeep/members.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void tell_status(fuse_req_t req, size_t out_bytes)
{
	autofree struct control_status *status = malloc(sizeof *status);
	if (!status) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	if (out_bytes < sizeof *status) {
		fuse_reply_err(req, EINVAL);
		return;
	}
	control_status_of_fs(fs_of(req), status);
	fuse_reply_ioctl(req, 0, status, sizeof *status);
}

static bool owns_mount(fuse_req_t req)
{
	uid_t uid = fuse_req_ctx(req)->uid;
	return uid == 0 || uid == geteuid();
}

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

static bool has_path(const struct control_change *change)
{
	return change->action == CONTROL_ADD || change->action == CONTROL_READD || change->action == CONTROL_SPARE
		|| change->action == CONTROL_REPLACE;
}

static void change_members(struct fs *fs, struct control_change *change)
{
	struct fail fail = { 0 };
	if (change->speed_bytes > 0 && change->action != CONTROL_SCRUB)
		fs_set_speed(fs, change->speed_bytes == UINT64_MAX ? 0 : change->speed_bytes);
	int r = do_change(fs, change, &fail);
	change->code = r == 0 ? FAIL_NONE : fail.code != FAIL_NONE ? fail.code : FAIL_SYSTEM;
	memcpy(change->text, fail.text, sizeof change->text);
}

static void answer_change(fuse_req_t req, const void *in, size_t in_bytes, size_t out_bytes)
{
	struct control_change change;
	if (!owns_mount(req)) {
		fuse_reply_err(req, EPERM);
		return;
	}
	if (in_bytes < sizeof change || out_bytes < sizeof change) {
		fuse_reply_err(req, EINVAL);
		return;
	}
	memcpy(&change, in, sizeof change);
	if (change.version != CONTROL_VERSION || change.action > CONTROL_CANCEL || change.scrub > SCRUB_STOP
		|| !memchr(change.path, 0, sizeof change.path) || (has_path(&change) && change.path[0] != '/')) {
		fuse_reply_err(req, EINVAL);
		return;
	}
	change_members(fs_of(req), &change);
	fuse_reply_ioctl(req, 0, &change, sizeof change);
}

static void op_ioctl(fuse_req_t req, fuse_ino_t ino, unsigned int cmd, void *arg, struct fuse_file_info *fi,
	unsigned flags, const void *in, size_t in_bytes, size_t out_bytes)
{
	(void)ino, (void)arg, (void)fi, (void)flags;
	if (cmd == CONTROL_STATUS)
		tell_status(req, out_bytes);
	else if (cmd == CONTROL_CHANGE)
		answer_change(req, in, in_bytes, out_bytes);
	else
		fuse_reply_err(req, ENOTTY);
}

void fuse_fill_control_ops(struct fuse_lowlevel_ops *ops)
{
	ops->ioctl = op_ioctl;
}
