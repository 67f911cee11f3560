/* Two faults at one place of an array that was not unmounted: something that the intent log's records need cannot be read, or a record.
 *
 *	test_log_damage [--case NAME] [--verbose]
 *
 * For each place: an ordinary mount and a read-only one work or say what cannot be read and what to do; -o ro,salvage shows all that there
 * is, with what was logged; a check changes nothing and tells; a repair makes it consistent with all that the log has, and names
 * what is lost; and wherever the power fails in the repair, it can be done again, to the same end. */
#include "fs/core.h"
#include "tests/sim/log_scene.h"
#include "tests/sim/repair.h"
#include "tests/sim/spoil.h"

#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILES 240u
#define DISK_BYTES (8u << 20)
#define DEEP_FILES 3200u
#define DEEP_DISK_BYTES (16u << 20)

enum place {
	LEAF_SMALL, LEAF_NEW, LEAF_ROOT, LEAF_EXTENTS, INNER, SYSTEM_ROOT, PENDING, DATA, RECORD_FIRST, RECORD_MIDDLE, RECORD_LAST,
	LEAF_AND_RECORD, LEAF_AND_SYSTEM, LEAF_AND_DATA,
};

struct damage_case {
	const char *name;
	enum place place;
	bool deep;
	bool mounts;                     /* read-write, and nothing but what cannot be read is missing then */
	bool read_only;                  /* it mounts, but read-only */
	unsigned salvaged, repaired;     /* items that are right in a salvage mount, and after a repair */
	unsigned files_salvaged, files;  /* so many of the others, at least */
	bool left;                       /* data that cannot be read is left */
	const char *says;                /* in the failure of an ordinary mount */
	bool cut;                        /* the power fails in the repair, everywhere */
};

#define ALL_BUT(items) (SCENE_ALL & ~(items))
#define BEFORE(record) ((1u << ((record) + 1)) - 1)      /* what is right without that record and those behind */
#define REST SCENE_BIT(SCENE_REST)
#define GONE SCENE_BIT(SCENE_GONE)
#define OLD_DATA (SCENE_BIT(SCENE_GROWN) | SCENE_BIT(SCENE_CUT))         /* of which the log has a part */
static const char leaf_says[] = "could not be replayed: a node of the file tree cannot be read (level 0,",
	inner_says[] = "could not be replayed: a node of the file tree cannot be read (level 1,", system_says[] = "its system tree cannot be read";

static const struct damage_case cases[] = {
	{ .name = "leaf of a file", .place = LEAF_SMALL, .salvaged = SCENE_ALL, .repaired = SCENE_ALL, .files_salvaged = 220, .files = 220,
		.says = leaf_says },
	{ .name = "leaf for a new file", .place = LEAF_NEW, .salvaged = ALL_BUT(OLD_DATA), .repaired = ALL_BUT(OLD_DATA), .files_salvaged = 220,
		.files = 220, .says = leaf_says },
	{ .name = "leaf of the root directory", .place = LEAF_ROOT, .salvaged = ALL_BUT(GONE), .repaired = SCENE_ALL, .files_salvaged = FILES,
		.files = FILES, .says = leaf_says, .cut = true },
	{ .name = "leaf of extents", .place = LEAF_EXTENTS, .salvaged = ALL_BUT(REST), .repaired = ALL_BUT(REST), .files_salvaged = 230,
		.files = 230, .says = leaf_says },
	{ .name = "inner node", .place = INNER, .deep = true, .salvaged = ALL_BUT(REST | GONE | SCENE_BIT(SCENE_RENAMED)),
		.repaired = ALL_BUT(REST | SCENE_BIT(SCENE_RENAMED)), .files_salvaged = 1000, .files = 1000, .says = inner_says },
	{ .name = "system root", .place = SYSTEM_ROOT, .salvaged = SCENE_ALL, .repaired = SCENE_ALL, .files_salvaged = FILES, .files = FILES,
		.says = system_says },
	{ .name = "pending record", .place = PENDING, .salvaged = SCENE_ALL, .repaired = SCENE_ALL, .files_salvaged = FILES, .files = FILES,
		.says = system_says },
	{ .name = "data", .place = DATA, .mounts = true, .salvaged = ALL_BUT(REST), .repaired = ALL_BUT(REST), .files_salvaged = FILES,
		.files = FILES, .left = true, .cut = true },
	{ .name = "first record", .place = RECORD_FIRST, .mounts = true, .read_only = true, .salvaged = BEFORE(0), .repaired = BEFORE(0),
		.files_salvaged = FILES, .files = FILES },
	{ .name = "record in the middle", .place = RECORD_MIDDLE, .mounts = true, .read_only = true, .salvaged = BEFORE(3), .repaired = BEFORE(3),
		.files_salvaged = FILES, .files = FILES, .cut = true },
	{ .name = "last record", .place = RECORD_LAST, .mounts = true, .read_only = true, .salvaged = ALL_BUT(GONE), .repaired = ALL_BUT(GONE),
		.files_salvaged = FILES, .files = FILES },
	{ .name = "leaf and record", .place = LEAF_AND_RECORD, .salvaged = BEFORE(4), .repaired = BEFORE(4), .files_salvaged = 220, .files = 220,
		.says = leaf_says },
	{ .name = "leaf and system tree", .place = LEAF_AND_SYSTEM, .salvaged = SCENE_ALL, .repaired = SCENE_ALL, .files_salvaged = 220,
		.files = 220, .says = system_says, .cut = true },
	{ .name = "leaf and data", .place = LEAF_AND_DATA, .salvaged = ALL_BUT(REST), .repaired = ALL_BUT(REST), .files_salvaged = 220, .files = 220,
		.left = true, .says = leaf_says },
};

static const char *only_case;
static const struct scene *scene;        /* of the case at hand */

/* ---- Spoiling ---- */

/* Bad sectors on all members. */
static void spoil_record(struct simfs *sim, unsigned record)
{
	for (unsigned i = 0; i < sim->world->disk_count; i++)
		simdisk_fault(sim->world->disks[i], &(struct simfault){ .kind = SIM_BAD_SECTORS, .ops_mask = SIM_ON(DISK_READ),
			.from_bytes = scene->log_at_bytes[record], .to_bytes = scene->log_at_bytes[record] + 512 });
}

static address place_of(struct fs *fs, enum place place)
{
	switch (place) {
	case LEAF_SMALL: return spoil_node_of(fs, &fs->file, key_make(scene->small, ITEM_INODE, 0), 0);
	case LEAF_NEW: return spoil_node_of(fs, &fs->file, key_make(scene->fresh, ITEM_INODE, 0), 0);
	case LEAF_ROOT: return spoil_node_of(fs, &fs->file, key_make(OBJECT_ROOT, ITEM_INODE, 0), 0);
	case LEAF_EXTENTS: return spoil_node_of(fs, &fs->file, key_make(scene->block, ITEM_EXTENT, 2), 0);
	case INNER: return spoil_node_of(fs, &fs->file, key_make(scene->small, ITEM_INODE, 0), 1);
	case SYSTEM_ROOT: return scene->system_root;
	case PENDING: return le64_get(fs->root_body.pending.address);
	case DATA: return spoil_data_of(fs, scene->block, 2);
	default: return 0;
	}
}

static void spoil_at(const char *name, struct simfs *sim, enum place place)
{
	address at = place_of(sim->fs, place);
	CHECK(name, at != 0);
	if (at)
		spoil_unit(sim, at);
}

static void spoil(const char *name, struct simfs *sim, enum place place)
{
	sim->options.read_only = sim->options.no_replay = true;
	if (CHECK(name, simfs_open(sim) == 0)) {
		switch (place) {
		case RECORD_FIRST: spoil_record(sim, 0); break;
		case RECORD_MIDDLE: spoil_record(sim, 3); break;
		case RECORD_LAST: spoil_record(sim, SCENE_RECORDS - 1); break;
		case LEAF_AND_RECORD:
			spoil_at(name, sim, LEAF_SMALL);
			spoil_record(sim, 4);
			break;
		case LEAF_AND_SYSTEM:
			spoil_at(name, sim, LEAF_SMALL);
			spoil_at(name, sim, SYSTEM_ROOT);
			break;
		case LEAF_AND_DATA:
			spoil_at(name, sim, LEAF_SMALL);
			spoil_at(name, sim, DATA);
			break;
		default: spoil_at(name, sim, place);
		}
	}
	simfs_close(sim, true);
	sim->options.read_only = sim->options.no_replay = false;
}

/* ---- What is said ---- */

static unsigned named;           /* items whose file was said to have lost something */
static unsigned told_log;        /* that the log cannot be read to its end */

static void on_note(enum check_note kind, const char *text)
{
	unsigned long long ino;
	for (enum scene_item item = 0; item < SCENE_ITEMS; item++)
		if (kind == CHECK_LOST && strstr(text, scene_item_path(item)))
			named |= SCENE_BIT(item);
	/* Its name may be lost too. */
	if (kind == CHECK_LOST && sscanf(text, "Inode %llu: a part of its data", &ino) == 1 && ino == scene->block)
		named |= SCENE_BIT(SCENE_REST) | SCENE_BIT(SCENE_BLOCK);
	told_log += kind == CHECK_LOST && strstr(text, "The intent log cannot be read to its end: what was synced after");
}

static void print_items(const char *what, unsigned items, unsigned files)
{
	if (!repair_verbose)
		return;
	printf("    %s: %u files; all but:", what, files);
	for (enum scene_item item = 0; item < SCENE_ITEMS; item++)
		if (!(items & SCENE_BIT(item)))
			printf(" %s", scene_item_name(item));
	printf("\n");
}

static void look(const struct damage_case *c, struct fs *fs, const char *what, unsigned items, unsigned files, bool all_named)
{
	struct scene_seen seen;
	scene_look(scene, fs, &seen);
	print_items(what, seen.right, seen.files);
	CHECK(c->name, seen.wrong == 0 && seen.files_wrong == 0);
	CHECK(c->name, (seen.right & items) == items);
	CHECK(c->name, seen.files >= files);
	/* What reads as less than it was has been named, but for what only records had that cannot be read. */
	CHECK(c->name, !all_named || !(seen.made_up & ~named & (told_log ? c->repaired : SCENE_ALL)));
}

/* ---- Mounts ---- */

static void mounts(const struct damage_case *c, struct simfs *base, bool read_only)
{
	struct simfs *sim = simfs_clone(base);
	sim->options.read_only = read_only;
	int r = simfs_open(sim);
	if (repair_verbose)
		printf("    mount%s: %s%s\n", read_only ? " -o ro" : "", r < 0 ? sim->fail.text : "works", r == 0 && fs_read_only(sim->fs) ? ", read-only" : "");
	CHECK(c->name, c->mounts == (r == 0));
	if (r < 0) {
		CHECK(c->name, sim->fail.code == FAIL_DAMAGED && c->says && strstr(sim->fail.text, c->says));
		CHECK(c->name, strstr(sim->fail.text, "fsck.raid5cryptfs -y") && strstr(sim->fail.text, "-o ro,salvage"));
		CHECK(c->name, strstr(sim->fail.text, "no member that is there can give it"));
	} else {
		CHECK(c->name, fs_read_only(sim->fs) == (read_only || c->read_only));
		CHECK(c->name, (sim->events[EVENT_READ_ONLY] > 0) == c->read_only);
		look(c, sim->fs, "mounted", c->repaired, c->files, false);
	}
	/* With a member that is not there it says so. */
	simfs_close(sim, true);
	sim->left_out[2] = true;
	if (!c->mounts && simfs_open(sim) < 0)
		CHECK(c->name, sim->fail.code == FAIL_DAMAGED && strstr(sim->fail.text, "member 3 is absent, and may have it: give it too"));
	simfs_free(sim);
}

static void salvage(const struct damage_case *c, struct simfs *base)
{
	struct simfs *sim = simfs_clone(base);
	uint64_t changes = sim->world->changes;
	if (CHECK(c->name, repair_open(sim, false, true) == 0))
		look(c, sim->fs, "salvaged", c->salvaged, c->files_salvaged, false);
	CHECK(c->name, sim->world->changes == changes);
	simfs_free(sim);
}

/* ---- fsck ---- */

static void check_only(const struct damage_case *c, struct simfs *base)
{
	struct simfs *sim = simfs_clone(base);
	struct fs_check_result result = { 0 };
	uint64_t changes = sim->world->changes;
	named = told_log = 0;
	sim->options.read_only = sim->options.no_replay = sim->options.salvage = true;
	if (CHECK(c->name, simfs_open(sim) == 0))
		CHECK(c->name, repair_run(sim->fs, false, &result) == 0);
	CHECK(c->name, result.found > 0 && result.left == result.found);
	CHECK(c->name, (told_log == 1) == (c->read_only || c->place == LEAF_AND_RECORD));
	CHECK(c->name, sim->world->changes == changes);
	simfs_free(sim);
}

static void act(struct simfs *sim, const void *ctx)
{
	struct fs_check_result result;
	(void)ctx;
	if (repair_open(sim, true, false) == 0)
		repair_run(sim->fs, true, &result);
	simfs_close(sim, false);
}

static bool all_there(const struct simfs *sim) { return !memchr(sim->left_out, true, sizeof sim->left_out); }

/* A repair, then an ordinary mount. With a member that is absent there may be less. */
static void judge(struct simfs *sim, const void *ctx)
{
	const struct damage_case *c = ctx;
	struct fs_check_result result = { 0 };
	bool whole = all_there(sim);
	int r = repair_open(sim, true, false);
	if (r < 0) {                     /* the root node may lie in the row of which two units are gone then */
		CHECK(c->name, !whole && sim->fail.code == FAIL_DAMAGED && strstr(sim->fail.text, " is absent, and may have it"));
		return;
	}
	CHECK(c->name, repair_run(sim->fs, true, &result) == 0);
	CHECK(c->name, (result.left > 0) == c->left || !whole);
	CHECK(c->name, simfs_close(sim, false) == 0);
	if (!CHECK(c->name, simfs_open(sim) == 0))
		return;
	CHECK(c->name, !fs_read_only(sim->fs));
	CHECK(c->name, repair_run(sim->fs, false, &result) == 0);
	CHECK(c->name, (result.found > 0) == c->left || !whole);
	look(c, sim->fs, "repaired", whole ? c->repaired : 0, whole ? c->files : 0, cut_depth == 0);
	struct fs_attr attr;
	r = fs_mknod(sim->fs, 1, "after", 0100644, 0, (struct fs_cred){ 0 }, &attr);
	CHECK(c->name, (r == 0 || r == -EEXIST) && fs_fsync(sim->fs, 1, false) == 0);
	simfs_close(sim, false);
}

/* After a cut of a repair an ordinary mount may be refused, but never shows anything wrong. */
static void judge_cut(struct simfs *sim, const void *ctx)
{
	const struct damage_case *c = ctx;
	struct simfs *mount = simfs_clone(sim);
	if (simfs_open(mount) == 0)
		look(c, mount->fs, "mounted", 0, 0, false);
	else
		CHECK(c->name, mount->fail.code == FAIL_DAMAGED);
	simfs_free(mount);
	judge(sim, ctx);
}

static void repair(const struct damage_case *c, struct simfs *base)
{
	struct simfs *sim = simfs_clone(base);
	named = told_log = 0;
	judge(sim, c);
	CHECK(c->name, (told_log == 1) == (c->read_only || c->place == LEAF_AND_RECORD));
	simfs_free(sim);
	if (!c->cut)
		return;
	struct cut_act cut = { c->name, act, judge_cut, true, c };
	cut_everywhere(base, &cut);
}

static void one_case(const struct damage_case *c, const struct scene *of)
{
	struct simfs *sim = simfs_clone(of->sim);
	scene = of;
	if (repair_verbose)
		printf("  %s\n", c->name);
	spoil(c->name, sim, c->place);
	mounts(c, sim, false);
	mounts(c, sim, true);
	salvage(c, sim);
	check_only(c, sim);
	repair(c, sim);
	simfs_free(sim);
}

/* Each leaf of the system tree: they are read at open, or when the replay commits. Nothing is lost by any. */
static void each_system_leaf(const struct scene *of)
{
	unsigned at_open = 0, at_replay = 0, works = 0;
	scene = of;
	for (unsigned leaf = 0;; leaf++) {
		char name[40];
		snprintf(name, sizeof name, "system leaf %u", leaf);
		struct damage_case c = { .name = name, .repaired = SCENE_ALL, .files = of->files };
		struct simfs *sim = simfs_clone(of->sim), *mount;
		unsigned number = leaf;
		sim->options.read_only = sim->options.no_replay = true;
		if (!CHECK(name, simfs_open(sim) == 0))
			return;
		const struct root_body *body = &sim->fs->root_body;
		address at = spoil_find_node(sim->fs, &body->system_tree, TREE_SYSTEM, body->system_level, 0, &number);
		if (at)
			spoil_unit(sim, at);
		simfs_close(sim, true);
		sim->options.read_only = sim->options.no_replay = false;
		if (!at) {
			simfs_free(sim);
			break;
		}
		mount = simfs_clone(sim);
		if (simfs_open(mount) == 0)
			works++;
		else if (strstr(mount->fail.text, system_says))
			at_open++;
		else if (CHECK(name, strstr(mount->fail.text, "could not be replayed: a node of the system tree cannot be read (level 0,")))
			at_replay++;
		CHECK(name, !*mount->fail.text || strstr(mount->fail.text, "fsck.raid5cryptfs -y makes that tree anew"));
		simfs_free(mount);
		judge(sim, &c);
		simfs_free(sim);
	}
	if (repair_verbose)
		printf("  leaves of the system tree: %u are met at open, %u by the replay, %u by neither\n", at_open, at_replay, works);
	CHECK("system leaves", at_open + at_replay > 0);
}

int main(int argc, char **argv)
{
	struct scene flat, deep;
	for (int i = 1; i < argc; i++)
		if (!strcmp(argv[i], "--verbose"))
			repair_verbose = true;
		else if (!strcmp(argv[i], "--case") && i + 1 < argc)
			only_case = argv[++i];
	mallopt(M_MMAP_THRESHOLD, 1 << 30);
	mallopt(M_TRIM_THRESHOLD, 1 << 30);
	repair_on_note = on_note;
	scene_make(&flat, FILES, DISK_BYTES, 31);
	scene_make(&deep, DEEP_FILES, DEEP_DISK_BYTES, 32);
	for (size_t i = 0; i < ARRAY_COUNT(cases); i++)
		if (!only_case || !strcmp(only_case, cases[i].name))
			one_case(&cases[i], cases[i].deep ? &deep : &flat);
	if (!only_case || !strcmp(only_case, "system leaves"))
		each_system_leaf(&deep);
	scene_free(&flat);
	scene_free(&deep);
	printf("%zu places; %u cuts, %u in the repair after a cut; %u states of disks, %u of them without one member\n", ARRAY_COUNT(cases),
		cut_counts.cuts, cut_counts.second_cuts, cut_counts.states, cut_counts.missing);
	printf("%u checks failed\n", repair_failed);
	return repair_failed ? 1 : 0;
}
