"""Data, times, extended attributes, ACLs, locks: what POSIX and Linux promise, with every error and side effect."""
import fcntl
import mmap
import random
import shutil
import struct
import subprocess
import threading

from posix_lib import *


def truncate(m):
    touch(m + "f", 0o644, b"0123456789")
    for size in [0, 123, 4096, 100000, 1234567890, 5]:
        with Times(["f.m", "f.c"], f=m + "f"):
            os.truncate(m + "f", size)
        lib.check_equal(os.stat(m + "f").st_size, size, "size")
    fd = os.open(m + "f", os.O_RDWR)
    with Times(["f.m", "f.c"], f=m + "f"):
        os.ftruncate(fd, 7)
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
    lib.check(result_of(os.truncate, m + "f", 1 << 62) in ("EFBIG", "EINVAL"), "too big")
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


def with_fd(path, act):
    fd = os.open(path, os.O_RDWR)
    act(fd)
    os.close(fd)


def touch_end(path):
    fd = os.open(path, os.O_WRONLY | os.O_APPEND)
    os.write(fd, b"x")
    os.close(fd)


def times(m):
    touch(m + "f", 0o644, b"x")
    os.mkdir(m + "d")
    os.symlink("f", m + "l")
    for name in ["f", "d", "l"]:
        for a, b in [(1, 2), (10**18 + 1, 123456789123456789), (-1, -10**9 - 5), (0, 0), (2**31 * 10**9 + 7, 2**33 * 10**9 + 999999999),
                     (-2**31 * 10**9, 5)]:
            before = os.lstat(m + name).st_ctime_ns
            time.sleep(0.02)
            os.utime(m + name, ns=(a, b), follow_symlinks=False)
            st = os.lstat(m + name)
            lib.check(st.st_ctime_ns > before, "ctime goes forward")
            lib.check_equal((st.st_atime_ns, st.st_mtime_ns), (a, b), name)
        before = os.lstat(m + name)
        utimens(m + name, (5, UTIME_OMIT), (6, 7))
        lib.check_equal(os.lstat(m + name).st_atime_ns, before.st_atime_ns, "omitted")
        lib.check_equal(os.lstat(m + name).st_mtime_ns, 6 * 10**9 + 7, "set")
        now = time.time_ns()
        utimens(m + name, (5, 8), (6, UTIME_NOW))
        lib.check_equal(os.lstat(m + name).st_atime_ns, 5 * 10**9 + 8, "set")
        lib.check(abs(os.lstat(m + name).st_mtime_ns - now) < 10**9, "now")
        before = os.lstat(m + name)
        utimens(m + name, (0, UTIME_OMIT), (0, UTIME_OMIT))
        lib.check_equal(os.lstat(m + name), before, "both omitted: nothing changes")
        expect("EINVAL", utimens, m + name, (0, 10**9), (0, 0))
    os.chown(m + "f", USER, USER)
    os.chmod(m + "f", 0o666)
    expect_as(1000, "EPERM", utimens, m + "f", (1, 1), (1, 1))
    expect_as(1000, "EPERM", utimens, m + "f", (0, UTIME_NOW), (0, UTIME_OMIT))
    expect_as(1000, None, utimens, m + "f", (0, UTIME_NOW), (0, UTIME_NOW))
    expect_as(1000, None, utimens, m + "f", (0, UTIME_OMIT), (0, UTIME_OMIT))
    expect_as(USER, None, utimens, m + "f", (0, UTIME_NOW), (0, UTIME_OMIT))
    os.chmod(m + "f", 0o444)
    expect_as(1000, "EACCES", utimens, m + "f", (0, UTIME_NOW), (0, UTIME_NOW))
    expect_as(USER, None, utimens, m + "f", (0, UTIME_NOW), (0, UTIME_NOW))
    # The farthest time: kept or clamped, never garbage.
    for far in [2**34, 2**40, 2**62, -2**40, -2**62]:
        if result_of(utimens, m + "f", (far, 0), (far, 0)) is None:
            got = os.stat(m + "f").st_mtime_ns // 10**9
            lib.check(abs(got) <= abs(far) and (got > 2**32 if far > 0 else got <= -2**31), f"{far}: {got}")
    os.utime(m + "f", (1, 1))
    # What changes the times of a file.
    touch(m + "g", 0o644, b"x" * 10000)
    fd = os.open(m + "g", os.O_RDWR)
    with Times(["g.m", "g.c"], g=m + "g"):
        os.write(fd, b"y")
    with Times([], g=m + "g"):
        os.fsync(fd)
    with Times([], g=m + "g"):
        os.write(fd, b"")
    for what in [(0, 5000, 6000), (KEEP_SIZE, 20000, 6000), (PUNCH_HOLE | KEEP_SIZE, 100, 5000), (ZERO_RANGE, 5000, 200)]:
        st = os.fstat(fd)
        time.sleep(0.02)
        fallocate(fd, *what)
        lib.check(os.fstat(fd).st_ctime_ns > st.st_ctime_ns, f"fallocate{what} changes ctime")
    with Times(["g.c"], g=m + "g"):
        os.setxattr(m + "g", "user.x", b"1")
    with Times(["g.c"], g=m + "g"):
        os.removexattr(m + "g", "user.x")
    with mmap.mmap(fd, 10000) as mapped, Times(["g.m", "g.c"], g=m + "g"):
        mapped[5] = 7
        mapped.flush()
    os.close(fd)
    # Access times (relatime).
    os.utime(m + "g", (1, 2))
    fd = os.open(m + "g", os.O_RDONLY)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)       # FUSE: the kernel tells of no access to a page that it has
    os.read(fd, 100)
    os.close(fd)
    lib.check(os.stat(m + "g").st_atime_ns > 10**18, "an access is noted when the file was changed after the last one")
    # Order: what is done later has no earlier time.
    last, backwards = 0, 0
    for i in range(200):
        path = m + f"o{i % 7}"
        if i % 3 == 0:
            touch(path, 0o644, b"x")
        elif i % 3 == 1:
            os.mkdir(path + "d") if not os.path.exists(path + "d") else os.rmdir(path + "d")
            path = m
        else:
            fd = os.open(path, os.O_CREAT | os.O_RDWR)
            os.ftruncate(fd, i)
            os.write(fd, b"y")
            os.close(fd)
        st = os.stat(path)
        backwards += st.st_mtime_ns < last
        last = st.st_mtime_ns
    # Newer kernels have a finer clock too, which few filesystems get, but which moves that of all on.
    lib.check(backwards < 20, f"{backwards} of 200 times are before the one before")


UTIME_NOW, UTIME_OMIT = (1 << 30) - 1, (1 << 30) - 2


def utimens(path, access, modified):
    call("utimensat", AT_FDCWD, path, struct.pack("qqqq", *access, *modified), 0x100)


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
    lib.check("EFBIG" in (result_of(os.pwrite, fd, b"x", (1 << 62)), result_of(os.fsync, fd)), "too far")
    result_of(os.close, fd)
    os.unlink(m + "big")
    st = os.statvfs(m)
    lib.check_equal(st.f_namemax, 255, "the longest name")
    lib.check(st.f_bsize == st.f_frsize == 4096 and st.f_bavail <= st.f_bfree <= st.f_blocks and st.f_ffree <= st.f_files, f"statfs: {st}")


def xattrs(m):
    touch(m + "f")
    os.mkdir(m + "d")
    os.symlink("f", m + "l")
    for path in [m + "f", m + "d"]:
        for space in ["user", "trusted", "security"]:
            name = f"{space}.name"
            for size in [0, 1, 100, 1000, 3900]:
                os.setxattr(path, name, b"v" * size)
                lib.check_equal(os.getxattr(path, name), b"v" * size, "value")
            expect("EEXIST", os.setxattr, path, name, b"", os.XATTR_CREATE)
            os.setxattr(path, name, b"replaced", os.XATTR_REPLACE)
            os.removexattr(path, name)
            expect("ENODATA", os.removexattr, path, name)
            expect("ENODATA", os.getxattr, path, name)
            expect("ENODATA", os.setxattr, path, name, b"", os.XATTR_REPLACE)
        expect("ENOTSUP", os.setxattr, path, "nowhere.x", b"")
        expect("ENOTSUP", os.setxattr, path, "x", b"")
        os.setxattr(path, "user." + "n" * 250, b"long")
        expect("ERANGE", os.setxattr, path, "user." + "n" * 251, b"")
        expect("E2BIG", os.setxattr, path, "user.big", b"v" * 65537)
        lib.check_equal(os.listxattr(path), ["user." + "n" * 250], "names")
        os.removexattr(path, "user." + "n" * 250)
        # A buffer that is too small.
        os.setxattr(path, "user.v", b"12345")
        buf = ctypes.create_string_buffer(4)
        expect("ERANGE", call, "getxattr", path, "user.v", buf, 4)
        expect("ERANGE", call, "listxattr", path, buf, 4)
        lib.check_equal(call("getxattr", path, "user.v", None, 0), 5, "asked for the size")
        # As others.
        os.chown(path, USER, USER)
        os.chmod(path, 0o755)
        os.setxattr(path, "trusted.t", b"1")
        expect_as(USER, None, os.setxattr, path, "user.u", b"1")
        expect_as(USER, "EPERM", os.setxattr, path, "trusted.u", b"1")
        expect_as(USER, "ENODATA", os.getxattr, path, "trusted.t")
        expect_as(1000, "EACCES", os.setxattr, path, "user.u", b"1")
        expect_as(1000, b"1", os.getxattr, path, "user.u")
        os.chmod(path, 0o700)
        expect_as(1000, "EACCES", os.getxattr, path, "user.u")
        for name in os.listxattr(path):
            os.removexattr(path, name)
    expect("EPERM", os.setxattr, m + "l", "user.x", b"", follow_symlinks=False)
    os.setxattr(m + "l", "trusted.x", b"of a symlink", follow_symlinks=False)
    os.mkfifo(m + "fifo")
    expect("EPERM", os.setxattr, m + "fifo", "user.x", b"")
    names = {f"user.{i:03}" for i in range(60)}
    for name in names:
        os.setxattr(m + "d", name, name.encode())
    lib.check_equal(set(os.listxattr(m + "d")), names, "many")
    for name in names:
        lib.check_equal(os.getxattr(m + "d", name), name.encode(), "value")
    # A capability goes when the file is written.
    capability = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)
    os.chmod(m + "f", 0o777)
    os.setxattr(m + "f", "security.capability", capability)
    expect_as(1000, None, touch_end, m + "f")
    expect("ENODATA", os.getxattr, m + "f", "security.capability")


def acl_value(*entries):
    """(tag, permissions, id): tags 1 owner, 2 user, 4 owning group, 8 group, 16 mask, 32 other."""
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", t, p, i) for t, p, i in entries)


ANY = 0xffffffff
ACCESS, DEFAULT = "system.posix_acl_access", "system.posix_acl_default"


def acls(m):
    touch(m + "f", 0o640)
    os.mkdir(m + "d")
    value = acl_value((1, 6, ANY), (2, 6, USER), (4, 4, ANY), (16, 6, ANY), (32, 0, ANY))
    with Times(["f.c"], f=m + "f"):
        os.setxattr(m + "f", ACCESS, value)
    lib.check_equal(mode_of(m + "f"), 0o660, "the mask is the group's bits")
    lib.check_equal(os.getxattr(m + "f", ACCESS), value, "as set")
    lib.check_equal(os.listxattr(m + "f"), [ACCESS], "listed")
    expect_as(USER, None, open_close, m + "f", os.O_RDWR)
    expect_as(1000, "EACCES", open_close, m + "f", os.O_RDONLY)
    os.chmod(m + "f", 0o640)
    expect_as(USER, "EACCES", open_close, m + "f", os.O_RDWR)
    expect_as(USER, None, open_close, m + "f", os.O_RDONLY)
    lib.check_equal(os.getxattr(m + "f", ACCESS)[4 + 3 * 8:4 + 4 * 8], struct.pack("<HHI", 16, 4, ANY), "chmod sets the mask")
    # One that a mode can say.
    os.setxattr(m + "f", ACCESS, acl_value((1, 7, ANY), (4, 5, ANY), (32, 1, ANY)))
    lib.check_equal((mode_of(m + "f"), os.listxattr(m + "f")), (0o751, []), "no ACL is kept")
    expect("ENODATA", os.getxattr, m + "f", ACCESS)
    for bad in [b"x", acl_value((1, 7, ANY)), struct.pack("<I", 3), acl_value((4, 5, ANY), (1, 7, ANY), (32, 1, ANY)),
                acl_value((1, 6, ANY), (2, 6, USER), (4, 4, ANY), (32, 0, ANY)), acl_value((1, 9, ANY), (4, 5, ANY), (32, 1, ANY))]:
        lib.check(result_of(os.setxattr, m + "f", ACCESS, bad) in ("EINVAL", "ENOTSUP"), f"refused: {bad}")
    expect("EACCES", os.setxattr, m + "f", DEFAULT, value)
    expect_as(1000, "EPERM", os.setxattr, m + "f", ACCESS, value)
    # Inherited.
    os.setxattr(m + "d", DEFAULT, acl_value((1, 7, ANY), (2, 7, USER), (4, 5, ANY), (16, 7, ANY), (32, 5, ANY)))
    lib.check_equal(mode_of(m + "d"), 0o755, "a default ACL changes no mode")
    old = os.umask(0o77)
    open_close(m + "d/f", os.O_CREAT, 0o666)
    os.mkdir(m + "d/sub", 0o777)
    os.mkfifo(m + "d/fifo", 0o640)
    os.symlink("x", m + "d/l")
    os.umask(old)
    lib.check_equal([mode_of(m + "d/f"), mode_of(m + "d/sub"), mode_of(m + "d/fifo")], [0o664, 0o775, 0o640], "modes without the umask")
    lib.check_equal(os.getxattr(m + "d/f", ACCESS), acl_value((1, 6, ANY), (2, 7, USER), (4, 5, ANY), (16, 6, ANY), (32, 4, ANY)), "inherited")
    lib.check_equal(os.getxattr(m + "d/sub", DEFAULT), os.getxattr(m + "d", DEFAULT), "handed on")
    os.removexattr(m + "d/sub", DEFAULT)
    expect("ENODATA", os.getxattr, m + "d/sub", DEFAULT)
    os.removexattr(m + "d/f", ACCESS)
    lib.check_equal(os.listxattr(m + "d/f"), [], "removed")
    # setgid goes when who sets the ACL is not in the group.
    for groups, wanted in [([], 0o760), ([OTHER], 0o2760)]:
        touch(m + "g")
        os.chown(m + "g", USER, OTHER)
        os.chmod(m + "g", 0o2755)
        expect_as(USER, None, os.setxattr, m + "g", ACCESS, acl_value((1, 7, ANY), (2, 6, 1000), (4, 4, ANY), (16, 6, ANY), (32, 0, ANY)), groups=groups)
        lib.check_equal(mode_of(m + "g"), wanted, f"groups {groups}")
        os.unlink(m + "g")


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
    run_tests(truncate, times, data, xattrs, acls, locks, concurrent)
