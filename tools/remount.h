/* Access times as mount(8) -o remount wants them. */
#ifndef TOOLS_REMOUNT_H
#define TOOLS_REMOUNT_H

#include "fs/fs.h"

struct remount_watch;

/* From now on what a remount changes of noatime and nodiratime holds for the filesystem, which is mounted at `mountpoint`.  NULL if it
 * cannot be watched. */
struct remount_watch *remount_watch_new(struct fs *fs, const char *mountpoint, bool no_atime, bool no_diratime);
/* Before the filesystem is closed.  NULL is fine. */
void remount_watch_free(struct remount_watch *watch);

#endif
