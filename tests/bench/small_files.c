/* Many small files: one phase of their life, and how long it took.
 *
 *	small_files PHASE FOLDER FILES FOLDERS
 *
 * FILES of 4 KiB are spread evenly over FOLDERS in FOLDER.  The phases, each over all files:
 *	create           make, write and close; to the end of a syncfs (ns), and what of that came before it (before_sync_ns)
 *	stat             in an order that has nothing to do with that of making
 *	list             names alone
 *	stat_listed      a listing first, which does not count, then as stat
 *	list_attributes  names, and the attributes of each folder's files after its names, as `ls -l` does
 *	read             open, read and close, in the order of making
 *	rename           to another name in the same folder
 *	unlink           of what rename left
 * A file that is missing, or has other content, is an error, not a figure.  Prints nanoseconds. */
#include "base/cleanup.h"
#include "tests/bench/measure.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define FILE_BYTES 4096
#define NAME_BYTES 320
#define FILES_MAX 10000000u

struct job {
	const char *root;
	int root_fd;
	unsigned files, folders;
	int64_t before_sync_ns;          /* out, of create */
};

typedef char path_name[NAME_BYTES];

static void folder_name(unsigned folder, path_name ret_name)
{
	snprintf(ret_name, NAME_BYTES, "folder%04u", folder);
}

static void file_name(const struct job *job, unsigned number, const char *prefix, path_name ret_name)
{
	unsigned per_folder = job->files / job->folders;
	snprintf(ret_name, NAME_BYTES, "folder%04u/%s-%07u", number / per_folder, prefix, number);
}

static int create_one(const struct job *job, unsigned number, uint8_t *buf)
{
	path_name name;
	uint64_t stamp = number + UINT64_C(1);

	file_name(job, number, "file", name);
	memcpy(buf, &stamp, sizeof stamp);
	autoclose int fd = openat(job->root_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	if (fd < 0)
		return -errno;
	ssize_t n = write(fd, buf, FILE_BYTES);
	return n < 0 ? -errno : n == FILE_BYTES ? 0 : -EIO;
}

static int phase_create(struct job *job)
{
	uint8_t buf[FILE_BYTES];
	int64_t start_ns = measure_now_ns();
	int r = measure_random(buf, sizeof buf);

	for (unsigned i = 0; !r && i < job->folders; i++) {
		path_name name;
		folder_name(i, name);
		r = mkdirat(job->root_fd, name, 0755) < 0 ? -errno : 0;
	}
	for (unsigned i = 0; !r && i < job->files; i++)
		r = create_one(job, i, buf);
	job->before_sync_ns = measure_now_ns() - start_ns;
	if (!r && syncfs(job->root_fd) < 0)
		r = -errno;
	return r;
}

/* The number in place `i` of an order that visits all: steps by a prime. */
static unsigned scattered(const struct job *job, unsigned i)
{
	return (unsigned)((uint64_t)i * 7919 % job->files);
}

static int phase_stat(struct job *job)
{
	for (unsigned i = 0; i < job->files; i++) {
		struct stat st;
		path_name name;
		file_name(job, scattered(job, i), "file", name);
		if (fstatat(job->root_fd, name, &st, 0) < 0)
			return -errno;
		if (st.st_size != FILE_BYTES)
			return -EBADMSG;
	}
	return 0;
}

static int stat_all(int folder_fd, const path_name *names, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		struct stat st;
		if (fstatat(folder_fd, names[i], &st, AT_SYMLINK_NOFOLLOW) < 0)
			return -errno;
		if (st.st_size != FILE_BYTES)
			return -EBADMSG;
	}
	return 0;
}

static int list_folder(struct job *job, unsigned folder, path_name *names, bool attributes)
{
	unsigned count = 0, expected = job->files / job->folders;
	struct dirent *entry;
	path_name name;
	int r = 0;

	folder_name(folder, name);
	int fd = openat(job->root_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir)
		return -errno;
	for (errno = 0; (entry = readdir(dir)) && count < expected; errno = 0)
		if (entry->d_name[0] != '.')
			snprintf(names[count++], NAME_BYTES, "%s", entry->d_name);
	r = count == expected ? 0 : errno ? -errno : -EBADMSG;
	if (!r && attributes)
		r = stat_all(fd, names, count);
	closedir(dir);
	return r;
}

static int list_all(struct job *job, bool attributes)
{
	autofree path_name *names = calloc(job->files / job->folders, sizeof *names);
	int r = names ? 0 : -ENOMEM;

	for (unsigned i = 0; !r && i < job->folders; i++)
		r = list_folder(job, i, names, attributes);
	return r;
}

static int phase_list(struct job *job)
{
	return list_all(job, false);
}

static int phase_list_attributes(struct job *job)
{
	return list_all(job, true);
}

static int phase_read(struct job *job)
{
	uint8_t buf[FILE_BYTES + 1];

	for (unsigned i = 0; i < job->files; i++) {
		uint64_t stamp;
		path_name name;
		file_name(job, i, "file", name);
		autoclose int fd = openat(job->root_fd, name, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			return -errno;
		ssize_t n = read(fd, buf, sizeof buf);
		if (n < 0)
			return -errno;
		memcpy(&stamp, buf, sizeof stamp);
		if (n != FILE_BYTES || stamp != i + UINT64_C(1))
			return -EBADMSG;
	}
	return 0;
}

static int phase_rename(struct job *job)
{
	for (unsigned i = 0; i < job->files; i++) {
		path_name from, to;
		file_name(job, i, "file", from);
		file_name(job, i, "renamed", to);
		if (renameat(job->root_fd, from, job->root_fd, to) < 0)
			return -errno;
	}
	return 0;
}

static int phase_unlink(struct job *job)
{
	for (unsigned i = 0; i < job->files; i++) {
		path_name name;
		file_name(job, i, "renamed", name);
		if (unlinkat(job->root_fd, name, 0) < 0)
			return -errno;
	}
	return 0;
}

static const struct phase {
	const char *name;
	int (*run)(struct job *job);
	int (*before)(struct job *job);  /* outside the time; or NULL */
} phases[] = {
	{ "create", phase_create, NULL }, { "stat", phase_stat, NULL }, { "list", phase_list, NULL },
	{ "stat_listed", phase_stat, phase_list }, { "list_attributes", phase_list_attributes, NULL },
	{ "read", phase_read, NULL }, { "rename", phase_rename, NULL }, { "unlink", phase_unlink, NULL },
};

static const struct phase *phase_named(const char *name)
{
	for (unsigned i = 0; i < ARRAY_COUNT(phases); i++)
		if (strcmp(phases[i].name, name) == 0)
			return &phases[i];
	return NULL;
}

int main(int argc, char **argv)
{
	const struct phase *phase = argc == 5 ? phase_named(argv[1]) : NULL;
	if (!phase) {
		fprintf(stderr, "usage: small_files create|stat|list|stat_listed|list_attributes|read|rename|unlink FOLDER FILES FOLDERS\n");
		return 2;
	}
	unsigned long files = strtoul(argv[3], NULL, 10), folders = strtoul(argv[4], NULL, 10);
	if (files < 1 || files > FILES_MAX || folders < 1 || folders > 9999 || files % folders || files % 7919 == 0) {
		fprintf(stderr, "small_files: 1 to %u files, evenly over 1 to 9999 folders, and not a multiple of 7919\n", FILES_MAX);
		return 2;
	}
	autoclose int fd = open(argv[2], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct job job = { .root = argv[2], .root_fd = fd, .files = (unsigned)files, .folders = (unsigned)folders };
	int r = fd < 0 ? -errno : phase->before ? phase->before(&job) : 0;
	int64_t start_ns = measure_now_ns();
	if (!r)
		r = phase->run(&job);
	int64_t spent_ns = measure_now_ns() - start_ns;
	if (r < 0) {
		fprintf(stderr, "small_files: %s in %s: %s\n", phase->name, job.root, strerror(-r));
		return 1;
	}
	printf("{\"ns\": %" PRId64 ", \"before_sync_ns\": %" PRId64 "}\n", spent_ns, job.before_sync_ns);
	return 0;
}
