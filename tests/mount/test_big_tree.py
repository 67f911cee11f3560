"""An installed system's programs and documents, at least 50,000 files and 1 GiB: copied, compared, also without a member
and with noise on one."""
import lib
from lib import *

lib.SCENE_SECONDS = 3000
SOURCES = ["/usr/share", "/usr/include", "/usr/bin", "/usr/sbin", "/usr/local", "/usr/lib"]
FILES, BYTES = 50_000, 1 << 30


def copy(scene):
    """Copies one source after the other until there is enough; returns what the sources look like, by name in the mount."""
    files = size = 0
    sources = {}
    copies = [(source, number) for number in range(20) for source in SOURCES if os.path.isdir(source)]
    for source, number in copies:
        name = f"{os.path.basename(source)}{number}"
        run("rsync", "-aHAX", "--one-file-system", source + "/", scene.path("mnt/" + name) + "/")
        sources[name] = source
        more_files, more_size = count(scene.path("mnt/" + name))
        files, size = files + more_files, size + more_size
        if files >= FILES and size >= BYTES:
            print(f"{files} files, {size >> 20} MiB")
            return {name: describe_tree(source) for name, source in sources.items()}
    raise Skip("this system has too few files to copy")


def compare(scene, trees, when):
    for name, tree in trees.items():
        compare_trees(tree, describe_tree(scene.path("mnt/" + name)), f"{when}: {name}")


def big_tree(scene):
    need_root()
    members = scene.images(3, 8 << 30)
    scene.mkfs(members)
    scene.mount(members)
    trees = copy(scene)
    scene.umount()
    scene.mount(members)
    compare(scene, trees, "after a remount")
    scene.umount()
    scene.mount(members[:1] + members[2:], "-o", "ro")
    compare(scene, trees, "without a member")
    scene.umount()
    rng = random.Random(1)
    with open(members[0], "r+b") as f:
        for _ in range(1000):
            f.seek(rng.randrange((2 << 30) // 4096) * 4096)
            f.write(rng.randbytes(4096))
    scene.mount(members)
    compare(scene, trees, "with noise on a member")
    check(scene.status(scene.path("mnt"))["members"][0]["healed"] > 0, "something was healed")
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
