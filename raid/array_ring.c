/* The roots that members still have in their rings: which there are, and the record of one. */
#include "raid/array_impl.h"
#include "raid/format.h"

#include <assert.h>
#include <errno.h>

int ring_read(struct array *array, struct disk *disk, uint64_t slot, struct root_header *ret_header, uint8_t ret_record[ROOT_BYTES])
{
	if (disk_read(disk, array->config->geometry.ring_offset_bytes + slot * ROOT_BYTES, ret_record, ROOT_BYTES))
		return -EIO;
	if (bytes_are_zero(ret_record, ROOT_BYTES))
		return -ENOENT;
	if (root_header_decode(ret_record, ret_header) || !array->auth.root_ok(array->auth.ctx, ret_record))
		return -EBADMSG;
	return uuid_equal(&ret_header->array, &array->config->array) ? 0 : -EBADMSG;
}

static bool newer(const struct array_root *a, const struct array_root *b)
{
	return a->term != b->term ? a->term > b->term : a->generation > b->generation;
}

/* Keeps the list sorted and within `room`; the same record on another member is one root. */
static void insert(struct array_root *roots, unsigned room, unsigned *count, const struct array_root *root)
{
	unsigned at = 0;

	while (at < *count && newer(&roots[at], root))
		at++;
	for (unsigned i = at; i < *count && !newer(root, &roots[i]); i++)
		if (!memcmp(roots[i].record, root->record, ROOT_BYTES)) {
			roots[i].members |= root->members;
			return;
		}
	if (at == room)
		return;
	if (*count < room)
		(*count)++;
	memmove(&roots[at + 1], &roots[at], (*count - at - 1) * sizeof *roots);
	roots[at] = *root;
}

/* Collects from the slots [first, end) of all present members those of `generation` (0: of any). */
static int collect(struct array *array, uint64_t first, uint64_t end, uint64_t generation, struct array_root *ret_roots, unsigned room,
	unsigned *ret_count)
{
	autofree struct array_root *root = malloc(sizeof *root);
	struct root_header header;
	unsigned count = 0;
	bool readable = false;

	if (!root)
		return -ENOMEM;
	for (unsigned i = 0; i < array->member_count; i++) {
		struct disk *disk = atomic_load(&array->members[i].disk);
		for (uint64_t slot = first; disk && slot < end; slot++) {
			int r = ring_read(array, disk, slot, &header, root->record);
			readable = readable || r != -EIO;
			if (r || (generation && header.generation != generation) || header.config_version != array->config->version
					|| memcmp(header.config_hash, array->config_hash, CONFIG_HASH_BYTES))
				continue;
			root->term = header.term;
			root->generation = header.generation;
			root->tree = header.tree;
			root->members = UINT32_C(1) << i;
			insert(ret_roots, room, &count, root);
		}
	}
	if (!readable)
		return -EIO;
	*ret_count = count;
	return 0;
}

int array_list_roots(struct array *array, struct array_root *ret_roots, unsigned room, unsigned *ret_count)
{
	assert(room > 0);
	return collect(array, 0, array->config->geometry.ring_slots, 0, ret_roots, room, ret_count);
}

int array_root_of(struct array *array, uint64_t generation, uint8_t ret_record[ROOT_BYTES])
{
	uint64_t slot = generation % array->config->geometry.ring_slots;
	autofree struct array_root *root = malloc(sizeof *root);
	unsigned count;

	if (!root)
		return -ENOMEM;
	if (!generation)
		return -ENOENT;
	int r = collect(array, slot, slot + 1, generation, root, 1, &count);
	if (!r && !count)
		r = -ENOENT;
	if (!r)
		memcpy(ret_record, root->record, ROOT_BYTES);
	return r;
}
