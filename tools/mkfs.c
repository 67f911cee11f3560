/* mkfs.raid5cryptfs: makes an array and an empty filesystem on it.
 *
 * Nothing is written before every check of every member has passed and the secret is known. */
#include "base/cleanup.h"
#include "fs/fs.h"
#include "raid/config.h"
#include "tools/cli.h"
#include "tools/members.h"
#include "tools/mkfs_check.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct request {
	const char *name;
	const char *key_file;
	enum cipher cipher;
	bool force;
	struct member_paths members;
};

static void usage(FILE *out)
{
	fputs(
"Usage: mkfs.raid5cryptfs [OPTION...] MEMBER MEMBER MEMBER...\n"
"Makes an encrypted RAID5 array of three or more partitions, disks or image files.  What is on them is lost.\n"
"\n"
"  -n, --name NAME      the array's name: mount it as array:NAME\n"
"  -c, --cipher CIPHER  xchacha20-poly1305 (the default), aes256-gcm, or none (checksums only)\n"
"  -k, --key-file PATH  unlock with this file (- is standard input) instead of a passphrase\n"
"  -f, --force          go on although a member carries a signature of something else\n"
"  -h, --help           this text\n"
"  -V, --version        the version\n", out);
}

static int parse_command_line(int argc, char **argv, struct request *request, struct fail *fail)
{
	static const struct option options[] = {
		{ "name", required_argument, NULL, 'n' }, { "cipher", required_argument, NULL, 'c' },
		{ "key-file", required_argument, NULL, 'k' }, { "force", no_argument, NULL, 'f' },
		{ "help", no_argument, NULL, 'h' }, { "version", no_argument, NULL, 'V' }, { 0 },
	};
	int c, r = 0;

	while (!r && (c = getopt_long(argc, argv, "n:c:k:fhV", options, NULL)) != -1) {
		switch (c) {
		case 'n':
			request->name = optarg;
			r = mkfs_check_name(optarg, fail);
			break;
		case 'c':
			if (cipher_parse(optarg, &request->cipher) < 0)
				r = fail_set(fail, EINVAL, FAIL_USAGE, "cipher %s: not known; there are xchacha20-poly1305, aes256-gcm and none",
					optarg);
			break;
		case 'k':
			request->key_file = optarg;
			break;
		case 'f':
			request->force = true;
			break;
		case 'h':
			usage(stdout);
			exit(0);
		case 'V':
			cli_print_version();
			exit(0);
		default:
			return fail_set(fail, EINVAL, FAIL_USAGE, "the command line is wrong; see mkfs.raid5cryptfs --help");
		}
	}
	if (!r && optind == argc)
		return fail_set(fail, EINVAL, FAIL_USAGE, "members: none given; see mkfs.raid5cryptfs --help");
	if (!r && request->cipher == CIPHER_NONE && request->key_file)
		return fail_set(fail, EINVAL, FAIL_USAGE, "cipher none: has no key; leave --key-file out");
	for (int i = optind; !r && i < argc; i++)
		r = member_paths_add(&request->members, argv[i], fail);
	return r;
}

/* Bytes for data and metadata, as the bands give them. */
static uint64_t data_bytes(const uint64_t *sizes_bytes, unsigned count)
{
	struct config *config = calloc(1, sizeof *config);
	uint32_t granules[MEMBERS_MAX];
	uint64_t total = 0;

	if (config && !geometry_plan(sizes_bytes, count, &config->geometry, granules)) {
		config->member_count = count;
		for (unsigned i = 0; i < count; i++)
			config->members[i] = (struct config_member){
				.role = MEMBER_VOTER, .granules = granules[i], .size_bytes = sizes_bytes[i] };
		if (!config_make_bands(config))
			for (uint32_t i = 0; i < config->band_count; i++)
				total += band_blocks(&config->bands[i]) * BLOCK_BYTES;
	}
	config_free(config);
	return total;
}

/* The value of an option of -o, in which a comma would end it. */
static char *option_value(const char *value)
{
	char *escaped = malloc(2 * strlen(value) + 1), *to = escaped;

	for (; escaped && *value; *to++ = *value++)
		if (*value == ',')
			*to++ = '\\';
	if (escaped)
		*to = '\0';
	return escaped;
}

static void print_command(const struct request *request)
{
	autofree char *key_file = request->key_file && strcmp(request->key_file, "-") ? cli_absolute(request->key_file) : NULL;
	autofree char *value = key_file ? option_value(key_file) : NULL, *option = NULL;

	printf("  raid5cryptfs%s", request->cipher == CIPHER_NONE ? " -o cipher=none" : "");
	if (value && asprintf(&option, "key-file=%s", value) >= 0) {
		autofree char *word = cli_quoted(option);
		printf(" -o %s", word ? word : option);
	}
	for (unsigned i = 0; i < request->members.count; i++) {
		autofree char *word = cli_quoted(request->members.paths[i]);
		printf(" %s", word ? word : request->members.paths[i]);
	}
	printf(" MOUNTPOINT\n");
}

static void print_result(const struct request *request, const struct uuid *uuid, const uint64_t *sizes_bytes)
{
	char text[UUID_TEXT_BYTES], size[CLI_SIZE_TEXT_BYTES];
	const char *name = request->name ? request->name : "";

	uuid_format(uuid, text);
	printf("Made an array:\n");
	printf("  name     %s\n", *name ? name : "(none)");
	printf("  UUID     %s\n", text);
	printf("  cipher   %s\n", cipher_name(request->cipher));
	for (unsigned i = 0; i < request->members.count; i++) {
		autofree char *path = cli_quoted(request->members.paths[i]);
		printf("  member   %s (%s)\n", path ? path : request->members.paths[i], cli_size(sizes_bytes[i], size));
	}
	printf("  space    %s for data and metadata, less a reserve\n", cli_size(data_bytes(sizes_bytes, request->members.count), size));
	printf("Any one member may be lost; the loss of a second one loses everything: keep backups.\n");
	if (request->cipher == CIPHER_NONE)
		printf("Nothing on it is secret.  ");
	else
		printf("Without the %s nobody can read it, not even you: keep %s.  ", request->key_file ? "key file" : "passphrase",
			request->key_file ? "a copy in a safe place" : "it");
	printf("Mount it with:\n");
	print_command(request);
}

static int make(const struct request *request, struct fail *fail)
{
	struct disk *disks[MEMBERS_MAX];
	uint64_t sizes_bytes[MEMBERS_MAX];
	struct cli_secret secret = { 0 };
	struct uuid uuid;
	char what_for[128], description[64];

	if (!cipher_available(request->cipher))
		return fail_set(fail, EOPNOTSUPP, FAIL_USAGE, "cipher %s: this processor has no AES instructions; use xchacha20-poly1305",
			cipher_name(request->cipher));
	int r = mkfs_check_members(&request->members, request->force, disks, fail);
	if (r < 0)
		return r;
	for (unsigned i = 0; i < request->members.count; i++)
		sizes_bytes[i] = disks[i]->size_bytes;
	snprintf(what_for, sizeof what_for, "array %s", request->name ? request->name : "(without a name)");
	if (request->cipher != CIPHER_NONE)
		r = cli_new_secret(request->key_file, what_for, &secret, fail);
	if (r < 0) {
		for (unsigned i = 0; i < request->members.count; i++)
			disk_close(disks[i]);
		return r;
	}
	time_t now = time(NULL);
	struct tm tm;
	strftime(description, sizeof description, "made by mkfs on %Y-%m-%d", gmtime_r(&now, &tm));
	struct fs_mkfs params = {
		.name = request->name ? request->name : "",
		.cipher = request->cipher,
		.secret = request->cipher == CIPHER_NONE ? NULL : &secret.secret,
		.slot_description = description,
		.root_mode = 0755,
		.root_uid = getuid(),
		.root_gid = getgid(),
	};
	r = fs_mkfs(disks, request->members.count, &params, &uuid, fail);
	cli_forget_secret(&secret);
	if (!r)
		print_result(request, &uuid, sizes_bytes);
	return r;
}

int main(int argc, char **argv)
{
	struct request request = { .cipher = CIPHER_XCHACHA20_POLY1305 };
	struct fail fail = { 0 };

	cli_start("mkfs.raid5cryptfs");
	int r = parse_command_line(argc, argv, &request, &fail);
	if (!r)
		r = cli_protect_memory(&fail);
	if (!r)
		r = make(&request, &fail);
	member_paths_free(&request.members);
	if (r < 0)
		return cli_fail(&fail);
	return cli_finish(0);
}
