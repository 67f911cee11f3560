"""POSIX: permissions: modes, owners, and who may open and do what."""
from posix_lib import *


def chmod(m):
    for kind in KINDS[:-1]:
        make(kind, m + "n")
        with Times(["n.c"], n=m + "n"):
            os.chmod(m + "n", 0o111)
        lib.check_equal(mode_of(m + "n"), 0o111, kind)
        os.chown(m + "n", USER, USER)
        expect_as(USER, None, os.chmod, m + "n", 0o640)
        with Times([], n=m + "n"):
            expect_as(OTHER, "EPERM", os.chmod, m + "n", 0o777)
        os.symlink("n", m + "link")
        os.chmod(m + "link", 0o123)
        lib.check_equal(mode_of(m + "n"), 0o123, "through a symlink")
        os.unlink(m + "link")
        remove(m + "n")
    touch(m + "f", 0o755)
    for mode in [0o1755, 0o2755, 0o4755, 0o7777, 0o644]:
        os.chmod(m + "f", mode)
        lib.check_equal(mode_of(m + "f"), mode, "by root")
    # setgid goes when the owner is not in the file's group.
    os.chown(m + "f", USER, OTHER)
    expect_as(USER, None, os.chmod, m + "f", 0o2755)
    lib.check_equal(mode_of(m + "f"), 0o755, "not in the group")
    expect_as(USER, None, os.chmod, m + "f", 0o2755, groups=[OTHER])
    lib.check_equal(mode_of(m + "f"), 0o2755, "in the group")
    expect_as(USER, None, os.chmod, m + "f", 0o1644)
    lib.check_equal(mode_of(m + "f"), 0o1644, "sticky on a file")
    for name, error in [("nothing", "ENOENT"), ("f/x", "ENOTDIR"), ("x" * 256, "ENAMETOOLONG"), ("./" * 2100, "ENAMETOOLONG")]:
        expect(error, os.chmod, m + name, 0o644)
        expect(error, os.chown, m + name, 0, 0)
        expect(error, os.truncate, m + name, 0)
        expect(error, os.unlink, m + name)
        expect(error, os.rmdir, m + name)
        expect(error, os.link, m + name, m + "new")
        expect(error, os.rename, m + name, m + "new")
        expect(error, os.stat, m + name)
        expect(error, os.utime, m + name)
    make("dir", m + "closed", 0o700)
    touch(m + "closed/f")
    expect_as(USER, "EACCES", os.chmod, m + "closed/f", 0o644)
    expect_as(USER, "EACCES", os.stat, m + "closed/f")
    expect_as(USER, "EACCES", os.unlink, m + "closed/f")
    expect_as(USER, "EACCES", os.truncate, m + "closed/f", 0)
    expect_as(USER, "EACCES", os.listdir, m + "closed")


def chown(m):
    for kind in KINDS:
        make(kind, m + "n")
        with Times(["n.c"], n=m + "n"):
            os.lchown(m + "n", 123, 456)
        st = os.lstat(m + "n")
        lib.check_equal((st.st_uid, st.st_gid), (123, 456), kind)
        with Times(["n.c"], n=m + "n"):
            os.lchown(m + "n", USER, USER)
        expect_as(USER, "EPERM", os.lchown, m + "n", OTHER, -1)
        expect_as(USER, "EPERM", os.lchown, m + "n", -1, OTHER)
        expect_as(OTHER, "EPERM", os.lchown, m + "n", OTHER, -1)
        expect_as(USER, None, os.lchown, m + "n", USER, OTHER, groups=[OTHER])
        lib.check_equal(os.lstat(m + "n").st_gid, OTHER, "to a group of the owner's")
        expect_as(USER, None, os.lchown, m + "n", -1, -1)
        remove(m + "n")
    # suid and sgid.
    for uid, before, after in [(USER, 0o6555, 0o555), (USER, 0o6550, 0o550), (0, 0o6555, 0o555), (USER, 0o2644, None), (USER, 0o4644, 0o644)]:
        touch(m + "s")
        os.chown(m + "s", USER, USER)
        os.chmod(m + "s", before)
        expect_as(uid, None, os.chown, m + "s", USER, OTHER, groups=[OTHER])
        got = mode_of(m + "s")
        lib.check(got == after if after is not None else got in (0o2644, 0o644), f"{before:o} by {uid} to {got:o}")
        os.unlink(m + "s")
    for kind in ["fifo", "block", "socket"]:
        make(kind, m + "s")
        os.chown(m + "s", USER, USER)
        for uid, before, after in [(USER, 0o6555, 0o555), (0, 0o6555, 0o555), (USER, 0o4644, 0o644), (0, 0o4766, 0o766)]:
            os.chmod(m + "s", before)
            expect_as(uid, None, os.chown, m + "s", USER, OTHER, groups=[OTHER])
            lib.check_equal(mode_of(m + "s"), after, f"{kind}: {before:o} by {uid}")
        os.unlink(m + "s")
    make("dir", m + "d", 0o755)
    os.chmod(m + "d", 0o6755)
    os.chown(m + "d", USER, USER)
    lib.check_equal(mode_of(m + "d"), 0o6755, "of a directory they stay")
    touch(m + "f")
    os.symlink("f", m + "link")
    os.chown(m + "link", 7, 8)
    lib.check_equal((os.stat(m + "f").st_uid, os.lstat(m + "link").st_uid), (7, 0), "chown follows, lchown does not")


def open_calls(m):
    touch(m + "f", 0o644, b"0123456789")
    expect("EEXIST", open_close, m + "f", os.O_CREAT | os.O_EXCL)
    os.symlink("f", m + "l")
    os.symlink("nothing", m + "dangling")
    expect("EEXIST", open_close, m + "l", os.O_CREAT | os.O_EXCL)
    expect("EEXIST", open_close, m + "dangling", os.O_CREAT | os.O_EXCL)
    expect("ELOOP", open_close, m + "l", os.O_NOFOLLOW)
    expect("ENOENT", open_close, m + "nothing", os.O_RDONLY)
    os.mkdir(m + "d")
    for flags in [os.O_WRONLY, os.O_RDWR, os.O_RDONLY | os.O_TRUNC, os.O_CREAT]:
        expect("EISDIR", open_close, m + "d", flags)
    expect("ENOTDIR", open_close, m + "f", os.O_DIRECTORY)
    expect("ENOTDIR", open_close, m + "f/x", os.O_CREAT)
    os.mkfifo(m + "fifo")
    expect("ENXIO", open_close, m + "fifo", os.O_WRONLY | os.O_NONBLOCK)
    os.mknod(m + "socket", stat.S_IFSOCK | 0o600)
    expect("ENXIO", open_close, m + "socket", os.O_RDONLY)
    with Times(["f.m", "f.c"], f=m + "f"):
        open_close(m + "f", os.O_WRONLY | os.O_TRUNC)
    lib.check_equal(os.stat(m + "f").st_size, 0, "truncated")
    with Times(["f.m", "f.c"], f=m + "f"):
        open_close(m + "f", os.O_WRONLY | os.O_TRUNC)          # also when it is empty
    with Times([], f=m + "f", m=m):
        open_close(m + "f", os.O_CREAT | os.O_WRONLY)
    os.chmod(m + "f", 0)
    for flags in [os.O_RDONLY, os.O_WRONLY, os.O_RDWR, os.O_RDONLY | os.O_TRUNC]:
        expect_as(USER, "EACCES", open_close, m + "f", flags)
    os.chmod(m + "f", 0o444)
    expect_as(USER, "EACCES", open_close, m + "f", os.O_WRONLY)
    expect_as(USER, None, open_close, m + "f", os.O_RDONLY)
    expect_as(USER, "EPERM", open_close, m + "f", os.O_RDONLY | os.O_NOATIME)
    # A file made without the permission to write is writable to its maker.
    fd = os.open(m + "readonly", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0)
    os.write(fd, b"x")
    os.close(fd)
    make("dir", m + "public", 0o777)

    def read_only_made():
        fd = os.open(m + "public/r", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o400)
        os.write(fd, b"x")
        os.close(fd)
    expect_as(USER, None, read_only_made)
    # A running program.
    import shutil
    import subprocess
    shutil.copy("/bin/sleep", m + "sleep")
    os.chmod(m + "sleep", 0o755)
    process = subprocess.Popen([m + "sleep", "60"])
    try:
        lib.wait_for(lambda: os.readlink(f"/proc/{process.pid}/exe") == os.path.realpath(m + "sleep"), "it runs")
        expect("ETXTBSY", open_close, m + "sleep", os.O_WRONLY)
        expect("ETXTBSY", os.truncate, m + "sleep", 0)
    finally:
        process.kill()
        process.wait()
    # Paths.
    os.chdir(m)
    deep = []
    for i in range(20):
        name = f"{i:02}" + "d" * 250
        deep.append(name)
        os.mkdir(name)
        os.chdir(name)
    touch("bottom")
    os.chdir("/")
    path = m.rstrip("/") + "/" + "/".join(deep)
    expect("ENAMETOOLONG", os.stat, path)
    cut = (m.rstrip("/") + "/" + "./" * 4096)[:4095]
    cut = cut[:-1] + "." if cut[-1] == "/" else cut
    lib.check_equal((len(cut), stat.S_ISDIR(os.stat(cut).st_mode)), (4095, True), "a path of 4095 bytes")
    expect("ENAMETOOLONG", os.stat, cut + "/")
    fds = [os.open(m, os.O_RDONLY)]
    for name in deep:
        fds.append(os.open(name, os.O_RDONLY, dir_fd=fds[-1]))
    os.unlink("bottom", dir_fd=fds[-1])
    for i in reversed(range(20)):
        os.rmdir(deep[i], dir_fd=fds[i])
    for fd in fds:
        os.close(fd)


def access(m):
    touch(m + "f")
    os.chown(m + "f", USER, OTHER)
    for mode, owner, group, other in [(0o700, 7, 0, 0), (0o070, 0, 7, 0), (0o007, 0, 0, 7), (0o421, 4, 2, 1), (0o124, 1, 2, 4)]:
        os.chmod(m + "f", mode)
        for want in range(1, 8):
            expect_as(USER, owner & want == want, os.access, m + "f", want)
            expect_as(1000, group & want == want, os.access, m + "f", want, groups=[OTHER])
            expect_as(1000, other & want == want, os.access, m + "f", want)
    os.chmod(m + "f", 0o600)
    lib.check_equal((os.access(m + "f", os.R_OK | os.W_OK), os.access(m + "f", os.X_OK)), (True, False), "root")
    os.chmod(m + "f", 0o4755)
    lib.check_equal(os.stat(m + "f").st_mode & 0o7777, 0o4755, "suid")
    expect_as(USER, None, os.utime, m + "f")
    expect_as(1000, "EACCES", os.utime, m + "f")
    expect_as(1000, "EPERM", os.utime, m + "f", (1, 2))
    os.chmod(m + "f", 0o666)
    expect_as(1000, None, os.utime, m + "f")
    expect_as(1000, "EPERM", os.utime, m + "f", (1, 2))


if __name__ == "__main__":
    run_tests(chmod, chown, open_calls, access)
