/* A scrub reads and verifies everything that is in use, and its parity, on all members: see scrub.c. */
#ifndef FS_SCRUB_H
#define FS_SCRUB_H

#include "fs/fs.h"
#include "fs/upkeep/scrub_result.h"

#include "base/fail.h"

enum scrub_state { SCRUB_NONE, SCRUB_RUNNING, SCRUB_PAUSED, SCRUB_STOPPED, SCRUB_FINISHED };     /* on the disk too, but for the first */
enum scrub_action { SCRUB_START, SCRUB_PAUSE, SCRUB_RESUME, SCRUB_STOP };

struct scrub_status {
	uint8_t state;                   /* enum scrub_state */
	uint8_t waits;                   /* it is running, and does not get on: the array is read-only, or it stalls (stall.h) */
	uint8_t has_last;                /* one has gone through: `last` */
	uint8_t padding[5];
	uint64_t done_bytes, total_bytes;        /* of data in use, an estimate */
	uint64_t speed_bytes;            /* the limit that was given with it, of each member in a second; 0: none */
	struct scrub_result now, last;
};

/* Asks for it; the background does it.  Durable when it returns.  `speed_bytes` of SCRUB_START and _RESUME: as in fs_set_speed, and kept
 * with the scrub; 0: as it is.  -EINVAL with FAIL_USAGE when it makes no sense now (pausing what does not run), -EROFS, -EIO. */
int fs_scrub(struct fs *fs, enum scrub_action action, uint64_t speed_bytes, struct fail *fail);
void fs_scrub_status(struct fs *fs, struct scrub_status *ret_status);
/* One bounded step: 1: there is more to do now; 0: nothing; -errno.  No lock held. */
int scrub_step(struct fs *fs);

/* ---- What lasts (scrub_state.c) ---- */

/* Reads what the system tree says of it.  What cannot be read or makes no sense is told, and taken for none: 0, -ENOMEM.  No lock held. */
int scrub_load(struct fs *fs);
/* Writes it there if it has changed: the commit's.  A body. */
int scrub_store(struct fs *fs);
/* Rows may be in use that it has passed: one that is under way begins anew.  Its next commit says so.  Lock held. */
void scrub_restart(struct fs *fs);
/* Before the last commit of a mount: that says how far it is.  Lock held. */
void scrub_leave(struct fs *fs);

#endif
