/* The scrub as an item of the system tree says it (doc/format.md).  Pure; fuzzed. */
#ifndef FS_SCRUB_ITEM_H
#define FS_SCRUB_ITEM_H

#include "fs/format.h"
#include "fs/upkeep/scrub.h"

struct scrub_record {
	uint8_t state;                   /* enum scrub_state, not SCRUB_NONE */
	address position;                /* all rows before it were verified, and mended */
	uint64_t speed_bytes;
	struct scrub_result now, last;   /* last: all zero if none has gone through */
};

#define SCRUB_KEY ((struct key){ .object = OBJECT_SCRUB, .type = ITEM_SCRUB })

/* -EBADMSG for what makes no sense. */
int scrub_item_decode(const struct key *key, const void *value, unsigned bytes, struct scrub_record *ret_record);
/* The bytes it takes. */
unsigned scrub_item_encode(const struct scrub_record *record, uint8_t ret_bytes[SCRUB_ITEM_BYTES_MAX]);

#endif
