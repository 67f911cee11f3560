/* Adding, taking back, failing, replacing and removing members of a mounted array.
 *
 * A member that is taken back is caught up (catchup.c).  New ones, spares and replacing are steps of the configuration (reshape.c): what is
 * asked for here is the first of them, and the others follow by themselves, also after a crash or at the next mount.
 *
 * A new disk for the missing member (fs_member_add) is the replacing of one that is out: a member of its own comes, gets its columns, and
 * in the end its vote. */
#include "fs/upkeep/members.h"

#include "fs/core.h"
#include "fs/threads.h"
#include "fs/upkeep/reshape.h"
#include "raid/array_step.h"

#include <errno.h>
#include <string.h>

static void end(struct fs *fs)
{
	pthread_mutex_unlock(&fs->step_lock);
	SCOPED_LOCK(&fs->lock);
	fs->changing_members = false;
	threads_wake_work(fs);
}

/* One change at a time, while the array can be written: until end, with step_lock. */
static int begin(struct fs *fs, struct fail *fail)
{
	int r = 0;
	pthread_mutex_lock(&fs->lock);
	if (fs->read_only || fs->error || array_read_only(fs->array))
		r = fail_set(fail, EROFS, FAIL_SYSTEM, "The filesystem is read-only%s.", fs->read_only ? "" :
			" after a failure. Unmount it, check the members, and mount it again");
	else if (fs->changing_members)
		r = fail_set(fail, EBUSY, FAIL_BUSY, "Another change of the members is under way. Try again when it has ended.");
	else {
		fs->changing_members = true;
		fs->member_changes++;
	}
	pthread_mutex_unlock(&fs->lock);
	if (r < 0)
		return r;
	pthread_mutex_lock(&fs->step_lock);
	r = commit_open(fs);
	if (r == 0)
		return 0;
	end(fs);
	return fail_set(fail, -r, FAIL_SYSTEM, "The array cannot be written: %s.", strerror(-r));
}

/* Its new state belongs into a root, and the work thread takes it from there. */
static void taken(struct fs *fs, unsigned member)
{
	SCOPED_LOCK(&fs->lock);
	fs->retries[member] = (struct retry){ 0 };
	txn_mark_dirty(fs);
	threads_wake_work(fs);
}

int fs_member_readd(struct fs *fs, struct disk *disk, unsigned *ret_member, struct fail *fail)
{
	int r = begin(fs, fail);
	if (r == 0) {
		r = array_adopt(fs->array, disk, ret_member, fail);
		end(fs);
	}
	if (r < 0)
		disk_close(disk);
	else
		taken(fs, *ret_member);
	return r;
}

int fs_member_resume(struct fs *fs, const char *path, unsigned *ret_member)
{
	int r = array_resume(fs->array, path, ret_member);
	if (r == 0)
		taken(fs, *ret_member);
	return r;
}

bool fs_member_has_room(struct fs *fs, unsigned member) { return reshape_has_room(fs, member); }

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

/* ---- Steps of the configuration ---- */

static int step_failed(int r, const char *what, struct fail *fail)
{
	if (r == -EBUSY || r == -EAGAIN)
		return fail_set(fail, -r, FAIL_BUSY, "%s: a member failed just now, or too much is being written. Nothing was changed; look at the "
			"status, and try again.", what);
	return fail_set(fail, -r, FAIL_SYSTEM, "%s: %s.", what, strerror(-r));
}

static int too_many(struct fail *fail)
{
	return fail_set(fail, EMLINK, FAIL_USAGE, "The array has %u members already: there is no room for another one. If one of them is a spare, "
		"use or remove it. One that is missing can be made again without a mount (raid5cryptfs-rebuild keyless).", MEMBERS_MAX);
}

static int cannot_take(int r, unsigned member, const char *name, struct fail *fail)
{
	if (r == -EMLINK)
		return too_many(fail);
	if (r == -ENOSPC)
		return fail_set(fail, ENOSPC, FAIL_TOO_SMALL, "%s is too small to take the place of member %u. Nothing was changed.", name, member + 1);
	return step_failed(r, "The member cannot be replaced", fail);
}

static int under_way(struct fs *fs, struct fail *fail)
{
	char sources[CONFIG_NAMES_BYTES], targets[CONFIG_NAMES_BYTES];
	config_name_members(config_job_sources(fs->config), sources);
	config_name_members(config_job_targets(fs->config), targets);
	return fail_set(fail, EBUSY, FAIL_BUSY, "The data of %s is on its way to %s. Wait until that has ended, or cancel it (remove --cancel).",
		sources, targets);
}

/* Is it one that can be replaced? */
static int check_replaced(struct fs *fs, unsigned member, struct fail *fail)
{
	const struct config *config = fs->config;
	if (member >= config->member_count || !(config_with_columns(config) >> member & 1))
		return fail_set(fail, ENOENT, FAIL_USAGE, "The array has no such member, or it is a spare: there is nothing to replace.");
	return config->job_count > 0 ? under_way(fs, fail) : 0;
}

/* The member that a disk could be added for: its columns are out, and nobody is about to have them.  (Jobs whose target is out as well
 * bring nothing back.) */
static int find_missing(struct fs *fs, const char *name, unsigned *ret_member, struct fail *fail)
{
	struct array_job job;
	uint32_t out = 0;
	for (unsigned m = 0; m < array_member_count(fs->array); m++) {
		struct member_status s;
		array_member_status(fs->array, m, &s);
		out |= (uint32_t)(s.state == MEMBER_OUT) << m;
	}
	array_job(fs->array, &job);
	uint32_t missing = out & config_with_columns(fs->config) & ~(job.targets & out ? 0 : job.sources);
	if (missing) {
		*ret_member = (unsigned)__builtin_ctz(missing);
		return 0;
	}
	if (out & config_needed(fs->config))
		return fail_set(fail, ENOENT, FAIL_USAGE, "Another disk is taking the place of the missing member already, or several are. Make %s a "
			"spare, or cancel that first (remove --cancel).", name);
	return fail_set(fail, ENOENT, FAIL_USAGE, "No member is missing: there is no place for %s. To exchange a disk that works, use replace; "
		"to have another one ready, make it a spare.", name);
}

/* Takes the disk over, also on failure; the caller holds step_lock. */
static int add_spare(struct fs *fs, struct disk *disk, bool force, unsigned *ret_member, struct fail *fail)
{
	struct config *next = config_next(fs->config);
	struct uuid uuid;
	uuid_make(fs->env, &uuid);
	int index = next ? config_add_spare(next, &uuid, disk->size_bytes) : -ENOMEM;
	int r = index;
	if (r == -ENOSPC)
		r = too_many(fail);
	else if (r == -EINVAL)
		fail_set(fail, EINVAL, FAIL_TOO_SMALL, "%s has %llu bytes, which is too small for this array.", disk->name,
			(unsigned long long)disk->size_bytes);
	else if (r < 0)
		step_failed(r, "The spare cannot be added", fail);
	else
		r = array_prepare_spare(fs->array, disk, force, next, (unsigned)index, fail);
	if (r < 0) {
		config_free(next);
		disk_close(disk);
		return r;
	}
	pthread_mutex_lock(&fs->lock);
	fs->retries[index] = (struct retry){ 0 };
	pthread_mutex_unlock(&fs->lock);
	r = reshape_step(fs, next, disk);
	if (r < 0)
		return step_failed(r, "The spare cannot be added", fail);
	*ret_member = (unsigned)index;
	return 0;
}

/* Would its columns fit on the spare, if there were no jobs? */
static int try_spare(struct config *next, unsigned member, unsigned spare)
{
	config_cancel_jobs(next);
	return config_begin_jobs(next, member, UINT32_C(1) << spare);
}

/* The same of a disk of that size.  -EMLINK: there is no room for another member. */
static int try_size(struct fs *fs, unsigned member, uint64_t size_bytes)
{
	struct config *next = config_next(fs->config);
	struct uuid uuid;
	uuid_make(fs->env, &uuid);
	int r = next ? config_add_spare(next, &uuid, size_bytes) : -ENOMEM;
	if (r >= 0)
		r = try_spare(next, member, (unsigned)r);
	else
		r = r == -EINVAL ? -ENOSPC : r == -ENOSPC ? -EMLINK : r;
	config_free(next);
	return r;
}

/* The owner counts on the spare: where he wanted lost members to stay as they are, it steps in. */
static void forget_stays(struct fs *fs)
{
	SCOPED_LOCK(&fs->lock);
	for (unsigned m = 0; m < MEMBERS_MAX; m++)
		fs->retries[m].stays = false;
}

int fs_member_spare(struct fs *fs, struct disk *disk, bool force, unsigned *ret_member, struct fail *fail)
{
	int r = begin(fs, fail);
	if (r < 0) {
		disk_close(disk);
		return r;
	}
	r = array_check_new(fs->array, disk, force, fail);
	if (r == 0)
		r = add_spare(fs, disk, force, ret_member, fail);
	else
		disk_close(disk);
	if (r == 0)
		forget_stays(fs);
	end(fs);
	return r;
}

bool fs_member_stands_in(struct fs *fs, unsigned spare)
{
	uint32_t have = config_with_columns(fs->config) & ~(UINT32_C(1) << spare);
	bool can = false;
	for (unsigned m = 0; m < MEMBERS_MAX && !can; m++) {
		struct config *next = have >> m & 1 ? config_next(fs->config) : NULL;
		if (next)
			config_cancel_jobs(next);
		can = next && config_begin_jobs(next, m, UINT32_C(1) << spare) == 0;
		config_free(next);
	}
	return can;
}

int fs_member_find_spare(struct fs *fs, const char *path, unsigned *ret_member)
{
	for (unsigned m = 0; m < array_member_count(fs->array); m++) {
		struct member_status s;
		array_member_status(fs->array, m, &s);
		if (s.role == MEMBER_SPARE && !strcmp(s.name, path)) {
			*ret_member = m;
			return 0;
		}
	}
	return -ENOENT;
}

/* A root must say that the member is out, if it is, before another takes its place; and jobs that do not bring it back are in the way. */
static int make_way(struct fs *fs, unsigned member)
{
	struct member_status s;
	array_member_status(fs->array, member, &s);
	int r = s.state == MEMBER_OUT && !s.out_for_good ? commit_now(fs) : 0;
	return r == 0 && fs->config->job_count > 0 ? reshape_cancel(fs) : r;
}

static int begin_jobs(struct fs *fs, unsigned member, unsigned spare)
{
	struct config *next = config_next(fs->config);
	int r = next ? config_begin_jobs(next, member, UINT32_C(1) << spare) : -ENOMEM;
	if (r == 0)
		return reshape_begin(fs, next, member);
	config_free(next);
	return r;
}

static int begin_replacing(struct fs *fs, unsigned member, unsigned spare, struct fail *fail)
{
	struct member_status s;
	array_member_status(fs->array, spare, &s);
	if (s.role != MEMBER_SPARE)
		return fail_set(fail, EINVAL, FAIL_USAGE, "Member %u is not a spare.", spare + 1);
	if (!s.settled)
		return fail_set(fail, EBUSY, FAIL_BUSY, "The spare %s is not in sync. Wait until it is, or use another disk.", s.name);
	struct config *next = config_next(fs->config);
	int r = next ? try_spare(next, member, spare) : -ENOMEM;
	config_free(next);
	if (r == 0)
		r = make_way(fs, member);
	if (r == 0)
		r = begin_jobs(fs, member, spare);
	return r < 0 ? cannot_take(r, member, s.name, fail) : 0;
}

/* Makes the disk a spare first.  Takes it over; with step_lock. */
static int begin_replacing_by(struct fs *fs, unsigned member, struct disk *disk, bool force, unsigned *ret_new, struct fail *fail)
{
	int r = array_check_new(fs->array, disk, force, fail);
	if (r == 0 && (r = try_size(fs, member, disk->size_bytes)) < 0)
		cannot_take(r, member, disk->name, fail);
	if (r < 0) {
		disk_close(disk);
		return r;
	}
	r = add_spare(fs, disk, force, ret_new, fail);
	return r < 0 ? r : begin_replacing(fs, member, *ret_new, fail);
}

int fs_member_replace(struct fs *fs, unsigned member, unsigned spare, struct fail *fail)
{
	int r = begin(fs, fail);
	if (r < 0)
		return r;
	r = check_replaced(fs, member, fail);
	if (r == 0)
		r = begin_replacing(fs, member, spare, fail);
	end(fs);
	return r;
}

int fs_member_replace_by(struct fs *fs, unsigned member, struct disk *disk, bool force, unsigned *ret_new, struct fail *fail)
{
	int r = begin(fs, fail);
	if (r < 0) {
		disk_close(disk);
		return r;
	}
	r = check_replaced(fs, member, fail);
	if (r == 0)
		r = begin_replacing_by(fs, member, disk, force, ret_new, fail);
	else
		disk_close(disk);
	end(fs);
	return r;
}

int fs_member_add_spare(struct fs *fs, unsigned spare, unsigned *ret_member, struct fail *fail)
{
	struct member_status s;
	int r = begin(fs, fail);
	if (r < 0)
		return r;
	array_member_status(fs->array, spare, &s);
	r = find_missing(fs, s.name, ret_member, fail);
	if (r == 0)
		r = begin_replacing(fs, *ret_member, spare, fail);
	end(fs);
	return r;
}

int fs_member_add(struct fs *fs, struct disk *disk, bool force, unsigned *ret_member, unsigned *ret_new, struct fail *fail)
{
	int r = begin(fs, fail);
	if (r < 0) {
		disk_close(disk);
		return r;
	}
	r = find_missing(fs, disk->name, ret_member, fail);
	if (r == 0)
		r = begin_replacing_by(fs, *ret_member, disk, force, ret_new, fail);
	else
		disk_close(disk);
	end(fs);
	return r;
}

/* ---- Leaving ---- */

static int cancel(struct fs *fs, struct fail *fail)
{
	uint32_t sources = config_job_sources(fs->config);
	int r = reshape_cancel(fs);
	if (r < 0)
		return step_failed(r, "What is under way cannot be cancelled", fail);
	for (unsigned m = 0; m < array_member_count(fs->array); m++) {
		struct member_status s;
		array_member_status(fs->array, m, &s);
		SCOPED_LOCK(&fs->lock);
		fs->retries[m].stays = fs->retries[m].stays || ((sources >> m & 1) && s.state == MEMBER_OUT);
	}
	return 0;
}

int fs_member_cancel(struct fs *fs, unsigned member, struct fail *fail)
{
	int r = begin(fs, fail);
	if (r < 0)
		return r;
	uint32_t moving = config_job_sources(fs->config) | config_job_targets(fs->config);
	if (member < MEMBERS_MAX && (moving >> member & 1))
		r = cancel(fs, fail);
	else
		r = fail_set(fail, ENOENT, FAIL_USAGE, "No data is on its way from member %u or to it: there is nothing to cancel.", member + 1);
	end(fs);
	return r;
}

static int no_room(struct fs *fs, unsigned member, uint32_t settled, struct fail *fail)
{
	const struct config *config = fs->config;
	uint64_t lacking;
	int r = config_lacking_granules(config, member, settled, &lacking);
	if (r < 0)
		return step_failed(r, "The member cannot be removed", fail);
	return fail_set(fail, ENOSPC, FAIL_TOO_SMALL, "There is no room for the data of member %u on other members, each part on one that has no "
		"other part of the same rows: %llu bytes lack. Add a spare of at least %llu bytes (spare), or replace the member (replace). Nothing was "
		"changed.", member + 1, (unsigned long long)(lacking * config->geometry.granule_bytes),
		(unsigned long long)config_spare_bytes(config, lacking));
}

static bool too_few(uint32_t members, struct fail *fail)
{
	bool few = __builtin_popcount(members) < (int)MEMBERS_MIN;
	if (few)
		fail_set(fail, EINVAL, FAIL_TOO_FEW, "At least %u members must stay: replace this one (replace), or add a spare first (spare). "
			"Nothing was changed.", MEMBERS_MIN);
	return few;
}

static int vacate(struct fs *fs, unsigned member, struct fail *fail)
{
	uint32_t settled = reshape_settled(fs), self = UINT32_C(1) << member, needed = config_needed(fs->config) & ~self;
	uint32_t stay = config_with_columns(fs->config) & ~self;
	char names[CONFIG_NAMES_BYTES];
	if (needed & ~settled)
		return fail_set(fail, EBUSY, FAIL_TOO_FEW, "Not in sync: %s. Until that has changed, no member can leave. Wait, or replace the one that "
			"is out. Nothing was changed.", config_name_members(needed & ~settled, names));
	if (too_few(stay | (config_with_role(fs->config, MEMBER_SPARE) & settled), fail))
		return -EINVAL;
	struct config *next = config_next(fs->config);
	int r = next ? config_vacate(next, member, settled, false) : -ENOMEM;
	if (r == 0 && too_few(stay | config_job_targets(next), fail)) {
		config_free(next);
		return -EINVAL;
	}
	if (r == 0)
		r = reshape_begin(fs, next, member);
	else
		config_free(next);
	return r == -ENOSPC ? no_room(fs, member, settled, fail) : r < 0 ? step_failed(r, "The member cannot be removed", fail) : 0;
}

static int remove_spare(struct fs *fs, unsigned member, struct fail *fail)
{
	struct config *next = config_next(fs->config);
	if (next)
		config_remove_member(next, member);
	int r = next ? reshape_step(fs, next, NULL) : -ENOMEM;
	return r < 0 ? step_failed(r, "The spare cannot be removed", fail) : 0;
}

/* A member that has no columns any more, or whose columns are on their way, is leaving already. */
static int leave(struct fs *fs, unsigned member, struct fail *fail)
{
	const struct config *config = fs->config;
	uint32_t self = UINT32_C(1) << member;
	if (member >= config->member_count || config->members[member].role == MEMBER_UNUSED)
		return fail_set(fail, ENOENT, FAIL_USAGE, "The array has no such member.");
	if (!(config_needed(config) & self))
		return config_job_targets(config) & self ? cancel(fs, fail) : remove_spare(fs, member, fail);
	if (config_job_sources(config) & self || !(config_with_columns(config) & self))
		return 0;
	return config->job_count > 0 ? under_way(fs, fail) : vacate(fs, member, fail);
}

int fs_member_remove(struct fs *fs, unsigned member, struct fail *fail)
{
	int r = begin(fs, fail);
	if (r == 0) {
		r = leave(fs, member, fail);
		end(fs);
	}
	return r;
}
