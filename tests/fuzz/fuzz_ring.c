/* Clear headers of roots, and promises: what decodes encodes to the same bytes, and its numbers are in order. */
#include "raid/format.h"
#include "tests/fuzz/fuzz.h"

#include <errno.h>

static void try_root(const uint8_t *data, size_t size)
{
	uint8_t bytes[ROOT_BYTES], again[ROOT_BYTES];
	struct disk_root_header *d = (struct disk_root_header *)bytes;
	struct root_header header, untouched;

	fuzz_take(data, size, bytes, sizeof bytes);
	d->checksum = disk_checksum(d, offsetof(struct disk_root_header, checksum));
	memset(&header, 0xa5, sizeof header);
	memset(&untouched, 0xa5, sizeof untouched);
	int r = root_header_decode(bytes, &header);
	if (r < 0) {
		MUST((r == -ENOENT || r == -EBADMSG) && !memcmp(&header, &untouched, sizeof header));
		return;
	}
	fuzz_accept();
	MUST(header.predecessor < header.generation && header.tree_before <= header.tree && header.tree <= header.generation);
	MUST(header.term + 1 > header.term && header.generation + 1 > header.generation && !uuid_is_zero(&header.array));
	for (unsigned i = 0; i < MEMBERS_MAX; i++) {
		const struct root_member *m = &header.members[i];
		MUST(m->state <= MEMBER_OUT && (m->state != MEMBER_OUT || m->gap.present) && (m->state != MEMBER_ABSENT || !m->gap.present));
	}
	memcpy(again, bytes, sizeof again);
	memset(again, 0xff, ROOT_HEADER_BYTES);
	root_header_encode(&header, again);
	MUST(!memcmp(bytes, again, sizeof bytes));
}

static void try_promise(const uint8_t *data, size_t size)
{
	uint8_t bytes[PROMISE_BYTES], again[PROMISE_BYTES];
	struct disk_promise *d = (struct disk_promise *)bytes;
	struct promise promise, untouched;

	fuzz_take(data, size, bytes, sizeof bytes);
	d->checksum = disk_checksum(d, offsetof(struct disk_promise, checksum));
	memset(&promise, 0xa5, sizeof promise);
	memset(&untouched, 0xa5, sizeof untouched);
	int r = promise_decode(bytes, &promise);
	if (r < 0) {
		MUST((r == -ENOENT || r == -EBADMSG) && !memcmp(&promise, &untouched, sizeof promise));
		return;
	}
	fuzz_accept();
	MUST(promise.term + 1 > promise.term && !uuid_is_zero(&promise.array));
	promise_encode(&promise, again);
	MUST(!memcmp(bytes, again, sizeof bytes));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	try_root(data, size);
	try_promise(data, size);
	return 0;
}
