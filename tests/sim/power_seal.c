/* No key and nonce twice, and nothing readable on a disk.  See power.h.
 *
 * The linker puts these functions before those of libsodium that encrypt (--wrap, tests/meson.build), so that each sealing of
 * every branch of every history passes here.  A pair of key and nonce is kept as a hash of 64 bits beside a hash of what was sealed. */
#include "tests/sim/power.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define PAIRS_MAX (1u << 23)

unsigned long power_sealed, power_written_bytes;

static struct { uint64_t pair, plain; } *pairs;
static size_t pair_count, pair_room;

static void enter(uint64_t pair, uint64_t plain);

static void make_room(void)
{
	size_t old_room = pair_room;
	typeof(pairs) old = pairs;
	pair_room = !old_room ? 1u << 16 : pair_count >= PAIRS_MAX ? old_room : 2 * old_room;
	pairs = sim_alloc(pair_room * sizeof *pairs);
	memset(pairs, 0, pair_room * sizeof *pairs);
	/* When there are too many, older histories are forgotten. */
	bool forget = pair_count >= PAIRS_MAX;
	pair_count = 0;
	for (size_t i = 0; i < old_room && !forget; i++)
		if (old[i].pair)
			enter(old[i].pair, old[i].plain);
	free(old);
}

static void enter(uint64_t pair, uint64_t plain)
{
	if (2 * pair_count >= pair_room)
		make_room();
	size_t i = pair & (pair_room - 1);
	while (pairs[i].pair && pairs[i].pair != pair)
		i = (i + 1) & (pair_room - 1);
	if (pairs[i].pair && pairs[i].plain != plain) {
		fprintf(stderr, "a key and nonce were used twice, for different plaintexts\n");
		abort();
	}
	pair_count += !pairs[i].pair;
	pairs[i].pair = pair;
	pairs[i].plain = plain;
}

static void sealed(const unsigned char *key, size_t key_bytes, const unsigned char *nonce, size_t nonce_bytes, const unsigned char *plain,
	unsigned long long bytes)
{
	uint8_t both[64];
	memcpy(both, key, key_bytes);
	memcpy(both + key_bytes, nonce, nonce_bytes);
	enter(XXH3_64bits(both, key_bytes + nonce_bytes) | 1, XXH3_64bits(plain, bytes));
	power_sealed++;
}

#define ENCRYPT_ARGS unsigned char *c, unsigned char *mac, unsigned long long *mac_bytes, const unsigned char *m, \
	unsigned long long bytes, const unsigned char *ad, unsigned long long ad_bytes, const unsigned char *unused, \
	const unsigned char *nonce, const unsigned char *key

#define SEALING(name, key_bytes, nonce_bytes) \
	int __real_##name(ENCRYPT_ARGS); \
	int __wrap_##name(ENCRYPT_ARGS); \
	int __wrap_##name(ENCRYPT_ARGS) \
	{ \
		sealed(key, key_bytes, nonce, nonce_bytes, m, bytes); \
		return __real_##name(c, mac, mac_bytes, m, bytes, ad, ad_bytes, unused, nonce, key); \
	}

SEALING(crypto_aead_chacha20poly1305_ietf_encrypt_detached, crypto_aead_chacha20poly1305_ietf_KEYBYTES,
	crypto_aead_chacha20poly1305_ietf_NPUBBYTES)
SEALING(crypto_aead_xchacha20poly1305_ietf_encrypt_detached, crypto_aead_xchacha20poly1305_ietf_KEYBYTES,
	crypto_aead_xchacha20poly1305_ietf_NPUBBYTES)

/* Guarded memory costs more than all else of a state: its pages are mapped, protected and unmapped each time. */
void *__wrap_sodium_malloc(size_t bytes);
void __wrap_sodium_free(void *memory);
int __wrap_sodium_mprotect_readonly(void *memory);
int __wrap_sodium_mprotect_readwrite(void *memory);
int __wrap_sodium_mprotect_noaccess(void *memory);

void *__wrap_sodium_malloc(size_t bytes) { return memset(sim_alloc(bytes), 0xdb, bytes); }
void __wrap_sodium_free(void *memory) { free(memory); }
int __wrap_sodium_mprotect_readonly(void *memory) { return memory ? 0 : -1; }
int __wrap_sodium_mprotect_readwrite(void *memory) { return memory ? 0 : -1; }
int __wrap_sodium_mprotect_noaccess(void *memory) { return memory ? 0 : -1; }

/* ---- Plaintext ---- */

static void look_at(void *ctx, struct simdisk *sim, uint64_t offset_bytes, const void *data, size_t bytes)
{
	(void)ctx;
	power_written_bytes += bytes;
	if (!memmem(data, bytes, POWER_MARK, strlen(POWER_MARK)))
		return;
	fprintf(stderr, "plaintext was written to disk %u at %llu\n", sim->index, (unsigned long long)offset_bytes);
	abort();
}

void power_watch(struct simworld *world)
{
	world->on_write = look_at;
}
