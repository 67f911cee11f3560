/* The rules of choose_root one by one: states, gaps and refusals of single cases, positions and
 * configuration steps included, which the histories of test_choose.c do not have. */
#include "raid/choose.h"
#include "tests/unit/check.h"

#include <string.h>

#define VOTERS UINT32_C(7)

/* Three members, all in sync and level with a root of term 5: generation 100, tree 98, the one before 95. */
static void level(struct choice_member members[MEMBERS_MAX])
{
	memset(members, 0, MEMBERS_MAX * sizeof(*members));
	for (int i = 0; i < 3; i++) {
		members[i].present = members[i].has_root = true;
		members[i].promised_term = 5;
		members[i].root = (struct root_header){ .array = { { 1 } }, .term = 5, .mount = { { 7 } }, .generation = 100, .predecessor = 98,
			.tree = 98, .tree_before = 95, .config_version = 3 };
		for (int j = 0; j < 3; j++)
			members[i].root.members[j].state = MEMBER_IN_SYNC;
	}
}

/* What every present member's root but `but`'s says of `member`. */
static void name(struct choice_member members[MEMBERS_MAX], int but, int member, uint8_t state, struct gap gap)
{
	for (int i = 0; i < 3; i++) {
		if (i != but)
			members[i].root.members[member] = (struct root_member){ .state = state, .gap = gap };
	}
}

static void set_own(struct choice_member *m, uint64_t generation, uint64_t tree, uint64_t tree_before)
{
	m->root.generation = generation;
	m->root.tree = tree;
	m->root.tree_before = tree_before;
}

static bool gap_is(const struct root_member *m, uint8_t state, uint64_t from, uint64_t to, address position)
{
	return m->state == state && m->gap.present && m->gap.from == from && m->gap.to == to && m->gap.position == position;
}

static struct gap gap_of(uint64_t from, uint64_t to, address position)
{
	return (struct gap){ .present = true, .from = from, .to = to, .position = position };
}

static void test_level_and_terms(void)
{
	struct choice_member m[MEMBERS_MAX];
	struct choice c;

	level(m);
	choose_root(m, 3, VOTERS, &c);
	CHECK_EQ(c.result, CHOICE_OK);
	CHECK_EQ(c.in_sync, 7);
	CHECK_EQ(c.level, 7);
	CHECK_EQ(c.absent | c.stale, 0);
	CHECK_EQ(c.next_term, 6);
	for (int i = 0; i < 3; i++)
		CHECK(c.members[i].state == MEMBER_IN_SYNC && !c.members[i].gap.present);
	CHECK_EQ(c.members[3].state, MEMBER_ABSENT);

	m[1].promised_term = 9;                  /* a promise that never led to a root */
	choose_root(m, 3, VOTERS, &c);
	CHECK_EQ(c.next_term, 10);
	m[1].present = false;                    /* and that is not seen */
	choose_root(m, 3, VOTERS, &c);
	CHECK_EQ(c.next_term, 6);

	level(m);                                /* an unverified gap of before stays as it is */
	name(m, -1, 2, MEMBER_IN_SYNC, gap_of(90, 97, 1234));
	choose_root(m, 3, VOTERS, &c);
	CHECK(gap_is(&c.members[2], MEMBER_IN_SYNC, 90, 97, 1234));
	CHECK_EQ(c.level, 7);

	level(m);                                /* term beats generation */
	m[0].root.term = 6;
	m[0].root.mount.b[0] = 8;
	set_own(&m[0], 99, 98, 95);
	choose_root(m, 3, VOTERS, &c);
	CHECK_EQ(c.root_member, 0);
	CHECK_EQ(c.level, 1);
	CHECK(root_newer(&m[0].root, &m[1].root) && !root_newer(&m[1].root, &m[0].root) && !root_newer(&m[1].root, &m[2].root));
}

static void test_not_level(void)
{
	struct choice_member m[MEMBERS_MAX];
	struct choice c;

	level(m);
	set_own(&m[1], 97, 95, 90);              /* its own tree is the one before */
	choose_root(m, 3, VOTERS, &c);
	CHECK_EQ(c.result, CHOICE_OK);
	CHECK_EQ(c.in_sync, 7);
	CHECK_EQ(c.level, 5);
	CHECK(gap_is(&c.members[1], MEMBER_IN_SYNC, 95, 100, 0));

	name(m, 1, 1, MEMBER_IN_SYNC, gap_of(80, 90, 55));       /* the chosen root's gap for it is wider */
	choose_root(m, 3, VOTERS, &c);
	CHECK(gap_is(&c.members[1], MEMBER_IN_SYNC, 80, 100, 0));

	m[1].root.members[1].gap = gap_of(70, 85, 99);           /* its own is wider still */
	choose_root(m, 3, VOTERS, &c);
	CHECK(gap_is(&c.members[1], MEMBER_IN_SYNC, 70, 100, 0));

	m[1].root.config_version = 2;            /* a column may have moved onto it since */
	choose_root(m, 3, VOTERS, &c);
	CHECK(gap_is(&c.members[1], MEMBER_IN_SYNC, 0, 100, 0));

	level(m);                                /* the same tree, an opening root that it lacks */
	set_own(&m[1], 98, 98, 95);
	choose_root(m, 3, VOTERS, &c);
	CHECK(gap_is(&c.members[1], MEMBER_IN_SYNC, 95, 100, 0));

	level(m);                                /* its own root has it filling, with an end that is open */
	set_own(&m[1], 97, 95, 90);
	m[1].root.members[1] = (struct root_member){ .state = MEMBER_OUT, .gap = gap_of(60, GAP_OPEN, 0) };
	choose_root(m, 3, VOTERS, &c);
	CHECK(gap_is(&c.members[1], MEMBER_IN_SYNC, 60, 100, 0));
}

static void test_out(void)
{
	struct choice_member m[MEMBERS_MAX];
	struct choice c;

	level(m);                                /* absent, and in sync until now */
	m[2].present = false;
	choose_root(m, 3, VOTERS, &c);
	CHECK_EQ(c.result, CHOICE_OK);
	CHECK_EQ(c.absent, 4);
	CHECK_EQ(c.stale, 0);
	CHECK(gap_is(&c.members[2], MEMBER_OUT, 98, GAP_OPEN, 0));

	name(m, -1, 2, MEMBER_IN_SYNC, gap_of(77, 90, 5));       /* with rows yet to be verified */
	choose_root(m, 3, VOTERS, &c);
	CHECK(gap_is(&c.members[2], MEMBER_OUT, 77, GAP_OPEN, 0));

	name(m, -1, 2, MEMBER_OUT, gap_of(60, GAP_OPEN, 0));     /* out before */
	choose_root(m, 3, VOTERS, &c);
	CHECK(gap_is(&c.members[2], MEMBER_OUT, 60, GAP_OPEN, 0));

	m[2].present = true;                     /* it is back, with all that it had */
	set_own(&m[2], 62, 60, 58);
	choose_root(m, 3, VOTERS, &c);
	CHECK_EQ(c.stale, 4);
	CHECK_EQ(c.in_sync, 3);
	CHECK(gap_is(&c.members[2], MEMBER_OUT, 60, GAP_OPEN, 0));

	set_own(&m[2], 50, 49, 48);              /* back, and older than it was */
	choose_root(m, 3, VOTERS, &c);
	CHECK(gap_is(&c.members[2], MEMBER_OUT, 49, GAP_OPEN, 0));
	m[2].root.members[2].gap = gap_of(30, 40, 0);            /* from a time when it had a gap of its own */
	choose_root(m, 3, VOTERS, &c);
	CHECK(gap_is(&c.members[2], MEMBER_OUT, 30, GAP_OPEN, 0));
	m[2].root.config_version = 2;
	choose_root(m, 3, VOTERS, &c);
	CHECK(gap_is(&c.members[2], MEMBER_OUT, 0, GAP_OPEN, 0));

	level(m);                                /* filling, up to date with roots or not: to be returned again */
	name(m, -1, 2, MEMBER_FILLING, gap_of(60, 99, 4711));
	choose_root(m, 3, VOTERS, &c);
	CHECK_EQ(c.in_sync, 3);
	CHECK_EQ(c.stale, 4);
	CHECK(gap_is(&c.members[2], MEMBER_OUT, 60, GAP_OPEN, 0));
}

static void test_rolled_back(void)
{
	struct choice_member m[MEMBERS_MAX];
	struct choice c;

	level(m);                                /* named in sync, yet older than the tree before */
	set_own(&m[0], 91, 90, 88);
	choose_root(m, 3, VOTERS, &c);
	CHECK_EQ(c.result, CHOICE_OK);
	CHECK_EQ(c.stale, 1);
	CHECK(gap_is(&c.members[0], MEMBER_OUT, 90, GAP_OPEN, 0));

	m[0].root.members[0].gap = gap_of(66, 80, 3);
	choose_root(m, 3, VOTERS, &c);
	CHECK(gap_is(&c.members[0], MEMBER_OUT, 66, GAP_OPEN, 0));

	level(m);                                /* its ring lost: nothing is known of its rows */
	m[0].has_root = false;
	choose_root(m, 3, VOTERS, &c);
	CHECK_EQ(c.result, CHOICE_OK);
	CHECK_EQ(c.stale, 1);
	CHECK(gap_is(&c.members[0], MEMBER_OUT, 0, GAP_OPEN, 0));
}

static void test_refusals(void)
{
	struct choice_member m[MEMBERS_MAX] = { 0 };
	struct choice c;

	choose_root(m, 3, VOTERS, &c);
	CHECK_EQ(c.result, CHOICE_NO_ROOT);
	m[1].present = true;
	m[1].promised_term = 4;
	choose_root(m, 3, VOTERS, &c);
	CHECK_EQ(c.result, CHOICE_NO_ROOT);
	CHECK_EQ(c.next_term, 5);

	level(m);
	m[0].present = false;
	set_own(&m[2], 80, 79, 78);
	choose_root(m, 3, VOTERS, &c);
	CHECK_EQ(c.result, CHOICE_TOO_FEW);
	CHECK_EQ(c.absent, 1);
	CHECK_EQ(c.stale, 4);
	CHECK_EQ(c.in_sync, 2);
	CHECK_EQ(c.root_member, 1);
	choose_root(m, 3, 0, &c);                /* no quorum asked for yet */
	CHECK_EQ(c.result, CHOICE_OK);
	choose_root(m, 3, 6, &c);                /* a spare that is away does not count */
	CHECK_EQ(c.result, CHOICE_OK);
	CHECK_EQ(c.absent, 0);

	level(m);
	m[2].root.mount.b[5] = 1;                /* the same term, another mount: clones */
	choose_root(m, 3, VOTERS, &c);
	CHECK_EQ(c.result, CHOICE_DIVERGED);
	CHECK_EQ(c.same_mount, 3);
	CHECK_EQ(c.other_mounts, 4);
	m[2].root.term = 4;                      /* of a lower term: passed over, not a clone's */
	choose_root(m, 3, VOTERS, &c);
	CHECK_EQ(c.result, CHOICE_OK);
}

static void test_unknown_member(void)
{
	struct choice_member m[MEMBERS_MAX];
	struct choice c;

	level(m);                                /* a root that does not know a voter */
	name(m, -1, 2, MEMBER_ABSENT, (struct gap){ 0 });
	choose_root(m, 3, VOTERS, &c);
	CHECK_EQ(c.in_sync, 3);
	CHECK_EQ(c.stale, 4);
	CHECK(gap_is(&c.members[2], MEMBER_OUT, 0, GAP_OPEN, 0));
	choose_root(m, 3, 3, &c);                /* nor is it one */
	CHECK_EQ(c.members[2].state, MEMBER_ABSENT);
	CHECK(!c.members[2].gap.present);
	CHECK_EQ(c.stale, 0);
}

static void test_return(void)
{
	struct choice_member m[MEMBERS_MAX];

	level(m);
	CHECK_EQ(gap_from_of_return(98, &m[0].root, 0, 3), 98);
	CHECK_EQ(gap_from_of_return(120, &m[0].root, 0, 3), 98);
	CHECK_EQ(gap_from_of_return(40, &m[0].root, 0, 3), 40);
	CHECK_EQ(gap_from_of_return(120, &m[0].root, 0, 4), 0);
	CHECK_EQ(gap_from_of_return(120, NULL, 0, 3), 0);
	m[0].root.members[0].gap = gap_of(20, 30, 0);
	CHECK_EQ(gap_from_of_return(120, &m[0].root, 0, 3), 20);
	CHECK_EQ(gap_from_of_return(120, &m[0].root, 1, 3), 98);
}

int main(void)
{
	test_level_and_terms();
	test_not_level();
	test_out();
	test_rolled_back();
	test_refusals();
	test_unknown_member();
	test_return();
	return CHECK_DONE();
}
