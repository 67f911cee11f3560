/* 128-bit identifiers: text form and comparison. */
#ifndef BASE_UUID_H
#define BASE_UUID_H

#include "base/env.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define UUID_TEXT_BYTES 37

struct uuid { uint8_t b[16]; };

static inline bool uuid_equal(const struct uuid *a, const struct uuid *b) { return !memcmp(a->b, b->b, 16); }
static inline bool uuid_is_zero(const struct uuid *a) { static const struct uuid zero; return uuid_equal(a, &zero); }

/* A random (version 4) UUID, RFC 9562. */
void uuid_make(const struct env *env, struct uuid *ret_uuid);
/* Writes 8-4-4-4-12 lower-case hexadecimal digits and a NUL. */
void uuid_format(const struct uuid *uuid, char text[UUID_TEXT_BYTES]);
/* 0, or -EINVAL if `text` is not a whole UUID in that form (either case). */
int uuid_parse(const char *text, struct uuid *ret_uuid);

#endif
