/* How far something long has come: a bar with an estimate on the terminal, or lines for fsck(8) and its like. */
#ifndef TOOLS_PROGRESS_H
#define TOOLS_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct progress {
	int fd;                          /* lines for fsck(8) go there; -1: none */
	bool bar;                        /* on the terminal (standard error) */
	const char *subject;             /* what the lines are about */
	bool shown;                      /* a bar is on the line now */
	const char *phase;
	unsigned pass;
	int64_t began_ms, drawn_ms;
	int64_t waiting_since_ms;
};

#define PROGRESS_BAR_BYTES 40
#define PROGRESS_LEFT_BYTES 48
/* "[=======     ]". Return ret_…. */
const char *progress_bar(uint64_t done, uint64_t total, char ret_bar[PROGRESS_BAR_BYTES]);
/* ", about 5 min left", if from `from` to `done` took that long; empty where nothing can be told yet. */
const char *progress_left(uint64_t from, uint64_t done, uint64_t total, int64_t elapsed_ms, char ret_left[PROGRESS_LEFT_BYTES]);

/* Shows it, if it is time to.  `phase` stays valid. */
void progress_show(struct progress *progress, const char *phase, uint64_t done, uint64_t total);
/* Waits before one looks again how far it is: a sixteenth of the time since it was first called, from 10 to 300 ms. A signal ends it. */
void progress_wait(struct progress *progress);
/* Takes the bar off the line, before something else is printed. */
void progress_clear(struct progress *progress);

#endif
