/* A story about members: files made one after the other meanwhile, and whether they are all there.
 *
 * Each step makes a file, and changes an older one: step 2i overwrites a part of file i, step 2i + 1 another part, or unlinks it.  So what
 * lies on the members since long is cut, dies and is used again while the story goes on, and a unit that is old is seen. */
#ifndef TESTS_SIM_STORY_H
#define TESTS_SIM_STORY_H

#include "tests/lib/simfs.h"

struct story {
	struct simfs *sim;
	unsigned written, synced;        /* steps 0 … were done */
	bool whole;                      /* what the story tells has ended, and a root said so */
	unsigned tried;                  /* steps that were ever begun: more than `written`, if some were to be forgotten */
};

/* The same story from there on, with disks of its own; sim->fs is NULL if it could not be opened. */
struct story story_again(const struct simfs *before, const struct story *first);
/* Does the next step: 0 or -errno (after a cut). */
int story_write_file(struct story *story);
int story_sync(struct story *story);
/* Does `count` steps, and then syncs. */
int story_write_files(struct story *story, unsigned count);
/* Does a step and waits for what it wrote alone (fsync), after all that was written before. */
int story_write_fsync(struct story *story);
/* After a cut: files that were not synced are unlinked if they are there, and the steps since then are to be done again. */
void story_forget(struct story *story);
/* Is there in `fs` what the synced steps left, and nothing that they took away?  What later ones changed may be as before or after. */
bool story_is_there(struct fs *fs, const struct story *story);
/* The same after faults that are too many: what cannot be read (-EIO, -EUCLEAN) is counted, and nothing that can be is wrong. */
bool story_may_be(struct fs *fs, const struct story *story, unsigned *ret_unreadable);
/* Do the first `count` steps unlink file i? */
bool story_unlinks(unsigned i, unsigned count);
/* Does a check with all data find nothing?  It prints what it finds. */
bool story_clean(struct fs *fs);

#endif
