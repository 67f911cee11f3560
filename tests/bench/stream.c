/* Sequential streams: writes or reads files in calls of one size, each by a thread of its own, and says how long all took.
 *
 *	stream write|read FOLDER BYTES CALL_BYTES STREAMS
 *
 * BYTES are of all streams together.  Writing ends with an fsync of each file, inside the time.  The content is random, so that nobody
 * gains by compressing; each block of 4 KiB begins with its number, which reading compares: a wrong one is an error, not a
 * figure.  Prints nanoseconds, bytes, and the processor time of the whole machine meanwhile. */
#include "base/cleanup.h"
#include "tests/bench/measure.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define BLOCK_BYTES 4096u
#define POOL_BYTES (4u << 20)            /* random bytes that writes are taken from, a power of two */
#define STREAMS_MAX 64u

struct stream {
	pthread_t thread;
	bool writes;
	char path[4096];
	uint64_t number, bytes;
	size_t call_bytes;
	pthread_barrier_t *start;
	uint8_t *buf;                    /* POOL_BYTES, a copy for each stream */
	int error;                       /* out: 0 or -errno */
};

static uint64_t stamp_of(const struct stream *stream, uint64_t offset)
{
	return (stream->number << 48 | offset / BLOCK_BYTES) + 1;
}

static int write_call(struct stream *stream, int fd, uint64_t offset)
{
	uint8_t *from = stream->buf + (offset & (POOL_BYTES - 1));

	for (size_t at = 0; at < stream->call_bytes; at += BLOCK_BYTES) {
		uint64_t stamp = stamp_of(stream, offset + at);
		memcpy(from + at, &stamp, sizeof stamp);
	}
	ssize_t n = write(fd, from, stream->call_bytes);
	return n < 0 ? -errno : (size_t)n == stream->call_bytes ? 0 : -EIO;
}

static int read_call(struct stream *stream, int fd, uint64_t offset)
{
	size_t done = 0;

	while (done < stream->call_bytes) {
		ssize_t n = read(fd, stream->buf + done, stream->call_bytes - done);
		if (n <= 0)
			return n < 0 ? -errno : -ENODATA;
		done += (size_t)n;
	}
	for (size_t at = 0; at < stream->call_bytes; at += BLOCK_BYTES) {
		uint64_t stamp;
		memcpy(&stamp, stream->buf + at, sizeof stamp);
		if (stamp != stamp_of(stream, offset + at))
			return -EBADMSG;
	}
	return 0;
}

static int run_stream(struct stream *stream)
{
	autoclose int fd = open(stream->path, stream->writes ? O_WRONLY | O_CREAT | O_TRUNC : O_RDONLY, 0600);
	int r = fd < 0 ? -errno : 0;

	pthread_barrier_wait(stream->start);
	for (uint64_t offset = 0; !r && offset < stream->bytes; offset += stream->call_bytes)
		r = stream->writes ? write_call(stream, fd, offset) : read_call(stream, fd, offset);
	if (!r && stream->writes && fsync(fd) < 0)
		r = -errno;
	return r;
}

static void *stream_main(void *ctx)
{
	struct stream *stream = ctx;
	stream->error = run_stream(stream);
	return NULL;
}

static int prepare(struct stream *streams, unsigned count, pthread_barrier_t *start)
{
	for (unsigned i = 0; i < count; i++) {
		streams[i].start = start;
		streams[i].buf = malloc(POOL_BYTES);
		if (!streams[i].buf || measure_random(streams[i].buf, POOL_BYTES) < 0)
			return -ENOMEM;
	}
	return 0;
}

static int run_all(struct stream *streams, unsigned count)
{
	pthread_barrier_t start;
	uint64_t bytes = 0;

	pthread_barrier_init(&start, NULL, count + 1);
	if (prepare(streams, count, &start) < 0)
		return -ENOMEM;
	for (unsigned i = 0; i < count; i++) {
		int r = pthread_create(&streams[i].thread, NULL, stream_main, &streams[i]);
		if (r)
			return -r;
	}
	int64_t cpu_ns = measure_cpu_ns(), start_ns = measure_now_ns();
	pthread_barrier_wait(&start);
	for (unsigned i = 0; i < count; i++) {
		pthread_join(streams[i].thread, NULL);
		bytes += streams[i].bytes;
	}
	int64_t spent_ns = measure_now_ns() - start_ns;
	cpu_ns = measure_cpu_ns() - cpu_ns;
	for (unsigned i = 0; i < count; i++)
		if (streams[i].error) {
			fprintf(stderr, "stream: %s: %s\n", streams[i].path, strerror(-streams[i].error));
			return streams[i].error;
		}
	printf("{\"ns\": %" PRId64 ", \"bytes\": %" PRIu64 ", \"cpu_ns\": %" PRId64 "}\n", spent_ns, bytes, cpu_ns);
	return 0;
}

int main(int argc, char **argv)
{
	static struct stream streams[STREAMS_MAX];

	if (argc != 6 || (strcmp(argv[1], "write") != 0 && strcmp(argv[1], "read") != 0)) {
		fprintf(stderr, "usage: stream write|read FOLDER BYTES CALL_BYTES STREAMS\n");
		return 2;
	}
	uint64_t bytes = strtoull(argv[3], NULL, 10), call_bytes = strtoull(argv[4], NULL, 10), count = strtoull(argv[5], NULL, 10);
	if (count < 1 || count > STREAMS_MAX || call_bytes < BLOCK_BYTES || call_bytes > POOL_BYTES || (call_bytes & (call_bytes - 1)) ||
	    bytes == 0 || bytes % (count * call_bytes)) {
		fprintf(stderr, "stream: a call is a power of two from 4 KiB to 4 MiB; all bytes are whole calls of 1 to %u streams\n", STREAMS_MAX);
		return 2;
	}
	for (unsigned i = 0; i < count; i++) {
		streams[i].writes = argv[1][0] == 'w';
		streams[i].number = i;
		streams[i].bytes = bytes / count;
		streams[i].call_bytes = call_bytes;
		snprintf(streams[i].path, sizeof streams[i].path, "%s/stream%u", argv[2], i);
	}
	return run_all(streams, (unsigned)count) < 0 ? 1 : 0;
}
