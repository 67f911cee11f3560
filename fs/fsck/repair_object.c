/* Makes one object's items agree with each other: its items are counted, what contradicts is taken out, and its inode is stored with
 * what is there.  An inode that is missing is made again from the items, if there is data or entries to be had. */
#include "fs/data/extent.h"
#include "fs/fsck/checkimpl.h"
#include "fs/names/inode.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct scan {
	bool has_inode, has_inline, orphan;
	struct inode_item item;          /* as it is */
	struct inode inode;              /* as it shall be */
	uint64_t links, entries, subdirectories, blocks, data_end, extent_end, parent, inline_bytes;
	struct key *drop; size_t drop_count, drop_room;  /* extents that overlap, links too many, what has no place */
	bool lost;                       /* a drop takes data away */
	bool others;                     /* attributes */
};

static int drop(struct scan *s, const struct key *key)
{
	struct key *slot = vector_add(&s->drop, &s->drop_count, &s->drop_room, sizeof *slot);
	if (slot)
		*slot = *key;
	return slot ? 0 : -ENOMEM;
}

static int scan_extent(struct scan *s, const struct item *item)
{
	const struct extent_item *x = item->value;
	uint64_t end = item->key.offset + extent_blocks(item);
	if (x->kind != EXTENT_DIRTY && !extent_item_valid(&item->key, item->value, item->bytes)) {
		s->lost = true;
		return drop(s, &item->key);
	}
	if (item->key.offset < s->extent_end) {
		s->lost = true;
		return drop(s, &item->key);
	}
	s->extent_end = end;
	s->blocks += extent_blocks(item);
	if (x->kind != EXTENT_RESERVED)
		s->data_end = end;
	return 0;
}

static int scan_item(struct scan *s, const struct item *item)
{
	switch (item->key.type) {
	case ITEM_INODE:
		if (item->key.offset != 0)
			return drop(s, &item->key);
		s->has_inode = true;
		memcpy(&s->item, item->value, sizeof s->item);
		return 0;
	case ITEM_LINK:
		s->links++;
		if (s->links == 1)
			s->parent = le64_get(((const struct link_item *)item->value)->parent);
		return 0;
	case ITEM_DIRENT:
		s->entries++;
		s->subdirectories += ((const struct dirent_item *)item->value)->type == DT_DIR;
		return 0;
	case ITEM_INLINE:
		if (item->key.offset != 0)
			return drop(s, &item->key);
		s->has_inline = true;
		s->inline_bytes = item->bytes;
		return 0;
	case ITEM_EXTENT:
		return scan_extent(s, item);
	default:
		s->others = true;
		return 0;
	}
}

/* A body. */
static int scan_object(struct fs *fs, uint64_t ino, struct scan *s)
{
	struct key from = key_make(ino, 0, 0), to = key_make(ino, UINT8_MAX, UINT64_MAX);
	struct key orphan = key_make(OBJECT_ORPHANS, ITEM_ORPHAN, ino);
	struct key *room = s->drop;
	size_t drop_room = s->drop_room;
	struct item item;
	*s = (struct scan){ .drop = room, .drop_room = drop_room };
	int r;
	while ((r = tree_next(fs, &fs->file, &from, &to, &item)) == 0) {
		r = scan_item(s, &item);
		if (r < 0)
			return r;
		from = item.key;
		if (++from.version == 0)
			return -EUCLEAN;
	}
	if (r != -ENOENT)
		return r;
	r = tree_lookup(fs, &fs->file, &orphan, &item);
	s->orphan = r == 0;
	return r == -ENOENT ? 0 : r;
}

/* All items of one type go. */
static int drop_type(struct fs *fs, uint64_t ino, uint8_t type, struct scan *s)
{
	struct key from = key_make(ino, type, 0), to = key_make(ino, type, UINT64_MAX);
	struct item item;
	int r;
	while ((r = tree_next(fs, &fs->file, &from, &to, &item)) == 0) {
		if (drop(s, &item.key) < 0)
			return -ENOMEM;
		if (item.key.offset == UINT64_MAX)
			return 0;
		from.offset = item.key.offset + 1;
	}
	return r == -ENOENT ? 0 : r;
}

static uint32_t mode_of(const struct scan *s, uint64_t ino)
{
	uint32_t mode = s->has_inode ? le32_get(s->item.mode) & (S_IFMT | 07777) : 0;
	bool known = s->has_inode && (le32_get(s->item.mode) == 0 || S_ISREG(mode) || S_ISDIR(mode) || S_ISLNK(mode) || S_ISFIFO(mode)
		|| S_ISSOCK(mode) || S_ISCHR(mode) || S_ISBLK(mode));
	if (known)
		return mode;
	return ino == OBJECT_ROOT ? S_IFDIR | 0755 : s->entries > 0 ? S_IFDIR | 0700 : S_IFREG | 0600;
}

static void want_directory(struct scan *s, uint64_t ino)
{
	struct inode *i = &s->inode;
	i->size_bytes = i->blocks = 0;
	i->flags = 0;
	i->entries = s->entries;
	i->subdirectories = s->subdirectories;
	i->links = s->orphan && s->entries == 0 && s->links == 0 ? 0 : (uint32_t)s->subdirectories + 2;
	i->parent = ino == OBJECT_ROOT || s->links == 0 ? OBJECT_ROOT : s->parent;
}

/* Extents win over inline data: there is more of it. */
static void want_data(struct scan *s)
{
	struct inode *i = &s->inode;
	bool has_data = S_ISREG(i->mode) || S_ISLNK(i->mode) || i->mode == 0;
	i->entries = i->subdirectories = i->parent = 0;
	i->links = (uint32_t)s->links;
	i->blocks = has_data ? s->blocks : 0;
	i->flags &= ~INODE_HAS_INLINE;
	if (!has_data) {
		i->size_bytes = 0;
	} else if (s->has_inline && s->blocks == 0) {
		i->flags |= INODE_HAS_INLINE;
		i->size_bytes = s->inline_bytes;
	} else if (!s->has_inode || (le32_get(s->item.flags) & INODE_HAS_INLINE)) {
		s->lost |= s->has_inode;
		i->size_bytes = s->data_end * BLOCK_BYTES;
	} else if (i->size_bytes <= (s->data_end ? s->data_end - 1 : 0) * BLOCK_BYTES || i->size_bytes > FS_FILE_BYTES_MAX) {
		i->size_bytes = s->data_end * BLOCK_BYTES;
	}
}

/* What the inode shall say, and what has to go. A body. */
static int decide(struct fs *fs, uint64_t ino, struct scan *s)
{
	struct inode_item times = s->item;
	int64_t now = fs_now_ns(fs);
	struct inode *i = &s->inode;
	int r = 0;
	*i = (struct inode){ .ino = ino, .uid = le32_get(s->item.uid), .gid = le32_get(s->item.gid),
		.size_bytes = le64_get(s->item.size_bytes), .generation = le32_get(s->item.generation), .rdev = le64_get(s->item.rdev),
		.atime_ns = now, .mtime_ns = now, .ctime_ns = now, .btime_ns = now };
	i->mode = mode_of(s, ino);
	s->lost |= s->has_inode && !S_ISDIR(i->mode) && le64_get(s->item.blocks) > s->blocks;
	if (S_ISDIR(i->mode))
		want_directory(s, ino);
	else
		want_data(s);
	/* The times alone, in an inode that makes sense. */
	struct inode kept;
	times.mode = le32_put(S_IFREG);
	times.links = le32_put(1);
	times.flags = le32_put(0);
	times.size_bytes = times.blocks = times.parent = times.entries = times.subdirectories = le64_put(0);
	memset(times.zero, 0, sizeof times.zero);
	if (s->has_inode && inode_decode(ino, &times, sizeof times, &kept) == 0) {
		i->atime_ns = kept.atime_ns;
		i->mtime_ns = kept.mtime_ns;
		i->ctime_ns = kept.ctime_ns;
		i->btime_ns = kept.btime_ns;
	}
	if (s->has_inline && !(i->flags & INODE_HAS_INLINE)) {
		s->lost = true;
		r = drop_type(fs, ino, ITEM_INLINE, s);
	}
	if (r == 0 && s->blocks > 0 && i->blocks == 0) {
		s->drop_count = 0;
		s->lost = true;
		r = drop_type(fs, ino, ITEM_EXTENT, s);
	}
	if (r == 0 && s->entries > 0 && !S_ISDIR(i->mode))
		r = drop_type(fs, ino, ITEM_DIRENT, s);
	return r;
}

/* Nothing to be had: its names and attributes go as well. */
static bool is_empty(const struct scan *s) { return !s->has_inode && !s->has_inline && s->blocks == 0 && s->entries == 0; }

static int drop_all(struct fs *fs, uint64_t ino, struct scan *s)
{
	int r = 0;
	s->drop_count = 0;
	for (uint8_t type = ITEM_LINK; type <= ITEM_EXTENT && r == 0; type++)
		r = drop_type(fs, ino, type, s);
	return r;
}

static int prepare(struct fs *fs, uint64_t ino, const struct scan *s)
{
	int r = inode_prepare(fs, ino);
	if (r == 0)
		r = orphan_prepare(fs, ino);
	for (size_t i = 0; i < s->drop_count && r == 0; i++)
		r = tree_prepare(fs, &fs->file, &s->drop[i]);
	return r;
}

static int delete_drops(struct fs *fs, const struct scan *s)
{
	int r = 0;
	for (size_t i = 0; i < s->drop_count && r == 0; i++) {
		struct item item;
		r = tree_lookup(fs, &fs->file, &s->drop[i], &item);
		if (r == 0 && item.key.type == ITEM_EXTENT && extent_item_valid(&item.key, item.value, item.bytes)) {
			const struct extent_item *x = item.value;
			extent_free(fs, &item, 0, x->kind == EXTENT_RESERVED ? 0 : extent_blocks(&item));
		}
		if (r == 0)
			r = tree_delete(fs, &fs->file, &s->drop[i]);
	}
	return r;
}

static int fix_locked(struct fs *fs, uint64_t ino, struct scan *s)
{
	int r = scan_object(fs, ino, s);
	if (r == 0 && is_empty(s) && s->links == 0 && !s->others && !s->orphan && ino != OBJECT_ROOT)
		return -ENOENT;          /* it went before */
	bool empty = r == 0 && is_empty(s) && ino != OBJECT_ROOT;
	if (r == 0)
		r = empty ? drop_all(fs, ino, s) : decide(fs, ino, s);
	if (r == 0)
		r = prepare(fs, ino, s);
	if (r < 0)
		return r;
	r = delete_drops(fs, s);
	bool keep_orphan = !empty && s->orphan && s->links == 0 && ino != OBJECT_ROOT && (s->entries == 0 || !S_ISDIR(s->inode.mode));
	if (r == 0 && s->orphan && !keep_orphan)
		r = orphan_delete(fs, ino);
	if (r == 0 && !empty)
		r = inode_store(fs, &s->inode);
	if (r == 0 && !empty && !s->has_inode) {
		fs->inode_count++;
		if (fs->next_object <= ino)
			fs->next_object = ino + 1;
	}
	return inode_changed(fs, r);
}

/* `found`: what has no name goes to /lost+found. */
static int fix(struct check *c, uint64_t ino, bool found)
{
	char path[PATH_TEXT_BYTES];
	struct scan s = { 0 };
	struct op op;
	path_text(c->fs, ino, path);
	int r = op_begin(c->fs, &op, OP_RELOCATE, 0);
	if (r < 0)
		return r;
	do
		r = fix_locked(c->fs, ino, &s);
	while (op_retry(&op, &r));
	op_end(&op);
	free(s.drop);
	if (r < 0)
		return r;
	bool empty = is_empty(&s) && ino != OBJECT_ROOT;
	if (s.lost || (empty && s.links > 0))
		check_note(c, CHECK_LOST, "%s: %s is lost.", path, empty ? "the file"
			: "a part of its data (it reads as zeros, or is missing at the end)");
	repair_say(c, "%s: %s.", path, empty ? "what was left of it was taken out" : s.has_inode
		? "its inode was made to agree with what it has" : "its inode was made again; owner and mode are not what they were");
	bool orphan = s.orphan && (s.entries == 0 || !S_ISDIR(s.inode.mode));
	if (!found || empty || orphan || s.links > 0 || ino == OBJECT_ROOT || s.inode.mode == 0)
		return 0;
	return repair_found(c, ino);
}

int repair_object(struct check *c, uint64_t ino) { return fix(c, ino, true); }

int repair_headless(struct check *c, uint64_t ino)
{
	check_suspect(c, SUSPECT_OBJECT, ino, 0);
	return fix(c, ino, false);
}
