/* Extent items as bytes: see extent.h. */
#include "fs/data/extent.h"

#include "base/bytes.h"

static bool crosses_unit(uint64_t block, unsigned blocks)
{
	return block % UNIT_BLOCKS + blocks > UNIT_BLOCKS;
}

static bool data_valid(const struct key *key, const struct extent_item *item, unsigned bytes)
{
	unsigned records = le16_get(item->records), record_blocks = item->record_blocks, last = item->last_blocks;
	uint64_t start = address_block(le64_get(item->address));

	if (records < 1 || records > EXTENT_RECORDS_MAX || bytes != EXTENT_BYTES(records))
		return false;
	if (record_blocks < 1 || record_blocks > UNIT_BLOCKS || last < 1 || last > record_blocks)
		return false;
	if (le32_get(item->blocks) != (records - 1) * record_blocks + last || le16_get(item->key) != 0)
		return false;
	if (le32_get(item->index) > UINT32_MAX - (records - 1))
		return false;
	if (start + le32_get(item->blocks) > UINT64_C(1) << ADDRESS_BLOCK_BITS)
		return false;
	for (unsigned i = 0; i < records; i++) {
		unsigned blocks = i == records - 1 ? last : record_blocks;
		if (crosses_unit(key->offset + i * record_blocks, blocks) || crosses_unit(start + i * record_blocks, blocks))
			return false;
	}
	return true;
}

static bool rest_valid(const struct key *key, const struct extent_item *item, unsigned bytes)
{
	unsigned whole = item->record_blocks, before = item->last_blocks;
	uint64_t start = address_block(le64_get(item->address)), blocks = le32_get(item->blocks);

	if (le16_get(item->records) != 1 || bytes != EXTENT_BYTES(1) || le16_get(item->key) != 0 || whole > UNIT_BLOCKS)
		return false;
	if (blocks < 1 || before + blocks > whole || key->offset < before || start < before)
		return false;
	if (start - before + whole > UINT64_C(1) << ADDRESS_BLOCK_BITS || key->offset - before + whole > FILE_BLOCKS_MAX)
		return false;
	return !crosses_unit(key->offset - before, whole) && !crosses_unit(start - before, whole);
}

bool extent_item_valid(const struct key *key, const void *value, unsigned bytes)
{
	const struct extent_item *item = value;

	if (key->type != ITEM_EXTENT || key->version != 0 || bytes < sizeof(*item) || item->compression != 0)
		return false;
	if (key->offset >= FILE_BLOCKS_MAX || le32_get(item->blocks) > FILE_BLOCKS_MAX - key->offset)
		return false;
	if (item->kind == EXTENT_DATA)
		return data_valid(key, item, bytes);
	if (item->kind == EXTENT_REST)
		return rest_valid(key, item, bytes);
	return item->kind == EXTENT_RESERVED && bytes == sizeof(*item) && le32_get(item->blocks) > 0 &&
		!le16_get(item->key) && !item->record_blocks && !item->last_blocks && !le16_get(item->records) &&
		!le64_get(item->address) && bytes_are_zero(item->nonce, sizeof(item->nonce)) && !le32_get(item->index);
}

/* ---- What is left ---- */

/* Is there a record on both sides of the block? */
static bool cuts_record(const struct extent_item *item, uint64_t block)
{
	return item->kind == EXTENT_DATA && block < le32_get(item->blocks) && block % item->record_blocks != 0;
}

static uint64_t record_start(const struct extent_item *item, uint64_t block) { return block - block % item->record_blocks; }

static uint64_t record_end(const struct extent_item *item, uint64_t block)
{
	uint64_t end = record_start(item, block) + item->record_blocks, blocks = le32_get(item->blocks);

	return end < blocks ? end : blocks;
}

struct piece { uint64_t from, to; bool of_record; };

static void add_piece(struct piece *pieces, unsigned *count, uint64_t from, uint64_t to, bool of_record)
{
	if (from < to)
		pieces[(*count)++] = (struct piece){ from, to, of_record };
}

static unsigned make_pieces(const struct extent_item *item, uint64_t from, uint64_t to, struct piece ret_pieces[EXTENT_LEFT_MAX])
{
	uint64_t before = cuts_record(item, from) ? record_start(item, from) : from;
	uint64_t behind = cuts_record(item, to) ? record_end(item, to) : to;
	unsigned count = 0;

	assert(from < to && to <= le32_get(item->blocks));
	add_piece(ret_pieces, &count, 0, before, false);
	add_piece(ret_pieces, &count, before, from, true);
	add_piece(ret_pieces, &count, to, behind, true);
	add_piece(ret_pieces, &count, behind, le32_get(item->blocks), false);
	return count;
}

unsigned extent_left_at(const struct extent_item *item, uint64_t from, uint64_t to, uint64_t ret_at[EXTENT_LEFT_MAX])
{
	struct piece pieces[EXTENT_LEFT_MAX];
	unsigned count = make_pieces(item, from, to, pieces);

	for (unsigned i = 0; i < count; i++)
		ret_at[i] = pieces[i].from;
	return count;
}

/* Blocks [from, to) of the item: of an EXTENT_DATA whole records of it. */
static unsigned part(const struct extent_item *item, uint64_t from, uint64_t to, void *ret_value)
{
	struct extent_item *x = ret_value;
	unsigned skipped = 0, records = le16_get(item->records);

	if (item->kind == EXTENT_DATA) {
		skipped = (unsigned)(from / item->record_blocks);
		records = (unsigned)((to + item->record_blocks - 1) / item->record_blocks) - skipped;
	}
	memcpy(x, item, sizeof *x);
	memcpy(x->tags, item->tags[skipped], sizeof x->tags[0] * records);
	x->blocks = le32_put((uint32_t)(to - from));
	x->records = le16_put((uint16_t)records);
	if (item->kind != EXTENT_RESERVED)
		x->address = le64_put(le64_get(item->address) + from);
	if (item->kind == EXTENT_REST)
		x->last_blocks = (uint8_t)(item->last_blocks + from);
	if (item->kind == EXTENT_DATA) {
		x->index = le32_put(le32_get(item->index) + skipped);
		if (to < le32_get(item->blocks))
			x->last_blocks = x->record_blocks;
	}
	return (unsigned)EXTENT_BYTES(records);
}

/* Blocks [from, to) of the item, which lie in one record of an EXTENT_DATA. */
static unsigned rest(const struct extent_item *item, uint64_t from, uint64_t to, void *ret_value)
{
	uint64_t start = record_start(item, from), end = record_end(item, from);
	uint8_t record[EXTENT_BYTES(1)];
	struct extent_item *x = (struct extent_item *)record;

	part(item, start, end, record);
	x->kind = EXTENT_REST;
	x->record_blocks = (uint8_t)(end - start);
	x->last_blocks = 0;
	return part(x, from - start, to - start, ret_value);
}

void extent_left(const struct extent_item *item, uint64_t from, uint64_t to, struct extent_left *ret_left)
{
	struct piece pieces[EXTENT_LEFT_MAX];

	ret_left->count = make_pieces(item, from, to, pieces);
	for (unsigned i = 0; i < ret_left->count; i++) {
		ret_left->parts[i].at = pieces[i].from;
		ret_left->parts[i].bytes = (pieces[i].of_record ? rest : part)(item, pieces[i].from, pieces[i].to, ret_left->parts[i].value);
	}
}

void extent_reserved(uint32_t blocks, struct extent_item *ret_item)
{
	*ret_item = (struct extent_item){ .kind = EXTENT_RESERVED, .blocks = le32_put(blocks) };
}
