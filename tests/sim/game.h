/* A game of random operations against the model: shared by test_model.c (mounts, cuts, the run), model_ops.c and
 * model_data.c (operations). */
#ifndef TESTS_SIM_GAME_H
#define TESTS_SIM_GAME_H

#include "base/cleanup.h"
#include "tests/lib/model.h"
#include "tests/lib/simfs.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAMES 40u
#define PHASE_OPS 500u
#define FILE_BYTES_MAX (1536u << 10)

struct game {
	uint64_t seed, random_state;
	unsigned long ops, op;
	bool verbose;
	struct simfs *sim;
	struct model now, durable;       /* durable: as of the last acknowledged commit */
	uint64_t generation;             /* of that */
	int stale;                       /* member that may lack something, or -1 */
	struct simstore *older;          /* what member older_member held at some time, or NULL */
	unsigned older_member;
	char doing[160];
	unsigned long done[64], least_free, nospace, cuts, left_out, rolled_back, caught_up, implicit;
	char names[NAMES][256];
};

static inline struct fs *fs_of(struct game *run) { return run->sim->fs; }

void fail(struct game *run, const char *format, ...) __attribute__((format(printf, 2, 3), noreturn));
/* What the operation is, for the message of a failure. */
void doing(struct game *run, const char *format, ...) __attribute__((format(printf, 2, 3)));

uint64_t random_u64(struct game *run);
unsigned pick(struct game *run, unsigned below);
bool chance(struct game *run, unsigned percent);
void fill_random(struct game *run, uint8_t *bytes, size_t count);
/* A size or an offset: mostly small, often at an edge. */
uint64_t pick_bytes(struct game *run, uint64_t most);
/* A slot for which `wanted` says yes: -1. */
int pick_slot(struct game *run, bool (*wanted)(const struct model_inode *));
/* Phases in which the filesystem grows, shrinks, or both: full, and mostly full, is where space is hard to find. */
bool is_growing(const struct game *run);
/* An operation got -ENOSPC: right only when there is next to no space. */
void nospace(struct game *run, uint64_t wanted_blocks);

/* model_data.c */
void op_write(struct game *run);
void op_truncate(struct game *run);
void op_fallocate(struct game *run);
void op_read(struct game *run);
void op_seek(struct game *run);

/* One random operation on the filesystem and on the model; compares what both say. */
void game_operation(struct game *run);
/* A large file that stays, so that the rest is about `free_blocks`. */
void game_ballast(struct game *run, uint64_t free_blocks);

#endif
