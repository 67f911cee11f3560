/* The whole filesystem against a model, on simulated disks: random operations, commits, power cuts, members left out and
 * coming back.  Everything follows from the seed; a failure prints the line that replays it.
 *
 *	test_model [--seed S] [--ops N] [--verbose]
 *
 * After a cut the filesystem must be what the model was at the last commit that was acknowledged, or at the one that was under
 * way.  One member at most is left out at a time, and the next one only after the first has caught up.  Arrays are
 * small, so that space runs out, rows are reused and relocation has to work. */
#include "tests/sim/game.h"

#include <time.h>

#define WORK_STEPS_MAX 20000u

/* ---- Commits, mounts, cuts ---- */

static void complain(void *ctx, const char *text)
{
	(void)ctx;
	fprintf(stderr, "check: %s\n", text);
}

static void acknowledged(struct game *run)
{
	model_free(&run->durable);
	model_copy(&run->durable, &run->now);
	run->generation = fs_generation(fs_of(run));
}

static void sync_now(struct game *run)
{
	int r = fs_sync(fs_of(run));
	if (r < 0)
		fail(run, "sync: error %d", -r);
	acknowledged(run);
}

/* Another commit than those asked for happened inside an operation: what it left half done is synced too. */
static void notice_commit(struct game *run)
{
	if (fs_generation(fs_of(run)) == run->generation)
		return;
	run->implicit++;
	sync_now(run);
}

static void check_now(struct game *run)
{
	char why[500];
	if (!model_compare(&run->now, fs_of(run), why, sizeof why))
		fail(run, "%s", why);
	sync_now(run);
	int64_t r = fs_check(fs_of(run), true, complain, NULL);
	if (r != 0)
		fail(run, "check: %lld findings", (long long)r);
	if (run->sim->events[EVENT_UNREADABLE] || run->sim->events[EVENT_READ_ONLY])
		fail(run, "something could not be read, or it went read-only");
}

/* Lets a member that was left out catch up, all the way or only some steps. */
static void catch_up(struct game *run)
{
	bool whole = chance(run, 70);
	unsigned steps = whole ? WORK_STEPS_MAX : pick(run, 4);
	doing(run, "catching up%s", whole ? "" : " a bit");
	while (steps-- > 0 && array_degraded(fs_array(fs_of(run)))) {
		int r = fs_work(fs_of(run));
		if (r < 0)
			fail(run, "work: error %d", -r);
		if (r == 0)
			simfs_sleep(run->sim, INT64_C(20000000000));
	}
	sync_now(run);
	if (!array_degraded(fs_array(fs_of(run)))) {
		run->stale = -1;
		run->caught_up++;
	} else if (whole)
		fail(run, "a member does not catch up");
}

static void choose_left_out(struct game *run)
{
	bool out = chance(run, 35);
	memset(run->sim->left_out, 0, sizeof run->sim->left_out);
	if (!out)
		return;
	if (run->stale < 0)
		run->stale = (int)pick(run, run->sim->world->disk_count);
	run->sim->left_out[run->stale] = true;
	run->left_out++;
}

/* A member that was put back to what it held at some earlier time, and says nothing of it. */
static void roll_back(struct game *run)
{
	struct simworld *world = run->sim->world;
	if (!run->older) {
		run->older_member = pick(run, world->disk_count);
		run->older = simdisk_snapshot(world->disks[run->older_member]);
		return;
	}
	if (run->stale >= 0 || !chance(run, 40))
		return;
	doing(run, "member %u is rolled back", run->older_member);
	simdisk_replace_with_snapshot(world->disks[run->older_member], run->older);
	simsnapshot_free(run->older);
	run->older = NULL;
	run->stale = (int)run->older_member;
	run->rolled_back++;
}

/* After an open that gave `r`: it is what the model was at the last commit, or also `now` if a commit was under way. */
static void opened(struct game *run, int r, bool maybe_now)
{
	char why[500], why_now[500];
	if (r < 0)
		fail(run, "opening: error %d: %s", -r, run->sim->fail.text);
	model_forget_refs(&run->durable);
	model_forget_refs(&run->now);
	if (!model_compare(&run->durable, fs_of(run), why, sizeof why)) {
		if (!maybe_now || !model_compare(&run->now, fs_of(run), why_now, sizeof why_now))
			fail(run, "not as at the last commit: %s; %s%s", why, maybe_now ? "nor as at the next one: " : "", maybe_now ? why_now : "");
	} else {
		model_free(&run->now);
		model_copy(&run->now, &run->durable);
	}
	check_now(run);
	bool all_here = run->stale < 0 || !run->sim->left_out[run->stale];
	if (all_here && (run->stale >= 0 || chance(run, 50))) {
		catch_up(run);
		check_now(run);
	}
}

static void event_remount(struct game *run)
{
	choose_left_out(run);
	doing(run, "remount, %s", run->stale >= 0 && run->sim->left_out[run->stale] ? "without a member" : "with all members");
	int r = simfs_close(run->sim, false);
	if (r < 0)
		fail(run, "closing: error %d", -r);
	model_free(&run->durable);
	model_copy(&run->durable, &run->now);
	if (run->stale < 0)
		roll_back(run);
	opened(run, simfs_open(run->sim), false);
}

static void event_crash(struct game *run, bool maybe_now)
{
	enum simcut_policy policy = (enum simcut_policy)pick(run, 3);
	choose_left_out(run);
	doing(run, "power cut, policy %d, then %s", policy, run->stale >= 0 && run->sim->left_out[run->stale] ? "without a member" : "with all members");
	run->cuts++;
	memset(run->sim->events, 0, sizeof run->sim->events);
	simfs_close(run->sim, true);
	simworld_cut(run->sim->world, policy);
	if (run->stale < 0)
		roll_back(run);
	opened(run, simfs_open(run->sim), maybe_now);
}

/* The power fails somewhere in a commit, or in what goes on in the background. */
static void event_cut_inside(struct game *run)
{
	struct simworld *world = run->sim->world;
	bool work = chance(run, 40);
	world->cut_at_change = world->changes + 1 + pick(run, chance(run, 50) ? 12 : 60);
	doing(run, "cut at change %llu in %s", (unsigned long long)world->cut_at_change, work ? "work" : "sync");
	int r = work ? fs_work(fs_of(run)) : fs_sync(fs_of(run));
	if (r >= 0 && work)
		r = fs_sync(fs_of(run));
	if (r >= 0 && !world->cut) {
		world->cut_at_change = SIM_NEVER;
		acknowledged(run);
		return;
	}
	if (r >= 0)
		acknowledged(run);
	event_crash(run, true);
}

static void event_work(struct game *run)
{
	doing(run, "work");
	int r = fs_work(fs_of(run));
	if (r < 0)
		fail(run, "error %d", -r);
	notice_commit(run);
}

/* ---- The run ---- */

static void step(struct game *run)
{
	unsigned at = pick(run, 1000);
	if (at < 8)
		event_remount(run);
	else if (at < 14)
		event_crash(run, false);
	else if (at < 22)
		event_cut_inside(run);
	else if (at < 28)
		event_work(run);
	else if (at < 60) {
		doing(run, "sync");
		sync_now(run);
	} else {
		game_operation(run);
		notice_commit(run);
	}
}

static void make_names(struct game *run)
{
	for (unsigned i = 0; i < NAMES; i++) {
		snprintf(run->names[i], sizeof run->names[i], "name%u", i);
		if (i % 8 == 7) {
			memset(run->names[i], 'x', 200 + i);
			run->names[i][200 + i] = 0;
			run->names[i][0] = (char)('A' + i % 26);
		}
	}
}

static void run_seed(uint64_t seed, unsigned long ops, bool verbose)
{
	static const enum cipher ciphers[] = { CIPHER_XCHACHA20_POLY1305, CIPHER_NONE, CIPHER_AES256_GCM };
	struct game *run = sim_alloc(sizeof *run);
	*run = (struct game){ .seed = seed, .random_state = seed, .ops = ops, .verbose = verbose, .stale = -1, .least_free = UINT64_MAX };
	enum cipher cipher = ciphers[seed % ARRAY_COUNT(ciphers)];
	unsigned members = 3 + pick(run, 3), mib = 8 + (chance(run, 30) ? pick(run, 17) : pick(run, 5));
	if (!cipher_available(cipher))
		cipher = CIPHER_XCHACHA20_POLY1305;
	make_names(run);
	doing(run, "making");
	int r = simfs_make(&run->sim, members, (uint64_t)mib << 20, cipher, seed);
	if (r < 0)
		fail(run, "making: error %d", -r);
	/* Small limits, so that nodes have to be read again and dirty memory makes commits. */
	run->sim->options.node_cache_bytes = (64u << 10) << pick(run, 8);
	run->sim->options.dirty_bytes = (256u << 10) << pick(run, 8);
	model_init(&run->now);
	model_init(&run->durable);
	run->generation = fs_generation(fs_of(run));
	if (chance(run, 80))
		game_ballast(run, 300 + pick(run, 2500));
	for (run->op = 0; run->op < ops; run->op++)
		step(run);
	event_remount(run);
	printf("seed %llu: %u members of %u MiB, %s: %lu operations, at least %lu blocks free, %lu without space, %lu commits on the way, %lu cuts, %lu opens without "
		"a member, %lu rolled back, %lu caught up\n", (unsigned long long)seed, members, mib, cipher_name(cipher), ops, run->least_free, run->nospace, run->implicit, run->cuts,
		run->left_out, run->rolled_back, run->caught_up);
	fflush(stdout);
	model_free(&run->now);
	model_free(&run->durable);
	simsnapshot_free(run->older);
	simfs_free(run->sim);
	free(run);
}

#ifdef __SANITIZE_ADDRESS__
#define DEFAULT_OPS 1000u
#else
#define DEFAULT_OPS 4000u
#endif
#define DEFAULT_SECONDS 50

int main(int argc, char **argv)
{
	unsigned long long seed = 0;
	unsigned long ops = DEFAULT_OPS;
	bool verbose = false, one = false;
	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--seed") && i + 1 < argc) {
			seed = strtoull(argv[++i], NULL, 0);
			one = true;
		} else if (!strcmp(argv[i], "--ops") && i + 1 < argc)
			ops = strtoul(argv[++i], NULL, 0);
		else if (!strcmp(argv[i], "--verbose"))
			verbose = true;
		else {
			fprintf(stderr, "usage: test_model [--seed S] [--ops N] [--verbose]\n");
			return 2;
		}
	}
	if (one) {
		run_seed(seed, ops, verbose);
		return 0;
	}
	time_t end = time(NULL) + DEFAULT_SECONDS;
	for (seed = 1; seed <= 3 || time(NULL) < end; seed++)
		run_seed(seed, ops, verbose);
	return 0;
}
