"""With a member gone, returned, damaged: everything is there, and the user is told."""
from lib import *


def absent(members, gone):
    return [m for i, m in enumerate(members) if i != gone]


def each_member_absent(scene):
    members = scene.images(4)
    scene.mkfs(members)
    scene.mount(members)
    root = scene.path("mnt")
    make_tree(root)
    before = describe_tree(root)
    scene.umount()
    for gone in range(4):
        result = scene.mount(absent(members, gone), "-o", "ro")
        check("warning" in result.err, f"a warning: {result.err}")
        compare_trees(before, describe_tree(root), f"without member {gone}")
        status = scene.status(root, code=DEGRADED)
        check_equal(status["map"], "[" + "".join("_" if i == gone else "U" for i in range(4)) + "]", "the map")
        check(status["members"][gone]["uuid"] in result.err, f"the warning names the member: {result.err}")
        scene.umount()


def missing_path(scene):
    """A member whose path does not exist is named, and the mount goes on."""
    members = scene.images(3)
    scene.mkfs(members)
    os.rename(members[1], members[1] + ".away")
    result = scene.mount(members)
    check(members[1] in result.err, f"the warning names the path: {result.err}")
    scene.umount()


def writes_and_return(scene):
    """Degraded writes are not lost when the member that missed them comes back, and it is caught up."""
    members = scene.images(3)
    scene.mkfs(members)
    scene.mount(members)
    root = scene.path("mnt")
    make_tree(root, seed=1, files=100)
    scene.umount()
    scene.mount(absent(members, 1))
    os.mkdir(os.path.join(root, "second"))
    make_tree(os.path.join(root, "second"), seed=2, files=100)
    before = describe_tree(root)
    scene.umount()
    scene.mount(members)
    compare_trees(before, describe_tree(root), "with the stale member back")
    wait_for(lambda: run("raid5cryptfs-status", root, code=None).code == 0, "the returned member is caught up", 60)
    scene.umount()
    for gone in [0, 2]:
        scene.mount(absent(members, gone), "-o", "ro")
        compare_trees(before, describe_tree(root), f"with the caught up member, without {gone}")
        scene.umount()


def two_gone(scene):
    members = scene.images(4)
    scene.mkfs(members)
    uuids = [m["uuid"] for m in scene.status(*members)["members"]]
    result = scene.mount([members[0], members[2]], code=TOO_FEW)
    for i in [1, 3]:
        check(uuids[i] in result.err, f"both are named: {result.err}")
    status = run("raid5cryptfs-status", members[0], members[2], code=FAILED)
    check("[U_U_]" in status.out, status.out)


def noise(path, blocks, seed):
    rng = random.Random(seed)
    size = os.path.getsize(path)
    with open(path, "r+b") as f:
        for _ in range(blocks):
            f.seek(rng.randrange(size // 4096) * 4096)
            f.write(rng.randbytes(4096))


def noise_on_one_member(scene):
    members = scene.images(3)
    scene.mkfs(members)
    scene.mount(members)
    root = scene.path("mnt")
    make_tree(root, files=300, big=10)
    before = describe_tree(root)
    scene.umount()
    noise(members[2], 500, 1)
    scene.mount(members)
    compare_trees(before, describe_tree(root), "after noise")
    status = scene.status(root, code=None)
    check(status["members"][2]["healed"] > 0, f"what was damaged was healed and counted: {status}")
    scene.umount()


def wiped_member(scene):
    """A member that lost its start, its end, or everything."""
    for wipe in ["start", "end", "all", "random"]:
        members = scene.images(3)
        scene.mkfs(members)
        scene.mount(members)
        root = scene.path("mnt")
        make_tree(root, files=50)
        before = describe_tree(root)
        scene.umount()
        with open(members[0], "r+b") as f:
            if wipe == "start":
                f.write(bytes(512 << 10))
            elif wipe == "end":
                f.seek(-(512 << 10), 2)
                f.write(bytes(512 << 10))
            elif wipe == "all":
                f.truncate(0)
                f.truncate(SIZE)
            else:
                f.write(random.Random(1).randbytes(SIZE))
        result = scene.mount(members)
        compare_trees(before, describe_tree(root), f"member wiped: {wipe}")
        if wipe in ["all", "random"]:
            check("warning" in result.err, f"a warning: {result.err}")
        scene.umount()


if __name__ == "__main__":
    main(each_member_absent, missing_path, writes_and_return, two_gone, noise_on_one_member, wiped_member)
