/* raid5cryptfs-rebuild keyless: the missing member is made again on another disk, from all others, with no key and while nothing is
 * mounted (raid/array_keyless.h).
 *
 * The others are opened for reading only, under an exclusive lock: so no mount and no second rebuild runs at the same time, and
 * nothing can be written to them. Nothing is written to the target before every check has passed. */
#include "base/cleanup.h"
#include "raid/array_keyless.h"
#include "tools/cli.h"
#include "tools/device_check.h"
#include "tools/progress.h"
#include "tools/rebuild.h"
#include "tools/unused.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <unistd.h>

struct request {
	bool force, dry_run;
	const char *target;
	struct member_paths members, all;        /* all: the target too */
	struct progress progress;
};

void rebuild_keyless_usage(void)
{
	fputs(
"  keyless [-f] [-n] TARGET MEMBER...\n"
"        Makes the missing member again on TARGET, from all other members, without a key.  The array must not be mounted.\n"
"        What is on TARGET is lost.\n"
"          -f, --force    go on although TARGET carries a signature of something else, or is the missing member's own old disk\n"
"          -n, --dry-run  only check, and say what would be done\n", stdout);
}

static int parse_command_line(int argc, char **argv, struct request *request, struct fail *fail)
{
	static const struct option options[] = {
		{ "force", no_argument, NULL, 'f' }, { "dry-run", no_argument, NULL, 'n' }, { "help", no_argument, NULL, 'h' }, { 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "fnh", options, NULL)) != -1) {
		switch (c) {
		case 'f':
			request->force = true;
			break;
		case 'n':
			request->dry_run = true;
			break;
		case 'h':
			rebuild_keyless_usage();
			exit(0);
		default:
			return fail_set(fail, EINVAL, FAIL_USAGE, "the command line is wrong; see raid5cryptfs-rebuild --help");
		}
	}
	if (argc - optind < 2)
		return fail_set(fail, EINVAL, FAIL_USAGE, "give the target, and then all other members; see raid5cryptfs-rebuild --help");
	int r = member_paths_add(&request->all, argv[optind], fail);
	if (!r)
		r = member_paths_from_arguments(argv + optind + 1, argc - optind - 1, &request->members, fail);
	for (unsigned i = 0; !r && i < request->members.count; i++)
		r = member_paths_add(&request->all, request->members.paths[i], fail);
	if (!r)
		request->target = request->all.paths[0];
	return r ? r : member_paths_check_duplicates(&request->all, fail);
}

static bool show_progress(void *ctx, uint64_t done_bytes, uint64_t total_bytes)
{
	struct request *request = ctx;

	progress_show(&request->progress, "rebuild", done_bytes, total_bytes);
	return !rebuild_stopped;
}

static int open_target(const struct request *request, const struct keyless_plan *plan, struct disk **ret_disk, struct fail *fail)
{
	struct disk *disk;
	int r = device_check_mounted(request->target, fail);

	if (!r)
		r = disk_open(request->target, DISK_READ_WRITE, DISK_ENGINE_AUTO, &disk, fail);
	if (r < 0)
		return r;
	r = keyless_check_target(plan, disk, request->force, fail);
	if (!r && !request->force)
		r = device_check_signature(disk, fail);
	if (r < 0)
		disk_close(disk);
	else
		*ret_disk = disk;
	return r;
}

static void print_plan(const struct request *request, const struct keyless_plan *plan)
{
	char uuid[UUID_TEXT_BYTES], size[CLI_SIZE_TEXT_BYTES];

	uuid_format(&plan->uuid, uuid);
	printf("Array %s: member %u (UUID %s) %s made again on %s, %s from %u others.\n",
		*plan->label.name ? plan->label.name : "without a name", plan->member + 1, uuid, request->dry_run ? "would be" : "is",
		request->target, cli_size(plan->copy_bytes, size), request->members.count);
	fflush(stdout);
}

static void print_result(const struct request *request, const struct keyless_plan *plan)
{
	printf("Done: %s is the member now.\n", request->target);
	printf("The array has its redundancy back only when it has been mounted once: do that now, with %s among the members.\n",
		request->target);
	if (plan->state != MEMBER_IN_SYNC)
		printf("What was written while the member was missing is then verified, which raid5cryptfs-status shows as being caught up.\n");
	printf("Keep the disk that it replaces away from this array, or wipe it: two disks are the same member now.\n"
		"Without the key nothing could be verified; when it is convenient, let fsck.raid5cryptfs -n --data read everything.\n");
}

static int rebuild(struct request *request, const struct keyless_plan *plan, struct fail *fail)
{
	struct keyless_options options = { .progress = show_progress, .ctx = request };
	struct disk *target;

	int r = open_target(request, plan, &target, fail);
	if (r < 0)
		return r;
	print_plan(request, plan);
	if (!request->dry_run) {
		r = keyless_rebuild(plan, target, &options, fail);
		progress_clear(&request->progress);
	}
	disk_close(target);
	if (r < 0)
		return r;
	if (request->dry_run)
		printf("Nothing was written.\n");
	else
		print_result(request, plan);
	return 0;
}

int rebuild_keyless(int argc, char **argv, struct fail *fail)
{
	struct request request = { .progress = { .fd = -1, .bar = isatty(STDERR_FILENO) } };
	struct keyless_plan *plan = NULL;
	struct probe *probe = NULL;

	int r = parse_command_line(argc, argv, &request, fail);
	if (!r)
		r = probe_unused(&request.members, true, &probe, fail);
	if (!r)
		r = keyless_plan(probe, &plan, fail);
	if (!r)
		r = rebuild(&request, plan, fail);
	keyless_plan_free(plan);
	probe_free(probe);
	member_paths_free(&request.members);
	member_paths_free(&request.all);
	return r;
}
