/* Extended attributes, for the rest of fs/.  (The operations are in fs/fs.h.)
 *
 * One ITEM_XATTR item each, found by the hash of the name (fs/names/window.h).  A value longer than XATTR_INLINE_MAX is the data of
 * a hidden object: an inode with mode 0 and no links that no directory names, owned by the item alone.  It is made as an orphan,
 * filled, and then given to the item in one operation that also takes it off the orphans; so a crash leaves
 * either the old value whole or the new one, and what is left over is freed at the next mount.
 * All with fs->lock held; may return TREE_MISS where not said otherwise. */
#ifndef FS_XATTR_H
#define FS_XATTR_H

#include "fs/names/acl.h"
#include "fs/names/inode.h"

#define XATTR_ACL_ACCESS "system.posix_acl_access"
#define XATTR_ACL_DEFAULT "system.posix_acl_default"

/* Does an xattr's item make sense by itself?  Pure. */
bool xattr_item_valid(const void *value, unsigned bytes);

/* An ACL of an object, and where it is or goes. */
struct xattr_acl {
	bool found;
	const char *name;
	struct key key;
	struct acl acl;
};

/* `found` tells if the object has it. -EUCLEAN if it is no valid ACL. */
int xattr_acl_load(struct fs *fs, uint64_t ino, const char *name, struct xattr_acl *ret_acl);
/* Place for the ACLs of a new object. */
void xattr_acl_place(struct fs *fs, uint64_t ino, struct xattr_acl *access, struct xattr_acl *standard);
int xattr_acl_prepare(struct fs *fs, const struct xattr_acl *acl);
/* Puts it, prepared. Cannot miss. */
int xattr_acl_put(struct fs *fs, const struct xattr_acl *acl);

/* Takes one xattr from an orphan, as an operation's body: 1 if it took one (*ret_hidden is the hidden object to be reaped by
 * inode_reap after the operation, or 0), 0 if there is none. */
int xattr_remove_one(struct fs *fs, uint64_t ino, uint64_t *ret_hidden);

#endif
