/* Every on-disk structure of fs/: keys, tree nodes, pointers, items, root body, pending records.
 *
 * doc/format.md describes them; a change here changes it in the same commit.  All fields are
 * little-endian by type and of alignment 1; reserved fields are zero and are checked. */
#ifndef FS_FORMAT_H
#define FS_FORMAT_H

#include "base/le.h"
#include "raid/layout.h"
#include "raid/ring.h"

#include <assert.h>
#include <stdbool.h>

/* ---- Keys ---- */

enum tree_id { TREE_FILE = 0, TREE_SYSTEM = 1 };

/* Item types.  A program that meets a type it does not know refuses the tree (-EPROTONOSUPPORT). */
enum item_type {
	/* file tree; object = inode number */
	ITEM_INODE = 1,          /* offset 0: struct inode_item */
	ITEM_LINK = 2,           /* offset = hash of (parent, name) as the dirent's; struct link_item: the inode's parents and names */
	ITEM_XATTR = 3,          /* offset = hash of the name: struct xattr_item */
	ITEM_DIRENT = 4,         /* object = directory; offset = hash of the name (readdir cookie): struct dirent_item */
	ITEM_INLINE = 5,         /* offset 0: the bytes of a small file or a short symlink */
	ITEM_EXTENT = 6,         /* offset = first block in the file: struct extent_item */
	ITEM_ORPHAN = 7,         /* object = OBJECT_ORPHANS, offset = inode number; empty value */
	/* reserved, none is written or accepted today */
	ITEM_SHARED_EXTENT = 16,
	ITEM_COMPRESSED_EXTENT = 17,
	ITEM_SNAPSHOT = 18,
	ITEM_CASEFOLD_DIRENT = 19,
	/* system tree; object = band id, but for bands, which lie together so that a mount reads few nodes */
	ITEM_BAND = 32,          /* object = OBJECT_BANDS, offset = band id: struct band_item */
	ITEM_BITMAP = 33,        /* offset = chunk: bits of BITMAP_CHUNK_ROWS rows */
	ITEM_ROWS = 34,          /* offset = first row: struct rows_item */
	ITEM_SCRUB = 35,         /* object = OBJECT_SCRUB, offset 0: struct scrub_item */
};

#define OBJECT_ORPHANS UINT64_C(0)
#define OBJECT_BANDS UINT64_C(0)         /* of the system tree; band ids begin at 1 */
#define OBJECT_SCRUB UINT64_C(0)         /* of the system tree: beside the bands, whose nodes a mount reads */
#define OBJECT_ROOT UINT64_C(1)          /* inode number of the root directory (FUSE's too) */
#define OBJECT_FIRST_FREE UINT64_C(16)

/* A key in memory; on disk as struct disk_key. Compared in the order of its fields. */
struct key {
	uint64_t object;
	uint8_t type;
	uint64_t offset;
	uint32_t version;        /* 0 today: snapshots will live here */
};

struct disk_key {
	le64 object;
	le64 offset;
	le32 version;
	uint8_t type;
	uint8_t zero[3];
};
static_assert(sizeof(struct disk_key) == 24, "disk_key");

/* ---- Pointers (rule R4) ---- */

/* A pointer vouches for the record it names: where, how long, under which key, nonce and tag. */
struct disk_pointer {
	le64 address;
	le32 length_bytes;       /* of the record as stored: a multiple of BLOCK_BYTES, at most UNIT_BYTES */
	le16 key;                /* number of the data key: 0 today */
	uint8_t zero[2];
	uint8_t nonce[16];
	le32 index;
	uint8_t tag[16];
};
static_assert(sizeof(struct disk_pointer) == 52, "disk_pointer");

/* ---- Nodes ---- */

#define NODE_BYTES UNIT_BYTES
#define NODE_MAGIC 0x4e463552u           /* "R5FN" */
#define NODE_LEVEL_MAX 15
#define ITEM_VALUE_MAX 4352u             /* at least three of the largest items fit a node */

struct node_header {
	le32 magic;
	uint8_t tree;            /* enum tree_id */
	uint8_t level;           /* 0: leaf */
	le16 count;              /* of items */
	le64 generation;         /* that wrote it */
	le16 values_start;       /* lowest byte used by values */
	le16 values_bytes;       /* sum of all values: NODE_BYTES - values_start on the disk */
	uint8_t zero[12];
};
static_assert(sizeof(struct node_header) == 32, "node_header");

/* Heads lie behind the header in the order of keys; values lie at the end of the node, without gaps
 * on the disk, in any order. A branch's values are struct branch_value. */
struct item_head {
	struct disk_key key;
	le16 value_offset;       /* from the node's start */
	le16 value_bytes;
};
static_assert(sizeof(struct item_head) == 28, "item_head");

struct branch_value {
	struct disk_pointer pointer;
	uint8_t memory[12];      /* a reference to a child in memory; zero on the disk */
};
static_assert(sizeof(struct branch_value) == 64, "branch_value");

/* Associated data of a sealed record. */
enum record_kind { RECORD_NODE = 1, RECORD_DATA = 2, RECORD_PENDING = 3 };
struct record_ad {
	le32 format;             /* FORMAT_VERSION */
	uint8_t kind;
	uint8_t tree;            /* of a node */
	uint8_t level;           /* of a node */
	uint8_t zero;
	le32 length_bytes;
	le64 object;             /* of data: inode number */
	le64 offset;             /* of data: first block in the file; of a pending record: the generation */
};
static_assert(sizeof(struct record_ad) == 28, "record_ad");

/* ---- Items of the file tree ---- */

struct disk_time { le64 seconds; le32 nanoseconds; };
static_assert(sizeof(struct disk_time) == 12, "disk_time");

#define INODE_HAS_INLINE 1u      /* data is in ITEM_INLINE */
#define INODE_FLAGS_KNOWN 1u
struct inode_item {
	le32 mode;               /* type and permissions as st_mode */
	le32 uid, gid;
	le32 links;
	le64 size_bytes;
	le64 blocks;             /* BLOCK_BYTES each, data and reserved */
	le64 rdev;
	le64 parent;             /* of a directory */
	le32 flags;
	le32 generation;         /* for export by handle */
	struct disk_time atime, mtime, ctime, btime;
	le64 entries;            /* of a directory */
	le64 subdirectories;     /* of a directory */
	uint8_t zero[16];
};
static_assert(sizeof(struct inode_item) == 136, "inode_item");

#define NAME_BYTES_MAX 255u
struct dirent_item {             /* name follows */
	le64 object;
	uint8_t type;            /* DT_… */
	uint8_t name_bytes;
	char name[];
};
static_assert(sizeof(struct dirent_item) == 10, "dirent_item");

struct link_item {               /* name follows */
	le64 parent;
	le64 dirent_offset;      /* key offset of the entry in the parent */
	uint8_t name_bytes;
	char name[];
};
static_assert(sizeof(struct link_item) == 17, "link_item");

#define XATTR_INLINE_MAX 2048u   /* longer values are data of a hidden object */
#define XATTR_VALUE_MAX 65536u
struct xattr_item {              /* name, then the value unless `object` is set */
	le64 object;             /* hidden object that holds the value, or 0 */
	le32 value_bytes;
	uint8_t name_bytes;
	char name[];
};
static_assert(sizeof(struct xattr_item) == 13, "xattr_item");

#define INLINE_MAX 2048u         /* longest file or symlink kept in the tree */

enum extent_kind {
	EXTENT_DATA = 1,
	EXTENT_RESERVED = 2,     /* fallocated space without an address; reads as zeros */
	EXTENT_REST = 3,         /* what is left of a record when others of its blocks were replaced or went */
	EXTENT_DIRTY = 0x80,     /* in memory only: a record that has no address yet (fs/tree/record.h) */
};
/* Records [0, records) each of record_blocks blocks, the last one of last_blocks; contiguous in the file
 * and on the array; sealed in one batch with indexes counting up.  EXTENT_RESERVED has `blocks` alone.  EXTENT_REST covers
 * `blocks` of one record of record_blocks, of which last_blocks lie before; `address` is that of its own first block. */
#define EXTENT_RECORDS_MAX 128u
struct extent_item {
	uint8_t kind;            /* enum extent_kind */
	uint8_t compression;     /* 0: none; no other is known */
	le16 key;                /* number of the data key */
	uint8_t record_blocks;   /* 1 … UNIT_BLOCKS */
	uint8_t last_blocks;
	le16 records;
	le32 blocks;             /* in all */
	le64 address;
	uint8_t nonce[16];
	le32 index;              /* of the first record in its batch */
	uint8_t tags[][16];
};
static_assert(sizeof(struct extent_item) == 40, "extent_item");
#define EXTENT_BYTES(records) (sizeof(struct extent_item) + 16u * (records))

/* ---- Items of the system tree ---- */

#define BITMAP_CHUNK_ROWS 256u   /* a bit for each block, row by row; an absent chunk is all free */

struct band_item {
	le64 live_blocks;        /* bits set */
	le64 free_rows;          /* rows with no bit set */
};

/* One owner of blocks in a run of rows: a hint that leads from an address to its pointer. */
struct row_owner {
	le64 object;             /* of data: inode; of a node: object of its first key */
	le64 offset;             /* of data: block in the file; of a node: offset of its first key */
	le32 version;
	uint8_t type;            /* ITEM_EXTENT for data; of a node: type of its first key */
	uint8_t level;           /* of a node; or ROW_OWNER_DATA, ROW_OWNER_PENDING */
	uint8_t tree;            /* enum tree_id */
	uint8_t zero;
	le16 start_block;        /* in the run */
	le16 blocks;
	uint8_t zero2[4];
};
static_assert(sizeof(struct row_owner) == 32, "row_owner");
#define ROW_OWNER_DATA 0xff
#define ROW_OWNER_PENDING 0xfe    /* a pending record */
#define ROW_OWNERS_MAX 128u

struct rows_item {
	le64 written;            /* the generation that wrote these rows */
	le16 rows;               /* 1 … PARITY_RUN_ROWS */
	le16 owners;
	uint8_t zero[4];
	struct row_owner owner[];
};
static_assert(sizeof(struct rows_item) == 16, "rows_item");

/* What a scrub has found. */
struct scrub_item_result {
	le64 began, ended;       /* nanoseconds since 1970; ended 0: it is under way */
	le64 rows, damaged, unreadable, tree_errors;
	le64 unclear;
};
static_assert(sizeof(struct scrub_item_result) == 56, "scrub_item_result");

/* Of one member, which may have left since. */
struct scrub_item_member {
	struct uuid member;
	le64 units;              /* not 0 */
};
static_assert(sizeof(struct scrub_item_member) == 24, "scrub_item_member");

struct scrub_item {
	uint8_t state;           /* enum scrub_state (fs/upkeep/scrub.h) */
	uint8_t now_members, last_members;       /* so many of `members` are of `now`; behind them, of `last` */
	uint8_t zero[5];
	le64 position;           /* address of the first block of a row: those before it were verified; 0: none was */
	le64 speed_bytes;        /* limit that was given with it; 0: none */
	struct scrub_item_result now;    /* of the one that `state` speaks of */
	struct scrub_item_result last;   /* of the last one that went through; zeros: none did */
	struct scrub_item_member members[];      /* of each list in the order of their UUIDs */
};
static_assert(sizeof(struct scrub_item) == 136, "scrub_item");
#define SCRUB_ITEM_BYTES_MAX (sizeof(struct scrub_item) + 2 * MEMBERS_MAX * sizeof(struct scrub_item_member))
static_assert(SCRUB_ITEM_BYTES_MAX <= ITEM_VALUE_MAX, "a scrub fits an item");

/* ---- Pending records (design §8): what this generation wrote or freed and no bitmap says yet ---- */

enum pending_kind {
	PENDING_WRITTEN = 1,     /* a run of rows of data or of file-tree nodes: already in bitmaps; for gaps */
	PENDING_SYSTEM = 2,      /* a run of rows of system-tree nodes and pending records: not in bitmaps yet */
	PENDING_OWNER = 3,       /* an owner in the run named before it (system-tree nodes) */
	PENDING_FREED = 4,       /* blocks that this generation freed and no bitmap shows as free yet */
};
struct pending_entry {
	uint8_t kind;
	uint8_t level;           /* OWNER: node level, or ROW_OWNER_PENDING */
	uint8_t key_type;        /* OWNER: first key of the node */
	uint8_t zero;
	le32 count;              /* WRITTEN, SYSTEM: rows; OWNER: blocks; FREED: blocks */
	le64 address;            /* of the first row, node or block */
	le64 key_object, key_offset;
};
static_assert(sizeof(struct pending_entry) == 32, "pending_entry");

#define PENDING_MAGIC 0x50463552u        /* "R5FP" */
struct pending_header {
	le32 magic;
	le32 count;
	struct disk_pointer next;        /* length 0: the last */
	le64 generation;                 /* that wrote it */
	uint8_t zero[12];
};
static_assert(sizeof(struct pending_header) == 80, "pending_header");
#define PENDING_ENTRIES_MAX ((UNIT_BYTES - sizeof(struct pending_header)) / sizeof(struct pending_entry))

/* ---- Intent log (design §9; fs/log/log.h) ----
 *
 * A log record is a multiple of BLOCK_BYTES: the header, in the clear but authenticated (all of it before `tag` is the associated
 * data), then the sealed body: struct log_body, entries, and zeros up to the end of the record. */
#define LOG_MAGIC 0x4c463552u            /* "R5FL" */
#define LOG_RECORD_BYTES_MAX (1u << 20)
struct log_header {
	le32 magic;
	le32 length_bytes;       /* of the whole record */
	le64 sequence;
	uint8_t mount[16];       /* of the mount that wrote it */
	le64 transaction;        /* that the changes belong to */
	le64 flushed;            /* the highest sequence known to be durable on both mirrors */
	uint8_t previous_tag[16];        /* of the record with the sequence before; zeros for a mount's first */
	uint8_t nonce[24];
	uint8_t zero[24];
	uint8_t tag[16];
};
static_assert(sizeof(struct log_header) == 128, "log_header");
#define LOG_AD_BYTES (sizeof(struct log_header) - 16)

struct log_body {
	le64 next_object;        /* the next inode number */
	le32 entries;
	uint8_t zero[4];
};
static_assert(sizeof(struct log_body) == 16, "log_body");

/* Entries come in the order of their kinds, and replay applies them in this order. */
enum log_kind {
	LOG_CUT = 1,             /* blocks [key.offset, + count) of the object are a hole */
	LOG_DELETE = 2,          /* the item is gone */
	LOG_ITEM = 3,            /* the item has this value; an inode's `blocks` is not meant */
	LOG_RESERVE = 4,         /* holes in blocks [key.offset, + count) of the object become reserved space */
	LOG_DATA = 5,            /* blocks [key.offset, + count) of the object have this content */
};
struct log_entry {               /* `bytes` bytes follow */
	uint8_t kind;
	uint8_t zero[3];
	le32 bytes;
	struct disk_key key;     /* CUT, RESERVE, DATA: of type ITEM_EXTENT; DELETE, ITEM: of any other type of the file tree */
	le64 count;              /* blocks; 0 for DELETE and ITEM */
};
static_assert(sizeof(struct log_entry) == 40, "log_entry");

/* ---- Root body (sealed; the header is raid/ring.h's) ---- */

struct root_body {
	struct disk_pointer file_tree, system_tree, pending;     /* length 0: none */
	uint8_t file_level, system_level;                        /* of the trees' root nodes */
	uint8_t zero[6];
	le64 live_blocks;        /* bits set in bitmaps */
	le64 reserved_blocks;    /* of EXTENT_RESERVED */
	le64 capacity_blocks;
	le64 inodes;
	le64 next_object;        /* the next inode number */
	/* The first log record that this root does not contain. */
	uint8_t log_mount[16];
	le64 log_sequence;
	uint8_t log_tag[16];     /* of its predecessor */
	le64 log_offset_bytes;   /* in the log rings */
	/* Where the allocator goes on. */
	le64 alloc_cursor;
};
static_assert(sizeof(struct root_body) == 260, "root_body");
static_assert(sizeof(struct root_body) <= ROOT_BODY_BYTES, "root body fits");

#endif
