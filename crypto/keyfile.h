/* Key files: reading any, generating our own.
 *
 * A generated key file is text, mode 0400, KEYFILE_TEXT_BYTES long:
 *     raid5cryptfs key 1
 *     <64 hexadecimal digits: 256 random bits>
 *     check <16 hexadecimal digits: XXH3-64 of the 32 bytes, big-endian>
 * so that it can be printed and typed in, and damage to it is told from a wrong key.
 *
 * Any other file can be a key too.  It is hashed whole, a last newline included (BLAKE2b-512 over a context string and its bytes); it goes
 * through Argon2id afterwards, like a passphrase. */
#ifndef CRYPTO_KEYFILE_H
#define CRYPTO_KEYFILE_H

#include "base/env.h"
#include "base/fail.h"
#include "crypto/slot.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KEYFILE_BYTES_MAX (8u << 20)
#define KEYFILE_TEXT_BYTES (19 + 65 + 23)

struct secret_buffer {
	uint8_t *bytes;                  /* in the arena */
	size_t length_bytes;
	bool generated;                  /* by our tool: no Argon2id needed */
	bool others_can_read;            /* the file's mode lets others than its owner at it: worth a warning */
};

/* Writes a new key file and makes it durable.  Never overwrites: -EEXIST if anything is there.  FAIL_KEYFILE. */
int keyfile_generate(const char *path, const struct env *env, struct fail *fail);
/* Reads a key file, "-" for standard input.  FAIL_KEYFILE with a text of its own for each: missing (-ENOENT), a directory (-EISDIR),
 * empty (-ENODATA), too large (-EFBIG), a damaged generated file (-EBADMSG), a newer format (-EPROTONOSUPPORT), not readable (the system's
 * errno).  The buffer is the caller's to free. */
int keyfile_read(const char *path, struct secret_buffer *ret_buffer, struct fail *fail);
void secret_buffer_free(struct secret_buffer *buffer);
/* The buffer as a secret; it borrows the bytes. */
struct secret secret_of(const struct secret_buffer *buffer);

#endif
