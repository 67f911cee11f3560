/* Random histories that end in a replay of the intent log: shared by test_replay.c (losses of power, the run), replay_ops.c
 * (operations) and replay_shot.c (what the tree was, and is). */
#ifndef TESTS_SIM_REPLAY_H
#define TESTS_SIM_REPLAY_H

#include "tests/lib/simfs.h"

#include <stdio.h>

/* What a mode adds to: operations, fsync, loss of power, open, compare. */
#define REPLAY_MEMORY 1u         /* little memory for dirty data: commits between the records of a replay */
#define REPLAY_CUTS 2u           /* the power fails again within the replay */
#define REPLAY_DEGRADED 4u       /* one member is left out, and at times comes back out of date */
#define REPLAY_READ_ONLY 8u      /* a read-only mount first */
#define REPLAY_ONE_FILE 16u      /* one file is synced, not the root directory */
#define REPLAY_FAULT 32u         /* one member fails on the way to the fsync, and at times stays away */

struct replay_mode { const char *name; unsigned flags; };

struct replay_counts {
	unsigned long losses;            /* after each: a replay, and a comparison */
	unsigned long logged;            /* … of an fsync that wrote records, not a commit */
	unsigned long commits;           /* replays with a commit between records (counted where nothing cuts them) */
	unsigned long cuts, left_out, read_only, dropped, failed;
};

struct replay {
	const struct replay_mode *mode;
	uint64_t seed, random_state;
	unsigned loss;                   /* which one of this history */
	bool verbose;
	bool no_syncs;                   /* operations that sync are passed over */
	struct simfs *sim;
	uint64_t file;                   /* the last one that an operation was done on, or 0 */
	char doing[200];
	struct replay_counts counts;
};

/* Tells what, with the line that replays it, and counts it.  Returns false. */
bool replay_failed(struct replay *run, const char *format, ...) __attribute__((format(printf, 2, 3)));
unsigned replay_pick(struct replay *run, unsigned below);

/* ---- replay_ops.c ---- */

/* One random operation.  False: it gave an error that it must not give. */
bool replay_operation(struct replay *run);
/* Some file, often the same as before, so that several changes meet: 0 if none was found. */
uint64_t replay_file(struct replay *run);

/* ---- replay_shot.c ---- */

/* All that can be seen of a tree, but what `only` leaves out. */
struct shot;

/* `only`: of other files neither size, blocks nor content are in the comparison (their content is kept for shot_explain); 0:
 * everything is. */
struct shot *shot_take(struct fs *fs, uint64_t only);
void shot_free(struct shot *shot);
/* Are both the same?  Else `why` has the first line that differs. */
bool shot_same(const struct shot *wanted, const struct shot *got, char *why, size_t why_bytes);
/* Each byte of each file in `got` is that of `wanted`, or that of `older`, or 0.  Else `why` says which is not. */
bool shot_explain(const struct shot *older, const struct shot *wanted, const struct shot *got, char *why, size_t why_bytes);

#endif
