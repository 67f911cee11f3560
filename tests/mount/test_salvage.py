"""Mounting what is damaged beyond parity: -o ro,salvage. The array is in the clear, so that the test finds its way on the members."""
from fsck_lib import *

NODE = b"R5FN"
FILE, SYSTEM = 0, 1


def small(i):
    return f"small file {i:05} ".encode() * 100


def array(scene):
    members = scene.images(3, 32 << 20)
    scene.mkfs(members, "--name", "home", cipher="none")
    scene.mount(members, cipher="none")
    for i in range(300):
        with open(scene.path(f"mnt/{i:05}"), "wb") as f:
            f.write(small(i))
    with open(scene.path("mnt/big"), "wb") as f:
        f.write(b"b" * 300000)
    scene.umount()
    return members


def nodes(members):
    """(tree, level, generation, offset, text) of everything on the members that looks like a node."""
    found = []
    for member in members:
        image = read_at(member, 0, os.path.getsize(member))
        for at in range(0, len(image), 4 * BLOCK):
            if image[at:at + 4] == NODE:
                found.append((image[at + 4], image[at + 5], int.from_bytes(image[at + 8:at + 16], "little"), at,
                              image[at:at + 4 * BLOCK]))
    return found


def destroy(members, offset):
    """The unit there on all members: no parity brings it back."""
    for member in members:
        write_at(member, offset, bytes(4 * BLOCK))


def read_all(scene):
    """Numbers of the small files that are whole; all others give EIO."""
    whole = set()
    for i in range(300):
        try:
            with open(scene.path(f"mnt/{i:05}"), "rb") as f:
                check_equal(f.read(), small(i), f"file {i}")
            whole.add(i)
        except OSError as e:
            check_equal(e.errno, 5, f"file {i}")
    return whole


def system_tree_lost(scene):
    members = array(scene)
    newest = max(generation for tree, _, generation, _, _ in nodes(members) if tree == SYSTEM)
    for tree, _, generation, offset, _ in nodes(members):
        if tree == SYSTEM and generation == newest:
            destroy(members, offset)
    run("raid5cryptfs", "-o", "cipher=none", *members, scene.path("mnt"), code=16, says="salvage")
    run("raid5cryptfs", "-o", "cipher=none,salvage", *members, scene.path("mnt"), code=2, says="say -o ro,salvage")
    before = hashes(members)
    scene.mount(members, "-o", "ro,salvage", cipher="none")
    check_equal(len(read_all(scene)), 300, "files read")
    with open(scene.path("mnt/big"), "rb") as f:
        check_equal(f.read(), b"b" * 300000, "the big file")
    check_equal(len(os.listdir(scene.path("mnt"))), 301, "entries")
    scene.umount()
    check_equal(hashes(members), before, "nothing was written")
    fsck(scene, members, "-y", code=CORRECTED, cipher="none", changes=True)
    scene.mount(members, cipher="none")
    check_equal(len(read_all(scene)), 300, "files after the repair")
    scene.umount()


def leaves_lost(scene):
    members = array(scene)
    hit = [n for n in nodes(members) if n[0] == FILE and n[1] == 0 and small(150)[:20] in n[4]]
    newest = max(n[2] for n in hit)
    for n in hit:
        if n[2] == newest:
            destroy(members, n[3])
    scene.mount(members, "-o", "ro,salvage", cipher="none")
    whole = read_all(scene)
    check(150 not in whole and 200 < len(whole) < 300, f"{len(whole)} files are whole")
    scene.umount()


if __name__ == "__main__":
    main(system_tree_lost, leaves_lost)
