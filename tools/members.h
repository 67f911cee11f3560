/* Which disks: lists of members from the command line, and finding those of an array on this machine. */
#ifndef TOOLS_MEMBERS_H
#define TOOLS_MEMBERS_H

#include "base/fail.h"
#include "base/uuid.h"
#include "raid/disk.h"
#include "raid/label.h"

struct member_paths {
	unsigned count;
	char *paths[MEMBERS_MAX];        /* absolute */
};
void member_paths_free(struct member_paths *paths);
/* FAIL_USAGE if there are already as many as an array can have. */
int member_paths_add(struct member_paths *paths, const char *path, struct fail *fail);

/* FAIL_TWICE if two paths lead to one device or file, also by links, device nodes or a loop device over the file. */
int member_paths_check_duplicates(const struct member_paths *paths, struct fail *fail);

/* A source as mount(8) gives it: "m1:m2:m3", a colon in a path written "\:", or "array:NAME" or "array:UUID". */
int member_paths_from_source(const char *source, struct member_paths *ret_paths, struct fail *fail);
/* Several arguments are members as they are; a single one that is no existing path is a source. */
int member_paths_from_arguments(char *const *arguments, int count, struct member_paths *ret_paths, struct fail *fail);

/* A device that carries a label. Of one in a format that this program does not know, only version, UUIDs and name are filled. */
struct found_member {
	char *path;
	struct label label;
};
struct found_devices {
	unsigned count;
	char **paths;
};
struct found_members {
	unsigned count;
	struct found_member *members;
	struct found_devices refused;    /* could be members, but may not be read by this user */
	struct found_devices damaged;    /* carry remains of a label, of which no copy is whole */
};
/* Looks at all block devices.  A member is found once: on the partition and not the disk that holds it, on the mapped device (multipath,
 * device mapper) and not those below it.  -ENOMEM. */
int found_members_scan(struct found_members *ret_found);
void found_members_free(struct found_members *found);
void found_devices_free(struct found_devices *devices);
/* The file behind a loop device, or NULL; free it. */
char *device_backing_file(const char *path);

/* Opens members.  One that is missing or fails is passed over with a message (the array may do without it);
 * one given twice, in use, not permitted, or no disk at all ends it, and so does having none. */
int members_open(const struct member_paths *paths, enum disk_mode mode, enum disk_engine engine,
	void (*warn)(void *ctx, const char *text), void *ctx, struct disk **ret_disks, unsigned *ret_count, struct fail *fail);

#endif
