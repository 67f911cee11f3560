/* Checking what members have beside their rows.
 *
 * Everything here stands on each member, so one good copy anywhere is enough, and what is good is known:
 *   - a label is good when it is, byte for byte, the one that the chosen root names, with the member's own UUID;
 *   - a configuration when its hash is the one that the chosen root names;
 *   - a promise or a root when the key vouches for it.
 * Label copies and the configuration's slot are made again from what the array opened with, which was verified so
 * then.  Promises and roots are not: a root must only be on a member that has its rows, and a promise or root that was torn by a cut
 * is as it should be.  The next term and the next roots overwrite them.
 *
 * A repair is one write of one structure on one member, then a flush, then it is read back: a cut in it leaves one copy damaged,
 * as it was. */
#include "raid/array_impl.h"
#include "raid/format.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

struct checking {
	struct array *array;
	const struct array_check *options;
	struct array_check_result result;
	unsigned index;                  /* the member that is looked at */
	struct disk *disk;
	const char *name;
	bool failed;                     /* to take a write: it gets no other */
};

static void note(struct checking *c, enum array_note kind, const char *format, ...) __attribute__((format(printf, 3, 4)));
static void note(struct checking *c, enum array_note kind, const char *format, ...)
{
	char text[1024];
	va_list ap;

	if (kind == ARRAY_NOTE_FOUND)
		c->result.found++;
	else if (kind == ARRAY_NOTE_FIXED)
		c->result.fixed++;
	if (!c->options->note)
		return;
	size_t at = (size_t)snprintf(text, sizeof text, "%s: ", c->name);
	va_start(ap, format);
	vsnprintf(text + at, sizeof text - at, format, ap);
	va_end(ap);
	c->options->note(c->options->ctx, kind, text);
}

/* Writes a structure to the member, flushes, and reads it back. */
static int put(struct checking *c, uint64_t offset_bytes, const void *bytes, size_t length_bytes, const char *what)
{
	autofree uint8_t *back = malloc(length_bytes);

	if (!back)
		return -ENOMEM;
	int r = disk_write(c->disk, offset_bytes, bytes, length_bytes);
	if (!r)
		r = disk_flush(c->disk);
	if (r) {
		c->failed = true;
		note(c, ARRAY_NOTE_LEFT, "%s could not be written (%s).", what, strerror(-r));
		return member_write_failed(c->array, c->index, r, what) ? -EIO : 0;
	}
	r = disk_read(c->disk, offset_bytes, back, length_bytes);
	if (!r && memcmp(back, bytes, length_bytes))
		r = -EIO;
	if (r)
		note(c, ARRAY_NOTE_LEFT, "%s was written, and reads otherwise. Replace the disk.", what);
	else
		note(c, ARRAY_NOTE_FIXED, "%s was made again.", what);
	return 0;
}

/* ---- Labels ---- */

static const char *label_fault(const struct checking *c, const uint8_t found[LABEL_BYTES], char *text, size_t text_bytes)
{
	const struct array *array = c->array;
	struct label label;
	int r = label_decode(found, &label);

	if (r)
		return r == -ENOENT ? "is not there (overwritten)" : r == -EBADMSG ? "is damaged" : "is of another format version";
	if (!uuid_equal(&label.array, &array->label.array))
		return "is of another array";
	if (!uuid_equal(&label.member, &array->members[c->index].uuid))
		return "is of another member";
	if (!array->auth.label_ok(array->auth.ctx, found))
		return bytes_are_zero(label.mac, sizeof label.mac) ? "was made without a key, by a keyless rebuild"
			: "was not made with this array's key";
	snprintf(text, text_bytes, "has sequence %llu, not %llu", (unsigned long long)label.sequence,
		(unsigned long long)array->label.sequence);
	return text;
}

static int check_label(struct checking *c, unsigned copy)
{
	struct member *member = &c->array->members[c->index];
	uint64_t offset_bytes = label_copy_offset_bytes(copy, c->disk->size_bytes);
	struct label label = c->array->label;
	uint8_t wanted[LABEL_BYTES], found[LABEL_BYTES];
	char what[64], text[80];

	label.member = member->uuid;
	label_encode(&label, wanted);
	int r = disk_read(c->disk, offset_bytes, found, LABEL_BYTES);
	if (!r && !memcmp(found, wanted, LABEL_BYTES))
		return 0;
	snprintf(what, sizeof what, "copy %u of its label", copy + 1);
	note(c, ARRAY_NOTE_FOUND, "%s %s.", what, r ? "cannot be read" : label_fault(c, found, text, sizeof text));
	if (!c->options->repair || c->failed)
		return 0;
	if (!c->array->label_source) {
		note(c, ARRAY_NOTE_LEFT, "%s is left as it is, since no member has the label that the newest root names. "
			"Mount the array once, and check again.", what);
		return 0;
	}
	uint64_t fixed = c->result.fixed;
	r = put(c, offset_bytes, wanted, LABEL_BYTES, what);
	if (c->result.fixed > fixed)
		member->copy_wrong &= (uint8_t)~(1u << copy);
	return r;
}

/* ---- Configuration ---- */

/* Does the slot hold the configuration with that hash? */
static bool config_is(const uint8_t *slot, const struct geometry *g, const uint8_t hash[CONFIG_HASH_BYTES])
{
	uint32_t length_bytes = le32_get(((const struct disk_config *)slot)->length_bytes);
	uint8_t found[CONFIG_HASH_BYTES];

	if (length_bytes < sizeof(struct disk_config) || length_bytes > g->config_slot_bytes)
		return false;
	config_hash(slot, length_bytes, found);
	return !memcmp(found, hash, CONFIG_HASH_BYTES);
}

/* The slot of the version before, or of none: nobody needs it any more. */
static void check_other_config(struct checking *c, unsigned slot, uint8_t *buf)
{
	const struct geometry *g = &c->array->config->geometry;
	struct config *other;
	int r = disk_read(c->disk, g->config_offset_bytes + (uint64_t)slot * g->config_slot_bytes, buf, g->config_slot_bytes);

	if (!r && bytes_are_zero(buf, g->config_slot_bytes))
		return;
	if (!r)
		r = config_decode(buf, g->config_slot_bytes, &other);
	if (!r)
		config_free(other);
	else if (r != -ENOMEM)
		note(c, ARRAY_NOTE_INFO, "its other configuration slot holds nothing that can be used; the next configuration goes there.");
}

static int check_config(struct checking *c)
{
	const struct geometry *g = &c->array->config->geometry;
	unsigned slot = (unsigned)(c->array->config->version % CONFIG_SLOTS);
	uint64_t offset_bytes = g->config_offset_bytes + (uint64_t)slot * g->config_slot_bytes;
	autofree uint8_t *buf = malloc(g->config_slot_bytes);
	autofree void *wanted = NULL;
	size_t length_bytes;

	if (!buf)
		return -ENOMEM;
	int r = disk_read(c->disk, offset_bytes, buf, g->config_slot_bytes);
	bool good = !r && config_is(buf, g, c->array->config_hash);
	if (!good)
		note(c, ARRAY_NOTE_FOUND, "its slot of configuration %llu %s.", (unsigned long long)c->array->config->version,
			r ? "cannot be read" : "does not hold the one that the newest root names");
	check_other_config(c, 1 - slot, buf);
	if (good || !c->options->repair || c->failed)
		return 0;
	r = config_encode(c->array->config, &wanted, &length_bytes);
	if (r)
		return r;
	if (!config_is(wanted, g, c->array->config_hash)) {
		note(c, ARRAY_NOTE_LEFT, "its configuration slot is left as it is: this program would write it otherwise. Use a newer program.");
		return 0;
	}
	return put(c, offset_bytes, wanted, length_bytes, "its configuration slot");
}

/* ---- Promises and roots ---- */

static void check_promises(struct checking *c)
{
	const struct geometry *g = &c->array->config->geometry;
	uint8_t bytes[PROMISE_BYTES];

	for (unsigned i = 0; i < PROMISE_SLOTS; i++) {
		int r = disk_read(c->disk, g->promise_offset_bytes + (uint64_t)i * PROMISE_BYTES, bytes, PROMISE_BYTES);
		if (!r && (bytes_are_zero(bytes, PROMISE_BYTES) || c->array->auth.promise_ok(c->array->auth.ctx, bytes)))
			continue;
		note(c, ARRAY_NOTE_INFO, "promise slot %u %s; the next read-write mount overwrites it.", i + 1,
			r ? "cannot be read" : "holds nothing that verifies (a write that a power cut tore looks so)");
	}
}

static void check_ring(struct checking *c)
{
	struct root_header header;
	uint8_t record[ROOT_BYTES];
	unsigned good = 0, bad = 0, unreadable = 0;
	uint64_t newest = 0;

	for (unsigned i = 0; i < c->array->config->geometry.ring_slots; i++) {
		int r = ring_read(c->array, c->disk, i, &header, record);
		bad += r == -EBADMSG;
		unreadable += r == -EIO;
		if (r)
			continue;
		good++;
		if (header.generation > newest)
			newest = header.generation;
	}
	if (bad)
		note(c, ARRAY_NOTE_INFO, "%u of the slots of its root ring hold%s nothing that verifies (a write that a power cut tore "
			"looks so); later roots overwrite them.", bad, bad == 1 ? "s" : "");
	if (unreadable)
		note(c, ARRAY_NOTE_INFO, "%u of the slots of its root ring cannot be read; later roots overwrite them.", unreadable);
	if (!good)
		note(c, ARRAY_NOTE_INFO, "its root ring is empty: it counts as out of date until a mount has caught it up.");
	else if (newest < c->array->header.generation)
		note(c, ARRAY_NOTE_INFO, "its newest root is of generation %llu, the array's of %llu.", (unsigned long long)newest,
			(unsigned long long)c->array->header.generation);
}

int array_check_members(struct array *array, const struct array_check *options, struct array_check_result *ret_result)
{
	struct checking c = { .array = array, .options = options };
	int r = 0;

	if (options->repair && atomic_load(&array->read_only))
		return -EROFS;
	for (unsigned i = 0; i < array->member_count && !r; i++) {
		c.index = i;
		c.disk = atomic_load(&array->members[i].disk);
		c.name = array->members[i].name;
		c.failed = false;
		if (!c.disk)
			continue;
		for (unsigned copy = 0; copy < LABEL_COPIES && !r; copy++)
			r = check_label(&c, copy);
		if (!r)
			r = check_config(&c);
		if (r)
			break;
		check_promises(&c);
		check_ring(&c);
	}
	if (r)
		return r;
	c.result.left = c.result.found - c.result.fixed;
	*ret_result = c.result;
	return 0;
}
