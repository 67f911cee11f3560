/* What the files of the transport uring share; fs/fuse/fuse_uring.c says how it works. */
#ifndef FS_FUSE_URING_INTERNAL_H
#define FS_FUSE_URING_INTERNAL_H

#include "fs/fuse/fuse_internal.h"
#include "base/list.h"

#include <liburing.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "fs/fuse/fuse_uring_abi.h"      /* what <liburing.h> has not */

/* The least that the kernel accepts: the largest WRITE, and the largest answer. */
#define PAYLOAD_BYTES FUSE_WRITE_BYTES_MAX

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
	/* Is there one client only, that waits for each answer? */
	atomic_uint serving;             /* requests */
	atomic_uint lone;                /* in a row that were served with no other; up to LONE */
	atomic_bool soon, asking;        /* the last one came before the end of a spin; a thread spins */
	/* Threads tell that they are ready, or not, and wait for `start`. */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	unsigned ready;
	int failed;
	enum { WAIT, GO, NEVER } start;
};

/* ---- fs/fuse/fuse_uring_offer.c ---- */

/* Does the kernel offer it?  0 and how many queues it has, one for each processor that it may ever have, and which of these are at
 * work; else -EPERM, it is switched off; -ENOSYS, it has none; another -errno. */
int uring_offer(unsigned *ret_queues, cpu_set_t *ret_online);

/* ---- fs/fuse/fuse_uring_entry.c ---- */

/* A ring for commands of the connection, with these flags of io_uring_setup(2) besides.  0 or -errno. */
int uring_ring_init(struct io_uring *ring, unsigned flags);
void uring_ring_free(struct io_uring *ring);
/* Zeroed, for io_uring_prep_...; submits what is there if the ring is full. */
struct io_uring_sqe *uring_sqe(struct io_uring *ring);
/* A new one of the thread's; NULL if it has too many, or without memory. */
struct entry *uring_entry_new(struct uring_thread *t);
void uring_entry_free(struct entry *entry);
/* Hands the entry to the kernel with the ring's next submission. */
void uring_entry_hand_over(struct entry *entry, struct io_uring *ring, enum fuse_uring_cmd what);
/* Puts an answer (a struct fuse_out_header, and what follows) in the entry; returns its length. */
ssize_t uring_entry_answer(struct entry *entry, const struct iovec *iov, int count);

/* ---- fs/fuse/fuse_uring_thread.c ---- */

/* Makes the thread, which tells uring->ready when its ring is there, and waits for uring->start.  0 or -errno; free it in any case. */
int uring_thread_start(struct uring_thread *t);
/* When it has ended, or was never started. */
void uring_thread_free(struct uring_thread *t);
/* The calling thread, if it is one. */
struct uring_thread *uring_thread_self(void);
/* Answers a request that this thread has, or left to another: the length of the answer, or 0 if it has no such request.  Any thread may
 * call it. */
ssize_t uring_thread_answer(struct uring_thread *t, uint64_t unique, const struct iovec *iov, int count);
/* Whoever listens has something to see to. */
void uring_ring_bell(int bell);

#endif
