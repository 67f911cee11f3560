/* The whole filesystem against a model, on simulated disks: random operations, commits, power cuts, members left out and
 * coming back.  Everything follows from the seed; a failure prints the line that replays it.
 *
 *	test_model [--seed S] [--ops N] [--verbose]
 *
 * After a cut the filesystem must be what the model was at the last commit that was acknowledged, or at the one that was under
 * way.  One member at most is left out at a time, and the next one only after the first has caught up.  Arrays are
 * small, so that space runs out, rows are reused and relocation has to work. */
#include "base/cleanup.h"
#include "fs/place.h"
#include "tests/lib/model.h"
#include "tests/lib/simfs.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#define RENAME_NOREPLACE_FLAG 1u
#define RENAME_EXCHANGE_FLAG 2u
#define FILE_BYTES_MAX (1536u << 10)
#define WRITE_BYTES_MAX (160u << 10)
#define NAMES 40u
#define WORK_STEPS_MAX 20000u
#define PHASE_OPS 500u

struct game {
	uint64_t seed, random_state;
	unsigned long ops, op;
	bool verbose;
	struct simfs *sim;
	struct model now, durable;       /* durable: as of the last acknowledged commit */
	uint64_t generation;             /* of that */
	int stale;                       /* member that may lack something, or -1 */
	char doing[160];
	unsigned long done[64], least_free, nospace, cuts, left_out, caught_up, implicit;
	char names[NAMES][256];
};

static struct fs *fs_of(struct game *run) { return run->sim->fs; }

/* ---- Failing, chance ---- */

static void fail(struct game *run, const char *format, ...) __attribute__((format(printf, 2, 3), noreturn));

static void fail(struct game *run, const char *format, ...)
{
	char text[700];
	va_list args;
	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	fprintf(stderr, "failed at operation %lu (%s): %s\nlast event: %s\nreplay: test_model --seed %llu --ops %lu --verbose\n", run->op,
		run->doing, text, run->sim ? run->sim->last_event : "", (unsigned long long)run->seed, run->ops);
	exit(1);
}

static void doing(struct game *run, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void doing(struct game *run, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	vsnprintf(run->doing, sizeof run->doing, format, args);
	va_end(args);
	if (run->verbose)
		fprintf(stderr, "%lu: %s\n", run->op, run->doing);
}

static uint64_t random_u64(struct game *run)
{
	uint64_t z = run->random_state += UINT64_C(0x9e3779b97f4a7c15);
	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

static unsigned pick(struct game *run, unsigned below) { return (unsigned)(random_u64(run) % below); }
static bool chance(struct game *run, unsigned percent) { return pick(run, 100) < percent; }
static const char *pick_name(struct game *run) { return run->names[pick(run, NAMES)]; }

/* A size or an offset: mostly small, often at an edge. */
static uint64_t pick_bytes(struct game *run, uint64_t most)
{
	static const uint32_t edges[] = { 0, 1, 2047, 2048, 2049, 4095, 4096, 4097, 8192, 16383, 16384, 16385, 32768, 65536 };
	uint64_t r = random_u64(run), bytes;
	if (r % 4 == 0)
		bytes = edges[(r >> 8) % ARRAY_COUNT(edges)];
	else if (r % 4 == 1)
		bytes = (r >> 8) % 20000;
	else
		bytes = (r >> 8) % (most + 1);
	return bytes <= most ? bytes : most;
}

static void fill_random(struct game *run, uint8_t *bytes, size_t count)
{
	uint64_t x = random_u64(run) | 1;
	for (size_t i = 0; i < count; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		bytes[i] = (uint8_t)x;
	}
}

/* Phases in which the filesystem grows, shrinks, or both: full, and mostly full, is where space is hard to find. */
static bool is_growing(const struct game *run) { return run->op / PHASE_OPS % 4 < 2; }

/* A slot for which `wanted` says yes: -1. */
static int pick_slot(struct game *run, bool (*wanted)(const struct model_inode *))
{
	unsigned from = pick(run, MODEL_INODES);
	for (unsigned i = 0; i < MODEL_INODES; i++) {
		unsigned slot = (from + i) % MODEL_INODES;
		if (run->now.inodes[slot].ino && wanted(&run->now.inodes[slot]))
			return (int)slot;
	}
	return -1;
}

static bool is_file(const struct model_inode *i) { return S_ISREG(i->mode) && i->data->bytes <= FILE_BYTES_MAX; }
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

/* ---- Results ---- */

/* No space: only when there is next to none. */
static void nospace(struct game *run, uint64_t wanted_blocks)
{
	struct fs_space space;
	fs_space(fs_of(run), &space);
	run->nospace++;
	if (space.free_blocks > wanted_blocks + 150)
		fail(run, "no space, with %llu of %llu blocks free and %llu wanted", (unsigned long long)space.free_blocks,
			(unsigned long long)space.capacity_blocks, (unsigned long long)wanted_blocks);
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

/* ---- Data ---- */

/* Something failed half way for want of space: every byte is either old or new, and what is there counts from now on. */
static void adopt_data(struct game *run, struct model_inode *inode, const struct blob *wanted)
{
	struct fs_attr attr;
	const struct blob *old = inode->data;
	int r = fs_getattr(fs_of(run), inode->ino, &attr);
	size_t most = old->bytes > wanted->bytes ? old->bytes : wanted->bytes;
	if (r < 0 || attr.size_bytes > most || (attr.size_bytes < old->bytes && attr.size_bytes < wanted->bytes))
		fail(run, "half done: size %llu (error %d)", (unsigned long long)attr.size_bytes, -r);
	struct blob *got = blob_new(attr.size_bytes);
	if (fs_read(fs_of(run), inode->ino, got->data, got->bytes, 0) != (ssize_t)got->bytes)
		fail(run, "half done: cannot be read");
	for (size_t i = 0; i < got->bytes; i++) {
		uint8_t was = i < old->bytes ? old->data[i] : 0, will = i < wanted->bytes ? wanted->data[i] : 0;
		if (got->data[i] != was && got->data[i] != will)
			fail(run, "half done: byte %zu is %02x, neither %02x nor %02x", i, got->data[i], was, will);
	}
	blob_unref(inode->data);
	inode->data = got;
}

/* The inode's data becomes `wanted` (whose reference this takes) if r says so. */
static void data_done(struct game *run, struct model_inode *inode, int r, struct blob *wanted, uint64_t blocks)
{
	inode->mtime_known = false;
	if (r == -ENOSPC) {
		nospace(run, blocks);
		adopt_data(run, inode, wanted);
		blob_unref(wanted);
		return;
	}
	if (r < 0)
		fail(run, "error %d", -r);
	blob_unref(inode->data);
	inode->data = wanted;
}

static struct blob *with_size(const struct blob *old, size_t bytes)
{
	struct blob *blob = blob_new(bytes);
	memcpy(blob->data, old->data, old->bytes < bytes ? old->bytes : bytes);
	return blob;
}

static void op_write(struct game *run)
{
	int slot = pick_slot(run, is_file);
	if (slot < 0)
		return;
	struct model_inode *inode = &run->now.inodes[slot];
	size_t size = inode->data->bytes;
	uint64_t at = chance(run, 30) ? size : pick_bytes(run, chance(run, 50) ? size : FILE_BYTES_MAX - WRITE_BYTES_MAX);
	size_t bytes = pick_bytes(run, WRITE_BYTES_MAX);
	if (chance(run, is_growing(run) ? 25 : 2)) {
		at = 0;
		bytes = pick(run, FILE_BYTES_MAX);
	} else if (at + bytes > FILE_BYTES_MAX)
		at = FILE_BYTES_MAX - WRITE_BYTES_MAX;
	doing(run, "write %zu bytes at %llu of %llu (%zu bytes)", bytes, (unsigned long long)at, (unsigned long long)inode->ino, size);
	struct blob *wanted = with_size(inode->data, bytes > 0 && at + bytes > size ? at + bytes : size);
	if (chance(run, 90))
		fill_random(run, wanted->data + at, bytes);
	else if (bytes > 0)
		memset(wanted->data + at, 0, bytes);
	ssize_t r = fs_write(fs_of(run), inode->ino, wanted->data + at, bytes, at, false, NULL);
	if (r >= 0 && r != (ssize_t)bytes)
		fail(run, "wrote %zd bytes of %zu", r, bytes);
	data_done(run, inode, r < 0 ? (int)r : 0, wanted, bytes / 4096 + 16);
}

static void op_truncate(struct game *run)
{
	int slot = pick_slot(run, is_file);
	if (slot < 0)
		return;
	struct model_inode *inode = &run->now.inodes[slot];
	uint64_t bytes = pick_bytes(run, chance(run, 70) ? inode->data->bytes : FILE_BYTES_MAX);
	struct fs_attr attr = { .size_bytes = bytes }, after;
	doing(run, "truncate %llu from %zu to %llu", (unsigned long long)inode->ino, inode->data->bytes, (unsigned long long)bytes);
	int r = fs_setattr(fs_of(run), inode->ino, &attr, FS_SET_SIZE, &after);
	if (r == -ENOSPC && bytes <= inode->data->bytes)
		fail(run, "no space to truncate");
	data_done(run, inode, r, with_size(inode->data, bytes), 8);
}

static void op_fallocate(struct game *run)
{
	static const int modes[] = { 0, FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, FALLOC_FL_ZERO_RANGE,
		FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE };
	int slot = pick_slot(run, is_file), mode = modes[pick(run, ARRAY_COUNT(modes))];
	if (slot < 0)
		return;
	struct model_inode *inode = &run->now.inodes[slot];
	size_t size = inode->data->bytes;
	uint64_t at = pick_bytes(run, chance(run, 70) ? size : FILE_BYTES_MAX - WRITE_BYTES_MAX);
	uint64_t bytes = 1 + pick_bytes(run, WRITE_BYTES_MAX - 1);
	if (at + bytes > FILE_BYTES_MAX)
		at = FILE_BYTES_MAX - WRITE_BYTES_MAX;
	doing(run, "fallocate mode %d of %llu (%zu bytes), %llu at %llu", mode, (unsigned long long)inode->ino, size,
		(unsigned long long)bytes, (unsigned long long)at);
	struct blob *wanted = with_size(inode->data, !(mode & FALLOC_FL_KEEP_SIZE) && at + bytes > size ? at + bytes : size);
	if ((mode & ~FALLOC_FL_KEEP_SIZE) != 0 && at < size)
		memset(wanted->data + at, 0, at + bytes < size ? bytes : size - at);
	data_done(run, inode, fs_fallocate(fs_of(run), inode->ino, mode, at, bytes), wanted, bytes / 4096 + 16);
}

static void op_read(struct game *run)
{
	int slot = pick_slot(run, is_file);
	if (slot < 0)
		return;
	struct model_inode *inode = &run->now.inodes[slot];
	size_t size = inode->data->bytes, at = pick_bytes(run, size + 5000), bytes = pick_bytes(run, WRITE_BYTES_MAX);
	size_t expected = at >= size ? 0 : size - at < bytes ? size - at : bytes;
	struct blob *got = blob_new(bytes);
	doing(run, "read %zu bytes at %zu of %llu", bytes, at, (unsigned long long)inode->ino);
	ssize_t r = fs_read(fs_of(run), inode->ino, got->data, bytes, at);
	if (r != (ssize_t)expected || (expected > 0 && memcmp(got->data, inode->data->data + at, expected)))
		fail(run, "reads wrong (%zd, not %zu)", r, expected);
	blob_unref(got);
}

static void op_seek(struct game *run)
{
	int slot = pick_slot(run, is_file);
	if (slot < 0)
		return;
	const struct blob *data = run->now.inodes[slot].data;
	uint64_t at = pick_bytes(run, data->bytes + 100), to, end;
	bool hole = chance(run, 50);
	doing(run, "seek %s from %llu in %llu", hole ? "hole" : "data", (unsigned long long)at, (unsigned long long)run->now.inodes[slot].ino);
	int r = fs_seek(fs_of(run), run->now.inodes[slot].ino, at, hole ? SEEK_HOLE : SEEK_DATA, &to);
	if (at >= data->bytes) {
		if (r != -ENXIO)
			fail(run, "result %d beyond the end", r);
		return;
	}
	if (r == -ENXIO && !hole)
		to = data->bytes;
	else if (r < 0 || to < at || to > data->bytes)
		fail(run, "result %d, to %llu", r, (unsigned long long)to);
	/* What lies before data, and in a hole, is zero. */
	end = hole ? (to | 4095) + 1 : to;
	for (uint64_t i = hole ? to : at; i < end && i < data->bytes; i++)
		if (data->data[i])
			fail(run, "byte %llu is no hole", (unsigned long long)i);
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

/* ---- Commits, mounts, cuts ---- */

static void complain(void *ctx, const char *text)
{
	(void)ctx;
	fprintf(stderr, "check: %s\n", text);
}

static void acknowledged(struct game *run)
{
	model_free(&run->durable);
	model_copy(&run->durable, &run->now);
	run->generation = fs_generation(fs_of(run));
}

static void sync_now(struct game *run)
{
	int r = fs_sync(fs_of(run));
	if (r < 0)
		fail(run, "sync: error %d", -r);
	acknowledged(run);
}

/* Another commit than those asked for happened inside an operation: what it left half done is synced too. */
static void notice_commit(struct game *run)
{
	if (fs_generation(fs_of(run)) == run->generation)
		return;
	run->implicit++;
	sync_now(run);
}

static void check_now(struct game *run)
{
	char why[500];
	if (!model_compare(&run->now, fs_of(run), why, sizeof why))
		fail(run, "%s", why);
	sync_now(run);
	int64_t r = fs_check(fs_of(run), true, complain, NULL);
	if (r != 0)
		fail(run, "check: %lld findings", (long long)r);
	if (run->sim->events[EVENT_UNREADABLE] || run->sim->events[EVENT_READ_ONLY])
		fail(run, "something could not be read, or it went read-only");
}

/* Lets a member that was left out catch up, all the way or only some steps. */
static void catch_up(struct game *run)
{
	bool whole = chance(run, 70);
	unsigned steps = whole ? WORK_STEPS_MAX : pick(run, 4);
	doing(run, "catching up%s", whole ? "" : " a bit");
	while (steps-- > 0 && array_degraded(fs_array(fs_of(run)))) {
		int r = fs_work(fs_of(run));
		if (r < 0)
			fail(run, "work: error %d", -r);
		if (r == 0)
			simfs_sleep(run->sim, INT64_C(20000000000));
	}
	sync_now(run);
	if (!array_degraded(fs_array(fs_of(run)))) {
		run->stale = -1;
		run->caught_up++;
	} else if (whole)
		fail(run, "a member does not catch up");
}

static void choose_left_out(struct game *run)
{
	bool out = chance(run, 35);
	memset(run->sim->left_out, 0, sizeof run->sim->left_out);
	if (!out)
		return;
	if (run->stale < 0)
		run->stale = (int)pick(run, run->sim->world->disk_count);
	run->sim->left_out[run->stale] = true;
	run->left_out++;
}

/* After an open that gave `r`: it is what the model was at the last commit, or also `now` if a commit was under way. */
static void opened(struct game *run, int r, bool maybe_now)
{
	char why[500], why_now[500];
	if (r < 0)
		fail(run, "opening: error %d: %s", -r, run->sim->fail.text);
	model_forget_refs(&run->durable);
	model_forget_refs(&run->now);
	if (!model_compare(&run->durable, fs_of(run), why, sizeof why)) {
		if (!maybe_now || !model_compare(&run->now, fs_of(run), why_now, sizeof why_now))
			fail(run, "not as at the last commit: %s; %s%s", why, maybe_now ? "nor as at the next one: " : "", maybe_now ? why_now : "");
	} else {
		model_free(&run->now);
		model_copy(&run->now, &run->durable);
	}
	check_now(run);
	bool all_here = run->stale < 0 || !run->sim->left_out[run->stale];
	if (all_here && (run->stale >= 0 || chance(run, 50))) {
		catch_up(run);
		check_now(run);
	}
}

static void event_remount(struct game *run)
{
	choose_left_out(run);
	doing(run, "remount, %s", run->stale >= 0 && run->sim->left_out[run->stale] ? "without a member" : "with all members");
	int r = simfs_close(run->sim, false);
	if (r < 0)
		fail(run, "closing: error %d", -r);
	model_free(&run->durable);
	model_copy(&run->durable, &run->now);
	opened(run, simfs_open(run->sim), false);
}

static void event_crash(struct game *run, bool maybe_now)
{
	enum simcut_policy policy = (enum simcut_policy)pick(run, 3);
	choose_left_out(run);
	doing(run, "power cut, policy %d, then %s", policy, run->stale >= 0 && run->sim->left_out[run->stale] ? "without a member" : "with all members");
	run->cuts++;
	memset(run->sim->events, 0, sizeof run->sim->events);
	opened(run, simfs_crash(run->sim, policy), maybe_now);
}

/* The power fails somewhere in a commit, or in what goes on in the background. */
static void event_cut_inside(struct game *run)
{
	struct simworld *world = run->sim->world;
	bool work = chance(run, 40);
	world->cut_at_change = world->changes + 1 + pick(run, chance(run, 50) ? 12 : 60);
	doing(run, "cut at change %llu in %s", (unsigned long long)world->cut_at_change, work ? "work" : "sync");
	int r = work ? fs_work(fs_of(run)) : fs_sync(fs_of(run));
	if (r >= 0 && work)
		r = fs_sync(fs_of(run));
	if (r >= 0 && !world->cut) {
		world->cut_at_change = SIM_NEVER;
		acknowledged(run);
		return;
	}
	if (r >= 0)
		acknowledged(run);
	event_crash(run, true);
}

static void event_work(struct game *run)
{
	doing(run, "work");
	int r = fs_work(fs_of(run));
	if (r < 0)
		fail(run, "error %d", -r);
	notice_commit(run);
}

/* ---- The run ---- */

struct op_choice { void (*op)(struct game *run); unsigned weight; };

static bool leave_out_now(struct game *run, unsigned i)
{
	bool shrinking = run->op / PHASE_OPS % 4 == 3;
	return is_growing(run) ? (i == 2 || i == 6) && chance(run, 85) : shrinking && i == 5 && chance(run, 75);
}

static void one_operation(struct game *run)
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
	notice_commit(run);
	struct fs_space space;
	fs_space(fs_of(run), &space);
	if (space.free_blocks < run->least_free)
		run->least_free = space.free_blocks;
}

static void step(struct game *run)
{
	unsigned at = pick(run, 1000);
	if (at < 8)
		event_remount(run);
	else if (at < 14)
		event_crash(run, false);
	else if (at < 22)
		event_cut_inside(run);
	else if (at < 28)
		event_work(run);
	else if (at < 60) {
		doing(run, "sync");
		sync_now(run);
	} else
		one_operation(run);
}

static void make_names(struct game *run)
{
	for (unsigned i = 0; i < NAMES; i++) {
		snprintf(run->names[i], sizeof run->names[i], "name%u", i);
		if (i % 8 == 7) {
			memset(run->names[i], 'x', 200 + i);
			run->names[i][200 + i] = 0;
			run->names[i][0] = (char)('A' + i % 26);
		}
	}
}

/* A large file that stays, so that the rest is about `free_blocks`. */
static void make_ballast(struct game *run, uint64_t free_blocks)
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
	sync_now(run);
}

static void run_seed(uint64_t seed, unsigned long ops, bool verbose)
{
	static const enum cipher ciphers[] = { CIPHER_XCHACHA20_POLY1305, CIPHER_NONE, CIPHER_AES256_GCM };
	struct game *run = sim_alloc(sizeof *run);
	*run = (struct game){ .seed = seed, .random_state = seed, .ops = ops, .verbose = verbose, .stale = -1, .least_free = UINT64_MAX };
	enum cipher cipher = ciphers[seed % ARRAY_COUNT(ciphers)];
	unsigned members = 3 + pick(run, 3), mib = 8 + (chance(run, 30) ? pick(run, 17) : pick(run, 5));
	if (!cipher_available(cipher))
		cipher = CIPHER_XCHACHA20_POLY1305;
	make_names(run);
	doing(run, "making");
	int r = simfs_make(&run->sim, members, (uint64_t)mib << 20, cipher, seed);
	if (r < 0)
		fail(run, "making: error %d", -r);
	/* Small limits, so that nodes have to be read again and dirty memory makes commits. */
	run->sim->options.node_cache_bytes = (64u << 10) << pick(run, 8);
	run->sim->options.dirty_bytes = (256u << 10) << pick(run, 8);
	model_init(&run->now);
	model_init(&run->durable);
	run->generation = fs_generation(fs_of(run));
	if (chance(run, 80))
		make_ballast(run, 300 + pick(run, 2500));
	for (run->op = 0; run->op < ops; run->op++)
		step(run);
	event_remount(run);
	printf("seed %llu: %u members of %u MiB, %s: %lu operations, at least %lu blocks free, %lu without space, %lu commits on the way, %lu cuts, %lu opens without "
		"a member, %lu caught up\n", (unsigned long long)seed, members, mib, cipher_name(cipher), ops, run->least_free, run->nospace, run->implicit, run->cuts,
		run->left_out, run->caught_up);
	fflush(stdout);
	model_free(&run->now);
	model_free(&run->durable);
	simfs_free(run->sim);
	free(run);
}

#ifdef __SANITIZE_ADDRESS__
#define DEFAULT_OPS 1500u
#else
#define DEFAULT_OPS 4000u
#endif
#define DEFAULT_SECONDS 50

int main(int argc, char **argv)
{
	unsigned long long seed = 0;
	unsigned long ops = DEFAULT_OPS;
	bool verbose = false, one = false;
	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--seed") && i + 1 < argc) {
			seed = strtoull(argv[++i], NULL, 0);
			one = true;
		} else if (!strcmp(argv[i], "--ops") && i + 1 < argc)
			ops = strtoul(argv[++i], NULL, 0);
		else if (!strcmp(argv[i], "--verbose"))
			verbose = true;
		else {
			fprintf(stderr, "usage: test_model [--seed S] [--ops N] [--verbose]\n");
			return 2;
		}
	}
	if (one) {
		run_seed(seed, ops, verbose);
		return 0;
	}
	time_t end = time(NULL) + DEFAULT_SECONDS;
	for (seed = 1; seed <= 3 || time(NULL) < end; seed++)
		run_seed(seed, ops, verbose);
	return 0;
}
