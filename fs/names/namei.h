/* What changing names shares between namei.c and rename.c.  With fs->lock held; may return TREE_MISS where not said otherwise. */
#ifndef FS_NAMEI_H
#define FS_NAMEI_H

#include "fs/names/dir.h"
#include "fs/names/inode.h"

/* Most links of what is not a directory: what programs expect of LINK_MAX at most. */
#define NAMEI_LINKS_MAX 65000u

/* name_check, and `dots_error` for "." and "..".  Pure. */
int namei_check(const char *name, int dots_error);
/* A directory in which names may be made: -ENOTDIR, -ENOENT if it has been removed. */
int namei_dir(struct fs *fs, uint64_t ino, struct inode *ret_dir);
/* An entry with its link, and the inode that it names, checked against each other. */
int namei_find(struct fs *fs, uint64_t dir, const char *name, struct entry *ret_entry, struct inode *ret_child);

/* Counts in the directory that `child` came or goes.  Pure but for the report: -EUCLEAN if it has no more entries. */
void namei_enter(struct inode *dir, const struct inode *child);
int namei_leave(struct fs *fs, struct inode *dir, const struct inode *child);
/* mtime and ctime of a directory whose entries change.  Pure. */
void namei_touch(struct inode *dir, int64_t now);

/* Takes one name from an object (all of a directory), which becomes an orphan with the last; stores it.  namei_drop cannot
 * miss; *ret_reap as orphan_put says. */
int namei_drop_prepare(struct fs *fs, const struct inode *child);
int namei_drop(struct fs *fs, struct inode *child, int64_t now, bool *ret_reap);

#endif
