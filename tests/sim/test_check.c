/* The self-check finds what is wrong: each case damages one thing by the filesystem's own means, so that every tag is right,
 * commits it, and the check must say something that names it. */
#include "fs/core.h"
#include "tests/sim/damage.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static char found[8192];

static void collect(void *ctx, const char *text)
{
	(void)ctx;
	size_t n = strlen(found);
	snprintf(found + n, sizeof found - n, "%s\n", text);
}

static bool fails(const struct damage *damage, struct simfs *base)
{
	struct simfs *sim = simfs_clone(base);
	found[0] = 0;
	int r = simfs_open(sim);
	if (r == 0 && damage->body)
		r = damage_apply(sim->fs, damage);
	int64_t n = r == 0 ? fs_check(sim->fs, true, collect, NULL) : r;
	bool right = damage->body ? n > 0 && strstr(found, damage->says) : n == 0;
	if (!right)
		fprintf(stderr, "failed: %s: %lld findings, \"%s\" was to be said, this was:\n%s", damage->name, (long long)n,
			damage->says ? damage->says : "", found);
	simfs_free(sim);
	return !right;
}

/* Parity of a row in use is damaged at rest: only the check of parity sees it. */
static bool parity_fails(struct simfs *base)
{
	struct simfs *sim = simfs_clone(base);
	uint64_t wrong = 0;
	address at = 0;
	found[0] = 0;
	if (simfs_open(sim) < 0)
		return true;
	int r = damage_extent(sim->fs, &at);
	if (r == 0) {
		const struct band *b = config_band(sim->fs->config, address_band(at));
		const struct column *c = &b->columns[band_parity_column(b, band_row_of(b, at))];
		unsigned member = c->member;
		wrong = column_row_offset_bytes(&sim->fs->config->geometry, c, band_row_of(b, at)) + 77;
		simfs_close(sim, true);
		simdisk_flip(sim->world->disks[member], wrong, 1);
		r = simfs_open(sim);
	}
	bool right = r == 0 && fs_check(sim->fs, false, collect, NULL) == 0 && fs_check(sim->fs, true, collect, NULL) == 1
		&& strstr(found, "Parity of band");
	if (!right)
		fprintf(stderr, "failed: parity: error %d, %s\n", -r, found);
	simfs_free(sim);
	return !right;
}

static int prepare(struct simfs *sim)
{
	int r = damage_prepare(sim);
	if (r == 0 && fs_check(sim->fs, true, collect, NULL) != -EBUSY)
		r = -EINVAL;     /* it must refuse while something is dirty */
	return r == 0 ? simfs_close(sim, false) : r;
}

int main(void)
{
	struct simfs *base;
	unsigned failed = 0;
	if (simfs_make(&base, 3, 8u << 20, CIPHER_NONE, 3) < 0 || prepare(base) < 0)
		return 1;
	for (size_t i = 0; i < damage_count; i++)
		failed += fails(&damages[i], base);
	failed += parity_fails(base);
	simfs_free(base);
	printf("%zu cases, %u failed\n", damage_count + 1, failed);
	return failed ? 1 : 0;
}
