#include "fs/tree/node.h"

#include <errno.h>
#include <string.h>

static struct node_header *head(const uint8_t *image) { return (struct node_header *)image; }
static struct item_head *items(const uint8_t *image) { return (struct item_head *)(image + sizeof(struct node_header)); }

void image_init(uint8_t *image, uint8_t tree, uint8_t level)
{
	memset(image, 0, NODE_BYTES);
	struct node_header *h = head(image);
	h->magic = le32_put(NODE_MAGIC);
	h->tree = tree;
	h->level = level;
	h->values_start = le16_put(NODE_BYTES);
}

unsigned image_count(const uint8_t *image) { return le16_get(head(image)->count); }
unsigned image_level(const uint8_t *image) { return head(image)->level; }

struct disk_key key_to_disk(const struct key *key)
{
	return (struct disk_key){ .object = le64_put(key->object), .offset = le64_put(key->offset), .version = le32_put(key->version),
		.type = key->type };
}

struct key key_from_disk(const struct disk_key *k)
{
	return (struct key){ le64_get(k->object), k->type, le64_get(k->offset), le32_get(k->version) };
}

struct key image_key(const uint8_t *image, unsigned i) { return key_from_disk(&items(image)[i].key); }
void image_set_key(uint8_t *image, unsigned i, const struct key *key) { items(image)[i].key = key_to_disk(key); }

void *image_value(const uint8_t *image, unsigned i, unsigned *ret_bytes)
{
	const struct item_head *it = &items(image)[i];
	if (ret_bytes)
		*ret_bytes = le16_get(it->value_bytes);
	return (void *)(image + le16_get(it->value_offset));
}

int key_compare(const struct key *a, const struct key *b)
{
	if (a->object != b->object)
		return a->object < b->object ? -1 : 1;
	if (a->type != b->type)
		return a->type < b->type ? -1 : 1;
	if (a->offset != b->offset)
		return a->offset < b->offset ? -1 : 1;
	if (a->version != b->version)
		return a->version < b->version ? -1 : 1;
	return 0;
}

/* As key_compare, looking at no more of the item than it takes: most differ in the object. */
static int compare_item(const struct disk_key *a, const struct key *b)
{
	uint64_t object = le64_get(a->object);
	if (object != b->object)
		return object < b->object ? -1 : 1;
	struct key key = key_from_disk(a);
	return key_compare(&key, b);
}

unsigned image_find(const uint8_t *image, const struct key *key, bool *ret_found)
{
	unsigned low = 0, high = image_count(image);
	*ret_found = false;
	while (low < high) {
		unsigned mid = (low + high) / 2;
		int c = compare_item(&items(image)[mid].key, key);
		if (c == 0) {
			*ret_found = true;
			return mid;
		}
		if (c < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

unsigned image_child(const uint8_t *image, const struct key *key)
{
	bool found;
	unsigned i = image_find(image, key, &found);
	return found || i == 0 ? i : i - 1;
}

unsigned image_room(const uint8_t *image)
{
	return NODE_BYTES - (unsigned)sizeof(struct node_header) - image_count(image) * (unsigned)sizeof(struct item_head)
		- le16_get(head(image)->values_bytes);
}

void image_compact(uint8_t *image)
{
	unsigned n = image_count(image), end = NODE_BYTES;
	uint8_t copy[NODE_BYTES];
	memcpy(copy, image, NODE_BYTES);
	for (unsigned i = 0; i < n; i++) {
		unsigned bytes;
		const void *value = image_value(copy, i, &bytes);
		end -= bytes;
		memcpy(image + end, value, bytes);
		items(image)[i].value_offset = le16_put((uint16_t)end);
	}
	unsigned heads_end = (unsigned)(sizeof(struct node_header) + n * sizeof(struct item_head));
	memset(image + heads_end, 0, end - heads_end);
	head(image)->values_start = le16_put((uint16_t)end);
}

bool image_insert(uint8_t *image, unsigned i, const struct key *key, const void *value, unsigned bytes)
{
	struct node_header *h = head(image);
	unsigned n = image_count(image);
	if (image_room(image) < sizeof(struct item_head) + bytes)
		return false;
	unsigned start = le16_get(h->values_start);
	if (start - (sizeof(struct node_header) + n * sizeof(struct item_head)) < sizeof(struct item_head) + bytes) {
		image_compact(image);
		start = le16_get(h->values_start);
	}
	start -= bytes;
	memcpy(image + start, value, bytes);
	memmove(&items(image)[i + 1], &items(image)[i], (n - i) * sizeof(struct item_head));
	items(image)[i].value_offset = le16_put((uint16_t)start);
	items(image)[i].value_bytes = le16_put((uint16_t)bytes);
	image_set_key(image, i, key);
	h->count = le16_put((uint16_t)(n + 1));
	h->values_start = le16_put((uint16_t)start);
	h->values_bytes = le16_put((uint16_t)(le16_get(h->values_bytes) + bytes));
	return true;
}

void image_remove(uint8_t *image, unsigned i)
{
	struct node_header *h = head(image);
	unsigned n = image_count(image), bytes = le16_get(items(image)[i].value_bytes);
	if (le16_get(items(image)[i].value_offset) == le16_get(h->values_start))
		h->values_start = le16_put((uint16_t)(le16_get(h->values_start) + bytes));
	h->values_bytes = le16_put((uint16_t)(le16_get(h->values_bytes) - bytes));
	memmove(&items(image)[i], &items(image)[i + 1], (n - i - 1) * sizeof(struct item_head));
	h->count = le16_put((uint16_t)(n - 1));
	if (n == 1)
		h->values_start = le16_put(NODE_BYTES);
}

void image_move_tail(uint8_t *left, unsigned from, uint8_t *right)
{
	unsigned n = image_count(left);
	for (unsigned i = from; i < n; i++) {
		unsigned bytes;
		const void *value = image_value(left, i, &bytes);
		struct key k = image_key(left, i);
		bool fits = image_insert(right, image_count(right), &k, value, bytes);
		assert(fits);
	}
	while (image_count(left) > from)
		image_remove(left, image_count(left) - 1);
}

unsigned image_split_point(const uint8_t *image)
{
	unsigned n = image_count(image), half = (le16_get(head(image)->values_bytes) + n * (unsigned)sizeof(struct item_head)) / 2;
	unsigned sum = 0, i = 0;
	while (i + 1 < n && sum < half)
		sum += le16_get(items(image)[i++].value_bytes) + (unsigned)sizeof(struct item_head);
	return i > 0 ? i : 1;
}

static bool extent_bytes_right(const struct extent_item *x, unsigned bytes)
{
	if (bytes < sizeof *x)
		return false;
	unsigned records = le16_get(x->records);
	if (x->kind == EXTENT_RESERVED)
		return bytes == sizeof *x && le32_get(x->blocks) > 0;
	if (x->kind == EXTENT_REST)
		return x->compression == 0 && records == 1 && bytes == EXTENT_BYTES(1) && x->record_blocks <= UNIT_BLOCKS
			&& le32_get(x->blocks) > 0 && le32_get(x->blocks) <= UNIT_BLOCKS && x->last_blocks + le32_get(x->blocks) <= x->record_blocks;
	return x->kind == EXTENT_DATA && x->compression == 0 && records > 0 && records <= EXTENT_RECORDS_MAX
		&& bytes == EXTENT_BYTES(records) && x->record_blocks >= 1 && x->record_blocks <= UNIT_BLOCKS
		&& x->last_blocks >= 1 && x->last_blocks <= x->record_blocks
		&& le32_get(x->blocks) == (records - 1) * x->record_blocks + x->last_blocks;
}

/* Is the value's size right for its type?  What the value says beyond this is checked by those who use it. */
static int value_check(const struct key *key, const void *value, unsigned bytes)
{
	bool right;
	switch (key->type) {
	case ITEM_INODE: right = bytes == sizeof(struct inode_item); break;
	case ITEM_LINK: {
		const struct link_item *l = value;
		right = bytes > sizeof *l && bytes == sizeof *l + l->name_bytes;
		break;
	}
	case ITEM_DIRENT: {
		const struct dirent_item *d = value;
		right = bytes > sizeof *d && bytes == sizeof *d + d->name_bytes;
		break;
	}
	case ITEM_XATTR: {
		const struct xattr_item *x = value;
		right = bytes > sizeof *x && x->name_bytes > 0
			&& bytes == sizeof *x + x->name_bytes + (le64_get(x->object) ? 0 : le32_get(x->value_bytes));
		break;
	}
	case ITEM_INLINE: right = bytes <= INLINE_MAX; break;
	case ITEM_EXTENT: right = extent_bytes_right(value, bytes); break;
	case ITEM_ORPHAN: right = bytes == 0; break;
	case ITEM_BAND: right = bytes == sizeof(struct band_item); break;
	case ITEM_BITMAP: right = bytes > 0 && bytes <= BITMAP_CHUNK_ROWS * (MEMBERS_MAX - 1) * UNIT_BLOCKS / 8; break;
	case ITEM_ROWS: {
		const struct rows_item *r = value;
		right = bytes >= sizeof *r && bytes_are_zero(r->zero, sizeof r->zero) && le16_get(r->owners) <= ROW_OWNERS_MAX
			&& le16_get(r->rows) > 0 && bytes == sizeof *r + le16_get(r->owners) * sizeof(struct row_owner);
		break;
	}
	case ITEM_SCRUB: {
		const struct scrub_item *s = value;
		right = bytes >= sizeof *s && bytes == sizeof *s + (s->now_members + s->last_members) * sizeof *s->members;
		break;
	}
	default: return -EPROTONOSUPPORT;
	}
	return right ? 0 : -EBADMSG;
}

/* Marks the bytes of a value; false if one of them was another's. */
static bool claim(uint8_t used[NODE_BYTES], unsigned offset, unsigned bytes)
{
	if (memchr(used + offset, 1, bytes))
		return false;
	memset(used + offset, 1, bytes);
	return true;
}

int image_validate(const uint8_t *image, uint8_t tree, uint8_t level)
{
	uint8_t used[NODE_BYTES] = { 0 };
	const struct node_header *h = head(image);
	unsigned n = image_count(image), start = le16_get(h->values_start);
	unsigned heads_end = (unsigned)(sizeof *h + n * sizeof(struct item_head));
	if (le32_get(h->magic) != NODE_MAGIC || h->tree != tree || h->level != level || level > NODE_LEVEL_MAX)
		return -EBADMSG;
	if (heads_end > NODE_BYTES || start < heads_end || start > NODE_BYTES || NODE_BYTES - start != le16_get(h->values_bytes))
		return -EBADMSG;
	if (!bytes_are_zero(h->zero, sizeof h->zero) || (level > 0 && n == 0) || !bytes_are_zero(image + heads_end, start - heads_end))
		return -EBADMSG;
	unsigned sum = 0;
	struct key before = { 0 };
	for (unsigned i = 0; i < n; i++) {
		unsigned bytes, offset = le16_get(items(image)[i].value_offset);
		struct key k = image_key(image, i);
		const void *value = image_value(image, i, &bytes);
		if (offset < start || offset + bytes > NODE_BYTES || bytes > ITEM_VALUE_MAX || !bytes_are_zero(items(image)[i].key.zero, 3)
			|| !claim(used, offset, bytes))
			return -EBADMSG;
		if (i > 0 && key_compare(&before, &k) >= 0)
			return -EBADMSG;
		before = k;
		sum += bytes;
		if (level > 0) {
			const struct branch_value *b = value;
			if (bytes != sizeof *b || !bytes_are_zero(b->memory, sizeof b->memory)
				|| !bytes_are_zero(b->pointer.zero, sizeof b->pointer.zero)
				|| le32_get(b->pointer.length_bytes) != NODE_BYTES)
				return -EBADMSG;
			continue;
		}
		int r = (tree == TREE_FILE) == (k.type < ITEM_BAND) ? value_check(&k, value, bytes) : -EPROTONOSUPPORT;
		if (r < 0)
			return r;
	}
	return sum == NODE_BYTES - start ? 0 : -EBADMSG;
}
