/* The table of inodes that somebody refers to, the atimes not yet stored, and the inode locks.  See inode.h.
 *
 * The table has a mutex of its own, inside fs->lock: forgetting and noting an access need no more than it.  What must be
 * atomic against unlink (is it an orphan, does anybody refer to it) is changed with both held. */
#include "base/cleanup.h"
#include "fs/core.h"
#include "fs/names/inode.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

#define BUCKETS_FIRST 1024u
/* Notes of atimes that are kept; more are forgotten (atime is a courtesy). */
#define NOTES_MAX 65536u
/* Of these, one commit stores at most so many, each of which may dirty a path of nodes. */
#define NOTES_A_COMMIT 1024u
#define BLOCKS_A_NOTE (4u * UNIT_BLOCKS)
#define RELATIME_NS (INT64_C(24) * 3600 * 1000000000)
#define STRIPES 256u

struct table_entry {
	struct table_entry *hash_next;
	struct list note_link;           /* in notes, oldest first, or alone */
	uint64_t ino, refs;
	file_ns atime_ns;                /* valid while in notes */
	bool orphan;
	bool nameless;                   /* an orphan that never had a name, and may get one */
};

struct inode_table {
	pthread_mutex_t mutex;           /* protects all but the stripes */
	struct table_entry **buckets;
	size_t bucket_count, count;      /* bucket_count is a power of two */
	struct list notes;
	size_t note_count;
	pthread_rwlock_t stripes[STRIPES];
};

static uint64_t spread(uint64_t ino)
{
	return ino * UINT64_C(0x9e3779b97f4a7c15) >> 20;
}

static struct table_entry **slot_of(struct inode_table *table, uint64_t ino)
{
	struct table_entry **slot = &table->buckets[spread(ino) & (table->bucket_count - 1)];

	while (*slot && (*slot)->ino != ino)
		slot = &(*slot)->hash_next;
	return slot;
}

/* Doubles the buckets; without memory the chains get longer. */
static void table_grow(struct inode_table *table)
{
	size_t old_count = table->bucket_count;
	struct table_entry **old = table->buckets, **buckets = calloc(old_count * 2, sizeof *buckets);

	if (!buckets)
		return;
	table->buckets = buckets;
	table->bucket_count = old_count * 2;
	for (size_t i = 0; i < old_count; i++) {
		struct table_entry *next, *e;
		for (e = old[i]; e; e = next) {
			next = e->hash_next;
			struct table_entry **slot = &buckets[spread(e->ino) & (table->bucket_count - 1)];
			e->hash_next = *slot;
			*slot = e;
		}
	}
	free(old);
}

static struct table_entry *entry_get(struct inode_table *table, uint64_t ino)
{
	struct table_entry **slot = slot_of(table, ino);

	if (*slot)
		return *slot;
	struct table_entry *e = calloc(1, sizeof *e);
	if (!e)
		return NULL;
	e->ino = ino;
	list_init(&e->note_link);
	*slot = e;
	if (++table->count > table->bucket_count)
		table_grow(table);
	return e;
}

/* Drops an entry that says nothing any more. */
static void entry_put(struct inode_table *table, struct table_entry *e)
{
	if (e->refs > 0 || !list_alone(&e->note_link))
		return;
	struct table_entry **slot = slot_of(table, e->ino);
	*slot = e->hash_next;
	table->count--;
	free(e);
}

static void note_drop(struct inode_table *table, struct table_entry *e)
{
	if (list_alone(&e->note_link))
		return;
	list_remove(&e->note_link);
	table->note_count--;
}

int inode_table_init(struct fs *fs)
{
	struct inode_table *table = calloc(1, sizeof *table);
	pthread_rwlockattr_t attr;

	if (!table)
		return -ENOMEM;
	table->bucket_count = BUCKETS_FIRST;
	table->buckets = calloc(BUCKETS_FIRST, sizeof(struct table_entry *));
	if (!table->buckets) {
		free(table);
		return -ENOMEM;
	}
	list_init(&table->notes);
	pthread_mutex_init(&table->mutex, NULL);
	/* Readers must not starve a writer. */
	pthread_rwlockattr_init(&attr);
	pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	for (unsigned i = 0; i < STRIPES; i++)
		pthread_rwlock_init(&table->stripes[i], &attr);
	pthread_rwlockattr_destroy(&attr);
	fs->inodes = table;
	return 0;
}

void inode_table_free(struct fs *fs)
{
	struct inode_table *table = fs->inodes;

	if (!table)
		return;
	for (size_t i = 0; i < table->bucket_count; i++) {
		struct table_entry *next, *e;
		for (e = table->buckets[i]; e; e = next) {
			next = e->hash_next;
			free(e);
		}
	}
	for (unsigned i = 0; i < STRIPES; i++)
		pthread_rwlock_destroy(&table->stripes[i]);
	pthread_mutex_destroy(&table->mutex);
	free(table->buckets);
	free(table);
	fs->inodes = NULL;
}

static pthread_rwlock_t *stripe_of(struct fs *fs, uint64_t ino)
{
	return &fs->inodes->stripes[spread(ino) % STRIPES];
}

void inode_lock_shared(struct fs *fs, uint64_t ino) { pthread_rwlock_rdlock(stripe_of(fs, ino)); }
void inode_lock_exclusive(struct fs *fs, uint64_t ino) { pthread_rwlock_wrlock(stripe_of(fs, ino)); }
void inode_unlock(struct fs *fs, uint64_t ino) { pthread_rwlock_unlock(stripe_of(fs, ino)); }

int inode_table_ref(struct fs *fs, uint64_t ino)
{
	SCOPED_LOCK(&fs->inodes->mutex);
	struct table_entry *e = entry_get(fs->inodes, ino);

	if (!e)
		return -ENOMEM;
	e->refs++;
	return 0;
}

bool inode_table_orphan(struct fs *fs, uint64_t ino)
{
	SCOPED_LOCK(&fs->inodes->mutex);
	struct table_entry *e = *slot_of(fs->inodes, ino);

	if (!e)
		return true;
	note_drop(fs->inodes, e);
	if (e->refs == 0) {
		entry_put(fs->inodes, e);
		return true;
	}
	e->orphan = true;
	return false;
}

int inode_table_nameless(struct fs *fs, uint64_t ino)
{
	SCOPED_LOCK(&fs->inodes->mutex);
	struct table_entry *e = entry_get(fs->inodes, ino);

	if (!e)
		return -ENOMEM;
	e->refs++;
	e->nameless = true;
	return 0;
}

bool inode_table_is_nameless(struct fs *fs, uint64_t ino)
{
	SCOPED_LOCK(&fs->inodes->mutex);
	struct table_entry *e = *slot_of(fs->inodes, ino);

	return e && e->nameless;
}

bool inode_table_referred(struct fs *fs, uint64_t ino)
{
	SCOPED_LOCK(&fs->inodes->mutex);
	struct table_entry *e = *slot_of(fs->inodes, ino);

	return e && e->refs > 0;
}

void inode_table_adopt(struct fs *fs, uint64_t ino)
{
	SCOPED_LOCK(&fs->inodes->mutex);
	struct table_entry *e = *slot_of(fs->inodes, ino);

	if (e)
		e->orphan = e->nameless = false;
}

/* Counts one more on an object that somebody refers to already. */
static bool ref_known(struct fs *fs, uint64_t ino)
{
	SCOPED_LOCK(&fs->inodes->mutex);
	struct table_entry *e = *slot_of(fs->inodes, ino);

	if (!e || e->refs == 0)
		return false;
	e->refs++;
	return true;
}

static int ref_locked(struct fs *fs, uint64_t ino)
{
	struct inode inode;

	if (ref_known(fs, ino))
		return 0;
	int r = inode_load(fs, ino, &inode);
	if (r < 0)
		return r;
	return inode.links == 0 ? -ENOENT : inode_table_ref(fs, ino);
}

int fs_ref(struct fs *fs, uint64_t ino)
{
	struct op op;

	if (ino == OBJECT_ROOT)
		return 0;
	int r = op_begin(fs, &op, OP_READ, 0);
	if (r < 0)
		return r;
	do
		r = ref_locked(fs, ino);
	while (op_retry(&op, &r));
	op_end(&op);
	return r;
}

void fs_unref(struct fs *fs, uint64_t ino, uint64_t count)
{
	struct inode_table *table = fs->inodes;
	bool reap = false;

	if (ino == OBJECT_ROOT || count == 0)
		return;
	pthread_mutex_lock(&table->mutex);
	struct table_entry *e = *slot_of(table, ino);
	assert(e && e->refs >= count);
	e->refs -= count;
	if (e->refs == 0) {
		reap = e->orphan;
		e->orphan = e->nameless = false;
		entry_put(table, e);
	}
	pthread_mutex_unlock(&table->mutex);
	if (reap)
		inode_reap(fs, ino);
}

/* relatime: an access at `atime_ns` changes the atime that was there only if that tells nothing about the last change, or is a
 * day old. */
static bool relatime(const struct inode *inode, file_ns before_ns, file_ns atime_ns)
{
	return inode->mode != 0 && atime_ns > before_ns
		&& (before_ns <= inode->mtime_ns || before_ns <= inode->ctime_ns || atime_ns - RELATIME_NS >= before_ns);
}

void inode_accessed(struct fs *fs, const struct inode *inode)
{
	struct inode_table *table = fs->inodes;
	file_ns now = fs_now_ns(fs), before = inode->atime_ns;

	if (fs->options.read_only || atomic_load(&fs->no_atime) || (atomic_load(&fs->no_diratime) && S_ISDIR(inode->mode)))
		return;
	SCOPED_LOCK(&table->mutex);
	struct table_entry *e = *slot_of(table, inode->ino);
	bool noted = e && !list_alone(&e->note_link);
	if (noted && relatime(inode, before, e->atime_ns))
		before = e->atime_ns;
	if (!relatime(inode, before, now))
		return;
	if (!noted) {
		if (table->note_count >= NOTES_MAX)
			return;
		e = entry_get(table, inode->ino);
		if (!e)
			return;
		if (!e->orphan) {
			list_append(&table->notes, &e->note_link);
			table->note_count++;
		}
	}
	e->atime_ns = now;
}

bool inode_table_atime(struct fs *fs, const struct inode *inode, file_ns *ret_atime_ns)
{
	SCOPED_LOCK(&fs->inodes->mutex);
	struct table_entry *e = *slot_of(fs->inodes, inode->ino);

	if (!e || list_alone(&e->note_link) || !relatime(inode, inode->atime_ns, e->atime_ns))
		return false;
	*ret_atime_ns = e->atime_ns;
	return true;
}

void inode_table_atime_done(struct fs *fs, uint64_t ino)
{
	SCOPED_LOCK(&fs->inodes->mutex);
	struct table_entry *e = *slot_of(fs->inodes, ino);

	if (!e)
		return;
	note_drop(fs->inodes, e);
	entry_put(fs->inodes, e);
}

/* Inode numbers of the oldest notes: returns how many. */
static size_t oldest_notes(struct fs *fs, uint64_t *ret_inos, size_t max)
{
	SCOPED_LOCK(&fs->inodes->mutex);
	struct list *head = &fs->inodes->notes;
	size_t n = 0;

	for (struct list *l = head->next; l != head && n < max; l = l->next)
		ret_inos[n++] = container_of(l, struct table_entry, note_link)->ino;
	return n;
}

static int store_atime_locked(struct fs *fs, uint64_t ino)
{
	struct inode inode;
	file_ns atime_ns;

	int r = inode_load(fs, ino, &inode);
	if (r == -ENOENT || r == -EUCLEAN || (r == 0 && !inode_table_atime(fs, &inode, &atime_ns))) {
		inode_table_atime_done(fs, ino);
		return 0;
	}
	if (r == 0)
		r = inode_prepare(fs, ino);
	if (r < 0)
		return r;
	inode.atime_ns = atime_ns;
	inode_table_atime_done(fs, ino);
	return inode_changed(fs, inode_store(fs, &inode));
}

static int compare_inos(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return x < y ? -1 : x > y;
}

/* The note of an inode that cannot be read is dropped: it would keep the later ones from being stored. */
static int store_atime(struct fs *fs, uint64_t ino)
{
	struct op op;

	int r = op_begin(fs, &op, OP_READ, 0);
	if (r < 0)
		return r;
	do
		r = store_atime_locked(fs, ino);
	while (op_retry(&op, &r));
	if (r == -EIO && !fs->error) {
		inode_table_atime_done(fs, ino);
		r = 0;
	}
	op_end(&op);
	return r;
}

int inode_store_atimes(struct fs *fs)
{
	autofree uint64_t *inos = malloc(NOTES_A_COMMIT * sizeof *inos);
	struct fs_space space;
	int r = 0;

	if (!inos)
		return -ENOMEM;
	/* The notes take what little space they need without a claim, since waiting for a commit is not possible here. */
	fs_space(fs, &space);
	size_t max = space.free_blocks / BLOCKS_A_NOTE < NOTES_A_COMMIT ? space.free_blocks / BLOCKS_A_NOTE : NOTES_A_COMMIT;
	size_t n = oldest_notes(fs, inos, max);
	qsort(inos, n, sizeof *inos, compare_inos);
	for (size_t i = 0; i < n && r == 0; i++)
		r = store_atime(fs, inos[i]);
	return r;
}
