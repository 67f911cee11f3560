/* The self-check finds what is wrong: each case damages one thing by the filesystem's own means, so that every tag is right, commits it,
 * and the check must say something that names it. */
#include "fs/core.h"
#include "fs/data.h"
#include "fs/inode.h"
#include "tests/lib/simfs.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static uint64_t file_ino, dir_ino;
static char found[8192];

static void collect(void *ctx, const char *text)
{
	(void)ctx;
	size_t n = strlen(found);
	snprintf(found + n, sizeof found - n, "%s\n", text);
}

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
static void other_parent(struct inode *i) { i->parent = file_ino; }

static int links(struct fs *fs) { return damage_inode(fs, file_ino, add_link); }
static int blocks(struct fs *fs) { return damage_inode(fs, file_ino, add_block); }
static int size(struct fs *fs) { return damage_inode(fs, file_ino, cut_size); }
static int entries(struct fs *fs) { return damage_inode(fs, dir_ino, add_entry); }
static int parent(struct fs *fs) { return damage_inode(fs, dir_ino, other_parent); }

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

static int link_item(struct fs *fs) { return delete_first(fs, &fs->file, file_ino, ITEM_LINK); }
static int dirent_item(struct fs *fs) { return delete_first(fs, &fs->file, dir_ino, ITEM_DIRENT); }
static int inode_item(struct fs *fs) { return delete_first(fs, &fs->file, file_ino, ITEM_INODE); }
static int extent_leak(struct fs *fs) { return delete_first(fs, &fs->file, file_ino, ITEM_EXTENT); }

static int orphan(struct fs *fs)
{
	struct key key = key_make(OBJECT_ORPHANS, ITEM_ORPHAN, file_ino);
	int r = tree_prepare(fs, &fs->file, &key);
	return r == 0 ? tree_put(fs, &fs->file, &key, "", 0) : r;
}

/* Blocks in use become free. */
static int freed(struct fs *fs)
{
	struct item item;
	int r = first_item(fs, &fs->file, file_ino, ITEM_EXTENT, &item);
	if (r == 0)
		r = txn_free_blocks(fs, le64_get(((const struct extent_item *)item.value)->address), 1);
	return r;
}

/* Two extents at one place. */
static int twice(struct fs *fs)
{
	uint8_t value[EXTENT_ITEM_BYTES_MAX];
	struct item item;
	int r = first_item(fs, &fs->file, file_ino, ITEM_EXTENT, &item);
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
static int next_object(struct fs *fs) { fs->next_object = file_ino; return 0; }
static int reserved(struct fs *fs) { fs->reserved_blocks += 3; return 0; }

struct damage {
	const char *name;
	int (*body)(struct fs *fs);
	const char *says;
};

static const struct damage damages[] = {
	{ "nothing", NULL, NULL },
	{ "links", links, "links and has" },
	{ "blocks", blocks, "blocks and has" },
	{ "size", size, "beyond its size" },
	{ "entries", entries, "it counts 2 entries" },
	{ "parent", parent, "the parent of this directory" },
	{ "link item", link_item, "which has no link that says so" },
	{ "dirent", dirent_item, "a link of it leads to no entry" },
	{ "inode item", inode_item, "it has items and no inode" },
	{ "orphan", orphan, "an orphan that is in use" },
	{ "extent gone", extent_leak, "nothing leads to them" },
	{ "freed", freed, "are in use and marked free" },
	{ "twice", twice, "Two pointers lead" },
	{ "inode count", inode_count, "inodes and the root says" },
	{ "next object", next_object, "The next inode number" },
	{ "reserved", reserved, "are reserved and the root says" },
};

static int apply(struct fs *fs, const struct damage *damage)
{
	struct op op;
	int r = op_begin(fs, &op, OP_FREE, 0);
	if (r < 0)
		return r;
	do
		r = damage->body(fs);
	while (op_retry(&op, &r));
	txn_mark_dirty(fs);
	op_end(&op);
	return r < 0 ? r : fs_sync(fs);
}

static bool fails(const struct damage *damage, struct simfs *base)
{
	struct simfs *sim = simfs_clone(base);
	found[0] = 0;
	int r = simfs_open(sim);
	if (r == 0 && damage->body)
		r = apply(sim->fs, damage);
	int64_t n = r == 0 ? fs_check(sim->fs, true, collect, NULL) : r;
	bool right = damage->body ? n > 0 && strstr(found, damage->says) : n == 0;
	if (!right)
		fprintf(stderr, "failed: %s: %lld findings, \"%s\" was to be said, this was:\n%s", damage->name, (long long)n,
			damage->says ? damage->says : "", found);
	simfs_free(sim);
	return !right;
}

/* Parity of a row in use is damaged at rest: only the check of parity sees it. */
static bool parity_fails(struct simfs *base)
{
	struct simfs *sim = simfs_clone(base);
	struct item item;
	uint64_t wrong = 0;
	found[0] = 0;
	if (simfs_open(sim) < 0)
		return true;
	pthread_mutex_lock(&sim->fs->lock);
	int r = first_item(sim->fs, &sim->fs->file, file_ino, ITEM_EXTENT, &item);
	address at = r == 0 ? le64_get(((const struct extent_item *)item.value)->address) : 0;
	pthread_mutex_unlock(&sim->fs->lock);
	if (r == 0) {
		const struct band *b = config_band(sim->fs->config, address_band(at));
		const struct column *c = &b->columns[band_parity_column(b, band_row_of(b, at))];
		unsigned member = c->member;
		wrong = column_row_offset_bytes(&sim->fs->config->geometry, c, band_row_of(b, at)) + 77;
		simfs_close(sim, true);
		simdisk_flip(sim->world->disks[member], wrong, 1);
		r = simfs_open(sim);
	}
	bool right = r == 0 && fs_check(sim->fs, false, collect, NULL) == 0 && fs_check(sim->fs, true, collect, NULL) == 1
		&& strstr(found, "Parity of band");
	if (!right)
		fprintf(stderr, "failed: parity: error %d, %s\n", -r, found);
	simfs_free(sim);
	return !right;
}

static int prepare(struct simfs *sim)
{
	static uint8_t bytes[200000];
	struct fs_cred cred = { 0 };
	struct fs_attr attr;
	memset(bytes, 0x5a, sizeof bytes);
	int r = fs_mknod(sim->fs, OBJECT_ROOT, "d", S_IFDIR | 0755, 0, cred, &attr);
	dir_ino = attr.ino;
	if (r == 0)
		r = fs_mknod(sim->fs, dir_ino, "f", S_IFREG | 0644, 0, cred, &attr);
	file_ino = attr.ino;
	if (r == 0 && fs_write(sim->fs, file_ino, bytes, sizeof bytes, 0, false, NULL) != sizeof bytes)
		r = -EIO;
	if (r == 0 && fs_check(sim->fs, true, collect, NULL) != -EBUSY)
		r = -EINVAL;     /* it must refuse while something is dirty */
	return r == 0 ? simfs_close(sim, false) : r;
}

int main(void)
{
	struct simfs *base;
	unsigned failed = 0;
	if (simfs_make(&base, 3, 8u << 20, CIPHER_NONE, 3) < 0 || prepare(base) < 0)
		return 1;
	for (size_t i = 0; i < ARRAY_COUNT(damages); i++)
		failed += fails(&damages[i], base);
	failed += parity_fails(base);
	simfs_free(base);
	printf("%zu cases, %u failed\n", ARRAY_COUNT(damages) + 1, failed);
	return failed ? 1 : 0;
}
