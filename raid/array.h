/* A running array: its members, the rows on them, and their promises and roots.
 *
 * What it does: finds out what members are (array_probe), decides with a key's help which root
 * counts (array_open), reads units and rebuilds missing ones from parity, writes whole rows with
 * their parity, writes promises and roots in the order that the design's R2 and §5 ask for, and drops
 * a member that fails.  It knows nothing of keys or files: whether a label, root or promise is
 * genuine is asked through `struct array_auth`.  How its configuration changes is in raid/array_step.h.
 *
 * A member is in one of the states of enum member_state.  IN_SYNC → OUT when a write, flush or its
 * timeout fails (array drops it at once; `gap` opens from the last generation flushed on it);
 * OUT → FILLING by array_member_return, FILLING → IN_SYNC by array_gap_close.  A second member
 * that cannot be written makes the array read-only: every later write returns -EROFS.  That second one
 * keeps its state, so that what is committed on it can still be read.
 *
 * A member that hangs may still read or write the buffer of the call that it failed, at any later
 * time (raid/disk.h).  So after a read that returned -ETIMEDOUT the buffer is to be given up, and the read tried
 * again in a fresh one: the member has been dropped, if the array can do without it (if not, the next
 * try may time out as well: bound them).  After a write, never change the buffer: unref it.
 *
 * Thread-safe: reads and row writes run in parallel from any number of threads. */
#ifndef RAID_ARRAY_H
#define RAID_ARRAY_H

#include "base/env.h"
#include "base/event.h"
#include "base/fail.h"
#include "raid/choose.h"
#include "raid/config.h"
#include "raid/disk.h"
#include "raid/iobuf.h"
#include "raid/label.h"
#include "raid/layout.h"
#include "raid/ring.h"

/* ---- What members say of themselves (no key needed) ---- */

struct probe_member {
	struct disk *disk;               /* owned by the probe until array_open takes it */
	int label_status;                /* of the best copy: 0, -ENOENT, -EBADMSG, -EPROTONOSUPPORT, -EIO */
	struct label label;              /* of the best copy (highest sequence that decodes) */
	uint8_t copies[LABEL_COPIES][LABEL_BYTES];
	int copy_status[LABEL_COPIES];
	bool has_root;                   /* newest root by header checksum only: a hint for keyless tools */
	struct root_header root_hint;
	uint8_t config_hash_hint[CONFIG_HASH_BYTES];
};

struct probe {
	unsigned count;
	struct probe_member members[MEMBERS_MAX];
};

/* Reads labels (all three copies) and root hints of `disks`, and takes the disks over, also on
 * failure.  A member without any usable label stays in the probe with its label_status. Fails only
 * for: more than MEMBERS_MAX, the same disk twice (disk_same) or two members with one UUID
 * (FAIL_TWICE, naming both), members of two arrays (FAIL_MIXED, naming which belongs to which), no
 * member at all with a label (FAIL_NOT_MEMBER), another version (FAIL_VERSION). */
int array_probe(struct disk **disks, unsigned count, struct probe **ret_probe, struct fail *fail);
void probe_free(struct probe *probe);
/* The best configuration by hints alone, for keyless status: the one that the newest root hint names. */
int probe_config(const struct probe *probe, struct config **ret_config);

/* ---- Opening ---- */

struct array_auth {
	void *ctx;
	bool (*label_ok)(void *ctx, const uint8_t label[LABEL_BYTES]);
	bool (*root_ok)(void *ctx, const uint8_t root[ROOT_BYTES]);
	bool (*promise_ok)(void *ctx, const uint8_t promise[PROMISE_BYTES]);
	/* Fills the MAC of an encoded promise or label. */
	void (*promise_mac)(void *ctx, uint8_t promise[PROMISE_BYTES]);
	void (*label_mac)(void *ctx, uint8_t label[LABEL_BYTES]);
};

struct array_options {
	bool read_only;                  /* no write of any kind to any member */
	int64_t io_timeout_ms;           /* a member that does not answer within it is dropped; 0: 30 s */
	uint64_t read_errors_max;        /* a member is dropped when so many of its reads have failed; 0: no limit */
	const struct env *env;
	const struct event_sink *events;
};

struct array;

/* Chooses the root and opens the array: verifies labels and roots through `auth`, reads the
 * configuration that the chosen root names, matches members to it by UUID.  Takes the probe over
 * (also on failure).  Writes nothing.  Members that are absent, damaged or stale are reported as
 * events; more than one missing for any band or the voters' quorum: FAIL_TOO_FEW naming those
 * that are missing; clones that went separate ways: FAIL_DIVERGED naming both.  Read-only needs no
 * quorum of voters but enough columns to read. */
int array_open(struct probe *probe, const struct array_auth *auth, const struct array_options *options,
	struct array **ret_array, struct fail *fail);
/* Closes all disks.  No flush: what must be durable was flushed by the caller's commit. */
void array_close(struct array *array);
/* Was this device given at open, with a label of the array, and is no member of it (any more)? */
bool array_left_out(const struct array *array, const char *path);

/* The chosen root record as it was read (its body is for the caller to open). */
const uint8_t *array_root_record(const struct array *array);
const struct root_header *array_root_header(const struct array *array);
/* The one in force.  It may be another after a step, and stays as it is until array_close. */
const struct config *array_config(const struct array *array);
const struct label *array_label(const struct array *array);
bool array_read_only(const struct array *array);
#define ARRAY_WHY_BYTES 768u
/* Why it went read-only, one sentence or more for people; empty if it did not. */
void array_why_read_only(struct array *array, char ret_text[ARRAY_WHY_BYTES]);
/* The id of this mount: random once array_take_term has succeeded, zeros before. */
struct mount_id array_mount(const struct array *array);

/* ---- Taking the term, writing roots ---- */

/* Design §5 "Terms": writes and flushes the promise on every present member; the caller then writes
 * the opening root with array_write_root.  Before the first write; again, if that root could not be written.  Also restores label
 * copies that differ from the one that the chosen root names (but see array_complete_labels).  -EROFS, -EIO. */
int array_take_term(struct array *array);
/* Present members that were made again without a key (raid/array_keyless.h), bit by member, until array_complete_labels.
 * What they had in their log rings is gone.  So a read-write mount that finds one commits at once (rule K3). */
uint32_t array_keyless(const struct array *array);
/* After that commit, and array_take_term: gives their labels what only a key can make.  0 also if a member failed in it and was
 * dropped; -EIO, -ENOMEM. */
int array_complete_labels(struct array *array);
/* Fills array, term, mount, config and label names, members' states and gaps of a root to be written (so after the
 * array_flush of its rows, which may drop members); generation, predecessor, tree, tree_before and nonce are the caller's. */
void array_fill_root(struct array *array, struct root_header *header);
/* Writes the record to the ring slot (generation mod slots) of every member that is in sync or filling,
 * and flushes.  The caller has flushed the rows before (array_flush).  If a member fails in here it is
 * dropped, and the root is durable on the others: 0 as long as the array may go on (all but one of
 * the voters have it), *ret_all true when every member in sync when it began has it. The next root then names it out. */
int array_write_root(struct array *array, const uint8_t record[ROOT_BYTES], bool *ret_all);

/* ---- Rows ---- */

/* Writes `row_count` whole rows from `row` of the band: `data` holds their data units in address order
 * (row_count × (width-1) × UNIT_BYTES); parity is computed here.  The rows must not cross the end of the band;
 * row_count ≤ PARITY_RUN_ROWS and within one parity run.  Members that are out are skipped; one that fails is dropped
 * and the call succeeds without it; with two missing columns: -EIO (and the array is read-only). */
int array_write_rows(struct array *array, uint32_t band, uint64_t row, unsigned row_count, struct iobuf *data);
/* Flushes every member that takes writes; drops one that fails. On return every row written before the call is
 * durable on all but at most one column of its band.  `generation` is what is being flushed: members remember it
 * as `from` of a gap that may open later. */
int array_flush(struct array *array, uint64_t generation);

/* Reads blocks [address, address + blocks) of one band into the iobuf at `offset_bytes`, straight from the
 * members where they are trusted for `written` (see below), rebuilding from parity units whose member is out,
 * fails (it is reported, and retried by rebuilding).  No verification: that is the caller's by the tags.
 * Units of members that are out, or whose gap may cover them, come last: the data may then be old.
 * -EIO when more than one unit of a row is missing, -ETIMEDOUT (above), -EINVAL for what is no address. */
int array_read(struct array *array, address from, unsigned blocks, struct iobuf *buf, size_t offset_bytes);
/* As array_read for blocks inside ONE unit, but never from the column that holds it: by XOR of all others
 * (which may be stale as well: array_stale tells). */
int array_read_rebuilt(struct array *array, address from, unsigned blocks, struct iobuf *buf, size_t offset_bytes);
/* The same from that column, of a member that array_read does not ask first since it is out, or being filled: -EIO if it is neither, or
 * does not answer.  What was written before it was dropped may be there, and be nowhere else, if something is wrong with the others. */
int array_read_distrusted(struct array *array, address from, unsigned blocks, struct iobuf *buf, size_t offset_bytes);

/* For healing, catching up and scrubbing: one whole unit of one column of a row, as it lies there
 * (-EIO if that member is out or fails, -ETIMEDOUT), by XOR of all other columns (-EIO if one of them is out or
 * fails; one that is filling is used, and may be stale), and written back. */
int array_read_column(struct array *array, uint32_t band, uint64_t row, unsigned column, struct iobuf *unit);
int array_rebuild_column(struct array *array, uint32_t band, uint64_t row, unsigned column, struct iobuf *ret_unit);
/* Both as far as it can be done: *ret_blocks has a bit for each block of the unit that could be read, or made.  0, -EINVAL, -ENOMEM,
 * and array_read_column_blocks -ETIMEDOUT. */
int array_read_column_blocks(struct array *array, uint32_t band, uint64_t row, unsigned column, struct iobuf *unit, unsigned *ret_blocks);
int array_rebuild_blocks(struct array *array, uint32_t band, uint64_t row, unsigned column, struct iobuf *ret_unit, unsigned *ret_blocks);
/* Blocks [first, first + blocks) of the unit, from the same place in `unit`. */
int array_write_column(struct array *array, uint32_t band, uint64_t row, unsigned column, unsigned first, unsigned blocks,
	struct iobuf *unit);

/* For the same, many rows at once: rows [row, row + row_count) of the columns in `columns` (bit by column) as they lie on their
 * members, bufs[column] taking row_count units, all members side by side; and of one column, written back.  A read tells the
 * columns that could not be read (after a timeout their buffers are not to be used any more) in *ret_failed; 0 or -EINVAL. */
int array_read_run(struct array *array, uint32_t band, uint64_t row, unsigned row_count, uint32_t columns,
	struct iobuf *const bufs[MEMBERS_MAX], uint32_t *ret_failed);
int array_write_run(struct array *array, uint32_t band, uint64_t row, unsigned row_count, unsigned column, struct iobuf *buf);

/* A unit known to be damaged.  array_read and its like note those that a member in sync could not read (and which they made
 * from the others); whoever finds that bytes do not verify notes more.  They are to be mended by the one who takes them. */
struct bad_unit { uint32_t band; uint8_t column, tries; uint64_t row; };
/* Is there once, however often it is noted.  False: there are too many, and it is not. */
bool array_note_damage(struct array *array, const struct bad_unit *unit);
void array_forget_damage(struct array *array, const struct bad_unit *unit);
bool array_has_damage(struct array *array);
/* The oldest; false if there is none. */
bool array_take_damage(struct array *array, struct bad_unit *ret_unit);

/* Could the member's unit of a row with this `written` and address be stale (a gap covers it)? */
bool array_stale(const struct array *array, unsigned member, uint64_t written, address row_address);

/* ---- Intent log (design §9) ----
 *
 * Each member has room for a log ring; a record goes to the same place of the rings of two members in sync, its mirrors. */
#define LOG_MIRRORS 2u
uint64_t array_log_bytes(const struct array *array);     /* of a ring: a multiple of BLOCK_BYTES */
/* Two voters in sync; `turn` spreads the work.  -ENOENT if there are not two, -EROFS. */
int array_log_mirrors(struct array *array, unsigned turn, unsigned ret_members[LOG_MIRRORS]);
/* Are both still in sync, and may be written? */
bool array_log_mirrors_work(struct array *array, const unsigned members[LOG_MIRRORS]);
/* Writes the first `bytes` of `buf` to both rings at `offset_bytes`: durable on both, or -EIO; a mirror that fails is dropped
 * (or the array turns read-only).  After a failure `buf` must not be changed any more: unref it. */
int array_log_write(struct array *array, const unsigned members[LOG_MIRRORS], uint64_t offset_bytes, struct iobuf *buf, size_t bytes);
/* Reads from the ring of one member, whatever its state: 0, -ENOENT (absent), -EIO, -ETIMEDOUT. */
int array_log_read(struct array *array, unsigned member, uint64_t offset_bytes, void *buf, size_t bytes);

/* ---- Members ---- */

struct member_status {
	struct uuid uuid;
	char name[256];                  /* path, empty when absent */
	uint8_t state;
	struct gap gap;
	bool settled;                    /* in sync without a gap, now and in the last root that is durable */
	bool out_for_good;               /* out, now and in the last root that is durable */
	uint8_t role;                    /* enum member_role */
	uint64_t size_bytes;
	uint64_t read_errors, write_errors, healed;
	uint64_t caught_up_bytes;        /* written anew on it since it came back last */
	bool worn_out;                   /* it is out for having reached array_options.read_errors_max */
};
unsigned array_member_count(const struct array *array);
void array_member_status(struct array *array, unsigned member, struct member_status *ret_status);
/* True when any member that votes or has columns is not settled. */
bool array_degraded(struct array *array);
/* Drops a member by hand or because its data is wrong (reported with `why`).  -EBUSY when the array cannot
 * do without it, -EROFS. */
int array_drop_member(struct array *array, unsigned member, const char *why);
/* Can the OUT member's label be read, and is it its own? A disk may be gone, or serve writes and no reads. */
bool array_member_answers(struct array *array, unsigned member);
/* Makes an OUT member that answers again FILLING: between two transactions only (the caller guarantees that no rows
 * are being written), after all its old I/O returned (-EAGAIN else).  `generation` is the one now being made: the
 * gap's `to` becomes the last one before it. */
int array_member_return(struct array *array, unsigned member, uint64_t generation);
/* Before that: the configuration in force on it, durably, since it may come to be the last that has it. */
int array_member_give_config(struct array *array, unsigned member);
/* Adopts a disk (opened by the caller, with the same engine) as the absent or failed member with its UUID, as OUT;
 * -ENOENT if no such member is absent; -EINVAL with FAIL_DIVERGED if its newest root is none of this array's history.  On failure the
 * disk stays the caller's.  For a disk that comes back while mounted, after array_take_term. */
int array_adopt(struct array *array, struct disk *disk, unsigned *ret_member, struct fail *fail);
/* The member that is out and whose disk is still open, by its path: it may return, without a new disk, and its read errors so far are
 * forgiven.  -ENOENT. */
int array_resume(struct array *array, const char *path, unsigned *ret_member);
/* Moves the gap's position on, after a flush of that member; closes it, the member is then IN_SYNC. */
int array_gap_advance(struct array *array, unsigned member, address position);
int array_gap_close(struct array *array, unsigned member);
/* Other rows may be live from now on than those that were when members were filled and columns copied, or it is no longer known which
 * generation wrote them: gaps, where there are any, cover everything up to `generation`, and jobs begin anew.  `older` (or NULL) is the
 * root whose rows these are: who lacked something then may lack it still, though it is in sync, and is verified. */
void array_doubt_rows(struct array *array, uint64_t generation, const struct root_header *older);
void array_count_healed(struct array *array, unsigned member);
void array_count_caught_up(struct array *array, unsigned member, uint64_t bytes);

/* ---- The roots that there still are (raid/array_ring.c) ---- */

/* A root that verifies and names the configuration in force, as it stands in the rings of present members. */
struct array_root {
	uint64_t term, generation;
	uint64_t tree;                   /* the generation that made its trees */
	uint32_t members;                /* bit by member that holds it */
	uint8_t record[ROOT_BYTES];
};
/* The `room` newest of them, the newest first; of one generation there can be several, of different terms.  -EIO if no ring
 * can be read, -ENOMEM. */
int array_list_roots(struct array *array, struct array_root *ret_roots, unsigned room, unsigned *ret_count);
/* The root of that generation, of several the one of the highest term.  -ENOENT, -EIO, -ENOMEM. */
int array_root_of(struct array *array, uint64_t generation, uint8_t ret_record[ROOT_BYTES]);

/* ---- Checking (raid/array_check.c) ---- */

enum array_note {
	ARRAY_NOTE_INFO,                 /* worth saying, and as it may be */
	ARRAY_NOTE_FOUND,                /* damage, which more redundancy is there for */
	ARRAY_NOTE_FIXED,                /* what was done about one */
	ARRAY_NOTE_LEFT,                 /* why nothing could be done */
};
struct array_check {
	bool repair;                     /* else nothing is written */
	void (*note)(void *ctx, enum array_note kind, const char *text);     /* a sentence that names the member */
	void *ctx;
};
struct array_check_result { uint64_t found, fixed, left; };
/* Looks at what every present member has beside its rows: label copies, configuration slots, promises, root ring.  With
 * `repair` label copies are made again from the label that the chosen root names, and configuration slots from the
 * configuration that it names, one write at a time, each flushed and read back.  Needs no term, since each of them is written
 * with the very bytes that belong there.  0 when it ran to its end; -EROFS, -ENOMEM, -EIO (the array had to become read-only). */
int array_check_members(struct array *array, const struct array_check *options, struct array_check_result *ret_result);

/* ---- mkfs ---- */

/* Starts a new array on the disks (taken over, also on failure): wipes what could be mistaken for an older one (the
 * first and last megabyte, label copies, promises, the root ring), writes the configuration, flushes.  The array can
 * then take rows and a root (term 0, generation 1, a zero mount id, written by the caller); array_create_finish comes last. */
int array_create(struct disk **disks, unsigned count, const struct label *label, const struct uuid *member_uuids,
	const struct config *config, const struct array_options *options, struct array **ret_array, struct fail *fail);
/* The last step of mkfs: all label copies, with MACs made by `auth`, flushed. Until then no member is recognised as one. */
int array_create_finish(struct array *array, const struct array_auth *auth, struct fail *fail);

#endif
