/* See acl.h. */
#include "fs/names/acl.h"

#include <errno.h>
#include <sys/stat.h>

#define PERMISSIONS (S_IRWXU | S_IRWXG | S_IRWXO)
#define ENTRY_PERMISSIONS 7u

/* The order that entries must have, and what must be there once. */
static int acl_check(const struct acl *acl)
{
	uint16_t last = 0;
	unsigned seen = 0;

	for (unsigned i = 0; i < acl->count; i++) {
		const struct acl_entry *e = &acl->entries[i];
		if (e->permissions & ~ENTRY_PERMISSIONS)
			return -EINVAL;
		switch (e->tag) {
		case ACL_TAG_USER:
		case ACL_TAG_GROUP:
			if (e->id == UINT32_MAX || e->tag < last)
				return -EINVAL;
			break;
		case ACL_TAG_USER_OBJ:
		case ACL_TAG_GROUP_OBJ:
		case ACL_TAG_MASK:
		case ACL_TAG_OTHER:
			if (e->tag <= last)
				return -EINVAL;
			break;
		default:
			return -EINVAL;
		}
		last = e->tag;
		seen |= e->tag;
	}
	unsigned needed = ACL_TAG_USER_OBJ | ACL_TAG_GROUP_OBJ | ACL_TAG_OTHER;
	if (seen & (ACL_TAG_USER | ACL_TAG_GROUP))
		needed |= ACL_TAG_MASK;
	return (seen & needed) == needed ? 0 : -EINVAL;
}

int acl_parse(const void *value, size_t bytes, struct acl *ret_acl)
{
	const struct acl_header *header = value;
	const struct acl_value_entry *entries = (const void *)((const uint8_t *)value + sizeof *header);
	struct acl acl = { 0 };

	if (bytes > 0) {
		if (bytes < sizeof *header || (bytes - sizeof *header) % sizeof *entries)
			return -EINVAL;
		if (le32_get(header->version) != ACL_VERSION)
			return -EOPNOTSUPP;
		size_t count = (bytes - sizeof *header) / sizeof *entries;
		if (count > ACL_ENTRIES_MAX)
			return -E2BIG;
		acl.count = (unsigned)count;
	}
	for (unsigned i = 0; i < acl.count; i++)
		acl.entries[i] = (struct acl_entry){ le16_get(entries[i].tag), le16_get(entries[i].permissions), le32_get(entries[i].id) };
	if (acl.count > 0) {
		int r = acl_check(&acl);
		if (r < 0)
			return r;
	}
	*ret_acl = acl;
	return 0;
}

size_t acl_encode(const struct acl *acl, void *ret_value)
{
	struct acl_header *header = ret_value;
	struct acl_value_entry *entries = (void *)((uint8_t *)ret_value + sizeof *header);

	header->version = le32_put(ACL_VERSION);
	for (unsigned i = 0; i < acl->count; i++)
		entries[i] = (struct acl_value_entry){ le16_put(acl->entries[i].tag), le16_put(acl->entries[i].permissions),
			le32_put(acl->entries[i].id) };
	return sizeof *header + acl->count * sizeof *entries;
}

/* The entry that the mode's group bits stand for: the mask, or the owning group where there is none. */
static struct acl_entry *group_class(struct acl *acl)
{
	struct acl_entry *group = NULL;

	for (unsigned i = 0; i < acl->count; i++) {
		if (acl->entries[i].tag == ACL_TAG_MASK)
			return &acl->entries[i];
		if (acl->entries[i].tag == ACL_TAG_GROUP_OBJ)
			group = &acl->entries[i];
	}
	assert(group);
	return group;
}

static bool is_extended(const struct acl *acl)
{
	for (unsigned i = 0; i < acl->count; i++)
		if (acl->entries[i].tag & (ACL_TAG_USER | ACL_TAG_GROUP | ACL_TAG_MASK))
			return true;
	return false;
}

bool acl_to_mode(const struct acl *acl, uint32_t *mode)
{
	uint32_t bits = (uint32_t)group_class((struct acl *)acl)->permissions << 3;

	for (unsigned i = 0; i < acl->count; i++) {
		const struct acl_entry *e = &acl->entries[i];
		if (e->tag == ACL_TAG_USER_OBJ)
			bits |= (uint32_t)e->permissions << 6;
		else if (e->tag == ACL_TAG_OTHER)
			bits |= e->permissions;
	}
	*mode = (*mode & ~(uint32_t)PERMISSIONS) | bits;
	return !is_extended(acl);
}

void acl_chmod(struct acl *acl, uint32_t mode)
{
	for (unsigned i = 0; i < acl->count; i++) {
		struct acl_entry *e = &acl->entries[i];
		if (e->tag == ACL_TAG_USER_OBJ)
			e->permissions = mode >> 6 & ENTRY_PERMISSIONS;
		else if (e->tag == ACL_TAG_OTHER)
			e->permissions = mode & ENTRY_PERMISSIONS;
	}
	group_class(acl)->permissions = mode >> 3 & ENTRY_PERMISSIONS;
}

bool acl_create(struct acl *acl, uint32_t *mode)
{
	uint32_t wanted = *mode;

	for (unsigned i = 0; i < acl->count; i++) {
		struct acl_entry *e = &acl->entries[i];
		if (e->tag == ACL_TAG_USER_OBJ)
			e->permissions &= wanted >> 6;
		else if (e->tag == ACL_TAG_OTHER)
			e->permissions &= wanted;
	}
	group_class(acl)->permissions &= wanted >> 3;
	return acl_to_mode(acl, mode);
}
