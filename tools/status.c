/* raid5cryptfs-status: arrays, their members and their health.
 *
 * What is to be shown is collected (status_collect.c) and then printed (status_print.c), once or again and again (status_watch.c). */
#include "tools/cli.h"
#include "tools/status_collect.h"
#include "tools/status_print.h"
#include "tools/status_watch.h"

#include <getopt.h>
#include <limits.h>
#include <unistd.h>

#define WATCH_SECONDS 2u

static void usage(FILE *out)
{
	fputs(
"Usage: raid5cryptfs-status [OPTION...] [MOUNTPOINT...]\n"
"       raid5cryptfs-status [OPTION...] MEMBER...\n"
"Shows arrays and their members; with no argument all that are mounted or found on block devices here.\n"
"\n"
"  -j, --json            as JSON\n"
"  -m, --mounted         with no argument: mounted ones only, devices are not searched\n"
"  -k, --key-file PATH   unlock members that are not mounted, to tell the space in use (- is standard input)\n"
"  -w, --wait[=SECONDS]  wait first until no daemon writes the members any more: an unmount is complete\n"
"      --watch[=SECONDS] show it again each 2 or so many seconds, until Ctrl-C or the unmount\n"
"  -h, --help            this text\n"
"  -V, --version         the version\n"
"Exit code: 0 all is well, 20 degraded, 21 an array cannot be mounted or has failed; others see the manual.\n", out);
}

static int check(const struct status_request *request, int count)
{
	if (request->watch && request->wait)
		return cli_error(FAIL_USAGE, "--watch and --wait: one of them at a time");
	if (request->watch && request->key_file)
		return cli_error(FAIL_USAGE, "--watch: shows what can be told without a key; leave out --key-file");
	if (request->mounted_only && count)
		return cli_error(FAIL_USAGE, "--mounted: shows all that are mounted; leave out the mount points and members, or the option");
	return 0;
}

static int show_once(struct status_request *request, char **arguments, int count)
{
	struct fail fail = { 0 };

	int r = status_collect(request, arguments, count, &fail);
	if (!r && request->json)
		status_print_json(&request->list, stdout);
	else if (!r)
		status_print_text(&request->list, stdout);
	status_list_free(&request->list);
	if (r < 0)
		return cli_fail(&fail);
	return cli_finish(request->exit_code);
}

/* "--watch 5" means "--watch=5": no array has members of such names, unless there is a file. */
static char *detached_seconds(char **argv)
{
	unsigned seconds;

	if (!argv[optind] || cli_parse_seconds(argv[optind], 1, &seconds) < 0 || !access(argv[optind], F_OK))
		return NULL;
	return argv[optind++];
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "json", no_argument, NULL, 'j' }, { "mounted", no_argument, NULL, 'm' }, { "key-file", required_argument, NULL, 'k' },
		{ "wait", optional_argument, NULL, 'w' }, { "watch", optional_argument, NULL, 'W' },
		{ "help", no_argument, NULL, 'h' }, { "version", no_argument, NULL, 'V' }, { 0 },
	};
	struct status_request request = { .wait_seconds = UINT_MAX, .watch_seconds = WATCH_SECONDS };
	int c;

	cli_start("raid5cryptfs-status");
	while ((c = getopt_long(argc, argv, "jmk:w::hV", options, NULL)) != -1) {
		switch (c) {
		case 'j':
			request.json = true;
			break;
		case 'm':
			request.mounted_only = true;
			break;
		case 'k':
			request.key_file = optarg;
			break;
		case 'w':
			request.wait = true;
			if (optarg && cli_parse_seconds(optarg, 0, &request.wait_seconds) < 0)
				return cli_error(FAIL_USAGE, "--wait=%s: not a number of seconds up to 86400", optarg);
			break;
		case 'W':
			request.watch = true;
			if (!optarg)
				optarg = detached_seconds(argv);
			if (optarg && cli_parse_seconds(optarg, 1, &request.watch_seconds) < 0)
				return cli_error(FAIL_USAGE, "--watch=%s: not a number of seconds from 1 to 86400", optarg);
			break;
		case 'h':
			usage(stdout);
			return 0;
		case 'V':
			cli_print_version();
			return 0;
		default:
			return cli_error(FAIL_USAGE, "the command line is wrong; see raid5cryptfs-status --help");
		}
	}
	int code = check(&request, argc - optind);
	if (code)
		return code;
	if (request.watch)
		return status_watch(&request, argv + optind, argc - optind);
	return show_once(&request, argv + optind, argc - optind);
}
