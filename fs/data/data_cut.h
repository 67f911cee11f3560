/* Parts of cutting and growing that fs_fallocate is made of.  Private to data_*.c; operations of their own: without
 * fs->lock, the inode's lock held exclusively. */
#ifndef FS_DATA_CUT_H
#define FS_DATA_CUT_H

#include "fs/data/data.h"

/* The inode, checked to be of a type that has data. */
int data_inode(struct fs *fs, uint64_t ino, struct inode *ret_inode);
/* The beginning of an operation's body (fs->lock held): the inode, checked as above, and prepared. */
int data_begin(struct fs *fs, uint64_t ino, struct inode *ret_inode);
/* Makes the size at least `size_bytes`. */
int data_extend(struct fs *fs, uint64_t ino, uint64_t size_bytes, bool times);
/* Makes the range read as zeros: whole blocks become holes. */
int data_punch(struct fs *fs, uint64_t ino, uint64_t start_bytes, uint64_t end_bytes);

#endif
