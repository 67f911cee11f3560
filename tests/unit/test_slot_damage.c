/* A key slot that is damaged inside a label whose MAC and checksum are right, so that it was written with the key (by a program with
 * a fault, or in bad memory): every copy has it.  Another slot mounts, and the damaged one's secret is not called wrong. */
#include "fs/core.h"
#include "raid/label.h"
#include "tests/lib/simfs.h"
#include "tests/unit/check.h"

#include <string.h>
#include <sys/stat.h>

#define DISK_BYTES (UINT64_C(16) << 20)
#define DISKS 3u

static const struct secret passphrase = { SECRET_PASSPHRASE, (const uint8_t *)"open sesame", 11 };
static const struct secret other_passphrase = { SECRET_PASSPHRASE, (const uint8_t *)"open barley", 11 };

static void read_label(struct simfs *sim, unsigned disk, struct label *ret_label)
{
	uint8_t bytes[LABEL_BYTES];

	simdisk_peek(sim->world->disks[disk], label_copy_offset_bytes(0, DISK_BYTES), bytes, LABEL_BYTES);
	REQUIRE(label_decode(bytes, ret_label) == 0);
}

/* All copies of all labels get these slots, with a MAC. */
static void write_slots(struct simfs *sim, struct keys *keys, const uint8_t slots[SLOTS_BYTES])
{
	struct array_auth auth;
	struct label label;
	uint8_t bytes[LABEL_BYTES];

	fs_auth(keys, &auth);
	for (unsigned i = 0; i < DISKS; i++) {
		read_label(sim, i, &label);
		memcpy(label.slots, slots, SLOTS_BYTES);
		label.sequence++;
		label_encode(&label, bytes);
		auth.label_mac(auth.ctx, bytes);
		CHECK(auth.label_ok(auth.ctx, bytes));
		for (unsigned copy = 0; copy < LABEL_COPIES; copy++)
			simdisk_poke(sim->world->disks[i], label_copy_offset_bytes(copy, DISK_BYTES), bytes, LABEL_BYTES);
	}
}

static int open_with(struct simfs *sim, const struct secret *secret)
{
	sim->secret = *secret;
	return simfs_open(sim);
}

static void check_refused(struct simfs *sim, const struct secret *secret, enum fail_code code, const char *says)
{
	CHECK(open_with(sim, secret) < 0);
	CHECK_EQ(sim->fail.code, code);
	CHECK(strstr(sim->fail.text, says) && strstr(sim->fail.text, "damaged"));
	CHECK(!strstr(sim->fail.text, "wrong"));
}

static void check_file(struct simfs *sim)
{
	struct fs_attr attr;

	CHECK_EQ(fs_lookup(sim->fs, OBJECT_ROOT, "file", &attr), 0);
}

/* Slot 1: the generated key of simfs; 2 and 3: passphrases. */
static void add_slots(struct simfs *sim, uint8_t slots[SLOTS_BYTES], struct keys *keys)
{
	const struct secret *secrets[] = { &passphrase, &other_passphrase };
	struct master_key *master = key_alloc(sizeof *master);
	struct slot_binding binding;
	struct label label;
	struct fail fail;

	read_label(sim, 0, &label);
	binding = (struct slot_binding){ label.array, label.cipher, label.incompat };
	memcpy(slots, label.slots, SLOTS_BYTES);
	REQUIRE(master && slots_unlock(slots, &sim->secret, &binding, master, NULL, &fail) == 0);
	for (unsigned i = 0; i < 2; i++) {
		const struct slot_new slot = { .secret = secrets[i], .cost = { .passes = 1, .memory_bytes = 64 << 10 } };
		REQUIRE(slot_make(slots, master, &slot, &binding, &sim->env, NULL, &fail) == 0);
	}
	keys_derive(master, label.cipher, &label.array, label.incompat, keys);
	key_free(master);
}

int main(void)
{
	uint8_t slots[SLOTS_BYTES];
	struct fs_attr attr;
	struct simfs *sim;

	REQUIRE(simfs_make(&sim, DISKS, DISK_BYTES, CIPHER_XCHACHA20_POLY1305, 5) == 0);
	const struct secret generated = sim->secret;
	struct keys *keys = key_alloc(sizeof *keys);
	REQUIRE(keys);
	CHECK_EQ(fs_mknod(sim->fs, OBJECT_ROOT, "file", S_IFREG | 0644, 0, (struct fs_cred){ 0 }, &attr), 0);
	CHECK_EQ(simfs_close(sim, false), 0);
	add_slots(sim, slots, keys);
	write_slots(sim, keys, slots);
	const struct secret *all[] = { &generated, &passphrase, &other_passphrase };
	for (unsigned i = 0; i < 3; i++) {
		CHECK_EQ(open_with(sim, all[i]), 0);
		simfs_close(sim, true);
	}

	/* The only generated key's: no other slot is of its kind. */
	slots[100] ^= 1;
	write_slots(sim, keys, slots);
	check_refused(sim, &generated, FAIL_SLOT, "no undamaged key slot is for a generated key file; 1 more key slot is damaged");
	/* A passphrase's, beside another one. */
	slots[SLOT_BYTES + 100] ^= 1;
	write_slots(sim, keys, slots);
	check_refused(sim, &passphrase, FAIL_KEY, "this passphrase opens none of the 1 undamaged key slot of that kind; 2 more key slots are "
		"damaged and could not be tried, so it may still be right");
	/* The third still mounts, and a mount that writes keeps it so. */
	for (unsigned i = 0; i < 2; i++) {
		REQUIRE(open_with(sim, &other_passphrase) == 0);
		check_file(sim);
		CHECK_EQ(fs_mknod(sim->fs, OBJECT_ROOT, i ? "second" : "first", S_IFREG | 0644, 0, (struct fs_cred){ 0 }, &attr), 0);
		CHECK_EQ(simfs_close(sim, false), 0);
	}
	key_free(keys);
	simfs_free(sim);
	return CHECK_DONE();
}
