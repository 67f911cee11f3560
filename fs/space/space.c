#include "fs/core.h"
#include "fs/space/relocate.h"
#include "fs/space/space.h"

#include <errno.h>

/* Fixed by simulating random overwrites up to the limit (tests/sim): with less, emptying rows costs more than it gains, since
 * each batch also dirties nodes.  Of the reserved blocks a part must be whole free rows, for commits and for relocation's batches;
 * in a tiny array that part is larger, since each commit writes most of the system tree anew, and what that frees comes back
 * only two commits later. */
#define RESERVE_PERCENT 8
#define RESERVE_ROWS_PERCENT 2
#define RESERVE_ROWS_MIN 128
/* What writes into reserved space take beside it: metadata of an operation that is not committed yet (twice what one takes, since an
 * edge may be rewritten too), and items for extents in the place of one for all, of which one for each block is the worst. */
#define RESERVED_METADATA_BLOCKS (2 * OP_METADATA_BLOCKS)
#define RESERVED_METADATA_SHARE 32
#define FRUITLESS_ROUNDS_MAX 16  /* rounds of relocation without a new best, before a claim gives up */
#define RENAME_SHARE 8           /* of the reserved blocks, renames may take one in so many */
#define RESERVE_ROWS_MIN_SHARE 6 /* of a tiny array's rows at most one in so many */

uint64_t space_reserve_rows(const struct fs *fs)
{
	uint64_t total = fs->alloc.total_rows, rows = total * RESERVE_ROWS_PERCENT / 100;
	uint64_t least = total / RESERVE_ROWS_MIN_SHARE < RESERVE_ROWS_MIN ? total / RESERVE_ROWS_MIN_SHARE : RESERVE_ROWS_MIN;
	return rows > least ? rows : least;
}

uint64_t space_reserve_blocks(const struct fs *fs)
{
	uint64_t percent = fs->alloc.capacity_blocks * RESERVE_PERCENT / 100;
	uint64_t rows = 2 * space_reserve_rows(fs) * fs->alloc.widest_row_blocks;
	return percent > rows ? percent : rows;
}

static uint64_t dirty_blocks(const struct fs *fs)
{
	return (atomic_load(&fs->record_bytes) + fs->node_bytes) / BLOCK_BYTES;
}

/* Of all that the bitmaps do not say yet. */
static uint64_t coming_blocks(const struct fs *fs)
{
	return dirty_blocks(fs) + fs->open->placed_blocks + (fs->committing ? fs->committing->placed_blocks : 0);
}

uint64_t space_to_reserve(uint64_t blocks)
{
	return blocks + blocks / RESERVED_METADATA_SHARE + RESERVED_METADATA_BLOCKS;
}

/* Reserved space, and what else it takes to write there. */
static uint64_t reserved_blocks(const struct fs *fs)
{
	return fs->reserved_blocks ? space_to_reserve(fs->reserved_blocks) : 0;
}

static bool fits(const struct fs *fs, enum op_kind kind, uint64_t blocks)
{
	uint64_t reserved = kind == OP_FILL ? fs->reserved_blocks : reserved_blocks(fs), reserve = space_reserve_blocks(fs);

	if (kind == OP_RENAME)
		reserve -= reserve / RENAME_SHARE;
	return fs->alloc.live_blocks + coming_blocks(fs) + reserved + blocks + OP_METADATA_BLOCKS + reserve <= fs->alloc.capacity_blocks;
}

/* The most that what is dirty takes of rows.  A record of less than a unit shares one with those before and behind it, if it fits: of two
 * units that follow one another at least five blocks of eight are used. */
static uint64_t dirty_blocks_placed(const struct fs *fs)
{
	return (atomic_load(&fs->record_bytes) / 5 * 8 + fs->node_bytes) / BLOCK_BYTES;
}

int64_t space_rows_ahead(const struct fs *fs)
{
	uint64_t rows_blocks = fs->alloc.capacity_blocks / fs->alloc.total_rows;
	return (int64_t)fs->alloc.free_rows - (int64_t)(dirty_blocks_placed(fs) / (rows_blocks ? rows_blocks : 1));
}

bool space_rows_low(const struct fs *fs)
{
	return space_rows_ahead(fs) < (int64_t)(2 * space_reserve_rows(fs));
}

/* Commits, so that freed blocks come back. Lock held, dropped meanwhile. */
static int commit_for_space(struct fs *fs)
{
	pthread_mutex_unlock(&fs->lock);
	int r = fs_sync(fs);
	pthread_mutex_lock(&fs->lock);
	return r;
}

static bool commit_would_help(const struct fs *fs)
{
	return fs->open->freed_blocks > 0 || fs->committing || fs->pending_freed_count > 0;
}

/* Waits until so many rows are free. Below that, relocation runs until there is some room again, so that it is not called for
 * every write: up to half of what could be had above. */
static int wait_for_rows(struct fs *fs, uint64_t rows)
{
	int64_t row_blocks = (int64_t)(fs->alloc.capacity_blocks / fs->alloc.total_rows), need = (int64_t)rows;
	if (space_rows_ahead(fs) >= need)
		return 0;
	int64_t possible = (int64_t)(fs->alloc.capacity_blocks - fs->alloc.live_blocks) / row_blocks;
	int64_t target = need + (possible > need ? (possible - need) / 2 : 0);
	int64_t most = space_rows_ahead(fs);
	for (int fruitless = 0; space_rows_ahead(fs) < target && fruitless < FRUITLESS_ROUNDS_MAX; ) {
		/* Rows that were freed and that a pin holds back are worth waiting for: there may be nothing else to gain. */
		if (commit_wait_release(fs))
			continue;
		int r = relocate_for_rows(fs);
		if (r < 0)
			return r;
		if (r == 0)
			break;
		fruitless = space_rows_ahead(fs) > most ? 0 : fruitless + 1;
		if (fruitless == 0)
			most = space_rows_ahead(fs);
	}
	return space_rows_ahead(fs) < need ? -ENOSPC : 0;
}

int space_claim(struct fs *fs, enum op_kind kind, uint64_t blocks)
{
	if (kind == OP_RELOCATE)
		return 0;
	if (kind == OP_FREE) {
		int r = wait_for_rows(fs, space_reserve_rows(fs) / 2);
		return r == -ENOSPC ? 0 : r;
	}
	for (int tries = 0; !fits(fs, kind, blocks); tries++) {
		if (tries == 3 || !commit_would_help(fs))
			return -ENOSPC;
		int r = commit_for_space(fs);
		if (r < 0)
			return r;
	}
	uint64_t row_blocks = fs->alloc.capacity_blocks / fs->alloc.total_rows;
	int r = wait_for_rows(fs, space_reserve_rows(fs) + blocks / row_blocks);
	if (r < 0)
		return r;
	return fits(fs, kind, blocks) ? 0 : -ENOSPC;
}

void fs_space(struct fs *fs, struct fs_space *ret_space)
{
	pthread_mutex_lock(&fs->lock);
	uint64_t reserve = space_reserve_blocks(fs), used = fs->alloc.live_blocks + coming_blocks(fs) + reserved_blocks(fs);
	ret_space->capacity_blocks = fs->alloc.capacity_blocks - reserve;
	ret_space->free_blocks = used < ret_space->capacity_blocks ? ret_space->capacity_blocks - used : 0;
	ret_space->inodes = fs->inode_count;
	pthread_mutex_unlock(&fs->lock);
}
