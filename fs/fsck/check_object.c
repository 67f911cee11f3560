/* The check of objects: items of the file tree come in the order of keys, so orphans first, then each object's inode, its links,
 * xattrs, entries and data.  What lies together is compared at the object's end; what one object says of another is added to
 * sums. */
#include "fs/data/extent.h"
#include "fs/fsck/checkimpl.h"
#include "fs/names/inode.h"
#include "fs/names/window.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* A finding about the object that is being walked. */
static void say_object(struct check *c, const char *what)
{
	char path[PATH_TEXT_BYTES];
	uint64_t ino = c->object.ino;
	check_suspect(c, SUSPECT_OBJECT, ino, 0);
	check_say(c, "%s: %s.", path_text(c->fs, ino, path), what);
}

/* ---- Items ---- */

static void orphan_item(struct check *c, const struct item *item)
{
	struct key key = key_make(item->key.offset, ITEM_INODE, 0);
	struct inode_item inode;
	unsigned bytes;
	if (item->key.object != OBJECT_ORPHANS)
		check_say(c, "Object %llu has an item of orphans.", (unsigned long long)item->key.object);
	int r = check_lookup(c->fs, &c->fs->file, &key, &inode, sizeof inode, &bytes);
	if (r == -ENOENT)
		check_say(c, "Inode %llu: it is on the list of orphans and does not exist.", (unsigned long long)item->key.offset);
	else if (r == 0 && le32_get(inode.links) != 0)
		check_say(c, "Inode %llu: it is an orphan that is in use.", (unsigned long long)item->key.offset);
	else
		return;
	check_suspect(c, SUSPECT_OBJECT, item->key.offset, 0);
}

static void inode_item(struct check *c, struct check_object *object, const struct item *item)
{
	const struct inode_item *d = item->value;
	struct inode decoded;
	object->has_inode = true;
	object->mode = le32_get(d->mode);
	object->links = le32_get(d->links);
	object->flags = le32_get(d->flags);
	object->size_bytes = le64_get(d->size_bytes);
	object->blocks = le64_get(d->blocks);
	object->parent = le64_get(d->parent);
	object->entries = le64_get(d->entries);
	object->subdirectories = le64_get(d->subdirectories);
	object->insane = inode_decode(item->key.object, item->value, item->bytes, &decoded) < 0;
	c->inodes++;
	c->last_ino = object->ino;
	c->directories += S_ISDIR(object->mode);
	c->files += object->mode != 0 && !S_ISDIR(object->mode) && object->links > 0;
}

/* Is the item at `offset` within the window of its hash? */
static bool in_window(uint64_t hash, uint64_t offset)
{
	return offset >= hash && offset - hash < WINDOW_SLOTS;
}

/* Of a name, as an entry or as a link. */
static uint64_t name_sum(const struct check *c, uint64_t dir, uint64_t offset, uint64_t child, uint64_t hash, uint8_t type)
{
	uint64_t x = check_mix(c->key[0] ^ dir);
	x = check_mix(x ^ offset);
	x = check_mix(x ^ child);
	x = check_mix(x ^ hash);
	return check_mix(x ^ c->key[1] ^ type);
}

static void link_item(struct check *c, struct check_object *object, const struct item *item)
{
	const struct link_item *d = item->value;
	struct { le64 dir; char name[NAME_BYTES_MAX]; } bytes = { .dir = d->parent };
	memcpy(bytes.name, d->name, d->name_bytes);
	if (!in_window(window_hash(c->fs, &bytes, sizeof bytes.dir + d->name_bytes), item->key.offset))
		say_object(c, "a link does not lie where its name says");
	object->links_seen++;
	object->link_parent = le64_get(d->parent);
	c->link_sum += name_sum(c, object->link_parent, le64_get(d->dirent_offset), object->ino, window_hash(c->fs, d->name, d->name_bytes),
		(uint8_t)IFTODT(object->mode));
}

static void dirent_item(struct check *c, struct check_object *object, const struct item *item)
{
	const struct dirent_item *d = item->value;
	uint64_t hash = window_hash(c->fs, d->name, d->name_bytes);
	if (!in_window(hash, item->key.offset))
		say_object(c, "an entry does not lie where its name says");
	if (memchr(d->name, 0, d->name_bytes) || memchr(d->name, '/', d->name_bytes)
		|| (d->name[0] == '.' && (d->name_bytes == 1 || (d->name_bytes == 2 && d->name[1] == '.')))) {
		check_suspect(c, SUSPECT_ENTRY, object->ino, item->key.offset);
		say_object(c, "it has an entry whose name is none");
	}
	object->entries_seen++;
	object->subdirectories_seen += d->type == DT_DIR;
	c->entry_sum += name_sum(c, object->ino, item->key.offset, le64_get(d->object), hash, d->type);
}

static uint64_t hidden_sum(const struct check *c, uint64_t ino, uint64_t bytes)
{
	return check_mix(check_mix(c->key[1] ^ ino) ^ bytes);
}

static void xattr_item(struct check *c, const struct item *item)
{
	const struct xattr_item *d = item->value;
	if (!in_window(window_hash(c->fs, d->name, d->name_bytes), item->key.offset)) {
		check_suspect(c, SUSPECT_XATTR, item->key.object, item->key.offset);
		say_object(c, "an extended attribute does not lie where its name says");
	}
	if (le64_get(d->object) != 0)
		c->owned_sum += hidden_sum(c, le64_get(d->object), le32_get(d->value_bytes));
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
static void read_places(struct check *c, const struct record_place *places, unsigned count)
{
	void *bufs[CHECK_READ_RECORDS] = { NULL };
	char path[PATH_TEXT_BYTES];
	for (unsigned i = 0; i < count; i++)
		bufs[i] = c->buffer + (size_t)i * UNIT_BYTES;
	int r = store_read_records(c->fs, places, bufs, count, NULL);
	for (unsigned i = 0; i < count && r != -ENOMEM; i++) {
		if (r == 0 || store_read_records(c->fs, &places[i], &bufs[i], 1, NULL) == 0) {
			if (!tail_is_zero(&c->object, &places[i], bufs[i]))
				say_object(c, "bytes beyond its size are not zero");
		} else
			check_lost(c, "%s: %u bytes at offset %llu cannot be read.", path_text(c->fs, c->object.ino, path),
				places[i].blocks * BLOCK_BYTES, (unsigned long long)places[i].block * BLOCK_BYTES);
	}
	if (r == -ENOMEM)
		c->error = r;
}

static void data_extent_item(struct check *c, const struct item *item)
{
	struct record_place places[CHECK_READ_RECORDS];
	unsigned count = 0;
	for (uint64_t block = item->key.offset, end = block + extent_blocks(item); block < end; ) {
		struct record_place *p = &places[count];
		extent_record(item, block, p);
		block += p->blocks;
		bool reached = check_reach(c, p->address, p->blocks, "record of data");
		if (!reached)
			check_suspect(c, SUSPECT_OBJECT, c->object.ino, 0);
		for (unsigned i = 0; reached && i < p->blocks; i++)
			check_pointer_sum(c, p->address + i, check_data_sum(c, p->address + i, c->object.ino, p->block + i));
		if (!c->options->data || !reached)
			continue;
		if (++count == CHECK_READ_RECORDS) {
			read_places(c, places, count);
			count = 0;
		}
	}
	if (count > 0)
		read_places(c, places, count);
	struct check_band *band = check_band_of(c, le64_get(((const struct extent_item *)item->value)->address));
	if (band)
		band->extents++;
	if (c->options->data)
		check_progress(c, c->done_nodes, c->total_nodes);
}

static void extent_item(struct check *c, struct check_object *object, const struct item *item)
{
	const struct extent_item *x = item->value;
	if (!extent_item_valid(&item->key, item->value, item->bytes)) {
		say_object(c, "an extent makes no sense");
		return;
	}
	uint64_t first = item->key.offset, blocks = extent_blocks(item);
	if (first < object->extent_end)
		say_object(c, "two extents overlap");
	if (first + blocks > object->extent_end)
		object->extent_end = first + blocks;
	object->blocks_seen += blocks;
	if (x->kind == EXTENT_RESERVED) {
		c->reserved_blocks += blocks;
		return;
	}
	if (object->has_inode && first * BLOCK_BYTES >= object->size_bytes)
		say_object(c, "it has data beyond its size");
	data_extent_item(c, item);
}

static void object_end(struct check *c);

void check_file_item(struct check *c, const struct item *item)
{
	struct check_object *object = &c->object;
	if (item->key.type == ITEM_ORPHAN) {
		orphan_item(c, item);
		return;
	}
	if (object->ino != item->key.object || !object->listed) {
		object_end(c);
		*object = (struct check_object){ .ino = item->key.object, .listed = true };
	}
	switch (item->key.type) {
	case ITEM_INODE: inode_item(c, object, item); break;
	case ITEM_LINK: link_item(c, object, item); break;
	case ITEM_XATTR: xattr_item(c, item); break;
	case ITEM_DIRENT: dirent_item(c, object, item); break;
	case ITEM_EXTENT: extent_item(c, object, item); break;
	case ITEM_INLINE:
		object->has_inline = true;
		object->inline_bytes = item->bytes;
		break;
	}
	if ((item->key.type == ITEM_INODE || item->key.type == ITEM_INLINE) && item->key.offset != 0)
		say_object(c, "an item of it has an offset and should have none");
}

/* ---- An object's end ---- */

static bool on_orphan_list(struct check *c, uint64_t ino)
{
	struct key key = key_make(OBJECT_ORPHANS, ITEM_ORPHAN, ino);
	return check_lookup(c->fs, &c->fs->file, &key, NULL, 0, NULL) == 0;
}

static void directory_end(struct check *c, const struct check_object *d, bool orphan)
{
	char path[PATH_TEXT_BYTES];
	if (d->entries != d->entries_seen || d->subdirectories != d->subdirectories_seen) {
		check_suspect(c, SUSPECT_OBJECT, d->ino, 0);
		check_say(c, "%s: it counts %llu entries with %llu directories, and has %llu with %llu.",
			path_text(c->fs, d->ino, path), (unsigned long long)d->entries, (unsigned long long)d->subdirectories,
			(unsigned long long)d->entries_seen, (unsigned long long)d->subdirectories_seen);
	}
	if (orphan ? d->links != 0 || d->entries_seen != 0 : d->links != d->subdirectories_seen + 2)
		say_object(c, "this directory has a wrong number of links");
	if (d->ino == OBJECT_ROOT ? d->links_seen != 0 || d->parent != OBJECT_ROOT
		: !orphan && (d->links_seen != 1 || d->parent != d->link_parent))
		say_object(c, "the parent of this directory is not the one that has an entry for it");
	if (d->size_bytes || d->blocks || d->flags || d->blocks_seen || d->has_inline)
		say_object(c, "this directory has data");
	if (orphan)
		return;
	struct check_dir *dir = vector_add(&c->dirs, &c->dir_count, &c->dir_room, sizeof *dir);
	if (dir)
		*dir = (struct check_dir){ d->ino, d->parent };
	else
		c->error = -ENOMEM;
}

static void other_end(struct check *c, const struct check_object *o)
{
	bool has_data = S_ISREG(o->mode) || S_ISLNK(o->mode) || o->mode == 0;
	char path[PATH_TEXT_BYTES];
	if (o->entries_seen > 0 || o->entries || o->subdirectories || o->parent)
		say_object(c, "it is no directory and has entries");
	if (o->links != o->links_seen) {
		check_suspect(c, SUSPECT_OBJECT, o->ino, 0);
		check_say(c, "%s: it counts %u links and has %llu.", path_text(c->fs, o->ino, path), o->links,
			(unsigned long long)o->links_seen);
	}
	if (o->blocks != o->blocks_seen) {
		check_suspect(c, SUSPECT_OBJECT, o->ino, 0);
		check_say(c, "%s: it counts %llu blocks and has %llu.", path_text(c->fs, o->ino, path),
			(unsigned long long)o->blocks, (unsigned long long)o->blocks_seen);
	}
	if (!(o->flags & INODE_HAS_INLINE) ? o->has_inline : !o->has_inline || o->inline_bytes != o->size_bytes || o->blocks_seen > 0)
		say_object(c, "its inline data does not agree with its size");
	if (!has_data && (o->size_bytes || o->blocks_seen || o->has_inline))
		say_object(c, "it is of a type that has no data, and has some");
}

static void object_end(struct check *c)
{
	const struct check_object *o = &c->object;
	if (!o->listed || c->error < 0)
		return;
	if (!o->has_inode) {
		check_suspect(c, SUSPECT_HEADLESS, o->ino, 0);
		say_object(c, "it has items and no inode");
		return;
	}
	if (o->insane)
		say_object(c, "its inode makes no sense");
	bool orphan = (o->links == 0 || o->mode == 0) && on_orphan_list(c, o->ino);
	if (o->mode == 0 && !orphan)
		c->hidden_sum += hidden_sum(c, o->ino, o->size_bytes);
	if (o->mode == 0 ? o->links_seen > 0 : o->links == 0 && (!orphan || o->links_seen > 0))
		say_object(c, "it is an orphan that is in use, or nothing names it and it is no orphan");
	if (S_ISDIR(o->mode))
		directory_end(c, o, orphan);
	else
		other_end(c, o);
}

/* ---- At the end ---- */

#define ROOTED (UINT64_C(1) << 63)

static struct check_dir *dir_find(struct check *c, uint64_t ino)
{
	size_t low = 0, high = c->dir_count;
	while (low < high) {
		size_t mid = (low + high) / 2;
		if ((c->dirs[mid].ino & ~ROOTED) < ino)
			low = mid + 1;
		else
			high = mid;
	}
	return low < c->dir_count && (c->dirs[low].ino & ~ROOTED) == ino ? &c->dirs[low] : NULL;
}

/* Every directory leads up to the root; what has been found to is marked, so that each is passed once. */
static void check_rooted(struct check *c)
{
	char path[PATH_TEXT_BYTES];
	for (size_t i = 0; i < c->dir_count; i++) {
		size_t steps = 0;
		struct check_dir *up = &c->dirs[i];
		while (up && up->ino != OBJECT_ROOT && !(up->ino & ROOTED) && steps++ <= c->dir_count)
			up = dir_find(c, up->parent);
		if (!up || (up->ino != OBJECT_ROOT && !(up->ino & ROOTED))) {
			check_suspect(c, SUSPECT_UNROOTED, c->dirs[i].ino, 0);
			check_say(c, "%s: this directory does not lead up to the root.", path_text(c->fs, c->dirs[i].ino, path));
			continue;
		}
		for (up = &c->dirs[i]; up->ino != OBJECT_ROOT && !(up->ino & ROOTED); up = dir_find(c, up->parent & ~ROOTED))
			up->ino |= ROOTED;
	}
}

void check_objects_end(struct check *c)
{
	object_end(c);
	c->object = (struct check_object){ 0 };
	const struct check_dir *root = dir_find(c, OBJECT_ROOT);
	if (!root)
		check_say(c, "There is no root directory.");
	if (!root)
		check_suspect(c, SUSPECT_OBJECT, OBJECT_ROOT, 0);
	check_rooted(c);
	if (c->error == 0 && (c->entry_sum != c->link_sum || c->hidden_sum != c->owned_sum))
		check_names(c);
}
