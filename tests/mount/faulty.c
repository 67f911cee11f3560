/* A member that fails on command, for tests of real mounts (tests/mount/faulty.py drives it):
 *
 *     faulty IMAGE FOLDER SOCKET
 *
 * mounts on FOLDER a FUSE filesystem with one file, "disk", which is IMAGE, and obeys lines that come by the Unix socket SOCKET,
 * one for each connection.  It ends when its standard input does, that is with the test that started it: what hangs then fails.
 *
 *   KIND OPS [KEY=NUMBER]...  a rule.  OPS: read, write, flush, separated by commas, or all.  Keys of every rule: from= to= (only
 *                             I/O that touches these bytes; flushes have none), every=N (each Nth of these), count=N (that often).
 *     fail  error=ERRNO (5)   answers with an error; of reads, with mended=1, until these bytes are written
 *     hang                    does not answer before `release`, and then does what was asked
 *     delay ms=N              answers later
 *     lose                    acknowledges a write and does nothing
 *     misplace by=BYTES       another place is read or written
 *     flip                    a bit of each byte that is read is wrong (within from= and to=)
 *     short                   half of what was asked for is transferred (of a write, the kernel makes that EIO for io_uring)
 *   clear, release            no rules any more; no `hang` any more: what hung is answered, in its order
 *   shrink BYTES              the file is so long: reads beyond get nothing, writes beyond ENOSPC.  0: as before
 *   gone, back                all I/O and every open gets ENXIO
 *   snapshot, restore         remembers all bytes; goes back to them
 *   count                     only the answer
 *
 * The answer is "ok READS WRITES FLUSHES BAD HUNG": requests so far, those that a rule (or shrink, gone) spoilt, and those that
 * hang now; or "error: TEXT".  A flush does nothing: what was written is in the page cache of IMAGE, and the power does not fail.
 *
 * One thread does everything.  A request that is to wait is kept, with its data, in `waiting`, and carried out from there. */
#define FUSE_USE_VERSION 314

#include "base/cleanup.h"
#include "base/list.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>

#define TRANSFER_BYTES (1u << 20)
#define RULES_MAX 16u
#define INODE_DISK 2u
#define FILE_NAME "disk"
#define NEVER INT64_MAX

enum kind { FAIL, HANG, DELAY, LOSE, MISPLACE, FLIP, SHORT, KIND_COUNT };
static const char *const kind_names[KIND_COUNT] = { "fail", "hang", "delay", "lose", "misplace", "flip", "short" };

enum op { READ, WRITE, FLUSH, OP_COUNT };
static const char *const op_names[OP_COUNT] = { "read", "write", "flush" };

struct rule {
	enum kind kind;
	unsigned ops;                        /* bit by enum op */
	uint64_t from, to, every, count, error, ms, by, mended;
	uint64_t seen;
	bool counted, used_up;
};

struct io {
	struct list entry;
	int64_t due_ms;                      /* NEVER: when it is released */
	enum op op;
	fuse_req_t req;
	uint64_t offset_bytes;
	size_t bytes;
	uint8_t data[];
};

static struct {
	int fd, snapshot;
	uint64_t size_bytes, shrunk_bytes;   /* shrunk: 0 is not */
	bool gone;
	struct rule rules[RULES_MAX];
	unsigned rule_count;
	struct list waiting;
	uint64_t done[OP_COUNT], bad;
	uint8_t buf[TRANSFER_BYTES];
} disk = { .snapshot = -1, .waiting = { &disk.waiting, &disk.waiting } };

static int64_t now_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static uint64_t size_now(void)
{
	return disk.shrunk_bytes ? disk.shrunk_bytes : disk.size_bytes;
}

/* ---- I/O ---- */

/* Does a rule of that kind hold for this I/O?  Counts it. */
static const struct rule *rule_for(enum kind kind, enum op op, uint64_t offset_bytes, size_t bytes)
{
	for (unsigned i = 0; i < disk.rule_count; i++) {
		struct rule *rule = &disk.rules[i];
		if (rule->kind != kind || rule->used_up || !(rule->ops >> op & 1)
			|| (op != FLUSH && (offset_bytes >= rule->to || offset_bytes + bytes <= rule->from)))
			continue;
		if (++rule->seen % rule->every)
			continue;
		if (rule->counted && --rule->count == 0)
			rule->used_up = true;
		disk.bad += kind != DELAY;
		return rule;
	}
	return NULL;
}

static void spoil(const struct rule *rule, uint64_t offset_bytes, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++)
		if (offset_bytes + i >= rule->from && offset_bytes + i < rule->to)
			disk.buf[i] ^= 0x10;
}

static void do_read(fuse_req_t req, uint64_t offset_bytes, size_t bytes)
{
	const struct rule *flip = rule_for(FLIP, READ, offset_bytes, bytes), *elsewhere = rule_for(MISPLACE, READ, offset_bytes, bytes);
	uint64_t size_bytes = size_now(), at = (offset_bytes + (elsewhere ? elsewhere->by : 0)) % disk.size_bytes;

	if (offset_bytes >= size_bytes) {
		disk.bad++;
		bytes = 0;
	} else if (bytes > size_bytes - offset_bytes) {
		bytes = size_bytes - offset_bytes;
	}
	if (bytes > 512 && rule_for(SHORT, READ, offset_bytes, bytes))
		bytes = bytes / 1024 * 512;
	ssize_t n = bytes ? pread(disk.fd, disk.buf, bytes, (off_t)at) : 0;
	if (n < 0) {
		fuse_reply_err(req, errno);
		return;
	}
	if (flip)
		spoil(flip, offset_bytes, (size_t)n);
	fuse_reply_buf(req, (const char *)disk.buf, (size_t)n);
}

/* What was unreadable is not any more. */
static void mend(uint64_t offset_bytes, size_t bytes)
{
	for (unsigned i = 0; i < disk.rule_count; i++)
		if (disk.rules[i].mended && offset_bytes < disk.rules[i].to && offset_bytes + bytes > disk.rules[i].from)
			disk.rules[i].used_up = true;
}

static void do_write(fuse_req_t req, uint64_t offset_bytes, const uint8_t *data, size_t bytes)
{
	const struct rule *elsewhere = rule_for(MISPLACE, WRITE, offset_bytes, bytes);
	uint64_t at = (offset_bytes + (elsewhere ? elsewhere->by : 0)) % disk.size_bytes;

	if (offset_bytes + bytes > size_now()) {
		disk.bad++;
		fuse_reply_err(req, ENOSPC);
		return;
	}
	if (bytes > 512 && rule_for(SHORT, WRITE, offset_bytes, bytes))
		bytes = bytes / 1024 * 512;
	ssize_t n = rule_for(LOSE, WRITE, offset_bytes, bytes) ? (ssize_t)bytes : pwrite(disk.fd, data, bytes, (off_t)at);
	if (n < 0) {
		fuse_reply_err(req, errno);
		return;
	}
	mend(offset_bytes, (size_t)n);
	fuse_reply_write(req, (size_t)n);
}

static void carry_out(enum op op, fuse_req_t req, uint64_t offset_bytes, const uint8_t *data, size_t bytes)
{
	const struct rule *fail = disk.gone ? NULL : rule_for(FAIL, op, offset_bytes, bytes);

	disk.done[op]++;
	disk.bad += disk.gone;
	if (disk.gone)
		fuse_reply_err(req, ENXIO);
	else if (fail)
		fuse_reply_err(req, (int)fail->error);
	else if (op == READ)
		do_read(req, offset_bytes, bytes);
	else if (op == WRITE)
		do_write(req, offset_bytes, data, bytes);
	else
		fuse_reply_err(req, 0);
}

static void arrive(enum op op, fuse_req_t req, uint64_t offset_bytes, const uint8_t *data, size_t bytes)
{
	const struct rule *hang = rule_for(HANG, op, offset_bytes, bytes), *delay = rule_for(DELAY, op, offset_bytes, bytes);
	size_t data_bytes = op == WRITE ? bytes : 0;

	if (!hang && !delay) {
		carry_out(op, req, offset_bytes, data, bytes);
		return;
	}
	struct io *io = malloc(sizeof(*io) + data_bytes);
	if (!io) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	*io = (struct io){ .due_ms = hang ? NEVER : now_ms() + (int64_t)delay->ms, .op = op, .req = req,
		.offset_bytes = offset_bytes, .bytes = bytes };
	if (data_bytes)
		memcpy(io->data, data, data_bytes);
	list_append(&disk.waiting, &io->entry);
}

/* Carries out what is due by then; returns when the next one is. */
static int64_t serve_waiting(int64_t until_ms)
{
	int64_t next_ms = NEVER;

	for (struct list *e = disk.waiting.next, *after; e != &disk.waiting; e = after) {
		struct io *io = container_of(e, struct io, entry);
		after = e->next;
		if (io->due_ms <= until_ms) {
			list_remove(e);
			carry_out(io->op, io->req, io->offset_bytes, io->data, io->bytes);
			free(io);
		} else if (io->due_ms < next_ms) {
			next_ms = io->due_ms;
		}
	}
	return next_ms;
}

/* ---- FUSE ---- */

static struct stat attributes(fuse_ino_t ino)
{
	if (ino != INODE_DISK)
		return (struct stat){ .st_ino = ino, .st_mode = S_IFDIR | 0755, .st_nlink = 2 };
	return (struct stat){ .st_ino = ino, .st_mode = S_IFREG | 0600, .st_nlink = 1, .st_size = (off_t)size_now(), .st_blksize = 4096 };
}

static void on_init(void *ctx, struct fuse_conn_info *conn)
{
	(void)ctx;
	conn->max_write = TRANSFER_BYTES;
	conn->max_background = 64;
}

static void on_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	if (parent != FUSE_ROOT_ID || strcmp(name, FILE_NAME)) {
		fuse_reply_err(req, ENOENT);
		return;
	}
	fuse_reply_entry(req, &(struct fuse_entry_param){ .ino = INODE_DISK, .generation = 1, .attr = attributes(INODE_DISK) });
}

static void on_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)fi;
	struct stat st = attributes(ino);
	fuse_reply_attr(req, &st, 0);
}

static void on_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	if (ino != INODE_DISK || disk.gone) {
		fuse_reply_err(req, ino != INODE_DISK ? EISDIR : ENXIO);
		return;
	}
	fi->direct_io = 1;
	fuse_reply_open(req, fi);
}

static void on_read(fuse_req_t req, fuse_ino_t ino, size_t bytes, off_t offset_bytes, struct fuse_file_info *fi)
{
	(void)ino, (void)fi;
	assert(bytes <= TRANSFER_BYTES);
	arrive(READ, req, (uint64_t)offset_bytes, NULL, bytes);
}

static void on_write(fuse_req_t req, fuse_ino_t ino, const char *data, size_t bytes, off_t offset_bytes, struct fuse_file_info *fi)
{
	(void)ino, (void)fi;
	arrive(WRITE, req, (uint64_t)offset_bytes, (const uint8_t *)data, bytes);
}

static void on_fsync(fuse_req_t req, fuse_ino_t ino, int data_only, struct fuse_file_info *fi)
{
	(void)ino, (void)data_only, (void)fi;
	arrive(FLUSH, req, 0, NULL, 0);
}

static const struct fuse_lowlevel_ops operations = {
	.init = on_init, .lookup = on_lookup, .getattr = on_getattr, .open = on_open, .read = on_read, .write = on_write, .fsync = on_fsync,
};

/* ---- Commands ---- */

static bool copy_all(int from, int to)
{
	for (uint64_t at = 0; at < disk.size_bytes; ) {
		ssize_t n = pread(from, disk.buf, sizeof(disk.buf), (off_t)at);
		if (n <= 0 || pwrite(to, disk.buf, (size_t)n, (off_t)at) != n)
			return false;
		at += (uint64_t)n;
	}
	return true;
}

static bool take_snapshot(void)
{
	if (disk.snapshot < 0)
		disk.snapshot = open(P_tmpdir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	return disk.snapshot >= 0 && copy_all(disk.fd, disk.snapshot);
}

static void release(void)
{
	for (unsigned i = 0; i < disk.rule_count; i++)
		disk.rules[i].used_up |= disk.rules[i].kind == HANG;
	serve_waiting(NEVER);
}

static int find_name(const char *const *names, int count, const char *name)
{
	for (int i = 0; i < count; i++)
		if (!strcmp(names[i], name))
			return i;
	return -1;
}

static bool parse_ops(char *text, unsigned *ret_ops)
{
	char *rest;

	*ret_ops = 0;
	for (char *name = strtok_r(text, ",", &rest); name; name = strtok_r(NULL, ",", &rest)) {
		int op = find_name(op_names, OP_COUNT, name);
		if (op < 0 && strcmp(name, "all"))
			return false;
		*ret_ops |= op < 0 ? (1u << OP_COUNT) - 1 : 1u << op;
	}
	return true;
}

static bool parse_key(struct rule *rule, const char *word)
{
	const struct { const char *name; uint64_t *value; } keys[] = { { "from", &rule->from }, { "to", &rule->to }, { "every", &rule->every },
		{ "count", &rule->count }, { "error", &rule->error }, { "ms", &rule->ms }, { "by", &rule->by }, { "mended", &rule->mended } };

	for (unsigned i = 0; i < ARRAY_COUNT(keys); i++) {
		size_t length = strlen(keys[i].name);
		char *end;
		if (strncmp(word, keys[i].name, length) || word[length] != '=')
			continue;
		*keys[i].value = strtoull(word + length + 1, &end, 10);
		rule->counted |= keys[i].value == &rule->count;
		return !*end && end > word + length + 1 && rule->every && (!rule->counted || rule->count);
	}
	return false;
}

static const char *add_rule(int kind, char *rest)
{
	struct rule rule = { .kind = (enum kind)kind, .to = UINT64_MAX, .every = 1, .error = EIO };
	char *ops = strtok_r(NULL, " ", &rest), *word;

	if (disk.rule_count == RULES_MAX)
		return "too many rules";
	if (!ops || !parse_ops(ops, &rule.ops))
		return "operations: read, write, flush, all";
	while ((word = strtok_r(NULL, " ", &rest)))
		if (!parse_key(&rule, word))
			return "no such key, or not a number";
	disk.rules[disk.rule_count++] = rule;
	return NULL;
}

/* NULL, or what is wrong. */
static const char *obey(char *line)
{
	char *rest, *word = strtok_r(line, " ", &rest);
	int kind = word ? find_name(kind_names, KIND_COUNT, word) : -1;

	if (kind >= 0)
		return add_rule(kind, rest);
	if (!word)
		return "nothing was said";
	if (!strcmp(word, "clear"))
		disk.rule_count = 0;
	else if (!strcmp(word, "release"))
		release();
	else if (!strcmp(word, "shrink"))
		disk.shrunk_bytes = strtoull(rest, NULL, 10);
	else if (!strcmp(word, "gone") || !strcmp(word, "back"))
		disk.gone = *word == 'g';
	else if (!strcmp(word, "snapshot"))
		return take_snapshot() ? NULL : "the snapshot failed";
	else if (!strcmp(word, "restore"))
		return disk.snapshot >= 0 && copy_all(disk.snapshot, disk.fd) ? NULL : "there is no snapshot, or it cannot be copied";
	else if (strcmp(word, "count"))
		return "no such command";
	return NULL;
}

static void serve_command(int listening)
{
	autoclose int fd = accept4(listening, NULL, NULL, SOCK_CLOEXEC);
	char line[256], answer[256];
	unsigned hung = 0;

	ssize_t n = fd < 0 ? -1 : read(fd, line, sizeof(line) - 1);
	if (n <= 0)
		return;
	line[n] = '\0';
	line[strcspn(line, "\n")] = '\0';
	const char *wrong = obey(line);
	for (const struct list *e = disk.waiting.next; e != &disk.waiting; e = e->next)
		hung += container_of(e, struct io, entry)->due_ms == NEVER;
	int length = wrong ? snprintf(answer, sizeof(answer), "error: %s\n", wrong) : snprintf(answer, sizeof(answer),
		"ok %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %u\n", disk.done[READ], disk.done[WRITE], disk.done[FLUSH], disk.bad, hung);
	if (write(fd, answer, (size_t)length) != length)
		perror("faulty: answering");
}

static int listen_at(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (strlen(path) >= sizeof(address.sun_path))
		return -1;
	strcpy(address.sun_path, path);
	return fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, 8) < 0 ? -1 : fd;
}

static void serve(struct fuse_session *session, int listening)
{
	struct fuse_buf buf = { 0 };
	struct pollfd polled[3] = { { .fd = fuse_session_fd(session), .events = POLLIN }, { .fd = listening, .events = POLLIN },
		{ .fd = STDIN_FILENO, .events = POLLIN } };

	for (;;) {
		int64_t now = now_ms(), next = serve_waiting(now);
		if (poll(polled, 3, next == NEVER ? -1 : (int)(next - now)) < 0 || polled[2].revents || (polled[0].revents & POLLERR))
			break;
		if (polled[1].revents)
			serve_command(listening);
		if (!(polled[0].revents & POLLIN))
			continue;
		int n = fuse_session_receive_buf(session, &buf);
		if (n == -EINTR)
			continue;
		if (n <= 0)
			break;
		fuse_session_process_buf(session, &buf);
	}
	free(buf.mem);
}

int main(int argc, char **argv)
{
	struct stat st;

	if (argc != 4)
		return fprintf(stderr, "usage: faulty IMAGE FOLDER SOCKET\n"), 2;
	signal(SIGPIPE, SIG_IGN);
	disk.fd = open(argv[1], O_RDWR | O_CLOEXEC);
	int listening = listen_at(argv[3]);
	if (disk.fd < 0 || listening < 0 || fstat(disk.fd, &st) < 0)
		return perror("faulty"), 1;
	disk.size_bytes = (uint64_t)st.st_size;
	struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
	if (fuse_opt_add_arg(&args, argv[0]) || fuse_opt_add_arg(&args, "-ofsname=faulty"))
		return 1;
	struct fuse_session *session = fuse_session_new(&args, &operations, sizeof(operations), NULL);
	fuse_opt_free_args(&args);
	if (!session || fuse_session_mount(session, argv[2]))
		return 1;
	serve(session, listening);
	fuse_session_unmount(session);
	while (!list_empty(&disk.waiting)) {
		struct io *io = container_of(disk.waiting.next, struct io, entry);
		list_remove(&io->entry);
		fuse_reply_err(io->req, EIO);
		free(io);
	}
	fuse_session_destroy(session);
	return 0;
}
