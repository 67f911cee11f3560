/* Bodies of roots, opened: what decodes is zero where nothing is. */
#include "fs/core.h"
#include "tests/fuzz/fuzz.h"

#include <errno.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t bytes[ROOT_BODY_BYTES], again[ROOT_BODY_BYTES] = { 0 };
	struct root_body body, untouched;

	fuzz_take(data, size, bytes, sizeof bytes);
	memset(&body, 0xa5, sizeof body);
	memset(&untouched, 0xa5, sizeof untouched);
	int r = root_body_decode(bytes, &body);
	if (r < 0) {
		MUST(r == -EBADMSG && !memcmp(&body, &untouched, sizeof body));
		return 0;
	}
	fuzz_accept();
	MUST(body.file_level <= NODE_LEVEL_MAX && body.system_level <= NODE_LEVEL_MAX);
	memcpy(again, &body, sizeof body);
	MUST(!memcmp(bytes, again, sizeof bytes));
	return 0;
}
