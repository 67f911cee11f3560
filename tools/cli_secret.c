/* Getting secrets from a terminal or a key file, into the arena of keys and nowhere else. */
#include "tools/cli.h"

#include "base/cleanup.h"
#include "crypto/key.h"
#include "crypto/keyfile.h"
#include "crypto/strength.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#define PASSPHRASE_BYTES_MAX 1024u

int cli_protect_memory(struct fail *fail)
{
	int r = key_arena_init(fail);

	if (r > 0)
		cli_message("warning: %s", fail->text);
	return r < 0 ? r : 0;
}

void cli_forget_secret(struct cli_secret *secret)
{
	key_free(secret->memory);
	*secret = (struct cli_secret){ 0 };
}

static volatile sig_atomic_t interrupted;

static void interrupt(int signal_number)
{
	interrupted = signal_number;
}

/* One line without its end, byte by byte so that nothing of it stays in a buffer of stdio's.  Signals come while it waits, under
 * `waiting`, and at no other time: none is missed. -EINTR, -ENODATA, -E2BIG, -EILSEQ. */
static int read_line(int fd, char *text, size_t size, const sigset_t *waiting)
{
	struct pollfd input = { .fd = fd, .events = POLLIN };
	size_t used = 0;
	bool has_nul = false;

	for (;;) {
		char c = 0;
		int ready = ppoll(&input, 1, NULL, waiting);
		if (interrupted)
			return -EINTR;
		ssize_t n = ready < 0 ? ready : read(fd, &c, 1);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0 && !used)
			return -ENODATA;
		if (n == 0 || c == '\n')
			break;
		if (used + 1 == size)
			return -E2BIG;
		has_nul = has_nul || !c;
		text[used++] = c;
	}
	text[used] = '\0';
	/* What comes after it would count for nothing. */
	return has_nul ? -EILSEQ : 0;
}

/* Asks without echo.  After a signal the terminal is as before, and the signal does what it does to this program: it ends it, or
 * the program's own handler notes it, and -EINTR is returned. */
static int ask(int tty, const char *prompt, char *text)
{
	static const int signals[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT };
	struct sigaction old[ARRAY_COUNT(signals)];
	struct termios before, quiet;
	sigset_t old_mask, waiting, ours;

	if (tcgetattr(tty, &before) < 0)
		return -errno;
	interrupted = 0;
	sigemptyset(&ours);
	for (size_t i = 0; i < ARRAY_COUNT(signals); i++)
		sigaddset(&ours, signals[i]);
	sigprocmask(SIG_BLOCK, &ours, &old_mask);
	waiting = old_mask;
	for (size_t i = 0; i < ARRAY_COUNT(signals); i++) {
		sigaction(signals[i], &(struct sigaction){ .sa_handler = interrupt }, &old[i]);
		sigdelset(&waiting, signals[i]);
	}
	quiet = before;
	quiet.c_lflag &= ~(tcflag_t)(ECHO | ECHOE | ECHOK | ECHONL);
	quiet.c_lflag |= ICANON | ISIG;
	tcsetattr(tty, TCSAFLUSH, &quiet);
	dprintf(tty, "%s: ", prompt);
	int r = read_line(tty, text, PASSPHRASE_BYTES_MAX, &waiting);
	tcsetattr(tty, TCSAFLUSH, &before);
	dprintf(tty, "\n");
	sigprocmask(SIG_SETMASK, &old_mask, NULL);
	for (size_t i = 0; i < ARRAY_COUNT(signals); i++)
		sigaction(signals[i], &old[i], NULL);
	if (interrupted) {
		wipe(text, PASSPHRASE_BYTES_MAX);
		sigprocmask(SIG_UNBLOCK, &ours, NULL);
		raise(interrupted);
		r = -EINTR;
	}
	return r;
}

static int fail_ask(int r, struct fail *fail)
{
	switch (r) {
	case -E2BIG:
		return fail_set(fail, E2BIG, FAIL_USAGE, "passphrase: longer than %u bytes; choose a shorter one, or use a key file",
			PASSPHRASE_BYTES_MAX - 1);
	case -EILSEQ:
		return fail_set(fail, EILSEQ, FAIL_USAGE, "passphrase: has a character in it that is typed as Ctrl-@ or Ctrl-Space, which cannot be "
			"part of one; type it again without");
	case -ENODATA:
		return fail_set(fail, ENODATA, FAIL_USAGE, "passphrase: none was given");
	case -EINTR:
		return fail_set(fail, EINTR, FAIL_USAGE, "stopped at the question for the passphrase; nothing was changed");
	default:
		return fail_set(fail, -r, FAIL_SYSTEM, "passphrase: cannot read from the terminal: %s", strerror(-r));
	}
}

static int from_terminal(const char *what_for, bool twice, struct cli_secret *ret_secret, struct fail *fail)
{
	autoclose int tty = open("/dev/tty", O_RDWR | O_CLOEXEC);
	char prompt[256];

	if (tty < 0)
		return fail_set(fail, ENOTTY, FAIL_USAGE, "passphrase: there is no terminal to ask on; give a key file (--key-file PATH, "
			"for a mount -o key-file=PATH; - reads it from standard input)");
	char *text = key_alloc(PASSPHRASE_BYTES_MAX), *again = key_alloc(PASSPHRASE_BYTES_MAX);
	int r = text && again ? 0 : fail_set(fail, ENOMEM, FAIL_SYSTEM, "out of memory");
	snprintf(prompt, sizeof prompt, twice ? "New passphrase for %s" : "Passphrase for %s", what_for);
	if (!r) {
		r = ask(tty, prompt, text);
		if (r < 0)
			r = fail_ask(r, fail);
		else if (!*text)
			r = fail_set(fail, EINVAL, FAIL_USAGE, "passphrase: an empty one protects nothing; choose another");
	}
	if (!r && twice) {
		r = ask(tty, "The same again", again);
		if (r < 0)
			r = fail_ask(r, fail);
		else if (strcmp(text, again))
			r = fail_set(fail, EINVAL, FAIL_USAGE, "passphrase: the two are not the same; nothing was written");
	}
	if (!r && twice) {
		unsigned bits = passphrase_strength_bits(text);
		dprintf(tty, "This passphrase is %s (about %u bits to guess).%s\n", strength_word(bits), bits,
			bits < 50 ? "  Five or more random words are better." : "");
	}
	key_free(again);
	if (r < 0) {
		key_free(text);
		return r;
	}
	*ret_secret = (struct cli_secret){
		.secret = { .kind = SECRET_PASSPHRASE, .bytes = (uint8_t *)text, .length_bytes = strlen(text) },
		.memory = text,
	};
	return 0;
}

static int from_file(const char *path, struct cli_secret *ret_secret, struct fail *fail)
{
	struct secret_buffer buffer;

	int r = keyfile_read(path, &buffer, fail);
	if (r < 0)
		return r;
	if (buffer.others_can_read)
		cli_message("warning: key file: %s: other users can read it; chmod 400 it", path);
	*ret_secret = (struct cli_secret){ .secret = secret_of(&buffer), .memory = buffer.bytes };
	return 0;
}

int cli_get_secret(const char *key_file, const char *what_for, struct cli_secret *ret_secret, struct fail *fail)
{
	return key_file ? from_file(key_file, ret_secret, fail) : from_terminal(what_for, false, ret_secret, fail);
}

int cli_new_secret(const char *key_file, const char *what_for, struct cli_secret *ret_secret, struct fail *fail)
{
	return key_file ? from_file(key_file, ret_secret, fail) : from_terminal(what_for, true, ret_secret, fail);
}
