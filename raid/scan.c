/* What lies on one member, read and judged: label copies, root ring, promises, configuration slots.
 *
 * Nothing here is trusted because it is there: a root or promise counts when `auth` says so, and a
 * configuration when its hash is the one that a root names (design R5).  A part that cannot be read
 * counts as not there, since each of them stands on other members too. */
#include "raid/array_impl.h"
#include "raid/format.h"

#include <errno.h>

void scan_copies(struct disk *disk, uint8_t ret_copies[LABEL_COPIES][LABEL_BYTES], int ret_status[LABEL_COPIES])
{
	for (unsigned i = 0; i < LABEL_COPIES; i++) {
		uint64_t offset_bytes = label_copy_offset_bytes(i, disk->size_bytes);
		struct label label;

		memset(ret_copies[i], 0, LABEL_BYTES);
		if (offset_bytes + LABEL_BYTES > disk->size_bytes)
			ret_status[i] = -ENOENT;
		else {
			int r = disk_read(disk, offset_bytes, ret_copies[i], LABEL_BYTES);
			ret_status[i] = !r ? label_decode(ret_copies[i], &label) : r == -ENOMEM ? r : -EIO;
		}
	}
}

/* The most telling of two failures: another version says more than damage, damage more than nothing. */
static int worse(int a, int b)
{
	static const int order[] = { -EPROTONOSUPPORT, -EBADMSG, -EIO, -ENOENT };

	for (unsigned i = 0; i < ARRAY_COUNT(order); i++)
		if (a == order[i] || b == order[i])
			return order[i];
	return a;
}

int scan_best_copy(uint8_t copies[LABEL_COPIES][LABEL_BYTES], const int status[LABEL_COPIES],
	const struct array_auth *auth, struct label *ret_label, int *ret_status)
{
	struct label label;
	struct uuid array_uuid = { { 0 } };
	int best = -1, failed = -ENOENT;
	bool best_ok = false;

	for (unsigned i = 0; i < LABEL_COPIES; i++) {
		if (status[i]) {
			failed = worse(failed, status[i]);
			if (status[i] == -EPROTONOSUPPORT && best < 0)
				label_decode(copies[i], ret_label);
			continue;
		}
		if (label_decode(copies[i], &label))
			continue;
		if (best < 0)
			array_uuid = label.array;
		bool ok = auth && auth->label_ok(auth->ctx, copies[i]);
		if (best >= 0 && !(ok && !best_ok)) {
			if (!uuid_equal(&array_uuid, &label.array) || ok < best_ok || label.sequence <= ret_label->sequence)
				continue;
		}
		*ret_label = label;
		array_uuid = label.array;
		best = (int)i;
		best_ok = ok;
	}
	*ret_status = best < 0 ? failed : 0;
	return best;
}

/* Reads the whole ring; *ret_ring is the caller's to free. */
static int read_ring(struct disk *disk, const struct geometry *geometry, uint8_t **ret_ring)
{
	size_t length_bytes = (size_t)geometry->ring_slots * ROOT_BYTES;
	uint8_t *ring = malloc(length_bytes);

	if (!ring)
		return -ENOMEM;
	int r = disk_read(disk, geometry->ring_offset_bytes, ring, length_bytes);
	if (r && r != -ENOMEM) {
		/* One bad sector must not hide the other roots. */
		unsigned readable = 0;
		r = 0;
		for (unsigned i = 0; i < geometry->ring_slots && r != -ENOMEM; i++) {
			uint8_t *slot = ring + (size_t)i * ROOT_BYTES;
			r = disk_read(disk, geometry->ring_offset_bytes + (uint64_t)i * ROOT_BYTES, slot, ROOT_BYTES);
			if (!r)
				readable++;
			else
				memset(slot, 0, ROOT_BYTES);
			if (i == 3 && !readable)
				break;
		}
		if (r != -ENOMEM)
			r = readable ? 0 : -EIO;
	}
	if (r) {
		free(ring);
		return r;
	}
	*ret_ring = ring;
	return 0;
}

/* The newest root that is older than `below` (NULL: any), by checksum: its slot, or -1. */
static int newest_slot(const uint8_t *ring, const struct geometry *geometry, const struct uuid *array_uuid,
	const struct root_header *below, struct root_header *ret_root)
{
	struct root_header root;
	int best = -1;

	for (unsigned i = 0; i < geometry->ring_slots; i++) {
		if (root_header_decode(ring + (size_t)i * ROOT_BYTES, &root) || !uuid_equal(&root.array, array_uuid))
			continue;
		if ((below && !root_newer(below, &root)) || (best >= 0 && !root_newer(&root, ret_root)))
			continue;
		*ret_root = root;
		best = (int)i;
	}
	return best;
}

int scan_root_hint(struct disk *disk, const struct geometry *geometry, const struct uuid *array_uuid,
	struct root_header *ret_root)
{
	autofree uint8_t *ring = NULL;
	struct root_header root;
	int r = read_ring(disk, geometry, &ring);

	if (r)
		return r;
	if (newest_slot(ring, geometry, array_uuid, NULL, &root) < 0)
		return -ENOENT;
	*ret_root = root;
	return 0;
}

int scan_member(struct disk *disk, const struct geometry *geometry, const struct uuid *array_uuid,
	const struct array_auth *auth, struct scan *ret_scan)
{
	autofree uint8_t *ring = NULL;
	struct root_header root, below;
	uint8_t bytes[PROMISE_BYTES];
	int slot, r;

	r = read_ring(disk, geometry, &ring);
	if (r)
		return r;
	memset(ret_scan, 0, sizeof *ret_scan);
	for (unsigned i = 0; i < PROMISE_SLOTS; i++) {
		struct promise promise;
		r = disk_read(disk, geometry->promise_offset_bytes + (uint64_t)i * PROMISE_BYTES, bytes, PROMISE_BYTES);
		if (r == -ENOMEM)
			return r;
		if (r || promise_decode(bytes, &promise) || !uuid_equal(&promise.array, array_uuid) ||
				!auth->promise_ok(auth->ctx, bytes))
			continue;
		ret_scan->promise_valid[i] = true;
		ret_scan->promise_term[i] = promise.term;
		if (promise.term > ret_scan->promised_term)
			ret_scan->promised_term = promise.term;
	}
	slot = newest_slot(ring, geometry, array_uuid, NULL, &root);
	while (slot >= 0) {
		const uint8_t *record = ring + (size_t)slot * ROOT_BYTES;
		if (auth->root_ok(auth->ctx, record)) {
			ret_scan->has_root = true;
			ret_scan->root = root;
			memcpy(ret_scan->record, record, ROOT_BYTES);
			break;
		}
		below = root;
		slot = newest_slot(ring, geometry, array_uuid, &below, &root);
	}
	return 0;
}

int scan_config(struct disk *disk, const struct geometry *geometry, const uint8_t hash[CONFIG_HASH_BYTES],
	struct config **ret_config)
{
	autofree uint8_t *slot = malloc(geometry->config_slot_bytes);

	if (!slot)
		return -ENOMEM;
	for (unsigned i = 0; i < CONFIG_SLOTS; i++) {
		uint8_t found[CONFIG_HASH_BYTES];

		int r = disk_read(disk, geometry->config_offset_bytes + (uint64_t)i * geometry->config_slot_bytes, slot,
				geometry->config_slot_bytes);
		if (r == -ENOMEM)
			return r;
		if (r)
			continue;
		/* The slot is longer than what is encoded in it: the hash is over the encoded bytes. */
		uint32_t length_bytes = le32_get(((const struct disk_config *)slot)->length_bytes);
		if (length_bytes < sizeof(struct disk_config) || length_bytes > geometry->config_slot_bytes)
			continue;
		config_hash(slot, length_bytes, found);
		if (!memcmp(found, hash, CONFIG_HASH_BYTES))
			return config_decode(slot, length_bytes, ret_config);
	}
	return -ENOENT;
}
