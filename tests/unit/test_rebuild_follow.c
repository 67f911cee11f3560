/* raid5cryptfs-rebuild replace --wait: when it is done, goes on, or has come to nothing, by statuses made by hand. */
#include "check.h"

#include "tools/rebuild_follow.h"

#define OLD 1u
#define NEW 4u

static struct control_status status;
static const struct replace replace = {
	.old_member = OLD, .new_member = NEW, .old_uuid.b[0] = OLD + 1, .new_uuid.b[0] = NEW + 1,
};

static void set(unsigned member, enum member_role role, enum member_state state)
{
	status.members[member] = (struct control_member){ .uuid.b[0] = (uint8_t)(member + 1), .role = (uint8_t)role, .state = (uint8_t)state,
		.needed = role == MEMBER_VOTER, .has_columns = role == MEMBER_VOTER };
}

static void begin(void)
{
	status = (struct control_status){ .member_count = NEW + 1 };
	for (unsigned i = 0; i < NEW; i++)
		set(i, MEMBER_VOTER, MEMBER_IN_SYNC);
	set(NEW, MEMBER_REPLACEMENT, MEMBER_IN_SYNC);
	status.job = (struct control_job){ .running = true, .source = OLD, .targets = 1 << NEW };
}

static enum replace_state now(void) { return replace_follow(&replace, &status); }

static void test_steps(void)
{
	begin();
	CHECK_EQ(now(), REPLACE_GOES_ON);
	status.job.running = false;      /* it has the columns, and does not vote yet */
	CHECK_EQ(now(), REPLACE_GOES_ON);
	status.members[NEW].needed = true;
	CHECK_EQ(now(), REPLACE_GOES_ON);
	status.members[NEW].role = MEMBER_VOTER;
	CHECK_EQ(now(), REPLACE_GOES_ON);
	set(OLD, MEMBER_UNUSED, MEMBER_OUT);
	CHECK_EQ(now(), REPLACE_DONE);
	set(OLD, MEMBER_SPARE, MEMBER_IN_SYNC);
	status.members[OLD].uuid.b[0] = 77;  /* the index belongs to another disk already */
	CHECK_EQ(now(), REPLACE_DONE);
	status.members[NEW].has_gap = true;
	CHECK_EQ(now(), REPLACE_GOES_ON);
	status.members[NEW].has_gap = false;
	status.members[NEW].state = MEMBER_FILLING;
	CHECK_EQ(now(), REPLACE_GOES_ON);
}

static void test_old_one_last(void)
{
	/* The table ends before it. */
	begin();
	set(NEW, MEMBER_VOTER, MEMBER_IN_SYNC);
	struct replace last = replace;
	last.old_member = NEW + 1;
	CHECK_EQ(replace_follow(&last, &status), REPLACE_DONE);
}

static void test_stopped(void)
{
	begin();
	set(NEW, MEMBER_SPARE, MEMBER_IN_SYNC);
	CHECK_EQ(now(), REPLACE_STOPPED);
	set(NEW, MEMBER_UNUSED, MEMBER_IN_SYNC);
	CHECK_EQ(now(), REPLACE_STOPPED);
	set(NEW, MEMBER_REPLACEMENT, MEMBER_IN_SYNC);
	status.members[NEW].uuid.b[0] = 77;
	CHECK_EQ(now(), REPLACE_STOPPED);
	begin();
	status.member_count = NEW;
	CHECK_EQ(now(), REPLACE_STOPPED);
}

static void test_out(void)
{
	const enum member_role roles[] = { MEMBER_REPLACEMENT, MEMBER_SPARE, MEMBER_VOTER };

	begin();
	for (unsigned i = 0; i < 3; i++) {
		set(NEW, roles[i], MEMBER_OUT);
		CHECK_EQ(now(), REPLACE_OUT);
	}
	/* The old one fails on the way: it goes on. */
	begin();
	set(OLD, MEMBER_VOTER, MEMBER_OUT);
	CHECK_EQ(now(), REPLACE_GOES_ON);
}

/* One that leaves: its data goes to a voter and to the new one. */
static void test_leaving(void)
{
	const struct leaving leaving = { OLD, { .b[0] = OLD + 1 } };

	begin();
	status.job.targets = 1 << 0 | 1 << NEW;
	CHECK_EQ(leaving_targets(&status, OLD), 1 << 0 | 1 << NEW);
	CHECK_EQ(leaving_targets(&status, 0), 0);
	CHECK_EQ(leaving_follow(&leaving, &status), REPLACE_GOES_ON);
	status.members[OLD].state = MEMBER_OUT;      /* it fails on the way */
	CHECK_EQ(leaving_follow(&leaving, &status), REPLACE_GOES_ON);
	status.members[0].state = MEMBER_OUT;
	CHECK_EQ(leaving_follow(&leaving, &status), REPLACE_OUT);
	status.members[0].state = MEMBER_IN_SYNC;
	status.job.running = false;      /* cancelled */
	CHECK_EQ(leaving_follow(&leaving, &status), REPLACE_STOPPED);
	status.job.running = true;       /* another one's data */
	status.job.source = 2;
	CHECK_EQ(leaving_follow(&leaving, &status), REPLACE_STOPPED);
	status.members[OLD].has_columns = false;     /* or it has ended */
	CHECK_EQ(leaving_follow(&leaving, &status), REPLACE_GOES_ON);
	status.job.running = false;
	CHECK_EQ(leaving_follow(&leaving, &status), REPLACE_GOES_ON);
	set(OLD, MEMBER_UNUSED, MEMBER_OUT);
	CHECK_EQ(leaving_follow(&leaving, &status), REPLACE_DONE);
	set(OLD, MEMBER_SPARE, MEMBER_IN_SYNC);
	status.members[OLD].uuid.b[0] = 77;
	CHECK_EQ(leaving_follow(&leaving, &status), REPLACE_DONE);
}

int main(void)
{
	test_steps();
	test_old_one_last();
	test_stopped();
	test_out();
	test_leaving();
	return CHECK_DONE();
}
