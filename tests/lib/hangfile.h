/* A regular file whose reads, writes and syncs can be made to hang in the kernel, for testing time
 * limits: a FUSE mount of one file, served by a child process.  Needs root and /dev/fuse. */
#ifndef TESTS_LIB_HANGFILE_H
#define TESTS_LIB_HANGFILE_H

#include <stdbool.h>
#include <stdint.h>

struct hangfile;

/* Makes it over the existing empty file `path`.  -errno where that is not possible.  The mount is in a namespace
 * of its own and goes with the process; call this before other threads start. */
int hangfile_new(const char *path, uint64_t size_bytes, struct hangfile **ret_file);
/* From now on transfers and syncs hang; or all that hang are carried out, and later ones go through. */
void hangfile_hang(struct hangfile *file, bool hang);
/* How many requests hang now. */
unsigned hangfile_waiting(struct hangfile *file);
/* Its content, for direct inspection while nothing is under way. */
uint8_t *hangfile_bytes(struct hangfile *file);
void hangfile_free(struct hangfile *file);

#endif
