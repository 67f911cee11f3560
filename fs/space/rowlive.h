/* From rows to what lives in them: the owners in row items are hints, the pointers that they lead to decide.
 *
 * Relocation, catching up and every walk in the order of addresses use it. */
#ifndef FS_ROWLIVE_H
#define FS_ROWLIVE_H

#include "fs/core.h"
#include "fs/tree/store.h"

/* A record of data or a node whose newest pointer leads into the rows asked for. */
struct live {
	bool node;
	uint8_t tree, level;             /* of a node */
	struct key key;                  /* of a node: a key that leads to it */
	struct disk_pointer pointer;     /* of a node */
	struct record_place place;       /* of data */
};

/* Where the whole sealed record lies, which may be more than what lives of it. */
struct sealed rowlive_sealed(const struct live *live, struct record_ad *ret_ad);
static inline address rowlive_address(const struct live *live)
{
	return live->node ? le64_get(live->pointer.address) : live->place.address - live->place.before;
}

struct live_list { struct live *items; size_t count, room; };

/* Adds what lives in rows [row, row + count) of the band. A body: lock held, may TREE_MISS (nothing is added then). What is dirty in memory
 * has no place any more and is left out. */
int rowlive_collect(struct fs *fs, const struct band *band, uint64_t row, unsigned count, struct live_list *list);
/* The same in operations of its own, under the caller's pin; no lock held.  On failure a part may be listed. */
int rowlive_list(struct fs *fs, const struct band *band, uint64_t row, unsigned count, struct live_list *list);
/* The same where parts of the trees cannot be read or make no sense: what can be listed is, and *ret_whole tells if that is all.
 * Nodes that `unread` has are not tried, new ones are told and noted there. */
int rowlive_list_readable(struct fs *fs, const struct band *band, uint64_t row, unsigned count, struct unread *unread,
	struct live_list *list, bool *ret_whole);
/* rowlive_collect for owners given (of rows that no row item covers yet), whose blocks count from `first_row`. */
int rowlive_owners(struct fs *fs, const struct band *band, uint64_t first_row, const struct row_owner *owners, unsigned owner_count,
	uint64_t row, unsigned count, struct live_list *list);
/* Reads and verifies everything in the list, healing what can be healed; no lock held, under the caller's pin. *ret_bad counts what
 * could not be had. */
int rowlive_verify(struct fs *fs, const struct live_list *list, unsigned *ret_bad);

#endif
