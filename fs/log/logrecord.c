#include "fs/data/extent.h"
#include "fs/log/logrecord.h"
#include "fs/tree/node.h"

#include <errno.h>
#include <string.h>

void log_begin(struct log_writer *writer, uint8_t *record, size_t room_bytes)
{
	*writer = (struct log_writer){ .record = record, .room_bytes = room_bytes,
		.used_bytes = sizeof(struct log_header) + sizeof(struct log_body) };
	assert(room_bytes >= BLOCK_BYTES);
}

void *log_add(struct log_writer *writer, enum log_kind kind, const struct key *key, uint64_t count, unsigned bytes)
{
	size_t need = sizeof(struct log_entry) + bytes;
	if (writer->full || need > writer->room_bytes - writer->used_bytes) {
		writer->full = true;
		return NULL;
	}
	struct log_entry *entry = (struct log_entry *)(writer->record + writer->used_bytes);
	*entry = (struct log_entry){ .kind = (uint8_t)kind, .bytes = le32_put(bytes), .key = key_to_disk(key), .count = le64_put(count) };
	writer->used_bytes += need;
	writer->entries++;
	return entry + 1;
}

void log_end(struct log_writer *writer, const struct log_place *place, uint64_t next_object)
{
	size_t bytes = (writer->used_bytes + BLOCK_BYTES - 1) / BLOCK_BYTES * BLOCK_BYTES;
	struct log_header *header = (struct log_header *)writer->record;
	assert(!writer->full && bytes <= writer->room_bytes);
	memset(writer->record + writer->used_bytes, 0, bytes - writer->used_bytes);
	writer->used_bytes = bytes;
	*(struct log_body *)(header + 1) = (struct log_body){ .next_object = le64_put(next_object), .entries = le32_put(writer->entries) };
	*header = (struct log_header){ .magic = le32_put(LOG_MAGIC), .length_bytes = le32_put((uint32_t)bytes),
		.sequence = le64_put(place->sequence), .transaction = le64_put(place->transaction), .flushed = le64_put(place->flushed) };
	memcpy(header->mount, place->mount, sizeof header->mount);
	memcpy(header->previous_tag, place->previous_tag, sizeof header->previous_tag);
}

bool log_header_valid(const struct log_header *header, size_t room_bytes)
{
	uint32_t bytes = le32_get(header->length_bytes);
	return le32_get(header->magic) == LOG_MAGIC && bytes >= BLOCK_BYTES && bytes <= LOG_RECORD_BYTES_MAX && bytes % BLOCK_BYTES == 0
		&& bytes <= room_bytes && le64_get(header->sequence) != 0 && bytes_are_zero(header->zero, sizeof header->zero);
}

int log_read_begin(const uint8_t *body, size_t body_bytes, struct log_reader *ret_reader)
{
	const struct log_body *head = (const struct log_body *)body;
	if (body_bytes < sizeof *head || !bytes_are_zero(head->zero, sizeof head->zero))
		return -EUCLEAN;
	*ret_reader = (struct log_reader){ .body = body, .body_bytes = body_bytes, .at_bytes = sizeof *head,
		.left = le32_get(head->entries), .last = LOG_CUT, .next_object = le64_get(head->next_object) };
	return 0;
}

static bool item_fits(const struct log_item *item)
{
	switch (item->key.type) {
	case ITEM_INODE:
		return item->key.offset == 0 && item->length_bytes == sizeof(struct inode_item);
	case ITEM_INLINE:
		return item->key.offset == 0 && item->length_bytes > 0 && item->length_bytes <= INLINE_MAX;
	case ITEM_LINK:
	case ITEM_XATTR:
	case ITEM_DIRENT:
		return item->length_bytes <= ITEM_VALUE_MAX;
	case ITEM_ORPHAN:
		return item->key.object == OBJECT_ORPHANS && item->length_bytes == 0;
	default:
		return false;
	}
}

static bool type_known(uint8_t type) { return type >= ITEM_INODE && type <= ITEM_ORPHAN && type != ITEM_EXTENT; }

static bool range_fits(const struct log_item *item)
{
	return item->key.type == ITEM_EXTENT && item->key.object >= OBJECT_ROOT && item->count > 0 && item->key.offset <= FILE_BLOCKS_MAX
		&& item->count <= FILE_BLOCKS_MAX - item->key.offset;
}

static bool entry_fits(const struct log_item *item)
{
	if (item->key.version || item->kind < LOG_CUT)
		return false;
	switch (item->kind) {
	case LOG_CUT:
	case LOG_RESERVE:
		return range_fits(item) && item->length_bytes == 0;
	case LOG_DELETE:
		return type_known(item->key.type) && item->count == 0 && item->length_bytes == 0;
	case LOG_ITEM:
		return item->count == 0 && item_fits(item);
	case LOG_DATA:
		return range_fits(item) && item->length_bytes % BLOCK_BYTES == 0 && item->count == item->length_bytes / BLOCK_BYTES;
	}
	return false;
}

int log_read_next(struct log_reader *reader, struct log_item *ret_item)
{
	const uint8_t *at = reader->body + reader->at_bytes;
	size_t room = reader->body_bytes - reader->at_bytes;
	const struct log_entry *entry = (const struct log_entry *)at;
	if (reader->left == 0)
		return bytes_are_zero(at, room) ? 0 : -EUCLEAN;
	if (room < sizeof *entry || le32_get(entry->bytes) > room - sizeof *entry || !bytes_are_zero(entry->zero, sizeof entry->zero))
		return -EUCLEAN;
	struct log_item item = { .kind = entry->kind, .key = key_from_disk(&entry->key), .count = le64_get(entry->count), .bytes = at + sizeof *entry,
		.length_bytes = le32_get(entry->bytes) };
	if (!bytes_are_zero(entry->key.zero, sizeof entry->key.zero) || entry->kind < (uint8_t)reader->last || !entry_fits(&item))
		return -EUCLEAN;
	reader->last = item.kind;
	reader->at_bytes += sizeof *entry + item.length_bytes;
	reader->left--;
	*ret_item = item;
	return 1;
}

bool log_record_valid(const uint8_t *record)
{
	const struct log_header *header = (const struct log_header *)record;
	struct log_reader reader;
	struct log_item entry;
	int more = log_read_begin(record + sizeof *header, le32_get(header->length_bytes) - sizeof *header, &reader) < 0 ? -EUCLEAN : 1;
	while (more == 1)
		more = log_read_next(&reader, &entry);
	return more == 0;
}
