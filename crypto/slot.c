/* Key slots: making, trying, telling what is wrong.  See slot.h for the construction. */
#include "crypto/slot.h"

#include "base/bytes.h"

#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

/* Associated data of a wrap. */
struct wrap_ad {
	char context[24];                /* "raid5cryptfs v1 slot", zero-padded */
	uint8_t slot[offsetof(struct disk_slot, wrapped)];
	uint8_t array[16];
	le32 cipher;
	le64 incompat;
};
static_assert(sizeof(struct wrap_ad) == 184, "wrap_ad");

static const char wrap_context[24] = "raid5cryptfs v1 slot";

static uint8_t *slot_at(uint8_t *slots, int slot)
{
	assert(slot >= 0 && slot < SLOT_COUNT);
	return slots + (size_t)slot * SLOT_BYTES;
}

const char *secret_kind_name(enum secret_kind kind)
{
	switch (kind) {
	case SECRET_PASSPHRASE: return "passphrase";
	case SECRET_KEY_FILE: return "key file";
	case SECRET_KEY_GENERATED: return "generated key file";
	}
	return NULL;
}

static uint64_t slot_checksum(const struct disk_slot *slot)
{
	return XXH3_64bits(slot, offsetof(struct disk_slot, checksum));
}

static struct slot_cost slot_cost(const struct disk_slot *slot)
{
	return (struct slot_cost){ .passes = le32_get(slot->passes), .memory_bytes = le64_get(slot->memory_bytes) };
}

static bool slot_valid(const struct disk_slot *slot)
{
	struct slot_cost cost = slot_cost(slot);

	if (slot->state != 1 || le64_get(slot->checksum) != slot_checksum(slot))
		return false;
	if (!bytes_are_zero(slot->zero, sizeof slot->zero) || !bytes_are_zero(slot->zero_more, sizeof slot->zero_more))
		return false;
	if (slot->description[SLOT_DESCRIPTION_BYTES - 1])
		return false;
	switch (slot->kind) {
	case SECRET_PASSPHRASE:
	case SECRET_KEY_FILE:
		return cost_valid(&cost) && le32_get(slot->lanes) == 1;
	case SECRET_KEY_GENERATED:
		return !cost.passes && !cost.memory_bytes && !le32_get(slot->lanes);
	}
	return false;
}

/* Copies slot number `slot` and tells what it is. */
static enum slot_state slot_read(const uint8_t *slots, int slot, struct disk_slot *ret_slot)
{
	assert(slot >= 0 && slot < SLOT_COUNT);
	memcpy(ret_slot, slots + (size_t)slot * SLOT_BYTES, sizeof *ret_slot);
	if (bytes_are_zero(ret_slot, sizeof *ret_slot))
		return SLOT_EMPTY;
	return slot_valid(ret_slot) ? SLOT_USED : SLOT_DAMAGED;
}

static void wrap_ad_fill(const struct disk_slot *slot, const struct slot_binding *binding, struct wrap_ad *ret_ad)
{
	memcpy(ret_ad->context, wrap_context, sizeof ret_ad->context);
	memcpy(ret_ad->slot, slot, sizeof ret_ad->slot);
	memcpy(ret_ad->array, binding->uuid.b, sizeof ret_ad->array);
	ret_ad->cipher = le32_put((uint32_t)binding->cipher);
	ret_ad->incompat = le64_put(binding->incompat);
}

/* The key that wraps the master key in this slot: 0 or -ENOMEM. */
static int wrap_key(const struct disk_slot *slot, const struct secret *secret, const struct slot_binding *binding,
	uint8_t ret_key[KEY_BYTES])
{
	struct {
		char context[24];
		uint8_t salt[COST_SALT_BYTES];
		uint8_t array[16];
	} message;

	if (secret->kind != SECRET_KEY_GENERATED) {
		struct slot_cost cost = slot_cost(slot);
		return cost_derive(&cost, slot->salt, secret->bytes, secret->length_bytes, ret_key);
	}
	memcpy(message.context, wrap_context, sizeof message.context);
	memcpy(message.salt, slot->salt, sizeof message.salt);
	memcpy(message.array, binding->uuid.b, sizeof message.array);
	int err = crypto_generichash(ret_key, KEY_BYTES, (const uint8_t *)&message, sizeof message,
		secret->bytes, secret->length_bytes);
	assert(!err);
	return 0;
}

/* ---- Making ---- */

static int secret_check(const struct secret *secret, struct fail *fail)
{
	assert(secret_kind_name(secret->kind));
	assert(secret->kind != SECRET_KEY_GENERATED || secret->length_bytes == SECRET_GENERATED_BYTES);
	if (!secret->length_bytes)
		return fail_set(fail, EINVAL, FAIL_USAGE, "an empty %s protects nothing: give one that is not empty",
			secret_kind_name(secret->kind));
	return 0;
}

static int slot_find_free(const uint8_t *slots, bool take_spare, int *ret_slot, struct fail *fail)
{
	struct disk_slot slot;
	int first = -1, empty = 0;

	for (int i = 0; i < SLOT_COUNT; i++) {
		if (slot_read(slots, i, &slot) != SLOT_EMPTY)
			continue;
		if (!empty++)
			first = i;
	}
	if (empty < (take_spare ? 1 : 2))
		return fail_set(fail, ENOSPC, FAIL_SLOT, "no key slot is free: %d of %d are taken%s; remove one first",
			SLOT_COUNT - empty, SLOT_COUNT, empty ? ", and the last is kept spare for changing a key" : "");
	*ret_slot = first;
	return 0;
}

static int new_cost(const struct slot_new *new_slot, struct slot_cost *ret_cost, struct fail *fail)
{
	struct slot_cost cost = new_slot->cost;

	if (new_slot->secret->kind == SECRET_KEY_GENERATED)
		cost = (struct slot_cost){ 0 };
	else if (!cost.passes && cost_calibrate(&cost))
		return fail_set(fail, ENOMEM, FAIL_SYSTEM, "not enough memory to make a key slot: Argon2id needs at least %llu MiB; "
			"close other programs and try again", (unsigned long long)(COST_NEW_MEMORY_BYTES_MIN >> 20));
	assert(new_slot->secret->kind == SECRET_KEY_GENERATED || cost_valid(&cost));
	*ret_cost = cost;
	return 0;
}

static int slot_wrap(struct disk_slot *slot, const struct master_key *master, const struct secret *secret,
	const struct slot_binding *binding, struct fail *fail)
{
	struct wrap_ad ad;
	uint8_t *key = key_alloc(KEY_BYTES);
	int err = key ? wrap_key(slot, secret, binding, key) : -ENOMEM;

	if (!err) {
		wrap_ad_fill(slot, binding, &ad);
		err = crypto_aead_xchacha20poly1305_ietf_encrypt_detached(slot->wrapped, slot->tag, NULL, master->b, sizeof master->b,
			(const uint8_t *)&ad, sizeof ad, NULL, slot->nonce, key);
		assert(!err);
		slot->checksum = le64_put(slot_checksum(slot));
	}
	key_free(key);
	if (err)
		return fail_set(fail, ENOMEM, FAIL_SYSTEM, "not enough memory to make a key slot: Argon2id needs %llu MiB; "
			"close other programs and try again", (unsigned long long)(le64_get(slot->memory_bytes) >> 20));
	return 0;
}

int slot_make(uint8_t slots[SLOTS_BYTES], const struct master_key *master, const struct slot_new *new_slot,
	const struct slot_binding *binding, const struct env *env, int *ret_slot, struct fail *fail)
{
	const char *description = new_slot->description ? new_slot->description : "";
	struct disk_slot slot = { .state = 1, .kind = (uint8_t)new_slot->secret->kind };
	struct slot_cost cost = { 0 };
	int index = -1;

	int err = secret_check(new_slot->secret, fail);
	if (err)
		return err;
	if (strlen(description) >= SLOT_DESCRIPTION_BYTES)
		return fail_set(fail, EINVAL, FAIL_USAGE, "the description of a key slot is too long: %zu bytes, at most %d fit",
			strlen(description), SLOT_DESCRIPTION_BYTES - 1);
	err = slot_find_free(slots, new_slot->take_spare, &index, fail);
	if (!err)
		err = new_cost(new_slot, &cost, fail);
	if (err)
		return err;

	slot.passes = le32_put(cost.passes);
	slot.lanes = le32_put(cost.passes ? 1 : 0);
	slot.memory_bytes = le64_put(cost.memory_bytes);
	slot.created_ns = le64_put((uint64_t)env_now_ns(env));
	memcpy(slot.description, description, strlen(description));
	env_random(env, slot.salt, sizeof slot.salt);
	nonce_draw(env, slot.nonce, sizeof slot.nonce);
	err = slot_wrap(&slot, master, new_slot->secret, binding, fail);
	if (err)
		return err;
	assert(slot_valid(&slot));
	memcpy(slot_at(slots, index), &slot, sizeof slot);
	if (ret_slot)
		*ret_slot = index;
	return 0;
}

int slot_add(uint8_t slots[SLOTS_BYTES], const struct master_key *master, const struct secret *secret,
	const struct slot_binding *binding, const struct env *env, const char *description, struct fail *fail)
{
	const struct slot_new new_slot = { .secret = secret, .description = description };

	return slot_make(slots, master, &new_slot, binding, env, NULL, fail);
}

/* ---- Unlocking ---- */

/* 0, -EKEYREJECTED or -ENOMEM. */
static int slot_try(const struct disk_slot *slot, const struct secret *secret, const struct slot_binding *binding,
	struct master_key *ret_master)
{
	struct wrap_ad ad;
	struct { uint8_t key[KEY_BYTES]; struct master_key master; } *work = key_alloc(sizeof *work);
	int err = work ? wrap_key(slot, secret, binding, work->key) : -ENOMEM;

	if (!err) {
		wrap_ad_fill(slot, binding, &ad);
		err = crypto_aead_xchacha20poly1305_ietf_decrypt_detached(work->master.b, NULL, slot->wrapped, sizeof slot->wrapped,
			slot->tag, (const uint8_t *)&ad, sizeof ad, slot->nonce, work->key) ? -EKEYREJECTED : 0;
	}
	if (!err)
		*ret_master = work->master;
	key_free(work);
	return err;
}

/* What slots_unlock met. */
struct unlock_tally {
	int used, damaged;               /* of all kinds */
	int tried;                       /* of the secret's kind, and refused it */
	int starved;                     /* of the secret's kind, not tried for lack of memory */
	uint64_t needed_bytes;           /* the most that one of those needs */
};

static int unlock_failed(const struct unlock_tally *t, enum secret_kind kind, const struct uuid *array, struct fail *fail)
{
	const char *name = secret_kind_name(kind);
	char uuid[UUID_TEXT_BYTES], damaged[96] = "";

	uuid_format(array, uuid);
	if (t->damaged)
		snprintf(damaged, sizeof damaged, "; %d more key slot%s damaged and could not be tried", t->damaged,
			t->damaged == 1 ? " is" : "s are");
	if (t->starved)
		return fail_set(fail, ENOMEM, FAIL_SLOT, "array %s: not enough memory to try a key slot: it needs %llu MiB, and about %llu MiB are "
			"available; this does not mean that the %s is wrong: close other programs, or use a machine with more memory",
			uuid, (unsigned long long)(t->needed_bytes >> 20), (unsigned long long)(memory_available_bytes() >> 20), name);
	if (t->tried && t->damaged)
		return fail_set(fail, EKEYREJECTED, FAIL_KEY, "array %s: this %s opens none of the %d undamaged key slot%s of that kind%s, so it "
			"may still be right; try another member, another key, or a backup of the label", uuid, name, t->tried, t->tried == 1 ? "" : "s", damaged);
	if (t->tried)
		return fail_set(fail, EKEYREJECTED, FAIL_KEY, "array %s: wrong %s: it opens none of the %d key slot%s of that kind",
			uuid, name, t->tried, t->tried == 1 ? "" : "s");
	if (t->damaged && !t->used)
		return fail_set(fail, EBADMSG, FAIL_SLOT, "array %s: every key slot in this label is damaged (%d of %d); "
			"try another member or a backup of the label", uuid, t->damaged, t->damaged);
	if (t->damaged)
		return fail_set(fail, EBADMSG, FAIL_SLOT, "array %s: no undamaged key slot is for a %s%s; "
			"try another member, another key, or a backup of the label", uuid, name, damaged);
	if (!t->used)
		return fail_set(fail, ENOKEY, FAIL_SLOT, "array %s: this label has no key slots; try another member or a backup of the label", uuid);
	return fail_set(fail, EKEYREJECTED, FAIL_KEY, "array %s: none of its %d key slot%s is for a %s; unlock it with another kind of key",
		uuid, t->used, t->used == 1 ? "" : "s", name);
}

int slots_unlock(const uint8_t slots[SLOTS_BYTES], const struct secret *secret, const struct slot_binding *binding,
	struct master_key *ret_master, int *ret_slot, struct fail *fail)
{
	struct unlock_tally tally = { 0 };
	struct disk_slot slot;

	assert(secret_kind_name(secret->kind));
	assert(secret->kind != SECRET_KEY_GENERATED || secret->length_bytes == SECRET_GENERATED_BYTES);
	for (int i = 0; i < SLOT_COUNT; i++) {
		enum slot_state state = slot_read(slots, i, &slot);
		tally.damaged += state == SLOT_DAMAGED;
		tally.used += state == SLOT_USED;
		if (state != SLOT_USED || slot.kind != secret->kind)
			continue;
		int err = slot_try(&slot, secret, binding, ret_master);
		if (!err) {
			if (ret_slot)
				*ret_slot = i;
			return 0;
		}
		if (err == -ENOMEM) {
			tally.starved++;
			if (le64_get(slot.memory_bytes) > tally.needed_bytes)
				tally.needed_bytes = le64_get(slot.memory_bytes);
		} else {
			tally.tried++;
		}
	}
	return unlock_failed(&tally, secret->kind, &binding->uuid, fail);
}

/* ---- Looking ---- */

bool slot_used(const uint8_t slots[SLOTS_BYTES], int slot)
{
	struct disk_slot copy;

	return slot_read(slots, slot, &copy) == SLOT_USED;
}

int slots_count(const uint8_t slots[SLOTS_BYTES])
{
	int count = 0;

	for (int i = 0; i < SLOT_COUNT; i++)
		count += slot_used(slots, i);
	return count;
}

void slot_describe(const uint8_t slots[SLOTS_BYTES], int slot, struct slot_info *ret_info)
{
	struct disk_slot copy;
	struct slot_info info = { .state = slot_read(slots, slot, &copy) };

	if (info.state == SLOT_USED) {
		info.kind = copy.kind;
		info.cost = slot_cost(&copy);
		info.created_ns = (int64_t)le64_get(copy.created_ns);
		memcpy(info.description, copy.description, sizeof info.description);
		for (char *c = info.description; *c; c++)
			if ((unsigned char)*c < 0x20 || *c == 0x7f)
				*c = '?';
	}
	*ret_info = info;
}

void slot_wipe(uint8_t slots[SLOTS_BYTES], int slot) { wipe(slot_at(slots, slot), SLOT_BYTES); }
