/* Work in the background that cannot go on, since a tree cannot be read where it says what lies in the rows to come: that is told once,
 * shown in the status, and tried again ever more seldom, until it works. */
#ifndef FS_STALL_H
#define FS_STALL_H

#include <stdbool.h>
#include <stdint.h>

struct fs;

enum stall_task { STALL_CATCHUP, STALL_REPLACE, STALL_SCRUB, STALL_TASKS };

#define STALL_TEXT_BYTES 384u
/* Protected by fs->lock. */
struct stall {
	bool stalls;
	char text[STALL_TEXT_BYTES];     /* told last, until the task has ended: what, why, what to do */
	int64_t delay_ns, not_before_ns;
	uint64_t members;                /* their states at the last try: when one changes, what could not be read may be there */
};

/* The states of all members as one number. */
uint64_t stall_members(struct fs *fs);

/* Is it not yet to be tried again? If it is, fs->obstacle is reset for it. No lock held. */
bool stall_rests(struct fs *fs, enum stall_task task);
/* What a step that followed on stall_rests gave: passed on, but 0 for what it cannot go on with. */
int stall_note(struct fs *fs, enum stall_task task, int result);
/* Both around a step. */
int stall_try(struct fs *fs, enum stall_task task, int (*step)(struct fs *fs));
/* Copies the text of one that stalls; else an empty one. */
void stall_text(struct fs *fs, enum stall_task task, char ret_text[STALL_TEXT_BYTES]);

#endif
