/* The namespace: random operations against a model of a small tree.  `test_namei_random SEED` replays one run. */
#include "tests/unit/namei.h"

#include <errno.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define NODES 48u
#define NAMES 12u

struct node {
	bool used, dir;
	uint64_t ino;
	unsigned parent;                 /* of a directory */
	unsigned links;
};
static struct node nodes[NODES];
static unsigned child[NODES][NAMES];     /* node + 1 by name, 0: none */
static uint64_t random_state;

static unsigned below(unsigned limit)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (unsigned)((random_state * UINT64_C(0x2545f4914f6cdd1d) >> 33) % limit);
}

static unsigned random_dir(void)
{
	unsigned n;
	do
		n = below(NODES);
	while (!nodes[n].used || !nodes[n].dir);
	return n;
}

static bool empty(unsigned dir)
{
	for (unsigned i = 0; i < NAMES; i++)
		if (child[dir][i])
			return false;
	return true;
}

static const char *name_of(unsigned i)
{
	static char names[2][16];
	static unsigned turn;
	turn ^= 1;
	snprintf(names[turn], sizeof names[turn], "name%u", i);
	return names[turn];
}

static bool above(unsigned top, unsigned dir)
{
	for (;; dir = nodes[dir].parent) {
		if (dir == top)
			return true;
		if (dir == 0)
			return false;
	}
}

static void model_make(void)
{
	unsigned dir = random_dir(), name = below(NAMES), n = 0;
	struct fs_attr attr;
	while (n < NODES && nodes[n].used)
		n++;
	if (n == NODES)
		return;
	bool is_dir = below(3) == 0;
	int r = fs_mknod(fs, nodes[dir].ino, name_of(name), (is_dir ? S_IFDIR : S_IFREG) | 0755, 0, user, &attr);
	CHECK_EQ(r, child[dir][name] ? -EEXIST : 0);
	if (r == 0) {
		nodes[n] = (struct node){ true, is_dir, attr.ino, dir, 1 };
		child[dir][name] = n + 1;
	}
}

static void model_drop(unsigned n)
{
	if (nodes[n].dir || --nodes[n].links == 0)
		nodes[n].used = false;
}

static void model_remove(void)
{
	unsigned dir = random_dir(), name = below(NAMES), c = child[dir][name];
	bool want_dir = below(3) == 0;
	int expected = !c ? -ENOENT : want_dir ? (!nodes[c - 1].dir ? -ENOTDIR : empty(c - 1) ? 0 : -ENOTEMPTY)
		: nodes[c - 1].dir ? -EISDIR : 0;
	int r = want_dir ? fs_rmdir(fs, nodes[dir].ino, name_of(name)) : fs_unlink(fs, nodes[dir].ino, name_of(name));
	CHECK_EQ(r, expected);
	if (r == 0) {
		child[dir][name] = 0;
		model_drop(c - 1);
	}
}

static void model_link(void)
{
	unsigned dir = random_dir(), name = below(NAMES), n = below(NODES);
	if (!nodes[n].used)
		return;
	int r = fs_link(fs, nodes[n].ino, nodes[dir].ino, name_of(name), NULL);
	CHECK_EQ(r, nodes[n].dir ? -EPERM : child[dir][name] ? -EEXIST : 0);
	if (r == 0) {
		nodes[n].links++;
		child[dir][name] = n + 1;
	}
}

static int rename_expected(unsigned from, unsigned to, unsigned c, unsigned t, unsigned flags)
{
	if (!c)
		return -ENOENT;
	if (t && t == c)
		return flags == RENAME_NOREPLACE ? -EEXIST : 0;
	if (flags == RENAME_EXCHANGE && !t)
		return -ENOENT;
	if (flags == RENAME_NOREPLACE && t)
		return -EEXIST;
	if (nodes[c - 1].dir && above(c - 1, to))
		return -EINVAL;
	if (flags == RENAME_EXCHANGE)
		return nodes[t - 1].dir && above(t - 1, from) ? -EINVAL : 0;
	if (!t)
		return 0;
	if (nodes[c - 1].dir != nodes[t - 1].dir)
		return nodes[c - 1].dir ? -ENOTDIR : -EISDIR;
	return nodes[t - 1].dir && !empty(t - 1) ? -ENOTEMPTY : 0;
}

static void model_rename(void)
{
	static const unsigned choices[] = { 0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE };
	unsigned from = random_dir(), to = random_dir(), name = below(NAMES), new_name = below(NAMES), flags = choices[below(4)];
	unsigned c = child[from][name], t = child[to][new_name];
	int r = fs_rename(fs, nodes[from].ino, name_of(name), nodes[to].ino, name_of(new_name), flags);
	CHECK_EQ(r, rename_expected(from, to, c, t, flags));
	if (r < 0 || c == t)
		return;
	child[to][new_name] = c;
	child[from][name] = flags == RENAME_EXCHANGE ? t : 0;
	if (nodes[c - 1].dir)
		nodes[c - 1].parent = to;
	if (t && flags == RENAME_EXCHANGE && nodes[t - 1].dir)
		nodes[t - 1].parent = from;
	if (t && flags != RENAME_EXCHANGE)
		model_drop(t - 1);
}

static void model_compare(void)
{
	unsigned used = 0;
	for (unsigned n = 0; n < NODES; n++) {
		struct fs_attr attr;
		used += nodes[n].used;
		if (!nodes[n].used)
			continue;
		unsigned subdirectories = 0, entries = 0;
		for (unsigned i = 0; i < NAMES && nodes[n].dir; i++) {
			unsigned c = child[n][i];
			CHECK_EQ(find(nodes[n].ino, name_of(i)), c ? nodes[c - 1].ino : 0);
			entries += c != 0;
			subdirectories += c && nodes[c - 1].dir;
		}
		CHECK_EQ(fs_getattr(fs, nodes[n].ino, &attr), 0);
		CHECK_EQ(attr.links, nodes[n].dir ? 2 + subdirectories : nodes[n].links);
		if (nodes[n].dir) {
			CHECK_EQ(attr.size_bytes, entries);
			CHECK_EQ(find(nodes[n].ino, ".."), nodes[nodes[n].parent].ino);
		}
	}
	CHECK_EQ(inodes(), used);
}

static void test_random(uint64_t seed, unsigned steps)
{
	start();
	random_state = seed * 2654435761u + 1;
	memset(nodes, 0, sizeof nodes);
	memset(child, 0, sizeof child);
	nodes[0] = (struct node){ true, true, ROOT, 0, 1 };
	for (unsigned step = 0; step < steps && !check_failed; step++) {
		switch (below(8)) {
		case 0: case 1: case 2: model_make(); break;
		case 3: model_remove(); break;
		case 4: model_link(); break;
		default: model_rename(); break;
		}
		if (below(50) == 0)
			CHECK_EQ(fs_sync(fs), 0);
		if (below(200) == 0)
			remount();
		if (below(100) == 0)
			model_compare();
	}
	model_compare();
	if (check_failed)
		fprintf(stderr, "replay with: test_namei_random %llu\n", (unsigned long long)seed);
	finish();
}

int main(int argc, char **argv)
{
	if (argc > 1) {
		test_random(strtoull(argv[1], NULL, 0), 4000);
		return CHECK_DONE();
	}
	for (uint64_t seed = 1; seed <= 4; seed++)
		test_random(seed, 2000);
	return CHECK_DONE();
}
