/* Every allocation of a workload fails.
 *
 *	test_memory [--thorough] [--act A [--call N [--on]]]
 *
 * The linker sends all calls of malloc, calloc, realloc, iobuf_new and key_alloc here. In each act of
 * tests/sim/play.h, for each number N, the Nth call made from inside the filesystem fails: once, or with all that
 * follow until an operation has told of it.
 *
 * Each operation must succeed or return -ENOMEM. When there is memory again, one that failed has changed nothing
 * and works when it is tried again; or else the filesystem has said that it is read-only, and refuses to write from
 * then on. Whether or not, what was synced survives a loss of power at that moment, and the self-check finds nothing.
 * An alarm ends what hangs (a lock that was not released). */
#include "base/cleanup.h"
#include "crypto/key.h"
#include "fs/core.h"
#include "tests/sim/play.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CASE_SECONDS 60u

#ifdef __SANITIZE_ADDRESS__
#define STRIDE 11u
#define STRIDE_ON 23u
#else
#define STRIDE 1u
#define STRIDE_ON 5u
#endif

static struct {
	bool armed, on;                  /* on: from there on */
	unsigned long calls, fail_at;
	unsigned long failed;
} memory;

static struct { unsigned long cases, failed_opens, failed_steps, refused, unnoticed; } counts;

static bool fails(void)
{
	if (!memory.armed)
		return false;
	memory.calls++;
	if (memory.calls != memory.fail_at && !(memory.on && memory.calls > memory.fail_at))
		return false;
	memory.failed++;
	return true;
}

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t count, size_t bytes);
void *__real_realloc(void *p, size_t bytes);
struct iobuf *__real_iobuf_new(size_t bytes);
void *__real_key_alloc(size_t bytes);
void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
void *__wrap_realloc(void *p, size_t bytes);
struct iobuf *__wrap_iobuf_new(size_t bytes);
void *__wrap_key_alloc(size_t bytes);

static void *no_memory(void)
{
	errno = ENOMEM;
	return NULL;
}

void *__wrap_malloc(size_t bytes) { return fails() ? no_memory() : __real_malloc(bytes); }
void *__wrap_calloc(size_t count, size_t bytes) { return fails() ? no_memory() : __real_calloc(count, bytes); }
void *__wrap_realloc(void *p, size_t bytes) { return fails() ? no_memory() : __real_realloc(p, bytes); }
struct iobuf *__wrap_iobuf_new(size_t bytes) { return fails() ? no_memory() : __real_iobuf_new(bytes); }
void *__wrap_key_alloc(size_t bytes) { return fails() ? no_memory() : __real_key_alloc(bytes); }

static void hangs(int signal_number)
{
	(void)signal_number;
	play_broken("nothing happens any more", "a lock was not released, or a wait has no end");
}

static void set_alarm(void)
{
	alarm(CASE_SECONDS);
}

/* ---- A case ---- */

static bool refuses(struct simfs *sim)
{
	SCOPED_LOCK(&sim->fs->lock);
	return sim->fs->error != 0;
}

/* The filesystem writes no more: it has said so, it still can be read, and all that was synced is there at the next mount. */
static void after_refusal(struct play *play)
{
	struct fs_cred cred = { 0 };
	struct fs_attr attr;
	counts.refused++;
	if (!play->sim->events[EVENT_READ_ONLY] && !play->sim->events[EVENT_WARNING])
		play_broken("a filesystem that refuses", "without a word");
	if (fs_mknod(play->sim->fs, 1, "more", S_IFREG | 0600, 0, cred, &attr) == 0 || fs_sync(play->sim->fs) == 0)
		play_broken("a filesystem that refuses", "it does not");
	if (fs_getattr(play->sim->fs, 1, &attr) < 0)
		play_broken("a filesystem that refuses", "it cannot be read");
	for (int policy = SIMCUT_DROP_ALL; policy <= SIMCUT_KEEP_ALL; policy++)
		play_must_survive(play, (enum simcut_policy)policy, play->synced,
			play->step + 1 < play->act->end ? play->step + 1 : play->act->end);
}

static void close_again(struct play *play)
{
	bool lost = play->act->power_lost;
	unsigned synced = play->synced;
	simfs_close(play->sim, lost);
	memory.armed = false;
	if (lost)
		simworld_cut(play->sim->world, SIMCUT_DROP_ALL);
	memset(play->sim->left_out, 0, sizeof play->sim->left_out);
	if (simfs_open(play->sim) < 0)
		play_broken("opening it again", play->sim->fail.text);
	play_must_be(play, play->sim->fs, synced, play->step);
	play_catch_up(play->sim);
}

/* The next step returned an error.  False: there is nothing more to do. */
static bool after_failure(struct play *play, int r)
{
	char why[500] = "";
	bool was_failed = memory.failed > 0;
	memory.armed = false;
	if (!was_failed || (r != -ENOMEM && !refuses(play->sim)))
		play_broken(play_step_name(play), strerror(-r));
	counts.failed_steps++;
	if (refuses(play->sim)) {
		after_refusal(play);
		return false;
	}
	bool goes_on = !play_step_takes_numbers(play);
	if (!play_step_in_parts(play) && !model_compare(&play->model, play->sim->fs, why, sizeof why))
		play_broken("a failed operation changed something", why);
	play_must_survive(play, SIMCUT_DROP_ALL, play->synced, play->step);
	r = play_step(play);
	if (r < 0)
		play_broken("there is memory again, but it fails again", strerror(-r));
	if (!goes_on)
		close_again(play);
	return goes_on;
}

static void open_short_of_memory(struct play *play)
{
	memory.armed = true;
	int r = simfs_open(play->sim);
	if (r == 0)
		return;
	memory.armed = false;
	if (!memory.failed || !play->sim->fail.text[0])
		play_broken("opening fails", play->sim->fail.text);
	if (r != -ENOMEM)
		play_broken("opening fails with another error", strerror(-r));
	counts.failed_opens++;
	if (simfs_open(play->sim) < 0)
		play_broken("there is memory again, but it cannot be opened", play->sim->fail.text);
}

/* One act with one failure. False: it has no call of that number. */
static bool run_case(const struct recording *recording, unsigned act, unsigned long call, bool on)
{
	struct play play;
	bool goes_on = true;
	play_case("test_memory --act %u --call %lu%s", act, call, on ? " --on" : "");
	set_alarm();
	play_begin(&play, recording, act);
	memory.on = on;
	memory.calls = memory.failed = 0;
	memory.fail_at = call;
	open_short_of_memory(&play);
	while (goes_on && play_more(&play)) {
		int r = play_step(&play);
		if (r < 0)
			goes_on = after_failure(&play, r);
		else if (memory.on && memory.failed > 0)
			memory.armed = false;
	}
	if (goes_on)
		close_again(&play);
	memory.armed = false;
	counts.cases++;
	counts.unnoticed += memory.failed > 0 && goes_on;
	play_end(&play);
	return memory.failed > 0;
}

static void all_cases(const struct recording *recording, unsigned from, unsigned to, unsigned stride, unsigned stride_on)
{
	for (unsigned act = from; act < to; act++) {
		unsigned long n[2];
		for (int on = 0; on < 2; on++)
			for (n[on] = 1 + act % stride; run_case(recording, act, n[on], on); n[on] += on ? stride_on : stride)
				;
		printf("%s: %lu allocations\n", recording->acts[act].title, n[0]);
		fflush(stdout);
	}
	printf("%lu cases: %lu failed opens, %lu failed operations, %lu times read-only from then on; nothing lost\n", counts.cases,
		counts.failed_opens, counts.failed_steps, counts.refused);
	if (!counts.failed_opens || !counts.failed_steps || counts.refused == counts.failed_steps)
		play_broken("the test", "it tried nothing");
}

/* An fsync is the first thing that a mount writes: its promise and opening root are tried again by the commit in the record's place. */
static void opening(void)
{
	struct fs_cred cred = { 0 };
	uint8_t bytes[BLOCK_BYTES] = { 1 };
	for (unsigned long call = 1; call == 1 || memory.failed > 0; call++) {
		struct simfs *sim;
		struct fs_attr attr;
		play_case("test_memory: allocation %lu of a mount's first fsync", call);
		set_alarm();
		if (simfs_make(&sim, 3, 8u << 20, CIPHER_XCHACHA20_POLY1305, 1) < 0
				|| fs_mknod(sim->fs, OBJECT_ROOT, "a", S_IFREG | 0600, 0, cred, &attr) < 0 || simfs_remount(sim) < 0
				|| fs_write(sim->fs, attr.ino, bytes, sizeof bytes, 0, false, NULL) != sizeof bytes)
			play_broken("making", sim->fail.text);
		memory.on = false;
		memory.calls = memory.failed = 0;
		memory.fail_at = call;
		memory.armed = true;
		int r = fs_fsync(sim->fs, attr.ino, false);
		memory.armed = false;
		if (r < 0 && !refuses(sim))
			play_broken("fsync", strerror(-r));
		if (simfs_crash(sim, SIMCUT_DROP_ALL) < 0)
			play_broken("opening it again", sim->fail.text);
		if (fs_getattr(sim->fs, attr.ino, &attr) < 0 || (r == 0 && attr.size_bytes != sizeof bytes))
			play_broken("fsync", "what was synced is lost");
		simfs_free(sim);
	}
}

int main(int argc, char **argv)
{
	static struct recording recording;
	unsigned stride = STRIDE, stride_on = STRIDE_ON, act = PLAY_ACTS;
	unsigned long call = 0;
	bool on = false;
	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--thorough"))
			stride = stride_on = 1;
		else if (!strcmp(argv[i], "--on"))
			on = true;
		else if (!strcmp(argv[i], "--act") && i + 1 < argc)
			act = (unsigned)atoi(argv[++i]);
		else if (!strcmp(argv[i], "--call") && i + 1 < argc)
			call = strtoul(argv[++i], NULL, 10);
		else {
			fprintf(stderr, "usage: test_memory [--thorough] [--act A [--call N [--on]]]\n");
			return 2;
		}
	}
	signal(SIGALRM, hangs);
	play_record(&recording);
	if (call) {
		run_case(&recording, act % PLAY_ACTS, call, on);
	} else {
		opening();
		all_cases(&recording, act % PLAY_ACTS, act < PLAY_ACTS ? act + 1 : PLAY_ACTS, stride, stride_on);
	}
	play_forget(&recording);
	return 0;
}
