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

static void draw(struct progress *p, uint64_t done, uint64_t total, int64_t elapsed_ms)
{
	char cells[BAR_CELLS + 1], left[48] = "";
	double part = total ? (double)done / (double)total : 0;

	if (part > 1)
		part = 1;
	for (int i = 0; i < BAR_CELLS; i++)
		cells[i] = i < (int)(part * BAR_CELLS) ? '=' : ' ';
	cells[BAR_CELLS] = '\0';
	if (elapsed_ms > ESTIMATE_AFTER_MS && part > 0) {
		uint64_t seconds = (uint64_t)((double)elapsed_ms / part * (1 - part) / 1000) + 1;
		if (seconds < 120)
			snprintf(left, sizeof left, ", about %llu s left", (unsigned long long)seconds);
		else
			snprintf(left, sizeof left, ", about %llu min left", (unsigned long long)(seconds / 60));
	}
	fprintf(stderr, "\r%-12s [%s] %3d %%%s\033[K", p->phase, cells, (int)(part * 100), left);
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
