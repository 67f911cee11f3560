/* Reading the intent log back: from the position that a root names, record after record, each from whichever member has it.
 *
 * Only a record with the right mount, sequence and predecessor's tag, which opens under the log's key, is taken; all else is an
 * older record or a torn one, and ends the log.  It ends in damage when a later record, no further away than one record is
 * long, was written when the missing one was known to be durable; and when so many rings cannot be read that a record on both
 * its mirrors may be among what they hold. */
#include "fs/log/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define WINDOW_FIRST_BYTES (64u << 10)
#define WINDOW_BYTES_MAX (2u << 20)

int log_chain_begin(struct fs *fs, const struct root_body *body, struct log_chain *ret_chain)
{
	struct log_chain c = { .fs = fs, .at_bytes = le64_get(body->log_offset_bytes), .window_room_bytes = WINDOW_FIRST_BYTES };
	memcpy(c.next.mount, body->log_mount, sizeof c.next.mount);
	memcpy(c.next.tag, body->log_tag, sizeof c.next.tag);
	c.next.sequence = le64_get(body->log_sequence);
	c.record = malloc(LOG_RECORD_BYTES_MAX);
	c.window = malloc(WINDOW_BYTES_MAX);
	if (!c.record || !c.window) {
		log_chain_end(&c);
		return -ENOMEM;
	}
	*ret_chain = c;
	return 0;
}

void log_chain_end(struct log_chain *c)
{
	free(c->record);
	free(c->window);
	c->record = c->window = NULL;
}

/* Makes sure that the window holds [at, at + bytes) of the member's ring, as far as that reaches. Returns the bytes there, or NULL. */
static const uint8_t *see(struct log_chain *c, unsigned member, uint64_t at_bytes, size_t bytes)
{
	uint64_t ring_bytes = array_log_bytes(c->fs->array);
	if (at_bytes % BLOCK_BYTES || at_bytes > ring_bytes || bytes > ring_bytes - at_bytes)
		return NULL;
	if (c->window_bytes && c->member == member && at_bytes >= c->window_at_bytes
		&& at_bytes + bytes <= c->window_at_bytes + c->window_bytes)
		return c->window + (at_bytes - c->window_at_bytes);
	size_t want = bytes > c->window_room_bytes ? bytes : c->window_room_bytes;
	want = want < ring_bytes - at_bytes ? want : (size_t)(ring_bytes - at_bytes);
	c->window_bytes = 0;
	int r = array_log_read(c->fs->array, member, at_bytes, c->window, want);
	if (r == -EIO && want > bytes) {
		/* What cannot be read may lie behind what is asked for. */
		want = bytes;
		r = array_log_read(c->fs->array, member, at_bytes, c->window, want);
	}
	c->short_of_memory |= r == -ENOMEM;
	if (r < 0)
		return NULL;
	c->member = member;
	c->window_at_bytes = at_bytes;
	c->window_bytes = want;
	return c->window;
}

/* The record at that place, if it opens. */
static bool open_at(struct log_chain *c, unsigned member, uint64_t at_bytes, const struct log_header *like)
{
	uint32_t bytes = le32_get(like->length_bytes);
	const uint8_t *sealed = see(c, member, at_bytes, bytes);
	if (!sealed)
		return false;
	memcpy(c->record, sealed, bytes);
	const struct log_header *header = (const struct log_header *)c->record;
	return log_open(c->fs->keys, header->nonce, header, LOG_AD_BYTES, c->record + sizeof *header, bytes - sizeof *header,
		header->tag) == 0;
}

static bool header_at(struct log_chain *c, unsigned member, uint64_t at_bytes, struct log_header *ret_header)
{
	uint64_t ring_bytes = array_log_bytes(c->fs->array);
	const uint8_t *block = see(c, member, at_bytes, BLOCK_BYTES);
	if (!block)
		return false;
	memcpy(ret_header, block, sizeof *ret_header);
	return log_header_valid(ret_header, (size_t)(ring_bytes - at_bytes))
		&& !memcmp(ret_header->mount, c->next.mount, sizeof ret_header->mount);
}

static bool find_on(struct log_chain *c, unsigned member)
{
	struct log_header header;
	return header_at(c, member, c->at_bytes, &header) && le64_get(header.sequence) == c->next.sequence
		&& !memcmp(header.previous_tag, c->next.tag, sizeof header.previous_tag) && open_at(c, member, c->at_bytes, &header);
}

/* Does a record further on say that the one looked for was durable? */
static bool missed_on(struct log_chain *c, unsigned member)
{
	uint64_t ring_bytes = array_log_bytes(c->fs->array);
	struct log_header header;
	for (uint64_t at = c->at_bytes; at < c->at_bytes + LOG_RECORD_BYTES_MAX + BLOCK_BYTES && at < ring_bytes; at += BLOCK_BYTES)
		if (header_at(c, member, at, &header) && le64_get(header.sequence) > c->next.sequence
			&& le64_get(header.flushed) >= c->next.sequence && open_at(c, member, at, &header))
			return true;
	return false;
}

/* Can all be read that the member may have of the record looked for? */
static bool readable(struct log_chain *c, unsigned member)
{
	struct log_header header;
	if (!see(c, member, c->at_bytes, BLOCK_BYTES))
		return false;
	if (!header_at(c, member, c->at_bytes, &header) || le64_get(header.sequence) != c->next.sequence)
		return true;
	return see(c, member, c->at_bytes, le32_get(header.length_bytes));
}

/* Members that could have been mirrors of the record looked for (spares cannot), and where it cannot be read.  What was made again without a key
 * since then can be read, and has lost it all the same. */
static unsigned unreadable(struct log_chain *c)
{
	const struct root_header *root = array_root_header(c->fs->array);
	uint32_t needed = config_needed(c->fs->config);
	unsigned count = 0;
	if (c->at_bytes >= array_log_bytes(c->fs->array))
		return 0;
	for (unsigned i = 0; i < array_member_count(c->fs->array); i++)
		count += (needed >> i & 1) && root->members[i].state == MEMBER_IN_SYNC
			&& ((array_keyless(c->fs->array) >> i & 1) || !readable(c, i));
	return count;
}

int log_chain_next(struct log_chain *c)
{
	unsigned count = array_member_count(c->fs->array), first = c->member;
	for (unsigned i = 0; i < count; i++) {
		if (!find_on(c, (first + i) % count))
			continue;
		c->short_of_memory = false;
		const struct log_header *header = (const struct log_header *)c->record;
		c->next.sequence++;
		memcpy(c->next.tag, header->tag, sizeof c->next.tag);
		c->at_bytes += le32_get(header->length_bytes);
		if (c->window_room_bytes < WINDOW_BYTES_MAX)
			c->window_room_bytes *= 2;
		return 1;
	}
	c->window_room_bytes = WINDOW_BYTES_MAX;
	c->damaged = unreadable(c) >= LOG_MIRRORS;
	for (unsigned i = 0; i < count && !c->damaged; i++)
		c->damaged = missed_on(c, i);
	return c->short_of_memory ? -ENOMEM : 0;
}

/* The sequence of the member's first genuine record behind the one looked for, or UINT64_MAX. */
static uint64_t later_on(struct log_chain *c, unsigned member, uint64_t *ret_at_bytes)
{
	uint64_t ring_bytes = array_log_bytes(c->fs->array);
	struct log_header header;
	for (uint64_t at = c->at_bytes; at < ring_bytes; at += BLOCK_BYTES)
		if (header_at(c, member, at, &header) && le64_get(header.sequence) > c->next.sequence && open_at(c, member, at, &header)) {
			*ret_at_bytes = at;
			return le64_get(header.sequence);
		}
	return UINT64_MAX;
}

int log_chain_skip(struct log_chain *c)
{
	uint64_t first = UINT64_MAX, at_bytes = 0, at;
	unsigned member = 0;
	c->window_room_bytes = WINDOW_FIRST_BYTES;       /* a bad sector is met again with each window that has it */
	for (unsigned i = 0; i < array_member_count(c->fs->array); i++) {
		uint64_t sequence = later_on(c, i, &at);
		if (sequence >= first)
			continue;
		first = sequence;
		at_bytes = at;
		member = i;
	}
	struct log_header header;
	if (first == UINT64_MAX || !header_at(c, member, at_bytes, &header) || !open_at(c, member, at_bytes, &header))
		return 0;
	c->next.sequence = first + 1;
	memcpy(c->next.tag, header.tag, sizeof c->next.tag);
	c->at_bytes = at_bytes + le32_get(header.length_bytes);
	return 1;
}
