/* The oracle of tests: a filesystem in plain memory, to compare a real one with.
 *
 * Inodes stand in slots; a file's bytes are a blob that copies of the model share, so that a snapshot is cheap.  Names are pointers
 * to strings that outlive the model.  What a model does not know it does not check: which blocks a file has, and times but
 * those that were set. */
#ifndef TESTS_LIB_MODEL_H
#define TESTS_LIB_MODEL_H

#include "fs/fs.h"

#define MODEL_INODES 192u
#define MODEL_NAMES 384u
#define MODEL_XATTRS 4u
#define MODEL_ROOT 0             /* the slot of the root directory */

struct blob { unsigned refs; size_t bytes; uint8_t data[]; };

struct blob *blob_new(size_t bytes);     /* zeros */
struct blob *blob_ref(struct blob *blob);
void blob_unref(struct blob *blob);

struct model_xattr { const char *name; struct blob *value; };    /* name NULL: none */

struct model_inode {
	uint64_t ino;                    /* 0: the slot is free */
	uint32_t mode, uid, gid, links;
	uint64_t rdev;
	struct blob *data;               /* of a file or symlink */
	unsigned refs;                   /* taken with fs_ref */
	int parent;                      /* slot, of a directory */
	bool mtime_known;
	int64_t mtime_ns;
	struct model_xattr xattrs[MODEL_XATTRS];
};

struct model_name { int dir, child; const char *name; };         /* name NULL: none */

struct model {
	struct model_inode inodes[MODEL_INODES];
	struct model_name names[MODEL_NAMES];
};

/* An empty root directory, mode 0755 of 0:0. */
void model_init(struct model *model);
void model_free(struct model *model);
/* `ret_copy` is initialised. */
void model_copy(struct model *ret_copy, const struct model *model);

/* -1 if there is none, or no room. */
int model_free_slot(const struct model *model);
int model_free_name(const struct model *model);
/* Index in names[]: -1. */
int model_find(const struct model *model, int dir, const char *name);
bool model_is_dir(const struct model *model, int slot);
bool model_dir_empty(const struct model *model, int dir);
/* Is directory `above` the same as `slot` or above it? */
bool model_is_above(const struct model *model, int above, int slot);
/* Replaces the data by one of `bytes` (cut, or zeros behind), not shared with anybody. */
struct blob *model_own_data(struct model_inode *inode, size_t bytes);
/* Frees the inode if it has neither links nor references. */
void model_reap(struct model *model, int slot);
/* As a mount does: no references are left. */
void model_forget_refs(struct model *model);

/* Is the filesystem what the model says?  Else `why` tells the first difference. */
bool model_compare(const struct model *model, struct fs *fs, char *why, size_t why_bytes);
/* The same, but whether a file's size and bytes are right is for `data` to say, and to explain. */
typedef bool (*model_data_check)(void *ctx, int slot, const uint8_t *bytes, size_t size_bytes, char *why, size_t why_bytes);
bool model_compare_but_data(const struct model *model, struct fs *fs, model_data_check data, void *ctx, char *why, size_t why_bytes);

#endif
