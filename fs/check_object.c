/* The self-check of objects: items of the file tree come in the order of keys, so each object's inode first, then its links,
 * xattrs, entries and data.  What one object says of another is kept and compared at the end. */
#include "fs/checkimpl.h"
#include "fs/extent.h"
#include "fs/window.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static void say_object(struct check *c, uint64_t ino, const char *what)
{
	check_say(c, "Inode %llu: %s.", (unsigned long long)ino, what);
}

static struct check_object *object_at(struct check *c, uint64_t ino)
{
	struct check_objects *o = &c->objects;
	if (o->count > 0 && o->items[o->count - 1].ino == ino)
		return &o->items[o->count - 1];
	struct check_object *object = vector_add(&o->items, &o->count, &o->room, sizeof *object);
	if (!object)
		c->error = -ENOMEM;
	else
		object->ino = ino;
	return object;
}

static struct check_object *object_find(struct check *c, uint64_t ino)
{
	size_t low = 0, high = c->objects.count;
	while (low < high) {
		size_t mid = (low + high) / 2;
		if (c->objects.items[mid].ino < ino)
			low = mid + 1;
		else
			high = mid;
	}
	return low < c->objects.count && c->objects.items[low].ino == ino ? &c->objects.items[low] : NULL;
}

/* ---- Items ---- */

static void inode_item(struct check_object *object, const struct item *item)
{
	const struct inode_item *d = item->value;
	object->has_inode = true;
	object->mode = le32_get(d->mode);
	object->links = le32_get(d->links);
	object->flags = le32_get(d->flags);
	object->size_bytes = le64_get(d->size_bytes);
	object->blocks = le64_get(d->blocks);
	object->parent = le64_get(d->parent);
	object->entries = le64_get(d->entries);
	object->subdirectories = le64_get(d->subdirectories);
}

/* Is the item at `offset` within the window of its hash? */
static bool in_window(uint64_t hash, uint64_t offset)
{
	return offset >= hash && offset - hash < WINDOW_SLOTS;
}

static void link_item(struct check *c, struct check_object *object, const struct item *item)
{
	const struct link_item *d = item->value;
	struct { le64 dir; char name[NAME_BYTES_MAX]; } bytes = { .dir = d->parent };
	memcpy(bytes.name, d->name, d->name_bytes);
	if (!in_window(window_hash(c->fs, &bytes, sizeof bytes.dir + d->name_bytes), item->key.offset))
		say_object(c, object->ino, "a link does not lie where its name says");
	struct check_name *name = vector_add(&c->objects.links, &c->objects.link_count, &c->objects.link_room, sizeof *name);
	if (!name) {
		c->error = -ENOMEM;
		return;
	}
	*name = (struct check_name){ .dir = le64_get(d->parent), .offset = le64_get(d->dirent_offset), .child = object->ino,
		.hash = window_hash(c->fs, d->name, d->name_bytes) };
	object->links_seen++;
	object->link_parent = name->dir;
}

static void dirent_item(struct check *c, struct check_object *object, const struct item *item)
{
	const struct dirent_item *d = item->value;
	struct check_name *name = vector_add(&c->objects.entries, &c->objects.entry_count, &c->objects.entry_room, sizeof *name);
	if (!name) {
		c->error = -ENOMEM;
		return;
	}
	*name = (struct check_name){ .dir = object->ino, .offset = item->key.offset, .child = le64_get(d->object), .type = d->type,
		.hash = window_hash(c->fs, d->name, d->name_bytes) };
	if (!in_window(name->hash, name->offset))
		say_object(c, object->ino, "an entry does not lie where its name says");
	if (memchr(d->name, 0, d->name_bytes) || memchr(d->name, '/', d->name_bytes))
		say_object(c, object->ino, "it has an entry whose name is none");
	object->entries_seen++;
	object->subdirectories_seen += d->type == DT_DIR;
}

static void xattr_item(struct check *c, struct check_object *object, const struct item *item)
{
	const struct xattr_item *d = item->value;
	if (!in_window(window_hash(c->fs, d->name, d->name_bytes), item->key.offset))
		say_object(c, object->ino, "an extended attribute does not lie where its name says");
	if (le64_get(d->object) == 0)
		return;
	struct check_hidden *hidden = vector_add(&c->objects.hidden, &c->objects.hidden_count, &c->objects.hidden_room, sizeof *hidden);
	if (!hidden)
		c->error = -ENOMEM;
	else
		*hidden = (struct check_hidden){ object->ino, le64_get(d->object), le32_get(d->value_bytes) };
}

/* ---- Extents ---- */

/* Bytes of the object's last record beyond its size are zero. */
static bool tail_is_zero(const struct check_object *object, const struct record_place *p, const uint8_t *bytes)
{
	uint64_t first = p->block * BLOCK_BYTES, end = first + p->blocks * BLOCK_BYTES;
	for (uint64_t at = object->size_bytes > first ? object->size_bytes : first; at < end; at++)
		if (bytes[at - first])
			return false;
	return true;
}

/* Reads records, and says which cannot be read. */
static void read_places(struct check *c, const struct check_object *object, const struct record_place *places, unsigned count)
{
	void *bufs[CHECK_READ_RECORDS] = { NULL };
	for (unsigned i = 0; i < count; i++)
		bufs[i] = c->buffer + (size_t)i * UNIT_BYTES;
	int r = store_read_records(c->fs, places, bufs, count);
	for (unsigned i = 0; i < count && r != -ENOMEM; i++) {
		if (r == 0 || store_read_records(c->fs, &places[i], &bufs[i], 1) == 0) {
			if (!tail_is_zero(object, &places[i], bufs[i]))
				say_object(c, object->ino, "bytes beyond its size are not zero");
		} else
			check_say(c, "Inode %llu: %u bytes at offset %llu cannot be read.", (unsigned long long)object->ino,
				places[i].blocks * BLOCK_BYTES, (unsigned long long)places[i].block * BLOCK_BYTES);
	}
	if (r == -ENOMEM)
		c->error = r;
}

static void data_extent_item(struct check *c, const struct check_object *object, const struct item *item)
{
	struct record_place places[CHECK_READ_RECORDS];
	unsigned count = 0;
	for (uint64_t block = item->key.offset, end = block + extent_blocks(item); block < end; ) {
		extent_record(item, block, &places[count]);
		block += places[count].blocks;
		bool reached = check_reach(c, places[count].address, places[count].blocks, "record of data");
		if (!c->data || !reached)
			continue;
		if (++count == CHECK_READ_RECORDS) {
			read_places(c, object, places, count);
			count = 0;
		}
	}
	if (count > 0)
		read_places(c, object, places, count);
}

static void check_extent(struct check *c, struct check_object *object, const struct item *item)
{
	const struct extent_item *x = item->value;
	if (!extent_item_valid(&item->key, item->value, item->bytes)) {
		say_object(c, object->ino, "an extent makes no sense");
		return;
	}
	uint64_t first = item->key.offset, blocks = extent_blocks(item);
	if (first < object->extent_end)
		say_object(c, object->ino, "two extents overlap");
	object->extent_end = first + blocks;
	object->blocks_seen += blocks;
	if (x->kind == EXTENT_RESERVED) {
		c->objects.reserved_blocks += blocks;
		return;
	}
	if (first * BLOCK_BYTES >= object->size_bytes)
		say_object(c, object->ino, "it has data beyond its size");
	data_extent_item(c, object, item);
}

void check_file_item(struct check *c, const struct item *item)
{
	struct check_objects *o = &c->objects;
	if (item->key.type == ITEM_ORPHAN && item->key.object == OBJECT_ORPHANS) {
		uint64_t *orphan = vector_add(&o->orphans, &o->orphan_count, &o->orphan_room, sizeof *orphan);
		if (orphan)
			*orphan = item->key.offset;
		else
			c->error = -ENOMEM;
		return;
	}
	struct check_object *object = object_at(c, item->key.object);
	if (!object)
		return;
	switch (item->key.type) {
	case ITEM_INODE: inode_item(object, item); break;
	case ITEM_LINK: link_item(c, object, item); break;
	case ITEM_XATTR: xattr_item(c, object, item); break;
	case ITEM_DIRENT: dirent_item(c, object, item); break;
	case ITEM_EXTENT: check_extent(c, object, item); break;
	case ITEM_INLINE:
		object->has_inline = true;
		object->inline_bytes = item->bytes;
		break;
	default:
		say_object(c, object->ino, "it has an item that does not belong there");
	}
	if (!object->has_inode && !object->missing) {
		object->missing = true;
		say_object(c, object->ino, "it has items and no inode");
	}
	if ((item->key.type == ITEM_INODE || item->key.type == ITEM_INLINE) && item->key.offset != 0)
		say_object(c, object->ino, "an item of it has an offset and should have none");
}

/* ---- At the end ---- */

static struct check_name *entry_find_at(struct check *c, uint64_t dir, uint64_t offset)
{
	struct check_objects *o = &c->objects;
	size_t low = 0, high = o->entry_count;
	while (low < high) {
		size_t mid = (low + high) / 2;
		const struct check_name *e = &o->entries[mid];
		if (e->dir < dir || (e->dir == dir && e->offset < offset))
			low = mid + 1;
		else
			high = mid;
	}
	return low < o->entry_count && o->entries[low].dir == dir && o->entries[low].offset == offset ? &o->entries[low] : NULL;
}

/* Each link leads to an entry that names its object, and each entry is led to by one link. */
static void match_names(struct check *c)
{
	struct check_objects *o = &c->objects;
	for (size_t i = 0; i < o->link_count; i++) {
		struct check_name *entry = entry_find_at(c, o->links[i].dir, o->links[i].offset);
		if (!entry || entry->child != o->links[i].child || entry->hash != o->links[i].hash || entry->matched)
			say_object(c, o->links[i].child, "a link of it leads to no entry, or to another's");
		else
			entry->matched = true;
	}
	for (size_t i = 0; i < o->entry_count; i++) {
		struct check_object *child = object_find(c, o->entries[i].child);
		if (!o->entries[i].matched)
			check_say(c, "Inode %llu: an entry names inode %llu, which has no link that says so.", (unsigned long long)o->entries[i].dir,
				(unsigned long long)o->entries[i].child);
		if (child && child->has_inode && o->entries[i].type != IFTODT(child->mode))
			say_object(c, child->ino, "an entry says that it is of another type");
		if (!child || !child->has_inode)
			check_say(c, "Inode %llu: an entry names inode %llu, which does not exist.", (unsigned long long)o->entries[i].dir,
				(unsigned long long)o->entries[i].child);
	}
}

static void match_orphans(struct check *c)
{
	struct check_objects *o = &c->objects;
	for (size_t i = 0; i < o->orphan_count; i++) {
		struct check_object *object = object_find(c, o->orphans[i]);
		if (object && object->has_inode)
			object->orphan = true;
		else
			say_object(c, o->orphans[i], "it is on the list of orphans and does not exist");
	}
	for (size_t i = 0; i < o->hidden_count; i++) {
		struct check_object *object = object_find(c, o->hidden[i].object);
		if (!object || !object->has_inode || object->mode != 0 || object->size_bytes != o->hidden[i].value_bytes) {
			say_object(c, o->hidden[i].owner, "the value of an extended attribute is not where it should be");
			continue;
		}
		object->owners_seen++;
	}
}

static void check_directory(struct check *c, const struct check_object *d)
{
	if (d->entries != d->entries_seen || d->subdirectories != d->subdirectories_seen)
		check_say(c, "Inode %llu: it counts %llu entries with %llu directories, and has %llu with %llu.", (unsigned long long)d->ino,
			(unsigned long long)d->entries, (unsigned long long)d->subdirectories, (unsigned long long)d->entries_seen,
			(unsigned long long)d->subdirectories_seen);
	if (d->orphan ? d->links != 0 || d->entries_seen != 0 : d->links != d->subdirectories_seen + 2)
		say_object(c, d->ino, "this directory has a wrong number of links");
	if (d->ino == OBJECT_ROOT ? d->links_seen != 0 || d->parent != OBJECT_ROOT
		: !d->orphan && (d->links_seen != 1 || d->parent != d->link_parent))
		say_object(c, d->ino, "the parent of this directory is not the one that has an entry for it");
	if (d->size_bytes || d->blocks || d->flags)
		say_object(c, d->ino, "this directory has data");
}

static void check_object(struct check *c, const struct check_object *o)
{
	bool has_data = S_ISREG(o->mode) || S_ISLNK(o->mode) || o->mode == 0;
	if (!o->has_inode)
		return;          /* said before */
	if (o->orphan ? o->links != 0 || o->links_seen != 0 || o->owners_seen != 0 : o->links == 0 && o->owners_seen != 1)
		say_object(c, o->ino, "it is an orphan that is in use, or nothing names it and it is no orphan");
	if (o->owners_seen > 1 || (o->owners_seen == 1 && o->links_seen > 0))
		say_object(c, o->ino, "it has more than one owner");
	if (S_ISDIR(o->mode)) {
		check_directory(c, o);
		return;
	}
	if (o->entries_seen > 0 || o->entries || o->subdirectories || o->parent)
		say_object(c, o->ino, "it is no directory and has entries");
	if (o->links != o->links_seen)
		check_say(c, "Inode %llu: it counts %u links and has %llu.", (unsigned long long)o->ino, o->links, (unsigned long long)o->links_seen);
	if (o->blocks != o->blocks_seen)
		check_say(c, "Inode %llu: it counts %llu blocks and has %llu.", (unsigned long long)o->ino, (unsigned long long)o->blocks,
			(unsigned long long)o->blocks_seen);
	if (!(o->flags & INODE_HAS_INLINE) ? o->has_inline : !o->has_inline || o->inline_bytes != o->size_bytes || o->blocks_seen > 0)
		say_object(c, o->ino, "its inline data does not agree with its size");
	if (!has_data && (o->size_bytes || o->blocks_seen || o->has_inline))
		say_object(c, o->ino, "it is of a type that has no data, and has some");
}

/* Every directory leads up to the root. */
static void check_rooted(struct check *c)
{
	struct check_objects *o = &c->objects;
	for (size_t i = 0; i < o->count; i++) {
		struct check_object *d = &o->items[i];
		if (!S_ISDIR(d->mode) || d->orphan)
			continue;
		size_t steps = 0;
		struct check_object *up = d;
		while (up && S_ISDIR(up->mode) && up->ino != OBJECT_ROOT && !up->rooted && steps++ <= o->count)
			up = object_find(c, up->parent);
		d->rooted = up && (up->ino == OBJECT_ROOT || up->rooted);
		if (!d->rooted)
			say_object(c, d->ino, "this directory does not lead up to the root");
	}
}

void check_objects_end(struct check *c)
{
	match_names(c);
	match_orphans(c);
	const struct check_object *root = object_find(c, OBJECT_ROOT);
	if (!root || !root->has_inode || !S_ISDIR(root->mode) || root->orphan)
		check_say(c, "There is no root directory.");
	for (size_t i = 0; i < c->objects.count; i++)
		check_object(c, &c->objects.items[i]);
	check_rooted(c);
}
