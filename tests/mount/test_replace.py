"""raid5cryptfs-rebuild replace: a disk exchanged while it serves, or after it failed; and what it, spare and remove refuse."""
import re

from rebuild_lib import *
from test_status import check_json

# ---- Replace ----

def replace_under_load(scene):
    """The day before a disk dies: another one takes its place, while the array is used."""
    members, m, before = prepared(scene)
    old, new = members[1], scene.image(SIZE + (5 << 20))
    uuids = {entry(m, member)["uuid"] for member in members}
    load, changes = Load(m.root), Changes(m.root + "/changes")
    result = rebuild("replace", "--wait", m.root, old, new)
    check("place of member 2, which goes on serving" in result.out, f"the begin is told: {result.out}")
    check("has taken the place of member 2" in result.out, f"the end is told: {result.out}")
    check(has_replaced(m, old, new), f"it has: {m.status()}")
    load.end()
    changes.end()
    status = m.status()
    check_equal([status["state"], status["map"], status["job"]], ["healthy", "[UUUU]", None], "the array is whole")
    check(entry(m, new)["uuid"] not in uuids, "the new one is a member of its own")
    members[1] = new
    check_equal(paths(m), sorted(members), "the members")
    tree_is(m, before, "the tree")
    load.verify()
    changes.verify()
    before = describe_tree(m.root)
    m.umount()
    no_label(old)
    whole_without_each(scene, members, before)
    # The old one is a disk as any other.
    m = Mount(scene, members, *OPTIONS)
    rebuild("spare", m.root, old)
    check_equal(role(m, old), "spare", "its role")
    m.umount()
    fsck_clean(scene, members + [old])


def shown_meanwhile(scene):
    """What the status says while it goes on, by the old one's UUID and number; and it may be unmounted on the way."""
    members, m, before = prepared(scene, big=30)
    old, new = members[2], scene.image()
    old_index = entry(m, old)["index"]
    job = begin_slowly(m, entry(m, old)["uuid"], new)
    check_equal(job["source"], old_index, "the source")
    wait_for(lambda: m.status()["job"]["done_bytes"] > 0, "it gets on", 30)
    value = json.loads(run("raid5cryptfs-status", "--json", m.root).out)
    check_json(value)
    [array] = value["arrays"]
    check_equal([array["map"], array["state"]], ["[UUUU]", "healthy"], "map and state")
    check(0 < array["job"]["done_bytes"] < array["job"]["total_bytes"], f"progress: {array['job']}")
    text, number = run("raid5cryptfs-status", m.root).out, entry(m, new)["index"] + 1
    check(re.search(rf"replace +member {number} takes the place of member 3, \d+ %", text), text)
    check(re.search(rf"member {number} +R .*taking the place of member 3 \(\d+ %\)", text), text)
    m.umount()
    unmounted = scene.status(*members, new)
    check_equal([unmounted["map"], unmounted["state"], unmounted["job"]], ["[UUUU]", "healthy", None], f"unmounted: {unmounted}")
    # Without the new one nothing lacks; with it, it goes on.
    m = Mount(scene, members, *OPTIONS)
    check_equal(m.status()["state"], "healthy", f"the target is not needed: {m.status()}")
    tree_is(m, before, "without the target")
    m.umount()
    m = Mount(scene, members + [new], *OPTIONS)
    wait_replaced(m, old, new)
    before = describe_tree(m.root)
    m.umount()
    members[2] = new
    whole_without_each(scene, members, before)


def killed(scene):
    """The daemon is killed in the middle; the next mount goes on by itself."""
    members, m, _ = prepared(scene, count=3, big=12, loops=True)
    for place, wait in enumerate([0, 0.3, 2]):
        old, new = members[place], scene.loop(scene.image())
        changes = Changes(m.root + "/changes", seed=place)
        begin_slowly(m, old, new, speed="1M")
        time.sleep(0.2)
        changes.end()
        syncfs(m.root)
        before = describe_tree(m.root)
        time.sleep(wait)
        check_equal(role(m, new), "replacement", "it is in the middle")
        m.daemon.kill()
        m.daemon.wait(60)
        run("umount", "-l", m.root, code=None)
        m = Mount(scene, members + [new], *OPTIONS)
        wait_replaced(m, old, new)
        drop_caches()
        compare_trees(before, describe_tree(m.root), "after the kill")
        m.umount()
        no_label(old)
        members[place] = new
        whole_without_each(scene, members, before)
        m = Mount(scene, members, *OPTIONS)
    m.umount()


def old_one_fails_on_the_way(scene):
    members, m, before = prepared(scene, big=30)
    old, new = members[1], scene.image()
    begin_slowly(m, old, new, speed="2M")
    load = Load(m.root)
    rebuild("fail", m.root, old)
    load.end()
    wait_replaced(m, old, new)
    load.verify()
    tree_is(m, before, "the tree")
    before = describe_tree(m.root)
    m.umount()
    members[1] = new
    whole_without_each(scene, members, before)


def new_one_fails_on_the_way(scene):
    """It is told, and the array is as it was."""
    members, m, before = prepared(scene, options=["-o", "timeout=2,commit=1"])
    old, new = members[1], Faulty(scene, scene.image())
    process = subprocess.Popen(["raid5cryptfs-rebuild", "replace", "--wait", "--speed", "256K", m.root, old, new.path],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: m.status()["job"], "it is under way")
    new.tell("gone")
    write(m.root + "/file", b"x" * 100000)
    syncfs(m.root)
    out, err = process.communicate(timeout=60)
    check_equal(process.returncode, SYSTEM, f"the exit code: {out} {err}")
    check("out of the array" in err, err)
    check_equal(m.status()["state"], "healthy", f"nothing needed is lost: {m.status()}")
    check("has taken" not in out, out)
    tree_is(m, before, "the tree")
    m.umount()
    fsck_clean(scene, members)


def replace_one_that_is_out(scene):
    """Failed by hand, or not there at the mount: its data is made from the others."""
    members, m, before = prepared(scene)
    old, new = members[2], scene.image()
    rebuild("fail", m.root, old)
    check_equal(m.status()["map"], "[UU_U]", "it is out")
    result = rebuild("replace", "--wait", m.root, "3", new)
    check("serving" not in result.out and "has taken the place of member 3" in result.out, result.out)
    wait_replaced(m, old, new)
    m.umount()
    members[2] = new
    old, new = members[0], scene.image()
    absent = scene.status(*members)["members"][0]
    check_equal(absent["path"], old, "the first one")
    m = Mount(scene, members[1:], *OPTIONS)
    rebuild("replace", "--wait", m.root, absent["uuid"], new)
    members[0] = new
    check_equal([m.status()["state"], paths(m)], ["healthy", sorted(members)], "it has its place")
    tree_is(m, before, "the tree")
    before = describe_tree(m.root)
    m.umount()
    # The old one was not there, so that it has its label still: it is no member, and does not disturb.
    status = scene.status(*members, old)
    check_equal([(o["path"], o["index"]) for o in status["others"]], [(old, None)], "a stranger")
    m = Mount(scene, members + [old], *OPTIONS)
    check_equal([m.status()["state"], paths(m)], ["healthy", sorted(members)], "it is left out")
    m.umount()
    fsck_clean(scene, members + [old])
    rebuild("erase", "--force", old)
    whole_without_each(scene, members, before)


# ---- Refused ----

class Untouched:
    """What a refusal must leave as it is: files, members, and the disk that was refused."""

    def __init__(self, m, before, disks):
        self.m, self.before, self.disks, self.bytes, self.members = m, before, disks, [read(disk) for disk in disks], self.list(m)

    @staticmethod
    def list(m):
        return [(s["uuid"], s["role"], s["state"], s["path"]) for s in m.status()["members"]]

    def check(self):
        tree_is(self.m, self.before, "the tree")
        check(all(read(disk) == data for disk, data in zip(self.disks, self.bytes)), "disks that were refused are as they were")
        check_equal(self.list(self.m), self.members, "the members")


def refused_at_the_command_line(scene):
    """What needs no daemon: the command line, names, and what is on a disk."""
    members, m, before = prepared(scene, count=3, big=1)
    free, foreign = scene.image(), scene.image()
    run("mke2fs", "-q", "-F", "-t", "ext4", foreign)
    untouched = Untouched(m, before, [free, foreign])
    for arguments, words in [(["replace", m.root, members[0]], "the member to be replaced"), (["replace", m.root], "the disk that takes"),
                             (["replace", m.root, members[0], free, free], "give"), (["spare", m.root], "the disk"),
                             (["spare", m.root, free, free], "the disk"), (["remove", m.root], "the member"),
                             (["remove", m.root, "1", "2"], "the member"), (["replace"], "give"), (["spare"], "give"), (["remove"], "give"),
                             (["spare", "--wait", m.root, free], "--help"), (["remove", "--force", m.root, "1"], "--help"),
                             (["spare", "--speed", "1M", m.root, free], "--help"),
                             (["replace", "--nonsense", m.root, "1", free], "--help"), (["replace", "--speed", "1K", m.root, "1", free], "64K")]:
        rebuild(*arguments, code=USAGE, says=words)
    for name in ["4", "0", "+1", "1x", "99999999999999999999", "", scene.path("missing"), free, "00000000-0000-0000-0000-000000000000"]:
        rebuild("replace", m.root, name, free, code=USAGE, says="no such member")
        rebuild("remove", m.root, name, code=USAGE, says="no such member")
    for command in [["replace", m.root, "1"], ["spare", m.root]]:
        rebuild(*command, foreign, code=SIGNATURE, says=["ext4", "--force"])
        rebuild(*command, scene.path("missing"), code=SYSTEM, says="missing")
    for command in [["replace", "{}", "1", free], ["spare", "{}", free], ["remove", "{}", "1"]]:
        rebuild(*[scene.path("nowhere") if word == "{}" else word for word in command], code=NOT_FOUND, says="nowhere")
        rebuild(*["/" if word == "{}" else word for word in command], code=NOT_FOUND, says="no raid5cryptfs array")
    untouched.check()
    loop, folder = scene.loop(foreign), scene.mountpoint("foreign")
    run("mount", loop, folder)
    for options in [[], ["--force"]]:
        rebuild("replace", *options, m.root, "1", loop, code=BUSY, says="mounted")
        rebuild("spare", *options, m.root, loop, code=BUSY, says="mounted")
    unmount(folder)
    out = rebuild("--help").out
    for name in ["replace", "spare", "remove"]:
        check(f"\n  {name} " in out and f"  {name} " in rebuild(name, "--help").out, f"{name} in the help")
    untouched.disks = [free]         # the other was mounted by somebody else
    untouched.check()
    m.umount()


def refused_by_the_daemon(scene):
    members, m, before = prepared(scene, big=1)
    others = scene.images(3)
    scene.mkfs(others)
    small = scene.image(SIZE // 2)
    spare = scene.image()
    rebuild("spare", m.root, spare)
    untouched = Untouched(m, before, [others[0], small])
    rebuild("replace", m.root, "1", small, code=TOO_SMALL, says=small)
    rebuild("spare", m.root, scene.image(1 << 20), code=TOO_SMALL, says="too small for this array")
    for command in [["replace", m.root, "1"], ["spare", m.root]]:
        rebuild(*command, others[0], code=SIGNATURE, says=["another array", "--force"])
        rebuild(*command, members[1], code=BUSY, says=members[1])
        rebuild(*command, members[0], code=BUSY, says=members[0])
    rebuild("spare", m.root, spare, code=BUSY, says=spare)
    result = rebuild("replace", m.root, spare, scene.image(), code=None)
    check(result.code not in [0, SYSTEM] and len(result.err) > 40, f"it is refused, with the reason: {result.code} {result.err}")
    untouched.check()
    rebuild("replace", "--force", "--wait", m.root, "1", others[0])
    check(has_replaced(m, members[0], others[0]), f"with --force: {m.status()}")
    tree_is(m, before, "the tree")
    members[0] = others[0]
    m.umount()
    m = Mount(scene, members + [spare], "-o", "ro")
    for arguments in [["replace", m.root, "2", spare], ["spare", m.root, scene.image()], ["remove", m.root, spare]]:
        rebuild(*arguments, code=SYSTEM, says="read-only")
    m.umount()
    fsck_clean(scene, members + [spare])


def only_the_owner(scene):
    """With allow_other others may look, and change nothing."""
    members = scene.images(3)
    scene.mkfs(members)
    m = Mount(scene, members, "-o", "allow_other")
    os.chmod(m.root, 0o755)
    free = scene.image()
    with as_nobody(scene) as (who, _, _):
        for arguments in [["replace", m.root, "1", free], ["spare", m.root, free], ["remove", m.root, "1"]]:
            run("raid5cryptfs-rebuild", *arguments, code=SYSTEM, says="only root", **who)
    check_equal([m.status()["state"], paths(m)], ["healthy", sorted(members)], "nothing was changed")
    check_equal(read(free), bytes(SIZE), "nor was the disk")
    m.umount()


if __name__ == "__main__":
    need_root()
    main(refused_at_the_command_line, only_the_owner, refused_by_the_daemon, replace_under_load, shown_meanwhile, killed,
         old_one_fails_on_the_way, new_one_fails_on_the_way, replace_one_that_is_out)
