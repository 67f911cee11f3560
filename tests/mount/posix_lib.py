"""What the tests of POSIX behaviour share: acting as another user, and comparing outcomes.

A test takes a directory ending in "/"; it must hold on any good filesystem.  Given a directory on the command line, the
tests run there (say, on ext4) instead of on a mount of their own.
"""
import ctypes
import errno
import os
import pickle
import stat
import sys
import time
import traceback

import lib
from lib import read

libc = ctypes.CDLL(None, use_errno=True)
USER, OTHER = 65534, 65533       # two ordinary users, each with a group of that number
AT_FDCWD = -100
KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE = 1, 2, 16
RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_WHITEOUT = 1, 2, 4


def call(name, *arguments):
    """A function of libc that os has not got."""
    r = getattr(libc, name)(*[a.encode() if isinstance(a, str) else ctypes.c_long(a) if isinstance(a, int) else a
                              for a in arguments])
    if r < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return r


def renameat2(a, b, flags):
    call("renameat2", AT_FDCWD, a, AT_FDCWD, b, flags)


def fallocate(fd, mode, offset, length):
    call("fallocate", fd, mode, offset, length)


def link_open(fd, path):
    call("linkat", AT_FDCWD, f"/proc/self/fd/{fd}", AT_FDCWD, path, 0x400)


def touch_end(path):
    fd = os.open(path, os.O_WRONLY | os.O_APPEND)
    os.write(fd, b"x")
    os.close(fd)


def result_of(act, *arguments, **kwargs):
    """The name of its error, or what it returns."""
    try:
        return act(*arguments, **kwargs)
    except OSError as e:
        return errno.errorcode[e.errno]


def as_user(uid, act, *arguments, gid=None, groups=(), **kwargs):
    """The result of doing it as another user, in another process."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups(list(groups))
            os.setgid(uid if gid is None else gid)
            os.setuid(uid)
            with open(writing, "wb") as f:
                pickle.dump(result_of(act, *arguments, **kwargs), f)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    os.close(writing)
    with open(reading, "rb") as f:
        data = f.read()
    os.waitpid(pid, 0)
    return pickle.loads(data)


def expect(wanted, act, *arguments, **kwargs):
    got = result_of(act, *arguments, **kwargs)
    if got != wanted:
        raise AssertionError(f"{getattr(act, '__name__', act)}{arguments} {kwargs or ''}: {got!r}, expected {wanted!r}")


def expect_as(uid, wanted, act, *arguments, **kwargs):
    expect(wanted, as_user, uid, act, *arguments, **kwargs)


def touch(path, mode=0o644, data=b""):
    fd = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o666)
    os.write(fd, data)
    os.close(fd)
    os.chmod(path, mode)


def open_close(path, flags, mode=0o644):
    os.close(os.open(path, flags, mode))


def make(kind, path, mode=0o644):
    """Makes an object of any type."""
    if kind == "regular":
        touch(path, mode)
    elif kind == "dir":
        os.mkdir(path)
        os.chmod(path, mode)
    elif kind == "symlink":
        os.symlink("nowhere", path)
    else:
        os.mknod(path, {"fifo": stat.S_IFIFO, "socket": stat.S_IFSOCK, "block": stat.S_IFBLK, "char": stat.S_IFCHR}[kind] | 0o600,
                 os.makedev(1, 3) if kind in ("block", "char") else 0)
        os.chmod(path, mode)


def remove(path):
    (os.rmdir if stat.S_ISDIR(os.lstat(path).st_mode) else os.unlink)(path)


KINDS = ["regular", "dir", "fifo", "block", "char", "socket", "symlink"]


def mode_of(path):
    return os.lstat(path).st_mode & 0o7777


class Times:
    """Which times of which paths change while a block runs: a list of "name.what" (a, m, c)."""
    def __init__(self, wanted, **paths):
        self.wanted, self.paths = sorted(wanted), paths

    def stats(self):
        found = {}
        for name, path in self.paths.items():
            st = os.fstat(path) if isinstance(path, int) else os.lstat(path)
            found.update({f"{name}.a": st.st_atime_ns, f"{name}.m": st.st_mtime_ns, f"{name}.c": st.st_ctime_ns})
        return found

    def __enter__(self):
        self.before = self.stats()
        time.sleep(0.02)

    def __exit__(self, kind, *_):
        if kind:
            return
        after = self.stats()
        changed = sorted(k for k in after if after[k] != self.before[k] and not k.endswith(".a"))
        lib.check_equal(changed, self.wanted, "times that changed")
        for k in changed:
            lib.check(after[k] > self.before[k], f"{k} goes forward")


def run_tests(*tests):
    """Each test in a directory of its own, before a comparison over a remount; or in the directory given."""
    if len(sys.argv) > 1:
        for test in tests:
            path = os.path.join(sys.argv[1], test.__name__) + "/"
            os.mkdir(path)
            os.chmod(path, 0o755)
            print("##", test.__name__, flush=True)
            try:
                test(path)
            except AssertionError as e:
                traceback.print_exc(limit=-2)
        return
    lib.need_root() if os.geteuid() else None

    def wrapped(test):
        def act(scene):
            members = scene.images(3, 96 << 20)
            os.chmod(scene.dir, 0o755)
            scene.mkfs(members)
            scene.mount(members, "-o", "allow_other")
            path = scene.path("mnt") + "/"
            os.chmod(path, 0o755)
            test(path)
            before = lib.describe_tree(path[:-1])
            numbers = inode_numbers(path)
            scene.umount()
            scene.mount(members)
            lib.check_equal(inode_numbers(path), numbers, "inode numbers after a remount")
            after = lib.describe_tree(path[:-1])
            lib.check_equal(sorted(after), sorted(before), "names after a remount")
            for name in before:
                lib.check_equal(after[name], before[name], f"{name} after a remount")
            scene.umount()
        act.__name__ = test.__name__
        return act
    lib.main(*[wrapped(t) for t in tests])


def inode_numbers(path):
    found = {}
    for folder, names, files in os.walk(path):
        for name in names + files:
            full = os.path.join(folder, name)
            found[full] = os.lstat(full).st_ino
    return found
