/* A row dies and would be used again exactly while somebody in the background has read it and is going to write it: making it for a new
 * disk, for one that returned, copying it, healing it; or to write what lives there somewhere else.  A pin keeps it from being used until
 * then.
 *
 * When the file's row has been read, and before the reader goes on, users unlink the file, sync, and write until there is no room: none of
 * that may come to lie in the row.  When the reader is done, the row is used as any other, and everything is right, also without any one
 * disk.
 *
 * Row items lead to the row until the commit that frees it comes to them: so the same once more with the file unlinked and that commit
 * begun before the reader looks for rows, and durable before it goes on. */
#include "fs/core.h"
#include "fs/space/relocate.h"
#include "fs/upkeep/members.h"
#include "fs/upkeep/scrub.h"
#include "raid/array_step.h"
#include "tests/sim/replace_state.h"
#include "tests/sim/spoil.h"
#include "tests/unit/check.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#define DISKS 4u
#define OLD 1u                   /* the member that was away, is replaced, or is damaged */
#define NEW DISKS
#define DISK_BYTES (UINT64_C(8) << 20)
#define PIECE_BYTES (8u * 3u * UNIT_BYTES)   /* rows of its own */
#define PIECES_MAX 200u
#define SECOND_NS INT64_C(1000000000)

enum reader { ADDING, RETURNING, REPLACING, SCRUB, RELOCATION, READERS };
static const char *const reader_names[] = { "adding", "returning", "replacing", "scrub", "relocation" };

struct trap {
	struct simfs *sim;
	address row;                     /* of the file that is to die */
	bool armed, sprung, used_again;
	struct txn *held;                /* a commit that has begun and is held; NULL: none is */
	pthread_t committer;
	bool piece_there[PIECES_MAX];
	unsigned pieces;
};

static void fill(unsigned i, uint8_t *bytes)
{
	for (size_t k = 0; k < PIECE_BYTES; k++)
		bytes[k] = (uint8_t)(i * 59 + k * 13 + k / 257);
}

static void name_of(unsigned i, char name[16]) { snprintf(name, 16, "piece%u", i); }

static address row_of(const struct simfs *sim, uint64_t ino, uint64_t block)
{
	address at = spoil_data_of(sim->fs, ino, block);
	const struct band *b = at ? config_band(replace_config_of(sim), address_band(at)) : NULL;
	return b ? band_row_address(b, band_row_of(b, at)) : 0;
}

/* Writes one more: its inode, or -errno. */
static int64_t write_piece(struct trap *t)
{
	static uint8_t bytes[PIECE_BYTES];
	struct fs_attr attr;
	char name[16];
	if (t->pieces == PIECES_MAX)
		return -ENOSPC;
	name_of(t->pieces, name);
	fill(t->pieces, bytes);
	int r = fs_mknod(t->sim->fs, OBJECT_ROOT, name, S_IFREG | 0644, 0, (struct fs_cred){ 0 }, &attr);
	if (r < 0)
		return r;
	ssize_t n = fs_write(t->sim->fs, attr.ino, bytes, sizeof bytes, 0, false, NULL);
	if (n != (ssize_t)sizeof bytes) {
		CHECK(fs_unlink(t->sim->fs, OBJECT_ROOT, name) == 0);
		return n < 0 ? n : -ENOSPC;
	}
	t->piece_there[t->pieces++] = true;
	return (int64_t)attr.ino;
}

static void unlink_piece(struct trap *t, unsigned i)
{
	char name[16];
	name_of(i, name);
	CHECK(fs_unlink(t->sim->fs, OBJECT_ROOT, name) == 0);
	t->piece_there[i] = false;
}

/* Until one lies in the row, or there is no room. */
static void write_until_used(struct trap *t)
{
	int64_t ino = 0;
	while (!t->used_again && (ino = write_piece(t)) >= 0) {
		CHECK(fs_sync(t->sim->fs) == 0);
		for (unsigned block = 0; block < PIECE_BYTES / BLOCK_BYTES; block += UNIT_BLOCKS)
			t->used_again = t->used_again || row_of(t->sim, (uint64_t)ino, block) == t->row;
	}
	CHECK(t->used_again || ino == -ENOSPC);
}

/* Also takes the room of the first `count` pieces, some at a time, so that the allocator goes round. */
static void write_round(struct trap *t, unsigned count)
{
	write_until_used(t);
	for (unsigned i = 1, gone = 0; gone < count && i < t->pieces && !t->used_again; i++) {
		if (!t->piece_there[i])
			continue;
		unlink_piece(t, i);
		if (++gone % 5 == 0) {
			CHECK(fs_sync(t->sim->fs) == 0);
			write_until_used(t);
		}
	}
}

static bool touches_row(const struct trap *t, const struct simdisk *disk, uint64_t offset_bytes, uint64_t bytes)
{
	const struct config *config = replace_config_of(t->sim);
	const struct band *b = config_band(config, address_band(t->row));
	for (unsigned c = 0; c < b->width; c++) {
		uint64_t at = column_row_offset_bytes(&config->geometry, &b->columns[c], band_row_of(b, t->row));
		if (b->columns[c].member == disk->index && offset_bytes < at + UNIT_BYTES && at < offset_bytes + bytes)
			return true;
	}
	return false;
}

/* The allocator comes by the row next. */
static void move_cursor(struct trap *t)
{
	struct fs *fs = t->sim->fs;
	const struct band *b = config_band(fs->config, address_band(t->row));
	SCOPED_LOCK(&fs->lock);
	fs->alloc.cursor_band = (uint32_t)(b - fs->config->bands);
	fs->alloc.cursor_row = band_row_of(b, t->row);
}

static void *commit(void *ctx)
{
	struct trap *t = ctx;
	CHECK(fs_sync(t->sim->fs) == 0);
	return NULL;
}

/* The file is unlinked, and the commit of that begins, and does not come to the row items before it is let go. */
static void hold_commit(struct trap *t)
{
	struct fs *fs = t->sim->fs;
	bool begun = false;
	unlink_piece(t, 0);
	pthread_mutex_lock(&fs->lock);
	t->held = fs->open;
	t->held->placing++;      /* a commit waits for placements of its own */
	pthread_mutex_unlock(&fs->lock);
	REQUIRE(pthread_create(&t->committer, NULL, commit, t) == 0);
	while (!begun) {
		nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
		pthread_mutex_lock(&fs->lock);
		begun = fs->committing == t->held;
		pthread_mutex_unlock(&fs->lock);
	}
}

static void let_commit_go(struct trap *t)
{
	struct fs *fs = t->sim->fs;
	pthread_mutex_lock(&fs->lock);
	t->held->placing--;
	pthread_cond_broadcast(&fs->progress);
	pthread_mutex_unlock(&fs->lock);
	REQUIRE(pthread_join(t->committer, NULL) == 0);
	t->held = NULL;
}

static void spring(void *ctx, struct simdisk *disk, uint64_t offset_bytes, uint64_t bytes)
{
	struct trap *t = ctx;
	if (!t->armed || !touches_row(t, disk, offset_bytes, bytes))
		return;
	t->armed = false;
	t->sprung = true;
	if (t->held)
		let_commit_go(t);
	else {
		unlink_piece(t, 0);
		CHECK(fs_sync(t->sim->fs) == 0);
	}
	move_cursor(t);
	write_round(t, 5);       /* not more: each commit takes rows, and gets none back meanwhile */
}

static bool pieces_are_there(const struct trap *t)
{
	static uint8_t bytes[PIECE_BYTES], want[PIECE_BYTES];
	for (unsigned i = 0; i < t->pieces; i++) {
		struct fs_attr attr;
		char name[16];
		name_of(i, name);
		fill(i, want);
		int r = fs_lookup(t->sim->fs, OBJECT_ROOT, name, &attr);
		if (t->piece_there[i] ? r < 0 : r != -ENOENT)
			return false;
		if (r == 0 && (fs_read(t->sim->fs, attr.ino, bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes || memcmp(bytes, want, sizeof bytes)))
			return false;
	}
	return true;
}

/* ---- Who reads ---- */

/* With a file in rows of its own, armed. */
static struct story start(enum reader reader, struct trap *t)
{
	struct story story = { 0 };
	REQUIRE(simfs_make(&story.sim, DISKS, DISK_BYTES, CIPHER_XCHACHA20_POLY1305, 120 + reader) == 0);
	REQUIRE(story_write_files(&story, 20) == 0);
	simworld_add(story.sim->world, DISK_BYTES + UNIT_BYTES);
	replace_leave_out(story.sim, NEW, reader == ADDING || reader == RETURNING ? OLD : NO_DISK);
	REQUIRE(simfs_remount(story.sim) == 0);
	*t = (struct trap){ .sim = story.sim };
	int64_t ino = write_piece(t);
	REQUIRE(ino > 0 && story_write_files(&story, 3) == 0);
	for (unsigned unit = 1; unit < PIECE_BYTES / UNIT_BYTES && reader == RELOCATION; unit += 2)
		REQUIRE(fs_fallocate(story.sim->fs, (uint64_t)ino, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, unit * UNIT_BYTES, UNIT_BYTES) == 0);
	REQUIRE(fs_sync(story.sim->fs) == 0);
	t->row = row_of(story.sim, (uint64_t)ino, 3 * UNIT_BLOCKS * 2);
	REQUIRE(t->row);
	story.sim->world->on_read = spring;
	story.sim->world->on_read_ctx = t;
	return story;
}

static void begin(enum reader reader, struct simfs *sim, struct trap *t)
{
	const struct config *config = replace_config_of(sim);
	const struct band *b = config_band(config, address_band(t->row));
	struct disk *disk = reader == ADDING || reader == REPLACING ? simdisk_open(sim->world->disks[NEW])
		: reader == RETURNING ? simdisk_open(sim->world->disks[OLD]) : NULL;
	unsigned member, new_member;
	if (reader == ADDING)
		REQUIRE(fs_member_add(sim->fs, disk, false, &member, &new_member, &sim->fail) == 0);
	else if (reader == REPLACING)
		REQUIRE(fs_member_replace_by(sim->fs, OLD, disk, false, &member, &sim->fail) == 0);
	else if (reader == RETURNING)
		REQUIRE(fs_member_readd(sim->fs, disk, &member, &sim->fail) == 0);
	else if (reader == SCRUB)
		REQUIRE(fs_scrub(sim->fs, SCRUB_START, 0, &sim->fail) == 0);
	for (unsigned c = 0; c < b->width && reader == SCRUB; c++)
		if (b->columns[c].member == OLD)
			simdisk_flip(sim->world->disks[OLD],
				column_row_offset_bytes(&config->geometry, &b->columns[c], band_row_of(b, t->row)) + 777, 0x11);
}

/* Has it made the commit that it needs, so that its next step goes through rows? */
static bool looks_next(enum reader reader, struct simfs *sim)
{
	struct fs *fs = sim->fs;
	struct member_status status;
	struct array_job job;
	array_member_status(fs_array(fs), OLD, &status);
	if (reader == RETURNING)
		return status.state == MEMBER_FILLING && fs->tree_generation > status.gap.to;
	if (reader == SCRUB)
		return fs->durable >= fs->scrub.after;
	return array_job(fs_array(fs), &job) && fs->job.seen && fs->job.epoch == job.epoch && fs->tree_generation > fs->job.before;
}

static void work_until_it_looks(enum reader reader, struct simfs *sim)
{
	unsigned steps = 0;
	while (!looks_next(reader, sim)) {
		CHECK(fs_work(sim->fs) >= 0);
		simfs_sleep(sim, 5 * SECOND_NS);
		REQUIRE(++steps < 100);
	}
}

static void work(enum reader reader, struct simfs *sim, const struct trap *t)
{
	struct scrub_status scrub = { .state = SCRUB_RUNNING };
	for (unsigned i = 0; i < 100 && (!t->sprung || scrub.state == SCRUB_RUNNING); i++) {
		CHECK((reader == RELOCATION ? relocate_batch(sim->fs) : fs_work(sim->fs)) >= 0);
		fs_scrub_status(sim->fs, &scrub);
		simfs_sleep(sim, 5 * SECOND_NS);
	}
}

static void row_dies(enum reader reader, bool committing)
{
	struct trap trap;
	struct story story = start(reader, &trap);
	struct simfs *sim = story.sim;
	begin(reader, sim, &trap);
	if (committing) {
		work_until_it_looks(reader, sim);
		hold_commit(&trap);
	}
	trap.armed = true;
	work(reader, sim, &trap);
	CHECK(trap.sprung);
	CHECK(!trap.used_again);
	CHECK(pieces_are_there(&trap));
	unsigned meanwhile = trap.pieces;
	CHECK(meanwhile > 10);
	write_round(&trap, PIECES_MAX);
	CHECK(trap.used_again);
	CHECK(replace_settle(sim));
	unsigned unused = reader == ADDING || reader == REPLACING ? OLD : NEW;
	CHECK_EQ(replace_role_of(sim, OLD) == MEMBER_UNUSED, unused == OLD);
	CHECK(replace_is_whole(sim, unused, &story));    /* and is mounted read-only since */
	for (unsigned out = 0; out <= DISKS; out++) {
		replace_leave_out(sim, unused, out);
		REQUIRE(simfs_remount(sim) == 0);
		CHECK(pieces_are_there(&trap));
	}
	printf("%s%s: %u pieces written while the row was held, %u in all\n", reader_names[reader], committing ? ", commit under way" : "",
		meanwhile, trap.pieces);
	simfs_free(sim);
}

int main(void)
{
	for (enum reader reader = 0; reader < READERS; reader++)
		row_dies(reader, false);
	for (enum reader reader = 0; reader < RELOCATION; reader++)      /* which goes by the file tree */
		row_dies(reader, true);
	return CHECK_DONE();
}
