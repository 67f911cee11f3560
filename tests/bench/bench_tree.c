/* How fast the trees are: insertions, look-ups and deletions a second, one thread, all nodes in memory.
 *
 *	bench_tree [ITEMS]
 *
 * Inode items in the file tree of a filesystem on simulated disks, in an order that has nothing to do with their keys.  Each is an
 * operation of its own, with its lock.  Commits in between are outside the time. */
#include "base/cleanup.h"
#include "fs/core.h"
#include "fs/names/inode.h"
#include "tests/bench/measure.h"
#include "tests/lib/simfs.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define DISKS 4u
#define DISK_BYTES (UINT64_C(128) << 20)
#define FIRST_OBJECT UINT64_C(1000000)
#define COMMIT_EVERY 4096u
#define ITEMS 100000u
#define STEP 7919u                   /* a prime: visits all items unless it divides their number */

typedef int (*body)(struct fs *fs, const struct key *key);

static int put_one(struct fs *fs, const struct key *key)
{
	struct inode_item item;
	struct inode inode = { .ino = key->object, .mode = S_IFREG | 0644, .links = 1 };

	int r = tree_prepare(fs, fs_file_tree(fs), key);
	if (r)
		return r;
	inode_encode(&inode, &item);
	return tree_put(fs, fs_file_tree(fs), key, &item, sizeof item);
}

static int look_one(struct fs *fs, const struct key *key)
{
	struct item item;
	return tree_lookup(fs, fs_file_tree(fs), key, &item);
}

static int delete_one(struct fs *fs, const struct key *key)
{
	int r = tree_prepare(fs, fs_file_tree(fs), key);
	return r ? r : tree_delete(fs, fs_file_tree(fs), key);
}

static int one(struct fs *fs, enum op_kind kind, body run, uint64_t object)
{
	struct key key = key_make(object, ITEM_INODE, 0);
	struct op op;
	int r = op_begin(fs, &op, kind, 0);

	if (r < 0)
		return r;
	do
		r = run(fs, &key);
	while (op_retry(&op, &r));
	op_end(&op);
	return r;
}

static int phase(struct fs *fs, const char *name, enum op_kind kind, body run, unsigned items, const char *end)
{
	int64_t spent_ns = 0;

	for (unsigned i = 0; i < items;) {
		int64_t start_ns = measure_process_ns();
		for (unsigned stop = i + COMMIT_EVERY; i < items && i < stop; i++) {
			int r = one(fs, kind, run, FIRST_OBJECT + (uint64_t)i * STEP % items);
			if (r < 0)
				return r;
		}
		spent_ns += measure_process_ns() - start_ns;
		int r = kind == OP_READ ? 0 : fs_sync(fs);
		if (r < 0)
			return r;
	}
	printf("\"%s\": %.0f%s", name, items / ((double)spent_ns / 1e9), end);
	return 0;
}

int main(int argc, char **argv)
{
	struct simfs *sim;
	unsigned long items = argc > 1 ? strtoul(argv[1], NULL, 10) : ITEMS;

	if (argc > 2 || items < 1 || items > 1000000 || items % STEP == 0) {
		fprintf(stderr, "usage: bench_tree [ITEMS]   (1 to 1000000, not a multiple of %u)\n", STEP);
		return 2;
	}
	int r = simfs_make(&sim, DISKS, DISK_BYTES, CIPHER_NONE, 1);
	if (r < 0)
		return 1;
	printf("{");
	r = phase(simfs_fs(sim), "tree_insert", OP_MODIFY, put_one, (unsigned)items, ", ");
	if (!r)
		r = phase(simfs_fs(sim), "tree_lookup", OP_READ, look_one, (unsigned)items, ", ");
	if (!r)
		r = phase(simfs_fs(sim), "tree_delete", OP_FREE, delete_one, (unsigned)items, "}\n");
	simfs_free(sim);
	if (r < 0)
		fprintf(stderr, "bench_tree: %s\n", strerror(-r));
	return r < 0;
}
