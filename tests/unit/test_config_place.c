/* Where columns may go: against a search through all ways on small configurations made at random, and cases made by hand. */
#include "raid/config.h"
#include "tests/unit/check.h"

#include <errno.h>
#include <string.h>

#define MIB (UINT64_C(1) << 20)
#define BIT(member) (UINT32_C(1) << (member))
#define ROUNDS 4000u

static uint64_t state;
static bool scattered;               /* columns lie anywhere on their members; else one after the other */

static uint32_t draw(uint32_t below)
{
	state = state * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(state >> 33) % below;
}

/* ---- Configurations ---- */

/* Members of these granules, without bands yet: the first `serving` vote, the others are spares. */
static struct config *make(const uint32_t *granules, unsigned count, unsigned serving, unsigned bands_max)
{
	struct config *config = calloc(1, sizeof *config);
	uint64_t sizes[MEMBERS_MAX];
	uint32_t most[MEMBERS_MAX];

	for (unsigned i = 0; i < count; i++)
		sizes[i] = 8 * MIB;
	REQUIRE(config && !geometry_plan(sizes, count, &config->geometry, most));
	memset(config->array.b, 0xa1, 16);
	config->version = 1;
	config->member_count = count;
	config->bands = calloc(bands_max + 1, sizeof *config->bands);
	config->columns = calloc((size_t)bands_max * MEMBERS_MAX + 1, sizeof *config->columns);
	config->jobs = calloc(bands_max + 1, sizeof *config->jobs);
	REQUIRE(config->bands && config->columns && config->jobs);
	for (unsigned i = 0; i < count; i++) {
		REQUIRE(granules[i] <= most[i]);
		config->members[i] = (struct config_member){ .role = i < serving ? MEMBER_VOTER : MEMBER_SPARE, .granules = granules[i],
			.size_bytes = sizes[i] };
		memset(config->members[i].uuid.b, (int)i + 1, 16);
	}
	config->next_band_id = 1;
	return config;
}

static bool taken(const struct config *config, unsigned member, uint32_t granule, uint32_t granules)
{
	for (uint32_t i = 0; i < config->band_count; i++)
		for (unsigned c = 0; c < config->bands[i].width; c++) {
			const struct column *column = &config->bands[i].columns[c];
			if (column->member == member && granule < column->granule + config->bands[i].granules && column->granule < granule + granules)
				return true;
		}
	for (unsigned i = 0; i < config->job_count; i++) {
		const struct column *column = &config->jobs[i].target;
		if (column->member == member && granule < column->granule + config_band(config, config->jobs[i].band)->granules
			&& column->granule < granule + granules)
			return true;
	}
	return false;
}

/* A place for the column, or false. */
static bool find(const struct config *config, unsigned member, uint32_t granules, uint32_t *ret_granule)
{
	uint32_t end = config->members[member].granules, from = scattered ? draw(end) : 0;

	for (uint32_t i = 0; i < end; i++) {
		uint32_t g = (from + i) % end;
		if (granules <= end - g && !taken(config, member, g, granules)) {
			*ret_granule = g;
			return true;
		}
	}
	return false;
}

/* A band over some of the members in `among`, at least two: what they have room for. */
static void add_band(struct config *config, uint32_t among, uint32_t granules)
{
	struct band *band = &config->bands[config->band_count];
	struct column *columns = config->columns + (size_t)config->band_count * MEMBERS_MAX;
	uint32_t granule;
	uint8_t width = 0;

	for (unsigned m = 0; m < config->member_count; m++)
		if ((among >> m & 1) && find(config, m, granules, &granule))
			columns[width++] = (struct column){ .member = (uint8_t)m, .granule = granule };
	if (width < BAND_WIDTH_MIN)
		return;
	*band = (struct band){ .id = config->next_band_id, .width = width, .granules = granules,
		.rows = granules * (config->geometry.granule_bytes / UNIT_BYTES), .columns = columns };
	config->next_band_id += 1 + draw(2);
	config->band_count++;
}

static bool valid(const struct config *config)
{
	struct config *decoded = NULL;
	void *bytes = NULL;
	size_t length;
	bool is = !config_encode(config, &bytes, &length) && !config_decode(bytes, length, &decoded);

	config_free(decoded);
	free(bytes);
	return is;
}

static int column_on(const struct band *band, unsigned member)
{
	for (unsigned c = 0; c < band->width; c++)
		if (band->columns[c].member == member)
			return (int)c;
	return -1;
}

static struct config *make_random(unsigned *ret_serving, uint32_t length)
{
	unsigned serving = 3 + draw(3), count = serving + draw(4), bands = 1 + draw(8);
	uint32_t granules[MEMBERS_MAX];

	for (unsigned i = 0; i < count; i++)
		granules[i] = 1 + draw(i < serving ? 8 : 4);
	struct config *config = make(granules, count, serving, bands);
	for (unsigned i = 0; i < bands; i++)
		add_band(config, 1 + draw((1u << serving) - 1), length ? length : 1 + draw(3));
	*ret_serving = serving;
	return config;
}

/* ---- All ways ---- */

struct search { const struct config *config; unsigned source; uint32_t targets; uint32_t best; };

/* The least granules that find no place: tries the band's column everywhere, and nowhere. */
static void try_all(struct search *s, struct config *placed, uint32_t band, uint32_t lacking)
{
	while (band < s->config->band_count && column_on(&s->config->bands[band], s->source) < 0)
		band++;
	if (lacking >= s->best)
		return;
	if (band == s->config->band_count) {
		s->best = lacking;
		return;
	}
	const struct band *b = &s->config->bands[band];
	for (unsigned m = 0; m < s->config->member_count && s->best > 0; m++) {
		if (!(s->targets >> m & 1) || column_on(b, m) >= 0)
			continue;
		for (uint32_t g = 0; g + b->granules <= s->config->members[m].granules; g++) {
			if (taken(placed, m, g, b->granules))
				continue;
			placed->jobs[placed->job_count++] = (struct column_job){ .band = b->id, .target = { (uint8_t)m, g } };
			try_all(s, placed, band + 1, lacking);
			placed->job_count--;
		}
	}
	try_all(s, placed, band + 1, lacking + b->granules);
}

static uint32_t least_lacking(const struct config *config, unsigned source, uint32_t targets)
{
	struct config *placed = config_next(config);
	struct search s = { config, source, targets, UINT32_MAX };

	REQUIRE(placed);
	try_all(&s, placed, 0, 0);
	config_free(placed);
	return s.best;
}

static unsigned fewest_spares(const struct config *config, unsigned source, uint32_t serving, uint32_t spares)
{
	unsigned fewest = MEMBERS_MAX;

	for (uint32_t some = 0; some < BIT(config->member_count); some++) {
		unsigned count = (unsigned)__builtin_popcount(some);
		if (!(some & ~spares) && count < fewest && !least_lacking(config, source, serving | some))
			fewest = count;
	}
	return fewest;
}

/* ---- What must hold of any list ---- */

static void check_list(const struct config *config, unsigned source, uint32_t targets)
{
	unsigned columns = 0;

	for (uint32_t i = 0; i < config->band_count; i++) {
		int c = column_on(&config->bands[i], source);
		const struct column_job *job = config_job(config, config->bands[i].id);
		CHECK(!job == (c < 0));
		CHECK(!job || (job->column == c && (targets >> job->target.member & 1)));
		columns += c >= 0;
	}
	CHECK_EQ(config->job_count, columns);
	CHECK_EQ(config_with_role(config, MEMBER_SPARE) & config_job_targets(config), 0);
	CHECK(valid(config));
	struct config *after = config_next(config);
	REQUIRE(after);
	config_end_jobs(after);
	CHECK(!(config_with_columns(after) >> source & 1));
	CHECK(valid(after));
	config_free(after);
}

static bool same(const struct config *a, const struct config *b)
{
	void *x = NULL, *y = NULL;
	size_t n, k;
	bool is = !config_encode(a, &x, &n) && !config_encode(b, &y, &k) && n == k && !memcmp(x, y, n);

	free(x);
	free(y);
	return is;
}

/* `equal`: all bands have columns of one length, so that a place is found wherever there is one. */
static unsigned try_begin(const struct config *config, unsigned source, uint32_t targets, bool equal)
{
	struct config *next = config_next(config), *before = config_next(config);
	uint32_t lacking = least_lacking(config, source, targets);

	REQUIRE(next && before);
	int r = config_begin_jobs(next, source, targets);
	CHECK(r == 0 || r == -ENOSPC);
	if (r == 0) {
		CHECK_EQ(lacking, 0);
		check_list(next, source, targets);
		bool one = false;            /* would do? */
		for (unsigned m = 0; m < config->member_count; m++)
			one |= (targets >> m & 1) && !least_lacking(config, source, BIT(m));
		CHECK(!equal || one == (__builtin_popcount(config_job_targets(next)) == 1));
	} else {
		CHECK(lacking > 0 || !equal);
		CHECK(same(next, before));
	}
	config_free(next);
	config_free(before);
	return r != 0 && lacking == 0;
}

static void try_vacate(const struct config *config, unsigned source, uint32_t usable, bool equal, bool spares_first)
{
	struct config *next = config_next(config);
	uint32_t spares = config_with_role(config, MEMBER_SPARE) & usable, serving = config_with_columns(config) & usable & ~BIT(source);
	uint64_t lacking = UINT64_MAX;

	REQUIRE(next && !config_lacking_granules(config, source, usable, &lacking));
	if (equal)
		CHECK_EQ(lacking, least_lacking(config, source, serving | spares));
	int r = config_vacate(next, source, usable, spares_first);
	if (r == 0) {
		uint32_t targets = config_job_targets(next);
		check_list(next, source, serving | spares);
		bool alone = false;
		for (unsigned m = 0; m < config->member_count; m++)
			alone |= (spares >> m & 1) && !least_lacking(config, source, BIT(m));
		if (equal && spares_first && alone)
			CHECK(!(targets & serving) && __builtin_popcount(targets) == 1);
		else if (equal)
			CHECK_EQ(__builtin_popcount(targets & spares), fewest_spares(config, source, serving, spares));
	} else {
		CHECK_EQ(r, -ENOSPC);
		CHECK(lacking > 0 || !equal);
		/* A spare of just that size is enough. */
		config_free(next);
		next = config_next(config);
		struct uuid uuid = { { 200 } };
		int spare = next && lacking ? config_add_spare(next, &uuid, config_spare_bytes(config, lacking)) : -1;
		CHECK(!lacking || (spare > 0 && next->members[spare].granules == lacking));
		CHECK(!lacking || config_vacate(next, source, usable | BIT(spare), spares_first) == 0 || !equal);
	}
	config_free(next);
}

static void test_random(uint32_t length)
{
	unsigned missed = 0, tried = 0;

	for (unsigned i = 0; i < ROUNDS; i++) {
		unsigned serving;
		struct config *config = make_random(&serving, length);
		unsigned source = draw(serving);
		uint32_t others = (BIT(config->member_count) - 1) & ~BIT(source), usable = others & (draw(4) ? UINT32_MAX : draw(UINT32_MAX));
		if (config_with_columns(config) >> source & 1) {
			CHECK(valid(config));
			missed += try_begin(config, source, usable, length > 0);
			try_vacate(config, source, usable, length > 0, i % 2);
			tried++;
		}
		config_free(config);
	}
	printf("columns of %s: %u, of which %u found no place though there is one\n", length ? "one length" : "different lengths", tried, missed);
	CHECK(tried > ROUNDS / 4 && (!length || !missed) && missed < tried / 20);
}

/* ---- By hand ---- */

static void test_move_column(void)
{
	struct config *config = make((const uint32_t[]){ 4, 4, 5, 6, 2, 1 }, 6, 4, 4);

	for (unsigned i = 0; i < 3; i++)
		add_band(config, BIT(0) | BIT(1) | BIT(2), 1);
	add_band(config, BIT(2) | BIT(3), 2);
	REQUIRE(config->band_count == 4);
	uint32_t ids[4] = { config->bands[0].id, config->bands[1].id, config->bands[2].id, config->bands[3].id };
	config->bands[3].columns[1].granule = 1;     /* between two holes of the fourth: 0, and 3 to 5 */
	CHECK(valid(config));
	CHECK_EQ(config_move_column(config, ids[0], 0, 1), -EEXIST);
	CHECK_EQ(config_move_column(config, ids[3], 0, 5), -ENOSPC);
	CHECK_EQ(config->job_count, 0);
	CHECK_EQ(config->members[5].role, MEMBER_SPARE);
	CHECK_EQ(config_move_column(config, ids[2], 1, 3), 0);
	CHECK_EQ(config->jobs[0].target.granule, 0);
	CHECK_EQ(config_move_column(config, ids[0], 0, 3), 0);
	CHECK_EQ(config_move_column(config, ids[1], 2, 5), 0);
	CHECK_EQ(config_move_column(config, ids[1], 0, 3), -EEXIST);
	CHECK_EQ(config_move_column(config, ids[3], 1, 4), 0);
	CHECK(valid(config));
	REQUIRE(config->job_count == 4);
	for (unsigned i = 0; i < 4; i++)
		CHECK_EQ(config->jobs[i].band, ids[i]);
	CHECK_EQ(config->jobs[0].target.granule, 3);
	CHECK_EQ(config_job_sources(config), BIT(0) | BIT(1) | BIT(2) | BIT(3));
	CHECK_EQ(config_job_targets(config), BIT(3) | BIT(4) | BIT(5));
	CHECK_EQ(config_with_role(config, MEMBER_REPLACEMENT), BIT(4) | BIT(5));
	config_free(config);
}

/* Two columns that may go to either of two members come first, and would fill the one with more room, which is all that the third has. */
static void test_make_way(void)
{
	struct config *config = make((const uint32_t[]){ 3, 3, 4, 3 }, 4, 4, 3);

	add_band(config, BIT(0) | BIT(1), 1);
	add_band(config, BIT(0) | BIT(1), 1);
	add_band(config, BIT(0) | BIT(3), 1);
	REQUIRE(config->band_count == 3);
	config->members[2].granules = 2;
	CHECK_EQ(least_lacking(config, 0, BIT(2) | BIT(3)), 0);
	REQUIRE(config_begin_jobs(config, 0, BIT(2) | BIT(3)) == 0);
	check_list(config, 0, BIT(2) | BIT(3));
	CHECK_EQ(config_job(config, config->bands[2].id)->target.member, 2);
	config_free(config);
}

/* A disk of twice the size goes, and two small ones are there: as people meet it. */
static void test_two_small_spares(void)
{
	struct config *config = make((const uint32_t[]){ 8, 8, 8, 8, 5, 4, 6 }, 7, 4, 8);
	uint64_t lacking;

	for (unsigned i = 0; i < 8; i++)
		add_band(config, 15, 1);
	CHECK(!config_lacking_granules(config, 1, BIT(4), &lacking) && lacking == 3);
	CHECK(!config_lacking_granules(config, 1, UINT32_MAX, &lacking) && lacking == 0);
	CHECK_EQ(config_vacate(config, 1, BIT(0) | BIT(2) | BIT(3) | BIT(4), true), -ENOSPC);
	CHECK_EQ(config_vacate(config, 1, UINT32_MAX, true), 0);
	CHECK_EQ(config_job_targets(config), BIT(4) | BIT(6));           /* the two largest */
	check_list(config, 1, BIT(4) | BIT(6));
	config_end_jobs(config);
	CHECK_EQ(config_vacate(config, 4, UINT32_MAX, false), 0);        /* onto what the other has left, and the third */
	CHECK_EQ(config_job_targets(config) & ~(BIT(5) | BIT(6) | BIT(1)), 0);
	check_list(config, 4, config_job_targets(config));
	config_free(config);
}

static void test_names(void)
{
	char text[CONFIG_NAMES_BYTES];

	CHECK(!strcmp(config_name_members(BIT(1), text), "member 2"));
	CHECK(!strcmp(config_name_members(BIT(0) | BIT(31), text), "members 1 and 32"));
	CHECK(!strcmp(config_name_members(BIT(0) | BIT(3) | BIT(9), text), "members 1, 4 and 10"));
	CHECK(strstr(config_name_members(UINT32_MAX, text), "30, 31 and 32"));
}

int main(void)
{
	state = 1;
	scattered = true;
	test_random(1);
	test_random(2);
	test_random(0);
	scattered = false;
	test_move_column();
	test_make_way();
	test_two_small_spares();
	test_names();
	return CHECK_DONE();
}
