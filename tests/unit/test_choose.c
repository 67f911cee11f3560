/* Every history that choosing a root must survive, run against choose_root itself.
 *
 * choose_model.h says what a history is and what is checked at each of its mounts.  Here they are
 * enumerated, one mount after the other: worlds that differ only in names are one (world_key), so that
 * all histories of three mounts are some 37 thousand mounts.  The expected numbers are those of an
 * independent program that enumerates the same model.
 *
 *   test_choose                                    every history of 3 mounts, 2 with --older, and that
 *                                                  without promise or opening root a violation is found
 *   test_choose [--members N] [--mounts N] [--older] [--without promise|opening]
 *   test_choose --walk SECONDS [--seed S] ...      random long histories
 */
#include "tests/unit/choose_model.h"

#include <time.h>
#include <xxhash.h>

/* ---- Worlds that differ only in names are one ---- */

struct key { uint8_t b[2048]; size_t length; };

static void key_put(struct key *k, unsigned value)
{
	if (k->length < sizeof(k->b))
		k->b[k->length++] = (uint8_t)value;
}

/* The rank of x among the elements of `set`. */
static unsigned rank(uint64_t set, unsigned x) { return (unsigned)__builtin_popcountll(set & ((UINT64_C(1) << x) - 1)); }

/* The members of `set` that have a name, by rank. */
static void key_put_names(struct key *k, uint64_t set, uint64_t named)
{
	set &= named;
	key_put(k, (unsigned)__builtin_popcountll(set));
	for (; set; set &= set - 1)
		key_put(k, rank(named, (unsigned)__builtin_ctzll(set)));
}

static void key_put_member(struct key *k, const struct on_member *m, uint64_t ids, uint64_t terms, uint64_t trees, uint64_t logs)
{
	key_put(k, rank(ids, m->newest));
	key_put(k, rank(terms, m->promised));
	key_put_names(k, m->whole, trees);
	key_put_names(k, m->log, logs);
}

static XXH128_hash_t world_key(const struct world *w, bool older)
{
	bool snap = older && w->older == NOBODY;
	uint64_t ids = UINT64_C(1) << w->acked, terms = 0, generations = 0, trees = 0, logs = 0;
	struct key k = { .length = 0 };

	for (int m = 0; m < member_count; m++) {
		ids |= UINT64_C(1) << w->now[m].newest | (snap ? UINT64_C(1) << w->earlier[m].newest : 0);
		terms |= UINT64_C(1) << w->now[m].promised | (snap ? UINT64_C(1) << w->earlier[m].promised : 0);
	}
	for (uint64_t left = ids; left; left &= left - 1) {
		const struct root *r = &w->roots[__builtin_ctzll(left)];
		terms |= UINT64_C(1) << r->term;
		generations |= UINT64_C(1) << r->generation;
		trees |= UINT64_C(1) << r->tree | UINT64_C(1) << r->before;
		logs |= UINT64_C(1) << r->log;
	}
	key_put(&k, (unsigned)__builtin_popcountll(ids));
	for (uint64_t left = ids; left; left &= left - 1) {
		int id = __builtin_ctzll(left);
		const struct root *r = &w->roots[id];
		key_put(&k, r->in_sync);
		key_put(&k, r->gaps);
		key_put(&k, rank(terms, r->term));
		key_put(&k, rank(generations, r->generation));
		key_put(&k, rank(trees, r->tree));
		key_put(&k, rank(trees, r->before));
		key_put(&k, rank(logs, r->log));
		key_put(&k, descends(w, id, w->acked));
	}
	for (int m = 0; m < member_count; m++)
		key_put_member(&k, &w->now[m], ids, terms, trees, logs);
	key_put(&k, rank(ids, w->acked));
	for (uint64_t left = trees; left; left &= left - 1) {
		uint32_t lacks = w->acked_records & ~w->content[__builtin_ctzll(left)];
		key_put_names(&k, lacks, logs);
		key_put(&k, bits(lacks & ~(uint32_t)logs));
	}
	key_put(&k, (unsigned)(w->older + 1));
	key_put(&k, w->fault);
	for (int m = 0; snap && m < member_count; m++)
		key_put_member(&k, &w->earlier[m], ids, terms, trees, logs);
	REQUIRE(k.length < sizeof(k.b));
	return XXH3_128bits(k.b, k.length);
}

static void print_violation(const struct world *w)
{
	printf("VIOLATION: %s\n", violation);
	for (unsigned i = 0; i < w->trace_length; i++) {
		printf("    ");
		printf(w->trace[i].what, w->trace[i].a, w->trace[i].b);
		printf("\n");
	}
}

/* ---- Every history ---- */

struct every {
	const struct options *options;
	const struct world *from;        /* the world before the mount that runs now */
	XXH128_hash_t *seen;             /* open addressing; zero is free */
	size_t seen_room, seen_count;
	bool keep;                       /* worlds of the last mount need not be stored */
	struct world *after;
	size_t after_count, after_room, new_states;
};

static XXH128_hash_t *seen_place(XXH128_hash_t *seen, size_t room, XXH128_hash_t key)
{
	size_t at = key.low64 & (room - 1);

	while ((seen[at].low64 | seen[at].high64) && !XXH128_isEqual(seen[at], key))
		at = (at + 1) & (room - 1);
	return &seen[at];
}

static bool is_new(struct every *e, XXH128_hash_t key)
{
	XXH128_hash_t *place;

	if (e->seen_count * 2 >= e->seen_room) {
		size_t room = e->seen_room ? e->seen_room * 2 : 1 << 16;
		XXH128_hash_t *seen = calloc(room, sizeof(*seen));
		REQUIRE(seen);
		for (size_t i = 0; i < e->seen_room; i++) {
			if (e->seen[i].low64 | e->seen[i].high64)
				*seen_place(seen, room, e->seen[i]) = e->seen[i];
		}
		free(e->seen);
		e->seen = seen;
		e->seen_room = room;
	}
	place = seen_place(e->seen, e->seen_room, key);
	if (XXH128_isEqual(*place, key))
		return false;
	*place = key;
	e->seen_count++;
	return true;
}

static void every_add(struct every *e, const struct world *w)
{
	if (!is_new(e, world_key(w, e->options->older)))
		return;
	e->new_states++;
	if (!e->keep)
		return;
	if (e->after_count == e->after_room) {
		e->after_room = e->after_room ? e->after_room * 2 : 1024;
		e->after = realloc(e->after, e->after_room * sizeof(*e->after));
		REQUIRE(e->after);
	}
	e->after[e->after_count++] = *w;
}

static void every_emit(void *ctx, const struct world *w)
{
	struct every *e = ctx;
	struct world settled = *w, back;

	settle(&settled, e->from);
	every_add(e, &settled);
	for (int m = 0; e->options->older && m < member_count; m++) {
		if (set_back(&settled, m, &back))
			every_add(e, &back);
	}
}

/* True if no violation was found.  ret_counts: mounts tried, states found. */
static bool run_every(const struct options *options, bool quiet, size_t ret_counts[2])
{
	struct every e = { .options = options };
	struct world *front = malloc(sizeof(*front));
	size_t front_count = 1, tried = 0, states = 0;

	REQUIRE(front);
	violated = false;
	front[0] = world_new();
	for (int depth = 0; depth < options->mounts && !violated; depth++) {
		e.keep = depth + 1 < options->mounts;
		e.new_states = 0;
		for (size_t i = 0; i < front_count && !violated; i++) {
			for (int absent = NOBODY; absent < member_count && !violated; absent++) {
				struct world w = front[i];
				if (w.older != NOBODY && absent != NOBODY && absent != w.older)
					continue;
				tried++;
				note(&w, "MOUNT, absent: %d", absent, NOBODY);
				e.from = &front[i];
				mount_all(&w, absent == NOBODY ? all_members : all_members & ~(1u << absent), options, every_emit, &e);
				if (violated && !quiet)
					print_violation(&w);
			}
		}
		states += e.new_states;
		if (!quiet)
			printf("%d mounts: %zu new states, %zu mounts tried\n", depth + 1, e.new_states, tried);
		free(front);
		front = e.after;
		front_count = e.after_count;
		e.after = NULL;
		e.after_count = e.after_room = 0;
	}
	free(front);
	free(e.seen);
	ret_counts[0] = tried;
	ret_counts[1] = states;
	return !violated;
}

/* ---- Random long histories ---- */

struct walk { uint64_t random; size_t count; struct world pick; };

static uint64_t walk_random(struct walk *walk)
{
	walk->random ^= walk->random << 13;
	walk->random ^= walk->random >> 7;
	walk->random ^= walk->random << 17;
	return walk->random * UINT64_C(0x2545f4914f6cdd1d) >> 16;
}

/* Keeps each of the worlds seen with the same chance. */
static void walk_emit(void *ctx, const struct world *w)
{
	struct walk *walk = ctx;

	if (walk_random(walk) % ++walk->count == 0)
		walk->pick = *w;
}

static bool run_walk(const struct options *options)
{
	struct walk walk = { .random = options->seed * UINT64_C(0x9e3779b97f4a7c15) + 1 };
	time_t end = time(NULL) + (time_t)options->walk_seconds;
	size_t tried = 0;

	violated = false;
	while (time(NULL) < end) {
		struct world w = world_new(), back;
		for (int depth = 0; depth < options->mounts; depth++) {
			int absent = (int)(walk_random(&walk) % (unsigned)(member_count + 2)) - 2;
			struct world before = w;
			if (absent < 0 || (w.older != NOBODY && absent != w.older))
				absent = NOBODY;
			note(&w, "MOUNT, absent: %d", absent, NOBODY);
			tried++;
			walk.count = 0;
			mount_all(&w, absent == NOBODY ? all_members : all_members & ~(1u << absent), options, walk_emit, &walk);
			if (violated) {
				print_violation(&w);
				printf("seed %llu\n", (unsigned long long)options->seed);
				return false;
			}
			if (!walk.count)
				continue;
			w = walk.pick;
			settle(&w, &before);
			if (options->older && walk_random(&walk) % 3 == 0 && set_back(&w, (int)(walk_random(&walk) % (unsigned)member_count), &back))
				w = back;
		}
	}
	printf("%zu mounts\n", tried);
	return true;
}

/* ---- What a run is ---- */

static void set_members(int count)
{
	member_count = count;
	all_members = (1u << count) - 1;
}

static void test_histories(void)
{
	struct options options = { .members = 3, .mounts = 3 };
	size_t counts[2];

	set_members(options.members);
	CHECK(run_every(&options, false, counts));
	CHECK_EQ(counts[0], 37356);
	CHECK_EQ(counts[1], 198094);

	options.without_promise = true;
	CHECK(!run_every(&options, true, counts));
	options.without_promise = false;
	options.without_opening = true;
	CHECK(!run_every(&options, true, counts));
	options.without_opening = false;

	options.older = true;
	options.mounts = 2;
	CHECK(run_every(&options, false, counts));
	CHECK_EQ(counts[0], 826);
	CHECK_EQ(counts[1], 30286);
}

static int usage(void)
{
	fprintf(stderr, "usage: test_choose [--members 3-%d] [--mounts 1-%d] [--older] [--without promise|opening] [--walk SECONDS] [--seed S]\n",
		N_MAX, MOUNTS_MAX);
	return 2;
}

int main(int argc, char **argv)
{
	struct options options = { .members = 3, .mounts = 3, .seed = 1 };
	size_t counts[2];

	if (argc == 1) {
		test_histories();
		return CHECK_DONE();
	}
	for (int i = 1; i < argc; i++) {
		const char *value = i + 1 < argc ? argv[i + 1] : "";
		if (!strcmp(argv[i], "--older")) {
			options.older = true;
			continue;
		}
		i++;
		if (!strcmp(argv[i - 1], "--members"))
			options.members = atoi(value);
		else if (!strcmp(argv[i - 1], "--mounts"))
			options.mounts = atoi(value);
		else if (!strcmp(argv[i - 1], "--walk"))
			options.walk_seconds = atof(value);
		else if (!strcmp(argv[i - 1], "--seed"))
			options.seed = strtoull(value, NULL, 10);
		else if (!strcmp(argv[i - 1], "--without") && !strcmp(value, "promise"))
			options.without_promise = true;
		else if (!strcmp(argv[i - 1], "--without") && !strcmp(value, "opening"))
			options.without_opening = true;
		else
			return usage();
	}
	if (options.members < 3 || options.members > N_MAX || options.mounts < 1 || options.mounts > MOUNTS_MAX)
		return usage();
	set_members(options.members);
	return (options.walk_seconds > 0 ? run_walk(&options) : run_every(&options, false, counts)) ? 0 : 1;
}
