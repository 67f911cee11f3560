/* Key files.  What is read goes through work space in the arena, a chunk at a time, so that no copy of a key lies elsewhere
 * and a large file needs no more locked memory than a small one. */
#include "crypto/keyfile.h"

#include "base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#define CHUNK_BYTES 16384u
#define HEADER "raid5cryptfs key "
#define VERSION_LINE HEADER "1\n"
#define DIGITS_AT 19                 /* after the first line */
#define CHECK_AT (DIGITS_AT + 65)
#define CHECK "check "
static_assert(sizeof VERSION_LINE - 1 == DIGITS_AT, "first line");
static_assert(CHECK_AT + sizeof CHECK - 1 + 16 + 1 == KEYFILE_TEXT_BYTES, "length of a generated file");

static void key_check(const uint8_t key[SECRET_GENERATED_BYTES], uint8_t ret_check[8])
{
	XXH64_canonical_t check;

	XXH64_canonicalFromHash(&check, XXH3_64bits(key, SECRET_GENERATED_BYTES));
	memcpy(ret_check, &check, 8);
}

/* ---- Generating ---- */

static int write_all(int fd, const char *text, size_t bytes)
{
	while (bytes > 0) {
		ssize_t n = write(fd, text, bytes);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		text += n;
		bytes -= (size_t)n;
	}
	return 0;
}

/* Makes the name itself durable. */
static int sync_parent(const char *path)
{
	char parent[PATH_MAX];
	const char *slash = strrchr(path, '/');
	size_t length = slash ? (size_t)(slash - path) : 0;

	if (length >= sizeof parent)
		return -ENAMETOOLONG;
	memcpy(parent, path, length);
	parent[length] = '\0';
	autoclose int fd = open(length ? parent : slash ? "/" : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fsync(fd))
		return -errno;
	return 0;
}

static int write_file(const char *path, const char *text)
{
	autoclose int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0400);

	if (fd < 0)
		return -errno;
	int err = fchmod(fd, 0400) ? -errno : 0;
	if (!err)
		err = write_all(fd, text, KEYFILE_TEXT_BYTES);
	if (!err && fsync(fd))
		err = -errno;
	if (!err)
		err = sync_parent(path);
	if (err)
		unlink(path);
	return err;
}

int keyfile_generate(const char *path, const struct env *env, struct fail *fail)
{
	struct { uint8_t key[SECRET_GENERATED_BYTES], check[8]; char text[KEYFILE_TEXT_BYTES + 1]; } *work = key_alloc(sizeof *work);

	if (!work)
		return fail_set(fail, ENOMEM, FAIL_SYSTEM, "not enough memory to make a key file");
	env_random(env, work->key, sizeof work->key);
	key_check(work->key, work->check);
	memcpy(work->text, VERSION_LINE, DIGITS_AT);
	sodium_bin2hex(work->text + DIGITS_AT, 65, work->key, sizeof work->key);
	work->text[CHECK_AT - 1] = '\n';
	memcpy(work->text + CHECK_AT, CHECK, sizeof CHECK - 1);
	sodium_bin2hex(work->text + CHECK_AT + sizeof CHECK - 1, 17, work->check, sizeof work->check);
	work->text[KEYFILE_TEXT_BYTES - 1] = '\n';
	int err = write_file(path, work->text);
	key_free(work);
	if (err == -EEXIST)
		return fail_set(fail, EEXIST, FAIL_KEYFILE, "%s exists already and may be a key that is in use: it is never overwritten; "
			"choose another name", path);
	if (err)
		return fail_set(fail, -err, FAIL_KEYFILE, "could not write the key file %s: %s", path, strerror(-err));
	return 0;
}

/* ---- Reading ---- */

struct read_work {
	crypto_generichash_state hash;
	uint8_t chunk[CHUNK_BYTES];
};

/* Fills the chunk as far as there are bytes: their number, or -errno.  A pipe may give none for ever: a signal ends that (-EINTR). */
static ssize_t read_chunk(int fd, uint8_t *chunk)
{
	size_t have = 0;

	while (have < CHUNK_BYTES) {
		ssize_t n = read(fd, chunk + have, CHUNK_BYTES - have);
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		have += (size_t)n;
	}
	return (ssize_t)have;
}

/* Was it generated, even if it is damaged now?  The first line and the last vouch for each other. */
static bool looks_generated(const uint8_t *text, size_t bytes)
{
	if (bytes >= sizeof HEADER - 1 && !memcmp(text, HEADER, sizeof HEADER - 1))
		return true;
	return bytes == KEYFILE_TEXT_BYTES && !memcmp(text + CHECK_AT, CHECK, sizeof CHECK - 1);
}

/* The key of a generated file: 0, -EBADMSG or -EPROTONOSUPPORT.  A missing last newline is forgiven. */
static int parse_generated(const uint8_t *text, size_t bytes, uint8_t ret_key[SECRET_GENERATED_BYTES])
{
	const char *digits = (const char *)text + DIGITS_AT, *check_digits = (const char *)text + CHECK_AT + sizeof CHECK - 1;
	uint8_t check[8], own[8];
	size_t length;

	if (bytes >= DIGITS_AT && !memcmp(text, HEADER, sizeof HEADER - 1) && text[DIGITS_AT - 1] == '\n'
		&& text[DIGITS_AT - 2] >= '2' && text[DIGITS_AT - 2] <= '9')
		return -EPROTONOSUPPORT;
	if (bytes != KEYFILE_TEXT_BYTES && bytes != KEYFILE_TEXT_BYTES - 1)
		return -EBADMSG;
	if (memcmp(text, VERSION_LINE, DIGITS_AT) || text[CHECK_AT - 1] != '\n' || memcmp(text + CHECK_AT, CHECK, sizeof CHECK - 1)
		|| (bytes == KEYFILE_TEXT_BYTES && text[bytes - 1] != '\n'))
		return -EBADMSG;
	if (sodium_hex2bin(ret_key, SECRET_GENERATED_BYTES, digits, 64, NULL, &length, NULL) || length != SECRET_GENERATED_BYTES
		|| sodium_hex2bin(check, sizeof check, check_digits, 16, NULL, &length, NULL) || length != sizeof check)
		return -EBADMSG;
	key_check(ret_key, own);
	return sodium_memcmp(check, own, sizeof own) ? -EBADMSG : 0;
}

static int hash_rest(int fd, struct read_work *work, size_t have, uint8_t ret_digest[crypto_generichash_BYTES_MAX])
{
	static const uint8_t context[24] = "raid5cryptfs v1 keyfile";
	size_t total = 0;

	crypto_generichash_init(&work->hash, NULL, 0, crypto_generichash_BYTES_MAX);
	crypto_generichash_update(&work->hash, context, sizeof context);
	while (have > 0) {
		total += have;
		if (total > KEYFILE_BYTES_MAX)
			return -EFBIG;
		crypto_generichash_update(&work->hash, work->chunk, have);
		if (have < CHUNK_BYTES)
			break;
		ssize_t n = read_chunk(fd, work->chunk);
		if (n < 0)
			return (int)n;
		have = (size_t)n;
	}
	crypto_generichash_final(&work->hash, ret_digest, crypto_generichash_BYTES_MAX);
	return 0;
}

static int read_secret(int fd, struct secret_buffer *buffer)
{
	struct read_work *work = key_alloc(sizeof *work);
	ssize_t have = work ? read_chunk(fd, work->chunk) : -ENOMEM;
	int err = have < 0 ? (int)have : have == 0 ? -ENODATA : 0;

	if (!err) {
		buffer->generated = looks_generated(work->chunk, (size_t)have);
		buffer->length_bytes = buffer->generated ? SECRET_GENERATED_BYTES : crypto_generichash_BYTES_MAX;
		buffer->bytes = key_alloc(buffer->length_bytes);
		if (!buffer->bytes)
			err = -ENOMEM;
		else if (buffer->generated)
			err = parse_generated(work->chunk, (size_t)have, buffer->bytes);
		else
			err = hash_rest(fd, work, (size_t)have, buffer->bytes);
	}
	key_free(work);
	return err;
}

static int read_failed(const char *name, int err, struct fail *fail)
{
	switch (err) {
	case ENOENT:
	case ENOTDIR:
		return fail_set(fail, err, FAIL_KEYFILE, "the key file %s does not exist: check the path, or plug in the medium that holds it", name);
	case EISDIR:
		return fail_set(fail, err, FAIL_KEYFILE, "the key file %s is a directory: name the file in it", name);
	case ENODATA:
		return fail_set(fail, err, FAIL_KEYFILE, "the key file %s is empty: an empty key protects nothing; restore it from a backup", name);
	case EFBIG:
		return fail_set(fail, err, FAIL_KEYFILE, "the key file %s is too large: at most %u MiB are read; is it the right file?",
			name, KEYFILE_BYTES_MAX >> 20);
	case EBADMSG:
		return fail_set(fail, err, FAIL_KEYFILE, "the generated key file %s is damaged: its checksum or form is wrong; "
			"restore it from a backup", name);
	case EPROTONOSUPPORT:
		return fail_set(fail, err, FAIL_KEYFILE, "the key file %s was generated by a newer version: use that version", name);
	case EINTR:
		return fail_set(fail, err, FAIL_USAGE, "stopped while waiting for the key file %s; nothing was changed", name);
	case EACCES:
	case EPERM:
		return fail_set(fail, err, FAIL_KEYFILE, "the key file %s may not be read (%s): check its owner and mode", name, strerror(err));
	default:
		return fail_set(fail, err, FAIL_KEYFILE, "could not read the key file %s: %s", name, strerror(err));
	}
}

int keyfile_read(const char *path, struct secret_buffer *ret_buffer, struct fail *fail)
{
	bool standard_input = !strcmp(path, "-");
	const char *name = standard_input ? "on standard input" : path;
	struct secret_buffer buffer = { 0 };
	struct stat st;
	int err = 0;

	autoclose int opened = standard_input ? -1 : open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	int fd = standard_input ? STDIN_FILENO : opened;
	if (fd < 0 || fstat(fd, &st))
		return read_failed(name, errno, fail);
	if (S_ISDIR(st.st_mode))
		err = -EISDIR;
	else if (S_ISREG(st.st_mode) && st.st_size > (off_t)KEYFILE_BYTES_MAX)
		err = -EFBIG;
	else
		err = read_secret(fd, &buffer);
	if (err) {
		secret_buffer_free(&buffer);
		return read_failed(name, -err, fail);
	}
	buffer.others_can_read = S_ISREG(st.st_mode) && (st.st_mode & (S_IRWXG | S_IRWXO));
	*ret_buffer = buffer;
	return 0;
}

void secret_buffer_free(struct secret_buffer *buffer)
{
	key_free(buffer->bytes);
	*buffer = (struct secret_buffer){ 0 };
}

struct secret secret_of(const struct secret_buffer *buffer)
{
	return (struct secret){
		.kind = buffer->generated ? SECRET_KEY_GENERATED : SECRET_KEY_FILE,
		.bytes = buffer->bytes,
		.length_bytes = buffer->length_bytes,
	};
}
