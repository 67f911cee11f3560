/* A story about members: files written one after the other meanwhile, and whether they are all there. */
#ifndef TESTS_SIM_STORY_H
#define TESTS_SIM_STORY_H

#include "tests/lib/simfs.h"

struct story {
	struct simfs *sim;
	unsigned written, synced;        /* files 0 … are there */
	bool whole;                      /* what the story tells has ended, and a root said so */
};

/* The same story from there on, with disks of its own; sim->fs is NULL if it could not be opened. */
struct story story_again(const struct simfs *before, const struct story *first);
/* Writes the next file: 0 or -errno (after a cut). */
int story_write_file(struct story *story);
int story_sync(struct story *story);
/* Writes `count` files, and then syncs. */
int story_write_files(struct story *story, unsigned count);
/* Writes a file and waits for it alone (fsync), after all that was written before. */
int story_write_fsync(struct story *story);
/* After a cut: files that were not synced are unlinked if they are there, to be written again. */
void story_forget(struct story *story);
/* Are the first `count` files there, with what was written? */
bool story_is_there(struct fs *fs, unsigned count);
/* Does a check with all data find nothing?  It prints what it finds. */
bool story_clean(struct fs *fs);

#endif
