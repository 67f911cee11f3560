/* Between two transactions: there a member may begin to take writes, and a column may get a second home, so that all rows of a transaction
 * are where those who take writes at its end are.  Nor is a record of the log on its way: its mirrors are members until it has come back.
 *
 * While somebody writes a stream, rows of the open transaction are written early, always: that is held back for the moment. */
#include "fs/upkeep/boundary.h"

#include "fs/log/log.h"

#include <errno.h>

static void hold_early(struct fs *fs, bool hold)
{
	pthread_mutex_lock(&fs->lock);
	fs->hold_early = hold;
	while (hold && fs->open->placing > 0)
		pthread_cond_wait(&fs->progress, &fs->lock);
	pthread_cond_signal(&fs->wake_flush);
	pthread_mutex_unlock(&fs->lock);
}

static int act_between(struct fs *fs, int (*act)(struct fs *fs, void *ctx), void *ctx)
{
	SCOPED_LOCK(&fs->commit_lock);
	pthread_mutex_lock(&fs->lock);
	log_hold(fs);
	int r = fs->open->placing > 0 || fs->open->run_count > 0 ? -EBUSY : act(fs, ctx);
	log_go_on(fs);
	pthread_mutex_unlock(&fs->lock);
	return r;
}

int boundary_run(struct fs *fs, int (*act)(struct fs *fs, void *ctx), void *ctx)
{
	hold_early(fs, true);
	int r = fs_sync(fs);
	if (r == 0)
		r = act_between(fs, act, ctx);
	hold_early(fs, false);
	return r;
}
