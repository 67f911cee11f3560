/* Running one alert program. */
#ifndef TOOLS_ALERT_RUN_H
#define TOOLS_ALERT_RUN_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define ALERT_TIMEOUT_MS 60000

/* What it is told, as arguments (event, array, member) and in its environment. No NULLs. */
struct alert_message {
	const char *event, *array, *uuid, *mountpoint, *member, *text;
	uint64_t count;
};

/* What became of it. */
struct alert_outcome {
	int error;                       /* errno: it could not be run; 0 */
	int exit_code, signal;           /* signal: 0 unless one ended it */
	bool timed_out;                  /* it was killed */
};

/* Runs it to its end, for at most ALERT_TIMEOUT_MS and not beyond `until_ms` (CLOCK_MONOTONIC; may be moved forward meanwhile); then it
 * is killed with all that it started and that did not leave its session.  Each line that it prints, up to a limit, goes to `say`. */
void alert_run(const char *program, const struct alert_message *message, const atomic_llong *until_ms,
	void (*say)(void *ctx, const char *line), void *ctx, struct alert_outcome *ret_outcome);

/* "ended with exit code 3", … */
#define ALERT_OUTCOME_BYTES 160
void alert_outcome_text(const struct alert_outcome *outcome, char text[ALERT_OUTCOME_BYTES]);

int64_t alert_now_ms(void);

#endif
