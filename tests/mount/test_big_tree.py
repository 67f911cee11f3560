"""An installed system's programs and documents, at least 50,000 files and 1 GiB: copied, compared, also without a member
and with noise on one."""
import lib
from lib import *

lib.SCENE_SECONDS = 3000
SOURCES = ["/usr", "/etc", "/var/lib"]


def big_tree(scene):
    need_root()
    members = scene.images(3, 8 << 30)
    scene.mkfs(members)
    scene.mount(members)
    m = scene.path("mnt")
    sources = [s for s in SOURCES if os.path.isdir(s)]
    run("rsync", "-aHAX", "--one-file-system", *sources, m + "/", code=None)
    files, size = count(m)
    copies = 0
    while (files < 50000 or size < 1 << 30) and copies < 10:
        copies += 1
        run("rsync", "-aHAX", "--one-file-system", *sources, m + f"/copy{copies}/", code=None)
        files, size = count(m)
    print(f"{files} files, {size >> 20} MiB")
    check(files >= 50000 and size >= 1 << 30, "large enough")
    before = describe_tree(m)
    scene.umount()
    scene.mount(members)
    compare_trees(before, describe_tree(m), "after a remount")
    scene.umount()
    scene.mount(members[:1] + members[2:], "-o", "ro")
    compare_trees(before, describe_tree(m), "without a member")
    scene.umount()
    rng = random.Random(1)
    with open(members[0], "r+b") as f:
        for _ in range(1000):
            f.seek(rng.randrange((2 << 30) // 4096) * 4096)
            f.write(rng.randbytes(4096))
    scene.mount(members)
    compare_trees(before, describe_tree(m), "with noise on a member")
    scene.umount()


def count(root):
    files = size = 0
    for folder, names, leaves in os.walk(root):
        files += len(names) + len(leaves)
        for leaf in leaves:
            size += os.lstat(os.path.join(folder, leaf)).st_size
    return files, size


if __name__ == "__main__":
    main(big_tree)
