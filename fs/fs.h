/* The filesystem: open an array as a filesystem, and the operations on it.  Works without FUSE.
 *
 * Objects are named by inode number (OBJECT_ROOT is the root directory).  All operations may be called from
 * many threads.  They return 0 (or a count) or -errno with the values that POSIX gives; permissions are
 * not checked here (the kernel does, default_permissions).  Times are nanoseconds since 1970. */
#ifndef FS_FS_H
#define FS_FS_H

#include "base/env.h"
#include "base/event.h"
#include "base/fail.h"
#include "crypto/seal.h"
#include "crypto/slot.h"
#include "raid/array.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct fs;

struct fs_options {
	bool read_only;
	bool no_replay;                  /* with read_only: the trees as the newest root has them, without the intent log (for checks) */
	bool no_atime, no_diratime;      /* accesses are not noted: at all, or of directories */
	bool salvage;                    /* with read_only: go on where parts of the trees cannot be read */
	bool repair;                     /* for fs_check_run with repair: likewise, and nothing is done by itself, no replay either */
	uint64_t root_generation;        /* open with this older root, not the newest (fs_revert); 0: the newest */
	uint64_t node_cache_bytes;       /* 0: 64 MiB */
	uint64_t dirty_bytes;            /* most dirty data held before writers wait; 0: 64 MiB */
	unsigned commit_interval_ms;     /* 0: 5000; UINT_MAX: only when asked (tests) */
	unsigned threads;                /* for sealing and row writes; 0: one for each processor; in a simulation: FS_INLINE */
	enum disk_engine io;             /* for disks that come while mounted: what the members were opened with */
	int64_t io_timeout_ms;           /* a member that hangs longer is dropped; 0: 30 s */
	uint64_t read_errors_max;        /* a member is dropped when so many of its reads have failed; 0: no limit */
	uint64_t speed_bytes;            /* of each member that rebuilding and scrubbing work through in a second at most; 0: no limit */
	enum seal_engine engine;         /* for records; AUTO: the faster of those that give right answers (crypto/seal_engine.h) */
	const struct env *env;           /* NULL: the system's */
	struct event_sink events;
};
#define FS_INLINE UINT32_MAX     /* no thread at all: everything runs in the caller's; commits only when asked */

struct fs_mkfs {
	const char *name;                /* UTF-8, up to 63 bytes */
	enum cipher cipher;
	const struct secret *secret;     /* NULL for CIPHER_NONE */
	const char *slot_description;
	uint32_t root_mode, root_uid, root_gid;
	const struct env *env;
	struct event_sink events;
};

/* Makes an array and an empty filesystem on it.  Takes the disks over and closes them.  ret_array_uuid may be NULL. */
int fs_mkfs(struct disk **disks, unsigned count, const struct fs_mkfs *params, struct uuid *ret_array_uuid, struct fail *fail);

/* Opens.  Takes the probe over, also on failure.  `secret` NULL for an array with cipher none, which opens only if
 * `allow_none`; a secret given for an array whose label says none is refused (design §6).  Writes nothing. */
int fs_open(struct probe *probe, const struct secret *secret, bool allow_none, const struct fs_options *options,
	struct fs **ret_fs, struct fail *fail);
/* Starts the background threads (commit, flush, catching up). After the daemon has forked; never in FS_INLINE. */
int fs_start(struct fs *fs);
/* A full commit if anything is dirty (unless `abandon`: as a crash would leave it), then everything is released. */
int fs_close(struct fs *fs, bool abandon);

/* A commit of all that was done before the call; 0 once it is durable.  Nothing dirty: returns at once. */
int fs_sync(struct fs *fs);
/* The periodic work that threads do otherwise, for FS_INLINE: one step of catching up and relocation. */
int fs_work(struct fs *fs);

struct fs_space {
	uint64_t capacity_blocks;        /* what users can fill: data blocks less the reserve */
	uint64_t free_blocks;
	uint64_t inodes;
};
void fs_space(struct fs *fs, struct fs_space *ret_space);
struct array *fs_array(struct fs *fs);
uint64_t fs_generation(struct fs *fs);
bool fs_read_only(struct fs *fs);
enum disk_engine fs_io(const struct fs *fs);
/* Changes fs_options.speed_bytes, and returns what it was. */
uint64_t fs_set_speed(struct fs *fs, uint64_t speed_bytes);
/* Changes fs_options.no_atime and no_diratime. */
void fs_set_atime(struct fs *fs, bool no_atime, bool no_diratime);

/* ---- Inodes ---- */

/* A file's times, in nanoseconds since 1970: all that seconds of 64 bits can say, as the kernel has them. */
typedef __int128 file_ns;

struct fs_attr {
	uint64_t ino, size_bytes, blocks;        /* blocks of 512 bytes, as st_blocks */
	uint32_t mode, uid, gid, links, generation;
	uint64_t rdev;
	file_ns atime_ns, mtime_ns, ctime_ns, btime_ns;
};

/* An operation's caller: owner of what it creates. */
struct fs_cred { uint32_t uid, gid, umask; };

int fs_lookup(struct fs *fs, uint64_t dir, const char *name, struct fs_attr *ret_attr);
int fs_getattr(struct fs *fs, uint64_t ino, struct fs_attr *ret_attr);

#define FS_SET_MODE 1u
#define FS_SET_UID 2u
#define FS_SET_GID 4u
#define FS_SET_SIZE 8u
#define FS_SET_ATIME 16u
#define FS_SET_MTIME 32u
#define FS_SET_CTIME 64u
#define FS_KILL_SUIDGID 128u     /* drop suid, and sgid where group execute is set */
#define FS_SET_ATIME_NOW 256u
#define FS_SET_MTIME_NOW 512u
#define FS_KEEP_TIMES 1024u      /* with FS_SET_SIZE: no other times change than those to be set */
int fs_setattr(struct fs *fs, uint64_t ino, const struct fs_attr *attr, unsigned set, struct fs_attr *ret_attr);

/* `mode` carries the type (S_IFREG, S_IFDIR, S_IFIFO, S_IFSOCK, S_IFCHR, S_IFBLK); it is NOT yet masked: a default ACL of the
 * directory, if it has one, else cred.umask does that. A setgid directory hands its group on, and the bit to directories.
 * -EEXIST, -ENOTDIR, -ENOENT (directory removed), -ENAMETOOLONG, -ENOSPC. */
int fs_mknod(struct fs *fs, uint64_t dir, const char *name, uint32_t mode, uint64_t rdev, struct fs_cred cred, struct fs_attr *ret_attr);
/* A regular file without a name (open(2), O_TMPFILE), to be in `dir`: as fs_mknod, and referred to once when this returns. The last fs_unref
 * frees it, unless fs_link gave it a name before. */
int fs_tmpfile(struct fs *fs, uint64_t dir, uint32_t mode, struct fs_cred cred, struct fs_attr *ret_attr);
int fs_symlink(struct fs *fs, uint64_t dir, const char *name, const char *target, struct fs_cred cred, struct fs_attr *ret_attr);
/* Target is NUL-terminated in buf; -ERANGE if it does not fit. */
int fs_readlink(struct fs *fs, uint64_t ino, char *buf, size_t size_bytes);
/* -EPERM on a directory, -EMLINK, -ENOENT when the last name is gone */
int fs_link(struct fs *fs, uint64_t ino, uint64_t dir, const char *name, struct fs_attr *ret_attr);
int fs_unlink(struct fs *fs, uint64_t dir, const char *name);           /* -EISDIR on a directory */
int fs_rmdir(struct fs *fs, uint64_t dir, const char *name);            /* -ENOTEMPTY, -ENOTDIR */
/* flags: 0, RENAME_NOREPLACE or RENAME_EXCHANGE (renameat2(2)); others -EINVAL. */
int fs_rename(struct fs *fs, uint64_t dir, const char *name, uint64_t new_dir, const char *new_name, unsigned flags);
/* In the same operation a whiteout, a character device 0:0, is left under the old name (RENAME_WHITEOUT, of which overlayfs has need
 * where it writes). flags: 0 or RENAME_NOREPLACE. */
int fs_rename_whiteout(struct fs *fs, uint64_t dir, const char *name, uint64_t new_dir, const char *new_name, unsigned flags,
	struct fs_cred cred);

/* The kernel's references: an inode without links lives until it is neither open nor looked up.
 * fs_lookup, fs_mknod, fs_symlink, fs_link take none by themselves: the adapter calls fs_ref for each entry it hands out,
 * before the reply, and fs_unref on forget and release. Atomic against unlink: -ENOENT if the inode is gone. */
int fs_ref(struct fs *fs, uint64_t ino);
void fs_unref(struct fs *fs, uint64_t ino, uint64_t count);

/* ---- Directories ---- */

struct fs_dirent {
	uint64_t ino, cookie;
	uint8_t type;
	bool no_attr;                    /* with `salvage`: its inode cannot be read */
	const char *name;
	struct fs_attr attr;             /* only with attributes */
};
/* Calls `emit` for each entry after `cookie` (0: from the start, beginning with "." and "..") until it returns false or
 * the end (with `salvage`: all entries that can be read or found again, and then -EIO if there may be others).  Cookies are stable and fit 63 bits.
 * `emit` is called without locks and may call fs_ref. */
int fs_readdir(struct fs *fs, uint64_t dir, uint64_t cookie, bool with_attr, bool (*emit)(void *ctx, const struct fs_dirent *entry), void *ctx);

/* ---- Data ---- */

/* Bytes read (short only at the end of the file) or -errno; -EIO for what cannot be rebuilt. */
ssize_t fs_read(struct fs *fs, uint64_t ino, void *buf, size_t bytes, uint64_t offset_bytes);
/* The same for O_NOATIME: the atime stays. */
ssize_t fs_read_unnoted(struct fs *fs, uint64_t ino, void *buf, size_t bytes, uint64_t offset_bytes);
/* All bytes or -errno.  kill_suidgid as FS_KILL_SUIDGID; *ret_killed (may be NULL) tells if bits were dropped. */
ssize_t fs_write(struct fs *fs, uint64_t ino, const void *buf, size_t bytes, uint64_t offset_bytes, bool kill_suidgid, bool *ret_killed);
/* The same of the first bytes of a buffer that is the caller's alone.  A large write keeps parts of it instead of copying them: if it has
 * another reference afterwards, its bytes are no longer the caller's.  *ret_stale tells if what somebody may remember of the file is far
 * from right now: bits were dropped, or it has its first blocks, or about twice as many. */
enum fs_write_kind {
	FS_WRITE,
	FS_WRITE_KILL_SUIDGID,
	FS_WRITE_KEEP_TIMES,             /* whoever writes sends the times itself, as the kernel does */
};
ssize_t fs_write_buffer(struct fs *fs, uint64_t ino, struct iobuf *buf, size_t bytes, uint64_t offset_bytes, enum fs_write_kind kind,
	bool *ret_stale);
/* fallocate(2): mode 0, KEEP_SIZE, PUNCH_HOLE|KEEP_SIZE, ZERO_RANGE[|KEEP_SIZE]; others -EOPNOTSUPP. */
int fs_fallocate(struct fs *fs, uint64_t ino, int mode, uint64_t offset_bytes, uint64_t length_bytes);
/* SEEK_DATA and SEEK_HOLE of lseek(2); -ENXIO beyond the end. */
int fs_seek(struct fs *fs, uint64_t ino, uint64_t offset_bytes, int whence, uint64_t *ret_offset_bytes);
/* Durable when it returns: data and metadata of that object; of the root directory, everything (fs/log/log.h). */
int fs_fsync(struct fs *fs, uint64_t ino, bool data_only);
/* The same without waiting for another thread: `done` is called with the result, before this returns or later by another
 * thread, which is served together with this one.  It must not call into the filesystem. */
void fs_fsync_then(struct fs *fs, uint64_t ino, void (*done)(void *ctx, int result), void *ctx);

/* As near to the most that the kernel lets be written, 2^63 - 1, as whole units come: it keeps what is written and gives it to us later,
 * so that who writes beyond a lower limit would not be told before fsync(2). */
#define FS_FILE_BYTES_MAX ((UINT64_C(1) << 63) - 16384)

/* ---- Extended attributes ---- */

/* Names are whole ("user.x"). flags: XATTR_CREATE or XATTR_REPLACE, and FS_XATTR_KILL_SGID (the caller sets an access ACL and is
 * not in the file's group: the setgid bit goes).  -ENODATA, -EEXIST, -E2BIG, -ERANGE (name), -ENOSPC.  An ACL
 * (system.posix_acl_access, system.posix_acl_default) is checked, changes the mode as setfacl(1) says, and is not stored
 * when the mode says it all: -EINVAL, -EACCES (a default ACL of what is not a directory), -EOPNOTSUPP (of a symlink). */
#define FS_XATTR_KILL_SGID 0x100
int fs_setxattr(struct fs *fs, uint64_t ino, const char *name, const void *value, size_t bytes, int flags);
/* Bytes of the value (size_bytes 0 asks for it), -ERANGE, -ENODATA. */
ssize_t fs_getxattr(struct fs *fs, uint64_t ino, const char *name, void *buf, size_t size_bytes);
ssize_t fs_listxattr(struct fs *fs, uint64_t ino, char *buf, size_t size_bytes);
int fs_removexattr(struct fs *fs, uint64_t ino, const char *name);

/* ---- Self-check ---- */

/* Walks both trees and compares: order of keys, pointers that verify (data too if `data`), bitmaps against what is
 * reachable, row items, link counts, entries and inodes, free counts.  On a filesystem with nothing dirty. `complain` gets a
 * sentence for each finding. Returns the number of findings, or -errno. */
int64_t fs_check(struct fs *fs, bool data, void (*complain)(void *ctx, const char *text), void *ctx);

#endif
