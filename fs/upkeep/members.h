/* What an owner does to the members of a mounted array: see members.c. */
#ifndef FS_MEMBERS_H
#define FS_MEMBERS_H

#include "base/fail.h"
#include "fs/fs.h"

/* One change at a time (FAIL_BUSY); what fails changes nothing, and says why in `fail`.  Disks are opened read-write by the caller, as the
 * members were (fs_options.io), and taken over, also on failure. */

/* Makes the disk, whatever is on it, a new member, *ret_new, and begins to put there what the member had that is out, *ret_member, whose
 * place it then takes; jobs that would not bring that back are cancelled.  FAIL_USAGE: none is missing, another disk takes its place
 * already, or the array has as many members as it can have; FAIL_TOO_SMALL; FAIL_BUSY: it is a member; FAIL_SIGNATURE, without `force`: it
 * has a label of an array, perhaps of the very member that is missing. */
int fs_member_add(struct fs *fs, struct disk *disk, bool force, unsigned *ret_member, unsigned *ret_new, struct fail *fail);
/* The same with a spare, at once. */
int fs_member_add_spare(struct fs *fs, unsigned spare, unsigned *ret_member, struct fail *fail);
/* Takes back the member that the disk is, and fills in what it missed.  FAIL_MIXED, FAIL_NOT_MEMBER: it is none; FAIL_TWICE: that one is
 * at work; FAIL_DIVERGED: it was written to in another copy of the array. */
int fs_member_readd(struct fs *fs, struct disk *disk, unsigned *ret_member, struct fail *fail);
/* The same for a member that is out and whose disk is still open, by the name that it was opened with.  -ENOENT if there is none. */
int fs_member_resume(struct fs *fs, const char *path, unsigned *ret_member);
/* Is there room for all data of the member on others? If it is out, they take it (see reshape.c). */
bool fs_member_has_room(struct fs *fs, unsigned member);
/* Drops a member: it does not come back by itself while mounted.  FAIL_TOO_FEW when the array cannot do without it. */
int fs_member_fail(struct fs *fs, unsigned member, struct fail *fail);
/* Makes the disk, whatever is on it, a spare: *ret_member.  FAIL_TOO_SMALL; FAIL_BUSY: it is a member; FAIL_SIGNATURE, without `force`: it
 * has a label of an array; FAIL_USAGE: the array has as many members as it can have. */
int fs_member_spare(struct fs *fs, struct disk *disk, bool force, unsigned *ret_member, struct fail *fail);
/* The spare that was opened by this name, or -ENOENT. */
int fs_member_find_spare(struct fs *fs, const char *path, unsigned *ret_member);
/* Begins to put all data of `member`, which goes on serving if it does, on the spare, which then is a member in its place.  FAIL_USAGE: it
 * is none that has data, or not a spare; FAIL_BUSY: another is being replaced, or the spare is not in sync; FAIL_TOO_SMALL. */
int fs_member_replace(struct fs *fs, unsigned member, unsigned spare, struct fail *fail);
/* The same with a disk that fs_member_spare makes a spare first.  If it cannot take the place of that member, nothing is done to it. */
int fs_member_replace_by(struct fs *fs, unsigned member, struct disk *disk, bool force, unsigned *ret_new, struct fail *fail);
/* Could the spare alone take the place of one that has data?  One that is smaller helps only together with others. */
bool fs_member_stands_in(struct fs *fs, unsigned spare);
/* A spare is a member no more.  One that is taking another's place stays a spare, and no longer does.  A member that serves, or is out: its
 * data begins to go to free granules of the others and to spares, and it is a member no more when they have it; until then it serves as it
 * did.  (0 also if it was on its way already.)  FAIL_TOO_SMALL: there is no room; FAIL_TOO_FEW: less than three would stay, or another is
 * not in sync; FAIL_BUSY: another's data is on its way. */
int fs_member_remove(struct fs *fs, unsigned member, struct fail *fail);
/* What is on its way from the member, or to it, stays where it was; if the member is out, until it is back, a spare is added, or the next
 * mount.  FAIL_USAGE: nothing is. */
int fs_member_cancel(struct fs *fs, unsigned member, struct fail *fail);

#endif
