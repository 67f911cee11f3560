/* Telling programs of events of a mount: see the header.
 *
 * Locks: `lock` protects the queue and is the innermost of all, since alert_event is called with locks of the array held. `fs_lock` is
 * held while the filesystem is asked something, so that alert_detach waits for that; `lock` is not held then. */
#include "tools/alert.h"

#include "base/cleanup.h"
#include "fs/fs.h"
#include "raid/array.h"
#include "tools/alert_programs.h"
#include "tools/alert_queue.h"
#include "tools/alert_run.h"
#include "tools/cli.h"
#include "tools/daemon.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/prctl.h>
#include <syslog.h>
#include <time.h>

#ifndef PR_SET_IO_FLUSHER
#define PR_SET_IO_FLUSHER 57
#endif

#define SPACE_EVERY_MS 10000
#define MEMBER_PATH_BYTES 256u
#define LAST_MS 30000                /* for what is queued when the daemon ends */

struct alert {
	char *program;                   /* of the mount option, or NULL */
	char name[LABEL_NAME_BYTES], uuid[UUID_TEXT_BYTES], mountpoint[PATH_MAX];

	pthread_mutex_t lock;
	pthread_cond_t wake;             /* there is something in the queue, or `ending` */
	struct alert_queue *queue;       /* protected by lock */
	bool opening, ending;            /* protected by lock */
	atomic_llong until_ms;           /* when programs are killed at the latest */

	pthread_mutex_t fs_lock;
	struct fs *fs;                   /* protected by fs_lock, NULL once detached; so are the last known paths: */
	char members[MEMBERS_MAX][MEMBER_PATH_BYTES];

	bool running;
	pthread_t thread;
	/* The thread's own. */
	unsigned space_level;
	int64_t space_ms;                /* when to look again */
};

static void destroy(struct alert *alert)
{
	if (!alert)
		return;
	alert_queue_free(alert->queue);
	free(alert->program);
	pthread_mutex_destroy(&alert->lock);
	pthread_mutex_destroy(&alert->fs_lock);
	pthread_cond_destroy(&alert->wake);
	free(alert);
}

int alert_new(const char *program, struct alert **ret_alert, struct fail *fail)
{
	pthread_condattr_t attributes;
	char *resolved = NULL;

	*ret_alert = NULL;
	if (program) {
		int r = alert_program_check(program, &resolved, fail);
		free(resolved);
		if (r < 0)
			return r;
	} else if (geteuid() != 0) {
		return 0;
	}
	struct alert *alert = calloc(1, sizeof *alert);
	if (!alert)
		return fail_set(fail, ENOMEM, FAIL_SYSTEM, "out of memory");
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&alert->wake, &attributes);
	pthread_condattr_destroy(&attributes);
	pthread_mutex_init(&alert->lock, NULL);
	pthread_mutex_init(&alert->fs_lock, NULL);
	atomic_init(&alert->until_ms, LLONG_MAX);
	alert->opening = true;
	alert->queue = alert_queue_new();
	alert->program = program ? strdup(program) : NULL;
	if (!alert->queue || (program && !alert->program)) {
		destroy(alert);
		return fail_set(fail, ENOMEM, FAIL_SYSTEM, "out of memory");
	}
	*ret_alert = alert;
	return 0;
}

void alert_about(struct alert *alert, const struct label *label, const char *mountpoint)
{
	if (!alert)
		return;
	snprintf(alert->name, sizeof alert->name, "%s", label->name);
	uuid_format(&label->array, alert->uuid);
	snprintf(alert->mountpoint, sizeof alert->mountpoint, "%s", mountpoint);
}

void alert_event(struct alert *alert, const struct event *event)
{
	if (!alert)
		return;
	SCOPED_LOCK(&alert->lock);
	if (alert_queue_push(alert->queue, event, alert->opening))
		pthread_cond_signal(&alert->wake);
}

void alert_opened(struct alert *alert)
{
	if (!alert)
		return;
	SCOPED_LOCK(&alert->lock);
	alert->opening = false;
}

/* ---- What is asked of the filesystem ---- */

static void member_path(struct alert *alert, int member, char ret_path[MEMBER_PATH_BYTES])
{
	struct member_status status;

	*ret_path = '\0';
	if (member < 0 || (unsigned)member >= MEMBERS_MAX)
		return;
	SCOPED_LOCK(&alert->fs_lock);
	if (alert->fs && (unsigned)member < array_member_count(fs_array(alert->fs))) {
		array_member_status(fs_array(alert->fs), (unsigned)member, &status);
		snprintf(alert->members[member], MEMBER_PATH_BYTES, "%s", status.name);
	}
	snprintf(ret_path, MEMBER_PATH_BYTES, "%s", alert->members[member]);
}

/* Free space falls below a limit: this is an event like others. */
static void look_at_space(struct alert *alert)
{
	char free_text[CLI_SIZE_TEXT_BYTES], capacity_text[CLI_SIZE_TEXT_BYTES], text[256];
	struct fs_space space = { 0 };

	pthread_mutex_lock(&alert->fs_lock);
	if (alert->fs && !fs_read_only(alert->fs))
		fs_space(alert->fs, &space);
	pthread_mutex_unlock(&alert->fs_lock);
	if (!space.capacity_blocks)
		return;
	unsigned level = alert_space_level(alert->space_level, space.free_blocks, space.capacity_blocks);
	bool worse = level > alert->space_level;
	alert->space_level = level;
	if (!worse)
		return;
	snprintf(text, sizeof text, "Little space is free: %s of %s, which is less than %s. Delete what is not needed, also because an array "
		"that is full becomes slow.", cli_size(space.free_blocks * BLOCK_BYTES, free_text),
		cli_size(space.capacity_blocks * BLOCK_BYTES, capacity_text), level > 1 ? "1 %" : "5 %");
	struct event event = { .kind = EVENT_SPACE_LOW, .member = -1, .text = text };
	daemon_event(NULL, &event);
	alert_event(alert, &event);
}

/* ---- Running programs ---- */

static void log_line(void *ctx, const char *line)
{
	const char *program = ctx;
	char text[PATH_MAX + 512];

	snprintf(text, sizeof text, "alert program %s says: %s", program, line);
	daemon_log(LOG_NOTICE, text);
}

static void log_refused(void *ctx, const char *text)
{
	(void)ctx;
	daemon_log(LOG_WARNING, text);
}

static void run_one(struct alert *alert, char *program, const struct alert_message *message)
{
	char text[PATH_MAX + 512], became[ALERT_OUTCOME_BYTES];
	struct alert_outcome outcome;

	alert_run(program, message, &alert->until_ms, log_line, program, &outcome);
	if (!outcome.error && !outcome.timed_out && !outcome.signal && !outcome.exit_code)
		return;
	alert_outcome_text(&outcome, became);
	snprintf(text, sizeof text, "alert program %s, called because of \"%s\", %s; try it with raid5cryptfs --test-alert", program,
		message->event, became);
	daemon_log(LOG_WARNING, text);
}

static void run_all(struct alert *alert, struct alert_call *call)
{
	struct alert_programs programs;
	char member[MEMBER_PATH_BYTES];

	cli_clean(call->text);
	member_path(alert, call->member, member);
	struct alert_message message = {
		.event = call->name, .array = alert->name, .uuid = alert->uuid, .mountpoint = alert->mountpoint,
		.member = member, .text = call->text, .count = call->count,
	};
	if (alert_programs_find(alert->program, log_refused, NULL, &programs) < 0) {
		daemon_log(LOG_WARNING, "no memory to run alert programs");
		return;
	}
	for (unsigned i = 0; i < programs.count && alert_now_ms() < atomic_load(&alert->until_ms); i++)
		run_one(alert, programs.paths[i], &message);
	alert_programs_free(&programs);
}

/* ---- The thread ---- */

static void tell_lost(uint64_t lost)
{
	char text[160];

	if (!lost)
		return;
	snprintf(text, sizeof text, "%llu events were not told to alert programs, since these were too slow; all are in this log",
		(unsigned long long)lost);
	daemon_log(LOG_WARNING, text);
}

/* What the last half minute was too short for. */
static void tell_left(struct alert *alert)
{
	uint64_t lost = alert_queue_lost(alert->queue);
	struct alert_call call;
	int64_t wait_ms;

	while (alert_queue_pop(alert->queue, alert_now_ms(), true, &call, &wait_ms))
		lost += call.count;
	tell_lost(lost);
}

/* The next call; false: the end.  Waits until there is one, or it is time to look at the space (*ret_look, without a call). */
static bool next_call(struct alert *alert, struct alert_call *ret_call, uint64_t *ret_lost, bool *ret_look)
{
	SCOPED_LOCK(&alert->lock);
	for (;;) {
		int64_t now_ms = alert_now_ms(), wait_ms;
		bool over = now_ms >= atomic_load(&alert->until_ms);
		*ret_lost = alert_queue_lost(alert->queue);
		*ret_look = false;
		if (!over && alert_queue_pop(alert->queue, now_ms, alert->ending, ret_call, &wait_ms))
			return true;
		if (alert->ending)
			return false;
		if (now_ms >= alert->space_ms) {
			alert->space_ms = now_ms + SPACE_EVERY_MS;
			*ret_look = true;
			return true;
		}
		if (wait_ms < 0 || wait_ms > alert->space_ms - now_ms)
			wait_ms = alert->space_ms - now_ms;
		int64_t at_ms = now_ms + wait_ms;
		struct timespec at = { .tv_sec = at_ms / 1000, .tv_nsec = at_ms % 1000 * 1000000 };
		pthread_cond_timedwait(&alert->wake, &alert->lock, &at);
	}
}

static void *serve(void *ctx)
{
	struct alert *alert = ctx;
	struct alert_call call;
	uint64_t lost;
	bool look;

	prctl(PR_SET_IO_FLUSHER, 0, 0, 0, 0);    /* children inherit it, and are none; a refusal does not matter */
	while (next_call(alert, &call, &lost, &look)) {
		tell_lost(lost);
		if (look)
			look_at_space(alert);
		else
			run_all(alert, &call);
	}
	return NULL;
}

int alert_start(struct alert *alert, struct fs *fs)
{
	if (!alert)
		return 0;
	alert->fs = fs;
	int err = pthread_create(&alert->thread, NULL, serve, alert);
	alert->running = !err;
	return -err;
}

void alert_detach(struct alert *alert)
{
	if (!alert)
		return;
	char path[MEMBER_PATH_BYTES];
	for (int i = 0; i < (int)MEMBERS_MAX; i++)
		member_path(alert, i, path);
	SCOPED_LOCK(&alert->fs_lock);
	alert->fs = NULL;
}

void alert_free(struct alert *alert)
{
	if (alert && alert->running) {
		pthread_mutex_lock(&alert->lock);
		alert->ending = true;
		atomic_store(&alert->until_ms, alert_now_ms() + LAST_MS);
		pthread_cond_signal(&alert->wake);
		pthread_mutex_unlock(&alert->lock);
		pthread_join(alert->thread, NULL);
		tell_left(alert);
	}
	destroy(alert);
}

/* ---- raid5cryptfs --test-alert ---- */

static void print_refused(void *ctx, const char *text)
{
	unsigned *failed = ctx;

	++*failed;
	cli_message("%s", text);
}

static void print_line(void *ctx, const char *line)
{
	(void)ctx;
	printf("  %s\n", line);
}

int alert_test(const char *program)
{
	const struct alert_message message = {
		.event = "test", .array = "test", .uuid = "00000000-0000-0000-0000-000000000000", .mountpoint = "", .member = "",
		.text = "This is a test of alerts: nothing is wrong.", .count = 1,
	};
	struct alert_programs programs;
	unsigned failed = 0;
	atomic_llong until_ms = LLONG_MAX;

	if (alert_programs_find(program, print_refused, &failed, &programs) < 0)
		return cli_error(FAIL_SYSTEM, "out of memory");
	if (!programs.count && !failed)
		return cli_error(FAIL_NOT_FOUND, geteuid() == 0 ? "there is no alert program: give -o alert=PROGRAM, or put one into %s"
			: "there is no alert program: give -o alert=PROGRAM (those in %s are for mounts by root)", ALERT_DIR);
	for (unsigned i = 0; i < programs.count; i++) {
		struct alert_outcome outcome;
		char became[ALERT_OUTCOME_BYTES];
		alert_run(programs.paths[i], &message, &until_ms, print_line, NULL, &outcome);
		alert_outcome_text(&outcome, became);
		failed += outcome.error || outcome.timed_out || outcome.signal || outcome.exit_code;
		printf("%s %s\n", programs.paths[i], became);
	}
	alert_programs_free(&programs);
	return failed ? FAIL_SYSTEM : 0;
}
