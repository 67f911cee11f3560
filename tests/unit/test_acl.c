/* POSIX ACLs: parsing what is valid and refusing what is not, and keeping ACL and mode in step. */
#include "base/cleanup.h"
#include "fs/names/acl.h"
#include "tests/unit/check.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#define NOBODY UINT32_MAX

static size_t value_of(const struct acl_entry *entries, unsigned count, uint8_t *ret_value)
{
	struct acl acl = { .count = count };
	memcpy(acl.entries, entries, count * sizeof *entries);
	return acl_encode(&acl, ret_value);
}

static const struct acl_entry plain[] = {
	{ ACL_TAG_USER_OBJ, 6, NOBODY }, { ACL_TAG_GROUP_OBJ, 4, NOBODY }, { ACL_TAG_OTHER, 0, NOBODY },
};
static const struct acl_entry extended[] = {
	{ ACL_TAG_USER_OBJ, 7, NOBODY }, { ACL_TAG_USER, 7, 1000 }, { ACL_TAG_USER, 5, 1001 }, { ACL_TAG_GROUP_OBJ, 5, NOBODY },
	{ ACL_TAG_GROUP, 6, 50 }, { ACL_TAG_MASK, 7, NOBODY }, { ACL_TAG_OTHER, 1, NOBODY },
};

static void test_parse(void)
{
	uint8_t value[ACL_VALUE_MAX], again[ACL_VALUE_MAX];
	struct acl acl;

	size_t n = value_of(extended, ARRAY_COUNT(extended), value);
	CHECK_EQ(n, 4 + 8 * 7);
	CHECK_EQ(acl_parse(value, n, &acl), 0);
	CHECK_EQ(acl.count, 7);
	CHECK_EQ(acl.entries[1].id, 1000);
	CHECK_EQ(acl_encode(&acl, again), n);
	CHECK(!memcmp(value, again, n));
	CHECK_EQ(acl_parse(value, 0, &acl), 0);
	CHECK_EQ(acl.count, 0);
	CHECK_EQ(acl_parse(value, 4, &acl), 0);
	CHECK_EQ(acl.count, 0);
	CHECK_EQ(acl_parse(value, 3, &acl), -EINVAL);
	CHECK_EQ(acl_parse(value, n - 1, &acl), -EINVAL);
	CHECK_EQ(acl_parse(value, n - 8, &acl), -EINVAL);       /* nothing for others */
	value[0] = 3;
	CHECK_EQ(acl_parse(value, n, &acl), -EOPNOTSUPP);
}

static void refuse(const struct acl_entry *base, unsigned count, unsigned at, struct acl_entry entry)
{
	uint8_t value[ACL_VALUE_MAX];
	struct acl_entry entries[16];
	struct acl acl = { .count = 77 };

	memcpy(entries, base, count * sizeof *base);
	entries[at] = entry;
	CHECK_EQ(acl_parse(value, value_of(entries, count, value), &acl), -EINVAL);
	CHECK_EQ(acl.count, 77);
}

static void test_refuse(void)
{
	uint8_t value[ACL_VALUE_MAX + 8] = { ACL_VERSION };
	struct acl acl;

	refuse(plain, 3, 0, (struct acl_entry){ ACL_TAG_USER_OBJ, 8, NOBODY });
	refuse(plain, 3, 1, (struct acl_entry){ ACL_TAG_USER_OBJ, 4, NOBODY });
	refuse(plain, 3, 1, (struct acl_entry){ 0x40, 4, NOBODY });
	refuse(plain, 3, 1, (struct acl_entry){ 0, 4, NOBODY });
	refuse(plain, 3, 1, (struct acl_entry){ ACL_TAG_OTHER, 4, NOBODY });
	refuse(extended, 7, 1, (struct acl_entry){ ACL_TAG_USER, 7, NOBODY });
	refuse(extended, 7, 1, (struct acl_entry){ ACL_TAG_GROUP, 7, 50 });       /* out of order */
	refuse(extended, 7, 5, (struct acl_entry){ ACL_TAG_GROUP, 7, 51 });       /* no mask */
	CHECK_EQ(acl_parse(value, 4 + 8 * (ACL_ENTRIES_MAX + 1), &acl), -E2BIG);
}

static void test_mode(void)
{
	struct acl acl = { .count = 3 };
	uint32_t mode = S_IFREG | S_ISUID | 0777;

	memcpy(acl.entries, plain, sizeof plain);
	CHECK(acl_to_mode(&acl, &mode));
	CHECK_EQ(mode, S_IFREG | S_ISUID | 0640);
	acl_chmod(&acl, 0751);
	CHECK_EQ(acl.entries[0].permissions, 7);
	CHECK_EQ(acl.entries[1].permissions, 5);
	CHECK_EQ(acl.entries[2].permissions, 1);

	acl.count = 7;
	memcpy(acl.entries, extended, sizeof extended);
	CHECK(!acl_to_mode(&acl, &mode));
	CHECK_EQ(mode, S_IFREG | S_ISUID | 0771);
	acl_chmod(&acl, 0642);
	CHECK_EQ(acl.entries[0].permissions, 6);
	CHECK_EQ(acl.entries[3].permissions, 5);        /* the group stays, the mask changes */
	CHECK_EQ(acl.entries[5].permissions, 4);
	CHECK_EQ(acl.entries[6].permissions, 2);
}

static void test_create(void)
{
	struct acl acl = { .count = 7 };
	uint32_t mode = S_IFREG | 0666;

	memcpy(acl.entries, extended, sizeof extended);
	CHECK(!acl_create(&acl, &mode));
	CHECK_EQ(mode, S_IFREG | 0660);
	CHECK_EQ(acl.entries[0].permissions, 6);
	CHECK_EQ(acl.entries[1].permissions, 7);
	CHECK_EQ(acl.entries[5].permissions, 6);
	CHECK_EQ(acl.entries[6].permissions, 0);

	acl.count = 3;
	memcpy(acl.entries, plain, sizeof plain);
	mode = S_IFDIR | 0755;
	CHECK(acl_create(&acl, &mode));
	CHECK_EQ(mode, S_IFDIR | 0640);
}

int main(void)
{
	test_parse();
	test_refuse();
	test_mode();
	test_create();
	return CHECK_DONE();
}
