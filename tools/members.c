/* Which disks: see the header.  The search for them is in members_find.c. */
#include "tools/members.h"

#include "base/cleanup.h"
#include "fs/control.h"
#include "tools/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define ARRAY_PREFIX "array:"

void member_paths_free(struct member_paths *paths)
{
	for (unsigned i = 0; i < paths->count; i++)
		free(paths->paths[i]);
	paths->count = 0;
}

int member_paths_add(struct member_paths *paths, const char *path, struct fail *fail)
{
	if (!*path)
		return fail_set(fail, EINVAL, FAIL_USAGE, "members: an empty path; give the path of a partition, disk or image file");
	if (paths->count == MEMBERS_MAX)
		return fail_set(fail, E2BIG, FAIL_USAGE, "members: %s: an array has at most %u", path, MEMBERS_MAX);
	char *absolute = cli_absolute(path);
	if (!absolute)
		return fail_set(fail, ENOMEM, FAIL_SYSTEM, "members: out of memory");
	size_t length = strlen(absolute);
	/* The array and its status keep no longer ones: by a part of its path the member would not be found again. */
	if (length >= CONTROL_PATH_BYTES) {
		free(absolute);
		return fail_set(fail, ENAMETOOLONG, FAIL_USAGE, "members: a path of %zu bytes is too long, at most %u are possible; give a shorter "
			"one, such as a symbolic link, for %s", length, CONTROL_PATH_BYTES - 1, path);
	}
	paths->paths[paths->count++] = absolute;
	return 0;
}

/* ---- The same member by two paths ---- */

/* What a path leads to in the end. */
struct identity {
	bool is_block;
	uint64_t dev, inode;
};

static bool same_identity(const struct identity *a, const struct identity *b)
{
	return a->is_block == b->is_block && a->dev == b->dev && a->inode == b->inode;
}

/* A loop device is what its file is. */
static bool identity_of(const char *path, struct identity *ret_identity)
{
	struct loop_info64 loop;
	struct stat st;

	if (stat(path, &st) < 0)
		return false;
	*ret_identity = S_ISBLK(st.st_mode) ? (struct identity){ true, st.st_rdev, 0 }
		: (struct identity){ false, st.st_dev, st.st_ino };
	if (!S_ISBLK(st.st_mode))
		return true;
	autoclose int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	char partition[64];
	/* A loop device over a part of a file is its own; and so is a partition, which answers as the device that it is on. */
	snprintf(partition, sizeof partition, "/sys/dev/block/%u:%u/partition", major(st.st_rdev), minor(st.st_rdev));
	if (fd >= 0 && access(partition, F_OK) < 0 && !ioctl(fd, LOOP_GET_STATUS64, &loop) && !loop.lo_offset && !loop.lo_sizelimit)
		*ret_identity = (struct identity){ false, loop.lo_device, loop.lo_inode };
	return true;
}

int member_paths_check_duplicates(const struct member_paths *paths, struct fail *fail)
{
	struct identity identities[MEMBERS_MAX];
	bool known[MEMBERS_MAX];

	for (unsigned i = 0; i < paths->count; i++) {
		known[i] = identity_of(paths->paths[i], &identities[i]);
		for (unsigned j = 0; known[i] && j < i; j++)
			if (known[j] && same_identity(&identities[i], &identities[j]))
				return fail_set(fail, EINVAL, FAIL_TWICE, "%s: is the same as %s; give each member once", paths->paths[i],
					paths->paths[j]);
	}
	return 0;
}

/* ---- The array: source ---- */

/* Adds the members of the array with that name or UUID. */
static int find_array(const char *wanted, struct member_paths *paths, struct fail *fail)
{
	struct found_members found;
	const struct label *first = NULL;
	struct uuid uuid;
	bool by_uuid = !uuid_parse(wanted, &uuid);

	int r = found_members_scan(&found);
	if (r < 0)
		return fail_set(fail, -r, FAIL_SYSTEM, "array:%s: out of memory", wanted);
	for (unsigned i = 0; !r && i < found.count; i++) {
		const struct label *label = &found.members[i].label;
		if (by_uuid ? !uuid_equal(&label->array, &uuid) : strcmp(label->name, wanted) != 0)
			continue;
		if (first && !uuid_equal(&first->array, &label->array)) {
			char a[UUID_TEXT_BYTES], b[UUID_TEXT_BYTES];
			uuid_format(&first->array, a);
			uuid_format(&label->array, b);
			r = fail_set(fail, EINVAL, FAIL_MIXED, "array:%s: two arrays have this name; use array:%s or array:%s",
				wanted, a, b);
			break;
		}
		first = label;
		r = member_paths_add(paths, found.members[i].path, fail);
	}
	if (!r && !first)
		r = fail_set(fail, ENOENT, FAIL_NOT_FOUND, "array:%s: no block device here carries a label of this array that can be read; "
			"check that the disks are connected, that you may read them, and the name (raid5cryptfs-status lists all)", wanted);
	found_members_free(&found);
	return r;
}

/* ---- The command line ---- */

int member_paths_from_source(const char *source, struct member_paths *ret_paths, struct fail *fail)
{
	struct member_paths paths = { 0 };
	autofree char *part = malloc(strlen(source) + 1);
	size_t used = 0;
	int r = part ? 0 : fail_set(fail, ENOMEM, FAIL_SYSTEM, "members: out of memory");

	if (!r && !strncmp(source, ARRAY_PREFIX, strlen(ARRAY_PREFIX))) {
		r = find_array(source + strlen(ARRAY_PREFIX), &paths, fail);
		source = "";
	} else if (!r) {
		for (const char *c = source; !r; c++) {
			if (c[0] == '\\' && (c[1] == ':' || c[1] == '\\')) {
				part[used++] = *++c;
			} else if (*c && *c != ':') {
				part[used++] = *c;
			} else {
				part[used] = '\0';
				used = 0;
				r = member_paths_add(&paths, part, fail);
				if (!*c)
					break;
			}
		}
	}
	if (r < 0)
		member_paths_free(&paths);
	else
		*ret_paths = paths;
	return r;
}

int member_paths_from_arguments(char *const *arguments, int count, struct member_paths *ret_paths, struct fail *fail)
{
	struct member_paths paths = { 0 };

	if (count == 1 && access(arguments[0], F_OK) < 0)
		return member_paths_from_source(arguments[0], ret_paths, fail);
	for (int i = 0; i < count; i++) {
		int r = strncmp(arguments[i], ARRAY_PREFIX, strlen(ARRAY_PREFIX)) ? member_paths_add(&paths, arguments[i], fail)
			: fail_set(fail, EINVAL, FAIL_USAGE, "%s: stands for all members; give nothing else beside it", arguments[i]);
		if (r < 0) {
			member_paths_free(&paths);
			return r;
		}
	}
	*ret_paths = paths;
	return 0;
}

/* Is it a failure of one disk, which its array is made for? */
static bool can_do_without(int result)
{
	switch (-result) {
	case ENOENT: case ENOTDIR: case ENXIO: case ENODEV: case EIO: case ENOMEDIUM: case ETIMEDOUT:
		return true;
	default:
		return false;
	}
}

int members_open(const struct member_paths *paths, enum disk_mode mode, enum disk_engine engine,
	void (*warn)(void *ctx, const char *text), void *ctx, struct disk **ret_disks, unsigned *ret_count, struct fail *fail)
{
	unsigned count = 0;
	struct fail first = { 0 };
	int first_result = 0, r = member_paths_check_duplicates(paths, fail);

	for (unsigned i = 0; !r && i < paths->count; i++) {
		struct fail one = { 0 };
		r = disk_open(paths->paths[i], mode, engine, &ret_disks[count], &one);
		if (!r) {
			count++;
		} else if (can_do_without(r)) {
			if (!first_result) {
				first_result = r;
				first = one;
			}
			warn(ctx, one.text);
			r = 0;
		} else if (fail) {
			*fail = one;
		}
	}
	if (!r && !count) {
		r = first_result;
		if (fail)
			*fail = first;
	}
	if (r < 0)
		while (count > 0)
			disk_close(ret_disks[--count]);
	else
		*ret_count = count;
	return r;
}
