/* Making an array and an empty filesystem on it: the same commit that serves a mounted one writes generation 1. */
#include "fs/core.h"
#include "fs/names/inode.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static int make_keys(const struct fs_mkfs *params, const struct env *env, struct label *label, struct keys **ret_keys, struct fail *fail)
{
	struct keys *keys = key_alloc(sizeof *keys);
	struct master_key *master = key_alloc(sizeof *master);
	int r = 0;
	if (!keys || !master)
		r = fail_set(fail, ENOMEM, FAIL_SYSTEM, "no memory for keys");
	else if (params->cipher == CIPHER_NONE)
		keys_none(&label->array, keys);
	else {
		struct slot_binding binding = { .uuid = label->array, .cipher = params->cipher, .incompat = label->incompat };
		master_key_make(env, master);
		r = slot_add(label->slots, master, params->secret, &binding, env, params->slot_description, fail);
		if (r == 0)
			keys_derive(master, params->cipher, &label->array, label->incompat, keys);
	}
	key_free(master);
	if (r < 0)
		key_free(keys);
	else
		*ret_keys = keys;
	return r;
}

static int make_config(struct disk **disks, unsigned count, struct label *label, const struct env *env, struct config *config,
	struct uuid *ret_members, struct fail *fail)
{
	uint64_t sizes[MEMBERS_MAX];
	uint32_t granules[MEMBERS_MAX];
	for (unsigned i = 0; i < count; i++) {
		sizes[i] = disks[i]->size_bytes;
		if (sizes[i] < MEMBER_MIN_BYTES)
			return fail_set(fail, EINVAL, FAIL_TOO_SMALL, "%s: too small for a member (%llu bytes; at least %u MiB are needed)",
				disks[i]->name, (unsigned long long)sizes[i], MEMBER_MIN_BYTES >> 20);
	}
	int r = geometry_plan(sizes, count, &label->geometry, granules);
	if (r < 0)
		return fail_set(fail, EINVAL, FAIL_TOO_SMALL, "no array can be planned over %u members of these sizes", count);
	*config = (struct config){ .array = label->array, .version = 1, .cipher = label->cipher, .geometry = label->geometry,
		.member_count = count, .next_band_id = 1 };
	for (unsigned i = 0; i < count; i++) {
		uuid_make(env, &ret_members[i]);
		config->members[i] = (struct config_member){ ret_members[i], MEMBER_VOTER, granules[i], sizes[i] };
	}
	r = config_make_bands(config);
	return r < 0 ? fail_set(fail, -r, FAIL_SYSTEM, "no memory for the band table") : 0;
}

/* The empty trees, a root directory, and the commit of generation 1. */
static int first_commit(struct fs *fs, const struct fs_mkfs *params)
{
	fs->open = txn_new(1);
	if (!fs->open)
		return -ENOMEM;
	fs->file.txn = fs->system.txn = 1;
	fs->opened = true;               /* nothing older can be chosen: no term is needed */
	fs->file.root = node_new(fs, TREE_FILE, 0);
	fs->system.root = node_new(fs, TREE_SYSTEM, 0);
	if (!fs->file.root || !fs->system.root)
		return -ENOMEM;
	int64_t now = fs_now_ns(fs);
	struct inode root = { .ino = OBJECT_ROOT, .mode = S_IFDIR | (params->root_mode & 07777), .uid = params->root_uid, .gid = params->root_gid,
		.links = 2, .parent = OBJECT_ROOT, .atime_ns = now, .mtime_ns = now, .ctime_ns = now, .btime_ns = now };
	pthread_mutex_lock(&fs->lock);
	int r = inode_prepare(fs, OBJECT_ROOT);
	if (r == 0)
		r = inode_store(fs, &root);
	fs->inode_count = 1;
	txn_mark_dirty(fs);
	pthread_mutex_unlock(&fs->lock);
	return r < 0 ? r : commit_run(fs);
}

int fs_mkfs(struct disk **disks, unsigned count, const struct fs_mkfs *params, struct uuid *ret_array_uuid, struct fail *fail)
{
	const struct env *env = params->env ? params->env : env_system();
	struct label label = { .format_version = FORMAT_VERSION, .cipher = (uint8_t)params->cipher, .sequence = 1 };
	struct config config = { 0 };
	struct uuid members[MEMBERS_MAX];
	struct keys *keys = NULL;
	struct array *array;
	struct fs *fs;
	uuid_make(env, &label.array);
	strncpy(label.name, params->name, sizeof label.name - 1);
	int r = make_config(disks, count, &label, env, &config, members, fail);
	if (r == 0)
		r = make_keys(params, env, &label, &keys, fail);
	if (r < 0) {
		for (unsigned i = 0; i < count; i++)
			disk_close(disks[i]);
		free(config.bands);
		free(config.columns);
		return r;
	}
	struct fs_options options = { .commit_interval_ms = UINT32_MAX, .threads = FS_INLINE, .env = env, .events = params->events };
	struct array_options array_options = { .env = env, .events = &params->events };
	r = array_create(disks, count, &label, members, &config, &array_options, &array, fail);
	free(config.bands);
	free(config.columns);
	if (r < 0) {
		key_free(keys);
		return r;
	}
	r = fs_new(array, keys, &options, &fs);
	if (r < 0) {
		array_close(array);
		key_free(keys);
		return fail_set(fail, ENOMEM, FAIL_SYSTEM, "not enough memory");
	}
	r = first_commit(fs, params);
	if (r < 0)
		fail_set(fail, -r, FAIL_SYSTEM, "the new filesystem could not be written: %s", strerror(-r));
	struct array_auth auth;
	fs_auth(keys, &auth);
	if (r == 0)
		r = array_create_finish(array, &auth, fail);
	fs_delete(fs);
	if (r == 0 && ret_array_uuid)
		*ret_array_uuid = label.array;
	return r;
}
