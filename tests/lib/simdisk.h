/* Simulated disks in memory: they lose power, tear, drop, misdirect, corrupt, fail, hang, and come back
 * stale, deterministically from a seed.
 *
 * A disk has a durable image, a list of unflushed writes over it, and the image that reads see
 * (both together).  A flush makes the list durable.  At a power cut each unflushed write is kept, dropped
 * or torn at 512-byte sectors, and where two kept ones overlap the later wins: exactly what
 * raid/disk.h promises, no more.
 *
 * A simworld is the machine: its disks, one counter of operations, the power, one lock, and one
 * stream of random numbers.  `struct disk` handles come from simdisk_open; closing one leaves the simulated
 * disk as it is.  A handle that was opened before a power cut fails with -EIO for good, so that an
 * abandoned filesystem can be closed after the cut without touching what the next one sees. */
#ifndef TESTS_LIB_SIMDISK_H
#define TESTS_LIB_SIMDISK_H

#include "base/list.h"
#include "raid/disk.h"
#include "tests/lib/simstore.h"

#include <pthread.h>

#define SIM_SECTOR_BYTES 512u
#define SIM_DISKS_MAX 64u
#define SIM_FAULTS_MAX 32u
#define SIM_NEVER UINT64_MAX

struct simworld;

enum simfault_kind {
	SIM_ERROR,          /* -EIO, nothing happens */
	SIM_ERROR_LANDS,    /* -EIO, yet it did happen */
	SIM_LOSE,           /* reported as done, nothing happens (a flush: nothing becomes durable) */
	SIM_MISDIRECT,      /* a write goes `shift_bytes` further, a read comes from there */
	SIM_FLIP,           /* the byte at `flip_at_bytes` of the transfer is XORed with `flip_mask` */
	SIM_HANG,           /* -ETIMEDOUT; the disk is not quiet until simdisk_return_hung */
	SIM_BAD_SECTORS,    /* reads that touch the range fail until a write covers the whole range */
};

#define SIM_ON(op) (1u << (op))
#define SIM_ON_ALL (SIM_ON(DISK_READ) | SIM_ON(DISK_WRITE) | SIM_ON(DISK_FLUSH) | SIM_ON(DISK_DISCARD))

/* A rule applies to an operation of the mask, with index (of the world) in [from_op, to_op), that touches
 * [from_bytes, to_bytes).  A `to` of 0 means no limit; flushes have no place.  `times` 0: always. */
struct simfault {
	enum simfault_kind kind;
	unsigned ops_mask;
	uint64_t from_op, to_op;
	uint64_t from_bytes, to_bytes;
	unsigned times;
	int64_t shift_bytes;
	uint64_t flip_at_bytes;
	uint8_t flip_mask;
	unsigned hits;           /* out: how often it applied */
	uint64_t hit_op;         /* out: the last operation that it applied to */
};

struct simstats {
	uint64_t reads, writes, flushes, discards;   /* that reached the disk */
	uint64_t durable_writes;                     /* of the writes */
	uint64_t read_bytes, written_bytes;
};

struct simdisk {
	struct simworld *world;
	unsigned index;
	struct simstore durable, current;
	struct list unflushed;           /* oldest first */
	unsigned unflushed_count;
	struct list hung;                /* writes that have not come back */
	unsigned hung_count;             /* of any kind */
	bool dead;                       /* every operation fails with -EIO; settable at any time */
	bool rotational;
	struct simfault faults[SIM_FAULTS_MAX];
	unsigned fault_count;
	struct simstats stats;
};

/* Called for each piece of each write that reaches a disk (also one in flight at a cut), with the lock held. */
typedef void (*simwrite_hook)(void *ctx, struct simdisk *sim, uint64_t offset_bytes, const void *data, size_t bytes);

/* Called before a write, flush or discard takes effect, with a new world that is as this one would be if the power failed right
 * there: off, with what was in flight among the unflushed writes.  The callee owns it.  Lock held.  Writes of one disk_run call
 * without a flush between them give the same world, and one call. */
typedef void (*simcut_hook)(void *ctx, struct simworld *cut);

/* Called when a call of disk_run is done, for each of its reads that a disk gave, with no lock held: it may do anything, also with the
 * filesystem that reads. */
typedef void (*simread_hook)(void *ctx, struct simdisk *sim, uint64_t offset_bytes, uint64_t bytes);

struct simworld {
	pthread_mutex_t lock;            /* protects all that a disk operation touches */
	unsigned disk_count;
	struct simdisk *disks[SIM_DISKS_MAX];
	uint64_t seed;                   /* as given; for messages */
	uint64_t random_state;
	uint64_t ops;                    /* all operations so far */
	uint64_t changes;                /* writes, flushes and discards so far */
	uint64_t cut_at_op;              /* the power fails at that index of `ops` … */
	uint64_t cut_at_change;          /* … or of `changes` (a cut between reads differs in nothing); SIM_NEVER */
	bool cut;                        /* the power is off */
	uint64_t power_ons;
	bool shuffle;                    /* the ios of one call in random order */
	simwrite_hook on_write;          /* may be NULL */
	void *on_write_ctx;
	simcut_hook on_cut;              /* may be NULL; not in clones */
	void *on_cut_ctx;
	simread_hook on_read;            /* may be NULL; not in clones */
	void *on_read_ctx;
	uint64_t same_cuts;              /* changes for which on_cut was not called: the world was the same as at the one before */
};

struct simworld *simworld_new(uint64_t seed);
void simworld_free(struct simworld *world);
/* The same disks, unflushed writes, faults, counters and random state; no handles.  Cheap. */
struct simworld *simworld_clone(struct simworld *world);
uint64_t simworld_random(struct simworld *world);

/* A new disk full of zeros, owned by the world. */
struct simdisk *simworld_add(struct simworld *world, uint64_t size_bytes);
/* A handle, to be closed with disk_close before the world is freed. */
struct disk *simdisk_open(struct simdisk *sim);
struct simdisk *simdisk_of(struct disk *disk);

/* ---- Power ----
 *
 * The operation that reaches cut_at_* gets -EIO; it and the later ones of the same disk_run call, if
 * they are writes, were in flight: they join the unflushed ones.  Everything after fails with -EIO.
 * To go on: simworld_cut, or one of simdisk_cut_* for each disk and then simworld_power_on. */
enum simcut_policy { SIMCUT_DROP_ALL, SIMCUT_KEEP_ALL, SIMCUT_RANDOM };

void simdisk_cut(struct simdisk *sim, enum simcut_policy policy);
/* `keep` has one entry for each unflushed write, oldest first. */
void simdisk_cut_subset(struct simdisk *sim, const bool *keep);
/* Writes before number `write` are kept, later ones dropped; of it the first `sectors`, or with `from_end` the last. */
void simdisk_cut_torn(struct simdisk *sim, unsigned write, uint64_t sectors, bool from_end);
/* What is kept of one write: sectors [from, to), or with a seed about half of these. */
struct simkeep { uint64_t from, to, seed; };
/* One entry for each unflushed write, oldest first. */
void simdisk_cut_plan(struct simdisk *sim, const struct simkeep *plan);
unsigned simdisk_unflushed(struct simdisk *sim);
uint64_t simdisk_unflushed_sectors(struct simdisk *sim, unsigned write);
/* Power back on: old handles are void, no further cut is planned.  No disk has unflushed writes. */
void simworld_power_on(struct simworld *world);
/* Cuts every disk and powers on. */
void simworld_cut(struct simworld *world, enum simcut_policy policy);

/* ---- Faults ---- */

/* Returns the rule's number, for simdisk_fault_hits. */
unsigned simdisk_fault(struct simdisk *sim, const struct simfault *fault);
unsigned simdisk_fault_hits(struct simdisk *sim, unsigned number);
void simdisk_clear_faults(struct simdisk *sim);
/* The hung operations come back; their writes are carried out, or not. */
void simdisk_return_hung(struct simdisk *sim, bool carried_out);
/* A smaller or larger disk from now on (handles opened before still believe in the old size). */
void simdisk_resize(struct simdisk *sim, uint64_t size_bytes);
/* Flips bits at rest. */
void simdisk_flip(struct simdisk *sim, uint64_t offset_bytes, uint8_t mask);
/* Turns it back if these bytes lie there from that one on, as they are when it is flipped: others may have written there meanwhile. */
#define SIMDISK_FLIP_BACK_MAX 64u
bool simdisk_flip_back(struct simdisk *sim, uint64_t offset_bytes, uint8_t mask, const void *flipped, size_t bytes);

/* ---- For tests: raw access, as reads see it; a poke is durable at once ---- */

void simdisk_peek(struct simdisk *sim, uint64_t offset_bytes, void *buf, size_t bytes);
void simdisk_poke(struct simdisk *sim, uint64_t offset_bytes, const void *data, size_t bytes);
/* What the disk holds now, to be put back later on any disk (a stale member, a clone); freed by the caller. */
struct simstore *simdisk_snapshot(struct simdisk *sim);
void simdisk_replace_with_snapshot(struct simdisk *sim, const struct simstore *snapshot);
void simsnapshot_free(struct simstore *snapshot);
struct simstats simdisk_stats(struct simdisk *sim);

#endif
