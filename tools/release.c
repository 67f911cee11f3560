/* Waiting until a daemon has released the members: see the header.
 *
 * A daemon that writes holds an exclusive flock(2) on each member, from before the mount until its last commit is durable.  So
 * a shared one is asked for, which changes nothing and is dropped at once.  A timer ends the wait; it goes on ringing, since the
 * first time might be just before the call that is to be interrupted. */
#include "tools/release.h"

#include "base/cleanup.h"
#include "tools/mounts.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#define RING_AGAIN_US 50000

static volatile sig_atomic_t expired;

static void expire(int signal_number)
{
	(void)signal_number;
	expired = 1;
}

static void start_timer(unsigned seconds)
{
	struct itimerval timer = { .it_value.tv_sec = seconds, .it_interval.tv_usec = RING_AGAIN_US };

	expired = seconds == 0;
	if (seconds == 0 || seconds == UINT_MAX)
		return;
	sigaction(SIGALRM, &(struct sigaction){ .sa_handler = expire }, NULL);
	setitimer(ITIMER_REAL, &timer, NULL);
}

static void stop_timer(void)
{
	setitimer(ITIMER_REAL, &(struct itimerval){ 0 }, NULL);
}

/* 1 if it is free, 0 if it is not there. */
static int wait_for_member(const char *path, unsigned seconds, struct fail *fail)
{
	autoclose int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

	if (fd < 0 && (errno == EACCES || errno == EPERM))
		return fail_set(fail, errno, FAIL_SYSTEM, "%s: cannot be opened: %s", path, strerror(errno));
	if (fd < 0)
		return 0;
	while (flock(fd, expired ? LOCK_SH | LOCK_NB : LOCK_SH) < 0) {
		if (errno == EWOULDBLOCK)
			return fail_set(fail, EBUSY, FAIL_BUSY, "%s: still in use after %u seconds: it is mounted, or a last commit goes on",
				path, seconds);
		if (errno != EINTR)
			return fail_set(fail, errno, FAIL_SYSTEM, "%s: cannot be locked: %s", path, strerror(errno));
	}
	return 1;
}

int release_wait(const struct member_paths *paths, unsigned seconds, struct fail *fail)
{
	int found = 0, r = 0;

	start_timer(seconds);
	for (unsigned i = 0; r >= 0 && i < paths->count; i++) {
		r = wait_for_member(paths->paths[i], seconds, fail);
		found += r > 0;
	}
	stop_timer();
	if (r >= 0 && !found)
		return fail_set(fail, ENOENT, FAIL_NOT_FOUND, "no member is there to wait for");
	return r < 0 ? r : 0;
}

int release_paths(const struct control_status *status, struct member_paths *ret_paths, struct fail *fail)
{
	int r = 0;

	*ret_paths = (struct member_paths){ 0 };
	for (unsigned i = 0; !r && i < status->member_count; i++)
		if (status->members[i].role != MEMBER_UNUSED && *status->members[i].path)
			r = member_paths_add(ret_paths, status->members[i].path, fail);
	if (r < 0)
		member_paths_free(ret_paths);
	return r;
}

static bool is_ours(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && mount_is_ours(st.st_dev);
}

int release_ask_daemon(const char *mountpoint, struct control_status *ret_status, struct fail *fail)
{
	autoclose int fd = open(mountpoint, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return fail_set(fail, errno, errno == EACCES ? FAIL_SYSTEM : FAIL_NOT_FOUND, "%s: %s%s", mountpoint,
			errno == ENOTCONN ? "the mount lost its daemon; unmount it, and mount again" : strerror(errno),
			errno == EACCES ? "; only who mounted it may look, unless it was mounted with allow_other" : "");
	bool answered = ioctl(fd, CONTROL_STATUS, ret_status) == 0;
	if (!answered && !is_ours(fd))
		return fail_set(fail, ENOTTY, FAIL_NOT_FOUND, "%s: no raid5cryptfs array is mounted here", mountpoint);
	if (!answered || !control_status_valid(ret_status))
		return fail_set(fail, EPROTO, FAIL_VERSION, "%s: mounted by another version of raid5cryptfs; use the tools of that version, or "
			"unmount it, and mount it with this one", mountpoint);
	return 0;
}
