/* Inside of the self-check: what check.c, check_tree.c, check_object.c and check_space.c share. */
#ifndef FS_CHECKIMPL_H
#define FS_CHECKIMPL_H

#include "fs/core.h"

/* Of one band: maps with a bit for each block (the last with one for each row), and what its items say. */
struct check_band {
	uint8_t *reached;                /* a pointer leads there */
	uint8_t *live;                   /* as the bitmap items say */
	uint8_t *pending;                /* used by rows that only the pending records list */
	uint8_t *freed;                  /* on the list of freed blocks */
	uint8_t *owned;                  /* found through owners */
	uint8_t *covered;                /* rows with a row item */
	bool has_item;
	uint64_t item_live, item_free_rows;
};

/* An object of the file tree: what its inode says, and what was counted. */
struct check_object {
	uint64_t ino;
	bool has_inode, missing, orphan, rooted;
	uint32_t mode, links, flags;
	uint64_t size_bytes, blocks, parent, entries, subdirectories;
	uint64_t links_seen, blocks_seen, entries_seen, subdirectories_seen;
	uint64_t link_parent;            /* of its last link */
	uint64_t owners_seen;            /* xattrs whose value it holds */
	uint64_t inline_bytes, extent_end;
	bool has_inline;
};

/* A name, as an entry or as a link. */
struct check_name {
	uint64_t dir, offset, child, hash;
	uint8_t type;                    /* DT_… of an entry */
	bool matched;
};

struct check_hidden { uint64_t owner, object, value_bytes; };

struct check_objects {
	struct check_object *items; size_t count, room;
	struct check_name *entries; size_t entry_count, entry_room;
	struct check_name *links; size_t link_count, link_room;
	struct check_hidden *hidden; size_t hidden_count, hidden_room;
	uint64_t *orphans; size_t orphan_count, orphan_room;
	uint64_t reserved_blocks;
};

struct check {
	struct fs *fs;
	bool data;
	void (*complain)(void *ctx, const char *text);
	void *ctx;
	int64_t findings;
	int error;                       /* what keeps the check from going on: no memory */
	struct root_body body;           /* what is checked: the newest durable trees */
	uint64_t generation;             /* of them */
	struct check_band *bands;        /* as the configuration's */
	struct check_objects objects;
	uint8_t *buffer;                 /* for data: CHECK_READ_RECORDS units */
};
#define CHECK_READ_RECORDS 32u

void check_say(struct check *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Notes that a pointer leads to these blocks: they lie in one unit of a band, and nothing else leads there. */
bool check_reach(struct check *c, address from, unsigned blocks, const char *what);

static inline bool map_get(const uint8_t *map, uint64_t i) { return map[i / 8] >> (i % 8) & 1; }
static inline void map_set(uint8_t *map, uint64_t i) { map[i / 8] |= (uint8_t)(1u << (i % 8)); }

/* check_tree.c: goes through one tree as it is on the disk, in the order of keys. */
void check_tree(struct check *c, const struct disk_pointer *root, uint8_t tree, uint8_t level);

/* check_object.c */
void check_file_item(struct check *c, const struct item *item);
void check_objects_end(struct check *c);

/* check_space.c and check_parity.c */
int check_space_begin(struct check *c);
void check_space_free(struct check *c);
void check_system_item(struct check *c, const struct item *item);
void check_pending(struct check *c);
/* Compares the maps with each other and with all counts. */
void check_space_end(struct check *c);
/* Parity of every row in use. */
void check_parity(struct check *c);

#endif
