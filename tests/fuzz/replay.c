/* Stands in for libFuzzer: runs a target over its corpus and over mutations of each file, which follow from a seed.
 *
 *     fuzz_NAME [--seed S] [--mutations N] [--only FILE:M] [--save OUT] FOLDER...
 *
 * Each file is run as it is (mutation 0), then N mutations of it.  Mutation M of a file depends on the seed, the file's name and
 * what lies in the folders, and on nothing before it: when the target stops the process, the line is printed that runs this one
 * input again; --save writes the input to a file, which can be added to the corpus.  The last line tells how many inputs were run,
 * and how many of them the target's parser accepted: none is a failure. */
#include "tests/fuzz/fuzz.h"

#include <dirent.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define FILES_MAX 4096u
#define INPUT_BYTES_MAX (1u << 20)
#define SECONDS_A_FILE 240u

struct input {
	char *name;
	uint8_t *bytes;
	size_t size;
};

static const char *program;
static uint64_t seed = 1, mutations = 1000;
static int folder_count;
static char **folders;
static struct input inputs[FILES_MAX];
static unsigned input_count;

/* ---- When it goes wrong ---- */

static char replay_line[4096];

static void prepare_replay_line(const struct input *input, uint64_t mutation)
{
	int n = snprintf(replay_line, sizeof replay_line, "replay: %s --seed %" PRIu64 " --only %s:%" PRIu64, program, seed, input->name,
		mutation);

	for (int i = 0; i < folder_count && n > 0 && (size_t)n < sizeof replay_line; i++)
		n += snprintf(replay_line + n, sizeof replay_line - (size_t)n, " %s", folders[i]);
}

static void print_replay_line(void)
{
	if (write(STDERR_FILENO, replay_line, strlen(replay_line)) < 0 || write(STDERR_FILENO, "\n", 1) < 0)
		return;
}

static void on_signal(int number)
{
	print_replay_line();
	signal(number, SIG_DFL);
	raise(number);
}

/* Sanitizers end the process in their own way, and call this before. */
void __sanitizer_set_death_callback(void (*callback)(void)) __attribute__((weak));

static void watch(void)
{
	static const int fatal[] = { SIGABRT, SIGALRM, SIGBUS, SIGFPE, SIGILL, SIGSEGV };

	if (__sanitizer_set_death_callback)
		__sanitizer_set_death_callback(print_replay_line);
	for (unsigned i = 0; i < sizeof fatal / sizeof *fatal; i++)
		if (!__sanitizer_set_death_callback || fatal[i] == SIGALRM || fatal[i] == SIGABRT)
			signal(fatal[i], on_signal);
}

/* ---- Random numbers and mutations ---- */

/* SplitMix64. */
static uint64_t random_next(uint64_t *state)
{
	uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

static size_t below(uint64_t *state, size_t limit) { return limit ? (size_t)(random_next(state) % limit) : 0; }

static uint64_t state_of(const struct input *input, uint64_t mutation)
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325);   /* FNV-1a */

	for (const char *c = input->name; *c; c++)
		hash = (hash ^ (uint8_t)*c) * UINT64_C(0x100000001b3);
	uint64_t state = seed + mutation * UINT64_C(0x9e3779b97f4a7c15);
	return random_next(&state) ^ hash;
}

/* A place, mostly one where something is: long stretches of zeros are all alike. */
static size_t place(uint64_t *state, const uint8_t *bytes, size_t size)
{
	size_t at = below(state, size);

	if (random_next(state) % 4)
		for (size_t i = 0; i < size; i++)
			if (bytes[(at + i) % size])
				return (at + i) % size;
	return at;
}

/* A little-endian number of 1 to 8 bytes at `at`: one that is often at a limit, or the old one moved a little. */
static void change_number(uint64_t *state, uint8_t *bytes, size_t size, size_t at)
{
	size_t width = (size_t)1 << below(state, 4);
	uint64_t value = 0;

	if (random_next(state) % 2)
		at -= at % width;
	for (size_t i = 0; i < width && at + i < size; i++)
		value |= (uint64_t)bytes[at + i] << 8 * i;
	switch (random_next(state) % 6) {
	case 0: value = random_next(state) % 40; break;
	case 1: value = UINT64_MAX - random_next(state) % 40; break;
	case 2: value = (UINT64_C(1) << below(state, 64)) - random_next(state) % 3; break;
	case 3: value += random_next(state) % 17; break;
	case 4: value -= random_next(state) % 17; break;
	default: value = random_next(state); break;
	}
	for (size_t i = 0; i < width && at + i < size; i++)
		bytes[at + i] = (uint8_t)(value >> 8 * i);
}

/* Copies some bytes from another place of this input or of another file, mostly from the same place. */
static void splice(uint64_t *state, uint8_t *bytes, size_t size)
{
	const struct input *other = &inputs[below(state, input_count)];
	bool same = random_next(state) % 2;
	const uint8_t *from = same ? bytes : other->bytes;
	size_t from_size = same ? size : other->size, length = (size_t)1 << below(state, 9);

	if (!from_size)
		return;
	size_t to = place(state, bytes, size), at = !same && random_next(state) % 2 ? to : below(state, from_size);
	if (at >= from_size)
		return;
	if (length > from_size - at)
		length = from_size - at;
	if (length > size - to)
		length = size - to;
	memmove(bytes + to, from + at, length);
}

/* Changes `bytes` (with room for INPUT_BYTES_MAX) in one to four ways; returns the new size. */
static size_t mutate(uint64_t state, uint8_t *bytes, size_t size)
{
	for (size_t changes = 1 + below(&state, 4); changes > 0; changes--) {
		if (size == 0 || random_next(&state) % 24 == 0) {       /* longer */
			size_t more = 1 + below(&state, 64);
			if (size + more <= INPUT_BYTES_MAX) {
				for (size_t i = 0; i < more; i++)
					bytes[size++] = (uint8_t)random_next(&state);
			}
			continue;
		}
		size_t at = place(&state, bytes, size);
		switch (random_next(&state) % 12) {
		case 0: case 1: case 2:
			bytes[at] ^= (uint8_t)(1u << below(&state, 8));
			break;
		case 3: case 4:
			bytes[at] = (uint8_t)random_next(&state);
			break;
		case 5: case 6: case 7: case 8:
			change_number(&state, bytes, size, at);
			break;
		case 9:
			size = random_next(&state) % 4 ? size - below(&state, size < 9 ? size : 9) : below(&state, size);
			break;
		default:
			splice(&state, bytes, size);
			break;
		}
	}
	return size;
}

/* ---- Running ---- */

/* In memory of exactly its size, so that a sanitizer sees each byte read beyond it. */
static void run(const uint8_t *bytes, size_t size)
{
	uint8_t *copy = malloc(size ? size : 1);

	if (!copy)
		abort();
	fuzz_take(bytes, size, copy, size);
	LLVMFuzzerTestOneInput(copy, size);
	free(copy);
}

static int save(const char *path, const uint8_t *bytes, size_t size)
{
	FILE *file = fopen(path, "wb");
	bool ok = file && fwrite(bytes, 1, size, file) == size;

	if ((file && fclose(file)) || !ok) {
		fprintf(stderr, "%s: could not be written: %s\n", path, strerror(errno));
		return -1;
	}
	return 0;
}

static int run_one(const struct input *input, uint64_t mutation, const char *save_path)
{
	static uint8_t bytes[INPUT_BYTES_MAX];
	size_t size = input->size;

	prepare_replay_line(input, mutation);
	fuzz_take(input->bytes, size, bytes, size);
	if (mutation > 0)
		size = mutate(state_of(input, mutation), bytes, size);
	if (save_path && save(save_path, bytes, size) < 0)
		return -1;
	run(bytes, size);
	return 0;
}

static int run_all(void)
{
	uint64_t count = 0;

	for (unsigned i = 0; i < input_count; i++) {
		alarm(SECONDS_A_FILE);
		for (uint64_t m = 0; m <= mutations; m++, count++)
			if (run_one(&inputs[i], m, NULL) < 0)
				return 1;
	}
	alarm(0);
	printf("%s: %u files, %" PRIu64 " inputs, %" PRIu64 " times accepted, seed %" PRIu64 "\n", program, input_count, count,
		fuzz_accepted(), seed);
	if (!fuzz_accepted())
		fprintf(stderr, "%s: no input was accepted: nothing was tested\n", program);
	return fuzz_accepted() ? 0 : 1;
}

/* "FILE:M" */
static int run_only(char *text, const char *save_path)
{
	char *colon = strrchr(text, ':');
	uint64_t mutation = colon ? strtoull(colon + 1, NULL, 10) : 0;

	if (colon)
		*colon = '\0';
	for (unsigned i = 0; i < input_count; i++)
		if (!strcmp(inputs[i].name, text))
			return run_one(&inputs[i], mutation, save_path) < 0 ? 1 : 0;
	fprintf(stderr, "%s: no file %s in the folders given\n", program, text);
	return 2;
}

/* ---- The corpus ---- */

static int load_file(const char *folder, const char *name)
{
	char path[4096];
	struct input *input = &inputs[input_count];

	snprintf(path, sizeof path, "%s/%s", folder, name);
	FILE *file = fopen(path, "rb");
	input->name = strdup(name);
	input->bytes = malloc(INPUT_BYTES_MAX);
	if (!file || !input->name || !input->bytes) {
		fprintf(stderr, "%s: could not be read: %s\n", path, strerror(errno));
		return -1;
	}
	input->size = fread(input->bytes, 1, INPUT_BYTES_MAX, file);
	fclose(file);
	input_count++;
	return 0;
}

/* In the order of names, so that a seed means the same everywhere. */
static int load_folder(const char *folder)
{
	struct dirent **entries;
	int count = scandir(folder, &entries, NULL, alphasort), r = 0;

	if (count < 0) {
		fprintf(stderr, "%s: could not be read: %s\n", folder, strerror(errno));
		return -1;
	}
	for (int i = 0; i < count; i++) {
		if (!r && entries[i]->d_name[0] != '.' && input_count < FILES_MAX)
			r = load_file(folder, entries[i]->d_name);
		free(entries[i]);
	}
	free(entries);
	return r;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "seed", required_argument, NULL, 's' }, { "mutations", required_argument, NULL, 'm' },
		{ "only", required_argument, NULL, 'o' }, { "save", required_argument, NULL, 'w' }, { 0 },
	};
	char *only = NULL, *save_path = NULL;
	int c;

	program = argv[0];
	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 's': seed = strtoull(optarg, NULL, 10); break;
		case 'm': mutations = strtoull(optarg, NULL, 10); break;
		case 'o': only = optarg; break;
		case 'w': save_path = optarg; break;
		default: return 2;
		}
	}
	folders = argv + optind;
	folder_count = argc - optind;
	for (int i = 0; i < folder_count; i++)
		if (load_folder(folders[i]) < 0)
			return 2;
	if (!input_count) {
		fprintf(stderr, "usage: %s [--seed S] [--mutations N] [--only FILE:M] [--save OUT] FOLDER...\n", program);
		return 2;
	}
	watch();
	int r = only ? run_only(only, save_path) : run_all();
	for (unsigned i = 0; i < input_count; i++) {
		free(inputs[i].name);
		free(inputs[i].bytes);
	}
	return r;
}
