"""raid5cryptfs-rebuild spare and remove: spares that step in by themselves or are told to, and how they leave."""
import re

from alert_lib import *
from rebuild_lib import *
from test_status import check_json


def spare_steps_in(scene):
    """A spare, and then a member that fails: nobody need do anything, and the administrator is told."""
    recorder = Recorder(scene.dir)
    options = ["-o", f"commit=1,alert={recorder.path}"]
    members, m, before = prepared(scene, options=options)
    spare = scene.image()
    result = rebuild("spare", m.root, spare)
    number = entry(m, spare)["index"] + 1
    check(f"as member {number}" in result.out and "steps in" in result.out, result.out)
    value = json.loads(run("raid5cryptfs-status", "--json", m.root).out)
    check_json(value)
    check_equal([value["arrays"][0]["map"], role(m, spare), entry(m, spare)["state"]], ["[UUUU]", "spare", "in-sync"], "the spare")
    text = run("raid5cryptfs-status", m.root).out
    check(re.search(rf"member {number} +S .*, spare\n", text), text)
    m.umount()
    # It need not be there, and is a spare when it is.
    check_equal(scene.status(*members)["map"], "[UUUU]", "unmounted, without it")
    m = Mount(scene, members, *options)
    text = run("raid5cryptfs-status", m.root).out
    check("healthy" in text and "spare, absent" in text, text)
    m.umount()
    m = Mount(scene, members + [spare], *options)
    check_equal([role(m, spare), m.status()["state"]], ["spare", "healthy"], "the spare")
    load = Load(m.root)
    check("spare" in rebuild("fail", m.root, members[1]).out, "what comes next is told")
    call = recorder.wait("spare-taken")
    check_equal(variable(call, "MOUNTPOINT"), m.root, "which array")
    wait_replaced(m, members[1], spare)
    recorder.wait("replace-finished")
    load.end()
    load.verify()
    tree_is(m, before, "the tree")
    check_equal([m.status()["map"], entry(m, members[1])], ["[UUUU]", None], "whole again")
    before = describe_tree(m.root)
    m.umount()
    members[1] = spare
    whole_without_each(scene, members, before)


def replace_by_a_spare(scene):
    """A spare is named by its path, and needs no --force."""
    members, m, before = prepared(scene)
    spare = scene.image()
    rebuild("spare", m.root, spare)
    index = entry(m, spare)["index"]
    result = rebuild("replace", "-w", m.root, members[3], spare)
    check(f"as member {index + 1}" in result.out, result.out)
    check_equal(entry(m, spare)["index"], index, "it keeps its number")
    tree_is(m, before, "the tree")
    before = describe_tree(m.root)
    m.umount()
    members[3] = spare
    whole_without_each(scene, members, before)


def remove_cancels(scene):
    """Once for the replace, and once for the spare; who waits is told."""
    recorder = Recorder(scene.dir)
    members, m, before = prepared(scene, big=30, options=["-o", f"commit=1,alert={recorder.path}"])
    old, new = members[1], scene.image()
    begin_slowly(m, old, new)
    number = entry(m, new)["index"] + 1
    result = rebuild("remove", m.root, new)
    check("cancelled" in result.out and f"member {number} is a spare" in result.out, result.out)
    check_equal([role(m, new), m.status()["job"], m.status()["map"]], ["spare", None, "[UUUU]"], "a spare again")
    recorder.wait("replace-stopped")
    process = subprocess.Popen(["raid5cryptfs-rebuild", "replace", "--wait", m.root, old, new], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)
    wait_for(lambda: m.status()["job"], "it is under way")
    rebuild("remove", m.root, str(number))
    out, err = process.communicate(timeout=30)
    check_equal(process.returncode, SYSTEM, f"the exit code: {out} {err}")
    check("stopped" in err, err)
    check_equal(role(m, new), "spare", "a spare again")
    result = rebuild("remove", m.root, new)
    check("for good" in result.out and "cancelled" not in result.out, result.out)
    check_equal(paths(m), sorted(members), "as it was")
    tree_is(m, before, "the tree")
    before = describe_tree(m.root)
    m.umount()
    no_label(new)
    whole_without_each(scene, members, before)


def remove_spare(scene):
    members, m, before = prepared(scene)
    spares = scene.images(2)
    for spare in spares:
        rebuild("spare", m.root, spare)
    check_equal([role(m, spare) for spare in spares], ["spare", "spare"], "two of them")
    result = rebuild("remove", m.root, spares[0])
    check("label was wiped" in result.out, result.out)
    check_equal(paths(m), sorted(members + spares[1:]), "one is left")
    # Its number is free for another.
    rebuild("spare", m.root, spares[0])
    rebuild("remove", m.root, entry(m, spares[0])["uuid"])
    m.umount()
    no_label(spares[0])
    # One that is not there keeps its label, and is a stranger.
    absent = next(member for member in scene.status(*members, spares[1])["members"] if member["role"] == "spare")
    m = Mount(scene, members, *OPTIONS)
    result = rebuild("remove", m.root, absent["uuid"])
    check("erase" in result.out, result.out)
    check_equal(paths(m), sorted(members), "as it was")
    tree_is(m, before, "the tree")
    before = describe_tree(m.root)
    m.umount()
    check_equal([o["index"] for o in scene.status(*members, spares[1])["others"]], [None], "a stranger")
    rebuild("erase", "-f", spares[1])
    whole_without_each(scene, members, before)


if __name__ == "__main__":
    need_root()
    main(spare_steps_in, replace_by_a_spare, remove_cancels, remove_spare)
