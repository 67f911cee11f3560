/* What the corpus of key slots was made with, so that its target knows what must come out. */
#ifndef TESTS_FUZZ_KNOWN_H
#define TESTS_FUZZ_KNOWN_H

#include "crypto/slot.h"

static const uint8_t known_secret[SECRET_GENERATED_BYTES] = "a key of the corpus, 32 bytes...";
static const struct master_key known_master = { "the master key of the corpus...." };
static const struct slot_binding known_binding = { .uuid = { "corpus of slots." }, .cipher = CIPHER_XCHACHA20_POLY1305 };

#endif
