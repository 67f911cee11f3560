/* raid5cryptfs: mounts an array.
 *
 * Order: the command line and the mount point are checked first, without touching a member; then the process that is to
 * serve is forked (threads, locks on members and locked memory do not survive a fork); it opens the members, asks
 * for the key, opens the filesystem, mounts, and only then lets the terminal go.  Nothing is written to a member
 * before the first change to a file. */
#include "base/cleanup.h"
#include "fs/fs.h"
#include "fs/fuse/fuse.h"
#include "tools/alert.h"
#include "tools/backing.h"
#include "tools/cli.h"
#include "tools/daemon.h"
#include "tools/members.h"
#include "tools/mountopts.h"
#include "tools/mounts.h"
#include "tools/remount.h"

#include <dirent.h>
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <syslog.h>
#include <unistd.h>

#ifndef PR_SET_IO_FLUSHER
#define PR_SET_IO_FLUSHER 57
#endif

struct request {
	bool foreground, debug, test_alert;
	struct mount_options options;
	struct member_paths members;
	char *source;                    /* as given, if it was one argument; else label_source */
	char *label_source;              /* array:NAME or array:UUID, without a slash */
	char mountpoint[PATH_MAX];
	struct alert *alert;
};

static void usage(FILE *out)
{
	fputs(
"Usage: raid5cryptfs [-f] [-d] [-o OPTION,...] MEMBER... MOUNTPOINT\n"
"       raid5cryptfs [-f] [-d] [-o OPTION,...] SOURCE MOUNTPOINT\n"
"       raid5cryptfs --test-alert [-o alert=PROGRAM]\n"
"Mounts an encrypted RAID5 array.  A MEMBER is a partition, disk or image file.  A SOURCE is\n"
"array:NAME or array:UUID (block devices are searched) or M1:M2:M3 (a colon in a path is written \\:).\n"
"\n"
"  -f, --foreground   stay in the foreground, messages on standard error\n"
"  -d, --debug        print every request (implies -f)\n"
"  -h, --help         this text\n"
"  -V, --version      the version\n"
"      --test-alert   run the alert programs once, and tell what became of each\n"
"  -o OPTION,...      mount options:\n"
"     key-file=PATH     the key file; - is standard input (without it, a passphrase is asked for)\n"
"     ro                read only: nothing at all is written to the members\n"
"     salvage           with ro: read what can be read of a filesystem that is damaged beyond parity\n"
"     allow_other       users other than you may use the mount, by the files' permissions\n"
"     cipher=none       permit an array that was made without encryption\n"
"     cache=SIZE        memory for metadata (64M)\n"
"     dirty=SIZE        memory for data not yet written (64M)\n"
"     commit=SECONDS    at most so long until changes are durable by themselves (5)\n"
"     timeout=SECONDS   a member that does not answer for so long is dropped (30)\n"
"     engine=ENGINE     what seals: auto (the faster one), sodium or openssl\n"
"     io=WAY            how members are read and written: auto, uring or threads\n"
"     transport=WAY     how requests come from the kernel: device (/dev/fuse) or uring (Linux 6.14)\n"
"     alert=PROGRAM     run it when a member fails, the space is low, ...: see the manual\n"
"     nonempty          mount over a folder that is not empty, or in use as a mount point\n"
"     and those of mount(8): noatime, nosuid, nodev, noexec, _netdev, nofail, x-*, ...\n"
"Unmount with: umount MOUNTPOINT\n", out);
}

/* ---- The command line ---- */

/* Options may stand anywhere; -o, as from mount(8), also after the mount point. */
static int parse_options(int argc, char **argv, struct request *request, struct fail *fail)
{
	static const struct option options[] = {
		{ "foreground", no_argument, NULL, 'f' }, { "debug", no_argument, NULL, 'd' }, { "test-alert", no_argument, NULL, 'T' },
		{ "help", no_argument, NULL, 'h' }, { "version", no_argument, NULL, 'V' }, { 0 },
	};
	int c, r;

	while ((c = getopt_long(argc, argv, "fdhVo:nrsv", options, NULL)) != -1) {
		switch (c) {
		case 'f':
			request->foreground = true;
			break;
		case 'd':
			request->foreground = request->debug = true;
			break;
		case 'o':
			r = mount_options_parse(&request->options, optarg, fail);
			if (r < 0)
				return r;
			break;
		case 'T':
			request->test_alert = true;
			break;
		case 'r':
			request->options.read_only = true;
			break;
		case 'n': case 's': case 'v':    /* of mount(8)'s helpers: nothing to do */
			break;
		case 'h':
			usage(stdout);
			exit(0);
		case 'V':
			cli_print_version();
			exit(0);
		default:
			return fail_set(fail, EINVAL, FAIL_USAGE, "the command line is wrong; see raid5cryptfs --help");
		}
	}
	return 0;
}

static int parse_command_line(int argc, char **argv, struct request *request, struct fail *fail)
{
	int r = parse_options(argc, argv, request, fail);

	if (r < 0)
		return r;
	if (request->test_alert)
		return optind == argc ? 0 : fail_set(fail, EINVAL, FAIL_USAGE, "--test-alert: takes no members and no mount point; usage: "
			"raid5cryptfs --test-alert [-o alert=PROGRAM]");
	if (request->options.salvage && !request->options.read_only)
		return fail_set(fail, EINVAL, FAIL_USAGE, "option salvage: it reads what can be read of a damaged filesystem, and writes nothing; "
			"say -o ro,salvage");
	int count = argc - optind;
	if (count < 2)
		return fail_set(fail, EINVAL, FAIL_USAGE, "%s is missing; usage: raid5cryptfs [-f] [-o OPTION,...] MEMBER... MOUNTPOINT "
			"(see --help)", count == 1 ? "the mount point or the members" : "everything");
	const char *mountpoint = argv[argc - 1];
	if (!realpath(mountpoint, request->mountpoint)) {
		if (errno == ENOTCONN)
			return fail_set(fail, ENOTCONN, FAIL_MOUNTPOINT, "mount point: %s: an earlier mount there lost its daemon; unmount it "
				"first: umount %s, or fusermount3 -u %s", mountpoint, mountpoint, mountpoint);
		return fail_set(fail, errno, FAIL_MOUNTPOINT, errno == ENOENT ? "mount point: %s: does not exist; make it with mkdir"
			: "mount point: %s: cannot be reached", mountpoint);
	}
	if (count == 2) {
		request->source = strdup(argv[optind]);
		if (!request->source)
			return fail_set(fail, ENOMEM, FAIL_SYSTEM, "members: out of memory");
	}
	return 0;
}

static bool folder_is_empty(const char *path)
{
	DIR *dir = opendir(path);
	const struct dirent *entry;
	bool empty = true;

	while (dir && empty && (entry = readdir(dir)))
		empty = !strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..");
	if (dir)
		closedir(dir);
	return empty;
}

static int check_mountpoint(const struct request *request, struct fail *fail)
{
	const char *path = request->mountpoint;
	char type[64];
	struct stat st;

	if (!request->options.nonempty && mount_at(path, type, sizeof type, NULL)) {
		if (mount_type_is_ours(type))
			return fail_set(fail, EBUSY, FAIL_MOUNTPOINT, "mount point: %s: an array is mounted there already; unmount it first, "
				"or choose another folder", path);
		return fail_set(fail, EBUSY, FAIL_MOUNTPOINT, "mount point: %s: busy, a filesystem (%s) is mounted there; choose another "
			"folder, or give -o nonempty to mount over it", path, type);
	}
	if (stat(path, &st) < 0) {
		if (errno == ENOTCONN)
			return fail_set(fail, ENOTCONN, FAIL_MOUNTPOINT, "mount point: %s: an earlier mount there lost its daemon; unmount it "
				"first: umount %s, or fusermount3 -u %s", path, path, path);
		return fail_set(fail, errno, FAIL_MOUNTPOINT, "mount point: %s: %s", path, strerror(errno));
	}
	if (!S_ISDIR(st.st_mode))
		return fail_set(fail, ENOTDIR, FAIL_MOUNTPOINT, "mount point: %s: is not a directory; choose or make an empty one", path);
	if (!request->options.nonempty && !folder_is_empty(path))
		return fail_set(fail, ENOTEMPTY, FAIL_MOUNTPOINT, "mount point: %s: not empty; choose an empty folder, or give -o nonempty to "
			"hide what is in it", path);
	return 0;
}

/* ---- Opening ---- */

static void warn(void *ctx, const char *text)
{
	(void)ctx;
	daemon_log(LOG_WARNING, text);
}

static void report(void *ctx, const struct event *event)
{
	const struct request *request = ctx;

	daemon_event(NULL, event);
	alert_event(request->alert, event);
}

static const struct label *first_label(const struct probe *probe)
{
	for (unsigned i = 0; i < probe->count; i++)
		if (!probe->members[i].label_status)
			return &probe->members[i].label;
	return NULL;
}

/* "array:NAME", or with its UUID if it has no name, or none for a file's name: as it can be given to mount again. */
static int make_source(const struct label *label, struct request *request)
{
	char uuid[UUID_TEXT_BYTES];
	const char *name = label->name;

	uuid_format(&label->array, uuid);
	if (asprintf(&request->label_source, "array:%s", *name && !strchr(name, '/') ? name : uuid) < 0)
		request->label_source = NULL;
	if (!request->source && request->label_source)
		request->source = strdup(request->label_source);
	return request->label_source && request->source ? 0 : -ENOMEM;
}

static int open_members(struct request *request, struct probe **ret_probe, struct fail *fail)
{
	struct disk *disks[MEMBERS_MAX];
	unsigned count;
	enum disk_mode mode = request->options.read_only ? DISK_READ_ONLY : DISK_READ_WRITE;

	int r = members_open(&request->members, mode, request->options.io, warn, NULL, disks, &count, fail);
	if (!r)
		r = array_probe(disks, count, ret_probe, fail);
	return r;
}

static int open_filesystem(struct request *request, struct fs **ret_fs, struct fail *fail)
{
	const struct mount_options *o = &request->options;
	struct cli_secret secret = { 0 };
	struct probe *probe;

	int r = open_members(request, &probe, fail);
	if (r < 0)
		return r;
	const struct label *label = first_label(probe);
	bool wants_key = !label || label->cipher != CIPHER_NONE || o->key_file || !o->allow_none;
	if (label)
		alert_about(request->alert, label, request->mountpoint);
	if (label && make_source(label, request) < 0)
		r = fail_set(fail, ENOMEM, FAIL_SYSTEM, "out of memory");
	if (!r && label && label->cipher == CIPHER_NONE && !o->key_file)
		wants_key = false;               /* fs_open refuses unless allowed; nothing to ask for */
	if (!r)
		r = cli_protect_memory(fail);
	if (!r && wants_key) {
		daemon_unblock_signals();        /* a key file that is a pipe may give nothing for ever, and the members are locked */
		r = cli_get_secret(o->key_file, request->source ? request->source : "the array", &secret, fail);
		daemon_block_signals();
	}
	if (r < 0) {
		probe_free(probe);
	} else {
		struct fs_options options = {
			.read_only = o->read_only,
			.salvage = o->salvage,
			.no_atime = o->no_atime,
			.no_diratime = o->no_diratime,
			.node_cache_bytes = o->cache_bytes,
			.dirty_bytes = o->dirty_bytes,
			.commit_interval_ms = o->commit_seconds * 1000,
			.io = o->io,
			.read_errors_max = o->read_errors_max,
			.speed_bytes = o->speed_bytes,
			.io_timeout_ms = (int64_t)o->timeout_seconds * 1000,
			.engine = o->engine,
			.events = { .ctx = request, .report = report },
		};
		r = fs_open(probe, wants_key ? &secret.secret : NULL, o->allow_none, &options, ret_fs, fail);
	}
	cli_forget_secret(&secret);
	return r;
}

/* ---- Serving ---- */

/* As a user of disks, not of a network: suid programs and device nodes work when root mounts, as on other disks. */
static int mount_flags(struct request *request, char **ret_flags)
{
	const struct mount_options *o = &request->options;

	return asprintf(ret_flags, "%s%s%s%s", o->read_only ? "ro" : "rw",
		geteuid() == 0 && !o->suid_given ? ",suid" : "", geteuid() == 0 && !o->dev_given ? ",dev" : "",
		*o->fuse ? "," : "") < 0 ? -ENOMEM : 0;
}

static int mount_filesystem(struct request *request, struct fs *fs, struct fuse_server **ret_server, struct fail *fail)
{
	autofree char *flags = NULL, *all = NULL;

	if (mount_flags(request, &flags) < 0 || asprintf(&all, "%s%s", flags, request->options.fuse) < 0)
		return fail_set(fail, ENOMEM, FAIL_SYSTEM, "out of memory");
	struct fuse_server_options options = {
		.source = request->source, .short_source = request->label_source, .mountpoint = request->mountpoint,
		.mount_options = all, .max_read_bytes = request->options.max_read_bytes, .transport = request->options.transport,
		.debug = request->debug,
	};
	int r = fs_start(fs);
	if (r < 0)
		return fail_set(fail, -r, FAIL_SYSTEM, "cannot start threads: %s", strerror(-r));
	r = fuse_server_mount(fs, &options, ret_server, fail);
	if (r < 0)
		return r;
	backing_tune(request->mountpoint, fuse_server_plain_reason(*ret_server));
	r = daemon_watch_signals(*ret_server, request->mountpoint);
	if (r < 0) {
		fuse_server_free(*ret_server);
		fail_set(fail, -r, FAIL_SYSTEM, "cannot start threads: %s", strerror(-r));
	}
	return r;
}

/* An ordinary user never has such a device, and reads of this in the manual. */
static void log_plain(int reason)
{
	char text[256];

	if (!reason || geteuid() != 0)
		return;
	snprintf(text, sizeof text, "no loop device can be mounted (%s), so this is a plain FUSE mount: umount does not wait for the "
		"last commit, and sync does not commit; see DURABILITY in raid5cryptfs(8)", strerror(-reason));
	daemon_log(LOG_NOTICE, text);
}

static void log_transport(int reason)
{
	char text[256];

	if (!reason)
		return;
	snprintf(text, sizeof text, "transport=uring: %s; requests come from /dev/fuse, as without this option",
		reason == -ENOSYS ? "this kernel has no FUSE over io_uring (Linux 6.14 has)" :
		reason == -EPERM ? "io_uring is switched off; allow it with: echo Y >/sys/module/fuse/parameters/enable_uring "
			"(at boot: fuse.enable_uring=1), and see sysctl kernel.io_uring_disabled" : strerror(-reason));
	daemon_log(LOG_WARNING, text);
}

/* Serves until the end, and closes the filesystem: before fuse_server_end, which lets umount(2) return. */
static int serve(struct request *request, struct fs *fs, struct fuse_server *server, struct fail *fail)
{
	log_transport(fuse_server_device_reason(server));
	daemon_ready();
	log_plain(fuse_server_plain_reason(server));
	struct remount_watch *remounts = remount_watch_new(fs, request->mountpoint, request->options.no_atime, request->options.no_diratime);
	int r = alert_start(request->alert, fs);
	if (r < 0)
		daemon_log(LOG_WARNING, "cannot start a thread: no alert program will be run");
	r = fuse_server_loop(server);
	if (r < 0)
		fail_set(fail, -r, FAIL_SYSTEM, "%s: serving ended: %s", request->mountpoint, strerror(-r));
	daemon_loop_ended();
	remount_watch_free(remounts);
	alert_detach(request->alert);
	int closed = fs_close(fs, false);
	if (closed < 0 && !r)
		r = fail_set(fail, -closed, FAIL_SYSTEM, "%s: the last commit failed (%s); what was not synced before is lost",
			request->mountpoint, strerror(-closed));
	fuse_server_end(server);
	daemon_unwatch_signals();
	fuse_server_free(server);
	return r;
}

static int run(struct request *request, struct fail *fail)
{
	struct fuse_server *server;
	struct fs *fs;

	int r = open_filesystem(request, &fs, fail);
	if (r < 0)
		return r;
	alert_opened(request->alert);
	r = mount_filesystem(request, fs, &server, fail);
	if (r < 0) {
		fs_close(fs, false);
		return r;
	}
	return serve(request, fs, server, fail);
}

int main(int argc, char **argv)
{
	struct request request = { 0 };
	struct fail fail = { 0 };

	cli_start("raid5cryptfs");
	/* Records and nodes are allocated by one thread and freed by another; with an arena for each, memory that is free in
	 * one is no use to the others, and resident memory grows to a multiple of what is in use. */
	mallopt(M_ARENA_MAX, 2);
	if (mount_options_init(&request.options) < 0)
		return cli_error(FAIL_SYSTEM, "out of memory");
	int r = parse_command_line(argc, argv, &request, &fail);
	if (!r && request.test_alert) {
		int code = alert_test(request.options.alert);
		mount_options_free(&request.options);
		return code;
	}
	if (!r)
		r = check_mountpoint(&request, &fail);
	if (!r)
		r = member_paths_from_arguments(argv + optind, argc - optind - 1, &request.members, &fail);
	if (!r)
		r = alert_new(request.options.alert, &request.alert, &fail);
	if (!r) {
		daemon_start(request.foreground);
		daemon_block_signals();
		r = run(&request, &fail);
	}
	if (r < 0)
		daemon_log(LOG_ERR, fail.code == FAIL_NONE ? strerror(-r) : fail.text);
	alert_free(request.alert);
	member_paths_free(&request.members);
	mount_options_free(&request.options);
	free(request.source);
	free(request.label_source);
	if (!r)
		return 0;
	return fail.code == FAIL_NONE ? FAIL_SYSTEM : (int)fail.code;
}
