/* What all programs share: messages, numbers with units, asking for a passphrase, the key. */
#ifndef TOOLS_CLI_H
#define TOOLS_CLI_H

#include "base/fail.h"
#include "crypto/slot.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* The program's name, for messages.  Called first in main: it also sees to it that standard input, output and error are open. */
void cli_start(const char *program);

/* "program: text" on standard error. */
void cli_message(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Prints the message and returns the exit code. */
int cli_error(enum fail_code code, const char *format, ...) __attribute__((format(printf, 2, 3)));
int cli_fail(const struct fail *fail);
/* At the end of main: `code`, or FAIL_SYSTEM for 0 when not all that was printed could be written, which is told. */
int cli_finish(int code);

/* 4096, 64K, 256M, 2G, 1T, with or without iB.  -EINVAL. */
int cli_parse_size(const char *text, uint64_t *ret_bytes);
/* A rate: a size for each second, at least 64K.  -EINVAL. */
int cli_parse_speed(const char *text, uint64_t *ret_bytes);
/* A whole number of seconds, with or without "s", from `least` to a day.  -EINVAL. */
int cli_parse_seconds(const char *text, unsigned least, unsigned *ret_seconds);
/* "3.4 GiB" */
#define CLI_SIZE_TEXT_BYTES 32
const char *cli_size(uint64_t bytes, char text[CLI_SIZE_TEXT_BYTES]);

/* Two that differ, so that it can be seen: in bytes where both would be rounded to one. */
void cli_sizes(uint64_t one_bytes, uint64_t other_bytes, char one[CLI_SIZE_TEXT_BYTES], char other[CLI_SIZE_TEXT_BYTES]);

/* "2026-11-28 03:12", of nanoseconds since 1970, here. */
#define CLI_TIME_TEXT_BYTES 32
const char *cli_time(int64_t ns, char text[CLI_TIME_TEXT_BYTES]);

/* The path as it is found from any folder: absolute, links kept.  NULL without memory; free it. */
char *cli_absolute(const char *path);

/* As a word of a shell's command line: as it is where that needs no quotes, else in quotes, without control characters.  NULL without
 * memory; free it. */
char *cli_quoted(const char *word);

/* A secret with its memory, in the arena of keys. */
struct cli_secret {
	struct secret secret;
	void *memory;
};

/* Makes this process fit to hold secrets (crypto/key.h), with a message if memory cannot be locked: before
 * cli_get_secret, after forking.  0 or -errno. */
int cli_protect_memory(struct fail *fail);
/* Gets the secret from the key file ("-": standard input), or with NULL asks for it on the terminal, naming `what_for`.  A signal at
 * the question does what it does to the program; if that goes on, -EINTR. */
int cli_get_secret(const char *key_file, const char *what_for, struct cli_secret *ret_secret, struct fail *fail);
/* The same for a new one: a passphrase is asked for twice, and its strength is told. */
int cli_new_secret(const char *key_file, const char *what_for, struct cli_secret *ret_secret, struct fail *fail);
/* Wipes and frees; a zeroed one is fine. */
void cli_forget_secret(struct cli_secret *secret);

/* "raid5cryptfs-x 0.1.0" on standard output. */
void cli_print_version(void);
/* Not for printing: control characters in names from disks shown as '?'. In place. */
void cli_clean(char *text);

#endif
