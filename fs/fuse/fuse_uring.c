/* Requests and answers by io_uring, in place of read(2) and write(2) of /dev/fuse (mount option transport=uring).
 *
 * The kernel has a queue for each processor, and puts a request where its client runs.  A queue is served by some threads, which
 * have a ring each and stay on that processor: client and server take turns on it, and none has to be woken on another one.  (Not where
 * requests carry much, and not for a client that is alone: fs/fuse/fuse_uring_thread.c.)  A thread
 * hands an entry (room for one request and its answer) to the kernel; it comes back with a request; the entry with the answer in it asks
 * for the next one.  To libfuse a request looks as if it had been read: fuse_hook_request sees it first, and the answer that libfuse writes
 * goes to the entry instead.
 *
 *  - The kernel holds all requests back until each queue has an entry.  So threads and rings are made before INIT is answered
 *    (fuse_uring_prepare), and only if all are there does the answer take the offer; then they begin (fuse_uring_begin).
 *  - FORGET, INTERRUPT and what tells the kernel something (notifications) stay with /dev/fuse, which the loop's own thread reads.
 *  - Some requests are answered later, by another thread (fs/fuse/fuse_seek.c).  Their entries are in nobody's hand until then, and the
 *    thread hands out another one meanwhile, for what such a request waits for may be requests too: a thread has as many as it ever
 *    needed at once.  The answer is put in the entry, and the entry's thread, whose bell is rung, commits it.
 *  - DESTROY is answered when the filesystem is closed, which is long after the threads have ended, by a ring that is kept for that.
 *
 * The state of a thread's entries, and their list, are protected by its lock. */
#include "fs/fuse/fuse_uring_internal.h"

#include "base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define THREADS_PER_QUEUE 5u

static int make_threads(struct fuse_server *server, const cpu_set_t *online, unsigned queues)
{
	struct fuse_uring *uring = server->uring;
	int r = 0;

	uring->threads = calloc((size_t)queues * THREADS_PER_QUEUE, sizeof *uring->threads);
	if (!uring->threads)
		return -ENOMEM;
	for (unsigned i = 0; !r && i < queues * THREADS_PER_QUEUE; i++) {
		unsigned queue = i % queues;
		if (i >= queues && !CPU_ISSET(queue, online))
			continue;        /* one will do, for when it is switched on */
		struct uring_thread *t = &uring->threads[uring->thread_count++];
		*t = (struct uring_thread){ .server = server, .queue = (uint16_t)queue, .bell = -1 };
		pthread_mutex_init(&t->lock, NULL);
		list_init(&t->entries);
		r = uring_thread_start(t);
	}
	return r;
}

static int wait_until_ready(struct fuse_uring *uring)
{
	SCOPED_LOCK(&uring->lock);
	while (uring->ready < uring->thread_count)
		pthread_cond_wait(&uring->changed, &uring->lock);
	return uring->failed;
}

static void start(struct fuse_uring *uring, bool go)
{
	SCOPED_LOCK(&uring->lock);
	if (uring->start == WAIT)
		uring->start = go ? GO : NEVER;
	pthread_cond_broadcast(&uring->changed);
}

int fuse_uring_prepare(struct fuse_server *server)
{
	sigset_t all, before;
	cpu_set_t online;
	unsigned queues;
	int r = uring_offer(&queues, &online);

	if (r < 0)
		return r;
	struct fuse_uring *uring = calloc(1, sizeof *uring);
	if (!uring)
		return -ENOMEM;
	server->uring = uring;
	pthread_mutex_init(&uring->lock, NULL);
	pthread_cond_init(&uring->changed, NULL);
	uring->loop_bell = eventfd(0, EFD_CLOEXEC);
	r = uring->loop_bell < 0 ? -errno : uring_ring_init(&uring->last_ring, 0);
	uring->has_last_ring = r == 0;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	if (!r)
		r = make_threads(server, &online, queues);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (!r)
		r = wait_until_ready(uring);
	if (r < 0)
		fuse_uring_free(server);
	return r;
}

void fuse_uring_begin(struct fuse_server *server)
{
	int fd = fuse_session_fd(server->session), flags = fcntl(fd, F_GETFL);

	fcntl(fd, F_SETFL, flags | O_NONBLOCK);
	atomic_store(&server->uring->begun, true);
	start(server->uring, true);
}

bool fuse_uring_begun(const struct fuse_server *server)
{
	return server->uring && atomic_load(&server->uring->begun);
}

bool fuse_uring_idle(const struct fuse_server *server)
{
	return fuse_uring_begun(server) && atomic_load(&server->uring->serving) == 0;
}

ssize_t fuse_uring_readv(struct fuse_server *server, int fd, const struct iovec *iov, int count)
{
	struct pollfd fds[] = { { .fd = fd, .events = POLLIN }, { .fd = server->uring->loop_bell, .events = POLLIN } };
	ssize_t n;

	do {
		if (poll(fds, 2, -1) < 0)
			return -1;
		if (fds[1].revents) {
			errno = ENODEV;  /* to libfuse, the end of the connection */
			return -1;
		}
		n = readv(fd, iov, count);       /* an INTERRUPT may be gone again, when what it was for has its answer */
	} while (n < 0 && errno == EAGAIN);
	return n;
}

int fuse_uring_stop(struct fuse_server *server)
{
	struct fuse_uring *uring = server->uring;

	atomic_store(&uring->stop, true);
	for (unsigned i = 0; i < uring->thread_count; i++) {
		struct uring_thread *t = &uring->threads[i];
		if (!t->started)
			continue;
		uring_ring_bell(t->bell);
		pthread_join(t->id, NULL);
		t->started = false;
	}
	return atomic_load(&uring->error);
}

bool fuse_uring_answer_unmount(struct fuse_server *server)
{
	struct fuse_uring *uring = server->uring;
	struct fuse_in_header request;

	if (!uring || !uring->destroy)
		return false;
	memcpy(&request, uring->destroy->header->in_out, sizeof request);
	struct fuse_out_header head = { .len = sizeof head, .unique = request.unique };
	uring_entry_answer(uring->destroy, &(struct iovec){ &head, sizeof head }, 1);
	uring_entry_hand_over(uring->destroy, &uring->last_ring, FUSE_IO_URING_CMD_COMMIT_AND_FETCH);
	io_uring_submit(&uring->last_ring);
	return true;
}

ssize_t fuse_uring_answer(struct fuse_server *server, const struct iovec *iov, int count)
{
	const struct fuse_out_header *head = iov[0].iov_base;
	struct fuse_uring *uring = server->uring;
	struct uring_thread *self = uring_thread_self();
	ssize_t n = 0;

	if (!atomic_load(&uring->begun) || !head->unique)
		return 0;
	if (self)
		n = uring_thread_answer(self, head->unique, iov, count);
	for (unsigned i = 0; !n && i < uring->thread_count; i++)
		if (&uring->threads[i] != self)
			n = uring_thread_answer(&uring->threads[i], head->unique, iov, count);
	return n;
}

void fuse_uring_free(struct fuse_server *server)
{
	struct fuse_uring *uring = server->uring;

	if (!uring)
		return;
	start(uring, false);
	fuse_uring_stop(server);
	if (uring->has_last_ring)
		uring_ring_free(&uring->last_ring);
	for (unsigned i = 0; i < uring->thread_count; i++)
		uring_thread_free(&uring->threads[i]);
	if (uring->loop_bell >= 0)
		close(uring->loop_bell);
	pthread_mutex_destroy(&uring->lock);
	pthread_cond_destroy(&uring->changed);
	free(uring->threads);
	free(uring);
	server->uring = NULL;
}
