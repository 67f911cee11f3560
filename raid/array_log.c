/* The intent log's part of the array: which members mirror it, and I/O on their log rings.
 *
 * What a record is, and which one counts, is for the caller to say; here a ring is a run of bytes at the same place of
 * every member.  Two voters in sync are the mirrors (V5 of doc/membership.md).  A record is acknowledged once it is durable on both. */
#include "raid/array_impl.h"

#include <assert.h>
#include <errno.h>

int array_log_mirrors(struct array *array, unsigned turn, unsigned ret_members[LOG_MIRRORS])
{
	unsigned in_sync[MEMBERS_MAX], count = 0;

	if (atomic_load(&array->read_only))
		return -EROFS;
	for (unsigned i = 0; i < array->member_count; i++)
		if (array->members[i].role == MEMBER_VOTER && member_state_now(&array->members[i]) == MEMBER_IN_SYNC)
			in_sync[count++] = i;
	if (count < LOG_MIRRORS)
		return -ENOENT;
	for (unsigned i = 0; i < LOG_MIRRORS; i++)
		ret_members[i] = in_sync[(turn + i) % count];
	return 0;
}

bool array_log_mirrors_work(struct array *array, const unsigned members[LOG_MIRRORS])
{
	bool work = !atomic_load(&array->read_only);

	for (unsigned i = 0; i < LOG_MIRRORS; i++)
		work &= member_state_now(&array->members[members[i]]) == MEMBER_IN_SYNC;
	return work;
}

int array_log_write(struct array *array, const unsigned members[LOG_MIRRORS], uint64_t offset_bytes, struct iobuf *buf, size_t bytes)
{
	const struct geometry *g = &array->config->geometry;
	struct iovec iov = { buf->data, bytes };
	struct disk_io ios[LOG_MIRRORS];
	int result = 0;

	assert(offset_bytes <= g->log_bytes && bytes <= g->log_bytes - offset_bytes && bytes <= buf->bytes);
	for (unsigned i = 0; i < LOG_MIRRORS; i++)
		ios[i] = (struct disk_io){ .op = DISK_WRITE, .durable = true, .disk = atomic_load(&array->members[members[i]].disk),
			.offset_bytes = g->log_offset_bytes + offset_bytes, .length_bytes = bytes, .iov = &iov, .iov_count = 1, .hold = buf };
	disk_run(ios, LOG_MIRRORS, array->io_timeout_ms);
	for (unsigned i = 0; i < LOG_MIRRORS; i++)
		if (ios[i].result) {
			member_write_failed(array, members[i], ios[i].result, "a write to the intent log");
			result = -EIO;
		}
	return result;
}

uint64_t array_log_bytes(const struct array *array) { return array->config->geometry.log_bytes; }

int array_log_read(struct array *array, unsigned index, uint64_t offset_bytes, void *buf, size_t bytes)
{
	const struct geometry *g = &array->config->geometry;
	struct disk *disk = atomic_load(&array->members[index].disk);

	assert(index < array->member_count && offset_bytes <= g->log_bytes && bytes <= g->log_bytes - offset_bytes);
	return disk ? disk_read(disk, g->log_offset_bytes + offset_bytes, buf, bytes) : -ENOENT;
}
