/* Replay of the intent log at open.  See log.h.
 *
 * The records are applied to the trees in memory, in their order, entries of each in the order of their kinds; there is no code for
 * any single operation.  A commit may come between two records when memory is short: its root then names the next
 * one.  After the last one a commit ends the old log. */
#include "fs/data/data.h"
#include "fs/log/log.h"

#include <errno.h>
#include <string.h>

/* Runs a body until it no longer misses. */
#define REPLAY_BODY(fs, r, body) do { \
	struct op op_; \
	op_begin((fs), &op_, OP_MODIFY, 0); \
	do \
		(r) = (body); \
	while (op_retry(&op_, &(r))); \
	op_end(&op_); \
} while (0)

static int apply_cut(struct fs *fs, const struct log_item *entry)
{
	int r = data_cut_blocks(fs, entry->key.object, entry->key.offset, entry->key.offset + entry->count);
	return r == -ENOENT ? 0 : r;     /* made and removed since: it never had anything */
}

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

static int put_item(struct fs *fs, const struct log_item *entry)
{
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
		r = is_new ? 0 : r;
		value = &inode;
	}
	if (r < 0)
		return r;
	fs->inode_count += is_new;
	txn_mark_dirty(fs);
	return inode_changed(fs, tree_put(fs, &fs->file, &entry->key, value, entry->length_bytes));
}

static int apply(struct fs *fs, const struct log_item *entry)
{
	int r = 0;
	switch (entry->kind) {
	case LOG_CUT:
		return apply_cut(fs, entry);
	case LOG_DELETE:
		REPLAY_BODY(fs, r, delete_item(fs, &entry->key));
		return r;
	case LOG_ITEM:
		REPLAY_BODY(fs, r, put_item(fs, entry));
		return r;
	case LOG_RESERVE:
		return data_reserve(fs, entry->key.object, entry->key.offset * BLOCK_BYTES, (entry->key.offset + entry->count) * BLOCK_BYTES, false);
	case LOG_DATA:
		return data_put_blocks(fs, entry->key.object, entry->bytes, entry->key.offset, entry->count);
	}
	return -EUCLEAN;
}

static int apply_record(struct fs *fs, const uint8_t *record)
{
	const struct log_header *header = (const struct log_header *)record;
	struct log_reader reader;
	struct log_item entry;
	int more, r = log_read_begin(record + sizeof *header, le32_get(header->length_bytes) - sizeof *header, &reader);
	if (r < 0)
		return r;
	while ((more = log_read_next(&reader, &entry)) == 1) {
		r = apply(fs, &entry);
		if (r < 0)
			return r;
	}
	if (reader.next_object > fs->next_object)
		fs->next_object = reader.next_object;
	return more;
}

int log_find(struct fs *fs)
{
	struct log_chain chain;
	int r = log_chain_begin(fs, &fs->root_body, &chain);
	if (r < 0)
		return r;
	r = log_chain_next(&chain);
	fs->log->found = r == 1 || chain.damaged;
	log_chain_end(&chain);
	return r < 0 ? r : 0;
}

static int apply_all(struct fs *fs, struct log_chain *chain, uint64_t *ret_records)
{
	struct log *log = fs->log;
	int more;
	while ((more = log_chain_next(chain)) == 1) {
		int r = apply_record(fs, chain->record);
		if (r < 0)
			return r;
		log->next = chain->next;
		log->at_bytes = chain->at_bytes;
		++*ret_records;
		if (!fs->read_only && fs_dirty_bytes(fs) > fs->options.dirty_bytes) {
			r = commit_run(fs);
			if (r < 0)
				return r;
		}
	}
	return more;
}

int log_replay(struct fs *fs, bool *ret_damaged)
{
	struct log *log = fs->log;
	struct log_chain chain;
	uint64_t records = 0;
	int r = log->found ? log_chain_begin(fs, &fs->root_body, &chain) : 0;
	if (!log->found || r < 0)
		return r;
	log->replaying = true;
	log->next = chain.next;
	log->at_bytes = chain.at_bytes;
	r = apply_all(fs, &chain, &records);
	log->replaying = false;
	*ret_damaged = chain.damaged;
	log_chain_end(&chain);
	if (r < 0)
		return r;
	if (records && !*ret_damaged)
		event_report(&fs->options.events, EVENT_WARNING, -1, "The array was not unmounted: %llu records of its intent log were replayed, "
			"nothing that was synced is lost.", (unsigned long long)records);
	if (fs->read_only)
		return 0;
	/* Even if a commit came after the last record: only this one ends the old log. */
	pthread_mutex_lock(&fs->lock);
	txn_mark_dirty(fs);
	pthread_mutex_unlock(&fs->lock);
	return *ret_damaged ? 0 : commit_run(fs);
}
