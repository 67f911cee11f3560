#include "fs/upkeep/stall.h"

#include "fs/core.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define RETRY_FIRST_NS (10 * INT64_C(1000000000))
#define RETRY_MOST_NS (3600 * INT64_C(1000000000))

static const char *const names[STALL_TASKS] = {
	[STALL_CATCHUP] = "Catching up a member", [STALL_REPLACE] = "Putting a member's data on another one", [STALL_SCRUB] = "The scrub",
};

uint64_t stall_members(struct fs *fs)
{
	uint64_t states = 0;
	static_assert(MEMBERS_MAX * 2 <= 64, "two bits of each");
	for (unsigned m = 0; m < array_member_count(fs->array); m++) {
		struct member_status s;
		array_member_status(fs->array, m, &s);
		states = states << 2 | (s.state & 3);
	}
	return states;
}

bool stall_rests(struct fs *fs, enum stall_task task)
{
	uint64_t members = stall_members(fs);
	SCOPED_LOCK(&fs->lock);
	const struct stall *s = &fs->stalls[task];
	if (s->stalls && s->members == members && fs_now_ns(fs) < s->not_before_ns)
		return true;
	fs->obstacle.error = 0;
	return false;
}

/* What was told already by those who met it: members that fail, an array that can no longer be written. */
static bool is_told(struct fs *fs, int error)
{
	return fs->read_only || fs->error || array_read_only(fs->array) || error == -EROFS || (error == -EIO && !fs->obstacle.error);
}

static void describe(struct fs *fs, enum stall_task task, int error, char text[STALL_TEXT_BYTES])
{
	const struct tree_miss *miss = &fs->obstacle.miss;
	address at = le64_get(miss->pointer.address);
	if (fs->obstacle.error)
		snprintf(text, STALL_TEXT_BYTES, "%s cannot go on: a node of the %s (level %u, band %u, block %llu) cannot be read, which says what lies "
			"in the rows to come. If a member is absent, give it back; if not, unmount the array and run fsck.raid5cryptfs. "
			"It is tried again, ever more seldom.", names[task], miss->tree == TREE_FILE ? "file tree" : "system tree", miss->level,
			address_band(at), (unsigned long long)address_block(at));
	else if (error == -EUCLEAN)
		snprintf(text, STALL_TEXT_BYTES, "%s cannot go on: what the trees say of the rows to come makes no sense. Unmount the array and run "
			"fsck.raid5cryptfs. It is tried again, ever more seldom.", names[task]);
	else
		snprintf(text, STALL_TEXT_BYTES, "%s cannot go on: %s. It is tried again, ever more seldom.", names[task], strerror(-error));
}

int stall_note(struct fs *fs, enum stall_task task, int result)
{
	uint64_t members = stall_members(fs);
	char text[STALL_TEXT_BYTES];
	SCOPED_LOCK(&fs->lock);
	struct stall *s = &fs->stalls[task];
	s->stalls = s->stalls && result < 0;
	if (result == 0)
		s->text[0] = '\0';
	if (result >= 0 || is_told(fs, result))
		return result;
	describe(fs, task, result, text);
	bool again = !strcmp(text, s->text);
	if (!again)
		event_report(&fs->options.events, EVENT_STALLED, -1, "%s", text);
	int64_t delay_ns = again && s->members == members ? s->delay_ns * 2 : RETRY_FIRST_NS;
	s->delay_ns = delay_ns < RETRY_MOST_NS ? delay_ns : RETRY_MOST_NS;
	s->not_before_ns = fs_now_ns(fs) + s->delay_ns;
	s->members = members;
	s->stalls = true;
	memcpy(s->text, text, sizeof text);
	return 0;
}

int stall_try(struct fs *fs, enum stall_task task, int (*step)(struct fs *fs))
{
	return stall_rests(fs, task) ? 0 : stall_note(fs, task, step(fs));
}

void stall_text(struct fs *fs, enum stall_task task, char ret_text[STALL_TEXT_BYTES])
{
	SCOPED_LOCK(&fs->lock);
	const struct stall *s = &fs->stalls[task];
	snprintf(ret_text, STALL_TEXT_BYTES, "%s", s->stalls ? s->text : "");
}
