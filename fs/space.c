#include "fs/core.h"
#include "fs/relocate.h"
#include "fs/space.h"

#include <errno.h>

#define RESERVE_PERCENT 5
/* Rows a commit may need beyond its dirty blocks: partly filled last rows of data, nodes, system nodes; and one batch of
 * relocation with the nodes that it dirties. */
#define RESERVE_ROWS_MIN 24

static unsigned widest_row_blocks(const struct fs *fs)
{
	unsigned most = 0;
	for (uint32_t i = 0; i < fs->config->band_count; i++)
		if (band_row_blocks(&fs->config->bands[i]) > most)
			most = band_row_blocks(&fs->config->bands[i]);
	return most;
}

uint64_t space_reserve_rows(const struct fs *fs)
{
	uint64_t rows = fs->alloc.total_rows * RESERVE_PERCENT / 100 / 2;
	return rows > RESERVE_ROWS_MIN ? rows : RESERVE_ROWS_MIN;
}

uint64_t space_reserve_blocks(const struct fs *fs)
{
	uint64_t percent = fs->alloc.capacity_blocks * RESERVE_PERCENT / 100;
	uint64_t rows = 2 * space_reserve_rows(fs) * widest_row_blocks(fs);
	return percent > rows ? percent : rows;
}

static uint64_t dirty_blocks(const struct fs *fs)
{
	return (atomic_load(&fs->record_bytes) + fs->node_bytes) / BLOCK_BYTES;
}

static bool fits(const struct fs *fs, uint64_t blocks)
{
	return fs->alloc.live_blocks + dirty_blocks(fs) + fs->reserved_blocks + blocks + OP_METADATA_BLOCKS + space_reserve_blocks(fs)
		<= fs->alloc.capacity_blocks;
}

/* Free rows left once everything dirty is written as densely as commits do. */
static int64_t rows_ahead(const struct fs *fs)
{
	uint64_t rows_blocks = fs->alloc.capacity_blocks / fs->alloc.total_rows;
	return (int64_t)fs->alloc.free_rows - (int64_t)(dirty_blocks(fs) / (rows_blocks ? rows_blocks : 1));
}

bool space_rows_low(const struct fs *fs)
{
	return rows_ahead(fs) < (int64_t)(2 * space_reserve_rows(fs));
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

int space_claim(struct fs *fs, enum op_kind kind, uint64_t blocks)
{
	if (kind == OP_FREE)
		return 0;
	for (int tries = 0; !fits(fs, blocks); tries++) {
		if (tries == 3 || !commit_would_help(fs))
			return -ENOSPC;
		int r = commit_for_space(fs);
		if (r < 0)
			return r;
	}
	uint64_t row_blocks = fs->alloc.capacity_blocks / fs->alloc.total_rows;
	int stuck = 0;
	while (rows_ahead(fs) - (int64_t)(blocks / row_blocks) < (int64_t)space_reserve_rows(fs)) {
		int64_t before = rows_ahead(fs);
		int r = relocate_for_rows(fs);
		if (r < 0)
			return r;
		/* Emptying rows may take several rounds before the first one is free. */
		stuck = rows_ahead(fs) > before ? 0 : stuck + 1;
		if (stuck > RELOCATE_ROUNDS_MAX)
			return -ENOSPC;
	}
	return fits(fs, blocks) ? 0 : -ENOSPC;
}

void fs_space(struct fs *fs, struct fs_space *ret_space)
{
	pthread_mutex_lock(&fs->lock);
	uint64_t reserve = space_reserve_blocks(fs), used = fs->alloc.live_blocks + dirty_blocks(fs) + fs->reserved_blocks;
	ret_space->capacity_blocks = fs->alloc.capacity_blocks - reserve;
	ret_space->free_blocks = used < ret_space->capacity_blocks ? ret_space->capacity_blocks - used : 0;
	ret_space->inodes = fs->inode_count;
	pthread_mutex_unlock(&fs->lock);
}
