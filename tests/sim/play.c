/* The script, and playing it.  See play.h. */
#include "tests/sim/play.h"
#include "base/cleanup.h"
#include "fs/space/relocate.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define SEED 7
#define TARGET_BYTES_MAX 4000u

enum step_kind {
	ACT, ACT_WITHOUT, CLOSE, LOSE_POWER,
	MKDIR, CREATE, SYMLINK, WRITE, TRUNCATE, PUNCH, RESERVE, UNLINK, RMDIR, RENAME, LINK, XATTR, HOLD, RELEASE,
	READ, LIST, FSYNC, SYNC, WORK, RELOCATE,
};

/* `folder` NULL: the root directory. */
struct step { enum step_kind kind; const char *folder, *name, *to_folder, *to_name; size_t at, bytes; };

static const struct step script[] = {
	{ ACT, .name = "a fresh filesystem" },
	{ MKDIR, NULL, "d" },
	{ CREATE, "d", "a" },
	{ WRITE, "d", "a", .bytes = 50000 },
	{ SYNC },
	{ WRITE, "d", "a", .at = 20000, .bytes = 5000 },
	{ FSYNC, "d", "a" },
	{ CREATE, NULL, "b" },
	{ WRITE, NULL, "b", .bytes = 100 },
	{ FSYNC, NULL, "b" },
	{ RENAME, "d", "a", NULL, "c" },
	{ XATTR, NULL, "c", .bytes = 20000 },
	{ FSYNC, NULL, "c" },
	{ READ, NULL, "c" },
	{ WRITE, NULL, "c", .at = 3000, .bytes = 4097 },
	{ WRITE, NULL, "c", .at = 49000, .bytes = 9000 },
	{ FSYNC, NULL, "c" },
	{ TRUNCATE, NULL, "c", .bytes = 18000 },
	{ SYMLINK, NULL, "s", .bytes = 3000 },
	{ UNLINK, NULL, "b" },
	{ FSYNC },
	{ LIST },
	{ PUNCH, NULL, "c", .at = 5000, .bytes = 6000 },
	{ FSYNC, NULL, "c" },
	{ LOSE_POWER },

	{ ACT, .name = "after a replay" },
	{ READ, NULL, "c" },
	{ WRITE, NULL, "c", .at = 3000, .bytes = 300000 },
	{ FSYNC, NULL, "c" },
	{ XATTR, NULL, "c", .bytes = 30 },
	{ MKDIR, NULL, "e" },
	{ RENAME, NULL, "d", "e", "d" },
	{ LINK, NULL, "c", "e", "l" },
	{ SYNC },
	{ UNLINK, NULL, "s" },
	{ WRITE, "e", "l", .at = 40000, .bytes = 4096 },
	{ RESERVE, "e", "l", .at = 303000, .bytes = 50000 },
	{ FSYNC, "e", "l" },
	{ CREATE, NULL, "n" },
	{ WRITE, NULL, "n", .bytes = 30000 },
	{ FSYNC, NULL, "n" },
	{ RENAME, NULL, "n", NULL, "c" },
	{ FSYNC },
	{ HOLD, "e", "l" },
	{ UNLINK, "e", "l" },
	{ FSYNC, "e" },
	{ RELEASE },
	{ CREATE, NULL, "o" },
	{ WRITE, NULL, "o", .bytes = 70000 },
	{ HOLD, NULL, "o" },
	{ UNLINK, NULL, "o" },
	{ FSYNC },
	{ LIST, "e" },
	{ FSYNC, NULL, "c" },
	{ LOSE_POWER },

	{ ACT_WITHOUT, .name = "one member less, an orphan and a replay" },
	{ LIST },
	{ CREATE, NULL, "f" },
	{ WRITE, NULL, "f", .bytes = 60000 },
	{ FSYNC, NULL, "f" },
	{ WRITE, NULL, "c", .at = 10000, .bytes = 2000 },
	{ SYNC },
	{ READ, NULL, "c" },
	{ RMDIR, "e", "d" },
	{ WRITE, NULL, "f", .at = 30000, .bytes = 50000 },
	{ FSYNC, NULL, "f" },
	{ LOSE_POWER },

	{ ACT, .name = "catching up" },
	{ READ, NULL, "f" },
	{ WRITE, NULL, "f", .at = 1, .bytes = 2 },
	{ FSYNC, NULL, "f" },
	{ WORK },
	{ WRITE, NULL, "f", .at = 70000, .bytes = 20000 },
	{ FSYNC, NULL, "f" },
	{ TRUNCATE, NULL, "f", .bytes = 0 },
	{ FSYNC, NULL, "f" },
	{ SYNC },
	{ LOSE_POWER },

	{ ACT, .name = "relocation" },
	{ MKDIR, NULL, "g" },
	{ CREATE, "g", "1" },
	{ WRITE, "g", "1", .bytes = 18000 },
	{ SYNC },
	{ CREATE, "g", "2" },
	{ WRITE, "g", "2", .bytes = 150000 },
	{ SYNC },
	{ CREATE, "g", "3" },
	{ WRITE, "g", "3", .bytes = 20000 },
	{ FSYNC, "g", "3" },
	{ SYNC },
	{ UNLINK, "g", "2" },
	{ TRUNCATE, "g", "1", .bytes = 5000 },
	{ SYNC },
	{ RELOCATE },
	{ SYNC },
	{ READ, "g", "1" },
	{ READ, "g", "3" },
	{ WRITE, "g", "3", .at = 9000, .bytes = 9000 },
	{ FSYNC, "g", "3" },
	{ WRITE, "g", "1", .bytes = 3 },
	{ SYNC },
	{ CLOSE },
};

static const char *const kind_names[] = { [MKDIR] = "mkdir", "create", "symlink", "write", "truncate", "punch", "reserve",
	"unlink", "rmdir", "rename", "link", "setxattr", "hold", "release", "read", "list", "fsync", "sync", "work", "relocate" };

static const struct step *steps[PLAY_STEPS_MAX];         /* the script without its acts */
static char case_text[300];

void play_broken(const char *what, const char *why)
{
	fprintf(stderr, "failed: %s: %s: %s\n", case_text, what, why);
	exit(1);
}

void play_case(const char *format, ...)
{
	va_list args;
	va_start(args, format);
	vsnprintf(case_text, sizeof case_text, format, args);
	va_end(args);
}

void play_complain(void *ctx, const char *text)
{
	(void)ctx;
	fprintf(stderr, "check: %s\n", text);
}

/* ---- Steps ---- */

static int slot_in(const struct model *m, int folder, const char *name)
{
	int i = model_find(m, folder, name);
	assert(i >= 0);
	return m->names[i].child;
}

static int folder_slot(const struct model *m, const char *folder)
{
	return folder ? slot_in(m, MODEL_ROOT, folder) : MODEL_ROOT;
}

static int slot_of(const struct model *m, const struct step *s)
{
	return s->name ? slot_in(m, folder_slot(m, s->folder), s->name) : folder_slot(m, s->folder);
}

static void add_name(struct model *m, int folder, const char *name, int child)
{
	m->names[model_free_name(m)] = (struct model_name){ folder, child, name };
	if (model_is_dir(m, child)) {
		m->inodes[folder].links++;
		m->inodes[child].parent = folder;
	}
}

static void remove_name(struct model *m, int folder, const char *name)
{
	int i = model_find(m, folder, name);
	if (model_is_dir(m, m->names[i].child))
		m->inodes[folder].links--;
	m->names[i].name = NULL;
}

static void drop_link(struct model *m, int slot)
{
	m->inodes[slot].links = model_is_dir(m, slot) ? 0 : m->inodes[slot].links - 1;
	model_reap(m, slot);
}

static int make(struct fs *fs, struct model *m, const struct step *s)
{
	char target[TARGET_BYTES_MAX + 1] = "";
	int folder = folder_slot(m, s->folder);
	uint64_t ino = m->inodes[folder].ino;
	uint32_t mode = s->kind == MKDIR ? S_IFDIR | 0755 : s->kind == SYMLINK ? S_IFLNK | 0777 : S_IFREG | 0644;
	struct fs_cred cred = { 0 };
	struct fs_attr attr;
	if (s->kind == SYMLINK)
		memset(target, 't', s->bytes);
	int r = s->kind == SYMLINK ? fs_symlink(fs, ino, s->name, target, cred, &attr)
		: fs_mknod(fs, ino, s->name, mode, 0, cred, &attr);
	if (r < 0)
		return r;
	int slot = model_free_slot(m);
	struct model_inode *i = &m->inodes[slot];
	*i = (struct model_inode){ .ino = attr.ino, .mode = mode, .links = S_ISDIR(mode) ? 2 : 1 };
	if (!S_ISDIR(mode))
		i->data = blob_new(strlen(target));
	if (s->kind == SYMLINK)
		memcpy(i->data->data, target, s->bytes);
	add_name(m, folder, s->name, slot);
	return 0;
}

static int write_data(struct fs *fs, struct model *m, const struct step *s)
{
	struct model_inode *i = &m->inodes[slot_of(m, s)];
	autofree uint8_t *data = sim_alloc(s->bytes);
	for (size_t k = 0; k < s->bytes; k++)
		data[k] = (uint8_t)((s->at + k) * 31 + (s->at + k) / 251 + (size_t)(s - script));
	ssize_t n = simfs_write_buffer(fs, i->ino, data, s->bytes, s->at);
	if (n < 0)
		return (int)n;
	size_t size = i->data->bytes;
	memcpy(model_own_data(i, s->at + s->bytes > size ? s->at + s->bytes : size)->data + s->at, data, s->bytes);
	return 0;
}

static int cut_data(struct fs *fs, struct model *m, const struct step *s)
{
	struct model_inode *i = &m->inodes[slot_of(m, s)];
	struct fs_attr attr = { .size_bytes = s->bytes }, after;
	if (s->kind == RESERVE)
		return fs_fallocate(fs, i->ino, FALLOC_FL_KEEP_SIZE, s->at, s->bytes);
	int r = s->kind == TRUNCATE ? fs_setattr(fs, i->ino, &attr, FS_SET_SIZE, &after)
		: fs_fallocate(fs, i->ino, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, s->at, s->bytes);
	if (r < 0)
		return r;
	struct blob *blob = model_own_data(i, s->kind == TRUNCATE ? s->bytes : i->data->bytes);
	if (s->kind == PUNCH)
		memset(blob->data + s->at, 0, s->bytes);
	return 0;
}

static int change_names(struct fs *fs, struct model *m, const struct step *s)
{
	int folder = folder_slot(m, s->folder), child = slot_in(m, folder, s->name);
	uint64_t ino = m->inodes[folder].ino;
	struct fs_attr attr;
	if (s->kind == UNLINK || s->kind == RMDIR) {
		int r = s->kind == UNLINK ? fs_unlink(fs, ino, s->name) : fs_rmdir(fs, ino, s->name);
		if (r == 0) {
			remove_name(m, folder, s->name);
			drop_link(m, child);
		}
		return r;
	}
	int to = folder_slot(m, s->to_folder), over = model_find(m, to, s->to_name);
	int r = s->kind == LINK ? fs_link(fs, m->inodes[child].ino, m->inodes[to].ino, s->to_name, &attr)
		: fs_rename(fs, ino, s->name, m->inodes[to].ino, s->to_name, 0);
	if (r < 0)
		return r;
	if (over >= 0) {
		int gone = m->names[over].child;
		remove_name(m, to, s->to_name);
		drop_link(m, gone);
	}
	if (s->kind == LINK)
		m->inodes[child].links++;
	else
		remove_name(m, folder, s->name);
	add_name(m, to, s->to_name, child);
	return 0;
}

static int set_xattr(struct fs *fs, struct model *m, const struct step *s)
{
	struct model_inode *i = &m->inodes[slot_of(m, s)];
	struct blob *value = blob_new(s->bytes);
	memset(value->data, (int)(s->bytes & 0xff), s->bytes);
	int r = fs_setxattr(fs, i->ino, "user.test", value->data, s->bytes, 0);
	if (r == 0) {
		blob_unref(i->xattrs[0].value);
		i->xattrs[0] = (struct model_xattr){ "user.test", blob_ref(value) };
	}
	blob_unref(value);
	return r;
}

static int hold(struct fs *fs, struct model *m, const struct step *s)
{
	if (s->kind == HOLD) {
		struct model_inode *i = &m->inodes[slot_of(m, s)];
		int r = fs_ref(fs, i->ino);
		i->refs += r == 0;
		return r;
	}
	for (int slot = 0; slot < (int)MODEL_INODES; slot++)
		if (m->inodes[slot].refs > 0) {
			m->inodes[slot].refs--;
			fs_unref(fs, m->inodes[slot].ino, 1);
			model_reap(m, slot);
		}
	return 0;
}

static int read_data(struct fs *fs, const struct model *m, const struct step *s)
{
	const struct model_inode *i = &m->inodes[slot_of(m, s)];
	autofree uint8_t *data = sim_alloc(i->data->bytes + 1);
	ssize_t n = fs_read(fs, i->ino, data, i->data->bytes + 1, 0);
	if (n < 0)
		return (int)n;
	if (n != (ssize_t)i->data->bytes || memcmp(data, i->data->data, (size_t)n))
		play_broken(s->name, "wrong data was read");
	return 0;
}

struct listing { const struct model *model; int folder; unsigned count; bool wrong; };

static bool list_entry(void *ctx, const struct fs_dirent *entry)
{
	struct listing *l = ctx;
	if (strcmp(entry->name, ".") && strcmp(entry->name, "..")) {
		l->wrong |= model_find(l->model, l->folder, entry->name) < 0;
		l->count++;
	}
	return true;
}

static int list(struct fs *fs, const struct model *m, const struct step *s)
{
	struct listing l = { .model = m, .folder = folder_slot(m, s->folder) };
	unsigned count = 0;
	int r = fs_readdir(fs, m->inodes[l.folder].ino, 0, true, list_entry, &l);
	for (unsigned i = 0; i < MODEL_NAMES; i++)
		count += m->names[i].name && m->names[i].dir == l.folder;
	if (l.wrong || (r == 0 && l.count != count))
		play_broken("a list of names", "it is wrong");
	return r;
}

/* What threads do otherwise. */
static int work(struct simfs *sim)
{
	int r = 0;
	for (unsigned i = 0; i < 200 && r >= 0 && (i == 0 || array_degraded(fs_array(sim->fs))); i++) {
		r = fs_work(sim->fs);
		simfs_sleep(sim, INT64_C(20000000000));
	}
	return r < 0 ? r : 0;
}

static int relocate(struct play *play)
{
	int64_t blocks = relocate_batch(play->sim->fs);
	if (blocks > 0)
		play->moved_blocks += (unsigned)blocks;
	return blocks < 0 ? (int)blocks : 0;
}

static int run_step(struct play *play, const struct step *s)
{
	struct fs *fs = play->sim->fs;
	struct model *m = &play->model;
	switch (s->kind) {
	case MKDIR: case CREATE: case SYMLINK:
		return make(fs, m, s);
	case WRITE:
		return write_data(fs, m, s);
	case TRUNCATE: case PUNCH: case RESERVE:
		return cut_data(fs, m, s);
	case UNLINK: case RMDIR: case RENAME: case LINK:
		return change_names(fs, m, s);
	case XATTR:
		return set_xattr(fs, m, s);
	case HOLD: case RELEASE:
		return hold(fs, m, s);
	case READ:
		return read_data(fs, m, s);
	case LIST:
		return list(fs, m, s);
	case FSYNC:
		return fs_fsync(fs, m->inodes[slot_of(m, s)].ino, false);
	case SYNC:
		return fs_sync(fs);
	case WORK:
		return work(play->sim);
	case RELOCATE:
		return relocate(play);
	default:
		abort();
	}
}

int play_step(struct play *play)
{
	const struct step *s = steps[play->step];
	int r = run_step(play, s);
	if (r < 0)
		return r;
	play->step++;
	if (s->kind == SYNC || s->kind == FSYNC)
		play->synced = play->step;
	return 0;
}

const char *play_step_name(const struct play *play)
{
	static char text[100];
	const struct step *s = steps[play->step];
	snprintf(text, sizeof text, "step %u (%s %s)", play->step, kind_names[s->kind], s->name ? s->name : "");
	return text;
}

bool play_step_in_parts(const struct play *play)
{
	return steps[play->step]->kind == TRUNCATE || steps[play->step]->kind == PUNCH;
}

bool play_step_takes_numbers(const struct play *play) { return steps[play->step]->kind == XATTR; }

bool play_more(const struct play *play) { return play->step < play->act->end; }

/* ---- Runs ---- */

void play_begin(struct play *play, const struct recording *recording, unsigned act)
{
	const struct play_act *a = &recording->acts[act];
	*play = (struct play){ .recording = recording, .act = a, .step = a->first, .synced = a->first };
	play->sim = simfs_clone(recording->starts[act]);
	memset(play->sim->left_out, 0, sizeof play->sim->left_out);
	if (a->left_out >= 0)
		play->sim->left_out[a->left_out] = true;
	memset(play->sim->events, 0, sizeof play->sim->events);
	model_copy(&play->model, &recording->states[a->first]);
	model_forget_refs(&play->model);
}

void play_end(struct play *play)
{
	simfs_free(play->sim);
	model_free(&play->model);
}

unsigned play_must_be(const struct play *play, struct fs *fs, unsigned from, unsigned to)
{
	char why[500] = "";
	for (unsigned i = to + 1; i-- > from; ) {
		struct model model;
		model_copy(&model, &play->recording->states[i]);
		model_forget_refs(&model);
		bool same = model_compare(&model, fs, why, sizeof why);
		model_free(&model);
		if (same)
			return i;
	}
	play_broken("not what was synced, nor anything later", why);
}

void play_must_survive(const struct play *play, enum simcut_policy policy, unsigned from, unsigned to)
{
	struct simfs *sim = simfs_clone(play->sim);
	simworld_cut(sim->world, policy);
	if (simfs_open(sim) < 0)
		play_broken("after a loss of power", sim->fail.text);
	play_must_be(play, sim->fs, from, to);
	if (fs_sync(sim->fs) < 0 || fs_check(sim->fs, true, play_complain, NULL) != 0)
		play_broken("after a loss of power", "the check finds something");
	simfs_free(sim);
}

void play_catch_up(struct simfs *sim)
{
	int r = work(sim);
	if (r < 0 || array_degraded(fs_array(sim->fs)))
		play_broken("catching up", r < 0 ? strerror(-r) : "it does not end");
	if (fs_sync(sim->fs) < 0 || fs_check(sim->fs, true, play_complain, NULL) != 0)
		play_broken("after catching up", "the check finds something");
}

/* ---- The recording ---- */

static void read_script(struct recording *recording)
{
	unsigned act = 0;
	for (unsigned i = 0; i < ARRAY_COUNT(script); i++) {
		const struct step *s = &script[i];
		struct play_act *a = &recording->acts[act];
		if (s->kind == ACT || s->kind == ACT_WITHOUT)
			*a = (struct play_act){ s->name, recording->steps, 0, s->kind == ACT ? -1 : 1, false, false };
		else if (s->kind == CLOSE || s->kind == LOSE_POWER) {
			a->end = recording->steps;
			a->power_lost = s->kind == LOSE_POWER;
			act++;
		} else
			steps[recording->steps++] = s;
	}
	assert(act == PLAY_ACTS);
}

void play_record(struct recording *recording)
{
	unsigned moved_blocks = 0;
	memset(recording, 0, sizeof *recording);
	read_script(recording);
	play_case("the workload by itself");
	model_init(&recording->states[0]);
	if (simfs_make(&recording->starts[0], PLAY_MEMBERS, PLAY_MEMBER_BYTES, CIPHER_XCHACHA20_POLY1305, SEED) < 0
		|| simfs_close(recording->starts[0], false) < 0)
		play_broken("the start", "it cannot be made");
	for (unsigned act = 0; act < PLAY_ACTS; act++) {
		struct play play;
		play_begin(&play, recording, act);
		if (simfs_open(play.sim) < 0)
			play_broken(play.act->title, play.sim->fail.text);
		recording->acts[act].degraded = array_degraded(fs_array(play.sim->fs));
		while (play_more(&play)) {
			play_case("the workload by itself, after %s", play_step_name(&play));
			int r = play_step(&play);
			if (r < 0)
				play_broken("it fails", strerror(-r));
			model_copy(&recording->states[play.step], &play.model);
			play_must_survive(&play, SIMCUT_DROP_ALL, play.synced, play.step);
		}
		if (play.synced != play.step)
			play_broken(play.act->title, "it does not end synced");
		simfs_close(play.sim, play.act->power_lost);
		if (play.act->power_lost)
			simworld_cut(play.sim->world, SIMCUT_DROP_ALL);
		recording->starts[act + 1] = simfs_clone(play.sim);
		moved_blocks += play.moved_blocks;
		play_end(&play);
	}
	if (!moved_blocks)
		play_broken("relocation", "it moved nothing");
}

void play_forget(struct recording *recording)
{
	for (unsigned i = 0; i <= recording->steps; i++)
		model_free(&recording->states[i]);
	for (unsigned i = 0; i <= PLAY_ACTS; i++)
		simfs_free(recording->starts[i]);
}
