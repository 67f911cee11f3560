/* The process around a mount: going into the background, where messages go, and ending on a signal. */
#ifndef TOOLS_DAEMON_H
#define TOOLS_DAEMON_H

#include "base/event.h"

#include <stdbool.h>

struct fuse_server;

/* Unless `foreground`: forks; the parent waits until the child says daemon_ready or ends, and ends with its
 * exit code; only the child returns.  To be called before there are threads, disks or secrets. */
void daemon_start(bool foreground);
/* Blocks the signals that daemon_watch_signals waits for: before any other thread starts. */
void daemon_block_signals(void);
/* Meanwhile, in this thread, they do what they do to other programs: until daemon_block_signals. */
void daemon_unblock_signals(void);
/* All is well: detaches from the terminal; from now on messages go to syslog. */
void daemon_ready(void);

/* A message where it belongs now: standard error or syslog.  `priority` as syslog(3). */
void daemon_log(int priority, const char *text);
/* For event sinks: logs each event. */
void daemon_event(void *ctx, const struct event *event);

/* From now on SIGTERM, SIGINT and SIGHUP end the calling thread's fuse_server_loop: a helper first has the kernel
 * write back what it holds and unmounts, while the loop serves it. */
int daemon_watch_signals(struct fuse_server *server, const char *mountpoint);
/* The loop has ended: signals have no effect any more. */
void daemon_loop_ended(void);
/* Stops the watching, once an unmount by a signal has returned. */
void daemon_unwatch_signals(void);

#endif
