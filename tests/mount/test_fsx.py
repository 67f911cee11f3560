"""Random reads, writes, maps, truncations and holes against a model in memory (tests/mount/fsx.c), over remounts."""
from lib import *

FSX = os.environ.get("R5_FSX", "fsx")      # built beside the tests


def fsx(scene, name, seed, operations, length):
    run(FSX, "-s", seed, "-n", operations, "-l", length, scene.path("mnt") + "/" + name)


def one_file(scene):
    members = scene.images(3)
    scene.mkfs(members)
    scene.mount(members)
    for seed in range(1, 5):
        fsx(scene, "tiny", seed, 1500, 8192)
        fsx(scene, "small", seed, 2000, 65536)
        fsx(scene, "large", seed, 1500, 1 << 20)
        fsx(scene, "larger", seed, 300, 8 << 20)
    before = describe_tree(scene.path("mnt"))
    scene.umount()
    scene.mount(members)
    compare_trees(before, describe_tree(scene.path("mnt")), "after a remount")
    scene.umount()


def many_at_once(scene):
    """Several files at a time, little memory for what is dirty, and a commit each second."""
    members = scene.images(3, 128 << 20)
    scene.mkfs(members)
    scene.mount(members, "-o", "dirty=4M,commit=1,cache=4M")
    processes = [subprocess.Popen([FSX, "-s", str(seed), "-n", "2000", "-l", str(1 << 20), scene.path("mnt") + f"/f{seed}"],
                                  stderr=subprocess.PIPE, text=True) for seed in range(100, 104)]
    errors = [p.communicate()[1] for p in processes]
    check_equal([p.returncode for p in processes], [0] * 4, "".join(errors))
    before = describe_tree(scene.path("mnt"))
    scene.umount()
    scene.mount(members[:2])
    compare_trees(before, describe_tree(scene.path("mnt")), "without one member")
    fsx(scene, "degraded", 7, 1500, 1 << 20)
    scene.umount()


if __name__ == "__main__":
    main(one_file, many_at_once)
