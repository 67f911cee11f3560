/* What may be there after the power failed.  See power.h.
 *
 * Names and attributes are those of one moment S_j, not before what was last acknowledged and not after what was under way.  A file's
 * content is exact if it was synced, or renamed over another file, at that very moment.  Else its size is one that it had at some
 * moment since then, and each byte within it has a value that it had, as a byte of the file, at some moment since then: a size
 * never covers what was not written. */
#include "tests/sim/power.h"

#include <string.h>
#include <sys/stat.h>

struct judge {
	const struct timeline *line;
	unsigned ack_count, index;
};

static const struct model_inode *find_inode(const struct model *m, int slot, uint64_t ino)
{
	if (m->inodes[slot].ino == ino)
		return &m->inodes[slot];
	for (unsigned i = 0; i < MODEL_INODES; i++)
		if (m->inodes[i].ino == ino)
			return &m->inodes[i];
	return NULL;
}

/* The latest moment at which the file was as it was for certain. */
static unsigned certain_since(const struct judge *j, uint64_t ino)
{
	unsigned since = 0;
	for (unsigned i = 0; i < j->ack_count; i++) {
		const struct power_ack *ack = &j->line->acks[i];
		if ((ack->ino == 0 || ack->ino == ino) && ack->index <= j->index && ack->index > since)
			since = ack->index;
	}
	return since;
}

static bool byte_was(const struct judge *j, unsigned since, int slot, uint64_t ino, size_t at, uint8_t byte)
{
	for (unsigned i = since; i <= j->index; i++) {
		const struct model_inode *inode = find_inode(&j->line->states[i], slot, ino);
		if (inode && at < inode->data->bytes && byte == inode->data->data[at])
			return true;
	}
	return false;
}

static bool size_was(const struct judge *j, unsigned since, int slot, uint64_t ino, size_t size_bytes)
{
	for (unsigned i = since; i <= j->index; i++) {
		const struct model_inode *inode = find_inode(&j->line->states[i], slot, ino);
		if (inode && inode->data->bytes == size_bytes)
			return true;
	}
	return false;
}

static bool judge_data(void *ctx, int slot, const uint8_t *bytes, size_t size_bytes, char *why, size_t why_bytes)
{
	const struct judge *j = ctx;
	const struct model_inode *inode = &j->line->states[j->index].inodes[slot];
	const struct blob *blob = inode->data;
	if (blob->bytes == size_bytes && !memcmp(blob->data, bytes, size_bytes))
		return true;
	unsigned since = certain_since(j, inode->ino);
	if (!size_was(j, since, slot, inode->ino, size_bytes)) {
		snprintf(why, why_bytes, "inode %llu is %zu bytes long, not %zu as at moment %u, nor as at any since %u",
			(unsigned long long)inode->ino, size_bytes, blob->bytes, j->index, since);
		return false;
	}
	for (size_t at = 0; at < size_bytes; at++)
		if ((at >= blob->bytes || bytes[at] != blob->data[at]) && !byte_was(j, since, slot, inode->ino, at, bytes[at])) {
			snprintf(why, why_bytes, "inode %llu (%zu bytes): byte %zu is %02x, not as at any moment from %u to %u",
				(unsigned long long)inode->ino, size_bytes, at, bytes[at], since, j->index);
			return false;
		}
	return true;
}

int power_judge(const struct timeline *line, unsigned ack_count, unsigned low, unsigned high, struct fs *fs, char *why,
	size_t why_bytes)
{
	if (high >= line->count)
		high = line->count - 1;
	for (unsigned i = high + 1; i-- > low; ) {
		struct judge j = { line, ack_count, i };
		char text[300] = "";
		if (model_compare_but_data(&line->states[i], fs, judge_data, &j, text, sizeof text))
			return (int)i;
		size_t used = i == high ? 0 : strlen(why);
		if (used < why_bytes)
			snprintf(why + used, why_bytes - used, "%snot moment %u: %s", used ? "; " : "", i, text);
	}
	return -1;
}

void power_adopt_data(struct model *model, struct fs *fs)
{
	for (unsigned slot = 0; slot < MODEL_INODES; slot++) {
		struct model_inode *i = &model->inodes[slot];
		struct fs_attr attr;
		if (!i->ino || !S_ISREG(i->mode) || fs_getattr(fs, i->ino, &attr) < 0)
			continue;
		struct blob *blob = blob_new(attr.size_bytes);
		if (fs_read(fs, i->ino, blob->data, blob->bytes, 0) != (ssize_t)blob->bytes)
			memset(blob->data, 0, blob->bytes);
		blob_unref(i->data);
		i->data = blob;
	}
}
