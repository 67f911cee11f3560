/* A thread of the transport uring: serves what comes by its ring, as long as the connection lasts, or until all threads are to stop. */
#include "fs/fuse/fuse_uring_internal.h"

#include "base/cleanup.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define REQUEST_BYTES (PAYLOAD_BYTES + 4096u)
#define LONE 64u
#define SMALL_RUN 16u                    /* requests, after which a thread that had much to carry stays on its processor again */

static __thread struct uring_thread *self;

struct uring_thread *uring_thread_self(void)
{
	return self;
}

void *fuse_uring_payload(void)
{
	return self && self->in_hand ? self->in_hand->payload : NULL;
}

void uring_ring_bell(int bell)
{
	uint64_t one = 1;
	ssize_t n = write(bell, &one, sizeof one);

	(void)n;                         /* fails only if it has been rung beyond counting */
}

ssize_t uring_thread_answer(struct uring_thread *t, uint64_t unique, const struct iovec *iov, int count)
{
	SCOPED_LOCK(&t->lock);
	for (struct list *l = t->entries.next; l != &t->entries; l = l->next) {
		struct entry *entry = container_of(l, struct entry, link);
		if (entry->state != SERVED || entry->unique != unique)
			continue;
		ssize_t n = uring_entry_answer(entry, iov, count);
		if (entry != t->in_hand)
			uring_ring_bell(t->bell);
		return n;
	}
	return 0;
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

/* ---- One client ---- */

static void begin_request(struct fuse_uring *uring)
{
	unsigned lone = atomic_load(&uring->lone);

	if (atomic_fetch_add(&uring->serving, 1) > 0)
		atomic_store(&uring->lone, 0);
	else if (lone < LONE)
		atomic_store(&uring->lone, lone + 1);
}

static void end_request(struct fuse_uring *uring)
{
	atomic_fetch_sub(&uring->serving, 1);
}

/* One client that waits for each answer is served faster by a thread on another processor that asks for the next request again and again
 * than by one that must be woken. */
static void spin(struct uring_thread *t, int64_t start_ns)
{
	struct fuse_uring *uring = t->server->uring;

	stay_home(t, false);
	t->small_run = 0;
	io_uring_submit(&t->ring);
	while (fuse_wait_now_ns() - start_ns < FUSE_SPIN_NS && atomic_load(&uring->serving) == 0) {
		io_uring_get_events(&t->ring);
		if (io_uring_cq_ready(&t->ring))
			return;
		sched_yield();
	}
}

/* Submits what is prepared, and waits until something has come.  0, or the -errno of io_uring_enter(2). */
static int wait_for_completion(struct uring_thread *t)
{
	struct fuse_uring *uring = t->server->uring;
	bool lone = atomic_load(&uring->lone) == LONE && CPU_COUNT(&t->allowed) > 1;
	int64_t start_ns = lone ? fuse_wait_now_ns() : 0;

	if (lone && atomic_load(&uring->soon) && !atomic_exchange(&uring->asking, true)) {
		spin(t, start_ns);
		atomic_store(&uring->asking, false);
	}
	int r = io_uring_cq_ready(&t->ring) ? io_uring_submit(&t->ring) : io_uring_submit_and_wait(&t->ring, 1);
	if (lone)
		atomic_store(&uring->soon, fuse_wait_now_ns() - start_ns < FUSE_SPIN_NS);
	return r < 0 && r != -EINTR && r != -EAGAIN && r != -EBUSY ? r : 0;
}

/* ---- Serving ---- */

static void listen_to_bell(struct uring_thread *t)
{
	struct io_uring_sqe *sqe = uring_sqe(&t->ring);

	io_uring_prep_read(sqe, t->bell, &t->rung, sizeof t->rung, 0);
	io_uring_sqe_set_data(sqe, NULL);
}

static void end_loop(struct fuse_server *server)
{
	fuse_session_exit(server->session);
	uring_ring_bell(server->uring->loop_bell);
}

static void commit_answered(struct uring_thread *t)
{
	SCOPED_LOCK(&t->lock);
	for (struct list *l = t->entries.next; l != &t->entries; l = l->next) {
		struct entry *entry = container_of(l, struct entry, link);
		if (entry->state == ANSWERED)
			uring_entry_hand_over(entry, &t->ring, FUSE_IO_URING_CMD_COMMIT_AND_FETCH);
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
	struct entry *entry = has_one_with_kernel(t) ? NULL : uring_entry_new(t);

	if (entry)
		uring_entry_hand_over(entry, &t->ring, FUSE_IO_URING_CMD_REGISTER);
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
	begin_request(server->uring);
	struct fuse_buf buf = { .mem = t->request, .size = fuse_hook_request(server, t->request, bytes) };
	fuse_session_process_buf(server->session, &buf);
	end_request(server->uring);

	SCOPED_LOCK(&t->lock);
	t->in_hand = NULL;
	if (entry->state == ANSWERED)
		uring_entry_hand_over(entry, &t->ring, FUSE_IO_URING_CMD_COMMIT_AND_FETCH);
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
	uring_entry_hand_over(container_of(t->entries.next, struct entry, link), &t->ring, FUSE_IO_URING_CMD_REGISTER);
}

static void serve_queue(struct uring_thread *t)
{
	listen_to_bell(t);
	register_first(t);
	do {
		int r = wait_for_completion(t);
		if (r < 0)
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

static void *thread_main(void *ctx)
{
	struct uring_thread *t = ctx;
	struct fuse_uring *uring = t->server->uring;
	int r = uring_ring_init(&t->ring, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN);

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
	uring_ring_free(&t->ring);
	return NULL;
}

int uring_thread_start(struct uring_thread *t)
{
	t->bell = eventfd(0, EFD_CLOEXEC);
	t->request = malloc(REQUEST_BYTES);
	if (t->bell < 0)
		return -errno;
	if (!t->request || !uring_entry_new(t))
		return -ENOMEM;
	int r = pthread_create(&t->id, NULL, thread_main, t);
	t->started = r == 0;
	return -r;
}

void uring_thread_free(struct uring_thread *t)
{
	while (!list_empty(&t->entries))
		uring_entry_free(container_of(t->entries.next, struct entry, link));
	if (t->bell >= 0)
		close(t->bell);
	free(t->request);
	pthread_mutex_destroy(&t->lock);
}
