/* Is fs->lock held while there is I/O, sealing or opening, or while a nonce is drawn?  Looked at each time: see unlocked.c. */
#ifndef TESTS_SIM_UNLOCKED_H
#define TESTS_SIM_UNLOCKED_H

enum unlocked_kind { UNLOCKED_READ, UNLOCKED_WRITE, UNLOCKED_FLUSH, UNLOCKED_NONCE, UNLOCKED_SEAL, UNLOCKED_OPEN, UNLOCKED_KINDS };

extern const char *const unlocked_names[UNLOCKED_KINDS];

/* While a filesystem is in memory: how often each kind was looked at, and how often the lock was held then. */
struct unlocked_counts { unsigned long looked[UNLOCKED_KINDS], held[UNLOCKED_KINDS]; };
extern struct unlocked_counts unlocked_counts;

#endif
