/* What mkfs asks of its members before it writes anything: see the header.
 *
 * Every check is made on every member first; opening takes the locks that keep others away until mkfs is done. */
#include "tools/mkfs_check.h"

#include "base/cleanup.h"
#include "base/uuid.h"
#include "raid/label.h"
#include "tools/cli.h"
#include "tools/device_check.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int check_own_label(struct disk *disk, struct fail *fail)
{
	autofree struct label *label = malloc(sizeof *label);
	autofree uint8_t *bytes = malloc(LABEL_BYTES);

	if (!label || !bytes)
		return fail_set(fail, ENOMEM, FAIL_SYSTEM, "out of memory");
	for (unsigned copy = 0; copy < LABEL_COPIES; copy++) {
		if (disk_read(disk, label_copy_offset_bytes(copy, disk->size_bytes), bytes, LABEL_BYTES) < 0)
			continue;
		int r = label_decode(bytes, label);
		if (r == 0 || r == -EPROTONOSUPPORT) {
			char uuid[UUID_TEXT_BYTES];
			uuid_format(&label->array, uuid);
			cli_clean(label->name);
			return fail_set(fail, EEXIST, FAIL_SIGNATURE, "%s: is a member of the raid5cryptfs array \"%s\" (%s); if that array may be "
				"destroyed, give --force", disk->name, label->name, uuid);
		}
		if (r == -EBADMSG)
			return fail_set(fail, EEXIST, FAIL_SIGNATURE, "%s: carries a damaged raid5cryptfs label; if that array may be destroyed, "
				"give --force", disk->name);
	}
	return 0;
}

int mkfs_check_members(const struct member_paths *paths, bool force, struct disk **ret_disks, struct fail *fail)
{
	unsigned opened = 0;
	int r = 0;

	if (paths->count < MEMBERS_MIN)
		return fail_set(fail, EINVAL, FAIL_TOO_FEW, "members: %u given; an array needs at least %u", paths->count, MEMBERS_MIN);
	r = member_paths_check_duplicates(paths, fail);
	for (unsigned i = 0; !r && i < paths->count; i++)
		r = device_check_mounted(paths->paths[i], fail);
	for (unsigned i = 0; !r && i < paths->count; i++) {
		r = disk_open(paths->paths[i], DISK_READ_WRITE, DISK_ENGINE_AUTO, &ret_disks[i], fail);
		opened += !r;
	}
	for (unsigned i = 0; !r && i < opened; i++) {
		char size[CLI_SIZE_TEXT_BYTES], least[CLI_SIZE_TEXT_BYTES];
		if (ret_disks[i]->size_bytes >= MEMBER_MIN_BYTES)
			continue;
		cli_sizes(ret_disks[i]->size_bytes, MEMBER_MIN_BYTES, size, least);
		r = fail_set(fail, EINVAL, FAIL_TOO_SMALL, "%s: has %s; a member needs at least %s", ret_disks[i]->name, size, least);
	}
	for (unsigned i = 0; !r && !force && i < opened; i++) {
		r = check_own_label(ret_disks[i], fail);
		if (!r)
			r = device_check_signature(ret_disks[i], fail);
	}
	if (r < 0)
		while (opened > 0)
			disk_close(ret_disks[--opened]);
	return r;
}

/* ---- The name ---- */

/* Bytes of the UTF-8 character at `text`, 0 if it is none (overlong, a surrogate, beyond U+10FFFF). */
static unsigned utf8_bytes(const char *text)
{
	const uint8_t *b = (const uint8_t *)text;
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	unsigned bytes = b[0] < 0x80 ? 1 : b[0] >> 5 == 6 ? 2 : b[0] >> 4 == 14 ? 3 : b[0] >> 3 == 30 ? 4 : 0;
	uint32_t value = bytes == 1 ? b[0] : b[0] & (0x7fu >> bytes);

	for (unsigned i = 1; i < bytes; i++) {
		if (b[i] >> 6 != 2)
			return 0;
		value = value << 6 | (b[i] & 0x3f);
	}
	if (bytes > 1 && (value < least[bytes] || (value >= 0xd800 && value < 0xe000) || value > 0x10ffff))
		return 0;
	return bytes;
}

int mkfs_check_name(const char *name, struct fail *fail)
{
	struct uuid uuid;
	size_t length = strlen(name);

	if (length == 0 || length >= LABEL_NAME_BYTES)
		return fail_set(fail, EINVAL, FAIL_USAGE, "name: has %zu bytes; it may have 1 to %u", length, LABEL_NAME_BYTES - 1);
	if (!uuid_parse(name, &uuid))
		return fail_set(fail, EINVAL, FAIL_USAGE, "name: %s: looks like a UUID and could be taken for one; choose another", name);
	for (unsigned step; *name; name += step) {
		step = utf8_bytes(name);
		if (!step)
			return fail_set(fail, EINVAL, FAIL_USAGE, "name: is not valid UTF-8; choose another");
		bool control = (uint8_t)*name < 0x20 || *name == 0x7f || (step == 2 && (uint8_t)name[0] == 0xc2 && (uint8_t)name[1] < 0xa0);
		if (control)
			return fail_set(fail, EINVAL, FAIL_USAGE, "name: has a control character in it; choose another");
	}
	return 0;
}
