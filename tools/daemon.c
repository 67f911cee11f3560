/* The process around a mount: see the header.
 *
 * Background: the child keeps the terminal until it is mounted, so that it can ask for a passphrase and print what goes
 * wrong; a pipe carries only its exit code.  The parent leaves with 0 when it reads 0.
 *
 * Ending on a signal: an unmount makes the kernel write back, and this very process must serve that.  So another
 * process (it may wait in the kernel for us, and must not be a thread of ours, or a kill would wait for ever) calls
 * syncfs, detaches the mount, and writes back once more.  That is the end if nothing was open; else the loop is ended.
 * It does so wherever the filesystem is mounted by then: it may have been moved, or bound to other places.  What somebody
 * mounted over it is none of ours. */
#include "tools/daemon.h"

#include "fs/fuse/fuse.h"
#include "tools/alert_kinds.h"
#include "tools/cli.h"
#include "tools/mounts.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <syslog.h>
#include <unistd.h>

/* More than threads of the largest machines need; a program that is told of alerts may go through all that it could have. */
#define DESCRIPTORS_MAX 65536u

static int ready_pipe = -1;              /* child: the parent waits at its other end */
static int null_fd = -1;                 /* child: opened while there are descriptors for certain */
static atomic_bool detached;

static struct {
	struct fuse_server *server;
	char *mountpoint;
	pthread_t thread, loop_thread;
	atomic_bool loop_ended;
	bool running;
} watch;

static _Noreturn void wait_for_child(pid_t child, int fd)
{
	uint8_t code;
	ssize_t n;
	int status;

	do
		n = read(fd, &code, 1);
	while (n < 0 && errno == EINTR);
	if (n == 1)
		_exit(code);
	while (waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	if (WIFEXITED(status))
		_exit(WEXITSTATUS(status));
	cli_message("the mount process was ended by signal %d; nothing is mounted", WTERMSIG(status));
	_exit(FAIL_SYSTEM);
}

static void raise_limit(int resource, rlim_t wanted)
{
	struct rlimit limit;

	if (getrlimit(resource, &limit) < 0 || limit.rlim_cur >= wanted)
		return;
	limit.rlim_cur = limit.rlim_max < wanted ? limit.rlim_max : wanted;
	setrlimit(resource, &limit);
}

/* Limits are meant for programs that work for one user, and the whole filesystem would fail at them: each thread has descriptors of its
 * own, and members that are files are longer than most.  Beyond its hard limit a write fails, and does not end the daemon. */
static void widen_limits(void)
{
	raise_limit(RLIMIT_NOFILE, DESCRIPTORS_MAX);
	raise_limit(RLIMIT_FSIZE, RLIM_INFINITY);
	signal(SIGXFSZ, SIG_IGN);
	/* libfuse ends its threads by pthread_cancel(3), which loads this; with no descriptor left it aborts, before the last commit. */
	dlopen("libgcc_s.so.1", RTLD_NOW);
}

void daemon_start(bool foreground)
{
	int fds[2];

	widen_limits();
	if (foreground)
		return;
	null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null_fd < 0 || pipe2(fds, O_CLOEXEC) < 0) {
		cli_message("cannot go into the background: %s", strerror(errno));
		exit(FAIL_SYSTEM);
	}
	pid_t child = fork();
	if (child < 0) {
		cli_message("cannot go into the background: %s", strerror(errno));
		exit(FAIL_SYSTEM);
	}
	if (child > 0) {
		close(fds[1]);
		wait_for_child(child, fds[0]);
	}
	close(fds[0]);
	ready_pipe = fds[1];
	/* Whoever ends the program that he sees does not want the mount any more. */
	prctl(PR_SET_PDEATHSIG, SIGTERM);
}

void daemon_ready(void)
{
	if (ready_pipe < 0)
		return;
	openlog("raid5cryptfs", LOG_PID, LOG_DAEMON);
	atomic_store(&detached, true);
	setsid();
	if (chdir("/") < 0)
		daemon_log(LOG_WARNING, "cannot change to the root directory");
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		dup2(null_fd, fd);
	close(null_fd);
	prctl(PR_SET_PDEATHSIG, 0);
	ssize_t n = write(ready_pipe, &(uint8_t){ 0 }, 1);
	(void)n;                         /* a parent that was killed does not matter to the mount */
	close(ready_pipe);
	ready_pipe = -1;
}

void daemon_log(int priority, const char *text)
{
	if (atomic_load(&detached))
		syslog(priority, "%s", text);
	else
		cli_message("%s%s", priority == LOG_WARNING ? "warning: " : "", text);
}

void daemon_event(void *ctx, const struct event *event)
{
	(void)ctx;
	daemon_log(alert_kind_of(event->kind)->priority, event->text);
}

/* ---- The end ---- */

static void nothing(int signal_number)
{
	(void)signal_number;
}

static sigset_t ending_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	return set;
}

void daemon_block_signals(void)
{
	sigset_t set = ending_signals();

	pthread_sigmask(SIG_BLOCK, &set, NULL);
	sigaction(SIGUSR1, &(struct sigaction){ .sa_handler = nothing }, NULL);
	signal(SIGPIPE, SIG_IGN);
}

void daemon_unblock_signals(void)
{
	sigset_t set = ending_signals();

	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

/* In the helper: async-signal-safe calls only, since it was forked from many threads. */
static int fusermount(const char *flags, const char *mountpoint)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		execlp("fusermount3", "fusermount3", flags, "--", mountpoint, (char *)NULL);
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, &status, 0) < 0)
		return -1;
	return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -1;
}

/* Where the filesystem is mounted. */
struct places {
	dev_t device;
	char **paths;
	unsigned count;
};

static bool add_place(void *ctx, const struct mount_entry *entry)
{
	struct places *places = ctx;

	if (entry->dev != places->device)
		return true;
	char **paths = reallocarray(places->paths, places->count + 1, sizeof *paths);
	if (!paths)
		return false;
	places->paths = paths;
	paths[places->count] = strdup(entry->mountpoint);
	if (!paths[places->count])
		return false;
	places->count++;
	return true;
}

static void detach(const char *path)
{
	if (umount2(path, UMOUNT_NOFOLLOW | MNT_DETACH) < 0)
		fusermount("-uqz", path);
}

static _Noreturn void helper(const struct places *places)
{
	sigset_t none;
	int fd = -1;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	/* The descriptors of the session and of the members must not outlive the daemon in here. */
	close_range(3, ~0U, 0);
	for (unsigned i = 0; i < places->count && fd < 0; i++)
		if (fuse_device_at(AT_FDCWD, places->paths[i]) == places->device)
			fd = open(places->paths[i], O_RDONLY | O_CLOEXEC);
	if (fd >= 0)
		syncfs(fd);
	for (unsigned i = places->count; i-- > 0;)
		if (fuse_device_at(AT_FDCWD, places->paths[i]) == places->device)
			detach(places->paths[i]);
	if (fd >= 0)
		syncfs(fd);
	_exit(0);
}

static void *watch_thread(void *ctx)
{
	sigset_t set = ending_signals();
	struct places places = { .device = fuse_server_device(watch.server) };
	int signal_number;

	(void)ctx;
	if (sigwait(&set, &signal_number) || atomic_load(&watch.loop_ended))
		return NULL;
	daemon_log(LOG_NOTICE, "asked to end: writing everything back and unmounting");
	if (mounts_each(add_place, &places) < 0)
		add_place(&places, &(struct mount_entry){ .dev = places.device, .mountpoint = watch.mountpoint });
	pid_t pid = fork();
	if (pid == 0)
		helper(&places);
	if (pid > 0)
		waitpid(pid, NULL, 0);
	for (unsigned i = 0; i < places.count; i++)
		free(places.paths[i]);
	free(places.paths);
	if (!atomic_load(&watch.loop_ended))
		fuse_server_stop(watch.server);
	/* The loop waits on a semaphore, and looks at the request to stop only when it wakes. */
	while (!atomic_load(&watch.loop_ended)) {
		pthread_kill(watch.loop_thread, SIGUSR1);
		usleep(50000);
	}
	return NULL;
}

int daemon_watch_signals(struct fuse_server *server, const char *mountpoint)
{
	watch.server = server;
	watch.mountpoint = strdup(mountpoint);
	watch.loop_thread = pthread_self();
	if (!watch.mountpoint)
		return -ENOMEM;
	int err = pthread_create(&watch.thread, NULL, watch_thread, NULL);
	watch.running = !err;
	return -err;
}

void daemon_loop_ended(void)
{
	atomic_store(&watch.loop_ended, true);
}

void daemon_unwatch_signals(void)
{
	if (!watch.running)
		return;
	daemon_loop_ended();
	pthread_kill(watch.thread, SIGTERM);
	pthread_join(watch.thread, NULL);
	free(watch.mountpoint);
	watch.running = false;
}
