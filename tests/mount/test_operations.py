"""What the kernel and POSIX expect of the operations, through a real mount."""
import ctypes
import errno
import fcntl
import mmap
import select
import struct

from lib import *

libc = ctypes.CDLL(None, use_errno=True)
RENAME_NOREPLACE, RENAME_EXCHANGE = 1, 2
KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE = 1, 2, 16


def renameat2(a, b, flags):
    if libc.renameat2(-100, a.encode(), -100, b.encode(), flags) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def fallocate(fd, mode, offset, length):
    if libc.fallocate(fd, mode, ctypes.c_long(offset), ctypes.c_long(length)) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def fails(number, act, *arguments):
    try:
        act(*arguments)
    except OSError as e:
        check_equal(e.errno, number, f"{act.__name__}{arguments}")
        return
    raise AssertionError(f"{act.__name__}{arguments} succeeded")


def mounted(act):
    def test(scene):
        members = scene.images(3)
        os.chmod(scene.dir, 0o755)       # the tests of suid use it as another user
        scene.mkfs(members)
        scene.mount(members, *(["-o", "allow_other"] if os.geteuid() == 0 else []))
        act(scene, scene.path("mnt") + "/")
        before = describe_tree(scene.path("mnt"))
        scene.umount()
        scene.mount(members)
        compare_trees(before, describe_tree(scene.path("mnt")), "after a remount")
        scene.umount()
    test.__name__ = act.__name__
    return test


@mounted
def names(scene, m):
    write(m + "a", b"1")
    write(m + "b", b"2")
    fails(errno.EEXIST, renameat2, m + "a", m + "b", RENAME_NOREPLACE)
    renameat2(m + "a", m + "b", RENAME_EXCHANGE)
    check_equal([read(m + "a"), read(m + "b")], [b"2", b"1"], "exchanged")
    os.rename(m + "a", m + "b")
    check_equal(read(m + "b"), b"2", "replaced")
    fails(errno.ENOENT, os.stat, m + "a")
    os.mkdir(m + "d")
    os.mkdir(m + "d/e")
    fails(errno.ENOTEMPTY, os.rmdir, m + "d")
    fails(errno.EINVAL, os.rename, m + "d", m + "d/e/f")
    fails(errno.EISDIR, os.rename, m + "b", m + "d")
    fails(errno.ENOTDIR, os.rename, m + "d", m + "b")
    fails(errno.ENAMETOOLONG, write, m + "x" * 256, b"")
    write(m + "x" * 255, b"long")
    os.link(m + "b", m + "d/b")
    check_equal(os.stat(m + "b").st_nlink, 2, "links")
    check_equal(os.stat(m + "d").st_nlink, 3, "links of a directory")
    os.unlink(m + "b")
    check_equal(os.stat(m + "d/b").st_nlink, 1, "links after unlink")
    for i in range(2000):
        write(m + f"d/e/{i}", b"")
    check_equal(sorted(os.listdir(m + "d/e"), key=int), [str(i) for i in range(2000)], "a long listing")
    for name in os.listdir(m + "d/e")[::2]:
        os.unlink(m + "d/e/" + name)
    check_equal(len(os.listdir(m + "d/e")), 1000, "half of it")
    os.mknod(m + "fifo", stat.S_IFIFO | 0o640)
    if os.geteuid() == 0:
        os.mknod(m + "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
        check_equal(os.stat(m + "null").st_rdev, os.makedev(1, 3), "device number")


@mounted
def open_unlinked(scene, m):
    with open(m + "gone", "w+b") as f:
        f.write(b"x" * 100000)
        f.flush()
        os.unlink(m + "gone")
        f.seek(0)
        check_equal(f.read(), b"x" * 100000, "an unlinked file that is open")
        check_equal(os.fstat(f.fileno()).st_nlink, 0, "no links")
    write(m + "stays", b"")


@mounted
def holes(scene, m):
    with open(m + "f", "w+b", buffering=0) as f:
        fd = f.fileno()
        f.write(b"a" * 1000000)
        fallocate(fd, PUNCH_HOLE | KEEP_SIZE, 100000, 500000)
        fallocate(fd, ZERO_RANGE, 700000, 1000)
        expect = bytearray(b"a" * 1000000)
        expect[100000:600000] = bytes(500000)
        expect[700000:701000] = bytes(1000)
        check_equal(read(m + "f"), bytes(expect), "punched and zeroed")
        os.fsync(fd)
        hole = os.lseek(fd, 0, os.SEEK_HOLE)
        check(100000 <= hole <= 200000, f"SEEK_HOLE: {hole}")
        data = os.lseek(fd, hole, os.SEEK_DATA)
        check(hole < data <= 600000, f"SEEK_DATA: {data}")
        fallocate(fd, 0, 1000000, 500000)
        check_equal(os.fstat(fd).st_size, 1500000, "allocated")
        fallocate(fd, KEEP_SIZE, 1500000, 500000)
        check_equal(os.fstat(fd).st_size, 1500000, "size kept")
        os.ftruncate(fd, 10)
        os.ftruncate(fd, 20)
        check_equal(read(m + "f"), b"a" * 10 + bytes(10), "cut and grown")
    # Data that the kernel has not written back yet must not look like a hole.
    with open(m + "g", "w+b", buffering=0) as f:
        f.truncate(10 << 20)
        f.seek(5 << 20)
        f.write(b"data")
        check_equal(os.lseek(f.fileno(), 0, os.SEEK_DATA) // 4096, (5 << 20) // 4096, "SEEK_DATA finds data not yet written back")
    with open(m + "h", "w+b", buffering=0) as f:
        f.write(b"d" * 10000)
        check_equal(os.lseek(f.fileno(), 0, os.SEEK_DATA), 0, "data not yet written back")
        check_equal(os.lseek(f.fileno(), 0, os.SEEK_HOLE), 10000, "the end is a hole")


@mounted
def attributes(scene, m):
    write(m + "f", b"x")
    os.utime(m + "f", ns=(123456789012345678, 987654321012345678))
    st = os.stat(m + "f")
    check_equal([st.st_atime_ns, st.st_mtime_ns], [123456789012345678, 987654321012345678], "nanoseconds")
    os.setxattr(m + "f", "user.a", b"v" * 60000)
    check_equal(os.getxattr(m + "f", "user.a"), b"v" * 60000, "a long xattr")
    fails(errno.EEXIST, os.setxattr, m + "f", "user.a", b"", os.XATTR_CREATE)
    fails(errno.ENODATA, os.setxattr, m + "f", "user.b", b"", os.XATTR_REPLACE)
    os.removexattr(m + "f", "user.a")
    fails(errno.ENODATA, os.getxattr, m + "f", "user.a")
    os.umask(0o27)
    write(m + "masked", b"")
    check_equal(os.stat(m + "masked").st_mode & 0o777, 0o640, "umask")
    os.umask(0o22)
    if shutil.which("setfacl"):
        os.mkdir(m + "acl")
        run("setfacl", "-d", "-m", "u:nobody:rwx", m + "acl")
        write(m + "acl/f", b"")
        check("user:nobody:rwx" in run("getfacl", "-p", m + "acl/f").out, "a default ACL is inherited")
    st = os.statvfs(m)
    check(0 < st.f_bavail <= st.f_blocks, "statfs")


@mounted
def suid(scene, m):
    need_root()
    program = m + "prog"
    shutil.copy("/usr/bin/id", program)
    for how in ["write", "append", "truncate", "chown", "open-trunc"]:
        shutil.copy("/usr/bin/id", program)
        os.chown(program, 0, 0)
        os.chmod(program, 0o6777)
        check_equal(os.stat(program).st_mode & 0o7777, 0o6777, "suid is set")
        if how == "chown":
            os.chown(program, 1, 1)
        else:
            shell = {"write": f"printf x | dd of={program} conv=notrunc bs=1 seek=100000 status=none",
                     "append": f"printf x >>{program}", "truncate": f"truncate -s -1 {program}",
                     "open-trunc": f": >{program}"}[how]
            run("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "sh", "-c", shell)
        check_equal(os.stat(program).st_mode & 0o6000, 0, f"suid and sgid are dropped by {how}")
    # By exec: what the kernel remembers must not count either.
    shutil.copy("/usr/bin/id", program)
    os.chmod(program, 0o4777)
    user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    check("euid=0" in run(*user, program).out, "a suid program runs as its owner")
    run(*user, "sh", "-c", f"printf x >>{program}")
    check("euid=0" not in run(*user, program).out, "after a write it does not")


@mounted
def durable_calls(scene, m):
    with open(m + "f", "wb") as f:
        f.write(b"x" * 50000)
        f.flush()
        os.fdatasync(f.fileno())
        os.fsync(f.fileno())
    fd = os.open(m, os.O_RDONLY | os.O_DIRECTORY)
    os.fsync(fd)
    os.close(fd)
    with open(m + "lock", "w") as a, open(m + "lock") as b:
        fcntl.flock(a, fcntl.LOCK_EX)
        fails(errno.EWOULDBLOCK, fcntl.flock, b, fcntl.LOCK_EX | fcntl.LOCK_NB)
    direct = os.open(m + "direct", os.O_RDWR | os.O_CREAT | os.O_DIRECT)
    buf = mmap.mmap(-1, 1 << 20)
    buf.write(b"d" * (1 << 20))
    check_equal(os.write(direct, buf), 1 << 20, "O_DIRECT write")
    os.lseek(direct, 0, os.SEEK_SET)
    check_equal(os.readv(direct, [buf]), 1 << 20, "O_DIRECT read")
    os.close(direct)
    with open(m + "mapped", "w+b") as f:
        f.truncate(100000)
        with mmap.mmap(f.fileno(), 100000) as mapped:
            mapped[50000:50005] = b"hello"
        f.seek(50000)
        check_equal(f.read(5), b"hello", "a mapped write")


WRITER = """
import os, sys
fd = os.open(sys.argv[1], os.O_CREAT | os.O_RDWR, 0o644)
os.ftruncate(fd, int(sys.argv[2]))
for at, count in zip(map(int, sys.argv[3::2]), map(int, sys.argv[4::2])):
    os.pwrite(fd, b"x" * count, at)
print(flush=True)
sys.stdin.read()
"""


def tar_of_open_files(scene):
    """tar -S of files that another process has open, and of which the kernel has written nothing back: a close by any would do that."""
    members = scene.images(3)
    scene.mkfs(members)
    scene.mount(members)
    m = scene.path("mnt") + "/"
    for number, writes in enumerate([(0, 0, 100), (0, 0, 4096), (0, 0, 5 << 20), (0, 0, 10, 1 << 20, 5000), (8 << 20, (8 << 20) - 10, 10),
                                     (8 << 20, 4 << 20, 1), (2000, 1000, 3), (100000, 10000, 2)]):
        for before in [False, True]:
            for way in ["seek", "raw"]:
                name = f"{number}{before}{way}"
                if before:               # the kernel has seen it with no blocks
                    open(m + name, "w").close()
                    os.truncate(m + name, writes[0])
                    wait_for(lambda: os.stat(m + name).st_blocks == 0, "nothing is in it")
                writer = subprocess.Popen([sys.executable, "-c", WRITER, m + name, *map(str, writes)], stdin=subprocess.PIPE,
                                          stdout=subprocess.PIPE)
                writer.stdout.readline()
                run("tar", "-C", m, f"--hole-detection={way}", "-cSf", scene.path("tar"), name)
                run("tar", "-C", scene.dir, "-xf", scene.path("tar"))
                check(read(m + name) == read(scene.path(name)), f"what tar -S has of {name}")
                os.unlink(scene.path(name))
                writer.communicate()
    open(m + "empty", "w").close()
    wait_for(lambda: os.stat(m + "empty").st_blocks == 0, "nothing is in it")
    with open(m + "empty", "a") as f:
        check(os.stat(m + "empty").st_blocks > 0, "something may be")
    wait_for(lambda: os.stat(m + "empty").st_blocks == 0, "nothing is in it")
    scene.umount()


def no_atime(scene):
    """noatime and nodiratime."""
    members = scene.images(3)
    scene.mkfs(members)
    for options, file_moves, folder_moves in [([], True, True), (["-o", "noatime"], False, False), (["-o", "nodiratime"], True, False),
                                              (["-o", "noatime,atime"], True, True)]:
        scene.mount(members, *options)
        m = scene.path("mnt") + "/"
        write(m + "f", b"x")
        os.makedirs(m + "d", exist_ok=True)
        for name in "fd":
            os.utime(m + name, (1, 2))
        scene.umount()                   # so that the kernel has no page of it
        scene.mount(members, *options)
        read(m + "f")
        os.listdir(m + "d")
        check_equal([os.stat(m + name).st_atime_ns > 10**9 for name in "fd"], [file_moves, folder_moves], f"{options}")
        scene.umount()


def birth(scene):
    """The time at which a file was made, for which the kernel asks since 6.6, together with all that GETATTR tells."""
    if tuple(int(n) for n in os.uname().release.split("-")[0].split(".")[:2]) < (6, 6):
        raise Skip("the kernel is older than 6.6")

    def seen(path):
        return run("stat", "-c", "%W %F %s %b %a %u %g %h %i %t,%T %.9X %.9Y %.9Z", path).out

    def made(path):
        return int(run("stat", "-c", "%W", path).out)

    members = scene.images(3)
    scene.mkfs(members)
    scene.mount(members)
    m = scene.path("mnt") + "/"
    before = int(time.time())
    os.mkdir(m + "folder")
    os.symlink("a target", m + "link")
    write(m + "file", b"x" * 5000)
    os.chmod(m + "file", 0o4751)
    names = ["folder", "link", "file"]
    if os.geteuid() == 0:
        os.mknod(m + "device", 0o600 | stat.S_IFCHR, os.makedev(300, 70000))
        names.append("device")
    for name in names:
        check(before - 1 <= made(m + name) <= time.time(), f"{name} was made at {made(m + name)}")
    born = made(m + "file")
    time.sleep(1.1)
    os.link(m + "file", m + "other")
    os.rename(m + "file", m + "folder/renamed")
    with open(m + "other", "ab") as f:
        f.write(b"y" * 3000)
        f.flush()                        # it is with the kernel, and not yet with us
        with open("/proc/sys/vm/drop_caches" if os.geteuid() == 0 else os.devnull, "w") as caches:
            caches.write("2")
        check_equal(os.stat(m + "other").st_size, 8000, "the size")
        check_equal(seen(m + "other").split()[3], "8000", "the size, with the time")
    os.utime(m + "other", (1, 2))
    check_equal(made(m + "other"), born, "the rest changes, that does not")
    names = [name for name in names if name != "file"] + ["other"]
    shown = [seen(m + name) for name in names]
    scene.umount()
    scene.mount(members)
    check_equal([seen(m + name) for name in names], shown, "after a remount")
    for name in names:
        st = os.lstat(m + name)
        check_equal(seen(m + name).split()[-11:-5], [str(st.st_size), str(st.st_blocks), f"{stat.S_IMODE(st.st_mode):o}", str(st.st_uid),
                                                     str(st.st_gid), str(st.st_nlink)], name)
    scene.umount()


@mounted
def differences(scene, m):
    """What the manual page says under DIFFERENCES."""
    write(m + "file", bytes(100000))
    os.mkdir(m + "folder")
    for name in "abc":
        write(m + "folder/" + name, b"x")
    check_equal((os.stat(m + "folder").st_size, os.stat(m + "folder").st_blocks), (3, 0), "the size of a folder")
    fd = os.open(m + "file", os.O_RDWR)
    FS_IOC_GETFLAGS, FS_IOC_FIEMAP, FICLONE = 0x80086601, 0xC020660B, 0x40049409
    fails(errno.ENOTTY, fcntl.ioctl, fd, FS_IOC_GETFLAGS, bytes(8))
    fails(errno.EOPNOTSUPP, fcntl.ioctl, fd, FS_IOC_FIEMAP, struct.pack("QQIIII", 0, 1 << 40, 0, 0, 0, 0))
    copy = os.open(m + "copy", os.O_RDWR | os.O_CREAT)
    fails(errno.EOPNOTSUPP, fcntl.ioctl, copy, FICLONE, fd)
    fails(errno.EOPNOTSUPP, os.preadv, fd, [bytearray(10)], 0, os.RWF_NOWAIT)
    with select.epoll() as epoll:
        epoll.register(fd, select.EPOLLIN)
        check_equal(epoll.poll(5), [(fd, select.EPOLLIN)], "a file is ready")
    os.close(copy)
    os.close(fd)
    local = run("df", "-l", "--output=target").out.split()
    check(os.path.realpath(m) not in local, "df -l leaves it out")
    check_equal(run("df", "--output=target", m).out.split()[-1], os.path.realpath(m), "df MOUNTPOINT")
    if os.geteuid() == 0 and shutil.which("mkswap") and shutil.which("swapon"):
        os.chmod(m + "file", 0o600)
        run("mkswap", "-q", m + "file")
        run("swapon", m + "file", code=None, says="Invalid argument")


def no_atime_by_remount(scene):
    """The kernel tells nobody of it."""
    need_root()
    members = scene.images(3)
    scene.mkfs(members)
    scene.mount(members, "-o", "nodiratime")
    m = scene.path("mnt") + "/"
    os.mkdir(m + "d")
    write(m + "f", b"x")

    def moves(name):
        os.utime(m + name, (1, 2))
        with open("/proc/sys/vm/drop_caches", "w") as f:
            f.write("1")
        read(m + name) if name == "f" else os.listdir(m + name)
        return os.stat(m + name).st_atime_ns > 10**9

    check_equal([moves("f"), moves("d")], [True, False], "as mounted")
    # The kernel keeps what it has where no flag of these is set.
    for options, expected in [("noatime", [False, False]), ("atime,relatime", [True, False]), ("nodiratime,relatime", [True, False]),
                              ("diratime,relatime", [True, True]), ("ro,nodiratime,relatime", None), ("rw", [True, False])]:
        run("mount", "-o", f"remount,{options}", m)
        if expected:
            wait_for(lambda: [moves("f"), moves("d")] == expected, f"after remount,{options}")
    scene.umount()


if __name__ == "__main__":
    main(names, open_unlinked, holes, attributes, suid, durable_calls, tar_of_open_files, no_atime, no_atime_by_remount, birth, differences)
