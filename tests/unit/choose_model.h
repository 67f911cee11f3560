/* A model of an array over its mounts, and of everything that a cut can leave of each: what
 * tests/unit/test_choose.c enumerates.
 *
 * What lies on each member: its newest root, the highest term promised, the trees whose rows are whole,
 * the log records.  Beside it, what was promised to users.  A mount has all members present, or all
 * but one, and is cut at any point: in every phase, after any subset of the members was written.  In a
 * mount one member may fail (in the row phase or in the root phase), one that was away may be re-added;
 * between mounts one member may silently become what it was a mount earlier.
 *
 * Phases of a mount: choose - verify rows of the last tree - promise - opening root - rows - root -
 * acknowledge - rows - root ..., with log records after the opening root or the first commit, on any
 * two members.
 *
 * Checked at every mount (check_choice): no false refusal while at most one member is at fault; the
 * chosen root descends from the last acknowledged one; its rows are whole on all but one; every
 * acknowledged log record is in its tree or found in a log; a tree's generation names it alone; and every
 * gap of the opening root begins no later than the member's rows end.
 *
 * Not in it: gaps that stay open over mounts, positions, column jobs and configuration steps, members
 * added or removed, a torn promise, a member that fails while promising, opening or logging, a member
 * set back to the middle of a mount. */
#ifndef TESTS_UNIT_CHOOSE_MODEL_H
#define TESTS_UNIT_CHOOSE_MODEL_H

#include "raid/choose.h"
#include "tests/unit/check.h"

#include <stdarg.h>
#include <string.h>

#define N_MAX 5
#define MOUNTS_MAX 10
#define ROOTS_MAX (3 * MOUNTS_MAX + 2)
#define TREES_MAX (2 * MOUNTS_MAX + 2)
#define TRACE_MAX (12 * MOUNTS_MAX)
#define NOBODY (-1)

/* `tree`, `before`: the trees (named by the commit that wrote them) that this root and the commit before it
 * stand for.  `log`: the mount whose log records this root does not contain yet.  `gaps`: members in sync
 * whose rows of the last generations are yet to be verified.  Sets are bits. */
struct root {
	int8_t predecessor;
	uint8_t in_sync, gaps, term, mount, generation, tree, before, log;
	uint8_t gap_from[N_MAX];         /* by member: of its gap, if it has one or is out */
};

struct on_member {
	uint8_t newest, promised;        /* the newest root in its ring; the highest term promised */
	uint32_t whole, log;             /* trees whose rows on it are whole; mounts of which it holds a log record */
};

struct step { const char *what; int a, b; };

struct world {
	struct root roots[ROOTS_MAX];
	struct on_member now[N_MAX], earlier[N_MAX];
	uint32_t content[TREES_MAX];     /* by tree: the log records that it contains */
	uint8_t tree_generation[TREES_MAX];
	int8_t tree_predecessor[TREES_MAX];
	uint8_t root_count, tree_count, mount_count;
	uint8_t acked;                   /* the last acknowledged root */
	uint32_t acked_records;          /* mounts with an acknowledged log record */
	int8_t older, older_tree;        /* the member silently set back, and the tree acknowledged then */
	bool fault;                      /* a member failed and is not back in sync */
	unsigned trace_length;
	struct step trace[TRACE_MAX];
};

struct options {
	int members, mounts;
	bool older, without_promise, without_opening;
	double walk_seconds;
	uint64_t seed;
};

typedef void emit_fn(void *ctx, const struct world *w);

static unsigned all_members;             /* bits of all members of this run */
static int member_count;
static bool violated;
static char violation[512];

static void violate(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void violate(const char *format, ...)
{
	va_list args;

	if (violated)
		return;
	violated = true;
	va_start(args, format);
	vsnprintf(violation, sizeof(violation), format, args);
	va_end(args);
}

static void note(struct world *w, const char *what, int a, int b)
{
	if (w->trace_length < TRACE_MAX)
		w->trace[w->trace_length++] = (struct step){ what, a, b };
}

static void emit(emit_fn *fn, void *ctx, const struct world *w, const char *what, int a)
{
	struct world copy = *w;

	note(&copy, what, a, NOBODY);
	fn(ctx, &copy);
}

static unsigned bits(uint32_t set) { return (unsigned)__builtin_popcount(set); }

static struct world world_new(void)
{
	struct world w = { .root_count = 1, .tree_count = 1, .mount_count = 1, .older = NOBODY, .older_tree = NOBODY };

	w.roots[0] = (struct root){ .predecessor = NOBODY, .in_sync = (uint8_t)all_members, .generation = 1 };
	w.tree_generation[0] = 1;
	w.tree_predecessor[0] = NOBODY;
	for (int m = 0; m < member_count; m++)
		w.now[m] = w.earlier[m] = (struct on_member){ .whole = 1 };
	return w;
}

static bool descends(const struct world *w, int a, int b)
{
	for (; a != NOBODY; a = w->roots[a].predecessor) {
		if (a == b)
			return true;
	}
	return false;
}

/* ---- Choosing: the model's roots, put before choose_root ---- */

static void header_of(const struct world *w, const struct root *r, struct root_header *ret_header)
{
	struct root_header h = { .array = { { 1 } }, .term = r->term, .mount = { { r->mount } }, .generation = r->generation,
		.tree = w->tree_generation[r->tree], .tree_before = w->tree_generation[r->before], .config_version = 1 };

	for (int m = 0; m < member_count; m++) {
		bool in_sync = r->in_sync >> m & 1, gap = !in_sync || (r->gaps >> m & 1);
		h.members[m].state = in_sync ? MEMBER_IN_SYNC : MEMBER_OUT;
		if (gap)
			h.members[m].gap = (struct gap){ .present = true, .from = r->gap_from[m], .to = in_sync ? r->generation : GAP_OPEN };
	}
	*ret_header = h;
}

static void choose(const struct world *w, unsigned present, struct choice *ret_choice)
{
	struct choice_member members[MEMBERS_MAX] = { 0 };

	for (int m = 0; m < member_count; m++) {
		if (!(present >> m & 1))
			continue;
		members[m].present = members[m].has_root = true;
		header_of(w, &w->roots[w->now[m].newest], &members[m].root);
		members[m].promised_term = w->now[m].promised;
	}
	choose_root(members, (unsigned)member_count, all_members, ret_choice);
}

/* Every row that the chosen tree has and that no gap covers must be whole on the member.  Such rows were live in
 * every tree of the chosen one's line from the last one that is not newer than where the gap begins: so one
 * of these must be whole on it. */
static void check_gaps(const struct world *w, const struct root *chosen, unsigned present, const struct choice *choice)
{
	for (int m = 0; m < member_count; m++) {
		const struct root_member *state = &choice->members[m];
		uint64_t from = state->gap.present ? state->gap.from : w->tree_generation[chosen->tree];
		bool whole = false;

		if (!(present >> m & 1) && m == w->older)
			continue;               /* what it lost is seen when it is: lowering `from` is what its own root is for */
		for (int t = chosen->tree; t != NOBODY; t = w->tree_generation[t] <= from ? NOBODY : w->tree_predecessor[t])
			whole = whole || (w->now[m].whole >> t & 1);
		if (!whole && from)
			violate("member %d's gap begins too late: from %d", m, (int)from);
	}
}

/* The root that choose_root took, or NOBODY: a refusal, justified or (violated) not. */
static int check_choice(const struct world *w, unsigned present, struct choice *ret_choice)
{
	struct choice c;
	unsigned in_sync = 0, whole = 0, at_fault, found = 0;
	const struct root *r;
	int id;

	choose(w, present, &c);
	id = w->now[c.root_member].newest;
	r = &w->roots[id];
	for (int m = 0; m < member_count; m++) {
		const struct root *own = &w->roots[w->now[m].newest];
		if ((present >> m & 1) && (r->in_sync >> m & 1) && (own->tree == r->tree || own->tree == r->before))
			in_sync |= 1u << m;
		whole += c.in_sync >> m & w->now[m].whole >> r->tree & 1;
		found |= present >> m & w->now[m].log >> r->log & 1;
	}
	if (c.result == CHOICE_DIVERGED || c.result == CHOICE_NO_ROOT)
		violate("two mounts with one term, or no root");
	if (in_sync != c.in_sync)
		violate("a tree's generation does not name it alone: in sync %x, by commits %x", c.in_sync, in_sync);
	if ((c.result == CHOICE_TOO_FEW) != (bits(in_sync) + 1 < (unsigned)member_count))
		violate("the quorum is not all but one");
	if (c.result == CHOICE_TOO_FEW) {
		at_fault = (all_members & ~r->in_sync) | (all_members & ~present) | (w->older == NOBODY ? 0 : 1u << w->older);
		if (bits(at_fault) <= 1)
			violate("refused: chose root %d, in sync %x", id, in_sync);
		return NOBODY;
	}
	if (!descends(w, id, w->acked))
		violate("an acknowledged generation is lost: chose root %d, acknowledged %d", id, w->acked);
	if (whole + 1 < (unsigned)member_count)
		violate("rows of the chosen root %d are damaged: tree %d", id, r->tree);
	if (w->acked_records & ~w->content[r->tree] & ~(found << r->log))
		violate("an acknowledged log record is lost: chose root %d", id);
	check_gaps(w, r, present, &c);
	*ret_choice = c;
	return id;
}

/* ---- One mount: every world that it can leave, cut anywhere ---- */

struct mount {
	emit_fn *fn;
	void *ctx;
	unsigned present, work, gaps;
	int chosen, base, me;            /* the root chosen, the root to build on, this mount's number */
	uint8_t term, generation;
	bool found;                      /* log records of the chosen root's log */
	struct choice choice;
};

/* Every subset of `set` that is neither empty nor all. */
#define EACH_PART(part, set) (unsigned part = ((set) - 1) & (set); part; part = (part - 1) & (set))

static int new_root(const struct mount *mt, struct world *w, int predecessor, unsigned in_sync, int tree, int before, int log, int generation)
{
	int id = w->root_count++;

	w->roots[id] = (struct root){ .predecessor = (int8_t)predecessor, .in_sync = (uint8_t)in_sync, .term = mt->term,
		.mount = (uint8_t)mt->me, .generation = (uint8_t)generation, .tree = (uint8_t)tree, .before = (uint8_t)before, .log = (uint8_t)log };
	for (int m = 0; m < member_count; m++) {
		bool stays_out = mt->choice.members[m].state == MEMBER_OUT;
		w->roots[id].gap_from[m] = stays_out ? (uint8_t)mt->choice.members[m].gap.from : w->tree_generation[before];
	}
	return id;
}

/* The root reaches some members, then all of them, and is acknowledged. */
static void spread(const struct mount *mt, struct world *w, int root, unsigned members)
{
	for EACH_PART(part, members) {
		struct world a = *w;
		for (int m = 0; m < member_count; m++)
			a.now[m].newest = part >> m & 1 ? (uint8_t)root : a.now[m].newest;
		emit(mt->fn, mt->ctx, &a, "root on %x only", (int)part);
	}
	for (int m = 0; m < member_count; m++)
		w->now[m].newest = members >> m & 1 ? (uint8_t)root : w->now[m].newest;
	w->acked = (uint8_t)root;
	emit(mt->fn, mt->ctx, w, "root on all", NOBODY);
}

static void log_records(const struct mount *mt, const struct world *w, unsigned members)
{
	for (int x = 0; x < member_count; x++) {
		for (int y = x + 1; y < member_count; y++) {
			struct world a = *w;
			if (!(members >> x & 1) || !(members >> y & 1))
				continue;
			a.now[x].log |= 1u << mt->me;
			emit(mt->fn, mt->ctx, &a, "a log record on %d only", x);
			a.now[y].log |= 1u << mt->me;
			a.acked_records |= 1u << mt->me;
			emit(mt->fn, mt->ctx, &a, "a log record acknowledged, on %d too", y);
			a = *w;
			a.now[y].log |= 1u << mt->me;
			emit(mt->fn, mt->ctx, &a, "a log record on %d only", y);
		}
	}
}

/* Rows of a new tree: free rows of the tree before it are overwritten.  Returns the new root, not yet on any member. */
static int commit(const struct mount *mt, struct world *w, int predecessor, int tree, unsigned members, int fails_rows, uint32_t content, int generation)
{
	int new = w->tree_count++;

	w->content[new] = content;
	w->tree_generation[new] = (uint8_t)generation;
	w->tree_predecessor[new] = (int8_t)tree;
	for EACH_PART(part, members) {
		struct world a = *w;
		for (int m = 0; m < member_count; m++)
			a.now[m].whole &= part >> m & 1 ? 1u << tree : ~0u;
		emit(mt->fn, mt->ctx, &a, "rows half written on %x", (int)part);
	}
	for (int m = 0; m < member_count; m++)
		w->now[m].whole &= members >> m & 1 ? 1u << tree : ~0u;
	emit(mt->fn, mt->ctx, w, "rows half written", NOBODY);
	for (int m = 0; m < member_count; m++) {
		if ((members >> m & 1) && m != fails_rows && (w->now[m].whole >> tree & 1))
			w->now[m].whole |= 1u << new;
	}
	emit(mt->fn, mt->ctx, w, "rows flushed", NOBODY);
	note(w, "root", NOBODY, NOBODY);
	return new_root(mt, w, predecessor, fails_rows == NOBODY ? members : members & ~(1u << fails_rows), new, tree, mt->me, generation);
}

/* Two commits, in which a member fails, in the rows or in the root phase, or one comes back. */
static void commits(const struct mount *mt, const struct world *opened, int fails_rows, int fails_root, int back)
{
	const struct root *chosen = &opened->roots[mt->chosen];
	struct mount with_back = *mt;
	struct world w = *opened;
	unsigned members = mt->work;
	uint32_t content = w.content[chosen->tree] | (mt->found ? 1u << chosen->log : 0);
	int first, second;

	note(&w, "fails in rows %d, in root %d", fails_rows, fails_root);
	w.fault = w.fault || fails_rows != NOBODY || fails_root != NOBODY;
	if (back != NOBODY) {
		w.now[back].whole = 1u << chosen->tree | (1u << chosen->before & w.now[back].whole);
		w.now[back].newest = (uint8_t)mt->base;
		members |= 1u << back;
		with_back.choice.members[back] = (struct root_member){ .state = MEMBER_IN_SYNC };
		emit(mt->fn, mt->ctx, &w, "member %d copied", back);
		note(&w, "back %d", back, NOBODY);
	}
	first = commit(&with_back, &w, mt->base, chosen->tree, members, fails_rows, content, mt->generation + 1);
	if (fails_rows != NOBODY)
		members &= ~(1u << fails_rows);
	if (fails_root != NOBODY) {              /* acknowledged on the others; the next root names it out */
		members &= ~(1u << fails_root);
		for (int m = 0; m < member_count; m++)
			w.now[m].newest = members >> m & 1 ? (uint8_t)first : w.now[m].newest;
		w.acked = (uint8_t)first;
		emit(mt->fn, mt->ctx, &w, "acknowledged without it", NOBODY);
	} else {
		spread(mt, &w, first, members);
	}
	log_records(mt, &w, members);
	if (fails_rows != NOBODY)
		with_back.choice.members[fails_rows] = (struct root_member){ .state = MEMBER_OUT, .gap = { .from = w.roots[first].gap_from[fails_rows] } };
	note(&w, "second commit", NOBODY, NOBODY);
	second = commit(&with_back, &w, first, w.roots[first].tree, members, NOBODY, w.content[w.roots[first].tree], mt->generation + 2);
	spread(mt, &w, second, members);
}

static void promise(const struct mount *mt, struct world *w)
{
	for EACH_PART(part, mt->present) {
		struct world a = *w;
		for (int m = 0; m < member_count; m++)
			a.now[m].promised = part >> m & 1 ? mt->term : a.now[m].promised;
		emit(mt->fn, mt->ctx, &a, "promise on %x only", (int)part);
	}
	for (int m = 0; m < member_count; m++)
		w->now[m].promised = mt->present >> m & 1 ? mt->term : w->now[m].promised;
	emit(mt->fn, mt->ctx, w, "promised", NOBODY);
}

static void opening_root(struct mount *mt, struct world *w)
{
	const struct root *chosen = &w->roots[mt->chosen];
	struct root *opening;

	mt->generation++;
	mt->base = new_root(mt, w, mt->chosen, mt->work, chosen->tree, chosen->before, mt->found ? chosen->log : mt->me, mt->generation);
	opening = &w->roots[mt->base];
	opening->gaps = (uint8_t)mt->gaps;
	for (int m = 0; m < member_count; m++)
		opening->gap_from[m] = (uint8_t)mt->choice.members[m].gap.from;
	note(w, "opening root", NOBODY, NOBODY);
	spread(mt, w, mt->base, mt->work);
	for (int m = 0; m < member_count; m++)  /* verified and mended from the others: in the background in truth, here at once */
		w->now[m].whole |= mt->gaps >> m & 1 ? 1u << chosen->tree : 0;
	if (!mt->found)
		log_records(mt, w, mt->work);
}

static void mount_all(const struct world *before, unsigned present, const struct options *options, emit_fn *fn, void *ctx)
{
	struct mount mt = { .fn = fn, .ctx = ctx, .present = present };
	struct world w = *before;
	const struct root *chosen;

	mt.chosen = mt.base = check_choice(&w, present, &mt.choice);
	if (violated || mt.chosen == NOBODY)
		return;
	chosen = &w.roots[mt.chosen];
	mt.work = mt.choice.in_sync;
	for (int m = 0; m < member_count; m++) {
		mt.gaps |= mt.work >> m & 1 && mt.choice.members[m].gap.present ? 1u << m : 0;
		mt.found = mt.found || (present >> m & w.now[m].log >> chosen->log & 1);
	}
	emit(fn, ctx, &w, "idle", NOBODY);
	mt.me = w.mount_count++;
	mt.term = (uint8_t)mt.choice.next_term;
	mt.generation = chosen->generation;
	if (!options->without_promise)
		promise(&mt, &w);
	if (!options->without_opening)
		opening_root(&mt, &w);
	commits(&mt, &w, NOBODY, NOBODY, NOBODY);
	for (int m = 0; m < member_count; m++) {
		if (mt.work == all_members) {
			commits(&mt, &w, m, NOBODY, NOBODY);
			commits(&mt, &w, NOBODY, m, NOBODY);
		} else if (present >> m & ~mt.work >> m & 1) {
			commits(&mt, &w, NOBODY, NOBODY, m);
		}
	}
}

/* ---- Between mounts ---- */

/* Is what was at fault whole again?  A member set back is once its gap is closed and what only the log held is in
 * an acknowledged tree. */
static void settle(struct world *w, const struct world *before)
{
	const struct root *acked = &w->roots[w->acked];
	bool fault = false;

	if (w->older != NOBODY) {
		int m = w->older;
		if (((acked->in_sync & ~acked->gaps) >> m & 1) && (w->now[m].whole >> acked->tree & 1)
		    && acked->tree != w->older_tree && descends(w, w->now[m].newest, w->acked))
			w->older = NOBODY;
	}
	for (int m = 0; m < member_count; m++)
		fault = fault || w->now[m].newest != w->acked || !(acked->in_sync >> m & 1);
	w->fault = w->fault && fault;
	memcpy(w->earlier, before->now, sizeof(w->earlier));
}

/* The world in which `m` is silently what it was a mount earlier, if nothing else is at fault. */
static bool set_back(const struct world *w, int m, struct world *ret_world)
{
	bool all = w->roots[w->acked].in_sync == all_members;

	for (int i = 0; i < member_count; i++)
		all = all && w->roots[w->now[i].newest].in_sync == all_members;
	if (w->older != NOBODY || w->fault || !all || w->earlier[m].newest == w->now[m].newest)
		return false;
	*ret_world = *w;
	ret_world->now[m] = w->earlier[m];
	ret_world->older = (int8_t)m;
	ret_world->older_tree = (int8_t)w->roots[w->acked].tree;
	note(ret_world, "MEMBER %d SILENTLY OLDER", m, NOBODY);
	return true;
}

#endif
