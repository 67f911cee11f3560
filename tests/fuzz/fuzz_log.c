/* Records of the intent log, opened: entries lie inside and in order, and written again they are the same bytes. */
#include "fs/data/extent.h"
#include "fs/log/logrecord.h"
#include "tests/fuzz/fuzz.h"

#include <errno.h>
#include <stdlib.h>

#define BODY_AT sizeof(struct log_header)

static void check_item(const struct log_item *item, const uint8_t *record, size_t size)
{
	MUST(item->bytes >= record + BODY_AT + sizeof(struct log_body) + sizeof(struct log_entry));
	MUST(item->bytes <= record + size && item->length_bytes <= (size_t)(record + size - item->bytes));
	MUST(item->kind >= LOG_CUT && item->kind <= LOG_DATA && item->key.version == 0);
	switch (item->kind) {
	case LOG_CUT:
	case LOG_RESERVE:
	case LOG_DATA:
		MUST(item->key.type == ITEM_EXTENT && item->count > 0 && item->key.offset + item->count <= FILE_BLOCKS_MAX);
		MUST(item->length_bytes == (item->kind == LOG_DATA ? item->count * BLOCK_BYTES : 0));
		break;
	default:
		MUST(item->key.type != ITEM_EXTENT && item->key.type <= ITEM_ORPHAN && item->count == 0 && item->length_bytes <= ITEM_VALUE_MAX);
	}
}

/* Reads all entries: the same record is written to `again` meanwhile.  0, or what reading said. */
static int read_all(const uint8_t *record, size_t size, struct log_writer *again, uint64_t *ret_next_object)
{
	struct log_reader reader;
	struct log_item item;
	enum log_kind before = LOG_CUT;

	int r = log_read_begin(record + BODY_AT, size - BODY_AT, &reader);
	if (r < 0)
		return r;
	while ((r = log_read_next(&reader, &item)) == 1) {
		check_item(&item, record, size);
		MUST(item.kind >= before);
		before = item.kind;
		void *bytes = log_add(again, item.kind, &item.key, item.count, item.length_bytes);
		MUST(bytes);
		if (item.length_bytes)
			memcpy(bytes, item.bytes, item.length_bytes);
	}
	*ret_next_object = reader.next_object;
	return r;
}

/* A record may be longer than its entries need; written again it is not. */
static void check_again(const uint8_t *record, struct log_writer *again, uint64_t next_object)
{
	const struct log_header *header = (const struct log_header *)record;
	struct log_place place = { .sequence = le64_get(header->sequence), .transaction = le64_get(header->transaction),
		.flushed = le64_get(header->flushed) };

	memcpy(place.mount, header->mount, sizeof place.mount);
	memcpy(place.previous_tag, header->previous_tag, sizeof place.previous_tag);
	log_end(again, &place, next_object);
	struct log_header *head_again = (struct log_header *)again->record;
	MUST(log_header_valid(head_again, again->used_bytes));
	MUST(le32_get(head_again->length_bytes) == again->used_bytes && again->used_bytes <= le32_get(header->length_bytes));
	head_again->length_bytes = header->length_bytes;
	memcpy(head_again->nonce, header->nonce, sizeof head_again->nonce);
	memcpy(head_again->tag, header->tag, sizeof head_again->tag);
	MUST(!memcmp(record, again->record, again->used_bytes));
}

/* Memory of the length that the header says, so that a sanitizer sees what is read beyond it. */
static size_t room_for(const uint8_t *data, size_t size)
{
	struct log_header header;

	fuzz_take(data, size, &header, sizeof header);
	uint32_t length = le32_get(header.length_bytes);
	return length >= BLOCK_BYTES && length <= LOG_RECORD_BYTES_MAX ? length : BLOCK_BYTES;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t room = room_for(data, size);
	uint8_t *record = malloc(room), *copy = malloc(room);
	const struct log_header *header = (const struct log_header *)record;
	struct log_writer again;
	uint64_t next_object;

	MUST(record && copy);
	fuzz_take(data, size, record, room);
	if (log_header_valid(header, room)) {
		MUST(le32_get(header->length_bytes) == room && room % BLOCK_BYTES == 0 && !log_header_valid(header, room - 1));
		log_begin(&again, copy, room);
		int r = read_all(record, room, &again, &next_object);
		MUST(r == 0 || r == -EUCLEAN);
		if (r == 0) {
			fuzz_accept();
			check_again(record, &again, next_object);
		}
	}
	free(record);
	free(copy);
	return 0;
}
