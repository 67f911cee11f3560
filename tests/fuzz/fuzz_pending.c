/* Pending records, opened: all rows and blocks that they name lie in bands of the array, and owners inside their runs. */
#include "fs/core.h"
#include "fs/space/pending.h"
#include "tests/fuzz/fuzz.h"

#include <errno.h>
#include <stdlib.h>

/* An array like that of the corpus. */
static struct config *make_config(void)
{
	struct config *config = calloc(1, sizeof *config);
	uint64_t sizes[] = { 16u << 20, 16u << 20, 16u << 20, 16u << 20 };
	uint32_t granules[4];

	MUST(config && geometry_plan(sizes, 4, &config->geometry, granules) == 0);
	config->member_count = 4;
	for (unsigned i = 0; i < 4; i++)
		config->members[i] = (struct config_member){ .uuid = { { (uint8_t)(i + 1) } }, .role = MEMBER_VOTER, .granules = granules[i],
			.size_bytes = sizes[i] };
	MUST(config_make_bands(config) == 0);
	return config;
}

static void check_rows(const struct fs *fs, const struct rows *rows)
{
	MUST(rows->band < fs->config->band_count && rows->count >= 1 && rows->count <= PARITY_RUN_ROWS);
	MUST(rows->row < fs->config->bands[rows->band].rows && rows->count <= fs->config->bands[rows->band].rows - rows->row);
}

static void check_runs(const struct fs *fs)
{
	for (size_t i = 0; i < fs->pending_run_count; i++) {
		const struct run *run = &fs->pending_runs[i];
		check_rows(fs, &run->rows);
		unsigned blocks = run->rows.count * band_row_blocks(&fs->config->bands[run->rows.band]);
		for (unsigned o = 0; o < run->owner_count; o++)
			MUST(le16_get(run->owners[o].start_block) + le16_get(run->owners[o].blocks) <= blocks && run->owners[o].tree == TREE_SYSTEM);
	}
	for (size_t i = 0; i < fs->last_written_count; i++)
		check_rows(fs, &fs->last_written[i]);
	for (size_t i = 0; i < fs->pending_freed_count; i++) {
		const struct freed *f = &fs->pending_freed[i];
		const struct band *b = config_band(fs->config, address_band(f->address));
		MUST(b && address_block(f->address) < band_blocks(b) && f->blocks <= band_blocks(b) - address_block(f->address));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct config *config;
	static uint8_t image[UNIT_BYTES];
	struct fs *fs = calloc(1, sizeof *fs);
	struct disk_pointer next;
	size_t owner_room = 0;

	if (!config)
		config = make_config();
	MUST(fs);
	fs->config = config;
	fuzz_take(data, size, image, sizeof image);
	uint64_t generation = le64_get(((const struct pending_header *)image)->generation);
	int r = pending_take(fs, image, generation, &owner_room, &next);
	check_runs(fs);
	if (r == 0) {
		fuzz_accept();
		MUST(pending_take(fs, image, generation + 1, &owner_room, &next) == -EUCLEAN);
	} else {
		MUST(r == -EUCLEAN || r == -EPROTONOSUPPORT);
	}
	for (size_t i = 0; i < fs->pending_run_count; i++)
		free(fs->pending_runs[i].owners);
	free(fs->pending_runs);
	free(fs->pending_freed);
	free(fs->last_written);
	free(fs);
	return 0;
}
