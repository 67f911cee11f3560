/* Writing the intent log.  See log.h.
 *
 * Those who want an fsync queue up.  The thread that finds nobody at work leads: it makes one record for all who wait, writes it
 * without the lock, and tells them; then one for those who came meanwhile, and so on until nobody waits.  So waiting fsyncs share
 * a flush, and no other thread is woken for one. */
#include "base/blocking.h"
#include "fs/data/data.h"
#include "fs/log/log.h"
#include "fs/tree/recordimpl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Not an errno: only a commit makes this durable. */
#define NEEDS_COMMIT 1

struct log_waiter {
	struct log_waiter *next;
	uint64_t object;
	log_done done;
	void *ctx;
};

int log_init(struct fs *fs)
{
	fs->log = calloc(1, sizeof *fs->log);
	if (!fs->log)
		return -ENOMEM;
	pthread_cond_init(&fs->log->changed, NULL);
	return 0;
}

void log_free(struct fs *fs)
{
	if (!fs->log)
		return;
	iobuf_unref(fs->log->buf);
	pthread_cond_destroy(&fs->log->changed);
	free(fs->log);
	fs->log = NULL;
}

/* ---- Making a record ---- */

struct making {
	struct fs *fs;
	struct changes *changes;
	struct log_writer writer;
};

/* The size that the log gives to the object: what rests on data that it does not hold is left out. */
static uint64_t logged_size(const struct changed *changed, uint64_t size_bytes)
{
	if (!changed || changed->whole || !changed->data.count)
		return size_bytes;
	uint64_t end_bytes = changed->data.items[changed->data.count - 1].to * BLOCK_BYTES;
	return end_bytes > changed->covered_bytes && size_bytes > changed->covered_bytes ? changed->covered_bytes : size_bytes;
}

static int load_inode(struct making *m, uint64_t object, struct inode *ret_inode)
{
	if (object == OBJECT_ORPHANS)
		return -ENOENT;
	return inode_load(m->fs, object, ret_inode);
}

static void add_range(struct making *m, enum log_kind kind, uint64_t object, const struct range *range)
{
	struct key key = key_make(object, ITEM_EXTENT, range->from);
	log_add(&m->writer, kind, &key, range->to - range->from, 0);
}

static void add_ranges(struct making *m, enum log_kind kind)
{
	for (size_t i = 0; i < changes_object_count(m->changes); i++) {
		const struct changed *changed = changes_object_at(m->changes, i);
		const struct ranges *ranges = kind == LOG_CUT ? &changed->cuts : &changed->reserved;
		for (unsigned k = 0; k < ranges->count; k++)
			add_range(m, kind, changed->object, &ranges->items[k]);
	}
}

/* Gives the inode the size that the log may say, and remembers it: so the same comes out when the record is made once more. */
static void limit_size(struct making *m, uint64_t object, struct inode_item *inode)
{
	struct changed *changed = changes_find(m->changes, object);
	uint64_t size_bytes = le64_get(inode->size_bytes), logged_bytes = logged_size(changed, size_bytes);
	inode->size_bytes = le64_put(logged_bytes);
	if (changed) {
		changed->covered_bytes = logged_bytes;
		changed->partial = logged_bytes < size_bytes;
	}
}

/* Deletions, or items that are there. */
static int add_items(struct making *m, bool there)
{
	for (size_t i = 0; i < changes_key_count(m->changes) && !m->writer.full; i++) {
		const struct key *key = changes_key_at(m->changes, i);
		struct item item;
		int r = tree_lookup(m->fs, &m->fs->file, key, &item);
		if (r < 0 && r != -ENOENT)
			return r;
		if ((r == 0) != there)
			continue;
		void *value = log_add(&m->writer, there ? LOG_ITEM : LOG_DELETE, key, 0, there ? item.bytes : 0);
		if (value && there)
			memcpy(value, item.value, item.bytes);
		if (value && there && key->type == ITEM_INODE)
			limit_size(m, key->object, value);
	}
	return 0;
}

/* Blocks [from, to) of a dirty record, zeros from limit_bytes on. */
static void add_blocks(struct making *m, struct record *record, uint64_t from, uint64_t to, uint64_t limit_bytes)
{
	struct key key = key_make(record->object, ITEM_EXTENT, from);
	unsigned bytes = (unsigned)(to - from) * BLOCK_BYTES;
	uint8_t *value = log_add(&m->writer, LOG_DATA, &key, to - from, bytes);
	if (!value)
		return;
	memcpy(value, record->data + (from - record->block) * BLOCK_BYTES, bytes);
	if (limit_bytes < to * BLOCK_BYTES)
		memset(value + (limit_bytes - from * BLOCK_BYTES), 0, (size_t)(to * BLOCK_BYTES - limit_bytes));
}

/* The data of one range that lies below limit_bytes. NEEDS_COMMIT if some of it is not in memory any more. */
static int add_data(struct making *m, uint64_t object, const struct range *range, uint64_t limit_bytes)
{
	uint64_t limit = (limit_bytes + BLOCK_BYTES - 1) / BLOCK_BYTES;
	struct extent extent;
	int r = 0;
	limit = limit < range->to ? limit : range->to;
	struct extent_walk walk = { .ino = object, .block = range->from, .limit = limit };
	while (!m->writer.full && (r = extent_walk_next(m->fs, &walk, &extent)) == 0) {
		uint64_t start = extent.block > range->from ? extent.block : range->from;
		if (extent_placed(extent.item.value))
			return NEEDS_COMMIT;
		if (extent.kind == EXTENT_DIRTY)
			add_blocks(m, record_of(&extent.item), start, walk.block < limit ? walk.block : limit, limit_bytes);
	}
	return r == -ENOENT ? 0 : r;
}

static int add_ranges_data(struct making *m, uint64_t object, const struct ranges *ranges, uint64_t limit_bytes)
{
	int r = 0;
	for (unsigned k = 0; k < ranges->count && r == 0; k++)
		r = add_data(m, object, &ranges->items[k], limit_bytes);
	return r;
}

static int add_all_data(struct making *m)
{
	for (size_t i = 0; i < changes_object_count(m->changes) && !m->writer.full; i++) {
		struct changed *changed = changes_object_at(m->changes, i);
		struct inode inode;
		if (!changed->forced.count && !(changed->whole && changed->data.count))
			continue;
		int r = load_inode(m, changed->object, &inode);
		if (r == -ENOENT)
			continue;
		uint64_t limit_bytes = r == 0 ? logged_size(changed, inode.size_bytes) : 0;
		if (r == 0)
			r = add_ranges_data(m, changed->object, &changed->forced, limit_bytes);
		if (r == 0 && changed->whole)
			r = add_ranges_data(m, changed->object, &changed->data, limit_bytes);
		if (r != 0)
			return r;
	}
	return 0;
}

/* Data of the files that are waited for must be in it, and then their inodes' full sizes.  Who waits for the root directory waits for
 * all: on a mount that is not told of syncfs, this is how to ask for it. */
static void mark_whole(struct making *m)
{
	bool all = false;
	for (const struct log_waiter *w = m->fs->log->waiters; w; w = w->next) {
		all |= w->object == OBJECT_ROOT;
		if (changes_find(m->changes, w->object))
			changes_force_whole(m->changes, w->object);
	}
	for (size_t i = 0; i < changes_object_count(m->changes); i++) {
		struct changed *changed = changes_object_at(m->changes, i);
		struct key key = key_make(changed->object, ITEM_INODE, 0);
		changed->whole |= all;
		if (changed->whole && changed->partial)
			changes_key(m->changes, &key);
	}
}

/* The record of all that was noted. Lock held; may TREE_MISS, and be made once more. NEEDS_COMMIT: it does not fit. */
static int make_record(struct making *m, uint64_t room_bytes)
{
	struct log *log = m->fs->log;
	log_begin(&m->writer, log->buf->data, room_bytes < LOG_RECORD_BYTES_MAX ? room_bytes : LOG_RECORD_BYTES_MAX);
	mark_whole(m);
	if (changes_lost(m->changes))
		return NEEDS_COMMIT;
	add_ranges(m, LOG_CUT);
	int r = add_items(m, false);
	if (r == 0)
		r = add_items(m, true);
	add_ranges(m, LOG_RESERVE);
	if (r == 0)
		r = add_all_data(m);
	return r == 0 && m->writer.full ? NEEDS_COMMIT : r;
}

/* ---- Writing it ---- */

static int get_ready(struct fs *fs)
{
	struct log *log = fs->log;
	if (!log->buf)
		log->buf = iobuf_new(LOG_RECORD_BYTES_MAX);
	if (!log->buf)
		return NEEDS_COMMIT;
	if (log->has_mirrors)
		return array_log_mirrors_work(fs->array, log->mirrors) ? 0 : NEEDS_COMMIT;
	log->has_mirrors = array_log_mirrors(fs->array, (unsigned)fs->open->generation, log->mirrors) == 0;
	return log->has_mirrors ? 0 : NEEDS_COMMIT;
}

/* Lock held; the record is in log->buf. Drops the lock meanwhile. */
static int seal_and_write(struct making *m)
{
	struct fs *fs = m->fs;
	struct log *log = fs->log;
	struct log_header *header = (struct log_header *)log->buf->data;
	struct log_place place = { .sequence = log->next.sequence, .transaction = fs->open->generation, .flushed = log->flushed };
	memcpy(place.mount, log->next.mount, sizeof place.mount);
	memcpy(place.previous_tag, log->next.tag, sizeof place.previous_tag);
	log_end(&m->writer, &place, fs->next_object);
	log->in_flight = true;
	log->next.sequence++;
	uint64_t at_bytes = log->at_bytes;
	log->at_bytes += m->writer.used_bytes;
	pthread_mutex_unlock(&fs->lock);
	nonce_draw(fs->env, header->nonce, sizeof header->nonce);
	log_seal(fs->keys, header->nonce, header, LOG_AD_BYTES, header + 1, m->writer.used_bytes - sizeof *header, header->tag);
	int r = array_log_write(fs->array, log->mirrors, at_bytes, log->buf, m->writer.used_bytes);
	pthread_mutex_lock(&fs->lock);
	memcpy(log->next.tag, header->tag, sizeof log->next.tag);
	log->in_flight = false;
	pthread_cond_broadcast(&log->changed);
	if (r < 0) {
		log->failed = true;
		iobuf_unref(log->buf);
		log->buf = NULL;
		return NEEDS_COMMIT;
	}
	log->flushed = place.sequence;
	return 0;
}

/* Makes one record for all who wait. Lock held, dropped meanwhile.  0 or NEEDS_COMMIT. */
static int lead_once(struct fs *fs, struct log_waiter **ret_served)
{
	struct log *log = fs->log;
	struct op op = { .fs = fs, .kind = OP_READ };
	struct making m = { .fs = fs };
	int r = fs->error;
	do {
		while ((fs->committing || log->held) && !fs->error) {
			blocking_begin(BLOCKING_FOR_THREAD);
			pthread_cond_wait(&fs->progress, &fs->lock);
		}
		m.changes = fs->open->changes;
		uint64_t left_bytes = array_log_bytes(fs->array) - log->at_bytes;
		if (fs->error || log->failed || changes_lost(m.changes) || left_bytes < BLOCK_BYTES)
			r = NEEDS_COMMIT;
		else if (!changes_any(m.changes))
			r = -ENODATA;
		else
			r = get_ready(fs);
		if (r == 0)
			r = make_record(&m, left_bytes);
	} while (op_retry(&op, &r));
	*ret_served = log->waiters;
	log->waiters = NULL;
	if (r == -ENODATA)
		return 0;
	if (r != 0)
		return NEEDS_COMMIT;
	changes_forget(m.changes);
	return seal_and_write(&m);
}

/* ---- For fsync ---- */

static void tell(struct log_waiter *list, int result)
{
	while (list) {
		struct log_waiter *next = list->next;
		list->done(list->ctx, result);
		free(list);
		list = next;
	}
}

/* Serves all who wait now. Lock held, dropped meanwhile. */
static void lead(struct fs *fs)
{
	struct log *log = fs->log;
	struct log_waiter *served = NULL;
	int r = 0;
	if (!log->own) {
		pthread_mutex_unlock(&fs->lock);
		r = commit_open(fs);
		pthread_mutex_lock(&fs->lock);
	}
	if (r == 0 && log->own)
		r = lead_once(fs, &served);
	else {
		r = NEEDS_COMMIT;
		served = log->waiters;
		log->waiters = NULL;
	}
	struct log_waiter *riders = log->riders;
	log->riders = NULL;
	pthread_mutex_unlock(&fs->lock);
	if (r == NEEDS_COMMIT)
		r = fs_sync(fs);
	tell(served, r);
	tell(riders, r);
	pthread_mutex_lock(&fs->lock);
}

static bool concerns(const struct changes *changes, uint64_t object)
{
	return object == OBJECT_ROOT ? changes_any(changes) : changes_concern(changes, object);
}

void log_sync(struct fs *fs, uint64_t object, log_done done, void *ctx)
{
	struct log *log = fs->log;
	struct log_waiter *self = malloc(sizeof *self);
	if (!self) {
		done(ctx, fs_sync(fs));
		return;
	}
	*self = (struct log_waiter){ .object = object, .done = done, .ctx = ctx };
	pthread_mutex_lock(&fs->lock);
	if (fs->committing || log->failed || fs->error || concerns(fs->open->changes, object)) {
		self->next = log->waiters;
		log->waiters = self;
		self = NULL;
	} else if (log->in_flight) {
		/* What was changed may be in the record that is on its way. */
		self->next = log->riders;
		log->riders = self;
		self = NULL;
	}
	bool leads = log->waiters && !log->busy;
	if (leads)
		log->busy = true;
	while (leads && log->waiters)
		lead(fs);
	if (leads)
		log->busy = false;
	pthread_mutex_unlock(&fs->lock);
	tell(self, 0);
}

/* ---- For who changes the members, and for the commit ---- */

static void wait_for_record(struct fs *fs)
{
	while (fs->log->in_flight)
		pthread_cond_wait(&fs->log->changed, &fs->lock);
}

void log_hold(struct fs *fs)
{
	fs->log->held = true;
	wait_for_record(fs);
}

void log_go_on(struct fs *fs)
{
	fs->log->held = false;
	pthread_cond_broadcast(&fs->progress);
}

void log_name_at_opening(struct fs *fs, struct root_body *body)
{
	SCOPED_LOCK(&fs->lock);
	if (!fs->log->found)
		log_name(fs, body);
}

void log_opened(struct fs *fs)
{
	SCOPED_LOCK(&fs->lock);
	fs->log->own = !fs->log->found;
}

void log_name(struct fs *fs, struct root_body *body)
{
	struct log *log = fs->log;
	wait_for_record(fs);
	if (!log->own && !log->waits) {
		struct mount_id mount = array_mount(fs->array);
		log->next = (struct log_position){ .sequence = 1 };
		memcpy(log->next.mount, mount.b, sizeof log->next.mount);
		log->at_bytes = 0;       /* a root found at open may go on elsewhere: a replay was cut off after the last of its records */
	}
	memcpy(body->log_mount, log->next.mount, sizeof body->log_mount);
	memcpy(body->log_tag, log->next.tag, sizeof body->log_tag);
	body->log_sequence = le64_put(log->next.sequence);
	body->log_offset_bytes = le64_put(log->waits ? log->at_bytes : 0);
}

void log_retire(struct fs *fs)
{
	struct log *log = fs->log;
	if (log->waits)
		return;
	log->own = true;
	log->found = log->failed = log->has_mirrors = false;
	log->at_bytes = 0;
}

void log_clear_start(struct fs *fs)
{
	struct iobuf *zeros cleanup(iobuf_unrefp) = iobuf_new(BLOCK_BYTES);
	uint8_t block[BLOCK_BYTES];
	unsigned mirrors[LOG_MIRRORS];
	if (!zeros)
		return;
	memset(zeros->data, 0, BLOCK_BYTES);
	for (unsigned turn = 0; turn < array_member_count(fs->array); turn++) {
		bool readable = true;
		if (array_log_mirrors(fs->array, turn, mirrors) < 0)
			return;
		for (unsigned i = 0; i < LOG_MIRRORS; i++)
			readable &= array_log_read(fs->array, mirrors[i], 0, block, BLOCK_BYTES) == 0;
		if (!readable)           /* what fails is told, and drops the member */
			array_log_write(fs->array, mirrors, 0, zeros, BLOCK_BYTES);
	}
}
