/* The rings' entries: room for a request and its answer, and the commands by which they go to the kernel. */
#include "fs/fuse/fuse_uring_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define RING_ENTRIES 64u
#define SQES_BYTES (RING_ENTRIES * 2 * sizeof(struct io_uring_sqe))
#define RING_BYTES 8192u                 /* the kernel's head, 4 bytes for each submission, and 16 for twice as many completions */
#define ENTRIES_MAX 256u                 /* of one thread */
#define HEADER_BYTES 4096u               /* of an entry's memory, before the payload */

/* As io_uring_queue_init_params, but that the ring is in memory of ours and not mapped from its descriptor.  What is mapped lives as long as
 * the process has memory, so that one thread that cannot die, since it waits for a disk or for us, would keep the rings when we are killed;
 * these hold /dev/fuse, and the kernel would not find the connection closed.  (io_uring_queue_init_mem is newer than Debian 12's.) */
int uring_ring_init(struct io_uring *ring, unsigned flags)
{
	struct io_uring_params params = { .flags = IORING_SETUP_SQE128 | IORING_SETUP_NO_MMAP | flags };
	char *memory = mmap(NULL, RING_BYTES + SQES_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (memory == MAP_FAILED)
		return -errno;
	params.cq_off.RING_USER_ADDR = (uintptr_t)memory;
	params.sq_off.RING_USER_ADDR = (uintptr_t)memory + RING_BYTES;
	int fd = (int)syscall(SYS_io_uring_setup, RING_ENTRIES, &params);
	if (fd < 0) {
		int error = errno;
		munmap(memory, RING_BYTES + SQES_BYTES);
		return -error;
	}
	unsigned *array = (unsigned *)(memory + params.sq_off.array);
	for (unsigned i = 0; i < params.sq_entries; i++)
		array[i] = i;
	*ring = (struct io_uring){
		.sq = {
			.khead = (unsigned *)(memory + params.sq_off.head), .ktail = (unsigned *)(memory + params.sq_off.tail),
			.kring_mask = (unsigned *)(memory + params.sq_off.ring_mask),
			.kring_entries = (unsigned *)(memory + params.sq_off.ring_entries),
			.kflags = (unsigned *)(memory + params.sq_off.flags), .kdropped = (unsigned *)(memory + params.sq_off.dropped),
			.array = array, .sqes = (struct io_uring_sqe *)(memory + RING_BYTES),
			.ring_mask = params.sq_entries - 1, .ring_entries = params.sq_entries,
			.ring_ptr = memory, .ring_sz = RING_BYTES + SQES_BYTES,
		},
		.cq = {
			.khead = (unsigned *)(memory + params.cq_off.head), .ktail = (unsigned *)(memory + params.cq_off.tail),
			.kring_mask = (unsigned *)(memory + params.cq_off.ring_mask),
			.kring_entries = (unsigned *)(memory + params.cq_off.ring_entries),
			.kflags = (unsigned *)(memory + params.cq_off.flags), .koverflow = (unsigned *)(memory + params.cq_off.overflow),
			.cqes = (struct io_uring_cqe *)(memory + params.cq_off.cqes),
			.ring_mask = params.cq_entries - 1, .ring_entries = params.cq_entries,
		},
		.flags = params.flags, .features = params.features, .ring_fd = fd, .enter_ring_fd = fd,
	};
	return 0;
}

void uring_ring_free(struct io_uring *ring)
{
	close(ring->ring_fd);
	munmap(ring->sq.ring_ptr, ring->sq.ring_sz);
}

struct entry *uring_entry_new(struct uring_thread *t)
{
	size_t bytes = HEADER_BYTES + PAYLOAD_BYTES;
	struct entry *entry = t->entry_count < ENTRIES_MAX ? calloc(1, sizeof *entry) : NULL;
	void *memory = entry ? mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) : MAP_FAILED;

	if (memory == MAP_FAILED) {
		free(entry);
		return NULL;
	}
	madvise(memory, bytes, MADV_DONTDUMP);   /* plaintext */
	entry->thread = t;
	entry->memory = memory;
	entry->header = memory;
	entry->payload = entry->memory + HEADER_BYTES;
	entry->iov[0] = (struct iovec){ entry->header, sizeof *entry->header };
	entry->iov[1] = (struct iovec){ entry->payload, PAYLOAD_BYTES };
	list_append(&t->entries, &entry->link);
	t->entry_count++;
	return entry;
}

void uring_entry_free(struct entry *entry)
{
	list_remove(&entry->link);
	munmap(entry->memory, HEADER_BYTES + PAYLOAD_BYTES);
	free(entry);
}

struct io_uring_sqe *uring_sqe(struct io_uring *ring)
{
	struct io_uring_sqe *sqe;

	while (!(sqe = io_uring_get_sqe(ring)))
		io_uring_submit(ring);
	memset(sqe, 0, 2 * sizeof *sqe);
	return sqe;
}

void uring_entry_hand_over(struct entry *entry, struct io_uring *ring, enum fuse_uring_cmd what)
{
	struct io_uring_sqe *sqe = uring_sqe(ring);
	struct fuse_uring_cmd_req command = { .qid = entry->thread->queue };

	if (what == FUSE_IO_URING_CMD_COMMIT_AND_FETCH)
		command.commit_id = entry->header->ring_ent_in_out.commit_id;
	io_uring_prep_rw(IORING_OP_URING_CMD, sqe, fuse_session_fd(entry->thread->server->session), entry->iov, 2, 0);
	sqe->cmd_op = what;
	io_uring_sqe_set_data(sqe, entry);
	memcpy(sqe->cmd, &command, sizeof command);
	entry->state = WITH_KERNEL;
}

ssize_t uring_entry_answer(struct entry *entry, const struct iovec *iov, int count)
{
	struct fuse_out_header head;
	size_t bytes = 0;

	memcpy(&head, iov[0].iov_base, sizeof head);
	for (int i = 1; i < count; i++) {
		if (iov[i].iov_len > PAYLOAD_BYTES - bytes) {
			head = (struct fuse_out_header){ .len = sizeof head, .error = -EIO, .unique = head.unique };
			bytes = 0;
			break;
		}
		if (iov[i].iov_base != entry->payload + bytes)
			memcpy(entry->payload + bytes, iov[i].iov_base, iov[i].iov_len);
		bytes += iov[i].iov_len;
	}
	memcpy(entry->header->in_out, &head, sizeof head);
	entry->header->ring_ent_in_out.payload_sz = (uint32_t)bytes;
	entry->state = ANSWERED;
	return head.len;
}
