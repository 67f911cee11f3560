/* Extent items as bytes: see extent.h. */
#include "fs/data/extent.h"

static bool all_zero(const uint8_t *bytes, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (bytes[i])
			return false;
	return true;
}

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
		!le64_get(item->address) && all_zero(item->nonce, sizeof(item->nonce)) && !le32_get(item->index);
}

bool extent_cuttable(const struct extent_item *item, uint64_t blocks)
{
	return item->kind != EXTENT_DATA || blocks % item->record_blocks == 0;
}

/* Number of records in its first `blocks` blocks; it is cuttable there. */
static unsigned records_in(const struct extent_item *item, uint64_t blocks)
{
	return item->kind == EXTENT_DATA ? (unsigned)(blocks / item->record_blocks) : 0;
}

unsigned extent_head(const struct extent_item *item, uint64_t blocks, void *ret_value)
{
	struct extent_item *head = ret_value;
	unsigned records = item->kind == EXTENT_REST ? 1 : records_in(item, blocks);

	assert(blocks > 0 && blocks < le32_get(item->blocks) && extent_cuttable(item, blocks));
	memcpy(head, item, EXTENT_BYTES(records));
	head->blocks = le32_put((uint32_t)blocks);
	head->records = le16_put((uint16_t)records);
	if (item->kind == EXTENT_DATA)
		head->last_blocks = head->record_blocks;
	return (unsigned)EXTENT_BYTES(records);
}

unsigned extent_tail(const struct extent_item *item, uint64_t blocks, void *ret_value)
{
	struct extent_item *tail = ret_value;
	unsigned skipped = records_in(item, blocks), records = le16_get(item->records) - skipped;

	assert(blocks > 0 && blocks < le32_get(item->blocks) && extent_cuttable(item, blocks));
	memcpy(tail, item, sizeof(*tail));
	memcpy(tail->tags, item->tags[skipped], 16u * records);
	tail->blocks = le32_put(le32_get(item->blocks) - (uint32_t)blocks);
	tail->records = le16_put((uint16_t)records);
	if (item->kind != EXTENT_RESERVED)
		tail->address = le64_put(le64_get(item->address) + blocks);
	if (item->kind == EXTENT_DATA)
		tail->index = le32_put(le32_get(item->index) + skipped);
	if (item->kind == EXTENT_REST)
		tail->last_blocks = (uint8_t)(tail->last_blocks + blocks);
	return (unsigned)EXTENT_BYTES(records);
}

unsigned extent_rest(const struct extent_item *item, void *ret_value)
{
	struct extent_item *rest = ret_value;

	assert(item->kind == EXTENT_DATA);
	memcpy(rest, item, EXTENT_BYTES(1));
	rest->kind = EXTENT_REST;
	if (le16_get(item->records) == 1)
		rest->record_blocks = item->last_blocks;
	rest->records = le16_put(1);
	rest->blocks = le32_put(rest->record_blocks);
	rest->last_blocks = 0;
	return (unsigned)EXTENT_BYTES(1);
}

void extent_reserved(uint32_t blocks, struct extent_item *ret_item)
{
	*ret_item = (struct extent_item){ .kind = EXTENT_RESERVED, .blocks = le32_put(blocks) };
}
