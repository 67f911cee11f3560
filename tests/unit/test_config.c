/* Configurations: the first cut in bands, round trip, every flipped bit, and hostile tables. */
#include "raid/format.h"
#include "tests/unit/check.h"

#include <errno.h>

#define MIB (UINT64_C(1) << 20)

/* An array over members of these sizes, with its bands. */
static struct config *make(const uint64_t *sizes, unsigned count)
{
	struct config *config = calloc(1, sizeof(*config));
	uint32_t granules[MEMBERS_MAX];

	REQUIRE(config && !geometry_plan(sizes, count, &config->geometry, granules));
	memset(config->array.b, 0xa1, 16);
	config->version = 0x0102030405060708;
	config->cipher = 2;
	config->compat = 1;
	config->ro_compat = 2;
	config->incompat = 4;
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

/* Every granule that two members have is in one band, bands are as wide as can be, parity is spread. */
static void test_bands(void)
{
	const uint64_t sizes[4] = { 8 * MIB, 12 * MIB, 16 * MIB, 20 * MIB };
	struct config *config = make(sizes, 4);
	uint32_t used[4] = { 0 }, parity[4] = { 0 }, three_or_more = 0;

	CHECK_EQ(config->band_count, config->members[2].granules);
	CHECK_EQ(config->next_band_id, config->band_count + 1);
	for (uint32_t i = 0; i < config->band_count; i++) {
		const struct band *band = &config->bands[i];
		uint32_t members = 0, expected = 0;
		for (unsigned m = 0; m < 4; m++)
			expected |= config->members[m].granules > i ? 1u << m : 0;
		for (unsigned c = 0; c < band->width; c++) {
			members |= 1u << band->columns[c].member;
			CHECK_EQ(band->columns[c].granule, i);
			used[band->columns[c].member]++;
		}
		CHECK_EQ(band->id, i + 1);
		CHECK_EQ(members, expected);
		CHECK_EQ(band->width, __builtin_popcount(expected));
		CHECK_EQ(band->rows, config->geometry.granule_bytes / UNIT_BYTES);
		if (band->width == 4)
			parity[band->columns[band_parity_column(band, 0)].member]++;
		three_or_more += band->width > 2;
	}
	CHECK_EQ(used[0], config->members[0].granules);
	CHECK_EQ(used[1], config->members[1].granules);
	CHECK_EQ(used[2], config->members[2].granules);
	CHECK_EQ(used[3], config->members[2].granules);
	for (unsigned m = 1; m < 4; m++)
		CHECK(parity[m] + 1 >= parity[0] && parity[m] <= parity[0] + 1);
	CHECK_EQ(three_or_more, config->members[1].granules);
	CHECK(config_band(config, 1) == &config->bands[0]);
	CHECK(config_band(config, config->band_count) == &config->bands[config->band_count - 1]);
	CHECK(!config_band(config, 0) && !config_band(config, config->band_count + 1));
	config_free(config);
	config_free(NULL);
}

static bool geometry_equal(const struct geometry *a, const struct geometry *b)
{
	struct disk_geometry x, y;

	disk_geometry_put(a, &x);
	disk_geometry_put(b, &y);
	return !memcmp(&x, &y, sizeof(x));
}

static bool config_equal(const struct config *a, const struct config *b)
{
	bool equal = uuid_equal(&a->array, &b->array) && a->version == b->version && a->cipher == b->cipher && a->compat == b->compat
		&& a->ro_compat == b->ro_compat && a->incompat == b->incompat && geometry_equal(&a->geometry, &b->geometry)
		&& a->member_count == b->member_count && a->next_band_id == b->next_band_id && a->band_count == b->band_count && a->job_count == b->job_count;

	for (unsigned i = 0; equal && i < a->member_count; i++)
		equal = uuid_equal(&a->members[i].uuid, &b->members[i].uuid) && a->members[i].role == b->members[i].role
			&& a->members[i].granules == b->members[i].granules && a->members[i].size_bytes == b->members[i].size_bytes;
	for (uint32_t i = 0; equal && i < a->band_count; i++) {
		const struct band *x = &a->bands[i], *y = &b->bands[i];
		equal = x->id == y->id && x->width == y->width && x->granules == y->granules && x->rows == y->rows;
		for (unsigned c = 0; equal && c < x->width; c++)
			equal = x->columns[c].member == y->columns[c].member && x->columns[c].granule == y->columns[c].granule;
	}
	for (unsigned i = 0; equal && i < a->job_count; i++)
		equal = a->jobs[i].band == b->jobs[i].band && a->jobs[i].column == b->jobs[i].column
			&& a->jobs[i].target.member == b->jobs[i].target.member && a->jobs[i].target.granule == b->jobs[i].target.granule;
	return equal;
}

static void check_round_trip(const struct config *config)
{
	void *bytes = NULL, *again = NULL;
	uint8_t *slot, hash[16], other[16];
	struct config *back = NULL;
	size_t length = 0, again_length = 0;

	REQUIRE(!config_encode(config, &bytes, &length));
	CHECK_EQ(length % BLOCK_BYTES, 0);
	REQUIRE(!config_decode(bytes, length, &back));
	CHECK(config_equal(config, back));
	CHECK(!config_encode(back, &again, &again_length) && again_length == length && !memcmp(bytes, again, length));
	config_free(back);

	slot = malloc(config->geometry.config_slot_bytes);       /* read back as a whole slot, with remains of older ones */
	REQUIRE(slot);
	memset(slot, 0x77, config->geometry.config_slot_bytes);
	memcpy(slot, bytes, length);
	REQUIRE(!config_decode(slot, config->geometry.config_slot_bytes, &back));
	CHECK(config_equal(config, back));
	config_free(back);
	config_hash(bytes, length, hash);
	config_hash(slot, config->geometry.config_slot_bytes, other);
	CHECK(!memcmp(hash, other, 16));
	slot[40]++;
	config_hash(slot, config->geometry.config_slot_bytes, other);
	CHECK(memcmp(hash, other, 16));
	for (size_t cut = 0; cut < length; cut += 509)
		CHECK_EQ(config_decode(bytes, cut, &back), -EBADMSG);
	free(slot);
	free(bytes);
	free(again);
}

static void test_round_trip(void)
{
	struct config *config = make_small();
	uint64_t sizes[MEMBERS_MAX];

	check_round_trip(config);
	config->members[3].role = MEMBER_REPLACEMENT;            /* with a hole, a spare and a job */
	config->member_count = 7;
	config->members[5] = (struct config_member){ .uuid = { { 99 } }, .role = MEMBER_SPARE, .granules = 3, .size_bytes = 8 * MIB };
	config->members[6] = (struct config_member){ .uuid = { { 98 } }, .role = MEMBER_REPLACEMENT, .granules = 3, .size_bytes = 8 * MIB };
	config->job_count = 1;
	config->jobs = calloc(1, sizeof(*config->jobs));
	config->jobs[0] = (struct column_job){ .band = 2, .column = 1, .target = { .member = 6, .granule = 2 } };
	check_round_trip(config);
	config_free(config);
	for (unsigned i = 0; i < MEMBERS_MAX; i++)
		sizes[i] = (8 + i % 3) * MIB;
	config = make(sizes, MEMBERS_MAX);
	check_round_trip(config);
	config_free(config);
}

static void test_places(void)
{
	struct config *config = make_small();
	uint8_t *bytes = NULL;
	size_t length, bands = 160 + 4 * 32, columns = bands + 16u * config->band_count;
	uint32_t le;

	REQUIRE(!config_encode(config, (void **)&bytes, &length));
	CHECK(!memcmp(bytes, "R5CRCONF", 8) && bytes[16] == 0xa1 && bytes[31] == 0xa1);
	CHECK(!memcmp(bytes + 32, "\x08\x07\x06\x05\x04\x03\x02\x01\1\0\0\0\0\0\0\0\2\0\0\0\0\0\0\0\4\0\0\0\0\0\0\0\2\0\0\0\4\0\0\0", 40));
	memcpy(&le, bytes + 8, 4);
	CHECK_EQ(le32toh(le), length);
	memcpy(&le, bytes + 140, 4);
	CHECK_EQ(le32toh(le), config->band_count);
	CHECK(bytes[160] == 1 && bytes[160 + 32] == 2 && bytes[160 + 28] == MEMBER_VOTER);
	CHECK(!memcmp(bytes + bands, "\1\0\0\0\1\0\0\0\4\0\0\0\0\0\0\0\2\0\0\0", 20));
	CHECK(!memcmp(bytes + columns, "\0\0\0\0\0\0\0\0\0\0\0\0\1\0\0\0", 16));
	CHECK(!memcmp(bytes + columns + 32, "\1\0\0\0\1\0\0\0\1\0\0\0\2\0\0\0", 16));
	free(bytes);
	config_free(config);
}

static void test_flips(void)
{
	struct config *config = make_small(), *back = NULL;
	unsigned passed = 0;
	uint8_t *bytes = NULL;
	size_t length;

	REQUIRE(!config_encode(config, (void **)&bytes, &length));
	for (size_t bit = 0; bit < length * 8; bit++) {
		bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
		passed += config_decode(bytes, length, &back) != -EBADMSG;
		bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	CHECK_EQ(passed, 0);
	CHECK(!back);
	free(bytes);
	config_free(config);
}

/* ---- Hostile tables, under a checksum that holds ---- */

static uint8_t *hostile;
static size_t hostile_length, hostile_bands, hostile_columns;

static int decode_hostile(void)
{
	struct config *back = NULL;
	le64 checksum = disk_checksum(hostile, hostile_length - 8);
	int err;

	memcpy(hostile + hostile_length - 8, &checksum, 8);
	err = config_decode(hostile, hostile_length, &back);
	config_free(back);
	return err;
}

/* What decoding gives with these bytes at `offset`, alone. */
static int with(size_t offset, const void *bytes, size_t length)
{
	uint8_t saved[64];
	int err;

	memcpy(saved, hostile + offset, length);
	memcpy(hostile + offset, bytes, length);
	err = decode_hostile();
	memcpy(hostile + offset, saved, length);
	return err;
}

static int with32(size_t offset, uint32_t value)
{
	le32 le = le32_put(value);
	return with(offset, &le, 4);
}

static void test_hostile_header(const struct config *config)
{
	static const uint8_t zero[32];

	CHECK_EQ(decode_hostile(), 0);
	CHECK_EQ(with(0, "R5CRCONX", 8), -EBADMSG);
	CHECK_EQ(with32(8, 0), -EBADMSG);
	CHECK_EQ(with32(8, (uint32_t)hostile_length - 4096), -EBADMSG);
	CHECK_EQ(with32(8, UINT32_MAX), -EBADMSG);
	CHECK_EQ(with(12, "\1", 1), -EBADMSG);
	CHECK_EQ(with(16, zero, 16), -EBADMSG);
	CHECK_EQ(with(65, "\1", 1), -EBADMSG);
	CHECK_EQ(with(152, "\1", 1), -EBADMSG);
	CHECK_EQ(with32(68, 0), -EBADMSG);
	CHECK_EQ(with32(68, 33), -EBADMSG);
	CHECK_EQ(with32(68, UINT32_MAX), -EBADMSG);
	CHECK_EQ(with32(136, config->next_band_id - 1), -EBADMSG);       /* an id that is yet to be given */
	CHECK_EQ(with32(136, config->next_band_id + 1), 0);
	CHECK_EQ(with32(136, UINT32_MAX), -EBADMSG);
	CHECK_EQ(with32(140, UINT32_MAX), -EBADMSG);
	CHECK_EQ(with32(144, UINT32_MAX), -EBADMSG);
	CHECK_EQ(with32(144, 0), -EBADMSG);
	CHECK_EQ(with32(148, 1), -EBADMSG);
	CHECK_EQ(with32(148, UINT32_MAX), -EBADMSG);
	CHECK_EQ(with(128, zero, 8), -EBADMSG);                          /* granules of nothing */
	CHECK_EQ(with(128, "\0\0\0\0\0\0\0\x80", 8), -EBADMSG);
	CHECK_EQ(with(120, zero, 8), -EBADMSG);
	CHECK_EQ(with(hostile_length - 9, "\1", 1), -EBADMSG);           /* something after the tables */
}

static void test_hostile_members(const struct config *config)
{
	static const uint8_t zero[32];
	uint8_t one[16];

	memset(one, 1, 16);
	CHECK_EQ(with(160 + 32, one, 16), -EBADMSG);                     /* two members with one UUID */
	CHECK_EQ(with(160, zero, 16), -EBADMSG);
	CHECK_EQ(with(160 + 16, zero, 8), -EBADMSG);
	CHECK_EQ(with(160 + 16, "\xff\xff\xff\xff\xff\xff\xff\xff", 8), -EBADMSG);
	CHECK_EQ(with32(160 + 24, config->members[0].granules + 1), -EBADMSG);   /* more than fit on it */
	CHECK_EQ(with32(160 + 24, UINT32_MAX), -EBADMSG);
	CHECK_EQ(with32(160 + 24, config->members[0].granules - 1), -EBADMSG);   /* a column beyond the last */
	CHECK_EQ(with(160 + 28, "\0", 1), -EBADMSG);
	CHECK_EQ(with(160 + 28, "\2", 1), -EBADMSG);                     /* columns on a spare */
	CHECK_EQ(with(160 + 28, "\3", 1), 0);
	CHECK_EQ(with(160 + 28, "\4", 1), -EBADMSG);
	CHECK_EQ(with(160 + 29, "\1", 1), -EBADMSG);
	hostile[160 + 28] = MEMBER_REPLACEMENT;
	CHECK_EQ(with(160 + 60, "\3", 1), -EBADMSG);                     /* two voters only */
	hostile[160 + 28] = MEMBER_VOTER;
}

static void test_hostile_bands(const struct config *config)
{
	size_t band = hostile_bands, column = hostile_columns;
	struct disk_column free_on_2 = { .granule = le32_put(config->members[1].granules), .member = 2 };
	uint32_t last = config->bands[3].columns[0].member == 3 ? config->members[3].granules : 0;

	CHECK_EQ(with32(band, 0), -EBADMSG);
	CHECK_EQ(with32(band, 2), -EBADMSG);                             /* twice the same id */
	CHECK_EQ(with32(band, 3), -EBADMSG);                             /* out of order */
	CHECK_EQ(with32(band + 16, BAND_ID_MAX + 1), -EBADMSG);
	CHECK_EQ(with32(band + 4, 0), -EBADMSG);
	CHECK_EQ(with32(band + 4, 2), -EBADMSG);                         /* runs into the next band's */
	CHECK_EQ(with32(band + 4, UINT32_MAX), -EBADMSG);
	CHECK_EQ(with(band + 8, "\0", 1), -EBADMSG);
	CHECK_EQ(with(band + 8, "\1", 1), -EBADMSG);
	CHECK_EQ(with(band + 8, "\3", 1), -EBADMSG);
	CHECK_EQ(with(band + 8, "\xff", 1), -EBADMSG);
	CHECK_EQ(with(band + 9, "\1", 1), -EBADMSG);
	CHECK(config->members[2].granules > config->members[1].granules);
	CHECK_EQ(with(column, &free_on_2, 8), -EBADMSG);                 /* one member twice in a band */
	CHECK_EQ(with(column + 2 * 8, &free_on_2, 8), 0);
	CHECK_EQ(with(column + 4, "\4", 1), -EBADMSG);                   /* no such member */
	CHECK_EQ(with(column + 4, "\xff", 1), -EBADMSG);
	CHECK_EQ(with(column + 5, "\1", 1), -EBADMSG);
	CHECK_EQ(with32(column, 1), -EBADMSG);                           /* another band's granule */
	CHECK_EQ(with32(column, config->members[0].granules), -EBADMSG); /* outside */
	CHECK_EQ(with32(column, UINT32_MAX), -EBADMSG);
	REQUIRE(last);
	CHECK_EQ(with32(column + 4 * 3 * 8, last), -EBADMSG);
}

static void test_hostile_job(void)
{
	struct config *config = make_small();
	struct disk_column_job on_2;
	size_t job;

	config->member_count = 5;
	config->members[4] = (struct config_member){ .uuid = { { 98 } }, .role = MEMBER_REPLACEMENT, .granules = 3, .size_bytes = 8 * MIB };
	config->job_count = 2;
	config->jobs = calloc(2, sizeof(*config->jobs));
	config->jobs[0] = (struct column_job){ .band = 2, .column = 1, .target = { .member = 4, .granule = 2 } };
	config->jobs[1] = (struct column_job){ .band = 3, .column = 1, .target = { .member = 4, .granule = 1 } };
	REQUIRE(!config_encode(config, (void **)&hostile, &hostile_length));
	job = 160 + 5 * 32 + 16u * config->band_count;
	for (uint32_t i = 0; i < config->band_count; i++)
		job += 8u * config->bands[i].width;
	CHECK_EQ(decode_hostile(), 0);
	CHECK_EQ(with32(job, 0), -EBADMSG);
	CHECK_EQ(with32(job, config->band_count + 1), -EBADMSG);
	CHECK_EQ(with32(job + 4, 1), -EBADMSG);                          /* the other job's target */
	CHECK_EQ(with32(job + 4, 0), 0);
	CHECK_EQ(with32(job + 4, 3), -EBADMSG);
	CHECK_EQ(with(job + 8, "\4", 1), -EBADMSG);
	CHECK_EQ(with(job + 9, "\5", 1), -EBADMSG);
	on_2 = (struct disk_column_job){ .band = le32_put(2), .target_granule = le32_put(config->members[1].granules), .column = 0, .target_member = 2 };
	CHECK_EQ(with(job, &on_2, 16), -EBADMSG);                        /* a member that the band has in another column */
	on_2.column = 1;
	CHECK_EQ(config->bands[1].columns[1].member, 2);
	CHECK_EQ(with(job, &on_2, 16), 0);
	CHECK_EQ(with(job + 10, "\1", 1), -EBADMSG);
	free(hostile);
	config_free(config);
}

static void test_garbage(void)
{
	uint32_t random = 3;
	struct config *back = NULL;
	size_t length = hostile_length;
	uint8_t *whole = malloc(length);

	REQUIRE(whole);
	memcpy(whole, hostile, length);
	for (unsigned round = 0; round < 3000; round++) {        /* a few bytes of sound tables, under a checksum that holds */
		for (unsigned i = 0; i < 1 + round % 4; i++) {
			random = random * 1664525 + 1013904223;
			hostile[(random >> 8) % (round % 2 ? 300 : length - 8)] = (uint8_t)(random >> 3);
		}
		CHECK(decode_hostile() == 0 || decode_hostile() == -EBADMSG);
		memcpy(hostile, whole, length);
	}
	for (unsigned round = 0; round < 100; round++) {
		for (size_t i = 0; i < length; i++) {
			random = random * 1664525 + 1013904223;
			hostile[i] = (uint8_t)(random >> 24);
		}
		CHECK_EQ(config_decode(hostile, length, &back), -EBADMSG);
		memcpy(hostile, CONFIG_MAGIC, 8);
		memcpy(hostile + 8, whole + 8, 4);
		CHECK_EQ(decode_hostile(), -EBADMSG);
	}
	free(whole);
}

static void test_too_big(void)
{
	struct config *config = make_small();
	void *bytes = NULL;
	size_t length = 0;

	config->geometry.config_slot_bytes = BLOCK_BYTES;
	CHECK_EQ(config_encode(config, &bytes, &length), -E2BIG);
	CHECK(!bytes && !length);
	config_free(config);
}

int main(void)
{
	struct config *config;

	test_bands();
	test_round_trip();
	test_places();
	test_flips();
	config = make_small();
	REQUIRE(!config_encode(config, (void **)&hostile, &hostile_length));
	hostile_bands = 160 + 4 * 32;
	hostile_columns = hostile_bands + 16u * config->band_count;
	test_hostile_header(config);
	test_hostile_members(config);
	test_hostile_bands(config);
	test_garbage();
	free(hostile);
	config_free(config);
	test_hostile_job();
	test_too_big();
	return CHECK_DONE();
}
