/* What messages call a file, and the message that data of one is lost. */
#ifndef FS_PATH_H
#define FS_PATH_H

#include "fs/core.h"

/* "Inode", its number, and its path in quotes where that can be found out, with '?' for control characters.  No lock held.
 * `ret_text` has PATH_TEXT_BYTES. */
#define PATH_TEXT_BYTES 400u
const char *path_text(struct fs *fs, uint64_t ino, char *ret_text);

/* EVENT_UNREADABLE for a record that neither its member nor parity can give.  No lock held. */
void path_tell_lost(struct fs *fs, const struct record_place *place);

#endif
