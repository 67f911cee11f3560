/* What members say of themselves, before any key is there.
 *
 * All of it is a hint (design R5): it tells which disks belong together and what a user may be asked
 * for.  Whether any of it is genuine is found out by array_open. */
#include "raid/array_impl.h"

#include <errno.h>

void probe_free(struct probe *probe)
{
	if (!probe)
		return;
	for (unsigned i = 0; i < probe->count; i++)
		disk_close(probe->members[i].disk);
	free(probe);
}

static void probe_freep(struct probe **probe)
{
	probe_free(*probe);
}

/* Fills one member from its disk.  What cannot be read counts as not there, but want of memory says nothing of the member: -ENOMEM. */
static int probe_one(struct probe_member *m)
{
	scan_copies(m->disk, m->copies, m->copy_status);
	for (unsigned i = 0; i < LABEL_COPIES; i++)
		if (m->copy_status[i] == -ENOMEM)
			return -ENOMEM;
	scan_best_copy(m->copies, m->copy_status, NULL, &m->label, &m->label_status);
	if (m->label_status || !geometry_valid(&m->label.geometry, m->disk->size_bytes))
		return 0;
	int r = scan_root_hint(m->disk, &m->label.geometry, &m->label.array, &m->root_hint);
	if (!r) {
		m->has_root = true;
		memcpy(m->config_hash_hint, m->root_hint.config_hash, CONFIG_HASH_BYTES);
	}
	return r == -ENOMEM ? r : 0;
}

static int check_same(const struct probe *probe, struct fail *fail)
{
	for (unsigned i = 0; i < probe->count; i++)
		for (unsigned j = 0; j < i; j++)
			if (disk_same(probe->members[i].disk, probe->members[j].disk))
				return fail_set(fail, EINVAL, FAIL_TWICE, "%s and %s are the same disk. Give each member once.",
					probe->members[j].disk->name, probe->members[i].disk->name);
	return 0;
}

static int check_versions(const struct probe *probe, struct fail *fail)
{
	for (unsigned i = 0; i < probe->count; i++) {
		const struct probe_member *m = &probe->members[i];
		if (m->label_status == -EPROTONOSUPPORT)
			return fail_set(fail, EPROTONOSUPPORT, FAIL_VERSION,
				"%s has format version %u, and this program knows version %u only. Use a newer program.", m->disk->name,
				m->label.format_version, FORMAT_VERSION);
	}
	return 0;
}

/* All labels must be of one array, and no two of one member. */
static int check_labels(const struct probe *probe, struct fail *fail)
{
	const struct probe_member *first = NULL;

	for (unsigned i = 0; i < probe->count; i++) {
		const struct probe_member *m = &probe->members[i];
		if (m->label_status)
			continue;
		if (!first)
			first = m;
		if (!uuid_equal(&first->label.array, &m->label.array)) {
			char a[UUID_TEXT_BYTES], b[UUID_TEXT_BYTES];
			uuid_format(&first->label.array, a);
			uuid_format(&m->label.array, b);
			return fail_set(fail, EINVAL, FAIL_MIXED,
				"These are members of different arrays: %s belongs to %s (%s), %s to %s (%s). Give the members of one array.",
				first->disk->name, first->label.name, a, m->disk->name, m->label.name, b);
		}
		for (unsigned j = 0; j < i; j++) {
			const struct probe_member *other = &probe->members[j];
			char text[UUID_TEXT_BYTES];
			if (other->label_status || !uuid_equal(&other->label.member, &m->label.member))
				continue;
			uuid_format(&m->label.member, text);
			return fail_set(fail, EINVAL, FAIL_TWICE,
				"%s and %s are both member %s: one is a copy of the other, or took its place. Leave out the one that was not used last, "
				"and erase its label if it was replaced for good (raid5cryptfs-rebuild erase).",
				other->disk->name, m->disk->name, text);
		}
	}
	if (first)
		return 0;
	const struct probe_member *m = &probe->members[0];
	return fail_set(fail, EINVAL, FAIL_NOT_MEMBER, "%s%s %s no usable label of a raid5cryptfs array (%s).", m->disk->name,
		probe->count > 1 ? " and the other members" : "", probe->count > 1 ? "carry" : "carries",
		m->label_status == -ENOENT ? "none was ever written there, or all three copies are overwritten" :
		m->label_status == -EIO ? "all three copies cannot be read" : "all three copies are damaged");
}

int array_probe(struct disk **disks, unsigned count, struct probe **ret_probe, struct fail *fail)
{
	struct probe *probe cleanup(probe_freep) = NULL;
	unsigned given = count <= MEMBERS_MAX ? count : 0;
	int r;

	if (given)
		probe = calloc(1, sizeof *probe);
	if (!probe) {
		for (unsigned i = 0; i < count; i++)
			disk_close(disks[i]);
		if (given)
			return fail_set(fail, ENOMEM, FAIL_SYSTEM, "No memory to look at the members.");
		return fail_set(fail, EINVAL, FAIL_USAGE, "%u members were given; an array has %u to %u.", count, MEMBERS_MIN, MEMBERS_MAX);
	}
	probe->count = count;
	for (unsigned i = 0; i < count; i++)
		probe->members[i].disk = disks[i];
	r = check_same(probe, fail);
	if (r)
		return r;
	for (unsigned i = 0; i < count; i++)
		if (probe_one(&probe->members[i]) < 0)
			return fail_set(fail, ENOMEM, FAIL_SYSTEM, "No memory to look at the members.");
	r = check_versions(probe, fail);
	if (!r)
		r = check_labels(probe, fail);
	if (r)
		return r;
	*ret_probe = probe;
	probe = NULL;
	return 0;
}

int probe_config(const struct probe *probe, struct config **ret_config)
{
	const struct probe_member *newest = NULL;

	for (unsigned i = 0; i < probe->count; i++) {
		const struct probe_member *m = &probe->members[i];
		if (m->has_root && (!newest || root_newer(&m->root_hint, &newest->root_hint)))
			newest = m;
	}
	for (unsigned i = 0; newest && i < probe->count; i++) {
		const struct probe_member *m = &probe->members[i];
		if (m->has_root && !scan_config(m->disk, &m->label.geometry, newest->config_hash_hint, ret_config))
			return 0;
	}
	return -ENOENT;
}
