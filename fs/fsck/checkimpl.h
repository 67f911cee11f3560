/* Inside of the check and of repair: what check*.c and repair*.c share.
 *
 * Nothing here keeps a thing for each file or block.  What two places say is compared by sums: each side adds up a hash of
 * everything that it says (an entry, a link, a block in use), and the sums are equal if both say the same, whatever the order
 * (else with a probability of 2^-64).  Only where they differ is it searched for what differs: names by looking each one up
 * (check_names.c), blocks by maps of the bands in question (check_map.c). */
#ifndef FS_CHECKIMPL_H
#define FS_CHECKIMPL_H

#include "fs/core.h"
#include "fs/fsck/check.h"
#include "fs/names/path.h"

/* ---- Walking a tree as it is on the disk (check_tree.c) ---- */

struct walk_node {
	const struct disk_pointer *pointer;
	uint8_t tree, level;
	const struct key *low, *high;    /* keys below it lie in [low, high); NULL: no limit */
	const struct walk_node *parent;
	unsigned index;                  /* in the parent */
	uint64_t generation;             /* that wrote it; known when it has been read */
};

/* What is called on the way, in the order of keys; each may be NULL. */
struct walk {
	struct fs *fs;
	uint8_t tree;
	void *ctx;
	bool (*pointer)(void *ctx, const struct walk_node *node);        /* false: do not go there */
	void (*read)(void *ctx, const struct walk_node *node, const uint8_t *image);
	void (*bad)(void *ctx, const struct walk_node *node, const char *what);  /* nothing below it was walked */
	/* A key that is not where it belongs; not walked. `branch`: of a branch's child. */
	void (*bad_key)(void *ctx, const struct walk_node *node, const struct key *key, const char *what);
	void (*item)(void *ctx, const struct walk_node *leaf, const struct item *item);
	uint64_t generation;             /* of the root: nodes are not newer */
	/* Inside. */
	uint64_t nodes_left;             /* no tree has more nodes than the array units */
	bool any;
	struct key last;
	int error;                       /* set by a callback: stops */
};
/* 0, -ENOMEM or what a callback set. */
int walk_tree(struct walk *walk, const struct disk_pointer *root, uint8_t level);
const char *walk_tree_name(uint8_t tree);

/* ---- The check ---- */

/* Of one band: sums over blocks, as the trees reach them and as bits, pending records and row items say. */
struct check_band {
	uint64_t reached, reached_sum, pointer_sum;
	uint64_t bits, bits_sum, owner_sum;      /* bits: in use as the bitmaps and the pending records say together */
	uint64_t extents;                        /* runs of blocks reached: what rebuilding row items has to hold */
	bool has_item, walked, wrong, unowned;
	uint64_t item_live, item_free_rows;
	uint8_t *map[5];                         /* check_map.c */
};
enum check_map { MAP_REACHED, MAP_LIVE, MAP_PENDING, MAP_FREED, MAP_OWNED };

/* The object whose items are being walked. */
struct check_object {
	uint64_t ino;
	bool has_inode, has_inline, insane, listed;
	uint32_t mode, links, flags;
	uint64_t size_bytes, blocks, parent, entries, subdirectories;
	uint64_t links_seen, blocks_seen, entries_seen, subdirectories_seen, link_parent;
	uint64_t link_sum;               /* of its links, when its type is known */
	uint64_t inline_bytes, extent_end;
};

struct check_dir { uint64_t ino, parent; };      /* the highest bit of `ino`: it leads up to the root */

/* What repair shall look at. */
enum suspect_kind {
	SUSPECT_OBJECT, SUSPECT_HEADLESS,        /* with an inode, without */
	SUSPECT_ENTRY, SUSPECT_LINK, SUSPECT_XATTR,      /* at that offset */
	SUSPECT_UNROOTED,                /* a directory that does not lead up to the root */
	SUSPECT_UNOWNED,                 /* a hidden object */
	SUSPECT_PARITY,                  /* of a row: `ino` is its band's id */
	SUSPECT_UNREADABLE,              /* the same: a unit of it cannot be read */
};
struct suspect { uint64_t ino, offset; uint8_t kind; };
/* A child to be cut out of a tree: the pointer in the branch above that leads to it. */
struct cut { struct key key; address at; uint8_t level; };

struct check {
	struct fs *fs;
	const struct fs_check_options *options;
	enum check_note kind;            /* of what is found: CHECK_FOUND, or CHECK_LOST for what stays wrong */
	uint64_t findings;
	int error;                       /* what keeps the check from going on */
	struct root_body body;           /* what is checked: the newest durable trees */
	uint64_t generation;             /* of them */
	struct check_band *bands;        /* as the configuration's */
	uint64_t key[2];                 /* of the sums */
	uint64_t done_nodes, total_nodes;
	const char *phase;

	struct check_object object;
	uint64_t entry_sum, link_sum, hidden_sum, owned_sum;
	uint64_t inodes, last_ino, reserved_blocks;
	uint64_t directories, files;
	bool names_unsure;               /* a part of the file tree cannot be read */
	uint64_t space_findings, parity_findings;
	struct check_dir *dirs; size_t dir_count, dir_room;
	struct suspect *suspects; size_t suspect_count, suspect_room;
	struct cut *cuts; size_t cut_count, cut_room;
	struct freed *twice; size_t twice_count, twice_room;     /* blocks that two pointers lead to */

	/* check_space.c: the band whose items are being walked. */
	const struct band *band;
	uint8_t *live, *expected, *covered;      /* a bit for each block, twice, and for each row */
	bool expected_made;
	uint64_t next_row;

	char **texts; size_t text_count, text_room;      /* kept back: what may turn out to be left */
	bool keep;
	uint8_t *buffer;                 /* for data: CHECK_READ_RECORDS units */
};
#define CHECK_READ_RECORDS 32u
#define CHECK_TEXTS_MAX 1000u

/* Something is wrong. */
void check_say(struct check *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Something cannot be had any more. */
void check_lost(struct check *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* A note that is no finding. */
void check_note(struct check *c, enum check_note kind, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* Asks whether to go on. */
void check_progress(struct check *c, uint64_t done, uint64_t total);
void check_suspect(struct check *c, enum suspect_kind kind, uint64_t ino, uint64_t offset);
/* One whole check, of an idle filesystem (-EBUSY). The caller frees it. */
int check_begin(struct check *c, struct fs *fs, const struct fs_check_options *options);
int check_all(struct check *c);
void check_free(struct check *c);
/* Nothing is dirty, and no placement is under way. */
bool check_idle(struct fs *fs);

static inline bool map_get(const uint8_t *map, uint64_t i) { return map[i / 8] >> (i % 8) & 1; }
static inline void map_set(uint8_t *map, uint64_t i) { map[i / 8] |= (uint8_t)(1u << (i % 8)); }
static inline void map_clear(uint8_t *map, uint64_t i) { map[i / 8] &= (uint8_t)~(1u << (i % 8)); }
uint64_t check_mix(uint64_t x);

/* Looks an item up, with its value copied (at most `room_bytes`). -ENOENT, or what reading failed with. */
int check_lookup(struct fs *fs, struct tree *tree, const struct key *key, void *ret_value, unsigned room_bytes, unsigned *ret_bytes);

/* check_log.c: the intent log that is still to be replayed. */
void check_log(struct check *c);
/* check_object.c */
void check_file_item(struct check *c, const struct item *item);
void check_objects_end(struct check *c);
/* check_names.c: looks every name up. */
void check_names(struct check *c);

/* check_space.c */
int check_space_begin(struct check *c);
void check_space_free(struct check *c);
/* Notes that a pointer leads to these blocks: they lie in one unit of a band. `sum` says what the owner is. */
bool check_reach(struct check *c, address from, unsigned blocks, const char *what);
uint64_t check_node_sum(const struct check *c, address at, uint8_t tree, uint8_t level);
uint64_t check_data_sum(const struct check *c, address at, uint64_t ino, uint64_t block);
void check_pointer_sum(struct check *c, address at, uint64_t sum);
void check_system_item(struct check *c, const struct item *item);
void check_pending(struct check *c);
void check_space_end(struct check *c);
struct check_band *check_band_of(struct check *c, address at);
/* check_map.c: finds out which blocks of the bands that are wrong differ. */
void check_maps(struct check *c);
/* check_parity.c: parity of the rows in use of one band, as a map of blocks says. */
void check_band_parity(struct check *c, const struct band *b, const uint8_t *in_use);
/* Of one row, now. */
bool check_row_parity(struct fs *fs, const struct band *b, uint64_t row);

/* ---- Repair ---- */

/* repair.c: says what was done. */
void repair_say(struct check *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* One round, by what the check found, each step an ordinary transaction. */
int repair_round(struct check *c);
/* repair_space.c: makes the system tree anew from what the file tree reaches, and commits it. */
int repair_space(struct check *c);

/* check_log.c: replays the intent log that waits, and commits. Nodes that cannot be read are cut out before. */
int repair_log(struct check *c);
/* repair_object.c: makes an object's items agree with each other. */
int repair_object(struct check *c, uint64_t ino);
/* Of one without an inode: its names are looked at afterwards. */
int repair_headless(struct check *c, uint64_t ino);
/* repair_twice.c: of two extents that lead to the same blocks, takes out the one whose records do not verify. */
int repair_twice(struct check *c);
/* repair_names.c */
int repair_entry(struct check *c, uint64_t dir, uint64_t offset);
int repair_link(struct check *c, uint64_t ino, uint64_t offset);
int repair_xattr(struct check *c, uint64_t ino, uint64_t offset);
/* A hidden object that nothing owns is freed. */
int repair_unowned(struct check *c, uint64_t ino);
int repair_unrooted(struct check *c, uint64_t ino);
/* Puts an object that nothing names into /lost+found. */
int repair_found(struct check *c, uint64_t ino);

#endif
