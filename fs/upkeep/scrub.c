/* The scrub: all rows in use, in the order of addresses (rowwalk.h), several stretches at a time (scrub_rows.c), in steps of the work
 * thread. What its owner asks for, and what lasts of it, is in scrub_state.c.
 *
 * It begins with a commit, after which row items cover everything that was there (system rows get theirs with the next one).  Rows
 * written later may be met or not: they were just verified by being made.  A member that is out or being filled is left out; what is
 * on it is verified by filling it.  It ends when everything that it found is mended, as far as it can be. */
#include "fs/upkeep/scrub.h"

#include "fs/space/rowwalk.h"
#include "fs/upkeep/scrubimpl.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#define MEMBERS_TEXT_BYTES 768u  /* beside the rest of the event's 1024 */

struct scrubbing {
	struct fs *fs;
	_Atomic unsigned count;
	struct scrub_found found[ROWWALK_RUN_STEP_ROWS];
};

static int scrub_stretch(void *ctx, const struct band *b, uint64_t row, unsigned count)
{
	struct scrubbing *s = ctx;
	struct scrub_found found = { .at = band_row_address(b, row), .rows = count };
	int r = scrub_rows(s->fs, b, row, count, &found);
	if (r == 0 || r == -EAGAIN) {
		unsigned i = atomic_fetch_add(&s->count, 1);
		assert(i < ROWWALK_RUN_STEP_ROWS);
		s->found[i] = found;
	}
	return r;
}

/* Lock held. What lies behind the position will be met again, but not what was mended there. */
static void count_found(struct fs *fs, struct scrub_result *result, const struct scrubbing *s, address position)
{
	unsigned units[MEMBERS_MAX] = { 0 };
	for (unsigned i = 0; i < s->count; i++) {
		const struct scrub_found *f = &s->found[i];
		result->rows += f->at < position ? f->rows : 0;
		result->damaged += (unsigned)__builtin_popcountll(f->damaged);
		result->unreadable += f->unreadable;
		result->unclear += f->unclear;
		for (unsigned m = 0; m < MEMBERS_MAX; m++)
			units[m] += f->units[m];
	}
	for (unsigned m = 0; m < fs->config->member_count && m < MEMBERS_MAX; m++)
		scrub_result_add(result, &fs->config->members[m].uuid, units[m]);
}

/* "; member 2: 17 units damaged, member 3: 1", as far as there is room; nothing if none has any. */
static void name_members(struct fs *fs, const struct scrub_result *s, char ret_text[MEMBERS_TEXT_BYTES])
{
	unsigned count = array_member_count(fs->array), used = 0;
	ret_text[0] = '\0';
	for (unsigned m = 0; m < count && m < MEMBERS_MAX && used < MEMBERS_TEXT_BYTES; m++) {
		struct member_status member;
		array_member_status(fs->array, m, &member);
		uint64_t units = member.role == MEMBER_UNUSED ? 0 : scrub_result_units(s, &member.uuid);
		if (units == 0)
			continue;
		unsigned before = used;
		used += (unsigned)snprintf(ret_text + used, MEMBERS_TEXT_BYTES - used, used ? ", member %u: %llu" :
			"; member %u: %llu units damaged", m + 1, (unsigned long long)units);
		if (used >= MEMBERS_TEXT_BYTES)
			ret_text[before] = '\0';
	}
}

static void tell_end(struct fs *fs, const struct scrub_result *s)
{
	bool found = s->damaged || s->unreadable || s->tree_errors;
	char unknown[160] = "", members[MEMBERS_TEXT_BYTES];
	name_members(fs, s, members);
	if (s->tree_errors)
		snprintf(unknown, sizeof unknown, "; what %llu places of the trees lead to was not verified, since they cannot be read",
			(unsigned long long)s->tree_errors);
	event_report(&fs->options.events, found ? EVENT_SCRUB_ERRORS : EVENT_SCRUB_FINISHED, -1,
		"scrub finished: %llu rows verified, %llu of them were damaged, %llu records are lost%s%s", (unsigned long long)s->rows,
		(unsigned long long)s->damaged, (unsigned long long)s->unreadable, members, unknown);
}

/* Nodes that could not be read are tried again when a member comes or goes. */
static void begin_unread(struct fs *fs)
{
	uint64_t members = stall_members(fs);
	SCOPED_LOCK(&fs->lock);
	if (fs->scrub.members != members)
		memset(&fs->scrub.unread, 0, sizeof fs->scrub.unread);
	fs->scrub.members = members;
	fs->scrub.unread.count = 0;
}

static int walk(struct fs *fs, struct scrubbing *s, address *position)
{
	struct rowwalk walk = { .work = scrub_stretch, .ctx = s, .by_run = true, .unread = &fs->scrub.unread };
	struct store_pin pin;
	begin_unread(fs);
	store_pin_now(fs, &pin);
	int r = rowwalk_step(fs, &walk, position);
	store_unpin(fs, &pin);
	return r;
}

/* The owner may have stopped it meanwhile, and begun another. Lock held. */
static bool is_mine(const struct scrub *scrub, uint64_t pass)
{
	return scrub->pass == pass && (scrub->record.state == SCRUB_RUNNING || scrub->record.state == SCRUB_PAUSED);
}

static void account(struct fs *fs, const struct scrubbing *s, uint64_t pass, address position)
{
	SCOPED_LOCK(&fs->lock);
	struct scrub *scrub = &fs->scrub;
	if (!is_mine(scrub, pass))
		return;
	scrub->record.position = position;
	scrub->changed = true;
	count_found(fs, &scrub->record.now, s, position);
	scrub->record.now.tree_errors += scrub->unread.count;
	scrub_advance(fs);
	scrub_keep(fs);
}

/* All was gone through. What waits to be mended comes first: 1. */
static int finish(struct fs *fs, uint64_t pass)
{
	if (array_has_damage(fs->array)) {
		int r = commit_now(fs);
		return r < 0 ? r : 1;
	}
	pthread_mutex_lock(&fs->lock);
	struct scrub_record *record = &fs->scrub.record;
	bool mine = is_mine(&fs->scrub, pass);
	if (mine) {
		record->state = SCRUB_FINISHED;
		record->now.ended_ns = env_now_ns(fs->env);
		record->last = record->now;
		record->speed_bytes = 0;
		fs->scrub.changed = true;
		scrub_advance(fs);
	}
	struct scrub_result last = record->last;
	pthread_mutex_unlock(&fs->lock);
	int r = mine ? commit_now(fs) : 0;
	if (r == 0 && mine)
		tell_end(fs, &last);
	return r < 0 ? r : 1;
}

int scrub_step(struct fs *fs)
{
	struct scrubbing s = { .fs = fs };
	pthread_mutex_lock(&fs->lock);
	bool run = fs->scrub.record.state == SCRUB_RUNNING && !fs->read_only && !fs->error, wait = fs->durable < fs->scrub.after;
	if (run)
		scrub_advance(fs);
	address position = fs->scrub.record.position;
	uint64_t pass = fs->scrub.pass;
	pthread_mutex_unlock(&fs->lock);
	if (!run)
		return 0;
	int r = wait ? commit_now(fs) : commit_open(fs);
	if (r < 0 || wait)
		return r < 0 ? r : 1;
	fs->scrub_stepped = true;
	r = walk(fs, &s, &position);
	account(fs, &s, pass, position);
	fs->scrub_tries = r == -EAGAIN ? fs->scrub_tries + 1 : 0;
	if (r == -EAGAIN)
		return commit_now(fs) < 0 ? -EIO : 1;
	return r == 0 ? finish(fs, pass) : r;
}
