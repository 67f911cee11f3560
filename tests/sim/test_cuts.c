/* Every cut of a short workload, and every fault of one member in it.
 *
 *	test_cuts [--thorough] [--verbose]
 *
 * Cuts: the power fails at each write and flush of the workload.  Of what was not flushed then, nothing, everything or a random
 * part stays; and the next open finds all members, or lacks any one, or finds any one silently older.  It must open, be
 * what it was at the last acknowledged commit or at the one under way, pass the self-check, and go on.
 * Faults: one member fails one I/O, or loses one write, or has one block damaged.  Nothing may be noticed but by events. */
#include "base/cleanup.h"
#include "tests/lib/model.h"
#include "tests/lib/simfs.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define MEMBERS 3u
#define MEMBER_BYTES (8u << 20)
#define COMMITS 8u
#define SEED 7

#ifdef __SANITIZE_ADDRESS__
#define STRIDE_DEFAULT 7u
#else
#define STRIDE_DEFAULT 1u
#endif

static struct model states[COMMITS + 1];        /* as of each commit of the workload; [0]: before it */
static unsigned long opened_count, tried_count;
static bool verbose;

static void complain(void *ctx, const char *text)
{
	(void)ctx;
	fprintf(stderr, "check: %s\n", text);
}

static void broken(const char *what, const char *why)
{
	fprintf(stderr, "failed: %s: %s\n", what, why);
	exit(1);
}

/* ---- The workload: each step changes the filesystem and the model alike ---- */

struct play {
	struct fs *fs;
	struct model *model;
	int result;                      /* of the first thing that failed */
};

static int slot_of(const struct play *p, int dir, const char *name)
{
	int i = model_find(p->model, dir, name);
	return i < 0 ? -1 : p->model->names[i].child;
}

static void add_name(struct model *m, int dir, const char *name, int child)
{
	m->names[model_free_name(m)] = (struct model_name){ dir, child, name };
	if (model_is_dir(m, child)) {
		m->inodes[dir].links++;
		m->inodes[child].parent = dir;
	}
}

static void remove_name(struct model *m, int dir, const char *name)
{
	int i = model_find(m, dir, name);
	if (model_is_dir(m, m->names[i].child))
		m->inodes[dir].links--;
	m->names[i].name = NULL;
}

static void make(struct play *p, int dir, const char *name, uint32_t mode, const char *target)
{
	struct fs_cred cred = { 0 };
	struct fs_attr attr;
	if (p->result < 0)
		return;
	uint64_t ino = p->model->inodes[dir].ino;
	p->result = target ? fs_symlink(p->fs, ino, name, target, cred, &attr) : fs_mknod(p->fs, ino, name, mode, 0, cred, &attr);
	if (p->result < 0)
		return;
	int slot = model_free_slot(p->model);
	struct model_inode *i = &p->model->inodes[slot];
	*i = (struct model_inode){ .ino = attr.ino, .mode = mode, .links = S_ISDIR(mode) ? 2 : 1 };
	if (!S_ISDIR(mode))
		i->data = blob_new(target ? strlen(target) : 0);
	if (target)
		memcpy(i->data->data, target, strlen(target));
	add_name(p->model, dir, name, slot);
}

static void write_at(struct play *p, int slot, size_t at, size_t bytes, unsigned salt)
{
	if (p->result < 0)
		return;
	struct model_inode *i = &p->model->inodes[slot];
	size_t size = i->data->bytes;
	uint8_t *data = model_own_data(i, at + bytes > size ? at + bytes : size)->data + at;
	for (size_t k = 0; k < bytes; k++)
		data[k] = (uint8_t)((at + k) * 31 + (at + k) / 251 + salt);
	ssize_t n = fs_write(p->fs, i->ino, data, bytes, at, false, NULL);
	p->result = n < 0 ? (int)n : 0;
}

static void truncate_to(struct play *p, int slot, size_t bytes)
{
	struct fs_attr attr = { .size_bytes = bytes }, after;
	if (p->result < 0)
		return;
	p->result = fs_setattr(p->fs, p->model->inodes[slot].ino, &attr, FS_SET_SIZE, &after);
	model_own_data(&p->model->inodes[slot], bytes);
}

static void punch(struct play *p, int slot, size_t at, size_t bytes)
{
	if (p->result < 0)
		return;
	struct model_inode *i = &p->model->inodes[slot];
	p->result = fs_fallocate(p->fs, i->ino, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at, bytes);
	memset(model_own_data(i, i->data->bytes)->data + at, 0, bytes);
}

static void remove_at(struct play *p, int dir, const char *name)
{
	if (p->result < 0)
		return;
	int child = slot_of(p, dir, name);
	p->result = fs_unlink(p->fs, p->model->inodes[dir].ino, name);
	remove_name(p->model, dir, name);
	p->model->inodes[child].links--;
	model_reap(p->model, child);
}

static void move(struct play *p, int dir, const char *name, int new_dir, const char *new_name)
{
	if (p->result < 0)
		return;
	int child = slot_of(p, dir, name);
	p->result = fs_rename(p->fs, p->model->inodes[dir].ino, name, p->model->inodes[new_dir].ino, new_name, 0);
	remove_name(p->model, dir, name);
	add_name(p->model, new_dir, new_name, child);
}

static void link_to(struct play *p, int slot, int dir, const char *name)
{
	struct fs_attr attr;
	if (p->result < 0)
		return;
	p->result = fs_link(p->fs, p->model->inodes[slot].ino, p->model->inodes[dir].ino, name, &attr);
	p->model->inodes[slot].links++;
	add_name(p->model, dir, name, slot);
}

static void set_xattr(struct play *p, int slot, size_t bytes)
{
	if (p->result < 0)
		return;
	struct model_xattr *x = &p->model->inodes[slot].xattrs[0];
	blob_unref(x->value);
	*x = (struct model_xattr){ "user.test", blob_new(bytes) };
	memset(x->value->data, (int)(bytes & 0xff), bytes);
	p->result = fs_setxattr(p->fs, p->model->inodes[slot].ino, x->name, x->value->data, bytes, 0);
}

/* What happens before commit number `commit` (1 …). */
static void play_commit(struct play *p, unsigned commit)
{
	static char target[3001];
	memset(target, 't', 3000);
	switch (commit) {
	case 1:
		make(p, MODEL_ROOT, "d", S_IFDIR | 0755, NULL);
		make(p, slot_of(p, MODEL_ROOT, "d"), "a", S_IFREG | 0644, NULL);
		write_at(p, slot_of(p, slot_of(p, MODEL_ROOT, "d"), "a"), 0, 50000, 1);
		break;
	case 2:
		write_at(p, slot_of(p, slot_of(p, MODEL_ROOT, "d"), "a"), 20000, 5000, 2);
		make(p, MODEL_ROOT, "b", S_IFREG | 0600, NULL);
		write_at(p, slot_of(p, MODEL_ROOT, "b"), 0, 100, 3);
		break;
	case 3:
		move(p, slot_of(p, MODEL_ROOT, "d"), "a", MODEL_ROOT, "c");
		set_xattr(p, slot_of(p, MODEL_ROOT, "c"), 20000);
		break;
	case 4:
		truncate_to(p, slot_of(p, MODEL_ROOT, "c"), 18000);
		make(p, MODEL_ROOT, "s", S_IFLNK | 0777, target);
		remove_at(p, MODEL_ROOT, "b");
		break;
	case 5:
		write_at(p, slot_of(p, MODEL_ROOT, "c"), 3000, 300000, 4);
		set_xattr(p, slot_of(p, MODEL_ROOT, "c"), 30);
		break;
	case 6:
		make(p, MODEL_ROOT, "e", S_IFDIR | 0700, NULL);
		move(p, MODEL_ROOT, "d", slot_of(p, MODEL_ROOT, "e"), "d");
		link_to(p, slot_of(p, MODEL_ROOT, "c"), slot_of(p, MODEL_ROOT, "e"), "l");
		break;
	case 7:
		punch(p, slot_of(p, MODEL_ROOT, "c"), 30000, 100000);
		remove_at(p, MODEL_ROOT, "s");
		break;
	default:
		remove_at(p, MODEL_ROOT, "c");
		write_at(p, slot_of(p, slot_of(p, MODEL_ROOT, "e"), "l"), 40000, 4096, 5);
		make(p, MODEL_ROOT, "z", S_IFIFO | 0600, NULL);
	}
}

/* Plays the workload on an open filesystem. Returns the number of acknowledged commits; *ret_result is the error that stopped it. */
static unsigned play(struct fs *fs, bool keep_states, int *ret_result)
{
	struct model model;
	struct play p = { .fs = fs, .model = &model };
	unsigned commit;
	model_copy(&model, &states[0]);
	for (commit = 0; commit < COMMITS; commit++) {
		play_commit(&p, commit + 1);
		if (p.result == 0)
			p.result = fs_sync(fs);
		if (p.result < 0)
			break;
		if (keep_states)
			model_copy(&states[commit + 1], &model);
	}
	model_free(&model);
	*ret_result = p.result;
	return commit;
}

/* ---- Checking ---- */

/* Compares with one of states[from … to]; checks itself unless `damaged` (parity may be wrong then). */
static void must_be(struct simfs *sim, unsigned from, unsigned to, bool damaged, const char *what)
{
	char why[500] = "";
	bool same = false;
	for (unsigned i = to + 1; i-- > from && !same; )
		same = model_compare(&states[i], sim->fs, why, sizeof why);
	if (!same)
		broken(what, why);
	if (fs_sync(sim->fs) < 0)
		broken(what, "cannot be synced");
	if (fs_check(sim->fs, !damaged, complain, NULL) != 0)
		broken(what, "the check finds something");
	if (sim->events[EVENT_UNREADABLE])
		broken(what, sim->last_event);
	opened_count++;
}

static void must_open(struct simfs *sim, const char *what)
{
	memset(sim->events, 0, sizeof sim->events);
	if (simfs_open(sim) < 0)
		broken(what, sim->fail.text);
}

/* It goes on after what happened: something is written, and is there at the next mount, also without another member once
 * all have caught up. */
static void must_go_on(struct simfs *sim, const char *what)
{
	struct fs_cred cred = { 0 };
	struct fs_attr attr;
	char byte = 0;
	if (fs_mknod(sim->fs, 1, "new", S_IFREG | 0600, 0, cred, &attr) < 0 || fs_write(sim->fs, attr.ino, "x", 1, 0, false, NULL) != 1
		|| simfs_remount(sim) < 0)
		broken(what, "it does not go on");
	memset(sim->left_out, 0, sizeof sim->left_out);
	simfs_close(sim, false);
	must_open(sim, what);
	for (unsigned i = 0; i < 1000 && array_degraded(fs_array(sim->fs)); i++) {
		if (fs_work(sim->fs) < 0)
			broken(what, "catching up fails");
		simfs_sleep(sim, INT64_C(20000000000));
	}
	if (array_degraded(fs_array(sim->fs)) || fs_sync(sim->fs) < 0 || fs_check(sim->fs, true, complain, NULL) != 0)
		broken(what, "not all caught up");
	sim->left_out[tried_count % MEMBERS] = true;
	if (simfs_remount(sim) < 0 || fs_lookup(sim->fs, 1, "new", &attr) < 0 || fs_read(sim->fs, attr.ino, &byte, 1, 0) != 1 || byte != 'x'
		|| fs_unlink(sim->fs, 1, "new") < 0)
		broken(what, "what was written is lost");
}

/* ---- Cuts ---- */

static struct simstore *older[MEMBERS];          /* of each member, before the workload */

static void after_cut(const struct simfs *cut, uint64_t at, unsigned acknowledged, int policy, unsigned member, bool is_older)
{
	struct simfs *sim = simfs_clone(cut);
	char what[160];
	snprintf(what, sizeof what, "cut at change %llu, policy %d, member %d %s", (unsigned long long)at, policy, (int)member - 1,
		member == 0 ? "(none) left out" : is_older ? "older" : "left out");
	tried_count++;
	sim->world->random_state ^= (uint64_t)policy * 0x9e3779b97f4a7c15;
	simworld_cut(sim->world, policy < 3 ? (enum simcut_policy)policy : SIMCUT_RANDOM);
	if (member > 0 && is_older)
		simdisk_replace_with_snapshot(sim->world->disks[member - 1], older[member - 1]);
	else if (member > 0)
		sim->left_out[member - 1] = true;
	must_open(sim, what);
	must_be(sim, acknowledged, acknowledged < COMMITS ? acknowledged + 1 : COMMITS, is_older, what);
	if (policy >= 2)
		must_go_on(sim, what);
	simfs_free(sim);
}

static void cut_at(const struct simfs *base, uint64_t at)
{
	struct simfs *sim = simfs_clone(base);
	int result;
	sim->world->cut_at_change = sim->world->changes + at;
	must_open(sim, "before the cut");
	unsigned acknowledged = play(sim->fs, false, &result);
	if (!sim->world->cut)
		broken("cut", "it did not happen");
	for (int policy = 0; policy < 4; policy++)
		for (unsigned member = 0; member <= MEMBERS; member++) {
			after_cut(sim, at, acknowledged, policy, member, false);
			if (member > 0 && policy != 3)
				after_cut(sim, at, acknowledged, policy, member, true);
		}
	simfs_free(sim);
}

static void all_cuts(const struct simfs *base, uint64_t changes, unsigned stride)
{
	tried_count = opened_count = 0;
	unsigned long points = 0;
	for (uint64_t at = 0; at < changes; at += stride, points++)
		cut_at(base, at);
	printf("cuts: %lu of %llu points, %lu states after them, all right\n", points, (unsigned long long)changes, opened_count);
	fflush(stdout);
}

/* ---- Faults ---- */

static void with_fault(const struct simfs *base, const struct simfault *fault, unsigned member, const char *what)
{
	struct simfs *sim = simfs_clone(base);
	bool lost = fault->kind != SIM_ERROR;
	int result;
	tried_count++;
	simdisk_fault(sim->world->disks[member], fault);
	must_open(sim, what);
	if (play(sim->fs, false, &result) != COMMITS)
		broken(what, "the workload failed");
	simfs_close(sim, false);
	simdisk_clear_faults(sim->world->disks[member]);
	must_open(sim, what);
	must_be(sim, COMMITS, COMMITS, lost, what);
	if (!lost)
		must_go_on(sim, what);
	simfs_free(sim);
}

static void all_faults(const struct simfs *base, uint64_t ops, unsigned stride, enum simfault_kind kind, unsigned mask, const char *name)
{
	unsigned long count = 0;
	char what[100];
	for (uint64_t op = 0; op < ops; op += stride, count++) {
		unsigned member = (unsigned)(op / stride % MEMBERS);
		struct simfault fault = { .kind = kind, .ops_mask = mask, .from_op = base->world->ops + op, .times = 1 };
		snprintf(what, sizeof what, "%s at operation %llu of member %u", name, (unsigned long long)op, member);
		with_fault(base, &fault, member, what);
	}
	printf("%s: %lu, all right\n", name, count);
	fflush(stdout);
}

/* One block of a member damaged at rest, after the workload. */
static void all_flips(const struct simfs *done, unsigned stride)
{
	unsigned long count = 0, healed = 0;
	uint8_t zero[4096] = { 0 }, block[4096];
	for (unsigned member = 0; member < MEMBERS; member++)
		for (uint64_t at = 0, i = 0; at < MEMBER_BYTES; at += 4096) {
			char what[100];
			simdisk_peek(done->world->disks[member], at, block, sizeof block);
			if (!memcmp(block, zero, sizeof block) || i++ % stride)
				continue;
			struct simfs *sim = simfs_clone(done);
			snprintf(what, sizeof what, "flip at %llu of member %u", (unsigned long long)at, member);
			simdisk_flip(sim->world->disks[member], at + at / 4096 % 4096, 0x40);
			must_open(sim, what);
			must_be(sim, COMMITS, COMMITS, true, what);
			healed += sim->events[EVENT_HEALED];
			count++;
			simfs_free(sim);
		}
	printf("damaged blocks: %lu, %lu healed, all right\n", count, healed);
	if (healed == 0)
		broken("damaged blocks", "none was healed");
}

int main(int argc, char **argv)
{
	struct simfs *base, *done;
	unsigned stride = STRIDE_DEFAULT;
	int result;
	for (int i = 1; i < argc; i++) {
		stride = !strcmp(argv[i], "--thorough") ? 1 : stride;
		verbose |= !strcmp(argv[i], "--verbose");
	}
	if (simfs_make(&base, MEMBERS, MEMBER_BYTES, CIPHER_XCHACHA20_POLY1305, SEED) < 0 || simfs_close(base, false) < 0)
		return 1;
	model_init(&states[0]);
	for (unsigned i = 0; i < MEMBERS; i++)
		older[i] = simdisk_snapshot(base->world->disks[i]);
	done = simfs_clone(base);
	must_open(done, "the start");
	if (play(done->fs, true, &result) != COMMITS || simfs_close(done, false) < 0)
		broken("the workload", "it failed by itself");
	uint64_t changes = done->world->changes - base->world->changes, ops = done->world->ops - base->world->ops;
	all_cuts(base, changes, stride);
	all_faults(base, ops, 2 * stride + 1, SIM_ERROR, SIM_ON_ALL, "failed operations");
	all_faults(base, changes, stride, SIM_LOSE, SIM_ON(DISK_WRITE), "lost writes");
	all_faults(base, changes, 2 * stride + 1, SIM_FLIP, SIM_ON(DISK_WRITE), "damaged writes");
	all_flips(done, 3 * stride);
	for (unsigned i = 0; i < MEMBERS; i++)
		simsnapshot_free(older[i]);
	for (unsigned i = 0; i <= COMMITS; i++)
		model_free(&states[i]);
	simfs_free(done);
	simfs_free(base);
	return 0;
}
