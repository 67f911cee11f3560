/* Inside of test_repair: what its files share. */
#ifndef TESTS_SIM_REPAIR_H
#define TESTS_SIM_REPAIR_H

#include "fs/fsck/check.h"
#include "tests/lib/simfs.h"

/* ---- repair_judge.c: opening, repairing, and what must be there afterwards ---- */

#define OTHERS 240u                      /* files that nothing happens to */

extern unsigned repair_failed;           /* checks */
extern bool repair_verbose;
extern unsigned repair_named_damaged;    /* notes that the damaged file has data that cannot be read */
extern unsigned repair_named_parity;     /* notes that parity was written anew … */
extern unsigned repair_named_gone;       /* … that its row holds nothing any more … */
extern unsigned repair_named_left;       /* … that it stays wrong */

extern void (*repair_on_note)(enum check_note kind, const char *text);  /* sees all notes; may be NULL */

bool repair_check(bool ok, const char *what, const char *name, const char *file, int line);
#define CHECK(name, what) repair_check(what, #what, name, __FILE__, __LINE__)

int repair_run(struct fs *fs, bool repair, struct fs_check_result *ret_result);
int repair_open(struct simfs *sim, bool repair, bool salvage);
int make_others(struct fs *fs);
/* At least `least` of them read as they were.  Data that was cut out with a leaf is missing from files that stay: none reads as
 * something else but those that were named, by one of `repairs` (bits, by cut_depth). */
void check_others(struct fs *fs, const char *name, unsigned least, unsigned repairs);
/* Listing, with and without attributes, gives as much as can be read: all entries lie in leaves that can be, unless `least` is 0,
 * where the directory itself is lost. */
void check_listing(struct fs *fs, const char *name, unsigned least);
/* A member that was left out is given again, and catches up; the check then finds nothing. */
void check_caught_up(struct simfs *sim, const char *name);

/* What a repair has to leave of one base. */
struct repair_case {
	const char *name;
	unsigned least;                  /* of the others that are there */
	bool spoiled;                    /* units of two members are damaged: a third one that is absent may cost more */
};
/* Repaired until nothing is left, clean when opened again, and it works.  Members that are left out stay so, and in the end
 * catch up. */
void repair_all(struct simfs *sim, const struct repair_case *c);
/* A repair that may be cut anywhere. */
void repair_and_close(struct simfs *sim);

/* ---- repair_cut.c: the power fails at every write and flush of something ---- */

struct cut_act {
	const char *name;
	void (*act)(struct simfs *sim, const void *ctx);         /* closes in the end */
	/* Opens what a cut of `act` left, members that are left out too, and looks. */
	void (*judge)(struct simfs *sim, const void *ctx);
	bool again;                      /* also a second cut, within the same done once more */
	const void *ctx;
};
struct cut_counts { unsigned cuts, second_cuts, states, missing, identical; };
extern struct cut_counts cut_counts;
extern unsigned cut_depth;               /* 0: the act, or nothing is cut; 1: done once more; the last: judging */
extern unsigned cut_shard, cut_shards;   /* cases of which this run has its part */

/* At each cut: nothing, all and something of what was not flushed is kept, and then each single member is absent. */
void cut_everywhere(const struct simfs *base, const struct cut_act *act);
/* Is the next case this run's? */
bool cut_mine(void);
/* Every one, or under sanitizers fewer. */
unsigned cut_stride(void);

/* ---- repair_revert.c: going back to an older root, cut too ---- */

void repair_revert(struct simfs *base);

#endif
