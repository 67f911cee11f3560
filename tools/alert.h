/* Telling programs of events of a mount: that of -o alert=, and for a daemon of root those in the folder of hooks.
 *
 * Events may come from any thread, with locks held: they are only queued.  One thread of its own takes them out, runs the programs one
 * after another, and looks now and then how much space is free.  What comes before alert_start waits, and is forgotten if that is
 * never called: a mount that fails tells its user itself. */
#ifndef TOOLS_ALERT_H
#define TOOLS_ALERT_H

#include "base/event.h"
#include "base/fail.h"
#include "fs/fs.h"
#include "raid/label.h"

struct alert;

/* `program` (NULL: none) is checked.  A daemon that has nobody to tell costs no thread: *ret_alert is NULL, which is fine everywhere
 * here. */
int alert_new(const char *program, struct alert **ret_alert, struct fail *fail);
/* Which array it is, and where it will be mounted. */
void alert_about(struct alert *alert, const struct label *label, const char *mountpoint);
/* For event sinks.  Never waits for anything but other callers. */
void alert_event(struct alert *alert, const struct event *event);
/* It is open: what happens from now on did not happen while opening it. */
void alert_opened(struct alert *alert);
/* It is mounted: programs are run from now on.  0 or -errno. */
int alert_start(struct alert *alert, struct fs *fs);
/* `fs` is about to be closed, and is not used any more. */
void alert_detach(struct alert *alert);
/* Runs what is still to be run, for a limited time, and frees. */
void alert_free(struct alert *alert);

/* raid5cryptfs --test-alert: runs each program with the event "test" and prints what became of it.  The exit code: 0 if at least one
 * ran and all succeeded. */
int alert_test(const char *program);

#endif
