/* POSIX ACLs as Linux passes them in system.posix_acl_access and system.posix_acl_default.  Pure.
 *
 * The kernel checks permissions by them; what is left to the filesystem is to keep an access ACL and the mode in step
 * (both ways), and to hand a directory's default ACL on to what is created in it (acl(5)). */
#ifndef FS_ACL_H
#define FS_ACL_H

#include "fs/format.h"

#include <stddef.h>

/* On the disk an ACL is the xattr's value: these, as in <linux/posix_acl_xattr.h>. */
#define ACL_VERSION 2u
struct acl_header { le32 version; };
struct acl_value_entry { le16 tag, permissions; le32 id; };
static_assert(sizeof(struct acl_header) == 4 && sizeof(struct acl_value_entry) == 8, "ACL value");

enum acl_tag {
	ACL_TAG_USER_OBJ = 0x01,
	ACL_TAG_USER = 0x02,
	ACL_TAG_GROUP_OBJ = 0x04,
	ACL_TAG_GROUP = 0x08,
	ACL_TAG_MASK = 0x10,
	ACL_TAG_OTHER = 0x20,
};

/* As many as an xattr that is kept in the tree can hold. */
#define ACL_ENTRIES_MAX ((XATTR_INLINE_MAX - sizeof(struct acl_header)) / sizeof(struct acl_value_entry))
#define ACL_VALUE_MAX (sizeof(struct acl_header) + ACL_ENTRIES_MAX * sizeof(struct acl_value_entry))

struct acl_entry { uint16_t tag, permissions; uint32_t id; };
struct acl {
	unsigned count;                  /* 0: no ACL */
	struct acl_entry entries[ACL_ENTRIES_MAX];
};

/* An empty value, and one of a header alone, is an ACL without entries (it asks for removal).  -EINVAL for a value that is no valid
 * ACL, -EOPNOTSUPP for another version, -E2BIG for more than ACL_ENTRIES_MAX entries. */
int acl_parse(const void *value, size_t bytes, struct acl *ret_acl);
/* Writes at most ACL_VALUE_MAX bytes; returns how many. */
size_t acl_encode(const struct acl *acl, void *ret_value);

/* The permission bits of `mode` as an access ACL (with entries) gives them.  Returns true if the mode says all that it does. */
bool acl_to_mode(const struct acl *acl, uint32_t *mode);
/* The other way: chmod of a file with an access ACL. */
void acl_chmod(struct acl *acl, uint32_t mode);
/* Creation with `mode` in a directory with the default ACL `acl`: turns it into the new object's access ACL, and masks *mode.
 * Returns true if the mode says all that it does. */
bool acl_create(struct acl *acl, uint32_t *mode);

#endif
