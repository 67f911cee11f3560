"""POSIX: times, extended attributes and ACLs."""
import mmap
import struct

from posix_lib import *


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
    # The farthest times, here and after the remount.
    for number, far in enumerate([2**34, 2**40, 2**62, -2**40, -2**62]):
        for name in [f"far{number}", f"fardir{number}"]:
            os.mkdir(m + name) if "dir" in name else touch(m + name, 0o644, b"x")
            utimens(m + name, (far, 5), (far, 6))
            st = os.stat(m + name)
            lib.check_equal((st.st_atime_ns, st.st_mtime_ns), (far * 10**9 + 5, far * 10**9 + 6), name)
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
    os.utime(m + "g", (1, 2))
    fd = os.open(m + "g", os.O_RDONLY | os.O_NOATIME)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    os.read(fd, 100)
    os.close(fd)
    lib.check_equal(os.stat(m + "g").st_atime_ns, 10**9, "O_NOATIME")
    os.mkdir(m + "listed")
    time.sleep(0.02)
    os.listdir(m + "listed")
    before = os.stat(m + "listed").st_atime_ns
    time.sleep(0.02)
    os.listdir(m + "listed")
    lib.check_equal(os.stat(m + "listed").st_atime_ns, before, "relatime: the second access tells nothing new")
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
        lib.check_equal(sorted(os.listxattr(path)), ["trusted.t", "user.u", "user.v"], "all names")
        lib.check_equal(sorted(as_user(USER, os.listxattr, path)), ["user.u", "user.v"], "names for who is not privileged")
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


ANY = 0xffffffff
ACCESS, DEFAULT = "system.posix_acl_access", "system.posix_acl_default"


def acl_value(*entries):
    """(tag, permissions, id): tags 1 owner, 2 user, 4 owning group, 8 group, 16 mask, 32 other."""
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", t, p, i) for t, p, i in entries)


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
    for path, name in [("d/f", ACCESS), ("d/f", DEFAULT), ("d/sub", DEFAULT), ("d/fifo", ACCESS)]:
        os.removexattr(m + path, name)
        os.removexattr(m + path, name)   # that there is none is no error
        os.setxattr(m + path, name, acl_value())
    # setgid goes when who sets the ACL is not in the group.
    for groups, wanted in [([], 0o760), ([OTHER], 0o2760)]:
        touch(m + "g")
        os.chown(m + "g", USER, OTHER)
        os.chmod(m + "g", 0o2755)
        expect_as(USER, None, os.setxattr, m + "g", ACCESS, acl_value((1, 7, ANY), (2, 6, 1000), (4, 4, ANY), (16, 6, ANY), (32, 0, ANY)), groups=groups)
        lib.check_equal(mode_of(m + "g"), wanted, f"groups {groups}")
        os.unlink(m + "g")


if __name__ == "__main__":
    run_tests(times, xattrs, acls)
