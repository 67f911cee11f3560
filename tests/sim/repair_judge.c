/* What must be there after a repair.  See repair.h. */
#include "tests/sim/repair.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define MESSAGES_MAX 60u

unsigned repair_failed, repair_named_damaged, repair_named_parity, repair_named_gone, repair_named_left;
bool repair_verbose;

void (*repair_on_note)(enum check_note kind, const char *text);

static uint64_t others_dir;
static uint8_t named[OTHERS];            /* by which repairs (bits: the depth) one of the others was said to have lost data */

bool repair_check(bool ok, const char *what, const char *name, const char *file, int line)
{
	if (!ok && ++repair_failed <= MESSAGES_MAX)
		fprintf(stderr, "failed, %s:%d: %s: %s\n", file, line, name, what);
	return ok;
}

static void note(void *ctx, enum check_note kind, const char *text)
{
	static const char *const kinds[] = { "found", "fixed", "lost", "info" };
	(void)ctx;
	unsigned i;
	const char *other = strstr(text, "/others/other ");
	if (kind == CHECK_LOST && other && strstr(text, "a part of its data") && sscanf(other, "/others/other %u", &i) == 1 && i < OTHERS)
		named[i] |= (uint8_t)(1u << cut_depth);
	if (repair_on_note)
		repair_on_note(kind, text);
	repair_named_parity += kind == CHECK_FIXED && strstr(text, "was written anew");
	repair_named_gone += kind == CHECK_FIXED && !strncmp(text, "Nothing is left in band", 23);
	repair_named_left += kind == CHECK_INFO && strstr(text, "stays as it is: not all data of that row can be read.");
	repair_named_damaged += kind == CHECK_LOST && strstr(text, "\"/d/f\"") && strstr(text, "cannot be read");
	if (repair_verbose)
		printf("    %s: %s\n", kinds[kind], text);
}

int repair_run(struct fs *fs, bool repair, struct fs_check_result *ret_result)
{
	struct fs_check_options options = { .data = true, .repair = repair, .note = note };
	return fs_check_run(fs, &options, ret_result);
}

int repair_open(struct simfs *sim, bool repair, bool salvage)
{
	sim->options.repair = repair;
	sim->options.read_only = sim->options.salvage = salvage;
	int r = simfs_open(sim);
	sim->options.repair = sim->options.salvage = sim->options.read_only = false;
	return r;
}

/* ---- Files that nothing happens to ---- */

static unsigned other_bytes(unsigned i) { return i % 8 == 0 ? 30000 + i * 7 : 900 + i; }

static void other_content(unsigned i, uint8_t *ret_bytes)
{
	for (unsigned k = 0; k < other_bytes(i); k++)
		ret_bytes[k] = (uint8_t)(k * 31 + k / 256 + i);
}

int make_others(struct fs *fs)
{
	static uint8_t bytes[40000];
	struct fs_attr attr;
	int r = fs_mknod(fs, 1, "others", S_IFDIR | 0755, 0, (struct fs_cred){ 0 }, &attr);
	others_dir = attr.ino;
	for (unsigned i = 0; i < OTHERS && r == 0; i++) {
		char name[32];
		snprintf(name, sizeof name, "other %u", i);
		other_content(i, bytes);
		r = fs_mknod(fs, others_dir, name, S_IFREG | 0644, 0, (struct fs_cred){ 0 }, &attr);
		if (r == 0 && fs_write(fs, attr.ino, bytes, other_bytes(i), 0, false, NULL) != (ssize_t)other_bytes(i))
			r = -EIO;
		if (r == 0 && i % 60 == 59)
			r = fs_sync(fs);
	}
	return r;
}

static void forget_named(void)
{
	for (unsigned i = 0; i < OTHERS; i++)
		named[i] &= (uint8_t)~(1u << cut_depth);
}

/* How many of them read as they were; one that reads as something else, and was not named by one of the repairs, is `wrong`. */
static unsigned count_others(struct fs *fs, unsigned repairs, unsigned *ret_wrong)
{
	static uint8_t bytes[40000], want[40000];
	unsigned right = 0;
	*ret_wrong = 0;
	for (unsigned i = 0; i < OTHERS; i++) {
		char name[32];
		struct fs_attr attr;
		snprintf(name, sizeof name, "other %u", i);
		other_content(i, want);
		if (fs_lookup(fs, others_dir, name, &attr) < 0)
			continue;
		ssize_t n = fs_read(fs, attr.ino, bytes, sizeof bytes, 0);
		if (n == (ssize_t)other_bytes(i) && !memcmp(bytes, want, (size_t)n))
			right++;
		else if (n >= 0 && !(named[i] & repairs))
			++*ret_wrong;
	}
	return right;
}

void check_others(struct fs *fs, const char *name, unsigned least, unsigned repairs)
{
	unsigned wrong, right = count_others(fs, repairs, &wrong);
	if (repair_verbose)
		printf("    %u others are right, %u wrong\n", right, wrong);
	CHECK(name, right >= least);
	CHECK(name, wrong == 0);
}

static bool count_entry(void *ctx, const struct fs_dirent *entry)
{
	*(unsigned *)ctx += entry->ino > 0;
	return true;
}

void check_listing(struct fs *fs, const char *name, unsigned least)
{
	unsigned plain = 0, plus = 0;
	int r = fs_readdir(fs, others_dir, 0, false, count_entry, &plain), s = fs_readdir(fs, others_dir, 0, true, count_entry, &plus);
	if (repair_verbose)
		printf("    %u listed (error %d), %u with attributes (error %d)\n", plain, -r, plus, -s);
	CHECK(name, least == 0 || (r == 0 && plain == OTHERS + 2));
	CHECK(name, least == 0 || (s == 0 && plus >= least + 2));
}

/* ---- After a repair ---- */

void check_caught_up(struct simfs *sim, const char *name)
{
	struct fs_check_result result = { 0 };
	memset(sim->left_out, 0, sizeof sim->left_out);
	if (!CHECK(name, simfs_open(sim) == 0))
		return;
	for (unsigned i = 0; i < 200 && array_degraded(fs_array(sim->fs)) && CHECK(name, fs_work(sim->fs) >= 0); i++)
		simfs_sleep(sim, INT64_C(20000000000));
	CHECK(name, !array_degraded(fs_array(sim->fs)));
	CHECK(name, fs_sync(sim->fs) == 0 && repair_run(sim->fs, false, &result) == 0);
	CHECK(name, result.found == 0);
	simfs_close(sim, false);
}

void repair_and_close(struct simfs *sim)
{
	struct fs_check_result result;
	forget_named();
	if (repair_open(sim, true, false) == 0)
		repair_run(sim->fs, true, &result);
	simfs_close(sim, false);
}

static bool any_left_out(const struct simfs *sim)
{
	return memchr(sim->left_out, true, sizeof sim->left_out);
}

void repair_all(struct simfs *sim, const struct repair_case *c)
{
	struct fs_check_result result = { 0 };
	const char *name = c->name;
	unsigned repairs = (2u << cut_depth) - 1;        /* this one, and those that were cut before */
	bool degraded = any_left_out(sim);
	if (!CHECK(name, repair_open(sim, true, false) == 0))
		return;
	forget_named();
	CHECK(name, repair_run(sim->fs, true, &result) == 0);
	CHECK(name, result.left == 0);
	CHECK(name, result.fixed == result.found);
	CHECK(name, simfs_close(sim, false) == 0);
	if (!CHECK(name, simfs_open(sim) == 0))
		return;
	CHECK(name, repair_run(sim->fs, false, &result) == 0);
	CHECK(name, result.found == 0);
	check_others(sim->fs, name, c->least, repairs);
	/* It works: a file more, and it is still clean. */
	struct fs_attr attr;
	int r = fs_mknod(sim->fs, 1, "after", S_IFREG | 0644, 0, (struct fs_cred){ 0 }, &attr);
	CHECK(name, r == 0 || r == -EEXIST);
	CHECK(name, fs_sync(sim->fs) == 0 && repair_run(sim->fs, false, &result) == 0 && result.found == 0);
	simfs_close(sim, false);
	if (degraded)
		check_caught_up(sim, name);
}
