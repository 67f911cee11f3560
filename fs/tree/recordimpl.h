/* Inside of a record: for record.c and for those that keep it in nodes, place it and resolve it. */
#ifndef FS_RECORDIMPL_H
#define FS_RECORDIMPL_H

#include "fs/core.h"

/* DIRTY → PLACING (place.c took it off its transaction's list; sealed from now on) → PLACED (written, has an address). */
enum record_state { RECORD_DIRTY, RECORD_PLACING, RECORD_PLACED };

struct record {
	_Atomic unsigned refs;
	unsigned tree_refs;              /* nodes that hold it */
	struct list link;                /* in its transaction's records while DIRTY and in a tree */
	enum record_state state;
	uint64_t txn;                    /* generation that it became part of a tree in; 0 before */
	uint64_t object, block;
	uint8_t blocks;
	bool split;
	/* once PLACED */
	address address;
	uint8_t nonce[16];
	uint32_t index;
	uint8_t tags[UNIT_BLOCKS][16];
	struct share *share;             /* that `data` lies in, or NULL: `own` */
	uint8_t *data;                   /* blocks × BLOCK_BYTES */
	_Alignas(16) uint8_t own[];
};

/* A node takes or gives up its hold of a record. Lock held. */
void record_attach(struct fs *fs, struct record *record);
void record_detach(struct fs *fs, struct record *record);
/* Turns the EXTENT_DIRTY value of a placed record into EXTENT_DATA, in place. */
void record_resolve(struct record *record, uint8_t *value);

#endif
