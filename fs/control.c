/* Fills the structure that tools get about an array, mounted or not (fs/control.h). */
#include "fs/control.h"

#include "base/cleanup.h"
#include "fs/core.h"
#include "fs/space/rowwalk.h"
#include "fs/upkeep/reshape.h"
#include "raid/array_step.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

bool control_status_valid(const struct control_status *s)
{
	if (s->version != CONTROL_VERSION || s->member_count > MEMBERS_MAX || !memchr(s->name, 0, sizeof s->name) ||
	    !memchr(s->why_read_only, 0, sizeof s->why_read_only))
		return false;
	for (unsigned i = 0; i < MEMBERS_MAX; i++)
		if (!memchr(s->members[i].path, 0, sizeof s->members[i].path))
			return false;
	for (unsigned i = 0; i < STALL_TASKS; i++)
		if (!memchr(s->stalled[i], 0, sizeof s->stalled[i]))
			return false;
	return !s->has_space || s->free_bytes <= s->capacity_bytes;
}

int control_status_index(const struct control_status *status, const struct uuid *member)
{
	for (unsigned i = 0; i < status->member_count && i < MEMBERS_MAX; i++)
		if (status->members[i].role != MEMBER_UNUSED && uuid_equal(&status->members[i].uuid, member))
			return (int)i;
	return -1;
}

static void fill_head(struct control_status *s, const struct label *label)
{
	memset(s, 0, sizeof *s);
	s->version = CONTROL_VERSION;
	s->cipher = label->cipher;
	s->array = label->array;
	memcpy(s->name, label->name, sizeof s->name);
	s->name[sizeof s->name - 1] = '\0';
}

static void fill_gap(struct control_member *m, const struct gap *gap)
{
	m->has_gap = gap->present;
	m->gap_from = gap->present ? gap->from : 0;
	m->gap_to = gap->present ? gap->to : 0;
}

static void fill_progress(struct fs *fs, struct control_member *m, address position)
{
	SCOPED_LOCK(&fs->lock);
	rowwalk_progress(fs, position, &m->filled_bytes, &m->to_fill_bytes);
}

static void fill_job(struct fs *fs, struct control_job *ret_job)
{
	struct array_job job;
	if (!array_job(fs->array, &job))
		return;
	ret_job->running = true;
	ret_job->source = (uint8_t)__builtin_ctz(job.sources);
	ret_job->targets = job.targets;
	ret_job->waits = reshape_waits(fs, &job);
	SCOPED_LOCK(&fs->lock);
	rowwalk_progress(fs, job.position, &ret_job->done_bytes, &ret_job->total_bytes);
}

/* It went read-only because of failures, not because it was asked to be. */
static bool gave_up(struct fs *fs)
{
	SCOPED_LOCK(&fs->lock);
	return !fs->options.read_only && (fs->read_only || fs->error || array_read_only(fs->array));
}

/* A member's failure comes before the commit's that it leads to. */
static void fill_why(struct fs *fs, char ret_text[ARRAY_WHY_BYTES])
{
	array_why_read_only(fs->array, ret_text);
	SCOPED_LOCK(&fs->lock);
	if (!*ret_text)
		memcpy(ret_text, fs->why_read_only, ARRAY_WHY_BYTES);
}

void control_status_of_fs(struct fs *fs, struct control_status *ret_status)
{
	struct array *array = fs_array(fs);
	struct fs_space space;

	fs_space(fs, &space);
	fill_head(ret_status, array_label(array));
	ret_status->mounted = true;
	ret_status->startable = !gave_up(fs);
	ret_status->read_only = fs_read_only(fs) || !ret_status->startable;
	if (!ret_status->startable)
		fill_why(fs, ret_status->why_read_only);
	ret_status->degraded = array_degraded(array);
	ret_status->has_engine = fs->keys->data.cipher != CIPHER_NONE;
	ret_status->engine = (uint8_t)fs->keys->data.engine;
	ret_status->generation = fs_generation(fs);
	ret_status->has_space = true;
	ret_status->capacity_bytes = space.capacity_blocks * BLOCK_BYTES;
	ret_status->free_bytes = space.free_blocks * BLOCK_BYTES;
	fs_scrub_status(fs, &ret_status->scrub);
	fill_job(fs, &ret_status->job);
	for (unsigned i = 0; i < STALL_TASKS; i++)
		stall_text(fs, (enum stall_task)i, ret_status->stalled[i]);
	uint32_t needed = config_needed(fs->config), have = config_with_columns(fs->config);
	ret_status->member_count = array_member_count(array);
	for (unsigned i = 0; i < ret_status->member_count && i < MEMBERS_MAX; i++) {
		struct control_member *m = &ret_status->members[i];
		struct member_status status;

		array_member_status(array, i, &status);
		snprintf(m->path, sizeof m->path, "%s", status.name);
		m->uuid = status.uuid;
		m->role = status.role;
		m->needed = needed >> i & 1;
		m->has_columns = have >> i & 1;
		/* Caught up, but no root says so yet: were another member to be lost now, it would not count. */
		m->state = status.state == MEMBER_IN_SYNC && !status.gap.present && !status.settled ? MEMBER_FILLING : status.state;
		fill_gap(m, &status.gap);
		if (status.gap.present && status.state != MEMBER_OUT)
			fill_progress(fs, m, status.gap.position);
		m->size_bytes = status.size_bytes;
		m->read_errors = status.read_errors;
		m->write_errors = status.write_errors;
		m->healed = status.healed;
		m->caught_up_bytes = status.caught_up_bytes;
	}
}

static const struct probe_member *find_member(const struct probe *probe, const struct uuid *uuid)
{
	for (unsigned i = 0; i < probe->count; i++)
		if (!probe->members[i].label_status && uuid_equal(&probe->members[i].label.member, uuid))
			return &probe->members[i];
	return NULL;
}

static const struct label *any_label(const struct probe *probe)
{
	for (unsigned i = 0; i < probe->count; i++)
		if (!probe->members[i].label_status)
			return &probe->members[i].label;
	return NULL;
}

int control_status_of_probe(const struct probe *probe, struct control_status *ret_status)
{
	const struct label *label = any_label(probe);
	struct choice_member choice_members[MEMBERS_MAX] = { 0 };
	struct config *config;
	struct choice choice;
	unsigned out = 0;

	int r = label ? probe_config(probe, &config) : -EBADMSG;
	if (r < 0)
		return r;
	fill_head(ret_status, label);
	ret_status->member_count = config->member_count;
	uint32_t needed = config_needed(config), have = config_with_columns(config);
	for (unsigned i = 0; i < config->member_count && i < MEMBERS_MAX; i++) {
		const struct probe_member *p = find_member(probe, &config->members[i].uuid);
		struct control_member *m = &ret_status->members[i];

		m->uuid = config->members[i].uuid;
		m->role = config->members[i].role;
		m->needed = needed >> i & 1;
		m->has_columns = have >> i & 1;
		m->size_bytes = config->members[i].size_bytes;
		if (!p)
			continue;
		snprintf(m->path, sizeof m->path, "%s", p->disk ? p->disk->name : "");
		choice_members[i].present = true;
		choice_members[i].has_root = p->has_root;
		choice_members[i].root = p->root_hint;
	}
	choose_root(choice_members, config->member_count, config_voters(config), &choice);
	bool chosen = choice.result == CHOICE_OK || choice.result == CHOICE_TOO_FEW;
	ret_status->startable = choice.result == CHOICE_OK && config_can_do_without(config, ~choice.in_sync);
	if (chosen)
		ret_status->generation = choice_members[choice.root_member].root.generation;
	for (unsigned i = 0; i < config->member_count; i++) {
		struct control_member *m = &ret_status->members[i];
		bool in_sync = chosen && choice.in_sync & UINT32_C(1) << i;
		/* What choose_root adds itself (an opening root names a present one in sync or out) is not yet so on disk. */
		m->state = in_sync ? MEMBER_IN_SYNC : MEMBER_OUT;
		if (chosen)
			fill_gap(m, &choice_members[choice.root_member].root.members[i].gap);
		if (m->needed && !in_sync)
			out++;
	}
	ret_status->degraded = out > 0 || !chosen;
	config_free(config);
	return 0;
}
