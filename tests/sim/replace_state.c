/* What tests of replacing want to know of an array: see the header. */
#include "tests/sim/replace_state.h"

#include "fs/core.h"

#include <stdio.h>
#include <string.h>

#define SECOND_NS INT64_C(1000000000)

const struct config *replace_config_of(const struct simfs *sim) { return array_config(fs_array(sim->fs)); }

uint8_t replace_role_of(const struct simfs *sim, unsigned member)
{
	const struct config *config = replace_config_of(sim);
	return member < config->member_count ? config->members[member].role : MEMBER_UNUSED;
}

bool replace_at_rest(const struct simfs *sim)
{
	const struct config *config = replace_config_of(sim);
	for (unsigned m = 0; m < config->member_count; m++)
		if (config->members[m].role == MEMBER_REPLACEMENT)
			return false;
	return config->job_count == 0 && config_voters(config) == config_with_columns(config) && !array_degraded(fs_array(sim->fs));
}

static bool spares_ready(const struct simfs *sim)
{
	for (unsigned m = 0; m < array_member_count(fs_array(sim->fs)); m++) {
		struct member_status s;
		array_member_status(fs_array(sim->fs), m, &s);
		if (s.role == MEMBER_SPARE && s.name[0] && !s.settled)
			return false;
	}
	return true;
}

bool replace_settle(struct simfs *sim)
{
	for (unsigned i = 0; i < 600 && !(replace_at_rest(sim) && spares_ready(sim)); i++) {
		if (fs_work(sim->fs) < 0)
			return false;
		simfs_sleep(sim, 20 * SECOND_NS);
	}
	return replace_at_rest(sim) && spares_ready(sim) && fs_sync(sim->fs) == 0;
}

void replace_leave_out(struct simfs *sim, unsigned a, unsigned b)
{
	memset(sim->left_out, 0, sizeof sim->left_out);
	sim->left_out[a] = sim->left_out[b] = true;
}

void replace_tell(const struct simfs *sim)
{
	const struct config *config = replace_config_of(sim);
	printf("seed %llu, change %llu: version %llu, %u jobs\n", (unsigned long long)sim->world->seed, (unsigned long long)sim->world->changes,
		(unsigned long long)config->version, config->job_count);
	for (unsigned m = 0; m < config->member_count; m++) {
		struct member_status s;
		array_member_status(fs_array(sim->fs), m, &s);
		printf("  member %u: role %u, state %u, %s%s, gap %d (%llu, %llu]\n", m, s.role, s.state, s.settled ? "settled" : "",
			s.out_for_good ? "out for good" : "", s.gap.present, (unsigned long long)s.gap.from, (unsigned long long)s.gap.to);
	}
	printf("  last event: %s\n", sim->last_event);
}

bool replace_is_whole(struct simfs *sim, unsigned unused, const struct story *story)
{
	if (!story_clean(sim->fs) || !story_is_there(sim->fs, story) || sim->events[EVENT_UNREADABLE])
		return false;
	for (unsigned other = 0; other < sim->world->disk_count; other++) {
		if (other == unused)
			continue;
		replace_leave_out(sim, unused, other);
		sim->options.read_only = true;
		int r = simfs_remount(sim);
		if (r < 0)
			printf("without disk %u: %s\n", other, sim->fail.text);
		if (r < 0 || !story_is_there(sim->fs, story) || sim->events[EVENT_UNREADABLE])
			return false;
	}
	return true;
}
