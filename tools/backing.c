/* The kernel's limits for the backing device of a mount, in /sys/class/bdi.  See backing.h. */
#include "tools/backing.h"

#include "tools/mounts.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/sysmacros.h>
#include <unistd.h>

static void set_bdi(dev_t dev, const char *suffix, const char *name, uint64_t value)
{
	char path[128];

	snprintf(path, sizeof path, "/sys/class/bdi/%u:%u%s/%s", major(dev), minor(dev), suffix, name);
	FILE *file = fopen(path, "we");
	if (file) {
		fprintf(file, "%llu", (unsigned long long)value);
		fclose(file);                    /* a refusal costs speed only */
	}
}

/* How many percent of what the kernel lets be dirty in all are so many bytes (since Linux 6.2 they can be given, as max_bytes). */
static unsigned dirty_percent(uint64_t bytes)
{
	unsigned long long pages = 0;
	bool found = false;
	char name[64];
	FILE *file = fopen("/proc/vmstat", "re");

	while (file && !found && fscanf(file, "%63s %llu", name, &pages) == 2)
		found = !strcmp(name, "nr_dirty_threshold");
	if (file)
		fclose(file);
	if (!found || !pages)
		return 100;
	uint64_t percent = bytes * 100 / (pages * (uint64_t)sysconf(_SC_PAGESIZE)) + 1;
	return percent < 100 ? (unsigned)percent : 100;
}

/* How much the kernel may keep that was written and is not handed to us yet.  Its default for FUSE, 1 % of what may be dirty, can be too
 * little.  Much more makes streams a quarter slower: the kernel then hands over nothing for the first hundreds of megabytes, while the
 * writer alone is at work. */
#define KERNEL_DIRTY_BYTES (UINT64_C(128) << 20)

/* Files are read ahead of a reader in requests of 1 MiB at most: so many are served side by side, by several threads and from all members.
 * With one at a time (1 MiB) cold streams came to four fifths of the speed.  It is what btrfs takes. */
#define READ_AHEAD_KIB 4096u

void backing_tune(const char *mountpoint, bool is_plain)
{
	const char *suffix = is_plain ? "" : "-fuseblk";
	dev_t dev;

	prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0);
	if (geteuid() != 0 || !mount_at(mountpoint, NULL, 0, &dev))
		return;
	set_bdi(dev, suffix, "strict_limit", 1);
	set_bdi(dev, suffix, "max_ratio", dirty_percent(KERNEL_DIRTY_BYTES));
	set_bdi(dev, suffix, "max_bytes", KERNEL_DIRTY_BYTES);
	set_bdi(dev, suffix, "read_ahead_kb", READ_AHEAD_KIB);
}
