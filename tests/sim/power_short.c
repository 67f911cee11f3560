/* Workloads: all sequences of one and two operations with a sync in each place, and long random ones.  See power.h. */
#include "tests/sim/power.h"

#include <string.h>

#define A POWER_NAME("a")
#define B POWER_NAME("b")
#define C POWER_PATH("d", "c")
#define D POWER_NAME("d")
#define E POWER_NAME("e")
#define H POWER_PATH("d", "h")
#define L POWER_NAME("l")
#define N POWER_NAME("n")
#define O POWER_NAME("o")
#define T POWER_NAME("t")
#define X POWER_NAME("x")
#define ROOT ""
#define STEPS_MAX 4u

/* One operation as a program makes it: up to so many calls, and the file whose fsync would belong to it. */
struct action { struct power_op steps[STEPS_MAX]; const char *object; };

static const struct action actions[] = {
	{ { { P_CREATE, N, NULL, 0, 0 } }, N },
	{ { { P_CREATE, N, NULL, 0, 0 }, { P_WRITE, N, NULL, 0, 300 } }, N },
	{ { { P_CREATE, N, NULL, 0, 0 }, { P_WRITE, N, NULL, 0, 20000 } }, N },
	{ { { P_WRITE, A, NULL, 0, 200 } }, A },
	{ { { P_WRITE, A, NULL, 300, 200 } }, A },
	{ { { P_WRITE, A, NULL, 300, 6000 } }, A },
	{ { { P_WRITE, B, NULL, 8192, 4096 } }, B },
	{ { { P_WRITE, B, NULL, 5000, 3000 } }, B },
	{ { { P_WRITE, B, NULL, 40000, 10000 } }, B },
	{ { { P_WRITE, B, NULL, 100000, 5000 } }, B },
	{ { { P_WRITE, X, NULL, 0, 50000 } }, X },
	{ { { P_TRUNCATE, B, NULL, 0, 0 } }, B },
	{ { { P_TRUNCATE, B, NULL, 0, 17000 } }, B },
	{ { { P_TRUNCATE, B, NULL, 0, 70000 } }, B },
	{ { { P_TRUNCATE, B, NULL, 0, 1000 } }, B },
	{ { { P_TRUNCATE, A, NULL, 0, 5000 } }, A },
	{ { { P_TRUNCATE, A, NULL, 0, 100 } }, A },
	{ { { P_PUNCH, B, NULL, 6000, 20000 } }, B },
	{ { { P_PUNCH, A, NULL, 50, 100 } }, A },
	{ { { P_ZERO_KEEP, B, NULL, 10000, 15000 } }, B },
	{ { { P_ZERO, B, NULL, 35000, 15000 } }, B },
	{ { { P_RESERVE, B, NULL, 40000, 30000 } }, B },
	{ { { P_EXTEND, B, NULL, 30000, 30000 } }, B },
	{ { { P_RENAME, A, N, 0, 0 } }, N },
	{ { { P_RENAME, A, C, 0, 0 } }, C },
	{ { { P_RENAME, B, A, 0, 0 } }, A },
	{ { { P_RENAME, X, B, 0, 0 } }, B },
	{ { { P_CREATE, T, NULL, 0, 0 }, { P_WRITE, T, NULL, 0, 12000 }, { P_RENAME, T, B, 0, 0 } }, B },
	{ { { P_CREATE, T, NULL, 0, 0 }, { P_WRITE, T, NULL, 0, 500 }, { P_RENAME, T, A, 0, 0 } }, A },
	{ { { P_EXCHANGE, A, B, 0, 0 } }, A },
	{ { { P_EXCHANGE, D, B, 0, 0 } }, B },
	{ { { P_RENAME, D, E, 0, 0 } }, E },
	{ { { P_RENAME, D, N, 0, 0 } }, N },
	{ { { P_LINK, A, POWER_PATH("d", "k"), 0, 0 } }, A },
	{ { { P_UNLINK, A, NULL, 0, 0 } }, D },
	{ { { P_UNLINK, B, NULL, 0, 0 } }, H },
	{ { { P_UNLINK, C, NULL, 0, 0 } }, D },
	{ { { P_UNLINK, X, NULL, 0, 0 } }, D },
	{ { { P_REF, C, NULL, 0, 0 }, { P_UNLINK, C, NULL, 0, 0 } }, D },
	{ { { P_MKDIR, N, NULL, 0, 0 } }, N },
	{ { { P_MKDIR, POWER_PATH("d", "m"), NULL, 0, 0 } }, D },
	{ { { P_RMDIR, E, NULL, 0, 0 } }, D },
	{ { { P_SYMLINK, N, NULL, 0, 30 } }, N },
	{ { { P_SYMLINK, N, NULL, 0, 3000 } }, N },
	{ { { P_UNLINK, L, NULL, 0, 0 } }, D },
	{ { { P_SETXATTR, A, NULL, 0, 40 } }, A },
	{ { { P_SETXATTR, A, NULL, 0, 3000 } }, A },
	{ { { P_SETXATTR, X, NULL, 0, 20 } }, X },
	{ { { P_SETXATTR, X, NULL, 0, 5000 } }, X },
	{ { { P_SETXATTR, D, NULL, 0, 2500 } }, D },
	{ { { P_REMOVEXATTR, X, NULL, 0, 0 } }, X },
	{ { { P_CHMOD, A, NULL, 0, 0 } }, A },
	{ { { P_CHMOD, D, NULL, 0, 0 } }, D },
	{ { { P_TIMES, B, NULL, 0, 0 } }, B },
};
#define ACTIONS ARRAY_COUNT(actions)

/* What comes after an operation. */
enum after { AFTER_NOTHING, AFTER_FSYNC, AFTER_FSYNC_ROOT, AFTER_FSYNC_OTHER, AFTER_SYNC, AFTERS };

static int after(struct play *play, const struct action *action, unsigned what)
{
	const char *path = what == AFTER_FSYNC ? action->object : what == AFTER_FSYNC_ROOT ? ROOT : O;
	struct power_op op = { what == AFTER_SYNC ? P_SYNC : P_FSYNC, path, NULL, 0, 0 }, touch = { P_CHMOD, O, NULL, 0, 0 };
	/* An fsync of what has not changed does nothing. */
	int r = what == AFTER_FSYNC_OTHER ? play_op(play, &touch) : 0;
	return r < 0 || what == AFTER_NOTHING ? r : play_op(play, &op);
}

static int act(struct play *play, const struct action *action)
{
	int r = 0;
	for (unsigned i = 0; i < STEPS_MAX && r == 0; i++)
		r = play_op(play, &action->steps[i]);
	return r;
}

/* First operation, what follows it, second operation or none, what follows that, then a sync.  The second half of the numbers
 * stands on a base that is only logged. */
uint64_t power_short_count(void) { return 2 * ACTIONS * (ACTIONS + 1) * AFTERS * AFTERS; }

static uint64_t short_number(uint64_t first, uint64_t after_first, uint64_t second, uint64_t after_second, uint64_t logged)
{
	return after_first + AFTERS * (after_second + AFTERS * (first + ACTIONS * (second + (ACTIONS + 1) * logged)));
}

/* Single operations with everything that can follow them, on both bases; then pairs, each once with what its hash says. */
uint64_t power_short_few(void) { return ACTIONS * AFTERS * 2 + ACTIONS * ACTIONS; }

uint64_t power_short_of_few(uint64_t i)
{
	if (i < ACTIONS * AFTERS * 2)
		return short_number(i % ACTIONS, i / ACTIONS % AFTERS, ACTIONS, 0, i / ACTIONS / AFTERS);
	i -= ACTIONS * AFTERS * 2;
	uint64_t rest = power_mix(5, i);
	return short_number(i % ACTIONS, rest % AFTERS, i / ACTIONS, rest / AFTERS % AFTERS, rest / AFTERS / AFTERS % 2);
}

void power_short(struct power_run *run, const struct power_effort *effort)
{
	uint64_t n = run->number;
	unsigned after_first = (unsigned)(n % AFTERS), after_second = (unsigned)(n / AFTERS % AFTERS);
	const struct action *first = &actions[n / AFTERS / AFTERS % ACTIONS];
	uint64_t rest = n / AFTERS / AFTERS / ACTIONS;
	const struct action *second = rest % (ACTIONS + 1) < ACTIONS ? &actions[rest % (ACTIONS + 1)] : NULL;
	bool logged = rest / (ACTIONS + 1) & 1;
	struct power_op sync = { P_SYNC, NULL, NULL, 0, 0 };
	struct play play;
	power_base(&play, 3, logged, power_mix(1, n));
	play_moment(&play);
	play_record(&play, true);
	int r = act(&play, first);
	if (r == 0)
		r = after(&play, first, after_first);
	play_moment(&play);
	if (r == 0 && second)
		r = act(&play, second);
	if (r == 0 && second)
		r = after(&play, second, after_second);
	play_moment(&play);
	if (r == 0)
		r = play_op(&play, &sync);
	run->trace = play.trace;
	if (r < 0)
		power_lost(run, "the workload", strerror(-r));
	power_cuts(run, &play, effort);
	play_end(&play);
}

/* ---- Long ones ---- */

static const char *const paths[] = { A, B, C, D, E, H, L, N, O, T, X, POWER_PATH("d", "k"), POWER_PATH("d", "m"),
	POWER_PATH("e", "a"), POWER_PATH("e", "b"), POWER_PATH("n", "a") };

static uint64_t pick_bytes(struct power_random *random)
{
	static const uint64_t most[] = { 300, 2500, 9000, 9000, 40000, 40000, 100000 };
	uint64_t bytes = power_pick(random, (unsigned)most[power_pick(random, ARRAY_COUNT(most))]);
	return power_pick(random, 4) == 0 ? bytes / 4096 * 4096 : bytes;
}

void power_random_op(struct power_random *random, struct power_op *ret_op)
{
	static const enum power_kind kinds[] = { P_CREATE, P_CREATE, P_MKDIR, P_SYMLINK, P_WRITE, P_WRITE, P_WRITE, P_WRITE, P_WRITE,
		P_WRITE, P_TRUNCATE, P_TRUNCATE, P_PUNCH, P_ZERO, P_ZERO_KEEP, P_RESERVE, P_EXTEND, P_RENAME, P_RENAME, P_RENAME, P_EXCHANGE,
		P_LINK, P_UNLINK, P_UNLINK, P_RMDIR, P_SETXATTR, P_SETXATTR, P_REMOVEXATTR, P_CHMOD, P_TIMES, P_REF, P_UNREF, P_FSYNC, P_FSYNC,
		P_FSYNC, P_FSYNC, P_FSYNC, P_SYNC, P_WORK, P_PLACE };
	struct power_op op = { kinds[power_pick(random, ARRAY_COUNT(kinds))], paths[power_pick(random, ARRAY_COUNT(paths))],
		paths[power_pick(random, ARRAY_COUNT(paths))], pick_bytes(random), 1 + pick_bytes(random) };
	if (op.kind == P_FSYNC && power_pick(random, 4) == 0)
		op.path = ROOT;
	else if (op.kind == P_SYMLINK)
		op.bytes = 10 + op.bytes % 3990;
	else if (op.kind == P_SETXATTR)
		op.bytes = op.bytes % 12000 + 1;
	else if (op.kind == P_TRUNCATE)
		op.bytes = power_pick(random, 8) ? op.bytes : 0;
	*ret_op = op;
}

void power_long(struct power_run *run, const struct power_effort *effort)
{
	static const unsigned counts[] = { 3, 3, 3, 3, 4, 5 };
	struct power_random random = { power_mix(3, run->number) };
	unsigned members = counts[power_pick(&random, ARRAY_COUNT(counts))], ops = 10 + power_pick(&random, 51);
	struct power_op op = { P_SYNC, NULL, NULL, 0, 0 };
	struct play play;
	int r = 0;
	power_base(&play, members, power_pick(&random, 3) == 0, power_mix(2, run->number));
	play_moment(&play);
	play_record(&play, true);
	for (unsigned i = 0; i < ops && r == 0; i++) {
		power_random_op(&random, &op);
		r = play_op(&play, &op);
		if (i % 8 == 7)
			play_moment(&play);
	}
	if (r == 0)
		r = play_op(&play, &(struct power_op){ P_SYNC, NULL, NULL, 0, 0 });
	run->trace = play.trace;
	if (r < 0)
		power_lost(run, "the workload", strerror(-r));
	power_cuts(run, &play, effort);
	play_end(&play);
}
