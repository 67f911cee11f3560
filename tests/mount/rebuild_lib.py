"""What tests of raid5cryptfs-rebuild on a mounted array share."""
from faulty import *

OPTIONS = ["-o", "commit=1"]
FINISH_SECONDS = 120


def rebuild(*arguments, code=0, **kwargs):
    return run("raid5cryptfs-rebuild", *arguments, code=code, **kwargs)


def whole_without_each(scene, members, before):
    """After the unmount: fsck finds nothing, and each member may be missing."""
    fsck_clean(scene, members)
    for gone in range(len(members)):
        scene.mount(without(members, gone), "-o", "ro")
        compare_trees(before, describe_tree(scene.path("mnt")), f"without member {gone}")
        scene.umount()


def healthy(root, code=0):
    return run("raid5cryptfs-status", root, code=None).code == code


# ---- Exchanging disks ----

def prepared(scene, count=4, big=6, options=OPTIONS, loops=False):
    """A mounted array with a tree on it: its members, the mount, what the tree looks like."""
    members = scene.images(count)
    if loops:
        members = [scene.loop(member) for member in members]
    scene.mkfs(members)
    m = Mount(scene, members, *options)
    os.mkdir(m.root + "/tree")
    make_tree(m.root + "/tree", files=60, big=big)
    syncfs(m.root)
    return members, m, describe_tree(m.root + "/tree")


def entry(m, path):
    """What the status says of the member at this path; None: there is none."""
    return next((member for member in m.status()["members"] if member["path"] == path), None)


def role(m, path):
    return (entry(m, path) or {}).get("role")


def paths(m):
    return sorted(member["path"] or "" for member in m.status()["members"])


def has_replaced(m, old, new):
    """Is the new one a member like others, and the old one none?"""
    member = entry(m, new)
    return bool(member) and member["role"] == "member" and member["state"] == "in-sync" and not member["gap"] and not entry(m, old)


def wait_replaced(m, old, new):
    wait_for(lambda: has_replaced(m, old, new), f"{new} takes the place of {old}: {m.status()}", FINISH_SECONDS)
    m.wait_healthy()
    check_equal(m.status()["job"], None, "nothing is on its way any more")


def begin_slowly(m, old, new, speed="256K"):
    """Begins a replace that takes its time, and returns the running job."""
    result = rebuild("replace", "--speed", speed, m.root, old, new)
    check(f"{new}: takes" in result.out and "raid5cryptfs-status" in result.out, f"it is told: {result.out}")
    status = m.status()
    check(status["job"], f"it is under way: {status}")
    check_equal(status["job"]["target"], entry(m, new)["index"], "onto the new one")
    check_equal(role(m, new), "replacement", "the role of the new one")
    return status["job"]


def tree_is(m, before, what):
    drop_caches()
    compare_trees(before, describe_tree(m.root + "/tree"), what)


def no_label(path):
    run("raid5cryptfs-status", path, code=NOT_MEMBER)
    check_equal(run("blkid", "-p", path, code=None).out, "", "no signature is left")
