"""POSIX: names: links, removal, renames, and what directories list."""
from posix_lib import *


def link(m):
    for kind in KINDS:
        if kind == "dir":
            continue
        make(kind, m + "n")
        make("dir", m + "d", 0o755)
        with Times(["n.c", "d.m", "d.c"], n=m + "n", d=m + "d"):
            os.link(m + "n", m + "d/l", follow_symlinks=False)
        lib.check_equal([os.lstat(m + "n").st_nlink, os.lstat(m + "d/l").st_nlink], [2, 2], kind)
        lib.check_equal(os.lstat(m + "n").st_ino, os.lstat(m + "d/l").st_ino, "the same inode")
        with Times([], n=m + "n", d=m + "d"):
            expect("EEXIST", os.link, m + "n", m + "d/l", follow_symlinks=False)
        with Times(["n.c"], n=m + "n", d=m + "d"):
            os.lchown(m + "n", 5, 6)
        lib.check_equal(os.lstat(m + "d/l").st_uid, 5, "a change is seen under both names")
        with Times(["l.c"], l=m + "d/l"):
            os.unlink(m + "n")
        lib.check_equal(os.lstat(m + "d/l").st_nlink, 1, "one link left")
        os.unlink(m + "d/l")
        os.rmdir(m + "d")
    make("dir", m + "d", 0o755)
    expect("EPERM", os.link, m + "d", m + "e")
    os.chown(m + "d", USER, USER)
    expect_as(USER, "EPERM", os.link, m + "d", m + "d/e")
    touch(m + "f")
    os.chown(m + "f", USER, USER)
    expect_as(USER, "EACCES", os.link, m + "f", m + "g")
    expect("ENOENT", os.link, m + "nothing", m + "g")
    expect("ENOENT", os.link, m + "f", m + "nothing/g")
    expect("ENOTDIR", os.link, m + "f", m + "f/g")
    expect("ENAMETOOLONG", os.link, m + "f", m + "g" * 256)
    expect("EXDEV", os.link, m + "f", "/dev/shm/x")
    os.symlink("loop", m + "loop")
    for act in [lambda p: os.link(p, m + "g"), lambda p: os.link(m + "f", p), os.mkdir, os.stat, os.unlink, os.rmdir, os.listdir,
                lambda p: os.truncate(p, 0), lambda p: os.rename(p, m + "g"), lambda p: os.rename(m + "f", p), os.mkfifo,
                lambda p: os.symlink("x", p), lambda p: os.chmod(p, 0o600), lambda p: open_close(p, os.O_RDONLY | os.O_CREAT)]:
        expect("ELOOP", act, m + "loop/x")
    expect("ELOOP", open_close, m + "loop", os.O_RDONLY)
    for name in ["/", "/.", "/.."]:
        lib.check(result_of(os.link, m + "f", m + "d" + name) == "EEXIST", "onto dots")


def unlink(m):
    for kind in KINDS:
        if kind == "dir":
            continue
        make(kind, m + "n")
        with Times(["d.m", "d.c"], d=m):
            os.unlink(m + "n")
        expect("ENOENT", os.lstat, m + "n")
    make("dir", m + "d")
    expect("EISDIR", os.unlink, m + "d")
    touch(m + "f")
    expect("ENOTDIR", os.unlink, m + "f/x")
    # The sticky bit: the owner of the directory or of the file may.
    os.chmod(m + "d", 0o1777)
    for kind in KINDS:
        for directory_owner, owner, who, wanted in [(USER, USER, USER, None), (USER, OTHER, USER, None), (OTHER, USER, USER, None),
                                                    (OTHER, OTHER, USER, "EPERM"), (0, OTHER, USER, "EPERM"), (0, USER, USER, None)]:
            os.chown(m + "d", directory_owner, directory_owner)
            make(kind, m + "d/n")
            os.lchown(m + "d/n", owner, owner)
            expect_as(who, wanted, os.rmdir if kind == "dir" else os.unlink, m + "d/n")
            if wanted:
                expect_as(who, wanted, os.rename, m + "d/n", m + "d/o")
                remove(m + "d/n")
    # Open files live on.
    fd = os.open(m + "open", os.O_CREAT | os.O_RDWR)
    os.write(fd, b"hello")
    os.link(m + "open", m + "second")
    os.unlink(m + "second")
    with Times(["f.c"], f=fd):
        os.unlink(m + "open")
    lib.check_equal((os.fstat(fd).st_nlink, os.fstat(fd).st_size), (0, 5), "unlinked and open")
    os.write(fd, b"x" * 100000)
    lib.check_equal(os.pread(fd, 10, 100000), b"xxxxx", "written after it")
    os.ftruncate(fd, 3)
    lib.check_equal(os.pread(fd, 10, 0), b"hel", "truncated")
    os.fchmod(fd, 0o700)
    lib.check_equal(os.fstat(fd).st_mode & 0o777, 0o700, "changed")
    expect("ENOENT", link_open, fd, m + "back")
    os.fsync(fd)
    touch(m + "open", 0o600, b"other")
    lib.check_equal(os.pread(fd, 10, 0), b"hel", "a new file of that name is another")
    lib.check(os.fstat(fd).st_ino != os.stat(m + "open").st_ino, "another inode")
    os.close(fd)
    names = os.listdir(m)
    with Times([], d=m):
        fd = os.open(m, os.O_TMPFILE | os.O_RDWR, 0o640)
    os.write(fd, b"t")
    lib.check_equal(os.fstat(fd).st_nlink, 0, "a file without a name")
    lib.check_equal(os.listdir(m), names, "it is in no directory")
    link_open(fd, m + "tmp")
    link_open(fd, m + "tmp2")
    os.close(fd)
    lib.check_equal((read(m + "tmp"), os.stat(m + "tmp").st_nlink, mode_of(m + "tmp")), (b"t", 2, 0o640), "it got names")
    fd = os.open(m, os.O_TMPFILE | os.O_RDWR | os.O_EXCL, 0o600)
    expect("ENOENT", link_open, fd, m + "never")
    os.close(fd)
    expect("EINVAL", open_close, m, os.O_TMPFILE | os.O_RDONLY)
    expect("ENOTDIR", open_close, m + "tmp", os.O_TMPFILE | os.O_RDWR)
    expect("ENOTEMPTY" if not os.path.ismount(m) else "EBUSY", os.rmdir, m)


def rename(m):
    for kind in KINDS:
        make(kind, m + "n")
        ino = os.lstat(m + "n").st_ino
        make("dir", m + "d", 0o755)
        with Times(["n.m", "n.c", "d.m", "d.c"], n=m, d=m + "d"):
            os.rename(m + "n", m + "d/o")
        lib.check_equal(os.lstat(m + "d/o").st_ino, ino, kind)
        expect("ENOENT", os.lstat, m + "n")
        with Times(["o.c"], o=m + "d/o"):
            os.rename(m + "d/o", m + "d/p") or os.rename(m + "d/p", m + "d/o")
        lib.check_equal(os.lstat(m).st_nlink, 3, "links of the parent")
        lib.check_equal(os.lstat(m + "d").st_nlink, 3 if kind == "dir" else 2, "links of the new parent")
        # Onto something.
        for target in KINDS:
            make(target, m + "t")
            fits = (kind == "dir") == (target == "dir")
            keep = os.open(m + "t", os.O_PATH | os.O_NOFOLLOW)
            if fits:
                with Times(["t.c"] if target != "dir" else ["t.c"], t=keep):
                    os.rename(m + "d/o", m + "t")
                lib.check_equal(os.fstat(keep).st_nlink, 0, "the replaced one has no link")
                lib.check_equal(os.lstat(m + "t").st_ino, ino, f"{kind} replaces {target}")
                os.rename(m + "t", m + "d/o")
            else:
                expect("ENOTDIR" if kind == "dir" else "EISDIR", os.rename, m + "d/o", m + "t")
                remove(m + "t")
            os.close(keep)
        remove(m + "d/o")
        os.rmdir(m + "d")
    touch(m + "a")
    os.link(m + "a", m + "b")
    with Times([], a=m + "a", d=m):
        os.rename(m + "a", m + "b")
    lib.check_equal(os.stat(m + "a").st_nlink, 2, "two names of one file: nothing happens")
    os.rename(m + "a", m + "a")
    os.makedirs(m + "x/y/z")
    touch(m + "x/f")
    expect("EINVAL", os.rename, m + "x", m + "x/y/z/x")
    expect("EINVAL", os.rename, m + "x", m + "x/y")
    expect("ENOTEMPTY", os.rename, m + "x/y/z", m + "x")
    os.mkdir(m + "empty")
    expect("ENOTEMPTY", os.rename, m + "empty", m + "x")
    os.rename(m + "x/y/z", m + "empty")
    expect("ENOENT", os.rename, m + "nothing", m + "b")
    expect("ENOENT", os.rename, m + "b", m + "nothing/b")
    expect("ENOTDIR", os.rename, m + "b", m + "a/b")
    expect("ENAMETOOLONG", os.rename, m + "b", m + "b" * 256)
    expect("EXDEV", os.rename, m + "b", "/dev/shm/x")
    for name in ["x/.", "x/.."]:
        lib.check(result_of(os.rename, m + name, m + "q") in ("EINVAL", "EBUSY"), "dots")
        lib.check(result_of(os.rename, m + "empty", m + name) in ("EINVAL", "EBUSY", "ENOTEMPTY"), "onto dots")
    expect("ENOTDIR", os.rename, m + "a", m + "new/")
    # ".." of a moved directory.
    os.rename(m + "x/y", m + "empty/y")
    lib.check_equal(os.stat(m + "empty/y/..").st_ino, os.stat(m + "empty").st_ino, "..")
    lib.check_equal([os.stat(m + "x").st_nlink, os.stat(m + "empty").st_nlink], [2, 3], "links")
    # A directory that one may not write cannot be moved to another one (".." would change).
    for name in ["p", "q"]:
        make("dir", m + name, 0o777)
    make("dir", m + "p/c", 0o555)
    os.chown(m + "p/c", OTHER, OTHER)
    expect_as(USER, "EACCES", os.rename, m + "p/c", m + "q/c")
    expect_as(USER, None, os.rename, m + "p/c", m + "p/e")
    # Sticky target directory: who owns what is replaced.
    os.chmod(m + "q", 0o1777)
    for owner, wanted in [(USER, None), (OTHER, "EPERM")]:
        touch(m + "p/s")
        os.chown(m + "p/s", USER, USER)
        touch(m + "q/t")
        os.chown(m + "q/t", owner, owner)
        expect_as(USER, wanted, os.rename, m + "p/s", m + "q/t")


def rename_flags(m):
    touch(m + "a", 0o644, b"a")
    os.makedirs(m + "d/e")
    touch(m + "d/f", 0o644, b"f")
    expect("EEXIST", renameat2, m + "a", m + "d", RENAME_NOREPLACE)
    expect("EEXIST", renameat2, m + "a", m + "a", RENAME_NOREPLACE)
    a, e = os.open(m + "a", os.O_PATH), os.open(m + "d/e", os.O_PATH)
    with Times(["a.c", "e.c", "d.m", "d.c", "m.m", "m.c"], a=a, e=e, d=m + "d", m=m):
        renameat2(m + "a", m + "d/e", RENAME_EXCHANGE)
    os.close(a)
    os.close(e)
    lib.check_equal(read(m + "d/e"), b"a", "exchanged")
    lib.check(os.path.isdir(m + "a"), "a file for a directory")
    lib.check_equal([os.stat(m + "d").st_nlink, os.stat(m).st_nlink], [2, 4], "links")
    lib.check_equal(os.stat(m + "a/..").st_ino, os.stat(m).st_ino, "..")
    expect("ENOENT", renameat2, m + "a", m + "nothing", RENAME_EXCHANGE)
    os.mkdir(m + "a/deep")
    expect("EINVAL", renameat2, m + "a", m + "a/deep", RENAME_EXCHANGE)
    expect("EINVAL", renameat2, m + "a/deep", m + "a", RENAME_EXCHANGE)
    expect("EINVAL", renameat2, m + "a", m + "b", RENAME_EXCHANGE | RENAME_NOREPLACE)
    renameat2(m + "a", m + "b", RENAME_NOREPLACE)
    # A whiteout stays: a device 0:0.
    expect("EINVAL", renameat2, m + "b", m + "d/f", RENAME_EXCHANGE | RENAME_WHITEOUT)
    expect("EEXIST", renameat2, m + "d/e", m + "d/f", RENAME_NOREPLACE | RENAME_WHITEOUT)
    e = os.open(m + "d/e", os.O_PATH)
    with Times(["e.c", "d.m", "d.c", "m.m", "m.c"], e=e, d=m + "d", m=m):
        renameat2(m + "d/e", m + "e", RENAME_WHITEOUT)
    os.close(e)
    lib.check_equal(read(m + "e"), b"a", "it moved")
    st = os.lstat(m + "d/e")
    lib.check_equal((st.st_mode, st.st_rdev, st.st_nlink), (stat.S_IFCHR, 0, 1), "a whiteout")
    renameat2(m + "d/f", m + "e", RENAME_WHITEOUT)
    lib.check_equal((read(m + "e"), sorted(os.listdir(m + "d"))), (b"f", ["e", "f"]), "over another file")
    lib.check_equal(as_user(USER, renameat2, m + "e", m + "g", RENAME_WHITEOUT), "EACCES", "in a folder of others")
    os.chmod(m + "d", 0o777)
    os.chown(m + "d", USER, USER)
    touch(m + "d/own")
    expect_as(USER, None, renameat2, m + "d/own", m + "d/new", RENAME_WHITEOUT)
    lib.check_equal(os.lstat(m + "d/own").st_uid, USER, "whose whiteout it is")


def make_things(m):
    makers = {"mkdir": os.mkdir, "mkfifo": os.mkfifo, "open": lambda p, mode: open_close(p, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode),
              "mknod": lambda p, mode: os.mknod(p, stat.S_IFSOCK | mode), "char": lambda p, mode: os.mknod(p, stat.S_IFCHR | mode, 0x12345)}
    old = os.umask(0)
    touch(m + "f")
    for name, act in makers.items():
        with Times(["m.m", "m.c"], m=m):
            act(m + "n", 0o751)
        lib.check_equal(mode_of(m + "n"), 0o751, name)
        st = os.lstat(m + "n")
        lib.check_equal(st.st_atime_ns, st.st_mtime_ns, "all times are one")
        expect("EEXIST", act, m + "n", 0o700)
        remove(m + "n")
        for umask, wanted in [(0o77, 0o700), (0o22, 0o755), (0o777, 0)]:
            os.umask(umask)
            act(m + "n", 0o777)
            lib.check_equal(mode_of(m + "n"), wanted, f"{name} with umask {umask:o}")
            remove(m + "n")
        os.umask(0)
        expect("ENOENT", act, m + "nothing/n", 0o700)
        expect("ENOTDIR", act, m + "f/n", 0o700)
        expect("ENAMETOOLONG", act, m + "n" * 256, 0o700)
        act(m + "n" * 255, 0o700)
        remove(m + "n" * 255)
        expect_as(USER, "EACCES", act, m + "n", 0o700)
        for kind in KINDS:
            make(kind, m + "n")
            expect("EEXIST", act, m + "n", 0o700)
            remove(m + "n")
        # Owner and group; a setgid directory hands its group on.
        make("dir", m + "d", 0o777)
        if name == "char":
            expect_as(USER, "EPERM", act, m + "d/n", 0o644)
            os.rmdir(m + "d")
            continue
        expect_as(USER, None, act, m + "d/n", 0o644, gid=OTHER)
        st = os.lstat(m + "d/n")
        lib.check_equal((st.st_uid, st.st_gid), (USER, OTHER), name)
        remove(m + "d/n")
        os.chown(m + "d", -1, 1234)
        os.chmod(m + "d", 0o2777)
        expect_as(USER, None, act, m + "d/n", 0o2755)
        st = os.lstat(m + "d/n")
        lib.check_equal((st.st_uid, st.st_gid), (USER, 1234), f"{name} in a setgid directory")
        lib.check_equal(st.st_mode & 0o7777, 0o2755 if name == "mkdir" else 0o755, f"{name}: setgid of a foreign group")
        remove(m + "d/n")
        os.rmdir(m + "d")
    os.umask(old)
    os.mknod(m + "device", stat.S_IFBLK | 0o600, os.makedev(4095, 1048575))
    lib.check_equal(os.stat(m + "device").st_rdev, os.makedev(4095, 1048575), "the largest device number")


def symlink(m):
    with Times(["m.m", "m.c"], m=m):
        os.symlink("target", m + "l")
    lib.check_equal((os.lstat(m + "l").st_size, mode_of(m + "l")), (6, 0o777), "size and mode")
    expect("EEXIST", os.symlink, "x", m + "l")
    for n in [1, 59, 60, 100, 1000, 2000, 4000, 4094, 4095]:
        os.symlink("t" * n, m + f"l{n}")
        lib.check_equal((os.readlink(m + f"l{n}"), os.lstat(m + f"l{n}").st_size), ("t" * n, n), "a long target")
    expect("ENAMETOOLONG", os.symlink, "t" * 4096, m + "toolong")
    expect("ENOENT", os.symlink, "", m + "empty")
    expect("EINVAL", os.readlink, m)
    expect("ENOENT", os.stat, m + "l")
    os.symlink(".", m + "here")
    expect("EISDIR", os.unlink, m + "here/") if result_of(os.unlink, m + "here/") == "EISDIR" else expect("ENOTDIR", os.unlink, m + "here/")
    expect("ENOTDIR", os.rmdir, m + "here")
    lib.check_equal(os.stat(m + "here/" * 39 + "l4095", follow_symlinks=False).st_size, 4095, "39 symlinks")
    expect("ELOOP", os.lstat, m + "here/" * 41)
    expect_as(USER, "EACCES", os.symlink, "x", m + "new")


def directories(m):
    os.mkdir(m + "d")
    touch(m + "f")
    with Times(["m.m", "m.c"], m=m):
        os.mkdir(m + "e")
    with Times(["m.m", "m.c"], m=m):
        os.rmdir(m + "e")
    touch(m + "d/f")
    expect("ENOTEMPTY", os.rmdir, m + "d")
    expect("ENOTDIR", os.rmdir, m + "f")
    expect("EINVAL", os.rmdir, m + "d/.")
    expect("ENOTEMPTY", os.rmdir, m + "d/..")
    lib.check_equal([os.stat(m + "d/.").st_ino, os.stat(m + "d/..").st_ino], [os.stat(m + "d").st_ino, os.stat(m).st_ino], ". and ..")
    # A working directory that is gone.
    os.mkdir(m + "gone")
    os.chdir(m + "gone")
    here = os.open(".", os.O_RDONLY)
    with Times(["m.m", "m.c"], m=m):
        os.rmdir(m + "gone")
    lib.check_equal(os.fstat(here).st_nlink, 0, "no links")
    for act in [lambda: os.mkdir("x"), lambda: touch("x"), lambda: os.stat("x"), lambda: os.symlink("a", "x"), os.getcwd,
                lambda: os.link(m + "f", "x"), lambda: os.rename(m + "f", "x"), lambda: os.mkfifo("x")]:
        expect("ENOENT", act)
    expect([], os.listdir, here)
    stat.S_ISDIR(os.stat(".").st_mode)
    os.chdir("/")
    os.close(here)
    # Names are bytes.
    names = [b"a\n", b"\xff\xfe", "ä".encode(), b" ", b"...", b"-", b"*", b"x" * 255, bytes(range(1, 47)), b"A", b"a"]
    os.mkdir(m + "names")
    for name in names:
        os.close(os.open(os.path.join(m.encode(), b"names", name), os.O_CREAT | os.O_EXCL))
    lib.check_equal(sorted(os.listdir(m.encode() + b"names")), sorted(names), "names of any bytes")


def huge_directory(m):
    os.mkdir(m + "d")
    names = {f"{i:05}" for i in range(6000)}
    for name in names:
        open_close(m + "d/" + name, os.O_CREAT | os.O_WRONLY)
    # Deleting while reading loses and repeats nothing.
    seen = []
    with os.scandir(m + "d") as entries:
        for entry in entries:
            seen.append(entry.name)
            lib.check(entry.is_file(follow_symlinks=False), "the type")
            lib.check_equal(entry.inode(), os.lstat(entry.path).st_ino, "the inode number in a listing")
            os.unlink(entry.path)
    lib.check_equal((len(seen), set(seen)), (6000, names), "each once")
    lib.check_equal(os.listdir(m + "d"), [], "all gone")
    # telldir and seekdir.
    libc.opendir.restype = libc.readdir64.restype = ctypes.c_void_p
    libc.telldir.restype = ctypes.c_long
    for i in range(1000):
        touch(m + f"d/{i}")
    d = ctypes.c_void_p(libc.opendir((m + "d").encode()))

    def entry():
        p = libc.readdir64(d)
        return ctypes.string_at(p + 19).decode() if p else None
    order, places = [], []
    while True:
        place = libc.telldir(d)
        name = entry()
        if name is None:
            break
        order.append(name)
        places.append(place)
    lib.check_equal(len(set(order)), 1002, "with . and ..")
    for i in [0, 1, 2, 500, 1001, 3]:
        libc.seekdir(d, ctypes.c_long(places[i]))
        lib.check_equal(entry(), order[i], "after seekdir")
    # Also when entries were deleted and made: what stayed is found from the same place.
    for name in order[:600:2]:
        if name not in (".", ".."):
            os.unlink(m + "d/" + name)
    for i in range(300):
        touch(m + f"d/new{i}")
    libc.seekdir(d, ctypes.c_long(places[601]))
    rest = []
    while (name := entry()) is not None:
        rest.append(name)
    lib.check_equal([n for n in rest if not n.startswith("new")], order[601:], "what stayed, in the same order")
    libc.rewinddir(d)
    found = []
    while (name := entry()) is not None:
        found.append(name)
    lib.check_equal(sorted(found), sorted(os.listdir(m + "d") + [".", ".."]), "after rewinddir")
    libc.closedir(d)


if __name__ == "__main__":
    run_tests(link, unlink, rename, rename_flags, make_things, symlink, directories, huge_directory)
