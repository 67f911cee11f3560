"""raid5cryptfs-rebuild remove of a member that has data: it goes to several others, spares that are too small alone and free room on
members; the same by itself after a loss; and what is refused."""
import re

from alert_lib import *
from rebuild_lib import *
from test_status import check_json

SMALL = 40 << 20                     # two of them take the place of a member


def add_spares(scene, m, count=2, size=SMALL):
    """Their paths; none can stand in alone."""
    spares = scene.images(count, size)
    for spare in spares:
        check("too small to stand in for a member alone" in rebuild("spare", m.root, spare).out, "it is told")
    return spares


def number(m, path):
    return entry(m, path)["index"] + 1


def wait_gone(m, path):
    wait_for(lambda: not entry(m, path) and m.status()["state"] == "healthy", f"{path} leaves: {m.status()}", FINISH_SECONDS)
    check_equal(m.status()["job"], None, "nothing is on its way any more")


def onto_spares_and_members(scene):
    """Under load: first onto two spares; then one of those leaves too, to free room on the other and a third."""
    members, m, before = prepared(scene)
    spares = add_spares(scene, m, size=52 << 20)
    leaves, leaver = members[1], number(m, members[1])
    load, changes = Load(m.root), Changes(m.root + "/changes")
    result = rebuild("remove", "--wait", m.root, leaves)
    check(f"Member {leaver} is leaving: its data goes to members 5 and 6. It goes on serving until then.\n" in result.out, result.out)
    check(f"Member {leaver} ({leaves}) is out of the array for good; its label was wiped.\n" in result.out, result.out)
    members = [path for path in members if path != leaves] + spares
    status = m.status()
    check_equal([status["state"], status["map"], status["job"], paths(m)], ["healthy", "[UUUUU]", None, sorted(members)], "five serve")
    load.end()
    changes.end()
    load.verify()
    changes.verify()
    tree_is(m, before, "the tree")
    no_label(leaves)
    [third] = scene.images(1, 30 << 20)
    rebuild("spare", m.root, third)
    result = rebuild("remove", m.root, str(number(m, spares[0])))
    check(f"goes to members {number(m, third)} and {number(m, spares[1])}." in result.out, result.out)
    check("raid5cryptfs-status" in result.out, result.out)
    wait_gone(m, spares[0])
    members = [path for path in members if path != spares[0]] + [third]
    check_equal(paths(m), sorted(members), "who is left")
    before = describe_tree(m.root)
    m.umount()
    no_label(spares[0])
    whole_without_each(scene, members, before)


def shown_and_cancelled(scene):
    """What the status says; asking again is no error; --cancel ends it, and who waits is told."""
    recorder = Recorder(scene.dir)
    members, m, before = prepared(scene, big=30, options=["-o", f"commit=1,alert={recorder.path}"])
    spares = add_spares(scene, m)
    process = subprocess.Popen(["raid5cryptfs-rebuild", "remove", "-w", "-s", "256K", m.root, members[1]], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)
    wait_for(lambda: m.status()["job"], "it is under way")
    recorder.wait("replace-started")
    value = json.loads(run("raid5cryptfs-status", "--json", m.root).out)
    check_json(value)
    job = value["arrays"][0]["job"]
    check_equal([job["source"], job["target"], job["targets"], job["waits"]], [1, 4, [4, 5], False], "the job")
    check_equal([value["arrays"][0]["map"], role(m, spares[0])], ["[UUUU]", "replacement"], "nothing lacks")
    text = run("raid5cryptfs-status", m.root).out
    check(re.search(r"  move +data of member 2 goes to members 5 and 6, \d+ % \[=* *\]\n", text), text)
    check(re.search(r"member 6 +R .*taking data of member 2 \(\d+ %\)", text), text)
    check("Member 2 is leaving: its data goes to members 5 and 6." in rebuild("remove", m.root, "2").out, "asked again")
    rebuild("remove", m.root, "3", code=BUSY, says=["data of member 2 is on its way to members 5 and 6", "--cancel"])
    rebuild("replace", m.root, "3", scene.image(), code=BUSY, says="--cancel")
    rebuild("remove", "--cancel", m.root, "1", code=USAGE, says="nothing to cancel")
    result = rebuild("remove", "--cancel", m.root, members[1])
    check("the data of member 2 stays where it is" in result.out and "members 5 and 6" in result.out, result.out)
    out, err = process.communicate(timeout=30)
    check_equal(process.returncode, SYSTEM, f"the exit code: {out} {err}")
    check("member 2 does not leave" in err, err)
    recorder.wait("replace-stopped")
    check_equal([m.status()["job"], role(m, spares[0]), role(m, spares[1])], [None, "spare", "spare"], "as before")
    check_equal(role(m, members[1]), "member", "it stays")
    rebuild("remove", "--cancel", m.root, members[1], code=USAGE, says="nothing to cancel")
    # By one of those that get the data too.
    rebuild("remove", m.root, "2")
    result = rebuild("remove", m.root, spares[1])
    check("cancelled" in result.out and "member 6 is a spare again" in result.out, result.out)
    rebuild("remove", "--speed", "1G", m.root, "2")
    wait_gone(m, members[1])
    tree_is(m, before, "the tree")
    before = describe_tree(m.root)
    m.umount()
    whole_without_each(scene, without(members, 1) + spares, before)


def killed(scene):
    """The daemon is killed in the middle, and another one goes on; then the member itself is not there any more, and its data is made."""
    members, m, before = prepared(scene, big=40)
    spares = add_spares(scene, m)
    rebuild("remove", "--speed", "128K", m.root, members[1])
    wait_for(lambda: m.status()["job"]["done_bytes"] > 0, "it gets on", 30)
    done = m.status()["job"]["done_bytes"]
    syncfs(m.root)
    m.daemon.kill()
    m.daemon.wait(60)
    run("umount", "-l", m.root, code=None)
    m = Mount(scene, members + spares, "-o", "commit=1,speed=64K")
    job = m.status()["job"]
    check_equal(job["targets"], [4, 5], "it goes on")
    check(job["done_bytes"] >= done, f"from where it was: {job['done_bytes']} of {done}")
    tree_is(m, before, "the tree")
    m.umount()
    m = Mount(scene, without(members, 1) + spares, "-o", "commit=1,speed=64K")
    gone = next(member for member in m.status()["members"] if member["index"] == 1)
    result = rebuild("remove", "--wait", "--speed", "1G", m.root, gone["uuid"])
    check("is leaving: its data is made again on members 5 and 6." in result.out and "could not be written to" in result.out, result.out)
    tree_is(m, before, "the tree")
    before = describe_tree(m.root)
    m.umount()
    rebuild("erase", "-f", members[1])
    whole_without_each(scene, without(members, 1) + spares, before)


def lost(scene):
    """A member fails, and no spare is large enough: several take its data, by themselves."""
    recorder = Recorder(scene.dir)
    members, m, before = prepared(scene, options=["-o", f"commit=1,alert={recorder.path}"])
    spares = add_spares(scene, m)
    load = Load(m.root)
    check("by itself" in rebuild("fail", m.root, members[2]).out, "what comes next is told")
    call = recorder.wait("spare-taken")
    check("member 3 is out: members 5 and 6 stand in for it" in variable(call, "MESSAGE"), f"{call}")
    wait_gone(m, members[2])
    recorder.wait("replace-finished")
    load.end()
    load.verify()
    members = without(members, 2) + spares
    check_equal([m.status()["map"], paths(m)], ["[UUUUU]", sorted(members)], "whole again")
    tree_is(m, before, "the tree")
    # Nobody has room for the next one, until there is a spare.
    check("Put another disk in its place" in rebuild("fail", m.root, members[0]).out, "what comes next is told")
    time.sleep(3)
    check_equal([m.status()["job"], m.status()["state"]], [None, "degraded"], "it waits")
    spare = scene.image()
    rebuild("spare", m.root, spare)
    wait_gone(m, members[0])
    members[0] = spare
    check_equal(paths(m), sorted(members), "whole again")
    before = describe_tree(m.root)
    m.umount()
    whole_without_each(scene, members, before)


def cancelled_when_lost(scene):
    """The owner has a disk for it, and wants that in its place."""
    members, m, before = prepared(scene, big=30, options=["-o", "commit=1,speed=256K"])
    spares = add_spares(scene, m)
    rebuild("fail", m.root, members[2])
    wait_for(lambda: m.status()["job"], "it has begun")
    result = rebuild("remove", "--cancel", m.root, "3")
    check("It is out: others take its data by themselves only after the next mount" in result.out, result.out)
    time.sleep(3)
    check_equal(m.status()["job"], None, "it does not begin again")
    new = scene.image()
    rebuild("replace", "--wait", "--speed", "1G", m.root, "3", new)
    members[2] = new
    check_equal([paths(m), role(m, spares[0])], [sorted(members + spares), "spare"], "the spares are kept")
    tree_is(m, before, "the tree")
    m.umount()
    fsck_clean(scene, members + spares)


def refused(scene):
    members, m, before = prepared(scene, count=3, big=1)
    rebuild("remove", m.root, "2", code=TOO_FEW, says=["At least 3 members must stay", "replace"])
    [spare] = add_spares(scene, m, 1)
    result = rebuild("remove", m.root, "2", code=TOO_SMALL, says=["no room for the data of member 2", "Nothing was changed"])
    size = int(re.search(r"a spare of at least (\d+) bytes", result.err)[1])
    check(10 << 20 < size < SIZE, f"how much lacks: {result.err}")
    check_equal([paths(m), role(m, spare), m.status()["job"]], [sorted(members + [spare]), "spare", None], "nothing was changed")
    for arguments in [["--cancel", "--wait", m.root, "1"], ["--cancel", "--speed", "1M", m.root, "1"], ["--cancel", m.root],
                      ["--force", m.root, "1"], ["--nonsense", m.root, "1"]]:
        rebuild("remove", *arguments, code=USAGE, says="--help")
    rebuild("fail", m.root, members[0])
    rebuild("remove", m.root, "2", code=TOO_FEW, says=["Not in sync", "member 1"])
    rebuild("readd", "--wait", m.root, members[0])
    second = scene.image(size)
    rebuild("spare", m.root, second)
    rebuild("remove", "-w", m.root, "2")
    tree_is(m, before, "the tree")
    before = describe_tree(m.root)
    m.umount()
    whole_without_each(scene, without(members, 1) + [spare, second], before)


if __name__ == "__main__":
    need_root()
    main(refused, onto_spares_and_members, shown_and_cancelled, killed, lost, cancelled_when_lost)
