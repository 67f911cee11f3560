/* Root headers and promises: round trip, places of fields, every flipped bit, fields that make no sense. */
#include "raid/format.h"
#include "tests/unit/check.h"

#include <errno.h>

static struct root_header sample(void)
{
	struct root_header h = { .array = { { 1, 2, 3 } }, .term = 0x0102030405060708, .mount = { { 9, 8, 7 } }, .generation = 1000, .predecessor = 999,
		.tree = 998, .tree_before = 996, .config_version = 17, .label_sequence = 5, .job_running = true, .job_position = 0x1122334455 };

	memset(h.config_hash, 0xaa, sizeof(h.config_hash));
	memset(h.label_hash, 0xbb, sizeof(h.label_hash));
	memset(h.nonce, 0xcc, sizeof(h.nonce));
	h.members[0].state = MEMBER_IN_SYNC;
	h.members[1] = (struct root_member){ MEMBER_IN_SYNC, { true, 996, 1000, 0 } };
	h.members[2] = (struct root_member){ MEMBER_FILLING, { true, 900, 990, address_make(4, 77) } };
	h.members[31] = (struct root_member){ MEMBER_OUT, { true, 5, GAP_OPEN, 0 } };
	return h;
}

static void reseal(uint8_t record[ROOT_BYTES])
{
	struct disk_root_header *d = (struct disk_root_header *)record;
	d->checksum = disk_checksum(d, offsetof(struct disk_root_header, checksum));
}

static bool member_equal(const struct root_member *a, const struct root_member *b)
{
	return a->state == b->state && a->gap.present == b->gap.present && a->gap.from == b->gap.from
		&& a->gap.to == b->gap.to && a->gap.position == b->gap.position;
}

static void test_round_trip(void)
{
	struct root_header h = sample(), back;
	uint8_t record[ROOT_BYTES], again[ROOT_BYTES];

	memset(record, 0x5a, sizeof(record));
	root_header_encode(&h, record);
	CHECK(record[ROOT_HEADER_BYTES] == 0x5a && record[ROOT_BYTES - 1] == 0x5a);
	CHECK_EQ(root_header_decode(record, &back), 0);
	CHECK(uuid_equal(&back.array, &h.array) && back.term == h.term && !memcmp(&back.mount, &h.mount, 16));
	CHECK(back.generation == 1000 && back.predecessor == 999 && back.tree == 998 && back.tree_before == 996);
	CHECK(back.config_version == 17 && !memcmp(back.config_hash, h.config_hash, 16));
	CHECK(back.label_sequence == 5 && !memcmp(back.label_hash, h.label_hash, 16));
	CHECK(back.job_running && back.job_position == h.job_position && !memcmp(back.nonce, h.nonce, 24));
	for (unsigned i = 0; i < MEMBERS_MAX; i++)
		CHECK(member_equal(&back.members[i], &h.members[i]));
	memset(again, 0x5a, sizeof(again));
	root_header_encode(&back, again);
	CHECK(!memcmp(record, again, ROOT_BYTES));

	CHECK(!memcmp(record, "R5CRROOT\1\2\3\0", 12));
	CHECK(!memcmp(record + 24, "\x08\x07\x06\x05\x04\x03\x02\x01\x09\x08\x07", 11));
	CHECK(!memcmp(record + 48, "\xe8\3\0\0\0\0\0\0\xe7\3\0\0\0\0\0\0\xe6\3\0\0\0\0\0\0\xe4\3\0\0\0\0\0\0\x11\0\0\0\0\0\0\0\xaa", 41));
	CHECK(!memcmp(record + 104, "\5\0\0\0\0\0\0\0\xbb", 9) && record[128] == 1 && record[136] == 0x55 && record[144] == 0xcc && record[167] == 0xcc);
	CHECK(!memcmp(record + 256 + 2 * 32, "\2\1\0\0\0\0\0\0\x84\3\0\0\0\0\0\0\xde\3\0\0\0\0\0\0\x4d\0\0\0\0\4\0\0", 32));
	CHECK(record[256 + 31 * 32] == MEMBER_OUT && record[256 + 31 * 32 + 23] == 0xff);
}

static void test_flips(void)
{
	struct root_header h = sample(), back = { .term = 42 };
	struct promise p = { .array = { { 1 } }, .term = 3, .mount = { { 4 } } }, p_back = { .term = 42 };
	uint8_t record[ROOT_BYTES] = { 0 };
	unsigned passed = 0;

	root_header_encode(&h, record);
	for (unsigned bit = 0; bit < ROOT_HEADER_BYTES * 8; bit++) {
		record[bit / 8] ^= (uint8_t)(1 << bit % 8);
		passed += root_header_decode(record, &back) != (bit < 64 ? -ENOENT : -EBADMSG);
		record[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	CHECK_EQ(passed, 0);
	CHECK_EQ(back.term, 42);

	promise_encode(&p, record);
	CHECK_EQ(promise_decode(record, &p_back), 0);
	p_back.term = 42;
	for (unsigned bit = 0; bit < PROMISE_BYTES * 8; bit++) {
		record[bit / 8] ^= (uint8_t)(1 << bit % 8);
		passed += promise_decode(record, &p_back) != (bit < 64 ? -ENOENT : -EBADMSG);
		record[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	CHECK_EQ(passed, 0);
	CHECK_EQ(p_back.term, 42);
}

static int decode_changed(size_t offset, const void *with, size_t length)
{
	struct root_header h = sample(), back;
	uint8_t record[ROOT_BYTES] = { 0 };

	root_header_encode(&h, record);
	memcpy(record + offset, with, length);
	reseal(record);
	return root_header_decode(record, &back);
}

/* Fields that make no sense, under a checksum that holds. */
static void test_hostile(void)
{
	static const uint8_t zero[32], ones[8] = { 255, 255, 255, 255, 255, 255, 255, 255 };
	uint8_t record[ROOT_BYTES];
	struct root_header back;
	struct promise promise;
	uint32_t random = 7;

	CHECK_EQ(decode_changed(0, ROOT_MAGIC, 8), 0);
	CHECK_EQ(decode_changed(8, zero, 16), -EBADMSG);
	CHECK_EQ(decode_changed(24, ones, 8), -EBADMSG);         /* no term can follow */
	CHECK_EQ(decode_changed(48, ones, 8), -EBADMSG);
	CHECK_EQ(decode_changed(48, "\xe7", 1), -EBADMSG);       /* its own predecessor */
	CHECK_EQ(decode_changed(64, "\xe9", 1), -EBADMSG);       /* a tree of the future */
	CHECK_EQ(decode_changed(72, "\xe7", 1), -EBADMSG);       /* made before the one before it */
	CHECK_EQ(decode_changed(128, "\2", 1), -EBADMSG);
	CHECK_EQ(decode_changed(128, "\0", 1), -EBADMSG);        /* a position of no job */
	CHECK_EQ(decode_changed(129, "\1", 1), -EBADMSG);
	CHECK_EQ(decode_changed(168, "\1", 1), -EBADMSG);
	CHECK_EQ(decode_changed(1280, "\1", 1), -EBADMSG);
	CHECK_EQ(decode_changed(2551, "\1", 1), -EBADMSG);
	CHECK_EQ(decode_changed(256, "\4", 1), -EBADMSG);        /* no such state */
	CHECK_EQ(decode_changed(256, "\3", 1), -EBADMSG);        /* out, without a gap */
	CHECK_EQ(decode_changed(256, "\2", 1), -EBADMSG);        /* filling nothing */
	CHECK_EQ(decode_changed(257, "\2", 1), -EBADMSG);
	CHECK_EQ(decode_changed(258, "\1", 1), -EBADMSG);
	CHECK_EQ(decode_changed(264, "\1", 1), -EBADMSG);        /* a gap that is not there has a start */
	CHECK_EQ(decode_changed(288 + 16, ones, 8), -EBADMSG);   /* in sync, and still missing */
	CHECK_EQ(decode_changed(288, zero, 1), -EBADMSG);        /* absent, and has a gap */
	CHECK_EQ(decode_changed(288, zero, 32), 0);
	CHECK_EQ(decode_changed(256 + 31 * 32 + 16, "\0", 1), -EBADMSG); /* out, and its gap has an end */

	for (unsigned round = 0; round < 2000; round++) {
		for (unsigned i = 0; i < ROOT_BYTES; i++) {
			random = random * 1664525 + 1013904223;
			record[i] = (uint8_t)(random >> 24);
		}
		CHECK_EQ(root_header_decode(record, &back), -ENOENT);
		CHECK_EQ(promise_decode(record, &promise), -ENOENT);
		memcpy(record, ROOT_MAGIC, 8);
		reseal(record);
		CHECK_EQ(root_header_decode(record, &back), -EBADMSG);
		memcpy(record, PROMISE_MAGIC, 8);
		CHECK_EQ(promise_decode(record, &promise), -EBADMSG);
	}
}

static void test_promise(void)
{
	struct promise p = { .array = { { 1, 2 } }, .term = 0x0807060504030201, .mount = { { 4, 5 } } }, back;
	uint8_t bytes[PROMISE_BYTES];
	const uint8_t *region;
	size_t length;

	memset(p.mac, 0xdd, sizeof(p.mac));
	promise_encode(&p, bytes);
	CHECK_EQ(promise_decode(bytes, &back), 0);
	CHECK(uuid_equal(&back.array, &p.array) && back.term == p.term && !memcmp(&back.mount, &p.mount, 16) && !memcmp(back.mac, p.mac, 32));
	CHECK(!memcmp(bytes, "R5CRPROM\1\2\0", 11) && !memcmp(bytes + 24, "\1\2\3\4\5\6\7\x08\4\5", 10));
	CHECK(bytes[47] == 0 && bytes[48] == 0xdd && bytes[79] == 0xdd && bytes[80] == 0);
	region = promise_mac_region(bytes, &length);
	CHECK(region == bytes && length == 48);
	p.term = UINT64_MAX;
	promise_encode(&p, bytes);
	CHECK_EQ(promise_decode(bytes, &back), -EBADMSG);
	p = (struct promise){ .term = 1 };
	promise_encode(&p, bytes);
	CHECK_EQ(promise_decode(bytes, &back), -EBADMSG);
}

int main(void)
{
	test_round_trip();
	test_flips();
	test_hostile();
	test_promise();
	return CHECK_DONE();
}
