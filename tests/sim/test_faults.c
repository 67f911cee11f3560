/* Every fault of one member at every operation of a workload, and damage at rest of one member and of two.
 *
 *	test_faults [--thorough] [--act A --member M --kind K --op N]
 *
 * In each act of tests/sim/play.h, for each kind of fault, each member, and each of the member's operations that
 * the fault can meet, the act is played with that one fault. Mounts, and replays of the intent log, lie within the
 * acts. While all members are there, nothing may be noticed: all operations succeed, all data is right, then and
 * after the next mount. If the fault was a lie, so that the member holds something wrong without anybody knowing, all
 * must be right without that member, too; else all members catch up and the self-check finds nothing.
 *
 * In an act that begins with a member missing or out of date, and where two members are damaged at rest in the same rows, the fault
 * is a second one: then operations, or the mount, may be refused, but what is read is never wrong. */
#include "base/cleanup.h"
#include "tests/sim/play.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#ifdef __SANITIZE_ADDRESS__
#define STRIDE 43u
#define STRIDE_AT_REST 5u
#else
#define STRIDE 1u
#define STRIDE_AT_REST 1u
#endif
#define BLOCK 4096u

static const struct fault_kind {
	const char *name;
	enum simfault_kind kind;
	unsigned ops_mask;
	int64_t shift_bytes;
	bool lies;                       /* the member holds something wrong afterwards */
	bool carried_out;                /* what hung, when it comes back */
} kinds[] = {
	{ "failed reads", SIM_ERROR, SIM_ON(DISK_READ) },
	{ "failed writes", SIM_ERROR, SIM_ON(DISK_WRITE) },
	{ "failed flushes", SIM_ERROR, SIM_ON(DISK_FLUSH) },
	{ "writes that failed, and landed", SIM_ERROR_LANDS, SIM_ON(DISK_WRITE) },
	{ "lost writes", SIM_LOSE, SIM_ON(DISK_WRITE), .lies = true },
	{ "flushes that did nothing", SIM_LOSE, SIM_ON(DISK_FLUSH), .lies = true },
	{ "writes to a wrong place", SIM_MISDIRECT, SIM_ON(DISK_WRITE), .shift_bytes = 4 * BLOCK, .lies = true },
	{ "reads from a wrong place", SIM_MISDIRECT, SIM_ON(DISK_READ), .shift_bytes = BLOCK },
	{ "damaged writes", SIM_FLIP, SIM_ON(DISK_WRITE), .lies = true },
	{ "damaged reads", SIM_FLIP, SIM_ON(DISK_READ) },
	{ "hung operations, never carried out", SIM_HANG, SIM_ON_ALL },
	{ "hung operations, carried out late", SIM_HANG, SIM_ON_ALL, .carried_out = true },
};

static struct { unsigned long cases, healed, refused, unreadable; } counts;

/* ---- Never wrong ---- */

static bool can_be_refused(int r) { return r == -EIO || r == -EUCLEAN; }

/* Reads all there is, block by block. */
static bool file_may_be(struct fs *fs, const struct model_inode *i, unsigned *unreadable)
{
	uint8_t block[BLOCK];
	for (size_t at = 0; at < i->data->bytes; at += BLOCK) {
		size_t want = i->data->bytes - at < BLOCK ? i->data->bytes - at : BLOCK;
		ssize_t n = fs_read(fs, i->ino, block, BLOCK, at);
		if (n < 0 && can_be_refused((int)n))
			(*unreadable)++;
		else if (n != (ssize_t)want || memcmp(block, i->data->data + at, want))
			return false;
	}
	return true;
}

static bool inode_may_be(struct fs *fs, const struct model_inode *i, unsigned *unreadable)
{
	static uint8_t value[65536];
	struct fs_attr attr;
	int r = fs_getattr(fs, i->ino, &attr);
	if (r < 0) {
		(*unreadable)++;
		return can_be_refused(r);
	}
	if (attr.mode != i->mode || attr.links != i->links || (i->data && attr.size_bytes != i->data->bytes))
		return false;
	if (i->xattrs[0].name) {
		ssize_t n = fs_getxattr(fs, i->ino, i->xattrs[0].name, value, sizeof value);
		const struct blob *want = i->xattrs[0].value;
		if (n < 0 ? !can_be_refused((int)n) : n != (ssize_t)want->bytes || memcmp(value, want->data, want->bytes))
			return false;
		*unreadable += n < 0;
	}
	if (S_ISLNK(i->mode)) {
		r = fs_readlink(fs, i->ino, (char *)value, sizeof value);
		*unreadable += r < 0;
		return r < 0 ? can_be_refused(r) : strlen((char *)value) == i->data->bytes && !memcmp(value, i->data->data, i->data->bytes);
	}
	return !S_ISREG(i->mode) || file_may_be(fs, i, unreadable);
}

/* What can be read is what the model says. */
static bool state_may_be(struct fs *fs, const struct model *m, unsigned *unreadable)
{
	for (unsigned i = 0; i < MODEL_NAMES; i++) {
		const struct model_name *name = &m->names[i];
		struct fs_attr attr;
		if (!name->name)
			continue;
		int r = fs_lookup(fs, m->inodes[name->dir].ino, name->name, &attr);
		if (r < 0 ? !can_be_refused(r) : attr.ino != m->inodes[name->child].ino)
			return false;
		*unreadable += r < 0;
	}
	for (unsigned i = 0; i < MODEL_INODES; i++)
		if (m->inodes[i].ino && !inode_may_be(fs, &m->inodes[i], unreadable))
			return false;
	return true;
}

static void must_not_be_wrong(const struct play *play, unsigned from, unsigned to)
{
	for (unsigned i = to + 1; i-- > from; ) {
		struct model model;
		unsigned unreadable = 0;
		model_copy(&model, &play->recording->states[i]);
		model_forget_refs(&model);
		bool right = state_may_be(play->sim->fs, &model, &unreadable);
		model_free(&model);
		if (right) {
			counts.unreadable += unreadable;
			return;
		}
	}
	play_broken("after two faults", "what is read is wrong");
}

/* ---- One fault while an act is played ---- */

static void open_again(struct play *play, const char *what)
{
	memset(play->sim->events, 0, sizeof play->sim->events);
	if (simfs_open(play->sim) < 0)
		play_broken(what, play->sim->fail.text);
}

static void after_one(struct play *play, const struct fault_kind *kind, unsigned member)
{
	simdisk_clear_faults(play->sim->world->disks[member]);
	if (kind->lies) {
		simfs_close(play->sim, false);
		play->sim->left_out[member] = true;
		open_again(play, "opening without the member that lied");
		play_must_be(play, play->sim->fs, play->step, play->step);
	} else
		play_catch_up(play->sim);
}

static void after_two(struct play *play, const struct fault_kind *kind, unsigned member)
{
	(void)kind;
	simdisk_clear_faults(play->sim->world->disks[member]);
	simfs_close(play->sim, true);
	if (simfs_open(play->sim) < 0) {
		if (!play->sim->fail.text[0])
			play_broken("opening after two faults", "refused without a word");
		counts.refused++;
		return;
	}
	must_not_be_wrong(play, play->synced, play->step + 1 < play->act->end ? play->step + 1 : play->act->end);
}

/* Plays on until the end, or until something is refused: then false. */
static bool play_with_fault(struct play *play, struct simdisk *disk, bool carried_out)
{
	bool two = play->act->degraded;
	if (simfs_open(play->sim) < 0) {
		if (!two || !play->sim->fail.text[0])
			play_broken("opening", play->sim->fail.text);
		return false;
	}
	while (play_more(play)) {
		bool hung = disk->hung_count > 0;
		int r = play_step(play);
		if (hung)
			simdisk_return_hung(disk, carried_out);
		if (r < 0 && !two)
			play_broken(play_step_name(play), strerror(-r));
		if (r < 0)
			return false;
	}
	simdisk_return_hung(disk, carried_out);
	return true;
}

/* Returns the operation that the fault met, or SIM_NEVER. */
static uint64_t one_fault(const struct recording *recording, unsigned act, unsigned member, const struct fault_kind *kind, uint64_t from_op)
{
	struct play play;
	play_begin(&play, recording, act);
	struct simdisk *disk = play.sim->world->disks[member];
	struct simfault fault = { .kind = kind->kind, .ops_mask = kind->ops_mask, .from_op = play.sim->world->ops + from_op, .times = 1,
		.shift_bytes = kind->shift_bytes, .flip_at_bytes = from_op * 37, .flip_mask = 0x10 };
	uint64_t started = play.sim->world->ops;
	play_case("test_faults --act %u --member %u --kind %u --op %llu: %s in \"%s\"", act, member,
		(unsigned)(kind - kinds), (unsigned long long)from_op, kind->name, play.act->title);
	unsigned number = simdisk_fault(disk, &fault);
	bool whole = play_with_fault(&play, disk, kind->carried_out);
	uint64_t met = disk->faults[number].hits ? disk->faults[number].hit_op - started : SIM_NEVER;
	if (met != SIM_NEVER) {
		counts.cases++;
		counts.healed += play.sim->events[EVENT_HEALED];
	}
	if (met != SIM_NEVER && whole) {
		int r = simfs_close(play.sim, play.act->power_lost);
		if (r < 0 && !play.act->degraded)
			play_broken("closing", strerror(-r));
		if (play.act->power_lost)
			simworld_cut(play.sim->world, SIMCUT_DROP_ALL);
	}
	if (met != SIM_NEVER && play.act->degraded) {
		counts.refused += !whole;
		after_two(&play, kind, member);
	} else if (met != SIM_NEVER) {
		open_again(&play, "opening after it");
		play_must_be(&play, play.sim->fs, play.step, play.step);
		after_one(&play, kind, member);
	}
	play_end(&play);
	return met;
}

static void all_of_kind(const struct recording *recording, const struct fault_kind *kind, unsigned stride)
{
	memset(&counts, 0, sizeof counts);
	for (unsigned act = 0; act < PLAY_ACTS; act++)
		for (unsigned member = 0; member < PLAY_MEMBERS; member++) {
			uint64_t op = (act + member) % stride, met;
			while ((met = one_fault(recording, act, member, kind, op)) != SIM_NEVER)
				op = met + 1 + (kind->ops_mask == SIM_ON(DISK_FLUSH) ? 0 : (stride - 1) * 2);
		}
	printf("%s: %lu, %lu healed; of them as a second fault: %lu refused, %lu times EIO; never wrong\n", kind->name, counts.cases,
		counts.healed, counts.refused, counts.unreadable);
	fflush(stdout);
	if (!counts.cases)
		play_broken(kind->name, "none happened");
}

/* ---- Damage at rest ---- */

static bool in_log(struct fs *fs, uint64_t at_bytes)
{
	const struct geometry *g = &array_label(fs_array(fs))->geometry;
	return at_bytes >= g->log_offset_bytes && at_bytes < g->log_offset_bytes + g->log_bytes;
}

/* Damages one block, on one member or (two) on the next one as well, after `act`; reads it all. False: nothing is there. */
static bool damage(const struct recording *recording, unsigned act, unsigned member, uint64_t at_bytes, bool two, bool unreadable)
{
	static const uint8_t zero[BLOCK];
	uint8_t block[BLOCK];
	struct play play;
	play_begin(&play, recording, act);
	struct simdisk *disk = play.sim->world->disks[member], *other = play.sim->world->disks[(member + 1) % PLAY_MEMBERS];
	struct simfault bad = { .kind = SIM_BAD_SECTORS, .ops_mask = SIM_ON(DISK_READ), .from_bytes = at_bytes, .to_bytes = at_bytes + BLOCK };
	simdisk_peek(disk, at_bytes, block, BLOCK);
	bool used = memcmp(block, zero, BLOCK);
	if (used) {
		play_case("damage at rest of member %u%s at %llu before \"%s\"", member, two ? " and the next" : "", (unsigned long long)at_bytes,
			play.act->title);
		if (unreadable)
			simdisk_fault(disk, &bad);
		else
			simdisk_flip(disk, at_bytes + at_bytes / BLOCK % BLOCK, 0x40);
		if (two)
			simdisk_flip(other, at_bytes + at_bytes / BLOCK % BLOCK, 0x40);
		int r = simfs_open(play.sim);
		if (r < 0 && (!two || !play.sim->fail.text[0]))
			play_broken("opening", play.sim->fail.text);
		if (r == 0 && two)       /* a log record that is damaged on both its mirrors, and what came after it, is as if never synced */
			must_not_be_wrong(&play, act > 0 && in_log(play.sim->fs, at_bytes) ? recording->acts[act - 1].first : play.step, play.step);
		else if (r == 0)
			play_must_be(&play, play.sim->fs, play.step, play.step);
		counts.refused += r < 0;
		counts.healed += play.sim->events[EVENT_HEALED];
		counts.cases++;
	}
	play_end(&play);
	return used;
}

static void all_damage(const struct recording *recording, unsigned act, bool two, bool unreadable, unsigned stride)
{
	unsigned count = 0;
	memset(&counts, 0, sizeof counts);
	for (unsigned member = 0; member < PLAY_MEMBERS; member++)
		for (uint64_t at = (count++ % stride) * BLOCK; at < PLAY_MEMBER_BYTES; at += damage(recording, act, member, at, two, unreadable)
			? stride * BLOCK : BLOCK)
			;
	printf("%s blocks on %s before \"%s\": %lu, %lu healed, %lu refused, %lu times EIO; never wrong\n", unreadable ? "unreadable" : "damaged",
		two ? "two members" : "one member", recording->acts[act].title, counts.cases, counts.healed, counts.refused, counts.unreadable);
	fflush(stdout);
	if (!counts.cases || (two ? counts.refused + counts.unreadable : unreadable || counts.healed) == 0)
		play_broken("damage at rest", "it was not noticed");
}

int main(int argc, char **argv)
{
	static struct recording recording;
	unsigned stride = STRIDE, at_rest = STRIDE_AT_REST, one[3] = { 0 };
	uint64_t op = SIM_NEVER;
	for (int i = 1; i < argc; i++) {
		static const char *const names[] = { "--act", "--member", "--kind" };
		if (!strcmp(argv[i], "--thorough"))
			stride = at_rest = 1;
		else if (!strcmp(argv[i], "--op") && i + 1 < argc)
			op = strtoull(argv[++i], NULL, 10);
		else
			for (unsigned k = 0; k < 3 && i + 1 < argc; k++)
				if (!strcmp(argv[i], names[k]))
					one[k] = (unsigned)atoi(argv[++i]);
	}
	play_record(&recording);
	if (op != SIM_NEVER) {
		one_fault(&recording, one[0] % PLAY_ACTS, one[1] % PLAY_MEMBERS, &kinds[one[2] % ARRAY_COUNT(kinds)], op);
		return 0;
	}
	for (unsigned i = 0; i < ARRAY_COUNT(kinds); i++)
		all_of_kind(&recording, &kinds[i], stride);
	for (unsigned act = 1; act < PLAY_ACTS; act += 3) {      /* with an intent log, and after a mount without one */
		all_damage(&recording, act, false, false, at_rest);
		all_damage(&recording, act, false, true, at_rest * 3);
		all_damage(&recording, act, true, false, at_rest);
	}
	play_forget(&recording);
	return 0;
}
