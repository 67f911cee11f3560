/* See damage.h. */
#include "fs/core.h"
#include "fs/data/data.h"
#include "fs/names/inode.h"
#include "tests/sim/damage.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

uint64_t damage_file, damage_dir, damage_inner;

/* ---- What is damaged: bodies, with the lock held ---- */

static int damage_inode(struct fs *fs, uint64_t ino, void (*change)(struct inode *))
{
	struct inode inode;
	int r = inode_load(fs, ino, &inode);
	if (r == 0)
		r = inode_prepare(fs, ino);
	if (r < 0)
		return r;
	change(&inode);
	return inode_store(fs, &inode);
}

static void add_link(struct inode *i) { i->links++; }
static void add_block(struct inode *i) { i->blocks++; }
static void cut_size(struct inode *i) { i->size_bytes = 4096; }
static void add_entry(struct inode *i) { i->entries++; }
static void other_parent(struct inode *i) { i->parent = damage_file; }

static int links(struct fs *fs) { return damage_inode(fs, damage_file, add_link); }
static int blocks(struct fs *fs) { return damage_inode(fs, damage_file, add_block); }
static int size(struct fs *fs) { return damage_inode(fs, damage_file, cut_size); }
static int entries(struct fs *fs) { return damage_inode(fs, damage_dir, add_entry); }
static int parent(struct fs *fs) { return damage_inode(fs, damage_dir, other_parent); }

/* The first item of an object and type, in either tree. */
static int first_item(struct fs *fs, struct tree *tree, uint64_t object, uint8_t type, struct item *ret_item)
{
	struct key from = key_make(object, type, 0), to = key_make(object, type, UINT64_MAX);
	int r = tree_next(fs, tree, &from, &to, ret_item);
	if (r == 0)
		r = tree_prepare(fs, tree, &ret_item->key);
	return r == 0 ? tree_next(fs, tree, &from, &to, ret_item) : r;   /* where it lies now */
}

static int delete_first(struct fs *fs, struct tree *tree, uint64_t object, uint8_t type)
{
	struct item item;
	int r = first_item(fs, tree, object, type, &item);
	return r == 0 ? tree_delete(fs, tree, &item.key) : r;
}

static int link_item(struct fs *fs) { return delete_first(fs, &fs->file, damage_file, ITEM_LINK); }
static int dirent_item(struct fs *fs) { return delete_first(fs, &fs->file, damage_dir, ITEM_DIRENT); }
static int inode_item(struct fs *fs) { return delete_first(fs, &fs->file, damage_file, ITEM_INODE); }
static int extent_leak(struct fs *fs) { return delete_first(fs, &fs->file, damage_file, ITEM_EXTENT); }

static int orphan(struct fs *fs)
{
	struct key key = key_make(OBJECT_ORPHANS, ITEM_ORPHAN, damage_file);
	int r = tree_prepare(fs, &fs->file, &key);
	return r == 0 ? tree_put(fs, &fs->file, &key, "", 0) : r;
}

/* Blocks in use become free. */
static int freed(struct fs *fs)
{
	struct item item;
	int r = first_item(fs, &fs->file, damage_file, ITEM_EXTENT, &item);
	if (r == 0)
		r = txn_free_blocks(fs, le64_get(((const struct extent_item *)item.value)->address), 1);
	return r;
}

/* Two extents at one place. */
static int twice(struct fs *fs)
{
	uint8_t value[EXTENT_ITEM_BYTES_MAX];
	struct item item;
	int r = first_item(fs, &fs->file, damage_file, ITEM_EXTENT, &item);
	if (r < 0)
		return r;
	unsigned bytes = item.bytes;
	memcpy(value, item.value, bytes);
	struct key key = item.key;
	key.offset += 400;
	r = tree_prepare(fs, &fs->file, &key);
	return r == 0 ? tree_put(fs, &fs->file, &key, value, bytes) : r;
}

static int inode_count(struct fs *fs) { fs->inode_count++; return 0; }
static int next_object(struct fs *fs) { fs->next_object = damage_file; return 0; }
static int reserved(struct fs *fs) { fs->reserved_blocks += 3; return 0; }

/* The second directory's parent is the first, and now the other way round as well. */
static int circle(struct fs *fs)
{
	struct inode inode;
	int r = inode_load(fs, damage_dir, &inode);
	if (r == 0)
		r = inode_prepare(fs, damage_dir);
	inode.parent = damage_inner;
	return r == 0 ? inode_store(fs, &inode) : r;
}

/* Inline data beside extents. */
static int both(struct fs *fs)
{
	struct key key = key_make(damage_file, ITEM_INLINE, 0);
	int r = tree_prepare(fs, &fs->file, &key);
	return r == 0 ? tree_put(fs, &fs->file, &key, "inline", 6) : r;
}

/* A reserved extent where data is. */
static int overlap(struct fs *fs)
{
	struct key key = key_make(damage_file, ITEM_EXTENT, 1);
	struct extent_item x = { .kind = EXTENT_RESERVED, .blocks = le32_put(2) };
	int r = tree_prepare(fs, &fs->file, &key);
	return r == 0 ? tree_put(fs, &fs->file, &key, &x, sizeof x) : r;
}

static int type(struct fs *fs)
{
	struct item item;
	int r = first_item(fs, &fs->file, damage_dir, ITEM_DIRENT, &item);
	if (r == 0)
		((struct dirent_item *)item.value)->type = DT_FIFO;
	return r;
}

static int xattr(struct fs *fs)
{
	struct item item;
	int r = first_item(fs, &fs->file, damage_file, ITEM_XATTR, &item);
	if (r == 0)
		((struct xattr_item *)item.value)->object = le64_put(damage_file);
	return r;
}

static int whole_inode(struct fs *fs)
{
	int r;
	while ((r = delete_first(fs, &fs->file, damage_file, ITEM_EXTENT)) == 0)
		;
	if (r == -ENOENT)
		r = delete_first(fs, &fs->file, damage_file, ITEM_LINK);
	return r == 0 ? delete_first(fs, &fs->file, damage_file, ITEM_INODE) : r;
}

static int leak(struct fs *fs)
{
	const struct band *b = &fs->config->bands[fs->config->band_count - 1];
	return alloc_mark(fs, band_row_address(b, b->rows - 1), 3);
}

/* The row item of the file's data. */
static int data_rows(struct fs *fs, struct item *ret_item)
{
	struct key from = key_make(0, ITEM_ROWS, 0);
	int r;
	while ((r = tree_next(fs, &fs->system, &from, NULL, ret_item)) == 0) {
		const struct rows_item *v = ret_item->value;
		if (ret_item->key.type == ITEM_ROWS && le16_get(v->owners) > 0 && v->owner[0].level == ROW_OWNER_DATA
			&& le64_get(v->owner[0].object) == damage_file)
			break;
		from = ret_item->key;
		from.version++;
	}
	if (r == 0)
		r = tree_prepare(fs, &fs->system, &ret_item->key);
	struct key key = ret_item->key;
	return r == 0 ? tree_lookup(fs, &fs->system, &key, ret_item) : r;
}

static int row_item(struct fs *fs)
{
	struct item item;
	int r = data_rows(fs, &item);
	return r == 0 ? tree_delete(fs, &fs->system, &item.key) : r;
}

static int owner(struct fs *fs)
{
	struct item item;
	int r = data_rows(fs, &item);
	if (r == 0)
		((struct rows_item *)item.value)->owner[0].offset = le64_put(12345);
	return r;
}

static int summary(struct fs *fs)
{
	fs->alloc.bands[0].live_blocks++;
	fs->alloc.bands[0].dirty = true;
	return 0;
}

/* A scrub in a state that there is not. */
static int scrub(struct fs *fs)
{
	struct key key = SCRUB_KEY;
	struct scrub_item item = { .state = 77 };
	int r = tree_prepare(fs, &fs->system, &key);
	return r == 0 ? tree_put(fs, &fs->system, &key, &item, sizeof item) : r;
}

/* One where a band's items are. */
static int scrub_of_a_band(struct fs *fs)
{
	struct key key = key_make(1, ITEM_SCRUB, 0);
	struct scrub_item item = { .state = SCRUB_RUNNING };
	int r = tree_prepare(fs, &fs->system, &key);
	return r == 0 ? tree_put(fs, &fs->system, &key, &item, sizeof item) : r;
}

const struct damage damages[] = {
	{ "nothing", NULL, NULL, false },
	{ "links", links, "links and has", false },
	{ "blocks", blocks, "blocks and has", false },
	{ "size", size, "beyond its size", false },
	{ "entries", entries, "it counts 3 entries", false },
	{ "parent", parent, "the parent of this directory", false },
	{ "link item", link_item, "which has no link that says so", false },
	{ "dirent", dirent_item, "a link of it leads to no entry", false },
	{ "inode item", inode_item, "it has items and no inode", false },
	{ "orphan", orphan, "an orphan that is in use", false },
	{ "extent gone", extent_leak, "nothing leads to them", false },
	{ "freed", freed, "are in use and marked free", false },
	{ "twice", twice, "Two pointers lead", false },
	{ "inode count", inode_count, "inodes and the root says", false },
	{ "next object", next_object, "The next inode number", false },
	{ "reserved", reserved, "are reserved and the root says", false },
	{ "circle", circle, "does not lead up to the root", false },
	{ "inline and extents", both, "its inline data does not agree", false },
	{ "overlap", overlap, "two extents overlap", false },
	{ "type", type, "of another type", false },
	{ "xattr", xattr, "the value of an extended attribute", false },
	{ "whole inode", whole_inode, "which does not exist", false },
	{ "leak", leak, "nothing leads to them", true },
	{ "row item", row_item, "no row item", true },
	{ "owner", owner, "no row item leads to their pointer", true },
	{ "summary", summary, "its summary says", true },
	{ "scrub", scrub, "says of the scrub makes no sense", true },
	{ "scrub of a band", scrub_of_a_band, "says of the scrub makes no sense", true },
};

const size_t damage_count = ARRAY_COUNT(damages);

int damage_apply(struct fs *fs, const struct damage *damage)
{
	struct op op;
	int r = op_begin(fs, &op, OP_FREE, 0);
	if (r < 0)
		return r;
	if (damage->system)
		fs->system.txn = fs->open->generation;   /* as the commit will have it */
	do
		r = damage->body(fs);
	while (op_retry(&op, &r));
	txn_mark_dirty(fs);
	op_end(&op);
	return r < 0 ? r : fs_sync(fs);
}

int damage_extent(struct fs *fs, address *ret_at)
{
	struct key from = key_make(damage_file, ITEM_EXTENT, 0);
	struct item item;
	struct op op;
	int r = op_begin(fs, &op, OP_READ, 0);
	do
		r = tree_next(fs, &fs->file, &from, NULL, &item);
	while (op_retry(&op, &r));
	if (r == 0)
		*ret_at = le64_get(((const struct extent_item *)item.value)->address);
	op_end(&op);
	return r;
}

int damage_prepare(struct simfs *sim)
{
	static uint8_t bytes[200000];
	struct fs_cred cred = { 0 };
	struct fs_attr attr;
	memset(bytes, 0x5a, sizeof bytes);
	int r = fs_mknod(sim->fs, OBJECT_ROOT, "d", S_IFDIR | 0755, 0, cred, &attr);
	damage_dir = attr.ino;
	if (r == 0)
		r = fs_mknod(sim->fs, damage_dir, "inner", S_IFDIR | 0755, 0, cred, &attr);
	damage_inner = attr.ino;
	if (r == 0)
		r = fs_mknod(sim->fs, damage_dir, "f", S_IFREG | 0644, 0, cred, &attr);
	damage_file = attr.ino;
	if (r == 0 && fs_write(sim->fs, damage_file, bytes, sizeof bytes, 0, false, NULL) != sizeof bytes)
		r = -EIO;
	return r == 0 ? fs_setxattr(sim->fs, damage_file, "user.long", bytes, 5000, 0) : r;
}
