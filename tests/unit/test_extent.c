/* Extent items: what is valid, and that cutting one keeps records, tags, addresses and indexes right. */
#include "fs/data/extent.h"
#include "tests/unit/check.h"

static uint8_t buffer[EXTENT_ITEM_BYTES_MAX];
static struct extent_item *const item = (struct extent_item *)buffer;
static struct key key;

/* `records` records of `record_blocks`, the last of `last_blocks`, with a tag that tells its number. */
static unsigned make(unsigned records, unsigned record_blocks, unsigned last_blocks)
{
	memset(buffer, 0, sizeof(buffer));
	key = (struct key){ .object = 20, .type = ITEM_EXTENT, .offset = 64 };
	item->kind = EXTENT_DATA;
	item->record_blocks = (uint8_t)record_blocks;
	item->last_blocks = (uint8_t)last_blocks;
	item->records = le16_put((uint16_t)records);
	item->blocks = le32_put((records - 1) * record_blocks + last_blocks);
	item->address = le64_put(address_make(3, 400));
	memset(item->nonce, 0x5a, sizeof(item->nonce));
	item->index = le32_put(1000);
	for (unsigned i = 0; i < records; i++)
		memset(item->tags[i], (int)(i + 1), 16);
	return (unsigned)EXTENT_BYTES(records);
}

#define VALID(bytes) extent_item_valid(&key, buffer, bytes)

static void test_valid(void)
{
	unsigned bytes = make(128, 4, 3);
	CHECK(VALID(bytes));
	CHECK(!VALID(bytes - 1));
	CHECK(!VALID(bytes + 1));
	CHECK(!VALID(39));
	key.offset = 65;
	CHECK(!VALID(bytes));            /* crosses the file's units */
	make(128, 4, 3);
	item->address = le64_put(address_make(3, 401));
	CHECK(!VALID(bytes));            /* crosses the array's units */
	make(128, 4, 3);
	item->address = le64_put(address_make(3, (UINT64_C(1) << ADDRESS_BLOCK_BITS) - 508));
	CHECK(!VALID(bytes));            /* leaves its band */
	make(128, 4, 3);
	item->index = le32_put(UINT32_MAX - 126);
	CHECK(!VALID(bytes));
	make(128, 4, 3);
	item->index = le32_put(UINT32_MAX - 127);
	CHECK(VALID(bytes));
	make(128, 4, 3);
	item->blocks = le32_put(512);
	CHECK(!VALID(bytes));
	make(128, 4, 3);
	item->key = le16_put(1);
	CHECK(!VALID(bytes));
	make(128, 4, 3);
	item->compression = 1;
	CHECK(!VALID(bytes));
	make(128, 4, 3);
	item->kind = EXTENT_DIRTY;
	CHECK(!VALID(bytes));            /* never from a disk */
	make(128, 4, 3);
	key.version = 1;
	CHECK(!VALID(bytes));
	make(128, 4, 3);
	key.offset = FILE_BLOCKS_MAX - 508;
	CHECK(!VALID(bytes));
	CHECK(!VALID(make(1, 0, 0)));
	CHECK(!VALID(make(1, 5, 5)));
	CHECK(!VALID(make(1, 4, 0)));
	CHECK(!VALID(make(2, 2, 3)));
	CHECK(!VALID(make(2, 3, 3)));
	CHECK(VALID(make(2, 2, 1)));
	bytes = make(3, 1, 1);
	key.offset = 67;
	item->address = le64_put(address_make(3, 403));
	CHECK(VALID(bytes));
	item->records = le16_put(0);
	CHECK(!VALID(sizeof(*item)));
	bytes = make(1, 4, 4);
	item->records = le16_put(129);
	CHECK(!VALID((unsigned)EXTENT_BYTES(129)));
}

static void test_reserved(void)
{
	make(1, 1, 1);
	extent_reserved(UINT32_MAX, item);
	key.offset = 7;
	CHECK(VALID(sizeof(*item)));
	CHECK(!VALID(sizeof(*item) + 16));
	key.offset = FILE_BLOCKS_MAX - 5;
	CHECK(!VALID(sizeof(*item)));
	key.offset = 0;
	item->address = le64_put(1);
	CHECK(!VALID(sizeof(*item)));
	extent_reserved(0, item);
	CHECK(!VALID(sizeof(*item)));
	extent_reserved(9, item);
	item->nonce[15] = 1;
	CHECK(!VALID(sizeof(*item)));
	extent_reserved(9, item);
	uint8_t part[EXTENT_ITEM_BYTES_MAX];
	CHECK(extent_cuttable(item, 5));
	CHECK_EQ(extent_head(item, 5, part), sizeof(*item));
	CHECK(extent_item_valid(&key, part, sizeof(*item)));
	CHECK_EQ(le32_get(((struct extent_item *)part)->blocks), 5);
	CHECK_EQ(extent_tail(item, 5, part), sizeof(*item));
	CHECK(extent_item_valid(&key, part, sizeof(*item)));
	CHECK_EQ(le32_get(((struct extent_item *)part)->blocks), 4);
}

/* Every place where an item can be cut. */
static void test_cut(unsigned records, unsigned record_blocks, unsigned last_blocks)
{
	uint8_t part[EXTENT_ITEM_BYTES_MAX];
	const struct extent_item *p = (struct extent_item *)part;
	unsigned blocks = (records - 1) * record_blocks + last_blocks;

	make(records, record_blocks, last_blocks);
	for (unsigned at = 1; at < blocks; at++) {
		CHECK_EQ(extent_cuttable(item, at), at % record_blocks == 0);
		if (at % record_blocks)
			continue;
		unsigned first = at / record_blocks;
		unsigned bytes = extent_head(item, at, part);
		CHECK(extent_item_valid(&key, part, bytes));
		CHECK_EQ(le32_get(p->blocks), at);
		CHECK_EQ(le64_get(p->address), le64_get(item->address));
		CHECK_EQ(le32_get(p->index), 1000);
		CHECK(!memcmp(p->tags, item->tags, 16u * first));

		struct key tail_key = key;
		tail_key.offset += at;
		bytes = extent_tail(item, at, part);
		CHECK(extent_item_valid(&tail_key, part, bytes));
		CHECK_EQ(bytes, EXTENT_BYTES(records - first));
		CHECK_EQ(le32_get(p->blocks), blocks - at);
		CHECK_EQ(le64_get(p->address), le64_get(item->address) + at);
		CHECK_EQ(le32_get(p->index), 1000 + first);
		CHECK_EQ(p->last_blocks, last_blocks);
		CHECK_EQ(p->nonce[3], 0x5a);
		CHECK(!memcmp(p->tags, item->tags[first], 16u * (records - first)));
	}
}

/* A record that may be cut anywhere: at each place of each length, and what is left once more. */
static void test_rest(unsigned records, unsigned record_blocks, unsigned last_blocks)
{
	uint8_t whole[EXTENT_BYTES(1)], part[EXTENT_ITEM_BYTES_MAX], again[EXTENT_ITEM_BYTES_MAX];
	const struct extent_item *w = (struct extent_item *)whole, *p = (struct extent_item *)part, *q = (struct extent_item *)again;

	make(records, record_blocks, last_blocks);
	unsigned blocks = records > 1 ? record_blocks : last_blocks;
	CHECK_EQ(extent_rest(item, whole), EXTENT_BYTES(1));
	CHECK(extent_item_valid(&key, whole, EXTENT_BYTES(1)));
	CHECK(w->kind == EXTENT_REST && w->record_blocks == blocks && w->last_blocks == 0 && le32_get(w->blocks) == blocks);
	CHECK(le64_get(w->address) == le64_get(item->address) && le32_get(w->index) == 1000 && !memcmp(w->tags, item->tags, 16));
	for (unsigned at = 1; at < blocks; at++) {
		struct key tail_key = key;
		tail_key.offset += at;
		CHECK(extent_cuttable(w, at));
		CHECK_EQ(extent_head(w, at, part), EXTENT_BYTES(1));
		CHECK(extent_item_valid(&key, part, EXTENT_BYTES(1)));
		CHECK(le32_get(p->blocks) == at && p->record_blocks == blocks && p->last_blocks == 0);
		CHECK_EQ(extent_tail(w, at, part), EXTENT_BYTES(1));
		CHECK(extent_item_valid(&tail_key, part, EXTENT_BYTES(1)));
		CHECK(le32_get(p->blocks) == blocks - at && p->record_blocks == blocks && p->last_blocks == at);
		CHECK(le64_get(p->address) == le64_get(item->address) + at && le32_get(p->index) == 1000 && !memcmp(p->tags, item->tags, 16));
		if (blocks - at > 1) {
			tail_key.offset++;
			CHECK_EQ(extent_tail(p, 1, again), EXTENT_BYTES(1));
			CHECK(extent_item_valid(&tail_key, again, EXTENT_BYTES(1)));
			CHECK(q->last_blocks == at + 1 && le64_get(q->address) == le64_get(item->address) + at + 1);
		}
	}
}

static void test_rest_valid(void)
{
	uint8_t rest[EXTENT_BYTES(1) + 16] = { 0 };
	struct extent_item *r = (struct extent_item *)rest;

#define MAKE_REST() do { make(1, 4, 4); extent_rest(item, rest); } while (0)
#define CHECK_REFUSED(change) do { MAKE_REST(); change; CHECK(!extent_item_valid(&key, rest, EXTENT_BYTES(1))); } while (0)
	MAKE_REST();
	CHECK(extent_item_valid(&key, rest, EXTENT_BYTES(1)));
	CHECK(!extent_item_valid(&key, rest, EXTENT_BYTES(1) + 16) && !extent_item_valid(&key, rest, sizeof *r));
	CHECK_REFUSED(r->blocks = le32_put(0));
	CHECK_REFUSED(r->blocks = le32_put(5));
	CHECK_REFUSED(r->last_blocks = 1);
	CHECK_REFUSED(r->record_blocks = 5);
	CHECK_REFUSED(r->record_blocks = 3);
	CHECK_REFUSED(r->records = le16_put(2));
	CHECK_REFUSED(r->key = le16_put(1));
	CHECK_REFUSED(r->compression = 1);
	CHECK_REFUSED(r->address = le64_put(le64_get(r->address) + 1));         /* crosses the array's units */
	CHECK_REFUSED(key.offset++);             /* and the file's */
	CHECK_REFUSED((r->last_blocks = 3, r->blocks = le32_put(1)));    /* begins before its unit */
	CHECK_REFUSED((key.offset = 2, r->address = le64_put(3), r->last_blocks = 3, r->blocks = le32_put(1)));
	MAKE_REST();
	key.offset += 3;
	r->address = le64_put(le64_get(r->address) + 3);
	r->last_blocks = 3;
	r->blocks = le32_put(1);
	CHECK(extent_item_valid(&key, rest, EXTENT_BYTES(1)));
}

int main(void)
{
	test_valid();
	test_reserved();
	test_cut(128, 4, 3);
	test_cut(4, 1, 1);
	test_cut(7, 2, 1);
	test_cut(1, 3, 3);
	test_rest(5, 4, 3);
	test_rest(1, 4, 2);
	test_rest(2, 3, 1);
	test_rest_valid();
	return CHECK_DONE();
}
