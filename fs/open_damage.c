/* Opening what is damaged: the replay of the intent log, and what is said when it, or loading the trees, cannot be done: what cannot be
 * read, and what the owner can do. */
#include "fs/names/path.h"
#include "fs/log/log.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define ADVICE_BYTES 256u

/* What to do first: members that are not there may have what cannot be read. */
static const char *advice(struct fs *fs, char ret_text[ADVICE_BYTES])
{
	size_t at = 0;
	*ret_text = 0;
	for (unsigned i = 0; i < array_member_count(fs->array); i++) {
		struct member_status status;
		array_member_status(fs->array, i, &status);
		if ((config_needed(fs->config) >> i & 1) && !*status.name && at < ADVICE_BYTES)
			at += (size_t)snprintf(ret_text + at, ADVICE_BYTES - at, "%s%u", at ? ", " : "member ", i + 1);
	}
	if (at > 0 && at < ADVICE_BYTES)
		snprintf(ret_text + at, ADVICE_BYTES - at, " is absent, and may have it: give it too. If it is gone for good");
	else
		snprintf(ret_text, ADVICE_BYTES, "no member that is there can give it");
	return ret_text;
}

void open_fail_load(struct fs *fs, int r, bool rootless, struct fail *fail)
{
	char todo[ADVICE_BYTES];
	const char *name = array_label(fs->array)->name;
	if (r == -ENOMEM)
		fail_set(fail, ENOMEM, FAIL_SYSTEM, "not enough memory to open array \"%s\"", name);
	else if (rootless)
		fail_set(fail, -r, FAIL_DAMAGED, "the root node of the file tree of array \"%s\" cannot be read (%s); %s: only an older state can "
			"be had; fsck.raid5cryptfs --list-roots lists those that there are, and fsck.raid5cryptfs --root GEN goes back to one",
			name, strerror(-r), advice(fs, todo));
	else if (!fs->file.root)
		fail_set(fail, -r, FAIL_DAMAGED, "the newest root of array \"%s\" was found, but it cannot be opened (%s); %s: see "
			"fsck.raid5cryptfs --list-roots", name, strerror(-r), advice(fs, todo));
	else
		fail_set(fail, -r, FAIL_DAMAGED, "the newest root of array \"%s\" was found, but its system tree cannot be read (%s), which says what "
			"space is in use; %s: fsck.raid5cryptfs -y makes that tree anew from the files, of which none is lost by it, and "
			"-o ro,salvage mounts without it, to copy them before", name, strerror(-r), advice(fs, todo));
}

/* The log changes what lies in a node that cannot be read. */
static int fail_unread(struct fs *fs, const struct log_replayed *replayed, int r, struct fail *fail)
{
	const struct tree_miss *m = &replayed->unread;
	address at = le64_get(m->pointer.address);
	char object[PATH_TEXT_BYTES], todo[ADVICE_BYTES];
	const char *name = array_label(fs->array)->name;
	if (m->tree == TREE_SYSTEM)
		return fail_set(fail, -r, FAIL_DAMAGED, "the intent log of array \"%s\" could not be replayed: a node of the system tree cannot be "
			"read (level %u, band %u, block %llu); %s: fsck.raid5cryptfs -y makes that tree anew from the files, and replays the log: "
			"no file is lost by it", name, m->level, address_band(at), (unsigned long long)address_block(at), advice(fs, todo));
	return fail_set(fail, -r, FAIL_DAMAGED, "the intent log of array \"%s\" could not be replayed: a node of the file tree cannot be read "
		"(level %u, band %u, block %llu), and the log changes what it holds (%s); %s: -o ro,salvage mounts what can be read, to copy it, and "
		"fsck.raid5cryptfs -y then gives up what the node held and keeps what is in the log (-n names what is lost)", name, m->level,
		address_band(at), (unsigned long long)address_block(at), path_text(fs, replayed->object, object), advice(fs, todo));
}

static void on_skip(void *ctx, uint64_t object, uint64_t block, uint64_t blocks)
{
	struct fs *fs = ctx;
	char text[PATH_TEXT_BYTES];
	event_report(&fs->options.events, EVENT_WARNING, -1, "%s: %llu bytes at offset %llu, which the intent log has, cannot be shown, since what "
		"they belong to cannot be read; fsck.raid5cryptfs -y puts them in place.", path_text(fs, object, text),
		(unsigned long long)(blocks * BLOCK_BYTES), (unsigned long long)(block * BLOCK_BYTES));
}

static void tell_replayed(struct fs *fs, const struct log_replayed *replayed)
{
	if (replayed->damaged)
		fs_tell_read_only(fs, "The intent log cannot be read to its end from the members that are there: of what was synced after the last "
			"commit, only the first %llu records could be had. The filesystem is read-only. Give all members that there are; if it stays "
			"so, copy what you need, and run fsck.raid5cryptfs: -n names files that are concerned, -y gives up what cannot be read of "
			"the log.", (unsigned long long)replayed->records);
	else if (replayed->skipped || replayed->has_unread)
		event_report(&fs->options.events, EVENT_WARNING, -1, "The array was not unmounted: %llu records of its intent log were replayed, as "
			"far as what they change can be read.", (unsigned long long)replayed->records);
	else if (replayed->records)
		event_report(&fs->options.events, EVENT_WARNING, -1, "The array was not unmounted: %llu records of its intent log were replayed, "
			"nothing that was synced is lost.", (unsigned long long)replayed->records);
}

int open_replay(struct fs *fs, struct fail *fail)
{
	bool salvage = fs->options.salvage && fs->read_only;
	struct log_replayed replayed = { .on_skip = on_skip, .ctx = fs };
	if (fs->older || (fs->options.repair && !fs->options.read_only))
		return 0;                /* not its log; or fs_check_run does it */
	int r = log_replay(fs, salvage ? LOG_SALVAGE : LOG_ALL, &replayed);
	if (r < 0 && replayed.has_unread)
		return fail_unread(fs, &replayed, r, fail);
	if (r < 0)
		return fail_set(fail, -r, FAIL_DAMAGED, "the intent log of array \"%s\" could not be replayed (%s); "
			"give all members that there are; if they are, run fsck.raid5cryptfs, or mount with -o ro,salvage to copy what can be read",
			array_label(fs->array)->name, strerror(-r));
	tell_replayed(fs, &replayed);
	fs->read_only |= replayed.damaged;
	return 0;
}
