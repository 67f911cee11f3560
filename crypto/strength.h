/* How hard a passphrase is to guess: a rough estimate, rather too low than too high, to advise whoever chooses one. */
#ifndef CRYPTO_STRENGTH_H
#define CRYPTO_STRENGTH_H

/* Bits of an attacker's work.  Letters inside words count for little, repeats, sequences and repeated parts for almost
 * nothing, and the most common passwords for what their place in a list is worth. */
unsigned passphrase_strength_bits(const char *passphrase);
/* "very weak", "weak", "fair", "good" or "strong". */
const char *strength_word(unsigned bits);

#endif
