"""One member of a real mount goes away or stops answering under load (`dropped` in faulty.py says what is expected)."""
from faulty import *


def vanishes(scene):
    dropped(scene, lambda bad: bad.tell("gone"))


def vanishes_below_a_loop_device(scene):
    dropped(scene, lambda bad: bad.tell("gone"), loops=True)


def shrinks(scene):
    dropped(scene, lambda bad: bad.tell("shrink", 1 << 20))


def shrinks_a_little(scene):
    """Only its end is missing, where nobody reads or writes: the next mount notices, and leaves it out."""
    paths, [bad] = failing(scene)
    m = Mount(scene, paths, "-o", "commit=1")
    bad.tell("shrink", SIZE - 4096)
    make_tree(m.root, files=60, big=3)
    before = describe_tree(m.root)
    check_equal(m.status()["state"], "healthy", "while mounted")
    m.umount()
    m = Mount(scene, paths, "-o", "commit=1")
    m.wait_log(f"{paths[-1]} is smaller than")
    check_equal([m.status()["state"], m.status()["map"]], ["degraded", "[UUU_]"], "it is left out")
    compare_trees(before, describe_tree(m.root), "without it")
    run("raid5cryptfs-rebuild", "readd", m.root, paths[-1], code=TOO_SMALL, says="is smaller than")
    bad.heal()
    run("raid5cryptfs-rebuild", "readd", "--wait", m.root, paths[-1])
    check_equal(m.status()["state"], "healthy", "its end is there again")
    m.umount()
    fsck_clean(scene, paths)
    m = Mount(scene, without(paths, 0), "-o", "ro")
    compare_trees(before, describe_tree(m.root), "without another one")
    m.umount()


def hangs(scene):
    dropped(scene, lambda bad: bad.tell("hang", "all"))


def hangs_and_comes_back(scene):
    """What it is asked for while it hangs lands later."""
    dropped(scene, lambda bad: bad.tell("hang", "write"), back=True)


if __name__ == "__main__":
    need_root()
    main(vanishes, vanishes_below_a_loop_device, shrinks, shrinks_a_little, hangs, hangs_and_comes_back)
