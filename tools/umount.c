/* umount.fuse.raid5cryptfs: unmounts a plain FUSE mount, and waits until its daemon has released the members.
 *
 * umount(8) calls it for an ordinary user.  The kernel does not let a plain mount's umount(2) wait, so this program asks the
 * daemon for its members before, and waits for their locks after. */
#include "base/cleanup.h"
#include "tools/cli.h"
#include "tools/release.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

struct request {
	const char *mountpoint;
	bool lazy, force;
};

static void usage(FILE *out)
{
	fputs(
"Usage: umount.fuse.raid5cryptfs [-l] [-f] MOUNTPOINT\n"
"Unmounts, and waits until the last commit is durable and the members are free.  umount(8) calls it\n"
"for an ordinary user.\n"
"\n"
"  -l, --lazy     detach now, clean up when nothing is open any more; does not wait\n"
"  -f, --force    for root only: cut off what the mount is doing\n"
"  -h, --help     this text\n"
"  -V, --version  the version\n"
"The options -n, -r, -v, -t TYPE and -N NAMESPACE of umount(8)'s helpers do nothing.\n", out);
}

static int run_fusermount(const struct request *request, struct fail *fail)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		execlp("fusermount3", "fusermount3", request->lazy ? "-uz" : "-u", "--", request->mountpoint, (char *)NULL);
		cli_message("fusermount3: %s; it belongs to FUSE and must be installed", strerror(errno));
		_exit(127);
	}
	if (pid < 0)
		return fail_set(fail, errno, FAIL_SYSTEM, "%s: %s", request->mountpoint, strerror(errno));
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return fail_set(fail, errno, FAIL_SYSTEM, "fusermount3: %s", strerror(errno));
	if (!WIFEXITED(status) || WEXITSTATUS(status))
		return fail_set(fail, EBUSY, FAIL_SYSTEM, "%s: not unmounted", request->mountpoint);
	return 0;
}

static int unmount(const struct request *request, struct fail *fail)
{
	int flags = UMOUNT_NOFOLLOW | (request->lazy ? MNT_DETACH : 0) | (request->force ? MNT_FORCE : 0);

	if (geteuid() != 0)
		return run_fusermount(request, fail);
	if (umount2(request->mountpoint, flags) < 0)
		return fail_set(fail, errno, FAIL_SYSTEM, "%s: not unmounted: %s", request->mountpoint, strerror(errno));
	return 0;
}

static int unmount_and_wait(const struct request *request, struct fail *fail)
{
	autofree struct control_status *status = calloc(1, sizeof *status);
	struct member_paths paths = { 0 };
	struct fail unknown = { 0 };

	if (!status)
		return fail_set(fail, ENOMEM, FAIL_SYSTEM, "out of memory");
	/* A mount that cannot tell its members (its daemon was killed, say) can be unmounted all the same. */
	int known = release_ask_daemon(request->mountpoint, status, &unknown);
	if (!known)
		known = release_paths(status, &paths, &unknown);
	int r = unmount(request, fail);
	if (!r && !request->lazy && known < 0)
		cli_message("warning: unmounted, but which members it had is not known, so there was no waiting: %s", unknown.text);
	else if (!r && !request->lazy)
		r = release_wait(&paths, UINT_MAX, fail);
	if (r == -ENOENT && fail->code == FAIL_NOT_FOUND) {
		cli_message("warning: unmounted, but none of its members is where it was, so there was no waiting");
		r = 0;
	}
	member_paths_free(&paths);
	return r;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "lazy", no_argument, NULL, 'l' }, { "force", no_argument, NULL, 'f' },
		{ "help", no_argument, NULL, 'h' }, { "version", no_argument, NULL, 'V' }, { 0 },
	};
	struct request request = { 0 };
	struct fail fail = { 0 };
	int c;

	cli_start("umount.fuse.raid5cryptfs");
	while ((c = getopt_long(argc, argv, "lfnrvt:N:hV", options, NULL)) != -1) {
		switch (c) {
		case 'l':
			request.lazy = true;
			break;
		case 'f':
			request.force = true;
			break;
		case 'n': case 'r': case 'v': case 't': case 'N':
			break;
		case 'h':
			usage(stdout);
			return 0;
		case 'V':
			cli_print_version();
			return 0;
		default:
			return cli_error(FAIL_USAGE, "the command line is wrong; see umount.fuse.raid5cryptfs --help");
		}
	}
	if (argc - optind != 1)
		return cli_error(FAIL_USAGE, "give one mount point; see umount.fuse.raid5cryptfs --help");
	request.mountpoint = argv[optind];
	return unmount_and_wait(&request, &fail) < 0 ? cli_fail(&fail) : 0;
}
