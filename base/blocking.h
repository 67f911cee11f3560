/* A thread that others depend on says before it waits.
 *
 * Who serves requests may have only one thread awake as long as that one can get on (fs/fuse/fuse_wait.c).  So layers below, before
 * they wait for a device or another thread, call blocking_begin(), and the thread's own handler sees to a substitute.  It is nothing for
 * other threads.  Not for short waits: a mutex, or what others do without waiting. */
#ifndef BASE_BLOCKING_H
#define BASE_BLOCKING_H

enum blocking_for { BLOCKING_FOR_DEVICE, BLOCKING_FOR_THREAD };

/* Called with locks held: must not wait itself. */
typedef void (*blocking_handler)(void *ctx, enum blocking_for what);

/* Of the calling thread, from now on; NULL: none. */
void blocking_set(blocking_handler handler, void *ctx);

/* The calling thread is about to wait, for however long. */
void blocking_begin(enum blocking_for what);

#endif
