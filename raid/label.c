/* The label's codec.
 *
 * For all versions of the format, now and later, these stay where they are: magic, format version,
 * array UUID, name, member UUID, and the checksum over all but itself.  So a program can say whose
 * member it has before it, and of which version, without knowing the rest.
 *
 * A label is refused as a whole: the checksum catches damage, and every field is then checked again,
 * since a checksum can be forged (design R5).  The geometry is checked against the largest member
 * here; whether it fits the one that it was read from is for geometry_valid and the caller. */
#include "raid/label.h"

#include "raid/format.h"

#include <errno.h>
#include <stdio.h>

void label_encode(const struct label *label, uint8_t ret_bytes[LABEL_BYTES])
{
	struct disk_label *d = (struct disk_label *)ret_bytes;

	memset(d, 0, sizeof(*d));
	memcpy(d->magic, LABEL_MAGIC, DISK_MAGIC_BYTES);
	d->format_version = le32_put(label->format_version);
	d->compat = le64_put(label->compat);
	d->ro_compat = le64_put(label->ro_compat);
	d->incompat = le64_put(label->incompat);
	memcpy(d->array, label->array.b, 16);
	d->sequence = le64_put(label->sequence);
	memcpy(d->name, label->name, strnlen(label->name, LABEL_NAME_BYTES - 1));
	d->cipher = label->cipher;
	disk_geometry_put(&label->geometry, &d->geometry);
	d->block_bytes = le32_put(BLOCK_BYTES);
	d->unit_bytes = le32_put(UNIT_BYTES);
	d->root_bytes = le32_put(ROOT_BYTES);
	d->promise_bytes = le32_put(PROMISE_BYTES);
	d->members_max = le16_put(MEMBERS_MAX);
	d->promise_slots = le16_put(PROMISE_SLOTS);
	d->config_slots = le16_put(CONFIG_SLOTS);
	d->parity_run_rows = le16_put(PARITY_RUN_ROWS);
	memcpy(d->slots, label->slots, LABEL_SLOTS_BYTES);
	memcpy(d->mac, label->mac, LABEL_MAC_BYTES);
	memcpy(d->member, label->member.b, 16);
	d->checksum = disk_checksum(d, offsetof(struct disk_label, checksum));
}

/* The length of the well-formed UTF-8 sequence at `s` that stands for a printable character, or 0. */
static size_t utf8_printable(const uint8_t *s, size_t left)
{
	uint32_t code;
	size_t length;

	if (s[0] < 0x80)
		return s[0] >= 0x20 && s[0] != 0x7f;
	if (s[0] < 0xc2 || s[0] > 0xf4)
		return 0;
	length = s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
	if (length > left)
		return 0;
	code = s[0] & (0x7fu >> length);
	for (size_t i = 1; i < length; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
		code = code << 6 | (s[i] & 0x3fu);
	}
	if (code < 0xa0 || (length == 3 && code < 0x800) || (length == 4 && code < 0x10000))
		return 0;
	return code > 0x10ffff || (code >= 0xd800 && code < 0xe000) ? 0 : length;
}

/* A name is shown on terminals before anything is authenticated: no control characters in it. */
bool label_name_valid(const char name[LABEL_NAME_BYTES])
{
	size_t length = strnlen(name, LABEL_NAME_BYTES);

	if (length == LABEL_NAME_BYTES || !bytes_are_zero(name + length, LABEL_NAME_BYTES - length))
		return false;
	for (size_t at = 0, step; at < length; at += step) {
		step = utf8_printable((const uint8_t *)name + at, length - at);
		if (!step)
			return false;
	}
	return true;
}

static bool constants_are_ours(const struct disk_label *d)
{
	return le32_get(d->block_bytes) == BLOCK_BYTES && le32_get(d->unit_bytes) == UNIT_BYTES
		&& le32_get(d->root_bytes) == ROOT_BYTES && le32_get(d->promise_bytes) == PROMISE_BYTES
		&& le16_get(d->members_max) == MEMBERS_MAX && le16_get(d->promise_slots) == PROMISE_SLOTS
		&& le16_get(d->config_slots) == CONFIG_SLOTS && le16_get(d->parity_run_rows) == PARITY_RUN_ROWS;
}

/* What stands at the same place in every version. */
static void decode_lasting(const struct disk_label *d, struct label *ret_label)
{
	ret_label->format_version = le32_get(d->format_version);
	memcpy(ret_label->array.b, d->array, 16);
	memcpy(ret_label->member.b, d->member, 16);
	if (label_name_valid(d->name))
		memcpy(ret_label->name, d->name, LABEL_NAME_BYTES);
}

int label_decode(const uint8_t bytes[LABEL_BYTES], struct label *ret_label)
{
	const struct disk_label *d = (const struct disk_label *)bytes;
	le64 checksum = disk_checksum(d, offsetof(struct disk_label, checksum));
	struct label label = { 0 };

	if (memcmp(d->magic, LABEL_MAGIC, DISK_MAGIC_BYTES))
		return -ENOENT;
	if (memcmp(&checksum, &d->checksum, sizeof(checksum)))
		return -EBADMSG;
	decode_lasting(d, &label);
	if (uuid_is_zero(&label.array) || uuid_is_zero(&label.member))
		return -EBADMSG;
	if (label.format_version != FORMAT_VERSION) {
		*ret_label = label;
		return -EPROTONOSUPPORT;
	}
	if (!label_name_valid(d->name) || !constants_are_ours(d))
		return -EBADMSG;
	if (!bytes_are_zero(d->zero0, sizeof(d->zero0)) || !bytes_are_zero(d->zero1, sizeof(d->zero1))
	    || !bytes_are_zero(d->zero2, sizeof(d->zero2)) || !bytes_are_zero(d->zero3, sizeof(d->zero3)))
		return -EBADMSG;
	disk_geometry_get(&d->geometry, &label.geometry);
	if (!geometry_valid(&label.geometry, MEMBER_MAX_BYTES))
		return -EBADMSG;
	label.compat = le64_get(d->compat);
	label.ro_compat = le64_get(d->ro_compat);
	label.incompat = le64_get(d->incompat);
	label.cipher = d->cipher;
	label.sequence = le64_get(d->sequence);
	memcpy(label.slots, d->slots, LABEL_SLOTS_BYTES);
	memcpy(label.mac, d->mac, LABEL_MAC_BYTES);
	*ret_label = label;
	return 0;
}

const uint8_t *label_mac_region(const uint8_t bytes[LABEL_BYTES], size_t *ret_length_bytes)
{
	*ret_length_bytes = LABEL_COMMON_BYTES;
	return bytes;
}

void label_hash(const uint8_t bytes[LABEL_BYTES], uint8_t ret_hash[LABEL_HASH_BYTES])
{
	disk_hash(bytes, LABEL_COMMON_BYTES, ret_hash);
}

/* "3", or "3, 17 and 40". */
static void list_bits(uint64_t bits, char *text, size_t text_bytes)
{
	size_t at = 0;

	text[0] = '\0';
	for (unsigned bit = 0; bit < 64; bit++) {
		uint64_t above = bit == 63 ? 0 : bits >> (bit + 1);
		const char *after = !above ? "" : above & (above - 1) ? ", " : " and ";
		if (bits >> bit & 1 && at < text_bytes)
			at += (size_t)snprintf(text + at, text_bytes - at, "%u%s", bit, after);
	}
}

int label_check_features(const struct label *label, bool read_write, const char *member_name, struct fail *fail)
{
	uint64_t incompat = label->incompat & ~FEATURE_INCOMPAT_KNOWN, ro_compat = label->ro_compat & ~FEATURE_RO_COMPAT_KNOWN;
	char bits[512];

	if (label->format_version != FORMAT_VERSION)
		return fail_set(fail, EPROTONOSUPPORT, FAIL_VERSION,
			"%s has format version %u, and this program knows version %u only; use a program that knows it",
			member_name, label->format_version, FORMAT_VERSION);
	if (incompat) {
		list_bits(incompat, bits, sizeof(bits));
		return fail_set(fail, EPROTONOSUPPORT, FAIL_VERSION,
			"%s uses features that this program does not know (incompat bit %s); use a newer program", member_name, bits);
	}
	if (read_write && ro_compat) {
		list_bits(ro_compat, bits, sizeof(bits));
		return fail_set(fail, EPROTONOSUPPORT, FAIL_VERSION,
			"%s uses features that this program can only read (ro_compat bit %s); mount it read-only or use a newer program",
			member_name, bits);
	}
	return 0;
}
