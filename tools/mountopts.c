/* The -o options of raid5cryptfs: ours, those that libfuse and mount(2) take, and those of fstab that mean nothing here. */
#include "tools/mountopts.h"

#include "base/cleanup.h"
#include "crypto/seal_engine.h"
#include "tools/cli.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CACHE_BYTES_MIN (4u << 20)
#define MAX_READ_MIN 4096u

/* Handed on to libfuse as they are. */
static const char *const passed[] = {
	"allow_other", "allow_root", "auto_unmount", "suid", "nosuid", "dev", "nodev", "exec", "noexec", "sync", "async",
	"dirsync", "atime", "noatime",
};
static const char *const passed_with_value[] = { "context=", "fscontext=", "defcontext=", "rootcontext=" };

/* Options of fstab that mount(8) and systemd act on, or that are always so here. */
static const char *const ignored[] = {
	"defaults", "auto", "noauto", "user", "nouser", "users", "nousers", "owner", "noowner", "group", "nogroup", "nofail",
	"_netdev", "relatime", "norelatime", "strictatime", "nostrictatime", "lazytime", "nolazytime", "iversion", "noiversion",
	"mand", "nomand", "silent", "loud", "default_permissions",
};
static const char *const ignored_with_value[] = { "x-", "X-", "comment=", "user=" };

int mount_options_init(struct mount_options *options)
{
	*options = (struct mount_options){ .engine = SEAL_ENGINE_AUTO, .fuse = strdup("") };
	return options->fuse ? 0 : -ENOMEM;
}

void mount_options_free(struct mount_options *options)
{
	free(options->key_file);
	free(options->alert);
	free(options->fuse);
	*options = (struct mount_options){ 0 };
}

static bool listed(const char *option, const char *const *list, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (!strcmp(option, list[i]))
			return true;
	return false;
}

static bool listed_prefix(const char *option, const char *const *list, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (!strncmp(option, list[i], strlen(list[i])))
			return true;
	return false;
}

/* What libfuse would take for a separator or an escape goes to it with a backslash before: an option stays one. */
static int pass_on(struct mount_options *options, const char *option)
{
	size_t used = strlen(options->fuse);
	char *text = realloc(options->fuse, used + 1 + 2 * strlen(option) + 1);

	if (!text)
		return -ENOMEM;
	options->fuse = text;
	if (used)
		text[used++] = ',';
	for (; *option; option++) {
		if (*option == ',' || *option == '\\')
			text[used++] = '\\';
		text[used++] = *option;
	}
	text[used] = '\0';
	return 0;
}

/* The value of "name=value" if `option` has that name. */
static const char *value_of(const char *option, const char *name)
{
	size_t length = strlen(name);
	return !strncmp(option, name, length) && option[length] == '=' ? option + length + 1 : NULL;
}

static int parse_io(struct mount_options *options, const char *value)
{
	static const struct { const char *name; enum disk_engine engine; } engines[] = {
		{ "auto", DISK_ENGINE_AUTO }, { "uring", DISK_ENGINE_URING }, { "threads", DISK_ENGINE_THREADS },
	};

	for (size_t i = 0; i < ARRAY_COUNT(engines); i++) {
		if (!strcmp(value, engines[i].name)) {
			options->io = engines[i].engine;
			return 0;
		}
	}
	return -EINVAL;
}

static int parse_transport(struct mount_options *options, const char *option, const char *value, struct fail *fail)
{
	if (!strcmp(value, "device"))
		options->transport = FUSE_TRANSPORT_DEVICE;
	else if (!strcmp(value, "uring"))
		options->transport = FUSE_TRANSPORT_URING;
	else
		return fail_set(fail, EINVAL, FAIL_USAGE, "option %s: requests come from the kernel by device or uring (how members are read and "
			"written is io=)", option);
	return 0;
}

static int parse_engine(struct mount_options *options, const char *option, const char *value, struct fail *fail)
{
	if (seal_engine_parse(value, &options->engine) < 0)
		return fail_set(fail, EINVAL, FAIL_USAGE, "option %s: the sealing engine is auto, sodium or openssl (how members are read and "
			"written is io=)", option);
	if (options->engine != SEAL_ENGINE_AUTO && !seal_engine_built(options->engine))
		return fail_set(fail, EINVAL, FAIL_USAGE, "option %s: this program was built without it; use engine=auto or engine=sodium", option);
	return 0;
}

/* The kernel takes a smaller one for the least. */
static int parse_max_read(struct mount_options *options, const char *option, const char *value, struct fail *fail)
{
	char text[32];
	uint64_t bytes;

	if (cli_parse_size(value, &bytes) < 0 || bytes < MAX_READ_MIN || bytes > UINT32_MAX)
		return fail_set(fail, EINVAL, FAIL_USAGE, "option %s: not a size from 4K on, as in max_read=128K", option);
	options->max_read_bytes = (uint32_t)bytes;
	snprintf(text, sizeof text, "max_read=%" PRIu64, bytes);
	return pass_on(options, text);
}

static int parse_bytes(const char *value, uint64_t *ret_bytes)
{
	uint64_t bytes;

	if (cli_parse_size(value, &bytes) < 0 || bytes < CACHE_BYTES_MIN)
		return -EINVAL;
	*ret_bytes = bytes;
	return 0;
}

/* Our options with a value: 0, -ENOENT if it is none of them, or the failure. */
static int parse_value(struct mount_options *options, const char *option, struct fail *fail)
{
	const char *value;

	if ((value = value_of(option, "key-file"))) {
		if (!*value)
			return fail_set(fail, EINVAL, FAIL_USAGE, "option key-file=: the path is missing");
		free(options->key_file);
		options->key_file = strdup(value);
		return options->key_file ? 0 : -ENOMEM;
	}
	if ((value = value_of(option, "alert"))) {
		if (*value != '/')
			return fail_set(fail, EINVAL, FAIL_USAGE, "option %s: not the path of a program from / on, as in alert=/usr/local/sbin/tell-me",
				option);
		free(options->alert);
		options->alert = strdup(value);
		return options->alert ? 0 : -ENOMEM;
	}
	if ((value = value_of(option, "cipher"))) {
		if (strcmp(value, "none"))
			return fail_set(fail, EINVAL, FAIL_USAGE, "option %s: only cipher=none can be given to a mount; it permits an array "
				"that was made without encryption", option);
		options->allow_none = true;
		return 0;
	}
	if ((value = value_of(option, "cache")) || (value = value_of(option, "dirty"))) {
		if (parse_bytes(value, option[0] == 'c' ? &options->cache_bytes : &options->dirty_bytes) < 0)
			return fail_set(fail, EINVAL, FAIL_USAGE, "option %s: not a size of at least 4M; write it as 64M or 1G", option);
		return 0;
	}
	if ((value = value_of(option, "commit")) || (value = value_of(option, "timeout"))) {
		if (cli_parse_seconds(value, 1, option[0] == 'c' ? &options->commit_seconds : &options->timeout_seconds) < 0)
			return fail_set(fail, EINVAL, FAIL_USAGE, "option %s: not a number of seconds from 1 to 86400", option);
		return 0;
	}
	if ((value = value_of(option, "speed"))) {
		if (cli_parse_speed(value, &options->speed_bytes) < 0)
			return fail_set(fail, EINVAL, FAIL_USAGE, "option %s: not a size of at least 64K (for each second), as in speed=50M", option);
		return 0;
	}
	if ((value = value_of(option, "read-errors"))) {
		char *end;
		options->read_errors_max = strtoull(value, &end, 10);
		if (*value < '1' || *value > '9' || *end)
			return fail_set(fail, EINVAL, FAIL_USAGE, "option %s: not a number of read errors, as in read-errors=100", option);
		return 0;
	}
	if ((value = value_of(option, "io"))) {
		if (parse_io(options, value) < 0)
			return fail_set(fail, EINVAL, FAIL_USAGE, "option %s: the way of reading and writing members is auto, uring or threads",
				option);
		return 0;
	}
	if ((value = value_of(option, "transport")))
		return parse_transport(options, option, value, fail);
	if ((value = value_of(option, "max_read")))
		return parse_max_read(options, option, value, fail);
	if ((value = value_of(option, "engine")))
		return parse_engine(options, option, value, fail);
	return -ENOENT;
}

static int parse_one(struct mount_options *options, const char *option, struct fail *fail)
{
	int r = parse_value(options, option, fail);

	if (r != -ENOENT)
		return r;
	if (!strcmp(option, "salvage")) {
		options->salvage = true;
		return 0;
	}
	if (!strcmp(option, "ro") || !strcmp(option, "rw")) {
		options->read_only = option[1] == 'o';
		return 0;
	}
	if (!strcmp(option, "nonempty")) {
		options->nonempty = true;
		return 0;
	}
	/* The kernel leaves access times to us, and tells of none of these; libfuse does not take the second two. */
	if (!strcmp(option, "atime") || !strcmp(option, "noatime"))
		options->no_atime = option[0] == 'n';
	if (!strcmp(option, "diratime") || !strcmp(option, "nodiratime")) {
		options->no_diratime = option[0] == 'n';
		return 0;
	}
	options->suid_given |= !strcmp(option, "suid") || !strcmp(option, "nosuid");
	options->dev_given |= !strcmp(option, "dev") || !strcmp(option, "nodev");
	if (listed(option, passed, ARRAY_COUNT(passed)) ||
	    listed_prefix(option, passed_with_value, ARRAY_COUNT(passed_with_value)))
		return pass_on(options, option);
	if (!*option || listed(option, ignored, ARRAY_COUNT(ignored)) ||
	    listed_prefix(option, ignored_with_value, ARRAY_COUNT(ignored_with_value)))
		return 0;
	return fail_set(fail, EINVAL, FAIL_USAGE, "option %s: not known; see raid5cryptfs(8) or --help for those that are", option);
}

int mount_options_parse(struct mount_options *options, const char *list, struct fail *fail)
{
	autofree char *option = malloc(strlen(list) + 1);
	size_t used = 0;
	int r = option ? 0 : -ENOMEM;

	for (const char *c = list; !r; c++) {
		if (c[0] == '\\' && c[1] == ',') {
			option[used++] = *++c;
		} else if (*c && *c != ',') {
			option[used++] = *c;
		} else {
			option[used] = '\0';
			used = 0;
			r = parse_one(options, option, fail);
			if (!*c)
				break;
		}
	}
	return r == -ENOMEM ? fail_set(fail, ENOMEM, FAIL_SYSTEM, "options: out of memory") : r;
}
