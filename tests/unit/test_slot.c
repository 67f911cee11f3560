/* Key slots: every kind opens, every change is refused, and each failure is told from the others by code and text. */
#include "base/cleanup.h"
#include "crypto/slot.h"
#include "tests/unit/check.h"

#include <errno.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <xxhash.h>

static const struct slot_cost small_cost = { .passes = 1, .memory_bytes = 64 << 10 };
static const struct slot_binding binding = { .uuid = { { 0xab, 1 } }, .cipher = CIPHER_XCHACHA20_POLY1305, .incompat = 6 };
static const struct master_key master = { { 1, 2, 3, 4 } };
static const uint8_t generated_key[32] = { 77 }, other_key[32] = { 78 };

static const struct secret passphrase = { SECRET_PASSPHRASE, (const uint8_t *)"open sesame", 11 };
static const struct secret wrong_passphrase = { SECRET_PASSPHRASE, (const uint8_t *)"open sesamE", 11 };
static const struct secret key_file = { SECRET_KEY_FILE, (const uint8_t *)"open sesame", 11 };
static const struct secret generated = { SECRET_KEY_GENERATED, generated_key, 32 };
static const struct secret other_generated = { SECRET_KEY_GENERATED, other_key, 32 };

static void add(uint8_t *slots, const struct secret *secret, const char *description, int expected)
{
	const struct slot_new new_slot = { .secret = secret, .description = description, .cost = small_cost };
	struct fail fail = { 0 };
	int slot = -1;

	REQUIRE(!slot_make(slots, &master, &new_slot, &binding, env_system(), &slot, &fail));
	CHECK_EQ(slot, expected);
}

static int unlock(const uint8_t *slots, const struct secret *secret, struct fail *ret_fail)
{
	struct master_key found = { { 0 } }, none = { { 0 } };
	int slot = -1;

	memset(ret_fail, 0, sizeof *ret_fail);
	int err = slots_unlock(slots, secret, &binding, &found, &slot, ret_fail);
	if (err)
		CHECK(slot == -1 && !memcmp(&found, &none, sizeof found));
	else
		CHECK(!memcmp(&found, &master, sizeof found));
	return err ? err : slot;
}

#define CHECK_REFUSED(slots, secret, err_, code_, words) do { \
	struct fail fail_; \
	CHECK_EQ(unlock(slots, secret, &fail_), -(err_)); \
	CHECK_EQ(fail_.code, code_); \
	CHECK(strstr(fail_.text, words)); \
	CHECK(strstr(fail_.text, "ab010000-0000-0000-0000-000000000000")); \
} while (0)

static void test_kinds(void)
{
	uint8_t slots[SLOTS_BYTES] = { 0 };
	struct slot_info info;
	struct fail fail;

	CHECK_REFUSED(slots, &passphrase, ENOKEY, FAIL_SLOT, "has no key slots");
	add(slots, &passphrase, "of\nAlice", 0);
	CHECK_REFUSED(slots, &generated, EKEYREJECTED, FAIL_KEY, "none of its 1 key slot is for a generated key file");
	add(slots, &key_file, "stick", 1);
	add(slots, &generated, NULL, 2);
	CHECK_EQ(slots_count(slots), 3);
	CHECK_EQ(unlock(slots, &passphrase, &fail), 0);
	CHECK_EQ(unlock(slots, &key_file, &fail), 1);
	CHECK_EQ(unlock(slots, &generated, &fail), 2);
	CHECK_REFUSED(slots, &wrong_passphrase, EKEYREJECTED, FAIL_KEY, "wrong passphrase: it opens none of the 1 key slot");
	CHECK_REFUSED(slots, &other_generated, EKEYREJECTED, FAIL_KEY, "wrong generated key file");

	slot_describe(slots, 0, &info);
	CHECK(info.state == SLOT_USED && info.kind == SECRET_PASSPHRASE && !strcmp(info.description, "of?Alice"));
	CHECK(info.cost.passes == 1 && info.cost.memory_bytes == 64 << 10);
	CHECK(env_now_ns(env_system()) - info.created_ns < INT64_C(60000000000) && info.created_ns <= env_now_ns(env_system()));
	slot_describe(slots, 2, &info);
	CHECK(info.state == SLOT_USED && info.kind == SECRET_KEY_GENERATED && !info.cost.passes && !info.description[0]);
	slot_describe(slots, 3, &info);
	CHECK_EQ(info.state, SLOT_EMPTY);

	slot_wipe(slots, 1);
	CHECK(!slot_used(slots, 1) && slot_used(slots, 2));
	CHECK_REFUSED(slots, &key_file, EKEYREJECTED, FAIL_KEY, "none of its 2 key slots is for a key file");
	add(slots, &key_file, "again", 1);
	CHECK_EQ(unlock(slots, &key_file, &fail), 1);
}

/* Two slots of one secret are not alike. */
static void test_fresh(void)
{
	uint8_t slots[SLOTS_BYTES] = { 0 };
	const struct disk_slot *a = (const void *)slots, *b = a + 1;

	add(slots, &generated, "", 0);
	add(slots, &generated, "", 1);
	CHECK(memcmp(a->salt, b->salt, 16) && memcmp(a->nonce, b->nonce, 24) && memcmp(a->wrapped, b->wrapped, 32));
}

static void test_full(void)
{
	uint8_t slots[SLOTS_BYTES] = { 0 }, before[SLOTS_BYTES];
	struct slot_new extra = { .secret = &generated };
	struct fail fail = { 0 };
	int slot = -1;

	for (int i = 0; i < SLOT_COUNT - 1; i++)
		add(slots, i == 14 ? &generated : &other_generated, "", i);
	memcpy(before, slots, sizeof before);
	CHECK_EQ(slot_add(slots, &master, &generated, &binding, env_system(), "one more", &fail), -ENOSPC);
	CHECK_EQ(fail.code, FAIL_SLOT);
	CHECK(strstr(fail.text, "no key slot is free: 15 of 16 are taken, and the last is kept spare"));
	CHECK(!memcmp(before, slots, sizeof before));
	/* Changing a key goes through the spare. */
	extra.take_spare = true;
	CHECK_EQ(slot_make(slots, &master, &extra, &binding, env_system(), &slot, &fail), 0);
	CHECK_EQ(slot, 15);
	slot_wipe(slots, 14);
	CHECK_EQ(unlock(slots, &generated, &fail), 15);
	slot_wipe(slots, 15);
	CHECK_REFUSED(slots, &generated, EKEYREJECTED, FAIL_KEY, "opens none of the 14 key slots");
}

static void test_refused_secrets(void)
{
	uint8_t slots[SLOTS_BYTES] = { 0 };
	const struct secret empty = { SECRET_PASSPHRASE, (const uint8_t *)"", 0 };
	struct fail fail = { 0 };
	char description[SLOT_DESCRIPTION_BYTES + 1];

	CHECK_EQ(slot_add(slots, &master, &empty, &binding, env_system(), "", &fail), -EINVAL);
	CHECK_EQ(fail.code, FAIL_USAGE);
	CHECK(strstr(fail.text, "an empty passphrase"));
	memset(description, 'a', sizeof description);
	description[SLOT_DESCRIPTION_BYTES] = '\0';
	CHECK_EQ(slot_add(slots, &master, &generated, &binding, env_system(), description, &fail), -EINVAL);
	CHECK(strstr(fail.text, "too long: 64 bytes, at most 63 fit"));
	CHECK_EQ(slots_count(slots), 0);
	description[SLOT_DESCRIPTION_BYTES - 1] = '\0';
	add(slots, &generated, description, 0);
	add(slots, &passphrase, "", 1);
	CHECK_REFUSED(slots, &empty, EKEYREJECTED, FAIL_KEY, "wrong passphrase");
}

static void test_binding(void)
{
	uint8_t slots[SLOTS_BYTES] = { 0 };
	struct master_key found;

	add(slots, &generated, "", 0);
	add(slots, &passphrase, "", 1);
	for (int what = 0; what < 4; what++) {
		struct slot_binding other = binding;
		if (what == 1)
			other.uuid.b[15] ^= 1;
		if (what == 2)
			other.cipher = CIPHER_AES256_GCM;
		if (what == 3)
			other.incompat ^= 1;
		int expected = what ? -EKEYREJECTED : 0;
		CHECK_EQ(slots_unlock(slots, &generated, &other, &found, NULL, NULL), expected);
		CHECK_EQ(slots_unlock(slots, &passphrase, &other, &found, NULL, NULL), expected);
	}
}

static void rechecksum(uint8_t *slots)
{
	struct disk_slot *slot = (void *)slots;

	slot->checksum = le64_put(XXH3_64bits(slot, offsetof(struct disk_slot, checksum)));
}

static void test_damage(void)
{
	uint8_t slots[SLOTS_BYTES] = { 0 };
	struct slot_info info;
	struct fail fail;
	unsigned accepted = 0;

	/* Any flipped bit is damage; with the checksum made good again, still nothing opens. */
	add(slots, &generated, "x", 0);
	for (unsigned bit = 0; bit < SLOT_BYTES * 8; bit++) {
		slots[bit / 8] ^= (uint8_t)(1u << bit % 8);
		accepted += unlock(slots, &generated, &fail) != -EBADMSG || fail.code != FAIL_SLOT;
		if (bit / 8 < offsetof(struct disk_slot, checksum)) {
			uint8_t forged[SLOTS_BYTES];
			memcpy(forged, slots, sizeof forged);
			rechecksum(forged);
			accepted += unlock(forged, &generated, &fail) >= 0;
		}
		slots[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	CHECK_EQ(accepted, 0);
	CHECK_EQ(unlock(slots, &generated, &fail), 0);

	add(slots, &other_generated, "y", 1);
	slots[200] ^= 1;
	slot_describe(slots, 0, &info);
	CHECK_EQ(info.state, SLOT_DAMAGED);
	CHECK_EQ(slots_count(slots), 1);
	CHECK_EQ(unlock(slots, &other_generated, &fail), 1);
	CHECK_REFUSED(slots, &generated, EKEYREJECTED, FAIL_KEY, "this generated key file opens none of the 1 undamaged key slot of that kind; "
		"1 more key slot is damaged and could not be tried, so it may still be right; try another member");
	CHECK_REFUSED(slots, &passphrase, EBADMSG, FAIL_SLOT, "no undamaged key slot is for a passphrase");
	slots[SLOT_BYTES + 300] ^= 1;
	CHECK_REFUSED(slots, &generated, EBADMSG, FAIL_SLOT, "every key slot in this label is damaged (2 of 2)");
	add(slots, &generated, "z", 2);          /* damaged slots are not taken for free ones */

	memset(slots, 0xff, sizeof slots);
	CHECK_REFUSED(slots, &passphrase, EBADMSG, FAIL_SLOT, "every key slot in this label is damaged (16 of 16)");
}

/* Parameters from a disk are bounded before they are used. */
static void test_bounds(void)
{
	static const struct slot_cost bad[] = {
		{ 0, 64 << 10 }, { COST_PASSES_MAX + 1, 64 << 10 }, { UINT32_MAX, 64 << 10 }, { 1, 0 }, { 1, 4096 }, { 1, (64 << 10) + 1 },
		{ 1, COST_MEMORY_BYTES_MAX + 1024 }, { 1, UINT64_MAX },
	};
	uint8_t slots[SLOTS_BYTES] = { 0 };
	struct disk_slot *slot = (void *)slots;

	add(slots, &passphrase, "", 0);
	for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
		slot->passes = le32_put(bad[i].passes);
		slot->memory_bytes = le64_put(bad[i].memory_bytes);
		rechecksum(slots);
		CHECK_REFUSED(slots, &passphrase, EBADMSG, FAIL_SLOT, "every key slot");
	}
	/* Within bounds, but not what it was made with. */
	slot->passes = le32_put(2);
	slot->memory_bytes = le64_put(64 << 10);
	rechecksum(slots);
	CHECK_REFUSED(slots, &passphrase, EKEYREJECTED, FAIL_KEY, "wrong passphrase");
}

static long mapped_pages(void)
{
	long pages = -1;
	FILE *f = fopen("/proc/self/statm", "re");

	REQUIRE(f && fscanf(f, "%ld", &pages) == 1);
	fclose(f);
	return pages;
}

/* No memory is not a wrong passphrase; and what Argon2id took is given back. */
static void test_memory(void)
{
	const struct slot_new large = { .secret = &passphrase, .cost = { .passes = 1, .memory_bytes = 128 << 20 } };
	uint8_t slots[SLOTS_BYTES] = { 0 };
	struct fail fail;
	int status = 0;

	long before = mapped_pages();
	REQUIRE(!slot_make(slots, &master, &large, &binding, env_system(), NULL, &fail));
	CHECK_EQ(unlock(slots, &passphrase, &fail), 0);
	CHECK((mapped_pages() - before) * sysconf(_SC_PAGESIZE) < 32 << 20);

	pid_t child = fork();
	if (!child) {
		rlim_t bytes = (rlim_t)(mapped_pages() * sysconf(_SC_PAGESIZE)) + (64 << 20);
		struct rlimit limit = { bytes, bytes };
		struct master_key found;
		if (setrlimit(RLIMIT_AS, &limit))
			_exit(2);
		int err = slots_unlock(slots, &passphrase, &binding, &found, NULL, &fail);
		_exit(err == -ENOMEM && fail.code == FAIL_SLOT && strstr(fail.text, "it needs 128 MiB")
			&& strstr(fail.text, "this does not mean that the passphrase is wrong") ? 0 : 1);
	}
	REQUIRE(waitpid(child, &status, 0) == child);
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);

	/* More than any machine of today has free beside it: refused before it is touched. */
	if (memory_available_bytes() < COST_MEMORY_BYTES_MAX) {
		struct slot_cost most = { 1, COST_MEMORY_BYTES_MAX };
		uint8_t key[32], salt[COST_SALT_BYTES] = { 0 };
		CHECK_EQ(cost_derive(&most, salt, passphrase.bytes, passphrase.length_bytes, key), -ENOMEM);
	}
}

static void check_plan(int64_t pass_ms, uint64_t max_mib, unsigned passes, uint64_t memory_mib)
{
	struct slot_cost cost = cost_plan(pass_ms * 1000000, max_mib << 20);

	CHECK_EQ(cost.passes, passes);
	CHECK_EQ(cost.memory_bytes >> 20, memory_mib);
	CHECK(cost_valid(&cost));
}

static void test_cost(void)
{
	check_plan(50, 8192, 2, 1024);           /* 40 steps of 64 MiB in 2 s: 1 GiB twice */
	check_plan(125, 8192, 1, 1024);
	check_plan(250, 8192, 1, 512);           /* slow: less memory */
	check_plan(50, 256, 10, 256);            /* little memory: more passes */
	check_plan(50, 10, 40, 64);              /* never less than 64 MiB */
	check_plan(5000, 8192, 3, 64);           /* very slow: the least that is still safe */
	check_plan(0, 8192, 3, 64);              /* a clock that stands still */
	check_plan(1, 64, COST_PASSES_MAX, 64);

	struct slot_cost cost = { 0 };
	REQUIRE(!cost_calibrate(&cost));
	CHECK(cost_valid(&cost));
	CHECK(cost.memory_bytes >= COST_NEW_MEMORY_BYTES_MIN && cost.memory_bytes <= COST_NEW_MEMORY_BYTES_MAX);
	fprintf(stderr, "calibrated: %u passes over %llu MiB\n", cost.passes, (unsigned long long)(cost.memory_bytes >> 20));
}

int main(void)
{
	REQUIRE(key_arena_init(NULL) >= 0);
	test_kinds();
	test_fresh();
	test_full();
	test_refused_secrets();
	test_binding();
	test_damage();
	test_bounds();
	test_memory();
	test_cost();
	return CHECK_DONE();
}
