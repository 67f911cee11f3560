/* A failure as a user reads it: what, where, what to do, and the exit code a script can use.
 *
 * Functions that can fail for a reason the user must understand take a `struct fail *` as their
 * last argument (NULL if nobody asks), fill it with fail_set() and return -errno.  The deepest
 * function that knows the reason fills it; callers pass it on untouched. */
#ifndef BASE_FAIL_H
#define BASE_FAIL_H

/* Exit codes of every program of this project (documented in each man page). */
enum fail_code {
	FAIL_NONE = 0,
	FAIL_SYSTEM = 1,       /* the system refused something (memory, permission, an I/O error) */
	FAIL_USAGE = 2,        /* the command line is wrong */
	FAIL_KEY = 3,          /* wrong passphrase or key file */
	FAIL_SLOT = 4,         /* every key slot is damaged, or no memory to try it */
	FAIL_KEYFILE = 5,      /* the key file is missing, empty, unreadable or too large */
	FAIL_NOT_MEMBER = 6,   /* a member has no label of an array (zeroed, random, truncated, not ours) */
	FAIL_MIXED = 7,        /* members of different arrays */
	FAIL_TWICE = 8,        /* a member given twice, or two members with one UUID */
	FAIL_VERSION = 9,      /* a format version or a feature that this program does not know */
	FAIL_TOO_FEW = 10,     /* not enough members to go on */
	FAIL_BUSY = 11,        /* a member or the array is in use */
	FAIL_MOUNTPOINT = 12,  /* the mount point is missing, not a directory, not empty or busy */
	FAIL_SIGNATURE = 13,   /* a device carries another system's signature */
	FAIL_TOO_SMALL = 14,   /* a device is too small */
	FAIL_DIVERGED = 15,    /* clones of one array went separate ways */
	FAIL_DAMAGED = 16,     /* structures that no redundancy could repair */
	FAIL_NOT_FOUND = 17,   /* no array of that name or UUID, or nothing mounted there */
};

struct fail {
	enum fail_code code;
	char text[1024];
};

/* Fills `fail` (may be NULL) and returns -err, so that a caller can write
 * `return fail_set(fail, EBUSY, FAIL_BUSY, "…", …);` */
int fail_set(struct fail *fail, int err, enum fail_code code, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

#endif
