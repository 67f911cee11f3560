/* Older roots: listing them, and going back to one.
 *
 * Going back is never done by itself: the root is opened read-only and everything that it leads to is read and checked,
 * and only if nothing of it is lost, and the user says yes, do its trees become the newest, as a new generation. */
#include "fs/roots.h"
#include "tools/fsck.h"

#include <errno.h>
#include <string.h>

#define ROOTS_MAX 256u

static void print_root(const struct fs_root *root)
{
	char members[MEMBERS_MAX * 4] = "";
	size_t at = 0;

	for (unsigned i = 0; i < MEMBERS_MAX; i++)
		if (root->members >> i & 1)
			at += (size_t)snprintf(members + at, sizeof members - at, "%s%u", at ? "," : "", i + 1);
	printf("%10llu %6llu %10llu  %-12s  %s%s\n", (unsigned long long)root->generation, (unsigned long long)root->term,
		(unsigned long long)root->tree, members, root->opens ? "opens" : "damaged", root->newest ? ", the newest" : "");
}

/* Nodes that cannot be read are what the list is for. */
static void quiet_event(void *ctx, const struct event *event)
{
	if (event->kind != EVENT_UNREADABLE && event->kind != EVENT_DAMAGED)
		fsck_event(ctx, event);
}

static int list(struct fsck *fsck, struct fs_root roots[ROOTS_MAX], unsigned *ret_count, struct fail *fail)
{
	struct fs_options options = { .read_only = true, .threads = FS_INLINE, .events = { .ctx = fsck, .report = quiet_event } };
	struct probe *probe;

	int r = fsck_unlock(fsck, false, &probe, fail);
	return r < 0 ? r : fs_list_roots(probe, fsck_secret(fsck), !fsck->encrypted, &options, roots, ROOTS_MAX, ret_count, fail);
}

int fsck_list_roots(struct fsck *fsck, struct fail *fail)
{
	struct fs_root roots[ROOTS_MAX];
	unsigned count;

	int r = list(fsck, roots, &count, fail);
	if (r < 0)
		return r;
	printf("%10s %6s %10s  %-12s  %s\n", "generation", "term", "made by", "on members", "its trees");
	for (unsigned i = 0; i < count; i++)
		print_root(&roots[i]);
	printf("To go back to one of them: fsck.raid5cryptfs --root GENERATION, which first checks all of it.\n");
	return 0;
}

/* Is the root there, and older than the newest? */
static int find_root(struct fsck *fsck, uint64_t *ret_newest, struct fail *fail)
{
	struct fs_root roots[ROOTS_MAX];
	unsigned count;
	bool found = false;
	uint64_t newest = 0;

	int r = list(fsck, roots, &count, fail);
	if (r < 0)
		return r;
	for (unsigned i = 0; i < count; i++) {
		if (roots[i].newest)
			newest = roots[i].generation;
		found = found || roots[i].generation == fsck->root_generation;
	}
	if (fsck->root_generation >= newest)
		return fail_set(fail, EINVAL, FAIL_USAGE, "--root %llu: the newest root has generation %llu; give an older one (see --list-roots)",
			(unsigned long long)fsck->root_generation, (unsigned long long)newest);
	if (!found)
		return fail_set(fail, ENOENT, FAIL_USAGE, "--root %llu: no member has that root any more; see --list-roots",
			(unsigned long long)fsck->root_generation);
	*ret_newest = newest;
	return 0;
}

/* Checks that all that the root leads to is there. */
static int check_root(struct fsck *fsck, uint64_t *ret_found, struct fail *fail)
{
	struct fsck_result result = { 0 };
	struct fs *fs;

	int r = fsck_open(fsck, false, fsck->root_generation, &fs, fail);
	if (r == -ENOMEM || r == -ECANCELED)
		return r;
	if (!r) {
		fsck->data = true;
		r = fsck_check_fs(fsck, fs, false, &result, fail);
		fs_close(fs, true);
		if (r < 0)
			return r;
	} else if (fail->code != FAIL_DAMAGED) {
		return r;
	}
	*ret_found = result.found + fsck->damaged;
	if (!r && !result.lost)
		return 0;
	return fail_set(fail, EUCLEAN, FAIL_DAMAGED, "--root %llu: what it leads to is not all there any more; nothing was changed. Try "
		"another one (see --list-roots), or save what can be read with raid5cryptfs -o ro,salvage", (unsigned long long)fsck->root_generation);
}

static bool agreed(struct fsck *fsck, uint64_t newest, uint64_t found)
{
	printf("Generation %llu is whole.  Going back to it loses everything that was written after it, up to generation %llu: files made since "
		"are gone, files changed or removed since are as they were.\n", (unsigned long long)fsck->root_generation,
		(unsigned long long)newest);
	if (found)
		printf("What was found above loses nothing, and can be repaired afterwards by fsck.raid5cryptfs -y.\n");
	if (fsck->mode == FSCK_YES)
		return true;
	return fsck->mode == FSCK_ASK && fsck_ask(fsck, "Go back to it? Type yes: ");
}

int fsck_go_back(struct fsck *fsck, struct fail *fail)
{
	uint64_t newest = 0, found = 0;
	struct fs *fs;

	int r = find_root(fsck, &newest, fail);
	if (!r)
		r = check_root(fsck, &found, fail);
	if (r < 0)
		return r;
	if (!agreed(fsck, newest, found)) {
		printf("Nothing was changed.%s\n", fsck->mode == FSCK_YES || fsck_stopped ? "" : "  With -y it is done without asking.");
		return fsck_stopped ? FSCK_CANCELLED : 0;
	}
	r = fsck_open(fsck, true, fsck->root_generation, &fs, fail);
	if (r < 0)
		return r;
	if (array_root_header(fs_array(fs))->generation != newest)
		r = fail_set(fail, EBUSY, FAIL_BUSY, "%s: was mounted meanwhile; nothing was changed", fsck->name);
	else if ((r = fs_revert(fs)) < 0)
		fail_set(fail, -r, FAIL_SYSTEM, "--root %llu: going back failed: %s", (unsigned long long)fsck->root_generation, strerror(-r));
	else
		printf("%s: back at generation %llu, as generation %llu.\n", fsck->name, (unsigned long long)fsck->root_generation,
			(unsigned long long)fs_generation(fs));
	int e = fs_close(fs, r < 0);
	if (!r && e < 0)
		r = fail_set(fail, -e, FAIL_SYSTEM, "--root %llu: closing failed: %s", (unsigned long long)fsck->root_generation, strerror(-e));
	return r < 0 ? r : FSCK_CORRECTED;
}
