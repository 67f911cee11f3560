/* Directory entries and the links that mirror them.  All with fs->lock held; may return TREE_MISS where not said otherwise.
 *
 * Each entry is two items: ITEM_DIRENT of the directory, found by the hash of the name, and ITEM_LINK of the child, found by the
 * hash of directory and name; both by fs/names/window.h.  They are made and removed together. */
#ifndef FS_DIR_H
#define FS_DIR_H

#include "fs/fs.h"
#include "fs/tree/tree.h"

#include <stdbool.h>

/* An entry that is there, or may be put there. */
struct entry {
	struct key dirent, link;
	uint64_t dir, child;
	uint8_t type;                    /* DT_… of the child */
	const char *name;
};

/* -ENOENT for an empty name, -ENAMETOOLONG, -EINVAL for one with a '/'. Pure. */
int name_check(const char *name);
/* "." or ".."?  Pure. */
bool name_is_dots(const char *name);

/* Do the items make sense by themselves?  Pure. */
bool dirent_item_valid(const void *value, unsigned bytes);
bool link_item_valid(const void *value, unsigned bytes);

/* Finds the entry, without its link. -ENOENT. */
int entry_lookup(struct fs *fs, uint64_t dir, const char *name, struct entry *ret_entry);
/* Finds the entry with its link. -ENOENT; -EUCLEAN if the link is not there. */
int entry_find(struct fs *fs, uint64_t dir, const char *name, struct entry *ret_entry);
/* Where an entry for `child` goes; it is new if `ret_exists` is NULL (-EEXIST), else it may replace one.  -ENOSPC: too many names with
 * one hash. `mode` is the child's. */
int entry_place(struct fs *fs, uint64_t dir, const char *name, uint64_t child, uint32_t mode, bool *ret_exists, struct entry *ret_entry);

/* Puts a dirent item alone, whose key is prepared. */
int dirent_put(struct fs *fs, const struct key *key, uint64_t child, uint8_t type, const char *name, unsigned name_bytes);
/* Makes both items of the entry changeable. */
int entry_prepare(struct fs *fs, const struct entry *entry);
/* Puts both items; prepared. Cannot miss.  (New keys are put before any key is deleted: a deletion may take the leaf away in
 * which they would have gone.) */
int entry_put(struct fs *fs, const struct entry *entry);
/* Deletes the link, and the dirent too unless it has been replaced. */
int entry_delete(struct fs *fs, const struct entry *entry, bool dirent_too);

/* names_salvage.c: in a salvage mount, finds entries that cannot be read by what they name, once; no lock held. */
int names_salvage(struct fs *fs);

#endif
