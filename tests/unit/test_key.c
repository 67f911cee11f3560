/* Keys: the arena, derivation, MACs, root sealing, key files, and the estimate of a passphrase's strength. */
#include "crypto/key.h"
#include "crypto/keyfile.h"
#include "crypto/strength.h"
#include "tests/unit/check.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static void test_arena(void)
{
	struct rlimit core;

	CHECK_EQ(prctl(PR_GET_DUMPABLE), 0);
	CHECK(!getrlimit(RLIMIT_CORE, &core) && !core.rlim_cur && !core.rlim_max);
	for (size_t bytes = 1; bytes < 200; bytes += 33) {
		uint8_t *key = key_alloc(bytes);
		REQUIRE(key);
		CHECK(sodium_is_zero(key, bytes));
		CHECK_EQ((uintptr_t)key % 64, 0);
		memset(key, 1, bytes);
		key_free(key);
	}
	key_free(NULL);
}

/* An ordinary user who may lock nothing is warned, and goes on. */
static void test_arena_unlocked(void)
{
#ifdef __SANITIZE_ADDRESS__
	fprintf(stderr, "AddressSanitizer makes mlock succeed always: the warning is not tested\n");
	return;
#endif
	pid_t child = fork();
	int status = 0;

	if (!child) {
		struct fail fail = { 0 };
		struct rlimit none = { 0, 0 };
		if (setrlimit(RLIMIT_MEMLOCK, &none) || (!geteuid() && setuid(65534)))
			_exit(77);
		int warned = key_arena_init(&fail);
		void *key = key_alloc(32);
		_exit(warned > 0 && key && fail.code == FAIL_NONE && !strncmp(fail.text, "could not lock memory (", 23) ? 0 : 1);
	}
	REQUIRE(waitpid(child, &status, 0) == child && WIFEXITED(status));
	if (WEXITSTATUS(status) == 77)
		fprintf(stderr, "could not drop privileges: the warning is not tested\n");
	else
		CHECK_EQ(WEXITSTATUS(status), 0);
}

static void test_derivation(void)
{
	struct master_key master = { { 1, 2, 3 } }, other = { { 1, 2, 4 } };
	struct uuid uuid = { { 9 } }, uuid2 = { { 10 } };
	struct keys a = { 0 }, b = { 0 };

	keys_derive(&master, CIPHER_XCHACHA20_POLY1305, &uuid, 5, &a);
	keys_derive(&master, CIPHER_XCHACHA20_POLY1305, &uuid, 5, &b);
	CHECK(!memcmp(&a, &b, sizeof a));
	CHECK(keys_secret(&a));
	const uint8_t *all[] = { a.data.key, a.root, a.log, a.label_mac, a.promise_mac, a.name_hash };
	for (int i = 0; i < 6; i++)
		for (int j = 0; j < i; j++)
			CHECK(memcmp(all[i], all[j], 16));

	/* The exact message, so that the format cannot change by accident. */
	uint8_t message[60] = "raid5cryptfs v1", expected[32];
	memcpy(message + 16, "label mac", 9);
	message[32] = 1;
	message[36] = 9;
	message[52] = 5;
	crypto_generichash(expected, 32, message, sizeof message, master.b, 32);
	CHECK(!memcmp(expected, a.label_mac, 32));

	keys_derive(&other, CIPHER_XCHACHA20_POLY1305, &uuid, 5, &b);
	CHECK(memcmp(a.data.key, b.data.key, 32) && memcmp(a.root, b.root, 32));
	keys_derive(&master, CIPHER_AES256_GCM, &uuid, 5, &b);
	CHECK(memcmp(a.data.key, b.data.key, 32) && memcmp(a.root, b.root, 32));
	keys_derive(&master, CIPHER_XCHACHA20_POLY1305, &uuid2, 5, &b);
	CHECK(memcmp(a.data.key, b.data.key, 32) && memcmp(a.label_mac, b.label_mac, 32));
	keys_derive(&master, CIPHER_XCHACHA20_POLY1305, &uuid, 4, &b);
	CHECK(memcmp(a.data.key, b.data.key, 32) && memcmp(a.name_hash, b.name_hash, 16));

	keys_none(&uuid, &a);
	keys_none(&uuid, &b);
	CHECK(!keys_secret(&a) && !memcmp(&a, &b, sizeof a));
	keys_none(&uuid2, &b);
	CHECK(memcmp(a.label_mac, b.label_mac, 32) && memcmp(a.name_hash, b.name_hash, 16));

	struct master_key made = { { 0 } };
	master_key_make(env_system(), &made);
	CHECK(!sodium_is_zero(made.b, sizeof made.b));
}

static void test_mac(void)
{
	uint8_t key[32] = { 1 }, data[50] = { 2 }, mac[32];
	unsigned accepted = 0;

	mac32(key, data, sizeof data, mac);
	CHECK_EQ(mac32_verify(key, data, sizeof data, mac), 0);
	for (unsigned bit = 0; bit < 256; bit++) {
		mac[bit / 8] ^= (uint8_t)(1u << bit % 8);
		accepted += mac32_verify(key, data, sizeof data, mac) != -EBADMSG;
		mac[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	CHECK_EQ(accepted, 0);
	data[49] ^= 1;
	CHECK_EQ(mac32_verify(key, data, sizeof data, mac), -EBADMSG);
	data[49] ^= 1;
	CHECK_EQ(mac32_verify(key, data, sizeof data - 1, mac), -EBADMSG);
	key[31] ^= 1;
	CHECK_EQ(mac32_verify(key, data, sizeof data, mac), -EBADMSG);
}

static void test_name_hash(void)
{
	/* The vectors of the SipHash paper: key 00..0f, message 00..0e. */
	uint8_t key[16], message[15];

	for (int i = 0; i < 16; i++)
		key[i] = (uint8_t)i;
	for (int i = 0; i < 15; i++)
		message[i] = (uint8_t)i;
	CHECK(name_hash(key, message, 15) == UINT64_C(0xa129ca6149be45e5));
}

static void test_root(bool secret)
{
	struct master_key master = { { 1 } };
	struct uuid uuid = { { 2 } };
	struct keys keys;
	uint8_t header[200], body[300], sealed[300], tag[16], nonce[24] = { 0 }, second[24] = { 0 };
	unsigned accepted = 0;

	if (secret)
		keys_derive(&master, CIPHER_AES256_GCM, &uuid, 0, &keys);
	else
		keys_none(&uuid, &keys);
	memset(header, 3, sizeof header);
	for (size_t i = 0; i < sizeof body; i++)
		body[i] = (uint8_t)i;
	root_nonce(env_system(), nonce);
	root_nonce(env_system(), second);
	CHECK(memcmp(nonce, second, sizeof nonce));
	memcpy(header + 100, nonce, sizeof nonce);
	memcpy(sealed, body, sizeof body);
	root_seal(&keys, nonce, header, sizeof header, sealed, sizeof sealed, tag);
	CHECK(!memcmp(sealed, body, sizeof body) == !secret);

	const struct { uint8_t *p; size_t bytes; } parts[] = { { header, sizeof header }, { sealed, sizeof sealed }, { tag, 16 }, { nonce, 24 } };
	for (unsigned part = 0; part < 4; part++) {
		for (size_t bit = 0; bit < parts[part].bytes * 8; bit++) {
			uint8_t copy[300];
			parts[part].p[bit / 8] ^= (uint8_t)(1u << bit % 8);
			memcpy(copy, sealed, sizeof copy);
			accepted += root_open(&keys, nonce, header, sizeof header, copy, sizeof copy, tag) != -EBADMSG;
			parts[part].p[bit / 8] ^= (uint8_t)(1u << bit % 8);
		}
	}
	CHECK_EQ(accepted, 0);
	CHECK_EQ(root_open(&keys, nonce, header, sizeof header, sealed, sizeof sealed, tag), 0);
	CHECK(!memcmp(sealed, body, sizeof body));
}

/* ---- Key files ---- */

static char dir[] = "/tmp/test_key.XXXXXX";
static char path[64];

static void put_file(const void *bytes, size_t length, mode_t mode)
{
	unlink(path);
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
	REQUIRE(fd >= 0);
	REQUIRE(write(fd, bytes, length) == (ssize_t)length);
	REQUIRE(!fchmod(fd, mode));
	close(fd);
}

static int read_key(struct secret_buffer *ret_buffer, struct fail *fail)
{
	memset(fail, 0, sizeof *fail);
	memset(ret_buffer, 0, sizeof *ret_buffer);
	return keyfile_read(path, ret_buffer, fail);
}

#define CHECK_REFUSED(err_, words) do { \
	struct secret_buffer buffer_; struct fail fail_; \
	CHECK_EQ(read_key(&buffer_, &fail_), -(err_)); \
	CHECK_EQ(fail_.code, FAIL_KEYFILE); \
	CHECK(strstr(fail_.text, words)); \
	CHECK(strstr(fail_.text, path)); \
	CHECK(!buffer_.bytes); \
} while (0)

static void test_generated(void)
{
	struct secret_buffer buffer, again;
	struct fail fail = { 0 };
	char text[KEYFILE_TEXT_BYTES + 1] = "";
	struct stat st;

	unlink(path);
	REQUIRE(!keyfile_generate(path, env_system(), &fail));
	CHECK(!stat(path, &st) && (st.st_mode & 07777) == 0400 && st.st_size == KEYFILE_TEXT_BYTES);
	REQUIRE(!read_key(&buffer, &fail));
	CHECK(buffer.generated && !buffer.others_can_read);
	CHECK_EQ(buffer.length_bytes, SECRET_GENERATED_BYTES);
	CHECK_EQ(secret_of(&buffer).kind, SECRET_KEY_GENERATED);
	CHECK(!sodium_is_zero(buffer.bytes, buffer.length_bytes));

	CHECK_EQ(keyfile_generate(path, env_system(), &fail), -EEXIST);
	CHECK_EQ(fail.code, FAIL_KEYFILE);
	CHECK(strstr(fail.text, "never overwritten"));
	REQUIRE(!read_key(&again, &fail));
	CHECK(!memcmp(buffer.bytes, again.bytes, SECRET_GENERATED_BYTES));
	secret_buffer_free(&again);
	CHECK(!again.bytes);

	int fd = open(path, O_RDONLY);
	REQUIRE(read(fd, text, sizeof text) == KEYFILE_TEXT_BYTES);
	close(fd);
	CHECK(!strncmp(text, "raid5cryptfs key 1\n", 19));

	/* Without the last newline it is the same key. */
	put_file(text, KEYFILE_TEXT_BYTES - 1, 0400);
	REQUIRE(!read_key(&again, &fail));
	CHECK(again.generated && !memcmp(buffer.bytes, again.bytes, SECRET_GENERATED_BYTES));
	secret_buffer_free(&again);

	/* Any changed character is damage, never another key. */
	unsigned accepted = 0;
	for (int i = 0; i < KEYFILE_TEXT_BYTES; i++) {
		char before = text[i];
		text[i] = before == 'x' ? 'y' : 'x';
		put_file(text, KEYFILE_TEXT_BYTES, 0400);
		accepted += read_key(&again, &fail) != -EBADMSG;
		text[i] = before == '0' ? '1' : '0';
		put_file(text, KEYFILE_TEXT_BYTES, 0400);
		accepted += read_key(&again, &fail) != -EBADMSG;
		text[i] = before;
	}
	CHECK_EQ(accepted, 0);
	put_file(text, 40, 0400);
	CHECK_REFUSED(EBADMSG, "is damaged");
	text[17] = '2';
	put_file(text, KEYFILE_TEXT_BYTES, 0400);
	CHECK_REFUSED(EPROTONOSUPPORT, "newer version");
	secret_buffer_free(&buffer);
}

static void test_own_file(void)
{
	static uint8_t large[KEYFILE_BYTES_MAX + 1];
	struct secret_buffer a, b;
	struct fail fail;

	put_file("hunter2", 7, 0644);
	REQUIRE(!read_key(&a, &fail));
	CHECK(!a.generated && a.others_can_read);
	CHECK_EQ(secret_of(&a).kind, SECRET_KEY_FILE);
	put_file("hunter2\n", 8, 0600);
	REQUIRE(!read_key(&b, &fail));
	CHECK(!b.others_can_read);
	CHECK(memcmp(a.bytes, b.bytes, a.length_bytes));         /* the newline is data */
	secret_buffer_free(&a);
	secret_buffer_free(&b);

	/* Hashed whole, over several chunks: the last byte counts. */
	put_file(large, KEYFILE_BYTES_MAX, 0600);
	REQUIRE(!read_key(&a, &fail));
	large[KEYFILE_BYTES_MAX - 1] = 1;
	put_file(large, KEYFILE_BYTES_MAX, 0600);
	REQUIRE(!read_key(&b, &fail));
	CHECK(memcmp(a.bytes, b.bytes, a.length_bytes));
	uint8_t expected[64];
	crypto_generichash_state hash;
	crypto_generichash_init(&hash, NULL, 0, 64);
	crypto_generichash_update(&hash, (const uint8_t *)"raid5cryptfs v1 keyfile", 24);
	crypto_generichash_update(&hash, large, KEYFILE_BYTES_MAX);
	crypto_generichash_final(&hash, expected, 64);
	CHECK(b.length_bytes == 64 && !memcmp(b.bytes, expected, 64));
	secret_buffer_free(&a);
	secret_buffer_free(&b);
	put_file(large, KEYFILE_BYTES_MAX + 1, 0600);
	CHECK_REFUSED(EFBIG, "too large: at most 8 MiB");

	put_file("", 0, 0600);
	CHECK_REFUSED(ENODATA, "is empty");
	unlink(path);
	CHECK_REFUSED(ENOENT, "does not exist");
	REQUIRE(!mkdir(path, 0700));
	CHECK_REFUSED(EISDIR, "is a directory");
	REQUIRE(!rmdir(path));
	put_file("x", 1, 0000);
	if (geteuid())
		CHECK_REFUSED(EACCES, "may not be read");
}

/* From a pipe: the same bytes are the same key, and too many are refused though their number is not known first. */
static void test_standard_input(void)
{
	struct secret_buffer a, b;
	struct fail fail;
	int ends[2];

	put_file("some key\n", 9, 0600);
	REQUIRE(!read_key(&a, &fail));
	REQUIRE(!pipe(ends));
	REQUIRE(write(ends[1], "some key\n", 9) == 9);
	close(ends[1]);
	REQUIRE(dup2(ends[0], 0) == 0);
	close(ends[0]);
	REQUIRE(!keyfile_read("-", &b, &fail));
	CHECK(!b.others_can_read && !memcmp(a.bytes, b.bytes, 64));
	secret_buffer_free(&a);
	secret_buffer_free(&b);
	CHECK_EQ(keyfile_read("-", &b, &fail), -ENODATA);
	CHECK(strstr(fail.text, "on standard input is empty"));
	CHECK_EQ(keyfile_read("/dev/zero", &b, &fail), -EFBIG);
}

static void test_strength(void)
{
	CHECK_EQ(passphrase_strength_bits(""), 0);
	CHECK(passphrase_strength_bits("Password1!") < 28);
	CHECK(passphrase_strength_bits("aaaaaaaaaaaaaaaaaaaaaaaa") < 28);
	CHECK(passphrase_strength_bits("12345678") < 28);
	CHECK(passphrase_strength_bits("abcdefghijklmnop") < 28);
	CHECK(passphrase_strength_bits("qwertyuiop") < 28);
	CHECK(passphrase_strength_bits("2024-01-01") < 40);
	CHECK(passphrase_strength_bits("Tr0ub4dor&3") < 40);
	CHECK(passphrase_strength_bits("Tr0ub4dor&3") > passphrase_strength_bits("troubador"));
	CHECK(passphrase_strength_bits("unhappy frosting ladle dimmer tacky voucher") >= 76);
	CHECK(passphrase_strength_bits("k7#Vq2!zRw9$Lm4x") >= 76);
	CHECK(passphrase_strength_bits("k7#Vk7#Vk7#Vk7#V") < passphrase_strength_bits("k7#Vq2!zRw9$Lm4x"));
	CHECK(!strcmp(strength_word(0), "very weak") && !strcmp(strength_word(30), "weak") && !strcmp(strength_word(50), "fair"));
	CHECK(!strcmp(strength_word(60), "good") && !strcmp(strength_word(128), "strong"));
	char long_one[2000];
	memset(long_one, 'a', sizeof long_one - 1);
	long_one[sizeof long_one - 1] = '\0';
	CHECK(passphrase_strength_bits(long_one) < 200);
}

int main(void)
{
	REQUIRE(key_arena_init(NULL) >= 0);
	REQUIRE(mkdtemp(dir));
	snprintf(path, sizeof path, "%s/key", dir);
	test_arena();
	test_arena_unlocked();
	test_derivation();
	test_mac();
	test_name_hash();
	test_root(true);
	test_root(false);
	test_generated();
	test_own_file();
	test_standard_input();
	test_strength();
	unlink(path);
	rmdir(dir);
	return CHECK_DONE();
}
