/* How far something long has come: see the header.
 *
 * The estimate is by the phase: what is left of it takes as long as what was done took.  Of other phases nothing is known. */
#include "tools/progress.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define DRAW_EVERY_MS 200
#define ESTIMATE_AFTER_MS 1000
#define WAIT_SHARE 16
#define WAIT_MIN_MS 10
#define WAIT_MAX_MS 300
#define BAR_CELLS 30
#define PASS_MAX 5u      /* fsck(8) knows five */

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

void progress_wait(struct progress *p)
{
	int64_t now = now_ms(), ms;

	if (!p->waiting_since_ms)
		p->waiting_since_ms = now;
	ms = (now - p->waiting_since_ms) / WAIT_SHARE;
	ms = ms < WAIT_MIN_MS ? WAIT_MIN_MS : ms > WAIT_MAX_MS ? WAIT_MAX_MS : ms;
	usleep((unsigned)ms * 1000);
}

void progress_clear(struct progress *p)
{
	if (!p->shown)
		return;
	fputs("\r\033[K", stderr);
	p->shown = false;
}

const char *progress_bar(uint64_t done, uint64_t total, char ret_bar[PROGRESS_BAR_BYTES])
{
	int full = done < total ? (int)((double)done / (double)total * BAR_CELLS) : BAR_CELLS;

	snprintf(ret_bar, PROGRESS_BAR_BYTES, "[%.*s%*s]", full, "==============================", BAR_CELLS - full, "");
	return ret_bar;
}

const char *progress_left(uint64_t from, uint64_t done, uint64_t total, int64_t elapsed_ms, char ret_left[PROGRESS_LEFT_BYTES])
{
	*ret_left = '\0';
	if (elapsed_ms <= ESTIMATE_AFTER_MS || done <= from || done > total)
		return ret_left;
	double seconds = (double)elapsed_ms / 1000 / (double)(done - from) * (double)(total - done) + 1;
	if (seconds < 120)
		snprintf(ret_left, PROGRESS_LEFT_BYTES, ", about %.0f s left", seconds);
	else if (seconds < 3600e6)
		snprintf(ret_left, PROGRESS_LEFT_BYTES, ", about %.0f min left", seconds / 60);
	return ret_left;
}

static void draw(struct progress *p, uint64_t done, uint64_t total, int64_t elapsed_ms)
{
	char bar[PROGRESS_BAR_BYTES], left[PROGRESS_LEFT_BYTES];
	int percent = done < total ? (int)((double)done / (double)total * 100) : total ? 100 : 0;

	fprintf(stderr, "\r%-12s %s %3d %%%s\033[K", p->phase, progress_bar(total ? done : 0, total ? total : 1, bar), percent,
		progress_left(0, done, total, elapsed_ms, left));
	fflush(stderr);
	p->shown = true;
}

void progress_show(struct progress *p, const char *phase, uint64_t done, uint64_t total)
{
	int64_t now = now_ms();

	if (!p->phase || strcmp(p->phase, phase)) {
		p->phase = phase;
		p->began_ms = now;
		p->drawn_ms = 0;
		if (p->pass < PASS_MAX)
			p->pass++;
	}
	if ((p->bar || p->fd >= 0) && (now - p->drawn_ms >= DRAW_EVERY_MS || done >= total)) {
		p->drawn_ms = now;
		if (p->bar)
			draw(p, done, total, now - p->began_ms);
		if (p->fd >= 0 && dprintf(p->fd, "%u %llu %llu %s\n", p->pass, (unsigned long long)done, (unsigned long long)total,
				p->subject) < 0)
			p->fd = -1;      /* whoever listened is gone */
	}
}
