/* The FUSE session: what is asked of the kernel, mounting, and the loop.
 *
 * The kernel does as much as it can by itself: it caches names (also those that do not exist), attributes, pages and
 * symlinks without a limit in time, checks permissions and ACLs, keeps locks, and collects small writes
 * (writeback cache), which makes size and mtime of open files its own.  FLUSH is answered with ENOSYS, which tells it not
 * to ask again.
 *
 * As root the mount is of type fuseblk if possible (fs/fuse/fuse_device.c says why), else plain.  The end of a fuseblk mount:
 * the kernel sends DESTROY and waits; the hook ends the loop; the caller closes the filesystem; fuse_server_end answers. */
#include "fs/fuse/fuse_internal.h"

#include "base/cleanup.h"
#include "fs/format.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

static_assert(FUSE_ROOT_ID == OBJECT_ROOT, "inode numbers are handed to the kernel as they are");

#define WANTED (FUSE_CAP_ASYNC_READ | FUSE_CAP_ASYNC_DIO | FUSE_CAP_ATOMIC_O_TRUNC | FUSE_CAP_EXPORT_SUPPORT | \
	FUSE_CAP_DONT_MASK | FUSE_CAP_POSIX_ACL | FUSE_CAP_IOCTL_DIR | FUSE_CAP_READDIRPLUS | FUSE_CAP_PARALLEL_DIROPS | \
	FUSE_CAP_WRITEBACK_CACHE | FUSE_CAP_CACHE_SYMLINKS)

/* libfuse turns some on by itself. Splicing costs more than it saves for memory; AUTO_INVAL_DATA and the automatic
 * choice of readdirplus are for filesystems that others change; HANDLE_KILLPRIV is the old form of what
 * fs/fuse/fuse_hook.c asks for. */
#define UNWANTED (FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE | FUSE_CAP_AUTO_INVAL_DATA | \
	FUSE_CAP_READDIRPLUS_AUTO | FUSE_CAP_HANDLE_KILLPRIV | FUSE_CAP_POSIX_LOCKS | FUSE_CAP_FLOCK_LOCKS)

#define BACKGROUND_MAX 64u
#define THREADS_MIN 10u
#define THREADS_PER_PROCESSOR 4u

static void op_init(void *userdata, struct fuse_conn_info *conn)
{
	struct fuse_server *server = userdata;
	conn->want |= conn->capable & WANTED;
	conn->want &= ~UNWANTED;
	conn->max_read = server->max_read_bytes;
	conn->max_write = FUSE_WRITE_BYTES_MAX;
	conn->max_background = BACKGROUND_MAX;
	conn->congestion_threshold = BACKGROUND_MAX / 4 * 3;
	conn->time_gran = 1;
	server->kernel_times = conn->want & FUSE_CAP_WRITEBACK_CACHE;
}

static int add_option(char **options, const char *name, const char *value)
{
	autofree char *text = NULL;

	if (asprintf(&text, "%s%s", name, value) < 0 || fuse_opt_add_opt_escaped(options, text) < 0)
		return -ENOMEM;
	return 0;
}

static int make_arguments(const struct fuse_server_options *options, const char *source, const char *more, struct fuse_args *args)
{
	autofree char *list = NULL;
	int r = add_option(&list, "fsname=", source);

	if (!r && (fuse_opt_add_opt(&list, "subtype=raid5cryptfs,default_permissions") < 0 ||
		   (more && fuse_opt_add_opt(&list, more) < 0)))
		r = -ENOMEM;
	if (!r && *options->mount_options && fuse_opt_add_opt(&list, options->mount_options) < 0)
		r = -ENOMEM;
	if (!r && (fuse_opt_add_arg(args, "raid5cryptfs") < 0 || fuse_opt_add_arg(args, "-o") < 0 ||
		   fuse_opt_add_arg(args, list) < 0 || (options->debug && fuse_opt_add_arg(args, "-d") < 0)))
		r = -ENOMEM;
	return r;
}

/* A session, mounted, in server->session. */
static int mount_session(struct fuse_server *server, const struct fuse_server_options *options, const char *source,
	const char *more, struct fail *fail)
{
	struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
	struct fuse_lowlevel_ops ops = { .init = op_init };
	int r = make_arguments(options, source, more, &args);

	if (r < 0) {
		fail_set(fail, ENOMEM, FAIL_SYSTEM, "mount: out of memory");
		goto out;
	}
	fuse_fill_namespace_ops(&ops);
	fuse_fill_directory_ops(&ops);
	fuse_fill_data_ops(&ops);
	fuse_fill_control_ops(&ops);
	server->session = fuse_session_new(&args, &ops, sizeof ops, server);
	if (!server->session) {
		r = fail_set(fail, EINVAL, FAIL_USAGE, "options: %s: libfuse refuses them; see raid5cryptfs --help",
			options->mount_options);
		goto out;
	}
	if (fuse_session_mount(server->session, options->mountpoint) < 0) {
		fuse_session_destroy(server->session);
		server->session = NULL;
		r = fail_set(fail, EIO, FAIL_SYSTEM, "mount: %s: FUSE cannot mount here; check that /dev/fuse exists and may be "
			"opened, that fusermount3 is installed, and that the folder is yours", options->mountpoint);
	}
out:
	fuse_opt_free_args(&args);
	return r;
}

/* fuseblk: -errno if that cannot be. */
static int mount_on_device(struct fuse_server *server, const struct fuse_server_options *options)
{
	const char *name = strchr(options->source, '/') ? options->short_source : options->source;
	struct fuse_device device;

	if (geteuid() != 0)
		return -EPERM;
	/* Then fusermount3 mounts, from the root directory, where no name of ours leads to the device. */
	if (strstr(options->mount_options, "auto_unmount"))
		name = "";
	int r = fuse_device_open(&device, name);
	if (r < 0)
		return r;
	r = mount_session(server, options, device.source, "blkdev,blksize=4096", NULL);
	fuse_device_close(&device);
	return r;
}

dev_t fuse_device_at(int dir_fd, const char *path)
{
	struct statx sx;

	if (statx(dir_fd, path, AT_STATX_DONT_SYNC | AT_EMPTY_PATH, 0, &sx) < 0)
		return 0;
	return makedev(sx.stx_dev_major, sx.stx_dev_minor);
}

/* Hangs up, so that whoever waits for an answer goes on.  libfuse also unmounts whatever is at the mount point, which may be what somebody
 * mounted over ours, or what is below it: unless it finds the connection gone, for which a pipe without a reader looks the same. */
static void unmount(struct fuse_server *server)
{
	if (server->unmounted)
		return;
	server->unmounted = true;
	if (server->device && fuse_device_at(AT_FDCWD, server->mountpoint) != server->device)
		dup3(server->answer_fd, fuse_session_fd(server->session), O_CLOEXEC);
	fuse_session_unmount(server->session);
}

int fuse_server_mount(struct fs *fs, const struct fuse_server_options *options, struct fuse_server **ret_server, struct fail *fail)
{
	struct fuse_server *server = calloc(1, sizeof *server);
	int r = 0;

	if (!server)
		return fail_set(fail, ENOMEM, FAIL_SYSTEM, "mount: out of memory");
	server->fs = fs;
	server->max_read_bytes = options->max_read_bytes;
	server->answer_fd = -1;
	server->mountpoint = strdup(options->mountpoint);
	if (!server->mountpoint) {
		free(server);
		return fail_set(fail, ENOMEM, FAIL_SYSTEM, "mount: out of memory");
	}
	if (options->transport == FUSE_TRANSPORT_URING)
		server->device_reason = fuse_uring_prepare(server);
	server->plain_reason = mount_on_device(server, options);
	if (!server->session)
		r = mount_session(server, options, options->source, NULL, fail);
	if (!r) {
		server->device = fuse_device_at(AT_FDCWD, server->mountpoint);
		r = fuse_hook_install(server);
		if (r < 0)
			fail_set(fail, -r, FAIL_SYSTEM, "mount: %s: libfuse refuses the session's hooks: %s", options->mountpoint,
				strerror(-r));
	}
	if (!r) {
		r = fuse_seek_start(server);
		if (r < 0)
			fail_set(fail, -r, FAIL_SYSTEM, "mount: cannot start a thread: %s", strerror(-r));
	}
	if (r < 0)
		fuse_server_free(server);
	else
		*ret_server = server;
	return r;
}

dev_t fuse_server_device(const struct fuse_server *server)
{
	return server->device;
}

int fuse_server_plain_reason(const struct fuse_server *server)
{
	return server->plain_reason;
}

int fuse_server_device_reason(const struct fuse_server *server)
{
	return server->device_reason;
}

/* The first request decides how all others come.  0, or -errno. */
static int serve_init(struct fuse_server *server)
{
	struct fuse_buf buf = { 0 };
	int n;

	do
		n = fuse_session_receive_buf(server->session, &buf);
	while (n == -EINTR && !fuse_session_exited(server->session));
	if (n > 0)
		fuse_session_process_buf(server->session, &buf);
	free(buf.mem);
	return n == -EINTR || n > 0 ? 0 : n;
}

static int loop_of_threads(struct fuse_server *server)
{
	struct fuse_loop_config *config = fuse_loop_cfg_create();
	long processors = sysconf(_SC_NPROCESSORS_ONLN);
	unsigned threads = processors > 0 ? (unsigned)processors * THREADS_PER_PROCESSOR : THREADS_MIN;

	if (!config)
		return -ENOMEM;
	if (threads < THREADS_MIN)
		threads = THREADS_MIN;
	fuse_loop_cfg_set_clone_fd(config, 1);
	fuse_loop_cfg_set_max_threads(config, threads);
	fuse_loop_cfg_set_idle_threads(config, threads);
	int r = fuse_wait_start(server);
	if (!r) {
		r = fuse_session_loop_mt(server->session, config);
		fuse_wait_stop(server);
	}
	fuse_loop_cfg_destroy(config);
	return r;
}

int fuse_server_loop(struct fuse_server *server)
{
	int r = fuse_early_start(server);

	if (r < 0)
		goto out;
	r = serve_init(server);
	/* Beside rings there is little for it to do. */
	if (!r)
		r = fuse_uring_begun(server) ? fuse_session_loop(server->session) : loop_of_threads(server);
	fuse_seek_stop(server);
	if (fuse_uring_begun(server)) {
		int error = fuse_uring_stop(server);
		r = r < 0 ? r : error;
	}
	fuse_early_stop(server);
out:
	if (!server->unmounting)
		unmount(server);
	return r > 0 ? 0 : r;
}

void fuse_server_stop(struct fuse_server *server)
{
	fuse_seek_stop(server);
	fuse_session_exit(server->session);
}

void fuse_server_end(struct fuse_server *server)
{
	struct pollfd gone = { .fd = fuse_session_fd(server->session) };

	if (!server->unmounting)
		return;
	fuse_hook_answer_unmount(server);
	/* libfuse unmounts whatever is at the mount point by now, unless it finds the connection gone. */
	while (poll(&gone, 1, -1) < 0 && errno == EINTR)
		;
	server->unmounted = true;
	fuse_session_unmount(server->session);
}

void fuse_server_free(struct fuse_server *server)
{
	if (!server)
		return;
	if (server->session) {
		unmount(server);
		fuse_session_destroy(server->session);
	}
	fuse_uring_free(server);
	fuse_seek_free(server);
	if (server->answer_fd >= 0)
		close(server->answer_fd);
	free(server->mountpoint);
	free(server);
}
