/* The label: what each member carries about itself in the clear.  A pure codec.
 *
 * On the disk a label is LABEL_BYTES.  Its common part is the same on all members; the member's own
 * part is its UUID (its three copies are equal, byte for byte).  An XXH3-64 checksum over all tells damage; the MAC
 * (made and checked by whoever holds the key, over label_mac_region) tells a label that the array's
 * owner wrote.  A label whose MAC is all zero was made without a key (keyless rebuild) and is never a
 * source for others. */
#ifndef RAID_LABEL_H
#define RAID_LABEL_H

#include "base/fail.h"
#include "base/uuid.h"
#include "raid/layout.h"

#include <stddef.h>

#define FORMAT_VERSION 1u
#define LABEL_NAME_BYTES 64u         /* UTF-8, NUL-padded, at most 63 bytes of text */
#define LABEL_SLOTS_BYTES 8192u      /* key slots, opaque here */
#define LABEL_MAC_BYTES 32u
#define LABEL_HASH_BYTES 16u

/* Feature bits, one name each.  Unknown incompat: not mounted; unknown ro_compat: not mounted
 * read-write; unknown compat: ignored. */
#define FEATURE_COMPAT_KNOWN UINT64_C(0)
#define FEATURE_RO_COMPAT_KNOWN UINT64_C(0)
#define FEATURE_INCOMPAT_KNOWN UINT64_C(0)

struct label {
	uint32_t format_version;
	uint64_t compat, ro_compat, incompat;
	struct uuid array;
	char name[LABEL_NAME_BYTES];
	uint8_t cipher;
	uint64_t sequence;               /* of the label; grows with each change of the common part */
	struct geometry geometry;
	uint8_t slots[LABEL_SLOTS_BYTES];
	struct uuid member;              /* the member's own part */
	uint8_t mac[LABEL_MAC_BYTES];
};

/* May a label carry this name?  Well-formed UTF-8 without control characters, at most 63 bytes, then NULs.
 * A name from a user goes through this before label_encode. */
bool label_name_valid(const char name[LABEL_NAME_BYTES]);

/* Encodes `label` with its mac as given. */
void label_encode(const struct label *label, uint8_t ret_bytes[LABEL_BYTES]);
/* 0; -ENOENT: no magic (not a member); -EBADMSG: magic but damaged; -EPROTONOSUPPORT: another format
 * version (only format_version, array, member and name are then filled).  Whether the geometry fits the
 * member that the label was read from is for the caller to ask of geometry_valid. */
int label_decode(const uint8_t bytes[LABEL_BYTES], struct label *ret_label);
/* The bytes that the MAC covers (the common part), inside an encoded label. */
const uint8_t *label_mac_region(const uint8_t bytes[LABEL_BYTES], size_t *ret_length_bytes);
/* XXH3-128 of the common part: what a root names. */
void label_hash(const uint8_t bytes[LABEL_BYTES], uint8_t ret_hash[LABEL_HASH_BYTES]);

/* 0, or -EPROTONOSUPPORT with a text that names version or feature bits. */
int label_check_features(const struct label *label, bool read_write, const char *member_name, struct fail *fail);

#endif
