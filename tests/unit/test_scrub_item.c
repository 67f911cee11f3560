/* The scrub's item, and the counts by member in it: what is written is read, and whatever makes no sense is refused. */
#include "fs/upkeep/scrub_item.h"
#include "tests/unit/check.h"

#include <errno.h>

static const struct key key = SCRUB_KEY;
static uint8_t buffer[SCRUB_ITEM_BYTES_MAX + 1];
static struct scrub_item *const item = (struct scrub_item *)buffer;

static struct uuid member(unsigned i) { return (struct uuid){ { [0] = (uint8_t)(i / 256 + 1), [15] = (uint8_t)i } }; }

/* Paused: three members of one that has 10 rows damaged, and two of the last one. */
static struct scrub_record sample(void)
{
	struct scrub_record record = { .state = SCRUB_PAUSED, .position = address_make(1, 400), .speed_bytes = 77,
		.now = { .began_ns = 50, .rows = 100, .damaged = 10, .unreadable = 4, .tree_errors = 1, .unclear = 2 },
		.last = { .began_ns = 20, .ended_ns = 40, .rows = 300, .damaged = 6 } };
	for (unsigned i = 0; i < 3; i++)
		record.now.members[i] = (struct scrub_units){ member(i), 3 };
	for (unsigned i = 0; i < 2; i++)
		record.last.members[i] = (struct scrub_units){ member(i + 2), 5 };
	return record;
}

static unsigned put(const struct scrub_record *record)
{
	memset(buffer, 0xee, sizeof buffer);
	return scrub_item_encode(record, buffer);
}

static int get(unsigned bytes)
{
	struct scrub_record record;
	return scrub_item_decode(&key, buffer, bytes, &record);
}

static bool same_again(const struct scrub_record *record)
{
	struct scrub_record again;
	unsigned bytes = put(record);
	return scrub_item_decode(&key, buffer, bytes, &again) == 0 && again.state == record->state && again.position == record->position
		&& again.speed_bytes == record->speed_bytes && !memcmp(&again.now, &record->now, sizeof again.now)
		&& !memcmp(&again.last, &record->last, sizeof again.last);
}

static void test_round_trip(void)
{
	struct scrub_record record = sample();
	CHECK(same_again(&record));
	CHECK_EQ(put(&record), sizeof *item + 5 * sizeof *item->members);
	CHECK(item->now_members == 3 && item->last_members == 2);
	record.now = (struct scrub_result){ .began_ns = 50 };
	CHECK(same_again(&record));
	record.last = (struct scrub_result){ 0 };
	CHECK(same_again(&record));
	CHECK_EQ(put(&record), sizeof *item);
	record = sample();
	record.state = SCRUB_FINISHED;
	record.now = record.last;
	CHECK(same_again(&record));
}

/* As many members as there can be, in both, with counts as high as they can be. */
static void test_most(void)
{
	struct scrub_record record = sample();
	record.now.damaged = record.last.damaged = UINT64_MAX;
	for (unsigned i = 0; i < MEMBERS_MAX; i++)
		record.now.members[i] = record.last.members[i] = (struct scrub_units){ member(i), UINT64_MAX };
	CHECK(same_again(&record));
	CHECK_EQ(put(&record), SCRUB_ITEM_BYTES_MAX);
	CHECK_EQ(get(SCRUB_ITEM_BYTES_MAX + 1), -EBADMSG);
	item->now_members++;
	CHECK_EQ(get(SCRUB_ITEM_BYTES_MAX), -EBADMSG);
	item->last_members--;
	CHECK_EQ(get(SCRUB_ITEM_BYTES_MAX), -EBADMSG);
}

static void test_lists(void)
{
	struct scrub_record record = sample();
	unsigned bytes = put(&record);
	for (unsigned n = 0; n <= sizeof buffer; n++)
		CHECK_EQ(get(n), n == bytes ? 0 : -EBADMSG);
	item->last_members = 3;
	CHECK_EQ(get(bytes), -EBADMSG);
	item->last_members = 1;
	CHECK_EQ(get(bytes), -EBADMSG);
	item->now_members = 4;           /* the fourth is the third again */
	CHECK_EQ(get(bytes), -EBADMSG);
	for (unsigned i = 0; i < 5; i++) {
		put(&record);
		item->members[i].units = le64_put(0);
		CHECK_EQ(get(bytes), -EBADMSG);
		put(&record);
		item->members[i].member = (struct uuid){ 0 };
		CHECK_EQ(get(bytes), -EBADMSG);
	}
	put(&record);
	item->members[1].member = item->members[0].member;
	CHECK_EQ(get(bytes), -EBADMSG);
	put(&record);
	item->members[0] = item->members[1];
	item->members[1].member = member(0);
	CHECK_EQ(get(bytes), -EBADMSG);
	put(&record);
	for (unsigned i = 0; i < sizeof item->zero; i++) {
		item->zero[i] = 1;
		CHECK_EQ(get(bytes), -EBADMSG);
		item->zero[i] = 0;
	}
	CHECK_EQ(get(bytes), 0);
}

/* 3 + 3 + 3 units and 2 rows unclear, of 10 rows. */
static void test_sums(void)
{
	struct scrub_record record = sample();
	unsigned bytes = put(&record);
	item->members[0].units = le64_put(10);
	CHECK_EQ(get(bytes), 0);
	item->members[0].units = le64_put(11);
	CHECK_EQ(get(bytes), -EBADMSG);
	item->members[0].units = le64_put(2);
	CHECK_EQ(get(bytes), 0);
	item->members[0].units = le64_put(1);
	CHECK_EQ(get(bytes), -EBADMSG);
	item->now.unclear = le64_put(3);
	CHECK_EQ(get(bytes), 0);
	item->now.unclear = le64_put(10);
	CHECK_EQ(get(bytes), 0);
	item->now.unclear = le64_put(11);
	CHECK_EQ(get(bytes), -EBADMSG);
	item->now.unclear = le64_put(UINT64_MAX);
	CHECK_EQ(get(bytes), -EBADMSG);
	put(&record);
	item->last.damaged = le64_put(5);
	CHECK_EQ(get(bytes), 0);
	item->last.damaged = le64_put(4);
	CHECK_EQ(get(bytes), -EBADMSG);
	item->last.damaged = le64_put(11);
	CHECK_EQ(get(bytes), -EBADMSG);
}

/* Finished, both are the same; of none there is nothing. */
static void test_states(void)
{
	struct scrub_record record = sample();
	unsigned bytes;
	record.state = SCRUB_FINISHED;
	record.now = record.last;
	bytes = put(&record);
	item->members[0].units = le64_put(4);
	CHECK_EQ(get(bytes), -EBADMSG);
	item->members[2].units = le64_put(4);
	CHECK_EQ(get(bytes), 0);
	item->members[3].member = member(9);
	CHECK_EQ(get(bytes), -EBADMSG);
	record = sample();
	record.last = (struct scrub_result){ 0 };
	record.last.members[0] = (struct scrub_units){ member(0), 1 };
	CHECK_EQ(get(put(&record)), -EBADMSG);
	record.last.damaged = 1;
	CHECK_EQ(get(put(&record)), -EBADMSG);
	record.last.ended_ns = 1;
	CHECK_EQ(get(put(&record)), 0);
}

static void test_add(void)
{
	struct scrub_result result = { .damaged = 1000, .unclear = 10 };
	struct uuid other = member(MEMBERS_MAX), none = { 0 };
	scrub_result_add(&result, &other, 0);
	CHECK_EQ(scrub_result_members(&result), 0);
	for (unsigned i = 0; i < 2 * MEMBERS_MAX; i++) {
		struct uuid uuid = member(i * 7 % MEMBERS_MAX);
		scrub_result_add(&result, &uuid, i * 7 % MEMBERS_MAX + 15);
	}
	CHECK_EQ(scrub_result_members(&result), MEMBERS_MAX);
	CHECK(scrub_result_valid(&result));
	for (unsigned i = 0; i < MEMBERS_MAX; i++) {
		struct uuid uuid = member(i);
		CHECK_EQ(scrub_result_units(&result, &uuid), 2 * (i + 15));
	}
	CHECK_EQ(scrub_result_units(&result, &none), 0);
	scrub_result_add(&result, &other, 400);  /* there is no room for it */
	CHECK_EQ(scrub_result_units(&result, &other), 0);
	CHECK_EQ(result.unclear, 410);
	scrub_result_add(&result, &other, UINT64_MAX);
	CHECK_EQ(result.unclear, 1000);
	CHECK(scrub_result_valid(&result));
}

int main(void)
{
	test_round_trip();
	test_most();
	test_lists();
	test_sums();
	test_states();
	test_add();
	return CHECK_DONE();
}
