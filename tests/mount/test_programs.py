"""Real programs inside the mount: git, a compiler, SQLite, rsync, cp, tar; and overlayfs, whose upper layer it is."""
from lib import *

PROGRAM = """
#include <stdio.h>
int main(void) { puts("built here"); return 0; }
"""


def need(*programs):
    for program in programs:
        if not shutil.which(program):
            raise Skip(f"no {program}")


def programs(scene):
    need("git", "cc", "sqlite3", "rsync", "tar")
    members = scene.images(3, 256 << 20)
    scene.mkfs(members)
    scene.mount(members)
    m = scene.path("mnt")
    git(scene, m)
    compiler(m)
    sqlite(m)
    copies(scene, m)
    before = describe_tree(m)
    scene.umount()
    scene.mount(members)
    compare_trees(before, describe_tree(m), "after a remount")
    check_equal(run("sqlite3", m + "/db", "select count(*), sum(x) from t").out, "20000|199990000\n", "the database")
    run("git", "-C", m + "/clone", "fsck", "--strict")
    scene.umount()


def git(scene, m):
    origin = scene.path("origin")
    os.mkdir(origin)
    make_tree(origin, files=100, xattr_bytes=500)
    os.unlink(origin + "/fifo")
    identity = ["-c", "user.name=t", "-c", "user.email=t@t"]
    run("git", "init", "-q", origin)
    run("git", "-C", origin, "add", "-A")
    run("git", *identity, "-C", origin, "commit", "-q", "-m", "all")
    run("git", "clone", "-q", "--no-hardlinks", origin, m + "/clone")
    check_equal(run("git", "-C", m + "/clone", "status", "--porcelain").out, "", "a clean clone")
    for i in range(20):
        with open(m + f"/clone/new{i}", "w") as f:
            f.write(str(i) * 1000)
        run("git", "-C", m + "/clone", "add", "-A")
        run("git", *identity, "-C", m + "/clone", "commit", "-q", "-m", str(i))
    run("git", "-C", m + "/clone", "gc", "-q")


def compiler(m):
    os.mkdir(m + "/build")
    for i in range(20):
        with open(m + f"/build/f{i}.c", "w") as f:
            f.write(f"int f{i}(void);\nint f{i}(void) {{ return {i}; }}\n")
    with open(m + "/build/main.c", "w") as f:
        f.write(PROGRAM)
    with open(m + "/build/run.sh", "w") as f:
        f.write("set -e\nfor f in *.c; do cc -c $f; done\nar rc lib.a f*.o\ncc -o main main.o lib.a\n")
    run("sh", "run.sh", cwd=m + "/build")
    check_equal(run(m + "/build/main").out, "built here\n", "the program")


def sqlite(m):
    sql = "create table t(x integer primary key, y text);" + "".join(
        "begin;" + "".join(f"insert into t values({i}, hex(randomblob(50)));" for i in range(start, start + 2000)) + "commit;"
        for start in range(0, 20000, 2000))
    done = subprocess.run(["sqlite3", m + "/db"], input=sql, text=True, capture_output=True)
    check_equal(done.returncode, 0, done.stderr)
    run("sqlite3", m + "/db", "pragma journal_mode=wal; update t set y = upper(y) where x % 7 = 0; pragma wal_checkpoint(truncate)")
    check_equal(run("sqlite3", m + "/db", "pragma integrity_check").out, "ok\n", "integrity")


def copies(scene, m):
    tree = scene.path("tree")
    os.mkdir(tree)
    make_tree(tree, seed=5, xattr_bytes=500)
    before = describe_tree(tree)
    run("rsync", "-aHAX", tree + "/", m + "/rsynced/")
    compare_trees(before, describe_tree(m + "/rsynced"), "rsync")
    check_equal(run("rsync", "-aHAXni", tree + "/", m + "/rsynced/").out, "", "a second rsync finds nothing to do")
    run("cp", "-a", "--sparse=always", tree + "/holes", m + "/sparse")
    check(os.stat(m + "/sparse").st_blocks * 512 < 1 << 20, "a sparse copy stays sparse")
    run("cp", "--sparse=auto", m + "/sparse", m + "/sparse2")
    run("cmp", m + "/sparse2", tree + "/holes")
    run("tar", "-C", tree, "--xattrs", "--acls", "-cf", m + "/t.tar", ".")
    os.mkdir(m + "/untarred")
    run("tar", "-C", m + "/untarred", "--xattrs", "--acls", "-xpf", m + "/t.tar")
    compare_trees(without_roots(before), without_roots(describe_tree(m + "/untarred")), "tar")
    back = scene.path("back")
    os.mkdir(back)
    # -S goes by the blocks of each file: one without any is not even read.
    run("sh", "-c", f"tar -C {m}/rsynced --xattrs --acls -S -cf - . | tar -C {back} --xattrs --acls -xpf -")
    compare_trees(without_roots(before), without_roots(describe_tree(back)), "tar out of it")


def overlay(scene):
    need_root()
    if "overlay" not in read("/proc/filesystems").decode():
        subprocess.run(["modprobe", "-q", "overlay"], stderr=subprocess.DEVNULL)
        if "overlay" not in read("/proc/filesystems").decode():
            raise Skip("no overlayfs")
    members = scene.images(3)
    scene.mkfs(members)
    scene.mount(members)
    m, lower, merged = scene.path("mnt"), scene.path("lower"), scene.mountpoint("merged")
    for folder in [m + "/upper", m + "/work", lower, lower + "/folder"]:
        os.mkdir(folder)
    for name in ["removed", "changed", "renamed", "kept", "folder/below"]:
        write(f"{lower}/{name}", b"lower")
    layers = ["mount", "-t", "overlay", "overlay", "-o", f"lowerdir={lower},upperdir={m}/upper,workdir={m}/work", merged]
    run(*layers)
    os.unlink(merged + "/removed")
    write(merged + "/changed", b"upper")
    os.rename(merged + "/renamed", merged + "/new name")
    shutil.rmtree(merged + "/folder")
    write(merged + "/folder", b"a file")
    before = describe_tree(merged)
    check_equal(sorted(before), [".", "changed", "folder", "kept", "new name"], "what is seen")
    whiteout = os.lstat(m + "/upper/renamed")
    check_equal((stat.S_IFMT(whiteout.st_mode), whiteout.st_rdev), (stat.S_IFCHR, 0), "a whiteout")
    unmount(merged)
    scene.umount()
    scene.mount(members)
    run(*layers)
    compare_trees(before, describe_tree(merged), "after a remount")
    unmount(merged)
    scene.umount()
    run("fsck.raid5cryptfs", "-n", "--data", "--key-file", scene.key(), *members)


def without_roots(tree):
    """Which of several names comes first differs, and so does a link's first name."""
    return {k: [v for v in entry if not isinstance(v, str) or "/" not in v] for k, entry in tree.items() if k != "."}


if __name__ == "__main__":
    main(programs, overlay)
