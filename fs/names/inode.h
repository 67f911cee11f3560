/* Inodes: the item in memory, the table of those that the kernel refers to, and the locks that order data operations.
 *
 * The tree is the truth: an operation loads the item, changes its copy and stores it, under fs->lock.  The table holds
 * an entry only for inodes that are open or looked up: reference counts, and an atime not yet stored (relatime, lazy: it
 * rides along with the next commit).  An inode whose last link went while it was referred to is an orphan (ITEM_ORPHAN);
 * it is freed at its last fs_unref, or at the next read-write mount after a crash.
 *
 * Lock order: inode lock (inode_lock_shared / _exclusive; striped by number, one at a time for data operations)
 * before fs->lock.  Directory operations need none: each is one operation under fs->lock. */
#ifndef FS_INODE_H
#define FS_INODE_H

#include "fs/format.h"
#include "fs/fs.h"
#include "fs/tree/tree.h"
#include "fs/txn.h"

/* struct inode_item in host order. */
struct inode {
	uint64_t ino;
	uint32_t mode, uid, gid, links, flags, generation;
	uint64_t size_bytes, blocks, rdev, parent, entries, subdirectories;
	file_ns atime_ns, mtime_ns, ctime_ns, btime_ns;
};

/* With fs->lock held; may return TREE_MISS; -ENOENT; -EUCLEAN for an item that makes no sense. */
int inode_load(struct fs *fs, uint64_t ino, struct inode *ret_inode);
/* inode_salvage.c, for inode_load with `salvage`: makes up an inode that cannot be read from what else there is of the object. -EIO. */
int inode_salvage(struct fs *fs, uint64_t ino, struct inode *ret_inode);
/* What inode_load does with the item's value. Pure; -EUCLEAN. */
int inode_decode(uint64_t ino, const void *value, unsigned bytes, struct inode *ret_inode);
/* The other way: what inode_store puts. Pure. */
void inode_encode(const struct inode *inode, struct inode_item *ret_item);
int inode_prepare(struct fs *fs, uint64_t ino);
/* After inode_prepare. */
int inode_store(struct fs *fs, const struct inode *inode);
/* st_blocks. Pure. */
uint64_t inode_blocks_shown(const struct inode *inode);
void inode_attr(struct fs *fs, const struct inode *inode, struct fs_attr *ret_attr);

/* A new object in memory, numbered with the next free number, which it does not take yet (inode_create does): times are now, one
 * link (two for a directory, none for a hidden object: mode 0). */
void inode_init(struct fs *fs, uint32_t mode, struct fs_cred cred, struct inode *ret_inode);
/* Stores it and takes the number; after inode_prepare. */
int inode_create(struct fs *fs, const struct inode *inode);
/* inode_load for what must be a directory: -ENOTDIR. */
int inode_load_dir(struct fs *fs, uint64_t ino, struct inode *ret_inode);
/* Drops setuid, and setgid where group execute is set, of all but a directory. Returns true if that changed the mode. */
bool inode_kill_suidgid(struct inode *inode);
/* Reports what makes no sense about an object; returns -EUCLEAN. */
int inode_unclean(struct fs *fs, uint64_t ino, const char *what);
/* The result of an operation's changes: what failed half way (out of memory) must never be committed, so that the
 * filesystem refuses every change from then on.  Returns r. */
int inode_changed(struct fs *fs, int r);

/* An access: notes it, in memory, if relatime (mount(8)) wants that. With fs->lock held. */
void inode_accessed(struct fs *fs, const struct inode *inode);

/* Called by the commit, without fs->lock, before it freezes the transaction: stores the atimes noted so far. */
int inode_store_atimes(struct fs *fs);
/* Called once after a read-write open, before or while requests are served: frees every orphan that a crash left (in several
 * operations). */
int inode_reap_orphans(struct fs *fs);

/* Orphans, with fs->lock held.  orphan_put (prepared) takes the object whose last link went; when it sets *ret_reap, nobody
 * refers to it and the caller calls inode_reap after its operation; else the last fs_unref does. */
int orphan_prepare(struct fs *fs, uint64_t ino);
int orphan_put(struct fs *fs, uint64_t ino, bool *ret_reap);
/* A hidden object got its owner, or a nameless one its name (prepared). */
int orphan_delete(struct fs *fs, uint64_t ino);
/* Frees an orphan, in several operations. No lock held. What fails is reported and tried again at the next mount. */
void inode_reap(struct fs *fs, uint64_t ino);

/* References, with fs->lock held: inode_table_ref counts one more, whatever the object is (-ENOMEM). */
int inode_table_ref(struct fs *fs, uint64_t ino);
/* An orphan from now on: returns true if nobody refers to it. */
bool inode_table_orphan(struct fs *fs, uint64_t ino);
/* Counts the first reference to an object that is made without a name (-ENOMEM), and remembers that it may get one, until it does or
 * nobody refers to it. */
int inode_table_nameless(struct fs *fs, uint64_t ino);
bool inode_table_is_nameless(struct fs *fs, uint64_t ino);
bool inode_table_referred(struct fs *fs, uint64_t ino);
/* No orphan any more. */
void inode_table_adopt(struct fs *fs, uint64_t ino);
/* The atime noted for it, if relatime wants it. */
bool inode_table_atime(struct fs *fs, const struct inode *inode, file_ns *ret_atime_ns);
/* Forgets the note: the atime was set. */
void inode_table_atime_done(struct fs *fs, uint64_t ino);

int inode_table_init(struct fs *fs);
void inode_table_free(struct fs *fs);

void inode_lock_shared(struct fs *fs, uint64_t ino);
void inode_lock_exclusive(struct fs *fs, uint64_t ino);
void inode_unlock(struct fs *fs, uint64_t ino);

#endif
