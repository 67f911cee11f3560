/* Checking a filesystem, repairing it, and going back to an older root: what fsck is made of.
 *
 * A check reads what the newest durable root leads to and compares what is said twice: both trees, objects and their names, and
 * space. It takes little memory (doc/architecture.md says what grows), and nothing in a damaged image stops it: what cannot be
 * read is named, and the rest is checked. */
#ifndef FS_CHECK_H
#define FS_CHECK_H

#include "fs/fs.h"

enum check_note {
	CHECK_FOUND,                     /* an inconsistency */
	CHECK_FIXED,                     /* what was done about one */
	CHECK_LOST,                      /* what cannot be had any more; names the file, by its path where that can be read */
	CHECK_INFO,
};

struct fs_check_options {
	bool data;                       /* read and verify every record and parity */
	bool repair;                     /* the filesystem was opened read-write, with `repair` and FS_INLINE, and is nobody else's */
	void (*note)(void *ctx, enum check_note kind, const char *text);         /* a sentence; may be NULL */
	/* Phases are words such as "files"; false: stop (-ECANCELED). May be NULL. */
	bool (*progress)(void *ctx, const char *phase, uint64_t done, uint64_t total);
	void *ctx;
};

struct fs_check_result {
	uint64_t found, fixed, left;     /* inconsistencies; left: found and not fixed (without repair: all of them) */
	uint64_t directories, files, blocks;     /* files: all objects that are no directories and have a name; blocks: in use */
};

/* Checks, and with `repair` mends what can be and checks again. Nothing may be dirty (-EBUSY). 0 when it ran to its
 * end, whatever it found; -errno when it could not (-ENOMEM, -ECANCELED, -EROFS, or what writing a repair failed with). */
int fs_check_run(struct fs *fs, const struct fs_check_options *options, struct fs_check_result *ret_result);

/* Of a filesystem opened read-write with fs_options.root_generation: makes that older root's trees the newest, as a new
 * generation. Durable when it returns 0. Before anything else is done with the filesystem; -EINVAL if it was not opened so,
 * or the older root's own system tree cannot be read. */
int fs_revert(struct fs *fs);

#endif
