/* The -o options of raid5cryptfs.  Pure: no I/O. */
#ifndef TOOLS_MOUNTOPTS_H
#define TOOLS_MOUNTOPTS_H

#include "base/fail.h"
#include "crypto/seal.h"
#include "fs/fuse/fuse.h"
#include "raid/disk.h"

#include <stdbool.h>
#include <stdint.h>

struct mount_options {
	char *key_file;                  /* NULL: ask; "-": standard input */
	char *alert;                     /* the program to be told of events; NULL: none */
	bool read_only;
	bool salvage;                    /* needs read_only */
	bool allow_none;                 /* cipher=none */
	bool nonempty;
	bool no_atime, no_diratime;
	bool suid_given, dev_given;      /* suid or nosuid, dev or nodev */
	uint64_t cache_bytes, dirty_bytes;
	unsigned commit_seconds, timeout_seconds;
	enum disk_engine io;
	enum fuse_transport transport;
	uint64_t read_errors_max, speed_bytes;   /* 0: no limit */
	uint32_t max_read_bytes;         /* 0: no limit; `fuse` says so too */
	enum seal_engine engine;         /* AUTO unless given; one that is built in */
	char *fuse;                      /* for libfuse, separated by commas (one within a value is "\,"); never NULL once initialised */
};

/* 0 or -ENOMEM. */
int mount_options_init(struct mount_options *options);
/* Adds a list of options, separated by commas (one within a value is written "\,"). Later ones win. */
int mount_options_parse(struct mount_options *options, const char *list, struct fail *fail);
void mount_options_free(struct mount_options *options);

#endif
