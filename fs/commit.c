/* The commit: an open transaction becomes a durable generation.  Why a cut at any write is safe:
 *
 *  C1  Rows are taken only where nothing is live in the newest durable generation, nor in the one being made (alloc.h), so
 *      until the root is written, whatever was written can be lost or torn without harm (rule R1).
 *  C2  All rows of the generation are written (place_all, pack_write twice) and every working member is flushed
 *      (array_flush) before its root is written anywhere (array_write_root), and that flushes again (rule R2).
 *  C3  What a commit frees is cleared in its own bitmaps, but given to the allocator only after its root is durable and no pin
 *      is as old (commit_release).
 *  C4  The first write of a mount of any kind is its promise, then its opening root (commit_open); place_early, commits and heals
 *      all call it first.
 *  C5  Bitmaps do not chase their own tail: rows of the system tree itself, and the blocks of its nodes that were replaced, are
 *      listed in pending records, which the root names; the next commit enters them (fs->pending_runs, pending_freed).
 *
 * The order: freeze (O(1), under the lock; operations go on in the next transaction) → data records → nodes of the file tree,
 * children before parents → bitmaps and row items in the system tree → its nodes and the pending records → flush → root, flush. */
#include "base/blocking.h"
#include "fs/log/log.h"
#include "fs/names/inode.h"
#include "fs/space/pack.h"
#include "fs/space/pending.h"
#include "fs/space/place.h"
#include "fs/tree/recordimpl.h"
#include "fs/tree/serialize.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct release {
	struct release *next;
	uint64_t generation;
	struct freed *freed; size_t count, room;
};

struct commit {
	struct fs *fs;
	struct txn *txn;
	struct node *file_root;
	struct root_body body;
	struct release *release;
};

int commit_open(struct fs *fs)
{
	if (atomic_load(&fs->opened))
		return 0;
	if (fs->read_only)
		return -EROFS;
	SCOPED_LOCK(&fs->opening_lock);
	if (atomic_load(&fs->opened))
		return 0;
	int r = array_take_term(fs->array);
	if (r < 0)
		return r;
	struct root_header header = { .generation = fs->root_generation + 1, .predecessor = fs->root_generation,
		.tree = fs->tree_generation, .tree_before = fs->tree_before };
	struct root_body body = fs->root_body;
	uint8_t record[ROOT_BYTES];
	bool all;
	if (fs->older) {                 /* the newest trees with their log, until fs_revert has made the older ones the newest */
		body = fs->newest_body;
		header.tree = fs->newest_tree;
		header.tree_before = fs->newest_tree_before;
	} else
		log_name_at_opening(fs, &body);
	array_fill_root(fs->array, &header);
	root_seal_record(fs->keys, fs->env, &header, &body, record);
	r = array_write_root(fs->array, record, &all);
	if (r < 0)
		return r;
	fs->root_generation = header.generation;
	if (!fs->older) {
		fs->root_body = body;
		log_opened(fs);
	}
	atomic_store(&fs->opened, true);
	return 0;
}

/* ---- Data and the file tree ---- */

/* Small data shares the rows of nodes: takes what is left of the transaction's records. Returns units. */
struct small {
	struct record **records; size_t count, room;
	unsigned *unit, *block;
	unsigned units;
};

static int small_collect(struct fs *fs, struct txn *txn, struct small *ret_small)
{
	struct small s = { 0 };
	unsigned block = 0;
	pthread_mutex_lock(&fs->lock);
	while (!list_empty(&txn->records)) {
		struct record *record = container_of(txn->records.next, struct record, link);
		struct record **slot = vector_add(&s.records, &s.count, &s.room, sizeof *slot);
		if (!slot)
			break;
		*slot = record_ref(record);
		list_remove(&record->link);
		txn->record_bytes -= record->blocks * BLOCK_BYTES;
		record->state = RECORD_PLACING;
	}
	bool all = list_empty(&txn->records);
	pthread_mutex_unlock(&fs->lock);
	s.unit = calloc(s.count ? s.count : 1, sizeof *s.unit);
	s.block = calloc(s.count ? s.count : 1, sizeof *s.block);
	for (size_t i = 0; i < s.count && s.unit && s.block; i++) {
		if (block + s.records[i]->blocks > UNIT_BLOCKS) {
			s.units++;
			block = 0;
		}
		s.unit[i] = s.units;
		s.block[i] = block;
		block += s.records[i]->blocks;
	}
	s.units += block > 0;
	*ret_small = s;
	return all && s.unit && s.block ? 0 : -ENOMEM;
}

static int small_seal(struct fs *fs, struct small *s, struct pack *pack)
{
	struct seal_batch batch;
	uint32_t index = 0;
	int r = 0;
	if (s->count == 0)
		return 0;
	seal_batch_begin(&fs->keys->data, fs->env, &batch);
	for (size_t i = 0; i < s->count && r == 0; i++) {
		struct record *record = s->records[i];
		place_seal_one(&batch, index, record, pack_memory(pack, s->unit[i]) + (size_t)s->block[i] * BLOCK_BYTES);
		index += record->split ? record->blocks : 1;
		record->address = pack_address(pack, s->unit[i]) + s->block[i];
		r = place_own(pack, record, s->unit[i], s->block[i]);
	}
	seal_batch_end(&batch);
	return r;
}

static void small_end(struct fs *fs, struct small *s)
{
	for (size_t i = 0; i < s->count; i++)
		record_unref(fs, s->records[i]);
	free(s->records);
	free(s->unit);
	free(s->block);
}

static unsigned half_row_bytes(const struct fs *fs)
{
	return band_row_blocks(&fs->config->bands[0]) * BLOCK_BYTES / 2;
}

static int write_file_tree(struct commit *c)
{
	struct fs *fs = c->fs;
	struct txn *txn = c->txn;
	struct dirty_nodes nodes = { 0 };
	struct small small = { 0 };
	struct pack pack = { .fs = fs };
	int r = 0;
	pthread_mutex_lock(&fs->lock);
	bool much = txn->record_bytes > half_row_bytes(fs);
	pthread_mutex_unlock(&fs->lock);
	if (much)
		r = place_all(fs, txn);
	if (r == 0)
		r = small_collect(fs, txn, &small);
	pthread_mutex_lock(&fs->lock);
	if (r == 0)
		r = serialize_collect(fs, c->file_root, txn->generation, &nodes);
	pthread_mutex_unlock(&fs->lock);
	unsigned units = small.units + (unsigned)nodes.count;
	if (r == 0 && units > 0)
		r = pack_begin(fs, units, &pack);
	if (r == 0)
		r = small_seal(fs, &small, &pack);
	if (r == 0)
		r = serialize_nodes(fs, &nodes, txn->generation, &pack, small.units);
	if (r == 0)
		r = pack_write(&pack);
	pthread_mutex_lock(&fs->lock);
	if (r == 0)
		r = pack_hand_over(&pack, &txn->runs, &txn->run_count, &txn->run_room, false);
	if (r == 0) {
		for (size_t i = 0; i < small.count; i++)
			small.records[i]->state = RECORD_PLACED;
		serialize_finish(fs, &nodes, txn->generation);
	}
	serialize_release(fs, &nodes);
	pthread_mutex_unlock(&fs->lock);
	small_end(fs, &small);
	pack_end(&pack);
	return r;
}

/* ---- Bitmaps and row items ---- */

/* Runs a body on the system tree until it no longer misses. */
#define SYSTEM_BODY(fs, r, body) do { \
	struct op op_; \
	op_begin((fs), &op_, OP_READ, 0); \
	do \
		(r) = (body); \
	while (op_retry(&op_, &(r))); \
	op_end(&op_); \
} while (0)

static int enter_runs(struct fs *fs, struct run *runs, size_t count, uint64_t generation)
{
	pthread_mutex_lock(&fs->lock);
	for (size_t i = 0; i < count; i++)
		alloc_set(fs, &runs[i]);
	pthread_mutex_unlock(&fs->lock);
	for (size_t i = 0; i < count; i++) {
		int r;
		SYSTEM_BODY(fs, r, alloc_store_run(fs, &runs[i], generation));
		if (r < 0)
			return r;
	}
	return 0;
}

/* The pending records of the last commit have been entered: with this one they are no longer needed. */
static int free_old_pending(struct fs *fs)
{
	for (size_t i = 0; i < fs->pending_run_count; i++) {
		const struct run *run = &fs->pending_runs[i];
		for (unsigned o = 0; o < run->owner_count; o++) {
			if (run->owners[o].level != ROW_OWNER_PENDING)
				continue;
			struct freed *f = vector_add(&fs->system_freed, &fs->system_freed_count, &fs->system_freed_room, sizeof *f);
			if (!f)
				return -ENOMEM;
			const struct band *b = &fs->config->bands[run->rows.band];
			*f = (struct freed){ band_row_address(b, run->rows.row) + le16_get(run->owners[o].start_block), UNIT_BLOCKS };
		}
	}
	return 0;
}

static int clear_blocks(struct commit *c, address from, uint32_t blocks)
{
	struct fs *fs = c->fs;
	int r;
	SYSTEM_BODY(fs, r, alloc_clear(fs, from, blocks));
	if (r < 0)
		return r;
	struct freed *f = vector_add(&c->release->freed, &c->release->count, &c->release->room, sizeof *f);
	if (!f)
		return -ENOMEM;
	*f = (struct freed){ from, blocks };
	return 0;
}

static int clear_all(struct commit *c)
{
	struct fs *fs = c->fs;
	struct txn *txn = c->txn;
	int r = 0;
	for (size_t i = 0; i < fs->pending_freed_count && r == 0; i++)
		r = clear_blocks(c, fs->pending_freed[i].address, fs->pending_freed[i].blocks);
	for (size_t i = 0; i < txn->freed_count && r == 0; i++)
		r = clear_blocks(c, txn->freed[i].address, txn->freed[i].blocks);
	for (size_t i = 0; i < txn->later_count && r == 0; i++) {
		const struct freed_later *l = &txn->later[i];
		if (l->record)
			r = clear_blocks(c, l->record->address + l->first, l->count);
		else
			r = clear_blocks(c, le64_get(l->node->pointer.address), UNIT_BLOCKS);
	}
	return r;
}

/* System nodes that relocation wants moved become dirty here: only the commit changes the system tree. */
static int touch_nodes(struct fs *fs)
{
	int r = 0;
	pthread_mutex_lock(&fs->lock);
	struct touch *touches = fs->touches;
	size_t count = fs->touch_count;
	fs->touches = NULL;
	fs->touch_count = fs->touch_room = 0;
	pthread_mutex_unlock(&fs->lock);
	for (size_t i = 0; i < count && r == 0; i++)
		SYSTEM_BODY(fs, r, tree_touch(fs, &fs->system, &touches[i].key, touches[i].level, touches[i].at));
	free(touches);
	return r;
}

static int update_bitmaps(struct commit *c)
{
	struct fs *fs = c->fs;
	int r = touch_nodes(fs);
	if (r == 0)
		r = enter_runs(fs, fs->pending_runs, fs->pending_run_count, fs->tree_generation);
	if (r == 0)
		r = free_old_pending(fs);
	if (r == 0)
		r = enter_runs(fs, c->txn->runs, c->txn->run_count, c->txn->generation);
	pthread_mutex_lock(&fs->lock);
	c->txn->placed_blocks = 0;       /* they count as live now */
	pthread_mutex_unlock(&fs->lock);
	if (r == 0)
		r = clear_all(c);
	if (r == 0)
		SYSTEM_BODY(fs, r, scrub_store(fs));
	if (r < 0)
		return r;
	do
		SYSTEM_BODY(fs, r, alloc_store_some(fs));
	while (r == 1);
	if (r < 0)
		return r;
	do
		SYSTEM_BODY(fs, r, alloc_store_band(fs));
	while (r == 1);
	return r;
}

/* ---- The system tree, pending records, root ---- */

static void pending_forget(struct fs *fs)
{
	for (size_t i = 0; i < fs->pending_run_count; i++)
		free(fs->pending_runs[i].owners);
	fs->pending_run_count = fs->pending_freed_count = 0;
}

static int write_system_tree(struct commit *c)
{
	struct fs *fs = c->fs;
	struct dirty_nodes nodes = { 0 };
	struct pack pack = { 0 };
	pthread_mutex_lock(&fs->lock);
	int r = serialize_collect(fs, fs->system.root, c->txn->generation, &nodes);
	pthread_mutex_unlock(&fs->lock);
	unsigned records = pending_records(c->txn->run_count, nodes.count, fs->system_freed_count);
	if (r == 0)
		r = pack_begin(fs, (unsigned)nodes.count + records, &pack);
	if (r == 0)
		r = serialize_nodes(fs, &nodes, c->txn->generation, &pack, 0);
	if (r == 0)
		r = pending_write(fs, c->txn, &pack, (unsigned)nodes.count, records, &c->body.pending);
	if (r == 0)
		r = pack_write(&pack);
	pthread_mutex_lock(&fs->lock);
	if (r == 0) {
		pending_forget(fs);
		r = pack_hand_over(&pack, &fs->pending_runs, &fs->pending_run_count, &fs->pending_run_room, true);
	}
	if (r == 0)
		serialize_finish(fs, &nodes, c->txn->generation);
	serialize_release(fs, &nodes);
	pthread_mutex_unlock(&fs->lock);
	pack_end(&pack);
	return r;
}

static int write_root(struct commit *c)
{
	struct fs *fs = c->fs;
	struct root_header header = { .generation = c->txn->generation, .predecessor = fs->root_generation,
		.tree = c->txn->generation, .tree_before = fs->older ? fs->newest_tree : fs->tree_generation };
	uint8_t record[ROOT_BYTES];
	bool all;
	pthread_mutex_lock(&fs->lock);
	int r = fs->error;               /* a placement may have left something half done */
	log_name(fs, &c->body);
	c->body.file_tree = c->file_root->pointer;
	c->body.file_level = c->file_root->level;
	c->body.system_tree = fs->system.root->pointer;
	c->body.system_level = fs->system.root->level;
	c->body.live_blocks = le64_put(fs->alloc.live_blocks);
	c->body.capacity_blocks = le64_put(fs->alloc.capacity_blocks);
	c->body.alloc_cursor = le64_put(address_make(fs->config->bands[fs->alloc.cursor_band].id, fs->alloc.cursor_row));
	pthread_mutex_unlock(&fs->lock);
	if (r == 0)
		r = array_flush(fs->array, c->txn->generation);
	if (r < 0)
		return r;
	array_fill_root(fs->array, &header);
	root_seal_record(fs->keys, fs->env, &header, &c->body, record);
	r = array_write_root(fs->array, record, &all);
	if (r < 0)
		return r;
	pthread_mutex_lock(&fs->lock);
	if (!all)
		txn_mark_dirty(fs);      /* the next root, soon, names out the member that this one could not reach */
	pthread_mutex_unlock(&fs->lock);
	return 0;
}

/* ---- Freeze, finish ---- */

void commit_release(struct fs *fs)
{
	struct release *release;
	uint64_t oldest = store_oldest_pin(fs);
	while ((release = fs->releases) && release->generation < oldest && release->generation <= fs->durable) {
		for (size_t i = 0; i < release->count; i++)
			alloc_release(fs, release->freed[i].address, release->freed[i].blocks);
		fs->releases = release->next;
		free(release->freed);
		free(release);
		pthread_cond_broadcast(&fs->progress);
	}
}

bool commit_wait_release(struct fs *fs)
{
	if (fs->simple || !fs->releases || fs->releases->generation > fs->durable || fs->error)
		return false;
	blocking_begin(BLOCKING_FOR_THREAD);
	pthread_cond_wait(&fs->progress, &fs->lock);
	return true;
}

static int freeze(struct commit *c)
{
	struct fs *fs = c->fs;
	struct txn *next = txn_new(fs->open->generation + 1);
	struct release *release = calloc(1, sizeof *release);
	if (!next || !release) {
		txn_free(next);
		free(release);
		return -ENOMEM;
	}
	c->release = release;
	c->txn = fs->committing = fs->open;
	fs->open = next;
	fs->file.txn = next->generation;
	fs->system.txn = c->txn->generation;
	c->file_root = node_ref(fs->file.root);
	c->release->generation = c->txn->generation;
	c->body = (struct root_body){
		.reserved_blocks = le64_put(fs->reserved_blocks),
		.inodes = le64_put(fs->inode_count),
		.next_object = le64_put(fs->next_object),
	};
	while (c->txn->placing > 0)
		pthread_cond_wait(&fs->progress, &fs->lock);
	return fs->error;
}

static void append_release(struct fs *fs, struct release *release)
{
	struct release **p = &fs->releases;
	while (*p)
		p = &(*p)->next;
	*p = release;
}

/* The generation is durable. Lock held. */
static void succeed(struct commit *c)
{
	struct fs *fs = c->fs;
	fs->tree_before = fs->tree_generation;
	fs->tree_generation = fs->root_generation = fs->durable = c->txn->generation;
	fs->root_body = c->body;
	free(fs->pending_freed);
	fs->pending_freed = fs->system_freed;
	fs->pending_freed_count = fs->system_freed_count;
	fs->pending_freed_room = fs->system_freed_room;
	fs->system_freed = NULL;
	fs->system_freed_count = fs->system_freed_room = 0;
	append_release(fs, c->release);
	c->release = NULL;
	log_retire(fs);
	commit_release(fs);
}

static void finish(struct commit *c, int r)
{
	struct fs *fs = c->fs;
	pthread_mutex_lock(&fs->lock);
	if (r == 0)
		succeed(c);
	else
		fs_give_up(fs, r, "a generation could not be committed");
	for (size_t i = 0; i < c->txn->later_count; i++) {
		record_unref(fs, c->txn->later[i].record);
		node_unref(fs, c->txn->later[i].node);
	}
	node_unref(fs, c->file_root);
	while (!list_empty(&c->txn->records))
		list_remove(c->txn->records.next);
	fs->committing = NULL;
	cache_trim(fs);
	txn_free(c->txn);
	if (c->release)
		free(c->release->freed);
	free(c->release);
	pthread_cond_broadcast(&fs->progress);
	pthread_mutex_unlock(&fs->lock);
}

int commit_run(struct fs *fs)
{
	SCOPED_LOCK(&fs->commit_lock);
	struct commit c = { .fs = fs };
	pthread_mutex_lock(&fs->lock);
	bool dirty = fs->open->dirty;
	int r = fs->error;
	pthread_mutex_unlock(&fs->lock);
	if (r < 0 || !dirty)
		return r;
	inode_store_atimes(fs);          /* a courtesy: what fails is tried again with the next */
	r = commit_open(fs);
	pthread_mutex_lock(&fs->lock);
	if (r == 0)
		r = freeze(&c);
	if (!c.txn)
		fs_give_up(fs, r, "a commit could not begin");
	pthread_mutex_unlock(&fs->lock);
	if (!c.txn)
		return r;
	if (r == 0)
		r = write_file_tree(&c);
	if (r == 0)
		r = update_bitmaps(&c);
	if (r == 0)
		r = write_system_tree(&c);
	if (r == 0)
		r = write_root(&c);
	finish(&c, r);
	return r;
}
