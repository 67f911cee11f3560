/* What reading and writing members costs below everything else: raid/disk.h alone, 1 MiB at a time, one thread for each member.
 *
 *	bench_members write|read BYTES MEMBER...
 *
 * BYTES of each member, from its beginning; writing ends with a flush.  Whatever is on the members is lost.  Prints nanoseconds, the
 * bytes of all members together, and the processor time of the whole machine meanwhile. */
#include "base/cleanup.h"
#include "raid/disk.h"
#include "tests/bench/measure.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define CALL_BYTES (1u << 20)
#define MEMBERS_MAX 32u

struct job {
	pthread_t thread;
	struct disk *disk;
	struct iobuf *buf;
	enum disk_op op;
	uint64_t bytes;
	int error;                       /* out: 0 or -errno */
};

static int run_one(struct disk_io *io)
{
	io->result = -EINPROGRESS;
	disk_run(io, 1, DISK_TIMEOUT_MS);
	return io->result;
}

static void *job_main(void *ctx)
{
	struct job *job = ctx;
	struct iovec iov = { job->buf->data, CALL_BYTES };
	struct disk_io io = { .op = job->op, .disk = job->disk, .length_bytes = CALL_BYTES, .iov = &iov, .iov_count = 1, .hold = job->buf };
	int r = 0;

	for (; !r && io.offset_bytes < job->bytes; io.offset_bytes += CALL_BYTES)
		r = run_one(&io);
	if (!r && job->op == DISK_WRITE)
		r = disk_flush(job->disk);
	job->error = r;
	return NULL;
}

static int open_member(struct job *job, const char *path, enum disk_op op, uint64_t bytes)
{
	struct fail fail = { 0 };

	*job = (struct job){ .op = op, .bytes = bytes };
	int r = disk_open(path, DISK_READ_WRITE, DISK_ENGINE_AUTO, &job->disk, &fail);
	if (r < 0) {
		fprintf(stderr, "bench_members: %s\n", fail.text);
		return r;
	}
	job->buf = iobuf_new(CALL_BYTES);
	if (!job->buf)
		return -ENOMEM;
	if (job->disk->size_bytes < bytes) {
		fprintf(stderr, "bench_members: %s: only %" PRIu64 " bytes\n", path, job->disk->size_bytes);
		return -EINVAL;
	}
	return measure_random(job->buf->data, CALL_BYTES);
}

static int run_jobs(struct job *jobs, unsigned count)
{
	int64_t cpu_ns = measure_cpu_ns(), start_ns = measure_now_ns();
	int error = 0;

	for (unsigned i = 0; i < count; i++)
		if (pthread_create(&jobs[i].thread, NULL, job_main, &jobs[i]))
			return -EAGAIN;
	for (unsigned i = 0; i < count; i++) {
		pthread_join(jobs[i].thread, NULL);
		error = jobs[i].error ? jobs[i].error : error;
	}
	int64_t spent_ns = measure_now_ns() - start_ns;
	if (!error)
		printf("{\"ns\": %" PRId64 ", \"bytes\": %" PRIu64 ", \"cpu_ns\": %" PRId64 "}\n", spent_ns, count * jobs[0].bytes,
			measure_cpu_ns() - cpu_ns);
	return error;
}

int main(int argc, char **argv)
{
	struct job jobs[MEMBERS_MAX] = { 0 };
	unsigned count = argc > 3 ? (unsigned)argc - 3 : 0;
	uint64_t bytes = count ? strtoull(argv[2], NULL, 10) : 0;
	int r = 0;

	if (count == 0 || count > MEMBERS_MAX || bytes == 0 || bytes % CALL_BYTES ||
	    (strcmp(argv[1], "write") != 0 && strcmp(argv[1], "read") != 0)) {
		fprintf(stderr, "usage: bench_members write|read BYTES MEMBER...   (whole MiB of each, at most %u members)\n", MEMBERS_MAX);
		return 2;
	}
	for (unsigned i = 0; !r && i < count; i++)
		r = open_member(&jobs[i], argv[3 + i], argv[1][0] == 'w' ? DISK_WRITE : DISK_READ, bytes);
	if (!r)
		r = run_jobs(jobs, count);
	for (unsigned i = 0; i < count; i++) {
		iobuf_unref(jobs[i].buf);
		disk_close(jobs[i].disk);
	}
	if (r < 0)
		fprintf(stderr, "bench_members: %s\n", strerror(-r));
	return r < 0;
}
