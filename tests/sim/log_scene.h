/* A filesystem that lost power with records in its intent log, and then two faults at one place: what was acknowledged, and what of it
 * is there. */
#ifndef TESTS_SIM_LOG_SCENE_H
#define TESTS_SIM_LOG_SCENE_H

#include "fs/fsck/check.h"
#include "tests/lib/simfs.h"

/* What is looked for: in the order of the records that have it, but for what was there before all of them. */
enum scene_item {
	SCENE_REST,                      /* of the file of which one block was overwritten: what was there before */
	SCENE_BLOCK,                     /* the block */
	SCENE_NEW,                       /* a file that was made */
	SCENE_SMALL,                     /* an inline file that was written again */
	SCENE_RENAMED,                   /* an inline file that has another name */
	SCENE_GROWN,                     /* a file that was continued */
	SCENE_CUT,                       /* a file that was truncated, and its last block written */
	SCENE_GONE,                      /* a file that was removed */
	SCENE_ITEMS,
};
#define SCENE_RECORDS 7u
#define SCENE_ALL ((1u << SCENE_ITEMS) - 1)
#define SCENE_BIT(item) (1u << (item))

struct scene {
	struct simfs *sim;               /* closed, after the power failed */
	unsigned files;                  /* that nothing happens to, inline, in /dir */
	uint64_t dir, block, fresh, small, renamed;      /* inodes */
	uint64_t log_at_bytes[SCENE_RECORDS];    /* where each record lies, from the disks' start */
	uint64_t generation;             /* of the newest root, and of one that is older … */
	uint64_t older;
	address root, system_root;       /* … and the first nodes of the trees */
};

/* With so many files, and disks of that size. */
void scene_make(struct scene *ret_scene, unsigned files, uint64_t disk_bytes, uint64_t seed);
void scene_free(struct scene *scene);

struct scene_seen {
	unsigned right;                  /* bit by item: as it was acknowledged */
	unsigned wrong;                  /* bit by item: something else, and neither an error nor missing */
	unsigned made_up;                /* zeros or less where there was data: must have been named */
	unsigned files;                  /* of scene.files: as they were … */
	unsigned files_wrong;
};
void scene_look(const struct scene *scene, struct fs *fs, struct scene_seen *ret_seen);
const char *scene_item_name(enum scene_item item);
/* Its name in messages. */
const char *scene_item_path(enum scene_item item);

#endif
