/* fs/fuse/fuse_wait.c over a FIFO in the place of /dev/fuse: threads that serve, and clients that ask.
 *
 * The FIFO is opened by each thread, as libfuse clones its descriptor, or once for all, as where it cannot. */
#include "check.h"

#include "base/blocking.h"
#include "fs/fuse/fuse_internal.h"

#include <fcntl.h>
#include <linux/fuse.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define THREADS 6u
#define CLIENTS 8u
#define REQUESTS 200000u
#define LONG_MS 400

/* What serving a request takes. AFTERWARDS: waits for a device when it has answered. LAST: the thread does not come back. */
enum { SHORT, UNTOLD, FOR_THREAD, FOR_DEVICE, SOME_TIME, AFTERWARDS, LAST };

static struct fuse_server server;
static char path[64];
static int ask_fd;
static pthread_t threads[THREADS];
static int fds[THREADS];
static struct { atomic_uint answers, thread; } requests[REQUESTS];
static atomic_uint next_request;
static atomic_bool afterwards_ended;

static void sleep_us(unsigned us)
{
	nanosleep(&(struct timespec){ us / 1000000, us % 1000000 * 1000L }, NULL);
}

static void serve(const struct fuse_in_header *header)
{
	switch (header->opcode - FUSE_GETATTR) {
	case LAST:
		blocking_begin(BLOCKING_FOR_THREAD);
		break;
	case FOR_THREAD:
		blocking_begin(BLOCKING_FOR_THREAD);
		sleep_us(LONG_MS * 1000);
		break;
	case FOR_DEVICE:
		blocking_begin(BLOCKING_FOR_DEVICE);
		sleep_us((unsigned)header->unique % 300);
		break;
	case UNTOLD:
		sleep_us(LONG_MS * 1000);
		break;
	case SOME_TIME:
		sleep_us((unsigned)header->unique % 100);
		break;
	}
}

static void *serving_thread(void *ctx)
{
	unsigned self = (unsigned)(uintptr_t)ctx;
	struct fuse_in_header header;
	do {
		struct iovec iov = { &header, sizeof header };
		ssize_t n = fuse_wait_readv(&server, fds[self], &iov, 1);
		if (n != sizeof header)
			abort();
		serve(&header);
		fuse_wait_answered();
		atomic_store(&requests[header.unique].thread, self);
		atomic_fetch_add(&requests[header.unique].answers, 1);
		if (header.opcode - FUSE_GETATTR == AFTERWARDS) {
			blocking_begin(BLOCKING_FOR_DEVICE);
			sleep_us(LONG_MS * 1000);
			atomic_store(&afterwards_ended, true);
		}
	} while (header.opcode - FUSE_GETATTR != LAST);
	return NULL;
}

static void begin(bool own_descriptors)
{
	int shared = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	ask_fd = open(path, O_WRONLY | O_CLOEXEC);
	REQUIRE(shared >= 0 && ask_fd >= 0);
	REQUIRE(fcntl(shared, F_SETFL, 0) == 0);
	REQUIRE(fuse_wait_start(&server) == 0);
	for (unsigned i = 0; i < THREADS; i++) {
		fds[i] = own_descriptors ? open(path, O_RDONLY | O_CLOEXEC) : dup(shared);
		REQUIRE(fds[i] >= 0);
		REQUIRE(pthread_create(&threads[i], NULL, serving_thread, (void *)(uintptr_t)i) == 0);
	}
	close(shared);
}

/* Returns its number. */
static unsigned ask(unsigned kind)
{
	unsigned number = atomic_fetch_add(&next_request, 1);
	if (number >= REQUESTS)
		abort();
	struct fuse_in_header header = { .len = sizeof header, .opcode = FUSE_GETATTR + kind, .unique = number };
	if (write(ask_fd, &header, sizeof header) != sizeof header)
		abort();
	return number;
}

static void end(void)
{
	for (unsigned i = 0; i < THREADS; i++)
		ask(LAST);
	for (unsigned i = 0; i < THREADS; i++) {
		pthread_join(threads[i], NULL);
		close(fds[i]);
	}
	fuse_wait_stop(&server);
	close(ask_fd);
}

static bool answered(unsigned number) { return atomic_load(&requests[number].answers) > 0; }

static void wait_answer(unsigned number)
{
	for (unsigned i = 0; !answered(number); i++)
		sleep_us(i < 100 ? 10 : 1000);
}

/* One client: at length one thread serves it.  On a busy machine that one may be kept from it for so long that another is woken, so
 * that this may take some tries. */
static bool alone(void)
{
	for (unsigned try = 0; try < 100; try++) {
		unsigned seen = 0, number = 0;
		for (unsigned i = 0; i < 150; i++)
			wait_answer(number = ask(SHORT));
		for (unsigned i = 0; i < 20; i++)
			seen |= 1u << atomic_load(&requests[number - i].thread);
		if (__builtin_popcount(seen) == 1)
			return true;
	}
	return false;
}

/* Of one client one thread does all, and yet a request does not have to wait for another one's end. */
static void test_alone(void)
{
	CHECK(alone());
	static const unsigned kinds[] = { UNTOLD, FOR_THREAD };
	for (unsigned i = 0; i < 2; i++) {
		unsigned slow = ask(kinds[i]);
		sleep_us(20000);
		wait_answer(ask(SHORT));
		CHECK(!answered(slow));
		wait_answer(slow);
		CHECK(alone());
	}
	/* One that has its answer is nobody else's business. */
	atomic_store(&afterwards_ended, false);
	wait_answer(ask(AFTERWARDS));
	wait_answer(ask(SHORT));
	CHECK(!atomic_load(&afterwards_ended));
	CHECK(alone());
	/* As many as there are threads at once, but for one. */
	unsigned slow[THREADS - 1];
	for (unsigned i = 0; i < THREADS - 1; i++)
		slow[i] = ask(i % 2 ? UNTOLD : FOR_THREAD);
	sleep_us(20000);
	wait_answer(ask(SHORT));
	for (unsigned i = 0; i < THREADS - 1; i++)
		CHECK(!answered(slow[i]));
	for (unsigned i = 0; i < THREADS - 1; i++)
		wait_answer(slow[i]);
}

static void *client(void *ctx)
{
	static const unsigned kinds[] = { SHORT, SHORT, FOR_DEVICE, SOME_TIME };
	unsigned seed = (unsigned)(uintptr_t)ctx;
	for (unsigned i = 0; i < 2000; i++) {
		seed = seed * 1664525 + 1013904223;
		unsigned number = ask(kinds[seed >> 24 & 3]);
		if (seed >> 20 & 3)
			wait_answer(number);
		/* Pauses in which they all come to rest. */
		if (i % 500 == 499)
			sleep_us(20000);
	}
	return NULL;
}

static void test_crowd(void)
{
	pthread_t clients[CLIENTS];
	for (unsigned i = 0; i < CLIENTS; i++)
		REQUIRE(pthread_create(&clients[i], NULL, client, (void *)(uintptr_t)(i + 1)) == 0);
	for (unsigned i = 0; i < CLIENTS; i++)
		pthread_join(clients[i], NULL);
	CHECK(alone());
}

int main(void)
{
	snprintf(path, sizeof path, "/tmp/r5-fuse-wait-%d", (int)getpid());
	REQUIRE(mkfifo(path, 0600) == 0);
	for (unsigned own = 0; own < 2; own++) {
		begin(own);
		test_alone();
		test_crowd();
		unsigned last = atomic_load(&next_request);
		for (unsigned i = 0; i < last; i++)
			wait_answer(i);
		end();
	}
	unlink(path);
	unsigned wrong = 0;
	for (unsigned i = 0; i < atomic_load(&next_request); i++)
		wrong += atomic_load(&requests[i].answers) != 1;
	CHECK_EQ(wrong, 0);
	return CHECK_DONE();
}
