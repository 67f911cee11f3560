/* Running one alert program: see the header.
 *
 * It gets nothing of the daemon but what it is told: posix_spawn(3) starts it without copying memory, every descriptor from 3 on is
 * closed, standard input is /dev/null, and both outputs are a pipe.  Signals are as at login, the environment is made from nothing,
 * and it leads a session of its own, so that it can be killed with its children and has no terminal.
 *
 * The pipe is read until the program itself ends (a pidfd says when): a child that it leaves behind may hold the pipe for ever. */
#include "tools/alert_run.h"

#include "base/cleanup.h"
#include "tools/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <time.h>

#define LINES_MAX 20u
#define LINE_BYTES 256u
#define LOOK_AGAIN_MS 500            /* at `until_ms` */
#define ENVIRONMENT_MAX 9u

int64_t alert_now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* ---- The environment ---- */

struct environment {
	char *variables[ENVIRONMENT_MAX + 1];
	unsigned count;
};

static void environment_free(struct environment *e)
{
	while (e->count > 0)
		free(e->variables[--e->count]);
}

static int set(struct environment *e, const char *name, const char *value)
{
	if (asprintf(&e->variables[e->count], "%s=%s", name, value) < 0) {
		e->variables[e->count] = NULL;
		return -ENOMEM;
	}
	e->count++;
	return 0;
}

static int environment_make(struct environment *e, const struct alert_message *m)
{
	char count[24];

	snprintf(count, sizeof count, "%llu", (unsigned long long)m->count);
	if (set(e, "PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin") < 0 ||
	    set(e, "RAID5CRYPTFS_EVENT", m->event) < 0 || set(e, "RAID5CRYPTFS_ARRAY", m->array) < 0 ||
	    set(e, "RAID5CRYPTFS_UUID", m->uuid) < 0 || set(e, "RAID5CRYPTFS_MOUNTPOINT", m->mountpoint) < 0 ||
	    set(e, "RAID5CRYPTFS_MEMBER", m->member) < 0 || set(e, "RAID5CRYPTFS_MESSAGE", m->text) < 0 ||
	    set(e, "RAID5CRYPTFS_COUNT", count) < 0)
		return -ENOMEM;
	return 0;
}

/* ---- Starting ---- */

/* 0 or -errno. */
static int start_with(const char *program, const struct alert_message *m, int output, posix_spawn_file_actions_t *actions,
	posix_spawnattr_t *attributes, pid_t *ret_pid)
{
	char *arguments[] = { (char *)program, (char *)m->event, (char *)m->array, (char *)m->member, NULL };
	struct environment e cleanup(environment_free) = { 0 };
	sigset_t none, all;

	sigemptyset(&none);
	sigfillset(&all);
	int err = environment_make(&e, m) < 0 ? ENOMEM : 0;
	if (!err)
		err = posix_spawnattr_setflags(attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSID);
	if (!err)
		err = posix_spawnattr_setsigmask(attributes, &none);
	if (!err)
		err = posix_spawnattr_setsigdefault(attributes, &all);
	if (!err)
		err = posix_spawn_file_actions_addopen(actions, 0, "/dev/null", O_RDONLY, 0);
	if (!err)
		err = posix_spawn_file_actions_adddup2(actions, output, 1);
	if (!err)
		err = posix_spawn_file_actions_adddup2(actions, 1, 2);
	if (!err)
		err = posix_spawn_file_actions_addclosefrom_np(actions, 3);
	if (!err)
		err = posix_spawn_file_actions_addchdir_np(actions, "/");
	return err ? -err : -posix_spawn(ret_pid, program, actions, attributes, arguments, e.variables);
}

static int start(const char *program, const struct alert_message *m, int output, pid_t *ret_pid)
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;

	int err = posix_spawn_file_actions_init(&actions);
	if (err)
		return -err;
	err = posix_spawnattr_init(&attributes);
	int r = err ? -err : start_with(program, m, output, &actions, &attributes, ret_pid);
	if (!err)
		posix_spawnattr_destroy(&attributes);
	posix_spawn_file_actions_destroy(&actions);
	return r;
}

/* ---- What it prints ---- */

struct printed {
	void (*say)(void *ctx, const char *line);
	void *ctx;
	char line[LINE_BYTES];
	unsigned used, lines;
};

static void end_line(struct printed *p)
{
	if (p->used && p->lines < LINES_MAX) {
		p->line[p->used] = '\0';
		cli_clean(p->line);
		p->say(p->ctx, ++p->lines < LINES_MAX ? p->line : "(more is left out)");
	}
	p->used = 0;
}

/* False at the end, or if there is nothing now. */
static bool take_output(struct printed *p, int fd)
{
	char bytes[4096];
	ssize_t n = read(fd, bytes, sizeof bytes);

	for (ssize_t i = 0; i < n; i++) {
		if (bytes[i] == '\n') {
			end_line(p);
			continue;
		}
		if (p->used == sizeof p->line - 1)
			end_line(p);
		p->line[p->used++] = bytes[i] ? bytes[i] : '?';
	}
	return n > 0;
}

/* ---- Its end ---- */

/* Until it has ended (true), or its time is over. */
static bool attend(int pidfd, int output, const atomic_llong *until_ms, struct printed *p)
{
	struct pollfd fds[] = { { pidfd, POLLIN, 0 }, { output, POLLIN, 0 } };
	int64_t begin_ms = alert_now_ms();

	for (;;) {
		int64_t now_ms = alert_now_ms();
		if (now_ms - begin_ms >= ALERT_TIMEOUT_MS || now_ms >= atomic_load(until_ms))
			return false;
		int n = poll(fds, 2, LOOK_AGAIN_MS);
		if (n <= 0)
			continue;
		if (fds[1].revents && !take_output(p, output))
			fds[1].fd = -1;          /* it closed its outputs, and goes on */
		if (fds[0].revents) {
			/* A child left behind may print for ever: what is there now is what the program said. */
			for (unsigned i = 0; fds[1].fd >= 0 && i < LINES_MAX && take_output(p, output); i++)
				;
			return true;
		}
	}
}

void alert_run(const char *program, const struct alert_message *message, const atomic_llong *until_ms,
	void (*say)(void *ctx, const char *line), void *ctx, struct alert_outcome *ret_outcome)
{
	struct printed printed = { .say = say, .ctx = ctx };
	int fds[2], status;
	pid_t pid;

	*ret_outcome = (struct alert_outcome){ 0 };
	if (pipe2(fds, O_CLOEXEC) < 0) {
		ret_outcome->error = errno;
		return;
	}
	autoclose int output = fds[0];
	fcntl(output, F_SETFL, O_NONBLOCK);
	int r = start(program, message, fds[1], &pid);
	close(fds[1]);
	if (r < 0) {
		ret_outcome->error = -r;
		return;
	}
	autoclose int pidfd = pidfd_open(pid, 0);
	if (pidfd < 0)
		ret_outcome->error = errno;
	else
		ret_outcome->timed_out = !attend(pidfd, output, until_ms, &printed);
	if (pidfd < 0 || ret_outcome->timed_out)
		kill(-pid, SIGKILL);         /* it leads the group of its session */
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	end_line(&printed);
	ret_outcome->exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 0;
	ret_outcome->signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

void alert_outcome_text(const struct alert_outcome *o, char text[ALERT_OUTCOME_BYTES])
{
	if (o->error)
		snprintf(text, ALERT_OUTCOME_BYTES, "cannot be run (%s)%s", strerror(o->error), o->error == ENOENT || o->error == ENOEXEC
			? "; look at its first line: #! and the path of its interpreter" : "");
	else if (o->timed_out)
		snprintf(text, ALERT_OUTCOME_BYTES, "did not end in time, and was killed (it has %d seconds, fewer at the end of a mount)",
			ALERT_TIMEOUT_MS / 1000);
	else if (o->signal)
		snprintf(text, ALERT_OUTCOME_BYTES, "was ended by signal %d", o->signal);
	else
		snprintf(text, ALERT_OUTCOME_BYTES, "ended with exit code %d", o->exit_code);
}
