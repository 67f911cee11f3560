/* ACLs from xattrs: what parses encodes to the same bytes, and what chmod and creation make of it parses again. */
#include "fs/names/acl.h"
#include "tests/fuzz/fuzz.h"

#include <errno.h>

#define TYPE_AND_MODE 0107777u

static void must_parse_again(const struct acl *acl)
{
	uint8_t value[ACL_VALUE_MAX];
	struct acl back;

	size_t bytes = acl_encode(acl, value);
	MUST(acl_parse(value, bytes, &back) == 0 && back.count == acl->count);
	MUST(!memcmp(back.entries, acl->entries, acl->count * sizeof *acl->entries));
}

static void use(const struct acl *acl, uint32_t mode)
{
	struct acl changed = *acl;
	uint32_t made = mode, said = mode;

	bool plain = acl_to_mode(acl, &said);
	MUST((said & ~0777u) == (mode & ~0777u) && plain == (acl->count == 3));
	acl_chmod(&changed, mode);
	must_parse_again(&changed);
	said = mode & ~0777u;
	acl_to_mode(&changed, &said);
	MUST(said == mode);
	changed = *acl;
	MUST(acl_create(&changed, &made) == plain);
	must_parse_again(&changed);
	MUST((made & ~mode) == 0 && (made & ~0777u) == (mode & ~0777u));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t again[ACL_VALUE_MAX];
	struct acl acl, untouched;

	memset(&acl, 0xa5, sizeof acl);
	memset(&untouched, 0xa5, sizeof untouched);
	int r = acl_parse(data, size, &acl);
	if (r < 0) {
		MUST(r == -EINVAL || r == -EOPNOTSUPP || (r == -E2BIG && size > ACL_VALUE_MAX));
		MUST(!memcmp(&acl, &untouched, sizeof acl));
		return 0;
	}
	MUST(acl.count <= ACL_ENTRIES_MAX);
	if (acl.count == 0)
		return 0;
	fuzz_accept();
	for (unsigned i = 1; i < acl.count; i++) {
		unsigned tag = acl.entries[i].tag, before = acl.entries[i - 1].tag;
		MUST(before < tag || (before == tag && (tag == ACL_TAG_USER || tag == ACL_TAG_GROUP)));
	}
	MUST(acl_encode(&acl, again) == size && !memcmp(again, data, size));
	for (uint32_t mode = 0; mode <= 07777; mode += 0111)
		use(&acl, (mode | 0100000) & TYPE_AND_MODE);
	return 0;
}
