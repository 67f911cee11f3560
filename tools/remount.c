/* The kernel leaves access times to us and tells nobody of a remount, but /proc/self/mountinfo shows its flags, and who polls that file is
 * woken when any mount of this namespace changes.  Only a flag that changes counts: nodiratime of the options of the mount may be none. */
#include "tools/remount.h"

#include "tools/mounts.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct flags { bool no_atime, no_diratime; };

struct remount_watch {
	struct fs *fs;
	char *mountpoint;
	dev_t dev;
	struct flags shown, wanted;      /* as last seen; as they hold */
	int mounts_fd, end_fd;
	pthread_t thread;
};

struct search {
	const struct remount_watch *watch;
	struct flags flags;
	bool found;
};

static bool has(const char *options, const char *name)
{
	size_t length = strlen(name);

	for (const char *o = options; o; o = strchr(o, ',') ? strchr(o, ',') + 1 : NULL)
		if (!strncmp(o, name, length) && (o[length] == ',' || !o[length]))
			return true;
	return false;
}

static bool match(void *ctx, const struct mount_entry *entry)
{
	struct search *s = ctx;

	if (entry->dev == s->watch->dev && !strcmp(entry->mountpoint, s->watch->mountpoint)) {
		s->flags = (struct flags){ has(entry->options, "noatime"), has(entry->options, "nodiratime") };
		s->found = true;
	}
	return true;
}

static bool look(const struct remount_watch *watch, struct flags *ret_flags)
{
	struct search s = { .watch = watch };

	if (mounts_each(match, &s) < 0 || !s.found)
		return false;
	*ret_flags = s.flags;
	return true;
}

static void take(struct remount_watch *watch, struct flags now)
{
	if (now.no_atime != watch->shown.no_atime)
		watch->wanted.no_atime = now.no_atime;
	if (now.no_diratime != watch->shown.no_diratime)
		watch->wanted.no_diratime = now.no_diratime;
	watch->shown = now;
	fs_set_atime(watch->fs, watch->wanted.no_atime, watch->wanted.no_diratime);
}

static void *run(void *ctx)
{
	struct remount_watch *watch = ctx;
	struct pollfd fds[2] = { { .fd = watch->mounts_fd, .events = POLLPRI }, { .fd = watch->end_fd, .events = POLLIN } };

	while (poll(fds, 2, -1) >= 0 || errno == EINTR) {
		struct flags now;
		if (fds[1].revents)
			break;
		if (look(watch, &now))
			take(watch, now);
	}
	return NULL;
}

static void destroy(struct remount_watch *watch)
{
	if (watch->mounts_fd >= 0)
		close(watch->mounts_fd);
	if (watch->end_fd >= 0)
		close(watch->end_fd);
	free(watch->mountpoint);
	free(watch);
}

struct remount_watch *remount_watch_new(struct fs *fs, const char *mountpoint, bool no_atime, bool no_diratime)
{
	struct remount_watch *watch = calloc(1, sizeof *watch);

	if (!watch)
		return NULL;
	watch->fs = fs;
	watch->wanted = (struct flags){ no_atime, no_diratime };
	watch->mountpoint = strdup(mountpoint);
	watch->mounts_fd = open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC);
	watch->end_fd = eventfd(0, EFD_CLOEXEC);
	if (watch->mountpoint && watch->mounts_fd >= 0 && watch->end_fd >= 0 && mount_at(mountpoint, NULL, 0, &watch->dev)
			&& look(watch, &watch->shown) && !pthread_create(&watch->thread, NULL, run, watch))
		return watch;
	destroy(watch);
	return NULL;
}

void remount_watch_free(struct remount_watch *watch)
{
	if (!watch)
		return;
	eventfd_write(watch->end_fd, 1);
	pthread_join(watch->thread, NULL);
	destroy(watch);
}
