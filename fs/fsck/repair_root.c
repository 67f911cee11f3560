/* Going back to an older root.
 *
 * The filesystem was opened with that root's trees.  They become the newest by an ordinary commit, which follows an opening root
 * that still names the newest trees with their log (commit_open).  Until that commit is durable the newest trees must stay whole
 * (rule R1), so what they use is kept from being allocated: as their bitmaps say, and if these cannot be read, as their
 * file tree reaches. */
#include "fs/fsck/checkimpl.h"
#include "fs/tree/store.h"

#include <errno.h>
#include <stdlib.h>

struct keeper {
	struct fs *fs;
	struct walk walk;
	bool bad;
};

static void keep(struct keeper *k, address from, uint32_t blocks)
{
	struct fs *fs = k->fs;
	const struct band *b = config_band(fs->config, address_band(from));
	struct op op;
	int r;
	if (!b || blocks > band_blocks(b) || address_block(from) > band_blocks(b) - blocks)
		return;
	op_begin(fs, &op, OP_READ, 0);
	do
		r = alloc_keep(fs, from, blocks);
	while (op_retry(&op, &r));
	op_end(&op);
	if (r < 0)
		k->walk.error = r;
}

static bool on_pointer(void *ctx, const struct walk_node *node)
{
	keep(ctx, le64_get(node->pointer->address), UNIT_BLOCKS);
	return true;
}

static void on_bad(void *ctx, const struct walk_node *node, const char *what)
{
	(void)node;
	(void)what;
	((struct keeper *)ctx)->bad = true;
}

static void on_system_item(void *ctx, const struct walk_node *leaf, const struct item *item)
{
	struct keeper *k = ctx;
	(void)leaf;
	const struct band *b = item->key.object <= BAND_ID_MAX ? config_band(k->fs->config, (uint32_t)item->key.object) : NULL;
	if (item->key.type != ITEM_BITMAP || !b || item->key.offset > b->rows / BITMAP_CHUNK_ROWS)
		return;
	address first = band_row_address(b, 0) + item->key.offset * BITMAP_CHUNK_ROWS * band_row_blocks(b);
	for (uint64_t i = 0, n; i < item->bytes * 8u && k->walk.error == 0; i += n) {
		for (n = 0; i + n < item->bytes * 8u && map_get(item->value, i + n); n++)
			;
		if (n > 0)
			keep(k, first + i, (uint32_t)n);
		else
			n = 1;
	}
}

static void on_file_item(void *ctx, const struct walk_node *leaf, const struct item *item)
{
	const struct extent_item *x = item->value;
	(void)leaf;
	if (item->key.type == ITEM_EXTENT && extent_placed(x))
		keep(ctx, le64_get(x->address), le32_get(x->blocks));
}

static int keep_newest(struct fs *fs)
{
	const struct root_body *body = &fs->newest_body;
	struct keeper k = { .fs = fs };
	uint8_t *image = malloc(UNIT_BYTES);
	struct disk_pointer next = body->pending;
	if (!image)
		return -ENOMEM;
	for (uint64_t n = fs->alloc.capacity_blocks / UNIT_BLOCKS; n > 0 && le32_get(next.length_bytes) != 0; n--) {
		keep(&k, le64_get(next.address), UNIT_BLOCKS);
		k.bad |= store_read_pending(fs, &next, fs->newest_tree, image) < 0;
		if (k.bad)
			break;
		next = ((const struct pending_header *)image)->next;
	}
	free(image);
	k.walk = (struct walk){ .fs = fs, .tree = TREE_SYSTEM, .ctx = &k, .pointer = on_pointer, .bad = on_bad, .item = on_system_item,
		.generation = fs->newest_tree };
	int r = walk_tree(&k.walk, &body->system_tree, body->system_level);
	k.walk.tree = TREE_FILE;
	k.walk.item = on_file_item;
	if (r == 0 && k.bad)
		r = walk_tree(&k.walk, &body->file_tree, body->file_level);
	return r;
}

int fs_revert(struct fs *fs)
{
	if (!fs->options.root_generation || fs->options.read_only || fs->system_lost)
		return -EINVAL;
	if (!fs->older)
		return 0;                /* it is the newest */
	uint8_t record[ROOT_BYTES];
	struct root_header header;
	int r = array_root_of(fs->array, fs->options.root_generation, record);
	if (r == 0)
		r = root_header_decode(record, &header);
	if (r == 0)
		r = keep_newest(fs);
	if (r < 0)
		return r;
	pthread_mutex_lock(&fs->lock);
	uint64_t next = le64_get(fs->newest_body.next_object);
	fs->next_object = next > fs->next_object ? next : fs->next_object;
	fs->read_only = false;
	scrub_restart(fs);
	txn_mark_dirty(fs);
	pthread_mutex_unlock(&fs->lock);
	array_doubt_rows(fs->array, fs->root_generation, &header);       /* rows live again that were free when members were filled */
	r = commit_run(fs);
	fs->read_only = r < 0;
	fs->older = r < 0;
	return r;
}
