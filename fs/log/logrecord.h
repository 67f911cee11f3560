/* Log records as bytes: building the body, and reading it back.  Pure; struct log_header and the entries are in fs/format.h. */
#ifndef FS_LOGRECORD_H
#define FS_LOGRECORD_H

#include "fs/format.h"

#include <stddef.h>

/* Builds one record in a buffer.  When it does not fit, `full` is set and nothing more is added. */
struct log_writer {
	uint8_t *record;
	size_t room_bytes, used_bytes;
	uint32_t entries;
	bool full;
};

void log_begin(struct log_writer *writer, uint8_t *record, size_t room_bytes);
/* Adds an entry; returns where its `bytes` bytes go, or NULL when full.  For kinds without bytes use log_add_range. */
void *log_add(struct log_writer *writer, enum log_kind kind, const struct key *key, uint64_t count, unsigned bytes);
/* Pads with zeros, fills the body's head and the header but for nonce and tag. */
struct log_place { uint8_t mount[16], previous_tag[16]; uint64_t sequence, transaction, flushed; };
void log_end(struct log_writer *writer, const struct log_place *place, uint64_t next_object);

/* Could this be the header of a record, no longer than room_bytes? Nothing is authenticated by that. */
bool log_header_valid(const struct log_header *header, size_t room_bytes);

/* Does an opened record make sense to its end? */
bool log_record_valid(const uint8_t *record);

/* Reads an opened body. */
struct log_item {
	enum log_kind kind;
	struct key key;
	uint64_t count;
	const uint8_t *bytes;
	unsigned length_bytes;
};
struct log_reader {
	const uint8_t *body;
	size_t body_bytes, at_bytes;
	uint32_t left;                   /* entries */
	enum log_kind last;
	uint64_t next_object;
};
/* 0 or -EUCLEAN. */
int log_read_begin(const uint8_t *body, size_t body_bytes, struct log_reader *ret_reader);
/* 1: an entry; 0: there are no more, and only zeros follow; -EUCLEAN. */
int log_read_next(struct log_reader *reader, struct log_item *ret_item);

#endif
