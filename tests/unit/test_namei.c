/* The namespace: names, links, renames, listing, attributes and ACLs, and what a remount or a crash leaves of them. */
#include "fs/names/acl.h"
#include "tests/unit/namei.h"

#include <dirent.h>
#include <errno.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#define DAY_NS (INT64_C(86400) * 1000000000)

static uint64_t make(uint64_t dir, const char *name, uint32_t mode)
{
	struct fs_attr attr = { 0 };
	CHECK_EQ(fs_mknod(fs, dir, name, mode, 0, user, &attr), 0);
	return attr.ino;
}

static struct fs_attr attr_of(uint64_t ino)
{
	struct fs_attr attr = { 0 };
	CHECK_EQ(fs_getattr(fs, ino, &attr), 0);
	return attr;
}

/* ---- Making ---- */

static void test_make(void)
{
	struct fs_attr attr, before;
	char name[258];

	start();
	before = attr_of(ROOT);
	CHECK_EQ(fs_mknod(fs, ROOT, "f", S_IFREG | 0666, 99, user, &attr), 0);
	CHECK_EQ(attr.mode, S_IFREG | 0644);
	CHECK_EQ(attr.rdev, 0);
	CHECK_EQ(attr.uid, 1000);
	CHECK_EQ(attr.gid, 100);
	CHECK_EQ(attr.links, 1);
	CHECK(attr.mtime_ns == attr.btime_ns && attr.ctime_ns == attr.atime_ns);
	CHECK(attr_of(ROOT).mtime_ns > before.mtime_ns && attr_of(ROOT).ctime_ns > before.ctime_ns);
	CHECK_EQ(attr_of(ROOT).links, 2);
	CHECK_EQ(fs_mknod(fs, ROOT, "d", S_IFDIR | 0777, 0, user, &attr), 0);
	CHECK_EQ(attr.links, 2);
	CHECK_EQ(attr_of(ROOT).links, 3);
	CHECK_EQ(fs_mknod(fs, ROOT, "c", S_IFCHR | 0600, 0x103, user, &attr), 0);
	CHECK_EQ(attr.rdev, 0x103);
	make(ROOT, "fifo", S_IFIFO | 0600);
	make(ROOT, "sock", S_IFSOCK | 0600);
	CHECK_EQ(fs_mknod(fs, ROOT, "x", 0644, 0, user, &attr), -EINVAL);
	CHECK_EQ(fs_mknod(fs, ROOT, "f", S_IFREG, 0, user, &attr), -EEXIST);
	CHECK_EQ(fs_mknod(fs, ROOT, ".", S_IFDIR, 0, user, &attr), -EEXIST);
	CHECK_EQ(fs_mknod(fs, ROOT, "a/b", S_IFREG, 0, user, &attr), -EINVAL);
	CHECK_EQ(fs_mknod(fs, find(ROOT, "f"), "x", S_IFREG, 0, user, &attr), -ENOTDIR);
	CHECK_EQ(fs_mknod(fs, 4711, "x", S_IFREG, 0, user, &attr), -ENOENT);
	memset(name, 'n', sizeof name);
	name[256] = 0;
	CHECK_EQ(fs_mknod(fs, ROOT, name, S_IFREG, 0, user, &attr), -ENAMETOOLONG);
	CHECK_EQ(fs_lookup(fs, ROOT, name, &attr), -ENAMETOOLONG);
	name[255] = 0;
	uint64_t longest = make(ROOT, name, S_IFREG | 0600);
	remount();
	CHECK_EQ(find(ROOT, name), longest);
	CHECK_EQ(fs_lookup(fs, ROOT, "nothing", &attr), -ENOENT);
	CHECK_EQ(find(ROOT, "."), ROOT);
	CHECK_EQ(find(ROOT, ".."), ROOT);
	CHECK_EQ(find(find(ROOT, "d"), ".."), ROOT);
	CHECK_EQ(find(find(ROOT, "f"), "."), find(ROOT, "f"));
	CHECK_EQ(fs_lookup(fs, find(ROOT, "f"), "..", &attr), -ENOTDIR);
	CHECK_EQ(attr_of(find(ROOT, "c")).rdev, 0x103);
	CHECK_EQ(inodes(), 7);
	finish();
}

static void test_setgid(void)
{
	struct fs_attr attr = { .mode = S_ISGID | 0775, .gid = 55 };

	start();
	uint64_t dir = make(ROOT, "d", S_IFDIR | 0755);
	CHECK_EQ(fs_setattr(fs, dir, &attr, FS_SET_GID | FS_SET_MODE, &attr), 0);
	CHECK_EQ(attr.mode, S_IFDIR | S_ISGID | 0775);
	CHECK_EQ(attr_of(make(dir, "f", S_IFREG | 0644)).gid, 55);
	attr = attr_of(make(dir, "sub", S_IFDIR | 0755));
	CHECK_EQ(attr.gid, 55);
	CHECK_EQ(attr.mode, S_IFDIR | S_ISGID | 0755);
	finish();
}

static void test_symlink(void)
{
	char target[4100], buf[4100];
	struct fs_attr attr;

	start();
	static const size_t lengths[] = { 1, 60, 2048, 2049, 4095 };
	for (unsigned i = 0; i < 5; i++) {
		char name[8];
		snprintf(name, sizeof name, "s%u", i);
		memset(target, 'a' + (int)i, sizeof target);
		target[lengths[i]] = 0;
		CHECK_EQ(fs_symlink(fs, ROOT, name, target, user, &attr), 0);
		CHECK_EQ(attr.size_bytes, lengths[i]);
		CHECK_EQ(attr.mode, S_IFLNK | 0777);
		if (i == 2)
			remount();
	}
	remount();
	for (unsigned i = 0; i < 5; i++) {
		char name[8];
		snprintf(name, sizeof name, "s%u", i);
		memset(target, 'a' + (int)i, sizeof target);
		target[lengths[i]] = 0;
		CHECK_EQ(fs_readlink(fs, find(ROOT, name), buf, sizeof buf), 0);
		CHECK(!strcmp(buf, target));
		CHECK_EQ(fs_readlink(fs, find(ROOT, name), buf, lengths[i]), -ERANGE);
	}
	target[4095] = 'x';
	target[4096] = 0;
	CHECK_EQ(fs_symlink(fs, ROOT, "t", target, user, &attr), -ENAMETOOLONG);
	CHECK_EQ(fs_symlink(fs, ROOT, "t", "", user, &attr), -ENOENT);
	CHECK_EQ(fs_readlink(fs, ROOT, buf, sizeof buf), -EINVAL);
	CHECK_EQ(fs_unlink(fs, ROOT, "s4"), 0);
	finish();
}

/* ---- Links and removal ---- */

static void test_link(void)
{
	struct fs_attr attr;

	start();
	uint64_t f = make(ROOT, "f", S_IFREG | 0644), d = make(ROOT, "d", S_IFDIR | 0755);
	int64_t ctime = attr_of(f).ctime_ns;
	CHECK_EQ(fs_link(fs, f, d, "g", &attr), 0);
	CHECK_EQ(attr.links, 2);
	CHECK(attr.ctime_ns > ctime);
	CHECK_EQ(attr_of(d).mtime_ns, attr.ctime_ns);
	CHECK_EQ(fs_link(fs, f, d, "g", &attr), -EEXIST);
	CHECK_EQ(fs_link(fs, d, ROOT, "h", &attr), -EPERM);
	CHECK_EQ(fs_link(fs, f, f, "h", &attr), -ENOTDIR);
	CHECK_EQ(fs_rename(fs, ROOT, "f", d, "g", 0), 0);       /* one inode: nothing happens */
	CHECK_EQ(find(ROOT, "f"), f);
	CHECK_EQ(attr_of(f).links, 2);
	remount();
	CHECK_EQ(fs_unlink(fs, ROOT, "f"), 0);
	CHECK_EQ(attr_of(f).links, 1);
	CHECK_EQ(fs_unlink(fs, ROOT, "f"), -ENOENT);
	CHECK_EQ(fs_unlink(fs, ROOT, "d"), -EISDIR);
	CHECK_EQ(fs_rmdir(fs, ROOT, "d"), -ENOTEMPTY);
	CHECK_EQ(fs_rmdir(fs, d, "g"), -ENOTDIR);
	CHECK_EQ(fs_rmdir(fs, d, "."), -EINVAL);
	CHECK_EQ(fs_rmdir(fs, d, ".."), -ENOTEMPTY);
	CHECK_EQ(fs_unlink(fs, d, "g"), 0);
	CHECK_EQ(fs_getattr(fs, f, &attr), -ENOENT);
	CHECK_EQ(fs_rmdir(fs, ROOT, "d"), 0);
	CHECK_EQ(attr_of(ROOT).links, 2);
	CHECK_EQ(attr_of(ROOT).size_bytes, 0);
	CHECK_EQ(inodes(), 1);
	finish();
}

/* An inode lives while it is referred to. */
static void test_orphans(void)
{
	struct fs_attr attr;
	char byte = 0;
	static char big[300000];

	start();
	uint64_t f = make(ROOT, "f", S_IFREG | 0644), d = make(ROOT, "d", S_IFDIR | 0755), g = make(ROOT, "g", S_IFREG | 0644);
	CHECK_EQ(fs_ref(fs, f), 0);
	CHECK_EQ(fs_ref(fs, f), 0);
	CHECK_EQ(fs_ref(fs, d), 0);
	CHECK_EQ(fs_ref(fs, g), 0);
	CHECK_EQ(fs_write(fs, f, big, sizeof big, 0, false, NULL), sizeof big);
	CHECK_EQ(fs_setxattr(fs, f, "user.long", big, 5000, 0), 0);
	CHECK_EQ(fs_unlink(fs, ROOT, "f"), 0);
	CHECK_EQ(fs_rmdir(fs, ROOT, "d"), 0);
	CHECK_EQ(attr_of(f).links, 0);
	CHECK_EQ(fs_mknod(fs, d, "x", S_IFREG, 0, user, &attr), -ENOENT);
	CHECK_EQ(fs_rename(fs, ROOT, "g", d, "x", 0), -ENOENT);
	CHECK_EQ(fs_link(fs, f, ROOT, "back", &attr), -ENOENT);
	CHECK_EQ(fs_ref(fs, f), 0);
	fs_unref(fs, f, 2);
	CHECK_EQ(fs_read(fs, f, &byte, 1, 7), 1);
	CHECK_EQ(fs_sync(fs), 0);
	fs_unref(fs, f, 1);
	fs_unref(fs, d, 1);
	CHECK_EQ(fs_getattr(fs, f, &attr), -ENOENT);
	CHECK_EQ(fs_getattr(fs, d, &attr), -ENOENT);
	CHECK_EQ(fs_ref(fs, f), -ENOENT);
	CHECK_EQ(inodes(), 2);
	CHECK_EQ(fs_sync(fs), 0);
	CHECK_EQ(fs_check(fs, true, complain, NULL), 0);

	/* A crash while it is referred to: freed at the next mount. */
	CHECK_EQ(fs_write(fs, g, big, sizeof big, 0, false, NULL), sizeof big);
	CHECK_EQ(fs_setxattr(fs, g, "user.long", big, 5000, 0), 0);
	CHECK_EQ(fs_unlink(fs, ROOT, "g"), 0);
	CHECK_EQ(fs_sync(fs), 0);
	REQUIRE(simfs_crash(sim, SIMCUT_DROP_ALL) == 0);
	fs = simfs_fs(sim);
	CHECK_EQ(fs_getattr(fs, g, &attr), -ENOENT);
	CHECK_EQ(inodes(), 1);
	finish();
}

/* A file that has no name until it gets one. */
static void test_nameless(void)
{
	struct fs_attr attr, dir;
	static char big[300000];

	start();
	dir = attr_of(ROOT);
	CHECK_EQ(fs_tmpfile(fs, 77, 0600, user, &attr), -ENOENT);
	CHECK_EQ(fs_tmpfile(fs, ROOT, 04666, user, &attr), 0);
	uint64_t a = attr.ino;
	CHECK_EQ(attr.links, 0);
	CHECK_EQ(attr.mode, S_IFREG | 04644);
	CHECK_EQ(attr.uid, user.uid);
	CHECK_EQ(attr_of(ROOT).mtime_ns, dir.mtime_ns);
	CHECK_EQ(attr_of(ROOT).size_bytes, 0);
	CHECK_EQ(fs_write(fs, a, big, sizeof big, 0, false, NULL), sizeof big);
	CHECK_EQ(fs_fsync(fs, a, false), 0);
	CHECK_EQ(fs_sync(fs), 0);
	CHECK_EQ(fs_check(fs, true, complain, NULL), 0);

	CHECK_EQ(fs_link(fs, a, ROOT, "a", &attr), 0);
	CHECK_EQ(attr.links, 1);
	CHECK_EQ(fs_link(fs, a, ROOT, "b", &attr), 0);
	CHECK_EQ(attr.links, 2);
	fs_unref(fs, a, 1);
	CHECK_EQ(find(ROOT, "a"), a);
	CHECK_EQ(attr_of(a).size_bytes, sizeof big);

	/* Once it has had a name it is like any other. */
	CHECK_EQ(fs_ref(fs, a), 0);
	CHECK_EQ(fs_unlink(fs, ROOT, "a"), 0);
	CHECK_EQ(fs_unlink(fs, ROOT, "b"), 0);
	CHECK_EQ(fs_link(fs, a, ROOT, "c", &attr), -ENOENT);
	fs_unref(fs, a, 1);
	CHECK_EQ(fs_getattr(fs, a, &attr), -ENOENT);

	/* Nobody wanted it. */
	CHECK_EQ(fs_tmpfile(fs, ROOT, 0600, user, &attr), 0);
	fs_unref(fs, attr.ino, 1);
	CHECK_EQ(fs_getattr(fs, attr.ino, &attr), -ENOENT);
	CHECK_EQ(inodes(), 1);

	/* After a crash one is gone, and one is there by the log: with its name, and not as an orphan. */
	CHECK_EQ(fs_sync(fs), 0);
	CHECK_EQ(fs_tmpfile(fs, ROOT, 0600, user, &attr), 0);
	CHECK_EQ(fs_fsync(fs, attr.ino, false), 0);
	CHECK_EQ(fs_tmpfile(fs, ROOT, 0600, user, &attr), 0);
	CHECK_EQ(fs_write(fs, attr.ino, big, sizeof big, 0, false, NULL), sizeof big);
	CHECK_EQ(fs_link(fs, attr.ino, ROOT, "kept", &attr), 0);
	CHECK_EQ(fs_fsync(fs, attr.ino, false), 0);
	REQUIRE(simfs_crash(sim, SIMCUT_DROP_ALL) == 0);
	fs = simfs_fs(sim);
	CHECK_EQ(find(ROOT, "kept"), attr.ino);
	CHECK_EQ(attr_of(attr.ino).links, 1);
	CHECK_EQ(attr_of(attr.ino).size_bytes, sizeof big);
	CHECK_EQ(inodes(), 2);
	CHECK_EQ(sim->events[EVENT_WARNING], 1);        /* the replay */
	sim->events[EVENT_WARNING] = 0;
	finish();
}

/* ---- Rename ---- */

static void test_rename(void)
{
	struct fs_attr attr;

	start();
	uint64_t a = make(ROOT, "a", S_IFDIR | 0755), b = make(ROOT, "b", S_IFDIR | 0755), f = make(a, "f", S_IFREG | 0644);
	uint64_t sub = make(a, "sub", S_IFDIR | 0755), g = make(b, "g", S_IFREG | 0644);
	int64_t ctime = attr_of(f).ctime_ns;
	CHECK_EQ(fs_rename(fs, a, "f", b, "f2", 0), 0);
	CHECK_EQ(find(a, "f"), 0);
	CHECK_EQ(find(b, "f2"), f);
	CHECK(attr_of(f).ctime_ns > ctime);
	CHECK_EQ(attr_of(a).mtime_ns, attr_of(f).ctime_ns);
	CHECK_EQ(attr_of(b).ctime_ns, attr_of(f).ctime_ns);
	CHECK_EQ(attr_of(a).size_bytes, 1);
	CHECK_EQ(attr_of(b).size_bytes, 2);
	CHECK_EQ(fs_rename(fs, a, "sub", b, "moved", 0), 0);
	CHECK_EQ(attr_of(a).links, 2);
	CHECK_EQ(attr_of(b).links, 3);
	CHECK_EQ(find(sub, ".."), b);
	CHECK_EQ(fs_rename(fs, ROOT, "b", sub, "x", 0), -EINVAL);
	CHECK_EQ(fs_rename(fs, ROOT, "b", b, "x", 0), -EINVAL);
	CHECK_EQ(fs_rename(fs, b, "moved", ROOT, "b", 0), -ENOTEMPTY);
	CHECK_EQ(fs_rename(fs, b, "g", ROOT, "a", 0), -EISDIR);
	CHECK_EQ(fs_rename(fs, ROOT, "a", b, "g", 0), -ENOTDIR);
	CHECK_EQ(fs_rename(fs, ROOT, "none", b, "g", 0), -ENOENT);
	CHECK_EQ(fs_rename(fs, ROOT, ".", b, "g", 0), -EINVAL);
	CHECK_EQ(fs_rename(fs, b, "g", b, "f2", RENAME_NOREPLACE), -EEXIST);
	CHECK_EQ(fs_rename(fs, b, "g", b, "f2", RENAME_NOREPLACE | RENAME_EXCHANGE), -EINVAL);
	CHECK_EQ(fs_rename(fs, b, "g", b, "f2", RENAME_WHITEOUT), -EINVAL);
	CHECK_EQ(fs_ref(fs, f), 0);
	CHECK_EQ(fs_rename(fs, b, "g", b, "f2", 0), 0);
	CHECK_EQ(attr_of(f).links, 0);
	CHECK_EQ(attr_of(f).ctime_ns, attr_of(g).ctime_ns);
	fs_unref(fs, f, 1);
	CHECK_EQ(fs_getattr(fs, f, &attr), -ENOENT);
	CHECK_EQ(find(b, "f2"), g);
	CHECK_EQ(fs_rename(fs, ROOT, "a", b, "moved", 0), 0);
	CHECK_EQ(find(b, "moved"), a);
	CHECK_EQ(fs_getattr(fs, sub, &attr), -ENOENT);
	CHECK_EQ(attr_of(ROOT).links, 3);
	CHECK_EQ(attr_of(b).links, 3);
	CHECK_EQ(fs_rename(fs, b, "f2", b, "f2", 0), 0);
	remount();
	CHECK_EQ(find(b, "moved"), a);
	CHECK_EQ(find(b, "f2"), g);
	finish();
}

static void test_exchange(void)
{
	start();
	uint64_t a = make(ROOT, "a", S_IFDIR | 0755), b = make(ROOT, "b", S_IFDIR | 0755);
	uint64_t f = make(a, "f", S_IFREG | 0644), d = make(b, "d", S_IFDIR | 0755), g = make(a, "g", S_IFREG | 0644);
	uint64_t e = make(d, "e", S_IFREG | 0644);
	CHECK_EQ(fs_rename(fs, a, "f", b, "none", RENAME_EXCHANGE), -ENOENT);
	CHECK_EQ(fs_rename(fs, a, "f", b, "d", RENAME_EXCHANGE), 0);
	CHECK_EQ(find(a, "f"), d);
	CHECK_EQ(find(b, "d"), f);
	CHECK_EQ(find(d, ".."), a);
	CHECK_EQ(find(d, "e"), e);
	CHECK_EQ(attr_of(a).links, 3);
	CHECK_EQ(attr_of(b).links, 2);
	CHECK_EQ(attr_of(f).ctime_ns, attr_of(d).ctime_ns);
	CHECK_EQ(fs_rename(fs, ROOT, "a", a, "f", RENAME_EXCHANGE), -EINVAL);
	CHECK_EQ(fs_rename(fs, a, "f", ROOT, "a", RENAME_EXCHANGE), -EINVAL);
	CHECK_EQ(fs_rename(fs, a, "f", a, "g", RENAME_EXCHANGE), 0);
	CHECK_EQ(find(a, "g"), d);
	CHECK_EQ(find(a, "f"), g);
	CHECK_EQ(fs_unlink(fs, a, "f"), 0);
	remount();
	CHECK_EQ(fs_unlink(fs, b, "d"), 0);
	finish();
}

/* ---- Listing ---- */

struct listing {
	unsigned count, limit;
	uint64_t cookie;
	bool attrs;
	uint64_t seen;           /* bit for each number in a name "nNN" */
	unsigned wrong;
};

static bool list_one(void *ctx, const struct fs_dirent *entry)
{
	struct listing *l = ctx;
	unsigned number;

	if (l->count == l->limit)
		return false;
	if (l->attrs && (entry->attr.ino != entry->ino || IFTODT(entry->attr.mode) != entry->type))
		l->wrong++;
	if (entry->cookie <= l->cookie || entry->cookie >> 63)
		l->wrong++;
	if (sscanf(entry->name, "n%u", &number) == 1) {
		if (l->seen >> number & 1)
			l->wrong++;
		l->seen |= UINT64_C(1) << number;
	}
	l->cookie = entry->cookie;
	l->count++;
	return true;
}

static void test_whiteout(void)
{
	struct fs_cred cred = { .uid = 7, .gid = 8, .umask = 022 };

	start();
	uint64_t a = make(ROOT, "a", S_IFDIR | 0755), b = make(ROOT, "b", S_IFDIR | 02755);
	uint64_t f = make(a, "f", S_IFREG | 0644), d = make(b, "d", S_IFDIR | 0755), g = make(a, "g", S_IFREG | 0644);
	uint64_t before = inodes();
	CHECK_EQ(fs_rename_whiteout(fs, a, "none", b, "x", 0, cred), -ENOENT);
	CHECK_EQ(fs_rename_whiteout(fs, a, "f", a, "g", RENAME_NOREPLACE, cred), -EEXIST);
	CHECK_EQ(fs_rename_whiteout(fs, a, "f", a, "g", RENAME_EXCHANGE, cred), -EINVAL);
	CHECK_EQ(inodes(), before);
	CHECK_EQ(fs_rename_whiteout(fs, a, "f", b, "f", RENAME_NOREPLACE, cred), 0);
	CHECK_EQ(find(b, "f"), f);
	uint64_t left = find(a, "f");
	CHECK(left != 0 && left != f);
	CHECK_EQ(attr_of(left).mode, S_IFCHR);
	CHECK_EQ(attr_of(left).rdev, 0);
	CHECK_EQ(attr_of(left).links, 1);
	CHECK_EQ(attr_of(left).uid, 7);
	CHECK_EQ(attr_of(left).gid, 8);
	CHECK_EQ(attr_of(a).size_bytes, 2);
	CHECK_EQ(attr_of(b).size_bytes, 2);
	/* Over a file, in the same directory; a whiteout over a whiteout; and a directory, which is none any more under its old name. */
	CHECK_EQ(fs_rename_whiteout(fs, a, "f", a, "g", 0, cred), 0);
	CHECK_EQ(find(a, "g"), left);
	struct fs_attr attr;
	CHECK_EQ(fs_getattr(fs, g, &attr), -ENOENT);
	CHECK_EQ(fs_rename_whiteout(fs, b, "d", a, "d", 0, cred), 0);
	CHECK_EQ(find(a, "d"), d);
	CHECK_EQ(find(d, ".."), a);
	CHECK_EQ(attr_of(b).links, 2);
	CHECK_EQ(attr_of(a).links, 3);
	CHECK_EQ(attr_of(find(b, "d")).gid, attr_of(b).gid);
	CHECK_EQ(inodes(), before + 2);
	remount();
	CHECK_EQ(attr_of(find(b, "d")).mode, S_IFCHR);
	CHECK_EQ(attr_of(find(a, "f")).mode, S_IFCHR);
	CHECK_EQ(find(a, "g"), left);
	finish();
}

static void test_readdir(void)
{
	char name[16];

	start();
	uint64_t dir = make(ROOT, "dir", S_IFDIR | 0755);
	for (unsigned i = 0; i < 64; i++) {
		snprintf(name, sizeof name, "n%u", i);
		make(dir, name, i % 3 ? S_IFREG | 0644 : S_IFDIR | 0755);
	}
	for (unsigned attrs = 0; attrs < 2; attrs++) {
		struct listing l = { .limit = UINT32_MAX, .attrs = attrs };
		CHECK_EQ(fs_readdir(fs, dir, 0, attrs, list_one, &l), 0);
		CHECK_EQ(l.count, 66);
		CHECK_EQ(l.seen, UINT64_MAX);
		CHECK_EQ(l.wrong, 0);
		remount();
	}
	/* In steps, with names that come and go in between: what stays is listed once. */
	struct listing l = { .attrs = true };
	unsigned before;
	do {
		before = l.count;
		l.limit = l.count + 7;
		CHECK_EQ(fs_readdir(fs, dir, l.cookie, true, list_one, &l), 0);
		snprintf(name, sizeof name, "n%u", before % 60);
		if (before % 60 % 3)
			CHECK_EQ(fs_unlink(fs, dir, name), 0);
		snprintf(name, sizeof name, "x%u", before);
		make(dir, name, S_IFREG | 0644);
	} while (l.count > before);
	CHECK_EQ(l.wrong, 0);
	for (unsigned i = 0; i < 64; i++) {
		snprintf(name, sizeof name, "n%u", i);
		CHECK(!find(dir, name) || l.seen >> i & 1);
	}
	CHECK_EQ(fs_readdir(fs, find(dir, "n1"), 0, false, list_one, &l), find(dir, "n1") ? -ENOTDIR : -ENOENT);
	finish();
}

/* ---- Attributes ---- */

static void test_setattr(void)
{
	struct fs_attr set = { 0 }, attr;

	start();
	uint64_t f = make(ROOT, "f", S_IFREG | 0755);
	attr = attr_of(f);
	int64_t ctime = attr.ctime_ns;
	CHECK_EQ(fs_setattr(fs, f, &set, 0, &attr), 0);
	CHECK_EQ(attr.ctime_ns, ctime);
	set.mode = 06755;
	CHECK_EQ(fs_setattr(fs, f, &set, FS_SET_MODE, &attr), 0);
	CHECK_EQ(attr.mode, S_IFREG | 06755);
	CHECK(attr.ctime_ns > ctime);
	set.uid = 7;
	CHECK_EQ(fs_setattr(fs, f, &set, FS_SET_UID, &attr), 0);
	CHECK_EQ(attr.mode, S_IFREG | 0755);
	CHECK_EQ(attr.uid, 7);
	set.mode = 06645;                /* no group execute: setgid stands for locking */
	CHECK_EQ(fs_setattr(fs, f, &set, FS_SET_MODE, &attr), 0);
	CHECK_EQ(fs_setattr(fs, f, &set, FS_KILL_SUIDGID, &attr), 0);
	CHECK_EQ(attr.mode, S_IFREG | 02645);
	set.atime_ns = -1500000001;
	set.mtime_ns = INT64_MAX;
	CHECK_EQ(fs_setattr(fs, f, &set, FS_SET_ATIME | FS_SET_MTIME, &attr), 0);
	remount();
	attr = attr_of(f);
	CHECK_EQ(attr.atime_ns, -1500000001);
	CHECK(attr.mtime_ns == INT64_MAX);
	set.atime_ns = (file_ns)INT64_MIN * 1000000000;
	set.mtime_ns = (file_ns)INT64_MAX * 1000000000 + 999999999;
	CHECK_EQ(fs_setattr(fs, f, &set, FS_SET_ATIME | FS_SET_MTIME, &attr), 0);
	CHECK(attr.atime_ns == set.atime_ns && attr.mtime_ns == set.mtime_ns);
	remount();
	attr = attr_of(f);
	CHECK(attr.atime_ns == set.atime_ns && attr.mtime_ns == set.mtime_ns);
	CHECK_EQ(fs_setattr(fs, f, &set, FS_SET_ATIME_NOW | FS_SET_MTIME_NOW, &attr), 0);
	CHECK(attr.atime_ns > ctime && attr.mtime_ns == attr.atime_ns && attr.ctime_ns == attr.atime_ns);
	set.size_bytes = 100000;
	CHECK_EQ(fs_setattr(fs, f, &set, FS_SET_SIZE, &attr), 0);
	CHECK_EQ(attr.size_bytes, 100000);
	CHECK_EQ(fs_setattr(fs, ROOT, &set, FS_SET_SIZE, &attr), -EISDIR);
	uint64_t fifo = make(ROOT, "fifo", S_IFIFO | 0644);
	CHECK_EQ(fs_setattr(fs, fifo, &set, FS_SET_SIZE, &attr), -EINVAL);
	CHECK_EQ(fs_setattr(fs, 4711, &set, FS_SET_MODE, &attr), -ENOENT);
	finish();
}

static void test_atime(void)
{
	char byte = 'x';

	start();
	uint64_t f = make(ROOT, "f", S_IFREG | 0644);
	CHECK_EQ(fs_write(fs, f, &byte, 1, 0, false, NULL), 1);
	int64_t made = attr_of(f).atime_ns;
	CHECK_EQ(fs_read(fs, f, &byte, 1, 0), 1);
	int64_t first = attr_of(f).atime_ns;
	CHECK(first > made);             /* older than the last change */
	simfs_sleep(sim, 1000);
	CHECK_EQ(fs_read(fs, f, &byte, 1, 0), 1);
	CHECK_EQ(attr_of(f).atime_ns, first);
	struct fs_attr mode = { .mode = 0600 };
	CHECK_EQ(fs_setattr(fs, f, &mode, FS_SET_MODE, NULL), 0);
	CHECK_EQ(attr_of(f).atime_ns, first);
	CHECK_EQ(fs_read_unnoted(fs, f, &byte, 1, 0), 1);
	CHECK_EQ(attr_of(f).atime_ns, first);
	CHECK_EQ(fs_read(fs, f, &byte, 1, 0), 1);
	CHECK(attr_of(f).atime_ns > first);
	first = attr_of(f).atime_ns;
	remount();
	CHECK_EQ(attr_of(f).atime_ns, first);
	CHECK_EQ(fs_read(fs, f, &byte, 1, 0), 1);
	CHECK_EQ(attr_of(f).atime_ns, first);
	simfs_sleep(sim, DAY_NS);
	CHECK_EQ(fs_read(fs, f, &byte, 1, 0), 1);
	CHECK(attr_of(f).atime_ns >= first + DAY_NS);
	struct fs_attr set = { .atime_ns = 5 };
	CHECK_EQ(fs_setattr(fs, f, &set, FS_SET_ATIME, NULL), 0);
	CHECK_EQ(attr_of(f).atime_ns, 5);
	set = (struct fs_attr){ .atime_ns = INT64_MIN, .mtime_ns = INT64_MIN, .ctime_ns = INT64_MIN };
	CHECK_EQ(fs_setattr(fs, f, &set, FS_SET_ATIME | FS_SET_MTIME | FS_SET_CTIME, NULL), 0);
	set.mtime_ns--;
	set.ctime_ns--;
	CHECK_EQ(fs_setattr(fs, f, &set, FS_SET_MTIME | FS_SET_CTIME, NULL), 0);
	CHECK_EQ(fs_read(fs, f, &byte, 1, 0), 1);        /* more than a day later */
	CHECK(attr_of(f).atime_ns > first);
	finish();
}

/* ---- ACLs ---- */

static size_t acl_value(uint8_t *value, uint16_t group, uint16_t mask)
{
	struct acl acl = { .count = 5, .entries = {
		{ ACL_TAG_USER_OBJ, 7, UINT32_MAX }, { ACL_TAG_USER, 7, 1234 }, { ACL_TAG_GROUP_OBJ, group, UINT32_MAX },
		{ ACL_TAG_MASK, mask, UINT32_MAX }, { ACL_TAG_OTHER, 5, UINT32_MAX } } };
	return acl_encode(&acl, value);
}

static void test_acl(void)
{
	uint8_t value[ACL_VALUE_MAX], got[ACL_VALUE_MAX];
	struct acl acl = { .count = 3, .entries = { { ACL_TAG_USER_OBJ, 6, UINT32_MAX }, { ACL_TAG_GROUP_OBJ, 4, UINT32_MAX },
		{ ACL_TAG_OTHER, 4, UINT32_MAX } } };
	struct fs_attr set = { .mode = 0640 };

	start();
	uint64_t d = make(ROOT, "d", S_IFDIR | 0755), f = make(ROOT, "f", S_IFREG | 0600), link;
	size_t n = acl_value(value, 5, 3);
	CHECK_EQ(fs_setxattr(fs, f, "system.posix_acl_default", value, n, 0), -EACCES);
	CHECK_EQ(fs_setxattr(fs, f, "system.posix_acl_access", value, n - 1, 0), -EINVAL);
	CHECK_EQ(fs_setxattr(fs, f, "system.posix_acl_access", value, n, 0), 0);
	CHECK_EQ(attr_of(f).mode, S_IFREG | 0735);
	CHECK_EQ(fs_setattr(fs, f, &set, FS_SET_MODE, NULL), 0);
	CHECK_EQ(fs_getxattr(fs, f, "system.posix_acl_access", got, sizeof got), n);
	acl_value(value, 5, 4);
	CHECK_EQ(got[4 + 2], 6);                 /* owner */
	CHECK_EQ(got[4 + 3 * 8 + 2], 4);         /* mask */
	n = acl_encode(&acl, value);
	CHECK_EQ(fs_setxattr(fs, f, "system.posix_acl_access", value, n, 0), 0);
	CHECK_EQ(attr_of(f).mode, S_IFREG | 0644);
	CHECK_EQ(fs_getxattr(fs, f, "system.posix_acl_access", got, sizeof got), -ENODATA);
	n = acl_value(value, 7, 7);
	CHECK_EQ(fs_setxattr(fs, d, "system.posix_acl_default", value, n, 0), 0);
	CHECK_EQ(attr_of(d).mode, S_IFDIR | 0755);
	f = make(d, "f", S_IFREG | 0666);        /* not masked by the umask */
	CHECK_EQ(attr_of(f).mode, S_IFREG | 0664);
	CHECK(fs_getxattr(fs, f, "system.posix_acl_access", got, sizeof got) == (ssize_t)n);
	CHECK_EQ(fs_getxattr(fs, f, "system.posix_acl_default", got, sizeof got), -ENODATA);
	d = make(d, "sub", S_IFDIR | 0777);
	CHECK_EQ(attr_of(d).mode, S_IFDIR | 0775);
	CHECK_EQ(fs_getxattr(fs, d, "system.posix_acl_default", got, sizeof got), n);
	CHECK(!memcmp(got, value, n));
	struct fs_attr attr;
	CHECK_EQ(fs_symlink(fs, d, "l", "x", user, &attr), 0);
	link = attr.ino;
	CHECK_EQ(fs_setxattr(fs, link, "system.posix_acl_access", value, n, 0), -EOPNOTSUPP);
	CHECK_EQ(fs_removexattr(fs, d, "system.posix_acl_default"), 0);
	remount();
	CHECK_EQ(attr_of(make(d, "plain", S_IFREG | 0666)).mode, S_IFREG | 0644);
	finish();
}

/* Enough names for many more nodes than the cache may hold, some of them gone again. */
static void test_many(void)
{
	char name[32];
	unsigned count = 3000;

	start();
	sim->options.node_cache_bytes = 16 * UNIT_BYTES;
	remount();
	uint64_t dir = make(ROOT, "dir", S_IFDIR | 0755);
	for (unsigned i = 0; i < count; i++) {
		snprintf(name, sizeof name, "some file %u", i);
		make(dir, name, S_IFREG | 0644);
	}
	remount();
	for (unsigned i = 0; i < count; i += 2) {
		snprintf(name, sizeof name, "some file %u", i);
		CHECK_EQ(fs_unlink(fs, dir, name), 0);
	}
	remount();
	for (unsigned i = 0; i < count; i++) {
		snprintf(name, sizeof name, "some file %u", i);
		CHECK((find(dir, name) != 0) == i % 2);
	}
	struct listing l = { .limit = UINT32_MAX, .attrs = true };
	CHECK_EQ(fs_readdir(fs, dir, 0, true, list_one, &l), 0);
	CHECK_EQ(l.count, count / 2 + 2);
	CHECK_EQ(l.wrong, 0);
	for (unsigned i = 1; i < count; i += 2) {
		snprintf(name, sizeof name, "some file %u", i);
		CHECK_EQ(fs_unlink(fs, dir, name), 0);
	}
	CHECK_EQ(fs_rmdir(fs, ROOT, "dir"), 0);
	CHECK_EQ(inodes(), 1);
	finish();
}

/* More files that are open and have no name than a leaf holds, in a tree that has branches already: all of their keys lie below those that
 * the branches began with. */
static void test_many_orphans(void)
{
	enum { COUNT = 1500 };
	uint64_t inos[COUNT];
	char name[16];

	start();
	for (unsigned i = 0; i < COUNT; i++) {
		snprintf(name, sizeof name, "stays%u", i);
		make(ROOT, name, S_IFREG | 0644);
	}
	for (unsigned i = 0; i < COUNT; i++) {
		inos[i] = make(ROOT, "open", S_IFREG | 0600);
		CHECK_EQ(fs_ref(fs, inos[i]), 0);
		CHECK_EQ(fs_unlink(fs, ROOT, "open"), 0);
	}
	CHECK_EQ(fs_sync(fs), 0);
	CHECK_EQ(fs_check(fs, true, complain, NULL), 0);
	remount();
	CHECK_EQ(inodes(), 1 + COUNT);
	CHECK(find(ROOT, "stays0") && find(ROOT, "stays1499"));
	finish();
}

int main(void)
{
	test_make();
	test_setgid();
	test_symlink();
	test_link();
	test_orphans();
	test_nameless();
	test_rename();
	test_exchange();
	test_whiteout();
	test_readdir();
	test_setattr();
	test_atime();
	test_acl();
	test_many();
	test_many_orphans();
	return CHECK_DONE();
}
