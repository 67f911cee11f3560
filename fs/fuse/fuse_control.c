/* The tools' ioctls on a mount (fs/control.h): its status for all, changes of its members for its owner and root. */
#include "base/cleanup.h"
#include "fs/control.h"
#include "fs/fuse/fuse_internal.h"

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
	status->has_transport = true;
	status->transport = fuse_uring_begun(server_of(req)) ? FUSE_TRANSPORT_URING : FUSE_TRANSPORT_DEVICE;
	fuse_reply_ioctl(req, 0, status, sizeof *status);
}

static bool owns_mount(fuse_req_t req)
{
	uid_t uid = fuse_req_ctx(req)->uid;
	return uid == 0 || uid == geteuid();
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
	if (!control_change_valid(&change)) {
		fuse_reply_err(req, EINVAL);
		return;
	}
	control_change_of_fs(fs_of(req), &change);
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
