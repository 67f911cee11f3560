/* Speaks the FUSE protocol directly (linux/fuse.h): the root of the mount is the file itself.  Requests
 * that are to hang are kept whole in a list, and answered from it later. */
#include "tests/lib/hangfile.h"

#include "base/cleanup.h"
#include "base/list.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/uio.h>

#define TRANSFER_BYTES (128u << 10)
#define REQUEST_BYTES (TRANSFER_BYTES + 4096u)

struct request {
	struct list entry;
	struct fuse_in_header head;
	uint8_t body[];
};

struct hangfile {
	pthread_mutex_t lock;
	struct list waiting;      /* protected by lock */
	unsigned waiting_count;   /* protected by lock */
	bool hang;                /* protected by lock */
	int fd;
	char *path;
	pthread_t thread;
	uint64_t size_bytes;
	uint8_t *bytes;
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
	const struct fuse_read_in *in = body;    /* begins like fuse_write_in */
	uint64_t left = in->offset < file->size_bytes ? file->size_bytes - in->offset : 0;
	uint32_t bytes = in->size < left ? in->size : (uint32_t)left;
	if (head->opcode == FUSE_READ) {
		reply(file, head->unique, 0, file->bytes + in->offset, bytes);
	} else if (head->opcode == FUSE_WRITE) {
		memcpy(file->bytes + in->offset, (const uint8_t *)body + sizeof(struct fuse_write_in), bytes);
		reply(file, head->unique, 0, &(struct fuse_write_out){ .size = bytes }, sizeof(struct fuse_write_out));
	} else {
		reply(file, head->unique, 0, NULL, 0);
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
	if (head->opcode != FUSE_READ && head->opcode != FUSE_WRITE && head->opcode != FUSE_FSYNC)
		return false;
	SCOPED_LOCK(&file->lock);
	if (!file->hang)
		return false;
	struct request *request = malloc(sizeof(struct list) + head->len);
	if (!request)
		return false;
	memcpy(&request->head, head, head->len);
	list_append(&file->waiting, &request->entry);
	file->waiting_count++;
	return true;
}

static void *serve_all(void *arg)
{
	struct hangfile *file = arg;
	autofree uint8_t *buf = malloc(REQUEST_BYTES);
	if (!buf)
		return NULL;
	for (;;) {
		ssize_t n = read(file->fd, buf, REQUEST_BYTES);
		if (n < 0 && (errno == EINTR || errno == EAGAIN || errno == ENOENT))
			continue;
		if (n < (ssize_t)sizeof(struct fuse_in_header))
			return NULL;
		const struct fuse_in_header *head = (const void *)buf;
		if (!keep(file, head))
			serve(file, head, head + 1);
	}
}

void hangfile_hang(struct hangfile *file, bool hang)
{
	SCOPED_LOCK(&file->lock);
	file->hang = hang;
	while (!hang && !list_empty(&file->waiting)) {
		struct request *request = container_of(file->waiting.next, struct request, entry);
		list_remove(&request->entry);
		serve(file, &request->head, request->body);
		free(request);
		file->waiting_count--;
	}
}

unsigned hangfile_waiting(struct hangfile *file)
{
	SCOPED_LOCK(&file->lock);
	return file->waiting_count;
}

uint8_t *hangfile_bytes(struct hangfile *file)
{
	return file->bytes;
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
	uint8_t *bytes = calloc(1, size_bytes);
	char *name = strdup(path);
	if (!file || !bytes || !name)
		abort();
	*file = (struct hangfile){ .fd = fd, .path = name, .size_bytes = size_bytes, .bytes = bytes };
	pthread_mutex_init(&file->lock, NULL);
	list_init(&file->waiting);
	if (pthread_create(&file->thread, NULL, serve_all, file))
		abort();
	*ret_file = file;
	return 0;
}

void hangfile_free(struct hangfile *file)
{
	if (!file)
		return;
	hangfile_hang(file, false);
	umount2(file->path, MNT_DETACH);
	pthread_join(file->thread, NULL);
	close(file->fd);
	pthread_mutex_destroy(&file->lock);
	free(file->path);
	free(file->bytes);
	free(file);
}
