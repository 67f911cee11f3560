/* The filesystem in memory: what the files of fs/ share.  Private to fs/.
 *
 * Locks, in the order in which they are taken:
 *   step_lock  →  inode lock (fs/names/inode.h)  →  commit_lock  →  lock  →  locks inside raid/
 * `lock` protects everything below that does not say otherwise, and both trees in memory; it is never held over I/O
 * or sealing.  `commit_lock` is held through one whole commit, and makes commits one at a time. */
#ifndef FS_CORE_H
#define FS_CORE_H

#include "base/cleanup.h"
#include "base/list.h"
#include "crypto/key.h"
#include "crypto/seal.h"
#include "fs/format.h"
#include "fs/fs.h"
#include "fs/log/changes.h"
#include "fs/space/alloc.h"
#include "fs/tree/cache.h"
#include "fs/tree/node.h"
#include "fs/tree/pool.h"
#include "fs/tree/record.h"
#include "fs/tree/tree.h"
#include "fs/txn.h"
#include "fs/upkeep/scrub_item.h"
#include "fs/upkeep/stall.h"

#include <pthread.h>
#include <stdatomic.h>

struct tree {
	uint8_t id;                      /* enum tree_id */
	uint64_t txn;                    /* nodes of this transaction may be changed */
	struct node *root;               /* always in memory; the tree holds a reference */
};

/* A run of rows that a transaction wrote, with its owners: becomes bits and a row item. */
struct run {
	struct rows rows;
	bool system;                     /* of system-tree nodes and pending records: enters bitmaps with the next commit */
	unsigned owner_count;
	struct row_owner *owners;        /* in the order of blocks; they also say which blocks are used */
};

struct freed { address address; uint32_t blocks; };

/* Blocks freed whose address was not known then: of a record or node of an earlier transaction still being placed. */
struct freed_later {
	struct record *record;           /* or */
	struct node *node;
	uint8_t first, count;            /* blocks of the record */
};

struct txn {
	uint64_t generation;
	bool dirty;                      /* anything to commit */
	struct list records;             /* dirty, not yet being placed; struct record.link */
	uint64_t record_bytes;           /* of those */
	unsigned placing;                /* placements under way that began in this transaction */
	uint64_t placed_blocks;          /* of records placed early: no longer dirty memory, and not yet in the bitmaps */
	struct run *runs; size_t run_count, run_room;
	struct freed *freed; size_t freed_count, freed_room;
	struct freed_later *later; size_t later_count, later_room;
	uint64_t freed_blocks;           /* of both, for deciding whether a commit helps against ENOSPC */
	uint64_t node_count;             /* dirty nodes of the file tree */
	struct changes *changes;         /* that the intent log does not have yet */
};

/* A system node that relocation wants moved, if it still lies there. */
struct touch { struct key key; uint8_t level; address at; };

/* The last node that somebody who goes through rows could not read. */
struct obstacle { int error; struct tree_miss miss; };      /* error 0: none */

/* Nodes that the scrub could not read and went on behind: the last ones; and how many, with items that make no sense. */
#define UNREAD_NODES 16u
struct unread { address nodes[UNREAD_NODES]; unsigned next; uint64_t count; };

/* The scrub (upkeep/scrub_state.c). */
struct scrub {
	struct scrub_record record;      /* as it is now */
	address safe; uint64_t safe_rows;        /* what commits say of its position and rows: so far nothing waits to be mended */
	bool changed;                    /* the item in the system tree does not say so yet */
	int64_t kept_ns;                 /* when it last asked for a commit */
	uint64_t after;                  /* it goes through rows when this generation is durable */
	uint64_t pass;                   /* how many were begun: a step that goes on while another is begun does not count for that */
	struct unread unread;
	uint64_t members;                /* stall_members when `unread` was begun */
};

/* When a member that was dropped is tried again; `worked`: it was at work when last looked at;
 * `held`: it was failed by hand, and waits for the owner; `stays`: it is out, and the owner does not want others to take its columns. */
struct retry { int64_t not_before_ns, delay_ns; bool worked, held, stays; };

/* Column jobs under way (jobs.c): rows up to generation `before` may lie at their old homes alone; the gaps of the members in `verifies`
 * (bit by index) are closed when the walk is through. */
struct job_walk { bool seen; unsigned epoch; uint64_t before; unsigned tries; uint32_t verifies; };

struct fs {
	struct fs_options options;
	const struct env *env;
	struct array *array;
	struct keys *keys;
	_Atomic(const struct config *) config;   /* in force; all that it names but homes and members is the same in every version */
	bool read_only;
	bool simple;                     /* FS_INLINE: no threads */

	pthread_mutex_t lock;
	pthread_mutex_t commit_lock;
	pthread_cond_t progress;         /* a commit or a placement ended, or space came back */
	pthread_cond_t wake_commit;      /* the commit thread has something to do */
	pthread_cond_t wake_flush;

	struct tree file, system;
	struct cache cache;
	struct tree_miss miss;           /* set by the function that returned TREE_MISS, read by op_retry */
	struct tree_miss unread;         /* the last one that could not be read … */
	bool has_unread;                 /* … since this was set to false */
	struct txn *open;                /* operations join this one */
	struct txn *committing;          /* or NULL */
	struct log *log;
	uint64_t durable;                /* the newest generation whose root is durable */
	uint64_t tree_generation, tree_before;   /* of the trees that the newest root names */
	uint64_t commit_wanted;          /* somebody waits for this generation */
	int error;                       /* sticky: a commit failed; everything that writes returns it */
	char why_read_only[ARRAY_WHY_BYTES];     /* the first failure that ended writing, told; empty: none did */

	/* Dirty memory: record data and dirty nodes, in bytes. */
	_Atomic uint64_t record_bytes;
	_Atomic uint64_t share_bytes;    /* see fs/tree/record.c */
	uint64_t node_bytes;
	uint64_t early_bytes;            /* so much of record data, and the early flush begins */
	bool hold_early;                 /* it waits: a member is about to return */

	struct alloc alloc;
	struct list pins;                /* struct store_pin; generations only grow, so the first is the oldest */
	uint64_t reserved_blocks;        /* of EXTENT_RESERVED items */
	uint64_t next_object;
	uint64_t inode_count;
	struct inode_table *inodes;
	struct freed *system_freed; size_t system_freed_count, system_freed_room;   /* by the commit under way: next pending list */
	struct run *pending_runs; size_t pending_run_count, pending_run_room;       /* system rows of the last commit */
	struct freed *pending_freed; size_t pending_freed_count, pending_freed_room;    /* blocks freed by it, not yet in bitmaps */
	struct rows *last_written; size_t last_written_count, last_written_room;    /* at open: rows that the chosen generation wrote */
	struct touch *touches; size_t touch_count, touch_room;   /* system nodes that the next commit shall move */
	struct retry retries[MEMBERS_MAX];
	struct scrub scrub;
	bool scrub_stepped;              /* the last step was of the scrub; the work thread's */
	unsigned scrub_tries;            /* of rows of which more have to wait than can be noted; the work thread's */
	_Atomic uint64_t user_io;        /* reads and writes of users: the background leaves them time */
	_Atomic uint64_t speed_bytes;    /* see fs_options */
	atomic_bool no_atime, no_diratime;
	uint64_t walked_bytes;           /* of each member, by the steps of rowwalk; the work thread's */
	struct obstacle obstacle;
	struct stall stalls[STALL_TASKS];        /* upkeep/stall.h */
	bool changing_members;           /* one change by the owner at a time (members.c) */
	unsigned member_changes;         /* how many there were */
	struct job_walk job;             /* the work thread's */
	int64_t out_since_ns[MEMBERS_MAX];       /* when it was first seen to be out, by the work thread; 0: it is not */
	bool relocating;                 /* one thread relocates at a time */
	unsigned fill_tries;             /* of the row that catching up waits for; the work thread's */
	uint64_t mend_after;             /* mending rests until this generation is durable */
	uint32_t relocate_band; uint64_t relocate_row;           /* where it looks next */
	unsigned relocate_fruitless;     /* rounds in the background that gained no row */
	uint64_t relocate_rest;          /* generation after which it rests until somebody else commits */
	struct release *releases;        /* cleared blocks that may not be allocated yet, oldest first (commit.c) */

	pthread_mutex_t opening_lock;    /* one thread takes the term */
	pthread_mutex_t step_lock;       /* one thread changes the configuration; before all others, held over I/O */
	pthread_rwlock_t heal_lock;      /* one thread at a time changes a part of a unit, and none while runs of rows are read to be written
					  * from (shared); held over I/O, nothing is taken inside */
	_Atomic bool opened;             /* promise and opening root are durable */
	struct root_body root_body;      /* of the newest root, as written */
	uint64_t root_generation;        /* of the newest root written or chosen */

	_Atomic bool names_salvaged;     /* names_salvage has begun */
	bool system_lost;                /* the system tree cannot be read: nothing is allocated before repair_space makes it anew */
	bool older;                      /* the trees are an older root's (fs_options.root_generation); below: what the newest one names */
	struct root_body newest_body;
	uint64_t newest_tree, newest_tree_before;

	struct pool *pool;
	struct threads *threads;         /* NULL until fs_start (threads.c) */
	bool stopping;
};

/* Grows a vector by one: returns the new element or NULL. */
void *vector_add(void *vector, size_t *count, size_t *room, size_t element_bytes);

static inline const struct keys *fs_keys(const struct fs *fs) { return fs->keys; }

/* txn.c */
struct txn *txn_new(uint64_t generation);
void txn_free(struct txn *txn);
void txn_mark_dirty(struct fs *fs);
/* Tells what has ended writing, and remembers the first. Lock held, or at open. */
void fs_tell_read_only(struct fs *fs, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Lock held: nothing is written from now on, with `why` told once; wakes everybody who waits. `error` is negative. */
void fs_give_up(struct fs *fs, int error, const char *why);
/* A block run of the file tree or of data is no longer used from the open transaction on. */
int txn_free_blocks(struct fs *fs, address from, uint32_t blocks);
uint64_t fs_dirty_bytes(struct fs *fs);

/* store.c: reads one node's record, verified and healed; no lock held. */
int store_read_node(struct fs *fs, const struct disk_pointer *pointer, uint8_t tree, uint8_t level, void *ret_image);
int store_read_pending(struct fs *fs, const struct disk_pointer *pointer, uint64_t generation, void *ret_image);
/* The generation below which freed blocks may be reused: no pin is older. With lock held. */
uint64_t store_oldest_pin(struct fs *fs);

/* commit.c */
int commit_run(struct fs *fs);           /* one whole commit of what is open now */
int commit_open(struct fs *fs);          /* takes the term and writes the opening root, once */
int commit_now(struct fs *fs);           /* fs_sync, with a new root even if nothing is dirty; no lock held */
void commit_soon(struct fs *fs);         /* a new root with the next timed commit; no lock held */
/* Lock held, dropped meanwhile: waits until a pin lets rows go that a durable commit freed. False if no pin holds any back. */
bool commit_wait_release(struct fs *fs);
void commit_release(struct fs *fs);      /* lock held: lets blocks be reused whose commit is durable and that no pin holds */

/* open.c: array and keys, with no tree loaded.  As fs_open; to be ended with fs_delete. */
int fs_open_bare(struct probe *probe, const struct secret *secret, bool allow_none, const struct fs_options *options,
	struct fs **ret_fs, struct fail *fail);
/* open_damage.c: replays the intent log when the trees are loaded; says why they cannot be (`rootless`: the file tree's root node). */
int open_replay(struct fs *fs, struct fail *fail);
void open_fail_load(struct fs *fs, int r, bool rootless, struct fail *fail);
/* open.c: the parts that mkfs shares. */
int fs_new(struct array *array, struct keys *keys, const struct fs_options *options, struct fs **ret_fs);
void fs_delete(struct fs *fs);
void fs_auth(struct keys *keys, struct array_auth *ret_auth);
/* root.c */
int root_body_open(const struct keys *keys, const uint8_t record[ROOT_BYTES], struct root_body *ret_body);
/* Of an opened body: 0 or -EBADMSG.  Pure. */
int root_body_decode(const uint8_t bytes[ROOT_BODY_BYTES], struct root_body *ret_body);
void root_seal_record(const struct keys *keys, const struct env *env, struct root_header *header,
	const struct root_body *body, uint8_t ret_record[ROOT_BYTES]);

#endif
