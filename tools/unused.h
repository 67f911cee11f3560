/* Members that nobody else is using: for tools that work on an array only when it is not mounted. */
#ifndef TOOLS_UNUSED_H
#define TOOLS_UNUSED_H

#include "raid/array.h"
#include "tools/members.h"

/* Opens the members for reading and finds out what they are; what is missing is warned of.  Refuses when their array is mounted
 * (FAIL_BUSY), and keeps a lock on each, so that nobody begins to write them: a shared one, or one that no other tool can have too. */
int probe_unused(const struct member_paths *members, bool exclusive, struct probe **ret_probe, struct fail *fail);
/* The same members again, for writing, after a probe_unused that is given up. */
int probe_for_writing(const struct member_paths *members, struct probe **ret_probe, struct fail *fail);
/* What messages and the question for the passphrase call the array: its name, or "the array".  True if it is encrypted: one label that tells
 * of that is enough to need the key. */
bool probe_name(const struct probe *probe, char *ret_name, size_t name_bytes);

#endif
