/* Members that nobody else is using: for tools that work on an array only when it is not mounted.
 *
 * Whoever writes members holds an exclusive flock(2) on each (raid/disk.h), so a tool that only reads takes a shared one: it
 * fails while somebody writes, and keeps a mount from beginning.  One of which there must be only one at a time takes an exclusive
 * lock.  A read-only mount holds none; it is found by asking the mounts of this machine which array they are. */
#include "tools/unused.h"

#include "base/cleanup.h"
#include "fs/control.h"
#include "tools/cli.h"
#include "tools/mounts.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

struct mounted {
	const struct uuid *array;
	char mountpoint[512];            /* empty: not mounted */
};

static bool match_mount(void *ctx, const struct mount_entry *entry)
{
	struct mounted *m = ctx;
	autofree struct control_status *status = mount_type_is_ours(entry->type) ? malloc(sizeof *status) : NULL;
	autoclose int fd = status ? open(entry->mountpoint, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;

	if (fd >= 0 && !ioctl(fd, CONTROL_STATUS, status) && control_status_valid(status) && uuid_equal(&status->array, m->array))
		snprintf(m->mountpoint, sizeof m->mountpoint, "%s", entry->mountpoint);
	return !*m->mountpoint;
}

static const struct label *first_label(const struct probe *probe)
{
	for (unsigned i = 0; i < probe->count; i++)
		if (!probe->members[i].label_status)
			return &probe->members[i].label;
	return NULL;
}

static int refuse_mounted(const struct probe *probe, struct fail *fail)
{
	const struct label *label = first_label(probe);
	struct mounted m = { .array = &label->array };

	mounts_each(match_mount, &m);
	if (!*m.mountpoint)
		return 0;
	return fail_set(fail, EBUSY, FAIL_BUSY, "%s: its array is mounted on %s; unmount that first", probe->members[0].disk->name,
		m.mountpoint);
}

/* The process that holds an flock on the file, as /proc/locks has it; 0: not known. */
static int lock_holder(const struct stat *st, char *name, size_t name_bytes)
{
	FILE *locks = fopen("/proc/locks", "re");
	autofree char *line = NULL;
	size_t room = 0;
	int holder = 0;

	while (locks && !holder && getline(&line, &room, locks) > 0) {
		unsigned major_number, minor_number;
		unsigned long inode;
		int pid;
		if (sscanf(line, "%*d: FLOCK %*s %*s %d %x:%x:%lu", &pid, &major_number, &minor_number, &inode) == 4 && pid > 0
				&& inode == st->st_ino && makedev(major_number, minor_number) == st->st_dev)
			holder = pid;
	}
	if (locks)
		fclose(locks);
	char path[64];
	snprintf(path, sizeof path, "/proc/%d/comm", holder);
	FILE *comm = holder ? fopen(path, "re") : NULL;
	if (!comm || !fgets(name, (int)name_bytes, comm))
		snprintf(name, name_bytes, "a program");
	name[strcspn(name, "\n")] = '\0';
	if (comm)
		fclose(comm);
	return holder;
}

static int fail_busy(const char *path, struct fail *fail)
{
	char name[64];
	struct stat st;
	int holder = stat(path, &st) < 0 ? 0 : lock_holder(&st, name, sizeof name);

	if (!holder)
		return fail_set(fail, EBUSY, FAIL_BUSY, "%s: in use (mounted, or a tool is at work on it); unmount the array, or wait until the "
			"tool is done", path);
	return fail_set(fail, EBUSY, FAIL_BUSY, "%s: in use by %s (process %d); unmount the array, or wait until it is done", path, name, holder);
}

static int lock(struct disk *disk, bool exclusive, struct fail *fail)
{
	int r = disk_lock(disk, exclusive);

	if (r < 0 && r != -EWOULDBLOCK)
		return fail_set(fail, -r, FAIL_SYSTEM, "%s: cannot lock: %s", disk->name, strerror(-r));
	return r < 0 ? fail_busy(disk->name, fail) : 0;
}

static void warn(void *ctx, const char *text)
{
	(void)ctx;
	cli_message("warning: %s", text);
}

static void silent(void *ctx, const char *text)
{
	(void)ctx, (void)text;           /* was said when the members were opened for reading */
}

int probe_unused(const struct member_paths *members, bool exclusive, struct probe **ret_probe, struct fail *fail)
{
	struct disk *disks[MEMBERS_MAX];
	struct probe *probe;
	unsigned count;

	int r = members_open(members, DISK_READ_ONLY, DISK_ENGINE_AUTO, warn, NULL, disks, &count, fail);
	if (!r)
		r = array_probe(disks, count, &probe, fail);
	if (r < 0)
		return r;
	r = refuse_mounted(probe, fail);
	for (unsigned i = 0; !r && i < probe->count; i++)
		r = lock(probe->members[i].disk, exclusive, fail);
	if (r < 0)
		probe_free(probe);
	else
		*ret_probe = probe;
	return r;
}

int probe_for_writing(const struct member_paths *members, struct probe **ret_probe, struct fail *fail)
{
	struct disk *disks[MEMBERS_MAX];
	unsigned count;

	int r = members_open(members, DISK_READ_WRITE, DISK_ENGINE_AUTO, silent, NULL, disks, &count, fail);
	return r < 0 ? r : array_probe(disks, count, ret_probe, fail);
}

bool probe_name(const struct probe *probe, char *ret_name, size_t name_bytes)
{
	const struct label *label = first_label(probe);
	bool encrypted = false;

	snprintf(ret_name, name_bytes, "%s", label && *label->name ? label->name : "the array");
	cli_clean(ret_name);
	for (unsigned i = 0; i < probe->count; i++)
		encrypted = encrypted || (!probe->members[i].label_status && probe->members[i].label.cipher != CIPHER_NONE);
	return encrypted;
}
