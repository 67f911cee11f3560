/* raid5cryptfs-rebuild: what is done to the members of an array, when one is lost above all.  Subcommands are in files of their own. */
#include "tools/rebuild.h"

#include "base/cleanup.h"
#include "tools/cli.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>

volatile sig_atomic_t rebuild_stopped;

static const struct command {
	const char *name;
	int (*run)(int argc, char **argv, struct fail *fail);
	void (*usage)(void);
} commands[] = {
	{ "add", rebuild_add, rebuild_add_usage },
	{ "readd", rebuild_readd, rebuild_readd_usage },
	{ "fail", rebuild_fail, rebuild_fail_usage },
	{ "replace", rebuild_replace, rebuild_replace_usage },
	{ "spare", rebuild_spare, rebuild_spare_usage },
	{ "remove", rebuild_remove, rebuild_remove_usage },
	{ "erase", rebuild_erase, rebuild_erase_usage },
	{ "keyless", rebuild_keyless, rebuild_keyless_usage },
};

static void usage(void)
{
	printf("Usage: raid5cryptfs-rebuild COMMAND [OPTION...] ARGUMENT...\n\n");
	for (unsigned i = 0; i < ARRAY_COUNT(commands); i++)
		commands[i].usage();
	printf("\nARRAY is the mount point, or, of one that is not mounted, the members: M1:M2:M3 or array:NAME.  Then the command returns when all\n"
		"is done, and takes\n"
		"          -k, --key-file FILE  unlock with this file (- is standard input) instead of a passphrase\n"
		"\n  -h, --help           this text\n  -V, --version        the version\n");
}

static void stop(int signal_number)
{
	(void)signal_number;
	rebuild_stopped = 1;
}

static const struct command *find(const char *name)
{
	for (unsigned i = 0; i < ARRAY_COUNT(commands); i++)
		if (!strcmp(commands[i].name, name))
			return &commands[i];
	return NULL;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "help", no_argument, NULL, 'h' }, { "version", no_argument, NULL, 'V' }, { 0 },
	};
	struct fail fail = { 0 };
	int c;

	cli_start("raid5cryptfs-rebuild");
	while ((c = getopt_long(argc, argv, "+hV", options, NULL)) != -1) {
		if (c == 'h')
			usage();
		else if (c == 'V')
			cli_print_version();
		else
			return cli_error(FAIL_USAGE, "the command line is wrong; see raid5cryptfs-rebuild --help");
		return 0;
	}
	if (optind == argc)
		return cli_error(FAIL_USAGE, "give a command; see raid5cryptfs-rebuild --help");
	const struct command *command = find(argv[optind]);
	if (!command)
		return cli_error(FAIL_USAGE, "%s: is no command; see raid5cryptfs-rebuild --help", argv[optind]);
	sigaction(SIGINT, &(struct sigaction){ .sa_handler = stop }, NULL);
	sigaction(SIGTERM, &(struct sigaction){ .sa_handler = stop }, NULL);
	signal(SIGPIPE, SIG_IGN);
	argc -= optind;
	argv += optind;
	optind = 0;                      /* getopt begins anew */
	int r = command->run(argc, argv, &fail);
	if (r < 0)
		return cli_fail(&fail);
	return cli_finish(0);
}
