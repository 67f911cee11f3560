/* raid5cryptfs-rebuild erase: takes a disk out of its array for good, by overwriting all copies of its label.  For one that was replaced
 * while it was out, so that nobody takes it for a member, and for one that a keyless rebuild made again: that is a second disk with one
 * identity. */
#include "base/cleanup.h"
#include "raid/array.h"
#include "tools/cli.h"
#include "tools/device_check.h"
#include "tools/rebuild.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

void rebuild_erase_usage(void)
{
	fputs(
"  erase -f DISK\n"
"        Overwrites the label of DISK, so that it is no member of its array any more.  Its data stays as it is, and unreadable.\n"
"          -f, --force    do it; without, only say what DISK is\n", stdout);
}

static int parse(int argc, char **argv, bool *ret_force, const char **ret_path, struct fail *fail)
{
	static const struct option options[] = { { "force", no_argument, NULL, 'f' }, { "help", no_argument, NULL, 'h' }, { 0 } };
	int c;

	*ret_force = false;
	while ((c = getopt_long(argc, argv, "fh", options, NULL)) != -1) {
		if (c == 'h') {
			rebuild_erase_usage();
			exit(0);
		}
		if (c != 'f')
			return fail_set(fail, EINVAL, FAIL_USAGE, "the command line is wrong; see raid5cryptfs-rebuild --help");
		*ret_force = true;
	}
	if (argc - optind != 1)
		return fail_set(fail, EINVAL, FAIL_USAGE, "give one disk; see raid5cryptfs-rebuild --help");
	*ret_path = argv[optind];
	return 0;
}

static void describe(const struct probe_member *m, char *text, size_t text_bytes)
{
	char array[UUID_TEXT_BYTES], member[UUID_TEXT_BYTES], name[LABEL_NAME_BYTES + 1] = { 0 };

	uuid_format(&m->label.array, array);
	uuid_format(&m->label.member, member);
	memcpy(name, m->label.name, LABEL_NAME_BYTES);
	cli_clean(name);
	snprintf(text, text_bytes, "is a member (%s) of array \"%s\" (%s)", member, name, array);
}

static int overwrite_labels(struct disk *disk, struct fail *fail)
{
	autofree void *zeros = calloc(1, LABEL_BYTES);
	int r = zeros ? 0 : -ENOMEM;

	for (unsigned copy = 0; copy < LABEL_COPIES && !r; copy++)
		r = disk_write(disk, label_copy_offset_bytes(copy, disk->size_bytes), zeros, LABEL_BYTES);
	if (!r)
		r = disk_flush(disk);
	return r ? fail_set(fail, -r, FAIL_SYSTEM, "%s: cannot be written: %s", disk->name, strerror(-r)) : 0;
}

static void probe_freep(struct probe **probe)
{
	probe_free(*probe);
}

int rebuild_erase(int argc, char **argv, struct fail *fail)
{
	struct probe *probe cleanup(probe_freep) = NULL;
	struct disk *disk;
	const char *path = NULL;
	char text[300];
	bool force;
	int r = parse(argc, argv, &force, &path, fail);

	if (!r && force)
		r = device_check_mounted(path, fail);
	if (!r)
		r = disk_open(path, force ? DISK_READ_WRITE : DISK_READ_ONLY, DISK_ENGINE_THREADS, &disk, fail);
	if (!r)
		r = array_probe(&disk, 1, &probe, fail);
	if (r)
		return r;
	const struct probe_member *m = &probe->members[0];
	describe(m, text, sizeof text);
	if (!force)
		return fail_set(fail, EEXIST, FAIL_SIGNATURE, "%s: %s; to take it out of that for good, give --force", path, text);
	r = overwrite_labels(m->disk, fail);
	if (!r)
		printf("%s: its label was erased.  (It %s.)\n", path, text);
	return r;
}
