/* SEEK_DATA, SEEK_HOLE and st_blocks, where the kernel holds data that we have not got.
 *
 * With the writeback cache a written page reaches us some time later, and the kernel (6.18) asks us for data and holes
 * without writing its pages back first: what was just written would look like a hole, and cp --sparse would lose it.
 * So when the file may have such pages, the kernel is made to write them back (fs/fuse/fuse_pages.c), or, where that cannot be, told to drop
 * its cache of the file, for which it writes back and waits for us, too.  It has them only while a descriptor that can write is open or
 * mapped (release comes after that), so writers are counted, in a table that inodes share by hash: a collision costs a needless write-back.
 *
 * The writes come to the loop's threads.  If those all waited in here, nobody would serve them: one thread
 * of its own does these seeks, and the loop's threads only queue them. For each in the queue a program's thread waits.
 *
 * With the transport uring one more thing can go wrong.  The kernel (6.18) hands out a request that had to wait for an entry only when
 * another one of that processor is answered, not when it gets a new entry.  So if all entries of a processor came with seeks at the moment
 * when the pages did that these wait for, nothing would ever move there.  When nothing has, for long, seeks are given up: those in the
 * queue are answered, and all later ones, as if there were none here.
 *
 * That thread is ended while the loop still runs (fuse_server_stop), for what it waits for comes to the loop; where the kernel ended the
 * connection, it waits for nothing.
 *
 * Nor does the kernel count blocks for such pages, and tar -S does not even seek in a file that has none, but saves it as a hole.  So a
 * file shows one block while it can be written and we have none of it, and the kernel is told to ask again when that begins or ends. */
#include "fs/fuse/fuse_internal.h"

#include "base/cleanup.h"
#include "base/list.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/stat.h>

#define WRITER_COUNTERS 4096u
/* So often must there have been nothing to serve, while pages are waited for, each FUSE_PAGES_WAIT_MS, until seeks are given up. */
#define IDLE_MAX 20u

struct fuse_seeker {
	struct fuse_server *server;
	struct fuse_pages *pages;        /* NULL if there can be none */
	pthread_t thread;
	pthread_mutex_t joining;         /* held while it is joined, which several may ask for */
	bool joined;
	pthread_mutex_t lock;            /* protects queue, stop and given_up */
	pthread_cond_t wake;
	struct list queue;               /* of struct seek */
	bool stop, given_up;
	atomic_uint writers[WRITER_COUNTERS];
};

struct seek {
	struct list link;
	fuse_req_t req;
	fuse_ino_t ino;
	uint64_t offset_bytes;
	int whence;
};

static atomic_uint *writers_of(struct fuse_seeker *seeker, fuse_ino_t ino)
{
	return &seeker->writers[(ino ^ ino >> 12) % WRITER_COUNTERS];
}

static bool can_write(const struct fuse_file_info *fi)
{
	return (fi->flags & O_ACCMODE) != O_RDONLY;
}

static void show_blocks_anew(struct fuse_server *server, fuse_ino_t ino)
{
	struct fs_attr attr;

	if (!fs_getattr(server->fs, ino, &attr) && !attr.blocks)
		fuse_lowlevel_notify_inval_inode(server->session, ino, -1, 0);
}

void fuse_seek_opened(struct fuse_server *server, fuse_ino_t ino, const struct fuse_file_info *fi, bool known)
{
	if (!can_write(fi))
		return;
	atomic_fetch_add(writers_of(server->seeker, ino), 1);
	if (known)
		show_blocks_anew(server, ino);
}

void fuse_seek_released(struct fuse_server *server, fuse_ino_t ino, const struct fuse_file_info *fi)
{
	if (!can_write(fi))
		return;
	atomic_fetch_sub(writers_of(server->seeker, ino), 1);
	show_blocks_anew(server, ino);
}

uint64_t fuse_seek_blocks(struct fuse_server *server, const struct fs_attr *attr)
{
	return attr->blocks || !S_ISREG(attr->mode) || !atomic_load(writers_of(server->seeker, attr->ino)) ? attr->blocks : 1;
}

static void answer(fuse_req_t req, fuse_ino_t ino, uint64_t offset_bytes, int whence)
{
	uint64_t found;
	int r = fs_seek(fs_of(req), ino, offset_bytes, whence, &found);

	if (r < 0)
		reply_result(req, r);
	else
		fuse_reply_lseek(req, (off_t)found);
}

static void refuse(struct seek *seek, int error)
{
	fuse_reply_err(seek->req, error);
	free(seek);
}

static void refuse_queue(struct fuse_seeker *seeker, int error)
{
	while (!list_empty(&seeker->queue)) {
		struct seek *seek = container_of(seeker->queue.next, struct seek, link);
		list_remove(&seek->link);
		refuse(seek, error);
	}
}

static void give_up(struct fuse_seeker *seeker)
{
	SCOPED_LOCK(&seeker->lock);
	seeker->given_up = true;
	refuse_queue(seeker, ENOSYS);
}

/* 0 or -errno, as fuse_pages_end says it. */
static int wait_for_pages(struct fuse_seeker *seeker, int *ret_error)
{
	unsigned idle = 0;
	int result;

	while (!fuse_pages_end(seeker->pages, &result, ret_error))
		if (fuse_uring_idle(seeker->server) && ++idle == IDLE_MAX)
			give_up(seeker);
	return result;
}

/* 0, or the error to answer with: -ENOSYS if it cannot be done, by which the kernel takes all for data from now on.  With the transport
 * uring a wait for the kernel may not hold /dev/fuse in any case: requests that are on their way to threads which have been killed are then
 * not ended even by who ends the connection. */
static int write_pages(struct fuse_seeker *seeker, fuse_ino_t ino)
{
	struct fuse_server *server = seeker->server;
	struct fs_attr attr;
	int error;

	if (seeker->pages && !fs_getattr(server->fs, ino, &attr)) {
		fuse_pages_begin(seeker->pages, ino, attr.generation);
		if (!wait_for_pages(seeker, &error))
			return error;
	}
	if (fuse_uring_begun(server))
		return -ENOSYS;
	/* A failure (the inode is not in the kernel's cache) means that there are no pages either. */
	fuse_lowlevel_notify_inval_inode(server->session, ino, 0, 0);
	return 0;
}

static void *seek_thread(void *ctx)
{
	struct fuse_seeker *seeker = ctx;

	pthread_mutex_lock(&seeker->lock);
	while (!seeker->stop) {
		if (list_empty(&seeker->queue)) {
			pthread_cond_wait(&seeker->wake, &seeker->lock);
			continue;
		}
		struct seek *seek = container_of(seeker->queue.next, struct seek, link);
		list_remove(&seek->link);
		pthread_mutex_unlock(&seeker->lock);
		int r = write_pages(seeker, seek->ino);
		if (r < 0)
			reply_result(seek->req, r);
		else
			answer(seek->req, seek->ino, seek->offset_bytes, seek->whence);
		free(seek);
		pthread_mutex_lock(&seeker->lock);
	}
	pthread_mutex_unlock(&seeker->lock);
	return NULL;
}

void fuse_seek(fuse_req_t req, fuse_ino_t ino, uint64_t offset_bytes, int whence)
{
	struct fuse_seeker *seeker = server_of(req)->seeker;

	if (!atomic_load(writers_of(seeker, ino))) {
		answer(req, ino, offset_bytes, whence);
		return;
	}
	struct seek *seek = malloc(sizeof *seek);
	if (!seek) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	*seek = (struct seek){ .req = req, .ino = ino, .offset_bytes = offset_bytes, .whence = whence };
	pthread_mutex_lock(&seeker->lock);
	int error = seeker->given_up ? ENOSYS : seeker->stop ? EIO : 0;
	if (!error) {
		list_append(&seeker->queue, &seek->link);
		pthread_cond_signal(&seeker->wake);
	}
	pthread_mutex_unlock(&seeker->lock);
	if (error)
		refuse(seek, error);
}

int fuse_seek_start(struct fuse_server *server)
{
	struct fuse_seeker *seeker = calloc(1, sizeof *seeker);
	sigset_t all, before;

	if (!seeker)
		return -ENOMEM;
	seeker->server = server;
	pthread_mutex_init(&seeker->joining, NULL);
	pthread_mutex_init(&seeker->lock, NULL);
	pthread_cond_init(&seeker->wake, NULL);
	list_init(&seeker->queue);
	seeker->pages = fuse_pages_start(server);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int err = pthread_create(&seeker->thread, NULL, seek_thread, seeker);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (err) {
		fuse_pages_stop(seeker->pages);
		free(seeker);
		return -err;
	}
	server->seeker = seeker;
	return 0;
}

void fuse_seek_stop(struct fuse_server *server)
{
	struct fuse_seeker *seeker = server->seeker;

	SCOPED_LOCK(&seeker->joining);
	if (seeker->joined)
		return;
	pthread_mutex_lock(&seeker->lock);
	seeker->stop = true;
	pthread_cond_signal(&seeker->wake);
	pthread_mutex_unlock(&seeker->lock);
	pthread_join(seeker->thread, NULL);
	fuse_pages_stop(seeker->pages);
	seeker->joined = true;
	refuse_queue(seeker, EIO);
}

void fuse_seek_free(struct fuse_server *server)
{
	struct fuse_seeker *seeker = server->seeker;

	if (!seeker)
		return;
	fuse_seek_stop(server);
	pthread_cond_destroy(&seeker->wake);
	pthread_mutex_destroy(&seeker->lock);
	pthread_mutex_destroy(&seeker->joining);
	free(seeker);
	server->seeker = NULL;
}
