/* Raw requests and replies of the FUSE session, for what libfuse 3.14 cannot say.
 *
 * Six things are lifted here; every other byte passes through unchanged:
 *
 * 1. With extended attributes the kernel asks for security.capability before every write(2), which makes small
 *    buffered writes eight times slower, unless the reply to INIT carries FUSE_HANDLE_KILLPRIV_V2.  libfuse does not
 *    know this bit, so it is added to the reply on its way out (and FUSE_PARALLEL_DIROPS, which 3.14 never sends).
 *    It obliges us to drop suid and sgid: on a write or open that carries the flag for it (libfuse hides these flags;
 *    fuse_hook_request keeps them for the thread, which handles that request), on a setattr with
 *    FUSE_SET_ATTR_KILL_SUID, and on chown.
 *
 * 2. A fuseblk mount is told of syncfs(2) and sync(2), by a request that libfuse does not know: SYNCFS becomes an
 *    FSYNCDIR of the root with a handle that no directory has, which libfuse dispatches.
 *
 * 3. A fuseblk mount's umount(2) waits for the answer to DESTROY, which libfuse would give at once.  The answer must mean that
 *    the last commit is durable and the members are released.  So read_hook keeps DESTROY and ends the loop (the kernel sends
 *    nothing after it).  When all threads of the loop are gone, the filesystem is closed, and then
 *    fuse_hook_answer_unmount sends the answer.  It must go to the descriptor that the request came from, which may
 *    be a clone that libfuse closes with its thread, so a duplicate is kept.  Its number is reserved from the
 *    beginning, so that this cannot fail for want of one.  If the process dies, the kernel ends the wait.  (fs/fuse/fuse_uring.c does
 *    the same for what came by a ring.)
 *
 * 4. open(2) with O_TMPFILE is a request that libfuse does not know, with the arguments and the answer of CREATE (its name means
 *    nothing): it becomes one, and fuse_hook_request notes for the thread what it was.
 *
 * 5. What a WRITE carries goes to a buffer of our own, aligned to pages, and not to libfuse's behind the head, so that the filesystem can
 *    keep it instead of copying it. A thread whose buffer was kept takes another one for its next request.
 *
 * 6. STATX, which asks for the time at which a file was made, begins like GETATTR: it becomes one, and fuse_hook_request notes for the
 *    thread what it was.
 *
 * With the transport uring the requests come from its threads, and answers go there. */
#include "fs/fuse/fuse_internal.h"
#include "fs/fuse/fuse_uring_abi.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

/* The reply to INIT caps what may be set later for the mount's backing device; libfuse repeats the kernel's default there. */
#define READAHEAD_BYTES_MAX (4u << 20)

/* FUSE_STATX, which <linux/fuse.h> of Debian 12 does not know. */
#define OPCODE_STATX 52u

/* All that comes before what a WRITE carries. */
#define HEAD_BYTES (sizeof(struct fuse_in_header) + sizeof(struct fuse_write_in))
#define NO_MEMORY_WAIT_US 10000u

static __thread bool kill_suidgid, tmpfile_asked, statx_asked;
static __thread struct iobuf *payload;
static pthread_key_t payload_key;        /* frees it at the end of the thread */

struct iobuf *fuse_hook_payload(void)
{
	return payload;
}

bool fuse_hook_kill_suidgid(void)
{
	return kill_suidgid;
}

bool fuse_hook_tmpfile(void)
{
	return tmpfile_asked;
}

bool fuse_hook_statx(void)
{
	return statx_asked;
}

/* The flag in a WRITE, OPEN or CREATE that tells to drop the bits. */
static bool asks_to_kill(const struct fuse_in_header *header, const void *body, size_t body_bytes)
{
	switch (header->opcode) {
	case FUSE_WRITE:
		return body_bytes >= sizeof(struct fuse_write_in) &&
			((const struct fuse_write_in *)body)->write_flags & FUSE_WRITE_KILL_SUIDGID;
	case FUSE_OPEN:
		return body_bytes >= sizeof(struct fuse_open_in) &&
			((const struct fuse_open_in *)body)->open_flags & FUSE_OPEN_KILL_SUIDGID;
	case FUSE_CREATE:
		return body_bytes >= sizeof(struct fuse_create_in) &&
			((const struct fuse_create_in *)body)->open_flags & FUSE_OPEN_KILL_SUIDGID;
	default:
		return false;
	}
}

/* The request SYNCFS in `buf` becomes an FSYNCDIR; returns its length. */
static ssize_t syncfs_to_fsyncdir(void *buf)
{
	struct fuse_in_header *header = buf;
	struct fuse_fsync_in *in = (struct fuse_fsync_in *)(header + 1);

	*in = (struct fuse_fsync_in){ .fh = FUSE_HANDLE_SYNCFS };
	header->opcode = FUSE_FSYNCDIR;
	header->nodeid = FUSE_ROOT_ID;
	header->len = sizeof *header + sizeof *in;
	return header->len;
}

/* Returns what read(2) does at the end of a connection. */
static ssize_t keep_destroy(struct fuse_server *server, const struct fuse_in_header *header, int fd)
{
	int r = dup3(fd, server->answer_fd, O_CLOEXEC);

	assert(r == server->answer_fd);
	server->destroy_unique = header->unique;
	server->unmounting = true;
	errno = ENODEV;
	return -1;
}

void fuse_hook_answer_unmount(struct fuse_server *server)
{
	struct fuse_out_header answer = { .len = sizeof answer, .unique = server->destroy_unique };

	if (fuse_uring_answer_unmount(server))
		return;
	ssize_t n = write(server->answer_fd, &answer, sizeof answer);

	(void)n;                         /* fails only if nobody waits any more */
}

static void free_payload(void *p)
{
	iobuf_unref(p);
}

/* Nobody else has this thread's buffer now, and it has one. */
static bool own_payload(void)
{
	if (payload && atomic_load(&payload->refs) == 1)
		return true;
	iobuf_unref(payload);
	payload = iobuf_new(FUSE_WRITE_BYTES_MAX);
	return pthread_setspecific(payload_key, payload) == 0 && payload;
}

static ssize_t read_request(struct fuse_server *server, int fd, uint8_t *buf, size_t bytes)
{
	if (!own_payload()) {
		usleep(NO_MEMORY_WAIT_US);
		errno = EINTR;           /* libfuse asks again */
		return -1;
	}
	struct iovec iov[] = { { buf, HEAD_BYTES }, { payload->data, payload->bytes } };
	ssize_t n = fuse_uring_begun(server) ? fuse_uring_readv(server, fd, iov, 2) :
		server->waiting ? fuse_wait_readv(server, fd, iov, 2) : readv(fd, iov, 2);
	assert(n < 0 || (size_t)n <= bytes);
	if (n > (ssize_t)HEAD_BYTES && ((const struct fuse_in_header *)(const void *)buf)->opcode != FUSE_WRITE)
		memcpy(buf + HEAD_BYTES, payload->data, (size_t)n - HEAD_BYTES);
	return n;
}

void fuse_hook_carried(const void *data, size_t bytes)
{
	while (!own_payload())
		usleep(NO_MEMORY_WAIT_US);
	assert(bytes <= payload->bytes);
	memcpy(payload->data, data, bytes);
}

size_t fuse_hook_request(struct fuse_server *server, void *buf, size_t bytes)
{
	struct fuse_in_header *header = buf;
	const void *body = header + 1;
	size_t body_bytes = bytes - sizeof *header;

	kill_suidgid = tmpfile_asked = statx_asked = false;
	if (header->opcode == FUSE_INIT && body_bytes >= sizeof(struct fuse_init_in)) {
		const struct fuse_init_in *init = body;
		if (init->flags & FUSE_HANDLE_KILLPRIV_V2)
			server->init_unique = header->unique;
		server->uring_offered = init->flags & FUSE_INIT_EXT && (uint64_t)init->flags2 << 32 & FUSE_OVER_IO_URING;
	} else if (header->opcode == FUSE_SYNCFS) {
		return syncfs_to_fsyncdir(buf);
	} else if (header->opcode == FUSE_TMPFILE) {
		header->opcode = FUSE_CREATE;
		tmpfile_asked = true;
	} else if (header->opcode == OPCODE_STATX && body_bytes >= sizeof(struct fuse_getattr_in)) {
		header->opcode = FUSE_GETATTR;
		statx_asked = true;
	} else {
		kill_suidgid = asks_to_kill(header, body, body_bytes);
	}
	return bytes;
}

static ssize_t read_hook(int fd, void *buf, size_t bytes, void *userdata)
{
	struct fuse_server *server = userdata;
	ssize_t n = read_request(server, fd, buf, bytes);

	/* An unmount that comes while nobody is in read() ends the connection as an abort; libfuse knows only ENODEV as the end. */
	if (n < 0 && errno == ECONNABORTED)
		errno = ENODEV;
	if (n < (ssize_t)sizeof(struct fuse_in_header))
		return n;
	if (((const struct fuse_in_header *)buf)->opcode == FUSE_DESTROY)
		return keep_destroy(server, buf, fd);
	return (ssize_t)fuse_hook_request(server, buf, (size_t)n);
}

/* What libfuse asks of the kernel for the connection, and what it knows nothing of.  Returns whether requests are to come by io_uring. */
static bool complete_init(struct fuse_server *server, struct fuse_init_out *init, size_t bytes)
{
	if (init->max_readahead < READAHEAD_BYTES_MAX)
		init->max_readahead = READAHEAD_BYTES_MAX;
	init->flags |= FUSE_HANDLE_KILLPRIV_V2 | FUSE_PARALLEL_DIROPS;
	server->killpriv = true;
	if (!server->uring || !server->uring_offered || bytes < offsetof(struct fuse_init_out, flags2) + sizeof init->flags2)
		return false;
	init->flags |= FUSE_INIT_EXT;
	init->flags2 |= (uint32_t)(FUSE_OVER_IO_URING >> 32);
	return true;
}

/* Is it the answer to INIT, where we have something to add? */
static bool is_init_answer(const struct fuse_server *server, const struct iovec *iov, int count)
{
	const struct fuse_out_header *header = iov[0].iov_base;

	return server->init_unique && count >= 2 && iov[0].iov_len == sizeof *header &&
		iov[1].iov_len >= offsetof(struct fuse_init_out, max_background) && header->unique == server->init_unique;
}

static ssize_t writev_hook(int fd, struct iovec *iov, int count, void *userdata)
{
	struct fuse_server *server = userdata;
	bool begin = false;

	if (is_init_answer(server, iov, count)) {
		server->init_unique = 0;
		if (!((const struct fuse_out_header *)iov[0].iov_base)->error)
			begin = complete_init(server, iov[1].iov_base, iov[1].iov_len);
	}
	ssize_t n = server->uring ? fuse_uring_answer(server, iov, count) : 0;
	if (n > 0)
		return n;
	fuse_wait_answered();
	n = writev(fd, iov, count);
	if (begin && n >= 0)
		fuse_uring_begin(server);
	return n;
}

int fuse_hook_install(struct fuse_server *server)
{
	static const struct fuse_custom_io io = { .writev = writev_hook, .read = read_hook };

	int ends[2], r = pthread_key_create(&payload_key, free_payload);
	if (r)
		return -r;
	if (pipe2(ends, O_CLOEXEC) < 0)
		return -errno;
	close(ends[0]);
	server->answer_fd = ends[1];
	return fuse_session_custom_io(server->session, &io, fuse_session_fd(server->session));
}
