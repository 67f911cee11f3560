/* The state of the scrub: what its owner asks for, and what lasts.
 *
 * It lasts as an item of the system tree, which commits write when it has changed: those of others, one every KEEP_NS that the scrub asks
 * for while it gets on, and one at once when its owner has asked for something, or it has ended.  So after a cut
 *
 *  1. its position there is one that it had reached: all rows before it were verified, and mended, and that is durable, since a commit
 *     flushes all members before its root is written.  While a row waits to be mended (array_note_damage) the position stays: `safe`;
 *  2. rows before the position are in its count of rows, and no others, so none is counted twice;
 *  3. what it had found wrong by that commit is counted, also what lies behind the position: it is worse to forget what was healed than to
 *     count again what could not be mended. What it found and healed after that commit is not.
 *
 * A mount goes on where that was; one that was paused stays so. */
#include "fs/upkeep/scrub.h"

#include "fs/space/rowwalk.h"
#include "fs/threads.h"
#include "fs/upkeep/scrubimpl.h"

#include <errno.h>
#include <string.h>

#define KEEP_NS (10 * INT64_C(1000000000))

static bool under_way(const struct scrub *s) { return s->record.state == SCRUB_RUNNING || s->record.state == SCRUB_PAUSED; }

/* ---- What lasts ---- */

/* Body. */
static int read_item(struct fs *fs, struct scrub_record *ret_record)
{
	struct key key = SCRUB_KEY;
	struct item item;
	int r = tree_lookup(fs, &fs->system, &key, &item);
	return r < 0 ? r : scrub_item_decode(&item.key, item.value, item.bytes, ret_record);
}

int scrub_load(struct fs *fs)
{
	struct scrub *s = &fs->scrub;
	struct op op;
	int r;
	op_begin(fs, &op, OP_READ, 0);
	do
		r = read_item(fs, &s->record);
	while (op_retry(&op, &r));
	if (r == 0) {
		s->safe = s->record.position;
		s->safe_rows = s->record.now.rows;
		if (under_way(s) && s->record.speed_bytes && !fs->options.speed_bytes)
			fs_set_speed(fs, s->record.speed_bytes);
	} else if (r != -ENOENT && r != -ENOMEM)
		event_report(&fs->options.events, EVENT_WARNING, -1, "What the system tree says of the scrub %s, and is not used. "
			"Unmount the array and run fsck.raid5cryptfs: more may be wrong.", r == -EBADMSG ? "makes no sense" : "cannot be read");
	op_end(&op);
	return r == -ENOMEM ? r : 0;
}

int scrub_store(struct fs *fs)
{
	struct scrub *s = &fs->scrub;
	struct key key = SCRUB_KEY;
	uint8_t item[SCRUB_ITEM_BYTES_MAX];
	if (!s->changed)
		return 0;
	int r = tree_prepare(fs, &fs->system, &key);
	if (r < 0)
		return r;
	struct scrub_record record = s->record;
	if (under_way(s)) {
		record.position = s->safe;
		record.now.rows = s->safe_rows;
	}
	unsigned bytes = scrub_item_encode(&record, item);
	r = tree_put(fs, &fs->system, &key, item, bytes);
	s->changed = r < 0;
	return r;
}

void scrub_restart(struct fs *fs)
{
	struct scrub *s = &fs->scrub;
	if (s->record.state == SCRUB_NONE)
		return;
	s->changed = true;               /* for a system tree that is made anew */
	if (!under_way(s))
		return;
	s->record.position = s->safe = s->safe_rows = 0;
	s->record.now = (struct scrub_result){ .began_ns = s->record.now.began_ns };
	s->pass++;
	s->after = fs->open->generation;
}

void scrub_leave(struct fs *fs)
{
	if (fs->scrub.changed)
		txn_mark_dirty(fs);
}

void scrub_advance(struct fs *fs)
{
	struct scrub *s = &fs->scrub;
	if (array_has_damage(fs->array))
		return;
	s->changed |= s->safe != s->record.position;
	s->safe = s->record.position;
	s->safe_rows = s->record.now.rows;
}

void scrub_keep(struct fs *fs)
{
	struct scrub *s = &fs->scrub;
	int64_t now = env_now_ns(fs->env);
	bool soon = s->record.state == SCRUB_RUNNING && now >= s->kept_ns && now - s->kept_ns < KEEP_NS;
	if (!s->changed || soon)
		return;
	s->kept_ns = now;
	txn_mark_dirty(fs);
}

/* ---- The owner's part ---- */

static void begin(struct fs *fs)
{
	struct scrub *s = &fs->scrub;
	*s = (struct scrub){ .record = { .state = SCRUB_RUNNING, .now.began_ns = env_now_ns(fs->env), .last = s->record.last },
		.pass = s->pass + 1, .after = fs->open->generation };
}

static int check_action(const struct fs *fs, enum scrub_action action, struct fail *fail)
{
	bool running = fs->scrub.record.state == SCRUB_RUNNING, paused = fs->scrub.record.state == SCRUB_PAUSED;
	if (fs->read_only || fs->error)
		return fail_set(fail, EROFS, FAIL_SYSTEM, "The filesystem is read-only: nothing could be healed.");
	if (action == SCRUB_START ? running || paused : action == SCRUB_RESUME ? !paused : action == SCRUB_PAUSE ? !running : !running && !paused)
		return fail_set(fail, EINVAL, FAIL_USAGE, running ? "A scrub is running already." : paused ? "A scrub is paused: resume or stop it."
			: "No scrub is running.");
	return 0;
}

static void act(struct fs *fs, enum scrub_action action, uint64_t speed_bytes)
{
	struct scrub *s = &fs->scrub;
	if (action == SCRUB_START)
		begin(fs);
	else if (action == SCRUB_STOP) {
		s->record.state = SCRUB_STOPPED;
		s->record.now.ended_ns = env_now_ns(fs->env);
		s->record.speed_bytes = 0;
	} else
		s->record.state = action == SCRUB_PAUSE ? SCRUB_PAUSED : SCRUB_RUNNING;
	if (speed_bytes)
		s->record.speed_bytes = speed_bytes == UINT64_MAX ? 0 : speed_bytes;
	s->changed = true;
	threads_wake_work(fs);
}

int fs_scrub(struct fs *fs, enum scrub_action action, uint64_t speed_bytes, struct fail *fail)
{
	pthread_mutex_lock(&fs->lock);
	int r = check_action(fs, action, fail);
	if (r == 0)
		act(fs, action, speed_bytes);
	pthread_mutex_unlock(&fs->lock);
	if (r < 0)
		return r;
	if (speed_bytes)
		fs_set_speed(fs, speed_bytes == UINT64_MAX ? 0 : speed_bytes);
	r = commit_now(fs);
	return r == 0 ? 0 : fail_set(fail, -r, FAIL_SYSTEM, "It is done, and cannot be written down: %s.", strerror(-r));
}

void fs_scrub_status(struct fs *fs, struct scrub_status *ret_status)
{
	SCOPED_LOCK(&fs->lock);
	const struct scrub *s = &fs->scrub;
	*ret_status = (struct scrub_status){ .state = s->record.state, .speed_bytes = s->record.speed_bytes, .now = s->record.now,
		.last = s->record.last, .has_last = s->record.last.ended_ns != 0 };
	ret_status->waits = s->record.state == SCRUB_RUNNING && (fs->read_only || fs->error || fs->stalls[STALL_SCRUB].stalls);
	rowwalk_progress(fs, s->record.position, &ret_status->done_bytes, &ret_status->total_bytes);
	if (ret_status->state == SCRUB_FINISHED)
		ret_status->done_bytes = ret_status->total_bytes;
}
