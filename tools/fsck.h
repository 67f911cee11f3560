/* Inside of fsck.raid5cryptfs: what its files share. */
#ifndef TOOLS_FSCK_H
#define TOOLS_FSCK_H

#include "fs/fsck/check.h"
#include "tools/cli.h"
#include "tools/members.h"
#include "tools/progress.h"

#include <signal.h>

/* Exit codes of fsck(8); they are OR-ed. */
enum fsck_exit {
	FSCK_CORRECTED = 1,
	FSCK_LEFT = 4,
	FSCK_ERROR = 8,
	FSCK_USAGE = 16,
	FSCK_CANCELLED = 32,
};

enum fsck_mode {
	FSCK_ASK,                        /* check, then ask */
	FSCK_NO,                         /* -n */
	FSCK_SAFE,                       /* -p: repair only if nothing is lost by it */
	FSCK_YES,                        /* -y */
};

struct fsck {
	enum fsck_mode mode;
	bool data, verbose, list_roots;
	uint64_t root_generation;        /* of --root; 0: not given */
	const char *key_file;
	struct member_paths members;
	char name[LABEL_NAME_BYTES + 8]; /* of the array, for messages */
	bool encrypted;
	struct cli_secret secret;
	struct progress progress;
	uint64_t lines, lost, repaired;  /* notes of one look; of the kinds CHECK_LOST and CHECK_FIXED */
	uint64_t damaged;                /* units that did not verify and were read from parity, as events told */
};

/* What one look at everything has counted. */
struct fsck_result {
	uint64_t found, fixed, left, lost;
	struct fs_check_result fs;
};

/* Set by SIGINT and SIGTERM. */
extern volatile sig_atomic_t fsck_stopped;

/* fsck.c: one note as a line on standard output. */
void fsck_note(void *ctx, enum check_note kind, const char *text);
/* Opens and locks the members, and gets the key: what fs_open needs. */
int fsck_unlock(struct fsck *fsck, bool write, struct probe **ret_probe, struct fail *fail);
const struct secret *fsck_secret(const struct fsck *fsck);
void fsck_event(void *ctx, const struct event *event);
/* Opens members and filesystem, read-write if `repair`; `generation`: of the root to open with, 0: the newest. */
int fsck_open(struct fsck *fsck, bool repair, uint64_t generation, struct fs **ret_fs, struct fail *fail);
/* Checks an open filesystem; -ECANCELED after a signal. */
int fsck_check_fs(struct fsck *fsck, struct fs *fs, bool repair, struct fsck_result *result, struct fail *fail);
/* Asks on the terminal; false without one, and when stopped. */
bool fsck_ask(struct fsck *fsck, const char *question);

/* fsck_roots.c: --list-roots and --root; an exit code. */
int fsck_list_roots(struct fsck *fsck, struct fail *fail);
int fsck_go_back(struct fsck *fsck, struct fail *fail);

/* fsck.c: prints the failure and gives the exit code of fsck(8) for it. */
int fsck_fail(struct fsck *fsck, int r, const struct fail *fail);

#endif
