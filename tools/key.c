/* raid5cryptfs-key: key files and key slots. */
#include "base/cleanup.h"
#include "base/uuid.h"
#include "crypto/keyfile.h"
#include "crypto/slot.h"
#include "raid/array.h"
#include "tools/cli.h"
#include "tools/members.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static void usage(FILE *out)
{
	fputs(
"Usage: raid5cryptfs-key generate FILE\n"
"       raid5cryptfs-key list MEMBER...\n"
"generate  makes a new key file of 256 random bits, readable by you alone; never overwrites\n"
"list      shows an array's key slots; a SOURCE (array:NAME) may stand for the members\n", out);
}

static int generate(const char *path, struct fail *fail)
{
	int r = keyfile_generate(path, env_system(), fail);

	if (!r)
		printf("Made the key file %s.  Keep a copy in a safe place, away from the disks.\n", path);
	return r;
}

static void warn(void *ctx, const char *text)
{
	(void)ctx;
	cli_message("warning: %s", text);
}

static void print_slots(const struct label *label)
{
	char uuid[UUID_TEXT_BYTES], name[LABEL_NAME_BYTES];

	uuid_format(&label->array, uuid);
	snprintf(name, sizeof name, "%s", label->name);
	cli_clean(name);
	printf("Array %s (%s), %d of %d key slots in use\n", *name ? name : "without a name", uuid, slots_count(label->slots),
		SLOT_COUNT);
	for (int i = 0; i < SLOT_COUNT; i++) {
		struct slot_info info;
		char made[32] = "", memory[CLI_SIZE_TEXT_BYTES];
		struct tm tm;

		slot_describe(label->slots, i, &info);
		if (info.state == SLOT_DAMAGED)
			printf("  %2d  damaged\n", i);
		if (info.state != SLOT_USED)
			continue;
		time_t seconds = info.created_ns / 1000000000;
		strftime(made, sizeof made, "%Y-%m-%d", gmtime_r(&seconds, &tm));
		printf("  %2d  %-18s %s", i, secret_kind_name(info.kind), made);
		if (info.cost.passes)
			printf("  Argon2id %s, %u passes", cli_size(info.cost.memory_bytes, memory), info.cost.passes);
		printf("%s%s\n", *info.description ? "  " : "", info.description);
	}
}

static int list(char **arguments, int count, struct fail *fail)
{
	struct disk *disks[MEMBERS_MAX];
	struct member_paths paths = { 0 };
	struct probe *probe = NULL;
	unsigned opened;

	int r = member_paths_from_arguments(arguments, count, &paths, fail);
	if (!r)
		r = members_open(&paths, DISK_READ_ONLY, DISK_ENGINE_THREADS, warn, NULL, disks, &opened, fail);
	if (!r)
		r = array_probe(disks, opened, &probe, fail);
	member_paths_free(&paths);
	if (r < 0)
		return r;
	const struct label *best = NULL;
	for (unsigned i = 0; i < probe->count; i++) {
		const struct probe_member *m = &probe->members[i];
		if (!m->label_status && (!best || m->label.sequence > best->sequence))
			best = &m->label;
	}
	if (!best)
		r = fail_set(fail, ENOENT, FAIL_NOT_MEMBER, "no member given has a label that can be read");
	else if (best->cipher == CIPHER_NONE)
		printf("The array has cipher none: there are no keys.\n");
	else
		print_slots(best);
	probe_free(probe);
	return r;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "help", no_argument, NULL, 'h' }, { "version", no_argument, NULL, 'V' }, { 0 },
	};
	struct fail fail = { 0 };
	int c, r;

	cli_start("raid5cryptfs-key");
	while ((c = getopt_long(argc, argv, "+hV", options, NULL)) != -1) {
		if (c == 'h')
			usage(stdout);
		else if (c == 'V')
			cli_print_version();
		else
			return cli_error(FAIL_USAGE, "the command line is wrong; see raid5cryptfs-key --help");
		return 0;
	}
	const char *command = argv[optind];
	int count = argc - optind - 1;
	if (command && !strcmp(command, "generate") && count == 1)
		r = cli_protect_memory(&fail);
	else if (command && !strcmp(command, "list") && count >= 1)
		r = 0;
	else
		return cli_error(FAIL_USAGE, "give a command and what it needs: generate FILE, or list MEMBER...; see --help");
	if (!r)
		r = !strcmp(command, "generate") ? generate(argv[optind + 1], &fail) : list(argv + optind + 1, count, &fail);
	if (r < 0)
		return cli_fail(&fail);
	return cli_finish(0);
}
