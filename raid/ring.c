/* The codecs of a root's clear header and of a promise.
 *
 * Both end in an XXH3-64 checksum, which tells torn and rotten copies apart from whole ones without
 * a key.  What a header says of members must make sense together (root_member_valid): an encoder
 * that breaks this is a programming error and stops, a decoder refuses the record. */
#include "raid/ring.h"

#include "raid/format.h"

#include <errno.h>

/* One that is out has an open gap, one that is filling has some, and one in sync takes every write. */
static bool root_member_valid(const struct root_member *m)
{
	switch (m->state) {
	case MEMBER_ABSENT:
		return !m->gap.present;
	case MEMBER_IN_SYNC:
		return !m->gap.present || m->gap.to != GAP_OPEN;
	case MEMBER_FILLING:
		return m->gap.present;
	case MEMBER_OUT:
		return m->gap.present && m->gap.to == GAP_OPEN;
	default:
		return false;
	}
}

static bool root_header_valid(const struct root_header *h)
{
	if (uuid_is_zero(&h->array) || h->term == UINT64_MAX)
		return false;
	if (h->generation == GAP_OPEN || h->predecessor >= h->generation || h->tree > h->generation || h->tree_before > h->tree)
		return false;
	if (!h->job_running && h->job_position)
		return false;
	for (unsigned i = 0; i < MEMBERS_MAX; i++) {
		if (!root_member_valid(&h->members[i]))
			return false;
	}
	return true;
}

void root_header_encode(const struct root_header *header, uint8_t record[ROOT_BYTES])
{
	struct disk_root_header *d = (struct disk_root_header *)record;

	assert(root_header_valid(header));
	memset(d, 0, sizeof(*d));
	memcpy(d->magic, ROOT_MAGIC, DISK_MAGIC_BYTES);
	memcpy(d->array, header->array.b, 16);
	d->term = le64_put(header->term);
	memcpy(d->mount, header->mount.b, 16);
	d->generation = le64_put(header->generation);
	d->predecessor = le64_put(header->predecessor);
	d->tree = le64_put(header->tree);
	d->tree_before = le64_put(header->tree_before);
	d->config_version = le64_put(header->config_version);
	memcpy(d->config_hash, header->config_hash, CONFIG_HASH_BYTES);
	d->label_sequence = le64_put(header->label_sequence);
	memcpy(d->label_hash, header->label_hash, LABEL_HASH_BYTES);
	d->job_running = header->job_running;
	d->job_position = le64_put(header->job_position);
	memcpy(d->nonce, header->nonce, ROOT_NONCE_BYTES);
	for (unsigned i = 0; i < MEMBERS_MAX; i++) {
		const struct root_member *m = &header->members[i];
		d->members[i].state = m->state;
		if (!m->gap.present)
			continue;
		d->members[i].gap_present = 1;
		d->members[i].gap_from = le64_put(m->gap.from);
		d->members[i].gap_to = le64_put(m->gap.to);
		d->members[i].gap_position = le64_put(m->gap.position);
	}
	d->checksum = disk_checksum(d, offsetof(struct disk_root_header, checksum));
}

static bool decode_member(const struct disk_root_member *d, struct root_member *ret_member)
{
	if (d->gap_present > 1 || !bytes_are_zero(d->zero, sizeof(d->zero)))
		return false;
	ret_member->state = d->state;
	ret_member->gap = (struct gap){ .present = d->gap_present, .from = le64_get(d->gap_from),
		.to = le64_get(d->gap_to), .position = le64_get(d->gap_position) };
	return d->gap_present || !(ret_member->gap.from | ret_member->gap.to | ret_member->gap.position);
}

int root_header_decode(const uint8_t record[ROOT_BYTES], struct root_header *ret_header)
{
	const struct disk_root_header *d = (const struct disk_root_header *)record;
	le64 checksum = disk_checksum(d, offsetof(struct disk_root_header, checksum));
	struct root_header h = { 0 };

	if (memcmp(d->magic, ROOT_MAGIC, DISK_MAGIC_BYTES))
		return -ENOENT;
	if (memcmp(&checksum, &d->checksum, sizeof(checksum)) || d->job_running > 1)
		return -EBADMSG;
	if (!bytes_are_zero(d->zero0, sizeof(d->zero0)) || !bytes_are_zero(d->zero1, sizeof(d->zero1))
	    || !bytes_are_zero(d->zero2, sizeof(d->zero2)))
		return -EBADMSG;
	memcpy(h.array.b, d->array, 16);
	h.term = le64_get(d->term);
	memcpy(h.mount.b, d->mount, 16);
	h.generation = le64_get(d->generation);
	h.predecessor = le64_get(d->predecessor);
	h.tree = le64_get(d->tree);
	h.tree_before = le64_get(d->tree_before);
	h.config_version = le64_get(d->config_version);
	memcpy(h.config_hash, d->config_hash, CONFIG_HASH_BYTES);
	h.label_sequence = le64_get(d->label_sequence);
	memcpy(h.label_hash, d->label_hash, LABEL_HASH_BYTES);
	h.job_running = d->job_running;
	h.job_position = le64_get(d->job_position);
	memcpy(h.nonce, d->nonce, ROOT_NONCE_BYTES);
	for (unsigned i = 0; i < MEMBERS_MAX; i++) {
		if (!decode_member(&d->members[i], &h.members[i]))
			return -EBADMSG;
	}
	if (!root_header_valid(&h))
		return -EBADMSG;
	*ret_header = h;
	return 0;
}

void promise_encode(const struct promise *promise, uint8_t ret_bytes[PROMISE_BYTES])
{
	struct disk_promise *d = (struct disk_promise *)ret_bytes;

	memset(d, 0, sizeof(*d));
	memcpy(d->magic, PROMISE_MAGIC, DISK_MAGIC_BYTES);
	memcpy(d->array, promise->array.b, 16);
	d->term = le64_put(promise->term);
	memcpy(d->mount, promise->mount.b, 16);
	memcpy(d->mac, promise->mac, LABEL_MAC_BYTES);
	d->checksum = disk_checksum(d, offsetof(struct disk_promise, checksum));
}

int promise_decode(const uint8_t bytes[PROMISE_BYTES], struct promise *ret_promise)
{
	const struct disk_promise *d = (const struct disk_promise *)bytes;
	le64 checksum = disk_checksum(d, offsetof(struct disk_promise, checksum));
	struct promise promise = { 0 };

	if (memcmp(d->magic, PROMISE_MAGIC, DISK_MAGIC_BYTES))
		return -ENOENT;
	if (memcmp(&checksum, &d->checksum, sizeof(checksum)) || !bytes_are_zero(d->zero, sizeof(d->zero)))
		return -EBADMSG;
	memcpy(promise.array.b, d->array, 16);
	promise.term = le64_get(d->term);
	memcpy(promise.mount.b, d->mount, 16);
	memcpy(promise.mac, d->mac, LABEL_MAC_BYTES);
	if (uuid_is_zero(&promise.array) || promise.term == UINT64_MAX)
		return -EBADMSG;
	*ret_promise = promise;
	return 0;
}

const uint8_t *promise_mac_region(const uint8_t bytes[PROMISE_BYTES], size_t *ret_length_bytes)
{
	*ret_length_bytes = offsetof(struct disk_promise, mac);
	return bytes;
}
