/* Inside of raid5cryptfs-rebuild: its subcommands.
 *
 * Each parses its own command line (argv[0] is its name), prints what it did, and returns 0 or -errno with `fail` filled. */
#ifndef TOOLS_REBUILD_H
#define TOOLS_REBUILD_H

#include "base/fail.h"

#include <signal.h>

/* Set by SIGINT and SIGTERM. */
extern volatile sig_atomic_t rebuild_stopped;

/* rebuild_keyless.c */
int rebuild_keyless(int argc, char **argv, struct fail *fail);
void rebuild_keyless_usage(void);

/* rebuild_erase.c */
int rebuild_erase(int argc, char **argv, struct fail *fail);
void rebuild_erase_usage(void);

/* rebuild_members.c */
int rebuild_readd(int argc, char **argv, struct fail *fail);
int rebuild_fail(int argc, char **argv, struct fail *fail);
void rebuild_readd_usage(void);
void rebuild_fail_usage(void);

/* rebuild_replace.c */
int rebuild_add(int argc, char **argv, struct fail *fail);
int rebuild_replace(int argc, char **argv, struct fail *fail);
int rebuild_spare(int argc, char **argv, struct fail *fail);
void rebuild_add_usage(void);
void rebuild_replace_usage(void);
void rebuild_spare_usage(void);

/* rebuild_remove.c */
int rebuild_remove(int argc, char **argv, struct fail *fail);
void rebuild_remove_usage(void);

#endif
