/* Adding, taking back and failing members of a mounted array.
 *
 * A new disk stands in for the missing member as itself (raid/array_prepare.c): no configuration changes, and it comes in as one that
 * was away since ever. What follows is catching up (catchup.c), which goes on by itself after a crash or the next mount. */
#include "fs/members.h"

#include "fs/core.h"

#include <errno.h>
#include <string.h>

static int begin(struct fs *fs, struct fail *fail)
{
	SCOPED_LOCK(&fs->lock);
	if (fs->read_only || fs->error || array_read_only(fs->array))
		return fail_set(fail, EROFS, FAIL_SYSTEM, "The filesystem is read-only%s.", fs->read_only ? "" :
			" after a failure. Unmount it, check the members, and mount it again");
	if (fs->changing_members)
		return fail_set(fail, EBUSY, FAIL_BUSY, "Another change of the members is under way. Try again when it has ended.");
	fs->changing_members = true;
	return 0;
}

static void end(struct fs *fs)
{
	SCOPED_LOCK(&fs->lock);
	fs->changing_members = false;
}

/* Its new state belongs into a root, and the work thread takes it from there. */
static void taken(struct fs *fs, unsigned member)
{
	SCOPED_LOCK(&fs->lock);
	fs->retries[member] = (struct retry){ 0 };
	txn_mark_dirty(fs);
}

static int can_write(struct fs *fs, struct fail *fail)
{
	int r = commit_open(fs);
	return r == 0 ? 0 : fail_set(fail, -r, FAIL_SYSTEM, "The array cannot be written: %s.", strerror(-r));
}

/* `blank`: the disk is made the missing member first. */
static int take(struct fs *fs, struct disk *disk, bool blank, bool force, unsigned *ret_member, struct fail *fail)
{
	int r = begin(fs, fail);
	if (r == 0) {
		r = can_write(fs, fail);
		if (r == 0 && blank)
			r = array_prepare(fs->array, disk, force, fail);
		if (r >= 0)
			r = array_adopt(fs->array, disk, ret_member, fail);
		end(fs);
	}
	if (r < 0)
		disk_close(disk);
	else
		taken(fs, *ret_member);
	return r;
}

int fs_member_add(struct fs *fs, struct disk *disk, bool force, unsigned *ret_member, struct fail *fail)
{
	return take(fs, disk, true, force, ret_member, fail);
}

int fs_member_readd(struct fs *fs, struct disk *disk, unsigned *ret_member, struct fail *fail)
{
	return take(fs, disk, false, false, ret_member, fail);
}

int fs_member_resume(struct fs *fs, const char *path, unsigned *ret_member)
{
	int r = array_resume(fs->array, path, ret_member);
	if (r == 0)
		taken(fs, *ret_member);
	return r;
}

int fs_member_fail(struct fs *fs, unsigned member, struct fail *fail)
{
	int r = begin(fs, fail);
	if (r < 0)
		return r;
	if (member >= array_member_count(fs->array))
		r = -ENOENT;
	if (r == 0)
		r = array_drop_member(fs->array, member, "it was failed by hand");
	if (r == 0) {
		pthread_mutex_lock(&fs->lock);
		fs->retries[member] = (struct retry){ .held = true };
		txn_mark_dirty(fs);
		pthread_mutex_unlock(&fs->lock);
		r = fs_sync(fs);
		if (r < 0)
			fail_set(fail, -r, FAIL_SYSTEM, "The member is out, and that cannot be written down: %s.", strerror(-r));
	} else
		fail_set(fail, -r, r == -EBUSY ? FAIL_TOO_FEW : FAIL_USAGE, r == -EBUSY ?
			"Another member is not in sync: the array cannot do without this one. Wait until that one is in sync, or replace it." :
			"The array has no such member.");
	end(fs);
	return r;
}
