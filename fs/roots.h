/* The roots that members still have in their rings, and whether the trees that they name can be opened. */
#ifndef FS_ROOTS_H
#define FS_ROOTS_H

#include "fs/fs.h"

struct fs_root {
	uint64_t term, generation;
	uint64_t tree;                   /* the generation that made its trees */
	uint32_t members;                /* bit by member that holds it */
	bool newest;                     /* the one that a mount takes */
	bool opens;                      /* the first nodes of its trees can be read; what is below them is not looked at */
};

/* The `room` newest roots, the newest first.  Opens the array read-only, as fs_open does (the same arguments and failures), but needs
 * no tree to be readable. */
int fs_list_roots(struct probe *probe, const struct secret *secret, bool allow_none, const struct fs_options *options,
	struct fs_root *ret_roots, unsigned room, unsigned *ret_count, struct fail *fail);

#endif
