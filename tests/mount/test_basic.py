"""Make, mount, write, unmount, mount again, compare: every number of members and every cipher."""
from lib import *


def every_cipher(scene):
    for cipher in filter(has_cipher, CIPHERS):
        one(scene, scene.images(3), cipher)


def every_count(scene):
    for count in [4, 5, 8]:
        one(scene, scene.images(count), CIPHERS[0])


def unequal(scene):
    one(scene, [scene.image(s << 20) for s in [40, 64, 96]], CIPHERS[0])


def loop_devices(scene):
    need_root()
    one(scene, [scene.loop(i) for i in scene.images(3)], CIPHERS[0])


def one(scene, members, cipher):
    made = scene.mkfs(members, "--name", "test array", cipher=cipher)
    for word in ["test array", cipher, *members]:
        check(word in made.out, f"mkfs names {word}")
    scene.mount(members, cipher=cipher)
    root = scene.path("mnt")
    check_equal(os.stat(root).st_mode, 0o40755, "mode of the root")
    check_equal(os.listdir(root), [], "it is empty")
    make_tree(root, seed=len(members))
    before = describe_tree(root)
    status = scene.status(root)
    check_equal(status["map"], "[" + "U" * len(members) + "]", "the map")
    check_equal(status["state"], "healthy", "the state")
    check_equal(status["name"], "test array", "the name")
    check_equal(status["cipher"], cipher, "the cipher")
    check(status["capacity_bytes"] > status["free_bytes"] > 0, "space")
    scene.umount()
    scene.mount(members, cipher=cipher)
    compare_trees(before, describe_tree(root), "after a remount")
    os.unlink(os.path.join(root, "big-0"))
    scene.umount()
    scene.mount(members, "-o", "ro", cipher=cipher)
    after = describe_tree(root)
    del before["big-0"]
    compare_trees({k: v[:4] for k, v in before.items() if k != "."}, {k: v[:4] for k, v in after.items() if k != "."}, "read-only")
    try:
        open(os.path.join(root, "new"), "w")
        raise AssertionError("a write to a read-only mount succeeded")
    except OSError as e:
        check_equal(e.errno, 30, "EROFS")
    scene.umount()


def sync_survives_kill(scene):
    """What was fsynced is there after the daemon was killed."""
    members = scene.images(3)
    scene.mkfs(members)
    scene.mount(members)
    root = scene.path("mnt")
    make_tree(root, files=50)
    before = describe_tree(root)
    run("sync", "-f", root)
    fd = os.open(root, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)
    for pid in scene.daemons():
        os.kill(pid, signal.SIGKILL)
    scene.wait_no_daemon()
    unmount(root)
    scene.mounts.remove(root)
    scene.mount(members)
    compare_trees(before, describe_tree(root), "after a kill")
    scene.umount()


def sigterm_commits(scene):
    """SIGTERM writes back even what only the kernel held."""
    members = scene.images(3)
    scene.mkfs(members)
    scene.mount(members)
    root = scene.path("mnt")
    held = open(os.path.join(root, "held"), "wb")
    held.write(b"x" * 100000)
    held.flush()
    for pid in scene.daemons():
        os.kill(pid, signal.SIGTERM)
    scene.wait_no_daemon()
    wait_for(lambda: not os.path.ismount(root), "it is unmounted")
    scene.mounts.remove(root)
    with contextlib.suppress(OSError):
        held.close()
    scene.mount(members)
    with open(os.path.join(root, "held"), "rb") as f:
        check_equal(f.read(), b"x" * 100000, "data that only the kernel held")
    scene.umount()


if __name__ == "__main__":
    main(every_cipher, every_count, unequal, loop_devices, sync_survives_kill, sigterm_commits)
