/* Where columns may go: free granules of other members.
 *
 * A column needs a run of granules, as long as its band says, on a member that has no other column of that band. On each member runs of one
 * length are taken from the front of its holes, so that as many fit as can. That leaves a matching of columns to members with room for so
 * many: each column goes to the member with the most room left, and where all that it may go to are full, columns before it move on to
 * others (augmenting paths). So, if all of its columns are equally long, as those of bands that mkfs makes are, a place for each is found
 * whenever there is one, and what lacks is as little as can be. Of columns of different lengths the longest are placed first, and a way to
 * place them all may be missed. */
#include "raid/config.h"

#include "base/cleanup.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define NOWHERE MEMBERS_MAX
#define BIT(member) (UINT32_C(1) << (member))

/* ---- Holes ---- */

struct run { uint32_t granule, granules; };

/* What is taken of a member, in order: by columns and by what is on its way. */
struct taken { struct run *runs; size_t count; };

static int run_order(const void *a, const void *b)
{
	const struct run *x = a, *y = b;

	return x->granule < y->granule ? -1 : x->granule > y->granule;
}

static int find_taken(const struct config *config, unsigned member, struct taken *ret_taken)
{
	struct run *runs = calloc((size_t)config->band_count + config->job_count + 1, sizeof *runs);
	size_t count = 0;

	if (!runs)
		return -ENOMEM;
	for (uint32_t i = 0; i < config->band_count; i++) {
		int c = band_column_of(&config->bands[i], member);
		if (c >= 0)
			runs[count++] = (struct run){ config->bands[i].columns[c].granule, config->bands[i].granules };
	}
	for (unsigned i = 0; i < config->job_count; i++)
		if (config->jobs[i].target.member == member)
			runs[count++] = (struct run){ config->jobs[i].target.granule, config_band(config, config->jobs[i].band)->granules };
	qsort(runs, count, sizeof *runs, run_order);
	*ret_taken = (struct taken){ runs, count };
	return 0;
}

/* How many runs of that length fit on the member, and where the first would be. */
static int count_room(const struct config *config, unsigned member, uint32_t granules, uint32_t *ret_room, uint32_t *ret_first)
{
	struct taken taken;
	uint32_t from = 0;
	int r = find_taken(config, member, &taken);

	if (r < 0)
		return r;
	*ret_room = 0;
	for (size_t i = 0; i <= taken.count; i++) {
		uint32_t to = i < taken.count ? taken.runs[i].granule : config->members[member].granules, fit = (to - from) / granules;
		if (fit > 0 && !*ret_room)
			*ret_first = from;
		*ret_room += fit;
		if (i < taken.count)
			from = taken.runs[i].granule + taken.runs[i].granules;
	}
	free(taken.runs);
	return 0;
}

/* ---- One job ---- */

int config_move_column(struct config *config, uint32_t id, unsigned column, unsigned target)
{
	const struct band *band = config_band(config, id);
	uint32_t room, granule = 0;
	unsigned at = config->job_count;

	assert(band && column < band->width && target < config->member_count && config->members[target].role != MEMBER_UNUSED);
	if ((band_members(band) >> target & 1) || config_job(config, id))
		return -EEXIST;
	int r = count_room(config, target, band->granules, &room, &granule);
	if (r < 0 || !room)
		return r < 0 ? r : -ENOSPC;
	for (; at > 0 && config->jobs[at - 1].band > id; at--)
		config->jobs[at] = config->jobs[at - 1];
	config->jobs[at] = (struct column_job){ id, (uint8_t)column, { (uint8_t)target, granule } };
	config->job_count++;
	if (config->members[target].role == MEMBER_SPARE)
		config->members[target].role = MEMBER_REPLACEMENT;
	return 0;
}

/* ---- All columns of a member ---- */

/* Columns that are equally long. */
struct wanted { uint32_t band; uint8_t column, target; uint32_t allowed; };
struct placing {
	struct wanted *wanted;
	size_t count;
	uint32_t room[MEMBERS_MAX];      /* for so many of them, by member */
	uint32_t full;                   /* members of which nothing can be moved on any more, bit by index */
};

static unsigned most_room(const struct placing *p, uint32_t allowed)
{
	unsigned best = NOWHERE;

	for (unsigned m = 0; m < MEMBERS_MAX; m++)
		if ((allowed >> m & 1) && p->room[m] > 0 && (best == NOWHERE || p->room[m] > p->room[best]))
			best = m;
	return best;
}

/* All members that the column may go to are full: breadth first, over what lies on them and where else that may go, to one that is not. */
static bool make_way(struct placing *p, struct wanted *last)
{
	unsigned queue[MEMBERS_MAX], before[MEMBERS_MAX], head = 0, tail = 0;
	struct wanted *moves[MEMBERS_MAX] = { NULL };
	uint32_t seen = last->allowed;

	for (unsigned m = 0; m < MEMBERS_MAX; m++) {
		if (seen >> m & 1)
			queue[tail++] = m;
		before[m] = NOWHERE;
	}
	for (; head < tail && !p->room[queue[head]]; head++) {
		for (size_t i = 0; i < p->count; i++) {
			uint32_t others = p->wanted[i].target == queue[head] ? p->wanted[i].allowed & ~seen : 0;
			seen |= others;
			for (unsigned m = 0; m < MEMBERS_MAX; m++)
				if (others >> m & 1) {
					queue[tail++] = m;
					before[m] = queue[head];
					moves[m] = &p->wanted[i];
				}
		}
	}
	if (head == tail) {
		p->full |= seen;
		return false;
	}
	unsigned to = queue[head];
	p->room[to]--;
	for (; before[to] != NOWHERE; to = before[to])
		moves[to]->target = (uint8_t)to;
	last->target = (uint8_t)to;
	return true;
}

/* How many of them find no place. */
static uint64_t match(struct placing *p)
{
	uint64_t lacking = 0;

	for (size_t i = 0; i < p->count; i++) {
		struct wanted *w = &p->wanted[i];
		unsigned m = most_room(p, w->allowed);
		w->target = (uint8_t)m;
		if (m != NOWHERE)
			p->room[m]--;
		else if (!(w->allowed & ~p->full) || !make_way(p, w))
			lacking++;
	}
	return lacking;
}

/* Jobs for those columns of `source` that are so long, as many as find a place. */
static int place_length(struct config *config, unsigned source, uint32_t targets, uint32_t granules, bool last, uint64_t *lacking)
{
	autofree struct wanted *wanted = calloc((size_t)config->band_count + 1, sizeof *wanted);
	struct placing p = { .wanted = wanted };
	uint32_t first;
	int r = wanted ? 0 : -ENOMEM;

	for (uint32_t i = 0; i < config->band_count && !r; i++) {
		const struct band *band = &config->bands[i];
		int c = band->granules == granules ? band_column_of(band, source) : -1;
		if (c >= 0)
			wanted[p.count++] = (struct wanted){ band->id, (uint8_t)c, NOWHERE, targets & ~band_members(band) };
	}
	for (unsigned m = 0; m < config->member_count && m < MEMBERS_MAX && !r; m++)
		if (targets >> m & 1)
			r = count_room(config, m, granules, &p.room[m], &first);
	if (r)
		return r;
	*lacking += match(&p) * granules;
	for (size_t i = 0; i < p.count && !r && !(last && *lacking); i++)
		if (wanted[i].target != NOWHERE)
			r = config_move_column(config, wanted[i].band, wanted[i].column, wanted[i].target);
	assert(r != -ENOSPC && r != -EEXIST);
	return r;
}

/* The longest columns of the member that are shorter than `below`; 0: there are none. */
static uint32_t longest(const struct config *config, unsigned member, uint32_t below)
{
	uint32_t ret = 0;

	for (uint32_t i = 0; i < config->band_count; i++)
		if (config->bands[i].granules > ret && config->bands[i].granules < below && band_column_of(&config->bands[i], member) >= 0)
			ret = config->bands[i].granules;
	return ret;
}

/* Jobs for as many as find a place (some, if not all do); of the others, how many granules they need. */
static int place(struct config *config, unsigned source, uint32_t targets, uint64_t *ret_lacking)
{
	uint64_t lacking = 0;
	int r = 0;

	for (uint32_t next, granules = longest(config, source, UINT32_MAX); granules > 0 && !r; granules = next) {
		next = longest(config, source, granules);
		r = place_length(config, source, targets, granules, !next, &lacking);
	}
	if (!r)
		*ret_lacking = lacking;
	return r;
}

static int place_all(struct config *config, unsigned source, uint32_t targets)
{
	uint64_t lacking;
	int r = place(config, source, targets, &lacking);

	if (!r && lacking > 0)
		r = -ENOSPC;
	if (r)
		config_cancel_jobs(config);
	return r;
}

int config_begin_jobs(struct config *config, unsigned source, uint32_t targets)
{
	int r = -ENOSPC;

	assert(!config->job_count && source < config->member_count && !(targets >> source & 1));
	for (unsigned m = 0; m < config->member_count && r == -ENOSPC; m++)
		if ((targets >> m & 1) && targets != BIT(m))
			r = place_all(config, source, BIT(m));
	return r == -ENOSPC ? place_all(config, source, targets) : r;
}

/* ---- Which members ---- */

static uint32_t spares_of(const struct config *config, uint32_t usable) { return config_with_role(config, MEMBER_SPARE) & usable; }
static uint32_t serving_of(const struct config *config, unsigned source, uint32_t usable)
{
	return config_with_columns(config) & usable & ~BIT(source);
}

static unsigned smallest(const struct config *config, uint32_t members)
{
	unsigned best = NOWHERE;

	for (unsigned m = 0; m < config->member_count; m++)
		if ((members >> m & 1) && (best == NOWHERE || config->members[m].granules < config->members[best].granules))
			best = m;
	return best;
}

static unsigned largest(const struct config *config, uint32_t members)
{
	unsigned best = NOWHERE;

	for (unsigned m = 0; m < config->member_count; m++)
		if ((members >> m & 1) && (best == NOWHERE || config->members[m].granules > config->members[best].granules))
			best = m;
	return best;
}

/* One of the spares, the smallest that will do, and those of `with`. */
static int with_one_spare(struct config *config, unsigned source, uint32_t with, uint32_t spares)
{
	int r = -ENOSPC;

	for (unsigned s; spares && r == -ENOSPC; spares &= ~BIT(s)) {
		s = smallest(config, spares);
		r = config_begin_jobs(config, source, with | BIT(s));
	}
	return r;
}

int config_vacate(struct config *config, unsigned source, uint32_t usable, bool spares_first)
{
	uint32_t spares = spares_of(config, usable), targets = serving_of(config, source, usable);
	uint64_t lacking;
	int r = config_lacking_granules(config, source, usable, &lacking);

	if (r || lacking > 0)
		return r ? r : -ENOSPC;
	r = spares_first ? with_one_spare(config, source, 0, spares) : -ENOSPC;
	if (r == -ENOSPC)
		r = config_begin_jobs(config, source, targets);
	if (r == -ENOSPC)
		r = with_one_spare(config, source, targets, spares);
	for (unsigned s; spares && r == -ENOSPC; spares &= ~BIT(s)) {
		s = largest(config, spares);
		targets |= BIT(s);
		r = config_begin_jobs(config, source, targets);
	}
	return r;
}

int config_lacking_granules(const struct config *config, unsigned source, uint32_t usable, uint64_t *ret_granules)
{
	assert(!config->job_count);
	struct config *copy = config_next(config);
	int r = copy ? place(copy, source, serving_of(config, source, usable) | spares_of(config, usable), ret_granules) : -ENOMEM;

	config_free(copy);
	return r;
}

uint64_t config_spare_bytes(const struct config *config, uint64_t granules)
{
	return config->geometry.data_offset_bytes + granules * config->geometry.granule_bytes + LABEL_BYTES;
}
