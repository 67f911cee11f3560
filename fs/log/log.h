/* The intent log: makes an fsync durable without a commit.  Private to fs/.
 *
 * A record holds all changes of the open transaction that no record before it holds (fs/log/changes.h), as they stand at one
 * moment between two operations: changed items of all objects, and data of those objects whose fsync is waited for.  It is
 * sealed, chained to its predecessor by that one's tag, and written durably to the same place of two members' log rings.  A root
 * names the first record that it does not contain (mount, sequence, tag of the predecessor).
 *
 *  L1  Records belong to one transaction, the open one.  While a commit is in flight no record is made: who calls fsync then
 *      waits for that commit first.  So a record's changes are never in a root that names it as not contained, and the reverse.
 *  L2  The ring is used from its start again after each commit.  What is overwritten are records that the newest durable root
 *      contains, and no older root can be chosen any more (raid/choose.c).
 *  L3  A commit waits for the record that is on its way, and then names the next one.
 *  L4  Nothing is acknowledged before it is durable on both mirrors.  When one fails, or the two of the last record are not both
 *      in sync any more, a commit is made in the record's place, and later records go to two members that are.
 *  L5  A mount's first records are written only when a root that names its log is durable: the opening root if there was nothing
 *      to replay, else the commit that ends the replay.
 *
 * After replay the trees are what they were in memory at the last record's moment, but for data that had been neither logged nor
 * committed: such a range is as it was before, or a hole.  An inode's size in the log never covers such data. */
#ifndef FS_LOG_H
#define FS_LOG_H

#include "fs/core.h"
#include "fs/log/logrecord.h"

struct log_position { uint8_t mount[16], tag[16]; uint64_t sequence; };

struct log_waiter;

/* Protected by fs->lock. */
struct log {
	pthread_cond_t changed;          /* in_flight */
	struct log_waiter *waiters;      /* for the next record */
	struct log_waiter *riders;       /* for the record that is in flight */
	bool busy;                       /* somebody serves them */
	bool in_flight;                  /* a record was made, and is not durable yet */
	bool own;                        /* L5: this mount may write records */
	bool found;                      /* at open there was something to replay */
	bool waits;                      /* it still is to be replayed, or being so: roots go on naming it */
	bool replaying;                  /* what changes is the replay's */
	bool held;                       /* no record is begun */
	bool failed;                     /* a record could not be written: only commits, until the next has succeeded */
	struct log_position next;        /* of the next record; while `waits`: of the next to be applied */
	uint64_t flushed;                /* sequence of the last durable record */
	uint64_t at_bytes;               /* where the next record goes */
	bool has_mirrors;
	unsigned mirrors[LOG_MIRRORS];
	struct iobuf *buf;
};

int log_init(struct fs *fs);
void log_free(struct fs *fs);

/* fsync: calls `done` with 0 once all that `object` is made of is durable, or of the root directory, all that there is: in the log, or
 * where that can't be, by a commit; or with -errno.  No lock is held then.  It is called before this returns, or by another thread later:
 * the calling thread may serve others, but does not wait for another one to serve it. */
typedef void (*log_done)(void *ctx, int result);
void log_sync(struct fs *fs, uint64_t object, log_done done, void *ctx);

/* boundary.c.  From log_hold, which waits for the one that is on its way, to log_go_on no record is written: the members change. Lock held,
 * dropped while it waits. */
void log_hold(struct fs *fs);
void log_go_on(struct fs *fs);

/* commit.c.  In an opening root: names this mount's log, unless there is one to be replayed. */
void log_name_at_opening(struct fs *fs, struct root_body *body);
/* The opening root is durable (L5). */
void log_opened(struct fs *fs);
/* In the root of a commit, whose transaction is frozen; lock held, dropped while it waits (L3). */
void log_name(struct fs *fs, struct root_body *body);
/* The commit's root is durable (L2). Lock held. */
void log_retire(struct fs *fs);
/* For repair, when the rings hold nothing that is needed: writes over blocks that cannot be read where the next record goes. Else no mount
 * could tell whether there is one. */
void log_clear_start(struct fs *fs);

/* log_read.c: the records behind the chosen root, verified, from whichever members have them. */
struct log_chain {
	struct fs *fs;
	struct log_position next;        /* what is looked for */
	uint64_t at_bytes;
	uint8_t *record;                 /* the last one found, its body opened */
	uint8_t *window;                 /* what was read of a member's ring */
	unsigned member;
	uint64_t window_at_bytes;
	size_t window_bytes, window_room_bytes;
	bool short_of_memory;            /* something could not be read for want of memory */
	bool damaged;                    /* at the end: there may be, or have been, more that was durable */
};
/* 0 or -ENOMEM. */
int log_chain_begin(struct fs *fs, const struct root_body *body, struct log_chain *ret_chain);
/* 1: the next record is in `record`; 0: there is none; -ENOMEM: that cannot be told. */
int log_chain_next(struct log_chain *chain);
/* Behind what is damaged: goes on with the first record that is genuine and later, which must not be applied, since it builds on those
 * that are missing. 1 or 0. */
int log_chain_skip(struct log_chain *chain);
void log_chain_end(struct log_chain *chain);

/* log_replay.c.  At open: is there anything behind the chosen root? Reads no tree. */
int log_find(struct fs *fs);

/* How far a replay goes. */
enum log_effort {
	LOG_ALL,                         /* it ends where anything cannot be applied, and commits only what has its end */
	LOG_SALVAGE,                     /* read-only: leaves out what lies in nodes that cannot be read */
	LOG_REPAIR,                      /* leaves out what has lost what it belongs to, and gives up what is damaged */
};
struct log_replayed {
	uint64_t records;                /* that were applied */
	bool damaged;                    /* not all that was once durable could be read: only what was found before is applied */
	uint64_t skipped;                /* pieces of data that were left out; each was told */
	bool has_unread;                 /* a node could not be read: that one, the last */
	struct tree_miss unread;
	uint64_t object;                 /* when it failed: of what was to be applied */
	/* Set by the caller, or NULL: blocks of the object that are left out. */
	void (*on_skip)(void *ctx, uint64_t object, uint64_t block, uint64_t blocks);
	void *ctx;
};
/* Applies all records to the trees in memory, then, unless read-only, commits (LOG_ALL: not if it is damaged). */
int log_replay(struct fs *fs, enum log_effort effort, struct log_replayed *replayed);

#endif
