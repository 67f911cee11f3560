/* Random histories, each of which ends in a replay of the intent log: operations, an fsync, then the power fails.  Everything
 * follows from the seed; a failure prints the line that replays it.
 *
 *	test_replay [--seed S] [--rounds N] [--mode M] [--verbose]
 *
 * A round is one filesystem that loses power a few times. N of them, with seeds from S on, are done in each mode, or in
 * mode M alone. After the replay the tree must be what it was before, in all that can be seen of it: numbers, modes, owners,
 * sizes, blocks, links, times, generations, content, xattrs, and how many inodes there are; then the self-check must find nothing.
 *
 * The modes (replay.h) make the replay harder: commits between its records, cuts within it, members that are not there or
 * fail, a read-only mount. When one file alone was synced, names and attributes of all must be as they were, and its
 * content; each byte of another file is what was written last, or what was there before, or 0. */
#include "tests/sim/replay.h"
#include "base/cleanup.h"
#include "fs/format.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define MEMBER_BYTES (8u << 20)
#define LOSSES 4u                /* for each filesystem */
#define WORK_STEPS_MAX 2000u
#define MOUNT_GENERATIONS_MAX 3u  /* of a mount with a replay that has no commit on the way */
#define FAILED_MAX 12u           /* then it is enough */
#define TELLING_ROUNDS 5u        /* so many rounds of a mode must have met what the mode is about */

static const struct replay_mode modes[] = {
	{ "plain", 0 },
	{ "memory", REPLAY_MEMORY },
	{ "cuts", REPLAY_MEMORY | REPLAY_CUTS },
	{ "degraded", REPLAY_DEGRADED | REPLAY_CUTS },
	{ "read_only", REPLAY_READ_ONLY | REPLAY_MEMORY | REPLAY_CUTS },
	{ "one_file", REPLAY_ONE_FILE },
	{ "fault", REPLAY_FAULT },
};

bool replay_failed(struct replay *run, const char *format, ...)
{
	char text[600];
	va_list args;
	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	run->counts.failed++;
	printf("failed: test_replay --mode %s --seed %llu --rounds 1: loss %u: %s\n", run->mode->name, (unsigned long long)run->seed,
		run->loss, text);
	fflush(stdout);
	return false;
}

/* SplitMix64. */
unsigned replay_pick(struct replay *run, unsigned below)
{
	uint64_t z = run->random_state += UINT64_C(0x9e3779b97f4a7c15);
	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return (unsigned)((z ^ z >> 31) % below);
}

static bool is(const struct replay *run, unsigned flag)
{
	return run->mode->flags & flag;
}

static void complain(void *ctx, const char *text)
{
	(void)ctx;
	printf("check: %s\n", text);
}

static bool operate(struct replay *run, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		if (!replay_operation(run))
			return false;
	return true;
}

/* ---- Before the power fails ---- */

static bool all_in_sync(struct replay *run)
{
	for (unsigned steps = 0; array_degraded(fs_array(run->sim->fs)); steps++) {
		int r = steps < WORK_STEPS_MAX ? fs_work(run->sim->fs) : -1;
		if (r < 0)
			return replay_failed(run, "a member does not catch up");
		if (r == 0)
			simfs_sleep(run->sim, INT64_C(20000000000));
	}
	int r = fs_sync(run->sim->fs);
	return r == 0 || replay_failed(run, "sync: error %d", -r);
}

/* A member that fails at some of the next operations, in mode fault. */
static void plan_fault(struct replay *run, unsigned member)
{
	static const enum simfault_kind kinds[] = { SIM_ERROR, SIM_ERROR, SIM_ERROR_LANDS, SIM_HANG };
	static const unsigned masks[] = { SIM_ON(DISK_WRITE), SIM_ON(DISK_FLUSH), SIM_ON_ALL };
	struct simworld *world = run->sim->world;
	simdisk_fault(world->disks[member], &(struct simfault){ .kind = kinds[replay_pick(run, ARRAY_COUNT(kinds))],
		.ops_mask = masks[replay_pick(run, ARRAY_COUNT(masks))], .from_op = world->ops + replay_pick(run, 60) });
}

/* Mode one_file: a state that is durable, so that what the files had before is known. */
static bool make_older(struct replay *run, struct shot **ret_older)
{
	run->no_syncs = false;
	if (!operate(run, 40))
		return false;
	int r = fs_fsync(run->sim->fs, OBJECT_ROOT, false);
	if (r == 0 && replay_pick(run, 2))
		r = fs_sync(run->sim->fs);
	if (r < 0)
		return replay_failed(run, "syncing: error %d", -r);
	run->no_syncs = true;
	*ret_older = shot_take(run->sim->fs, 0);
	return true;
}

/* The fsync that all is about, and what the tree was then: NULL if there is no file to sync. */
static bool sync_and_look(struct replay *run, uint64_t *ret_only, struct shot **ret_wanted)
{
	struct fs *fs = run->sim->fs;
	uint64_t generation = fs_generation(fs), only = 0;
	if (is(run, REPLAY_ONE_FILE)) {
		struct fs_attr attr = { .mode = replay_pick(run, 01000) };
		only = replay_file(run);
		if (!only)
			return true;
		int r = fs_setattr(fs, only, &attr, FS_SET_MODE, NULL);
		if (r < 0)
			return replay_failed(run, "chmod: error %d", -r);
	}
	int r = fs_fsync(fs, only ? only : OBJECT_ROOT, false);
	if (r < 0)
		return replay_failed(run, "fsync: error %d", -r);
	run->counts.logged += fs_generation(fs) == generation;
	*ret_wanted = shot_take(fs, only);
	*ret_only = only;
	return true;
}

/* ---- The loss of power, and after it ---- */

/* What failed does so no longer; is the member there at the next mount? */
static void settle_members(struct replay *run, unsigned member)
{
	struct simfs *sim = run->sim;
	run->counts.dropped += is(run, REPLAY_FAULT) ? sim->events[EVENT_MEMBER_DROPPED] : 0;
	for (unsigned i = 0; i < sim->world->disk_count; i++) {
		simdisk_return_hung(sim->world->disks[i], replay_pick(run, 2));
		simdisk_clear_faults(sim->world->disks[i]);
	}
	sim->left_out[member] = is(run, REPLAY_FAULT) ? replay_pick(run, 2) : is(run, REPLAY_DEGRADED) && replay_pick(run, 4);
	run->counts.left_out += sim->left_out[member];
}

static void lose_power(struct replay *run)
{
	run->sim->options.dirty_bytes = 0;
	if (is(run, REPLAY_MEMORY) && (!is(run, REPLAY_CUTS) || replay_pick(run, 2)))
		run->sim->options.dirty_bytes = BLOCK_BYTES + replay_pick(run, replay_pick(run, 2) ? 4096 : 60000);
	simfs_close(run->sim, true);
	simworld_cut(run->sim->world, (enum simcut_policy)replay_pick(run, 3));
	memset(run->sim->events, 0, sizeof run->sim->events);
	run->counts.losses++;
}

/* Mounts in which the power fails at one of the first changes. */
static bool cut_within(struct replay *run)
{
	struct simfs *sim = run->sim;
	for (unsigned times = is(run, REPLAY_CUTS) ? replay_pick(run, 4) : 0; times > 0; times--) {
		sim->world->cut_at_change = sim->world->changes + replay_pick(run, 60);
		int r = simfs_open(sim);
		if (r < 0 && !sim->world->cut)
			return replay_failed(run, "opening: error %d: %s", -r, sim->fail.text);
		run->counts.cuts += sim->world->cut;
		simfs_close(sim, true);
		simworld_cut(sim->world, (enum simcut_policy)replay_pick(run, 3));
	}
	return true;
}

/* The open tree is what it was; bytes of files that were not synced are explained. */
static bool compare(struct replay *run, const struct shot *older, const struct shot *wanted, uint64_t only)
{
	char why[500] = "";
	struct shot *got = shot_take(run->sim->fs, only);
	bool good = shot_same(wanted, got, why, sizeof why) && (!older || shot_explain(older, wanted, got, why, sizeof why));
	shot_free(got);
	return good || replay_failed(run, "%s", why);
}

static bool look_read_only(struct replay *run, const struct shot *wanted)
{
	struct simfs *sim = run->sim;
	uint64_t changes = sim->world->changes;
	sim->options.read_only = true;
	int r = simfs_open(sim);
	sim->options.read_only = false;
	if (r < 0)
		return replay_failed(run, "opening read-only: error %d: %s", -r, sim->fail.text);
	run->counts.read_only++;
	bool good = compare(run, NULL, wanted, 0);
	simfs_close(sim, true);
	return sim->world->changes == changes ? good : replay_failed(run, "a read-only mount wrote");
}

/* The old log ended with the replay: a new change is logged again, without a commit. */
static bool log_is_in_use(struct replay *run)
{
	struct fs *fs = run->sim->fs;
	struct fs_attr attr = { .mode = replay_pick(run, 01000) };
	uint64_t generation = fs_generation(fs);
	int r = fs_setattr(fs, OBJECT_ROOT, &attr, FS_SET_MODE, NULL);
	if (r == 0)
		r = fs_fsync(fs, OBJECT_ROOT, false);
	if (r < 0)
		return replay_failed(run, "fsync after the replay: error %d", -r);
	return fs_generation(fs) == generation || replay_failed(run, "an fsync after the replay was a commit");
}

static bool open_and_compare(struct replay *run, const struct shot *older, const struct shot *wanted, uint64_t only, uint64_t generation)
{
	struct simfs *sim = run->sim;
	int r = simfs_open(sim);
	if (r < 0)
		return replay_failed(run, "opening: error %d: %s", -r, sim->fail.text);
	if (fs_read_only(sim->fs))
		return replay_failed(run, "it is read-only: %s", sim->last_event);
	run->counts.commits += !is(run, REPLAY_CUTS) && fs_generation(sim->fs) > generation + MOUNT_GENERATIONS_MAX;
	if (!compare(run, older, wanted, only))
		return false;
	if (!is(run, REPLAY_CUTS | REPLAY_FAULT) && !log_is_in_use(run))
		return false;
	r = fs_sync(sim->fs);
	if (r < 0)
		return replay_failed(run, "sync: error %d", -r);
	int64_t findings = fs_check(sim->fs, true, complain, NULL);
	return findings == 0 || replay_failed(run, "check: %lld findings", (long long)findings);
}

/* Mode fault: the next fault is of a whole array again. */
static bool bring_back(struct replay *run)
{
	simfs_close(run->sim, false);
	memset(run->sim->left_out, 0, sizeof run->sim->left_out);
	int r = simfs_open(run->sim);
	return r == 0 || replay_failed(run, "opening with all members: error %d: %s", -r, run->sim->fail.text);
}

/* ---- The run ---- */

static bool one_loss(struct replay *run, unsigned member, struct shot **older, struct shot **wanted)
{
	uint64_t only = 0;
	if (is(run, REPLAY_FAULT) && !all_in_sync(run))
		return false;
	if (is(run, REPLAY_FAULT) && replay_pick(run, 3))
		plan_fault(run, member);
	if (is(run, REPLAY_ONE_FILE) && !make_older(run, older))
		return false;
	if (!operate(run, 5 + replay_pick(run, is(run, REPLAY_ONE_FILE) || replay_pick(run, 2) ? 40 : 120)) || !sync_and_look(run, &only, wanted))
		return false;
	if (!*wanted)
		return true;
	uint64_t generation = fs_generation(run->sim->fs);
	settle_members(run, member);
	lose_power(run);
	if (!cut_within(run))
		return false;
	if (is(run, REPLAY_READ_ONLY) && !look_read_only(run, *wanted))
		return false;
	if (!open_and_compare(run, *older, *wanted, only, generation))
		return false;
	return !is(run, REPLAY_FAULT) || bring_back(run);
}

/* One member at most is behind: always the same one, but when all have caught up. */
static void play_round(struct replay *run)
{
	unsigned members = 3 + (run->seed % 3 == 0);
	enum cipher cipher = run->seed % 2 ? CIPHER_NONE : CIPHER_XCHACHA20_POLY1305;
	run->sim = NULL;
	if (simfs_make(&run->sim, members, MEMBER_BYTES, cipher, run->seed) < 0) {
		replay_failed(run, "making");
		return;
	}
	bool good = true;
	unsigned member = replay_pick(run, members);
	for (run->loss = 0; good && run->loss < LOSSES; run->loss++) {
		struct shot *older = NULL, *wanted = NULL;
		if (is(run, REPLAY_FAULT))
			member = replay_pick(run, members);
		good = one_loss(run, member, &older, &wanted);
		shot_free(older);
		shot_free(wanted);
	}
	simfs_free(run->sim);
}

/* Has the mode met what it is about? */
static bool is_telling(const struct replay *run)
{
	const struct replay_counts *counts = &run->counts;
	return counts->logged && (!is(run, REPLAY_MEMORY) || is(run, REPLAY_CUTS) || counts->commits) && (!is(run, REPLAY_CUTS) || counts->cuts)
		&& (!is(run, REPLAY_DEGRADED) || counts->left_out) && (!is(run, REPLAY_READ_ONLY) || counts->read_only)
		&& (!is(run, REPLAY_FAULT) || (counts->dropped && counts->left_out));
}

static bool run_mode(const struct replay_mode *mode, uint64_t seed, unsigned long rounds, bool verbose)
{
	struct replay run = { .mode = mode, .verbose = verbose };
	const struct replay_counts *counts = &run.counts;
	for (unsigned long i = 0; i < rounds && counts->failed < FAILED_MAX; i++) {
		run.seed = seed + i;
		run.random_state = run.seed << 8 | (uint64_t)(mode - modes);
		run.no_syncs = false;
		run.file = 0;
		play_round(&run);
	}
	printf("%s: %lu losses of power, %lu of them with records, %lu commits on the way, %lu cuts within, %lu without a member, "
		"%lu members dropped, %lu read-only, %lu failed\n", mode->name, counts->losses, counts->logged, counts->commits,
		counts->cuts, counts->left_out, counts->dropped, counts->read_only, counts->failed);
	fflush(stdout);
	if (!counts->losses || (rounds >= TELLING_ROUNDS && !counts->failed && !is_telling(&run))) {
		printf("%s: not what this mode is about: it tests nothing\n", mode->name);
		return false;
	}
	return !counts->failed;
}

#ifdef __SANITIZE_ADDRESS__
#define DEFAULT_ROUNDS 18u
#else
#define DEFAULT_ROUNDS 180u
#endif

int main(int argc, char **argv)
{
	unsigned long long seed = 1;
	unsigned long rounds = DEFAULT_ROUNDS;
	const char *only = NULL;
	bool verbose = false, good = true, ran = false;
	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--seed") && i + 1 < argc)
			seed = strtoull(argv[++i], NULL, 0);
		else if (!strcmp(argv[i], "--rounds") && i + 1 < argc)
			rounds = strtoul(argv[++i], NULL, 0);
		else if (!strcmp(argv[i], "--mode") && i + 1 < argc)
			only = argv[++i];
		else if (!strcmp(argv[i], "--verbose"))
			verbose = true;
		else {
			fprintf(stderr, "usage: test_replay [--seed S] [--rounds N] [--mode M] [--verbose]\n");
			return 2;
		}
	}
	for (unsigned m = 0; m < ARRAY_COUNT(modes); m++) {
		if (only && strcmp(only, modes[m].name))
			continue;
		good &= run_mode(&modes[m], seed, rounds, verbose);
		ran = true;
	}
	if (!ran)
		fprintf(stderr, "test_replay: no mode is called %s\n", only);
	return ran && good ? 0 : 1;
}
