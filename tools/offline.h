/* An array that a tool opens by itself, to change its members while it is not mounted. */
#ifndef TOOLS_OFFLINE_H
#define TOOLS_OFFLINE_H

#include "fs/fs.h"
#include "tools/members.h"

/* Opens it for writing, and begins to work in the background, as a mount does: catching up, moving columns.  Asks for the passphrase if the
 * array is encrypted and `key_file` NULL.  FAIL_BUSY if it is mounted, or another tool is at work on it.  What it has to say goes to
 * standard error. */
int offline_open(const struct member_paths *members, const char *key_file, struct fs **ret_fs, struct fail *fail);
/* With a last commit.  What is under way goes on when it is opened or mounted again. */
int offline_close(struct fs *fs, struct fail *fail);

#endif
