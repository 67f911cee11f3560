/* One scripted workload, played on a filesystem and on the model alike: what faults and failing allocations are tried
 * on.
 *
 * It is cut into acts. Each begins with opening, on the members as the act before left them, and ends with a clean
 * close or with a loss of power, so that the next one begins with a replay of the intent log. A step is one
 * operation. When it fails, the model stays as it was; so states[i], the model after i steps, is what any run must
 * show there.
 *
 * All data that is dirty when a file is synced is that file's, so that an fsync makes the whole state durable; and
 * each act ends synced. The recording proves that by losing power after each step. */
#ifndef TESTS_SIM_PLAY_H
#define TESTS_SIM_PLAY_H

#include "tests/lib/model.h"
#include "tests/lib/simfs.h"

#define PLAY_MEMBERS 3u
#define PLAY_MEMBER_BYTES (8u << 20)
#define PLAY_STEPS_MAX 160u
#define PLAY_ACTS 5u

struct play_act {
	const char *title;
	unsigned first, end;             /* steps */
	int left_out;                    /* member, or -1 */
	bool power_lost;                 /* how it ends */
	bool degraded;                   /* a member is missing or out of date as it begins: one more fault is a second one */
};

/* What a run without any fault was like. */
struct recording {
	struct play_act acts[PLAY_ACTS];
	unsigned steps;
	struct model states[PLAY_STEPS_MAX + 1];
	struct simfs *starts[PLAY_ACTS + 1];     /* closed, as each act begins; the last: after all */
};

/* A run of one act. */
struct play {
	const struct recording *recording;
	const struct play_act *act;
	struct simfs *sim;
	struct model model;
	unsigned step;                   /* the next one */
	unsigned synced;                 /* states[synced] is durable */
	unsigned moved_blocks;           /* by relocation */
};

/* Tells what and ends the program.  The case that is being tried is told with it. */
void play_broken(const char *what, const char *why) __attribute__((noreturn));
void play_case(const char *format, ...) __attribute__((format(printf, 1, 2)));
void play_complain(void *ctx, const char *text);

/* Plays everything once. */
void play_record(struct recording *recording);
void play_forget(struct recording *recording);

/* A run of an act on a clone of its start: closed, `play->sim` is the caller's to open. */
void play_begin(struct play *play, const struct recording *recording, unsigned act);
/* Closes and frees all. */
void play_end(struct play *play);
/* Steps left? */
bool play_more(const struct play *play);
/* One step: 0 or -errno; after an error the same one is next. Wrong data is the end of the program. */
int play_step(struct play *play);
/* The next step is several operations, so that it may be done in part when it fails; or takes inode numbers even then. */
bool play_step_in_parts(const struct play *play);
bool play_step_takes_numbers(const struct play *play);
const char *play_step_name(const struct play *play);

/* The open filesystem is states[i] for an i in [from, to], as after a mount.  Ends the program if not; returns i. */
unsigned play_must_be(const struct play *play, struct fs *fs, unsigned from, unsigned to);
/* Opens a clone on which the power is lost now, and checks that it is one of states[from … to] and consistent. */
void play_must_survive(const struct play *play, enum simcut_policy policy, unsigned from, unsigned to);
/* All members are there again: they catch up, and the self-check finds nothing. */
void play_catch_up(struct simfs *sim);

#endif
