/* Tree nodes, opened.
 *
 * An input is tried twice: as it is, and as its items put into a fresh node one by one, which mends the structure around them (so
 * that items in any order and with any value reach the validator).  Of what the validator accepts:
 *   - values lie inside, do not overlap, and keys are in strict order;
 *   - putting the items into an empty node, last value first, gives the same bytes again;
 *   - finding, splitting and removing keep it valid;
 *   - each item that its own validator accepts decodes and encodes to the same bytes. */
#include "fs/core.h"
#include "fs/data/extent.h"
#include "fs/names/dir.h"
#include "fs/names/inode.h"
#include "fs/names/xattr.h"
#include "fs/space/rowitem.h"
#include "tests/fuzz/fuzz.h"

#include <errno.h>
#include <stdlib.h>

#define ITEMS_MAX ((NODE_BYTES - sizeof(struct node_header)) / sizeof(struct item_head))

static struct node_header *head_of(uint8_t *image) { return (struct node_header *)image; }
static struct item_head *item_of(uint8_t *image, unsigned i)
{
	return (struct item_head *)(image + sizeof(struct node_header)) + i;
}

/* ---- Items ---- */

static void check_extent(const struct key *key, const struct extent_item *x, unsigned bytes)
{
	static struct extent_left left;
	uint32_t blocks = le32_get(x->blocks);

	if (!extent_item_valid(key, x, bytes))
		return;
	MUST(key->offset + blocks <= FILE_BLOCKS_MAX);
	if (x->kind == EXTENT_REST) {
		uint64_t before = x->last_blocks, behind = x->record_blocks - before - blocks;
		MUST((key->offset - before) / UNIT_BLOCKS == (key->offset + blocks + behind - 1) / UNIT_BLOCKS);
		MUST((le64_get(x->address) - before) / UNIT_BLOCKS == (le64_get(x->address) + blocks + behind - 1) / UNIT_BLOCKS);
	}
	for (unsigned i = 0; x->kind == EXTENT_DATA && i < le16_get(x->records); i++) {
		uint64_t at = (uint64_t)i * x->record_blocks, end = at + x->record_blocks < blocks ? at + x->record_blocks : blocks;
		MUST((key->offset + at) / UNIT_BLOCKS == (key->offset + end - 1) / UNIT_BLOCKS);
		MUST((le64_get(x->address) + at) / UNIT_BLOCKS == (le64_get(x->address) + end - 1) / UNIT_BLOCKS);
	}
	for (uint64_t at = 0; at < blocks && at < 600; at++) {
		uint64_t sum = 1;
		extent_left(x, at, at + 1, &left);
		for (unsigned i = 0; i < left.count; i++) {
			const struct extent_item *part = (const struct extent_item *)left.parts[i].value;
			struct key part_key = *key;
			part_key.offset += left.parts[i].at;
			MUST(extent_item_valid(&part_key, part, left.parts[i].bytes));
			sum += le32_get(part->blocks);
		}
		MUST(sum == blocks);
	}
}

static void check_inode(const struct key *key, const void *value, unsigned bytes)
{
	struct inode_item again;
	struct inode inode;

	if (inode_decode(key->object, value, bytes, &inode) < 0)
		return;
	MUST(inode.ino == key->object && inode.size_bytes <= FS_FILE_BYTES_MAX);
	inode_encode(&inode, &again);
	MUST(bytes == sizeof again && !memcmp(&again, value, bytes));
}

static void check_name(const char *name, unsigned bytes)
{
	char text[NAME_BYTES_MAX + 1] = { 0 };

	MUST(bytes <= NAME_BYTES_MAX);
	memcpy(text, name, bytes);
	MUST(strlen(text) == bytes && name_check(text) == 0 && !name_is_dots(text));
}

static void check_xattr(const struct xattr_item *x, unsigned bytes)
{
	struct acl acl;

	if (!xattr_item_valid(x, bytes))
		return;
	MUST(sizeof *x + x->name_bytes <= bytes && x->name_bytes > 0 && !memchr(x->name, 0, x->name_bytes));
	unsigned value_bytes = bytes - (unsigned)sizeof *x - x->name_bytes;
	MUST(le64_get(x->object) ? value_bytes == 0 && le32_get(x->value_bytes) <= XATTR_VALUE_MAX
		: value_bytes == le32_get(x->value_bytes) && value_bytes <= XATTR_INLINE_MAX);
	int r = acl_parse(x->name + x->name_bytes, value_bytes, &acl);
	MUST(r <= 0);
}

static void check_rows(const struct key *key, const struct rows_item *r, unsigned bytes)
{
	unsigned rows = le16_get(r->rows), before = 0;

	MUST(bytes == sizeof *r + le16_get(r->owners) * sizeof *r->owner);
	if (!rows_item_valid(key, r, bytes))
		return;
	address end = address_make((uint32_t)key->object, key->offset + rows);
	MUST(rows >= 1 && rows <= PARITY_RUN_ROWS && address_band(end) == key->object && address_block(end) == key->offset + rows);
	for (unsigned i = 0; i < le16_get(r->owners); i++) {
		unsigned start = le16_get(r->owner[i].start_block), blocks = le16_get(r->owner[i].blocks);
		MUST(blocks > 0 && start >= before && start + blocks <= rows * (MEMBERS_MAX - 1) * UNIT_BLOCKS);
		MUST(r->owner[i].tree <= TREE_SYSTEM);
		before = start + blocks;
	}
}

static void check_scrub(const struct key *key, const void *value, unsigned bytes)
{
	struct scrub_record record;
	uint8_t again[SCRUB_ITEM_BYTES_MAX];

	if (scrub_item_decode(key, value, bytes, &record) < 0)
		return;
	MUST(record.state > SCRUB_NONE && record.state <= SCRUB_FINISHED && record.now.began_ns >= 0 && record.now.ended_ns >= 0);
	MUST((record.now.ended_ns == 0) == (record.state == SCRUB_RUNNING || record.state == SCRUB_PAUSED));
	MUST(record.position == 0 || address_band(record.position) > 0);
	MUST(scrub_result_valid(&record.now) && scrub_result_valid(&record.last));
	MUST(scrub_item_encode(&record, again) == bytes && !memcmp(again, value, bytes));
}

static void check_item(const struct key *key, const void *value, unsigned bytes)
{
	const struct dirent_item *d = value;
	const struct link_item *l = value;

	switch (key->type) {
	case ITEM_INODE: check_inode(key, value, bytes); break;
	case ITEM_EXTENT: check_extent(key, value, bytes); break;
	case ITEM_XATTR: check_xattr(value, bytes); break;
	case ITEM_ROWS: check_rows(key, value, bytes); break;
	case ITEM_SCRUB: check_scrub(key, value, bytes); break;
	case ITEM_DIRENT:
		if (dirent_item_valid(value, bytes)) {
			MUST(bytes == sizeof *d + d->name_bytes && le64_get(d->object) != OBJECT_ORPHANS);
			check_name(d->name, d->name_bytes);
		}
		break;
	case ITEM_LINK:
		if (link_item_valid(value, bytes)) {
			MUST(bytes == sizeof *l + l->name_bytes);
			check_name(l->name, l->name_bytes);
		}
		break;
	default:
		MUST(bytes <= ITEM_VALUE_MAX);
	}
}

/* ---- The node ---- */

static void check_layout(uint8_t *image)
{
	static uint8_t used[NODE_BYTES];
	unsigned n = image_count(image), start = (unsigned)(sizeof(struct node_header) + n * sizeof(struct item_head));

	MUST(n <= ITEMS_MAX);
	memset(used, 0, sizeof used);
	for (unsigned i = 0; i < n; i++) {
		struct key key = image_key(image, i), before = i > 0 ? image_key(image, i - 1) : key;
		unsigned bytes, at = le16_get(item_of(image, i)->value_offset);
		const void *value = image_value(image, i, &bytes);
		MUST(at >= start && at + bytes <= NODE_BYTES && (i == 0 || key_compare(&before, &key) < 0));
		for (unsigned b = at; b < at + bytes; b++)
			MUST(!used[b]++);
		if (image_level(image) == 0)
			check_item(&key, value, bytes);
	}
}

static uint8_t *sorted_image;            /* for value_order */

/* Items by place of their values, last first; of those at one place what is empty comes first. */
static int value_order(const void *a, const void *b)
{
	const struct item_head *x = item_of(sorted_image, *(const unsigned *)a), *y = item_of(sorted_image, *(const unsigned *)b);
	int apart = le16_get(y->value_offset) - le16_get(x->value_offset);

	return apart ? apart : le16_get(x->value_bytes) - le16_get(y->value_bytes);
}

/* Puts the items into an empty node in the order in which their values came there. */
static void check_again(uint8_t *image)
{
	static uint8_t again[NODE_BYTES];
	static unsigned order[ITEMS_MAX];
	unsigned n = image_count(image), bytes;
	bool found;

	image_init(again, head_of(image)->tree, head_of(image)->level);
	head_of(again)->generation = head_of(image)->generation;
	for (unsigned i = 0; i < n; i++)
		order[i] = i;
	sorted_image = image;
	qsort(order, n, sizeof *order, value_order);
	for (unsigned i = 0; i < n; i++) {
		struct key key = image_key(image, order[i]);
		const void *value = image_value(image, order[i], &bytes);
		unsigned at = image_find(again, &key, &found);
		MUST(!found && image_insert(again, at, &key, value, bytes));
	}
	for (unsigned i = 0; i < n; i++) {
		struct key key = image_key(image, i);
		MUST(image_find(again, &key, &found) == i && found && image_child(again, &key) == i);
		if (le16_get(item_of(image, i)->value_bytes) == 0)       /* where nothing lies says nothing */
			item_of(again, i)->value_offset = item_of(image, i)->value_offset;
	}
	MUST(!memcmp(image, again, NODE_BYTES));
}

/* Splits in two, and takes the items of the left half away: valid on the way. */
static void check_changes(uint8_t *image, uint8_t tree, uint8_t level)
{
	static uint8_t left[NODE_BYTES], right[NODE_BYTES];
	unsigned n = image_count(image);

	memcpy(left, image, NODE_BYTES);
	image_init(right, tree, level);
	if (n >= 2) {
		unsigned point = image_split_point(image);
		MUST(point > 0 && point < n);
		image_move_tail(left, point, right);
		image_compact(left);
		image_compact(right);
		MUST(image_count(left) == point && image_validate(left, tree, level) == 0 && image_validate(right, tree, level) == 0);
	}
	for (unsigned step = 0; image_count(left) > 0; step++) {
		image_remove(left, (step * 7) % image_count(left));
		if (step % 16 && image_count(left) > 3)
			continue;
		image_compact(left);
		MUST(image_validate(left, tree, level) == 0 || (level > 0 && image_count(left) == 0));
	}
	MUST(image_room(left) == NODE_BYTES - sizeof(struct node_header));
}

static void try(uint8_t *image)
{
	uint8_t tree = head_of(image)->tree, level = head_of(image)->level;

	MUST(image_validate(image, tree ^ 1, level) < 0 && image_validate(image, tree, (uint8_t)(level + 1)) < 0);
	int r = image_validate(image, tree, level);
	MUST(r == 0 || r == -EBADMSG || r == -EPROTONOSUPPORT);
	if (r < 0)
		return;
	fuzz_accept();
	MUST(tree <= TREE_SYSTEM && level <= NODE_LEVEL_MAX);
	check_layout(image);
	check_again(image);
	check_changes(image, tree, level);
}

/* The items of a node whose structure may be wrong, in a sound one, in their order. */
static void rebuild(uint8_t *image, uint8_t *ret_image)
{
	unsigned n = image_count(image);

	image_init(ret_image, head_of(image)->tree & 1, head_of(image)->level & 15);
	head_of(ret_image)->generation = head_of(image)->generation;
	for (unsigned i = 0; i < n && i < ITEMS_MAX; i++) {
		struct key key = image_key(image, i);
		unsigned at = le16_get(item_of(image, i)->value_offset) % NODE_BYTES, bytes = le16_get(item_of(image, i)->value_bytes);
		if (at + bytes <= NODE_BYTES)
			image_insert(ret_image, image_count(ret_image), &key, image + at, bytes);
	}
	image_compact(ret_image);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t image[NODE_BYTES], rebuilt[NODE_BYTES];

	fuzz_take(data, size, image, sizeof image);
	rebuild(image, rebuilt);
	try(image);
	try(rebuilt);
	return 0;
}
