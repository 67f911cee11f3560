/* Replay of the intent log at open, or by fsck when it has seen to what it needs.  See log.h.
 *
 * The records are applied to the trees in memory, in their order, entries of each in the order of their kinds; there is no code for
 * any single operation.  A commit may come between two records when memory is short: its root then names the next
 * one.  After the last one a commit ends the old log.
 *
 * Data needs nothing of what was there before (a record that cannot be read is cut).  Items lie in leaves: a leaf that cannot be read
 * stops an ordinary replay.  Repair cuts such nodes out first, and then all items have a place.  An inode of the log whose old
 * item was in such a node has lost the extents that were: it keeps the count of blocks that the log says, so that the check
 * sees that some are missing.  In a salvage mount the nodes are hollow (fs/tree/cache.h) and take what the log has, also data of a file
 * whose extents are not known: block by block. */
#include "fs/data/data.h"
#include "fs/log/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct revived { uint64_t object, blocks; bool changed; };

struct replay {
	struct fs *fs;
	enum log_effort effort;
	struct log_replayed *out;
	struct revived *revived; size_t revived_count, revived_room;
};

/* Runs a body until it no longer misses. */
#define REPLAY_BODY(fs, r, body) do { \
	struct op op_; \
	op_begin((fs), &op_, OP_MODIFY, 0); \
	do \
		(r) = (body); \
	while (op_retry(&op_, &(r))); \
	op_end(&op_); \
} while (0)

/* ---- Items ---- */

static int delete_item(struct fs *fs, const struct key *key)
{
	struct item item;
	int r = tree_prepare(fs, &fs->file, key);
	if (r == 0)
		r = tree_lookup(fs, &fs->file, key, &item);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	fs->inode_count -= key->type == ITEM_INODE;
	return inode_changed(fs, tree_delete(fs, &fs->file, key));
}

static struct revived *find_revived(struct replay *p, uint64_t object)
{
	for (size_t i = 0; i < p->revived_count; i++)
		if (p->revived[i].object == object)
			return &p->revived[i];
	return NULL;
}

/* What the inode item says of blocks is only right together with the extents of that moment. */
static int note_revived(struct replay *p, const struct log_item *entry, bool is_new)
{
	const struct inode_item *inode = (const struct inode_item *)entry->bytes;
	struct revived *revived = find_revived(p, entry->key.object);
	if (!revived && (!is_new || entry->key.object >= le64_get(p->fs->root_body.next_object)))
		return 0;
	if (!revived)
		revived = vector_add(&p->revived, &p->revived_count, &p->revived_room, sizeof *revived);
	if (!revived)
		return -ENOMEM;
	*revived = (struct revived){ entry->key.object, le64_get(inode->blocks), true };
	return 0;
}

static int put_item(struct replay *p, const struct log_item *entry)
{
	struct fs *fs = p->fs;
	struct inode_item inode;
	struct item old;
	const void *value = entry->bytes;
	bool is_new = false;
	int r = tree_prepare(fs, &fs->file, &entry->key);
	if (r == 0 && entry->key.type == ITEM_INODE) {
		memcpy(&inode, entry->bytes, sizeof inode);
		r = tree_lookup(fs, &fs->file, &entry->key, &old);
		is_new = r == -ENOENT;
		inode.blocks = r == 0 ? ((const struct inode_item *)old.value)->blocks : le64_put(0);
		if (is_new || (r == -EIO && p->effort == LOG_SALVAGE))
			r = 0;
		if (r == 0 && p->effort == LOG_REPAIR)
			r = note_revived(p, entry, is_new);
		value = &inode;
	}
	if (r < 0)
		return r;
	fs->inode_count += is_new;
	txn_mark_dirty(fs);
	return inode_changed(fs, tree_put(fs, &fs->file, &entry->key, value, entry->length_bytes));
}

static int set_blocks(struct fs *fs, const struct revived *revived)
{
	struct inode inode;
	int r = inode_load(fs, revived->object, &inode);
	if (r == 0)
		r = inode_prepare(fs, revived->object);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	inode.blocks = revived->blocks;
	return inode_changed(fs, inode_store(fs, &inode));
}

static int set_revived(struct replay *p)
{
	int r = 0;
	for (size_t i = 0; i < p->revived_count && r == 0; i++) {
		if (!p->revived[i].changed)
			continue;
		REPLAY_BODY(p->fs, r, set_blocks(p->fs, &p->revived[i]));
		p->revived[i].changed = false;
	}
	return r;
}

/* ---- Data ---- */

static int apply_cut(struct fs *fs, const struct log_item *entry)
{
	int r = data_cut_blocks(fs, entry->key.object, entry->key.offset, entry->key.offset + entry->count);
	return r == -ENOENT ? 0 : r;     /* made and removed since: it never had anything */
}

/* A block where it is not known what else the file has. */
static int put_block(struct fs *fs, struct record *record, uint64_t object, uint64_t block)
{
	struct key key = key_make(object, ITEM_EXTENT, block);
	struct inode inode;
	struct item item;
	int r = inode_load(fs, object, &inode);
	if (r == 0)
		r = tree_prepare(fs, &fs->file, &key);
	if (r == 0)
		r = tree_lookup(fs, &fs->file, &key, &item);
	if (r != -EIO && r != -ENOENT)
		return r == 0 ? -EEXIST : r;
	return record_put(fs, record);
}

static int put_blocks(struct fs *fs, const struct log_item *entry)
{
	int r = 0;
	for (uint64_t i = 0; i < entry->count && r == 0; i++) {
		uint64_t block = entry->key.offset + i;
		struct record *record = record_new_of(entry->key.object, block * BLOCK_BYTES, entry->bytes + i * BLOCK_BYTES, BLOCK_BYTES);
		if (!record)
			return -ENOMEM;
		REPLAY_BODY(fs, r, put_block(fs, record, entry->key.object, block));
		record_unref(fs, record);
	}
	return r;
}

/* May it go on without this? */
static bool may_skip(const struct replay *p, int r)
{
	if (p->effort == LOG_SALVAGE)
		return r != -ENOMEM;
	return p->effort == LOG_REPAIR && (r == -ENOENT || r == -EUCLEAN || r == -EISDIR || r == -EINVAL);
}

/* Blocks that find no file. */
static void skip(struct replay *p, const struct log_item *entry)
{
	p->out->skipped++;
	if (p->out->on_skip)
		p->out->on_skip(p->out->ctx, entry->key.object, entry->key.offset, entry->count);
}

static int apply(struct replay *p, const struct log_item *entry)
{
	struct fs *fs = p->fs;
	int r = -EUCLEAN;
	switch (entry->kind) {
	case LOG_CUT:
		r = apply_cut(fs, entry);
		break;
	case LOG_DELETE:
		REPLAY_BODY(fs, r, delete_item(fs, &entry->key));
		break;
	case LOG_ITEM:
		REPLAY_BODY(fs, r, put_item(p, entry));
		return r;
	case LOG_RESERVE:
		r = data_reserve(fs, entry->key.object, entry->key.offset * BLOCK_BYTES, (entry->key.offset + entry->count) * BLOCK_BYTES, false);
		break;
	case LOG_DATA:
		r = data_put_blocks(fs, entry->key.object, entry->bytes, entry->key.offset, entry->count);
		if (r == -EIO && p->effort == LOG_SALVAGE)
			r = put_blocks(fs, entry);
		if (r < 0 && may_skip(p, r))
			skip(p, entry);
		break;
	}
	return r < 0 && may_skip(p, r) ? 0 : r;
}

/* ---- Records ---- */

static int apply_record(struct replay *p, const uint8_t *record)
{
	const struct log_header *header = (const struct log_header *)record;
	struct log_reader reader;
	struct log_item entry;
	int more, r = log_read_begin(record + sizeof *header, le32_get(header->length_bytes) - sizeof *header, &reader);
	if (r < 0)
		return r;
	while ((more = log_read_next(&reader, &entry)) == 1) {
		p->fs->has_unread = false;
		r = apply(p, &entry);
		p->out->has_unread |= p->fs->has_unread;
		if (r < 0) {
			p->out->object = entry.key.object;
			return r;
		}
	}
	if (reader.next_object > p->fs->next_object)
		p->fs->next_object = reader.next_object;
	return more < 0 ? more : set_revived(p);
}

int log_find(struct fs *fs)
{
	struct log *log = fs->log;
	struct log_chain chain;
	int r = log_chain_begin(fs, &fs->root_body, &chain);
	if (r < 0)
		return r;
	log->next = chain.next;
	log->at_bytes = chain.at_bytes;
	r = log_chain_next(&chain);
	log->found = log->waits = r == 1 || chain.damaged;
	log_chain_end(&chain);
	return r < 0 ? r : 0;
}

static int apply_all(struct replay *p, struct log_chain *chain)
{
	struct fs *fs = p->fs;
	int more;
	while ((more = log_chain_next(chain)) == 1) {
		if (!log_record_valid(chain->record)) {
			p->out->damaged = true;
			return 0;
		}
		int r = apply_record(p, chain->record);
		if (r < 0)
			return r;
		fs->log->next = chain->next;
		fs->log->at_bytes = chain->at_bytes;
		p->out->records++;
		if (!fs->read_only && fs_dirty_bytes(fs) > fs->options.dirty_bytes) {
			r = commit_run(fs);
			if (r < 0)
				return r;
		}
	}
	p->out->damaged = chain->damaged;
	return more;
}

/* Even if a commit came after the last record: only this one ends the old log. */
static int end_log(struct fs *fs)
{
	pthread_mutex_lock(&fs->lock);
	fs->log->waits = false;
	txn_mark_dirty(fs);
	pthread_mutex_unlock(&fs->lock);
	return commit_run(fs);
}

int log_replay(struct fs *fs, enum log_effort effort, struct log_replayed *out)
{
	struct log *log = fs->log;
	struct replay replay = { .fs = fs, .effort = effort, .out = out };
	struct log_chain chain;
	if (!log->waits)
		return 0;
	int r = log_chain_begin(fs, &fs->root_body, &chain);
	if (r < 0)
		return r;
	fs->has_unread = false;
	log->replaying = true;
	r = apply_all(&replay, &chain);
	log->replaying = false;
	log_chain_end(&chain);
	free(replay.revived);
	if (r == 0 && !fs->read_only && !(out->damaged && effort == LOG_ALL))
		r = end_log(fs);
	if (r == 0 && out->damaged && effort == LOG_REPAIR)
		log_clear_start(fs);
	out->has_unread |= r < 0 && fs->has_unread;
	out->unread = fs->unread;
	return r;
}
