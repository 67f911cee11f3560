"""raid5cryptfs-rebuild on a mounted array: a new disk for a missing one, one taken back, one failed by hand."""
from rebuild_lib import *


def add_under_load(scene):
    """The day a disk died: a bigger one takes its place, while the array is used."""
    members = scene.images(4)
    scene.mkfs(members)
    scene.mount(members, *OPTIONS)
    root = scene.path("mnt")
    os.mkdir(root + "/tree")
    make_tree(root + "/tree", files=100, big=20)
    before = describe_tree(root + "/tree")
    scene.umount()
    m = Mount(scene, without(members, 1), *OPTIONS)
    load, changes = Load(root), Changes(root + "/changes")
    new = scene.image(SIZE + (5 << 20))
    result = rebuild("add", "--wait", root, new)
    check("member 2" in result.out and "in sync" in result.out, f"it is told: {result.out}")
    load.end()
    changes.end()
    check_equal(m.status()["state"], "healthy", "the array is whole")
    check_equal(m.member(1)["path"], new, "with the new disk")
    drop_caches()
    load.verify()
    changes.verify()
    compare_trees(before, describe_tree(root + "/tree"), "the tree")
    before = describe_tree(root)
    m.umount()
    members[1], old = new, members[1]
    whole_without_each(scene, members, before)
    scene.mount(members + [old], code=TWICE, says="erase")
    rebuild("erase", old, code=SIGNATURE, says="--force")
    rebuild("erase", "--force", old)
    rebuild("erase", "--force", old, code=NOT_MEMBER)
    scene.mount(members + [old])
    rebuild("erase", "--force", new, code=BUSY)
    scene.umount()


def add_survives_a_kill(scene):
    """The daemon is killed in the middle; the rebuild goes on with the next mount."""
    members = [scene.loop(scene.image(SIZE)) for _ in range(3)]
    scene.mkfs(members)
    scene.mount(members, *OPTIONS)
    root = scene.path("mnt")
    make_tree(root, files=200, big=20)
    before = describe_tree(root)
    scene.umount()
    for wait in [0.0, 0.05, 0.2]:
        scene.mount(members[1:], *OPTIONS)
        new = scene.loop(scene.image(SIZE))
        rebuild("add", root, new)
        time.sleep(wait)
        [daemon] = scene.daemons()
        os.kill(daemon, signal.SIGKILL)
        run("umount", "-l", root, code=None)
        scene.wait_no_daemon()
        members[0] = new
        scene.mount(members, *OPTIONS)
        wait_for(lambda: healthy(root), "it goes on by itself", 60)
        compare_trees(before, describe_tree(root), "after the kill")
        scene.umount()
        whole_without_each(scene, members, before)


def fail_and_exchange(scene):
    """A disk that works is exchanged: it is failed by hand, by each of its names, and does not come back by itself."""
    members = scene.images(4)
    scene.mkfs(members)
    m = Mount(scene, members, *OPTIONS)
    make_tree(m.root, files=60, big=4)
    uuid = m.member(2)["uuid"]
    for name in [members[2], uuid, "3"]:
        rebuild("fail", m.root, name)
        check_equal(m.status()["map"], "[UU_U]", "it is out")
        rebuild("fail", m.root, "1", code=TOO_FEW, says="cannot do without")
        write(m.root + "/" + name.replace("/", "-"), b"written meanwhile")
        os.sync()
        rebuild("add", m.root, members[2], code=BUSY)
        rebuild("readd", "-w", m.root, members[2])
        m.wait_healthy()
    rebuild("fail", m.root, "3")
    time.sleep(12)
    check_equal(m.status()["map"], "[UU_U]", "it stays out")
    new = scene.image(SIZE)
    rebuild("add", "-w", m.root, new)
    before = describe_tree(m.root)
    m.umount()
    members[2] = new
    whole_without_each(scene, members, before)


def readd_after_absence(scene):
    """A member that was not there at the mount comes back while mounted, under another name."""
    members = scene.images(3)
    scene.mkfs(members)
    scene.mount(members, *OPTIONS)
    root = scene.path("mnt")
    make_tree(root, files=100, big=4)
    scene.umount()
    scene.mount(members[:2], *OPTIONS)
    os.mkdir(root + "/more")
    make_tree(root + "/more", seed=2, files=100, big=4)
    os.rename(members[2], members[2] + ".back")
    members[2] += ".back"
    rebuild("readd", "--wait", root, members[2])
    check(healthy(root), "the array is whole")
    before = describe_tree(root)
    scene.umount()
    whole_without_each(scene, members, before)


def diverged(scene):
    """Copies of the disks were used apart from each other: what was written there is not taken for ours."""
    members = scene.images(3)
    scene.mkfs(members)
    scene.mount(members, *OPTIONS)
    scene.umount()
    copies = [m + ".copy" for m in members]
    for member, copy in zip(members, copies):
        shutil.copyfile(member, copy)
    for group, name in [(members[:2], "ours"), (copies[1:], "theirs")]:
        scene.mount(group, *OPTIONS)
        write(scene.path("mnt") + "/" + name, b"x" * 100000)
        scene.umount()
    m = Mount(scene, members[:2], *OPTIONS)
    write(m.root + "/again", b"y")
    rebuild("readd", m.root, copies[2], code=DIVERGED, says=copies[2])
    check_equal(m.status()["map"], "[UU_]", "it was not taken")
    check_equal(read(m.root + "/ours"), b"x" * 100000, "ours is there")
    rebuild("add", m.root, copies[2], code=SIGNATURE, says="--force")
    rebuild("add", "-f", "-w", m.root, copies[2])
    m.umount()
    fsck_clean(scene, members[:2] + [copies[2]])


def refused(scene):
    """Wrong input is told, with the exit code for it, and changes nothing."""
    members, others = scene.images(3), scene.images(3)
    scene.mkfs(members)
    scene.mkfs(others)
    m = Mount(scene, members, *OPTIONS)
    spare = scene.image(SIZE)
    rebuild("add", m.root, spare, code=USAGE, says="No member is missing")
    m.umount()
    m = Mount(scene, members[:2], *OPTIONS)
    write(m.root + "/file", b"content")
    small, foreign = scene.image(SIZE - (4 << 20)), scene.image(SIZE)
    run("mke2fs", "-q", "-F", foreign)
    rebuild("add", m.root, small, code=TOO_SMALL, says="at least as large")
    rebuild("add", m.root, foreign, code=SIGNATURE, says="ext2")
    rebuild("add", m.root, others[0], code=SIGNATURE, says="another array")
    rebuild("add", m.root, members[2], code=SIGNATURE, says="readd")
    rebuild("add", m.root, members[0], code=BUSY, says=members[0])
    rebuild("add", m.root, scene.path("missing"), code=SYSTEM, says="missing")
    rebuild("add", scene.path("nowhere"), spare, code=NOT_FOUND, says="nowhere")
    rebuild("add", "/", spare, code=NOT_FOUND, says="no raid5cryptfs array")
    rebuild("readd", m.root, spare, code=NOT_MEMBER, says=spare)
    rebuild("readd", m.root, others[0], code=MIXED, says="belongs to array")
    rebuild("readd", m.root, members[0], code=BUSY)
    rebuild("fail", m.root, "7", code=USAGE, says="no such member")
    rebuild("fail", m.root, scene.path("missing"), code=USAGE, says="no such member")
    rebuild("fail", m.root, code=USAGE)
    rebuild("add", "--wrong", m.root, spare, code=USAGE)
    rebuild("bad", m.root, code=USAGE, says="no command")
    check_equal(m.status()["map"], "[UU_]", "nothing was changed")
    rebuild("add", "--force", "--wait", m.root, foreign)
    check_equal(read(m.root + "/file"), b"content", "the file")
    m.umount()
    fsck_clean(scene, members[:2] + [foreign])


def only_the_owner(scene):
    """With allow_other others may look, and change nothing."""
    members = scene.images(3)
    scene.mkfs(members)
    m = Mount(scene, members, "-o", "allow_other")
    os.chmod(m.root, 0o755)
    with as_nobody(scene) as (who, _, _):
        run("raid5cryptfs-rebuild", "fail", m.root, "1", code=SYSTEM, says="only root", **who)
        run("raid5cryptfs-scrub", "start", m.root, code=SYSTEM, says="only root", **who)
    check_equal(m.status()["state"], "healthy", "nothing was changed")
    m.umount()


if __name__ == "__main__":
    need_root()
    main(add_under_load, add_survives_a_kill, fail_and_exchange, readd_after_absence, diverged, refused, only_the_owner)
