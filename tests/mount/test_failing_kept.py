"""A member of a real mount that stumbles, or is silently older, and is not to be dropped."""
from faulty import *

OPTIONS = ["-o", "timeout=5,commit=1"]


def rare_read_errors(scene):
    """What cannot be read is made from the others; the member stays."""
    paths, [bad] = failing(scene)
    m = Mount(scene, paths, *OPTIONS)
    make_tree(m.root, files=60, big=3)
    before = describe_tree(m.root)
    m.umount()
    m = Mount(scene, paths, *OPTIONS)
    bad.tell("fail", "read", every=4)
    compare_trees(before, describe_tree(m.root), "with read errors")
    status = m.status()
    check_equal(status["state"], "healthy", f"it stays: {status}")
    check(bad.bad() > 0, "some reads failed")
    check_equal(status["members"][3]["read_errors"] > 0, True, f"they are counted: {status}")
    check("a read failed" in m.log(), f"and told: {m.log()}")
    m.umount()
    bad.heal()
    fsck_clean(scene, paths)


def too_many_read_errors(scene):
    """With a limit it is dropped when it has reached it, and stays out until the owner takes it back."""
    paths, [bad] = failing(scene)
    m = Mount(scene, paths, *OPTIONS)
    make_tree(m.root, files=60, big=3)
    before = describe_tree(m.root)
    m.umount()
    m = Mount(scene, paths, *OPTIONS, "-o", "read-errors=3")
    bad.tell("fail", "read", every=3)
    compare_trees(before, describe_tree(m.root), "with read errors")
    drop_caches()
    compare_trees(before, describe_tree(m.root), "with more")
    m.wait_log("which is the limit")
    check_equal(m.status()["map"], "[UUU_]", "it was dropped")
    bad.heal()
    time.sleep(12)
    check_equal(m.status()["map"], "[UUU_]", "and does not come back by itself")
    run("raid5cryptfs-rebuild", "readd", "--wait", m.root, paths[3])
    check_equal(m.status()["map"], "[UUUU]", "but when it is taken back")
    m.umount()
    fsck_clean(scene, paths)


def unreadable_sectors(scene):
    """What cannot be read until it is written is written: the drive then gives it another place."""
    paths, [bad] = failing(scene)
    m = Mount(scene, paths, *OPTIONS)
    make_tree(m.root, files=60, big=24)
    before = describe_tree(m.root)
    m.umount()
    m = Mount(scene, paths, *OPTIONS)
    for start in range(8 << 20, 10 << 20, 256 << 10):
        bad.tell("fail", "read", from_=start, to=start + 16384, mended=1)
    compare_trees(before, describe_tree(m.root), "with bad sectors")
    check(bad.bad() > 0, "some reads failed")

    def reads_well():
        count = bad.bad()
        drop_caches()
        compare_trees(before, describe_tree(m.root), "once more")
        return bad.bad() == count
    wait_for(reads_well, "what could not be read is written anew")
    check(m.member(3)["healed"] > 0, f"it was healed: {m.status()}")
    check_equal(m.status()["state"], "healthy", f"it stays: {m.status()}")
    check("could not read" in m.log(), f"it is told: {m.log()}")
    m.umount()
    bad.heal()
    fsck_clean(scene, paths)


def short_reads(scene):
    kept(scene, lambda bad: bad.tell("short", "read", every=2), 5)


def slow(scene):
    kept(scene, lambda bad: bad.tell("delay", "all", ms=4), 0)


def goes_back_while_unmounted(scene):
    """Silently older: a snapshot is put back between two mounts."""
    paths, [bad] = failing(scene)
    m = Mount(scene, paths, *OPTIONS)
    make_tree(m.root, files=60, big=1)
    m.umount()
    bad.tell("snapshot")
    m = Mount(scene, paths, *OPTIONS)
    shutil.rmtree(m.root + "/big-0", ignore_errors=True)
    os.mkdir(m.root + "/more")
    make_tree(m.root + "/more", seed=2, files=60, big=1)
    syncfs(m.root)
    before = describe_tree(m.root)
    for i in range(3):
        with open(m.root + "/touch", "w") as f:
            f.write(str(i))
            os.fsync(f.fileno())
        syncfs(m.root)
    before = describe_tree(m.root)
    m.umount()
    bad.tell("restore")
    m = Mount(scene, paths, *OPTIONS)
    check("out of date" in m.log(), f"it is told that it is older: {m.log()}")
    compare_trees(before, describe_tree(m.root), "with an older member")
    with open(m.root + "/new", "w") as f:
        f.write("new")
    before = describe_tree(m.root)
    m.wait_healthy()
    m.umount()
    fsck_clean(scene, paths)
    m = Mount(scene, without(paths, 0), *OPTIONS)
    compare_trees(before, describe_tree(m.root), "without another member")
    m.umount()


def goes_back_while_mounted(scene):
    """The same below a mount: tags tell, and it is healed."""
    paths, [bad] = failing(scene)
    m = Mount(scene, paths, *OPTIONS)
    make_tree(m.root, files=60, big=1)
    syncfs(m.root)
    bad.tell("snapshot")
    os.mkdir(m.root + "/more")
    make_tree(m.root + "/more", seed=2, files=60, big=1)
    syncfs(m.root)
    before = describe_tree(m.root)
    bad.tell("restore")
    drop_caches()
    compare_trees(before, describe_tree(m.root), "with a member that went back")
    check(m.member(3)["healed"] > 0, f"it was healed: {m.status()}")
    m.umount()
    m = Mount(scene, paths, *OPTIONS)
    compare_trees(before, describe_tree(m.root), "after that")
    m.wait_healthy()
    m.umount()
    mended(scene, paths)


if __name__ == "__main__":
    need_root()
    main(rare_read_errors, too_many_read_errors, unreadable_sectors, short_reads, slow, goes_back_while_unmounted, goes_back_while_mounted)
