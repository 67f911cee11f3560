/* The proof of power cuts: shared by test_power.c (what is run), power_ops.c (operations), power_play.c (running a workload and
 * taking the world at each cut), power_short.c (the workloads), power_oracle.c (what must be there afterwards), power_cut.c (the
 * states of one cut), power_history.c (several mounts) and power_seal.c (nonces, plaintext). */
#ifndef TESTS_SIM_POWER_H
#define TESTS_SIM_POWER_H

#include "base/cleanup.h"
#include "tests/lib/model.h"
#include "tests/lib/simfs.h"

#include <stdio.h>

#define POWER_MEMBERS_MAX 5u
#define POWER_MEMBER_BYTES (8u << 20)

struct power_random { uint64_t state; };
uint64_t power_next(struct power_random *random);
unsigned power_pick(struct power_random *random, unsigned below);
/* Of several numbers: for seeds. */
uint64_t power_mix(uint64_t a, uint64_t b);

/* ---- Operations ---- */

enum power_kind {
	P_NONE, P_CREATE, P_MKDIR, P_SYMLINK, P_WRITE, P_TRUNCATE, P_PUNCH, P_ZERO, P_ZERO_KEEP, P_RESERVE, P_EXTEND, P_RENAME,
	P_EXCHANGE, P_LINK, P_UNLINK, P_RMDIR, P_SETXATTR, P_REMOVEXATTR, P_CHMOD, P_TIMES, P_REF, P_UNREF,
	P_FSYNC, P_SYNC, P_WORK, P_PLACE,
};

/* Paths have at most two parts; "" is the root directory. */
struct power_op { enum power_kind kind; const char *path, *path2; uint64_t at, bytes; };

/* In every name, file, symlink target and xattr value. */
#define POWER_MARK "r5PLAIN!"
#define POWER_NAME(name) POWER_MARK name
#define POWER_PATH(dir, name) POWER_NAME(dir) "/" POWER_NAME(name)

/* Slot of the object, or -1. */
int power_resolve(const struct model *model, const char *path);
/* True if the operation makes sense on that model. */
bool power_applies(const struct model *model, const struct power_op *op);
/* Does one that applies, on both.  `salt` makes the bytes that it writes its own. Returns 0 or the filesystem's error. */
int power_apply(struct model *model, struct fs *fs, const struct power_op *op, unsigned salt);
void power_op_text(const struct power_op *op, char *text, size_t bytes);

/* ---- Running ---- */

/* What the filesystem was after each operation, and what of it was acknowledged. */
struct power_ack { unsigned index; uint64_t ino; };      /* ino 0: all files */
struct timeline {
	struct model *states;
	unsigned count, room;
	struct power_ack *acks;          /* of file data: fsync, sync, and a rename over an existing file */
	unsigned ack_count, ack_room;
	unsigned acknowledged;           /* index in states[]: at least this is durable */
};
void timeline_free(struct timeline *timeline);

/* The power fails here. */
struct power_fork { struct simworld *world; unsigned low, high, ack_count, moment_count; bool opening, caught_up; };
/* What the members held at some moment: for stale ones. */
struct power_moment { struct simstore *members[POWER_MEMBERS_MAX]; };

struct play {
	struct simfs *sim;
	struct timeline line;
	struct model now;
	unsigned salt;
	struct power_fork *forks;
	unsigned fork_count, fork_room;
	struct power_moment *moments;
	unsigned moment_count, moment_room, member_count;
	bool recording, in_flight;
	bool caught_up;                  /* no member has a gap any more */
	bool full;                       /* stopped for want of space */
	char trace[4096];                /* for the message of a failure */
};

/* Takes over sim, which is not open yet; records. */
void play_prepare(struct play *play, struct simfs *sim);
/* The opened filesystem's content is what `state` says, exactly. */
void play_adopt(struct play *play, const struct model *state);
/* Both, for a filesystem that is open; doesn't record. */
void play_begin(struct play *play, struct simfs *sim, const struct model *state);
void play_end(struct play *play);
/* 0, or the error of something that must not fail. An operation that does not apply is left out. */
int play_op(struct play *play, const struct power_op *op);
/* From now on (or not any more) the world is taken at each write and flush. */
void play_record(struct play *play, bool on);
/* Members may be as they are now, later. */
void play_moment(struct play *play);

/* ---- The oracle ---- */

/* Is the open filesystem a prefix of the timeline between `low` and `high`?  Returns the index, or -1 and `why`. */
int power_judge(const struct timeline *line, unsigned ack_count, unsigned low, unsigned high, struct fs *fs, char *why,
	size_t why_bytes);

/* ---- States ---- */

struct power_counts {
	unsigned long states;            /* distinct, opened and judged */
	unsigned long identical;         /* left out, since the very same disks were judged before in this workload */
	unsigned long same_cuts;         /* writes before which the disks were as at the cut before: judged with it */
	unsigned long lost, workloads, forks, second, refused, healed, opened_again;
};
extern struct power_counts power_counts;

struct power_run {
	char kind;                       /* 's', 'r' or 'h', for the line that replays */
	uint64_t number;
	uint64_t only_state;             /* UINT64_MAX: all */
	uint64_t state;                  /* number of the next one */
	bool verbose;
	const char *trace;
	struct hash_set *seen;
};

/* How much of what there is is tried. */
struct power_effort {
	unsigned all_subsets_of;         /* up to so many unflushed writes: all subsets */
	unsigned random_subsets;
	unsigned variants;               /* so many of the members that may be missing or older, chosen by seed; 0: all */
	unsigned forks;                  /* at most so many cuts, chosen by seed; 0: all */
};

void power_lost(struct power_run *run, const char *what, const char *why);

/* The state of one unflushed write each; made for the disks of a world. */
struct power_plan { unsigned first[SIM_DISKS_MAX + 1]; struct simkeep *keep; uint64_t *sectors; unsigned count; };
void plan_begin(struct power_plan *plan, struct simworld *world);
void plan_end(struct power_plan *plan);
/* Number of plans that there are; plan_choose makes number `i` of them. */
unsigned plan_count(const struct power_plan *plan, const struct power_effort *effort);
void plan_choose(struct power_plan *plan, const struct power_effort *effort, unsigned i, uint64_t seed);
/* A new world: the power failed, and is on again. */
struct simworld *plan_apply(const struct power_plan *plan, struct simworld *cut);

/* All states of all cuts of a workload. */
void power_cuts(struct power_run *run, struct play *play, const struct power_effort *effort);
/* Lets all members catch up. */
bool power_catch_up(struct simfs *sim);
/* Makes model what the file system holds: files that were not synced may differ. */
void power_adopt_data(struct model *model, struct fs *fs);
/* fs_check; complains of what it finds. */
bool power_checks(struct fs *fs, bool data, char *why, size_t why_bytes);
/* Writes, syncs, catches up if `whole`, and looks again. */
bool power_goes_on(struct simfs *sim, bool whole, char *why, size_t why_bytes);

struct hash_set;
struct hash_set *hash_set_new(void);
void hash_set_free(struct hash_set *set);
/* True if it was not there before. */
bool hash_set_add(struct hash_set *set, uint64_t hash);

/* ---- What is run ---- */

/* A filesystem with some files: committed, or only logged (then `play` is open and goes on). */
void power_base(struct play *play, unsigned members, bool logged, uint64_t salt);
uint64_t power_short_count(void);
/* The numbers of those that are run each time. */
uint64_t power_short_few(void);
uint64_t power_short_of_few(uint64_t i);
void power_short(struct power_run *run, const struct power_effort *effort);
void power_long(struct power_run *run, const struct power_effort *effort);
void power_random_op(struct power_random *random, struct power_op *ret_op);
void power_history(struct power_run *run, const struct power_effort *effort);

/* ---- Nonces and plaintext ---- */

void power_watch(struct simworld *world);
extern unsigned long power_sealed, power_written_bytes;

#endif
