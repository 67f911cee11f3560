/* Which root counts, who is in sync with it, and what the opening root shall say of each member.
 *
 * Why the rule is safe (design §5; the numbers are used below):
 *
 *   1. The chosen root is the highest newest root by (term, generation).  What was acknowledged is on all but
 *      one of the voters, and so are a mount's promise and opening root before its first row: any two
 *      such sets share a member, so what was acknowledged is seen, and a root that reached one member
 *      only and was passed over has a lower term for good.
 *   2. A root is written only after its rows were flushed on every member that it names in sync.  So
 *      whoever's own newest root stands for tree T has the rows of T, but for what its own gap says.
 *   3. Trees are named by their generation, and no two trees of one array have one name: a root that
 *      reached a lone member made tree n+1, where all but one have at least root n; who passes it
 *      over writes an opening root of at least n+1, which makes no tree, before its first commit.
 *   4. A gap may be too wide, never too narrow.  Rows outside it are read from the member first;
 *      rows inside it are read from the others first and checked by their tags either way.
 *
 * Gaps of the opening root, by what the chosen root R says of the member and what it has itself:
 *
 *   in sync in R, has R          as R has it (none, or one that is yet to be verified)
 *   in sync in R, has not R      from R's tree before, as (2) holds for that one at least; what R's
 *                                and its own root's gap cover is added; `to` R; from the beginning
 *   out or filling in R          `from` stays (rows before it are there), `to` opens, position 0: with
 *                                `to` open, what is missed may lie at any address
 *   in sync in R, absent         open from R's tree (2), or from where R's gap begins
 *   in sync in R, but its own    open from its own tree: it was silently rolled back
 *   tree is neither R's nor
 *   the one before
 *
 * In every case the member's own root, where it can be read, lowers `from`: to its tree, and to the
 * start of the gap that it names for itself (a member can be rolled back to a time when it still had a
 * gap that R no longer knows).  If the member was rolled back across a configuration step, a column
 * may have moved onto it since, and nothing is known of its rows: from 0. */
#include "raid/choose.h"

#include <string.h>

static uint64_t min_u64(uint64_t a, uint64_t b) { return a < b ? a : b; }
static uint64_t max_u64(uint64_t a, uint64_t b) { return a > b ? a : b; }

bool root_newer(const struct root_header *a, const struct root_header *b)
{
	return a->term != b->term ? a->term > b->term : a->generation > b->generation;
}

static bool same_mount(const struct root_header *a, const struct root_header *b)
{
	return !memcmp(&a->mount, &b->mount, sizeof(a->mount));
}

static bool same_root(const struct root_header *a, const struct root_header *b)
{
	return a->term == b->term && a->generation == b->generation && same_mount(a, b);
}

/* The last generation up to which a member has all rows, by its own newest root. */
static uint64_t whole_until(const struct root_header *own, unsigned member)
{
	const struct gap *gap = &own->members[member].gap;

	return gap->present ? min_u64(gap->from, own->tree) : own->tree;
}

uint64_t gap_from_of_return(uint64_t from, const struct root_header *own, unsigned member, uint64_t config_version)
{
	uint64_t whole = own ? whole_until(own, member) : 0;

	if (whole >= from)
		return from;
	return own && own->config_version == config_version ? whole : 0;
}

static bool is_in_sync(const struct choice_member *m, const struct root_header *chosen, unsigned member)
{
	if (!m->present || !m->has_root || chosen->members[member].state != MEMBER_IN_SYNC)
		return false;
	return m->root.tree == chosen->tree || m->root.tree == chosen->tree_before;
}

static struct gap gap_unverified(const struct root_header *own, const struct root_header *chosen, unsigned member)
{
	const struct gap *named = &chosen->members[member].gap, *gap = &own->members[member].gap;
	struct gap ret = { .present = true, .from = chosen->tree_before, .to = chosen->generation, .position = 0 };

	ret.from = min_u64(ret.from, whole_until(own, member));
	if (own->config_version != chosen->config_version)
		ret.from = 0;
	if (named->present) {
		ret.from = min_u64(ret.from, named->from);
		ret.to = max_u64(ret.to, named->to);
	}
	if (gap->present && gap->to != GAP_OPEN)
		ret.to = max_u64(ret.to, gap->to);
	return ret;
}

static struct gap gap_open(const struct choice_member *m, const struct root_header *chosen, unsigned member)
{
	const struct root_member *named = &chosen->members[member];
	struct gap ret = { .present = true, .from = chosen->tree, .to = GAP_OPEN, .position = 0 };

	if (named->state == MEMBER_ABSENT)
		ret.from = 0;
	else if (named->gap.present)
		ret.from = min_u64(ret.from, named->gap.from);
	if (m->present)
		ret.from = gap_from_of_return(ret.from, m->has_root ? &m->root : NULL, member, chosen->config_version);
	return ret;
}

/* A voter that the chosen root does not know at all is one of which nothing is known: out, from 0. */
static struct root_member opening_state(const struct choice_member *m, const struct root_header *chosen, unsigned member, bool votes)
{
	struct root_member ret = { .state = MEMBER_ABSENT };

	if (chosen->members[member].state == MEMBER_ABSENT && !votes)
		return ret;
	if (!is_in_sync(m, chosen, member)) {
		ret.state = MEMBER_OUT;
		ret.gap = gap_open(m, chosen, member);
		return ret;
	}
	ret.state = MEMBER_IN_SYNC;
	ret.gap = same_root(&m->root, chosen) ? chosen->members[member].gap : gap_unverified(&m->root, chosen, member);
	return ret;
}

/* Finds the highest root and the next term: false if no present member has a root. */
static bool find_highest(const struct choice_member members[MEMBERS_MAX], unsigned count, struct choice *choice)
{
	const struct root_header *highest = NULL;
	uint64_t term = 0;

	for (unsigned i = 0; i < count; i++) {
		const struct choice_member *m = &members[i];
		if (!m->present)
			continue;
		term = max_u64(term, m->promised_term);
		if (!m->has_root)
			continue;
		term = max_u64(term, m->root.term);
		if (!highest || root_newer(&m->root, highest)) {
			highest = &m->root;
			choice->root_member = i;
		}
	}
	choice->next_term = term + 1;
	return highest != NULL;
}

void choose_root(const struct choice_member members[MEMBERS_MAX], unsigned count, uint32_t voters, struct choice *ret_choice)
{
	struct choice choice = { .result = CHOICE_OK };
	const struct root_header *chosen;
	bool found = find_highest(members, count, &choice);

	if (!found) {
		choice.result = CHOICE_NO_ROOT;
		*ret_choice = choice;
		return;
	}
	chosen = &members[choice.root_member].root;
	for (unsigned i = 0; i < count; i++) {
		const struct choice_member *m = &members[i];
		uint32_t bit = UINT32_C(1) << i;

		if (m->present && m->has_root && m->root.term == chosen->term) {
			if (same_mount(&m->root, chosen))
				choice.same_mount |= bit;
			else
				choice.other_mounts |= bit;
		}
		choice.members[i] = opening_state(m, chosen, i, voters & bit);
		if (is_in_sync(m, chosen, i)) {
			choice.in_sync |= bit;
			choice.level |= same_root(&m->root, chosen) ? bit : 0;
		} else if (voters & bit) {
			choice.absent |= m->present ? 0 : bit;
			choice.stale |= m->present ? bit : 0;
		}
	}
	if (choice.other_mounts)
		choice.result = CHOICE_DIVERGED;
	else if (__builtin_popcount(voters & ~choice.in_sync) > 1)
		choice.result = CHOICE_TOO_FEW;
	*ret_choice = choice;
}
