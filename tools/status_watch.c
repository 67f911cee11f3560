/* raid5cryptfs-status --watch: see the header.
 *
 * Each round is made in memory and written in one piece.  On a terminal it goes over the one before: the cursor goes home, each line
 * clears its rest, and the last one what is below, so that nothing flickers.
 *
 * The handler of SIGINT leaves at once with the exit code of the last round: whatever the program is doing then, it only reads. */
#include "tools/status_watch.h"

#include "base/cleanup.h"
#include "tools/cli.h"
#include "tools/mounts.h"
#include "tools/status_print.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define HOME "\033[H"
#define CLEAR_LINE "\033[K"
#define CLEAR_BELOW "\033[J"

static volatile sig_atomic_t last_code;
static struct status_pace pace;

static void leave(int signal_number)
{
	(void)signal_number;
	_exit(last_code);
}

static void print_over(const char *text, unsigned seconds)
{
	time_t now = time(NULL);
	struct tm local;
	char clock[16] = "";

	if (localtime_r(&now, &local))
		strftime(clock, sizeof clock, "%H:%M:%S", &local);
	printf(HOME "%s, every %u s; Ctrl-C ends" CLEAR_LINE "\n" CLEAR_LINE "\n", clock, seconds);
	for (; *text; text++) {
		if (*text == '\n')
			fputs(CLEAR_LINE, stdout);
		putchar(*text);
	}
	fputs(CLEAR_BELOW, stdout);
}

static int show(struct status_request *request, bool first)
{
	autofree char *text = NULL;
	size_t bytes;
	struct timespec now;
	FILE *out = open_memstream(&text, &bytes);

	if (!out)
		return -errno;
	clock_gettime(CLOCK_MONOTONIC, &now);
	request->list.pace = &pace;
	request->list.now_ms = (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
	if (request->json)
		status_print_json(&request->list, out);
	else
		status_print_text(&request->list, out);
	if (fclose(out))
		return -ENOMEM;
	if (request->json)
		fputs(text, stdout);
	else if (isatty(STDOUT_FILENO))
		print_over(text, request->watch_seconds);
	else
		printf("%s%s", first ? "" : "\n", text);
	return fflush(stdout) ? -errno : 0;
}

/* Is one of them a mount point no more? */
static const char *unmounted(char **paths, int count)
{
	char type[64];

	for (int i = 0; i < count; i++)
		if (paths[i] && (!mount_at(paths[i], type, sizeof type, NULL) || !mount_type_is_ours(type)))
			return paths[i];
	return NULL;
}

/* NULL for what is no mount point of ours. */
static char **mount_points(char **arguments, int count)
{
	char **paths = calloc((size_t)count + 1, sizeof *paths);
	char type[64];

	for (int i = 0; paths && i < count; i++) {
		paths[i] = realpath(arguments[i], NULL);
		if (paths[i] && (!mount_at(paths[i], type, sizeof type, NULL) || !mount_type_is_ours(type))) {
			free(paths[i]);
			paths[i] = NULL;
		}
	}
	return paths;
}

static int round_of(struct status_request *request, char **arguments, int count, bool first)
{
	struct fail fail = { 0 };

	request->exit_code = 0;
	request->refused = false;
	int r = status_collect(request, arguments, count, &fail);
	if (!r) {
		last_code = request->exit_code;  /* before anybody can see what it stands for */
		r = show(request, first);
	}
	status_list_free(&request->list);
	if (!r)
		return 0;
	request->exit_code = fail.code == FAIL_NONE ? cli_error(FAIL_SYSTEM, "%s", strerror(-r)) : cli_fail(&fail);
	return r;
}

int status_watch(struct status_request *request, char **arguments, int count)
{
	char **paths = mount_points(arguments, count);
	const char *gone = NULL;

	if (!paths)
		return cli_error(FAIL_SYSTEM, "out of memory");
	sigaction(SIGINT, &(struct sigaction){ .sa_handler = leave }, NULL);
	sigaction(SIGTERM, &(struct sigaction){ .sa_handler = leave }, NULL);
	for (bool first = true; ; first = false) {
		gone = first ? NULL : unmounted(paths, count);
		if (gone)
			break;
		if (round_of(request, arguments, count, first) < 0) {
			gone = first ? NULL : unmounted(paths, count);
			break;
		}
		sleep(request->watch_seconds);
	}
	if (gone)
		cli_message("%s: was unmounted", gone);
	int code = gone ? last_code : request->exit_code;
	for (int i = 0; i < count; i++)
		free(paths[i]);
	free(paths);
	return code;
}
