/* fsck.raid5cryptfs: checks an array that is not mounted, and repairs what can be repaired.
 *
 * One look goes: members opened and locked, unlocked with the key, what members have beside rows (raid/array.h,
 * array_check_members), then the filesystem (fs/fsck/check.h).  -y looks once and repairs as it goes; without -n, -p and -y the
 * first look only reads, and a second one repairs if the user says yes; -p does the same without asking, but only if the first look found
 * nothing that a repair would give up.  What is found goes to standard output, a line each; why it could not work to standard error.
 *
 * Signals are noticed between two steps of the check, and between two transactions of a repair. */
#include "tools/fsck.h"

#include "base/cleanup.h"
#include "fs/control.h"
#include "tools/unused.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

/* More lines than this are only counted, unless -v. */
#define LINES_MAX 1000u

volatile sig_atomic_t fsck_stopped;

static void usage(FILE *out)
{
	fputs(
"Usage: fsck.raid5cryptfs [-n|-p|-y] [OPTION...] MEMBER...\n"
"Checks an array that is not mounted, and repairs what can be.  Without -n, -p or -y it asks before it changes anything.\n"
"\n"
"  -n                   change nothing\n"
"  -p, -a               repair without asking, but only if nothing is lost by it\n"
"  -y                   repair without asking\n"
"  -f                   accepted; every check is a full one\n"
"  -v                   say more, and list all findings\n"
"  -C [FD]              progress lines for fsck(8) to this descriptor; without one or with 0, a bar\n"
"      --data           read all data too\n"
"  -k, --key-file PATH  unlock with this file (- is standard input) instead of a passphrase\n"
"      --list-roots     list the states that the members still have\n"
"      --root GEN       go back to one of them, if all of it is still whole\n"
"  -h, --help           this text\n"
"  -V, --version        the version\n"
"Exit code, as fsck(8): 0 no errors, 1 errors corrected, 4 errors left, 8 could not work, 16 usage, 32 stopped; added up.\n", out);
}

/* ---- The command line ---- */

static int set_mode(struct fsck *fsck, enum fsck_mode mode, struct fail *fail)
{
	if (fsck->mode != FSCK_ASK && fsck->mode != mode)
		return fail_set(fail, EINVAL, FAIL_USAGE, "only one of -n, -p and -y can be given");
	fsck->mode = mode;
	return 0;
}

static int parse_number(const char *text, const char *option, uint64_t max, uint64_t *ret_number, struct fail *fail)
{
	char *end;

	errno = 0;
	unsigned long long number = strtoull(text, &end, 10);
	if (!isdigit((unsigned char)*text) || *end || errno || number > max)
		return fail_set(fail, EINVAL, FAIL_USAGE, "%s %s: is no number that it takes", option, text);
	*ret_number = number;
	return 0;
}

/* -C takes a descriptor that may be missing; fsck(8) attaches it, people may not. */
static int set_progress(struct fsck *fsck, int argc, char **argv, struct fail *fail)
{
	const char *text = optarg;
	uint64_t fd = 0;

	if (!text && optind < argc && isdigit((unsigned char)*argv[optind]) && access(argv[optind], F_OK) < 0)
		text = argv[optind++];
	int r = text ? parse_number(text, "-C", INT_MAX, &fd, fail) : 0;
	if (r < 0)
		return r;
	/* A member that is opened later could get that number, and the lines. */
	if (fcntl((int)fd, F_GETFD) < 0)
		return fail_set(fail, EBADF, FAIL_USAGE, "-C %s: no such descriptor is open; leave the number out for a bar", text);
	fsck->progress.fd = fd ? (int)fd : -1;
	fsck->progress.bar = !fd;
	return 0;
}

enum { OPTION_DATA = 256, OPTION_LIST_ROOTS, OPTION_ROOT };

static int set_option(struct fsck *fsck, int option, int argc, char **argv, struct fail *fail)
{
	switch (option) {
	case 'n':
		return set_mode(fsck, FSCK_NO, fail);
	case 'p':
	case 'a':
		return set_mode(fsck, FSCK_SAFE, fail);
	case 'y':
		return set_mode(fsck, FSCK_YES, fail);
	case 'f':
		return 0;
	case 'v':
		fsck->verbose = true;
		return 0;
	case 'C':
		return set_progress(fsck, argc, argv, fail);
	case 'k':
		fsck->key_file = optarg;
		return 0;
	case OPTION_DATA:
		fsck->data = true;
		return 0;
	case OPTION_LIST_ROOTS:
		fsck->list_roots = true;
		return 0;
	case OPTION_ROOT: {
		int r = parse_number(optarg, "--root", UINT64_MAX, &fsck->root_generation, fail);
		if (!r && !fsck->root_generation)
			r = fail_set(fail, EINVAL, FAIL_USAGE, "--root 0: is no generation; see --list-roots");
		return r;
	}
	default:
		return fail_set(fail, EINVAL, FAIL_USAGE, "the command line is wrong; see fsck.raid5cryptfs --help");
	}
}

static int parse_command_line(int argc, char **argv, struct fsck *fsck, struct fail *fail)
{
	static const struct option options[] = {
		{ "data", no_argument, NULL, OPTION_DATA }, { "list-roots", no_argument, NULL, OPTION_LIST_ROOTS },
		{ "root", required_argument, NULL, OPTION_ROOT }, { "key-file", required_argument, NULL, 'k' },
		{ "help", no_argument, NULL, 'h' }, { "version", no_argument, NULL, 'V' }, { 0 },
	};
	int c, r = 0;

	while (!r && (c = getopt_long(argc, argv, "npayfvC::k:hV", options, NULL)) != -1) {
		if (c == 'h') {
			usage(stdout);
			exit(0);
		}
		if (c == 'V') {
			cli_print_version();
			exit(0);
		}
		r = set_option(fsck, c, argc, argv, fail);
	}
	if (!r && optind == argc)
		r = fail_set(fail, EINVAL, FAIL_USAGE, "members: none given; see fsck.raid5cryptfs --help");
	if (!r && fsck->list_roots && (fsck->root_generation || fsck->mode == FSCK_SAFE || fsck->mode == FSCK_YES))
		r = fail_set(fail, EINVAL, FAIL_USAGE, "--list-roots: only lists; leave --root, -p and -y out");
	if (!r && fsck->root_generation && fsck->mode == FSCK_SAFE)
		r = fail_set(fail, EINVAL, FAIL_USAGE, "--root: is never done by -p; use -y, or answer its question");
	return r ? r : member_paths_from_arguments(argv + optind, argc - optind, &fsck->members, fail);
}

/* ---- What is said ---- */

void fsck_note(void *ctx, enum check_note kind, const char *text)
{
	static const char *const words[] = {
		[CHECK_FOUND] = "found", [CHECK_FIXED] = "repaired", [CHECK_LOST] = "lost", [CHECK_INFO] = "note",
	};
	struct fsck *fsck = ctx;
	autofree char *clean = strdup(text);

	fsck->lost += kind == CHECK_LOST;
	fsck->repaired += kind == CHECK_FIXED;
	if (++fsck->lines > LINES_MAX && !fsck->verbose)
		return;
	if (clean)
		cli_clean(clean);
	progress_clear(&fsck->progress);
	printf("%s: %s\n", words[kind], clean ? clean : "(no memory to print it)");
	fflush(stdout);
}

static void note_of_members(void *ctx, enum array_note kind, const char *text)
{
	static const enum check_note kinds[] = {
		[ARRAY_NOTE_INFO] = CHECK_INFO, [ARRAY_NOTE_FOUND] = CHECK_FOUND, [ARRAY_NOTE_FIXED] = CHECK_FIXED,
		[ARRAY_NOTE_LEFT] = CHECK_INFO,
	};
	fsck_note(ctx, kinds[kind], text);
}

/* What the check finds it says itself; units that parity helped with, and members that come and go, are told by events alone. */
void fsck_event(void *ctx, const struct event *event)
{
	struct fsck *fsck = ctx;

	switch (event->kind) {
	case EVENT_HEALED:
	case EVENT_LABEL_RESTORED:
		fsck_note(fsck, CHECK_FIXED, event->text);
		break;
	case EVENT_DAMAGED:
		fsck->damaged++;
		fsck_note(fsck, CHECK_FOUND, event->text);
		break;
	case EVENT_UNREADABLE:
		if (fsck->verbose)
			fsck_note(fsck, CHECK_INFO, event->text);
		break;
	default:
		fsck_note(fsck, CHECK_INFO, event->text);
	}
}

int fsck_fail(struct fsck *fsck, int r, const struct fail *fail)
{
	progress_clear(&fsck->progress);
	if (r == -ECANCELED)
		return FSCK_CANCELLED;
	cli_fail(fail);
	if (r == -EINTR)
		return FSCK_CANCELLED;
	switch (fail->code) {
	case FAIL_USAGE:
	case FAIL_TWICE:
	case FAIL_MIXED:
		return FSCK_USAGE;
	case FAIL_DAMAGED:
		return FSCK_LEFT;
	default:
		return FSCK_ERROR;
	}
}

/* A line, or nothing when a signal comes: also one that came just before, so signals are let in only while it waits. */
static ssize_t read_answer(char *answer, size_t bytes)
{
	struct pollfd terminal = { .fd = STDIN_FILENO, .events = POLLIN };
	sigset_t ours, before;
	int ready = -1;

	sigemptyset(&ours);
	sigaddset(&ours, SIGINT);
	sigaddset(&ours, SIGTERM);
	sigprocmask(SIG_BLOCK, &ours, &before);
	if (!fsck_stopped)
		ready = ppoll(&terminal, 1, NULL, &before);
	sigprocmask(SIG_SETMASK, &before, NULL);
	return ready > 0 ? read(STDIN_FILENO, answer, bytes) : -1;
}

bool fsck_ask(struct fsck *fsck, const char *question)
{
	char answer[16] = "";

	progress_clear(&fsck->progress);
	if (!isatty(STDIN_FILENO) || fsck_stopped)
		return false;
	printf("%s", question);
	fflush(stdout);
	ssize_t n = read_answer(answer, sizeof answer - 1);
	if (n <= 0)
		printf("\n");
	answer[strcspn(answer, "\n")] = '\0';
	return !strcasecmp(answer, "y") || !strcasecmp(answer, "yes");
}

/* ---- One look ---- */

/* False after a signal. */
static bool show_progress(void *ctx, const char *phase, uint64_t done, uint64_t total)
{
	struct fsck *fsck = ctx;

	progress_show(&fsck->progress, phase, done, total);
	return !fsck_stopped;
}

static int get_secret(struct fsck *fsck, struct fail *fail)
{
	if (fsck->secret.memory || (!fsck->encrypted && !fsck->key_file))
		return 0;
	if (fsck_stopped)
		return -ECANCELED;
	return cli_get_secret(fsck->key_file, fsck->name, &fsck->secret, fail);
}

const struct secret *fsck_secret(const struct fsck *fsck)
{
	return fsck->secret.memory ? &fsck->secret.secret : NULL;
}

int fsck_unlock(struct fsck *fsck, bool write, struct probe **ret_probe, struct fail *fail)
{
	struct probe *probe;

	int r = probe_unused(&fsck->members, false, &probe, fail);
	if (r < 0)
		return r;
	fsck->encrypted = probe_name(probe, fsck->name, sizeof fsck->name);
	r = get_secret(fsck, fail);
	if (r < 0 || write)
		probe_free(probe);       /* also the shared locks, which are in the way of our own */
	if (!r && write)
		r = probe_for_writing(&fsck->members, &probe, fail);
	if (!r)
		*ret_probe = probe;
	return r;
}

int fsck_open(struct fsck *fsck, bool repair, uint64_t generation, struct fs **ret_fs, struct fail *fail)
{
	struct fs_options options = {
		.read_only = !repair, .no_replay = !repair, .salvage = !repair && !generation, .repair = repair && !generation,
		.root_generation = generation, .threads = FS_INLINE, .engine = SEAL_ENGINE_AUTO, .events = { .ctx = fsck, .report = fsck_event },
	};
	struct probe *probe = NULL;

	int r = fsck_unlock(fsck, repair, &probe, fail);
	return r < 0 ? r : fs_open(probe, fsck_secret(fsck), !fsck->encrypted, &options, ret_fs, fail);
}

/* Damaged slots of the label that all copies were compared with: another copy cannot help. */
static void check_slots(struct fsck *fsck, const struct label *label, struct fsck_result *result)
{
	struct slot_info info;
	char text[sizeof fsck->name + 128];

	for (int slot = 0; slot < SLOT_COUNT; slot++) {
		slot_describe(label->slots, slot, &info);
		if (info.state != SLOT_DAMAGED)
			continue;
		snprintf(text, sizeof text, "%s: key slot %d is damaged in every copy of the label; other slots still open the array.", fsck->name,
			slot + 1);
		fsck_note(fsck, CHECK_FOUND, text);
		result->found++;
		result->left++;
	}
}

static int check_members(struct fsck *fsck, struct fs *fs, bool repair, struct fsck_result *result, struct fail *fail)
{
	struct array *array = fs_array(fs);
	struct array_check options = { .repair = repair, .note = note_of_members, .ctx = fsck };
	struct array_check_result members;

	if (!show_progress(fsck, "members", 0, 1))
		return -ECANCELED;
	int r = array_check_members(array, &options, &members);
	if (r < 0)
		return fail_set(fail, -r, FAIL_SYSTEM, "%s: the members could not be checked: %s", fsck->name, strerror(-r));
	result->found += members.found;
	result->fixed += members.fixed;
	result->left += members.left;
	if (fsck->encrypted)
		check_slots(fsck, array_label(array), result);
	return show_progress(fsck, "members", 1, 1) ? 0 : -ECANCELED;
}

/* What is lost may be on a member that is not there, unless it is just a spare. */
static void tell_absent(struct fsck *fsck, struct fs *fs, bool repair)
{
	autofree struct control_status *status = calloc(1, sizeof *status);
	char uuid[UUID_TEXT_BYTES], text[512];

	if (status)
		control_status_of_fs(fs, status);
	for (unsigned i = 0; status && i < status->member_count; i++) {
		const struct control_member *m = &status->members[i];
		if (m->role == MEMBER_UNUSED || !m->needed || *m->path)
			continue;
		uuid_format(&m->uuid, uuid);
		snprintf(text, sizeof text, "%s: member %u (UUID %s) is absent, and may have what is lost. Connect it, and run "
			"fsck.raid5cryptfs again%s", fsck->name, i + 1, uuid, repair ? "; what this repair took out is then only in an older state (see --list-roots)."
			: " with all members, before anything is repaired without it.");
		fsck_note(fsck, CHECK_INFO, text);
	}
}

int fsck_check_fs(struct fsck *fsck, struct fs *fs, bool repair, struct fsck_result *result, struct fail *fail)
{
	struct fs_check_options options = { .data = fsck->data, .repair = repair, .note = fsck_note, .progress = show_progress, .ctx = fsck };
	uint64_t lost = fsck->lost;

	int r = fs_check_run(fs, &options, &result->fs);
	progress_clear(&fsck->progress);
	result->lost += fsck->lost - lost;
	if (fsck->lost > lost)
		tell_absent(fsck, fs, repair);
	result->found += result->fs.found;
	result->fixed += result->fs.fixed;
	result->left += result->fs.left;
	if (r < 0 && r != -ECANCELED)
		fail_set(fail, -r, FAIL_SYSTEM, "%s: the check could not go on: %s", fsck->name, strerror(-r));
	return r;
}

/* Members that were given and turned out to be none: nothing here can bring them back. */
static void check_given(struct fsck *fsck, struct fs *fs, struct fsck_result *result)
{
	struct array *array = fs_array(fs);

	for (unsigned i = 0; i < fsck->members.count; i++) {
		bool used = false;
		for (unsigned k = 0; k < array_member_count(array); k++) {
			struct member_status status;
			array_member_status(array, k, &status);
			used = used || !strcmp(status.name, fsck->members.paths[i]);
		}
		if (used || access(fsck->members.paths[i], F_OK) < 0 || array_left_out(array, fsck->members.paths[i]))
			continue;
		char text[PATH_MAX + 64];
		snprintf(text, sizeof text, "%s: cannot be used as a member.", fsck->members.paths[i]);
		fsck_note(fsck, CHECK_FOUND, text);
		result->found++;
		result->left++;
	}
}

static int look(struct fsck *fsck, bool repair, struct fsck_result *ret_result, struct fail *fail)
{
	struct fs *fs;

	fsck->progress.phase = NULL;
	fsck->progress.pass = 0;
	fsck->lines = fsck->lost = fsck->repaired = fsck->damaged = 0;
	int r = fsck_open(fsck, repair, 0, &fs, fail);
	if (r < 0)
		return r;
	/* What was healed while it was opened. */
	ret_result->found += fsck->repaired;
	ret_result->fixed += fsck->repaired;
	check_given(fsck, fs, ret_result);
	r = check_members(fsck, fs, repair, ret_result, fail);
	if (!r)
		r = fsck_check_fs(fsck, fs, repair, ret_result, fail);
	int e = fs_close(fs, r < 0 && r != -ECANCELED);
	ret_result->found += fsck->damaged;
	ret_result->left += fsck->damaged;
	if (!r && e < 0)
		r = fail_set(fail, -e, FAIL_SYSTEM, "%s: the last repair could not be made durable: %s", fsck->name, strerror(-e));
	return r;
}

/* ---- The whole ---- */

static int exit_code(const struct fsck *fsck, const struct fsck_result *result, bool complete)
{
	/* A look that was stopped has no counts, but it said what it did. */
	bool fixed = complete ? result->fixed > 0 : fsck->repaired > 0;

	return (fixed ? FSCK_CORRECTED : 0) | (result->left ? FSCK_LEFT : 0);
}

static void print_summary(const struct fsck *fsck, const struct fsck_result *result, bool complete)
{
	char size[CLI_SIZE_TEXT_BYTES];

	if (fsck->lines > LINES_MAX && !fsck->verbose)
		printf("and %llu more (-v lists all)\n", (unsigned long long)(fsck->lines - LINES_MAX));
	if (!complete) {
		printf("%s: stopped before the end; what was not looked at may be wrong too.\n", fsck->name);
		return;
	}
	printf("%s: %s%llu directories, %llu files, %s in use", fsck->name, result->found || fsck->repaired ? "" : "clean, ",
		(unsigned long long)result->fs.directories, (unsigned long long)result->fs.files,
		cli_size(result->fs.blocks * BLOCK_BYTES, size));
	if (result->found || fsck->repaired)
		printf("; %llu found, %llu repaired, %llu left", (unsigned long long)result->found, (unsigned long long)result->fixed,
			(unsigned long long)result->left);
	printf(".\n");
}

static bool wants_repair(struct fsck *fsck, const struct fsck_result *result)
{
	if (!result->found)
		return false;
	switch (fsck->mode) {
	case FSCK_SAFE:
		if (!result->lost)
			return true;
		printf("Not repaired: something is lost by it.  Run fsck.raid5cryptfs without -p, and read what it finds.\n");
		return false;
	case FSCK_ASK:
		if (isatty(STDIN_FILENO))
			return fsck_ask(fsck, "Repair? (y/n) ");
		printf("Nothing was changed, since there is no terminal to ask on.  Use -y or -p.\n");
		return false;
	default:
		return false;
	}
}

static int check(struct fsck *fsck, struct fail *fail)
{
	struct fsck_result result = { 0 };

	int r = look(fsck, fsck->mode == FSCK_YES, &result, fail);
	if (r == -ECANCELED || r == 0)
		print_summary(fsck, &result, r == 0);
	if (!r && wants_repair(fsck, &result)) {
		result = (struct fsck_result){ 0 };
		r = look(fsck, true, &result, fail);
		if (r == -ECANCELED || r == 0)
			print_summary(fsck, &result, r == 0);
	}
	int code = exit_code(fsck, &result, r == 0);
	if (r < 0)
		code |= fsck_fail(fsck, r, fail);
	return code | (fsck_stopped ? FSCK_CANCELLED : 0);
}

static void stop(int signal_number)
{
	(void)signal_number;
	fsck_stopped = 1;
}

int main(int argc, char **argv)
{
	struct fsck fsck = { .progress = { .fd = -1, .bar = isatty(STDERR_FILENO) } };
	struct fail fail = { 0 };
	int code;

	cli_start("fsck.raid5cryptfs");
	sigaction(SIGINT, &(struct sigaction){ .sa_handler = stop }, NULL);
	sigaction(SIGTERM, &(struct sigaction){ .sa_handler = stop }, NULL);
	signal(SIGPIPE, SIG_IGN);
	int r = parse_command_line(argc, argv, &fsck, &fail);
	fsck.progress.subject = fsck.members.paths[0];
	if (!r)
		r = cli_protect_memory(&fail);
	if (r < 0) {
		code = fsck_fail(&fsck, r, &fail);
	} else if (fsck.list_roots || fsck.root_generation) {
		r = fsck.list_roots ? fsck_list_roots(&fsck, &fail) : fsck_go_back(&fsck, &fail);
		code = r < 0 ? fsck_fail(&fsck, r, &fail) : r;
	} else {
		code = check(&fsck, &fail);
	}
	cli_forget_secret(&fsck.secret);
	member_paths_free(&fsck.members);
	return cli_finish(0) ? code | FSCK_ERROR : code;
}
