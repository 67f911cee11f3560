/* Damage that every tag agrees with: each kind is done by the filesystem's own means in a transaction, and committed. */
#ifndef TESTS_SIM_DAMAGE_H
#define TESTS_SIM_DAMAGE_H

#include "tests/lib/simfs.h"

struct damage {
	const char *name;
	int (*body)(struct fs *fs);      /* lock held, may TREE_MISS; NULL: none */
	const char *says;                /* a part of what the check must say */
	bool system;                     /* changes the system tree */
};
extern const struct damage damages[];
extern const size_t damage_count;

/* What it is done to: a directory with that file, a directory inside it, and a long xattr of the file. */
extern uint64_t damage_file, damage_dir, damage_inner;
/* Makes them. */
int damage_prepare(struct simfs *sim);
/* Does it and commits. */
int damage_apply(struct fs *fs, const struct damage *damage);
/* The address of the file's first extent. */
int damage_extent(struct fs *fs, address *ret_at);

#endif
