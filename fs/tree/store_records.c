/* Many records of a file, with few reads: they are sorted by where they lie, and what lies close together is read with one call.
 *
 * So a file that was overwritten here and there is read nearly as fast as one that was not: what is left of its records lies in the order of
 * the file still, and what replaced the rest in the order of the file too, beside other such blocks of one commit.  Several parts of
 * one record, which follow one another here, are opened once; of a single part no more is decrypted than that. */
#include "fs/tree/store.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define RUN_BLOCKS_MAX 256u
/* Reading so many blocks that nobody asked for costs less than another read. */
#define GAP_BLOCKS_MAX (4u * UNIT_BLOCKS)

struct wanted { address start, end; unsigned index; };       /* of the whole record */

static int compare(const void *a, const void *b)
{
	address x = ((const struct wanted *)a)->start, y = ((const struct wanted *)b)->start;
	return x < y ? -1 : x > y;
}

static bool is_part(const struct record_place *p) { return p->blocks != p->whole; }

static bool same_record(const struct record_place *a, const struct record_place *b)
{
	return a->address - a->before == b->address - b->before && a->whole == b->whole && a->index == b->index
		&& !memcmp(a->nonce, b->nonce, sizeof a->nonce) && !memcmp(a->tag, b->tag, sizeof a->tag);
}

/* Opens the records of one run one after the other. */
struct opening {
	struct fs *fs;
	struct iobuf *buf;               /* blocks from `from` on; NULL: they could not be read as a whole, for the sake of others maybe */
	address from;
	struct seal_batch batch;
	const struct record_place *last; /* that the batch is for */
	uint8_t *whole;                  /* UNIT_BYTES: a record of which several parts are wanted */
};

/* What was read of the record; the batch is made its own. */
static const uint8_t *begin_opening(struct opening *o, const struct record_place *p, const struct sealed *s)
{
	if (!o->last || memcmp(p->nonce, o->last->nonce, sizeof p->nonce)) {
		if (o->last)
			seal_batch_end(&o->batch);
		open_batch_begin(&o->fs->keys->data, p->nonce, &o->batch);
	}
	o->last = p;
	return o->buf->data + (s->address - o->from) * BLOCK_BYTES;
}

static int open_whole(struct opening *o, const struct record_place *p, uint8_t *ret_plain)
{
	struct record_ad ad;
	struct sealed s = store_place(p, &ad);
	if (!o->buf)
		return store_read(o->fs, &s, ret_plain);
	const uint8_t *sealed = begin_opening(o, p, &s);
	int r = open_record_in(&o->batch, s.index, &ad, sizeof ad, sealed, s.blocks * BLOCK_BYTES, s.tag, ret_plain);
	return r < 0 ? store_read_rebuilt(o->fs, &s, ret_plain) : 0;
}

/* A part alone, if the record is as it was sealed. */
static bool open_part(struct opening *o, const struct record_place *p, uint8_t *ret_part)
{
	struct record_ad ad;
	struct sealed s = store_place(p, &ad);
	if (!o->buf)
		return false;
	const uint8_t *sealed = begin_opening(o, p, &s);
	return open_part_in(&o->batch, s.index, &ad, sizeof ad, sealed, s.blocks * BLOCK_BYTES, s.tag, p->before * BLOCK_BYTES,
		p->blocks * BLOCK_BYTES, ret_part, o->whole) == 0;
}

static bool parts_of_one(const struct record_place *p, const struct record_place *other)
{
	return other && is_part(other) && same_record(p, other);
}

/* `before` and `after`: its neighbours in the run, or NULL. */
static int open_one(struct opening *o, const struct record_place *p, const struct record_place *before, const struct record_place *after,
	uint8_t *ret_bytes)
{
	if (!is_part(p))
		return open_whole(o, p, ret_bytes);
	if (!parts_of_one(p, before)) {
		if (!parts_of_one(p, after) && open_part(o, p, ret_bytes))
			return 0;
		int r = open_whole(o, p, o->whole);
		if (r < 0)
			return r;
	}
	memcpy(ret_bytes, o->whole + p->before * BLOCK_BYTES, p->blocks * BLOCK_BYTES);
	return 0;
}

/* `ret_last`: the index of the last one that was tried. */
static int read_run(struct fs *fs, const struct wanted *run, unsigned count, const struct record_place *places, void *const *bufs,
	unsigned *ret_last)
{
	address end = run[count - 1].end;
	uint8_t whole[UNIT_BYTES];
	struct opening o = { .fs = fs, .from = run[0].start, .whole = whole };
	int r = 0;
	o.buf = iobuf_new((size_t)(end - o.from) * BLOCK_BYTES);
	if (!o.buf)
		return -ENOMEM;
	if (array_read(fs->array, o.from, (unsigned)(end - o.from), o.buf, 0) < 0) {
		iobuf_unref(o.buf);
		o.buf = NULL;
	}
	for (unsigned i = 0; i < count && r == 0; i++) {
		*ret_last = run[i].index;
		r = open_one(&o, &places[run[i].index], i ? &places[run[i - 1].index] : NULL, i + 1 < count ? &places[run[i + 1].index] : NULL,
			bufs[run[i].index]);
	}
	if (o.last)
		seal_batch_end(&o.batch);
	iobuf_unref(o.buf);
	return r;
}

/* How many of them, from the first on, can be read with one call? */
static unsigned run_length(const struct wanted *all, unsigned count)
{
	unsigned n = 1;
	while (n < count && address_band(all[n].start) == address_band(all[0].start) && all[n].start <= all[n - 1].end + GAP_BLOCKS_MAX
		&& all[n].end >= all[n - 1].end && all[n].end - all[0].start <= RUN_BLOCKS_MAX)
		n++;
	return n;
}

int store_read_records(struct fs *fs, const struct record_place *places, void *const *bufs, unsigned count, unsigned *ret_lost)
{
	autofree struct wanted *all = malloc((count + 1) * sizeof *all);
	bool sorted = true;
	unsigned last = 0;
	int r = 0;
	if (!all)
		return -ENOMEM;
	for (unsigned i = 0; i < count; i++) {
		address start = places[i].address - places[i].before;
		if (!store_address_valid(fs, start, places[i].whole))
			return -EUCLEAN;
		all[i] = (struct wanted){ start, start + places[i].whole, i };
		sorted = sorted && (i == 0 || all[i - 1].start <= start);
	}
	if (!sorted)
		qsort(all, count, sizeof *all, compare);
	for (unsigned i = 0, n; i < count && r == 0; i += n) {
		n = run_length(all + i, count - i);
		r = read_run(fs, all + i, n, places, bufs, &last);
	}
	if (r == -EIO && ret_lost)
		*ret_lost = last;
	return r;
}
