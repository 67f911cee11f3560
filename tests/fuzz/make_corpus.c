/* Makes the corpus of the fuzz targets out of a real array on simulated disks: make_corpus FOLDER
 *
 * A checksum at the end of a structure, and zeros at its end, are left away (targets put them back).  Run it again when the format
 * changes, and commit what it wrote; nonces and what is sealed differ each time.  Files that are not its own (inputs that once made
 * a target stop) are left alone. */
#include "fs/control.h"
#include "fs/core.h"
#include "fs/log/logrecord.h"
#include "fs/space/pending.h"
#include "raid/format.h"
#include "tests/fuzz/known.h"
#include "tests/lib/simfs.h"
#include "tests/unit/check.h"

#include <errno.h>
#include <sys/stat.h>

#define DISKS 4u
#define FILES 60u
#define CHECKSUM_BYTES 8u

static const char *top;

/* ---- Files ---- */

static void put(const char *target, const char *name, const void *bytes, size_t size)
{
	char path[4096];

	snprintf(path, sizeof path, "%s/%s", top, target);
	REQUIRE(mkdir(path, 0777) == 0 || errno == EEXIST);
	snprintf(path, sizeof path, "%s/%s/%s", top, target, name);
	FILE *file = fopen(path, "wb");
	REQUIRE(file && fwrite(bytes, 1, size, file) == size && fclose(file) == 0);
}

static void put_structure(const char *target, const char *name, const void *bytes, size_t size)
{
	while (size > 1 && ((const uint8_t *)bytes)[size - 1] == 0)
		size--;
	put(target, name, bytes, size);
}

static void put_text(const char *target, const char *name, const char *text) { put(target, name, text, strlen(text)); }

/* ---- A filesystem with something of everything ---- */

static void fill_directory(struct fs *fs, uint64_t dir)
{
	static uint8_t bytes[40000];
	struct fs_attr attr;
	char name[64];

	for (unsigned i = 0; i < FILES; i++) {
		snprintf(name, sizeof name, "file number %u", i);
		REQUIRE(fs_mknod(fs, dir, name, S_IFREG | 0640, 0, (struct fs_cred){ 1000, 100, 022 }, &attr) == 0);
		size_t size = i % 3 == 0 ? 20 : i % 3 == 1 ? 5000 : sizeof bytes;
		memset(bytes, (int)i, size);
		REQUIRE(fs_write(fs, attr.ino, bytes, size, 0, false, NULL) == (ssize_t)size);
	}
	REQUIRE(fs_fallocate(fs, attr.ino, 0, 1 << 20, 1 << 18) == 0);
	REQUIRE(fs_link(fs, attr.ino, dir, "another name", &attr) == 0);
	REQUIRE(fs_setxattr(fs, attr.ino, "user.comment", "hello", 5, 0) == 0);
	REQUIRE(fs_setxattr(fs, attr.ino, "user.long", bytes, 5000, 0) == 0);
	REQUIRE(fs_symlink(fs, dir, "link", "file number 1", (struct fs_cred){ 0 }, &attr) == 0);
	REQUIRE(fs_mknod(fs, dir, "pipe", S_IFIFO | 0600, 0, (struct fs_cred){ 0 }, &attr) == 0);
	REQUIRE(fs_mknod(fs, dir, "open", S_IFREG | 0600, 0, (struct fs_cred){ 0 }, &attr) == 0);
	REQUIRE(fs_ref(fs, attr.ino) == 0 && fs_unlink(fs, dir, "open") == 0);
}

static void fill(struct fs *fs)
{
	struct fs_attr attr;

	REQUIRE(fs_mknod(fs, OBJECT_ROOT, "directory", S_IFDIR | 0755, 0, (struct fs_cred){ 0 }, &attr) == 0);
	fill_directory(fs, attr.ino);
	REQUIRE(fs_sync(fs) == 0);
	REQUIRE(fs_unlink(fs, attr.ino, "file number 5") == 0 && fs_unlink(fs, attr.ino, "file number 8") == 0);
	REQUIRE(fs_sync(fs) == 0);
}

/* One that went through, and found damage on two members, and one that has begun. */
static void scrub(struct simfs *sim)
{
	struct scrub_status status = { .state = SCRUB_RUNNING };
	struct fs *fs = simfs_fs(sim);
	uint64_t at = array_config(fs_array(fs))->geometry.data_offset_bytes;
	struct fail fail;

	REQUIRE(simfs_remount(sim) == 0);
	fs = simfs_fs(sim);
	for (unsigned unit = 0; unit < 64; unit++)
		simdisk_flip(sim->world->disks[1 + unit % 2], at + unit * UNIT_BYTES + 7, 1);
	REQUIRE(fs_scrub(fs, SCRUB_START, 0, &fail) == 0);
	while (status.state == SCRUB_RUNNING) {
		REQUIRE(fs_work(fs) >= 0);
		fs_scrub_status(fs, &status);
	}
	REQUIRE(scrub_result_members(&status.last) == 2);
	REQUIRE(fs_scrub(fs, SCRUB_START, 1 << 20, &fail) == 0);
}

/* ---- Structures of raid/ ---- */

static void put_labels(struct simfs *sim)
{
	static uint8_t bytes[LABEL_BYTES];
	struct label label;

	simdisk_peek(sim->world->disks[0], label_copy_offset_bytes(0, 0), bytes, sizeof bytes);
	REQUIRE(label_decode(bytes, &label) == 0);
	put_structure("label", "first", bytes, sizeof bytes - CHECKSUM_BYTES);
	memset(label.slots, 0, sizeof label.slots);
	snprintf(label.name, sizeof label.name, "Fotos & T\xc3\xb6ne \xe2\x82\xac \xf0\x9f\x93\xb7");
	label_encode(&label, bytes);
	put_structure("label", "named", bytes, sizeof bytes - CHECKSUM_BYTES);
	label.incompat = 6;
	label.ro_compat = UINT64_MAX;
	label_encode(&label, bytes);
	put_structure("label", "features", bytes, sizeof bytes - CHECKSUM_BYTES);
	label.format_version = 2;
	label_encode(&label, bytes);
	put_structure("label", "version-2", bytes, sizeof bytes - CHECKSUM_BYTES);
}

static void put_configs(struct simfs *sim, const struct geometry *g)
{
	uint8_t *bytes = malloc(g->config_slot_bytes);
	struct column_job job = { 0 };
	struct config *config;
	void *encoded;
	size_t size;

	REQUIRE(bytes);
	for (unsigned slot = 0; slot < 2; slot++) {
		simdisk_peek(sim->world->disks[1], g->config_offset_bytes + slot * g->config_slot_bytes, bytes, g->config_slot_bytes);
		if (config_decode(bytes, g->config_slot_bytes, &config) < 0)
			continue;
		size = le32_get(((const struct disk_config *)bytes)->length_bytes);
		put_structure("config", "first", bytes, size - CHECKSUM_BYTES);
		/* With few bands, and a member more that takes over a column. */
		config->band_count = 4;
		unsigned new_member = config->member_count++;
		config->members[new_member] = (struct config_member){ .uuid = { "a new member" }, .role = MEMBER_REPLACEMENT,
			.granules = config->members[0].granules, .size_bytes = config->members[0].size_bytes };
		job = (struct column_job){ .band = config->bands[0].id, .column = 1, .target = { .member = (uint8_t)new_member } };
		free(config->jobs);
		config->jobs = malloc(sizeof job);
		REQUIRE(config->jobs);
		config->jobs[config->job_count++] = job;
		REQUIRE(config_encode(config, &encoded, &size) == 0);
		put_structure("config", "job", encoded, size - CHECKSUM_BYTES);
		free(encoded);
		config_free(config);
	}
	free(bytes);
}

static void put_ring(struct simfs *sim, const struct geometry *g)
{
	static uint8_t bytes[ROOT_BYTES];
	struct root_header header;
	char name[32];
	unsigned count = 0;

	for (unsigned slot = 0; slot < g->ring_slots && count < 3; slot++) {
		simdisk_peek(sim->world->disks[2], g->ring_offset_bytes + slot * ROOT_BYTES, bytes, sizeof bytes);
		if (root_header_decode(bytes, &header) < 0)
			continue;
		snprintf(name, sizeof name, "root-%u", count++);
		put_structure("ring", name, bytes, ROOT_HEADER_BYTES - CHECKSUM_BYTES);
	}
	REQUIRE(count > 0);
	header.members[1] = (struct root_member){ MEMBER_FILLING, { true, 3, 7, address_make(1, 640) } };
	header.members[2] = (struct root_member){ MEMBER_OUT, { true, 5, GAP_OPEN, 0 } };
	header.members[3].gap = (struct gap){ true, 2, 4, 64 };
	root_header_encode(&header, bytes);
	put_structure("ring", "root-gaps", bytes, ROOT_HEADER_BYTES - CHECKSUM_BYTES);
	for (unsigned slot = 0; slot < PROMISE_SLOTS; slot++) {
		struct promise promise;
		simdisk_peek(sim->world->disks[2], g->promise_offset_bytes + slot * PROMISE_BYTES, bytes, PROMISE_BYTES);
		if (promise_decode(bytes, &promise) == 0)
			put_structure("ring", "promise", bytes, PROMISE_BYTES - CHECKSUM_BYTES);
	}
}

/* ---- Structures of fs/ ---- */

static void put_tree(struct fs *fs, const struct disk_pointer *pointer, uint8_t tree, uint8_t level, unsigned *count)
{
	static uint8_t image[NODE_BYTES];
	struct disk_pointer children[2];
	char name[32];

	REQUIRE(store_read_node(fs, pointer, tree, level, image) == 0);
	if ((*count)++ < 3) {
		snprintf(name, sizeof name, "%s-level-%u-%u", tree == TREE_FILE ? "file" : "system", level, *count);
		put("node", name, image, sizeof image);
	}
	unsigned n = level > 0 ? image_count(image) : 0;
	for (unsigned i = 0; i < n && i < 2; i++)
		children[i] = ((const struct branch_value *)image_value(image, i == 0 ? 0 : n - 1, NULL))->pointer;
	for (unsigned i = 0; i < n && i < 2; i++)
		put_tree(fs, &children[i], tree, (uint8_t)(level - 1), count);
}

static void put_trees(struct fs *fs)
{
	static uint8_t image[UNIT_BYTES];
	static uint8_t bytes[ROOT_BODY_BYTES];
	const struct root_body *body = &fs->root_body;
	unsigned files = 0, systems = 0;

	memcpy(bytes, body, sizeof *body);
	put_structure("root_body", "newest", bytes, sizeof bytes);
	put_tree(fs, &body->file_tree, TREE_FILE, body->file_level, &files);
	put_tree(fs, &body->system_tree, TREE_SYSTEM, body->system_level, &systems);
	REQUIRE(store_read_pending(fs, &body->pending, fs->tree_generation, image) == 0);
	put_structure("pending", "newest", image, sizeof image);
}

static void put_log(void)
{
	static uint8_t record[4 * BLOCK_BYTES];
	const struct log_place place = { .mount = "a mount's id...", .sequence = 7, .transaction = 12, .flushed = 6 };
	const struct key cut = key_make(20, ITEM_EXTENT, 3), gone = key_make(OBJECT_ORPHANS, ITEM_ORPHAN, 20),
		inode = key_make(21, ITEM_INODE, 0), small = key_make(21, ITEM_INLINE, 0), reserve = key_make(22, ITEM_EXTENT, 100),
		data = key_make(22, ITEM_EXTENT, 0);
	struct log_writer w;
	void *bytes[3];

	log_begin(&w, record, sizeof record);
	log_add(&w, LOG_CUT, &cut, 1000, 0);
	log_add(&w, LOG_DELETE, &gone, 0, 0);
	bytes[0] = log_add(&w, LOG_ITEM, &inode, 0, sizeof(struct inode_item));
	bytes[1] = log_add(&w, LOG_ITEM, &small, 0, 11);
	log_add(&w, LOG_RESERVE, &reserve, 64, 0);
	bytes[2] = log_add(&w, LOG_DATA, &data, 1, BLOCK_BYTES);
	REQUIRE(!w.full && bytes[0] && bytes[1] && bytes[2]);
	memset(bytes[0], 1, sizeof(struct inode_item));
	memcpy(bytes[1], "hello there", 11);
	memset(bytes[2], 0, BLOCK_BYTES);
	log_end(&w, &place, 23);
	put_structure("log", "one-of-each", record, w.used_bytes);
}

/* Beside the members a place of the table that is free, a spare, and one on which a member's data comes. */
static void put_replacing(struct control_status *status)
{
	const enum member_role roles[] = { MEMBER_UNUSED, MEMBER_SPARE, MEMBER_REPLACEMENT };

	for (unsigned i = 0; i < ARRAY_COUNT(roles); i++) {
		struct control_member *m = &status->members[status->member_count++];
		*m = (struct control_member){ .role = (uint8_t)roles[i], .uuid.b[0] = (uint8_t)(i + 1), .size_bytes = 64 << 20 };
	}
	status->job = (struct control_job){ .running = true, .source = 1, .targets = UINT32_C(1) << (status->member_count - 1), .waits = true,
		.done_bytes = 1000, .total_bytes = 5000 };
	put_structure("control", "replacing", status, sizeof *status);
	status->job.targets |= 1;
	put_structure("control", "several", status, sizeof *status);
}

static void put_status(struct simfs *sim)
{
	struct control_status status;

	control_status_of_fs(simfs_fs(sim), &status);
	snprintf(status.members[0].path, sizeof status.members[0].path, "/dev/disk/by-id/a \"quoted\\ name\"");
	status.engine = SEAL_ENGINE_OPENSSL;
	status.has_transport = true;
	status.members[1].state = MEMBER_OUT;
	status.members[1].has_gap = 1;
	status.members[1].read_errors = status.members[2].healed = 3;
	for (unsigned i = 0; i < status.member_count; i++)
		status.members[i].role = MEMBER_VOTER, status.members[i].needed = true;
	snprintf(status.stalled[STALL_CATCHUP], sizeof status.stalled[STALL_CATCHUP], "A \"node\" cannot be read.");
	snprintf(status.why_read_only, sizeof status.why_read_only, "A \"disk\" failed.");
	put_structure("control", "degraded", &status, sizeof status);
	put_replacing(&status);
}

/* ---- Key slots and texts ---- */

static void put_slots(const struct env *env)
{
	static uint8_t slots[SLOTS_BYTES];
	struct secret secrets[] = { { SECRET_PASSPHRASE, (const uint8_t *)"passphrase", 10 }, { SECRET_KEY_FILE, known_secret, 20 },
		{ SECRET_KEY_GENERATED, known_secret, sizeof known_secret } };
	struct fail fail = { 0 };

	for (unsigned i = 0; i < 3; i++) {
		struct slot_new new_slot = { .secret = &secrets[i], .description = i == 1 ? "my key\x1b[2J" : NULL,
			.cost = { .passes = i < 2 ? 1 : 0, .memory_bytes = i < 2 ? COST_MEMORY_BYTES_MIN : 0 } };
		REQUIRE(slot_make(slots, &known_master, &new_slot, &known_binding, env, NULL, &fail) == 0);
	}
	put_structure("slot", "three", slots, sizeof slots);
	memset(((struct disk_slot *)slots)->description, 'x', SLOT_DESCRIPTION_BYTES);
	put_structure("slot", "description-does-not-end", slots, sizeof slots);
	memset(((struct disk_slot *)slots)->description, 0, SLOT_DESCRIPTION_BYTES);
	for (int i = 3; i < SLOT_COUNT; i++)
		memcpy(slots + i * SLOT_BYTES, slots + (i - 3) * SLOT_BYTES, SLOT_BYTES);
	put_structure("slot", "full", slots, sizeof slots);
}

static void put_texts(void)
{
	put_text("keyfile", "generated", "raid5cryptfs key 1\n"
		"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\ncheck 0000000000000000\n");
	put_text("keyfile", "newer", "raid5cryptfs key 2\nsomething else\n");
	put_text("keyfile", "text", "correct horse battery staple\n");
	put_text("mountopts", "ours", "ro,key-file=/etc/keys/array,cipher=none,cache=64M,dirty=1G,commit=5,timeout=30,io=threads,"
		"engine=sodium,transport=uring,nonempty");
	put_text("mountopts", "fuse", "allow_other,nosuid,nodev,noatime,max_read=131072,auto_unmount");
	put_text("mountopts", "fstab", "defaults,noauto,nofail,_netdev,x-systemd.automount,comment=a\\,b,user=me,relatime,,rw");
	put_text("mountopts", "context", "context=system_u:object_r:t:s0:c1\\,c2,dev");
}

static void put_acls(void)
{
	static const uint8_t least[] = { 2, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255, 4, 0, 4, 0, 255, 255, 255, 255,
		32, 0, 0, 0, 255, 255, 255, 255 };
	static const uint8_t more[] = { 2, 0, 0, 0, 1, 0, 7, 0, 255, 255, 255, 255, 2, 0, 6, 0, 232, 3, 0, 0, 2, 0, 4, 0, 1, 0, 0, 0,
		4, 0, 5, 0, 255, 255, 255, 255, 8, 0, 4, 0, 100, 0, 0, 0, 16, 0, 7, 0, 255, 255, 255, 255, 32, 0, 4, 0, 255, 255, 255, 255 };

	put("acl", "least", least, sizeof least);
	put("acl", "more", more, sizeof more);
}

int main(int argc, char **argv)
{
	struct simfs *sim;

	if (argc != 2) {
		fprintf(stderr, "usage: %s FOLDER\n", argv[0]);
		return 2;
	}
	top = argv[1];
	REQUIRE(simfs_make(&sim, DISKS, 16 << 20, CIPHER_XCHACHA20_POLY1305, 1) == 0);
	fill(simfs_fs(sim));
	scrub(sim);
	const struct geometry *g = &array_config(fs_array(simfs_fs(sim)))->geometry;
	put_labels(sim);
	put_configs(sim, g);
	put_ring(sim, g);
	put_trees(simfs_fs(sim));
	put_log();
	put_status(sim);
	put_slots(&sim->env);
	put_texts();
	put_acls();
	simfs_free(sim);
	return CHECK_DONE();
}
