/* How the loop's threads wait for requests.
 *
 * To be woken costs more than many a request takes to serve.  A client that waits for each answer before it asks again pays that at
 * each request; so while there seems to be one only (lone), one thread does all:
 *
 *  - It alone waits for the next request.  If the last one came soon, it asks again and again for a short time before it sleeps, and in
 *    between gives the processor to whoever else wants it.
 *  - The others are parked, and not in read(2): there the kernel would wake one of them at each request, in vain.
 *  - While it serves, nobody waits.  Another one is woken if the request carries much data, for the next may be copied meanwhile;
 *    and when the thread itself must wait for others, of which the layers below tell (base/blocking.h), or for a device while
 *    there is another request already.
 *  - The sentry looks at it every millisecond while there is something to do: a request is not left lying for longer because
 *    somebody waits for what nobody told.
 *
 * As soon as there seem to be more clients (crowd), all threads wait in read(2), and the kernel wakes one for each request.
 *
 * Signs of others are: a request taken while another one is served, one that is there when a device is to be waited for, and
 * many in a row that were there before the thread came for them. */
#include "fs/fuse/fuse_internal.h"

#include "base/blocking.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define MUCH_BYTES (64u << 10)
#define SENTRY_NS 1000000

/* Requests without a sign of others count up to LONE, where one thread goes on alone; below CROWD all do. */
#define LONE 64
#define CROWD 32
#define SIGN_OF_OTHERS 16
#define RUN 8u

struct fuse_waiting {
	unsigned processors;
	atomic_int lone;                 /* 0 to LONE; a count lost between threads does no harm */
	atomic_bool crowd;
	atomic_uint waiting;             /* threads that wait for a request; one at most, but for those that came in a crowd */
	atomic_uint serving;             /* requests that were taken and have no answer yet */
	atomic_uint parked;              /* threads that a post of `wake` is for */
	atomic_bool coming;              /* one that was woken is on its way */
	sem_t wake;
	atomic_bool soon;                /* the last request came before a spin's end */
	/* The sentry's. */
	pthread_t sentry;
	atomic_uint taken;               /* requests */
	atomic_bool on_duty, stop;
	sem_t duty;
};

/* Of a thread of the loop. */
static __thread struct {
	struct fuse_waiting *waiting;
	int fd;
	bool nonblocking;                /* fd is */
	bool serves, answered, told;     /* a request; which has its answer; and that the thread waits for something */
	unsigned run;                    /* requests that were there already, one after the other */
} self;

int64_t fuse_wait_now_ns(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

/* ---- Parking ---- */

static bool take_parked(struct fuse_waiting *w)
{
	unsigned parked = atomic_load(&w->parked);
	while (parked > 0)
		if (atomic_compare_exchange_weak(&w->parked, &parked, parked - 1))
			return true;
	return false;
}

static void wake_one(struct fuse_waiting *w)
{
	if (atomic_load(&w->waiting) > 0 || atomic_exchange(&w->coming, true))
		return;
	if (take_parked(w))
		sem_post(&w->wake);
	else
		atomic_store(&w->coming, false);
}

static bool may_wait(struct fuse_waiting *w)
{
	unsigned none = 0;
	if (!atomic_load(&w->crowd))
		return atomic_compare_exchange_strong(&w->waiting, &none, 1);
	atomic_fetch_add(&w->waiting, 1);
	return true;
}

/* Returns when the caller may wait for a request. */
static void take_turn(struct fuse_waiting *w)
{
	while (!may_wait(w)) {
		atomic_fetch_add(&w->parked, 1);
		/* Whoever stopped waiting before that, or saw a crowd, did not see this thread. */
		if ((atomic_load(&w->waiting) == 0 || atomic_load(&w->crowd)) && take_parked(w))
			continue;
		while (sem_wait(&w->wake) < 0 && errno == EINTR)
			;
		atomic_store(&w->coming, false);
	}
}

/* ---- One client, or many ---- */

static void judge(struct fuse_waiting *w, int change)
{
	int lone = atomic_load(&w->lone) + change;
	atomic_store(&w->lone, lone < 0 ? 0 : lone > LONE ? LONE : lone);
	if (lone >= LONE && atomic_load(&w->crowd))
		atomic_store(&w->crowd, false);
	else if (lone < CROWD && !atomic_exchange(&w->crowd, true))
		while (take_parked(w))
			sem_post(&w->wake);
}

/* ---- While a request is served ---- */

static bool is_another(int fd)
{
	struct pollfd request = { .fd = fd, .events = POLLIN };
	return poll(&request, 1, 0) > 0;
}

/* A device may be done before another thread has woken: that one is woken only if there is something for it to do. */
static void begin_blocking(void *ctx, enum blocking_for what)
{
	struct fuse_waiting *w = ctx;
	if (!self.serves || self.told || atomic_load(&w->waiting) > 0)
		return;
	if (what == BLOCKING_FOR_DEVICE) {
		/* After the answer, what comes is the same client's as a rule, and needs the same device (fs/fuse/fuse_early.c); the
		 * sentry sees to the rest. */
		if (self.answered || !is_another(self.fd))
			return;
		judge(w, -SIGN_OF_OTHERS);
	}
	self.told = true;
	wake_one(w);
}

bool fuse_wait_carries_much(const struct fuse_in_header *header)
{
	const struct fuse_read_in *in = (const struct fuse_read_in *)(header + 1);
	return header->len >= MUCH_BYTES || (header->opcode == FUSE_READ && in->size >= MUCH_BYTES);
}

static void taken(struct fuse_waiting *w, const struct fuse_in_header *header, bool at_once)
{
	self.run = at_once ? self.run + 1 : 0;
	self.serves = true;
	self.answered = self.told = false;
	atomic_fetch_add(&w->taken, 1);
	bool others = atomic_fetch_add(&w->serving, 1) > 0 || self.run >= RUN;
	judge(w, others ? -SIGN_OF_OTHERS : 1);
	if (fuse_wait_carries_much(header))
		wake_one(w);
	if (!atomic_load(&w->on_duty) && !atomic_exchange(&w->on_duty, true))
		sem_post(&w->duty);
}

/* ---- The sentry ---- */

static void *keep_watch(void *ctx)
{
	struct fuse_waiting *w = ctx;
	while (!atomic_load(&w->stop)) {
		unsigned quiet = 0;
		while (quiet < 2 && !atomic_load(&w->stop)) {
			unsigned before = atomic_load(&w->taken);
			nanosleep(&(struct timespec){ 0, SENTRY_NS }, NULL);
			bool got_on = atomic_load(&w->taken) != before;
			if (!got_on && atomic_load(&w->waiting) == 0)
				wake_one(w);
			quiet = got_on || atomic_load(&w->waiting) == 0 ? 0 : quiet + 1;
		}
		atomic_store(&w->on_duty, false);
		if (atomic_load(&w->waiting) == 0 && !atomic_exchange(&w->on_duty, true))
			continue;        /* a request was taken just now, by somebody who saw it on duty */
		while (sem_wait(&w->duty) < 0 && errno == EINTR)
			;
	}
	return NULL;
}

/* ---- Waiting ---- */

static void make_ready(struct fuse_waiting *w, int fd)
{
	self.fd = fd;
	self.waiting = w;
	self.nonblocking = false;
	blocking_set(begin_blocking, w);
}

static void set_nonblocking(bool nonblocking)
{
	int flags = self.nonblocking == nonblocking ? -1 : fcntl(self.fd, F_GETFL);
	if (flags >= 0 && fcntl(self.fd, F_SETFL, nonblocking ? flags | O_NONBLOCK : flags & ~O_NONBLOCK) == 0)
		self.nonblocking = nonblocking;
}

static bool is_none(ssize_t n)
{
	return n < 0 && errno == EAGAIN;
}

static ssize_t wait_alone(struct fuse_waiting *w, int fd, const struct iovec *iov, int count, bool *ret_at_once)
{
	ssize_t n = readv(fd, iov, count);
	*ret_at_once = !is_none(n);
	if (*ret_at_once)
		return n;
	int64_t start_ns = fuse_wait_now_ns();
	if (w->processors > 1 && atomic_load(&w->soon)) {
		do {
			sched_yield();
			n = readv(fd, iov, count);
			if (!is_none(n))
				return n;
		} while (fuse_wait_now_ns() - start_ns < FUSE_SPIN_NS);
	}
	do {
		struct pollfd request = { .fd = fd, .events = POLLIN };
		if (poll(&request, 1, -1) < 0)
			break;           /* EINTR: libfuse asks again */
		n = readv(fd, iov, count);
	} while (is_none(n));
	atomic_store(&w->soon, fuse_wait_now_ns() - start_ns < FUSE_SPIN_NS);
	return n;
}

void fuse_wait_answered(void)
{
	if (self.serves && !self.answered)
		atomic_fetch_sub(&self.waiting->serving, 1);
	self.answered = true;
}

ssize_t fuse_wait_readv(struct fuse_server *server, int fd, const struct iovec *iov, int count)
{
	struct fuse_waiting *w = server->waiting;
	bool at_once = false;
	if (self.fd != fd || self.waiting != w)
		make_ready(w, fd);
	fuse_wait_answered();
	self.serves = false;
	take_turn(w);
	bool crowd = atomic_load(&w->crowd);
	set_nonblocking(!crowd);
	ssize_t n = crowd ? readv(fd, iov, count) : -1;
	/* In a crowd it is none only where the threads have one descriptor together, and another one made it so. */
	if (!crowd || is_none(n))
		n = wait_alone(w, fd, iov, count, &at_once);
	atomic_fetch_sub(&w->waiting, 1);
	if (n >= (ssize_t)sizeof(struct fuse_in_header))
		taken(w, iov[0].iov_base, at_once);
	return n;
}

int fuse_wait_start(struct fuse_server *server)
{
	struct fuse_waiting *w = calloc(1, sizeof *w);
	sigset_t all, before;
	if (!w)
		return -ENOMEM;
	long processors = sysconf(_SC_NPROCESSORS_ONLN);
	w->crowd = true;
	w->processors = processors > 0 ? (unsigned)processors : 1;
	sem_init(&w->wake, 0, 0);
	sem_init(&w->duty, 0, 0);
	server->waiting = w;
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &before);
	int r = pthread_create(&w->sentry, NULL, keep_watch, w);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (r) {
		server->waiting = NULL;
		free(w);
	}
	return -r;
}

void fuse_wait_stop(struct fuse_server *server)
{
	struct fuse_waiting *w = server->waiting;
	atomic_store(&w->stop, true);
	sem_post(&w->duty);
	pthread_join(w->sentry, NULL);
	sem_destroy(&w->wake);
	sem_destroy(&w->duty);
	free(w);
	server->waiting = NULL;
}
