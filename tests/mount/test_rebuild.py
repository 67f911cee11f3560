"""raid5cryptfs-rebuild on a mounted array: a new disk for a missing one, one taken back, one failed by hand."""
import fcntl
import re

from alert_lib import *
from rebuild_lib import *


def add_under_load(scene):
    """The day a disk died: a bigger one takes its place, while the array is used."""
    recorder = Recorder(scene.dir)
    options = ["-o", f"commit=1,alert={recorder.path}"]
    members = scene.images(4)
    scene.mkfs(members)
    scene.mount(members, *OPTIONS)
    root = scene.path("mnt")
    os.mkdir(root + "/tree")
    make_tree(root + "/tree", files=100, big=20)
    before = describe_tree(root + "/tree")
    scene.umount()
    m = Mount(scene, without(members, 1), *options)
    uuids = [member["uuid"] for member in m.status()["members"]]
    load, changes = Load(root), Changes(root + "/changes")
    old, new = members[1], scene.image(SIZE + (5 << 20))
    result = rebuild("add", "--wait", root, new)
    check("as member 5, the place of member 2" in result.out, f"the begin is told: {result.out}")
    check("Member 5 has taken the place of member 2" in result.out, f"the end is told: {result.out}")
    load.end()
    changes.end()
    status = m.status()
    check_equal([status["state"], status["map"], status["job"]], ["healthy", "[UUUU]", None], "the array is whole")
    check(entry(m, new)["uuid"] not in uuids, "the new one is a member of its own")
    members[1] = new
    check_equal(paths(m), sorted(members), "the members")
    calls = [recorder.wait(name) for name in ["replace-started", "replace-finished"]]
    check_equal([variable(call, "MEMBER") for call in calls], [new, new], "administrators are told")
    for name in ["returned", "in-sync", "spare-taken"]:
        check_equal(recorder.of(name), [], name)
    drop_caches()
    load.verify()
    changes.verify()
    compare_trees(before, describe_tree(root + "/tree"), "the tree")
    before = describe_tree(root)
    m.umount()
    whole_without_each(scene, members, before)
    old_disk_is_a_stranger(scene, members, old)


def old_disk_is_a_stranger(scene, members, old):
    """It was not there when another took its place, and is connected again."""
    check_equal([(o["path"], o["index"]) for o in scene.status(*members, old)["others"]], [(old, None)], "unmounted")
    m = Mount(scene, members + [old], *OPTIONS)
    check_equal([m.status()["state"], paths(m)], ["healthy", sorted(members)], "it is left out")
    m.wait_log(f"{old} is not a member of this array any more")
    rebuild("readd", m.root, old, code=MIXED, says="not a member of this array any more")
    rebuild("erase", "--force", members[0], code=BUSY)
    m.umount()
    fsck_clean(scene, members + [old])
    rebuild("erase", old, code=SIGNATURE, says="--force")
    rebuild("erase", "--force", old)
    rebuild("erase", "--force", old, code=NOT_MEMBER)
    scene.mount(members + [old], "-o", "ro")
    scene.umount()


def shown_meanwhile(scene):
    """What the status says while it is made, with the old disk back in the middle: it is taken in, and goes all the same."""
    members, m, before = prepared(scene, big=30)
    m.umount()
    m = Mount(scene, without(members, 2), *OPTIONS)
    old, new = members[2], scene.image()
    result = rebuild("add", "--speed", "256K", m.root, new)
    check("raid5cryptfs-status" in result.out, result.out)
    status = m.status()
    check_equal([status["map"], status["state"], role(m, new)], ["[UU_U]", "degraded", "replacement"], "while it is made")
    check_equal([status["job"]["source"], status["job"]["target"]], [2, 4], "its job")
    text = run("raid5cryptfs-status", m.root, code=None).out
    check(re.search(r"member 5 takes the place of member 3, \d+ %", text), text)
    rebuild("add", m.root, scene.image(), code=USAGE, says="Another disk is taking the place")
    result = rebuild("readd", "--speed", "100M", "--wait", m.root, old)
    check("is in sync" in result.out or "Another disk has taken the place of member 3" in result.out, result.out)
    wait_replaced(m, old, new)
    tree_is(m, before, "the tree")
    before = describe_tree(m.root)
    m.umount()
    members[2] = new
    no_label(old)
    whole_without_each(scene, members, before)


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
        old, members[0] = members[0], new
        m = Mount(scene, members, *OPTIONS)
        wait_replaced(m, old, new)
        compare_trees(before, describe_tree(root), "after the kill")
        m.umount()
        whole_without_each(scene, members, before)


def readd_tells(scene):
    """Only what was written meanwhile is made again, and it is said how much that was."""
    members, m, before = prepared(scene, big=20)
    for mib, low, high in [(0, 0, 2 << 20), (12, 4 << 20, 8 << 20)]:
        rebuild("fail", m.root, "3")
        write(m.root + "/meanwhile", os.urandom(mib << 20))
        syncfs(m.root)
        result = rebuild("readd", "--wait", m.root, members[2])
        amount = m.member(2)["caught_up_bytes"]
        check(low <= amount <= high, f"of {mib} MiB written a third: {amount}")
        check(re.search(r"in sync; [\d.]+ \w+ of it were written anew", result.out), result.out)
        m.wait_log(f"in sync; {amount / (1 << 20):.1f} MiB of it were written anew")
    os.unlink(m.root + "/meanwhile")
    tree_is(m, before, "the tree")
    before = describe_tree(m.root)
    m.umount()
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
        syncfs(m.root)
        rebuild("add", m.root, members[2], code=BUSY)
        rebuild("readd", "-w", m.root, members[2])
        m.wait_healthy()
    rebuild("fail", m.root, "3")
    time.sleep(12)
    check_equal(m.status()["map"], "[UU_U]", "it stays out")
    old, new = members[2], scene.image(SIZE)
    rebuild("add", "-w", m.root, new)
    members[2] = new
    check_equal([m.status()["map"], paths(m)], ["[UUUU]", sorted(members)], "the new one has its place")
    before = describe_tree(m.root)
    m.umount()
    whole_without_each(scene, members, before)
    old_disk_is_a_stranger(scene, members, old)


def add_a_spare(scene):
    """One that is a spare already steps in at once."""
    members, m, before = prepared(scene)
    spare = scene.image()
    rebuild("spare", m.root, spare)
    rebuild("add", m.root, spare, code=USAGE, says="No member is missing")
    m.umount()
    m = Mount(scene, members[1:] + [spare], *OPTIONS)
    begin = time.monotonic()
    rebuild("add", "--wait", m.root, spare)
    check(time.monotonic() - begin < 25, "it does not wait as a spare does")
    members[0] = spare
    check_equal([m.status()["map"], paths(m)], ["[UUUU]", sorted(members)], "it has the place")
    tree_is(m, before, "the tree")
    m.umount()
    fsck_clean(scene, members)


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


def fails_again(scene):
    """Whoever waits for a member that is being caught up is told that it is lost again."""
    members, m, _ = prepared(scene)
    m.umount()
    m = Mount(scene, without(members, 1), *OPTIONS)
    make_tree(m.root, seed=3, files=40, big=20)
    syncfs(m.root)
    process = subprocess.Popen(["raid5cryptfs-rebuild", "readd", "--wait", "--speed", "256K", m.root, members[1]], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)
    wait_for(lambda: m.member(1)["state"] == "filling", "it is being caught up")
    time.sleep(1)
    rebuild("fail", m.root, members[1])
    out, err = process.communicate(timeout=30)
    check_equal(process.returncode, SYSTEM, f"the exit code: {out} {err}")
    check("member 2 is out of the array again" in err, err)
    m.umount()


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
    check_equal(m.status()["state"], "healthy", "it is a new member")
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
    rebuild("add", m.root, small, code=TOO_SMALL, says="too small to take the place of member 3")
    rebuild("add", m.root, foreign, code=SIGNATURE, says="ext2")
    rebuild("add", m.root, others[0], code=SIGNATURE, says="another array")
    rebuild("add", m.root, members[2], code=SIGNATURE, says=["member 3 itself", "readd takes it back", "--force"])
    rebuild("spare", m.root, members[2], code=SIGNATURE, says="readd takes it back")
    rebuild("add", m.root, members[0], code=BUSY, says=members[0])
    with open(spare, "rb") as f:                     # somebody at work on it
        fcntl.flock(f, fcntl.LOCK_EX)
        rebuild("add", m.root, spare, code=BUSY, says=spare)
        rebuild("add", "--force", m.root, spare, code=BUSY, says=spare)
    check_equal(read(spare), bytes(SIZE), "nothing was written")
    rebuild("add", m.root, scene.path("missing"), code=SYSTEM, says="missing")
    rebuild("add", scene.path("nowhere"), spare, code=NOT_FOUND, says="nowhere")
    rebuild("add", "/", spare, code=NOT_FOUND, says="no raid5cryptfs array")
    rebuild("readd", m.root, spare, code=NOT_MEMBER, says=spare)
    rebuild("readd", m.root, others[0], code=MIXED, says="belongs to array")
    rebuild("readd", m.root, members[0], code=BUSY, says="is member 1, and at work")
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
    # The old disk of one that is missing, made anew all the same.
    m = Mount(scene, [members[0], foreign], *OPTIONS)
    rebuild("add", "--force", "--wait", m.root, members[1])
    check_equal([read(m.root + "/file"), m.status()["state"]], [b"content", "healthy"], "whole again")
    m.umount()
    fsck_clean(scene, [members[0], members[1], foreign])


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
    main(add_under_load, shown_meanwhile, add_survives_a_kill, readd_tells, fail_and_exchange, add_a_spare, readd_after_absence,
         fails_again, diverged, refused, only_the_owner)
