/* What the open transaction has changed and the intent log does not have yet.  Pure bookkeeping in memory.
 *
 * Operations note what they change; fs/log/log.c turns the notes into a log record and forgets them.  Notes name places
 * only: the values are looked up when the record is made.
 *
 *  - A changed item other than an extent is noted by its key.
 *  - Data is noted in ranges of blocks of an object: `data` was written; `cuts` became holes; `reserved` was allocated without
 *    content.  A cut takes earlier notes of its blocks back; `data` after a cut stands beside it.
 *  - `forced` data must be logged with whatever record comes next, whoever asks for it, since an item logged with it relies on
 *    it: blocks that a cut left in part, and data that was an inline item before.  `whole`: all of the object's.
 *  - covered_bytes: the object's size as far as it does not rest on data that is neither logged nor committed.
 *
 * Notes are limited.  When there would be more, or there is no memory for them, they are `lost`: only a commit will do. */
#ifndef FS_CHANGES_H
#define FS_CHANGES_H

#include "fs/format.h"

#include <stddef.h>

#define CHANGES_KEYS_MAX 16384u
#define CHANGES_OBJECTS_MAX 8192u
#define CHANGES_RANGES_MAX 1024u         /* of each kind and object */

struct range { uint64_t from, to; };
/* Sorted, apart from each other. */
struct ranges { struct range *items; unsigned count, room; };

struct changed {
	uint64_t object;
	struct ranges data, forced, cuts, reserved;
	bool whole;
	bool partial;                    /* the log has its inode with a smaller size, since data is missing there */
	uint64_t covered_bytes;          /* meaningful while `data` is not empty */
};

struct changes;

struct changes *changes_new(void);
/* NULL is fine. */
void changes_free(struct changes *changes);

/* All of the following do nothing when the notes are lost, or `changes` is NULL. */
void changes_key(struct changes *changes, const struct key *key);
/* Blocks [from, to) were written; `size_bytes`: the object's size before. */
void changes_data(struct changes *changes, uint64_t object, uint64_t size_bytes, uint64_t from, uint64_t to);
void changes_force(struct changes *changes, uint64_t object, uint64_t size_bytes, uint64_t from, uint64_t to);
void changes_force_whole(struct changes *changes, uint64_t object);
void changes_cut(struct changes *changes, uint64_t object, uint64_t from, uint64_t to);
/* The size was lowered. */
void changes_shrink(struct changes *changes, uint64_t object, uint64_t size_bytes);
void changes_reserve(struct changes *changes, uint64_t object, uint64_t from, uint64_t to);

/* The rest is for the log. */
bool changes_lost(const struct changes *changes);
/* Anything noted at all? */
bool changes_any(const struct changes *changes);
/* Anything noted of this object (as key.object, or of its data)? True when the notes are lost. */
bool changes_concern(const struct changes *changes, uint64_t object);
size_t changes_key_count(const struct changes *changes);
const struct key *changes_key_at(const struct changes *changes, size_t i);
size_t changes_object_count(const struct changes *changes);
struct changed *changes_object_at(struct changes *changes, size_t i);
/* The object's notes, or NULL. */
struct changed *changes_find(struct changes *changes, uint64_t object);
/* Forgets what was logged: all keys, cuts, reserved and forced ranges, and the data of objects that are `whole`. */
void changes_forget(struct changes *changes);

#endif
