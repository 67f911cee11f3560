/* An array on simulated disks, for tests of raid/array.h: made, opened with any of its members,
 * committed to, and checked against a model of what its rows hold.
 *
 * The key is a stand-in: MACs and tags are a hash with a secret prefix, so that forged and damaged
 * structures fail as they would with a real one. */
#ifndef TESTS_LIB_ARRAY_RIG_H
#define TESTS_LIB_ARRAY_RIG_H

#include "raid/array.h"
#include "tests/lib/simdisk.h"

#define RIG_EVENT_KINDS (EVENT_WARNING + 1u)

struct rig {
	struct simworld *world;
	unsigned count;
	struct simdisk *sims[MEMBERS_MAX];
	struct uuid uuids[MEMBERS_MAX];
	struct uuid uuid;
	struct env env;
	struct event_sink sink;
	unsigned events[RIG_EVENT_KINDS];
	char last_text[RIG_EVENT_KINDS][512];
	struct array_auth auth;
	struct array *array;             /* open, or NULL */
	struct fail fail;
	/* of the newest root */
	uint64_t generation, tree, tree_before;
	/* the model: what was last written to each row of each band, 0 for nothing, and in which generation */
	uint32_t *versions;
	uint64_t *written;
	uint64_t rows_max;
	uint32_t next_version;
};

/* Makes an array on `count` new disks of these sizes; it is closed again. */
struct rig *rig_new(uint64_t seed, unsigned count, const uint64_t *sizes_bytes);
void rig_free(struct rig *rig);
/* Begins to make another array on the same disks (array_create, no more); the old model stays. */
int rig_remake(struct rig *rig);
/* Opens with the members of the mask; the result of array_probe or array_open. */
int rig_open_mode(struct rig *rig, uint32_t members, bool read_only);
int rig_open(struct rig *rig, uint32_t members);
void rig_close(struct rig *rig);
/* Takes the term and writes the opening root. */
int rig_begin(struct rig *rig);
/* Flushes, and writes a root with a new tree. */
int rig_commit(struct rig *rig);
/* Writes rows with new content into the generation that is being made. */
int rig_write(struct rig *rig, uint32_t band, uint64_t row, unsigned row_count);
/* Reads blocks and compares them with the model: 0, an error of the read, or 1 for wrong content. */
int rig_check(struct rig *rig, address from, unsigned blocks);
/* Compares all rows ever written; `rebuilt`: each unit by XOR of the others. The first failure, as rig_check. */
int rig_check_all(struct rig *rig, bool rebuilt);
/* The content that the model expects at a block. */
void rig_expect(struct rig *rig, address from, uint8_t ret_block[BLOCK_BYTES]);
uint64_t rig_written(struct rig *rig, uint32_t band, uint64_t row);

#endif
