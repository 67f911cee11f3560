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
}

/* The record that a block of an item lies in. */
struct whole { uint64_t block, address; unsigned blocks; uint32_t index; uint8_t tag[16]; };

static struct whole whole_of(uint64_t offset, const struct extent_item *x, uint64_t at)
{
	struct whole w = { 0 };
	bool is_rest = x->kind == EXTENT_REST;
	unsigned i = is_rest ? 0 : (unsigned)(at / x->record_blocks);

	if (x->kind == EXTENT_RESERVED)
		return w;
	w.block = is_rest ? offset - x->last_blocks : offset + i * x->record_blocks;
	w.address = is_rest ? le64_get(x->address) - x->last_blocks : le64_get(x->address) + i * x->record_blocks;
	w.blocks = !is_rest && i + 1 == le16_get(x->records) ? x->last_blocks : x->record_blocks;
	w.index = le32_get(x->index) + i;
	memcpy(w.tag, x->tags[i], sizeof w.tag);
	return w;
}

/* Removes blocks [from, to): all others must be there still, and lie in the same records. */
static void check_left(uint64_t offset, const struct extent_item *x, uint64_t from, uint64_t to, struct extent_left *ret_left)
{
	uint64_t blocks = le32_get(x->blocks), at = from == 0 ? to : 0, ats[EXTENT_LEFT_MAX];

	extent_left(x, from, to, ret_left);
	CHECK_EQ(extent_left_at(x, from, to, ats), ret_left->count);
	for (unsigned i = 0; i < ret_left->count; i++) {
		const struct extent_item *p = (const struct extent_item *)ret_left->parts[i].value;
		struct key part_key = { .object = 20, .type = ITEM_EXTENT, .offset = offset + at };
		CHECK_EQ(ret_left->parts[i].at, at);
		CHECK_EQ(ats[i], at);
		CHECK(extent_item_valid(&part_key, p, ret_left->parts[i].bytes));
		CHECK(p->kind == x->kind || (p->kind == EXTENT_REST && le32_get(p->blocks) < p->record_blocks));
		CHECK(!memcmp(p->nonce, x->nonce, sizeof p->nonce));
		for (uint64_t b = 0; b < le32_get(p->blocks) && p->kind != EXTENT_RESERVED; b++) {
			struct whole now = whole_of(offset + at, p, b), before = whole_of(offset, x, at + b);
			CHECK(!memcmp(&now, &before, sizeof now));
			CHECK_EQ(le64_get(p->address) + b, le64_get(x->address) + at + b);
		}
		at += le32_get(p->blocks);
		CHECK(at <= from || ret_left->parts[i].at >= to);
		if (at == from)
			at = to;
	}
	CHECK_EQ(at, blocks);
}

/* Every range that an item can lose, and every range that what is left can lose then. */
static void test_left(unsigned records, unsigned record_blocks, unsigned last_blocks)
{
	static struct extent_left left, again;

	make(records, record_blocks, last_blocks);
	uint64_t blocks = le32_get(item->blocks);
	for (uint64_t from = 0; from < blocks; from++)
		for (uint64_t to = from + 1; to <= blocks; to++) {
			check_left(key.offset, item, from, to, &left);
			for (unsigned i = 0; i < left.count; i++) {
				const struct extent_item *p = (const struct extent_item *)left.parts[i].value;
				for (uint64_t f = 0; f < le32_get(p->blocks) && blocks < 40; f++)
					for (uint64_t t = f + 1; t <= le32_get(p->blocks); t++)
						check_left(key.offset + left.parts[i].at, p, f, t, &again);
			}
		}
}

static void test_reserved_left(void)
{
	static struct extent_left left;

	make(1, 1, 1);
	extent_reserved(9, item);
	for (uint64_t from = 0; from < 9; from++)
		for (uint64_t to = from + 1; to <= 9; to++)
			check_left(key.offset, item, from, to, &left);
	extent_left(item, 2, 5, &left);
	CHECK_EQ(left.count, 2);
	extent_left(item, 0, 9, &left);
	CHECK_EQ(left.count, 0);
}

static void test_rest_valid(void)
{
	uint8_t rest[EXTENT_BYTES(1) + 16] = { 0 };
	struct extent_item *r = (struct extent_item *)rest;
	static struct extent_left left;

/* All of the record but its last block. */
#define MAKE_REST() do { make(1, 4, 4); extent_left(item, 3, 4, &left); memcpy(rest, left.parts[0].value, EXTENT_BYTES(1)); } while (0)
#define CHECK_REFUSED(change) do { MAKE_REST(); change; CHECK(!extent_item_valid(&key, rest, EXTENT_BYTES(1))); } while (0)
	MAKE_REST();
	CHECK(extent_item_valid(&key, rest, EXTENT_BYTES(1)));
	CHECK(!extent_item_valid(&key, rest, EXTENT_BYTES(1) + 16) && !extent_item_valid(&key, rest, sizeof *r));
	CHECK_REFUSED(r->blocks = le32_put(0));
	CHECK_REFUSED(r->blocks = le32_put(5));
	CHECK_REFUSED(r->last_blocks = 2);
	CHECK_REFUSED(r->record_blocks = 5);
	CHECK_REFUSED(r->record_blocks = 2);
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
	test_left(128, 4, 3);
	test_left(4, 1, 1);
	test_left(7, 2, 1);
	test_left(1, 3, 3);
	test_left(5, 4, 3);
	test_left(1, 4, 4);
	test_left(2, 3, 1);
	test_reserved_left();
	test_rest_valid();
	return CHECK_DONE();
}
