/* Root records: the sealed body joined with raid/'s clear header. */
#include "fs/core.h"

#include <errno.h>
#include <string.h>

static uint8_t *body_of(uint8_t *record) { return record + ROOT_HEADER_BYTES; }
static uint8_t *tag_of(uint8_t *record) { return record + ROOT_BYTES - ROOT_TAG_BYTES; }

void root_seal_record(const struct keys *keys, const struct env *env, struct root_header *header,
	const struct root_body *body, uint8_t ret_record[ROOT_BYTES])
{
	memset(ret_record, 0, ROOT_BYTES);
	root_nonce(env, header->nonce);
	root_header_encode(header, ret_record);
	memcpy(body_of(ret_record), body, sizeof *body);
	root_seal(keys, header->nonce, ret_record, ROOT_HEADER_BYTES, body_of(ret_record), ROOT_BODY_BYTES, tag_of(ret_record));
}

int root_body_decode(const uint8_t bytes[ROOT_BODY_BYTES], struct root_body *ret_body)
{
	const struct root_body *body = (const struct root_body *)bytes;
	if (!bytes_are_zero(body->zero, sizeof body->zero) || !bytes_are_zero(bytes + sizeof *body, ROOT_BODY_BYTES - sizeof *body)
		|| body->file_level > NODE_LEVEL_MAX || body->system_level > NODE_LEVEL_MAX)
		return -EBADMSG;
	*ret_body = *body;
	return 0;
}

int root_body_open(const struct keys *keys, const uint8_t record[ROOT_BYTES], struct root_body *ret_body)
{
	uint8_t copy[ROOT_BYTES];
	struct root_header header;
	int r = root_header_decode(record, &header);
	if (r < 0)
		return r;
	memcpy(copy, record, ROOT_BYTES);
	r = root_open(keys, header.nonce, copy, ROOT_HEADER_BYTES, body_of(copy), ROOT_BODY_BYTES, tag_of(copy));
	if (r < 0)
		return r;
	return root_body_decode(body_of(copy), ret_body);
}
