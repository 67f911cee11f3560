/* What is mounted on this machine: see the header.  The format is that of proc_pid_mountinfo(5):
 * id parent major:minor root mountpoint options [fields…] - type source superoptions, blanks in octal. */
#include "tools/mounts.h"

#include "base/cleanup.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

static bool octal(char c) { return c >= '0' && c <= '7'; }

static void unescape(char *text)
{
	char *to = text;

	for (char *from = text; *from; from++) {
		if (from[0] == '\\' && octal(from[1]) && octal(from[2]) && octal(from[3])) {
			*to++ = (char)((from[1] - '0') << 6 | (from[2] - '0') << 3 | (from[3] - '0'));
			from += 3;
		} else {
			*to++ = *from;
		}
	}
	*to = '\0';
}

static bool parse(char *line, struct mount_entry *ret_entry)
{
	char *save = NULL, *mountpoint = NULL, *type, *source;
	const char *options = "";
	unsigned major_number, minor_number;
	int field = 0;

	for (char *word = strtok_r(line, " \n", &save); word && strcmp(word, "-"); word = strtok_r(NULL, " \n", &save)) {
		if (field == 2 && sscanf(word, "%u:%u", &major_number, &minor_number) != 2)
			return false;
		if (field == 4)
			mountpoint = word;
		if (field == 5)
			options = word;
		field++;
	}
	type = strtok_r(NULL, " \n", &save);
	source = strtok_r(NULL, " \n", &save);
	if (!mountpoint || !type)
		return false;
	unescape(mountpoint);
	if (source)
		unescape(source);
	*ret_entry = (struct mount_entry){
		.dev = makedev(major_number, minor_number), .mountpoint = mountpoint, .options = options, .type = type,
		.source = source ? source : "",
	};
	return true;
}

int mounts_each(bool (*each)(void *ctx, const struct mount_entry *entry), void *ctx)
{
	FILE *file = fopen("/proc/self/mountinfo", "re");
	autofree char *line = NULL;
	size_t room = 0;
	struct mount_entry entry;

	if (!file)
		return -errno;
	while (getline(&line, &room, file) > 0)
		if (parse(line, &entry) && !each(ctx, &entry))
			break;
	fclose(file);
	return 0;
}

bool mount_type_is_ours(const char *type)
{
	return !strcmp(type, "fuseblk.raid5cryptfs") || !strcmp(type, "fuse.raid5cryptfs");
}

struct search {
	const char *mountpoint;
	char *type;
	size_t type_bytes;
	dev_t dev;
	bool found;
};

static bool match_path(void *ctx, const struct mount_entry *entry)
{
	struct search *s = ctx;

	if (!strcmp(entry->mountpoint, s->mountpoint)) {
		s->found = true;
		s->dev = entry->dev;
		if (s->type)
			snprintf(s->type, s->type_bytes, "%s", entry->type);
	}
	return true;
}

bool mount_at(const char *mountpoint, char *type, size_t type_bytes, dev_t *ret_dev)
{
	struct search s = { .mountpoint = mountpoint, .type = type, .type_bytes = type_bytes };

	mounts_each(match_path, &s);
	if (s.found && ret_dev)
		*ret_dev = s.dev;
	return s.found;
}

static bool match_ours(void *ctx, const struct mount_entry *entry)
{
	struct search *s = ctx;

	s->found = entry->dev == s->dev && mount_type_is_ours(entry->type);
	return !s->found;
}

bool mount_is_ours(dev_t dev)
{
	struct search s = { .dev = dev };

	mounts_each(match_ours, &s);
	return s.found;
}

static bool match_device(void *ctx, const struct mount_entry *entry)
{
	struct search *s = ctx;
	struct stat st;

	/* Some filesystems have numbers of their own; their source then names the device. */
	if (entry->dev == s->dev ||
	    (entry->source[0] == '/' && !stat(entry->source, &st) && S_ISBLK(st.st_mode) && st.st_rdev == s->dev))
		s->found = true;
	return !s->found;
}

static bool is_swap(dev_t dev)
{
	FILE *file = fopen("/proc/swaps", "re");
	autofree char *line = NULL;
	size_t room = 0;
	bool found = false;

	while (file && !found && getline(&line, &room, file) > 0) {
		char *end = strchr(line, ' ');
		struct stat st;
		if (!end)
			continue;
		*end = '\0';
		unescape(line);
		found = !stat(line, &st) && S_ISBLK(st.st_mode) && st.st_rdev == dev;
	}
	if (file)
		fclose(file);
	return found;
}

bool device_is_mounted(dev_t dev)
{
	struct search s = { .dev = dev };

	mounts_each(match_device, &s);
	return s.found || is_swap(dev);
}
