/* raid5cryptfs-scrub: reads and verifies everything that is in use on a mounted array, with its parity, and heals what is damaged.
 * The daemon does it in the background (fs/upkeep/scrub.h); this asks for it and shows how far it is. */
#include "base/cleanup.h"
#include "fs/control.h"
#include "tools/cli.h"
#include "tools/progress.h"
#include "tools/release.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define EXIT_FOUND 32            /* damage was found and healed … */
#define EXIT_LOST 33             /* … or not to be healed */

static volatile sig_atomic_t stopped;

static const struct command { const char *name; int action; const char *done; } commands[] = {
	{ "start", SCRUB_START, "The scrub has begun" }, { "pause", SCRUB_PAUSE, "The scrub is paused" },
	{ "resume", SCRUB_RESUME, "The scrub goes on" }, { "stop", SCRUB_STOP, "The scrub is stopped" }, { "status", -1, NULL },
};

static void usage(void)
{
	fputs(
"Usage: raid5cryptfs-scrub COMMAND [-w] MOUNTPOINT\n"
"\n"
"  start    read and verify everything in use, with its parity, and heal what is damaged\n"
"  pause    interrupt it; resume goes on where it was\n"
"  resume\n"
"  stop     end it\n"
"  status   how far it is, and what it found\n"
"\n"
"  -s, --speed SIZE  with start and resume: at most so many bytes of each member a second, until it ends; rebuilds too, until the unmount\n"
"  -w, --wait      with start and resume: return only at its end, with the exit code of status\n"
"  -n, --if-none   with start: if one is running or paused already, leave it so, and do as if it had just been started\n"
"  -h, --help      this text\n"
"  -V, --version   the version\n"
"\n"
"Exit code of status: 0: nothing was found; 32: damage was found, and healed; 33: something could not be healed, or verified.\n", stdout);
}

static void stop(int signal_number)
{
	(void)signal_number;
	stopped = 1;
}

static int ask(const char *mountpoint, int action, uint64_t speed_bytes, struct fail *fail)
{
	autoclose int fd = open(mountpoint, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct control_change change = { .version = CONTROL_VERSION, .action = CONTROL_SCRUB, .scrub = (uint32_t)action,
		.speed_bytes = speed_bytes };

	if (fd < 0 || ioctl(fd, CONTROL_CHANGE, &change) < 0)
		return fail_set(fail, errno, FAIL_SYSTEM, "%s: %s", mountpoint, errno == EPERM ?
			"only root and who mounted it may scrub it" : strerror(errno));
	change.text[sizeof change.text - 1] = '\0';
	return change.code == FAIL_NONE ? 0 : fail_set(fail, EIO, change.code, "%s: %s", mountpoint, change.text);
}

static void print_members(const struct control_status *status, const struct scrub_result *r)
{
	char uuid[UUID_TEXT_BYTES];

	for (unsigned i = 0; i < status->member_count; i++) {
		const struct control_member *m = &status->members[i];
		uint64_t units = m->role == MEMBER_UNUSED ? 0 : scrub_result_units(r, &m->uuid);
		if (units)
			printf("member %u: %llu units damaged\n", i + 1, (unsigned long long)units);
	}
	for (unsigned i = 0; i < MEMBERS_MAX; i++) {
		const struct scrub_units *m = &r->members[i];
		if (!m->units || control_status_index(status, &m->member) >= 0)
			continue;
		uuid_format(&m->member, uuid);
		printf("former member %s: %llu units damaged\n", uuid, (unsigned long long)m->units);
	}
	if (r->unclear)
		printf("of %llu of the damaged rows it cannot be told which member was wrong\n", (unsigned long long)r->unclear);
}

static void print_found(const struct control_status *status, const struct scrub_result *r)
{
	printf("rows: %llu verified, %llu of them damaged\n", (unsigned long long)r->rows, (unsigned long long)r->damaged);
	print_members(status, r);
	if (r->unreadable)
		printf("lost: %llu records; the system log names the files\n", (unsigned long long)r->unreadable);
	if (r->tree_errors)
		printf("not verified: what %llu places of the trees lead to, since they cannot be read; unmount the array and run "
			"fsck.raid5cryptfs\n", (unsigned long long)r->tree_errors);
}

static void print_status(const struct control_status *status)
{
	const struct scrub_status *s = &status->scrub;
	static const char *const states[] = { "none yet", "running", "paused", "stopped", "finished" };
	char done[CLI_SIZE_TEXT_BYTES], total[CLI_SIZE_TEXT_BYTES], began[CLI_TIME_TEXT_BYTES], ended[CLI_TIME_TEXT_BYTES];

	printf("scrub: %s%s\n", s->state < ARRAY_COUNT(states) ? states[s->state] : "unknown",
		s->waits ? ", but does not get on now: the array is read-only, or raid5cryptfs-status says why" : "");
	if (s->state == SCRUB_NONE)
		return;
	printf("began: %s%s%s\n", cli_time(s->now.began_ns, began), s->now.ended_ns ? ", ended: " : "",
		s->now.ended_ns ? cli_time(s->now.ended_ns, ended) : "");
	if (s->speed_bytes)
		printf("limit: %s a second of each member\n", cli_size(s->speed_bytes, total));
	printf("verified: about %s of %s\n", cli_size(s->done_bytes, done), cli_size(s->total_bytes, total));
	print_found(status, &s->now);
	if (!s->has_last || s->state == SCRUB_FINISHED)
		return;
	printf("\nthe last one that went through began: %s, ended: %s\n", cli_time(s->last.began_ns, began), cli_time(s->last.ended_ns, ended));
	print_found(status, &s->last);
}

static int exit_code(const struct scrub_status *s)
{
	return s->now.unreadable || s->now.tree_errors ? EXIT_LOST : s->now.damaged ? EXIT_FOUND : 0;
}

/* 0 or an exit code. */
static int wait_for_end(const char *mountpoint)
{
	struct progress progress = { .fd = -1, .bar = isatty(STDERR_FILENO) };
	struct control_status status;
	struct fail fail = { 0 };
	int r;

	while (!(r = release_ask_daemon(mountpoint, &status, &fail)) && status.scrub.state == SCRUB_RUNNING && !stopped) {
		progress_show(&progress, "scrub", status.scrub.done_bytes, status.scrub.total_bytes);
		progress_wait(&progress);
	}
	progress_clear(&progress);
	if (r < 0)
		return cli_fail(&fail);
	if (stopped)
		return cli_error(FAIL_SYSTEM, "no longer waiting; the scrub goes on");
	print_status(&status);
	return exit_code(&status.scrub);
}

static bool is_under_way(const struct control_status *status)
{
	return status->scrub.state == SCRUB_RUNNING || status->scrub.state == SCRUB_PAUSED;
}

struct request { uint64_t speed_bytes; bool wait, if_none; };

static int run(const struct command *command, const char *mountpoint, const struct request *request)
{
	struct control_status status;
	struct fail fail = { 0 };

	int r = release_ask_daemon(mountpoint, &status, &fail);
	bool leave = !r && request->if_none && is_under_way(&status);
	if (!r && command->action >= 0 && !leave)
		r = ask(mountpoint, command->action, request->speed_bytes, &fail);
	if (r < 0)
		return cli_fail(&fail);
	if (command->action < 0) {
		print_status(&status);
		return exit_code(&status.scrub);
	}
	if (leave)
		printf("A scrub is %s already.\n", status.scrub.state == SCRUB_RUNNING ? "running" : "paused");
	if (request->wait)
		return wait_for_end(mountpoint);
	if (!leave)
		printf("%s.\n", command->done);
	return 0;
}

/* 0; or an exit code; -1: the text was printed that was asked for. */
static int read_options(int argc, char **argv, struct request *request)
{
	static const struct option options[] = {
		{ "speed", required_argument, NULL, 's' }, { "wait", no_argument, NULL, 'w' }, { "if-none", no_argument, NULL, 'n' },
		{ "help", no_argument, NULL, 'h' }, { "version", no_argument, NULL, 'V' }, { 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "s:wnhV", options, NULL)) != -1) {
		if (c == 'h')
			usage();
		else if (c == 'V')
			cli_print_version();
		else if (c == 's' && cli_parse_speed(optarg, &request->speed_bytes) < 0)
			return cli_error(FAIL_USAGE, "--speed %s: not a size of at least 64K (for each second), as in --speed 50M", optarg);
		else if (c == '?')
			return cli_error(FAIL_USAGE, "the command line is wrong; see raid5cryptfs-scrub --help");
		if (c == 'h' || c == 'V')
			return -1;
		request->wait |= c == 'w';
		request->if_none |= c == 'n';
	}
	return argc - optind == 2 ? 0 : cli_error(FAIL_USAGE, "give a command and a mount point; see raid5cryptfs-scrub --help");
}

int main(int argc, char **argv)
{
	const struct command *command = NULL;
	struct request request = { 0 };

	cli_start("raid5cryptfs-scrub");
	int code = read_options(argc, argv, &request);
	if (code)
		return code < 0 ? 0 : code;
	for (unsigned i = 0; i < ARRAY_COUNT(commands); i++)
		if (!strcmp(commands[i].name, argv[optind]))
			command = &commands[i];
	if (!command)
		return cli_error(FAIL_USAGE, "%s: is no command; see raid5cryptfs-scrub --help", argv[optind]);
	if ((request.wait || request.speed_bytes) && command->action != SCRUB_START && command->action != SCRUB_RESUME)
		return cli_error(FAIL_USAGE, "--wait and --speed go with start and resume only");
	if (request.if_none && command->action != SCRUB_START)
		return cli_error(FAIL_USAGE, "--if-none goes with start only");
	sigaction(SIGINT, &(struct sigaction){ .sa_handler = stop }, NULL);
	sigaction(SIGTERM, &(struct sigaction){ .sa_handler = stop }, NULL);
	code = run(command, argv[optind + 1], &request);
	return cli_finish(code);
}
