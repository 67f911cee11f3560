/* Little-endian fields of on-disk structures.
 *
 * A disk field has a type of its own, so that it cannot be used as a number by mistake:
 * every access goes through get or put.  All types have alignment 1, so a structure made of
 * them has no hidden padding and may lie at any address. */
#ifndef BASE_LE_H
#define BASE_LE_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

typedef struct { uint8_t b[2]; } le16;
typedef struct { uint8_t b[4]; } le32;
typedef struct { uint8_t b[8]; } le64;

static inline uint16_t le16_get(le16 x) { uint16_t v; memcpy(&v, x.b, 2); return le16toh(v); }
static inline uint32_t le32_get(le32 x) { uint32_t v; memcpy(&v, x.b, 4); return le32toh(v); }
static inline uint64_t le64_get(le64 x) { uint64_t v; memcpy(&v, x.b, 8); return le64toh(v); }

static inline le16 le16_put(uint16_t v) { le16 x; v = htole16(v); memcpy(x.b, &v, 2); return x; }
static inline le32 le32_put(uint32_t v) { le32 x; v = htole32(v); memcpy(x.b, &v, 4); return x; }
static inline le64 le64_put(uint64_t v) { le64 x; v = htole64(v); memcpy(x.b, &v, 8); return x; }

#endif
