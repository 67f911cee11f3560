/* A scrub reads and verifies everything that is in use, and its parity, on all members: see scrub.c. */
#ifndef FS_SCRUB_H
#define FS_SCRUB_H

#include "fs/fs.h"

#include "base/fail.h"

enum scrub_state { SCRUB_NONE, SCRUB_RUNNING, SCRUB_PAUSED, SCRUB_STOPPED, SCRUB_FINISHED };
enum scrub_action { SCRUB_START, SCRUB_PAUSE, SCRUB_RESUME, SCRUB_STOP };

struct scrub_status {
	uint8_t state;                   /* enum scrub_state */
	uint64_t done_bytes, total_bytes;        /* of data in use, an estimate */
	uint64_t rows;                   /* looked at */
	uint64_t damaged;                /* rows in which something was wrong, or could not be read: healed or being mended, … */
	uint64_t unreadable;             /* … but for so many records, which even parity could not give back */
	uint64_t tree_errors;            /* tree nodes that could not be read: what they lead to was not verified */
	int64_t began_ns, ended_ns;      /* the clock's; 0: not yet */
};

/* Asks for it; the background does it.  -EINVAL with FAIL_USAGE when it makes no sense now (pausing what does not run), -EROFS. */
int fs_scrub(struct fs *fs, enum scrub_action action, struct fail *fail);
void fs_scrub_status(struct fs *fs, struct scrub_status *ret_status);
/* One bounded step: 1: there is more to do now; 0: nothing; -errno.  No lock held. */
int scrub_step(struct fs *fs);

#endif
