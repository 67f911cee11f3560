/* The game's operations on names and attributes, and the choice among all: each is done on the filesystem and on the model, and
 * their results are compared.  See game.h. */
#include "fs/space/place.h"
#include "tests/sim/game.h"

#include <sys/stat.h>
#include <sys/xattr.h>

#define RENAME_NOREPLACE_FLAG 1u
#define RENAME_EXCHANGE_FLAG 2u

static const char *pick_name(struct game *run) { return run->names[pick(run, NAMES)]; }
static bool is_live_dir(const struct model_inode *i) { return S_ISDIR(i->mode) && i->links > 0; }
static bool is_linked(const struct model_inode *i) { return !S_ISDIR(i->mode) && i->links > 0; }
static bool is_referred(const struct model_inode *i) { return i->refs > 0; }
static bool has_xattrs(const struct model_inode *i) { return S_ISREG(i->mode) || S_ISDIR(i->mode); }
static bool is_any(const struct model_inode *i) { return i->ino != 0; }

static const char ballast_name[] = "ballast";

/* An existing name, or with `percent` a random one: index in names[] or -1. */
static int pick_entry(struct game *run, int *ret_dir, const char **ret_name, unsigned percent)
{
	unsigned from = pick(run, MODEL_NAMES);
	for (unsigned i = 0; i < MODEL_NAMES && !chance(run, percent); i++) {
		const struct model_name *n = &run->now.names[(from + i) % MODEL_NAMES];
		if (n->name && n->name != ballast_name) {
			*ret_dir = n->dir;
			*ret_name = n->name;
			return (int)((from + i) % MODEL_NAMES);
		}
	}
	*ret_dir = pick_slot(run, is_live_dir);
	*ret_name = pick_name(run);
	return model_find(&run->now, *ret_dir, *ret_name);
}

/* True if it was done; `expected` is what the model says (any of the errors of names will do where it expects one). */
static bool done(struct game *run, int r, int expected, uint64_t wanted_blocks)
{
	if (r == -ENOSPC && expected == 0) {
		nospace(run, wanted_blocks);
		return false;
	}
	if (expected == 0 ? r < 0 : r >= 0 || (r != expected && (r == -EIO || r == -EUCLEAN || r == -EROFS || r == -ENOMEM)))
		fail(run, "error %d, expected %d", -r, -expected);
	return r >= 0;
}

/* As `done`, for what gives space back. */
static bool done_freeing(struct game *run, int r, int expected)
{
	if (r == -ENOSPC)
		fail(run, "no space to give space back");
	return done(run, r, expected, 0);
}

/* ---- Names ---- */

static void add_name(struct game *run, int dir, const char *name, int child)
{
	int i = model_free_name(&run->now);
	run->now.names[i] = (struct model_name){ dir, child, name };
	if (model_is_dir(&run->now, child)) {
		run->now.inodes[dir].links++;
		run->now.inodes[child].parent = dir;
	}
	run->now.inodes[dir].mtime_known = false;
}

static void remove_name(struct game *run, int i)
{
	struct model_name n = run->now.names[i];
	run->now.names[i].name = NULL;
	run->now.inodes[n.dir].mtime_known = false;
	if (model_is_dir(&run->now, n.child))
		run->now.inodes[n.dir].links--;
}

static void drop_link(struct game *run, int child)
{
	struct model_inode *inode = &run->now.inodes[child];
	inode->links = S_ISDIR(inode->mode) ? 0 : inode->links - 1;
	if (inode->links == 0 && inode->refs == 0) {
		uint64_t ino = inode->ino;
		struct fs_attr attr;
		model_reap(&run->now, child);
		int r = fs_getattr(fs_of(run), ino, &attr);
		if (r != -ENOENT)
			fail(run, "inode %llu should be gone (result %d)", (unsigned long long)ino, r);
	}
}

static void op_make(struct game *run)
{
	static const uint32_t types[] = { S_IFREG, S_IFREG, S_IFREG, S_IFREG, S_IFDIR, S_IFDIR, S_IFIFO, S_IFSOCK, S_IFCHR, S_IFBLK, S_IFLNK, S_IFLNK };
	uint32_t type = types[pick(run, ARRAY_COUNT(types))], mode = type | pick(run, 01000);
	int dir = pick_slot(run, is_live_dir), slot = model_free_slot(&run->now);
	const char *name = pick_name(run);
	struct fs_cred cred = { pick(run, 3), pick(run, 3), chance(run, 50) ? 022 : 0 };
	uint64_t rdev = type == S_IFCHR || type == S_IFBLK ? random_u64(run) >> 40 : 0;
	struct fs_attr attr;
	char target[4096];
	size_t target_bytes = chance(run, 70) ? 1 + pick(run, 60) : 1 + pick(run, 4000);
	int r;
	if (slot < 0 || model_free_name(&run->now) < 0)
		return;
	struct model_inode *d = &run->now.inodes[dir];
	memset(target, 'a' + (int)pick(run, 26), target_bytes);
	target[target_bytes] = 0;
	doing(run, "make type %o \"%.20s\" in %llu", type, name, (unsigned long long)d->ino);
	if (type == S_IFLNK)
		r = fs_symlink(fs_of(run), d->ino, name, target, cred, &attr);
	else
		r = fs_mknod(fs_of(run), d->ino, name, mode, rdev, cred, &attr);
	if (!done(run, r, model_find(&run->now, dir, name) >= 0 ? -EEXIST : 0, 1))
		return;
	struct model_inode *i = &run->now.inodes[slot];
	*i = (struct model_inode){ .ino = attr.ino, .mode = type == S_IFLNK ? S_IFLNK | 0777 : mode & ~cred.umask, .uid = cred.uid,
		.gid = cred.gid, .links = type == S_IFDIR ? 2 : 1, .rdev = rdev };
	if (d->mode & S_ISGID) {
		i->gid = d->gid;
		i->mode |= type == S_IFDIR ? S_ISGID : 0;
	}
	if (type == S_IFLNK)
		memcpy(model_own_data(i, target_bytes)->data, target, target_bytes);
	else if (type == S_IFREG)
		model_own_data(i, 0);
	add_name(run, dir, name, slot);
}

static void op_link(struct game *run)
{
	int slot = pick_slot(run, chance(run, 5) ? is_live_dir : is_linked), dir = pick_slot(run, is_live_dir);
	const char *name = pick_name(run);
	struct fs_attr attr;
	if (slot < 0 || model_free_name(&run->now) < 0)
		return;
	doing(run, "link %llu to \"%.20s\" in %llu", (unsigned long long)run->now.inodes[slot].ino, name,
		(unsigned long long)run->now.inodes[dir].ino);
	int expected = model_is_dir(&run->now, slot) ? -EPERM : model_find(&run->now, dir, name) >= 0 ? -EEXIST : 0;
	if (!done(run, fs_link(fs_of(run), run->now.inodes[slot].ino, run->now.inodes[dir].ino, name, &attr), expected, 0))
		return;
	run->now.inodes[slot].links++;
	add_name(run, dir, name, slot);
}

static void op_remove(struct game *run)
{
	int dir;
	const char *name;
	int i = pick_entry(run, &dir, &name, 5);
	bool is_dir = i >= 0 && model_is_dir(&run->now, run->now.names[i].child), as_dir = chance(run, 5) ? !is_dir : is_dir;
	uint64_t ino = run->now.inodes[dir].ino;
	int child = i >= 0 ? run->now.names[i].child : -1;
	doing(run, "%s \"%.20s\" in %llu", as_dir ? "rmdir" : "unlink", name, (unsigned long long)ino);
	int expected = i < 0 ? -ENOENT : as_dir && !is_dir ? -ENOTDIR : !as_dir && is_dir ? -EISDIR
		: is_dir && !model_dir_empty(&run->now, child) ? -ENOTEMPTY : 0;
	int r = as_dir ? fs_rmdir(fs_of(run), ino, name) : fs_unlink(fs_of(run), ino, name);
	if (r != expected)
		fail(run, "error %d, expected %d", -r, -expected);
	if (r < 0)
		return;
	remove_name(run, i);
	drop_link(run, child);
}

/* What renaming should give: any error where one is due. */
static int rename_expected(struct game *run, int from, int to, int new_dir, unsigned flags)
{
	const struct model *m = &run->now;
	if (from < 0)
		return -ENOENT;
	int child = m->names[from].child;
	bool dir = model_is_dir(m, child), exchange = flags & RENAME_EXCHANGE_FLAG;
	if (to < 0 && exchange)
		return -ENOENT;
	if (to >= 0 && (flags & RENAME_NOREPLACE_FLAG))
		return -EEXIST;
	if (dir && model_is_above(m, child, new_dir) && m->names[from].dir != new_dir)
		return -EINVAL;
	if (to < 0)
		return 0;
	int target = m->names[to].child;
	if (exchange)
		return model_is_dir(m, target) && m->names[from].dir != new_dir && model_is_above(m, target, m->names[from].dir) ? -EINVAL : 0;
	if (child == target)
		return 0;
	if (dir != model_is_dir(m, target))
		return dir ? -ENOTDIR : -EISDIR;
	return dir && !model_dir_empty(m, target) ? -ENOTEMPTY : 0;
}

static void op_rename(struct game *run)
{
	static const unsigned all_flags[] = { 0, 0, 0, RENAME_NOREPLACE_FLAG, RENAME_EXCHANGE_FLAG };
	unsigned flags = all_flags[pick(run, ARRAY_COUNT(all_flags))];
	int dir, new_dir;
	const char *name, *new_name;
	int from = pick_entry(run, &dir, &name, 3), to = pick_entry(run, &new_dir, &new_name, chance(run, 50) ? 100 : 0);
	doing(run, "rename \"%.20s\" in %llu to \"%.20s\" in %llu, flags %u", name, (unsigned long long)run->now.inodes[dir].ino, new_name,
		(unsigned long long)run->now.inodes[new_dir].ino, flags);
	int expected = rename_expected(run, from, to, new_dir, flags);
	int r = fs_rename(fs_of(run), run->now.inodes[dir].ino, name, run->now.inodes[new_dir].ino, new_name, flags);
	if (!done(run, r, expected, 0) || from == to)
		return;
	int child = run->now.names[from].child, target = to >= 0 ? run->now.names[to].child : -1;
	if (child == target)
		return;
	if (to >= 0)
		remove_name(run, to);
	remove_name(run, from);
	add_name(run, new_dir, new_name, child);
	if (flags & RENAME_EXCHANGE_FLAG)
		add_name(run, dir, name, target);
	else if (to >= 0)
		drop_link(run, target);
}

static void op_lookup(struct game *run)
{
	int dir;
	const char *name;
	struct fs_attr attr;
	int i = pick_entry(run, &dir, &name, 20);
	doing(run, "lookup \"%.20s\"", name);
	int r = fs_lookup(fs_of(run), run->now.inodes[dir].ino, name, &attr);
	if (r != (i < 0 ? -ENOENT : 0) || (i >= 0 && attr.ino != run->now.inodes[run->now.names[i].child].ino))
		fail(run, "wrong result %d", r);
}

/* ---- Attributes, references ---- */

static void op_setattr(struct game *run)
{
	int slot = pick_slot(run, is_any);
	struct model_inode *inode = &run->now.inodes[slot];
	struct fs_attr attr = { .mode = pick(run, 01000), .uid = pick(run, 4), .gid = pick(run, 4), .mtime_ns = (int64_t)(random_u64(run) >> 2),
		.atime_ns = 12345 }, after;
	unsigned set = pick(run, 64) & ~FS_SET_SIZE;
	if (S_ISDIR(inode->mode) && chance(run, 20))
		attr.mode |= S_ISGID;
	doing(run, "setattr %llu, set %x", (unsigned long long)inode->ino, set);
	done_freeing(run, fs_setattr(fs_of(run), inode->ino, &attr, set, &after), 0);
	if (set & FS_SET_MODE)
		inode->mode = (inode->mode & S_IFMT) | attr.mode;
	if (set & FS_SET_UID)
		inode->uid = attr.uid;
	if (set & FS_SET_GID)
		inode->gid = attr.gid;
	if (set & FS_SET_MTIME) {
		inode->mtime_known = true;
		inode->mtime_ns = attr.mtime_ns;
	}
}

static void op_setxattr(struct game *run)
{
	static const char *const names[MODEL_XATTRS] = { "user.a", "user.b", "trusted.long_name_of_an_attribute", "user.d" };
	static const int all_flags[] = { 0, 0, 0, XATTR_CREATE, XATTR_REPLACE };
	int slot = pick_slot(run, has_xattrs), flags = all_flags[pick(run, ARRAY_COUNT(all_flags))];
	unsigned k = pick(run, MODEL_XATTRS);
	struct model_inode *inode = &run->now.inodes[slot];
	struct model_xattr *x = &inode->xattrs[k];
	struct blob *value = blob_new(chance(run, 75) ? pick_bytes(run, 2500) : pick_bytes(run, 65536));
	fill_random(run, value->data, value->bytes);
	doing(run, "setxattr %s of %llu, %zu bytes, flags %d", names[k], (unsigned long long)inode->ino, value->bytes, flags);
	int expected = x->name && flags == XATTR_CREATE ? -EEXIST : !x->name && flags == XATTR_REPLACE ? -ENODATA : 0;
	if (!done(run, fs_setxattr(fs_of(run), inode->ino, names[k], value->data, value->bytes, flags), expected, value->bytes / 4096 + 1)) {
		blob_unref(value);
		return;
	}
	blob_unref(x->value);
	*x = (struct model_xattr){ names[k], value };
}

static void op_removexattr(struct game *run)
{
	int slot = pick_slot(run, has_xattrs);
	struct model_inode *inode = &run->now.inodes[slot];
	for (unsigned k = 0; k < MODEL_XATTRS; k++) {
		struct model_xattr *x = &inode->xattrs[k];
		if (!x->name)
			continue;
		doing(run, "removexattr %s of %llu", x->name, (unsigned long long)inode->ino);
		done_freeing(run, fs_removexattr(fs_of(run), inode->ino, x->name), 0);
		blob_unref(x->value);
		*x = (struct model_xattr){ 0 };
		return;
	}
}

static void op_ref(struct game *run)
{
	int slot = pick_slot(run, is_any);
	doing(run, "ref %llu", (unsigned long long)run->now.inodes[slot].ino);
	done_freeing(run, fs_ref(fs_of(run), run->now.inodes[slot].ino), 0);
	run->now.inodes[slot].refs++;
}

static void op_unref(struct game *run)
{
	int slot = pick_slot(run, is_referred);
	if (slot < 0)
		return;
	struct model_inode *inode = &run->now.inodes[slot];
	uint64_t ino = inode->ino;
	doing(run, "unref %llu (%u)", (unsigned long long)ino, inode->refs);
	fs_unref(fs_of(run), ino, inode->refs);
	inode->refs = 0;
	if (inode->links == 0) {
		struct fs_attr attr;
		model_reap(&run->now, slot);
		if (fs_getattr(fs_of(run), ino, &attr) != -ENOENT)
			fail(run, "inode %llu should be gone", (unsigned long long)ino);
	}
}

/* Data placed while the transaction is open, as a long copy does. */
static void op_place_early(struct game *run)
{
	doing(run, "early flush");
	int r = place_early(fs_of(run), 1 + pick_bytes(run, 1 << 20));
	if (r < 0)
		fail(run, "error %d", -r);
}

/* ---- All ---- */

struct op_choice { void (*op)(struct game *run); unsigned weight; };

static bool leave_out_now(struct game *run, unsigned i)
{
	bool shrinking = run->op / PHASE_OPS % 4 == 3;
	return is_growing(run) ? (i == 2 || i == 6) && chance(run, 85) : shrinking && i == 5 && chance(run, 75);
}

void game_operation(struct game *run)
{
	static const struct op_choice choices[] = {
		{ op_make, 14 }, { op_link, 4 }, { op_remove, 9 }, { op_rename, 8 }, { op_lookup, 4 }, { op_write, 30 }, { op_truncate, 6 },
		{ op_fallocate, 6 }, { op_read, 6 }, { op_seek, 3 }, { op_setattr, 4 }, { op_setxattr, 6 }, { op_removexattr, 2 }, { op_ref, 3 },
		{ op_unref, 3 }, { op_place_early, 1 },
	};
	unsigned total = 0, i;
	for (size_t k = 0; k < ARRAY_COUNT(choices); k++)
		total += choices[k].weight;
	do {
		unsigned at = pick(run, total);
		for (i = 0; at >= choices[i].weight; i++)
			at -= choices[i].weight;
	} while (leave_out_now(run, i));
	run->done[i]++;
	choices[i].op(run);
	struct fs_space space;
	fs_space(fs_of(run), &space);
	if (space.free_blocks < run->least_free)
		run->least_free = space.free_blocks;
}

void game_ballast(struct game *run, uint64_t free_blocks)
{
	enum { CHUNK = 1 << 20 };
	struct fs_cred cred = { 0 };
	struct fs_attr attr;
	struct fs_space space;
	struct model_inode *inode = &run->now.inodes[1];
	doing(run, "ballast to %llu blocks", (unsigned long long)free_blocks);
	int r = fs_mknod(fs_of(run), run->now.inodes[MODEL_ROOT].ino, ballast_name, S_IFREG | 0600, 0, cred, &attr);
	if (r < 0)
		fail(run, "error %d", -r);
	*inode = (struct model_inode){ .ino = attr.ino, .mode = S_IFREG | 0600, .links = 1, .data = blob_new(0) };
	add_name(run, MODEL_ROOT, ballast_name, 1);
	for (fs_space(fs_of(run), &space); space.free_blocks > free_blocks + CHUNK / 4096 + 100; fs_space(fs_of(run), &space)) {
		size_t at = inode->data->bytes;
		uint8_t *bytes = model_own_data(inode, at + CHUNK)->data + at;
		fill_random(run, bytes, CHUNK);
		ssize_t n = fs_write(fs_of(run), inode->ino, bytes, CHUNK, at, false, NULL);
		if (n != CHUNK)
			fail(run, "wrote %zd", n);
	}
}
