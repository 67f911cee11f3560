/* An array that a tool opens by itself: see the header.
 *
 * It is opened twice: for reading first, to find out whether it is in use and whether there is a key to ask for, and for writing when all
 * is known. */
#include "tools/offline.h"

#include "tools/cli.h"
#include "tools/unused.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

static void report(void *ctx, const struct event *event)
{
	(void)ctx;
	if (isatty(STDERR_FILENO))
		fputs("\r\033[K", stderr);      /* a progress bar may be there */
	cli_message("%s", event->text);
}

static int unlock(const struct member_paths *members, const char *key_file, struct cli_secret *ret_secret, bool *ret_encrypted,
	struct fail *fail)
{
	char name[LABEL_NAME_BYTES + 8];
	struct probe *probe;

	int r = probe_unused(members, false, &probe, fail);
	if (r < 0)
		return r;
	*ret_encrypted = probe_name(probe, name, sizeof name);
	probe_free(probe);               /* also the shared locks, which are in the way of our own */
	r = cli_protect_memory(fail);
	return r < 0 || (!*ret_encrypted && !key_file) ? r : cli_get_secret(key_file, name, ret_secret, fail);
}

static int start(struct fs *fs, struct fail *fail)
{
	int r = fs_start(fs);

	if (r < 0) {
		fs_close(fs, false);
		fail_set(fail, -r, FAIL_SYSTEM, "cannot start threads: %s", strerror(-r));
	}
	return r;
}

int offline_open(const struct member_paths *members, const char *key_file, struct fs **ret_fs, struct fail *fail)
{
	struct fs_options options = { .engine = SEAL_ENGINE_AUTO, .events = { .report = report } };
	struct cli_secret secret = { 0 };
	struct probe *probe;
	struct fs *fs;
	bool encrypted;

	int r = unlock(members, key_file, &secret, &encrypted, fail);
	if (!r)
		r = probe_for_writing(members, &probe, fail);
	if (!r)
		r = fs_open(probe, secret.memory ? &secret.secret : NULL, !encrypted, &options, &fs, fail);
	cli_forget_secret(&secret);
	if (!r)
		r = start(fs, fail);
	if (!r)
		*ret_fs = fs;
	return r;
}

int offline_close(struct fs *fs, struct fail *fail)
{
	int r = fs_close(fs, false);

	return r < 0 ? fail_set(fail, -r, FAIL_SYSTEM, "the last commit failed (%s); what had begun may have to be asked for again", strerror(-r))
		: 0;
}
