/* The next version of a configuration: what each kind of step changes, and what it leaves. */
#include "raid/config.h"
#include "tests/unit/check.h"

#include <errno.h>
#include <string.h>

#define MIB (UINT64_C(1) << 20)
#define BIT(member) (UINT32_C(1) << (member))

static struct config *make(const uint64_t *sizes, unsigned count)
{
	struct config *config = calloc(1, sizeof *config);
	uint32_t granules[MEMBERS_MAX];

	REQUIRE(config && !geometry_plan(sizes, count, &config->geometry, granules));
	memset(config->array.b, 0xa1, 16);
	config->version = 1;
	config->member_count = count;
	for (unsigned i = 0; i < count; i++) {
		config->members[i] = (struct config_member){ .role = MEMBER_VOTER, .granules = granules[i], .size_bytes = sizes[i] };
		memset(config->members[i].uuid.b, (int)i + 1, 16);
	}
	REQUIRE(!config_make_bands(config));
	return config;
}

static struct config *make_small(void)
{
	const uint64_t sizes[4] = { 8 * MIB, 9 * MIB, 10 * MIB, 8 * MIB };
	return make(sizes, 4);
}

/* The version after it, of which the one before is freed. */
static struct config *next_of(struct config *config)
{
	struct config *next = config_next(config);

	REQUIRE(next);
	config_free(config);
	return next;
}

/* What a decoder takes: nothing overlaps, all targets are allowed. */
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

static int add(struct config *config, uint8_t id, uint64_t size_bytes)
{
	struct uuid uuid;

	memset(uuid.b, id, sizeof uuid.b);
	return config_add_spare(config, &uuid, size_bytes);
}

static void test_next(void)
{
	struct config *config = make_small(), *next = config_next(config);

	REQUIRE(next);
	CHECK_EQ(next->version, config->version + 1);
	CHECK(next->bands != config->bands && next->columns != config->columns);
	CHECK(!memcmp(next->members, config->members, sizeof next->members));
	for (uint32_t i = 0; i < config->band_count; i++)
		CHECK(!memcmp(next->bands[i].columns, config->bands[i].columns, config->bands[i].width * sizeof *config->columns));
	config_free(config);
	CHECK(valid(next));              /* it needs nothing of the other */
	config_free(next);
}

static void test_spares(void)
{
	struct config *config = next_of(make_small());

	CHECK_EQ(add(config, 50, 8 * MIB), 4);
	CHECK_EQ(add(config, 51, 1 * MIB), -EINVAL);
	CHECK_EQ(config->member_count, 5);
	CHECK_EQ(config->members[4].role, MEMBER_SPARE);
	CHECK_EQ(config->members[4].granules, config->members[0].granules);
	CHECK(valid(config));
	CHECK_EQ(config_voters(config), 15);
	CHECK_EQ(config_with_role(config, MEMBER_SPARE), BIT(4));
	CHECK_EQ(config_needed(config), 15);
	CHECK_EQ(add(config, 52, 9 * MIB), 5);
	config_remove_member(config, 4);
	CHECK(valid(config));
	CHECK_EQ(config->member_count, 6);           /* an index stays */
	CHECK_EQ(add(config, 53, 9 * MIB), 4);       /* and is given again */
	for (uint8_t id = 60; config->member_count < MEMBERS_MAX; id++)
		CHECK(add(config, id, 8 * MIB) > 0);
	CHECK_EQ(add(config, 100, 8 * MIB), -ENOSPC);
	CHECK(valid(config));
	config_free(config);
}

static void test_jobs(void)
{
	struct config *config = next_of(make_small());
	int target = add(config, 50, 9 * MIB);

	REQUIRE(target == 4 && !config_begin_jobs(config, 1, BIT(4)));
	CHECK_EQ(config->job_count, config->band_count);
	CHECK_EQ(config->members[4].role, MEMBER_REPLACEMENT);
	CHECK_EQ(config_job_sources(config), BIT(1));
	CHECK_EQ(config_job_targets(config), BIT(4));
	CHECK_EQ(config_job_holders(config), BIT(0) | BIT(2) | BIT(3) | BIT(4));
	CHECK_EQ(config_needed(config), 15);
	CHECK(valid(config));
	for (unsigned i = 0; i < config->job_count; i++) {
		const struct band *band = config_band(config, config->jobs[i].band);
		CHECK_EQ(band->columns[config->jobs[i].column].member, 1);
		CHECK(config_job(config, band->id) == &config->jobs[i]);
	}
	CHECK(!config_job(config, config->next_band_id));

	struct config *cancelled = config_next(config);
	REQUIRE(cancelled);
	config_cancel_jobs(cancelled);
	CHECK_EQ(cancelled->job_count, 0);
	CHECK_EQ(cancelled->members[4].role, MEMBER_SPARE);
	CHECK(valid(cancelled));
	config_free(cancelled);

	config = next_of(config);
	config_end_jobs(config);
	CHECK_EQ(config->job_count, 0);
	CHECK_EQ(config_with_columns(config), BIT(0) | BIT(2) | BIT(3) | BIT(4));
	CHECK_EQ(config_voters(config), 15);
	CHECK_EQ(config_needed(config), 31);
	CHECK(valid(config));

	/* Back onto the granules that have become free. */
	config = next_of(config);
	REQUIRE(!config_begin_jobs(config, 4, BIT(1)));
	CHECK_EQ(config->members[1].role, MEMBER_VOTER);
	CHECK(valid(config));
	config_cancel_jobs(config);
	CHECK_EQ(config->members[4].role, MEMBER_REPLACEMENT);       /* it has columns */
	config_free(config);
}

static void test_no_room(void)
{
	struct config *config = next_of(make_small());

	REQUIRE(add(config, 50, 6 * MIB) == 4);
	CHECK_EQ(config_begin_jobs(config, 0, BIT(4)), -ENOSPC);
	config_free(config);
	config = next_of(make_small());
	CHECK_EQ(config_begin_jobs(config, 0, BIT(1)), -ENOSPC);     /* two columns of one band on one member */
	config_free(config);
}

/* A target of which granules are used here and there. */
static void test_between_others(void)
{
	const uint64_t sizes[5] = { 8 * MIB, 8 * MIB, 8 * MIB, 24 * MIB, 24 * MIB };
	struct config *config = next_of(make(sizes, 5));
	uint32_t wide = config->members[0].granules;

	/* Bands behind the small ones' end have columns of the two large members alone. */
	CHECK(config->band_count > wide && config->bands[wide].width == 2);
	REQUIRE(add(config, 50, 40 * MIB) == 5);
	for (uint32_t i = wide; i < config->band_count; i++)         /* columns of one go to every other granule of the new one */
		config->bands[i].columns[0] = (struct column){ .member = 5, .granule = (i - wide) * 2 };
	config->members[5].role = MEMBER_REPLACEMENT;
	CHECK(valid(config));
	REQUIRE(!config_begin_jobs(config, 0, BIT(5)));
	CHECK(valid(config));
	CHECK_EQ(config->jobs[0].target.granule, 1);
	CHECK_EQ(config->jobs[1].target.granule, 3);
	config_free(config);
}

static void test_losses(void)
{
	const uint64_t sizes[5] = { 8 * MIB, 8 * MIB, 8 * MIB, 24 * MIB, 24 * MIB };
	struct config *config = next_of(make(sizes, 5));

	CHECK(config_can_do_without(config, 0));
	for (unsigned i = 0; i < 5; i++)
		CHECK(config_can_do_without(config, BIT(i)));
	CHECK(!config_can_do_without(config, BIT(0) | BIT(3)));
	REQUIRE(add(config, 50, 40 * MIB) == 5);
	CHECK(config_can_do_without(config, BIT(0) | BIT(5)));       /* a spare is no loss beside another */
	REQUIRE(!config_begin_jobs(config, 0, BIT(5)));
	CHECK(config_can_do_without(config, BIT(0) | BIT(5)));       /* nor is a target … */
	config_end_jobs(config);
	CHECK(!config_can_do_without(config, BIT(1) | BIT(5)));      /* … but a column is, also without a vote */
	CHECK(config_can_do_without(config, BIT(0) | BIT(5)));       /* one has the vote only, the other columns only */
	config_free(config);
}

int main(void)
{
	test_next();
	test_spares();
	test_jobs();
	test_no_room();
	test_between_others();
	test_losses();
	return CHECK_DONE();
}
