/* What fuzz targets share.
 *
 * A target is one file fuzz_NAME.c that defines LLVMFuzzerTestOneInput.  It gets bytes as they could lie on a disk or come from a
 * user, mends what only tells damage (a checksum; a tag is not there: it gets the plaintext), calls the parser, and says with MUST
 * what holds of all that the parser accepts.  It calls fuzz_accept for an input that was accepted: a run in which none is proves
 * nothing, and fails. */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MUST(condition) ((condition) ? (void)0 : fuzz_fail(__FILE__, __LINE__, #condition))
_Noreturn void fuzz_fail(const char *file, int line, const char *condition);

void fuzz_accept(void);
uint64_t fuzz_accepted(void);

/* Takes the first `bytes` of the input; what it lacks is zero, so that corpus files need no zeros at their end. */
static inline void fuzz_take(const uint8_t *data, size_t size, void *ret_bytes, size_t bytes)
{
	size_t have = size < bytes ? size : bytes;

	if (have)
		memcpy(ret_bytes, data, have);
	memset((uint8_t *)ret_bytes + have, 0, bytes - have);
}

#endif
