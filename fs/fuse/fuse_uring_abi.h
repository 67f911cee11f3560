/* The kernel's FUSE over io_uring, for systems whose <linux/fuse.h> is older than it: include/uapi/linux/fuse.h of Linux 6.14 (FUSE 7.42);
 * Documentation/filesystems/fuse/fuse-io-uring.rst describes it.  And what it takes of io_uring that is newer than Debian 12's headers. */
#ifndef FS_FUSE_URING_ABI_H
#define FS_FUSE_URING_ABI_H

#include <linux/fuse.h>
#include <stdint.h>

#ifndef FUSE_OVER_IO_URING

#define FUSE_OVER_IO_URING (1ULL << 41)  /* among the flags of INIT and its answer */

#define FUSE_URING_IN_OUT_HEADER_SZ 128
#define FUSE_URING_OP_IN_OUT_SZ 128

struct fuse_uring_ent_in_out {
	uint64_t flags;
	uint64_t commit_id;              /* by which the answer is committed */
	uint32_t payload_sz;             /* what is used of the payload, by the request and then by the answer */
	uint32_t padding;
	uint64_t reserved;
};

struct fuse_uring_req_header {
	char in_out[FUSE_URING_IN_OUT_HEADER_SZ];        /* struct fuse_in_header; the answer's struct fuse_out_header */
	char op_in[FUSE_URING_OP_IN_OUT_SZ];             /* the operation's own head; what follows that is the payload */
	struct fuse_uring_ent_in_out ring_ent_in_out;
};

enum fuse_uring_cmd {
	FUSE_IO_URING_CMD_REGISTER = 1,          /* hands over an entry, and completes with its first request */
	FUSE_IO_URING_CMD_COMMIT_AND_FETCH = 2,  /* hands over the answer, and completes with the next one */
};

/* In the second half of a submission of 128 bytes. */
struct fuse_uring_cmd_req {
	uint64_t flags;
	uint64_t commit_id;
	uint16_t qid;                    /* the queue: a processor's number */
	uint8_t padding[6];
};

#endif

/* include/uapi/linux/io_uring.h of Linux 6.5: the ring is in memory of the caller's, at sq_off.user_addr and cq_off.user_addr. */
#ifndef IORING_SETUP_NO_MMAP
#define IORING_SETUP_NO_MMAP (1u << 14)
#define RING_USER_ADDR resv2             /* the field's name before */
#else
#define RING_USER_ADDR user_addr
#endif

#endif
