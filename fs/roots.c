/* Listing roots: raid/ finds the records that verify, here their bodies are opened and followed one step. */
#include "fs/roots.h"

#include "base/cleanup.h"
#include "fs/core.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static bool node_reads(struct fs *fs, const struct disk_pointer *pointer, uint8_t tree, uint8_t level, void *image)
{
	return level <= NODE_LEVEL_MAX && store_read_node(fs, pointer, tree, level, image) == 0;
}

static bool trees_open(struct fs *fs, const uint8_t record[ROOT_BYTES], void *image)
{
	struct root_body body;
	return root_body_open(fs->keys, record, &body) == 0
		&& node_reads(fs, &body.file_tree, TREE_FILE, body.file_level, image)
		&& node_reads(fs, &body.system_tree, TREE_SYSTEM, body.system_level, image);
}

static int list(struct fs *fs, struct fs_root *ret_roots, unsigned room, unsigned *ret_count)
{
	autofree struct array_root *roots = calloc(room, sizeof *roots);
	autofree void *image = malloc(NODE_BYTES);
	const struct root_header *newest = array_root_header(fs->array);
	unsigned count;

	if (!roots || !image)
		return -ENOMEM;
	int r = array_list_roots(fs->array, roots, room, &count);
	if (r < 0)
		return r;
	for (unsigned i = 0; i < count; i++)
		ret_roots[i] = (struct fs_root){ .term = roots[i].term, .generation = roots[i].generation, .tree = roots[i].tree,
			.members = roots[i].members, .opens = trees_open(fs, roots[i].record, image),
			.newest = roots[i].generation == newest->generation && roots[i].term == newest->term };
	*ret_count = count;
	return 0;
}

int fs_list_roots(struct probe *probe, const struct secret *secret, bool allow_none, const struct fs_options *options,
	struct fs_root *ret_roots, unsigned room, unsigned *ret_count, struct fail *fail)
{
	struct fs_options o = *options;
	struct fs *fs;

	o.read_only = true;
	int r = fs_open_bare(probe, secret, allow_none, &o, &fs, fail);
	if (r < 0)
		return r;
	r = list(fs, ret_roots, room, ret_count);
	fs_delete(fs);
	return r < 0 ? fail_set(fail, -r, FAIL_SYSTEM, "the roots cannot be listed: %s", strerror(-r)) : 0;
}
