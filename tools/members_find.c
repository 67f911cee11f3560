/* Finding the members on this machine: see members.h.
 *
 * The search goes through /sys/class/block, where partitions, loop devices and device mapper are too, or /proc/partitions if that is
 * not there.  It reads at most three label copies of each device, through the page cache and without locks, so that it disturbs nobody. */
#include "tools/members.h"

#include "base/cleanup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#define FOUND_MAX 4096u
#define SYSTEM_FOLDER "/sys/class/block"

/* ---- Lists ---- */

static int devices_add(struct found_devices *devices, const char *path)
{
	char **more = realloc(devices->paths, (devices->count + 1) * sizeof *more);

	if (!more)
		return -ENOMEM;
	devices->paths = more;
	more[devices->count] = strdup(path);
	return more[devices->count] ? (devices->count++, 0) : -ENOMEM;
}

void found_devices_free(struct found_devices *devices)
{
	for (unsigned i = 0; i < devices->count; i++)
		free(devices->paths[i]);
	free(devices->paths);
	*devices = (struct found_devices){ 0 };
}

static int found_add(struct found_members *found, const char *path, const struct label *label)
{
	struct found_member *more = realloc(found->members, (found->count + 1) * sizeof *more);

	if (!more)
		return -ENOMEM;
	found->members = more;
	char *copy = strdup(path);
	if (!copy)
		return -ENOMEM;
	more[found->count++] = (struct found_member){ .path = copy, .label = *label };
	return 0;
}

void found_members_free(struct found_members *found)
{
	for (unsigned i = 0; i < found->count; i++)
		free(found->members[i].path);
	free(found->members);
	found_devices_free(&found->refused);
	found_devices_free(&found->damaged);
	*found = (struct found_members){ 0 };
}

/* ---- What the system says of a device ---- */

/* In sysfs a slash within a device's name is written "!". */
static void exchange(char *text, char from, char to)
{
	for (; *text; text++)
		if (*text == from)
			*text = to;
}

static void name_in_system(const char *path, char name[NAME_MAX + 1])
{
	snprintf(name, NAME_MAX + 1, "%s", strncmp(path, "/dev/", 5) ? "" : path + 5);
	exchange(name, '/', '!');
}

/* Is `upper` a partition of `lower`, or made of it? */
static bool lies_on(const char *upper, const char *lower)
{
	char u[NAME_MAX + 1], l[NAME_MAX + 1], path[PATH_MAX];

	name_in_system(upper, u);
	name_in_system(lower, l);
	snprintf(path, sizeof path, SYSTEM_FOLDER "/%s/%s/partition", l, u);
	if (!access(path, F_OK))
		return true;
	snprintf(path, sizeof path, SYSTEM_FOLDER "/%s/holders/%s", l, u);
	return !access(path, F_OK);
}

char *device_backing_file(const char *path)
{
	char name[NAME_MAX + 1], file[PATH_MAX];
	char *line = NULL;
	size_t room = 0;

	name_in_system(path, name);
	snprintf(file, sizeof file, SYSTEM_FOLDER "/%s/loop/backing_file", name);
	FILE *f = *name ? fopen(file, "re") : NULL;
	if (!f)
		return NULL;
	ssize_t n = getline(&line, &room, f);
	fclose(f);
	if (n <= 0) {
		free(line);
		return NULL;
	}
	line[strcspn(line, "\n")] = '\0';
	return line;
}

/* ---- One device ---- */

/* 0 or -EPROTONOSUPPORT: *ret_label is filled; -EBADMSG: damaged; -ENOENT: none. Else why it cannot be read. */
static int read_label(const char *path, struct label *ret_label)
{
	autofree uint8_t *bytes = malloc(LABEL_BYTES);
	autoclose int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	uint64_t size_bytes;
	int worst = -ENOENT;

	if (!bytes)
		return -ENOMEM;
	if (fd < 0 || ioctl(fd, BLKGETSIZE64, &size_bytes) < 0)
		return -errno;
	if (size_bytes < MEMBER_MIN_BYTES)
		return -ENOENT;
	for (unsigned copy = 0; copy < LABEL_COPIES; copy++) {
		ssize_t n = pread(fd, bytes, LABEL_BYTES, (off_t)label_copy_offset_bytes(copy, size_bytes));
		int r = n == LABEL_BYTES ? label_decode(bytes, ret_label) : -ENOENT;
		if (!r || r == -EPROTONOSUPPORT)
			return r;
		if (r == -EBADMSG)
			worst = r;
	}
	return worst;
}

/* `size_bytes`: 0 for one without a medium, UINT64_MAX if it is not known. */
static int look_at(struct found_members *found, const char *system_name, uint64_t size_bytes, struct label *label)
{
	char path[NAME_MAX + 16];

	if (size_bytes < MEMBER_MIN_BYTES || found->count >= FOUND_MAX)
		return 0;
	snprintf(path, sizeof path, "/dev/%s", system_name);
	exchange(path, '!', '/');
	switch (-read_label(path, label)) {
	case 0: case EPROTONOSUPPORT:
		return found_add(found, path, label);
	case EACCES: case EPERM:
		return devices_add(&found->refused, path);
	case EBADMSG:
		return devices_add(&found->damaged, path);
	case ENOMEM:
		return -ENOMEM;
	default:
		return 0;
	}
}

/* ---- All devices ---- */

static uint64_t system_size_bytes(const char *name)
{
	char path[PATH_MAX];
	unsigned long long sectors;

	snprintf(path, sizeof path, SYSTEM_FOLDER "/%s/size", name);
	FILE *file = fopen(path, "re");
	int n = file ? fscanf(file, "%llu", &sectors) : 0;
	if (file)
		fclose(file);
	return n == 1 ? (uint64_t)sectors * 512 : UINT64_MAX;
}

static int each_by_system(struct found_members *found, DIR *folder, struct label *label)
{
	const struct dirent *entry;
	int r = 0;

	while (!r && (entry = readdir(folder)))
		if (entry->d_name[0] != '.')
			r = look_at(found, entry->d_name, system_size_bytes(entry->d_name), label);
	return r;
}

/* Lines are: major minor KiB name. */
static int each_by_partitions(struct found_members *found, struct label *label)
{
	FILE *file = fopen("/proc/partitions", "re");
	autofree char *line = NULL;
	size_t room = 0;
	int r = 0;

	while (file && !r && getline(&line, &room, file) > 0) {
		unsigned long long size_kib;
		char name[200];
		if (sscanf(line, "%*u %*u %llu %199s", &size_kib, name) == 2)
			r = look_at(found, name, size_kib < UINT64_MAX / 1024 ? (uint64_t)size_kib * 1024 : UINT64_MAX, label);
	}
	if (file)
		fclose(file);
	return r;
}

static int compare_members(const void *a, const void *b)
{
	return strverscmp(((const struct found_member *)a)->path, ((const struct found_member *)b)->path);
}

static int compare_paths(const void *a, const void *b)
{
	return strverscmp(*(char *const *)a, *(char *const *)b);
}

static void sort(struct found_members *found)
{
	if (found->count)
		qsort(found->members, found->count, sizeof *found->members, compare_members);
	if (found->refused.count)
		qsort(found->refused.paths, found->refused.count, sizeof *found->refused.paths, compare_paths);
	if (found->damaged.count)
		qsort(found->damaged.paths, found->damaged.count, sizeof *found->damaged.paths, compare_paths);
}

/* Does another one, with the same member on it, lie on this one? */
static bool has_upper(const struct found_members *found, unsigned index)
{
	const struct found_member *lower = &found->members[index];

	for (unsigned i = 0; i < found->count; i++)
		if (i != index && uuid_equal(&found->members[i].label.member, &lower->label.member) &&
				lies_on(found->members[i].path, lower->path))
			return true;
	return false;
}

/* The end of a disk is the end of its last partition, so a label there can be read by both. */
static int drop_lower(struct found_members *found)
{
	autofree bool *lower = calloc(found->count + 1, sizeof *lower);
	unsigned kept = 0;

	if (!lower)
		return -ENOMEM;
	for (unsigned i = 0; i < found->count; i++)
		lower[i] = has_upper(found, i);
	for (unsigned i = 0; i < found->count; i++) {
		if (lower[i])
			free(found->members[i].path);
		else
			found->members[kept++] = found->members[i];
	}
	found->count = kept;
	return 0;
}

int found_members_scan(struct found_members *ret_found)
{
	struct found_members found = { 0 };
	autofree struct label *label = malloc(sizeof *label);
	DIR *folder = opendir(SYSTEM_FOLDER);

	int r = !label ? -ENOMEM : folder ? each_by_system(&found, folder, label) : each_by_partitions(&found, label);
	if (folder)
		closedir(folder);
	if (!r) {
		sort(&found);
		r = drop_lower(&found);
	}
	if (r < 0)
		found_members_free(&found);
	else
		*ret_found = found;
	return r;
}
