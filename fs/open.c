/* Opening and closing: from an array's probe and a secret to a filesystem, and back. */
#include "crypto/seal_engine.h"
#include "fs/fsck/repair.h"
#include "fs/log/log.h"
#include "fs/names/inode.h"
#include "fs/space/pending.h"
#include "fs/threads.h"
#include "fs/tree/recordimpl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NODE_CACHE_BYTES (UINT64_C(64) << 20)
#define DIRTY_BYTES (UINT64_C(64) << 20)
#define COMMIT_INTERVAL_MS 5000u
#define EARLY_BYTES (UINT64_C(8) << 20)

/* ---- What raid/ asks about labels, roots and promises ---- */

static bool label_ok(void *ctx, const uint8_t label[LABEL_BYTES])
{
	const struct keys *keys = ctx;
	struct label l;
	size_t bytes;
	const uint8_t *region = label_mac_region(label, &bytes);
	return label_decode(label, &l) == 0 && mac32_verify(keys->label_mac, region, bytes, l.mac) == 0;
}

static void label_mac(void *ctx, uint8_t label[LABEL_BYTES])
{
	const struct keys *keys = ctx;
	struct label l;
	size_t bytes;
	const uint8_t *region = label_mac_region(label, &bytes);
	int r = label_decode(label, &l);
	assert(r == 0);
	mac32(keys->label_mac, region, bytes, l.mac);
	label_encode(&l, label);
}

static bool root_ok(void *ctx, const uint8_t root[ROOT_BYTES])
{
	struct root_body body;
	return root_body_open(ctx, root, &body) == 0;
}

static bool promise_ok(void *ctx, const uint8_t promise[PROMISE_BYTES])
{
	const struct keys *keys = ctx;
	struct promise p;
	size_t bytes;
	const uint8_t *region = promise_mac_region(promise, &bytes);
	return promise_decode(promise, &p) == 0 && mac32_verify(keys->promise_mac, region, bytes, p.mac) == 0;
}

static void promise_mac(void *ctx, uint8_t promise[PROMISE_BYTES])
{
	const struct keys *keys = ctx;
	struct promise p;
	size_t bytes;
	const uint8_t *region = promise_mac_region(promise, &bytes);
	int r = promise_decode(promise, &p);
	assert(r == 0);
	mac32(keys->promise_mac, region, bytes, p.mac);
	promise_encode(&p, promise);
}

void fs_auth(struct keys *keys, struct array_auth *ret_auth)
{
	*ret_auth = (struct array_auth){ .ctx = keys, .label_ok = label_ok, .root_ok = root_ok, .promise_ok = promise_ok,
		.promise_mac = promise_mac, .label_mac = label_mac };
}

/* ---- The structure in memory ---- */

static void apply_defaults(struct fs_options *o)
{
	if (!o->env)
		o->env = env_system();
	if (!o->node_cache_bytes)
		o->node_cache_bytes = NODE_CACHE_BYTES;
	if (!o->dirty_bytes)
		o->dirty_bytes = DIRTY_BYTES;
	if (!o->commit_interval_ms)
		o->commit_interval_ms = COMMIT_INTERVAL_MS;
	if (!o->threads) {
		long n = sysconf(_SC_NPROCESSORS_ONLN);
		o->threads = n > 0 ? (unsigned)n : 1;
	}
}

int fs_new(struct array *array, struct keys *keys, const struct fs_options *options, struct fs **ret_fs)
{
	struct fs *fs = calloc(1, sizeof *fs);
	if (!fs)
		return -ENOMEM;
	fs->options = *options;
	apply_defaults(&fs->options);
	fs->env = fs->options.env;
	fs->array = array;
	fs->keys = keys;
	atomic_init(&fs->config, array_config(array));
	fs->read_only = options->read_only;
	atomic_init(&fs->speed_bytes, options->speed_bytes);
	fs_set_atime(fs, options->no_atime, options->no_diratime);
	fs->simple = options->threads == FS_INLINE;
	list_init(&fs->pins);
	fs->early_bytes = fs->options.dirty_bytes / 4 < EARLY_BYTES ? fs->options.dirty_bytes / 4 : EARLY_BYTES;
	pthread_mutex_init(&fs->lock, NULL);
	pthread_mutex_init(&fs->commit_lock, NULL);
	pthread_mutex_init(&fs->opening_lock, NULL);
	pthread_mutex_init(&fs->step_lock, NULL);
	pthread_rwlockattr_t readers_wait;
	pthread_rwlockattr_init(&readers_wait);
	pthread_rwlockattr_setkind_np(&readers_wait, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(&fs->heal_lock, &readers_wait);
	pthread_rwlockattr_destroy(&readers_wait);
	pthread_condattr_t monotonic;
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&fs->progress, &monotonic);
	pthread_cond_init(&fs->wake_commit, &monotonic);
	pthread_cond_init(&fs->wake_flush, &monotonic);
	pthread_condattr_destroy(&monotonic);
	fs->file.id = TREE_FILE;
	fs->system.id = TREE_SYSTEM;
	fs->next_object = OBJECT_FIRST_FREE;
	int r = cache_init(&fs->cache, fs->options.node_cache_bytes);
	if (r == 0)
		r = alloc_init(fs);
	if (r == 0)
		r = inode_table_init(fs);
	if (r == 0)
		r = log_init(fs);
	/* Threads are made after the daemon has forked: fs_start. */
	fs->pool = pool_new(0);
	if (r < 0 || !fs->pool) {
		fs->array = NULL;        /* still the caller's */
		fs->keys = NULL;
		fs_delete(fs);
		return -ENOMEM;
	}
	*ret_fs = fs;
	return 0;
}

static void free_txn_of_close(struct fs *fs)
{
	struct txn *txn = fs->open;
	if (!txn)
		return;
	for (size_t i = 0; i < txn->later_count; i++) {
		record_unref(fs, txn->later[i].record);
		node_unref(fs, txn->later[i].node);
	}
	while (!list_empty(&txn->records))
		list_remove(txn->records.next);
	txn_free(txn);
}

void fs_delete(struct fs *fs)
{
	if (!fs)
		return;
	node_unref(fs, fs->file.root);
	node_unref(fs, fs->system.root);
	free_txn_of_close(fs);
	fs->durable = UINT64_MAX;        /* nothing is allocated any more: let all releases go */
	while (fs->releases && fs->alloc.bands && fs->alloc.buckets)
		commit_release(fs);
	cache_free(fs);
	alloc_free(fs);
	if (fs->inodes)
		inode_table_free(fs);
	for (size_t i = 0; i < fs->pending_run_count; i++)
		free(fs->pending_runs[i].owners);
	free(fs->pending_runs);
	free(fs->pending_freed);
	free(fs->system_freed);
	free(fs->last_written);
	free(fs->touches);
	pool_free(fs->pool);
	log_free(fs);
	array_close(fs->array);
	key_free(fs->keys);
	pthread_mutex_destroy(&fs->lock);
	pthread_mutex_destroy(&fs->commit_lock);
	pthread_mutex_destroy(&fs->opening_lock);
	pthread_mutex_destroy(&fs->step_lock);
	pthread_rwlock_destroy(&fs->heal_lock);
	pthread_cond_destroy(&fs->progress);
	pthread_cond_destroy(&fs->wake_commit);
	pthread_cond_destroy(&fs->wake_flush);
	free(fs);
}

/* ---- Opening ---- */

static int unlock_keys(const struct label *label, const struct secret *secret, bool allow_none, struct keys **ret_keys, struct fail *fail)
{
	struct keys *keys = key_alloc(sizeof *keys);
	struct master_key *master = key_alloc(sizeof *master);
	int r = keys && master ? 0 : -ENOMEM;
	if (r < 0)
		fail_set(fail, ENOMEM, FAIL_SYSTEM, "no memory for keys");
	else if (label->cipher == CIPHER_NONE) {
		if (secret)
			r = fail_set(fail, EINVAL, FAIL_USAGE, "array \"%s\" is not encrypted, but a key was given; "
				"if it never was, mount it without a key and with -o cipher=none; if it should be, its labels were tampered with", label->name);
		else if (!allow_none)
			r = fail_set(fail, EINVAL, FAIL_USAGE, "array \"%s\" is not encrypted; to mount it all the same, say -o cipher=none", label->name);
		else
			keys_none(&label->array, keys);
	} else if (!secret)
		r = fail_set(fail, EINVAL, FAIL_KEY, "array \"%s\" is encrypted and no passphrase or key file was given", label->name);
	else if (!cipher_available(label->cipher))
		r = fail_set(fail, ENOTSUP, FAIL_VERSION, "array \"%s\" is encrypted with %s, which this processor does not support", label->name,
			cipher_name(label->cipher));
	else {
		struct slot_binding binding = { .uuid = label->array, .cipher = label->cipher, .incompat = label->incompat };
		r = slots_unlock(label->slots, secret, &binding, master, NULL, fail);
		if (r == 0)
			keys_derive(master, label->cipher, &label->array, label->incompat, keys);
	}
	key_free(master);
	if (r < 0)
		key_free(keys);
	else
		*ret_keys = keys;
	return r;
}

/* Tries the slots of each member's label until one opens: a damaged or older copy must not lock the owner out. */
static int unlock_any(const struct probe *probe, const struct secret *secret, bool allow_none, bool read_only, struct keys **ret_keys,
	struct fail *fail)
{
	int r = fail_set(fail, EINVAL, FAIL_NOT_MEMBER, "no member has a label");
	for (unsigned i = 0; i < probe->count; i++) {
		const struct label *label = &probe->members[i].label;
		if (probe->members[i].label_status < 0)
			continue;
		bool tried = false;
		for (unsigned k = 0; k < i && !tried; k++)
			tried = probe->members[k].label_status == 0 && probe->members[k].label.cipher == label->cipher
				&& probe->members[k].label.incompat == label->incompat
				&& !memcmp(probe->members[k].label.slots, label->slots, LABEL_SLOTS_BYTES);
		if (tried)
			continue;
		r = label_check_features(label, !read_only, probe->members[i].disk->name, fail);
		if (r == 0)
			r = unlock_keys(label, secret, allow_none, ret_keys, fail);
		if (r == 0)
			return 0;
	}
	return r;
}

static int load_root(struct fs *fs, struct tree *tree, const struct disk_pointer *pointer, uint8_t level)
{
	struct node *node = calloc(1, sizeof *node);
	if (!node || !(node->image = malloc(NODE_BYTES))) {
		free(node);
		return -ENOMEM;
	}
	int r = level <= NODE_LEVEL_MAX ? store_read_node(fs, pointer, tree->id, level, node->image) : -EUCLEAN;
	if (r < 0) {
		free(node->image);
		free(node);
		return r;
	}
	list_init(&node->lru);
	node->refs = 1;
	node->tree = tree->id;
	node->level = level;
	node->placed = true;
	node->pointer = *pointer;
	tree->root = node;
	return 0;
}

static int take_pending_rows(struct fs *fs)
{
	for (size_t i = 0; i < fs->pending_run_count; i++) {
		struct op op;
		int r = op_begin(fs, &op, OP_READ, 0);
		do
			r = alloc_take_at(fs, &fs->pending_runs[i].rows);
		while (op_retry(&op, &r));
		op_end(&op);
		if (r < 0)
			return r;
	}
	return 0;
}

static void set_cursor(struct fs *fs, address cursor)
{
	const struct band *b = config_band(fs->config, address_band(cursor));
	if (b && address_block(cursor) <= b->rows) {
		fs->alloc.cursor_band = (uint32_t)(b - fs->config->bands);
		fs->alloc.cursor_row = address_block(cursor);
	}
}

/* The trees of an older root: what the newest one names is kept, for the opening root. */
static int choose_older(struct fs *fs, uint64_t generation, struct root_header *header)
{
	uint8_t record[ROOT_BYTES];
	struct root_body body;
	int r = array_root_of(fs->array, generation, record);
	if (r == 0)
		r = root_header_decode(record, header);
	if (r == 0)
		r = root_body_open(fs->keys, record, &body);
	if (r < 0)
		return r;
	fs->older = true;
	fs->newest_body = fs->root_body;
	fs->newest_tree = fs->tree_generation;
	fs->newest_tree_before = fs->tree_before;
	fs->root_body = body;
	fs->tree_generation = header->tree;
	fs->tree_before = header->tree_before;
	fs->read_only = true;            /* until fs_revert */
	return 0;
}

/* The system tree, what the allocator counts, and the pending records. */
static int load_space(struct fs *fs)
{
	const struct root_body *body = &fs->root_body;
	int r = load_root(fs, &fs->system, &body->system_tree, body->system_level);
	if (r == 0)
		r = pending_read(fs, &body->pending, fs->tree_generation);
	if (r < 0)
		return r;
	struct op op;
	op_begin(fs, &op, OP_READ, 0);
	do
		r = alloc_load(fs);
	while (op_retry(&op, &r));
	set_cursor(fs, le64_get(body->alloc_cursor));
	op_end(&op);
	if (r == 0)
		r = scrub_load(fs);
	return r == 0 ? take_pending_rows(fs) : r;
}

/* Salvage and repair go on without them: space figures come from the root, and nothing can be allocated. */
static int load_without_space(struct fs *fs, int error)
{
	fs_tell_read_only(fs, "The system tree cannot be read (%s): the filesystem is read-only. "
		"fsck.raid5cryptfs can make it anew from the files.", strerror(-error));
	fs->system_lost = fs->read_only = true;
	int r = repair_without_space(fs);
	fs->alloc.live_blocks = le64_get(fs->root_body.live_blocks);
	return r;
}

/* `ret_rootless`: the file tree's root node cannot be read, so that only an older root is left to go by. */
static int load(struct fs *fs, bool *ret_rootless)
{
	struct root_header header = *array_root_header(fs->array);
	int r = root_body_open(fs->keys, array_root_record(fs->array), &fs->root_body);
	if (r < 0)
		return r;
	fs->root_generation = fs->durable = header.generation;
	fs->tree_generation = header.tree;
	fs->tree_before = header.tree_before;
	fs->open = txn_new(header.generation + 2);       /* the opening root takes the one between */
	if (!fs->open)
		return -ENOMEM;
	fs->file.txn = fs->system.txn = fs->open->generation;
	if (fs->options.root_generation && fs->options.root_generation != header.generation)
		r = choose_older(fs, fs->options.root_generation, &header);
	const struct root_body *body = &fs->root_body;
	fs->reserved_blocks = le64_get(body->reserved_blocks);
	fs->inode_count = le64_get(body->inodes);
	fs->next_object = le64_get(body->next_object);
	if (r == 0 && !fs->options.no_replay && !fs->older)
		r = log_find(fs);                /* before anything can be healed, and the opening root written */
	if (r < 0)
		return r;
	r = load_root(fs, &fs->file, &body->file_tree, body->file_level);
	*ret_rootless = r < 0 && r != -ENOMEM;
	if (r < 0)
		return r;
	r = load_space(fs);
	if (r < 0 && r != -ENOMEM && (fs->options.repair || (fs->options.salvage && fs->read_only)))
		r = load_without_space(fs, r);
	return r;
}

/* A member that was made again without a key has no log records: the array has its redundancy back once they are not needed any
 * more, and only then may its label say that it is like the others (doc/membership.md, K3). */
static int settle_keyless(struct fs *fs, struct fail *fail)
{
	if (!array_keyless(fs->array) || fs->read_only || fs->log->waits)
		return 0;
	pthread_mutex_lock(&fs->lock);
	txn_mark_dirty(fs);
	pthread_mutex_unlock(&fs->lock);
	int r = commit_run(fs);
	if (r == 0)
		r = array_complete_labels(fs->array);
	return r == 0 ? 0 : fail_set(fail, -r, FAIL_SYSTEM, "array \"%s\": a member was made again without a key, and what it lacks could not be "
		"committed (%s); check the members, and mount again", array_label(fs->array)->name, strerror(-r));
}

int fs_open_bare(struct probe *probe, const struct secret *secret, bool allow_none, const struct fs_options *options,
	struct fs **ret_fs, struct fail *fail)
{
	struct keys *keys = NULL;
	struct array *array;
	struct fs_options o = *options;
	apply_defaults(&o);
	o.threads = options->threads;
	int r = unlock_any(probe, secret, allow_none, o.read_only, &keys, fail);
	if (r == 0)
		r = seal_engine_choose(o.engine, keys->data.cipher, &o.events, &keys->data.engine, fail);
	if (r < 0) {
		key_free(keys);
		probe_free(probe);
		return r;
	}
	struct array_auth auth;
	struct array_options array_options = { .read_only = o.read_only, .io_timeout_ms = o.io_timeout_ms,
		.read_errors_max = o.read_errors_max, .env = o.env, .events = &options->events };
	fs_auth(keys, &auth);
	r = array_open(probe, &auth, &array_options, &array, fail);
	if (r < 0) {
		key_free(keys);
		return r;
	}
	r = fs_new(array, keys, &o, ret_fs);
	if (r < 0) {
		array_close(array);
		key_free(keys);
		return fail_set(fail, ENOMEM, FAIL_SYSTEM, "not enough memory to mount");
	}
	return 0;
}

int fs_open(struct probe *probe, const struct secret *secret, bool allow_none, const struct fs_options *options,
	struct fs **ret_fs, struct fail *fail)
{
	struct fs *fs;
	bool rootless = false;
	int r = fs_open_bare(probe, secret, allow_none, options, &fs, fail);
	if (r < 0)
		return r;
	r = load(fs, &rootless);
	if (r < 0) {
		open_fail_load(fs, r, rootless, fail);
		fs_delete(fs);
		return r;
	}
	r = open_replay(fs, fail);
	if (r == 0)
		r = settle_keyless(fs, fail);
	if (r < 0) {
		fs_delete(fs);
		return r;
	}
	if (fs->simple && !fs->read_only && !fs->options.repair)
		inode_reap_orphans(fs);          /* with threads: work_main */
	*ret_fs = fs;
	return 0;
}

int fs_close(struct fs *fs, bool abandon)
{
	int r = 0;
	threads_stop(fs);
	if (!abandon && !fs->read_only) {
		r = inode_store_atimes(fs);
		pthread_mutex_lock(&fs->lock);
		scrub_leave(fs);
		pthread_mutex_unlock(&fs->lock);
		int e = commit_run(fs);
		if (r == 0)
			r = e;
	}
	fs_delete(fs);
	return r;
}

struct array *fs_array(struct fs *fs) { return fs->array; }
enum disk_engine fs_io(const struct fs *fs) { return fs->options.io; }
uint64_t fs_set_speed(struct fs *fs, uint64_t speed_bytes) { return atomic_exchange(&fs->speed_bytes, speed_bytes); }

void fs_set_atime(struct fs *fs, bool no_atime, bool no_diratime)
{
	atomic_store(&fs->no_atime, no_atime);
	atomic_store(&fs->no_diratime, no_diratime);
}

bool fs_read_only(struct fs *fs)
{
	pthread_mutex_lock(&fs->lock);
	bool read_only = fs->read_only || fs->error;
	pthread_mutex_unlock(&fs->lock);
	return read_only;
}

uint64_t fs_generation(struct fs *fs)
{
	pthread_mutex_lock(&fs->lock);
	uint64_t generation = fs->durable;
	pthread_mutex_unlock(&fs->lock);
	return generation;
}
