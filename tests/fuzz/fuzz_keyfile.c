/* Key files: a generated one gives its 32 bytes, any other a digest, and a damaged one a failure with its sentence. */
#include "crypto/keyfile.h"
#include "tests/fuzz/fuzz.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/mman.h>
#include <unistd.h>
#include <xxhash.h>

#define DIGITS_AT 19u
#define CHECK_DIGITS_AT 90u

static int digit(uint8_t c)
{
	return isdigit(c) ? c - '0' : isxdigit(c) ? tolower(c) - 'a' + 10 : -1;
}

/* The key that the digits stand for, if they are digits. */
static bool digits_key(const uint8_t *text, uint8_t ret_key[SECRET_GENERATED_BYTES])
{
	for (unsigned i = 0; i < SECRET_GENERATED_BYTES; i++) {
		int high = digit(text[DIGITS_AT + 2 * i]), low = digit(text[DIGITS_AT + 2 * i + 1]);
		if (high < 0 || low < 0)
			return false;
		ret_key[i] = (uint8_t)(high << 4 | low);
	}
	return true;
}

static void check_digits(const uint8_t key[SECRET_GENERATED_BYTES], char ret_digits[17])
{
	snprintf(ret_digits, 17, "%016llx", (unsigned long long)XXH3_64bits(key, SECRET_GENERATED_BYTES));
}

static void mend(uint8_t *text, size_t size)
{
	uint8_t key[SECRET_GENERATED_BYTES];
	char digits[17];

	if (size < KEYFILE_TEXT_BYTES - 1 || !digits_key(text, key))
		return;
	check_digits(key, digits);
	memcpy(text + CHECK_DIGITS_AT, digits, 16);
}

static void try(const uint8_t *text, size_t size)
{
	struct secret_buffer buffer = { 0 };
	struct fail fail = { 0 };
	uint8_t key[SECRET_GENERATED_BYTES];
	char path[32], digits[17];
	int fd = memfd_create("key file", MFD_CLOEXEC);

	MUST(fd >= 0 && write(fd, text, size) == (ssize_t)size);
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	int r = keyfile_read(path, &buffer, &fail);
	close(fd);
	if (r < 0) {
		MUST(fail.code == FAIL_KEYFILE && *fail.text && !buffer.bytes);
		MUST(r == -EBADMSG || r == -EPROTONOSUPPORT || (r == -ENODATA && size == 0) || (r == -EFBIG && size > KEYFILE_BYTES_MAX));
		return;
	}
	struct secret secret = secret_of(&buffer);
	MUST(secret.length_bytes == buffer.length_bytes && secret.kind == (buffer.generated ? SECRET_KEY_GENERATED : SECRET_KEY_FILE));
	if (buffer.generated) {
		fuzz_accept();
		MUST(size == KEYFILE_TEXT_BYTES || size == KEYFILE_TEXT_BYTES - 1);
		MUST(digits_key(text, key) && buffer.length_bytes == sizeof key && !memcmp(buffer.bytes, key, sizeof key));
		check_digits(key, digits);
		MUST(!strncasecmp(digits, (const char *)text + CHECK_DIGITS_AT, 16));
	} else {
		MUST(buffer.length_bytes == 64 && (size < 17 || memcmp(text, "raid5cryptfs key ", 17)));
	}
	secret_buffer_free(&buffer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static bool started;
	uint8_t *text = malloc(size + 1);

	MUST(text && (started || key_arena_init(NULL) >= 0));
	started = true;
	fuzz_take(data, size, text, size);
	try(text, size);
	mend(text, size);
	try(text, size);
	free(text);
	return 0;
}
