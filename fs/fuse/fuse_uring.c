/* Requests and answers by io_uring, in place of read(2) and write(2) of /dev/fuse (mount option transport=uring).
 *
 * The kernel has a queue for each processor, and puts a request where its client runs.  A queue is served by some threads, which
 * have a ring each and stay on that processor: client and server take turns on it, and none has to be woken on another one.  A thread
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
#include "fs/fuse/fuse_internal.h"
#include "fs/fuse/fuse_uring_abi.h"

#include "base/cleanup.h"
#include "base/list.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#define THREADS_PER_QUEUE 5u
#define RING_ENTRIES 64u
#define ENTRIES_MAX 256u                 /* of one thread */
/* The least that the kernel accepts: the largest WRITE, and the largest answer. */
#define PAYLOAD_BYTES FUSE_WRITE_BYTES_MAX
#define HEADER_BYTES 4096u               /* of an entry's memory, before the payload */
#define REQUEST_BYTES (PAYLOAD_BYTES + 4096u)

#define SMALL_RUN 16u                    /* requests, after which a thread that had much to carry stays on its processor again */

#define SWITCH "/sys/module/fuse/parameters/enable_uring"
#define POSSIBLE_CPUS "/sys/devices/system/cpu/possible"
#define ONLINE_CPUS "/sys/devices/system/cpu/online"

enum entry_state {
	WITH_KERNEL,
	DELIVERED,                       /* it has a request, which waits for the thread */
	SERVED,                          /* the thread, or whom it left it to, has the request */
	ANSWERED,                        /* the answer is in it */
};

struct entry {
	struct list link;                /* in its thread's `entries` */
	struct uring_thread *thread;
	enum entry_state state;
	uint64_t unique;                 /* of its request; SERVED */
	uint8_t *memory;
	struct fuse_uring_req_header *header;
	uint8_t *payload;
	struct iovec iov[2];             /* header and payload, as the kernel wants to be told of them */
};

struct uring_thread {
	struct fuse_server *server;
	uint16_t queue;
	pthread_t id;
	bool started;
	struct io_uring ring;
	int bell;                        /* an eventfd that the ring reads: an answer was put in an entry, or the thread is to end */
	uint64_t rung;
	uint8_t *request;                /* put together for libfuse */
	pthread_mutex_t lock;
	struct list entries;
	unsigned entry_count;
	struct entry *in_hand;
	/* The thread's own. */
	bool hung_up;                    /* the kernel takes no entries any more */
	cpu_set_t allowed, home;         /* processors; the queue's, if it is allowed, else all that are */
	bool at_home;
	unsigned small_run;              /* requests in a row that carried little */
};

struct fuse_uring {
	unsigned thread_count;
	struct uring_thread *threads;
	int loop_bell;                   /* the loop's thread is to end */
	struct io_uring last_ring;       /* for the answer to DESTROY */
	bool has_last_ring;
	struct entry *destroy;           /* it has DESTROY */
	atomic_bool begun, stop;
	atomic_int error;                /* -errno, by which the kernel refused an entry */
	/* Threads tell that they are ready, or not, and wait for `start`. */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	unsigned ready;
	int failed;
	enum { WAIT, GO, NEVER } start;
};

static __thread struct uring_thread *self;

/* ---- Processors ---- */

/* The list "0-3,6" in a file of one line. */
static int read_cpus(const char *path, cpu_set_t *ret_cpus)
{
	char text[4096], *at = text;
	FILE *file = fopen(path, "re");
	bool read = file && fgets(text, sizeof text, file);

	if (file)
		fclose(file);
	if (!read)
		return -ENOENT;
	CPU_ZERO(ret_cpus);
	do {
		char *end;
		unsigned long first = strtoul(at, &end, 10), last = *end == '-' ? strtoul(end + 1, &end, 10) : first;
		if (end == at || last >= CPU_SETSIZE)
			return -EINVAL;
		for (unsigned long cpu = first; cpu <= last; cpu++)
			CPU_SET(cpu, ret_cpus);
		at = end + 1;
		if (*end != ',')
			return *end == '\n' ? 0 : -EINVAL;
	} while (true);
}

/* The kernel numbers its queues as the processors that it may ever have, of which none may be left out. */
static int count_queues(cpu_set_t *ret_online, unsigned *ret_count)
{
	cpu_set_t possible;
	int r = read_cpus(POSSIBLE_CPUS, &possible);

	if (!r)
		r = read_cpus(ONLINE_CPUS, ret_online);
	if (r < 0)
		return r;
	*ret_count = (unsigned)CPU_COUNT(&possible);
	for (unsigned cpu = 0; cpu < *ret_count; cpu++)
		if (!CPU_ISSET(cpu, &possible))
			return -EINVAL;
	return *ret_count ? 0 : -EINVAL;
}

static int is_switched_on(void)
{
	char on = 'N';
	FILE *file = fopen(SWITCH, "re");

	if (!file)
		return -ENOSYS;
	size_t n = fread(&on, 1, 1, file);
	fclose(file);
	return n == 1 && on == 'Y' ? 0 : -EPERM;
}

/* ---- Entries ---- */

static struct entry *entry_new(struct uring_thread *t)
{
	size_t bytes = HEADER_BYTES + PAYLOAD_BYTES;
	struct entry *entry = t->entry_count < ENTRIES_MAX ? calloc(1, sizeof *entry) : NULL;
	void *memory = entry ? mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) : MAP_FAILED;

	if (memory == MAP_FAILED) {
		free(entry);
		return NULL;
	}
	madvise(memory, bytes, MADV_DONTDUMP);   /* plaintext */
	entry->thread = t;
	entry->memory = memory;
	entry->header = memory;
	entry->payload = entry->memory + HEADER_BYTES;
	entry->iov[0] = (struct iovec){ entry->header, sizeof *entry->header };
	entry->iov[1] = (struct iovec){ entry->payload, PAYLOAD_BYTES };
	list_append(&t->entries, &entry->link);
	t->entry_count++;
	return entry;
}

static void entry_free(struct entry *entry)
{
	list_remove(&entry->link);
	munmap(entry->memory, HEADER_BYTES + PAYLOAD_BYTES);
	free(entry);
}

static struct io_uring_sqe *new_sqe(struct io_uring *ring)
{
	struct io_uring_sqe *sqe;

	while (!(sqe = io_uring_get_sqe(ring)))
		io_uring_submit(ring);
	return sqe;
}

/* Hands the entry over with the ring's next submission. */
static void prepare_command(struct io_uring *ring, struct entry *entry, enum fuse_uring_cmd what)
{
	struct io_uring_sqe *sqe = new_sqe(ring);
	struct fuse_uring_cmd_req command = { .qid = entry->thread->queue };

	if (what == FUSE_IO_URING_CMD_COMMIT_AND_FETCH)
		command.commit_id = entry->header->ring_ent_in_out.commit_id;
	memset(sqe, 0, 2 * sizeof *sqe);
	io_uring_prep_rw(IORING_OP_URING_CMD, sqe, fuse_session_fd(entry->thread->server->session), entry->iov, 2, 0);
	sqe->cmd_op = what;
	io_uring_sqe_set_data(sqe, entry);
	memcpy(sqe->cmd, &command, sizeof command);
}

static void hand_over(struct entry *entry, enum fuse_uring_cmd what)
{
	entry->state = WITH_KERNEL;
	prepare_command(&entry->thread->ring, entry, what);
}

/* ---- Bells ---- */

static void ring_bell(int bell)
{
	uint64_t one = 1;
	ssize_t n = write(bell, &one, sizeof one);

	(void)n;                         /* fails only if it has been rung beyond counting */
}

static void listen_to_bell(struct uring_thread *t)
{
	struct io_uring_sqe *sqe = new_sqe(&t->ring);

	memset(sqe, 0, 2 * sizeof *sqe);
	io_uring_prep_read(sqe, t->bell, &t->rung, sizeof t->rung, 0);
	io_uring_sqe_set_data(sqe, NULL);
}

static void end_loop(struct fuse_server *server)
{
	fuse_session_exit(server->session);
	ring_bell(server->uring->loop_bell);
}

/* ---- Answers ---- */

static ssize_t fill_answer(struct entry *entry, const struct iovec *iov, int count)
{
	struct fuse_out_header head;
	size_t bytes = 0;

	memcpy(&head, iov[0].iov_base, sizeof head);
	for (int i = 1; i < count; i++) {
		if (iov[i].iov_len > PAYLOAD_BYTES - bytes) {
			head = (struct fuse_out_header){ .len = sizeof head, .error = -EIO, .unique = head.unique };
			bytes = 0;
			break;
		}
		if (iov[i].iov_base != entry->payload + bytes)
			memcpy(entry->payload + bytes, iov[i].iov_base, iov[i].iov_len);
		bytes += iov[i].iov_len;
	}
	memcpy(entry->header->in_out, &head, sizeof head);
	entry->header->ring_ent_in_out.payload_sz = (uint32_t)bytes;
	entry->state = ANSWERED;
	return head.len;
}

static ssize_t answer_of_thread(struct uring_thread *t, uint64_t unique, const struct iovec *iov, int count)
{
	SCOPED_LOCK(&t->lock);
	for (struct list *l = t->entries.next; l != &t->entries; l = l->next) {
		struct entry *entry = container_of(l, struct entry, link);
		if (entry->state != SERVED || entry->unique != unique)
			continue;
		ssize_t n = fill_answer(entry, iov, count);
		if (entry != t->in_hand)
			ring_bell(t->bell);
		return n;
	}
	return 0;
}

ssize_t fuse_uring_answer(struct fuse_server *server, const struct iovec *iov, int count)
{
	const struct fuse_out_header *head = iov[0].iov_base;
	struct fuse_uring *uring = server->uring;
	ssize_t n = 0;

	if (!atomic_load(&uring->begun) || !head->unique)
		return 0;
	if (self)
		n = answer_of_thread(self, head->unique, iov, count);
	for (unsigned i = 0; !n && i < uring->thread_count; i++)
		if (&uring->threads[i] != self)
			n = answer_of_thread(&uring->threads[i], head->unique, iov, count);
	return n;
}

void *fuse_uring_payload(void)
{
	return self && self->in_hand ? self->in_hand->payload : NULL;
}

/* ---- Where a thread runs ---- */

static void find_home(struct uring_thread *t)
{
	CPU_ZERO(&t->home);
	CPU_SET(t->queue, &t->home);
	if (pthread_getaffinity_np(pthread_self(), sizeof t->allowed, &t->allowed) || !CPU_ISSET(t->queue, &t->allowed))
		t->home = t->allowed;
}

static void stay_home(struct uring_thread *t, bool home)
{
	if (t->at_home != home)
		pthread_setaffinity_np(pthread_self(), sizeof t->home, home ? &t->home : &t->allowed);
	t->at_home = home;
}

/* Much data is worth waking another processor for, above all where one client asks for several pieces at once. */
static void choose_processor(struct uring_thread *t, const struct fuse_in_header *head)
{
	if (fuse_wait_carries_much(head)) {
		t->small_run = 0;
		stay_home(t, false);
	} else if (t->small_run < SMALL_RUN && ++t->small_run == SMALL_RUN) {
		stay_home(t, true);
	}
}

/* ---- A thread ---- */

static void commit_answered(struct uring_thread *t)
{
	SCOPED_LOCK(&t->lock);
	for (struct list *l = t->entries.next; l != &t->entries; l = l->next) {
		struct entry *entry = container_of(l, struct entry, link);
		if (entry->state == ANSWERED)
			hand_over(entry, FUSE_IO_URING_CMD_COMMIT_AND_FETCH);
	}
}

static bool has_one_with_kernel(const struct uring_thread *t)
{
	for (const struct list *l = t->entries.next; l != &t->entries; l = l->next)
		if (container_of(l, struct entry, link)->state < SERVED)
			return true;
	return false;
}

/* Its answer comes later: the kernel gets another entry, unless there are too many already, or no memory: then this thread waits. */
static void leave(struct uring_thread *t)
{
	struct entry *entry = has_one_with_kernel(t) ? NULL : entry_new(t);

	if (entry)
		hand_over(entry, FUSE_IO_URING_CMD_REGISTER);
}

/* The request as read(2) would have given it, but for what a WRITE carries. */
static size_t put_together(struct uring_thread *t, const struct entry *entry)
{
	const struct fuse_uring_req_header *header = entry->header;
	struct fuse_in_header head;
	size_t payload_bytes = header->ring_ent_in_out.payload_sz;

	memcpy(&head, header->in_out, sizeof head);
	assert(head.len >= sizeof head + payload_bytes && payload_bytes <= PAYLOAD_BYTES);
	size_t op_bytes = head.len - sizeof head - payload_bytes;
	assert(op_bytes <= sizeof header->op_in);
	memcpy(t->request, &head, sizeof head);
	memcpy(t->request + sizeof head, header->op_in, op_bytes);
	if (head.opcode == FUSE_WRITE)
		fuse_hook_carried(entry->payload, payload_bytes);
	else
		memcpy(t->request + sizeof head + op_bytes, entry->payload, payload_bytes);
	return head.len;
}

static void serve(struct uring_thread *t, struct entry *entry)
{
	struct fuse_server *server = t->server;
	const struct fuse_in_header *head = (const struct fuse_in_header *)(const void *)t->request;
	size_t bytes = put_together(t, entry);

	pthread_mutex_lock(&t->lock);
	entry->state = SERVED;
	entry->unique = head->unique;
	t->in_hand = entry;
	pthread_mutex_unlock(&t->lock);
	if (head->opcode == FUSE_DESTROY) {
		server->uring->destroy = entry;
		server->unmounting = true;
		end_loop(server);
		return;
	}

	choose_processor(t, head);
	struct fuse_buf buf = { .mem = t->request, .size = fuse_hook_request(server, t->request, bytes) };
	fuse_session_process_buf(server->session, &buf);

	SCOPED_LOCK(&t->lock);
	t->in_hand = NULL;
	if (entry->state == ANSWERED)
		hand_over(entry, FUSE_IO_URING_CMD_COMMIT_AND_FETCH);
	else
		leave(t);
}

/* The end of the connection is no failure. */
static bool is_end(int result)
{
	return result == -ENOTCONN || result == -ECONNABORTED || result == -ECANCELED;
}

static void hang_up(struct uring_thread *t, int result)
{
	t->hung_up = true;
	if (is_end(result))
		return;
	atomic_store(&t->server->uring->error, result);
	end_loop(t->server);
}

/* Returns whether the bell was heard. */
static bool take_completions(struct uring_thread *t)
{
	struct io_uring_cqe *cqe;
	bool heard = false;

	SCOPED_LOCK(&t->lock);
	while (io_uring_peek_cqe(&t->ring, &cqe) == 0) {
		struct entry *entry = io_uring_cqe_get_data(cqe);
		if (!entry)
			heard = true;
		else if (cqe->res == 0)
			entry->state = DELIVERED;
		else
			hang_up(t, cqe->res);
		io_uring_cqe_seen(&t->ring, cqe);
	}
	return heard;
}

static struct entry *find_delivered(struct uring_thread *t)
{
	SCOPED_LOCK(&t->lock);
	for (struct list *l = t->entries.next; l != &t->entries; l = l->next)
		if (container_of(l, struct entry, link)->state == DELIVERED)
			return container_of(l, struct entry, link);
	return NULL;
}

static void serve_delivered(struct uring_thread *t)
{
	struct entry *entry = find_delivered(t);

	while (entry) {
		serve(t, entry);
		entry = find_delivered(t);
		if (entry)
			io_uring_submit(&t->ring);       /* the answer must not wait for the next request's */
	}
}

static void register_first(struct uring_thread *t)
{
	SCOPED_LOCK(&t->lock);
	hand_over(container_of(t->entries.next, struct entry, link), FUSE_IO_URING_CMD_REGISTER);
}

static void serve_queue(struct uring_thread *t)
{
	listen_to_bell(t);
	register_first(t);
	do {
		int r = io_uring_submit_and_wait(&t->ring, 1);
		if (r < 0 && r != -EINTR && r != -EAGAIN && r != -EBUSY)
			hang_up(t, r);
		bool heard = take_completions(t);
		serve_delivered(t);
		if (heard) {
			listen_to_bell(t);
			commit_answered(t);
		}
	} while (!atomic_load(&t->server->uring->stop) && !t->hung_up);
	io_uring_submit(&t->ring);
}

static int make_ring(struct io_uring *ring, unsigned flags)
{
	struct io_uring_params params = { .flags = IORING_SETUP_SQE128 | flags };

	return io_uring_queue_init_params(RING_ENTRIES, ring, &params);
}

static void *thread_main(void *ctx)
{
	struct uring_thread *t = ctx;
	struct fuse_uring *uring = t->server->uring;
	int r = make_ring(&t->ring, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN);

	find_home(t);
	stay_home(t, true);
	pthread_mutex_lock(&uring->lock);
	if (r < 0)
		uring->failed = r;
	uring->ready++;
	pthread_cond_broadcast(&uring->changed);
	while (uring->start == WAIT)
		pthread_cond_wait(&uring->changed, &uring->lock);
	bool go = uring->start == GO;
	pthread_mutex_unlock(&uring->lock);
	if (r < 0)
		return NULL;
	if (go) {
		self = t;
		serve_queue(t);
	}
	io_uring_queue_exit(&t->ring);
	return NULL;
}

static int thread_start(struct uring_thread *t)
{
	t->bell = eventfd(0, EFD_CLOEXEC);
	t->request = malloc(REQUEST_BYTES);
	if (t->bell < 0)
		return -errno;
	if (!t->request || !entry_new(t))
		return -ENOMEM;
	int r = pthread_create(&t->id, NULL, thread_main, t);
	t->started = r == 0;
	return -r;
}

/* ---- All threads ---- */

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
		r = thread_start(t);
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
	int r = is_switched_on();

	if (!r)
		r = count_queues(&online, &queues);
	if (r < 0)
		return r;
	struct fuse_uring *uring = calloc(1, sizeof *uring);
	if (!uring)
		return -ENOMEM;
	server->uring = uring;
	pthread_mutex_init(&uring->lock, NULL);
	pthread_cond_init(&uring->changed, NULL);
	uring->loop_bell = eventfd(0, EFD_CLOEXEC);
	r = uring->loop_bell < 0 ? -errno : make_ring(&uring->last_ring, 0);
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

static void join_threads(struct fuse_uring *uring)
{
	for (unsigned i = 0; i < uring->thread_count; i++) {
		if (uring->threads[i].started)
			pthread_join(uring->threads[i].id, NULL);
		uring->threads[i].started = false;
	}
}

int fuse_uring_stop(struct fuse_server *server)
{
	struct fuse_uring *uring = server->uring;

	atomic_store(&uring->stop, true);
	for (unsigned i = 0; i < uring->thread_count; i++)
		ring_bell(uring->threads[i].bell);
	join_threads(uring);
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
	fill_answer(uring->destroy, &(struct iovec){ &head, sizeof head }, 1);
	prepare_command(&uring->last_ring, uring->destroy, FUSE_IO_URING_CMD_COMMIT_AND_FETCH);
	io_uring_submit(&uring->last_ring);
	return true;
}

static void thread_free(struct uring_thread *t)
{
	while (!list_empty(&t->entries))
		entry_free(container_of(t->entries.next, struct entry, link));
	if (t->bell >= 0)
		close(t->bell);
	free(t->request);
	pthread_mutex_destroy(&t->lock);
}

void fuse_uring_free(struct fuse_server *server)
{
	struct fuse_uring *uring = server->uring;

	if (!uring)
		return;
	start(uring, false);
	join_threads(uring);
	if (uring->has_last_ring)
		io_uring_queue_exit(&uring->last_ring);
	for (unsigned i = 0; i < uring->thread_count; i++)
		thread_free(&uring->threads[i]);
	if (uring->loop_bell >= 0)
		close(uring->loop_bell);
	pthread_mutex_destroy(&uring->lock);
	pthread_cond_destroy(&uring->changed);
	free(uring->threads);
	free(uring);
	server->uring = NULL;
}
