/* Which programs are told of events: see the header.
 *
 * Safety: a daemon of root runs what it finds by these paths, so nobody but root may decide what is found there.  That holds if root
 * owns the file and every folder and symbolic link on the way to it, and others can write none of them.  In a sticky folder others can
 * make files, but not put one in the place of root's. */
#include "tools/alert_programs.h"

#include "base/cleanup.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Can anybody but root change it?  `what` is the program for whose sake it is asked. */
static int check_owner(const char *path, const char *what, struct fail *fail)
{
	struct stat st;

	if (lstat(path, &st) < 0)
		return fail_set(fail, errno, FAIL_SYSTEM, "alert program %s: %s: %s", what, path, strerror(errno));
	if (st.st_uid != 0)
		return fail_set(fail, EPERM, FAIL_SYSTEM, "alert program %s: %s belongs to user %u; root runs it, so it must belong to root: "
			"chown -h root %s", what, path, (unsigned)st.st_uid, path);
	if (!S_ISLNK(st.st_mode) && st.st_mode & (S_IWGRP | S_IWOTH) && !(S_ISDIR(st.st_mode) && st.st_mode & S_ISVTX))
		return fail_set(fail, EPERM, FAIL_SYSTEM, "alert program %s: %s can be written by others than root, who runs it: chmod go-w %s",
			what, path, path);
	return 0;
}

#define LINKS_MAX 40u                /* as the kernel has it */

/* Puts the link's target in the place of its name: before what is left of the way. */
static int follow(const char *link, char way[PATH_MAX], char rest[PATH_MAX])
{
	char target[PATH_MAX], longer[2 * PATH_MAX + 1];
	ssize_t n = readlink(link, target, sizeof target - 1);

	if (n < 0)
		return -errno;
	target[n] = '\0';
	if (snprintf(longer, sizeof longer, "%s/%s", target, rest) >= PATH_MAX)
		return -ENAMETOOLONG;
	strcpy(rest, longer);
	if (*target == '/')
		*way = '\0';
	return 0;
}

/* Each folder and each link that the path leads through, and the file at its end. */
static int check_owners(const char *path, struct fail *fail)
{
	char way[PATH_MAX] = "", next[PATH_MAX + NAME_MAX + 2], rest[PATH_MAX];
	unsigned links = 0;
	int r = snprintf(rest, sizeof rest, "%s", path) < PATH_MAX ? check_owner("/", path, fail) : -ENAMETOOLONG;

	while (!r && *rest) {
		size_t length = strcspn(rest, "/");
		struct stat st;

		snprintf(next, sizeof next, "%s/%.*s", way, length > NAME_MAX ? NAME_MAX : (int)length, rest);
		bool up = length == 2 && !strncmp(rest, "..", 2), stay = !length || (length == 1 && *rest == '.');
		memmove(rest, rest + length + (rest[length] == '/'), strlen(rest + length + (rest[length] == '/')) + 1);
		if (up && *way)
			*strrchr(way, '/') = '\0';
		if (up || stay)
			continue;
		r = lstat(next, &st) < 0 ? -errno : check_owner(next, path, fail);
		if (!r && S_ISLNK(st.st_mode))
			r = links++ < LINKS_MAX ? follow(next, way, rest) : -ELOOP;
		else if (!r && snprintf(way, sizeof way, "%s", next) >= PATH_MAX)
			r = -ENAMETOOLONG;
	}
	return r < 0 && fail && fail->code == FAIL_NONE ? fail_set(fail, -r, FAIL_SYSTEM, "alert program %s: %s", path, strerror(-r)) : r;
}

int alert_program_check(const char *path, char **ret_resolved, struct fail *fail)
{
	autofree char *resolved = realpath(path, NULL);
	struct stat st;
	int r = 0;

	if (!resolved || stat(resolved, &st) < 0)
		return fail_set(fail, errno, FAIL_SYSTEM, "alert program %s: %s", path, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return fail_set(fail, EINVAL, FAIL_SYSTEM, "alert program %s: is no file that could be run", path);
	if (access(resolved, X_OK) < 0)
		return fail_set(fail, errno, FAIL_SYSTEM, "alert program %s: is not executable: chmod +x %s", path, path);
	if (geteuid() == 0)
		r = check_owners(path, fail);
	if (!r) {
		*ret_resolved = resolved;
		resolved = NULL;
	}
	return r;
}

void alert_programs_free(struct alert_programs *programs)
{
	while (programs->count > 0)
		free(programs->paths[--programs->count]);
}

struct search {
	struct alert_programs *programs;
	void (*refuse)(void *ctx, const char *text);
	void *ctx;
};

static int add(struct search *search, const char *path)
{
	struct alert_programs *programs = search->programs;
	struct fail fail = { 0 };

	if (programs->count == ALERT_PROGRAMS_MAX) {
		char text[PATH_MAX + 64];
		snprintf(text, sizeof text, "alert program %s: is not run, since there are more than %u", path, ALERT_PROGRAMS_MAX);
		search->refuse(search->ctx, text);
		return 0;
	}
	int r = alert_program_check(path, &programs->paths[programs->count], &fail);
	if (!r)
		programs->count++;
	else if (r != -ENOMEM)
		search->refuse(search->ctx, fail.text);
	return r == -ENOMEM ? r : 0;
}

/* Executable regular files are hooks (by any link); hidden ones and an editor's backups are not. */
static bool is_hook(const char *path, const char *name)
{
	struct stat st;
	size_t length = strlen(name);

	return name[0] != '.' && name[length - 1] != '~' && !stat(path, &st) && S_ISREG(st.st_mode) &&
		st.st_mode & (S_IXUSR | S_IXGRP | S_IXOTH);
}

static int add_hooks(struct search *search)
{
	struct dirent **entries;
	int count = scandir(ALERT_DIR, &entries, NULL, alphasort), r = 0;

	if (count < 0)
		return errno == ENOMEM ? -ENOMEM : 0;
	for (int i = 0; i < count; i++) {
		char path[PATH_MAX];
		int length = snprintf(path, sizeof path, "%s/%s", ALERT_DIR, entries[i]->d_name);
		if (!r && length < PATH_MAX && is_hook(path, entries[i]->d_name))
			r = add(search, path);
		free(entries[i]);
	}
	free(entries);
	return r;
}

int alert_programs_find(const char *program, void (*refuse)(void *ctx, const char *text), void *ctx, struct alert_programs *ret_programs)
{
	struct search search = { .programs = ret_programs, .refuse = refuse, .ctx = ctx };
	int r = 0;

	ret_programs->count = 0;
	if (program)
		r = add(&search, program);
	if (!r && geteuid() == 0)
		r = add_hooks(&search);
	if (r < 0)
		alert_programs_free(ret_programs);
	return r;
}
