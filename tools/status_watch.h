/* raid5cryptfs-status --watch: again and again. */
#ifndef TOOLS_STATUS_WATCH_H
#define TOOLS_STATUS_WATCH_H

#include "tools/status_collect.h"

/* Shows what is asked for each `watch_seconds`: on a terminal in the same place, else one after another.  Ends when the mount points given
 * are unmounted.  SIGINT and SIGTERM end the program.  The exit code is that of the last state shown, or of the failure. */
int status_watch(struct status_request *request, char **arguments, int count);

#endif
