/* What it costs to try one secret: Argon2id with its parameters, and how they are chosen. */
#ifndef CRYPTO_COST_H
#define CRYPTO_COST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Argon2id, version 1.3, one lane. */
struct slot_cost {
	uint32_t passes;
	uint64_t memory_bytes;
};

#define COST_SALT_BYTES 16
/* What is accepted from a disk: more would let a forged label stop the machine (R5: it may deny service, but not like that). */
#define COST_PASSES_MAX 1024u
#define COST_MEMORY_BYTES_MIN UINT64_C(8192)
#define COST_MEMORY_BYTES_MAX (UINT64_C(4) << 30)
/* What is chosen for a new slot. */
#define COST_NEW_MEMORY_BYTES_MIN (UINT64_C(64) << 20)
#define COST_NEW_MEMORY_BYTES_MAX (UINT64_C(1) << 30)
#define COST_NEW_TARGET_NS INT64_C(2000000000)

/* Is it within what is accepted from a disk? */
bool cost_valid(const struct slot_cost *cost);
/* The cost that takes about COST_NEW_TARGET_NS, given how long one pass over COST_NEW_MEMORY_BYTES_MIN takes: memory first, up to
 * memory_bytes_max, then passes; at the least memory never less than 3 passes (RFC 9106).  Pure. */
struct slot_cost cost_plan(int64_t pass_ns, uint64_t memory_bytes_max);
/* Measures this machine (a tenth of a second) and plans: at most 1 GiB, a quarter of the memory, half of what is free.  0 or -ENOMEM. */
int cost_calibrate(struct slot_cost *ret_cost);
/* Argon2id of a secret: 0, or -ENOMEM, which says nothing about the secret.  Its memory is given back to the system. */
int cost_derive(const struct slot_cost *cost, const uint8_t salt[COST_SALT_BYTES], const uint8_t *secret, size_t secret_bytes,
	uint8_t ret_key[32]);
/* Memory that a process could take now, swap and the limit of its control group included; UINT64_MAX if unknown. */
uint64_t memory_available_bytes(void);

#endif
