/* Private to raid/array*.c and probe.c: the array's structure, and what its files share.
 *
 * Locking.  `array->mutex` protects what its comments say; it is never held over I/O.  A member's
 * state is written under it and read without: whoever starts I/O takes the state once, and a member
 * that is dropped meanwhile at most gets what was on its way already (rows of a generation above its
 * gap's `from`, or a root whose rows were flushed on it).  No I/O that starts after the drop writes it. */
#ifndef RAID_ARRAY_IMPL_H
#define RAID_ARRAY_IMPL_H

#include "base/cleanup.h"
#include "raid/array.h"

#include <pthread.h>
#include <stdatomic.h>

#define MEMBER_NAME_BYTES 256u
#define IO_TIMEOUT_DEFAULT_MS 30000
/* So many reads of a member that fail in a row, and it is dropped: it serves nobody. */
#define READ_ERRORS_IN_A_ROW_MAX 64u
/* Disks of members that were removed or came back as another disk: let go, and closed with the array, since reads may be on them. */
#define RETIRED_MAX 64u
#define DAMAGE_MAX 256u

struct member {
	struct uuid uuid;
	_Atomic uint8_t role;                /* enum member_role; written under array->mutex */
	uint64_t size_bytes;
	_Atomic(struct disk *) disk;         /* NULL: absent */
	_Atomic uint8_t state;               /* enum member_state; written under array->mutex */
	char name[MEMBER_NAME_BYTES];        /* path; protected by array->mutex */
	struct gap gap;                      /* protected by array->mutex */
	uint64_t flushed;                    /* last generation flushed on it; protected by array->mutex */
	bool settled;                        /* in sync without a gap, by the last durable root too; protected by array->mutex */
	bool out_for_good;                   /* out, by the last durable root too; protected by array->mutex */
	_Atomic uint64_t read_errors, write_errors, healed;
	_Atomic uint64_t caught_up_bytes;    /* since it came back last */
	_Atomic unsigned read_errors_in_a_row;
	uint64_t read_errors_forgiven;       /* protected by array->mutex */
	uint8_t copy_wrong;                  /* bit by label copy that array_take_term shall write … */
	bool keyless;                        /* … or array_complete_labels, since no copy has a MAC */
	bool promise_valid[PROMISE_SLOTS];    /* as found at open */
	uint64_t promise_term[PROMISE_SLOTS];
};

struct former_config {
	struct former_config *next;
	struct config *config;
};

struct array {
	struct array_auth auth;
	int64_t io_timeout_ms;
	uint64_t read_errors_max;
	const struct env *env;
	struct event_sink sink;          /* the caller's, copied */
	const struct event_sink *events; /* it, or NULL */
	_Atomic(struct config *) config;     /* in force; changed under mutex (array_step.c), the one before stays in `former` */
	_Atomic(struct config *) previous;   /* the one before, while no root that names `config` counts; else NULL */
	struct former_config *former;        /* protected by mutex: rows may still be on their way by them */
	address job_position;                /* protected by mutex, like the next */
	unsigned job_epoch;
	uint8_t config_hash[CONFIG_HASH_BYTES];
	struct label label;
	uint8_t label_hash[LABEL_HASH_BYTES];
	bool label_source;                   /* `label` is the one that the root names: copies may be made of it */
	uint8_t record[ROOT_BYTES];          /* the chosen root */
	struct root_header header;
	uint64_t term, next_term;            /* of this mount (0 before it takes one), and the one to take */
	struct mount_id mount;
	_Atomic bool read_only;
	char why_read_only[ARRAY_WHY_BYTES];     /* under the mutex; empty: not because of failures */
	pthread_mutex_t mutex;
	_Atomic unsigned member_count;
	struct member members[MEMBERS_MAX];
	unsigned left_out_count;
	char *left_out[MEMBERS_MAX];         /* paths of devices that are no members any more */
	unsigned retired_count;              /* protected by mutex, like retired[] */
	struct disk *retired[RETIRED_MAX];
	struct disk *removed;                /* of these, the one that is still to be let go; protected by mutex, like the next */
	bool removed_works;                  /* its label is to be wiped first */
	unsigned damage_count;               /* protected by mutex, like damage[] */
	struct bad_unit damage[DAMAGE_MAX];    /* the oldest first */
};

static inline pthread_mutex_t *array_mutex(const struct array *array) { return &((struct array *)array)->mutex; }
static inline uint8_t member_state_now(const struct member *member) { return atomic_load(&member->state); }
/* Rows, roots and flushes go to members in sync and filling. */
static inline bool member_takes_writes(const struct member *member)
{
	uint8_t state = member_state_now(member);
	return state == MEMBER_IN_SYNC || state == MEMBER_FILLING;
}

/* ---- array.c ---- */

/* An empty array with options taken over; no members.  NULL: no memory. */
struct array *array_new(const struct array_options *options);
/* The member as people know it: its path, or its index and UUID. */
void member_describe(const struct uuid *uuid, unsigned index, const char *path, char *text, size_t text_bytes);

/* ---- array_step.c ---- */

/* The second home of a column of the band, while there is one (a job, or a step whose root does not count yet): rows are written to
 * both. */
bool step_second_home(const struct array *array, uint32_t band, unsigned *ret_column, struct column *ret_home);
/* The target of a job was dropped or comes back: what is on it counts for nothing.  Under the mutex. */
void step_member_changed(struct array *array, unsigned index);
/* Jobs begin anew: position 0, another epoch.  Under the mutex. */
void step_restart_jobs(struct array *array);
/* Under the mutex: may the array go on without all of them, by the configuration in force and by one that may still be? */
bool step_can_do_without(const struct array *array, uint32_t lost);
/* This root is durable.  Under the mutex. */
void step_counts(struct array *array, const struct root_header *root);

/* ---- array_prepare.c ---- */

/* Writes the configuration to its slot on the disk. */
int prepare_write_config(struct disk *disk, const struct config *config);

/* ---- array_ring.c ---- */

/* One slot of a member's ring: 0, -ENOENT (empty), -EBADMSG (not a root of this array), -EIO. */
int ring_read(struct array *array, struct disk *disk, uint64_t slot, struct root_header *ret_header, uint8_t ret_record[ROOT_BYTES]);

/* ---- scan.c ---- */

/* What lies on one member, verified through `auth`. */
struct scan {
	bool has_root;
	struct root_header root;             /* the newest that verifies */
	uint8_t record[ROOT_BYTES];
	uint64_t promised_term;
	bool promise_valid[PROMISE_SLOTS];
	uint64_t promise_term[PROMISE_SLOTS];
};

/* Reads ring and promises of a member.  0, -EIO (it cannot be read), -ENOMEM. */
int scan_member(struct disk *disk, const struct geometry *geometry, const struct uuid *array_uuid,
	const struct array_auth *auth, struct scan *ret_scan);
/* The newest root of the member by its header's checksum alone: 0, -ENOENT, -EIO, -ENOMEM. */
int scan_root_hint(struct disk *disk, const struct geometry *geometry, const struct uuid *array_uuid,
	struct root_header *ret_root);
/* The configuration with that hash from either slot of the disk: -ENOENT, -EBADMSG, -ENOMEM. */
int scan_config(struct disk *disk, const struct geometry *geometry, const uint8_t hash[CONFIG_HASH_BYTES],
	struct config **ret_config);
/* Reads all label copies with a status for each: 0, -ENOENT, -EBADMSG, -EPROTONOSUPPORT, -EIO. */
void scan_copies(struct disk *disk, uint8_t ret_copies[LABEL_COPIES][LABEL_BYTES], int ret_status[LABEL_COPIES]);
/* The copy to go by: of those that decode, and are of the array that the first of them names, the one
 * with the highest sequence; with `auth`, one whose MAC holds goes before all others.  Returns its index
 * with *ret_label and status 0, or -1 with the most telling status (*ret_label then only for
 * -EPROTONOSUPPORT). */
int scan_best_copy(uint8_t copies[LABEL_COPIES][LABEL_BYTES], const int status[LABEL_COPIES],
	const struct array_auth *auth, struct label *ret_label, int *ret_status);

/* ---- array_members.c ---- */

/* A write or flush of the member failed with `error`: drops it.  0 if the array goes on without it
 * (also when it was out already); -EIO if it was the second one: the array is then read-only, and the
 * member keeps its state, so that what is committed on it can still be read. */
int member_write_failed(struct array *array, unsigned index, int error, const char *what);
/* A read failed.  Counts, and drops a member that hangs or fails all the time, if the others can do without. */
void member_read_failed(struct array *array, unsigned index, int error);
static inline void member_read_worked(struct member *member)
{
	if (atomic_load_explicit(&member->read_errors_in_a_row, memory_order_relaxed))
		atomic_store(&member->read_errors_in_a_row, 0);
}

#endif
