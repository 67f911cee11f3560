/* Keyless rebuild on simulated disks, as the program does it: look, plan, check the target, make. */
#ifndef TESTS_LIB_SIMKEYLESS_H
#define TESTS_LIB_SIMKEYLESS_H

#include "raid/array_keyless.h"
#include "tests/lib/simdisk.h"

/* Onto `target`, from the disks given.  `options` may be NULL. */
int simkeyless(struct simdisk *const *members, unsigned count, struct simdisk *target, bool force, const struct keyless_options *options,
	struct fail *fail);

/* Is any copy of the label on the disk whole?  Then *ret_label is the first such one. */
bool simkeyless_labelled(struct simdisk *sim, struct label *ret_label);

/* 0 if each unit of the member's columns on `target` is the XOR of the others of its row, else the band's id. */
uint32_t simkeyless_compare(const struct config *config, unsigned member, struct simdisk *const *by_index, struct simdisk *target);

#endif
