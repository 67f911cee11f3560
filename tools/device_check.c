/* What is on a device that is to be overwritten: see the header. */
#include "tools/device_check.h"

#include "base/cleanup.h"
#include "tools/mounts.h"
#include "tools/release.h"

#include <blkid/blkid.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

struct served {
	const char *path;
	char mountpoint[512];            /* empty: by none */
};

/* A mount that only reads holds no lock on its members: it is asked which they are. */
static bool match_read_only(void *ctx, const struct mount_entry *entry)
{
	struct served *s = ctx;
	autofree struct control_status *status = mount_type_is_ours(entry->type) ? calloc(1, sizeof *status) : NULL;

	if (!status || release_ask_daemon(entry->mountpoint, status, NULL) < 0 || !status->read_only)
		return true;
	for (unsigned i = 0; i < status->member_count; i++) {
		struct control_member *m = &status->members[i];
		struct member_paths both = { .count = 2, .paths = { (char *)s->path, m->path } };
		if (m->role != MEMBER_UNUSED && m->state != MEMBER_OUT && *m->path && member_paths_check_duplicates(&both, NULL) < 0)
			snprintf(s->mountpoint, sizeof s->mountpoint, "%s", entry->mountpoint);
	}
	return !*s->mountpoint;
}

int device_check_mounted(const char *path, struct fail *fail)
{
	struct served served = { .path = path };
	struct stat st;

	if (!stat(path, &st) && S_ISBLK(st.st_mode) && device_is_mounted(st.st_rdev))
		return fail_set(fail, EBUSY, FAIL_BUSY, "%s: is mounted or used for swapping; unmount it first", path);
	mounts_each(match_read_only, &served);
	if (*served.mountpoint)
		return fail_set(fail, EBUSY, FAIL_BUSY, "%s: is a member of the array that is mounted read-only on %s; unmount that first", path,
			served.mountpoint);
	return 0;
}

int device_check_signature(struct disk *disk, struct fail *fail)
{
	autoclose int fd = open(disk->name, O_RDONLY | O_CLOEXEC);
	blkid_probe probe = blkid_new_probe();
	const char *type = NULL;

	if (fd < 0 || !probe || blkid_probe_set_device(probe, fd, 0, 0) < 0) {
		blkid_free_probe(probe);
		return fail_set(fail, EIO, FAIL_SYSTEM, "%s: cannot look for signatures; give --force to go on without", disk->name);
	}
	blkid_probe_enable_superblocks(probe, 1);
	blkid_probe_set_superblocks_flags(probe, BLKID_SUBLKS_TYPE | BLKID_SUBLKS_MAGIC);
	blkid_probe_enable_partitions(probe, 1);
	int found = blkid_do_safeprobe(probe);
	int r = 0;
	if (found == 0) {
		if (blkid_probe_lookup_value(probe, "TYPE", &type, NULL) < 0)
			blkid_probe_lookup_value(probe, "PTTYPE", &type, NULL);
		r = fail_set(fail, EEXIST, FAIL_SIGNATURE, "%s: carries a signature (%s); if what is on it may be destroyed, give --force",
			disk->name, type ? type : "unknown");
	} else if (found == -2) {
		r = fail_set(fail, EEXIST, FAIL_SIGNATURE, "%s: carries several signatures; if what is on it may be destroyed, give --force",
			disk->name);
	} else if (found < 0) {
		r = fail_set(fail, EIO, FAIL_SYSTEM, "%s: cannot look for signatures: it does not read well", disk->name);
	}
	blkid_free_probe(probe);
	return r;
}
