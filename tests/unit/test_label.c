/* The label's codec: round trip, places of fields, every flipped bit, hostile fields, and features by name. */
#include "raid/format.h"
#include "tests/unit/check.h"

#include <errno.h>

static struct label sample(void)
{
	uint64_t sizes[3] = { UINT64_C(1) << 30, UINT64_C(1) << 30, UINT64_C(1) << 30 };
	uint32_t granules[3];
	struct label label = { .format_version = FORMAT_VERSION, .compat = 0x0102030405060708, .ro_compat = 0x1112131415161718,
		.incompat = 0x2122232425262728, .name = "Fotos & Töne", .cipher = 7, .sequence = 0x3132333435363738 };

	REQUIRE(!geometry_plan(sizes, 3, &label.geometry, granules));
	memset(label.array.b, 0xa1, 16);
	memset(label.member.b, 0xb2, 16);
	memset(label.mac, 0xc3, sizeof(label.mac));
	for (unsigned i = 0; i < LABEL_SLOTS_BYTES; i++)
		label.slots[i] = (uint8_t)(i * 7 + i / 256);
	return label;
}

static void reseal(uint8_t bytes[LABEL_BYTES])
{
	struct disk_label *d = (struct disk_label *)bytes;
	d->checksum = disk_checksum(d, offsetof(struct disk_label, checksum));
}

static bool geometry_equal(const struct geometry *a, const struct geometry *b)
{
	struct disk_geometry x, y;

	disk_geometry_put(a, &x);
	disk_geometry_put(b, &y);
	return !memcmp(&x, &y, sizeof(x));
}

static void test_round_trip(void)
{
	struct label label = sample(), back;
	uint8_t bytes[LABEL_BYTES], again[LABEL_BYTES];
	uint64_t le = 0;

	label_encode(&label, bytes);
	CHECK_EQ(label_decode(bytes, &back), 0);
	CHECK_EQ(back.format_version, FORMAT_VERSION);
	CHECK(back.compat == label.compat && back.ro_compat == label.ro_compat && back.incompat == label.incompat);
	CHECK(uuid_equal(&back.array, &label.array) && uuid_equal(&back.member, &label.member));
	CHECK(!strcmp(back.name, label.name) && back.cipher == 7 && back.sequence == label.sequence);
	CHECK(geometry_equal(&back.geometry, &label.geometry));
	CHECK(!memcmp(back.slots, label.slots, sizeof(back.slots)) && !memcmp(back.mac, label.mac, sizeof(back.mac)));
	label_encode(&back, again);
	CHECK(!memcmp(bytes, again, LABEL_BYTES));

	CHECK(!memcmp(bytes, "R5CRLABL\1\0\0\0\0\0\0\0\x08\x07\x06\x05\x04\x03\x02\x01\x18\x17", 26));
	CHECK(bytes[32] == 0x28 && bytes[40] == 0xa1 && bytes[55] == 0xa1 && bytes[56] == 0x38 && bytes[63] == 0x31);
	CHECK(!memcmp(bytes + 64, "Fotos", 5) && bytes[128] == 7);
	memcpy(&le, bytes + 136, 8);
	CHECK_EQ(le64toh(le), 1048576 + 16384);
	memcpy(&le, bytes + 192, 8);
	CHECK_EQ(le64toh(le), label.geometry.granule_bytes);
	CHECK(!memcmp(bytes + 200, "\0\x10\0\0\0\x40\0\0\0\x10\0\0\0\x10\0\0\x20\0\2\0\2\0\x40\0", 24));
	CHECK(bytes[4096] == 0 && bytes[4097] == 7 && bytes[12287] == label.slots[8191]);
	CHECK(bytes[12288] == 0xc3 && bytes[12319] == 0xc3 && bytes[12320] == 0xb2 && bytes[12335] == 0xb2 && bytes[12336] == 0);
}

/* No flipped bit passes; and MAC and hash cover the common part, but neither the MAC nor the member's own. */
static void test_flips(void)
{
	struct label label = sample(), back = { .sequence = 99 };
	uint8_t bytes[LABEL_BYTES], hash[LABEL_HASH_BYTES], other[LABEL_HASH_BYTES];
	const uint8_t *region;
	size_t length;
	unsigned passed = 0, unknown = 0;

	label_encode(&label, bytes);
	for (unsigned bit = 0; bit < LABEL_BYTES * 8; bit++) {
		int err;
		bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
		err = label_decode(bytes, &back);
		passed += err != -EBADMSG && err != -ENOENT;
		unknown += err == -ENOENT;
		bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	CHECK_EQ(passed, 0);
	CHECK_EQ(unknown, 64);
	CHECK_EQ(back.sequence, 99);

	region = label_mac_region(bytes, &length);
	CHECK(region == bytes && length == 12288);
	label_hash(bytes, hash);
	memset(label.member.b, 0x11, 16);
	memset(label.mac, 0, sizeof(label.mac));
	label_encode(&label, bytes);
	label_hash(bytes, other);
	CHECK(!memcmp(hash, other, sizeof(hash)));
	label.sequence++;
	label_encode(&label, bytes);
	label_hash(bytes, other);
	CHECK(memcmp(hash, other, sizeof(hash)));
}

static int decode_changed(size_t offset, const void *with, size_t length)
{
	struct label label = sample(), back;
	uint8_t bytes[LABEL_BYTES];

	label_encode(&label, bytes);
	memcpy(bytes + offset, with, length);
	reseal(bytes);
	return label_decode(bytes, &back);
}

/* Fields that make no sense, under a checksum that holds. */
static void test_hostile(void)
{
	static const uint8_t zero[16];
	char name[LABEL_NAME_BYTES];
	uint32_t random = 1;
	uint8_t bytes[LABEL_BYTES];
	struct label back;

	CHECK_EQ(decode_changed(0, "R5CRLABL", 8), 0);
	CHECK_EQ(decode_changed(0, "R5CRLABX", 8), -ENOENT);
	CHECK_EQ(decode_changed(12, "\1", 1), -EBADMSG);
	CHECK_EQ(decode_changed(40, zero, 16), -EBADMSG);
	CHECK_EQ(decode_changed(12320, zero, 16), -EBADMSG);
	CHECK_EQ(decode_changed(129, "\1", 1), -EBADMSG);
	CHECK_EQ(decode_changed(200, "\0\x20", 2), -EBADMSG);
	CHECK_EQ(decode_changed(216, "\x21", 1), -EBADMSG);
	CHECK_EQ(decode_changed(222, "\x41", 1), -EBADMSG);
	CHECK_EQ(decode_changed(224, "\1", 1), -EBADMSG);
	CHECK_EQ(decode_changed(4095, "\1", 1), -EBADMSG);
	CHECK_EQ(decode_changed(12336, "\1", 1), -EBADMSG);
	CHECK_EQ(decode_changed(136, zero, 8), -EBADMSG);
	CHECK_EQ(decode_changed(192, "\1", 1), -EBADMSG);
	CHECK_EQ(decode_changed(136, "\xff\xff\xff\xff\xff\xff\xff\xff", 8), -EBADMSG);

	memset(name, 'x', sizeof(name));
	CHECK_EQ(decode_changed(64, name, 64), -EBADMSG);
	name[63] = '\0';
	CHECK_EQ(decode_changed(64, name, 64), 0);
	CHECK_EQ(decode_changed(64, "a\0b", 3), -EBADMSG);
	CHECK_EQ(decode_changed(64, "\x1b[2J", 4), -EBADMSG);
	CHECK_EQ(decode_changed(64, "\xc2\x9b", 2), -EBADMSG);
	CHECK_EQ(decode_changed(64, "\xff", 1), -EBADMSG);

	for (unsigned round = 0; round < 200; round++) {
		for (unsigned i = 0; i < LABEL_BYTES; i++) {
			random = random * 1664525 + 1013904223;
			bytes[i] = (uint8_t)(random >> 24);
		}
		CHECK_EQ(label_decode(bytes, &back), -ENOENT);
		memcpy(bytes, LABEL_MAGIC, 8);
		CHECK_EQ(label_decode(bytes, &back), -EBADMSG);
		memcpy(bytes + 8, "\1\0\0\0", 4);
		reseal(bytes);
		CHECK_EQ(label_decode(bytes, &back), -EBADMSG);
	}
	memset(bytes, 0, sizeof(bytes));
	CHECK_EQ(label_decode(bytes, &back), -ENOENT);
}

static bool name_ok(const char *text)
{
	char name[LABEL_NAME_BYTES] = { 0 };

	memcpy(name, text, strlen(text));
	return label_name_valid(name);
}

static void test_names(void)
{
	CHECK(name_ok("") && name_ok("a b") && name_ok("\xc2\xa0") && name_ok("Töne") && name_ok("\xe2\x82\xac") && name_ok("\xf0\x9f\x98\x80"));
	CHECK(!name_ok("\n") && !name_ok("\x7f") && !name_ok("\x80") && !name_ok("\xc3") && !name_ok("\xc3(") && !name_ok("\xc0\xaf"));
	CHECK(!name_ok("\xe0\x80\xaf") && !name_ok("\xed\xa0\x80") && !name_ok("\xf0\x80\x80\xaf") && !name_ok("\xf4\x90\x80\x80") && !name_ok("\xe2\x82"));
}

static void test_features(void)
{
	struct label label = sample(), back = { 0 };
	uint8_t bytes[LABEL_BYTES];
	struct fail fail = { 0 };

	label.compat = UINT64_MAX;
	label.ro_compat = label.incompat = 0;
	CHECK_EQ(label_check_features(&label, true, "/dev/x", &fail), 0);
	label.ro_compat = 1 << 4;
	CHECK_EQ(label_check_features(&label, false, "/dev/x", &fail), 0);
	CHECK_EQ(label_check_features(&label, true, "/dev/x", &fail), -EPROTONOSUPPORT);
	CHECK_EQ(fail.code, FAIL_VERSION);
	CHECK(!strcmp(fail.text, "/dev/x uses features that this program can only read (ro_compat bit 4); mount it read-only or use a newer program"));
	label.incompat = UINT64_C(1) << 63 | 1 << 3 | 1 << 17;
	CHECK_EQ(label_check_features(&label, false, "/dev/x", &fail), -EPROTONOSUPPORT);
	CHECK(!strcmp(fail.text, "/dev/x uses features that this program does not know (incompat bit 3, 17 and 63); use a newer program"));
	label.incompat = UINT64_MAX;
	CHECK_EQ(label_check_features(&label, false, "/dev/x", NULL), -EPROTONOSUPPORT);

	label.format_version = 2;
	label.geometry = (struct geometry){ 0 };        /* its own business, in another version */
	label_encode(&label, bytes);
	CHECK_EQ(label_decode(bytes, &back), -EPROTONOSUPPORT);
	CHECK(back.format_version == 2 && uuid_equal(&back.array, &label.array) && uuid_equal(&back.member, &label.member));
	CHECK(!strcmp(back.name, label.name) && back.sequence == 0);
	CHECK_EQ(label_check_features(&back, false, "/dev/x", &fail), -EPROTONOSUPPORT);
	CHECK(!strcmp(fail.text, "/dev/x has format version 2, and this program knows version 1 only; use a program that knows it"));
	bytes[64] = 0x1b;
	reseal(bytes);
	CHECK_EQ(label_decode(bytes, &back), -EPROTONOSUPPORT);
	CHECK_EQ(back.name[0], '\0');
}

int main(void)
{
	test_round_trip();
	test_flips();
	test_hostile();
	test_names();
	test_features();
	return CHECK_DONE();
}
