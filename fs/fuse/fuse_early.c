/* fsyncs that are begun before they are asked for.
 *
 * fsync(2) of a file with a changed page is two requests one after the other: WRITE, which the caller waits for, and FSYNC.  A file that
 * was synced after each single WRITE will be so again; then its fsync begins as soon as WRITE is answered, and is well on its way when
 * FSYNC comes, which is answered when that is durable (fs_fsync_then).  A guess that proves wrong has cost one record of the log.
 *
 * Files are known by their inode in a small table, into which only an fsync brings one: who writes streams never gets there. */
#include "fs/fuse/fuse_internal.h"

#include "base/cleanup.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#define FILES 256u
/* fsyncs in a row, each after one WRITE. */
#define SURE 2u
/* More than that is no matter of microseconds. */
#define BYTES_MAX (64u << 10)

struct fuse_early {
	pthread_mutex_t mutex;
	struct file {
		fuse_ino_t ino;
		unsigned written;        /* WRITEs since its last fsync */
		unsigned times;
	} files[FILES];
};

int fuse_early_start(struct fuse_server *server)
{
	server->early = calloc(1, sizeof *server->early);
	if (!server->early)
		return -ENOMEM;
	pthread_mutex_init(&server->early->mutex, NULL);
	return 0;
}

void fuse_early_stop(struct fuse_server *server)
{
	pthread_mutex_destroy(&server->early->mutex);
	free(server->early);
	server->early = NULL;
}

bool fuse_early_written(struct fuse_server *server, fuse_ino_t ino, size_t bytes)
{
	struct file *file = &server->early->files[ino % FILES];
	SCOPED_LOCK(&server->early->mutex);

	return file->ino == ino && ++file->written == 1 && file->times >= SURE && bytes <= BYTES_MAX;
}

void fuse_early_synced(struct fuse_server *server, fuse_ino_t ino)
{
	struct file *file = &server->early->files[ino % FILES];
	SCOPED_LOCK(&server->early->mutex);

	if (file->ino != ino)
		*file = (struct file){ .ino = ino };
	else
		file->times = file->written == 1 ? file->times + 1 : 0;
	file->written = 0;
}
