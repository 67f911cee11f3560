/* Runs operations and keeps what the filesystem was after each, and the world at each write and flush.  See power.h. */
#include "tests/sim/power.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BASE_FILE_BYTES 40000

uint64_t power_next(struct power_random *random)
{
	uint64_t z = random->state += 0x9e3779b97f4a7c15;      /* splitmix64 */
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

unsigned power_pick(struct power_random *random, unsigned below) { return (unsigned)(power_next(random) % below); }

uint64_t power_mix(uint64_t a, uint64_t b)
{
	struct power_random random = { a * 0x9e3779b97f4a7c15 + b };
	return power_next(&random);
}

static void *grown(void *items, unsigned count, unsigned *room, size_t item_bytes)
{
	if (count < *room)
		return items;
	*room = *room ? 2 * *room : 16;
	items = realloc(items, *room * item_bytes);
	if (!items)
		abort();
	return items;
}

static void push_state(struct play *play)
{
	struct timeline *line = &play->line;
	line->states = grown(line->states, line->count, &line->room, sizeof *line->states);
	model_copy(&line->states[line->count], &play->now);
	/* The next mount knows of no references. */
	model_forget_refs(&line->states[line->count++]);
}

static void push_ack(struct timeline *line, unsigned index, uint64_t ino)
{
	line->acks = grown(line->acks, line->ack_count, &line->ack_room, sizeof *line->acks);
	line->acks[line->ack_count++] = (struct power_ack){ index, ino };
}

void timeline_free(struct timeline *line)
{
	for (unsigned i = 0; i < line->count; i++)
		model_free(&line->states[i]);
	free(line->states);
	free(line->acks);
	*line = (struct timeline){ 0 };
}

static void take_fork(void *ctx, struct simworld *cut)
{
	struct play *play = ctx;
	play->forks = grown(play->forks, play->fork_count, &play->fork_room, sizeof *play->forks);
	play->forks[play->fork_count++] = (struct power_fork){ .world = cut, .low = play->line.acknowledged,
		.high = play->line.count - 1 + (play->in_flight ? 1 : 0), .ack_count = play->line.ack_count, .moment_count = play->moment_count,
		.opening = play->line.count == 0, .caught_up = play->caught_up };
}

static void begin(struct play *play, struct simfs *sim)
{
	memset(play, 0, sizeof *play);
	play->sim = sim;
	play->member_count = sim->world->disk_count;
	sim->world->same_cuts = 0;
	power_watch(sim->world);
	play_moment(play);
}

void play_prepare(struct play *play, struct simfs *sim)
{
	begin(play, sim);
	play_record(play, true);
}

void play_adopt(struct play *play, const struct model *state)
{
	model_copy(&play->now, state);
	push_state(play);
}

void play_begin(struct play *play, struct simfs *sim, const struct model *state)
{
	begin(play, sim);
	play_adopt(play, state);
}

void play_moment(struct play *play)
{
	play->moments = grown(play->moments, play->moment_count, &play->moment_room, sizeof *play->moments);
	struct power_moment *moment = &play->moments[play->moment_count++];
	for (unsigned m = 0; m < play->sim->world->disk_count; m++)
		moment->members[m] = simdisk_snapshot(play->sim->world->disks[m]);
}

void play_end(struct play *play)
{
	for (unsigned i = 0; i < play->fork_count; i++)
		simworld_free(play->forks[i].world);
	if (play->sim)
		power_counts.same_cuts += play->sim->world->same_cuts;
	free(play->forks);
	for (unsigned i = 0; i < play->moment_count; i++)
		for (unsigned m = 0; m < play->member_count; m++)
			simsnapshot_free(play->moments[i].members[m]);
	free(play->moments);
	timeline_free(&play->line);
	model_free(&play->now);
	simfs_free(play->sim);
	memset(play, 0, sizeof *play);
}

void play_record(struct play *play, bool on)
{
	play->recording = on;
	play->sim->world->on_cut = on ? take_fork : NULL;
	play->sim->world->on_cut_ctx = play;
}

static void note(struct play *play, const struct power_op *op)
{
	size_t used = strlen(play->trace);
	char text[160];
	power_op_text(op, text, sizeof text);
	if (play->recording)
		snprintf(play->trace + used, sizeof play->trace - used, " %u:%s", play->line.count, text);
}

static bool blob_equal(const struct blob *a, const struct blob *b)
{
	return a == b || (a && b && a->bytes == b->bytes && !memcmp(a->data, b->data, a->bytes));
}

static bool inode_equal(const struct model_inode *a, const struct model_inode *b)
{
	bool same = a->ino == b->ino && a->mode == b->mode && a->links == b->links && blob_equal(a->data, b->data)
		&& (!b->mtime_known || (a->mtime_known && a->mtime_ns == b->mtime_ns));
	for (unsigned k = 0; k < MODEL_XATTRS; k++)
		same = same && a->xattrs[k].name == b->xattrs[k].name && blob_equal(a->xattrs[k].value, b->xattrs[k].value);
	return same;
}

/* Was the object, or a name in it or of it, changed by what made that state?  What left everything as it was does not count: an
 * fsync has nothing to do then. */
static bool touched(const struct timeline *line, unsigned index, int slot)
{
	const struct model *before = &line->states[index - 1], *after = &line->states[index];
	if (!inode_equal(&before->inodes[slot], &after->inodes[slot]))
		return true;
	for (unsigned i = 0; i < MODEL_NAMES; i++) {
		const struct model_name *a = &before->names[i], *b = &after->names[i];
		bool same = a->name == b->name && a->dir == b->dir && a->child == b->child;
		if (!same && ((a->name && (a->dir == slot || a->child == slot)) || (b->name && (b->dir == slot || b->child == slot))))
			return true;
	}
	return false;
}

/* fsync makes durable what was done up to the last change of its object; a sync everything. */
static void acknowledge(struct play *play, const struct power_op *op)
{
	struct timeline *line = &play->line;
	unsigned index = line->count - 1;
	int slot = op->kind == P_FSYNC ? power_resolve(&play->now, op->path) : -1;
	while (slot >= 0 && index > 0 && !touched(line, index, slot))
		index--;
	if (index > line->acknowledged)
		line->acknowledged = index;
	push_ack(line, index, slot >= 0 ? play->now.inodes[slot].ino : 0);
}

int play_op(struct play *play, const struct power_op *op)
{
	struct timeline *line = &play->line;
	bool changes = op->kind < P_FSYNC;
	if (op->kind == P_NONE || play->full || !power_applies(&play->now, op))
		return 0;
	note(play, op);
	uint64_t moved = op->kind == P_RENAME && power_resolve(&play->now, op->path2) >= 0 ?
		play->now.inodes[power_resolve(&play->now, op->path)].ino : 0;
	play->in_flight = changes;
	int r = power_apply(&play->now, play->sim->fs, op, ++play->salt);
	play->in_flight = false;
	if (r == -ENOSPC && changes) {
		/* Part of it may have been done: the timeline ends here. */
		play->full = true;
		return 0;
	}
	if (r < 0)
		return r;
	if (changes)
		push_state(play);
	if (moved)
		push_ack(line, line->count - 1, moved);
	if (op->kind == P_FSYNC || op->kind == P_SYNC)
		acknowledge(play, op);
	return 0;
}

/* ---- The base ---- */

static const struct power_op base_ops[] = {
	{ P_MKDIR, POWER_NAME("d"), NULL, 0, 0 }, { P_MKDIR, POWER_NAME("e"), NULL, 0, 0 },
	{ P_CREATE, POWER_NAME("a"), NULL, 0, 0 }, { P_WRITE, POWER_NAME("a"), NULL, 0, 300 }, { P_SETXATTR, POWER_NAME("a"), NULL, 0, 30 },
	{ P_CREATE, POWER_NAME("b"), NULL, 0, 0 }, { P_WRITE, POWER_NAME("b"), NULL, 0, BASE_FILE_BYTES },
	{ P_CREATE, POWER_PATH("d", "c"), NULL, 0, 0 }, { P_WRITE, POWER_PATH("d", "c"), NULL, 0, 9000 },
	{ P_LINK, POWER_NAME("b"), POWER_PATH("d", "h"), 0, 0 },
	{ P_SYMLINK, POWER_NAME("l"), NULL, 0, 40 },
	{ P_CREATE, POWER_NAME("x"), NULL, 0, 0 }, { P_SETXATTR, POWER_NAME("x"), NULL, 0, 3000 },
	{ P_CREATE, POWER_NAME("o"), NULL, 0, 0 }, { P_WRITE, POWER_NAME("o"), NULL, 0, 100 },
};

static const char *const base_files[] = { POWER_NAME("a"), POWER_NAME("b"), POWER_PATH("d", "c"), POWER_NAME("x"), POWER_NAME("o") };

static void must(int r, const char *what)
{
	if (r == 0)
		return;
	fprintf(stderr, "%s: error %d\n", what, -r);
	abort();
}

static void base_files_made(struct play *play, bool logged)
{
	for (size_t i = 0; i < ARRAY_COUNT(base_ops); i++)
		must(play_op(play, &base_ops[i]), "the base");
	struct power_op sync = { P_SYNC, NULL, NULL, 0, 0 };
	if (!logged)
		must(play_op(play, &sync), "the base");
	for (size_t i = 0; logged && i < ARRAY_COUNT(base_files); i++) {
		struct power_op fsync = { P_FSYNC, base_files[i], NULL, 0, 0 };
		must(play_op(play, &fsync), "the base");
	}
}

/* What stays the same for all workloads: an empty filesystem, and one with files. */
static struct simfs *made[POWER_MEMBERS_MAX + 1][2];
static struct model made_model[POWER_MEMBERS_MAX + 1];

static void make_bases(unsigned members)
{
	struct play play;
	struct simfs *sim;
	struct model empty;
	must(simfs_make(&sim, members, POWER_MEMBER_BYTES, CIPHER_XCHACHA20_POLY1305, 100 + members), "simfs_make");
	must(simfs_close(sim, false), "closing");
	made[members][0] = sim;
	model_init(&empty);
	sim = simfs_clone(sim);
	must(simfs_open(sim), "opening");
	play_begin(&play, sim, &empty);
	base_files_made(&play, false);
	must(simfs_close(sim, false), "closing");
	model_copy(&made_model[members], &play.now);
	play.sim = NULL;
	play_end(&play);
	made[members][1] = sim;
	model_free(&empty);
}

void power_base(struct play *play, unsigned members, bool logged, uint64_t salt)
{
	struct model empty;
	if (!made[members][0])
		make_bases(members);
	const struct simfs *base = made[members][logged ? 0 : 1];
	struct simfs *sim = simfs_on_world(base, simworld_clone(base->world), salt);
	must(simfs_open(sim), "opening");
	model_init(&empty);
	play_begin(play, sim, logged ? &empty : &made_model[members]);
	if (logged)
		base_files_made(play, true);
	model_free(&empty);
}
