/* Key slots: each wraps the master key under one secret.  A label carries them as SLOTS_BYTES opaque bytes.
 *
 * A wrap is XChaCha20-Poly1305 under the key that Argon2id (passphrase, key file) or BLAKE2b (a key file that our tool generated:
 * already 256 random bits) makes of the secret and the slot's salt.  The slot's own header and parameters, the array's UUID,
 * cipher and incompat bits are associated data: none can be changed.  A checksum over the slot tells damage from a wrong secret.
 * One slot is always kept spare, so that a secret can be changed by writing the new slot before the old is wiped.
 *
 * All functions work on bytes in memory; writing labels is for the caller. */
#ifndef CRYPTO_SLOT_H
#define CRYPTO_SLOT_H

#include "base/env.h"
#include "base/fail.h"
#include "base/le.h"
#include "base/uuid.h"
#include "crypto/cost.h"
#include "crypto/key.h"
#include "crypto/seal.h"

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SLOT_COUNT 16
#define SLOT_BYTES 512
#define SLOTS_BYTES (SLOT_COUNT * SLOT_BYTES)
#define SLOT_DESCRIPTION_BYTES 64    /* NUL-padded, at most 63 bytes of text */

/* Also the kind of a slot on the disk. */
enum secret_kind {
	SECRET_PASSPHRASE = 1,
	SECRET_KEY_FILE = 2,             /* a user's own file; `bytes` is what keyfile_read makes of it */
	SECRET_KEY_GENERATED = 3,        /* of a generated key file: exactly SECRET_GENERATED_BYTES random bytes */
};
#define SECRET_GENERATED_BYTES 32

/* What a user unlocks with.  Borrowed: the bytes are the caller's, best in the arena. */
struct secret {
	enum secret_kind kind;
	const uint8_t *bytes;
	size_t length_bytes;
};

/* What a slot belongs to. */
struct slot_binding {
	struct uuid uuid;
	enum cipher cipher;
	uint64_t incompat;
};

/* One slot on the disk.  An empty slot is all zeros. */
struct disk_slot {
	uint8_t state;                   /* 0 empty, 1 used */
	uint8_t kind;                    /* enum secret_kind */
	uint8_t zero[2];
	le32 passes;                     /* Argon2id; all three 0 for SECRET_KEY_GENERATED */
	le32 lanes;                      /* 1 */
	le64 memory_bytes;
	uint8_t salt[COST_SALT_BYTES];
	le64 created_ns;                 /* nanoseconds since 1970, for people */
	char description[SLOT_DESCRIPTION_BYTES];
	uint8_t nonce[24];
	uint8_t wrapped[KEY_BYTES];      /* from here on not associated data */
	uint8_t tag[SEAL_TAG_BYTES];
	uint8_t zero_more[324];
	le64 checksum;                   /* XXH3-64 over all before it */
};
static_assert(sizeof(struct disk_slot) == SLOT_BYTES, "disk_slot");
static_assert(offsetof(struct disk_slot, wrapped) == 132, "associated part of a slot");

enum slot_state { SLOT_EMPTY, SLOT_USED, SLOT_DAMAGED };

struct slot_info {
	enum slot_state state;           /* the rest is for SLOT_USED */
	enum secret_kind kind;
	struct slot_cost cost;           /* zero for SECRET_KEY_GENERATED */
	int64_t created_ns;
	char description[SLOT_DESCRIPTION_BYTES];   /* control characters shown as '?' */
};

/* "passphrase", "key file", "generated key file". */
const char *secret_kind_name(enum secret_kind kind);

/* How a new slot is made, where the usual way does not fit. */
struct slot_new {
	const struct secret *secret;
	const char *description;         /* at most 63 bytes; NULL: none */
	struct slot_cost cost;           /* zero: calibrated on this machine */
	bool take_spare;                 /* to change a secret: the caller wipes the old slot next */
};

/* Puts `master` into a free slot under `secret`.  For a passphrase or a user's key file it takes about 2 seconds.  An empty secret or a
 * long description: -EINVAL, FAIL_USAGE; only the spare left: -ENOSPC, FAIL_SLOT; no memory for Argon2id: -ENOMEM, FAIL_SYSTEM. */
int slot_add(uint8_t slots[SLOTS_BYTES], const struct master_key *master, const struct secret *secret,
	const struct slot_binding *binding, const struct env *env, const char *description, struct fail *fail);
/* The same with everything said; tells which slot it is (ret_slot may be NULL). */
int slot_make(uint8_t slots[SLOTS_BYTES], const struct master_key *master, const struct slot_new *new_slot,
	const struct slot_binding *binding, const struct env *env, int *ret_slot, struct fail *fail);

/* Tries the secret on every used slot of its kind.  Otherwise:
 *   -EKEYREJECTED, FAIL_KEY: it opens none of them, or there is none of its kind; the text does not call it wrong if a slot that it
 *   may be for is damaged;
 *   -EBADMSG, FAIL_SLOT: all that it could open are damaged;  -ENOKEY, FAIL_SLOT: no slot is in use;
 *   -ENOMEM, FAIL_SLOT: there is not the memory to try one (and none of those that were tried fits). */
int slots_unlock(const uint8_t slots[SLOTS_BYTES], const struct secret *secret, const struct slot_binding *binding,
	struct master_key *ret_master, int *ret_slot, struct fail *fail);

/* Number of slots in use and not damaged. */
int slots_count(const uint8_t slots[SLOTS_BYTES]);
bool slot_used(const uint8_t slots[SLOTS_BYTES], int slot);
void slot_describe(const uint8_t slots[SLOTS_BYTES], int slot, struct slot_info *ret_info);
/* Empties a slot.  That some slot stays to unlock with is for the caller to see to. */
void slot_wipe(uint8_t slots[SLOTS_BYTES], int slot);

#endif
