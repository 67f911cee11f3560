/* What mkfs asks of its members before it writes anything. */
#ifndef TOOLS_MKFS_CHECK_H
#define TOOLS_MKFS_CHECK_H

#include "base/fail.h"
#include "raid/disk.h"
#include "tools/members.h"

/* Checks all members (duplicates, in use, size, and unless `force` known signatures) and opens them. */
int mkfs_check_members(const struct member_paths *paths, bool force, struct disk **ret_disks, struct fail *fail);
/* UTF-8 without control characters, 1 to 63 bytes, and nothing that could be taken for a UUID. */
int mkfs_check_name(const char *name, struct fail *fail);

#endif
