/* Key slots: all looks at them agree, they open with the right secret to the right key or not at all, and a new one fits in. */
#include "raid/format.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/known.h"

#include <errno.h>

static int64_t stopped_clock(void *ctx) { (void)ctx; return 1; }
static void weak_random(void *ctx, void *buf, size_t bytes) { (void)ctx; memset(buf, 7, bytes); }
static const struct env env = { NULL, stopped_clock, weak_random };

/* Describes all; returns how many are in use, and in *ret_empty how many are empty. */
static int look(const uint8_t *slots, int *ret_empty)
{
	int used = 0, empty = 0;

	for (int i = 0; i < SLOT_COUNT; i++) {
		struct slot_info info;
		slot_describe(slots, i, &info);
		MUST(slot_used(slots, i) == (info.state == SLOT_USED));
		empty += info.state == SLOT_EMPTY;
		if (info.state != SLOT_USED)
			continue;
		used++;
		MUST(secret_kind_name(info.kind) && memchr(info.description, 0, sizeof info.description));
		for (const char *c = info.description; *c; c++)
			MUST((unsigned char)*c >= 0x20 && *c != 0x7f);
		MUST(info.kind == SECRET_KEY_GENERATED ? !info.cost.passes && !info.cost.memory_bytes : cost_valid(&info.cost));
	}
	MUST(slots_count(slots) == used);
	*ret_empty = empty;
	return used;
}

/* With a generated key, which costs nothing to try. */
static void unlock(const uint8_t *slots, int used)
{
	struct secret secret = { SECRET_KEY_GENERATED, known_secret, sizeof known_secret };
	struct master_key master = { { 0 } };
	struct fail fail = { 0 };
	int slot = -1;

	int r = slots_unlock(slots, &secret, &known_binding, &master, &slot, &fail);
	if (r == 0) {
		MUST(slot_used(slots, slot) && !memcmp(&master, &known_master, sizeof master));
		fuzz_accept();
		return;
	}
	MUST(slot == -1 && *fail.text);
	MUST(fail.code == (r == -EKEYREJECTED ? FAIL_KEY : FAIL_SLOT));
	MUST(r == -EKEYREJECTED || r == -EBADMSG || (r == -ENOKEY && !used));
}

static void add(uint8_t *slots, int used, int empty)
{
	struct secret secret = { SECRET_KEY_GENERATED, known_secret, sizeof known_secret };
	struct slot_new new_slot = { .secret = &secret, .description = "added" };
	struct fail fail = { 0 };
	int slot = -1, left;

	int r = slot_make(slots, &known_master, &new_slot, &known_binding, &env, &slot, &fail);
	if (empty < 2) {
		MUST(r == -ENOSPC && fail.code == FAIL_SLOT);
		return;
	}
	MUST(r == 0 && slot_used(slots, slot) && look(slots, &left) == used + 1 && left == empty - 1);
	slot_wipe(slots, slot);
	MUST(look(slots, &left) == used && left == empty);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static bool started;
	static uint8_t slots[SLOTS_BYTES];
	int empty;

	MUST(started || key_arena_init(NULL) >= 0);
	started = true;
	fuzz_take(data, size, slots, sizeof slots);
	for (int i = 0; i < SLOT_COUNT; i++) {
		struct disk_slot *d = (struct disk_slot *)(slots + (size_t)i * SLOT_BYTES);
		if (!bytes_are_zero(d, offsetof(struct disk_slot, checksum)))
			d->checksum = disk_checksum(d, offsetof(struct disk_slot, checksum));
	}
	int used = look(slots, &empty);
	unlock(slots, used);
	add(slots, used, empty);
	return 0;
}
