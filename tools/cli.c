/* What all programs share: see the header. */
#include "tools/cli.h"

#include "base/cleanup.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define SPEED_MIN_BYTES 65536u

static const char *program_name = "raid5cryptfs";

/* What is opened gets the lowest number that is free: were one of the three closed, a member would get it, and messages would be written
 * onto that. */
static void open_standard(void)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) != fd)
			_exit(FAIL_SYSTEM);
}

void cli_start(const char *program)
{
	program_name = program;
	open_standard();
}

void cli_print_version(void)
{
	printf("%s %s\n", program_name, VERSION);
}

static void print_message(const char *format, va_list ap)
{
	char text[2048];

	vsnprintf(text, sizeof text, format, ap);
	cli_clean(text);
	fprintf(stderr, "%s: %s\n", program_name, text);
}

void cli_message(const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	print_message(format, ap);
	va_end(ap);
}

int cli_error(enum fail_code code, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	print_message(format, ap);
	va_end(ap);
	return (int)code;
}

int cli_fail(const struct fail *fail)
{
	if (fail->code == FAIL_NONE)
		return cli_error(FAIL_SYSTEM, "an unexpected failure");
	return cli_error(fail->code, "%s", fail->text);
}

int cli_finish(int code)
{
	int err = fflush(stdout) ? errno : ferror(stdout) ? EIO : 0;

	if (!err)
		return code;
	int failed = cli_error(FAIL_SYSTEM, "standard output: %s; what was to be printed there is not complete", strerror(err));
	return code ? code : failed;
}

void cli_clean(char *text)
{
	for (; *text; text++)
		if (iscntrl((unsigned char)*text))
			*text = '?';
}

/* ---- Numbers ---- */

int cli_parse_size(const char *text, uint64_t *ret_bytes)
{
	static const char units[] = "KMGTP";
	char *end;

	if (!isdigit((unsigned char)*text))
		return -EINVAL;
	errno = 0;
	unsigned long long value = strtoull(text, &end, 10);
	if (errno)
		return -EINVAL;
	if (*end) {
		const char *unit = strchr(units, toupper((unsigned char)*end));
		if (!unit)
			return -EINVAL;
		unsigned shift = 10 * (unsigned)(unit - units + 1);
		if (value > UINT64_MAX >> shift)
			return -EINVAL;
		value <<= shift;
		end++;
		if (!strcmp(end, "iB"))
			end += 2;
	}
	if (*end)
		return -EINVAL;
	*ret_bytes = value;
	return 0;
}

int cli_parse_speed(const char *text, uint64_t *ret_bytes)
{
	uint64_t bytes;

	if (cli_parse_size(text, &bytes) < 0 || bytes < SPEED_MIN_BYTES)
		return -EINVAL;
	*ret_bytes = bytes;
	return 0;
}

int cli_parse_seconds(const char *text, unsigned least, unsigned *ret_seconds)
{
	char *end;

	if (!isdigit((unsigned char)*text))
		return -EINVAL;
	unsigned long value = strtoul(text, &end, 10);
	if (*end == 's')
		end++;
	if (*end || value < least || value > 86400)
		return -EINVAL;
	*ret_seconds = (unsigned)value;
	return 0;
}

const char *cli_size(uint64_t bytes, char text[CLI_SIZE_TEXT_BYTES])
{
	static const char *const units[] = { "bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
	double value = (double)bytes;
	unsigned unit = 0;

	while (value >= 1024 && unit < ARRAY_COUNT(units) - 1) {
		value /= 1024;
		unit++;
	}
	snprintf(text, CLI_SIZE_TEXT_BYTES, unit && value < 100 ? "%.1f %s" : "%.0f %s", value, units[unit]);
	return text;
}

void cli_sizes(uint64_t one_bytes, uint64_t other_bytes, char one[CLI_SIZE_TEXT_BYTES], char other[CLI_SIZE_TEXT_BYTES])
{
	if (strcmp(cli_size(one_bytes, one), cli_size(other_bytes, other)))
		return;
	snprintf(one, CLI_SIZE_TEXT_BYTES, "%" PRIu64 " bytes", one_bytes);
	snprintf(other, CLI_SIZE_TEXT_BYTES, "%" PRIu64 " bytes", other_bytes);
}

const char *cli_time(int64_t ns, char text[CLI_TIME_TEXT_BYTES])
{
	time_t seconds = ns / 1000000000;
	struct tm tm;

	if (!localtime_r(&seconds, &tm) || !strftime(text, CLI_TIME_TEXT_BYTES, "%Y-%m-%d %H:%M", &tm))
		snprintf(text, CLI_TIME_TEXT_BYTES, "unknown");
	return text;
}

static bool is_plain(char c) { return isalnum((unsigned char)c) || strchr("/._-+:@%=,", c); }

/* bash, zsh and POSIX (2024) know $'\n', which is used only where there is a control character. */
char *cli_quoted(const char *word)
{
	autofree char *quoted = malloc(4 * strlen(word) + 4);
	bool plain = *word, control = false;
	size_t at = 0;

	if (!quoted)
		return NULL;
	for (const char *c = word; *c; c++) {
		plain = plain && is_plain(*c);
		control = control || iscntrl((unsigned char)*c);
	}
	if (plain)
		return strdup(word);
	if (control)
		quoted[at++] = '$';
	quoted[at++] = '\'';
	for (const char *c = word; *c; c++)
		if (iscntrl((unsigned char)*c))
			at += (size_t)sprintf(quoted + at, "\\%03o", (unsigned char)*c);
		else if (*c == '\'' && !control)
			at += (size_t)sprintf(quoted + at, "'\\''");
		else
			at += (size_t)sprintf(quoted + at, control && strchr("'\\", *c) ? "\\%c" : "%c", *c);
	strcpy(quoted + at, "'");
	return strdup(quoted);
}

char *cli_absolute(const char *path)
{
	char folder[PATH_MAX], *absolute;

	if (path[0] == '/' || !getcwd(folder, sizeof folder))
		return strdup(path);
	if (asprintf(&absolute, "%s/%s", folder, path) < 0)
		return NULL;
	return absolute;
}
