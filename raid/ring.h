/* Root records and promises as they lie in a member's root ring and promise slots.  A pure codec of
 * the clear header; the sealed body is opaque here (fs/root.* seals and opens it).
 *
 * A root record is ROOT_BYTES: header [0, ROOT_HEADER_BYTES), sealed body, and the tag in the last 16
 * bytes, which authenticates both.  The header also ends in an XXH3-64 checksum for keyless tools. */
#ifndef RAID_RING_H
#define RAID_RING_H

#include "base/uuid.h"
#include "raid/config.h"
#include "raid/label.h"
#include "raid/layout.h"

#define ROOT_BYTES 4096u
#define ROOT_HEADER_BYTES 2560u
#define ROOT_TAG_BYTES 16u
#define ROOT_BODY_BYTES (ROOT_BYTES - ROOT_HEADER_BYTES - ROOT_TAG_BYTES)
#define ROOT_NONCE_BYTES 24u
#define PROMISE_BYTES 4096u
#define PROMISE_SLOTS 2u

struct mount_id { uint8_t b[16]; };

enum member_state {
	MEMBER_ABSENT = 0,       /* not in this configuration */
	MEMBER_IN_SYNC = 1,
	MEMBER_FILLING = 2,      /* takes new writes, its gap is being filled; not yet in sync */
	MEMBER_OUT = 3,
};

/* The generations that a member missed: its unit of a row is stale iff from < written ≤ to and the
 * row's address ≥ position.  GAP_OPEN as `to`: it is still missing. */
#define GAP_OPEN UINT64_MAX
struct gap {
	bool present;
	uint64_t from, to;
	address position;
};

struct root_member {
	uint8_t state;           /* enum member_state */
	struct gap gap;
};

struct root_header {
	struct uuid array;
	uint64_t term;
	struct mount_id mount;
	uint64_t generation;             /* of this root */
	uint64_t predecessor;            /* generation of the root before it */
	uint64_t tree;                   /* the generation that made this tree … */
	uint64_t tree_before;            /* … and the one before */
	uint64_t config_version;
	uint8_t config_hash[CONFIG_HASH_BYTES];
	uint64_t label_sequence;
	uint8_t label_hash[LABEL_HASH_BYTES];
	struct root_member members[MEMBERS_MAX];
	bool job_running;                /* column jobs */
	uint64_t job_position;           /* live rows below it are on their targets */
	uint8_t nonce[ROOT_NONCE_BYTES]; /* of the sealed body */
};

/* Fills the header of a record; the rest of the record is left alone. */
void root_header_encode(const struct root_header *header, uint8_t record[ROOT_BYTES]);
/* 0, -ENOENT (no magic) or -EBADMSG (checksum or a field out of range). Not authenticated by this. */
int root_header_decode(const uint8_t record[ROOT_BYTES], struct root_header *ret_header);

/* The promise of a term (Raft's vote): its MAC is made over promise_mac_region by who holds the key. */
struct promise {
	struct uuid array;
	uint64_t term;
	struct mount_id mount;
	uint8_t mac[LABEL_MAC_BYTES];
};
void promise_encode(const struct promise *promise, uint8_t ret_bytes[PROMISE_BYTES]);
int promise_decode(const uint8_t bytes[PROMISE_BYTES], struct promise *ret_promise);
const uint8_t *promise_mac_region(const uint8_t bytes[PROMISE_BYTES], size_t *ret_length_bytes);

#endif
