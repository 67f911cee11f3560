"""POSIX: data: truncating, holes, mappings, locks, and many at once."""
import fcntl
import mmap
import random
import signal
import threading
import time

from posix_lib import *


def with_fd(path, act):
    fd = os.open(path, os.O_RDWR)
    act(fd)
    os.close(fd)


def forget_inodes():
    with open("/proc/sys/vm/drop_caches", "w") as f:
        f.write("2")


def truncate(m):
    touch(m + "f", 0o644, b"0123456789")
    for size in [0, 123, 4096, 100000, 1234567890, 5]:
        with Times(["f.m", "f.c"], f=m + "f"):
            os.truncate(m + "f", size)
        lib.check_equal(os.stat(m + "f").st_size, size, "size")
    fd = os.open(m + "f", os.O_RDWR)
    with Times(["f.m", "f.c"], f=m + "f"):
        os.ftruncate(fd, 7)
    with Times(["f.m", "f.c"], f=m + "f"):
        os.ftruncate(fd, 7)              # also to the same size
    # truncate(2) to the same size changes times or not, as the filesystem likes; but it must be of one mind.
    os.fsync(fd)
    time.sleep(0.02)
    os.truncate(m + "f", 7)
    before = os.stat(m + "f")
    os.close(fd)
    lib.syncfs(m)
    forget_inodes()
    after = os.stat(m + "f")
    lib.check_equal((after.st_mtime_ns, after.st_ctime_ns), (before.st_mtime_ns, before.st_ctime_ns), "the kernel forgot what it knew")
    fd = os.open(m + "f", os.O_RDWR)
    os.ftruncate(fd, 0)
    os.write(fd, b"0123456789" * 1000)
    for size, grown in [(5000, 9000), (4096, 8192), (1, 3), (0, 5000)]:
        os.ftruncate(fd, size)
        os.ftruncate(fd, grown)
        wanted = (b"0123456789" * 1000)[:size] + bytes(grown - size)
        lib.check_equal(read(m + "f"), wanted, f"cut to {size}, grown to {grown}")
        os.pwrite(fd, b"0123456789" * 1000, 0)
    os.close(fd)
    fd = os.open(m + "f", os.O_RDONLY)
    expect("EINVAL", os.ftruncate, fd, 1)
    os.close(fd)
    expect("EINVAL", os.truncate, m + "f", -1)
    os.mkdir(m + "d")
    expect("EISDIR", os.truncate, m + "d", 1)
    os.mkfifo(m + "fifo")
    expect("EINVAL", os.truncate, m + "fifo", 1)
    os.chmod(m + "f", 0o444)
    expect_as(USER, "EACCES", os.truncate, m + "f", 1)
    expect("EFBIG", os.truncate, m + "f", (1 << 63) - 1)
    # suid is dropped by whoever is not privileged.
    for act in [lambda p: os.truncate(p, 3), lambda p: open_close(p, os.O_WRONLY | os.O_TRUNC), lambda p: touch_end(p),
                lambda p: with_fd(p, lambda fd: fallocate(fd, 0, 0, 100000)),
                lambda p: with_fd(p, lambda fd: fallocate(fd, PUNCH_HOLE | KEEP_SIZE, 0, 5)),
                lambda p: with_fd(p, lambda fd: fallocate(fd, ZERO_RANGE, 0, 5)),
                lambda p: with_fd(p, lambda fd: os.copy_file_range(fd, fd, 2, 0, 5))]:
        touch(m + "s", 0o644, b"0123456789")
        os.chown(m + "s", USER, USER)
        for mode, after in [(0o4777, 0o777), (0o2777, 0o777), (0o6777, 0o777), (0o6766, 0o2766)]:
            os.chmod(m + "s", mode)
            os.truncate(m + "s", 10)
            lib.check_equal(mode_of(m + "s"), mode, "root may keep it")
            expect_as(1000, None, act, m + "s", groups=[USER])
            lib.check_equal(mode_of(m + "s"), after, f"{mode:o} after {act.__code__.co_consts} {act.__code__.co_names}")
        os.unlink(m + "s")



CLOCK_REALTIME_COARSE = 5        # linux/time.h


def wait_for_late_in_tick():
    """The kernel takes a file's times from a clock that ticks every few ms: returns shortly before it does so again."""
    tick = time.clock_getres(CLOCK_REALTIME_COARSE)
    now = time.clock_gettime(CLOCK_REALTIME_COARSE)
    while time.clock_gettime(CLOCK_REALTIME_COARSE) == now:
        pass
    end = time.monotonic() + tick - random.uniform(0, 300e-6)
    while time.monotonic() < end:
        pass


def times_of_direct_writes(m):
    # Two writes within a tick have one time, and it is the kernel's, whatever time it is when the second one is served.
    buf = mmap.mmap(-1, 4096)

    def write(name):
        fd = os.open(m + name, os.O_CREAT | os.O_RDWR | os.O_DIRECT)
        os.pwritev(fd, [buf], 0)
        os.close(fd)                     # the kernel sends the file's times
    for i in range(400):
        write(f"direct{i}")
        wait_for_late_in_tick()
        write(f"direct{i}")
        write(f"direct{i}")


def data(m):
    # Many writers that append lose nothing and mix nothing.
    def append(number):
        fd = os.open(m + "log", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        for i in range(300):
            os.write(fd, f"{number:02}-{i:04}\n".encode() * (1 + i % 3))
        os.close(fd)
    pids = []
    for number in range(6):
        pid = os.fork()
        if pid == 0:
            append(number)
            os._exit(0)
        pids.append(pid)
    for pid in pids:
        lib.check_equal(os.waitpid(pid, 0)[1], 0, "a writer")
    lines = read(m + "log").decode().splitlines()
    lib.check_equal(sorted(lines), sorted(f"{n:02}-{i:04}" for n in range(6) for i in range(300) for _ in range(1 + i % 3)), "appended")
    # Holes.
    fd = os.open(m + "sparse", os.O_CREAT | os.O_RDWR)
    for place in [1 << 20, 1 << 33, (1 << 42) + 4096]:
        os.pwrite(fd, b"data", place)
    lib.check_equal(os.fstat(fd).st_size, (1 << 42) + 4100, "a sparse size")
    os.fsync(fd)
    lib.check(os.fstat(fd).st_blocks < 1000, f"a sparse file takes little: {os.fstat(fd).st_blocks}")
    lib.check_equal(os.lseek(fd, 0, os.SEEK_DATA), 1 << 20, "SEEK_DATA")
    lib.check_equal(os.lseek(fd, 0, os.SEEK_HOLE), 0, "SEEK_HOLE")
    lib.check_equal(os.lseek(fd, 1 << 30, os.SEEK_DATA), 1 << 33, "SEEK_DATA")
    lib.check_equal(os.lseek(fd, 1 << 42, os.SEEK_HOLE), 1 << 42, "SEEK_HOLE")
    for whence in [os.SEEK_DATA, os.SEEK_HOLE]:
        expect("ENXIO", os.lseek, fd, (1 << 42) + 4100, whence)
        expect("ENXIO", os.lseek, fd, -1, whence)
    lib.check_equal(os.pread(fd, 10, (1 << 33) - 3), b"\0\0\0data\0\0\0", "around data")
    os.ftruncate(fd, 1 << 43)
    expect("ENXIO", os.lseek, fd, 1 << 42 | 1 << 20, os.SEEK_DATA)
    os.ftruncate(fd, 2 << 20)            # all of it is read later
    os.close(fd)
    touch(m + "small", 0o644, b"s")
    lib.check(os.stat(m + "small").st_blocks > 0, "a file with data is no hole")
    fd = os.open(m + "growing", os.O_CREAT | os.O_RDWR)
    for size in [100, 2000, 10000, 100000, 3000000]:
        os.pwrite(fd, b"x" * size, 0)
        os.fstat(fd)                     # it need not know yet
        os.fsync(fd)
        blocks = os.fstat(fd).st_blocks  # nor all of them while it is open
        lib.check(blocks * 512 * 2 >= size, f"{blocks} blocks of {size} bytes")
    os.close(fd)
    # fallocate(2).
    fd = os.open(m + "allocated", os.O_CREAT | os.O_RDWR)
    os.posix_fallocate(fd, 0, 100000)
    lib.check_equal(os.fstat(fd).st_size, 100000, "allocated")
    lib.check(os.fstat(fd).st_blocks >= 196, "blocks are counted")
    lib.check_equal(os.pread(fd, 200000, 0), bytes(100000), "it reads as zeros")
    expect("EINVAL", fallocate, fd, 0, 0, 0)
    expect("EINVAL", fallocate, fd, 0, -1, 10)
    expect("EFBIG", fallocate, fd, 0, (1 << 63) - 10, 100)
    expect("ENOTSUP", fallocate, fd, PUNCH_HOLE, 0, 100)
    lib.check(result_of(fallocate, fd, 0, 0, 1 << 50) in ("ENOSPC", "EFBIG"), "more than there is")
    lib.check_equal(os.fstat(fd).st_size, 100000, "unchanged")
    read_only = os.open(m + "allocated", os.O_RDONLY)
    expect("EBADF", fallocate, read_only, 0, 0, 10)
    os.close(read_only)
    os.close(fd)
    # copy_file_range(2), sendfile(2).
    source = random.Random(1).randbytes(300000)
    touch(m + "source", 0o644, source)
    a, b = os.open(m + "source", os.O_RDWR), os.open(m + "copy", os.O_CREAT | os.O_RDWR)
    done = 0
    while done < 300000:
        done += os.copy_file_range(a, b, 300000 - done, done, done)
    lib.check_equal(read(m + "copy"), source, "copied")
    lib.check_equal(os.copy_file_range(a, b, 10, 300000), 0, "at the end")
    expect("EINVAL", os.copy_file_range, a, a, 1000, 0, 500)
    os.lseek(b, 0, os.SEEK_SET)
    lib.check_equal(os.sendfile(b, a, 1000, 500), 500, "sendfile")
    lib.check_equal(os.pread(b, 500, 0), source[1000:1500], "sent")
    # Mapped, read, written, O_DIRECT: one content.
    direct = os.open(m + "copy", os.O_RDWR | os.O_DIRECT)
    buf = mmap.mmap(-1, 8192)
    with mmap.mmap(b, 300000) as mapped:
        mapped[8192:8200] = b"mapped!!"
        lib.check_equal(os.pread(b, 8, 8192), b"mapped!!", "a mapped write is read")
        os.pwrite(b, b"written!", 12288)
        lib.check_equal(mapped[12288:12296], b"written!", "a write is seen in the map")
        mapped.flush()
        os.preadv(direct, [buf], 8192)
        lib.check_equal(buf[:8] + buf[4096:4104], b"mapped!!written!", "O_DIRECT reads both")
        buf[:7] = b"direct!"
        os.pwritev(direct, [buf], 16384)
        lib.check_equal((os.pread(b, 7, 16384), mapped[16384:16391]), (b"direct!", b"direct!"), "an O_DIRECT write is seen")
    for fd in [a, b, direct]:
        os.close(fd)
    private = os.open(m + "source", os.O_RDONLY)
    with mmap.mmap(private, 4096, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE) as mapped:
        mapped[:4] = b"mine"
    lib.check_equal(os.pread(private, 4, 0), source[:4], "a private map writes nothing")
    expect("EBADF", os.write, private, b"x")
    lib.check_equal(os.pread(private, 10, 1 << 50), b"", "far beyond the end")
    os.close(private)
    os.mkdir(m + "d")
    fd = os.open(m + "d", os.O_RDONLY)
    expect("EISDIR", os.read, fd, 10)
    os.fsync(fd)
    os.close(fd)
    # Size limits.
    fd = os.open(m + "big", os.O_CREAT | os.O_RDWR)
    most = (1 << 63) - 16384
    expect("EFBIG", os.ftruncate, fd, most + 1)
    expect("EFBIG", fallocate, fd, 0, most - 1, 2)
    direct = os.open(m + "big", os.O_RDWR | os.O_DIRECT)
    with mmap.mmap(-1, 8192) as block:
        expect("EFBIG", os.pwrite, direct, block, most - 4096)
    os.close(direct)
    lib.check_equal(os.fstat(fd).st_size, 0, "nothing was written")
    for at in [1 << 60, 1 << 62, most - 1]:
        os.pwrite(fd, b"x", at)
        os.fsync(fd)
        lib.check_equal(os.fstat(fd).st_size, at + 1, "the size")
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        lib.check_equal(os.pread(fd, 3, at - 1), b"\0x", "what is there")
        lib.check_equal(os.lseek(fd, at - 8192, os.SEEK_DATA), at // 4096 * 4096, "where it is")
    os.close(fd)
    os.unlink(m + "big")
    st = os.statvfs(m)
    lib.check_equal(st.f_namemax, 255, "the longest name")
    lib.check(st.f_bsize == st.f_frsize == 4096 and st.f_bavail <= st.f_bfree <= st.f_blocks and st.f_ffree <= st.f_files, f"statfs: {st}")


def seeks_while_writing(m):
    """SEEK_DATA and SEEK_HOLE make the kernel write first, behind the writer's back."""
    # Whoever writes what cannot be kept is told, by the seek or after it.
    fd = os.open(m + "lost", os.O_CREAT | os.O_RDWR)
    told = [result_of(act) for act in (lambda: os.pwrite(fd, b"x" * 4096, (1 << 63) - 8192), lambda: os.lseek(fd, 0, os.SEEK_DATA),
                                       lambda: os.close(fd))]
    lib.check("EFBIG" in told or "EIO" in told, f"an error is not lost: {told}")
    # A lease's holder cannot give it up meanwhile.
    before = signal.signal(signal.SIGIO, signal.SIG_IGN)
    fd = os.open(m + "leased", os.O_CREAT | os.O_RDWR)
    os.pwrite(fd, b"x", 65536)
    fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
    start = time.monotonic()
    data_at = 0 if lib.TRANSPORT == "uring" else 65536       # there all seems data then (fs/fuse/fuse_seek.c)
    lib.check_equal(os.lseek(fd, 0, os.SEEK_DATA), data_at, "data in a file with a lease")
    lib.check(time.monotonic() - start < 10, "its holder does not wait for itself")
    os.close(fd)
    signal.signal(signal.SIGIO, before)
    for name in ["lost", "leased"]:
        os.unlink(m + name)


def locks(m):
    touch(m + "f", 0o644, b"x" * 100)

    def try_lock(kind, start, length):
        fd = os.open(m + "f", os.O_RDWR)
        fcntl.lockf(fd, kind | fcntl.LOCK_NB, length, start)
        os.close(fd)

    def try_flock(kind):
        fd = os.open(m + "f", os.O_RDWR)
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
        os.close(fd)
    os.chmod(m + "f", 0o666)
    with open(m + "f", "r+b") as f:
        fcntl.lockf(f, fcntl.LOCK_EX, 10, 5)
        expect_as(USER, "EAGAIN", try_lock, fcntl.LOCK_SH, 14, 1)
        expect_as(USER, None, try_lock, fcntl.LOCK_EX, 15, 1)
        fcntl.lockf(f, fcntl.LOCK_UN, 2, 8)
        expect_as(USER, None, try_lock, fcntl.LOCK_EX, 8, 2)
        fcntl.lockf(f, fcntl.LOCK_SH, 10, 5)
        expect_as(USER, None, try_lock, fcntl.LOCK_SH, 5, 10)
        expect_as(USER, "EAGAIN", try_lock, fcntl.LOCK_EX, 5, 10)
        fcntl.flock(f, fcntl.LOCK_SH)
        expect_as(USER, None, try_flock, fcntl.LOCK_SH)
        expect_as(USER, "EAGAIN", try_flock, fcntl.LOCK_EX)
    expect_as(USER, None, try_flock, fcntl.LOCK_EX)


def concurrent(m):
    """Names made, moved and deleted by many at once: in the end what is listed is what is there."""
    os.mkdir(m + "d")

    def work(seed):
        rng = random.Random(seed)
        for i in range(400):
            name, other = (m + f"d/{rng.randrange(40)}" for _ in range(2))
            act = rng.choice([lambda: open_close(name, os.O_CREAT | os.O_RDWR), lambda: os.unlink(name), lambda: os.rename(name, other),
                              lambda: os.link(name, other), lambda: os.mkdir(name), lambda: os.rmdir(name), lambda: os.listdir(m + "d"),
                              lambda: os.stat(name), lambda: renameat2(name, other, RENAME_EXCHANGE)])
            lib.check(result_of(act) != "EIO", "no error of the filesystem's own")
    threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    subdirectories, links = 0, {}
    for name in os.listdir(m + "d"):
        st = os.lstat(m + "d/" + name)
        subdirectories += stat.S_ISDIR(st.st_mode)
        if not stat.S_ISDIR(st.st_mode):
            links.setdefault(st.st_ino, [st.st_nlink, 0])[1] += 1
    lib.check_equal(os.stat(m + "d").st_nlink, 2 + subdirectories, "links of the directory")
    for ino, (wanted, found) in links.items():
        lib.check_equal(found, wanted, "links of a file")


if __name__ == "__main__":
    run_tests(truncate, times_of_direct_writes, data, seeks_while_writing, locks, concurrent)
