#include "fs/space/unread.h"

#include <errno.h>

static bool is_known(const struct unread *unread, address at)
{
	for (size_t i = 0; i < ARRAY_COUNT(unread->nodes); i++)
		if (unread->nodes[i] == at)
			return true;
	return false;
}

static void note(struct fs *fs, struct unread *unread, const struct tree_miss *miss)
{
	address at = le64_get(miss->pointer.address);
	unread->nodes[unread->next++ % ARRAY_COUNT(unread->nodes)] = at;
	unread->count++;
	event_report(&fs->options.events, EVENT_UNREADABLE, -1, "a node of the %s (level %u, band %u, block %llu) cannot be read: what it leads "
		"to cannot be verified. If a member is absent, give it back; if not, unmount the array and run fsck.raid5cryptfs.",
		miss->tree == TREE_FILE ? "file tree" : "system tree", miss->level, address_band(at), (unsigned long long)address_block(at));
}

/* Once in a step is enough. */
static bool in_the_way(const struct obstacle *obstacle, address at)
{
	return obstacle->error && le64_get(obstacle->miss.pointer.address) == at;
}

bool unread_retry(struct op *op, struct unread *unread, int *r)
{
	struct fs *fs = op->fs;
	struct tree_miss miss = fs->miss;
	address at = le64_get(miss.pointer.address);
	if (*r != TREE_MISS)
		return false;
	bool known = in_the_way(&fs->obstacle, at) || (unread && is_known(unread, at));
	if (known)
		*r = -EIO;
	else if (op_retry(op, r))
		return true;
	if (*r == -ENOMEM)
		return false;
	fs->obstacle = (struct obstacle){ *r, miss };
	if (unread && !is_known(unread, at))
		note(fs, unread, &miss);
	return false;
}
