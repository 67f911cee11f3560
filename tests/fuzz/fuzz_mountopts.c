/* Mount options: what is accepted is within its limits, and what goes on to libfuse is nothing but single options that may. */
#include "crypto/seal_engine.h"
#include "fs/format.h"
#include "tests/fuzz/fuzz.h"
#include "tools/mountopts.h"

#include <errno.h>
#include <stdlib.h>

/* Takes the first option off a list as libfuse does (fuse_opt_parse(3)): a backslash makes the next character plain, and of three
 * octal digits a character.  NULL at the end. */
static const char *fuse_option(const char *list, char *ret_option)
{
	while (*list && *list != ',') {
		if (list[0] == '\\' && list[1]) {
			list++;
			if (list[0] >= '0' && list[0] <= '3' && list[1] >= '0' && list[1] <= '7' && list[2] >= '0'
			    && list[2] <= '7') {
				*ret_option++ = (char)((list[0] - '0') * 64 + (list[1] - '0') * 8 + (list[2] - '0'));
				list += 3;
				continue;
			}
		}
		*ret_option++ = *list++;
	}
	*ret_option = '\0';
	return *list ? list + 1 : NULL;
}

/* Is it an option that is passed on as it is? */
static bool may_pass(const char *option)
{
	static const char *const values[] = { "max_read=", "context=", "fscontext=", "defcontext=", "rootcontext=" };
	static const char *const plain[] = { "allow_other", "allow_root", "auto_unmount", "suid", "nosuid", "dev", "nodev",
		"exec", "noexec", "sync", "async", "dirsync", "atime", "noatime", "diratime", "nodiratime" };

	for (unsigned i = 0; i < sizeof values / sizeof *values; i++)
		if (!strncmp(option, values[i], strlen(values[i])))
			return true;
	for (unsigned i = 0; i < sizeof plain / sizeof *plain; i++)
		if (!strcmp(option, plain[i]))
			return true;
	return false;
}

static void check(const struct mount_options *o)
{
	char *option = malloc(strlen(o->fuse) + 1);
	bool suid = false, dev = false;

	MUST(option);
	for (const char *list = *o->fuse ? o->fuse : NULL; list; ) {
		list = fuse_option(list, option);
		MUST(may_pass(option));
		suid |= !strcmp(option, "suid") || !strcmp(option, "nosuid");
		dev |= !strcmp(option, "dev") || !strcmp(option, "nodev");
	}
	MUST(suid == o->suid_given && dev == o->dev_given);
	MUST(!o->cache_bytes || o->cache_bytes >= 4u << 20);
	MUST(!o->dirty_bytes || o->dirty_bytes >= 4u << 20);
	MUST(o->commit_seconds <= 86400 && o->timeout_seconds <= 86400);
	MUST(!o->key_file || *o->key_file);
	MUST(o->engine == SEAL_ENGINE_AUTO || seal_engine_built(o->engine));
	MUST(o->transport == FUSE_TRANSPORT_DEVICE || o->transport == FUSE_TRANSPORT_URING);
	free(option);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct mount_options options;
	struct fail fail = { 0 };
	char *list = malloc(size + 1);

	MUST(list && mount_options_init(&options) == 0);
	fuzz_take(data, size, list, size);
	list[size] = '\0';
	int r = mount_options_parse(&options, list, &fail);
	if (r == 0) {
		if (size > 0)
			fuzz_accept();
		check(&options);
		MUST(fail.code == FAIL_NONE);
	} else {
		MUST(r == -EINVAL && fail.code == FAIL_USAGE && !strncmp(fail.text, "option ", 7));
	}
	mount_options_free(&options);
	free(list);
	return 0;
}
