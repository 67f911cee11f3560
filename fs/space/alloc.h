/* Which rows are free, and the bits that say which blocks are live.
 *
 * Bits live in the system tree as items of BITMAP_CHUNK_ROWS rows; a chunk in memory has them twice:
 *   tree[]  as the system tree that is being made says (set ⇔ live);
 *   used[]  for allocation: tree[] and also what was freed too recently to be reused (rule R2: its generation is not durable
 *           yet, or a pin holds it).  alloc_release turns the latter into the former.
 * and a mask of rows that were handed out and are not in the bits yet (`taken`).
 * A row is free iff none of its bits in used[] is set and it is not taken.  A chunk with any difference between the three, or
 * with taken rows, stays in memory (`holds`), so that a chunk read from the system tree is always plain.
 *
 * Everything with fs->lock held; what reads the system tree may return TREE_MISS and has then changed nothing. */
#ifndef FS_ALLOC_H
#define FS_ALLOC_H

#include "base/list.h"
#include "raid/layout.h"

#include <stdbool.h>
#include <stddef.h>

struct fs;
struct run;

struct rows {
	uint32_t band;                   /* index in the configuration's bands, not the id */
	uint64_t row;
	unsigned count;
};

struct band_state {
	uint64_t live_blocks, tree_free_rows;    /* as in the system tree being made */
	uint64_t free_rows;                      /* that may be allocated now */
	bool dirty;
};

struct chunk;

struct alloc {
	struct band_state *bands;
	struct chunk **buckets;
	size_t bucket_count, chunk_count, chunk_limit;
	struct list lru;                 /* all chunks, oldest first */
	struct list dirty;               /* chunks whose tree[] differs from the item */
	uint32_t cursor_band;
	uint64_t cursor_row;
	uint64_t capacity_blocks, live_blocks;   /* live: bits in tree[] of all bands, plus blocks of taken system rows */
	uint64_t free_rows, total_rows;
	unsigned widest_row_blocks;      /* of all bands */
};

int alloc_init(struct fs *fs);           /* all free; then alloc_load for an existing array */
int alloc_load(struct fs *fs);           /* reads the band items: a body, may TREE_MISS */
void alloc_free(struct fs *fs);

/* Takes up to `want` free rows in one run within a parity run: the next after the cursor.  -ENOSPC when there is none. */
int alloc_take(struct fs *fs, unsigned want, struct rows *ret_rows);
/* Marks rows taken that are in use and in no bitmap (pending runs, at open). */
int alloc_take_at(struct fs *fs, const struct rows *rows);
/* Gives back rows that were taken and not used. */
void alloc_untake(struct fs *fs, const struct rows *rows);

/* The commit's steps: set a run's live blocks (its rows become plain), clear freed blocks. */
void alloc_set(struct fs *fs, const struct run *run);
int alloc_clear(struct fs *fs, address from, uint32_t blocks);
/* Writes one dirty chunk (bitmap item, row items of rows that became empty) to the system tree: 1 if there was one,
 * 0 when none is left. */
int alloc_store_some(struct fs *fs);
int alloc_store_band(struct fs *fs);     /* likewise for one band item */
/* Puts the row items of a run. */
int alloc_store_run(struct fs *fs, const struct run *run, uint64_t generation);
/* Blocks cleared by a commit that is durable and that no pin holds may be allocated. */
void alloc_release(struct fs *fs, address from, uint32_t blocks);

/* For repair: the blocks are live in the system tree being made (those that are already stay so). */
int alloc_mark(struct fs *fs, address from, uint32_t blocks);
/* For going back to an older root: the blocks are not allocated as long as this filesystem is open. */
int alloc_keep(struct fs *fs, address from, uint32_t blocks);

/* Rows of a chunk for those who look for sparse ones: live blocks of the row, or -1 where the row is taken. May TREE_MISS. */
int alloc_row_live(struct fs *fs, uint32_t band, uint64_t row, int *ret_live);
/* Is the block's bit set in the system tree? May TREE_MISS. */
int alloc_block_live(struct fs *fs, address block, bool *ret_live);
/* Is the block live in any generation that still counts: in tree[], or freed by one that is not durable or that a pin holds, or
 * in a row that is taken? May TREE_MISS. */
int alloc_block_used(struct fs *fs, address block, bool *ret_used);

#endif
