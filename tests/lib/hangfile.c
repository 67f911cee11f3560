/* Speaks the FUSE protocol directly (linux/fuse.h): the root of the mount is the file itself.  Requests
 * that are to hang are kept whole in a list, and answered from it later.
 *
 * The server is a process of its own: a program that is killed while a request of its hangs can end only
 * once the server is gone, so the server must not be part of it. */
#include "tests/lib/hangfile.h"

#include "base/cleanup.h"
#include "base/list.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>

#define COMMAND_HANG 'h'
#define COMMAND_RELEASE 'r'
#define COMMAND_COUNT 'c'
#define TRANSFER_BYTES (128u << 10)
#define REQUEST_BYTES (TRANSFER_BYTES + 4096u)

struct request {
	struct list entry;
	struct fuse_in_header head;
	uint8_t body[];
};

struct hangfile {
	int control;              /* to the server; it ends when this closes */
	pid_t server;
	char *path;
	uint64_t size_bytes;
	uint8_t *bytes;           /* shared with the server */
	/* The server's own: */
	int fd;
	bool hang;
	struct list waiting;
	unsigned waiting_count;
};

static void reply(struct hangfile *file, uint64_t unique, int error, const void *data, size_t bytes)
{
	struct fuse_out_header head = { .len = (uint32_t)(sizeof(head) + bytes), .error = error, .unique = unique };
	struct iovec iov[2] = { { &head, sizeof(head) }, { (void *)(uintptr_t)data, bytes } };
	if (writev(file->fd, iov, bytes > 0 ? 2 : 1) < 0 && errno != ENOENT)
		perror("hangfile");
}

static void serve_transfer(struct hangfile *file, const struct fuse_in_header *head, const void *body)
{
	if (head->opcode == FUSE_FSYNC) {
		reply(file, head->unique, 0, NULL, 0);
		return;
	}
	const struct fuse_read_in *in = body;    /* begins like fuse_write_in */
	uint64_t left = in->offset < file->size_bytes ? file->size_bytes - in->offset : 0;
	uint32_t bytes = in->size < left ? in->size : (uint32_t)left;
	if (head->opcode == FUSE_READ) {
		reply(file, head->unique, 0, file->bytes + in->offset, bytes);
	} else {
		memcpy(file->bytes + in->offset, (const uint8_t *)body + sizeof(struct fuse_write_in), bytes);
		reply(file, head->unique, 0, &(struct fuse_write_out){ .size = bytes }, sizeof(struct fuse_write_out));
	}
}

static void serve(struct hangfile *file, const struct fuse_in_header *head, const void *body)
{
	switch (head->opcode) {
	case FUSE_INIT: {
		struct fuse_init_out out = { .major = FUSE_KERNEL_VERSION, .minor = 31, .max_write = TRANSFER_BYTES, .time_gran = 1 };
		reply(file, head->unique, 0, &out, sizeof(out));
		break;
	}
	case FUSE_GETATTR: {
		struct fuse_attr_out out = { .attr = { .ino = 1, .size = file->size_bytes, .mode = S_IFREG | 0644, .nlink = 1, .blksize = 4096 } };
		reply(file, head->unique, 0, &out, sizeof(out));
		break;
	}
	case FUSE_OPEN: {
		struct fuse_open_out out = { .fh = 1, .open_flags = FOPEN_DIRECT_IO | FOPEN_PARALLEL_DIRECT_WRITES };
		reply(file, head->unique, 0, &out, sizeof(out));
		break;
	}
	case FUSE_READ:
	case FUSE_WRITE:
	case FUSE_FSYNC:
		serve_transfer(file, head, body);
		break;
	case FUSE_FLUSH:
	case FUSE_RELEASE:
		reply(file, head->unique, 0, NULL, 0);
		break;
	case FUSE_FORGET:
	case FUSE_BATCH_FORGET:
	case FUSE_INTERRUPT:
		break;
	default:
		reply(file, head->unique, -ENOSYS, NULL, 0);
	}
}

/* Keeps the request if it is to hang. */
static bool keep(struct hangfile *file, const struct fuse_in_header *head)
{
	if (!file->hang || (head->opcode != FUSE_READ && head->opcode != FUSE_WRITE && head->opcode != FUSE_FSYNC))
		return false;
	struct request *request = malloc(sizeof(struct list) + head->len);
	if (!request)
		return false;
	memcpy(&request->head, head, head->len);
	list_append(&file->waiting, &request->entry);
	file->waiting_count++;
	return true;
}

static void release_all(struct hangfile *file)
{
	while (!list_empty(&file->waiting)) {
		struct request *request = container_of(file->waiting.next, struct request, entry);
		list_remove(&request->entry);
		serve(file, &request->head, request->body);
		free(request);
		file->waiting_count--;
	}
}

/* Does one command of the test and answers with the number of requests that hang.  False at its end. */
static bool obey(struct hangfile *file)
{
	char command;
	if (read(file->control, &command, 1) != 1)
		return false;
	if (command != COMMAND_COUNT)
		file->hang = command == COMMAND_HANG;
	if (!file->hang)
		release_all(file);
	return write(file->control, &file->waiting_count, sizeof(file->waiting_count)) == sizeof(file->waiting_count);
}

static void run_server(struct hangfile *file)
{
	static uint8_t buf[REQUEST_BYTES];
	struct pollfd polled[2] = { { .fd = file->fd, .events = POLLIN }, { .fd = file->control, .events = POLLIN } };
	for (;;) {
		if (poll(polled, 2, -1) < 0 || (polled[1].revents && !obey(file)) || (polled[0].revents & (POLLERR | POLLHUP)))
			return;
		if (!(polled[0].revents & POLLIN))
			continue;
		ssize_t n = read(file->fd, buf, sizeof(buf));
		const struct fuse_in_header *head = (const void *)buf;
		if (n >= (ssize_t)sizeof(*head) && !keep(file, head))
			serve(file, head, head + 1);
	}
}

static unsigned tell(struct hangfile *file, char command)
{
	unsigned count = 0;
	if (write(file->control, &command, 1) != 1 || read(file->control, &count, sizeof(count)) != sizeof(count))
		abort();
	return count;
}

void hangfile_hang(struct hangfile *file, bool hang)
{
	tell(file, hang ? COMMAND_HANG : COMMAND_RELEASE);
}

unsigned hangfile_waiting(struct hangfile *file)
{
	return tell(file, COMMAND_COUNT);
}

uint8_t *hangfile_bytes(struct hangfile *file)
{
	return file->bytes;
}

/* Starts the server, which alone holds the FUSE descriptor. */
static void start_server(struct hangfile *file)
{
	int pair[2];
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		abort();
	file->server = fork();
	if (file->server < 0)
		abort();
	if (file->server == 0) {
		close(pair[0]);
		file->control = pair[1];
		run_server(file);
		_exit(0);
	}
	close(pair[1]);
	close(file->fd);
	file->control = pair[0];
}

int hangfile_new(const char *path, uint64_t size_bytes, struct hangfile **ret_file)
{
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return -errno;
	int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	char options[128];
	snprintf(options, sizeof(options), "fd=%d,rootmode=100644,user_id=%u,group_id=%u", fd, getuid(), getgid());
	if (mount("hangfile", path, "fuse", MS_NOSUID | MS_NODEV, options) < 0) {
		int r = -errno;
		close(fd);
		return r;
	}
	struct hangfile *file = calloc(1, sizeof(*file));
	void *bytes = mmap(NULL, size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	char *name = strdup(path);
	if (!file || bytes == MAP_FAILED || !name)
		abort();
	*file = (struct hangfile){ .fd = fd, .path = name, .size_bytes = size_bytes, .bytes = bytes };
	list_init(&file->waiting);
	start_server(file);
	*ret_file = file;
	return 0;
}

void hangfile_free(struct hangfile *file)
{
	if (!file)
		return;
	umount2(file->path, MNT_DETACH);
	close(file->control);
	waitpid(file->server, NULL, 0);
	munmap(file->bytes, file->size_bytes);
	free(file->path);
	free(file);
}
